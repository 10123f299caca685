"""Predator and prey, from one trajectory: the learners of notebook 09."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mamlkit.checks import fresh_generator
from mamlkit.course.recipes import packs
from mamlkit.course.recipes.base import SHORT, Recipe, check, settle, tuned
from mamlkit.evaluation.curves import evaluate
from mamlkit.learners import ANIL, CAVIA, MAML, CoDA
from mamlkit.losses import Loss, derivatives, trajectories
from mamlkit.physics.fields import PerCapita
from mamlkit.tasks import TaskBatch, Trajectories
from mamlkit.tasks.lotka_volterra import LotkaVolterra, Part
from mamlkit.training.loop import Plan
from mamlkit.training.saved import load_learner
from mamlkit.yardsticks.general import Pooled
from mamlkit.yardsticks.known_laws import LinearRatesFit, linear_rates

#: One step ahead from every record: what a new task is adapted by. It needs times and states only.
#: One Runge-Kutta step of 0.5 leaves an error of 1e-6 over a whole trajectory, below what any
#: learner here reaches.
ONE_STEP = trajectories(1)
#: What judges: the whole trajectory from its first state.
FORECAST = trajectories(None, 2)

#: The runs of this recipe. Each of the 9 environments has 4 trajectories: one to adapt to, three to
#: be judged on, drawn anew.
PROTOCOLS: dict[str, Plan] = dict.fromkeys(
    ("pooled", "maml", "anil", "cavia", "coda"),
    replace(SHORT, shots=1, queries=3, meta_batch=9, iterations=4000),
)
INNER_STEPS, CONTEXT, HIDDEN = 8, 2, (16, 16)
#: The inner step sizes that the search tries for each learner that has one in training, and its
#: winners on validation environments. (For "pooled" they are what is tried at test time.)
STEP_SIZES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
CHOSEN = {"pooled": 0.1, "maml": 0.03, "anil": 0.3, "cavia": 0.03, "coda": 0.03}
#: Step sizes at test time over that of training: the loss one step ahead is smaller.
FACTORS = (0.5, 1.0, 2.0, 4.0, 8.0)
_JUDGED: dict[str, Any] = {"n_tasks": 40, "queries": 4, "loss": FORECAST}


def build(name: str, seed: int = 0, inner_lr: float | None = None, loss: Loss = ONE_STEP) -> MAML:
    """An untrained learner of this recipe, in float32: rates per head by a network 2-16-16-2 with
    tanh, and eight inner steps. "cavia" and "coda" have a context of two numbers.

    Args:
        name: one of ``PROTOCOLS``.
        seed: fixes the random start.
        inner_lr: None takes that of :data:`CHOSEN`.
        loss: to adapt by, and to learn by.
    """
    check("predators", name, PROTOCOLS)
    lr = CHOSEN[name] if inner_lr is None else inner_lr
    context = CONTEXT if name == "cavia" else 0
    net = PerCapita(2, 2, HIDDEN, x_range=(0.0, 3.0), seed=seed, context=context).float()
    kinds: dict[str, Callable[..., MAML]] = {
        "pooled": Pooled,
        "maml": MAML,
        "anil": ANIL,
        "cavia": CAVIA,
        "coda": partial(CoDA, context=CONTEXT, seed=seed),
    }
    return kinds[name](net, lr, INNER_STEPS, loss=loss)


def tasks(part: Part = "train", noise: float = 0.0) -> LotkaVolterra:
    """The environments of a part; see :class:`mamlkit.tasks.LotkaVolterra`."""
    return LotkaVolterra(noise).split(part)


def tune(learner: MAML, name: str, max_steps: int = 100) -> dict[str, Any]:
    """Step size and number of inner steps at test time, chosen on validation environments."""
    factors = [s / learner.inner_lr for s in STEP_SIZES] if name == "pooled" else FACTORS
    return tuned(learner, tasks("validation"), 1, factors, max_steps=max_steps, **_JUDGED)


def judge(learner: MAML, name: str) -> tuple[float]:
    """Mean error of forecasts on validation environments, with up to 40 inner steps."""
    settle(learner, tune(learner, name, 40))
    return (float(evaluate(learner, tasks("validation"), 1, seed=2, **_JUDGED).mean[-1]),)


#: The records on which relatives are asked to help: the last reading and the step between readings,
#: in units of 0.5; and their noise.
RECORDS: dict[str, tuple[int, int]] = {
    "20 readings to 9.5": (20, 1),
    "10 readings to 4.5": (10, 1),
    "5 readings to 2": (5, 1),
    "10 readings to 9": (20, 2),
    "5 readings to 8": (20, 4),
}
NOISES = (0.01, 0.05, 0.1)
#: What the search over records tries: how far relatives may differ from the mean beyond their own
#: scatter; and for CoDA how many readings ahead it predicts with which step size, over that of
#: training, and its steps.
SPREADS = (1e-4, 1e-3, 1e-2, 1e-1)
TRIED_WAYS, TRIED_STEPS = ((1, 1.0), (1, 2.0), (4, 1.0)), (10, 20, 40, 70, 100)
#: A prior that knows which of the six numbers are zero, and nothing else: the form of the law.
FORM = ([0.5, 0.0, -0.75, -0.5, 0.75, 0.0], np.diag([1e2, 1e-12, 1e2, 1e2, 1e2, 1e-12]))


def relatives(spread: float) -> tuple[Any, Any]:
    """Mean ``[6]`` and covariance ``[6, 6]`` of the six numbers of
    :class:`mamlkit.yardsticks.LinearRatesFit`, over one record of each training environment, with
    ``spread`` added to the scatter in every direction.
    """
    found = _of_relatives()
    return found.mean(0), np.cov(found.T) + spread**2 * np.eye(6)


@cache
def _of_relatives() -> Any:
    """The six numbers of each training environment, ``[9, 6]``; the fits take a while."""
    fit, data = LinearRatesFit(), tasks().existing()
    return np.array([fit.numbers(Trajectories(*record)) for record in zip(*data, strict=True)])


def recorded(part: Part, record: str, noise: float, n: int) -> TaskBatch:
    """``n`` tasks of a part with a support cut to one of :data:`RECORDS`, in float64."""
    last, every = RECORDS[record]
    generator = fresh_generator(61)
    family = tasks(part, noise)
    family.substeps = 10  # wrong by an MSE below 1e-12, where forecasts are by 1e-10
    batch = family.sample(n, 1, 2, generator=generator, dtype=torch.float64)
    t, y, dy = batch.support
    kept = slice(None, last, every)
    return batch._replace(support=Trajectories(t[:, kept], y[:, :, kept], dy[:, :, kept]))


def fitted(fit: LinearRatesFit, batch: TaskBatch) -> Tensor:
    """Errors of the forecasts of a fit, ``[n_tasks]``."""
    supports = (Trajectories(*each) for each in zip(*batch.support, strict=True))
    return missed([fit.numbers(each) for each in supports], batch)


def missed(numbers: Any, batch: TaskBatch, loss: Loss = FORECAST) -> Tensor:
    """Errors of the forecasts by the six ``numbers`` of each task, ``[n_tasks]``."""
    judged = torch.func.vmap(lambda a, q: loss(partial(linear_rates, a=a), q))
    found = judged(torch.from_numpy(np.array(numbers)), batch.query)
    return found.nan_to_num(nan=torch.inf)


def stepped(learner: MAML, batch: TaskBatch, steps: Sequence[int]) -> Tensor:
    """Errors of the forecasts of a learner after each of ``steps``, ``[len(steps), n_tasks]``."""

    def one(support: Any, query: Any) -> Tensor:
        path, _ = learner.inner_path(support, max(steps))
        return torch.stack([FORECAST(learner.predictor(path[k]), query) for k in steps])

    with torch.no_grad():
        found = torch.func.vmap(one)(batch.support, batch.query)
    return found.T.nan_to_num(nan=torch.inf)


def compare(record: str, noise: float, learners: Sequence[MAML], n: int = 40) -> dict[str, Any]:
    """Who forecasts best from one kind of record: errors on ``n`` test tasks, by task, of six
    numbers alone, of the same with the prior of :func:`relatives`, of the form of the law, and of
    CoDA by training; and what 24 validation tasks chose.
    """
    known, test = recorded("validation", record, noise, 24), recorded("test", record, noise, n)
    error = max(noise, 1e-5)
    priors = {spread: relatives(spread) for spread in SPREADS}
    by_spread = {s: fitted(LinearRatesFit(p, error), known).median() for s, p in priors.items()}
    spread = min(by_spread, key=lambda s: float(by_spread[s]))
    found: dict[str, Any] = {
        "six numbers": fitted(LinearRatesFit(), test).tolist(),
        "six numbers, relatives": fitted(LinearRatesFit(priors[spread], error), test).tolist(),
        "form of the law": fitted(LinearRatesFit(FORM, error), test).tolist(),
    }
    tried: dict[tuple[int, float, int], float] = {}
    for ahead, factor in TRIED_WAYS:
        if ahead < test.support.t.shape[-1]:
            learner = settle(learners[0], _way(record, ahead, factor))
            scores = stepped(learner, known, TRIED_STEPS).median(1).values.tolist()
            tried |= {(ahead, factor, k): e for k, e in zip(TRIED_STEPS, scores, strict=True)}
    ahead, factor, steps = min(tried, key=lambda key: tried[key])
    way = _way(record, ahead, factor)
    each = [stepped(settle(one, way), test, [steps])[0].tolist() for one in learners]
    chosen = {"spread": spread, "ahead": ahead, "factor": factor, "steps": steps}
    return {**found, "coda": each, "chosen": chosen}


def _way(record: str, ahead: int, factor: float) -> dict[str, Any]:
    """Settings of a CoDA that predicts ``ahead`` readings of a record."""
    loss = trajectories(ahead, RECORDS[record][1])
    return {"loss": loss, "inner_lr": factor * CHOSEN["coda"]}


def row(record: str, noise: float, learners: Sequence[MAML]) -> dict[str, Any]:
    """:func:`compare` as medians over tasks (for CoDA one of each training), and how often the
    relatives won.
    """
    found = compare(record, noise, learners)
    cells: dict[str, Any] = {"record": record, "noise": noise, **found.pop("chosen")}
    for name, errors in found.items():
        middle = torch.tensor(errors).median(-1).values.reshape(-1).tolist()
        cells[name] = [float(f"{each:.3g}") for each in middle]
    alone = torch.tensor(found["six numbers"])
    for name, who in (("coda wins", "coda"), ("relatives win", "six numbers, relatives")):
        cells[name] = round(float((torch.tensor(found[who]) < alone).double().mean()), 3)
    return cells


def measure(folder: Path, names: Iterable[str], seeds: Iterable[int]) -> None:
    """Write the table "records": a :func:`row` for each of :data:`RECORDS` and :data:`NOISES`."""
    if "coda" in names:
        learners: list[MAML] = [build("coda").double() for _ in seeds]
        for learner, seed in zip(learners, seeds, strict=True):
            load_learner(learner, RECIPE.path(folder, "coda", seed))
        rows = [row(record, noise, learners) for record in RECORDS for noise in NOISES]
        packs.write_json(folder / "predators-records.json", rows)


#: Training matches the rates of change of the training environments, which come from a simulator
#: and are known; adaptation sees states only, :data:`ONE_STEP`. All 25 runs take about a quarter of
#: an hour on one core, the table of records (when "coda" is among the runs) about as long, without
#: a progress bar, and the search some ten minutes.
RECIPE = Recipe(
    name="predators",
    about="Train the learners of :data:`PROTOCOLS`, save them; then the table of :data:`RECORDS`.",
    protocols=PROTOCOLS,
    build=build,
    tasks=lambda name: tasks(),
    training={"loss": derivatives},
    tuned=tune,
    about_search="Search the inner step size of each learner: the table behind :data:`CHOSEN`.",
    trials={
        name: [{"inner_lr": value} for value in STEP_SIZES]
        for name in PROTOCOLS
        if name != "pooled"
    },
    judge=judge,
    measure=measure,
)
