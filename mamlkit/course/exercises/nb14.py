"""Exercises of notebook 14: a correlation, one step of Hebb's rule, a crossing."""

from __future__ import annotations

import torch
from torch import Tensor

from mamlkit.course.checking import judge_function
from mamlkit.course.exercises import uniform


def _spins(seed: int, *shape: int) -> Tensor:
    """Random signs, float64."""
    return uniform(seed, -1.0, 1.0, *shape).sign()


def exercise_1(answer: object) -> str | None:
    """A function: s [h, w], down, right -> C(r) on the torus, one number."""

    def correlation(s: Tensor, down: int, right: int) -> Tensor:
        return (s * s.roll((-down, -right), (0, 1))).mean()

    def cut(s: Tensor, down: int, right: int) -> Tensor:
        h, w = s.shape
        return (s[: h - down, : w - right] * s[down:, right:]).mean()

    cases = [(_spins(1, 6, 6), 1, 0), (_spins(2, 4, 8), 1, 2), (_spins(3, 8, 8), 2, 3)]
    mistakes = {
        "The lattice is a torus: the last row has the first one below it.": cut,
        "Divide by the number of sites.": lambda s, d, r: correlation(s, d, r) * s.numel(),
        "Down is the first axis, right the second.": lambda s, d, r: correlation(s, r, d),
        "Down and right at once: one shift by both.": (
            lambda s, d, r: (correlation(s, d, 0) + correlation(s, 0, r)) / 2
        ),
    }
    otherwise = "Multiply s by its shifted copy, s.roll((-down, -right), (0, 1)), and average."
    return judge_function(answer, correlation, cases, mistakes, otherwise)


def exercise_2(answer: object) -> str | None:
    """A function: s [n, N], y [n] of -1 and 1, alpha -> W [N, N] after one logistic step from 0."""

    def hebb(s: Tensor, y: Tensor, alpha: float) -> Tensor:
        n, sites = s.shape
        return alpha / (2 * n * sites) * torch.einsum("i,ij,ik->jk", y, s, s)

    cases = [
        (_spins(4, 5, 4), torch.tensor([1.0, -1.0, 1.0, 1.0, -1.0]).double(), 0.8),
        (_spins(5, 3, 3), torch.tensor([-1.0, 1.0, 1.0]).double(), 2.0),
    ]
    mistakes = {
        "At f = 0 the logistic loss has the slope 1/2, not 1.": lambda s, y, a: 2 * hebb(s, y, a),
        "The loss is a mean over snapshots: divide by n.": lambda s, y, a: len(s) * hebb(s, y, a),
        "f has a 1/N, and so has its gradient.": lambda s, y, a: s.shape[1] * hebb(s, y, a),
        "The sign: a step goes against the gradient.": lambda s, y, a: -hebb(s, y, a),
        "Disordered snapshots, y = -1, count too, with a minus sign.": (
            lambda s, y, a: hebb(s, (y + 1) / 2, a)
        ),
        "y is the sign of each snapshot; it must not drop out.": (
            lambda s, y, a: hebb(s, torch.ones_like(y), a)
        ),
    }
    otherwise = "W = alpha / (2 n N) times the sum over snapshots of y s s^T."
    return judge_function(answer, hebb, cases, mistakes, otherwise, needs="a matrix [N, N]")


def exercise_3(answer: object) -> str | None:
    """A function: temperatures t [n] and shares p [n] called disordered -> where p crosses 1/2."""

    def crossing(t: Tensor, p: Tensor) -> Tensor:
        k = int((p >= 0.5).nonzero()[0, 0])
        return t[k - 1] + (0.5 - p[k - 1]) / (p[k] - p[k - 1]) * (t[k] - t[k - 1])

    def at(t: Tensor, p: Tensor, shift: int) -> Tensor:
        return t[int((p >= 0.5).nonzero()[0, 0]) + shift]

    cases = [
        (torch.tensor([0.9, 1.0, 1.1, 1.2]).double(), torch.tensor([0.1, 0.2, 0.7, 0.9]).double()),
        (torch.tensor([1.9, 2.2, 2.4]).double(), torch.tensor([0.05, 0.4, 0.8]).double()),
    ]
    mistakes = {
        "That is the first temperature above the crossing: draw a straight line to it.": (
            lambda t, p: at(t, p, 0)
        ),
        "That is the last temperature below the crossing: go on along a straight line.": (
            lambda t, p: at(t, p, -1)
        ),
        "Not the middle of the two temperatures: p says how far to go.": (
            lambda t, p: (at(t, p, 0) + at(t, p, -1)) / 2
        ),
        "The line runs from the point below: (1/2 - p) over the rise of p.": (
            lambda t, p: at(t, p, -1) + at(t, p, 0) - crossing(t, p)
        ),
    }
    otherwise = "Find the first p above 1/2, and draw a straight line from the point before it."
    return judge_function(answer, crossing, cases, mistakes, otherwise)
