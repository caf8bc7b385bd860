"""Promises of the Anthropic provider, over real HTTP and with the real SDK."""

from __future__ import annotations

import importlib
from typing import Any, AsyncIterator, Dict, Iterator, List, Type

import pytest
from messages_server import FAULTS, Behaviour, MessagesServer, ServerThread
from provider_contract import ProviderContract

from claude_force_nb.errors import (
    AuthenticationFailed,
    ConnectionFailed,
    DeadlineExceeded,
    IncompleteReply,
    Overloaded,
    ProviderError,
    RequestRejected,
    ServerFailed,
    UnsupportedOption,
)
from claude_force_nb.providers.anthropic import AnthropicProvider
from claude_force_nb.records import AgentRequest, Usage

pytestmark = pytest.mark.essential

KEY = "sk-ant-canary-0123456789abcdef"
SDK_MAJOR = int(importlib.import_module("anthropic").__version__.split(".")[0])
TRANSPORTS = ("httpx", "aiohttp")


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


@pytest.fixture(params=TRANSPORTS)
async def provider(
    request: pytest.FixtureRequest, server: MessagesServer
) -> AsyncIterator[AnthropicProvider]:
    """A provider for that server, over each transport."""
    made = AnthropicProvider(KEY, base_url=server.url, transport=request.param)
    yield made
    await made.close()


@pytest.fixture
async def plain(server: MessagesServer) -> AsyncIterator[AnthropicProvider]:
    """A provider for that server where the transport makes no difference."""
    made = AnthropicProvider(KEY, base_url=server.url)
    yield made
    await made.close()


@pytest.fixture
def server_thread() -> Iterator[ServerThread]:
    """A Messages API that outlives event loops."""
    with ServerThread() as running:
        yield running


class TestContract(ProviderContract):
    """The Anthropic provider is a provider."""

    slow_text = "[[slow 1000 0.02]]"
    failing_text = "[[status 401]]"
    failure = AuthenticationFailed

    @pytest.fixture(params=TRANSPORTS)
    def provider(  # type: ignore[override]
        self, request: pytest.FixtureRequest, server_thread: ServerThread
    ) -> AnthropicProvider:
        """A provider over each transport."""
        return AnthropicProvider(KEY, base_url=server_thread.url, transport=request.param)


# -- what is sent -----------------------------------------------------------------------------


async def test_body_is_what_was_asked(plain: AnthropicProvider, server: MessagesServer) -> None:
    """The body has what the request has, and no option that nobody gave."""
    await plain.answer(ask("hi", system="Be kind.", options={"stop_sequences": ["END"]}))

    assert server.requests[0].body == {
        "model": "claude-opus-5-5",
        "max_tokens": 100,
        "messages": [{"role": "user", "content": "hi"}],
        "system": "Be kind.",
        "stop_sequences": ["END"],
        "stream": True,
    }


async def test_newer_options_are_sent(plain: AnthropicProvider, server: MessagesServer) -> None:
    """An option that the installed SDK has no argument for goes into the body all the same."""
    await plain.answer(ask(options={"sparkle_level": {"high": True}}))

    assert server.requests[0].body["sparkle_level"] == {"high": True}


async def test_images_arrive(plain: AnthropicProvider) -> None:
    """A block with an image reaches the server byte by byte."""
    source = {"type": "base64", "media_type": "image/png", "data": "aGVsbG8="}
    message = {"role": "user", "content": [{"type": "image", "source": source}]}

    reply = await plain.answer(ask(messages=(message,)))

    assert reply.text == "Echo: [image image/png 5 bytes 2cf24dba]"


async def test_sampling_option_is_sent_or_refused(
    plain: AnthropicProvider, server: MessagesServer
) -> None:
    """A sampling option is sent where the SDK has one, and refused before sending where not."""
    if SDK_MAJOR == 0:
        await plain.answer(ask(options={"temperature": 0.5}))
        assert server.requests[0].body["temperature"] == 0.5
    else:
        with pytest.raises(UnsupportedOption, match="temperature"):
            await plain.answer(ask(options={"temperature": 0.5}))
        assert server.request_count == 0


