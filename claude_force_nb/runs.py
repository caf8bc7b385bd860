"""A run while it happens: what a display or a log may look at.

The engine writes, everybody else reads. A run changes only on the event loop it runs on; readers
on that loop need no lock. A listener is called after each change and must return at once.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Callable, List, Mapping, Optional

from .records import AgentRequest, AgentResult

QUEUED, RUNNING, DONE, CACHED, FAILED, CANCELLED = STATES = (
    "queued",
    "running",
    "done",
    "cached",
    "failed",
    "cancelled",
)
# A step of a workflow that never became a run, because of a condition or an earlier failure.
SKIPPED = "skipped"


@dataclass(frozen=True)
class Wait:
    """A pause before the next attempt.

    Attributes:
        reason: Why, in a few words, such as ``429``.
        until: End of the pause on the ``time.monotonic`` clock.
    """

    reason: str
    until: float


class Run:
    """Progress of one execution of a request.

    Attributes:
        agent_name: The agent that runs.
        model: The model that was asked.
        state: One of ``queued, running, done, cached, failed, cancelled``.
        attempt: Number of the attempt under way, from 1; 0 while queued.
        waiting: The pause before the next attempt, if there is one now.
        result: The outcome, once there is one.
        metadata: What the starter of the run wants in the result's metadata.
        request: What is asked. Once the run has ended, without its images and documents, and
            after some more runs no longer known.
        cache_status: What the cache said: ``hit``, ``miss``, ``expired`` and so on, or ``off``
            or ``refresh`` if it was not asked; empty before that.
    """

    def __init__(
        self, agent_name: str, model: str = "", metadata: Optional[Mapping[str, Any]] = None
    ) -> None:
        self.agent_name = agent_name
        self.model = model
        self.metadata = dict(metadata or {})
        self.state = QUEUED
        self.attempt = 0
        self.waiting: Optional[Wait] = None
        self.result: Optional[AgentResult] = None
        self.request: Optional[AgentRequest] = None
        self.cache_status = ""
        self._created = time.monotonic()
        self._ended: Optional[float] = None
        self._chunks: List[str] = []
        self._listeners: List[Callable[[Run], None]] = []

    @property
    def text(self) -> str:
        """The answer as far as it has arrived."""
        if len(self._chunks) > 1:
            self._chunks = ["".join(self._chunks)]
        return self._chunks[0] if self._chunks else ""

    @property
    def elapsed_s(self) -> float:
        """Seconds since the run was created, until now or its end."""
        return (self._ended or time.monotonic()) - self._created

    @property
    def ended(self) -> bool:
        """Whether there is a result."""
        return self.result is not None

    def listen(self, listener: Callable[[Run], None]) -> None:
        """Call *listener* with this run after each change."""
        self._listeners.append(listener)

    def restart_clock(self) -> None:
        """Count the seconds from now: the run was shown before it could begin."""
        self._created = time.monotonic()

    def begin_attempt(self, number: int) -> None:
        """A new attempt starts; text of an earlier, broken one is dropped."""
        self.state, self.attempt, self.waiting = RUNNING, number, None
        self._chunks = []
        self._notify()

    def add_text(self, text: str) -> None:
        """Text has arrived."""
        self._chunks.append(text)
        self._notify()

    def wait(self, reason: str, delay_s: float) -> None:
        """The next attempt comes after *delay_s* seconds."""
        self.waiting = Wait(reason, time.monotonic() + delay_s)
        self._notify()

    def end(self, result: AgentResult) -> None:
        """The run is over."""
        self.result, self.state, self.waiting = result, result.state, None
        self._ended = time.monotonic()
        self._notify()

    def _notify(self) -> None:
        for listener in self._listeners:
            listener(self)
