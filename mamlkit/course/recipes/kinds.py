"""One learner for ten kinds of physics, or one for each kind (notebook 19)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from mamlkit.checks import fresh_generator
from mamlkit.course.recipes import packs
from mamlkit.course.recipes.base import SHORT, Recipe, check
from mamlkit.evaluation.curves import final_losses
from mamlkit.learners import CNP, BayesianHead, Specialists
from mamlkit.learners.meta import MetaLearner
from mamlkit.losses import mse
from mamlkit.models import MLP
from mamlkit.tasks import KINDS, Family, Mixture, TaskBatch, ten_kinds
from mamlkit.tasks.base import convert
from mamlkit.tasks.mixture import LABEL
from mamlkit.training.loop import Plan, meta_train
from mamlkit.training.saved import load_learner

NAMES = tuple(KINDS)
SHOTS = 5
ENDLESS = 0  # training tasks of each kind, as written in LEVELS
LEVELS = (1, 2, ENDLESS)
BANK = 100_000  # measured tasks that a training draws from
FEATURES, HIDDEN, WIDTH = 6, (16, 16), 32
TASKS, QUERIES = {"test": (200, 1), "validation": (100, 2)}, 50  # of an endless kind, and the seed
#: Outer learning rates, each tried in 750 iterations on validation tasks, and the winners;
#: "wide" and "slow" (specialists at the rate of the joint learner) take that of "joint".
OUTER_LRS = (3e-3, 1e-2, 3e-2)
CHOSEN = {"joint": 1e-2, "told": 3e-2, "specialists": 3e-2, "cnp": 3e-2}
CHOSEN |= {"wide": 1e-2, "slow": 1e-2}
_PLAN = replace(SHORT, shots=SHOTS, queries=10, meta_batch=100, iterations=750)
LONG = 6  # times as many iterations for the neural process that ships

#: The runs that ship, with endless training tasks; :func:`measure` trains more and keeps their
#: errors.
PROTOCOLS: dict[str, Plan] = {
    "joint": replace(_PLAN, outer_lr=CHOSEN["joint"]),
    "told": replace(_PLAN, outer_lr=CHOSEN["told"]),
    "specialists": replace(_PLAN, outer_lr=CHOSEN["specialists"]),
    "cnp": replace(_PLAN, outer_lr=CHOSEN["cnp"], iterations=LONG * _PLAN.iterations),
}


def build(name: str, seed: int = 0) -> MetaLearner:
    """An untrained learner of this recipe, in float32: one of :data:`CHOSEN`."""
    check("kinds", name, CHOSEN)

    def head(seed: int, d_in: int = 1, wider: int = 1) -> BayesianHead:
        p, hidden = wider * FEATURES, [wider * width for width in HIDDEN]
        return BayesianHead(MLP(d_in, p, hidden, seed=seed).float(), p, noise=0.3)

    if name in ("specialists", "slow"):
        return Specialists(head, len(NAMES), 100 * seed)
    if name == "cnp":
        hidden = (WIDTH, WIDTH)
        model = MLP(1, 2, hidden, "silu", seed=seed, context=WIDTH)
        return CNP(model.float(), MLP(2, WIDTH, hidden, "silu", seed=seed + 1).float())
    return head(seed, 1 + len(NAMES) * (name == "told"), 3 if name == "wide" else 1)


#: What each row of the table is made of, namely a learner, how many times 750 iterations, and how
#: many seeds. The first three are trained at each of :data:`LEVELS`.
ROWS: dict[str, tuple[str, int, int]] = {
    "joint": ("joint", 1, 5),
    "average": ("specialists", 1, 5),
    "slow": ("slow", 1, 5),
    "told": ("told", 1, 5),
    "cnp": ("cnp", 1, 5),
    "cnp, long": ("cnp", LONG, 5),
    "wide": ("wide", 1, 2),
    "joint, long": ("joint", LONG, 1),
}
#: Kinds that are held out of training two by two.
PAIRS = tuple(zip(NAMES[:5], NAMES[5:], strict=True))


class Measured(Family):
    """Tasks of a family, measured once and kept: to draw is to look up, which takes a tenth of the
    time of measuring ten kinds anew for each batch.
    """

    def __init__(self, family: Family, n: int, seed: int) -> None:
        self.d_in, self.d_out, self.x_range = family.d_in, family.d_out, family.x_range
        generator = fresh_generator(seed)
        kept = family.sample(n, SHOTS, _PLAN.queries, generator=generator)
        self._kept = kept._replace(physics={LABEL: kept.physics[LABEL]})

    def sample(self, n_tasks: int, shots: Any, queries: Any = None, **drawn: Any) -> TaskBatch:
        """So many of them, drawn by ``generator``; shots and queries are as they are."""
        n = len(self._kept.query.x)
        chosen = torch.randint(n, (n_tasks,), generator=drawn.pop("generator", None))
        return convert(tree_map(lambda leaf: leaf[chosen], self._kept), **drawn)


def tasks(
    name: str = "joint", each: int = ENDLESS, seed: int = 0, without: Sequence[str] = ()
) -> Measured:
    """Training tasks: all kinds alike, but for those that are left out; of ``each`` kind so many
    systems, drawn by ``seed`` and measured over and over. Of fluids an endless supply is the 76 of
    the training part.
    """
    found: dict[str, Family] = {}
    for kind, family in ten_kinds().items():
        part = family.split("train") if family.parts else family
        if each:
            part = part.fixed(each, seed) if part.members is None else part.subset(each, seed)
        if kind not in without:
            found[kind] = part
    return Measured(Mixture(found, told=name == "told"), BANK, seed)


@cache
def new_tasks(part: str = "test") -> dict[str, TaskBatch]:
    """New tasks of each kind, "test" or "validation", in float64: those of fluids are the fluids of
    that part.
    """
    n, seed = TASKS[part]
    found = {}
    for kind, family in ten_kinds().items():
        drawn: dict[str, Any] = {"generator": fresh_generator(seed), "dtype": torch.float64}
        if family.parts:
            found[kind] = family.split(part).every(SHOTS, **drawn)
        else:
            found[kind] = family.sample(n, SHOTS, QUERIES, **drawn)
    return found


def errors(learner: Any, part: str = "test", told: bool = False) -> Tensor:
    """The mean squared error on new tasks of each kind, ``[10]``.

    Args:
        learner: one for all kinds, or a list of one for each.
        part: "test" or "validation".
        told: give it the label in the input.
    """
    found = []
    mixture = Mixture(ten_kinds(), told=True)
    for i, batch in enumerate(new_tasks(part).values()):
        if told:
            label = {LABEL: torch.full((len(batch.query.x),), float(i))}
            support, query = (p._replace(x=mixture.labelled(p.x, label)) for p in batch[:2])
            batch = TaskBatch(support, query, batch.physics)
        own = learner[i] if isinstance(learner, list) else learner
        found.append(final_losses(own, batch, mse).mean())
    return torch.stack(found)


def rows_of(row: str, learner: Any, part: str = "test") -> dict[str, list[float]]:
    """The errors of a trained learner on each kind, to four digits; those of specialists averaged,
    told the kind and chosen.
    """
    found = {row: errors(learner, part, told=row == "told")}
    if row == "average":
        found["told the kind"] = errors([learner.alone(i) for i in range(len(NAMES))], part)
        learner.average = False
        found["chosen"] = errors(learner, part)
        learner.average = True
    return {name: [float(f"{e:.4g}") for e in values] for name, values in found.items()}


def trained(name: str, seed: int, family: Family, times: int = 1) -> Any:
    """A learner that was trained on ``family`` for so many times 750 iterations, in float64."""
    learner, iterations = build(name, seed), times * _PLAN.iterations
    plan = replace(_PLAN, outer_lr=CHOSEN[name], iterations=iterations, seed=seed)
    meta_train(learner, family, plan=plan, progress=False)
    return learner.double()


def without(specialists: Specialists, kinds: Sequence[str]) -> Specialists:
    """The specialists of all other kinds."""
    others = [specialists.alone(i) for i, name in enumerate(NAMES) if name not in kinds]
    return Specialists(lambda j: others[j], len(others))


def measure(folder: Path, names: Iterable[str], seeds: Iterable[int]) -> None:
    """Write ``kinds-sweep.json`` and ``kinds-held_out.json``: errors on test tasks of each kind.

    "sweep" has for each number of training tasks a kind and each row a list for each seed;
    "held_out" for each kind the error on it of learners that were trained without it and its
    partner in :data:`PAIRS`, one seed a pair. Tables that were cut short go on where they were.
    """
    seeds = tuple(seeds)
    path = folder / "kinds-sweep.json"
    sweep = packs.read_json(path) if path.exists() else {}
    for each in LEVELS:
        table = sweep.setdefault(str(each), {})
        for row, (name, times, most) in ROWS.items():
            if each != ENDLESS and row not in ("joint", "average", "slow"):
                continue
            for seed in seeds[len(table.get(row, [])) : most]:
                ships = each == ENDLESS and name in PROTOCOLS
                if ships and PROTOCOLS[name].iterations == times * _PLAN.iterations:
                    learner = _saved(folder, name, seed)
                else:
                    learner = trained(name, seed, tasks(name, each, seed), times)
                for told, values in rows_of(row, learner).items():
                    table.setdefault(told, []).append(values)
                packs.write_json(path, sweep)
    path = folder / "kinds-held_out.json"
    held = packs.read_json(path) if path.exists() else {}
    for i, pair in enumerate(PAIRS):
        if pair[0] in held:
            continue
        seed = seeds[i % len(seeds)]
        found = {
            name: trained(name, seed, tasks(without=pair), times)
            for name, times in (("joint", 1), ("cnp", 2))
        }
        found["average"] = without(_saved(folder, "specialists", seed), pair)
        by_row = {row: errors(learner) for row, learner in found.items()}
        for kind in pair:
            at = NAMES.index(kind)
            held[kind] = {row: float(f"{values[at]:.4g}") for row, values in by_row.items()}
        packs.write_json(path, held)


def _saved(folder: Path, name: str, seed: int) -> Any:
    """A learner out of the folder of a run, in float64."""
    learner = build(name, seed)
    load_learner(learner, RECIPE.path(folder, name, seed))
    return learner.double()


def judge(learner: Any, name: str) -> tuple[float]:
    """The geometric mean over kinds of the error on validation tasks."""
    found = errors(learner.double(), "validation", told=name == "told")
    return (float(found.log().mean().exp()),)


RECIPE = Recipe(
    name="kinds",
    about="Train one learner for ten kinds of physics, and one for each, and measure both.",
    protocols=PROTOCOLS,
    build=build,
    tasks=tasks,
    half=True,
    about_search="Search the outer learning rates: the table behind :data:`CHOSEN`.",
    trials={name: [{"outer_lr": rate} for rate in OUTER_LRS] for name in PROTOCOLS},
    judge=judge,
    measure=measure,
)
