"""The live board in a real kernel: what a front end is told while the runs of a cell go on."""

from __future__ import annotations

import re
import time
from typing import Any, Callable, Dict, Iterator, List

import pytest
from kernels import Cell, Kernel
from messages_server import ServerThread

pytestmark = pytest.mark.kernel

THREE = "%%agent echo,critic,poet -o answers --cache off\n"


@pytest.fixture(scope="module")
def server() -> Iterator[Any]:
    """A Messages API on loopback in a thread of its own."""
    with ServerThread() as running:
        yield running


@pytest.fixture(scope="module")
def kernel(server: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    """A kernel in a project with three agents, talking to the server."""
    project = tmp_path_factory.mktemp("project")
    agents = project / ".claude" / "agents"
    agents.mkdir(parents=True)
    for name in ("echo", "critic", "poet"):
        (agents / f"{name}.md").write_text("Repeat.")
    environ = {
        "ANTHROPIC_BASE_URL": server.url,
        "ANTHROPIC_API_KEY": "sk-ant-test",
        "HOME": str(project),
    }
    with Kernel(project, environ) as running:
        running.load("%agents use off")
        # The first call imports the SDK, which holds up everything.
        running.run("%%agent echo\nwarm up")
        yield running


@pytest.fixture(autouse=True)
def blank_page(kernel: Kernel) -> None:
    """Forget the widgets of earlier tests, which keep their final answers."""
    kernel.widgets.clear()


def shown(kernel: Kernel) -> str:
    """Return everything that the open widgets show as text."""
    values = [str(state.get("value", "")) for state in kernel.widgets.values()]
    return re.sub("<[^>]*>", " ", " ".join(values))


def until(kernel: Kernel, holds: Callable[[], bool], timeout_s: float = 20) -> float:
    """Read messages until something *holds*; return when, on the monotonic clock."""
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, shown(kernel)
        kernel.next_message(timeout_s)
    return time.monotonic()


def painted(cell: Cell, what: str) -> List[float]:
    """Return the times at which a text with *what* in it was sent."""
    return [at for at, value in cell.painted if what in value]


def test_board_becomes_the_answer(kernel: Kernel) -> None:
    """The output is a board first, and in the end the static bundle alone."""
    sent = kernel.submit(f"{THREE}[[slow 5 0.1]] go")
    until(kernel, lambda: "t1 t2" in shown(kernel))
    cell = kernel.collect(sent)

    assert cell.status == "ok"
    assert [set(output) for output in cell.outputs] == [{"text/html", "text/plain"}]


def test_cancel_one_of_three(kernel: Kernel, server: Any) -> None:
    """A click on Cancel while the cell runs stops one run within 0.3 s; the others go on."""
    sent = kernel.submit(f"{THREE}[[slow 30 0.1]] one of three")
    until(kernel, lambda: "3 running" in shown(kernel) and "t1 t2" in shown(kernel))
    pressed = time.monotonic()
    kernel.press("Cancel critic")
    answered = until(kernel, lambda: "1 cancelled" in shown(kernel))
    cell = kernel.collect(sent)

    assert answered - pressed < 0.3
    assert kernel.evaluate("[r.state for r in answers]") == "['done', 'cancelled', 'done']"
    assert cell.status == "error" and "critic" in cell.stderr
    server.wait_until(lambda: sum(m.closed_early for m in server.messages[-3:]) == 1)


def test_cancel_all(kernel: Kernel) -> None:
    """The button for all ends the cell, and every text that had arrived is kept."""
    sent = kernel.submit(f"{THREE}[[slow 300 0.1]] all of them")
    until(kernel, lambda: "t1 t2" in shown(kernel))
    pressed = time.monotonic()
    kernel.press("Cancel all agents of this cell")
    cell = kernel.collect(sent)

    assert time.monotonic() - pressed < 0.5
    assert kernel.evaluate("{r.state for r in answers}") == "{'cancelled'}"
    assert cell.text.count("t0 t1") == 3


def test_updates_are_bounded(kernel: Kernel) -> None:
    """Three fast streams repaint their texts at most eight times a second."""
    cell = kernel.collect(kernel.submit(f"{THREE}[[slow 100 0.02]] fast"))
    times = painted(cell, 'role="list"')

    assert len(times) > 8
    assert (len(times) - 1) / (times[-1] - times[0]) < 8.5


def test_time_goes_on_without_text(kernel: Kernel) -> None:
    """While no text comes, the elapsed time and the wait for the next attempt still move."""
    sent = kernel.submit("%%agent echo --cache off\n[[status 429]] [[retry-after 30]] later")
    until(kernel, lambda: "429, trying again in" in shown(kernel))
    first = pause(kernel)
    until(kernel, lambda: pause(kernel)[0] <= first[0] - 2)
    last = pause(kernel)
    kernel.press("Cancel echo")
    kernel.collect(sent)

    assert last[1] >= first[1] + 1


def pause(kernel: Kernel) -> List[int]:
    """Return the seconds that a pause will still take, and those that the run has taken."""
    found = re.search(r"waiting: 429, trying again in (\d+) s · (\d+) s", shown(kernel))
    assert found
    return [int(number) for number in found.groups()]


def test_texts_fold(kernel: Kernel) -> None:
    """A text can be hidden and shown again while it streams."""
    sent = kernel.submit("%%agent echo --cache off\n[[slow 60 0.1]] fold me")
    until(kernel, lambda: "t1 t2" in shown(kernel))
    kernel.press("Hide or show the text of echo")
    until(kernel, lambda: "t1 t2" not in shown(kernel) and "running" in shown(kernel))
    kernel.press("Hide or show the text of echo")
    until(kernel, lambda: "t1 t2" in shown(kernel))
    kernel.press("Cancel echo")
    kernel.collect(sent)


def test_other_widgets_are_left_alone(kernel: Kernel) -> None:
    """A click on a widget of the notebook is handled when the kernel would, and once."""
    kernel.run(
        "import asyncio, ipywidgets\nclicks = []\n"
        "own = ipywidgets.Button(tooltip='own button')\n"
        "own.on_click(lambda _: clicks.append(busy))\nbusy = False"
    )
    own = [i for i, state in kernel.widgets.items() if state.get("tooltip") == "own button"]
    for text in ("await asyncio.sleep(1)", "%agent echo --cache off [[slow 10 0.1]] meanwhile"):
        sent = kernel.submit(f"busy = True\nprint('ready')\n{text}\nbusy = False")
        until(kernel, lambda: any(m["msg_type"] == "stream" for m in kernel.seen))
        kernel.press("own button")
        kernel.collect(sent)
    plain, agent = eval(kernel.evaluate("clicks"))

    assert len(own) == 1 and agent == plain


def test_cached_cell_has_no_board(kernel: Kernel) -> None:
    """Answers that are there already are shown without opening a single widget."""
    text = "%%agent echo,critic --cache auto\nonce and again"
    kernel.run(text)
    before = set(kernel.widgets)
    cell = kernel.collect(kernel.submit(text))

    assert "cached" in cell.text
    assert set(kernel.widgets) == before and cell.painted == []


def test_unwatched_cell_has_no_board(kernel: Kernel) -> None:
    """A program that executes notebooks gets the final bundle and no widget at all."""
    cell = kernel.run(f"{THREE}[[slow 5 0.1]] nobody is here")

    assert cell.status == "ok" and len(cell.outputs) == 1
    assert cell.painted == [] and cell.streams["stdout"] == ""


def test_reloaded_page_has_the_answer(kernel: Kernel) -> None:
    """The board's own widget holds the final answer, for a page that lost track of its output."""
    sent = kernel.submit("%%agent echo --cache off\n[[slow 5 0.1]] reloaded")
    until(kernel, lambda: "t1" in shown(kernel))
    kernel.collect(sent)
    last = list(kernel.widgets.values())

    assert "t0 t1 t2 t3 t4" in shown(kernel) and "fresh" in shown(kernel)
    assert not any(state.get("tooltip") for state in last)


def test_many_runs_fold_at_first(kernel: Kernel) -> None:
    """Twenty agents show a line each; one click shows all texts."""
    sent = kernel.submit(f"%%agent {','.join(['echo'] * 20)} --cache off\n[[slow 40 0.1]] many")
    until(kernel, lambda: "20 running" in shown(kernel) or "10 running" in shown(kernel))
    folded = shown(kernel)
    kernel.press("Hide or show all texts")
    until(kernel, lambda: shown(kernel).count("t0 t1 t2") >= 10)
    kernel.press("Cancel all agents of this cell")
    kernel.collect(sent)

    assert "t0" not in folded


def states(kernel: Kernel) -> Dict[str, Any]:
    """Return the states of the buttons by tooltip."""
    return {s["tooltip"]: s for s in kernel.widgets.values() if s.get("tooltip")}


def test_click_is_answered_at_once(kernel: Kernel) -> None:
    """A button that was pressed says so and cannot be pressed twice."""
    sent = kernel.submit("%%agent echo,critic --cache off\n[[slow 300 0.1]] twice")
    until(kernel, lambda: "t1" in shown(kernel))
    kernel.press("Cancel echo")
    until(kernel, lambda: states(kernel)["Cancel echo"]["disabled"])
    other = states(kernel)["Cancel critic"]["disabled"]
    kernel.press("Cancel critic")
    kernel.collect(sent)

    assert other is False


def test_ended_board_is_whole(kernel: Kernel) -> None:
    """No open widget refers to a closed one: a reloaded page would then load none of them."""
    sent = kernel.submit(f"{THREE}[[slow 5 0.1]] whole")
    until(kernel, lambda: "t1" in shown(kernel))
    kernel.collect(sent)
    used = set(re.findall(r"IPY_MODEL_(\w+)", repr(kernel.widgets)))

    assert used <= set(kernel.widgets)
    assert len(kernel.widgets) == 5  # two widgets, their layouts, and the style of the text


def test_old_boards_are_closed(kernel: Kernel) -> None:
    """However many cells have run, only the last boards are kept in the kernel's memory."""
    kernel.run("from claude_force_nb.notebook import monitor\nmonitor.KEPT_BOARDS = 2")
    for number in range(4):
        kernel.collect(kernel.submit(f"%%agent echo --cache off\n[[slow 3 0.1]] board {number}"))
    kernel.run("monitor.KEPT_BOARDS = 20")

    assert sum("fresh" in str(state.get("value")) for state in kernel.widgets.values()) == 2
