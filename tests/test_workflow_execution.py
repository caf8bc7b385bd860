"""Running workflows on the real orchestrator."""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path
from typing import Any, Dict, List, Set, Tuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from workflow_kit import Ledger, orchestrator_of

from claude_force_nb import ResponseCache, Workflow, WorkflowResult
from claude_force_nb.errors import AgentNotFound, InputError, WorkflowError
from claude_force_nb.prompt import render
from claude_force_nb.workflow import Execution, Plan, Step, StepResult

pytestmark = pytest.mark.essential

Needs = Dict[str, Set[str]]


def states(result: WorkflowResult) -> List[str]:
    """The steps' states in order."""
    return [step.state for step in result.values()]


@st.composite
def graphs(draw: Any) -> Tuple[Needs, Set[str]]:
    """A random acyclic graph in any order of writing, and the steps of it that fail."""
    size = draw(st.integers(1, 14))
    names = draw(st.permutations([f"s{number}" for number in range(size)]))
    needs: Needs = {}
    for index, name in enumerate(names):
        needs[name] = draw(st.sets(st.sampled_from(names[:index]), max_size=4)) if index else set()
    failing = draw(st.sets(st.sampled_from(names), max_size=2))
    return {name: needs[name] for name in sorted(names)}, failing


@given(graph=graphs(), limit=st.integers(1, 4), templated=st.booleans())
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_graph(graph: Tuple[Needs, Set[str]], limit: int, templated: bool) -> None:
    """Each step runs once, after all it needs, within the limit; failures stop descendants only."""
    needs, failing = graph
    provider = Ledger()

    result = asyncio.run(_run(needs, failing, limit, templated, provider))

    behind = _behind(needs, failing)
    names = [prompt.split()[0] for prompt in provider.prompts]
    assert sorted(names) == sorted(set(needs) - behind)
    assert 1 <= provider.peak <= limit
    order = [(kind, prompt.split()[0]) for kind, prompt in provider.events]
    for name in names:
        for earlier in needs[name]:
            assert order.index(("end", earlier)) < order.index(("start", name))
    assert {name for name, step in result.items() if step.success} == set(needs) - behind - failing
    assert {name for name, step in result.items() if step.state == "skipped"} == behind
    assert result.success == (not failing)


def _behind(needs: Needs, failing: Set[str]) -> Set[str]:
    """The steps that need one that fails, directly or not."""
    behind: Set[str] = set()
    for _ in needs:
        behind |= {name for name, needed in needs.items() if needed & (failing | behind)}
    return behind


async def _run(
    needs: Needs, failing: Set[str], limit: int, templated: bool, provider: Ledger
) -> WorkflowResult:
    steps = []
    for name, needed in needs.items():
        task = f"{name} {'FAIL' if name in failing else ''}"
        if templated:
            task += " ".join(f"{{{{ steps.{one} }}}}" for one in sorted(needed))
        steps.append(Step(name, "a", task=task, needs=() if templated else tuple(needed)))
    orchestrator = orchestrator_of(provider, max_concurrent=limit)
    return await orchestrator.execute_workflow(Workflow(tuple(steps)))


async def test_later_steps_see_earlier_answers() -> None:
    """Without a task of its own a step gets the task and the answers before it, under headings."""
    provider = Ledger()

    result = await orchestrator_of(provider).execute_workflow("a, b -> c", "Do {{ this }}")

    assert provider.prompts[:2] == ["Do {{ this }}"] * 2
    assert provider.prompts[2] == (
        "Do {{ this }}\n\n# Answers of the steps before\n\n## a\n\n<a>\n\n## b\n\n<b>"
    )
    assert result.output == "<c>"


async def test_answers_are_not_templates() -> None:
    """Braces in an answer reach the next step as they are."""
    provider = Ledger(lambda request: "{{ secret }} $x {")

    await orchestrator_of(provider).execute_workflow("a -> b", "go", allow_secrets=True)

    assert "{{ secret }} $x {" in provider.prompts[1]


async def test_images_travel_with_the_task() -> None:
    """A task with an image keeps its blocks in later steps, with the answers behind them."""
    provider = Ledger()
    task = render("Look: {{ picture }}", {"picture": _tiny_png()})

    await orchestrator_of(provider).execute_workflow("a -> b", task)

    first, second = provider.prompts
    assert [block["type"] for block in first] == ["text", "image"]
    assert [block["type"] for block in second] == ["text", "image", "text"]
    assert "<a>" in second[2]["text"]


