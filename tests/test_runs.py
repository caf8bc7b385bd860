"""Promises about runs while they happen, how they end, and how many go on at once."""

from __future__ import annotations

import asyncio
import threading
from typing import List, Tuple

import pytest

from claude_force_nb import outcomes
from claude_force_nb.errors import AgentNotFound, RateLimited
from claude_force_nb.limits import Limits
from claude_force_nb.models import ALIASES
from claude_force_nb.records import AgentRequest, AgentResult, Reply, Usage
from claude_force_nb.runs import CACHED, CANCELLED, DONE, FAILED, QUEUED, RUNNING, STATES, Run

pytestmark = pytest.mark.essential

REQUEST = AgentRequest("a", "m", ({"role": "user", "content": "Say hi"},), 10)


def test_new_run_waits() -> None:
    """A run that has just been made is queued and empty."""
    run = Run("a", "m", {"x": 1})

    assert (run.state, run.attempt, run.text, run.ended) == (QUEUED, 0, "", False)


def test_states_are_the_glossarys() -> None:
    """The states are the six words that displays and logs know."""
    assert STATES == ("queued", "running", "done", "cached", "failed", "cancelled")


def test_text_grows() -> None:
    """Pieces of text are joined in the order in which they arrived."""
    run = Run("a")
    run.begin_attempt(1)
    for piece in ("one", " two", "", " three"):
        run.add_text(piece)

    assert run.text == run.text == "one two three"


def test_new_attempt_drops_text() -> None:
    """Text of an attempt that broke is not mixed with the next one's."""
    run = Run("a")
    run.begin_attempt(1)
    run.add_text("half an ans")
    run.wait("529", 5)
    run.begin_attempt(2)

    assert (run.text, run.attempt, run.state, run.waiting) == ("", 2, RUNNING, None)


def test_every_change_is_heard() -> None:
    """Each listener is called after each change, when the change can be seen."""
    run = Run("a")
    heard: List[Tuple[str, str, bool]] = []
    run.listen(lambda it: heard.append((it.state, it.text, it.waiting is not None)))
    run.begin_attempt(1)
    run.add_text("hi")
    run.wait("429", 1)
    run.end(AgentResult("a", True, "hi", state=DONE))

    assert heard == [
        (RUNNING, "", False),
        (RUNNING, "hi", False),
        (RUNNING, "hi", True),
        (DONE, "hi", False),
    ]


def test_wait_has_reason_and_end() -> None:
    """A pause says why it is and when it is over, on the monotonic clock."""
    run = Run("a")
    run.wait("529", 5)
    first = run.waiting
    run.wait("429", 50)

    assert first is not None and run.waiting is not None
    assert (first.reason, run.waiting.reason) == ("529", "429")
    assert run.waiting.until > first.until + 40


def test_clock_stops_at_the_end() -> None:
    """A run's time runs until its end and no further."""
    run = Run("a")
    before = run.elapsed_s
    run.end(AgentResult("a", True, "hi"))
    ended = run.elapsed_s

    assert run.elapsed_s == ended >= before >= 0


def test_metadata_is_copied() -> None:
    """What the starter does with its mapping afterwards does not reach the run."""
    given = {"manifest": "x"}
    run = Run("a", metadata=given)
    given.clear()

    assert run.metadata == {"manifest": "x"}


def ended(*, text: str = "") -> Run:
    """A run in its second attempt."""
    run = Run("a", "m", {"manifest": "df"})
    run.begin_attempt(2)
    run.add_text(text)
    return run


