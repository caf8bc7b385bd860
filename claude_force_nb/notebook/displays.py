"""How results show themselves as the value of a cell: by the same renderer as everything else."""

from __future__ import annotations

from typing import Any

_VALUES = {
    "AgentResult": "records",
    "AgentResults": "records",
    "Workflow": "workflow.definition",
    "WorkflowResult": "workflow.results",
    "Forecast": "workflow.forecast",
}


def register_displays(shell: Any) -> None:
    """Let our values show themselves in *shell*; nothing is imported for it."""
    formatter = shell.display_formatter.mimebundle_formatter
    for name, module in _VALUES.items():
        formatter.for_type_by_name(f"claude_force_nb.{module}", name, _bundle)


def unregister_displays(shell: Any) -> None:
    """Take back what :func:`register_displays` did."""
    formatter = shell.display_formatter.mimebundle_formatter
    for name, module in _VALUES.items():
        formatter.pop(f"claude_force_nb.{module}.{name}", None)


def _bundle(value: Any, include: Any = None, exclude: Any = None) -> Any:
    kind = type(value).__name__
    if _VALUES[kind] == "records":
        from .bundle import results_bundle

        return results_bundle([value] if kind == "AgentResult" else value)
    from .workflow_view import display_formatters

    return display_formatters()[kind](value)
