"""From a workflow to a plan: everything that can be wrong is found before anything is sent."""

from __future__ import annotations

from collections import abc
from dataclasses import dataclass
from typing import Any, Dict, Iterator, List, Mapping, Optional, Tuple

from ..agents import did_you_mean
from ..errors import InputError, WorkflowError
from ..execution import RequestRunner
from ..records import AgentRequest
from ..requests import Task, prompt_metadata
from ..runs import Run
from ..settings import MODES, one_of, positive
from .definition import ITEM, TASK, Step, Workflow, names_in
from .expressions import Condition, Scalar, Scope, plain_value
from .tasks import Outputs, Tasks

MAX_ITEMS = 1_000
MAX_RUNS = 10_000

Prepared = Tuple[AgentRequest, Task]


@dataclass(frozen=True)
class Overrides:
    """What a caller decides for every step, over what the steps say.

    Attributes:
        model: Model to ask.
        max_tokens: Longest answer.
        mode: Cache mode.
        timeout_s: Seconds each run may take.
        allow_secrets: Insert values even if they look like keys or passwords.

    Raises:
        InputError: A value makes no sense.
    """

    model: Optional[str] = None
    max_tokens: Optional[int] = None
    mode: Optional[str] = None
    timeout_s: Optional[float] = None
    allow_secrets: bool = False

    def __post_init__(self) -> None:
        if self.mode is not None:
            one_of("cache mode", self.mode, MODES)
        if self.timeout_s is not None:
            positive("timeout_s", self.timeout_s)


class Plan:
    """A workflow that can run: every agent found, every template filled once on trial.

    Args:
        orchestrator: What will run it.
        workflow: The workflow.
        task: Its task; text is taken as it is, it is no template.
        variables: Values that templates, conditions and ``for_each`` use; those that are used are
            taken now, later changes of a name make no difference.
        overrides: What holds for every step.

    Attributes:
        runs: For each step its runs, known before any of them begins.

    Raises:
        InputError: Something is wrong; with several faults, one line for each.
    """

    def __init__(
        self,
        orchestrator: RequestRunner,
        workflow: Workflow,
        task: Optional[Task] = None,
        variables: Optional[Mapping[str, Any]] = None,
        overrides: Overrides = Overrides(),
    ) -> None:
        self.orchestrator = orchestrator
        self.workflow = workflow
        self.overrides = overrides
        self._variables = {} if variables is None else variables
        self._tasks = Tasks(workflow, task, self._variables, overrides.allow_secrets)
        self._prepared: Dict[str, List[Prepared]] = {}
        self._items: Dict[str, Tuple[Any, ...]] = {}
        self._conditions: Dict[str, Tuple[Condition, Mapping[str, Scalar]]] = {}
        faults = [fault for step in workflow.steps for fault in self._faults(step)]
        if faults:
            raise faults[0] if len(faults) == 1 else _together(faults)
        if sum(map(len, self._prepared.values())) > MAX_RUNS:
            raise WorkflowError(f"The workflow has more than {MAX_RUNS:,} runs.")
        self.runs = {step.id: self._runs_of(step) for step in workflow.steps}

    @property
    def all_runs(self) -> List[Run]:
        """The runs of all steps, in the order of the steps."""
        return [run for runs in self.runs.values() for run in runs]

    def holds(self, step: Step, outputs: Outputs) -> bool:
        """Whether the condition of *step* is met; without one it is.

        Raises:
            WorkflowError: It compares things that have no order.
        """
        if step.id not in self._conditions:
            return True
        condition, variables = self._conditions[step.id]
        steps = {name: outputs.get(name, "") for name in condition.steps}
        return condition.holds(Scope(steps, variables))

    def requests(self, step: Step, outputs: Outputs) -> List[Prepared]:
        """The requests of *step* with the answers of the steps before it, and their tasks.

        Raises:
            InputError: A task cannot be rendered with them.
        """
        if not step.needs:
            return self._prepared[step.id]
        return [self._prepare(step, outputs, item) for item in self._items_of(step)]

    def trial(self, step: Step) -> List[Prepared]:
        """The requests of *step* with a remark in place of each earlier answer."""
        return self._prepared[step.id]

    def _faults(self, step: Step) -> Iterator[InputError]:
        """What is wrong with one step; on the way it is prepared."""
        try:
            self._read_condition(step)
            self._read_items(step)
            remarks = {name: f"(the answer of step {name})" for name in step.needs}
            self._prepared[step.id] = [
                self._prepare(step, remarks, item) for item in self._items_of(step)
            ]
        except InputError as error:
            yield error
        else:
            yield from self._unused_agent(step)

    def _unused_agent(self, step: Step) -> Iterator[InputError]:
        """A step without items asks nobody, yet its agent must exist."""
        if not self._prepared[step.id]:
            try:
                self.orchestrator.library.find(step.agent)
            except InputError as error:
                yield _of_step(step, error)

    def _read_condition(self, step: Step) -> None:
        condition = step.condition
        if condition is not None:
            names = sorted(condition.variables)
            plain = {name: plain_value(name, self._variable(step, name, "when")) for name in names}
            self._conditions[step.id] = condition, plain

    def _read_items(self, step: Step) -> None:
        if step.for_each is not None:
            value = self._variable(step, step.for_each, "for_each")
            self._items[step.id] = _items(step, value)

    def _variable(self, step: Step, name: str, what: str) -> Any:
        if name in self._variables:
            return self._variables[name]
        steps = [f"steps.{one.id}" for one in self.workflow.steps] if what == "when" else []
        known = [*steps, *(one for one in self._variables if not one.startswith("_"))]
        raise WorkflowError(
            f"Step {step.id}: {what}: there is no variable {name}.",
            advice=did_you_mean(name, known) if len(known) < 5_000 else "",
        )

    def _items_of(self, step: Step) -> Tuple[Any, ...]:
        return (None,) if step.for_each is None else self._items[step.id]

    def _prepare(self, step: Step, outputs: Outputs, item: Any) -> Prepared:
        task = self._tasks.of(step, outputs, item)
        overrides = self.overrides
        try:
            request = self.orchestrator.prepare(
                step.agent,
                task,
                overrides.model or step.model,
                overrides.max_tokens or step.max_tokens,
            )
        except InputError as error:
            raise _of_step(step, error) from error
        return request, task

    def _runs_of(self, step: Step) -> Tuple[Run, ...]:
        runs = []
        for number, (request, task) in enumerate(self._prepared[step.id]):
            place = {"step": step.id}
            if step.for_each is not None:
                place = {"step": f"{step.id}[{number}]"}
            metadata = {**place, **(prompt_metadata(task) if not step.needs else {})}
            runs.append(Run(step.agent, request.model, metadata))
        return tuple(runs)


