"""Exercises of notebook 02: the mathematics of MAML."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.func import grad, jacrev

from mamlkit.course.checking import judge, judge_function

Loss = Callable[[Tensor], Tensor]


def exercise_1(answer: object) -> str | None:
    """The factor of two inner steps for the linear law, as a function of alpha and s."""

    def factor(alpha: float, s: float) -> float:
        return (1 - 2 * alpha * s) ** 2

    one = torch.ones((), dtype=torch.float64)
    cases = [(4.0, 0.02), (12.0, 0.015), (30.0, 0.03), (7 * one, 0.01 * one)]  # 1/m^2, m^2
    mistakes = {
        "You dropped the square term: (1 - 2 alpha s)^2 has a third term, 4 alpha^2 s^2.": (
            lambda a, s: 1 - 4 * a * s
        ),
        "That is the factor of one step; each step brings its own factor.": lambda a, s: (
            1 - 2 * a * s
        ),
        "You added the two factors; the derivatives of nested functions multiply.": lambda a, s: (
            2 * (1 - 2 * a * s)
        ),
        "You lost the 2 of the derivative of a square: the Hessian is 2 s.": lambda a, s: (
            (1 - a * s) ** 2
        ),
        "That is first-order MAML, which drops the factor altogether.": lambda a, s: 1.0,
    }
    otherwise = "Differentiate theta_2 by theta_1, then theta_1 by theta, and multiply."
    return judge_function(answer, factor, cases, mistakes, otherwise)


def exercise_2(answer: object) -> str | None:
    """The meta-gradient through any number of inner steps, for any two losses."""

    def path(theta: Tensor, alpha: float, steps: int, loss: Loss) -> list[Tensor]:
        """theta_0 .. theta_steps."""
        points = [theta]
        for _ in range(steps):
            points.append(points[-1] - alpha * grad(loss)(points[-1]))
        return points

    def by_factors(choose: Callable[[list[Tensor]], list[Tensor]]) -> Callable[..., Tensor]:
        """The product of factors, with the Hessians at those points of the path that ``choose``
        gives, the first of them acting first.
        """

        def meta_gradient(
            theta: Tensor, alpha: float, steps: int, support_loss: Loss, query_loss: Loss
        ) -> Tensor:
            *visited, end = path(theta, alpha, steps, support_loss)
            v: Tensor = grad(query_loss)(end)
            for at in choose(visited):
                v = v - alpha * jacrev(grad(support_loss))(at) @ v
            return v

        return meta_gradient

    def bent(v: Tensor) -> Tensor:  # not a parabola, so its Hessian differs along the path
        return (v[0] ** 2 * v[1] - 1.0) ** 2 + 0.5 * (v[1] - 0.3) ** 2 + v[0] ** 4

    def wavy(v: Tensor) -> Tensor:
        return torch.sin(v[0]) + (v[1] - v[0]) ** 2

    one, two = torch.tensor([[0.7, -0.4], [-0.5, 0.6]], dtype=torch.float64)
    cases = [(one, 0.1, 0, bent, wavy), (one, 0.1, 1, bent, wavy)]
    cases += [(one, 0.1, 3, bent, wavy), (two, 0.05, 2, wavy, bent)]
    mistakes: dict[str, Callable[..., Tensor]] = {
        "That is first-order MAML: the Hessian is lost. Take the gradient by the start, and use "
        "create_graph=True if you use torch.autograd.": by_factors(lambda visited: []),
        "That is the gradient before any step: put the adapted parameters inside.": (
            lambda theta, alpha, steps, support, query: grad(query)(theta)
        ),
        "Every step has its own Hessian, at the theta_k where that step was taken.": by_factors(
            lambda visited: visited[:1] * len(visited)
        ),
        "The factors are in the wrong order: walk back, the last step first.": by_factors(
            lambda visited: visited
        ),
    }
    otherwise = "The losses are no parabolas here, and the number of inner steps is 0, 1, 2 or 3."
    right = by_factors(lambda visited: visited[::-1])
    needs = "the gradient, a tensor [P] as theta"
    return judge_function(answer, right, cases, mistakes, otherwise, needs=needs)


def exercise_3(answer: object) -> str | None:
    """dJ/dalpha of one spring: s, s_Q = 0.02 m^2, c = 0.50, c_Q = 0.48 N m, theta 20, alpha 10."""
    s, c, s_q, c_q, theta, alpha = 0.02, 0.50, 0.02, 0.48, 20.0, 10.0
    support_slope = 2 * (s * theta - c)
    query_slope = 2 * (s_q * (theta - alpha * support_slope) - c_q)
    right = -support_slope * query_slope
    after_half = theta - alpha * support_slope / 2
    mistakes = {
        "The sign is turned: theta' = theta - alpha L_S', so d theta'/d alpha = -L_S'.": -right,
        "You took the query gradient at the start; it belongs at the adapted theta'.": (
            -support_slope * 2 * (s_q * theta - c_q)
        ),
        "There is no Hessian factor here: L_S' is taken at theta, which alpha does not move.": (
            right * (1 - 2 * alpha * s)
        ),
        "You lost the 2 of the derivative of a square, in both slopes.": right / 4,
        "You lost the 2 of the derivative of a square: the slope is 2 (s theta - c).": (
            -(support_slope / 2) * (s_q * after_half - c_q)
        ),
    }
    otherwise = (
        "Compute L_S'(theta), then theta', then L_Q'(theta'); the answer is minus the product."
    )
    return judge(answer, right, mistakes, otherwise)


def exercise_4(answer: object) -> str | None:
    """The start that minimises the MAML objective of a soft and a stiff spring, alpha 22 1/m^2."""
    springs = ((10.0, 0.02), (40.0, 0.005))  # k in N/m, s in m^2
    alpha = 22.0

    def start(power: int, with_s: bool = True) -> float:
        """Mean of k with the weights s (1 - 2 alpha s)^power."""
        weights = [(s if with_s else 1.0) * (1 - 2 * alpha * s) ** power for _, s in springs]
        return sum(w * k for w, (k, _) in zip(weights, springs, strict=True)) / sum(weights)

    mistakes = {
        "That minimises plain risk, the loss before any step: weights s instead of the full.": (
            start(0)
        ),
        "The factor 1 - 2 alpha s must be squared; once is where first-order MAML stops.": start(1),
        "That is the plain mean of the spring constants; weigh them by s (1 - 2 alpha s)^2.": (
            start(0, with_s=False)
        ),
        "The query loss of a spring is s (theta' - k)^2: its s is missing in your weights.": (
            start(2, with_s=False)
        ),
    }
    otherwise = "It is a weighted mean of 10 and 40 N/m with the weights s (1 - 2 alpha s)^2."
    return judge(answer, start(2), mistakes, otherwise)
