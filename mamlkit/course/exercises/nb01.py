"""Exercises of notebook 01: learning to learn."""

from __future__ import annotations

import torch
from torch import Tensor

from mamlkit.course.checking import judge, judge_function
from mamlkit.course.exercises import uniform


def exercise_1(answer: object) -> str | None:
    """The inner step size that reaches least squares in one step, for pulls of 0.10 and 0.20 m."""
    x = torch.tensor([0.10, 0.20], dtype=torch.float64)
    s = float((x**2).mean())
    mistakes = {
        "You lost the 2 of the derivative of a square: the start's weight is 1 - 2 alpha s.": 1 / s,
        "You summed the squares; the loss is a mean over readings, so s is their mean.": (
            1 / (2 * float((x**2).sum()))
        ),
        "You squared the mean extension; s is the mean of the squared extensions.": (
            1 / (2 * float(x.mean()) ** 2)
        ),
        "That is for extensions in centimetres; alpha is asked in 1/m^2.": 1 / (2 * 100**2 * s),
        "That is 2 s, in m^2; alpha has the unit 1/m^2. Solve 1 - 2 alpha s = 0 for alpha.": 2 * s,
        "That is s, in m^2; alpha has the unit 1/m^2. Solve 1 - 2 alpha s = 0 for alpha.": s,
    }
    otherwise = (
        "Which alpha makes the start's weight 1 - 2 alpha s vanish? s is the mean of x^2, in m^2."
    )
    return judge(answer, 1 / (2 * s), mistakes, otherwise)


def exercise_2(answer: object) -> str | None:
    """The posterior mean of a spring constant: drawer N(25, 5^2) N/m, balance 0.5 N."""
    mu, tau, sigma = 25.0, 5.0, 0.5

    def posterior(x: Tensor, y: Tensor, mu: float, prior: float, error: float) -> Tensor:
        """Posterior mean for the variances ``prior`` and ``error``."""
        return (mu / prior + (x * y).sum() / error) / (1 / prior + (x**2).sum() / error)

    def bayes(x: Tensor, F: Tensor) -> Tensor:
        return posterior(x, F, mu, tau**2, sigma**2)

    mistakes = {
        "That is least squares; the drawer has no say. Add mu / tau^2 above, 1 / tau^2 below.": (
            lambda x, F: (x * F).sum() / (x**2).sum()
        ),
        "Your drawer is centred on 0 N/m; the term mu / tau^2 is missing above.": lambda x, F: (
            posterior(x, F, 0.0, tau**2, sigma**2)
        ),
        "You divided by the standard deviations; Gaussians carry their squares.": lambda x, F: (
            posterior(x, F, mu, tau, sigma)
        ),
        "You took means over the readings; each reading must add weight: use sums.": lambda x, F: (
            posterior(x, F, mu, tau**2, len(x) * sigma**2)
        ),
        "Drawer and balance are swapped: tau = 5 N/m belongs to mu, sigma = 0.5 N to F.": (
            lambda x, F: posterior(x, F, mu, sigma**2, tau**2)
        ),
    }
    otherwise = (
        "The answer is in N/m, for any number of readings: take the boxed formula of section 3 "
        "term by term."
    )
    readings = [
        (x, k * x + uniform(3, -0.5, 0.5, len(x)))
        for k, x in ((29.0, uniform(1, 0.03, 0.1, 3)), (21.0, uniform(2, 0.05, 0.1, 1)))
    ]
    columns = [(x[:, None], force[:, None]) for x, force in readings]
    verdicts = [
        judge_function(answer, bayes, cases, mistakes, otherwise) for cases in (columns, readings)
    ]
    return None if None in verdicts else verdicts[0]  # either shape of x and F will do


def exercise_3(answer: object) -> str | None:
    """The end of a geometric decay, from three losses in a row."""

    def end_of(L0: Tensor, L1: Tensor, L2: Tensor) -> Tensor:
        return (L0 * L2 - L1**2) / (L0 + L2 - 2 * L1)

    end, height, ratio = uniform(1, 0.2, 1.0, 4), uniform(2, 1.0, 3.0, 4), uniform(3, 0.3, 0.6, 4)
    curves = [end + height * ratio**n for n in range(3)]
    cases = [
        (2.3, 1.5, 1.02),  # 0.3 + 2 * 0.6^n
        [float(losses[0]) for losses in curves],
        [losses[1] for losses in curves],
        curves,
    ]
    mistakes = {
        "That is the last loss seen; the curve has not ended there.": lambda L0, L1, L2: L2,
        "You went on in a straight line; the decay is geometric.": lambda L0, L1, L2: 2 * L2 - L1,
        "The sign is turned: top and bottom must change sign together.": lambda L0, L1, L2: (
            -end_of(L0, L1, L2)
        ),
        "You assumed that the loss ends at zero: solve for L with all three.": lambda L0, L1, L2: (
            L2**2 / L1
        ),
    }
    otherwise = "Start from (L0 - L)(L2 - L) = (L1 - L)^2 and solve for L, for floats or tensors."
    needs = "one number, or one for each of several curves"
    return judge_function(answer, end_of, cases, mistakes, otherwise, needs=needs)


def exercise_4(answer: object) -> str | None:
    """Break-even number of new systems, counted in gradients."""
    iterations, meta_batch, inner, scratch = 2000, 20, 5, 85
    once = iterations * meta_batch * (3 * inner + 1)
    saved = scratch - inner
    mistakes = {
        "A new system is not free after meta-training either: it still takes M gradients.": (
            once / scratch
        ),
        "You forgot the meta-batch: each iteration handles that many tasks.": (
            once / meta_batch / saved
        ),
        "You left out the backward pass through the inner steps: 3M + 1, not M + 1.": (
            iterations * meta_batch * (inner + 1) / saved
        ),
        "That is the price paid once; divide it by what each new system saves.": once,
    }
    otherwise = "Set once + N M equal to N times the steps from scratch, and solve for N."
    return judge(answer, once / saved, mistakes, otherwise)
