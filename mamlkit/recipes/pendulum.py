"""Pendulums: an energy with a context, and its unconstrained rivals (notebook 10)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from mamlkit.evaluation import evaluate
from mamlkit.learners import ANIL, CAVIA, MAML
from mamlkit.losses import derivatives, trajectories
from mamlkit.mechanics import Hamiltonian
from mamlkit.models import MLP
from mamlkit.recipes.jobs import (
    SHIPPED_SEEDS,
    Job,
    check,
    shortened,
    tuned,
    write_table,
)
from mamlkit.tasks import Pendulum
from mamlkit.yardsticks import Pooled

#: Keywords of :func:`mamlkit.meta_train`, the same for all: rates of change from a simulator, one
#: trajectory to adapt to, two to be judged on.
PROTOCOL: dict[str, Any] = {
    "shots": 1,
    "queries": 2,
    "meta_batch": 5,
    "iterations": 700,
    "outer_lr": 1e-2,
    "schedule": "cosine",
    "grad_clip": 1.0,
}
#: The runs. "separable" is T(p) + V_0(q) + c V_1(q); "free" a field f_0 + c f_1 without an energy,
#: "concatenate" one that is fed c beside its input; "maml", "head" and "pooled" adapt weights of a
#: field without a context. "small" is "separable" that saw angles below 0.3 rad only. All have 660
#: to 693 weights.
PROTOCOLS: dict[str, dict[str, Any]] = {
    **dict.fromkeys(("separable", "free", "concatenate", "maml", "head", "pooled"), PROTOCOL),
    "small": {**PROTOCOL, "iterations": 300},
}
#: What :func:`search` tries, and the winners on validation tasks. (The step size of pooled training
#: matters at test time only.) The shipped table ``pendulum-search.json`` was made when the tuning
#: inside it still judged forecasts of 5 s on 60 tasks; it was shortened since, not repeated.
STEP_SIZES = (0.03, 0.1, 0.3, 1.0)
CHOSEN = {
    "separable": 0.3,
    "free": 0.3,
    "concatenate": 0.3,
    "maml": 0.03,
    "head": 0.1,
    "pooled": 0.1,
    "small": 0.3,
}
#: Step sizes at test time over that of training: the loss on observed states is smaller.
FACTORS = (1.0, 3.0, 6.0, 10.0, 15.0, 30.0, 100.0)
SMALL = (0.1, 0.3)  # rad
SEARCH_SEED = 100  # not one of those that ship
#: The loss at test time. An instrument reads states, not rates of change: from each state the next
#: five are predicted, half a second.
observed = trajectories(5)


def build(name: str, seed: int = 0, inner_lr: float | None = None) -> MAML:
    """An untrained learner of this recipe, in float32, with five inner steps on rates of change.

    Args:
        name: one of ``PROTOCOLS``.
        seed: fixes the random start.
        inner_lr: None takes that of :data:`CHOSEN`.
    """
    check("pendulum", name, PROTOCOLS)
    alpha = CHOSEN[name] if inner_lr is None else inner_lr
    settings: dict[str, Any] = {"inner_lr": alpha, "inner_steps": 5, "loss": derivatives}
    makers: dict[str, Callable[[], MAML]] = {
        "separable": lambda: CAVIA(
            Hamiltonian(1, (16, 16), separable=True, seed=seed).float(), **settings
        ),
        "free": lambda: CAVIA(
            MLP(2, 2, (22, 22), context=1, feed="affine", seed=seed).float(), **settings
        ),
        "concatenate": lambda: CAVIA(MLP(2, 2, (23, 23), context=1, seed=seed).float(), **settings),
        "maml": lambda: MAML(MLP(2, 2, (23, 23), seed=seed).float(), **settings),
        "head": lambda: ANIL(MLP(2, 2, (23, 23), seed=seed).float(), **settings),
        "pooled": lambda: Pooled(MLP(2, 2, (23, 23), seed=seed).float(), **settings),
    }
    return makers["separable" if name == "small" else name]()


def tasks(name: str, part: Literal["train", "validation", "test"] = "train") -> Pendulum:
    """The tasks of a run: without noise in training, with 2 % of it in validation and test."""
    check("pendulum", name, PROTOCOLS)
    family = Pendulum(noise=0.0 if part == "train" else 0.02).split(part)
    if name == "small":
        family.amplitude = SMALL
    return family


def load(name: str, seed: int = 0) -> MAML:
    """The shipped learner as it is used: float64, adapting to observed states."""
    from mamlkit.recipes import shipped  # which knows this module

    learner: MAML = shipped(f"pendulum-{name}", seed).double()
    learner.loss = observed
    return learner


def run(
    out: Path,
    *,
    names: Sequence[str] = tuple(PROTOCOLS),
    seeds: Sequence[int] = SHIPPED_SEEDS,
    iterations: int | None = None,
    progress: bool = True,
) -> None:
    """Train the pendulum learners, :data:`PROTOCOLS`, and save them.

    After training, the step size and the number of inner steps (at most five; ten for pooled
    training) on *observed* states are chosen on validation lengths, with 2 % noise, by the error of
    forecasts over one second. Some ten minutes on one busy core.

    Args:
        out: a folder; run ``name`` with seed ``s`` goes to ``out/pendulum-name-s.pt``.
        names: which of :data:`PROTOCOLS`.
        seeds: one run each; a seed fixes the start and all tasks.
        iterations: outer steps; None takes the protocol's.
        progress: show a progress bar for each run.
    """
    for seed in seeds:
        for name in names:
            learner, job = build(name, seed), _job(name, seed, iterations)
            history = job.train(out, learner, progress)
            job.save(out, learner, history, tuned=_tuned(learner, name))


def search(out: Path, *, iterations: int = 400, progress: bool = True) -> None:
    """Search the step sizes of the pendulum learners, :data:`CHOSEN`.

    Four step sizes for each learner, in short runs of one seed, judged by the forecasts on
    validation lengths. The table goes to
    ``out/pendulum-search.json``: pairs ``[step size, median error]``.
    """
    table: dict[str, list[list[float]]] = {}
    for name in (name for name in PROTOCOLS if name not in ("small", "pooled")):
        for value in STEP_SIZES:
            learner = build(name, SEARCH_SEED, value)
            _job(name, SEARCH_SEED, iterations).train(None, learner, progress)
            for setting, best in _tuned(learner, name).items():
                setattr(learner, setting, best)
            curve = _forecast_errors(learner, name)
            table.setdefault(name, []).append([value, float(curve.median[-1])])
        write_table(out / "pendulum-search.json", table)


def _job(name: str, seed: int, iterations: int | None) -> Job:
    check("pendulum", name, PROTOCOLS)
    protocol = shortened(PROTOCOLS[name], iterations)
    return Job("pendulum", f"pendulum-{name}", name, seed, tasks(name), protocol, "capture")


def _tuned(learner: MAML, name: str) -> dict[str, Any]:
    """Step size and number of steps on observed states; the learner is left as it was."""
    learner.loss = observed
    found = tuned(
        learner,
        tasks(name, "validation"),
        1,
        FACTORS,
        max_steps=10 if name == "pooled" else 5,
        n_tasks=24,
        queries=1,
        loss=trajectories(10),
    )
    learner.loss = derivatives
    return found


def _forecast_errors(learner: MAML, name: str) -> Any:
    learner.loss = observed
    family = tasks(name, "validation")
    return evaluate(learner, family, 1, n_tasks=60, queries=1, seed=2, loss=trajectories())
