"""Warnings of this package as one readable line.

Python prints where in the code a warning was given and that line of code, which tells the reader
of a notebook nothing: what matters is the file and what to do, and both are in the message.
"""

from __future__ import annotations

import warnings
from typing import Any, Optional, Type

_PACKAGE = __name__.partition(".")[0]


class OneLineWarnings:
    """Prints our warnings in one line and leaves all others as they are."""

    def __init__(self) -> None:
        self._previous: Any = None

    def install(self) -> None:
        """Take over the formatting of warnings."""
        self._previous = warnings.formatwarning
        warnings.formatwarning = self._format

    def remove(self) -> None:
        """Give it back, unless somebody else has taken it over since."""
        if warnings.formatwarning == self._format:
            warnings.formatwarning = self._previous

    def _format(
        self,
        message: Any,
        category: Type[Warning],
        filename: str,
        lineno: int,
        line: Optional[str] = None,
    ) -> str:
        if category.__module__.partition(".")[0] == _PACKAGE:
            from .rendering import visible

            return f"{category.__name__}: {visible(' '.join(str(message).split()))}\n"
        return str(self._previous(message, category, filename, lineno, line))