def check_names(workflow: Workflow, variables: Mapping[str, Any]) -> None:
    """Refuse a variable that no step uses: it is a misspelt name.

    Raises:
        WorkflowError: There is one.
    """
    used = _used_names(workflow)
    for name in variables:
        if name not in used:
            raise WorkflowError(
                f"No step of the workflow uses {name}.",
                advice=did_you_mean(name, used) or "Write {{ " + name + " }} in a task.",
            )


def _used_names(workflow: Workflow) -> List[str]:
    templates = [workflow.task, *(step.task for step in workflow.steps)]
    used = {name for text in templates if text is not None for name in names_in(text)}
    for step in workflow.steps:
        used.update(step.condition.variables if step.condition else ())
        used.update([step.for_each] if step.for_each else ())
    return sorted(name for name in used - {ITEM, TASK} if not name.startswith("steps."))


def _items(step: Step, value: Any) -> Tuple[Any, ...]:
    if not isinstance(value, abc.Sequence) or isinstance(value, (str, bytes, bytearray)):
        raise WorkflowError(
            f"Step {step.id}: for_each: {step.for_each} is a {type(value).__name__}, "
            "not a sequence.",
            advice=f"Make a list of it in a cell before: {step.for_each} = list({step.for_each}).",
        )
    if len(value) > MAX_ITEMS:
        raise WorkflowError(
            f"Step {step.id}: for_each: {step.for_each} has {len(value):,} items, "
            f"more than {MAX_ITEMS:,}."
        )
    return tuple(value)


def _of_step(step: Step, error: InputError) -> InputError:
    if error.what.startswith(f"Step {step.id}: "):
        return error
    return type(error)(f"Step {step.id}: {error.what}", advice=error.advice)


def _together(faults: List[InputError]) -> WorkflowError:
    lines = "\n".join(str(fault) for fault in faults)
    error = WorkflowError(f"The workflow cannot run, {len(faults)} steps are wrong:\n{lines}")
    error.__cause__ = faults[0]
    return error
