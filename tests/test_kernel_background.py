"""``--bg`` in a real kernel: cells that do not wait, their handles, and where their output goes."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any, Dict, Iterator

import nbformat
import pytest
from kernels import Kernel
from messages_server import ServerThread

pytestmark = pytest.mark.kernel

SLOW = "--cache off\n[[slow 10 0.1]]"
LONG = "--cache off\n[[slow 300 0.1]]"


@pytest.fixture(scope="module")
def server() -> Iterator[Any]:
    """A Messages API on loopback in a thread of its own."""
    with ServerThread() as running:
        yield running


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with two agents."""
    project = tmp_path_factory.mktemp("project")
    agents = project / ".claude" / "agents"
    agents.mkdir(parents=True)
    for name in ("echo", "critic"):
        (agents / f"{name}.md").write_text("Repeat.")
    return project


@pytest.fixture(scope="module")
def environ(server: Any, project: Path) -> Dict[str, str]:
    """An environment that points at the server."""
    return {
        "ANTHROPIC_BASE_URL": server.url,
        "ANTHROPIC_API_KEY": "sk-ant-test",
        "HOME": str(project),
    }


@pytest.fixture(scope="module")
def kernel(project: Path, environ: Dict[str, str]) -> Iterator[Kernel]:
    """A kernel in the project that has made its first call."""
    with Kernel(project, environ) as running:
        running.load()
        running.run("%%agent echo\nwarm up")
        yield running


def wait_until_ended(kernel: Kernel, name: str, timeout_s: float = 20) -> None:
    """Wait in the kernel, without awaiting the handle, until the run called *name* has ended."""
    code = f"import asyncio\nwhile not {name}.ended:\n    await asyncio.sleep(0.02)"
    assert kernel.run(code, timeout_s).status == "ok"


def test_cell_returns_at_once(kernel: Kernel) -> None:
    """The cell does not wait, and its variable is a handle that tells the truth."""
    cell = kernel.run(f"%%agent echo --bg -o later {SLOW} at once")
    told = kernel.evaluate("later")
    early = kernel.evaluate("(later.state, later.result, later.ended)")
    wait_until_ended(kernel, "later")

    assert cell.status == "ok" and cell.elapsed_s < 0.5
    assert told.startswith("<background run: echo ") and "done" not in told
    assert early in ("('running', None, False)", "('queued', None, False)")
    assert kernel.evaluate("(later.state, later.result.success)") == "('done', True)"
    assert kernel.evaluate("later").startswith("<background run: echo done, 1 s, ")
    assert kernel.evaluate("later.text == later.result.output") == "True"


def test_awaiting_gives_the_result(kernel: Kernel) -> None:
    """``await handle`` waits and gives what a foreground cell would have bound."""
    kernel.run(f"%%agent echo,critic --bg -o pair {SLOW} await me")
    cell = kernel.run("got = await pair\nprint(type(got).__name__, [r.agent_name for r in got])")

    assert cell.streams["stdout"].strip() == "AgentResults ['echo', 'critic']"
    assert kernel.evaluate("(await pair) is not None") == "True"


def test_gathering_handles(kernel: Kernel) -> None:
    """Several handles can be awaited together."""
    kernel.run(f"%%agent echo --bg -o one {SLOW} one")
    kernel.run(f"%%agent critic --bg -o two {SLOW} two")
    cell = kernel.run("print([r.agent_name for r in await asyncio.gather(one, two)])")

    assert cell.streams["stdout"].strip() == "['echo', 'critic']"


def test_line_form_gives_the_handle(kernel: Kernel) -> None:
    """``x = %agent --bg ...`` binds the handle, too."""
    kernel.run("handle = %agent --bg echo from a line")
    cell = kernel.run("print((await handle).output)")

    assert "from a line" in cell.text


