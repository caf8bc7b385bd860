"""Turning ``%%agent`` cells into awaited calls.

IPython turns ``%%agent …`` into ``get_ipython().run_cell_magic('agent', …)``. Here that call gets
an ``await`` in front, so that IPython runs the cell on the kernel's own loop. Only a cell that the
kernel is about to run is rewritten: inside ``%%time``, ``%%capture`` or ``%run`` a cell is already
executing and an ``await`` would have nowhere to go.
"""

from __future__ import annotations

import re
from typing import Any, List

MAGICS = ("agent", "workflow")

_NAMES = "|".join(MAGICS)
_CELL = re.compile(rf"get_ipython\(\)\.run_cell_magic\('(?:{_NAMES})',")
_LINE = re.compile(
    rf"([\w.,\s\[\]'\"]+ = )?get_ipython\(\)\.run_line_magic\('(?:{_NAMES}|agents)',"
)
_MISPLACED = re.compile(rf"\s*get_ipython\(\)\.run_line_magic\('(%(?:{_NAMES}))',")


class Rewriter:
    """An entry of ``input_transformers_post``.

    Attributes:
        executing: Whether a cell is running now; kept up to date by the shell's events.
    """

    def __init__(self) -> None:
        self.executing = False

    def __call__(self, lines: List[str]) -> List[str]:
        """Put ``await`` in front of top-level calls of our magics."""
        misplaced = next(filter(None, map(_MISPLACED.match, lines)), None)
        if misplaced:
            # The rest of such a cell is prose, which would be a syntax error before any message.
            return [f"get_ipython().run_line_magic({misplaced.group(1)!r}, '')\n"]
        return lines if self.executing else [_awaited(line) for line in lines]

    def before_cell(self, *_: Any) -> None:
        """The shell starts to run a cell."""
        self.executing = True

    def after_cell(self, *_: Any) -> None:
        """The shell has run a cell."""
        self.executing = False


def _awaited(line: str) -> str:
    if _CELL.match(line):
        return f"await {line}"
    call = _LINE.match(line)
    if call:
        start = len(call.group(1) or "")
        return f"{line[:start]}await {line[start:]}"
    return line
