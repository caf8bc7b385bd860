"""What one notebook works with: its shell, its orchestrator, and how its cells run."""

from __future__ import annotations

import asyncio
import inspect
import sys
from types import FrameType
from typing import TYPE_CHECKING, Any, Awaitable, Callable, Coroutine, Optional, Sequence, Tuple

from IPython.core.error import UsageError

from ..errors import ClaudeForceError
from ..records import AgentRequest, AgentResult, AgentResults
from ..runs import Run
from .foreground import ForegroundWait, Interrupted, run_blocking

if TYPE_CHECKING:
    from ..orchestrator import AsyncAgentOrchestrator

_MAGIC_CALLS = ("run_cell_magic", "run_line_magic")


class Session:
    """The link between one IPython shell and the engine.

    Args:
        shell: The running ``InteractiveShell``.
    """

    def __init__(self, shell: Any) -> None:
        self.shell = shell
        self._failure: Optional[BaseException] = None

    @property
    def orchestrator(self) -> AsyncAgentOrchestrator:
        """The notebook's orchestrator, the one that ``cf.run`` uses too."""
        from ..current import current_orchestrator

        return current_orchestrator()

    def dispatch(self, start: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        """Run *start*: hand it to a caller that can await it, else block until it is done."""
        if _caller_can_await():
            return self._guarded(start())
        return run_blocking(lambda: self._guarded(start()))

    def usage_error(self, error: BaseException) -> UsageError:
        """*error* as the one-screen error that fails a cell; ``%tb`` shows the whole chain."""
        self._failure = error
        what = str(error) if isinstance(error, ClaudeForceError) else repr(error)
        return UsageError(what)

    def after_cell(self, *_: Any) -> None:
        """Let ``%tb`` find what stood behind the last usage error; end idle threads."""
        failure, self._failure = self._failure, None
        if failure is not None:
            sys.last_type, sys.last_value = type(failure), failure
            sys.last_traceback = failure.__traceback__
        if "claude_force_nb.current" in sys.modules:
            self.orchestrator.release_threads()

    async def _guarded(self, work: Awaitable[Any]) -> Any:
        try:
            return await work
        except ClaudeForceError as error:
            raise self.usage_error(error) from error

    async def run_in_cell(
        self,
        jobs: Sequence[Tuple[AgentRequest, Run]],
        *,
        out: Optional[str] = None,
        quiet: bool = False,
        mode: Optional[str] = None,
        timeout_s: Optional[float] = None,
    ) -> AgentResults:
        """Run *jobs* at once, show them, bind the results to *out*, and wait.

        Raises:
            UsageError: A run failed; the others' answers are shown and bound all the same.
            Interrupted: The user interrupted.
        """
        from .bundle import results_bundle
        from .live import view_for

        orchestrator = self.orchestrator
        runs = [run for _, run in jobs]
        view = view_for(self.shell, runs, quiet)
        view.start()
        tasks = [
            asyncio.ensure_future(
                orchestrator.execute(request, run=run, mode=mode, timeout_s=timeout_s)
            )
            for request, run in jobs
        ]
        wait = ForegroundWait(tasks)
        try:
            interrupted = await wait.wait()
        finally:
            results = AgentResults(_result(run) for run in runs)
            _consume(tasks)
            # Bound first: whatever the display does, the answers are there.
            if out is not None:
                self.shell.user_ns[out] = results[0] if len(results) == 1 else results
            await view.finish(results_bundle(results))
        if interrupted:
            raise Interrupted(", ".join(f"{run.agent_name} {run.state}" for run in runs))
        self._raise_failures(results)
        return results

    def _raise_failures(self, results: AgentResults) -> None:
        failures = [result for result in results if not result.success]
        if not failures:
            return
        error = failures[0].error
        text = "\n".join(
            f"{result.agent_name}: {line}" for result in failures for line in result.errors or ()
        )
        self._failure = error
        raise UsageError(text) from error


def _result(run: Run) -> AgentResult:
    """The run's result; a stand-in if the user stopped waiting before there was one."""
    return run.result or AgentResult(
        run.agent_name,
        success=False,
        output=run.text,
        metadata=run.metadata,
        errors=["Still stopping when the cell ended."],
        model=run.model,
        elapsed_s=run.elapsed_s,
        state="cancelled",
    )


def _consume(tasks: Sequence[asyncio.Future[Any]]) -> None:
    """Mark exceptions as seen: every failure already is in a result."""
    for task in tasks:
        task.add_done_callback(lambda done: done.cancelled() or done.exception())


def _caller_can_await() -> bool:
    """Whether the code that called our magic is a coroutine on a running loop."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    frame: Optional[FrameType] = sys._getframe()
    while frame is not None and frame.f_code.co_name not in _MAGIC_CALLS:
        frame = frame.f_back
    while frame is not None and frame.f_code.co_name in _MAGIC_CALLS:
        frame = frame.f_back
    flags = frame.f_code.co_flags if frame is not None else 0
    return bool(flags & (inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR))
