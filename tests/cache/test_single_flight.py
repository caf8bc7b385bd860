"""Single flight: one call for all who want the same answer, and no way to wait for ever."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from typing import List, Type

import pytest
from cache_builders import make_cache, make_request, make_result, outputs, run_python

from claude_force_nb.cache import ResponseCache, request_key
from claude_force_nb.cache.lock import BUSY_STALE_S, STALE_S, FileLock, Sighting

pytestmark = pytest.mark.essential
REQUEST = make_request()
KEY = request_key(REQUEST)

FLYING = """
import asyncio, sys, time
from pathlib import Path
from cache_builders import make_cache, make_request, make_result
from claude_force_nb.cache import request_key

async def answer(cache, number):
    request = make_request(f"task {number}")
    while not cache.lookup(request).hit:
        async with cache.flight(request_key(request)) as flight:
            if flight.leader and not cache.lookup(request).hit:
                print("call", number, flush=True)
                await asyncio.sleep(0.1)
                cache.store(request, make_result())

async def main():
    cache = make_cache(Path(sys.argv[1]))
    await asyncio.gather(*(answer(cache, number) for number in range(int(sys.argv[2]))))

asyncio.run(main())
"""

HOLDING = """
import asyncio, sys
from pathlib import Path
from cache_builders import make_cache
async def main():
    async with make_cache(Path(sys.argv[1])).flight(sys.argv[2]):
        print("holding", flush=True)
        await asyncio.sleep(600)
asyncio.run(main())
"""


@pytest.fixture
def cache(tmp_path: Path) -> ResponseCache:
    """An empty cache."""
    return make_cache(tmp_path)


def lock_file(cache: ResponseCache) -> Path:
    """The lock file of KEY."""
    return cache.entry_path(KEY).parent / f".{KEY[2:18]}.lk"


async def test_twins_on_a_loop_have_one_leader(cache: ResponseCache) -> None:
    """Of five tasks with the same key one leads; the others come in after it."""
    order: List[str] = []

    async def fly() -> None:
        async with cache.flight(KEY) as flight:
            order.append("leader in" if flight.leader else "follower")
            if flight.leader:
                await asyncio.sleep(0)
                order.append("leader out")

    await asyncio.gather(*(fly() for _ in range(5)))

    assert order == ["leader in", "leader out"] + ["follower"] * 4


async def test_other_keys_fly_at_once(cache: ResponseCache) -> None:
    """Different keys do not wait for each other."""
    async with cache.flight(KEY) as one, cache.flight("a" * 64) as other:
        assert (one.leader, other.leader) == (True, True)


def test_twins_in_threads_have_one_leader(cache: ResponseCache) -> None:
    """Event loops in different threads of a process share a flight too."""
    leaders: List[bool] = []
    ready = threading.Barrier(3)

    async def fly() -> None:
        ready.wait()
        async with cache.flight(KEY) as flight:
            leaders.append(flight.leader)
            while flight.leader and len(cache._flights._waiters[KEY]) < 2:  # noqa: ASYNC110
                await asyncio.sleep(0.001)

    threads = [threading.Thread(target=asyncio.run, args=(fly(),)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=20)

    assert sorted(leaders) == [False, False, True]


async def test_nothing_is_left_behind(cache: ResponseCache) -> None:
    """After a flight there is no lock file, no task and no thread."""
    async with cache.flight(KEY):
        assert lock_file(cache).exists()

    threads = [thread for thread in threading.enumerate() if "cfnb" in thread.name]
    for thread in threads:
        thread.join(timeout=10)
    assert not lock_file(cache).exists()
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert not any(thread.is_alive() for thread in threads)


async def test_leader_looks_again(cache: ResponseCache) -> None:
    """Who leads has looked once more: an answer stored since the lookup is found."""
    cache.store(REQUEST, make_result("stored meanwhile"))

    async with cache.flight(KEY, REQUEST) as flight:
        assert flight.leader
        assert flight.found is not None
        assert flight.found.entry is not None
        assert flight.found.entry.response == "stored meanwhile"


async def test_look_again_counts_no_miss(cache: ResponseCache) -> None:
    """Looking once more is not another miss."""
    cache.lookup(REQUEST)

    async with cache.flight(KEY, REQUEST) as flight:
        assert flight.found is not None
        assert not flight.found.hit

    assert cache.get_stats()["misses"] == 1


async def test_finish_stores_before_others_come_in(cache: ResponseCache) -> None:
    """A twin that waited finds what the leader stored while finishing, and the lock is gone."""

    async def follow() -> bool:
        async with cache.flight(KEY) as flight:
            return not flight.leader and cache.lookup(REQUEST).hit

    async with cache.flight(KEY) as flight:
        follower = asyncio.ensure_future(follow())
        await asyncio.sleep(0)
        await flight.finish(lambda: cache.store(REQUEST, make_result()))
        assert not lock_file(cache).exists()

    assert await follower


async def test_finish_survives_cancelling(cache: ResponseCache) -> None:
    """An answer that is being stored is stored although its task is cancelled."""
    began, go_on = threading.Event(), threading.Event()

    def store_slowly() -> None:
        began.set()
        go_on.wait(10)
        cache.store(REQUEST, make_result())

    async def lead() -> None:
        async with cache.flight(KEY) as flight:
            await flight.finish(store_slowly)

    leader = asyncio.ensure_future(lead())
    await asyncio.get_running_loop().run_in_executor(None, began.wait, 10)
    leader.cancel()
    await asyncio.wait([leader])
    go_on.set()

    async with cache.flight(KEY):
        assert cache.lookup(REQUEST).hit
    assert leader.cancelled()


async def test_lonely_flight_finishes_too(cache: ResponseCache) -> None:
    """Work is also done where there is nobody to wait for."""
    done: List[bool] = []

    async with cache.flight("not a key") as flight:
        await flight.finish(lambda: done.append(True))

    assert done == [True]


async def test_heart_beats(cache: ResponseCache) -> None:
    """While a flight lasts its lock file's time changes."""
    async with cache.flight(KEY):
        os.utime(lock_file(cache), (1, 1))
        deadline = time.monotonic() + 10
        while lock_file(cache).stat().st_mtime == 1:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)


