"""The one renderer: what it shows, and what it can never show."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from html.parser import HTMLParser
from typing import Callable, Dict, List, Optional, Tuple

import pytest
from payloads import SPOOF, Payload, payloads

from claude_force_nb.notebook import rendering
from claude_force_nb.notebook.rendering import answer_html, plain_html, visible

ALLOWED = {
    "a": {"href", "target", "rel"},
    "div": {"class", "style", "tabindex"},
    "pre": {"class", "style", "tabindex"},
    "table": {"style"},
    "td": {"style"},
    "th": {"style"},
    "ol": {"start"},
    "h4": {"style"},
    "h5": {"style"},
    "h6": {"style"},
    **{tag: set() for tag in ("blockquote", "br", "code", "em", "hr", "li", "p", "s", "small")},
    **{tag: set() for tag in ("strong", "tbody", "thead", "tr", "ul")},
}
OUR_STYLE = re.compile(r"[a-z-]+:[\w .%,()-]+(;[a-z-]+:[\w .%,()-]+)*")

Element = Tuple[str, Dict[str, Optional[str]]]


class Page(HTMLParser):
    """The elements and the text of a piece of HTML."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.elements: List[Element] = []
        self.text = ""
        self.feed(markup)
        self.close()

    def handle_starttag(self, tag: str, attrs: List[Tuple[str, Optional[str]]]) -> None:
        """Note an element."""
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        """Note text."""
        self.text += data

    def handle_comment(self, data: str) -> None:
        """Refuse what a renderer has no reason to make."""
        raise AssertionError(f"comment: {data}")

    handle_decl = handle_pi = unknown_decl = handle_comment


def links(markup: str) -> List[Optional[str]]:
    """Return the targets of all links."""
    return [attributes["href"] for tag, attributes in Page(markup).elements if tag == "a"]


def harmless(tag: str, attributes: Dict[str, Optional[str]]) -> bool:
    """Whether an element is one that the renderer may make."""
    return (
        tag in ALLOWED
        and attributes.keys() <= ALLOWED[tag]
        and bool(re.match(r"(https?://|mailto:)", attributes.get("href") or "http://"))
        and attributes.get("class", rendering.NO_MATHS) == rendering.NO_MATHS
        and bool(OUR_STYLE.fullmatch(attributes.get("style") or "a:b"))
        and "url" not in (attributes.get("style") or "")
    )


@pytest.mark.parametrize("payload", payloads(), ids=lambda payload: payload.name)
@pytest.mark.parametrize("render", [answer_html, plain_html])
def test_payload_is_inert(render: Callable[[str], str], payload: Payload) -> None:
    """Every hostile answer becomes elements from the short list and visible text."""
    page = Page(render(payload.text))

    assert all(harmless(tag, attributes) for tag, attributes in page.elements)
    assert visible(page.text) == page.text


def test_oracle_sees_harm() -> None:
    """Shown as they are, nearly all payloads made of HTML fail the check that the others pass."""
    raw = [payload.text for payload in payloads() if payload.text.startswith("<")]
    harmful = [text for text in raw if not all(harmless(*e) for e in _elements(text))]

    assert len(harmful) >= 0.95 * len(raw) > 50


def _elements(text: str) -> List[Element]:
    try:
        return Page(text).elements
    except AssertionError:
        return [("comment", {})]


def test_corpus_is_large() -> None:
    """The corpus has at least the 94 payloads that the threat model asks for, each its own."""
    assert len({payload.text for payload in payloads()}) >= 94


@pytest.mark.essential
@pytest.mark.parametrize(
    "character",
    [
        *("\0", "\x07", "\x08", "\x0b", "\r", "\x1b", "\x7f", "\x85", "\x9b", "\xad", "\u061c"),
        *("\u200b", "\u200d", "\u200e", "\u2028", "\u202e", "\u2060", "\u2066", "\u3164"),
        *("\ufe0f", "\ufeff", "\ud800", "\ufffe", "\U000e0041", "\U000e0100"),
    ],
    ids=lambda character: f"U+{ord(character):04X}",
)
def test_hidden_character_shows(character: str) -> None:
    """A character that hides, reorders or overwrites text is spelled out by its number."""
    assert visible(f"a{character}b") == f"a⟨U+{ord(character):04X}⟩b"


@pytest.mark.parametrize(
    "text",
    [
        "tab\tand\nline",
        "café 東京 שלום",
        "👨\u200d👩\u200d👧\u200d👦 🏳\ufe0f\u200d🌈",
        "👍🏽 🇩🇪 1\ufe0f\u20e3 ❤\ufe0f ❤\ufe0e",
        "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
        "\u0645\u06cc\u200c\u062e\u0648 क्\u200dष",
    ],
)
def test_ordinary_text_stays(text: str) -> None:
    """Line breaks, foreign scripts and whole emoji are not touched."""
    assert visible(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\r\nb", "a\nb"),
        ("\u06cc\u200c\u200cخ", "\u06cc⟨U+200C⟩⟨U+200C⟩خ"),
        ("👍\u200dx", "👍⟨U+200D⟩x"),
        ("🏴\U000e0061\U000e007f", "🏴⟨U+E0061⟩⟨U+E007F⟩"),
        ("😀\ufe0f\ufe0f", "😀\ufe0f⟨U+FE0F⟩"),
    ],
)
def test_exceptions_are_narrow(text: str, shown: str) -> None:
    """A joiner, selector or tag outside its ordinary place is spelled out."""
    assert visible(text) == shown


