"""Exercises of notebook 11: potentials, two readings, and charges from heads."""

from __future__ import annotations

import torch
from torch import Tensor

from mamlkit.course.checking import judge, judge_function
from mamlkit.course.exercises import uniform


def exercise_1(answer: object) -> str | None:
    """The potential of q = (2, 4) at (0, 1)."""
    r = (1.1**2 + 1) ** 0.5
    mistakes = {
        "That is a field's 1/r^2; a potential falls as 1/r.": 6 / r**2,
        "Both charges are at the distance sqrt(1.1^2 + 1^2), not 1.1.": 6 / 1.1,
        "Both charges add: 2/r + 4/r.": 2 / r,
        "The charges are both positive: add, do not subtract.": 2 / r - 4 / r,
    }
    return judge(answer, 6 / r, mistakes, "Add q / r over both charges, with r from Pythagoras.")


def exercise_2(answer: object) -> str | None:
    """The charges from readings 40.952 at (-1, 0) and 21.905 at (1, 0)."""
    mistakes = {
        "Those are the right numbers in the wrong order: A is on the left.": (2.0, 4.0),
        "You left out the far charge: at (-1, 0) it adds q2 / 2.1.": (4.0952, 2.1905),
    }
    otherwise = "Two equations: 40.952 = q1/0.1 + q2/2.1 and 21.905 = q1/2.1 + q2/0.1."
    return judge(answer, (4.0, 2.0), mistakes, otherwise, needs="two numbers, (q1, q2)")


def exercise_3(answer: object) -> str | None:
    """A function: heads [n, k], charges [n, 2], new heads [m, k] -> charges [m, 2]."""

    def read(heads: Tensor, charges: Tensor, new: Tensor) -> Tensor:
        return new @ torch.linalg.pinv(heads) @ charges

    bases = uniform(1, -1.0, 1.0, 2, 4), uniform(2, -1.0, 1.0, 2, 3)
    labelled = torch.tensor([[[1.2, 1.9], [1.8, 1.1]], [[1.5, 1.0], [1.1, 1.7]]]).double()
    fresh = uniform(3, 1.0, 2.0, 3, 2), uniform(4, 1.0, 2.0, 5, 2)
    two = [
        (q @ basis, q, new @ basis) for q, basis, new in zip(labelled, bases, fresh, strict=True)
    ]
    swapped = {"The columns are swapped: q1 first.": lambda h, q, new: read(h, q, new).flip(1)}
    otherwise = (
        "With two labelled tasks there are more weights than equations; the shortest solution, "
        "torch.linalg.pinv(heads) @ charges, is right, and a constant has no place in it."
    )
    needs = "one pair of charges a new head, [m, 2]"
    hint = judge_function(answer, read, two, swapped, otherwise, needs=needs)
    heads, new = uniform(5, -1.0, 1.0, 7, 3), uniform(6, -1.0, 1.0, 2, 3)
    many = [(heads, heads @ uniform(7, 1.0, 2.0, 3, 2), new)]
    if hint is None and judge_function(answer, read, many, {}, otherwise, needs=needs):
        return "Right for two labelled tasks, but not for seven, with more equations than weights."
    return hint
