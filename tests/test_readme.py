"""What the README says, run."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import List, Tuple

import pytest
from kernels import Kernel

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def _blocks(language: str) -> List[str]:
    found: List[Tuple[str, str]] = BLOCK.findall(README)
    return [text for kind, text in found if kind == language]


def test_script_runs_as_printed(tmp_path: Path) -> None:
    """The Python program of the README runs as it stands and prints two good results."""
    script = next(block for block in _blocks("python") if "asyncio.run" in block)

    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )

    assert done.stdout.splitlines() == ["True offline-stand-in True"] * 2, done.stderr


@pytest.mark.kernel
def test_cells_run_in_order(tmp_path: Path) -> None:
    """The README's notebook cells, top to bottom, give an answer on the offline model."""
    (tmp_path / "my_module.py").write_text("def f(x=[]):\n    return x\n")
    start = next(block for block in _blocks("python") if "%load_ext" in block)
    review, define = _blocks("")
    with Kernel(tmp_path, {"HOME": str(tmp_path)}) as kernel:
        for cell in (start, "%agents use offline", define, review):
            done = kernel.run(cell.rstrip("\n"))
            assert done.status == "ok", (cell, done.stderr, done.error)

    assert "code-reviewer · offline stand-in model" in done.text


def test_commands_exist() -> None:
    """Every ``make`` command of the README is a target of the Makefile."""
    targets = re.findall(r"^make (\w+)", "\n".join(_blocks("bash")), re.MULTILINE)
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")

    assert {"demo", "test", "lab"} <= set(targets)
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in targets)


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "SECURITY.md", "docs"])
def test_links_lead_somewhere(page: str) -> None:
    """Every relative link of the pages points to a file that exists."""
    place = ROOT / page
    pages = sorted(place.glob("*.md")) if place.is_dir() else [place]
    dead = [
        f"{path.name}: {link}"
        for path in pages
        for link in re.findall(r"\]\((?!https?:|#)([^)#]+)", path.read_text(encoding="utf-8"))
        if not (path.parent / link).exists()
    ]

    assert dead == []
