"""Promises about the YAML that people write by hand."""

from __future__ import annotations

import contextlib
import time
from typing import Any

import pytest

from claude_force_nb.yaml_text import MAX_BYTES, MAX_NODES, YamlError, load_yaml

pytestmark = pytest.mark.essential


def read(text: str) -> Any:
    """Read *text* as a document of this test."""
    return load_yaml(text, source="notes.yaml")


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("no", "no"),
        ("on", "on"),
        ("1.10", "1.10"),
        ("12:30:00", "12:30:00"),
        ("2026-01-01", "2026-01-01"),
        ("007", "007"),
        ("0x1F", "0x1F"),
        ("1e3", "1e3"),
        ("1_000", "1_000"),
        (".inf", ".inf"),
        ("=", "="),
        ("12345678901234567890", "12345678901234567890"),
        ("'5'", "5"),
        ("'true'", "true"),
        ("5", 5),
        ("-5", -5),
        ("0", 0),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
    ],
)
def test_scalars_mean_what_they_say(written: str, value: Any) -> None:
    """Only true, false, null and whole numbers are more than text."""
    found = read(f"field: {written}")["field"]

    assert (type(found), found) == (type(value), value)


@pytest.mark.parametrize("text", ["", "\n\n", "# only a remark", "---\n"])
def test_nothing_is_none(text: str) -> None:
    """A document without a value is ``None``."""
    assert read(text) is None


def test_shapes_are_kept() -> None:
    """Lists, mappings and block texts come out as they stand."""
    text = "steps:\n  - id: a\n    task: |\n      one\n      two\n  - [x, y]\n"

    assert read(text) == {"steps": [{"id": "a", "task": "one\ntwo\n"}, ["x", "y"]]}


def test_byte_order_mark_is_ignored() -> None:
    """A mark that some editors put first is not part of the first key."""
    assert read("\ufeffname: a") == {"name": "a"}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: &x 1\nb: *x", "anchors and aliases"),
        ("a: {b: 1}\nc:\n  <<: {d: 2}", "merge keys"),
        ("a: !!python/object/apply:os.getcwd []", "tags"),
        ("a: !mine 1", "tags"),
        ("tools: [read]\ntools: [shell]", "the key 'tools' stands here twice"),
        ("a: {b: 1, 'b': 2}", "the key 'b' stands here twice"),
        ("1: a", "a key must be text"),
        ("~: a", "a key must be text"),
        ("[a]: 1", "a key must be text"),
        ("a: 1\n---\nb: 2", "a second document"),
        ('a: "\\ud800"', "half of a surrogate pair"),
        ("a: \ud800", "U+D800 cannot be in YAML"),
        ("a: \0", "U+0000 cannot be in YAML"),
        ('a: "\\UFFFFFFFF"', "a character that does not exist"),
        ("a: [1, 2", "expected ',' or ']'"),
        ("- " * 5000, "nested deeper than 20 levels"),
        ("a: [" + "x," * MAX_NODES + "]", "more than 5,000 values"),
        ("a: " + "x" * MAX_BYTES, "more than 64 KB"),
    ],
)
def test_surprises_are_refused(text: str, problem: str) -> None:
    """What could unfold, run code or be read in two ways is an error that names it."""
    with pytest.raises(YamlError) as caught:
        read(text)

    assert problem in str(caught.value)
    assert "notes.yaml" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "place", "line"),
    [
        ("a: 1\nb: 2: 3", "line 2, column 5", "b: 2: 3"),
        ("a: 1\n\n  b: *x", "line 3", "b: *x"),
        ("a: 1\nb: c\0d", "line 2, column 5", "b: c\N{REPLACEMENT CHARACTER}d"),
        ("a: 1\na: 2", "line 2, column 1", "a: 2"),
    ],
)
def test_faults_are_located(text: str, place: str, line: str) -> None:
    """An error gives the line, the column and the line's text."""
    with pytest.raises(YamlError) as caught:
        read(text)

    assert place in caught.value.what
    assert f"\n    {line}" in caught.value.what


def test_lines_count_from_the_file() -> None:
    """Text from the middle of a file is located by the file's own line numbers."""
    with pytest.raises(YamlError) as caught:
        load_yaml("a: 1\na: 2", source="agent.md", first_line=2)

    assert caught.value.line == 3
    assert "agent.md, line 3" in str(caught.value)


BOMB = "a0: &a0 [x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12)
)


@pytest.mark.parametrize(
    "text",
    [BOMB, "[" * 30_000, "{a: " * 15_000, "? " * 30_000, "x: " + "9" * 60_000, "a" + ":" * 60_000],
    ids=["aliases", "lists", "mappings", "complex keys", "digits", "colons"],
)
def test_bombs_cost_little(text: str) -> None:
    """Text made to take minutes or gigabytes is answered within seconds of CPU."""
    began = time.process_time()
    with contextlib.suppress(YamlError):
        read(text)
    spent_s = time.process_time() - began

    assert spent_s < 5
