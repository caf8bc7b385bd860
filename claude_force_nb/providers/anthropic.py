"""Answers from the Messages API, through Anthropic's SDK.

The only module that knows the SDK, and it knows as little as it can: how to make a client, to start
a stream, to list models and to count tokens. The SDK retries nothing here, and its stream is read
as bytes: its own reader takes a stream that was cut for one that ended, and costs twice the time.
"""

from __future__ import annotations

import asyncio
import difflib
import functools
import importlib
import inspect
import os
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, AsyncGenerator, Dict, FrozenSet, List, Optional, Union
from weakref import WeakKeyDictionary

from ..deadlines import Expired, finish_by
from ..errors import (
    AuthenticationFailed,
    DeadlineExceeded,
    InputError,
    MissingKey,
    ProviderError,
    RequestRejected,
    UnknownModel,
    UnsupportedOption,
)
from ..records import AgentRequest, Reply
from ..redaction import Redactor, Secret
from ..settings import DEFAULT_BASE_URL, endpoint_of
from .base import TextListener
from .streaming import EventParser, ReplyCollector, incomplete
from .translation import from_event, translated

TRANSPORTS = ("auto", "aiohttp", "httpx")

# The SDK's 5 s fail under load: a thousand calls that start at once queue up in the kernel.
CONNECT_TIMEOUT_S = 30.0
# httpx searches its pool linearly for each call; beyond some hundred connections that dominates.
MAX_CONNECTIONS = {"httpx": 100, "aiohttp": 1000}
# After message_stop nothing can come that matters; the end of the body lets the connection live on.
LINGER_S = 1.0
LIST_MODELS_S = 2.0

SAMPLING_OPTIONS = frozenset({"temperature", "top_p", "top_k"})
_OWN_ARGUMENTS = frozenset({"model", "messages", "max_tokens", "system", "stream", "timeout"})
_NO_SAMPLING = "Leave it out; for an answer that repeats, use the cache (and --samples to vary)."


class AnthropicProvider:
    """Asks the Messages API.

    A client belongs to the event loop and the process that made it: it is made when first needed
    there and never used elsewhere, so one provider serves several loops and survives a fork.

    Args:
        api_key: The key; by default ``ANTHROPIC_API_KEY`` when the first call is made.
        base_url: Another server that speaks the Messages API; by default ``ANTHROPIC_BASE_URL``.
        transport: ``aiohttp``, ``httpx``, or ``auto`` for the faster one that is installed.

    Attributes:
        name: ``anthropic``.
        endpoint: The server without credentials; empty for Anthropic's own.

    Raises:
        InputError: *transport* is none of the three.
    """

    name = "anthropic"

    def __init__(
        self,
        api_key: Union[Secret, str, None] = None,
        *,
        base_url: Optional[str] = None,
        transport: str = "auto",
    ) -> None:
        if transport not in TRANSPORTS:
            raise InputError(
                f"Unknown transport {transport!r}.", advice=f"Choose from {', '.join(TRANSPORTS)}."
            )
        self._secret = Secret(api_key) if isinstance(api_key, str) else api_key
        self._base_url = base_url or os.environ.get("ANTHROPIC_BASE_URL") or DEFAULT_BASE_URL
        self.endpoint = endpoint_of(self._base_url)
        self._transport = transport
        self._lines: WeakKeyDictionary[asyncio.AbstractEventLoop, _Line] = WeakKeyDictionary()
        self._pid = os.getpid()
        self._left_to_parent: List[Any] = []

    def __repr__(self) -> str:
        return f"AnthropicProvider(endpoint={self.endpoint!r}, transport={self._transport!r})"

    async def answer(
        self,
        request: AgentRequest,
        *,
        on_text: Optional[TextListener] = None,
        stall_timeout_s: float = 30.0,
    ) -> Reply:
        """Make one attempt at *request*, as :class:`~claude_force_nb.providers.base.Provider` says.

        Raises:
            ProviderError: The attempt failed; ``retryable`` says whether another one may help.
            UnsupportedOption: The SDK or the model does not accept an option of the request.
        """
        line = await self._line()
        arguments = _arguments(request)
        try:
            async with line.places:
                return await _Exchange(line, on_text, stall_timeout_s).make(arguments)
        except UnknownModel as error:
            error.what = error.what.replace("the model", f"the model {request.model!r}", 1)
            error.advice = await self._advice_on_models(request.model, error.advice)
            raise
        except RequestRejected as error:
            named = _named_option(error, request)
            if named is None:
                raise
            raise named from error

    async def models(self) -> List[str]:
        """Ids of the models that the key may use, newest first.

        Raises:
            ProviderError: They cannot be listed.
        """
        line = await self._line()
        with translated(line.redactor):
            return [model.id async for model in line.client.models.list()]

    async def count_tokens(self, request: AgentRequest) -> int:
        """How many input tokens *request* has, as the server counts them.

        Raises:
            ProviderError: They cannot be counted.
        """
        line = await self._line()
        arguments = _arguments(request)
        names = _parameters(line.sdk.resources.messages.AsyncMessages.count_tokens)
        with translated(line.redactor):
            counted = await line.client.messages.count_tokens(
                **{name: value for name, value in arguments.items() if name in names}
            )
            return int(counted.input_tokens)

    async def close(self) -> None:
        """Close the client of the running loop and forget those of loops that are closed."""
        self._forget_foreign()
        line = self._lines.pop(asyncio.get_running_loop(), None)
        if line is not None:
            await line.life.aclose()

    async def _line(self) -> _Line:
        self._forget_foreign()
        loop = asyncio.get_running_loop()
        line = self._lines.get(loop)
        if line is None:
            secret = self._key()
            sdk = await _load_sdk()
            # Another call on this loop may have come first while the SDK was being imported.
            line = self._lines.get(loop) or await self._new_line(loop, sdk, secret)
        return line

    async def _new_line(self, loop: asyncio.AbstractEventLoop, sdk: Any, secret: Secret) -> _Line:
        line = self._lines[loop] = _Line(sdk, secret, self._base_url, self._transport)
        await line.life.__anext__()
        return line

    def _key(self) -> Secret:
        secret = self._secret or Secret(os.environ.get("ANTHROPIC_API_KEY", "").strip())
        if not secret:
            raise MissingKey(
                "No API key is configured.",
                advice="Set ANTHROPIC_API_KEY or enter a key with `%agents key`; or work without "
                "one: `%agents use offline`, or replay recorded answers with `--cache replay`.",
            )
        if not re.fullmatch(r"[!-~]+", secret.reveal()):
            # The HTTP libraries would refuse it too, with the key in their message.
            raise AuthenticationFailed(
                "The API key has characters that no key has, such as a space or a line break.",
                advice="Copy it again; `%agents key` asks for it.",
            )
        return secret

    def _forget_foreign(self) -> None:
        """Drop clients of a parent process, untouched, and those of closed loops."""
        if self._pid != os.getpid():
            # Finalising them here would speak on connections that the parent still uses.
            self._left_to_parent.append(self._lines)
            self._lines, self._pid = WeakKeyDictionary(), os.getpid()
        for loop in [loop for loop in self._lines if loop.is_closed()]:
            del self._lines[loop]

    async def _advice_on_models(self, model: str, advice: str) -> str:
        loop = asyncio.get_running_loop()
        end = loop.time() + LIST_MODELS_S
        with suppress(ProviderError, Expired):
            known = await finish_by(self.models(), lambda: end)
            close = difflib.get_close_matches(model, known, n=2, cutoff=0.5)
            return f"Did you mean {' or '.join(close)}? {advice}" if close else advice
        return advice


