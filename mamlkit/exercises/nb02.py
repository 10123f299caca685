"""Checkers of notebook 02: the mathematics of MAML."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.func import grad, jacrev

from mamlkit.exercises import close


def exercise_1(answer: Any) -> str | None:
    """The factor of two inner steps for the linear law, as a function of alpha and s."""
    if not callable(answer):
        return "Give the function itself, such as mk.check('02.1', factor), not what it returns."
    cases = ((4.0, 0.02), (12.0, 0.015), (30.0, 0.03))  # alpha in 1/m^2, s in m^2
    values = [answer(alpha, s) for alpha, s in cases]

    def is_always(formula: Any) -> bool:
        """Does the answer equal ``formula(alpha * s)`` in every case?"""
        return all(
            close(value, formula(a * s), 1e-6) for value, (a, s) in zip(values, cases, strict=True)
        )

    if is_always(lambda z: (1 - 2 * z) ** 2):
        return None
    if is_always(lambda z: 1 - 4 * z):
        return "You dropped the square term: (1 - 2 alpha s)^2 has a third term, 4 alpha^2 s^2."
    if is_always(lambda z: 1 - 2 * z):
        return "That is the factor of one step; each step brings its own factor."
    if is_always(lambda z: 2 * (1 - 2 * z)):
        return "You added the two factors; the derivatives of nested functions multiply."
    if is_always(lambda z: (1 - z) ** 2):
        return "You lost the 2 of the derivative of a square: the Hessian is 2 s."
    if is_always(lambda z: 1.0):
        return "That is first-order MAML, which drops the factor altogether."
    return "Differentiate theta_2 by theta_1, then theta_1 by theta, and multiply."


def exercise_2(answer: Any) -> str | None:
    """The meta-gradient through any number of inner steps, for any two losses."""
    if not callable(answer):
        return "Give the function itself, such as mk.check('02.2', meta_gradient)."

    def support(v: Tensor) -> Tensor:  # not a parabola, so its Hessian differs along the path
        return (v[0] ** 2 * v[1] - 1.0) ** 2 + 0.5 * (v[1] - 0.3) ** 2 + v[0] ** 4

    def query(v: Tensor) -> Tensor:
        return torch.sin(v[0]) + (v[1] - v[0]) ** 2

    theta = torch.tensor([0.7, -0.4], dtype=torch.float64)
    alpha = 0.1

    def path(steps: int) -> list[Tensor]:
        """theta_0 .. theta_steps."""
        points = [theta]
        for _ in range(steps):
            points.append(points[-1] - alpha * grad(support)(points[-1]))
        return points

    def product(steps: int, places: list[Tensor]) -> Tensor:
        """Factors with Hessians at ``places``, the first of them acting first."""
        v: Tensor = grad(query)(path(steps)[-1])
        for at in places:
            v = v - alpha * jacrev(grad(support))(at) @ v
        return v

    def same(value: Any, expected: Tensor) -> bool:
        """Is ``value`` the tensor ``expected``, to six digits?"""
        given = torch.as_tensor(value, dtype=torch.float64)
        return given.shape == expected.shape and torch.allclose(given, expected, rtol=1e-6)

    for steps in (0, 1, 3):
        value = answer(theta.clone(), alpha, steps, support, query)
        if value is None:
            return "It returned None; is a return missing?"
        visited = path(steps)[:-1]
        if same(value, product(steps, visited[::-1])):
            continue
        if same(value, product(steps, [])):
            return (
                "That is first-order MAML: the Hessian is lost. Take the gradient by the start, "
                "and use create_graph=True if you use torch.autograd."
            )
        if same(value, grad(query)(theta)):
            return "That is the gradient before any step: put the adapted parameters inside."
        if same(value, product(steps, [theta] * steps)):
            return "Every step has its own Hessian, at the theta_k where that step was taken."
        if same(value, product(steps, visited)):
            return "The factors are in the wrong order: walk back, the last step first."
        return (
            f"For {steps} inner step(s) of a loss that is no parabola it gave {value}, where "
            f"{product(steps, visited[::-1]).tolist()} is right."
        )
    return None


def exercise_3(answer: Any) -> str | None:
    """dJ/dalpha of one spring: s, s_Q = 0.02 m^2, c = 0.50, c_Q = 0.48 N m, theta 20, alpha 10."""
    s, c, s_q, c_q, theta, alpha = 0.02, 0.50, 0.02, 0.48, 20.0, 10.0
    support_slope = 2 * (s * theta - c)
    after = theta - alpha * support_slope
    query_slope = 2 * (s_q * after - c_q)
    if close(answer, -support_slope * query_slope, 1e-3):
        return None
    if close(answer, support_slope * query_slope, 1e-3):
        return "The sign is turned: theta' = theta - alpha L_S', so d theta'/d alpha = -L_S'."
    if close(answer, -support_slope * 2 * (s_q * theta - c_q), 1e-3):
        return "You took the query gradient at the start; it belongs at the adapted theta'."
    if close(answer, -support_slope * query_slope * (1 - 2 * alpha * s), 1e-3):
        return "There is no Hessian factor here: L_S' is taken at theta, which alpha does not move."
    if close(answer, -support_slope * query_slope / 4, 1e-3):
        return "You lost the 2 of the derivative of a square, in both slopes."
    after_half = theta - alpha * support_slope / 2
    if close(answer, -(support_slope / 2) * (s_q * after_half - c_q), 1e-3):
        return "You lost the 2 of the derivative of a square: the slope is 2 (s theta - c)."
    return "Compute L_S'(theta), then theta', then L_Q'(theta'); the answer is minus the product."


def exercise_4(answer: Any) -> str | None:
    """The start that minimises the MAML objective of a soft and a stiff spring, alpha 22 1/m^2."""
    springs = ((10.0, 0.02), (40.0, 0.005))  # k in N/m, s in m^2
    alpha = 22.0

    def start(power: int, with_s: bool = True) -> float:
        """Mean of k with the weights s (1 - 2 alpha s)^power."""
        weights = [(s if with_s else 1.0) * (1 - 2 * alpha * s) ** power for _, s in springs]
        return sum(w * k for w, (k, _) in zip(weights, springs, strict=True)) / sum(weights)

    if close(answer, start(2), 3e-3):
        return None
    if close(answer, start(0)):
        return "That minimises plain risk, the loss before any step: weights s instead of the full."
    if close(answer, start(1)):
        return "The factor 1 - 2 alpha s must be squared; once is where first-order MAML stops."
    if close(answer, start(0, with_s=False)):
        return "That is the plain mean of the spring constants; weigh them by s (1 - 2 alpha s)^2."
    if close(answer, start(2, with_s=False), 3e-3):
        return "The query loss of a spring is s (theta' - k)^2: its s is missing in your weights."
    return "It is a weighted mean of 10 and 40 N/m with the weights s (1 - 2 alpha s)^2."
