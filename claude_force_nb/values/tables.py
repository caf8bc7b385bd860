"""Frames as text: a Markdown table, CSV, JSON, or a list of columns."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from typing import Any, Callable, Iterable, List, Optional, Tuple

from .frames import Cells, Frame
from .jsontext import JsonText, is_array, is_container
from .limits import Form, ValueLimits
from .scalars import is_a, nested_text, shortened, type_name, visible


@dataclass(frozen=True)
class View:
    """A frame and what of it to show.

    Attributes:
        frame: The rows that may be shown.
        shape: Rows and columns of the frame it comes from.
        part: What the rows are, such as ``5 sampled rows``; empty for the first ones.
        max_rows: Rows to show; ``None`` for the usual bound.
    """

    frame: Frame
    shape: Tuple[int, int]
    part: str = ""
    max_rows: Optional[int] = None

    @classmethod
    def of(cls, frame: Frame) -> View:
        """The whole of *frame*, within the usual bounds."""
        return cls(frame, (frame.row_count, frame.column_count))

    def cells(self, limits: ValueLimits) -> Cells:
        """The values to show."""
        rows = limits.max_rows if self.max_rows is None else self.max_rows
        return self.frame.cells(rows, limits.max_columns)

    def note(self, shown: int, limits: ValueLimits) -> str:
        """The shape, and what part of it *shown* rows are."""
        part = self._shown_part(shown, limits)
        rows, columns = self.shape
        shape = f"{rows:,}×{columns:,}" if self._is_wide() else counted(rows, "row")
        return f"{shape} → {part}" if part else shape

    def heading(self, shown: int, limits: ValueLimits) -> str:
        """The same in words, for the model."""
        rows, columns = self.shape
        shape = counted(rows, "row")
        if self._is_wide():
            shape += f" × {counted(columns, 'column')}"
        part = self._shown_part(shown, limits)
        return f"{self.frame.kind}: {shape}" + (f", shown: {part}" if part else "")

    def _is_wide(self) -> bool:
        return self.frame.kind != "Series"

    def _shown_part(self, shown: int, limits: ValueLimits) -> str:
        parts = []
        if self.part and shown == self.frame.row_count:
            parts.append(self.part)
        elif shown < self.shape[0]:
            of = f" of {self.part}" if self.part else ""
            parts.append(f"first {counted(shown, 'row')}{of}")
        if limits.max_columns < self.frame.column_count:
            parts.append(f"first {counted(limits.max_columns, 'column')}")
        return ", ".join(parts)


def counted(count: int, noun: str) -> str:
    """*count* with its noun, in the plural where due."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def table(view: View, limits: ValueLimits) -> Form:
    """Show *view* as a Markdown table under its shape and column types.

    Line breaks and bars inside cells are escaped: no cell can end its row.
    """
    cells = view.cells(limits)
    write = _cell_writer(limits, _markdown)
    columns = [write(column) for column in cells.columns]
    lines = [_row(columns), _row(["---"] * len(columns))] if columns else []
    shown = _append_rows(lines, cells.rows, lambda row: _row(map(write, row)), limits)
    head = [view.heading(shown, limits)]
    types = [f"{name} {kind}" for name, kind in zip(columns, map(_short_type, cells.types)) if kind]
    if types:
        head.append(f"Types: {', '.join(types)}")
    return Form("table", view.note(shown, limits), "\n".join([*head, "", *lines]))


def csv_text(view: View, limits: ValueLimits) -> Form:
    """Show *view* as CSV; if rows were left out, a last line counts them."""
    cells = view.cells(limits)
    write = _cell_writer(limits, visible)
    lines = [_csv_row(map(write, cells.columns))]
    shown = _append_rows(lines, cells.rows, lambda row: _csv_row(map(write, row)), limits)
    if shown < view.frame.row_count:
        lines.append(f"… {view.frame.row_count - shown:,} more rows")
    return Form("table", f"{view.note(shown, limits)} as CSV", "\n".join(lines))


def json_text(view: View, limits: ValueLimits) -> Form:
    """Show *view* as a JSON array with one object on each line; if rows were left out, counted."""
    cells = view.cells(limits)
    names = [JsonText(_label(column), limits).text for column in cells.columns]

    def write(row: Tuple[Any, ...]) -> str:
        return "{" + ", ".join(f"{n}: {_json_cell(v, limits)}" for n, v in zip(names, row)) + "}"

    lines: List[str] = []
    shown = _append_rows(lines, cells.rows, write, limits)
    if shown < view.frame.row_count:
        lines.append(f'"… {view.frame.row_count - shown:,} more rows"')
    body = ",\n".join(f"  {line}" for line in lines)
    return Form("table", f"{view.note(shown, limits)} as JSON", f"[\n{body}\n]" if lines else "[]")


def column_list(view: View, limits: ValueLimits) -> Form:
    """List the columns of *view* with their types, one on each line."""
    cells = view.frame.cells(0, limits.max_columns)
    write = _cell_writer(limits, visible)
    pairs = [(write(name), _short_type(kind)) for name, kind in zip(cells.columns, cells.types)]
    lines = [f"- {name}: {kind}" if kind else f"- {name} (index)" for name, kind in pairs]
    hidden = view.frame.column_count - limits.max_columns
    if hidden > 0:
        lines.append(f"… {hidden:,} more columns")
    note = f"{view.note(view.shape[0], limits)} → columns"
    return Form("table", note, "\n".join(lines) or "(no columns)")


def _append_rows(
    lines: List[str],
    rows: Iterable[Tuple[Any, ...]],
    write: Callable[[Tuple[Any, ...]], str],
    limits: ValueLimits,
) -> int:
    """Add written rows until the value's bound is reached; how many were added."""
    left, shown = limits.max_chars - sum(map(len, lines)), 0
    for row in rows:
        line = write(row)
        left -= len(line) + 3
        if left < 0:
            break
        lines.append(line)
        shown += 1
    return shown


def _cell_writer(limits: ValueLimits, escape: Callable[[str], str]) -> Callable[[Any], str]:
    inner = limits.max_cell_chars

    def write(value: Any) -> str:
        return escape(shortened(_cell_text(value, limits), inner))

    return write


def _cell_text(value: Any, limits: ValueLimits) -> str:
    value = _label(value)
    if value is None:
        return "None"
    if is_container(value) or is_array(value):
        text = JsonText(value, limits, limits.max_cell_chars).text
        return " ".join(line.strip() for line in text.splitlines())
    text_or_none = nested_text(value)
    return f"<{type_name(value)}>" if text_or_none is None else text_or_none


def _label(value: Any) -> Any:
    """A label of several levels as one text."""
    if is_a(value, tuple) and all(nested_text(part) is not None for part in value):
        return " / ".join(nested_text(part) or "" for part in value)
    return value


def _json_cell(value: Any, limits: ValueLimits) -> str:
    text = JsonText(value, limits, limits.max_string_chars).text
    return " ".join(line.strip() for line in text.splitlines())


def _markdown(text: str) -> str:
    return visible(text).replace("|", "\\|")


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _csv_row(cells: Iterable[str]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="").writerow(cells)
    return buffer.getvalue()


def _short_type(kind: str) -> str:
    return visible(shortened(kind, 60))
