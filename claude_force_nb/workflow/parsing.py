"""Reading arrows and YAML: from text to the fields of steps."""

from __future__ import annotations

import re
from typing import Any, Dict, Iterable, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from ..agents import did_you_mean, valid_agent_name
from ..errors import WorkflowError
from ..yaml_text import YamlError, load_yaml

ARROWS_FORM = "Write agents with commas for at once and arrows for then: a, b -> c."
YAML_FORM = "Write steps: and below it, for each step, - id: NAME, agent: NAME, task: TEXT."
ARROW = re.compile(r"->|→")

_TEXTS = ("id", "agent", "task", "model", "when", "for_each")
_FIELDS = (*_TEXTS, "needs", "max_tokens", "retries", "timeout_s")
_DEFAULTS = ("agent", "model", "max_tokens", "retries", "timeout_s")
_TOP = ("name", "task", "defaults", "steps")

Fields = Dict[str, Any]


class Document(NamedTuple):
    """A workflow as its YAML says it.

    Attributes:
        name: What it is called, perhaps empty.
        task: The task of steps that have none.
        steps: For each step where it stands, and its fields.
    """

    name: str
    task: Optional[str]
    steps: List[Tuple[str, Fields]]


def read_arrows(text: str) -> List[Fields]:
    """Read ``a, b -> c``.

    Raises:
        WorkflowError: An agent is missing between arrows or commas, or is no name.
    """
    return staged([stage.split(",") for stage in ARROW.split(text)])


def staged(stages: Sequence[Sequence[Any]]) -> List[Fields]:
    """The steps of stages of agents; each needs every step of the stages before.

    A step is called like its agent; a second one of the same agent is ``AGENT-2``.

    Raises:
        WorkflowError: One is no name of an agent.
    """
    ids: List[str] = []
    steps: List[Fields] = []
    for stage in stages:
        before = tuple(ids)
        for agent in map(_agent_name, stage):
            ids.append(_free_id(agent, ids))
            steps.append({"id": ids[-1], "agent": agent, "needs": before})
    return steps


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


def read_yaml(text: str, source: str, first_line: int) -> Document:
    """Read a workflow's YAML.

    Args:
        text: The YAML.
        source: What it is, for messages.
        first_line: Number of its first line in *source*.

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
    places = [f"{source}, step {number}" for number in range(1, len(document["steps"]) + 1)]
    steps = [(where, _step(one, defaults, where)) for where, one in zip(places, document["steps"])]
    name, task = _text(document, "name", source), _text(document, "task", source)
    return Document(name or "", task, steps)


def _loaded(text: str, source: str, first_line: int) -> Any:
    try:
        return load_yaml(text, source=source, first_line=first_line)
    except YamlError as error:
        if "{{" in error.what:
            # To YAML a brace opens a mapping.
            error.advice = "Put text that begins with braces in quotes, or below task: |."
        raise


def _step(fields: Any, defaults: Mapping[str, Any], where: str) -> Fields:
    if not isinstance(fields, dict):
        raise WorkflowError(f"{where}: {fields!r} is no step.", advice=YAML_FORM)
    _check_keys(fields, _FIELDS, where)
    given = {**defaults, **{name: value for name, value in fields.items() if value is not None}}
    if "agent" not in given:
        raise WorkflowError(f"{where}: The step has no agent.", advice=YAML_FORM)
    texts = {name: _text(given, name, where) for name in _TEXTS if name in given}
    texts.setdefault("id", texts["agent"])
    needs = _names(given.pop("needs", None), where)
    return {**given, **texts, "needs": needs, "timeout_s": _seconds(given.get("timeout_s"))}


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


def _names(value: Any, where: str) -> Tuple[str, ...]:
    found = [value] if isinstance(value, (str, int)) else value or []
    if not isinstance(found, list) or any(isinstance(name, (dict, list)) for name in found):
        raise WorkflowError(f"{where}: needs must be a list of step ids.")
    return tuple(str(name) for name in found)


def _seconds(value: Any) -> Any:
    """A number of seconds; the YAML subset leaves ``1.5`` as text."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value
