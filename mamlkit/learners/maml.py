"""MAML and its variants: one inner loop (Finn, Abbeel and Levine 2017, arXiv:1703.03400).

Read :func:`inner_loop` first; it is the whole idea. The rest says what adapts, with which step,
and on which loss.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, vmap

from mamlkit.learners.base import (
    Adapted,
    Episodes,
    Weights,
    as_data,
    check_batch,
    check_model,
    check_settings,
    run_model,
    select,
)
from mamlkit.learners.steps import LearnedLR, descend, initial_rates
from mamlkit.losses import Loss, Predict, mse
from mamlkit.tasks.base import TaskBatch, count


def inner_loop(
    loss: Callable[[Weights], Tensor],
    theta: Weights,
    alpha: Weights | Tensor,
    steps: int,
    first_order: bool = False,
) -> tuple[list[Weights], Tensor]:
    """theta_{k+1} = theta_k - alpha * grad L_S(theta_k), for k = 0 .. steps - 1.

    Returns theta_0 .. theta_steps and the support losses there, ``[steps + 1]``, as plain records.
    First order takes the gradient for a constant, which drops the Hessian from the meta-gradient.
    """
    path, losses = [theta], []
    for _ in range(steps):
        gradient, value = grad_and_value(loss)(theta)  # grad L_S(theta_k), L_S(theta_k)
        if first_order:
            gradient = {name: g.detach() for name, g in gradient.items()}
        theta = descend(theta, alpha, gradient)  # theta - alpha * gradient
        path.append(theta)
        losses.append(value)
    with torch.no_grad():
        losses.append(loss(theta))
    return path, torch.stack(losses).detach()


class MAML(nn.Module):
    """Learn a start from which a few gradient steps on a few points do well on the rest.

    Minimises the mean over tasks of L_Q(theta - alpha * grad L_S(theta)) (Finn et al. 2017, eq. 1),
    through as many inner steps as you ask for, with exact second-order gradients.

    Args:
        model: any module without BatchNorm running statistics or Dropout; copied, so one model can
            start several learners.
        inner_lr: alpha; the start value where it is learned.
        inner_steps: number of inner steps in training, and in :meth:`adapt` by default.
        first_order: drop the Hessian term (FOMAML).
        adapt: what the inner loop moves: "all", "head" (the last layer with weights), a pattern
            such as "layers.1.*", or a list of names and patterns.
        learn_lr: learn alpha by the outer loop, one per "tensor", one per "element" (Meta-SGD, Li
            et al. 2017), or as a "matrix" over all adapted weights (small models). None keeps it.
        positive_lr: keep learned step sizes positive, by learning their logarithms.
        step_weights: weights of the query loss after 0, 1 .. inner_steps steps; by default only
            the last counts. ``[1, 0, .., 0]`` is pooled training: adapted, but not meta-trained.
        loss: ``(predict, data) -> scalar``, for support and query.
    """

    def __init__(
        self,
        model: nn.Module,
        inner_lr: float = 0.01,
        inner_steps: int = 1,
        *,
        first_order: bool = False,
        adapt: str | Sequence[str] = "all",
        learn_lr: LearnedLR | None = None,
        positive_lr: bool = False,
        step_weights: Sequence[float] | None = None,
        loss: Loss = mse,
    ) -> None:
        super().__init__()
        check_model(model)
        check_settings(inner_lr, inner_steps, learn_lr, positive_lr, step_weights)
        self.model = copy.deepcopy(model)
        self.inner_lr, self.inner_steps = float(inner_lr), int(inner_steps)
        self.first_order = first_order
        self.learn_lr, self.positive_lr, self.loss = learn_lr, positive_lr, loss
        last_only = [0.0] * inner_steps + [1.0]
        self.step_weights = tuple(last_only if step_weights is None else step_weights)
        self.adapted = select(self.model, adapt)
        self.rates = initial_rates(self.start(), inner_lr, learn_lr, positive_lr)

    def alpha(self) -> Weights | Tensor:
        """The step sizes: one tensor per adapted name, or the matrix ``[P, P]``."""
        if self.learn_lr == "matrix":
            matrix: Tensor = self.rates[0]
            return matrix
        if self.learn_lr is None:
            like = next(self.model.parameters())
            return dict.fromkeys(self.adapted, like.new_tensor(self.inner_lr))
        rates = [r.exp() if self.positive_lr else r for r in self.rates]
        return dict(zip(self.adapted, rates, strict=True))

    def start(self) -> Weights:
        """theta: the weights that adapt, before the first inner step."""
        weights = dict(self.model.named_parameters())
        return {name: weights[name] for name in self.adapted}

    def query_losses(self, batch: TaskBatch, steps: int | None = None) -> Tensor:
        """The objective of each task, ``[n_tasks]``, differentiable in the meta-parameters: the
        query loss after ``steps`` inner steps; if None, weighted by ``step_weights``.
        """
        self._check(batch)
        losses: Tensor = self(batch, steps)[0]
        return losses

    def forward(self, batch: TaskBatch, steps: int | None = None) -> tuple[Tensor, Tensor]:
        """As :meth:`query_losses`, and the support losses on the way, ``[n_tasks, steps + 1]``."""
        weights = self.step_weights
        if steps is not None:
            weights = (0.0,) * count("steps", steps, least=0) + (1.0,)
        last = max(k for k, w in enumerate(weights) if w)

        def one_task(support: Any, query: Any) -> tuple[Tensor, Tensor]:
            path, losses = self._inner_loop(support, last)
            terms = [
                w * self.loss(self._predictor(path[k]), query) for k, w in enumerate(weights) if w
            ]
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
            path, losses = self._inner_loop(support, steps)
            return losses, torch.stack([judge(self._predictor(theta), query) for theta in path])

        return Episodes(*vmap(one_task)(batch.support, batch.query))

    @torch.no_grad()
    def adapt(self, x: Any, y: Tensor | None = None, *, steps: int | None = None) -> Adapted:
        """Adapt to one task: ``x [n, d_in]``, ``y [n, d_out]``, or one NamedTuple of tensors.

        ``steps`` defaults to ``inner_steps`` and may go beyond it.
        """
        weights = {name: w.detach().clone() for name, w in self.model.named_parameters()}
        support = as_data(x, y, weights)
        if hasattr(support, "x"):
            run_model(self.model, weights, support.x)
        path, losses = self._inner_loop(support, self._steps(steps))
        adapted = {name: w.detach().clone() for name, w in path[-1].items()}
        return Adapted(self.model, {**weights, **adapted}, losses)

    def extra_repr(self) -> str:
        """The settings, for printing and to tell checkpoints apart."""
        names = ("inner_lr", "inner_steps", "first_order", "learn_lr", "positive_lr")
        settings = [
            f"{name}={getattr(self, name)!r}" for name in (*names, "step_weights", "adapted")
        ]
        return ", ".join([*settings, f"loss={getattr(self.loss, '__name__', self.loss)}"])

    def _check(self, batch: TaskBatch) -> None:
        check_batch(batch, dict(self.model.named_parameters()))
        if hasattr(batch.support, "x"):
            run_model(self.model, {}, batch.support.x[0])

    def _steps(self, steps: int | None) -> int:
        return self.inner_steps if steps is None else count("steps", steps, least=0)

    def _inner_loop(self, support: Any, steps: int) -> tuple[list[Weights], Tensor]:
        def support_loss(theta: Weights) -> Tensor:
            return self.loss(self._predictor(theta), support)

        return inner_loop(support_loss, self.start(), self.alpha(), steps, self.first_order)

    def _predictor(self, theta: Weights) -> Predict:
        return lambda x: functional_call(self.model, theta, (x,))
