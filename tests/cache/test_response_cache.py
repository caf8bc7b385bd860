"""The public class: what users of the earlier one rely on, and administration."""

from __future__ import annotations

import asyncio
import threading
import warnings
from pathlib import Path
from typing import Any, Callable, Dict, List

import pytest
from cache_builders import SECRET, make_cache, make_request, make_result

from claude_force_nb.cache import (
    CacheWarning,
    Lookup,
    ResponseCache,
    VerifyReport,
    request_diff,
    request_key,
)
from claude_force_nb.errors import InputError

pytestmark = pytest.mark.essential
REQUEST = make_request()
KEY = request_key(REQUEST)


@pytest.fixture
def cache(tmp_path: Path) -> ResponseCache:
    """An empty cache."""
    return make_cache(tmp_path)


def test_set_then_get(tmp_path: Path) -> None:
    """The three words that name an answer find it again, with its price and age."""
    now = [1_790_000_000.0]
    with ResponseCache(cache_dir=str(tmp_path), cache_secret=SECRET, clock=lambda: now[0]) as cache:
        cache.set("agent", "task", "model", "response", 100, 200, 0.01)
        now[0] += 60

        assert cache.get("agent", "task", "model") == {
            "response": "response",
            "input_tokens": 100,
            "output_tokens": 200,
            "estimated_cost": 0.01,
            "cached": True,
            "cache_age_seconds": 60,
        }


@pytest.mark.parametrize("other", [("b", "task", "m"), ("a", "Task", "m"), ("a", "task", "n")])
def test_other_words_miss(cache: ResponseCache, other: Any) -> None:
    """Agent, task and model each matter."""
    cache.set("a", "task", "m", "response", 1, 1, 0.01)

    assert cache.get(*other) is None


def test_whole_request_decides(cache: ResponseCache) -> None:
    """With a request the other words do not matter, and the request does."""
    cache.set("a", "t", "m", "response", 1, 1, None, request=REQUEST)

    assert cache.get("x", "y", "z", request=REQUEST) is not None
    assert cache.get("a", "t", "m") is None


def test_memory_and_disk_give_the_same(tmp_path: Path) -> None:
    """An answer is the same from memory, from disk, and from another kernel."""
    cache = make_cache(tmp_path, max_memory_entries=5)
    cache.store(REQUEST, make_result())

    found = [cache.lookup(REQUEST), make_cache(tmp_path).lookup(REQUEST)]

    assert [result.reason for result in found] == ["memory", ""]
    assert found[0].entry == found[1].entry


def test_disabled_cache_does_nothing(tmp_path: Path) -> None:
    """A cache that is switched off neither stores nor serves, and leaves no trace."""
    cache = make_cache(tmp_path, enabled=False)

    assert (cache.store(REQUEST, make_result()), cache.lookup(REQUEST).status) == (
        False,
        "disabled",
    )
    assert list(tmp_path.iterdir()) == []


def test_excluded_agents_are_never_cached(tmp_path: Path) -> None:
    """Agents on the list are asked anew each time."""
    cache = make_cache(tmp_path, exclude_agents=["code-reviewer"])

    assert (cache.store(REQUEST, make_result()), cache.lookup(REQUEST).status) == (
        False,
        "disabled",
    )
    assert cache.store(make_request(agent_name="other"), make_result())


def test_shorter_ttl_of_the_reader_counts(tmp_path: Path) -> None:
    """A reader with less patience sees an older answer as expired; one with more does not."""
    now = [1_790_000_000.0]
    clock: Callable[[], float] = lambda: now[0]  # noqa: E731
    make_cache(tmp_path, ttl_hours=24, clock=clock).store(REQUEST, make_result())
    now[0] += 2 * 3_600

    statuses = [
        make_cache(tmp_path, ttl_hours=hours, clock=clock).lookup(REQUEST).status
        for hours in (1, 24, 999, None)
    ]

    assert statuses == ["expired", "hit", "hit", "hit"]


def test_writer_expiry_counts_too(tmp_path: Path) -> None:
    """A more patient reader does not outlive what the writer signed."""
    now = [1_790_000_000.0]
    clock: Callable[[], float] = lambda: now[0]  # noqa: E731
    make_cache(tmp_path, ttl_hours=1, clock=clock).store(REQUEST, make_result())
    now[0] += 3_600

    assert make_cache(tmp_path, ttl_hours=None, clock=clock).lookup(REQUEST).status == "expired"


