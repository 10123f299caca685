"""Losses: functions ``(predict, data) -> scalar``, where ``predict`` maps inputs to outputs.

Write your own in the same form; it must be differentiable and may use whatever ``data`` holds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from mamlkit.checks import count, name_of, remade
from mamlkit.errors import MamlkitError
from mamlkit.ode import rk4

Predict = Callable[[Tensor], Tensor]
Loss = Callable[[Predict, Any], Tensor]


@remade
def of_target(function: Callable[[Tensor, Tensor], Tensor]) -> Loss:
    """A function of prediction and target, such as ``torch.nn.MSELoss()``, as a loss. Losses of
    torch.nn and torch.nn.functional are taken as they are; only for one of your own write
    ``mk.losses.of_target(mine)``.
    """

    def of_data(predict: Predict, data: Any) -> Tensor:
        if hasattr(data, "weight"):
            raise MamlkitError(
                f"{of_data.__name__} knows no weights of readings; use a loss of mk.losses, or one "
                "of your own, loss(predict, data), with mk.losses.mean_over."
            )
        return function(asked(predict, data.x), data.y)

    of_data.__name__ = name_of(function)
    return of_data


def as_loss(loss: Any) -> Loss:
    """``loss`` as a function ``(predict, data) -> scalar``; what cannot be one is refused."""
    if not callable(loss) or isinstance(loss, type):
        raise MamlkitError(
            f"loss must be a function (predict, data) -> scalar, such as mk.losses.mse, or a loss "
            f"of torch.nn, but {loss!r} was given."
        )
    place = getattr(loss, "__module__", None) or ""
    if place.startswith(("torch.nn.modules.loss", "torch.nn.functional")):
        return of_target(loss)
    return loss


def asked(predict: Predict, x: Tensor) -> Tensor:
    """The prediction at ``x``, which must be one tensor."""
    y: Any = predict(x)
    if not isinstance(y, Tensor):
        raise MamlkitError(
            f"the prediction is of type {type(y).__name__}; predict(x_new) must return a "
            "torch.Tensor [m, d_out]. Wrap a model that returns more than that in one that returns "
            "the tensor alone, or judge it by a loss of your own."
        )
    return y


def mse(predict: Predict, data: Any) -> Tensor:
    """Mean squared error over points and outputs, in squared units of ``y``."""
    y = asked(predict, data.x)
    if y.shape != data.y.shape:  # or the difference would broadcast, without a word
        raise MamlkitError(
            f"the model predicts shape {list(y.shape)}, but y has shape {list(data.y.shape)}; a "
            "squared error needs both alike, [n, d_out]."
        )
    return mean_over((y - data.y) ** 2, data)


def mean_over(values: Tensor, data: Any) -> Tensor:
    """The mean of ``values``, one a point ``[n]`` or one a point and output ``[n, d_out]``, by the
    weights that ``data`` may hold (:class:`mamlkit.Readings`); 0 where nothing was measured.
    """
    weight = getattr(data, "weight", None)
    if weight is None:
        return values.mean() if values.numel() else values.sum()
    weight = weight.expand_as(values) if values.ndim > 1 else weight[..., 0]
    return (weight * values).sum() / weight.sum().clamp(min=torch.finfo(weight.dtype).tiny)


def rmse(predict: Predict, data: Any) -> Tensor:
    """Root of the mean squared error, in units of ``y``. For reports: infinite slope at 0."""
    return mse(predict, data).sqrt()


def cross_entropy(predict: Predict, data: Any) -> Tensor:
    """Logistic loss, the inner objective of logistic regression: mean of -log softmax(s)[y].

    ``predict(x)`` gives scores ``[n, ways]``; ``data.y`` holds whole-number labels ``[n]``.
    """
    log_p = torch.log_softmax(asked(predict, data.x), dim=-1)  # [n, ways]
    return mean_over(-_at_labels(log_p, data.y), data)


def hinge(predict: Predict, data: Any) -> Tensor:
    """Hinge loss, the inner objective of a support vector machine: mean of
    max(0, 1 + max_{j != y} s_j - s_y) (Crammer and Singer 2001, eq. 4).

    ``predict(x)`` gives scores ``[n, ways]``; ``data.y`` holds whole-number labels ``[n]``.
    """
    scores = asked(predict, data.x)  # [n, ways]
    own = _at_labels(scores, data.y)  # [n]
    others = scores.scatter(-1, data.y.long()[:, None], -torch.inf)
    return mean_over(torch.relu(1 + others.amax(-1) - own), data)


def error_rate(predict: Predict, data: Any) -> Tensor:
    """Fraction of points whose largest score is not at the true label. For reports only."""
    return mean_over(1 - _hits(predict, data), data)


def accuracy(predict: Predict, data: Any) -> Tensor:
    """Fraction of points whose largest score is at the true label. For reports only."""
    return mean_over(_hits(predict, data), data)


def _hits(predict: Predict, data: Any) -> Tensor:
    """1 where the largest score is at the true label, else 0: ``[n]``."""
    scores = asked(predict, data.x)  # [n, ways]
    _at_labels(scores, data.y)
    return (scores.argmax(-1) == data.y).to(scores.dtype)


def derivatives(predict: Predict, data: Any) -> Tensor:
    """Mean squared error of a vector field against the rates of change that a simulator knows.

    ``predict`` maps states ``[.., d]`` to dy/dt ``[.., d]``; ``data`` holds ``y`` and ``dy``, both
    ``[n, T, d]`` (:class:`mamlkit.tasks.Trajectories`).
    """
    return ((asked(predict, data.y) - data.dy) ** 2).mean()


@remade
def trajectories(horizon: int | None = None, substeps: int = 1) -> Loss:
    """A loss on trajectories: integrate the learned vector field and compare with what was seen.

    ``predict`` maps states ``[.., d]`` to dy/dt ``[.., d]``; ``data`` holds ``t [T]``, or of each
    trajectory ``[n, T]``, and ``y [n, T, d]``. The loss is the mean squared error over all
    predicted states.

    Args:
        horizon: multiple shooting: *every* recorded state is a start, from which the next
            ``horizon`` states are predicted (Bock and Plitt 1984 let the starts vary; here they are
            the data). Short horizons are easy to train on and forgive noise badly; None predicts
            the whole trajectory from its first state.
        substeps: Runge-Kutta steps between two times.
    """
    horizon = None if horizon is None else count("horizon", horizon)
    substeps = count("substeps", substeps)

    def trajectory_error(predict: Predict, data: Any) -> Tensor:
        t, y = data.t if data.t.ndim == 2 else data.t[None], data.y  # [n or 1, T]
        times = t.shape[1]
        steps = times - 1 if horizon is None else horizon
        if steps >= times:
            raise MamlkitError(
                f"horizon={horizon} states ahead need {steps + 1} times, but the trajectories have "
                f"{times}; lower horizon."
            )
        windows = times - steps
        at = torch.stack([t[:, k : k + windows] for k in range(steps + 1)])  # [.., n or 1, windows]
        seen = torch.stack([y[:, k : k + windows] for k in range(steps + 1)])
        found = rk4(lambda _, state: asked(predict, state), seen[0], at[..., None], substeps)
        return ((found[1:] - seen[1:]) ** 2).mean()

    trajectory_error.__name__ = f"trajectories(horizon={horizon}, substeps={substeps})"
    return trajectory_error


def _at_labels(scores: Tensor, y: Tensor) -> Tensor:
    """The entry of each row of ``scores [n, ways]`` at its label ``y [n]``."""
    whole = not (y.is_floating_point() or y.is_complex()) and y.dtype != torch.bool
    if not whole or scores.ndim != 2 or y.shape != scores.shape[:1]:
        raise MamlkitError(
            f"the model gives scores of shape {list(scores.shape)} and y is {y.dtype} of shape "
            f"{list(y.shape)}; classification needs scores [n, ways] and whole-number labels [n], "
            "such as y.long()."
        )
    try:
        return scores.gather(-1, y.long()[:, None])[:, 0]
    except RuntimeError as error:  # the values cannot be looked at inside vmap, so ask gather
        if "out of bounds" not in str(error):
            raise
        ways = scores.shape[-1]
        raise MamlkitError(
            f"y must be labels from 0 to {ways - 1}, since the model gives {ways} scores a "
            f"point: {error}."
        ) from error