async def test_for_each_runs_every_item() -> None:
    """One run for each item, in the order of the items; the next step gets them joined."""
    provider = Ledger(lambda request: request.messages[0]["content"])
    workflow = Workflow.from_yaml(
        "steps:\n- {id: x, agent: a, for_each: names, task: 'see {{ item }}'}\n"
        "- {id: y, agent: b, task: 'all: {{ steps.x }}'}"
    )

    result = await orchestrator_of(provider).execute_workflow(workflow, names=["p", "q", "r"])

    assert result["x"].outputs == ["see p", "see q", "see r"]
    assert result.output == "all: see p\n\n---\n\nsee q\n\n---\n\nsee r"
    assert result["x"].usage.output_tokens == 15


async def test_for_each_over_nothing() -> None:
    """An empty sequence is a step without runs, done; what needs it goes on."""
    provider = Ledger()
    workflow = Workflow.from_yaml(
        "steps:\n- {id: x, agent: a, for_each: names, task: '{{ item }}'}\n"
        "- {id: y, agent: b, task: 'all: {{ steps.x }}'}"
    )

    result = await orchestrator_of(provider).execute_workflow(workflow, names=[])

    assert (states(result), provider.prompts) == (["done", "done"], ["all: "])


async def test_failed_item_keeps_siblings() -> None:
    """An item that fails fails its step; the other items' answers are in the result."""
    workflow = Workflow.from_yaml(
        "steps:\n- {id: x, agent: a, for_each: names, task: '{{ item }}'}\n"
        "- {id: y, agent: b, task: 'all: {{ steps.x }}'}"
    )

    result = await orchestrator_of(Ledger()).execute_workflow(workflow, names=["p", "FAIL", "r"])

    assert states(result) == ["failed", "skipped"]
    assert result["x"].outputs == ["<a>", "", "<a>"]
    assert result["x"].reason == "1 of 3 items: item 1: It was refused."
    assert result.errors == ["x: 1 of 3 items: item 1: It was refused."]


@pytest.mark.parametrize(
    ("first", "expected"),
    [
        ("bug", ["done", "done", "skipped", "done"]),
        ("fine", ["done", "skipped", "done", "done"]),
        ("odd", ["done", "skipped", "skipped", "skipped"]),
    ],
)
async def test_branches_join(first: str, expected: List[str]) -> None:
    """A step behind branches runs if one of them did; it is skipped if none did."""
    workflow = Workflow.from_yaml(
        "steps:\n- {id: look, agent: a, task: look}\n"
        "- {id: fix, agent: b, task: 'x', when: 'steps.look == \"bug\"'}\n"
        "- {id: praise, agent: c, task: 'x', when: 'steps.look == \"fine\"'}\n"
        "- {id: end, agent: d, task: '{{ steps.fix }}{{ steps.praise }}.'}"
    )

    result = await orchestrator_of(Ledger(lambda request: first)).execute_workflow(workflow)

    assert (states(result), result.success) == (expected, True)


async def test_retries_count_attempts() -> None:
    """A step's ``retries`` is its number of attempts, whatever the orchestrator's is."""
    provider = Ledger()
    workflow = Workflow.from_yaml(
        "steps:\n- {id: once, agent: a, task: BUSY 1, retries: 1}\n"
        "- {id: twice, agent: a, task: BUSY 2, retries: 2}"
    )

    result = await orchestrator_of(provider).execute_workflow(workflow)

    assert states(result) == ["failed", "done"]
    assert provider.prompts.count("BUSY 1") == 1 and provider.prompts.count("BUSY 2") == 2


async def test_step_timeout() -> None:
    """A step that takes longer than its ``timeout_s`` fails; the others are finished."""
    workflow = Workflow.from_yaml(
        "steps:\n- {id: x, agent: a, task: HANG, timeout_s: 0.05}\n- {id: y, agent: b, task: fine}"
    )

    result = await orchestrator_of(Ledger()).execute_workflow(workflow)

    assert states(result) == ["failed", "done"] and "0.05 s" in result["x"].reason


async def test_resume_calls_what_is_missing(tmp_path: Path) -> None:
    """After a failure the same call takes finished steps from the cache."""
    provider = Ledger()
    workflow = Workflow.from_yaml(
        "steps:\n- {id: x, agent: a, task: fine}\n"
        "- {id: y, agent: b, task: 'BUSY {{ steps.x }}', retries: 1}\n"
        "- {id: z, agent: c, task: 'end {{ steps.y }}'}"
    )
    with ResponseCache(tmp_path / "cache", roots=[tmp_path]) as cache:
        orchestrator = orchestrator_of(provider, cache)
        first = await orchestrator.execute_workflow(workflow)
        second = await orchestrator.execute_workflow(workflow)
        third = await orchestrator.execute_workflow(workflow)

    assert states(first) == ["done", "failed", "skipped"]
    assert states(second) == ["cached", "done", "done"]
    assert states(third) == ["cached"] * 3 and third.cached
    assert len(provider.prompts) == 4
    assert third.spent_usd == 0 and third.saved_usd == third.cost_usd