def test_integrity_cannot_be_switched_off(tmp_path: Path) -> None:
    """verify_integrity=False warns, and a changed entry is still not served."""
    with pytest.warns(CacheWarning, match="no effect"):
        cache = make_cache(tmp_path, verify_integrity=False)
    cache.store(REQUEST, make_result())
    path = cache.entry_path(KEY)
    path.write_bytes(path.read_bytes().replace(b"Looks good", b"Looks evil"))

    with pytest.warns(CacheWarning):
        assert cache.lookup(REQUEST).status == "tampered"


@pytest.mark.parametrize(
    "options",
    [
        {"ttl_hours": -1},
        {"ttl_hours": float("nan")},
        {"max_size_mb": "10"},
        {"max_memory_mb": True},
        {"max_memory_entries": -5},
        {"max_size_mb": float("inf")},
    ],
    ids=str,
)
def test_senseless_numbers_are_refused(tmp_path: Path, options: Dict[str, Any]) -> None:
    """A bad number is an error at once, not a strange cache later."""
    with pytest.raises(InputError):
        make_cache(tmp_path, **options)


def test_delete_and_clear(cache: ResponseCache) -> None:
    """One entry goes, then all of them."""
    for number in range(3):
        cache.store(make_request(str(number)), make_result())

    deleted = cache.delete(request_key(make_request("0")))

    assert (deleted, cache.get_stats()["entries"], cache.clear()) == (True, 2, 2)
    assert cache.get_stats()["entries"] == 0


def test_stats_count_what_happened(cache: ResponseCache) -> None:
    """Hits, misses and the money that was not spent."""
    cache.lookup(REQUEST)
    cache.store(REQUEST, make_result(cost_usd=0.5))
    for _ in range(3):
        cache.lookup(REQUEST)
    cache.peek(KEY)

    stats = cache.get_stats()

    assert (stats["hits"], stats["misses"], stats["saved_usd"], stats["entries"]) == (3, 1, 1.5, 1)
    assert stats["size_bytes"] == cache.entry_path(KEY).stat().st_size == cache.size()


def test_unknown_cost_counts_as_nothing(cache: ResponseCache) -> None:
    """An answer of unknown price is served; the sum saved is a lower bound."""
    cache.store(REQUEST, make_result(cost_usd=None))

    assert cache.lookup(REQUEST).hit
    assert cache.get_stats()["saved_usd"] == 0


def damaged(cache: ResponseCache, number: int, change: Callable[[bytes], bytes]) -> None:
    """Change the file of an entry."""
    path = cache.entry_path(request_key(make_request(str(number))))
    path.write_bytes(change(path.read_bytes()))


def test_verify_reports_everything(tmp_path: Path) -> None:
    """Verifying reads all, sorts it, shows progress, and changes nothing."""
    now = [1_790_000_000.0]
    cache = make_cache(tmp_path, clock=lambda: now[0])
    cache.store(make_request("old"), make_result())
    now[0] += 25 * 3_600
    for number in range(4):
        cache.store(make_request(str(number)), make_result())
    damaged(cache, 0, lambda raw: raw.replace(b"good", b"evil"))
    damaged(cache, 1, lambda raw: raw[:-9])
    damaged(cache, 2, lambda raw: raw[:20] + b"00000000" + raw[28:])
    before = sorted(tmp_path.rglob("*"))
    progress: List[Any] = []

    report = cache.verify_all(lambda done, total: progress.append((done, total)))

    assert report.counts == {
        "ok": 1,
        "expired": 1,
        "tampered": 1,
        "foreign": 1,
        "torn": 1,
        "unreadable": 0,
    }
    assert (report.total, report.clean, progress[-1]) == (5, False, (5, 5))
    assert sorted(tmp_path.rglob("*")) == before


def test_prune_removes_what_expired(tmp_path: Path) -> None:
    """Expired entries go, good ones and other people's stay."""
    now = [1_790_000_000.0]
    cache = make_cache(tmp_path, clock=lambda: now[0])
    cache.store(make_request("old"), make_result())
    now[0] += 25 * 3_600
    cache.store(make_request("new"), make_result())

    assert (
        cache.prune(),
        [entry.request["messages"][0]["content"] for entry in cache.entries()],
    ) == (1, ["new"])


def test_find_by_prefix(cache: ResponseCache) -> None:
    """The first digits of a key find its entry; nonsense finds nothing."""
    for number in range(20):
        cache.store(make_request(str(number)), make_result())
    cache.store(REQUEST, make_result())

    assert [entry.key for entry in cache.find(KEY[:10])] == [KEY]
    assert [cache.find(text) for text in ("", "xyz", "../", KEY[:10].upper())] == [[]] * 4


