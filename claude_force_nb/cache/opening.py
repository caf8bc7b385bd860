"""The disk under the cache: opened on first use, and left out while it fails.

Nothing that happens to a disk may cost an answer. A directory that cannot be used, a key ring
that cannot be trusted or a full disk leave the cache with its memory alone, after one warning;
it tries again a minute later, since disks are emptied and remounted.
"""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Callable, Optional, Protocol

from ..errors import ClaudeForceError
from .directory import prepare
from .eviction import Evictor
from .notices import Notices
from .signing import KeyRing
from .store import EntryStore

RETRY_AFTER_S = 60.0


class RingSource(Protocol):
    """Where the keys come from: a file, or the user."""

    def load(self) -> KeyRing:
        """The keys."""
        ...  # pragma: no cover

    def rotate(self) -> str:
        """Make a new key the one that signs; its id."""
        ...  # pragma: no cover

    def version(self) -> object:
        """Something that changes when the keys do."""
        ...  # pragma: no cover


class Disk:
    """One cache directory and its keys.

    Args:
        root: The resolved directory; it need not exist.
        source: Gives the keys.
        max_size_bytes: How much all entries together may take.
        notices: Where warnings go.
        monotonic: The clock that says when to try again.
    """

    def __init__(
        self,
        root: Path,
        source: RingSource,
        max_size_bytes: float,
        notices: Notices,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.root = root
        self.source = source
        self._max_size_bytes = max_size_bytes
        self._notices = notices
        self._monotonic = monotonic
        self._lock = threading.RLock()
        self._store: Optional[EntryStore] = None
        self._evictor: Optional[Evictor] = None
        self._ring_version: object = None
        self._closed_until = 0.0
        self._read_only_until = 0.0

    def readable(self) -> Optional[EntryStore]:
        """The files, or ``None`` while they cannot be used; opens them if need be."""
        if self._store is not None:
            return self._store
        with self._lock:
            if self._store is None and self._monotonic() >= self._closed_until:
                self._open()
            return self._store

    def writable(self) -> Optional[EntryStore]:
        """The files, or ``None`` while nothing can be written."""
        if self._read_only_until and self._monotonic() < self._read_only_until:
            return None
        return self.readable()

    def failed(self, error: Exception) -> None:
        """A write failed: leave the disk alone for a while, and say so once."""
        self._read_only_until = self._monotonic() + RETRY_AFTER_S
        self._warn(error)

    def wrote(self, key: str, size_bytes: int) -> int:
        """Note a write; how many old entries were dropped to make room."""
        return self._evictor.wrote(key, size_bytes) if self._evictor is not None else 0

    def trim(self) -> int:
        """Bring the cache within its size; how many entries were dropped."""
        return self._evictor.trim() if self.readable() and self._evictor is not None else 0

    def rotate(self) -> str:
        """Make a new key the one that signs; its id."""
        with self._lock:
            key_id = self.source.rotate()
            self._closed_until = 0.0
            if self._store is not None:
                self._store.ring = self._loaded_ring()
            return key_id

    def close(self) -> None:
        """Forget what was opened; the next use opens it again."""
        with self._lock:
            self._store, self._evictor = None, None
            self._closed_until = self._read_only_until = 0.0

    def after_fork(self) -> None:
        """Replace locks that another thread of the parent may have held."""
        self._lock = threading.RLock()
        if self._evictor is not None:
            self._evictor.after_fork()

    def _open(self) -> None:
        try:
            prepare(self.root)
            store = EntryStore(self.root, self._loaded_ring(), self._newer_ring)
        except (OSError, ClaudeForceError) as error:
            self._closed_until = self._monotonic() + RETRY_AFTER_S
            self._warn(error)
            return
        self._evictor = Evictor(store, self._max_size_bytes)
        self._store = store

    def _loaded_ring(self) -> KeyRing:
        self._ring_version = self.source.version()
        return self.source.load()

    def _newer_ring(self) -> Optional[KeyRing]:
        with self._lock:
            if self.source.version() == self._ring_version:
                return None
            try:
                return self._loaded_ring()
            except (OSError, ClaudeForceError):
                return None

    def _warn(self, error: Exception) -> None:
        why = f"{error.strerror or error}." if isinstance(error, OSError) else str(error)
        if "memory only" not in why:
            why += " Answers are kept in memory only."
        self._notices.once("disk", f"The cache cannot use {self.root}: {why}")
