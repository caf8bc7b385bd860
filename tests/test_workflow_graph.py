"""Graphs and their layout, for any graph."""

from __future__ import annotations

from typing import Any, Dict, List, Set, Tuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claude_force_nb.workflow import graph
from claude_force_nb.workflow.layout import layout

pytestmark = pytest.mark.essential

Needs = Dict[str, Tuple[str, ...]]


@st.composite
def acyclic(draw: Any) -> Needs:
    """A random acyclic graph, written in any order."""
    names = draw(st.permutations([f"s{number}" for number in range(draw(st.integers(1, 12)))]))
    needs: Needs = {}
    for index, name in enumerate(names):
        chosen = draw(st.sets(st.sampled_from(names[:index]))) if index else set()
        needs[name] = tuple(sorted(chosen))
    return {name: needs[name] for name in sorted(names)}


def reachable(needs: Needs) -> Dict[str, Set[str]]:
    """For each name all that stand before it, by plain repetition."""
    above: Dict[str, Set[str]] = {name: set(needed) for name, needed in needs.items()}
    for _ in needs:
        for name in needs:
            above[name] |= {far for near in above[name] for far in above[near]}
    return above


@given(acyclic())
@settings(deadline=None)
def test_order_and_reduction(needs: Needs) -> None:
    """Every name stands after what it needs; fewer arrows lead to the same order."""
    order = graph.ordered(needs)
    fewer = graph.reduced(needs)

    assert sorted(order) == sorted(needs) and graph.cycle(needs) == []
    assert all(order.index(e) < order.index(n) for n in needs for e in needs[n])
    assert reachable(fewer) == reachable(needs)
    above = reachable(needs)
    assert not any(a in above[b] for kept in fewer.values() for a in kept for b in kept)


@given(acyclic(), st.data())
@settings(deadline=None)
def test_any_cycle_is_found(needs: Needs, data: Any) -> None:
    """An arrow back makes a cycle, and the path that is shown follows the arrows around it."""
    later = data.draw(st.sampled_from(sorted(needs)))
    above = sorted(reachable(needs)[later] | {later})
    earlier = data.draw(st.sampled_from(above))
    needs = {**needs, earlier: (*needs[earlier], later)}

    path = graph.cycle(needs)

    assert path[0] == path[-1] and len(set(path)) == len(path) - 1
    assert all(before in needs[after] for before, after in zip(path, path[1:]))


@given(acyclic())
@settings(deadline=None)
def test_layout_of_any_graph(needs: Needs) -> None:
    """Nothing shares a place, arrows lead one column to the right at each point, always alike."""
    found = layout(needs)

    points: List[Any] = list(found.places.values())
    points += [bend for path in found.arrows.values() for bend in path[1:-1]]
    assert len(points) == len(set(points))
    assert all(0 <= c < found.columns and 0 <= r <= found.rows - 1 for c, r in points)
    for (earlier, later), path in found.arrows.items():
        assert (path[0], path[-1]) == (found.places[earlier], found.places[later])
        assert [column for column, _ in path] == list(range(path[0][0], path[-1][0] + 1))
    assert layout(needs) == found


def test_sweeps_uncross() -> None:
    """Two parallel pairs that were written crosswise are drawn without a crossing."""
    found = layout({"a": (), "b": (), "y": ("b",), "x": ("a",)})

    assert found.places["a"][1] == found.places["x"][1]
    assert found.places["b"][1] == found.places["y"][1]
