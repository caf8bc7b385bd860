"""The cache as a notebook meets it: real kernels, real HTTP, real files."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Dict, Iterator, List

import pytest
from kernels import Cell, Kernel
from messages_server import ServerThread

pytestmark = pytest.mark.kernel

PAGE = Path(__file__).parents[1] / "docs" / "cache.md"
AGENT = "---\nname: echo\ndescription: Repeats\n---\nRepeat."


@pytest.fixture(scope="module")
def server() -> Iterator[Any]:
    """A Messages API on loopback in a thread of its own."""
    with ServerThread() as running:
        yield running


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with an agent, a cache of its own, and a home directory."""
    folder = tmp_path_factory.mktemp("project")
    (folder / ".claude" / "agents").mkdir(parents=True)
    (folder / ".claude" / "claude.json").write_text("{}")
    (folder / ".claude" / "agents" / "echo.md").write_text(AGENT)
    (folder / "home").mkdir()
    return folder


@pytest.fixture(scope="module")
def environ(project: Path, server: Any) -> Dict[str, str]:
    """Where kernels find the server and their home; no key."""
    return {"ANTHROPIC_BASE_URL": server.url, "HOME": str(project / "home")}


@pytest.fixture(scope="module")
def _kernel(project: Path, environ: Dict[str, str]) -> Iterator[Kernel]:
    with Kernel(project, {**environ, "ANTHROPIC_API_KEY": "sk-ant-test"}) as running:
        running.load("import claude_force_nb as cf")
        yield running


@pytest.fixture
def kernel(_kernel: Kernel, project: Path) -> Kernel:
    """A kernel of the project, in mode auto, on the project's cache, with the agent as it was."""
    (project / ".claude" / "agents" / "echo.md").write_text(AGENT)
    _kernel.run("cf.use_orchestrator(None)")
    return _kernel


def ask(kernel: Kernel, server: Any, text: str, options: str = "") -> int:
    """Run a cell of the agent; how many requests it made."""
    before = server.request_count
    cell = kernel.run(f"%%agent echo -o answer {options}\n{text}")
    assert cell.status == "ok", cell.stderr + cell.error
    return int(server.request_count - before)


def entry_file(kernel: Kernel, variable: str = "answer") -> Path:
    """The file of the result in a variable."""
    return Path(
        eval(kernel.evaluate(f"str(cf.current_orchestrator().cache.entry_path({variable}.key))"))
    )


def without_age(text: str) -> str:
    """*text* without the only thing that changes from one cached answer to the next."""
    return re.sub(r"cached \d+ \w+ ago", "cached", text)


def warnings_in(cell: Cell) -> List[str]:
    """The cache's warnings that a cell shows."""
    return [line for line in cell.stderr.splitlines() if line.startswith("CacheWarning: ")]


# -- the same again --------------------------------------------------------------------------


def test_same_cell_same_text(kernel: Kernel, server: Any) -> None:
    """A cell run again shows the same text, with the age of the answer and what it saved."""
    first = kernel.run("%%agent echo\nsame text")
    before = server.request_count
    again = kernel.run("%%agent echo\nsame text")

    assert server.request_count == before
    assert first.text.splitlines()[:-1] == again.text.splitlines()[:-1]
    assert re.search(r"cached \d+ s ago · saved \$0\.0", again.text)


def test_restart_and_run_all(
    kernel: Kernel, server: Any, project: Path, environ: Dict[str, str]
) -> None:
    """A new kernel without a key gives all answers again, calls nobody and loads no SDK."""
    cells = [
        "topic = 'bees'",
        "%%agent echo -o first\nTell me about {{ topic }}",
        "%%agent echo -m haiku --max-tokens 50\nShorten: {{ first }}",
    ]
    for cell in cells:
        kernel.run(cell)
    shown = [kernel.run(cell).html for cell in cells]
    before = server.request_count

    with Kernel(project, environ) as restarted:
        restarted.load()
        again = [restarted.run(cell).html for cell in cells]
        loaded = restarted.evaluate(
            "sorted({'anthropic', 'tenacity'} & set(__import__('sys').modules))"
        )

    assert [without_age(html) for html in again] == [without_age(html) for html in shown]
    assert server.request_count == before
    assert "anthropic" not in loaded


