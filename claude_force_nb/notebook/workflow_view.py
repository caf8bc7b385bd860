"""What a workflow's cell shows: while it runs, at its end, and for a dry run.

The bundles are static, like those of single runs: the picture is inline, folded parts are
``details`` elements, and the plain text says everything the HTML says.
"""

from __future__ import annotations

from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple

from ..records import OFFLINE_LABEL
from ..runs import CACHED, CANCELLED, DONE, FAILED, QUEUED, RUNNING, SKIPPED, Run
from ..workflow import Forecast, Plan, Step, StepForecast, StepResult, Workflow, WorkflowResult
from ..workflow.forecast import CALL, FAIL, OPEN, SKIP
from .bundle import dollars, results_bundle
from .rendering import NO_MATHS, escaped, plain_html, visible
from .tables import table_bundle
from .workflow_picture import MAX_STEPS, Look, picture

Bundle = Dict[str, str]

LIVE_TAILS = 4
LIVE_TAIL_CHARS = 400
MAX_PROMPT_CHARS = 20_000
MAX_PROMPTS = 3

_MUTED = "color:var(--jp-ui-font-color2,inherit);line-height:1.5"
_SCROLL = '<div style="overflow-x:auto;margin:0 0 .75em" tabindex="0">'
_PAGE = f'<div class="{NO_MATHS}" style="max-width:60em;line-height:1.55">'
_ALERT = "margin:0 0 .75em;border-left:3px solid var(--jp-error-color1,#d32f2f);padding:.1em .8em"
_OUTLOOKS = {"cached": CACHED, CALL: QUEUED, OPEN: QUEUED, SKIP: SKIPPED, FAIL: FAILED}
_OUTLOOK_WORDS = {OPEN: "not known yet", SKIP: "would be skipped", FAIL: "would fail"}


# -- while it runs -----------------------------------------------------------------------------


def live_html(plan: Plan) -> str:
    """The graph with the states of its steps, and the ends of a few texts that are growing."""
    looks = {step.id: _live_look(step, plan.runs[step.id]) for step in plan.workflow.steps}
    running = [run for run in plan.all_runs if run.state == RUNNING]
    counts = _counts([look.state for look in looks.values()])
    tails = "".join(_tail(run) for run in running[:LIVE_TAILS])
    more = len(running) - LIVE_TAILS
    rest = f'<div style="{_MUTED}">and {more} more running</div>' if more > 0 else ""
    drawn = picture(plan.workflow, looks, counts)
    return f'{_SCROLL}{drawn}</div>{tails}{rest}<div style="{_MUTED}">{escaped(counts)}</div>'


def _live_look(step: Step, runs: Sequence[Run]) -> Look:
    states = [run.state for run in runs]
    ended = sum(run.ended for run in runs)
    if ended == len(runs):
        return Look(
            next((s for s in (FAILED, CANCELLED, SKIPPED) if s in states), _answered(states))
        )
    state = QUEUED if set(states) == {QUEUED} else RUNNING
    label = f"{state}, {ended} of {len(runs)}" if step.for_each else _waiting(runs[0]) or state
    return Look(state, label)


def _answered(states: Sequence[str]) -> str:
    return CACHED if states and set(states) == {CACHED} else DONE


def _waiting(run: Run) -> str:
    return f"waiting, {run.waiting.reason}" if run.waiting is not None else ""


def _tail(run: Run) -> str:
    text = run.text
    tail = text if len(text) <= LIVE_TAIL_CHARS else f"…{text[-LIVE_TAIL_CHARS:]}"
    title = escaped(str(run.metadata.get("step", run.agent_name)))
    return f'<div style="margin:0 0 .5em"><strong>{title}</strong>{plain_html(tail)}</div>'


def _counts(states: Sequence[str]) -> str:
    order = (DONE, CACHED, RUNNING, QUEUED, FAILED, SKIPPED, CANCELLED)
    found = ", ".join(f"{states.count(state)} {state}" for state in order if state in states)
    return f"{len(states)} step{'' if len(states) == 1 else 's'}: {found}"


# -- at the end --------------------------------------------------------------------------------


