"""The live board in real JupyterLab: seen, clicked, reloaded, saved, reopened and exported.

One notebook and one kernel serve all tests, each of which runs a cell of its own. The offline model
answers, slowly enough to be watched. ``BOARD_KERNEL`` names another interpreter for the kernel, so
that a new JupyterLab meets an old ipykernel.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any, Dict, Iterator, List

import pytest
from lab import Lab, NotebookPage, missing

pytestmark = [pytest.mark.browser, pytest.mark.skipif(bool(missing()), reason=missing())]

AXE = "axe-core@4.14.1"
AGENTS = ("reader", "critic", "editor")
TEXT = "\n\nOne bee flew 3 km. Two bees flew 5 km. Where do 40 bees fly? They fly home by 7 pm."
LONG = " The weather was fine on day 12, and the river carried 90 boats to the sea." * 12

CELLS = {
    "load": "%load_ext claude_force_nb",
    "cancel": f"%%agent reader,critic,editor -o three --cache off\nCancel one.{TEXT}",
    "keyboard": f"%%agent reader,critic -o keys --cache off\nUse the keyboard.{TEXT}{LONG}",
    "stop": f"%%agent reader,critic -o stopped --cache off\nStop.{TEXT}{LONG}",
    "steady": f"%%agent editor -o steady --cache off\nHold still.{TEXT}{LONG}",
    "axe": f"%%agent reader,critic,editor -o axe --cache off\nLook closely.{TEXT}{LONG}",
    "background": f"%%agent reader --bg -o later --cache off\nIn the background.{TEXT}",
    "other": "print('the other cell')\nawait later\nprint('has ended')",
    "reload": f"%%agent critic --bg -o again --cache off\nReload.{TEXT}{LONG[:400]}",
}
NUMBERS = {name: number for number, name in enumerate(CELLS)}

RUN = """(number) => {
  const notebook = jupyterapp.shell.currentWidget.content;
  notebook.activeCellIndex = number;
  // Not returned: that would wait for the cell's end.
  void jupyterapp.commands.execute('notebook:run-cell');
}"""
ENDED = """(number) => {
  const cell = jupyterapp.shell.currentWidget.content.widgets[number];
  return cell.model.executionCount !== null && cell.model.executionState !== 'running' &&
    jupyterapp.shell.currentWidget.sessionContext.session.kernel.status === 'idle';
}"""
INTERRUPT = "() => { void jupyterapp.commands.execute('notebook:interrupt-kernel'); }"
WATCH = """(number) => {
  const cells = document.querySelectorAll('.jp-Notebook .jp-CodeCell');
  globalThis.heights = new Set();
  const look = () => {
    globalThis.heights.add(Math.round(cells[number].getBoundingClientRect().height));
    globalThis.looking = requestAnimationFrame(look);
  };
  look();
}"""
HEIGHTS = "() => { cancelAnimationFrame(globalThis.looking); return [...globalThis.heights]; }"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Give a running JupyterLab whose kernels answer offline, twenty tokens a second."""
    env = {
        "CLAUDE_FORCE_NB_PROVIDER": "offline",
        "CLAUDE_FORCE_NB_OFFLINE_LATENCY_S": "0.2",
        "CLAUDE_FORCE_NB_OFFLINE_TOKENS_PER_S": "20",
    }
    directory = tmp_path_factory.mktemp("lab")
    write_kernel(directory, os.environ.get("BOARD_KERNEL", sys.executable))
    with Lab.start(directory, env=env) as running:
        agents = running.root / ".claude" / "agents"
        agents.mkdir(parents=True)
        for name in AGENTS:
            (agents / f"{name}.md").write_text("You read closely.", encoding="utf-8")
        yield running


