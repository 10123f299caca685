"""Small learners, and learners that were shown few systems (notebook 20)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from mamlkit.course.quickstart import MEASURED_AT, SETTINGS
from mamlkit.course.recipes import packs
from mamlkit.course.recipes.base import SHIPPED_SEEDS, SHORT, Recipe, check
from mamlkit.evaluation.curves import evaluate
from mamlkit.learners import MAML, MetaSGD
from mamlkit.learners.ensemble import Stacked
from mamlkit.learners.vectorise import vectorised
from mamlkit.losses import rmse
from mamlkit.models import MLP, Powers, Pruned, copied, largest_weights
from mamlkit.tasks.base import Physics, TaskBatch
from mamlkit.tasks.fluids import Part, VapourPressure
from mamlkit.training.loop import Plan, meta_train

#: Models by name: hidden widths, or None for three powers of 1 - 1/x.
MODELS: dict[str, tuple[int, ...] | None] = {
    "net40": (40, 40),
    "net8": (8, 8),
    "net4": (4,),
    "powers": None,
}
INNER_LR = 0.1  # at the start of training, as in the quickstart
KEEP = 0.1  # share of the matrices' entries that pruning leaves
OUTER_LRS = (1e-2, 3e-2, 1e-1, 3e-1)
#: Outer learning rates: the winners on validation fluids.
CHOSEN: dict[str, float] = {
    "net40": 3e-2,
    "net8": 1e-1,
    "net4": 3e-1,
    "powers": 1e-1,
    "tuned": 1e-1,
    "ticket": 1e-1,
    "random": 1e-1,
}
_PLAN = replace(SHORT, **{**SETTINGS, "iterations": 2000})
PROTOCOLS: dict[str, Plan] = {name: replace(_PLAN, outer_lr=rate) for name, rate in CHOSEN.items()}


def model(name: str, seed: int) -> nn.Module:
    """The untrained model of a run."""
    widths = MODELS[name]
    if widths is None:
        return Powers(3).float()
    return MLP(1, 1, hidden=widths, x_range=VapourPressure.x_range, seed=seed).float()


def build(name: str, seed: int = 0) -> MAML:
    """An untrained learner of this recipe, in float32: Meta-SGD with one inner step.

    Three are pruned, with masks on a network of 40 and 40: "tuned" goes on from the shipped learner
    "net40" without its small weights; "ticket" takes the same mask and the first weights (Frankle
    and Carbin 2019, arXiv:1803.03635); "random" a mask dealt anew and the first weights.
    """
    check("small", name, PROTOCOLS)
    if name in MODELS:
        return MetaSGD(model(name, seed), INNER_LR)
    trained: Any = RECIPE.load("net40", seed % len(SHIPPED_SEEDS))[0]
    masks = largest_weights(trained.model, KEEP)
    if name == "random":
        generator = torch.Generator().manual_seed(seed)
        masks = {n: _shuffled(mask, generator) for n, mask in masks.items()}
    start = trained.model if name == "tuned" else model("net40", seed)
    learner = MetaSGD(Pruned(start, masks), INNER_LR)
    with torch.no_grad():
        for full, rate, old in zip(learner.adapted, learner.rates, trained.rates, strict=True):
            if name == "tuned":
                rate.copy_(old)
            rate.mul_(masks.get(full.removeprefix("model."), torch.ones(())))
    return learner


def _shuffled(mask: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    order = torch.randperm(mask.numel(), generator=generator)
    return mask.flatten()[order].reshape(mask.shape)


@lru_cache(4)
def tasks(name: str = "net40", part: Part = "train") -> VapourPressure:
    """Fluids measured once at T/Tc = 0.7: "train", "validation" or "test"."""
    return VapourPressure(at=MEASURED_AT).split(part)


def judge(learner: Any, name: str = "", part: Part = "validation") -> tuple[float]:
    """Mean over fluids of the RMSE of log10(p/pc)."""
    return (error_of(learner, tasks(name, part)),)


# --- few training systems -------------------------------------------------------------------------

SIZES = (1, 2, 4, 8, 16, 76)  # training fluids
SUBSETS = 5  # of each size
SPREAD = 0.15  # of the factors of the augmentation
#: Of the runs side by side: so many tasks and query points each.
FEW = replace(_PLAN, queries=10, meta_batch=8)


def subset(n: int, seed: int) -> VapourPressure:
    """``n`` training fluids, drawn by the seed; those of a smaller n are among them."""
    train = tasks(part="train")
    known: Any = train.members
    order = torch.randperm(len(known), generator=torch.Generator().manual_seed(seed))
    return train.only(known[order[:n]])


def scaled(batch: TaskBatch, generator: torch.Generator) -> TaskBatch:
    """The physical augmentation: y -> s y, s ~ N(1, 0.15^2), the same for all points of a task. The
    critical point, y = 0, stays where it is.
    """
    shape = (len(batch.support.x), 1, 1)
    s = 1 + SPREAD * torch.randn(shape, generator=generator, dtype=torch.float64)
    support, query = (p._replace(y=s.to(p.y) * p.y) for p in (batch.support, batch.query))
    return batch._replace(support=support, query=query)


class Several(VapourPressure):
    """The fluids of several families in turn: the first tasks of a batch come from the first, and
    so on, as many from each.
    """

    def __init__(self, families: Sequence[VapourPressure]) -> None:
        super().__init__(at=MEASURED_AT)
        self.families = families

    def _physics(self, n_tasks: int, generator: torch.Generator) -> Physics:
        each = n_tasks // len(self.families)
        drawn = [family._physics(each, generator) for family in self.families]
        return {name: torch.cat([physics[name] for physics in drawn]) for name in drawn[0]}


class SideBySide(Stacked):
    """Learners side by side, each with tasks of its own: as many of a batch for each, in turn.
    Descends the sum of their objectives.
    """

    @vectorised
    def forward(self, batch: TaskBatch) -> tuple[Tensor, Tensor]:
        """The objective of each task times the number of learners, and the support losses."""
        own = tree_map(lambda t: t.unflatten(0, (self.members, -1)), batch)
        losses, support = self._each(lambda learner, tasks: learner(tasks), own)
        return self.members * losses.flatten(), support.flatten(0, 1)

    def query_losses(self, batch: TaskBatch, steps: int | None = None) -> Tensor:
        """As :meth:`forward`."""
        return self(batch)[0]

    def one(self, i: int) -> MAML:
        """One of the learners."""
        alone: Any = copied(self.learner)
        with torch.no_grad():
            for parameter in alone.parameters():
                parameter.data = parameter[i].clone()
        return alone


def train_few(
    name: str, sizes: Sequence[int], augmented: bool, progress: bool = False, **changes: Any
) -> dict[int, list[MAML]]:
    """Train the learner ``name`` on subsets of each size, all side by side: ``SUBSETS`` learners
    for each size.
    """
    families = [subset(n, seed) for n in sizes for seed in range(SUBSETS)]

    def make(seed: int) -> MAML:
        learner = build(name, seed)
        if name == "powers":  # whose starts are all zero
            torch.nn.init.constant_(learner.model.weight, 1e-3 * seed)
        return learner

    runs = SideBySide(make, len(families), 0)
    plan = replace(FEW, **{"outer_lr": CHOSEN[name], **changes})
    clip = (plan.grad_clip or 1.0) * len(families) ** 0.5
    plan = replace(plan, meta_batch=plan.meta_batch * len(families), grad_clip=clip)
    augment = scaled if augmented else None
    meta_train(runs, Several(families), plan=plan, augment=augment, progress=progress)
    ones = iter(runs.one(i) for i in range(len(families)))
    return {n: [next(ones) for _ in range(SUBSETS)] for n in sizes}


def measure(folder: Path, names: Iterable[str], seeds: Iterable[int]) -> None:
    """The table "few": for a network and for three powers, plain and augmented, and for the linear
    latent, by size: of each subset the error on its own fluids and on test fluids.
    """
    if not set(PROTOCOLS) <= set(names):  # a part of the recipe
        return
    table: dict[str, Any] = {}
    for name in ("net40", "powers"):
        for augmented in (False, True):
            found = train_few(name, SIZES, augmented)
            table[f"{name}{'-augmented' if augmented else ''}"] = {
                str(n): [
                    [error_of(learner, subset(n, i)), error_of(learner, tasks(part="test"))]
                    for i, learner in enumerate(found[n])
                ]
                for n in SIZES
            }
    packs.write_json(folder / "small-few.json", table)


def error_of(learner: Any, family: VapourPressure) -> float:
    """Mean over fluids of the RMSE of log10(p/pc)."""
    return float(evaluate(learner, family, 1, loss=rmse).mean[-1])


RECIPE = Recipe(
    name="small",
    about="Train the learners of :data:`PROTOCOLS` on training fluids, and save them.",
    protocols=PROTOCOLS,
    build=build,
    tasks=tasks,
    about_search="Search the learning rates of each learner: the table behind :data:`CHOSEN`.",
    trials={name: [{"outer_lr": rate} for rate in OUTER_LRS] for name in CHOSEN},
    judge=judge,
    measure=measure,
)
