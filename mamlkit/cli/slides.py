"""``mamlkit slides``: slides for a lecture, made from a notebook."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from mamlkit.checks import as_path
from mamlkit.cli.common import make_folder, make_parser
from mamlkit.cli.lab import notebooks_folder
from mamlkit.course import slides
from mamlkit.errors import MamlkitError


def add(commands: Any) -> argparse.ArgumentParser:
    """The options."""
    command = make_parser(
        commands.add_parser,
        name="slides",
        help="slides for a lecture, made from a notebook",
        description="Write a notebook's headings, pictures, formulas, tables and first sentences "
        "as slides (reveal.js): one HTML file, which needs no network. The whole text is in the "
        "speaker's notes; solutions are left out, long code is folded.",
        epilog="examples:\n"
        "  mamlkit slides 00                   mamlkit-slides/00_one_measurement_a_whole_curve.html"
        "\n  mamlkit slides 00 01 05 --out week1\n"
        "  mamlkit slides my_talk.ipynb        a notebook of your own, with its outputs\n"
        "\nArrow keys turn the slides, S opens the notes, O shows all; add ?print-pdf to the\n"
        "address to print.",
    )
    command.add_argument(
        "notebooks", nargs="+", metavar="NAME", help="a notebook's number, or a file"
    )
    command.add_argument(
        "--out",
        type=as_path,
        default=Path("mamlkit-slides"),
        metavar="DIR",
        help="where the slides go (default: %(default)s)",
    )
    return command


def run(args: argparse.Namespace) -> None:
    """Write a file for each notebook."""
    paths = [find(name) for name in args.notebooks]  # all, before anything is written
    for path in paths:
        text = slides.make(slides.read_notebook(path), path.stem)
        target = make_folder(args.out) / f"{path.stem}.html"
        try:
            target.write_text(text, encoding="utf-8")
        except OSError as error:
            raise MamlkitError(f"{target} cannot be written ({error.strerror}).") from error
        print(f"written: {target} ({text.count('<section')} slides)", flush=True)


def find(name: str) -> Path:
    """The notebook of that number, or the file."""
    if name.endswith(".ipynb"):
        return as_path(name)
    found = sorted(notebooks_folder().glob(f"{name}_*.ipynb")) if name.isdigit() else []
    if not found:
        raise MamlkitError(
            f"there is no notebook {name!r}; give a number, such as 00, or a file that ends in "
            ".ipynb."
        )
    return found[0]
