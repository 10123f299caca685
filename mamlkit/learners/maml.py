"""MAML and its variants: one inner loop (Finn, Abbeel and Levine 2017, arXiv:1703.03400).

Read :func:`inner_loop` first; it is the whole idea. The rest says what adapts, with which step,
and on which loss.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mamlkit.checks import count
from mamlkit.errors import MamlkitError
from mamlkit.learners.base import Weights
from mamlkit.learners.checking import as_rates, check_settings
from mamlkit.learners.meta import LearnedStart
from mamlkit.learners.rules import Rule, chain, check_rule, plain, pull
from mamlkit.learners.steps import LearnedLR, descend, initial_rates
from mamlkit.learners.vectorise import grad_and_value
from mamlkit.losses import Loss, mse


def inner_loop(
    loss: Callable[[Weights], Tensor],
    theta: Weights,
    alpha: Sequence[Weights | Tensor],
    steps: int,
    first_order: bool = False,
    rule: Rule = plain,
) -> tuple[list[Weights], Tensor]:
    """theta_{k+1} = theta_k - alpha_k * grad L_S(theta_k), for k = 0 .. steps - 1.

    ``alpha`` holds the step sizes of each step; its last entry serves all later steps. A ``rule``
    makes another direction of the gradient. Returns theta_0 .. theta_steps and the support losses
    there, ``[steps + 1]``, as plain records. First order takes the gradient for a constant, which
    drops the Hessian from the meta-gradient.
    """
    path, losses, state = [theta], [], rule.init(theta)
    for k in range(steps):
        gradient, value = grad_and_value(loss)(theta)  # grad L_S(theta_k), L_S(theta_k)
        if first_order:
            gradient = {name: g.detach() for name, g in gradient.items()}
        direction, state = rule.update(gradient, state, theta)
        theta = descend(theta, alpha[min(k, len(alpha) - 1)], direction)  # theta - alpha * gradient
        path.append(theta)
        losses.append(value)
    with torch.no_grad():
        losses.append(loss(theta))
    return path, torch.stack(losses).detach()


class MAML(LearnedStart):
    """Learn a start from which a few gradient steps on a few points do well on the rest.

    Minimises the mean over tasks of L_Q(theta - alpha * grad L_S(theta)) (Finn et al. 2017, eq. 1),
    through as many inner steps as you ask for, with exact second-order gradients.
    Taught in notebook 03.

    Args:
        model: any module without BatchNorm running statistics or Dropout; copied, so one model can
            start several learners.
        inner_lr: alpha; the start value where it is learned. A list holds one for each inner step,
            for fixed rates or with ``learn_lr="step"``.
        inner_steps: number of inner steps in training, and in :meth:`adapt` by default.
        first_order: drop the Hessian term (FOMAML).
        second_order_from: drop the Hessian term in this many outer iterations, then keep it.
        adapt: what the inner loop moves: "all", "head" (the last layer with weights), "context" (of
            a model that has one), a pattern such as "layers.1.*", or a list of names and patterns.
        learn_lr: learn alpha by the outer loop, one per "tensor", one per tensor and inner "step",
            one per "element" (Meta-SGD, Li et al. 2017), or as a "matrix" over all adapted weights
            (small models). None keeps it.
        positive_lr: keep learned step sizes positive, by learning their logarithms.
        rule: what is done to a gradient before the step: ``mk.learners.momentum(0.9)``, ``adam()``,
            ``clip(1.0)``, or a ``chain`` of them.
        penalty: strength of a penalty on leaving the start, ``penalty / 2 * |theta - theta_0|^2``,
            added to the support loss. (Its gradient is zero at the start, so one step ignores it.)
        learn_penalty: learn the penalty by the outer loop, one per tensor, as logarithms.
        step_weights: weights of the query loss after 0, 1 .. inner_steps steps; by default only
            the last counts. ``[1, 0, .., 0]`` is pooled training: adapted, but not meta-trained.
        anneal: number of outer iterations in which the weights of the steps go linearly from equal
            weights after each of 1 .. inner_steps steps to ``step_weights``.
        loss: ``(predict, data) -> scalar``, for support and query.

    Attributes:
        phase: what training does now: (Hessian dropped for a while, step weights still moving).
    """

    annealed: Tensor
    inner_lr: Any  # a number, or a tuple with one for each inner step
    _settings: tuple[str, ...] = ("inner_lr", "inner_steps", "first_order", "learn_lr")
    _settings += ("positive_lr", "step_weights", "adapted")
    _unusual: tuple[tuple[str, Any], ...] = (("rule", plain), ("penalty", 0.0))
    _unusual += (("learn_penalty", False), ("anneal", 0), ("second_order_from", 0))

    def __init__(
        self,
        model: nn.Module,
        inner_lr: float | Sequence[float] = 0.01,
        inner_steps: int = 1,
        *,
        first_order: bool = False,
        second_order_from: int = 0,
        adapt: str | Sequence[str] = "all",
        learn_lr: LearnedLR | None = None,
        positive_lr: bool = False,
        rule: Rule = plain,
        penalty: float = 0.0,
        learn_penalty: bool = False,
        step_weights: Sequence[float] | None = None,
        anneal: int = 0,
        loss: Loss = mse,
    ) -> None:
        super().__init__(model, loss, adapt, penalty, learn_penalty)
        check_settings(inner_lr, inner_steps, learn_lr, positive_lr, step_weights)
        check_rule(rule)
        self.inner_lr, self.inner_steps = as_rates(inner_lr), int(inner_steps)
        self.first_order, self.rule = first_order, rule
        self.second_order_from = count("second_order_from", second_order_from, least=0)
        self.anneal = count("anneal", anneal, least=0)
        if anneal and inner_steps == 0:
            raise MamlkitError(
                f"anneal={anneal} spreads the weights over inner steps; use inner_steps >= 1."
            )
        self.learn_lr, self.positive_lr = learn_lr, positive_lr
        last_only = [0.0] * inner_steps + [1.0]
        self.step_weights = tuple(last_only if step_weights is None else step_weights)
        theta = self.start()
        self.rates = initial_rates(theta, self.inner_lr, inner_steps, learn_lr, positive_lr)
        like = next(iter(theta.values())).detach()
        self.register_buffer("annealed", like.new_tensor(self.step_weights), persistent=False)
        self.phase = (False, False)

    def alpha(self, step: int = 0) -> Weights | Tensor:
        """Step sizes of an inner step: one tensor per adapted name, or the matrix ``[P, P]``."""
        if self.learn_lr == "matrix":
            return self.rates[0]
        if self.learn_lr is None:
            like = next(self.model.parameters())
            rate = self.inner_lr
            if isinstance(rate, tuple):
                rate = rate[min(step, len(rate) - 1)]
            return dict.fromkeys(self.adapted, like.new_tensor(rate))
        rates = [r.exp() if self.positive_lr else r for r in self.rates]
        if self.learn_lr == "step":
            rates = [r[min(step, len(r) - 1)] for r in rates]
        return dict(zip(self.adapted, rates, strict=True))

    def inner_path(self, support: Any, steps: int) -> tuple[list[Weights], Tensor]:
        """The adapted weights of one task, before and after each step, and the support losses."""

        known = self.given_to_head(support)

        def support_loss(theta: Weights) -> Tensor:
            return self.judge(self.predictor(theta, known), support)

        # As many as were learned, also where inner_steps has been tuned since.
        rates: Any = self.rates[0] if self.learn_lr == "step" else self.inner_lr
        n_rates = len(rates) if isinstance(rates, Tensor | tuple) else 1
        alpha = [self.alpha(k) for k in range(n_rates)]
        first_order, _ = self.phase
        rule = self.rule
        if self.learn_penalty or self.penalty:
            rule = chain(pull(self.strengths()), rule)
        return inner_loop(
            support_loss, self.start(), alpha, steps, self.first_order or first_order, rule
        )

    def weights_now(self) -> Sequence[float] | Tensor:
        """The weights of the steps at this point of training, annealed where that was asked for."""
        _, annealing = self.phase
        return self.annealed if annealing else self.step_weights

    def at_iteration(self, done: int) -> None:
        """Called by :func:`mamlkit.meta_train` before each outer step: anneals what is annealed."""
        left = max(0.0, 1 - done / self.anneal) if self.anneal else 0.0
        if left:
            steps = len(self.step_weights) - 1  # inner_steps may have been tuned since
            equal = [0.0] + [1 / steps] * steps
            pairs = zip(equal, self.step_weights, strict=True)
            mixed = [left * e + (1 - left) * w for e, w in pairs]
            self.annealed.copy_(self.annealed.new_tensor(mixed))
        self.phase = (done < self.second_order_from, left > 0)