class _Line:
    """A client and what belongs to it: the loop's places, the SDK, a redactor of its key.

    ``life`` is a generator whose end closes the client. ``asyncio.run`` ends every generator that
    was begun on its loop, so a script that forgets to close leaves no connection behind.
    """

    def __init__(self, sdk: Any, secret: Secret, base_url: str, transport: str) -> None:
        self.sdk = sdk
        self.redactor = Redactor([secret])
        self.label = f"anthropic {sdk.__version__}"
        kind, http_client = _http_client(sdk, transport)
        # A call that waits for a connection must not count as one whose server has stalled.
        self.places = asyncio.Semaphore(MAX_CONNECTIONS[kind])
        known = _parameters(sdk.AsyncAnthropic.__init__)
        quiet = {"open_telemetry": False} if "open_telemetry" in known else {}
        with translated(self.redactor):
            self.client = sdk.AsyncAnthropic(
                api_key=secret.reveal(),
                base_url=base_url,
                max_retries=0,
                http_client=http_client,
                **quiet,
            )
        self.life = _life(self.client)


async def _life(client: Any) -> AsyncGenerator[None, None]:
    try:
        yield
    finally:
        await client.close()


def _http_client(sdk: Any, transport: str) -> Any:
    """Name and client of the transport to use."""
    if transport != "httpx":
        with suppress(AttributeError, RuntimeError, ImportError):
            return "aiohttp", sdk.DefaultAioHttpClient(**_http_options(sdk, "aiohttp"))
    if transport == "aiohttp":
        raise UnsupportedOption(
            "The aiohttp transport is not installed.",
            advice="Install claude-force-nb[fast], or use transport='auto'.",
        )
    return "httpx", sdk.DefaultAsyncHttpxClient(**_http_options(sdk, "httpx"))


def _http_options(sdk: Any, kind: str) -> Dict[str, Any]:
    most = MAX_CONNECTIONS[kind]
    limits = type(sdk.DEFAULT_CONNECTION_LIMITS)
    return {
        "limits": limits(max_connections=most, max_keepalive_connections=most),
        "timeout": sdk.Timeout(600.0, connect=CONNECT_TIMEOUT_S, pool=None),
        # A redirect would carry the prompt, and for the same host the key, somewhere else.
        "follow_redirects": False,
    }


