"""The orchestrator, over real HTTP on loopback."""

from __future__ import annotations

import asyncio
import logging
import threading
from pathlib import Path
from typing import Any, AsyncIterator

import pytest
from messages_server import Behaviour, MessagesServer

from claude_force_nb import (
    AgentRequest,
    AgentResult,
    AsyncAgentOrchestrator,
    AsyncAgentResult,
    ResponseCache,
)
from claude_force_nb.errors import AgentNotFound, CacheMiss, InputError, MissingKey
from claude_force_nb.execution import RECENT_REQUESTS
from claude_force_nb.runs import Run

pytestmark = pytest.mark.essential


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with two agents."""
    agents = tmp_path / ".claude" / "agents"
    agents.mkdir(parents=True)
    (agents / "echo.md").write_text("You repeat.")
    (agents / "critic.md").write_text("---\nname: critic\nmodel: haiku\n---\nYou criticise.")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
async def server() -> AsyncIterator[MessagesServer]:
    """A Messages API on loopback."""
    async with MessagesServer() as running:
        yield running


@pytest.fixture
async def orchestrator(
    project: Path, server: MessagesServer
) -> AsyncIterator[AsyncAgentOrchestrator]:
    """An orchestrator that talks to the server."""
    async with AsyncAgentOrchestrator(api_key="sk-ant-test", base_url=server.url) as made:
        yield made


async def test_answer_and_provenance(
    server: MessagesServer, orchestrator: AsyncAgentOrchestrator
) -> None:
    """A result has the server's text, usage, model, request id and a known price."""
    server.script([Behaviour(text="All fine.")])

    result = await orchestrator.execute_agent("echo", "Look at this")

    assert (result.success, result.output, result.state) == (True, "All fine.", "done")
    assert result.usage.output_tokens > 0
    assert result.cost_usd is not None and result.cost_usd > 0
    assert result.request_id
    assert result.metadata["provider"] == "anthropic"


async def test_agent_text_is_the_system_prompt(
    server: MessagesServer, orchestrator: AsyncAgentOrchestrator
) -> None:
    """The agent's file travels as ``system``; the user message is the task alone."""
    await orchestrator.execute_agent("critic", "My poem")

    body = server.messages[0].body
    assert body["system"] == "You criticise."
    assert body["messages"] == [{"role": "user", "content": "My poem"}]
    assert "haiku" in body["model"]
    assert "temperature" not in body


async def test_order_is_kept(server: MessagesServer, orchestrator: AsyncAgentOrchestrator) -> None:
    """Results stand in the order of the tasks, however long each one takes."""
    waits = {"first": 0.3, "second": 0.1, "third": 0.0}
    tasks = [("echo", f"[[wait {wait}]] [[say {word}]]") for word, wait in waits.items()]

    results = await orchestrator.execute_multiple(tasks)

    assert [result.output for result in results] == ["first", "second", "third"]


async def test_failures_spare_siblings(
    server: MessagesServer, orchestrator: AsyncAgentOrchestrator
) -> None:
    """A failing call and an unknown agent are results; the sibling has its answer."""
    results = await orchestrator.execute_multiple(
        [("echo", "[[status 400]]"), ("ehco", "hi"), ("echo", "fine")]
    )

    assert [result.success for result in results] == [False, False, True]
    assert "did you mean" in results[1].errors[0].lower()


@pytest.mark.parametrize(
    "pair",
    [("bad/name", "x"), ("", "x"), (None, "x"), ("echo", ""), ("echo", "  "), ("echo", 3)],
)
async def test_malformed_input_sends_nothing(
    server: MessagesServer, orchestrator: AsyncAgentOrchestrator, pair: Any
) -> None:
    """A malformed pair raises ValueError before any sibling is sent."""
    with pytest.raises(ValueError):
        await orchestrator.execute_multiple([("echo", "fine"), pair])

    assert server.request_count == 0


@pytest.mark.parametrize("pairs", [["ab"], [("echo", "x", 1)], [("echo",)], ["echo"]])
async def test_pairs_are_checked(
    server: MessagesServer, orchestrator: AsyncAgentOrchestrator, pairs: Any
) -> None:
    """What is no pair of agent and text is refused by name."""
    with pytest.raises(InputError, match="pair"):
        await orchestrator.execute_multiple(pairs)


