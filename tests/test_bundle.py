"""What a cell shows for good, and while its runs go on."""

from __future__ import annotations

import dataclasses
import re
from html.parser import HTMLParser
from typing import Any, List

import pytest
from payloads import payloads

from claude_force_nb.notebook.bundle import dollars, footer_text, results_bundle
from claude_force_nb.notebook.rendering import visible
from claude_force_nb.records import AgentResult, Usage

NOW = 1_000_000.0
OURS = {"div", "h3", "p", "small", "strong", "table", "thead", "tbody", "tr", "th", "td"}


def result(**changes: Any) -> AgentResult:
    """Return the result of an ordinary call, with *changes*."""
    ordinary = AgentResult(
        agent_name="code-reviewer",
        success=True,
        output="Two **bugs**.",
        metadata={"provider": "anthropic", "attempts": 1, "created": NOW},
        usage=Usage(812, 204),
        cost_usd=0.0042,
        model="claude-sonnet-5-5",
        elapsed_s=2.1,
        stop_reason="end_turn",
    )
    return dataclasses.replace(ordinary, **changes)


def cached(age_s: float, **changes: Any) -> AgentResult:
    """Return the same result from the cache, *age_s* seconds old at ``NOW``."""
    metadata = {"provider": "anthropic", "attempts": 0, "created": NOW - age_s}
    return result(**{"cached": True, "state": "cached", "metadata": metadata, **changes})


def failed(**changes: Any) -> AgentResult:
    """Return the result of a call that failed."""
    failure = {
        "success": False,
        "state": "failed",
        "output": "",
        "errors": ["The key was refused. Set another one."],
        "usage": Usage(),
        "cost_usd": None,
        "stop_reason": None,
    }
    return result(**{**failure, **changes})


def words(markup: str) -> str:
    """Return the text of a piece of HTML, blocks apart from each other."""
    pieces: List[str] = []
    parser = HTMLParser()
    parser.handle_data = pieces.append  # type: ignore[method-assign]
    parser.feed(markup)
    return re.sub(r"\s+", " ", " ".join(pieces)).strip()


@pytest.mark.essential
@pytest.mark.parametrize(
    ("outcome", "line"),
    [
        (
            result(),
            "code-reviewer · claude-sonnet-5-5 · 812 in / 204 out · $0.0042 · 2.1 s · fresh",
        ),
        (
            cached(3 * 3600 + 5),
            "code-reviewer · claude-sonnet-5-5 · 812 in / 204 out · cached 3 h ago · saved $0.0042",
        ),
        (
            result(cost_usd=None),
            "code-reviewer · claude-sonnet-5-5 · 812 in / 204 out · cost unknown · 2.1 s · fresh",
        ),
        (failed(), "code-reviewer · claude-sonnet-5-5 · 2.1 s · failed"),
        (failed(state="cancelled"), "code-reviewer · claude-sonnet-5-5 · 2.1 s · cancelled"),
        (failed(model="", elapsed_s=0.0), "code-reviewer · 0.0 s · failed"),
        (
            result(metadata={"provider": "offline"}, model="digest", cost_usd=0.0),
            "code-reviewer · offline stand-in model · 812 in / 204 out · 2.1 s · fresh",
        ),
        (
            cached(5, metadata={"provider": "offline"}, model="digest", cost_usd=0.0),
            "code-reviewer · offline stand-in model · 812 in / 204 out · cached",
        ),
    ],
)
def test_footer_line(outcome: AgentResult, line: str) -> None:
    """The footer names agent, model, tokens, money, time and where the answer comes from."""
    assert footer_text(outcome, NOW) == line


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("max_tokens", "stopped: max_tokens — the answer is cut"),
        ("refusal", "stopped: refusal — the model declined"),
        ("pause_turn", "stopped: pause_turn — the model paused a long turn"),
        ("stop_sequence", "stopped: stop_sequence"),
        ("a\nb\x1b", "stopped: a b⟨U+001B⟩"),
    ],
)
def test_footer_stop_reason(reason: str, words: str) -> None:
    """A reason to stop that is not the end of the answer is told, with what it means."""
    assert footer_text(result(stop_reason=reason)).endswith(f" · fresh · {words}")


def test_footer_attempts() -> None:
    """More than one attempt is told."""
    assert footer_text(result(metadata={"attempts": 3})).endswith("fresh · 3 attempts")


@pytest.mark.parametrize(
    ("age_s", "words"),
    [
        (0, "0 s ago"),
        (-60, "0 s ago"),
        (59.9, "59 s ago"),
        (60, "1 min ago"),
        (3600, "1 h ago"),
        (86_399, "23 h ago"),
        (86_400, "1 d ago"),
        (9_000_000, "104 d ago"),
    ],
)
def test_footer_age(age_s: float, words: str) -> None:
    """The age of a cached answer is told in its largest whole unit."""
    assert f" · cached {words} · " in footer_text(cached(age_s), NOW)


def test_footer_saving_unknown() -> None:
    """What a cached answer of an unpriced model saved is unknown, not nothing."""
    assert footer_text(cached(5, cost_usd=None), NOW).endswith(" · cached 5 s ago · cost unknown")


@pytest.mark.parametrize(
    ("elapsed_s", "words"),
    [(0.04, "0.0 s"), (59.94, "59.9 s"), (59.96, "1 min 0 s"), (125, "2 min 5 s")],
)
def test_footer_duration(elapsed_s: float, words: str) -> None:
    """A run of a minute or more is told in minutes and seconds."""
    assert f" · {words} · " in footer_text(result(elapsed_s=elapsed_s))


