"""Bounds: the files keep to their size, memory to its entries and bytes."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import List

import pytest
from cache_builders import make_cache, make_request, make_result
from hypothesis import given
from hypothesis import strategies as st

from claude_force_nb.cache import request_key
from claude_force_nb.cache.eviction import FileInfo, surplus
from claude_force_nb.cache.memory import footprint_bytes

pytestmark = pytest.mark.essential
FILES = st.lists(st.builds(FileInfo, st.integers(0, 99), st.integers(1, 99), st.text(max_size=3)))


@given(FILES, st.integers(0, 2_000))
def test_surplus_goes_oldest_first(files: List[FileInfo], target_bytes: int) -> None:
    """What is dropped was used before all that stays."""
    dropped = list(surplus(files, target_bytes))

    assert dropped == sorted(files)[: len(dropped)]


@given(FILES, st.integers(0, 2_000))
def test_surplus_drops_no_more_than_needed(files: List[FileInfo], target_bytes: int) -> None:
    """What stays fits; with one file more it would not; and one file always stays."""
    dropped = list(surplus(files, target_bytes))
    left = sum(info.size_bytes for info in files) - sum(info.size_bytes for info in dropped)

    assert left <= target_bytes or len(files) - len(dropped) == 1
    assert not dropped or left + dropped[-1].size_bytes > target_bytes


@pytest.mark.parametrize("max_size_mb", [0.02, 0.1, 0.5])
def test_size_stays_within_bound(tmp_path: Path, max_size_mb: float) -> None:
    """However much is stored, the files take no more than allowed."""
    cache = make_cache(tmp_path, max_size_mb=max_size_mb)

    for number in range(1_000):
        cache.store(make_request(str(number)), make_result("x" * 1_000))

    assert 0.5 < cache.size(exact=True) / (max_size_mb * 2**20) <= 1


def test_new_process_bounds_a_full_cache(tmp_path: Path) -> None:
    """A kernel that knows nothing of what lies there brings it within the bound soon."""
    full = make_cache(tmp_path, max_size_mb=10)
    for number in range(300):
        full.store(make_request(str(number)), make_result("x" * 1_000))
    cache = make_cache(tmp_path, max_size_mb=0.1)

    for number in range(64):
        cache.store(make_request(f"new {number}"), make_result("x" * 1_000))

    assert cache.size(exact=True) <= 0.1 * 2**20


def test_used_entries_stay(tmp_path: Path) -> None:
    """What is looked up again and again outlives what is not."""
    cache = make_cache(tmp_path, max_size_mb=0.1)
    cache.touch_after_s = 0.0
    cache.store(make_request("precious"), make_result("x" * 1_000))

    for number in range(500):
        cache.store(make_request(str(number)), make_result("x" * 1_000))
        assert cache.lookup(make_request("precious")).hit
    assert cache.get_stats()["evictions"] > 400


def counted_listings(monkeypatch: pytest.MonkeyPatch) -> List[object]:
    """A list that grows with every folder that is listed."""
    listed: List[object] = []
    scandir = os.scandir

    def count(path: str) -> object:
        listed.append(path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", count)
    return listed


def test_one_look_serves_several_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full cache is listed far less often than it drops something."""
    cache = make_cache(tmp_path, max_size_mb=0.2)
    for number in range(300):
        cache.store(make_request(str(number)), make_result("x" * 1_000))
    listed, before = counted_listings(monkeypatch), cache.get_stats()["evictions"]
    listed.clear()

    for number in range(300, 1_300):
        cache.store(make_request(str(number)), make_result("x" * 1_000))

    dropped = cache.get_stats()["evictions"] - before
    assert dropped > 900
    assert len(listed) < 256 * dropped / 24  # a pass drops 12


def test_use_after_the_look_saves_an_entry(tmp_path: Path) -> None:
    """What is used between the look and the passes that it serves is not dropped."""
    cache = make_cache(tmp_path, max_size_mb=0.1)
    cache.touch_after_s = 0.0
    evictor, number = cache._disk._evictor, 0
    while evictor is None or not any(group.next_names for group in evictor._groups.values()):
        cache.store(make_request(str(number)), make_result("x" * 1_000))
        evictor, number = cache._disk._evictor, number + 1
    kept = {name for group in evictor._groups.values() for name in group.next_names}
    saved = [n for n in range(number) if f"{request_key(make_request(str(n)))}.json" in kept][:3]
    for used in saved:
        assert cache.lookup(make_request(str(used))).hit

    for other in range(number, number + 40):
        cache.store(make_request(str(other)), make_result("x" * 1_000))

    assert len(saved) == 3
    assert [cache.lookup(make_request(str(used))).hit for used in saved] == [True] * 3


def test_two_kernels_keep_to_the_size(tmp_path: Path) -> None:
    """Kernels that drop the same old entries notice it, and stay within the bound together."""
    kernels = [make_cache(tmp_path, max_size_mb=0.2) for _ in range(3)]

    for number in range(1_500):
        kernels[number % 3].store(make_request(str(number)), make_result("x" * 1_000))

    assert kernels[0].size(exact=True) <= 0.2 * 2**20 * 1.4


