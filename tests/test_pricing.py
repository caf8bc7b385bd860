"""Promises about money: known prices are right, everything else is unknown and never zero."""

from __future__ import annotations

import json
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Dict, List

import pytest

from claude_force_nb import pricing
from claude_force_nb.errors import InputError
from claude_force_nb.pricing import PriceTable, cost_usd, current_table, worst_case_usd
from claude_force_nb.records import Usage

pytestmark = pytest.mark.essential

MILLION = 1_000_000
SHIPPED = Path(pricing.__file__).with_name("prices.json")
USAGES = [
    Usage(1, 1),
    Usage(812, 204),
    Usage(100_000, 5),
    Usage(100_001, 5),
    Usage(50_000, 777, 30_000, 20_000, 1),
    Usage(3, 9_999, 17, 4_000, 250_000),
]


def priced(tiers: List[Dict[str, Any]]) -> PriceTable:
    """A table with one model ``m``."""
    return PriceTable({"m": {"tiers": tiers}})


@pytest.mark.parametrize(
    ("model", "usage", "dollars"),
    [
        ("claude-fable-5-2", Usage(output_tokens=MILLION), 40),
        ("claude-opus-5-5", Usage(cache_read_tokens=MILLION), 0.20),
        ("claude-sonnet-5-5", Usage(cache_write_5m_tokens=MILLION), 2.5),
        ("claude-sonnet-5-5", Usage(cache_write_1h_tokens=MILLION), 4),
        ("claude-haiku-5-5", Usage(100_000, 1000), 0.0105),
        ("claude-haiku-5-5", Usage(100_001, 1000), 0.0525005),
        ("claude-haiku-5-5", Usage(1, 1000, cache_read_tokens=100_000), 0.0075005),
    ],
)
def test_kinds_and_tiers(model: str, usage: Usage, dollars: float) -> None:
    """Each kind of token has its rate; above a tier's bound all tokens cost the higher one."""
    assert cost_usd(model, usage) == pytest.approx(dollars, abs=1e-12)


@pytest.mark.parametrize(
    "name", ["claude-sonnet-5-5", "claude-sonnet-5-5-20260901", "claude-sonnet-5-5-latest"]
)
def test_snapshots_cost_the_same(name: str) -> None:
    """A dated snapshot of a model costs what the model costs."""
    assert cost_usd(name, Usage(MILLION, 0)) == 2


@pytest.mark.parametrize(
    "name",
    [
        "claude-sonnet-5-6",
        "claude-sonnet-5-55",
        "claude-sonnet-5-5-mini",
        "claude-sonnet-5-5-20260901-v2",
        "claude-opus-6",
        "anthropic/claude-sonnet-5-5",
        "us.anthropic.claude-sonnet-5-5-v1:0",
        "sonnet",
        "",
    ],
)
def test_strangers_have_no_price(name: str) -> None:
    """A newer model or a reseller's copy is unknown, however much it looks like a known one."""
    assert cost_usd(name, Usage(1000, 1000)) is None
    assert worst_case_usd(name, 1000, 1000) is None


@pytest.mark.parametrize(
    ("options", "dollars"),
    [
        ({}, 4),
        ({"temperature": 0.5, "speed": "standard", "inference_geo": "global"}, 4),
        ({"speed": "fast"}, 8),
        ({"speed": "warp"}, None),
        ({"inference_geo": "us"}, None),
        ({"tools": [{"name": "look", "input_schema": {}}]}, 4),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, None),
    ],
)
def test_options_change_the_price(options: Dict[str, Any], dollars: Any) -> None:
    """Options with a price of their own are charged or make the cost unknown."""
    assert cost_usd("claude-opus-5-5", Usage(MILLION, 0), options=options) == dollars
    worst = worst_case_usd("claude-opus-5-5", MILLION, 0, options=options, writes_cache=False)
    assert worst == dollars


@pytest.mark.parametrize("model", ["claude-opus-5-5", "claude-haiku-5-5", "claude-fable-5-1"])
@pytest.mark.parametrize("usage", USAGES)
def test_worst_case_is_a_bound(model: str, usage: Usage) -> None:
    """No way to bill the same numbers of tokens costs more than the worst case."""
    worst = worst_case_usd(model, usage.prompt_tokens, usage.output_tokens)
    cost = cost_usd(model, usage)

    assert worst is not None
    assert cost is not None
    assert cost <= worst


