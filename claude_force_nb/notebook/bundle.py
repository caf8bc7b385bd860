"""Results as what a notebook keeps: static HTML and plain text that need no kernel.

A bundle has ``text/html`` and ``text/plain`` and nothing else, so that a saved notebook, an
exported page, a code host and a terminal all show the answer. Inline styles only refine it: code
hosts remove them. Colours come from JupyterLab's theme where there is one.
"""

from __future__ import annotations

import math
import time
from typing import Dict, Iterator, List, Optional, Sequence, Tuple

from ..records import OFFLINE_LABEL, AgentResult
from ..runs import CACHED, CANCELLED, DONE, FAILED
from .rendering import NO_MATHS, answer_html, escaped, visible
from .tables import table_bundle

LONGEST_WITHOUT_TABLE = 3
"""More results than this begin with a table."""

_STOPS = {
    "max_tokens": "the answer is cut",
    "model_context_window_exceeded": "the context is full and the answer is cut",
    "refusal": "the model declined",
    "pause_turn": "the model paused a long turn",
    "tool_use": "the model waits for a tool",
}
_HEADLINES = {FAILED: "Failed.", CANCELLED: "Cancelled."}

_MUTED = "color:var(--jp-ui-font-color2,inherit);line-height:1.5"
_LINE = "var(--jp-border-color2,rgba(128,128,128,.4))"
_FOOTER = f"{_MUTED};margin:.75em 0 0;padding:.4em 0 0;border-top:1px solid {_LINE}"
_HEADING = "font-size:1.25em;font-weight:600;margin:1.5em 0 .5em"
_EDGES = {
    FAILED: "var(--jp-error-color1,#d32f2f)",
    CANCELLED: "var(--jp-warn-color1,#b26a00)",
}


def footer_text(result: AgentResult, now: Optional[float] = None) -> str:
    """Tell where an answer comes from and what it cost, in one line.

    Args:
        result: The outcome of a run.
        now: Seconds since the epoch, for the age of a cached answer; the clock's by default.

    Returns:
        Such as ``code-reviewer · MODEL · 812 in / 204 out · $0.0042 · 2.1 s · fresh``, with the
        attempts if there was more than one and the reason to stop if it was not the end of the
        answer. A cached answer tells its age and what it saved; a price that is not known is
        called unknown.
    """
    parts = [
        result.agent_name,
        OFFLINE_LABEL if result.offline else result.model,
        _tokens(result),
        *(_saved(result, now) if result.state == CACHED else _spent(result)),
        _attempts(result),
        _stop(result),
    ]
    return " · ".join(visible(part).replace("\n", " ") for part in parts if part)


def _tokens(result: AgentResult) -> str:
    usage = result.usage
    if not (usage.prompt_tokens or usage.output_tokens):
        return ""
    return f"{usage.prompt_tokens:,} in / {usage.output_tokens:,} out"


def _saved(result: AgentResult, now: Optional[float]) -> List[str]:
    return [_age(result, now), "" if result.offline else _money(result.cost_usd, "saved ")]


def _spent(result: AgentResult) -> List[str]:
    state = "fresh" if result.state == DONE else result.state
    return [_cost(result), _duration(result.elapsed_s), state]


def _cost(result: AgentResult) -> str:
    unpaid = result.offline or (result.state != DONE and not _tokens(result))
    return "" if unpaid else _money(result.cost_usd)


def _money(cost_usd: Optional[float], prefix: str = "") -> str:
    if cost_usd is None:
        return "cost unknown"
    return f"{prefix}{dollars(cost_usd)}"


def dollars(cost_usd: float) -> str:
    """Write *cost_usd* with cents, four decimals below a dollar, and at least two digits."""
    if cost_usd <= 0:
        return "$0"
    decimals = 2 if cost_usd >= 1 else max(4, 1 - math.floor(math.log10(cost_usd)))
    return f"${cost_usd:,.{decimals}f}"


def _duration(elapsed_s: float) -> str:
    if elapsed_s < 59.95:
        return f"{elapsed_s:.1f} s"
    minutes, seconds = divmod(round(elapsed_s), 60)
    return f"{minutes} min {seconds} s"


def _age(result: AgentResult, now: Optional[float]) -> str:
    created = result.metadata.get("created")
    if not isinstance(created, (int, float)):
        return "cached"
    age_s = max(0.0, (time.time() if now is None else now) - created)
    for unit_s, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if age_s >= unit_s:
            return f"cached {int(age_s // unit_s)} {unit} ago"
    return f"cached {int(age_s)} s ago"


def _attempts(result: AgentResult) -> str:
    attempts = result.metadata.get("attempts", 1)
    return f"{attempts} attempts" if isinstance(attempts, int) and attempts > 1 else ""


def _stop(result: AgentResult) -> str:
    reason = result.stop_reason
    if reason in (None, "", "end_turn"):
        return ""
    meaning = _STOPS.get(str(reason))
    return f"stopped: {reason} — {meaning}" if meaning else f"stopped: {reason}"


