"""``%%agent`` in a real kernel, against a real server on loopback."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Iterator

import pytest
from kernels import Kernel
from messages_server import ServerThread

pytestmark = pytest.mark.kernel

CANARY = "sk-ant-canary-0123456789abcdef"


@pytest.fixture(scope="module")
def server() -> Iterator[Any]:
    """A Messages API on loopback in a thread of its own."""
    with ServerThread() as running:
        yield running


@pytest.fixture(scope="module")
def kernel(server: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    """A kernel in a project with two agents, talking to the server."""
    project = tmp_path_factory.mktemp("project")
    agents = project / ".claude" / "agents"
    agents.mkdir(parents=True)
    (agents / "echo.md").write_text(
        "---\nname: echo\ndescription: Repeats <b>all</b>\n---\nRepeat."
    )
    (agents / "critic.md").write_text("Criticise.")
    environ = {
        "ANTHROPIC_BASE_URL": server.url,
        "ANTHROPIC_API_KEY": CANARY,
        "HOME": str(project / "home"),
    }
    (project / "home").mkdir()
    with Kernel(project, environ) as running:
        running.load()
        yield running


def test_sdk_is_not_loaded_early(kernel: Kernel) -> None:
    """Before the first call the SDK is not in ``sys.modules``."""
    assert kernel.evaluate("'anthropic' in __import__('sys').modules") == "False"


def test_cell_shows_and_binds(kernel: Kernel, server: Any) -> None:
    """A cell ends with one static output, its footer, and the result in the variable."""
    kernel.run("topic = 'bees {not} $parsed {{ here }}'")

    cell = kernel.run("%%agent echo -o answer\nTell me about {{ topic }}")

    assert (cell.status, len(cell.outputs)) == ("ok", 1)
    assert set(cell.outputs[0]) == {"text/html", "text/plain"}
    assert "bees {not} $parsed {{ here }}" in cell.text
    assert " fresh" in cell.text and " in / " in cell.text
    assert kernel.evaluate("type(answer).__name__") == "'AgentResult'"
    sent = server.messages[-1].body
    assert sent["messages"][0]["content"] == "Tell me about bees {not} $parsed {{ here }}"


def test_same_cell_is_cached(kernel: Kernel, server: Any) -> None:
    """The same cell again makes no call and says how old its answer is."""
    cell_text = "%%agent echo -o one\nSame thing"
    kernel.run(cell_text)
    before = server.request_count

    cell = kernel.run(cell_text)

    assert server.request_count == before
    assert "cached" in cell.text and "saved $" in cell.text


def test_agents_run_at_once(kernel: Kernel) -> None:
    """Several agents of one cell stream side by side; results keep the order of the names."""
    cell = kernel.run("%%agent echo,critic -o both\n[[slow 10 0.1]] go")

    assert cell.status == "ok"
    assert float(kernel.evaluate("sum(r.elapsed_s for r in both)")) > 1.5 * cell.elapsed_s
    assert kernel.evaluate("[r.agent_name for r in both]") == "['echo', 'critic']"
    assert kernel.evaluate("both['critic'].success") == "True"


def test_line_form(kernel: Kernel) -> None:
    """The line form takes the rest of the line as text, apostrophes and quotes and all."""
    cell = kernel.run("""x = %agent -m haiku echo Don't stop "here" {now}""")

    assert cell.status == "ok", cell.stderr
    assert """Don't stop "here" {now}""" in eval(kernel.evaluate("x.output"))


def test_text_streams_early(kernel: Kernel) -> None:
    """The first text is on the screen long before the last one has arrived."""
    sent = kernel.submit("%%agent echo --cache off\n[[slow 20 0.1]] stream")
    seen = kernel.wait_for_paint("t1 t2")
    cell = kernel.collect(sent)

    assert cell.status == "ok"
    assert time.monotonic() - seen > 1.2


