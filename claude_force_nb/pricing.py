"""What an answer costs, from a dated table; unknown is ``None`` and never zero.

``prices.json`` holds dollars per million tokens, made by ``tools/make_prices.py`` from a maintained
source. ``CLAUDE_FORCE_NB_PRICES`` names a file of the same form that adds models or replaces them::

    {"models": {"my-model": {"tiers": [{"above_prompt_tokens": 0, "input": 1.0, "output": 4.0}]}}}

A tier holds for *all* tokens of a request whose prompt is longer than ``above_prompt_tokens``, as
the API bills it. Rates may be left out; an answer that used such tokens has no known cost.
"""

from __future__ import annotations

import json
import logging
import math
import os
import re
from functools import lru_cache
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Tuple, Union

from .errors import InputError
from .records import Usage

OVERRIDE_VARIABLE = "CLAUDE_FORCE_NB_PRICES"
STANDARD, FAST = "standard", "fast"

_BUILT_IN = Path(__file__).with_name("prices.json")
_START = "above_prompt_tokens"
_RATES = ("input", "output", "cache_write_5m", "cache_write_1h", "cache_read")
_PROMPT_RATES = tuple(rate for rate in _RATES if rate != "output")
# A snapshot of a model costs what the model costs. Nothing else may follow a known name: the next
# version (`claude-opus-5-6`) and a reseller's copy (`us.anthropic.…`) have prices of their own.
_SNAPSHOT = re.compile(r"-(latest|20\d{6})$")
# Tools of the API that cost a fee besides tokens; usage does not count their calls.
_FEE_TOOLS = ("web_search_", "code_execution_")
_ADVICE = f"Mend the file, or unset {OVERRIDE_VARIABLE}; tools/make_prices.py shows its form."

_log = logging.getLogger("claude_force_nb.pricing")

Rates = Mapping[str, float]


class PriceTable:
    """Prices of models.

    Args:
        models: For each model id its ``tiers``, and optionally other ``names`` and ``fast`` tiers.
        date: Day on which these were the prices, ISO 8601.
        source: Where they come from.

    Raises:
        ValueError: An entry is malformed.
    """

    def __init__(self, models: Mapping[str, Any], *, date: str = "", source: str = "") -> None:
        self.date = date
        self.source = source
        self._tiers: Dict[Tuple[str, str], List[Rates]] = {}
        for model, entry in models.items():
            self._add(model, entry)

    @classmethod
    def read(cls, path: Union[str, Path]) -> PriceTable:
        """Read a table from a JSON file.

        Raises:
            InputError: The file cannot be read or is malformed.
        """
        try:
            document = json.loads(Path(path).expanduser().read_text(encoding="utf-8-sig"))
            return cls(
                document["models"],
                date=str(document.get("date", "")),
                source=str(document.get("source", path)),
            )
        except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as bad:
            what = f"The price table {path} cannot be used: {bad}."
            raise InputError(what, advice=_ADVICE) from bad

    def extended(self, other: PriceTable) -> PriceTable:
        """These prices, with those of *other* added or in their place."""
        both = PriceTable({}, date=other.date or self.date, source=other.source)
        replaced = {model for model, _ in other._tiers}
        kept = {key: tiers for key, tiers in self._tiers.items() if key[0] not in replaced}
        both._tiers = {**kept, **other._tiers}
        return both

    def rates(self, model: str, prompt_tokens: int, speed: str = STANDARD) -> Optional[Rates]:
        """Dollars per million tokens of each kind; ``None`` if they are not known.

        Args:
            model: A model's id or name, also with the date of a snapshot or ``-latest``.
            prompt_tokens: Length of the whole prompt, which decides about the tier.
            speed: ``standard`` or ``fast``.
        """
        tiers = self._tiers.get((model, speed))
        if tiers is None:
            tiers = self._tiers.get((_SNAPSHOT.sub("", model), speed), [])
        reached = [tier for tier in tiers if prompt_tokens > tier[_START]]
        applying = reached or tiers[:1]
        return applying[-1] if applying else None

    def _add(self, model: str, entry: Any) -> None:
        if not isinstance(entry, Mapping):
            raise ValueError(f"{model} is no object with tiers")
        for name in (model, *entry.get("names", ())):
            self._tiers[name, STANDARD] = _checked(model, entry.get("tiers"))
            if "fast" in entry:
                self._tiers[name, FAST] = _checked(model, entry["fast"])


