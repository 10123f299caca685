"""The sinusoid benchmark of Finn et al. 2017 at full length (notebook 04)."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mamlkit.checks import count
from mamlkit.errors import MamlkitError
from mamlkit.learners import ANIL, FOMAML, MAML, MetaSGD
from mamlkit.models import MLP
from mamlkit.recipes.jobs import SHIPPED_SEEDS, Job
from mamlkit.tasks import Sinusoid
from mamlkit.tasks.sinusoid import FINN_2017
from mamlkit.yardsticks import Pooled

_MAKERS: dict[str, Callable[..., MAML]] = {
    "maml": MAML,
    "fomaml": FOMAML,
    "anil": ANIL,
    "metasgd": MetaSGD,
    "pooled": Pooled,
}
LEARNERS = tuple(_MAKERS)


def build(name: str, seed: int = 0) -> MAML:
    """An untrained learner of the sinusoid benchmark of Finn et al. 2017, in float32.

    All have the paper's network (1-40-40-1, ReLU), one inner step, and a step size of 0.01 (where
    Meta-SGD starts). The same seed gives the same start to each.

    Args:
        name: "maml", "fomaml", "anil", "metasgd" or "pooled".
        seed: fixes the random start.
    """
    if name not in _MAKERS:
        raise MamlkitError(
            f"there is no learner {name!r} in finn2017; choose from {list(LEARNERS)}."
        )
    model = MLP(1, 1, hidden=(40, 40), activation="relu", seed=seed).float()
    return _MAKERS[name](model, inner_lr=0.01, inner_steps=1)


def run(
    out: Path,
    *,
    learners: Sequence[str] = LEARNERS,
    seeds: Sequence[int] = SHIPPED_SEEDS,
    iterations: int = FINN_2017["iterations"],
    compile: bool | None = None,
    progress: bool = True,
) -> None:
    """Train the sinusoid benchmark of Finn et al. 2017 at full length, and save the learners.

    The protocol is :data:`mamlkit.tasks.sinusoid.FINN_2017`: 10 shots, 25 tasks, Adam at 1e-3,
    70,000 iterations. The start is torch's default, not the truncated normal of the authors' code.
    A run that is cut short resumes from ``out/checkpoints``. One seed of all five learners took
    about 8 minutes on one core, compiled; the default of all shipped seeds takes under an hour.

    Args:
        out: a folder; learner ``name`` with seed ``s`` goes to ``out/finn2017-name-s.pt``, with its
            settings, seed, versions and training losses as notes.
        learners: which of "maml", "fomaml", "anil", "metasgd", "pooled".
        seeds: one run each; a seed fixes the start and all tasks.
        iterations: outer steps.
        compile: compile the training step; None does so if there is a C++ compiler.
        progress: show a progress bar for each run.
    """
    count("iterations", iterations)
    protocol: dict[str, Any] = {**FINN_2017, "iterations": iterations}
    compiled = _has_compiler() if compile is None else compile
    for seed in seeds:
        for name in learners:
            learner = build(name, seed)
            kind = f"finn2017-{name}"
            job = Job("finn2017", kind, name, seed, Sinusoid(), protocol, compiled)
            job.save(out, learner, job.train(out, learner, progress))


def _has_compiler() -> bool:
    return any(shutil.which(program) for program in ("g++", "clang++", "c++"))
