"""An extractive digest: what a prompt holds, counted and quoted, in Markdown.

Nothing is made up. The text is split into prose, code and tables; each part is described by what
can be read off it. The system prompt only decides which sections come and in what order.
The digest is a pure function of its arguments: no clock, no locale, no hash order.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from dataclasses import dataclass
from typing import Callable, Iterator, List, Optional, Sequence, Tuple, TypeVar

from .observations import CHECK_COUNT, Observation, observe, outline, parsable_head, parse

LABEL = "Offline stand-in model, not a language model: counted and quoted from the prompt."

_NOTHING = "The prompt has no text to describe."

MAX_CHARS = 40_000
MAX_ITEMS = 8
MAX_QUOTE_CHARS = 240

_CODE_START = re.compile(
    r"^(?:from [\w.]+ import |import \w|(?:async )?def \w|class \w|@\w|\"\"\"|''')", re.MULTILINE
)
_TABLE = re.compile(r"(?:^[ \t]*\|.*\|[ \t]*(?:\n|\Z)){2,}", re.MULTILINE)
_HEADING = re.compile(r"^#{1,6}[ \t]+(\S.*)$", re.MULTILINE)
_SENTENCE_END = re.compile(
    r"(?<=[.!?])\s+|(?<=[\u3002\uff01\uff1f])|\n\s*\n|\n(?=[ \t]*(?:[-*#>]|\d+\.)[ \t])"
)
_NUMBER = re.compile(r"(?<![\w.,])[-+]?\d{1,3}(?:,\d{3})+(?:\.\d+)?|(?<![\w.,])[-+]?\d+(?:\.\d+)?")
_WORD = re.compile(r"[^\W\d_]{4,}")
_SURELY_CODE = (
    ast.FunctionDef,
    ast.AsyncFunctionDef,
    ast.ClassDef,
    ast.Import,
    ast.ImportFrom,
)
_COMMON = frozenset(
    """
    about after also because been before being could does each from have here into just like
    more most much only other over should some such than that their them then there these
    they this those under very were what when where which while will with would your
    """.split()  # noqa: SIM905 (a list literal of them would take fifty lines)
)

T = TypeVar("T")


@dataclass(frozen=True)
class Code:
    """A piece of code.

    Attributes:
        language: What its fence says, in lower case; empty if it says nothing.
        source: The code.
        tree: Its syntax tree if it is Python.
    """

    language: str
    source: str
    tree: Optional[ast.Module]

    @classmethod
    def of(cls, language: str, source: str) -> Code:
        """Parse *source* unless its fence names another language."""
        tree = parse(source) if language in ("", "python", "py", "python3", "ipython3") else None
        return cls(language, source, tree)


@dataclass(frozen=True)
class Prompt:
    """A prompt, taken apart.

    Attributes:
        prose: The text without code and tables.
        code: The pieces of code.
        tables: Markdown tables as rows of cells.
        chars: Length of the whole text.
        sample: Which independent draw is asked for.
    """

    prose: str
    code: Tuple[Code, ...]
    tables: Tuple[Tuple[Tuple[str, ...], ...], ...]
    chars: int
    sample: int = 0


def digest(text: str, *, role: str = "", sample: int = 0) -> str:
    """Describe *text* in Markdown.

    Args:
        text: The prompt; its first ``MAX_CHARS`` characters are looked at.
        role: System prompt and name of the agent; words in it choose the sections.
        sample: From 1 on, ranked lists begin at a later rank, so that each sample differs and
            still comes back the same.
    """
    prompt = take_apart(text, sample)
    sections = [section(prompt) for section in _sections(role, prompt)]
    shown = [section for section in sections if section] or [_task(prompt) or _NOTHING]
    return "\n\n".join([_head(prompt), *shown])


def take_apart(text: str, sample: int = 0) -> Prompt:
    """Split *text* into prose, code and tables."""
    prose, code = _split_fences(text[:MAX_CHARS])
    if not code:
        prose, code = _split_python(prose)
    tables = tuple(_cells(found.group()) for found in _TABLE.finditer(prose))
    return Prompt(_TABLE.sub("\n\n", prose), tuple(code), tables, len(text), sample)


def _split_fences(text: str) -> Tuple[str, List[Code]]:
    """Prose and fenced code, line by line: a pattern would be slow on many open fences."""
    prose: List[str] = []
    code: List[Code] = []
    fenced: List[str] = []
    fence = language = ""
    for line in text.splitlines(keepends=True):
        mark = line[:3] if line[:3] in ("```", "~~~") else ""
        if fence and mark == fence and not line[3:].strip("`~ \t\r\n"):
            code.append(Code.of(language, "".join(fenced)))
            prose.append("\n")
            fence, fenced = "", []
        elif fence:
            fenced.append(line)
        elif mark:
            fence, language = mark, line[3:].strip().partition(" ")[0].lower()
        else:
            prose.append(line)
    return "".join(prose + fenced), code


def _split_python(text: str) -> Tuple[str, List[Code]]:
    """Prose and the Python that stands in it without a fence."""
    for start in [found.start() for found in _CODE_START.finditer(text)][:3]:
        source = parsable_head(text[start:])
        code = Code.of("", source)
        if code.tree and any(isinstance(node, _SURELY_CODE) for node in code.tree.body):
            return f"{text[:start]}\n\n{text[start + len(source) :]}", [code]
    return text, []


def _cells(table: str) -> Tuple[Tuple[str, ...], ...]:
    lines = [line.strip().strip("|") for line in table.strip().splitlines()]
    rows = (tuple(cell.strip() for cell in line.split("|")) for line in lines)
    return tuple(row for row in rows if not all(re.fullmatch(r":?-*:?", cell) for cell in row))


# -- sections ---------------------------------------------------------------------------------

Section = Callable[[Prompt], str]


def _head(prompt: Prompt) -> str:
    label = LABEL if not prompt.sample else f"{LABEL} Sample {prompt.sample}."
    if prompt.chars > MAX_CHARS:
        label += f" Looked at the first {MAX_CHARS:,} of {prompt.chars:,} characters."
    return f"*{label}*"


def _task(prompt: Prompt) -> str:
    first = next(iter(sentences(prompt.prose)), "")
    return f"## The task as written\n\n> {first}" if first else ""


def _review(prompt: Prompt) -> str:
    return _observed(prompt, "What the checks found", lambda found: True)


def _attack(prompt: Prompt) -> str:
    return _observed(prompt, "What an attacker would look at", lambda found: found.security)


def _observed(prompt: Prompt, title: str, wanted: Callable[[Observation], bool]) -> str:
    found = list(_observations(prompt, wanted))
    if found:
        return _section(title, _numbered(_top(found, prompt.sample), len(found)))
    if any(code.tree for code in prompt.code):
        return _section(title, f"Nothing. The {CHECK_COUNT} checks know few patterns; read it too.")
    return ""


def _observations(prompt: Prompt, wanted: Callable[[Observation], bool]) -> Iterator[str]:
    for number, code in enumerate(prompt.code, 1):
        place = f"code {number}, line" if len(prompt.code) > 1 else "line"
        for found in observe(code.source, code.tree) if code.tree else ():
            if wanted(found):
                yield f"{place} {found.line}: {found.text}."


def _structure(prompt: Prompt) -> str:
    return _section("The code", "\n\n".join(map(_described, prompt.code))) if prompt.code else ""


def _described(code: Code) -> str:
    lines = code.source.strip("\n").splitlines()
    what = "Python" if code.tree else code.language or "text"
    longest = max(map(len, lines), default=0)
    head = f"{len(lines)} lines of {what}, the longest has {longest} characters."
    names = outline(code.tree) if code.tree else []
    return "\n".join([head, "", *_bounded(names, 3 * MAX_ITEMS, "- ")]) if names else head


def _outline_of_text(prompt: Prompt) -> str:
    headings = [_quote(found.rstrip("# \t")) for found in _HEADING.findall(prompt.prose)]
    return _section("Headings", _bullets(_bounded(headings, MAX_ITEMS))) if headings else ""


def _key_sentences(prompt: Prompt) -> str:
    found = sentences(prompt.prose)
    if len(found) < 2:
        return ""
    scores = _scores(found)
    ranked = sorted(range(len(found)), key=lambda index: (-scores[index], index))
    lines = [found[index] for index in sorted(_top(ranked, prompt.sample, 5))]
    return _section(f"Key sentences ({len(lines)} of {len(found)})", _bullets(lines))


def _questions(prompt: Prompt) -> str:
    found = [sentence for sentence in sentences(prompt.prose) if sentence.endswith(("?", "\uff1f"))]
    return _section("Questions asked", _bullets(_bounded(found, MAX_ITEMS))) if found else ""


def _numbers(prompt: Prompt) -> str:
    found = _NUMBER.findall(prompt.prose)
    if not found:
        return ""
    values = numbers(prompt.prose)
    different = list(dict.fromkeys(_quote(number, 24) for number in found))
    shown = ", ".join(_bounded(different, 2 * MAX_ITEMS))
    span = f"{len(found)} in the text, from {min(values):g} to {max(values):g}: {shown}"
    return _section("Numbers", span)


def _tables(prompt: Prompt) -> str:
    return _section("Tables", "\n".join(map(_table, prompt.tables))) if prompt.tables else ""


def _table(rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return "- empty"
    head, body = rows[0], rows[1:]
    lines = [f"- {len(body)} rows, {len(head)} columns: {', '.join(map(_code, head))}"]
    for index, name in enumerate(head):
        values = _values(row[index] if index < len(row) else "" for row in body)
        if values:
            mean = sum(values) / len(values)
            lines.append(f"  - {_code(name)}: {min(values):g} to {max(values):g}, mean {mean:.6g}")
    return "\n".join(lines)


def _values(cells: Iterator[str]) -> List[float]:
    """The numbers of a column; none if a cell of it is something else."""
    texts = [cell.replace(",", "") for cell in cells if cell]
    numeric = all(re.fullmatch(r"[-+]?\d+(\.\d+)?(e[-+]?\d+)?", text) for text in texts)
    return [float(text) for text in texts] if numeric else []


_TEXT_SECTIONS: Tuple[Section, ...] = (
    _key_sentences,
    _questions,
    _outline_of_text,
    _tables,
    _numbers,
)
_ROLES: Sequence[Tuple[str, Tuple[Section, ...]]] = (
    (r"secur|abuse|attack|vulnerab", (_task, _attack, _structure, _questions)),
    (r"review|bug|debug|refactor", (_task, _review, _structure, *_TEXT_SECTIONS)),
    (r"summar|writ|document|report", (_key_sentences, *_TEXT_SECTIONS[1:], _structure)),
)
_ANY_ROLE: Tuple[Section, ...] = (_task, *_TEXT_SECTIONS, _structure, _review)


def _sections(role: str, prompt: Prompt) -> Tuple[Section, ...]:
    for words, sections in _ROLES:
        if re.search(words, role, re.IGNORECASE):
            needs_code = _attack in sections
            return _ANY_ROLE if needs_code and not prompt.code else sections
    return _ANY_ROLE


# -- sentences and numbers --------------------------------------------------------------------


def sentences(text: str) -> List[str]:
    """The sentences of *text* in order, each on one line and of bounded length, none twice."""
    plain = _HEADING.sub("\n\n", text)
    found = (_quote(re.sub(r"^[-*>]\s+", "", part.strip())) for part in _SENTENCE_END.split(plain))
    return list(dict.fromkeys(sentence for sentence in found if re.search(r"\w", sentence)))


def numbers(text: str) -> List[float]:
    """The numbers written in *text*, in order; commas group thousands."""
    return [float(number.replace(",", "")) for number in _NUMBER.findall(text)]


def _scores(found: Sequence[str]) -> List[float]:
    """How much each sentence says of what the whole text speaks about.

    A score is the mean frequency of the sentence's words in all sentences, as in Luhn's abstracts
    of 1958, with a small bonus for numbers.
    """
    words = [[w for w in _WORD.findall(s.lower()) if w not in _COMMON] for s in found]
    counts = Counter(word for sentence in words for word in sentence)
    return [
        sum(counts[word] for word in mine) / (len(mine) + 3) + 0.1 * bool(_NUMBER.search(sentence))
        for mine, sentence in zip(words, found)
    ]


# -- Markdown ---------------------------------------------------------------------------------


def _section(title: str, body: str) -> str:
    return f"## {title}\n\n{body}"


def _top(ranked: List[T], sample: int, count: int = MAX_ITEMS) -> List[T]:
    """The first *count*, or for a later sample those from a later rank on, round about."""
    start = sample % len(ranked) if ranked else 0
    return (ranked[start:] + ranked[:start])[:count]


def _numbered(items: Sequence[str], total: int) -> str:
    lines = [f"{number}. {item}" for number, item in enumerate(items, 1)]
    return "\n".join(lines + ([f"\n{total - len(items)} more."] if total > len(items) else []))


def _bullets(items: Sequence[str]) -> str:
    return "\n".join(f"- {item}" for item in items)


def _bounded(items: List[str], count: int, mark: str = "") -> List[str]:
    rest = len(items) - count
    return items if rest <= 0 else [*items[:count], f"{mark}… {rest} more"]


def _quote(text: str, max_chars: int = MAX_QUOTE_CHARS) -> str:
    line = " ".join(text.split())
    return line if len(line) <= max_chars else f"{line[: max_chars - 1]}…"


def _code(text: str) -> str:
    return f"`{_quote(text).replace('`', chr(39))}`"
