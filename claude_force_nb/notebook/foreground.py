"""Waiting for runs in a cell, on the notebook's own event loop.

A cell that awaits does not see an interrupt by itself: Python runs signal handlers only when the
loop wakes, so ``await sleep(20)`` holds an interrupt back for up to 20 seconds. A wait here wakes
every ``HEARTBEAT_S`` and takes SIGINT over while it lasts: the first interrupt cancels the runs,
a second one stops waiting for their clean-up.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from typing import Any, Awaitable, Callable, Collection, List, Optional, Set, TypeVar

HEARTBEAT_S = 0.1
CLEAN_UP_S = 5.0

T = TypeVar("T")


class Interrupted(Exception):
    """The user interrupted a cell; renders as one line.

    Not a ``KeyboardInterrupt``: raised out of a task, that would stop the event loop and with it
    the kernel.
    """

    def _render_traceback_(self) -> List[str]:
        return [f"Interrupted: {self}"]


class _Interrupts:
    """The one SIGINT handler for all waits that are active at the same time."""

    def __init__(self) -> None:
        self._waits: List[ForegroundWait] = []
        self._previous: Any = None

    def enter(self, wait: ForegroundWait) -> None:
        self._waits.append(wait)
        if len(self._waits) == 1 and threading.current_thread() is threading.main_thread():
            loop = asyncio.get_running_loop()
            self._previous = signal.signal(
                signal.SIGINT, lambda *_: loop.call_soon_threadsafe(self._interrupt)
            )

    def leave(self, wait: ForegroundWait) -> None:
        self._waits.remove(wait)
        if not self._waits and self._previous is not None:
            signal.signal(signal.SIGINT, self._previous)
            self._previous = None

    def _interrupt(self) -> None:
        for wait in list(self._waits):
            wait.interrupt()


_INTERRUPTS = _Interrupts()


class ForegroundWait:
    """One wait of a cell for some tasks.

    Args:
        tasks: What to wait for.
        clean_up_s: Seconds that cancelled tasks get to finish after the first interrupt.
    """

    def __init__(self, tasks: Collection[asyncio.Task[Any]], clean_up_s: float = CLEAN_UP_S):
        self._tasks: Set[asyncio.Task[Any]] = set(tasks)
        self._clean_up_s = clean_up_s
        self._give_up_at: Optional[float] = None
        self.interrupts = 0

    def interrupt(self) -> None:
        """First: cancel the tasks. Again: stop waiting for them."""
        self.interrupts += 1
        now = asyncio.get_running_loop().time()
        self._give_up_at = now + (self._clean_up_s if self.interrupts == 1 else 0)
        self.cancel()

    def cancel(self) -> None:
        """Cancel what still runs."""
        for task in self._tasks:
            task.cancel()

    async def wait(self) -> bool:
        """Wait until every task has ended or the user gave up.

        Returns:
            Whether the user interrupted.
        """
        _INTERRUPTS.enter(self)
        try:
            await self._wait()
        except asyncio.CancelledError:
            self.cancel()
            raise
        finally:
            _INTERRUPTS.leave(self)
        return self.interrupts > 0

    async def _wait(self) -> None:
        loop = asyncio.get_running_loop()
        pending = {task for task in self._tasks if not task.done()}
        while pending and (self._give_up_at is None or loop.time() < self._give_up_at):
            _, pending = await asyncio.wait(pending, timeout=HEARTBEAT_S)


def run_blocking(start: Callable[[], Awaitable[T]]) -> T:
    """Run *start* where no ``await`` can go, and wait for it.

    Without a running loop that is a private one. With one, the loop has to be re-entered;
    ``nest_asyncio`` makes that possible, patched in here and nowhere else.

    Raises:
        RuntimeError: The running loop cannot be re-entered (uvloop, for example).
    """

    async def main() -> T:
        return await start()

    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(main())
    import nest_asyncio

    try:
        nest_asyncio.apply(loop)
    except ValueError as error:
        raise RuntimeError(f"this event loop cannot be re-entered: {error}") from error
    return loop.run_until_complete(main())
