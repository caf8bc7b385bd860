"""Promises of the retry layer, over real HTTP; only the pauses are not slept through."""

from __future__ import annotations

import asyncio
import re
import time
from typing import Any, AsyncIterator, Callable, List, Optional

import pytest
from messages_server import Behaviour, MessagesServer, http_date

from claude_force_nb.attempts import RetryPolicy, answer_with_retries
from claude_force_nb.errors import (
    AuthenticationFailed,
    ConnectionFailed,
    DeadlineExceeded,
    IncompleteReply,
    InputError,
    Overloaded,
    ProviderError,
    RateLimited,
    ServerFailed,
)
from claude_force_nb.providers.anthropic import AnthropicProvider
from claude_force_nb.records import AgentRequest, Reply
from claude_force_nb.runs import Run

pytestmark = pytest.mark.essential

REQUEST = AgentRequest("echo", "claude-opus-5-5", ({"role": "user", "content": "hi"},), 100)
PATIENT = RetryPolicy(timeout_s=60)


class Pauses(List[float]):
    """Stands in for sleeping: writes the seconds down and lets the loop turn once."""

    async def __call__(self, seconds: float) -> None:
        """Pretend to sleep."""
        self.append(seconds)
        await asyncio.sleep(0)


@pytest.fixture
async def server() -> AsyncIterator[MessagesServer]:
    """A Messages API."""
    async with MessagesServer() as running:
        yield running


@pytest.fixture
async def provider(server: MessagesServer) -> AsyncIterator[AnthropicProvider]:
    """A provider for it."""
    made = AnthropicProvider("sk-ant-test", base_url=server.url)
    yield made
    await made.close()


async def attempt(
    provider: AnthropicProvider,
    policy: RetryPolicy = PATIENT,
    *,
    run: Optional[Run] = None,
    pauses: Optional[Pauses] = None,
    random: Callable[[], float] = lambda: 0.5,
) -> Reply:
    """Answer the request without sleeping and without chance."""
    pauses = Pauses() if pauses is None else pauses
    run = run or Run("echo")
    return await answer_with_retries(provider, REQUEST, run, policy, sleep=pauses, random=random)


# -- how often ----------------------------------------------------------------------------------


async def test_success_takes_one_attempt(
    provider: AnthropicProvider, server: MessagesServer
) -> None:
    """A first attempt that succeeds is the only one."""
    pauses = Pauses()

    reply = await attempt(provider, pauses=pauses)

    assert (reply.text, server.request_count, pauses) == ("Echo: hi", 1, [])


@pytest.mark.parametrize("behaviour", [Behaviour(status=408), Behaviour(status=409),
                                       Behaviour(status=429), Behaviour(status=500),
                                       Behaviour(status=529), Behaviour(fault="drop_reset"),
                                       Behaviour(fault="close"), Behaviour(fault="truncated"),
                                       Behaviour(fault="error_event"), Behaviour(fault="html")],
                         ids=lambda b: b.fault or str(b.status))  # fmt: skip
async def test_passing_failure_is_retried(
    provider: AnthropicProvider, server: MessagesServer, behaviour: Behaviour
) -> None:
    """What may pass is tried again, and the answer after it is the answer."""
    server.script([behaviour, behaviour])

    reply = await attempt(provider)

    assert (reply.text, server.request_count) == ("Echo: hi", 3)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413])
async def test_lasting_failure_is_not_retried(
    provider: AnthropicProvider, server: MessagesServer, status: int
) -> None:
    """What cannot pass is asked once."""
    server.script([Behaviour(status=status)])

    with pytest.raises(ProviderError) as caught:
        await attempt(provider)

    assert (caught.value.attempts, server.request_count) == (1, 1)


@pytest.mark.parametrize("most", [1, 2, 3, 5])
async def test_attempts_are_counted(
    provider: AnthropicProvider, server: MessagesServer, most: int
) -> None:
    """``max_attempts`` is the number of requests, and the error says how many there were."""
    server.script([Behaviour(status=529)] * 6)

    with pytest.raises(Overloaded) as caught:
        await attempt(provider, RetryPolicy(max_attempts=most))

    assert (caught.value.attempts, server.request_count) == (most, most)
    assert (f"after {most} attempts" in str(caught.value)) == (most > 1)


async def test_last_error_is_told(provider: AnthropicProvider, server: MessagesServer) -> None:
    """When attempts fail in different ways the error is that of the last, with its cause."""
    server.script([Behaviour(status=529), Behaviour(status=429), Behaviour(status=500)])

    with pytest.raises(ServerFailed) as caught:
        await attempt(provider)

    assert (caught.value.status, caught.value.request_id) == (500, "req_000003")
    assert caught.value.__cause__ is not None


