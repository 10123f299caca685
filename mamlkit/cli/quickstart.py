"""``mamlkit quickstart``: the main job end to end."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from mamlkit.checks import as_path
from mamlkit.cli.common import make_folder, make_parser, whole
from mamlkit.course import quickstart


def add(commands: Any) -> argparse.ArgumentParser:
    """The options."""
    command = make_parser(
        commands.add_parser,
        name="quickstart",
        help="learn from known fluids, then predict the whole curve of new ones from one point",
        description="Meta-train on real fluids, take one boiling measurement of each fluid of the "
        "test split, and predict its whole vapour-pressure curve. Prints a table against the "
        "yardsticks; saves the picture and the learner.",
        epilog="examples:\n  mamlkit quickstart\n  mamlkit quickstart --out results --seed 3",
    )
    command.add_argument(
        "--out",
        type=as_path,
        default=Path("mamlkit-quickstart"),
        metavar="DIR",
        help="where the picture and the learner go (default: %(default)s)",
    )
    command.add_argument(
        "--seed", type=whole(0), default=0, metavar="N", help="random seed (default: %(default)s)"
    )
    command.add_argument(
        "--iterations",
        type=whole(1),
        metavar="N",
        help="outer iterations of meta-training (default: enough for a good result)",
    )
    return command


def run(args: argparse.Namespace) -> None:
    """See :mod:`mamlkit.course.quickstart`."""
    quickstart.run(make_folder(args.out), args.seed, args.iterations)
