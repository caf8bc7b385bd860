"""The tier in front of the files: verified entries, bounded in number and bytes."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import NamedTuple, Optional

from .entry import Entry
from .lookup import Lookup

_PARSED_OVERHEAD_BYTES = 4096


class Remembered(NamedTuple):
    """An entry in memory.

    Attributes:
        entry: The verified entry.
        found: What a lookup of it gives.
        fresh_until: After this time (seconds since 1970) a use is worth noting on the file.
        good_until: From this time on it has expired.
    """

    entry: Entry
    found: Lookup
    fresh_until: float
    good_until: float


def footprint_bytes(entry: Entry) -> int:
    """About how much memory *entry* holds: its bytes, its strings again, and their containers."""
    return 2 * len(entry.body) + _PARSED_OVERHEAD_BYTES


class MemoryTier:
    """Least recently used entries go first; safe to use from several threads.

    Args:
        max_entries: Most entries held; 0 holds none.
        max_bytes: Most memory held, by :func:`footprint_bytes`.
    """

    def __init__(self, max_entries: int, max_bytes: float) -> None:
        self.max_entries = max_entries
        self.max_bytes = max_bytes
        self._entries: OrderedDict[str, Remembered] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: str) -> Optional[Remembered]:
        """The entry of *key*, which becomes the most recently used."""
        if key not in self._entries:
            return None
        with self._lock:
            found = self._entries.get(key)
            if found is not None:
                self._entries.move_to_end(key)
            return found

    def put(self, remembered: Remembered) -> None:
        """Hold an entry, dropping the least recently used beyond the bounds."""
        key = remembered.entry.key
        with self._lock:
            self._drop(key)
            self._entries[key] = remembered
            self._bytes += footprint_bytes(remembered.entry)
            while self._entries and self._over_bounds():
                self._drop(next(iter(self._entries)))

    def drop(self, key: str) -> bool:
        """Forget *key*; whether it was there."""
        with self._lock:
            return self._drop(key)

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._entries.clear()
            self._bytes = 0

    def after_fork(self) -> None:
        """Replace a lock that another thread of the parent may have held."""
        self._lock = threading.Lock()

    def _over_bounds(self) -> bool:
        return len(self._entries) > self.max_entries or self._bytes > self.max_bytes

    def _drop(self, key: str) -> bool:
        found = self._entries.pop(key, None)
        if found is not None:
            self._bytes -= footprint_bytes(found.entry)
        return found is not None
