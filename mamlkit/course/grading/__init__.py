"""Graded assignments: handouts, a sandbox for students' code, marks, feedback, sheets."""

from __future__ import annotations

import importlib
from pathlib import Path

from mamlkit.course.assignments.base import Assignment
from mamlkit.course.grading.handout import strip
from mamlkit.errors import MamlkitError

PACKAGE = Path(__file__).resolve().parents[2]


def names() -> list[str]:
    """Of the assignments that there are."""
    return sorted(path.stem for path in (PACKAGE / "course" / "assignments").glob("a?.py"))


def find_assignment(name: str) -> Assignment:
    """Its questions and right answers."""
    module = importlib.import_module(f"mamlkit.course.assignments.{name}")
    found: Assignment = module.ASSIGNMENT
    return found


def handout(assignment: Assignment, year: int) -> str:
    """The student's notebook, from the source in a clone or from the stripped one of a wheel."""
    for folder in (PACKAGE / "notebooks", PACKAGE.parent / "notebooks"):
        path = folder / "assignments" / assignment.notebook
        if path.is_file():
            return strip(path.read_text(encoding="utf-8"), year)
    raise MamlkitError(
        f"{assignment.notebook} was not found beside the package; install mamlkit again from a "
        "clone or from its wheel."
    )
