"""Whose file something is: what a stranger put into a shared folder is not picked up.

Agents and keys are looked for in parent folders, and ``/tmp`` is a parent that everybody may write
to. An agent found there would speak with a stranger's instructions, a key with a stranger's
account.
"""

from __future__ import annotations

import os
from pathlib import Path

_ADMINISTRATOR = 0


def belongs_here(path: Path, start: Path) -> bool:
    """Whether *path* is of the user, the administrator or the owner of *start*.

    Args:
        path: A file or folder that was found.
        start: The folder that the user chose to work in.

    Returns:
        ``False`` for somebody else's file and for one that cannot be looked at; always ``True``
        where files have no owners (Windows).
    """
    if not hasattr(os, "getuid"):
        return True
    try:
        owner = os.stat(path).st_uid
        return owner in (os.getuid(), _ADMINISTRATOR, os.stat(start).st_uid)
    except OSError:
        return False
