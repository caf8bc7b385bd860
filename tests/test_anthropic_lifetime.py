"""Promises about what the Anthropic provider holds, for how long, and what it leaves behind."""

from __future__ import annotations

import asyncio
import importlib
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, AsyncIterator, Dict, Iterator

import pytest
from messages_server import Behaviour, MessagesServer, ServerThread

from claude_force_nb.errors import ClaudeForceError, UnsupportedOption
from claude_force_nb.providers.anthropic import MAX_CONNECTIONS, AnthropicProvider
from claude_force_nb.records import AgentRequest

pytestmark = pytest.mark.essential

KEY = "sk-ant-canary-0123456789abcdef"
ROOT = Path(__file__).resolve().parent.parent
SCRIPT_HEAD = """
import asyncio, sys, threading
from claude_force_nb.providers.anthropic import AnthropicProvider
from claude_force_nb.records import AgentRequest
url, transport = sys.argv[1:]
provider = AnthropicProvider("sk-ant-canary", base_url=url, transport=transport)
request = AgentRequest("echo", "m", ({"role": "user", "content": "hi"},), 100)
"""


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


@pytest.fixture
def server_thread() -> Iterator[ServerThread]:
    """A Messages API that outlives event loops."""
    with ServerThread() as running:
        yield running


def run_script(script: str, url: str, transport: str) -> subprocess.CompletedProcess[str]:
    """Run *script* in a fresh interpreter that shows every warning."""
    return subprocess.run(
        [sys.executable, "-W", "always", "-c", SCRIPT_HEAD + script, url, transport],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )


# -- cancelling ---------------------------------------------------------------------------------


@pytest.mark.parametrize("behaviour", [Behaviour(fault="mute"), Behaviour(fault="pings"),
                                       Behaviour(tokens=500, delay_s=0.05)],
                         ids=["before headers", "pings", "text"])  # fmt: skip
async def test_cancelling_closes_the_stream(
    provider: AnthropicProvider, server: MessagesServer, behaviour: Behaviour
) -> None:
    """After a cancellation the server sees the connection closed and no further request."""
    server.script([behaviour])
    answering = asyncio.ensure_future(provider.answer(ask()))
    await server.wait_until(lambda: server.request_count == 1)

    answering.cancel()
    with pytest.raises(asyncio.CancelledError):
        await answering

    await server.wait_until(lambda: server.requests[0].closed_early, timeout_s=2)
    assert server.request_count == 1


async def test_stalled_stream_is_closed(
    provider: AnthropicProvider, server: MessagesServer
) -> None:
    """A stream given up for want of content is closed, not left to drip."""
    server.script([Behaviour(fault="pings")])

    with pytest.raises(ClaudeForceError):
        await provider.answer(ask(), stall_timeout_s=0.1)

    await server.wait_until(lambda: server.requests[0].closed_early, timeout_s=2)


async def test_broken_listener_ends_the_stream(
    provider: AnthropicProvider, server: MessagesServer
) -> None:
    """A stream whose listener fails is closed, not read on."""
    server.script([Behaviour(tokens=1000, delay_s=0.02)])

    def broken(text: str) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await provider.answer(ask(), on_text=broken)

    await server.wait_until(lambda: server.requests[0].closed_early, timeout_s=2)


async def test_cancelled_siblings_only(provider: AnthropicProvider, server: MessagesServer) -> None:
    """Cancelling one answer leaves the others alone."""
    server.script([Behaviour(fault="pings")])
    stuck = asyncio.ensure_future(provider.answer(ask()))
    await server.wait_until(lambda: server.request_count == 1)
    other = asyncio.ensure_future(provider.answer(ask("[[slow 5 0.02]]")))

    stuck.cancel()

    assert (await other).stop_reason == "end_turn"


# -- clients, loops, processes ------------------------------------------------------------------