def test_other_tasks_go_on(kernel: Kernel) -> None:
    """A task of the notebook keeps running while a cell waits for its answer."""
    kernel.run(
        "import asyncio\nticks = []\n"
        "async def tick():\n    while True:\n"
        "        ticks.append(1)\n        await asyncio.sleep(.05)\n"
        "ticker = asyncio.ensure_future(tick())"
    )
    kernel.run("del ticks[:]")
    kernel.run("%%agent echo --cache off\n[[slow 10 0.1]] wait")
    ticks = int(kernel.evaluate("(ticker.cancel(), len(ticks))[1]"))

    assert ticks >= 10


def test_interrupt_ends_cell(kernel: Kernel, server: Any) -> None:
    """Interrupt ends the cell within half a second, closes the stream and leaves nothing."""
    tasks_before = kernel.evaluate("len(__import__('asyncio').all_tasks())")
    sent = kernel.submit("%%agent echo,critic --cache off -o partly\n[[slow 300 0.1]] long")
    kernel.wait_for_paint("t1 t2")
    before = server.request_count
    pressed = time.monotonic()
    kernel.interrupt()
    cell = kernel.collect(sent)
    took = time.monotonic() - pressed

    assert took < 0.5, took
    assert cell.status == "error"
    assert cell.error.startswith("Interrupted: echo cancelled, critic cancelled")
    assert kernel.evaluate("partly[0].state") == "'cancelled'"
    assert "t1 t2" in kernel.evaluate("partly[0].output")
    server.wait_until(lambda: all(m.closed_early for m in server.messages[-2:]))
    assert server.request_count == before
    assert kernel.evaluate("len(__import__('asyncio').all_tasks())") == tasks_before
    assert "Task" not in cell.stderr and "never" not in cell.stderr


def test_interrupt_during_wait_for_retry(kernel: Kernel) -> None:
    """Interrupt also ends a pause before the next attempt."""
    sent = kernel.submit("%%agent echo --cache off\n[[status 429]] [[retry-after 20]] later")
    kernel.wait_for_paint("trying again")
    pressed = time.monotonic()
    kernel.interrupt()
    cell = kernel.collect(sent)

    assert time.monotonic() - pressed < 0.5
    assert cell.error.startswith("Interrupted")


def test_nothing_left_behind(kernel: Kernel) -> None:
    """After a cell there is no thread and no pending task that was not there before."""
    probe = (
        "(sorted(t.name for t in __import__('threading').enumerate()), "
        "len(__import__('asyncio').all_tasks()))"
    )
    kernel.run("%%agent echo --cache off\nwarm up")
    before = kernel.evaluate(probe)
    kernel.run("%%agent echo,critic\nsomething new")

    deadline = time.monotonic() + 5
    while (after := kernel.evaluate(probe)) != before and time.monotonic() < deadline:
        pass
    assert after == before
    assert "claude" not in after


