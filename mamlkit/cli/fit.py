"""``mamlkit fit`` and ``mamlkit predict``: a table of your own, and what it says of new systems."""

from __future__ import annotations

import argparse
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mamlkit.checks import as_path
from mamlkit.cli.common import make_folder, make_parser, whole
from mamlkit.errors import MamlkitError, MamlkitWarning
from mamlkit.fitting import CANDIDATES, Fit, fit
from mamlkit.tasks.rows import check_column, read_csv
from mamlkit.tasks.table import Table
from mamlkit.training.checkpoints import atomically
from mamlkit.training.saved import load

_column: dict[str, Any] = {"metavar": "COLUMN"}
_columns: dict[str, Any] = {"action": "append", **_column}
#: Name, text, and what argparse takes.
OPTIONS: list[tuple[str, str, dict[str, Any]]] = [
    ("task", "which system a line belongs to", {"required": True, **_column}),
    ("x", "an input; give it again for more", {"required": True, **_columns}),
    ("y", "an output; give it again for more", {"required": True, **_columns}),
    ("sigma", "error bars of y; one, or one for each output", _columns),
    (
        "shots",
        "readings of a new system that will be known",
        {"type": whole(0), "default": 4, "metavar": "N"},
    ),
    (
        "support",
        "which those are: random; first, those with the smallest first input; or a column that "
        "marks them",
        {"default": "random", "metavar": "WHICH"},
    ),
    ("log", "learn its logarithm; give it again for more", {"default": [], **_columns}),
    ("log-x", "learn logarithms of all inputs", {"action": "store_true"}),
    ("log-y", "learn logarithms of all outputs", {"action": "store_true"}),
    (
        "unit",
        "a unit for pictures; give it again for more",
        {"action": "append", "default": [], "metavar": "COLUMN=UNIT"},
    ),
    (
        "folds",
        "parts of the systems, each held out once",
        {"type": whole(3), "default": 5, "metavar": "N"},
    ),
    (
        "only",
        f"try this one and no others; give it again for more: {', '.join(CANDIDATES)}",
        {"action": "append", "choices": list(CANDIDATES), "metavar": "NAME"},
    ),
    ("seed", "fixes folds and supports", {"type": whole(0), "default": 0, "metavar": "N"}),
    (
        "out",
        "where the result goes",
        {"type": as_path, "default": Path("mamlkit-fit"), "metavar": "DIR"},
    ),
]


def add(commands: Any) -> argparse.ArgumentParser:
    """The options of ``fit``."""
    command = make_parser(
        commands.add_parser,
        name="fit",
        help="learn from a table of your own measurements of many similar systems",
        description="Read a CSV file with one reading a line, try several learners and yardsticks "
        "cross-validated over systems, and keep the one that is best on systems that it has not "
        "seen. The folder gets saved.npz (for mamlkit predict and mk.load), table.csv, "
        "predictions.csv and systems.png, of all systems while they were held out.",
        epilog="examples:\n"
        "  mamlkit fit cracks.csv --task specimen --x cycles --y length --shots 4 \\\n"
        "      --support first --log length --out cracks\n"
        "  mamlkit fit quakes.csv --task event --x distance --x magnitude --y acceleration \\\n"
        "      --log-x --log-y --out quakes",
    )
    command.add_argument("csv", type=as_path, metavar="CSV", help="the table: one reading a line")
    for name, text, settings in OPTIONS:
        shown = " (default: %(default)s)" if settings.get("default") else ""
        command.add_argument(f"--{name}", help=text + shown, **settings)
    return command


def run(args: argparse.Namespace) -> None:
    """Fit, print the table, and save."""
    out = make_folder(args.out)
    log = [*args.log, *(args.x if args.log_x else ()), *(args.y if args.log_y else ())]
    with _notes():
        table = Table.from_csv(
            args.csv,
            args.task,
            args.x,
            args.y,
            sigma=args.sigma,
            support=args.support,
            units=dict(_unit(text) for text in args.unit),
        )
    found = fit(table, args.shots, log=log, folds=args.folds, candidates=args.only, seed=args.seed)
    for note in found.notes[len(table.notes) :]:
        print(f"note: {note}")
    print(found)
    found.save(out)
    print(f"written to {out}: saved.npz, table.csv, predictions.csv, systems.png")


def add_predict(commands: Any) -> argparse.ArgumentParser:
    """The options of ``predict``."""
    command = make_parser(
        commands.add_parser,
        name="predict",
        help="predict new systems by what mamlkit fit has found",
        description="Read a CSV file with the columns that were fitted. A line with y is a reading "
        "of a new system, a line without y asks for a prediction. The answer has the same lines "
        "with the columns prediction, low50, high50, low90 and high90 besides, and there is a "
        "picture of each system.",
        epilog="examples:\n  mamlkit predict cracks new.csv --out predictions.csv",
    )
    command.add_argument("fit", type=as_path, metavar="DIR", help="what mamlkit fit wrote")
    command.add_argument("csv", type=as_path, metavar="CSV", help="readings, and what is asked for")
    command.add_argument(
        "--out",
        type=as_path,
        default=Path("predictions.csv"),
        metavar="CSV",
        help="the answer; pictures go to a folder of that name (default: %(default)s)",
    )
    return command


def run_predict(args: argparse.Namespace) -> None:
    """Predict, and write the answer and the pictures."""
    import matplotlib.pyplot as plt

    from mamlkit.show.plots import predicted, use_style

    use_style()
    found = load(args.fit)
    if not isinstance(found, Fit):
        raise MamlkitError(f"{args.fit} holds {type(found).__name__}, not what mamlkit fit writes.")
    frame = read_csv(args.csv)
    check_column(frame, found.about["task"])
    pictures = make_folder(args.out.with_suffix(""))
    with _notes():
        answer = found.predict(frame)
    with atomically(args.out) as file:
        answer.to_csv(file, index=False)
    for system, rows in answer.groupby(found.about["task"], sort=False):
        figure, ax = plt.subplots()
        predicted(rows, found.about, ax)
        ax.set_title(str(system))
        ax.legend()
        name = re.sub(r"[^\w.-]+", "_", str(system)) or "system"
        with atomically(pictures / f"{name}.png") as file:
            figure.savefig(file, format="png")
        plt.close(figure)
    asked = int(answer.filter(like="prediction").notna().any(axis=1).sum())
    print(f"{asked} predictions written to {args.out}; pictures in {pictures}")


@contextmanager
def _notes() -> Iterator[None]:
    """Print what is noticed in the data."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", MamlkitWarning)
        yield
    for warning in caught:
        print(f"note: {warning.message}")


def _unit(text: str) -> tuple[str, str]:
    name, equals, unit = text.partition("=")
    if not equals:
        raise MamlkitError(f"--unit {text} must be COLUMN=UNIT, such as length=mm.")
    return name, unit
