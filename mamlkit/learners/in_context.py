"""Learners that read the support: what a task is like comes out of a network, in one pass."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from mamlkit.checks import number
from mamlkit.errors import MamlkitError
from mamlkit.learners.base import Weights
from mamlkit.learners.beliefs import AdaptedGaussian, Belief, Gaussian, gaussian_nll
from mamlkit.learners.checking import select
from mamlkit.learners.meta import MetaLearner
from mamlkit.losses import Loss
from mamlkit.models import copied
from mamlkit.tasks.base import weighted


class CNP(MetaLearner):
    """A conditional neural process (Garnelo et al. 2018, arXiv:1807.01613, section 2): an encoder
    reads each point of the support, the mean of what it says is the context of the model, and the
    model predicts.

    c = mean_i h(x_i, y_i), and at x a Gaussian with mean m(x; c) and standard deviation
    ``least + softplus(s(x; c))``, where (m, s) is what the model gives. So it is CAVIA with a
    context that is computed, not found by gradient steps: nothing is fitted to the support, and
    nothing sees to it that the prediction goes through the points. Both networks are trained by
    :func:`gaussian_nll` on the query.

    Adapted weights: the context, by its name in the model. The mean is by weight, so that padding
    does not count; a support without points has the context 0, so train with shots from 0 on if it
    shall know what to say then.
    Taught in notebook 19.

    Args:
        model: ``[n, d_in] -> [n, 2 d_out]`` with a parameter ``context [c]``, such as
            ``MLP(1, 2, context=16)``; copied.
        encoder: h, ``[n, d_in + d_out] -> [n, c]``, such as ``MLP(2, 16)``; copied.
        least: the smallest standard deviation it may claim, > 0, in units of ``y``.
        loss: ``(predict, data) -> scalar``, judges the query.
    """

    result = AdaptedGaussian
    _settings = ("least",)

    def __init__(
        self,
        model: nn.Module,
        encoder: nn.Module,
        least: float = 0.01,
        *,
        loss: Loss = gaussian_nll,
    ) -> None:
        super().__init__(model, loss)
        self.encoder, self.least = copied(encoder), number("least", least, positive=True)
        self.context, *more = select(self.model, "context")
        if more:
            raise MamlkitError(
                f"CNP fills one context, but the model has {[self.context, *more]}; leave one."
            )

    def encode(self, support: Any) -> Tensor:
        """The context of one task, ``[c]``."""
        x, y, weight = weighted(support)
        there = weight > 0
        share = weight.mean(-1, keepdim=True)  # [n, 1]
        said = self.encoder(torch.cat([x, y.where(there, 0.0)], dim=-1))  # [n, c]
        return (share * said).sum(0) / share.sum().clamp(min=torch.finfo(share.dtype).tiny)

    def inner_path(self, support: Any, steps: int) -> tuple[list[Weights], Tensor]:
        """The context of one task, and the support loss with it, ``[1]``."""
        theta = {self.context: self.encode(support)}
        with torch.no_grad():
            loss = self.judge(self.predictor(theta), support)
        return [theta], loss.detach()[None]

    def predictor(self, theta: Weights) -> Belief:
        """Mean and variance with the context in ``theta``."""

        def distribution(x: Tensor) -> Gaussian:
            mean, spread = functional_call(self.model, theta, (x,)).chunk(2, dim=-1)
            return Gaussian(mean, (self.least + nn.functional.softplus(spread)) ** 2)

        return Belief(distribution)

    def check_support(self, support: Any) -> None:
        """Refuse a support that encoder and model do not fit."""
        y = getattr(support, "y", None)
        if y is None or y.ndim != 3:
            raise MamlkitError(
                f"CNP reads points (x, y) with numbers y [n, d_out]; the support holds "
                f"{list(getattr(support, '_fields', []))}"
                + ("." if y is None else f", and y of a task has shape {list(y.shape[1:])}.")
            )
        with torch.no_grad():
            given = self.model(support.x[0]).shape[-1]
            width = self.model.get_parameter(self.context).numel()
            told = self.encoder(torch.cat([support.x[0], support.y[0]], -1)).shape[-1]
        if given != 2 * y.shape[-1] or told != width:
            raise MamlkitError(
                f"for d_out={y.shape[-1]} the model must give {2 * y.shape[-1]} numbers a point, a "
                f"mean and a spread of each output (it gives {given}), and the encoder {width}, as "
                f"many as the context has (it gives {told})."
            )
