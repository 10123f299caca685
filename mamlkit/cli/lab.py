"""``mamlkit lab``: the notebooks in a folder of the reader's, and JupyterLab."""

from __future__ import annotations

import argparse
import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from mamlkit.checks import as_path
from mamlkit.cli.common import make_folder, make_parser
from mamlkit.errors import MamlkitError


def add(commands: Any) -> argparse.ArgumentParser:
    """The options."""
    command = make_parser(
        commands.add_parser,
        name="lab",
        help="copy the notebooks into a folder of yours and open JupyterLab there",
        description="Copy the course's notebooks into a folder of yours and open JupyterLab there. "
        "A notebook that is already in the folder is left as it is: your work is never "
        "overwritten. To get a fresh copy of one, rename yours and run the command again.",
        epilog="examples:\n"
        "  mamlkit lab                         the folder mamlkit-notebooks, here\n"
        "  mamlkit lab ~/course --no-browser   another folder; open the printed address yourself\n"
        "\nJupyterLab's own settings hold: JUPYTER_PORT=8899 mamlkit lab uses another port.",
    )
    command.add_argument(
        "folder",
        type=as_path,
        nargs="?",
        default=Path("mamlkit-notebooks"),
        metavar="DIR",
        help="your folder; made if it is not there (default: %(default)s)",
    )
    command.add_argument("--no-browser", action="store_true", help="do not open a browser")
    return command


def run(args: argparse.Namespace) -> int:
    """Copy the notebooks into the folder and run JupyterLab there; return its exit code."""
    folder: Path = args.folder
    if importlib.util.find_spec("jupyterlab") is None:
        raise MamlkitError(
            "JupyterLab is not installed in the Python that runs mamlkit; install it with "
            "'python -m pip install jupyterlab' and try again."
        )
    new, kept = copy_notebooks(notebooks_folder(), make_folder(folder))
    print(f"{folder}: {len(new)} notebook(s) copied, {len(kept)} left as they were", flush=True)
    for name in kept:
        print(f"  left alone: {name}", flush=True)
    return start_jupyterlab(folder, browser=not args.no_browser)


def notebooks_folder() -> Path:
    """Where the notebooks are: in the installed package, or beside it in a clone."""
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "notebooks", package.parent / "notebooks"):
        if any(folder.glob("*.ipynb")):
            return folder
    raise MamlkitError(
        "the notebooks were not found beside the package; install mamlkit again from a clone or "
        "from its wheel."
    )


def copy_notebooks(source: Path, folder: Path) -> tuple[list[str], list[str]]:
    """Copy every notebook under ``source`` that is not in ``folder`` yet.

    Returns the names copied and the names left alone.
    """
    new, kept = [], []
    for notebook in sorted(source.rglob("*.ipynb")):
        name = notebook.relative_to(source)
        if ".ipynb_checkpoints" in name.parts:
            continue
        target = folder / name
        content = notebook.read_bytes()
        make_folder(target.parent)
        if os.path.lexists(target):  # also a link that leads nowhere is the reader's
            kept.append(str(name))
            continue
        part = target.with_name(f"{target.name}.part")
        try:  # whole or not at all: half a notebook would be left alone for good
            part.write_bytes(content)
            part.replace(target)
        except OSError as error:
            part.unlink(missing_ok=True)
            raise MamlkitError(f"{target} cannot be written ({error.strerror}).") from error
        new.append(str(name))
    return new, kept


def start_jupyterlab(folder: Path, browser: bool) -> int:
    """Run ``python -m jupyterlab`` in ``folder`` until the reader ends it."""
    command = [sys.executable, "-m", "jupyterlab", "--ServerApp.root_dir=."]
    if not browser:
        command.append("--no-browser")
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        # Without it JupyterLab refuses to start for root, the usual account in a container.
        command.append("--allow-root")
    if sys.platform == "win32":
        return subprocess.call(command, cwd=folder)
    os.chdir(folder)
    sys.stdout.flush()
    os.execv(command[0], command)  # JupyterLab takes over: Ctrl-C and signals reach it
