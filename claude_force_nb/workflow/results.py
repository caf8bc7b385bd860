"""What a workflow gave: the outcome of each step, and of all together."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple

from ..errors import InputError
from ..records import AgentResult, Usage
from ..runs import CACHED, CANCELLED, DONE, FAILED, SKIPPED
from .definition import Step, Workflow

BETWEEN_ITEMS = "\n\n---\n\n"
STATES = (DONE, CACHED, FAILED, SKIPPED, CANCELLED)


@dataclass(frozen=True)
class StepResult(AgentResult):
    """The outcome of one step; for a step that ran once, that run's result and the fields below.

    Attributes:
        step: The step's id.
        reason: Why it has no answer; empty if it has one.
        runs: The results of its runs: one, or one for each item, or none if it did not run.
    """

    step: str = ""
    reason: str = ""
    runs: Tuple[AgentResult, ...] = ()

    @property
    def outputs(self) -> List[str]:
        """The answers, one for each item of a ``for_each``."""
        return [run.output for run in self.runs]

    def to_dict(self) -> Dict[str, Any]:
        """All fields but ``error`` as plain JSON values."""
        return {**super().to_dict(), "runs": [run.to_dict() for run in self.runs]}


def step_result(step: Step, runs: Sequence[AgentResult]) -> StepResult:
    """The outcome of a step whose runs have ended."""
    if step.for_each is not None:
        return _of_many(step, tuple(runs))
    (only,) = runs
    fields = {one.name: getattr(only, one.name) for one in dataclasses.fields(AgentResult)}
    reason = "" if only.success else "; ".join(only.errors or [])
    return StepResult(**fields, step=step.id, reason=reason, runs=(only,))


def without_runs(
    step: Step, state: str, reason: str, error: Optional[BaseException] = None
) -> StepResult:
    """The outcome of a step that did not run."""
    return StepResult(
        agent_name=step.agent,
        success=False,
        output="",
        errors=[reason],
        state=state,
        error=error,
        step=step.id,
        reason=reason,
    )


def _of_many(step: Step, runs: Tuple[AgentResult, ...]) -> StepResult:
    errors = [line for number, run in enumerate(runs) for line in _item_errors(number, run)]
    bad = sum(not run.success for run in runs)
    return StepResult(
        **_together(runs),
        agent_name=step.agent,
        success=not bad,
        output=BETWEEN_ITEMS.join(run.output for run in runs if run.output),
        errors=errors or None,
        elapsed_s=max((run.elapsed_s for run in runs), default=0.0),
        state=_state(runs),
        step=step.id,
        reason=f"{bad} of {len(runs)} items: {errors[0]}" if errors else "",
        runs=runs,
    )


def _item_errors(number: int, run: AgentResult) -> List[str]:
    return [] if run.success else [f"item {number}: {line}" for line in run.errors or ()]


def _together(runs: Sequence[AgentResult]) -> Dict[str, Any]:
    """The fields of an :class:`AgentResult` that are sums of others' or shared by them."""
    return {
        "metadata": _shared_metadata(runs),
        "usage": _usage(runs),
        "cost_usd": _cost(runs),
        "model": _shared(run.model for run in runs),
        "cached": bool(runs) and all(run.cached for run in runs),
        "error": next((run.error for run in runs if run.error), None),
    }