async def test_own_errors_are_not_retried(
    provider: AnthropicProvider, server: MessagesServer
) -> None:
    """A mistake in a listener is not a failed attempt."""
    run = Run("echo")

    def broken(run: Run) -> None:
        if run.text:
            raise ZeroDivisionError

    run.listen(broken)

    with pytest.raises(ZeroDivisionError):
        await attempt(provider, run=run)

    assert server.request_count == 1


# -- pauses -------------------------------------------------------------------------------------


async def test_pauses_grow_with_full_jitter(
    provider: AnthropicProvider, server: MessagesServer
) -> None:
    """Pauses are a random share of a bound that doubles up to its maximum."""
    pauses, shares = Pauses(), iter((0.1, 0.9, 0.0, 1.0, 0.5))
    server.script([Behaviour(status=500)] * 5)
    policy = RetryPolicy(max_attempts=6, base_delay_s=1.0, max_delay_s=8.0)

    await attempt(provider, policy, pauses=pauses, random=lambda: next(shares))

    assert pauses == [0.1 * 1, 0.9 * 2, 0.0 * 4, 1.0 * 8, 0.5 * 8]


@pytest.mark.parametrize(
    ("header", "pause_s"),
    [("7", 7.25), ("0", 0.25), ("nan", 0.25), ("inf", 0.25), ("-3", 0.25), ("1e300", 0.25)],
)
async def test_retry_after_is_obeyed(
    provider: AnthropicProvider, server: MessagesServer, header: str, pause_s: float
) -> None:
    """A ``Retry-After`` that makes sense replaces the bound; jitter comes on top."""
    pauses = Pauses()
    server.script([Behaviour(status=429, retry_after=header)])

    await attempt(provider, pauses=pauses)

    assert pauses == [pause_s]


async def test_retry_after_date_is_obeyed(
    provider: AnthropicProvider, server: MessagesServer
) -> None:
    """A ``Retry-After`` may be a date."""
    pauses = Pauses()
    server.script([Behaviour(status=503, retry_after=http_date(20))])

    await attempt(provider, pauses=pauses)

    assert 15 < pauses[0] <= 20.25


async def test_late_reset_ends_at_once(provider: AnthropicProvider, server: MessagesServer) -> None:
    """A ``Retry-After`` beyond the deadline ends the run now and names the time of reset."""
    pauses = Pauses()
    server.script([Behaviour(status=429, retry_after="86400")])

    with pytest.raises(RateLimited) as caught:
        await attempt(provider, pauses=pauses)

    tomorrow = time.strftime("%Y-%m-%d", time.localtime(time.time() + 86400))
    assert f"asks to wait until {tomorrow}" in caught.value.advice
    assert "Run the cell again" in caught.value.advice
    assert (server.request_count, pauses) == (1, [])


async def test_near_reset_is_a_clock_time(
    provider: AnthropicProvider, server: MessagesServer
) -> None:
    """A reset within a run that has no attempt left is named as well."""
    server.script([Behaviour(status=429, retry_after="1")])

    with pytest.raises(RateLimited) as caught:
        await attempt(provider, RetryPolicy(max_attempts=1))

    assert re.search(r"until (\d{4}-\d\d-\d\d )?\d\d:\d\d", caught.value.advice)


async def test_no_pause_into_the_deadline(
    provider: AnthropicProvider, server: MessagesServer
) -> None:
    """A pause that would end after the deadline is not begun."""
    pauses = Pauses()
    server.script([Behaviour(status=500)] * 3)
    policy = RetryPolicy(timeout_s=5, base_delay_s=20, max_delay_s=20)

    with pytest.raises(ServerFailed):
        await attempt(provider, policy, pauses=pauses)

    assert (server.request_count, pauses) == (1, [])


# -- deadlines ----------------------------------------------------------------------------------


async def test_whole_run_has_a_deadline(
    provider: AnthropicProvider, server: MessagesServer
) -> None:
    """The run ends in time whatever the server does, and its connection is closed."""
    server.script([Behaviour(status=500), Behaviour(tokens=1000, delay_s=0.02)])
    started = time.monotonic()

    with pytest.raises(DeadlineExceeded, match="within 1 s in 2 attempts") as caught:
        await attempt(provider, RetryPolicy(timeout_s=1, base_delay_s=0.01))

    assert time.monotonic() - started < 3
    assert caught.value.attempts == 2
    assert isinstance(caught.value.__cause__, ServerFailed)
    await server.wait_until(lambda: server.requests[1].closed_early, timeout_s=2)


async def test_deadline_ends_a_pause(provider: AnthropicProvider, server: MessagesServer) -> None:
    """The deadline also ends a pause that takes longer than it should."""
    server.script([Behaviour(status=500)])

    async def endless(seconds: float) -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(DeadlineExceeded):
        await answer_with_retries(
            provider, REQUEST, Run("echo"), RetryPolicy(timeout_s=0.2, base_delay_s=0.01),
            sleep=endless,
        )  # fmt: skip


