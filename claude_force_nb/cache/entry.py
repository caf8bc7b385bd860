"""One stored answer: what is in it, how it is written, and what may be stored at all."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import json
from dataclasses import dataclass
from typing import Any, Dict, Mapping, Optional, Tuple

from ..canonical import canonical_json
from ..records import AgentResult, Usage
from ..version import __version__
from .keys import Address

COMPLETE_STOP_REASONS = frozenset(("end_turn", "stop_sequence", "tool_use"))
TRUNCATED_STOP_REASONS = frozenset(("max_tokens", "model_context_window_exceeded"))
_REQUEST_LINE = b'\n"request": '
_TYPES: Tuple[Tuple[str, Tuple[type, ...]], ...] = (
    ("created", (float, int)),
    ("expires", (float, int, type(None))),
    ("request", (dict,)),
    ("response", (str,)),
    ("content", (list,)),
    ("usage", (dict,)),
    ("cost_usd", (float, int, type(None))),
    ("agent", (dict,)),
    ("sample", (int,)),
)
_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode
_USAGE_FIELDS = tuple(field.name for field in dataclasses.fields(Usage))


class WrongSchema(ValueError):
    """A signed body is not an entry as this version writes them."""


@dataclass(frozen=True)
class Entry:
    """A verified answer from the cache.

    Attributes:
        body: The signed bytes, exactly as they lie in the file.
        document: The same, parsed; not to be changed (the other attributes read it).
    """

    body: bytes
    document: Mapping[str, Any] = dataclasses.field(repr=False, compare=False)

    def __repr__(self) -> str:
        return f"Entry(key={self.key[:12]!r}, agent={self.agent.get('name')!r})"

    @property
    def key(self) -> str:
        """SHA-256 of the request, the name of the file."""
        return str(self.document["key"])

    @property
    def created(self) -> float:
        """When the answer was stored, in seconds since 1970."""
        return float(self.document["created"])

    @property
    def expires(self) -> Optional[float]:
        """When the writer wanted it to expire, in seconds since 1970; ``None`` for never."""
        return self.document["expires"]  # type: ignore[no-any-return]

    @property
    def request(self) -> Dict[str, Any]:
        """The request that was answered, as a fresh JSON document."""
        return copy.deepcopy(self.document["request"])

    @property
    def response(self) -> str:
        """The answer's text."""
        return str(self.document["response"])

    @property
    def content(self) -> Tuple[Mapping[str, Any], ...]:
        """The answer's content blocks; empty if only the text was kept."""
        return tuple(copy.deepcopy(self.document["content"]))

    @property
    def resolved_model(self) -> str:
        """The model that really answered."""
        return str(self.document.get("resolved_model", ""))

    @property
    def stop_reason(self) -> str:
        """Why the model stopped."""
        return str(self.document.get("stop_reason", ""))

    @property
    def usage(self) -> Usage:
        """Tokens of the answer."""
        usage = self.document["usage"]
        return Usage(**{name: usage.get(name, 0) for name in _USAGE_FIELDS})

    @property
    def cost_usd(self) -> Optional[float]:
        """Dollars the answer cost when it was made; ``None`` if unknown."""
        return self.document["cost_usd"]  # type: ignore[no-any-return]

    @property
    def agent(self) -> Dict[str, Any]:
        """Name of the agent and SHA-256 of its definition (``name``, ``sha256``)."""
        return dict(self.document["agent"])

    @property
    def provider(self) -> str:
        """Name of the provider that answered, such as ``anthropic``."""
        return str(self.document.get("provider", ""))

    @property
    def offline(self) -> bool:
        """Whether the offline stand-in model answered."""
        return self.provider == "offline"

    @property
    def sdk(self) -> str:
        """Name and version of what made the call."""
        return str(self.document.get("sdk", ""))

    @property
    def package(self) -> str:
        """Version of this package that stored the answer."""
        return str(self.document.get("package", ""))

    @property
    def sample(self) -> int:
        """Which independent draw of the same prompt this is."""
        return int(self.document["sample"])

    @property
    def request_id(self) -> Optional[str]:
        """The API's id of the request that made the answer."""
        return self.document.get("request_id")

    @property
    def body_sha256(self) -> str:
        """Digest of the signed bytes; lock files pin it."""
        return hashlib.sha256(self.body).hexdigest()

    def age_s(self, now: float) -> float:
        """Seconds from storing to *now*; 0 when the clock went backwards since."""
        return max(0.0, now - self.created)

    def expired(self, now: float, ttl_s: Optional[float] = None) -> bool:
        """Whether the writer's expiry or the reader's own *ttl_s* has passed at *now*."""
        if self.expires is not None and now >= self.expires:
            return True
        return ttl_s is not None and now >= self.created + ttl_s

    def answers(self, canonical: bytes) -> bool:
        """Whether this is the answer to exactly the request with this *canonical* JSON."""
        start = self.body.find(_REQUEST_LINE) + len(_REQUEST_LINE)
        return self.body.startswith(canonical + b",\n", start)


