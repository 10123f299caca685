"""Reptile: move the start towards where a few steps of training on a task lead
(Nichol, Achiam and Schulman 2018, arXiv:1803.02999).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mamlkit.checks import number
from mamlkit.errors import MamlkitError
from mamlkit.learners.base import Weights
from mamlkit.learners.maml import MAML
from mamlkit.learners.rules import Rule, plain
from mamlkit.learners.vectorise import each
from mamlkit.losses import Loss, mse
from mamlkit.tasks.base import Readings, TaskBatch, weighted


class Reptile(MAML):
    """Train on each task for a few steps, theta -> theta_k, then move theta towards the mean of
    all theta_k (Nichol et al. 2018, algorithm 2): no Hessian, and no graph of the inner loop.

    The outer gradient is (theta - theta_k) / inner_lr, averaged over tasks; with this scale
    (section 3 of the paper) it is the sum of the inner gradients, and one step gives the gradient
    of pooled training. An outer step of SGD with rate epsilon * inner_lr is then the paper's
    theta + epsilon * mean(theta_k - theta). The inner steps see all points of a task, support and
    query together: Reptile needs no split. The loss that is shown is that of any learner, on the
    query after adapting to the support alone; it costs a second inner loop and gives no gradient.
    Taught in notebook 06.

    Args:
        model, rule: as for :class:`mamlkit.MAML`.
        inner_lr: alpha, > 0.
        inner_steps: inner steps. One step is pooled training, which learns nothing about adapting;
            take several.
        loss: ``(predict, data) -> scalar``, a mean over points.
    """

    def __init__(
        self,
        model: nn.Module,
        inner_lr: float = 0.01,
        inner_steps: int = 5,
        *,
        rule: Rule = plain,
        loss: Loss = mse,
    ) -> None:
        number("inner_lr", inner_lr, positive=True)
        super().__init__(model, inner_lr, inner_steps, first_order=True, rule=rule, loss=loss)

    def objective(
        self, batch: TaskBatch, step_weights: Sequence[float] | Tensor
    ) -> tuple[Tensor, Tensor]:
        """Query losses after adapting to the support, whose gradient is Reptile's direction, and
        the support losses on the way.
        """
        steps = len(step_weights) - 1

        def direction(support: Any, query: Any) -> Weights:
            path, _ = self.inner_path(_together(support, query), steps)
            return {n: (w - path[-1][n]) / self.inner_lr for n, w in path[0].items()}

        with torch.no_grad():
            losses, support_losses = super().objective(batch, step_weights)
        if not torch.is_grad_enabled():
            return losses, support_losses
        with torch.no_grad():
            directions = each(direction)(batch.support, batch.query)  # each [n_tasks, ...]
        theta = self.start()
        # <theta, direction> of each task: its gradient by theta is the direction.
        products = [(theta[n] * d).flatten(1).sum(1) for n, d in directions.items()]
        surrogate = torch.stack(products).sum(0)  # [n_tasks]
        return losses + (surrogate - surrogate.detach()), support_losses


def _together(support: Any, query: Any) -> Any:
    """All points of one task."""
    if isinstance(support, Readings) != isinstance(query, Readings):
        support, query = weighted(support), weighted(query)
    shapes = [[list(leaf.shape) for leaf in part] for part in (support, query)]
    ends = [[shape[1:] if shape else None for shape in part] for part in shapes]
    if ends[0] != ends[1] or None in ends[0]:
        raise MamlkitError(
            "Reptile trains on support and query as one set of points, but they cannot be put "
            f"together along their first axis: a task's support has shapes {shapes[0]}, its query "
            f"{shapes[1]}. Every tensor of a task must be [n, ...]."
        )
    return type(support)(*(torch.cat(pair) for pair in zip(support, query, strict=True)))