async def test_attempt_has_a_deadline(provider: AnthropicProvider, server: MessagesServer) -> None:
    """An attempt that takes too long is given up, and the next one may succeed."""
    server.script([Behaviour(tokens=1000, delay_s=0.02)])

    reply = await attempt(provider, RetryPolicy(attempt_timeout_s=0.6))

    assert (reply.text, server.request_count) == ("Echo: hi", 2)
    await server.wait_until(lambda: server.requests[0].closed_early, timeout_s=2)


async def test_stalls_are_retried(provider: AnthropicProvider, server: MessagesServer) -> None:
    """An attempt without content, pings or not, is given up after the policy's patience."""
    server.script([Behaviour(fault="pings"), Behaviour(fault="stall")])

    reply = await attempt(provider, RetryPolicy(stall_timeout_s=0.5))

    assert (reply.text, server.request_count) == ("Echo: hi", 3)


async def test_no_deadline_is_possible(provider: AnthropicProvider) -> None:
    """A run may do without a deadline."""
    assert (await attempt(provider, RetryPolicy(timeout_s=None))).text == "Echo: hi"


@pytest.mark.parametrize("fields", [{"max_attempts": 0}, {"timeout_s": 0}, {"timeout_s": -1},
                                    {"attempt_timeout_s": 0}, {"stall_timeout_s": float("nan")}],
                         ids=str)  # fmt: skip
def test_senseless_policy_is_refused(fields: Any) -> None:
    """Numbers that make no sense are refused when the policy is made."""
    with pytest.raises(InputError, match=next(iter(fields))):
        RetryPolicy(**fields)


# -- cancelling ---------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", [PATIENT, RetryPolicy(timeout_s=None),
                                    RetryPolicy(attempt_timeout_s=50)],
                         ids=["run", "none", "attempt"])  # fmt: skip
async def test_cancelling_stops_everything(
    provider: AnthropicProvider, server: MessagesServer, policy: RetryPolicy
) -> None:
    """A cancelled run closes its connection, makes no further request and leaves no task."""
    server.script([Behaviour(fault="pings")])
    running = asyncio.ensure_future(attempt(provider, policy))
    await server.wait_until(lambda: server.request_count == 1)

    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    await server.wait_until(lambda: server.requests[0].closed_early, timeout_s=2)
    tasks = {task for task in asyncio.all_tasks() if "messages_server" not in repr(task)}
    assert (server.request_count, tasks) == (1, {asyncio.current_task()})


async def test_cancelling_ends_a_pause(provider: AnthropicProvider, server: MessagesServer) -> None:
    """A run that is cancelled while it pauses makes no further request."""
    server.script([Behaviour(status=429, retry_after="30")])
    pausing = asyncio.Event()
    run = Run("echo")
    run.listen(lambda run: pausing.set() if run.waiting else None)
    running = asyncio.ensure_future(answer_with_retries(provider, REQUEST, run, PATIENT))
    await pausing.wait()

    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    assert server.request_count == 1


# -- what a run is told -------------------------------------------------------------------------


async def test_run_is_told(provider: AnthropicProvider, server: MessagesServer) -> None:
    """A run sees its attempts, why and how long it pauses, and only the last one's text."""
    server.script([Behaviour(status=529), Behaviour(fault="close", text="broken off")])
    run, heard = Run("echo"), []
    run.listen(lambda run: heard.append((run.attempt, run.waiting and run.waiting.reason)))

    await attempt(provider, run=run)

    assert list(dict.fromkeys(heard)) == [
        (1, None), (1, "529"), (2, None), (2, "connection"), (3, None),
    ]  # fmt: skip
    assert run.text == "Echo: hi"


async def test_text_of_a_failure_is_kept(
    provider: AnthropicProvider, server: MessagesServer
) -> None:
    """What had arrived when the last attempt failed stays readable."""
    server.script([Behaviour(fault="truncated", text="one two three", after_tokens=2)])
    run = Run("echo")

    with pytest.raises(IncompleteReply):
        await attempt(provider, RetryPolicy(max_attempts=1), run=run)

    assert run.text == "one two"


# -- tenacity -----------------------------------------------------------------------------------


async def test_refusals_are_retried_by_nobody_else(server: MessagesServer) -> None:
    """Three attempts are three connections at most: the SDK adds none of its own."""
    provider = AnthropicProvider("sk-ant-test", base_url=server.url)
    server.script([Behaviour(fault="drop_reset")] * 9)

    with pytest.raises(ConnectionFailed):
        await attempt(provider)
    await provider.close()

    assert server.request_count == 3


async def test_error_of_first_attempt_is_itself(
    provider: AnthropicProvider, server: MessagesServer
) -> None:
    """An error passes through tenacity as what it is."""
    server.script([Behaviour(status=401)])

    with pytest.raises(AuthenticationFailed) as caught:
        await attempt(provider)

    assert "RetryError" not in repr(caught.value.__cause__)
