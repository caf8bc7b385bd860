"""Promises of the offline stand-in model: honest, repeatable, and failing only when told to."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from typing import Any, Dict, List, Type

import pytest
from provider_contract import ProviderContract

from claude_force_nb.errors import (
    AuthenticationFailed,
    ConnectionFailed,
    ContextTooLong,
    DeadlineExceeded,
    IncompleteReply,
    InputError,
    Overloaded,
    ProviderError,
    RateLimited,
    RequestRejected,
    ServerFailed,
    UnknownModel,
    UnsupportedOption,
)
from claude_force_nb.providers.digest import LABEL, MAX_CHARS
from claude_force_nb.providers.offline import OFFLINE_MODEL, Failure, OfflineProvider, reply_to
from claude_force_nb.records import AgentRequest

pytestmark = pytest.mark.essential

PROSE = "The pump failed in 1984. The pump was old. Who mends the pump? It cost 1,250.50 in all."
SCHEMA: Dict[str, Any] = {
    "type": "object",
    "properties": {
        "title": {"type": "string", "maxLength": 8},
        "score": {"type": "integer", "minimum": 1, "maximum": 10},
        "kind": {"enum": ["bug", "nit"]},
        "found": {"type": "array", "items": {"$ref": "#/$defs/item"}, "minItems": 2},
    },
    "required": ["title", "score"],
    "$defs": {
        "item": {
            "type": "object",
            "properties": {
                "share": {"type": "number"},
                "more": {"type": "array", "items": {"$ref": "#/$defs/item"}},
            },
        }
    },
}


def ask(text: str = PROSE, **fields: Any) -> AgentRequest:
    """A request for *text*."""
    content: Dict[str, Any] = {
        "agent_name": "helper",
        "model": "claude-opus-5-5",
        "messages": ({"role": "user", "content": text},),
        "max_tokens": 1000,
        **fields,
    }
    return AgentRequest(**content)


class TestContract(ProviderContract):
    """The offline provider is a provider."""

    slow_text = "Take your time."
    failing_text = "Fall over."
    failure = Overloaded

    @pytest.fixture
    def provider(self) -> OfflineProvider:
        """A provider that takes some time and fails at one text."""
        return OfflineProvider(tokens_per_s=400, fail="529 text=Fall over.")


async def test_says_what_it_is() -> None:
    """Text, model and provenance say that no language model answered."""
    reply = await OfflineProvider().answer(ask())

    assert LABEL in reply.text.splitlines()[0]
    assert "not a language model" in LABEL
    assert reply.model == OFFLINE_MODEL
    assert reply.sdk.startswith("offline stand-in ")


def test_same_in_every_process() -> None:
    """Hash seed, locale, time zone and directory of a process do not change an answer."""
    script = (
        "from claude_force_nb.providers.offline import reply_to\n"
        "from claude_force_nb.records import AgentRequest\n"
        f"m = ({{'role': 'user', 'content': {PROSE!r}}},)\n"
        "print(ascii(reply_to(AgentRequest('helper', 'claude-opus-5-5', m, 1000)).text))"
    )
    answers = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONHASHSEED": seed, "LC_ALL": "C", "TZ": f"UTC+{seed}"},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for seed in ("0", "7")
    }

    assert answers == {ascii(reply_to(ask()).text)}


def test_import_is_light() -> None:
    """The module imports neither the SDK nor anything else outside the standard library."""
    script = "import sys, claude_force_nb.providers.offline\nprint(*sys.modules)"

    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )

    heavy = {"anthropic", "IPython", "tenacity", "jinja2", "yaml", "pandas", "httpx", "pydantic"}
    assert heavy.isdisjoint(done.stdout.split())


async def test_loop_goes_on() -> None:
    """Other tasks run between the words of an answer, also at full speed."""
    pieces: List[str] = []
    answering = asyncio.ensure_future(OfflineProvider().answer(ask(), on_text=pieces.append))
    heard = []
    while not answering.done():
        heard.append(len(pieces))
        await asyncio.sleep(0)

    assert len(set(heard)) > 10


async def test_speed_is_kept() -> None:
    """Latency and speed of the answer are what was asked for."""
    provider = OfflineProvider(latency_s=0.05, tokens_per_s=500)
    began = time.monotonic()

    reply = await provider.answer(ask())

    assert time.monotonic() - began >= 0.05 + reply.usage.output_tokens / 500


@pytest.mark.parametrize("slowness", [{"latency_s": 60}, {"tokens_per_s": 0.01}])
async def test_stall_is_noticed(slowness: Dict[str, float]) -> None:
    """Slower than the caller allows is a failure, after the time that the caller allows."""
    with pytest.raises(DeadlineExceeded, match=r"nothing for 0\.05 s"):
        await OfflineProvider(**slowness).answer(ask(), stall_timeout_s=0.05)


# -- limits and samples -----------------------------------------------------------------------


@pytest.mark.parametrize("limit", [1, 7, 20])
def test_max_tokens_ends_it(limit: int) -> None:
    """A short limit gives the head of the answer and the reason."""
    whole, short = reply_to(ask()), reply_to(ask(max_tokens=limit))

    assert (short.stop_reason, short.usage.output_tokens) == ("max_tokens", limit)
    assert whole.text.startswith(short.text)


def test_exact_limit_is_enough() -> None:
    """An answer of just the allowed length has come to its own end."""
    whole = reply_to(ask())

    assert reply_to(ask(max_tokens=whole.usage.output_tokens)) == whole


def test_stop_sequence_ends_it() -> None:
    """The first stop sequence ends the answer before it."""
    reply = reply_to(ask(options={"stop_sequences": ["Numbers", "Questions"]}))

    assert reply.stop_reason == "stop_sequence"
    assert "Questions" not in reply.text


@pytest.mark.parametrize("text", [PROSE, "One sentence only."])
def test_samples_differ_and_repeat(text: str) -> None:
    """Samples of one prompt are different, and each of them is the same again."""
    texts = [reply_to(ask(text, sample=number)).text for number in range(5)]

    assert len(set(texts)) == 5
    assert texts == [reply_to(ask(text, sample=number)).text for number in range(5)]


def test_tokens_follow_the_rule() -> None:
    """Twelve characters without white space are a token; a block that is no text is one."""
    image = {"type": "image", "source": {"type": "base64", "data": "AAAA"}}
    blocks = [{"type": "text", "text": "one two"}, image, {"type": "text", "text": "x" * 25}]
    request = ask(messages=({"role": "user", "content": blocks},), system="be good")

    assert reply_to(request).usage.input_tokens == 2 + 1 + 3 + 2


def test_last_question_counts() -> None:
    """Of a conversation the user's last message is answered."""
    turns = ("user", "Old matter."), ("assistant", "Yes."), ("user", "New matter.")
    messages = tuple({"role": role, "content": text} for role, text in turns)

    text = reply_to(ask(messages=messages)).text

    assert "New matter." in text
    assert "Old matter." not in text


