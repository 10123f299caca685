"""Predator and prey, from one trajectory: the learners of notebook 09."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mamlkit.errors import MamlkitError
from mamlkit.evaluation import evaluate
from mamlkit.learners import ANIL, CAVIA, MAML, CoDA
from mamlkit.losses import derivatives, trajectories
from mamlkit.population import PerCapita
from mamlkit.recipes.jobs import SHIPPED_SEEDS, Job, check, shortened, tuned, write_table
from mamlkit.tasks.lotka_volterra import LotkaVolterra, Part
from mamlkit.training import History
from mamlkit.yardsticks import Pooled

#: One step ahead from every record: what a new task is adapted by. It needs times and states only.
#: One Runge-Kutta step of 0.5 leaves an error of 1e-6 over a whole trajectory, below what any
#: learner here reaches. (Training descends :func:`mamlkit.losses.derivatives`: the rates of change
#: of the training environments, which come from a simulator, are known.)
ONE_STEP = trajectories(1)
#: What judges: the whole trajectory from its first state.
FORECAST = trajectories(None, 2)

_PROTOCOL: dict[str, Any] = {
    "shots": 1,
    "queries": 3,
    "meta_batch": 9,
    "iterations": 4000,
    "outer_lr": 1e-2,
    "schedule": "cosine",
    "grad_clip": 1.0,
}
#: The runs of this recipe, with their protocols as keywords of :func:`mamlkit.meta_train`. Each of
#: the 9 environments has 4 trajectories: one to adapt to, three to be judged on, drawn anew.
PROTOCOLS: dict[str, dict[str, Any]] = dict.fromkeys(
    ("pooled", "maml", "anil", "cavia", "coda"), _PROTOCOL
)
INNER_STEPS, CONTEXT, HIDDEN = 8, 2, (16, 16)
#: The inner step sizes that :func:`search` tries for each learner that has one in training, and its
#: winners on validation environments. (For "pooled" they are what is tried at test time.)
STEP_SIZES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
CHOSEN = {"pooled": 0.1, "maml": 0.03, "anil": 0.3, "cavia": 0.03, "coda": 0.03}
#: Step sizes at test time over that of training: the loss one step ahead is smaller.
FACTORS = (0.5, 1.0, 2.0, 4.0, 8.0)
SEARCH_SEED = 100  # not one of those that ship


def build(name: str, seed: int = 0, inner_lr: float | None = None) -> MAML:
    """An untrained learner of this recipe, in float32: rates per head by a network 2-16-16-2 with
    tanh, and eight inner steps. "cavia" and "coda" have a context of two numbers.

    Args:
        name: one of ``PROTOCOLS``.
        seed: fixes the random start.
        inner_lr: None takes that of :data:`CHOSEN`.
    """
    check("predators", name, PROTOCOLS)
    lr = CHOSEN[name] if inner_lr is None else inner_lr

    def net(context: int = 0) -> PerCapita:
        span = (0.0, 3.0)
        return PerCapita(2, 2, HIDDEN, x_range=span, seed=seed, context=context).float()

    makers: dict[str, Callable[[], MAML]] = {
        "pooled": lambda: Pooled(net(), lr, INNER_STEPS, loss=ONE_STEP),
        "maml": lambda: MAML(net(), lr, INNER_STEPS, loss=ONE_STEP),
        "anil": lambda: ANIL(net(), lr, INNER_STEPS, loss=ONE_STEP),
        "cavia": lambda: CAVIA(net(CONTEXT), lr, INNER_STEPS, loss=ONE_STEP),
        "coda": lambda: CoDA(net(), lr, INNER_STEPS, context=CONTEXT, seed=seed, loss=ONE_STEP),
    }
    return makers[name]()


def tasks(part: Part = "train", noise: float = 0.0) -> LotkaVolterra:
    """The environments of a part; see :class:`mamlkit.tasks.LotkaVolterra`."""
    return LotkaVolterra(noise).split(part)


def run(
    out: Path,
    *,
    names: Sequence[str] = tuple(PROTOCOLS),
    seeds: Sequence[int] = SHIPPED_SEEDS,
    iterations: int | None = None,
    progress: bool = True,
) -> None:
    """Train the learners of :data:`PROTOCOLS`, and save them.

    Training matches rates of change; adaptation at test time sees states only (:data:`ONE_STEP`).
    Its step size (of five, or seven for "pooled") and number of steps (up to 100) are chosen on
    validation environments; they are notes of the file, and :func:`mamlkit.recipes.shipped` sets
    them. All 25 runs take about a quarter of an hour on one core.

    Args:
        out: a folder; run ``name`` with seed ``s`` goes to ``out/predators-name-s.pt``.
        names: which of :data:`PROTOCOLS`.
        seeds: one run each; a seed fixes the start and all tasks.
        iterations: outer steps; None takes the protocol's.
        progress: show a progress bar for each run.
    """
    for seed in seeds:
        for name in names:
            learner = build(name, seed)
            job = _job(name, seed, iterations)
            history = _train(job, learner, out, progress)
            job.save(out, learner, history, tuned=_tuned(learner, name))


def search(out: Path, *, iterations: int | None = None, progress: bool = True) -> None:
    """Search the inner step size of each learner: the table behind :data:`CHOSEN`.

    Seven step sizes a learner, one seed, judged on validation environments with up to 40 inner
    steps, tuned like those of :func:`run`. The table goes to
    ``out/predators-search.json``: for each learner pairs ``[step size, mean error]``, with null
    where training failed. Some ten minutes on one core.
    """
    table: dict[str, list[list[float | None]]] = {}
    for name in (name for name in PROTOCOLS if name != "pooled"):
        for value in STEP_SIZES:
            learner = build(name, SEARCH_SEED, value)
            error = math.inf
            try:
                _train(_job(name, SEARCH_SEED, iterations), learner, None, progress)
                for setting, best in _tuned(learner, name, 40).items():
                    setattr(learner, setting, best)
                error = _validation_error(learner)
            except MamlkitError:  # a loss that is not finite: this value does not work
                pass
            row = [value, error if math.isfinite(error) else None]
            table.setdefault(name, []).append(row)
            write_table(out / "predators-search.json", table)


def _job(name: str, seed: int, iterations: int | None) -> Job:
    protocol = shortened(PROTOCOLS[name], iterations)
    return Job("predators", f"predators-{name}", name, seed, tasks(), protocol, "capture")


def _train(job: Job, learner: MAML, out: Path | None, progress: bool) -> History:
    """Train on rates of change; the learner goes back to its own loss."""
    learner.loss = derivatives
    history = job.train(out, learner, progress)
    learner.loss = ONE_STEP
    return history


def _tuned(learner: MAML, name: str, max_steps: int = 100) -> dict[str, Any]:
    """Step size and number of inner steps at test time, chosen on validation environments."""
    factors = [s / learner.inner_lr for s in STEP_SIZES] if name == "pooled" else FACTORS
    settings: dict[str, Any] = {"max_steps": max_steps, "n_tasks": 40, "queries": 4}
    return tuned(learner, tasks("validation"), 1, factors, loss=FORECAST, **settings)


def _validation_error(learner: MAML) -> float:
    family = tasks("validation")
    curve = evaluate(learner, family, 1, n_tasks=40, queries=4, seed=2, loss=FORECAST)
    return float(curve.mean[-1])
