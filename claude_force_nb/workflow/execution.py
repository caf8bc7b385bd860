"""Running a plan: each step begins in the moment in which the last step it needs has ended.

Nothing polls: the end of a step starts its dependants. How many calls are in flight is the
orchestrator's business, and every run goes through its cache, so that a workflow that is run again
calls only what is missing.
"""

from __future__ import annotations

import asyncio
import functools
import time
from collections import deque
from typing import Deque, Dict, Iterable, List, Optional, Set

from ..errors import InputError
from ..outcomes import describe
from ..records import AgentResult
from ..requests import prompt_metadata
from ..runs import CANCELLED, FAILED, SKIPPED, Run
from .definition import Step
from .graph import dependants
from .plan import Plan, Prepared
from .results import StepResult, WorkflowResult, step_result, without_runs, workflow_result

_NOT_BEGUN = "The workflow was stopped before it began."
_STOPPING = "Still stopping when the wait for it ended."


class Execution:
    """One run of a plan.

    Args:
        plan: What to run; a plan is run once.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        needs = plan.workflow.needs
        self._steps = {step.id: step for step in plan.workflow.steps}
        self._later = dependants(needs)
        self._missing = {name: len(needed) for name, needed in needs.items()}
        self._outcomes: Dict[str, StepResult] = {}
        self._outputs: Dict[str, str] = {}
        self._blocked: Set[str] = set()
        self._tasks: Set[asyncio.Task[StepResult]] = set()
        self._stopping = False
        self._over: Optional[asyncio.Event] = None
        self._started = self._ended = 0.0

    async def run(self) -> WorkflowResult:
        """Run every step that can run.

        A failure skips only what depends on it. A cancellation stops what is under way, waits for
        its clean-up, and is passed on; :attr:`result` has what was finished by then.
        """
        self._started = time.monotonic()
        self._over = asyncio.Event()
        self._begin(step for step in self._steps.values() if not step.needs)
        try:
            await self._over.wait()
        except asyncio.CancelledError:
            self._stopping = True
            for task in list(self._tasks):
                task.cancel()
            await self._over.wait()
            raise
        finally:
            self._ended = time.monotonic()
        return self.result

    @property
    def result(self) -> WorkflowResult:
        """The outcome so far; steps that have none yet count as cancelled."""
        every = {
            name: self._outcomes.get(name) or without_runs(step, CANCELLED, _STOPPING)
            for name, step in self._steps.items()
        }
        elapsed_s = (self._ended or time.monotonic()) - self._started
        return workflow_result(self._plan.workflow, every, elapsed_s)

    def _begin(self, steps: Iterable[Step]) -> None:
        """Start *steps*, and what follows those that need not run; chains of them may be long."""
        ready: Deque[Step] = deque(steps)
        while ready:
            step = ready.popleft()
            outcome = self._decided(step)
            if outcome is None:
                task = asyncio.ensure_future(self._outcome(step))
                self._tasks.add(task)
                task.add_done_callback(functools.partial(self._task_done, step))
            else:
                self._close_runs(step, outcome.state, outcome.reason)
                ready.extend(self._noted(step, outcome))

    def _task_done(self, step: Step, task: asyncio.Task[StepResult]) -> None:
        # Not an "except" in the task: one that is cancelled before it begins never gets there.
        self._tasks.discard(task)
        outcome = self._interrupted(step) if task.cancelled() else task.result()
        self._begin(self._noted(step, outcome))

    def _noted(self, step: Step, outcome: StepResult) -> List[Step]:
        """Note how *step* ended; return the steps that can begin now."""
        self._outcomes[step.id] = outcome
        if outcome.success:
            self._outputs[step.id] = outcome.output
        if outcome.state in (FAILED, CANCELLED) or not self._blocked.isdisjoint(step.needs):
            self._blocked.add(step.id)
        for name in self._later[step.id]:
            self._missing[name] -= 1
        if len(self._outcomes) == len(self._steps) and self._over is not None:
            self._over.set()
        return [self._steps[name] for name in self._later[step.id] if not self._missing[name]]

    def _decided(self, step: Step) -> Optional[StepResult]:
        """The outcome of a step that need not run; ``None`` if it must."""
        for name in step.needs:
            if name in self._blocked:
                state = self._outcomes[name].state
                return without_runs(step, SKIPPED, f"It needs {name}, which {_was(state)}.")
        if self._stopping:
            return without_runs(step, CANCELLED, _NOT_BEGUN)
        if step.needs and self._outputs.keys().isdisjoint(step.needs):
            return without_runs(step, SKIPPED, "Every step that it needs was skipped.")
        try:
            holds = self._plan.holds(step, self._outputs)
        except InputError as error:
            return without_runs(step, FAILED, describe(error), error)
        reason = f"Its condition is not met: {step.when}"
        return None if holds else without_runs(step, SKIPPED, reason)

    async def _outcome(self, step: Step) -> StepResult:
        try:
            return step_result(step, await self._answers(step))
        except (asyncio.CancelledError, GeneratorExit):
            raise
        except BaseException as error:  # an exit raised out of a task would end the kernel
            self._close_runs(step, FAILED, describe(error))
            return without_runs(step, FAILED, describe(error), error)

    async def _answers(self, step: Step) -> List[AgentResult]:
        prepared = self._plan.requests(step, self._outputs)
        work = [self._answer(step, *pair) for pair in zip(self._plan.runs[step.id], prepared)]
        return [await work[0]] if len(work) == 1 else list(await asyncio.gather(*work))

    async def _answer(self, step: Step, run: Run, prepared: Prepared) -> AgentResult:
        request, task = prepared
        run.metadata.update(prompt_metadata(task))
        run.restart_clock()
        overrides = self._plan.overrides
        return await self._plan.orchestrator.execute(
            request,
            run=run,
            mode=overrides.mode,
            timeout_s=overrides.timeout_s or step.timeout_s,
            max_attempts=step.retries,
        )

    def _interrupted(self, step: Step) -> StepResult:
        """The outcome of a step that was cancelled; items that were finished are kept."""
        self._close_runs(step, CANCELLED, _NOT_BEGUN)
        results = [run.result for run in self._plan.runs[step.id] if run.result is not None]
        return step_result(step, results)

    def _close_runs(self, step: Step, state: str, reason: str) -> None:
        for run in self._plan.runs[step.id]:
            if not run.ended:
                run.end(AgentResult(step.agent, False, "", run.metadata, [reason], state=state))


def _was(state: str) -> str:
    return state if state == FAILED else f"was {state}"