def test_replay_without_key_or_sdk(
    kernel: Kernel, server: Any, project: Path, environ: Dict[str, str]
) -> None:
    """In replay a miss fails with the nearest request and the difference; no SDK is loaded."""
    ask(kernel, server, "a stored question\nabout bees")
    before = server.request_count

    with Kernel(project, {**environ, "CLAUDE_FORCE_NB_MODE": "replay"}) as replaying:
        replaying.load()
        stored = replaying.run("%%agent echo\na stored question\nabout bees")
        missing = replaying.run("%%agent echo\na stored question\nabout wasps")
        loaded = replaying.evaluate("'anthropic' in __import__('sys').modules")

    assert (stored.status, missing.status, loaded) == ("ok", "error", "False")
    assert missing.stderr.startswith("UsageError: echo: No stored answer for echo.")
    assert "-        about bees" in missing.stderr and "+        about wasps" in missing.stderr
    assert server.request_count == before


def test_two_kernels_make_one_call(
    kernel: Kernel, server: Any, project: Path, environ: Dict[str, str]
) -> None:
    """Two kernels that run the same new cell at once pay once, and show the same text."""
    cell = "%%agent echo -o shared\n[[slow 20 0.1]] for both"
    with Kernel(project, {**environ, "ANTHROPIC_API_KEY": "sk-ant-test"}) as second:
        second.load()
        before = server.request_count
        theirs = second.submit(cell)
        server.wait_until(lambda: server.request_count == before + 1, timeout_s=30)
        mine = kernel.run(cell)
        other = second.collect(theirs)

    assert server.request_count == before + 1
    assert " fresh" in other.text and "cached" in mine.text
    assert mine.text.splitlines()[:-1] == other.text.splitlines()[:-1]


# -- what is another request, and what is not ------------------------------------------------


@pytest.mark.parametrize(
    "options",
    ["-m haiku", "--max-tokens 77", "--system Shout.", '--set stop_sequences=["x"]'],
)
def test_options_that_change_answers(kernel: Kernel, server: Any, options: str) -> None:
    """Another model, length, system prompt or field of the call is a new question."""
    ask(kernel, server, "the base of all changes")

    calls = [ask(kernel, server, "the base of all changes", options) for _ in range(2)]

    assert calls == [1, 0]


def test_variable_changes_the_answer(kernel: Kernel, server: Any) -> None:
    """Another value of an inserted variable is a new question, the old value the old answer."""
    calls = []
    for value in (1, 2, 1):
        kernel.run(f"number = {value}")
        calls.append(ask(kernel, server, "What of {{ number }}?"))

    assert calls == [1, 1, 0]


def test_agent_file_changes_the_answer(kernel: Kernel, server: Any, project: Path) -> None:
    """An edited agent file is a new question; edited back, the old answer is there."""
    path = project / ".claude" / "agents" / "echo.md"
    calls = []
    for text in (AGENT, AGENT + " Twice.", AGENT):
        path.write_text(text)
        calls.append(ask(kernel, server, "whoever you are"))

    assert calls == [1, 1, 0]


def test_samples_are_apart(kernel: Kernel, server: Any) -> None:
    """Each sample of one prompt is an answer of its own."""
    before = server.request_count
    kernel.run("drawn = [await cf.run('echo', 'draw', sample=n % 3) for n in range(6)]")

    assert server.request_count == before + 3
    assert kernel.evaluate("[result.cached for result in drawn]") == str([False] * 3 + [True] * 3)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("key", "cf.current_orchestrator().reconfigure('sk-ant-another')"),
        ("concurrency", "cf.current_orchestrator().reconfigure(max_concurrent=1)"),
        ("attempts", "cf.current_orchestrator().reconfigure(max_attempts=1)"),
        ("stall", "cf.current_orchestrator().reconfigure(stall_timeout_s=5)"),
    ],
)
def test_settings_that_change_nothing(kernel: Kernel, server: Any, name: str, change: str) -> None:
    """Key, concurrency and patience are not part of the question."""
    ask(kernel, server, f"before the change of {name}")
    kernel.run(change)

    assert ask(kernel, server, f"before the change of {name}", "--timeout 9") == 0


