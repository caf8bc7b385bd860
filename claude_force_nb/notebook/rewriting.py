"""Turning our magics into awaited calls.

IPython turns ``%%agent …`` into ``get_ipython().run_cell_magic('agent', …)``. Here that call gets
an ``await`` in front wherever one may stand: at the top level of a cell, also inside ``if`` or
``for``, and in an ``async def``; so IPython runs the cell on the kernel's own loop. Only a cell
that the kernel is about to run is rewritten: inside ``%%time``, ``%%capture`` or ``%run`` a cell is
already executing, and an ``await`` would have nowhere to go.
"""

from __future__ import annotations

import ast
import re
from typing import Any, Iterator, List, Tuple

MAGICS = ("agent", "workflow")
"""Magics that are awaited and may stand in a line or head a cell."""

_CALLS = ("run_cell_magic", "run_line_magic")
_CALL = re.compile(r"get_ipython\(\)\.run_(?:cell|line)_magic\('(?:agent|workflow)")
_MISPLACED = re.compile(rf"\s*get_ipython\(\)\.run_line_magic\('(%(?:{'|'.join(MAGICS)}))',")

Insertion = Tuple[int, int, str]


class Rewriter:
    """An entry of ``input_transformers_post``.

    Attributes:
        executing: Whether a cell is running now; kept up to date by the shell's events.
    """

    def __init__(self) -> None:
        self.executing = False

    def __call__(self, lines: List[str]) -> List[str]:
        """Put ``await`` in front of our magics, where it may stand."""
        misplaced = next(filter(None, map(_MISPLACED.match, lines)), None)
        if misplaced:
            # The rest of such a cell is prose, which would be a syntax error before any message.
            return [f"get_ipython().run_line_magic({misplaced.group(1)!r}, '')\n"]
        if self.executing or not any(map(_CALL.search, lines)):
            return lines
        return _awaited("".join(lines)).splitlines(keepends=True)

    def before_cell(self, *_: Any) -> None:
        """The shell starts to run a cell."""
        self.executing = True

    def after_cell(self, *_: Any) -> None:
        """The shell has run a cell."""
        self.executing = False


def _awaited(source: str) -> str:
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return source  # IPython reports it, with the line that is wrong
    lines = [line.encode("utf-8") for line in source.splitlines(keepends=True)]
    for line, column, text in sorted(_insertions(tree), reverse=True):
        before = lines[line - 1]
        lines[line - 1] = before[:column] + text.encode("ascii") + before[column:]
    return b"".join(lines).decode("utf-8")


def _insertions(node: ast.AST) -> Iterator[Insertion]:
    """What to insert, and where: line from 1, column in bytes."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.FunctionDef, ast.Lambda, ast.ClassDef, ast.Await)):
            continue
        if isinstance(child, ast.Expr) and _is_ours(child.value, MAGICS):
            # The magic has shown its value already; a bare call is not to show it again.
            yield from _around(child.value, "(await ", ", None)[1]")
        elif isinstance(child, ast.expr) and _is_ours(child):
            yield from _around(child, "(await ", ")")
        else:
            yield from _insertions(child)


def _around(call: ast.expr, before: str, after: str) -> Iterator[Insertion]:
    """Enclose *call*."""
    yield call.lineno, call.col_offset, before
    yield call.end_lineno or call.lineno, call.end_col_offset or 0, after


def _is_ours(node: ast.AST, magics: Tuple[str, ...] = (*MAGICS, "agents")) -> bool:
    """Whether *node* is the call that IPython makes of one of our *magics*."""
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args):
        return False
    shell, name = node.func.value, node.args[0]
    return (
        isinstance(shell, ast.Call)
        and isinstance(shell.func, ast.Name)
        and shell.func.id == "get_ipython"
        and isinstance(name, ast.Constant)
        and name.value in magics
        and node.func.attr in _CALLS
    )
