"""``%%workflow`` in a real kernel, against a real server on loopback."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any, Iterator

import pytest
from kernels import Kernel
from messages_server import ServerThread

pytestmark = pytest.mark.kernel

AGENTS = ("reader", "critic", "writer")
YAML = """%%workflow -o report
steps:
  - id: look
    agent: reader
    for_each: names
    task: "[[say seen {{ item }}]]"
  - id: page
    agent: writer
    when: '"seen ants" in steps.look'
    task: |
      [[say the page]]
      {{ steps.look }}
  - id: never
    agent: critic
    when: len(steps.look) > 10000
    task: "[[say never]] {{ steps.look }}"
"""


@pytest.fixture(scope="module")
def server() -> Iterator[Any]:
    """A Messages API on loopback in a thread of its own."""
    with ServerThread() as running:
        yield running


@pytest.fixture(scope="module")
def kernel(server: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    """A kernel in a project with three agents and a named workflow, talking to the server."""
    project = tmp_path_factory.mktemp("project")
    agents = project / ".claude" / "agents"
    agents.mkdir(parents=True)
    (project / "home").mkdir()
    for name in AGENTS:
        (agents / f"{name}.md").write_text(f"You are the {name}.")
    workflows = {"both": ["reader", "writer"], "broken": ["reader", "nobody"]}
    (project / ".claude" / "claude.json").write_text(json.dumps({"workflows": workflows}))
    environ = {
        "ANTHROPIC_BASE_URL": server.url,
        "ANTHROPIC_API_KEY": "sk-ant-canary-0123456789abcdef",
        "HOME": str(project / "home"),
    }
    with Kernel(project, environ) as running:
        running.load()
        yield running


def sent_texts(server: Any, since: int = 0) -> Any:
    """The user texts of the messages that reached the server after the first *since*."""
    return [m.body["messages"][0]["content"] for m in server.messages[since:]]


def test_arrows(kernel: Kernel, server: Any) -> None:
    """Arrows run both first agents, then the last one with the task and both answers."""
    before = server.request_count
    kernel.run("topic = 'bees {{ not parsed }}'")

    cell = kernel.run("%%workflow reader, critic -> writer -o report\nAbout {{ topic }}")

    assert cell.status == "ok", cell.stderr
    texts = sent_texts(server, before)
    assert sorted(texts[:2]) == ["About bees {{ not parsed }}"] * 2
    assert "## reader\n\nEcho: About bees" in texts[2]
    assert "## critic\n\nEcho: About bees" in texts[2]
    assert kernel.evaluate("list(report)") == "['reader', 'critic', 'writer']"


def test_static_output(kernel: Kernel) -> None:
    """The cell keeps one static output: picture, last answer, other steps folded, one footer."""
    cell = kernel.run("%%workflow reader -> writer\n[[say **fine** <b>not bold</b>]]")

    assert len(cell.outputs) == 1 and set(cell.outputs[0]) == {"text/html", "text/plain"}
    html = cell.outputs[0]["text/html"]
    assert html.count("<svg") == 1 and 'role="img"' in html
    assert html.count("<details>") == 1 and "<strong>fine</strong>" in html
    assert "<b>not bold" not in html
    assert "2 steps: 2 done" in cell.text


def test_yaml_for_each_and_when(kernel: Kernel, server: Any) -> None:
    """YAML runs one call for each item, and a step only if its condition holds."""
    before = server.request_count
    kernel.run("names = ['ants', 'bees', 'wasps']")

    cell = kernel.run(YAML)

    assert cell.status == "ok", cell.stderr
    assert server.request_count == before + 4
    assert kernel.evaluate("{k: v.state for k, v in report.items()}") == (
        "{'look': 'done', 'page': 'done', 'never': 'skipped'}"
    )
    assert kernel.evaluate("report['look'].outputs") == "['seen ants', 'seen bees', 'seen wasps']"
    assert kernel.evaluate("report.output") == "'the page'"


def test_named(kernel: Kernel, server: Any) -> None:
    """A name from claude.json runs its agents one after the other."""
    before = server.request_count

    cell = kernel.run("%%workflow both -o report\nWrite about ants")

    assert cell.status == "ok", cell.stderr
    assert [m.body["system"] for m in server.messages[before:]] == [
        "You are the reader.",
        "You are the writer.",
    ]


def test_workflows_lists(kernel: Kernel) -> None:
    """The list shows each named workflow as arrows, and what is wrong with it."""
    cell = kernel.run("%workflows")

    assert "reader -> writer" in cell.text
    assert "There is no agent nobody." in cell.text


def test_same_cell_is_cached(kernel: Kernel, server: Any) -> None:
    """The same workflow again calls nothing and says what it saved."""
    text = "%%workflow reader, critic -> writer\nThe same again"
    kernel.run(text)
    before = server.request_count

    cell = kernel.run(text)

    assert server.request_count == before
    assert "3 steps: 3 cached" in cell.text and "saved $" in cell.text


def test_failure_skips_only_descendants(kernel: Kernel, server: Any) -> None:
    """A failed step skips what needs it; the rest is finished, shown and bound; the cell fails."""
    before = server.request_count

    cell = kernel.run(
        "%%workflow -o report\nsteps:\n"
        "- {id: good, agent: reader, task: '[[say fine]]'}\n"
        "- {id: bad, agent: critic, task: '[[status 400]]'}\n"
        "- {id: after, agent: writer, task: 'x {{ steps.bad }}'}\n"
    )

    assert cell.status == "error" and cell.stderr.count("\n") <= 2
    assert cell.stderr.startswith("UsageError: bad: ")
    assert server.request_count == before + 2
    assert kernel.evaluate("[s.state for s in report.values()]") == "['done', 'failed', 'skipped']"
    assert kernel.evaluate("report['after'].reason") == "'It needs bad, which failed.'"
    assert "fine" in cell.text and "bad failed." in cell.html


def test_running_again_resumes(kernel: Kernel, server: Any) -> None:
    """After a failure the same cell calls only the step that failed and those behind it."""
    text = (
        "%%workflow -o report\nsteps:\n"
        "- {id: first, agent: reader, task: '[[say one]]'}\n"
        "- {id: flaky, agent: critic, retries: 1, "
        "task: '[[status 529 1]] [[say two]] {{ steps.first }}'}\n"
        "- {id: last, agent: writer, task: 'end {{ steps.flaky }}'}\n"
    )
    failed = kernel.run(text)
    before = server.request_count

    cell = kernel.run(text)

    assert (failed.status, cell.status) == ("error", "ok")
    assert server.request_count == before + 2
    assert kernel.evaluate("[s.state for s in report.values()]") == "['cached', 'done', 'done']"


@pytest.mark.parametrize(
    ("cell_text", "said"),
    [
        ("%%workflow reader -> wirter\nx", "Did you mean writer?"),
        ("%%workflow bth\nx", "Did you mean both?"),
        ("%%workflow reader ->\nx", "An agent is missing."),
        ("%%workflow reader -> writer\n{{ nothing_here }}", "no variable named nothing_here"),
        ("%%workflow reader -> writer\n  ", "The cell is empty."),
        ("%%workflow\nsteps:\n- {id: a, agent: reader\n", "this cell, line 3, column 24"),
        ("%%workflow\nsteps:\n- {agent: reader, task: '{{ steps.b }}'}", "no such step"),
        ("%%workflow reader --cache sometimes\nx", "invalid choice"),
        ("# note\n%%workflow reader\nx", "%%workflow must be the first line"),
    ],
)
def test_bad_cells_send_nothing(kernel: Kernel, server: Any, cell_text: str, said: str) -> None:
    """A cell that cannot run says why and what to do, before anything is sent."""
    before = server.request_count

    cell = kernel.run(cell_text)

    assert cell.status == "error" and said in cell.stderr, cell.stderr
    assert "Traceback" not in cell.stderr
    assert server.request_count == before


def test_dry_run_calls_nothing(kernel: Kernel, server: Any) -> None:
    """A dry run shows prompts, tokens, cost and what is cached, and sends nothing."""
    kernel.run("%%workflow reader -> writer\nDry or not")
    before = server.request_count

    cell = kernel.run("%%workflow reader -> writer -> critic --dry-run -o plan\nDry or not")

    assert cell.status == "ok", cell.stderr
    assert server.request_count == before
    assert "2 of 3 steps cached" in cell.text and "at most 1 calls" in cell.text
    assert "(estimated)" in cell.text and "$0.0" in cell.text
    assert kernel.evaluate("plan.calls") == "1"


def test_interrupt_keeps_finished_steps(kernel: Kernel, server: Any) -> None:
    """Interrupt ends the cell within half a second; finished steps are kept and cached."""
    text = (
        "%%workflow -o report\nsteps:\n"
        "- {id: quick, agent: reader, task: '[[say ready now]]'}\n"
        "- {id: slow, agent: critic, task: '[[slow 300 0.1]] {{ steps.quick }}'}\n"
        "- {id: last, agent: writer, task: 'x {{ steps.slow }}'}\n"
    )
    tasks_before = kernel.evaluate("len(__import__('asyncio').all_tasks())")
    sent = kernel.submit(text)
    kernel.wait_for_paint("t1 t2")
    before = server.request_count
    pressed = time.monotonic()
    kernel.interrupt()
    cell = kernel.collect(sent)
    took = time.monotonic() - pressed

    assert took < 0.5, took
    assert cell.error.startswith("Interrupted: 1 done, 1 skipped, 1 cancelled")
    assert kernel.evaluate("report['quick'].output") == "'ready now'"
    server.wait_until(lambda: server.messages[-1].closed_early)
    assert server.request_count == before
    assert kernel.evaluate("len(__import__('asyncio').all_tasks())") == tasks_before


def test_live_picture(kernel: Kernel) -> None:
    """While steps run, one widget shows the graph with their states and the growing text."""
    sent = kernel.submit("%%workflow reader -> writer --cache off\n[[slow 12 0.1]] watch me")
    kernel.wait_for_paint("t1 t2")
    cell = kernel.collect(sent)

    assert cell.status == "ok"
    painted = [value for _, value in cell.painted if "<svg" in value]
    assert any("reader: running" in value for value in painted)
    assert any("writer: queued" in value for value in painted)


def test_result_shows_itself(kernel: Kernel) -> None:
    """A result as a cell's last expression shows the picture; its frame has a row per step."""
    kernel.run("%%workflow reader -> writer -o report\nShow yourself")

    shown = kernel.run("report")

    assert "<svg" in shown.html and "2 steps" in shown.text
    assert kernel.evaluate("report.to_frame()[['step', 'state']].shape") == "(2, 2)"


def test_result_goes_into_a_prompt(kernel: Kernel, server: Any) -> None:
    """A workflow's result can be inserted into the next cell's prompt: its last answer."""
    kernel.run("%%workflow reader -> writer -o report\n[[say forty-two]]")

    cell = kernel.run("%%agent critic\nIs this right? {{ report }}")

    assert cell.status == "ok", cell.stderr
    assert sent_texts(server)[-1] == "Is this right? forty-two"


def test_bare_call_blocks(kernel: Kernel, tmp_path: Path) -> None:
    """Where no await can go, the workflow still runs and binds its result."""
    cell = kernel.run(
        "def f():\n"
        "    get_ipython().run_cell_magic('workflow', 'reader -> writer -o inner', 'inside')\n"
        "f()"
    )

    assert cell.status == "ok", cell.stderr
    assert kernel.evaluate("inner.success") == "True"