def results_bundle(
    results: Sequence[AgentResult], *, notes: Sequence[str] = (), now: Optional[float] = None
) -> Dict[str, str]:
    """Show *results* for good, in the order given.

    One result is its answer and footer. Several have a heading each, and more than three begin
    with a table. A failed one shows its errors, a cancelled one says so; both show what text had
    arrived.

    Args:
        results: The outcomes of a cell's runs.
        notes: Lines about the whole cell, such as what was inserted into its prompt: above the
            footer of a single result, on top of several.
        now: Seconds since the epoch, for the age of cached answers; the clock's by default.

    Returns:
        The MIME bundle: ``text/html``, made by the one renderer, and ``text/plain``.
    """
    headings = _headings(results)
    page: List[str] = []
    plain: List[str] = []
    if len(results) > LONGEST_WITHOUT_TABLE:
        rows = list(_rows(results, headings, now))
        table = table_bundle(_COLUMNS, rows)
        page.append(f'<div style="overflow-x:auto" tabindex="0">{table["text/html"]}</div>')
        plain.append(table["text/plain"])
    if notes and len(results) > 1:
        page.append(_notes_html(notes))
        plain.append(visible("\n".join(notes)))
    for heading, result in zip(headings, results):
        lines = [*_notes(result, notes, alone=len(results) == 1), footer_text(result, now)]
        page.append(_section_html(heading, result, lines))
        plain.append(_section_text(heading, result, lines))
    style = "max-width:60em;line-height:1.55"
    return {
        "text/html": f'<div class="{NO_MATHS}" style="{style}">{"".join(page)}</div>',
        "text/plain": "\n\n".join(plain),
    }


def _headings(results: Sequence[AgentResult]) -> List[str]:
    names = [result.agent_name for result in results]
    if len(names) == 1:
        return [""]
    if len(names) <= LONGEST_WITHOUT_TABLE and len(set(names)) == len(names):
        return names
    return [f"{number}. {name}" for number, name in enumerate(names, 1)]


def _notes(result: AgentResult, notes: Sequence[str], alone: bool) -> List[str]:
    manifest = result.metadata.get("manifest")
    own = [manifest] if isinstance(manifest, str) and manifest and manifest not in notes else []
    return [*notes, *own] if alone else own


def _notes_html(notes: Sequence[str]) -> str:
    lines = "<br>".join(escaped(note) for note in notes)
    return f'<p style="{_MUTED};margin:0 0 .75em"><small>{lines}</small></p>'


def _section_html(heading: str, result: AgentResult, lines: Sequence[str]) -> str:
    title = f'<h3 style="{_HEADING}">{escaped(heading)}</h3>' if heading else ""
    footer = "<br>".join(escaped(line) for line in lines)
    return f'{title}{"".join(_body_html(result))}<p style="{_FOOTER}"><small>{footer}</small></p>'


def _body_html(result: AgentResult) -> Iterator[str]:
    headline = _HEADLINES.get(result.state)
    if headline:
        style = f"margin:0 0 .75em;border-left:3px solid {_EDGES[result.state]};padding:.1em .8em;"
        style += "overflow-wrap:anywhere"
        said = "<br>".join(escaped(line).replace("\n", "<br>") for line in _explained(result))
        yield f'<div style="{style}"><strong>{headline}</strong> {said}</div>'
    if result.output.strip():
        yield answer_html(result.output)
    elif not headline:
        yield "<p><em>The answer is empty.</em></p>"


def _explained(result: AgentResult) -> List[str]:
    """What a reader must be told beyond the headline."""
    errors = (result.errors or []) if result.state == FAILED else []
    if result.output.strip():
        return [*errors, "This much of the answer had arrived:"]
    return errors or ["Nothing of the answer had arrived."]


def _section_text(heading: str, result: AgentResult, lines: Sequence[str]) -> str:
    headline = _HEADLINES.get(result.state)
    parts = [f"{heading}\n{'─' * len(heading)}"] if heading else []
    if headline:
        parts.append("\n".join([headline, *_explained(result)]))
    parts.append(result.output.strip() or ("" if headline else "The answer is empty."))
    parts.append("\n".join(lines))
    return visible("\n\n".join(part for part in parts if part))


_Row = Tuple[str, ...]
_COLUMNS = ("agent", "outcome", "tokens in / out", "cost", "time")


def _rows(
    results: Sequence[AgentResult], headings: Sequence[str], now: Optional[float]
) -> Iterator[_Row]:
    for heading, result in zip(headings, results):
        cached = result.state == CACHED
        cost = _saved(result, now)[1] if cached else _cost(result)
        yield (
            heading,
            _outcome(result, now),
            _tokens(result).replace(" in", "").replace(" out", ""),
            "offline" if result.offline else cost,
            "" if cached else _duration(result.elapsed_s),
        )


def _outcome(result: AgentResult, now: Optional[float]) -> str:
    words = {DONE: "fresh", CACHED: _age(result, now)}.get(result.state, result.state)
    stop = _stop(result).partition(" — ")[0]
    return ", ".join(part for part in (words, stop) if part)
