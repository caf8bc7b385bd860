"""Promises about what the offline model says of code: findings are true, none is invented."""

from __future__ import annotations

from typing import List

import pytest

from claude_force_nb.providers.observations import observe, outline, parsable_head, parse

pytestmark = pytest.mark.essential


def findings(source: str) -> List[str]:
    """Line and text of every observation on *source*."""
    tree = parse(source)
    assert tree is not None
    return [f"{found.line}: {found.text}" for found in observe(source, tree)]


@pytest.mark.parametrize(
    ("source", "finding"),
    [
        ("try:\n    f()\nexcept:\n    g()", "3: a bare `except:`"),
        ("try:\n    f()\nexcept Exception:\n    pass", "3: `except Exception: pass` hides"),
        ("def f(a={}):\n    pass", "1: `f` has a mutable default"),
        ("def f(*, a=[]):\n    pass", "1: `f` has a mutable default"),
        ("def f(a, b, c, d, e, f, g):\n    pass", "1: `f` takes 7 parameters"),
        ("def f():\n" + "    g()\n" * 60, "1: `f` is 61 lines long"),
        ("async def f():\n    time.sleep(1)", "1: `f` is async and calls `time.sleep`"),
        ("a == None", "1: `==` with None"),
        ("a is 'x'", "1: `is` with a literal"),
        ("assert (a, 'message')", "1: an assertion on a tuple is always true"),
        ("{'a': 1, 'a': 2}", "1: the key 'a' stands twice"),
        ("from os import *", "1: `from os import *`"),
        ("def f():\n    try:\n        g()\n    finally:\n        return 1", "2: a `return` inside"),
        ("import os", "1: `os` is imported and not used"),
        ("import os.path as p", "1: `p` is imported and not used"),
        ("a = 1  # FIXME: `later`", "1: a note says `FIXME: 'later'`"),
        ("eval(a)", "1: `eval` runs"),
        ("subprocess.run(a, shell=True)", "1: `subprocess.run(..., shell=True)`"),
        ("requests.get(a, verify=False)", "1: `requests.get(..., verify=False)`"),
        ("yaml.load(a)", "1: `yaml.load` without a safe loader"),
        ("pickle.loads(a)", "1: `pickle.loads` runs code"),
        ("db.execute(f'select {a}')", "1: a query is put together"),
        ("db.execute('select %s' % a)", "1: a query is put together"),
        ("db.execute('select {}'.format(a))", "1: a query is put together"),
        ("api_key = 'abcdefgh'", "1: `api_key` is given a text in the source"),
        ("self.password = 'abcdefgh'", "1: `self.password` is given a text in the source"),
        ("assert a", "1: `assert` is left out"),
    ],
)
def test_pattern_is_found(source: str, finding: str) -> None:
    """What often goes wrong is found, with its line."""
    assert any(found.startswith(finding) for found in findings(source))


@pytest.mark.parametrize(
    "source",
    [
        "try:\n    f()\nexcept:\n    g()\n    raise",
        "try:\n    f()\nexcept KeyError:\n    pass",
        "def f(a=None, *, b=()):\n    pass",
        "class A:\n    def f(self, a, b, c, d, e, f):\n        pass",
        "def f():\n    time.sleep(1)",
        "async def f():\n    await asyncio.sleep(1)",
        "a is None or a is True or a == 1",
        "{'a': 1, 'b': 2, **c, 1: 3, '1': 4}",
        "import os\nos.getcwd()",
        "import os as os",
        "from __future__ import annotations",
        "from os import path\n__all__ = ['path']",
        "text = 'TODO: nothing'",
        "subprocess.run([a], shell=False)",
        "yaml.load(a, yaml.SafeLoader)",
        "db.execute('select ?', (a,))",
        "token = read()\npassword = ''",
        "f(a)(b)\nx[0].y(c)",
    ],
)
def test_sound_code_is_left_alone(source: str) -> None:
    """Code that only looks like a pattern is not blamed."""
    assert findings(source) == []


def test_order_is_by_damage() -> None:
    """What breaks things comes first, then by line."""
    found = findings("import os\nfrom x import *\na is 'x'\neval(b)")

    assert [text.split(":")[0] for text in found] == ["3", "4", "2", "1"]


def test_outline_nests() -> None:
    """Methods stand below their class, with what a caller fills in."""
    tree = parse("class A:\n    def f(self, a, *, b): ...\n\nasync def g(): ...\n")
    assert tree is not None

    assert outline(tree) == [
        "- line 1: class `A`, 2 lines",
        "  - line 2: function `f(a, b)`, 1 line",
        "- line 4: async function `g()`, 1 line",
    ]


def test_long_signature_is_cut() -> None:
    """Of many parameters the first are shown and the rest counted."""
    tree = parse("def f(a, b, c, d, e, f, g, h): ...")
    assert tree is not None

    assert outline(tree) == ["- line 1: function `f(a, b, c, d, e, f, … 2 more)`, 1 line"]


@pytest.mark.parametrize(
    ("text", "head"),
    [
        ("import os\n\nos.getcwd()\n", "import os\n\nos.getcwd()\n"),
        ("import os\n\nThanks for looking at it.\n\nBye now.", "import os\n"),
        ("No code at all.", ""),
        ("import x\n\0", ""),
    ],
)
def test_head_of_code(text: str, head: str) -> None:
    """Code is told from the prose that follows it."""
    assert parsable_head(text) == head