async def test_iterators_are_kept(
    server: MessagesServer, orchestrator: AsyncAgentOrchestrator
) -> None:
    """Tasks may come from an iterator; none is lost to the check."""
    results = await orchestrator.execute_multiple(zip(["echo", "critic"], ["one", "two"]))

    assert [result.success for result in results] == [True, True]


@pytest.mark.parametrize("option", [{"api_key": "x"}, {"user": "sk-ant-api03-" + "Ab3" * 20}])
async def test_keys_are_no_options(
    server: MessagesServer, orchestrator: AsyncAgentOrchestrator, option: Any
) -> None:
    """A key among the options of a call is refused before it is hashed, sent or stored."""
    with pytest.raises(InputError):
        await orchestrator.execute_agent("echo", "hi", **option)

    assert server.request_count == 0


async def test_too_large_task(server: MessagesServer, orchestrator: AsyncAgentOrchestrator) -> None:
    """A task beyond the limit is refused with both sizes, before anything is sent."""
    with pytest.raises(InputError, match=r"2,000,001.*2,000,000"):
        await orchestrator.execute_agent("echo", "x" * 2_000_001)

    assert server.request_count == 0


async def test_unknown_agent_suggests(orchestrator: AsyncAgentOrchestrator) -> None:
    """A wrong name says which agent may be meant."""
    with pytest.raises(AgentNotFound, match="critic"):
        await orchestrator.execute_agent("critc", "hi")


async def test_concurrency_is_limited(project: Path, server: MessagesServer) -> None:
    """Every way in shares one limit."""
    async with AsyncAgentOrchestrator(
        api_key="sk-ant-test", base_url=server.url, max_concurrent=2, enable_cache=False
    ) as orchestrator:
        peak, active = 0, set()

        def watch(run: Run) -> None:
            nonlocal peak
            if run.ended:
                active.discard(run)
            elif run.attempt:
                active.add(run)
            peak = max(peak, len(active))

        runs = [Run("echo") for _ in range(6)]
        for run in runs:
            run.listen(watch)
        await asyncio.gather(
            *(
                orchestrator.execute_agent("echo", f"[[slow 3 0.02]] {i}", run=run)
                for i, run in enumerate(runs[:3])
            ),
            *(
                orchestrator.execute_with_semaphore("echo", f"[[slow 3 0.02]] {i}", run=run)
                for i, run in enumerate(runs[3:], 3)
            ),
        )

    assert peak == 2
    assert server.request_count == 6


async def test_twins_share_one_call(
    server: MessagesServer, orchestrator: AsyncAgentOrchestrator
) -> None:
    """Two identical requests in flight reach the server once."""
    first, second = await asyncio.gather(
        orchestrator.execute_agent("echo", "hi"), orchestrator.execute_agent("echo", "hi")
    )

    assert server.request_count == 1
    assert (first.output, sorted([first.cached, second.cached])) == (second.output, [False, True])


async def test_repeated_request_is_cached(
    server: MessagesServer, orchestrator: AsyncAgentOrchestrator
) -> None:
    """The second time the answer comes from the cache, with everything known of the first."""
    first = await orchestrator.execute_agent("echo", "hi")
    second = await orchestrator.execute_agent("echo", "hi")

    assert server.request_count == 1
    assert second.state == "cached"
    same = ("output", "model", "usage", "cost_usd", "request_id", "stop_reason", "key")
    assert [getattr(first, f) for f in same] == [getattr(second, f) for f in same]


async def test_refresh_calls_again(
    server: MessagesServer, orchestrator: AsyncAgentOrchestrator
) -> None:
    """Refresh pays for a new answer, which then is the stored one."""
    server.script([Behaviour(text="old"), Behaviour(text="new")])
    await orchestrator.execute_agent("echo", "hi")
    fresh = await orchestrator.execute_agent("echo", "hi", mode="refresh")
    after = await orchestrator.execute_agent("echo", "hi")

    assert (fresh.output, fresh.cached) == ("new", False)
    assert (after.output, after.cached) == ("new", True)


