"""Promises about where the API key comes from, and that it stays hidden."""

from __future__ import annotations

import logging
import os
import pickle
import sys
from pathlib import Path
from types import ModuleType
from typing import Callable, Optional

import pytest

from claude_force_nb.credentials import KEYRING_SERVICE, VARIABLE, as_secret, find_api_key
from claude_force_nb.redaction import Secret

pytestmark = pytest.mark.essential

Store = Callable[[Optional[str]], None]


@pytest.fixture(autouse=True)
def keyring(monkeypatch: pytest.MonkeyPatch) -> Store:
    """A keyring of this test's own, empty at first; call it to put a key in."""
    module = ModuleType("keyring")
    keys = {}

    def get_password(service: str, name: str) -> Optional[str]:
        return keys.get((service, name))

    module.get_password = get_password  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "keyring", module)
    return lambda key: keys.update({(KEYRING_SERVICE, VARIABLE): key})


def found(start: Path, explicit: Optional[str] = None, **environ: str) -> Optional[str]:
    """The key that a notebook in *start* would use, as plain text."""
    key = find_api_key(explicit, environ=environ, start=start)
    return key.reveal() if key is not None else None


def dotenv(folder: Path, text: str) -> Path:
    """Write a ``.env`` file."""
    pytest.importorskip("dotenv")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ".env").write_text(text)
    return folder


def test_no_key_is_none(tmp_path: Path) -> None:
    """Where no key is configured there is none, not an empty one."""
    assert found(tmp_path) is None


def test_nearest_source_wins(tmp_path: Path, keyring: Store) -> None:
    """An argument wins over the variable, that over ``.env``, that over the keyring."""
    everywhere = []
    keyring("from-keyring")
    everywhere.append(found(tmp_path))
    dotenv(tmp_path, f"{VARIABLE}=from-file")
    everywhere.append(found(tmp_path))
    everywhere.append(found(tmp_path, ANTHROPIC_API_KEY="from-variable"))
    everywhere.append(found(tmp_path, "from-argument", ANTHROPIC_API_KEY="from-variable"))

    assert everywhere == ["from-keyring", "from-file", "from-variable", "from-argument"]


@pytest.mark.parametrize("blank", ["", " ", "\n"])
def test_blank_is_no_key(tmp_path: Path, keyring: Store, blank: str) -> None:
    """A source that holds nothing is passed over."""
    dotenv(tmp_path, f"{VARIABLE}=")
    keyring("from-keyring")

    assert found(tmp_path, blank, ANTHROPIC_API_KEY=blank) == "from-keyring"


def test_line_breaks_are_dropped(tmp_path: Path) -> None:
    """A key that was read from a file or pasted has no white space around it."""
    given = [found(tmp_path, " key\n"), found(tmp_path, ANTHROPIC_API_KEY="key\r\n")]

    assert given == ["key", "key"]


def test_nearest_file_with_a_key_wins(tmp_path: Path) -> None:
    """A ``.env`` file that has other things in it does not hide the project's."""
    dotenv(tmp_path, f"{VARIABLE}=far")
    dotenv(tmp_path / "a", f"export {VARIABLE}='near'")
    start = dotenv(tmp_path / "a" / "b", "OTHER=1")

    assert found(start) == "near"


def test_files_expand_nothing(tmp_path: Path) -> None:
    """A value in a file cannot pull in another variable of the environment."""
    dotenv(tmp_path, f"{VARIABLE}=${{HOME}}")

    assert found(tmp_path) == "${HOME}"


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() != 0, reason="needs root for chown")
def test_strangers_keys_are_not_used(tmp_path: Path) -> None:
    """A ``.env`` file that another user put above the notebook is left alone."""
    start = tmp_path / "notebooks"
    start.mkdir()
    os.chown(dotenv(tmp_path, f"{VARIABLE}=theirs") / ".env", 12_345, 12_345)

    assert found(start) is None


def test_binary_file_is_no_key(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A ``.env`` file that is not text counts as absent, and shows in no message."""
    dotenv(tmp_path, "")
    (tmp_path / ".env").write_bytes(b"ANTHROPIC_API_KEY=canary\xff\xfe")
    with caplog.at_level(logging.DEBUG):
        key = found(tmp_path)

    assert key is None
    assert "canary" not in caplog.text


def test_pipe_is_no_file(tmp_path: Path) -> None:
    """A pipe called ``.env`` is passed over instead of being waited for."""
    os.mkfifo(tmp_path / ".env")

    assert found(tmp_path) is None


def test_broken_keyring_is_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A keyring without a backend, as on a server, is as good as none."""

    def fail(service: str, name: str) -> str:
        raise RuntimeError("no backend")

    monkeypatch.setattr(sys.modules["keyring"], "get_password", fail)

    assert found(tmp_path) is None


@pytest.mark.parametrize("missing", ["dotenv", "keyring"])
def test_helpers_are_optional(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    """Without python-dotenv or keyring, their sources are skipped."""
    (tmp_path / ".env").write_text("")
    monkeypatch.setitem(sys.modules, missing, None)

    assert found(tmp_path) is None


def test_key_does_not_show(tmp_path: Path) -> None:
    """The key is in no repr, text or pickle of what holds it."""
    key = find_api_key(environ={VARIABLE: "canary"}, start=tmp_path)

    assert "canary" not in f"{key!r} {key} {[key]} {key!s:>20}"
    with pytest.raises(TypeError):
        pickle.dumps(key)


def test_secrets_pass_through() -> None:
    """A key that is wrapped already stays the same, and no key stays none."""
    key = Secret("canary")

    assert as_secret(key) is key
    assert as_secret(None) is None
