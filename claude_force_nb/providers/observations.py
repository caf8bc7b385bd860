"""True statements about Python source: what is in it, and what often goes wrong.

Everything here is read from the syntax tree, so each observation can be checked by looking at its
line. It is a short list of patterns, not a linter and not a review.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
import warnings
from dataclasses import dataclass
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence, Tuple, Type, Union

LONG_FUNCTION_LINES = 50
MANY_PARAMETERS = 6
MAX_CUTS = 4

_UNPARSABLE = (SyntaxError, ValueError, RecursionError, MemoryError)

Function = (ast.FunctionDef, ast.AsyncFunctionDef)
AnyFunction = Union[ast.FunctionDef, ast.AsyncFunctionDef]
Finding = Tuple[int, str]
Check = Callable[[Any], Iterator[Finding]]


@dataclass(frozen=True)
class Observation:
    """One finding.

    Attributes:
        line: Line of the source, from 1.
        rank: 1 breaks things, 2 misleads, 3 is untidy.
        text: What is there and why it matters.
        security: Whether it matters to somebody who attacks.
    """

    line: int
    rank: int
    text: str
    security: bool = False


def parse(source: str) -> Optional[ast.Module]:
    """The syntax tree of *source*; ``None`` if it is not Python that this interpreter reads."""
    try:
        return _parse(source)
    except _UNPARSABLE:
        return None


def parsable_head(text: str) -> str:
    """The longest head of *text*, up to an empty line, that was found to be Python.

    At most ``MAX_CUTS`` places are tried, each before the line at which the parser gave up.
    """
    for _ in range(MAX_CUTS):
        try:
            _parse(text)
            return text
        except SyntaxError as error:
            before = "".join(text.splitlines(keepends=True)[: max((error.lineno or 1) - 1, 0)])
            text = before[: before.rfind("\n\n") + 1]
        except _UNPARSABLE:
            break
    return ""


def _parse(source: str) -> ast.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # odd escapes in somebody else's code are no news
        return ast.parse(source)


def outline(tree: ast.Module) -> List[str]:
    """One Markdown line for each class, method and function, in the order of the source."""
    return list(_outline(tree.body, 0))


def _outline(body: Sequence[ast.stmt], depth: int) -> Iterator[str]:
    for node in body:
        if isinstance(node, ast.ClassDef):
            yield f"{'  ' * depth}- line {node.lineno}: class `{node.name}`, {_lines(node)}"
            yield from _outline(node.body, depth + 1)
        elif isinstance(node, Function):
            word = "async function" if isinstance(node, ast.AsyncFunctionDef) else "function"
            names = _shortened(_parameters(node))
            yield (
                f"{'  ' * depth}- line {node.lineno}: {word} `{node.name}({names})`, {_lines(node)}"
            )


def _lines(node: Any) -> str:
    count = _line_count(node)
    return f"{count} line{'s' if count > 1 else ''}"


def _line_count(node: Any) -> int:
    return int(node.end_lineno - node.lineno + 1)


def _parameters(node: AnyFunction) -> List[str]:
    """The names that a caller fills in; ``self`` is not one of them."""
    given = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    names = [argument.arg for argument in given]
    return names[1:] if names[:1] in (["self"], ["cls"]) else names


def _shortened(names: List[str]) -> str:
    rest = len(names) - MANY_PARAMETERS
    return ", ".join([*names[:MANY_PARAMETERS], *([f"… {rest} more"] if rest > 0 else [])])


def observe(source: str, tree: ast.Module) -> List[Observation]:
    """What is worth a look, worst first, then by line.

    Args:
        source: Python source.
        tree: Its syntax tree, from :func:`parse`.
    """
    found = {
        Observation(getattr(node, "lineno", 1), rank, text, security)
        for node in ast.walk(tree)
        for security, checks in ((False, _CHECKS), (True, _SECURITY_CHECKS))
        for check in checks.get(type(node), ())
        for rank, text in check(node)
    }
    found.update(_unused_imports(tree))
    found.update(_notes_to_self(source))
    return sorted(found, key=lambda o: (o.rank, o.line, o.text))


# -- what often goes wrong --------------------------------------------------------------------


def _bare_except(node: ast.ExceptHandler) -> Iterator[Finding]:
    silent = all(isinstance(statement, ast.Pass) for statement in node.body)
    if node.type is None and not isinstance(node.body[-1], ast.Raise):
        yield 1, "a bare `except:` also catches KeyboardInterrupt and SystemExit"
    if silent and _name(node.type) in ("Exception", "BaseException"):
        yield 1, f"`except {_name(node.type)}: pass` hides every failure"


def _mutable_default(node: AnyFunction) -> Iterator[Finding]:
    for value in [*node.args.defaults, *node.args.kw_defaults]:
        if isinstance(value, (ast.List, ast.Dict, ast.Set)):
            yield 1, f"`{node.name}` has a mutable default value, which all its calls share"


def _size(node: AnyFunction) -> Iterator[Finding]:
    if _line_count(node) > LONG_FUNCTION_LINES:
        yield 3, f"`{node.name}` is {_line_count(node)} lines long"
    if len(_parameters(node)) > MANY_PARAMETERS:
        yield 3, f"`{node.name}` takes {len(_parameters(node))} parameters"


def _blocking_call(node: ast.AsyncFunctionDef) -> Iterator[Finding]:
    if any(_called(inner) == "time.sleep" for inner in ast.walk(node)):
        yield 1, f"`{node.name}` is async and calls `time.sleep`, which stops the event loop"


def _comparison(node: ast.Compare) -> Iterator[Finding]:
    for operator, operand in zip(node.ops, node.comparators):
        value = _constant(operand)
        if isinstance(operator, (ast.Eq, ast.NotEq)) and value is None:
            yield 3, "`==` with None: `is None` cannot be overridden by a class"
        if isinstance(operator, (ast.Is, ast.IsNot)) and type(value) in (str, bytes, int, float):
            yield 1, "`is` with a literal compares identity, not value"


def _assert_tuple(node: ast.Assert) -> Iterator[Finding]:
    if isinstance(node.test, ast.Tuple) and node.test.elts:
        yield 1, "an assertion on a tuple is always true"


def _duplicate_keys(node: ast.Dict) -> Iterator[Finding]:
    seen = set()
    for key in node.keys:
        if isinstance(key, ast.Constant) and (type(key.value), key.value) in seen:
            yield 1, f"the key {key.value!r} stands twice in one dictionary; the last one wins"
        if isinstance(key, ast.Constant):
            seen.add((type(key.value), key.value))


def _star_import(node: ast.ImportFrom) -> Iterator[Finding]:
    if any(alias.name == "*" for alias in node.names):
        yield 2, f"`from {node.module} import *` hides where names come from"


def _return_in_finally(node: ast.Try) -> Iterator[Finding]:
    if any(isinstance(statement, ast.Return) for statement in node.finalbody):
        yield 1, "a `return` inside `finally` swallows the exception"


# -- what an attacker looks for ---------------------------------------------------------------

_RISKY_CALLS: Dict[str, Finding] = {
    "eval": (1, "`eval` runs whatever text it is given"),
    "exec": (1, "`exec` runs whatever text it is given"),
    "os.system": (1, "`os.system` hands its text to a shell"),
    "pickle.load": (1, "`pickle.load` runs code from the data"),
    "pickle.loads": (1, "`pickle.loads` runs code from the data"),
    "tempfile.mktemp": (2, "`tempfile.mktemp` leaves time for somebody else to make the file"),
    "hashlib.md5": (2, "MD5 does not protect against forgery"),
    "hashlib.sha1": (2, "SHA-1 does not protect against forgery"),
}
_SECRET_NAME = re.compile(r"(password|passwd|secret|api_?key|token)$", re.IGNORECASE)


def _risky_call(node: ast.Call) -> Iterator[Finding]:
    name = _called(node)
    if name in _RISKY_CALLS:
        yield _RISKY_CALLS[name]
    options = {keyword.arg: _constant(keyword.value) for keyword in node.keywords}
    if options.get("shell") is True:
        yield 1, f"`{name}(..., shell=True)` hands its text to a shell"
    if options.get("verify") is False:
        yield 1, f"`{name}(..., verify=False)` accepts any certificate"
    if name == "yaml.load" and len(node.args) < 2 and "Loader" not in options:
        yield 1, "`yaml.load` without a safe loader can build any object"


def _built_query(node: ast.Call) -> Iterator[Finding]:
    query = node.args[0] if node.args else None
    built = isinstance(query, (ast.JoinedStr, ast.BinOp)) or _called(query).endswith(".format")
    if built and _called(node).rpartition(".")[2] in ("execute", "executemany"):
        yield 1, "a query is put together from text instead of parameters"


def _secret_in_source(node: ast.Assign) -> Iterator[Finding]:
    text = _constant(node.value)
    for target in node.targets:
        if isinstance(text, str) and len(text) > 5 and _SECRET_NAME.search(_name(target)):
            yield 1, f"`{_name(target)}` is given a text in the source"


def _stripped_check(node: ast.Assert) -> Iterator[Finding]:
    yield 3, "`assert` is left out when Python runs with -O; it is no check of input"


_CHECKS: Dict[Type[ast.AST], Tuple[Check, ...]] = {
    ast.ExceptHandler: (_bare_except,),
    ast.FunctionDef: (_mutable_default, _size),
    ast.AsyncFunctionDef: (_mutable_default, _size, _blocking_call),
    ast.Compare: (_comparison,),
    ast.Assert: (_assert_tuple,),
    ast.Dict: (_duplicate_keys,),
    ast.ImportFrom: (_star_import,),
    ast.Try: (_return_in_finally,),
}
_SECURITY_CHECKS: Dict[Type[ast.AST], Tuple[Check, ...]] = {
    ast.Call: (_risky_call, _built_query),
    ast.Assign: (_secret_in_source,),
    ast.Assert: (_stripped_check,),
}
CHECK_COUNT = 2 + sum(len(c) for table in (_CHECKS, _SECURITY_CHECKS) for c in table.values())


# -- what needs the whole source --------------------------------------------------------------


def _unused_imports(tree: ast.Module) -> Iterator[Observation]:
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    used |= {word for text in _strings(tree) for word in re.findall(r"\w+", text)}
    for line, name in _imported(tree):
        if name not in used:
            yield Observation(line, 3, f"`{name}` is imported and not used")


def _imported(tree: ast.Module) -> Iterator[Tuple[int, str]]:
    """Line and name of each import at the top level that is meant for use in this source."""
    for node in tree.body:
        if isinstance(node, (ast.Import, ast.ImportFrom)) and _module(node) != "__future__":
            for alias in node.names:
                # `import x as x` is how a package says that it passes a name on.
                if alias.name != "*" and alias.asname != alias.name:
                    yield node.lineno, (alias.asname or alias.name).partition(".")[0]


def _strings(tree: ast.Module) -> Iterator[str]:
    """Short strings: names in ``__all__`` and annotations in quotes count as uses."""
    for node in ast.walk(tree):
        text = _constant(node)
        if isinstance(text, str) and len(text) < 200:
            yield text


def _notes_to_self(source: str) -> Iterator[Observation]:
    try:
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            note = re.search(r"\b(TODO|FIXME|XXX|HACK)\b.{0,60}", token.string)
            if token.type == tokenize.COMMENT and note:
                yield Observation(token.start[0], 2, f"a note says `{_inline(note.group())}`")
    except (tokenize.TokenError, SyntaxError):
        return


def _inline(text: str) -> str:
    return text.replace("`", "'").strip()


def _module(node: Union[ast.Import, ast.ImportFrom]) -> str:
    return (node.module or "") if isinstance(node, ast.ImportFrom) else ""


def _constant(node: Any) -> Any:
    return node.value if isinstance(node, ast.Constant) else ...


def _called(node: Any) -> str:
    return _name(node.func) if isinstance(node, ast.Call) else ""


def _name(node: Any) -> str:
    """A dotted name such as ``os.path.join``; empty for other expressions."""
    parts: List[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if isinstance(node, ast.Name):
        return ".".join([node.id, *reversed(parts)])
    return ".".join(["", *reversed(parts)]) if parts else ""
