"""``mamlkit progress``: what of the course is done."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from mamlkit.checks import as_path
from mamlkit.cli.common import make_parser
from mamlkit.cli.lab import notebooks_folder
from mamlkit.course import progress
from mamlkit.errors import MamlkitError


def add(commands: Any) -> argparse.ArgumentParser:
    """The options."""
    command = make_parser(
        commands.add_parser,
        name="progress",
        help="what you have done of the course's exercises, and what is left",
        description="Print, notebook by notebook, how many exercises there are, how many you have "
        "done, the tries they took, and what is left. mk.check notes each try in a file of yours; "
        "nothing leaves this machine.",
        epilog="examples:\n"
        "  mamlkit progress                      yours\n"
        "  mamlkit progress ana.jsonl ben.jsonl  files that two students have handed to you\n"
        f"\nThe environment variable {progress.VARIABLE} names another file to note tries in;\n"
        f"{progress.VARIABLE}=off notes none. To begin anew, delete the file.",
    )
    command.add_argument(
        "files",
        type=as_path,
        nargs="*",
        metavar="FILE",
        help="files of tries (default: your own, whose place is printed)",
    )
    return command


def run(args: argparse.Namespace) -> None:
    """Print a table for each file."""
    if args.files:
        for path in args.files:
            print(f"{path}\n{page(path)}\n", flush=True)
        return
    own = progress.place()
    if own is None:
        print(f"Tries are not noted here: see {progress.VARIABLE} in `mamlkit progress --help`.")
    elif not own.exists():
        print(f"Nothing is noted yet. The first mk.check of a notebook will write {own}.")
    else:
        print(f"{page(own)}\n\nNoted in {own}, which stays on this machine.")


def page(path: Path) -> str:
    """The table of a file, and what could not be read of it."""
    try:
        tries, strange = progress.read(path)
    except OSError as error:
        raise MamlkitError(f"{path} cannot be read ({error.strerror}).") from error
    files = {p.name[:2]: p.stem for p in notebooks_folder().glob("[0-9][0-9]_*.ipynb")}
    rows = progress.summary(tries, progress.exercises())
    lines: list[tuple[str, ...]] = [("notebook", "exercises", "done", "tries", "last time", "left")]
    total = [0, 0, 0]
    for notebook, row in rows.items():
        counts = len(row.exercises), len(row.exercises) - len(row.left), row.tries
        total = [a + b for a, b in zip(total, counts, strict=True)]
        last = f"{row.last:%Y-%m-%d %H:%M}" if row.last else "-"
        left = "all" if row.left == row.exercises else ", ".join(row.left) or "nothing"
        lines.append((files.get(notebook, notebook), *map(str, counts), last, left))
    lines.append(("all", *map(str, total), "", ""))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = [
        f"{line[0]:{widths[0]}}  {line[1]:>{widths[1]}}  {line[2]:>{widths[2]}}  "
        f"{line[3]:>{widths[3]}}  {line[4]:{widths[4]}}  {line[5]}".rstrip()
        for line in lines
    ]
    if strange:
        text.append(f"{strange} line(s) of the file could not be read and are left out.")
    return "\n".join(text)
