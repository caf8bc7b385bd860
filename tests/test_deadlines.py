"""Promises about awaiting with a time limit, also where limit, result and cancellation meet."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any, Callable, List, Type

import pytest

from claude_force_nb.deadlines import Expired, finish_by

pytestmark = pytest.mark.essential


def in_seconds(seconds: float) -> Callable[[], float]:
    """A deadline *seconds* from now."""
    end = asyncio.get_running_loop().time() + seconds
    return lambda: end


async def forever() -> None:
    """Never return."""
    await asyncio.get_running_loop().create_future()


async def test_result_in_time() -> None:
    """Work that is done in time gives its result."""

    async def work() -> str:
        await asyncio.sleep(0)
        return "done"

    assert await finish_by(work(), in_seconds(10)) == "done"


async def test_error_in_time() -> None:
    """An error of the work is raised as it is."""

    async def work() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await finish_by(work(), in_seconds(10))


@pytest.mark.parametrize("seconds", [0.05, 0, -1])
async def test_time_is_up(seconds: float) -> None:
    """Work that takes too long is cancelled, also when the time was up before it began."""
    with pytest.raises(Expired):
        await finish_by(forever(), in_seconds(seconds))

    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_result_at_the_deadline_counts() -> None:
    """A result that the work still returns when it is told to stop is not lost."""

    async def work() -> str:
        with suppress(asyncio.CancelledError):
            await forever()
        return "paid for"

    assert await finish_by(work(), in_seconds(0.05)) == "paid for"


async def test_error_at_the_deadline_is_the_cause() -> None:
    """An error of the cleaning up stays reachable behind the time limit."""

    async def work() -> None:
        try:
            await forever()
        finally:
            raise ZeroDivisionError

    with pytest.raises(Expired) as caught:
        await finish_by(work(), in_seconds(0.05))

    assert isinstance(caught.value.__cause__, ZeroDivisionError)


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
async def test_exit_reaches_the_caller(kind: Type[BaseException]) -> None:
    """An exit that the work asks for ends in the caller instead of stopping the loop."""

    async def work() -> None:
        raise kind

    with pytest.raises(kind):
        await finish_by(work(), in_seconds(10))


async def test_deadline_may_move() -> None:
    """The end is asked for again when it comes, so work that goes on may take longer."""
    loop = asyncio.get_running_loop()
    ends = [loop.time() + 0.02, loop.time() + 0.05, loop.time() + 10]

    async def work() -> str:
        await asyncio.sleep(0.2)
        return "done"

    assert await finish_by(work(), lambda: ends.pop(0) if len(ends) > 1 else ends[0]) == "done"


async def test_cancellation_is_passed_on() -> None:
    """A cancelled caller cancels the work, waits until it has cleaned up, and is cancelled."""
    steps: List[str] = []

    async def work() -> None:
        try:
            await forever()
        finally:
            await asyncio.sleep(0.02)
            steps.append("cleaned up")

    waiting = asyncio.ensure_future(finish_by(work(), in_seconds(10)))
    await asyncio.sleep(0)
    await asyncio.sleep(0)

    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting

    assert steps == ["cleaned up"]


async def test_cancellation_beats_a_result() -> None:
    """A cancellation that meets the result is not swallowed."""
    finished = asyncio.Event()

    async def work() -> str:
        await finished.wait()
        return "done"

    waiting = asyncio.ensure_future(finish_by(work(), in_seconds(10)))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    finished.set()
    # One turn: the work is over now, and the caller's wake-up is only scheduled.
    await asyncio.sleep(0)

    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_cancellation_beats_the_deadline() -> None:
    """A cancellation that comes while the deadline's clean-up is under way is not swallowed."""
    cleaning = asyncio.Event()

    async def work() -> None:
        try:
            await forever()
        finally:
            cleaning.set()
            await asyncio.sleep(0.05)

    waiting = asyncio.ensure_future(finish_by(work(), in_seconds(0.02)))
    await cleaning.wait()

    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_stubborn_work_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """Work that does not let go is left after a while, without a complaint in the log."""
    monkeypatch.setattr("claude_force_nb.deadlines.CLEAN_UP_S", 0.05)
    complaints: List[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, told: complaints.append(told))
    release = asyncio.Event()

    async def work() -> None:
        try:
            await forever()
        finally:
            await release.wait()
            raise ZeroDivisionError

    with pytest.raises(Expired):
        await finish_by(work(), in_seconds(0.02))
    release.set()
    await asyncio.wait(asyncio.all_tasks() - {asyncio.current_task()}, timeout=1)

    assert complaints == []
