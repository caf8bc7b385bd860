"""Promises about the shape of the package."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path
from typing import Iterator, Tuple

import pytest

import claude_force_nb

pytestmark = pytest.mark.essential

PACKAGE = Path(claude_force_nb.__file__).parent

# Lower number = lower layer. A module may import from its own layer and from lower ones.
LAYERS = {
    "version": 0,
    "errors": 0,
    "ownership": 0,
    "canonical": 0,
    "records": 1,
    "runs": 1,
    "settings": 1,
    "redaction": 1,
    "yaml_text": 1,
    "credentials": 2,
    "models": 2,
    "agent_files": 3,
    "agents": 3,
    "values": 2,
    "prompt": 3,
    "pricing": 2,
    "limits": 2,
    "outcomes": 5,
    "providers": 4,
    "cache": 4,
    "deadlines": 4,
    "requests": 5,
    "attempts": 5,
    "execution": 6,
    "workflow": 7,
    "orchestrator": 8,
    "current": 9,
    "notebook": 10,
    "cli": 11,
    "__init__": 12,
}


def _imports() -> Iterator[Tuple[str, str, str]]:
    """Yield (file, importing part, imported part) for every import inside the package."""
    for path in PACKAGE.rglob("*.py"):
        relative = path.relative_to(PACKAGE)
        part = relative.parts[0].replace(".py", "")
        module = ["claude_force_nb", *relative.with_suffix("").parts]
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.level:
                base = module[: len(module) - node.level] + (node.module or "").split(".")
                names = [base[1]] if len(base) > 1 and base[1] else [n.name for n in node.names]
                for name in names:
                    yield str(relative), part, name


def test_imports_point_down() -> None:
    """No module imports from a higher layer, and cache and providers do not know each other."""
    wrong = [
        f"{file}: {importer} imports {imported}"
        for file, importer, imported in _imports()
        if importer != imported
        and (LAYERS[imported] > LAYERS[importer] or {importer, imported} == {"cache", "providers"})
    ]

    assert wrong == []


def test_engine_needs_no_ipython() -> None:
    """The engine imports and answers with IPython and ipywidgets out of reach."""
    script = (
        "import sys, asyncio\n"
        "sys.modules['IPython'] = sys.modules['ipywidgets'] = None\n"
        "import claude_force_nb as cf\n"
        "from claude_force_nb.agents import AgentDefinition\n"
        "orchestrator = cf.AsyncAgentOrchestrator(provider='offline', enable_cache=False)\n"
        "orchestrator.library.define(AgentDefinition('a', 'You help.'))\n"
        "print(asyncio.run(orchestrator.execute_agent('a', 'hello there')).success)\n"
        "print(sorted({'anthropic', 'IPython'} & {n for n, m in sys.modules.items() if m}))\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )

    assert done.stdout.split("\n")[:2] == ["True", "[]"]


def test_exports_are_fixed() -> None:
    """The public names are exactly these, and each one can be imported."""
    assert sorted(claude_force_nb.__all__) == [
        "AgentDefinition",
        "AgentLibrary",
        "AgentRequest",
        "AgentResult",
        "AgentResults",
        "AsyncAgentOrchestrator",
        "AsyncAgentResult",
        "ClaudeForceError",
        "ResponseCache",
        "Settings",
        "Usage",
        "Workflow",
        "WorkflowResult",
        "__version__",
        "current_orchestrator",
        "load_ipython_extension",
        "run",
        "unload_ipython_extension",
        "use_orchestrator",
    ]
    assert all(hasattr(claude_force_nb, name) for name in claude_force_nb.__all__)


def test_loading_imports_no_sdk() -> None:
    """Loading the extension into a shell imports neither the SDK nor the orchestrator."""
    script = (
        "import sys\n"
        "from IPython.core.interactiveshell import InteractiveShell\n"
        "shell = InteractiveShell.instance()\n"
        "shell.run_line_magic('load_ext', 'claude_force_nb')\n"
        "heavy = {'anthropic', 'tenacity', 'jinja2', 'markdown_it', 'nh3', 'ipywidgets', 'yaml'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )

    assert done.stdout.strip() == "[]"


def test_typed_marker_is_shipped() -> None:
    """Type checkers find the marker that says the package is typed."""
    assert (PACKAGE / "py.typed").exists()
