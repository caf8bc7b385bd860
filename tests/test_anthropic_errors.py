"""Promises about how the Anthropic provider fails: what it names and what it advises."""

from __future__ import annotations

import asyncio
import importlib
from typing import Any, AsyncIterator, Dict, Iterator, List, Tuple, Type

import pytest
from messages_server import TOO_LONG, Behaviour, MessagesServer, http_date

from claude_force_nb.errors import (
    AuthenticationFailed,
    ClaudeForceError,
    ConnectionFailed,
    ContextTooLong,
    IncompleteReply,
    Overloaded,
    ProviderError,
    RateLimited,
    RequestRejected,
    ServerFailed,
    UnknownModel,
)
from claude_force_nb.providers.anthropic import AnthropicProvider
from claude_force_nb.providers.translation import parse_retry_after, translate
from claude_force_nb.records import AgentRequest
from claude_force_nb.redaction import Redactor

pytestmark = pytest.mark.essential

KEY = "sk-ant-canary-0123456789abcdef"


def ask(text: str = "hi there", **fields: Any) -> AgentRequest:
    """A request for *text*."""
    content: Dict[str, Any] = {
        "agent_name": "echo",
        "model": "claude-opus-5-5",
        "messages": ({"role": "user", "content": text},),
        "max_tokens": 100,
        **fields,
    }
    return AgentRequest(**content)


@pytest.fixture
async def server() -> AsyncIterator[MessagesServer]:
    """A Messages API on the test's own loop."""
    async with MessagesServer() as running:
        yield running


@pytest.fixture
async def plain(server: MessagesServer) -> AsyncIterator[AnthropicProvider]:
    """A provider for that server where the transport makes no difference."""
    made = AnthropicProvider(KEY, base_url=server.url)
    yield made
    await made.close()


# -- errors that the server reports -------------------------------------------------------------

STATUSES: List[Tuple[int, Type[ProviderError], bool]] = [
    (307, RequestRejected, False),
    (400, RequestRejected, False),
    (401, AuthenticationFailed, False),
    (402, RequestRejected, False),
    (403, AuthenticationFailed, False),
    (404, RequestRejected, False),
    (408, ServerFailed, True),
    (409, ServerFailed, True),
    (413, RequestRejected, False),
    (418, RequestRejected, False),
    (422, RequestRejected, False),
    (429, RateLimited, True),
    (500, ServerFailed, True),
    (502, ServerFailed, True),
    (503, ServerFailed, True),
    (504, ServerFailed, True),
    (529, Overloaded, True),
    (599, ServerFailed, True),
]


@pytest.mark.parametrize(("status", "kind", "retryable"), STATUSES)
async def test_status_is_named(
    plain: AnthropicProvider,
    server: MessagesServer,
    status: int,
    kind: Type[ProviderError],
    retryable: bool,
) -> None:
    """A status becomes its error, with the request's id, advice, and whether to try again."""
    server.script([Behaviour(status=status)])

    with pytest.raises(ProviderError) as caught:
        await plain.answer(ask())

    error = caught.value
    assert (type(error), error.retryable) == (kind, retryable)
    assert (error.status, error.request_id) == (status, "req_000001")
    assert error.advice


@pytest.mark.parametrize(
    ("error_type", "kind"),
    [
        ("overloaded_error", Overloaded),
        ("api_error", ServerFailed),
        ("rate_limit_error", RateLimited),
        ("authentication_error", AuthenticationFailed),
        ("invalid_request_error", RequestRejected),
        ("brand_new_error", ServerFailed),
    ],
)
async def test_error_event_is_named(
    plain: AnthropicProvider, server: MessagesServer, error_type: str, kind: Type[ProviderError]
) -> None:
    """An error inside a stream counts by the type that it names."""
    server.script([Behaviour(fault="error_event", error_type=error_type)])

    with pytest.raises(ProviderError) as caught:
        await plain.answer(ask())

    assert type(caught.value) is kind
    assert caught.value.request_id == "req_000001"


async def test_too_long_a_prompt(plain: AnthropicProvider, server: MessagesServer) -> None:
    """A prompt that does not fit is told so in the server's numbers."""
    server.script([Behaviour(status=400, message=TOO_LONG)])

    with pytest.raises(ContextTooLong, match="210000 tokens > 200000 maximum"):
        await plain.answer(ask())


async def test_unknown_model_has_neighbours(plain: AnthropicProvider) -> None:
    """An unknown model is named, and so are the known ones that resemble it."""
    with pytest.raises(UnknownModel) as caught:
        await plain.answer(ask(model="nope-opus-5-5"))

    assert "'nope-opus-5-5'" in caught.value.what
    assert "Did you mean claude-opus-5-5" in caught.value.advice
    assert "%agents models" in caught.value.advice


