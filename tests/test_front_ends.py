"""Terminal IPython, scripts, nbclient and papermill, each for real."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, Iterator

import nbformat
import pytest
from messages_server import ServerThread

pytestmark = pytest.mark.kernel


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with one agent."""
    agents = tmp_path / ".claude" / "agents"
    agents.mkdir(parents=True)
    (agents / "echo.md").write_text("Repeat.")
    return tmp_path


@pytest.fixture
def server() -> Iterator[Any]:
    """A Messages API on loopback."""
    with ServerThread() as running:
        yield running


@pytest.fixture
def environ(project: Path, server: Any) -> Dict[str, str]:
    """An environment that points at the server."""
    return {
        **os.environ,
        "HOME": str(project),
        "IPYTHONDIR": str(project / ".ipython"),
        "ANTHROPIC_BASE_URL": server.url,
        "ANTHROPIC_API_KEY": "sk-ant-test",
    }


def test_terminal_streams_and_stops(project: Path, environ: Dict[str, str], server: Any) -> None:
    """In terminal IPython the text streams, the footer follows, Ctrl-C ends a long answer."""
    pexpect = pytest.importorskip("pexpect")
    terminal = pexpect.spawn(
        sys.executable,
        ["-m", "IPython", "--simple-prompt", "--no-banner", "--colors=NoColor"],
        cwd=str(project),
        env=environ,
        timeout=40,
        encoding="utf-8",
        dimensions=(40, 200),
    )
    try:
        terminal.expect(r"In \[1\]:")
        terminal.sendline("%load_ext claude_force_nb")
        terminal.expect(r"In \[2\]:")
        terminal.sendline("%agent echo Hello terminal")
        terminal.expect("Echo: Hello terminal")
        terminal.expect("fresh")
        terminal.expect(r"In \[3\]:")
        terminal.sendline("%agent echo [[slow 300 0.1]] long")
        terminal.expect("t3")
        terminal.sendintr()
        terminal.expect("Interrupted: echo cancelled", timeout=5)
        terminal.sendline("1 + 41")
        terminal.expect("42")
        terminal.sendline("exit")
        terminal.expect(pexpect.EOF)
        assert "Unclosed" not in terminal.before
    finally:
        terminal.close(force=True)
    server.wait_until(lambda: server.messages[-1].closed_early)


def test_ipython_script(project: Path, environ: Dict[str, str]) -> None:
    """``ipython script.ipy`` runs line magics and prints answers."""
    script = project / "script.ipy"
    script.write_text(
        "%load_ext claude_force_nb\nx = %agent echo From a script\nprint('bound', x.success)\n"
    )

    done = subprocess.run(
        [sys.executable, "-m", "IPython", "--colors=NoColor", str(script)],
        cwd=project,
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert "Echo: From a script" in done.stdout, done.stdout + done.stderr
    assert "bound True" in done.stdout


def test_plain_python_script(project: Path, environ: Dict[str, str]) -> None:
    """A script without IPython uses the engine, twice in a row, and leaves no noise behind."""
    script = project / "plain.py"
    script.write_text(
        "import asyncio\n"
        "import claude_force_nb as cf\n"
        "for word in ('one', 'two'):\n"
        "    print(asyncio.run(cf.run('echo', word)).output)\n"
    )

    done = subprocess.run(
        [sys.executable, "-X", "dev", str(script)],
        cwd=project,
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert "Echo: one" in done.stdout and "Echo: two" in done.stdout, done.stderr
    assert "Unclosed" not in done.stderr and "never" not in done.stderr, done.stderr


def _notebook(path: Path, *cells: str) -> Path:
    made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    made.metadata["kernelspec"] = {"name": "python3", "display_name": "p", "language": "python"}
    nbformat.write(made, path)
    return path


def test_nbclient_keeps_the_answer(
    project: Path, environ: Dict[str, str], monkeypatch: Any
) -> None:
    """A notebook executed without a front end holds the static answer and no widget."""
    from nbclient import NotebookClient

    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    path = _notebook(
        project / "a.ipynb", "%load_ext claude_force_nb", "%%agent echo\nFor the record"
    )
    notebook = nbformat.read(path, as_version=4)

    NotebookClient(notebook, timeout=60, resources={"metadata": {"path": str(project)}}).execute()

    outputs = notebook.cells[1].outputs
    assert [sorted(o["data"]) for o in outputs] == [["text/html", "text/plain"]]
    assert "For the record" in outputs[0]["data"]["text/html"]
    assert "For the record" not in json.dumps(notebook.metadata)


def test_nbclient_stops_at_failure(
    project: Path, environ: Dict[str, str], monkeypatch: Any
) -> None:
    """A failing cell fails the execution, so that a scheduled notebook does not go on."""
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError

    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    path = _notebook(project / "b.ipynb", "%load_ext claude_force_nb", "%%agent nobody\nHi")
    notebook = nbformat.read(path, as_version=4)

    with pytest.raises(CellExecutionError):
        NotebookClient(
            notebook, timeout=60, resources={"metadata": {"path": str(project)}}
        ).execute()


def test_papermill_runs_it(project: Path, environ: Dict[str, str]) -> None:
    """Papermill executes the notebook and saves the answer."""
    path = _notebook(project / "c.ipynb", "%load_ext claude_force_nb", "%%agent echo\nMilled")

    done = subprocess.run(
        [sys.executable, "-m", "papermill", str(path), str(project / "out.ipynb"), "-k", "python3"],
        cwd=project,
        env=environ,
        capture_output=True,
        text=True,
        timeout=120,
    )

    assert done.returncode == 0, done.stderr
    assert (
        "Milled" in nbformat.read(project / "out.ipynb", 4).cells[1].outputs[0]["data"]["text/html"]
    )