async def _load_sdk() -> Any:
    """Import the SDK; for the first time beside the event loop, as it takes seconds of CPU."""
    if "anthropic.resources.messages" not in sys.modules:
        threads = ThreadPoolExecutor(1, thread_name_prefix="import-anthropic")
        load = functools.partial(importlib.import_module, "anthropic.resources.messages")
        try:
            await asyncio.get_running_loop().run_in_executor(threads, load)
        finally:
            threads.shutdown(wait=False)
    return importlib.import_module("anthropic")


@functools.lru_cache(maxsize=None)
def _parameters(function: Any) -> FrozenSet[str]:
    return frozenset(inspect.signature(function).parameters)


def _arguments(request: AgentRequest) -> Dict[str, Any]:
    """The arguments of the SDK's call; options that it has no name for go into the body."""
    messages = importlib.import_module("anthropic.resources.messages")
    known = _parameters(messages.AsyncMessages.create)
    for option in request.options:
        _check_option(option, known)
    options = dict(request.options)
    extra = {name: options.pop(name) for name in list(options) if name not in known}
    return {
        "model": request.model,
        "messages": list(request.messages),
        "max_tokens": request.max_tokens,
        **({"system": request.system} if request.system else {}),
        **options,
        **({"extra_body": extra} if extra else {}),
    }


def _check_option(option: str, known: FrozenSet[str]) -> None:
    if option in _OWN_ARGUMENTS or option.startswith("extra_"):
        raise UnsupportedOption(
            f"{option!r} cannot be set as an option.", advice="It has an argument of its own."
        )
    if option in SAMPLING_OPTIONS and option not in known:
        raise UnsupportedOption(
            f"The installed SDK and current models accept no {option!r}.", advice=_NO_SAMPLING
        )


def _named_option(error: RequestRejected, request: AgentRequest) -> Optional[UnsupportedOption]:
    """The clearer error for a server that refuses a sampling option of *request*."""
    refused = [name for name in SAMPLING_OPTIONS & set(request.options) if name in error.what]
    if error.status != 400 or not refused:
        return None
    return UnsupportedOption(
        f"{request.model} accepts no {refused[0]!r}: {error.what}",
        advice=_NO_SAMPLING,
        request_id=error.request_id,
    )


class _Exchange:
    """One request and its stream."""

    def __init__(
        self, line: _Line, on_text: Optional[TextListener], stall_timeout_s: float
    ) -> None:
        self._client = line.client
        self._redactor = line.redactor
        self._label = line.label
        self._on_text = on_text
        self._stall_timeout_s = stall_timeout_s
        self._clock = asyncio.get_running_loop().time
        self._last_content = self._clock()
        self._collector = ReplyCollector()
        self._request_id: Optional[str] = None

    async def make(self, arguments: Dict[str, Any]) -> Reply:
        """Ask, read until the end, and check that the reply is whole."""
        try:
            await finish_by(self._ask(arguments), self._patience)
        except (Expired, ProviderError) as error:
            # Once the message is over nothing can take it back, whatever the connection does.
            if not self._collector.stopped:
                # Without the frames below, whose variables hold what the server sent.
                raise self._explained(error).with_traceback(None) from error.__cause__
        return self._collector.reply(request_id=self._request_id, sdk=self._label)

    def _patience(self) -> float:
        wait_s = LINGER_S if self._collector.stopped else self._stall_timeout_s
        return self._last_content + wait_s

    def _explained(self, error: Exception) -> ProviderError:
        if isinstance(error, ProviderError):
            error.request_id = error.request_id or self._request_id
            return error
        return DeadlineExceeded(
            f"No content arrived for {self._stall_timeout_s:g} s.",
            advice="The service is slow or stuck; run the cell again.",
            request_id=self._request_id,
        )

    async def _ask(self, arguments: Dict[str, Any]) -> None:
        with translated(self._redactor):
            stream = await self._client.messages.create(stream=True, **arguments)
        try:
            headers = stream.response.headers
            self._request_id = headers.get("request-id")
            await self._read(stream.response)
            if not self._collector.started:
                raise _not_a_stream(headers.get("content-type"))
        finally:
            # An error in letting go changes nothing about what has been read.
            with suppress(Exception):
                await stream.close()

    async def _read(self, response: Any) -> None:
        parser = EventParser()
        chunks = self._chunks(response)
        try:
            async for chunk in chunks:
                for event in parser.feed(chunk):
                    self._take(event)
        finally:
            await chunks.aclose()

    async def _chunks(self, response: Any) -> AsyncGenerator[bytes, None]:
        chunks = response.aiter_bytes()
        try:
            with translated(self._redactor):
                async for chunk in chunks:
                    yield chunk
        finally:
            await chunks.aclose()

    def _take(self, event: Dict[str, Any]) -> None:
        if event.get("type") == "error":
            raise from_event(event, self._request_id, self._redactor)
        if self._collector.stopped or not self._collector.knows(event):
            return
        self._last_content = self._clock()
        text = self._collector.add(event)
        if text and self._on_text is not None:
            self._on_text(text)


def _not_a_stream(content_type: Optional[str]) -> ProviderError:
    error = incomplete(f"The server sent {content_type or 'nothing'} instead of a message stream.")
    error.advice = (
        "Something else may answer in its place: a login page, a proxy, a wrong base_url."
    )
    return error
