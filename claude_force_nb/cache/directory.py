"""Which directory may be a cache, and making it one.

A cache directory is always a folder of its own named ``nb-v1`` (the format's version is part of
the path, so a later format never meets these files). It is marked with ``CACHEDIR.TAG``; files in
it that this package did not name are never touched.
"""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from pathlib import Path
from typing import List, Mapping, Optional, Sequence

from ..errors import CacheDirectoryError
from .safe_files import IS_WINDOWS, AnyPath, read_regular, temporary_name, write_new

DIRECTORY_VARIABLE = "CLAUDE_FORCE_NB_CACHE_DIR"
FORMAT_NAME = "nb-v1"
MARKER = "CACHEDIR.TAG"
_SIGNATURE = b"Signature: 8a477f597d28d172789f06886806bc55\n"
_FORMAT_LINE = b"# claude-force-nb cache, format 1\n"
_MARKERS = {
    MARKER: _SIGNATURE + _FORMAT_LINE + b"# https://bford.info/cachedir/\n",
    ".gitignore": b"*\n",
    ".gitattributes": b"* -text\n",
}
_PROJECT_SIGNS = (".claude", ".git", "pyproject.toml")


def project_directory(start: Optional[Path] = None) -> Path:
    """The project around *start*: the nearest folder with ``.claude``, ``.git`` or a pyproject.

    The home directory and what lies above it are no project, whatever they contain.

    Args:
        start: Where to look from; the current directory by default.

    Returns:
        That folder, or *start* itself if no folder above it qualifies.
    """
    start = (start or Path.cwd()).resolve()
    home = Path.home().resolve()
    for folder in (start, *start.parents):
        if folder == home or folder in home.parents:
            break
        if any((folder / sign).exists() for sign in _PROJECT_SIGNS):
            return folder
    return start


def default_directory(environ: Mapping[str, str]) -> Path:
    """The cache directory when none was named.

    In this order: the variable ``CLAUDE_FORCE_NB_CACHE_DIR``, ``.claude/cache`` of the project
    if it has a ``claude.json``, and ``~/.claude/cache``.
    """
    named = environ.get(DIRECTORY_VARIABLE)
    if named:
        return Path(named).expanduser()
    settings = project_directory() / ".claude"
    if (settings / "claude.json").is_file():
        return settings / "cache"
    return Path.home() / ".claude" / "cache"


def resolved_directory(
    cache_dir: Optional[AnyPath], roots: Sequence[AnyPath], environ: Mapping[str, str]
) -> Path:
    """The cache directory, free of links, after checking that it lies where caches may lie.

    Args:
        cache_dir: What the caller named, or ``None``.
        roots: Folders that are allowed besides the project, ``~/.claude`` and the system's
            temporary directory. A folder named by ``CLAUDE_FORCE_NB_CACHE_DIR`` is allowed too:
            it is set by the person, not by the notebook's code.
        environ: The environment.

    Raises:
        CacheDirectoryError: It resolves to a place outside these folders.
    """
    allowed = _allowed_roots(roots, environ)
    chosen = default_directory(environ) if cache_dir is None else Path(cache_dir).expanduser()
    if "\0" in str(chosen):
        raise CacheDirectoryError("The cache directory's name contains a NUL.")
    if chosen.name != FORMAT_NAME:
        chosen = chosen / FORMAT_NAME
    resolved = chosen.resolve()
    if any(root == resolved or root in resolved.parents for root in allowed):
        return resolved
    raise CacheDirectoryError(
        f"The cache directory {str(chosen)!r} resolves to {str(resolved)!r}, which is outside "
        "the project, ~/.claude and the temporary directory.",
        advice=f"Pass roots=[...], or set {DIRECTORY_VARIABLE}, to allow another place.",
    )


def _allowed_roots(roots: Sequence[AnyPath], environ: Mapping[str, str]) -> List[Path]:
    named = environ.get(DIRECTORY_VARIABLE)
    folders = [project_directory(), Path.home() / ".claude", Path(tempfile.gettempdir())]
    folders += [Path(root).expanduser() for root in roots]
    folders += [Path(named).expanduser()] if named else []
    resolved = [folder.resolve() for folder in folders]
    # A notebook started in "/" would otherwise allow everything.
    return [folder for folder in resolved if folder != Path(folder.anchor)]


def prepare(root: Path) -> None:
    """Create the cache directory *root* with its markers, or check the one that is there.

    Raises:
        CacheDirectoryError: It is not safe to use: a link, another user's, writable by others,
            or of another format.
        OSError: It cannot be created.
    """
    root.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        os.mkdir(root, 0o700)
    check_private(root)
    if _format_of(root) is None:
        _mark(root)


def check_private(folder: AnyPath) -> None:
    """Check that *folder* is a real directory that only we can write to.

    One that others may merely read is closed to them.

    Raises:
        CacheDirectoryError: It is not.
        OSError: It cannot be examined.
    """
    status = os.lstat(folder)
    if not stat.S_ISDIR(status.st_mode):
        raise _unsafe(folder, "is a link or no directory")
    if IS_WINDOWS:
        return
    if status.st_uid != os.geteuid():
        raise _unsafe(folder, "belongs to another user")
    if status.st_mode & 0o022:
        raise _unsafe(folder, "can be changed by other users")
    if status.st_mode & 0o055:
        with contextlib.suppress(OSError):  # a read-only file system
            os.chmod(folder, 0o700)


def _unsafe(folder: AnyPath, what: str) -> CacheDirectoryError:
    return CacheDirectoryError(
        f"The cache directory {str(folder)!r} {what}.",
        advice="Answers are kept in memory only. Move it away, or chmod 700 it if it is yours.",
    )


def _format_of(root: Path) -> Optional[bytes]:
    try:
        tag = read_regular(root / MARKER, 4096)[0]
    except FileNotFoundError:
        return None
    if _SIGNATURE + _FORMAT_LINE not in tag:
        raise _unsafe(root, "was made by another program or version")
    return _FORMAT_LINE


def _mark(root: Path) -> None:
    """Write the markers, each complete at once; what is there already stays as it is."""
    for name, content in _MARKERS.items():
        temporary = root / temporary_name()
        with contextlib.suppress(OSError):
            write_new(temporary, content)
            if not os.path.lexists(root / name):
                os.replace(temporary, root / name)
        with contextlib.suppress(OSError):
            os.unlink(temporary)
