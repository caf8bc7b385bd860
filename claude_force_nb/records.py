"""The values that travel between the layers: requests, replies, results.

All are frozen. A request knows everything that can change its answer and nothing else; that is
what makes its canonical JSON a sound cache key.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from dataclasses import dataclass, field
from typing import Any, Dict, List, Mapping, Optional, Tuple

from .canonical import canonical_json

OFFLINE_LABEL = "offline stand-in model"


@dataclass(frozen=True)
class Usage:
    """Tokens of one reply, as the API counts them.

    Attributes:
        input_tokens: Prompt tokens that were neither read from nor written to the prompt cache.
        output_tokens: Generated tokens.
        cache_write_5m_tokens: Prompt tokens written to the API's five-minute prompt cache.
        cache_write_1h_tokens: Prompt tokens written to the API's one-hour prompt cache.
        cache_read_tokens: Prompt tokens read from the API's prompt cache.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cache_write_5m_tokens: int = 0
    cache_write_1h_tokens: int = 0
    cache_read_tokens: int = 0

    @property
    def prompt_tokens(self) -> int:
        """All tokens of the prompt, however they were billed."""
        cached = self.cache_write_5m_tokens + self.cache_write_1h_tokens + self.cache_read_tokens
        return self.input_tokens + cached

    def __add__(self, other: Usage) -> Usage:
        pairs = zip(dataclasses.astuple(self), dataclasses.astuple(other))
        return Usage(*(mine + theirs for mine, theirs in pairs))


@dataclass(frozen=True)
class AgentRequest:
    """Everything that can change an answer.

    Attributes:
        agent_name: The agent's name.
        model: The model as requested.
        messages: The conversation as the Messages API takes it (``role``, ``content``).
        max_tokens: The most tokens the answer may have.
        system: The system prompt.
        options: Further fields of the API call exactly as they are sent (``temperature``,
            ``tools``, ``tool_choice``, ``thinking``, ``stop_sequences`` …).
        provider: Name of the provider that answers.
        endpoint: Base URL of the server without credentials; empty for the provider's default.
        definition_sha256: Digest of the file or cell that defines the agent.
        sample: Which independent draw of the same prompt this is, from 0.
    """

    agent_name: str
    model: str
    messages: Tuple[Mapping[str, Any], ...]
    max_tokens: int
    system: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    provider: str = "anthropic"
    endpoint: str = ""
    definition_sha256: str = ""
    sample: int = 0

    def document(self) -> Dict[str, Any]:
        """The request as JSON values; binary blocks are replaced by their SHA-256.

        What never changes the answer is left out: prompt-cache marks, which change the bill, and
        ``metadata.user_id``, which tells the API's abuse detection who asks.
        """
        fields = {name: getattr(self, name) for name in _REQUEST_FIELDS}
        fields["messages"] = [_without_payload(message) for message in self.messages]
        fields["options"] = _without_user(_without_payload(dict(self.options)))
        return fields

    def canonical(self) -> bytes:
        """Canonical JSON of :meth:`document`.

        Raises:
            ValueError: Something in the request has no canonical form, such as NaN.
        """
        return self._canonical

    @functools.cached_property
    def _canonical(self) -> bytes:
        return canonical_json(self.document())

    def without_payloads(self) -> AgentRequest:
        """The same request, with the same key, but small: fit for comparing, not for sending."""
        if all(isinstance(message.get("content"), str) for message in self.messages):
            return self
        fields = self.document()
        return AgentRequest(**{**fields, "messages": tuple(fields["messages"])})

    def __hash__(self) -> int:
        return hash(self.canonical())


_REQUEST_FIELDS = tuple(f.name for f in dataclasses.fields(AgentRequest))


def _without_payload(value: Any) -> Any:
    if isinstance(value, str):  # most values are; asking whether one is a Mapping is slow
        return value
    if isinstance(value, Mapping):
        if value.get("type") == "base64" and isinstance(value.get("data"), str):
            digest = hashlib.sha256(value["data"].encode("ascii")).hexdigest()
            return {**{k: v for k, v in value.items() if k != "data"}, "sha256": digest}
        return {k: _without_payload(v) for k, v in value.items() if k != "cache_control"}
    if isinstance(value, (list, tuple)):
        return [_without_payload(item) for item in value]
    return value


