"""Step sizes of the inner loop: one number; or learned per tensor, per tensor and inner step, per
element, or as a matrix.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from mamlkit.learners.base import Weights, flatten, unflatten

LearnedLR = Literal["tensor", "step", "element", "matrix"]


def descend(theta: Weights, alpha: Weights | Tensor, direction: Weights) -> Weights:
    """theta - alpha * direction, with one step size per name, or a matrix over all entries."""
    if isinstance(alpha, Tensor):  # [P, P], P = number of adapted weights
        step = unflatten(alpha @ flatten(direction), theta)
        return {name: w - step[name] for name, w in theta.items()}
    return {name: w - alpha[name] * direction[name] for name, w in theta.items()}


def initial_rates(
    theta: Weights,
    inner_lr: float | tuple[float, ...],
    inner_steps: int,
    learn_lr: LearnedLR | None,
    positive: bool,
) -> nn.ParameterList:
    """Learned step sizes for the weights ``theta``, all ``inner_lr`` at first, or one of them
    for each step; none if ``learn_lr`` is None. ``positive`` stores logarithms.
    """
    start = [w.detach() for w in theta.values()]
    alpha = start[0].new_tensor(inner_lr)  # [] or [inner_steps]
    if learn_lr is None:
        rates = []
    elif learn_lr == "matrix":
        size = sum(w.numel() for w in start)
        rates = [alpha * torch.eye(size, dtype=start[0].dtype, device=start[0].device)]
    else:
        shapes = {"tensor": (), "step": (inner_steps,)}
        rates = [alpha * w.new_ones(shapes.get(learn_lr, w.shape)) for w in start]
    return nn.ParameterList(r.log() if positive else r for r in rates)
