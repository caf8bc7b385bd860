"""What the live board costs the page and the kernel, in real JupyterLab.

Run ``python benchmarks/board.py`` where JupyterLab, Playwright and Chromium are (the ``browser``
extra). Twenty runs stream 50 tokens a second each for ten seconds; 6,000 characters of each are
there from the start. Every way of showing them runs in the same notebook, page and kernel:

* ``nothing``: the runs go on, nothing is shown before the end. The others are compared with it.
* ``board``: as users see it, with the texts of so many runs folded at first.
* ``board, all texts``: after a click on "Show all".
* ``Markdown``: what people write themselves, a Markdown display for each run, updated four times
  a second.

Page time is CPU time of the page's main thread; lag is how late a task comes that sleeps 10 ms; the
end is when the page shows the final bundle, counted from the last token.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any, Dict, List

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "browser")]

from lab import Lab, NotebookPage, missing  # noqa: E402

NOTHING, FOLDED, SHOWN, MARKDOWN = WAYS = ("nothing", "board", "board, all texts", "Markdown")

SETUP = '''
%load_ext claude_force_nb
import asyncio, json, time
import claude_force_nb as cf
from claude_force_nb.records import Reply, Usage
from IPython.display import Markdown, display

class Paced:
    """Streams numbered words at a steady pace, after a start of 6,000 characters."""
    name, endpoint = "paced", ""
    last_token = 0.0

    async def answer(self, request, *, on_text=None, stall_timeout_s=30.0):
        parts = ["A line of forty characters, as texts go.\\n" * 150]
        on_text(parts[0])
        due = time.monotonic()
        for number in range(TOKENS):
            due += 1 / 50
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            parts.append(f"word{number}" + ("\\n" if number % 12 == 11 else " "))
            on_text(parts[-1])
        Paced.last_token = max(Paced.last_token, time.time())
        return Reply("".join(parts), "paced", "end_turn", Usage(1000, TOKENS))

    async def close(self):
        pass

orchestrator = cf.AsyncAgentOrchestrator(
    provider=Paced(), mode="off", max_concurrent=RUNS, enable_cache=False
)
cf.use_orchestrator(orchestrator)
orchestrator.library.define(cf.AgentDefinition(name="writer", system="Write."))
measured = {}

class Measure:
    async def __aenter__(self):
        self.lags, self.cpu, self.wall = [], time.process_time(), time.monotonic()
        self.ticker = asyncio.ensure_future(self.tick())
    async def tick(self):
        while True:
            before = time.monotonic()
            await asyncio.sleep(0.01)
            self.lags.append(time.monotonic() - before - 0.01)
    async def __aexit__(self, *_):
        wall = time.monotonic() - self.wall
        lags = sorted(self.lags)
        measured.update(
            kernel_share=(time.process_time() - self.cpu) / wall,
            lag_p99_s=lags[int(len(lags) * 0.99)], lag_max_s=lags[-1],
            last_token=Paced.last_token,
        )
        self.ticker.cancel()

async def by_markdown():
    from claude_force_nb.runs import Run
    runs = [Run("writer") for _ in range(RUNS)]
    request = orchestrator.prepare("writer", "Go.")
    handles = [display(Markdown(""), display_id=True) for _ in runs]
    tasks = [asyncio.ensure_future(orchestrator.execute(request, run=run)) for run in runs]
    while not all(task.done() for task in tasks):
        await asyncio.wait(tasks, timeout=0.25)
        for handle, run in zip(handles, runs):
            handle.update(Markdown(run.text))
    for handle, task in zip(handles, tasks):
        handle.update(Markdown(task.result().output + "\\n\\nfresh"))
measure = Measure()
'''
WARM_UP = "%agent writer Go."
CELLS = {
    NOTHING: "await measure.__aenter__()\nx = %agent -q {names} Go.\nawait measure.__aexit__()",
    FOLDED: "await measure.__aenter__()\nx = %agent {names} Go.\nawait measure.__aexit__()",
    MARKDOWN: "await measure.__aenter__()\nawait by_markdown()\nawait measure.__aexit__()",
}
CELLS[SHOWN] = CELLS[FOLDED]
TELL = "print(json.dumps(measured))"

RUN = """(source) => {
  const notebook = jupyterapp.shell.currentWidget.content;
  const last = notebook.widgets.length - 1;
  notebook.activeCellIndex = last;
  notebook.widgets[last].model.sharedModel.setSource(source);
  notebook.widgets[last].model.clearExecution();
  globalThis.finished = 0;
  const output = notebook.widgets[last].outputArea.node;
  globalThis.watch?.disconnect();
  globalThis.watch = new MutationObserver(() => {
    if (!globalThis.finished && output.textContent.includes('fresh')) {
      globalThis.finished = Date.now() / 1000;
    }
  });
  globalThis.watch.observe(output, { childList: true, subtree: true });
  void jupyterapp.commands.execute('notebook:run-cell');
}"""
STARTED = """() => jupyterapp.shell.currentWidget.content.widgets.at(-1).outputArea.node
  .querySelector('button, .jp-RenderedMarkdown') !== null"""
ENDED = """() => {
  const panel = jupyterapp.shell.currentWidget;
  const cell = panel.content.widgets.at(-1);
  return cell.model.executionCount !== null && cell.model.executionState !== 'running' &&
    panel.sessionContext.session.kernel.status === 'idle';
}"""


class Clock:
    """CPU time of the page's main thread."""

    def __init__(self, page: NotebookPage) -> None:
        self._session = page.page.context.new_cdp_session(page.page)
        self._session.send("Performance.enable")

    def seconds(self) -> float:
        """Seconds since the page was made."""
        metrics = self._session.send("Performance.getMetrics")["metrics"]
        return float(next(m["value"] for m in metrics if m["name"] == "ThreadTime"))


