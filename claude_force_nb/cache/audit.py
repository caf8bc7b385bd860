"""Looking at a whole cache: what is in it, what is bad, what has expired.

These read every entry. They report and never change anything, :func:`prune_store` apart.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Callable, Dict, Iterator, List, Optional, Tuple

from .entry import Entry
from .store import EntryStore, Reading, remove

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class VerifyReport:
    """What a look at every entry found: files by status.

    Attributes:
        ok: Entries that would be served.
        expired: Genuine entries whose time is over.
        tampered: Files that fail their signature, or are no plain files.
        foreign: Files that another secret signed.
        torn: Incomplete files, as a crash or a full disk leaves them.
        unreadable: Files that could not be opened, or that another version wrote.
    """

    ok: Tuple[str, ...] = ()
    expired: Tuple[str, ...] = ()
    tampered: Tuple[str, ...] = ()
    foreign: Tuple[str, ...] = ()
    torn: Tuple[str, ...] = ()
    unreadable: Tuple[str, ...] = ()

    @property
    def total(self) -> int:
        """How many files were looked at."""
        return sum(self.counts.values())

    @property
    def counts(self) -> Dict[str, int]:
        """How many files have each status."""
        return {name: len(getattr(self, name)) for name in self.__dataclass_fields__}

    @property
    def clean(self) -> bool:
        """Whether nothing is tampered with; foreign, torn and expired files are harmless."""
        return not self.tampered


@dataclass
class _Found:
    files: Dict[str, List[str]] = field(default_factory=dict)

    def add(self, status: str, path: str) -> None:
        self.files.setdefault(status, []).append(path)

    def report(self) -> VerifyReport:
        return VerifyReport(**{status: tuple(paths) for status, paths in self.files.items()})


def verify_store(
    store: EntryStore, expired: Callable[[Entry], bool], progress: Optional[Progress] = None
) -> VerifyReport:
    """Read and verify every entry.

    Args:
        store: The files.
        expired: Whether an entry's time is over.
        progress: Called with the number done and the total, about a hundred times.
    """
    files = list(store.files())
    step = max(1, len(files) // 100)
    found = _Found()
    for number, (key, path) in enumerate(files, 1):
        reading = store.read_file(key, path)
        if reading.status != "miss":  # it was deleted meanwhile
            found.add(_status(reading, expired), path)
        if progress is not None and (number % step == 0 or number == len(files)):
            progress(number, len(files))
    return found.report()


def _status(reading: Reading, expired: Callable[[Entry], bool]) -> str:
    if reading.entry is None:
        return reading.status
    if not reading.entry.consistent:
        return "unreadable"
    return "expired" if expired(reading.entry) else "ok"


def stored_entries(store: EntryStore, prefix: str = "") -> Iterator[Entry]:
    """Every entry that verifies, in the order of keys; expired ones too.

    Args:
        store: The files.
        prefix: How the keys must start.
    """
    for key, path in store.files(prefix):
        entry = store.read_file(key, path).entry
        if entry is not None:
            yield entry


def prune_store(store: EntryStore, expired: Callable[[Entry], bool]) -> List[str]:
    """Delete genuine entries whose time is over; their keys."""
    gone = []
    for key, path in store.files():
        entry = store.read_file(key, path).entry
        if entry is not None and expired(entry) and remove(path):
            gone.append(key)
    return gone
