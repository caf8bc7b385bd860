"""Single values as text: numbers, dates, strings.

No method of an unknown class is ever called: ``repr`` of somebody's client may print its key.
"""

from __future__ import annotations

import datetime
import decimal
import re
import sys
import uuid
from pathlib import PurePath
from typing import Any, Callable, Optional, Tuple

from ..errors import PromptError

MAX_INTEGER_BITS = 10_000

# Characters that hide or reorder text (controls, bidirectional marks, tags) or are no text at
# all (lone surrogates).
_HIDING = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)
_SHORT_ESCAPES = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}
_PANDAS_SCALARS = {"Timestamp", "NaTType", "Timedelta", "Period", "Interval", "NAType"}


def is_a(value: Any, *kinds: type) -> bool:
    """Whether the type of *value* is one of *kinds*; unlike ``isinstance`` runs no code of it."""
    return issubclass(type(value), kinds)


def type_name(value: Any) -> str:
    """The class name of *value*, short and printable."""
    return visible(type(value).__name__[:80])


def class_in(value: Any, module: str, path: str) -> bool:
    """Whether *value* is a ``module.path`` object; false while *module* is not imported.

    Nothing is imported here: a value of a library's class exists only if the library does.
    """
    kind: Any = sys.modules.get(module)
    for part in path.split("."):
        kind = getattr(kind, part, None)
    return isinstance(kind, type) and issubclass(type(value), kind)


def visible(text: str) -> str:
    """*text* with an escape for each character that hides or reorders text."""
    return _HIDING.sub(_escape, text)


def _escape(found: Any) -> str:
    character = found.group()
    code = ord(character)
    width = 8 if code > 0xFFFF else 4
    return _SHORT_ESCAPES.get(character) or f"\\{'U' if width == 8 else 'u'}{code:0{width}x}"


def exact_text(value: str) -> str:
    """A plain ``str`` with the characters of *value*, whatever its subclass overrides."""
    return str.__str__(value)


def scalar_text(value: Any) -> Optional[str]:
    """The text of a single value.

    Args:
        value: Anything.

    Returns:
        Its exact text: floats as the shortest digits that read back the same, dates in ISO form;
        ``None`` if *value* is no scalar that is known here.

    Raises:
        PromptError: An integer is too large to write out.
    """
    for kind, write in _WRITERS:
        if issubclass(type(value), kind):
            return write(value)
    if class_in(value, "numpy", "generic") and not class_in(value, "numpy", "void"):
        return str(value)
    return str(value) if _is_pandas_scalar(value) else None


def _is_pandas_scalar(value: Any) -> bool:
    kind = type(value)
    return kind.__name__ in _PANDAS_SCALARS and str(kind.__module__).split(".")[0] == "pandas"


def _integer(value: int) -> str:
    if int.bit_length(value) > MAX_INTEGER_BITS:
        raise PromptError(
            f"An integer of {int.bit_length(value):,} bits is too large to write out.",
            advice="Insert it as text of your own, such as f'{x:.6e}'.",
        )
    return int.__repr__(value)


def _moment(value: datetime.datetime) -> str:
    # pandas' own classes know nanoseconds and NaT.
    return value.isoformat() if _is_pandas_scalar(value) else datetime.datetime.isoformat(value)


def _duration(value: datetime.timedelta) -> str:
    return str(value) if _is_pandas_scalar(value) else datetime.timedelta.__str__(value)


_WRITERS: Tuple[Tuple[type, Callable[[Any], str]], ...] = (
    (str, exact_text),
    (bool, bool.__repr__),
    (int, _integer),
    (float, float.__repr__),
    (complex, complex.__repr__),
    (datetime.datetime, _moment),
    (datetime.date, datetime.date.isoformat),
    (datetime.time, datetime.time.isoformat),
    (datetime.timedelta, _duration),
    (decimal.Decimal, decimal.Decimal.__str__),
    (uuid.UUID, uuid.UUID.__str__),
)


def shortened(text: str, max_chars: int) -> str:
    """*text*, cut to *max_chars* with a mark that tells its length."""
    return text if len(text) <= max_chars else f"{text[:max_chars]}… ({len(text):,} chars)"


def nested_text(value: Any) -> Optional[str]:
    """As :func:`scalar_text` for a value inside another: paths are names, bytes are counted.

    Nothing inside a container stops a prompt: an integer too large is described.
    """
    if is_a(value, PurePath):
        return str(value)
    if is_a(value, bytes, bytearray):
        return f"<{len(value):,} bytes>"
    try:
        return scalar_text(value)
    except PromptError:
        return f"<int of {int.bit_length(value):,} bits>"
