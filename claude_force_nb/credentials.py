"""Where the API key comes from.

In this order: an explicit argument, ``ANTHROPIC_API_KEY``, a ``.env`` file (with python-dotenv),
the system's keyring (with keyring). A notebook can also ask for it; that key lives in memory only.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Mapping, Optional, Union

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
    if explicit:
        return as_secret(explicit)
    value = (os.environ if environ is None else environ).get(VARIABLE)
    value = value or _from_dotenv(start or Path.cwd()) or _from_keyring()
    return Secret(value.strip()) if value and value.strip() else None


def as_secret(key: Union[str, Secret, None]) -> Optional[Secret]:
    """*key* wrapped so that it does not show."""
    return Secret(key) if isinstance(key, str) else key


def _from_dotenv(start: Path) -> Optional[str]:
    try:
        from dotenv import dotenv_values
    except ImportError:
        return None
    for folder in (start, *start.parents):
        path = folder / ".env"
        if path.is_file():
            # Interpolation would let a value pull in other variables of the environment.
            return dotenv_values(path, interpolate=False).get(VARIABLE)
    return None


def _from_keyring() -> Optional[str]:
    try:
        import keyring

        found: Optional[str] = keyring.get_password(KEYRING_SERVICE, VARIABLE)
    except Exception:  # backends raise their own errors: no D-Bus, locked, none installed
        return None
    return found
