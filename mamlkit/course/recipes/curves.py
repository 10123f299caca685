"""Where will a training end? Learners of problems, whose points are training runs (notebook 18)."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mamlkit.checks import fresh_generator
from mamlkit.course.recipes import packs
from mamlkit.course.recipes.base import SHORT, Recipe, check
from mamlkit.evaluation.curves import evaluate, half_width
from mamlkit.evaluation.work import Halving, halving
from mamlkit.learners import CAVIA, MAML, BayesianHead
from mamlkit.learners.meta import MetaLearner
from mamlkit.losses import mse
from mamlkit.models import MLP
from mamlkit.tasks import LearningCurves
from mamlkit.tasks.learning_curves import HYPERPARAMETERS, LAWS, STEPS, TIMES
from mamlkit.training.loop import Plan, meta_train
from mamlkit.training.saved import load_learner
from mamlkit.yardsticks import Shifted, TwoLevelProcess, power_law
from mamlkit.yardsticks.pooled_points import Array, every_point

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
#: Settings are those that the search found best, or, to 0.002 of the score, the smallest.
PROTOCOLS: dict[str, Plan] = {
    name: replace(_PLAN, iterations=1500 if name in ("cavia", "maml") else 500)
    for name in ("head", "cavia", "maml", "head_60", "head_120")
}


def seen(name: str) -> int:
    """Up to which step a learner sees a run."""
    return int(name.partition("_")[2] or 30)


def build(name: str, seed: int = 0, width: int = 24, size: int = 8) -> MetaLearner:
    """An untrained learner of this recipe, in float32: one of :data:`PROTOCOLS`.

    ``size`` is the number of features of a head, of numbers in a context, and is not used by MAML.
    """
    check("curves", name, PROTOCOLS)
    d_in, hidden, kind = LearningCurves(seen(name)).d_in, (width, width), name.partition("_")[0]
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


def errors(learner: Any, family: LearningCurves, shots: Iterable[int] = SHOTS) -> Tensor:
    """Mean squared error of each problem, ``[problems, len(shots)]``: of the same eight runs
    whatever the number of finished ones.
    """
    found = [evaluate(learner, family, k, queries=8, seed=3, loss=mse) for k in shots]
    return torch.stack([curve.losses[:, -1] for curve in found], 1)


def judge(learner: MetaLearner, name: str) -> tuple[float]:
    """Mean squared error on validation problems, mean over :data:`SHOTS`."""
    return (float(errors(learner, tasks(name, part="validation")).mean()),)


def summary(x: Array) -> Array:
    """What the Gaussian process is told of a run, ``[n, d_in] -> [n, 10]``: of the seen losses the
    last, the least, two differences and the first, and the hyperparameters. On validation problems
    it does better with these than with all losses.
    """
    n = x.shape[1] - len(HYPERPARAMETERS)
    last, back, further = x[:, n - 1], x[:, n - 3], x[:, n - 5]
    told = [last, x[:, :n].min(1), last - back, back - further, x[:, 0]]
    return np.column_stack([*told, x[:, n:]])


def gaussian_process(x: Array, y: Array, points: int = 600) -> Callable[[Array], Array]:
    """A Gaussian process on all runs ``x [n, d_in]``, ``y [n]``: Matern 3/2 of the
    :func:`summary`, its sizes by maximum likelihood on so many of the runs. -> its prediction.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

    at, some = summary(x), np.random.default_rng(0).permutation(len(x))[:points]
    kernel = ConstantKernel() * Matern(1.0, nu=1.5) + WhiteKernel(0.1)
    with warnings.catch_warnings():  # a size at the edge of its range is an answer, not a fault
        warnings.simplefilter("ignore", ConvergenceWarning)
        first = GaussianProcessRegressor(kernel, normalize_y=True).fit(at[some], y[some])
    whole = GaussianProcessRegressor(first.kernel_, optimizer=None, normalize_y=True).fit(at, y)
    return lambda x: whole.predict(summary(x))


def rival(
    family: LearningCurves, regression: Callable[[Array, Array], Callable[[Array], Array]]
) -> Shifted:
    """A regression of all runs of the training problems, with an offset that is shrunk as suits the
    validation problems.
    """
    x, y = every_point(family.split("train"))
    regress = regression(x.reshape(-1, x.shape[-1]), y.reshape(-1))
    return Shifted.fit(regress, family.split("validation"))


def last_value(x: Array, y: Array | None = None) -> Callable[[Array], Array]:
    """The last loss that was seen."""
    return lambda x: x[:, -len(HYPERPARAMETERS) - 1]


