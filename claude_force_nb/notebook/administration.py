"""``%agents``: look at agents, choose who answers, enter the key."""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import Any, Awaitable, Callable, Dict, List, Sequence

from ..errors import InputError
from ..settings import MODES
from .cache_commands import CacheCommands
from .run_commands import RunCommands
from .session import Session
from .tables import show_table

Command = Callable[[Sequence[str]], Awaitable[Any]]


class Administration:
    """The words of ``%agents``.

    Args:
        session: What the notebook works with.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._commands: Dict[str, Command] = {
            "list": self._list,
            "use": self._use,
            "key": self._key,
            "models": self._models,
            "cache": CacheCommands(session).run,
            "runs": RunCommands(session).runs,
            "cancel": RunCommands(session).cancel,
            "help": self._help,
        }

    @property
    def words(self) -> List[str]:
        """The words that may follow ``%agents``."""
        return list(self._commands)

    async def run(self, words: Sequence[str]) -> Any:
        """Do what *words* say; return what the cell should show, if anything.

        Raises:
            InputError: There is no such word, or something is wrong with what follows it.
        """
        word, rest = (words[0], words[1:]) if words else ("list", ())
        command = self._commands.get(word)
        if command is None:
            raise InputError(
                f"%agents has no {word!r}.", advice=f"It has {', '.join(self._commands)}."
            )
        return await command(rest)

    async def _list(self, _: Sequence[str]) -> None:
        """List the agents with source, model and description."""
        orchestrator = self._session.orchestrator
        agents = orchestrator.library.all()
        if agents:
            show_table(
                ("agent", "model", "description", "source"),
                [
                    (
                        agent.name,
                        agent.model or "default",
                        agent.description,
                        _shortened(agent.source, orchestrator.library.project_dir),
                    )
                    for agent in agents
                ],
            )
        else:
            print(
                "No agents found. Write one as .claude/agents/NAME.md, or put its instructions "
                "into a cell that begins with %%agent --define NAME"
            )
        for problem in orchestrator.library.problems():
            print(problem)

    async def _use(self, words: Sequence[str]) -> None:
        """Choose who answers: offline, anthropic [URL], or a cache mode such as replay."""
        orchestrator = self._session.orchestrator
        word = words[0] if words else ""
        if word == "offline":
            orchestrator.reconfigure(provider="offline")
            print(
                "The offline stand-in model answers now. It needs no key; it is no language model."
            )
        elif word == "anthropic":
            base_url = words[1] if len(words) > 1 else orchestrator.settings.base_url
            orchestrator.reconfigure(provider="anthropic", base_url=base_url)
            server = orchestrator.settings.endpoint or "the Anthropic API"
            print(f"Claude answers now, through {server}.")
        elif word in MODES:
            orchestrator.reconfigure(mode=word)
            print(f"Cache mode is {word} now.")
        else:
            raise InputError(
                f"There is no {word!r} to use." if word else "Use what?",
                advice=f"offline, anthropic, or a cache mode: {', '.join(MODES)}.",
            )

    async def _key(self, words: Sequence[str]) -> None:
        """Ask for the API key; it is kept in memory only."""
        from ..redaction import Secret

        if words:
            raise InputError(
                "A key does not belong in a cell: it would be in the notebook and its history.",
                advice="Run %agents key alone; it asks without showing what you type.",
            )
        try:
            typed = getpass.getpass("Anthropic API key: ").strip()
        except Exception as error:  # front ends without input raise their own errors
            raise InputError(
                "Nobody can be asked for the key here.",
                advice="Set ANTHROPIC_API_KEY before the kernel starts.",
            ) from error
        if not typed:
            raise InputError("No key was entered.")
        self._session.orchestrator.reconfigure(Secret(typed), provider="anthropic")
        print("The key is kept in memory until the kernel ends.")

    async def _models(self, _: Sequence[str]) -> None:
        """List the models that the server offers."""
        provider = self._session.orchestrator.provider
        list_models = getattr(provider, "models", None)
        if list_models is None:
            print(f"The {provider.name} provider has one model only.")
            return
        show_table(("model",), [(name,) for name in await list_models()])

    async def _help(self, _: Sequence[str]) -> None:
        """Show these words."""
        rows = [
            (f"%agents {word}", (command.__doc__ or "").partition("\n")[0])
            for word, command in self._commands.items()
        ]
        show_table(("command", "what it does"), rows)


def _shortened(source: str, project: Path) -> str:
    """A path as a reader of a shared notebook may see it: without the home of its author."""
    for folder, prefix in ((project, ""), (Path.home(), "~/")):
        try:
            return prefix + Path(source).relative_to(folder).as_posix()
        except ValueError:
            continue
    return source
