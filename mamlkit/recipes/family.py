"""Every variant at an equal budget, on sinusoids and on fluids (notebook 06)."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mamlkit.errors import MamlkitError
from mamlkit.evaluation import evaluate
from mamlkit.gradients import Compile
from mamlkit.learners import ANIL, CAVIA, FOMAML, MAML, CoDA, MAMLPlusPlus, MetaSGD
from mamlkit.learners.heads import RidgeHead
from mamlkit.learners.implicit import ImplicitMAML
from mamlkit.learners.meta import MetaLearner
from mamlkit.learners.reptile import Reptile
from mamlkit.losses import rmse
from mamlkit.models import MLP
from mamlkit.quickstart import MEASURED_AT, SETTINGS
from mamlkit.recipes.jobs import (
    SHIPPED_SEEDS,
    Job,
    shipped_table,
    shortened,
    tuned,
    write_table,
)
from mamlkit.tasks import Family, Sinusoid, VapourPressure
from mamlkit.yardsticks import Pooled

#: The problems of the recipe ``family``, with their protocols as keywords of
#: :func:`mamlkit.meta_train`: sinusoids; fluids measured once at T/Tc = 0.7; fluids measured twice,
#: anywhere. The fluids take the settings of the quickstart.
PROTOCOLS: dict[str, dict[str, Any]] = {
    "sinusoid": {
        "shots": 10,
        "meta_batch": 25,
        "iterations": 1000,
        "outer_lr": 3e-3,
        "schedule": "cosine",
        "grad_clip": 1.0,
    },
    "fluids": {**SETTINGS, "iterations": 1500},
    "anywhere": {**SETTINGS, "iterations": 1500, "shots": 2},
}

#: What the search of the recipe ``family-search`` tries for each learner: step sizes, or penalties
#: where the inner problem is solved. Seven values each. (Pooled training has nothing to search: the
#: step size of its fine-tuning is chosen after training, from five.)
STEP_SIZES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
PENALTIES = (1e-5, 1e-4, 1e-3, 0.01, 0.1, 1.0, 10.0)
SOLVED = ("imaml", "solved", "ridge")
SEARCH_SEED = 100  # not one of those that ship

#: The winners of that search on validation tasks: inner_lr, or the penalty of ``SOLVED``.
#: "modulate" is CAVIA with the context fed by modulation, "curvature" a learned matrix step of the
#: head, "solved" a context that implicit MAML solves for.
CHOSEN: dict[str, dict[str, float]] = {
    "sinusoid": {
        "pooled": 0.01,
        "maml": 0.03,
        "fomaml": 0.03,
        "anil": 0.3,
        "curvature": 0.03,
        "metasgd": 0.01,
        "mamlpp": 0.1,
        "cavia": 0.1,
        "modulate": 0.3,
        "coda": 0.01,
        "reptile": 0.1,
        "imaml": 1.0,
        "ridge": 0.0001,
    },
    "fluids": {
        "pooled": 0.01,
        "maml": 0.1,
        "fomaml": 0.01,
        "anil": 0.3,
        "curvature": 0.01,
        "metasgd": 0.01,
        "mamlpp": 0.01,
        "cavia": 0.3,
        "modulate": 0.1,
        "coda": 0.1,
        "reptile": 0.1,
        "imaml": 0.1,
        "ridge": 1e-05,
    },
    "anywhere": {
        "metasgd": 1.0,
        "cavia": 1.0,
        "ridge": 0.01,
        "solved": 0.001,
    },
}
#: Implicit MAML solves its inner problem and gets a part of the iterations: one in so many.
FEWER = {"imaml": 8, "solved": 3}


def learner_for(problem: str, name: str, seed: int = 0, value: float | None = None) -> MetaLearner:
    """An untrained learner of the recipe ``family``, in float32.

    All have a network 1-40-40-1 with tanh; the ridge head takes the place of its last layer.
    Gradient-based learners make five inner steps on the sinusoids, and one on the fluids, where
    MAML++ and Reptile, which are about several steps, make five. Contexts hold two numbers on the
    sinusoids and one on the fluids: as many as the curves have unknowns.

    Args:
        problem: "sinusoid", "fluids" or "anywhere".
        name: one of ``CHOSEN[problem]``.
        seed: fixes the random start.
        value: step size or penalty; None takes that of :data:`CHOSEN`.
    """
    if problem not in CHOSEN or name not in CHOSEN[problem]:
        raise MamlkitError(
            f"there is no learner {name!r} for {problem!r} in the recipe family; choose a problem "
            f"from {list(CHOSEN)} and one of its learners, such as {list(CHOSEN['anywhere'])}."
        )
    value = CHOSEN[problem][name] if value is None else value
    sines = problem == "sinusoid"
    context, steps = (2, 5) if sines else (1, 1)
    anneal = PROTOCOLS[problem]["iterations"] // 5

    def net(d_out: int = 1, hidden: Sequence[int] = (40, 40), **settings: Any) -> MLP:
        x_range = None if sines else VapourPressure.x_range
        return MLP(1, d_out, hidden=hidden, x_range=x_range, seed=seed, **settings).float()

    makers: dict[str, Callable[[], MetaLearner]] = {
        "pooled": lambda: Pooled(net(), value),
        "maml": lambda: MAML(net(), value, steps),
        "fomaml": lambda: FOMAML(net(), value, steps),
        "anil": lambda: ANIL(net(), value, steps),
        "curvature": lambda: MAML(net(), value, adapt="head", learn_lr="matrix"),
        "metasgd": lambda: MetaSGD(net(), value, steps),
        "mamlpp": lambda: MAMLPlusPlus(
            net(), value, 5, anneal=anneal, second_order_from=anneal // 2
        ),
        "cavia": lambda: CAVIA(net(context=context), value, steps),
        "modulate": lambda: CAVIA(net(context=context, feed="modulate"), value, steps),
        "coda": lambda: CoDA(net(), value, steps, context=context, seed=seed),
        "reptile": lambda: Reptile(net(), value, 5),
        "imaml": lambda: ImplicitMAML(net(), value, tolerance=1e-2, max_steps=15, max_cg=8),
        "solved": lambda: ImplicitMAML(
            net(context=context), value, adapt="context", tolerance=1e-3, max_steps=8, max_cg=1
        ),
        "ridge": lambda: RidgeHead(net(40, (40,)), value),
    }
    return makers[name]()


def tasks(problem: str, part: str = "train") -> Family:
    """The tasks of a problem of the recipe ``family``: "train", "validation" or "test"."""
    if problem == "sinusoid":
        return Sinusoid()
    at = (MEASURED_AT,) if problem == "fluids" else None
    return VapourPressure(at=at).split(part)


def run(
    out: Path,
    *,
    problems: Sequence[str] = tuple(PROTOCOLS),
    learners: Sequence[str] = (*CHOSEN["sinusoid"], "solved"),
    seeds: Sequence[int] = SHIPPED_SEEDS,
    iterations: int | None = None,
    progress: bool = True,
) -> None:
    """Train every variant of the family at an equal budget, and save the learners.

    Protocols are in :data:`PROTOCOLS`, settings in :data:`CHOSEN`. Implicit MAML, which solves its
    inner problem, gets fewer iterations, :data:`FEWER`. After training, step size and number of
    inner steps at test time are chosen on validation tasks for whatever has a fixed step size, the
    number alone where it is learned; they are notes of the file, and :func:`shipped` sets them. All
    takes some half an hour on one core.

    Args:
        out: a folder; a learner goes to ``out/family-problem-name-s.pt`` with its notes.
        problems, learners, seeds: which; a learner that a problem does not have is left out.
        iterations: outer steps; None takes the protocol's.
        progress: show a progress bar for each run.
    """
    for seed in seeds:
        for problem in problems:
            for name in (name for name in CHOSEN[problem] if name in learners):
                learner = learner_for(problem, name, seed)
                job = _job(problem, name, seed, iterations)
                history = job.train(out, learner, progress)
                job.save(out, learner, history, tuned=_tuned(learner, problem))


def search(
    out: Path,
    *,
    problems: Sequence[str] = tuple(PROTOCOLS),
    learners: Sequence[str] = (*CHOSEN["sinusoid"], "solved"),
    iterations: int | None = None,
    progress: bool = True,
) -> None:
    """Search the one number of each variant: the table behind :data:`CHOSEN`.

    Each learner is trained with each of seven step sizes or penalties, at full length, with one
    seed, and judged on validation tasks. Takes some twenty minutes on one core; a search that was
    cut short goes on where it was.

    Args:
        out: a folder; the table goes to ``out/family-search.json``: for each problem and learner
            pairs ``[value, mean error on validation tasks]``, with an error of null where training
            failed.
        problems, learners, iterations, progress: as for :func:`run`.
    """
    path = out / "family-search.json"
    table = json.loads(path.read_text()) if path.exists() else {}
    for problem in problems:
        for name in (name for name in CHOSEN[problem] if name in learners and name != "pooled"):
            rows = table.setdefault(problem, {}).setdefault(name, [])
            for value in (PENALTIES if name in SOLVED else STEP_SIZES)[len(rows) :]:
                learner = learner_for(problem, name, SEARCH_SEED, value)
                job = _job(problem, name, SEARCH_SEED, iterations)
                try:
                    job.train(None, learner, progress)
                    error = _validation_error(learner, problem)
                except MamlkitError:  # a loss that is not finite: this value does not work
                    error = math.inf
                rows.append([value, error if math.isfinite(error) else None])
                write_table(path, table)


def searched() -> dict[str, dict[str, list[list[float | None]]]]:
    """The table of :func:`search` that ships with the package: ``[problem][learner]`` holds pairs
    of a value and the mean error on validation tasks, None where training failed.
    """
    table: dict[str, dict[str, list[list[float | None]]]] = shipped_table("family-search")
    return table


def _job(problem: str, name: str, seed: int, iterations: int | None) -> Job:
    protocol = shortened(PROTOCOLS[problem], iterations)
    protocol["iterations"] = max(1, protocol["iterations"] // FEWER.get(name, 1))
    # At this length recording pays and compiling does not.
    how: Compile = False if name in ("imaml", "solved") else "capture"
    kind = f"family-{problem}-{name}"
    return Job("family", kind, name, seed, tasks(problem), protocol, how)


def _validation_error(learner: MetaLearner, problem: str) -> float:
    """Mean error on validation tasks, with the inner steps that suit them best."""
    for setting, value in _tuned(learner, problem).items():
        setattr(learner, setting, value)
    sines = problem == "sinusoid"
    curve = evaluate(
        learner,
        tasks(problem, "validation"),
        PROTOCOLS[problem]["shots"],
        n_tasks=200 if sines else None,
        seed=2,
        loss=None if sines else rmse,
    )
    return float(curve.mean[-1])


def _tuned(learner: MetaLearner, problem: str) -> dict[str, Any]:
    """Inner step size and number of steps at test time, chosen on validation tasks."""
    pooled = isinstance(learner, MAML) and learner.step_weights[0] == 1.0
    patient = pooled or isinstance(learner, Reptile)  # trained for no given number of steps
    return tuned(
        learner,
        tasks(problem, "validation"),
        PROTOCOLS[problem]["shots"],
        (0.1, 0.3, 1.0, 3.0, 10.0),
        max_steps=30 if patient else 10,
        n_tasks=200 if problem == "sinusoid" else None,
        loss=None if problem == "sinusoid" else rmse,
    )


def build(name: str, seed: int = 0) -> MetaLearner:
    """The untrained learner of a shipped name, such as "fluids-cavia"."""
    problem, _, learner = name.partition("-")
    return learner_for(problem, learner, seed)