@pytest.mark.parametrize(
    ("cell_text", "words"),
    [
        ("%%agent ehco\nhi", ["ehco", "Did you mean", "echo"]),
        ("%%agent\nhi", ["Which agent?"]),
        ("%%agent echo\n{{ undefined_name }}", ["undefined_name"]),
        ("%%agent echo\n   ", ["empty"]),
        ("%%agent echo --nonsense\nhi", ["nonsense"]),
        ("%%agent echo -o not-a-name\nhi", ["not-a-name"]),
        ("%%agent echo --max-tokens lots\nhi", ["max-tokens"]),
        ("%%agent echo --cache sometimes\nhi", ["sometimes"]),
        ("%%agent echo --key abc\nhi", ["%agents key"]),
        ("# a comment\n%%agent echo\nReview this prose.", ["first line"]),
        ("%agents nonsense", ["nonsense", "use"]),
        ("%agents use nonsense", ["offline"]),
        ("%agents key sk-ant-abc", ["%agents key"]),
        ("%agents key", ["ANTHROPIC_API_KEY"]),
        ("%%agent echo -m nope-1\nhi", ["nope-1", "%agents models"]),
        ("%%agent echo\n[[status 401]] hi", ["401", "key"]),
        ("%%agent echo --set top_p\nhi", ["NAME=VALUE"]),
        ("%%agent echo --set x=AKIAABCDEFGHIJKLMNOP\nhi", ["secret"]),
        ('%%agent echo --system "open\nhi', ["quote is not closed"]),
        ("%%agent echo critic\nhi", ["a,b", "critic"]),
        ("%%agent echo --modle opus\nhi", ["--model"]),
        ("%%agent echo -o print\nhi", ["print"]),
        ("%%agent echo -o get_ipython\nhi", ["get_ipython"]),
        ("%%agent echo --timeout 0\nhi", ["timeout"]),
        ("%%agent echo --define other\nhi", ["--define"]),
        ("%%agent echo --help\nhi", ["%%agent?"]),
    ],
)
def test_bad_input_is_one_screen(kernel: Kernel, cell_text: str, words: list[str]) -> None:
    """Every mistake fails the cell with a short error that says what to do."""
    cell = kernel.run(cell_text)

    assert cell.status == "error"
    assert cell.stderr.startswith("UsageError: "), (cell.stderr, cell.error)
    assert all(word in cell.stderr for word in words), cell.stderr
    assert len(cell.stderr.splitlines()) < 12
    assert "Traceback" not in cell.stderr


def test_partial_failure_keeps_answers(kernel: Kernel) -> None:
    """One agent fails: the other's answer is shown and bound, the cell fails."""
    kernel.run("%%agent --define broken -m nope-2\nYou never answer.")
    cell = kernel.run("%%agent echo,broken -o mixed\nhello")

    assert cell.status == "error"
    assert "broken" in cell.stderr
    assert kernel.evaluate("[r.success for r in mixed]") == "[True, False]"
    assert "hello" in cell.text


def test_traceback_on_request(kernel: Kernel) -> None:
    """After a usage error ``%tb`` shows the chain behind it."""
    kernel.run("%%agent echo -m nope-3\nhi")
    cell = kernel.run("%tb")

    assert "UnknownModel" in cell.error + cell.stderr + cell.streams["stdout"]


def test_define_and_list(kernel: Kernel) -> None:
    """A cell becomes an agent; the list shows it, escaped, with source and model."""
    cell = kernel.run(
        "%%agent --define poet -m opus --description 'Writes <i>verse</i>'\nBe a poet."
    )
    assert cell.status == "ok"

    listed = kernel.run("%agents")

    assert "poet" in listed.text and "opus" in listed.text and "cell" in listed.text
    assert ".claude/agents/echo.md" in listed.text and "/.claude" not in listed.text
    assert "&lt;i&gt;verse" in listed.html and "<i>" not in listed.html


@pytest.mark.parametrize("wrapper", ["%%time", "%%capture captured"])
def test_inside_other_magics(kernel: Kernel, wrapper: str) -> None:
    """Around ``%%agent`` these magics work: the cell blocks until the answer is there."""
    cell = kernel.run(f"{wrapper}\n%%agent echo -o wrapped\nwrapped call {wrapper[2:6]}")

    assert cell.status == "ok", cell.stderr + cell.error
    assert "wrapped call" in kernel.evaluate("wrapped.output")


def test_called_from_a_function(kernel: Kernel) -> None:
    """A plain function may call the magic; it blocks, and other tasks still run."""
    cell = kernel.run(
        "def ask(text):\n"
        "    get_ipython().run_cell_magic('agent', 'echo -o asked', text)\n"
        "    return asked.output\n"
        "print('from a function' in ask('from a function'))"
    )

    assert cell.streams["stdout"].strip().endswith("True"), cell.error + cell.stderr


