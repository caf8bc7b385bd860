"""What an entry's file looks like, and what may become one."""

from __future__ import annotations

import json
import math
import os
import stat
from pathlib import Path
from typing import Any, Dict

import pytest
from cache_builders import make_cache, make_request, make_result
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from claude_force_nb.cache import ResponseCache, is_cacheable, request_key
from claude_force_nb.records import AgentRequest, Usage

pytestmark = pytest.mark.essential
REQUEST = make_request()
KEY = request_key(REQUEST)
TEXT = st.text(st.characters(exclude_categories=("Cs",)))
OPTIONS = st.dictionaries(TEXT, TEXT | st.integers(-1000, 1000) | st.booleans(), max_size=3)


@pytest.fixture
def cache(tmp_path: Path) -> ResponseCache:
    """An empty cache."""
    return make_cache(tmp_path)


def test_file_is_readable_json(cache: ResponseCache) -> None:
    """Any JSON tool shows the request and the answer."""
    cache.store(REQUEST, make_result("Looks good."))

    document = json.loads(cache.entry_path(KEY).read_text(encoding="utf-8"))

    assert document["entry"]["response"] == "Looks good."
    assert document["entry"]["request"] == REQUEST.document()


def test_prefix_has_fixed_length(cache: ResponseCache) -> None:
    """The signature ends at the same byte in every file, and the body starts a line."""
    cache.store(REQUEST, make_result("short"))
    cache.store(make_request("other"), make_result("long" * 999))

    starts = {path.read_bytes().index(b"\n") for path in cache.directory.glob("??/*.json")}

    assert len(starts) == 1


@pytest.mark.skipif(os.name == "nt", reason="POSIX modes")
def test_files_are_private(cache: ResponseCache) -> None:
    """Entries have mode 0600 and their folders 0700, whatever the umask says."""
    old = os.umask(0)
    try:
        cache.store(REQUEST, make_result())
    finally:
        os.umask(old)
    path = cache.entry_path(KEY)

    modes = [stat.S_IMODE(os.stat(part).st_mode) for part in (path, path.parent, cache.directory)]

    assert modes == [0o600, 0o700, 0o700]


def test_entry_has_everything(cache: ResponseCache) -> None:
    """An entry says what was asked, what came back, from whom, and at what cost."""
    result = make_result(
        "ok", usage=Usage(1, 2, 3, 4, 5), metadata={"provider": "offline", "sdk": "stand-in 1"}
    )
    cache.store(make_request(sample=3, definition_sha256="ab"), result)

    entry = next(cache.entries())

    assert (entry.usage, entry.cost_usd, entry.stop_reason) == (result.usage, 0.0042, "end_turn")
    assert (entry.provider, entry.offline, entry.sdk) == ("offline", True, "stand-in 1")
    assert (entry.agent, entry.sample) == ({"name": "code-reviewer", "sha256": "ab"}, 3)
    assert (entry.resolved_model, entry.request_id) == ("claude-opus-5-5", "req_1")


def test_body_digest_survives_signing_again(cache: ResponseCache, tmp_path: Path) -> None:
    """The digest that lock files pin does not depend on who signed."""
    cache.store(REQUEST, make_result())
    entry = next(cache.entries())
    other = make_cache(tmp_path / "other", cache_secret="another secret of at least 32 bytes")
    store = other._disk.readable()
    assert store is not None
    store.write(KEY, entry.body)

    assert next(other.entries()).body_sha256 == entry.body_sha256


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(task=TEXT, answer=TEXT, options=OPTIONS, sample=st.integers(0, 9))
def test_anything_stored_comes_back(
    cache: ResponseCache, task: str, answer: str, options: Dict[str, Any], sample: int
) -> None:
    """Whatever text is asked and answered, the very same answer is served for the same request."""
    request = make_request(task, options=options, sample=sample)
    assert cache.store(request, make_result(answer))

    entry = cache.lookup(request).entry

    assert entry is not None
    assert (entry.response, entry.request) == (answer, json.loads(request.canonical()))


@pytest.mark.parametrize(
    "change",
    [
        {"agent_name": "other"},
        {"model": "claude-haiku-5-5"},
        {"messages": ({"role": "user", "content": "Review that"},)},
        {"messages": ({"role": "user", "content": [{"type": "text", "text": "Review this"}]},)},
        {"max_tokens": 1025},
        {"system": "You review prose."},
        {"options": {"temperature": 0}},
        {"options": {"tools": [{"name": "run"}]}},
        {"options": {"stop_sequences": ["END"]}},
        {"provider": "offline"},
        {"endpoint": "http://localhost:1"},
        {"definition_sha256": "ab"},
        {"sample": 1},
    ],
    ids=str,
)
def test_what_can_change_the_answer_misses(cache: ResponseCache, change: Dict[str, Any]) -> None:
    """A request that differs in anything that matters is another request."""
    cache.store(REQUEST, make_result())

    assert cache.lookup(make_request(**change)).status == "miss"