def _checked(model: str, tiers: Any) -> List[Rates]:
    if not isinstance(tiers, list) or not tiers:
        raise ValueError(f"{model} has no list of tiers")
    return sorted((_checked_tier(model, tier) for tier in tiers), key=lambda tier: tier[_START])


def _checked_tier(model: str, tier: Any) -> Rates:
    if not isinstance(tier, Mapping):
        raise ValueError(f"a tier of {model} is no object")
    for name in (_START, *_RATES):
        if not _is_amount(tier.get(name, 0)):
            raise ValueError(f"{name} of {model} must be a number from 0 up")
    return {_START: 0.0, **tier}


def _is_amount(value: Any) -> bool:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return is_number and math.isfinite(value) and value >= 0


def current_table() -> PriceTable:
    """The built-in table with the user's own prices on top.

    Raises:
        InputError: ``CLAUDE_FORCE_NB_PRICES`` names a file that cannot be used.
    """
    override = os.environ.get(OVERRIDE_VARIABLE)
    if not override:
        return _built_in()
    try:
        changed_ns = os.stat(os.path.expanduser(override)).st_mtime_ns
    except OSError:
        changed_ns = 0
    return _extended(override, changed_ns)


@lru_cache(maxsize=1)
def _built_in() -> PriceTable:
    return PriceTable.read(_BUILT_IN)


@lru_cache(maxsize=4)
def _extended(override: str, changed_ns: int) -> PriceTable:
    # The time of change is a part of the key, so that an edited file is read again.
    return _built_in().extended(PriceTable.read(override))


def cost_usd(
    model: str,
    usage: Usage,
    *,
    options: Optional[Mapping[str, Any]] = None,
    table: Optional[PriceTable] = None,
) -> Optional[float]:
    """What an answer cost; ``None`` if that is not known.

    Never raises: the answer is paid for and must not be lost over its price.

    Args:
        model: The model that answered.
        usage: Its tokens.
        options: Fields of the API call; some change the price, some make it unknown.
        table: Prices to use instead of the current ones.
    """
    try:
        chosen = table or current_table()
    except InputError as error:
        _log.warning("no prices: %s", error)
        return None
    speed = _speed(options or {})
    rates = chosen.rates(model, usage.prompt_tokens, speed) if speed else None
    return None if rates is None else _sum(rates, usage)


def worst_case_usd(
    model: str,
    prompt_tokens: int,
    max_tokens: int,
    *,
    options: Optional[Mapping[str, Any]] = None,
    writes_cache: bool = True,
    table: Optional[PriceTable] = None,
) -> Optional[float]:
    """The most that a request can cost; ``None`` if that is not known.

    Args:
        model: The model to ask.
        prompt_tokens: Length of the prompt, or an upper bound of it.
        max_tokens: Longest answer.
        options: Fields of the API call; some change the price, some make it unknown.
        writes_cache: Whether the prompt may be written to the API's prompt cache, which costs up
            to twice the plain rate. Without any ``cache_control`` in the request it cannot.
        table: Prices to use instead of the current ones.

    Raises:
        InputError: ``CLAUDE_FORCE_NB_PRICES`` names a file that cannot be used.
    """
    speed = _speed(options or {})
    rates = (table or current_table()).rates(model, prompt_tokens, speed) if speed else None
    if rates is None or not {"input", "output"} <= set(rates):
        return None
    kinds = _PROMPT_RATES if writes_cache else ("input",)
    dearest = max(rates.get(kind, 0.0) for kind in kinds)
    return (prompt_tokens * dearest + max_tokens * rates["output"]) / 1e6


def _speed(options: Mapping[str, Any]) -> str:
    """Which list of prices applies; empty if options make the price unknown."""
    if options.get("inference_geo") not in (None, "global") or _has_fees(options.get("tools")):
        return ""
    return str(options.get("speed") or STANDARD)


def _has_fees(tools: Any) -> bool:
    kinds = [str(tool.get("type", "")) for tool in tools or () if isinstance(tool, Mapping)]
    return any(kind.startswith(_FEE_TOOLS) for kind in kinds)


def _sum(rates: Rates, usage: Usage) -> Optional[float]:
    tokens = {
        "input": usage.input_tokens,
        "output": usage.output_tokens,
        "cache_write_5m": usage.cache_write_5m_tokens,
        "cache_write_1h": usage.cache_write_1h_tokens,
        "cache_read": usage.cache_read_tokens,
    }
    used = {kind: count for kind, count in tokens.items() if count}
    if not set(used) <= set(rates):
        return None
    return math.fsum(count * rates[kind] for kind, count in used.items()) / 1e6
