"""Cache keys: the SHA-256 of everything that can change an answer."""

from __future__ import annotations

import hashlib
import re
from typing import NamedTuple

from ..records import AgentRequest

_DOMAIN = b"cfnb/request/v1\0"
_matches_key = re.compile(r"[0-9a-f]{64}").fullmatch


class Address(NamedTuple):
    """Where a request's answer is found, and the proof that it is the same request.

    Attributes:
        key: 64 lower-case hexadecimal digits.
        canonical: The request's canonical JSON, from which the key was made.
    """

    key: str
    canonical: bytes


def address_of(request: AgentRequest) -> Address:
    """The address of *request*.

    Raises:
        ValueError: The request has no canonical form (NaN, a lone surrogate, too deep …).
    """
    canonical = request.canonical()
    return Address(key_of(canonical), canonical)


def key_of(canonical: bytes) -> str:
    """The key that belongs to the *canonical* JSON of a request."""
    return hashlib.sha256(_DOMAIN + canonical).hexdigest()


def request_key(request: AgentRequest) -> str:
    """SHA-256 of *request*'s canonical JSON as 64 hexadecimal digits.

    Raises:
        ValueError: The request has no canonical form.
    """
    return address_of(request).key


def is_key(text: object) -> bool:
    """Whether *text* is a key and so safe as a file name: exactly 64 ASCII digits of 0-9a-f."""
    return isinstance(text, str) and _matches_key(text) is not None
