"""Directed graphs of names, each with the names it needs.

Everything here is iterative: a chain of a thousand steps is deeper than Python's stack.
"""

from __future__ import annotations

import functools
import operator
from collections import deque
from typing import Deque, Dict, List, Mapping, Sequence, Tuple

Needs = Mapping[str, Sequence[str]]


def dependants(needs: Needs) -> Dict[str, List[str]]:
    """For each name those that need it, in the order of *needs*."""
    found: Dict[str, List[str]] = {name: [] for name in needs}
    for name, needed in needs.items():
        for earlier in needed:
            found[earlier].append(name)
    return found


def ordered(needs: Needs) -> List[str]:
    """The names, each after what it needs; those on or behind a cycle are left out."""
    after, missing = dependants(needs), {name: len(needed) for name, needed in needs.items()}
    ready: Deque[str] = deque(name for name, count in missing.items() if count == 0)
    done: List[str] = []
    while ready:
        name = ready.popleft()
        done.append(name)
        for later in after[name]:
            missing[later] -= 1
            if missing[later] == 0:
                ready.append(later)
    return done


def cycle(needs: Needs) -> List[str]:
    """A cycle in the direction of the arrows, its first name once more at the end; or nothing."""
    stuck = set(needs) - set(ordered(needs))
    if not stuck:
        return []
    path = [next(name for name in needs if name in stuck)]
    seen = {path[0]: 0}
    while True:
        # Whatever is stuck needs something that is stuck too, so walking back never ends.
        name = next(earlier for earlier in needs[path[-1]] if earlier in stuck)
        path.append(name)
        if name in seen:
            return path[seen[name] :][::-1]
        seen[name] = len(path) - 1


def stages(needs: Needs) -> List[List[str]]:
    """The names by the length of the longest path that leads to them."""
    level: Dict[str, int] = {}
    rows: List[List[str]] = []
    for name in ordered(needs):
        level[name] = max((level[earlier] + 1 for earlier in needs[name]), default=0)
        if level[name] == len(rows):
            rows.append([])
        rows[level[name]].append(name)
    position = {name: index for index, name in enumerate(needs)}
    return [sorted(row, key=position.__getitem__) for row in rows]


def reduced(needs: Needs) -> Dict[str, Tuple[str, ...]]:
    """The same order with the fewest arrows: what follows from other arrows is left out."""
    # Sets of names as bits of one number: a chain of a thousand has half a million arrows.
    bit = {name: 1 << index for index, name in enumerate(needs)}
    above: Dict[str, int] = {}
    kept: Dict[str, Tuple[str, ...]] = {}
    for name in ordered(needs):
        implied = functools.reduce(operator.or_, (above[earlier] for earlier in needs[name]), 0)
        kept[name] = tuple(earlier for earlier in needs[name] if not implied & bit[earlier])
        above[name] = functools.reduce(operator.or_, map(bit.__getitem__, needs[name]), implied)
    return {name: kept[name] for name in needs}


def arrow_text(needs: Needs) -> str:
    """The graph in one line.

    Where each stage needs the whole stage before, that is ``a, b -> c``; otherwise each name
    stands behind what it needs: ``a -> b; a -> c; b, c -> d``.
    """
    edges, rows = reduced(needs), stages(needs)
    if all(set(edges[name]) == set(row) for row, later in zip(rows, rows[1:]) for name in later):
        return " -> ".join(", ".join(row) for row in rows)
    return "; ".join(
        _with_needs(name, edges) for name in needs if edges[name] or _alone(name, edges)
    )


def _with_needs(name: str, edges: Needs) -> str:
    return f"{', '.join(edges[name])} -> {name}" if edges[name] else name


def _alone(name: str, edges: Needs) -> bool:
    return not any(name in needed for needed in edges.values())
