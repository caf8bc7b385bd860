"""Keeping the cache within its size without an index.

Keys are hashes, so each folder is a fair sample of the whole: when one group of folders keeps to
its share by dropping what was used longest ago, the cache keeps to its size and behaves like one
big LRU. A look at the files concerns one group only, however many entries there are, and serves
for several passes: it also tells which files go next, and one that was used since is left out.
"""

from __future__ import annotations

import contextlib
import heapq
import math
import os
import random
import re
import threading
import time
from dataclasses import dataclass, field
from typing import Dict, Iterable, Iterator, List, NamedTuple, Tuple

from .store import ENTRY_NAME, EntryStore, remove

PASS_EVERY = 16  # writes; a look costs about as much as the writes it follows
MIN_GROUP_ENTRIES = 64  # with fewer, chance decides too much which entries are dropped
SHARDS = 256
LITTER_AGE_S = 3600.0
LITTER_NAME = re.compile(r"\.t\d+-\d+-\d+|\.[0-9a-f]{16}\.lk")
_FILL = 7 / 8  # what a pass leaves; more room makes passes rarer and the cache smaller
_TYPICAL_ENTRY_BYTES = 4096.0
_FULL_SCAN_ENTRIES = 16
_SAMPLED_SHARDS = 4


class FileInfo(NamedTuple):
    """An entry's file as eviction sees it; the tuple's order is the order of eviction."""

    mtime_ns: int
    size_bytes: int
    path: str


class Listing(NamedTuple):
    """What lies in one or more folders: entries, and litter that killed processes left."""

    files: List[FileInfo]
    litter: List[str]


def listing(shards: Iterable[str], litter_age_s: float = LITTER_AGE_S) -> Listing:
    """Look at the folders *shards*; other people's files are in neither list."""
    found = Listing([], [])
    before_ns = int((time.time() - litter_age_s) * 1e9)
    for shard in shards:
        with contextlib.suppress(OSError):
            if not os.path.islink(shard):
                with os.scandir(shard) as items:
                    _sort(items, shard[-2:], before_ns, found)
    return found


def _sort(items: Iterable[os.DirEntry[str]], start: str, before_ns: int, found: Listing) -> None:
    is_entry, is_litter = ENTRY_NAME.fullmatch, LITTER_NAME.fullmatch
    for item in items:
        name = item.name
        entry = is_entry(name) and name.startswith(start)
        if not entry and not is_litter(name):
            continue
        try:
            status = item.stat(follow_symlinks=False)
        except OSError:  # deleted meanwhile
            continue
        if entry:
            found.files.append(FileInfo(status.st_mtime_ns, status.st_size, item.path))
        elif status.st_mtime_ns < before_ns:
            found.litter.append(item.path)


def surplus(files: List[FileInfo], target_bytes: float, keep: str = "") -> Iterator[FileInfo]:
    """Which of *files* to drop, the longest unused first, until *target_bytes* remain.

    The most recently used one stays, however large it is, and so does the entry of the key *keep*:
    somebody has just paid for it, and clocks of file systems tick too slowly to tell which of two
    writes came last.
    """
    heap = [info for info in files if not (keep and _is_of(info.path, keep))]
    heapq.heapify(heap)
    total = sum(info.size_bytes for info in files)
    newest = 1 if len(heap) == len(files) else 0
    while total > target_bytes and len(heap) > newest:
        victim = heapq.heappop(heap)
        total -= victim.size_bytes
        yield victim


def _is_of(path: str, key: str) -> bool:
    return os.path.basename(path).startswith(key)


@dataclass
class _Group:
    """What this process knows of a group of folders.

    ``size_bytes`` is a lower bound: what the last pass left, and what was written here since.
    After ``look_after`` writes the group is looked at again, for other kernels write too.
    ``next_names`` are the files to drop next, the oldest last, all used at ``next_before_ns`` or
    earlier; they are kept for full groups only.
    """

    size_bytes: float = 0.0
    writes: int = 0
    look_after: float = math.inf
    next_names: List[str] = field(default_factory=list)
    next_before_ns: int = 0


