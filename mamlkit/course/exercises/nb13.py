"""Exercises of notebook 13: weighted errors, a crack's life, a latent number, an earthquake."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from mamlkit.course.checking import judge, judge_function
from mamlkit.course.exercises import uniform


def exercise_1(answer: object) -> str | None:
    """A function: y, guess and sigma, [n] each -> the weighted mean squared error."""

    def weighted_mse(y: Tensor, guess: Tensor, sigma: Tensor) -> Tensor:
        return by(lambda sigma: sigma**-2.0)(y, guess, sigma)

    def by(weight: Callable[[Tensor], Tensor]) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
        return lambda y, guess, sigma: (
            (weight(sigma) * (y - guess) ** 2).sum() / weight(sigma).sum()
        )

    mistakes = {
        "That counts all readings alike: the weight is 1 / sigma^2.": by(torch.ones_like),
        "The weight is one over the square of the error bar.": by(lambda sigma: 1 / sigma),
        "Upside down: a large error bar must weigh little.": by(lambda sigma: sigma**2),
        "Divide by the sum of the weights.": lambda y, guess, sigma: (
            ((y - guess) / sigma) ** 2
        ).sum(),
        "Divide by the sum of the weights, not by how many readings there are.": (
            lambda y, guess, sigma: (((y - guess) / sigma) ** 2).mean()
        ),
        "Square the difference before it is weighed.": lambda y, guess, sigma: (
            (sigma**-2.0 * (y - guess)).sum() / (sigma**-2.0).sum()
        ),
        "That is its root; the mean squared error is asked for.": lambda y, guess, sigma: (
            weighted_mse(y, guess, sigma).sqrt()
        ),
    }
    cases = [
        (uniform(1, 1.0, 1.2, 3), uniform(2, 1.2, 1.4, 3), uniform(3, 0.01, 0.05, 3)),
        (uniform(4, 1.0, 2.0, 7), uniform(5, 1.0, 2.0, 7), uniform(6, 0.1, 0.9, 7)),
    ]
    otherwise = "Sum of w (y - guess)^2 over the sum of w, with w = 1 / sigma^2."
    return judge_function(answer, weighted_mse, cases, mistakes, otherwise)


def exercise_2(answer: object) -> str | None:
    """A function: C, p and a length -> when the crack has it."""

    def life(C: float, p: float, a: float) -> float:
        q = torch.tensor(p - 1.0, dtype=torch.float64)
        return float((1 - a**-q) / (q * C))

    mistakes: dict[str, Callable[[float, float, float], float]] = {
        "q is p - 1, not p: 1 is added when a^-p is integrated.": lambda C, p, a: life(C, p + 1, a),
        "q is p - 1; p is half of the engineers' exponent already.": lambda C, p, a: life(
            C, p / 2, a
        ),
        "Divide by q as well: the integral of a^-p is a^(1-p) / (1-p).": lambda C, p, a: (
            (1 - a ** (1 - p)) / C
        ),
        "The sign: a^-q is below 1, and time is positive.": lambda C, p, a: -life(C, p, a),
        "That is p = 1, the exponential, for every p.": lambda C, p, a: float(
            torch.tensor(a).double().log() / C
        ),
        "That is growth at the first speed; the crack becomes faster.": lambda C, p, a: (a - 1) / C,
        "Divide by C: a faster crack needs less time.": lambda C, p, a: life(C, p, a) * C * C,
    }
    cases = [(3.0, 2.5, 1.5), (4.0, 1.7, 1.8), (2.5, 3.2, 1.3)]
    otherwise = "Solve (1): 1 - a^-q = q C N for N."
    hint = judge_function(answer, life, cases, mistakes, otherwise)
    if hint is not None:
        return hint

    def exponential(C: float, p: float, a: float) -> float:
        return float(torch.tensor(a).double().log() / C)

    if judge_function(answer, exponential, [(3.0, 1.0, 1.5)], {}, otherwise) is not None:
        return "Right, but for p = 1 both sides are 0: there the crack is exp(C N) long."
    return None


def exercise_3(answer: object) -> str | None:
    """A function: rest and v, [n], and sigma -> mean and standard deviation of z."""

    def belief(rest: Tensor, v: Tensor, sigma: float) -> Tensor:
        precision = 1 + (v * v).sum() / sigma**2
        return torch.stack([(v * rest).sum() / sigma**2 / precision, precision**-0.5])

    mistakes: dict[str, Callable[[Tensor, Tensor, float], Tensor]] = {
        "That forgets the prior: add its 1 to the precision.": lambda rest, v, sigma: torch.stack(
            [(v * rest).sum() / (v * v).sum(), sigma * (v * v).sum() ** -0.5]
        ),
        "That second number is the variance; give its root.": lambda rest, v, sigma: (
            belief(rest, v, sigma) ** torch.tensor([1.0, 2.0], dtype=torch.float64)
        ),
        "Square the noise: the precision of a reading is 1 / sigma^2.": lambda rest, v, sigma: (
            belief(rest, v, sigma**0.5)
        ),
        "Divide by sigma^2, both in the precision and in the mean.": lambda rest, v, sigma: belief(
            rest, v, 1.0
        ),
        "Sums over the readings, not means.": lambda rest, v, sigma: belief(
            rest / len(v) ** 0.5, v / len(v) ** 0.5, sigma
        ),
        "Multiply each rest by its v: a reading counts where z makes a difference.": (
            lambda rest, v, sigma: torch.stack(
                [
                    rest.sum() / sigma**2 / (1 + (v * v).sum() / sigma**2),
                    (1 + (v * v).sum() / sigma**2) ** -0.5,
                ]
            )
        ),
    }
    cases = [
        (uniform(1, -0.1, 0.1, 1), uniform(2, 0.02, 0.1, 1), 0.03),
        (uniform(3, -0.1, 0.3, 4), uniform(4, 0.02, 0.2, 4), 0.1),
    ]
    otherwise = "Formula (2): precision 1 + sum v^2 / sigma^2, mean sum v rest / sigma^2 over it."
    needs = "two numbers, mean and standard deviation"
    return judge_function(answer, belief, cases, mistakes, otherwise, needs=needs)


def exercise_4(answer: object) -> str | None:
    """How far the acceleration of an earthquake falls from 10 to 40 km, by least squares."""
    mistakes = {
        "By what factor does it fall: that is one over it.": 0.2853,
        "That is the exponent; the factor is 4 to its power.": 0.9047,
        "Keep the magnitude in the fit: strong earthquakes were recorded from farther away.": 3.137,
        "Take the logarithm of the distance, too.": 1.685,
        "That is the fall with 1 / distance; fit the exponent.": 4.0,
        "That is the logarithm of the factor.": 1.2543,
    }
    otherwise = "Fit ln A = c0 + c1 magnitude + c2 ln d by least squares; the factor is 4^(-c2)."
    return judge(answer, 3.5052, mistakes, otherwise)
