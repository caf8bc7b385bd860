"""Long file work beside the notebook's loop, with a bar that shows how far it is.

In a notebook the bar is a widget that the final table replaces; elsewhere it is a line now and
then. Interrupt ends the wait at once, and the work at its next step.
"""

from __future__ import annotations

import asyncio
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable, Dict, Protocol, TextIO, TypeVar

from .foreground import ForegroundWait, Interrupted

T = TypeVar("T")


async def beside_loop(work: Callable[[], T]) -> T:
    """Do blocking *work* in a thread of its own while the loop and Interrupt go on.

    Raises:
        Interrupted: The user interrupted; the thread ends when the work does.
    """
    threads = ThreadPoolExecutor(1, thread_name_prefix="claude-force-nb-cache")

    async def in_thread() -> T:
        return await asyncio.get_running_loop().run_in_executor(threads, work)

    task = asyncio.ensure_future(in_thread())
    try:
        interrupted = await ForegroundWait([task]).wait()
    finally:
        threads.shutdown(wait=False)
    if interrupted:
        if task.done() and not task.cancelled():
            task.exception()  # mark it as seen
        raise Interrupted("not waiting for the cache any more.")
    return task.result()


class Bar(Protocol):
    """Something that shows how far work is."""

    def step(self, done: int, total: int) -> None:
        """So much of *total* is done."""
        ...  # pragma: no cover

    def finish(self, bundle: Dict[str, Any]) -> None:
        """Show *bundle* in the bar's place."""
        ...  # pragma: no cover


class LineBar:
    """One line for each tenth.

    Args:
        label: What is being done.
        stream: Where lines go.
    """

    def __init__(self, label: str, stream: TextIO) -> None:
        self._label = label
        self._stream = stream
        self._tenths = 0

    def step(self, done: int, total: int) -> None:
        """Print a line if another tenth is done."""
        tenths = 10 * done // max(1, total)
        if tenths > self._tenths:
            self._tenths = tenths
            print(f"{self._label} {done:,} of {total:,}", file=self._stream, flush=True)

    def finish(self, bundle: Dict[str, Any]) -> None:
        """Print the plain form of *bundle*."""
        print(bundle["text/plain"], file=self._stream)


class WidgetBar:
    """A widget in the running cell.

    Args:
        label: What is being done.
    """

    def __init__(self, label: str) -> None:
        from IPython.display import display
        from ipywidgets import IntProgress

        self._widget = IntProgress(description=label)
        self._handle: Any = display(self._widget, display_id=True)

    def step(self, done: int, total: int) -> None:
        """Move the bar; call it on the event loop."""
        self._widget.max, self._widget.value = total, done

    def finish(self, bundle: Dict[str, Any]) -> None:
        """Replace the bar, in the same output."""
        self._handle.update(bundle, raw=True)
        self._widget.close()


def bar_for(shell: Any, label: str) -> Bar:
    """The bar that fits the front end of *shell*."""
    if getattr(shell, "kernel", None) is None:
        return LineBar(label, sys.stdout)
    return WidgetBar(label)


class _Stopped(Exception):
    """Nobody waits for the work any more."""


async def with_bar(bar: Bar, work: Callable[[Callable[[int, int], None]], T]) -> T:
    """Do *work* beside the loop; what it reports moves *bar*.

    Args:
        bar: Shows the progress.
        work: Called in a thread with the function to report to, ``report(done, total)``.

    Raises:
        Interrupted: The user interrupted; the work is stopped at its next report.
    """
    loop = asyncio.get_running_loop()
    stopped = False

    def report(done: int, total: int) -> None:
        if stopped:
            raise _Stopped
        loop.call_soon_threadsafe(bar.step, done, total)

    try:
        return await beside_loop(lambda: work(report))
    finally:
        stopped = True
