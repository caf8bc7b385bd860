"""What a workflow is: steps and the arrows between them, as values that cannot be malformed."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Dict, List, Optional, Tuple

from ..agents import did_you_mean, valid_agent_name
from ..errors import InputError, WorkflowError
from ..prompt import variables_in
from ..settings import positive, whole
from .expressions import Condition
from .graph import arrow_text, cycle, dependants
from .parsing import Fields, read_arrows, read_yaml, staged

MAX_STEPS = 1_000
MAX_RETRIES = 20
ITEM, TASK = "item", "task"

_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,99}")


@dataclass(frozen=True)
class Step:
    """An agent with a task.

    Attributes:
        id: Letters, digits, hyphens and underscores; unique in its workflow.
        agent: Name of the agent.
        task: A template; ``{{ steps.ID }}`` inserts the answer of another step. ``None`` for the
            task of the workflow, followed by the answers of the steps that this one needs.
        needs: Ids of the steps before this one; what *task* and *when* refer to is added.
        model: Model to ask instead of the agent's own.
        max_tokens: Longest answer instead of the agent's own.
        when: A condition (see :mod:`~.expressions`); the step is skipped unless it holds.
        retries: Attempts for each call, the first one included.
        for_each: A variable that holds a sequence; the step runs once for each item, which
            ``{{ item }}`` inserts.
        timeout_s: Seconds each run may take.

    Raises:
        WorkflowError: A value makes no sense; the message names the step.
    """

    id: str
    agent: str
    task: Optional[str] = None
    needs: Tuple[str, ...] = ()
    model: Optional[str] = None
    max_tokens: Optional[int] = None
    when: Optional[str] = None
    retries: Optional[int] = None
    for_each: Optional[str] = None
    timeout_s: Optional[float] = None

    def __post_init__(self) -> None:
        if not isinstance(self.id, str) or not _ID.fullmatch(self.id):
            advice = "Use letters, digits, hyphens and underscores."
            raise WorkflowError(f"{self.id!r} is no id of a step.", advice=advice)
        try:
            self._check()
            needed = {*self.needs, *self._mentioned()}
        except InputError as error:
            raise type(error)(f"Step {self.id}: {error.what}", advice=error.advice) from error
        # One order however they were written, so that equal workflows are equal.
        object.__setattr__(self, "needs", tuple(sorted(needed)))

    def _check(self) -> None:
        if not isinstance(self.agent, str) or not valid_agent_name(self.agent):
            raise WorkflowError(f"{self.agent!r} is not an agent name.")
        for name in ("max_tokens", "retries"):
            if getattr(self, name) is not None:
                whole(name, getattr(self, name))
        if self.timeout_s is not None:
            positive("timeout_s", self.timeout_s)
        if (self.retries or 0) > MAX_RETRIES:
            raise WorkflowError(f"retries may be {MAX_RETRIES} at most.")
        self._check_items()

    def _check_items(self) -> None:
        if self.for_each is None:
            return
        if not self.for_each.isidentifier():
            raise WorkflowError(f"for_each: {self.for_each!r} is not the name of a variable.")
        if self.task is None or ITEM not in names_in(self.task):
            raise WorkflowError(
                "for_each asks the same thing for every item.",
                advice="Put {{ item }} into the step's task.",
            )

    def _mentioned(self) -> List[str]:
        names = names_in(self.task) if self.task is not None else ()
        found = [step_of(name) for name in names if name.startswith("steps.")]
        return [*found, *(self.condition.steps if self.condition else ())]

    @property
    def condition(self) -> Optional[Condition]:
        """``when``, read; ``None`` if there is none."""
        return None if self.when is None else Condition(self.when)


@lru_cache(maxsize=1024)
def names_in(template: str) -> Tuple[str, ...]:
    """The names that *template* inserts; remembered, because each step is read several times.

    Raises:
        PromptError: A tag is malformed.
    """
    return tuple(variables_in(template))


def step_of(name: str) -> str:
    """The step id in ``steps.ID`` or ``steps.ID.output``.

    Raises:
        WorkflowError: It is something else of a step.
    """
    _, step, *rest = name.split(".")
    if rest not in ([], ["output"]):
        raise WorkflowError(
            f"{{{{ {name} }}}}: a step has an output and nothing else.",
            advice=f"Write {{{{ steps.{step} }}}}.",
        )
    return step


@dataclass(frozen=True)
class Workflow:
    """A directed acyclic graph of steps.

    However it was written, the same workflow is the same value.

    Attributes:
        steps: The steps, in the order they were written.
        task: The task of steps that have none, a template; used if the caller gives no task.
        name: What it is called; two workflows that differ in nothing else are equal.

    Raises:
        WorkflowError: It has no steps or too many, an id stands twice, a step needs one that is
            not there, or the steps form a cycle.
    """

    steps: Tuple[Step, ...]
    task: Optional[str] = None
    name: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "steps", tuple(self.steps))
        if not self.steps:
            raise WorkflowError("The workflow has no steps.")
        if len(self.steps) > MAX_STEPS:
            raise WorkflowError(f"The workflow has more than {MAX_STEPS:,} steps.")
        self._check_ids()
        path = cycle(self.needs)
        if path:
            raise WorkflowError(f"The steps wait for each other: {' -> '.join(path)}.")

    def _check_ids(self) -> None:
        seen: Dict[str, int] = {}
        for number, step in enumerate(self.steps, 1):
            if step.id in seen:
                raise WorkflowError(
                    f"The id {step.id} stands twice: in step {seen[step.id]} and step {number}."
                )
            seen[step.id] = number
        for step in self.steps:
            for needed in step.needs:
                if needed not in seen:
                    raise WorkflowError(
                        f"Step {step.id} needs {needed}, and there is no such step.",
                        advice=did_you_mean(needed, seen.keys() - {step.id}),
                    )

    @classmethod
    def from_yaml(cls, text: str, *, source: str = "the workflow", first_line: int = 1) -> Workflow:
        """Read a workflow from YAML.

        Args:
            text: ``steps:`` with a list of steps, whose fields are those of :class:`Step`; beside
                it optionally ``name:``, ``task:`` and ``defaults:`` for fields of every step.
            source: What the text is, for messages.
            first_line: Number of its first line in *source*.

        Raises:
            WorkflowError: It is no workflow.
            YamlError: It is no YAML, with line, column and the line.
        """
        document = read_yaml(text, source, first_line)
        steps = tuple(_step_at(where, fields) for where, fields in document.steps)
        return cls(steps, task=document.task, name=document.name)

    @classmethod
    def from_arrows(cls, text: str, name: str = "") -> Workflow:
        """Read a workflow from arrows: ``a, b -> c`` runs *a* and *b* at once and *c* then.

        Each step sees the task and the answers of all stages before its own.

        Raises:
            WorkflowError: It is no such line.
        """
        return cls(tuple(Step(**fields) for fields in read_arrows(text)), name=name)

    @classmethod
    def chain(cls, *agents: str, name: str = "") -> Workflow:
        """One agent after the other; each sees the task and the answers before its own.

        Raises:
            WorkflowError: There is no agent, or one is no name.
        """
        steps = tuple(Step(**fields) for fields in staged([[agent] for agent in agents]))
        return cls(steps, name=name)

    @property
    def needs(self) -> Dict[str, Tuple[str, ...]]:
        """For each step's id the ids of the steps it needs."""
        return {step.id: step.needs for step in self.steps}

    @property
    def sinks(self) -> List[str]:
        """The steps that no other step needs; their answers are the workflow's."""
        later = dependants(self.needs)
        return [step.id for step in self.steps if not later[step.id]]

    @property
    def arrows(self) -> str:
        """The graph in one line of text."""
        return arrow_text(self.needs)

    def __getitem__(self, step_id: str) -> Step:
        """The step with this id.

        Raises:
            KeyError: There is none.
        """
        for step in self.steps:
            if step.id == step_id:
                return step
        raise KeyError(step_id)

    def to_dict(self) -> Dict[str, Any]:
        """The workflow as plain JSON values, fields that are not set left out."""
        steps = [
            {name: _as_json(value) for name, value in vars(step).items() if value}
            for step in self.steps
        ]
        named = {"name": self.name, "task": self.task}
        return {**{key: value for key, value in named.items() if value}, "steps": steps}


def _step_at(where: str, fields: Fields) -> Step:
    try:
        return Step(**fields)
    except InputError as error:
        raise type(error)(f"{where}: {error.what}", advice=error.advice) from error


def _as_json(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