def by_power_law(x: Array, y: Array | None = None) -> Callable[[Array], Array]:
    """The power law through the seen losses of a run, at the last step."""

    def predict(x: Array) -> Array:
        n = x.shape[1] - len(HYPERPARAMETERS)
        end = power_law(TIMES[:n], 10 ** x[:, :n], STEPS)
        return np.log10(np.clip(end, 1e-5, 10))

    return predict


def by_ridge(x: Array, y: Array) -> Callable[[Array], Array]:
    """Ridge regression on second powers."""
    from sklearn.linear_model import RidgeCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import PolynomialFeatures, StandardScaler

    ridge = RidgeCV(np.logspace(-2, 4, 13))
    model = make_pipeline(StandardScaler(), PolynomialFeatures(2), StandardScaler(), ridge)
    return model.fit(x, y).predict


def by_forest(x: Array, y: Array) -> Callable[[Array], Array]:
    """A forest of extremely random trees."""
    from sklearn.ensemble import ExtraTreesRegressor

    return ExtraTreesRegressor(100, min_samples_leaf=3, random_state=0).fit(x, y).predict


#: Regressions of all runs, to which an offset for each problem is added.
REGRESSIONS: dict[str, Callable[[Array, Array], Callable[[Array], Array]]] = {
    "last value": last_value,
    "power law": by_power_law,
    "ridge": by_ridge,
    "forest": by_forest,
    "Gaussian process": gaussian_process,
}


#: What halving goes by where nothing is predicted: losses as they were last seen.
LAST = Shifted(last_value(np.zeros(0)), 1.0)


def foretold(
    learner: Any, family: LearningCurves, shots: int = 0, queries: int = 16
) -> tuple[Tensor, Tensor]:
    """Where runs of each problem will end, as predicted from ``shots`` others that were finished,
    and where they do end: ``[problems, queries]`` each. Which runs, depends on the numbers alone.
    """
    found = evaluate(learner, family, shots, queries=queries, seed=3, predictions=True, loss=mse)
    assert found.predictions is not None
    return found.predictions[:, -1, :, 0], found.query.y[..., 0]


def stopped(
    learners: Mapping[int, Any],
    rungs: Mapping[int, int],
    seed: int,
    shots: int = 0,
    queries: int = 16,
    part: str = "test",
) -> Halving:
    """Halving of runs of each problem by where the learner of each rung predicts that they will
    end, after ``shots`` other runs were finished; :data:`LAST` goes by the last values.
    """
    parts = {step: LearningCurves(step, seed).split(part) for step in rungs}
    found = {step: foretold(learners[step], parts[step], shots, queries) for step in rungs}
    final = found[next(iter(rungs))][1]
    return halving(final, STEPS, rungs, {step: score for step, (score, _) in found.items()})


def one_by_one(learner: Any, m: int, seed: int, part: str = "test") -> Halving:
    """All 16 runs of a problem are stopped at step 30, and one after another m of them finished:
    each time the one that is predicted to end best, by what those before it have taught.
    """
    batch = LearningCurves(30, seed).split(part).every(0, 16, generator=fresh_generator(3))
    (x, y), steps = batch.query, STEPS
    finished = np.zeros(y.shape[:2], dtype=bool)
    with torch.no_grad():
        for i in range(len(x)):
            for _ in range(m):
                own = torch.tensor(finished[i])
                end = learner.adapt(x[i, own], y[i, own])(x[i])[:, 0]
                finished[i, int(end.masked_fill(own, math.inf).argmin())] = True
    end = y[..., 0].double().numpy()
    regret = np.where(finished, end, np.inf).min(1) - end.min(1)
    return Halving(regret, (16 * 30 + m * (steps - 30)) / (16 * steps), finished)


#: Rungs of halving, of 16 runs and of eight.
RUNGS, RUNGS_OF_8 = {30: 8, 60: 4, 120: 2}, {30: 4, 60: 2, 120: 1}


