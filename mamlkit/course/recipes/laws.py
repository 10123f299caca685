"""Which law made this data set? Networks for sets, and a Bayesian head a law (notebook 15)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from mamlkit.course.recipes.base import SHORT, Recipe, check
from mamlkit.learners import MAML, BayesianHead, ClassifierHead, Prototypes
from mamlkit.learners.meta import MetaLearner
from mamlkit.losses import cross_entropy
from mamlkit.models import MLP, SetNetwork
from mamlkit.tasks import Family
from mamlkit.tasks.laws import GROUPS, KNOWN, NamedLaw, known, unseen
from mamlkit.training.loop import Plan

POINTS = (5, 10, 20, 40)  # readings in a data set of a known law
WIDTH, WIDTH_UNSEEN = 48, 40
_KNOWN = replace(SHORT, shots=1, queries=30, meta_batch=1, iterations=1500)
_HEAD = replace(SHORT, shots=5, queries=10, meta_batch=32, iterations=400)
_UNSEEN = replace(SHORT, shots=3, queries=3, meta_batch=16, iterations=1000, outer_lr=5e-3)

#: The runs of this recipe. "known-N" classifies data sets of N readings by one network, for the six
#: laws that are known; "head-LAW" is a Bayesian head meta-trained on one of them; "prototypes-F"
#: and "ridge-F" learn to tell laws apart by examples, with the laws of group F held out.
PROTOCOLS: dict[str, Plan] = {
    **{f"known-{n}": _KNOWN for n in POINTS},
    **{f"head-{law}": _HEAD for law in KNOWN},
    **{f"{kind}-{f}": _UNSEEN for kind in ("prototypes", "ridge") for f in range(len(GROUPS))},
}


class InUnits(nn.Module):
    """Data sets in numbers of order one: ``[.., n, 2] -> [.., n, 3]``, x from -3 to 3, y, and y in
    units of its root mean square over the set.
    """

    def forward(self, sets: Tensor) -> Tensor:
        """x, y and y over its size."""
        x, y = sets[..., :1], sets[..., 1:]
        size = (y.square().mean(-2, keepdim=True) + 1e-3).sqrt()
        return torch.cat([6 * x - 3, y, y / size], dim=-1)


def build(name: str, seed: int = 0) -> MetaLearner:
    """An untrained learner of this recipe, in float32.

    Args:
        name: one of ``PROTOCOLS``.
        seed: fixes the random start.
    """
    check("laws", name, PROTOCOLS)
    kind = name.partition("-")[0]
    if kind == "head":
        features = MLP(1, 8, x_range=NamedLaw.x_range, seed=seed).float()
        return BayesianHead(features, 8, noise=0.3)
    network: dict[str, Any] = {"activation": "gelu", "seed": seed}
    if kind == "known":  # nothing adapts: one classifier for all data sets
        body = SetNetwork(3, len(KNOWN), (WIDTH, WIDTH), (WIDTH,), **network)
        return MAML(nn.Sequential(InUnits(), body).float(), inner_steps=0, loss=cross_entropy)
    width, ways = WIDTH_UNSEEN, 3
    body = SetNetwork(3, width // 2, (width, width, width), (width,), mixing=True, **network)
    model = nn.Sequential(InUnits(), body).float()
    return Prototypes(model, ways) if kind == "prototypes" else ClassifierHead(model, ways)


def tasks(name: str, part: str = "train") -> Family:
    """The tasks of a run; of unseen laws those of a part."""
    check("laws", name, PROTOCOLS)
    kind, _, which = name.partition("-")
    if kind == "known":
        return known(int(which))
    return NamedLaw(which) if kind == "head" else unseen(int(which)).split(part)


RECIPE = Recipe(
    name="laws",
    about="Train the networks for sets and the heads of :data:`PROTOCOLS`, and save them.",
    protocols=PROTOCOLS,
    build=build,
    tasks=tasks,
)
