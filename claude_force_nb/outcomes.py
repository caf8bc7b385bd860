"""How a run becomes a result: fresh, from the cache, failed or cancelled."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Dict, List, Optional

from .errors import ClaudeForceError
from .pricing import cost_usd
from .records import AgentRequest, AgentResult, Reply
from .runs import CACHED, CANCELLED, DONE, FAILED, Run
from .version import __version__

if TYPE_CHECKING:
    from .cache import Entry


def fresh(request: AgentRequest, key: str, run: Run, reply: Reply) -> AgentResult:
    """The result of a call that was made just now."""
    provenance = {
        "provider": request.provider,
        "endpoint": request.endpoint,
        "sdk": reply.sdk,
        "package": __version__,
        "agent_sha256": request.definition_sha256,
        "model_requested": request.model,
        "sample": request.sample,
        "attempts": run.attempt,
        "created": time.time(),
        "content": list(reply.content),
    }
    return AgentResult(
        agent_name=request.agent_name,
        success=True,
        output=reply.text,
        metadata={**run.metadata, **provenance},
        usage=reply.usage,
        cost_usd=_cost(request, reply),
        model=reply.model,
        key=key,
        elapsed_s=run.elapsed_s,
        request_id=reply.request_id,
        stop_reason=reply.stop_reason,
        state=DONE,
    )


def _cost(request: AgentRequest, reply: Reply) -> Optional[float]:
    if request.provider == "offline":
        return 0.0
    return cost_usd(reply.model, reply.usage, options=request.options)


def recalled(request: AgentRequest, run: Run, entry: Entry) -> AgentResult:
    """The result of an earlier run of the same request, from its cache entry."""
    provenance = {
        "provider": request.provider,
        "endpoint": request.endpoint,
        "sdk": entry.sdk,
        "package": entry.package,
        "agent_sha256": request.definition_sha256,
        "model_requested": request.model,
        "sample": request.sample,
        "attempts": 0,
        "created": entry.created,
        "age_s": max(0.0, time.time() - entry.created),
        "content": list(entry.content),
        "entry_sha256": entry.body_sha256,
    }
    return AgentResult(
        agent_name=request.agent_name,
        success=True,
        output=entry.response,
        metadata={**run.metadata, **provenance},
        usage=entry.usage,
        cost_usd=entry.cost_usd,
        model=entry.resolved_model,
        cached=True,
        key=entry.key,
        elapsed_s=run.elapsed_s,
        request_id=entry.request_id,
        stop_reason=entry.stop_reason,
        state=CACHED,
    )


def failed(request: AgentRequest, key: str, run: Run, error: BaseException) -> AgentResult:
    """The result of a run that ended with *error*; text that had arrived is kept."""
    return _without_answer(request, key, run, error, FAILED, [describe(error)])


def cancelled(request: AgentRequest, key: str, run: Run, error: BaseException) -> AgentResult:
    """The result of a run that somebody stopped; text that had arrived is kept."""
    return _without_answer(request, key, run, error, CANCELLED, ["Cancelled before it was done."])


def _without_answer(
    request: AgentRequest,
    key: str,
    run: Run,
    error: BaseException,
    state: str,
    errors: List[str],
) -> AgentResult:
    metadata: Dict[str, Any] = {
        **run.metadata,
        "provider": request.provider,
        "attempts": run.attempt,
    }
    return AgentResult(
        agent_name=request.agent_name,
        success=False,
        output=run.text,
        metadata=metadata,
        errors=errors,
        model=request.model,
        key=key,
        elapsed_s=run.elapsed_s,
        request_id=getattr(error, "request_id", None),
        state=state,
        error=error,
    )


def unsendable(agent_name: str, error: Exception) -> AgentResult:
    """The result of a task that could not become a request, such as for an unknown agent."""
    return AgentResult(
        agent_name=agent_name,
        success=False,
        output="",
        errors=[describe(error)],
        state=FAILED,
        error=error,
    )


def describe(error: BaseException) -> str:
    """One line for *error*; foreign ones carry their type's name."""
    text = str(error)
    return text if isinstance(error, ClaudeForceError) else f"{type(error).__name__}: {text}"
