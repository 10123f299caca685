"""Notebook 00 as a reader meets it: JupyterLab in Chromium, run all, move a control.

Needs Debian's ``chromium`` (or any on the path). Where it is missing the test is skipped, unless
``MAMLKIT_REQUIRE_BROWSER=1`` says that it must be there.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

NOTEBOOK = "00_one_measurement_a_whole_curve.ipynb"
SOURCE = Path(__file__).resolve().parents[1] / "notebooks" / NOTEBOOK
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
MINUTE = 60_000  # milliseconds, as playwright counts
# JupyterLab's own statement on the kernel of the notebook in front.
KERNEL = """() => window.jupyterapp.shell.currentWidget?.sessionContext?.session?.kernel?.status"""
# Every code cell that is not empty has been run in this session.
ALL_RAN = """() => {
  const model = window.jupyterapp.shell.currentWidget.content.model;
  return [...model.cells].filter(c => c.type === 'code' && c.sharedModel.source.trim())
    .every(c => c.executionCount !== null && c.executionCount > 0);
}"""
FIRST_ERROR = """() => {
  const model = window.jupyterapp.shell.currentWidget.content.model;
  for (const cell of model.cells) {
    if (cell.type !== 'code') continue;
    for (const output of cell.outputs.toJSON()) {
      if (output.output_type === 'error') return output.ename + ': ' + output.evalue;
    }
  }
  return null;
}"""

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def chromium() -> str:
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        reason = "chromium is not installed; on Debian: apt-get install chromium"
        if os.environ.get("MAMLKIT_REQUIRE_BROWSER") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return path


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[str]:
    """JupyterLab on a free port, serving a folder that holds the notebook without outputs."""
    (tmp_path / "course").mkdir()
    strip_outputs(SOURCE, tmp_path / "course" / NOTEBOOK)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"]
    command += ["--ip=127.0.0.1", f"--port={port}", "--ServerApp.port_retries=0"]
    command += ["--IdentityProvider.token=", "--LabApp.expose_app_in_browser=True"]
    command += ["--LabApp.extension_manager=readonly"]
    command += [f"--ServerApp.root_dir={tmp_path / 'course'}"]
    quiet = tmp_path / "settings" / "@jupyterlab" / "apputils-extension"
    quiet.mkdir(parents=True)  # no question about news and updates: those need the network
    (quiet / "notification.jupyterlab-settings").write_text(
        '{"fetchNews": "false", "checkForUpdates": false}'
    )
    settings = {
        "JUPYTER_CONFIG_DIR": str(tmp_path / "config"),
        "JUPYTER_RUNTIME_DIR": str(tmp_path / "runtime"),
        "JUPYTERLAB_SETTINGS_DIR": str(tmp_path / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(tmp_path / "workspaces"),
        "IPYTHONDIR": str(tmp_path / "ipython"),
    }
    log = (tmp_path / "jupyter.log").open("wb")
    server = subprocess.Popen(
        command, env={**os.environ, **settings}, stdout=log, stderr=subprocess.STDOUT
    )
    try:
        wait_for(f"http://127.0.0.1:{port}/api", server, tmp_path / "jupyter.log")
        yield f"http://127.0.0.1:{port}/lab/tree/{NOTEBOOK}?reset"
    finally:
        server.terminate()  # JupyterLab shuts its kernels down on the way out
        try:
            server.wait(timeout=30)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
        log.close()


def strip_outputs(source: Path, target: Path) -> None:
    """Copy without outputs, so that whatever shows was made in this session."""
    import nbformat

    notebook = nbformat.read(source, as_version=4)
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    nbformat.write(notebook, target)


def wait_for(url: str, server: subprocess.Popen[bytes], log: Path, seconds: float = 90) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if server.poll() is not None:
            break
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except OSError:
            time.sleep(0.3)
    pytest.fail(f"JupyterLab did not start:\n{log.read_text()[-3000:]}")


def explorer(page: Any) -> tuple[Any, Any, Any]:
    """The picture, the line of text and the controls of the widget in the page."""
    image = page.locator("img.widget-image")
    text = page.locator(".widget-html-content").filter(has_text="Root-mean-square error")
    return image, text, page.locator(".jupyter-widgets.widget-vbox").first


def test_notebook_00_runs_and_its_widget_answers(chromium: str, lab: str) -> None:
    sync_api = pytest.importorskip("playwright.sync_api")
    problems: list[str] = []
    with sync_api.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium, args=FLAGS)
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        page.set_default_timeout(2 * MINUTE)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.goto(lab)
        page.wait_for_function("() => window.jupyterapp !== undefined")
        page.wait_for_selector(".jp-NotebookPanel")
        page.wait_for_function(f"() => ({KERNEL})() === 'idle'")

        page.evaluate("() => window.jupyterapp.commands.execute('notebook:run-all-cells')")
        page.wait_for_function(
            f"() => ({KERNEL})() === 'idle' && ({ALL_RAN})()", timeout=5 * MINUTE
        )
        assert page.evaluate(FIRST_ERROR) is None

        # JupyterLab draws only the cells in sight: bring the widget there.
        index = page.evaluate(
            """() => [...window.jupyterapp.shell.currentWidget.content.model.cells]
                 .findIndex(c => c.sharedModel.source.includes('mk.widgets.explorer('))"""
        )
        page.evaluate(
            """async index => {
                 const content = window.jupyterapp.shell.currentWidget.content;
                 content.activeCellIndex = index;
                 await content.scrollToItem(index, 'start');
               }""",
            index,
        )
        image, text, controls = explorer(page)
        image.wait_for(state="visible")
        assert image.evaluate("i => i.complete && i.naturalWidth > 300")

        def state() -> tuple[str, str]:
            pixels: str = image.evaluate(
                """async i => {
                     const bytes = new Uint8Array(await (await fetch(i.src)).arrayBuffer());
                     const hash = await crypto.subtle.digest('SHA-256', bytes);
                     return [...new Uint8Array(hash)].join(' ');
                   }"""
            )
            return pixels, text.inner_text()

        def change(act: Any) -> tuple[str, str]:
            """Do something, and wait until both the picture and the text have changed."""
            before, after = state(), ("", "")
            act()
            for _ in range(200):
                after = state()
                if after[0] != before[0] and after[1] != before[1]:
                    return after
                page.wait_for_timeout(100)
            pytest.fail(f"nothing changed: {before[1]!r} -> {after[1]!r}")

        assert "after 1 step" in state()[1]

        def arrow() -> None:
            slider = controls.locator(".widget-slider", has_text="inner steps")
            handle = slider.locator(".noUi-handle")
            handle.focus()
            handle.press("ArrowRight")

        assert "after 2 steps" in change(arrow)[1]
        fluid, learner = controls.locator("select").nth(0), controls.locator("select").nth(1)
        assert change(lambda: fluid.select_option("Helium"))[1].startswith("Helium, 1 reading.")
        said = change(lambda: learner.select_option("mean curve"))[1]
        assert "mean curve: " in said
        assert "step" not in said  # it has none
        if folder := os.environ.get("MAMLKIT_SCREENSHOTS"):
            page.screenshot(path=Path(folder) / "notebook_00.png")
        browser.close()
    assert problems == []
