"""Write claude_force_nb/prices.json from the ``genai-prices`` package (Python 3.11 or newer).

Usage: make_prices.py           write the table
       make_prices.py --check   write nothing; exit 1 if the table and that package differ

This package runs on Pythons that ``genai-prices`` does not, so it brings the table along.
"""

from __future__ import annotations

import json
import re
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Dict, Iterator, List, Set

TABLE = Path(__file__).resolve().parent.parent / "claude_force_nb" / "prices.json"

RATES = {
    "input": "input_mtok",
    "output": "output_mtok",
    "cache_write_5m": "cache_write_mtok",
    "cache_write_1h": "cache_write_1h_mtok",
    "cache_read": "cache_read_mtok",
}


def build(now: datetime) -> Dict[str, Any]:
    """The table, with the prices in force at *now*.

    Models without all five rates are left out: they are retired, and a part of a price is no price.
    """
    import genai_prices
    from genai_prices import data_snapshot

    providers = data_snapshot.get_snapshot().providers
    vendor = next(provider for provider in providers if provider.id == "anthropic")
    models = {m.id: _entry(m, vendor, now) for m in sorted(vendor.models, key=lambda m: m.id)}
    return {
        "source": f"genai-prices {genai_prices.__version__}",
        "date": now.date().isoformat(),
        "unit": "USD per million tokens",
        "models": {name: entry for name, entry in models.items() if entry["tiers"]},
    }


def _entry(model: Any, vendor: Any, now: datetime) -> Dict[str, Any]:
    standard = _tiers(model.get_prices(now))
    fast = _tiers(model.get_prices(now, {"speed": "fast"}))
    entry = {"names": sorted(_names(model, vendor)), "tiers": standard}
    return entry if fast == standard else {**entry, "fast": fast}


def _tiers(prices: Any) -> List[Dict[str, float]]:
    values = {rate: getattr(prices, field, None) for rate, field in RATES.items()}
    if None in values.values():
        return []
    starts = {0} | {tier.start for value in values.values() for tier in getattr(value, "tiers", [])}
    return [
        {
            "above_prompt_tokens": start,
            **{rate: _at(value, start) for rate, value in values.items()},
        }
        for start in sorted(starts)
    ]


def _at(value: Any, start: int) -> float:
    """The rate of prompts with more than *start* tokens; it holds for all of their tokens."""
    steps = getattr(value, "tiers", [])
    reached = [step.price for step in steps if step.start <= start]
    return float(reached[-1] if reached else getattr(value, "base", value))


def _names(model: Any, vendor: Any) -> Set[str]:
    """Names without date that mean this model, each checked against the source's own matching."""
    found = {re.sub("-latest$", "", name) for name in (model.id, *_words(model.match))}
    undated = {re.sub(r"-20\d{6}$", "", name).rstrip("@-") for name in found}
    return {
        name
        for name in undated
        if vendor.find_model(name) is model and not re.search(r"-20\d*$", name)
    }


def _words(clause: Any) -> Iterator[str]:
    for part in getattr(clause, "or_", [clause]):
        for kind in ("equals", "starts_with"):
            if hasattr(part, kind):
                yield getattr(part, kind)


def _differences(mine: Dict[str, Any], theirs: Dict[str, Any]) -> List[str]:
    names = sorted(set(mine["models"]) | set(theirs["models"]))
    return [name for name in names if mine["models"].get(name) != theirs["models"].get(name)]


def main() -> int:
    """Write the table or compare it."""
    table = build(datetime.now(timezone.utc))
    if "--check" in sys.argv[1:]:
        changed = _differences(json.loads(TABLE.read_text(encoding="utf-8")), table)
        print(f"{table['source']}: " + (", ".join(changed) + " differ" if changed else "no change"))
        return 1 if changed else 0
    TABLE.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    print(f"{TABLE}: {len(table['models'])} models from {table['source']}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
