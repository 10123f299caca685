"""Starts for physics-informed networks on Burgers' equation (notebook 12)."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from mamlkit.checks import fresh_generator
from mamlkit.errors import MamlkitError
from mamlkit.learners import FOMAML, Reptile, adam
from mamlkit.learners.meta import MetaLearner
from mamlkit.models import MLP
from mamlkit.pde import Ansatz, burgers, residual_loss
from mamlkit.recipes.jobs import (
    SHIPPED_SEEDS,
    Job,
    check,
    shipped_table,
    shortened,
    write_table,
)
from mamlkit.refine import Method, refine, steps_to
from mamlkit.tasks import Burgers
from mamlkit.tasks.burgers import Part
from mamlkit.yardsticks import Pooled

_COMMON: dict[str, Any] = {"shots": 64, "queries": 64, "meta_batch": 8, "schedule": "cosine"}
_COMMON |= {"grad_clip": 10.0}

#: The runs of this recipe, with their protocols as keywords of :func:`mamlkit.meta_train` but for
#: the outer step, which is in :data:`CHOSEN`. The numbers of iterations give each about the same
#: time. Exact second-order MAML was tried and left out: five inner steps took 48 s for 125
#: iterations, measured on a loaded machine, so no more than a hint of its price.
PROTOCOLS: dict[str, dict[str, Any]] = {
    "pooled": {**_COMMON, "iterations": 1200},
    "told": {**_COMMON, "iterations": 1200},
    "fomaml": {**_COMMON, "iterations": 500},
    "reptile": {**_COMMON, "iterations": 350},
}
STARTS = ("random", *PROTOCOLS)
#: What :func:`search` tries: outer steps, inner steps (the inner loop is Adam's), and the step of
#: Adam in the table.
OUTER_LRS, INNER_LRS = (1e-2, 3e-2, 1e-1, 3e-1), (1e-3, 3e-3, 1e-2)
ADAM_LRS = (3e-3, 1e-2, 3e-2)
#: The winners on :data:`VALIDATION_NU`: outer step, and inner step of the two that have one.
CHOSEN: dict[str, tuple[float, float | None]] = {
    "pooled": (3e-2, None),
    "told": (1e-1, None),
    "fomaml": (1e-1, 3e-3),
    "reptile": (1e-1, 1e-3),
}
#: Step of Adam in the table by start, chosen there too.
ADAM_LR = {"random": 1e-2, "pooled": 3e-3, "told": 3e-3, "fomaml": 1e-2, "reptile": 1e-2}
INNER_STEPS = 3
#: The loss of all runs: the edge is held by :class:`mamlkit.pde.Ansatz`, so it has no weight.
LOSS = residual_loss(burgers, edge_weight=0)
VALIDATION_NU = (0.0065, 0.013, 0.035)
#: Viscosities of the table: outside, edge, two inside, edge, outside.
TABLE_NU = (0.0035, 0.005, 0.008, 0.02, 0.05, 0.08)
#: Collocation points, and iterations of L-BFGS and of Adam, in the table.
POINTS = 600
TABLE_STEPS: dict[Method, int] = {"lbfgs": 600, "adam": 300}
LEVEL = 1e-2  # what a solution is asked for, in relative L2
EVERY = 5  # the table keeps every fifth error
SEARCH_SEED = 100  # not one of those that ship


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
    learner: MetaLearner = kinds[name](model, inner_lr, INNER_STEPS, rule=adam(), loss=LOSS)
    return learner


def tasks(name: str, part: Part = "train") -> Burgers:
    """The tasks of a run of this recipe: the same family for all of them."""
    check("pinns", name, PROTOCOLS)
    return Burgers(exact=part != "train").split(part)


def run(
    out: Path,
    *,
    names: Sequence[str] = tuple(PROTOCOLS),
    seeds: Sequence[int] = SHIPPED_SEEDS,
    iterations: int | None = None,
    steps: int | None = None,
    progress: bool = True,
) -> None:
    """Train starts for Burgers' equation, save them, and solve from each.

    From each start, and from a random one, the viscosities of :data:`TABLE_NU` are solved by both
    methods: ``out/pinns-refined.json``, which ships too. Some fifteen minutes on one core. Seconds
    are those that the processor spent, whatever else the machine does; a training that goes on from
    a checkpoint counts its own part only.

    Args:
        out: a folder; run ``name`` with seed ``s`` goes to ``out/pinns-name-s.pt`` with its notes.
        names: which of :data:`PROTOCOLS`.
        seeds: one run each; a seed fixes the start, all tasks, and the points of the table.
        iterations: outer steps; None takes the protocol's.
        steps: of L-BFGS and of Adam in the table; None takes :data:`TABLE_STEPS`.
        progress: show a progress bar for each run.
    """
    rows = []
    for seed in seeds:
        models: dict[str, Any] = {"random": network(seed=seed)}
        for name in names:
            learner, job = build(name, seed), _job(name, seed, CHOSEN[name][0], iterations)
            began = time.process_time()
            history = job.train(out, learner, progress)
            spent = round(time.process_time() - began, 2)
            job.save(out, learner, history, train_seconds=spent)
            models[name] = learner.model
        for name, model in models.items():
            rows += refine_all(model, name, seed, steps)
        settings = {"nu": TABLE_NU, "points": POINTS, "level": LEVEL, "every": EVERY}
        write_table(out / "pinns-refined.json", {"settings": settings, "rows": rows})  # so far


def search(
    out: Path,
    *,
    names: Sequence[str] = tuple(PROTOCOLS),
    fraction: float = 0.5,
    steps: int | None = None,
    progress: bool = True,
) -> None:
    """Search the step sizes: the table behind :data:`CHOSEN` and :data:`ADAM_LR`.

    Four outer steps, each with three inner steps for those that have one, in half the iterations
    and one seed. The judge is the geometric mean of the errors at
    :data:`VALIDATION_NU` after 100 iterations of L-BFGS. From the winner, and from a random start,
    three steps of Adam are tried as far as the table goes. Some nine minutes on one core.

    Args:
        out: a folder; the table goes to ``out/pinns-search.json``: under "starts" rows ``[outer
            step, inner step or null, error]``, under "adam" rows ``[step, error]``. An error is
            null where training failed.
        names: which of :data:`PROTOCOLS`.
        fraction: of the iterations of the protocol.
        steps: of L-BFGS and of Adam; None takes 100 and those of the table.
        progress: show a progress bar for each run.
    """
    table: dict[str, dict[str, list[list[float | None]]]] = {"starts": {}, "adam": {}}
    models: dict[str, Any] = {"random": network(seed=SEARCH_SEED)}
    for name in names:
        iterations = max(1, int(fraction * PROTOCOLS[name]["iterations"]))
        inner_lrs = (None,) if CHOSEN[name][1] is None else INNER_LRS
        rows, least = table["starts"].setdefault(name, []), math.inf
        for rate, inner_lr in itertools.product(OUTER_LRS, inner_lrs):
            learner, error = build(name, SEARCH_SEED, inner_lr), math.inf
            try:
                _job(name, SEARCH_SEED, rate, iterations).train(None, learner, progress)
                error = _validation_error(learner.model, "lbfgs", steps or 100)
            except MamlkitError:  # a loss that is not finite: this setting does not work
                pass
            if error < least:
                models[name], least = learner.model, error
            rows.append([rate, inner_lr, error if math.isfinite(error) else None])
        write_table(out / "pinns-search.json", table)
    for name, model in models.items():
        for lr in ADAM_LRS:
            error = _validation_error(model, "adam", steps or TABLE_STEPS["adam"], lr)
            table["adam"].setdefault(name, []).append([lr, error])
    write_table(out / "pinns-search.json", table)


def refine_all(model: Any, name: str, seed: int, steps: int | None = None) -> list[dict[str, Any]]:
    """Solve from one start at each viscosity of the table by both methods: one row each."""
    support, query = problem(torch.tensor(TABLE_NU, dtype=torch.float64), seed)
    rows = []
    for method, own in TABLE_STEPS.items():
        found = refine(
            model.double(), support, query, LOSS, steps or own, method=method, lr=ADAM_LR[name]
        )
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


def refined() -> dict[str, Any]:
    """The table that ships: "settings", and "rows" with start, seed, nu, method ("lbfgs" or
    "adam"), the relative L2 "errors" before the first and after every fifth step, the "losses"
    after every 25th, the "seconds" of all steps, and "steps", the first that brings the error to
    1e-2 (None if none does).
    """
    table: dict[str, Any] = shipped_table("pinns-refined")
    return table


def _job(name: str, seed: int, outer_lr: float, iterations: int | None) -> Job:
    protocol = shortened({**PROTOCOLS[name], "outer_lr": outer_lr}, iterations)
    return Job("pinns", f"pinns-{name}", name, seed, tasks(name), protocol, "capture")


def _validation_error(model: Any, method: Method, steps: int, lr: float = 1e-2) -> float:
    support, query = problem(torch.tensor(VALIDATION_NU, dtype=torch.float64), SEARCH_SEED)
    found = refine(model.double(), support, query, LOSS, steps, method=method, lr=lr)
    return float(found.errors[:, -1].log().mean().exp())


def _rounded(values: torch.Tensor) -> list[float]:
    return [float(f"{v:.3g}") for v in values.tolist()]
