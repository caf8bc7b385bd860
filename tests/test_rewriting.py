"""Promises about which calls of the magics are awaited, on code that IPython itself has made."""

from __future__ import annotations

import ast

import pytest
from IPython.core.inputtransformer2 import TransformerManager

from claude_force_nb.notebook.rewriting import Rewriter

pytestmark = pytest.mark.essential


@pytest.fixture
def rewriter() -> Rewriter:
    """A rewriter between two cells."""
    return Rewriter()


def transformed(rewriter: Rewriter, cell: str) -> str:
    """The code that IPython runs for *cell*."""
    lines = TransformerManager().transform_cell(cell).splitlines(keepends=True)
    return "".join(rewriter(lines))


@pytest.mark.parametrize(
    ("cell", "code"),
    [
        (
            "%%agent a -o x\nSay hi\n",
            "(await get_ipython().run_cell_magic('agent', 'a -o x', 'Say hi\\n'), None)[1]\n",
        ),
        (
            "%agent a Say hi",
            "(await get_ipython().run_line_magic('agent', 'a Say hi'), None)[1]\n",
        ),
        (
            "%agents cache verify",
            "(await get_ipython().run_line_magic('agents', 'cache verify'))\n",
        ),
        (
            "x = %agent a Say hi",
            "x = (await get_ipython().run_line_magic('agent', 'a Say hi'))\n",
        ),
        (
            "a, b[0] = %agent a é {x}",
            "a, b[0] = (await get_ipython().run_line_magic('agent', 'a é {x}'))\n",
        ),
        (
            "for x in y:\n    %agent a Hi\n",
            "for x in y:\n    (await get_ipython().run_line_magic('agent', 'a Hi'), None)[1]\n",
        ),
        (
            "async def f():\n    z = %agent a Hi\n",
            "async def f():\n    z = (await get_ipython().run_line_magic('agent', 'a Hi'))\n",
        ),
        (
            "%%workflow a -> b\nSay hi\n",
            "(await get_ipython().run_cell_magic('workflow', 'a -> b', 'Say hi\\n'), None)[1]\n",
        ),
    ],
)
def test_calls_are_awaited(rewriter: Rewriter, cell: str, code: str) -> None:
    """A call waits on the kernel's loop, at top level, in blocks and in coroutines."""
    assert transformed(rewriter, cell) == code


def test_each_line_is_awaited(rewriter: Rewriter) -> None:
    """Several calls in a cell are awaited one by one, and the code between them is left alone."""
    code = transformed(rewriter, "a = 1\n%agent a One\nb = %agent a Two\nprint(a)\n")

    assert code.count("await ") == 2
    assert code.startswith("a = 1\n(await ")
    assert code.endswith("print(a)\n")


@pytest.mark.parametrize(
    "cell",
    [
        "%%agentless a\nSay hi\n",
        "%%time\n%agent a Say hi\n",
        "%%capture out\n%%agent a\nSay hi\n",
        "get_ipython().run_cell_magic('time', '', 'x')\n",
        "x = 1  # get_ipython().run_cell_magic('agent', '', '')\n",
        'text = """\nget_ipython().run_line_magic(\'agent\', \'a\')\n"""\n',
        "async def f():\n    def g():\n        %agent a Say hi\n",
        "def ask():\n    %agent a Say hi\n",
        "print('%agent a')\n",
    ],
)
def test_other_calls_are_left_alone(rewriter: Rewriter, cell: str) -> None:
    """Other magics, and ours in functions, strings and other magics, stay as they are."""
    assert transformed(rewriter, cell) == TransformerManager().transform_cell(cell)


def test_running_cell_rewrites_nothing(rewriter: Rewriter) -> None:
    """What a running cell hands to IPython, as ``%%time`` does, has nowhere to await."""
    rewriter.before_cell()
    inside = transformed(rewriter, "%%agent a\nSay hi\n")
    rewriter.after_cell()
    outside = transformed(rewriter, "%%agent a\nSay hi\n")

    assert not inside.startswith("(await")
    assert outside.startswith("(await")


@pytest.mark.parametrize(
    "cell",
    [
        "# a remark\n%%agent a\nSay hi, it's fine\n",
        "x = 1\n%%agent a\n{{ x }} is: what?\n",
        "if x:\n    %%agent a\n    Say hi\n",
        "# a remark\n%%workflow a -> b\nDo: this!\n",
    ],
)
def test_misplaced_cells_explain_themselves(rewriter: Rewriter, cell: str) -> None:
    """A cell magic below other lines becomes valid code whose only act is to say so."""
    code = transformed(rewriter, cell)

    name = "agent" if "%%agent" in cell else "workflow"
    assert code == f"get_ipython().run_line_magic('%{name}', '')\n"


@pytest.mark.parametrize(
    "cell",
    [
        "%%agent a\n'''quotes''' and \"\"\"more\"\"\"\n\\end\n",
        "%%agent a 'quoted' \"twice\"\n{braces} $money %agent b\n",
        "%%agent a\n\n",
        "%agent a it's {x} $y",
    ],
)
def test_rewritten_code_compiles(rewriter: Rewriter, cell: str) -> None:
    """Whatever the text holds, the rewritten cell is code that can await."""
    code = transformed(rewriter, cell)
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT

    assert code.startswith("(await ")
    assert compile(code, "cell", "exec", flags=flags) is not None
