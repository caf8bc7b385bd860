"""Data frames and series are bounded tables, and filters choose parts of values."""

from __future__ import annotations

import decimal
import math
import re
import textwrap
import time

import numpy as np
import pandas as pd
import pytest

from claude_force_nb.errors import PromptError
from claude_force_nb.values import FilterCall, ValueLimits, formed, show

LIMITS = ValueLimits()


class Hostile:
    """An object whose every method gives away a key or fails."""

    api_key = "sk-live-key"

    def __repr__(self):
        raise AssertionError("repr was called")

    __str__ = __len__ = __iter__ = __hash__ = __eq__ = __bool__ = __repr__


def frame():
    """A small frame of mixed types."""
    return pd.DataFrame({"n": [1, 2, 3], "x": [0.5, math.nan, 1e10], "b": [True, False, True]})


def table_rows(text):
    """The cells of a Markdown table's rows."""
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]] for row in rows]


class TestFrames:
    """Data frames and series are Markdown tables of bounded size."""

    def test_writes_table(self):
        """A frame shows its shape, its types and its rows."""
        assert show(frame(), LIMITS).text == textwrap.dedent(
            """\
            DataFrame: 3 rows × 3 columns
            Types: n int64, x float64, b bool

            | n | x | b |
            | --- | --- | --- |
            | 1 | 0.5 | True |
            | 2 | nan | False |
            | 3 | 10000000000.0 | True |"""
        )

    def test_says_what_is_left_out(self):
        """Model and reader learn which part of a frame is shown."""
        form = show(frame(), ValueLimits(max_rows=2, max_columns=2))

        assert form.note == "3×3 → first 2 rows, first 2 columns"
        assert "3 rows × 3 columns, shown: first 2 rows, first 2 columns" in form.text
        assert table_rows(form.text)[0] == ["n", "x"]

    @pytest.mark.parametrize(
        ("index", "labels"),
        [
            (None, None),
            (pd.RangeIndex(5, 8), ["index", "5"]),
            (pd.Index(["a", "b", "c"], name="who"), ["who", "a"]),
            (pd.MultiIndex.from_product([["a"], [1, 2, 3]]), ["level 0", "a"]),
        ],
    )
    def test_shows_telling_index(self, index, labels):
        """An index is shown unless it only counts the rows."""
        data = frame() if index is None else frame().set_index(index)
        header, _, first = table_rows(show(data, LIMITS).text)[:3]

        assert [header[0], first[0]] == (labels or ["n", "1"])

    @pytest.mark.parametrize(
        ("columns", "header"),
        [
            (["a", "a", "b"], ["a", "a", "b"]),
            ([None, 1, ("x", 2)], ["None", "1", "x / 2"]),
            (
                pd.MultiIndex.from_tuples([("u", 1), ("u", 2), ("v", 1)]),
                ["u / 1", "u / 2", "v / 1"],
            ),
            (["p|q", "line\nbreak", "\u202e"], ["p\\|q", "line\\nbreak", "\\u202e"]),
        ],
    )
    def test_survives_odd_columns(self, columns, header):
        """Repeated, nested and hostile column names keep their places."""
        data = frame()
        data.columns = columns

        assert table_rows(show(data, LIMITS).text)[0] == header

    @pytest.mark.parametrize(
        ("cell", "text"),
        [
            (None, "None"),
            ("a|b\nc\r\n|", r"a\|b\nc\r\n\|"),
            (
                "\u202e\x00\u2028\U000e0041",
                r"\u202e\x00\u2028\U000e0041".replace(r"\x00", r"\u0000"),
            ),
            ("\ud800", r"\ud800"),
            (b"\xff", "<1 bytes>"),
            ([1, {"a": "|"}], '[1, {"a": "\\|"}]'),
            (np.array([1, 2]), "[1, 2]"),
            (Hostile(), "<Hostile>"),
            (pd.NaT, "NaT"),
            (pd.Timestamp("2026-01-02"), "2026-01-02T00:00:00"),
            (decimal.Decimal("0.10"), "0.10"),
            ("x" * 201, "x" * 200 + "… (201 chars)"),
        ],
    )
    def test_writes_cell(self, cell, text):
        """A cell is one bounded line that cannot end its row, whatever it holds."""
        data = pd.DataFrame({"o": pd.Series([cell], dtype=object)})

        assert table_rows(show(data, LIMITS).text)[2] == [text]

    @pytest.mark.parametrize(
        "data",
        [
            pd.DataFrame(),
            pd.DataFrame({"a": []}),
            pd.DataFrame(index=[1, 2]),
            pd.DataFrame({"c": pd.Categorical(["a", None])}),
            pd.DataFrame({"i": pd.array([1, None], dtype="Int64")}),
            pd.DataFrame({"i": pd.interval_range(0, 2)}),
            pd.DataFrame({"s": pd.arrays.SparseArray([0, 1])}),
            pd.DataFrame({"t": pd.date_range("2026-01-01", periods=2, tz="UTC")}),
            pd.Series([1, 2], name="s"),
            pd.Series(["a"]).astype("category").array,
        ],
    )
    @pytest.mark.parametrize("name", [None, "csv", "json", "columns"])
    def test_shows_every_kind(self, data, name):
        """Empty frames and each of pandas' types have all forms."""
        form = formed(data, [FilterCall(name)] if name else [], LIMITS)

        assert form.kind == "table"
        assert form.text or (data.size, name) == (0, "csv")

    def test_leaves_subclass_behind(self):
        """Methods that a subclass overrides are not called."""

        class Trap(pd.DataFrame):
            iloc = columns = shape = property(Hostile.__repr__)
            head = itertuples = describe = Hostile.__repr__

        plain = frame()
        trap = Trap.__new__(Trap)
        object.__setattr__(trap, "_mgr", plain._mgr)

        assert show(trap, LIMITS).text == show(plain, LIMITS).text

    def test_changes_nothing(self):
        """A frame is the same after it was shown in every way."""
        data, before = frame(), frame()
        for name in ("head", "sample", "describe", "columns", "csv", "json"):
            formed(data, [FilterCall(name)], LIMITS)

        pd.testing.assert_frame_equal(data, before)

    def test_reads_only_its_head(self):
        """Ten million rows take hardly longer than ten."""
        data = pd.DataFrame({"n": np.arange(10_000_000)})
        show(frame(), LIMITS)
        started = time.process_time()
        form = show(data, LIMITS)

        assert time.process_time() - started < 0.2
        assert form.note == "10,000,000×1 → first 20 rows"

    def test_bounds_wide_table(self):
        """Rows that would pass the bound on characters are left out and said to be."""
        data = pd.DataFrame({str(n): ["x" * 200] * 20 for n in range(50)})
        form = show(data, LIMITS)

        assert len(form.text) < 1.1 * LIMITS.max_chars
        assert form.note == "20×50 → first 9 rows"

    def test_shows_polars(self):
        """A Polars frame or series looks as a pandas one does."""
        polars = pytest.importorskip("polars")
        data = polars.DataFrame({"a": [1, None], "b": ["x|", "y"]})

        assert table_rows(show(data, LIMITS).text)[2:] == [["1", "x\\|"], ["None", "y"]]
        assert table_rows(show(data["b"], LIMITS).text)[0] == ["b"]
        assert formed(data, [FilterCall("sample", (1,))], LIMITS).note == "2×2 → 1 sampled row"
        assert "null_count" in formed(data, [FilterCall("describe")], LIMITS).text
        with pytest.raises(PromptError, match="collect"):
            show(data.lazy(), LIMITS)


