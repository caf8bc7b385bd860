"""Opening and writing files in places where others may have planted something.

Plain ``open`` follows links, blocks on a FIFO and reads ``/dev/zero`` for ever. These functions
do not. Windows has none of the flags; there they fall away.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import stat
import threading
import time
from pathlib import Path
from typing import Iterator, Tuple, Union

from ..errors import CacheError

AnyPath = Union[str, Path]

READ_FLAGS = (
    os.O_RDONLY
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_BINARY", 0)
)
WRITE_FLAGS = (
    os.O_WRONLY
    | os.O_CREAT
    | os.O_EXCL
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_BINARY", 0)
)
IS_WINDOWS = os.name == "nt"
_REPLACE_ATTEMPTS = 10
_NOT_A_FILE = (errno.ELOOP, errno.ENXIO, errno.EISDIR, getattr(errno, "EMLINK", -1))
_serial = itertools.count()


class NotRegular(OSError):
    """What lies there is no regular file: a link, a directory, a FIFO, a device."""


class TooBig(OSError):
    """The file is larger than anything we write."""


def read_regular(path: AnyPath, max_bytes: int) -> Tuple[bytes, os.stat_result]:
    """Read a whole regular file with one open; never follows a link, never blocks.

    Returns:
        Its bytes and its status, both of the same open file.

    Raises:
        NotRegular: It is a directory, a FIFO or a device.
        TooBig: It is larger than *max_bytes*; nothing was read.
        OSError: It cannot be opened or read; :func:`is_not_regular` tells for which of these
            errors something irregular is the cause.
    """
    return read_open(os.open(path, READ_FLAGS), max_bytes)


def read_open(descriptor: int, max_bytes: int) -> Tuple[bytes, os.stat_result]:
    """Read what was opened with ``READ_FLAGS``, and close it; see :func:`read_regular`."""
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise NotRegular(errno.EINVAL, "not a regular file")
        if status.st_size > max_bytes:
            raise TooBig(errno.EFBIG, "larger than any entry")
        return _read_all(descriptor, status.st_size), status
    finally:
        os.close(descriptor)


def is_not_regular(error: OSError) -> bool:
    """Whether *error* came from opening or reading a link, a directory, a FIFO or a device."""
    return isinstance(error, NotRegular) or error.errno in _NOT_A_FILE


def _read_all(descriptor: int, size_bytes: int) -> bytes:
    data = os.read(descriptor, size_bytes)
    while len(data) < size_bytes:
        piece = os.read(descriptor, size_bytes - len(data))
        if not piece:
            break
        data += piece
    return data


def temporary_name() -> str:
    """A name that no other thread or process uses, for a file about to be renamed."""
    return f".t{os.getpid()}-{next(_serial)}-{threading.get_ident()}"


def write_new(path: AnyPath, data: bytes, *, durable: bool = False) -> None:
    """Create *path*, private from birth, and write *data*; leaves nothing behind on failure.

    Raises:
        FileExistsError: Something lies there already.
        OSError: It cannot be written.
    """
    descriptor = os.open(path, WRITE_FLAGS, 0o600)
    try:
        try:
            _write_all(descriptor, data)
            if durable:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(path)
        raise


def _write_all(descriptor: int, data: bytes) -> None:
    written = os.write(descriptor, data)
    while written < len(data):
        written += os.write(descriptor, data[written:])


def replace(source: AnyPath, target: AnyPath) -> None:
    """Rename *source* over *target*.

    On Windows another reader can hold *target* open for a moment: then it is tried again for
    about a quarter of a second.

    Raises:
        OSError: The rename failed; *source* is still there.
    """
    for attempt in range(_REPLACE_ATTEMPTS):
        try:
            os.replace(source, target)
            return
        except PermissionError:
            if not IS_WINDOWS or attempt == _REPLACE_ATTEMPTS - 1:
                raise
            time.sleep(0.05 * (attempt + 1) / _REPLACE_ATTEMPTS)


def sync_directory(path: AnyPath) -> None:
    """Make renames in the directory *path* survive a power cut, where the system can."""
    if IS_WINDOWS:
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def exclusive(path: AnyPath, *, wait_s: float = 5.0, stale_s: float = 10.0) -> Iterator[None]:
    """Hold the lock file *path* for a short piece of work; for threads, not for event loops.

    Raises:
        CacheError: Somebody else held it for longer than *wait_s*.
        OSError: The file cannot be created.
    """
    deadline = time.monotonic() + wait_s
    while True:
        try:
            write_new(path, b"")
            break
        except FileExistsError:
            _break_stale(path, stale_s)
            if time.monotonic() > deadline:
                raise CacheError(
                    f"Another process holds {path}.", advice="Remove the file if none does."
                ) from None
            time.sleep(0.01)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            os.unlink(path)


def _break_stale(path: AnyPath, stale_s: float) -> None:
    with contextlib.suppress(OSError):
        if time.time() - os.lstat(path).st_mtime > stale_s:
            os.unlink(path)