# -- failures ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "error", "status"),
    [
        ("400", RequestRejected, 400),
        ("401", AuthenticationFailed, 401),
        ("404", UnknownModel, 404),
        ("429", RateLimited, 429),
        ("500", ServerFailed, 500),
        ("529", Overloaded, 529),
        ("connection", ConnectionFailed, None),
        ("context", ContextTooLong, 400),
        ("cut", IncompleteReply, None),
        ("timeout", DeadlineExceeded, None),
    ],
)
async def test_fails_as_told(kind: str, error: Type[ProviderError], status: Any) -> None:
    """Each kind of failure is the package's own error for it, and says where it comes from."""
    with pytest.raises(ProviderError) as caught:
        await OfflineProvider(fail=kind).answer(ask())

    assert (type(caught.value), caught.value.status) == (error, status)
    assert "asked to" in caught.value.what


async def test_fails_in_the_middle() -> None:
    """A failure can come after some words have been heard."""
    pieces: List[str] = []

    with pytest.raises(IncompleteReply):
        await OfflineProvider(fail="cut after_tokens=3").answer(ask(), on_text=pieces.append)

    assert len(pieces) == 3


async def test_fails_also_late() -> None:
    """A failure that is due after more words than there are comes at the end."""
    with pytest.raises(IncompleteReply):
        await OfflineProvider(fail="cut after_tokens=100000").answer(ask())


