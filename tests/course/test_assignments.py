"""Each assignment: its solution has full marks, its handout none, plausible mistakes what is said.

The wrong answers stand in ``wrong_answers``, a file an assignment.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from mamlkit.cli import lab
from mamlkit.course import grading
from mamlkit.course.grading import submission
from mamlkit.course.grading.grade import Result, grade
from mamlkit.course.handin import personal
from tests.helpers import ROOT

YEAR, SALT, STUDENT = 2026, b"a salt for these tests", "s1234567"
ASSIGNMENTS = {name: grading.find_assignment(name) for name in grading.names()}
WRONG = {
    (name, what): row
    for name in ASSIGNMENTS
    for what, row in importlib.import_module(f"tests.course.wrong_answers.{name}").WRONG.items()
}

needs_bubblewrap = pytest.mark.skipif(
    shutil.which("bwrap") is None and "CI" not in os.environ, reason="bubblewrap is not installed"
)


def source(name: str) -> Path:
    return ROOT / "notebooks" / "assignments" / ASSIGNMENTS[name].notebook


def cells_of(text: str) -> list[dict[str, Any]]:
    """The cells of a notebook, as the student's."""
    cells = json.loads(text)["cells"]
    for cell in cells:
        cell["source"] = "".join(cell["source"]).replace("s0000000", STUDENT)
    return cells


def marked(name: str, cells: list[dict[str, Any]], folder: Path) -> Result:
    path = folder / "a.ipynb"
    path.write_text(json.dumps({"cells": cells}), encoding="utf-8")
    return grade(ASSIGNMENTS[name], submission.read(path), SALT, YEAR)


def reasons(result: Result) -> str:
    return "; ".join(
        [*(f"{m.question} {m.points:g}: {m.reason}" for m in result.marks), *result.notes]
    )


@needs_bubblewrap
@pytest.mark.parametrize("name", ASSIGNMENTS)
def test_the_solution_has_full_marks(name, tmp_path):
    result = marked(name, cells_of(source(name).read_text(encoding="utf-8")), tmp_path)
    assert all(mark.points == mark.of for mark in result.marks), reasons(result)
    assert not result.notes, reasons(result)
    assert set(result.written) == {part.name for part in ASSIGNMENTS[name].written}
    assert all(result.written.values())


@needs_bubblewrap
@pytest.mark.parametrize("name", ASSIGNMENTS)
def test_the_handout_has_none(name, tmp_path):
    result = marked(name, cells_of(grading.handout(ASSIGNMENTS[name], YEAR)), tmp_path)
    assert (result.points, result.notes) == (0, []), reasons(result)
    assert not any(result.written.values())
    assert all("not attempted" in mark.reason for mark in result.marks), reasons(result)


@needs_bubblewrap
@pytest.mark.parametrize(("name", "what"), WRONG)
def test_a_wrong_answer_has_the_marks_that_the_rubric_says(name, what, tmp_path):
    replaced, points, words = WRONG[name, what]
    cells = cells_of(source(name).read_text(encoding="utf-8"))
    for defined, instead in replaced.items():
        found = [c for c in cells if re.search(rf"^(def )?{defined}\b( = |\()", c["source"], re.M)]
        assert found, f"no cell defines {defined}"
        found[-1]["source"] = instead
    result = marked(name, cells, tmp_path)
    assert result.points == pytest.approx(points), reasons(result)
    assert words in reasons(result)


@pytest.mark.parametrize("name", ASSIGNMENTS)
def test_points_and_rubrics_add_up(name):
    assignment = ASSIGNMENTS[name]
    assert assignment.points == 20
    assert sum(part.points for part in assignment.written) >= 6, "at least 30 % by hand"
    for part in assignment.written:
        assert sum(points for points, _ in part.rubric) == part.points
    for question in assignment.questions:
        assert all(0 <= share < 1 for _, share in question.mistakes.values())
    assert len([what for given, what in WRONG if given == name]) >= 3


@pytest.mark.parametrize("name", ASSIGNMENTS)
def test_the_notebook_says_what_is_asked_and_for_how_much(name):
    text = source(name).read_text(encoding="utf-8")
    words = "\n".join(c["source"] for c in cells_of(text) if c["cell_type"] == "markdown")
    for part in ASSIGNMENTS[name].written:
        assert f"### Answer {part.name}\n" in words
        assert f"{part.points:g} points, by hand" in words
        for points, what in part.rubric:
            assert f"| {points:g} | {what} |" in words
    for question in ASSIGNMENTS[name].questions:
        of = f"{question.points:g} point" + "s" * (question.points != 1)
        assert f"`{question.name}` ({of})" in words
    for heading in ("The question.", "You will be able to", "Before you start.", "Time."):
        assert f"**{heading}**" in words
    assert "SOLUTION" not in grading.handout(ASSIGNMENTS[name], YEAR)


@pytest.mark.parametrize("name", ASSIGNMENTS)
def test_nbgrader_takes_the_notebook(name):
    """What ``nbgrader generate_assignment`` refuses: solutions in other cells, dots in ids."""
    cells = json.loads(source(name).read_text(encoding="utf-8"))["cells"]
    told = [cell["metadata"].get("nbgrader") for cell in cells]
    for cell, its in zip(cells, told, strict=True):
        assert ("### BEGIN SOLUTION" in "".join(cell["source"])) == bool(its and its["solution"])
    ids = [its["grade_id"] for its in told if its]
    assert len(set(ids)) == len(ids)
    assert not [one for one in ids if not re.fullmatch(r"[a-zA-Z0-9_-]+", one)]
    by_hand = [its["points"] for its in told if its and its["grade"]]
    assert by_hand == [part.points for part in ASSIGNMENTS[name].written]


@pytest.mark.parametrize("name", ASSIGNMENTS)
def test_the_links_of_a_handout_lead_to_what_mamlkit_lab_copies(name):
    there = {str(path) for path in lab.copies(lab.notebooks_folder(), outputs=False)}
    cells = cells_of(grading.handout(ASSIGNMENTS[name], YEAR))
    links = re.findall(r"\]\((?!https?:)([^)\s#]+)", "\n".join(c["source"] for c in cells))
    assert links
    assert set(links) <= there


@pytest.mark.parametrize("name", ASSIGNMENTS)
def test_students_have_data_of_their_own(name):
    drawn = [
        json.dumps(ASSIGNMENTS[name].own(personal(name, year, student)), sort_keys=True)
        for year, student in ((YEAR, "s1"), (YEAR, " S1 "), (YEAR, "s2"), (YEAR + 1, "s1"))
    ]
    assert drawn[0] == drawn[1]
    assert len(set(drawn)) == 3
