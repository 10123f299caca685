"""Prototypes: classify by the nearest class mean in a learned space of features."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from mamlkit.checks import count
from mamlkit.errors import MamlkitError
from mamlkit.learners.base import Weights
from mamlkit.learners.heads import ClosedForm, Features, check_labels, one_hot
from mamlkit.losses import Loss, Predict, cross_entropy


class Prototypes(ClosedForm):
    """Prototypical networks (Snell et al. 2017, arXiv:1703.05175, eqs. 1 and 2): the score of a
    class is minus the squared distance of phi(x) to the mean of phi over its support points.

    Adapted weights: ``prototypes [ways, p]``. Every class needs a support point; in training, which
    does not look, a class without one makes the loss nan.
    Taught in notebook 15.

    Args:
        model: the feature map, ``[n, ..] -> [n, p]``; copied.
        ways: number of classes; labels are 0 .. ways - 1, as int64 ``[n]``.
        loss: ``(predict, data) -> scalar``, judges the query.
    """

    _settings = ("ways",)

    def __init__(self, model: nn.Module, ways: int, *, loss: Loss = cross_entropy) -> None:
        super().__init__(model, loss)
        self.ways = count("ways", ways, least=2)

    def fit(self, features: Tensor, y: Tensor, weight: Tensor | None) -> Weights:
        """The means of the classes: features ``[n, p]``, labels ``y [n]``."""
        member = one_hot(y, self.ways, features)  # [n, ways]
        member = member if weight is None else weight * member
        return {"prototypes": member.T @ features / member.sum(0)[:, None]}

    def predictor(self, theta: Weights, features: Features | None = None) -> Predict:
        """Scores ``-|phi(x) - prototype|^2``, ``[n, ..] -> [n, ways]``."""
        phi = features or self.features
        prototypes = theta["prototypes"]  # [ways, p]
        return lambda x: -(phi(x)[:, None] - prototypes).square().sum(-1)

    def check_y(self, y: Tensor) -> None:
        """Refuse ``y`` that is not labels ``[n_tasks, n]``."""
        check_labels(y, self.ways)

    def check_support(self, support: Any) -> None:
        """Refuse also a support that lacks a class in some task."""
        super().check_support(support)
        y, weight = support.y, getattr(support, "weight", None)
        own = y[..., None] == torch.arange(self.ways, device=y.device)  # [n_tasks, n, ways]
        there = (own if weight is None else own & (weight > 0)).any(1)  # [n_tasks, ways]
        if not there.all():
            task, label = (~there).nonzero()[0].tolist()
            raise MamlkitError(
                f"class {label} has no support point in task {task}, so it has no prototype; give "
                f"every class from 0 to {self.ways - 1} at least one point."
            )
