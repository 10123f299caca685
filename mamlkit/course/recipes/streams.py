"""Learners for streams that drift, and for measured records (notebook 17)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple, get_args

import torch
from torch import Tensor

from mamlkit.checks import fresh_generator
from mamlkit.course.recipes import packs
from mamlkit.course.recipes.base import SEARCH_SEED, SHORT, Recipe, check
from mamlkit.evaluation.online import after_jumps, follow
from mamlkit.learners import MAML, BayesianHead
from mamlkit.learners.meta import MetaLearner
from mamlkit.learners.online import OnlineHead, OnlineSteps, OnlineWindow, Restart
from mamlkit.models import MLP
from mamlkit.tasks import Family
from mamlkit.tasks.records import RECORDS, record
from mamlkit.tasks.streams import Drift, Resonator, Streams, drifting
from mamlkit.tasks.table import Table
from mamlkit.training.loop import Plan
from mamlkit.training.saved import load_learner
from mamlkit.yardsticks.tracking import (
    FollowTheMetaLeader,
    GridFilter,
    RunningMean,
    curves_prior,
    polynomial_prior,
)

KINDS: tuple[Drift, ...] = ("jump", "ramp", "sine")
TICKS, VALIDATION, TEST = 240, 30, 100  # ticks of a stream, and streams of each kind
FEATURES = 12
LEVEL = 0.373  # mean of the power factor over training resonators and drive frequencies
_SHORT = replace(SHORT, queries=20, meta_batch=32)

#: The runs of this recipe. Without a support in part of the tasks the prior itself is judged too;
#: with one to twenty points in each it is not always learned, and it is what weights return to.
PROTOCOLS: dict[str, Plan] = {
    "head": replace(_SHORT, shots=(0, 10), iterations=2000),
    "maml": replace(_SHORT, shots=6, iterations=2000, outer_lr=5e-3),
    **{
        name: replace(SHORT, shots=(0, 10), queries=None, meta_batch=16, iterations=300)
        for name in RECORDS
    },
}

#: The first year of the validation part and of the test part of each record.
PARTS = {"co2": (1980, 1988), "elnino": (1985, 1995), "sunspots": (1880, 1930)}


class Framed(NamedTuple):
    """A record as a stream of order one: ``x [n, d_in]``, ``y [n]``, and the ``year [n]`` of each
    reading; a y times ``scale`` plus ``offset`` is in the unit of the record (for CO2: of its
    monthly increment; for sunspots: of its square root).
    """

    x: Tensor
    y: Tensor
    year: Tensor
    offset: float
    scale: float


def framed(name: str) -> Framed:
    """A record with inputs: the month on a circle; for sunspots the nine years before. Units come
    from the training part.
    """
    year, month, value = record(name)
    if name == "co2":
        value, year, month = value.diff(), year[1:], month[1:]
    if name == "sunspots":
        value = value.sqrt()
    train = value[: len(year)][year < PARTS[name][0]]
    offset, scale = float(train.mean()), float(train.std())
    y = (value - offset) / scale
    if name == "sunspots":
        x = torch.stack([y[9 - k : len(y) - k] for k in range(1, 10)], 1)  # the last year first
        return Framed(x, y[9:], year[9:], offset, scale)
    angle = 2 * torch.pi * (month - 1) / 12
    return Framed(torch.stack([angle.cos(), angle.sin()], 1).double(), y, year, offset, scale)


def streams(kind: Drift, part: str, seed: int = 0, n: int | None = None) -> Streams:
    """The streams of one kind that choices are made on ("validation"; there is one set), or that
    tell how it went ("test", another set for each seed).
    """
    place = get_args(Drift).index(kind)
    if part == "validation":
        return drifting(Resonator(), n or VALIDATION, TICKS, kind, generator=_of(10_000 + place))
    return drifting(Resonator(), n or TEST, TICKS, kind, generator=_of(20_000 + 10 * seed + place))


def _of(seed: int) -> torch.Generator:
    return fresh_generator(seed)


def build(name: str, seed: int = 0, **settings: Any) -> Any:
    """An untrained learner of :data:`PROTOCOLS`, in float32; or, for the search, a follower of
    :data:`TRIALS` with a learner that was trained by ``seed``.
    """
    if name in TRIALS:
        return follower(name, settings, lambda run: _trained(run))
    check("streams", name, PROTOCOLS)
    if name == "head":
        model = MLP(1, FEATURES, (32, 32), x_range=Resonator.x_range, seed=seed)
        return BayesianHead(model.float(), FEATURES, noise=0.2)
    if name == "maml":
        model = MLP(1, 1, (40, 40), x_range=Resonator.x_range, seed=seed).float()
        return MAML(model, 0.05, 3, learn_lr="tensor", positive_lr=True)
    d_in = 9 if name == "sunspots" else 2
    return BayesianHead(MLP(d_in, 4, (8,), seed=seed).float(), 4, noise=0.5)


def tasks(name: str) -> Family:
    """The tasks of a run: resonators at rest; pieces of twelve readings of a record."""
    check("streams", name, PROTOCOLS)
    if name not in RECORDS:
        return Resonator()
    x, y, year, _, _ = framed(name)
    n = int((year < PARTS[name][0]).sum()) // 12
    pieces = ([leaf[12 * i : 12 * i + 12].numpy() for i in range(n)] for leaf in (x, y))
    return Table(*pieces, split=["train"] * n)


@lru_cache
def _trained(name: str) -> MetaLearner:
    return RECIPE.train(name, SEARCH_SEED, {}, RECIPE.plan(name), None, False)[0].double()


def follower(name: str, settings: Any, trained: Any) -> Any:
    """What follows a stream, by its name in :data:`TRIALS`; ``trained(run)`` gives a learner."""
    settings = dict(settings)
    family = Resonator()
    if name == "mean":
        return RunningMean(LEVEL)
    if name.endswith("restart"):
        alarm = {key: settings.pop(key) for key in ("window", "rate")}
        inner = "polynomial" if name.startswith("polynomial") else "return"
        return Restart(follower(inner, settings, trained), **alarm)
    if name == "polynomial":
        own = {key: settings.pop(key) for key in ("order", "spread")}
        prior = polynomial_prior(x_range=family.x_range, level=LEVEL, noise=family.noise, **own)
        return OnlineHead(prior, **settings)
    if name == "curves":
        return OnlineHead(curves_prior(family, FEATURES, noise=family.noise), **settings)
    if name == "told":
        cells = {
            "frequency": torch.linspace(*family.frequencies, 40),
            "damping": torch.linspace(*family.dampings, 12),
        }
        return GridFilter(family, cells, **settings)
    if name in ("return", "forget"):
        between: Any = name
        return OnlineHead(trained("head"), between=between, **settings)
    makers: dict[str, Any] = {
        "window": lambda: OnlineWindow(trained("head"), **settings),
        "maml-window": lambda: OnlineWindow(trained("maml"), **settings),
        "maml-steps": lambda: OnlineSteps(trained("maml"), **settings),
        "meta-leader": lambda: FollowTheMetaLeader(trained("maml"), **settings),
    }
    return makers[name]()


def _grid(**axes: Iterable[Any]) -> list[dict[str, Any]]:
    return [dict(zip(axes, values, strict=True)) for values in product(*axes.values())]


_KEEPS = (0.9, 0.93, 0.95, 0.96, 0.97, 0.975, 0.98, 0.985, 0.99, 0.993, 0.996, 0.999)
_POLYNOMIALS = [
    *_grid(
        order=(5, 7, 9, 12),
        spread=(0.1, 0.15, 0.2),
        keep=(0.96, 0.97, 0.98, 0.985, 0.99, 0.995),
        between=("return",),
        step=(0.0,),
    ),
    *_grid(
        order=(5, 7, 9, 12),
        spread=(0.15,),
        keep=(1.0,),
        between=("walk",),
        step=(0.05, 0.1, 0.2, 0.4),
    ),
    *_grid(
        order=(15, 20),
        spread=(0.1, 0.15),
        keep=(0.97, 0.98, 0.985, 0.99, 0.995),
        between=("return",),
        step=(0.0,),
    ),
]
#: What the search tries for each follower.
TRIALS: dict[str, list[dict[str, Any]]] = {
    "mean": [{}],
    "polynomial": _POLYNOMIALS,
    "curves": _grid(keep=_KEEPS),
    "return": _grid(keep=_KEEPS),
    "forget": _grid(keep=(*_KEEPS, 0.8, 0.85)),
    "window": _grid(size=(4, 6, 8, 10, 12, 15, 20, 25, 30, 40, 60, 80)),
    "restart": _grid(keep=_KEEPS[6:], window=(2, 4), rate=(1e-2, 1e-3)),
    "polynomial-restart": _grid(
        order=(9, 12, 15),
        spread=(0.15,),
        keep=(0.985, 0.99, 0.995),
        window=(2, 4),
        rate=(1e-2, 1e-3),
    ),
    "told": _grid(hazard=(0.003, 0.01, 0.03), step=(0.25, 0.5, 1.0, 1.5)),
    "maml-window": _grid(size=(4, 6, 8, 10, 12, 16), steps=(3, 6)),
    "maml-steps": _grid(scale=(0.5, 1.0), size=(4, 6, 10), keep=(0.97, 0.99, 1.0)),
    "meta-leader": _grid(lr=(1e-3, 1e-2), size=(6, 10, 14), every=(4,)),
}
#: Followers that take too long for a notebook: their scores on the first ``FEW`` test streams of
#: each kind and seed ship as the table "slow".
SLOW = ("window", "maml-window", "maml-steps", "meta-leader")
FEW = 25


def judge(learner: Any, name: str) -> tuple[float, ...]:
    """Mean squared error on the validation streams of each kind, times 1000, to a thousandth."""
    every = [streams(kind, "validation") for kind in KINDS]
    leaves = [[getattr(s, leaf) for s in every] for leaf in ("x", "y", "truth", "jumped")]
    x, y, truth, jumped = map(torch.cat, leaves)
    error = 1e3 * follow(learner, Streams(x, y, truth, {}, jumped)).errors.mean(1)
    return tuple(round(float(e), 3) for e in error.reshape(len(KINDS), VALIDATION).mean(1))


def chosen(table: Any, name: str, kind: Drift) -> dict[str, Any]:
    """The setting of a follower that has the least error on validation streams of a kind."""
    place = KINDS.index(kind) - len(KINDS)
    rows = [row for row in table[name] if row[place] is not None]
    best = min(rows, key=lambda row: row[place])
    keys = TRIALS[name][0]
    return dict(zip(keys, best, strict=False))


def measure(folder: Path, names: Iterable[str], seeds: Iterable[int]) -> None:
    """Write ``streams-slow.json``: of each follower in :data:`SLOW` and each kind the mean error on
    test streams times 1000, one number a seed; and for jumps the mean course after a jump. It needs
    the search in the same folder, and both learners.
    """
    path = folder / "streams-search.json"
    if not path.exists() or not {"head", "maml"} <= set(names):
        return
    search = packs.read_json(path)
    table: dict[str, Any] = {}
    for name in SLOW:
        rows: dict[str, Any] = {kind: [] for kind in KINDS}
        rows["after a jump"] = []
        for seed in seeds:

            def trained(run: str, seed: int = seed) -> MetaLearner:
                learner: MetaLearner = build(run, seed)
                load_learner(learner, RECIPE.path(folder, run, seed))
                return learner.double()

            for kind in KINDS:
                given = streams(kind, "test", seed)
                x, y, truth = (leaf[:FEW] for leaf in (given.x, given.y, given.truth))
                given = Streams(x, y, truth, {}, given.jumped[:FEW])
                found = follow(follower(name, chosen(search, name, kind), trained), given)
                rows[kind].append(round(1e3 * float(found.errors.mean()), 3))
                if kind == "jump":
                    course = 1e3 * after_jumps(found.errors, given.jumped).mean(0)
                    rows["after a jump"].append([round(float(c), 2) for c in course])
        table[name] = rows
        packs.write_json(folder / "streams-slow.json", table)


#: Five runs of each learner took some three minutes on one core. The slow rows, and the search,
#: which comes first and into the same folder, took some five minutes each.
RECIPE = Recipe(
    name="streams",
    about="Train the learners of :data:`PROTOCOLS`, and measure the slow ones.",
    protocols=PROTOCOLS,
    build=build,
    tasks=tasks,
    about_search="Search the settings of all followers on validation streams.",
    trials=TRIALS,
    judge=judge,
    scores=len(KINDS),
    measure=measure,
)
