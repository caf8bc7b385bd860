"""Model text as HTML that cannot act: the only place where text becomes markup.

Outputs of a live notebook are trusted, so whatever a model, a tool or a server wrote goes through
one of three functions before it reaches a screen:

* :func:`visible` for plain text: characters that would hide or reorder text are spelled out.
* :func:`plain_html` for text shown as it is: errors, text that is still streaming, tool input.
* :func:`answer_html` for answers: Markdown without HTML and without images.

Two independent layers protect :func:`answer_html`. The Markdown parser creates only harmless
elements, and ``nh3`` then removes whatever is not on a short list.
"""

from __future__ import annotations

import html
import re
from typing import TYPE_CHECKING, Any, Iterator, List, Match, NamedTuple, Optional, Sequence

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.rules_inline import StateInline
    from markdown_it.token import Token

MAX_RENDERED_CHARS = 200_000
"""Longer answers are shown as plain text: parsing costs about 3 ms per 1,000 characters."""

MAX_NESTING = 40
"""Deeper lists and quotations are shown as plain text; the parser would drop what is inside."""

MAX_TABLE_CELLS = 60_000
"""Answers whose widest table times their lines gives more are shown as plain text."""

NO_MATHS = "mathjax_ignore tex2jax_ignore"
"""Classes that keep MathJax 3 and 2 from typesetting what is inside an element."""

