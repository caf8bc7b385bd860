"""Agents: where their definitions come from and what is in them.

An agent is a Markdown file ``.claude/agents/NAME.md``, with or without YAML front matter
(``name``, ``description``, ``model``, ``tools``), an entry of ``.claude/claude.json``
(``{"agents": {NAME: {"file": "agents/NAME.md"}}}``), or a notebook cell. ``.claude`` folders are
looked for from the start folder up to the project's root, then in the home directory; the nearest
definition of a name wins, a cell's over every file's.
"""

from __future__ import annotations

import difflib
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, Iterable, Iterator, List, Optional, Tuple, Union

from .agent_files import (
    AgentDefinition,
    outside,
    read_config,
    read_definition,
    valid_agent_name,
)
from .errors import AgentFileError, AgentNotFound, InputError
from .ownership import belongs_here

__all__ = ["CACHE_FOLDER", "AgentDefinition", "AgentLibrary", "did_you_mean", "valid_agent_name"]

CONFIG_FILE = "claude.json"
CACHE_FOLDER = Path("cache") / "nb-v1"

Signature = Tuple[str, int, int, int, int]


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

    def current(self, name: str) -> bool:
        """Whether *name* is usable and its file is as it was when it was read."""
        signature = self.file_signatures.get(name)
        return signature is not None and _signature(signature[0]) == signature


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
        if not found.current(name):
            found = self._look(again=True)
        if name in found.definitions:
            return found.definitions[name]
        if name in found.broken:
            raise found.broken[name]
        raise AgentNotFound(
            f"There is no agent {name!r}.",
            advice=did_you_mean(name, {*self.names(), *found.broken})
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
        return [str(error) for error in self._look(again=True).broken.values()]

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
        for path in reversed(self._config_files()):
            named = read_config(path).get("workflows", {})
            if isinstance(named, dict):
                every.update({k: list(v) for k, v in named.items() if isinstance(v, list)})
        return every

    def config(self) -> Dict[str, Any]:
        """The nearest ``claude.json``; empty if there is none.

        Raises:
            AgentFileError: The file given to the constructor is missing, or it is not JSON.
        """
        if self._config_path and not os.path.exists(self._config_path):
            raise AgentFileError(f"There is no {self._config_path}.")
        return next(filter(None, map(read_config, self._config_files())), {})

    @property
    def project_dir(self) -> Path:
        """The folder that holds the nearest ``.claude``; the start folder if there is none."""
        folder = next((f for f in self.folders() if not self._is_home(f.parent)), None)
        return folder.parent if folder else self._start

    @property
    def cache_dir(self) -> Path:
        """Where answers are kept: beside the project's ``claude.json``, else below the home."""
        config = next(filter(os.path.isfile, self._config_files()), None)
        return (config.parent if config else self._home / ".claude") / CACHE_FOLDER

    def folders(self) -> List[Path]:
        """The ``.claude`` folders that exist, nearest first."""
        return list(dict.fromkeys(path.parent for path in self._config_files()))

    def _config_files(self) -> List[Path]:
        """Where a configuration may be, nearest first: one in each folder, and the one given."""
        candidates = [folder / ".claude" for folder in self._project_folders()]
        candidates.append(self._home / ".claude")
        files = [folder / CONFIG_FILE for folder in candidates if self._usable(folder)]
        given = self._config_path
        return list(dict.fromkeys([given, *files] if given and given.parent.is_dir() else files))

    def _usable(self, folder: Path) -> bool:
        return os.path.isdir(folder) and belongs_here(folder, self._start)

    def _is_home(self, folder: Path) -> bool:
        return os.path.realpath(folder) == os.path.realpath(self._home)

    def _project_folders(self) -> Iterator[Path]:
        """The start folder and its parents up to the project's root.

        That is the repository; without one, the nearest folder that has a ``.claude`` or a
        ``pyproject.toml``, so that nothing outside somebody's project is picked up.
        """
        chain = [self._start, *self._start.parents]
        marks: Tuple[Tuple[str, ...], ...] = ((".git",), (".claude", "pyproject.toml"))
        for names in marks:
            for end, folder in enumerate(chain, 1):
                if self._is_home(folder):
                    break
                if any(os.path.exists(folder / name) for name in names):
                    yield from chain[:end]
                    return
        yield self._start

    def _look(self, again: bool = False) -> _Found:
        """What the folders hold; looked at anew when one of them has changed."""
        found = self._found
        if again or found is None or any(_signature(s[0]) != s for s in found.signatures):
            found = self._found = _scan(self._config_files(), self._project_folders())
        return found


def _scan(configs: Iterable[Path], parents: Iterable[Path]) -> _Found:
    found = _Found([_signature(folder) for folder in parents])
    for config in configs:
        found.signatures += [_signature(config.parent), _signature(config)]
        for name, path in [*_configured(config, found), *_in_folder(config.parent, found)]:
            _add(found, config.parent, name, path)
    return found


def _configured(config: Path, found: _Found) -> Iterator[Tuple[Optional[str], Path]]:
    """The files that a ``claude.json`` names, each with the agent's name."""
    try:
        entries = read_config(config).get("agents", {})
        if not isinstance(entries, dict):
            raise AgentFileError(f'{config}: "agents" must be an object.')
    except AgentFileError as error:
        found.broken[str(config)] = error
        return
    for name, entry in entries.items():
        if isinstance(entry, dict) and isinstance(entry.get("file"), str):
            yield name, config.parent / entry["file"]
        else:
            what = f'{config}: the agent {name!r} has no "file".'
            found.broken.setdefault(name, AgentFileError(what))


def _in_folder(folder: Path, found: _Found) -> Iterator[Tuple[Optional[str], Path]]:
    """The Markdown files below ``agents``; their folders are watched from now on."""
    agents = folder / "agents"
    found.signatures.append(_signature(agents))
    real = os.path.realpath(agents)
    if os.path.commonpath([real, os.path.realpath(folder)]) != os.path.realpath(folder):
        found.broken[str(agents)] = outside(agents, folder)
        return
    paths: List[Path] = []
    for parent, _, files in os.walk(agents):
        found.signatures.append(_signature(parent))
        paths += [Path(parent, file) for file in files if file.endswith(".md")]
    yield from ((None, path) for path in sorted(paths))


def _add(found: _Found, folder: Path, name: Optional[str], path: Path) -> None:
    """Read one file; a definition that was found nearer stays."""
    known_as = name or path.stem
    try:
        definition = read_definition(folder, path, name)
    except AgentFileError as error:
        if known_as not in found.definitions:
            found.broken.setdefault(known_as, error)
        return
    if definition.name not in found.definitions and definition.name not in found.broken:
        found.definitions[definition.name] = definition
        found.file_signatures[definition.name] = _signature(path)


def _signature(path: Union[str, Path]) -> Signature:
    """What changes when a file or folder does."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return str(path), 0, 0, 0, 0
    return str(path), found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino
