"""Every attack on a stored entry: what a lookup says, and that nothing is lost, raised or hung."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Callable, Dict, List, Tuple

import pytest
from cache_builders import make_cache, make_request, make_result

from claude_force_nb.cache import CacheWarning, ResponseCache, request_key
from claude_force_nb.errors import CacheTampered

REQUEST, OTHER = make_request("the question"), make_request("another question")
KEY, OTHER_KEY = request_key(REQUEST), request_key(OTHER)
Attack = Callable[[Path, Path], None]

pytestmark = pytest.mark.filterwarnings("ignore::claude_force_nb.cache.CacheWarning")


@pytest.fixture
def cache(tmp_path: Path) -> ResponseCache:
    """A cache with the answers to two questions."""
    cache = make_cache(tmp_path)
    assert cache.store(REQUEST, make_result("the answer"))
    assert cache.store(OTHER, make_result("another answer"))
    return cache


def changed(old: bytes, new: bytes) -> Attack:
    """Replace bytes in the file."""

    def attack(path: Path, other: Path) -> None:
        raw = path.read_bytes()
        assert old in raw
        path.write_bytes(raw.replace(old, new, 1))

    return attack


def rewritten(change: Callable[[bytes], bytes]) -> Attack:
    """Put something computed from the old bytes into the file."""
    return lambda path, other: path.write_bytes(change(path.read_bytes())) and None


def replaced(make: Callable[[Path, Path], None]) -> Attack:
    """Put something else in the file's place."""

    def attack(path: Path, other: Path) -> None:
        path.unlink()
        make(path, other)

    return attack


def swap(path: Path, other: Path) -> None:
    """Exchange two valid files."""
    mine, theirs = path.read_bytes(), other.read_bytes()
    path.write_bytes(theirs)
    other.write_bytes(mine)


def sparse(path: Path, other: Path) -> None:
    """Make the file 40 GB long without using the disk."""
    os.truncate(path, 40 * 2**30)


def reserialised(raw: bytes) -> bytes:
    """The same JSON with other white space."""
    return json.dumps(json.loads(raw)).encode()


ATTACKS: Dict[str, Tuple[Attack, str]] = {
    "edited response": (changed(b"the answer", b"The answer"), "tampered"),
    "edited cost": (changed(b"0.0042", b"0.0001"), "tampered"),
    "edited request": (changed(b"the question", b"any question"), "tampered"),
    "edited model": (changed(b'"resolved_model": "c', b'"resolved_model": "d'), "tampered"),
    "later creation": (changed(b'"created": 1', b'"created": 2'), "tampered"),
    "no expiry": (rewritten(lambda raw: raw.replace(b'"expires": 1', b'"expires": 9')), "tampered"),
    "white space": (changed(b'": ', b'":  '), "tampered"),
    "serialised again": (rewritten(reserialised), "torn"),
    "appended": (rewritten(lambda raw: raw + b"}\n"), "tampered"),
    "appended line": (rewritten(lambda raw: raw + b"x"), "torn"),
    "duplicate key": (changed(b'"sample": 0', b'"sample": 0, "response": "x"'), "tampered"),
    "NaN": (changed(b'"cost_usd": 0.0042', b'"cost_usd": NaN'), "tampered"),
    "invalid UTF-8": (changed(b"the answer", b"the \xff\xfe"), "tampered"),
    "deep nesting": (changed(b'"content": []', b'"content": ' + b"[" * 99_999), "tampered"),
    "long integer": (changed(b'"sample": 0', b'"sample": ' + b"9" * 99_999), "tampered"),
    "version downgrade": (changed(b'{"v":1', b'{"v":0'), "tampered"),
    "other algorithm": (changed(b"hs256:", b"none0:"), "tampered"),
    "no MAC": (rewritten(lambda raw: raw[:29] + b"0" * 64 + raw[93:]), "tampered"),
    "upper-case MAC": (rewritten(lambda raw: raw[:29] + raw[29:93].upper() + raw[93:]), "tampered"),
    "unknown key id": (rewritten(lambda raw: raw[:20] + b"0123abcd" + raw[28:]), "foreign"),
    "swapped": (swap, "tampered"),
    "copied from another key": (
        replaced(lambda path, other: path.write_bytes(other.read_bytes()) and None),
        "tampered",
    ),
    "hard link to another entry": (replaced(lambda path, other: os.link(other, path)), "tampered"),
    "link to another entry": (replaced(lambda path, other: path.symlink_to(other)), "tampered"),
    "link out of the cache": (
        replaced(lambda path, other: path.symlink_to("/etc/passwd")),
        "tampered",
    ),
    "link to nowhere": (replaced(lambda path, other: path.symlink_to("nowhere")), "tampered"),
    "link to /dev/zero": (replaced(lambda path, other: path.symlink_to("/dev/zero")), "tampered"),
    "FIFO": (replaced(lambda path, other: os.mkfifo(path)), "tampered"),
    "directory": (replaced(lambda path, other: path.mkdir()), "tampered"),
    "sparse": (sparse, "tampered"),
    "not JSON": (rewritten(lambda raw: b"hello\n" * 99), "torn"),
    "a list": (rewritten(lambda raw: b"[" + b"1," * 99 + b"1]}\n"), "tampered"),
    "empty": (rewritten(lambda raw: b""), "torn"),
    "zeros": (rewritten(lambda raw: bytes(len(raw))), "torn"),
    "cut in the header": (rewritten(lambda raw: raw[:50]), "torn"),
    "cut in the body": (rewritten(lambda raw: raw[:-100]), "torn"),
    "cut before its last byte": (rewritten(lambda raw: raw[:-1]), "torn"),
    "half of it zeros": (rewritten(lambda raw: raw[:400] + bytes(len(raw) - 402) + b"}\n"), "torn"),
}


