"""Checkers of notebook 03: two inner steps, the step for one mark, the price of one step."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.func import grad

from mamlkit.exercises import close


def exercise_1(answer: object) -> str | None:
    """A function: the query loss of one task after two inner steps on a straight line."""
    if not callable(answer):
        return "Give the function itself: answer = two_steps, without calling it."
    generator = torch.Generator().manual_seed(31)
    xs, ys, xq, yq = torch.randn(4, 5, 1, generator=generator, dtype=torch.float64)
    theta, alpha = torch.tensor([0.4, -0.7], dtype=torch.float64), 0.1
    given = answer(theta.clone().requires_grad_(), alpha, xs, ys, xq, yq)
    if given is ...:
        return "Your function still returns '...'; write its lines."
    if not isinstance(given, Tensor) or given.numel() != 1:
        return f"It must return one number as a tensor, the query loss; it returned {given!r}."
    value = float(given.detach())
    if not close(value, float(two_steps(theta, alpha, xs, ys, xq, yq)), 1e-8):
        for hint, wrong in _MISTAKES.items():
            if close(value, float(wrong(theta, alpha, xs, ys, xq, yq)), 1e-8):
                return hint
        return "The value is not that of the query loss after two inner steps on the support."
    start = theta.clone().requires_grad_()
    loss = answer(start, alpha, xs, ys, xq, yq)
    if not loss.requires_grad:
        return "The value is right, but it cannot be differentiated: keep detach() and item() out."
    (slope,) = torch.autograd.grad(loss, start)
    expected = grad(two_steps)(theta, alpha, xs, ys, xq, yq)
    if not torch.allclose(slope, expected, rtol=1e-8):
        return (
            "The value is right, but the meta-gradient lacks the Hessian terms: with "
            "torch.autograd.grad inside, set create_graph=True, and do not detach."
        )
    return None


def exercise_2(answer: object) -> str | None:
    """A number: the step size that makes one inner step the Bayes estimate at one mark."""
    x, sigma, spread = 0.8, 0.3, 0.5
    hints = {
        1 / (x**2 + sigma**2 / spread**2): "The gradient of the mean squared error has a factor 2.",
        1
        / (
            2 * x**2
        ): "That is the Newton step, which trusts the reading fully: where is the noise?",
        0.5
        / (x**2 + sigma**2): "The prior's variance is missing: the noise enters as sigma^2 / C.",
        0.5 / (x**2 + sigma / spread): "Variances, not standard deviations: sigma^2 / C.",
        0.5 / (x**2 + sigma**2 / spread): "C is the variance of k, the square of 0.5.",
        0.5
        / (x**2 + spread**2 / sigma**2): "Noise and prior are swapped: a precise reading should "
        "lengthen the step.",
        0.5 / (x + sigma**2 / spread**2): "Phi^T Phi is x squared.",
    }
    return _number(answer, 0.5 / (x**2 + sigma**2 / spread**2), hints, "Formula (4) with K = 1.")


def exercise_3(answer: object) -> str | None:
    """A number: the limit of K times the error of one step with the best matrix."""
    ca, cb, noise = 0.5**2, 0.2**2, 2 * 0.3**2
    start = (ca * 4 / 5 + 9 * cb / 3) / 3 + ca / 3
    hints = {
        noise: "That is least squares. One step also carries over a part of the start's error.",
        start: "The noise term of (5) is missing: 4 sigma^2 tr(Sigma A Sigma A^T) = 2 sigma^2.",
        (ca * 4 / 5 + 9 * cb / 3) / 3
        + noise: "The second row of I - Sigma^-1 G, (-p, 0), is missing.",
        ca * 4 / 5 + 9 * cb / 3 + ca / 3 + noise: "Sigma weighs the slope with 1/3.",
        ca * 4 / 15 + ca / 3 + noise: "The intercept's part, 9 c_b <p^2> / 3, is missing.",
        start + noise / 2: "There are two parameters, each with sigma^2 / K of noise.",
    }
    return _number(answer, start + noise, hints, "Write the matrix I - Sigma^-1 G out, row by row.")


def two_steps(
    theta: Tensor, alpha: float, xs: Tensor, ys: Tensor, xq: Tensor, yq: Tensor
) -> Tensor:
    """The answer to 03.1."""
    for _ in range(2):
        theta = theta - alpha * grad(_loss)(theta, xs, ys)
    return _loss(theta, xq, yq)


def _loss(theta: Tensor, x: Tensor, y: Tensor) -> Tensor:
    return ((theta[0] * x + theta[1] - y) ** 2).mean()


def _one_step(
    theta: Tensor, alpha: float, xs: Tensor, ys: Tensor, xq: Tensor, yq: Tensor
) -> Tensor:
    return _loss(theta - alpha * grad(_loss)(theta, xs, ys), xq, yq)


def _same_gradient(
    theta: Tensor, alpha: float, xs: Tensor, ys: Tensor, xq: Tensor, yq: Tensor
) -> Tensor:
    return _loss(theta - 2 * alpha * grad(_loss)(theta, xs, ys), xq, yq)


def _uphill(theta: Tensor, alpha: float, xs: Tensor, ys: Tensor, xq: Tensor, yq: Tensor) -> Tensor:
    return two_steps(theta, -alpha, xs, ys, xq, yq)


def _on_query(
    theta: Tensor, alpha: float, xs: Tensor, ys: Tensor, xq: Tensor, yq: Tensor
) -> Tensor:
    return two_steps(theta, alpha, xq, yq, xq, yq)


def _support_loss(
    theta: Tensor, alpha: float, xs: Tensor, ys: Tensor, xq: Tensor, yq: Tensor
) -> Tensor:
    return two_steps(theta, alpha, xs, ys, xs, ys)


_MISTAKES: dict[str, Callable[..., Tensor]] = {
    "That is one step; take a second from where the first ended.": _one_step,
    "Both steps use the gradient at the start; the second needs the gradient where the first "
    "ended.": _same_gradient,
    "You walk uphill: the step is minus alpha times the gradient.": _uphill,
    "You adapt on the query, which you must not see: adapt on (xs, ys).": _on_query,
    "You return the support loss; the judge is the query (xq, yq).": _support_loss,
}


def _number(answer: object, expected: float, hints: dict[float, str], default: str) -> str | None:
    if not isinstance(answer, int | float | Tensor) or isinstance(answer, bool):
        return f"Give one number, not {type(answer).__name__}."
    if close(answer, expected):
        return None
    for value, hint in hints.items():
        if close(answer, value):
            return hint
    return default
