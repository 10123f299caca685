"""Checkers of notebook 11: potentials, two readings, and charges from heads."""

from __future__ import annotations

import torch
from torch import Tensor

from mamlkit.exercises import close


def exercise_1(answer: object) -> str | None:
    """The potential of q = (2, 4) at (0, 1)."""
    r = (1.1**2 + 1) ** 0.5
    mistakes = {
        "That is a field's 1/r^2; a potential falls as 1/r.": 6 / r**2,
        "Both charges are at the distance sqrt(1.1^2 + 1^2), not 1.1.": 6 / 1.1,
        "Both charges add: 2/r + 4/r.": 2 / r,
        "The charges are both positive: add, do not subtract.": 2 / r - 4 / r,
    }
    return _number(answer, 6 / r, mistakes)


def exercise_2(answer: object) -> str | None:
    """The charges from readings 40.952 at (-1, 0) and 21.905 at (1, 0)."""
    if not isinstance(answer, tuple | list | Tensor) or len(answer) != 2:
        return "Give two numbers, (q1, q2)."
    q1, q2 = (float(each) for each in answer)
    if close(q1, 4.0) and close(q2, 2.0):
        return None
    if close(q1, 2.0) and close(q2, 4.0):
        return "Those are the right numbers in the wrong order: A is on the left."
    if close(q1, 4.0952) and close(q2, 2.1905):
        return "You left out the far charge: at (-1, 0) it adds q2 / 2.1."
    return "Two equations: 40.952 = q1/0.1 + q2/2.1 and 21.905 = q1/2.1 + q2/0.1."


def exercise_3(answer: object) -> str | None:
    """A function: heads [n, k], charges [n, 2], new heads [m, k] -> charges [m, 2]."""
    if not callable(answer):
        return "Give the function itself: mk.check('11.3', read)."
    generator = torch.Generator().manual_seed(0)
    basis = torch.randn(2, 4, generator=generator, dtype=torch.float64)
    q = 1 + torch.rand(5, 2, generator=generator, dtype=torch.float64)
    fresh = 1 + torch.rand(3, 2, generator=generator, dtype=torch.float64)
    given = answer(q[:2] @ basis, q[:2], fresh @ basis)
    if not isinstance(given, Tensor) or given.shape != fresh.shape:
        return "Return a tensor [m, 2]: one pair of charges a new head."
    if torch.allclose(given.double(), fresh, rtol=1e-6):
        return None
    if torch.allclose(given.double(), fresh.flip(1), rtol=1e-6):
        return "The columns are swapped: q1 first."
    return (
        "With two labelled tasks there are more weights than equations; the shortest solution, "
        "torch.linalg.pinv(heads) @ charges, is right, and a constant has no place in it."
    )


def _number(answer: object, right: float, mistakes: dict[str, float]) -> str | None:
    if close(answer, right):
        return None
    for hint, wrong in mistakes.items():
        if close(answer, wrong):
            return hint
    return "Add q / r over both charges, with r from Pythagoras."