async def test_fails_a_number_of_times() -> None:
    """With ``times`` the first attempts at each request fail and the next one succeeds."""
    provider = OfflineProvider(fail="429 times=2 retry_after_s=0.5")

    for request in (ask(), ask("Another one.")):
        for _ in range(2):
            with pytest.raises(RateLimited) as caught:
                await provider.answer(request)
            assert caught.value.retry_after_s == 0.5
        assert (await provider.answer(request)).text


async def test_prompt_cannot_make_it_fail() -> None:
    """Words in a prompt that look like an order to fail are words."""
    reply = await OfflineProvider().answer(ask("529 times=2 [[offline: fail 529]]"))

    assert reply.stop_reason == "end_turn"


@pytest.mark.parametrize(
    "words", ["", "418", "529 times=-1", "529 times=x", "529 often", "529 retry_after_s=nan"]
)
def test_senseless_failure(words: str) -> None:
    """An order to fail that makes no sense is refused when it is given."""
    with pytest.raises(InputError):
        OfflineProvider(fail=Failure.parse(words))


def test_environment_decides() -> None:
    """The three environment variables are the three arguments."""
    provider = OfflineProvider.from_environment(
        {
            "CLAUDE_FORCE_NB_OFFLINE_LATENCY_S": "0.5",
            "CLAUDE_FORCE_NB_OFFLINE_TOKENS_PER_S": "50",
            "CLAUDE_FORCE_NB_OFFLINE_FAIL": "529 times=1 text=two words",
        }
    )

    assert (provider.latency_s, provider.tokens_per_s) == (0.5, 50)
    assert provider.fail == Failure("529", times=1, text="two words")


def test_empty_environment_is_plain() -> None:
    """Without variables, or with empty ones, it is at once and never fails."""
    provider = OfflineProvider.from_environment({"CLAUDE_FORCE_NB_OFFLINE_FAIL": " "})

    assert (provider.latency_s, provider.tokens_per_s, provider.fail) == (0, 0, None)


@pytest.mark.parametrize("value", ["-1", "soon", "nan", "inf"])
@pytest.mark.parametrize("name", ["LATENCY_S", "TOKENS_PER_S"])
def test_senseless_environment(name: str, value: str) -> None:
    """A variable that makes no sense is an error that names it."""
    with pytest.raises(InputError, match=name.lower()):
        OfflineProvider.from_environment({f"CLAUDE_FORCE_NB_OFFLINE_{name}": value})


# -- structured answers -----------------------------------------------------------------------


def check(value: Any) -> None:
    """Check *value* against :data:`SCHEMA` by hand."""
    assert list(value) == ["title", "score", "kind", "found"]
    assert isinstance(value["title"], str)
    assert len(value["title"]) <= 8
    assert type(value["score"]) is int
    assert 1 <= value["score"] <= 10
    assert value["kind"] == "bug"
    assert len(value["found"]) == 2
    assert all(isinstance(item["share"], (int, float)) for item in value["found"])


@pytest.mark.parametrize("choice", [{"type": "any"}, {"type": "tool", "name": "rate"}])
def test_forced_tool_is_called(choice: Dict[str, str]) -> None:
    """A forced tool is called with input that fits its schema."""
    tools = [{"name": "rate", "input_schema": SCHEMA}]

    reply = reply_to(ask(options={"tools": tools, "tool_choice": choice}))

    assert reply.stop_reason == "tool_use"
    assert [block["type"] for block in reply.content] == ["text", "tool_use"]
    assert reply.content[1]["name"] == "rate"
    check(reply.content[1]["input"])


