"""The graph of a workflow as a picture: inline SVG that is made of nothing but our own marks.

Ids, agents and states are the only texts in it, all escaped; what a model wrote never gets here.
Each state has a word, a shape and a kind of border besides its colour, and text takes the colour
of the page, so that the picture can be read in print, in a dark theme and without seeing colours.
There are no ids, scripts, styles sheets or links inside, so several pictures share a page.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, List, Mapping, Sequence

from ..runs import CACHED, CANCELLED, DONE, FAILED, QUEUED, RUNNING, SKIPPED
from ..workflow.definition import Step, Workflow
from ..workflow.layout import Layout, Place, layout
from .rendering import escaped

MAX_STEPS = 60
"""Larger graphs are not drawn: nobody could read the picture, the table says the same."""

COLOURS = {
    QUEUED: "#858585",
    RUNNING: "#8a5fe0",
    DONE: "#27914a",
    CACHED: "#2f7fd6",
    FAILED: "#dc4646",
    SKIPPED: "#858585",
    CANCELLED: "#b3730c",
}
_BORDERS = {SKIPPED: ' stroke-dasharray="5 4"', CANCELLED: ' stroke-dasharray="2 3"'}
_HEIGHT, _GAP_X, _GAP_Y, _MARGIN = 48, 56, 16, 8
_CHAR_WIDTH, _MIN_CHARS, _MAX_CHARS = 7.2, 12, 26


@dataclass(frozen=True)
class Look:
    """What the picture says of one step.

    Attributes:
        state: The state of a run, or ``skipped``; anything else is shown as its word alone.
        label: The word or words under the id, by default the state.
    """

    state: str = ""
    label: str = ""


def picture(workflow: Workflow, looks: Mapping[str, Look], caption: str = "") -> str:
    """Draw *workflow*.

    Args:
        workflow: What to draw.
        looks: For each step its state.
        caption: One line that says what the picture shows, for readers who do not see it.

    Returns:
        An ``svg`` element; empty for more than ``MAX_STEPS`` steps.
    """
    if len(workflow.steps) > MAX_STEPS:
        return ""
    return _Picture(workflow, looks).svg(caption or f"Workflow {workflow.arrows}")


class _Picture:
    def __init__(self, workflow: Workflow, looks: Mapping[str, Look]) -> None:
        self._workflow = workflow
        self._looks = looks
        self._grid: Layout = layout(workflow.needs)
        words = {step.id: _under(step, looks.get(step.id, Look())) for step in workflow.steps}
        longest = max(max(len(name) + 2, len(under) * 0.9) for name, under in words.items())
        self._chars = int(min(max(longest, _MIN_CHARS), _MAX_CHARS))
        self._width = round(self._chars * _CHAR_WIDTH + 24)
        self._words: Dict[str, str] = words

    def svg(self, caption: str) -> str:
        grid = self._grid
        width = grid.columns * self._width + (grid.columns - 1) * _GAP_X + 2 * _MARGIN
        height = grid.rows * (_HEIGHT + _GAP_Y) - _GAP_Y + 2 * _MARGIN
        told = "; ".join(f"{name}: {words}" for name, words in self._words.items())
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label="{escaped(caption)}" '
            f'width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
            'font-family="inherit" font-size="13" fill="currentColor">'
            f"<title>{escaped(caption)}</title><desc>{escaped(told)}</desc>"
            f"{''.join(self._arrow(points) for points in grid.arrows.values())}"
            f"{''.join(self._box(name, place) for name, place in grid.places.items())}"
            "</svg>"
        )

    def _left(self, place: Place) -> float:
        return _MARGIN + place[0] * (self._width + _GAP_X)

    def _top(self, place: Place) -> float:
        return _MARGIN + place[1] * (_HEIGHT + _GAP_Y)

    def _arrow(self, points: Sequence[Place]) -> str:
        """A curve from box to box, level where it leaves, bends and arrives."""
        x, y = self._left(points[0]) + self._width, self._top(points[0]) + _HEIGHT / 2
        path: List[str] = [f"M{x:g} {y:g}"]
        for point in points[1:]:
            to_x, to_y = self._left(point), self._top(point) + _HEIGHT / 2
            tip = to_x - 7 if point is points[-1] else to_x
            middle = (x + tip) / 2
            path.append(f"C{middle:g} {y:g} {middle:g} {to_y:g} {tip:g} {to_y:g}")
            if point is not points[-1]:
                path.append(f"H{to_x + self._width:g}")
            x, y = to_x + self._width, to_y
        end_x, end_y = self._left(points[-1]), y
        head = f"M{end_x:g} {end_y:g}l-8 -4v8z"
        line = 'fill="none" stroke="currentColor" stroke-opacity=".55" stroke-width="1.3"'
        return f'<path d="{"".join(path)}" {line}/><path d="{head}" fill-opacity=".7"/>'

    def _box(self, name: str, place: Place) -> str:
        look = self._looks.get(name, Look())
        colour = COLOURS.get(look.state, COLOURS[QUEUED])
        x, y = self._left(place), self._top(place)
        border = _BORDERS.get(look.state, "")
        weight = "2.6" if look.state == FAILED else "1.5"
        return (
            f"<g><title>{escaped(f'{name}: {self._words[name]}')}</title>"
            f'<rect x="{x:g}" y="{y:g}" width="{self._width}" height="{_HEIGHT}" rx="6" '
            f'fill="{colour}" fill-opacity=".1" stroke="{colour}" stroke-width="{weight}"{border}/>'
            f"{_mark(look.state, x + 14, y + 17, colour)}"
            f'<text x="{x + 26:g}" y="{y + 21:g}" font-weight="600">'
            f"{escaped(_short(name, self._chars - 2))}</text>"
            f'<text x="{x + 10:g}" y="{y + 39:g}" font-size="12">'
            f"{escaped(_short(self._words[name], round(self._chars * 1.1)))}</text></g>"
        )


def _under(step: Step, look: Look) -> str:
    """The words below a step's id; most steps are called like their agent."""
    state = look.label or look.state
    agent = "" if step.agent == step.id and state else step.agent
    return " · ".join(part for part in (agent, state) if part)


def _short(text: str, chars: int) -> str:
    return text if len(text) <= chars else f"{text[: chars - 1]}…"


def _mark(state: str, x: float, y: float, colour: str) -> str:
    """The shape of a state: filled for an answer, hollow for none."""
    paint = f'fill="{colour}"'
    hollow = f'fill="none" stroke="{colour}" stroke-width="1.6"'
    shapes = {
        DONE: f'<circle cx="{x:g}" cy="{y:g}" r="5" {paint}/>',
        CACHED: f'<rect x="{x - 5:g}" y="{y - 5:g}" width="10" height="10" {paint}/>',
        FAILED: f'<path d="M{x:g} {y - 6:g}l6 11h-12z" {paint}/>',
        CANCELLED: f'<path d="M{x:g} {y - 6:g}l6 6l-6 6l-6 -6z" {hollow}/>',
        SKIPPED: f'<path d="M{x - 5:g} {y:g}h10" {hollow}/>',
        RUNNING: f'<circle cx="{x:g}" cy="{y:g}" r="5" {hollow}/>'
        f'<path d="M{x:g} {y - 5:g}a5 5 0 0 1 0 10z" {paint}/>',
    }
    return shapes.get(state, f'<circle cx="{x:g}" cy="{y:g}" r="5" {hollow}/>')