async def test_cancellation_keeps_finished_steps() -> None:
    """A cancelled workflow has its finished steps and leaves no task behind."""
    provider = Ledger()
    orchestrator = orchestrator_of(provider)
    workflow = Workflow.from_yaml(
        "steps:\n- {id: x, agent: a, task: fine}\n- {id: y, agent: b, task: 'HANG {{ steps.x }}'}\n"
        "- {id: z, agent: c, task: '{{ steps.y }}'}"
    )
    execution = Execution(Plan(orchestrator, workflow))
    running = asyncio.ensure_future(execution.run())
    await provider.hanging.wait()

    await _cancel(running)

    assert states(execution.result) == ["done", "cancelled", "skipped"]
    assert execution.result["x"].output == "<a>" and not execution.result.success
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_cancelled_items_keep_finished_ones() -> None:
    """Of a cancelled ``for_each`` the finished items are kept, the others say what they are."""
    provider = Ledger()
    workflow = Workflow.from_yaml("steps: [{id: x, agent: a, for_each: xs, task: 'do {{ item }}'}]")
    plan = Plan(
        orchestrator_of(provider, max_concurrent=1), workflow, None, {"xs": ["p", "HANG", "q"]}
    )
    execution = Execution(plan)
    running = asyncio.ensure_future(execution.run())
    await provider.hanging.wait()

    await _cancel(running)

    assert [run.state for run in execution.result["x"].runs] == ["done", "cancelled", "cancelled"]
    assert [run.state for run in plan.all_runs] == ["done", "cancelled", "cancelled"]


async def test_answer_during_the_stop() -> None:
    """A step that ends in the moment of the stop is kept, and starts nothing any more."""
    provider = Ledger()
    plan = Plan(orchestrator_of(provider), Workflow.chain("a", "b"), "go")
    execution = Execution(plan)
    running = asyncio.ensure_future(execution.run())
    plan.runs["a"][0].listen(lambda run: running.cancel() if run.ended else None)

    await asyncio.wait({running}, timeout=10)

    assert running.cancelled() and len(provider.prompts) == 1
    assert states(execution.result) == ["done", "cancelled"]
    assert execution.result["b"].reason == "The workflow was stopped before it began."


async def _cancel(running: asyncio.Future[Any]) -> None:
    """Cancel and wait; a cancellation that is lost fails the test instead of hanging it."""
    running.cancel()
    await asyncio.wait({running}, timeout=10)
    assert running.cancelled()


async def test_exit_in_a_step_is_a_failure() -> None:
    """An exit raised while a step runs becomes its failure and does not end the loop."""

    def leave(request: Any) -> str:
        raise SystemExit("bye")

    result = await orchestrator_of(Ledger(leave)).execute_workflow("a -> b", "go")

    assert states(result) == ["failed", "skipped"]


async def test_answer_that_looks_like_a_key() -> None:
    """An answer that looks like a key is not passed on; its step says which one it is."""
    provider = Ledger(lambda request: "sk-ant-api03-" + "x1Y2" * 20)

    result = await orchestrator_of(provider).execute_workflow("a -> b", "go")

    assert states(result) == ["done", "failed"]
    assert "Step b: steps.a looks like a secret" in result["b"].reason


BAD_PLANS = [
    ("a -> zz", "x", {}, "There is no agent 'zz'"),
    ("nowhere", "x", {}, "no workflow and no agent"),
    ("a -> b", None, {}, "It has no task"),
    ("a -> b", "  ", {}, "is empty"),
    ("a -> b", "x", {"extra": 1}, "No step of the workflow uses extra"),
    ("steps: [{agent: a, task: '{{ n }}'}]", None, {}, "no variable named n"),
    ("steps: [{agent: a, task: '{{ n }}'}]", None, {"n": None}, "None"),
    ("steps: [{agent: a, task: '{{ k }}'}]", None, {"k": "sk-ant-api03-" + "x1Y2" * 20}, "secret"),
    ("steps: [{agent: a, task: x, when: ready}]", None, {}, "there is no variable ready"),
    ("steps: [{agent: a, task: x, when: 'm'}]", None, {"m": [1]}, "m is a list"),
    ("steps: [{agent: a, task: '{{ item }}', for_each: s}]", None, {}, "there is no variable s"),
    ("steps: [{agent: a, task: '{{ item }}', for_each: s}]", None, {"s": "abc"}, "is a str, not"),
    ("steps: [{agent: a, task: '{{ item }}', for_each: s}]", None, {"s": {"a": 1}}, "is a dict"),
    ("steps: [{agent: a, task: '{{ item }}', for_each: s}]", None, {"s": range(1001)}, "1,001"),
    ("steps: [{agent: a, task: '{{ item }}', for_each: s}]", None, {"s": ["x", None]}, "item"),
    ("steps: [{agent: zz, task: '{{ item }}', for_each: s}]", None, {"s": []}, "no agent 'zz'"),
]


