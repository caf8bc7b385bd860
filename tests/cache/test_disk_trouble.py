"""A failing disk never costs an answer: one warning, then memory alone."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Iterator

import pytest
from cache_builders import make_cache, make_request, make_result, outputs, run_python

from claude_force_nb.cache import CacheWarning, ResponseCache, request_key

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX file systems")
REQUEST = make_request()
KEY = request_key(REQUEST)

AS_NOBODY = """
import os, sys, warnings
from pathlib import Path
from cache_builders import make_cache, make_request, make_result
if os.geteuid() == 0:
    os.setuid(65534)
warnings.simplefilter("always")
cache = make_cache(Path(sys.argv[1]), max_memory_entries=5, roots=[sys.argv[1]])
with warnings.catch_warnings(record=True) as caught:
    kept = [cache.store(make_request(str(n)), make_result("x" * 3000)) for n in range(3)]
    hits = [cache.lookup(make_request(str(n))).hit for n in range(3)]
print(all(kept), all(hits), len(caught))
"""


def mounted(folder: Path, options: str) -> bool:
    """Mount a small memory file system, where that is allowed."""
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk with room for a few files."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if not mounted(folder, "size=64k"):
        pytest.skip("mounting is not allowed")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def memory_cache(folder: Path) -> ResponseCache:
    """A cache that can fall back on memory."""
    return make_cache(folder, max_memory_entries=1_000)


def test_full_disk(full_disk: Path) -> None:
    """ENOSPC: every answer is kept and served, and the user is told once."""
    cache = memory_cache(full_disk)
    requests = [make_request(str(number)) for number in range(40)]

    with pytest.warns(CacheWarning, match="memory only") as caught:
        kept = [cache.store(request, make_result("x" * 3_000)) for request in requests]

    assert all(kept)
    assert all(cache.lookup(request).hit for request in requests)
    assert (len(caught), cache.get_stats()["write_failures"]) == (1, 1)


@pytest.mark.filterwarnings("ignore::claude_force_nb.cache.CacheWarning")
def test_full_disk_keeps_what_it_has(full_disk: Path) -> None:
    """A write that does not fit leaves the older entry as it was, and no litter."""
    cache = memory_cache(full_disk)
    cache.store(REQUEST, make_result("first"))

    cache.store(REQUEST, make_result("x" * 100_000))

    entry = memory_cache(full_disk).lookup(REQUEST).entry
    assert entry is not None
    assert (entry.response, list(full_disk.rglob(".t*"))) == ("first", [])


def test_file_size_limit(tmp_path: Path) -> None:
    """EFBIG: the same where files may only be small, without any mounting."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    cache = memory_cache(tmp_path)
    cache.store(make_request("first"), make_result())
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, limits[1]))
    try:
        with pytest.warns(CacheWarning, match="memory only"):
            kept = cache.store(REQUEST, make_result("x" * 10_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    assert (kept, cache.lookup(REQUEST).hit) == (True, True)


def test_read_only_disk(tmp_path: Path) -> None:
    """EROFS: what is stored is served; what is new stays in memory."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if not mounted(folder, "size=1m"):
        pytest.skip("mounting is not allowed")
    try:
        memory_cache(folder).store(REQUEST, make_result())
        subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
        cache = memory_cache(folder)
        with pytest.warns(CacheWarning, match="memory only") as caught:
            new = cache.store(make_request("new"), make_result())

        assert (cache.lookup(REQUEST).hit, new, len(caught)) == (True, True, 1)
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_permission_denied(tmp_path: Path) -> None:
    """EACCES: a directory that we may not write to costs a warning and nothing else."""
    if os.geteuid() != 0:
        pytest.skip("needs a user to change to")
    tmp_path.chmod(0o755)
    for parent in list(tmp_path.parents)[:2]:
        parent.chmod(0o755)

    assert outputs([run_python(AS_NOBODY, tmp_path)]) == ["True True 1"]


def test_vanished_directory(tmp_path: Path) -> None:
    """A directory that somebody removed is a miss, and is made again by the next answer."""
    cache = make_cache(tmp_path)
    cache.store(REQUEST, make_result())
    shutil.rmtree(cache.directory)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        status = cache.lookup(REQUEST).status
        cache.store(REQUEST, make_result())

    assert (status, cache.lookup(REQUEST).hit) == ("miss", True)
    assert (cache.directory / "CACHEDIR.TAG").exists()


def test_disk_is_tried_again(tmp_path: Path) -> None:
    """A minute after a failure the disk gets another chance."""
    now = [0.0]
    cache = make_cache(tmp_path)
    cache._disk._monotonic = lambda: now[0]
    with pytest.warns(CacheWarning):
        cache._disk.failed(OSError("disk full"))

    before = cache.store(REQUEST, make_result())
    now[0] += 61
    after = cache.store(REQUEST, make_result())

    assert (before, after) == (False, True)


def test_warnings_as_errors_do_not_raise(tmp_path: Path) -> None:
    """A user who turns warnings into errors still gets the answer."""
    (tmp_path / "nb-v1").write_text("in the way")
    cache = memory_cache(tmp_path)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert cache.store(REQUEST, make_result())


@pytest.mark.filterwarnings("ignore::claude_force_nb.cache.CacheWarning")
def test_unreadable_entry_is_a_miss(tmp_path: Path) -> None:
    """An error while reading is a miss with its name, not an exception."""
    cache = make_cache(tmp_path)
    cache.store(REQUEST, make_result())
    shard = cache.entry_path(KEY).parent
    shutil.rmtree(shard)
    shard.write_text("a file in the way")

    assert make_cache(tmp_path).lookup(REQUEST).status == "unreadable"
