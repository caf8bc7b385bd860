"""Reading one agent's file, or one ``claude.json``, from a folder that need not be trusted.

A cloned project brings its ``.claude`` folder along. A file counts only if it lies inside that
folder with all links followed, is a regular file of moderate size, and is UTF-8 text; everything
else is an :class:`AgentFileError` that names the file.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Tuple, Union

from .errors import AgentFileError
from .models import INHERIT
from .yaml_text import YamlError, load_yaml

MAX_FILE_BYTES = 256 * 1024
# A configuration could otherwise name a file of settings or credentials as an agent's.
SUFFIXES = (".md", ".markdown", ".txt")

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_-]{0,99}", re.ASCII)
_FRONT_MATTER = re.compile(r"---[ \t]*\n(.*?)^---[ \t]*(?:\n|\Z)", re.DOTALL | re.MULTILINE)
_BARE_FIELD = re.compile(r"([A-Za-z][\w-]*:[ \t]+)([^\s\"'\[{|>&*!#].*)")
_NEEDS_QUOTES = re.compile(r"[@`%]|.*:(?:\s|$)")


@dataclass(frozen=True)
class AgentDefinition:
    """A named system prompt plus defaults.

    Attributes:
        name: Letters, digits, hyphens and underscores.
        system: The instructions, sent as the system prompt.
        description: What the agent is for, one line.
        model: Model id or short name; ``None`` for the notebook's default.
        max_tokens: Longest answer; ``None`` for the default.
        tools: Names of tools that the file lists.
        options: Further fields of the API call.
        source: The file, or ``cell``.
        sha256: Digest of the file's bytes or the cell's text.
    """

    name: str
    system: str
    description: str = ""
    model: Optional[str] = None
    max_tokens: Optional[int] = None
    tools: Tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    source: str = ""
    sha256: str = ""


def valid_agent_name(name: str) -> bool:
    """Whether *name* can be an agent's: letters, digits, hyphens and underscores."""
    return _NAME.fullmatch(name) is not None


def read_definition(folder: Path, path: Path, name: Optional[str] = None) -> AgentDefinition:
    """Read an agent's file.

    Args:
        folder: The ``.claude`` folder that the file must lie in.
        path: The file.
        name: The agent's name where ``claude.json`` gives one; else the front matter's, else the
            file's.

    Raises:
        AgentFileError: The file cannot be used.
    """
    data = _read(folder, path, SUFFIXES)
    try:
        text = data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise AgentFileError(f"{path} is not UTF-8 text.", advice="Save it as UTF-8.") from error
    fields, body = _split(text, path)
    if not body.strip():
        raise AgentFileError(f"{path} has no instructions.", advice="Write them below the ---.")
    model = _text(fields, "model", path)
    return AgentDefinition(
        name=_checked_name(name or _text(fields, "name", path) or path.stem, path),
        system=body.strip(),
        description=" ".join(_text(fields, "description", path).split()),
        model=None if model.lower() in ("", INHERIT) else model,
        max_tokens=_whole_number(fields, "max_tokens", path),
        tools=_words(fields, "tools", path),
        source=str(path),
        sha256=hashlib.sha256(data).hexdigest(),
    )


def read_config(path: Path) -> Dict[str, Any]:
    """Read a ``claude.json``; empty if there is none.

    Raises:
        AgentFileError: The file cannot be used.
    """
    if not os.path.lexists(path):
        return {}
    try:
        text = _read(path.parent, path).decode("utf-8-sig")
        document = json.loads(text, object_pairs_hook=_without_twins)
    except (ValueError, RecursionError) as error:
        if isinstance(error, AgentFileError):
            raise
        raise AgentFileError(f"{path} is not JSON: {error}.") from error
    if not isinstance(document, dict):
        raise AgentFileError(f"{path} must hold a JSON object.")
    return document


def _without_twins(pairs: List[Tuple[str, Any]]) -> Dict[str, Any]:
    """An object, unless a key stands in it twice: the last one would win silently."""
    found: Dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {key!r} stands in it twice")
        found[key] = value
    return found


