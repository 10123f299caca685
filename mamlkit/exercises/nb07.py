"""Checkers of notebook 07: intervals, coverage and the worth of a measurement."""

from __future__ import annotations

import torch
from torch import Tensor

from mamlkit.exercises import close


def exercise_1(answer: object) -> str | None:
    """Standard deviation of k after one reading at x = 0.9 with noise 0.3; before, 0.5."""
    prior, x, noise = 0.5, 0.9, 0.3
    precision = 1 / prior**2 + x**2 / noise**2
    if close(answer, precision**-0.5):
        return None
    mistakes = {
        "That is the variance; the standard deviation is its root.": 1 / precision,
        "That is the precision, 1/S; the standard deviation is one over its root.": precision,
        "You left out the prior: that is what the reading alone would tell.": noise / x,
        "That is the prior; the reading adds x^2 / noise^2 to its precision.": prior,
        "The force at x carries k times x: the reading adds x^2 / noise^2, not 1 / noise^2.": (
            1 / prior**2 + 1 / noise**2
        )
        ** -0.5,
        "The x is squared: the reading adds x^2 / noise^2.": (1 / prior**2 + x / noise**2) ** -0.5,
        "The noise is a standard deviation; square it.": (1 / prior**2 + x**2 / noise) ** -0.5,
        "The prior's 0.5 is a standard deviation; square it.": (1 / prior + x**2 / noise**2)
        ** -0.5,
        "Precisions add, not variances: knowing more cannot make you less sure.": (
            prior**2 + (noise / x) ** 2
        )
        ** 0.5,
    }
    return _number(answer, mistakes) or "Formula (1): 1/S = 1/0.5^2 + x^2/noise^2; give the root."


def exercise_2(answer: object) -> str | None:
    """The central 90 % interval of a reading: law -1.20 with 0.03, noise 0.04."""
    if not isinstance(answer, tuple | list) or len(answer) != 2:
        return "Give two numbers, (low, high)."
    low, high = (float(end) for end in answer)
    if low > high:
        return "The lower end comes first: (low, high)."
    if not close((low + high) / 2, -1.20, 1e-3):
        return "The interval lies evenly about the mean, -1.20."
    law, noise = 0.03, 0.04
    sigma = (law**2 + noise**2) ** 0.5
    reach = (high - low) / 2
    if close(reach, 1.645 * sigma, 0.004):
        return None
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
    return _number(reach, mistakes, 0.004) or (
        "Reach 1.645 standard deviations of a reading to each side; its variance is the law's plus "
        "the noise's."
    )


def exercise_3(answer: object) -> str | None:
    """A function: inside [n_tasks, m] -> coverage and its 95 % half width over tasks."""
    if not callable(answer):
        return "Give the function itself: mk.check('07.3', coverage)."
    generator = torch.Generator().manual_seed(0)
    chance = 0.5 + 0.5 * torch.rand(30, 1, generator=generator, dtype=torch.float64)
    inside = torch.rand(30, 50, generator=generator, dtype=torch.float64) < chance
    given = answer(inside)
    if not isinstance(given, tuple | list) or len(given) != 2:
        return "Return a pair: the coverage and its half width."
    if any(torch.as_tensor(each).numel() != 1 for each in given):
        return "Return two numbers: one coverage over all tasks, and its half width."
    mean, half = (float(each) for each in given)
    values = inside.double()
    each = values.mean(1)
    if not close(mean, float(each.mean()), 1e-6):
        if close(mean, 100 * float(each.mean()), 1e-6):
            return "As a fraction between 0 and 1, please, not in percent."
        if close(mean, float((values.mean(1) == 1).double().mean()), 1e-6):
            return "You count curves that lie inside as a whole; take the mean share inside."
        return "The coverage is the mean of inside, over points and tasks."
    error = float(each.std()) / 30**0.5
    if close(half, 1.96 * error, 0.03):  # with n or n - 1, 1.96 or 2
        return None
    mistakes = {
        "You counted points as if they were independent; a task is one draw: take the mean of each "
        "task first.": 1.96 * float(values.std()) / 1500**0.5,
        "You divide by the root of all points; the number of draws is that of tasks.": 1.96
        * float(each.std())
        / 1500**0.5,
        "That takes each task to be inside or outside as a whole; take the mean of each task "
        "first, and the scatter of these.": 1.96 * float(values.std()) / 30**0.5,
        "That is the scatter of single tasks; that of their mean is smaller by the root of their "
        "number.": 1.96 * float(each.std()),
        "That is the standard deviation over tasks; divide by the root of their number, and take "
        "1.96 of it.": float(each.std()),
        "That is one standard error; a 95 % half width is 1.96 of them.": error,
        "1.645 belongs to 90 %; for 95 % it is 1.96.": 1.645 * error,
        "That is the whole width; give half of it.": 2 * 1.96 * error,
        "You used the variance; take its root.": 1.96 * float(each.var()) / 30**0.5,
    }
    return _number(half, mistakes, 0.002) or (
        "The coverage is right; the half width is 1.96 standard errors of the mean over tasks."
    )


def exercise_4(answer: object) -> str | None:
    """A function: cov [m, m], noise -> mean reduction of the variance, [m]."""
    if not callable(answer):
        return "Give the function itself: mk.check('07.4', gain)."
    root = torch.tensor(
        [[1.2, 0.0, 0.0], [0.7, 0.5, 0.0], [-0.4, 0.3, 0.9], [0.2, -0.6, 0.1]], dtype=torch.float64
    )
    cov, noise = root @ root.T, 0.4
    given = answer(cov, noise)
    if not isinstance(given, Tensor):
        return f"Return a tensor [m], not {type(given).__name__}."
    measured = cov.diagonal() + noise**2  # variance of a reading at c
    reduction = cov**2 / measured  # [j, c]
    right = reduction.mean(0)
    if given.shape != right.shape:
        if given.ndim == 0:
            return "Return the gain of every candidate, [m], not the best one."
        return f"Return one number a candidate, [{len(cov)}]; yours has shape {list(given.shape)}."
    if torch.allclose(given.double(), right, rtol=1e-6):
        return None
    mistakes = {
        "The noise is missing: a reading has the variance cov(c, c) + noise^2.": (
            cov**2 / cov.diagonal()
        ).mean(0),
        "The noise is a standard deviation; add its square.": (
            cov**2 / (cov.diagonal() + noise)
        ).mean(0),
        "The covariance in the numerator is squared.": (cov / measured).mean(0),
        "You averaged over the candidates c; average over the places j.": (reduction.mean(1)),
        "That is the sum over places; take the mean.": reduction.sum(0),
        "That is the gain at the candidate itself; take the mean over all places.": (
            reduction.diagonal()
        ),
        "That is the variance: where you are least sure, not what you learn there.": cov.diagonal(),
        "That is the variance that is left; the gain is what goes away.": cov.diagonal().mean()
        - right,
    }
    for hint, wrong in mistakes.items():
        if torch.allclose(given.double(), wrong, rtol=1e-6):
            return hint
    return "Formula (3): the mean over j of cov(j, c)^2 / (cov(c, c) + noise^2)."


def _number(given: object, mistakes: dict[str, float], rtol: float = 0.01) -> str | None:
    for hint, wrong in mistakes.items():
        if close(given, wrong, rtol):
            return hint
    return None
