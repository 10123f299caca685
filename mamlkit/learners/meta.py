"""What every meta-learner of the package shares: the meta-loss over a batch of tasks."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import vmap

from mamlkit.checks import count
from mamlkit.errors import MamlkitError
from mamlkit.learners.base import (
    Adapted,
    Episodes,
    Weights,
    as_data,
    check_batch,
    check_model,
    run_model,
)
from mamlkit.losses import Loss, Predict, mse
from mamlkit.tasks.base import TaskBatch


class MetaLearner(nn.Module):
    """A learner that is itself learned. A subclass says, for *one* task, how to adapt
    (:meth:`inner_path`) and what to predict then (:meth:`predictor`); the rest is here.

    Args:
        model: any module without BatchNorm running statistics or Dropout; copied, so one model can
            start several learners.
        loss: ``(predict, data) -> scalar``, for support and query.

    Attributes:
        inner_steps: steps of the inner loop; 0 for a learner that adapts in closed form.
        step_weights: weights of the query loss after 0 .. inner_steps steps.
        result: what :meth:`adapt` returns.
    """

    inner_steps: int = 0
    step_weights: tuple[float, ...] = (1.0,)
    result: type[Adapted] = Adapted

    def __init__(self, model: nn.Module, loss: Loss = mse) -> None:
        super().__init__()
        check_model(model)
        self.model, self.loss = copy.deepcopy(model), loss

    def inner_path(self, support: Any, steps: int) -> tuple[list[Weights], Tensor]:
        """Adapt to one task: what is adapted, before and after each of ``steps`` steps, and the
        support losses there, ``[steps + 1]``, as plain records. In closed form: the result alone.
        """
        raise NotImplementedError(f"{type(self).__name__} has no inner_path(support, steps)")

    def predictor(self, theta: Weights) -> Predict:
        """The prediction with ``theta``, one entry of the inner path: ``[n, ..] -> [n, d_out]``."""
        raise NotImplementedError(f"{type(self).__name__} has no predictor(theta)")

    def forward(self, batch: TaskBatch) -> tuple[Tensor, Tensor]:
        """What training descends: the objective of each task, ``[n_tasks]``, and the support losses
        on the way, ``[n_tasks, steps + 1]``. Unchecked; :meth:`query_losses` checks.
        """
        return self.objective(batch, self.step_weights)

    def query_losses(self, batch: TaskBatch, steps: int | None = None) -> Tensor:
        """The objective of each task, ``[n_tasks]``, differentiable in the meta-parameters: the
        query loss after ``steps`` inner steps; if None, weighted by ``step_weights``.
        """
        self._check(batch)
        weights = self.step_weights if steps is None else [0.0] * self._steps(steps) + [1.0]
        return self.objective(batch, weights)[0]

    def objective(
        self, batch: TaskBatch, step_weights: Sequence[float] | Tensor
    ) -> tuple[Tensor, Tensor]:
        """Query losses weighted by ``step_weights``, and support losses, of all tasks at once."""
        used = [k for k, w in enumerate(step_weights) if isinstance(w, Tensor) or w]

        def one_task(support: Any, query: Any) -> tuple[Tensor, Tensor]:
            path, losses = self.inner_path(support, used[-1])
            terms = [step_weights[k] * self.loss(self.predictor(path[k]), query) for k in used]
            return torch.stack(terms).sum(), losses

        return vmap(one_task)(batch.support, batch.query)

    @torch.no_grad()
    def episodes(
        self, batch: TaskBatch, steps: int | None = None, loss: Loss | None = None
    ) -> Episodes:
        """Support and query losses before and after each inner step; ``loss`` judges the query."""
        self._check(batch)
        steps, judge = self._steps(steps), loss or self.loss

        def one_task(support: Any, query: Any) -> tuple[Tensor, Tensor]:
            path, losses = self.inner_path(support, steps)
            return losses, torch.stack([judge(self.predictor(theta), query) for theta in path])

        return Episodes(*vmap(one_task)(batch.support, batch.query))

    @torch.no_grad()
    def adapt(self, x: Any, y: Tensor | None = None, *, steps: int | None = None) -> Adapted:
        """Adapt to one task: ``x [n, d_in]``, ``y [n, d_out]``, or one NamedTuple of tensors.

        ``steps`` defaults to ``inner_steps`` and may go beyond it.
        """
        # A copy, so that what is adapted now does not change with later training.
        frozen = copy.deepcopy(self).requires_grad_(False)
        network = frozen.network()
        weights = {name: w.detach() for name, w in network.named_parameters()}
        support = as_data(x, y, weights)
        self.check_support(type(support)(*(leaf[None] for leaf in support)))
        if hasattr(support, "x"):
            frozen.check_input(support.x)
        path, losses = frozen.inner_path(support, self._steps(steps))
        theta = {name: w.detach().clone() for name, w in path[-1].items()}
        name = type(network).__name__
        return self.result(frozen.predictor(theta), {**weights, **theta}, losses, name)

    def network(self) -> nn.Module:
        """The model, whose parameters tell type and device."""
        return self.model

    def check_support(self, support: Any) -> None:
        """Refuse a support, leaves ``[n_tasks, n, ..]``, that this learner cannot adapt to."""

    def check_input(self, x: Tensor) -> None:
        """Refuse points ``x [n, ..]`` that the model cannot take."""
        run_model(self.model, {}, x)

    def _check(self, batch: TaskBatch) -> None:
        check_batch(batch, dict(self.network().named_parameters()))
        if hasattr(batch.support, "x"):
            self.check_input(batch.support.x[0])
        self.check_support(batch.support)

    def _steps(self, steps: int | None) -> int:
        if steps is not None and "inner_steps" not in vars(self):  # not even 0 of them
            raise MamlkitError(f"{type(self).__name__} has no inner steps; leave out steps.")
        return self.inner_steps if steps is None else count("steps", steps, least=0)


def check_pairs(learner: MetaLearner, support: Any) -> None:
    """Refuse a support that is not points ``x`` with ``y``."""
    if not hasattr(support, "x") or not hasattr(support, "y"):
        raise MamlkitError(
            f"{type(learner).__name__} fits points (x, y), but the support holds "
            f"{list(support._fields)}; use mk.Data(x, y), or mk.MAML with a loss of your own."
        )