@pytest.mark.essential
@pytest.mark.skipif(sys.platform == "win32", reason="POSIX file types")
@pytest.mark.parametrize("name", ATTACKS)
def test_attack_is_never_served(cache: ResponseCache, name: str) -> None:
    """No attack raises, hangs, or gets an answer served; each gives its own status."""
    attack, status = ATTACKS[name]
    attack(cache.entry_path(KEY), cache.entry_path(OTHER_KEY))

    found = cache.lookup(REQUEST)

    assert (found.status, found.entry) == (status, None)


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX file types")
@pytest.mark.parametrize("name", ATTACKS)
def test_attack_deletes_nothing(cache: ResponseCache, name: str) -> None:
    """What was planted is still there afterwards: in its place, or in quarantine if tampered."""
    attack, status = ATTACKS[name]
    attack(cache.entry_path(KEY), cache.entry_path(OTHER_KEY))

    cache.lookup(REQUEST)

    moved = [path for path in (cache.directory / "quarantine").glob("*") if KEY in path.name]
    assert (len(moved), os.path.lexists(cache.entry_path(KEY))) == (
        (1, False) if status == "tampered" else (0, True)
    )


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX file types")
@pytest.mark.parametrize("name", [name for name, row in ATTACKS.items() if row[1] != "foreign"])
def test_answer_can_be_stored_again(cache: ResponseCache, name: str) -> None:
    """After any attack the next call's answer is stored and served."""
    ATTACKS[name][0](cache.entry_path(KEY), cache.entry_path(OTHER_KEY))
    cache.lookup(REQUEST)

    cache.store(REQUEST, make_result("asked again"))

    entry = cache.lookup(REQUEST).entry
    assert entry is not None
    assert entry.response == "asked again"


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX links")
def test_link_target_is_never_written(cache: ResponseCache, tmp_path: Path) -> None:
    """Storing over a planted link replaces the link and leaves its target alone."""
    victim = tmp_path / "victim.txt"
    victim.write_text("precious")
    path = cache.entry_path(KEY)
    path.unlink()
    path.symlink_to(victim)

    cache.store(REQUEST, make_result("asked again"))

    assert (victim.read_text(), path.is_symlink()) == ("precious", False)


