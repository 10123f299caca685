"""Checkers of notebook 12: a steep front, a stiff loss, a residual, a break-even."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mamlkit import pde
from mamlkit.exercises import close


def exercise_1(answer: object) -> str | None:
    """Slope of -U tanh(U x / 2 nu) at x = 0, for U = 0.9 and nu = 0.005."""
    if close(answer, -81.0):
        return None
    mistakes = {
        "The sign: the wave comes from both sides, so u falls through x = 0.": 81.0,
        "tanh(s) has the slope 1 at 0, but the chain rule brings a second U.": -90.0,
        "The 2 of 2 nu is missing.": -162.0,
        "Divide by the viscosity: a thinner fluid has a steeper front.": -(0.9**2) * 0.005 / 2,
        "That is the width 2 nu / U; the slope is asked for.": 0.01 / 0.9,
    }
    for hint, wrong in mistakes.items():
        if close(answer, wrong):
            return hint
    return "Differentiate -U tanh(U x / (2 nu)) by x and put x = 0."


def exercise_2(answer: object) -> str | None:
    """Largest over smallest curvature of the residual loss, modes 1 to 5."""
    if close(answer, 625.0, 1e-6):
        return None
    mistakes = {
        "The loss holds the square of the residual: square the factor of each mode.": 25.0,
        "Second derivative: each mode has the factor (k pi)^2 before the square.": 5.0,
        "The power is even: (k pi)^2, squared.": 125.0,
        "The pi cancels in the ratio.": 625.0 * math.pi**4,
        "Largest over smallest, not the other way round.": 1 / 625,
        "Mode 5 over mode 1, not over the next one.": (5 / 4) ** 4,
    }
    for hint, wrong in mistakes.items():
        if close(answer, wrong, 1e-4):
            return hint
    return "The curvature of mode k is proportional to (k pi)^4."


def exercise_3(answer: object) -> str | None:
    """A function: predict, x [n, 3] -> the residual of the heat equation, [n, 1]."""
    if not callable(answer):
        return "Give the function itself: mk.check('12.3', heat)."
    x = torch.tensor([[0.3, 0.2, 0.05], [-0.7, 0.9, 0.01]], dtype=torch.float64)

    def trial(x: Tensor) -> Tensor:  # with u_x, u_t and u_xx all different
        return x[:, :1] ** 3 * x[:, 1:2] + 2 * x[:, 1:2] ** 2

    given = answer(trial, x)
    if not isinstance(given, Tensor) or given.shape != (2, 1):
        return "Return one residual a point, a tensor [n, 1]."
    place, t, nu = x[:, :1], x[:, 1:2], x[:, 2:]
    u_t, u_x, u_xx = place**3 + 4 * t, 3 * place**2 * t, 6 * place * t

    def same(wrong: Tensor) -> bool:
        return torch.allclose(given.detach().double(), wrong, rtol=1e-6)

    if same(u_t - nu * u_xx):
        return None
    mistakes = {
        "The sign: the residual is u_t minus nu u_xx.": u_t + nu * u_xx,
        "nu is missing; it is the third column of x.": u_t - u_xx,
        "That is Burgers' residual: heat has no term u u_x.": pde.burgers(trial, x),
        "Columns: x is number 0 and t is number 1.": u_x,
        "That is u_x in place of u_xx: take the slope of the slope.": u_t - nu * u_x,
        "The term nu u_xx is missing.": u_t,
    }
    for hint, wrong in mistakes.items():
        if same(wrong):
            return hint
    return "pde.slope(predict, x, 1)[1] is u_t; take the slope by column 0 twice for u_xx."


def exercise_4(answer: object) -> str | None:
    """A function: seconds of training, of a task from random, of one from the start -> tasks."""
    if not callable(answer):
        return "Give the function itself: mk.check('12.4', break_even)."
    cases = [(12.0, 3.0, 1.8), (30.0, 2.0, 0.5)]
    given = [float(answer(*case)) for case in cases]

    def same(rule: object) -> bool:
        assert callable(rule)
        return all(close(g, rule(*case)) for g, case in zip(given, cases, strict=True))

    mistakes = {
        "Divide by what one task saves, not by what it costs.": lambda a, r, s: a / s,
        "Divide by what one task saves: random minus learned start.": lambda a, r, s: a / r,
        "The other way round: training over saving.": lambda a, r, s: (r - s) / a,
        "What one task saves is the difference, not the ratio.": lambda a, r, s: a * s / r,
    }
    for hint, rule in mistakes.items():
        if same(rule):
            return hint
    if not same(lambda a, r, s: a / (r - s)):
        return "Training costs once; each task saves random minus learned start."
    try:
        never = [float(answer(12.0, 2.0, 2.0)), float(answer(12.0, 2.0, 3.0))]
    except ZeroDivisionError:
        return "Right, but when nothing is saved the answer is infinity, not an error."
    if never != [math.inf, math.inf]:
        return "Right where something is saved; where nothing is, or less, give infinity."
    return None
