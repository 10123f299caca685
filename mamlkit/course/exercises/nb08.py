"""Exercises of notebook 08: the map of a parameter, the width of a valley, who is trained."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mamlkit.course.checking import judge, judge_function, numbers
from mamlkit.course.exercises import uniform


def exercise_1(answer: object) -> str | None:
    """Slope of the bounded map of 0..15 rad/s at 3 rad/s."""
    mistakes = {
        "That is the largest slope, at the middle; at 3 rad/s multiply by cos u.": 7.5,
        "That is sin u; the slope needs cos u, and half the width of the bounds.": -0.6,
        "That is cos u; multiply by half the width of the bounds, 7.5.": 0.8,
        "The map has half the width of the bounds before the sine, not all of it.": 12.0,
        "The derivative of the sine is the cosine: 7.5 cos u with sin u = -0.6.": -4.5,
        "That is u itself; the question is for the slope of omega in u.": math.asin(-0.6),
        "That is one over the slope: u per omega.": 1 / 6,
    }
    otherwise = "Find sin u from the map, then cos u; the slope is 7.5 cos u."
    return judge(answer, 6.0, mistakes, otherwise)


def exercise_2(answer: object) -> str | None:
    """Starts for 0..10 rad/s and 12 s."""
    mistakes = {
        "Round up: 13 starts leave frequencies that no valley covers.": 13.0,
        "Give a whole number, rounded up.": 120 / (2 * 4.493),
        "A valley reaches 4.49/T to each side, so it is twice as wide.": 27.0,
        "That is for a reach of pi/T; formula (1) gives 4.49/T.": math.ceil(120 / (2 * math.pi)),
    }
    otherwise = "A valley is 2 * 4.493 / 12 rad/s wide; how many cover 10 rad/s?"
    hint = judge(answer, 14, mistakes, otherwise)
    if hint is None and float(numbers(answer)) != 14:
        return "Give a whole number."
    return hint


def exercise_3(answer: object) -> str | None:
    """A function: losses [starts], tau -> weights [starts]."""

    def shares(losses: Tensor, tau: float) -> Tensor:
        return torch.softmax(-losses / tau, dim=0)

    cases = [
        (torch.tensor([0.3, 0.1, 0.15], dtype=torch.float64), 0.1),
        (uniform(1, 0.0, 1.0, 5), 0.4),
    ]
    mistakes = {
        "The sign: a small support loss must weigh much.": lambda x, tau: torch.softmax(x / tau, 0),
        "Divide by tau, do not multiply.": lambda x, tau: torch.softmax(-x * tau, 0),
        "The weights must sum to 1: divide by their sum.": lambda x, tau: torch.exp(-x / tau),
        "tau is missing.": lambda x, tau: torch.softmax(-x, 0),
        "That takes the best alone; the weights are smooth.": lambda x, tau: (
            x == x.min()
        ).double(),
    }
    otherwise = "Formula (2): exp(-losses / tau), divided by the sum over starts."
    needs = "one weight a start, [starts]"
    hint = judge_function(answer, shares, cases, mistakes, otherwise, needs=needs)
    # Powers of two, so that nothing is lost in float32 either.
    large = [(torch.tensor([1000.0, 1000 + 1 / 64], dtype=torch.float64), 1 / 128)]
    if hint is None and judge_function(answer, shares, large, {}, otherwise) is not None:
        return "Right, but exp(-1000 / 0.01) is 0: subtract the smallest loss first."
    return hint
