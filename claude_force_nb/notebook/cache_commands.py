"""``%agents cache``: look into the cache, ask why, check it, clean it up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Awaitable, Callable, Dict, Iterator, List, Optional, Sequence

from ..errors import CacheError, CacheMiss, CacheTampered, InputError
from ..records import AgentResult, AgentResults
from ..runs import CACHED, Run
from ..settings import MODES
from .progress import bar_for, beside_loop, with_bar
from .session import Session
from .tables import show_table, table_bundle

if TYPE_CHECKING:
    from ..cache import Entry, ResponseCache
    from ..records import AgentRequest

Command = Callable[[Sequence[str]], Awaitable[None]]

SHOWN_LINES = 60
_REASONS = {
    "hit": "was answered from the cache.",
    "miss": "was a miss: nothing was stored under its key.",
    "expired": "was a miss: the stored answer's time was over.",
    "tampered": "was a miss: the stored file had been changed, and was moved to quarantine/.",
    "foreign": "was a miss: the stored file is signed with another secret.",
    "torn": "was a miss: the stored file was incomplete.",
    "unreadable": "was a miss: the stored file could not be read.",
    "disabled": "was not looked up: the cache is off for this agent.",
    "off": "was not looked up: the mode was off.",
    "refresh": "was not looked up: the mode was refresh.",
}


class CacheCommands:
    """The words behind ``%agents cache``.

    Args:
        session: What the notebook works with.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._commands: Dict[str, Command] = {
            "stats": self._stats,
            "verify": self._verify,
            "ls": self._list,
            "show": self._show,
            "why": self._why,
            "prune": self._prune,
            "clear": self._clear,
            "rotate": self._rotate,
            "path": self._path,
        }

    @property
    def words(self) -> List[str]:
        """The words that may follow ``%agents cache``."""
        return [*self._commands, *MODES]

    async def run(self, words: Sequence[str]) -> None:
        """Look into the cache: stats, verify, ls, show, why, prune, clear, rotate, path, or MODE.

        Raises:
            InputError: There is no such word, or something is wrong with what follows it.
            CacheError: The cache cannot do it, or does not have it.
        """
        word, rest = (words[0], words[1:]) if words else ("", ())
        if not word:
            await self._overview()
        elif word in MODES:
            self._use(word, rest)
        elif word in self._commands:
            await self._commands[word](rest)
        else:
            raise InputError(
                f"%agents cache has no {word!r}.", advice=f"It has {', '.join(self.words)}."
            )

    @property
    def _cache(self) -> ResponseCache:
        cache = self._session.orchestrator.cache
        if cache is None:
            raise CacheError("This notebook's orchestrator was made with enable_cache=False.")
        return cache

    async def _overview(self) -> None:
        from .cache_texts import stats_line

        cache = self._cache
        stats = await beside_loop(cache.get_stats)
        print(f"Cache mode {self._session.orchestrator.settings.mode} · {stats_line(stats)}")
        print(cache.directory)

    def _use(self, mode: str, rest: Sequence[str]) -> None:
        _no_more(mode, rest)
        self._session.orchestrator.reconfigure(mode=mode)
        print(f"Cache mode is {mode} now.")

    async def _stats(self, words: Sequence[str]) -> None:
        from .cache_texts import stats_rows

        _no_more("stats", words)
        cache = self._cache
        show_table(
            ("cache", "figure"), stats_rows(await beside_loop(lambda: cache.get_stats(exact=True)))
        )

    async def _verify(self, words: Sequence[str]) -> None:
        from .cache_texts import bad_files, verify_rows

        _no_more("verify", words)
        cache = self._cache
        bar = bar_for(self._session.shell, "verifying")
        report = await with_bar(bar, cache.verify_all)
        bar.finish(table_bundle(("status", "entries", "meaning"), verify_rows(report)))
        for path in bad_files(report)[:SHOWN_LINES]:
            print(path)
        if not report.clean:
            raise CacheTampered(
                f"{len(report.tampered):,} of {report.total:,} entries fail their check.",
                advice="They are never served; the next request for one moves it to quarantine/.",
            )

    async def _list(self, words: Sequence[str]) -> None:
        from .cache_texts import LIST_COLUMNS, LISTED, count_text, entry_row, newest

        limit = _whole(words[0]) if words else LISTED
        _no_more("ls", words[1:])
        cache = self._cache
        entries = await beside_loop(lambda: newest(cache.entries(), limit))
        if not entries:
            print("The cache is empty.")
            return
        show_table(LIST_COLUMNS, [entry_row(entry) for entry in entries])
        more = (await beside_loop(cache.get_stats))["entries"] - len(entries)
        if more > 0:
            print(f"… {count_text(more, 'entry')} more: %agents cache ls N shows N, 0 all.")

    async def _show(self, words: Sequence[str]) -> None:
        keys = self._keys(_only("show", words, "KEY or a result's variable"))
        cache = self._cache
        for entry in await beside_loop(lambda: [_stored(cache, key) for key in keys]):
            self._display(entry)

    def _display(self, entry: Entry) -> None:
        from IPython.display import display

        from ..cache.explain import readable
        from ..outcomes import recalled
        from .bundle import results_bundle
        from .cache_texts import entry_fields, request_of
        from .rendering import plain_html, visible

        show_table(("entry", ""), entry_fields(self._cache, entry))
        asked = "\n".join(readable(entry.request)[:SHOWN_LINES])
        display({"text/html": plain_html(asked), "text/plain": visible(asked)}, raw=True)
        request = request_of(entry)
        result = recalled(request, Run(request.agent_name, request.model), entry)
        display(results_bundle([result]), raw=True)

    def _keys(self, word: str) -> List[str]:
        """The keys of the results in the variable *word*, or the one that it begins."""
        results = self._results(word)
        return [result.key for result in results] if results else [word]

    def _results(self, word: str) -> List[AgentResult]:
        value = self._session.shell.user_ns.get(word)
        if isinstance(value, AgentResult):
            return [value]
        return list(value) if isinstance(value, AgentResults) else []

    async def _why(self, words: Sequence[str]) -> None:
        word = _only("why", words, "a result's variable, an agent or a KEY")
        for line in [line for subject in self._subjects(word) for line in await subject]:
            print(line)

    def _subjects(self, word: str) -> Iterator[Awaitable[List[str]]]:
        """What *word* means: results of a variable, an agent's last run, or a stored key."""
        results = self._results(word)
        runs = list(self._session.orchestrator.recent_runs)
        if results:
            by_key = {run.result.key: run for run in runs if run.result is not None}
            yield from (self._why_result(result, by_key.get(result.key)) for result in results)
            return
        own = [run for run in runs if run.agent_name == word and run.result is not None]
        if own:
            assert own[-1].result is not None
            yield self._why_result(own[-1].result, own[-1])
        else:
            yield self._why_key(word)

    async def _why_result(self, result: AgentResult, run: Optional[Run]) -> List[str]:
        cache = self._cache
        request = run.request if run is not None else None
        if request is None:
            request = await beside_loop(lambda: _request_of_key(cache, result.key))
        status = CACHED if result.state == CACHED else getattr(run, "cache_status", "")
        reason = _REASONS.get("hit" if status == CACHED else status, f"is {result.state}.")
        return [f"{result.agent_name} {reason}", *await self._explained(request)]

    async def _why_key(self, prefix: str) -> List[str]:
        from .cache_texts import one_entry, request_of

        cache = self._cache
        try:
            entry = await beside_loop(lambda: one_entry(cache, prefix))
        except (InputError, CacheMiss) as error:
            raise CacheMiss(
                f"{prefix!r} is no result's variable, no agent that ran in this kernel, and no "
                "stored key.",
                advice="%agents cache ls lists what is stored.",
            ) from error
        return [f"{entry.key[:12]} is stored.", *await self._explained(request_of(entry))]

    async def _explained(self, request: AgentRequest) -> List[str]:
        from .rendering import visible

        cache = self._cache
        explanation = await beside_loop(lambda: cache.explain(request))
        return visible(explanation.brief(SHOWN_LINES)).splitlines()

    async def _prune(self, words: Sequence[str]) -> None:
        from .cache_texts import count_text

        _no_more("prune", words)
        print(f"Deleted {count_text(await beside_loop(self._cache.prune), 'entry')}.")

    async def _clear(self, words: Sequence[str]) -> None:
        from .cache_texts import contents_text, count_text

        cache = self._cache
        if list(words) != ["--yes"]:
            _no_more("clear", words)
            stats = await beside_loop(lambda: cache.get_stats(exact=True))
            _confirm(f"Delete {contents_text(stats)} from {cache.directory}?")
        print(f"Deleted {count_text(await beside_loop(cache.clear), 'entry')}.")

    async def _rotate(self, words: Sequence[str]) -> None:
        _no_more("rotate", words)
        try:
            key_id = await beside_loop(self._cache.rotate)
        except OSError as error:
            raise CacheError(f"The key ring cannot be written: {error}.") from error
        print(f"Key {key_id} signs from now on. Older entries stay valid.")

    async def _path(self, words: Sequence[str]) -> None:
        _no_more("path", words)
        print(self._cache.directory)


