"""The offline stand-in model: no key, no network, the same answer every time.

It is no language model. It answers with a digest of the prompt (:mod:`.digest`), or fills the JSON
schema that the request asks for, and says so. It exists to try a notebook out, to show one without
a key, and to test one: it can be slow and it can fail on request.

**Tokens.** A token is up to twelve characters without white space, together with the white space
before them. A block that is not text counts as one. These are not Claude's tokens.

**Failures** are asked for by whoever makes the provider, never by a prompt: a prompt holds data,
and data must not be able to break a run. See :class:`Failure`.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Tuple, Type, Union

from ..canonical import MAX_SAFE_INTEGER
from ..errors import (
    AuthenticationFailed,
    ConnectionFailed,
    ContextTooLong,
    DeadlineExceeded,
    IncompleteReply,
    InputError,
    Overloaded,
    ProviderError,
    RateLimited,
    RequestRejected,
    ServerFailed,
    UnknownModel,
)
from ..records import AgentRequest, Reply, Usage
from ..version import __version__
from .base import TextListener
from .digest import LABEL, digest, numbers, sentences
from .instances import Filler

OFFLINE_MODEL = "offline-stand-in"

_TOKEN = re.compile(r"\s*\S{1,12}")
_ADVICE = "It was asked to fail: see CLAUDE_FORCE_NB_OFFLINE_FAIL or the provider's `fail`."
_KINDS: Dict[str, Tuple[Type[ProviderError], Optional[int]]] = {
    "connection": (ConnectionFailed, None),
    "cut": (IncompleteReply, None),
    "timeout": (DeadlineExceeded, None),
    "context": (ContextTooLong, 400),
    **{status: (RequestRejected, int(status)) for status in ("400", "402", "413", "422")},
    **{status: (AuthenticationFailed, int(status)) for status in ("401", "403")},
    "404": (UnknownModel, 404),
    "429": (RateLimited, 429),
    "529": (Overloaded, 529),
    **{str(status): (ServerFailed, status) for status in (408, 409, 500, 502, 503, 504)},
}


@dataclass(frozen=True)
class Failure:
    """Which attempts fail, and how.

    Attributes:
        kind: ``connection``, ``cut``, ``timeout``, ``context`` or an HTTP status such as ``529``.
        times: How many first attempts at each request fail; 0 means all.
        after_tokens: How many tokens are streamed before it fails.
        retry_after_s: Seconds that the failure asks to wait.
        text: Only requests whose prompt holds this text fail; empty means all.
    """

    kind: str
    times: int = 0
    after_tokens: int = 0
    retry_after_s: Optional[float] = None
    text: str = ""

    def __post_init__(self) -> None:
        if self.kind not in _KINDS:
            known = ", ".join(_KINDS)
            raise InputError(
                f"{self.kind!r} is no kind of failure.", advice=f"Choose from {known}."
            )

    @classmethod
    def parse(cls, words: str) -> Failure:
        """Read ``KIND [times=N] [after_tokens=N] [retry_after_s=S] [text=...]``.

        The text comes last and goes on to the end.

        Raises:
            InputError: Something else is there.
        """
        head, _, text = words.partition("text=")
        kind, *pairs = head.split() or [""]
        given: Dict[str, Any] = {"text": text}
        for pair in pairs:
            name, _, value = pair.partition("=")
            if name not in _READERS:
                raise InputError(f"{pair!r} is no part of a failure.", advice=_FORM)
            given[name] = _number(name, value, _READERS[name])
        return cls(kind, **given)

    def error(self) -> ProviderError:
        """The failure as an error of this package."""
        kind, status = _KINDS[self.kind]
        what = f"The offline stand-in model failed as it was asked to ({self.kind})."
        return kind(what, advice=_ADVICE, status=status, retry_after_s=self.retry_after_s)


_READERS: Dict[str, Callable[[str], float]] = {
    "times": int,
    "after_tokens": int,
    "retry_after_s": float,
}
_FORM = "Write for example: 529 times=2 after_tokens=5 text=some words."


def _number(name: str, text: str, reader: Callable[[str], float]) -> float:
    try:
        number = reader(text)
    except ValueError:
        number = -1
    if not 0 <= number < 1e9:
        raise InputError(f"{name} must be a number from 0 up, not {text!r}.")
    return number


class OfflineProvider:
    """Answers without a model: see the module's text.

    Args:
        latency_s: Seconds before the first token.
        tokens_per_s: Speed of the answer; 0 gives all of it at once, word by word.
        fail: Which attempts fail; a text is read by :meth:`Failure.parse`.

    Raises:
        InputError: An argument makes no sense.
    """

    name = "offline"
    endpoint = ""

    def __init__(
        self,
        *,
        latency_s: float = 0.0,
        tokens_per_s: float = 0.0,
        fail: Union[Failure, str, None] = None,
    ) -> None:
        self.latency_s = _number("latency_s", str(latency_s), float)
        self.tokens_per_s = _number("tokens_per_s", str(tokens_per_s), float)
        self.fail = Failure.parse(fail) if isinstance(fail, str) else fail
        self._attempts: Counter[bytes] = Counter()

    @classmethod
    def from_environment(cls, environ: Optional[Mapping[str, str]] = None) -> OfflineProvider:
        """Read ``CLAUDE_FORCE_NB_OFFLINE_LATENCY_S``, ``..._TOKENS_PER_S`` and ``..._FAIL``.

        Raises:
            InputError: A variable has a value that makes no sense.
        """
        environ = os.environ if environ is None else environ
        given = {
            name: environ.get(f"CLAUDE_FORCE_NB_OFFLINE_{name.upper()}", "").strip()
            for name in ("latency_s", "tokens_per_s", "fail")
        }
        numbers = {
            name: _number(name, text, float)
            for name, text in given.items()
            if name != "fail" and text
        }
        return cls(fail=given["fail"] or None, **numbers)

    async def answer(
        self,
        request: AgentRequest,
        *,
        on_text: Optional[TextListener] = None,
        stall_timeout_s: float = 30.0,
    ) -> Reply:
        """Answer *request*; see :meth:`claude_force_nb.providers.base.Provider.answer`.

        Raises:
            ProviderError: It was asked to fail, or to be slower than *stall_timeout_s* allows.
            UnsupportedOption: The request asks for JSON in a form that cannot be promised.
        """
        failure = self._due_failure(request)
        reply = reply_to(request)
        pace = _Pace(self.latency_s, self.tokens_per_s, stall_timeout_s)
        await pace.first()
        for number, token in enumerate(_tokens(reply.text)):
            if failure is not None and number >= failure.after_tokens:
                raise failure.error()
            await pace.next()
            if on_text is not None:
                on_text(token)
        if failure is not None:
            raise failure.error()
        return reply

    async def close(self) -> None:
        """Nothing is held, so nothing is released."""

    def _due_failure(self, request: AgentRequest) -> Optional[Failure]:
        plan = self.fail
        if plan is None or plan.text not in prompt_text(request):
            return None
        key = request.canonical()
        self._attempts[key] += 1
        return plan if not plan.times or self._attempts[key] <= plan.times else None


class _Pace:
    """Waits so that tokens come at a steady speed, however long their listener takes."""

    def __init__(self, latency_s: float, tokens_per_s: float, stall_timeout_s: float) -> None:
        self._latency_s = latency_s
        self._gap_s = 1 / tokens_per_s if tokens_per_s else 0.0
        self._stall_timeout_s = stall_timeout_s
        self._due = time.monotonic() + latency_s

    async def first(self) -> None:
        await self._wait(self._latency_s)

    async def next(self) -> None:
        self._due += self._gap_s
        await self._wait(self._gap_s)

    async def _wait(self, planned_s: float) -> None:
        if planned_s > self._stall_timeout_s:
            await asyncio.sleep(self._stall_timeout_s)
            what = f"The offline stand-in model sent nothing for {self._stall_timeout_s:g} s."
            raise DeadlineExceeded(what, advice="It was made slower than the run allows.")
        await asyncio.sleep(max(0.0, self._due - time.monotonic()))


# -- what it says -----------------------------------------------------------------------------


def reply_to(request: AgentRequest) -> Reply:
    """The whole answer; a pure function of *request*.

    ``stop_sequences`` and ``max_tokens`` end the text early and say so, as the API does.

    Raises:
        UnsupportedOption: The request asks for JSON in a form that cannot be promised.
    """
    call = _tool_call(request)
    text = LABEL if call else _json_text(request) or _digest(request)
    text, stop_reason = _stopped(text, request)
    if stop_reason == "end_turn" and call:
        stop_reason = "tool_use"
    blocks = (
        {"type": "text", "text": text},
        *([call] if call and stop_reason == "tool_use" else ()),
    )
    return Reply(
        text=text,
        model=OFFLINE_MODEL,
        stop_reason=stop_reason,
        usage=Usage(_prompt_tokens(request), _count(text)),
        sdk=f"offline stand-in {__version__}",
        content=blocks,
    )


def _stopped(text: str, request: AgentRequest) -> Tuple[str, str]:
    stops = [word for word in request.options.get("stop_sequences") or () if word]
    ends = [text.find(word) for word in stops if word in text]
    shortened = text[: min(ends)] if ends else text
    tokens = _tokens(shortened)
    if len(tokens) > request.max_tokens:
        return "".join(tokens[: request.max_tokens]), "max_tokens"
    return "".join(tokens), "stop_sequence" if ends else "end_turn"


def _digest(request: AgentRequest) -> str:
    role = f"{request.agent_name} {request.system}"
    return digest(prompt_text(request), role=role, sample=request.sample)


def _json_text(request: AgentRequest) -> str:
    """JSON for the answer format that the request asks for; empty if it asks for none."""
    config = request.options.get("output_config") or {}
    wanted = config.get("format") or request.options.get("output_format") or {}
    if wanted.get("type") != "json_schema":
        return ""
    return json.dumps(_instance(wanted.get("schema") or {}, request), ensure_ascii=False)


def _tool_call(request: AgentRequest) -> Optional[Dict[str, Any]]:
    """A call of the tool that the request insists on, unless it brings that tool's result."""
    tool = next(_forced_tools(request.options), None)
    if tool is None or _brings_result(request):
        return None
    name = tool["name"]
    value = _instance(tool["input_schema"], request)
    call_id = f"offline_{name}_{len(request.messages)}"
    return {"type": "tool_use", "id": call_id, "name": name, "input": value}


