"""What a magic's line says, as a frozen value."""

from __future__ import annotations

import builtins
import json
import keyword
import re
import shlex
from argparse import ArgumentParser, Namespace
from dataclasses import dataclass, field
from typing import Any, Dict, Iterable, List, Mapping, Optional, Sequence, Tuple

from ..errors import InputError

_TOKEN = re.compile(r"""\s*((?:"(?:\\.|[^"\\])*"|'[^']*'|\\.|[^\s"'\\])+)""")
_SECRET_FLAGS = ("--key", "--api-key", "--api_key")
_SECRET = re.compile(r"sk-ant-[\w-]{8}")
_FLAG = re.compile(r"--[A-Za-z][\w-]*(?==|$)")
# Fields of a call that `--set` leaves alone, and what to write instead.
_OWN_FIELDS = {
    "model": "Write -m MODEL.",
    "max_tokens": "Write --max-tokens N.",
    "system": "Write --system TEXT.",
    "temperature": "Write --temperature T.",
    "timeout": "Write --timeout S.",
    "agent_name": "Write the agent's name first.",
    "task": "The cell's text is the task.",
    "messages": "The cell's text is the message.",
    "sample": "It is not a field of the API call.",
    "stream": "Answers always stream.",
    "api_key": "Run %agents key: it asks without showing what you type.",
}


_TAKEN_NAMES = ("get_ipython", "In", "Out", "_", "__", "___", "exit", "quit", "display")


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
        background: Do not wait for the answer.
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
    background: bool = False
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
            background=found.bg,
            allow_secrets=found.allow_secrets,
            call=_call_fields(found.set or (), found.temperature),
        )


def variable_name(name: Optional[str]) -> Optional[str]:
    """Check the name of a variable that will be bound.

    Raises:
        InputError: It is not a Python name.
    """
    if name is None:
        return None
    if not name.isidentifier() or keyword.iskeyword(name):
        advice = "Use letters, digits and underscores, such as -o review."
        raise InputError(f"-o {name}: not a Python variable name.", advice=advice)
    if hasattr(builtins, name) or name in _TAKEN_NAMES:
        raise InputError(f"-o {name} would hide Python's or IPython's own {name}.")
    return name


def _call_fields(assignments: Sequence[str], temperature: Optional[float]) -> Dict[str, Any]:
    """Fields of the API call from ``--set NAME=VALUE``; a value is JSON, else text.

    Raises:
        InputError: An assignment has no name or value, or names a field with an option of its own.
    """
    fields: Dict[str, Any] = {} if temperature is None else {"temperature": temperature}
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        if not equals or not name.isidentifier():
            raise InputError(f"--set {assignment}: write --set NAME=VALUE, such as top_p=0.9.")
        if name in _OWN_FIELDS:
            raise InputError(f"--set cannot change {name}.", advice=_OWN_FIELDS[name])
        try:
            fields[name] = json.loads(value)
        except (ValueError, RecursionError):
            fields[name] = value
    return fields


def refuse_secrets(line: str) -> None:
    """Refuse a key in a magic's line: it would be in the notebook and its history.

    Raises:
        InputError: There is one.
    """
    words = line.split()
    flag = next((word for word in words if word.partition("=")[0] in _SECRET_FLAGS), None)
    if flag or _SECRET.search(line):
        raise InputError(
            "Keys do not belong in a cell: this one is in the notebook and its history now.",
            advice="Replace that key, and run %agents key: it asks without showing what you type.",
        )


def shell_words(line: str) -> List[str]:
    """The words of a line as a shell reads them, without quotes.

    Raises:
        InputError: A quote is not closed.
    """
    try:
        return shlex.split(line)
    except ValueError as error:
        raise _open_quote(line) from error


def parsed_words(parser: ArgumentParser, words: Sequence[str]) -> Namespace:
    """Parse the words of a magic's first line.

    Raises:
        InputError: A word is not understood; the message says what may have been meant.
    """
    if {"-h", "--help"} & set(words):
        raise InputError("All options are shown by %%agent? in a cell of its own.")
    found, unknown = parser.parse_known_args(_joined(words))
    if not unknown:
        return found
    _refuse_unknown_flag(unknown[0], parser._option_string_actions)
    raise InputError(
        f"What is {unknown[0]!r} in the first line?",
        advice="Several agents are written a,b; values with spaces in quotes; the text below.",
    )


def _joined(words: Sequence[str]) -> List[str]:
    """*words* with a list of agents, ``a, b``, made one word again."""
    joined: List[str] = []
    for word in words:
        if joined and joined[-1].endswith(",") and not joined[0].startswith("-"):
            joined[-1] += word
        else:
            joined.append(word)
    return joined


def split_line(line: str, flags: Mapping[str, bool]) -> Tuple[List[str], str]:
    """Split the one-line form into arguments and text.

    Options may stand before and right after the agent's name; the text behind them is taken as it
    is, quotes and all. A ``--`` ends the options, for a text that looks like one.

    Args:
        line: Everything behind ``%agent``.
        flags: The known options; true for those that take a value.

    Returns:
        The arguments, ending with the name or an option, and the text.

    Raises:
        InputError: A quote is not closed, or an option is unknown: sent as text, a slip of the pen
            would cost money and be answered by the wrong model.
    """
    words = _Words(line)
    arguments: List[str] = []
    named = False
    while words.next:
        flag = words.next.partition("=")[0]
        if named and flag not in flags:
            _refuse_unknown_flag(words.next, flags, "Put -- before a text that begins like one.")
            break
        named = named or flag not in flags
        arguments.append(words.take())
        if flags.get(flag) and "=" not in arguments[-1] and words.next:
            arguments.append(words.take())
    if not named:
        words.take_nothing()
    return arguments, words.rest()


class _Words:
    """A line that is read word by word, up to where free text begins."""

    def __init__(self, line: str) -> None:
        self._line = line
        self._position = 0
        self._find()

    def _find(self) -> None:
        match = _TOKEN.match(self._line, self._position)
        self.next = match.group(1) if match else ""
        self._end = match.end() if match else self._position

    def take(self) -> str:
        """The next word without its quotes; the reader moves on."""
        word, behind = self.next, self._line[self._end : self._end + 1]
        if behind.strip():
            raise _open_quote(self._line[self._position :])
        self._position = self._end
        self._find()
        return unquoted(word)

    def take_nothing(self) -> None:
        """Make sure that nothing is left but white space."""
        if self._line[self._position :].strip():
            raise _open_quote(self._line[self._position :])

    def rest(self) -> str:
        """The text behind the words, without the ``--`` that may announce it."""
        text = self._line[self._position :].strip()
        return text[2:].lstrip() if self.next == "--" else text


def _open_quote(text: str) -> InputError:
    return InputError(
        f"{text.strip()}: a quote is not closed.", advice="Close it, or leave it out."
    )


def _refuse_unknown_flag(word: str, flags: Iterable[str], hint: str = "") -> None:
    match = _FLAG.match(word)
    if match:
        from ..agents import did_you_mean

        near = did_you_mean(match.group(), [flag for flag in flags if flag.startswith("--")])
        raise InputError(
            f"There is no option {match.group()}.",
            advice=f"{near} {hint}".strip(),
        )


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