async def test_failing_leader_lets_the_next_try(cache: ResponseCache) -> None:
    """When the leader raises, who waited comes in and can lead another flight."""
    waiting = asyncio.Event()

    async def follow() -> bool:
        waiting.set()
        async with cache.flight(KEY) as flight:
            assert not flight.leader
        async with cache.flight(KEY) as flight:
            return flight.leader

    with pytest.raises(ZeroDivisionError):
        async with cache.flight(KEY):
            follower = asyncio.ensure_future(follow())
            await waiting.wait()
            await asyncio.sleep(0)
            raise ZeroDivisionError

    assert await follower


async def test_cancelled_leader_lands(cache: ResponseCache) -> None:
    """Cancelling the leader, even while it takes the lock, frees the key."""
    for _ in range(20):
        task = asyncio.ensure_future(cache.flight(KEY).__aenter__())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            await task.result().__aexit__(None, None, None)

    leads = []
    began = time.monotonic()
    for _ in range(3):  # the first may still see the last one land
        async with cache.flight(KEY) as flight:
            leads.append(flight.leader)
    assert leads[1:] == [True, True]
    assert time.monotonic() - began < STALE_S


async def test_cancelled_follower_is_forgotten(cache: ResponseCache) -> None:
    """A task that stops waiting leaves nothing in the leader's list."""
    async with cache.flight(KEY):
        follower = asyncio.ensure_future(cache.flight(KEY).__aenter__())
        await asyncio.sleep(0)
        follower.cancel()
        await asyncio.wait([follower])

        assert cache._flights._waiters[KEY] == []