async def test_model_without_sampling_is_named(
    plain: AnthropicProvider, server: MessagesServer
) -> None:
    """A model that refuses a sampling option ends in the same error as an SDK without it."""
    message = "temperature: sampling parameters are not supported"
    server.script([Behaviour(status=400, message=message)])

    with pytest.raises(UnsupportedOption, match="temperature") as caught:
        await plain.answer(ask(options={"temperature": 0.5}))

    assert "Leave it out" in caught.value.advice


@pytest.mark.parametrize("option", ["stream", "model", "extra_body", "extra_headers", "timeout"])
async def test_arguments_are_no_options(
    plain: AnthropicProvider, server: MessagesServer, option: str
) -> None:
    """An option cannot replace an argument of the call."""
    with pytest.raises(UnsupportedOption, match=option):
        await plain.answer(ask(options={option: "x"}))

    assert server.request_count == 0


# -- what comes back --------------------------------------------------------------------------


async def test_usage_is_read_in_full(plain: AnthropicProvider, server: MessagesServer) -> None:
    """Tokens written to and read from the prompt cache are counted by their kinds."""
    counted = {
        "input_tokens": 10,
        "output_tokens": 7,
        "cache_creation_input_tokens": 100,
        "cache_creation": {"ephemeral_5m_input_tokens": 60, "ephemeral_1h_input_tokens": 40},
        "cache_read_input_tokens": 5,
    }
    server.script([Behaviour(usage=counted)])

    reply = await plain.answer(ask())

    assert reply.usage == Usage(10, 7, 60, 40, 5)


async def test_tools_and_thoughts_are_kept(
    plain: AnthropicProvider, server: MessagesServer
) -> None:
    """Blocks of thinking and tool calls come back whole and are not part of the text."""
    blocks = (
        {"type": "thinking", "thinking": "Let me see.", "signature": "abc"},
        {"type": "text", "text": "I will look."},
        {"type": "tool_use", "id": "t1", "name": "look", "input": {"path": "a.py", "n": [1, 2]}},
    )
    server.script([Behaviour(content=blocks, stop_reason="tool_use")])

    reply = await plain.answer(ask())

    assert (reply.text, reply.content) == ("I will look.", blocks)


async def test_reply_names_its_origin(plain: AnthropicProvider) -> None:
    """A reply has the server's id of the request and the SDK that made the call."""
    reply = await plain.answer(ask())

    assert reply.request_id == "req_000001"
    assert reply.sdk == f"anthropic {importlib.import_module('anthropic').__version__}"


@pytest.mark.parametrize("reason", ["max_tokens", "refusal", "pause_turn", "stop_sequence"])
async def test_other_stops_are_outcomes(
    plain: AnthropicProvider, server: MessagesServer, reason: str
) -> None:
    """An answer that the model stopped for a known reason is an answer."""
    server.script([Behaviour(stop_reason=reason)])

    assert (await plain.answer(ask())).stop_reason == reason


@pytest.mark.parametrize("reason", ["refusal", "pause_turn", "stop_sequence"])
async def test_refusal_may_be_empty(
    plain: AnthropicProvider, server: MessagesServer, reason: str
) -> None:
    """Where no content is due, none is asked for."""
    server.script([Behaviour(stop_reason=reason, content=())])

    assert (await plain.answer(ask())).text == ""


async def test_connections_are_used_again(
    provider: AnthropicProvider, server: MessagesServer
) -> None:
    """Calls one after another share one connection."""
    for _ in range(3):
        await provider.answer(ask())

    assert server.connections == 1


# -- replies that are none ----------------------------------------------------------------------

GOOD_FAULTS = {"no_block_stop", "strange_events", "twice_stopped"}
STUCK_FAULTS = {"stall", "pings", "drip", "header_drip", "mute"}
BROKEN_FAULTS = {"reset", "close", "drop", "drop_reset"}
OTHER_FAULTS = {"error_event": Overloaded, "html_502": ServerFailed, "redirect": RequestRejected}