def test_large_answer_is_not_dropped_at_once(tmp_path: Path) -> None:
    """An answer larger than its share is kept: somebody has just paid for it."""
    cache = make_cache(tmp_path, max_size_mb=0.1)

    for number in range(20):
        request = make_request(str(number))
        cache.store(request, make_result("x" * 200_000))
        assert cache.lookup(request).hit


def test_use_is_noted_once_an_hour(tmp_path: Path) -> None:
    """A hit writes to the disk only when the last note is older than an hour."""
    cache = make_cache(tmp_path)
    request = make_request()
    cache.store(request, make_result())
    path = cache.entry_path(request_key(request))
    times = []

    for age_s in (1_000, 4_000):
        noted = path.stat().st_mtime - age_s
        os.utime(path, (noted, noted))
        cache.lookup(request)
        times.append(path.stat().st_mtime > noted + 1)

    assert times == [False, True]


def test_memory_keeps_to_its_entries(tmp_path: Path) -> None:
    """No more answers are held than allowed, and the last used are held."""
    cache = make_cache(tmp_path, max_memory_entries=10)
    for number in range(50):
        cache.store(make_request(str(number)), make_result())

    held = [number for number in range(50) if cache.memory_lookup(make_request(str(number)))]

    assert held == list(range(40, 50))


def test_memory_keeps_to_its_bytes(tmp_path: Path) -> None:
    """Large answers push others out before the number does."""
    cache = make_cache(tmp_path, max_memory_entries=1_000, max_memory_mb=1)

    for number in range(50):
        cache.store(make_request(str(number)), make_result("x" * 50_000))

    held = list(cache._memory._entries.values())
    assert 5 < len(held) < 12
    assert sum(map(footprint_bytes, held)) <= 2**20


def test_memory_lookup_touches_no_disk(tmp_path: Path) -> None:
    """A hit in memory needs no file, and a miss there is no answer."""
    cache = make_cache(tmp_path, max_memory_entries=10)
    cache.store(make_request(), make_result())
    os.rename(cache.directory, tmp_path / "away")

    found = cache.memory_lookup(make_request())

    assert found is not None
    assert (found.hit, cache.memory_lookup(make_request("other"))) == (True, None)


def test_memory_forgets_what_expired(tmp_path: Path) -> None:
    """An answer in memory is good for no longer than one on disk."""
    now = [1_790_000_000.0]
    cache = make_cache(tmp_path, max_memory_entries=10, ttl_hours=1, clock=lambda: now[0])
    cache.store(make_request(), make_result())
    now[0] += 3_600

    assert cache.memory_lookup(make_request()) is None
    assert cache.lookup(make_request()).status == "expired"


def test_hour_old_memory_goes_to_the_disk(tmp_path: Path) -> None:
    """Once an hour the loop hands a hit to a thread, which notes the use on the file."""
    now = [1_790_000_000.0]
    cache = make_cache(tmp_path, max_memory_entries=10, ttl_hours=None, clock=lambda: now[0])
    cache.store(make_request(), make_result())
    path = cache.entry_path(request_key(make_request()))
    os.utime(path, (1, 1))
    now[0] += 3_601

    assert cache.memory_lookup(make_request()) is None
    assert cache.lookup(make_request()).hit
    assert path.stat().st_mtime > 1
    assert cache.memory_lookup(make_request()) is not None


def test_opening_never_scans(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Opening and looking up list no directory, however much is in it."""
    cache = make_cache(tmp_path)
    for number in range(20):
        cache.store(make_request(str(number)), make_result())

    def refuse(*arguments: object) -> None:
        raise AssertionError(f"listed {arguments}")

    monkeypatch.setattr(os, "listdir", refuse)
    monkeypatch.setattr(os, "scandir", refuse)
    fresh = make_cache(tmp_path)

    assert fresh.lookup(make_request("7")).hit
    assert fresh.lookup(make_request("none")).status == "miss"


def test_estimate_is_close(tmp_path: Path) -> None:
    """The size of a large cache is estimated within reason, and exact when asked."""
    random.seed(1)
    cache = make_cache(tmp_path)
    for number in range(4_200):
        cache.store(make_request(str(number)), make_result())

    exact = cache.get_stats(exact=True)

    assert exact["entries"] == 4_200
    assert cache.size() == pytest.approx(exact["size_bytes"], rel=0.5)


def test_slow_clock_spares_the_new_entry(tmp_path: Path) -> None:
    """An entry just written stays, also when older ones carry the same time."""
    cache = make_cache(tmp_path, max_size_mb=0.1)
    older = [make_request(str(number)) for number in range(20)]
    for request in older:
        cache.store(request, make_result("x" * 3_000))
        os.utime(cache.entry_path(request_key(request)), (2e9, 2e9))  # as a clock ahead would

    for number in range(20, 60):
        request = make_request(str(number))
        cache.store(request, make_result("x" * 30_000))
        assert cache.entry_path(request_key(request)).exists()
