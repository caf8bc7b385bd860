"""The live board as HTML: escaped text with inline styles, cheap enough for eight times a second.

States are told in words, colours come from the theme, and every height is fixed, so that nothing
moves while text streams. The newest line of a text stays in sight without any script.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from typing import AbstractSet, Callable, Iterator, Sequence

from ..records import OFFLINE_LABEL, AgentResult, AgentResults
from ..runs import QUEUED, RUNNING, STATES, Run
from .bundle import dollars, footer_text
from .rendering import escaped, plain_html

TAIL_CHARS = 1_500
HEAD_PX = 32
"""Height of a run's line: that of a button with its margins."""

_MUTED = "color:var(--jp-ui-font-color2,inherit)"
_TRACK = "background:var(--jp-border-color2,rgba(128,128,128,.4))"
_BAR = "background:var(--jp-brand-color1,#1976d2)"
_HEAD = (
    f"height:{HEAD_PX}px;line-height:{HEAD_PX}px;overflow:hidden;white-space:nowrap;"
    "text-overflow:ellipsis"
)
# A reversed column keeps its end in sight while it grows.
_PANE = (
    "display:flex;flex-direction:column-reverse;overflow:hidden;contain:strict;"
    "box-sizing:border-box;padding-left:.75em;"
    "border-left:3px solid var(--jp-border-color2,rgba(128,128,128,.4))"
)
_LINE_PX = 18.2


def pane_px(count: int) -> int:
    """Height of the text of each of *count* runs: whole lines."""
    lines = 13 if count == 1 else 7 if count <= 3 else 4
    return round(lines * _LINE_PX)


def rows_html(
    runs: Sequence[Run],
    folded: AbstractSet[Run] = frozenset(),
    *,
    height_px: int = 127,
    tail_chars: int = TAIL_CHARS,
    clock: Callable[[], float] = time.monotonic,
) -> str:
    """Show a line and the end of the text of each run.

    Args:
        runs: The runs to show.
        folded: Those whose text is hidden.
        height_px: Height of each text.
        tail_chars: How much of the end of each text is sent to the page.
        clock: The clock of :class:`~claude_force_nb.runs.Wait`.

    Returns:
        HTML for one widget.
    """
    now_s = clock()
    rows = (_row(run, 0 if run in folded else height_px, tail_chars, now_s) for run in runs)
    return f'<div role="list" aria-label="Agents of this cell">{"".join(rows)}</div>'


def _row(run: Run, height_px: int, tail_chars: int, now_s: float) -> str:
    name, state = escaped(run.agent_name), escaped(state_text(run, now_s))
    head = f'<div style="{_HEAD}"><strong>{name}</strong> · {state}</div>'
    pane = _pane(run, height_px, tail_chars) if height_px else ""
    return f'<div role="listitem">{head}{pane}</div>'


def _pane(run: Run, height_px: int, tail_chars: int) -> str:
    # An answer from the cache has never streamed.
    text = run.text if run.result is None else run.result.output
    tail = text if len(text) <= tail_chars else f"…{text[-tail_chars:]}"
    # The margin keeps a short text at the top; a long one leaves nothing for it.
    inner = f'<div style="flex:none;margin-bottom:auto">{plain_html(tail)}</div>' if tail else ""
    return f'<div style="{_PANE};height:{height_px}px">{inner}</div>'


def state_text(run: Run, now_s: float) -> str:
    """Tell how a run is doing, in words: ``running · 3 s · attempt 2 · MODEL``.

    Args:
        run: The run.
        now_s: The time on the clock of :class:`~claude_force_nb.runs.Wait`.
    """
    if run.result is not None:
        return footer_text(run.result).partition(" · ")[2]
    parts = [run.state if run.waiting is None else _wait_text(run, now_s)]
    if run.state != QUEUED:
        parts.append(f"{run.elapsed_s:.0f} s")
    if run.attempt > 1:
        parts.append(f"attempt {run.attempt}")
    return " · ".join(part for part in [*parts, _who(run)] if part)


def _who(run: Run) -> str:
    offline = run.request is not None and run.request.provider == "offline"
    return OFFLINE_LABEL if offline else run.model


def _wait_text(run: Run, now_s: float) -> str:
    assert run.waiting is not None
    rest_s = max(0, math.ceil(run.waiting.until - now_s))
    return f"waiting: {run.waiting.reason}, trying again in {rest_s} s"


def totals_html(runs: Sequence[Run]) -> str:
    """Show how many runs have ended, as a bar and in words that a screen reader announces."""
    ended, count = sum(run.ended for run in runs), len(runs)
    bar = (
        f'<div role="progressbar" aria-label="Agents that have ended" aria-valuemin="0" '
        f'aria-valuemax="{count}" aria-valuenow="{ended}" '
        f'style="{_TRACK};height:6px;border-radius:3px;margin:4px 0 0">'
        f'<div style="{_BAR};height:6px;border-radius:3px;width:{100 * ended / count:.0f}%">'
        "</div></div>"
    )
    words = escaped(" · ".join(_totals(runs)))
    return f'{bar}<div role="status" style="{_MUTED};line-height:20px">{words}</div>'


def _totals(runs: Sequence[Run]) -> Iterator[str]:
    states = Counter(run.state for run in runs)
    waiting = sum(run.waiting is not None for run in runs)
    states[RUNNING] -= waiting
    yield f"{sum(run.ended for run in runs)} of {len(runs)} ended"
    for state in STATES:
        if states[state]:
            yield f"{states[state]} {state}"
    if waiting:
        yield f"{waiting} waiting"
    yield from _spent([run.result for run in runs if run.result is not None])


def _spent(results: Sequence[AgentResult]) -> Iterator[str]:
    usage = AgentResults(results).usage
    if usage.prompt_tokens or usage.output_tokens:
        yield f"{usage.prompt_tokens + usage.output_tokens:,} tokens"
    cost_usd = AgentResults(r for r in results if not r.cached and not r.offline).cost_usd
    if cost_usd is None:
        yield "cost unknown"
    elif cost_usd:
        yield dollars(cost_usd)
