"""Assignment 1, the meta-gradient: questions, right answers and known mistakes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.func import grad, jacrev

from mamlkit.course.assignments.base import Assignment, Own, Question, Written

Loss = Callable[[Tensor], Tensor]
INPUTS = {"torch": torch}
STEPS = 3  # inner steps of the value questions
START = (0.5, 3.0)  # theta of the spring: stiffness times length (N), one over length (1/m)


def own(rng: np.random.Generator) -> Own:
    """Your spring, which stiffens no more beyond a length: F = a tanh(b x), eight readings for the
    support and eight for the query, in m and N, and the step size.
    """
    a, b = rng.uniform(1.5, 3.0), rng.uniform(1.5, 3.0)
    x = np.sort(rng.uniform(0.1, 1.2, (2, 8)), axis=1)
    force = a * np.tanh(b * x) + rng.normal(0, 0.03, x.shape)
    alpha = rng.uniform(0.15, 0.3)
    return {"x": x.round(3).tolist(), "F": force.round(3).tolist(), "alpha": round(alpha, 3)}


def spring(theta: Tensor, x: Any, force: Any) -> Tensor:
    """Mean squared error of F = a tanh(b x)."""
    x, force = (torch.as_tensor(v, dtype=torch.float64) for v in (x, force))
    return ((theta[0] * torch.tanh(theta[1] * x) - force) ** 2).mean()


def losses(data: Own) -> tuple[Loss, Loss, Tensor]:
    """Support loss, query loss and start of the student's own spring."""
    (xs, xq), (fs, fq) = data["x"], data["F"]
    start = torch.tensor(START, dtype=torch.float64)
    return lambda t: spring(t, xs, fs), lambda t: spring(t, xq, fq), start


def adapted(support: Loss, theta: Tensor, alpha: float, steps: int) -> Tensor:
    """theta after the inner steps."""
    for _ in range(steps):
        theta = theta - alpha * grad(support)(theta)
    return theta


def exact(support: Loss, query: Loss, theta: Tensor, alpha: float, steps: int) -> list[float]:
    """The meta-gradient, through all inner steps."""
    return grad(lambda t: query(adapted(support, t, alpha, steps)))(theta).tolist()


def first_order(support: Loss, query: Loss, theta: Tensor, alpha: float, steps: int) -> list[float]:
    """What is left when every Hessian is dropped: the gradient at the adapted weights."""
    return grad(query)(adapted(support, theta, alpha, steps)).tolist()


def one_step(support: Loss, query: Loss, theta: Tensor, alpha: float, steps: int) -> list[float]:
    """The meta-gradient of one inner step, whatever was asked for."""
    return exact(support, query, theta, alpha, 1)


def hessian_at_start(
    support: Loss, query: Loss, theta: Tensor, alpha: float, steps: int
) -> list[float]:
    """The Hessian of the start in every factor: right for a parabola, wrong here."""
    factor = torch.eye(len(theta), dtype=torch.float64) - alpha * jacrev(grad(support))(theta)
    last = grad(query)(adapted(support, theta, alpha, steps))
    return (torch.linalg.matrix_power(factor, steps) @ last).tolist()


def losses_to_try(rng: np.random.Generator, data: Own) -> list[list[Any]]:
    """Two losses that nobody has seen, a start, a step size, and a number of steps."""
    cases = []
    for steps in (1, 2, int(rng.integers(3, 5))):
        w = rng.uniform(0.5, 1.5, (2, 3)).round(4).tolist()
        made = [
            f"lambda t: torch.exp({a} * t[0] - {b} * t[1]) + (t[0] - {c}) ** 2 + t[1] ** 4 / 4"
            for a, b, c in w
        ]
        start = rng.uniform(-0.5, 0.5, 2).round(3).tolist()
        alpha = round(float(rng.uniform(0.05, 0.15)), 3)
        cases.append([*({"expression": e} for e in made), start, alpha, steps])
    return cases


def from_inputs(function: Callable[..., Any]) -> Callable[..., Any]:
    """Take the plain inputs that the student's function is sent: expressions and lists."""

    def call(support: Any, query: Any, theta: Any, alpha: float, steps: int) -> Any:
        made = [eval(e["expression"], dict(INPUTS)) for e in (support, query)]
        return function(*made, torch.tensor(theta, dtype=torch.float64), alpha, steps)

    return call


def degrees(data: Own) -> float:
    """The angle between the exact and the first-order meta-gradient of the student's spring."""
    support, query, start = losses(data)
    a = torch.tensor(exact(support, query, start, data["alpha"], STEPS))
    b = torch.tensor(first_order(support, query, start, data["alpha"], STEPS))
    return math.degrees(math.acos(float(torch.nn.functional.cosine_similarity(a, b, dim=0))))


def uphill(data: Own) -> float:
    """The step size beyond which first order points uphill, for one step of the first parameter
    alone: the exact meta-gradient has the factor 1 - alpha L''.
    """
    support, _, start = losses(data)
    return 1 / float(jacrev(grad(support))(start)[0, 0])


ASSIGNMENT = Assignment(
    name="a1",
    title="Assignment 1: the meta-gradient",
    notebook="a1_the_meta_gradient.ipynb",
    own=own,
    questions=[
        Question(
            "meta_gradient",
            "The exact meta-gradient of any two losses",
            6,
            from_inputs(exact),
            losses_to_try,
            {
                "first order: the gradient at the adapted weights, without the Hessian factors": (
                    from_inputs(first_order),
                    1 / 6,
                ),
                "the meta-gradient of one inner step, however many were asked for": (
                    from_inputs(one_step),
                    3 / 6,
                ),
                "the Hessian of the start in every factor; each belongs to its own weights": (
                    from_inputs(hessian_at_start),
                    3 / 6,
                ),
            },
        ),
        Question(
            "angle",
            "The angle that first order loses on your spring",
            3,
            degrees,
            mistakes={
                "this is the angle in radians; degrees were asked for": (
                    lambda data: math.radians(degrees(data)),
                    2 / 3,
                ),
                "this is the cosine of the angle": (
                    lambda data: math.cos(math.radians(degrees(data))),
                    1 / 3,
                ),
            },
            rtol=0.01,
        ),
        Question(
            "uphill",
            "The step size beyond which first order points uphill",
            3,
            uphill,
            mistakes={
                "half of it: the second derivative has the factor 2 already": (
                    lambda data: uphill(data) / 2,
                    2 / 3,
                ),
                "twice it: the second derivative has the factor 2 already": (
                    lambda data: uphill(data) * 2,
                    2 / 3,
                ),
            },
            rtol=0.01,
        ),
    ],
    written=[
        Written(
            "A1.1",
            "Derive the meta-gradient of M steps",
            5,
            [
                (1, "the chain rule is stated for one step, with the factor I - alpha H"),
                (2, "M factors, each with its Hessian at its own weights, in the right order"),
                (1, "the Hessian of the given law, which depends on theta"),
                (1, "the sum over tasks, and what stays when the Hessians are dropped"),
            ],
        ),
        Written(
            "A1.2",
            "When is dropping the Hessian safe?",
            3,
            [
                (1, "small alpha times curvature, with a measured or derived bound"),
                (1, "curvature alike in all directions, or tasks that share it"),
                (1, "a case from your own spring where it is not"),
            ],
        ),
    ],
)
