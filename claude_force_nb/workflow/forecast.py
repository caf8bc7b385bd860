"""What running a plan would do: prompts, tokens, the highest cost, what is cached. Nothing is sent.

Answers that are in the cache are known, so the steps behind them are too; behind the first call
that has to be made, prompts have gaps, and an answer counts with the most tokens it may have.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, List, Optional, Sequence, Set, Tuple

from ..errors import InputError
from ..pricing import worst_case_usd
from ..prompt import RenderedPrompt
from ..records import AgentRequest
from ..requests import Task
from ..values import estimate_tokens
from .definition import Step, Workflow
from .graph import ordered
from .plan import Plan, Prepared
from .results import BETWEEN_ITEMS
from .tasks import times_inserted

CACHED, CALL, SKIP, FAIL, OPEN = "cached", "call", "skip", "fail", "open"


@dataclass(frozen=True)
class StepForecast:
    """What would become of one step.

    Attributes:
        step: The step.
        outlook: ``cached``, ``call``, ``skip``, ``fail``, or ``open`` if its condition or prompt
            depends on answers that are not there yet.
        model: Model that would be asked.
        prompts: What would be sent, one for each run; with gaps where an answer is missing.
        calls: Most calls it makes, attempts after a failure not counted.
        cached: Runs whose answers are there.
        prompt_tokens: Tokens of the prompts of those calls, estimated.
        answer_tokens: The most tokens that their answers may have.
        cost_usd: The most that those calls cost; ``None`` if the price is unknown.
        note: Why it would be skipped or fail.
    """

    step: Step
    outlook: str
    model: str = ""
    prompts: Tuple[str, ...] = ()
    calls: int = 0
    cached: int = 0
    prompt_tokens: int = 0
    answer_tokens: int = 0
    cost_usd: Optional[float] = 0.0
    note: str = ""


@dataclass(frozen=True)
class Forecast:
    """What running a plan would do.

    Attributes:
        workflow: The workflow.
        steps: One forecast for each step, by id.
        offline: Whether the offline stand-in model would answer.
    """

    workflow: Workflow
    steps: Dict[str, StepForecast]
    offline: bool = False

    @property
    def calls(self) -> int:
        """Most calls that would be made."""
        return sum(step.calls for step in self.steps.values())

    @property
    def cached_steps(self) -> int:
        """Steps whose answers are all there."""
        return sum(step.outlook == CACHED for step in self.steps.values())

    @property
    def cost_usd(self) -> Optional[float]:
        """The most that it costs; ``None`` if a price is unknown."""
        costs = [step.cost_usd for step in self.steps.values()]
        return None if None in costs else sum(cost for cost in costs if cost is not None)


def forecast(plan: Plan) -> Forecast:
    """Find out what running *plan* would do; reads the cache, counts and sends nothing."""
    return _Forecaster(plan).run()


class _Forecaster:
    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._outputs: Dict[str, str] = {}
        self._absent: Set[str] = set()
        self._blocked: Set[str] = set()
        self._answer_tokens: Dict[str, int] = {}
        self._found: Dict[str, StepForecast] = {}

    def run(self) -> Forecast:
        workflow = self._plan.workflow
        for name in ordered(workflow.needs):
            self._found[name] = self._step(workflow[name])
        steps = {step.id: self._found[step.id] for step in workflow.steps}
        return Forecast(workflow, steps, offline=self._provider() == "offline")

    def _provider(self) -> str:
        requests = (one[0] for step in self._plan.workflow.steps for one in self._plan.trial(step))
        return next((request.provider for request in requests), "")

    def _step(self, step: Step) -> StepForecast:
        blocker = next((name for name in step.needs if name in self._blocked), None)
        if blocker is not None:
            self._blocked.add(step.id)
            return StepForecast(step, SKIP, note=f"It needs {blocker}.")
        if step.needs and self._absent.issuperset(step.needs):
            return self._skip(step, "Every step that it needs would be skipped.")
        if any(name not in self._outputs and name not in self._absent for name in step.needs):
            return self._partly_known(step)
        try:
            if not self._plan.holds(step, self._outputs):
                return self._skip(step, f"Its condition is not met: {step.when}")
            return self._known(step, self._plan.requests(step, self._outputs))
        except InputError as error:
            self._blocked.add(step.id)
            return StepForecast(step, FAIL, note=str(error))

    def _skip(self, step: Step, note: str) -> StepForecast:
        self._absent.add(step.id)
        return StepForecast(step, SKIP, note=note)

    def _known(self, step: Step, prepared: List[Prepared]) -> StepForecast:
        stored = [self._stored(request) for request, _ in prepared]
        missing = [one for one, answer in zip(prepared, stored) if answer is None]
        if not missing:
            self._outputs[step.id] = BETWEEN_ITEMS.join(filter(None, stored))
        self._answer_tokens[step.id] = sum(
            request.max_tokens if answer is None else estimate_tokens(answer)
            for (request, _), answer in zip(prepared, stored)
        )
        return self._forecast(step, CALL if missing else CACHED, prepared, missing)

    def _partly_known(self, step: Step) -> StepForecast:
        prepared = self._plan.trial(step)
        self._answer_tokens[step.id] = sum(request.max_tokens for request, _ in prepared)
        extra = sum(
            times * self._answer_tokens.get(name, 0) for name, times in times_inserted(step).items()
        )
        return self._forecast(step, OPEN, prepared, prepared, extra)

    def _forecast(
        self,
        step: Step,
        outlook: str,
        prepared: Sequence[Prepared],
        calls: Sequence[Prepared],
        extra_tokens: int = 0,
    ) -> StepForecast:
        tokens = [prompt_tokens(*one) + extra_tokens for one in calls]
        return StepForecast(
            step=step,
            outlook=outlook,
            model=prepared[0][0].model if prepared else "",
            prompts=tuple(_text(task) for _, task in prepared),
            calls=len(calls),
            cached=len(prepared) - len(calls),
            prompt_tokens=sum(tokens),
            answer_tokens=sum(request.max_tokens for request, _ in calls),
            cost_usd=_cost([request for request, _ in calls], tokens),
        )

    def _stored(self, request: AgentRequest) -> Optional[str]:
        return self._plan.orchestrator.stored_answer(request, self._plan.overrides.mode)


def prompt_tokens(request: AgentRequest, task: Task) -> int:
    """About how many tokens a request's prompt has, the agent's instructions included."""
    own = task.tokens_estimate if isinstance(task, RenderedPrompt) else estimate_tokens(task)
    return own + estimate_tokens(request.system)


def _text(task: Task) -> str:
    return task if isinstance(task, str) else task.text


def _cost(requests: Sequence[AgentRequest], tokens: Sequence[int]) -> Optional[float]:
    costs = [_highest(request, count) for request, count in zip(requests, tokens)]
    return None if None in costs else sum(cost for cost in costs if cost is not None)


def _highest(request: AgentRequest, tokens: int) -> Optional[float]:
    if request.provider == "offline":
        return 0.0
    return worst_case_usd(
        request.model,
        tokens,
        request.max_tokens,
        options=request.options,
        writes_cache="cache_control" in request.options,
    )
