"""Which model is meant: short names, the default, and the stand-in.

Models retire, so no id is written anywhere else in the package. The short names are those of
Claude Code's agent files. They point to the newest model of each line that was generally available
on ``ALIASES_AS_OF``; an answer's cache key holds the full id, so a later release that moves an
alias asks again instead of passing old answers off as the new model's. An id that is not known here
is used as it is: the server decides.
"""

from __future__ import annotations

from typing import List, Optional

ALIASES_AS_OF = "2026-11-22"
ALIASES = {
    "fable": "claude-fable-5-2",
    "opus": "claude-opus-5-5",
    "sonnet": "claude-sonnet-5-5",
    "haiku": "claude-haiku-5-5",
}
# The line that balances price and ability; the dearer ones are worth a decision.
DEFAULT_ALIAS = "sonnet"
# What agent files write when they want whatever the caller uses.
NO_CHOICE = ("", "inherit", "default")
OFFLINE_MODEL = "offline-stand-in"


def default_model() -> str:
    """The model of agents and settings that name none."""
    return ALIASES[DEFAULT_ALIAS]


def resolve_model(name: Optional[str] = None) -> str:
    """The full id of the model that *name* means.

    Args:
        name: A short name, a full id, or one of ``NO_CHOICE`` or ``None`` for the default.

    Returns:
        A full id; an unknown one is returned as it is.
    """
    name = (name or "").strip()
    if name.lower() in NO_CHOICE:
        return default_model()
    return ALIASES.get(name.lower(), name)


def known_models() -> List[str]:
    """Names to suggest: the short ones, then the ids that they stand for."""
    return [*ALIASES, *ALIASES.values()]
