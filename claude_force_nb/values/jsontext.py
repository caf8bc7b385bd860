"""Lists, dicts, sets and arrays as bounded JSON text.

Written here instead of by ``json``, because its output must be bounded while it is made, say
what was left out, show equal-looking keys (``1`` and ``"1"``) side by side and never call
``repr``. ``NaN`` and ``Infinity`` are written as Python's ``json`` writes them.
"""

from __future__ import annotations

import collections
import json
import re
import sys
from itertools import islice
from typing import Any, Iterable, List, Tuple

from ..errors import PromptError
from .limits import ValueLimits
from .scalars import class_in, is_a, nested_text, shortened, type_name, visible

ONE_LINE_CHARS = 88
MAX_SET_ITEMS = 100_000
SEQUENCES = (list, tuple, collections.deque, range)
SETS = (set, frozenset)

_HIDING_CODE = re.compile(r"\\U([0-9a-f]{8})")


def is_container(value: Any) -> bool:
    """Whether *value* is written as JSON: a list, tuple, deque, range, set, dict or view of one."""
    return is_a(value, dict, *SEQUENCES, *SETS, *_VIEWS)


_VIEWS: Tuple[type, ...] = (type({}.keys()), type({}.values()), type({}.items()))


class JsonText:
    """The bounded JSON text of one value.

    Attributes:
        text: The text. What was left out is marked inside it: ``"… 980 more"`` in a list,
            ``"…": "980 more"`` in a dict, ``"[…]"`` below the deepest level.
        cut: Whether something was left out.
        opaque: How many values have no text form and are shown as ``<TypeName>``.
    """

    def __init__(self, value: Any, limits: ValueLimits, max_chars: int = 0) -> None:
        self.cut = False
        self.opaque = 0
        self._limits = limits
        self._left = max_chars or limits.max_chars
        self.text = self._write(value, 0)

    def _write(self, value: Any, depth: int) -> str:
        if is_array(value) and not class_in(value, "numpy.ma.core", "MaskedConstant"):
            return self._array(_plain_array(value), depth)
        if not is_container(value):
            return self._spend(self._leaf(value), depth)
        if depth >= self._limits.max_depth:
            self.cut = True
            return self._spend('"{…}"' if is_a(value, dict) else '"[…]"', depth)
        if is_a(value, dict):
            return self._object(value, depth)
        return self._list(_in_order(value), container_length(value), self._limits.max_items, depth)

    def _spend(self, text: str, depth: int) -> str:
        self._left -= len(text) + 2 * depth + 3  # with its indent, comma and line break
        return text

    def _leaf(self, value: Any) -> str:
        constant = _constant(value)
        if constant:
            return constant
        text = nested_text(value)
        if text is None:
            self.opaque += 1
            return _quoted(f"<{type_name(value)}>")
        if _is_number(value) and not text.startswith("<"):
            return {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}.get(text, text)
        self.cut = self.cut or len(text) > self._limits.max_string_chars
        return _quoted(shortened(text, self._limits.max_string_chars))

    def _list(self, items: Iterable[Any], count: int, max_items: int, depth: int) -> str:
        parts: List[str] = []
        for item in islice(items, max_items):
            if self._left <= 0:
                break
            parts.append(self._write(item, depth + 1))
        if len(parts) < count:
            self.cut = True
            parts.append(f'"… {count - len(parts):,} more"')
        return _bracketed(_filled(parts), "[]", depth)

    def _object(self, mapping: Any, depth: int) -> str:
        parts: List[str] = []
        for key, item in islice(dict.items(mapping), self._limits.max_items):
            if self._left <= 0:
                break
            name = self._spend(self._key(key), depth)
            parts.append(f"{name}: {self._write(item, depth + 1)}")
        count = dict.__len__(mapping)
        if len(parts) < count:
            self.cut = True
            parts.append(f'"…": "{count - len(parts):,} more"')
        return _bracketed(parts, "{}", depth)

    def _key(self, key: Any) -> str:
        text = "None" if key is None else nested_text(key)
        if text is None:
            text = JsonText(key, self._limits, 200).text if is_a(key, tuple) else type_name(key)
        return _quoted(shortened(text, self._limits.max_string_chars))

    def _array(self, array: Any, depth: int) -> str:
        if array.ndim == 0:
            return self._write(array[()], depth)
        if depth >= self._limits.max_depth:
            self.cut = True
            return self._spend('"[…]"', depth)
        innermost = self._limits.max_columns if depth else self._limits.max_items
        most = innermost if array.ndim == 1 else self._limits.max_rows
        return self._list(iter(array), len(array), most, depth)


def is_array(value: Any) -> bool:
    """Whether *value* is a NumPy array."""
    return class_in(value, "numpy", "ndarray")


def _plain_array(array: Any) -> Any:
    """The array without its subclass, except for the mask, which hides values for a reason."""
    if class_in(array, "numpy.ma", "MaskedArray"):
        return array
    return sys.modules["numpy"].asarray(array)


def _constant(value: Any) -> str:
    if value is None or class_in(value, "numpy.ma.core", "MaskedConstant"):
        return "null"
    if is_a(value, bool) or class_in(value, "numpy", "bool_"):
        return "true" if value else "false"
    return ""


def _is_number(value: Any) -> bool:
    return is_a(value, int, float) or (
        class_in(value, "numpy", "number") and not class_in(value, "numpy", "complexfloating")
    )


def _quoted(text: str) -> str:
    quoted = visible(json.dumps(text, ensure_ascii=False))
    return _HIDING_CODE.sub(lambda code: json.dumps(chr(int(code[1], 16)))[1:-1], quoted)


def _bracketed(parts: List[str], brackets: str, depth: int) -> str:
    line = ", ".join(parts)
    if len(line) <= ONE_LINE_CHARS and "\n" not in line:
        return brackets[0] + line + brackets[1]
    indent = "  " * depth
    body = ",\n".join(f"{indent}  {part}" for part in parts)
    return f"{brackets[0]}\n{body}\n{indent}{brackets[1]}"


def _filled(parts: List[str]) -> List[str]:
    """Short items side by side: a hundred numbers need no hundred lines."""
    lines: List[str] = []
    for part in parts:
        if lines and part[0] not in "[{" and len(lines[-1]) + len(part) <= ONE_LINE_CHARS:
            lines[-1] += f", {part}"
        else:
            lines.append(part)
    return lines


def _in_order(value: Any) -> Iterable[Any]:
    """The items; those of a set by type and text, since its own order changes between processes."""
    if not is_a(value, *SETS):
        items: Iterable[Any] = _base(value).__iter__(value)
        return items
    if container_length(value) > MAX_SET_ITEMS:
        raise PromptError(
            f"A set of {container_length(value):,} items takes too long to put in order.",
            advice="Insert sorted(name)[:100] or the like.",
        )
    return sorted(_base(value).__iter__(value), key=_sort_key)


def _base(value: Any) -> Any:
    """The built-in class of a container, whose methods run no code of a subclass."""
    return next(kind for kind in (dict, *SEQUENCES, *SETS, *_VIEWS) if is_a(value, kind))


def container_length(value: Any) -> int:
    """The number of items of a container, whatever its subclass says."""
    count: int = _base(value).__len__(value)
    return count


def _sort_key(item: Any) -> Tuple[str, float, str]:
    number = float(item) if is_a(item, int, float) and -1e300 < item < 1e300 else 0.0
    text = nested_text(item)
    if text is None and is_a(item, tuple, frozenset):
        text = JsonText(item, ValueLimits(), 1_000).text
    return type_name(item), number, text or ""
