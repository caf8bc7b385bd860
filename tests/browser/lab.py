"""A real JupyterLab in a real Chromium, for tests and screenshots.

::

    with Lab.start(tmp_path) as lab, lab.notebook("demo.ipynb", ["1 + 1"]) as page:
        page.run()
        page.screenshot("demo.png")

The server, its settings and its kernels live in one directory and listen on loopback; the browser
cannot resolve any other host. A page counts what a hostile output could do: scripts that ran
(``page.scripts``), JupyterLab commands (``page.commands``) and addresses left for
(``page.navigations``); a :class:`Canary` counts what was loaded from it.

Playwright's synchronous interface occupies the thread's event loop while it is open: keep a
``Lab`` in fixtures of one module, and that module free of asynchronous tests.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence, Set

REPOSITORY = Path(__file__).resolve().parents[2]
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or "/usr/bin/chromium"

_CHROMIUM_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]
_SETTINGS: Dict[str, Dict[str, Any]] = {
    # Cells outside the window, and outputs after the fiftieth, would otherwise not be rendered.
    "@jupyterlab/notebook-extension:tracker": {"windowingMode": "none", "maxNumberOutputs": 9999},
    "@jupyterlab/apputils-extension:notification": {"checkForUpdates": False, "fetchNews": "false"},
}


def missing() -> str:
    """Say what this machine lacks to run a browser test; empty if nothing."""
    needed = ("jupyterlab", "ipykernel", "ipywidgets", "nbconvert", "playwright")
    absent = [name for name in needed if not find_spec(name)]
    if absent:
        return f"needs {', '.join(absent)}"
    return "" if os.access(CHROMIUM, os.X_OK) else f"needs Chromium at {CHROMIUM}"


class Canary:
    """A server on loopback that notes who asks for what.

    Attributes:
        url: Its address, without a slash at the end.
        asked: The paths that were asked for, without the slash in front.
    """

    def __init__(self) -> None:
        self.asked: List[str] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Canary:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def numbers(self) -> Set[int]:
        """The numbers of the payloads that reached this server."""
        return {int(path) for path in self.asked if path.isdigit()}

    def _handler(self) -> type:
        asked = self.asked

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked.append(self.path[1:].partition("?")[0])
                self.send_response(204)
                self.end_headers()

            do_POST = do_HEAD = do_GET

            def log_message(self, *_: object) -> None:
                """Keep the test output clean."""

        return Handler


class Lab:
    """A running JupyterLab server and a browser.

    Attributes:
        url: Address of the server.
        root: The directory it serves.
    """

    def __init__(self, url: str, token: str, root: Path, browser: Any) -> None:
        self.url, self.root = url, root
        self._token, self._browser = token, browser

    @classmethod
    @contextlib.contextmanager
    def start(
        cls,
        directory: Path,
        *,
        theme: str = "JupyterLab Light",
        python: str = sys.executable,
        env: Optional[Mapping[str, str]] = None,
    ) -> Iterator[Lab]:
        """Start server and browser; end both at the end.

        Args:
            directory: An empty directory for the notebooks and all state.
            theme: ``JupyterLab Light`` or ``JupyterLab Dark``.
            python: The interpreter that runs JupyterLab and its kernels.
            env: More environment variables for the kernels.
        """
        from playwright.sync_api import sync_playwright

        root = directory / "notebooks"
        root.mkdir(parents=True)
        _write_settings(directory, theme)
        environment = {**_environment(directory), **(env or {})}
        with _server(python, directory, environment) as (url, token), sync_playwright() as driver:
            browser = driver.chromium.launch(
                executable_path=CHROMIUM, args=_CHROMIUM_ARGUMENTS, headless=True
            )
            yield cls(url, token, root, browser)
            browser.close()

    @contextlib.contextmanager
    def notebook(self, name: str, cells: Optional[Sequence[str]] = None) -> Iterator[NotebookPage]:
        """Open a notebook in a page of its own.

        Args:
            name: Its file name in :attr:`root`.
            cells: The sources of its code cells if the notebook is to be written first.
        """
        if cells is not None:
            (self.root / name).write_text(json.dumps(_notebook(cells)), encoding="utf-8")
        with self.page() as page:
            page.open(f"{self.url}/lab/tree/{name}?reset&token={self._token}")
            page.wait_ready()
            yield page

    @contextlib.contextmanager
    def page(self) -> Iterator[NotebookPage]:
        """Open an empty page, with all counters, for an address of the caller's choice."""
        context = self._browser.new_context(viewport={"width": 1100, "height": 900})
        try:
            yield NotebookPage(context)
        finally:
            context.close()


