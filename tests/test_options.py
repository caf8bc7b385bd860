"""Promises about what a magic's line means."""

from __future__ import annotations

from argparse import Namespace
from typing import Any, Dict, List, Optional

import pytest

from claude_force_nb.errors import InputError
from claude_force_nb.notebook.options import (
    AgentOptions,
    refuse_secrets,
    split_line,
    unquoted,
    variable_name,
)

pytestmark = pytest.mark.essential

FLAGS = {"-o": True, "--out": True, "-m": True, "--model": True, "--system": True, "-q": False}


@pytest.mark.parametrize(
    ("line", "arguments", "text"),
    [
        ("a Say hi", ["a"], "Say hi"),
        ("  a   two  spaces ", ["a"], "two  spaces"),
        ("a don't do it", ["a"], "don't do it"),
        ("a 'tis fine", ["a"], "'tis fine"),
        ('a "quoted" text', ["a"], '"quoted" text'),
        ('a say "open', ["a"], 'say "open'),
        (r"a path C:\new\table", ["a"], r"path C:\new\table"),
        ("a back\\", ["a"], "back\\"),
        ("a -5 is negative", ["a"], "-5 is negative"),
        ("a --- rule", ["a"], "--- rule"),
        ("a --what? is this", ["a"], "--what? is this"),
        ("a -- --model opus", ["a"], "--model opus"),
        ("a -q -- -q", ["a", "-q"], "-q"),
        ("-o x a Say -o y", ["-o", "x", "a"], "Say -o y"),
        ("a -o x -q Say hi", ["a", "-o", "x", "-q"], "Say hi"),
        ("a --out=x Say hi", ["a", "--out=x"], "Say hi"),
        ('--system "Be brief." a Say hi', ["--system", "Be brief.", "a"], "Say hi"),
        ("--system 'it''s' a Say", ["--system", "its", "a"], "Say"),
        (r"--system=Be\ brief. a Say hi", ["--system=Be brief.", "a"], "Say hi"),
        ("a,b Say hi", ["a,b"], "Say hi"),
        ("a", ["a"], ""),
        ("a --out", ["a", "--out"], ""),
        ("-q", ["-q"], ""),
        ("", [], ""),
        ("   ", [], ""),
    ],
)
def test_lines_are_split(line: str, arguments: List[str], text: str) -> None:
    """Options stand before or right after the name; what follows is text, quotes and all."""
    assert split_line(line, FLAGS) == (arguments, text)


@pytest.mark.parametrize(
    "line", ["don't-x Say hi", "--system don't a Say", "--system 'open a Say", "'a Say", "\\"]
)
def test_open_quotes_are_refused(line: str) -> None:
    """A quote that is not closed among the options is an error, not part of the text."""
    with pytest.raises(InputError, match="a quote is not closed"):
        split_line(line, FLAGS)


def test_slips_are_not_sent() -> None:
    """An option that does not exist is not sent to the model as text."""
    with pytest.raises(InputError, match=r"no option --modle\. Did you mean --model\?"):
        split_line("a --modle=opus Say hi", FLAGS)


@pytest.mark.parametrize(
    ("word", "plain"), [("a", "a"), ("'a b'", "a b"), ('"it\'s"', "it's"), ("''", ""), ("", "")]
)
def test_quotes_come_off(word: str, plain: str) -> None:
    """A word loses the quotes that held it together, and nothing else."""
    assert unquoted(word) == plain


def test_lone_quote_is_refused() -> None:
    """A word that is half quoted is an error of this package."""
    with pytest.raises(InputError, match="No closing quotation"):
        unquoted("'a")


@pytest.mark.parametrize(
    "line",
    [
        "a --key abc",
        "a --api-key=abc",
        "--api_key abc a",
        "key sk-ant-api03-abcdefgh",
        'a --system "sk-ant-api03-abcdefgh"',
        "a Why does sk-ant-api03-abcdefgh fail?",
    ],
)
def test_keys_in_a_line_are_refused(line: str) -> None:
    """A key in a magic's line is refused, and the message does not repeat it."""
    with pytest.raises(InputError, match="Replace that key") as caught:
        refuse_secrets(line)

    assert "abc" not in str(caught.value)


