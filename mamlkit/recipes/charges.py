"""The potential of two charges, by every kind of learner at an equal budget (notebook 11)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from mamlkit.errors import MamlkitError
from mamlkit.evaluation import evaluate
from mamlkit.learners import ANIL, MAML, CoDA, MetaSGD
from mamlkit.learners.heads import RidgeHead
from mamlkit.learners.meta import MetaLearner
from mamlkit.losses import Predict
from mamlkit.models import MLP
from mamlkit.recipes.jobs import (
    SHIPPED_SEEDS,
    Job,
    check,
    shortened,
    tuned,
    write_table,
)
from mamlkit.tasks import Data, PointCharges
from mamlkit.tasks.charges import Part
from mamlkit.yardsticks import Pooled

#: A typical potential of the training tasks: networks predict in this unit, and losses are counted
#: in it, so that their numbers are of the order of one.
UNIT = 5.0

_COMMON: dict[str, Any] = {"shots": 10, "queries": 50, "meta_batch": 10, "schedule": "cosine"}
_COMMON["grad_clip"] = 0.1
_RIDGE: dict[str, Any] = {**_COMMON, "queries": 100, "meta_batch": 25, "iterations": 3000}

#: The runs of this recipe, with their protocols as keywords of :func:`mamlkit.meta_train` but for
#: the outer learning rate, which is in :data:`CHOSEN`. Iterations were set for about the same time
#: on one core. The notes of the shipped files say what each took, on a busy machine: 9 to 50 s for
#: the gradient-based learners, and about twice theirs for "ridge". "long" is "ridge" with three
#: times as many.
PROTOCOLS: dict[str, dict[str, Any]] = {
    "pooled": {**_COMMON, "iterations": 3500},
    "anil": {**_COMMON, "iterations": 3500},
    "maml": {**_COMMON, "iterations": 2400},
    "metasgd": {**_COMMON, "iterations": 1500},
    "cavia": {**_COMMON, "iterations": 1600},
    "coda": {**_COMMON, "iterations": 700},
    "ridge": _RIDGE,
    "long": {**_RIDGE, "iterations": 9000},
}
#: What :func:`search` tries, three by two for each learner: inner step sizes, or penalties of the
#: head, and outer learning rates.
STEP_SIZES, PENALTIES, OUTER_LRS = (0.03, 0.1, 0.3), (1e-4, 1e-3, 1e-2), (1e-2, 3e-2)
SEARCH_SEED = 100  # not one of those that ship

#: The winners on validation tasks: inner step size (or penalty), and outer learning rate.
CHOSEN: dict[str, tuple[float, float]] = {
    "pooled": (0.1, 3e-2),
    "anil": (0.03, 3e-2),
    "maml": (0.03, 3e-2),
    "metasgd": (0.1, 3e-2),
    "cavia": (0.1, 1e-2),
    "coda": (0.1, 3e-2),
    "ridge": (1e-4, 3e-2),
    "long": (1e-4, 3e-2),
}


class Potential(nn.Module):
    """Three features of the place, 2-16-16-3 with tanh, and a linear head: ``[.., 2] -> [.., 1]``,
    in units of :data:`UNIT`.
    """

    def __init__(self, seed: int = 0, context: int = 0) -> None:
        super().__init__()
        feed: dict[str, Any] = {"context": context, "feed": "modulate"} if context else {}
        self.features = MLP(2, 3, hidden=(16, 16), seed=seed, **feed)
        self.head = MLP(3, 1, hidden=(), seed=seed + 1000)

    def forward(self, x: Tensor) -> Tensor:
        """The potential, ``[.., 1]``."""
        potential: Tensor = UNIT * self.head(self.features(x))
        return potential


def loss(predict: Predict, data: Data) -> Tensor:
    """Mean squared error in units of :data:`UNIT`."""
    error: Tensor = ((predict(data.x) - data.y) / UNIT).square().mean()
    return error


def build(name: str, seed: int = 0, value: float | None = None) -> MetaLearner:
    """An untrained learner of this recipe, in float32.

    All have the same network, 2-16-16-3-1; the closed-form head takes the place of the last layer.
    Gradient-based learners make three inner steps; contexts hold two numbers, as many as a task has
    unknowns.

    Args:
        name: one of :data:`PROTOCOLS`.
        seed: fixes the random start.
        value: inner step size or penalty; None takes that of :data:`CHOSEN`.
    """
    check("charges", name, PROTOCOLS)
    value = CHOSEN[name][0] if value is None else value
    how: dict[str, Any] = {"inner_steps": 3, "loss": loss}
    net = Potential(seed).float()

    def ridge() -> MetaLearner:
        return RidgeHead(net.features, value, loss=loss)

    def cavia() -> MetaLearner:
        context = Potential(seed, context=2).float()
        return MAML(context, value, adapt="features.context", **how)

    makers: dict[str, Callable[[], MetaLearner]] = {
        "pooled": lambda: Pooled(net, value, **how),
        "anil": lambda: ANIL(net, value, **how),
        "maml": lambda: MAML(net, value, **how),
        "metasgd": lambda: MetaSGD(net, value, **how),
        "cavia": cavia,
        "coda": lambda: CoDA(net, value, context=2, seed=seed, **how),
        "ridge": ridge,
        "long": ridge,
    }
    return makers[name]()


def tasks(part: Part = "train", **settings: Any) -> PointCharges:
    """The tasks of this recipe: "train", "validation" or "test"; settings as for
    :class:`mamlkit.tasks.PointCharges`.
    """
    return PointCharges(**settings).split(part)


def run(
    out: Path,
    *,
    names: Sequence[str] = tuple(PROTOCOLS),
    seeds: Sequence[int] = SHIPPED_SEEDS,
    iterations: int | None = None,
    progress: bool = True,
) -> None:
    """Train the learners of :data:`PROTOCOLS` on noise-free training tasks, and save them.

    Training is in float64, the weights are saved in float32. After training, step size and number
    of inner steps of each gradient-based learner are chosen on validation tasks; they are notes of
    the file. All forty runs took twenty minutes on a busy machine.

    Args:
        out: a folder; run ``name`` with seed ``s`` goes to ``out/charges-name-s.pt`` with its
            notes.
        names: which of :data:`PROTOCOLS`.
        seeds: one run each; a seed fixes the start and all tasks.
        iterations: outer steps; None takes the protocol's.
        progress: show a progress bar for each run.
    """
    for seed in seeds:
        for name in names:
            learner = build(name, seed).double()
            job = _job(name, seed, CHOSEN[name][1], iterations)
            history = job.train(out, learner, progress)
            found = _tuned(learner)
            job.save(out, learner.float(), history, tuned=found)


def search(
    out: Path,
    *,
    names: Sequence[str] = tuple(list(PROTOCOLS)[:-1]),
    fraction: float = 1 / 3,
    progress: bool = True,
) -> None:
    """Search the settings of each learner: the table behind :data:`CHOSEN`.

    Each learner is trained with each of six settings, for a third of its iterations, one seed,
    judged on validation tasks. ("long" takes what "ridge" found.)

    Takes some two minutes on one core.

    Args:
        out: a folder; the table goes to ``out/charges-search.json``: for each learner rows
            ``[value, outer learning rate, median RMSE on validation tasks]``, with null where
            training failed.
        names: which of :data:`PROTOCOLS`.
        fraction: of the iterations of the protocol.
        progress: show a progress bar for each run.
    """
    table: dict[str, list[list[float | None]]] = {}
    for name in names:
        table[name] = []
        iterations = max(1, int(fraction * PROTOCOLS[name]["iterations"]))
        for value in PENALTIES if name == "ridge" else STEP_SIZES:
            for rate in OUTER_LRS:
                learner = build(name, SEARCH_SEED, value).double()
                try:
                    _job(name, SEARCH_SEED, rate, iterations).train(None, learner, progress)
                    error = _validation_error(learner)
                except MamlkitError:  # a loss that is not finite: this setting does not work
                    error = math.inf
                table[name].append([value, rate, error if math.isfinite(error) else None])
        write_table(out / "charges-search.json", table)


def _job(name: str, seed: int, rate: float, iterations: int | None) -> Job:
    protocol = shortened({**PROTOCOLS[name], "outer_lr": rate}, iterations)
    # At this length recording pays and compiling does not.
    return Job("charges", f"charges-{name}", name, seed, tasks(), protocol, "capture")


def _validation_error(learner: MetaLearner) -> float:
    for setting, value in _tuned(learner).items():
        setattr(learner, setting, value)
    curve = evaluate(learner, tasks("validation"), 10, seed=2)
    return UNIT * float(curve.median[-1].sqrt())


def _tuned(learner: MetaLearner) -> dict[str, Any]:
    """Inner step size and number of steps at test time, chosen on validation tasks."""
    return tuned(learner, tasks("validation"), 10, (0.1, 0.3, 1.0, 3.0), max_steps=30)
