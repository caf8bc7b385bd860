"""Several kernels on one directory, some of them killed at any moment."""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import List

import pytest
from cache_builders import make_cache, make_request, outputs, run_python

from claude_force_nb.cache.eviction import listing

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="POSIX signals")

WRITING = """
import random, sys
from pathlib import Path
from cache_builders import make_cache, make_request, make_result
cache = make_cache(Path(sys.argv[1]))
chance = random.Random(sys.argv[2])
print("writing", flush=True)
while True:
    number = chance.randrange(50)
    cache.store(make_request(str(number)), make_result(f"{number} " * chance.choice([9, 9_000])))
"""

KILLED_AT = """
import os, signal, sys
from pathlib import Path
from cache_builders import make_cache, make_request, make_result
cache = make_cache(Path(sys.argv[1]))
cache.store(make_request(), make_result("first"))

def kill(event, arguments):
    if event == sys.argv[2] and "nb-v1" in str(arguments):
        os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(kill)
cache.store(make_request(), make_result("second"))
print("survived")
"""

FORKING = """
import os, sys, threading
from pathlib import Path
from cache_builders import make_cache, make_request, make_result
cache = make_cache(Path(sys.argv[1]), max_memory_entries=100)
cache.store(make_request(), make_result("before"))
locks = [cache._memory._lock, cache._counters._lock, cache._notices._lock, cache._disk._lock,
         cache._flights._lock, cache._disk._evictor._lock]
for lock in locks:  # as another thread would hold them at the moment of the fork
    lock.acquire()
child = os.fork()
if child == 0:
    ok = cache.lookup(make_request()).hit
    ok = cache.store(make_request("new"), make_result("from the child")) and ok
    os._exit(0 if ok else 1)
for lock in locks:
    lock.release()
print(os.waitpid(child, 0)[1], cache.lookup(make_request("new")).hit)
"""


def test_readers_survive_killed_writers(tmp_path: Path) -> None:
    """Beside writers that die at any moment readers see no wrong answer and no exception."""
    writers = [run_python(WRITING, tmp_path, seed) for seed in range(3)]
    for writer in writers:
        assert writer.stdout is not None
        writer.stdout.readline()
    cache, chance = make_cache(tmp_path), random.Random(1)
    wrong: List[str] = []
    hits = 0
    deadline = time.monotonic() + 4

    while time.monotonic() < deadline:
        number = chance.randrange(50)
        found = cache.lookup(make_request(str(number)))
        hits += found.hit
        if found.entry is not None and set(found.entry.response.split()) != {str(number)}:
            wrong.append(found.key)
        if chance.random() < 0.001:
            victim = writers.pop()
            os.kill(victim.pid, signal.SIGKILL)
            victim.communicate()
            writers.insert(0, run_python(WRITING, tmp_path, chance.random()))
    for writer in writers:
        os.kill(writer.pid, signal.SIGKILL)
        writer.communicate()

    assert (wrong, cache.get_stats()["integrity_failures"]) == ([], 0)
    assert hits > 100


@pytest.mark.parametrize("step", ["open", "os.rename", "os.mkdir"])
def test_crash_between_steps_keeps_the_old_answer(tmp_path: Path, step: str) -> None:
    """A process that dies before any step of a write leaves the earlier answer in place."""
    process = run_python(KILLED_AT, tmp_path, step)
    process.communicate()
    died = process.returncode == -signal.SIGKILL

    entry = make_cache(tmp_path).lookup(make_request()).entry

    assert entry is not None
    assert entry.response == ("first" if died else "second")
    assert died or step == "os.mkdir"


def test_litter_of_the_killed_is_swept(tmp_path: Path) -> None:
    """An hour later what a killed writer left is removed by the eviction."""
    process = run_python(KILLED_AT, tmp_path, "os.rename")
    process.communicate()
    litter = list(tmp_path.glob("nb-v1/??/.t*"))
    for path in litter:
        os.utime(path, (time.time() - 4_000,) * 2)

    make_cache(tmp_path).prune()

    assert (len(litter), listing(map(str, tmp_path.glob("nb-v1/??")), 0).litter) == (1, [])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="POSIX")
@pytest.mark.skipif(sys.version_info >= (3, 14), reason="not tried")
def test_fork_with_held_locks(tmp_path: Path) -> None:
    """A child that was forked while threads held locks can read and write."""
    assert outputs([run_python(FORKING, tmp_path)]) == ["0 True"]
