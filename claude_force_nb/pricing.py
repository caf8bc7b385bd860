"""What an answer costs, or ``None`` where that is not known: never a guess, never zero for unknown.

Prices come from ``prices.json``, which ``tools/make_prices.py`` generates from a maintained source;
``as_of`` says when. The environment variable ``CLAUDE_FORCE_NB_PRICES`` names a file of the same
shape whose models replace the shipped ones, for other contracts, servers and newer models::

    {"as_of": "2027-01-15", "models": {"my-model": {"standard": [
        {"above_prompt_tokens": 0, "input": 1.5, "output": 6.0}]}}}

A model is found by its exact name. ``-latest`` and a date at the end (``-20260901``) do not change
the price; anything else does, so ``claude-sonnet-5-6`` is unknown though ``claude-sonnet-5`` is
not. Ids of other sellers (``us.anthropic.claude-…``, ``anthropic/claude-…``) are unknown too: the
seller sets the price.
"""

from __future__ import annotations

import functools
import json
import os
import re
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Tuple

from .errors import InputError
from .models import OFFLINE_MODEL
from .records import Usage

PRICES_VARIABLE = "CLAUDE_FORCE_NB_PRICES"
MAX_FILE_BYTES = 1024 * 1024
STANDARD, BATCH, FAST = "standard", "batch", "fast"

_SHIPPED = Path(__file__).with_name("prices.json")
_PER = 1_000_000
_DATED = re.compile(r"-(?:20\d{2}[01]\d[0-3]\d|20\d{2}-[01]\d-[0-3]\d|latest)\Z")
_KINDS = ("input", "output", "cache_write_5m", "cache_write_1h", "cache_read")
_USAGE_FIELDS = {kind: f"{kind}_tokens" for kind in _KINDS}
# Tools that the server runs are billed by use or time, which token counts do not show.
_BILLED_TOOLS = ("web_search_", "code_execution_")


@dataclass(frozen=True)
class Rates:
    """Prices that hold above a prompt length, in dollars per million tokens.

    Attributes:
        above_prompt_tokens: They hold for prompts with more tokens than this.
        input: Prompt tokens outside the prompt cache.
        output: Generated tokens.
        cache_write_5m: Prompt tokens written to the five-minute prompt cache.
        cache_write_1h: Prompt tokens written to the one-hour prompt cache.
        cache_read: Prompt tokens read from the prompt cache.

    ``None`` means that the price is not known.
    """

    above_prompt_tokens: int
    input: Optional[float] = None
    output: Optional[float] = None
    cache_write_5m: Optional[float] = None
    cache_write_1h: Optional[float] = None
    cache_read: Optional[float] = None


ModelPrices = Mapping[str, Tuple[Rates, ...]]


@dataclass(frozen=True)
class PriceTable:
    """Prices of many models.

    Attributes:
        as_of: Day on which they were right, as ISO text.
        source: Where they come from.
        models: For each model its rates by way of processing (``standard``, ``batch``,
            ``fast``), lowest tier first.
        names: Other names of these models.
    """

    as_of: str
    source: str
    models: Mapping[str, ModelPrices]
    names: Mapping[str, str] = field(default_factory=dict)

    def rates(self, model: str, prompt_tokens: int, variant: str = STANDARD) -> Optional[Rates]:
        """The rates of *model* for a prompt of this length; ``None`` if they are unknown."""
        for name in (model, base_name(model)):
            prices = self.models.get(self.names.get(name, name))
            if prices is not None:
                tiers = prices.get(variant, ())
                fitting = [rates for rates in tiers if rates.above_prompt_tokens < prompt_tokens]
                return fitting[-1] if fitting else next(iter(tiers), None)
        return None

    def overridden_by(self, other: PriceTable) -> PriceTable:
        """This table with the models of *other* instead of or besides its own."""
        return PriceTable(
            other.as_of,
            f"{other.source} over {self.source}",
            {**self.models, **other.models},
            {**{n: m for n, m in self.names.items() if n not in other.models}, **other.names},
        )


def cost_usd(
    model: str,
    usage: Usage,
    *,
    variant: Optional[str] = STANDARD,
    table: Optional[PriceTable] = None,
) -> Optional[float]:
    """What an answer has cost.

    It never raises: an answer that was paid for must not be lost over its price. A price file
    that cannot be used makes every cost unknown, with a warning.

    Args:
        model: The model that answered. The offline stand-in is free.
        usage: Its tokens.
        variant: How it was processed, as :func:`price_variant` says.
        table: Prices to use instead of the shipped ones and the override file.

    Returns:
        US dollars, or ``None`` if any price that is needed is unknown.
    """
    try:
        rates = _rates(model, usage.prompt_tokens, variant, table)
    except InputError as error:
        warnings.warn(f"Costs are unknown. {error}", stacklevel=2)
        return None
    if rates is None:
        return None
    parts = [
        (getattr(usage, tokens), getattr(rates, kind)) for kind, tokens in _USAGE_FIELDS.items()
    ]
    return _sum([part for part in parts if part[0]])


