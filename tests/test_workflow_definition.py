"""Ways to write a workflow, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Dict

import pytest

from claude_force_nb import Workflow
from claude_force_nb.agents import AgentLibrary
from claude_force_nb.errors import InputError, WorkflowError
from claude_force_nb.workflow import Step, find_workflow
from claude_force_nb.yaml_text import YamlError

pytestmark = pytest.mark.essential


def test_all_ways_give_one_value(tmp_path: Path) -> None:
    """Arrows, YAML, a name, Python and single steps give equal workflows."""
    folder = tmp_path / ".claude"
    folder.mkdir()
    (folder / "claude.json").write_text(json.dumps({"workflows": {"two": ["a", "b"]}}))
    library = AgentLibrary(start=tmp_path, home=tmp_path / "home")

    ways = [
        Workflow.from_arrows("a -> b"),
        Workflow.from_arrows(" a→b "),
        Workflow.from_yaml("steps:\n- {id: a, agent: a}\n- {agent: b, needs: a}"),
        Workflow.chain("a", "b"),
        Workflow((Step("a", "a"), Step("b", "b", needs=("a",)))),
        find_workflow("two", library),
        find_workflow("a -> b", library),
    ]

    assert all(way == ways[0] for way in ways)
    assert ways[5].name == "two"


def test_stages_need_all_before() -> None:
    """Each step of arrows needs every step of the stages before its own."""
    workflow = Workflow.from_arrows("a, b -> c -> d")

    assert workflow.needs == {"a": (), "b": (), "c": ("a", "b"), "d": ("a", "b", "c")}
    assert workflow.sinks == ["d"]


def test_same_agent_twice() -> None:
    """A second step of an agent has an id of its own."""
    assert list(Workflow.from_arrows("a -> b -> a").needs) == ["a", "b", "a-2"]


def test_references_are_dependencies() -> None:
    """A template or condition that mentions a step needs it; each once, in one order."""
    step = Step("x", "a", task="{{ steps.q }} {{ steps.p.output }}", when="steps.r == '1'",
                needs=("q",))  # fmt: skip

    assert step.needs == ("p", "q", "r")


def test_defaults_fill_gaps() -> None:
    """Defaults of YAML hold for steps that say nothing themselves."""
    workflow = Workflow.from_yaml(
        "name: mine\ntask: Do it\n"
        "defaults: {agent: a, model: haiku, max_tokens: 50, retries: 2, timeout_s: 1.5}\n"
        "steps:\n- id: x\n- {id: y, model: opus, retries: 5}\n"
    )

    assert workflow["x"] == Step("x", "a", model="haiku", max_tokens=50, retries=2, timeout_s=1.5)
    assert (workflow["y"].model, workflow["y"].retries) == ("opus", 5)
    assert (workflow.name, workflow.task) == ("mine", "Do it")


def test_document_gives_it_back() -> None:
    """The plain document of a workflow is YAML that reads as the same workflow."""
    workflow = Workflow.from_yaml(
        "steps:\n- {id: x, agent: a, for_each: items, task: '{{ item }}'}\n"
        "- {id: y, agent: b, when: 'len(steps.x) > 2', task: 'z {{ steps.x }}', timeout_s: 3}\n"
    )

    assert Workflow.from_yaml(json.dumps(workflow.to_dict())) == workflow


@pytest.mark.parametrize(
    ("yaml", "said"),
    [
        ("", "no list of steps"),
        ("steps: 3", "no list of steps"),
        ("steps: []", "has no steps"),
        ("step: [{agent: a}]", "no list of steps"),
        ("steps: [{agent: a}]\nstps: 1", "Did you mean steps?"),
        ("steps: [a]", "step 1: 'a' is no step"),
        ("steps: [{id: x}]", "step 1: The step has no agent"),
        ("steps: [{agent: a/b}]", "is no id"),
        ("steps: [{id: x, agent: a/b}]", "not an agent name"),
        ("steps: [{id: 'x y', agent: a}]", "is no id of a step"),
        ("steps: [{agent: a, taks: hi}]", "Did you mean task?"),
        ("steps: [{agent: a, task: [1]}]", "task must be text"),
        ("steps: [{agent: a, needs: {b: 1}}]", "needs must be a list"),
        ("steps: [{agent: a, max_tokens: 0}]", "max_tokens must be a whole number"),
        ("steps: [{agent: a, max_tokens: many}]", "max_tokens must be a whole number"),
        ("steps: [{agent: a, retries: true}]", "retries must be a whole number"),
        ("steps: [{agent: a, retries: 21}]", "20 at most"),
        ("steps: [{agent: a, timeout_s: soon}]", "timeout_s must be a positive number"),
        ("steps: [{agent: a, timeout_s: -1}]", "timeout_s must be a positive number"),
        ("steps: [{agent: a, for_each: 'x.y', task: '{{ item }}'}]", "not the name of a variable"),
        ("steps: [{agent: a, for_each: xs, task: same}]", "Put {{ item }} into"),
        ("steps: [{agent: a, when: 'steps.a >'}]", "when: steps.a >"),
        ("steps: [{agent: a, task: '{{ steps.b'}]", "line 1"),
        ("steps: [{agent: a}, {agent: a}]", "stands twice: in step 1 and step 2"),
        ("steps: [{agent: a, needs: [b]}, {id: bb, agent: a}]", "Did you mean bb?"),
        ("steps: [{agent: a, task: '{{ steps.a }}'}]", "wait for each other: a -> a"),
        ("steps: [{agent: a, task: '{{ steps.b.text }}'}, {agent: b}]", "an output and nothing"),
        ("defaults: 3\nsteps: [{agent: a}]", "defaults must be fields"),
        ("defaults: {id: x}\nsteps: [{agent: a}]", "there is no 'id'"),
    ],
)
def test_malformed_workflows(yaml: str, said: str) -> None:
    """What is no workflow is refused with the place and what is wrong."""
    with pytest.raises(InputError) as caught:
        Workflow.from_yaml(yaml, source="this cell")

    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("yaml", "said"),
    [
        ("steps:\n  - id: a\n   agent: b", "this cell, line 4, column"),
        ("steps:\n- agent: a\n  agent: b", "line 4, column 3: the key 'agent' stands here twice"),
        ("a: &x [1]\nsteps: *x", "anchors and aliases"),
        ("steps: !!python/object/apply:os.system [ls]", "tags (!) are not supported"),
        ("steps:\n- agent: a\n  task: {{ x }}", "Put text that begins with braces in quotes"),
        ("x: '" + "a" * 70_000 + "'", "more than 64 KB"),
    ],
)
def test_bad_yaml_names_the_line(yaml: str, said: str) -> None:
    """YAML faults name line and column in the cell; bombs and tags are refused."""
    with pytest.raises(YamlError) as caught:
        Workflow.from_yaml(yaml, source="this cell", first_line=2)

    assert said in str(caught.value)


def test_cycle_is_shown_as_path() -> None:
    """Steps that wait for each other are named in the direction of the arrows."""
    steps = (Step("a", "a", needs=("c",)), Step("b", "a", needs=("a",)),
             Step("c", "a", needs=("b",)), Step("d", "a"))  # fmt: skip

    with pytest.raises(WorkflowError, match="a -> b -> c -> a"):
        Workflow(steps)


@pytest.mark.parametrize("text", ["", " -> a", "a ->", "a,,b", "a -> b/c", "a b"])
def test_bad_arrows(text: str) -> None:
    """A gap or a bad name between arrows is refused, with an example of how to write it."""
    with pytest.raises(WorkflowError, match="a, b -> c"):
        Workflow.from_arrows(text)


@pytest.mark.parametrize(
    ("needs", "arrows"),
    [
        ({"a": ""}, "a"),
        ({"a": "", "b": ""}, "a, b"),
        ({"a": "", "b": "a", "c": "ab"}, "a -> b -> c"),
        ({"a": "", "b": "", "c": "ab"}, "a, b -> c"),
        ({"a": "", "b": "a", "c": "a", "d": "bc", "e": ""}, "a -> b; a -> c; b, c -> d; e"),
    ],
)
def test_arrows_are_short(needs: Dict[str, str], arrows: str) -> None:
    """The graph in one line leaves out what follows from other arrows."""
    steps = tuple(Step(name, "x", needs=tuple(needed)) for name, needed in needs.items())

    assert Workflow(steps).arrows == arrows


def test_thousand_steps_in_a_row() -> None:
    """The longest chain that is allowed is read without running out of stack."""
    chain = Workflow.chain(*(f"a{number}" for number in range(1000)))

    assert len(chain.arrows.split(" -> ")) == 1000
    with pytest.raises(WorkflowError, match="more than 1,000 steps"):
        Workflow((*chain.steps, Step("more", "a")))


@pytest.mark.parametrize("value", [None, 3, ("a",), "a b"])
def test_bad_chain(value: Any) -> None:
    """A chain of something else than names is refused."""
    with pytest.raises(WorkflowError):
        Workflow.chain(value)