def write_kernel(directory: Path, python: str) -> None:
    """Let JupyterLab start its kernels with *python*, which may be older than its own."""
    argv = [python, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    spec = directory / "data" / "kernels" / "python3" / "kernel.json"
    spec.parent.mkdir(parents=True)
    spec.write_text(json.dumps({"argv": argv, "display_name": "Python", "language": "python"}))


@pytest.fixture(scope="module")
def page(lab: Lab) -> Iterator[NotebookPage]:
    """Give the notebook, loaded, with its kernel."""
    with lab.notebook("board.ipynb", list(CELLS.values())) as opened:
        run(opened, "load")
        ended(opened, "load")
        yield opened


def run(page: NotebookPage, name: str) -> None:
    """Start a cell."""
    page.page.evaluate(RUN, NUMBERS[name])


def ended(page: NotebookPage, name: str, timeout_s: float = 30) -> None:
    """Wait until a cell has ended and the kernel is idle."""
    page.page.wait_for_function(ENDED, arg=NUMBERS[name], timeout=timeout_s * 1000)


def output(page: NotebookPage, name: str) -> Any:
    """Return the locator of a cell's output."""
    return (
        page.page.locator(".jp-Notebook .jp-CodeCell")
        .nth(NUMBERS[name])
        .locator(".jp-Cell-outputArea")
    )


def wait_for(page: NotebookPage, name: str, text: str, timeout_s: float = 30) -> None:
    """Wait until *text* is visible in a cell's output."""
    output(page, name).get_by_text(text).first.wait_for(timeout=timeout_s * 1000)


def button(page: NotebookPage, name: str, title: str) -> Any:
    """Return the button with a tooltip in a cell's output."""
    return output(page, name).locator(f'button[title="{title}"]')


def test_one_of_three_is_cancelled(page: NotebookPage) -> None:
    """Text streams; Cancel stops one run at once; the others end; the board becomes the answers."""
    run(page, "cancel")
    wait_for(page, "cancel", "The task as written")
    during = output(page, "cancel").inner_text()
    button(page, "cancel", "Cancel critic").click()
    wait_for(page, "cancel", "1 cancelled", timeout_s=0.6)
    ended(page, "cancel")
    after = output(page, "cancel").inner_text()

    assert "0 of 3 ended · 3 running" in during
    assert "Cancelled. This much of the answer had arrived" in after
    assert [after.count(word) for word in ("· fresh", "· cancelled")] == [2, 1]
    assert output(page, "cancel").locator("button").count() == 0


@pytest.mark.parametrize("key", ["Enter", "Space"])
def test_keyboard_reaches_buttons(page: NotebookPage, key: str) -> None:
    """The buttons take the focus in order and answer to the keyboard, although texts repaint."""
    run(page, "keyboard")
    wait_for(page, "keyboard", "running")
    button(page, "keyboard", "Cancel all agents of this cell").focus()
    page.page.keyboard.press("Tab")
    page.page.keyboard.press("Tab")
    focused = page.page.evaluate("document.activeElement.title")
    page.page.keyboard.press(key)
    wait_for(page, "keyboard", "1 cancelled", timeout_s=2)
    button(page, "keyboard", "Cancel all agents of this cell").click()
    ended(page, "keyboard")

    assert focused == "Cancel reader"


def test_stop_button_ends_cell(page: NotebookPage) -> None:
    """Interrupt cancels the runs; their texts stay; the cell fails with one line."""
    run(page, "stop")
    wait_for(page, "stop", "The task as written")
    page.page.evaluate(INTERRUPT)
    wait_for(page, "stop", "Interrupted: reader cancelled, critic cancelled", timeout_s=3)
    ended(page, "stop")

    assert output(page, "stop").inner_text().count("Cancelled.") == 2


def test_nothing_jumps(page: NotebookPage) -> None:
    """While text streams and folds, the height of a cell changes only when somebody folds it."""
    run(page, "steady")
    wait_for(page, "steady", "The task as written")
    page.page.evaluate(WATCH, NUMBERS["steady"])
    page.page.wait_for_timeout(1500)
    heights: List[int] = page.page.evaluate(HEIGHTS)
    button(page, "steady", "Hide or show the text of editor").click()
    output(page, "steady").get_by_text("The task as written").wait_for(state="detached")
    page.page.evaluate(INTERRUPT)
    ended(page, "steady")

    assert len(heights) == 1


def test_axe_finds_nothing_serious(page: NotebookPage, axe: str) -> None:
    """The accessibility checker has no serious complaint about a board that runs."""
    run(page, "axe")
    wait_for(page, "axe", "running")
    page.page.add_script_tag(content=axe)
    found: Dict[str, Any] = page.page.evaluate(
        "(number) => axe.run(document.querySelectorAll('.jp-Cell-outputArea')[number])",
        NUMBERS["axe"],
    )
    button(page, "axe", "Cancel all agents of this cell").click()
    ended(page, "axe")
    serious = [v for v in found["violations"] if v["impact"] in ("serious", "critical")]

    assert len(found["passes"]) > 5
    assert [(v["id"], v["nodes"][0]["html"]) for v in serious] == []


@pytest.fixture(scope="module")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Give the source of axe-core, from npm."""
    folder = tmp_path_factory.mktemp("axe")
    command = ["npm", "pack", "--silent", AXE]
    if shutil.which("npm") is None or subprocess.run(command, cwd=folder, timeout=60).returncode:
        pytest.skip(f"needs {AXE} from npm")
    with tarfile.open(next(folder.glob("*.tgz"))) as archive:
        source = archive.extractfile("package/axe.min.js")
        assert source is not None
        return source.read().decode("utf-8")


def test_background_keeps_its_cell(page: NotebookPage) -> None:
    """A background run streams into its own cell while another one runs, and ends there."""
    run(page, "background")
    ended(page, "background")
    run(page, "other")
    wait_for(page, "background", "running")
    wait_for(page, "other", "has ended")
    wait_for(page, "background", "fresh")

    assert "reader" not in output(page, "other").inner_text()
    assert output(page, "background").locator("button").count() == 0


def test_reload_keeps_the_answer(lab: Lab, page: NotebookPage) -> None:
    """A page that is reloaded while a run goes on shows its answer all the same."""
    run(page, "reload")
    ended(page, "reload")
    wait_for(page, "reload", "running")
    page.save()
    page.page.reload()
    page.wait_ready()
    wait_for(page, "reload", "fresh", timeout_s=20)

    assert "offline stand-in model" in output(page, "reload").inner_text()


def test_saved_file_is_static(lab: Lab, page: NotebookPage) -> None:
    """The saved notebook holds every ended answer as HTML and text, and no widget of theirs."""
    page.save()
    saved = json.loads((lab.root / "board.ipynb").read_text(encoding="utf-8"))
    kinds = {
        name: [set(o["data"]) for o in cell["outputs"] if "data" in o]
        for name, cell in zip(CELLS, saved["cells"])
    }

    for name in ("cancel", "stop", "background"):
        assert kinds[name] == [{"text/html", "text/plain"}], name
    assert "widgets" not in saved["metadata"]


def test_reopened_without_kernel(lab: Lab, page: NotebookPage, tmp_path: Path) -> None:
    """Opened where nothing runs, and as an exported page, the answers are there."""
    page.save()
    saved = json.loads((lab.root / "board.ipynb").read_text(encoding="utf-8"))
    saved["cells"] = [c for n, c in zip(CELLS, saved["cells"]) if n in ("cancel", "background")]
    (lab.root / "copy.ipynb").write_text(json.dumps(saved), encoding="utf-8")
    with lab.notebook("copy.ipynb") as copy:
        reopened = copy.text()
    with lab.page() as opened:
        opened.open(exported(lab.root / "copy.ipynb"))
        shown = opened.page.locator("body").inner_text()

    for text in (reopened, shown):
        assert text.count("· fresh") == 3 and "This much of the answer had arrived" in text
        assert "model not found" not in text and "Loading widget" not in text


def exported(notebook: Path) -> str:
    """Convert a notebook to a page with default settings."""
    from nbconvert import HTMLExporter

    page, _ = HTMLExporter().from_filename(str(notebook))
    path = notebook.with_suffix(".html")
    path.write_text(page, encoding="utf-8")
    return path.as_uri()
