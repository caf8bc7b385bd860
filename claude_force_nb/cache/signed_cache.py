"""The cache proper: looking a request up, storing a result, flying single.

Memory first, then the signed files. Every trouble ends as a status or a warning, never as an
exception, apart from strict mode, which asks for one.
"""

from __future__ import annotations

import functools
import math
import os
import time
import weakref
from pathlib import Path
from typing import Callable, Iterable, Optional

from ..errors import CacheTampered, ClaudeForceError, InputError
from ..records import AgentRequest, AgentResult
from .entry import Entry, encode_entry, is_cacheable
from .flight import Flight, Flights
from .keys import Address, address_of, is_key
from .lookup import Counters, Lookup
from .memory import Held, MemoryTier
from .notices import Notices
from .opening import Disk
from .signing import file_size
from .store import EntryStore, Reading

TOUCH_AFTER_S = 3600.0
CLOCK_TOLERANCE_S = 86_400.0
_DISABLED = Lookup("disabled")


class SignedCache:
    """Answers by request, in memory and in signed files.

    Args:
        disk: The directory and its keys.
        memory: The tier in front.
        ttl_s: Seconds an answer is good for; ``None`` for ever. Not part of the key: a reader
            with a shorter one sees older entries as expired.
        enabled: When false, nothing is looked up or stored.
        exclude_agents: Names of agents that are never cached.
        durable: Wait until an answer would survive a power cut before going on.
        notices: Where warnings go.
        clock: Seconds since 1970.
    """

    def __init__(
        self,
        disk: Disk,
        memory: MemoryTier,
        *,
        ttl_s: Optional[float],
        enabled: bool = True,
        exclude_agents: Iterable[str] = (),
        durable: bool = False,
        notices: Optional[Notices] = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.enabled = enabled
        self.touch_after_s = TOUCH_AFTER_S
        self._disk = disk
        self._memory = memory
        self._ttl_s = ttl_s
        self._excluded = frozenset(exclude_agents)
        self._durable = durable
        self._notices = notices or Notices()
        self._clock = clock
        self._counters = Counters()
        self._flights = Flights(self._lock_path)
        _living.add(self)

    @property
    def directory(self) -> Path:
        """Where the files are."""
        return self._disk.root

    @property
    def usable(self) -> bool:
        """Whether the files can be read now; a warning says why if they cannot."""
        return self._disk.readable() is not None

    def entry_path(self, key: str) -> Path:
        """The file of *key*, whether or not it exists.

        Raises:
            InputError: *key* is not a key.
        """
        if not is_key(key):
            raise InputError(
                f"Not a cache key: {key!r}.", advice="A key has 64 digits of 0-9 and a-f."
            )
        return self.directory / key[:2] / f"{key}.json"

    def lookup(self, request: AgentRequest, *, strict: bool = False) -> Lookup:
        """Look up the answer to *request*; reads the disk, so not for the event loop.

        Args:
            request: What would be asked.
            strict: Raise when the entry was tampered with, instead of treating it as a miss.

        Raises:
            CacheTampered: In strict mode only.
        """
        address = self._address(request)
        if address is None:
            return _DISABLED
        found = self._find(address.key, address.canonical)
        self._counters.looked_up(found.status, found.entry)
        if strict and found.status == "tampered":
            raise CacheTampered(
                f"The cache entry {found.path} fails its signature ({found.reason}).",
                advice="It was moved to quarantine/. Run again to ask the model.",
            )
        return found

    def memory_lookup(self, request: AgentRequest) -> Optional[Lookup]:
        """The same from memory alone: fit for the event loop.

        Returns:
            A hit, or ``None`` when only :meth:`lookup` can tell (also once an hour for each
            entry, when its use is worth noting on the disk).
        """
        address = self._address(request)
        if address is None:
            return None
        now = self._clock()
        held = self._memory.get(address.key)
        if held is None or now >= held[3]:
            return None
        found = _served(address.key, held, address.canonical, now)
        if found is not None:
            self._counters.looked_up("hit", found.entry)
        return found

    def peek(self, key: str) -> Lookup:
        """What lies under *key*, without counting it as a lookup."""
        return self._find(key, None)

    def store(
        self, request: AgentRequest, result: AgentResult, *, keep_truncated: bool = False
    ) -> bool:
        """Keep *result* as the answer to *request*; writes to disk, so not for the event loop.

        Only whole answers are kept (:func:`~.entry.is_cacheable`). Never raises for what a disk
        does: then the answer is kept in memory.

        Returns:
            Whether it is kept, on disk or in memory.
        """
        address = self._address(request)
        if address is None or not is_cacheable(result, keep_truncated=keep_truncated):
            return False
        now = round(self._clock(), 3)
        expires = None if self._ttl_s is None else round(now + self._ttl_s, 3)
        try:
            body = encode_entry(request, address, result, created=now, expires=expires)
            path = self._write(address.key, body)
        except (ValueError, TypeError) as error:
            self._notices.once("unstorable", f"An answer cannot be cached: {error}.")
            return False
        good_until = math.inf if expires is None else expires
        fresh_until = now + self.touch_after_s
        self._memory.put(address.key, (body, result.output, path, fresh_until, good_until))
        return bool(path or self._memory.max_entries)

    def flight(self, key: str, request: Optional[AgentRequest] = None) -> Flight:
        """Make one call where several want the same answer.

        ``async with cache.flight(key) as flight`` lets one of all who want *key* in, on this
        machine and on others that share the directory, with ``flight.leader`` true: it looks
        up once more, calls and stores. The others come in when it is done, with ``leader``
        false: they look up, and if that is a miss, the call failed and they fly again.

        Args:
            key: The key of the request.
            request: The request itself; then the leader has looked up once more already, with
                ``flight.found`` as the outcome.
        """
        again = None if request is None else functools.partial(self._look_again, request)
        return Flight(self._flights, key, alone=not self.enabled or not is_key(key), again=again)

    def expired(self, entry: Entry) -> bool:
        """Whether *entry*'s time is over, by its own expiry or by this cache's."""
        return self._clock() >= entry.good_until(self._ttl_s)

    def _address(self, request: AgentRequest) -> Optional[Address]:
        if not self.enabled or request.agent_name in self._excluded:
            return None
        try:
            return address_of(request)
        except (ValueError, TypeError) as error:
            self._notices.once("no-key", f"A request cannot be cached: {error}.")
            return None

    def _look_again(self, request: AgentRequest) -> Lookup:
        """Look up after a miss that was counted; only a hit is news."""
        address = self._address(request)
        found = _DISABLED if address is None else self._find(address.key, address.canonical)
        if found.hit:
            self._counters.looked_up(found.status, found.entry)
        return found

    def _find(self, key: str, canonical: Optional[bytes]) -> Lookup:
        now = self._clock()
        held = self._memory.get(key)
        found = None if held is None else _served(key, held, canonical, now)
        if found is None:
            return self._find_on_disk(key, canonical, now)
        if held is not None and now >= held[3]:
            self._note_use(key, held, now)
        return found

    def _find_on_disk(self, key: str, canonical: Optional[bytes], now: float) -> Lookup:
        if not is_key(key):
            return Lookup("miss", reason="no key")
        store = self._disk.readable()
        if store is None:
            return Lookup("miss", None, key, "no disk")
        reading = store.read(key)
        if reading.entry is None:
            return self._missed(store, key, reading)
        return self._checked(store, reading, canonical, now)

    def _checked(
        self, store: EntryStore, reading: Reading, canonical: Optional[bytes], now: float
    ) -> Lookup:
        """Judge a genuine entry: is it about this very request, and still good?"""
        entry = reading.entry
        assert entry is not None
        key = entry.key
        if canonical is not None and not entry.answers(canonical):
            return Lookup("unreadable", None, key, "another_request", reading.path)
        good_until = entry.good_until(self._ttl_s)
        if now >= good_until:
            return Lookup("expired", entry, key, "", reading.path)
        if entry.created > now + CLOCK_TOLERANCE_S:
            self._notices.once("clock", "A cache entry comes from the future: check the clock.")
        self._note_hit(store, reading, entry, now, good_until)
        return Lookup("hit", entry, key, "", reading.path)

    def _note_hit(
        self, store: EntryStore, reading: Reading, entry: Entry, now: float, good_until: float
    ) -> None:
        used = reading.mtime
        # A write for every hit would double its cost; eviction needs no finer order than this.
        if now >= used + self.touch_after_s:
            store.touch(reading.path)
            used = now
        if reading.outdated:
            self._write(entry.key, entry.body)
        if self._memory.max_entries:
            fresh_until = used + self.touch_after_s
            held = (entry.body, entry.response, reading.path, fresh_until, good_until)
            self._memory.put(entry.key, held)

    def _missed(self, store: EntryStore, key: str, reading: Reading) -> Lookup:
        """Say what is wrong with a file that cannot be served, and put a bad one aside."""
        status, path = reading.status, reading.path
        if status == "tampered":
            moved = store.quarantine(path, reading.reason)
            where = "moved to quarantine/" if moved else "left where it is"
            self._notices.once(
                f"tampered:{path}",
                f"The cache entry {path} fails its check ({reading.reason}); it is not served, "
                f"and was {where}.",
            )
        elif status == "foreign":
            self._notices.once(
                f"foreign:{reading.signer}",
                f"Cache entries in {self.directory} are signed by key {reading.signer}, which is "
                "not in this key ring; they are left alone and not trusted.",
            )
        elif status == "unreadable":
            self._notices.once(
                f"unreadable:{reading.reason}", f"Cannot read {path}: {reading.reason}."
            )
        return Lookup(status, None, key, reading.reason, path)

    def _note_use(self, key: str, held: Held, now: float) -> None:
        body, text, path, _, good_until = held
        store = self._disk.readable() if path else None
        if store is not None:
            store.touch(path)
        self._memory.put(key, (body, text, path, now + self.touch_after_s, good_until))

    def _write(self, key: str, body: bytes) -> str:
        """Write an entry to disk; its file, or empty if that failed.

        Raises:
            ValueError: It is too large for the cache.
        """
        store = self._disk.writable()
        if store is None:
            return ""
        try:
            path = store.write(key, body, durable=self._durable)
        except (OSError, ClaudeForceError) as error:
            self._counters.write_failed()
            self._disk.failed(error)
            return ""
        self._counters.evicted(self._disk.wrote(key, file_size(body)))
        return path

    def _lock_path(self, key: str) -> Optional[str]:
        store = self._disk.writable()
        return store.lock_path(key) if store is not None else None

    def _after_fork(self) -> None:
        self._disk.after_fork()
        self._memory.after_fork()
        self._notices.after_fork()
        self._counters.after_fork()
        self._flights.after_fork()


def _served(key: str, held: Held, canonical: Optional[bytes], now: float) -> Optional[Lookup]:
    """The hit that *held* is, or ``None`` if it expired or answers another request."""
    body, text, path, _, good_until = held
    if now >= good_until:
        return None
    entry = Entry(key, body, text)
    if canonical is not None and not entry.answers(canonical):
        return None
    return Lookup("hit", entry, key, "memory", path)


_living: weakref.WeakSet[SignedCache] = weakref.WeakSet()


def _after_fork() -> None:
    for cache in list(_living):
        cache._after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
