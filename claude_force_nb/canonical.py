"""Canonical JSON: one byte string for each meaning (RFC 8785, JSON Canonicalization Scheme).

Two requests that mean the same (``1`` and ``1.0``, keys in another order) give the same bytes;
what JSON cannot carry faithfully (NaN, lone surrogates, integers beyond 2**53, non-string keys)
is refused, because a cache key made from it would be wrong.
"""

from __future__ import annotations

import json
import math
from typing import Any, List

MAX_DEPTH = 64
MAX_SAFE_INTEGER = 2**53 - 1

_encode_string = json.encoder.JSONEncoder(ensure_ascii=False).encode
_encode_plain = json.JSONEncoder(
    ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False
).encode


def canonical_json(value: Any) -> bytes:
    """Encode *value* as RFC 8785 canonical JSON.

    Args:
        value: ``None``, booleans, numbers, strings, and lists, tuples and string-keyed dicts of
            them, at most ``MAX_DEPTH`` deep.

    Returns:
        UTF-8 bytes, equal exactly when the values mean the same.

    Raises:
        ValueError: The value has no canonical form (NaN, a lone surrogate, an integer beyond
            2**53 - 1, a key that is not a string, too deep, or not a JSON type).
    """
    text = _encode_plain(value) if _is_plain(value, MAX_DEPTH) else _encode(value)
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError("text with a lone surrogate has no canonical form") from error


def _is_plain(value: Any, depth: int) -> bool:
    """Check *value*; whether the standard encoder already gives its canonical form.

    It does when no float is inside and every key is ASCII: then Python's sort order is the
    UTF-16 order that the RFC asks for.
    """
    if depth < 0:
        raise ValueError(f"nested deeper than {MAX_DEPTH} levels")
    kind = type(value)
    if kind is str or value is None or kind is bool:
        return True
    if kind is int or kind is float:
        return _is_plain_number(value)
    if kind is dict:
        return _is_plain_object(value, depth)
    if kind is list or kind is tuple:
        # Every item is looked at, also after one that is not plain: each must be checked.
        return all([_is_plain(item, depth - 1) for item in value])  # noqa: C419
    raise ValueError(f"{kind.__name__} is not a JSON type")


def _is_plain_number(value: Any) -> bool:
    if type(value) is int:
        if not -MAX_SAFE_INTEGER <= value <= MAX_SAFE_INTEGER:
            raise ValueError("an integer beyond 2**53 has no canonical form")
        return True
    if not math.isfinite(value):
        raise ValueError(f"{value} has no canonical form")
    return False


def _is_plain_object(value: Any, depth: int) -> bool:
    plain = True
    for key, item in value.items():
        if type(key) is not str:
            raise ValueError(f"an object key of type {type(key).__name__} is not a string")
        plain = _is_plain(item, depth - 1) and key.isascii() and plain
    return plain


def _encode(value: Any) -> str:
    if isinstance(value, dict):
        keys: List[str] = sorted(value, key=lambda key: key.encode("utf-16-be", "surrogatepass"))
        return "{" + ",".join(f"{_encode_string(key)}:{_encode(value[key])}" for key in keys) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(map(_encode, value)) + "]"
    if isinstance(value, float):
        return _encode_float(value)
    return _encode_plain(value)


def _encode_float(value: float) -> str:
    """Write *value* as ECMAScript's ``Number.prototype.toString`` does (RFC 8785, 3.2.2.3)."""
    if value == 0:
        return "0"
    sign = "-" if value < 0 else ""
    mantissa, _, exponent = f"{abs(value)!r}".partition("e")
    whole, _, fraction = mantissa.partition(".")
    fraction = "" if fraction == "0" else fraction
    digits = (whole + fraction).lstrip("0")
    point = len(whole) + int(exponent or 0) - (len(whole + fraction) - len(digits))
    digits = digits.rstrip("0")
    if 0 < point <= 21:
        if len(digits) <= point:
            return sign + digits.ljust(point, "0")
        return f"{sign}{digits[:point]}.{digits[point:]}"
    if -6 < point <= 0:
        return f"{sign}0.{'0' * -point}{digits}"
    rest = f".{digits[1:]}" if len(digits) > 1 else ""
    return f"{sign}{digits[0]}{rest}e{point - 1:+d}"
