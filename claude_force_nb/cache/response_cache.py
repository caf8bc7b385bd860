"""The public cache: what users construct, and what the magics and the command line call."""

from __future__ import annotations

import math
import os
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence, Tuple, Type, Union

from ..errors import InputError
from ..records import AgentRequest, AgentResult, Usage
from .audit import Progress, VerifyReport, prune_store, stored_entries, verify_store
from .directory import resolved_directory
from .entry import Entry
from .eviction import measure
from .explain import Explanation, explain
from .keyring import FixedSecret, RingFile, default_ring_path, given_secret
from .keys import is_key
from .lookup import Lookup
from .memory import MemoryTier
from .notices import Notices
from .opening import Disk, RingSource
from .signed_cache import SignedCache
from .store import remove

_MB = 2**20
_HEX = frozenset("0123456789abcdef")


class ResponseCache(SignedCache):
    """Answers that come back the same: signed files, one for each request.

    Nothing is read or created before the first use, and opening never looks at the entries.
    Safe to use from several threads, after a fork, and from several kernels on one directory.

    Args:
        cache_dir: Where the cache lies; its files go into a folder ``nb-v1`` in it. It must
            resolve below the project, ``~/.claude``, the temporary directory or one of *roots*.
            By default the variable ``CLAUDE_FORCE_NB_CACHE_DIR``, else ``.claude/cache`` of a
            project with a ``claude.json``, else ``~/.claude/cache``.
        ttl_hours: How long an answer is good for; ``None`` for ever.
        max_size_mb: How much the files may take together, in MiB.
        enabled: When false, nothing is looked up or stored.
        cache_secret: Secret that signs, instead of the private key ring; also the variable
            ``CLAUDE_CACHE_SECRET``. Entries that another secret signed are not served.
        exclude_agents: Names of agents that are never cached.
        max_memory_entries: Most answers held in memory.
        max_memory_mb: Most memory they may take, in MiB.
        verify_integrity: Kept for existing code. Verifying costs 2 of about 14 microseconds of
            a hit, so there is no way to switch it off: ``False`` gives a warning.
        roots: Further folders the cache may lie in.
        keyring_path: The key ring's file, if not the user's own.
        durable: Wait until an answer would survive a power cut before going on.
        clock: Seconds since 1970.

    Raises:
        CacheDirectoryError: *cache_dir* resolves to a place outside the allowed folders.
        InputError: A number makes no sense.
    """

    def __init__(
        self,
        cache_dir: Union[str, Path, None] = None,
        ttl_hours: Optional[float] = 24,
        max_size_mb: float = 100,
        enabled: bool = True,
        cache_secret: Optional[str] = None,
        exclude_agents: Optional[List[str]] = None,
        max_memory_entries: int = 10_000,
        max_memory_mb: float = 64,
        verify_integrity: bool = True,
        *,
        roots: Sequence[Union[str, Path]] = (),
        keyring_path: Optional[Path] = None,
        durable: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        _check_number("ttl_hours", 0 if ttl_hours is None else ttl_hours)
        for name, value in (("max_size_mb", max_size_mb), ("max_memory_mb", max_memory_mb)):
            _check_number(name, value)
        _check_number("max_memory_entries", max_memory_entries)
        notices = Notices()
        if not verify_integrity:
            notices.once("verify", "verify_integrity=False has no effect: entries are verified.")
        disk = Disk(
            resolved_directory(cache_dir, roots, os.environ),
            _ring_source(cache_secret, keyring_path, notices),
            max_size_mb * _MB,
            notices,
        )
        super().__init__(
            disk,
            MemoryTier(max_memory_entries, max_memory_mb * _MB),
            ttl_s=None if ttl_hours is None else ttl_hours * 3600,
            enabled=enabled,
            exclude_agents=exclude_agents or (),
            durable=durable,
            notices=notices,
            clock=clock,
        )

    def get(
        self,
        agent_name: str,
        task: str,
        model: str,
        *,
        request: Optional[AgentRequest] = None,
    ) -> Optional[Dict[str, Any]]:
        """The stored answer of an agent to a task.

        Args:
            agent_name: The agent's name.
            task: The user's text.
            model: The model as requested.
            request: The whole request, which then decides alone.

        Returns:
            ``response``, ``input_tokens``, ``output_tokens``, ``estimated_cost``, ``cached``
            (always true) and ``cache_age_seconds``, or ``None`` if there is none to serve.
        """
        found = self.lookup(request or _simple_request(agent_name, task, model))
        return self._as_legacy(found) if found.hit else None

    def set(
        self,
        agent_name: str,
        task: str,
        model: str,
        response: str,
        input_tokens: int,
        output_tokens: int,
        estimated_cost: Optional[float],
        *,
        request: Optional[AgentRequest] = None,
    ) -> None:
        """Store an answer, to be found by :meth:`get` with the same arguments.

        Args:
            agent_name: The agent's name.
            task: The user's text.
            model: The model as requested.
            response: The answer's text.
            input_tokens: Tokens of the prompt.
            output_tokens: Tokens of the answer.
            estimated_cost: Dollars it cost; ``None`` if unknown.
            request: The whole request, which then decides alone under what it is found.
        """
        result = AgentResult(
            agent_name,
            success=True,
            output=response,
            usage=Usage(input_tokens, output_tokens),
            cost_usd=estimated_cost,
            model=model,
            stop_reason="end_turn",
        )
        self.store(request or _simple_request(agent_name, task, model), result)

    def delete(self, key: str) -> bool:
        """Remove the entry of *key*; whether there was one. Another secret's entry stays."""
        remembered = self._memory.drop(key)
        store = self._disk.readable() if is_key(key) else None
        return (store.delete(key) if store is not None else False) or remembered

    def clear(self, *, foreign: bool = False) -> int:
        """Remove all entries; how many files that were.

        Quarantined files and files that are not ours stay.

        Args:
            foreign: Also remove entries that another secret signed.
        """
        self._memory.clear()
        store = self._disk.readable()
        if store is None:
            return 0
        return sum(
            remove(path) for _, path in store.files() if foreign or not store.is_foreign(path)
        )

    def size(self, *, exact: bool = False) -> int:
        """Bytes of all entries; for a large cache an estimate from four of its folders.

        Args:
            exact: Look at every folder.
        """
        return self._measure(exact)[1]

    def get_stats(self, *, exact: bool = False) -> Dict[str, Any]:
        """What is in the cache, and what happened since this object was made.

        Args:
            exact: Count every entry; else a large cache is estimated.

        Returns:
            ``entries``, ``size_bytes``, ``hits``, ``misses``, ``expired``, ``foreign``,
            ``torn``, ``integrity_failures``, ``evictions``, ``memory_entries``,
            ``write_failures`` and ``saved_usd``.
        """
        entries, size_bytes = self._measure(exact)
        return {
            "enabled": self.enabled,
            "entries": entries,
            "size_bytes": size_bytes,
            "memory_entries": len(self._memory),
            **self._counters.as_dict(),
        }

    def verify_all(self, progress: Optional[Progress] = None) -> VerifyReport:
        """Read and verify every entry; reports, and changes nothing.

        Args:
            progress: Called with the number of files done and their total.
        """
        store = self._disk.readable()
        return verify_store(store, self.expired, progress) if store else VerifyReport()

    def entries(self) -> Iterator[Entry]:
        """Every entry on disk that verifies, in the order of keys; expired ones too."""
        store = self._disk.readable()
        return stored_entries(store) if store else iter(())

    def find(self, prefix: str) -> List[Entry]:
        """Entries whose key starts with *prefix*; two digits or more spare a full search."""
        store = self._disk.readable()
        if store is None or not prefix or not _HEX.issuperset(prefix):
            return []
        return list(stored_entries(store, prefix))

    def prune(self) -> int:
        """Delete expired entries, and old ones beyond the size; how many."""
        store = self._disk.readable()
        if store is None:
            return 0
        gone = prune_store(store, self.expired)
        for key in gone:
            self._memory.drop(key)
        trimmed = self._disk.trim()
        self._counters.evicted(trimmed)
        return len(gone) + trimmed

    def rotate(self) -> str:
        """Sign with a new key from now on; old entries stay valid and are re-signed when used.

        Returns:
            Id of the new key.

        Raises:
            CacheError: The secret was given by the user, or another process is rotating.
            OSError: The key ring cannot be written.
        """
        return self._disk.rotate()

    def explain(self, request: AgentRequest) -> Explanation:
        """Why *request* is not answered: the nearest stored request, and the difference.

        Raises:
            ValueError: The request has no canonical form, and so no key.
        """
        document = request.document()
        request.canonical()
        found = self._quiet_lookup(request)
        store = self._disk.readable()
        if store is None:
            return Explanation(found.key, found.status)
        return explain(found.key, found.status, document, store)

    def close(self) -> None:
        """Release memory; the cache opens again when it is used again."""
        self._memory.clear()
        self._disk.close()

    def __enter__(self) -> ResponseCache:
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        self.close()

    async def __aenter__(self) -> ResponseCache:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self.close()

    def _quiet_lookup(self, request: AgentRequest) -> Lookup:
        address = self._address(request)
        return self.peek(address.key) if address is not None else Lookup("disabled")

    def _measure(self, exact: bool) -> Tuple[int, int]:
        store = self._disk.readable()
        return measure(store, exact=exact) if store is not None else (0, 0)

    def _as_legacy(self, found: Lookup) -> Dict[str, Any]:
        entry = found.entry
        assert entry is not None
        return {
            "response": entry.response,
            "input_tokens": entry.usage.input_tokens,
            "output_tokens": entry.usage.output_tokens,
            "estimated_cost": entry.cost_usd,
            "cached": True,
            "cache_age_seconds": entry.age_s(self._clock()),
        }


def _simple_request(agent_name: str, task: str, model: str) -> AgentRequest:
    """The request that only these three describe; ``max_tokens`` 0 says that it is not known."""
    return AgentRequest(agent_name, model, ({"role": "user", "content": task},), max_tokens=0)


def _ring_source(
    cache_secret: Optional[str], keyring_path: Optional[Path], notices: Notices
) -> RingSource:
    secret = given_secret(cache_secret, os.environ, notices)
    if secret is not None:
        return FixedSecret(secret)
    return RingFile(Path(keyring_path) if keyring_path else default_ring_path())


def _check_number(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < math.inf:
        raise InputError(f"{name} must be a number of 0 or more, not {value!r}.")