@pytest.mark.parametrize("line", ["a Explain keys", "a What does sk-ant- mean?", "key", ""])
def test_talk_of_keys_is_fine(line: str) -> None:
    """A text about keys is not a key."""
    assert refuse_secrets(line) is None


@pytest.mark.parametrize("name", ["1a", "a b", "a.b", "a[0]", "class", "", "None", "a-b"])
def test_bad_variables_are_refused(name: str) -> None:
    """A name that Python cannot bind is refused before anything is paid for."""
    with pytest.raises(InputError, match="not a Python variable name"):
        variable_name(name)


@pytest.mark.parametrize("name", [None, "a", "_x1", "größe"])
def test_good_variables_pass(name: Optional[str]) -> None:
    """Any name that Python can bind passes, and no name does."""
    assert variable_name(name) == name


def found(**given: Any) -> Namespace:
    """What the parser found, with defaults."""
    text = ("out", "model", "max_tokens", "timeout", "system", "cache", "set", "temperature")
    flags = {"quiet": False, "bg": False, "allow_secrets": False}
    fields: Dict[str, Any] = {**dict.fromkeys(text), **flags}
    return Namespace(**{"agents": "a", **fields, **given})


def test_names_are_separated() -> None:
    """Commas separate agents; blanks and a trailing comma do not count."""
    assert AgentOptions.parsed(found(agents=" a, b,,c,")).agents == ("a", "b", "c")


@pytest.mark.parametrize("agents", [None, "", " , "])
def test_no_agent_is_an_error(agents: Optional[str]) -> None:
    """Without a name, the error says where names are."""
    with pytest.raises(InputError, match=r"Which agent.*%agents lists them"):
        AgentOptions.parsed(found(agents=agents))


def test_arguments_are_carried() -> None:
    """Each option of the line arrives in its field."""
    options = AgentOptions.parsed(
        found(out="x", model="opus", max_tokens=5, timeout=2.5, system="s", cache="off", quiet=True)
    )

    assert options == AgentOptions(
        ("a",),
        out="x",
        model="opus",
        max_tokens=5,
        timeout_s=2.5,
        system="s",
        mode="off",
        quiet=True,
    )


@pytest.mark.parametrize(
    ("assignment", "value"),
    [
        ("top_k=5", 5),
        ("top_k=0.9", 0.9),
        ("top_k=true", True),
        ('top_k={"type": "any"}', {"type": "any"}),
        ('top_k=["a", "b"]', ["a", "b"]),
        ("top_k=plain text", "plain text"),
        ("top_k=a=b", "a=b"),
        ('top_k="5"', "5"),
        ("top_k=", ""),
        ("top_k=" + "[" * 100_000, "[" * 100_000),
    ],
)
def test_fields_are_json_or_text(assignment: str, value: Any) -> None:
    """A further field's value is JSON where it can be, else text."""
    assert AgentOptions.parsed(found(set=[assignment])).call == {"top_k": value}


def test_fields_add_up() -> None:
    """Several further fields and a temperature travel together."""
    options = AgentOptions.parsed(found(set=["top_p=0.5", "seed=1"], temperature=0.0))

    assert options.call == {"temperature": 0.0, "top_p": 0.5, "seed": 1}


@pytest.mark.parametrize("assignment", ["top_k", "=5", "a b=5", "top-k=5", ""])
def test_malformed_fields_are_refused(assignment: str) -> None:
    """A field without a name or a value is refused with an example."""
    with pytest.raises(InputError, match="write --set NAME=VALUE"):
        AgentOptions.parsed(found(set=[assignment]))


@pytest.mark.parametrize(
    ("assignment", "advice"),
    [
        ("model=opus", "-m MODEL"),
        ("max_tokens=5", "--max-tokens N"),
        ("system=x", "--system TEXT"),
        ("temperature=1", "--temperature T"),
        ("messages=[]", "cell's text"),
        ("sample=1", "not a field"),
        ("agent_name=b", "name first"),
        ("api_key=x", "%agents key"),
    ],
)
def test_own_fields_are_refused(assignment: str, advice: str) -> None:
    """A field that has an option of its own is refused with that option."""
    with pytest.raises(InputError) as caught:
        AgentOptions.parsed(found(set=[assignment]))

    assert advice in caught.value.advice
