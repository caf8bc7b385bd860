"""The board's HTML: words for every state, bounded texts, nothing that acts."""

from __future__ import annotations

import html
import re
from typing import Any

import pytest
from payloads import payloads

from claude_force_nb.notebook.board_markup import rows_html, state_text, totals_html
from claude_force_nb.records import AgentRequest, AgentResult, Usage
from claude_force_nb.runs import Run

MODEL = "claude-haiku-5-5"


def running(text: str = "", name: str = "writer") -> Run:
    """Return a run that is under way and has brought *text*."""
    run = Run(name, MODEL)
    run.begin_attempt(1)
    if text:
        run.add_text(text)
    return run


def ended(state: str = "done", output: str = "The end.", **fields: Any) -> Run:
    """Return a run that has ended, without having streamed."""
    run = Run("writer", MODEL)
    usage = Usage(800, 200)
    success = state in ("done", "cached")
    fields = {"usage": usage, "cost_usd": 0.5, "model": MODEL, "elapsed_s": 2.1, **fields}
    run.end(AgentResult("writer", success, output, state=state, **fields))
    return run


def words(markup: str) -> str:
    """Return what a reader reads."""
    return " ".join(html.unescape(re.sub("<[^>]*>", " ", markup)).split())


def test_states_are_words() -> None:
    """Each run's state, time, attempt and pause are told in words, in the order of the cell."""
    waiting = running(name="waiting")
    waiting.begin_attempt(2)
    waiting.wait("429", 12)
    assert waiting.waiting is not None
    clock = waiting.waiting.until - 11.5

    assert words(
        rows_html([Run("first", MODEL), running(), waiting, ended()], clock=lambda: clock)
    ) == (
        f"first · queued · {MODEL} writer · running · 0 s · {MODEL} "
        f"waiting · waiting: 429, trying again in 12 s · 0 s · attempt 2 · {MODEL} "
        f"writer · {MODEL} · 800 in / 200 out · $0.5000 · 2.1 s · fresh The end."
    )


def test_pause_never_goes_below_zero() -> None:
    """A pause that is over but not yet ended counts no seconds."""
    run = running()
    run.wait("529", 1)
    assert run.waiting is not None

    assert "in 0 s" in state_text(run, run.waiting.until + 5)


def test_offline_is_told_meanwhile() -> None:
    """While the stand-in model answers, the board says so and names no real model."""
    run = running()
    run.request = AgentRequest("writer", MODEL, (), 100, provider="offline")

    assert state_text(run, 0.0).endswith("· offline stand-in model")


def test_tail_is_bounded() -> None:
    """However long an answer gets, only its end is sent to the page."""
    markup = rows_html([running("a" * 1_000_000 + "the end")], tail_chars=100)

    assert len(markup) < 2_000
    assert "…aaa" in markup and "the end</pre>" in markup


def test_folded_text_is_not_sent() -> None:
    """A folded run has its line and no text."""
    first, second = running("seen"), running("hidden")
    shown = words(rows_html([first, second], {second}))

    assert "seen" in shown and "hidden" not in shown


def test_height_is_fixed() -> None:
    """A run takes the same place before, while and after its text streams."""
    heights = {
        tuple(re.findall(r"height:(\d+)px", rows_html([run], height_px=99)))
        for run in (running(), running("line\n" * 500), ended())
    }

    assert len(heights) == 1


@pytest.mark.parametrize(
    ("runs", "told"),
    [
        ([running(), Run("q")], "0 of 2 ended · 1 queued · 1 running"),
        ([ended(), ended()], "2 of 2 ended · 2 done · 2,000 tokens · $1.00"),
        (
            [ended("cached", cached=True), ended()],
            "2 of 2 ended · 1 done · 1 cached · 2,000 tokens · $0.5000",
        ),
        (
            [ended(cost_usd=None), running()],
            "1 of 2 ended · 1 running · 1 done · 1,000 tokens · cost unknown",
        ),
        (
            [ended("failed", usage=Usage()), ended("cancelled", usage=Usage())],
            "2 of 2 ended · 1 failed · 1 cancelled",
        ),
    ],
)
def test_totals_add_up(runs: Any, told: str) -> None:
    """States are counted and add up; a cached answer costs nothing again."""
    assert words(totals_html(runs)) == told


def test_waiting_runs_are_counted() -> None:
    """A run in a pause counts as waiting and not as running."""
    run = running()
    run.wait("429", 5)

    assert words(totals_html([run, running()])) == "0 of 2 ended · 1 running · 1 waiting"


def test_roles_are_there() -> None:
    """Screen readers get a list of runs, a progress bar with its values, and a status."""
    markup = rows_html([running()]) + totals_html([running(), ended()])

    assert re.findall(r'role="(\w+)"', markup) == ["list", "listitem", "progressbar", "status"]
    assert 'aria-valuemax="2" aria-valuenow="1"' in markup


def test_themes_are_respected() -> None:
    """Every colour comes from the theme, with a fallback where there is none."""
    markup = rows_html([running("text")]) + totals_html([running(), ended()])
    colours = re.findall(r"(?:#[0-9a-f]{3,6}|rgba?\()", markup)
    themed = re.findall(r"var\(--jp-[\w-]+,(?:#[0-9a-f]{3,6}|rgba?\()", markup)

    assert 0 < len(colours) == len(themed)


@pytest.mark.parametrize("payload", payloads(), ids=lambda payload: payload.name)
def test_text_is_inert(payload: Any) -> None:
    """Text that is still streaming is escaped, and so are names, models and errors."""
    run = Run(payload.text, payload.text)
    run.begin_attempt(1)
    run.add_text(payload.text)
    run.wait(payload.text, 3)
    markup = rows_html([run, ended("failed", payload.text, errors=[payload.text])])

    assert set(re.findall(r"<(\w+)", markup)) == {"div", "pre", "strong"}