def expected(fault: str) -> Type[ProviderError]:
    """The error that *fault* must end in."""
    if fault in STUCK_FAULTS:
        return DeadlineExceeded
    if fault in BROKEN_FAULTS:
        return ConnectionFailed
    return OTHER_FAULTS.get(fault, IncompleteReply)


@pytest.mark.parametrize("fault", sorted(set(FAULTS) - GOOD_FAULTS))
async def test_fault_is_named(
    provider: AnthropicProvider, server: MessagesServer, fault: str
) -> None:
    """A reply that is not whole is an error of the right kind, whichever way it went wrong."""
    server.script([Behaviour(fault=fault, size_bytes=9 * 2**20)])

    with pytest.raises(ProviderError) as caught:
        patience_s = 0.3 if fault in STUCK_FAULTS else 10
        await provider.answer(ask("a question of many words"), stall_timeout_s=patience_s)

    assert type(caught.value) is expected(fault)
    assert caught.value.retryable == (fault != "redirect")


async def test_endless_line_is_cut_off(plain: AnthropicProvider, server: MessagesServer) -> None:
    """A line longer than any answer ends the reply while it still comes."""
    server.script([Behaviour(fault="huge_line", size_bytes=64 * 2**20)])

    with pytest.raises(IncompleteReply, match="more data than any answer"):
        await plain.answer(ask())

    await server.wait_until(lambda: server.requests[0].closed_early)


@pytest.mark.parametrize("fault", sorted(GOOD_FAULTS))
async def test_oddity_is_survived(
    provider: AnthropicProvider, server: MessagesServer, fault: str
) -> None:
    """Unknown events and a needless or missing end of a block do no harm."""
    server.script([Behaviour(fault=fault)])

    assert (await provider.answer(ask("a b c d"))).text == "Echo: a b c d"


@pytest.mark.parametrize(
    "behaviour",
    [
        Behaviour(stop_reason=None),
        Behaviour(content=()),
        Behaviour(text=""),
        Behaviour(stop_reason="tool_use"),
        Behaviour(usage={}),
        Behaviour(usage={"input_tokens": 1}),
        Behaviour(usage={"input_tokens": -1, "output_tokens": 1}),
        Behaviour(usage={"input_tokens": 1, "output_tokens": 10**12}),
        Behaviour(usage={"input_tokens": 1, "output_tokens": "many"}),
        Behaviour(usage={"input_tokens": True, "output_tokens": 1}),
    ],
    ids=lambda behaviour: f"{behaviour.stop_reason}-{behaviour.content}-{behaviour.usage}",
)
async def test_half_a_message_is_none(
    plain: AnthropicProvider, server: MessagesServer, behaviour: Behaviour
) -> None:
    """Without a reason to stop, content where it is due, or sane usage there is no reply."""
    server.script([behaviour])

    with pytest.raises(IncompleteReply) as caught:
        await plain.answer(ask())

    assert caught.value.request_id == "req_000001"


async def test_unknown_stop_is_not_repeated(
    plain: AnthropicProvider, server: MessagesServer
) -> None:
    """An unknown reason to stop is not accepted, and not worth paying for again."""
    server.script([Behaviour(stop_reason="sparkled")])

    with pytest.raises(IncompleteReply, match="sparkled") as caught:
        await plain.answer(ask())

    assert not caught.value.retryable


async def test_text_before_a_cut_is_heard(plain: AnthropicProvider, server: MessagesServer) -> None:
    """What came before a stream broke has reached the listener."""
    pieces: List[str] = []
    server.script([Behaviour(fault="close", text="one two three", after_tokens=2)])

    with pytest.raises(ConnectionFailed):
        await plain.answer(ask(), on_text=pieces.append)

    assert pieces == ["one", " two"]


async def test_slow_text_is_no_stall(plain: AnthropicProvider, server: MessagesServer) -> None:
    """Time without content is counted from the last content, not from the start."""
    server.script([Behaviour(tokens=10, delay_s=0.1)])

    reply = await plain.answer(ask(), stall_timeout_s=0.7)

    assert reply.usage.output_tokens == 11
