"""The command line: what it prints, and with which code it ends."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Callable, Tuple

import pytest

from claude_force_nb import AgentRequest, AgentResult, ResponseCache, Usage
from claude_force_nb.cache import request_key
from claude_force_nb.cli import DONE, UNUSABLE, USAGE, WRONG, main

pytestmark = pytest.mark.essential

Run = Callable[..., Tuple[int, str, str]]


def request(task: str = "Review this") -> AgentRequest:
    """A small request."""
    return AgentRequest("reviewer", "claude-opus-5-5", ({"role": "user", "content": task},), 100)


def result(output: str = "Looks good.") -> AgentResult:
    """A whole answer."""
    return AgentResult(
        "reviewer",
        success=True,
        output=output,
        usage=Usage(812, 204),
        cost_usd=0.0042,
        model="claude-opus-5-5",
        stop_reason="end_turn",
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a cache of two answers."""
    cache = ResponseCache(tmp_path, roots=[tmp_path])
    cache.store(request("Review this\nwith care"), result())
    cache.store(request("Review this\nquickly"), result("Fine\x1b[2J."))
    return tmp_path


KEY = request_key(request("Review this\nwith care"))
OTHER = request_key(request("Review this\nquickly"))


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command line in this process: code, output, errors."""

    def call(*words: object) -> Tuple[int, str, str]:
        try:
            code = main(["cache", *map(str, words)])
        except SystemExit as leave:
            code = int(str(leave.code))
        return (code, *capsys.readouterr())  # type: ignore[return-value]

    return call


def tamper(folder: Path, key: str = KEY) -> Path:
    """Change one letter of a stored answer."""
    path = folder / "nb-v1" / key[:2] / f"{key}.json"
    path.write_text(path.read_text(encoding="utf-8").replace("Looks", "Locks"), encoding="utf-8")
    return path


def test_stats_counts(run: Run, folder: Path) -> None:
    """Statistics tell entries, size and place."""
    code, out, _ = run("stats", "--dir", folder)

    assert code == DONE
    assert "2 entries" in out and str(folder / "nb-v1") in out


def test_verify_of_a_sound_cache(run: Run, folder: Path) -> None:
    """A cache in which nothing was changed passes."""
    code, out, _ = run("verify", "--dir", folder)

    assert (code, "ok      2" in out) == (DONE, True)


def test_verify_names_changed_files(run: Run, folder: Path) -> None:
    """A changed entry fails the check, which names the file and leaves it there."""
    path = tamper(folder)

    code, out, _ = run("verify", "--dir", folder)

    assert code == WRONG
    assert str(path) in out
    assert path.exists()


def test_strict_verify_fails_on_unserved(
    run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Entries of another secret are harmless, and fail only a strict check."""
    monkeypatch.setenv("CLAUDE_CACHE_SECRET", "another secret of more than thirty-two letters")

    assert run("verify", "--dir", folder)[0] == DONE
    assert run("verify", "--strict", "--dir", folder)[0] == WRONG


def test_list_is_newest_first(run: Run, folder: Path) -> None:
    """The list shows what was stored last, as many as asked for."""
    code, out, _ = run("ls", "--limit", 1, "--dir", folder)

    assert (code, OTHER[:12] in out, KEY[:12] in out) == (DONE, True, False)


def test_show_prints_no_control_characters(run: Run, folder: Path) -> None:
    """An answer is shown with its request, and cannot clear the terminal."""
    code, out, _ = run("show", OTHER[:8], "--dir", folder)

    assert code == DONE
    assert "quickly" in out and "Fine⟨U+001B⟩[2J." in out
    assert "\x1b" not in out


def test_why_finds_the_neighbour(run: Run, folder: Path) -> None:
    """Asked about one key, it shows how the most similar other request differs."""
    code, out, _ = run("why", KEY, "--dir", folder)

    assert code == DONE
    assert OTHER[:12] in out
    assert "-        quickly" in out and "+        with care" in out


def test_why_compares_two(run: Run, folder: Path) -> None:
    """Asked about two keys, it shows the difference of just these."""
    code, out, _ = run("why", OTHER, KEY, "--dir", folder)

    assert code == DONE
    assert "-        with care" in out and "+        quickly" in out


def test_prune_keeps_what_is_good(run: Run, folder: Path) -> None:
    """Pruning deletes expired answers only, whatever the default age of an answer is."""
    forever = ResponseCache(folder, roots=[folder], ttl_hours=None, clock=lambda: 1e9)
    forever.store(request("from long ago, for ever"), result())
    brief = ResponseCache(folder, roots=[folder], ttl_hours=1, clock=lambda: 1e9)
    brief.store(request("from long ago, for an hour"), result())

    code, out, _ = run("prune", "--dir", folder)

    assert (code, out) == (DONE, "Deleted 1 entry.\n")
    assert forever.size() > 0
    assert forever.lookup(request("from long ago, for ever")).hit


def test_prune_to_a_size(run: Run, folder: Path) -> None:
    """With a size, the least recently used answers go too."""
    code, out, _ = run("prune", "--max-size-mb", 0.001, "--dir", folder)

    assert code == DONE
    assert "Deleted 2 entries" in out or "Deleted 1 entry" in out


