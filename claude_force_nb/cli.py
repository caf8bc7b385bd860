"""``claude-force-nb``: the cache from a shell or a CI job.

Exit codes::

    0    done; nothing is wrong
    1    something is wrong or missing: verify found changed files, show and why found no entry
    2    the command line makes no sense, or needs a --yes that is not there
    3    the cache or its key ring cannot be used
    130  interrupted

Answers go to standard output, everything else to standard error. Only what the writer of an
answer decided makes it expire here: a notebook may keep answers for longer than the default.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Dict, Iterator, Optional, Sequence

from .errors import CacheMiss, ClaudeForceError, InputError
from .notebook import cache_texts as texts
from .notebook.progress import LineBar
from .notebook.rendering import visible
from .notebook.tables import table_bundle
from .settings import Settings
from .version import __version__

if TYPE_CHECKING:
    from .cache import Explanation, ResponseCache

DONE, WRONG, USAGE, UNUSABLE, INTERRUPTED = 0, 1, 2, 3, 130
_NO_LIMIT_MB = 2.0**40

Command = Callable[["ResponseCache", argparse.Namespace], int]


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Run the command line.

    Args:
        arguments: Words behind the program's name; the process's own by default.

    Returns:
        The exit code.

    Raises:
        SystemExit: The words make no sense (code 2), or asked for help or the version (0).
    """
    options = _parser().parse_args(arguments)
    with _one_line_warnings():
        try:
            code = _run(options)
            sys.stdout.flush()
            return code
        except KeyboardInterrupt:
            return _complain("Interrupted.", INTERRUPTED)
        except BrokenPipeError:  # the reader, such as head, has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return DONE
        except CacheMiss as error:
            return _complain(error, WRONG)
        except InputError as error:
            return _complain(error, USAGE)
        except (ClaudeForceError, OSError) as error:
            return _complain(error, UNUSABLE)


def _run(options: argparse.Namespace) -> int:
    cache = _cache(options.dir, options.max_size_mb)
    if options.needs_files and not cache.directory.is_dir():
        return _complain(f"There is no cache at {cache.directory}.", UNUSABLE)
    if options.needs_files and not cache.usable:
        return UNUSABLE  # a warning has said why
    command: Command = options.command
    return command(cache, options)


def _cache(folder: Optional[Path], max_size_mb: Optional[float]) -> ResponseCache:
    """The cache that a notebook in the current folder would use, or the one in *folder*."""
    from .orchestrator import AsyncAgentOrchestrator

    settings = Settings.from_environment(cache_dir=folder)
    cache = AsyncAgentOrchestrator(
        settings=settings,
        cache_ttl_hours=None,
        cache_max_size_mb=_NO_LIMIT_MB if max_size_mb is None else max_size_mb,
    ).cache
    assert cache is not None
    return cache


# -- commands --------------------------------------------------------------------------------


def _stats(cache: ResponseCache, options: argparse.Namespace) -> int:
    """Count the entries and their size."""
    stats = cache.get_stats(exact=True)
    document = {
        "directory": str(cache.directory),
        "entries": stats["entries"],
        "size_bytes": stats["size_bytes"],
    }
    _show(options, document, f"{texts.contents_text(stats)}\n{cache.directory}")
    return DONE


def _verify(cache: ResponseCache, options: argparse.Namespace) -> int:
    """Read every entry and check its signature; changes nothing."""
    bar = LineBar("verified", sys.stderr)
    report = cache.verify_all(bar.step if sys.stderr.isatty() else None)
    rows = texts.verify_rows(report)
    table = _table(("status", "entries", "meaning"), rows) if rows else "The cache is empty."
    files = {status: list(getattr(report, status)) for status in report.counts if status != "ok"}
    document = {"clean": report.clean, "counts": report.counts, "files": files}
    _show(options, document, "\n".join([table, *texts.bad_files(report)]))
    unserved = report.total - report.counts["ok"]
    return WRONG if not report.clean or (options.strict and unserved) else DONE


def _list(cache: ResponseCache, options: argparse.Namespace) -> int:
    """List the answers stored last."""
    entries = texts.newest(cache.entries(), options.limit)
    document = [texts.entry_document(cache, entry) for entry in entries]
    rows = [texts.entry_row(entry) for entry in entries]
    _show(options, document, _table(texts.LIST_COLUMNS, rows) if rows else "The cache is empty.")
    return DONE


def _one(cache: ResponseCache, options: argparse.Namespace) -> int:
    """Show one answer, and what was asked."""
    from .cache.explain import readable

    entry = texts.one_entry(cache, options.key)
    parts = [_table(("entry", ""), texts.entry_fields(cache, entry))]
    parts += ["\n".join(readable(entry.request)), entry.response]
    _show(options, texts.entry_document(cache, entry, whole=True), "\n\n".join(parts))
    return DONE


def _why(cache: ResponseCache, options: argparse.Namespace) -> int:
    """Compare one entry's request with another's, by default with the most similar one."""
    from .cache import request_diff

    entry = texts.one_entry(cache, options.key)
    if options.other:
        other = texts.one_entry(cache, options.other)
        names = (f"stored {other.key[:12]}", f"stored {entry.key[:12]}")
        difference = request_diff(other.request, entry.request, *names)
        document = {"key": entry.key, "nearest": other.key, "diff": difference}
        _show(options, document, difference or "The requests are the same.")
    else:
        found = cache.explain(texts.request_of(entry))
        _show(options, _explanation_document(found), str(found))
    return DONE


