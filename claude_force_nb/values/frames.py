"""Data frames of different libraries behind one small interface.

Neither library is imported. A frame's own subclass is left behind first, so that only the
library's methods run, and only the cells that will be shown are ever read.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any, List, Optional, Protocol, Sequence, Tuple

from ..errors import PromptError
from .scalars import class_in


@dataclass(frozen=True)
class Cells:
    """The part of a frame that is shown.

    Attributes:
        columns: Labels of the columns, those of the index first.
        types: Name of each column's type; empty for the index.
        rows: The values, row by row.
    """

    columns: List[Any]
    types: List[str]
    rows: List[Tuple[Any, ...]]


class Frame(Protocol):
    """A data frame or series.

    Attributes:
        kind: What it calls itself, such as ``DataFrame`` or ``Series``.
        row_count: Its rows.
        column_count: Its columns; 1 for a series.
    """

    kind: str
    row_count: int
    column_count: int

    def cells(self, rows: int, columns: int) -> Cells:
        """The first *rows* of the first *columns*."""
        ...  # pragma: no cover

    def pick(self, positions: Sequence[int]) -> Frame:
        """The rows at *positions*, in that order."""
        ...  # pragma: no cover

    def first(self, rows: int) -> Frame:
        """The first *rows*."""
        ...  # pragma: no cover

    def described(self) -> Frame:
        """The library's own summary."""
        ...  # pragma: no cover


def as_frame(value: Any) -> Optional[Frame]:
    """The frame interface of *value*.

    Args:
        value: A pandas ``DataFrame``, ``Series`` or extension array, a Polars ``DataFrame`` or
            ``Series``, or anything else.

    Returns:
        The interface, or ``None`` if *value* is none of these.

    Raises:
        PromptError: *value* is a query that was not computed yet.
    """
    if class_in(value, "pandas", "DataFrame"):
        return PandasFrame(sys.modules["pandas"].DataFrame(value))
    if class_in(value, "pandas", "Series") or class_in(
        value, "pandas", "api.extensions.ExtensionArray"
    ):
        return PandasFrame(_one_column(sys.modules["pandas"].Series(value)), "Series")
    if class_in(value, "polars", "DataFrame"):
        return PolarsFrame(value)
    if class_in(value, "polars", "Series"):
        return PolarsFrame(value.to_frame(), "Series")
    if class_in(value, "polars", "LazyFrame"):
        raise PromptError(
            "A Polars LazyFrame has no rows yet.", advice="Insert name.collect() instead."
        )
    return None


def _one_column(series: Any) -> Any:
    return series.to_frame("value" if series.name is None else series.name)


class PandasFrame:
    """A pandas frame; its index is shown unless it only counts the rows.

    Args:
        frame: The frame, of the class ``DataFrame`` itself.
        kind: What to call it.
    """

    def __init__(self, frame: Any, kind: str = "DataFrame") -> None:
        self._frame = frame
        self.kind = kind
        self.row_count, self.column_count = frame.shape

    def cells(self, rows: int, columns: int) -> Cells:
        """The first *rows* of the first *columns*, after the index."""
        shown = self._frame.iloc[:rows, :columns]
        names, labels = self._index(shown)
        values = shown.itertuples(index=False, name=None) if columns else [()] * len(shown)
        return Cells(
            columns=names + list(shown.columns),
            types=[""] * len(names) + [str(kind) for kind in shown.dtypes],
            rows=[label + tuple(row) for label, row in zip(labels, values)],
        )

    def _index(self, shown: Any) -> Tuple[List[Any], List[Tuple[Any, ...]]]:
        index = self._frame.index
        counts_rows = class_in(index, "pandas", "RangeIndex") and index.name is None
        if counts_rows and (index.start, index.step) == (0, 1):
            return [], [()] * len(shown)
        if index.nlevels == 1:
            return [_or(index.name, "index")], [(label,) for label in shown.index]
        names = [_or(name, f"level {level}") for level, name in enumerate(index.names)]
        return names, list(shown.index)

    def pick(self, positions: Sequence[int]) -> Frame:
        """The rows at *positions*, in that order."""
        return PandasFrame(self._frame.iloc[list(positions)], self.kind)

    def first(self, rows: int) -> Frame:
        """The first *rows*."""
        return PandasFrame(self._frame.iloc[:rows], self.kind)

    def described(self) -> Frame:
        """What ``DataFrame.describe`` gives."""
        return PandasFrame(self._frame.describe())


def _or(label: Any, default: str) -> Any:
    return default if label is None else label


class PolarsFrame:
    """A Polars frame.

    Args:
        frame: The frame.
        kind: What to call it.
    """

    def __init__(self, frame: Any, kind: str = "DataFrame") -> None:
        self._frame = frame
        self.kind = kind
        self.row_count, self.column_count = frame.shape

    def cells(self, rows: int, columns: int) -> Cells:
        """The first *rows* of the first *columns*."""
        shown = self._frame.select(self._frame.columns[:columns]).head(rows)
        types = [str(kind) for kind in shown.dtypes]
        return Cells(columns=list(shown.columns), types=types, rows=shown.rows())

    def pick(self, positions: Sequence[int]) -> Frame:
        """The rows at *positions*, in that order."""
        return PolarsFrame(self._frame[list(positions)], self.kind)

    def first(self, rows: int) -> Frame:
        """The first *rows*."""
        return PolarsFrame(self._frame.head(rows), self.kind)

    def described(self) -> Frame:
        """What ``DataFrame.describe`` gives."""
        return PolarsFrame(self._frame.describe())