def test_explain_shows_the_difference(cache: ResponseCache) -> None:
    """A miss is explained by the nearest request of the same agent and a diff of the two."""
    cache.store(make_request("line one\nline two"), make_result())
    cache.store(make_request("line one\nline 2", agent_name="other"), make_result())
    cache.store(make_request("something else entirely"), make_result())

    explanation = cache.explain(make_request("line one\nline 2", max_tokens=9))

    assert (explanation.status, explanation.changed) == ("miss", ("max_tokens", "messages"))
    assert explanation.nearest is not None
    lines = explanation.diff.splitlines()
    assert {
        "-        line two",
        "+        line 2",
        "-  max_tokens: 1024",
        "+  max_tokens: 9",
    } <= set(lines)


def test_brief_explanation_fits_a_screen(cache: ResponseCache) -> None:
    """However different two requests are, the short form has few and short lines, and says so."""
    cache.store(make_request("\n".join(map(str, range(5_000)))), make_result())
    explanation = cache.explain(make_request("\n".join("y" * 10_000 for _ in range(50))))

    lines = explanation.brief(max_lines=10, max_chars=80).splitlines()

    assert len(explanation.diff.splitlines()) > 50
    assert (len(lines), max(map(len, lines)) <= 120) == (12, True)
    assert lines[-1].startswith("… ") and lines[-1].endswith("more lines")


def test_brief_explanation_of_an_expired_answer(tmp_path: Path) -> None:
    """An answer whose time is over is named as such instead of as a neighbour."""
    now = [1e9]
    cache = make_cache(tmp_path, ttl_hours=1, clock=lambda: now[0])
    cache.store(REQUEST, make_result())
    now[0] += 7200

    assert cache.explain(REQUEST).brief().endswith("its time is over.")


def test_explain_of_an_empty_cache(cache: ResponseCache) -> None:
    """Where nothing is stored the explanation says so."""
    explanation = cache.explain(REQUEST)

    assert (explanation.status, explanation.nearest, "no other request" in str(explanation)) == (
        "miss",
        None,
        True,
    )


def test_explain_of_an_expired_answer(tmp_path: Path) -> None:
    """When the very request is stored but expired, that is the explanation."""
    now = [1_790_000_000.0]
    cache = make_cache(tmp_path, clock=lambda: now[0])
    cache.store(REQUEST, make_result())
    now[0] += 25 * 3_600

    explanation = cache.explain(REQUEST)

    assert (explanation.status, explanation.changed, explanation.diff) == ("expired", (), "")


def test_diff_of_equal_requests_is_empty() -> None:
    """Two equal requests have no difference."""
    assert request_diff(REQUEST.document(), REQUEST.document()) == ""


def test_threads_share_a_cache(tmp_path: Path) -> None:
    """Storing and looking up from many threads at once loses nothing and raises nothing."""
    cache = make_cache(tmp_path, max_memory_entries=20)
    errors: List[BaseException] = []

    def work(start: int) -> None:
        try:
            for number in range(start, start + 50):
                request = make_request(str(number % 60))
                cache.store(request, make_result(str(number % 60)))
                entry = cache.lookup(request).entry
                assert entry is not None
                assert entry.response == str(number % 60)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(start,)) for start in range(0, 80, 10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert errors == []
    assert cache.get_stats(exact=True)["entries"] == 60


async def test_async_context(tmp_path: Path) -> None:
    """The cache is an asynchronous context manager too, and opens again after closing."""
    async with make_cache(tmp_path, max_memory_entries=5) as cache:
        await asyncio.get_running_loop().run_in_executor(None, cache.store, REQUEST, make_result())

    assert cache.get_stats()["memory_entries"] == 0
    assert cache.lookup(REQUEST).hit


def test_unused_parts_have_empty_answers(tmp_path: Path) -> None:
    """Where the directory cannot be used, every question has an empty answer and none raises."""
    (tmp_path / "nb-v1").write_text("in the way")
    cache = make_cache(tmp_path)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert (cache.size(), cache.clear(), cache.prune(), cache.delete(KEY)) == (0, 0, 0, False)
        assert (list(cache.entries()), cache.find(KEY), cache.verify_all()) == (
            [],
            [],
            VerifyReport(),
        )
        assert (cache.explain(REQUEST).status, cache.peek(KEY)) == (
            "miss",
            Lookup("miss", None, KEY, "no disk"),
        )


def test_logs_hold_no_text(cache: ResponseCache, caplog: pytest.LogCaptureFixture) -> None:
    """Neither prompt nor answer ever appears in the log."""
    cache.store(make_request("my secret question"), make_result("a secret answer"))
    damaged_key = request_key(make_request("my secret question"))
    path = cache.entry_path(damaged_key)
    path.write_bytes(path.read_bytes().replace(b"answer", b"ANSWER"))

    with pytest.warns(CacheWarning):
        cache.lookup(make_request("my secret question"))

    assert len(caplog.records) == 1
    assert "secret" not in caplog.text
