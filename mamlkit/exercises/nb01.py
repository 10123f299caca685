"""Checkers of notebook 01: learning to learn."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from mamlkit.exercises import close


def exercise_1(answer: Any) -> str | None:
    """The inner step size that reaches least squares in one step, for pulls of 0.10 and 0.20 m."""
    x = torch.tensor([0.10, 0.20], dtype=torch.float64)
    s = float((x**2).mean())
    if close(answer, 1 / (2 * s)):
        return None
    if close(answer, 1 / s):
        return "You lost the 2 of the derivative of a square: the start's weight is 1 - 2 alpha s."
    if close(answer, 1 / (2 * float((x**2).sum()))):
        return "You summed the squares; the loss is a mean over readings, so s is their mean."
    if close(answer, 1 / (2 * float(x.mean()) ** 2)):
        return "You squared the mean extension; s is the mean of the squared extensions."
    if close(answer, 1 / (2 * 100**2 * s)):
        return "That is for extensions in centimetres; alpha is asked in 1/m^2."
    if close(answer, 2 * s) or close(answer, s):
        return "That is in m^2; alpha has the unit 1/m^2. Solve 1 - 2 alpha s = 0 for alpha."
    return (
        "Which alpha makes the start's weight 1 - 2 alpha s vanish? s is the mean of x^2, in m^2."
    )


def exercise_2(answer: Any) -> str | None:
    """The posterior mean of a spring constant: drawer N(25, 5^2) N/m, balance 0.5 N."""
    mu, tau, sigma = 25.0, 5.0, 0.5
    x = torch.tensor([[0.04], [0.06], [0.09]], dtype=torch.float64)
    force = torch.tensor([[1.9], [1.1], [3.2]], dtype=torch.float64)

    def posterior(x: Tensor, y: Tensor, mu: float, prior: float, error: float) -> float:
        """Posterior mean for the variances ``prior`` and ``error``."""
        top = mu / prior + (x * y).sum() / error
        return float(top / (1 / prior + (x**2).sum() / error))

    if not callable(answer):
        return "Give the function itself, such as mk.check('01.2', bayes), not what it returns."
    value = answer(x, force)
    if close(value, posterior(x, force, mu, tau**2, sigma**2), 1e-6):
        one = answer(x[:1], force[:1])
        if close(one, posterior(x[:1], force[:1], mu, tau**2, sigma**2), 1e-6):
            return None
        return "Right for three readings, wrong for one; the formula holds for any number."
    n = len(x)
    mistakes = (
        (
            float((x * force).sum() / (x**2).sum()),
            "That is least squares; the drawer has no say. Add mu / tau^2 above, 1 / tau^2 below.",
        ),
        (
            posterior(x, force, 0.0, tau**2, sigma**2),
            "Your drawer is centred on 0 N/m; the term mu / tau^2 is missing above.",
        ),
        (
            posterior(x, force, mu, tau, sigma),
            "You divided by the standard deviations; Gaussians carry their squares.",
        ),
        (
            posterior(x, force, mu, tau**2, n * sigma**2),
            "You took means over the readings; each reading must add weight: use sums.",
        ),
        (
            posterior(x, force, mu, sigma**2, tau**2),
            "Drawer and balance are swapped: tau = 5 N/m belongs to mu, sigma = 0.5 N to F.",
        ),
    )
    for wrong, hint in mistakes:
        if close(value, wrong, 1e-6):
            return hint
    return (
        f"For x = 0.04, 0.06, 0.09 m and F = 1.9, 1.1, 3.2 N it gave {float(value):.3g} N/m. "
        "Take the boxed formula of section 3 term by term."
    )


def exercise_3(answer: Any) -> str | None:
    """The end of a geometric decay, from three losses in a row."""
    end, height, ratio = 0.3, 2.0, 0.6
    first, second, third = (end + height * ratio**n for n in range(3))
    if not callable(answer):
        return "Give the function itself, such as mk.check('01.3', end_of), not what it returns."
    value = answer(first, second, third)
    if close(value, end, 1e-6):
        return None
    mistakes = (
        (third, "That is the last loss seen; the curve has not ended there."),
        (2 * third - second, "You went on in a straight line; the decay is geometric."),
        (-end, "The sign is turned: top and bottom must change sign together."),
        (third**2 / second, "You assumed that the loss ends at zero: solve for L with all three."),
    )
    for wrong, hint in mistakes:
        if close(value, wrong, 1e-6):
            return hint
    return (
        f"For losses that decay from {first:.2f} to {end} it gave {float(value):.3g}. Start from "
        "(L0 - L)(L2 - L) = (L1 - L)^2 and solve for L."
    )


def exercise_4(answer: Any) -> str | None:
    """Break-even number of new systems, counted in gradients."""
    iterations, meta_batch, inner, scratch = 2000, 20, 5, 85
    once = iterations * meta_batch * (3 * inner + 1)
    if close(answer, once / (scratch - inner), 1e-3):
        return None
    if close(answer, once / scratch, 1e-3):
        return "A new system is not free after meta-training either: it still takes K gradients."
    if close(answer, once / meta_batch / (scratch - inner), 1e-3):
        return "You forgot the meta-batch: each iteration handles that many tasks."
    if close(answer, iterations * meta_batch * (inner + 1) / (scratch - inner), 1e-3):
        return "You left out the backward pass through the inner steps: 3K + 1, not K + 1."
    if close(answer, once, 1e-3):
        return "That is the price paid once; divide it by what each new system saves."
    if not math.isfinite(float(answer)):
        return "The number is finite: each new system saves gradients."
    return "Set once + N K equal to N times the steps from scratch, and solve for N."
