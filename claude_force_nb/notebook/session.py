"""What one notebook works with: its shell, its orchestrator, and how its cells run."""

from __future__ import annotations

import asyncio
import inspect
import sys
from types import FrameType
from typing import TYPE_CHECKING, Any, Awaitable, Callable, Coroutine, Optional, Sequence, Tuple

from IPython.core.error import UsageError

from ..errors import ClaudeForceError, InputError
from ..records import AgentRequest, AgentResults
from ..runs import Run
from .background import Background, BackgroundRun
from .foreground import Interrupted, run_blocking

if TYPE_CHECKING:
    from ..orchestrator import AsyncAgentOrchestrator
    from .work import Work

_MAGIC_CALLS = ("run_cell_magic", "run_line_magic")


class Session:
    """The link between one IPython shell and the engine.

    Args:
        shell: The running ``InteractiveShell``.

    Attributes:
        background: The runs that go on after their cells.
    """

    def __init__(self, shell: Any) -> None:
        self.shell = shell
        self.background = Background()
        self._failure: Optional[BaseException] = None

    @property
    def orchestrator(self) -> AsyncAgentOrchestrator:
        """The notebook's orchestrator, the one that ``cf.run`` uses too."""
        from ..current import current_orchestrator

        return current_orchestrator()

    def dispatch(self, start: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        """Run *start*: hand it to a caller that can await it, else block until it is done."""
        if _caller_can_await():
            return self._guarded(start(), of_cell=_caller().f_code.co_name == "<module>")
        return run_blocking(lambda: self._guarded(start(), of_cell=True))

    def usage_error(self, error: BaseException) -> UsageError:
        """*error* as the one-screen error that fails a cell; ``%tb`` shows the whole chain."""
        self._failure = error
        what = str(error) if isinstance(error, ClaudeForceError) else repr(error)
        return UsageError(what)

    def after_cell(self, *_: Any) -> None:
        """Show ended background runs again, tell ``%tb`` what failed, end idle threads."""
        self.background.after_cell()
        failure, self._failure = self._failure, None
        if failure is not None:
            sys.last_type, sys.last_value = type(failure), failure
            sys.last_traceback = failure.__traceback__
        made = _made_orchestrator()
        if made is not None:
            made.release_threads()

    def close(self) -> None:
        """Close the connections at the end of the process, where the loop has stopped by then."""
        from IPython.core.async_helpers import get_asyncio_loop

        made, loop = _made_orchestrator(), get_asyncio_loop()
        if made is not None and not loop.is_running() and not loop.is_closed():
            loop.run_until_complete(made.close())

    async def _guarded(self, work: Awaitable[Any], of_cell: bool) -> Any:
        try:
            return await work
        except asyncio.CancelledError:
            if not of_cell:
                raise
            # The kernel cancels a cell that is interrupted before or after our own wait.
            raise Interrupted("before anything was sent, or after all was done") from None
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
        work = self._work(jobs, quiet=quiet, mode=mode, timeout_s=timeout_s)
        # Bound first: whatever the display does, the answers are there.
        results: AgentResults = await work.wait(lambda outcome: self.bind(out, _only(outcome)))
        self._raise_failures(results)
        return results

    def run_in_background(
        self,
        jobs: Sequence[Tuple[AgentRequest, Run]],
        *,
        out: Optional[str] = None,
        quiet: bool = False,
        mode: Optional[str] = None,
        timeout_s: Optional[float] = None,
    ) -> BackgroundRun:
        """Start *jobs* in the running cell, which does not wait, and bind a handle to *out*.

        Raises:
            InputError: There is no kernel whose event loop goes on between cells.
        """
        self.check_background()
        work = self._work(jobs, quiet=quiet, mode=mode, timeout_s=timeout_s, background=True)
        return self.go_on_in_background(work, out, self._raise_failures)

    def go_on_in_background(
        self, work: Work, out: Optional[str], check: Callable[[Any], None]
    ) -> BackgroundRun:
        """Keep *work*, which has started, and bind a handle to *out*.

        Args:
            work: What runs; its view was told that nobody waits.
            out: Variable that gets the handle.
            check: Raises the error of an outcome that must fail the cell that awaits it.
        """
        handle = BackgroundRun(work, out or "", check)
        self.background.add(handle)
        self.bind(out, handle)
        return handle

    def check_background(self) -> None:
        """Make sure that something can go on between cells.

        Raises:
            InputError: It cannot.
        """
        if getattr(self.shell, "kernel", None) is None:
            raise InputError(
                "--bg needs a notebook: here nothing goes on while the prompt waits for you.",
                advice="Leave it out, or run the agents from Python with asyncio.",
            )

    def _work(
        self, jobs: Sequence[Tuple[AgentRequest, Run]], background: bool = False, **how: Any
    ) -> Work:
        from .work import agents_work

        return agents_work(self.shell, self.orchestrator, jobs, background=background, **how)

    def bind(self, out: Optional[str], value: Any) -> None:
        """Give the notebook's variable *out*, if there is one, a value."""
        if out is not None:
            self.shell.user_ns[out] = value

    def _raise_failures(self, results: AgentResults) -> None:
        failures = [result for result in results if not result.success]
        if not failures:
            return
        error = failures[0].error
        text = "\n".join(
            f"{result.agent_name}: {line if len(failures) == 1 else line.splitlines()[0]}"
            for result in failures
            for line in result.errors or ()
        )
        self._failure = error
        raise UsageError(text) from error


def _only(results: AgentResults) -> Any:
    return results[0] if len(results) == 1 else results


def _made_orchestrator() -> Optional[AsyncAgentOrchestrator]:
    """The notebook's orchestrator if there is one; none is made, nothing is imported."""
    current = sys.modules.get("claude_force_nb.current")
    return current.made_orchestrator() if current else None


def _caller_can_await() -> bool:
    """Whether the code that called our magic is a coroutine on a running loop."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    flags = _caller().f_code.co_flags
    return bool(flags & (inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR))


def _caller() -> FrameType:
    """The frame that called our magic through IPython."""
    frames = [sys._getframe()]
    while frames[-1].f_back is not None:
        frames.append(frames[-1].f_back)
    magic = next(i for i, frame in enumerate(frames) if frame.f_code.co_name in _MAGIC_CALLS)
    return next(f for f in frames[magic:] if f.f_code.co_name not in _MAGIC_CALLS)
