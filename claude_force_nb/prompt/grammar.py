"""The grammar of templates: text with ``{{ name | filter(argument) }}`` in it.

::

    template = text { tag text }
    tag      = "{{" ( name | string ) { "|" filter } "}}"
    name     = identifier { "." part }
    filter   = identifier [ "(" [ argument { "," argument } ] ")" ]
    argument = [ identifier "=" ] whole number

Only ``{{`` begins a tag, in a longer run of braces the last two do; ``{``, ``}``, ``}}``, ``$``
and ``{%`` are text. A string is inserted as it is: ``{{ "{{" }}`` writes two literal braces.
Reading takes time linear in the template, and nothing is ever looked up on an object.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import Iterator, List, NoReturn, Optional, Tuple, Type

from ..errors import PromptError
from ..values import FilterCall, check_filter
from ..values.scalars import visible

MAX_NAME_CHARS = 200
LITERAL_BRACES = 'To write two literal braces, put {{ "{{" }}.'

_OPEN = re.compile(r"\{\{(?!\{)")
_TOKEN = re.compile(
    r"\s*(?:(?P<end>\}\})"
    r"|(?P<name>[^\W\d]\w*(?:\.[\w-]+)*)"
    r"|(?P<number>-?[0-9]{1,9}(?!\w))"
    r"|(?P<string>\"[^\"\n\\]*\"|'[^'\n\\]*')"
    r"|(?P<mark>[|(),=]))"
)
_QUOTED_CHARS = 120


@dataclass(frozen=True)
class Tag:
    """One ``{{ … }}``.

    Attributes:
        start: Where it begins in the template.
        end: Where the text after it begins.
        name: The variable, perhaps with dots; empty for a literal.
        literal: The literal string, if it is one.
        calls: The filters, from left to right.
    """

    start: int
    end: int
    name: str = ""
    literal: Optional[str] = None
    calls: Tuple[FilterCall, ...] = ()


def tags(template: str) -> Iterator[Tag]:
    """Read the tags of *template* in order.

    Raises:
        PromptError: A tag is malformed or names an unknown filter; with line and column.
    """
    opening = _OPEN.search(template)
    while opening:
        tag = _Reader(template, opening.start(), opening.end()).tag()
        yield tag
        opening = _OPEN.search(template, tag.end)


def fault(
    template: str, offset: int, what: str, advice: str = "", kind: Type[PromptError] = PromptError
) -> PromptError:
    """An error that says where in *template* it is: line, column and the line itself."""
    line_start = template.rfind("\n", 0, offset) + 1
    line_end = template.find("\n", offset)
    line_number, column = template.count("\n", 0, offset) + 1, offset - line_start + 1
    shown_start = max(line_start, offset - _QUOTED_CHARS // 2)
    shown_end = min(len(template) if line_end < 0 else line_end, shown_start + _QUOTED_CHARS)
    line = visible(template[shown_start:shown_end]).strip()
    return kind(f"{what} (line {line_number}, column {column}: {line})", advice=advice)


class _Reader:
    """Reads the one tag that begins at *start*."""

    def __init__(self, template: str, start: int, at: int) -> None:
        self._template = template
        self._start = start
        self._at = at
        self._advance()

    def _advance(self) -> None:
        self._token_start = self._at
        found = _TOKEN.match(self._template, self._at)
        self.kind = found.lastgroup if found else None
        self.text = found[self.kind] if found and self.kind else ""
        if found and self.kind:
            self._token_start, self._at = found.span(self.kind)

    def _take(self, kind: str, text: str = "") -> Optional[str]:
        """The token's text if it is of this kind (and text), stepping over it."""
        if self.kind != kind or (text and self.text != text):
            return None
        taken = self.text
        if kind != "end":
            self._advance()
        return taken

    def tag(self) -> Tag:
        literal = self._take("string")
        name = "" if literal else self._name()
        calls = self._calls()
        if self._take("end") is None:
            self._unexpected("}}")
        if literal is not None:
            return Tag(self._start, self._at, literal=literal[1:-1], calls=calls)
        return Tag(self._start, self._at, name, calls=calls)

    def _name(self) -> str:
        name = self._take("name") or self._unexpected("the name of a variable")
        if len(name) > MAX_NAME_CHARS:
            raise fault(self._template, self._start, "The name is too long.")
        # As Python does with identifiers, so that they meet in the notebook's namespace.
        return unicodedata.normalize("NFKC", name)

    def _calls(self) -> Tuple[FilterCall, ...]:
        calls: List[FilterCall] = []
        while self._take("mark", "|"):
            at = self._token_start
            call = self._call()
            try:
                check_filter(call)
            except PromptError as error:
                raise fault(self._template, at, error.what, error.advice) from error
            calls.append(call)
        return tuple(calls)

    def _call(self) -> FilterCall:
        name = self._take("name") or self._unexpected("the name of a filter")
        arguments: List[Tuple[str, int]] = []
        if self._take("mark", "("):
            while not self._take("mark", ")"):
                arguments.append(self._argument(after_named=bool(arguments and arguments[-1][0])))
        positional = tuple(number for keyword, number in arguments if not keyword)
        return FilterCall(name, positional, tuple(one for one in arguments if one[0]))

    def _argument(self, after_named: bool) -> Tuple[str, int]:
        """One argument as its name, perhaps empty, and its number; with the comma after it."""
        keyword = self._take("name") or ""
        if keyword and not self._take("mark", "="):
            self._unexpected("=")
        if after_named and not keyword:
            self._unexpected("a named argument")
        number = int(self._take("number") or self._unexpected("a whole number"))
        if not self._take("mark", ",") and self.text != ")":
            self._unexpected(", or )")
        return keyword, number

    def _unexpected(self, wanted: str) -> NoReturn:
        found = self._template[self._token_start : self._token_start + 20].split("\n")[0]
        shown = f"found {visible(found.strip())!r}" if found.strip() else "the line ends"
        raise fault(
            self._template,
            self._start,
            f"Expected {wanted}, but {shown}",
            f"A tag is {{{{ name }}}} or {{{{ name | filter(5) }}}}. {LITERAL_BRACES}",
        )
