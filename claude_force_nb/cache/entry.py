"""One stored answer: what is in it, how it is written, and what may be stored at all."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import itertools
import json
import math
import operator
from typing import Any, Dict, Mapping, Optional, Tuple

from ..canonical import canonical_json
from ..records import AgentRequest, AgentResult, Usage
from ..version import __version__
from .keys import Address, key_of

COMPLETE_STOP_REASONS = frozenset(("end_turn", "stop_sequence", "tool_use"))
TRUNCATED_STOP_REASONS = frozenset(("max_tokens", "model_context_window_exceeded"))
_REQUEST_LINE = b'\n"request": '
_RESPONSE_LINE = b',\n"response": '
_REQUIRED = ("created", "expires", "response", "content", "usage", "cost_usd", "agent", "sample")
_NUMBER_OR_NULL = (float, int, type(None))
_KINDS = frozenset(
    itertools.product(
        (float, int), _NUMBER_OR_NULL, (str,), (list,), (dict,), _NUMBER_OR_NULL, (dict,), (int,)
    )
)
_required = operator.itemgetter(*_REQUIRED)
_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",\n", ": ")).encode
_USAGE_FIELDS = tuple(field.name for field in dataclasses.fields(Usage))


class WrongSchema(ValueError):
    """A signed body is not an entry as this version writes them."""


class Entry:
    """A verified answer from the cache; a value, not to be changed.

    Everything but key and text is parsed when it is first asked for: most hits need no more, and
    many small objects in memory would make every full garbage collection slower.

    Args:
        key: SHA-256 of the request, the name of the file.
        body: The signed bytes, exactly as they lie in the file, of which the schema is known to
            be right.
        response: The answer's text.
        document: The body parsed without the request, if that was done already.

    Attributes:
        key: See above.
        body: See above.
        response: See above.
    """

    __slots__ = ("_document", "body", "key", "response")

    def __init__(
        self, key: str, body: bytes, response: str, document: Optional[Mapping[str, Any]] = None
    ) -> None:
        self.key = key
        self.body = body
        self.response = response
        self._document = document

    def __repr__(self) -> str:
        return f"Entry(key={self.key[:12]!r}, agent={self.agent.get('name')!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Entry) and self.body == other.body

    def __hash__(self) -> int:
        return hash(self.body)

    @property
    def document(self) -> Mapping[str, Any]:
        """The body parsed, without the request."""
        if self._document is None:
            self._document = _parse(self.body)
        return self._document

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
        return json.loads(self._canonical)  # type: ignore[no-any-return]

    @property
    def consistent(self) -> bool:
        """Whether the key really is the hash of the stored request."""
        return key_of(self._canonical) == self.key

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

    def good_until(self, ttl_s: Optional[float] = None) -> float:
        """When it expires: at the writer's time, or *ttl_s* after it was made if that is sooner."""
        document = self.document  # once: every hit comes here
        expires: Optional[float] = document["expires"]
        theirs = math.inf if expires is None else expires
        return theirs if ttl_s is None else min(theirs, document["created"] + ttl_s)

    def answers(self, canonical: bytes) -> bool:
        """Whether this is the answer to exactly the request with this *canonical* JSON."""
        start = self.body.find(_REQUEST_LINE) + len(_REQUEST_LINE)
        return self.body.startswith(canonical + b",\n", start)

    @property
    def _canonical(self) -> bytes:
        start, end = _request_span(self.body)
        return self.body[start + len(_REQUEST_LINE) : end - 1]


def _request_span(body: bytes) -> Tuple[int, int]:
    """Where the request's line starts (at the newline before it) and ends; -1 if nowhere.

    Canonical JSON has no line breaks, so the line ends where the request does.
    """
    start = body.find(_REQUEST_LINE)
    return start, body.find(b"\n", start + 1)


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
    request: AgentRequest,
    address: Address,
    result: AgentResult,
    *,
    created: float,
    expires: Optional[float],
) -> bytes:
    """The body of an entry: a JSON object with one key per line, so that ``diff`` is readable.

    Args:
        request: What was asked.
        address: Key and canonical JSON of *request*; the latter goes in byte for byte.
        result: The answer.
        created: Now, in seconds since 1970.
        expires: When it expires, in seconds since 1970; ``None`` for never.

    Raises:
        ValueError: Something has no faithful JSON form (NaN, a lone surrogate …).
    """
    content = list(result.metadata.get("content") or ())
    if content:
        canonical_json(content)  # refuses what JSON would silently change, such as number keys
    document = {
        "key": address.key,
        "created": created,
        "expires": expires,
        "response": result.output,
        "content": content,
        "resolved_model": result.model,
        "stop_reason": result.stop_reason,
        "usage": vars(result.usage),
        "cost_usd": result.cost_usd,
        "agent": {"name": request.agent_name, "sha256": request.definition_sha256},
        "provider": result.metadata.get("provider") or request.provider,
        "sdk": result.metadata.get("sdk") or "",
        "package": __version__,
        "sample": request.sample,
        "request_id": result.request_id,
    }
    _check_kinds(document)
    body = _encode(document).encode("utf-8")
    start = body.index(_RESPONSE_LINE)  # a key and two numbers before it: none can contain this
    return b"%b,%b%b%b" % (body[:start], _REQUEST_LINE, address.canonical, body[start:])


def _check_kinds(document: Mapping[str, Any]) -> None:
    if tuple(map(type, _required(document))) not in _KINDS:
        raise WrongSchema("a field is of the wrong type")


def _refuse_constant(name: str) -> Any:
    raise WrongSchema(f"{name} is not JSON")


_scan = json.JSONDecoder(parse_constant=_refuse_constant).scan_once  # type: ignore[attr-defined]


def _parse(body: bytes) -> Dict[str, Any]:
    """The JSON object *body* without the request's line.

    A hit compares the request's bytes instead, and a long prompt need not be parsed to show an
    answer.
    """
    start, end = _request_span(body)
    text = (body[:start] + body[end:]).decode("utf-8")
    document, stop = _scan(text, 0)
    if stop != len(text) or start < 0:
        raise WrongSchema("the body is not one JSON object with a request")
    return document  # type: ignore[no-any-return]


def decode_entry(key: str, body: bytes) -> Entry:
    """Parse and check a *body* whose signature has been verified.

    Raises:
        WrongSchema: It is not an entry for *key* as this version writes them.
    """
    try:
        document = _parse(body)
        if document["key"] != key:
            raise WrongSchema("the body is not the entry of this key")
        _check_kinds(document)
        return Entry(key, body, document["response"], document)
    except (ValueError, StopIteration, RecursionError, LookupError, TypeError) as error:
        raise WrongSchema("the body is not an entry") from error
