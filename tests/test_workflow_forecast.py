"""Dry runs: what would be called, and what it would cost."""

from __future__ import annotations

from pathlib import Path

import pytest
from workflow_kit import Ledger, orchestrator_of

from claude_force_nb import ResponseCache, Workflow
from claude_force_nb.pricing import worst_case_usd
from claude_force_nb.workflow import Plan, forecast
from claude_force_nb.workflow.forecast import prompt_tokens

pytestmark = pytest.mark.essential

CHAIN = Workflow.from_arrows("a -> b -> c")


async def test_nothing_is_called() -> None:
    """A forecast sends nothing and counts no lookup."""
    provider = Ledger()

    found = forecast(Plan(orchestrator_of(provider), CHAIN, "go"))

    assert provider.prompts == []
    assert [one.outlook for one in found.steps.values()] == ["call", "open", "open"]
    assert (found.calls, found.cached_steps) == (3, 0)


async def test_cached_answers_are_known(tmp_path: Path) -> None:
    """Behind cached steps prompts are known to the letter, and nothing of them costs anything."""
    provider = Ledger()
    with ResponseCache(tmp_path / "cache", roots=[tmp_path]) as cache:
        orchestrator = orchestrator_of(provider, cache)
        await orchestrator.execute_workflow("a -> b", "go")
        before = cache.get_stats()["hits"]

        found = forecast(Plan(orchestrator, CHAIN, "go"))
        hits = cache.get_stats()["hits"] - before

    assert [one.outlook for one in found.steps.values()] == ["cached", "cached", "call"]
    assert "## b\n\n<b>" in found.steps["c"].prompts[0]
    assert (found.calls, found.cached_steps, hits) == (1, 2, 0)


async def test_highest_cost_is_the_sum() -> None:
    """The highest cost is that of every request with estimated prompts and full answers."""
    plan = Plan(orchestrator_of(Ledger()), Workflow.from_arrows("a, b"), "go " * 100)

    found = forecast(plan)

    (request, task), (_, _) = plan.trial(plan.workflow["a"])[0], plan.trial(plan.workflow["b"])[0]
    each = worst_case_usd(request.model, prompt_tokens(request, task), 1000, writes_cache=False)
    assert each is not None and found.cost_usd == pytest.approx(2 * each)


async def test_missing_answers_count_in_full() -> None:
    """A prompt with an answer that is not there yet counts the most tokens it may have."""
    found = forecast(Plan(orchestrator_of(Ledger()), Workflow.from_arrows("a -> b"), "go"))

    assert found.steps["b"].prompt_tokens > 1000 > found.steps["a"].prompt_tokens


async def test_unknown_price_is_unknown() -> None:
    """A model without a price makes the whole cost unknown, not zero."""
    workflow = Workflow.from_yaml(
        "steps: [{agent: a, task: x, model: my-own-model-7}, {agent: b, task: y}]"
    )

    assert forecast(Plan(orchestrator_of(Ledger()), workflow)).cost_usd is None


@pytest.mark.parametrize(
    ("when", "outlook"),
    [("'a' in steps.x", "call"), ("'zz' in steps.x", "skip"), ("steps.x < 3", "fail")],
)
async def test_conditions_on_cached_answers(tmp_path: Path, when: str, outlook: str) -> None:
    """A condition on cached answers is decided; steps behind a skipped or failing one follow it."""
    first = "steps:\n- {id: x, agent: a, task: look}\n"
    more = (
        f'- {{id: y, agent: b, task: go, when: "{when}"}}\n- {{id: z, agent: c, needs: y, task: q}}'
    )
    with ResponseCache(tmp_path / "cache", roots=[tmp_path]) as cache:
        orchestrator = orchestrator_of(Ledger(), cache)
        await orchestrator.execute_workflow(Workflow.from_yaml(first))

        found = forecast(Plan(orchestrator, Workflow.from_yaml(first + more)))

    assert found.steps["y"].outlook == outlook
    assert found.steps["z"].outlook == ("open" if outlook == "call" else "skip")


async def test_items_are_counted(tmp_path: Path) -> None:
    """Of a ``for_each`` the cached items are told from those to be called."""
    workflow = Workflow.from_yaml("steps: [{id: x, agent: a, for_each: xs, task: '{{ item }}'}]")
    with ResponseCache(tmp_path / "cache", roots=[tmp_path]) as cache:
        orchestrator = orchestrator_of(Ledger(), cache)
        await orchestrator.execute_workflow(workflow, xs=["p", "q"])

        found = forecast(Plan(orchestrator, workflow, None, {"xs": ["p", "q", "r"]}))

    assert (found.steps["x"].calls, found.steps["x"].cached) == (1, 2)


async def test_refresh_finds_nothing(tmp_path: Path) -> None:
    """In a mode that does not read the cache everything would be called."""
    from claude_force_nb.workflow import Overrides

    with ResponseCache(tmp_path / "cache", roots=[tmp_path]) as cache:
        orchestrator = orchestrator_of(Ledger(), cache)
        await orchestrator.execute_workflow("a", "go")

        found = forecast(
            Plan(orchestrator, Workflow.chain("a"), "go", overrides=Overrides(mode="refresh"))
        )

    assert found.calls == 1