async def test_replay_never_builds_provider(project: Path) -> None:
    """A miss in replay is an error that explains itself; no provider is made."""
    async with AsyncAgentOrchestrator(mode="replay") as orchestrator:
        result = await orchestrator.execute_agent("echo", "hi")

        assert isinstance(result.error, CacheMiss)
        assert orchestrator._built == {}


async def test_off_keeps_nothing(
    server: MessagesServer, orchestrator: AsyncAgentOrchestrator
) -> None:
    """With the cache off each run is a call, and nothing is stored."""
    for _ in range(2):
        await orchestrator.execute_agent("echo", "hi", mode="off")
    later = await orchestrator.execute_agent("echo", "hi")

    assert server.request_count == 3
    assert not later.cached


async def test_expired_answer_is_not_served(
    server: MessagesServer, project: Path, tmp_path: Path
) -> None:
    """An answer whose time is over is asked for again, although its entry is still there."""
    now = [1e9]
    cache = ResponseCache(tmp_path / "aging", ttl_hours=1, clock=lambda: now[0])
    async with AsyncAgentOrchestrator(api_key="k", base_url=server.url, cache=cache) as ours:
        await ours.execute_agent("echo", "hi")
        now[0] += 7200
        cache.close()
        run = Run("echo")
        again = await ours.execute_agent("echo", "hi", run=run)

    assert (again.cached, run.cache_status, server.request_count) == (False, "expired", 2)


async def test_answer_stored_meanwhile_is_used(
    server: MessagesServer, project: Path, tmp_path: Path
) -> None:
    """An answer that another kernel stores between our lookup and our turn is not paid twice."""
    folder = tmp_path / "shared"

    class Late(ResponseCache):
        def lookup(self, request: AgentRequest, *, strict: bool = False) -> Any:
            found = super().lookup(request, strict=strict)
            if not found.hit:
                theirs = AgentResult("echo", True, "theirs", stop_reason="end_turn")
                ResponseCache(folder).store(request, theirs)
            return found

    async with AsyncAgentOrchestrator(base_url=server.url, cache=Late(folder)) as ours:
        result = await ours.execute_agent("echo", "hi")

    assert (result.output, result.cached, server.request_count) == ("theirs", True, 0)


async def test_runs_know_their_request(orchestrator: AsyncAgentOrchestrator) -> None:
    """The last runs keep what was asked and what the cache said, older ones let it go."""
    for number in range(RECENT_REQUESTS + 1):
        await orchestrator.execute_agent("echo", f"task {number % 2}")
    first, second, last = (orchestrator.recent_runs[number] for number in (0, 1, -1))

    assert first.request is None
    assert second.request is not None
    assert second.request.messages[0]["content"] == "task 1"
    assert (second.cache_status, last.cache_status) == ("miss", "hit")


@pytest.mark.parametrize(
    "words", ["[[stop max_tokens]]", "[[stop refusal]]", "[[status 400]]", "[[fault reset]]"]
)
async def test_incomplete_is_never_stored(
    server: MessagesServer, orchestrator: AsyncAgentOrchestrator, words: str
) -> None:
    """Errors, refusals, cut and truncated answers are asked for again."""
    await orchestrator.execute_agent("echo", words)
    before = server.request_count

    again = await orchestrator.execute_agent("echo", words)

    assert not again.cached
    assert server.request_count > before


async def test_missing_key_is_a_failed_result(project: Path, server: MessagesServer) -> None:
    """Without a key the run fails with the ways out, and nothing is sent."""
    async with AsyncAgentOrchestrator(base_url=server.url) as orchestrator:
        result = await orchestrator.execute_agent("echo", "hi")

    assert isinstance(result.error, MissingKey)
    assert "%agents use offline" in result.errors[0]
    assert server.request_count == 0


async def test_cancelling_closes_the_stream(
    server: MessagesServer, orchestrator: AsyncAgentOrchestrator
) -> None:
    """A cancelled run is closed as such, its text kept, its connection gone."""
    run = Run("echo")
    started = asyncio.Event()
    run.listen(lambda r: started.set() if r.text else None)
    task = asyncio.ensure_future(orchestrator.execute_agent("echo", "[[slow 100 0.05]]", run=run))
    await asyncio.wait_for(started.wait(), 10)
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task

    assert run.state == "cancelled"
    assert run.result is not None and run.result.output
    await server.wait_until(lambda: server.messages[0].closed_early)
    assert server.request_count == 1