class NotebookPage:
    """One browser page with a notebook, or with any other address.

    Attributes:
        page: Playwright's page, for whatever this class has no method for.
        scripts: Numbers of the payloads whose script ran.
        commands: JupyterLab commands that ran since the notebook was ready.
        navigations: Addresses that the page or one of its frames went to after opening.
    """

    def __init__(self, context: Any) -> None:
        self.scripts: Set[int] = set()
        self.commands: List[str] = []
        self.navigations: List[str] = []
        self._address = ""
        self.page = context.new_page()
        context.expose_binding("__pwn", lambda _, number: self.scripts.add(int(number)))
        context.expose_binding("__command", lambda _, name: self.commands.append(str(name)))

    def open(self, url: str) -> None:
        """Go to *url* and start noting where the page goes from there."""
        self._address = url.partition("?")[0]
        self.page.goto(url)
        self.page.on("framenavigated", self._note_navigation)

    def wait_ready(self, timeout_s: float = 60) -> None:
        """Wait until the notebook is shown and its kernel, if it has one, is idle."""
        self.page.wait_for_selector(".jp-Notebook .jp-CodeCell", timeout=timeout_s * 1000)
        self.page.wait_for_function(_READY, timeout=timeout_s * 1000)
        self.page.evaluate(_HOOK)
        self.commands.clear()

    def run(self, timeout_s: float = 60) -> None:
        """Run all cells and wait until the last one has ended."""
        self.page.evaluate("() => jupyterapp.commands.execute('notebook:run-all-cells')")
        self.page.wait_for_function(_IDLE, timeout=timeout_s * 1000)
        self.commands.clear()

    def wait_for_text(self, text: str, timeout_s: float = 30, state: str = "visible") -> None:
        """Wait until *text* stands in some output, seen or at least ``attached``."""
        output = self.page.locator(".jp-OutputArea-output", has_text=text)
        output.first.wait_for(timeout=timeout_s * 1000, state=state)

    def text(self) -> str:
        """What a reader sees in all outputs."""
        outputs = self.page.locator(".jp-OutputArea-output").all_inner_texts()
        return "\n".join(outputs)

    def settle(self, duration_s: float = 1.0) -> None:
        """Give scripts and loads that are on their way the time to happen."""
        self.page.wait_for_load_state("networkidle")
        self.page.wait_for_timeout(duration_s * 1000)

    def poke(self, inside: str = ".jp-OutputArea-output") -> None:
        """Hover and click everything *inside* a selector that could react."""
        self.page.evaluate(_POKE, inside)
        self.settle(0.5)

    def save(self) -> None:
        """Save the notebook."""
        self.page.evaluate("() => jupyterapp.commands.execute('docmanager:save')")
        self.commands.clear()

    def screenshot(self, path: Path, selector: str = ".jp-Notebook") -> None:
        """Take a picture of the first element that *selector* finds."""
        self.page.locator(selector).first.screenshot(path=str(path))

    def _note_navigation(self, frame: Any) -> None:
        own = ("about:blank", "about:srcdoc", self._address)
        # JupyterLab itself drops the query of its address.
        if frame.url.partition("?")[0] not in own:
            self.navigations.append(frame.url)


