"""What a cell shows while its runs go on.

In a notebook: one ``ipywidgets.HTML`` for the cell, however many agents, with the bounded tails of
their texts, repainted at most ``UPDATES_PER_S`` times a second; at the end the same output is
replaced by the static bundle. In a terminal: the text as it arrives.
"""

from __future__ import annotations

import asyncio
from typing import Any, Callable, Dict, List, Optional, Protocol, Sequence

from ..runs import Run

UPDATES_PER_S = 8


class LiveView(Protocol):
    """A place where runs are watched."""

    def start(self) -> None:
        """Show the runs as they are and follow them; needs a running loop."""
        ...  # pragma: no cover

    async def finish(self, bundle: Dict[str, Any]) -> None:
        """Stop following; show the final *bundle* instead."""
        ...  # pragma: no cover


class QuietView:
    """Shows nothing until the end."""

    def start(self) -> None:
        """Nothing to show yet."""

    async def finish(self, bundle: Dict[str, Any]) -> None:
        """Show the final bundle."""
        from IPython.display import display

        display(bundle, raw=True)


class WidgetView:
    """One widget for all runs of a cell.

    Args:
        runs: What is watched.
        content: Makes the HTML to show; by default the tails of all runs.
    """

    def __init__(self, runs: Sequence[Run], content: Optional[Callable[[], str]] = None) -> None:
        self._runs = runs
        self._own_content = content
        self._changed: Optional[asyncio.Event] = None
        self._painter: Optional[asyncio.Task[None]] = None
        self._widget: Any = None
        self._handle: Any = None

    def start(self) -> None:
        """Show the widget and repaint it whenever a run changes."""
        from IPython.display import display
        from ipywidgets import HTML

        self._changed = asyncio.Event()
        self._widget = HTML(self._content())
        self._handle = display(self._widget, display_id=True)
        for run in self._runs:
            run.listen(lambda _: self._changed.set() if self._changed else None)
        self._painter = asyncio.get_running_loop().create_task(self._paint())

    async def finish(self, bundle: Dict[str, Any]) -> None:
        """Replace the widget by the static bundle, in the same output."""
        if self._painter is not None:
            self._painter.cancel()
            await asyncio.wait({self._painter})
        self._handle.update(bundle, raw=True)
        # A front end that stores widget state would keep a second copy of the text.
        self._widget.value = ""
        self._widget.close()

    async def _paint(self) -> None:
        assert self._changed is not None
        while True:
            await self._changed.wait()
            self._changed.clear()
            self._widget.value = self._content()
            await asyncio.sleep(1 / UPDATES_PER_S)

    def _content(self) -> str:
        from .bundle import live_html

        return live_html(self._runs) if self._own_content is None else self._own_content()


class TerminalView:
    """Prints a single run's text as it arrives; several runs are printed at the end."""

    def __init__(self, runs: Sequence[Run]) -> None:
        self._run = runs[0] if len(runs) == 1 else None
        self._attempt = 0
        self._printed = 0

    def start(self) -> None:
        """Follow the run."""
        if self._run is not None:
            self._run.listen(self._show)

    async def finish(self, bundle: Dict[str, Any]) -> None:
        """Print what was not streamed: the rest, and the footer."""
        lines: List[str] = bundle["text/plain"].splitlines()
        if self._printed:
            print()
            lines = lines[-1:]
        print("\n".join(lines))

    def _show(self, run: Run) -> None:
        from .rendering import visible

        if run.attempt != self._attempt:
            if self._printed:
                print(f"\n(attempt {run.attempt})")
            self._attempt, self._printed = run.attempt, 0
        text = run.text
        print(visible(text[self._printed :]), end="", flush=True)
        self._printed = len(text)


def view_for(
    shell: Any, runs: Sequence[Run], quiet: bool, content: Optional[Callable[[], str]] = None
) -> LiveView:
    """The view that fits the front end of *shell*."""
    if getattr(shell, "kernel", None) is None:
        return TerminalView(runs)
    return QuietView() if quiet else WidgetView(runs, content)
