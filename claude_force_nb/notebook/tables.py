"""Small tables in a cell's output; every cell is escaped text."""

from __future__ import annotations

from html import escape
from typing import Any, Dict, Sequence


def table_bundle(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Dict[str, Any]:
    """A table as ``text/html`` and ``text/plain``.

    Args:
        columns: Headings.
        rows: One sequence of texts for each row, as long as *columns*.
    """
    from .rendering import visible

    shown = [[visible(str(cell)).replace("\n", " ") for cell in row] for row in rows]
    return {"text/html": _html(columns, shown), "text/plain": _plain(columns, shown)}


def show_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Display a table in the running cell."""
    from IPython.display import display

    display(table_bundle(columns, rows), raw=True)


def _html(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f'<th scope="col" style="text-align:left">{escape(c)}</th>' for c in columns)
    body = "".join(
        "<tr>"
        + "".join(f'<td style="text-align:left">{escape(cell)}</td>' for cell in row)
        + "</tr>"
        for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _plain(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [list(columns), *[list(row) for row in rows]]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in lines
    )
