"""The notebooks run top to bottom in a real kernel, on the offline model."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

pytestmark = pytest.mark.kernel

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs_offline(path: Path, tmp_path: Path) -> None:
    """The demo command executes the notebook, lists its runs and writes the page."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools" / "demo.py"), str(path), str(tmp_path)],
        env={**os.environ, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
    )

    assert done.returncode == 0, done.stderr[-3000:]
    assert "offline-stand-in" in done.stdout
    page = (tmp_path / f"{path.stem}.html").read_text(encoding="utf-8")
    assert "offline stand-in model" in page


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_is_stored_clean(path: Path) -> None:
    """Stored notebooks are valid and hold no outputs of somebody's machine."""
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)

    assert all(not cell.get("outputs") for cell in notebook.cells)
