"""A real Jupyter kernel for tests, and what a front end would show of its cells."""

from __future__ import annotations

import os
import queue
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Dict, List, Mapping, Optional, Type

from jupyter_client.manager import KernelManager

TIMEOUT_S = 60.0


@dataclass
class Cell:
    """One executed cell, as a front end keeps it.

    Attributes:
        outputs: Display data and results in order; updates replace what they update.
        streams: Text of stdout and stderr.
        error: Name and text of the exception, empty if there was none.
        status: ``ok`` or ``error`` as the kernel replied.
        elapsed_s: Seconds from sending the cell to its reply.
        painted: Every value the cell's widgets took, in order, with the time it came.
    """

    outputs: List[Dict[str, Any]] = field(default_factory=list)
    streams: Dict[str, str] = field(default_factory=lambda: {"stdout": "", "stderr": ""})
    error: str = ""
    status: str = ""
    elapsed_s: float = 0.0
    painted: List[Any] = field(default_factory=list)

    @property
    def text(self) -> str:
        """Everything shown as plain text."""
        shown = "\n".join(str(output.get("text/plain", "")) for output in self.outputs)
        return shown + self.streams["stdout"]

    @property
    def html(self) -> str:
        """Everything shown as HTML."""
        return "\n".join(str(output.get("text/html", "")) for output in self.outputs)

    @property
    def stderr(self) -> str:
        """What went to stderr, where IPython shows usage errors."""
        return self.streams["stderr"]


class Kernel:
    """A kernel process of this interpreter.

    Args:
        environ: Added to the environment; the home directory should be a fresh one.
        cwd: Folder the kernel works in.

    Attributes:
        seen: Messages to every front end that :meth:`collect` has not looked at yet.
        widgets: The state of every widget that a front end would have by now, by comm id.
    """

    def __init__(self, cwd: Path, environ: Optional[Mapping[str, str]] = None) -> None:
        self._manager = KernelManager(kernel_name="python3")
        self._manager.kernel_spec.argv[0] = sys.executable
        self._cwd = cwd
        self._environ = {**os.environ, **(environ or {})}
        self._displays: Dict[str, Dict[str, Any]] = {}
        self.seen: List[Dict[str, Any]] = []
        self.widgets: Dict[str, Dict[str, Any]] = {}

    def __enter__(self) -> Kernel:
        self._manager.start_kernel(cwd=str(self._cwd), env=self._environ)
        self.client = self._manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=TIMEOUT_S)
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        self.client.stop_channels()
        # Asked to, not killed: its exit handlers run, and with them those that measure coverage.
        self._manager.shutdown_kernel(now=False)

    def load(self, *lines: str) -> None:
        """Load the extension, then run *lines*; each must succeed."""
        for line in ("%load_ext claude_force_nb", *lines):
            cell = self.run(line)
            assert cell.status == "ok", (line, cell.error, cell.stderr)

    def run(self, code: str, timeout_s: float = TIMEOUT_S) -> Cell:
        """Run a cell as a program does, which answers no questions, and wait for its end."""
        return self.collect(self.submit(code, watched=False), timeout_s)

    def submit(self, code: str, watched: bool = True) -> str:
        """Send a cell as a front end does, before somebody who watches; return its message id."""
        return str(self.client.execute(code, allow_stdin=watched))

    def interrupt(self) -> None:
        """Press the Stop button."""
        self._manager.interrupt_kernel()

    def evaluate(self, expression: str) -> str:
        """The ``repr`` of an expression in the kernel."""
        cell = self.run(f"print(repr({expression}))")
        assert cell.status == "ok", cell.error
        return cell.streams["stdout"].strip()

    def wait_for_paint(self, text: str, timeout_s: float = TIMEOUT_S) -> float:
        """Wait until a widget of the running cell shows *text*; return when (monotonic)."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            message = self.next_message(timeout_s)
            if message["msg_type"] in ("comm_open", "comm_msg") and text in _widget_value(message):
                return time.monotonic()
        raise AssertionError(f"no widget showed {text!r}")

    def next_message(self, timeout_s: float = TIMEOUT_S) -> Dict[str, Any]:
        """Wait for the next message that every front end gets; :meth:`collect` sees it too.

        Raises:
            queue.Empty: None came.
        """
        message: Dict[str, Any] = self.client.get_iopub_msg(timeout=timeout_s)
        kind, content = message["msg_type"], message["content"]
        if kind == "comm_open":
            self.widgets[content["comm_id"]] = {}
        if kind == "comm_close":
            self.widgets.pop(content["comm_id"], None)
        elif kind in ("comm_open", "comm_msg") and content["comm_id"] in self.widgets:
            self.widgets[content["comm_id"]].update(content["data"].get("state") or {})
        self.seen.append(message)
        return message

    def press(self, tooltip: str) -> None:
        """Press the newest button that is known and has this tooltip, as a front end would."""
        found = [i for i, state in self.widgets.items() if state.get("tooltip") == tooltip]
        data = {"method": "custom", "content": {"event": "click"}}
        content = {"comm_id": found[-1], "data": data}
        self.client.shell_channel.send(self.client.session.msg("comm_msg", content))

    def collect(self, message_id: str, timeout_s: float = TIMEOUT_S) -> Cell:
        """Gather what a sent cell shows, until it is idle."""
        cell, started = Cell(), time.monotonic()
        deadline = started + timeout_s
        while not self._take_seen(cell, message_id):
            try:
                self.next_message(max(0.01, deadline - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"the cell did not end in {timeout_s} s: {cell}") from None
        cell.elapsed_s = time.monotonic() - started
        reply = self._reply(message_id)
        cell.status = reply["content"]["status"]
        return cell

    def _reply(self, message_id: str) -> Dict[str, Any]:
        while True:
            reply: Dict[str, Any] = self.client.get_shell_msg(timeout=TIMEOUT_S)
            if reply["parent_header"].get("msg_id") == message_id:
                return reply

    def _take_seen(self, cell: Cell, message_id: str) -> bool:
        """Put what was seen into *cell*; whether it is idle."""
        idle = False
        while self.seen and not idle:
            message = self.seen.pop(0)
            self._take(cell, message, message_id)
            mine = message["parent_header"].get("msg_id") == message_id
            idle = mine and message["content"].get("execution_state") == "idle"
        return idle

    def _take(self, cell: Cell, message: Dict[str, Any], message_id: str) -> None:
        kind, content = message["msg_type"], message["content"]
        display_id = content.get("transient", {}).get("display_id")
        if kind == "update_display_data":
            shown = self._displays.get(display_id)
            if shown is not None:
                shown.clear()
                shown.update(content["data"])
        if kind in ("comm_open", "comm_msg"):
            cell.painted.append((time.monotonic(), _widget_value(message)))
        if message["parent_header"].get("msg_id") != message_id:
            return
        if kind in ("display_data", "execute_result"):
            data = dict(content["data"])
            cell.outputs.append(data)
            if display_id:
                self._displays[display_id] = data
        elif kind == "stream":
            cell.streams[content["name"]] += content["text"]
        elif kind == "error":
            cell.error = f"{content['ename']}: {content['evalue']}"


def _widget_value(message: Dict[str, Any]) -> str:
    state = message["content"].get("data", {}).get("state", {})
    return str(state.get("value", "")) if isinstance(state, dict) else ""
