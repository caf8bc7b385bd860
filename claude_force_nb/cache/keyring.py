"""Where the signing secrets come from: the user, or a private file made on first use.

The file lies outside the cache, so that whoever copies a cache does not copy the right to sign.
There is no built-in default secret.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import time
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional

from ..errors import CacheError, WeakKeyError
from .notices import Notices
from .safe_files import (
    IS_WINDOWS,
    TooBig,
    exclusive,
    is_not_regular,
    read_regular,
    replace,
    sync_directory,
    temporary_name,
    write_new,
)
from .signing import MIN_SECRET_BYTES, KeyRing, SigningKey, hkdf_sha256

SECRET_VARIABLE = "CLAUDE_CACHE_SECRET"
MAX_RING_BYTES = 64 * 1024
PUBLISHED_SECRETS = frozenset(
    (
        "default_secret_change_in_production",
        "change_me_in_production",
        "changeme",
        "change_me",
        "password",
    )
)
_MIN_DISTINCT_CHARACTERS = 5
_HOW_TO = "Create one with: python -c 'import secrets; print(secrets.token_hex(32))'."


def default_ring_path() -> Path:
    """The key ring of this user on this machine."""
    from platformdirs import user_data_dir

    return Path(user_data_dir("claude_force_nb", appauthor=False)) / "cache-keys.json"


def given_secret(
    cache_secret: Optional[str], environ: Mapping[str, str], notices: Notices
) -> Optional[bytes]:
    """The secret that the user gave, by argument or variable; ``None`` if there is no usable one.

    A published secret protects nothing: it is refused, loudly, and the private key ring takes
    its place. A short or uniform one is accepted with a warning.

    Args:
        cache_secret: The argument, which wins over the variable ``CLAUDE_CACHE_SECRET``.
        environ: The environment.
        notices: Where warnings go.

    Returns:
        32 bytes derived from it.
    """
    text = cache_secret or environ.get(SECRET_VARIABLE) or ""
    if not text:
        return None
    if is_published(text):
        notices.once("weak-secret", _refusal())
        return None
    raw = text.encode("utf-8", "surrogatepass")
    if len(raw) < MIN_SECRET_BYTES or len(set(text)) < _MIN_DISTINCT_CHARACTERS:
        notices.once(
            "short-secret",
            "The cache secret is short or uniform: whoever gets a cache file can try to guess "
            f"it. {_HOW_TO}",
        )
    return hkdf_sha256(raw, b"user-secret")


def is_published(secret: str) -> bool:
    """Whether *secret* is a known default, which everybody can sign with."""
    return secret.strip().lower() in PUBLISHED_SECRETS


def _refusal() -> str:
    return (
        "The cache secret is a published default: anybody could forge answers with "
        "it. It is NOT used; a private, random key was taken instead, and answers signed with "
        f"the old secret are not trusted. {_HOW_TO} Set it as {SECRET_VARIABLE}."
    )


class RingFile:
    """The key ring on disk: a private JSON file, oldest key first.

    Args:
        path: The file; its directory is created with mode 0700.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def load(self) -> KeyRing:
        """Read the ring, creating it with one random key if there is none.

        When several processes create it at once, the first one wins and all use its key.

        Raises:
            WeakKeyError: The file is damaged, not ours, or others can read or change it.
            OSError: It cannot be read or created.
        """
        return KeyRing([bytes.fromhex(key["secret"]) for key in self._load_or_create()])

    def rotate(self) -> str:
        """Add a new key that signs from now on; old keys go on verifying.

        A ring that others could read is not kept: its keys may be known. It is moved aside, and
        what was signed with it becomes foreign.

        Returns:
            Id of the new key.

        Raises:
            CacheError: Another process is rotating.
            OSError: The ring cannot be written.
        """
        self._make_directory()
        with exclusive(self.path.with_name(self.path.name + ".lock")):
            keys = self._keys_worth_keeping()
            keys.append(_new_key())
            temporary = self._write_temporary(keys)
            replace(temporary, self.path)
            sync_directory(self.path.parent)
        return SigningKey(bytes.fromhex(keys[-1]["secret"])).id

    def version(self) -> object:
        """Something that changes when another process has changed the ring."""
        try:
            status = os.lstat(self.path)
        except OSError:
            return None
        return status.st_mtime_ns, status.st_ino

    def _load_or_create(self) -> List[Dict[str, Any]]:
        try:
            return self._read()
        except FileNotFoundError:
            self._create()
            return self._read()

    def _read(self) -> List[Dict[str, Any]]:
        raw, status = self._raw()
        if not IS_WINDOWS and (status.st_uid != os.geteuid() or status.st_mode & 0o077):
            raise _unusable(f"The key ring {self.path} can be read or changed by others.")
        try:
            keys = json.loads(raw)["keys"]
            if not keys or any(len(bytes.fromhex(key["secret"])) != 32 for key in keys):
                raise ValueError("no proper key")
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise _unusable(f"The key ring {self.path} is damaged.") from error
        return list(keys)

    def _raw(self) -> Any:
        try:
            return read_regular(self.path, MAX_RING_BYTES)
        except OSError as error:
            if not isinstance(error, TooBig) and not is_not_regular(error):
                raise
            raise _unusable(f"The key ring {self.path} is not a plain small file.") from error

    def _create(self) -> None:
        self._make_directory()
        temporary = self._write_temporary([_new_key()])
        try:
            self._publish(temporary)
        finally:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
        sync_directory(self.path.parent)

    def _publish(self, temporary: Path) -> None:
        """Give the complete file its name, unless another process did so first.

        Writing under the final name would let a second process read half a secret.
        """
        try:
            os.link(temporary, self.path)
        except FileExistsError:
            return
        except OSError:  # a file system without hard links
            with exclusive(self.path.with_name(self.path.name + ".lock")):
                if not os.path.lexists(self.path):
                    os.replace(temporary, self.path)

    def _make_directory(self) -> None:
        self.path.parent.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            os.mkdir(self.path.parent, 0o700)
        status = os.stat(self.path.parent)
        if IS_WINDOWS or not status.st_mode & 0o077:
            return
        if status.st_mode & 0o022 or status.st_uid != os.geteuid():
            raise _unusable(f"The directory {self.path.parent} can be changed by others.")
        os.chmod(self.path.parent, 0o700)

    def _write_temporary(self, keys: List[Dict[str, Any]]) -> Path:
        temporary = self.path.with_name(temporary_name() + secrets.token_hex(4))
        text = json.dumps({"version": 1, "keys": keys}, indent=1) + "\n"
        write_new(temporary, text.encode("ascii"), durable=True)
        return temporary

    def _keys_worth_keeping(self) -> List[Dict[str, Any]]:
        try:
            return self._read()
        except FileNotFoundError:
            return []
        except WeakKeyError:
            aside = self.path.with_name(f"{self.path.name}.refused-{secrets.token_hex(4)}")
            os.rename(self.path, aside)
            return []


def _new_key() -> Dict[str, Any]:
    return {"secret": secrets.token_hex(32), "created": int(time.time())}


def _unusable(what: str) -> WeakKeyError:
    return WeakKeyError(
        what,
        advice="Run `claude-force-nb cache rotate` to replace it; answers are kept in memory "
        "only until then.",
    )


class FixedSecret:
    """A ring of one secret that the user gave.

    Args:
        secret: 32 bytes or more.
    """

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def load(self) -> KeyRing:
        """The ring."""
        return KeyRing([self._secret])

    def rotate(self) -> str:
        """Refuse: the user has to do it.

        Raises:
            CacheError: Always.
        """
        raise CacheError(
            "The cache secret was given by argument or variable, so it cannot be rotated here.",
            advice=f"Change it where {SECRET_VARIABLE} or cache_secret is set.",
        )

    def version(self) -> object:
        """Never changes."""
        return None
