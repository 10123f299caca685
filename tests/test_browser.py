"""Notebooks as a reader meets them: JupyterLab in Chromium, run, move a control.

Needs Debian's ``chromium`` (or any on the path). Where it is missing the test is skipped, unless
``MAMLKIT_REQUIRE_BROWSER=1`` says that it must be there.
"""

from __future__ import annotations

import os
import socket
import subprocess
import symtable
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import NOTEBOOKS

EXPLORER = "00_one_measurement_a_whole_curve"
# Notebooks with a widget of their own, and words from the line of text under its picture.
WIDGETS = {
    "01_learning_to_learn": "Over 1000 springs: ",
    "02_the_mathematics_of_maml": " N/m lands on ",
    "03_maml_in_twenty_lines": "; median error (this one's): ",
    "04_the_sinusoid_benchmark": "predicting zero ",
    "05_bring_your_own_physics": " steps of Meta-SGD. ",
    "06_the_family": "context ",
    "07_how_sure_are_you": "Ethanol, measured at ",
    "08_calibrating_a_simulator": " rad/s, 20 readings, 20 steps. ",
    "09_predator_and_prey": "MSE ",
    "10_the_pendulum_and_its_energy": " m, 1.2 rad, 5 steps. ",
    "11_reading_charges_from_weights": "charges read off: ",
    "12_pinns_that_start_warm": ", told start: error ",
    "13_bring_your_own_table": " known: length 1.5 after ",
    "14_which_magnet": " made the new one: ",
    "16_choosing_a_solver": "Calls at tolerance ",
    "17_a_stream_that_drifts": "Pulled to ",
    "19_many_kinds_of_physics": ". Most probable: ",
}
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
SHUT_DOWN = "() => window.jupyterapp.shell.currentWidget.sessionContext.shutdown()"
# Every code cell before `end` that is not empty has been run in this session.
ALL_RAN = """end => {
  const cells = [...window.jupyterapp.shell.currentWidget.content.model.cells].slice(0, end);
  return cells.filter(c => c.type === 'code' && c.sharedModel.source.trim())
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
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """JupyterLab on a free port, serving a folder that holds the notebooks without outputs."""
    tmp_path = tmp_path_factory.mktemp("lab")
    (tmp_path / "course").mkdir()
    for name in (EXPLORER, *WIDGETS):
        strip_outputs(NOTEBOOKS / f"{name}.ipynb", tmp_path / "course" / f"{name}.ipynb")
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
        yield f"http://127.0.0.1:{port}/lab/tree"
    finally:
        server.terminate()  # JupyterLab shuts its kernels down on the way out
        try:
            server.wait(timeout=30)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
        log.close()


def strip_outputs(source: Path, target: Path) -> None:
    """Copy without outputs, so that whatever shows was made in this session. Of a notebook with a
    widget of its own stay the cells that the widget's asks for: nbval runs them all already.
    """
    import nbformat

    notebook = nbformat.read(source, as_version=4)
    notebook.metadata.pop("widgets", None)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for cell in code:
        cell.outputs, cell.execution_count = [], None
    if source.stem != EXPLORER:
        notebook.cells = needed(code)
    nbformat.write(notebook, target)


def needed(cells: list[Any]) -> list[Any]:
    """The cells before and with the first that makes a widget, as far as they import, or make a
    name that this one, or one that it needs, reads.
    """
    at = next(i for i, cell in enumerate(cells) if "mk.widgets.panel(" in cell.source)
    kept, wanted = [cells[at]], reads(cells[at].source)
    for cell in reversed(cells[:at]):
        imports = any(line.startswith(("import ", "from ")) for line in cell.source.splitlines())
        if imports or wanted & makes(cell.source):
            kept.append(cell)
            wanted = wanted - makes(cell.source) | reads(cell.source)
    return kept[::-1]


def reads(source: str) -> set[str]:
    """Names that come from elsewhere: read at the top, or as globals further in."""
    top = symtable.symtable(source, "cell", "exec")
    found, inside = {n.get_name() for n in top.get_symbols() if n.is_referenced()}, [top]
    while inside:
        inside = [child for table in inside for child in table.get_children()]
        names = [n for table in inside for n in table.get_symbols()]
        found |= {n.get_name() for n in names if n.is_global() and n.is_referenced()}
    return found - makes(source)


def makes(source: str) -> set[str]:
    """Names that it gives a value at the top."""
    top = symtable.symtable(source, "cell", "exec").get_symbols()
    return {n.get_name() for n in top if n.is_assigned() or n.is_imported()}


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


@contextmanager
def reader(chromium: str, lab: str, name: str) -> Iterator[Any]:
    """A page with the notebook open and its kernel idle; the page must raise no error."""
    sync_api = pytest.importorskip("playwright.sync_api")
    problems: list[str] = []
    with sync_api.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium, args=FLAGS)
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        page.set_default_timeout(2 * MINUTE)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.goto(f"{lab}/{name}.ipynb?reset")
        page.wait_for_function("() => window.jupyterapp !== undefined")
        page.wait_for_selector(".jp-NotebookPanel")
        page.wait_for_function(f"() => ({KERNEL})() === 'idle'")
        try:
            yield page
            if folder := os.environ.get("MAMLKIT_SCREENSHOTS"):
                page.screenshot(path=Path(folder) / f"{name}.png")
        finally:  # the server goes on to the next notebook: this one's kernel need not
            page.evaluate(SHUT_DOWN)
            browser.close()
    assert problems == []


def find_cell(page: Any, words: str) -> int:
    """Where the first cell is that holds ``words``; it becomes the active one."""
    index: int = page.evaluate(
        """words => {
             const content = window.jupyterapp.shell.currentWidget.content;
             const holds = c => c.type === 'code' && c.sharedModel.source.includes(words);
             return content.activeCellIndex = [...content.model.cells].findIndex(holds);
           }""",
        words,
    )
    assert index >= 0, f"no code cell holds {words!r}"
    return index


def run(page: Any, *commands: str, end: int) -> None:
    """Execute commands of JupyterLab and wait until all cells before ``end`` have run."""
    for command in commands:
        page.evaluate("name => window.jupyterapp.commands.execute(name)", command)
    done = f"end => ({KERNEL})() === 'idle' && ({ALL_RAN})(end)"
    page.wait_for_function(done, arg=end, timeout=5 * MINUTE)
    assert page.evaluate(FIRST_ERROR) is None


class Widget:
    """The picture, the line of text under it, and the controls, in cell ``index``."""

    def __init__(self, page: Any, index: int, text: Any) -> None:
        # JupyterLab draws only the cells in sight: bring the widget there.
        page.evaluate(
            "index => window.jupyterapp.shell.currentWidget.content.scrollToItem(index, 'start')",
            index,
        )
        self.page, self.text = page, text
        self.image = page.locator("img.widget-image")
        self.controls = page.locator(".jupyter-widgets.widget-vbox").first
        self.image.wait_for(state="visible")
        assert self.image.evaluate("i => i.complete && i.naturalWidth > 300")

    def state(self) -> tuple[str, str]:
        pixels: str = self.image.evaluate(
            """async i => {
                 const bytes = new Uint8Array(await (await fetch(i.src)).arrayBuffer());
                 const hash = await crypto.subtle.digest('SHA-256', bytes);
                 return [...new Uint8Array(hash)].join(' ');
               }"""
        )
        return pixels, self.text.inner_text()

    def change(self, act: Callable[[], Any]) -> str:
        """Do something, wait until both the picture and the text have changed; the new text."""
        before, after = self.state(), ("", "")
        act()
        for _ in range(200):
            after = self.state()
            if after[0] != before[0] and after[1] != before[1]:
                return after[1]
            self.page.wait_for_timeout(100)
        pytest.fail(f"nothing changed: {before[1]!r} -> {after[1]!r}")

    def push(self, slider: str) -> str:
        """Move the slider with this label one step up by the keyboard; the new text."""
        handle = self.controls.locator(".widget-slider", has_text=slider).locator(".noUi-handle")

        def arrow() -> None:
            handle.focus()
            handle.press("ArrowRight")

        return self.change(arrow)


def test_notebook_00_runs_and_its_widget_answers(chromium: str, lab: str) -> None:
    with reader(chromium, lab, EXPLORER) as page:
        run(page, "notebook:run-all-cells", end=1000)
        text = page.locator(".widget-html-content").filter(has_text="Root-mean-square error")
        widget = Widget(page, find_cell(page, "mk.widgets.explorer("), text)
        assert "after 1 step" in widget.state()[1]
        assert "after 2 steps" in widget.push("inner steps")
        fluid, learner = (widget.controls.locator("select").nth(k) for k in (0, 1))
        said = widget.change(lambda: fluid.select_option("Helium"))
        assert said.startswith("Helium, 1 reading.")
        said = widget.change(lambda: learner.select_option("mean curve"))
        assert "mean curve: " in said
        assert "step" not in said  # it has none


@pytest.mark.parametrize(("name", "words"), WIDGETS.items())
def test_a_slider_moves_picture_and_text(chromium: str, lab: str, name: str, words: str) -> None:
    with reader(chromium, lab, name) as page:
        index = find_cell(page, "mk.widgets.panel(")
        run(page, "notebook:run-all-above", "notebook:run-cell", end=index + 1)
        text = page.locator(".widget-html-content").filter(has_text=words)
        widget = Widget(page, index, text)
        label = widget.controls.locator(".widget-slider .widget-label").first.inner_text()
        assert words in widget.push(label)
