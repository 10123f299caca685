"""Exercises of notebook 03: two inner steps, the step for one mark, the price of one step."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.func import grad

from mamlkit.course.checking import as_function, judge, judge_function
from mamlkit.course.exercises import differentiates, uniform


def exercise_1(answer: object) -> str | None:
    """A function: the query loss of one task after two inner steps on a straight line."""
    theta = torch.tensor([0.4, -0.7], dtype=torch.float64, requires_grad=True)
    other = torch.tensor([-1.1, 0.3], dtype=torch.float64, requires_grad=True)
    cases = [
        (theta, 0.1, *uniform(31, -2.0, 2.0, 4, 5, 1)),
        (other, 0.04, *uniform(32, -1.5, 1.5, 2, 3, 1), *uniform(33, -1.0, 2.0, 2, 8, 1)),
    ]
    mistakes = {
        "That is one step; take a second from where the first ended.": (
            lambda theta, alpha, xs, ys, xq, yq: _loss(_stepped(theta, alpha, xs, ys), xq, yq)
        ),
        "Both steps use the gradient at the start; the second needs the gradient where the first "
        "ended.": lambda theta, alpha, xs, ys, xq, yq: _loss(
            _stepped(theta, 2 * alpha, xs, ys), xq, yq
        ),
        "You walk uphill: the step is minus alpha times the gradient.": (
            lambda theta, alpha, xs, ys, xq, yq: two_steps(theta, -alpha, xs, ys, xq, yq)
        ),
        "You adapt on the query, which you must not see: adapt on (xs, ys).": (
            lambda theta, alpha, xs, ys, xq, yq: two_steps(theta, alpha, xq, yq, xq, yq)
        ),
        "You return the support loss; the judge is the query (xq, yq).": (
            lambda theta, alpha, xs, ys, xq, yq: two_steps(theta, alpha, xs, ys, xs, ys)
        ),
    }
    otherwise = "The value is not that of the query loss after two inner steps on the support."
    needs = "one number as a tensor, the query loss"
    hint = judge_function(answer, two_steps, cases, mistakes, otherwise, needs=needs)
    if hint is not None:
        return hint
    slope = differentiates(as_function(answer, "two_steps"), two_steps, cases[0], 0)
    if slope is None:
        return (
            "The value is right, but it cannot be differentiated: return it as a tensor, and keep "
            "detach(), float() and item() out."
        )
    if not slope:
        return (
            "The value is right, but the meta-gradient lacks the Hessian terms: with "
            "torch.autograd.grad inside, set create_graph=True, and do not detach."
        )
    return None


def exercise_2(answer: object) -> str | None:
    """A number: the step size that makes one inner step the Bayes estimate at one mark."""
    x, sigma, spread = 0.8, 0.3, 0.5
    mistakes = {
        "The gradient of the mean squared error has a factor 2.": (
            1 / (x**2 + sigma**2 / spread**2)
        ),
        "That is the Newton step, which trusts the reading fully: where is the noise?": (
            1 / (2 * x**2)
        ),
        "The prior's variance is missing: the noise enters as sigma^2 / C.": (
            0.5 / (x**2 + sigma**2)
        ),
        "Variances, not standard deviations: sigma^2 / C.": 0.5 / (x**2 + sigma / spread),
        "C is the variance of k, the square of 0.5.": 0.5 / (x**2 + sigma**2 / spread),
        "Noise and prior are swapped: a precise reading should lengthen the step.": (
            0.5 / (x**2 + spread**2 / sigma**2)
        ),
        "Phi^T Phi is x squared.": 0.5 / (x + sigma**2 / spread**2),
    }
    right = 0.5 / (x**2 + sigma**2 / spread**2)
    return judge(answer, right, mistakes, "Formula (3) with K = 1.")


def exercise_3(answer: object) -> str | None:
    """A number: the limit of K times the error of one step with the best matrix."""
    ca, cb, noise = 0.5**2, 0.2**2, 2 * 0.3**2
    start = (ca * 4 / 5 + 9 * cb / 3) / 3 + ca / 3
    mistakes = {
        "That is least squares. One step also carries over a part of the start's error.": noise,
        "The noise term of (4) is missing: 4 sigma^2 tr(Sigma A Sigma A^T) = 2 sigma^2.": start,
        "The second row of I - Sigma^-1 Gamma, (-p, 0), is missing.": start - ca / 3 + noise,
        "Sigma weighs the slope with 1/3.": ca * 4 / 5 + 9 * cb / 3 + ca / 3 + noise,
        "The intercept's part, 9 c_b <p^2> / 3, is missing.": ca * 4 / 15 + ca / 3 + noise,
        "There are two parameters, each with sigma^2 / K of noise.": start + noise / 2,
    }
    otherwise = "Write the matrix I - Sigma^-1 Gamma out, row by row."
    return judge(answer, start + noise, mistakes, otherwise)


def two_steps(
    theta: Tensor, alpha: float, xs: Tensor, ys: Tensor, xq: Tensor, yq: Tensor
) -> Tensor:
    """The answer to 03.1."""
    return _loss(_stepped(_stepped(theta, alpha, xs, ys), alpha, xs, ys), xq, yq)


def _stepped(theta: Tensor, alpha: float, x: Tensor, y: Tensor) -> Tensor:
    return theta - alpha * grad(_loss)(theta, x, y)


def _loss(theta: Tensor, x: Tensor, y: Tensor) -> Tensor:
    return ((theta[0] * x + theta[1] - y) ** 2).mean()
