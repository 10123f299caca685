"""Solvers under the learners: ridge regression and Newton's method for closed-form heads, and for
implicit MAML L-BFGS and conjugate gradients, many tasks at once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from mamlkit.learners.vectorise import each, grad_and_value

Product = Callable[[Tensor], Tensor]
Objective = Callable[[Tensor, Any], Tensor]


class Rows(NamedTuple):
    """A convex loss of scores ``[.., n, ways]`` against a target ``[n, ways]``, row by row: its
    value, ``[.., n]``; and its slopes ``[n, ways]`` and curvatures ``[n, ways, ways]``.
    """

    value: Callable[[Tensor, Tensor], Tensor]
    derivatives: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def ridge(features: Tensor, y: Tensor, penalty: Tensor, weight: Tensor | None = None) -> Tensor:
    """The minimum of ``|Phi W - Y|^2 + lambda |W|^2``: features ``[n, q]``, y ``[n, d_out]``, W
    ``[q, d_out]``; the square of each row, or of each entry, times its ``weight`` if there is one.
    Solves the smaller of two equal systems (Woodbury's identity): q equations in
    W = (Phi^T Phi + lambda I)^-1 Phi^T Y, or n in W = Phi^T (Phi Phi^T + lambda I)^-1 Y.
    """
    if weight is not None:
        root = weight.sqrt()  # [n, 1] or [n, d_out]
        if root.shape[1] > 1:  # a system for each output
            one = each(lambda r, y: ridge(r[:, None] * features, r[:, None] * y[:, None], penalty))
            return one(root.T, y.T)[..., 0].T
        features, y = root * features, root * y
    basis, scores, pull = _smaller(features)  # W = basis B
    system = pull @ scores  # [m, m]
    strength = _floor(penalty, features) * _eye(len(system), system)
    return basis @ _solve(system + strength, pull @ y)


def newton(
    features: Tensor,
    target: Tensor,
    penalty: Tensor,
    rows: Rows,
    steps: int,
    weight: Tensor | None = None,
) -> Tensor:
    """The minimum of ``sum_i l(phi_i W, y_i) + lambda/2 |W|^2`` by Newton's method: features
    ``[n, q]``, target ``[n, ways]``, W ``[q, ways]``; each row of the sum times its ``weight``
    ``[n, 1]`` if there is one.

    All steps but the last find the minimum, each the best of some fractions of a full step, and are
    plain numbers. The last, from the minimum, moves nothing, but carries the gradient: by the
    implicit function theorem dW = -H^-1 dg, with g the gradient there.
    """
    basis, scores, pull = _smaller(features)  # W = basis B, scores of the points: scores B
    penalty = _floor(penalty, features)
    shape = (scores.shape[1], target.shape[1])  # [m, ways]
    size = shape[0] * shape[1]

    def objective(b: Tensor) -> Tensor:
        value = rows.value(scores @ b, target)  # [.., n]
        value = value if weight is None else weight[:, 0] * value
        return value.sum(-1) + penalty / 2 * (basis @ b).square().sum((-2, -1))

    def direction(b: Tensor) -> Tensor:
        slope, curvature = rows.derivatives(scores @ b, target)
        if weight is not None:
            slope, curvature = weight * slope, weight[..., None] * curvature
        gradient = pull @ slope + penalty * b  # [m, ways]
        with torch.no_grad():
            hessian = torch.einsum("an,ncd,nb->acbd", pull, curvature, scores).reshape(size, size)
            hessian = hessian + penalty * _eye(size, hessian)
        return _solve(hessian.detach(), gradient.reshape(-1, 1)).reshape(shape)

    with torch.no_grad():
        b = scores.new_zeros(shape)
        fractions = 0.5 ** torch.arange(8, device=scores.device)[:, None, None]
        for _ in range(steps):
            trials = b - fractions * direction(b)  # [8, m, ways]
            best = objective(trials).argmin()
            b = trials.index_select(0, best[None])[0]
    b = b.detach()
    return basis @ (b - direction(b))


def _smaller(features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The smaller of two unknowns B ``[m, ..]``, with W = basis B: weights of the features, m = q,
    or of the points, m = n. Returns basis ``[q, m]``, the map to scores Phi W = scores B
    ``[n, m]``, and the map ``pull [m, n]`` with Phi^T = basis pull.
    """
    n, q = features.shape
    if n < q:
        return features.T, features @ features.T, _eye(n, features)
    return _eye(q, features), features, features.T


def _eye(n: int, like: Tensor) -> Tensor:
    return torch.eye(n, dtype=like.dtype, device=like.device)


def _floor(penalty: Tensor, features: Tensor) -> Tensor:
    """At least what rounding can tell beside Phi^T Phi, so that no system is singular."""
    trace = features.square().sum()
    return torch.maximum(penalty, torch.finfo(features.dtype).eps * trace)


def _solve(matrix: Tensor, right: Tensor) -> Tensor:
    """matrix^-1 right. A matrix that is not finite gives nan, not an error of its own."""
    return torch.linalg.solve_ex(matrix, right)[0]


def _logistic_value(scores: Tensor, target: Tensor) -> Tensor:
    return -(target * torch.log_softmax(scores, dim=-1)).sum(-1)


def _logistic_derivatives(scores: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    p = torch.softmax(scores, dim=-1)  # [n, ways]
    return p - target, torch.diag_embed(p) - p[:, :, None] * p[:, None, :]


def _hinge_value(scores: Tensor, target: Tensor) -> Tensor:
    return torch.relu(1 - (2 * target - 1) * scores).square().sum(-1) / 2


def _hinge_derivatives(scores: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    sign = 2 * target - 1  # [n, ways]
    short = torch.relu(1 - sign * scores)  # what a score lacks to the margin
    return -sign * short, torch.diag_embed((short > 0).to(scores))


LOGISTIC = Rows(_logistic_value, _logistic_derivatives)
HINGE = Rows(_hinge_value, _hinge_derivatives)


def conjugate_gradients(
    product: Product, b: Tensor, tolerance: float | Tensor, max_steps: int
) -> tuple[Tensor, Tensor]:
    """Solve A x = b for many tasks at once (Hestenes and Stiefel 1952).

    Args:
        product: ``p [n_tasks, P] -> A p [n_tasks, P]``, each task with its own symmetric A.
        b: right-hand sides, ``[n_tasks, P]``.
        tolerance: a task stops at ``|b - A x| <= tolerance |b|``; one for all, or ``[n_tasks, 1]``.
        max_steps: largest number of steps. A task also stops where A turns out not to be positive.

    Returns the best ``x [n_tasks, P]`` and how far it came, ``|b - A x| / |b|``, ``[n_tasks]``.
    """
    x, r, p = torch.zeros_like(b), b, b
    square = (r * r).sum(1, keepdim=True)
    size, goal = square, tolerance**2 * square
    best, least = x, square  # where A is not positive, residuals may grow
    going = square > goal  # [n_tasks, 1]
    for _ in range(max_steps):
        if not going.any():
            break
        a_p = product(p)
        curvature = (p * a_p).sum(1, keepdim=True)
        going = going & (curvature > 0)
        step = torch.where(going, square / curvature, 0)
        x, r = x + step * p, r - step * a_p
        before, square = square, (r * r).sum(1, keepdim=True)
        p = torch.where(going, r + square / before * p, p)
        better = square < least
        best, least = torch.where(better, x, best), torch.where(better, square, least)
        going = going & (square > goal)
    return best, _ratio(least, size).sqrt()[:, 0]


class Minimum(NamedTuple):
    """Where :func:`lbfgs` came to: ``phi [n_tasks, P]``; ``steps [n_tasks]``, the steps taken;
    ``residual [n_tasks]``, the gradient's norm there over its norm at the start.
    """

    phi: Tensor
    steps: Tensor
    residual: Tensor


def lbfgs(
    objective: Objective,
    phi: Tensor,
    data: Any,
    tolerance: float,
    max_steps: int,
    memory: int = 10,
) -> Minimum:
    """Minimise ``objective(phi [P], data of one task)`` for many tasks at once (Nocedal and Wright
    2006, algorithms 7.4 and 7.5).

    A task is done when ``|grad| <= tolerance |grad at the start|``, or when no step in the
    direction found helps any more: rounding, or a kink. With ``tolerance=0`` only the latter
    ends it.
    """
    slope_and_value = each(grad_and_value(objective))
    g, value = slope_and_value(phi, data)  # [n_tasks, P], [n_tasks]
    first = norm = g.norm(dim=1, keepdim=True)  # [n_tasks, 1]
    going, steps = norm > tolerance * first, torch.zeros_like(value, dtype=torch.int64)
    s, y = phi.new_zeros(2, memory, *phi.shape)  # the last steps, and what they did to g
    inverse = phi.new_zeros(memory, *norm.shape)  # 1 / <s, y>; 0 where there is no pair
    scale = _ratio(torch.ones_like(norm), norm)
    level = torch.finfo(phi.dtype).eps ** 0.5
    for k in range(max_steps):
        if not going.any():
            break
        d, weights = -g, {}  # d = -(inverse Hessian as far as known) g
        newest_first = [(k - 1 - j) % memory for j in range(min(k, memory))]
        for i in newest_first:
            weights[i] = inverse[i] * _dot(s[i], d)
            d = d - weights[i] * y[i]
        d = scale * d
        for i in reversed(newest_first):
            d = d + (weights[i] - inverse[i] * _dot(y[i], d)) * s[i]
        slope = _dot(d, g)  # < 0

        t, found = torch.ones_like(norm), ~going  # halve t until the step is good
        trial, new_g, new_value = phi, g, value
        for _ in range(30):
            left = (~found[:, 0]).nonzero()[:, 0]  # only these run
            there = phi[left] + t[left] * d[left]
            own = tree_map(lambda leaf, left=left: leaf[left], data)
            its_g, its_value = slope_and_value(there, own)
            trial, new_g = trial.index_copy(0, left, there), new_g.index_copy(0, left, its_g)
            new_value = new_value.index_copy(0, left, its_value)
            rise = (new_value - value)[:, None]
            lower = rise <= 1e-4 * t * slope
            # Near the end rounding hides that the value falls; the slopes still show it (the
            # approximate Wolfe condition of Hager and Zhang 2005, doi:10.1137/030601880).
            level_off = (_dot(d, new_g) <= -0.8 * slope) & (rise <= level * value.abs()[:, None])
            found = found | lower | level_off
            if found.all():
                break
            t = torch.where(found, t, 0.5 * t)
        going = going & found
        s[k % memory] = torch.where(going, trial - phi, 0)
        y[k % memory] = torch.where(going, new_g - g, 0)
        s_y, y_y = _dot(s[k % memory], y[k % memory]), _dot(y[k % memory], y[k % memory])
        bent = s_y > 1e-8 * y_y  # only pairs of positive curvature keep d downhill
        inverse[k % memory] = torch.where(bent, 1 / s_y, 0)
        scale = torch.where(bent, s_y / y_y, scale)
        phi, g = torch.where(going, trial, phi), torch.where(going, new_g, g)
        value, norm = torch.where(going[:, 0], new_value, value), g.norm(dim=1, keepdim=True)
        steps = steps + going[:, 0]
        going = going & (norm > tolerance * first)
    return Minimum(phi, steps, _ratio(norm, first)[:, 0])


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum(1, keepdim=True)  # [n_tasks, 1]


def _ratio(a: Tensor, b: Tensor) -> Tensor:
    """a / b, and 0 / 0 = 0: a task that is solved from the start."""
    return a / b.clamp(min=torch.finfo(b.dtype).tiny)
