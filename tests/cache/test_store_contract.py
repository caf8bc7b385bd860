"""What every kind of cache promises, whether it has files, memory, or both."""

from __future__ import annotations

from pathlib import Path
from typing import Callable, List

import pytest
from cache_builders import make_cache, make_request, make_result

from claude_force_nb.cache import ResponseCache, request_key

pytestmark = [
    pytest.mark.essential,
    pytest.mark.filterwarnings("ignore::claude_force_nb.cache.CacheWarning"),
]
REQUEST, OTHER = make_request("one"), make_request("other")


class AnswerStoreContract:
    """Subclasses give a fixture ``make`` that makes an empty cache with a clock."""

    @pytest.fixture
    def now(self) -> List[float]:
        """The time, to be moved by a test."""
        return [1_790_000_000.0]

    @pytest.fixture
    def cache(self, make: Callable[..., ResponseCache], now: List[float]) -> ResponseCache:
        """An empty cache with answers good for an hour."""
        return make(ttl_hours=1, clock=lambda: now[0])

    def test_empty_misses(self, cache: ResponseCache) -> None:
        """Nothing is found where nothing was stored."""
        assert (cache.lookup(REQUEST).status, cache.lookup(REQUEST).entry) == ("miss", None)

    def test_stored_is_found(self, cache: ResponseCache) -> None:
        """What was stored is found, by request and by key."""
        assert cache.store(REQUEST, make_result("answer"))

        found = [cache.lookup(REQUEST), cache.peek(request_key(REQUEST))]

        assert [result.entry and result.entry.response for result in found] == ["answer"] * 2

    def test_others_are_not_found(self, cache: ResponseCache) -> None:
        """An answer is to one request only."""
        cache.store(REQUEST, make_result())

        assert cache.lookup(OTHER).status == "miss"

    def test_last_one_wins(self, cache: ResponseCache) -> None:
        """Storing again replaces the answer."""
        for answer in ("first", "second"):
            cache.store(REQUEST, make_result(answer))

        entry = cache.lookup(REQUEST).entry
        assert entry is not None
        assert entry.response == "second"

    def test_deleted_is_gone(self, cache: ResponseCache) -> None:
        """Deleting removes one answer, once."""
        cache.store(REQUEST, make_result())
        cache.store(OTHER, make_result())
        key = request_key(REQUEST)

        assert (cache.delete(key), cache.delete(key)) == (True, False)
        assert (cache.lookup(REQUEST).hit, cache.lookup(OTHER).hit) == (False, True)

    def test_cleared_is_empty(self, cache: ResponseCache) -> None:
        """Clearing removes every answer."""
        cache.store(REQUEST, make_result())

        cache.clear()

        assert cache.lookup(REQUEST).status == "miss"

    def test_expired_is_not_served(self, cache: ResponseCache, now: List[float]) -> None:
        """An answer is good until its time, and not from then on."""
        cache.store(REQUEST, make_result())
        statuses = []
        for step_s in (3_599, 1):
            now[0] += step_s
            statuses.append(cache.lookup(REQUEST).hit)

        assert statuses == [True, False]

    def test_failures_are_not_stored(self, cache: ResponseCache) -> None:
        """A failed run leaves what was there."""
        cache.store(REQUEST, make_result("answer"))

        kept = cache.store(REQUEST, make_result("half", success=False))

        entry = cache.lookup(REQUEST).entry
        assert (kept, entry and entry.response) == (False, "answer")

    def test_age_is_counted(self, cache: ResponseCache, now: List[float]) -> None:
        """An entry knows how old it is."""
        cache.store(REQUEST, make_result())
        now[0] += 60

        entry = cache.lookup(REQUEST).entry
        assert entry is not None
        assert entry.age_s(now[0]) == pytest.approx(60)


class TestFilesOnly(AnswerStoreContract):
    """Every hit is read from disk."""

    @pytest.fixture
    def make(self, tmp_path: Path) -> Callable[..., ResponseCache]:
        """A cache that holds nothing in memory."""
        return lambda **options: make_cache(tmp_path, max_memory_entries=0, **options)


class TestMemoryOnly(AnswerStoreContract):
    """The directory cannot be used."""

    @pytest.fixture
    def make(self, tmp_path: Path) -> Callable[..., ResponseCache]:
        """A cache with a file where its directory should be."""
        (tmp_path / "nb-v1").write_text("in the way")
        return lambda **options: make_cache(tmp_path, max_memory_entries=10, **options)


class TestBothTiers(AnswerStoreContract):
    """Memory in front of files, as users have it."""

    @pytest.fixture
    def make(self, tmp_path: Path) -> Callable[..., ResponseCache]:
        """A cache as it is by default."""
        return lambda **options: make_cache(tmp_path, max_memory_entries=10_000, **options)


class TestDurableFiles(AnswerStoreContract):
    """Files that survive a power cut."""

    @pytest.fixture
    def make(self, tmp_path: Path) -> Callable[..., ResponseCache]:
        """A cache that waits for the disk."""
        return lambda **options: make_cache(tmp_path, durable=True, **options)