@pytest.mark.parametrize(
    ("cost_usd", "words"),
    [
        (0, "$0"),
        (0.0000123, "$0.000012"),
        (0.00042, "$0.00042"),
        (0.0042, "$0.0042"),
        (0.02, "$0.0200"),
        (1.5, "$1.50"),
        (1234.5, "$1,234.50"),
    ],
)
def test_dollars(cost_usd: float, words: str) -> None:
    """An amount keeps at least two significant digits."""
    assert dollars(cost_usd) == words


@pytest.mark.parametrize("outcomes", [[], [result()], [result(), failed()], [cached(5)] * 5])
def test_bundle_types(outcomes: List[AgentResult]) -> None:
    """A bundle is HTML and plain text and nothing that a front end could run."""
    assert set(results_bundle(outcomes)) == {"text/html", "text/plain"}


def test_single_is_answer_and_footer() -> None:
    """One result is shown without a heading, its notes above the footer, which ends it."""
    bundle = results_bundle([result()], notes=["df 3×2"], now=NOW)
    footer = footer_text(result())

    assert bundle["text/plain"] == f"Two **bugs**.\n\ndf 3×2\n{footer}"
    assert words(bundle["text/html"]) == f"Two bugs . df 3×2 {footer}"


def test_manifest_is_a_note() -> None:
    """The manifest of a prompt is shown once, also when the caller passes it."""
    outcome = result(metadata={"manifest": "df 3×2"})

    for notes in ([], ["df 3×2"]):
        assert results_bundle([outcome], notes=notes)["text/plain"].count("df 3×2") == 1


def test_sections_keep_order() -> None:
    """Several results stand under headings in the order they were asked for."""
    outcomes = [result(agent_name=name, output=f"by {name}") for name in ("zoe", "ada", "mia")]
    bundle = results_bundle(outcomes, notes=["df 3×2"])

    assert re.findall(r"<h3[^>]*>(\w+)</h3>", bundle["text/html"]) == ["zoe", "ada", "mia"]
    assert re.findall(r"by \w+", bundle["text/plain"]) == ["by zoe", "by ada", "by mia"]
    assert bundle["text/plain"].startswith("df 3×2\n\nzoe\n───\n\nby zoe\n\nzoe · ")
    assert "<table" not in bundle["text/html"]


def test_twins_are_numbered() -> None:
    """Results of the same agent can be told apart."""
    assert "2. code-reviewer" in results_bundle([result(), result()])["text/plain"]


def test_many_begin_with_table() -> None:
    """More than three results begin with a table that tells the outcome of each in words."""
    outcomes = [
        result(stop_reason="max_tokens"),
        cached(60),
        failed(),
        failed(state="cancelled"),
        result(metadata={"provider": "offline"}),
    ]
    bundle = results_bundle(outcomes, now=NOW)

    assert [re.split(r"  +", line) for line in bundle["text/plain"].splitlines()[:6]] == [
        ["agent", "outcome", "tokens in / out", "cost", "time"],
        ["1. code-reviewer", "fresh, stopped: max_tokens", "812 / 204", "$0.0042", "2.1 s"],
        ["2. code-reviewer", "cached 1 min ago", "812 / 204", "saved $0.0042"],
        ["3. code-reviewer", "failed", "2.1 s"],
        ["4. code-reviewer", "cancelled", "2.1 s"],
        ["5. code-reviewer", "fresh", "812 / 204", "offline", "2.1 s"],
    ]
    assert bundle["text/html"].index("<table") < bundle["text/html"].index("<h3")


@pytest.mark.parametrize(
    ("outcome", "told"),
    [
        (failed(errors=["No <key>."]), "Failed. No <key>."),
        (failed(errors=["a", "b\nc"]), "Failed. a b c"),
        (failed(errors=None), "Failed. Nothing of the answer had arrived."),
        (
            failed(output="Two **b"),
            "Failed. The key was refused. Set another one. "
            "This much of the answer had arrived: Two **b",
        ),
        (
            failed(state="cancelled", output="Two"),
            "Cancelled. This much of the answer had arrived: Two",
        ),
        (failed(state="cancelled"), "Cancelled. Nothing of the answer had arrived."),
        (result(output=" \n"), "The answer is empty."),
    ],
)
def test_outcome_is_told(outcome: AgentResult, told: str) -> None:
    """What went wrong is told in words, with the part of the answer that had arrived."""
    bundle = results_bundle([outcome])

    assert words(bundle["text/html"]).startswith(told)
    assert re.sub(r"\s+", " ", bundle["text/plain"]).startswith(told)


@pytest.mark.parametrize("payload", payloads(), ids=lambda payload: payload.name)
def test_no_field_acts(payload: Any) -> None:
    """No text of a result becomes markup or hides text, whichever field it stands in."""
    text = payload.text
    hostile = failed(agent_name=text, model=text, stop_reason=text, errors=[text], output="")
    hostile = dataclasses.replace(hostile, metadata={"manifest": text})
    bundle = results_bundle([hostile] * 4, notes=[text])

    tags = {tag.lower() for tag in re.findall(r"<\s*/?\s*([\w!?]+)", bundle["text/html"])}
    assert tags == OURS | (tags & {"br"})
    assert [visible(shown) for shown in bundle.values()] == [*bundle.values()]


def test_themes_are_respected() -> None:
    """Every colour comes from the theme, with a fallback where there is none."""
    markup = results_bundle([result(), failed(), failed(state="cancelled")])["text/html"]
    colours = re.findall(r"(?:#[0-9a-f]{3,6}|rgba?\()", markup)
    themed = re.findall(r"var\(--jp-[\w-]+,(?:#[0-9a-f]{3,6}|rgba?\()", markup)

    assert 0 < len(colours) == len(themed)