def test_free_tool_is_not_called() -> None:
    """A tool that nobody insists on is not called."""
    tools = [{"name": "rate", "input_schema": SCHEMA}]

    reply = reply_to(ask(options={"tools": tools, "tool_choice": {"type": "auto"}}))

    assert [block["type"] for block in reply.content] == ["text"]


def test_tool_result_ends_the_loop() -> None:
    """Once the tool's result is there it is described, so that a loop of calls ends."""
    options = {
        "tools": [{"name": "rate", "input_schema": SCHEMA}],
        "tool_choice": {"type": "tool", "name": "rate"},
    }
    result = {"type": "tool_result", "tool_use_id": "x", "content": "The result is 42."}

    reply = reply_to(ask(messages=({"role": "user", "content": [result]},), options=options))

    assert reply.stop_reason == "end_turn"
    assert "The result is 42." in reply.text


@pytest.mark.parametrize("where", ["output_config", "output_format"])
def test_schema_is_filled(where: str) -> None:
    """Where the request asks for JSON, the text is JSON of that schema and nothing else."""
    wanted = {"type": "json_schema", "schema": SCHEMA}
    options = {where: {"format": wanted} if where == "output_config" else wanted}

    check(json.loads(reply_to(ask(options=options)).text))


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "string"}, "The pump failed in 1984."),
        ({"type": "string", "minLength": 30}, "The pump failed in 1984......."),
        ({"type": "string", "format": "date"}, "2000-01-01"),
        ({"type": "number"}, 1984),
        ({"type": "number", "maximum": 1500}, 1250.5),
        ({"type": "integer", "maximum": 1500}, 0),
        ({"type": "integer", "minimum": 2.5, "maximum": 9}, 3),
        ({"type": "integer", "exclusiveMinimum": 0, "maximum": 9}, 1),
        ({"type": "integer", "exclusiveMaximum": -4}, -5),
        ({"type": "boolean"}, False),
        ({"type": ["null", "boolean"]}, False),
        ({"type": "null"}, None),
        ({"const": "x"}, "x"),
        ({"enum": [3, 4]}, 3),
        ({"type": "array", "items": {"type": "null"}, "maxItems": 0}, []),
        ({"anyOf": [{"type": "boolean"}, {"type": "null"}]}, False),
        (
            {"allOf": [{"properties": {"a": {"const": 1}}}, {"properties": {"b": {"const": 2}}}]},
            {"b": 2, "a": 1},
        ),
        ({"required": ["a"], "type": "object"}, {"a": "The pump failed in 1984."}),
    ],
)
def test_values_fit(schema: Dict[str, Any], value: Any) -> None:
    """Each form of schema gets a value that fits it, from the text where possible."""
    options = {"output_config": {"format": {"type": "json_schema", "schema": schema}}}

    assert json.loads(reply_to(ask(options=options)).text) == value


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string", "pattern": "^a+$"},
        {"type": "oracle"},
        {"$ref": "#/$defs/missing"},
        {"$ref": "#"},
        {"type": "integer", "minimum": 3, "maximum": 2},
        {"required": ["a"], "properties": {"a": {"$ref": "#"}}},
    ],
)
async def test_hard_schema_is_refused(schema: Dict[str, Any]) -> None:
    """What cannot be promised is refused instead of answered wrongly."""
    options = {"output_config": {"format": {"type": "json_schema", "schema": schema}}}

    with pytest.raises(UnsupportedOption) as caught:
        await OfflineProvider().answer(ask(options=options))
    assert caught.value.advice


# -- the digest -------------------------------------------------------------------------------

SOURCE = '''\
import os
import json
from typing import *


class Store:
    """Holds things."""

    def put(self, item, seen=[]):
        try:
            seen.append(eval(item))
        except:
            pass
        return seen == None  # TODO: mend this


async def fetch(password="x"):
    time.sleep(1)
    token = "abcdef123"
    os.system("ls " + token)
'''
FOUND = [
    (3, "`from typing import *`"),
    (9, "`put` has a mutable default"),
    (11, "`eval` runs"),
    (12, "a bare `except:`"),
    (14, "`==` with None"),
    (14, "a note says `TODO: mend this`"),
    (17, "`fetch` is async and calls `time.sleep`"),
    (19, "`token` is given a text"),
    (20, "`os.system`"),
    (2, "`json` is imported and not used"),
]