async def test_exit_becomes_a_result(project: Path) -> None:
    """A ``SystemExit`` raised while answering is a failed run, not the end of the process."""

    class Leaving:
        name, endpoint = "leaving", ""

        async def answer(self, request: Any, **_: Any) -> Any:
            raise SystemExit(3)

        async def close(self) -> None:
            pass

    orchestrator = AsyncAgentOrchestrator(provider=Leaving(), enable_cache=False)
    result = await orchestrator.execute_agent("echo", "hi")

    assert (result.success, result.errors) == (False, ["SystemExit: 3"])


def test_two_loops_in_a_row(project: Path) -> None:
    """One orchestrator, made before any loop, works in two ``asyncio.run`` calls."""
    orchestrator = AsyncAgentOrchestrator(provider="offline", enable_cache=False, max_concurrent=1)

    async def twice() -> list[bool]:
        pair = [("echo", "one"), ("critic", "two")]
        return [result.success for result in await orchestrator.execute_multiple(pair)]

    assert asyncio.run(twice()) == asyncio.run(twice()) == [True, True]


def test_two_loops_over_http(project: Path) -> None:
    """The HTTP client of one loop is not used on the next."""
    orchestrator = AsyncAgentOrchestrator(api_key="sk-ant-test", enable_cache=False)

    async def once() -> AsyncAgentResult:
        async with MessagesServer() as server:
            orchestrator.reconfigure(base_url=server.url)
            result = await orchestrator.execute_agent("echo", "hi")
            await orchestrator.close()
            return result

    assert [asyncio.run(once()).success for _ in range(2)] == [True, True]


def test_made_in_a_thread(project: Path) -> None:
    """An orchestrator can be made in a thread that has no event loop."""
    made = []
    thread = threading.Thread(
        target=lambda: made.append(AsyncAgentOrchestrator(provider="offline", enable_cache=False))
    )
    thread.start()
    thread.join()

    assert asyncio.run(made[0].execute_agent("echo", "hi")).success


def test_key_never_shows(project: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The key is in no repr, dict or log record of the orchestrator and its results."""
    secret = "sk-ant-verysecretvalue"
    caplog.set_level(logging.DEBUG, logger="claude_force_nb")

    async def ask() -> str:
        async with MessagesServer() as server:
            orchestrator = AsyncAgentOrchestrator(api_key=secret, base_url=server.url)
            result = await orchestrator.execute_agent("echo", "[[status 401]] hi")
            await orchestrator.close()
            return repr([vars(orchestrator), result, result.to_dict(), orchestrator.provider])

    shown = asyncio.run(ask())

    assert secret not in shown
    assert secret not in str([vars(record) for record in caplog.records])


def test_logs_carry_fields_not_prompts(project: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The log record of a run has agent, state and key as fields, and no prompt text."""
    caplog.set_level(logging.INFO, logger="claude_force_nb")
    orchestrator = AsyncAgentOrchestrator(provider="offline", enable_cache=False)

    asyncio.run(orchestrator.execute_agent("echo", "the purple elephant"))

    record = next(r for r in caplog.records if r.getMessage() == "run ended")
    assert (record.agent_name, record.state, len(record.key)) == ("echo", "done", 64)
    assert "elephant" not in str([vars(r) for r in caplog.records])


async def test_load_config_and_definition(project: Path) -> None:
    """The earlier class's two loaders give the configuration and an agent's text."""
    (project / ".claude" / "claude.json").write_text('{"workflows": {"w": ["echo", "critic"]}}')
    orchestrator = AsyncAgentOrchestrator(provider="offline")

    assert (await orchestrator.load_config())["workflows"] == {"w": ["echo", "critic"]}
    assert await orchestrator.load_agent_definition("echo") == "You repeat."
    await orchestrator.close()


@pytest.mark.parametrize(
    "wrong",
    [
        {"mode": "sometimes"},
        {"provider": "oracle"},
        {"max_concurrent": 0},
        {"timeout_seconds": -1},
        {"max_retries": True},
    ],
)
def test_senseless_settings(wrong: dict[str, Any]) -> None:
    """A setting that makes no sense is refused by name."""
    with pytest.raises(InputError):
        AsyncAgentOrchestrator(**wrong)
