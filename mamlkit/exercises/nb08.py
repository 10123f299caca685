"""Checkers of notebook 08: the map of a parameter, the width of a valley, who is trained."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mamlkit.exercises import close


def exercise_1(answer: object) -> str | None:
    """Slope of the bounded map of 0..15 rad/s at 3 rad/s."""
    if close(answer, 6.0):
        return None
    mistakes = {
        "That is the largest slope, at the middle; at 3 rad/s multiply by cos u.": 7.5,
        "That is sin u; the slope needs cos u, and half the width of the bounds.": -0.6,
        "That is cos u; multiply by half the width of the bounds, 7.5.": 0.8,
        "The map has half the width of the bounds before the sine, not all of it.": 12.0,
        "The derivative of the sine is the cosine: 7.5 cos u with sin u = -0.6.": -4.5,
        "That is u itself; the question is for the slope of omega in u.": math.asin(-0.6),
        "That is one over the slope: u per omega.": 1 / 6,
    }
    for hint, wrong in mistakes.items():
        if close(answer, wrong):
            return hint
    return "Find sin u from the map, then cos u; the slope is 7.5 cos u."


def exercise_2(answer: object) -> str | None:
    """Starts for 0..10 rad/s and 12 s."""
    if close(answer, 14, 1e-6):
        return None
    mistakes = {
        "Round up: 13 starts leave frequencies that no valley covers.": 13.0,
        "Give a whole number, rounded up.": 120 / (2 * 4.493),
        "A valley reaches 4.49/T to each side, so it is twice as wide.": 27.0,
        "That is for a reach of pi/T; formula (1) gives 4.49/T.": math.ceil(120 / (2 * math.pi)),
    }
    for hint, wrong in mistakes.items():
        if close(answer, wrong, 1e-3):
            return hint
    return "A valley is 2 * 4.493 / 12 rad/s wide; how many cover 10 rad/s?"


def exercise_3(answer: object) -> str | None:
    """A function: losses [starts], tau -> weights [starts]."""
    if not callable(answer):
        return "Give the function itself: mk.check('08.3', shares)."
    losses, tau = torch.tensor([0.3, 0.1, 0.15], dtype=torch.float64), 0.1
    given = answer(losses, tau)
    if not isinstance(given, Tensor) or given.shape != losses.shape:
        return "Return a tensor with one weight a start, [starts]."
    right = torch.softmax(-losses / tau, dim=0)
    if torch.allclose(given.double(), right, rtol=1e-6):
        large = answer(torch.tensor([1000.0, 1000.01], dtype=torch.float64), 0.01)
        expected = torch.softmax(torch.tensor([0.0, -1.0], dtype=torch.float64), dim=0)
        if isinstance(large, Tensor) and torch.allclose(large.double(), expected, rtol=1e-4):
            return None
        return "Right, but exp(-1000 / 0.01) is 0: subtract the smallest loss first."
    mistakes = {
        "The sign: a small support loss must weigh much.": torch.softmax(losses / tau, dim=0),
        "Divide by tau, do not multiply.": torch.softmax(-losses * tau, dim=0),
        "The weights must sum to 1: divide by their sum.": torch.exp(-losses / tau),
        "tau is missing.": torch.softmax(-losses, dim=0),
        "That takes the best alone; the weights are smooth.": (losses == losses.min()).double(),
    }
    for hint, wrong in mistakes.items():
        if torch.allclose(given.double(), wrong, rtol=1e-6):
            return hint
    return "Formula (2): exp(-losses / tau), divided by the sum over starts."
