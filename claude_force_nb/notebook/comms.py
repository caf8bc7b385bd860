"""Button clicks while a cell runs, also on kernels that keep messages until it has ended.

From ipykernel 7.4 on, widget messages reach their widget while a cell is awaited. Before, they
wait in a queue. While somebody asks for it, the pump here takes the messages for some widgets out
of that queue, and for no others: what the notebook's own widgets do, and when, stays as it is.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from typing import Any, Awaitable, Callable, Iterable, List, Optional, Set

POLL_S = 0.05

Wanted = Callable[[Any], bool]
Stop = Callable[[], None]


class CommPump:
    """Lets messages for chosen widgets through while a cell is awaited.

    Only for the thread of the kernel's event loop.
    """

    def __init__(self) -> None:
        self._comm_ids: Set[str] = set()
        self._stop: Optional[Stop] = None

    def open(self, kernel: Any, comm_ids: Iterable[str]) -> None:
        """Let messages for *comm_ids* through, until :meth:`close`."""
        self._comm_ids.update(comm_ids)
        if self._stop is None:
            self._stop = _start(kernel, lambda frames: self._wants(kernel, frames))

    def close(self, comm_ids: Iterable[str]) -> None:
        """Stop letting messages for *comm_ids* through."""
        self._comm_ids.difference_update(comm_ids)
        if not self._comm_ids and self._stop is not None:
            self._stop()
            self._stop = None

    def _wants(self, kernel: Any, frames: Any) -> bool:
        """Whether a raw message is for one of our widgets.

        It is looked at without checking its signature: a second check of the same message would
        take it for a copy and refuse it. The first check is made when it is delivered.
        """
        try:
            _, parts = kernel.session.feed_identities(list(frames), copy=False)
            header, content = (_unpacked(kernel.session, parts[place]) for place in (1, 4))
            return header["msg_type"] == "comm_msg" and content["comm_id"] in self._comm_ids
        except Exception:  # not a message that we know
            return False


PUMP = CommPump()
"""The pump of this kernel."""


def _unpacked(session: Any, frame: Any) -> Any:
    return session.unpack(getattr(frame, "bytes", frame))


def _start(kernel: Any, wanted: Wanted) -> Stop:
    """Begin to pump in the way this kernel needs; return what ends it."""
    if getattr(kernel, "shell_channel_thread", None) is not None:
        if "concurrent" in inspect.signature(kernel.dispatch_shell).parameters:
            return _nothing
        return _divert_channel(kernel, wanted)
    if hasattr(kernel, "msg_queue"):
        task = asyncio.get_running_loop().create_task(_empty_queue(kernel, wanted))

        def end() -> None:
            task.cancel()

        return end
    return _nothing


def _nothing() -> None:
    """Nothing has to be ended where the kernel itself lets messages through."""


async def _empty_queue(kernel: Any, wanted: Wanted) -> None:
    """Look through the queue of ipykernel 6 again and again."""
    while True:
        await asyncio.sleep(POLL_S)
        for frames in _taken(kernel.msg_queue, wanted):
            await _deliver(kernel, frames)


def _taken(queue: Any, wanted: Wanted) -> List[Any]:
    """Take what is wanted out of *queue*; the rest keeps its order."""
    taken = []
    for item in [queue.get_nowait() for _ in range(queue.qsize())]:
        arguments = item[2]
        if arguments and isinstance(arguments[0], list) and wanted(arguments[0]):
            taken.append(arguments[0])
        else:
            queue.put_nowait(item)
    return taken


def _divert_channel(kernel: Any, wanted: Wanted) -> Stop:
    """Take our messages before ipykernel 7.0 to 7.3 queues them up behind the running cell."""
    manager = kernel.shell_channel_thread.manager
    usual: Callable[[Any, Any], Awaitable[Any]] = kernel.shell_main

    async def receive(subshell_id: Optional[str], frames: Any) -> Any:
        if subshell_id is None and wanted(frames):
            return await _deliver(kernel, frames)
        return await usual(subshell_id, frames)

    manager.set_on_recv_callback(receive)
    return lambda: manager.set_on_recv_callback(usual)


async def _deliver(kernel: Any, frames: Any) -> None:
    """Hand a message to its widget as the kernel would, but for the running cell's sake.

    The kernel would make it the parent of everything that is shown from now on.
    """
    session = kernel.session
    with contextlib.suppress(ValueError):  # its signature is wrong
        identities, parts = session.feed_identities(frames, copy=False)
        message = session.deserialize(parts, content=True, copy=False)
        done = kernel.shell_handlers["comm_msg"](kernel.shell_stream, identities, message)
        if inspect.isawaitable(done):
            await done
        # A front end sends the next message of a widget only after this one is said to be done.
        kernel._publish_status("idle", "shell", parent=message)
