"""Runs that go on after their cell: handles, and the list that keeps them."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, deque
from typing import TYPE_CHECKING, Any, Callable, Deque, Dict, Generator, List, Optional, Sequence

from ..errors import InputError
from ..records import AgentResults
from ..runs import CACHED, CANCELLED, DONE, FAILED, QUEUED, RUNNING, Run

if TYPE_CHECKING:
    from .work import Work

KEPT = 50
"""How many ended background runs are remembered, for their names and their last update."""

TOLD = 4
"""Of more runs than this the ``repr`` of a handle tells only how many are in which state."""

logger = logging.getLogger(__name__)


class BackgroundRun:
    """Agents that run while the notebook goes on; what ``--bg -o NAME`` binds to ``NAME``.

    ``await handle`` waits like a foreground cell: it gives the result, an interrupt stops the run,
    and a failure raises. Everything else never waits.

    Args:
        work: What runs.
        name: The variable it is bound to, or empty.
        check: Raises the error of an outcome that must fail the cell that awaits it.
    """

    def __init__(self, work: Work, name: str, check: Callable[[Any], None]) -> None:
        self.name = name
        self._work = work
        self._check = check
        self._loop = asyncio.get_running_loop()
        self._follower = self._loop.create_task(self._follow())

    @property
    def runs(self) -> Sequence[Run]:
        """What runs, one for each agent, in the order given."""
        return self._work.runs

    @property
    def separable(self) -> bool:
        """Whether one of the runs can be stopped without the others; steps of a workflow cannot."""
        return self._work.separable

    @property
    def ended(self) -> bool:
        """Whether there is a result."""
        return self._follower.done()

    @property
    def result(self) -> Any:
        """The result, success or not, as a foreground cell would bind it; ``None`` before."""
        return _plain(self._work.outcome()) if self.ended else None

    @property
    def text(self) -> str:
        """The answer as far as it has arrived; of several agents, one after the other."""
        parts = [run.result.output if run.result else run.text for run in self.runs]
        if len(parts) == 1:
            return parts[0]
        names = [run.agent_name for run in self.runs]
        return "\n\n".join(f"{name}\n\n{part}" for name, part in zip(names, parts))

    @property
    def state(self) -> str:
        """One of ``queued, running, done, cached, failed, cancelled``.

        Of several agents: what is still to come counts before a failure, a failure before a
        cancellation, and that before success.
        """
        states = {run.state for run in self.runs}
        if states == {QUEUED}:
            return QUEUED
        if not self.ended:
            return RUNNING
        return next((s for s in (FAILED, CANCELLED, DONE, CACHED) if s in states), DONE)

    def cancel(self, runs: Optional[Sequence[Run]] = None) -> None:
        """Stop what still runs, or only *runs*; may be called from any thread."""
        self._loop.call_soon_threadsafe(self._work.stop, runs)

    def show_again(self) -> None:
        """Send the final output once more, as part of the cell that ends now.

        A client that executes notebooks listens to the running cell only, and would save the
        notebook without what was shown between two cells.
        """
        self._work.view.show_again()

    def __await__(self) -> Generator[Any, None, Any]:
        return self._wait().__await__()

    async def _wait(self) -> Any:
        outcome = await self._work.wait()
        await self._follower
        self._check(outcome)
        return _plain(outcome)

    async def _follow(self) -> None:
        try:
            await self._work.follow()
        except Exception:  # nobody awaits this task
            logger.exception("a background run could not show its result")

    def __repr__(self) -> str:
        if len(self.runs) > TOLD:
            states = Counter(run.state for run in self.runs)
            told = ", ".join(f"{count} {state}" for state, count in states.items())
        else:
            told = ", ".join(_told(run) for run in self.runs)
        return f"<background run{'s' if len(self.runs) > 1 else ''}: {told}>"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> Dict[str, Any]:
        if self.ended:
            return self._work.bundle(self._work.outcome())
        from .rendering import plain_html, visible

        return {"text/html": plain_html(repr(self)), "text/plain": visible(repr(self))}


def _plain(outcome: Any) -> Any:
    """One result without its tuple."""
    return outcome[0] if isinstance(outcome, AgentResults) and len(outcome) == 1 else outcome


def _told(run: Run) -> str:
    characters = len(run.result.output if run.result else run.text)
    return f"{run.agent_name} {run.state}, {run.elapsed_s:.0f} s, {characters:,} characters"


class Background:
    """The background runs of one kernel.

    It holds them strongly: the event loop alone would let a task vanish that nobody else knows.
    """

    def __init__(self) -> None:
        self._handles: List[BackgroundRun] = []
        self._past: Deque[BackgroundRun] = deque(maxlen=KEPT)

    def add(self, handle: BackgroundRun) -> None:
        """Keep *handle* at least until it has ended and was shown."""
        self._handles.append(handle)

    @property
    def active(self) -> List[BackgroundRun]:
        """What has not ended, oldest first."""
        return [handle for handle in self._handles if not handle.ended]

    @property
    def known(self) -> List[BackgroundRun]:
        """What runs and what has ended lately."""
        return [*self._past, *self._handles]

    def after_cell(self) -> None:
        """Show again what has ended, now that a cell's output is listened to."""
        for handle in [handle for handle in self._handles if handle.ended]:
            self._handles.remove(handle)
            self._past.append(handle)
            handle.show_again()

    def cancel(self, name: str) -> List[Run]:
        """Stop the background runs called *name*: a variable, an agent, or ``all``.

        Returns:
            What is being stopped.

        Raises:
            InputError: Nothing of this name runs in the background.
        """
        stopped: List[Run] = []
        for handle in self.active:
            stopped += _stopped(handle, name)
        if stopped or name == "all":
            return stopped
        known = {n for handle in self.active for n in _names(handle)}
        advice = f"These run: {', '.join(sorted(known))}." if known else "Nothing does."
        raise InputError(f"Nothing called {name} runs in the background.", advice=advice)


def _names(handle: BackgroundRun) -> List[str]:
    agents = [run.agent_name for run in handle.runs] if handle.separable else []
    return [*([handle.name] if handle.name else []), *agents]


def _stopped(handle: BackgroundRun, name: str) -> List[Run]:
    if name != "all" and name not in _names(handle):
        return []
    whole = name in ("all", handle.name)
    chosen = [run for run in handle.runs if not run.ended and (whole or run.agent_name == name)]
    handle.cancel(chosen)
    return chosen