def test_every_flipped_bit_is_noticed(cache: ResponseCache) -> None:
    """No single flipped bit of an entry is ever served."""
    path = cache.entry_path(KEY)
    raw = path.read_bytes()
    served: List[int] = []

    for bit in range(len(raw) * 8):
        flipped = bytearray(raw)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        served += [bit] if cache.lookup(REQUEST).hit else []

    assert served == []


def test_tampering_warns_once_by_name(cache: ResponseCache) -> None:
    """A tampered entry gives one warning that names its file and nothing of its text."""
    path = cache.entry_path(KEY)
    raw = path.read_bytes().replace(b"the answer", b"THE ANSWER")

    with pytest.warns(CacheWarning) as caught:
        for _ in range(2):
            path.write_bytes(raw)
            cache.lookup(REQUEST)

    messages = [str(warning.message) for warning in caught]
    assert [(KEY in text, "ANSWER" in text) for text in messages] == [(True, False)]


def test_torn_entry_is_a_silent_miss(cache: ResponseCache) -> None:
    """What a crash leaves is no reason to alarm anybody."""
    os.truncate(cache.entry_path(KEY), 300)
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert cache.lookup(REQUEST).status == "torn"


def test_strict_raises_on_tampering(cache: ResponseCache) -> None:
    """Strict mode stops at a tampered entry, with the file's name and what to do."""
    changed(b"the answer", b"THE ANSWER")(cache.entry_path(KEY), Path())

    with pytest.raises(CacheTampered, match=KEY):
        cache.lookup(REQUEST, strict=True)


def test_rollback_to_valid_entry_is_served(tmp_path: Path) -> None:
    """An older genuine answer to the same request is served while it has not expired."""
    cache = make_cache(tmp_path)
    cache.store(REQUEST, make_result("older"))
    older = cache.entry_path(KEY).read_bytes()
    cache.store(REQUEST, make_result("newer"))

    cache.entry_path(KEY).write_bytes(older)

    entry = cache.lookup(REQUEST).entry
    assert entry is not None
    assert entry.response == "older"


def test_rollback_to_expired_entry_is_not_served(tmp_path: Path) -> None:
    """The signed time decides, whatever the file's own time says."""
    now = [1_790_000_000.0]
    cache = make_cache(tmp_path, ttl_hours=1, clock=lambda: now[0])
    cache.store(REQUEST, make_result("older"))
    older = cache.entry_path(KEY).read_bytes()
    now[0] += 3601

    cache.entry_path(KEY).write_bytes(older)

    assert cache.lookup(REQUEST).status == "expired"


def test_entry_of_the_future_warns(tmp_path: Path) -> None:
    """An entry from after tomorrow is served, with a hint at the clock."""
    now = [1_790_000_000.0]
    cache = make_cache(tmp_path, clock=lambda: now[0])
    cache.store(REQUEST, make_result())
    now[0] -= 2 * 86_400

    with pytest.warns(CacheWarning, match="clock"):
        assert cache.lookup(REQUEST).hit


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX links")
def test_linked_shard_is_refused(cache: ResponseCache, tmp_path: Path) -> None:
    """A folder of entries that was replaced by a link is neither read nor written."""
    shard = cache.entry_path(KEY).parent
    elsewhere = tmp_path / "elsewhere"
    shard.rename(elsewhere)
    shard.symlink_to(elsewhere)
    before = sorted(os.listdir(elsewhere))
    fresh = make_cache(tmp_path)

    status = fresh.lookup(REQUEST).status
    fresh.store(REQUEST, make_result("asked again"))

    assert (status, sorted(os.listdir(elsewhere))) == ("unreadable", before)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ab",
        "A" * 64,
        "g" * 64,
        "a" * 63,
        "a" * 65,
        "a" * 64 + "\n",
        "\u0661" * 64,
        "../" + "a" * 61,
        "a" * 32 + "\0" + "a" * 31,
    ],
)
def test_odd_keys_name_no_file(cache: ResponseCache, text: str) -> None:
    """Only 64 ASCII hexadecimal digits are a key; nothing else reaches the file system."""
    with pytest.raises(ValueError, match="Not a cache key"):
        cache.entry_path(text)
    assert (cache.peek(text).status, cache.delete(text)) == ("miss", False)
