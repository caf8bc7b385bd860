"""Workflows: graphs of agents, written as arrows, YAML or a name, run through the orchestrator.

In the order in which they build on each other: :mod:`~.graph`, :mod:`~.expressions`,
:mod:`~.parsing`, :mod:`~.definition`, :mod:`~.naming`, :mod:`~.tasks`, :mod:`~.plan`,
:mod:`~.results`, :mod:`~.execution`, :mod:`~.forecast`; :mod:`~.layout` places a graph's steps.
"""

from __future__ import annotations

from .definition import Step, Workflow
from .execution import Execution
from .forecast import Forecast, StepForecast, forecast
from .naming import find_workflow
from .plan import Overrides, Plan
from .results import StepResult, WorkflowResult

__all__ = [
    "Execution",
    "Forecast",
    "Overrides",
    "Plan",
    "Step",
    "StepForecast",
    "StepResult",
    "Workflow",
    "WorkflowResult",
    "find_workflow",
    "forecast",
]
