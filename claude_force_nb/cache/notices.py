"""Telling a user about trouble once, in a notebook and in the log.

A cache fails softly: nothing here may raise, and no text of a prompt or an answer is ever part
of a message.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import warnings
from typing import Set

logger = logging.getLogger("claude_force_nb.cache")
logger.addHandler(logging.NullHandler())


class CacheWarning(UserWarning):
    """The cache could not do what was expected of it; the answer itself is not affected."""


class Notices:
    """Warnings that are given once for each topic."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._told: Set[str] = set()

    def once(self, topic: str, message: str) -> None:
        """Warn with *message* unless something was said about *topic* before.

        Goes to the log and to :mod:`warnings`. A filter that turns warnings into errors does
        not make this raise: a failing cache must never cost an answer.
        """
        with self._lock:
            if topic in self._told:
                return
            self._told.add(topic)
        logger.warning(message, extra={"topic": topic})
        with contextlib.suppress(CacheWarning):
            warnings.warn(message, CacheWarning, stacklevel=3)

    def after_fork(self) -> None:
        """Replace a lock that another thread of the parent may have held."""
        self._lock = threading.Lock()
