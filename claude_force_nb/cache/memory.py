"""The tier in front of the files: verified entries, bounded in number and bytes."""

from __future__ import annotations

import sys
import threading
from collections import OrderedDict
from typing import Optional, Tuple

# Body, text, file, until when a use needs no note on the file, and when it expires (both in
# seconds since 1970). A plain tuple of plain values on purpose: the garbage collector stops
# looking at those, and 10,000 parsed entries would add 20 ms to each of its full runs, which
# may fall on the event loop.
Held = Tuple[bytes, str, str, float, float]

_OVERHEAD_BYTES = 1024


def footprint_bytes(held: Held) -> int:
    """About how much memory an entry takes: its bytes, its text again, and their containers."""
    return len(held[0]) + sys.getsizeof(held[1]) + _OVERHEAD_BYTES


class MemoryTier:
    """Least recently used entries go first; safe to use from several threads.

    Args:
        max_entries: Most entries held; 0 holds none.
        max_bytes: Most memory held, by :func:`footprint_bytes`.
    """

    def __init__(self, max_entries: int, max_bytes: float) -> None:
        self.max_entries = max_entries
        self.max_bytes = max_bytes
        self._entries: OrderedDict[str, Held] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: str) -> Optional[Held]:
        """The entry of *key*, which becomes the most recently used."""
        if key not in self._entries:
            return None
        try:
            # No lock: each of these is one step for other threads, and it would cost a third of
            # a hit.
            self._entries.move_to_end(key)
            return self._entries[key]
        except KeyError:  # dropped between the steps
            return None

    def put(self, key: str, held: Held) -> None:
        """Hold an entry, dropping the least recently used beyond the bounds."""
        if not self.max_entries:
            return
        with self._lock:
            self._drop(key)
            self._entries[key] = held
            self._bytes += footprint_bytes(held)
            while self._entries and self._over_bounds():
                _, oldest = self._entries.popitem(last=False)
                self._bytes -= footprint_bytes(oldest)

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
            self._bytes -= footprint_bytes(found)
        return found is not None
