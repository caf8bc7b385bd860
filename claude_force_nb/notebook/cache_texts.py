"""What a cache looks like to people and programs: rows, fields and lines.

Shared by ``%agents cache`` and the command line; needs neither IPython nor a kernel.
"""

from __future__ import annotations

import heapq
import time
from typing import TYPE_CHECKING, Any, Dict, Iterable, List, Mapping, Optional, Tuple

from ..errors import CacheMiss, InputError
from ..records import AgentRequest
from .bundle import dollars

if TYPE_CHECKING:
    from ..cache import Entry, ResponseCache, VerifyReport

LISTED = 20
LIST_COLUMNS = ("key", "agent", "model", "age", "tokens in / out", "cost", "answer")
_KEY_DIGITS = 12
_PREVIEW_CHARS = 60
_MEANINGS = {
    "ok": "would be served",
    "expired": "genuine, but their time is over",
    "tampered": "changed since they were signed; never served",
    "foreign": "signed with another secret; left alone",
    "torn": "incomplete, as a crash leaves them",
    "unreadable": "could not be opened, or another version wrote them",
}


def size_text(size_bytes: float) -> str:
    """*size_bytes* with a unit, such as ``4.2 MB``; thousands, as disks count."""
    for unit in ("bytes", "kB", "MB"):
        if size_bytes < 1000:
            return f"{size_bytes:.3g} {unit}"
        size_bytes /= 1000
    return f"{size_bytes:.3g} GB"


def age_text(age_s: float) -> str:
    """*age_s* in its largest unit, such as ``3 h``."""
    for unit_s, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if age_s >= unit_s:
            return f"{int(age_s // unit_s)} {unit}"
    return f"{int(age_s)} s"


def count_text(number: int, noun: str) -> str:
    """Such as ``1 entry`` and ``2 entries``; *noun* ends in y."""
    return f"{number:,} {noun if number == 1 else noun[:-1] + 'ies'}"


def stats_rows(stats: Mapping[str, Any]) -> List[Tuple[str, str]]:
    """The figures of :meth:`ResponseCache.get_stats` with names for people."""
    return [
        ("entries", f"{stats['entries']:,}"),
        ("size", size_text(stats["size_bytes"])),
        ("hits", f"{stats['hits']:,}"),
        ("misses", f"{stats['misses']:,}"),
        ("expired", f"{stats['expired']:,}"),
        ("integrity failures", f"{stats['integrity_failures']:,}"),
        ("foreign", f"{stats['foreign']:,}"),
        ("evicted", f"{stats['evictions']:,}"),
        ("failed writes", f"{stats['write_failures']:,}"),
        ("held in memory", f"{stats['memory_entries']:,}"),
        ("saved", dollars(stats["saved_usd"])),
    ]


def stats_line(stats: Mapping[str, Any]) -> str:
    """The figures that matter most, in one line."""
    counts = f"hits {stats['hits']:,}, misses {stats['misses']:,}"
    return f"{contents_text(stats)} · this kernel: {counts}, saved {dollars(stats['saved_usd'])}"


def contents_text(stats: Mapping[str, Any]) -> str:
    """How much is in the cache, such as ``12 entries, 48 kB``."""
    return f"{count_text(stats['entries'], 'entry')}, {size_text(stats['size_bytes'])}"


def newest(entries: Iterable[Entry], limit: int) -> List[Entry]:
    """The *limit* entries stored last, newest first; all of them if *limit* is 0."""
    if not limit:
        return sorted(entries, key=_created, reverse=True)
    return heapq.nlargest(limit, entries, key=_created)


def _created(entry: Entry) -> float:
    return entry.created


def entry_row(entry: Entry) -> Tuple[str, ...]:
    """One line of the list, under ``LIST_COLUMNS``."""
    return (
        entry.key[:_KEY_DIGITS],
        str(entry.agent.get("name", "")),
        entry.resolved_model,
        age_text(entry.age_s(time.time())),
        f"{entry.usage.prompt_tokens:,} / {entry.usage.output_tokens:,}",
        _cost_text(entry),
        _preview(entry.response),
    )


