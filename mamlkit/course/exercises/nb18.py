"""Exercises of notebook 18: power laws, shrunk offsets, the price of halving, regret."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from mamlkit.course.checking import judge_function
from mamlkit.course.exercises import uniform


def exercise_1(answer: object) -> str | None:
    """A function: losses at t, 2t and 4t -> where a + b t^-c ends."""

    def end(l1: float, l2: float, l4: float) -> float:
        return (l1 * l4 - l2**2) / (l1 + l4 - 2 * l2)

    mistakes: dict[str, Callable[[float, float, float], float]] = {
        "That is b t^-c at the last point, which is still to be lost; subtract it from l4.": (
            lambda l1, l2, l4: l4 - end(l1, l2, l4)
        ),
        "Falls add up as a geometric series: the next is not as large as the last.": (
            lambda l1, l2, l4: 2 * l4 - l2
        ),
        "That is the loss at 8t; all later falls are to be added up.": (
            lambda l1, l2, l4: l4 - (l2 - l4) ** 2 / (l1 - l2)
        ),
        "The sign of the denominator: l1 + l4 - 2 l2.": lambda l1, l2, l4: -end(l1, l2, l4),
        "That is the ratio of the falls, 2^-c.": lambda l1, l2, l4: (l2 - l4) / (l1 - l2),
    }
    otherwise = (
        "Each fall is q = (l2 - l4) / (l1 - l2) times the one before; the falls to come add up to "
        "(l2 - l4) q / (1 - q)."
    )
    cases = [(1.0, 0.6, 0.4), (3.0, 2.0, 1.2), (0.9, 0.5, 0.35)]
    return judge_function(answer, end, cases, mistakes, otherwise)


def exercise_2(answer: object) -> str | None:
    """A function: residuals [K], sigma, tau -> the offset of a problem."""

    def offset(residuals: Tensor, sigma: float, tau: float) -> Tensor:
        return residuals.sum() / (len(residuals) + sigma**2 / tau**2)

    mistakes: dict[str, Callable[[Tensor, float, float], Tensor]] = {
        "That is their mean, which trusts one run as much as a hundred.": lambda r, s, t: r.mean(),
        "sigma and tau change places: a small tau, problems all alike, must shrink more.": (
            lambda r, s, t: offset(r, t, s)
        ),
        "Variances count, not standard deviations.": lambda r, s, t: r.sum() / (len(r) + s / t),
        "It shrinks with K: kappa = sigma^2 / tau^2 is added to K.": (
            lambda r, s, t: r.mean() / (1 + s**2 / t**2)
        ),
        "kappa is sigma^2 / tau^2, without a K of its own.": (
            lambda r, s, t: r.sum() / (len(r) + s**2 / t**2 / len(r))
        ),
    }
    otherwise = "The sum of the residuals over K + sigma^2 / tau^2."
    cases = [
        (uniform(1, -0.2, 0.6, 3), 0.4, 0.2),
        (uniform(2, -0.5, 0.3, 6), 0.3, 0.5),
        (uniform(3, 0.0, 1.0, 1), 0.5, 0.25),
    ]
    return judge_function(answer, offset, cases, mistakes, otherwise)


def exercise_3(answer: object) -> str | None:
    """A function: runs, steps, rungs {step: kept} -> share of all steps that are taken."""

    def compute(runs: int, steps: int, rungs: dict[int, int]) -> float:
        taken, alive, done = 0, runs, 0
        for step, keep in [*rungs.items(), (steps, 0)]:
            taken += alive * (step - done)
            alive, done = keep, step
        return taken / (runs * steps)

    def anew(runs: int, steps: int, rungs: dict[int, int]) -> float:
        taken, alive = 0, runs
        for step, keep in [*rungs.items(), (steps, 0)]:
            taken += alive * step
            alive = keep
        return taken / (runs * steps)

    def unfinished(runs: int, steps: int, rungs: dict[int, int]) -> float:
        last = max(rungs)
        return compute(runs, steps, rungs) - rungs[last] * (steps - last) / (runs * steps)

    def early(runs: int, steps: int, rungs: dict[int, int]) -> float:
        taken, done = 0, 0
        for step, keep in rungs.items():
            taken, done = taken + keep * (step - done), step
        return (taken + rungs[done] * (steps - done)) / (runs * steps)

    mistakes: dict[str, Callable[[int, int, dict[int, int]], float]] = {
        "A run goes on from where it stopped; it does not begin anew.": anew,
        "The last ones go on to the end, and that costs too.": unfinished,
        "Up to a rung those are trained that were alive before it.": early,
        "Give the share: divide by runs times steps.": lambda n, s, r: compute(n, s, r) * n * s,
        "That is the share that is saved.": lambda n, s, r: 1 - compute(n, s, r),
    }
    otherwise = "Between two rungs: the runs alive times the steps between; add up, and divide."
    cases = [(16, 300, {30: 8, 60: 4, 120: 2}), (9, 100, {10: 3}), (8, 200, {20: 6, 50: 1})]
    return judge_function(answer, compute, cases, mistakes, otherwise)


def exercise_4(answer: object) -> str | None:
    """A function: score [n, runs], final [n, runs], m -> mean regret of going on with m runs."""

    def regret(score: Tensor, final: Tensor, m: int) -> Tensor:
        return (chosen(score, final, m).min(1).values - final.min(1).values).mean()

    def chosen(score: Tensor, final: Tensor, m: int) -> Tensor:
        return final.gather(1, score.argsort(1)[:, :m])

    mistakes: dict[str, Callable[[Tensor, Tensor, int], Tensor]] = {
        "You end with the best of the m runs, not with their mean.": lambda s, f, m: (
            chosen(s, f, m).mean(1) - f.min(1).values
        ).mean(),
        "A low score is a good one: that goes on with the worst runs.": (
            lambda s, f, m: regret(-s, f, m)
        ),
        "Subtract the best of all runs of the same problem.": (
            lambda s, f, m: chosen(s, f, m).min(1).values.mean()
        ),
        "Of each problem its own best, then the mean: not the best of all problems.": (
            lambda s, f, m: chosen(s, f, m).min(1).values.mean() - f.min()
        ),
        "Runs are chosen by their score; their final values are not known yet.": (
            lambda s, f, m: (torch.zeros_like(f[:, 0])).mean()
        ),
        "m runs go on, not one.": lambda s, f, m: regret(s, f, 1),
    }
    cases = [
        (uniform(1, -1.0, 1.0, 5, 8), uniform(2, -2.0, 0.0, 5, 8), 2),
        (uniform(3, -1.0, 1.0, 4, 6), uniform(4, -3.0, 0.0, 4, 6), 3),
    ]
    otherwise = (
        "Of each problem: the least final value of the m runs with the lowest scores, minus the "
        "least of all; then the mean over problems."
    )
    return judge_function(answer, regret, cases, mistakes, otherwise)
