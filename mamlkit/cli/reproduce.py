"""``mamlkit reproduce``: a long training whose weights ship with the package, once more."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from mamlkit.checks import as_path
from mamlkit.cli.common import make_folder, make_parser
from mamlkit.course import recipes


def add(commands: Any) -> argparse.ArgumentParser:
    """The options."""
    known = sorted(recipes.COMMANDS)
    names = "\n".join(f"  {name}: {recipes.COMMANDS[name][0]}" for name in known)
    command = make_parser(
        commands.add_parser,
        name="reproduce",
        help="repeat a long training whose weights ship with the package",
        description="Repeat a long training whose weights ship with the package. It may take "
        "minutes to hours.",
        epilog=f"names:\n{names}\n\nexample:\n  mamlkit reproduce {known[0]} --out weights",
    )
    command.add_argument("name", choices=known, metavar="NAME", help="what to repeat")
    command.add_argument(
        "--out", type=as_path, metavar="DIR", help="where the result goes (default: mamlkit-NAME)"
    )
    return command


def run(args: argparse.Namespace) -> None:
    """Run the long training ``args.name`` of :mod:`mamlkit.course.recipes`."""
    out = Path(f"mamlkit-{args.name}") if args.out is None else args.out
    recipes.COMMANDS[args.name][1](make_folder(out))
