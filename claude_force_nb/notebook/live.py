"""What a cell shows while its runs go on.

In a notebook that somebody watches: the live board of :mod:`.monitor`, at the end replaced by the
static bundle. In a notebook that nobody watches, because a program executes it: the bundle alone,
so that every execution saves the same. In a terminal: the text as it arrives.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Optional, Protocol, Sequence

from ..runs import Run

Stop = Callable[[Optional[Sequence[Run]]], None]


class LiveView(Protocol):
    """A place where runs are watched."""

    def start(self) -> None:
        """Show the runs as they are and follow them; needs a running loop."""
        ...  # pragma: no cover

    async def finish(self, bundle: Dict[str, Any]) -> None:
        """Stop following; show the final *bundle* instead."""
        ...  # pragma: no cover

    def show_again(self) -> None:
        """Send the final bundle once more, where the output can be replaced by it."""
        ...  # pragma: no cover


class QuietView:
    """Shows nothing until the end.

    Args:
        runs: What is waited for.
        background: The cell does not wait: one line holds the place of the final bundle.
    """

    def __init__(self, runs: Sequence[Run], background: bool = False) -> None:
        self._runs = runs
        self._background = background
        self._handle: Any = None
        self._final: Optional[Dict[str, Any]] = None

    def start(self) -> None:
        """Hold a place if the final bundle needs one."""
        from IPython.display import display

        from .rendering import plain_html, visible

        if self._background:
            names = ", ".join(run.agent_name for run in self._runs)
            line = f"Running in the background: {names}"
            bundle = {"text/html": plain_html(line), "text/plain": visible(line)}
            self._handle = display(bundle, raw=True, display_id=True)

    async def finish(self, bundle: Dict[str, Any]) -> None:
        """Show the final bundle."""
        from IPython.display import display

        self._final = bundle
        if self._handle is None:
            display(bundle, raw=True)
        else:
            self.show_again()

    def show_again(self) -> None:
        """Put the final bundle into its place."""
        if self._handle is not None and self._final is not None:
            self._handle.update(self._final, raw=True)


class TerminalView:
    """Prints a single run's text as it arrives; of several runs a line whenever one ends.

    Args:
        runs: What is watched.
        quiet: Print nothing before the end.
    """

    def __init__(self, runs: Sequence[Run], quiet: bool = False) -> None:
        self._runs = [] if quiet else list(runs)
        self._attempt = 0
        self._printed = 0

    def start(self) -> None:
        """Follow the runs."""
        listener = self._show if len(self._runs) == 1 else self._tell
        for run in self._runs:
            run.listen(listener)

    async def finish(self, bundle: Dict[str, Any]) -> None:
        """Print what was not streamed: the rest, and the footer."""
        lines: List[str] = bundle["text/plain"].splitlines()
        if self._printed:
            print()
            lines = lines[-1:]
        print("\n".join(lines))

    def show_again(self) -> None:
        """What is printed stays."""

    def _tell(self, run: Run) -> None:
        from .rendering import visible

        if run.ended:
            left = sum(not other.ended for other in self._runs)
            rest = f", {left} to go" if left else ""
            print(f"{visible(run.agent_name)}: {run.state} after {run.elapsed_s:.1f} s{rest}")

    def _show(self, run: Run) -> None:
        from .rendering import visible

        if run.attempt != self._attempt:
            if self._printed:
                print(f"\n(attempt {run.attempt})")
            self._attempt, self._printed = run.attempt, 0
        text = run.text
        print(visible(text[self._printed :]), end="", flush=True)
        self._printed = len(text)


def is_watched(kernel: Any) -> bool:
    """Whether a person sits in front of the running cell.

    A program that executes notebooks (nbclient, papermill, nbconvert) says with each cell that
    nobody answers its questions; then nobody presses its buttons either, and a board would leave
    nothing but the state of dead widgets in the saved notebook.
    """
    return bool(getattr(kernel, "_allow_stdin", True))


def view_for(
    shell: Any,
    runs: Sequence[Run],
    quiet: bool,
    content: Optional[Callable[[], str]] = None,
    stop: Optional[Stop] = None,
    *,
    background: bool = False,
) -> LiveView:
    """The view that fits the front end of *shell*.

    Args:
        shell: The running ``InteractiveShell``.
        runs: What is watched.
        quiet: Show nothing before the end.
        content: Makes the HTML to show meanwhile; by default a row for each run.
        stop: Cancels the given runs, or all, on their event loop; without it nothing has a Cancel
            button.
        background: The cell does not wait, so its output must begin while it still runs.
    """
    kernel = getattr(shell, "kernel", None)
    if kernel is None:
        return TerminalView(runs, quiet)
    if quiet or not is_watched(kernel):
        return QuietView(runs, background)
    from .monitor import Board

    return Board(kernel, runs, content, stop, at_once=background)
