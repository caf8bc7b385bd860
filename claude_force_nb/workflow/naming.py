"""Workflows by name: what somebody means who writes one word, or a line of arrows."""

from __future__ import annotations

from typing import Any, Sequence

from ..agents import AgentLibrary, did_you_mean
from ..errors import WorkflowError
from .definition import Workflow
from .parsing import ARROW, ARROWS_FORM


def find_workflow(text: str, library: AgentLibrary) -> Workflow:
    """The workflow that *text* means: a name in ``claude.json``, arrows, or a single agent.

    Raises:
        WorkflowError: It is none of these; the message says what may be meant.
    """
    named = library.workflows()
    if text.strip() in named:
        return named_workflow(text.strip(), named[text.strip()])
    if "," in text or ARROW.search(text) or text.strip() in library.names():
        return Workflow.from_arrows(text)
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
        return Workflow.chain(*agents, name=name)
    except WorkflowError as error:
        raise WorkflowError(f"Workflow {name}: {error.what}", advice=error.advice) from error
