"""The command ``mamlkit``: one file a subcommand, each with its options (``add``) and its work
(``run``).
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib.metadata import version

from mamlkit.cli import assignment, fit, grade, lab, progress, quickstart, reproduce, slides, train
from mamlkit.cli.common import DONE, FAILED, INTERRUPTED, WRONG_USAGE, make_parser
from mamlkit.errors import MamlkitError


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; ``argv`` defaults to the process's own."""
    for stream in (sys.stdout, sys.stderr):  # a terminal that lacks a letter gets a "?"
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    parser = build_parser()
    args = parser.parse_args(argv)
    if args.command is None:
        parser.print_help(sys.stderr)
        return WRONG_USAGE
    args.argv = sys.argv[1:] if argv is None else argv
    try:
        code: int | None = args.run(args)
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read has seen enough, as in `mamlkit .. | head -1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except MamlkitError as error:
        print(f"mamlkit: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("mamlkit: interrupted", file=sys.stderr)
        return INTERRUPTED
    return DONE if code is None else code


def build_parser() -> argparse.ArgumentParser:
    """The parser of the command line."""
    parser = make_parser(
        argparse.ArgumentParser,
        prog="mamlkit",
        description="Meta-learning for physics: a course in notebooks, and the library under it.",
        epilog="examples:\n"
        "  mamlkit quickstart       the main job, in under a minute\n"
        "  mamlkit lab              the course, in your browser\n"
        "  mamlkit lab --help       more about one command",
    )
    parser.add_argument("--version", action="version", version=f"mamlkit {version('mamlkit')}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    for add, run in (
        (quickstart.add, quickstart.run),
        (lab.add, lab.run),
        (fit.add, fit.run),
        (fit.add_predict, fit.run_predict),
        (train.add, train.run),
        (reproduce.add, reproduce.run),
        (progress.add, progress.run),
        (slides.add, slides.run),
        (assignment.add, assignment.run),
        (grade.add, grade.run),
    ):
        add(commands).set_defaults(run=run)
    return parser
