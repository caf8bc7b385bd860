"""What a step asks: its template filled, or the workflow's task with the answers before it."""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Optional, Sequence

from ..errors import InputError, WorkflowError
from ..prompt import RenderedPrompt, render
from ..requests import Task
from .definition import ITEM, TASK, Step, Workflow, names_in, step_of

_ANSWERS = "\n\n# Answers of the steps before\n"

Outputs = Mapping[str, str]


class Tasks:
    """The tasks of one workflow.

    Args:
        workflow: The workflow.
        task: Its task as the caller gave it; text is taken as it is, it is no template.
        variables: Values that templates insert.
        allow_secrets: Insert values even if they look like keys or passwords.

    Raises:
        InputError: The workflow's own task cannot be rendered.
    """

    def __init__(
        self,
        workflow: Workflow,
        task: Optional[Task],
        variables: Mapping[str, Any],
        allow_secrets: bool,
    ) -> None:
        self._workflow = workflow
        self._variables = dict(variables)
        self._allow_secrets = allow_secrets
        if task is None and workflow.task is not None:
            task = render(workflow.task, variables, allow_secrets=allow_secrets)
        self.task = task
        if task is not None:
            self._variables[TASK] = task if isinstance(task, str) else task.text

    def of(self, step: Step, outputs: Outputs, item: Any = None) -> Task:
        """What *step* asks.

        Args:
            step: One of the workflow's steps.
            outputs: Answers by step id; a step that was skipped by its condition has none.
            item: The item, if the step runs for each one of a sequence.

        Raises:
            InputError: The template cannot be filled; the message names the step.
        """
        try:
            if step.task is None:
                return self._whole(step, outputs)
            return self._from_template(step, outputs, item)
        except InputError as error:
            where = f"Step {step.id}: "
            raise type(error)(where + error.what, advice=error.advice) from error

    def _from_template(self, step: Step, outputs: Outputs, item: Any) -> Task:
        assert step.task is not None
        names = names_in(step.task)
        self._check_task_fits(names)
        each = {} if step.for_each is None else {ITEM: item}
        steps = [name for name in names if name.startswith("steps.")]
        return render(
            step.task,
            {**self._variables, **each},
            allow_secrets=self._allow_secrets,
            # A step that was skipped has no answer: nothing is inserted for it.
            namespaces={"steps": {n.partition(".")[2]: outputs.get(step_of(n), "") for n in steps}},
        )

    def _check_task_fits(self, names: Sequence[str]) -> None:
        if TASK in names and isinstance(self.task, RenderedPrompt) and self.task.has_blocks:
            raise WorkflowError(
                "{{ task }} has images or documents, which do not fit into another text.",
                advice="Leave the step's task out: it gets the whole of it then.",
            )

    def _whole(self, step: Step, outputs: Outputs) -> Task:
        if self.task is None:
            raise WorkflowError(
                "It has no task, and neither has the workflow.",
                advice="Give the step a task:, or the whole workflow one.",
            )
        needed = {name for name in step.needs if outputs.get(name)}
        before = [earlier for earlier in self._workflow.steps if earlier.id in needed]
        return _joined(self.task, self._answers(before, outputs)) if before else self.task

    def _answers(self, steps: List[Step], outputs: Outputs) -> RenderedPrompt:
        template = [_ANSWERS]
        for step in steps:
            by = "" if step.agent == step.id else f" ({step.agent})"
            template.append(f"\n## {step.id}{by}\n\n{{{{ steps.{step.id} }}}}\n")
        return render(
            "".join(template).rstrip(),
            {},
            allow_secrets=self._allow_secrets,
            namespaces={"steps": outputs},
        )


def _joined(task: Task, more: RenderedPrompt) -> RenderedPrompt:
    if isinstance(task, str):
        return RenderedPrompt(task.rstrip() + more.text, more.manifest)
    manifest = (*task.manifest, *more.manifest)
    if isinstance(task.content, str):
        return RenderedPrompt(task.content.rstrip() + more.text, manifest)
    return RenderedPrompt((*task.content, {"type": "text", "text": more.text.lstrip()}), manifest)


def times_inserted(step: Step) -> Dict[str, int]:
    """How often the task of *step* inserts the answer of each step it needs."""
    if step.task is None:
        return dict.fromkeys(step.needs, 1)
    found: Dict[str, int] = {}
    for name in names_in(step.task):
        if name.startswith("steps."):
            found[step_of(name)] = found.get(step_of(name), 0) + 1
    return found
