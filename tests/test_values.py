"""What the values of a notebook look like in a prompt."""

from __future__ import annotations

import collections
import dataclasses
import datetime
import decimal
import enum
import json
import math
import os
import re
import subprocess
import sys
import textwrap
import uuid
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from claude_force_nb.errors import PromptError, SecretInPrompt
from claude_force_nb.records import AgentResult
from claude_force_nb.redaction import Secret
from claude_force_nb.values import FilterCall, ValueLimits, estimate_tokens, formed, show

pytestmark = pytest.mark.essential

LIMITS = ValueLimits()
HIDING = re.compile("[\x00-\x09\x0b-\x1f\x7f\u200e\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


class Hostile:
    """An object whose every method gives away a key or fails."""

    api_key = "sk-live-key"

    def __repr__(self):
        raise AssertionError("repr was called")

    __str__ = __len__ = __iter__ = __hash__ = __eq__ = __bool__ = __repr__


class TestScalars:
    """Single values are written exactly."""

    @pytest.mark.parametrize(
        ("value", "text"),
        [
            ("a\tb ", "a\tb "),
            (3, "3"),
            (True, "True"),
            (0.1, "0.1"),
            (1e22, "1e+22"),
            (math.nan, "nan"),
            (1 + 2j, "(1+2j)"),
            (decimal.Decimal("1.10"), "1.10"),
            (datetime.date(2026, 1, 2), "2026-01-02"),
            (datetime.datetime(2026, 1, 2, 3), "2026-01-02T03:00:00"),
            (datetime.time(1, 2), "01:02:00"),
            (datetime.timedelta(hours=1), "1:00:00"),
            (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
            (np.float32(0.1), "0.1"),
            (np.int64(7), "7"),
            (np.bool_(True), "True"),
            (pd.Timestamp(2026, 1, 2, nanosecond=5), "2026-01-02T00:00:00.000000005"),
            (pd.NaT, "NaT"),
            (pd.NA, "<NA>"),
            (pd.Period("2026-01"), "2026-01"),
        ],
    )
    def test_writes_scalar(self, value, text):
        """A scalar's text is exact and the same everywhere."""
        assert show(value, LIMITS).text == text

    def test_ignores_subclass_methods(self):
        """A text or number of a subclass is written as the built-in class would."""

        class Text(str):
            __str__ = __repr__ = __format__ = __len__ = Hostile.__repr__

        class Number(int):
            __str__ = __repr__ = Hostile.__repr__

        assert [show(Text("a"), LIMITS).text, show(Number(3), LIMITS).text] == ["a", "3"]

    def test_refuses_giant_integer(self):
        """An integer whose digits would take minutes is refused at once."""
        with pytest.raises(PromptError, match="bits"):
            show(1 << 10**7, LIMITS)

    def test_never_cuts_text(self):
        """A text is inserted whole up to its bound, and refused above it."""
        assert len(show("x" * 100_000, LIMITS).text) == 100_000
        with pytest.raises(PromptError, match="100,001 characters"):
            show("x" * 100_001, LIMITS)

    def test_refuses_half_surrogate(self):
        """Text that cannot be sent as UTF-8 is refused with the way to clean it."""
        with pytest.raises(PromptError, match="replace"):
            show("a\ud800", LIMITS)


class TestRefused:
    """What has no form is refused without looking into it."""

    @pytest.mark.parametrize(
        ("value", "advice"),
        [
            (None, "return None"),
            (Hostile(), "text of it yourself"),
            (Hostile, "inspect.getsource"),
            (len, "inspect.getsource"),
            (iter([1]), "list first"),
            (dataclasses.make_dataclass("Point", ["x"])(1), "asdict"),
            (pd.DataFrame({"n": [1]}).groupby("n"), "Aggregate"),
            (enum.Enum("Color", "RED").RED, "text of it yourself"),
            (b"\x00\x01", "decode"),
        ],
    )
    def test_refuses_with_advice(self, value, advice):
        """The error says what to do, and no method of the value runs."""
        with pytest.raises(PromptError) as caught:
            show(value, LIMITS)

        assert advice in caught.value.advice
        assert "sk-live-key" not in str(caught.value)

    def test_refuses_secret(self):
        """A held key has no form at all."""
        with pytest.raises(SecretInPrompt):
            show(Secret("abc"), LIMITS)


class TestJson:
    """Lists, dicts and sets are bounded JSON."""

    @pytest.mark.parametrize(
        ("value", "text"),
        [
            ([], "[]"),
            ({}, "{}"),
            ((1, "a", None, True), '[1, "a", null, true]'),
            ({"a": [1.5, {"b": None}]}, '{"a": [1.5, {"b": null}]}'),
            ({3, 1, 2}, "[1, 2, 3]"),
            (frozenset({"b", "a"}), '["a", "b"]'),
            ({1, "a", 0.5, (2, "x")}, '[0.5, 1, "a", [2, "x"]]'),
            (range(3), "[0, 1, 2]"),
            (collections.deque([1]), "[1]"),
            (collections.OrderedDict(a=1).keys(), '["a"]'),
            (collections.Counter("aab"), '{"a": 2, "b": 1}'),
            ({1: "a", "1": "b", None: 0, (1, 2): 3}, None),
            ([math.inf, math.nan], "[Infinity, NaN]"),
            ([np.float32(0.1), np.int8(1), np.bool_(False)], "[0.1, 1, false]"),
            (
                [datetime.date(2026, 1, 2), Path("a/b"), b"abc"],
                '["2026-01-02", "a/b", "<3 bytes>"]',
            ),
            ([1 << 20_000], '["<int of 20,001 bits>"]'),
            ([np.array([[1, 2]])], "[[[1, 2]]]"),
            (pd.Index(["a", "b"]), '["a", "b"]'),
        ],
    )
    def test_writes_container(self, value, text):
        """A container's JSON text is the same in every process."""
        expected = text or '{"1": "a", "1": "b", "None": 0, "[1, 2]": 3}'
        assert show(value, LIMITS).text == expected

    def test_is_valid_json(self):
        """What Python's reader takes back is the value itself."""
        value = {"a\n|\u202e\U000e0041": ["x" * 90, "y" * 90, {"deep": [[1, 2], [3]]}]}
        assert json.loads(show(value, LIMITS).text) == value

    def test_escapes_hiding_characters(self):
        """Characters that hide or reorder text are visible escapes."""
        assert not HIDING.search(show(["\u202e\x1b[2J\u2066\ud800"], LIMITS).text)

    def test_counts_what_is_left_out(self):
        """Items, levels and characters beyond the bounds are marked where they are missing."""
        limits = ValueLimits(max_items=2, max_depth=2, max_string_chars=3)
        form = show({"a": [1, 2, 3], "b": [["deep"]], "c": 0}, limits)

        assert json.loads(form.text) == {"a": [1, 2, "… 1 more"], "b": ["[…]"], "…": "1 more"}
        assert show(["abcdef"], limits).text == '["abc… (6 chars)"]'
        assert form.note == "dict of 3 → its beginning"

    def test_shows_unknown_by_type(self):
        """An object without a form is named by its type and counted in the note."""
        form = show([Hostile(), 1], LIMITS)

        assert (form.text, form.note) == ('["<Hostile>", 1]', "list of 2, 1 shown by type only")

    def test_ends_in_cycle(self):
        """A list that holds itself ends at the deepest level."""
        value = []
        value.append(value)

        assert show(value, LIMITS).text.count("[") == LIMITS.max_depth + 1

    @pytest.mark.parametrize(
        "value",
        [
            [["x" * 2_000] * 100] * 100,
            {str(i): {str(j): [0] * 100 for j in range(100)} for i in range(100)},
            [[[[[[[1] * 100] * 100] * 100] * 100] * 100] * 100] * 100,
            np.zeros((50, 50, 50, 50)),
        ],
    )
    def test_bounds_whole_text(self, value):
        """However a value is nested, its text stays near the bound."""
        assert len(show(value, LIMITS).text) < 1.2 * LIMITS.max_chars

    def test_refuses_giant_set(self):
        """A set that takes seconds to sort is refused with the way out."""
        with pytest.raises(PromptError, match="sorted"):
            show(set(range(100_001)), LIMITS)

    def test_ignores_subclass_iteration(self):
        """A list of a subclass is read as a list."""

        class Items(list):
            __iter__ = __len__ = Hostile.__repr__

        assert formed(Items([1, 2]), [FilterCall("json")], LIMITS).text == "[1, 2]"

    def test_keeps_set_order_between_processes(self):
        """Sets of text come in the same order whatever the hash seed is."""
        code = textwrap.dedent(
            """
            from claude_force_nb.values import ValueLimits, show
            print(show({"a", "b", "c", "d", ("e", 1)}, ValueLimits()).text)
            """
        )
        texts = {
            subprocess.run(
                [sys.executable, "-c", code],
                env={**os.environ, "PYTHONHASHSEED": seed},
                stdout=subprocess.PIPE,
                check=True,
            ).stdout
            for seed in ("1", "2", "3")
        }
        assert texts == {b'["a", "b", "c", "d", ["e", 1]]' + os.linesep.encode()}


class TestArrays:
    """NumPy arrays show shape, type and the beginning of each dimension."""

    @pytest.mark.parametrize(
        ("value", "text"),
        [
            (np.array([1, 2]), "ndarray 2 int64:\n[1, 2]"),
            (np.array([[0.1, np.nan]]), "ndarray 1×2 float64:\n[[0.1, NaN]]"),
            (np.array(3.5), "ndarray 0-dimensional float64:\n3.5"),
            (np.array([]), "ndarray 0 float64:\n[]"),
            (np.ma.array([1, 2], mask=[0, 1]), "MaskedArray 2 int64:\n[1, null]"),
            (np.array([object()]), 'ndarray 1 object:\n["<object>"]'),
        ],
    )
    def test_writes_array(self, value, text):
        """An array's values are exact, missing ones marked."""
        assert show(value, LIMITS).text == text

    def test_bounds_dimensions(self):
        """Only the beginning of a large array is read."""
        form = show(
            np.zeros((1000, 1000, 1000), dtype="i1"), ValueLimits(max_rows=1, max_columns=2)
        )

        assert form.text.endswith('[[[0, 0, "… 998 more"], "… 999 more"], "… 999 more"]')
        assert form.note == "1,000×1,000×1,000 → its beginning"


class TestForms:
    """A form knows its size, cost and identity."""

    @pytest.mark.parametrize(
        ("text", "tokens"),
        [("", 0), ("a", 1), ("abcd", 1), ("abcde", 2), ("äö", 2), ("日本 ab", 3)],
    )
    def test_estimates_tokens(self, text, tokens):
        """Four ASCII characters are a token, and so is any other one."""
        assert estimate_tokens(text) == tokens

    def test_digest_tells_change(self):
        """Another value has another digest, the same value the same."""
        digests = {show(value, LIMITS).sha256 for value in ("a", "b", "a", b"GIF89a")}

        assert len(digests) == 3

    def test_inserts_answer(self):
        """An agent's result stands for its text, a failed one for nothing."""
        assert show(AgentResult("echo", True, "hi"), LIMITS).text == "hi"
        with pytest.raises(PromptError, match="echo that it comes from failed"):
            show(AgentResult("echo", False, "h", state="failed"), LIMITS)

    def test_imports_no_library(self):
        """Showing plain values imports none of the data libraries."""
        code = textwrap.dedent(
            """
            import sys
            from claude_force_nb.prompt import render
            render("{{ a }}{{ b }}", {"a": [1], "b": "text"})
            heavy = {"numpy", "pandas", "matplotlib", "PIL", "polars", "IPython", "anthropic"}
            print(sorted(heavy & set(sys.modules)))
            """
        )
        shown = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, check=True)

        assert shown.stdout.split() == [b"[]"]
