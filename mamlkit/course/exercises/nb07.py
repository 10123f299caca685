"""Exercises of notebook 07: intervals, coverage and the worth of a measurement."""

from __future__ import annotations

import torch
from torch import Tensor

from mamlkit.course.checking import (
    judge,
    judge_function,
    numbers,
    outputs,
)
from mamlkit.course.exercises import uniform


def exercise_1(answer: object) -> str | None:
    """Standard deviation of k after one reading at x = 0.9 with noise 0.3; before, 0.5."""
    prior, x, noise = 0.5, 0.9, 0.3
    precision = 1 / prior**2 + x**2 / noise**2
    mistakes = {
        "That is the variance; the standard deviation is its root.": 1 / precision,
        "That is the precision, 1/S; the standard deviation is one over its root.": precision,
        "You left out the prior: that is what the reading alone would tell.": noise / x,
        "That is the prior; the reading adds x^2 / noise^2 to its precision.": prior,
        "The force at x carries k times x: the reading adds x^2 / noise^2, not 1 / noise^2.": (
            (1 / prior**2 + 1 / noise**2) ** -0.5
        ),
        "The x is squared: the reading adds x^2 / noise^2.": (1 / prior**2 + x / noise**2) ** -0.5,
        "The noise is a standard deviation; square it.": (1 / prior**2 + x**2 / noise) ** -0.5,
        "The prior's 0.5 is a standard deviation; square it.": (
            (1 / prior + x**2 / noise**2) ** -0.5
        ),
        "Precisions add, not variances: knowing more cannot make you less sure.": (
            (prior**2 + (noise / x) ** 2) ** 0.5
        ),
    }
    otherwise = "Formula (1): 1/S = 1/0.5^2 + x^2/noise^2; give the root."
    return judge(answer, precision**-0.5, mistakes, otherwise)


def exercise_2(answer: object) -> str | None:
    """The central 90 % interval of a reading: law -1.20 with 0.03, noise 0.04."""
    needs = "two numbers, (low, high)"
    low, high = numbers(answer, (2,), needs).tolist()
    if low > high:
        return "The lower end comes first: (low, high)."
    if abs((low + high) / 2 + 1.20) > 0.002:
        return "The interval lies evenly about the mean, -1.20."
    law, noise = 0.03, 0.04
    sigma = (law**2 + noise**2) ** 0.5
    mistakes = {
        "1.96 belongs to 95 %; for 90 % it is 1.645.": 1.96 * sigma,
        "1.28 leaves 10 % on each side, so 80 % between; for 90 % it is 1.645.": 1.2816 * sigma,
        "That is one standard deviation, 68 %; for 90 % take 1.645 of them.": sigma,
        "That is the interval of the law; a reading has its own noise besides.": 1.645 * law,
        "That is the noise alone; the law is not known exactly either.": 1.645 * noise,
        "Variances add, standard deviations do not: 0.03^2 + 0.04^2.": 1.645 * (law + noise),
        "You used the variance as the standard deviation: take its root.": 1.645 * sigma**2,
        "The whole width is right, but it goes half to each side.": 1.645 * sigma / 2,
        "Two standard deviations are 95 %; for 90 % it is 1.645.": 2 * sigma,
    }
    otherwise = (
        "Reach 1.645 standard deviations of a reading to each side; its variance is the law's plus "
        "the noise's."
    )
    # Compared by its ends, so that ends that are rounded to two places pass.
    ends = {hint: (-1.20 - reach, -1.20 + reach) for hint, reach in mistakes.items()}
    right = (-1.20 - 1.645 * sigma, -1.20 + 1.645 * sigma)
    return judge(answer, right, ends, otherwise, tolerance=0.002, needs=needs)


