"""A Messages API on loopback: real HTTP and server-sent events, and every way they go wrong.

Three ways to use it::

    async with MessagesServer() as server: ...      # in an async test; server.url, server.requests
    with ServerThread() as server: ...              # own thread, for sync tests and for kernels
    python tests/messages_server.py --port 8808     # own process; its ledger is at GET /ledger

An answer is an echo of what arrived. Tests change it with ``server.script([...])``, one
:class:`Behaviour` per request; people who only control the prompt write *magic words* into it,
each once or combined::

    [[slow 20 0.1]]      20 tokens, 0.1 s apart      [[status 529]]     this status, each time
    [[tokens 500]]       500 tokens at once          [[status 529 2]]   only the first 2 times
    [[fault reset]]      a fault from FAULTS         [[retry-after 7]]  header of an error
    [[stop max_tokens]]  another stop reason         [[wait 3]]         3 s before the headers
    [[say TEXT]]         answer TEXT

A key that starts with ``sk-ant-bad`` is refused, a model that starts with ``nope`` is unknown.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import re
import socket
import struct
import threading
import time
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Sequence, Type

from messages_answers import (
    FAULTS,
    TOO_LONG,
    Answer,
    Behaviour,
    Cut,
    Pause,
    Step,
    Token,
    as_json,
    conjured,
    count_tokens,
    http_date,
    stream,
)

__all__ = ["FAULTS", "TOO_LONG", "Behaviour", "MessagesServer", "ServerThread", "http_date"]

MODELS = ("claude-opus-5-5", "claude-sonnet-5-5", "claude-haiku-5-5", "claude-fable-5-2")
NO_SAMPLING_SINCE = "2026-10-21"
SAMPLING = ("temperature", "top_p", "top_k")
ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    529: "overloaded_error",
}


@dataclass
class Received:
    """One request as the server saw it, and what became of it.

    Attributes:
        method: HTTP method.
        path: Path and query.
        headers: Headers, names in lower case.
        body: The JSON body, ``None`` if there was none.
        at: Arrival on the ``time.monotonic`` clock.
        sent_bytes: Bytes handed to the connection so far.
        sent_tokens: Text deltas among them.
        done: Whether the answer was sent as planned.
        closed_early: Whether the client closed the connection before that.
    """

    method: str
    path: str
    headers: Dict[str, str]
    body: Any
    at: float
    sent_bytes: int = 0
    sent_tokens: int = 0
    done: bool = False
    closed_early: bool = False


class MessagesServer:
    """The server; use it as ``async with``.

    Args:
        port: Port on 127.0.0.1; 0 takes a free one.

    Attributes:
        url: Base URL, once it runs.
        requests: Every request so far, oldest first (``/ledger`` and ``/health`` excepted).
        connections: Connections accepted so far.
    """

    def __init__(self, port: int = 0) -> None:
        self.port = port
        self.url = ""
        self.requests: List[Received] = []
        self.connections = 0
        self.default = Behaviour()
        self._scripted: List[Behaviour] = []
        self._open: List[Connection] = []
        self._met: Dict[str, int] = {}
        self._server: Optional[asyncio.AbstractServer] = None
        self._changed: Optional[asyncio.Event] = None

    async def __aenter__(self) -> MessagesServer:
        loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()
        self._server = await loop.create_server(
            lambda: Connection(self), "127.0.0.1", self.port, backlog=2048
        )
        self.port = self._server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        return self

    async def __aexit__(
        self,
        kind: Optional[Type[BaseException]] = None,
        error: Optional[BaseException] = None,
        traceback: Optional[TracebackType] = None,
    ) -> None:
        assert self._server is not None
        self._server.close()
        for connection in list(self._open):
            connection.transport.abort()
        # Python 3.12.0 and later wait here for connections; they are gone one turn after abort().
        await self._server.wait_closed()

    def script(self, behaviours: Sequence[Behaviour]) -> None:
        """Answer the next message requests with *behaviours*, in order; then as usual."""
        self._scripted.extend(behaviours)

    @property
    def request_count(self) -> int:
        """Messages asked for so far."""
        return len(self.messages)

    @property
    def messages(self) -> List[Received]:
        """The requests to ``/v1/messages``."""
        return [request for request in self.requests if request.path.startswith("/v1/messages")
                and "count_tokens" not in request.path]  # fmt: skip

    async def wait_until(self, predicate: Callable[[], bool], timeout_s: float = 5.0) -> None:
        """Return once *predicate* holds; it is asked after every change here.

        Raises:
            AssertionError: It did not hold in time.
        """
        assert self._changed is not None
        end = time.monotonic() + timeout_s
        while not predicate():
            self._changed.clear()
            try:
                await asyncio.wait_for(self._changed.wait(), max(0.0, end - time.monotonic()))
            except asyncio.TimeoutError:
                assert predicate(), f"did not happen within {timeout_s} s"

    def changed(self) -> None:
        """Something worth waiting for has happened."""
        if self._changed is not None:
            self._changed.set()

    def answer(self, request: Received) -> Iterator[Step]:
        """The steps that answer *request*."""
        path = request.path.partition("?")[0]
        if path == "/health":
            return iter([as_json(200, 0, {"ok": True})])
        if path == "/ledger":
            return iter([as_json(200, 0, [vars(entry) for entry in self.requests])])
        self.requests.append(request)
        self.changed()
        return self._answer_api(path, request, len(self.requests))

    def _answer_api(self, path: str, request: Received, number: int) -> Iterator[Step]:
        refusal = self._refusal(request, number)
        if refusal is not None:
            return iter([refusal])
        if path == "/v1/messages" and request.method == "POST":
            return self._answer_messages(request.body, number)
        if path == "/v1/messages/count_tokens":
            return iter([as_json(200, number, {"input_tokens": count_tokens(request.body)})])
        if path == "/v1/models":
            return iter([as_json(200, number, _model_list())])
        return iter([failure(Behaviour(404, message=f"no route {path}"), number)])

    def _refusal(self, request: Received, number: int) -> Optional[bytes]:
        key = request.headers.get("x-api-key") or request.headers.get("authorization", "")
        key = key[7:] if key.startswith("Bearer ") else key
        if not key or key.startswith("sk-ant-bad"):
            # The real API does not repeat the key; a proxy may.
            return failure(Behaviour(401, message=f"invalid x-api-key {key}".strip()), number)
        body = request.body if isinstance(request.body, dict) else {}
        model = str(body.get("model", ""))
        if model.startswith("nope"):
            return failure(Behaviour(404, message=f"model: {model}"), number)
        sampling = [name for name in SAMPLING if name in body]
        if sampling and request.headers.get("anthropic-version", "") >= NO_SAMPLING_SINCE:
            message = f"{sampling[0]}: sampling parameters are not supported"
            return failure(Behaviour(400, message=message), number)
        return None

    def _answer_messages(self, body: Mapping[str, Any], number: int) -> Iterator[Step]:
        behaviour = self._scripted.pop(0) if self._scripted else self._magic(body)
        if behaviour.header_delay_s:
            yield Pause(behaviour.header_delay_s)
        if behaviour.status != 200:
            yield failure(behaviour, number)
            return
        answer = Answer.to(body, behaviour, number)
        if behaviour.fault:
            yield from FAULTS[behaviour.fault](answer)
        elif body.get("stream"):
            yield from stream(answer)
        else:
            yield as_json(200, number, answer.message())

    def _magic(self, body: Mapping[str, Any]) -> Behaviour:
        behaviour = conjured(body, self.default)
        limited = re.search(r"\[\[status \d+ (\d+)\]\]", str(body["messages"][-1]["content"]))
        if limited:
            met = self._met[limited.string] = self._met.get(limited.string, 0) + 1
            if met > int(limited.group(1)):
                behaviour = replace(behaviour, status=200)
        return behaviour


def failure(behaviour: Behaviour, number: int) -> bytes:
    """An error response."""
    kind = behaviour.error_type or ERROR_TYPES.get(behaviour.status, "api_error")
    error = {"type": kind, "message": behaviour.message or f"scripted {behaviour.status}"}
    headers = {} if behaviour.retry_after is None else {"retry-after": behaviour.retry_after}
    document = {"type": "error", "error": error, "request_id": f"req_{number:06}"}
    return as_json(behaviour.status, number, document, **headers)


def _model_list() -> Dict[str, Any]:
    models = [
        {"type": "model", "id": name, "display_name": name, "created_at": "2026-06-01T00:00:00Z"}
        for name in MODELS
    ]
    return {"data": models, "has_more": False, "first_id": MODELS[0], "last_id": MODELS[-1]}


class Connection(asyncio.Protocol):
    """One connection: parses requests, plays the steps of their answers."""

    def __init__(self, server: MessagesServer) -> None:
        self._server = server
        self._received = b""
        self._player: Optional[asyncio.Task[None]] = None
        self._current: Optional[Received] = None
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has connected."""
        self.transport = transport  # type: ignore[assignment]
        self._server._open.append(self)
        self._server.connections += 1

    def connection_lost(self, error: Optional[Exception]) -> None:
        """The connection is gone; what was being sent stops."""
        self._server._open.remove(self)
        if self._player is not None:
            self._player.cancel()
        if self._current is not None and not self._current.done:
            self._current.closed_early = True
        self._server.changed()

    def data_received(self, data: bytes) -> None:
        """Bytes have come; answer the requests that are complete."""
        self._received += data
        while self._player is None:
            request = self._next_request()
            if request is None:
                return
            self._current = request
            self._play(request, self._server.answer(request))

    def _next_request(self) -> Optional[Received]:
        top, found, rest = self._received.partition(b"\r\n\r\n")
        if not found:
            return None
        first, *lines = top.decode("latin-1").split("\r\n")
        fields = (line.partition(":") for line in lines)
        headers = {name.lower(): value.strip() for name, _, value in fields}
        length = int(headers.get("content-length", 0))
        if len(rest) < length:
            return None
        self._received = rest[length:]
        method, path, _ = first.split(" ", 2)
        body = json.loads(rest[:length]) if length else None
        return Received(method, path, headers, body, time.monotonic())

    def _play(self, request: Received, steps: Iterator[Step]) -> None:
        """Send what can be sent at once in one write; leave the rest to a task."""
        ready: List[bytes] = []
        for step in steps:
            if not isinstance(step, bytes):
                self._send(request, ready)
                task = self._play_slowly(request, step, steps)
                self._player = asyncio.get_running_loop().create_task(task)
                return
            ready.append(step)
        request.done = True
        self._send(request, ready)

    def _send(self, request: Received, pieces: Sequence[bytes]) -> None:
        data = b"".join(pieces)
        request.sent_bytes += len(data)
        request.sent_tokens += sum(isinstance(piece, Token) for piece in pieces)
        if data:
            self.transport.write(data)

    async def _play_slowly(self, request: Received, first: Step, steps: Iterator[Step]) -> None:
        step: Optional[Step] = first
        while step is not None:
            if isinstance(step, bytes):
                self._send(request, [step])
                self._server.changed()
            elif isinstance(step, Cut):
                return self._cut(request, step)
            else:
                await _pause(step)
            step = next(steps, None)
        request.done = True
        self._player = None
        self._server.changed()
        self.data_received(b"")

    def _cut(self, request: Received, cut: Cut) -> None:
        request.done = True
        if cut.reset:
            linger = struct.pack("ii", 1, 0)
            sock = self.transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.transport.abort()
        else:
            self.transport.close()


async def _pause(seconds: float) -> None:
    if seconds == float("inf"):
        await asyncio.get_running_loop().create_future()
    await asyncio.sleep(seconds)


class ServerThread:
    """A :class:`MessagesServer` with a loop and a thread of its own; use it as ``with``."""

    def __init__(self, port: int = 0) -> None:
        self.server = MessagesServer(port)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="messages-server")

    def __enter__(self) -> ServerThread:
        self._thread.start()
        self._on_loop(self.server.__aenter__())
        return self

    def __exit__(self, *error: Any) -> None:
        self._on_loop(self.server.__aexit__())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.server, name)

    def wait_until(self, predicate: Callable[[], bool], timeout_s: float = 5.0) -> None:
        """As :meth:`MessagesServer.wait_until`, blocking."""
        self._on_loop(self.server.wait_until(predicate, timeout_s))

    def _on_loop(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()


async def _serve(port: int) -> None:
    async with MessagesServer(port) as server:
        print(server.url, flush=True)
        await asyncio.get_running_loop().create_future()


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description="Serve a pretended Messages API on loopback.")
    arguments.add_argument("--port", type=int, default=0, help="port; 0 takes a free one")
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(arguments.parse_args().port))
