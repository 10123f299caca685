"""What an assignment is: questions that a program marks, and questions that a person marks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Numbers = Any  # a number, or lists of numbers
Own = dict[str, Any]  # a student's own data, by name


@dataclass(frozen=True)
class Question:
    """A name that the student's notebook has to hold, and what it must be.

    With ``cases`` it is a function, tried on inputs that nobody has seen: ``cases(rng, own)`` gives
    lists of plain inputs, and ``right(*inputs)`` is what the function has to return. Without, it is
    a value, computed from the student's own data: ``right(own)``.

    ``mistakes`` are the common wrong answers: words for the student, what the mistake gives, and
    the share of the points that it is worth.

    Where there is more than one right answer, ``score(inputs, value, own)`` takes the place of
    ``right`` and ``mistakes``: it says what share of the points a value is worth, 0 to 1, and why.
    ``inputs`` is None for a value. The mark is the mean over the cases, the reason that of the
    worst. A student's value may be anything; :func:`finite` tells whether it is numbers.
    """

    name: str
    title: str
    points: float
    right: Callable[..., Numbers] = lambda *inputs: None
    cases: Callable[[np.random.Generator, Own], list[list[Any]]] | None = None
    mistakes: Mapping[str, tuple[Callable[..., Numbers], float]] = field(default_factory=dict)
    rtol: float = 1e-3
    atol: float = 1e-9
    score: Callable[[list[Any] | None, Any, Own], tuple[float, str]] | None = None


def finite(value: Any, *shape: int) -> np.ndarray | None:
    """``value`` as float64 of this shape (-1 for any length), or None if it is anything else."""
    try:
        array = np.asarray(value, dtype=float)
    except (TypeError, ValueError, OverflowError):
        return None
    fits = len(array.shape) == len(shape) and all(
        n in (-1, m) for n, m in zip(shape, array.shape, strict=True)
    )
    return array if fits and np.isfinite(array).all() else None


@dataclass(frozen=True)
class Written:
    """A question that a person marks: the answer stands under the heading ``Answer NAME``."""

    name: str
    title: str
    points: float
    rubric: Sequence[tuple[float, str]]  # points, and what they are given for


@dataclass(frozen=True)
class Assignment:
    """Questions, and each student's own data."""

    name: str
    title: str
    notebook: str  # the file in notebooks/assignments
    questions: Sequence[Question]
    written: Sequence[Written]
    own: Callable[[np.random.Generator], Own] = lambda rng: {}

    @property
    def points(self) -> float:
        """All of them."""
        by_program = sum(question.points for question in self.questions)
        return by_program + sum(part.points for part in self.written)