def exercise_3(answer: object) -> str | None:
    """A function: inside [n_tasks, m] -> coverage and its 95 % half width over tasks."""

    def coverage(inside: Tensor) -> tuple[float, float]:
        each = inside.double().mean(1)
        return float(each.mean()), 1.96 * float(each.std()) / len(each) ** 0.5

    draws = [
        uniform(n, 0.0, 1.0, n, m) < uniform(n + 1, 0.5, 1.0, n, 1) for n, m in ((30, 50), (45, 20))
    ]
    cases = [(inside,) for inside in draws]
    needs = "two numbers, one coverage over all tasks and its half width"
    means, halves = torch.stack(outputs(answer, coverage, cases, needs)).T
    values = [inside.double() for inside in draws]
    mean = torch.stack([v.mean() for v in values])
    mistakes: dict[str, Tensor] = {
        "As a fraction between 0 and 1, please, not in percent.": 100 * mean,
        "You count curves that lie inside as a whole; take the mean share inside.": torch.stack(
            [(v.mean(1) == 1).double().mean() for v in values]
        ),
    }
    otherwise = "The coverage is the mean of inside, over points and tasks."
    hint = judge(means, mean, mistakes, otherwise, tolerance=1e-4)
    return hint or _half_width(halves, values)


def _half_width(given: Tensor, values: list[Tensor]) -> str | None:
    """The half widths for ``values [n_tasks, m]`` in several cases."""
    tasks = torch.tensor([float(len(v)) for v in values], dtype=torch.float64)
    points = torch.tensor([float(v.numel()) for v in values], dtype=torch.float64)
    single = torch.stack([v.mean(1).std() for v in values])  # scatter of tasks
    all_points = torch.stack([v.std() for v in values])
    error = single / tasks**0.5
    mistakes = {
        "You counted points as if they were independent; a task is one draw: take the mean of each "
        "task first.": 1.96 * all_points / points**0.5,
        "You divide by the root of all points; the number of draws is that of tasks.": (
            1.96 * single / points**0.5
        ),
        "That takes each task to be inside or outside as a whole; take the mean of each task "
        "first, and the scatter of these.": 1.96 * all_points / tasks**0.5,
        "That is the scatter of single tasks; that of their mean is smaller by the root of their "
        "number.": 1.96 * single,
        "That is the standard deviation over tasks; divide by the root of their number, and take "
        "1.96 of it.": single,
        "That is one standard error; a 95 % half width is 1.96 of them.": error,
        "1.645 belongs to 90 %; for 95 % it is 1.96.": 1.645 * error,
        "That is the whole width; give half of it.": 2 * 1.96 * error,
        "You used the variance; take its root.": 1.96 * single * error,
    }
    otherwise = (
        "The coverage is right; the half width is 1.96 standard errors of the mean over tasks."
    )
    # From 1.96 with n to Student's 2.045 with n - 1: all within 4.5 % of 2.
    return judge(given, 2.0 * error, mistakes, otherwise, tolerance=0.045)


def exercise_4(answer: object) -> str | None:
    """A function: cov [m, m], noise -> mean reduction of the variance, [m]."""

    def gain(cov: Tensor, noise: float) -> Tensor:
        return (cov**2 / (cov.diagonal() + noise**2)).mean(0)

    roots = uniform(1, -1.0, 1.0, 4, 3), uniform(2, -1.0, 1.5, 3, 4)
    cases = [(roots[0] @ roots[0].T, 0.4), (roots[1] @ roots[1].T, 0.7)]
    mistakes = {
        "The noise is missing: a reading has the variance cov(c, c) + noise^2.": lambda cov, s: (
            gain(cov, 0.0)
        ),
        "The noise is a standard deviation; add its square.": lambda cov, s: gain(cov, s**0.5),
        "The covariance in the numerator is squared.": lambda cov, s: (
            cov / (cov.diagonal() + s**2)
        ).mean(0),
        "You averaged over the candidates c; average over the places j.": lambda cov, s: (
            cov**2 / (cov.diagonal() + s**2)
        ).mean(1),
        "That is the sum over places; take the mean.": lambda cov, s: len(cov) * gain(cov, s),
        "That is the gain at the candidate itself; take the mean over all places.": lambda cov, s: (
            cov.diagonal() ** 2 / (cov.diagonal() + s**2)
        ),
        "That is the variance: where you are least sure, not what you learn there.": (
            lambda cov, s: cov.diagonal()
        ),
        "That is the variance that is left; the gain is what goes away.": lambda cov, s: (
            cov.diagonal().mean() - gain(cov, s)
        ),
    }
    otherwise = "Formula (3): the mean over j of cov(j, c)^2 / (cov(c, c) + noise^2)."
    needs = "the gain of every candidate, one number each, [m]"
    return judge_function(answer, gain, cases, mistakes, otherwise, needs=needs)