def test_run_another_notebook(kernel: Kernel, tmp_path: Path) -> None:
    """``%run other.ipynb`` executes the ``%%agent`` cells in it."""
    import nbformat

    other = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell("%%agent echo -o from_other\nin another notebook")]
    )
    path = tmp_path / "other.ipynb"
    nbformat.write(other, path)

    cell = kernel.run(f"%run {path}")

    assert cell.status == "ok", cell.error + cell.stderr
    assert "another notebook" in kernel.evaluate("from_other.output")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('%%agent "echo" --system "be brief"', "be brief"),
        ("%%agent echo, critic -m 'claude-haiku-5-5'", "claude-haiku-5-5"),
    ],
)
def test_quotes_are_not_sent(kernel: Kernel, server: Any, line: str, words: str) -> None:
    """Quotes around a value belong to the line, as in a shell."""
    cell = kernel.run(f"{line} --cache off\nquoted")

    assert cell.status == "ok", cell.stderr
    body = server.messages[-1].body
    assert words in (body["system"], body["model"])


def test_line_shows_once(kernel: Kernel) -> None:
    """A bare line magic shows its answer once; a result as a cell's value shows the same way."""
    line = kernel.run("%agent echo once only")
    value = kernel.run("%agent echo once only\nx = %agent echo once only\nx")

    assert len(line.outputs) == 1
    assert all(set(output) == {"text/html", "text/plain"} for output in value.outputs)
    assert "AgentResult(" not in value.text


def test_in_blocks_and_coroutines(kernel: Kernel) -> None:
    """The line magic works in loops beside other awaits, and in coroutines."""
    cell = kernel.run(
        "import asyncio\nawait asyncio.sleep(0)\nseen = []\n"
        "for word in ('one', 'two'):\n    r = %agent echo from a loop\n    seen.append(r.success)\n"
        "async def ask():\n    r = %agent echo from a coroutine\n    return r.output\n"
        "print(seen, 'coroutine' in await ask())"
    )

    assert "[True, True] True" in cell.streams["stdout"], cell.error + cell.stderr


def test_bad_variable_spoils_one_cell(tmp_path: Path) -> None:
    """A senseless environment variable is named by the cell that needs it, and by no other."""
    environ = {"HOME": str(tmp_path), "CLAUDE_FORCE_NB_MODE": "bogus"}
    with Kernel(tmp_path, environ) as kernel:
        kernel.load()
        failed = kernel.run("%%agent a\nhi")
        after = kernel.run("1 + 1")

    assert "CLAUDE_FORCE_NB_MODE" in failed.stderr
    assert (after.status, after.stderr) == ("ok", "")


def test_interrupt_before_sending(kernel: Kernel) -> None:
    """An interrupt while the prompt is still made ends the cell with one line too."""
    kernel.run("import pandas as pd, numpy as np\nbig = pd.DataFrame(np.random.rand(2_000_000, 6))")
    sent = kernel.submit("print('go', flush=True)\n%agent echo {{ big | describe }} zz")
    _wait_for_stream(kernel, "go")
    kernel.interrupt()
    cell = kernel.collect(sent)

    assert cell.status == "error"
    assert "CancelledError" not in cell.error


def test_python_api_in_a_cell(kernel: Kernel) -> None:
    """``await cf.run`` uses the notebook's orchestrator and its cache."""
    kernel.run("import claude_force_nb as cf")
    kernel.run("%%agent echo\nshared")
    assert kernel.evaluate("(await cf.run('echo', 'shared\\n')).output") or True
    cell = kernel.run("print((await cf.run('echo', 'unique words')).success)")

    assert cell.streams["stdout"].strip() == "True"


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("%%agent ec", "echo"),
        ("%%agent echo,cr", "critic"),
        ("%%agent echo --mod", "--model"),
        ("%%agent echo -m claude-so", "claude-sonnet"),
        ("%%agent echo\nLook at {{ unus", "unusual_name"),
        ("%agents u", "use"),
        ("%%agent echo --cache re", "replay"),
        ("%%workflow echo -> cri", "critic"),
        ("%%workflow echo --dry", "--dry-run"),
    ],
)
def test_tab_completes(kernel: Kernel, code: str, expected: str) -> None:
    """Tab completes agents, flags, models, variables and the words of ``%agents``."""
    kernel.run("unusual_name = 1")
    kernel.client.complete(code, len(code))
    matches = kernel.client.get_shell_msg(timeout=30)["content"]["matches"]

    assert any(expected in match for match in matches), matches


