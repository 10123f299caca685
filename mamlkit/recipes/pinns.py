"""Starts for physics-informed networks on Burgers' equation (notebook 12)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import torch

from mamlkit.checkpoints import atomically
from mamlkit.errors import MamlkitError
from mamlkit.learners import FOMAML, Reptile, adam
from mamlkit.learners.meta import MetaLearner
from mamlkit.models import MLP
from mamlkit.pde import Ansatz, burgers, residual_loss
from mamlkit.recipes.jobs import SHIPPED_SEEDS, Job
from mamlkit.refine import Method, refine
from mamlkit.tasks import Burgers
from mamlkit.tasks.base import count, fresh_generator
from mamlkit.tasks.burgers import Part
from mamlkit.yardsticks import Pooled

_COMMON: dict[str, Any] = {"shots": 64, "queries": 64, "meta_batch": 8, "schedule": "cosine"}
_COMMON |= {"grad_clip": 10.0}

#: The runs of this recipe, with their protocols as keywords of :func:`mamlkit.meta_train`. The
#: numbers of iterations give each about the same time. The outer step of "pooled", "told" and
#: "fomaml" is the better of 3e-3 and 1e-2 on three validation viscosities (seed 0, half the
#: iterations, error after 20 and 60 iterations of L-BFGS). Not searched: the outer step of
#: "reptile", which takes theirs, and the step size of Adam (``INNER_LR`` in the inner loop,
#: ``ADAM_LR`` in the table). Exact second-order MAML was tried and left out: five inner steps took
#: 48 s for 125 iterations, measured on a loaded machine, so no more than a hint of its price.
PROTOCOLS: dict[str, dict[str, Any]] = {
    "pooled": {**_COMMON, "iterations": 1200, "outer_lr": 1e-2},
    "told": {**_COMMON, "iterations": 1200, "outer_lr": 1e-2},
    "fomaml": {**_COMMON, "iterations": 400, "outer_lr": 1e-2},
    "reptile": {**_COMMON, "iterations": 300, "outer_lr": 1e-2},
}
#: Step size of the inner loop, which is Adam's, and the number of its steps.
INNER_LR = {"fomaml": 3e-3, "reptile": 3e-3}
INNER_STEPS = 3
#: The loss of all runs: the edge is held by :class:`mamlkit.pde.Ansatz`, so it has no weight.
LOSS = residual_loss(burgers, edge_weight=0)
#: Viscosities of the table: outside, edge, two inside, edge, outside.
TABLE_NU = (0.0035, 0.005, 0.008, 0.02, 0.05, 0.08)
#: Collocation points, iterations of L-BFGS and of Adam, and step size of Adam in the table.
POINTS, LBFGS_STEPS, ADAM_STEPS, ADAM_LR = 600, 250, 100, 1e-2
EVERY = 5  # the table keeps every fifth error


def network(told: bool = False, seed: int = 0) -> Ansatz:
    """Two hidden layers of 20, odd in x and true on the edges; ``told`` also shows it nu."""
    inputs = Burgers.inputs_told if told else Burgers.inputs_even
    model = MLP(4 if told else 3, 1, hidden=(20, 20), seed=seed)
    return Ansatz(model, Burgers.fixed, Burgers.factor, inputs)


def build(name: str, seed: int = 0) -> MetaLearner:
    """An untrained learner of this recipe, in float32.

    Args:
        name: one of ``PROTOCOLS``. "pooled" is one network for the mean loss over viscosities;
            "told" the same, shown the viscosity.
        seed: fixes the random start.
    """
    _check(name)
    model = network(name == "told", seed).float()
    if name in ("pooled", "told"):
        return Pooled(model, inner_steps=0, loss=LOSS)
    kinds: dict[str, Any] = {"fomaml": FOMAML, "reptile": Reptile}
    learner: MetaLearner = kinds[name](model, INNER_LR[name], INNER_STEPS, rule=adam(), loss=LOSS)
    return learner


def tasks(name: str, part: Part = "train") -> Burgers:
    """The tasks of a run of this recipe: the same family for all of them."""
    _check(name)
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
    """Train the starts of :data:`PROTOCOLS`, save them, and refine each of them, and a random one,
    on the viscosities of :data:`TABLE_NU`: ``out/pinns-refined.json``, which ships too.

    Args:
        out: a folder; run ``name`` with seed ``s`` goes to ``out/pinns-name-s.pt`` with its notes.
        names: which of :data:`PROTOCOLS`.
        seeds: one run each; a seed fixes the start, all tasks, and the points of the table.
        iterations: outer steps; None takes the protocol's.
        steps: of L-BFGS and of Adam in the table; None takes those of this module.
        progress: show a progress bar for each run.
    """
    table = []
    for seed in seeds:
        models: dict[str, Any] = {"random": network(seed=seed)}
        for name in names:
            protocol = dict(PROTOCOLS[name])
            if iterations is not None:
                protocol["iterations"] = count("iterations", iterations)
            learner = build(name, seed)
            job = Job("pinns", f"pinns-{name}", name, seed, tasks(name), protocol, "capture")
            history = job.train(out, learner, progress)
            job.save(out, learner, history, train_seconds=round(history.seconds[-1], 2))
            models[name] = learner.model
        for name, model in models.items():
            table += refine_all(model, name, seed, steps)
        settings = {"nu": TABLE_NU, "points": POINTS, "adam_lr": ADAM_LR, "every": EVERY}
        with atomically(out / "pinns-refined.json") as file:  # so far
            file.write(
                json.dumps({"settings": settings, "rows": table}, separators=(",", ":")).encode()
            )


def refine_all(model: Any, name: str, seed: int, steps: int | None = None) -> list[dict[str, Any]]:
    """Refine one start on each viscosity of the table by both methods: one row each."""
    nu = torch.tensor(TABLE_NU, dtype=torch.float64)
    support, query = problem(nu, seed)
    rows = []
    own: dict[Method, int] = {"lbfgs": LBFGS_STEPS, "adam": ADAM_STEPS}
    for method in own:
        found = refine(
            model.double(), support, query, LOSS, steps or own[method], method=method, lr=ADAM_LR
        )
        for i, each in enumerate(TABLE_NU):
            row = {"start": name, "seed": seed, "nu": each, "method": method}
            row["errors"] = [float(f"{e:.3g}") for e in found.errors[i, ::EVERY].tolist()]
            share = 1 if method == "lbfgs" else len(TABLE_NU)
            row["seconds"] = round(float(found.seconds[i, -1]) / share, 3)
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
    "adam"), the relative L2 "errors" before the first and after every fifth step, and "seconds"
    for all steps.
    """
    file = resources.files("mamlkit") / "weights" / "pinns-refined.json"
    table: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return table


def _check(name: str) -> None:
    if name not in PROTOCOLS:
        raise MamlkitError(f"there is no run {name!r} in pinns; choose from {list(PROTOCOLS)}.")
