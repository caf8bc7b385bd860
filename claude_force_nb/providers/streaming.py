"""From the bytes of a streamed message to a whole reply, or to the reason why it is none.

A stream can end early without any error, so nothing here is taken on trust: a reply is made only
from a message that began, said why it stopped, counted its tokens, has content where content is
due, and said that it is over.
"""

from __future__ import annotations

import json
from collections import defaultdict
from typing import Any, Callable, DefaultDict, Dict, Iterator, List, Mapping, Optional, Tuple

from ..errors import IncompleteReply
from ..records import Reply, Usage

# Far above any real answer; they keep a broken or hostile server from filling the memory.
MAX_REPLY_BYTES = 64 * 2**20
MAX_LINE_BYTES = 8 * 2**20
MAX_SANE_TOKENS = 100_000_000

STOP_REASONS = frozenset(
    {
        "end_turn",
        "max_tokens",
        "stop_sequence",
        "tool_use",
        "pause_turn",
        "refusal",
        "model_context_window_exceeded",
    }
)
_MAY_BE_EMPTY = frozenset(
    {"stop_sequence", "pause_turn", "refusal", "model_context_window_exceeded"}
)
_DELTA_FIELDS = {
    "text_delta": "text",
    "thinking_delta": "thinking",
    "signature_delta": "signature",
    "input_json_delta": "partial_json",
}
_ADVICE = "Trying again usually helps; if not, the server or a proxy on the way is at fault."


def incomplete(what: str, request_id: Optional[str] = None) -> IncompleteReply:
    """An :class:`IncompleteReply` with the usual advice."""
    return IncompleteReply(what, advice=_ADVICE, request_id=request_id)


class EventParser:
    """Cuts a byte stream into server-sent events and decodes their JSON.

    Pings are dropped. Time is linear in the input, whatever its pieces are.
    """

    def __init__(self) -> None:
        self._line: List[bytes] = []
        self._line_bytes = 0
        self._all_bytes = 0
        self._data: List[bytes] = []

    def feed(self, chunk: bytes) -> Iterator[Dict[str, Any]]:
        """Yield the events that *chunk* completes.

        Raises:
            IncompleteReply: An event is not a JSON object, or the stream is larger than any answer.
        """
        first, *others = chunk.split(b"\n")
        self._extend_line(first, len(chunk))
        for piece in others:
            line = b"".join(self._line)
            self._line, self._line_bytes = [], 0
            self._extend_line(piece, 0)
            event = self._end_line(line)
            if event is not None:
                yield event

    def _extend_line(self, piece: bytes, received_bytes: int) -> None:
        self._line.append(piece)
        self._line_bytes += len(piece)
        self._all_bytes += received_bytes
        if self._line_bytes > MAX_LINE_BYTES or self._all_bytes > MAX_REPLY_BYTES:
            raise incomplete("The server sent more data than any answer has.")

    def _end_line(self, line: bytes) -> Optional[Dict[str, Any]]:
        line = line.rstrip(b"\r")
        if line.startswith(b"data:"):
            self._data.append(line[5:])
        if line or not self._data:
            return None
        data, self._data = b"\n".join(self._data), []
        return _decoded(data)


def _decoded(data: bytes) -> Optional[Dict[str, Any]]:
    try:
        event = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise incomplete("The server sent an event that is not JSON.") from error
    if not isinstance(event, dict):
        raise incomplete("The server sent an event that is not a JSON object.")
    return None if event.get("type") == "ping" else event