_READY = """() => {
  const panel = globalThis.jupyterapp?.shell.currentWidget;
  return panel?.sessionContext?.isReady && panel.context.isReady;
}"""
_IDLE = """() => {
  const panel = jupyterapp.shell.currentWidget;
  const cells = [...panel.content.widgets].filter((cell) => cell.model.type === 'code');
  return cells.every((cell) => cell.model.executionCount !== null &&
    cell.model.executionState !== 'running' && !cell.hasClass('jp-mod-executing')) &&
    panel.sessionContext.session?.kernel?.status === 'idle';
}"""
_HOOK = "() => jupyterapp.commands.commandExecuted.connect((_, call) => __command(call.id))"
_POKE = """(inside) => {
  const reactive = 'a,button,input,summary,svg,svg *,math,math *,form,b,[onclick],[onmouseover]';
  for (const output of document.querySelectorAll(inside)) {
    for (const element of output.querySelectorAll(reactive)) {
      // Leaving for an ordinary web address is what a link is for.
      if (/^(https?|mailto):/.test(element.getAttribute('href') ?? '')) continue;
      for (const kind of ['mouseover', 'mouseenter', 'focus', 'click']) {
        const options = { bubbles: true, cancelable: true };
        try { element.dispatchEvent(new MouseEvent(kind, options)); } catch { /* gone */ }
      }
    }
  }
}"""


def _notebook(cells: Sequence[str]) -> Dict[str, Any]:
    return {
        "nbformat": 4,
        "nbformat_minor": 5,
        "metadata": {
            "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}
        },
        "cells": [
            {
                "cell_type": "code",
                "id": f"cell-{number}",
                "metadata": {},
                "source": source,
                "outputs": [],
                "execution_count": None,
            }
            for number, source in enumerate(cells)
        ],
    }


def _environment(directory: Path) -> Dict[str, str]:
    """Keep everything that JupyterLab reads or writes below *directory*."""
    places = {
        "HOME": "home",
        "JUPYTER_CONFIG_DIR": "config",
        "JUPYTER_DATA_DIR": "data",
        "JUPYTER_RUNTIME_DIR": "runtime",
        "JUPYTERLAB_SETTINGS_DIR": "settings",
        "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
        "IPYTHONDIR": "ipython",
    }
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("CLAUDE_", "ANTHROPIC_", "JUPYTER", "XDG_"))
    }
    paths = [str(REPOSITORY), str(REPOSITORY / "tests")]
    return {
        **inherited,
        **{name: str(directory / place) for name, place in places.items()},
        "PYTHONPATH": os.pathsep.join([*paths, os.environ.get("PYTHONPATH", "")]),
    }


def _write_settings(directory: Path, theme: str) -> None:
    settings = {**_SETTINGS, "@jupyterlab/apputils-extension:themes": {"theme": theme}}
    for plugin, values in settings.items():
        package, _, name = plugin.partition(":")
        path = directory / "settings" / package / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values), encoding="utf-8")


@contextlib.contextmanager
def _server(python: str, directory: Path, env: Mapping[str, str]) -> Iterator[Any]:
    port, token = _free_port(), secrets.token_hex(16)
    command = [python, "-m", "jupyterlab", "--no-browser", "--allow-root"]
    command += ["--expose-app-in-browser"]
    command += [f"--ServerApp.root_dir={directory / 'notebooks'}", "--ServerApp.ip=127.0.0.1"]
    command += [f"--ServerApp.port={port}", "--ServerApp.port_retries=0"]
    command += [f"--IdentityProvider.token={token}", "--LabApp.extension_manager=readonly"]
    url = f"http://127.0.0.1:{port}"
    with open(directory / "lab.log", "wb") as log, subprocess.Popen(
        command, env=dict(env), stdout=log, stderr=log
    ) as process:
        try:
            _wait_for(f"{url}/api/status?token={token}", process, directory / "lab.log")
            yield url, token
        finally:
            process.terminate()


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _wait_for(url: str, process: subprocess.Popen[bytes], log: Path, timeout_s: float = 90) -> None:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(urllib.error.URLError, ConnectionError):
            urllib.request.urlopen(url, timeout=5).close()
            return
        time.sleep(0.2)
    raise RuntimeError(f"JupyterLab did not start:\n{log.read_text(encoding='utf-8')[-3000:]}")