def is_cacheable(result: AgentResult, *, keep_truncated: bool = False) -> bool:
    """Whether *result* is a whole answer, worth serving again.

    Failures, refusals, pauses and answers with an unknown stop reason never are.

    Args:
        result: The outcome of a run.
        keep_truncated: Accept answers that were cut by ``max_tokens`` or the context window.
    """
    if not result.success or not isinstance(result.output, str):
        return False
    if result.stop_reason in COMPLETE_STOP_REASONS:
        return True
    return keep_truncated and result.stop_reason in TRUNCATED_STOP_REASONS


def encode_entry(
    address: Address, result: AgentResult, *, created: float, expires: Optional[float]
) -> bytes:
    """The body of an entry: a JSON object with one key per line, so that ``diff`` is readable.

    Raises:
        ValueError: Something has no faithful JSON form (NaN, a lone surrogate …).
    """
    request = json.loads(address.canonical)
    fields = {
        "response": _encode(result.output),
        "content": canonical_json(result.metadata.get("content") or []).decode("utf-8"),
        "resolved_model": _encode(result.model),
        "stop_reason": _encode(result.stop_reason),
        "usage": _encode(dataclasses.asdict(result.usage)),
        "cost_usd": _encode(result.cost_usd),
        "agent": _encode(
            {"name": request["agent_name"], "sha256": request.get("definition_sha256", "")}
        ),
        "provider": _encode(result.metadata.get("provider") or request.get("provider", "")),
        "sdk": _encode(result.metadata.get("sdk") or ""),
        "package": _encode(__version__),
        "sample": _encode(request.get("sample", 0)),
        "request_id": _encode(result.request_id),
    }
    rest = "".join(f',\n"{name}": {text}' for name, text in fields.items())
    start = f'{{"key": "{address.key}",\n"created": {created!r},\n"expires": {_encode(expires)}'
    # The canonical request goes in byte for byte: `Entry.answers` compares these bytes.
    return start.encode("ascii") + b"," + _REQUEST_LINE + address.canonical + (rest + "}").encode()


def _refuse_constant(name: str) -> Any:
    raise WrongSchema(f"{name} is not JSON")


_parse = json.JSONDecoder(parse_constant=_refuse_constant).raw_decode


def decode_entry(key: str, body: bytes) -> Entry:
    """Parse a *body* whose signature has been verified.

    Raises:
        WrongSchema: It is not an entry for *key* as this version writes them.
    """
    try:
        text = body.decode("utf-8")
        document, end = _parse(text)
    except (ValueError, RecursionError) as error:
        raise WrongSchema("the body is not JSON") from error
    if end != len(text) or type(document) is not dict or document.get("key") != key:
        raise WrongSchema("the body is not the entry of this key")
    for name, types in _TYPES:
        if type(document.get(name, _encode)) not in types:
            raise WrongSchema(f"{name} is missing or of the wrong type")
    return Entry(body, document)
