"""Filling a template: values become bounded text or blocks first, then they are put in once."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from itertools import islice
from typing import Any, Dict, Iterable, Iterator, List, Mapping, NoReturn, Optional, Tuple, Union

from ..errors import PromptError, SecretInPrompt
from ..redaction import looks_secret
from ..values import DEFAULT_LIMITS, FilterCall, Form, ValueLimits, estimate_tokens, formed
from .grammar import Tag, fault, tags

Content = Union[str, Tuple[Mapping[str, Any], ...]]
Namespaces = Mapping[str, Mapping[str, Any]]

MAX_SUGGESTED_FROM = 5_000

_BAR = re.compile(r"(?<!\\)\|")


@dataclass(frozen=True)
class Insertion:
    """What one tag inserted.

    Attributes:
        name: The variable.
        kind: ``text``, ``scalar``, ``table``, ``array``, ``json``, ``image`` or ``document``.
        note: Name, shape, what was left out and the estimated tokens, a few words.
        size_chars: Characters of the text, or of a block's base64 data.
        tokens_estimate: About how many tokens it costs.
        sha256: Digest of what the model gets; another one means that the value changed.
    """

    name: str
    kind: str
    note: str
    size_chars: int
    tokens_estimate: int
    sha256: str


@dataclass(frozen=True)
class RenderedPrompt:
    """A prompt that is ready to be sent.

    Attributes:
        content: A text; or, with images or documents in it, the content blocks of the Messages
            API in the template's order.
        manifest: What was inserted, each tag once however often it is written.
    """

    content: Content
    manifest: Tuple[Insertion, ...] = ()

    @property
    def text(self) -> str:
        """The text alone, without images and documents."""
        if isinstance(self.content, str):
            return self.content
        return "".join(block["text"] for block in self.content if block["type"] == "text")

    @property
    def has_blocks(self) -> bool:
        """Whether there are images or documents."""
        return not isinstance(self.content, str)

    @property
    def manifest_line(self) -> str:
        """The manifest in one line, such as ``df 1,204×8 → first 20 rows, ≈3.1k tokens``."""
        return " · ".join(insertion.note for insertion in self.manifest)

    @property
    def tokens_estimate(self) -> int:
        """About how many tokens the prompt has, blocks included."""
        blocks = (one for one in self.manifest if one.kind in ("image", "document"))
        return estimate_tokens(self.text) + sum(one.tokens_estimate for one in blocks)


def variables_in(template: str) -> List[str]:
    """The names that *template* inserts, each once, in order.

    Raises:
        PromptError: A tag is malformed.
    """
    return list(dict.fromkeys(tag.name for tag in tags(template) if tag.name))


def render(
    template: str,
    variables: Mapping[str, Any],
    *,
    allow_secrets: bool = False,
    limits: ValueLimits = DEFAULT_LIMITS,
    namespaces: Optional[Namespaces] = None,
) -> RenderedPrompt:
    """Put values into a template.

    Each tag is replaced by its value's form, which is never read again as a template; all other
    text stays as it is. Attributes of values are never looked up.

    Args:
        template: The text with tags.
        variables: Values by name, such as a notebook's namespace.
        allow_secrets: Insert values even if they look like keys or passwords.
        limits: How much of each value, and of all together, may be inserted.
        namespaces: Further values by dotted name: ``{"steps": {"a": …, "a.output": …}}`` is what
            ``{{ steps.a }}`` and ``{{ steps.a.output }}`` insert. A dotted name is looked up
            here alone, the whole rest after the first dot as one key.

    Raises:
        PromptError: The template is malformed, a name is unknown, or a value has no form or is
            too large. The message gives line, column and the line.
        SecretInPrompt: A value looks like a key or password; the message names the variable.
    """
    return _Rendering(template, variables, allow_secrets, limits, namespaces or {}).run()


class _Rendering:
    """One pass over a template."""

    def __init__(
        self,
        template: str,
        variables: Mapping[str, Any],
        allow_secrets: bool,
        limits: ValueLimits,
        namespaces: Namespaces,
    ) -> None:
        self._template = template
        self._variables = variables
        self._allow_secrets = allow_secrets
        self._limits = limits
        self._namespaces = namespaces
        self._forms: Dict[Tuple[str, Tuple[FilterCall, ...]], Form] = {}
        self._pieces: List[Union[str, Mapping[str, Any]]] = []
        self._chars = 0
        self._media_bytes = 0

    def run(self) -> RenderedPrompt:
        at = 0
        for tag in tags(self._template):
            self._add_text(self._template[at : tag.start], tag.start)
            self._add_tag(tag)
            at = tag.end
        self._add_text(self._template[at:], at)
        notes = tuple(_insertion(name, form) for (name, _), form in self._forms.items())
        return RenderedPrompt(_content(self._pieces), notes)

    def _add_tag(self, tag: Tag) -> None:
        if tag.literal is not None and not tag.calls:
            self._add_text(tag.literal, tag.start)
            return
        form = self._form(tag)
        if form.block is not None:
            self._add_block(form, tag)
            return
        self._add_text(form.text, tag.start)
        if form.kind == "table" and self._template[tag.end : tag.end + 1] not in ("", "\n", "\r"):
            self._add_text("\n", tag.start)  # else the text after it would join the last row

    def _form(self, tag: Tag) -> Form:
        if tag.literal is not None:
            raise fault(self._template, tag.start, "A literal takes no filters.")
        if (tag.name, tag.calls) not in self._forms:
            self._forms[tag.name, tag.calls] = self._made_form(tag)
        return self._forms[tag.name, tag.calls]

    def _made_form(self, tag: Tag) -> Form:
        value = self._value(tag)
        try:
            form = formed(value, tag.calls, self._limits)
        except PromptError as error:
            what = f"{tag.name} cannot be inserted. {error.what}"
            raise fault(self._template, tag.start, what, error.advice, type(error)) from error
        except Exception as error:
            # A library may fail on odd data in any way; its message may quote the data.
            what = f"{tag.name} cannot be inserted: reading it raised {type(error).__name__}."
            advice = "Insert a simpler form of it, such as text of your own."
            raise fault(self._template, tag.start, what, advice) from error
        if not self._allow_secrets:
            self._refuse_secret(tag, form)
        return form

    def _refuse_secret(self, tag: Tag, form: Form) -> None:
        # The name of a table or a list says nothing about the shape of one value in it.
        name = tag.name.rpartition(".")[2] if form.kind in ("text", "scalar") else ""
        kind = looks_secret(form.text, name=name)
        if form.kind == "table":
            kind = kind or next(filter(None, map(_secret_cell, table_cells(form.text))), None)
        if kind:
            raise fault(
                self._template,
                tag.start,
                f"{tag.name} looks like a secret ({kind}).",
                "Leave it out, or allow it with --allow-secrets (allow_secrets=True).",
                SecretInPrompt,
            )

    def _value(self, tag: Tag) -> Any:
        space, dot, rest = tag.name.partition(".")
        known = self._namespaces.get(space, {}) if dot else self._variables
        key = rest if dot else tag.name
        if key not in known:
            self._unknown(tag)
        return known[key]

    def _unknown(self, tag: Tag) -> NoReturn:
        space, dot, _ = tag.name.partition(".")
        if dot and space not in self._namespaces:
            what = f"{tag.name} is no variable: attributes are never looked up."
            advice = "Give the part a name of its own in a cell before, and insert that."
            raise fault(self._template, tag.start, what, advice)
        dotted = (f"{space}.{key}" for space, keys in self._namespaces.items() for key in keys)
        names = [*dotted, *(name for name in self._variables if not name.startswith("_"))]
        advice = _suggestion(tag.name, names)
        raise fault(self._template, tag.start, f"There is no variable named {tag.name}.", advice)

    def _add_text(self, text: str, offset: int) -> None:
        self._pieces.append(text)
        self._chars += len(text)
        if self._chars > self._limits.max_prompt_chars:
            what = f"The prompt has more than {self._limits.max_prompt_chars:,} characters here."
            raise fault(self._template, offset, what, "Insert less, such as {{ name | head(20) }}.")

    def _add_block(self, form: Form, tag: Tag) -> None:
        assert form.block is not None
        self._pieces.append(form.block)
        self._media_bytes += form.size_chars
        if self._media_bytes > self._limits.max_media_bytes:
            what = f"Images and documents take more than {self._limits.max_media_bytes:,} bytes."
            raise fault(self._template, tag.start, what, "Send them in several prompts.")


def table_cells(table: str) -> Iterator[Tuple[str, str]]:
    """Column name and text of each cell of a Markdown table."""
    rows = [_BAR.split(line)[1:-1] for line in table.splitlines() if line.startswith("|")]
    for row in rows[2:]:
        yield from zip((name.strip() for name in rows[0]), (cell.strip() for cell in row))


def _secret_cell(cell: Tuple[str, str]) -> Optional[str]:
    """What a cell looks like whose column is called ``password`` or ``api_key``."""
    column, text = cell
    return looks_secret(text, name=column) if column and not text.startswith("…") else None


def _suggestion(name: str, names: Iterable[str]) -> str:
    known = list(islice(names, MAX_SUGGESTED_FROM))
    close = difflib.get_close_matches(name, known, 1)
    if close:
        return f"Did you mean {close[0]}?"
    return "Run the cell that defines it first." if known else "No variables are defined yet."


def _content(pieces: List[Union[str, Mapping[str, Any]]]) -> Content:
    """Join neighbouring texts; blank ones between blocks go, since the API refuses them."""
    blocks: List[Mapping[str, Any]] = []
    texts: List[str] = []
    for piece in [*pieces, None]:
        if isinstance(piece, str):
            texts.append(piece)
            continue
        text, texts = "".join(texts), []
        if piece is None and not blocks:
            return text
        if text.strip():
            blocks.append({"type": "text", "text": text})
        if piece is not None:
            blocks.append(piece)
    return tuple(blocks)


def _insertion(name: str, form: Form) -> Insertion:
    tokens = form.tokens_estimate
    short = f"{tokens / 1000:.1f}k" if tokens >= 1000 else str(tokens)
    note = f"{name} {form.note}, ≈{short} token{'' if tokens == 1 else 's'}"
    return Insertion(name, form.kind, note, form.size_chars, tokens, form.sha256)
