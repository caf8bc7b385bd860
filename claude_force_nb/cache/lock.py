"""A lock file between processes, with a heartbeat instead of the operating system's locks.

Only ``link`` or ``O_EXCL``, ``utime``, ``rename`` and ``unlink``: these also work on network file
systems, where ``flock`` often does not. Nothing here waits; :mod:`.flight` does that on the event
loop.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import threading
import time
from dataclasses import dataclass, field
from typing import Any, Dict, NamedTuple, Optional, Tuple

from .safe_files import IS_WINDOWS, read_regular, temporary_name, write_new

HEARTBEAT_S = 0.5
STALE_S = 3.0
BUSY_STALE_S = 30.0
_DEAD_GRACE_S = 1.5


class Sighting(NamedTuple):
    """What a waiter saw of somebody else's lock file.

    Attributes:
        beat: Time of the last heartbeat in nanoseconds, and the file's number; changes with
            every heartbeat and every new holder.
        holder: What the file says about its holder.
        age_s: Seconds since the last heartbeat by this machine's clock.
    """

    beat: Tuple[int, int]
    holder: Dict[str, Any]
    age_s: float

    @property
    def here(self) -> bool:
        """Whether the holder is a process of this machine."""
        return self.holder.get("host") == socket.gethostname()

    def stale_after_s(self) -> float:
        """How long the heartbeat may stay away before the lock may be taken over.

        - A dead process of this machine: hardly at all. (Two containers may share a host name
          and not see each other's processes, hence not at once.)
        - A living process of this machine: long. Its event loop is busy with a synchronous cell,
          the ordinary case in a notebook, and will come back with an answer that is paid for.
          Not for ever, since the number may belong to another process by now.
        - A process elsewhere: a few heartbeats.
        """
        if not self.here:
            return STALE_S
        return BUSY_STALE_S if _is_alive(self.holder.get("pid")) else _DEAD_GRACE_S


class Holder:
    """A file that says who holds all locks of one cache object; lock files are links to it.

    A link is one small step, where creating and deleting a file for each call is slow: ext4
    searches through the numbers of all files deleted in the last minutes for each new one.

    Attributes:
        token: What tells this holder from all others.
    """

    def __init__(self) -> None:
        self.token = secrets.token_hex(8)
        self._path = ""
        self._usable = True
        self._lock = threading.Lock()

    @property
    def description(self) -> bytes:
        """What the file says."""
        holder = {"host": socket.gethostname(), "pid": os.getpid(), "token": self.token}
        return json.dumps(holder).encode("ascii")

    def link(self, path: str) -> bool:
        """Make *path* a lock of ours; false if that takes a file of its own.

        Raises:
            FileExistsError: Somebody holds it.
            OSError: The file cannot be made.
        """
        if not self._usable:
            return False
        source = self._made(os.path.dirname(path))
        try:
            os.utime(source)  # before the link is there: a lock must not look stale when it is new
            os.link(source, path)
        except FileExistsError:
            raise
        except FileNotFoundError:  # swept away as litter, or the folder is gone
            self._path = ""
            return False
        except OSError:  # a file system without links
            self._usable = False
            return False
        return True

    def remove(self) -> None:
        """Remove the file; locks that are still there keep what it says."""
        if self._path:
            _unlink(self._path)

    def _made(self, folder: str) -> str:
        with self._lock:
            if not self._path:
                path = f"{folder}/{temporary_name()}"
                write_new(path, self.description)
                self._path = path
            return self._path


@dataclass
class FileLock:
    """A lock file that this process may hold.

    Attributes:
        path: The file.
        holder: Who we are.
        held: Whether this object created it.
    """

    path: str
    holder: Holder = field(default_factory=Holder)
    held: bool = False

    def acquire(self) -> bool:
        """Create the file; whether that worked.

        Raises:
            OSError: The file system does not let us, other than by the file being there.
        """
        try:
            if not self.holder.link(self.path):
                write_new(self.path, self.holder.description)
        except FileExistsError:
            return False
        self.held = True
        return True

    def beat(self) -> None:
        """Show that the holder is alive."""
        with contextlib.suppress(OSError):
            os.utime(self.path)

    def release(self) -> None:
        """Remove the file, unless somebody took it over meanwhile."""
        if self.held:
            self.held = False
            if self._token_in(self.path) == self.holder.token:
                _unlink(self.path)

    def look(self) -> Optional[Sighting]:
        """What lies there now; ``None`` if nothing does."""
        try:
            raw, status = read_regular(self.path, 4096)
        except OSError:
            return None
        beat = (status.st_mtime_ns, status.st_ino)
        return Sighting(beat, _parsed(raw), max(0.0, time.time() - status.st_mtime))

    def steal(self, stale: Sighting) -> bool:
        """Take over the lock that was seen as *stale*; at most one of several succeeds.

        The file is renamed first, which only one can do. If it turns out to be another one than
        was judged, because somebody else was faster, it is put back.
        """
        aside = os.path.join(os.path.dirname(self.path), temporary_name())
        try:
            os.rename(self.path, aside)
        except OSError:
            return False
        if not _is_same(aside, stale):
            with contextlib.suppress(OSError):
                os.link(aside, self.path)
            _unlink(aside)
            return False
        _unlink(aside)
        return self.acquire()

    def _token_in(self, path: str) -> str:
        try:
            return str(_parsed(read_regular(path, 4096)[0]).get("token", ""))
        except OSError:
            return ""


def _is_same(path: str, seen: Sighting) -> bool:
    """Whether *path* is the lock that was seen, and nobody has shown a sign of life since."""
    try:
        raw, status = read_regular(path, 4096)
    except OSError:
        return False
    token = _parsed(raw).get("token", "")
    return (status.st_mtime_ns, token) == (seen.beat[0], seen.holder.get("token", ""))


def _parsed(raw: bytes) -> Dict[str, Any]:
    with contextlib.suppress(ValueError, RecursionError):
        holder = json.loads(raw)
        if isinstance(holder, dict):
            return holder
    return {}


def _is_alive(pid: object) -> bool:
    if not isinstance(pid, int) or isinstance(pid, bool) or pid <= 0:
        return False
    if IS_WINDOWS:  # there, signal 0 would end the process
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


def _unlink(path: str) -> None:
    with contextlib.suppress(OSError):
        os.unlink(path)
