"""What a cell has started: its tasks, the view that watches them, and what comes out."""

from __future__ import annotations

import asyncio
import functools
from typing import (
    TYPE_CHECKING,
    Any,
    Callable,
    Coroutine,
    Dict,
    Iterable,
    List,
    Optional,
    Sequence,
    Tuple,
)

from ..outcomes import describe
from ..records import AgentRequest, AgentResult, AgentResults
from ..runs import CANCELLED, FAILED, Run
from .foreground import ForegroundWait, Interrupted
from .live import view_for

if TYPE_CHECKING:
    from ..orchestrator import AsyncAgentOrchestrator

Bundle = Dict[str, Any]
Job = Tuple[Sequence[Run], Coroutine[Any, Any, Any]]


class Work:
    """The tasks of one cell and where they are watched.

    Args:
        shell: The running ``InteractiveShell``.
        runs: What the tasks report to, in the order in which they are shown.
        outcome: Gives what has come out so far; called at the end, and whenever somebody asks.
        bundle: Shows an outcome for good.
        content: Makes the HTML to show meanwhile; by default a row for each run.
        told: Sums up an outcome in a line; by default the states of the runs.
        quiet: Show nothing before the end.
        background: The cell does not wait, so its output must begin while it still runs.

    Attributes:
        ended: Whether the final bundle is shown.
    """

    def __init__(
        self,
        shell: Any,
        runs: Sequence[Run],
        *,
        outcome: Callable[[], Any],
        bundle: Callable[[Any], Bundle],
        content: Optional[Callable[[], str]] = None,
        told: Optional[Callable[[Any], str]] = None,
        quiet: bool = False,
        background: bool = False,
    ) -> None:
        self.runs = list(runs)
        self.outcome = outcome
        self.bundle = bundle
        self._told = told
        self.view = view_for(shell, self.runs, quiet, content, self.stop, background=background)
        self.ended = False
        self._tasks: List[asyncio.Task[Any]] = []
        self._task_of: Dict[Run, asyncio.Task[Any]] = {}

    def start(self, jobs: Iterable[Job]) -> None:
        """Show the runs and start the coroutines that they belong to."""
        self.view.start()
        for runs, coroutine in jobs:
            task = asyncio.ensure_future(coroutine)
            task.add_done_callback(functools.partial(_close, runs))
            self._tasks.append(task)
            self._task_of.update(dict.fromkeys(runs, task))

    @property
    def separable(self) -> bool:
        """Whether a run can be stopped without the others."""
        return len(self._tasks) == len(self.runs)

    def stop(self, runs: Optional[Sequence[Run]] = None) -> None:
        """Cancel the tasks of *runs*, by default of all; to be called on their loop."""
        chosen = self.runs if runs is None else runs
        tasks = {self._task_of[run] for run in chosen if run in self._task_of}
        for task in tasks if runs is not None else self._tasks:
            task.cancel()

    async def wait(self, at_end: Optional[Callable[[Any], None]] = None) -> Any:
        """Wait in a cell, then show the outcome in it.

        Args:
            at_end: Gets the outcome, also of an interrupted cell.

        Raises:
            Interrupted: The user interrupted.
        """
        wait = ForegroundWait(self._tasks)
        try:
            interrupted = await wait.wait()
        finally:
            outcome = self.outcome()
            if at_end is not None:
                at_end(outcome)
            await self.finish()
        if interrupted:
            raise Interrupted(self._told(outcome) if self._told else self._states())
        return outcome

    def _states(self) -> str:
        return ", ".join(f"{run.agent_name} {run.state}" for run in self.runs)

    async def follow(self) -> None:
        """Wait where no cell does, then show the outcome in the cell that began it."""
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self.finish()

    async def finish(self) -> None:
        """Show the outcome as it is now, once."""
        if not self.ended:
            self.ended = True
            await self.view.finish(self.bundle(self.outcome()))


def agents_work(
    shell: Any,
    orchestrator: AsyncAgentOrchestrator,
    jobs: Sequence[Tuple[AgentRequest, Run]],
    *,
    quiet: bool = False,
    background: bool = False,
    mode: Optional[str] = None,
    timeout_s: Optional[float] = None,
) -> Work:
    """Start *jobs* at once; the outcome is their :class:`~claude_force_nb.records.AgentResults`."""
    from .bundle import results_bundle

    runs = [run for _, run in jobs]
    work = Work(
        shell,
        runs,
        outcome=lambda: AgentResults(_result(run) for run in runs),
        bundle=results_bundle,
        quiet=quiet,
        background=background,
    )
    work.start(
        ([run], orchestrator.execute(request, run=run, mode=mode, timeout_s=timeout_s))
        for request, run in jobs
    )
    return work


def _close(runs: Sequence[Run], task: asyncio.Task[Any]) -> None:
    """Give *runs* an end that their task did not give them, and mark its exception as seen."""
    error = None if task.cancelled() else task.exception()
    for run in runs:
        if not run.ended and task.cancelled():
            run.end(_stand_in(run, CANCELLED, "Cancelled before it began."))
        elif not run.ended and error is not None:
            run.end(_stand_in(run, FAILED, describe(error), error))


def _result(run: Run) -> AgentResult:
    """The run's result; a stand-in for one that is still under way."""
    return run.result or _stand_in(run, CANCELLED, "Still stopping when the cell ended.")


def _stand_in(
    run: Run, state: str, reason: str, error: Optional[BaseException] = None
) -> AgentResult:
    return AgentResult(
        run.agent_name,
        success=False,
        output=run.text,
        metadata=run.metadata,
        errors=[reason],
        model=run.model,
        elapsed_s=run.elapsed_s,
        state=state,
        error=error,
    )
