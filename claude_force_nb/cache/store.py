"""Signed files in 256 folders: reading, writing, and putting bad ones aside.

No index and no state beside the files: several kernels, and machines that share a home directory,
see the same cache. A file is never parsed before its signature has been verified.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Set, Tuple

from ..errors import CacheDirectoryError
from .directory import check_private, prepare
from .entry import Entry, WrongSchema, decode_entry
from .safe_files import (
    READ_FLAGS,
    TooBig,
    is_not_regular,
    read_open,
    replace,
    sync_directory,
    temporary_name,
    write_new,
)
from .signing import KeyRing, signer_id

MAX_ENTRY_BYTES = 16 * 2**20
ENTRY_NAME = re.compile(r"([0-9a-f]{64})(?:\.[0-9a-f]{8})?\.json")
SHARD_NAME = re.compile(r"[0-9a-f]{2}")
QUARANTINE = "quarantine"
_NO_FOLLOW: Dict[str, Any] = (
    {"follow_symlinks": False} if os.utime in os.supports_follow_symlinks else {}
)


class Reading(NamedTuple):
    """What lay under a key.

    Attributes:
        status: ``hit``, ``miss``, ``torn``, ``tampered``, ``foreign`` or ``unreadable``.
        reason: More about it, a word or two.
        entry: The verified entry of a hit.
        path: The file.
        mtime: When it was last used, as far as its file says.
        signer: Id of the key that the file names.
        outdated: Whether an older key of the ring signed it.
    """

    status: str
    reason: str = ""
    entry: Optional[Entry] = None
    path: str = ""
    mtime: float = 0.0
    signer: str = ""
    outdated: bool = False


_ABSENT = Reading("miss")


class EntryStore:
    """The files of one cache directory.

    Args:
        root: The directory, already prepared.
        ring: The keys that sign and verify.
        newer_ring: Called when a file names an unknown key; returns a ring that may know it
            because another process rotated the keys, or ``None``.
    """

    def __init__(
        self,
        root: Path,
        ring: KeyRing,
        newer_ring: Callable[[], Optional[KeyRing]] = lambda: None,
    ) -> None:
        self.root = root
        self.ring = ring
        self._newer_ring = newer_ring
        self._root = str(root)
        self._checked: Set[str] = set()

    def path(self, key: str) -> str:
        """The file of *key*."""
        return f"{self._root}/{key[:2]}/{key}.json"

    def read(self, key: str) -> Reading:
        """Read, verify and parse the entry of *key*; never raises, never blocks.

        If another secret signed the file, ours may lie beside it under a name of its own.
        """
        reading = self.read_file(key, f"{self._root}/{key[:2]}/{key}.json")
        if reading.status == "foreign":
            beside = (self.read_file(key, path) for path in self._side_paths(key))
            return next((own for own in beside if own.status != "miss"), reading)
        return reading

    def read_file(self, key: str, path: str) -> Reading:
        """Read the file *path* as the entry of *key*."""
        try:
            if key[:2] not in self._checked:
                self._check_shard(key)
            descriptor = os.open(path, READ_FLAGS)
        except FileNotFoundError:
            return _ABSENT
        except (OSError, CacheDirectoryError) as error:
            return _unread(error, path)
        try:
            raw, status = read_open(descriptor, MAX_ENTRY_BYTES)
        except OSError as error:
            return _unread(error, path)
        return self._judge(key, raw, path, status.st_mtime)

    def _judge(self, key: str, raw: bytes, path: str, mtime: float) -> Reading:
        ring = self.ring
        body = ring.opened(key, raw)
        if body is None:
            return self._refused(key, raw, path, mtime)
        try:
            entry = decode_entry(key, body)
        except WrongSchema:
            return Reading("unreadable", "wrong_schema", path=path)
        return Reading("hit", "", entry, path, mtime, "", not ring.is_newest(raw))

    def _refused(self, key: str, raw: bytes, path: str, mtime: float) -> Reading:
        complaint = self.ring.complaint(raw)
        if complaint == "foreign":
            newer = self._newer_ring()
            if newer is not None:
                self.ring = newer
                return self._judge(key, raw, path, mtime)
        reason = "" if complaint != "tampered" else "bad_signature"
        return Reading(complaint, reason, path=path, signer=signer_id(raw))

    def write(self, key: str, body: bytes, *, durable: bool = False) -> str:
        """Sign *body* and make it the entry of *key*, all at once or not at all.

        An entry that another secret signed is left alone: ours then goes beside it.

        Args:
            key: The entry's key.
            body: What :func:`~.entry.encode_entry` made.
            durable: Survive a power cut (waits for the disk).

        Returns:
            The file.

        Raises:
            ValueError: The entry is larger than ``MAX_ENTRY_BYTES``.
            CacheDirectoryError: The folder is not safe to write to.
            OSError: The file system refused.
        """
        data = self.ring.seal(key, body)
        if len(data) > MAX_ENTRY_BYTES:
            raise ValueError("the answer is too large for the cache")
        shard = f"{self._root}/{key[:2]}"
        temporary = f"{shard}/{temporary_name()}"
        self._prepare_shard(key, shard)
        write_new(temporary, data, durable=durable)
        try:
            path = self._writable_path(key)
            replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
        if durable:
            sync_directory(shard)
        return path

    def delete(self, key: str) -> bool:
        """Remove our entry of *key*; whether there was one. A foreign one stays."""
        removed = [remove(path) for path in self._side_paths(key)]
        if not self.is_foreign(self.path(key)):
            removed.append(remove(self.path(key)))
        return any(removed)

    def quarantine(self, path: str, reason: str) -> bool:
        """Move a bad file aside, under a name that says why; whether that worked.

        A link or FIFO is moved itself; nothing is followed, opened or deleted.
        """
        folder = f"{self._root}/{QUARANTINE}"
        name = f"{os.path.basename(path)}.{reason}.{secrets.token_hex(4)}"
        try:
            with contextlib.suppress(FileExistsError):
                os.mkdir(folder, 0o700)
            check_private(folder)
            os.rename(path, f"{folder}/{name}")
        except (OSError, CacheDirectoryError):
            return False
        return True

    def touch(self, path: str) -> None:
        """Note that *path* was used now; eviction goes by this."""
        with contextlib.suppress(OSError):
            os.utime(path, **_NO_FOLLOW)

    def shards(self) -> Iterator[str]:
        """The folders of entries that exist, as paths, in the order of their names."""
        try:
            names = sorted(os.listdir(self._root))
        except OSError:
            return
        for name in names:
            path = f"{self._root}/{name}"
            if SHARD_NAME.fullmatch(name) and os.path.isdir(path) and not os.path.islink(path):
                yield path

    def files(self, prefix: str = "") -> Iterator[Tuple[str, str]]:
        """Key and file of each entry whose key starts with *prefix*."""
        for shard in self.shards():
            if shard[-2:].startswith(prefix[:2]):
                for name in _names(shard):
                    match = ENTRY_NAME.fullmatch(name)
                    if match and name.startswith(prefix) and name[:2] == shard[-2:]:
                        yield match.group(1), f"{shard}/{name}"

    def is_foreign(self, path: str) -> bool:
        """Whether the file says that it was signed with a key that is not in the ring."""
        signer = self._signer_at(path)
        return bool(signer) and not self.ring.knows(signer)

    def lock_path(self, key: str) -> str:
        """The lock file of *key*; its folder exists afterwards.

        Raises:
            CacheDirectoryError: The folder is not safe to write to.
            OSError: It cannot be created.
        """
        shard = f"{self._root}/{key[:2]}"
        self._prepare_shard(key, shard)
        return f"{shard}/.{key[2:18]}.lk"

    def _check_shard(self, key: str) -> None:
        """Refuse a folder that was replaced by a link; remembered, as it costs a system call."""
        check_private(f"{self._root}/{key[:2]}")
        self._checked.add(key[:2])

    def _prepare_shard(self, key: str, shard: str) -> None:
        try:
            self._check_shard(key)
        except FileNotFoundError:
            if not os.path.isdir(self._root):
                prepare(self.root)
            with contextlib.suppress(FileExistsError):
                os.mkdir(shard, 0o700)
            self._check_shard(key)

    def _side_paths(self, key: str) -> List[str]:
        """Where our entry of *key* lies if a foreign one has its name; the newest key's first."""
        stem = self.path(key)[: -len(".json")]
        return [f"{stem}.{signer}.json" for signer in self.ring.ids]

    def _writable_path(self, key: str) -> str:
        path = self.path(key)
        # Most keys are new: asking whether the file exists spares them a failing open.
        foreign = os.access(path, os.F_OK) and self.is_foreign(path)
        return self._side_paths(key)[0] if foreign else path

    def _signer_at(self, path: str) -> str:
        """Id of the key that the file at *path* names; empty if there is none or no such file."""
        try:
            descriptor = os.open(path, READ_FLAGS)
        except OSError:
            return ""
        try:
            return signer_id(os.read(descriptor, 256))
        except OSError:
            return ""
        finally:
            os.close(descriptor)


def _unread(error: Exception, path: str) -> Reading:
    """The reading that stands for a file that could not be opened or read."""
    if isinstance(error, TooBig):
        return Reading("tampered", "too_big", path=path)
    if not isinstance(error, OSError):
        return Reading("unreadable", "unsafe_folder", path=path)
    if is_not_regular(error):
        return Reading("tampered", "not_regular", path=path)
    return Reading("unreadable", error.strerror or "error", path=path)


def _names(folder: str) -> List[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []


def remove(path: str) -> bool:
    """Delete a file, whether it was there and could be deleted."""
    try:
        os.unlink(path)
    except OSError:
        return False
    return True