def test_eight_processes_make_one_call_each_key(tmp_path: Path) -> None:
    """Eight kernels that want the same 20 answers make 20 calls."""
    printed = outputs([run_python(FLYING, tmp_path, 20) for _ in range(8)])

    assert sorted(int(line.split()[1]) for text in printed for line in text.splitlines()) == list(
        range(20)
    )


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
async def test_dead_leader_is_replaced(cache: ResponseCache, tmp_path: Path) -> None:
    """A kernel that was killed in flight holds the others up for some seconds at most."""
    holder = run_python(HOLDING, tmp_path, KEY)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "holding\n"
    os.kill(holder.pid, signal.SIGKILL)
    holder.communicate()
    began = time.monotonic()

    async with cache.flight(KEY) as flight:
        assert flight.leader
    assert time.monotonic() - began < 2 * STALE_S


async def test_living_leader_is_waited_for(cache: ResponseCache, tmp_path: Path) -> None:
    """While its heart beats a leader elsewhere is waited for; when it ends, we follow."""
    holder = run_python(HOLDING, tmp_path, KEY)
    assert holder.stdout is not None
    holder.stdout.readline()
    flight = asyncio.ensure_future(cache.flight(KEY).__aenter__())

    done, _ = await asyncio.wait([flight], timeout=STALE_S + 1)
    holder.terminate()
    holder.communicate()
    lock_file(cache).unlink()  # the process had no chance to do it

    assert (done, (await flight).leader) == (set(), False)


async def test_deadline_fails_open(cache: ResponseCache) -> None:
    """Who has waited long enough may call, although somebody holds the lock."""
    other = make_cache(cache.directory.parent)
    async with cache.flight(KEY):
        other._flights.deadline_s = 0.2
        async with other.flight(KEY) as flight:
            assert flight.leader
        assert lock_file(cache).exists()


async def test_twin_deadline_fails_open(cache: ResponseCache) -> None:
    """The same within one process."""
    async with cache.flight(KEY):
        cache._flights.deadline_s = 0.05
        async with cache.flight(KEY) as flight:
            assert flight.leader


@pytest.mark.filterwarnings("ignore::claude_force_nb.cache.CacheWarning")
async def test_no_directory_fails_open(tmp_path: Path) -> None:
    """Without a usable directory twins of this process still share, and nobody waits."""
    (tmp_path / "nb-v1").write_text("in the way")

    async with make_cache(tmp_path).flight(KEY) as flight:
        assert flight.leader


@pytest.mark.parametrize("key", ["", "not a key"])
async def test_no_key_no_flight(cache: ResponseCache, key: str) -> None:
    """A request without a key flies alone."""
    async with cache.flight(key) as one, cache.flight(key) as other:
        assert (one.leader, other.leader) == (True, True)


async def test_disabled_cache_does_not_hold_up(tmp_path: Path) -> None:
    """Twins that cannot share an answer do not wait for each other."""
    cache = make_cache(tmp_path, enabled=False)

    async with cache.flight(KEY) as one, cache.flight(KEY) as other:
        assert (one.leader, other.leader) == (True, True)


def test_only_one_thief(tmp_path: Path) -> None:
    """Of several that find the same stale lock one gets it."""
    path = str(tmp_path / ".lk")
    FileLock(path).acquire()
    thieves = [FileLock(path) for _ in range(5)]
    seen = [thief.look() for thief in thieves]

    stolen = [thief.steal(sighting) for thief, sighting in zip(thieves, seen) if sighting]

    assert stolen == [True, False, False, False, False]


def test_sign_of_life_stops_a_thief(tmp_path: Path) -> None:
    """A lock whose heart beat after it was judged is not taken over."""
    holder, thief = FileLock(str(tmp_path / ".lk")), FileLock(str(tmp_path / ".lk"))
    holder.acquire()
    seen = thief.look()
    assert seen is not None

    os.utime(holder.path, (2_000_000_000, 2_000_000_000))

    assert not thief.steal(seen)
    assert os.path.exists(holder.path)