def _forced_tools(options: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    choice = options.get("tool_choice") or {}
    for tool in options.get("tools") or ():
        named = choice.get("type") == "tool" and choice.get("name") == tool.get("name")
        if "input_schema" in tool and (named or choice.get("type") == "any"):
            yield tool


def _instance(schema: Mapping[str, Any], request: AgentRequest) -> Any:
    text = prompt_text(request)
    found = sentences(text)
    start = request.sample % len(found) if found else 0
    exact = [number for number in numbers(text) if abs(number) <= MAX_SAFE_INTEGER]
    return Filler(schema, found[start:] + found[:start], exact).value()


# -- what it reads ----------------------------------------------------------------------------


def prompt_text(request: AgentRequest) -> str:
    """The text of the last message that is the user's."""
    asked = [message for message in request.messages if message.get("role") == "user"]
    return "\n\n".join(_texts(asked[-1].get("content"))) if asked else ""


def _brings_result(request: AgentRequest) -> bool:
    content = request.messages[-1].get("content") if request.messages else ""
    return any(block.get("type") == "tool_result" for block in _blocks(content))


def _texts(content: Any) -> Iterator[str]:
    for block in _blocks(content):
        if block.get("type") == "text":
            yield str(block.get("text", ""))
        elif block.get("type") == "tool_result":
            yield from _texts(block.get("content"))


def _blocks(content: Any) -> List[Mapping[str, Any]]:
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    return [block for block in content or () if isinstance(block, Mapping)]


def _prompt_tokens(request: AgentRequest) -> int:
    blocks = [block for message in request.messages for block in _blocks(message.get("content"))]
    others = [block for block in blocks if block.get("type") != "text"]
    return len(others) + sum(map(_count, [request.system, *_texts(blocks)]))


def _tokens(text: str) -> List[str]:
    """*text* in tokens; white space at its end is dropped."""
    return _TOKEN.findall(text)


def _count(text: str) -> int:
    return len(_tokens(text))