def _checked_name(name: str, path: Path) -> str:
    if valid_agent_name(name):
        return name
    raise AgentFileError(
        f"{path}: {name!r} is not an agent name.",
        advice="Use letters, digits, hyphens and underscores.",
    )


def _split(text: str, path: Path) -> Tuple[Dict[str, Any], str]:
    """Front matter and body of an agent's file."""
    if not text.startswith("---"):
        return {}, text
    match = _FRONT_MATTER.match(text)
    if match is None:
        raise AgentFileError(f"{path}, line 1: the front matter has no closing ---.")
    return _front_matter(match.group(1), path), text[match.end() :]


def _front_matter(text: str, path: Path) -> Dict[str, Any]:
    """The fields of front matter; Claude Code's descriptions with bare colons are understood."""
    try:
        fields = _loaded(text, path)
    except YamlError as error:
        fields = _loaded_with_quotes(text, path, error)
    if fields is not None and not isinstance(fields, dict):
        raise AgentFileError(f"{path}, line 2: front matter has lines such as name: value.")
    return fields or {}


def _loaded(text: str, path: Path) -> Any:
    return load_yaml(text, source=str(path), first_line=2)


def _loaded_with_quotes(text: str, path: Path, first: YamlError) -> Any:
    """Read front matter that is YAML once its bare values are quoted.

    Nothing but the quotes is forgiven: what is refused elsewhere is refused here.
    """
    try:
        return _loaded("\n".join(map(_quoted, text.split("\n"))), path)
    except YamlError:
        raise AgentFileError(first.what, advice=first.advice) from first


def _quoted(line: str) -> str:
    match = _BARE_FIELD.fullmatch(line)
    if match is None or not _NEEDS_QUOTES.match(match.group(2)):
        return line
    value = match.group(2).rstrip().replace("'", "''")
    return f"{match.group(1)}'{value}'"


def _text(fields: Mapping[str, Any], name: str, path: Path) -> str:
    value = fields.get(name)
    if isinstance(value, (list, dict)):
        raise AgentFileError(f"{path}: {name} must be one text, not several values.")
    return "" if value is None else str(value).strip()


def _words(fields: Mapping[str, Any], name: str, path: Path) -> Tuple[str, ...]:
    value: Union[str, List[Any]] = fields.get(name) or []
    words = value.split(",") if isinstance(value, str) else value
    if not isinstance(words, list) or any(isinstance(word, (list, dict)) for word in words):
        raise AgentFileError(f"{path}: {name} must be a list of names.")
    return tuple(str(word).strip() for word in words if str(word).strip())


def _whole_number(fields: Mapping[str, Any], name: str, path: Path) -> Optional[int]:
    value = fields.get(name)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
        raise AgentFileError(f"{path}: {name} must be a whole number above 0, not {value!r}.")
    return value


def outside(path: Path, folder: Path) -> AgentFileError:
    """The error for a *path* that leads out of its *folder*."""
    return AgentFileError(
        f"{path} is outside {folder}.", advice="Agents' files stay inside their .claude folder."
    )


def _read(folder: Path, path: Path, suffixes: Tuple[str, ...] = ()) -> bytes:
    """Read a regular file inside *folder*, links followed; never blocks on a pipe."""
    try:
        real, root = path.resolve(strict=True), folder.resolve()
        if root not in real.parents:
            raise outside(path, folder)
        if suffixes and real.suffix.lower() not in suffixes:
            raise AgentFileError(f"{path} is not one of {', '.join(suffixes)}.")
        return _read_regular(real)
    except AgentFileError:
        raise
    except (OSError, RuntimeError, ValueError) as error:  # a loop of links, a NUL in the name
        raise AgentFileError(f"{path} cannot be read: {_reason(error)}.") from error


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


def _read_regular(path: Path) -> bytes:
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0)
    descriptor = os.open(path, flags)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError("it is not a regular file")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            data = file.read(MAX_FILE_BYTES + 1)
    finally:
        os.close(descriptor)
    if len(data) > MAX_FILE_BYTES:
        raise OSError(f"it is larger than {MAX_FILE_BYTES // 1024} KB")
    return data
