"""The signed file cache: the same request gives the same answer, and nobody else's.

Read in this order: :mod:`.keys` (what decides that two requests are the same), :mod:`.signing`,
:mod:`.keyring`, :mod:`.entry` (one answer), :mod:`.store` (the files), :mod:`.eviction`,
:mod:`.memory`, :mod:`.lock` and :mod:`.flight` (one call for many), :mod:`.signed_cache` and
:mod:`.response_cache`.
"""

from __future__ import annotations

from .audit import VerifyReport
from .entry import Entry, is_cacheable
from .explain import Explanation, request_diff
from .flight import Flight
from .keys import is_key, request_key
from .lookup import Lookup
from .notices import CacheWarning
from .response_cache import ResponseCache

__all__ = [
    "CacheWarning",
    "Entry",
    "Explanation",
    "Flight",
    "Lookup",
    "ResponseCache",
    "VerifyReport",
    "is_cacheable",
    "is_key",
    "request_diff",
    "request_key",
]
