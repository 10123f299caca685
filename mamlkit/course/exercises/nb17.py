"""Exercises of notebook 17: winding up, the return to the prior, the alarm."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mamlkit.course.checking import judge, judge_function
from mamlkit.course.exercises import uniform


def exercise_1(answer: object) -> str | None:
    """How much a variance grows in 60 ticks without a reading, forgetting by 0.95 a tick."""
    right = 0.95**-60
    mistakes = {
        "That is how much weight an old reading has left. Its inverse is asked for.": 0.95**60,
        "That is for the square of rho; the variance itself is divided by rho at each tick.": (
            0.95**-120
        ),
        "That is the number of readings that a memory of rho holds in the long run; without a "
        "reading there is no such limit.": 20.0,
        "It grows by a factor at each tick, not by a summand.": 1 + 60 * (1 / 0.95 - 1),
        "That is the growth of the standard deviation.": 0.95**-30,
    }
    otherwise = "Each tick divides the variance by 0.95, and nothing makes it smaller."
    return judge(answer, right, mistakes, otherwise)


def exercise_2(answer: object) -> str | None:
    """rho for which two draws of a system 20 ticks apart are correlated by one half."""
    mistakes = {
        "That is a half-life of about 14 ticks: rho^20 must be 1/2, not 1/e.": math.exp(-1 / 20),
        "Two digits are right, but three were asked for: near 1 they matter.": 0.97,
        "rho^20 must be 1/2; 1 - 1/20 is near, but gives 0.36.": 0.95,
        "That is 1/2 to the power 20; you want the 20th root.": 0.5**20,
        "For variances it would be rho^40; the correlation itself is rho^20.": 0.5 ** (1 / 40),
    }
    otherwise = "The correlation k ticks apart is rho^k. Solve rho^20 = 1/2."
    # Near 1 what counts is how far from 1 an answer is.
    return judge(answer, 0.5 ** (1 / 20), mistakes, otherwise, tolerance=0.001)


def exercise_3(answer: object) -> str | None:
    """A function: P [p, p] after a reading, P0 [p, p], rho, ticks k -> P k ticks later."""

    def later(P: Tensor, P0: Tensor, rho: float, k: int) -> Tensor:
        return rho ** (2 * k) * P + (1 - rho ** (2 * k)) * P0

    def unsquared(P: Tensor, P0: Tensor, rho: float, k: int) -> Tensor:
        return rho**k * P + (1 - rho**k) * P0

    def one(P: Tensor, P0: Tensor, rho: float, k: int) -> Tensor:
        return later(P, P0, rho, 1)

    def without(P: Tensor, P0: Tensor, rho: float, k: int) -> Tensor:
        return rho ** (2 * k) * P

    def summed(P: Tensor, P0: Tensor, rho: float, k: int) -> Tensor:
        return rho ** (2 * k) * P + k * (1 - rho**2) * P0

    cases = []
    for seed, rho, k in ((1, 0.9, 3), (5, 0.7, 5)):
        a, b = uniform(seed, -1.0, 1.0, 3, 3), uniform(seed + 1, -1.0, 1.0, 3, 3)
        cases.append((a @ a.T, b @ b.T + torch.eye(3).to(a), rho, k))
    mistakes = {
        "A variance goes with the square: rho^2 a tick.": unsquared,
        "That is one tick later; it is asked for k of them.": one,
        "What comes in is missing: without it the belief would become sure of the mean.": without,
        "The noise of earlier ticks shrinks as well: (1 - rho^2)(1 + rho^2 + ..) P0.": summed,
    }
    otherwise = "Apply P <- rho^2 P + (1 - rho^2) P0, k times, or sum the geometric series."
    return judge_function(
        answer, later, cases, mistakes, otherwise, needs="a matrix of numbers, [p, p]"
    )


def exercise_4(answer: object) -> str | None:
    """A function: readings y [n], means [n], variances of the law [n], noise -> chi squared."""

    def surprise(y: Tensor, mean: Tensor, variance: Tensor, noise: float) -> Tensor:
        return ((y - mean) ** 2 / (variance + noise**2)).sum()

    def of_law(y: Tensor, mean: Tensor, variance: Tensor, noise: float) -> Tensor:
        return ((y - mean) ** 2 / variance).sum()

    def of_noise(y: Tensor, mean: Tensor, variance: Tensor, noise: float) -> Tensor:
        return ((y - mean) ** 2 / noise**2).sum()

    def unsquared(y: Tensor, mean: Tensor, variance: Tensor, noise: float) -> Tensor:
        return ((y - mean) ** 2 / (variance + noise)).sum()

    def averaged(y: Tensor, mean: Tensor, variance: Tensor, noise: float) -> Tensor:
        return surprise(y, mean, variance, noise) / len(y)

    def whole(y: Tensor, mean: Tensor, variance: Tensor, noise: float) -> Tensor:
        return (y - mean).sum() ** 2 / (variance + noise**2).sum()

    cases = [
        (uniform(s, 0.0, 1.0, n), uniform(s + 1, 0.0, 1.0, n), uniform(s + 2, 0.01, 0.2, n), noise)
        for s, n, noise in ((1, 5, 0.3), (7, 8, 0.2))
    ]
    mistakes = {
        "A reading has its noise besides the variance of the law.": of_law,
        "The law is not known exactly: its variance adds to that of the noise.": of_noise,
        "noise is a standard deviation; square it.": unsquared,
        "Chi squared is the sum, not the mean.": averaged,
        "Square each innovation by itself, then add up.": whole,
    }
    otherwise = "The sum over readings of (y - mean)^2 / (variance + noise^2)."
    return judge_function(answer, surprise, cases, mistakes, otherwise)