def result_bundle(result: WorkflowResult) -> Bundle:
    """The picture, what failed, the last answers, the other steps folded, and a footer.

    Graphs of more than ``MAX_STEPS`` steps have a table instead of picture and folded steps.
    """
    workflow = result.workflow
    assert workflow is not None
    small = len(result) <= MAX_STEPS
    last = [result[name] for name in workflow.sinks if result[name].runs]
    others = [step for step in result.values() if step not in last and step.runs]
    table = _step_table(result)
    page = [
        _result_picture(workflow, result) if small else f"{_SCROLL}{table['text/html']}</div>",
        "".join(_alert(step) for step in result.values() if step.state in (FAILED, CANCELLED)),
        "".join(_answer(step, alone=len(last) == 1) for step in last[:MAX_STEPS]),
        f'<div style="margin:.75em 0">{"".join(map(_folded, others if small else ()))}</div>',
        f'<p style="{_MUTED};margin:.75em 0 0"><small>{escaped(footer(result))}</small></p>',
    ]
    plain = [table["text/plain"], *_plain_answers(last), footer(result)]
    return {
        "text/html": f"{_PAGE}{''.join(page)}</div>",
        "text/plain": visible("\n\n".join(plain)),
    }


def footer(result: WorkflowResult) -> str:
    """What ran, how it ended and what it cost, in one line."""
    usage = result.usage
    tokens = f"{usage.prompt_tokens:,} in / {usage.output_tokens:,} out"
    parts = [
        result.agent_name,
        OFFLINE_LABEL if result.offline else result.model,
        f"{len(result)} step{'' if len(result) == 1 else 's'}: {result.summary}",
        tokens if usage.prompt_tokens or usage.output_tokens else "",
        *([] if result.offline else _money(result)),
        f"{result.elapsed_s:.1f} s",
    ]
    return " · ".join(visible(part).replace("\n", " ") for part in parts if part)


def _money(result: WorkflowResult) -> Iterator[str]:
    runs = [run for step in result.values() for run in step.runs if run.success]
    if any(not run.cached for run in runs):
        spent = result.spent_usd
        yield "cost unknown" if spent is None else dollars(spent)
    if any(run.cached for run in runs):
        saved = result.saved_usd
        yield "saving unknown" if saved is None else f"saved {dollars(saved)}"


def _result_picture(workflow: Workflow, result: WorkflowResult) -> str:
    looks = {step.step: Look(step.state, _result_label(step)) for step in result.values()}
    caption = f"Workflow {workflow.arrows}. {result.summary}."
    return f"{_SCROLL}{picture(workflow, looks, caption)}</div>"


def _result_label(step: StepResult) -> str:
    return f"{step.state}, {len(step.runs)} items" if len(step.runs) > 1 else ""


def _alert(step: StepResult) -> str:
    said = escaped(step.reason).replace("\n", "<br>")
    return f'<div style="{_ALERT}"><strong>{escaped(step.step)} {step.state}.</strong> {said}</div>'


def _answer(step: StepResult, alone: bool) -> str:
    title = "" if alone else f"<h3>{escaped(step.step)}</h3>"
    return f"{title}{results_bundle(step.runs)['text/html']}"


def _folded(step: StepResult) -> str:
    by = "" if step.agent_name == step.step else f" · {step.agent_name}"
    summary = f"<summary>{escaped(f'{step.step}{by} · {step.state}')}</summary>"
    body = f'<div style="margin:.5em 0 1em 1.2em">{results_bundle(step.runs)["text/html"]}</div>'
    return f"<details>{summary}{body}</details>"


def _plain_answers(last: Sequence[StepResult]) -> Iterator[str]:
    for step in last:
        if step.output.strip():
            title = f"{step.step}\n{'─' * len(step.step)}\n\n" if len(last) > 1 else ""
            yield f"{title}{step.output.strip()}"


def _step_table(result: WorkflowResult) -> Bundle:
    rows = [
        (
            step.step,
            step.agent_name,
            _result_label(step) or step.state,
            f"{step.usage.prompt_tokens:,} / {step.usage.output_tokens:,}" if step.runs else "",
            _step_cost(step),
            f"{step.elapsed_s:.1f} s" if step.runs and not step.cached else "",
            step.reason.partition("\n")[0],
        )
        for step in result.values()
    ]
    return table_bundle(("step", "agent", "state", "tokens in / out", "cost", "time", "why"), rows)


def _step_cost(step: StepResult) -> str:
    if step.offline or not any(run.success for run in step.runs):
        return "offline" if step.offline else ""
    if step.cost_usd is None:
        return "unknown"
    return f"{'saved ' if step.cached else ''}{dollars(step.cost_usd)}"


# -- before it runs ----------------------------------------------------------------------------