class ReplyCollector:
    """Puts the events of one message together.

    Attributes:
        stopped: Whether the server has said that the message is over.
        started: Whether the message has begun.
    """

    def __init__(self) -> None:
        self.started = False
        self.stopped = False
        self._model: Any = None
        self._stop_reason: Any = None
        self._usage: Dict[str, Any] = {}
        self._blocks: Dict[int, Dict[str, Any]] = {}
        self._pieces: DefaultDict[Tuple[int, str], List[str]] = defaultdict(list)
        self._handlers: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
            "message_start": self._start,
            "content_block_start": self._start_block,
            "content_block_delta": self._extend_block,
            "content_block_stop": lambda event: "",
            "message_delta": self._end,
            "message_stop": self._stop,
        }

    def knows(self, event: Mapping[str, Any]) -> bool:
        """Whether *event* is a part of the message; newer kinds of event are passed over."""
        return event.get("type") in self._handlers

    def add(self, event: Mapping[str, Any]) -> str:
        """Take one known event and return the text that it brings, if any.

        Raises:
            IncompleteReply: The event has not the shape that it must have.
        """
        try:
            return self._handlers[event["type"]](event)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise incomplete(f"The server sent a malformed {event['type']} event.") from error

    def _start(self, event: Mapping[str, Any]) -> str:
        message = event["message"]
        self.started = True
        self._model = message["model"]
        self._usage.update(message.get("usage") or {})
        return ""

    def _start_block(self, event: Mapping[str, Any]) -> str:
        block = dict(event["content_block"])
        self._blocks[int(event["index"])] = block
        return _text(block["text"]) if block["type"] == "text" else ""

    def _extend_block(self, event: Mapping[str, Any]) -> str:
        index, delta = int(event["index"]), event["delta"]
        block = self._blocks[index]
        field = _DELTA_FIELDS.get(delta["type"])
        if field is not None:
            piece = _text(delta[field])
            self._pieces[index, field].append(piece)
            return piece if field == "text" and block["type"] == "text" else ""
        if delta["type"] == "citations_delta":
            block["citations"] = [*(block.get("citations") or ()), delta["citation"]]
        return ""

    def _end(self, event: Mapping[str, Any]) -> str:
        self._stop_reason = event["delta"]["stop_reason"]
        self._usage.update(event.get("usage") or {})
        return ""

    def _stop(self, event: Mapping[str, Any]) -> str:
        self.stopped = True
        return ""

    def reply(self, *, request_id: Optional[str], sdk: str) -> Reply:
        """The whole reply.

        Raises:
            IncompleteReply: It is not whole.
        """
        try:
            self._check_end()
            content = self._content()
            _check_content(content, self._stop_reason)
            usage = usage_of(self._usage)
        except IncompleteReply as error:
            error.request_id = request_id
            raise
        return Reply(
            text="".join(block["text"] for block in content if block["type"] == "text"),
            model=str(self._model),
            stop_reason=self._stop_reason,
            usage=usage,
            request_id=request_id,
            sdk=sdk,
            content=content,
        )

    def _check_end(self) -> None:
        if not self.started:
            raise incomplete("The server sent something else than a message.")
        if not self.stopped or not isinstance(self._stop_reason, str):
            raise incomplete("The answer broke off before its end.")
        if self._stop_reason not in STOP_REASONS:
            error = incomplete(f"The answer stopped for an unknown reason, {self._stop_reason!r}.")
            # The same question would stop the same way again, and be billed again.
            error.retryable = False
            error.advice = "A newer version of this package may know it."
            raise error

    def _content(self) -> Tuple[Dict[str, Any], ...]:
        for (index, field), pieces in self._pieces.items():
            block = self._blocks[index]
            if field == "partial_json":
                block["input"] = self._tool_input("".join(pieces))
            else:
                block[field] = str(block.get(field) or "") + "".join(pieces)
        self._pieces.clear()
        return tuple(self._blocks[index] for index in sorted(self._blocks))

    def _tool_input(self, text: str) -> Any:
        try:
            return json.loads(text or "{}")
        except (ValueError, RecursionError) as error:
            if self._stop_reason == "tool_use":
                raise incomplete("The arguments of a tool call are not JSON.") from error
            return {}


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("not text")
    return value


def _check_content(content: Tuple[Mapping[str, Any], ...], stop_reason: str) -> None:
    if stop_reason == "tool_use" and not any(block["type"] == "tool_use" for block in content):
        raise incomplete("The answer announces a tool call and has none.")
    has_any = any(block["type"] != "text" or block["text"] for block in content)
    if not has_any and stop_reason not in _MAY_BE_EMPTY:
        raise incomplete("The answer is empty.")


def usage_of(counted: Mapping[str, Any]) -> Usage:
    """The tokens that a server says it counted.

    Raises:
        IncompleteReply: A count is missing, negative or absurd.
    """
    written = counted.get("cache_creation")
    by_life = written if isinstance(written, Mapping) else {}
    one_hour = _count(by_life.get("ephemeral_1h_input_tokens") or 0)
    all_written = _count(counted.get("cache_creation_input_tokens") or 0)
    return Usage(
        input_tokens=_count(counted.get("input_tokens")),
        output_tokens=_count(counted.get("output_tokens")),
        cache_write_5m_tokens=max(0, all_written - one_hour),
        cache_write_1h_tokens=one_hour,
        cache_read_tokens=_count(counted.get("cache_read_input_tokens") or 0),
    )


def _count(value: Any) -> int:
    if type(value) is not int or not 0 <= value <= MAX_SANE_TOKENS:
        raise incomplete(f"The server counted {value!r:.40} tokens.")
    return value
