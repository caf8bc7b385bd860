"""Agents: where their definitions come from and what is in them.

An agent is a Markdown file ``.claude/agents/NAME.md``, with or without YAML front matter
(``name``, ``description``, ``model``, ``tools``), an entry of ``.claude/claude.json``
(``{"agents": {NAME: {"file": "agents/NAME.md"}}}``), or a notebook cell. ``.claude`` folders are
looked for from the start folder up to the project's root, then in the home directory; the nearest
definition of a name wins, a cell's over every file's.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import re
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, Iterable, Iterator, List, Mapping, Optional, Tuple, Union

from .errors import AgentFileError, AgentNotFound, InputError
from .models import INHERIT
from .yaml_text import YamlError, load_yaml

MAX_FILE_BYTES = 256 * 1024
CACHE_FOLDER = Path("cache") / "nb-v1"

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_-]{0,99}", re.ASCII)
_FRONT_MATTER = re.compile(r"---[ \t]*\n(.*?)^---[ \t]*(?:\n|\Z)", re.DOTALL | re.MULTILINE)
_FIELD = re.compile(r"([A-Za-z][\w-]*):[ \t]*(.*)")

Signature = Tuple[str, int, int, int]


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


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """A sentence that suggests the nearest of *names*, or lists them."""
    known = sorted(names)
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.6)
    if near:
        return f"Did you mean {' or '.join(near)}?"
    return f"There are: {', '.join(known[:20])}." if known else ""


@dataclass
class _Found:
    """What one look at the folders found, and how to tell that it has changed."""

    signatures: List[Signature] = field(default_factory=list)
    definitions: Dict[str, AgentDefinition] = field(default_factory=dict)
    file_signatures: Dict[str, Signature] = field(default_factory=dict)
    broken: Dict[str, AgentFileError] = field(default_factory=dict)


class AgentLibrary:
    """The agents that a notebook or script can use.

    Args:
        start: Folder from which ``.claude`` folders are looked for, upwards; the current one by
            default.
        config_path: A ``claude.json`` that is looked at first.
        home: Home directory; the user's own by default.
    """

    def __init__(
        self,
        start: Optional[Path] = None,
        config_path: Optional[Path] = None,
        home: Optional[Path] = None,
    ) -> None:
        self._start = (start or Path.cwd()).absolute()
        self._config_path = config_path.absolute() if config_path else None
        self._home = home or Path.home()
        self._cells: Dict[str, AgentDefinition] = {}
        self._found: Optional[_Found] = None

    def find(self, name: str) -> AgentDefinition:
        """The definition of *name*, as its file is now.

        Raises:
            AgentNotFound: There is none; the message says which one may be meant.
            AgentFileError: Its file cannot be used.
        """
        if name in self._cells:
            return self._cells[name]
        found = self._look()
        if name in found.file_signatures and _signature(
            found.file_signatures[name][0]
        ) != found.file_signatures[name]:
            found = self._look(again=True)
        if name in found.definitions:
            return found.definitions[name]
        if name in found.broken:
            raise found.broken[name]
        raise AgentNotFound(
            f"There is no agent {name!r}.",
            advice=did_you_mean(name, self.names())
            or "Write .claude/agents/NAME.md, or a cell with %%agent --define NAME.",
        )

    def all(self) -> List[AgentDefinition]:
        """All usable definitions, by name."""
        every = {**self._look(again=True).definitions, **self._cells}
        return [every[name] for name in sorted(every)]

    def names(self) -> List[str]:
        """The names of all usable definitions."""
        return sorted({*self._look().definitions, *self._cells})

    def problems(self) -> List[str]:
        """One line for each file that cannot be used."""
        return [str(error) for error in self._look().broken.values()]

    def define(self, definition: AgentDefinition) -> None:
        """Add an agent for as long as this library lives; it hides a file of the same name.

        Raises:
            InputError: The name is not one.
        """
        if not valid_agent_name(definition.name):
            raise InputError(
                f"{definition.name!r} is not an agent name.",
                advice="Use letters, digits, hyphens and underscores.",
            )
        self._cells[definition.name] = definition

    def workflows(self) -> Dict[str, List[str]]:
        """The named workflows of ``claude.json``: for each the agents, in order."""
        every: Dict[str, List[str]] = {}
        for folder in reversed(self.folders()):
            named = _read_config(folder).get("workflows", {})
            if isinstance(named, dict):
                every.update({k: list(v) for k, v in named.items() if isinstance(v, list)})
        return every

    def config(self) -> Dict[str, Any]:
        """The nearest ``claude.json``; empty if there is none.

        Raises:
            AgentFileError: The file given to the constructor is missing, or it is not JSON.
        """
        if self._config_path and not self._config_path.exists():
            raise AgentFileError(f"There is no {self._config_path}.")
        return next(filter(None, map(_read_config, self.folders())), {})

    @property
    def project_dir(self) -> Path:
        """The folder that holds the nearest ``.claude``; the start folder if there is none."""
        folder = next((f for f in self.folders() if f.parent != self._home), None)
        return folder.parent if folder else self._start

    @property
    def cache_dir(self) -> Path:
        """Where answers are kept: beside the project's ``claude.json``, else below the home."""
        folder = next((f for f in self.folders() if (f / "claude.json").is_file()), None)
        return (folder or self._home / ".claude") / CACHE_FOLDER

    def folders(self) -> List[Path]:
        """The ``.claude`` folders that exist, nearest first."""
        candidates = [self._config_path.parent] if self._config_path else []
        candidates += [folder / ".claude" for folder in self._project_folders()]
        candidates.append(self._home / ".claude")
        return [folder for folder in dict.fromkeys(candidates) if folder.is_dir()]

    def _project_folders(self) -> Iterator[Path]:
        """The start folder and its parents up to the project's root.

        That is the repository; without one, the nearest folder that has a ``.claude`` or a
        ``pyproject.toml``, so that nothing outside somebody's project is picked up.
        """
        chain = [self._start, *self._start.parents]
        marks: Tuple[Tuple[str, ...], ...] = ((".git",), (".claude", "pyproject.toml"))
        for names in marks:
            for end, folder in enumerate(chain, 1):
                if folder == self._home:
                    break
                if any((folder / name).exists() for name in names):
                    yield from chain[:end]
                    return
        yield self._start

    def _look(self, again: bool = False) -> _Found:
        """What the folders hold; looked at anew when one of them has changed."""
        found = self._found
        if again or found is None or any(_signature(s[0]) != s for s in found.signatures):
            found = self._found = _scan(self.folders(), self._project_folders())
        return found