# -- modes -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "calls"),
    [("--cache auto", [0, 0]), ("--cache refresh", [1, 0]), ("--cache off", [1, 0])],
)
def test_mode_of_a_cell(kernel: Kernel, server: Any, options: str, calls: List[int]) -> None:
    """A cell's mode holds for this cell; the next one is as before."""
    text = f"a question for {options}"
    ask(kernel, server, text)

    assert [ask(kernel, server, text, options), ask(kernel, server, text)] == calls


def test_off_stores_nothing(kernel: Kernel, server: Any) -> None:
    """What was asked with the cache off is asked again."""
    calls = [ask(kernel, server, "not to be kept", mode) for mode in ("--cache off", "", "")]

    assert calls == [1, 1, 0]


def test_mode_of_the_notebook(kernel: Kernel, server: Any) -> None:
    """`%agents cache MODE` holds for all cells, and a cell may say otherwise."""
    said = kernel.run("%agents cache replay").text

    missed = kernel.run("%%agent echo\nnever asked before")
    called = ask(kernel, server, "never asked before", "--cache auto")
    back = kernel.run("%agents cache auto").text

    assert ("replay" in said, missed.status, called, "auto" in back) == (True, "error", 1, True)


def test_replay_error_is_one_screen(kernel: Kernel, server: Any) -> None:
    """However long the two prompts are, the difference fits a screen and says what is left out."""
    kernel.run("long = '\\n'.join('line %d' % n for n in range(3000))")
    ask(kernel, server, "{{ long }}")
    kernel.run("long = '\\n'.join('row %d %s' % (n, 'y' * 900) for n in range(90))")

    cell = kernel.run("%%agent echo --cache replay\n{{ long }}")

    lines = cell.stderr.splitlines()
    assert cell.status == "error"
    assert len(lines) < 32 and max(map(len, lines)) < 200
    assert "more lines" in cell.stderr


@pytest.mark.parametrize("words", ["[[stop refusal]]", "[[stop max_tokens]]"])
def test_half_answers_are_not_kept(kernel: Kernel, server: Any, words: str) -> None:
    """A refused or cut answer is asked for again."""
    assert [ask(kernel, server, f"{words} once") for _ in range(2)] == [1, 1]


# -- files that changed ----------------------------------------------------------------------


def tampered(kernel: Kernel, server: Any, text: str) -> Path:
    """Ask, forget what is in memory, and edit the stored answer."""
    ask(kernel, server, text)
    kernel.run("cf.current_orchestrator().cache.close()")
    path = entry_file(kernel)
    path.write_text(path.read_text(encoding="utf-8").replace("Echo", "Fake"), encoding="utf-8")
    return path


def test_changed_file_is_never_served(kernel: Kernel, server: Any) -> None:
    """An edited file gives one warning that names it, a fresh call, and goes to quarantine."""
    path = tampered(kernel, server, "to be changed")

    cell = kernel.run("%%agent echo -o answer\nto be changed")

    assert "Echo: to be changed" in cell.text and "Fake" not in cell.text
    assert " fresh" in cell.text
    assert len(warnings_in(cell)) == 1 and str(path) in warnings_in(cell)[0]
    assert "notices.py" not in cell.stderr and "self._" not in cell.stderr
    assert [f.name[:64] for f in (path.parents[1] / "quarantine").glob(f"{path.stem}*")] == [
        path.stem
    ]
    assert ask(kernel, server, "to be changed") == 0


