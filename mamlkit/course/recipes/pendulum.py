"""Pendulums: an energy with a context, and its unconstrained rivals (notebook 10)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

from mamlkit.course.recipes.base import SHORT, Recipe, check, settle, tuned
from mamlkit.evaluation.curves import evaluate
from mamlkit.learners import ANIL, CAVIA, MAML
from mamlkit.losses import Loss, derivatives, trajectories
from mamlkit.models import MLP
from mamlkit.physics.fields import Hamiltonian
from mamlkit.tasks import Pendulum
from mamlkit.training.loop import Plan
from mamlkit.yardsticks.general import Pooled

_PROTOCOL = replace(SHORT, shots=1, queries=2, meta_batch=5, iterations=700)
#: The runs: one trajectory to adapt to, two to be judged on. "separable" is T(p) + V_0(q) + c
#: V_1(q); "whole" an energy that is not, H_0(q, p) + c H_1(q, p); "free" a field f_0 + c f_1
#: without an energy, "concatenate" one that is fed c beside its input; "maml", "head" and "pooled"
#: adapt weights of a field without a context. "small" is "separable" that saw angles below 0.3 rad
#: only. All have 660 to 693 weights.
PROTOCOLS: dict[str, Plan] = {
    **dict.fromkeys(
        ("separable", "whole", "free", "concatenate", "maml", "head", "pooled"), _PROTOCOL
    ),
    "small": replace(_PROTOCOL, iterations=300),
}
#: What the search tries, and the winners on validation tasks. (The step size of pooled training
#: matters at test time only.)
STEP_SIZES = (0.03, 0.1, 0.3, 1.0)
CHOSEN = {
    "separable": 0.3,
    "whole": 0.1,
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
#: The loss that a learner adapts by when it is used. An instrument reads states, not rates of
#: change: from each state the next five are predicted, half a second.
observed = trajectories(5)


def build(name: str, seed: int = 0, inner_lr: float | None = None, loss: Loss = observed) -> MAML:
    """An untrained learner of this recipe, in float32, with five inner steps.

    Args:
        name: one of ``PROTOCOLS``.
        seed: fixes the random start.
        inner_lr: None takes that of :data:`CHOSEN`.
        loss: to adapt by, and to learn by.
    """
    check("pendulum", name, PROTOCOLS)
    alpha = CHOSEN[name] if inner_lr is None else inner_lr
    settings: dict[str, Any] = {"inner_lr": alpha, "inner_steps": 5, "loss": loss}
    makers: dict[str, Callable[[], MAML]] = {
        "separable": lambda: CAVIA(
            Hamiltonian(1, (16, 16), separable=True, seed=seed).float(), **settings
        ),
        "whole": lambda: CAVIA(Hamiltonian(1, (23, 23), seed=seed).float(), **settings),
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


def tune(learner: MAML, name: str) -> dict[str, Any]:
    """Step size and number of inner steps (at most five; ten for pooled training), chosen by the
    error of forecasts over one second on validation lengths.
    """
    steps = 10 if name == "pooled" else 5
    settings: dict[str, Any] = {"n_tasks": 24, "queries": 1, "loss": trajectories(10)}
    return tuned(learner, tasks(name, "validation"), 1, FACTORS, max_steps=steps, **settings)


def judge(learner: MAML, name: str) -> tuple[float]:
    """Median error of forecasts over the whole five seconds, on validation lengths."""
    settle(learner, tune(learner, name))
    settings: dict[str, Any] = {"n_tasks": 60, "queries": 1, "loss": trajectories()}
    curve = evaluate(learner, tasks(name, "validation"), 1, seed=2, **settings)
    return (float(curve.median[-1]),)


#: Training is on rates of change, which come from a simulator; what is used adapts to states. Some
#: ten minutes on one busy core, and four for the search, in short runs.
RECIPE = Recipe(
    name="pendulum",
    about="Train the pendulum learners, :data:`PROTOCOLS`, and save them.",
    protocols=PROTOCOLS,
    build=build,
    tasks=tasks,
    training={"loss": derivatives},
    tuned=tune,
    about_search="Search the step sizes of the pendulum learners, :data:`CHOSEN`.",
    trials={
        name: [{"inner_lr": value} for value in STEP_SIZES]
        for name in PROTOCOLS
        if name not in ("small", "pooled")
    },
    judge=judge,
    fraction=400 / 700,
)
