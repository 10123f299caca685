"""What the subcommands share: exit codes, types of options, the folder of a result."""

from __future__ import annotations

import argparse
import math
import shutil
import tempfile
import textwrap
from collections.abc import Callable
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


def make_parser(make: Callable[..., Any], **settings: Any) -> argparse.ArgumentParser:
    """A parser made by ``make``, whose help ends with the exit codes. Help keeps the line breaks of
    its examples, so the description is wrapped here.
    """
    width = min(78, shutil.get_terminal_size().columns - 2)
    settings["description"] = textwrap.fill(settings["description"], width)
    settings["epilog"] = f"{settings['epilog']}\n\n{EXIT_CODES}"
    parser: argparse.ArgumentParser = make(
        **settings, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    return parser


def whole(least: int) -> Callable[[str], int]:
    """An argparse type: whole numbers of at least ``least``."""

    def number(text: str) -> int:
        value = int(text)
        if value < least:
            raise argparse.ArgumentTypeError(f"{value} is less than {least}")
        return value

    number.__name__ = "whole number"  # named so in argparse's message
    return number


def positive(text: str) -> float:
    """An argparse type: finite numbers above zero."""
    value = float(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not a finite number above zero")
    return value


positive.__name__ = "number"


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
