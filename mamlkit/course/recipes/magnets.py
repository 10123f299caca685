"""Telling magnets, hidden orders and phases apart from few snapshots (notebook 14)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor, nn

from mamlkit.course.recipes.base import SHORT, Recipe, check
from mamlkit.evaluation.curves import evaluate
from mamlkit.learners import MAML, MetaSGD
from mamlkit.learners.heads import ClassifierHead, Head
from mamlkit.learners.meta import MetaLearner
from mamlkit.losses import cross_entropy, error_rate, hinge
from mamlkit.models import CNN, Diagonal
from mamlkit.tasks.ising import (
    HiddenGauge,
    WhichMagnet,
    WhichPhase,
    distances,
    pair_correlations,
)
from mamlkit.tasks.labelled import Labelled
from mamlkit.training.loop import Plan

Part = Literal["train", "validation", "test"]
HEADS: dict[str, Head] = {"ridge": "ridge", "logistic": "logistic", "hinge": "hinge"}
SIDE = 16
#: What the search tries for each learner: outer learning rates.
OUTER_LRS = (1e-2, 3e-2)

#: The winners on validation tasks, and the iterations of a run. Ties, to 0.001 of the answers, went
#: to the rate of a learner's twin; "phase" was not searched.
CHOSEN: dict[str, tuple[float, int]] = {
    "cnn": (1e-2, 1000),
    "scales-ridge": (3e-2, 300),
    "scales-logistic": (3e-2, 300),
    "scales-hinge": (3e-2, 300),
    "maml-logistic": (3e-2, 300),
    "maml-hinge": (1e-2, 300),
    "metasgd-logistic": (1e-2, 300),
    "metasgd-hinge": (1e-2, 300),
    "gauge-logistic": (3e-2, 200),
    "gauge-hinge": (3e-2, 200),
    "phase": (1e-2, 500),
}
_COMMON = replace(SHORT, shots=5, queries=10, meta_batch=8)


def _plan(name: str) -> Plan:
    rate, iterations = CHOSEN[name]
    plan = replace(_COMMON, outer_lr=rate, iterations=iterations)
    if name == "phase":
        return replace(plan, shots=2, meta_batch=6)
    return replace(plan, shots=1) if name.startswith("gauge") else plan


#: The runs of this recipe; in :class:`mamlkit.tasks.WhichMagnet` shots are five in training, for
#: any number in use: with one, 600 iterations do not get off the ground.
PROTOCOLS: dict[str, Plan] = {name: _plan(name) for name in CHOSEN}


class PairCorrelations(nn.Module):
    """The correlations of snapshots as features, ``[n, 1, h, w] -> [n, p]``, times ``unit``."""

    def __init__(self, unit: float = 1.0) -> None:
        super().__init__()
        self.unit = unit

    def forward(self, x: Tensor) -> Tensor:
        """``[n, 1, h, w] -> [n, p]``."""
        return self.unit * pair_correlations(x)


class Quadratic(nn.Module):
    """Two scores, -f/2 and f/2, with f = s^T W s / N + b of snapshots s of N spins,
    ``[n, 1, h, w] -> [n, 2]``.

    W is zero and belongs to the task: it is a context, which the inner loop adapts and the outer
    loop leaves alone.
    """

    def __init__(self, sites: int = SIDE**2) -> None:
        super().__init__()
        self.context = nn.Parameter(torch.zeros(sites, sites), requires_grad=False)
        self.b = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        """``[n, 1, h, w] -> [n, 2]``."""
        s = x.flatten(1)  # [n, N]
        f = ((s @ self.context) * s).sum(1) / s.shape[1] + self.b
        return torch.stack([-f / 2, f / 2], dim=1)


def linear() -> nn.Module:
    """Scores linear in the correlations, which are counted in their own noise, 1/sqrt(N): at the
    start zero.
    """
    head = nn.Linear(len(distances(SIDE)), 2)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    return nn.Sequential(PairCorrelations(SIDE), head)


def build(name: str, seed: int = 0) -> MetaLearner:
    """An untrained learner of this recipe, in float32: one of :data:`PROTOCOLS`."""
    check("magnets", name, PROTOCOLS)
    kind, _, how = name.partition("-")
    loss = hinge if how == "hinge" else cross_entropy
    if kind == "scales":
        model = nn.Sequential(PairCorrelations(), Diagonal(len(distances(SIDE))))
        return ClassifierHead(model, 2, HEADS[how]).float()
    makers: dict[str, Callable[[], MetaLearner]] = {
        "cnn": lambda: ClassifierHead(CNN(1, 16, (32, 16), seed=seed), 2),
        "phase": lambda: ClassifierHead(CNN(1, 32, (16, 32), seed=seed), 3),
        "maml": lambda: MAML(linear(), 0.1, 1, learn_lr="tensor", positive_lr=True, loss=loss),
        "metasgd": lambda: MetaSGD(linear(), 0.1, 5, loss=loss),
        "gauge": lambda: MAML(Quadratic(), 4.0, 1, learn_lr="tensor", positive_lr=True, loss=loss),
    }
    return makers[kind]().float()


@lru_cache(8)
def tasks(name: str = "cnn", part: Part = "train") -> Labelled:
    """The tasks of a run: "train", "validation" or "test"."""
    kind = name.partition("-")[0]
    if kind == "phase":
        return WhichPhase().split(part)
    return (HiddenGauge() if kind == "gauge" else WhichMagnet()).split(part)


def judge(learner: MetaLearner, name: str) -> tuple[float]:
    """Mean error rate on validation tasks with five shots a class."""
    family = tasks(name, "validation")
    curve = evaluate(learner, family, 5, n_tasks=300, queries=20, seed=2, loss=error_rate)
    return (float(curve.mean[-1]),)


#: Five runs of each learner took some ten minutes on one core; the search has one seed.
RECIPE = Recipe(
    name="magnets",
    about="Train the learners of :data:`PROTOCOLS` on training magnets, and save them.",
    protocols=PROTOCOLS,
    build=build,
    tasks=tasks,
    about_search="Search the outer learning rate of each learner: the table behind :data:`CHOSEN`.",
    trials={name: [{"outer_lr": rate} for rate in OUTER_LRS] for name in CHOSEN if name != "phase"},
    judge=judge,
)
