"""The command ``mamlkit``."""

from __future__ import annotations

import argparse
import importlib.util
import math
import os
import shlex
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

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
        elif args.command == "train":
            return train(vars(args), sys.argv[1:] if argv is None else argv)
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

    _add_train(commands)

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


def _add_train(commands: Any) -> None:
    """The options of ``mamlkit train``, with the defaults of :func:`mamlkit.meta_train`."""
    from mamlkit.models import ACTIVATIONS
    from mamlkit.train import LEARNERS, families

    command = _parser(
        commands.add_parser,
        name="train",
        help="meta-train a learner on a family of tasks; in one process or many",
        description="Meta-train a learner on a family of tasks and print its error on new test "
        "tasks, beside that of predicting zero. A finite family (fluids) is trained, validated and "
        "tested on its own splits. The folder gets learner.pt, history.json, settings.json and "
        "checkpoint.pt; the same command goes on where it was stopped.",
        epilog="families:\n"
        + textwrap.fill(
            f"fluids, {', '.join(sorted(families()))}; or one of your own, as "
            "path/to/file.py:ClassName or module:ClassName, which runs that file",
            width=78,
            initial_indent="  ",
            subsequent_indent="  ",
        )
        + "\n\nexamples:\n"
        "  mamlkit train sinusoid --shots 10 --iterations 2000 --out sinusoid\n"
        "  mamlkit train fluids --learner metasgd --shots 1 --inner-lr 0.1 --validate 500\n"
        "  mamlkit train springs.py:Springs --shots 4 --hidden 64 64\n"
        "  torchrun --nproc-per-node=2 -m mamlkit train sinusoid --meta-batch 256\n\n" + EXIT_CODES,
    )
    command.add_argument("family", metavar="FAMILY", help="where tasks come from; see below")

    def add(name: str, kind: Any, default: Any, text: str, **more: Any) -> None:
        shown = "" if default is None or "default" in text else " (default: %(default)s)"
        if "choices" not in more:
            more.setdefault("metavar", "X" if kind is _positive else "N")
        command.add_argument(f"--{name}", type=kind, default=default, help=text + shown, **more)

    whole, positive = _whole(1), _positive
    rate = ["constant", "cosine"]
    add("out", Path, Path("mamlkit-train"), "where the result goes", metavar="DIR")
    named = f"what learns: {', '.join(LEARNERS)}"
    add("learner", str, "maml", named, choices=list(LEARNERS), metavar="NAME")
    add("shots", whole, 10, "support points of a task")
    add("queries", whole, None, "query points of a task (default: left to the family)")
    add("hidden", whole, [40, 40], "widths of the hidden layers (default: 40 40)", nargs="*")
    add("activation", str, "tanh", "after each hidden layer", choices=sorted(ACTIVATIONS))
    add("inner-lr", positive, None, "alpha, the inner step (default: the learner's own)")
    add("inner-steps", whole, None, "inner steps (default: the learner's own)")
    add("meta-batch", whole, 25, "tasks an iteration, over all processes")
    add("iterations", whole, 5000, "outer steps, counted from the very start")
    add("outer-lr", positive, 1e-3, "beta, the outer learning rate")
    add("schedule", str, "constant", "of outer-lr: fixed, or falling to 0", choices=rate)
    add("grad-clip", positive, None, "largest norm of the meta-gradient (default: none)")
    add("seed", _whole(0), 0, "random seed: fixes the start and all tasks")
    add("validate", whole, None, "validate every N iterations and keep the best (default: never)")
    add("checkpoint-every", whole, 500, "iterations between checkpoints")
    add("chunk-size", whole, None, "tasks at a time, to save memory (default: all)")
    command.add_argument("--compile", action="store_true", help="compile the meta-gradient")
    add("device", str, "cpu", "cpu, cuda, ...", metavar="DEVICE")
    add("dtype", str, "float32", "of all numbers", choices=["float32", "float64"])


def train(given: dict[str, Any], argv: Sequence[str]) -> int:
    """Meta-train a learner from the command line: see :mod:`mamlkit.train`."""
    from mamlkit.train import run

    if "TORCHELASTIC_ERROR_FILE" in os.environ:  # torchrun then names the error that came first
        from torch.distributed.elastic.multiprocessing.errors import record

        run = cast(Any, record)(run)
    options = {k: v for k, v in given.items() if k not in ("command", "out")}
    history = run(options, given["out"], shlex.join(["mamlkit", *argv]))
    return INTERRUPTED if history.interrupted else DONE


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


def _positive(text: str) -> float:
    """An argparse type: finite numbers above zero."""
    value = float(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not a finite number above zero")
    return value


_positive.__name__ = "number"


def _parser(make: Callable[..., Any], **settings: Any) -> argparse.ArgumentParser:
    # Help keeps the line breaks of its examples, so a description is wrapped here.
    settings["description"] = textwrap.fill(settings["description"], 78)
    parser: argparse.ArgumentParser = make(
        **settings, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    return parser