def measure(folder: Path, names: Iterable[str], seeds: Iterable[int]) -> None:
    """Judge the learners of a folder, and their rivals, on test problems, and write three tables.

    ``curves-rivals.json``: for each learner rows of seed, root mean squared error at each number of
    finished runs, and then squared error less that of the head, with its half width, at each.
    ``curves-stopping.json``: for each way rows of seed, compute, regret and its half width, and
    regret less that of halving by last values, with its half width.
    ``curves-without.json``: for each law that was left out, rows of seed, error of the head and of
    the Gaussian process at each number, and the difference of squares at the last.
    ``curves-theta.json``: the kernel of the process of two levels.
    """
    if set(names) != set(PROTOCOLS):  # a part of the learners was made again
        return
    two = TwoLevelProcess.fit(tasks("head", SEARCH_SPLIT))
    packs.write_json(folder / "curves-theta.json", {"theta": [round(v, 4) for v in two.theta]})
    rivals: dict[str, list[list[float]]] = {}
    stopping: dict[str, list[list[float]]] = {}
    without: dict[str, list[list[float]]] = {}
    for seed in seeds:
        family = LearningCurves(seed=seed)
        learners = {name: _saved(folder, name, seed) for name in PROTOCOLS}
        fitted: dict[str, Any] = {name: rival(family, fit) for name, fit in REGRESSIONS.items()}
        fitted["two levels"] = TwoLevelProcess.fit(family.split("train"), two.theta)
        fitted |= {name: learners[name] for name in ("maml", "cavia")}
        head = errors(learners["head"], family.split("test"))
        for name, learner in {"head": learners["head"], **fitted}.items():
            found = errors(learner, family.split("test"))
            row = [*_rounded(found.mean(0).sqrt())]
            if name != "head":
                row += [v for k in range(len(SHOTS)) for v in _mean(head[:, k] - found[:, k])]
            rivals.setdefault(name, []).append([seed, *row])
        process = {30: fitted["Gaussian process"]} | {
            step: rival(LearningCurves(step, seed), gaussian_process) for step in (60, 120)
        }
        heads = {30: learners["head"], 60: learners["head_60"], 120: learners["head_120"]}
        for name, way, reference in ways(heads, process, seed):
            row = [round(way.compute, 4), *_mean(torch.tensor(way.regret))]
            row += _mean(torch.tensor(way.regret - reference.regret))
            stopping.setdefault(name, []).append([seed, *row])
        for law in LAWS:
            held = LearningCurves(seed=seed, without=law)
            learner = build("head", seed)
            plan = replace(PROTOCOLS["head"], seed=seed)
            meta_train(learner, held.split("train"), plan=plan, progress=False)
            own, other = (
                errors(each, held.split("test"))
                for each in (learner.double(), rival(held, gaussian_process))
            )
            row = [*_rounded(own.mean(0).sqrt()), *_rounded(other.mean(0).sqrt())]
            without.setdefault(law, []).append([seed, *row, *_mean(own[:, -1] - other[:, -1])])
        for name, table in (("rivals", rivals), ("stopping", stopping), ("without", without)):
            packs.write_json(folder / f"curves-{name}.json", table)


def ways(
    heads: Mapping[int, Any], process: Mapping[int, Any], seed: int, part: str = "test"
) -> Iterator[tuple[str, Halving, Halving]]:
    """The ways to stop early that are compared: a name, what came of it, and of halving by last
    values among the same runs.
    """
    last = dict.fromkeys((30, 60, 120), LAST)
    by = {"last values": last, "Gaussian process": process, "head": heads}
    kinds: list[tuple[str, dict[int, int], int, int]] = [
        ("16 runs, halving", RUNGS, 0, 16),
        ("16 runs, best 3 at step 30", {30: 3}, 0, 16),
        ("8 runs after 8 others, halving", RUNGS_OF_8, 8, 8),
        ("8 runs after 8 others, best at step 30", {30: 1}, 8, 8),
    ]
    for kind, rungs, shots, queries in kinds:
        reference = stopped(
            last, RUNGS if queries == 16 else RUNGS_OF_8, seed, shots, queries, part
        )
        for name, learners in by.items():
            yield f"{kind}, {name}", stopped(learners, rungs, seed, shots, queries, part), reference
    reference = stopped(last, RUNGS, seed, part=part)
    for name, learner in (("Gaussian process", process[30]), ("head", heads[30])):
        yield f"16 runs, 3 one by one, {name}", one_by_one(learner, 3, seed, part), reference


def _saved(folder: Path, name: str, seed: int) -> MetaLearner:
    learner = build(name, seed)
    load_learner(learner, RECIPE.path(folder, name, seed))
    return learner.double()


def _rounded(values: Tensor) -> list[float]:
    return [round(float(v), 4) for v in values]


def _mean(values: Tensor) -> list[float]:
    """Mean and its half width."""
    return _rounded(torch.stack([values.mean(), half_width(values)]))


RECIPE = Recipe(
    name="curves",
    about="Train the learners of :data:`PROTOCOLS` on training problems dealt by seed, and judge.",
    protocols=PROTOCOLS,
    build=build,
    tasks=tasks,
    dealt=True,
    about_search="Search the settings of each learner: the table behind :data:`PROTOCOLS`.",
    trials=dict.fromkeys(("head", "cavia", "maml"), TRIED),
    judge=judge,
    measure=measure,
)
