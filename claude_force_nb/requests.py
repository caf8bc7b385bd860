"""From an agent and a task to a request; everything that can be wrong is found here."""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Optional, Tuple, Union

from .agents import AgentDefinition, valid_agent_name
from .errors import AgentNotFound, InputError, SecretInPrompt
from .models import resolve_model
from .prompt import RenderedPrompt
from .records import AgentRequest
from .redaction import looks_secret
from .settings import Settings

Task = Union[str, RenderedPrompt]

_CLIENT = "It belongs to the orchestrator: AsyncAgentOrchestrator({}=…)."
_NOT_FIELDS = {
    "api_key": "Give it to AsyncAgentOrchestrator(api_key=…), or set ANTHROPIC_API_KEY.",
    "auth_token": "Give a key to AsyncAgentOrchestrator(api_key=…).",
    "base_url": _CLIENT.format("base_url"),
    "provider": _CLIENT.format("provider"),
    "max_retries": _CLIENT.format("max_retries"),
    "timeout": "Write timeout_s=…, in seconds.",
    "messages": "The task is the message.",
    "stream": "Answers always stream.",
    "extra_body": "Give its fields as options of their own.",
    "extra_headers": "Headers cannot be changed for one call.",
    "extra_query": "The query cannot be changed for one call.",
}


def check_task(agent_name: Any, task: Any, max_chars: int) -> None:
    """Check what any agent could be asked, before its file is read.

    Raises:
        InputError: The name, or the task, is malformed, empty or too large.
    """
    if not isinstance(agent_name, str) or not valid_agent_name(agent_name):
        raise AgentNotFound(
            f"{agent_name!r} is not an agent name.",
            advice="Names have letters, digits, hyphens and underscores.",
        )
    if not isinstance(task, (str, RenderedPrompt)):
        raise InputError(f"A task is text, not {type(task).__name__}.")
    text = task if isinstance(task, str) else task.text
    if not text.strip() and (isinstance(task, str) or not task.has_blocks):
        raise InputError(f"The task for {agent_name} is empty.", advice="Write what to do.")
    if len(text) > max_chars:
        raise InputError(
            f"The task for {agent_name} has {len(text):,} characters, more than {max_chars:,}.",
            advice="Send less of it, for example with {{ name | head(20) }}.",
        )


def as_pair(pair: Any) -> Tuple[str, Task]:
    """An ``(agent_name, task)`` pair.

    Raises:
        InputError: It is something else.
    """
    if not isinstance(pair, (tuple, list)) or len(pair) != 2:
        raise InputError(f"Each task is a pair (agent, text), not {type(pair).__name__}.")
    return pair[0], pair[1]


def make_request(
    agent: AgentDefinition,
    task: Task,
    settings: Settings,
    *,
    model: Optional[str] = None,
    max_tokens: Optional[int] = None,
    system: Optional[str] = None,
    provider: str,
    endpoint: str = "",
    sample: int = 0,
    options: Mapping[str, Any],
) -> AgentRequest:
    """Combine an agent's defaults with what the caller wants.

    Args:
        agent: Who answers.
        task: What to do.
        settings: Defaults where neither agent nor caller decides.
        model: Model instead of the agent's.
        max_tokens: Longest answer instead of the agent's.
        system: System prompt instead of the agent's.
        provider: Name of the provider that will answer.
        endpoint: Its server.
        sample: Which independent draw this is.
        options: Further fields of the API call; ``None`` means not given.

    Raises:
        InputError: A number makes no sense, or something cannot be written as JSON.
    """
    if max_tokens is not None:
        _check_max_tokens(max_tokens)
    given = {name: value for name, value in options.items() if value is not None}
    _check_options(given)
    request = AgentRequest(
        agent_name=agent.name,
        model=resolve_model(model or agent.model or settings.model),
        messages=({"role": "user", "content": _content(task)},),
        max_tokens=max_tokens or agent.max_tokens or settings.max_tokens,
        system=agent.system if system is None else system,
        options={**agent.options, **given},
        provider=provider,
        endpoint=endpoint,
        definition_sha256=agent.sha256,
        sample=sample,
    )
    _check_canonical(request)
    return request


def prompt_metadata(task: Task) -> Dict[str, Any]:
    """What a run remembers of its prompt: the one-line manifest of inserted values."""
    line = task.manifest_line if isinstance(task, RenderedPrompt) else ""
    return {"manifest": line} if line else {}


def _content(task: Task) -> Union[str, List[Mapping[str, Any]]]:
    content = task if isinstance(task, str) else task.content
    return content if isinstance(content, str) else list(content)


def _check_max_tokens(max_tokens: Any) -> None:
    if isinstance(max_tokens, bool) or not isinstance(max_tokens, int) or max_tokens < 1:
        raise InputError(f"max_tokens must be a whole number above 0, not {max_tokens!r}.")


def _check_options(options: Mapping[str, Any]) -> None:
    """Refuse what is no field of a call, above all a key: it would be sent, and stored."""
    for name, value in options.items():
        if name in _NOT_FIELDS:
            raise InputError(f"{name} is not a field of a call.", advice=_NOT_FIELDS[name])
        kind = looks_secret(value) if isinstance(value, str) else None
        if kind:
            raise SecretInPrompt(
                f"The option {name} looks like a secret ({kind}); it was not sent.",
                advice="Keys belong into ANTHROPIC_API_KEY or %agents key.",
            )


def _check_canonical(request: AgentRequest) -> None:
    try:
        request.canonical()
    except ValueError as error:
        raise InputError(f"The request cannot be written as JSON: {error}.") from error
