"""The orchestrator that the magics and ``cf.run`` share."""

from __future__ import annotations

from typing import Any, Optional

from .orchestrator import AsyncAgentOrchestrator
from .records import AgentResult
from .requests import Task

_current: Optional[AsyncAgentOrchestrator] = None


def current_orchestrator() -> AsyncAgentOrchestrator:
    """The orchestrator that the magics and ``cf.run`` share; made when first asked for.

    Its answers do not expire: a notebook that is run again next month shows what it shows today.
    """
    global _current
    if _current is None:
        _current = AsyncAgentOrchestrator(cache_ttl_hours=None)
    return _current


def made_orchestrator() -> Optional[AsyncAgentOrchestrator]:
    """The current orchestrator if there is one; none is made."""
    return _current


def use_orchestrator(orchestrator: Optional[AsyncAgentOrchestrator]) -> None:
    """Make *orchestrator* the one that the magics and ``cf.run`` share; ``None`` forgets it."""
    global _current
    _current = orchestrator


async def run(agent_name: str, task: Task, **options: Any) -> AgentResult:
    """Run one agent on the current orchestrator, as the magics do.

    Args:
        agent_name: Name of an agent.
        task: The text.
        options: As for :meth:`AsyncAgentOrchestrator.execute_agent`.
    """
    return await current_orchestrator().execute_agent(agent_name, task, **options)
