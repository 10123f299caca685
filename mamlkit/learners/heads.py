"""Learned features with a head that each task fits in closed form.

The model is the feature map, ``phi(x) = model(x)``, ``[n, ..] -> [n, p]``; the outer loop learns it
through the fit, so that few points are enough for the head.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, nn

from mamlkit.checks import count, number, one_of
from mamlkit.errors import MamlkitError
from mamlkit.learners.base import Weights
from mamlkit.learners.meta import MetaLearner
from mamlkit.learners.solvers import HINGE, LOGISTIC, newton, ridge
from mamlkit.losses import Loss, Predict, cross_entropy, mse

Head = Literal["ridge", "logistic", "hinge"]
Features = Callable[[Tensor], Tensor]


class ClosedForm(MetaLearner):
    """A learner that adapts in one go: a subclass says how to fit features of the support
    (:meth:`fit`), what to predict then (:meth:`predictor`), and what ``y`` must be
    (:meth:`check_y`).
    """

    def fit(self, features: Tensor, y: Tensor, weight: Tensor | None) -> Weights:
        """What one task brings: from features ``[n, p]`` and ``y`` of its support, and the weights
        of its readings, ``[n, 1]`` or ``[n, d_out]``, if they have any.
        """
        raise NotImplementedError(f"{type(self).__name__} has no fit(features, y, weight)")

    def predictor(self, theta: Weights, features: Features | None = None) -> Predict:
        """The prediction with ``theta``; ``features`` in place of those of the model."""
        raise NotImplementedError(f"{type(self).__name__} has no predictor(theta)")

    def check_y(self, y: Tensor) -> None:
        """Refuse ``y [n_tasks, n, ..]`` that cannot be fitted, in plain words."""
        raise NotImplementedError(f"{type(self).__name__} has no check_y(y)")

    def features(self, x: Tensor) -> Tensor:
        """phi(x), ``[n, p]``."""
        phi = self.model(x)
        if phi.ndim != 2:
            raise MamlkitError(
                f"the model ({type(self.model).__name__}) gives features of shape "
                f"{list(phi.shape)}; {type(self).__name__} needs one row a point, [n, p]: end the "
                "model with nn.Flatten()."
            )
        return phi

    def inner_path(self, support: Any, steps: int) -> tuple[list[Weights], Tensor]:
        """The fit to one task, and its support loss, ``[1]``."""
        weight = getattr(support, "weight", None)
        phi = self.features(support.x)
        theta = self.fit(phi, support.y, weight)
        with torch.no_grad():  # the features of the support are known
            predict = self.predictor(theta, lambda x: phi if x is support.x else self.features(x))
            loss = self.judge(predict, support)
        return [theta], loss.detach()[None]

    def check_support(self, support: Any) -> None:
        """Refuse a support, leaves ``[n_tasks, n, ..]``, that cannot be fitted."""
        if not hasattr(support, "x") or not hasattr(support, "y"):
            raise MamlkitError(
                f"{type(self).__name__} fits points (x, y), but the support holds "
                f"{list(support._fields)}; use mk.Data(x, y), or mk.MAML with a loss of your own."
            )
        self.check_y(support.y)


class RidgeHead(ClosedForm):
    """Ridge regression on learned features (R2-D2, Bertinetto et al. 2019, arXiv:1805.08136,
    section 3): the outer loop learns features and penalty, through the exact solution.

    A task fits y = W phi(x) + b by the minimum of ``|error|^2 + lambda (|W|^2 + |b|^2)``, summed
    over its points, each times its weight if it has one. So the bias is one more feature, the
    constant 1, and is penalised: a single point is then shared out between the bias and the
    features in proportion to what was learned, and does not all go into the bias.

    With an offset a task fits what is left of y when a curve c(x) is taken away, which all tasks
    share and the outer loop learns: y = c(x) + W phi(x) + b. The penalty then pulls towards c, not
    towards 0. (:class:`mamlkit.BayesianHead` needs none: its prior has a mean.)

    Adapted weights: ``ridge.weight [d_out, p]``, entry ``[j, k]`` the factor of feature k in output
    j, and ``ridge.bias [d_out]``; in units of y by units of the feature.
    Taught in notebook 06.

    Args:
        model: the feature map, ``[n, ..] -> [n, p]``, such as ``MLP(1, 40)``; copied. With an
            offset its last d_out outputs are c(x), ``[n, p + d_out]``.
        penalty: lambda > 0, in squared units of the features; the start value where it is learned.
            Less than what rounding can tell beside the features counts as that.
        learn_penalty: learn lambda by the outer loop, as its logarithm.
        bias: add the feature 1.
        offset: take the last outputs of the model for c(x).
        loss: ``(predict, data) -> scalar``, judges the query.
    """

    head: Head = "ridge"
    _settings: tuple[str, ...] = ("penalty", "learn_penalty", "bias")
    _unusual = (("offset", False),)

    def __init__(
        self,
        model: nn.Module,
        penalty: float = 1.0,
        *,
        learn_penalty: bool = True,
        bias: bool = True,
        offset: bool = False,
        loss: Loss = mse,
    ) -> None:
        super().__init__(model, loss)
        self.penalty, self.bias = number("penalty", penalty, positive=True), bias
        self.learn_penalty, self.offset = learn_penalty, offset
        like = next(self.model.parameters()).detach()
        start = like.new_tensor(self.penalty).log()
        self.log_penalty = nn.Parameter(start) if learn_penalty else None

    def strength(self) -> Tensor:
        """lambda as it is now, a scalar."""
        if self.log_penalty is None:
            return next(self.model.parameters()).new_tensor(self.penalty)
        return self.log_penalty.exp()

    def fit(self, features: Tensor, y: Tensor, weight: Tensor | None) -> Weights:
        """The head of one task: features ``[n, p]``, ``y [n, d_out]``."""
        if self.offset:
            features, c = self._parted(features, y.shape[1])
            y = y - c
        p = features.shape[1]
        if self.bias:
            features = torch.cat([features, torch.ones_like(features[:, :1])], dim=1)  # [n, p + 1]
        head = self.solve(features, y, weight).T  # [d_out, p (+ 1)]
        theta = {f"{self.head}.weight": head[:, :p]}
        return {**theta, f"{self.head}.bias": head[:, p]} if self.bias else theta

    def solve(self, features: Tensor, y: Tensor, weight: Tensor | None) -> Tensor:
        """The solution: features ``[n, q]``, ``y [n, d_out]``, to weights ``[q, d_out]``."""
        return ridge(features, y.to(features.dtype), self.strength(), weight)

    def predictor(self, theta: Weights, features: Features | None = None) -> Predict:
        """W phi(x) + b, plus c(x) if there is an offset, ``[n, ..] -> [n, d_out]``."""
        phi = features or self.features
        weight, bias = theta[f"{self.head}.weight"], theta.get(f"{self.head}.bias")

        def predict(x: Tensor) -> Tensor:
            if not self.offset:
                return nn.functional.linear(phi(x), weight, bias)
            own, c = self._parted(phi(x), len(weight))
            return nn.functional.linear(own, weight, bias) + c

        return predict

    def _parted(self, features: Tensor, d_out: int) -> tuple[Tensor, Tensor]:
        """phi(x), ``[n, p]``, and c(x), ``[n, d_out]``."""
        if features.shape[1] <= d_out:
            raise MamlkitError(
                f"with offset=True the last {d_out} of the {features.shape[1]} output(s) of the "
                "model are c(x), and no feature is left; give the model more outputs."
            )
        return features[:, :-d_out], features[:, -d_out:]

    def check_y(self, y: Tensor) -> None:
        """Refuse ``y`` that is not ``[n_tasks, n, d_out]``."""
        if y.ndim != 3:
            raise MamlkitError(
                f"y of a task has shape {list(y.shape[1:])}; RidgeHead needs [n, d_out]. For one "
                "number a point use y.reshape(-1, 1); for labels [n] use ClassifierHead."
            )


class ClassifierHead(RidgeHead):
    """A linear classifier on learned features, fitted to each task exactly.

    A task finds the scores s = W phi(x) + b at the minimum of
    ``sum_i l(s_i, y_i) + lambda/2 (|W|^2 + |b|^2)``, and the scores given out are c s, with a scale
    c > 0 that the outer loop learns. For l:

    - "ridge": ``|s - onehot(y)|^2 / 2``, in closed form (R2-D2, Bertinetto et al. 2019,
      arXiv:1805.08136, section 3). Their shift of all scores by one number is left out: a softmax
      does not see it.
    - "logistic": -log softmax(s)[y], by Newton's method. (Their LR-D2 is the case of two classes.)
    - "hinge": sum_j max(0, 1 - t_j s_j)^2 / 2, with t_j = 1 for the own class and -1 for others: a
      linear support vector machine, one class against the rest, by Newton's method.

    Adapted weights: ``<head>.weight [ways, p]``, ``<head>.bias [ways]``, before the scale.
    Taught in notebook 06.

    Args:
        model: the feature map, ``[n, ..] -> [n, p]``; copied.
        ways: number of classes; labels are 0 .. ways - 1, as int64 ``[n]``.
        head: "ridge", "logistic" or "hinge".
        penalty, learn_penalty, bias: as for :class:`RidgeHead`.
        newton_steps: Newton steps of "logistic" and "hinge". They converge fast; give more when
            the penalty is far below 1 (gradients are exact at the minimum only).
        loss: ``(predict, data) -> scalar``, judges the query.
    """

    _settings = ("ways", "head", "newton_steps", *RidgeHead._settings)

    def __init__(
        self,
        model: nn.Module,
        ways: int,
        head: Head = "ridge",
        penalty: float = 1.0,
        *,
        learn_penalty: bool = True,
        bias: bool = True,
        newton_steps: int = 10,
        loss: Loss = cross_entropy,
    ) -> None:
        super().__init__(model, penalty, learn_penalty=learn_penalty, bias=bias, loss=loss)
        one_of("head", head, ("ridge", "logistic", "hinge"))
        self.ways, self.head = count("ways", ways, least=2), head
        self.newton_steps = count("newton_steps", newton_steps)
        self.log_scale = nn.Parameter(next(self.model.parameters()).new_zeros(()))

    def solve(self, features: Tensor, y: Tensor, weight: Tensor | None) -> Tensor:
        """The solution: features ``[n, q]``, labels ``y [n]``, to weights ``[q, ways]``."""
        target = one_hot(y, self.ways, features)  # [n, ways]
        if self.head == "ridge":
            return ridge(features, target, self.strength(), weight)
        rows = LOGISTIC if self.head == "logistic" else HINGE
        return newton(features, target, self.strength(), rows, self.newton_steps, weight)

    def predictor(self, theta: Weights, features: Features | None = None) -> Predict:
        """Scores c (W phi(x) + b), ``[n, ..] -> [n, ways]``."""
        plain = super().predictor(theta, features)
        return lambda x: self.log_scale.exp() * plain(x)

    def check_y(self, y: Tensor) -> None:
        """Refuse ``y`` that is not labels ``[n_tasks, n]`` from 0 to ways - 1."""
        check_labels(y, self.ways)


def one_hot(y: Tensor, ways: int, like: Tensor) -> Tensor:
    """Labels ``[n]`` as rows ``[n, ways]`` of zeros and a one, of the type of ``like``."""
    return (y[:, None] == torch.arange(ways, device=y.device)).to(like)  # [n, ways]


def check_labels(y: Tensor, ways: int) -> None:
    """Refuse labels ``[n_tasks, n]`` that are not whole numbers from 0 to ways - 1."""
    whole = not (y.is_floating_point() or y.is_complex()) and y.dtype != torch.bool
    if not whole or y.ndim != 2:
        raise MamlkitError(
            f"y of a task is {y.dtype} of shape {list(y.shape[1:])}; a classifier needs "
            "whole-number labels [n], such as y.long()."
        )
    if y.numel() and (y.min() < 0 or y.max() >= ways):
        raise MamlkitError(
            f"y holds labels from {int(y.min())} to {int(y.max())}, but ways={ways} means labels "
            f"from 0 to {ways - 1}."
        )