def workflow_bundle(workflow: Workflow) -> Bundle:
    """A workflow that has not run: its graph."""
    drawn = picture(workflow, {})
    return {
        "text/html": f"{_SCROLL}{drawn}</div>" if drawn else escaped(workflow.arrows),
        "text/plain": workflow.arrows,
    }


def forecast_bundle(forecast: Forecast) -> Bundle:
    """A dry run: the graph, a table of tokens and costs, and the prompts, folded."""
    looks = {
        name: Look(_OUTLOOKS[one.outlook], _outlook(one)) for name, one in forecast.steps.items()
    }
    table = table_bundle(_FORECAST_COLUMNS, [_forecast_row(o) for o in forecast.steps.values()])
    last = _forecast_line(forecast)
    drawn = picture(forecast.workflow, looks, f"Dry run of {forecast.workflow.arrows}")
    page = [
        f"{_SCROLL}{drawn}</div>" if drawn else "",
        f"{_SCROLL}{table['text/html']}</div>",
        "".join(_folded_prompts(one) for one in forecast.steps.values()),
        f'<p style="{_MUTED};margin:.75em 0 0"><small>{escaped(last)}</small></p>',
    ]
    plain = [table["text/plain"], *_plain_prompts(forecast), last]
    return {
        "text/html": f"{_PAGE}{''.join(page)}</div>",
        "text/plain": visible("\n\n".join(plain)),
    }


_FORECAST_COLUMNS = (
    *("step", "agent", "model", "outlook", "prompt tokens (estimated)"),
    *("answer tokens at most", "cost at most", "why"),
)


def _outlook(one: StepForecast) -> str:
    if one.outlook == CALL:
        calls = f"{one.calls} call{'' if one.calls == 1 else 's'}"
        return f"{calls}, {one.cached} cached" if one.cached else calls
    return _OUTLOOK_WORDS.get(one.outlook, one.outlook)


def _forecast_row(one: StepForecast) -> Tuple[str, ...]:
    calls = bool(one.calls)
    return (
        one.step.id,
        one.step.agent,
        one.model,
        _outlook(one),
        f"{one.prompt_tokens:,}" if calls else "",
        f"{one.answer_tokens:,}" if calls else "",
        _at_most(one.cost_usd) if calls else "",
        one.note,
    )


def _at_most(cost_usd: Optional[float]) -> str:
    return "unknown" if cost_usd is None else dollars(cost_usd)


def _forecast_line(forecast: Forecast) -> str:
    found = list(forecast.steps.values())
    tokens = sum(one.prompt_tokens for one in found), sum(one.answer_tokens for one in found)
    if forecast.offline:
        cost = f"{OFFLINE_LABEL}, no cost"
    elif forecast.cost_usd is None:
        cost = "cost unknown"
    else:
        cost = (
            f"{dollars(forecast.cost_usd)} at most, with estimated prompts, answers at their "
            "longest, and no second attempts"
        )
    return (
        f"Dry run, nothing was sent · {forecast.cached_steps} of {len(found)} steps cached · "
        f"at most {forecast.calls:,} calls · about {tokens[0]:,} prompt tokens (estimated) · "
        f"at most {tokens[1]:,} answer tokens · {cost}"
    )


def _folded_prompts(one: StepForecast) -> str:
    shown = "".join(plain_html(text) for text in _prompts(one))
    if not shown:
        return ""
    summary = f"<summary>Prompt of {escaped(one.step.id)}</summary>"
    return f'<details>{summary}<div style="margin:.5em 0 1em 1.2em">{shown}</div></details>'


def _plain_prompts(forecast: Forecast) -> Iterator[str]:
    for one in forecast.steps.values():
        prompts = _prompts(one)
        if prompts:
            title = f"Prompt of {one.step.id}"
            yield "\n\n".join([f"{title}\n{'─' * len(title)}", *prompts])


def _prompts(one: StepForecast) -> List[str]:
    """The prompts to show: a few, none of them endless."""
    shown = [_cut(text) for text in one.prompts[:MAX_PROMPTS]]
    more = len(one.prompts) - len(shown)
    return [*shown, f"… and {more} more, one for each item"] if more > 0 else shown


def _cut(text: str) -> str:
    left = len(text) - MAX_PROMPT_CHARS
    return text if left <= 0 else f"{text[:MAX_PROMPT_CHARS]}\n… {left:,} more characters"


def display_formatters() -> Dict[str, Any]:
    """For each class of the engine that shows itself in a notebook, what makes its bundle."""
    return {
        "WorkflowResult": result_bundle,
        "Workflow": workflow_bundle,
        "Forecast": forecast_bundle,
    }
