"""Conditions of steps: the small language of ``when``.

::

    "serious" in lower(steps.review) and not skip_fixes
    len(steps["first-look"]) > 200 or depth in (2, 3)

Text, numbers, ``True``, ``False``, ``None``, lists and tuples of them; ``==``, ``!=``, ``<``,
``<=``, ``>``, ``>=``, ``in``, ``not in``; ``and``, ``or``, ``not``; ``len()`` and ``lower()``;
``steps.ID`` (or ``steps["ID"]``, for an id with a hyphen), which is the text of that step's
answer; and names of variables that hold text, numbers or truth values. Python's parser reads it,
nothing of Python runs it: there is no arithmetic, no attribute and no other call, so that an
expression can neither reach anything nor take long.
"""

from __future__ import annotations

import ast
import operator
from dataclasses import dataclass, field
from typing import Any, Callable, Dict, Mapping, NoReturn, Set, Type, Union

from ..errors import WorkflowError

MAX_CHARS = 1_000
LANGUAGE = (
    "It may have text, numbers, steps.ID, variables, comparisons, in, and, or, not, len(), lower()."
)

Scalar = Union[str, int, float, bool, None]


@dataclass(frozen=True)
class Scope:
    """What an expression can see.

    Attributes:
        steps: Answers by step id.
        variables: Plain values by name.
    """

    steps: Mapping[str, str] = field(default_factory=dict)
    variables: Mapping[str, Scalar] = field(default_factory=dict)


Part = Callable[[Scope], Any]

_COMPARISONS: Dict[Type[ast.AST], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda left, right: left in right,
    ast.NotIn: lambda left, right: left not in right,
}


