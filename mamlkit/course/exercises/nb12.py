"""Exercises of notebook 12: a steep front, a stiff loss, a residual, a break-even."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from mamlkit.course.checking import (
    Told,
    as_function,
    ask,
    judge,
    judge_function,
)
from mamlkit.course.exercises import uniform
from mamlkit.physics import pde

Predict = Callable[[Tensor], Tensor]


def exercise_1(answer: object) -> str | None:
    """Slope of -U tanh(U x / 2 nu) at x = 0, for U = 0.9 and nu = 0.005."""
    mistakes = {
        "The sign: the wave comes from both sides, so u falls through x = 0.": 81.0,
        "tanh(s) has the slope 1 at 0, but the chain rule brings a second U.": -90.0,
        "The 2 of 2 nu is missing.": -162.0,
        "Divide by the viscosity: a thinner fluid has a steeper front.": -(0.9**2) * 0.005 / 2,
        "That is the width 2 nu / U; the slope is asked for.": 0.01 / 0.9,
    }
    return judge(answer, -81.0, mistakes, "Differentiate -U tanh(U x / (2 nu)) by x and put x = 0.")


def exercise_2(answer: object) -> str | None:
    """Largest over smallest curvature of the residual loss, modes 1 to 5."""
    mistakes = {
        "The loss holds the square of the residual: square the factor of each mode.": 25.0,
        "Second derivative: each mode has the factor (k pi)^2 before the square.": 5.0,
        "The power is even: (k pi)^2, squared.": 125.0,
        "The pi cancels in the ratio.": 625.0 * math.pi**4,
        "Largest over smallest, not the other way round.": 1 / 625,
        "Mode 5 over mode 1, not over the next one.": (5 / 4) ** 4,
    }
    return judge(answer, 625.0, mistakes, "The curvature of mode k is proportional to (k pi)^4.")


def exercise_3(answer: object) -> str | None:
    """A function: predict, x [n, 3] -> the residual of the heat equation, [n, 1]."""

    def parts(predict: Predict, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """nu, u_t, u_x and u_xx, [n, 1] each."""
        u_x, u_xx = pde.slope(lambda x: pde.slope(predict, x, 0)[1], x, 0)
        return x[:, 2:], pde.slope(predict, x, 1)[1], u_x, u_xx

    def residual(rule: Callable[..., Tensor]) -> Callable[[Predict, Tensor], Tensor]:
        return lambda predict, x: rule(*parts(predict, x))

    def heat(predict: Predict, x: Tensor) -> Tensor:
        return residual(lambda nu, u_t, u_x, u_xx: u_t - nu * u_xx)(predict, x)

    def cubic(x: Tensor) -> Tensor:  # u_x, u_t and u_xx all differ
        return x[:, :1] ** 3 * x[:, 1:2] + 2 * x[:, 1:2] ** 2

    def wave(x: Tensor) -> Tensor:
        return torch.sin(2 * x[:, :1]) * torch.exp(-x[:, 1:2])

    mistakes = {
        "The sign: the residual is u_t minus nu u_xx.": residual(
            lambda nu, u_t, u_x, u_xx: u_t + nu * u_xx
        ),
        "nu is missing; it is the third column of x.": residual(
            lambda nu, u_t, u_x, u_xx: u_t - u_xx
        ),
        "That is Burgers' residual: heat has no term u u_x.": pde.burgers,
        "Columns: x is number 0 and t is number 1.": residual(lambda nu, u_t, u_x, u_xx: u_x),
        "That is u_x in place of u_xx: take the slope of the slope.": residual(
            lambda nu, u_t, u_x, u_xx: u_t - nu * u_x
        ),
        "The term nu u_xx is missing.": residual(lambda nu, u_t, u_x, u_xx: u_t),
    }
    cases = [(cubic, uniform(1, 0.1, 0.9, 2, 3)), (wave, uniform(2, 0.1, 0.9, 5, 3))]
    otherwise = "pde.slope(predict, x, 1)[1] is u_t; take the slope by column 0 twice for u_xx."
    needs = "one residual a point, a tensor [n, 1]"
    return judge_function(answer, heat, cases, mistakes, otherwise, needs=needs)


def exercise_4(answer: object) -> str | None:
    """A function: seconds of training, of a task from random, of one from the start -> tasks."""

    def break_even(training: float, random: float, learned: float) -> float:
        return training / (random - learned)

    mistakes = {
        "Divide by what one task saves, not by what it costs.": lambda t, r, s: t / s,
        "Divide by what one task saves: random minus learned start.": lambda t, r, s: t / r,
        "The other way round: training over saving.": lambda t, r, s: (r - s) / t,
        "What one task saves is the difference, not the ratio.": lambda t, r, s: t * s / r,
    }
    cases = [(12.0, 3.0, 1.8), (30.0, 2.0, 0.5), (7.0, 4.0, 3.5)]
    otherwise = "Training costs once; each task saves random minus learned start."
    hint = judge_function(answer, break_even, cases, mistakes, otherwise)
    if hint is not None:
        return hint
    for learned in (2.0, 3.0):
        case = {"training": 12.0, "random": 2.0, "learned": learned}
        try:
            never = ask(as_function(answer, "break_even"), case)
        except Told:
            return "Right, but when nothing is saved the answer is infinity, not an error."
        if never != math.inf:
            return "Right where something is saved; where nothing is, or less, give infinity."
    return None