def _explanation_document(found: Explanation) -> Dict[str, Any]:
    return {
        "key": found.key,
        "nearest": found.nearest.key if found.nearest else None,
        "similarity": found.similarity,
        "changed": list(found.changed),
        "diff": found.diff,
    }


def _prune(cache: ResponseCache, options: argparse.Namespace) -> int:
    """Delete expired answers; with --max-size-mb also old ones beyond that size."""
    return _deleted(options, cache.prune())


def _clear(cache: ResponseCache, options: argparse.Namespace) -> int:
    """Delete all answers that this key ring signed."""
    if not options.yes:
        stats = cache.get_stats(exact=True)
        _confirm(f"Delete {texts.contents_text(stats)} from {cache.directory}?")
    return _deleted(options, cache.clear())


def _deleted(options: argparse.Namespace, number: int) -> int:
    _show(options, {"deleted": number}, f"Deleted {texts.count_text(number, 'entry')}.")
    return DONE


def _rotate(cache: ResponseCache, options: argparse.Namespace) -> int:
    """Sign with a new key from now on; older answers stay valid."""
    key_id = cache.rotate()
    _show(options, {"key": key_id}, f"Key {key_id} signs from now on. Older entries stay valid.")
    return DONE


def _path(cache: ResponseCache, options: argparse.Namespace) -> int:
    """Print the directory."""
    _show(options, {"directory": str(cache.directory)}, str(cache.directory))
    return DONE


# -- words in, text out ----------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="claude-force-nb", description="Claude agents in notebooks."
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    areas = parser.add_subparsers(metavar="AREA", required=True)
    cache = areas.add_parser(
        "cache",
        help="look into the cache of answers, check it, clean it up",
        description="Look into the cache of answers, check it, clean it up.",
        epilog="Exit codes: 0 done; 1 something is wrong or missing; 2 wrong use; "
        "3 the cache cannot be used.",
    )
    commands = cache.add_subparsers(metavar="COMMAND", required=True)
    _add_looking(commands)
    _add_cleaning(commands)
    return parser


def _add_looking(commands: Any) -> None:
    _add(commands, "stats", _stats)
    verify = _add(commands, "verify", _verify)
    verify.add_argument(
        "--strict",
        action="store_true",
        help="exit with 1 if any entry would not be served, also expired and foreign ones",
    )
    listing = _add(commands, "ls", _list)
    listing.add_argument(
        "--limit",
        type=_whole,
        default=texts.LISTED,
        metavar="N",
        help=f"how many; 0 for all, {texts.LISTED} by default",
    )
    _add_key(_add(commands, "show", _one))
    why = _add(commands, "why", _why)
    _add_key(why)
    why.add_argument("other", nargs="?", metavar="OTHER", help="another key to compare with")
    _add(commands, "path", _path, needs_files=False)


def _add_cleaning(commands: Any) -> None:
    prune = _add(commands, "prune", _prune)
    prune.add_argument("--max-size-mb", type=_positive, metavar="MB", help="also shrink to this")
    clear = _add(commands, "clear", _clear)
    clear.add_argument("--yes", action="store_true", help="do not ask")
    _add(commands, "rotate", _rotate, needs_files=False)


def _add(
    commands: Any, name: str, command: Command, *, needs_files: bool = True
) -> argparse.ArgumentParser:
    summary = (command.__doc__ or "").strip()
    added: argparse.ArgumentParser = commands.add_parser(name, help=summary, description=summary)
    added.add_argument("--json", action="store_true", help="print JSON")
    added.add_argument("--dir", type=Path, metavar="DIR", help="a cache in another folder")
    added.set_defaults(command=command, needs_files=needs_files, max_size_mb=None)
    return added


def _add_key(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("key", metavar="KEY", help="a key, or its first digits")


def _whole(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number")
    return int(text)


def _positive(text: str) -> float:
    with contextlib.suppress(ValueError):
        if 0 < float(text) < _NO_LIMIT_MB:
            return float(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")


def _show(options: argparse.Namespace, document: Any, text: str) -> None:
    """Print *document* as JSON if asked to, else *text*; neither can move the cursor."""
    if options.json:
        print(json.dumps(document, indent=2))
    else:
        print(visible(text))


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return str(table_bundle(columns, rows)["text/plain"])


def _confirm(question: str) -> None:
    if not sys.stdin.isatty():
        raise InputError("Nobody can be asked, so nothing was deleted.", advice="Add --yes.")
    if input(f"{question} [y/N] ").strip().lower() not in ("y", "yes"):
        raise InputError("Nothing was deleted.")


def _complain(what: object, code: int) -> int:
    print(f"claude-force-nb: {visible(str(what))}", file=sys.stderr)
    return code


@contextlib.contextmanager
def _one_line_warnings() -> Iterator[None]:
    from .cache import CacheWarning

    with warnings.catch_warnings():
        warnings.simplefilter("always", CacheWarning)
        warnings.showwarning = lambda message, *_, **__: print(
            f"claude-force-nb: warning: {visible(' '.join(str(message).split()))}", file=sys.stderr
        )
        yield


if __name__ == "__main__":
    sys.exit(main())
