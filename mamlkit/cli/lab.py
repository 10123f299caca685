"""``mamlkit lab``: the notebooks in a folder of the reader's, and JupyterLab."""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mamlkit.checks import as_path
from mamlkit.cli.common import make_folder, make_parser
from mamlkit.errors import MamlkitError

PAGES = ("primer.md", "glossary.md", "notation.md")  # what notebooks link to in docs/
LINK_TO_PAGE = re.compile(r"\]\(\.\./(?=(?:\.\./)*docs/)")  # the copies lie one folder nearer


def add(commands: Any) -> argparse.ArgumentParser:
    """The options."""
    command = make_parser(
        commands.add_parser,
        name="lab",
        help="copy the notebooks into a folder of yours and open JupyterLab there",
        description="Copy the course's notebooks into a folder of yours, without their outputs, "
        "and open JupyterLab there. A notebook that is already in the folder is left as it is: "
        "your work is never overwritten. To get a fresh copy of one, rename yours and run the "
        "command again.",
        epilog="examples:\n"
        "  mamlkit lab                         the folder mamlkit-notebooks, here\n"
        "  mamlkit lab ~/course --no-browser   another folder; open the printed address yourself\n"
        "  mamlkit lab read --with-outputs     with the pictures and numbers, to read only\n"
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
    command.add_argument(
        "--with-outputs",
        action="store_true",
        help="copy the notebooks as they were run, solutions' answers and all",
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
    texts = copies(notebooks_folder(), outputs=args.with_outputs)
    written = write_new(texts, make_folder(folder))
    new, kept = ([name for name in names if name.endswith(".ipynb")] for names in written)
    what = "with" if args.with_outputs else "without"
    print(
        f"{folder}: {len(new)} notebook(s) copied {what} outputs, {len(kept)} left as they were",
        flush=True,
    )
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


def student_copy(text: str, *, outputs: bool) -> str:
    """The notebook with links to the pages that are copied beside it and, unless ``outputs``,
    without what its cells gave: a prediction is then a prediction, and no solution shows.
    """
    notebook = json.loads(LINK_TO_PAGE.sub("](", text))
    if not outputs:
        notebook["metadata"].pop("widgets", None)
        for cell in notebook["cells"]:
            if cell["cell_type"] == "code":
                cell |= {"outputs": [], "execution_count": None}
    return json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"


def copies(source: Path, *, outputs: bool) -> dict[Path, str]:
    """What a reader gets, by its place in the folder: the course's notebooks in ``source``, and the
    pages that they link to, which lie in ``docs`` beside ``source``. Assignments are the teacher's
    to give out, without solutions.
    """
    texts = {
        Path(path.name): student_copy(path.read_text(encoding="utf-8"), outputs=outputs)
        for path in sorted(source.glob("*.ipynb"))
    }
    for name in PAGES:
        page = (source.parent / "docs" / name).read_text(encoding="utf-8")
        texts[Path("docs", name)] = page.replace("](notebooks/", "](../")
    return texts


def write_new(texts: Mapping[Path, str], folder: Path) -> tuple[list[str], list[str]]:
    """Write what is not in ``folder`` yet; the names written and the names left alone."""
    new, kept = [], []
    for name, text in texts.items():
        target = folder / name
        make_folder(target.parent)
        if os.path.lexists(target):  # also a link that leads nowhere is the reader's
            kept.append(str(name))
            continue
        part = target.with_name(f"{target.name}.part")
        try:  # whole or not at all: half a notebook would be left alone for good
            part.write_bytes(text.encode())
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
