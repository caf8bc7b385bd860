"""What a lookup gives, and what a cache counts."""

from __future__ import annotations

import threading
from typing import Any, Dict, NamedTuple, Optional

from .entry import Entry

STATUSES = ("hit", "miss", "expired", "tampered", "foreign", "torn", "unreadable", "disabled")


class Lookup(NamedTuple):
    """The outcome of a lookup.

    Attributes:
        status: One of ``hit``, ``miss``, ``expired``, ``tampered``, ``foreign``, ``torn``,
            ``unreadable`` and ``disabled``. Everything but a hit means: ask the model.
        entry: The verified entry of a hit; of an expired one too, so that it can be explained.
        key: The request's key; empty if the request has none.
        reason: More about the status, a word or two.
        path: The file it is about, if there is one.
    """

    status: str
    entry: Optional[Entry] = None
    key: str = ""
    reason: str = ""
    path: str = ""

    @property
    def hit(self) -> bool:
        """Whether there is an answer to serve."""
        return self.status == "hit"


class Counters:
    """What happened since the cache was made; safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._saved_usd = 0.0
        self._by_status = dict.fromkeys(STATUSES, 0)
        self._evictions = 0
        self._write_failures = 0

    def looked_up(self, status: str, entry: Optional[Entry]) -> None:
        """A lookup had this outcome."""
        with self._lock:
            self._by_status[status] += 1
            if status == "hit" and entry is not None:
                self._saved_usd += entry.cost_usd or 0.0

    def evicted(self, count: int) -> None:
        """So many entries were dropped for their age or the cache's size."""
        with self._lock:
            self._evictions += count

    def write_failed(self) -> None:
        """An answer could not be written to disk."""
        with self._lock:
            self._write_failures += 1

    def after_fork(self) -> None:
        """Replace a lock that another thread of the parent may have held."""
        self._lock = threading.Lock()

    def as_dict(self) -> Dict[str, Any]:
        """All counts; ``misses`` counts every lookup that gave nothing to serve."""
        with self._lock:
            counts = dict(self._by_status)
            missed = sum(counts.values()) - counts["hit"] - counts["disabled"]
            return {
                "hits": counts["hit"],
                "misses": missed,
                "expired": counts["expired"],
                "foreign": counts["foreign"],
                "torn": counts["torn"],
                "integrity_failures": counts["tampered"],
                "evictions": self._evictions,
                "write_failures": self._write_failures,
                "saved_usd": self._saved_usd,
            }
