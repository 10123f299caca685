"""Exercises of notebook 10: energy, drift and the readable latent."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mamlkit.course.checking import judge, judge_function
from mamlkit.course.exercises import uniform


def exercise_1(answer: object) -> str | None:
    """Energy above the bottom of a 2 m pendulum released at 1 rad, 1/s^2."""
    w, swing = 9.81 / 2, 1 - math.cos(1.0)
    mistakes = {
        "That is E itself, -(g/l) cos q; above the bottom is E + g/l.": -w * math.cos(1.0),
        "That is the height in units of the length; times g/l.": swing,
        "That is g/l; times 1 - cos q.": w,
        "That is with l in place of 1/l: the energy falls with the length.": 9.81 * 2 * swing,
        "q is in rad, not in degrees.": w * (1 - math.cos(math.radians(1.0))),
        "That is the small-angle energy (g/l) q^2 / 2; here 1 - cos q, please.": w / 2,
    }
    otherwise = "E - E(bottom) = (g/l)(1 - cos q), with g = 9.81 and l = 2."
    return judge(answer, w * swing, mistakes, otherwise)


def exercise_2(answer: object) -> str | None:
    """A function: y [T, 2], g_over_l -> largest energy change over the energy of the swing."""

    def change(y: Tensor, w: float) -> tuple[Tensor, Tensor]:
        """The change of the energy against the start, [T], and the energy of the swing."""
        energy = y[:, 1] ** 2 / 2 - w * torch.cos(y[:, 0])
        return energy - energy[0], energy[0] + w

    def my_drift(y: Tensor, g_over_l: float) -> Tensor:
        changed, swing = change(y, g_over_l)
        return changed.abs().max() / swing

    mistakes = {
        "Divide by the energy of the swing, E(0) + g/l.": lambda y, w: change(y, w)[0].abs().max(),
        "You divided by E(0); its zero is arbitrary. Divide by E(0) + g/l.": lambda y, w: (
            change(y, w)[0].abs().max() / (change(y, w)[1] - w).abs()
        ),
        "That is the change at the end; take the largest on the way.": lambda y, w: (
            change(y, w)[0][-1].abs() / change(y, w)[1]
        ),
        "An energy can be lost: take the absolute change.": lambda y, w: (
            change(y, w)[0].max() / change(y, w)[1]
        ),
        "That is the mean change; take the largest.": lambda y, w: (
            change(y, w)[0].abs().mean() / change(y, w)[1]
        ),
        "The change is against the start, not from the lowest to the highest energy.": (
            lambda y, w: (change(y, w)[0].max() - change(y, w)[0].min()) / change(y, w)[1]
        ),
    }
    # Forecasts that both lose and gain energy: the first loses more, the second gains more.
    cases = []
    for seed, start, w in ((1, (1.1, 1.1), 4.0), (2, (0.5, 0.4), 2.5)):
        y = uniform(seed, -1.3, 1.3, 31, 2)
        y[0] = torch.tensor(start)
        cases.append((y, w))
    otherwise = "max |E(t) - E(0)| / (E(0) + g/l)."
    needs = "one number, the largest over the forecast"
    return judge_function(answer, my_drift, cases, mistakes, otherwise, needs=needs)


def exercise_3(answer: object) -> str | None:
    """A function: c [n], value [n], c_new [m] -> values [m] by a straight line."""

    def slope(c: Tensor, value: Tensor) -> Tensor:
        return ((c - c.mean()) * (value - value.mean())).sum() / (c - c.mean()).square().sum()

    def read(c: Tensor, value: Tensor, c_new: Tensor) -> Tensor:
        return value.mean() + slope(c, value) * (c_new - c.mean())

    cases = [
        (uniform(n, -1.0, 1.0, n), uniform(n + 9, 1.0, 10.0, n), uniform(m, -1.0, 2.0, m))
        for n, m in ((4, 3), (6, 1), (5, 8))
    ]
    mistakes = {
        "The line does not pass through the origin: a context of zero means nothing special.": (
            lambda c, value, new: (c * value).sum() / (c * c).sum() * new
        ),
        "You regressed the latent on the value and turned it round; regress the value.": (
            lambda c, value, new: value.mean() + (new - c.mean()) / slope(value, c)
        ),
    }
    otherwise = "value = a + b c by least squares on the labelled pairs, then at c_new."
    needs = "one value for each new latent, [m]"
    return judge_function(answer, read, cases, mistakes, otherwise, needs=needs)
