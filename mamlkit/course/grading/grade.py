"""From answers to marks: everything here runs in the parent, which never runs a student's code."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from mamlkit.course.assignments.base import Assignment, Own, Question
from mamlkit.course.grading import sandbox, submission
from mamlkit.course.handin import personal, same_for_all, secret
from mamlkit.errors import MamlkitError

NOT_ATTEMPTED = "not attempted"
COPIED = 1e-4  # relative: as near as that, a number is another student's


@dataclass
class Mark:
    """Of one question: the points, and why."""

    question: str
    points: float
    of: float
    reason: str
    to_teacher: str = ""  # names another student


@dataclass
class Result:
    """Of one submission."""

    student: str
    file: str
    status: str = "marked"
    marks: list[Mark] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    written: dict[str, str] = field(default_factory=dict)
    cpu: float = 0.0

    @property
    def points(self) -> float:
        """Those that a program gives."""
        return sum(mark.points for mark in self.marks)


def grade(
    assignment: Assignment,
    handed_in: submission.Submission,
    salt: bytes,
    year: int,
    others: Sequence[str] = (),
    *,
    trust: bool = False,
) -> Result:
    """Mark one submission.

    Args:
        assignment: what was asked.
        handed_in: what :func:`submission.read` gave.
        salt: secret; the inputs of functions are drawn from it.
        year: of the handout, from which the student's own data follow.
        others: students whose own numbers must not turn up here.
        trust: see :func:`sandbox.examine`.

    Returns:
        points with reasons; a submission that cannot be read has none, and says why.
    """
    result = Result(handed_in.student, handed_in.path.name, notes=list(handed_in.faults))
    result.written = dict(handed_in.written)
    if handed_in.year not in (None, year):
        result.notes.append(
            f"YEAR is {handed_in.year} in the notebook, and the course is of {year}: own data "
            "differ"
        )
    own: Own | None = None
    try:
        own = assignment.own(personal(assignment.name, year, handed_in.student))
    except MamlkitError as error:
        result.notes.append(str(error))
    if not handed_in.readable or own is None:
        result.status = "not marked"
        result.marks = [Mark(q.name, 0, q.points, "not marked") for q in assignment.questions]
        return result
    asked: list[dict[str, Any]] = []
    expected: dict[str, Any] = {}
    for question in assignment.questions:
        rng = secret(salt, handed_in.student, f"{assignment.name}/{question.name}")
        cases = question.cases(rng, own) if question.cases else None
        expected[question.name] = cases
        asked.append({"name": question.name, "cases": [None] if cases is None else cases})
    outcome = sandbox.examine(handed_in.cells, asked, trust=trust)
    result.cpu = outcome.cpu
    result.notes += [f"cell {i + 1}: {error}" for i, error in sorted(outcome.cells.items())]
    elsewhere: dict[str, Own] = {}
    for name in sorted({*others}):
        if same_for_all(name) == same_for_all(handed_in.student):
            continue
        with contextlib.suppress(MamlkitError):  # without a student number there are no data
            elsewhere[name] = assignment.own(personal(assignment.name, year, name))
    for question in assignment.questions:
        given = outcome.answers.get(question.name, [])
        cases = expected[question.name]
        result.marks.append(mark(question, given, cases, own, elsewhere))
    if any(m.to_teacher for m in result.marks):
        result.status = "look"
    return result


def mark(
    question: Question,
    given: Sequence[Mapping[str, Any]],
    cases: list[list[Any]] | None,
    own: Own,
    elsewhere: Mapping[str, Own],
) -> Mark:
    """Compare what came back with what is right."""
    inputs: list[list[Any]] = [[own]] if cases is None else cases

    def points(share: float, reason: str) -> Mark:
        return Mark(question.name, round(share * question.points, 2), question.points, reason)

    if not given or all(answer.get("missing") for answer in given):
        return points(0, f"{NOT_ATTEMPTED}: there is no {question.name}")
    if all("error" not in a and a.get("value") is None for a in given):
        return points(0, NOT_ATTEMPTED)
    if question.score is not None:
        scores = [_scored(question, given, i, cases, own) for i in range(len(inputs))]
        share, reason = min(scores, key=lambda score: score[0])
        return points(sum(share for share, _ in scores) / len(scores), reason)
    values = [answer.get("value") for answer in given]
    rights = [question.right(*case) for case in inputs]
    if len(values) == len(rights) and all(map(_same(question), values, rights)):
        return points(1, "right")
    for words, (wrong, share) in question.mistakes.items():
        wrongs = [wrong(*case) for case in inputs]
        if len(values) == len(wrongs) and all(map(_same(question), values, wrongs)):
            return points(share, words)
    if cases is None:  # digits are copied, so a wide tolerance would accuse whoever is near by
        copied = _same(replace(question, rtol=min(question.rtol, COPIED)))
        for student, theirs in elsewhere.items():
            if copied(values[0], question.right(theirs)):
                theirs_too = points(0, "copied? this is the answer to another student's data")
                return replace(theirs_too, to_teacher=f"{question.name}: the data of {student}")
    for case, answer, right in zip(inputs, given, rights, strict=False):
        if "error" in answer:
            return points(0, f"{question.name} {answer['error']}")
        if not _same(question)(answer.get("value"), right):
            about = "" if cases is None else f" for the inputs {_short(case)}"
            return points(0, f"{_short(answer.get('value'))} is not right{about}")
    return points(0, "no answer came back")


def _scored(
    question: Question,
    given: Sequence[Mapping[str, Any]],
    i: int,
    cases: list[list[Any]] | None,
    own: Own,
) -> tuple[float, str]:
    """The share of case ``i``, and why; whatever came back, marking goes on."""
    assert question.score is not None
    answer = given[i] if i < len(given) else {"value": None}
    value = answer.get("value")
    if "error" in answer:
        return 0.0, f"{question.name} {answer['error']}"
    if value is None:
        return 0.0, "no answer came back"
    try:
        with np.errstate(all="ignore"):
            share, reason = question.score(None if cases is None else cases[i], value, own)
    except Exception as error:  # the value is a student's, and may be anything
        share, reason = 0.0, f"{_short(value)} cannot be judged ({type(error).__name__})"
    return (min(float(share), 1.0) if share > 0 else 0.0), reason


def _same(question: Question) -> Any:
    def same(value: Any, right: Any) -> bool:
        try:
            a, b = np.asarray(value, dtype=float), np.asarray(right, dtype=float)
        except (TypeError, ValueError, OverflowError):
            return False
        if a.size != b.size or not np.isfinite(a).all():
            return False
        scale = float(np.abs(b).max()) if b.size else 0.0
        gap = np.abs(a.ravel() - b.ravel()).max() if b.size else math.inf
        return bool(gap <= question.atol + question.rtol * scale)

    return same


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 120 else text[:117] + "..."


def find(folder: Path) -> list[Path]:
    """The notebooks that were handed in, under ``folder``."""
    if folder.is_file():
        return [folder]
    if not folder.is_dir():
        raise MamlkitError(f"{folder} is not there; give a folder of submissions, or a notebook.")
    paths = [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".ipynb_checkpoints" not in path.parts and path.name[0] != "."
    ]
    if not paths:
        raise MamlkitError(f"there is nothing in {folder}; give the folder of submissions.")
    return paths
