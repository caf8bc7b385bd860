"""Figures of the signed cache, beside a naive floor and diskcache, from one run.

    python benchmarks/cache.py            # everything, about ten minutes
    python benchmarks/cache.py --quick    # small sizes, under a minute; for CI
    python benchmarks/cache.py --only hit,set

Only ratios count: every figure is measured beside what it is compared with, in the same process
and in random order, so that the load of the machine falls out. "floor" is the least that reading
a signed file can be: open, read, close, ``hmac.digest``, ``json.loads``. diskcache and
claude-force are optional; rows without them are left out and named.

Some bounds are out of reach on some machines, and the table says by what: where a naive read is
slower than diskcache's, no reader of files can beat diskcache; where a file system takes longer
to create a file than SQLite takes to append, no writer of files can.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import gc
import heapq
import hmac
import importlib.util
import json
import logging
import multiprocessing
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Dict, Iterable, List, Optional, Sequence

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from claude_force_nb.cache import ResponseCache, request_key
from claude_force_nb.cache.entry import encode_entry
from claude_force_nb.cache.eviction import FileInfo
from claude_force_nb.cache.keys import address_of
from claude_force_nb.cache.signing import file_size
from claude_force_nb.records import AgentRequest, AgentResult, Usage

try:
    import diskcache
except ImportError:
    diskcache = None

SECRET = "benchmark secret that signs nothing of value, 0123456789"
HUGE_MB = 1e6


@dataclass(frozen=True)
class Figure:
    """One line of the table: a ratio, and the bound it should keep."""

    what: str
    ratio: float
    bound: Optional[float] = None
    detail: str = ""
    at_least: bool = False

    @property
    def kept(self) -> bool:
        """Whether the bound is kept."""
        if self.bound is None:
            return True
        return self.ratio >= self.bound if self.at_least else self.ratio <= self.bound

    def __str__(self) -> str:
        if self.bound is None:
            return f"{self.what:<52} {self.ratio:9.4g}    (no bound)       {self.detail}"
        sign = ">=" if self.at_least else "<="
        verdict = "kept" if self.kept else "MISSED"
        bound = f"{sign} {self.bound:<8.4g} {verdict:<7}"
        return f"{self.what:<52} {self.ratio:9.4g} {bound} {self.detail}"


class Scale:
    """How much to do."""

    def __init__(self, quick: bool) -> None:
        self.many = 5_000 if quick else 100_000
        self.sample = 300 if quick else 1_000
        self.sets = 500 if quick else 3_000
        self.torture_reads = 2_000 if quick else 20_000
        self.trace = 6_000 if quick else 30_000


def make_cache(folder: str, **options: Any) -> ResponseCache:
    """A cache that leaves the user's own key ring alone."""
    options = {"max_size_mb": HUGE_MB, "cache_secret": SECRET, "ttl_hours": None, **options}
    options["roots"] = [folder]
    return ResponseCache(folder, **options)