def _stored(cache: ResponseCache, key: str) -> Entry:
    from .cache_texts import one_entry

    return one_entry(cache, key)


def _request_of_key(cache: ResponseCache, key: str) -> AgentRequest:
    from .cache_texts import one_entry, request_of

    try:
        return request_of(one_entry(cache, key))
    except (InputError, CacheMiss) as error:
        raise CacheMiss(
            "What was asked is no longer known: the answer is not stored, and the run is too old.",
            advice="Run the cell again, then ask.",
        ) from error


def _only(command: str, words: Sequence[str], what: str) -> str:
    if len(words) != 1:
        raise InputError(f"%agents cache {command} takes one word: {what}.")
    return words[0]


def _no_more(command: str, words: Sequence[str]) -> None:
    if words:
        raise InputError(f"%agents cache {command} takes no {' '.join(words)!r}.")


def _whole(word: str) -> int:
    if not word.isascii() or not word.isdigit():
        raise InputError(f"%agents cache ls {word}: how many? Give a whole number, 0 for all.")
    return int(word)


def _confirm(question: str) -> None:
    """Ask on the notebook's input line.

    Raises:
        InputError: The answer is not yes, or nobody can be asked.
    """
    try:
        answer = input(f"{question} Type yes: ")
    except Exception as error:  # front ends without input raise their own errors
        raise InputError(
            "Nobody can be asked here, so nothing was deleted.",
            advice="Write %agents cache clear --yes if you mean it.",
        ) from error
    if answer.strip().lower() not in ("y", "yes"):
        raise InputError("Nothing was deleted.")
