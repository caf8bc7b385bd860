"""Why a request was not answered from the cache: the nearest stored request and the difference."""

from __future__ import annotations

import difflib
import heapq
import json
import math
import os
import re
from collections import Counter
from dataclasses import dataclass
from typing import Any, Iterator, List, Mapping, Optional, Tuple

from .entry import Entry
from .eviction import FileInfo, listing
from .store import ENTRY_NAME, EntryStore

MAX_LISTED = 20_000
MAX_READ = 500
_MAX_WORDS = 20_000
_WORD = re.compile(r"\w+|[^\w\s]")


@dataclass(frozen=True)
class Explanation:
    """Why a request was a miss.

    Attributes:
        key: The request's key.
        status: What a lookup of it gives now.
        nearest: The most similar stored entry, if there is any.
        similarity: How alike the two requests are, from 0 to 1.
        changed: Names of the top-level fields that differ.
        diff: Unified diff from the stored request to the new one; empty if nothing is near.
        examined: How many entries were compared.
    """

    key: str
    status: str
    nearest: Optional[Entry] = None
    similarity: float = 0.0
    changed: Tuple[str, ...] = ()
    diff: str = ""
    examined: int = 0

    def __str__(self) -> str:
        return "\n".join(filter(None, (self.headline, self.diff)))

    @property
    def headline(self) -> str:
        """The finding in one line."""
        if self.nearest is None:
            return "The cache holds no other request to compare with."
        near = self.nearest.key[:12]
        if self.nearest.key == self.key:
            return f"The same request is stored as {near}, but its time is over."
        which = "Nearest other stored request" if self.status == "hit" else "Nearest stored request"
        alike = f"{which}: {near}, {math.floor(100 * self.similarity)} % alike"
        return f"{alike}; different: {', '.join(self.changed) or 'nothing'}."

    def brief(self, max_lines: int = 24, max_chars: int = 160) -> str:
        """The finding on one screen: long lines and a long difference are cut, and say so.

        Args:
            max_lines: Most lines of the difference.
            max_chars: Most characters of one line.
        """
        lines = self.diff.splitlines()
        cut = [f"{line[:max_chars]}…" if len(line) > max_chars else line for line in lines]
        if len(cut) > max_lines:
            cut[max_lines:] = [f"… {len(cut) - max_lines:,} more lines"]
        return "\n".join([self.headline, *cut])


def explain(key: str, status: str, document: Mapping[str, Any], store: EntryStore) -> Explanation:
    """Compare the request *document* with stored ones.

    The work is bounded: of at most 20,000 files listed, the 500 used last are read.

    Args:
        key: The request's key.
        status: What a lookup of it gave.
        document: The request.
        store: Where to look.
    """
    wanted = _Profile(document)
    best: Tuple[Tuple[bool, float], Optional[Entry]] = ((False, -1.0), None)
    examined = 0
    for entry in _recent_entries(store):
        if entry.key == key and status == "hit":
            continue
        examined += 1
        score = wanted.likeness(entry.request)
        if score > best[0]:
            best = score, entry
    (_, similarity), nearest = best
    if nearest is None:
        return Explanation(key, status)
    changed = changed_fields(nearest.request, document)
    diff = request_diff(nearest.request, document, f"stored {nearest.key[:12]}", f"new {key[:12]}")
    return Explanation(key, status, nearest, similarity, changed, diff, examined)


def changed_fields(old: Mapping[str, Any], new: Mapping[str, Any]) -> Tuple[str, ...]:
    """Names of the top-level fields in which two requests differ, in alphabetical order."""
    names = sorted(set(old) | set(new))
    return tuple(name for name in names if _plain(old.get(name)) != _plain(new.get(name)))


def request_diff(
    old: Mapping[str, Any], new: Mapping[str, Any], old_name: str = "old", new_name: str = "new"
) -> str:
    """Unified diff of two requests, with the lines of long texts as lines of their own."""
    lines = difflib.unified_diff(readable(old), readable(new), old_name, new_name, lineterm="", n=1)
    return "\n".join(lines)


def readable(value: Any, name: str = "", indent: str = "") -> List[str]:
    """*value* as lines for people: one line for each leaf, and for each line of a text."""
    label = f"{indent}{name}: " if name else indent
    deeper = indent + "  "
    if isinstance(value, str) and "\n" in value:
        return [f"{label}|", *(deeper + line for line in value.split("\n"))]
    if not value or not isinstance(value, (Mapping, list, tuple)):
        return [label + json.dumps(value, ensure_ascii=False)]
    parts = [line for key, item in _members(value) for line in readable(item, key, deeper)]
    return [label.rstrip(), *parts]


def _members(value: Any) -> List[Tuple[str, Any]]:
    return sorted(value.items()) if isinstance(value, Mapping) else [("-", item) for item in value]


def _plain(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


class _Profile:
    """A request prepared for comparing with many others."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._agent = document.get("agent_name")
        self._words = _words(document)

    def likeness(self, other: Mapping[str, Any]) -> Tuple[bool, float]:
        """Same agent first, then the share of words in common (Jaccard on bags of words)."""
        theirs = _words(other)
        common = sum((self._words & theirs).values())
        either = sum((self._words | theirs).values())
        return self._agent == other.get("agent_name"), common / either if either else 1.0


def _words(document: Mapping[str, Any]) -> Counter[str]:
    words: List[str] = []
    for name, text in _texts(dict(document)):
        words.append(name)
        words += _WORD.findall(text, 0, 8 * _MAX_WORDS)
        if len(words) > _MAX_WORDS:
            break
    return Counter(words)


def _texts(value: Any, name: str = "") -> Iterator[Tuple[str, str]]:
    if isinstance(value, dict):
        for key in sorted(value):
            yield from _texts(value[key], key)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _texts(item, name)
    else:
        yield name, str(value)


def _recent_entries(store: EntryStore) -> Iterator[Entry]:
    files: List[FileInfo] = []
    for shard in store.shards():
        files += listing([shard]).files
        if len(files) >= MAX_LISTED:
            break
    for info in heapq.nlargest(MAX_READ, files):
        match = ENTRY_NAME.fullmatch(os.path.basename(info.path))
        reading = store.read_file(match.group(1), info.path) if match else None
        if reading is not None and reading.entry is not None:
            yield reading.entry
