"""The command ``mamlkit``."""

from __future__ import annotations

import argparse
import importlib.util
import os
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from mamlkit.errors import MamlkitError

DONE, FAILED, WRONG_USAGE, INTERRUPTED = 0, 1, 2, 130

EXIT_CODES = """exit codes:
  0    done (lab: the exit code of JupyterLab)
  1    it could not be done; the reason is on standard error
  2    wrong usage
  130  interrupted with Ctrl-C
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; ``argv`` defaults to the process's own."""
    parser = build_parser()
    args = parser.parse_args(argv)
    if args.command is None:
        parser.print_help(sys.stderr)
        return WRONG_USAGE
    try:
        if args.command == "quickstart":
            quickstart(args.out, args.seed, args.iterations)
        elif args.command == "lab":
            return lab(args.folder, browser=not args.no_browser)
        else:
            reproduce(args.name, args.out)
    except MamlkitError as error:
        print(f"mamlkit: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("mamlkit: interrupted", file=sys.stderr)
        return INTERRUPTED
    return DONE


def build_parser() -> argparse.ArgumentParser:
    """The parser of the command line."""
    from mamlkit.recipes import RECIPES

    parser = _parser(
        argparse.ArgumentParser,
        prog="mamlkit",
        description="Meta-learning for physics: a course in notebooks, and the library under it.",
        epilog="examples:\n"
        "  mamlkit quickstart       the main job, in under a minute\n"
        "  mamlkit lab              the course, in your browser\n"
        "  mamlkit lab --help       more about one command\n\n" + EXIT_CODES,
    )
    parser.add_argument("--version", action="version", version=f"mamlkit {version('mamlkit')}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")

    command = _parser(
        commands.add_parser,
        name="quickstart",
        help="learn from known fluids, then predict the whole curve of new ones from one point",
        description="Meta-train on real fluids, take one boiling measurement of each fluid of the "
        "test split, and predict its whole vapour-pressure curve. Prints a table against the "
        "yardsticks; saves the picture and the learner.",
        epilog="examples:\n"
        "  mamlkit quickstart\n"
        "  mamlkit quickstart --out results --seed 3\n\n" + EXIT_CODES,
    )
    command.add_argument(
        "--out",
        type=Path,
        default=Path("mamlkit-quickstart"),
        metavar="DIR",
        help="where the picture and the learner go (default: %(default)s)",
    )
    command.add_argument(
        "--seed", type=_whole(0), default=0, metavar="N", help="random seed (default: %(default)s)"
    )
    command.add_argument(
        "--iterations",
        type=_whole(1),
        metavar="N",
        help="outer iterations of meta-training (default: enough for a good result)",
    )

    command = _parser(
        commands.add_parser,
        name="lab",
        help="copy the notebooks into a folder of yours and open JupyterLab there",
        description="Copy the course's notebooks into a folder of yours and open JupyterLab there. "
        "A notebook that is already in the folder is left as it is: your work is never "
        "overwritten. To get a fresh copy of one, rename yours and run the command again.",
        epilog="examples:\n"
        "  mamlkit lab                         the folder mamlkit-notebooks, here\n"
        "  mamlkit lab ~/course --no-browser   another folder; open the printed address yourself\n"
        "\nJupyterLab's own settings hold: JUPYTER_PORT=8899 mamlkit lab uses another port.\n\n"
        + EXIT_CODES,
    )
    command.add_argument(
        "folder",
        type=Path,
        nargs="?",
        default=Path("mamlkit-notebooks"),
        metavar="DIR",
        help="your folder; made if it is not there (default: %(default)s)",
    )
    command.add_argument("--no-browser", action="store_true", help="do not open a browser")

    names = "\n".join(
        f"  {name}: {(recipe.__doc__ or '').strip().partition(chr(10))[0]}"
        for name, recipe in sorted(RECIPES.items())
    )
    command = _parser(
        commands.add_parser,
        name="reproduce",
        help="repeat a long training whose weights ship with the package",
        description="Repeat a long training whose weights ship with the package. It may take "
        "minutes to hours.",
        epilog=f"names:\n{names}\n\n"
        f"example:\n  mamlkit reproduce {min(RECIPES)} --out weights\n\n" + EXIT_CODES,
    )
    command.add_argument("name", choices=sorted(RECIPES), metavar="NAME", help="what to repeat")
    command.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="where the result goes (default: mamlkit-NAME)",
    )
    return parser


def quickstart(out: Path, seed: int, iterations: int | None) -> None:
    """The main job end to end: see :mod:`mamlkit.quickstart`."""
    from mamlkit.quickstart import run

    run(make_folder(out), seed, iterations)


def reproduce(name: str, out: Path | None) -> None:
    """Run the long training ``name`` of :mod:`mamlkit.recipes`."""
    from mamlkit.recipes import RECIPES

    RECIPES[name](make_folder(Path(f"mamlkit-{name}") if out is None else out))


def lab(folder: Path, browser: bool = True) -> int:
    """Copy the notebooks into ``folder`` and run JupyterLab there; return its exit code."""
    if importlib.util.find_spec("jupyterlab") is None:
        raise MamlkitError(
            "JupyterLab is not installed in the Python that runs mamlkit; install it with "
            "'python -m pip install jupyterlab' and try again."
        )
    new, kept = copy_notebooks(notebooks_folder(), make_folder(folder))
    print(f"{folder}: {len(new)} notebook(s) copied, {len(kept)} left as they were", flush=True)
    for name in kept:
        print(f"  left alone: {name}", flush=True)
    return start_jupyterlab(folder, browser)


def notebooks_folder() -> Path:
    """Where the notebooks are: in the installed package, or beside it in a clone."""
    package = Path(__file__).resolve().parent
    for folder in (package / "notebooks", package.parent / "notebooks"):
        if any(folder.glob("*.ipynb")):
            return folder
    raise MamlkitError(
        "the notebooks were not found beside the package; install mamlkit again from a clone or "
        "from its wheel."
    )


def make_folder(folder: Path) -> Path:
    """Make ``folder`` if it is not there, and check that files can be written in it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except (FileExistsError, NotADirectoryError) as error:
        raise MamlkitError(
            f"{folder} is a file, or lies under one, but a folder is needed; give another folder."
        ) from error
    except OSError as error:
        raise MamlkitError(
            f"{folder} cannot be written to ({error.strerror}); give another folder."
        ) from error
    return folder


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
        try:
            with target.open("xb") as file:  # "x" never opens a file that is there
                file.write(content)
        except FileExistsError:
            kept.append(str(name))
        except OSError as error:
            raise MamlkitError(f"{target} cannot be written ({error.strerror}).") from error
        else:
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


def _whole(least: int) -> Callable[[str], int]:
    """An argparse type: whole numbers of at least ``least``."""

    def number(text: str) -> int:
        value = int(text)
        if value < least:
            raise argparse.ArgumentTypeError(f"{value} is less than {least}")
        return value

    number.__name__ = "whole number"  # named so in argparse's message
    return number


def _parser(make: Callable[..., Any], **settings: Any) -> argparse.ArgumentParser:
    # Help keeps the line breaks of its examples, so a description is wrapped here.
    settings["description"] = textwrap.fill(settings["description"], 78)
    parser: argparse.ArgumentParser = make(
        **settings, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    return parser
