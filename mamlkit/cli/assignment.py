"""``mamlkit assignment``: what students get."""

from __future__ import annotations

import argparse
from datetime import date
from pathlib import Path
from typing import Any

from mamlkit.checks import as_path
from mamlkit.cli.common import make_folder, make_parser, whole
from mamlkit.cli.lab import write_new
from mamlkit.course import grading


def add(commands: Any) -> argparse.ArgumentParser:
    """The options."""
    command = make_parser(
        commands.add_parser,
        name="assignment",
        help="write the student's notebook of a graded assignment",
        description="Write the notebook that students get: without solutions and outputs, with the "
        "year from which each student's own data are made. A file that is there is left as it is.",
        epilog="examples:\n  mamlkit assignment a1 --out handout\n"
        "  mamlkit assignment a1 --year 2027",
    )
    command.add_argument("name", choices=grading.names(), metavar="NAME", help="a1 .. a6")
    command.add_argument(
        "--out",
        type=as_path,
        default=Path("handout"),
        metavar="DIR",
        help="your folder; made if it is not there (default: %(default)s)",
    )
    command.add_argument(
        "--year",
        type=whole(2000),
        default=date.today().year,
        metavar="YEAR",
        help="of the course (default: this one)",
    )
    return command


def run(args: argparse.Namespace) -> None:
    """Write the handout."""
    assignment = grading.find_assignment(args.name)
    text = grading.handout(assignment, args.year)
    new, kept = write_new({Path(assignment.notebook): text}, make_folder(args.out))
    for name in new:
        print(f"written: {args.out / name}")
    for name in kept:
        print(f"left alone: {args.out / name}")
