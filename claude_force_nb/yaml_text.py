"""YAML as plain data: the small, safe part of the language that people write by hand.

What is read is text, lists and dicts of text, ``true``/``false``, ``null`` and integers. All else
stays text: ``no``, ``1.10`` and ``12:30:00`` mean what they look like, and the reader of a field
turns them into a number or a time where its schema asks for one.

Anchors, aliases, merge keys and tags are refused before anything is built: a few hundred bytes of
them can unfold into gigabytes, or name a Python object. Sizes and depth are bounded for the same
reason. Two equal keys are an error, because the second would silently win.
"""

from __future__ import annotations

import re
from typing import Any, Dict, Iterator, List, NoReturn, Optional, Tuple, Type

from .errors import InputError

MAX_BYTES = 64 * 1024
MAX_DEPTH = 20
MAX_NODES = 5_000

_WORDS: Dict[str, Optional[bool]] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
# At most 15 digits: beyond 2**53 an integer has no canonical JSON; a leading zero means a code.
_INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,14})")
_QUOTED_CHARS = 120
_QUOTE_IT = "Put quotes around a value that has special characters in it."
_SPELL_OUT = "Write the value out in each place."


def load_yaml(text: str, *, source: str, what: str, error: Type[InputError] = InputError) -> Any:
    """Read one YAML document.

    Args:
        text: The document.
        source: Where it comes from, for messages: a path or ``cell``.
        what: What it is, for messages, such as ``front matter``.
        error: Class of the errors raised.

    Returns:
        ``None``, a bool, an int, a string, or lists and string-keyed dicts of them; ``None`` for
        an empty document.

    Raises:
        InputError: It is not YAML, or uses a part of the language that is refused, or is too
            large. The message gives source, line and column, and the line itself.
    """
    if len(text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        raise error(
            f"The {what} of {source} is larger than {MAX_BYTES // 1024} KB.",
            advice="Move long texts into files of their own.",
        )
    return _Document(text, source, what, error).read()


class _Document:
    """One pass over the events of a document, building plain values."""

    def __init__(self, text: str, source: str, what: str, error: Type[InputError]) -> None:
        import yaml

        self._yaml = yaml
        self._text = text
        self._source = source
        self._what = what
        self._error = error
        self._nodes = 0
        self._events: Iterator[Any] = iter(yaml.parse(text, Loader=yaml.SafeLoader))

    def read(self) -> Any:
        yaml = self._yaml
        value: Any = None
        documents = 0
        try:
            for event in self._events:
                if isinstance(event, yaml.DocumentStartEvent):
                    documents += 1
                    if documents > 1:
                        self._refuse("a second document begins here", event.start_mark)
                elif isinstance(event, yaml.NodeEvent):
                    value = self._node(event, 0)
        except yaml.MarkedYAMLError as problem:
            mark = problem.problem_mark or problem.context_mark
            self._refuse(problem.problem or problem.context or "it is not YAML", mark, _QUOTE_IT)
        except yaml.reader.ReaderError as problem:
            self._refuse_character(problem)
        return value

    def _node(self, event: Any, depth: int) -> Any:
        yaml = self._yaml
        self._check(event, depth)
        if isinstance(event, yaml.ScalarEvent):
            return _scalar(event.value) if event.style is None else event.value
        if isinstance(event, yaml.SequenceStartEvent):
            return [self._node(item, depth + 1) for item in self._until(yaml.SequenceEndEvent)]
        return self._mapping(depth + 1)

    def _mapping(self, depth: int) -> Dict[str, Any]:
        found: Dict[str, Any] = {}
        for event in self._until(self._yaml.MappingEndEvent):
            key = self._key(event, depth)
            if key in found:
                self._refuse(f"the key {key!r} is there twice", event.start_mark, "Keep one.")
            found[key] = self._node(next(self._events), depth)
        return found

    def _key(self, event: Any, depth: int) -> str:
        self._check(event, depth)
        if not isinstance(event, self._yaml.ScalarEvent) or not event.value:
            self._refuse("a key must be a word", event.start_mark, _QUOTE_IT)
        if event.value == "<<" and event.style is None:
            self._refuse("merge keys are not read", event.start_mark, _SPELL_OUT)
        return str(event.value)

    def _until(self, end: Type[Any]) -> Iterator[Any]:
        for event in self._events:
            if isinstance(event, end):
                return
            yield event

    def _check(self, event: Any, depth: int) -> None:
        self._nodes += 1
        mark = event.start_mark
        if event.anchor is not None:  # also set on an alias, where it names the anchor
            advice = f"{_SPELL_OUT} A text that begins with & or * needs quotes."
            self._refuse("anchors and aliases are not read", mark, advice)
        if getattr(event, "tag", None) is not None:
            self._refuse("tags are not read", mark, "A text that begins with ! needs quotes.")
        if depth > MAX_DEPTH:
            self._refuse(f"it is nested deeper than {MAX_DEPTH} levels", mark)
        if self._nodes > MAX_NODES:
            self._refuse(f"it has more than {MAX_NODES:,} values", mark)

    def _refuse(self, problem: str, mark: Any, advice: str = "") -> NoReturn:
        if mark is None:
            raise self._error(f"{self._where()}: {problem}.", advice=advice)
        place = f"{self._where()}, line {mark.line + 1}, column {mark.column + 1}"
        line = (self._lines()[mark.line : mark.line + 1] or [""])[0]
        shown = f"\n    {_shown(line)}\n" if line.strip() else ""
        raise self._error(f"{place}: {problem}.{shown}", advice=advice) from None

    def _refuse_character(self, problem: Any) -> NoReturn:
        before = self._text[: problem.position]
        line = before.count("\n") + 1
        column = problem.position - (before.rfind("\n") + 1) + 1
        raise self._error(
            f"{self._where()}, line {line}, column {column}: "
            f"the character U+{_code_point(problem.character):04X} cannot be in YAML.",
            advice="Remove it; an editor may not show it.",
        ) from None

    def _where(self) -> str:
        return f"The {self._what} of {self._source}"

    def _lines(self) -> List[str]:
        # The line breaks that YAML counts, which are fewer than those of str.splitlines.
        return re.split("\r\n|[\r\n\x85\u2028\u2029]", self._text)


def _scalar(text: str) -> Any:
    if text in _WORDS:
        return _WORDS[text]
    return int(text) if _INTEGER.fullmatch(text) else text


def _shown(line: str) -> str:
    kept = line if len(line) <= _QUOTED_CHARS else line[: _QUOTED_CHARS - 1] + "…"
    return "".join(char if char.isprintable() else " " for char in kept)


def _code_point(character: Any) -> int:
    return character if isinstance(character, int) else ord(character)


def number_field(
    fields: Dict[str, Any], name: str, *, kind: Type[Any], within: Tuple[float, float]
) -> Any:
    """A number of *fields*, converted from text where need be.

    Args:
        fields: A mapping that :func:`load_yaml` gave.
        name: Its key.
        kind: ``int`` or ``float``.
        within: Least and greatest value allowed.

    Returns:
        The number, or ``None`` if the field is absent or null.

    Raises:
        ValueError: It is no such number; the message names the field.
    """
    value = fields.get(name)
    if value is None:
        return None
    least, greatest = within
    try:
        number = kind(value) if not isinstance(value, (bool, list, dict)) else None
    except (ValueError, OverflowError):
        number = None
    if number is None or not least <= number <= greatest:
        sort = "a whole number" if kind is int else "a number"
        raise ValueError(f"{name} must be {sort} from {least:g} to {greatest:g}, not {value!r}")
    return number