def _plan(group: _Group, left: List[FileInfo]) -> None:
    """Note the older half of the files that are *left* as what goes next."""
    following = heapq.nsmallest(len(left) // 2, left)
    if following:
        group.next_before_ns = following[-1].mtime_ns
        group.next_names = [os.path.basename(info.path) for info in reversed(following)]


@dataclass
class Evictor:
    """Keeps one store within *max_size_bytes*.

    A group is looked at when it must be full, and, as long as it was never looked at, on every
    16th write anywhere. Several kernels that write at once each know of their own writes until
    they look again, and may exceed the size together by an eighth each.

    Args:
        store: The files.
        max_size_bytes: How much all entries together may take.
    """

    store: EntryStore
    max_size_bytes: float
    _groups: Dict[int, _Group] = field(default_factory=dict)
    _count: int = 1
    _writes: int = field(default_factory=lambda: random.randrange(PASS_EVERY))
    _mean_bytes: float = _TYPICAL_ENTRY_BYTES
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._count = self._wanted_groups()

    def wrote(self, key: str, size_bytes: int) -> int:
        """Note a write; drop old entries if it is time to.

        Returns:
            How many were dropped.
        """
        with self._lock:
            self._writes += 1
            index = int(key[:2], 16) % self._count
            group = self._groups.setdefault(index, _Group())
            group.size_bytes += size_bytes
            group.writes += 1
            due = self._due(group)
        return self._pass(index, group, key) if due else 0

    def trim(self) -> int:
        """Bring every group within its share; how many entries were dropped."""
        return sum(self._look(index) for index in range(self._count))

    def after_fork(self) -> None:
        """Replace a lock that another thread of the parent may have held."""
        self._lock = threading.Lock()

    @property
    def _budget_bytes(self) -> float:
        return self.max_size_bytes / self._count

    @property
    def _target_bytes(self) -> float:
        return self._budget_bytes * _FILL

    def _due(self, group: _Group) -> bool:
        if group.size_bytes > self._budget_bytes or group.writes >= group.look_after:
            return True
        return group.look_after == math.inf and self._writes % PASS_EVERY == 0

    def _pass(self, index: int, group: _Group, key: str) -> int:
        if group.size_bytes <= self._budget_bytes:
            return self._look(index, key)
        dropped = self._drop_next(group, key)
        if group.size_bytes <= self._target_bytes:
            return dropped
        return dropped + self._look(index, key)

    def _drop_next(self, group: _Group, keep: str) -> int:
        """Drop what the last look found to go next; how many.

        When a file is gone already another kernel is at work here: then what that look found is
        forgotten, and the caller looks again.
        """
        dropped, freed_bytes = 0, 0
        surplus_bytes = group.size_bytes - self._target_bytes
        while group.next_names and freed_bytes < surplus_bytes:
            name = group.next_names.pop()
            path = f"{self.store.root}/{name[:2]}/{name}"
            try:
                status = os.lstat(path)
            except OSError:
                group.next_names = []
                break
            if name.startswith(keep) or status.st_mtime_ns > group.next_before_ns:
                continue
            if remove(path):
                dropped += 1
                freed_bytes += status.st_size
        with self._lock:
            group.writes = 0
            group.size_bytes -= freed_bytes
        return dropped

    def _look(self, index: int, keep: str = "") -> int:
        shards = [f"{self.store.root}/{number:02x}" for number in range(index, SHARDS, self._count)]
        files, litter = listing(shards)
        for path in litter:
            remove(path)
        total_bytes = sum(info.size_bytes for info in files)
        full = total_bytes > self._budget_bytes
        victims = list(surplus(files, self._target_bytes, keep)) if full else []
        dropped = sum(remove(info.path) for info in victims)
        group = _Group(total_bytes - sum(info.size_bytes for info in victims))
        if full:
            gone = frozenset(victims)
            _plan(group, [info for info in files if info not in gone])
        self._learn(index, group, total_bytes, len(files))
        return dropped

    def _learn(self, index: int, group: _Group, seen_bytes: int, seen_entries: int) -> None:
        with self._lock:
            room = (self._budget_bytes - group.size_bytes) / self._mean_bytes
            # Twice the room: a group that fills up as expected is dropped from before that.
            group.look_after = max(PASS_EVERY, 2 * room)
            self._groups[index] = group
            if not seen_entries:
                return
            # A group is a fair sample; a few looks settle the mean.
            self._mean_bytes += (seen_bytes / seen_entries - self._mean_bytes) / 2
            wanted = self._wanted_groups()
            if not wanted <= self._count <= 2 * wanted:
                self._count, self._groups = wanted, {}

    def _wanted_groups(self) -> int:
        """The largest power of two up to 256 that leaves 64 entries to a group."""
        groups = self.max_size_bytes / (MIN_GROUP_ENTRIES * self._mean_bytes)
        return min(SHARDS, 1 << max(0, int(groups).bit_length() - 1))


def measure(store: EntryStore, *, exact: bool = False) -> Tuple[int, int]:
    """Number and bytes of all entries.

    Exact for a small cache. A large one is estimated from four folders, which hold a fair
    sample, unless *exact* asks to look at all of them.
    """
    shards = list(store.shards())
    random.shuffle(shards)
    entries, size_bytes = _count(shards[:_SAMPLED_SHARDS])
    rest = shards[_SAMPLED_SHARDS:]
    if not rest:
        return entries, size_bytes
    if exact or entries < _FULL_SCAN_ENTRIES * _SAMPLED_SHARDS:
        more, more_bytes = _count(rest)
        return entries + more, size_bytes + more_bytes
    scale = len(shards) / _SAMPLED_SHARDS
    return round(entries * scale), round(size_bytes * scale)


def _count(shards: List[str]) -> Tuple[int, int]:
    sizes = [info.size_bytes for info in listing(shards).files]
    return len(sizes), sum(sizes)
