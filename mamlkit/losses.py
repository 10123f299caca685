"""Losses: functions ``(predict, data) -> scalar``, where ``predict`` maps inputs to outputs.

Write your own in the same form; it must be differentiable and may use whatever ``data`` holds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from mamlkit.errors import MamlkitError
from mamlkit.tasks.base import Data

Predict = Callable[[Tensor], Tensor]
Loss = Callable[[Predict, Any], Tensor]


def mse(predict: Predict, data: Data) -> Tensor:
    """Mean squared error over points and outputs, in squared units of ``y``."""
    y = predict(data.x)
    if y.shape != data.y.shape:  # or the difference would broadcast, without a word
        raise MamlkitError(
            f"the model predicts shape {list(y.shape)}, but y has shape {list(data.y.shape)}; a "
            "squared error needs both alike, [n, d_out]."
        )
    return ((y - data.y) ** 2).mean()


def rmse(predict: Predict, data: Data) -> Tensor:
    """Root of the mean squared error, in units of ``y``. For reports: infinite slope at 0."""
    return mse(predict, data).sqrt()


def cross_entropy(predict: Predict, data: Data) -> Tensor:
    """Logistic loss, the inner objective of logistic regression: mean of -log softmax(s)[y].

    ``predict(x)`` gives scores ``[n, ways]``; ``data.y`` holds whole-number labels ``[n]``.
    """
    log_p = torch.log_softmax(predict(data.x), dim=-1)  # [n, ways]
    return -_at_labels(log_p, data.y).mean()


def hinge(predict: Predict, data: Data) -> Tensor:
    """Hinge loss, the inner objective of a support vector machine: mean of
    max(0, 1 + max_{j != y} s_j - s_y) (Crammer and Singer 2001, eq. 4).

    ``predict(x)`` gives scores ``[n, ways]``; ``data.y`` holds whole-number labels ``[n]``.
    """
    scores = predict(data.x)  # [n, ways]
    own = _at_labels(scores, data.y)  # [n]
    others = scores.scatter(-1, data.y[:, None], -torch.inf)
    return torch.relu(1 + others.amax(-1) - own).mean()


def error_rate(predict: Predict, data: Data) -> Tensor:
    """Fraction of points whose largest score is not at the true label. For reports only."""
    scores = predict(data.x)  # [n, ways]
    _at_labels(scores, data.y)
    return (scores.argmax(-1) != data.y).to(scores.dtype).mean()


def _at_labels(scores: Tensor, y: Tensor) -> Tensor:
    """The entry of each row of ``scores [n, ways]`` at its label ``y [n]``."""
    whole = not (y.is_floating_point() or y.is_complex()) and y.dtype != torch.bool
    if not whole or scores.ndim != 2 or y.shape != scores.shape[:1]:
        raise MamlkitError(
            f"the model gives scores of shape {list(scores.shape)} and y is {y.dtype} of shape "
            f"{list(y.shape)}; classification needs scores [n, ways] and whole-number labels [n], "
            "torch.int64."
        )
    try:
        return scores.gather(-1, y[:, None])[:, 0]
    except RuntimeError as error:  # the values cannot be looked at inside vmap, so ask gather
        ways = scores.shape[-1]
        raise MamlkitError(
            f"y must be int64 labels from 0 to {ways - 1}, since the model gives {ways} scores a "
            f"point: {error}."
        ) from error
