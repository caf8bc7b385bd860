"""Hostile answers in real JupyterLab: live, reopened and exported, nothing runs or loads.

A zero counts only beside two controls: a harmless answer that is visible, and the same payloads
through ``display(HTML(...))``, where they must work.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Dict, Iterator, List, Set

import pytest
from lab import Canary, Lab, NotebookPage, missing
from payloads import CLICK, LOAD, SCRIPT, SPOOF, payloads

pytestmark = [pytest.mark.browser, pytest.mark.skipif(bool(missing()), reason=missing())]

LIVE, REOPENED, EXPORTED = STAGES = ("live", "reopened", "exported")
CONTROL = "the visible control"

SAFE = """
from IPython.display import display
from ipywidgets import HTML
from claude_force_nb.notebook.board_markup import rows_html, totals_html
from claude_force_nb.notebook.bundle import results_bundle
from claude_force_nb.records import AgentResult
from claude_force_nb.runs import Run
from payloads import payloads

def run(text):
    run = Run(text[:200])
    run.begin_attempt(1)
    run.add_text(text)
    return run

texts = [payload.text for payload in payloads({canary!r})]
for text in texts:
    answer = AgentResult("agent", True, text, model=text[:200])
    failure = AgentResult("agent", False, text, errors=[text], state="failed")
    display(results_bundle([answer, failure], notes=[text[:200]]), raw=True)
runs = [run(text) for text in texts]
display(HTML(rows_html(runs)), HTML(totals_html(runs)))
display(results_bundle([AgentResult("agent", True, {control!r})]), raw=True)
"""
# Payloads that change the whole page would hide what the others do.
RAW = """
from IPython.display import HTML, display
from payloads import CLICK, COMMAND, LOAD, SCRIPT, payloads

# First, because an exported page ends inside whatever a payload leaves open.
display(HTML({control!r}))
for payload in payloads({canary!r}):
    if payload.kind in (CLICK, COMMAND, LOAD, SCRIPT):
        display(HTML(payload.text))
"""
FORBIDDEN = "script,style,iframe,object,embed,form,input,svg,img,video,audio,link,base,dialog,math"
COUNT_FORBIDDEN = """(forbidden) => [...document.querySelectorAll(
  '.jp-OutputArea-output [class~="mathjax_ignore"]')].flatMap((answer) =>
  [...answer.querySelectorAll(forbidden), ...answer.querySelectorAll('[id],[name]')]).length"""


@dataclass(frozen=True)
class Observation:
    """What a page did by itself, and when everything in it was clicked."""

    scripts: Set[int]
    scripts_clicked: Set[int]
    loads: Set[int]
    commands: List[str]
    navigations: List[str]
    forbidden: int
    text: str


@pytest.fixture(scope="module")
def canary() -> Iterator[Canary]:
    """Give a server that notes what is loaded."""
    with Canary() as running:
        yield running


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Give a running JupyterLab."""
    with Lab.start(tmp_path_factory.mktemp("lab")) as running:
        yield running


@pytest.fixture(scope="module")
def safe(lab: Lab, canary: Canary) -> Dict[str, Observation]:
    """Show all payloads as this package shows answers."""
    return watched(lab, canary, "safe", SAFE)


@pytest.fixture(scope="module")
def raw(lab: Lab, canary: Canary) -> Dict[str, Observation]:
    """Show the payloads as HTML, the positive control."""
    return watched(lab, canary, "raw", RAW)


def watched(lab: Lab, canary: Canary, name: str, source: str) -> Dict[str, Observation]:
    """Run a notebook, reopen it without running anything, and export it."""
    seen = {}
    source = source.format(canary=canary.url, control=CONTROL)
    with lab.notebook(f"{name}.ipynb", [source]) as page:
        canary.asked.clear()
        page.run()
        page.save()
        seen[LIVE] = observe(page, canary)
    canary.asked.clear()
    with lab.notebook(f"{name}.ipynb") as page:
        seen[REOPENED] = observe(page, canary)
    canary.asked.clear()
    with lab.page() as page:
        page.open(exported(lab.root / f"{name}.ipynb"))
        seen[EXPORTED] = observe(page, canary)
    return seen


def exported(notebook: Path) -> str:
    """Convert a notebook to a page with default settings."""
    from nbconvert import HTMLExporter

    page, _ = HTMLExporter().from_filename(str(notebook))
    path = notebook.with_suffix(".html")
    path.write_text(page, encoding="utf-8")
    return path.as_uri()


def observe(page: NotebookPage, canary: Canary) -> Observation:
    """Wait, look, then click everything."""
    page.wait_for_text(CONTROL, state="attached")
    page.settle()
    scripts, loads, text = set(page.scripts), canary.numbers(), page.text()
    forbidden = page.page.evaluate(COUNT_FORBIDDEN, FORBIDDEN)
    page.poke()
    return Observation(
        scripts,
        page.scripts - scripts,
        loads,
        list(page.commands),
        list(page.navigations),
        forbidden,
        text,
    )


def of_kind(kind: str, numbers: Set[int]) -> int:
    """Count the payloads of a kind among *numbers*."""
    return len(
        [payload for payload in payloads() if payload.kind == kind and payload.number in numbers]
    )


@pytest.mark.parametrize("stage", STAGES)
def test_nothing_runs(safe: Dict[str, Observation], stage: str) -> None:
    """No script of an answer runs, neither by itself nor when everything is clicked."""
    assert safe[stage].scripts | safe[stage].scripts_clicked == set()


@pytest.mark.parametrize("stage", STAGES)
def test_nothing_loads(safe: Dict[str, Observation], stage: str) -> None:
    """No answer makes the page ask another server for anything."""
    assert safe[stage].loads == set()


@pytest.mark.parametrize("stage", STAGES)
def test_nothing_acts(safe: Dict[str, Observation], stage: str) -> None:
    """No click on an answer runs a JupyterLab command or leaves the page."""
    assert (safe[stage].commands, safe[stage].navigations) == ([], [])


@pytest.mark.parametrize("stage", STAGES)
def test_no_foreign_elements(safe: Dict[str, Observation], stage: str) -> None:
    """Answers hold no element that could imitate or change the page around them."""
    assert safe[stage].forbidden == 0


@pytest.mark.parametrize("stage", STAGES)
def test_spoofs_are_seen(safe: Dict[str, Observation], stage: str) -> None:
    """A reader sees the mark of each hidden character and the real host of each false link."""
    text = safe[stage].text

    assert CONTROL in text
    assert text.count("⟨U+") >= len([p for p in payloads() if p.kind == SPOOF])
    assert "https://bank.example (evil.example)" in text


@pytest.mark.parametrize("stage", STAGES)
def test_control_fires(raw: Dict[str, Observation], stage: str) -> None:
    """Shown as HTML the same payloads run and load, so the zeros of the others mean something."""
    assert of_kind(SCRIPT, raw[stage].scripts) >= 20
    assert of_kind(LOAD, raw[stage].loads) >= 10
    assert of_kind(CLICK, raw[stage].scripts_clicked) >= 3


def test_control_commands(raw: Dict[str, Observation]) -> None:
    """Shown as HTML, a click on an answer runs a JupyterLab command."""
    assert raw[LIVE].commands != []