def entry_fields(cache: ResponseCache, entry: Entry) -> List[Tuple[str, str]]:
    """What is known of one answer, name by name."""
    now = time.time()
    return [
        ("key", entry.key),
        ("file", str(cache.entry_path(entry.key))),
        ("agent", f"{entry.agent.get('name', '')}, sample {entry.sample}"),
        ("model", f"{entry.resolved_model}, asked as {entry.request.get('model', '')}"),
        ("stored", f"{_time_text(entry.created)}, {age_text(entry.age_s(now))} ago"),
        ("expires", "never" if entry.expires is None else _time_text(entry.expires)),
        ("tokens", f"{entry.usage.prompt_tokens:,} in / {entry.usage.output_tokens:,} out"),
        ("cost", _cost_text(entry)),
        ("stopped", entry.stop_reason),
        ("made by", f"{entry.sdk}, claude-force-nb {entry.package}"),
        ("request id", entry.request_id or "none"),
        ("SHA-256", entry.body_sha256),
    ]


def entry_document(cache: ResponseCache, entry: Entry, *, whole: bool = False) -> Dict[str, Any]:
    """One answer as JSON values.

    Args:
        cache: Where it lies.
        entry: The answer.
        whole: Also give the request and the answer's text.
    """
    document = {
        "key": entry.key,
        "path": str(cache.entry_path(entry.key)),
        "agent": entry.agent.get("name", ""),
        "model": entry.resolved_model,
        "sample": entry.sample,
        "created": entry.created,
        "expires": entry.expires,
        "usage": vars(entry.usage),
        "cost_usd": entry.cost_usd,
        "stop_reason": entry.stop_reason,
        "sha256": entry.body_sha256,
    }
    return {**document, "request": entry.request, "response": entry.response} if whole else document


def verify_rows(report: VerifyReport) -> List[Tuple[str, str, str]]:
    """Status, number and meaning of what was found; statuses without files are left out."""
    return [
        (status, f"{number:,}", _MEANINGS[status])
        for status, number in report.counts.items()
        if number
    ]


def bad_files(report: VerifyReport) -> List[str]:
    """The files that nobody should trust, worst first."""
    return [*report.tampered, *report.unreadable, *report.torn]


def one_entry(cache: ResponseCache, prefix: str) -> Entry:
    """The stored answer whose key starts with *prefix*.

    Raises:
        CacheMiss: There is none.
        InputError: *prefix* cannot be a key's beginning, or several keys start with it.
    """
    digits = prefix.lower()
    if len(digits) < 4 or set(digits) - set("0123456789abcdef"):
        raise InputError(
            f"{prefix!r} is not the beginning of a key.",
            advice="Give 4 or more of its digits (0-9, a-f); the list of entries shows them.",
        )
    found = {entry.key: entry for entry in cache.find(digits)}
    if not found:
        raise CacheMiss(f"No stored answer has a key that starts with {digits}.")
    if len(found) > 1:
        raise InputError(f"{len(found)} keys start with {digits}.", advice="Give more digits.")
    return found.popitem()[1]


def request_of(entry: Entry) -> AgentRequest:
    """The request that was answered; its images and documents are their digests only."""
    fields = entry.request
    return AgentRequest(**{**fields, "messages": tuple(fields["messages"])})


def _time_text(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S %z", time.localtime(seconds))


def _cost_text(entry: Entry) -> str:
    cost_usd: Optional[float] = entry.cost_usd
    if entry.offline:
        return "offline"
    return "unknown" if cost_usd is None else dollars(cost_usd)


def _preview(text: str) -> str:
    line = " ".join(text[: 4 * _PREVIEW_CHARS].split())
    return f"{line[:_PREVIEW_CHARS]}…" if len(line) > _PREVIEW_CHARS else line
