"""Promises about the values that travel: requests that identify answers, and results."""

from __future__ import annotations

import dataclasses
import json
from typing import Any, Dict

import pytest

from claude_force_nb.records import AgentRequest, AgentResult, AgentResults, Usage

pytestmark = pytest.mark.essential

TEXT = {"type": "text", "text": "Look:"}
PICTURE = {"type": "base64", "media_type": "image/png", "data": "QUJD"}
REQUEST = AgentRequest(
    agent_name="a",
    model="m",
    messages=({"role": "user", "content": [TEXT, {"type": "image", "source": PICTURE}]},),
    max_tokens=10,
    system="You help.",
    options={"tools": [{"name": "t"}], "top_k": 1},
)
OTHER_PICTURE = {**PICTURE, "data": "QUJE"}


def message(*blocks: Any) -> Dict[str, Any]:
    """The fields of a request with one message of these blocks."""
    return {"messages": ({"role": "user", "content": list(blocks)},)}


def test_without_payloads_is_the_same_request() -> None:
    """The small form of a request has its key, and none of its pictures' bytes."""
    small = REQUEST.without_payloads()

    assert small.canonical() == REQUEST.canonical()
    assert "QUJD" not in repr(small)


def test_every_field_is_covered() -> None:
    """The table of changes below knows every field of a request."""
    assert set(CHANGES) == {field.name for field in dataclasses.fields(AgentRequest)}


CHANGES: Dict[str, Dict[str, Any]] = {
    "agent_name": {"agent_name": "b"},
    "model": {"model": "n"},
    "messages": message(TEXT, {"type": "image", "source": OTHER_PICTURE}),
    "max_tokens": {"max_tokens": 11},
    "system": {"system": "You help!"},
    "options": {"options": {"tools": [{"name": "u"}], "top_k": 1}},
    "provider": {"provider": "offline"},
    "endpoint": {"endpoint": "http://127.0.0.1"},
    "definition_sha256": {"definition_sha256": "f" * 64},
    "sample": {"sample": 1},
}


@pytest.mark.parametrize("changes", CHANGES.values(), ids=CHANGES.keys())
def test_any_change_is_another_request(changes: Dict[str, Any]) -> None:
    """Whatever can change the answer changes the bytes that the cache key is made of."""
    changed = dataclasses.replace(REQUEST, **changes)

    assert changed.canonical() != REQUEST.canonical()
    assert len({changed, REQUEST}) == 2


@pytest.mark.parametrize(
    "changes",
    [
        {"options": {"top_k": 1.0, "tools": ({"name": "t"},)}},
        message(
            {**TEXT, "cache_control": {"type": "ephemeral"}}, {"source": PICTURE, "type": "image"}
        ),
        {"options": {"tools": [{"name": "t", "cache_control": {"type": "ephemeral"}}], "top_k": 1}},
        {"options": {**REQUEST.options, "metadata": {"user_id": "u-1"}}},
    ],
    ids=["order and kind of numbers", "marks in messages", "marks in tools", "who asks"],
)
def test_same_meaning_is_the_same_request(changes: Dict[str, Any]) -> None:
    """What changes the bill or the spelling, never the answer, leaves the bytes alone."""
    changed = dataclasses.replace(REQUEST, **changes)

    assert changed.canonical() == REQUEST.canonical()
    assert hash(changed) == hash(REQUEST)


def test_other_metadata_counts() -> None:
    """Only ``user_id`` is left out of ``metadata``, and the request as sent keeps even that."""
    options = {"metadata": {"user_id": "u-1", "round": 1}}
    request = dataclasses.replace(REQUEST, options=options)

    assert request.document()["options"] == {"metadata": {"round": 1}}
    assert request.options == {"metadata": {"user_id": "u-1", "round": 1}}


def test_payloads_are_digests() -> None:
    """A picture is in the request's document by its digest, so entries stay small."""
    source = REQUEST.document()["messages"][0]["content"][1]["source"]

    assert "data" not in source
    assert len(source["sha256"]) == 64


def test_looking_changes_nothing() -> None:
    """Making the document leaves the request as it will be sent."""
    REQUEST.document()["options"]["tools"].append("x")

    assert REQUEST.options == {"tools": [{"name": "t"}], "top_k": 1}
    assert REQUEST.messages[0]["content"][1]["source"] == PICTURE


def test_requests_are_frozen() -> None:
    """A request cannot change between its key and its call."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        REQUEST.model = "n"  # type: ignore[misc]


def test_unfaithful_values_have_no_bytes() -> None:
    """A value that JSON cannot carry is an error, not a wrong key."""
    with pytest.raises(ValueError, match="canonical"):
        dataclasses.replace(REQUEST, options={"temperature": float("inf")}).canonical()


def test_usage_adds_up() -> None:
    """Token counts are added field by field; all prompt tokens count, however billed."""
    total = Usage(1, 2, 3, 4, 5) + Usage(10, 20, 30, 40, 50)

    assert total == Usage(11, 22, 33, 44, 55)
    assert total.prompt_tokens == 11 + 33 + 44 + 55


def result(name: str = "a", cost_usd: Any = 0.5, success: bool = True) -> AgentResult:
    """A result with a cost."""
    return AgentResult(
        name,
        success,
        f"{name} says",
        cost_usd=cost_usd,
        usage=Usage(1, 2),
        error=None if success else KeyError("x"),
    )


def test_results_become_json() -> None:
    """A result's plain form goes through JSON unchanged, without the exception."""
    document = result(success=False).to_dict()

    assert json.loads(json.dumps(document)) == document
    assert "error" not in document
    assert document["usage"]["output_tokens"] == 2


def test_result_prints_its_text() -> None:
    """A result is its answer where a text is wanted."""
    assert f"{result()}" == "a says"


@pytest.mark.parametrize(("provider", "offline"), [("offline", True), ("anthropic", False)])
def test_offline_is_known(provider: str, offline: bool) -> None:
    """A result knows whether the stand-in answered."""
    assert dataclasses.replace(result(), metadata={"provider": provider}).offline is offline


def test_results_are_found_by_name() -> None:
    """Several results are reached by position, slice and agent."""
    results = AgentResults((result("a"), result("b"), result("b", 2.0)))

    assert results[-1].cost_usd == 2.0
    assert results["b"] is results[1]
    assert len(results[1:]) == 2
    with pytest.raises(KeyError):
        results["c"]


@pytest.mark.parametrize(
    ("costs", "total"), [((0.5, 0.25), 0.75), ((0.5, None), None), ((), 0), ((0.0, 0.0), 0.0)]
)
def test_unknown_cost_stays_unknown(costs: Any, total: Any) -> None:
    """The sum of costs is unknown as soon as one of them is."""
    assert AgentResults(result(cost_usd=cost) for cost in costs).cost_usd == total


def test_failures_cost_nothing_known() -> None:
    """A failed run without a price does not make the sum unknown."""
    results = AgentResults((result(), result(cost_usd=None, success=False)))

    assert results.cost_usd == 0.5
    assert results.usage == Usage(2, 4)