@pytest.mark.parametrize(
    ("provider", "model", "cost_usd"),
    [
        ("offline", "offline-stand-in", 0.0),
        ("anthropic", "model-of-tomorrow", None),
        ("anthropic", ALIASES["sonnet"], 12.0),
    ],
)
def test_fresh_answers_have_provenance(provider: str, model: str, cost_usd: object) -> None:
    """A fresh result says what was asked and what answered; an unknown price is never zero."""
    request = AgentRequest("a", "m", REQUEST.messages, 10, provider=provider, sample=3)
    reply = Reply("hi", model, "end_turn", Usage(1_000_000, 1_000_000), "req_1", "anthropic 2.12.0")
    result = outcomes.fresh(request, "k" * 64, ended(), reply)

    assert (result.success, result.state, result.cached) == (True, DONE, False)
    assert (result.model, result.request_id, result.cost_usd) == (model, "req_1", cost_usd)
    assert result.metadata["model_requested"] == "m"
    assert result.metadata["attempts"] == 2
    assert result.metadata["sample"] == 3
    assert result.metadata["manifest"] == "df"


def test_failures_keep_text_and_cause() -> None:
    """A failed result has what arrived, one line that says why, and the exception."""
    error = RateLimited("Too many requests.", advice="Wait.", request_id="req_9")
    result = outcomes.failed(REQUEST, "k" * 64, ended(text="half"), error)

    assert (result.success, result.state, result.output) == (False, FAILED, "half")
    assert result.errors == ["Too many requests. (request req_9) Wait."]
    assert (result.error, result.request_id, result.cost_usd) == (error, "req_9", None)


def test_foreign_errors_name_their_type() -> None:
    """An error that is not this package's is told with its type, as its text alone says little."""
    assert outcomes.describe(KeyError("x")) == "KeyError: 'x'"


def test_cancelled_is_not_failed() -> None:
    """A run that somebody stopped has a state of its own and keeps what arrived."""
    result = outcomes.cancelled(REQUEST, "", ended(text="half"), asyncio.CancelledError())

    assert (result.success, result.state, result.output) == (False, CANCELLED, "half")
    assert result.errors == ["Cancelled before it was done."]


def test_unsendable_has_no_key() -> None:
    """A task that could not become a request fails without a key or a model."""
    result = outcomes.unsendable("x", AgentNotFound("There is no agent 'x'."))

    assert (result.state, result.key, result.model) == (FAILED, "", "")
    assert result.errors == ["There is no agent 'x'."]


def test_states_of_results_are_states_of_runs() -> None:
    """A run takes the state of its result."""
    run = Run("a")
    run.end(AgentResult("a", True, "hi", cached=True, state=CACHED))

    assert (run.state, run.ended) == (CACHED, True)


async def most_at_once(limits: Limits, tasks: int) -> int:
    """How many of *tasks* held a place at the same time."""
    holding = most = 0

    async def hold() -> None:
        nonlocal holding, most
        async with limits.slot():
            holding += 1
            most = max(most, holding)
            await asyncio.sleep(0)
            holding -= 1

    await asyncio.gather(*(hold() for _ in range(tasks)))
    return most


@pytest.mark.parametrize("bound", [1, 3])
async def test_places_are_bounded(bound: int) -> None:
    """No more calls than the bound hold a place, and the bound is used."""
    assert await most_at_once(Limits(bound), 10) == bound


async def test_cancelled_call_gives_its_place_back() -> None:
    """A call that is cancelled, holding or waiting, takes no place away for good."""
    limits = Limits(1)
    inside = asyncio.Event()

    async def hold() -> None:
        async with limits.slot():
            inside.set()
            await asyncio.Event().wait()

    tasks = [asyncio.ensure_future(hold()) for _ in range(3)]
    await inside.wait()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)

    assert await asyncio.wait_for(most_at_once(limits, 3), 5) == 1


def test_each_loop_has_its_own_places() -> None:
    """The same bounds work in one loop after another, made before any of them, in a thread too."""
    limits = Limits(2)
    found: List[int] = []

    def use() -> None:
        found.append(asyncio.run(most_at_once(limits, 5)))

    use()
    use()
    thread = threading.Thread(target=use)
    thread.start()
    thread.join()

    assert found == [2, 2, 2]
