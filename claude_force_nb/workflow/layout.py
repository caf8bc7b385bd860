"""Where to draw the steps of a graph: columns from left to right, with few crossings.

The layered method of Sugiyama, Tagawa and Toda (1981): a column for each stage, bends where an
arrow passes a column, and some sweeps that move each step to the middle of its neighbours. Written
here because nothing to depend on exists for Python 3.8 to 3.13: ``grandalf``, the one pure-Python
layered layout, calls itself alpha, has not changed its code since 2020 and is under the GPL or the
EPL; ``networkx`` places columns but neither orders them nor routes arrows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, List, Mapping, Sequence, Tuple

from .graph import reduced, stages

SWEEPS = 8

Place = Tuple[int, float]


@dataclass(frozen=True)
class Layout:
    """Places on a grid.

    Attributes:
        places: For each name its column, from 0, and its row, from 0 down.
        arrows: For each arrow the two names, and the places where it begins, bends and ends.
        columns: Number of columns.
        rows: Number of rows.
    """

    places: Dict[str, Place]
    arrows: Dict[Tuple[str, str], List[Place]]
    columns: int
    rows: int


def layout(needs: Mapping[str, Sequence[str]]) -> Layout:
    """Place the names of a graph; the same graph is always placed in the same way.

    Arrows that follow from others are left out.
    """
    edges = reduced(needs)
    columns: List[List[str]] = stages(needs)
    level = {name: number for number, column in enumerate(columns) for name in column}
    paths = {
        (earlier, later): _with_bends(earlier, later, level, columns)
        for later, found in edges.items()
        for earlier in found
    }
    _sweep(columns, [pair for path in paths.values() for pair in zip(path, path[1:])])
    rows = max(map(len, columns))
    places = {
        name: (number, index + (rows - len(column)) / 2)
        for number, column in enumerate(columns)
        for index, name in enumerate(column)
    }
    arrows = {ends: [places[name] for name in path] for ends, path in paths.items()}
    return Layout({name: places[name] for name in needs}, arrows, len(columns), rows)


def _with_bends(
    earlier: str, later: str, level: Mapping[str, int], columns: List[List[str]]
) -> List[str]:
    """The points of an arrow; a bend takes a place in every column that it passes."""
    path = [earlier]
    for number in range(level[earlier] + 1, level[later]):
        bend = f"{earlier} {later} {number}"  # no id has a space
        columns[number].append(bend)
        path.append(bend)
    return [*path, later]


def _sweep(columns: List[List[str]], pairs: Sequence[Tuple[str, str]]) -> None:
    """Order each column by the middle of its neighbours, from the left and from the right."""
    before: Dict[str, List[str]] = {}
    after: Dict[str, List[str]] = {}
    for left, right in pairs:
        before.setdefault(right, []).append(left)
        after.setdefault(left, []).append(right)
    for sweep in range(SWEEPS):
        forth = sweep % 2 == 0
        neighbours, fixed = (before, columns) if forth else (after, columns[::-1])
        for reference, column in zip(fixed, fixed[1:]):
            _order(column, reference, neighbours)


def _order(
    column: List[str], reference: Sequence[str], neighbours: Mapping[str, Sequence[str]]
) -> None:
    height = {name: index - len(reference) / 2 for index, name in enumerate(reference)}
    own = {name: index - len(column) / 2 for index, name in enumerate(column)}

    def middle(name: str) -> float:
        found = [height[one] for one in neighbours.get(name, ())]
        return sum(found) / len(found) if found else own[name]

    column.sort(key=middle)