@pytest.mark.parametrize(("text", "task", "variables", "said"), BAD_PLANS)
async def test_nothing_is_sent_before_all_is_valid(
    text: str, task: Any, variables: Dict[str, Any], said: str
) -> None:
    """Whatever is wrong in any step is found before the first call, with what to do."""
    provider = Ledger()
    workflow: Any = Workflow.from_yaml(text) if "steps" in text else text

    with pytest.raises(InputError) as caught:
        await orchestrator_of(provider).execute_workflow(workflow, task, **variables)

    assert said in str(caught.value)
    assert provider.prompts == []


async def test_every_fault_has_a_line() -> None:
    """Several faults are told together, each with its step."""
    workflow = Workflow.from_yaml(
        "steps:\n- {id: x, agent: aa, task: hi}\n- {id: y, agent: a, task: '{{ nope }}'}"
    )

    with pytest.raises(WorkflowError) as caught:
        await orchestrator_of(Ledger()).execute_workflow(workflow)

    assert "2 steps are wrong" in str(caught.value)
    assert "Step x: There is no agent 'aa'" in str(caught.value) and "Step y: " in str(caught.value)


async def test_one_fault_keeps_its_kind() -> None:
    """A single fault is raised as what it is."""
    with pytest.raises(AgentNotFound, match="Did you mean"):
        await orchestrator_of(Ledger()).execute_workflow("a -> bb", "x")


async def test_overrides_hold_for_every_step() -> None:
    """What the caller decides wins over what steps say."""
    seen: List[Tuple[str, int]] = []

    def answer(request: Any) -> str:
        seen.append((request.model, request.max_tokens))
        return "x"

    workflow = Workflow.from_yaml("steps: [{id: x, agent: a, task: q, model: opus, max_tokens: 9}]")
    orchestrator = orchestrator_of(Ledger(answer))

    await orchestrator.execute_workflow(workflow)
    await orchestrator.execute_workflow(workflow, model="claude-haiku-5-5", max_tokens=7)

    assert seen[0][1] == 9 and "opus" in seen[0][0]
    assert seen[1] == ("claude-haiku-5-5", 7)


async def test_result_is_a_mapping_with_sums() -> None:
    """The result maps step ids to outcomes and adds up tokens and dollars."""
    result = await orchestrator_of(Ledger()).execute_workflow("a -> b, c", "go")

    assert isinstance(result["a"], StepResult) and list(result) == ["a", "b", "c"]
    assert result.usage.input_tokens == 30
    assert result.cost_usd == pytest.approx(sum(step.cost_usd or 0 for step in result.values()))
    assert result.output == "## b\n\n<b>\n\n## c\n\n<c>"
    assert list(result.to_frame()["step"]) == ["a", "b", "c"]
    assert result.to_dict()["steps"]["a"]["runs"][0]["output"] == "<a>"
    assert repr(result) == "<WorkflowResult a -> b, c: 3 done>"


async def test_runs_are_known_in_advance() -> None:
    """A plan has its runs before anything starts, and their clocks start when they do."""
    workflow = Workflow.from_arrows("a -> b")
    plan = Plan(orchestrator_of(Ledger()), workflow, "go")

    before = [(run.metadata["step"], run.state) for run in plan.all_runs]
    result = await Execution(plan).run()

    assert before == [("a", "queued"), ("b", "queued")]
    assert [run.state for run in plan.all_runs] == ["done", "done"]
    assert all(step.elapsed_s <= result.elapsed_s for step in result.values())


async def test_skipped_chain_is_long() -> None:
    """A thousand steps behind a failure are skipped without running out of stack."""
    steps = [Step("s0", "a", task="FAIL")]
    steps += [Step(f"s{n}", "a", task="x", needs=(f"s{n - 1}",)) for n in range(1, 1000)]

    result = await orchestrator_of(Ledger()).execute_workflow(Workflow(tuple(steps)))

    assert states(result).count("skipped") == 999


async def test_loop_stays_free() -> None:
    """Other tasks of the loop go on while a workflow runs."""
    ticks = itertools.count()
    seen: List[int] = []

    async def tick() -> None:
        while True:
            seen.append(next(ticks))
            await asyncio.sleep(0)

    ticker = asyncio.ensure_future(tick())
    await orchestrator_of(Ledger()).execute_workflow("a -> b -> c", "go")
    ticker.cancel()

    assert len(seen) > 6


def _tiny_png() -> bytes:
    import io

    from PIL import Image

    buffer = io.BytesIO()
    Image.new("RGB", (2, 2)).save(buffer, "PNG")
    return buffer.getvalue()
