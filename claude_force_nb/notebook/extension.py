"""Loading and unloading the extension."""

from __future__ import annotations

import atexit
from typing import Any, Callable, Dict

from IPython.core.error import UsageError
from IPython.core.magic import MagicsManager

from .completion import Completion
from .displays import register_displays, unregister_displays
from .magics import AgentMagics
from .notices import OneLineWarnings
from .rewriting import MAGICS, Rewriter
from .session import Session
from .workflow_magic import WorkflowMagics

_ATTRIBUTE = "_claude_force_nb"


class Extension:
    """Everything that loading adds to a shell, so that unloading can take it away.

    Args:
        shell: The running ``InteractiveShell``.
    """

    def __init__(self, shell: Any) -> None:
        self._shell = shell
        self.session = Session(shell)
        self._rewriter = Rewriter()
        self._completion = Completion(shell, self.session)
        self._warnings = OneLineWarnings()
        self._events = [
            ("pre_run_cell", self._rewriter.before_cell),
            ("post_run_cell", self._rewriter.after_cell),
            ("post_run_cell", self.session.after_cell),
        ]

    def load(self) -> None:
        """Register magics, the rewriting of cells, events and completion."""
        self._shell.register_magics(AgentMagics(self._shell, self.session))
        self._shell.register_magics(WorkflowMagics(self._shell, self.session))
        register_displays(self._shell)
        for name in MAGICS:
            self._shell.register_magic_function(_misplaced(name), "line", f"%{name}")
        self._shell.input_transformers_post.append(self._rewriter)
        for event, callback in self._events:
            self._shell.events.register(event, callback)
        # The cell that loads the extension is running now.
        self._rewriter.executing = True
        self._completion.register()
        self._warnings.install()
        atexit.register(self.session.close)

    def unload(self) -> None:
        """Take back what :meth:`load` did."""
        self._shell.input_transformers_post.remove(self._rewriter)
        for event, callback in self._events:
            self._shell.events.unregister(event, callback)
        self._completion.unregister()
        self._warnings.remove()
        atexit.unregister(self.session.close)
        unregister_displays(self._shell)
        magics: MagicsManager = self._shell.magics_manager
        for kind, names in _registered().items():
            for name in names:
                magics.magics[kind].pop(name, None)


def _registered() -> Dict[str, tuple[str, ...]]:
    return {
        "cell": MAGICS,
        "line": ("agent", "agents", "workflows", *(f"%{name}" for name in MAGICS)),
    }


def _misplaced(name: str) -> Callable[[str], None]:
    """Explain a cell magic that is not the first line of its cell."""

    def explain(line: str) -> None:
        raise UsageError(
            f"%%{name} must be the first line of its cell. "
            "Move what stands above it, also a comment, to a cell of its own."
        )

    return explain


def load(shell: Any) -> None:
    """Load the extension into *shell*, once."""
    if not hasattr(shell, _ATTRIBUTE):
        extension = Extension(shell)
        extension.load()
        setattr(shell, _ATTRIBUTE, extension)


def unload(shell: Any) -> None:
    """Unload the extension from *shell*."""
    extension = shell.__dict__.pop(_ATTRIBUTE, None)
    if extension is not None:
        extension.unload()
