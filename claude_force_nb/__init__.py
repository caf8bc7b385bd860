"""Run Claude agents in Jupyter cells: concurrent, cached, signed, repeatable.

In a notebook::

    %load_ext claude_force_nb

    %%agent code-reviewer -o review
    Review this function, worst problem first:
    {{ source }}

In Python::

    import claude_force_nb as cf

    async with cf.AsyncAgentOrchestrator() as orchestrator:
        result = await orchestrator.execute_agent("code-reviewer", "Review this: ...")

Names are imported when they are first used, so that loading the extension stays cheap.
"""

from __future__ import annotations

import importlib
import logging
from typing import TYPE_CHECKING, Any, List

from .version import __version__

if TYPE_CHECKING:
    from .agents import AgentDefinition, AgentLibrary
    from .cache import ResponseCache
    from .current import current_orchestrator, run, use_orchestrator
    from .errors import ClaudeForceError
    from .orchestrator import AsyncAgentOrchestrator
    from .records import AgentRequest, AgentResult, AgentResults, Usage
    from .records import AgentResult as AsyncAgentResult
    from .settings import Settings
    from .workflow import Workflow, WorkflowResult

__all__ = [
    "AgentDefinition",
    "AgentLibrary",
    "AgentRequest",
    "AgentResult",
    "AgentResults",
    "AsyncAgentOrchestrator",
    "AsyncAgentResult",
    "ClaudeForceError",
    "ResponseCache",
    "Settings",
    "Usage",
    "Workflow",
    "WorkflowResult",
    "__version__",
    "current_orchestrator",
    "load_ipython_extension",
    "run",
    "unload_ipython_extension",
    "use_orchestrator",
]

_HOMES = {
    "AgentDefinition": "agents",
    "AgentLibrary": "agents",
    "AgentRequest": "records",
    "AgentResult": "records",
    "AgentResults": "records",
    "AsyncAgentOrchestrator": "orchestrator",
    "AsyncAgentResult": "records",
    "ClaudeForceError": "errors",
    "ResponseCache": "cache",
    "Settings": "settings",
    "Usage": "records",
    "Workflow": "workflow",
    "WorkflowResult": "workflow",
    "current_orchestrator": "current",
    "run": "current",
    "use_orchestrator": "current",
}

# A library stays silent until its user configures logging.
logging.getLogger(__name__).addHandler(logging.NullHandler())


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f".{_HOMES[name]}", __name__)
    return getattr(module, "AgentResult" if name == "AsyncAgentResult" else name)


def __dir__() -> List[str]:
    return sorted(__all__)


def load_ipython_extension(shell: Any) -> None:
    """Register the magics; IPython calls this for ``%load_ext claude_force_nb``."""
    from .notebook.extension import load

    load(shell)


def unload_ipython_extension(shell: Any) -> None:
    """Take back what loading registered; IPython calls this for ``%unload_ext``."""
    from .notebook.extension import unload

    unload(shell)