def test_help_is_useful(kernel: Kernel) -> None:
    """``%%agent?`` explains the options and shows an example."""
    kernel.client.inspect("%%agent", 5)
    shown = kernel.client.get_shell_msg(timeout=30)["content"]["data"]["text/plain"]

    assert "--max-tokens" in shown and "%%agent code-reviewer" in shown


def test_key_never_shows(kernel: Kernel) -> None:
    """The key is in no output of looking around, failing and tracing back."""
    shown = []
    for code in (
        "vars(cf.current_orchestrator())",
        "cf.current_orchestrator().provider",
        "%whos",
        "%%agent echo\n[[status 401]] why",
        "%xmode Verbose",
        "%tb",
        "%xmode Context",
    ):
        cell = kernel.run(code)
        shown.append(cell.text + cell.html + cell.stderr + cell.error)

    assert CANARY not in "".join(shown)


def test_unload_takes_all_back(server: Any, tmp_path: Path) -> None:
    """After unloading, the magics, the rewriting and the events are gone; loading works again."""
    with Kernel(tmp_path, {"HOME": str(tmp_path)}) as kernel:
        kernel.load("%unload_ext claude_force_nb")
        assert "not found" in kernel.run("%agents").stderr
        assert kernel.evaluate("len(get_ipython().input_transformers_post)") == "0"
        kernel.load("%agents use offline")


def test_offline_by_environment(tmp_path: Path) -> None:
    """The offline model is chosen by an environment variable and says what it is."""
    with Kernel(tmp_path, {"HOME": str(tmp_path), "CLAUDE_FORCE_NB_PROVIDER": "offline"}) as kernel:
        kernel.load()
        kernel.run("%%agent --define a\nYou help.")
        cell = kernel.run("%%agent a\nSome text about 3 bees. They fly.")

    assert cell.status == "ok"
    assert "offline stand-in model" in cell.outputs[0]["text/plain"].splitlines()[-1]


def test_no_key_says_three_ways_out(tmp_path: Path) -> None:
    """Without a key the cell fails and names the key, the offline model and replay."""
    with Kernel(tmp_path, {"HOME": str(tmp_path)}) as kernel:
        kernel.load()
        kernel.run("%%agent --define a\nYou help.")
        cell = kernel.run("%%agent a\nhello")

    assert cell.status == "error"
    assert all(w in cell.stderr for w in ("ANTHROPIC_API_KEY", "%agents use offline", "replay"))


def test_second_interrupt_stops_waiting(kernel: Kernel) -> None:
    """When clean-up hangs, a second interrupt ends the cell."""
    kernel.run(
        "import asyncio\n"
        "from claude_force_nb.notebook.foreground import ForegroundWait\n"
        "async def stubborn():\n"
        "    try:\n        await asyncio.sleep(60)\n"
        "    finally:\n        print('cleaning up', flush=True)\n        await asyncio.sleep(60)\n"
    )
    sent = kernel.submit(
        "task = asyncio.ensure_future(stubborn())\n"
        "asyncio.get_running_loop().call_later(0.2, lambda: print('waiting', flush=True))\n"
        "print(await ForegroundWait([task], clean_up_s=30).wait())"
    )
    _wait_for_stream(kernel, "waiting")
    kernel.interrupt()
    _wait_for_stream(kernel, "cleaning up")
    pressed = time.monotonic()
    kernel.interrupt()
    cell = kernel.collect(sent)

    assert time.monotonic() - pressed < 0.5
    assert cell.status == "ok"
    kernel.run("task.cancel()")


def _wait_for_stream(kernel: Kernel, text: str) -> None:
    while True:
        message = kernel.client.get_iopub_msg(timeout=30)
        if message["msg_type"] == "stream" and text in message["content"]["text"]:
            return
