"""Requests, results and caches for the cache's tests."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any, List

import claude_force_nb
from claude_force_nb.cache import ResponseCache
from claude_force_nb.records import AgentRequest, AgentResult, Usage

SECRET = "a secret of the tests, long enough to be taken without a warning"


def make_request(task: str = "Review this", **changes: Any) -> AgentRequest:
    """A small request; *changes* replace its fields."""
    fields = {
        "agent_name": "code-reviewer",
        "model": "claude-opus-5-5",
        "messages": ({"role": "user", "content": task},),
        "max_tokens": 1024,
        "system": "You review code.",
        **changes,
    }
    return AgentRequest(**fields)


def make_result(output: str = "Looks good.", **changes: Any) -> AgentResult:
    """A whole answer; *changes* replace its fields."""
    fields = {
        "agent_name": "code-reviewer",
        "success": True,
        "output": output,
        "metadata": {"provider": "anthropic", "sdk": "anthropic 2.12.0"},
        "usage": Usage(812, 204),
        "cost_usd": 0.0042,
        "model": "claude-opus-5-5",
        "stop_reason": "end_turn",
        "request_id": "req_1",
        **changes,
    }
    return AgentResult(**fields)


def make_cache(folder: Path, **options: Any) -> ResponseCache:
    """A cache that reads every hit from disk and signs with the tests' secret."""
    return ResponseCache(folder, **{"cache_secret": SECRET, "max_memory_entries": 0, **options})


def run_python(code: str, *arguments: object) -> subprocess.Popen[str]:
    """Start a Python process that can import the package and these builders."""
    folders = [str(Path(claude_force_nb.__file__).parent.parent), str(Path(__file__).parent)]
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(folders)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def outputs(processes: List[subprocess.Popen[str]]) -> List[str]:
    """What each process printed; fails if one failed."""
    results = []
    for process in processes:
        printed, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
        results.append(printed.strip())
    return results