def run(page: NotebookPage, source: str, timeout_s: float = 120) -> None:
    """Run *source* in the last cell and wait for its end."""
    page.page.evaluate(RUN, source)
    page.page.wait_for_timeout(100)
    page.page.wait_for_function(ENDED, timeout=timeout_s * 1000, polling=250)


def measure(page: NotebookPage, clock: Clock, way: str, runs: int) -> Dict[str, float]:
    """Show the runs in one *way*; return what it cost."""
    page.page.evaluate(RUN, CELLS[way].format(names=",".join(["writer"] * runs)))
    if way == SHOWN:
        page.page.locator('button[title="Hide or show all texts"]').click()
    elif way != NOTHING:
        page.page.wait_for_function(STARTED, polling=100)
    before = clock.seconds()
    page.page.wait_for_function(ENDED, timeout=120_000, polling=250)
    page.page.wait_for_timeout(500)
    spent, finished = clock.seconds() - before, page.page.evaluate("globalThis.finished")
    run(page, TELL)
    found: Dict[str, float] = json.loads(page.text().strip().splitlines()[-1])
    return {**found, "page_s": spent, "to_final_s": finished - found["last_token"]}


def table(results: Dict[str, Dict[str, float]]) -> str:
    """Write the figures side by side."""
    head = (
        "shown",
        "page CPU s",
        "× nothing",
        "kernel CPU",
        "lag p99",
        "lag max",
        "last token → end",
    )
    rows: List[Any] = [head]
    idle = results[NOTHING]["page_s"]
    for way, found in results.items():
        rows.append(
            (
                way,
                f"{found['page_s']:.2f}",
                f"{found['page_s'] / idle:.1f}",
                f"{found['kernel_share']:.1%}",
                f"{found['lag_p99_s'] * 1000:.0f} ms",
                f"{found['lag_max_s'] * 1000:.0f} ms",
                f"{found['to_final_s']:.2f} s",
            )
        )
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(row, widths)).rstrip() for row in rows)


def main() -> None:
    """Measure every way once, in one page and kernel."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--seconds", type=int, default=10)
    options = parser.parse_args()
    if missing():
        sys.exit(f"benchmarks/board.py {missing()}")
    setup = f"RUNS, TOKENS = {options.runs}, {50 * options.seconds}\n{SETUP}"
    with tempfile.TemporaryDirectory() as folder, Lab.start(Path(folder)) as lab, lab.notebook(
        "board.ipynb", [setup, WARM_UP]
    ) as page:
        page.run()
        clock = Clock(page)
        results = {way: measure(page, clock, way, options.runs) for way in WAYS}
    print(f"{options.runs} runs, 50 tokens/s each, {options.seconds} s")
    print(table(results))


if __name__ == "__main__":
    main()
