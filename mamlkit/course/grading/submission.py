"""Read what a student handed in, without running it.

Cells are found by what is in them, never by metadata or an id: those are lost when a notebook goes
through other programs. Whatever is wrong with the file is said in words, and what can be read is.
"""

from __future__ import annotations

import ast
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mamlkit.course.grading.handout import UNANSWERED

MOST_BYTES = 10_000_000
MOST_CELLS = 2000
ANSWER = re.compile(r"^#+\s*Answer\s+([A-Za-z0-9.]+)\s*$", re.M)  # the heading of a written answer
COPY = re.compile(r"(?: ?\(\d+\)|[-_ ]copy(?:[-_ ]?\d+)?)$", re.I)  # what browsers add to a name


@dataclass
class Submission:
    """Cells of Python, written answers by name, who says to have written it, what is wrong."""

    path: Path
    student: str = ""
    year: int | None = None  # that the notebook states
    cells: list[str] = field(default_factory=list)
    written: dict[str, str] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    readable: bool = True


def read(path: Path) -> Submission:
    """Read a notebook that was handed in.

    Args:
        path: any file.

    Returns:
        the submission; ``readable`` is False, and ``faults`` say why, where it is no notebook.
    """
    submission = Submission(path, student=COPY.sub("", path.stem))
    cells = _cells(path, submission.faults)
    if cells is None:
        submission.readable = False
        return submission
    for cell in cells[:MOST_CELLS]:
        source = _text(cell.get("source", ""))
        if cell.get("cell_type") == "markdown":
            _take_written(source, submission)
        elif source.strip():
            submission.cells.append(without_magics(source))
    if len(cells) > MOST_CELLS:
        submission.faults.append(f"only the first {MOST_CELLS} of {len(cells)} cells were read")
    stated = stated_in(submission.cells)
    student, year = stated.get("STUDENT"), stated.get("YEAR")
    if isinstance(student, str) and student.strip():
        submission.student = student.strip()
    submission.year = year if isinstance(year, int) else None
    return submission


def _cells(path: Path, faults: list[str]) -> list[dict[str, Any]] | None:
    try:
        size = path.stat().st_size
        if size > MOST_BYTES:
            faults.append(
                f"the file has {size / 1e6:.0f} MB, more than {MOST_BYTES / 1e6:.0f}: clear the "
                "outputs (Edit, Clear Outputs of All Cells), save, and hand it in again"
            )
            return None
        notebook = json.loads(path.read_text(encoding="utf-8"))
        cells = notebook["cells"]
        if not isinstance(cells, list):
            raise TypeError
    except (OSError, UnicodeDecodeError) as error:
        faults.append(f"the file cannot be read ({type(error).__name__})")
    except (ValueError, KeyError, TypeError, RecursionError):
        faults.append("the file is not a notebook (.ipynb, format 4)")
    else:
        return [cell for cell in cells if isinstance(cell, dict)]
    return None


def _text(source: Any) -> str:
    if isinstance(source, list):
        return "".join(part for part in source if isinstance(part, str))
    return source if isinstance(source, str) else ""


def _take_written(source: str, submission: Submission) -> None:
    heading = ANSWER.search(source)
    if heading is None:
        return
    name, text = heading[1], source[heading.end() :].strip()
    text = "" if text == UNANSWERED else text
    earlier = submission.written.get(name)
    if earlier and text and earlier != text:
        submission.faults.append(f"answer {name} is there twice; the later one counts")
    if text or earlier is None:
        submission.written[name] = text


def without_magics(source: str) -> str:
    """IPython's own lines (``%matplotlib``, ``!pip``, ``name?``) do nothing."""
    lines = source.split("\n")
    if lines[0].startswith("%%"):
        return ""
    return "\n".join(
        re.sub(r"\S.*", "pass", line) if re.match(r"\s*[%!?]|.*\w\?\??\s*$", line) else line
        for line in lines
    )


def stated_in(cells: list[str]) -> dict[str, Any]:
    """The constants that cells give to names (``STUDENT = "s1"``), the last of each, read and not
    run.
    """
    found: dict[str, Any] = {}
    for source in cells:
        try:
            tree = ast.parse(source)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue
        for node in tree.body:
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
                names = [target.id for target in node.targets if isinstance(target, ast.Name)]
                found |= dict.fromkeys(names, node.value.value)
    return found