@pytest.mark.parametrize("form", ["Review this:\n\n{}", "Review:\n```python\n{}```\nThanks."])
def test_code_is_described(form: str) -> None:
    """Classes and functions of code are listed with their lines, with or without a fence."""
    text = reply_to(ask(form.format(SOURCE), system="You review code.")).text

    assert "20 lines of Python" in text
    assert "line 6: class `Store`, 9 lines" in text
    assert "line 9: function `put(item, seen)`, 6 lines" in text
    assert "line 17: async function `fetch(password)`, 4 lines" in text


@pytest.mark.parametrize(("line", "finding"), FOUND)
def test_findings_are_true(line: int, finding: str) -> None:
    """What often goes wrong is found at its line."""
    texts = [
        reply_to(ask(SOURCE, system="You review code.", sample=number)).text
        for number in range(len(FOUND))
    ]

    assert any(f"line {line}: {finding}" in text for text in texts)


def test_worst_comes_first() -> None:
    """What breaks things stands before what is untidy."""
    text = reply_to(ask(SOURCE, system="You review code.")).text

    assert text.index("mutable default") < text.index("import *")


def test_clean_code_is_not_blamed() -> None:
    """Where no check finds anything the answer says so and how little that means."""
    text = reply_to(ask("def double(x):\n    return 2 * x\n", system="You review code.")).text

    assert "Nothing. The" in text
    assert "read it too" in text


def test_role_chooses_sections() -> None:
    """An agent for security gets what an attacker would look at, and nothing untidy."""
    text = reply_to(ask(SOURCE, system="You look for ways to attack.")).text

    assert "## What an attacker would look at" in text
    assert "os.system" in text
    assert "not used" not in text


def test_prose_is_quoted() -> None:
    """Sentences, questions and numbers of a text are quoted as they are."""
    text = reply_to(ask()).text

    assert "- The pump failed in 1984." in text
    assert "## Questions asked\n\n- Who mends the pump?" in text
    assert "2 in the text, from 1250.5 to 1984: 1984, 1,250.50" in text


def test_table_is_measured() -> None:
    """A Markdown table is described by its shape and the range of its columns of numbers."""
    text = reply_to(ask("| name | age |\n|---|---:|\n| Ada | 36 |\n| Bo | 40 |\n")).text

    assert "2 rows, 2 columns: `name`, `age`" in text
    assert "`age`: 36 to 40, mean 38" in text


def test_headings_are_listed() -> None:
    """The headings of a text are its outline."""
    assert "## Headings\n\n- First\n- Second" in reply_to(ask("# First #\n\nA.\n\n## Second")).text


def test_long_prompt_is_cut_openly() -> None:
    """Of a very long prompt only the head is looked at, and the answer says so."""
    text = reply_to(ask("word " * MAX_CHARS)).text

    assert f"Looked at the first {MAX_CHARS:,} of {5 * MAX_CHARS:,} characters." in text


@pytest.mark.parametrize(
    "text",
    [
        "import x\n" + "-" * 30_000 + "1",
        "import x\n\0",
        "def x\n\n" * 5_000,
        "``` x\n" * 8_000,
        "# " + "#" * 39_000 + "x",
        ("|" * 2_000 + "\n") * 20,
        "a." + " " * 39_000 + "b",
        "9" * 39_000,
        '"""\n' * 9_000,
        "half a pair: \ud83d",
        "\u4f60\u597d\u3002" * 9_000,
        "",
    ],
)
@pytest.mark.parametrize("system", ["You review code.", "Attack it.", ""])
def test_hostile_text_is_survived(text: str, system: str) -> None:
    """Text that upsets parsers and patterns gets a bounded answer in bounded time."""
    began = time.process_time()

    reply = reply_to(ask(text, system=system))

    assert reply.stop_reason == "end_turn"
    assert len(reply.text) < 10_000
    assert time.process_time() - began < 2
