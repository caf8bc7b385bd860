"""Write claude_force_nb/prices.json from the package genai-prices (Python 3.11 or newer).

Usage: make_prices.py [OUTPUT] [--as-of YYYY-MM-DD]

Run it after `pip install --upgrade genai-prices` and look at the difference before committing it.
"""

from __future__ import annotations

import argparse
import datetime
import json
import re
from importlib.metadata import version
from pathlib import Path
from typing import Any, Dict, List, Optional, Set

from genai_prices import data
from genai_prices.types import ModelInfo, ModelPrice

from claude_force_nb.pricing import base_name

OUTPUT = Path(__file__).parent.parent / "claude_force_nb" / "prices.json"
KINDS = {
    "input": "input_mtok",
    "output": "output_mtok",
    "cache_write_5m": "cache_write_mtok",
    "cache_write_1h": "cache_write_1h_mtok",
    "cache_read": "cache_read_mtok",
}
PLAIN_NAME = re.compile(r"claude-[a-z0-9-]*[a-z0-9]")
PART_OF_A_DATE = re.compile(r"-\d{4}$")


def tiers(price: ModelPrice) -> List[Dict[str, Any]]:
    """One row for each prompt length from which other prices hold."""
    amounts = {kind: getattr(price, name) for kind, name in KINDS.items()}
    starts = {0} | {tier.start for amount in amounts.values() for tier in _tiers(amount)}
    return [
        {
            "above_prompt_tokens": start,
            **{kind: _at(amount, start) for kind, amount in amounts.items()},
        }
        for start in sorted(starts)
    ]


def _tiers(amount: Any) -> List[Any]:
    return list(getattr(amount, "tiers", ()))


def _at(amount: Any, start: int) -> Optional[float]:
    if amount is None:
        return None
    price = getattr(amount, "base", amount)
    for tier in _tiers(amount):
        price = tier.price if tier.start <= start else price
    return float(price)


def standard_price(model: ModelInfo, day: datetime.date) -> ModelPrice:
    """The price of *model* that holds on *day*; the list is in order of time."""
    if isinstance(model.prices, ModelPrice):
        return model.prices
    return [one.prices for one in model.prices if _holds(one.constraint, day)][-1]


def _holds(constraint: Any, day: datetime.date) -> bool:
    if constraint is None:
        return True
    if hasattr(constraint, "start_date"):
        return bool(constraint.start_date <= day)
    raise SystemExit(f"prices that depend on {constraint!r} are not understood: extend this script")


def variants(model: ModelInfo, day: datetime.date) -> Dict[str, List[Dict[str, Any]]]:
    """The prices of *model* by way of processing: ``standard``, ``batch``, ``fast``."""
    found = {"standard": tiers(standard_price(model, day))}
    for variant in model.price_variants or ():
        if len(variant.when) != 1:
            raise SystemExit(f"{model.id}: a price for {variant.when} is not understood")
        if _holds(variant.constraint, day):
            found[next(iter(variant.when.values()))] = tiers(variant.prices)
    return found


def names(model: ModelInfo) -> Set[str]:
    """Names without date that mean *model*, apart from its id."""
    clauses = [model.match, *getattr(model.match, "or_", ())]
    texts = [
        getattr(clause, field)
        for clause in clauses
        for field in ("equals", "starts_with")
        if hasattr(clause, field)
    ]
    plain = {base_name(text.rstrip("@")) for text in texts}
    return {
        name for name in plain if PLAIN_NAME.fullmatch(name) and not PART_OF_A_DATE.search(name)
    }


def table(day: datetime.date) -> Dict[str, Any]:
    """The whole document."""
    anthropic = next(provider for provider in data.providers if provider.id == "anthropic")
    models = {
        base_name(model.id): {
            "names": sorted(names(model) - {base_name(model.id)}),
            **variants(model, day),
        }
        for model in anthropic.models
    }
    return {
        "as_of": day.isoformat(),
        "source": f"genai-prices {version('genai-prices')}",
        "unit": "US dollars per million tokens",
        "models": dict(sorted(models.items())),
    }


def main() -> None:
    """Write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", nargs="?", type=Path, default=OUTPUT)
    parser.add_argument("--as-of", type=datetime.date.fromisoformat, default=datetime.date.today())
    found = parser.parse_args()
    document = table(found.as_of)
    found.output.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    print(f"{found.output}: {len(document['models'])} models as of {document['as_of']}")


if __name__ == "__main__":
    main()