def _scan(folders: Iterable[Path], parents: Iterable[Path]) -> _Found:
    found = _Found([_signature(folder) for folder in parents])
    for folder in folders:
        found.signatures += [_signature(folder), _signature(folder / "claude.json")]
        agents = folder / "agents"
        below = sorted(path for path in agents.rglob("*") if path.is_dir())
        found.signatures += [_signature(path) for path in (agents, *below)]
        for name, path in _candidates(folder, found):
            _add(found, folder, name, path)
    return found


def _candidates(folder: Path, found: _Found) -> Iterator[Tuple[Optional[str], Path]]:
    """The files that may define agents, with the name that ``claude.json`` gives them."""
    try:
        entries = _read_config(folder).get("agents", {})
    except AgentFileError as error:
        found.broken[str(folder / "claude.json")] = error
        entries = {}
    for name, entry in entries.items() if isinstance(entries, dict) else ():
        if isinstance(entry, dict) and isinstance(entry.get("file"), str):
            yield name, folder / entry["file"]
        else:
            what = f"{folder / 'claude.json'}: the agent {name!r} has no \"file\"."
            found.broken[name] = AgentFileError(what)
    for path in sorted((folder / "agents").rglob("*.md")):
        yield None, path


def _add(found: _Found, folder: Path, name: Optional[str], path: Path) -> None:
    """Read one file; a definition that was found nearer stays."""
    known_as = name or path.stem
    try:
        definition = _definition(folder, path, name)
    except AgentFileError as error:
        if known_as not in found.definitions:
            found.broken.setdefault(known_as, error)
        return
    if definition.name not in found.definitions and definition.name not in found.broken:
        found.definitions[definition.name] = definition
        found.file_signatures[definition.name] = _signature(path)


