"""The picture of a workflow and the bundles of its results."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from typing import Any, Dict

import pytest
from workflow_kit import Ledger, orchestrator_of

from claude_force_nb import Workflow
from claude_force_nb.agents import AgentDefinition
from claude_force_nb.notebook.workflow_picture import COLOURS, MAX_STEPS, Look, picture
from claude_force_nb.notebook.workflow_view import (
    footer,
    forecast_bundle,
    live_html,
    result_bundle,
    workflow_bundle,
)
from claude_force_nb.workflow import Execution, Plan, Step, forecast

pytestmark = pytest.mark.essential

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = "</title><script>alert(1)</script><img src=x onerror=alert(2)>"


def drawn(states: Dict[str, str], **labels: str) -> ElementTree.Element:
    """The parsed picture of steps in a row with these states."""
    workflow = Workflow.chain(*states)
    looks = {name: Look(state, labels.get(name, "")) for name, state in states.items()}
    return ElementTree.fromstring(picture(workflow, looks))


def test_states_are_told_three_ways() -> None:
    """Each state has a word and a shape of its own; failed, skipped and cancelled a border too."""
    names = [f"s{number}" for number in range(len(COLOURS))]
    root = drawn(dict(zip(names, COLOURS)))

    texts = ["".join(text.itertext()) for text in root.iter(f"{SVG}text")]
    assert [word for word in texts if word.startswith("s") and "·" in word] == []
    assert {word.split(" · ")[-1] for word in texts[1::2]} == set(COLOURS)
    marks = set()
    for group in root.iter(f"{SVG}g"):
        shapes = [e for e in group if e.tag in (f"{SVG}circle", f"{SVG}path", f"{SVG}rect")][1:]
        marks.add(tuple((e.tag, re.sub(r"[0-9.]+", "", e.get("d", "")), e.get("fill") == "none")
                        for e in shapes))  # fmt: skip
    assert len(marks) == len(COLOURS)


def test_reader_without_eyes() -> None:
    """The picture is one image with a title, and a description of every step."""
    root = drawn({"a": "done", "b": "failed"})

    assert root.get("role") == "img" and root.get("aria-label") == "Workflow a -> b"
    assert root.findtext(f"{SVG}title") == "Workflow a -> b"
    assert root.findtext(f"{SVG}desc") == "a: done; b: failed"


def _luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("page", ["#ffffff", "#111111"])
@pytest.mark.parametrize("colour", sorted(set(COLOURS.values())))
def test_colours_on_light_and_dark(colour: str, page: str) -> None:
    """Marks and borders have the contrast of 3:1 that WCAG asks of graphics, in both themes."""
    light, dark = sorted((_luminance(colour), _luminance(page)), reverse=True)

    assert (light + 0.05) / (dark + 0.05) >= 3


def test_text_takes_the_page_colour() -> None:
    """No text has a colour of its own, so that it can be read in any theme."""
    root = drawn({"a": "done"})

    assert root.get("fill") == "currentColor"
    assert all(text.get("fill") is None for text in root.iter(f"{SVG}text"))


def test_hostile_labels_are_text() -> None:
    """A label made to break out of the picture stays text, and so does an agent's name."""
    svg = picture(Workflow.chain("a"), {"a": Look("failed", HOSTILE)}, HOSTILE)

    root = ElementTree.fromstring(svg)
    assert {e.tag for e in root.iter()} <= {
        f"{SVG}{tag}" for tag in ("svg", "title", "desc", "g", "rect", "path", "circle", "text")
    }
    assert root.get("aria-label") == HOSTILE


def test_picture_has_no_ids_or_links() -> None:
    """Several pictures can share a page: there are no ids, classes, scripts or references."""
    svg = picture(Workflow.from_arrows("a, b -> c"), {})

    assert not re.search(r"\b(id|class|href|style|on\w+)=|url\(|<script", svg)


