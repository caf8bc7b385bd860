"""Ways to write a workflow, all of which give the same value."""

from __future__ import annotations

import dataclasses
import re
from typing import Any, Iterable, List, Mapping, Optional, Sequence, Tuple

from ..agents import AgentLibrary, did_you_mean, valid_agent_name
from ..errors import InputError, WorkflowError
from ..yaml_text import YamlError, load_yaml
from .definition import Step, Workflow

ARROWS_FORM = "Write agents with commas for at once and arrows for then: a, b -> c."
YAML_FORM = "Write steps: and below it, for each step, - id: NAME, agent: NAME, task: TEXT."

_ARROW = re.compile(r"->|→")
_FIELDS = tuple(field.name for field in dataclasses.fields(Step))
_DEFAULTS = ("agent", "model", "max_tokens", "retries", "timeout_s")
_TOP = ("name", "task", "defaults", "steps")


def from_arrows(text: str, name: str = "") -> Workflow:
    """Read ``a, b -> c``.

    Raises:
        WorkflowError: An agent is missing between arrows or commas, or is no name.
    """
    return staged([stage.split(",") for stage in _ARROW.split(text)], name)


def staged(stages: Sequence[Sequence[Any]], name: str = "") -> Workflow:
    """Make a workflow of stages of agents; each step needs every step of the stages before.

    A step is called like its agent; a second one of the same agent is ``AGENT-2``.

    Raises:
        WorkflowError: There is no agent, or one is no name.
    """
    steps: List[Step] = []
    for stage in stages:
        before = tuple(step.id for step in steps)
        for agent in stage:
            agent = _agent_name(agent)
            taken = {step.id for step in steps}
            steps.append(Step(_free_id(agent, taken), agent, needs=before))
    return Workflow(tuple(steps), name=name)


def _agent_name(text: Any) -> str:
    name = text.strip() if isinstance(text, str) else text
    if not isinstance(name, str) or not valid_agent_name(name):
        what = f"{name!r} is not an agent name." if name else "An agent is missing."
        raise WorkflowError(what, advice=ARROWS_FORM)
    return name


def _free_id(agent: str, taken: Iterable[str]) -> str:
    step_id, number = agent, 1
    while step_id in taken:
        number += 1
        step_id = f"{agent}-{number}"
    return step_id


def find_workflow(text: str, library: AgentLibrary) -> Workflow:
    """The workflow that *text* means: a name in ``claude.json``, arrows, or a single agent.

    Raises:
        WorkflowError: It is none of these; the message says what may be meant.
    """
    named = library.workflows()
    if text.strip() in named:
        return named_workflow(text.strip(), named[text.strip()])
    if "," in text or _ARROW.search(text) or text.strip() in library.names():
        return from_arrows(text)
    raise WorkflowError(
        f"There is no workflow and no agent {text.strip()!r}.",
        advice=did_you_mean(text.strip(), {*named, *library.names()}) or ARROWS_FORM,
    )


def named_workflow(name: str, agents: Sequence[Any]) -> Workflow:
    """A workflow of ``claude.json``: its agents one after the other.

    Raises:
        WorkflowError: An entry is no agent's name; the message names the workflow.
    """
    try:
        return staged([[agent] for agent in agents], name)
    except WorkflowError as error:
        raise WorkflowError(f"Workflow {name}: {error.what}", advice=error.advice) from error


def from_yaml(text: str, *, source: str = "the workflow", first_line: int = 1) -> Workflow:
    """Read a workflow from YAML; see :meth:`Workflow.from_yaml`.

    Raises:
        WorkflowError: It is no workflow.
        YamlError: It is no YAML.
    """
    document = _loaded(text, source, first_line)
    if not isinstance(document, dict) or not isinstance(document.get("steps"), list):
        raise WorkflowError(f"{source} has no list of steps.", advice=YAML_FORM)
    _check_keys(document, _TOP, source)
    defaults = document.get("defaults") or {}
    if not isinstance(defaults, dict):
        raise WorkflowError(f"{source}: defaults must be fields with values.")
    _check_keys(defaults, _DEFAULTS, f"{source}, defaults")
    steps = [
        _step(fields, defaults, f"{source}, step {number}")
        for number, fields in enumerate(document["steps"], 1)
    ]
    return Workflow(
        tuple(steps),
        task=_text(document, "task", source),
        name=_text(document, "name", source) or "",
    )


def _loaded(text: str, source: str, first_line: int) -> Any:
    try:
        return load_yaml(text, source=source, first_line=first_line)
    except YamlError as error:
        if "{{" in error.what:
            # To YAML a brace opens a mapping.
            error.advice = "Put text that begins with braces in quotes, or below task: |."
        raise


def _step(fields: Any, defaults: Mapping[str, Any], where: str) -> Step:
    if not isinstance(fields, dict):
        raise WorkflowError(f"{where}: {fields!r} is no step.", advice=YAML_FORM)
    _check_keys(fields, _FIELDS, where)
    given = {**defaults, **{name: value for name, value in fields.items() if value is not None}}
    try:
        return _made_step(given, where)
    except InputError as error:
        if error.what.startswith(where):
            raise
        raise type(error)(f"{where}: {error.what}", advice=error.advice) from error


def _made_step(given: Mapping[str, Any], where: str) -> Step:
    agent = _text(given, "agent", where)
    if agent is None:
        raise WorkflowError("The step has no agent.", advice=YAML_FORM)
    return Step(
        id=_text(given, "id", where) or agent,
        agent=agent,
        task=_text(given, "task", where),
        needs=_names(given.get("needs")),
        model=_text(given, "model", where),
        max_tokens=given.get("max_tokens"),
        when=_text(given, "when", where),
        retries=given.get("retries"),
        for_each=_text(given, "for_each", where),
        timeout_s=_seconds(given.get("timeout_s")),
    )


def _check_keys(fields: Mapping[str, Any], known: Tuple[str, ...], where: str) -> None:
    for key in fields:
        if key not in known:
            raise WorkflowError(f"{where}: there is no {key!r}.", advice=did_you_mean(key, known))


def _text(fields: Mapping[str, Any], name: str, where: str) -> Optional[str]:
    value = fields.get(name)
    if value is None:
        return None
    if isinstance(value, (dict, list)):
        advice = "Put it into quotes if it begins with a brace or bracket."
        raise WorkflowError(f"{where}: {name} must be text.", advice=advice)
    return str(value)


def _names(value: Any) -> Tuple[str, ...]:
    found = [value] if isinstance(value, (str, int)) else value or []
    if not isinstance(found, list) or any(isinstance(name, (dict, list)) for name in found):
        raise WorkflowError("needs must be a list of step ids.")
    return tuple(str(name) for name in found)


def _seconds(value: Any) -> Any:
    """A number of seconds; the YAML subset leaves ``1.5`` as text."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value