class TestFilters:
    """Filters choose a part or a form of a value."""

    @pytest.mark.parametrize(
        ("calls", "text"),
        [
            ([FilterCall("head", (1,)), FilterCall("csv")], "n,x,b\n1,0.5,True"),
            ([FilterCall("columns")], "- n: int64\n- x: float64\n- b: bool"),
            (
                [FilterCall("head", (), (("n", 1),)), FilterCall("json")],
                '[\n  {"n": 1, "x": 0.5, "b": true}\n]',
            ),
        ],
    )
    def test_writes_frame(self, calls, text):
        """A frame can be written as CSV, JSON and a list of its columns."""
        assert formed(frame(), calls, LIMITS).text == text

    @pytest.mark.parametrize(
        ("value", "name", "text"),
        [
            ("a\nb\nc", "head", "a\nb\n"),
            ([1, 2, 3], "head", "[1, 2]"),
            ((1, 2, 3), "head", "[1, 2]"),
            ([1, 2, 3, 4, 5], "sample", "[4, 5]"),
        ],
    )
    def test_chooses_items(self, value, name, text):
        """Lists and text have first items and lines, lists have samples."""
        assert formed(value, [FilterCall(name, (2,))], LIMITS).text == text

    def test_head_lifts_row_bound(self):
        """Rows that were asked for are shown even above the usual bound."""
        data = pd.DataFrame({"n": range(100)})

        assert formed(data, [FilterCall("head", (50,))], LIMITS).note == "100×1 → first 50 rows"

    @pytest.mark.parametrize(
        ("calls", "note"),
        [
            ([FilterCall("sample", (2,))], "100×1 → 2 sampled rows"),
            ([FilterCall("sample", (9,)), FilterCall("head", (3,))], None),
            ([FilterCall("head", (3,)), FilterCall("csv")], "100×1 → first 3 rows as CSV"),
            ([FilterCall("describe")], "100×1 → summary"),
            ([FilterCall("csv")], "100×1 → first 20 rows as CSV"),
            ([FilterCall("columns")], "100×1 → columns"),
        ],
    )
    def test_notes_part(self, calls, note):
        """The note tells the whole frame's shape and the part that was chosen."""
        data = pd.DataFrame({"n": range(100)})

        assert formed(data, calls, LIMITS).note == (note or "100×1 → first 3 of 9 sampled rows")

    @pytest.mark.parametrize("name", ["csv", "json"])
    def test_counts_missing_rows(self, name):
        """Text forms of a frame end with the number of rows that were left out."""
        form = formed(pd.DataFrame({"n": range(100)}), [FilterCall(name)], LIMITS)

        assert "… 80 more rows" in form.text

    def test_samples_repeat(self):
        """The same seed gives the same rows on every Python, another seed others."""
        data = pd.DataFrame({"n": range(1000)})

        def sampled(seed):
            calls = [FilterCall("sample", (3,), (("seed", seed),)), FilterCall("csv")]
            return formed(data, calls, LIMITS).text.splitlines()[1:]

        assert sampled(0) == ["394,394", "776,776", "864,864"]
        assert sampled(0) != sampled(1)

    @pytest.mark.parametrize(
        ("value", "calls", "message"),
        [
            (1, [FilterCall("head")], "frames, series, lists and, for head, text"),
            ({"a": 1}, [FilterCall("csv")], "data frames and series"),
            (Hostile(), [FilterCall("json")], "does not fit"),
            (frame(), [FilterCall("csv"), FilterCall("head")], "csv comes last"),
            (frame(), [FilterCall("heads")], "Did you mean head?"),
            (frame(), [FilterCall("head", (0,))], "between 1 and"),
            (frame(), [FilterCall("head", (10**6,))], "between 1 and"),
            (frame(), [FilterCall("sample", (1,), (("seed", -1),))], "between 0 and"),
            (frame(), [FilterCall("head", (1, 2))], "Usage: head"),
            (frame(), [FilterCall("head", (1,), (("n", 2),))], "Usage: head"),
            (frame(), [FilterCall("csv", (), (("n", 2),))], "Usage: csv"),
        ],
    )
    def test_refuses_misuse(self, value, calls, message):
        """A filter that does not fit value, place or arguments says how it is used."""
        with pytest.raises(PromptError, match=re.escape(message)):
            formed(value, calls, LIMITS)