def make_request(number: int, size: int) -> AgentRequest:
    """A request of which an eighth of the entry's *size* is prompt and as much system prompt."""
    text = f"task {number} ".ljust(size // 8, "p")
    return AgentRequest(
        "code-reviewer",
        "claude-opus-5-5",
        ({"role": "user", "content": text},),
        4096,
        system="s" * (size // 8),
    )


def make_result(number: int, size: int) -> AgentResult:
    """A result that makes the whole entry about *size* bytes."""
    text = f"answer {number} ".ljust(max(16, size - 800 - 2 * (size // 8)), "a")
    return AgentResult(
        "code-reviewer",
        True,
        text,
        {"provider": "anthropic", "sdk": "anthropic 2.12.0"},
        usage=Usage(812, 204),
        cost_usd=0.0042,
        model="claude-opus-5-5",
        stop_reason="end_turn",
        request_id="req_0123456789",
    )


def timed(
    calls: Dict[str, Callable[[int], Any]],
    numbers: Sequence[int],
    clock: Callable[[], int] = time.perf_counter_ns,
) -> Dict[str, List[float]]:
    """Microseconds of each call, made for each number.

    The calls go in turns within short blocks, each block in a new random order: alternating
    after every single call would mostly measure how each evicts the others from the CPU caches.
    """
    times: Dict[str, List[float]] = {name: [] for name in calls}
    numbers = list(numbers)
    gc.disable()
    try:
        for start in range(0, len(numbers), 25):
            for name in random.sample(list(calls), len(calls)):
                call, took = calls[name], times[name]
                for number in numbers[start : start + 25]:
                    before = clock()
                    call(number)
                    took.append((clock() - before) / 1000)
    finally:
        gc.enable()
    return times


def medians(calls: Dict[str, Callable[[int], Any]], numbers: Sequence[int]) -> Dict[str, float]:
    """Median microseconds of each call; see :func:`timed`."""
    return {name: statistics.median(took) for name, took in timed(calls, numbers).items()}


def hit_figures(scale: Scale, work: str) -> Iterable[Figure]:
    """Disk hits, misses and memory hits, small and large entries, small and large caches."""
    for entries in (1_000, scale.many):
        for size in (1024, 8192):
            folder = tempfile.mkdtemp(dir=work)
            yield from _hit_figures(entries, size, scale.sample, folder)
            shutil.rmtree(folder)


def _hit_figures(entries: int, size: int, sample: int, folder: str) -> Iterable[Figure]:
    cache = make_cache(f"{folder}/ours", max_memory_entries=0)
    warm = make_cache(f"{folder}/ours")
    keys = [request_key(make_request(number, size)) for number in range(entries)]
    for number in range(entries):
        cache.store(make_request(number, size), make_result(number, size))
    store, root = cache._disk.readable(), str(cache.directory)
    assert store is not None
    secret = b"k" * 32

    def floor(number: int) -> Any:
        key = keys[number]
        descriptor = os.open(f"{root}/{key[:2]}/{key}.json", os.O_RDONLY | os.O_CLOEXEC)
        raw = os.read(descriptor, 65536)
        os.close(descriptor)
        hmac.digest(secret, raw, "sha256")
        return json.loads(raw)

    def bare_miss(number: int) -> None:
        key = keys[number][::-1]
        try:
            os.open(f"{root}/{key[:2]}/{key}.json", os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return

    def memory_answer(number: int) -> Any:
        entry = warm.peek(keys[number]).entry
        assert entry is not None
        return entry.document

    numbers = random.sample(range(entries), min(entries, sample)) * 3
    for number in numbers:
        assert warm.peek(keys[number]).hit
    calls: Dict[str, Callable[[int], Any]] = {
        "floor": floor,
        "disk": lambda number: store.read(keys[number]),
        "whole lookup": lambda number: cache.peek(keys[number]),
        "memory tier": lambda number: warm._memory.get(keys[number]),
        "memory peek": lambda number: warm.peek(keys[number]),
        "memory peek, parsed": memory_answer,
        "nothing": lambda number: keys[number],
        "bare miss": bare_miss,
        "disk miss": lambda number: store.read(keys[number][::-1]),
        "peek miss": lambda number: cache.peek(keys[number][::-1]),
    }
    if diskcache is not None:
        peer = _filled_diskcache(f"{folder}/peer", cache, keys)
        calls["diskcache"] = lambda number: peer.get(keys[number])
        recent = _filled_diskcache(
            f"{folder}/recent", cache, keys[:1_000], eviction_policy="least-recently-used"
        )
        calls["diskcache LRU"] = lambda number: recent.get(keys[number % 1_000])
        calls["diskcache miss"] = lambda number: peer.get(keys[number][::-1])
    medians(calls, numbers[:200])
    took = medians(calls, numbers)
    yield from _judged_hits(f"{size // 1024} KB of {entries:,}", took)


def _filled_diskcache(folder: str, cache: ResponseCache, keys: List[str], **options: Any) -> Any:
    """The same parsed answers, unsigned, as a user of diskcache would keep them."""
    peer = diskcache.Cache(folder, size_limit=2**40, **options)
    with peer.transact():
        for key in keys:
            entry = cache.peek(key).entry
            assert entry is not None
            peer.set(key, {**entry.document, "request": entry.request})
    return peer


def _judged_hits(where: str, took: Dict[str, float]) -> Iterable[Figure]:
    def ratio(ours: str, theirs: str) -> float:
        return took[ours] / took[theirs]

    detail = ", ".join(f"{name} {value:.1f}" for name, value in took.items())
    yield Figure(f"disk hit / floor, {where}", ratio("disk", "floor"), 1.15, f"us: {detail}")
    yield Figure(f"whole lookup by key / floor, {where}", ratio("whole lookup", "floor"), 1.15)
    if "diskcache" in took:
        limit = f"limit: floor / diskcache is {ratio('floor', 'diskcache'):.2f} here"
        yield Figure(f"disk hit / diskcache, {where}", ratio("disk", "diskcache"), 0.9, limit)
        yield Figure(f"disk hit / diskcache as LRU, {where}", ratio("disk", "diskcache LRU"))
        limit = f"limit: bare open / diskcache is {ratio('bare miss', 'diskcache miss'):.2f} here"
        yield Figure(
            f"miss / diskcache, {where}", ratio("disk miss", "diskcache miss"), 0.55, limit
        )
        yield Figure(f"memory tier / diskcache, {where}", ratio("memory tier", "diskcache"), 1 / 15)
        limit = f"limit: timing nothing / diskcache is {ratio('nothing', 'diskcache'):.3f} here"
        yield Figure(
            f"memory peek / diskcache, {where}", ratio("memory peek", "diskcache"), 1 / 15, limit
        )
        yield Figure(
            f"memory peek, all parsed / diskcache, {where}",
            ratio("memory peek, parsed", "diskcache"),
        )


def set_figures(scale: Scale, work: str) -> Iterable[Figure]:
    """Storing under new keys: against the bare system calls, diskcache, and durably."""
    for where, parent in (("disk", work), ("tmpfs", memory_folder(work))):
        for size in (1024, 8192):
            folder = tempfile.mkdtemp(dir=parent)
            for figure in _set_figures(size, scale.sets, folder):
                yield dataclasses.replace(figure, what=f"{figure.what} on {where}")
            shutil.rmtree(folder)


def memory_folder(work: str) -> str:
    """A folder in memory, or *work* where there is none."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else work


def _set_figures(size: int, count: int, folder: str) -> Iterable[Figure]:
    cache = make_cache(f"{folder}/ours")
    durable = make_cache(f"{folder}/durable", durable=True)
    requests = [make_request(number, size) for number in range(count)]
    results = [make_result(number, size) for number in range(count)]
    addresses = [address_of(request) for request in requests]
    bodies = [
        encode_entry(*parts, created=1.79e9, expires=None)
        for parts in zip(requests, addresses, results)
    ]
    store = make_cache(f"{folder}/store")._disk.readable()
    assert store is not None

    def raw(number: int) -> None:
        # In the very folders that the store uses: where a file system puts a folder decides
        # what a new file in it costs.
        path = store.path(addresses[number].key)
        temporary = f"{path[:-5]}.temporary"
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        os.write(descriptor, bodies[number])
        os.close(descriptor)
        os.replace(temporary, f"{path[:-5]}.raw")

    def encode_and_sign(number: int) -> None:
        body = encode_entry(
            requests[number], addresses[number], results[number], created=1.79e9, expires=None
        )
        store.ring.seal(addresses[number].key, body)

    def encode_and_write(number: int) -> None:
        body = encode_entry(
            requests[number], addresses[number], results[number], created=1.79e9, expires=None
        )
        store.write(addresses[number].key, body)

    # A cache in use has files in most folders; the first one in each costs a file system extra.
    prefilled = [make_request(number, size) for number in range(count, count + 1_500)]
    for request in prefilled:
        address = address_of(request)
        addresses.append(address)
        bodies.append(encode_entry(request, address, results[0], created=1.79e9, expires=None))
        store.write(address.key, bodies[-1])
    for number, address in enumerate(addresses):
        store.lock_path(address.key)  # makes the folder
        if number >= count:
            raw(number)
            cache.store(prefilled[number - count], results[0])
    calls: Dict[str, Callable[[int], Any]] = {
        "raw": raw,
        "encode and sign": encode_and_sign,
        "set": encode_and_write,
        "whole store": lambda number: cache.store(requests[number], results[number]),
    }
    if diskcache is not None:
        peer = diskcache.Cache(f"{folder}/peer", size_limit=2**40)
        for number in range(count, count + 1_500):
            peer.set(addresses[number].key, json.loads(bodies[number]))
        documents = [json.loads(body) for body in bodies]
        calls["diskcache"] = lambda number: peer.set(addresses[number].key, documents[number])
    took = medians(calls, random.sample(range(count), count))
    took.update(
        medians(
            {"durable": lambda number: durable.store(requests[number], results[number])},
            range(min(count, 200)),
        )
    )
    detail = "us: " + ", ".join(f"{name} {value:.0f}" for name, value in took.items())
    where = f"{size // 1024} KB"
    least = 1 + took["encode and sign"] / took["raw"]
    limit = f"limit: raw and encode and sign / raw is {least:.2f} here"
    yield Figure(f"set / raw create+replace, {where}", took["set"] / took["raw"], 2.25, detail)
    yield Figure(f"whole store / raw, {where}", took["whole store"] / took["raw"], 2.25, limit)
    if diskcache is not None:
        limit = f"limit: raw / diskcache is {took['raw'] / took['diskcache']:.2f} here"
        yield Figure(f"set / diskcache, {where}", took["set"] / took["diskcache"], 1.05, limit)


OPEN_CODE = """
import os, sys, time
sys.path.insert(0, {root!r})
{prepare}
def used_kb():
    # Not ru_maxrss: a new process starts with the peak of the one that made it.
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1024
before_kb, before_s = used_kb(), time.process_time()
{work}
print(time.process_time() - before_s, used_kb() - before_kb)
"""


def open_figures(scale: Scale, work: str) -> Iterable[Figure]:
    """From opening to the first hit, small and large cache, each in a new process."""
    took: Dict[int, float] = {}
    grown: Dict[int, float] = {}
    for entries in (1_000, scale.many):
        folder = tempfile.mkdtemp(dir=work)
        cache = make_cache(folder, max_memory_entries=0)
        for number in range(entries):
            cache.store(make_request(number, 1024), make_result(number, 1024))
        prepare = "from claude_force_nb.cache import ResponseCache; import claude_force_nb.cache"
        work_code = (
            f"cache = ResponseCache({folder!r}, cache_secret={SECRET!r}, ttl_hours=None)\n"
            f"assert cache.peek({request_key(make_request(7, 1024))!r}).hit"
        )
        runs = [_in_process(prepare, work_code) for _ in range(7)]
        took[entries] = statistics.median(run[0] for run in runs)
        grown[entries] = statistics.median(run[1] for run in runs)
        if entries == scale.many:
            yield from _claude_force_figure(entries, took[entries], work)
        shutil.rmtree(folder)
    detail = ", ".join(f"{n:,}: {took[n] * 1e3:.2f} ms CPU, {grown[n]:.0f} KB" for n in took)
    yield Figure(
        f"open to first hit, {scale.many:,} / 1,000", took[scale.many] / took[1_000], 2, detail
    )
    extra_mb = (grown[scale.many] - grown[1_000]) / 1024
    yield Figure("memory growth of that, MB", max(0.0, extra_mb), 0.1)


def _in_process(prepare: str, work: str, path: str = "") -> List[float]:
    root = path or str(Path(__file__).resolve().parent.parent)
    code = OPEN_CODE.format(root=root, prepare=prepare, work=work)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return [float(word) for word in done.stdout.split()]


def _claude_force_figure(entries: int, ours_s: float, work: str) -> Iterable[Figure]:
    """The loader of claude-force, this project's ancestor, on as many entries of its own."""
    folder = f"{work}/claude-force"
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "claude-force==1.3.2"]
    if subprocess.run([*command, "-d", folder], capture_output=True).returncode:
        print("claude-force 1.3.2 could not be downloaded: its row is left out")
        return
    wheel = next(str(path) for path in Path(folder).glob("*.whl"))
    prepare = "from pathlib import Path; from claude_force.response_cache import ResponseCache"
    opened = f"cache = ResponseCache(Path({work + '/cf-entries'!r}), max_size_mb=10**6)"
    one = "cache.set('a', f'task {n}' + 'p' * 256, 'm', 'x' * 512, 1, 1, 0.1)"
    fill = f"{opened}\nfor n in range({entries}): {one}"
    try:
        _in_process(prepare, fill, wheel)
        took_s, grown_kb = _in_process(prepare, opened, wheel)
    except subprocess.CalledProcessError as error:
        print("claude-force does not run here:", error.stderr.strip().splitlines()[-1])
        return
    detail = (
        f"claude-force: {took_s:.1f} s CPU, {grown_kb / 1024:.0f} MB; ours {ours_s * 1e3:.1f} ms"
    )
    yield Figure(f"open / claude-force 1.3.2, {entries:,}", ours_s / took_s, 0.05, detail)


def steady_figures(scale: Scale, work: str) -> Iterable[Figure]:
    """Writing into a full cache in memory: the mean, and the longest pause."""
    folder = tempfile.mkdtemp(dir=memory_folder(work))
    size = 1024
    cap = scale.many
    encoded = encode_entry(
        make_request(0, size),
        address_of(make_request(0, size)),
        make_result(0, size),
        created=1.79e9,
        expires=None,
    )
    entry_bytes = len(encoded)
    cache = make_cache(
        f"{folder}/ours", max_size_mb=cap * (entry_bytes + 110) / 2**20, max_memory_entries=0
    )
    # A quarter more than fits: steady is when every group of folders has dropped something.
    for number in range(-cap // 4, cap):
        cache.store(make_request(number, size), make_result(number, size))
    numbers = range(cap, cap + scale.sets * 2)
    requests = {number: make_request(number, size) for number in numbers}
    result = make_result(0, size)
    addresses = {number: address_of(requests[number]) for number in numbers}
    store = cache._disk.readable()
    assert store is not None

    def set_and_evict(number: int) -> None:
        body = encode_entry(
            requests[number], addresses[number], result, created=1.79e9, expires=None
        )
        store.write(addresses[number].key, body)
        cache._disk.wrote(addresses[number].key, file_size(body))

    calls: Dict[str, Callable[[int], Any]] = {
        "ours": set_and_evict,
        "raw": _raw_turnover(f"{folder}/raw", cap, numbers, b"x" * entry_bytes),
    }
    if diskcache is not None:
        calls["diskcache"] = _full_diskcache(f"{folder}/peer", cap, json.loads(encoded))
    # CPU time: in memory nobody waits for a disk, and wall time also counts other processes.
    took = timed(calls, numbers, time.thread_time_ns)
    means = {name: statistics.mean(times) for name, times in took.items()}
    detail = "us CPU: " + ", ".join(
        f"{name} {means[name]:.0f} (longest {max(times):.0f})" for name, times in took.items()
    )
    if diskcache is not None:
        limit = f"limit: raw / diskcache is {means['raw'] / means['diskcache']:.2f} here; {detail}"
        ratio = means["ours"] / means["diskcache"]
        yield Figure(f"steady set at {cap:,} / diskcache, mean", ratio, 0.6, limit)
    heap_pause = _heapq_pause(cache)
    yield Figure(
        f"longest pause at {cap:,} / heapq over all",
        max(took["ours"]) / heap_pause,
        1 / 20,
        f"us CPU: heapq over all {heap_pause:.0f}",
    )
    excess = cache.size(exact=True) / (cap * (entry_bytes + 110))
    yield Figure("size of the full cache / its bound", excess, 1.05)
    shutil.rmtree(folder)


def _raw_turnover(
    folder: str, cap: int, numbers: Sequence[int], data: bytes
) -> Callable[[int], None]:
    """The bare system calls of a full cache: create, replace, and remove another file."""
    names = {number: f"{folder}/{number % 256:02x}/{number:064x}" for number in range(cap)}
    names.update({number: f"{folder}/{number % 256:02x}/{number:064x}" for number in numbers})
    for shard in range(256):
        os.makedirs(f"{folder}/{shard:02x}")
    for number in range(cap):
        Path(names[number]).write_bytes(data)

    def turn(number: int) -> None:
        temporary = f"{names[number]}.t"
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        os.write(descriptor, data)
        os.close(descriptor)
        os.replace(temporary, names[number])
        os.unlink(names[number - cap])

    return turn


def _full_diskcache(folder: str, cap: int, document: Any) -> Callable[[int], Any]:
    """Setting in a full diskcache that drops what was stored longest ago, its own policy."""
    peer = diskcache.Cache(folder, size_limit=1, cull_limit=0)
    with peer.transact():
        for number in range(cap):
            peer.set(str(number), document)
    peer.reset("size_limit", peer.volume())
    peer.reset("cull_limit", 10)
    return lambda number: peer.set(f"new {number}", document)


def _heapq_pause(cache: ResponseCache) -> float:
    """Microseconds of CPU to find the oldest entries by looking at all, as without groups."""
    before = time.thread_time_ns()
    files = []
    for shard in os.scandir(cache.directory):
        if shard.is_dir():
            for item in os.scandir(shard.path):
                status = item.stat()
                files.append(FileInfo(status.st_mtime_ns, status.st_size, item.path))
    heapq.nsmallest(16, files)
    return (time.thread_time_ns() - before) / 1000


def trace_figures(scale: Scale, work: str) -> Iterable[Figure]:
    """Hit rates of the real cache, with its real files, against an exact LRU of the same size."""
    for name, trace in (("Zipf", zipf_trace(scale)), ("drifting notebooks", drifting_trace(scale))):
        for cap in (500, 2_000):
            folder = tempfile.mkdtemp(dir=memory_folder(work))
            rate = _our_hit_rate(trace, cap, folder)
            best = _lru_hit_rate(trace, cap)
            shutil.rmtree(folder)
            yield Figure(
                f"hit rate / true LRU, {name}, {cap:,} entries",
                rate / best,
                0.985,
                f"{rate:.4f} against {best:.4f}",
                at_least=True,
            )


def zipf_trace(scale: Scale) -> List[int]:
    """Requests whose popularity falls with their rank."""
    ranks = range(1, 20_001)
    return random.Random(1).choices(ranks, [1 / rank for rank in ranks], k=scale.trace)


def drifting_trace(scale: Scale) -> List[int]:
    """Notebooks that are run again and again while cells change and new notebooks begin."""
    chance = random.Random(2)
    notebooks = [[chance.getrandbits(48) for _ in range(30)] for _ in range(10)]
    trace: List[int] = []
    while len(trace) < scale.trace:
        if chance.random() < 0.02:
            notebooks[chance.randrange(10)] = [chance.getrandbits(48) for _ in range(30)]
        notebook = notebooks[min(int(chance.expovariate(0.4)), 9)]
        notebook[chance.randrange(30)] = chance.getrandbits(48)
        trace += notebook
    return trace


def _our_hit_rate(trace: List[int], cap: int, folder: str) -> float:
    """Every access leaves its time on the file; with real use in hours once an hour is enough."""
    result = make_result(0, 1024)
    sizes = (
        len(
            encode_entry(
                make_request(1, 1024),
                address_of(make_request(1, 1024)),
                result,
                created=1.79e9,
                expires=None,
            )
        )
        + 112
    )
    cache = make_cache(folder, max_memory_entries=0, max_size_mb=cap * sizes / 2**20)
    cache.touch_after_s = 0.0
    hits = 0
    for number in trace:
        request = AgentRequest(
            "a",
            "m",
            ({"role": "user", "content": f"{number:015d}".ljust(128)},),
            4096,
            system="s" * 128,
        )
        if cache.lookup(request).hit:
            hits += 1
        else:
            cache.store(request, result)
    return hits / len(trace)


def _lru_hit_rate(trace: List[int], cap: int) -> float:
    held: OrderedDict[int, None] = OrderedDict()
    hits = 0
    for number in trace:
        hits += number in held
        held[number] = None
        held.move_to_end(number)
        if len(held) > cap:
            held.popitem(last=False)
    return hits / len(trace)


def flight_figures(scale: Scale, work: str) -> Iterable[Figure]:
    """Eight processes that all want the same 20 answers at the same time."""
    folder = tempfile.mkdtemp(dir=work)
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_fly, args=(folder, seed)) for seed in range(8)]
    before = time.perf_counter()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    calls = len(list(Path(folder).glob("call-*")))
    failed = sum(worker.exitcode != 0 for worker in workers)
    yield Figure(
        "calls made for 8 processes x 20 keys",
        calls,
        20,
        f"{failed} processes failed, {time.perf_counter() - before:.1f} s",
    )


def _fly(folder: str, seed: int) -> None:
    asyncio.run(_fly_all(folder, seed))


async def _fly_all(folder: str, seed: int) -> None:
    cache = make_cache(folder)
    while time.time() % 3 > 0.05:  # noqa: ASYNC110 - start together
        await asyncio.sleep(0.01)
    order = random.Random(seed).sample(range(20), 20)
    await asyncio.gather(*(_call_once(cache, folder, number, seed) for number in order))


async def _call_once(cache: ResponseCache, folder: str, number: int, seed: int) -> None:
    request = make_request(number, 1024)
    while not cache.lookup(request).hit:
        async with cache.flight(request_key(request)) as flight:
            if flight.leader and not cache.lookup(request).hit:
                Path(f"{folder}/call-{number}-{seed}-{time.time_ns()}").touch()  # noqa: ASYNC240
                await asyncio.sleep(0.2)
                cache.store(request, make_result(number, 1024))


def torture_figures(scale: Scale, work: str) -> Iterable[Figure]:
    """Reading beside writers that are killed at random."""
    folder = tempfile.mkdtemp(dir=work)
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_write_for_ever, args=(folder, n)) for n in range(3)]
    for writer in writers:
        writer.start()
    cache = make_cache(folder, max_memory_entries=0)
    wrong = raised = hits = kills = 0
    chance = random.Random(3)
    for number in range(scale.torture_reads):
        if number % max(1, scale.torture_reads // 20) == 0:
            time.sleep(0.3)
            kills += 1
            victim = kills % 3
            os.kill(writers[victim].pid or 0, signal.SIGKILL)
            writers[victim].join()
            writers[victim] = context.Process(target=_write_for_ever, args=(folder, kills + 3))
            writers[victim].start()
        pick = chance.randrange(200)
        try:
            found = cache.lookup(make_request(pick, 1024))
        except Exception:
            raised += 1
            continue
        hits += found.hit
        wrong += found.entry is not None and not found.entry.response.startswith(f"answer {pick} ")
    for writer in writers:
        os.kill(writer.pid or 0, signal.SIGKILL)
        writer.join()
    stats = cache.get_stats()
    detail = f"{scale.torture_reads:,} reads, {hits:,} hits, {kills} kills, {stats['torn']} torn"
    yield Figure("torture: wrong answers", wrong, 0, detail)
    yield Figure("torture: exceptions in readers", raised, 0)
    yield Figure("torture: entries refused", stats["integrity_failures"], 0)


def _write_for_ever(folder: str, seed: int) -> None:
    cache = make_cache(folder, max_memory_entries=0)
    chance = random.Random(seed)
    while True:
        number = chance.randrange(200)
        size = chance.choice((1024, 8192, 60_000))
        cache.store(make_request(number, 1024), make_result(number, size))


def loop_figures(scale: Scale, work: str) -> Iterable[Figure]:
    """The longest that any step of a cached call keeps the event loop."""
    folder = tempfile.mkdtemp(dir=work)
    cache = make_cache(folder)
    for number in range(scale.many):
        cache.store(make_request(number, 1024), make_result(number, 1024))
    del cache
    gc.collect()
    gc.freeze()  # what this benchmark made itself is not the cache's to collect
    slowest = asyncio.run(_slowest_step(make_cache(folder), scale))
    gc.unfreeze()
    yield _collection_figure(folder)
    yield Figure(
        "longest step on the event loop, ms",
        slowest * 1e3,
        5,
        f"{scale.many:,} entries; CPU time of the loop's thread",
    )


def _collection_figure(folder: str) -> Figure:
    """What a full memory tier adds to a full garbage collection, which may fall on the loop.

    The longest step is measured without it: it depends on what else the process holds.
    """
    cache = make_cache(folder)
    before_ms = _collection_ms()
    for number in range(10_000):
        cache.store(make_request(number, 1024), make_result(number, 1024))
    after_ms = _collection_ms()
    detail = f"{len(cache._memory):,} entries: {after_ms:.1f} ms instead of {before_ms:.1f}"
    return Figure("garbage collection with full memory tier, ms", after_ms - before_ms, 5, detail)


def _collection_ms() -> float:
    gc.collect()
    took = []
    for _ in range(7):
        before = time.thread_time()
        gc.collect()
        took.append((time.thread_time() - before) * 1e3)
    return statistics.median(took)


async def _slowest_step(cache: ResponseCache, scale: Scale) -> float:
    """Drive each coroutine by hand's length: time between two suspensions, in thread CPU time.

    CPU time, as wall time on a shared machine also counts what other processes did.
    """
    loop = asyncio.get_running_loop()
    slowest = 0.0

    async def one(number: int) -> None:
        request = make_request(number, 1024)
        cache.memory_lookup(request)
        found = await loop.run_in_executor(None, cache.lookup, request)
        if not found.hit:
            async with cache.flight(request_key(request)):
                await loop.run_in_executor(None, cache.store, request, make_result(number, 1024))

    @asyncio.coroutines.types.coroutine  # type: ignore[attr-defined]
    def timed(coroutine: Any) -> Any:
        nonlocal slowest
        value = None
        while True:
            before = time.thread_time()
            try:
                step = coroutine.send(value)
            except StopIteration:
                return
            finally:
                slowest = max(slowest, time.thread_time() - before)
            value = yield step

    async def run(number: int) -> None:
        await timed(one(number).__await__())

    numbers = random.sample(range(scale.many + 200), 200) + list(
        range(scale.many, scale.many + 200)
    )
    for start in range(0, len(numbers), 20):
        await asyncio.gather(*(run(number) for number in numbers[start : start + 20]))
    return slowest


PARTS: Dict[str, Callable[[Scale, str], Iterable[Figure]]] = {
    "hit": hit_figures,
    "set": set_figures,
    "open": open_figures,
    "steady": steady_figures,
    "trace": trace_figures,
    "flight": flight_figures,
    "torture": torture_figures,
    "loop": loop_figures,
}


def plot(figures: List[Figure]) -> Optional[Path]:
    """Draw each ratio beside its bound, where matplotlib is installed."""
    if importlib.util.find_spec("matplotlib") is None:
        return None
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    shown = [figure for figure in figures if figure.bound]
    chart, axes = pyplot.subplots(figsize=(10, 0.32 * len(shown) + 1))
    shares = [figure.ratio / figure.bound for figure in shown]
    colours = ["tab:green" if figure.kept else "tab:red" for figure in shown]
    axes.barh([figure.what for figure in shown], shares, color=colours)
    axes.axvline(1, color="black", linewidth=1)
    axes.set_xlabel("measured / bound")
    axes.invert_yaxis()
    target = Path(__file__).parent / "results" / "cache.png"
    target.parent.mkdir(exist_ok=True)
    (target.parent / ".gitignore").write_text("*\n")
    chart.savefig(target, bbox_inches="tight", dpi=120)
    return target


def main(arguments: Optional[List[str]] = None) -> int:
    """Run the chosen parts; 0 if all bounds are kept."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="small sizes, for CI")
    parser.add_argument("--only", default=",".join(PARTS), help=f"some of {','.join(PARTS)}")
    options = parser.parse_args(arguments)
    logging.disable(logging.WARNING)
    if diskcache is None:
        print("diskcache is not installed: its rows are left out")
    work = tempfile.mkdtemp()
    figures: List[Figure] = []
    try:
        for name in options.only.split(","):
            for figure in PARTS[name](Scale(options.quick), work):
                figures.append(figure)
                print(figure, flush=True)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    saved = plot(figures)
    missed = [figure.what for figure in figures if not figure.kept]
    print(f"{len(figures)} figures, {len(missed)} missed" + (f"; plot in {saved}" if saved else ""))
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
