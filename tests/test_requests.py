"""Promises about the way from an agent and a task to a request."""

from __future__ import annotations

from typing import Any, Dict, Optional

import pytest

from claude_force_nb.agents import AgentDefinition
from claude_force_nb.errors import AgentNotFound, InputError
from claude_force_nb.models import ALIASES, resolve_model
from claude_force_nb.prompt import RenderedPrompt, render
from claude_force_nb.records import AgentRequest
from claude_force_nb.requests import check_task, make_request, prompt_metadata
from claude_force_nb.settings import Settings

pytestmark = pytest.mark.essential

AGENT = AgentDefinition(
    "a", "You help.", model="haiku", max_tokens=50, options={"top_k": 1}, sha256="f" * 64
)
IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "QUJD"}}


def request(
    task: Any = "Say hi",
    agent: AgentDefinition = AGENT,
    settings: Optional[Settings] = None,
    options: Optional[Dict[str, Any]] = None,
    **given: Any,
) -> AgentRequest:
    """Make a request as the orchestrator does."""
    return make_request(
        agent,
        task,
        settings or Settings(),
        **{"provider": "offline", "options": options or {}, **given},
    )


def test_definition_is_the_default() -> None:
    """Without wishes of the caller, the agent's own text, model, length and options count."""
    assert request() == AgentRequest(
        agent_name="a",
        model=ALIASES["haiku"],
        messages=({"role": "user", "content": "Say hi"},),
        max_tokens=50,
        system="You help.",
        options={"top_k": 1},
        provider="offline",
        definition_sha256="f" * 64,
    )


def test_caller_wins() -> None:
    """What the caller wants wins over the agent's file."""
    made = request(model="opus", max_tokens=9, system="Be brief.", options={"top_k": 5}, sample=2)

    assert (made.model, made.max_tokens, made.system) == (ALIASES["opus"], 9, "Be brief.")
    assert (made.options, made.sample) == ({"top_k": 5}, 2)


def test_settings_fill_the_gaps() -> None:
    """Settings count where neither caller nor file decides, the package's default after them."""
    plain = AgentDefinition("a", "You help.")
    made = request(agent=plain, settings=Settings(model="opus", max_tokens=77))

    assert (made.model, made.max_tokens) == (ALIASES["opus"], 77)
    assert request(agent=plain).model == resolve_model(None)


def test_empty_system_can_be_asked_for() -> None:
    """An empty system prompt is a wish, not the absence of one."""
    assert request(system="").system == ""


def test_absent_options_are_not_sent() -> None:
    """An option of ``None`` was not given, so the request is the same as without it."""
    assert request(options={"stop_sequences": None}) == request()


def test_text_is_never_rewritten() -> None:
    """The user's text arrives as it was written, whatever is in it."""
    text = '  <b>{"a": $1} \u202e ```\n\n'

    assert request(text).messages[0]["content"] == text


def test_blocks_arrive_as_such() -> None:
    """Images keep their place between the texts."""
    blocks = ({"type": "text", "text": "Look:"}, IMAGE)

    assert request(RenderedPrompt(blocks)).messages[0]["content"] == list(blocks)


@pytest.mark.parametrize("max_tokens", [0, -1, 2.5, True, "9"])
def test_senseless_lengths_are_refused(max_tokens: Any) -> None:
    """A length that is not a whole number above zero never becomes a request."""
    with pytest.raises(InputError, match="max_tokens must be a whole number above 0"):
        request(max_tokens=max_tokens)


@pytest.mark.parametrize(
    "options",
    [
        {"temperature": float("nan")},
        {"metadata": {1: "a"}},
        {"stop_sequences": ["\ud800"]},
        {"seed": 2**60},
        {"tools": [object()]},
    ],
)
def test_what_has_no_key_is_refused(options: Dict[str, Any]) -> None:
    """What cannot be written faithfully, and so has no cache key, is refused before a call."""
    with pytest.raises(InputError, match="cannot be written as JSON"):
        request(options=options)


@pytest.mark.parametrize("name", ["", "a b", "../a", "a\n", None, 5, b"a"])
def test_malformed_names_are_refused(name: Any) -> None:
    """A name that no agent can have is refused without looking for a file."""
    with pytest.raises(AgentNotFound, match="is not an agent name"):
        check_task(name, "Say hi", 100)


@pytest.mark.parametrize(
    ("task", "problem"),
    [
        ("", "is empty"),
        (" \n\t", "is empty"),
        (RenderedPrompt(""), "is empty"),
        (None, "not NoneType"),
        (5, "not int"),
        (["Say hi"], "not list"),
        ("x" * 101, "101 characters, more than 100"),
    ],
)
def test_bad_tasks_are_refused(task: Any, problem: str) -> None:
    """A task that is empty, too long or no text is refused with its reason."""
    with pytest.raises(InputError, match=problem):
        check_task("a", task, 100)


@pytest.mark.parametrize("task", ["x" * 100, RenderedPrompt((IMAGE,)), RenderedPrompt("Say hi")])
def test_good_tasks_pass(task: Any) -> None:
    """A task up to the bound passes, and so does an image without a word."""
    assert check_task("a", task, 100) is None


def test_manifest_is_remembered() -> None:
    """A run remembers in one line what was inserted, and nothing where nothing was."""
    rendered = render("Sum {{ numbers }}", {"numbers": [1, 2, 3]})

    assert "numbers" in prompt_metadata(rendered)["manifest"]
    assert prompt_metadata("Say hi") == prompt_metadata(render("Say hi", {})) == {}
