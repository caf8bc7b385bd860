"""The magics: parse, call the engine, show. Thin on purpose."""

from __future__ import annotations

import hashlib
from argparse import Namespace
from typing import Any, Dict, List, Optional, Tuple

from IPython.core.magic import Magics, line_cell_magic, line_magic, magics_class, no_var_expand
from IPython.core.magic_arguments import MagicArgumentParser, argument, magic_arguments

from ..errors import ClaudeForceError, InputError
from ..records import AgentRequest, AgentResults
from ..runs import Run
from ..settings import MODES
from .administration import Administration
from .options import AgentOptions, parsed_words, refuse_secrets, shell_words, split_line
from .session import Session


@magics_class
class AgentMagics(Magics):
    """``%%agent``, ``%agent`` and ``%agents``.

    Args:
        shell: The running ``InteractiveShell``.
        session: What the notebook works with.
    """

    def __init__(self, shell: Any, session: Session) -> None:
        super().__init__(shell)
        self.session = session
        self._administration = Administration(session)

    @no_var_expand
    @magic_arguments()
    @argument(
        "agents", nargs="?", help="One agent, or several separated by commas: they run at once."
    )
    @argument("-o", "--out", metavar="NAME", help="Bind the result to the variable NAME.")
    @argument("-m", "--model", help="Ask this model instead of the agent's own.")
    @argument("--max-tokens", type=int, metavar="N", help="Longest answer, in tokens.")
    @argument("--timeout", type=float, metavar="S", help="Seconds each run may take.")
    @argument("--system", metavar="TEXT", help="Use TEXT instead of the agent's own instructions.")
    @argument("--temperature", type=float, metavar="T", help="For older models that accept it.")
    @argument(
        "--set",
        action="append",
        metavar="NAME=VALUE",
        help="Send a further field of the API call; VALUE is JSON or text. May be repeated.",
    )
    @argument(
        "--cache", choices=MODES, metavar="MODE", help="auto, refresh, off, replay or strict."
    )
    @argument("--bg", action="store_true", help="Go on in the background; -o binds a handle.")
    @argument("-q", "--quiet", action="store_true", help="Show nothing until the answer is there.")
    @argument("--allow-secrets", action="store_true", help="Insert values that look like keys.")
    @argument("--define", metavar="NAME", help="Make the cell's text the agent NAME; nothing runs.")
    @argument("--description", metavar="TEXT", help="With --define: what the agent is for.")
    @line_cell_magic
    def agent(self, line: str, cell: Optional[str] = None) -> Any:
        """Run agents on the cell's text and show their answers.

        ``{{ name }}`` inserts a variable: text, numbers, data frames, figures, images and paths
        to images, PDFs or text files. Other braces are left alone. The same cell gives the same
        answer again from the cache, at no cost.

        Examples::

            %%agent code-reviewer -o review
            Review this function, worst problem first:
            {{ source }}

            %%agent optimist,pessimist -m haiku --max-tokens 500
            What will {{ df }} look like next year?

            %agent code-reviewer Is `except:` ever right?

            %%agent --define haiku-poet --description "Answers in haiku"
            You answer every question with one haiku.
        """
        try:
            refuse_secrets(line)
            found, text = self._parsed(line, cell)
            if found.define:
                self._define(found, text)
                return self.session.dispatch(_nothing)
            options = AgentOptions.parsed(found)
            jobs = self._jobs(options, text)
        except ClaudeForceError as error:
            raise self.session.usage_error(error) from error

        how: Dict[str, Any] = {
            "out": options.out,
            "quiet": options.quiet,
            "mode": options.mode,
            "timeout_s": options.timeout_s,
        }

        async def run() -> Any:
            if options.background:
                handle = self.session.run_in_background(jobs, **how)
                return None if cell is not None else handle
            results = await self.session.run_in_cell(jobs, **how)
            return None if cell is not None else _only(results)

        return self.session.dispatch(run)

    @no_var_expand
    @line_magic
    def agents(self, line: str) -> Any:
        """List the agents, or manage them: ``%agents help`` shows all words."""
        try:
            refuse_secrets(line)
            words = shell_words(line)
        except ClaudeForceError as error:
            raise self.session.usage_error(error) from error
        return self.session.dispatch(lambda: self._administration.run(words))

    def _parsed(self, line: str, cell: Optional[str]) -> Tuple[Namespace, str]:
        parser = AgentMagics.agent.parser
        if cell is None:
            words, text = split_line(line, _flags(parser))
        else:
            # IPython ends every cell with a line break of its own.
            words, text = shell_words(line), cell[:-1] if cell.endswith("\n") else cell
        return parsed_words(parser, words), text

    def _jobs(self, options: AgentOptions, text: str) -> List[Tuple[AgentRequest, Run]]:
        """Turn options and text into requests; nothing is sent if one of them is bad."""
        from ..prompt import render
        from ..requests import prompt_metadata

        rendered = render(text, self.session.shell.user_ns, allow_secrets=options.allow_secrets)
        requests = [
            self.session.orchestrator.prepare(
                name,
                rendered,
                options.model,
                options.max_tokens,
                system=options.system,
                **options.call,
            )
            for name in options.agents
        ]
        metadata = prompt_metadata(rendered)
        return [(request, Run(request.agent_name, request.model, metadata)) for request in requests]

    def _define(self, found: Namespace, text: str) -> None:
        from ..agents import AgentDefinition

        if not text.strip():
            raise InputError("The cell is empty.", advice="Write the agent's instructions in it.")
        if found.agents or found.out:
            extra = found.agents or f"-o {found.out}"
            raise InputError(f"--define {found.define} runs nothing, so {extra} has no meaning.")
        options: Dict[str, Any] = {}
        if found.temperature is not None:
            options["temperature"] = found.temperature
        self.session.orchestrator.library.define(
            AgentDefinition(
                name=found.define,
                system=text.strip(),
                description=found.description or "",
                model=found.model,
                max_tokens=found.max_tokens,
                options=options,
                source="cell",
                sha256=hashlib.sha256(text.strip().encode("utf-8", "replace")).hexdigest(),
            )
        )
        print(f"Agent {found.define} is defined for this session.")


async def _nothing() -> None:
    """What a cell awaits that has nothing to wait for."""


def _only(results: AgentResults) -> Any:
    return results[0] if len(results) == 1 else results


def _flags(parser: MagicArgumentParser) -> Dict[str, bool]:
    """The parser's options; true for those that take a value."""
    return {flag: action.nargs != 0 for action in parser._actions for flag in action.option_strings}
