"""Promises about reading a stream, whatever its pieces are and whatever is wrong with it."""

from __future__ import annotations

import json
from typing import Any, Dict, List, Mapping, Sequence

import pytest

from claude_force_nb.errors import IncompleteReply
from claude_force_nb.providers.streaming import EventParser, ReplyCollector
from claude_force_nb.records import Reply

pytestmark = pytest.mark.essential

STREAM = (
    'event: ping\ndata: {"type": "ping"}\n\n'
    ': a comment\nid: 7\nretry: 10\nevent: message_stop\ndata: {"type": "message_stop"}\n\n'
    'data: {"type": "text",\ndata: "text": "größe \\u2028 ok"}\n\n'
).encode()
EVENTS = [{"type": "message_stop"}, {"type": "text", "text": "größe \u2028 ok"}]

START = {"type": "message_start", "message": {"model": "m", "usage": {"input_tokens": 3}}}
TEXT = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
TOOL_BLOCK = {"type": "tool_use", "id": "t", "name": "look", "input": {}}
TOOL = {"type": "content_block_start", "index": 0, "content_block": TOOL_BLOCK}
STOP = {"type": "message_stop"}


def delta(kind: str, **fields: Any) -> Dict[str, Any]:
    """A piece of block 0."""
    return {"type": "content_block_delta", "index": 0, "delta": {"type": kind, **fields}}


def end(reason: Any = "end_turn") -> Dict[str, Any]:
    """The event that says why the message stopped."""
    usage = {"output_tokens": 5}
    return {"type": "message_delta", "delta": {"stop_reason": reason}, "usage": usage}


def collected(events: Sequence[Mapping[str, Any]]) -> Reply:
    """The reply that *events* make."""
    collector = ReplyCollector()
    for event in events:
        collector.add(event)
    return collector.reply(request_id="req_1", sdk="sdk 1")


def parsed(pieces: Sequence[bytes]) -> List[Dict[str, Any]]:
    """The events in *pieces*."""
    parser = EventParser()
    return [event for piece in pieces for event in parser.feed(piece)]


@pytest.mark.parametrize("at", range(0, len(STREAM), 3))
def test_pieces_may_end_anywhere(at: int) -> None:
    """Events come out the same wherever the network cuts the stream, inside a character too."""
    assert parsed([STREAM[:at], STREAM[at:]]) == EVENTS


def test_lines_may_end_in_two_ways() -> None:
    """Carriage returns before line feeds make no difference."""
    assert parsed([STREAM.replace(b"\n", b"\r\n")]) == EVENTS


def test_unended_event_is_none() -> None:
    """An event without the empty line after it is not taken for one."""
    assert parsed([STREAM.rstrip(b"\n")]) == EVENTS[:1]


@pytest.mark.parametrize(
    "data", [b"{", b"[1]", b'"text"', b"\xff", b"[" * 100_000], ids=lambda data: str(data[:5])
)
def test_strange_data_is_an_error(data: bytes) -> None:
    """Data that is no JSON object ends the reply."""
    with pytest.raises(IncompleteReply):
        parsed([b"data: " + data + b"\n\n"])


@pytest.mark.parametrize("piece_bytes", [1 << 10, 1 << 16])
def test_size_is_bounded(piece_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many short events end the reply too, when they are more than any answer."""
    monkeypatch.setattr("claude_force_nb.providers.streaming.MAX_REPLY_BYTES", 1 << 20)
    event = b"data: " + json.dumps({"x": "y" * piece_bytes}).encode() + b"\n\n"

    with pytest.raises(IncompleteReply, match="more data than any answer"):
        parsed([event] * (1 + (1 << 20) // piece_bytes))


@pytest.mark.parametrize(
    "event",
    [
        {"type": "message_start"},
        {"type": "message_start", "message": {}},
        {"type": "message_start", "message": [1]},
        {"type": "content_block_start", "index": "x", "content_block": {"type": "text"}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text"}},
        {"type": "content_block_start", "index": 0, "content_block": None},
        {"type": "content_block_delta", "index": 9, "delta": {"type": "text_delta", "text": "x"}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": 7}},
        {"type": "content_block_delta", "index": 0, "delta": "x"},
        {"type": "message_delta", "delta": {}},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": 7},
    ],
    ids=str,
)
def test_malformed_event_is_named(event: Mapping[str, Any]) -> None:
    """An event of the wrong shape ends the reply and is named."""
    with pytest.raises(IncompleteReply, match=event["type"]):
        collected([START, TEXT, event])


def test_text_in_the_start_counts() -> None:
    """Text that a server puts into the start of a block belongs to the answer."""
    block = {"type": "text", "text": "Once "}
    start = {"type": "content_block_start", "index": 0, "content_block": block}

    reply = collected([START, start, delta("text_delta", text="upon"), end(), STOP])

    assert reply.text == "Once upon"


def test_citations_are_kept() -> None:
    """Citations are collected in their block."""
    cited = [
        delta("citations_delta", citation={"n": 1}),
        delta("citations_delta", citation={"n": 2}),
    ]

    reply = collected([START, TEXT, delta("text_delta", text="So."), *cited, end(), STOP])

    assert reply.content[0]["citations"] == [{"n": 1}, {"n": 2}]


def test_broken_tool_call_is_none() -> None:
    """A tool call whose arguments are not JSON is not a reply that calls a tool."""
    half = delta("input_json_delta", partial_json='{"path": ')

    with pytest.raises(IncompleteReply, match="not JSON"):
        collected([START, TOOL, half, end("tool_use"), STOP])


def test_cut_tool_call_is_empty() -> None:
    """Where the answer hit its limit inside a tool call, the call has no arguments."""
    half = delta("input_json_delta", partial_json='{"path": ')

    reply = collected([START, TOOL, half, end("max_tokens"), STOP])

    assert reply.content[0]["input"] == {}


def test_blocks_keep_their_order() -> None:
    """Blocks are ordered by their index, in whichever order they began."""
    later = {**TEXT, "index": 1, "content_block": {"type": "text", "text": "second"}}
    first = {**TEXT, "content_block": {"type": "text", "text": "first "}}

    assert collected([START, later, first, end(), STOP]).text == "first second"