@pytest.mark.parametrize("watched", [True, False])
def test_output_stays_in_its_cell(kernel: Kernel, watched: bool) -> None:
    """Whatever runs meanwhile, the answer replaces the output of the cell that asked for it."""
    first = kernel.collect(kernel.submit(f"%%agent echo --bg -o mine {SLOW} mine", watched))
    other = kernel.collect(kernel.submit("%%agent critic --cache off\n[[slow 20 0.1]] theirs"))
    kernel.run("pass")

    assert [set(output) for output in first.outputs] == [{"text/html", "text/plain"}]
    assert "echo ·" in first.text and "fresh" in first.text
    assert len(other.outputs) == 1 and "critic ·" in other.text and "echo" not in other.text


def test_failure_shows_in_its_cell(kernel: Kernel) -> None:
    """A failed background run shows its error where it was started and raises only when awaited."""
    first = kernel.run("%%agent echo --bg -o bad\n[[status 401]] refused")
    wait_until_ended(kernel, "bad")
    after = kernel.run("import gc; _ = gc.collect()")
    awaited = kernel.run("await bad")

    assert first.status == "ok" and "Failed." in first.text and "401" in first.text
    assert after.stderr == ""
    assert awaited.status == "error" and awaited.stderr.startswith("UsageError: echo: ")
    assert kernel.evaluate("(bad.state, bad.result.success)") == "('failed', False)"


def test_nothing_is_never_retrieved(kernel: Kernel) -> None:
    """A failed run whose handle is thrown away leaves no complaint of the event loop."""
    kernel.run("%%agent echo --bg -o lost\n[[status 401]] forgotten")
    wait_until_ended(kernel, "lost")
    told = kernel.run(
        "told = []\nasyncio.get_running_loop().set_exception_handler(lambda _, c: told.append(c))\n"
        "del lost\nimport gc; _ = gc.collect(); await asyncio.sleep(0)\n"
        "asyncio.get_running_loop().set_exception_handler(None)\nprint(told)"
    )

    assert told.streams["stdout"].strip() == "[]" and told.stderr == ""


def test_handle_cancels(kernel: Kernel, server: Any) -> None:
    """``cancel()`` closes the stream; what had arrived is kept and shown."""
    first = kernel.run(f"%%agent echo --bg -o stop {LONG} stop me")
    kernel.run("while 't2' not in stop.text:\n    await asyncio.sleep(0.02)\nstop.cancel()")
    wait_until_ended(kernel, "stop")
    kernel.run("pass")

    assert kernel.evaluate("(stop.state, 't1 t2' in stop.text)") == "('cancelled', True)"
    assert "Cancelled." in first.text and "t1 t2" in first.text
    server.wait_until(lambda: server.messages[-1].closed_early)


def test_cancelling_from_a_thread(kernel: Kernel) -> None:
    """``cancel()`` may be called from any thread."""
    kernel.run(f"%%agent echo --bg -o threaded {LONG} thread")
    kernel.run(
        "import threading; t = threading.Thread(target=threaded.cancel); t.start(); t.join()"
    )
    wait_until_ended(kernel, "threaded")

    assert kernel.evaluate("threaded.state") == "'cancelled'"


def test_interrupt_while_awaiting(kernel: Kernel) -> None:
    """Stop, pressed while a cell awaits a handle, stops the run and ends the cell."""
    kernel.run(f"%%agent echo --bg -o awaited {LONG} interrupt")
    sent = kernel.submit("asyncio.get_running_loop().call_later(0.3, print, 'go')\nawait awaited")
    while not any(m["msg_type"] == "stream" for m in kernel.seen):
        kernel.next_message()
    pressed = time.monotonic()
    kernel.interrupt()
    cell = kernel.collect(sent)

    assert time.monotonic() - pressed < 0.5
    assert cell.error.startswith("Interrupted: echo cancelled")
    assert kernel.evaluate("awaited.state") == "'cancelled'"


