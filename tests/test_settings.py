"""Promises about settings and the names of models."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, Optional

import pytest

from claude_force_nb.errors import InputError
from claude_force_nb.models import ALIASES, DEFAULT_MODEL, known_models, resolve_model
from claude_force_nb.settings import Settings, endpoint_of

pytestmark = pytest.mark.essential

VARIABLES = {
    "CLAUDE_FORCE_NB_PROVIDER": "offline",
    "CLAUDE_FORCE_NB_MODE": "replay",
    "CLAUDE_FORCE_NB_MODEL": "opus",
    "CLAUDE_FORCE_NB_CACHE_DIR": "~/answers",
    "ANTHROPIC_BASE_URL": "http://127.0.0.1:8000",
}


def test_empty_environment_gives_defaults() -> None:
    """Without variables and arguments, settings are the defaults."""
    assert Settings.from_environment({}) == Settings()


def test_variables_are_read() -> None:
    """Each documented variable sets its field."""
    found = Settings.from_environment(VARIABLES)

    assert found == Settings(
        provider="offline",
        mode="replay",
        model="opus",
        cache_dir=Path.home() / "answers",
        base_url="http://127.0.0.1:8000",
    )


def test_arguments_win() -> None:
    """An argument wins over its variable; ``None`` means that there is none."""
    found = Settings.from_environment(VARIABLES, provider="anthropic", mode=None)

    assert (found.provider, found.mode) == ("anthropic", "replay")


@pytest.mark.parametrize("value", ["", "  ", "\n"])
def test_blank_variables_are_unset(value: str) -> None:
    """A variable that is set to nothing counts as not set."""
    assert Settings.from_environment(dict.fromkeys(VARIABLES, value)) == Settings()


def test_spaces_around_values_are_dropped() -> None:
    """A space that a shell script left behind does not change a value."""
    assert (
        Settings.from_environment({"CLAUDE_FORCE_NB_PROVIDER": " offline\n"}).provider == "offline"
    )


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"provider": "openai"}, "Unknown provider 'openai'. Choose from anthropic, offline."),
        ({"mode": "sometimes"}, "Unknown cache mode 'sometimes'."),
        ({"max_tokens": 0}, "max_tokens must be a whole number above 0, not 0"),
        ({"max_tokens": 2.5}, "max_tokens must be a whole number"),
        ({"max_concurrent": -1}, "max_concurrent must be a whole number"),
        ({"max_concurrent": True}, "max_concurrent must be a whole number"),
        ({"max_attempts": "3"}, "max_attempts must be a whole number"),
        ({"max_task_chars": 0}, "max_task_chars must be a whole number"),
        ({"timeout_s": 0}, "timeout_s must be a positive number"),
        ({"timeout_s": float("nan")}, "timeout_s must be a positive number"),
        ({"stall_timeout_s": -0.5}, "stall_timeout_s must be a positive number"),
        ({"base_url": "api.example.com"}, "not the address of a server"),
        ({"base_url": "file:///etc/passwd"}, "not the address of a server"),
        ({"base_url": "http://"}, "not the address of a server"),
        ({"base_url": "http://[::1"}, "not the address of a server"),
        ({"base_url": "http://host:port"}, "not the address of a server"),
    ],
)
def test_nonsense_is_refused(fields: Dict[str, Any], problem: str) -> None:
    """A value that makes no sense is an error that names its setting."""
    with pytest.raises(InputError) as caught:
        Settings(**fields)

    assert problem in str(caught.value)


def test_passwords_do_not_show() -> None:
    """A password in the server's address is in no repr, endpoint or message."""
    url = "https://user:hunter2@proxy.example/v1"
    settings = Settings(base_url=url)
    with pytest.raises(InputError) as caught:
        Settings(base_url=url.replace("https", "ftp"))

    assert settings.endpoint == "https://proxy.example/v1"
    assert "hunter2" not in repr(settings) + settings.endpoint + str(caught.value)


@pytest.mark.parametrize(
    ("url", "endpoint"),
    [
        ("https://api.anthropic.com", ""),
        ("https://api.anthropic.com/", ""),
        ("https://host.example/path/", "https://host.example/path"),
        ("https://host.example/path?key=1#top", "https://host.example/path"),
        ("http://user:p@ss@127.0.0.1:8000", "http://127.0.0.1:8000"),
    ],
)
def test_endpoints_are_plain(url: str, endpoint: str) -> None:
    """An endpoint has no credentials, query or trailing slash; the usual server's is empty."""
    assert endpoint_of(url) == endpoint


@pytest.mark.parametrize("base_url", [None, "http://127.0.0.1:8000"])
def test_offline_has_no_endpoint(base_url: Optional[str]) -> None:
    """The stand-in asks no server, whatever address is set."""
    assert Settings(provider="offline", base_url=base_url).endpoint == ""


def test_changes_are_checked() -> None:
    """A changed copy obeys the same rules, and the original stays as it is."""
    settings = Settings()
    with pytest.raises(InputError):
        settings.replaced(mode="sometimes")

    assert settings.replaced(mode="off").mode == "off"
    assert settings.mode == "auto"


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("opus", ALIASES["opus"]),
        (" Haiku ", ALIASES["haiku"]),
        (None, ALIASES[DEFAULT_MODEL]),
        ("", ALIASES[DEFAULT_MODEL]),
        ("inherit", ALIASES[DEFAULT_MODEL]),
        ("claude-of-tomorrow-9", "claude-of-tomorrow-9"),
    ],
)
def test_model_names_are_resolved(name: Optional[str], model: str) -> None:
    """Short names stand for ids, nothing for the default, and unknown ids for themselves."""
    assert resolve_model(name) == model


def test_suggested_models_resolve() -> None:
    """Every name that completion offers leads to a full id."""
    assert {resolve_model(name) for name in known_models()} == set(ALIASES.values())
