"""Only a few modules may make markup; every other path to the screen goes through them."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Iterator, Tuple

import pytest

import claude_force_nb

pytestmark = pytest.mark.essential

PACKAGE = Path(claude_force_nb.__file__).parent

# Calls and names that put text on a page as markup, or style it from outside.
CALLS = {"Markdown", "HTML", "HTMLMath", "SVG", "Javascript", "Latex", "Math", "IFrame"}
ATTRIBUTES = {"innerHTML", "style", "to_html", "description_allow_html"}
MIME_TYPES = {"text/markdown", "text/latex", "image/svg+xml", "application/javascript"}

# Where it is allowed, and why.
ALLOWED = {
    ("notebook/panel.py", "HTML"),  # the board's texts, which board_markup escapes
    ("yaml_text.py", "style"),  # of a YAML scalar: whether it was quoted
}


def findings(source: str) -> Iterator[str]:
    """Yield what in *source* could put text on a page as markup."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and _name(node.func) in CALLS:
            yield _name(node.func)
        if isinstance(node, ast.Attribute) and node.attr in ATTRIBUTES:
            yield node.attr
        if isinstance(node, ast.keyword) and node.arg in ATTRIBUTES - {"style"}:
            yield str(node.arg)
        if isinstance(node, ast.Constant) and node.value in MIME_TYPES:
            yield str(node.value)


def _name(function: ast.expr) -> str:
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def _all_findings() -> Iterator[Tuple[str, str]]:
    for path in PACKAGE.rglob("*.py"):
        for found in findings(path.read_text(encoding="utf-8")):
            yield path.relative_to(PACKAGE).as_posix(), found


def test_markup_is_made_in_one_place() -> None:
    """No module but the listed ones makes markup in a way that escapes nothing."""
    assert {place for place in _all_findings() if place not in ALLOWED} == set()


def test_exceptions_are_needed() -> None:
    """The list of exceptions holds none that nothing uses any more."""
    assert set(_all_findings()) >= ALLOWED


@pytest.mark.parametrize(
    "source",
    [
        "display(Markdown(text))",
        "display(IPython.display.HTML(text))",
        "frame.style",
        "element.innerHTML = text",
        "Button(description_allow_html=True)",
        "display({'text/markdown': text}, raw=True)",
    ],
)
def test_lint_sees_it(source: str) -> None:
    """Each of the forbidden ways is found."""
    assert list(findings(source)) != []