def test_interrupt_of_another_cell(kernel: Kernel) -> None:
    """Stop, pressed for another cell, leaves a background run alone."""
    kernel.run(f"%%agent echo --bg -o steady {SLOW} steady")
    sent = kernel.submit(f"%%agent critic {LONG} other")
    kernel.wait_for_paint("critic")
    kernel.interrupt()
    cell = kernel.collect(sent)
    wait_until_ended(kernel, "steady")

    assert cell.error.startswith("Interrupted: critic cancelled")
    assert kernel.evaluate("steady.state") == "'done'"


def test_board_button_between_cells(kernel: Kernel) -> None:
    """The Cancel button works while no cell runs, and while an ordinary one awaits something."""
    for busy in ("", "await asyncio.sleep(3)"):
        kernel.collect(kernel.submit(f"%%agent echo --bg -o pressed {LONG} button"))
        sent = kernel.submit(f"print('busy')\n{busy}") if busy else ""
        while busy and not any(m["msg_type"] == "stream" for m in kernel.seen):
            kernel.next_message()
        pressed = time.monotonic()
        kernel.press("Cancel echo")
        while not any("cancelled" in str(w.get("value")) for w in kernel.widgets.values()):
            kernel.next_message()
        took = time.monotonic() - pressed
        kernel.widgets.clear()
        if sent:
            kernel.collect(sent)

        assert took < 0.4, busy


def test_runs_are_listed(kernel: Kernel) -> None:
    """``%agents runs`` gives a frame of what runs and what has ended, newest last."""
    kernel.run(f"%%agent echo --bg -o listed {LONG} list me")
    kernel.run("frame = %agents runs")
    now = kernel.evaluate("frame.iloc[-1][['agent', 'name', 'state']].tolist()")
    kernel.run("listed.cancel()")
    wait_until_ended(kernel, "listed")
    kernel.run("frame = %agents runs")

    assert now in ("['echo', 'listed', 'running']", "['echo', 'listed', 'queued']")
    assert (
        kernel.evaluate("frame.iloc[-1][['name', 'state']].tolist()") == "['listed', 'cancelled']"
    )
    assert "cost_usd" in kernel.evaluate("list(frame.columns)")


def test_runs_without_pandas(kernel: Kernel) -> None:
    """Without pandas a table is shown instead."""
    hide = (
        "import claude_force_nb.notebook.run_commands as commands\n"
        "commands.find_spec = lambda name: None"
    )
    kernel.run(hide)
    cell = kernel.run("%agents runs")
    kernel.run("from importlib.util import find_spec; commands.find_spec = find_spec")

    assert cell.status == "ok" and "<table>" in cell.html and "echo" in cell.text


@pytest.mark.parametrize("name", ["by_name", "critic", "all"])
def test_cancel_by_name(kernel: Kernel, name: str) -> None:
    """``%agents cancel`` stops a run by its variable, by its agent, or all."""
    kernel.run(f"%%agent critic --bg -o by_name {LONG} by name")
    cell = kernel.run(f"%agents cancel {name}")
    wait_until_ended(kernel, "by_name")

    assert "Stopping critic." in cell.text
    assert kernel.evaluate("by_name.state") == "'cancelled'"


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("%agents cancel nobody", ["nobody"]),
        ("%agents cancel", ["Cancel which"]),
        ("%agents runs now", ["no words"]),
    ],
)
def test_bad_commands_are_refused(kernel: Kernel, command: str, words: list[str]) -> None:
    """A name that nothing has, and words that mean nothing, are told in one line."""
    cell = kernel.run(command)

    assert cell.stderr.startswith("UsageError: ")
    assert all(word in cell.stderr for word in words)


def test_cancel_all_of_nothing(kernel: Kernel) -> None:
    """To cancel all is no mistake when nothing runs."""
    assert "Nothing runs in the background." in kernel.run("%agents cancel all").text


def test_handle_shows_itself(kernel: Kernel) -> None:
    """A handle as the last line of a cell shows its state, and in the end its answer."""
    kernel.run(f"%%agent echo --bg -o seen {SLOW} show")
    before = kernel.run("seen")
    wait_until_ended(kernel, "seen")
    after = kernel.run("seen")

    assert "&lt;background run: echo" in before.html
    assert "t0 t1 t2" in after.text and "fresh" in after.text


