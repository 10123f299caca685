"""Long training runs: each is one function of an output folder, and ``mamlkit reproduce NAME --out
DIR`` runs it. The weights that they made ship with the package; :func:`shipped` loads them.
"""

from __future__ import annotations

import platform
import shutil
from collections.abc import Callable, Sequence
from importlib import resources
from importlib.metadata import version
from pathlib import Path
from typing import Any

from mamlkit.checkpoints import load_learner, save_learner
from mamlkit.errors import MamlkitError
from mamlkit.learners import ANIL, FOMAML, MAML, MetaSGD
from mamlkit.models import MLP
from mamlkit.tasks import Sinusoid
from mamlkit.tasks.base import count
from mamlkit.tasks.sinusoid import FINN_2017
from mamlkit.training import meta_train
from mamlkit.yardsticks import Pooled

_MAKERS: dict[str, Callable[..., MAML]] = {
    "maml": MAML,
    "fomaml": FOMAML,
    "anil": ANIL,
    "metasgd": MetaSGD,
    "pooled": Pooled,
}
LEARNERS = tuple(_MAKERS)
SHIPPED_SEEDS = (0, 1, 2, 3, 4)


def finn2017_learner(name: str, seed: int = 0) -> MAML:
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


def finn2017(
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
    compiled = _has_compiler() if compile is None else compile
    out.mkdir(parents=True, exist_ok=True)
    for seed in seeds:
        for name in learners:
            learner = finn2017_learner(name, seed)
            protocol: dict[str, Any] = {**FINN_2017, "iterations": iterations}
            history = meta_train(
                learner,
                Sinusoid(),
                **protocol,
                seed=seed,
                compile=compiled,
                checkpoint=out / "checkpoints" / f"finn2017-{name}-{seed}.pt",
                checkpoint_every=5000,
                progress=progress,
            )
            if history.interrupted:
                raise KeyboardInterrupt
            save_learner(
                learner,
                out / f"finn2017-{name}-{seed}.pt",
                recipe="finn2017",
                variant=name,
                seed=seed,
                settings=protocol,
                protocol=history.settings,
                outer_loss=_block_means(history.outer_loss, max(1, iterations // 70)),
                seconds=round(history.seconds[-1]),
                compiled=compiled,
                versions={
                    "python": platform.python_version(),
                    **{package: version(package) for package in ("mamlkit", "torch", "numpy")},
                },
            )


RECIPES: dict[str, Callable[[Path], None]] = {"finn2017": finn2017}


def shipped(name: str, seed: int = 0) -> MAML:
    """A learner that ships with the package, trained by the recipe in the first part of its name.

    Args:
        name: "finn2017-maml", "finn2017-fomaml", "finn2017-anil", "finn2017-metasgd" or
            "finn2017-pooled".
        seed: one of ``SHIPPED_SEEDS``.

    Returns the learner in float32, as it was trained; ``.double()`` moves it to float64.

    Example::

        learner = mk.recipes.shipped("finn2017-maml").double()
        curve = mk.evaluate(learner, mk.tasks.Sinusoid(), shots=10, steps=10)
    """
    learner, path = _find(name, seed)
    load_learner(learner, path)
    return learner


def shipped_notes(name: str, seed: int = 0) -> dict[str, Any]:
    """How a shipped learner was made: recipe, settings, seed, versions, seconds, and the mean outer
    loss in 70 equal blocks of iterations.
    """
    learner, path = _find(name, seed)
    return load_learner(learner, path)


def _find(name: str, seed: int) -> tuple[MAML, Path]:
    recipe, _, kind = str(name).partition("-")
    if recipe != "finn2017" or kind not in _MAKERS or seed not in SHIPPED_SEEDS:
        raise MamlkitError(
            f"no learner {name!r} with seed {seed!r} ships with mamlkit; choose a name from "
            f"{[f'finn2017-{kind}' for kind in LEARNERS]} and a seed from {list(SHIPPED_SEEDS)}."
        )
    path = Path(str(resources.files("mamlkit"))) / "weights" / f"{name}-{seed}.pt"
    return finn2017_learner(kind, seed), path


def _has_compiler() -> bool:
    return any(shutil.which(program) for program in ("g++", "clang++", "c++"))


def _block_means(values: Sequence[float], size: int) -> list[float]:
    blocks = [values[i : i + size] for i in range(0, len(values), size)]
    return [sum(block) / len(block) for block in blocks]
