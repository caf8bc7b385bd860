"""Canonical JSON: one form for each meaning, and refusal where there is none."""

from __future__ import annotations

import json
import math
import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claude_force_nb.canonical import MAX_DEPTH, MAX_SAFE_INTEGER, canonical_json

pytestmark = pytest.mark.essential

NUMBERS = st.floats(allow_nan=False, allow_infinity=False) | st.integers(
    -MAX_SAFE_INTEGER, MAX_SAFE_INTEGER
)
TEXT = st.text(st.characters(exclude_categories=("Cs",)))
LEAVES = st.none() | st.booleans() | NUMBERS | TEXT
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=20,
)


def bits(pattern: str) -> float:
    """The double with this IEEE 754 bit pattern."""
    return float(struct.unpack(">d", bytes.fromhex(pattern))[0])


def shuffled(value: Any) -> Any:
    """The same value with the keys of every object in the opposite order."""
    if isinstance(value, dict):
        return {key: shuffled(value[key]) for key in reversed(list(value))}
    return [shuffled(item) for item in value] if isinstance(value, list) else value


@given(VALUES)
def test_parsing_gives_the_value_back(value: Any) -> None:
    """Canonical JSON is JSON, and loses nothing."""
    assert json.loads(canonical_json(value), parse_int=float) == value


@given(VALUES)
def test_canonical_form_is_stable(value: Any) -> None:
    """The canonical form of a canonical form is itself."""
    first = canonical_json(value)

    assert canonical_json(json.loads(first, parse_int=float)) == first


@given(VALUES)
def test_order_of_keys_is_irrelevant(value: Any) -> None:
    """Objects that differ in the order of their keys mean the same."""
    assert canonical_json(shuffled(value)) == canonical_json(value)


@settings(max_examples=500)
@given(VALUES)
def test_agrees_with_reference(value: Any) -> None:
    """The rfc8785 package, where it is installed, writes the same bytes."""
    rfc8785 = pytest.importorskip("rfc8785")

    assert canonical_json(value) == rfc8785.dumps(value)


@settings(max_examples=1_000)
@given(st.integers(0, 2**64 - 1).map(lambda number: bits(f"{number:016x}")))
def test_every_double_survives(value: float) -> None:
    """Any finite double is written so that reading gives the same double."""
    if math.isfinite(value):
        assert float(canonical_json(value)) == value


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("0000000000000000", "0"),
        ("8000000000000000", "0"),
        ("0000000000000001", "5e-324"),
        ("8000000000000001", "-5e-324"),
        ("7fefffffffffffff", "1.7976931348623157e+308"),
        ("ffefffffffffffff", "-1.7976931348623157e+308"),
        ("4340000000000000", "9007199254740992"),
        ("c340000000000000", "-9007199254740992"),
        ("4430000000000000", "295147905179352830000"),
        ("44b52d02c7e14af5", "9.999999999999997e+22"),
        ("44b52d02c7e14af6", "1e+23"),
        ("44b52d02c7e14af7", "1.0000000000000001e+23"),
        ("444b1ae4d6e2ef4e", "999999999999999700000"),
        ("444b1ae4d6e2ef4f", "999999999999999900000"),
        ("444b1ae4d6e2ef50", "1e+21"),
        ("3eb0c6f7a0b5ed8c", "9.999999999999997e-7"),
        ("3eb0c6f7a0b5ed8d", "0.000001"),
        ("41b3de4355555553", "333333333.3333332"),
        ("41b3de4355555554", "333333333.33333325"),
        ("becbf647612f3696", "-0.0000033333333333333333"),
        ("43143ff3c1cb0959", "1424953923781206.2"),
    ],
)
def test_numbers_of_the_standard(pattern: str, text: str) -> None:
    """The number samples of RFC 8785, appendix B."""
    assert canonical_json(bits(pattern)) == text.encode()


def test_keys_sort_by_utf16() -> None:
    """Keys sort by their UTF-16 code units, as RFC 8785, section 3.2.3, shows."""
    keys = ["\u20ac", "\r", "\ufb33", "1", "\U0001f600", "\x80", "\xf6"]

    ordered = list(json.loads(canonical_json(dict.fromkeys(keys))))

    assert ordered == ["\r", "1", "\x80", "\xf6", "\u20ac", "\U0001f600", "\ufb33"]


@pytest.mark.parametrize(
    ("one", "other"),
    [(1, 1.0), (0, -0.0), (100, 1e2), ((1, 2), [1, 2]), ({"a": 1, "b": 2}, {"b": 2.0, "a": 1})],
)
def test_same_meaning_same_bytes(one: Any, other: Any) -> None:
    """What JSON does not tell apart has one form."""
    assert canonical_json(one) == canonical_json(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (True, 1),
        (False, 0),
        (None, {}),
        ({"a": None}, {}),
        ("1", 1),
        ([], {}),
        ([[1], 2], [[1, 2]]),
    ],
)
def test_other_meaning_other_bytes(one: Any, other: Any) -> None:
    """What JSON tells apart never collides."""
    assert canonical_json(one) != canonical_json(other)


def nested(depth: int) -> Any:
    """A list in a list, *depth* times."""
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    "value",
    [
        math.nan,
        math.inf,
        -math.inf,
        "\ud800",
        {"\udfff": 1},
        {"é\udfff": 1.5},
        2**53,
        -(2**53),
        10**400,
        {1: "a"},
        {None: "a"},
        {True: 1},
        b"bytes",
        {1, 2},
        object(),
        [1.5, object()],
        [1.5, {"a": math.nan}],
        nested(MAX_DEPTH + 1),
        nested(5_000),
    ],
    ids=lambda value: type(value).__name__,
)
def test_no_form_is_a_value_error(value: Any) -> None:
    """What has no canonical form is refused, wherever it hides, with ValueError alone."""
    with pytest.raises(ValueError):
        canonical_json(value)


def test_deepest_allowed_value() -> None:
    """The limit of depth itself is fine."""
    assert canonical_json(nested(MAX_DEPTH)).count(b"[") == MAX_DEPTH