def test_missing_rate_is_unknown() -> None:
    """Tokens without a rate make the cost unknown instead of free."""
    table = priced([{"input": 1, "output": 2}])

    assert cost_usd("m", Usage(MILLION, MILLION), table=table) == 3
    assert cost_usd("m", Usage(1, 1, cache_read_tokens=1), table=table) is None
    assert worst_case_usd("m", 1, 1, table=priced([{"input": 1}])) is None


def test_override_adds_and_replaces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user's file adds models and replaces known ones; the others keep their prices."""
    path = tmp_path / "prices.json"
    mine = {"mine": {"tiers": [{"input": 1}]}, "claude-opus-5-5": {"tiers": [{"input": 3}]}}
    path.write_text(json.dumps({"models": mine, "date": "2030-01-01"}))
    monkeypatch.setenv("CLAUDE_FORCE_NB_PRICES", str(path))

    names = ("mine", "claude-opus-5-5", "claude-sonnet-5-5")

    assert [cost_usd(name, Usage(MILLION, 0)) for name in names] == [1, 3, 2]
    assert cost_usd("claude-opus-5-5", Usage(MILLION, 0), options={"speed": "fast"}) is None
    assert current_table().date == "2030-01-01"


@pytest.mark.parametrize(
    "content",
    [
        None,
        "",
        "[]",
        '{"models": 3}',
        '{"models": {"m": {}}}',
        '{"models": {"m": {"tiers": []}}}',
        '{"models": {"m": {"tiers": [3]}}}',
        '{"models": {"m": []}}',
        '{"models": {"m": {"tiers": [{"input": -1}]}}}',
        '{"models": {"m": {"tiers": [{"input": NaN}]}}}',
        '{"models": {"m": {"tiers": [{"input": "1"}]}}}',
        '{"models": {"m": {"tiers": [{"input": true}]}}}',
    ],
)
def test_bad_override(content: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A price file that cannot be used stops a request, and never an answer that is paid for."""
    path = tmp_path / "prices.json"
    if content is not None:
        path.write_text(content)
    monkeypatch.setenv("CLAUDE_FORCE_NB_PRICES", str(path))

    with pytest.raises(InputError, match="cannot be used") as caught:
        worst_case_usd("claude-opus-5-5", 1, 1)
    assert str(path) in str(caught.value)
    assert caught.value.advice
    assert cost_usd("claude-opus-5-5", Usage(1, 1)) is None


def test_shipped_table_is_dated() -> None:
    """The table says from when and where its prices are."""
    table = PriceTable.read(SHIPPED)

    assert datetime.fromisoformat(table.date) <= datetime.now()
    assert table.source.startswith("genai-prices ")


@pytest.fixture
def source() -> Any:
    """The package that the table was made from, in the same version."""
    if sys.version_info < (3, 11):
        pytest.skip("genai-prices needs Python 3.11")
    package = pytest.importorskip("genai_prices", reason="genai-prices is not installed")
    made_from = json.loads(SHIPPED.read_text())["source"]
    if made_from != f"genai-prices {package.__version__}":
        pytest.skip(f"the table was made from {made_from}, installed is {package.__version__}")
    return package


def test_source_agrees(source: Any) -> None:
    """For every model and mix of tokens the source calculates the same dollars."""
    document = json.loads(SHIPPED.read_text())
    day = datetime.fromisoformat(document["date"]).replace(tzinfo=timezone.utc)

    for name in (name for entry in document["models"].values() for name in entry["names"]):
        for usage in USAGES:
            theirs = source.Usage(
                input_tokens=usage.prompt_tokens,
                output_tokens=usage.output_tokens,
                cache_write_tokens=usage.cache_write_5m_tokens + usage.cache_write_1h_tokens,
                cache_write_5m_tokens=usage.cache_write_5m_tokens,
                cache_write_1h_tokens=usage.cache_write_1h_tokens,
                cache_read_tokens=usage.cache_read_tokens,
            )
            price = source.calc_price(
                theirs, name, provider_id="anthropic", genai_request_timestamp=day
            ).total_price

            assert cost_usd(name, usage) == pytest.approx(float(price), rel=1e-12), (name, usage)