_EMOJI = (
    "[\xa9\xae\u203c\u2049\u2122\u2139\u2190-\u21ff\u231a-\u23ff\u24c2\u25a0-\u27bf\u2934\u2935"
    "\u2b00-\u2bff\u3030\u303d\u3297\u3299\U0001f000-\U0001faff][\ufe0e\ufe0f]?[\U0001f3fb-\U0001f3ff]?"
)
# The three subdivision flags in use; any other run of tag characters is hidden text.
_FLAGS = "|".join(
    "\U0001f3f4" + "".join(chr(0xE0000 + ord(letter)) for letter in flag) + "\U000e007f"
    for flag in ("gbeng", "gbsct", "gbwls")
)
# Persian and the scripts of India need joiners within words.
_JOINED_SCRIPTS = "[\u0620-\u06ff\u0750-\u077f\u0900-\u0dff]"
_ORDINARY = (
    f"{_FLAGS}|{_EMOJI}(?:\u200d{_EMOJI})*|[0-9#*]\ufe0f\u20e3"
    f"|(?<={_JOINED_SCRIPTS})[\u200c\u200d](?={_JOINED_SCRIPTS})"
)
# C0, DEL and C1 controls; the default-ignorable, bidirectional and separator characters of
# Unicode 16 (DerivedCoreProperties.txt, PropList.txt); lone surrogates and noncharacters.
_HIDDEN = (
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f"
    "\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ud800-\udfff\ufe00-\ufe0f\ufeff\uffa0"
    "\ufff0-\ufffb\ufffe\uffff\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
_hidden = re.compile(_HIDDEN)
_ordinary_or_hidden = re.compile(f"({_ORDINARY})|{_HIDDEN}")


# Exported pages have rules that give "pre" the font of prose.
_MONOSPACE = "font-family:var(--jp-code-font-family,monospace);line-height:1.4"


def visible(text: str) -> str:
    r"""Spell out every character that could hide, reorder or overwrite text.

    Such a character becomes ``⟨U+XXXX⟩``: controls (but ``\n`` and ``\t``), bidirectional and
    zero-width characters, variation selectors, tag characters, line separators and lone
    surrogates. Three uses of them are ordinary and stay: inside an emoji (families, skin tones,
    flags, keycaps), and a single joiner between two letters of a script that needs it. The pair
    ``\r\n`` becomes ``\n``. Applying this twice changes nothing.

    Args:
        text: Any text.

    Returns:
        Text that shows on a screen or terminal exactly what it contains, and can be encoded.
    """
    text = text.replace("\r\n", "\n")
    return _ordinary_or_hidden.sub(_spelled, text) if _hidden.search(text) else text


def _spelled(match: Match[str]) -> str:
    return match[0] if match[1] else f"⟨U+{ord(match[0]):04X}⟩"


def escaped(text: str) -> str:
    """Return :func:`visible` *text* for the inside of an element or a quoted attribute."""
    return html.escape(visible(text))


def plain_html(text: str) -> str:
    """Show *text* letter by letter, in lines that wrap.

    Args:
        text: Any text.

    Returns:
        One ``pre`` element that no front end typesets as mathematics.
    """
    style = f"white-space:pre-wrap;word-break:normal;overflow-wrap:anywhere;margin:0;{_MONOSPACE}"
    # HTML drops the first line break inside "pre".
    return f'<pre class="{NO_MATHS}" style="{style}">\n{escaped(text)}</pre>'


def answer_html(text: str) -> str:
    """Render the Markdown of an answer as HTML that runs nothing and loads nothing.

    CommonMark with tables and strikethrough. HTML in the text is shown as text. Images become
    links. A link leads to an absolute ``http``, ``https`` or ``mailto`` address, opens a new
    window, and names its host unless its text does so already; any other link is text with its
    target behind it. Headings are lowered by three levels, below those of the notebook and of the
    bundle around the answer. Mathematics stays as it was typed.

    Args:
        text: What a model wrote.

    Returns:
        One ``div`` element, or what :func:`plain_html` gives when *text* has more than
        ``MAX_RENDERED_CHARS`` characters, is nested deeper than ``MAX_NESTING``, or is made to
        keep a parser busy. Which of the two depends on the text alone, not on the machine.
    """
    text = visible(text)
    if len(text) > MAX_RENDERED_CHARS:
        return plain_html(text)
    try:
        body = _markdown(text)
    except _TooCostly:
        return plain_html(text)
    return f'<div class="{NO_MATHS}">{_sanitised(body)}</div>'


class _TooCostly(Exception):
    """The text keeps the parser busier than its length explains."""


class _Meter:
    """Parser rules that match nothing and count how often the parser tries to.

    Crafted text makes a Markdown parser try again and again at the same place. A count stops it
    on every machine at the same point, where a clock would not.
    """

    def __init__(self, tries: int) -> None:
        self._left = tries

    def block(self, *_: Any) -> bool:
        """Count a try to find a block."""
        return self._count(1)

    def inline(self, state: StateInline, *_: Any) -> bool:
        """Count a try to find markup in a paragraph; more in long ones.

        Rules of markdown-it-py 3 copy or search the rest of the paragraph.
        """
        return self._count(1 + (state.posMax - state.pos) // 2_000)

    def _count(self, weight: int) -> bool:
        self._left -= weight
        if self._left < 0:
            raise _TooCostly
        return False


_TABLE_RULE = re.compile(r"^[>\t |:-]+$", re.MULTILINE)


def _refuse_wide_tables(text: str) -> None:
    """Stop a table that is small as text and huge as cells; parsers fill its short rows."""
    widest = max((row.count("|") for row in _TABLE_RULE.findall(text)), default=0)
    if widest * text.count("\n") > MAX_TABLE_CELLS:
        raise _TooCostly


def _markdown(text: str) -> str:
    _refuse_wide_tables(text)
    # Prose needs 0.15 tries for each character, text made of brackets 2.
    parser = _parser(_Meter(tries=5_000 + len(text) // 2))
    tokens = parser.parse(text)
    if any(token.level >= MAX_NESTING - 1 for token in tokens):
        raise _TooCostly
    for token in tokens:
        _tame(token)
    return str(parser.renderer.render(tokens, parser.options, {}))


def _parser(meter: _Meter) -> MarkdownIt:
    from markdown_it import MarkdownIt

    parser = MarkdownIt("commonmark", {"html": False, "maxNesting": MAX_NESTING})
    parser.enable(["table", "strikethrough"])
    parser.inline.ruler.before("text", "meter", meter.inline)
    parser.block.ruler.before("code", "meter", meter.block)
    parser.add_render_rule("table_open", _table_open)
    parser.add_render_rule("table_close", lambda *_: "</table></div>\n")
    for kind in ("fence", "code_block"):
        parser.add_render_rule(kind, _code)
    return parser


def _open(tag: str) -> str:
    return f'<{tag} style="{_STYLES[tag]}"{_FOCUSABLE if tag in _SCROLLING else ""}>'


def _table_open(*_: Any) -> str:
    return f"{_open('div')}{_open('table')}\n"


def _code(_: object, tokens: Sequence[Token], index: int, *__: Any) -> str:
    """Render a block of code without "code", which themes paint in another colour than "pre"."""
    # The sanitiser drops the first line break inside "pre", the browser the second.
    return f"{_open('pre')}\n\n{html.escape(tokens[index].content)}</pre>\n"


def _tame(token: Token) -> None:
    if token.type in ("heading_open", "heading_close"):
        token.tag = f"h{min(int(token.tag[1]) + 3, 6)}"
        token.attrs = {"style": _STYLES[token.tag]} if token.nesting == 1 else {}
    elif token.type in ("th_open", "td_open"):
        token.attrs = {"style": str(token.attrs.get("style", "text-align:left"))}
    elif token.children:
        token.children = list(_tame_links(token.children))


class _Target(NamedTuple):
    """Where a link leads.

    Attributes:
        url: The address; empty if it may not be followed.
        name: What tells a reader where that is: host, mail address, or the refused address.
    """

    url: str
    name: str

    def note(self, label: str) -> str:
        """What a reader of *label* must be told; empty if the label says it."""
        said = re.sub(r"^(https?://|mailto:)", "", label.strip().lower())
        return "" if re.split("[/?#]", said)[0] == self.name else self.name


_HOST = re.compile(r"(?:[a-z0-9_-]+\.)*[a-z0-9_-]+\.?(?::[0-9]+)?|\[[0-9a-f:.]+\](?::[0-9]+)?")
_MAIL = re.compile(r"[\w.+-]+@[\w.-]+", re.ASCII)


def _target(url: str) -> _Target:
    """Judge *url*; what a browser and Python could read differently is refused."""
    scheme, _, rest = url.partition(":")
    if scheme.lower() in ("http", "https") and rest.startswith("//"):
        host = re.split(r"[/?#\\]", rest[2:])[0].lower()
        if _HOST.fullmatch(host):
            return _Target(url, host)
    if scheme.lower() == "mailto":
        address = rest.partition("?")[0].lower()
        if _MAIL.fullmatch(address):
            return _Target(f"mailto:{address}", address)
    return _Target("", url if len(url) <= 80 else f"{url[:80]}…")


def _tame_links(tokens: Sequence[Token]) -> Iterator[Token]:
    target: Optional[_Target] = None
    label: List[str] = []
    for token in tokens:
        if token.type == "link_open":
            target, label = _target(str(token.attrs["href"])), []
            yield from _opening(target)
        elif token.type == "link_close" and target is not None:
            yield from _closing(target, "".join(label))
            target = None
        elif token.type == "image":
            label.append(f"image {token.content}")
            yield from _image(token, linked=target is None)
        else:
            label.append(token.content)
            yield token


def _opening(target: _Target) -> Iterator[Token]:
    if target.url:
        yield _token("link_open", tag="a", nesting=1, attrs={"href": target.url})


def _closing(target: _Target, label: str) -> Iterator[Token]:
    if target.url:
        yield _token("link_close", tag="a", nesting=-1)
    note = target.note(label)
    if note:
        # The parser makes no "small", so an answer cannot forge this note.
        yield _token("html_inline", content=f" <small>({escaped(note)})</small>")


def _image(token: Token, linked: bool) -> Iterator[Token]:
    target = _target(str(token.attrs["src"]))
    label = f"image {token.content}".strip()
    yield from _opening(target) if linked else ()
    yield _token("text", content=label)
    yield from _closing(target if linked else target._replace(url=""), label)


def _token(kind: str, *, tag: str = "", nesting: Any = 0, **fields: Any) -> Token:
    from markdown_it.token import Token

    return Token(kind, tag, nesting, **fields)


_HEADING = "font-weight:600;font-style:normal;margin:1em 0 .4em"
_STYLES = {
    "div": "overflow-x:auto",
    "table": "margin:0 0 1em;table-layout:auto",
    "pre": f"{_MONOSPACE};white-space:pre;overflow-x:auto;margin:0 0 1em;padding:.6em .8em;"
    "border-radius:3px;"
    "background:var(--jp-rendermime-table-row-background,rgba(128,128,128,.12))",
    "h4": f"font-size:1.25em;{_HEADING}",
    "h5": f"font-size:1.1em;{_HEADING}",
    "h6": f"font-size:1em;{_HEADING}",
}
# What scrolls can be reached by keyboard.
_SCROLLING = ("div", "pre")
_FOCUSABLE = ' tabindex="0"'
_CELL_STYLES = {f"text-align:{side}" for side in ("left", "right", "center")}
_EXACT_VALUES = {
    **{tag: {"style": {style}, "tabindex": {"0"}} for tag, style in _STYLES.items()},
    "td": {"style": _CELL_STYLES},
    "th": {"style": _CELL_STYLES},
}
_TAGS = {"a", "blockquote", "br", "code", "div", "em", "h4", "h5", "h6", "hr", "li", "ol", "p"} | {
    *("pre", "s", "small", "strong", "table", "tbody", "td", "th", "thead", "tr", "ul")
}


def _sanitised(markup: str) -> str:
    """Keep what is on the list of harmless elements; the second, independent layer."""
    import nh3

    clean = nh3.clean(
        markup,
        tags=_TAGS,
        attributes={"a": {"href"}, "ol": {"start"}},
        tag_attribute_values=_EXACT_VALUES,
        # With more than one value here the order of attributes would change from run to run.
        set_tag_attribute_values={"a": {"target": "_blank"}},
        url_schemes={"http", "https", "mailto"},
        url_relative="deny",
        link_rel="noopener noreferrer nofollow",
    )
    # Character references such as "&#8203;" turn into characters during parsing.
    return visible(clean)
