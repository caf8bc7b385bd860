"""A lock file between processes, with a heartbeat instead of the operating system's locks.

Only ``O_EXCL``, ``utime``, ``rename`` and ``unlink``: these also work on network file systems,
where ``flock`` often does not. Nothing here waits; :mod:`.flight` does that on the event loop.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import time
from dataclasses import dataclass, field
from typing import Any, Dict, NamedTuple, Optional

from .safe_files import IS_WINDOWS, read_regular, temporary_name, write_new

HEARTBEAT_S = 0.5
STALE_S = 3.0
BUSY_STALE_S = 30.0
_DEAD_GRACE_S = 1.5


class Sighting(NamedTuple):
    """What a waiter saw of somebody else's lock file.

    Attributes:
        beat: Changes with every heartbeat and with every new holder.
        holder: What the file says about its holder.
        age_s: Seconds since the last heartbeat by this machine's clock.
    """

    beat: object
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


@dataclass
class FileLock:
    """A lock file that this process may hold.

    Attributes:
        path: The file.
        held: Whether this object created it.
    """

    path: str
    held: bool = False
    _token: str = field(default_factory=lambda: secrets.token_hex(8))

    def acquire(self) -> bool:
        """Create the file; whether that worked.

        Raises:
            OSError: The file system does not let us, other than by the file being there.
        """
        holder = {"host": socket.gethostname(), "pid": os.getpid(), "token": self._token}
        try:
            write_new(self.path, json.dumps(holder).encode("ascii"))
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
            if self._token_in(self.path) == self._token:
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
        if self._token_in(aside) != stale.holder.get("token", ""):
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
