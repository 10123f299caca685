"""What the recipes share: one training run, with its checkpoint and the notes it leaves."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

from mamlkit.checkpoints import atomically, save_learner, versions
from mamlkit.checks import count
from mamlkit.errors import MamlkitError
from mamlkit.evaluation import tune
from mamlkit.gradients import Compile
from mamlkit.learners import MAML
from mamlkit.learners.meta import MetaLearner
from mamlkit.tasks import Family
from mamlkit.training import History, meta_train

SHIPPED_SEEDS = (0, 1, 2, 3, 4)


def check(recipe: str, name: str, names: Iterable[str]) -> None:
    """Complain about a run that the recipe does not have."""
    if name not in names:
        raise MamlkitError(f"there is no run {name!r} in {recipe}; choose from {list(names)}.")


def shortened(protocol: dict[str, Any], iterations: int | None) -> dict[str, Any]:
    """A copy of the protocol, with another number of iterations if one is given."""
    if iterations is None:
        return dict(protocol)
    return {**protocol, "iterations": count("iterations", iterations)}


def tuned(
    learner: MetaLearner, tasks: Family, shots: int, factors: Sequence[float], **settings: Any
) -> dict[str, Any]:
    """Inner step size (the own one times one of ``factors``) and number of steps at test time,
    chosen by :func:`mamlkit.tune` on validation tasks, which gets ``settings``. Nothing is chosen
    for a learner that takes no steps. The learner is left as it was.
    """
    if not isinstance(learner, MAML):
        return {}
    before = learner.inner_lr, learner.inner_steps
    rates = [factor * learner.inner_lr for factor in factors]
    tune(learner, tasks, shots, inner_lr=rates, **settings)
    found = {"inner_lr": learner.inner_lr, "inner_steps": learner.inner_steps}
    learner.inner_lr, learner.inner_steps = before
    return found


def write_table(path: Path, table: Any) -> None:
    """Write a table of a recipe as JSON, whole or not at all."""
    with atomically(path) as file:
        file.write(json.dumps(table, separators=(",", ":")).encode())


def shipped_table(name: str) -> Any:
    """The table ``name`` that ships with the package, such as "family-search"."""
    path = resources.files("mamlkit") / "weights" / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8"))


class Job(NamedTuple):
    """One run of a recipe: ``stem`` names its files."""

    recipe: str
    stem: str
    variant: str
    seed: int
    tasks: Family
    protocol: dict[str, Any]
    compile: Compile

    def train(self, out: Path | None, learner: MetaLearner, progress: bool) -> History:
        """Train, or go on with the run that was cut short; without ``out`` nothing is kept."""
        checkpoint = out and out / "checkpoints" / f"{self.stem}-{self.seed}.pt"
        history = meta_train(
            learner,
            self.tasks,
            **self.protocol,
            seed=self.seed,
            compile=self.compile,
            checkpoint=checkpoint,
            checkpoint_every=5000,
            progress=progress,
        )
        if history.interrupted:
            raise KeyboardInterrupt
        return history

    def save(self, out: Path, learner: MetaLearner, history: History, **notes: Any) -> None:
        """Write the learner with how it was made."""
        size = max(1, self.protocol["iterations"] // 70)
        save_learner(
            learner,
            out / f"{self.stem}-{self.seed}.pt",
            recipe=self.recipe,
            variant=self.variant,
            seed=self.seed,
            settings=self.protocol,
            protocol=history.settings,
            outer_loss=_block_means(history.outer_loss, size),
            seconds=round(history.seconds[-1]),
            compile=self.compile,
            versions=versions(),
            **notes,
        )


def _block_means(values: Sequence[float], size: int) -> list[float]:
    blocks = [values[i : i + size] for i in range(0, len(values), size)]
    return [sum(block) / len(block) for block in blocks]
