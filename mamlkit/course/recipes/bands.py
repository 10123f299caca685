"""Learners that say how sure they are: Bayesian heads and ensembles (notebook 07)."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from mamlkit.course.quickstart import MEASURED_AT
from mamlkit.course.recipes.base import SHORT, Recipe, check
from mamlkit.learners import CAVIA, BayesianHead, Ensemble
from mamlkit.learners.meta import MetaLearner
from mamlkit.models import MLP
from mamlkit.tasks import Family, VapourPressure
from mamlkit.tasks.base import Physics, normal
from mamlkit.tasks.fluids import Part
from mamlkit.training.loop import Plan

_HEAD = replace(SHORT, shots=1, queries=10, meta_batch=32, iterations=700, compile=False)
# The clip bounds the norm over all five members: 0.1 each.
_ENSEMBLE = replace(_HEAD, meta_batch=16, iterations=500, grad_clip=0.22)

#: The runs of this recipe. "fluids" are vapour pressures with 1 % noise, split by substance;
#: "kinds" the same, split by chemical family; "waves" have a known answer. Heads measure anywhere,
#: ensembles at T/Tc = 0.7.
PROTOCOLS: dict[str, Plan] = {
    "fluids-head": _HEAD,
    "kinds-head": _HEAD,
    "fluids-ensemble": _ENSEMBLE,
    "kinds-ensemble": _ENSEMBLE,
    "waves-head": replace(_HEAD, shots=2, queries=20, meta_batch=25, iterations=600),
}
MEMBERS = 5


class Waves(Family):
    """y = a sin(x) + b cos(x) with a, b ~ N(0, 2^2), read with an error of 0.3: linear in its two
    unknowns, so the exact posterior is known.
    """

    x_range, noise = (-5.0, 5.0), 0.3

    def draw(self, n_tasks: int, generator: torch.Generator) -> Physics:
        """The two amplitudes, each ``[n_tasks]``."""
        return {name: normal(n_tasks, 0.0, 2.0, generator) for name in "ab"}

    def law(self, x: Tensor, physics: Physics) -> Tensor:
        """a sin(x) + b cos(x)."""
        return physics["a"] * x.sin() + physics["b"] * x.cos()


def build(name: str, seed: int = 0) -> MetaLearner:
    """An untrained learner of this recipe, in float32.

    A head has 8 features on the fluids and 16 on the waves. An ensemble has five members: contexts
    of two numbers, fed by modulation, with one inner step. Member i of seed s starts from seed
    ``5 s + i``, so no two ensembles of a problem share a start.

    Args:
        name: one of ``PROTOCOLS``.
        seed: fixes the random start.
    """
    check("bands", name, PROTOCOLS)
    problem, kind = name.split("-")
    if kind == "ensemble":

        def member(seed: int) -> MetaLearner:
            span = VapourPressure.x_range
            model = MLP(1, 1, x_range=span, context=2, feed="modulate", seed=seed)
            return CAVIA(model.float(), inner_lr=0.3)

        return Ensemble(member, MEMBERS, seed=MEMBERS * seed)
    family = Waves if problem == "waves" else VapourPressure
    features, noise = (16, 0.3) if problem == "waves" else (8, 0.01)
    model = MLP(1, features, x_range=family.x_range, seed=seed).float()
    return BayesianHead(model, features, noise=noise)


def tasks(name: str, part: Part = "train") -> Family:
    """The tasks of a run of this recipe: "train", "validation" or "test"; waves are fresh
    draws in any part.
    """
    check("bands", name, PROTOCOLS)
    problem, kind = name.split("-")
    if problem == "waves":
        return Waves()
    at = MEASURED_AT if kind == "ensemble" else None
    by: Literal["substance", "family"] = "substance" if problem == "fluids" else "family"
    return VapourPressure(at=at, noise=0.01, split_by=by).split(part)


#: Training is in float64. All 25 runs took one minute on one core.
RECIPE = Recipe(
    name="bands",
    about="Train the Bayesian heads and the ensembles of :data:`PROTOCOLS`, and save them.",
    protocols=PROTOCOLS,
    build=build,
    tasks=tasks,
    double=True,
)
