"""Where a cache may lie, and what else in there is left alone."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Any, Callable, Dict

import pytest
from cache_builders import make_cache, make_request, make_result

from claude_force_nb.cache import CacheWarning, ResponseCache
from claude_force_nb.errors import CacheDirectoryError

pytestmark = [
    pytest.mark.essential,
    pytest.mark.skipif(sys.platform == "win32", reason="POSIX links and modes"),
]
REQUEST = make_request()


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project to work in, with the temporary directory somewhere else."""
    folder = tmp_path / "project"
    (folder / ".git").mkdir(parents=True)
    (folder / "notebooks").mkdir()
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    monkeypatch.chdir(folder / "notebooks")
    return folder


@pytest.mark.parametrize(
    "where", ["{project}/cache", "../cache", "cache", "{tmp}/x", "~/.claude/x"]
)
def test_allowed_places(project: Path, where: str) -> None:
    """The project, the temporary directory and ~/.claude may hold a cache."""
    named = where.format(project=project, tmp=tempfile.gettempdir())

    expected = Path(named).expanduser().resolve() / "nb-v1"

    assert make_cache(named).directory == expected  # type: ignore[arg-type]


@pytest.mark.parametrize("where", ["/etc", "/", "~", "../..", "../../elsewhere", "~/.claude/../x"])
def test_other_places_are_refused(project: Path, where: str) -> None:
    """Anywhere else is an error that says how to allow it."""
    with pytest.raises(CacheDirectoryError, match="roots="):
        ResponseCache(where)


def test_links_are_resolved_first(project: Path, tmp_path: Path) -> None:
    """A link in the project that leads out of it leads to a place that is not allowed."""
    (project / "cache").symlink_to("/etc")

    with pytest.raises(ValueError, match="outside"):
        ResponseCache(project / "cache")


def test_explicit_root_is_allowed(project: Path, tmp_path: Path) -> None:
    """A folder that the caller passes as a root may hold a cache."""
    elsewhere = tmp_path / "elsewhere"

    assert make_cache(elsewhere, roots=[elsewhere]).directory == elsewhere / "nb-v1"


def test_variable_names_and_allows(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CLAUDE_FORCE_NB_CACHE_DIR is where the cache lies, wherever that is."""
    monkeypatch.setenv("CLAUDE_FORCE_NB_CACHE_DIR", str(tmp_path / "elsewhere"))

    assert ResponseCache().directory == tmp_path / "elsewhere" / "nb-v1"


def test_default_is_the_home(project: Path) -> None:
    """Without a claude.json the cache lies in ~/.claude/cache."""
    assert ResponseCache().directory == Path.home() / ".claude" / "cache" / "nb-v1"


def test_project_with_agents_has_its_own(project: Path) -> None:
    """With a claude.json the cache lies beside it."""
    (project / ".claude").mkdir()
    (project / ".claude" / "claude.json").write_text("{}")

    assert ResponseCache().directory == project / ".claude" / "cache" / "nb-v1"


def test_constructing_touches_nothing(tmp_path: Path) -> None:
    """A cache that is never used leaves no trace."""
    make_cache(tmp_path)

    assert list(tmp_path.iterdir()) == []


def test_directory_is_marked(tmp_path: Path) -> None:
    """Backup tools skip the directory, git neither commits it nor changes its line ends."""
    make_cache(tmp_path).store(REQUEST, make_result())
    folder = tmp_path / "nb-v1"

    assert (folder / "CACHEDIR.TAG").read_text().startswith("Signature: 8a477f597d28d172789f0688")
    assert (folder / ".gitignore").read_text() == "*\n"
    assert (folder / ".gitattributes").read_text() == "* -text\n"
    assert not (tmp_path / ".gitignore").exists()


def test_foreign_files_survive_everything(tmp_path: Path) -> None:
    """Clearing, pruning and evicting never touch a file that the cache did not name."""
    cache = make_cache(tmp_path, max_size_mb=0.01)
    cache.store(REQUEST, make_result())
    shard = cache.directory / "ab"
    shard.mkdir(exist_ok=True)
    names = ["notes.txt", "ab.json", f"{'c' * 64}.json", f"{'AB' * 32}.json", ".hidden"]
    for folder in (shard, cache.directory):
        for name in names:
            (folder / name).write_text("precious")
            os.utime(folder / name, (0, 0))

    for number in range(40):
        cache.store(make_request(str(number)), make_result("x" * 500))
    cache.prune()
    cache.clear()

    kept = [(folder / name).read_text() for folder in (shard, cache.directory) for name in names]
    assert kept == ["precious"] * 10


UNSAFE: Dict[str, Callable[[Path], Any]] = {
    "a link": lambda folder: (folder.rename(folder.with_name("x")), folder.symlink_to("x")),
    "writable by others": lambda folder: folder.chmod(0o777),
    "another user's": lambda folder: os.chown(folder, 12345, -1),
    "another format": lambda folder: (folder / "CACHEDIR.TAG").write_text("Signature: 1\n"),
    "a file": lambda folder: (folder.rename(folder.with_name("x")), folder.write_text("x")),
}


@pytest.mark.parametrize("name", UNSAFE)
def test_unsafe_directory_is_not_used(tmp_path: Path, name: str) -> None:
    """A directory that others control is left alone: memory only, and one warning."""
    if name == "another user's" and os.geteuid() != 0:
        pytest.skip("needs root")
    cache = make_cache(tmp_path, max_memory_entries=5)
    make_cache(tmp_path).store(make_request("make the directory"), make_result())
    UNSAFE[name](tmp_path / "nb-v1")

    with pytest.warns(CacheWarning, match="memory only") as caught:
        cache.lookup(REQUEST)
        cache.store(REQUEST, make_result())

    assert (cache.lookup(REQUEST).hit, len(caught)) == (True, 1)
    assert not cache.entry_path(REQUEST and _key()).exists()


def _key() -> str:
    from claude_force_nb.cache import request_key

    return request_key(REQUEST)


def test_readable_directory_is_closed(tmp_path: Path) -> None:
    """Others who could read the names lose that right; nothing could have been forged."""
    make_cache(tmp_path).store(REQUEST, make_result())
    (tmp_path / "nb-v1").chmod(0o755)

    assert make_cache(tmp_path).lookup(REQUEST).hit
    assert (tmp_path / "nb-v1").stat().st_mode & 0o777 == 0o700
