"""The key ring: made once, private, refused when it was exposed, rotated without loss."""

from __future__ import annotations

import json
import os
import stat
import sys
import warnings
from pathlib import Path
from typing import Any, Callable, Dict

import pytest
from cache_builders import make_request, make_result, outputs, run_python

from claude_force_nb.cache import CacheWarning, ResponseCache, request_key
from claude_force_nb.cache.keyring import RingFile, default_ring_path, given_secret
from claude_force_nb.cache.notices import Notices
from claude_force_nb.cache.signing import KeyRing
from claude_force_nb.errors import CacheError, WeakKeyError

pytestmark = [
    pytest.mark.essential,
    pytest.mark.skipif(sys.platform == "win32", reason="POSIX modes"),
]
REQUEST = make_request()
KEY = request_key(REQUEST)


@pytest.fixture
def ring_path(tmp_path: Path) -> Path:
    """Where a test's key ring goes."""
    return tmp_path / "keys" / "cache-keys.json"


def ringed(tmp_path: Path, ring_path: Path, **options: Any) -> ResponseCache:
    """A cache that signs with the key ring at *ring_path*."""
    return ResponseCache(
        tmp_path / "cache", **{"keyring_path": ring_path, "max_memory_entries": 0, **options}
    )


def test_ring_is_private(ring_path: Path) -> None:
    """The ring has mode 0600 in a directory of 0700, and holds 256 random bits."""
    RingFile(ring_path).load()

    secret = bytes.fromhex(json.loads(ring_path.read_text())["keys"][0]["secret"])

    modes = [stat.S_IMODE(path.stat().st_mode) for path in (ring_path, ring_path.parent)]
    assert (modes, len(secret)) == ([0o600, 0o700], 32)


def test_default_ring_is_outside_the_cache() -> None:
    """Copying the cache directory does not copy the right to sign."""
    assert ".claude" not in default_ring_path().parts


def test_twelve_processes_make_one_ring(tmp_path: Path, ring_path: Path) -> None:
    """Processes that start at once all sign with the key of the first."""
    code = (
        "import sys, time; from pathlib import Path\n"
        "from claude_force_nb.cache.keyring import RingFile\n"
        "while not Path(sys.argv[2]).exists(): time.sleep(0.001)\n"
        "print(RingFile(Path(sys.argv[1])).load().newest_id)"
    )
    gate = tmp_path / "gate"
    processes = [run_python(code, ring_path, gate) for _ in range(12)]
    gate.touch()

    assert len(set(outputs(processes))) == 1
    assert os.listdir(ring_path.parent) == ["cache-keys.json"]


def expose(path: Path) -> None:
    """Let others read the ring."""
    path.chmod(0o644)


def link(path: Path) -> None:
    """Put a link in the ring's place."""
    path.rename(path.with_name("elsewhere"))
    path.symlink_to(path.with_name("elsewhere"))


RING_ATTACKS: Dict[str, Callable[[Path], Any]] = {
    "readable by others": expose,
    "writable by others": lambda path: path.chmod(0o622),
    "link": link,
    "directory": lambda path: (path.unlink(), path.mkdir()),
    "FIFO": lambda path: (path.unlink(), os.mkfifo(path, 0o600)),
    "huge": lambda path: os.truncate(path, 2**30),
    "empty": lambda path: os.truncate(path, 0),
    "no keys": lambda path: path.write_text('{"keys": []}'),
    "short key": lambda path: path.write_text('{"keys": [{"secret": "abcd"}]}'),
    "no hex": lambda path: path.write_text('{"keys": [{"secret": 7}]}'),
    "other user's": lambda path: os.chown(path, 12345, -1),
    "open directory": lambda path: path.parent.chmod(0o777) or path.unlink(),
}


@pytest.mark.parametrize("name", RING_ATTACKS)
def test_exposed_ring_is_refused(tmp_path: Path, ring_path: Path, name: str) -> None:
    """A ring that others may know is not used: answers stay in memory, with one warning."""
    if name == "other user's" and os.geteuid() != 0:
        pytest.skip("needs root")
    cache = ringed(tmp_path, ring_path, max_memory_entries=5)
    cache.store(REQUEST, make_result("signed before"))
    RING_ATTACKS[name](ring_path)

    fresh = ringed(tmp_path, ring_path, max_memory_entries=5)
    with pytest.warns(CacheWarning, match="memory only"):
        status = fresh.lookup(REQUEST).status
    kept = fresh.store(REQUEST, make_result("asked again"))

    entry = fresh.lookup(REQUEST).entry
    assert (status, kept, entry and entry.response) == ("miss", True, "asked again")


def test_rotating_replaces_an_exposed_ring(tmp_path: Path, ring_path: Path) -> None:
    """After a rotation the exposed keys are out, and what they signed is foreign."""
    ringed(tmp_path, ring_path).store(REQUEST, make_result())
    expose(ring_path)
    cache = ringed(tmp_path, ring_path)
    cache.rotate()

    with pytest.warns(CacheWarning, match="not in this key ring"):
        assert cache.lookup(REQUEST).status == "foreign"


def test_rotation_keeps_old_entries(tmp_path: Path, ring_path: Path) -> None:
    """The new key signs; what the old one signed is still served."""
    cache = ringed(tmp_path, ring_path)
    cache.store(REQUEST, make_result())

    new = cache.rotate()

    assert cache.lookup(REQUEST).hit
    assert new in cache.entry_path(KEY).read_text()[:40]