def _definition(folder: Path, path: Path, name: Optional[str]) -> AgentDefinition:
    data = _read(folder, path)
    try:
        text = data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise AgentFileError(f"{path} is not UTF-8 text.") from error
    fields, body = _split(text, path)
    chosen = name or _text(fields, "name") or path.stem
    if not valid_agent_name(chosen):
        raise AgentFileError(
            f"{path}: {chosen!r} is not an agent name.",
            advice="Use letters, digits, hyphens and underscores.",
        )
    if not body.strip():
        raise AgentFileError(f"{path} has no instructions.", advice="Write them below the ---.")
    model = _text(fields, "model")
    return AgentDefinition(
        name=chosen,
        system=body.strip(),
        description=" ".join(_text(fields, "description").split()),
        model=None if model in ("", INHERIT) else model,
        max_tokens=_whole_number(fields, "max_tokens", path),
        tools=_words(fields.get("tools")),
        source=str(path),
        sha256=hashlib.sha256(data).hexdigest(),
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
    """The fields of front matter; descriptions with bare colons are common and understood."""
    try:
        fields = load_yaml(text, source=str(path), first_line=2)
    except YamlError as error:
        lines = [_FIELD.fullmatch(line) for line in text.splitlines() if line.strip()]
        if not all(lines):
            raise AgentFileError(error.what, advice=error.advice) from error
        fields = {match.group(1): match.group(2) for match in lines if match}
    if fields is not None and not isinstance(fields, dict):
        raise AgentFileError(f"{path}, line 2: front matter has lines such as name: value.")
    return fields or {}


def _text(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    return "" if value is None else str(value).strip()


def _words(value: Union[str, List[Any], None]) -> Tuple[str, ...]:
    words = value.split(",") if isinstance(value, str) else value or []
    return tuple(str(word).strip() for word in words if str(word).strip())


def _whole_number(fields: Mapping[str, Any], name: str, path: Path) -> Optional[int]:
    value = fields.get(name)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
        raise AgentFileError(f"{path}: {name} must be a whole number above 0, not {value!r}.")
    return value


def _read_config(folder: Path) -> Dict[str, Any]:
    path = folder / "claude.json"
    if not path.exists():
        return {}
    try:
        document = json.loads(_read(folder, path).decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise AgentFileError(f"{path} is not JSON: {error}.") from error
    if not isinstance(document, dict):
        raise AgentFileError(f"{path} must hold a JSON object.")
    return document


def _read(folder: Path, path: Path) -> bytes:
    """Read a regular file inside *folder*, links followed; never blocks on a pipe."""
    try:
        real = path.resolve(strict=True)
        real.relative_to(folder.resolve())
    except ValueError as error:
        raise AgentFileError(
            f"{path} is outside {folder}.", advice="Agents' files stay inside their .claude folder."
        ) from error
    except (OSError, RuntimeError) as error:
        raise AgentFileError(f"{path} cannot be read: {error}.") from error
    try:
        return _read_regular(real)
    except OSError as error:
        raise AgentFileError(f"{path} cannot be read: {error}.") from error


def _read_regular(path: Path) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError("it is not a regular file")
        data = file.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise OSError(f"it is larger than {MAX_FILE_BYTES // 1024} KB")
    return data


def _signature(path: Union[str, Path]) -> Signature:
    """What changes when a file or folder does."""
    try:
        found = os.stat(path)
    except OSError:
        return str(path), 0, 0, 0
    return str(path), found.st_mtime_ns, found.st_size, found.st_ino
