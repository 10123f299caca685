"""What a closed-form head solves: ridge regression exactly, convex losses by Newton's method."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor


class Rows(NamedTuple):
    """A convex loss of scores ``[.., n, ways]`` against a target ``[n, ways]``, summed over rows:
    its value, ``[..]``; and its slopes ``[n, ways]`` and curvatures ``[n, ways, ways]``.
    """

    value: Callable[[Tensor, Tensor], Tensor]
    derivatives: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def ridge(features: Tensor, y: Tensor, penalty: Tensor) -> Tensor:
    """The minimum of |Phi W - Y|^2 + lambda |W|^2: features ``[n, q]``, y ``[n, d_out]``, W
    ``[q, d_out]``. Solves the smaller of two equal systems (Woodbury's identity): q equations in
    W = (Phi^T Phi + lambda I)^-1 Phi^T Y, or n in W = Phi^T (Phi Phi^T + lambda I)^-1 Y.
    """
    basis, scores, pull = _smaller(features)  # W = basis B
    system = pull @ scores  # [m, m]
    strength = _floor(penalty, features) * _eye(len(system), system)
    return basis @ _solve(system + strength, pull @ y)


def newton(features: Tensor, target: Tensor, penalty: Tensor, rows: Rows, steps: int) -> Tensor:
    """The minimum of sum_i l(phi_i W, y_i) + lambda/2 |W|^2 by Newton's method: features
    ``[n, q]``, target ``[n, ways]``, W ``[q, ways]``.

    All steps but the last find the minimum, each the best of some fractions of a full step, and are
    plain numbers. The last, from the minimum, moves nothing, but carries the gradient: by the
    implicit function theorem dW = -H^-1 dg, with g the gradient there.
    """
    basis, scores, pull = _smaller(features)  # W = basis B, scores of the points: scores B
    penalty = _floor(penalty, features)
    shape = (scores.shape[1], target.shape[1])  # [m, ways]
    size = shape[0] * shape[1]

    def objective(b: Tensor) -> Tensor:
        weight = (basis @ b).square().sum((-2, -1))
        return rows.value(scores @ b, target) + penalty / 2 * weight

    def direction(b: Tensor) -> Tensor:
        slope, curvature = rows.derivatives(scores @ b, target)
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
    solution: Tensor = torch.linalg.solve_ex(matrix, right)[0]
    return solution


def _logistic_value(scores: Tensor, target: Tensor) -> Tensor:
    return -(target * torch.log_softmax(scores, dim=-1)).sum((-2, -1))


def _logistic_derivatives(scores: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    p = torch.softmax(scores, dim=-1)  # [n, ways]
    return p - target, torch.diag_embed(p) - p[:, :, None] * p[:, None, :]


def _hinge_value(scores: Tensor, target: Tensor) -> Tensor:
    return torch.relu(1 - (2 * target - 1) * scores).square().sum((-2, -1)) / 2


def _hinge_derivatives(scores: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    sign = 2 * target - 1  # [n, ways]
    short = torch.relu(1 - sign * scores)  # what a score lacks to the margin
    return -sign * short, torch.diag_embed((short > 0).to(scores))


LOGISTIC = Rows(_logistic_value, _logistic_derivatives)
HINGE = Rows(_hinge_value, _hinge_derivatives)