def test_strict_fails_on_a_changed_file(kernel: Kernel, server: Any) -> None:
    """In strict mode the cell fails and names the file; nothing is called."""
    path = tampered(kernel, server, "to be changed strictly")
    before = server.request_count

    cell = kernel.run("%%agent echo --cache strict\nto be changed strictly")

    assert (cell.status, server.request_count) == ("error", before)
    assert str(path) in cell.stderr and "signature" in cell.stderr


def test_verify_reports_changed_files(kernel: Kernel, server: Any) -> None:
    """Verifying names the changed file, fails the cell and leaves the file there."""
    path = tampered(kernel, server, "to be verified")

    cell = kernel.run("%agents cache verify")

    assert cell.status == "error" and "fail their check" in cell.stderr
    assert "tampered" in cell.text and str(path) in cell.text
    assert path.exists()
    path.unlink()


# -- disks that fail -------------------------------------------------------------------------


def use_cache(kernel: Kernel, folder: Path, options: str = "") -> None:
    """Let the kernel keep its answers in *folder*."""
    cell = kernel.run(
        "cf.use_orchestrator(cf.AsyncAgentOrchestrator(cache=cf.ResponseCache("
        f"{str(folder)!r}, roots=[{str(folder)!r}] {options})))"
    )
    assert cell.status == "ok", cell.error


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own with room for a few files."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("mounting is not allowed")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def shown_and_warned(kernel: Kernel, texts: List[str]) -> List[str]:
    """Ask all *texts*; every answer is shown; the warnings of all cells."""
    warned = []
    for text in texts:
        cell = kernel.run(f"%%agent echo -o answer\n{text}")
        assert cell.status == "ok", cell.error + cell.stderr
        assert f"Echo: {text}"[:60] in cell.text and " fresh" in cell.text
        warned += warnings_in(cell)
    return warned


def test_full_disk_costs_no_answer(kernel: Kernel, small_disk: Path) -> None:
    """On a full disk every answer is shown, with one warning, and is there again in memory."""
    use_cache(kernel, small_disk)

    warned = shown_and_warned(kernel, [f"{n} {'x' * 9000}" for n in range(6)])
    again = kernel.run(f"%%agent echo\n5 {'x' * 9000}")

    assert len(warned) == 1
    assert "No space left on device" in warned[0] and "memory only" in warned[0]
    assert "cached" in again.text


def test_read_only_disk_costs_no_answer(kernel: Kernel, small_disk: Path) -> None:
    """On a disk that became read-only every answer is shown, with one warning."""
    use_cache(kernel, small_disk)
    assert shown_and_warned(kernel, ["before it was closed"]) == []
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)

    warned = shown_and_warned(kernel, ["after it was closed", "and later"])

    assert len(warned) == 1
    assert "Read-only file system" in warned[0] and str(small_disk) in warned[0]


def test_vanished_directory_comes_back(kernel: Kernel, server: Any, tmp_path: Path) -> None:
    """When the directory is deleted under a kernel, answers go on and are stored anew."""
    use_cache(kernel, tmp_path, ", max_memory_entries=0")
    shown_and_warned(kernel, ["in the old directory"])
    shutil.rmtree(tmp_path / "nb-v1")

    warned = shown_and_warned(kernel, ["in the new directory"])

    assert warned == []
    assert ask(kernel, server, "in the new directory") == 0


def test_directory_that_is_none(kernel: Kernel, tmp_path: Path) -> None:
    """Where a file stands in the directory's place, answers are kept in memory, with a warning."""
    (tmp_path / "nb-v1").write_text("not a directory")
    use_cache(kernel, tmp_path)

    warned = shown_and_warned(kernel, ["without a directory", "and again without"])

    assert len(warned) == 1 and "memory only" in warned[0]
    assert (tmp_path / "nb-v1").read_text() == "not a directory"


def test_published_secret_is_refused(kernel: Kernel, tmp_path: Path) -> None:
    """A secret that everybody knows gives one line that says how to make a good one."""
    cell = kernel.run(
        f"cf.ResponseCache({str(tmp_path)!r}, cache_secret='default_secret_change_in_production')"
    )

    assert len(warnings_in(cell)) == 1
    assert "NOT used" in cell.stderr and "secrets.token_hex" in cell.stderr