def test_large_graphs_have_a_table() -> None:
    """A graph that nobody could read as a picture is not drawn."""
    workflow = Workflow(tuple(Step(f"s{n}", "a") for n in range(MAX_STEPS + 1)))

    assert picture(workflow, {}) == ""
    assert "<svg" not in workflow_bundle(workflow)["text/html"]


async def _result(workflow: Any, task: Any = None, answer: Any = None, **variables: Any) -> Any:
    orchestrator = orchestrator_of(Ledger(answer))
    return await orchestrator.execute_workflow(workflow, task, **variables)


async def test_bundle_says_everything_twice() -> None:
    """HTML and plain text both have the states, the reason, the answer and the footer."""
    workflow = Workflow.from_yaml(
        "steps:\n- {id: x, agent: a, task: fine}\n- {id: bad, agent: b, task: FAIL}\n"
        "- {id: y, agent: c, task: 'z {{ steps.bad }}'}\n"
        "- {id: end, agent: d, task: '{{ steps.x }}'}"
    )

    bundle = result_bundle(await _result(workflow))

    for text in bundle.values():
        for said in (
            "It was refused.",
            "skipped",
            "failed",
            "4 steps: 2 done, 1 failed, 1 skipped",
        ):
            assert said in text
    assert "It needs bad, which failed." in bundle["text/plain"]
    assert "&lt;d&gt;" in bundle["text/html"] and "<d>" in bundle["text/plain"]


async def test_answers_cannot_act() -> None:
    """What a model wrote is rendered by the one safe renderer, folded or not."""
    bundle = result_bundle(await _result("a -> b", "go", lambda request: HOSTILE))

    assert "<script" not in bundle["text/html"] and "<img" not in bundle["text/html"]
    assert bundle["text/html"].count("<svg") == 1


async def test_large_result_is_bounded() -> None:
    """A result of many steps shows a table and the last answer, not every answer."""
    steps = [Step(f"s{n}", "a", task=f"part {n}") for n in range(MAX_STEPS)]
    last = Step("end", "b", task="done", needs=tuple(step.id for step in steps))

    html = result_bundle(await _result(Workflow((*steps, last)), None, lambda r: "word " * 50))[
        "text/html"
    ]

    assert "<svg" not in html and "<details" not in html and "s59" in html
    assert html.count("word word") < 60


async def test_footer_tells_money() -> None:
    """The footer has steps, tokens, dollars and seconds."""
    line = footer(await _result("a -> b", "go"))

    assert re.fullmatch(
        r"a -> b · claude-haiku-5-5 · 2 steps: 2 done · 20 in / 10 out · \$0\.0\d+ · \d+\.\d s",
        line,
    )


async def test_live_view_follows() -> None:
    """The live view tells queued, running and ended steps apart, with the growing text escaped."""
    orchestrator = orchestrator_of(Ledger())
    plan = Plan(orchestrator, Workflow.from_arrows("a -> b"), "go")
    first = live_html(plan)
    plan.runs["a"][0].begin_attempt(1)
    plan.runs["a"][0].add_text("<b>growing")
    second = live_html(plan)
    await Execution(plan).run()

    assert "2 steps: 2 queued" in first
    assert "a: running; b: queued" in second and "&lt;b&gt;growing" in second
    assert "2 steps: 2 done" in live_html(plan)


async def test_forecast_bundle() -> None:
    """A dry run shows the graph, the prompts and the labelled estimates."""
    orchestrator = orchestrator_of(Ledger())
    orchestrator.library.define(AgentDefinition("d", "x"))

    bundle = forecast_bundle(forecast(Plan(orchestrator, Workflow.from_arrows("a -> d"), "go <b>")))

    assert "<svg" in bundle["text/html"] and "go &lt;b&gt;" in bundle["text/html"]
    for text in bundle.values():
        assert "(estimated)" in text and "at most 2 calls" in text and "nothing was sent" in text
    assert "(the answer of step a)" in bundle["text/plain"]