def test_every_control_is_hidden() -> None:
    """No character of the categories Cc, Cs, Zl and Zp passes but line feed and tab."""
    import unicodedata

    passed = [
        chr(code)
        for code in range(sys.maxunicode + 1)
        if unicodedata.category(chr(code)) in ("Cc", "Cs", "Zl", "Zp")
        and visible(chr(code)) == chr(code)
    ]

    assert passed == ["\t", "\n"]


@pytest.mark.parametrize("payload", payloads(), ids=lambda payload: payload.name)
def test_visible_is_stable(payload: Payload) -> None:
    """Making text visible a second time changes nothing."""
    assert visible(visible(payload.text)) == visible(payload.text)


def test_plain_keeps_letters() -> None:
    """Plain text arrives letter by letter, a leading line break included."""
    text = "\n<b>&amp; \"quoted\" 'text'"

    # A parser drops the first line break in "pre", which is why there is one more.
    assert Page(plain_html(text)).text == f"\n{text}"


@pytest.mark.essential
@pytest.mark.parametrize(
    ("text", "markup"),
    [
        ("**a** *b* ~~c~~ `d`", "<strong>a</strong> <em>b</em> <s>c</s> <code>d</code>"),
        ("3. a\n4. b", '<ol start="3">\n<li>a</li>\n<li>b</li>\n</ol>'),
        ("- a", "<ul>\n<li>a</li>\n</ul>"),
        ("> a", "<blockquote>\n<p>a</p>\n</blockquote>"),
        ("a  \nb", "a<br>\nb"),
        ("---", "<hr>"),
        ("<b>a</b>", "&lt;b&gt;a&lt;/b&gt;"),
        ("```python\nx < 1\n```", ">\nx &lt; 1\n</pre>"),
        ("|a|b|\n|-|-:|\n|1|2|", '<td style="text-align:right">2</td>'),
    ],
)
def test_markdown_is_rendered(text: str, markup: str) -> None:
    """CommonMark, tables and strikethrough become elements; HTML stays text."""
    assert markup in answer_html(text)


@pytest.mark.parametrize(
    ("source", "tag"),
    [("# a", "h4"), ("## a", "h5"), ("### a", "h6"), ("###### a", "h6"), ("a\n===", "h4")],
)
def test_headings_are_lowered(source: str, tag: str) -> None:
    """A heading of an answer stays below those of the notebook."""
    assert f"<{tag} style=" in answer_html(source)
    assert f"</{tag}>" in answer_html(source)


@pytest.mark.parametrize("markup", [answer_html("$x$"), plain_html("$x$")])
def test_maths_is_left_alone(markup: str) -> None:
    """The outermost element tells MathJax 2 and 3 to stay away."""
    assert Page(markup).elements[0][1]["class"] == "mathjax_ignore tex2jax_ignore"


def test_link_is_guarded() -> None:
    """A link opens a new window that knows nothing about this one."""
    elements = Page(answer_html("<https://a.example>")).elements

    assert dict(elements)["a"] == {
        "href": "https://a.example",
        "target": "_blank",
        "rel": "noopener noreferrer nofollow",
    }


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        ("[docs](https://a.example/x)", "docs (a.example)"),
        ("[https://b.example](https://a.example/x)", "https://b.example (a.example)"),
        ("[a.example.b.example](https://a.example)", "a.example.b.example (a.example)"),
        ("[docs](http://a.example:8080)", "docs (a.example:8080)"),
        ("[docs](http://bücher.example)", "docs (xn--bcher-kva.example)"),
        ("[mail](mailto:a@b.example?body=x)", "mail (a@b.example)"),
        ("![plot](https://a.example/i.png)", "image plot (a.example)"),
        ("![](https://a.example/i.png)", "image (a.example)"),
        ("[![p](https://a.example)](https://b.example)", "image p (a.example) (b.example)"),
        ("[a.example](https://a.example/x)", "a.example"),
        ("[https://A.example/](https://a.example/x)", "https://A.example/"),
        ("<https://a.example/x?y#z>", "https://a.example/x?y#z"),
        ("<a@b.example>", "a@b.example"),
    ],
)
def test_host_is_named(source: str, shown: str) -> None:
    """A link names its host or address unless its text does so already."""
    markup = answer_html(source)

    assert Page(markup).text.strip() == shown
    assert len(links(markup)) == 1


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        ("[r](./notes.md)", "r (./notes.md)"),
        ("[r](//a.example/x)", "r (//a.example/x)"),
        ("[r](https:a.example)", "r (https:a.example)"),
        ("[r](https://u@a.example)", "r (https://u@a.example)"),
        ("[r](https://%61.example)", "r (https://%61.example)"),
        ("[r](https:///a.example)", "r (https:///a.example)"),
        ("[r](ftp://a.example)", "r (ftp://a.example)"),
        ("[r](command:open)", "r (command:open)"),
        ("[r](mailto:)", "r (mailto:)"),
        ("![i](plot.png)", "image i (plot.png)"),
        ("[r](javascript:x)", "[r](javascript:x)"),
        (f"[r](/{'x' * 100})", f"r (/{'x' * 79}…)"),
    ],
)
def test_other_targets_are_text(source: str, shown: str) -> None:
    """What is not an absolute web or mail address is shown and cannot be followed."""
    markup = answer_html(source)

    assert Page(markup).text.strip() == shown
    assert links(markup) == []


