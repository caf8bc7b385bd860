"""The widgets of the live board: two texts, and small buttons that survive their repainting."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable, List, Optional, Sequence

from .board_markup import HEAD_PX

HIDE, SHOW = "Hide", "Show"
CANCEL, STOPPING = "Cancel", "Stopping"


@dataclass(frozen=True)
class Actions:
    """What the buttons do; clicks may come in any thread.

    Attributes:
        fold: Hide or show the text of the run at a position, of all without one.
        cancel: Stop the run at a position, all without one; ``None`` if nothing can be stopped.
    """

    fold: Callable[[Optional[int]], None]
    cancel: Optional[Callable[[Optional[int]], None]]


class Panel:
    """The widgets of one board.

    Args:
        names: For each run that has buttons of its own, what to call it.
        several: Whether there are totals and buttons for all runs.
        actions: What the buttons do.
    """

    def __init__(self, names: Sequence[str], several: bool, actions: Actions) -> None:
        import ipywidgets

        self._kit = ipywidgets
        self._style = ipywidgets.ButtonStyle()
        self._layout = ipywidgets.Layout(width="80px", padding="0 4px")
        self._totals = self._html(flex="1 1 auto")
        self._body = self._html(flex="1 1 auto", min_width="0")
        self._folds: List[Any] = []
        self._cancels: List[Any] = []
        self._sides = [self._side(place, name, actions) for place, name in enumerate(names)]
        self._fold_all: Any = None
        self._cancel_all: Any = None
        side = self._kit.VBox(self._sides, layout=self._kit.Layout(flex="0 0 auto"))
        lower = self._kit.HBox([self._body, side] if names else [self._body])
        top = [self._top(names, actions)] if several or not names else []
        self._box = self._kit.VBox([*top, lower])
        self._frames = [*top, lower, side, *self._sides]

    @property
    def model_id(self) -> str:
        """What a front end needs to show the whole panel."""
        return str(self._box.model_id)

    @property
    def comm_ids(self) -> List[str]:
        """Where the clicks arrive."""
        return [str(button.model_id) for button in self._buttons]

    @property
    def _buttons(self) -> List[Any]:
        every = [*self._folds, *self._cancels, self._fold_all, self._cancel_all]
        return [button for button in every if button is not None]

    def paint(self, totals: str, body: str, ended: Sequence[bool]) -> None:
        """Show new texts; runs that have ended can no longer be cancelled."""
        self._totals.value = totals
        self._body.value = body
        for button, over in zip(self._cancels, ended):
            if over:
                button.description, button.disabled = CANCEL, True
        if self._cancel_all is not None and all(ended):
            self._cancel_all.disabled = True

    def set_rows(self, heights_px: Sequence[int]) -> None:
        """Give the buttons of each run the place beside its text, which is so high; 0 if hidden."""
        for side, button, height_px in zip(self._sides, self._folds, heights_px):
            side.layout.height = f"{HEAD_PX + height_px}px"
            button.description = HIDE if height_px else SHOW
        if self._fold_all is not None:
            self._fold_all.description = f"{HIDE if any(heights_px) else SHOW} all"

    def tell_stopping(self, place: Optional[int]) -> None:
        """Answer a click on Cancel at once, however long the clean-up takes."""
        clicked = [self._cancel_all, *self._cancels] if place is None else [self._cancels[place]]
        for button in clicked:
            if button is not None and not button.disabled:
                button.description, button.disabled = STOPPING, True

    def become(self, html: str) -> None:
        """Show *html* and nothing else from now on.

        Frames go with what they hold: a page that loads a frame whose buttons are gone loads
        nothing at all.
        """
        self._body.value = html
        self._box.children = (self._body,)
        _close([*self._frames, *self._buttons, self._totals])

    def close(self) -> None:
        """Let go of what is left."""
        _close([self._box, self._body])

    def _html(self, **place: str) -> Any:
        return self._kit.HTML(layout=self._kit.Layout(margin="0", **place))

    def _top(self, names: Sequence[str], actions: Actions) -> Any:
        parts = [self._totals]
        if names:
            self._fold_all = self._button(f"{HIDE} all", "Hide or show all texts")
            self._fold_all.on_click(lambda _: actions.fold(None))
            parts.append(self._fold_all)
        if actions.cancel is not None:
            cancel = actions.cancel
            self._cancel_all = self._button(f"{CANCEL} all", "Cancel all agents of this cell")
            self._cancel_all.on_click(lambda _: cancel(None))
            parts.append(self._cancel_all)
        return self._kit.HBox(parts)

    def _side(self, place: int, name: str, actions: Actions) -> Any:
        fold = self._button(HIDE, f"Hide or show the text of {name}")
        fold.on_click(lambda _: actions.fold(place))
        self._folds.append(fold)
        parts = [fold]
        if actions.cancel is not None:
            stop = actions.cancel
            cancel = self._button(CANCEL, f"Cancel {name}")
            cancel.on_click(lambda _: stop(place))
            self._cancels.append(cancel)
            parts.append(cancel)
        layout = self._kit.Layout(height=f"{HEAD_PX}px", overflow="hidden", flex="0 0 auto")
        return self._kit.HBox(parts, layout=layout)

    def _button(self, description: str, tooltip: str) -> Any:
        return self._kit.Button(
            description=description, tooltip=tooltip, layout=self._layout, style=self._style
        )


def _close(widgets: Sequence[Any]) -> None:
    for widget in widgets:
        parts = [widget.layout, getattr(widget, "style", None)]
        for part in [widget, *filter(None, parts)]:
            part.close()