@pytest.mark.parametrize(
    "ours",
    [{"ttl_hours": 2}, {"ttl_hours": None}, {"max_size_mb": 5}, {"durable": True}],
    ids=str,
)
def test_what_cannot_change_it_hits(cache: ResponseCache, tmp_path: Path, ours: Any) -> None:
    """The cache's own settings are no part of the key."""
    cache.store(REQUEST, make_result())

    assert make_cache(tmp_path, **ours).lookup(REQUEST).hit


def test_prompt_cache_marks_are_irrelevant(cache: ResponseCache) -> None:
    """Marks that change the bill but not the answer give the same key."""
    text = {"type": "text", "text": "Review this"}
    marked = {**text, "cache_control": {"type": "ephemeral"}}
    cache.store(make_request(messages=({"role": "user", "content": [text]},)), make_result())

    assert cache.lookup(make_request(messages=({"role": "user", "content": [marked]},))).hit


@pytest.mark.parametrize(
    ("changes", "truncated", "kept"),
    [
        ({}, False, True),
        ({"stop_reason": "stop_sequence"}, False, True),
        ({"stop_reason": "tool_use"}, False, True),
        ({"stop_reason": "max_tokens"}, False, False),
        ({"stop_reason": "max_tokens"}, True, True),
        ({"stop_reason": "refusal"}, True, False),
        ({"stop_reason": "pause_turn"}, True, False),
        ({"stop_reason": "something_new"}, True, False),
        ({"stop_reason": None}, True, False),
        ({"success": False}, True, False),
        ({"output": None}, True, False),
    ],
    ids=str,
)
def test_only_whole_answers_are_kept(
    cache: ResponseCache, changes: Dict[str, Any], truncated: bool, kept: bool
) -> None:
    """Failures, refusals and cut answers are never stored."""
    result = make_result(**changes)

    assert is_cacheable(result, keep_truncated=truncated) is kept
    assert cache.store(REQUEST, result, keep_truncated=truncated) is kept
    assert cache.lookup(REQUEST).hit is kept


@pytest.mark.filterwarnings("ignore::claude_force_nb.cache.CacheWarning")
@pytest.mark.parametrize(
    "result",
    [
        make_result("lone \ud800 surrogate"),
        make_result(cost_usd=math.nan),
        make_result(metadata={"content": [{1: "number key"}]}),
        make_result(metadata={"content": [{"type": object()}]}),
        make_result("x" * (17 * 2**20)),
    ],
    ids=["surrogate", "NaN", "number key", "object", "17 MB"],
)
def test_unfaithful_answers_are_refused(cache: ResponseCache, result: Any) -> None:
    """What JSON cannot carry faithfully, or is too large, is not stored, and nothing is raised."""
    assert cache.store(REQUEST, result) is False
    assert cache.lookup(REQUEST).status == "miss"


@pytest.mark.filterwarnings("ignore::claude_force_nb.cache.CacheWarning")
@pytest.mark.parametrize("bad", [math.nan, 2**60, b"bytes", "\ud800"], ids=repr)
def test_request_without_key_is_not_cached(cache: ResponseCache, bad: Any) -> None:
    """A request that has no canonical form is asked anew each time, and nothing is raised."""
    request = make_request(options={"odd": bad})

    assert (cache.lookup(request).status, cache.store(request, make_result())) == (
        "disabled",
        False,
    )


def test_hit_is_about_the_same_request(cache: ResponseCache) -> None:
    """Even a genuine entry under the right key is not served for a request it does not hold."""
    from claude_force_nb.cache.entry import encode_entry
    from claude_force_nb.cache.keys import Address, address_of

    other: AgentRequest = make_request("another question")
    wrong = Address(KEY, address_of(other).canonical)
    body = encode_entry(other, wrong, make_result(), created=1.0, expires=None)
    store = cache._disk.readable()
    assert store is not None
    store.write(KEY, body)

    assert (cache.lookup(REQUEST).status, len(cache.verify_all().unreadable)) == ("unreadable", 1)


@pytest.mark.parametrize(
    "body",
    [b"[]", b"{}", b"null", b"hello", b'{"key": "%s"}', b'{"a": NaN}', b"[" * 100_000],
    ids=lambda body: body[:12].decode(),
)
def test_signed_nonsense_is_unreadable(cache: ResponseCache, body: bytes) -> None:
    """A genuine signature over something that is no entry gives a status, not an exception."""
    store = cache._disk.readable()
    assert store is not None
    store.write(KEY, body)

    with pytest.warns(UserWarning, match="wrong_schema"):
        assert cache.lookup(REQUEST).status == "unreadable"
