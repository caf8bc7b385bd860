"""Short names of models, in one place.

Models retire; a short name in an agent's file outlives them. The table was last checked on
2026-11-22 against the provider's list of models. An id that is not in it passes through as it is,
so that a newer model works without a new release of this package.
"""

from __future__ import annotations

from typing import Dict, List, Optional

ALIASES: Dict[str, str] = {
    "fable": "claude-fable-5-2",
    "opus": "claude-opus-5-5",
    "sonnet": "claude-sonnet-5-5",
    "haiku": "claude-haiku-5-5",
}

DEFAULT_MODEL = "sonnet"
"""What an agent uses that names no model: the middle of the range in price and ability."""

INHERIT = "inherit"
"""In an agent's file: whatever the notebook uses."""


def resolve_model(name: Optional[str]) -> str:
    """The model id for a short name, an id, or ``None`` for the default."""
    chosen = DEFAULT_MODEL if name in (None, "", INHERIT) else str(name).strip()
    return ALIASES.get(chosen.lower(), chosen)


def known_models() -> List[str]:
    """Short names and the ids behind them, for completion."""
    return [*ALIASES, *ALIASES.values()]
