"""Where the API key comes from.

In this order: an explicit argument, ``ANTHROPIC_API_KEY``, a ``.env`` file (with python-dotenv) of
the start folder or the nearest parent whose file has the key, the system's keyring (with keyring).
A notebook can also ask for it; that key lives in memory only.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Callable, Mapping, Optional, Union

from .ownership import belongs_here
from .redaction import Secret

VARIABLE = "ANTHROPIC_API_KEY"
KEYRING_SERVICE = "claude-force-nb"


def find_api_key(
    explicit: Union[str, Secret, None] = None,
    *,
    environ: Optional[Mapping[str, str]] = None,
    start: Optional[Path] = None,
) -> Optional[Secret]:
    """Find the API key.

    Args:
        explicit: A key that the caller has.
        environ: Environment to look in, by default the process's own.
        start: Folder whose ``.env`` (or that of a parent) is read.

    Returns:
        The key, or ``None`` when none is configured.
    """
    given = as_secret(explicit)
    if given:
        return given
    value = (os.environ if environ is None else environ).get(VARIABLE)
    value = value.strip() if value else ""
    value = value or _from_dotenv((start or Path.cwd()).absolute()) or _from_keyring() or ""
    return as_secret(value) or None


def as_secret(key: Union[str, Secret, None]) -> Optional[Secret]:
    """*key* wrapped so that it does not show; white space around it is not part of it."""
    return Secret(key.strip()) if isinstance(key, str) else key


def _from_dotenv(start: Path) -> Optional[str]:
    try:
        from dotenv import dotenv_values
    except ImportError:
        return None
    for folder in (start, *start.parents):
        path = folder / ".env"
        if os.path.isfile(path) and belongs_here(path, start):
            value = _from_file(path, dotenv_values)
            if value:
                return value
    return None


def _from_file(path: Path, read: Callable[..., Mapping[str, Optional[str]]]) -> str:
    try:
        # Interpolation would let a value pull in other variables of the environment.
        return (read(path, interpolate=False).get(VARIABLE) or "").strip()
    except (OSError, ValueError):  # unreadable, or not text: its bytes must not reach a message
        return ""


def _from_keyring() -> Optional[str]:
    try:
        import keyring

        found: Optional[str] = keyring.get_password(KEYRING_SERVICE, VARIABLE)
    except Exception:  # backends raise their own errors: no D-Bus, locked, none installed
        return None
    return found
