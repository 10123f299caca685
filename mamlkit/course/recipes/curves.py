"""Where will a training end? Learners of problems, whose points are training runs (notebook 18)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from mamlkit.course.recipes.base import SHORT, Recipe, check
from mamlkit.evaluation.curves import evaluate
from mamlkit.learners import CAVIA, MAML, BayesianHead
from mamlkit.learners.meta import MetaLearner
from mamlkit.losses import mse
from mamlkit.models import MLP
from mamlkit.tasks import LearningCurves
from mamlkit.training.loop import Plan

SHOTS = (0, 2, 4, 8)  # numbers of finished runs that learners are judged at
SEARCH_SPLIT = 100  # the deal of problems to training that settings are searched with
#: What the search tries for each learner, and as many for the Gaussian process of notebook 18:
#: width, size of what adapts, outer learning rate, iterations.
TRIED = [
    {"width": width, "size": size, "outer_lr": rate, "iterations": iterations}
    for width, size, rate, iterations in (
        (24, 8, 1e-2, 500),
        (24, 8, 3e-3, 1000),
        (24, 16, 1e-2, 500),
        (48, 8, 1e-2, 500),
        (48, 8, 3e-3, 1000),
        (24, 8, 1e-2, 1500),
    )
]
_PLAN = replace(SHORT, shots=(0, 8), queries=8, meta_batch=16, iterations=500)

#: The runs of this recipe: three learners that see a tenth of a run, and the head once more for
#: runs that are seen up to step 60 and 120.
PROTOCOLS: dict[str, Plan] = {
    name: _PLAN for name in ("head", "cavia", "maml", "head-60", "head-120")
}


def seen(name: str) -> int:
    """Up to which step a learner sees a run."""
    return int(name.partition("-")[2] or 30)


def build(name: str, seed: int = 0, width: int = 24, size: int = 8) -> MetaLearner:
    """An untrained learner of this recipe, in float32: one of :data:`PROTOCOLS`.

    ``size`` is the number of features of a head, of numbers in a context, and is not used by MAML.
    """
    check("curves", name, PROTOCOLS)
    d_in, hidden, kind = LearningCurves(seen(name)).d_in, (width, width), name.partition("-")[0]
    how: dict[str, Any] = {"learn_lr": "tensor", "positive_lr": True}
    if kind == "head":
        return BayesianHead(MLP(d_in, size, hidden, seed=seed).float(), size, noise=0.4)
    if kind == "cavia":
        return CAVIA(MLP(d_in, 1, hidden, seed=seed, context=size).float(), 1.0, 3, **how)
    return MAML(MLP(d_in, 1, hidden, seed=seed).float(), 0.05, 3, **how)


def tasks(name: str, seed: int = 0, part: str = "train") -> LearningCurves:
    """The problems of a run: dealt by its seed."""
    check("curves", name, PROTOCOLS)
    return LearningCurves(seen(name), seed).split(part)