def worst_case_usd(
    model: str,
    prompt_tokens: int,
    max_tokens: int,
    *,
    variant: Optional[str] = STANDARD,
    prompt_caching: bool = False,
    table: Optional[PriceTable] = None,
) -> Optional[float]:
    """The most that an answer can cost, for reserving a budget before it is asked for.

    Args:
        model: The model to ask.
        prompt_tokens: Upper bound of the prompt's tokens.
        max_tokens: Most tokens that may be generated.
        variant: How it will be processed, as :func:`price_variant` says.
        prompt_caching: Whether parts of the prompt are marked for the prompt cache; writing
            there costs up to twice the price of input.
        table: Prices to use instead of the shipped ones and the override file.

    Returns:
        US dollars, or ``None`` if the price is unknown: then no budget can be kept.

    Raises:
        InputError: The price file that the environment names cannot be used.
    """
    rates = _rates(model, prompt_tokens, variant, table)
    if rates is None:
        return None
    known = [rates.input, *([rates.cache_write_5m, rates.cache_write_1h] if prompt_caching else [])]
    dearest = None if None in known else max(price for price in known if price is not None)
    return _sum([(prompt_tokens, dearest), (max_tokens, rates.output)])


def price_variant(options: Mapping[str, Any]) -> Optional[str]:
    """Which prices hold for a call with *options*.

    Returns:
        ``fast`` for fast mode, else ``standard``; ``None`` if the call has charges that tokens do
        not show (tools that the server runs) or a surcharge (processing in one region).
    """
    if options.get("inference_geo") not in (None, "global"):
        return None
    tools = options.get("tools") or ()
    if any(str(_type_of(tool)).startswith(_BILLED_TOOLS) for tool in tools):
        return None
    return FAST if options.get("speed") == "fast" else STANDARD


def _type_of(tool: Any) -> Any:
    return tool.get("type", "") if isinstance(tool, Mapping) else ""


def base_name(model: str) -> str:
    """*model* without a date or ``-latest`` at its end."""
    return _DATED.sub("", model)


def _rates(
    model: str, prompt_tokens: int, variant: Optional[str], table: Optional[PriceTable]
) -> Optional[Rates]:
    if model == OFFLINE_MODEL:
        return Rates(0, 0.0, 0.0, 0.0, 0.0, 0.0)
    if variant is None:
        return None
    return (table or price_table()).rates(model, prompt_tokens, variant)


def _sum(parts: List[Tuple[int, Optional[float]]]) -> Optional[float]:
    total = 0.0
    for tokens, price in parts:
        if price is None:
            return None
        total += tokens * price
    return total / _PER


def price_table(path: Optional[Path] = None) -> PriceTable:
    """The shipped prices, under those of *path* or of the file that the environment names.

    Raises:
        InputError: That file cannot be used; the message names it.
    """
    named = path or os.environ.get(PRICES_VARIABLE)
    shipped = _read(_SHIPPED, 0)
    if not named:
        return shipped
    override = Path(named).expanduser()
    try:
        changed_ns = override.stat().st_mtime_ns
    except OSError as error:
        raise _unusable(override, error.strerror or str(error)) from error
    return shipped.overridden_by(_read(override, changed_ns))


@functools.lru_cache(maxsize=8)
def _read(path: Path, changed_ns: int) -> PriceTable:
    """The table in *path*; *changed_ns* makes an edited file a new one for the cache."""
    try:
        # A FIFO or a device would block or never end; both have no size.
        if not path.is_file() or path.stat().st_size > MAX_FILE_BYTES:
            raise _unusable(path, "it is no file, or larger than 1 MB")
        document = json.loads(path.read_text(encoding="utf-8-sig"))
        return _table(document, path)
    except (OSError, ValueError, RecursionError) as error:
        raise error if isinstance(error, InputError) else _unusable(path, str(error)) from error


def _table(document: Any, path: Path) -> PriceTable:
    models = document.get("models") if isinstance(document, dict) else None
    if not isinstance(models, dict):
        raise _unusable(path, 'it has no object "models"')
    prices: Dict[str, ModelPrices] = {}
    names: Dict[str, str] = {}
    for model, entry in models.items():
        if not isinstance(entry, dict) or STANDARD not in entry:
            raise _unusable(path, f"{model} has no standard prices")
        names.update(dict.fromkeys(_other_names(entry, model, path), model))
        variants = {way: rows for way, rows in entry.items() if way != "names"}
        prices[model] = {way: _tiers(rows, model, path) for way, rows in variants.items()}
    source = str(document.get("source") or path)
    return PriceTable(str(document.get("as_of", "")), source, prices, names)


def _other_names(entry: Mapping[str, Any], model: str, path: Path) -> List[str]:
    names = entry.get("names", [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise _unusable(path, f"the names of {model} must be a list of texts")
    return names


def _tiers(rows: Any, model: str, path: Path) -> Tuple[Rates, ...]:
    if not isinstance(rows, list) or not rows or not all(map(_is_row, rows)):
        raise _unusable(path, f"the prices of {model} must be rows of numbers from 0")
    return tuple(
        sorted((Rates(**row) for row in rows), key=lambda rates: rates.above_prompt_tokens)
    )


def _is_row(row: Any) -> bool:
    return (
        isinstance(row, dict)
        and type(row.get("above_prompt_tokens")) is int
        and set(row) <= {"above_prompt_tokens", *_KINDS}
        and all(value is None or _is_amount(value) for value in row.values())
    )


def _is_amount(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value < float("inf")


def _unusable(path: Path, why: str) -> InputError:
    return InputError(
        f"The price file {path} cannot be used: {why}.",
        advice=f"Correct it, or unset {PRICES_VARIABLE}.",
    )
