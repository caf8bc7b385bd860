"""Execute a notebook in a real kernel on the offline model; list its runs; write the HTML.

Usage: demo.py NOTEBOOK [OUTPUT_DIR]
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any, Dict, List, Tuple

import nbformat
from nbclient import NotebookClient
from nbconvert import HTMLExporter

RUNS = """
import json as _json
import claude_force_nb as _cf
print(_json.dumps([run.result.to_dict() for run in _cf.current_orchestrator().recent_runs]))
"""
COLUMNS = ("agent", "state", "model", "in", "out", "cost", "seconds", "key")


def execute(path: Path) -> Tuple[Any, List[Dict[str, Any]]]:
    """Run every cell of *path*; return the notebook with outputs, and its runs."""
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook,
        timeout=120,
        store_widget_state=False,
        extra_arguments=["--log-level=ERROR"],
        resources={"metadata": {"path": path.parent}},
    )
    with client.setup_kernel():
        for index, cell in enumerate(notebook.cells):
            client.execute_cell(cell, index)
        notebook.cells.append(nbformat.v4.new_code_cell(RUNS))
        client.execute_cell(notebook.cells[-1], len(notebook.cells) - 1)
        probe = notebook.cells.pop()
    return notebook, json.loads(probe.outputs[0]["text"])


def table(runs: List[Dict[str, Any]]) -> str:
    """The runs as aligned text."""
    rows = [list(COLUMNS)]
    for run in runs:
        cost = run["cost_usd"]
        rows.append(
            [
                run["agent_name"],
                run["state"],
                run["model"],
                str(run["usage"]["input_tokens"]),
                str(run["usage"]["output_tokens"]),
                "unknown" if cost is None else f"${cost:.4f}",
                f"{run['elapsed_s']:.2f}",
                run["key"][:12],
            ]
        )
    widths = [max(len(row[i]) for row in rows) for i in range(len(COLUMNS))]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(row, widths)).rstrip() for row in rows)


def main() -> int:
    """Run the demo."""
    if len(sys.argv) < 2:
        print(__doc__)
        return 2
    path = Path(sys.argv[1]).resolve()
    folder = Path(sys.argv[2] if len(sys.argv) > 2 else "build/demo").resolve()
    os.environ["CLAUDE_FORCE_NB_PROVIDER"] = "offline"
    # The demo's answers stay out of the cache of the person who tries it.
    os.environ["CLAUDE_FORCE_NB_CACHE_DIR"] = str(folder / "cache")
    notebook, runs = execute(path)
    folder.mkdir(parents=True, exist_ok=True)
    page = folder / f"{path.stem}.html"
    html, _ = HTMLExporter().from_notebook_node(notebook)
    page.write_text(html, encoding="utf-8")
    print(f"{path.name}: {len(runs)} runs, answered by the offline stand-in model\n")
    print(table(runs))
    print(f"\nThe notebook with its answers: {page}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
