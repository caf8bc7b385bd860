"""The live board: one set of widgets for all runs of a cell, repainted a few times a second.

All texts share one ``ipywidgets.HTML``: a widget for each run costs the page far more. What must
survive a repaint, such as the focus of the keyboard, is a small widget of its own: the buttons, and
the totals, which change only when a run changes its state.

A click may arrive in another thread, so its handler only hands it to the board's event loop.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any, Callable, Deque, Dict, List, Optional, Sequence, Set

from ..runs import Run
from .board_markup import pane_px, rows_html, totals_html
from .comms import PUMP
from .panel import Actions, Panel
from .rendering import visible

UPDATES_PER_S = 8
SHOW_AFTER_S = 0.05
"""A cell whose answers are there before shows no board at all: nothing flickers."""
TICK_S = 0.5
"""Elapsed times are shown in seconds; a repaint that changes nothing is not sent."""
MOST_ROWS = 40
"""Of more runs than this only the first that go on are shown, without buttons of their own."""
UNFOLDED = 6
"""Of more runs than this the texts are folded at first."""
KEPT_BOARDS = 20

Stop = Callable[[Optional[Sequence[Run]]], None]

_WIDGET = "application/vnd.jupyter.widget-view+json"
# A page that was reloaded while a cell ran still shows the widgets and nothing else, so they hold
# the final answer too. The oldest are closed.
_kept: Deque[Panel] = deque()


class Board:
    """What a notebook shows while the runs of a cell go on.

    Args:
        kernel: The kernel, whose clicks may have to be pumped.
        runs: What is watched.
        content: Makes the HTML to show instead of a row for each run.
        stop: Cancels the given runs, or all; without it there are no Cancel buttons.
        at_once: Show it now, because the cell that it belongs to does not wait.
    """

    def __init__(
        self,
        kernel: Any,
        runs: Sequence[Run],
        content: Optional[Callable[[], str]] = None,
        stop: Optional[Stop] = None,
        *,
        at_once: bool = False,
    ) -> None:
        self._kernel = kernel
        self._runs = list(runs)
        self._content = content
        self._stop = stop
        self._at_once = at_once
        crowded = len(self._runs) > UNFOLDED
        self._folded: Set[Run] = set(self._runs) if crowded else set()
        self._changed: Optional[asyncio.Event] = None
        self._loop: Any = None
        self._painter: Optional[asyncio.Task[None]] = None
        self._panel: Optional[Panel] = None
        self._handle: Any = None
        self._final: Optional[Dict[str, Any]] = None

    def start(self) -> None:
        """Follow the runs; show the board soon, unless they have ended by then."""
        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()
        for run in self._runs:
            run.listen(self._note)
        if self._at_once:
            self._show()
        self._painter = self._loop.create_task(self._paint())

    async def finish(self, bundle: Dict[str, Any]) -> None:
        """Show the static *bundle* in place of the board."""
        from IPython.display import display

        self._final = bundle
        if self._painter is not None:
            self._painter.cancel()
            await asyncio.wait({self._painter})
        if self._panel is None:
            display(bundle, raw=True)
            return
        self._handle.update(bundle, raw=True)
        PUMP.close(self._panel.comm_ids)
        self._panel.become(bundle.get("text/html", ""))
        _keep(self._panel)

    def show_again(self) -> None:
        """Send the final bundle once more."""
        if self._handle is not None and self._final is not None:
            self._handle.update(self._final, raw=True)

    def _note(self, _: Run) -> None:
        if self._changed is not None:
            self._changed.set()

    def _show(self) -> None:
        from IPython.display import display

        own_rows = self._content is None and len(self._runs) <= MOST_ROWS
        names = [visible(run.agent_name) for run in self._runs] if own_rows else []
        cancel = None if self._stop is None else self._clicked(self._cancel)
        actions = Actions(self._clicked(self._fold), cancel)
        self._panel = Panel(names, len(self._runs) > 1, actions)
        self._panel.set_rows(self._heights())
        self._repaint()
        shown = {
            "text/plain": visible(", ".join(f"{r.agent_name}: {r.state}" for r in self._runs)),
            _WIDGET: {"version_major": 2, "version_minor": 0, "model_id": self._panel.model_id},
        }
        PUMP.open(self._kernel, self._panel.comm_ids)
        self._handle = display(shown, raw=True, display_id=True)

    async def _paint(self) -> None:
        assert self._changed is not None
        if self._panel is None:
            await asyncio.sleep(SHOW_AFTER_S)
            self._show()
        while True:
            await asyncio.sleep(1 / UPDATES_PER_S)
            await _event(self._changed, TICK_S)
            self._changed.clear()
            self._repaint()

    def _repaint(self) -> None:
        assert self._panel is not None
        totals = totals_html(self._runs) if len(self._runs) > 1 else ""
        self._panel.paint(totals, self._body(), [run.ended for run in self._runs])

    def _body(self) -> str:
        if self._content is not None:
            return self._content()
        runs = self._runs
        if len(runs) > MOST_ROWS:
            runs = [run for run in runs if not run.ended][:MOST_ROWS]
        return rows_html(runs, self._folded, height_px=pane_px(len(runs)))

    def _heights(self) -> List[int]:
        height_px = pane_px(len(self._runs))
        return [0 if run in self._folded else height_px for run in self._runs]

    # -- what its buttons do ---------------------------------------------------------------

    def _clicked(self, action: Callable[[Optional[int]], None]) -> Callable[[Optional[int]], None]:
        """Do *action* on the board's own loop, whichever thread the click comes in."""
        return lambda place: self._loop.call_soon_threadsafe(action, place)

    def _cancel(self, place: Optional[int]) -> None:
        if self._final is None and self._panel is not None and self._stop is not None:
            self._panel.tell_stopping(place)
            self._stop(None if place is None else [self._runs[place]])

    def _fold(self, place: Optional[int]) -> None:
        if self._final is not None or self._panel is None:
            return
        chosen = set(self._runs if place is None else [self._runs[place]])
        hidden = chosen & self._folded
        # All are hidden as long as one is shown.
        self._folded = self._folded - chosen if hidden == chosen else self._folded | chosen
        self._panel.set_rows(self._heights())
        self._repaint()


async def _event(event: asyncio.Event, timeout_s: float) -> None:
    """Wait for *event*, but no longer than *timeout_s*."""
    try:
        await asyncio.wait_for(event.wait(), timeout_s)
    except asyncio.TimeoutError:
        return


def _keep(panel: Panel) -> None:
    _kept.append(panel)
    while len(_kept) > KEPT_BOARDS:
        _kept.popleft().close()
