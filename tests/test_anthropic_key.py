"""Promises about the key: where it comes from, where it goes, and where it never shows."""

from __future__ import annotations

import logging
import pickle
import traceback
from typing import Any, AsyncIterator, Dict

import pytest
from messages_server import Behaviour, MessagesServer

from claude_force_nb.errors import (
    AuthenticationFailed,
    ClaudeForceError,
    InputError,
    MissingKey,
    ServerFailed,
)
from claude_force_nb.providers.anthropic import AnthropicProvider
from claude_force_nb.records import AgentRequest
from claude_force_nb.redaction import Secret

pytestmark = pytest.mark.essential

KEY = "sk-ant-canary-0123456789abcdef"
BAD_KEY = "sk-ant-bad-0123456789abcdef"


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


@pytest.fixture(params=["httpx", "aiohttp"])
async def provider(
    request: pytest.FixtureRequest, server: MessagesServer
) -> AsyncIterator[AnthropicProvider]:
    """A provider for that server, over each transport."""
    made = AnthropicProvider(KEY, base_url=server.url, transport=request.param)
    yield made
    await made.close()


@pytest.mark.parametrize("behaviour", [Behaviour(status=401), Behaviour(fault="reset"),
                                       Behaviour(fault="drop"), Behaviour(fault="html"),
                                       Behaviour(status=400, message=f"bad header: {KEY}"),
                                       Behaviour(fault="error_event", message=f"bad: {KEY}")],
                         ids=str)  # fmt: skip
async def test_key_stays_out_of_tracebacks(
    provider: AnthropicProvider, server: MessagesServer, behaviour: Behaviour
) -> None:
    """A traceback that prints every local variable of every frame does not print the key."""
    server.script([behaviour])

    with pytest.raises(ClaudeForceError) as caught:
        await provider.answer(ask())

    shown = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    text = "".join(shown.format())
    assert "server = " in text
    assert KEY not in text.replace(repr(behaviour), "")


@pytest.mark.parametrize("call", ["answer", "models", "count_tokens"])
async def test_repeated_key_stays_hidden(server: MessagesServer, call: str) -> None:
    """A key that the server repeats in its refusal shows neither in the error nor in frames."""
    provider = AnthropicProvider(BAD_KEY, base_url=server.url)
    arguments = () if call == "models" else (ask(),)

    with pytest.raises(AuthenticationFailed, match=r"\*\*\*\*") as caught:
        await getattr(provider, call)(*arguments)
    await provider.close()

    shown = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    assert BAD_KEY not in "".join(shown.format())


async def test_cause_is_kept(provider: AnthropicProvider, server: MessagesServer) -> None:
    """The SDK's error stays reachable as the cause."""
    server.script([Behaviour(status=500)])

    with pytest.raises(ServerFailed) as caught:
        await provider.answer(ask())

    assert type(caught.value.__cause__).__module__.startswith("anthropic")


async def test_key_stays_out_of_logs(
    provider: AnthropicProvider, server: MessagesServer, caplog: pytest.LogCaptureFixture
) -> None:
    """With every logger at its most talkative the key is not logged."""
    server.script([Behaviour(), Behaviour(status=500)])

    with caplog.at_level(logging.DEBUG):
        await provider.answer(ask())
        with pytest.raises(ServerFailed):
            await provider.answer(ask())

    assert caplog.records
    assert KEY not in caplog.text


def test_provider_hides_its_key() -> None:
    """Neither its text nor a pickle of it gives the key away."""
    provider = AnthropicProvider(KEY, base_url="http://user:password@127.0.0.1:1/api/")

    assert KEY not in repr(provider) + str(vars(provider))
    assert "password" not in repr(provider)
    with pytest.raises(TypeError):
        pickle.dumps(provider)


async def test_no_key_has_three_ways_out(server: MessagesServer) -> None:
    """Without a key nothing is sent, and the error names every way to go on."""
    with pytest.raises(MissingKey) as caught:
        await AnthropicProvider(base_url=server.url).answer(ask())

    advice = caught.value.advice
    assert all(way in advice for way in ("ANTHROPIC_API_KEY", "%agents key", "offline", "replay"))
    assert server.request_count == 0


@pytest.mark.parametrize("key", ["sk-ant-one two", "sk-ant-\n", "sk-ant-ü", " sk-ant-x"])
async def test_malformed_key_is_refused_unseen(server: MessagesServer, key: str) -> None:
    """A key that cannot be sent is refused without showing it."""
    with pytest.raises(AuthenticationFailed) as caught:
        await AnthropicProvider(key, base_url=server.url).answer(ask())

    assert key not in str(caught.value)
    assert server.request_count == 0


@pytest.mark.parametrize("key", [KEY, Secret(KEY)], ids=["text", "secret"])
async def test_key_reaches_the_server(server: MessagesServer, key: Any) -> None:
    """A key may come as text or as a secret."""
    provider = AnthropicProvider(key, base_url=server.url)
    await provider.answer(ask())
    await provider.close()

    headers = server.requests[0].headers
    assert KEY in (headers.get("x-api-key"), headers.get("authorization", "")[7:])


async def test_key_comes_from_the_environment(
    server: MessagesServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Key and server are taken from the environment where none is given."""
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    monkeypatch.setenv("ANTHROPIC_BASE_URL", server.url)
    provider = AnthropicProvider()

    await provider.answer(ask())
    await provider.close()

    assert provider.endpoint == server.url
    assert server.request_count == 1


@pytest.mark.parametrize(
    ("base_url", "endpoint"),
    [
        (None, ""),
        ("https://api.anthropic.com/", ""),
        ("https://user:secret@example.org/api/?token=1", "https://example.org/api"),
    ],
)
def test_endpoint_is_clean(base_url: Any, endpoint: str) -> None:
    """The endpoint has no credentials and is empty for Anthropic's own server."""
    assert AnthropicProvider(KEY, base_url=base_url).endpoint == endpoint


def test_unknown_transport_is_refused() -> None:
    """There are three transports; another word is an error at once."""
    with pytest.raises(InputError, match="carrier pigeon"):
        AnthropicProvider(KEY, transport="carrier pigeon")