async def test_unknown_model_without_list(
    plain: AnthropicProvider, server: MessagesServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the models cannot be listed, the error comes without neighbours."""
    monkeypatch.setattr("messages_server.MODELS", ())
    monkeypatch.setattr("messages_server._model_list", lambda: ["not", "a", "list"])

    with pytest.raises(UnknownModel) as caught:
        await plain.answer(ask(model="nope-opus-5-5"))

    assert "Did you mean" not in caught.value.advice


async def test_bad_key_is_refused(server: MessagesServer) -> None:
    """A key that the server refuses is told with ways out."""
    provider = AnthropicProvider("sk-ant-bad-key", base_url=server.url)

    with pytest.raises(AuthenticationFailed, match="401") as caught:
        await provider.answer(ask())
    await provider.close()

    assert "%agents key" in caught.value.advice


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("", None),
        ("7", 7.0),
        ("0.5", 0.5),
        ("0", 0.0),
        ("86400", 86400.0),
        ("-5", None),
        ("nan", None),
        ("inf", None),
        ("1e300", None),
        ("soon", None),
        ("Thu, 99 Foo 2026 00:00:00 GMT", None),
    ],
)
def test_retry_after_is_parsed(header: Any, seconds: Any) -> None:
    """A ``Retry-After`` counts if it makes sense."""
    assert parse_retry_after(header) == seconds


def test_retry_after_may_be_a_date() -> None:
    """A date is a time from now; a past one is no time at all."""
    ahead = parse_retry_after(http_date(60))

    assert ahead is not None
    assert 55 < ahead <= 60
    assert parse_retry_after(http_date(-60)) == 0.0


async def test_retry_after_is_reported(plain: AnthropicProvider, server: MessagesServer) -> None:
    """The wait that the server asks for is part of the error."""
    server.script([Behaviour(status=429, retry_after="17")])

    with pytest.raises(RateLimited) as caught:
        await plain.answer(ask())

    assert caught.value.retry_after_s == 17.0


# -- errors of SDK and connection ---------------------------------------------------------------


def upstream_errors() -> Iterator[Type[BaseException]]:
    """Every exception class that the SDK and its HTTP libraries export, if installed."""
    for package in ("anthropic", "httpx", "httpx2", "httpcore", "httpcore2", "aiohttp", "anyio"):
        try:
            module = importlib.import_module(package)
        except ImportError:
            continue
        for name in dir(module):
            found = getattr(module, name, None)
            if isinstance(found, type) and issubclass(found, Exception):
                yield found


@pytest.mark.parametrize(
    "upstream", list(upstream_errors()), ids=lambda cls: f"{cls.__module__}.{cls.__name__}"
)
def test_upstream_error_is_mapped(upstream: Type[BaseException]) -> None:
    """No error of the SDK or of its HTTP libraries gets through as it is."""
    # Their constructors want requests and responses; what counts here is where they come from.
    lookalike = type(upstream.__name__, (upstream,), {"__init__": lambda self: None,
                                                      "__str__": lambda self: "boom"})  # fmt: skip

    assert isinstance(translate(lookalike(), Redactor([])), ProviderError)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ConnectionRefusedError(111, "Connection refused"), ConnectionFailed),
        (asyncio.TimeoutError(), ConnectionFailed),
        (EOFError(), ConnectionFailed),
        (AssertionError(), IncompleteReply),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"), IncompleteReply),
        (UnicodeEncodeError("utf-8", "\ud83d", 0, 1, "bad"), RequestRejected),
    ],
    ids=lambda value: getattr(value, "__name__", type(value).__name__),
)
def test_builtin_error_is_mapped(error: Exception, kind: Type[ProviderError]) -> None:
    """Errors that the SDK lets through from below are mapped by what they mean."""
    assert type(translate(error, Redactor([]))) is kind


def test_own_mistakes_are_not_mapped() -> None:
    """A mistake in this package stays what it is."""
    assert translate(ZeroDivisionError(), Redactor([])) is None


async def test_no_server_is_a_connection_error(server: MessagesServer) -> None:
    """Where nobody listens, the error says so in the system's words."""
    dead = AnthropicProvider(KEY, base_url="http://127.0.0.1:9")

    with pytest.raises(ConnectionFailed, match=r"Connect call failed|refused|attempts failed"):
        await dead.answer(ask())
    await dead.close()


@pytest.mark.parametrize("url", ["ftp://127.0.0.1", "not a url", "http://["])
async def test_bad_url_is_not_retried(url: str) -> None:
    """An address that cannot be one is told at once."""
    with pytest.raises((ClaudeForceError, ValueError)) as caught:
        provider = AnthropicProvider(KEY, base_url=url)
        await provider.answer(ask())

    assert not getattr(caught.value, "retryable", False)


async def test_redirect_is_not_followed(plain: AnthropicProvider, server: MessagesServer) -> None:
    """A redirect does not carry the prompt elsewhere; its target is named."""
    server.script([Behaviour(fault="redirect")])

    with pytest.raises(RequestRejected, match="redirects to /v1/messages"):
        await plain.answer(ask())

    assert server.request_count == 1
