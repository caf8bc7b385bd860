"""``%agents runs`` and ``%agents cancel``: what runs in this kernel, and how to stop it."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any, Dict, List, Sequence

from ..errors import InputError
from ..runs import Run
from .rendering import visible
from .session import Session
from .tables import show_table

SHOWN = 50
"""The table shows this many of the last runs; a DataFrame has all."""


class RunCommands:
    """The words of ``%agents`` about runs.

    Args:
        session: What the notebook works with.
    """

    def __init__(self, session: Session) -> None:
        self._session = session

    async def runs(self, words: Sequence[str]) -> Any:
        """List running and ended runs of this kernel, as a DataFrame where pandas is installed.

        Returns:
            The DataFrame, newest run last; ``None`` if a table was shown instead.

        Raises:
            InputError: Words follow.
        """
        if words:
            raise InputError("%agents runs takes no words.", advice="It lists all runs.")
        rows = [_row(run, name) for run, name in self._known()]
        if not rows:
            print("Nothing has run in this kernel yet.")
            return None
        if find_spec("pandas") is not None:
            import pandas

            return pandas.DataFrame(rows)
        if len(rows) > SHOWN:
            print(f"The last {SHOWN} of {len(rows)} runs:")
        show_table(tuple(rows[0]), [tuple(map(_cell, row.values())) for row in rows[-SHOWN:]])
        return None

    async def cancel(self, words: Sequence[str]) -> None:
        """Stop background runs: cancel NAME (a variable or an agent) or cancel all.

        Raises:
            InputError: No name was given, or nothing of this name runs in the background.
        """
        if len(words) != 1:
            raise InputError("Cancel which run?", advice="%agents cancel NAME, or all.")
        stopped = self._session.background.cancel(words[0])
        names = ", ".join(visible(run.agent_name) for run in stopped)
        print(f"Stopping {names}." if stopped else "Nothing runs in the background.")

    def _known(self) -> List[Any]:
        """Every run that is remembered, with its handle's name; what still runs comes last."""
        names = {
            run: handle.name for handle in self._session.background.known for run in handle.runs
        }
        ended = list(self._session.orchestrator.recent_runs)
        seen = set(ended)
        others = [run for run in names if run not in seen]
        return [(run, names.get(run, "")) for run in [*ended, *others]]


def _row(run: Run, name: str) -> Dict[str, Any]:
    result = run.result
    usage = result.usage if result is not None else None
    return {
        "agent": visible(run.agent_name),
        "name": name,
        "state": run.state,
        "model": visible(result.model if result is not None else run.model),
        "elapsed_s": round(run.elapsed_s, 2),
        "attempts": run.attempt,
        "input_tokens": usage.prompt_tokens if usage is not None else None,
        "output_tokens": usage.output_tokens if usage is not None else None,
        "cost_usd": result.cost_usd if result is not None else None,
        "error": visible("; ".join(result.errors or ())) if result is not None else "",
    }


def _cell(value: Any) -> str:
    return "" if value is None else str(value)
