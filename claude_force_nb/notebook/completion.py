"""Tab completion: agents, models and flags in the line, variables in ``{{ … }}``."""

from __future__ import annotations

import re
from typing import Any, List, Optional

from ..settings import MODES
from .session import Session

_LINE = re.compile(r"\s*%%?(agent|workflow)\s")
_WORDS = re.compile(r"\s*%agents\s+\S*$")
_CACHE_WORDS = re.compile(r"\s*%agents\s+cache\s+\S*$")
_VARIABLE = re.compile(r"\{\{\s*(\w*)$")


class Completion:
    """A matcher for IPython's completer.

    Args:
        shell: The running ``InteractiveShell``.
        session: What the notebook works with.
    """

    def __init__(self, shell: Any, session: Session) -> None:
        self._shell = shell
        self._session = session
        self._matcher: Any = None

    def register(self) -> None:
        """Add the matcher to the shell's completer."""
        from IPython.core.completer import CompletionContext, SimpleCompletion, context_matcher

        @context_matcher()
        def claude_force_matcher(context: CompletionContext) -> Any:
            text_before = context.full_text[: context.cursor_position]
            matches = self.matches(text_before)
            if matches is None:
                return {"completions": []}
            return {
                "completions": [SimpleCompletion(text=match, type="text") for match in matches],
                "suppress": True,
                "matched_fragment": _fragment(text_before),
            }

        self._matcher = claude_force_matcher
        self._shell.Completer.custom_matchers.append(self._matcher)

    def unregister(self) -> None:
        """Remove the matcher again."""
        if self._matcher in self._shell.Completer.custom_matchers:
            self._shell.Completer.custom_matchers.remove(self._matcher)

    def matches(self, before: str) -> Optional[List[str]]:
        """Completions for a cell's text before the cursor; ``None`` if it is not our business."""
        line = before.rpartition("\n")[2]
        if _CACHE_WORDS.match(line):
            return _starting(_cache_words(self._session), line)
        if _WORDS.match(line):
            return _starting(_agents_words(), line)
        if _LINE.match(line):
            return self._line_matches(line)
        variable = _VARIABLE.search(before)
        if variable and (_LINE.match(before)):
            names = [n for n in self._shell.user_ns if not n.startswith("_")]
            return sorted(n for n in names if n.startswith(variable.group(1)))
        return None

    def _line_matches(self, line: str) -> List[str]:
        words = line.split()
        of_workflow = words[0].endswith("workflow")
        previous = words[-1] if line.endswith((" ", "\t")) else (words[-2:] or [""])[0]
        fragment = _fragment(line)
        if fragment.startswith("-"):
            return _starting(_flag_names(of_workflow), line)
        if previous in ("-m", "--model"):
            return _starting(_model_names(), line)
        if previous == "--cache":
            return _starting(list(MODES), line)
        library = self._session.orchestrator.library
        names = [*library.names(), *(library.workflows() if of_workflow else ())]
        return _starting(names, line)


def _fragment(before: str) -> str:
    """What of the word under the cursor a completion replaces."""
    variable = _VARIABLE.search(before)
    if variable:
        return variable.group(1)
    return re.split(r"[\s,]", before)[-1]


def _starting(candidates: List[str], line: str) -> List[str]:
    fragment = _fragment(line)
    return [candidate for candidate in candidates if candidate.startswith(fragment)]


def _flag_names(of_workflow: bool) -> List[str]:
    from .magics import AgentMagics, _flags
    from .workflow_magic import WorkflowMagics

    magic = WorkflowMagics.workflow if of_workflow else AgentMagics.agent
    return sorted(_flags(magic.parser))


def _agents_words() -> List[str]:
    return ["cache", "cancel", "help", "key", "list", "models", "runs", "use"]


def _cache_words(session: Session) -> List[str]:
    from .cache_commands import CacheCommands

    return CacheCommands(session).words


def _model_names() -> List[str]:
    from ..models import known_models

    return known_models()