def test_rotation_reaches_other_kernels(tmp_path: Path, ring_path: Path) -> None:
    """A cache that is open elsewhere learns a new key when it meets it."""
    here, there = ringed(tmp_path, ring_path), ringed(tmp_path, ring_path)
    there.lookup(REQUEST)
    here.rotate()
    here.store(REQUEST, make_result())

    assert there.lookup(REQUEST).hit


def test_rotations_at_once_lose_no_key(ring_path: Path) -> None:
    """Every key of several rotations at the same time is in the ring."""
    code = (
        "import sys; from pathlib import Path\n"
        "from claude_force_nb.cache.keyring import RingFile\n"
        "print(RingFile(Path(sys.argv[1])).rotate())"
    )
    new = outputs([run_python(code, ring_path) for _ in range(4)])

    assert set(new) <= set(RingFile(ring_path).load().ids)


def test_given_secret_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With CLAUDE_CACHE_SECRET two machines share a cache, and no ring is made."""
    monkeypatch.setenv("CLAUDE_CACHE_SECRET", "a shared secret of at least thirty-two bytes")
    ringed(tmp_path, tmp_path / "one").store(REQUEST, make_result())

    assert ringed(tmp_path, tmp_path / "two").lookup(REQUEST).hit
    assert not (tmp_path / "one").exists()


def test_given_secret_cannot_be_rotated(tmp_path: Path) -> None:
    """Who gave the secret has to change it; the error says where."""
    cache = ringed(tmp_path, tmp_path / "ring", cache_secret="a secret of at least 32 bytes ...")

    with pytest.raises(CacheError, match="CLAUDE_CACHE_SECRET"):
        cache.rotate()


def test_other_secret_is_foreign(tmp_path: Path) -> None:
    """What another secret signed is left alone: not served, not moved, not overwritten."""
    theirs = ringed(tmp_path, tmp_path / "theirs")
    theirs.store(REQUEST, make_result("theirs"))
    before = theirs.entry_path(KEY).read_bytes()
    ours = ringed(tmp_path, tmp_path / "ours")

    with pytest.warns(CacheWarning, match="not in this key ring"):
        status = ours.lookup(REQUEST).status
    ours.store(REQUEST, make_result("ours"))

    answers = [cache.lookup(REQUEST).entry for cache in (theirs, ours)]
    assert [entry and entry.response for entry in answers] == ["theirs", "ours"]
    assert (status, theirs.entry_path(KEY).read_bytes()) == ("foreign", before)


def test_own_entry_beside_a_foreign_one_is_deleted_alone(tmp_path: Path) -> None:
    """Deleting our entry leaves the other secret's in place."""
    theirs, ours = ringed(tmp_path, tmp_path / "theirs"), ringed(tmp_path, tmp_path / "ours")
    theirs.store(REQUEST, make_result("theirs"))
    ours.store(REQUEST, make_result("ours"))

    assert (ours.delete(KEY), ours.delete(KEY), theirs.lookup(REQUEST).hit) == (True, False, True)


@pytest.mark.parametrize("secret", ["default_secret_change_in_production", "changeme"])
def test_published_secret_is_replaced(tmp_path: Path, ring_path: Path, secret: str) -> None:
    """A secret that everybody knows signs nothing; a private key takes its place, loudly."""
    with pytest.warns(CacheWarning, match="NOT used"):
        cache = ringed(tmp_path, ring_path, cache_secret=secret)
    cache.store(REQUEST, make_result())

    assert ringed(tmp_path, ring_path).lookup(REQUEST).hit


def test_short_secret_is_accepted_with_warning(tmp_path: Path, ring_path: Path) -> None:
    """A short secret works, and the warning says how to make a good one without repeating it."""
    with pytest.warns(CacheWarning, match="token_hex") as caught:
        cache = ringed(tmp_path, ring_path, cache_secret="hunter2!")
    cache.store(REQUEST, make_result())

    assert cache.lookup(REQUEST).hit
    assert "hunter2" not in str(caught[0].message)


def test_good_secret_gives_no_warning() -> None:
    """A long secret is simply taken."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert given_secret("correct horse battery staple and more", {}, Notices())


@pytest.mark.parametrize("secrets", [[], [b"short"], [b"x" * 32, b"y" * 31]])
def test_ring_refuses_weak_keys(secrets: Any) -> None:
    """No ring is made of nothing, or of fewer than 32 bytes."""
    with pytest.raises(WeakKeyError):
        KeyRing(secrets)


def test_mac_is_plain_hmac() -> None:
    """The prepared hash states give exactly the HMAC-SHA256 of the documented message."""
    import hashlib
    import hmac

    from claude_force_nb.cache.signing import hkdf_sha256

    secret, body = b"s" * 32, b'{"key": "x"}'
    message = b"DSSEv1 19 cfnb/cache-entry/v1 64 " + b"a" * 64 + b" 12 " + body

    expected = hmac.new(hkdf_sha256(secret, b"cache-entry-hmac"), message, hashlib.sha256)

    assert expected.hexdigest() == KeyRing([secret]).seal("a" * 64, body)[29:93].decode()


def test_hkdf_of_the_standard() -> None:
    """HKDF gives the first 32 bytes of RFC 5869's test case 3, which has no salt and no purpose."""
    from claude_force_nb.cache.signing import hkdf_sha256

    expected = "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d"
    assert hkdf_sha256(b"\x0b" * 22, b"").hex() == expected