def test_other_warnings_look_as_ever(kernel: Kernel) -> None:
    """Warnings of other packages keep their usual form."""
    cell = kernel.run("import warnings\nwarnings.warn('as always')")

    assert "UserWarning: as always" in cell.stderr
    assert "warnings.warn(" in cell.stderr


# -- %agents cache ---------------------------------------------------------------------------


def test_overview_is_two_lines(kernel: Kernel, server: Any, project: Path) -> None:
    """`%agents cache` tells mode, figures and place."""
    ask(kernel, server, "for the overview")
    ask(kernel, server, "for the overview")

    first, second = kernel.run("%agents cache").text.strip().splitlines()

    assert first.startswith("Cache mode auto · ")
    assert "hits 1, misses 1, saved $0.0" in first
    assert second == str(project / ".claude" / "cache" / "nb-v1")


def test_stats_count(kernel: Kernel, server: Any, tmp_path: Path) -> None:
    """Statistics count what this kernel looked up and what it saved."""
    use_cache(kernel, tmp_path)
    for _ in range(3):
        ask(kernel, server, "to be counted")

    text = kernel.run("%agents cache stats").text

    assert re.search(r"entries +1\n", text) and re.search(r"hits +2\n", text)
    assert re.search(r"misses +1\n", text) and re.search(r"saved +\$0\.0", text)


def test_list_shows_the_newest(kernel: Kernel, server: Any, tmp_path: Path) -> None:
    """The list is short, newest first, and says how to see more."""
    use_cache(kernel, tmp_path)
    assert kernel.run("%agents cache ls").text.strip() == "The cache is empty."
    for name in ("older", "<b>newer</b>"):
        ask(kernel, server, name)

    cell = kernel.run("%agents cache ls 1")

    assert "newer" in cell.text and "Echo: older" not in cell.text
    assert "1 entry more" in cell.text
    assert "<b>newer" not in cell.html and "&lt;b&gt;newer" in cell.html


@pytest.mark.parametrize("of", ["answer", "KEY"])
def test_show_tells_all(kernel: Kernel, server: Any, of: str) -> None:
    """A result, or the beginning of a key, shows file, request and answer."""
    ask(kernel, server, "to be shown")
    key = eval(kernel.evaluate("answer.key"))

    text = kernel.run(f"%agents cache show {of.replace('KEY', key[:10])}").text

    assert str(entry_file(kernel)) in text
    assert 'content: "to be shown"' in text and "Echo: to be shown" in text


@pytest.mark.parametrize("of", ["answer", "echo"])
def test_why_explains_a_miss(kernel: Kernel, server: Any, of: str) -> None:
    """After a miss, a variable or an agent's name shows how the nearest request differs."""
    ask(kernel, server, f"a question on {of}\nof yesterday")
    ask(kernel, server, f"a question on {of}\nof today")

    text = kernel.run(f"%agents cache why {of}").text

    assert text.startswith("echo was a miss: nothing was stored under its key.")
    assert "-        of yesterday" in text and "+        of today" in text


def test_why_knows_the_reason(kernel: Kernel, server: Any) -> None:
    """A changed file, a mode and a hit are told apart."""
    tampered(kernel, server, "for many reasons")
    reasons = []
    for options in ("", "", "--cache refresh", "--cache off"):
        ask(kernel, server, "for many reasons", options)
        reasons.append(kernel.run("%agents cache why answer").text.splitlines()[0])

    assert [line.rpartition(":")[2].split()[-3:] for line in reasons] == [
        ["moved", "to", "quarantine/."],
        ["from", "the", "cache."],
        ["mode", "was", "refresh."],
        ["mode", "was", "off."],
    ]


