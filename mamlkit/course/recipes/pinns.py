"""Starts for physics-informed networks on Burgers' equation (notebook 12)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from mamlkit.checks import fresh_generator
from mamlkit.course.recipes.base import SEARCH_SEED, SHORT, Recipe, Settings, check
from mamlkit.course.recipes.packs import read_json, write_json
from mamlkit.learners import FOMAML, Reptile, adam
from mamlkit.learners.meta import MetaLearner
from mamlkit.models import MLP
from mamlkit.physics.pde import Ansatz, burgers, residual_loss
from mamlkit.physics.solve import Method, refine, steps_to
from mamlkit.tasks import Burgers
from mamlkit.training.loop import Plan
from mamlkit.training.saved import load_learner
from mamlkit.yardsticks.general import Pooled

#: The winners of the search on :data:`VALIDATION_NU`: outer step, and inner step of the two that
#: have one.
CHOSEN: dict[str, tuple[float, float | None]] = {
    "pooled": (3e-2, None),
    "told": (1e-1, None),
    "fomaml": (1e-1, 3e-3),
    "reptile": (1e-1, 1e-3),
}
#: What it tries: outer steps, inner steps (the inner loop is Adam's), and the step of Adam in the
#: table.
OUTER_LRS, INNER_LRS = (1e-2, 3e-2, 1e-1, 3e-1), (1e-3, 3e-3, 1e-2)
ADAM_LRS = (3e-3, 1e-2, 3e-2)
JUDGED_AFTER = 100  # iterations of L-BFGS

_COMMON = replace(SHORT, shots=64, queries=64, meta_batch=8, grad_clip=10.0)
#: The runs of this recipe. The numbers of iterations give each about the same time. Exact
#: second-order MAML was tried and left out: five inner steps took 48 s for 125 iterations, measured
#: on a loaded machine, so no more than a hint of its price.
PROTOCOLS: dict[str, Plan] = {
    name: replace(_COMMON, iterations=iterations, outer_lr=CHOSEN[name][0])
    for name, iterations in {"pooled": 1200, "told": 1200, "fomaml": 500, "reptile": 350}.items()
}
STARTS = ("random", *PROTOCOLS)
#: Step of Adam in the table by start, chosen there too.
ADAM_LR = {"random": 1e-2, "pooled": 3e-3, "told": 3e-3, "fomaml": 1e-2, "reptile": 1e-2}
INNER_STEPS = 3
#: The loss of all runs: :class:`mamlkit.physics.pde.Ansatz` holds the edge, so it has no weight.
LOSS = residual_loss(burgers, edge_weight=0)
VALIDATION_NU = (0.0065, 0.013, 0.035)
#: Viscosities of the table: outside, edge, two inside, edge, outside.
TABLE_NU = (0.0035, 0.005, 0.008, 0.02, 0.05, 0.08)
#: Collocation points, and iterations of L-BFGS and of Adam, in the table.
POINTS = 600
TABLE_STEPS: dict[Method, int] = {"lbfgs": 600, "adam": 300}
LEVEL = 1e-2  # what a solution is asked for, in relative L2
EVERY = 5  # the table keeps every fifth error


def network(told: bool = False, seed: int = 0) -> Ansatz:
    """Two hidden layers of 20, odd in x and true on the edges; ``told`` also shows it nu."""
    inputs = Burgers.inputs_told if told else Burgers.inputs_even
    model = MLP(4 if told else 3, 1, hidden=(20, 20), seed=seed)
    return Ansatz(model, Burgers.lift, Burgers.factor, inputs)


def build(name: str, seed: int = 0, inner_lr: float | None = None) -> MetaLearner:
    """An untrained learner of this recipe, in float32.

    Args:
        name: one of ``PROTOCOLS``. "pooled" is one network for the mean loss over viscosities;
            "told" the same, shown the viscosity.
        seed: fixes the random start.
        inner_lr: of "fomaml" and "reptile"; None takes that of :data:`CHOSEN`.
    """
    check("pinns", name, PROTOCOLS)
    model = network(name == "told", seed).float()
    if name in ("pooled", "told"):
        return Pooled(model, inner_steps=0, loss=LOSS)
    kinds: dict[str, Any] = {"fomaml": FOMAML, "reptile": Reptile}
    inner_lr = CHOSEN[name][1] if inner_lr is None else inner_lr
    return kinds[name](model, inner_lr, INNER_STEPS, rule=adam(), loss=LOSS)


def judge(learner: MetaLearner, name: str) -> tuple[float]:
    """The geometric mean of the errors at :data:`VALIDATION_NU` after :data:`JUDGED_AFTER`
    iterations of L-BFGS.
    """
    return (_validation_error(learner.model, "lbfgs", JUDGED_AFTER),)


def solve(out: Path, names: Iterable[str], seeds: Iterable[int]) -> None:
    """From each start in a folder, and from a random one, solve for the viscosities of
    :data:`TABLE_NU` by both methods: ``out/pinns-refined.json``.

    It holds "settings", and "rows" with start, seed, nu, method ("lbfgs" or "adam"), the relative
    L2 "errors" before the first and after every fifth step, the "losses" after every 25th, the
    "seconds" of all steps, and "steps", the first that brings the error to 1e-2 (None if none
    does).
    """
    rows = []
    for seed in seeds:
        models: dict[str, Any] = {"random": network(seed=seed)}
        for name in names:
            learner = build(name, seed)
            load_learner(learner, RECIPE.path(out, name, seed))
            models[name] = learner.model
        for name, model in models.items():
            rows += refine_all(model, name, seed)
        settings = {"nu": TABLE_NU, "points": POINTS, "level": LEVEL, "every": EVERY}
        write_json(out / "pinns-refined.json", {"settings": settings, "rows": rows})  # so far


def search_adam(out: Path, names: Iterable[str], changes: Settings) -> None:
    """From the winner of each search in a folder, and from a random start, try the steps of Adam as
    far as the table goes: ``out/pinns-adam.json``, for each start rows ``[step, error]``.
    """
    searched = read_json(out / "pinns-search")
    models: dict[str, Any] = {"random": network(seed=SEARCH_SEED)}
    for name in names:
        rows = [(error, trial) for *trial, error in searched[name] if error is not None]
        if rows:
            outer_lr, inner_lr = min(rows)[1]
            winner = {"outer_lr": outer_lr, "inner_lr": inner_lr}
            models[name] = RECIPE.tried(name, winner, False, **changes).model
    table = {
        name: [[lr, _validation_error(model, "adam", TABLE_STEPS["adam"], lr)] for lr in ADAM_LRS]
        for name, model in models.items()
    }
    write_json(out / "pinns-adam.json", table)


def refine_all(model: Any, name: str, seed: int) -> list[dict[str, Any]]:
    """Solve from one start at each viscosity of the table by both methods: one row each."""
    support, query = problem(torch.tensor(TABLE_NU, dtype=torch.float64), seed)
    rows = []
    for method, own in TABLE_STEPS.items():
        found = refine(model.double(), support, query, LOSS, own, method=method, lr=ADAM_LR[name])
        share = 1 if method == "lbfgs" else len(TABLE_NU)
        for i, nu in enumerate(TABLE_NU):
            row: dict[str, Any] = {"start": name, "seed": seed, "nu": nu, "method": method}
            row["errors"] = _rounded(found.errors[i, ::EVERY])
            row["losses"] = _rounded(found.losses[i, :: 5 * EVERY])
            row["seconds"] = round(float(found.seconds[i, -1]) / share, 3)
            first = float(steps_to(found.errors[i : i + 1], LEVEL))
            row["steps"] = int(first) if math.isfinite(first) else None
            rows.append(row)
    return rows


def problem(nu: torch.Tensor, seed: int = 0, points: int = POINTS) -> tuple[Any, Any]:
    """Collocation points to solve at, the same for all viscosities ``nu [n_tasks]``, and the grid
    to judge on: a support and a query, float64.
    """
    family = Burgers()
    x = family.inputs(1, points, fresh_generator(10**6 + seed))[0]
    return family.at(x, nu), family.grid(nu)


def _validation_error(model: Any, method: Method, steps: int, lr: float = 1e-2) -> float:
    support, query = problem(torch.tensor(VALIDATION_NU, dtype=torch.float64), SEARCH_SEED)
    found = refine(model.double(), support, query, LOSS, steps, method=method, lr=lr)
    return float(found.errors[:, -1].log().mean().exp())


def _rounded(values: torch.Tensor) -> list[float]:
    return [float(f"{v:.3g}") for v in values.tolist()]


#: Fifteen minutes on one core for all: the trainings, and then the solutions from each start. Nine
#: minutes for the search. Seconds are those that the processor spent, whatever else the machine
#: does; a training that goes on from a checkpoint counts its own part only.
RECIPE = Recipe(
    name="pinns",
    about="Train starts for Burgers' equation, save them, and solve from each.",
    protocols=PROTOCOLS,
    build=build,
    tasks=lambda name: Burgers(exact=False).split("train"),
    about_search="Search the step sizes: the table behind :data:`CHOSEN` and :data:`ADAM_LR`.",
    trials={
        name: [
            {"outer_lr": rate, "inner_lr": inner_lr}
            for rate in OUTER_LRS
            for inner_lr in ((None,) if CHOSEN[name][1] is None else INNER_LRS)
        ]
        for name in PROTOCOLS
    },
    judge=judge,
    fraction=0.5,
    measure=solve,
    search_on=search_adam,
)