def _without_user(options: Dict[str, Any]) -> Dict[str, Any]:
    """The options without ``metadata.user_id``; without ``metadata`` if nothing else is in it."""
    metadata = options.get("metadata")
    if not isinstance(metadata, dict) or "user_id" not in metadata:
        return options
    rest = {name: value for name, value in metadata.items() if name != "user_id"}
    others = {name: value for name, value in options.items() if name != "metadata"}
    return {**others, "metadata": rest} if rest else others


@dataclass(frozen=True)
class Reply:
    """One whole answer of a provider.

    Attributes:
        text: The text blocks, joined.
        model: The model that really answered.
        stop_reason: Why it stopped (``end_turn``, ``max_tokens``, ``refusal`` …).
        usage: Tokens used.
        request_id: The server's id of the request, if it gave one.
        sdk: Name and version of what made the call, such as ``anthropic 2.12.0``.
        content: The content blocks as JSON values.
    """

    text: str
    model: str
    stop_reason: str
    usage: Usage
    request_id: Optional[str] = None
    sdk: str = ""
    content: Tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True)
class AgentResult:
    """The outcome of a run, success or not.

    Attributes:
        agent_name: The agent that ran.
        success: Whether there is an answer.
        output: The answer's text; what arrived before a failure, if anything did.
        metadata: Provenance as plain values: provider, SDK, attempts, prompt manifest and so on.
        errors: One line for each thing that went wrong, ``None`` if nothing did.
        usage: Tokens of the answer.
        cost_usd: Dollars spent on it when it was made; ``None`` if the model's price is unknown.
        model: The model that really answered.
        cached: Whether this came from the cache instead of a call.
        key: SHA-256 of the request's canonical JSON; empty if no request could be made.
        elapsed_s: Seconds this run took.
        request_id: The API's id of the request.
        stop_reason: Why the model stopped.
        state: ``done``, ``cached``, ``failed`` or ``cancelled``.
        error: The exception behind a failure.
    """

    agent_name: str
    success: bool
    output: str
    metadata: Dict[str, Any] = field(default_factory=dict)
    errors: Optional[List[str]] = None
    usage: Usage = Usage()
    cost_usd: Optional[float] = None
    model: str = ""
    cached: bool = False
    key: str = ""
    elapsed_s: float = 0.0
    request_id: Optional[str] = None
    stop_reason: Optional[str] = None
    state: str = "done"
    error: Optional[BaseException] = field(default=None, repr=False, compare=False)

    @property
    def offline(self) -> bool:
        """Whether the offline stand-in model answered."""
        return self.metadata.get("provider") == "offline"

    def to_dict(self) -> Dict[str, Any]:
        """All fields but ``error`` as plain JSON values."""
        document = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        del document["error"]
        document["usage"] = dataclasses.asdict(self.usage)
        return document

    def __str__(self) -> str:
        return self.output


class AgentResults(Tuple[AgentResult, ...]):
    """Results of several agents, in the order they were asked for.

    ``results[0]`` is the first one, ``results["code-reviewer"]`` the first of that agent.
    """

    def __getitem__(self, which: Any) -> Any:
        """One result by position or agent name, or a slice.

        Raises:
            KeyError: No result is of this agent.
        """
        if isinstance(which, str):
            for result in self:
                if result.agent_name == which:
                    return result
            raise KeyError(which)
        return super().__getitem__(which)

    @property
    def cost_usd(self) -> Optional[float]:
        """Dollars spent on all answers when they were made; ``None`` if one is unknown."""
        costs = [result.cost_usd for result in self if result.success]
        return None if None in costs else sum(cost for cost in costs if cost is not None)

    @property
    def usage(self) -> Usage:
        """Tokens of all results."""
        return sum((result.usage for result in self), Usage())