def test_clear_asks_somebody(run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nobody can be asked nothing is deleted, and the advice names the flag."""
    monkeypatch.setattr(sys, "stdin", io.StringIO("yes\n"))

    code, _, errors = run("clear", "--dir", folder)

    assert (code, "--yes" in errors) == (USAGE, True)
    assert "2 entries" in run("stats", "--dir", folder)[1]


@pytest.mark.parametrize(("answer", "left"), [("y\n", "0 entries"), ("\n", "2 entries")])
def test_clear_takes_the_answer(
    run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch, answer: str, left: str
) -> None:
    """Only a yes deletes."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdin", Terminal(answer))
    run("clear", "--dir", folder)

    assert left in run("stats", "--dir", folder)[1]


def test_clear_with_yes(run: Run, folder: Path) -> None:
    """With the flag everything is deleted without a question."""
    assert run("clear", "--yes", "--dir", folder)[:2] == (DONE, "Deleted 2 entries.\n")


def test_rotate_keeps_old_answers(run: Run, folder: Path) -> None:
    """A new key signs, and what the old one signed stays valid."""
    code, out, _ = run("rotate", "--dir", folder)

    assert (code, "signs from now on" in out) == (DONE, True)
    assert run("verify", "--strict", "--dir", folder)[0] == DONE


def test_given_secret_is_not_rotated(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A secret that the user sets can only be changed where it is set."""
    monkeypatch.setenv("CLAUDE_CACHE_SECRET", "a secret of more than thirty-two letters")

    code, _, errors = run("rotate")

    assert (code, "CLAUDE_CACHE_SECRET" in errors) == (UNUSABLE, True)


def test_path_creates_nothing(run: Run, tmp_path: Path) -> None:
    """Asking for the place makes no folder."""
    code, out, _ = run("path", "--dir", tmp_path / "none")

    assert (code, out) == (DONE, f"{tmp_path / 'none' / 'nb-v1'}\n")
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("command", ["stats", "verify", "ls", "prune", "clear"])
def test_missing_cache_is_no_pass(run: Run, tmp_path: Path, command: str) -> None:
    """A mistyped folder is an error instead of an empty cache that passes every check."""
    code, _, errors = run(command, "--dir", tmp_path / "typo")

    assert (code, "There is no cache at" in errors) == (UNUSABLE, True)
    assert not (tmp_path / "typo").exists()


def test_unusable_key_ring_is_told(run: Run, folder: Path) -> None:
    """A key ring that others can read ends with its own code, and one line of advice."""
    ring = next(Path.home().rglob("cache-keys.json"))
    ring.chmod(0o644)

    code, out, errors = run("verify", "--dir", folder)

    assert (code, out) == (UNUSABLE, "")
    assert errors.startswith("claude-force-nb: warning: ") and "rotate" in errors
    assert len(errors.splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["show", "0000"], WRONG),
        (["why", "0000"], WRONG),
        (["show", "0"], USAGE),
        (["show", "../../etc/passwd"], USAGE),
        (["show"], USAGE),
        (["nonsense"], USAGE),
        (["ls", "--limit", "-1"], USAGE),
        (["ls", "--limit", "few"], USAGE),
        (["prune", "--max-size-mb", "nan"], USAGE),
        (["--help"], DONE),
    ],
)
def test_words_that_do_not_fit(run: Run, folder: Path, words: Any, code: int) -> None:
    """What is missing and what makes no sense end with different codes, and never a traceback."""
    where = [] if words[0] in ("nonsense", "--help") else ["--dir", folder]

    found, _, errors = run(*words, *where)

    assert (found, "Traceback" in errors) == (code, False)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["stats"], {"entries": 2}),
        (["verify"], {"clean": True}),
        (["show", KEY], {"key": KEY, "response": "Looks good.", "cost_usd": 0.0042}),
        (["why", KEY], {"nearest": OTHER, "changed": ["messages"]}),
        (["why", KEY, OTHER], {"key": KEY, "nearest": OTHER}),
        (["prune"], {"deleted": 0}),
        (["clear", "--yes"], {"deleted": 2}),
    ],
)
def test_json_for_programs(run: Run, folder: Path, words: Any, expected: Any) -> None:
    """Every command can print one JSON document."""
    _, out, _ = run(*words, "--json", "--dir", folder)
    document = json.loads(out)

    assert {name: document[name] for name in expected} == expected


def test_json_list(run: Run, folder: Path) -> None:
    """The list as JSON has the whole keys and the files."""
    document = json.loads(run("ls", "--json", "--limit", 0, "--dir", folder)[1])

    assert {entry["key"] for entry in document} == {KEY, OTHER}
    assert all(Path(entry["path"]).is_file() for entry in document)


def test_same_cache_as_the_notebook(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a folder it is the cache that a notebook in the current one would use."""
    (tmp_path / ".claude").mkdir()
    (tmp_path / ".claude" / "claude.json").write_text("{}")
    monkeypatch.chdir(tmp_path)

    assert run("path")[1] == f"{tmp_path / '.claude' / 'cache' / 'nb-v1'}\n"


def test_as_a_program(folder: Path) -> None:
    """Run as a process, it imports no notebook and no SDK, and survives a reader that leaves."""
    code = (
        "import sys\n"
        "from claude_force_nb.cli import main\n"
        f"code = main(['cache', 'show', {KEY!r}, '--dir', {str(folder)!r}])\n"
        "heavy = {'anthropic', 'IPython', 'ipywidgets'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)\n"
        "sys.exit(code)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    errors = process.stderr.read()

    assert (process.wait(), errors) == (DONE, "[]\n")
    process.stderr.close()
