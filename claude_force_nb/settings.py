"""Settings: what the environment and the caller decided, as one frozen value.

Order of precedence: an argument, then an environment variable, then the default here.

| variable | meaning |
|---|---|
| ``CLAUDE_FORCE_NB_PROVIDER`` | ``anthropic`` (default) or ``offline`` |
| ``CLAUDE_FORCE_NB_MODE`` | cache mode: ``auto``, ``refresh``, ``off``, ``replay``, ``strict`` |
| ``CLAUDE_FORCE_NB_MODEL`` | model of agents that name none |
| ``CLAUDE_FORCE_NB_CACHE_DIR`` | where the cache lives |
| ``ANTHROPIC_BASE_URL`` | another server that speaks the Messages API |
| ``ANTHROPIC_API_KEY`` | the key (see :mod:`claude_force_nb.credentials`) |
"""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Dict, Mapping, Optional, Tuple
from urllib.parse import urlsplit, urlunsplit

from .errors import InputError

PROVIDERS = ("anthropic", "offline")
MODES = ("auto", "refresh", "off", "replay", "strict")
DEFAULT_BASE_URL = "https://api.anthropic.com"


@dataclass(frozen=True)
class Settings:
    """How an orchestrator behaves.

    Attributes:
        provider: Name of the provider that answers.
        base_url: Server to ask; ``None`` for the provider's own.
        mode: Cache mode.
        model: Model of agents that name none; ``None`` for the package's default.
        max_tokens: Longest answer of agents that set none.
        max_concurrent: Most calls in flight at once.
        max_attempts: Attempts for each call, the first one included.
        timeout_s: Seconds a whole run may take, all attempts and waits together.
        stall_timeout_s: Seconds an attempt may go without content.
        max_task_chars: Longest task; a longer one is refused before anything is sent.
        cache_dir: Where the cache lives; ``None`` for the default place.
    """

    provider: str = "anthropic"
    # It may carry a password: `endpoint` is the form to show.
    base_url: Optional[str] = field(default=None, repr=False)
    mode: str = "auto"
    model: Optional[str] = None
    max_tokens: int = 4096
    max_concurrent: int = 10
    max_attempts: int = 3
    timeout_s: float = 600.0
    stall_timeout_s: float = 30.0
    max_task_chars: int = 2_000_000
    cache_dir: Optional[Path] = None

    def __post_init__(self) -> None:
        one_of("provider", self.provider, PROVIDERS)
        one_of("cache mode", self.mode, MODES)
        for name in ("max_tokens", "max_concurrent", "max_attempts", "max_task_chars"):
            whole(name, getattr(self, name))
        for name in ("timeout_s", "stall_timeout_s"):
            positive(name, getattr(self, name))
        if self.base_url:
            _check_url(self.base_url)

    @classmethod
    def from_environment(
        cls, environ: Optional[Mapping[str, str]] = None, **given: Any
    ) -> Settings:
        """Read the environment; arguments that are not ``None`` win over it.

        Raises:
            InputError: A variable or argument has a value that makes no sense.
        """
        environ = os.environ if environ is None else environ
        found: Dict[str, Any] = {
            "provider": environ.get("CLAUDE_FORCE_NB_PROVIDER"),
            "base_url": environ.get("ANTHROPIC_BASE_URL"),
            "mode": environ.get("CLAUDE_FORCE_NB_MODE"),
            "model": environ.get("CLAUDE_FORCE_NB_MODEL"),
            "cache_dir": environ.get("CLAUDE_FORCE_NB_CACHE_DIR"),
        }
        found = {name: value.strip() for name, value in found.items() if value}
        given = {name: value for name, value in given.items() if value is not None}
        _check_variables(found, given)
        found.update(given)
        chosen = {name: value for name, value in found.items() if value != ""}
        if "cache_dir" in chosen:
            chosen["cache_dir"] = Path(chosen["cache_dir"]).expanduser()
        return cls(**chosen)

    def replaced(self, **changes: Any) -> Settings:
        """A copy with *changes*."""
        return dataclasses.replace(self, **changes)

    @property
    def endpoint(self) -> str:
        """The server as it belongs into a request: no credentials, empty for the default one."""
        if self.provider == "offline" or not self.base_url:
            return ""
        return endpoint_of(self.base_url)


def _check_variables(found: Mapping[str, str], given: Mapping[str, Any]) -> None:
    """Check what comes from the environment, so that a message can name the variable."""
    checks: Dict[str, Tuple[str, Callable[[str], None]]] = {
        "provider": ("CLAUDE_FORCE_NB_PROVIDER", lambda v: one_of("provider", v, PROVIDERS)),
        "mode": ("CLAUDE_FORCE_NB_MODE", lambda v: one_of("cache mode", v, MODES)),
        "base_url": ("ANTHROPIC_BASE_URL", _check_url),
    }
    for name, (variable, check) in checks.items():
        if name in given or not found.get(name):
            continue
        try:
            check(found[name])
        except InputError as error:
            advice = f"{error.advice} It comes from the environment variable {variable}.".strip()
            raise InputError(error.what, advice=advice) from error


def endpoint_of(base_url: str) -> str:
    """*base_url* without credentials, query and trailing slash; empty for the default server."""
    parts = urlsplit(base_url)
    host = parts.netloc.rpartition("@")[2]
    plain = urlunsplit((parts.scheme, host, parts.path.rstrip("/"), "", ""))
    return "" if plain == DEFAULT_BASE_URL else plain


def _check_url(base_url: str) -> None:
    try:
        parts = urlsplit(base_url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname)
        usable = usable and (parts.port is None or parts.port > 0)
    except ValueError:  # a port that is no number, a bracket left open
        usable = False
    if not usable:  # the message leaves the address out: it may carry a password
        raise InputError(
            "The base URL is not the address of a server.",
            advice="Write it like https://host.example:8080/path.",
        )


def one_of(what: str, value: str, allowed: Any) -> None:
    """Check that *value* is one of the *allowed* words.

    Raises:
        InputError: It is not.
    """
    if value not in allowed:
        raise InputError(f"Unknown {what} {value!r}.", advice=f"Choose from {', '.join(allowed)}.")


def whole(name: str, value: Any) -> None:
    """Check that *value* is a whole number above 0.

    Raises:
        InputError: It is not.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InputError(f"{name} must be a whole number above 0, not {value!r}.")


def positive(name: str, value: Any) -> None:
    """Check that *value* is a positive number.

    Raises:
        InputError: It is not.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0:
        raise InputError(f"{name} must be a positive number, not {value!r}.")