def test_why_of_a_failed_replay(kernel: Kernel, server: Any) -> None:
    """A replay that found nothing can be explained afterwards, without control characters."""
    ask(kernel, server, "stored\nline")
    kernel.run("odd = '\\x1b[31mred'")
    kernel.run("%%agent echo -o answer --cache replay\nstored\n{{ odd }}")

    text = kernel.run("%agents cache why answer").text

    assert "+        ⟨U+001B⟩[31mred" in text
    assert "\x1b" not in text


def test_why_of_a_key(kernel: Kernel, server: Any) -> None:
    """The beginning of a stored key is compared with the nearest other one."""
    ask(kernel, server, "neighbour\none")
    ask(kernel, server, "neighbour\ntwo")
    key = eval(kernel.evaluate("answer.key"))

    text = kernel.run(f"%agents cache why {key[:8]}").text

    assert text.startswith(f"{key[:12]} is stored.")
    assert "Nearest other stored request" in text and "-        one" in text


def test_verify_ends_as_a_table(kernel: Kernel, server: Any, tmp_path: Path) -> None:
    """Verifying shows a bar while it works and a table in its place at the end."""
    use_cache(kernel, tmp_path)
    ask(kernel, server, "sound")

    cell = kernel.run("%agents cache verify")

    assert cell.status == "ok", cell.stderr
    assert len(cell.painted) > 1
    assert [set(output) for output in cell.outputs] == [{"text/html", "text/plain"}]
    assert re.search(r"ok +1 ", cell.text)


def test_clear_needs_a_yes(kernel: Kernel, server: Any, tmp_path: Path) -> None:
    """Clearing asks, does nothing where nobody can be asked, and takes --yes."""
    use_cache(kernel, tmp_path)
    ask(kernel, server, "to be cleared")

    refused = kernel.run("%agents cache clear")
    kept = kernel.run("%agents cache").text
    cleared = kernel.run("%agents cache clear --yes").text

    assert "--yes" in refused.stderr and "1 entry" in kept
    assert cleared.strip() == "Deleted 1 entry."
    assert ask(kernel, server, "to be cleared") == 1


@pytest.mark.parametrize(("typed", "left"), [("yes", "0 entries"), ("no", "1 entry")])
def test_clear_takes_the_answer(
    kernel: Kernel, server: Any, tmp_path: Path, typed: str, left: str
) -> None:
    """Asked on the notebook's input line, only a yes deletes."""
    use_cache(kernel, tmp_path)
    ask(kernel, server, "perhaps to be cleared")

    sent = kernel.client.execute("%agents cache clear", allow_stdin=True)
    question = kernel.client.get_stdin_msg(timeout=30)["content"]["prompt"]
    kernel.client.input(typed)
    kernel.collect(sent)

    assert "Delete 1 entry" in question and str(tmp_path) in question
    assert left in kernel.run("%agents cache").text


def test_rotate_keeps_old_answers(kernel: Kernel, server: Any, tmp_path: Path) -> None:
    """After a rotation old answers are served, and new ones too."""
    use_cache(kernel, tmp_path, ", max_memory_entries=0")
    ask(kernel, server, "signed by the old key")

    cell = kernel.run("%agents cache rotate")

    assert "signs from now on" in cell.text
    assert ask(kernel, server, "signed by the old key") == 0


def test_prune_and_path(kernel: Kernel, server: Any, tmp_path: Path) -> None:
    """Pruning keeps what is good; path tells the directory."""
    use_cache(kernel, tmp_path)
    ask(kernel, server, "young")

    assert kernel.run("%agents cache prune").text.strip() == "Deleted 0 entries."
    assert kernel.run("%agents cache path").text.strip() == str(tmp_path / "nb-v1")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("nonsense", "It has stats, verify"),
        ("show", "takes one word"),
        ("show zz", "not the beginning of a key"),
        ("show 0000", "No stored answer"),
        ("why nobody", "no agent that ran"),
        ("ls many", "whole number"),
        ("stats now", "takes no 'now'"),
        ("clear everything", "takes no 'everything'"),
        ("replay now", "takes no 'now'"),
    ],
)
def test_bad_words_are_one_line(kernel: Kernel, words: str, said: str) -> None:
    """What makes no sense fails the cell with one line that helps."""
    cell = kernel.run(f"%agents cache {words}")

    assert cell.status == "error"
    assert cell.stderr.startswith("UsageError: ") and said in cell.stderr
    assert len(cell.stderr.strip().splitlines()) == 1