class Condition:
    """A ``when`` that has been read.

    Args:
        text: The expression.

    Attributes:
        text: The expression.
        steps: Ids of the steps it looks at.
        variables: Names of the variables it looks at.

    Raises:
        WorkflowError: It is not in the language.
    """

    def __init__(self, text: str) -> None:
        self.text = text.strip()
        self.steps: Set[str] = set()
        self.variables: Set[str] = set()
        self._holds = self._built(_parsed(self.text).body)

    def holds(self, scope: Scope) -> bool:
        """Whether the condition is met.

        Raises:
            WorkflowError: It compares things that have no order, such as text and a number.
        """
        try:
            return bool(self._holds(scope))
        except TypeError as error:
            raise WorkflowError(f"when: {self.text}: {error}.") from error

    def _built(self, node: ast.AST) -> Part:
        build = self._BUILDERS.get(type(node))
        return build(self, node) if build else self._refuse(node)

    def _refuse(self, node: ast.AST) -> NoReturn:
        column = getattr(node, "col_offset", 0) + 1
        raise WorkflowError(
            f"when: {self.text}: {type(node).__name__} cannot be used (column {column}).",
            advice=LANGUAGE,
        )

    def _constant(self, node: ast.Constant) -> Part:
        value = node.value
        if type(value) not in (str, int, float, bool, type(None)):
            self._refuse(node)
        return lambda _: value

    def _variable(self, node: ast.Name) -> Part:
        name = node.id
        self.variables.add(name)
        return lambda scope: scope.variables[name]

    def _attribute(self, node: ast.Attribute) -> Part:
        inner = node.value
        if node.attr == "output" and not _is_steps(inner):
            return self._step_reference(inner)
        return self._answer(node.attr) if _is_steps(inner) else self._refuse(node)

    def _step_reference(self, node: ast.AST) -> Part:
        """``steps.ID`` or ``steps["ID"]`` in front of ``.output``."""
        if isinstance(node, ast.Attribute) and _is_steps(node.value):
            return self._answer(node.attr)
        return self._item(node) if isinstance(node, ast.Subscript) else self._refuse(node)

    def _item(self, node: ast.Subscript) -> Part:
        # Python 3.8 wraps what stands between the brackets.
        key = getattr(node.slice, "value", None)
        key = getattr(key, "value", key)
        if not _is_steps(node.value) or not isinstance(key, str):
            self._refuse(node)
        return self._answer(key)

    def _answer(self, step: str) -> Part:
        self.steps.add(step)
        return lambda scope: scope.steps[step]

    def _list(self, node: Union[ast.List, ast.Tuple]) -> Part:
        parts = [self._built(element) for element in node.elts]
        return lambda scope: [part(scope) for part in parts]

    def _both_or_either(self, node: ast.BoolOp) -> Part:
        parts = [self._built(value) for value in node.values]
        combine = all if isinstance(node.op, ast.And) else any
        return lambda scope: combine(part(scope) for part in parts)

    def _unary(self, node: ast.UnaryOp) -> Part:
        if isinstance(node.op, ast.Not):
            part = self._built(node.operand)
            return lambda scope: not part(scope)
        value: Any = getattr(node.operand, "value", None)
        if not isinstance(node.op, ast.USub) or type(value) not in (int, float):
            self._refuse(node)
        return lambda _: -value

    def _comparison(self, node: ast.Compare) -> Part:
        parts = [self._built(operand) for operand in (node.left, *node.comparators)]
        tests = [_COMPARISONS.get(type(one)) or self._refuse(one) for one in node.ops]

        def compare(scope: Scope) -> bool:
            values = [part(scope) for part in parts]
            return all(test(a, b) for test, a, b in zip(tests, values, values[1:]))

        return compare

    def _call(self, node: ast.Call) -> Part:
        name = getattr(node.func, "id", "")
        if name not in ("len", "lower") or len(node.args) != 1 or node.keywords:
            self._refuse(node)
        part = self._built(node.args[0])
        return (lambda scope: len(part(scope))) if name == "len" else _lowered(part)

    _BUILDERS: Dict[Type[ast.AST], Callable[..., Part]] = {
        ast.Constant: _constant,
        ast.Name: _variable,
        ast.Attribute: _attribute,
        ast.Subscript: _item,
        ast.List: _list,
        ast.Tuple: _list,
        ast.BoolOp: _both_or_either,
        ast.UnaryOp: _unary,
        ast.Compare: _comparison,
        ast.Call: _call,
    }


def plain_value(name: str, value: Any) -> Scalar:
    """The value of a variable as an expression may see it.

    Raises:
        WorkflowError: It is neither text nor a number nor a truth value.
    """
    if type(value).__module__ == "numpy" and getattr(value, "ndim", None) == 0:
        value = value.item()
    if type(value) in (str, int, float, bool, type(None)):
        plain: Scalar = value
        return plain
    raise WorkflowError(
        f"when: {name} is a {type(value).__name__}.",
        advice="A condition sees text, numbers and truth values; give one of them a name.",
    )


def _parsed(text: str) -> ast.Expression:
    if len(text) > MAX_CHARS:
        raise WorkflowError(f"when: the condition has more than {MAX_CHARS:,} characters.")
    try:
        return ast.parse(text, mode="eval")
    except SyntaxError as error:
        what = f"when: {text}: {error.msg} (column {error.offset or 1})."
        raise WorkflowError(what, advice=_parse_advice(text)) from error
    except (ValueError, RecursionError, MemoryError) as error:
        raise WorkflowError("when: the condition cannot be read.", advice=LANGUAGE) from error


def _parse_advice(text: str) -> str:
    return "A condition has no braces: write steps.ID." if "{{" in text else LANGUAGE


def _is_steps(node: ast.AST) -> bool:
    return isinstance(node, ast.Name) and node.id == "steps"


def _lowered(part: Part) -> Part:
    def lower(scope: Scope) -> str:
        value = part(scope)
        if not isinstance(value, str):
            raise TypeError(f"lower() takes text, not {type(value).__name__}")
        return value.lower()

    return lower