async def test_more_calls_than_connections(
    server: MessagesServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Calls beyond the connections wait for one, and that wait is no stall."""
    monkeypatch.setitem(MAX_CONNECTIONS, "httpx", 2)
    provider = AnthropicProvider(KEY, base_url=server.url, transport="httpx")
    await provider.answer(ask())
    calls = (provider.answer(ask("[[wait 0.3]]"), stall_timeout_s=0.9) for _ in range(8))

    replies = await asyncio.gather(*calls)
    await provider.close()

    assert len(replies) == 8
    assert server.connections <= 2


@pytest.mark.parametrize("transport", ["httpx", "aiohttp"])
def test_unclosed_script_leaves_nothing(server_thread: ServerThread, transport: str) -> None:
    """A script that never closes, in three event loops, ends without a warning."""
    script = """
for _ in range(3):
    print(asyncio.run(provider.answer(request)).text)
print(sorted(thread.name for thread in threading.enumerate()))
"""
    done = run_script(script, server_thread.url, transport)

    assert done.stdout.splitlines() == ["Echo: hi"] * 3 + ["['MainThread']"]
    assert "nclosed" not in done.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_forked_child_has_its_own_client(server_thread: ServerThread) -> None:
    """After a fork each process gets its own answers, over its own connections."""
    script = """
import os
async def parent():
    await provider.answer(request)
    child = os.fork()
    if not child:
        asyncio.events._set_running_loop(None)
        own_loop = asyncio.new_event_loop()
        print([own_loop.run_until_complete(ask("child")) for _ in range(5)])
        sys.stdout.flush()
        os._exit(0)
    print([await ask("parent") for _ in range(5)])
    os.waitpid(child, 0)
async def ask(text):
    own = AgentRequest("echo", "m", ({"role": "user", "content": text},), 100)
    return (await provider.answer(own)).text
asyncio.run(parent())
"""
    done = run_script(script, server_thread.url, "auto")

    assert sorted(done.stdout.splitlines()) == [
        str(["Echo: child"] * 5),
        str(["Echo: parent"] * 5),
    ]
    assert server_thread.connections == 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_forked_loop_has_its_own_client(server_thread: ServerThread) -> None:
    """A child that goes on with its parent's event loop never speaks on its connection."""
    # asyncio's own threads are gone in such a child, so its call may fail; it may not be mixed up.
    script = """
import os
loop = asyncio.new_event_loop()
def say_hi():
    loop.run_until_complete(provider.answer(request, stall_timeout_s=0.5))
say_hi()
child = os.fork()
if not child:
    try:
        say_hi()
    finally:
        os._exit(0)
os.waitpid(child, 0)
"""
    run_script(script, server_thread.url, "auto")

    assert 1 <= server_thread.request_count <= server_thread.connections


def test_import_leaves_the_loop_alive(server_thread: ServerThread) -> None:
    """While the SDK is imported for the first call, other tasks of the loop go on."""
    script = """
async def main():
    ticks = 0
    answering = asyncio.ensure_future(provider.answer(request))
    while not answering.done():
        ticks += 1
        await asyncio.sleep(0.01)
    print(ticks >= 10, "anthropic" in sys.modules)
print("anthropic" in sys.modules)
asyncio.run(main())
"""
    done = run_script(script, server_thread.url, "auto")

    assert done.stdout.splitlines() == ["False", "True True"]


def test_missing_aiohttp_is_no_obstacle(server_thread: ServerThread) -> None:
    """Without aiohttp the other transport is used, unless aiohttp was asked for."""
    script = """
sys.modules["aiohttp"] = None
try:
    print(asyncio.run(provider.answer(request)).text)
except Exception as error:
    print(type(error).__name__)
"""
    automatic = run_script(script, server_thread.url, "auto")
    demanded = run_script(script, server_thread.url, "aiohttp")

    assert automatic.stdout.strip() == "Echo: hi"
    assert demanded.stdout.strip() == UnsupportedOption.__name__


async def test_answers_leave_no_thread(provider: AnthropicProvider) -> None:
    """No thread of the provider outlives an answer."""
    await provider.answer(ask())

    assert not [t.name for t in threading.enumerate() if "anthropic" in t.name]


# -- models and tokens --------------------------------------------------------------------------


async def test_models_are_listed(provider: AnthropicProvider) -> None:
    """The models are those that the server lists, in its order."""
    known = await provider.models()

    assert known[:2] == ["claude-opus-5-5", "claude-sonnet-5-5"]


async def test_tokens_are_counted(provider: AnthropicProvider, server: MessagesServer) -> None:
    """Tokens are counted by the server, without asking for an answer."""
    counted = await provider.count_tokens(ask("three short words", system="Be kind."))

    assert counted == 5
    assert server.request_count == 0


@pytest.mark.parametrize("path", ["models", "count_tokens"])
async def test_strange_lists_are_errors(
    provider: AnthropicProvider, server: MessagesServer, path: str, monkeypatch: Any
) -> None:
    """A server that answers these with something else ends in an error of this package."""
    monkeypatch.setattr("messages_server._model_list", lambda: "<html>")
    monkeypatch.setattr("messages_server.count_tokens", lambda body: [1])
    call = provider.models() if path == "models" else provider.count_tokens(ask())

    with pytest.raises(ClaudeForceError):
        await call


async def test_sdk_is_the_installed_one(provider: AnthropicProvider) -> None:
    """The version in a reply is that of the installed SDK."""
    installed = importlib.import_module("anthropic").__version__

    assert (await provider.answer(ask())).sdk.endswith(installed)