def test_words_complete(kernel: Kernel) -> None:
    """Tab completes the words and modes behind `%agents cache`."""
    kernel.client.complete("%agents cache re", 16)
    matches = kernel.client.get_shell_msg(timeout=30)["content"]["matches"]

    assert {"refresh", "replay"} <= set(matches)


def test_loop_is_not_patched(kernel: Kernel) -> None:
    """None of these commands needed a patched event loop, or left a thread behind."""
    kernel.run("%agents cache verify")

    patched = kernel.evaluate("hasattr(__import__('asyncio').get_running_loop(), '_nest_patched')")
    threads = kernel.evaluate("[t.name for t in __import__('threading').enumerate()]")

    assert patched == "False"
    assert "claude-force-nb" not in threads


def test_interrupt_ends_a_command(kernel: Kernel) -> None:
    """Interrupt ends a long command within half a second, and its work at the next step."""
    kernel.run(
        "import threading\n"
        "from claude_force_nb.notebook.progress import LineBar, with_bar\n"
        "import sys\n"
        "go_on, ended = threading.Event(), threading.Event()\n"
        "def work(report):\n"
        "    print('working', flush=True)\n"
        "    go_on.wait(30)\n"
        "    try:\n        report(1, 2)\n"
        "    finally:\n        ended.set()\n"
    )
    sent = kernel.submit("await with_bar(LineBar('did', sys.stdout), work)")
    _wait_for_stream(kernel, "working")
    pressed = time.monotonic()
    kernel.interrupt()
    cell = kernel.collect(sent)
    took = time.monotonic() - pressed

    assert took < 0.5, took
    assert cell.error.startswith("Interrupted")
    assert kernel.evaluate("(go_on.set(), ended.wait(30))[1]") == "True"


def _wait_for_stream(kernel: Kernel, text: str) -> None:
    while True:
        message = kernel.client.get_iopub_msg(timeout=30)
        if message["msg_type"] == "stream" and text in message["content"]["text"]:
            return


# -- the page --------------------------------------------------------------------------------


def blocks(language: str) -> List[str]:
    """The code blocks of the page in one language."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.M | re.S)
    return [text for name, text in found if name == language]


def test_cells_of_the_page_run(tmp_path: Path) -> None:
    """The notebook cells of the page run from top to bottom on the offline model."""
    environ = {"HOME": str(tmp_path), "CLAUDE_FORCE_NB_PROVIDER": "offline"}
    cells = blocks("")
    with Kernel(tmp_path, environ) as kernel:
        kernel.load(*cells)

    assert len(cells) >= 8


def test_commands_of_the_page_run(kernel: Kernel, server: Any, project: Path) -> None:
    """The shell commands of the page end well on a cache with answers in it."""
    ask(kernel, server, "for the shell")
    kernel.run("%agents cache prune")
    environ = {**os.environ, "HOME": str(project / "home")}
    commands = [line[2:] for block in blocks("console") for line in block.splitlines()]
    for command in commands:
        program, *words = command.split()
        assert program == "claude-force-nb"
        done = subprocess.run(
            [sys.executable, "-m", "claude_force_nb.cli", *words],
            cwd=str(project),
            env=environ,
            capture_output=True,
            text=True,
        )
        assert (done.returncode, done.stderr) == (0, ""), (command, done.stderr)

    assert len(commands) >= 5


def test_programs_of_the_page_run(tmp_path: Path) -> None:
    """The Python programs of the page print what they promise."""
    (program,) = blocks("python")
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=str(tmp_path), capture_output=True, text=True
    )

    assert (done.stdout, done.stderr) == ("the answer\n", "")
