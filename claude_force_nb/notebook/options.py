"""What a magic's line says, as a frozen value."""

from __future__ import annotations

import json
import keyword
import re
import shlex
from argparse import Namespace
from dataclasses import dataclass, field
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from ..errors import InputError

_TOKEN = re.compile(r"""\s*((?:"(?:\\.|[^"\\])*"|'[^']*'|\\.|[^\s"'\\])+)""")
_SECRET_FLAGS = ("--key", "--api-key", "--api_key")


@dataclass(frozen=True)
class AgentOptions:
    """Options of ``%%agent`` and ``%agent``.

    Attributes:
        agents: Names of the agents, in the order given.
        out: Variable that gets the result.
        model: Model to ask instead of the agents' own.
        max_tokens: Longest answer.
        timeout_s: Seconds each run may take.
        system: System prompt instead of the agents' own.
        mode: Cache mode.
        quiet: Show nothing but the answer.
        allow_secrets: Insert values that look like keys or passwords.
        call: Further fields of the API call.
    """

    agents: Tuple[str, ...]
    out: Optional[str] = None
    model: Optional[str] = None
    max_tokens: Optional[int] = None
    timeout_s: Optional[float] = None
    system: Optional[str] = None
    mode: Optional[str] = None
    quiet: bool = False
    allow_secrets: bool = False
    call: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def parsed(cls, found: Namespace) -> AgentOptions:
        """Make options from parsed arguments.

        Raises:
            InputError: A value makes no sense.
        """
        names = tuple(name.strip() for name in (found.agents or "").split(",") if name.strip())
        if not names:
            raise InputError("Which agent?", advice="Write %%agent NAME; %agents lists them.")
        return cls(
            agents=names,
            out=variable_name(found.out),
            model=found.model,
            max_tokens=found.max_tokens,
            timeout_s=found.timeout,
            system=found.system,
            mode=found.cache,
            quiet=found.quiet,
            allow_secrets=found.allow_secrets,
            call=_call_fields(found.set or (), found.temperature),
        )


def variable_name(name: Optional[str]) -> Optional[str]:
    """Check the name of a variable that will be bound.

    Raises:
        InputError: It is not a Python name.
    """
    if name is not None and (not name.isidentifier() or keyword.iskeyword(name)):
        raise InputError(f"-o {name}: not a Python variable name.")
    return name


def _call_fields(assignments: Sequence[str], temperature: Optional[float]) -> Dict[str, Any]:
    """Fields of the API call from ``--set NAME=VALUE``; a value is JSON, else text."""
    fields: Dict[str, Any] = {} if temperature is None else {"temperature": temperature}
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        if not equals or not name.isidentifier():
            raise InputError(f"--set {assignment}: write --set NAME=VALUE, such as top_p=0.9.")
        try:
            fields[name] = json.loads(value)
        except ValueError:
            fields[name] = value
    return fields


def refuse_secrets(line: str) -> None:
    """Refuse a key in a magic's line: it would be in the notebook and its history.

    Raises:
        InputError: There is one.
    """
    words = line.split()
    flag = next((word for word in words if word.partition("=")[0] in _SECRET_FLAGS), None)
    if flag or any(word.startswith("sk-ant-") for word in words):
        raise InputError(
            "Keys do not belong in a cell: this one is in the notebook and its history now.",
            advice="Replace that key, and run %agents key: it asks without showing what you type.",
        )


def split_line(line: str, flags: Mapping[str, bool]) -> Tuple[List[str], str]:
    """Split the one-line form into arguments and text.

    Options may stand before and right after the agent's name; the text behind them is taken as it
    is, quotes and all.

    Args:
        line: Everything behind ``%agent``.
        flags: The known options; true for those that take a value.

    Returns:
        The arguments, ending with the name, and the text.

    Raises:
        InputError: A quote is not closed.
    """
    arguments: List[str] = []
    position, named = 0, False
    while True:
        match = _TOKEN.match(line, position)
        if match is None:
            break
        word = match.group(1)
        takes_value = flags.get(word.partition("=")[0])
        if takes_value is None and named:
            break
        named = named or takes_value is None
        position = match.end()
        arguments.append(word)
        if takes_value and "=" not in word:
            value = _TOKEN.match(line, position)
            if value:
                arguments.append(value.group(1))
                position = value.end()
    rest = line[position:].strip()
    return [unquoted(word) for word in arguments], rest


def unquoted(word: str) -> str:
    """One shell word without its quotes.

    Raises:
        InputError: A quote is not closed.
    """
    try:
        parts = shlex.split(word)
    except ValueError as error:
        raise InputError(f"{word}: {error}.") from error
    return parts[0] if parts else ""
