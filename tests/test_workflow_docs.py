"""What ``docs/workflows.md`` says, run; and what survives when a notebook is exported."""

from __future__ import annotations

import doctest
import json
import re
from pathlib import Path

import nbformat
import pytest
from kernels import Kernel
from nbconvert import HTMLExporter
from workflow_kit import Ledger, orchestrator_of

from claude_force_nb.notebook.workflow_view import result_bundle

PAGE = Path(__file__).parent.parent / "docs" / "workflows.md"
CELL = re.compile(r"^```text\n(%%workflow.*?)\n```$", re.MULTILINE | re.DOTALL)


def test_python_examples() -> None:
    """The page's Python examples print what it says."""
    failed, tried = doctest.testfile(str(PAGE), module_relative=False)

    assert (failed, tried > 5) == (0, True)


@pytest.mark.kernel
def test_cells_run_as_printed(tmp_path: Path) -> None:
    """The page's cells run in a kernel on the offline model, each with all its steps."""
    folder = tmp_path / ".claude"
    (folder / "agents").mkdir(parents=True)
    (tmp_path / "home").mkdir()
    for name in ("code-reviewer", "security-specialist", "document-writer"):
        (folder / "agents" / f"{name}.md").write_text("You help.")
    names = {"review-and-report": ["code-reviewer", "document-writer"]}
    (folder / "claude.json").write_text(json.dumps({"workflows": names}))
    cells = CELL.findall(PAGE.read_text(encoding="utf-8"))

    with Kernel(tmp_path, {"HOME": str(tmp_path / "home")}) as kernel:
        kernel.load("%agents use offline", "source = 'def f(): pass'\nmodules = [source] * 2")
        shown = [kernel.run(cell) for cell in cells]

    assert [cell.stderr for cell in shown if cell.status != "ok"] == []
    assert [re.findall(r"\d steps: \d \w+", cell.text)[-1] for cell in shown] == [
        "3 steps: 3 done",
        "2 steps: 2 done",
        "3 steps: 3 done",
    ]


async def test_picture_survives_export() -> None:
    """The picture, the answers and the folded steps are in the page that nbconvert makes."""
    result = await orchestrator_of(Ledger()).execute_workflow("a, b -> c", "go")
    output = nbformat.v4.new_output("display_data", data=result_bundle(result))
    cell = nbformat.v4.new_code_cell("%%workflow a, b -> c", outputs=[output])
    notebook = nbformat.reads(nbformat.writes(nbformat.v4.new_notebook(cells=[cell])), as_version=4)

    page, _ = HTMLExporter().from_notebook_node(notebook)

    (opening,) = re.findall(r'<svg[^>]*role="img"[^>]*>', page)
    assert "c. 3 done." in opening and page.count("<rect") >= 3
    assert page.count("<details>") == 2 and "&lt;c&gt;" in page