def test_code_keeps_blank_lines() -> None:
    """A block of code keeps its first line even if that is empty."""
    # A parser drops the first line break in "pre", which is why there is one more.
    assert Page(answer_html("```\n\nx\n```")).text.startswith("\n\nx")


def test_markup_is_repeatable() -> None:
    """Another process makes the same markup, to the letter."""
    text = "# a\n\n[b](https://a.example)\n\n|c|\n|-|\n|d|\n\n```\ne\n```"
    program = f"from claude_force_nb.notebook.rendering import *; print(answer_html({text!r}))"
    others = {subprocess.check_output([sys.executable, "-c", program]) for _ in range(3)}

    assert {other.decode().strip() for other in others} == {answer_html(text)}


def test_note_cannot_be_forged() -> None:
    """An answer cannot write the element that names a host."""
    assert "<small>" not in answer_html("a <small>(bank.example)</small>")


def test_spoofs_are_shown() -> None:
    """Each attempt to mislead leaves a mark that a reader sees."""
    spoofs = [payload for payload in payloads() if payload.kind == SPOOF]

    assert all(re.search(r"⟨U\+|evil\.example", Page(answer_html(p.text)).text) for p in spoofs)


def test_character_references_show() -> None:
    """A hidden character written as a reference is spelled out like any other."""
    assert Page(answer_html("a&#x202E;b&#8203;")).text.strip() == "a⟨U+202E⟩b⟨U+200B⟩"


@pytest.mark.parametrize(
    "text",
    [
        "**word** " * (rendering.MAX_RENDERED_CHARS // 9 + 1),
        "> " * 60 + "deep **word**",
        "".join(f"{' ' * 2 * depth}- word **{depth}**\n" for depth in range(60)),
        "|" * 500 + "\n" + "|-" * 500 + "\n" + "|**word**\n" * 500,
        "[" * 20_000 + "**word**",
    ],
    ids=["long", "quotes", "lists", "table", "brackets"],
)
def test_excess_is_plain(text: str) -> None:
    """Too long, deep, wide or costly an answer is shown whole, as plain text."""
    assert answer_html(text) == plain_html(text)


def test_nesting_loses_nothing() -> None:
    """At every depth, the innermost word is shown."""
    for depth in range(1, 60):
        assert "innermost" in answer_html("> - " * depth + "innermost")


def test_long_answer_is_markup() -> None:
    """An ordinary answer near the limit is still rendered."""
    paragraph = (
        "Some *words*, a [link](https://a.example), `code`.\n\n- one\n- two\n\n```\nx\n```\n\n"
    )
    text = paragraph * ((rendering.MAX_RENDERED_CHARS - 1) // len(paragraph))

    assert answer_html(text).startswith("<div")


SHAPES = ["[", "![", "[a](", "[a](b", "*a_ ", "**x ", "a***", "_a ", "<", "<!--", "&", "`", "\\"]
SHAPES += ["> * a\n", "<a@b.c> ", "|:-", "| ", "~~a ", "- - ", "1) ", "[a]: ", "a\n", "&#x1"]


@pytest.mark.parametrize("shape", SHAPES)
def test_cost_grows_slowly(shape: str) -> None:
    """Ten times as much crafted text costs far less than a hundred times as much work."""
    small, large = (_cpu_s(shape * (size // len(shape))) for size in (8_000, 80_000))

    # Linear work gives 10 and quadratic 100; the constant absorbs timer noise of fast shapes.
    assert large < 30 * small + 0.2


def _cpu_s(text: str) -> float:
    start = time.process_time()
    answer_html(text)
    return time.process_time() - start


def test_second_layer_stands_alone() -> None:
    """The sanitiser removes hostile HTML even if the parser let it through."""
    for payload in payloads():
        page = Page(rendering._sanitised(payload.text))
        assert all(harmless(tag, attributes) for tag, attributes in page.elements)


def test_first_layer_stands_alone() -> None:
    """The parser makes no hostile element even without the sanitiser."""
    for payload in payloads():
        if payload.kind != "slow":
            tags = {tag for tag, _ in Page(rendering._markdown(visible(payload.text))).elements}
            assert tags <= ALLOWED.keys()
