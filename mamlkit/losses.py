"""Losses: functions ``(predict, data) -> scalar``, where ``predict`` maps inputs to outputs.

Write your own in the same form; it must be differentiable and may use whatever ``data`` holds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from mamlkit.tasks.base import Data

Predict = Callable[[Tensor], Tensor]
Loss = Callable[[Predict, Any], Tensor]


def mse(predict: Predict, data: Data) -> Tensor:
    """Mean squared error over points and outputs, in squared units of ``y``."""
    return ((predict(data.x) - data.y) ** 2).mean()


def rmse(predict: Predict, data: Data) -> Tensor:
    """Root of the mean squared error, in units of ``y``. For reports: its slope is infinite at 0."""
    return mse(predict, data).sqrt()


def cross_entropy(predict: Predict, data: Data) -> Tensor:
    """Logistic loss, the inner objective of logistic regression: mean of -log softmax(s)[y].

    ``predict(x)`` gives scores ``[n, ways]``; ``data.y`` holds whole-number labels ``[n]``.
    """
    log_p = torch.log_softmax(predict(data.x), dim=-1)  # [n, ways]
    return -log_p.gather(-1, data.y[:, None]).mean()


def hinge(predict: Predict, data: Data) -> Tensor:
    """Hinge loss, the inner objective of a support vector machine: mean of
    max(0, 1 + max_{j != y} s_j - s_y) (Crammer and Singer 2001, eq. 4).

    ``predict(x)`` gives scores ``[n, ways]``; ``data.y`` holds whole-number labels ``[n]``.
    """
    scores = predict(data.x)  # [n, ways]
    own = scores.gather(-1, data.y[:, None])  # [n, 1]
    others = scores.scatter(-1, data.y[:, None], -torch.inf)
    return torch.relu(1 + others.amax(-1) - own[:, 0]).mean()


def error_rate(predict: Predict, data: Data) -> Tensor:
    """Fraction of points whose largest score is not at the true label. For reports, not training."""
    return (predict(data.x).argmax(-1) != data.y).to(data.x.dtype).mean()
