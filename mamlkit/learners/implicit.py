"""Implicit MAML: the meta-gradient from where the inner loop ends, not from how it went
(Rajeswaran, Finn, Kakade and Levine 2019, arXiv:1909.04630).

One task, start theta, support loss L_S, penalty lambda. The inner problem and its optimum::

    G(phi) = L_S(phi) + lambda / 2 |phi - theta|^2,      grad G(phi*) = 0.

Differentiate the right-hand equation by theta, with H the Hessian of L_S at phi*::

    (H + lambda) dphi*/dtheta = lambda,   so   dL_Q/dtheta = lambda v,   (H + lambda) v = grad L_Q.

Conjugate gradients find v from products of H with vectors. No inner step has to be remembered.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mamlkit.checks import count, number
from mamlkit.errors import MamlkitError
from mamlkit.learners.base import Episodes, Weights, flatten, unflatten
from mamlkit.learners.meta import LearnedStart
from mamlkit.learners.solvers import conjugate_gradients, lbfgs
from mamlkit.learners.vectorise import each, grad, vectorised
from mamlkit.losses import Loss, as_loss, mse
from mamlkit.tasks.base import TaskBatch


class ImplicitMAML(LearnedStart):
    """Learn a start such that the optimum near it, of the support loss and a pull back to the
    start, does well on the query (Rajeswaran et al. 2019, section 2 and lemma 1).

    The inner problem is solved, not stepped towards: min over phi of
    ``L_S(phi) + penalty / 2 * |phi - theta|^2``. Memory does not grow with the work of the solver.
    There are no inner steps to ask for: curves have two columns, before and after. Take a smooth
    model and loss (tanh, not relu): the optimum may sit on a kink, where no gradient is zero. The
    solver stops when the data says so, so it cannot be captured or compiled.
    Taught in notebook 06.

    Args:
        model, loss: as for :class:`mamlkit.MAML`.
        penalty: lambda, in units of the loss over those of the weights squared; the start value
            where it is learned. Small: far from the start, slow to solve, and H + lambda may not be
            positive, so that the meta-gradient is only what conjugate gradients had found until
            then (see ``reached_cg``); large: no adaptation.
        learn_penalty: learn the penalty by the outer loop, one per tensor, as logarithms.
        adapt: what the inner problem moves, as in :class:`mamlkit.MAML`; the other weights are
            shared by all tasks and learned by the outer loop alone.
        tolerance: the inner problem is solved where the norm of its gradient is this fraction of
            that at the start, and the linear system of the meta-gradient where its residual is this
            fraction of its right-hand side. Below some 1e-6 use float64.
        max_steps: largest number of steps of the solver.
        max_cg: largest number of conjugate-gradient steps for the meta-gradient.

    Attributes:
        reached: how far the solver came with the tasks it was given last, in training or
            evaluation: the norm of the gradient over that at the start, ``[n_tasks]``. Where it is
            above ``tolerance``, ``max_steps`` or rounding ended it.
        steps_taken: steps of the solver there, ``[n_tasks]``.
        reached_cg: relative residual of the last meta-gradient's linear system, ``[n_tasks]``.
    """

    _settings = ("penalty", "learn_penalty", "tolerance", "max_steps", "max_cg", "adapted")

    def __init__(
        self,
        model: nn.Module,
        penalty: float = 1.0,
        *,
        learn_penalty: bool = False,
        adapt: str | Sequence[str] = "all",
        tolerance: float = 1e-3,
        max_steps: int = 200,
        max_cg: int = 50,
        loss: Loss = mse,
    ) -> None:
        number("penalty", penalty, positive=True)
        super().__init__(model, loss, adapt, penalty, learn_penalty)
        self.tolerance = number("tolerance", tolerance)
        if tolerance >= 1:
            raise MamlkitError(
                f"tolerance={tolerance!r} is a fraction of the gradient at the start; use one "
                "below 1, or nothing would adapt."
            )
        self.max_steps, self.max_cg = count("max_steps", max_steps), count("max_cg", max_cg)
        like = next(self.model.parameters()).detach()
        self.reached = self.reached_cg = like.new_empty(0)
        self.steps_taken = like.new_empty(0, dtype=torch.int64)

    def inner_path(self, support: Any, steps: int) -> tuple[list[Weights], Tensor]:
        """The weights of one task at the start and at the optimum, and the support losses there."""
        phi = self.solve(type(support)(*(leaf[None] for leaf in support)))[0]
        return self._path(phi), self._support_losses(phi, support)

    def solve(self, support: Any) -> Tensor:
        """phi*, ``[n_tasks, P]``: the optimum of each task, all adapted weights in one row."""
        with torch.no_grad():
            theta = flatten(self.start()).expand(len(support[0]), -1)
            best = lbfgs(self._inner, theta, support, self.tolerance, self.max_steps)
        self.reached, self.steps_taken = best.residual, best.steps
        return best.phi

    def objective(
        self, batch: TaskBatch, step_weights: Sequence[float] | Tensor = (1.0,)
    ) -> tuple[Tensor, Tensor]:
        """The query loss at the optimum of each task, with the implicit meta-gradient, and the
        support losses before and after, ``[n_tasks, 2]``.
        """
        phi = self.solve(batch.support)
        v = self._adjoint(phi, batch) if torch.is_grad_enabled() else torch.zeros_like(phi)

        def one_task(phi: Tensor, v: Tensor, support: Any, query: Any) -> tuple[Tensor, Tensor]:
            # phi and v are constants. The gradient of <v, grad G(phi)> by theta is -lambda v, by
            # lambda <v, phi - theta>, by a shared weight w that of <v, grad L_S(phi, w)>.
            condition = (v * grad(self._inner)(phi, support)).sum()
            loss = self._loss_at(phi, query) - (condition - condition.detach())
            return loss, self._support_losses(phi, support)

        return each(one_task)(phi, v, batch.support, batch.query)

    @torch.no_grad()
    @vectorised
    def episodes(
        self,
        batch: TaskBatch,
        steps: int | None = None,
        loss: Loss | None = None,
        every_step: bool = True,
    ) -> Episodes:
        """Support and query losses before and after, ``[n_tasks, 2]``; ``loss`` judges the query,
        only after if not ``every_step``. ``steps`` must be None.
        """
        batch = self.checked(batch)
        self._steps(steps)
        judge = self.loss if loss is None else as_loss(loss)

        def one_task(phi: Tensor, support: Any, query: Any) -> tuple[Tensor, Tensor]:
            path = self._path(phi) if every_step else self._path(phi)[-1:]
            judged = [judge(self.predictor(theta), query) for theta in path]
            return self._support_losses(phi, support), torch.stack(judged)

        support, query = each(one_task)(self.solve(batch.support), batch.support, batch.query)
        return Episodes(support, query)

    @torch.no_grad()
    def _adjoint(self, phi: Tensor, batch: TaskBatch) -> Tensor:
        """v of (H + lambda) v = grad L_Q, at the optima ``phi``: ``[n_tasks, P]``."""
        slope = each(grad(self._loss_at))(phi, batch.query)
        phi = phi.detach().requires_grad_()
        with torch.enable_grad():
            g = each(grad(self._inner))(phi, batch.support)

        def product(p: Tensor) -> Tensor:
            # One graph of the gradient serves all products: H is symmetric, so p H = H p.
            return torch.autograd.grad(g, phi, p, retain_graph=True)[0]

        v, self.reached_cg = conjugate_gradients(product, slope, self.tolerance, self.max_cg)
        return v

    def _inner(self, phi: Tensor, support: Any) -> Tensor:
        """G(phi) of one task, ``phi [P]``."""
        theta = self.start()
        leap = phi - flatten(theta)
        strength = flatten({n: s.expand_as(theta[n]) for n, s in self.strengths().items()})  # [P]
        return self._loss_at(phi, support) + 0.5 * (strength * leap**2).sum()

    def _loss_at(self, phi: Tensor, data: Any) -> Tensor:
        return self.judge(self.predictor(unflatten(phi, self.start())), data)

    def _path(self, phi: Tensor) -> list[Weights]:
        return [self.start(), unflatten(phi, self.start())]

    def _support_losses(self, phi: Tensor, support: Any) -> Tensor:
        losses = [self.loss(self.predictor(theta), support) for theta in self._path(phi)]
        return torch.stack(losses).detach()