@dataclass(frozen=True, repr=False)
class WorkflowResult(AgentResult, Mapping[str, StepResult]):
    """The outcome of a workflow: a mapping from step ids to their outcomes.

    ``result["review"].output`` is the answer of a step, ``result.output`` that of the last one;
    with several last steps, each under a heading. As an :class:`AgentResult` it can be inserted
    into a prompt with ``{{ result }}``.

    Attributes:
        agent_name: The workflow's name, or its graph as text.
        usage: Tokens of all answers.
        cost_usd: Dollars spent on all answers when they were made; ``None`` if one is unknown.
        elapsed_s: Seconds from the start of the workflow to its end.
        errors: One line for each step that failed.
        workflow: What ran.
        steps: The outcomes by step id, in the order of the steps.
    """

    workflow: Optional[Workflow] = None
    steps: Dict[str, StepResult] = field(default_factory=dict)

    def __getitem__(self, step_id: str) -> StepResult:
        """The outcome of one step.

        Raises:
            KeyError: There is no such step.
        """
        return self.steps[step_id]

    def __iter__(self) -> Iterator[str]:
        return iter(self.steps)

    def __len__(self) -> int:
        return len(self.steps)

    def __repr__(self) -> str:
        return f"<WorkflowResult {self.agent_name}: {self.summary}>"

    @property
    def summary(self) -> str:
        """How many steps ended in each state, such as ``3 done, 2 cached, 1 skipped``."""
        states = [step.state for step in self.steps.values()]
        return ", ".join(f"{states.count(s)} {s}" for s in STATES if s in states)

    @property
    def spent_usd(self) -> Optional[float]:
        """Dollars spent this time, cached answers not counted; ``None`` if one is unknown."""
        return _cost([run for run in self._runs() if not run.cached])

    @property
    def saved_usd(self) -> Optional[float]:
        """Dollars that cached answers cost when they were made; ``None`` if one is unknown."""
        return _cost([run for run in self._runs() if run.cached])

    def rows(self) -> List[Dict[str, Any]]:
        """One record for each step, as :meth:`to_frame` has them."""
        return [
            {
                "step": step.step,
                "agent": step.agent_name,
                "state": step.state,
                "reason": step.reason,
                "model": step.model,
                "input_tokens": step.usage.prompt_tokens,
                "output_tokens": step.usage.output_tokens,
                "cost_usd": step.cost_usd,
                "elapsed_s": step.elapsed_s,
                "output": step.output,
            }
            for step in self.steps.values()
        ]

    def to_frame(self) -> Any:
        """The steps as a pandas data frame, one row for each.

        Raises:
            InputError: pandas is not installed; :meth:`rows` has the same without it.
        """
        try:
            import pandas as pd
        except ImportError as error:
            raise InputError(
                "to_frame() needs pandas.", advice="Install it, or use rows()."
            ) from error
        return pd.DataFrame(self.rows())

    def to_dict(self) -> Dict[str, Any]:
        """All fields but ``error`` as plain JSON values."""
        return {
            **super().to_dict(),
            "workflow": self.workflow.to_dict() if self.workflow else None,
            "steps": {name: step.to_dict() for name, step in self.steps.items()},
        }

    def _runs(self) -> List[AgentResult]:
        return [run for step in self.steps.values() for run in step.runs]


def workflow_result(
    workflow: Workflow, steps: Dict[str, StepResult], elapsed_s: float
) -> WorkflowResult:
    """Combine the outcomes of all steps."""
    runs = [run for step in steps.values() for run in step.runs]
    bad = [step for step in steps.values() if step.state in (FAILED, CANCELLED)]
    fields = _together(runs)
    fields["error"] = fields["error"] or next((step.error for step in bad if step.error), None)
    return WorkflowResult(
        **fields,
        agent_name=workflow.name or workflow.arrows,
        success=not bad,
        output=_last_words([steps[name] for name in workflow.sinks]),
        errors=[f"{step.step}: {step.reason}" for step in bad] or None,
        elapsed_s=elapsed_s,
        state=_state(list(steps.values())),
        workflow=workflow,
        steps=steps,
    )


def _last_words(steps: Sequence[StepResult]) -> str:
    answers = [step for step in steps if step.output]
    if len(answers) == 1:
        return answers[0].output
    return "\n\n".join(f"## {step.step}\n\n{step.output}" for step in answers)


def _state(results: Sequence[AgentResult]) -> str:
    states = {result.state for result in results if result.state != SKIPPED}
    for state in (CANCELLED, FAILED):
        if state in states:
            return state
    return CACHED if states == {CACHED} else DONE


def _usage(results: Sequence[AgentResult]) -> Usage:
    return sum((result.usage for result in results), Usage())


def _cost(results: Sequence[AgentResult]) -> Optional[float]:
    costs = [result.cost_usd for result in results if result.success]
    return None if None in costs else sum(cost for cost in costs if cost is not None)


def _shared(values: Iterator[str]) -> str:
    """The one value that all have; nothing if they differ."""
    different = {value for value in values if value}
    return different.pop() if len(different) == 1 else ""


def _shared_metadata(results: Sequence[AgentResult]) -> Dict[str, Any]:
    provider = _shared(str(result.metadata.get("provider", "")) for result in results)
    return {"provider": provider} if provider else {}
