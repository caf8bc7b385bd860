"""YAML from people, read so that it cannot surprise them.

A subset: one document; no anchors, aliases, merge keys or tags, because a few hundred bytes of
them grow without bound; no duplicate keys, because the last would win silently. Scalars are text
except ``true``, ``false``, ``null`` and whole numbers, so that ``no``, ``1.10`` and ``12:30`` stay
what somebody wrote.
"""

from __future__ import annotations

import re
from typing import Any, Dict, Hashable, Optional

import yaml

from .errors import InputError

MAX_BYTES = 64 * 1024
MAX_DEPTH = 20
MAX_NODES = 5_000

_SHOWN_CHARS = 120
_SURROGATE = re.compile("[\ud800-\udfff]")


class YamlError(InputError):
    """YAML text that cannot be used.

    Attributes:
        line: Line of the fault, from 1; 0 if it has none.
    """

    line = 0


class _Loader(yaml.SafeLoader):
    """The safe loader with our few implicit types, and without duplicate keys."""

    yaml_implicit_resolvers: Dict[str, Any] = {}

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> Dict[Hashable, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise yaml.MarkedYAMLError(None, None, "a key must be text", key_node.start_mark)
            if key in seen:
                raise yaml.MarkedYAMLError(
                    None, None, f"the key {key!r} stands here twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


_TYPES = (
    ("bool", r"true|True|false|False", "tTfF"),
    ("null", r"null|~|", "n~\0"),
    ("int", r"[-+]?(?:0|[1-9][0-9]{0,14})", "-+0123456789"),
)
for _name, _pattern, _first in _TYPES:
    _Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_name}", re.compile(rf"^(?:{_pattern})$"), list(_first)
    )
_Loader.yaml_implicit_resolvers.setdefault("", []).extend(
    _Loader.yaml_implicit_resolvers.pop("\0", [])
)


def load_yaml(text: str, *, source: str, first_line: int = 1) -> Any:
    """Read one YAML document.

    Args:
        text: The document.
        source: What it is, for messages: a path, or "this cell".
        first_line: Number of the text's first line in *source*.

    Returns:
        Dicts with text keys, lists, text, booleans, whole numbers and ``None``.

    Raises:
        YamlError: The text is not in the subset; the message has line, column and the line.
    """
    if len(text.encode("utf-8", "replace")) > MAX_BYTES:
        raise YamlError(f"{source} has more than {MAX_BYTES // 1024} KB of YAML.")
    try:
        _check_events(text)
        return yaml.load(text, Loader=_Loader)  # a SafeLoader with less
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise _fault(error.problem or str(error), mark, text, source, first_line) from error
    except yaml.reader.ReaderError as error:
        raise _unreadable(error, text, source, first_line) from error
    except (ValueError, OverflowError) as error:  # an escape such as "\UFFFFFFFF" in quotes
        raise YamlError(f"{source} escapes a character that does not exist.") from error


def _check_events(text: str) -> None:
    depth = nodes = documents = 0
    for event in yaml.parse(text, Loader=_Loader):
        problem = _problem(event)
        if isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            problem = "there is a second document" if documents > 1 else problem
        nodes += isinstance(event, yaml.NodeEvent)
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            problem = f"nested deeper than {MAX_DEPTH} levels"
        if nodes > MAX_NODES:
            problem = f"more than {MAX_NODES:,} values"
        if problem:
            mark: Any = event.start_mark
            raise yaml.MarkedYAMLError(None, None, problem, mark)


def _problem(event: yaml.Event) -> Optional[str]:
    """What of *event* is outside the subset."""
    if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
        return "anchors and aliases (& and *) are not supported; write the value out"
    if getattr(event, "tag", None):
        return "tags (!) are not supported"
    if isinstance(event, yaml.ScalarEvent) and event.value == "<<" and not event.style:
        return "merge keys (<<) are not supported; write the values out"
    if isinstance(event, yaml.ScalarEvent) and _SURROGATE.search(event.value):
        return "half of a surrogate pair is no character"
    return None


def _unreadable(
    error: yaml.reader.ReaderError, text: str, source: str, first_line: int
) -> YamlError:
    """The error for a character that YAML does not allow."""
    position = int(error.position)
    line = text.count("\n", 0, position)
    column = position - (text.rfind("\n", 0, position) + 1)
    problem = f"the character U+{ord(text[position]):04X} cannot be in YAML; remove it"
    return _located(problem, line, column, text, source, first_line)


def _fault(problem: str, mark: Any, text: str, source: str, first_line: int) -> YamlError:
    if mark is None:
        return YamlError(f"{source}: {problem}.")
    return _located(problem, mark.line, mark.column, text, source, first_line)


def _located(
    problem: str, line: int, column: int, text: str, source: str, first_line: int
) -> YamlError:
    lines = text.splitlines()
    shown = lines[line].strip()[:_SHOWN_CHARS] if line < len(lines) else ""
    shown = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in shown)
    colon = "mapping values" in problem
    error = YamlError(
        f"{source}, line {line + first_line}, column {column + 1}: {problem}.\n    {shown}"
        + ("\n" if colon else ""),
        advice="Put text with a colon into quotes." if colon else "",
    )
    error.line = line + first_line
    return error
