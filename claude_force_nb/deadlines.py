"""Awaiting with a time limit that may move, the same on every Python from 3.8.

``asyncio.wait_for`` can swallow a cancellation, or lose a result, that meets its time limit
(before Python 3.12), and ``asyncio.timeout`` does not exist before 3.11. Here the work is a task of
its own, so that a time limit and a cancellation from outside can always be told apart.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, Callable, Coroutine, Generic, Optional, TypeVar, cast

T = TypeVar("T")

# Cancelled work closes its connection; a peer that does not let go must not hold up a Stop.
CLEAN_UP_S = 1.0


class Expired(Exception):
    """The time limit has passed and the work was stopped."""


async def finish_by(work: Coroutine[Any, Any, T], deadline: Callable[[], float]) -> T:
    """Await *work* until a time that may move while it runs.

    A result that is there when the time is up counts. A cancellation of the caller always wins; it
    is passed on after the work has been cancelled and has had a second to clean up.

    Args:
        work: What to do.
        deadline: Tells the end on the clock of the running loop; asked again when that time comes.

    Returns:
        What *work* returns.

    Raises:
        Expired: The time was up first.
    """
    if _seconds_to(deadline) <= 0:
        work.close()
        raise Expired
    task = asyncio.ensure_future(_contained(work))
    try:
        await _wait(task, deadline)
        if task.done():
            return _released(task.result())
        await _stop(task)
    except asyncio.CancelledError:
        if not task.done():
            await _stop(task)
        raise
    return _late_result(task)


@dataclass(frozen=True)
class _Outcome(Generic[T]):
    """What came of some work: a value, or an exit that it asked for."""

    value: Optional[T] = None
    exit: Optional[BaseException] = None


async def _contained(work: Coroutine[Any, Any, T]) -> _Outcome[T]:
    """Do *work*; an exit raised out of a task would stop the event loop instead of the caller."""
    try:
        return _Outcome(await work)
    except (SystemExit, KeyboardInterrupt) as exit_asked_for:
        return _Outcome(exit=exit_asked_for)


def _released(outcome: _Outcome[T]) -> T:
    if outcome.exit is not None:
        raise outcome.exit
    return cast(T, outcome.value)


def _seconds_to(deadline: Callable[[], float]) -> float:
    return deadline() - asyncio.get_running_loop().time()


async def _wait(task: asyncio.Task[Any], deadline: Callable[[], float]) -> None:
    left_s = _seconds_to(deadline)
    while left_s > 0 and not task.done():
        await asyncio.wait({task}, timeout=left_s)
        left_s = _seconds_to(deadline)


async def _stop(task: asyncio.Task[Any]) -> None:
    task.add_done_callback(_look_at_error)
    task.cancel()
    await asyncio.wait({task}, timeout=CLEAN_UP_S)


def _look_at_error(task: asyncio.Task[Any]) -> None:
    """Spare the log a complaint about an error that nobody will ask for."""
    if not task.cancelled():
        task.exception()


def _late_result(task: asyncio.Task[_Outcome[T]]) -> T:
    if not task.done() or task.cancelled():
        raise Expired
    if task.exception() is not None:
        raise Expired from task.exception()
    return _released(task.result())