async def test_locks_are_links(cache: ResponseCache) -> None:
    """The locks of one cache are one file, and all its names go with the last flight."""
    async with cache.flight(KEY), cache.flight(KEY[:2] + "a" * 62):
        other = lock_file(cache).with_name(f".{'a' * 16}.lk")
        assert lock_file(cache).stat().st_ino == other.stat().st_ino

    for thread in [thread for thread in threading.enumerate() if "cfnb" in thread.name]:
        thread.join(timeout=10)
    assert list(lock_file(cache).parent.iterdir()) == []


async def test_idle_holder_makes_fresh_locks(cache: ResponseCache) -> None:
    """A lock taken long after the first one does not look stale from its beginning."""
    async with cache.flight("a" * 64):
        first = cache.directory / "aa" / f".{'a' * 16}.lk"
        os.utime(first, (1, 1))
        async with cache.flight(KEY):
            assert time.time() - lock_file(cache).stat().st_mtime < BUSY_STALE_S / 2


@pytest.mark.parametrize("error", [PermissionError, FileNotFoundError])
async def test_locks_work_without_links(
    cache: ResponseCache, monkeypatch: pytest.MonkeyPatch, error: Type[OSError]
) -> None:
    """Where a file system knows no links, or the file was swept away, a lock is its own file."""

    def refuse(*_: object) -> None:
        raise error

    monkeypatch.setattr(os, "link", refuse)
    other = make_cache(cache.directory.parent)
    async with cache.flight(KEY):
        assert lock_file(cache).exists()
        other._flights.deadline_s = 0.05
        async with other.flight(KEY):
            assert lock_file(cache).exists()

    assert not lock_file(cache).exists()


def test_robbed_holder_leaves_the_new_lock(tmp_path: Path) -> None:
    """A holder that was too slow does not remove its successor's lock."""
    path = str(tmp_path / ".lk")
    slow, thief = FileLock(path), FileLock(path)
    slow.acquire()
    seen = slow.look()
    assert seen is not None
    thief.steal(seen)

    slow.release()

    assert os.path.exists(path)


def dead_pid() -> int:
    """A number that no process has."""
    process = run_python("")
    process.communicate()
    return process.pid


@pytest.mark.parametrize(
    ("host", "pid", "limit_s"),
    [
        ("elsewhere", 1, STALE_S),
        (socket.gethostname(), os.getpid(), BUSY_STALE_S),
        (socket.gethostname(), "x", 1.5),
        (socket.gethostname(), -1, 1.5),
        (None, None, STALE_S),
    ],
)
def test_patience_depends_on_the_holder(host: object, pid: object, limit_s: float) -> None:
    """A busy kernel of this machine gets more time than a silent one elsewhere or a dead one."""
    assert Sighting((1, 1), {"host": host, "pid": pid}, 0.0).stale_after_s() == limit_s


def test_dead_process_gets_no_time() -> None:
    """A holder that is gone from this machine is replaced soon."""
    holder = {"host": socket.gethostname(), "pid": dead_pid()}

    assert Sighting((1, 1), holder, 0.0).stale_after_s() < STALE_S


@pytest.mark.parametrize("text", ["", "{", "[]", "[" * 4_000, "\0" * 99, "7"], ids=repr)
def test_damaged_lock_says_nothing(tmp_path: Path, text: str) -> None:
    """A lock file without sense is one whose holder is not known."""
    (tmp_path / ".lk").write_text(text)

    seen = FileLock(str(tmp_path / ".lk")).look()

    assert seen is not None
    assert (seen.holder, seen.stale_after_s()) == ({}, STALE_S)


async def test_damaged_lock_is_taken_over(cache: ResponseCache) -> None:
    """A lock file that says nothing sensible goes stale like any other."""
    cache.store(REQUEST, make_result())
    lock_file(cache).write_text("")
    began = time.monotonic()

    async with cache.flight(KEY) as flight:
        assert flight.leader
    assert time.monotonic() - began < 3 * STALE_S