def test_one_of_a_pair_is_cancelled(kernel: Kernel) -> None:
    """Of two agents in one cell, the agent's name stops only one."""
    kernel.run(f"%%agent echo,critic --bg -o duo {SLOW} duo")
    kernel.run("%agents cancel critic")
    wait_until_ended(kernel, "duo")

    assert kernel.evaluate("[r.state for r in duo.result]") == "['done', 'cancelled']"
    assert kernel.evaluate("duo.state") == "'cancelled'"


def test_cancelled_before_it_began(kernel: Kernel) -> None:
    """A run that is stopped in the moment of its start has an end like any other."""
    kernel.run(f"handle = %agent --bg echo {LONG[12:]} never\nhandle._work.stop()")
    wait_until_ended(kernel, "handle")

    assert kernel.evaluate("(handle.state, handle.result.errors)").startswith("('cancelled', [")


def test_no_tasks_stay_behind(kernel: Kernel) -> None:
    """When a background run has ended, no task of it is left."""
    probe = "len(asyncio.all_tasks())"
    before = kernel.evaluate(probe)
    kernel.run(f"%%agent echo --bg -o tidy {SLOW} tidy")
    wait_until_ended(kernel, "tidy")

    assert kernel.evaluate(probe) == before


def test_executed_notebook_keeps_it(
    project: Path, environ: Dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A notebook that a program executes is saved with the answer in the cell that asked for it."""
    from nbclient import NotebookClient

    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    cells = ["%load_ext claude_force_nb", f"%%agent echo --bg -o x {SLOW} saved", "1 + 1"]
    cells += ["_ = await x", "2 + 2"]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "p", "language": "python"}

    resources = {"metadata": {"path": str(project)}}
    NotebookClient(notebook, timeout=60, resources=resources).execute()

    kept = [output["data"]["text/plain"] for output in notebook.cells[1].outputs]
    assert len(kept) == 1 and "t8 t9" in kept[0] and "fresh" in kept[0]
    assert "widgets" not in notebook.metadata


async def test_terminal_refuses() -> None:
    """Where nothing goes on between inputs, ``--bg`` is refused with the reason."""
    from types import SimpleNamespace

    from claude_force_nb.errors import InputError
    from claude_force_nb.notebook.session import Session

    with pytest.raises(InputError, match="needs a notebook"):
        Session(SimpleNamespace(user_ns={})).run_in_background([])
    assert len(asyncio.all_tasks()) == 1


def test_workflow_in_the_background(kernel: Kernel) -> None:
    """``%%workflow --bg`` binds a handle, too; its cell shows the graph, then the result."""
    first = kernel.collect(kernel.submit(f"%%workflow echo -> critic --bg -o flow {SLOW} flow"))
    early = kernel.evaluate("(flow.ended, flow.result)")
    wait_until_ended(kernel, "flow")
    cell = kernel.run("print(type(await flow).__name__, flow.state)")

    assert first.elapsed_s < 0.6 and early == "(False, None)"
    assert cell.streams["stdout"].strip() == "WorkflowResult done"
    assert set(first.outputs[0]) == {"text/html", "text/plain"} and "2 done" in first.text


def test_workflow_is_cancelled_whole(kernel: Kernel) -> None:
    """A workflow in the background is stopped by its variable, not by the agent of one step."""
    kernel.run(f"%%workflow echo -> critic --bg -o graph {LONG} graph")
    by_agent = kernel.run("%agents cancel echo")
    kernel.run("%agents cancel graph")
    wait_until_ended(kernel, "graph")

    assert "Nothing called echo" in by_agent.stderr and "graph" in by_agent.stderr
    assert kernel.evaluate("{step.state for step in graph.result.values()}") in (
        "{'cancelled'}",
        "{'cancelled', 'skipped'}",
        "{'skipped', 'cancelled'}",
    )
