"""The conditions of ``when``: what they can say, and what they cannot do."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest

from claude_force_nb.errors import WorkflowError
from claude_force_nb.workflow.expressions import Condition, Scope, plain_value

pytestmark = pytest.mark.essential

SCOPE = Scope(
    {"a": "Serious bug", "first-look": "", "output": "42"}, {"n": 3, "word": "x", "on": True}
)


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("'bug' in steps.a", True),
        ("'Bug' in steps.a", False),
        ("'serious' in lower(steps.a) and not on", False),
        ("'zzz' not in steps.a.output or n > 5", True),
        ("steps['first-look']", False),
        ("steps['first-look'].output == ''", True),
        ("steps.output == '42'", True),
        ("len(steps.a) >= 11", True),
        ("1 < n <= 3", True),
        ("3 < n <= 3", False),
        ("n == -3", False),
        ("n in (1, 2, 3)", True),
        ("word in ['x', 'y'] and n != 4", True),
        ("not (on and None)", True),
        ("  on  ", True),
    ],
)
def test_truth(text: str, holds: bool) -> None:
    """An expression means what it means in Python."""
    assert Condition(text).holds(SCOPE) is holds


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')",
        "steps.a.upper()",
        "steps.a.output.output",
        "steps.__class__.__mro__",
        "().__class__",
        "n.real",
        "word[0]",
        "steps[n]",
        "steps[0]",
        "'x' * 400000000",
        "9 ** 9 ** 9",
        "n + 1",
        "~n",
        "-word",
        "lambda: 1",
        "[x for x in steps.a]",
        "(n := 3)",
        "f'{n}'",
        "n if on else 2",
        "n is None",
        "len(steps.a, 2)",
        "len(x=1)",
        "open('/etc/passwd')",
        "lower.upper",
        "{1: 2}",
        "...",
        "b'x' in steps.a",
        "1j",
        "print(1)",
        "n; n",
        "n = 3",
        "",
        "{{ steps.a }} == 'x'",
        "'\0'",
        "(" * 300 + "1" + ")" * 300,
        "not " * 250 + "1",
    ],
)
def test_nothing_else(text: str) -> None:
    """Whatever is outside the language is refused when it is read, quickly."""
    started = time.process_time()

    with pytest.raises(WorkflowError, match="when"):
        Condition(text + " ")

    assert time.process_time() - started < 1


@pytest.mark.parametrize("text", ["steps.a < 3", "len(n) > 1", "lower(n) == 'x'", "'x' in n"])
def test_senseless_comparison(text: str) -> None:
    """Comparing what has no order is an error that quotes the condition."""
    with pytest.raises(WorkflowError, match="when: "):
        Condition(text).holds(SCOPE)


def test_names_are_known() -> None:
    """A condition tells which steps and variables it looks at."""
    condition = Condition("steps.a and steps['b-c'] == word")

    assert (condition.steps, condition.variables) == ({"a", "b-c"}, {"word"})


@pytest.mark.parametrize(
    ("value", "plain"),
    [(np.bool_(True), True), (np.int64(3), 3), (np.str_("x"), "x"), (None, None), (2.5, 2.5)],
)
def test_plain_values(value: Any, plain: Any) -> None:
    """Text, numbers and truth values are seen, NumPy's too."""
    found = plain_value("x", value)

    assert found == plain and type(found) is type(plain)


class _Loud(str):
    def __contains__(self, _: object) -> bool:
        raise AssertionError("code of a variable ran")


@pytest.mark.parametrize("value", [[1], {"a": 1}, object(), _Loud("x"), np.zeros(3)])
def test_other_values_are_refused(value: Any) -> None:
    """A value whose class could run code of its own is not looked at."""
    with pytest.raises(WorkflowError, match="when: flag is a"):
        plain_value("flag", value)
