"""Predator and prey, from one trajectory: the learners of notebook 09."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from mamlkit.course.recipes.base import SHORT, Recipe, check, settle, tuned
from mamlkit.evaluation.curves import evaluate
from mamlkit.learners import ANIL, CAVIA, MAML, CoDA
from mamlkit.losses import Loss, derivatives, trajectories
from mamlkit.physics.fields import PerCapita
from mamlkit.tasks.lotka_volterra import LotkaVolterra, Part
from mamlkit.training.loop import Plan
from mamlkit.yardsticks.general import Pooled

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


#: Training matches the rates of change of the training environments, which come from a simulator
#: and are known; adaptation sees states only, :data:`ONE_STEP`. All 25 runs take about a quarter of
#: an hour on one core, and the search some ten minutes.
RECIPE = Recipe(
    name="predators",
    about="Train the learners of :data:`PROTOCOLS`, and save them.",
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
)
