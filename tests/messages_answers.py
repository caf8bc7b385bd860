"""What the server of ``messages_server`` sends: answers, the steps that send them, and faults.

A response is an iterator of steps: bytes to send, a pause, or the end of the connection.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import time
from dataclasses import dataclass, replace
from email.utils import formatdate
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple, Union

TOO_LONG = "prompt is too long: 210000 tokens > 200000 maximum"


@dataclass(frozen=True)
class Behaviour:
    """What the server does with one request.

    Attributes:
        status: HTTP status; other than 200 an error body is sent.
        error_type: ``error.type`` of an error body or of an error event; by status if empty.
        message: ``error.message``.
        retry_after: The ``Retry-After`` header as sent.
        text: The answer; an echo by default.
        tokens: Answer with this many made-up tokens instead.
        delay_s: Pause before each token.
        header_delay_s: Pause before the status line.
        stop_reason: As sent.
        usage: Sent instead of the counted usage.
        content: Content blocks to send instead of one of text.
        fault: A name from :data:`FAULTS`.
        after_tokens: Tokens sent before a fault of a stream strikes.
        size_bytes: Size of the line of the fault ``huge_line``.
    """

    status: int = 200
    error_type: str = ""
    message: str = ""
    retry_after: Optional[str] = None
    text: Optional[str] = None
    tokens: Optional[int] = None
    delay_s: float = 0.0
    header_delay_s: float = 0.0
    stop_reason: Optional[str] = "end_turn"
    usage: Optional[Mapping[str, Any]] = None
    content: Optional[Sequence[Mapping[str, Any]]] = None
    fault: str = ""
    after_tokens: int = 2
    size_bytes: int = 0

    def __post_init__(self) -> None:
        if self.fault and self.fault not in FAULTS:
            raise ValueError(f"unknown fault {self.fault!r}; choose from {', '.join(FAULTS)}")


class Pause(float):
    """A step that waits this many seconds; ``inf`` until the client goes away."""


class Token(bytes):
    """A step that sends bytes and counts as one token."""


class Cut:
    """A step that ends the connection, politely or with a reset."""

    def __init__(self, reset: bool) -> None:
        self.reset = reset


Step = Union[bytes, Pause, Cut]
Event = Tuple[str, Dict[str, Any]]


def echo(body: Mapping[str, Any]) -> str:
    """The default answer: the last user message, what came with it, and the system prompt."""
    said = _text_of(body["messages"][-1]["content"])
    system = _text_of(body.get("system") or "")
    return f"Echo: {said}" + (f"\n(system: {system[:200]})" if system else "")


def _text_of(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "\n".join(block.get("text") or _describe(block) for block in content)


def _describe(block: Mapping[str, Any]) -> str:
    source = block.get("source") or {}
    if source.get("type") == "base64":
        data = base64.b64decode(source["data"])
        digest = hashlib.sha256(data).hexdigest()[:8]
        return f"[{block['type']} {source['media_type']} {len(data)} bytes {digest}]"
    return f"[{block.get('type')}]"


def count_tokens(body: Mapping[str, Any]) -> int:
    """Words of the prompt, which here count as its tokens."""
    texts = [_text_of(message["content"]) for message in body.get("messages", ())]
    return sum(len(text.split()) for text in [_text_of(body.get("system") or ""), *texts]) or 1


def split_tokens(text: str) -> List[str]:
    """Split *text* into words with the white space before them; joined they give *text*."""
    return re.findall(r"\s*\S+|\s+$", text)


def conjured(body: Mapping[str, Any], behaviour: Behaviour) -> Behaviour:
    """*behaviour* with the magic words of the last user message applied."""
    text = _text_of(body["messages"][-1]["content"]) if body.get("messages") else ""
    for word, argument in re.findall(r"\[\[([a-z-]+) ?(.*?)\]\]", text):
        behaviour = replace(behaviour, **MAGIC[word](argument)) if word in MAGIC else behaviour
    return behaviour


def _slow(argument: str) -> Dict[str, Any]:
    tokens, delay_s = argument.split()
    return {"tokens": int(tokens), "delay_s": float(delay_s)}


MAGIC: Dict[str, Callable[[str], Dict[str, Any]]] = {
    "slow": _slow,
    "tokens": lambda argument: {"tokens": int(argument)},
    "status": lambda argument: {"status": int(argument.split()[0])},
    "fault": lambda argument: {"fault": argument},
    "retry-after": lambda argument: {"retry_after": argument},
    "stop": lambda argument: {"stop_reason": argument},
    "wait": lambda argument: {"header_delay_s": float(argument)},
    "say": lambda argument: {"text": argument},
}


@dataclass(frozen=True)
class Answer:
    """A message about to be sent."""

    number: int
    model: str
    blocks: Tuple[Mapping[str, Any], ...]
    usage: Mapping[str, Any]
    behaviour: Behaviour

    @classmethod
    def to(cls, body: Mapping[str, Any], behaviour: Behaviour, number: int) -> Answer:
        """Make the answer to *body*."""
        text = behaviour.text
        if behaviour.tokens is not None:
            text = "".join(f"t{i} " for i in range(behaviour.tokens))
        text = echo(body) if text is None else text
        blocks = (
            [{"type": "text", "text": text}] if behaviour.content is None else behaviour.content
        )
        usage = {"input_tokens": count_tokens(body), "output_tokens": len(split_tokens(text)) or 1}
        chosen = usage if behaviour.usage is None else behaviour.usage
        return cls(number, body["model"], tuple(blocks), chosen, behaviour)

    def message(self) -> Dict[str, Any]:
        """The whole message, as sent without streaming."""
        return {
            "id": f"msg_{self.number:06}",
            "type": "message",
            "role": "assistant",
            "model": self.model,
            "content": list(self.blocks),
            "stop_reason": self.behaviour.stop_reason,
            "stop_sequence": None,
            "usage": dict(self.usage),
        }

    def events(self) -> Iterator[Event]:
        """The message as the events of a stream."""
        opening = {**self.message(), "content": [], "stop_reason": None}
        if "output_tokens" in self.usage:
            opening["usage"] = {**self.usage, "output_tokens": 1}
        yield "message_start", {"message": opening}
        for index, block in enumerate(self.blocks):
            yield from _block_events(index, block)
        delta = {"stop_reason": self.behaviour.stop_reason, "stop_sequence": None}
        usage = {k: v for k, v in self.usage.items() if k == "output_tokens"}
        yield "message_delta", {"delta": delta, "usage": usage}
        yield "message_stop", {}


def _block_events(index: int, block: Mapping[str, Any]) -> Iterator[Event]:
    start, deltas = _taken_apart(block)
    yield "content_block_start", {"index": index, "content_block": start}
    if index == 0:
        yield "ping", {}
    for delta in deltas:
        yield "content_block_delta", {"index": index, "delta": delta}
    yield "content_block_stop", {"index": index}


def _taken_apart(block: Mapping[str, Any]) -> Tuple[Dict[str, Any], List[Dict[str, Any]]]:
    """The block as it starts, and the deltas that complete it."""
    if block["type"] == "text":
        pieces = split_tokens(block["text"])
        return {**block, "text": ""}, [{"type": "text_delta", "text": piece} for piece in pieces]
    if block["type"] == "tool_use":
        text = json.dumps(block["input"])
        halves = (text[: len(text) // 2], text[len(text) // 2 :])
        deltas = [{"type": "input_json_delta", "partial_json": half} for half in halves]
        return {**block, "input": {}}, deltas
    if block["type"] == "thinking":
        return {**block, "thinking": "", "signature": ""}, [
            {"type": "thinking_delta", "thinking": block["thinking"]},
            {"type": "signature_delta", "signature": block["signature"]},
        ]
    return dict(block), []


def head(status: int, number: int, headers: Mapping[str, str]) -> bytes:
    """Status line and headers."""
    fields = {"request-id": f"req_{number:06}", **headers}
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 {status} Status\r\n{lines}\r\n".encode()


def whole(status: int, number: int, body: bytes, kind: str, **headers: str) -> bytes:
    """A response with a body of known length."""
    fields = {"content-type": kind, "content-length": str(len(body)), **headers}
    return head(status, number, fields) + body


def as_json(status: int, number: int, document: Any, **headers: str) -> bytes:
    """A response with a JSON body."""
    return whole(status, number, json.dumps(document).encode(), "application/json", **headers)


def chunk(data: bytes) -> bytes:
    """*data* as one chunk of a chunked body."""
    return b"%x\r\n%s\r\n" % (len(data), data)


def sse(name: str, fields: Mapping[str, Any]) -> bytes:
    """One server-sent event as one chunk."""
    data = json.dumps({"type": name, **fields}, separators=(",", ":"))
    return chunk(f"event: {name}\ndata: {data}\n\n".encode())


def stream_head(number: int) -> bytes:
    """The headers of a stream."""
    kind = {"content-type": "text/event-stream; charset=utf-8", "transfer-encoding": "chunked"}
    return head(200, number, kind)


LAST_CHUNK = b"0\r\n\r\n"


def stream(answer: Answer, events: Optional[Iterator[Event]] = None) -> Iterator[Step]:
    """The steps of a stream without faults."""
    yield stream_head(answer.number)
    for name, fields in answer.events() if events is None else events:
        if name == "content_block_delta":
            if answer.behaviour.delay_s:
                yield Pause(answer.behaviour.delay_s)
            yield Token(sse(name, fields))
        else:
            yield sse(name, fields)
    yield LAST_CHUNK


def until_fault(answer: Answer) -> Iterator[Step]:
    """The steps of a stream up to its ``after_tokens``-th token, or to the last if it has fewer."""
    tokens = 0
    for step in stream(answer):
        if isinstance(step, Token):
            if tokens == answer.behaviour.after_tokens:
                return
            tokens += 1
        elif tokens and not isinstance(step, Pause):
            return
        yield step


def _ended_by(*steps: Step) -> Callable[[Answer], Iterator[Step]]:
    def play(answer: Answer) -> Iterator[Step]:
        yield from until_fault(answer)
        yield from steps

    return play


def _error_event(answer: Answer) -> Iterator[Step]:
    kind = answer.behaviour.error_type or "overloaded_error"
    error = {"type": kind, "message": answer.behaviour.message or "Overloaded"}
    yield from until_fault(answer)
    yield sse("error", {"error": error})
    yield LAST_CHUNK


def _without(*names: str) -> Callable[[Answer], Iterator[Step]]:
    def play(answer: Answer) -> Iterator[Step]:
        return stream(answer, (event for event in answer.events() if event[0] not in names))

    return play


def _pings(answer: Answer) -> Iterator[Step]:
    yield from until_fault(answer)
    while True:
        yield sse("ping", {})
        yield Pause(answer.behaviour.delay_s or 0.02)


def _drip(answer: Answer) -> Iterator[Step]:
    yield from until_fault(answer)
    for byte in b"event: content_block_delta\ndata: " + b" " * 1_000_000:
        yield chunk(bytes([byte]))
        yield Pause(answer.behaviour.delay_s or 0.02)


def _header_drip(answer: Answer) -> Iterator[Step]:
    yield b"HTTP/1.1 200 OK\r\n"
    for number in range(1_000_000):
        yield b"x-%d: y\r\n" % number
        yield Pause(answer.behaviour.delay_s or 0.02)


def _strange_events(answer: Answer) -> Iterator[Step]:
    def events() -> Iterator[Event]:
        for event in answer.events():
            if event[0] == "message_delta":
                yield "content_block_sparkle", {"index": 0, "delta": {"type": "sparkle"}}
                yield "content_block_delta", {"index": 0, "delta": {"type": "sparkle_delta"}}
            yield event

    return stream(answer, events())


def _huge_line(answer: Answer) -> Iterator[Step]:
    yield from until_fault(answer)
    yield chunk(b'event: content_block_delta\ndata: {"x": "')
    for _ in range(answer.behaviour.size_bytes // 65536):
        yield chunk(b"y" * 65536)
        yield Pause(0)
    yield chunk(b'"}\n\n')
    yield LAST_CHUNK


def _twice_stopped(answer: Answer) -> Iterator[Step]:
    for step in stream(answer):
        if step == LAST_CHUNK:
            yield sse("message_stop", {})
        yield step


def _body(
    data: bytes, kind: str, status: int = 200, **headers: str
) -> Callable[[Answer], Iterator[Step]]:
    def play(answer: Answer) -> Iterator[Step]:
        yield whole(status, answer.number, data, kind, **headers)

    return play


def _no_content(answer: Answer) -> Iterator[Step]:
    yield head(204, answer.number, {})


FAULTS: Dict[str, Callable[[Answer], Iterator[Step]]] = {
    "reset": _ended_by(Cut(reset=True)),
    "close": _ended_by(Cut(reset=False)),
    "truncated": _ended_by(LAST_CHUNK),
    "stall": _ended_by(Pause("inf")),
    "bad_event": _ended_by(chunk(b'event: content_block_delta\ndata: {"type": \n\n'), LAST_CHUNK),
    "list_event": _ended_by(chunk(b"event: content_block_delta\ndata: [1, 2]\n\n"), LAST_CHUNK),
    "bad_utf8": _ended_by(chunk(b"event: content_block_delta\ndata: \xff\xfe\n\n"), LAST_CHUNK),
    "error_event": _error_event,
    "no_stop": _without("message_stop"),
    "no_delta": _without("message_delta"),
    "no_start": _without("message_start"),
    "no_block_stop": _without("content_block_stop"),
    "start_only": _without("content_block_start", "content_block_delta", "content_block_stop",
                           "message_delta", "message_stop"),
    "pings": _pings,
    "drip": _drip,
    "header_drip": _header_drip,
    "strange_events": _strange_events,
    "huge_line": _huge_line,
    "twice_stopped": _twice_stopped,
    "html": _body(b"<html><body>Sign in to the network</body></html>", "text/html"),
    "html_502": _body(b"<html>Bad gateway</html>", "text/html", status=502),
    "broken_json": _body(b'{"id": "msg_1", "content": [', "application/json"),
    "json_list": _body(b"[1, 2]", "application/json"),
    "json_object": _body(b'{"ok": true}', "application/json"),
    "bad_gzip": _body(b"not gzip", "text/event-stream", **{"content-encoding": "gzip"}),
    "empty": _body(b"", "text/event-stream"),
    "no_content": _no_content,
    "redirect": _body(b"", "text/plain", status=307, location="/v1/messages"),
    "drop": lambda answer: iter([Cut(reset=False)]),
    "drop_reset": lambda answer: iter([Cut(reset=True)]),
    "mute": lambda answer: iter([Pause("inf")]),
}  # fmt: skip


def http_date(seconds_from_now: float) -> str:
    """A ``Retry-After`` header as a date."""
    return formatdate(time.time() + seconds_from_now, usegmt=True)
