"""What a recipe is: a long training as data. All are run, searched, packed and loaded here."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib import resources
from pathlib import Path
from typing import Any

from mamlkit.course.recipes import packs
from mamlkit.errors import MamlkitError
from mamlkit.evaluation.curves import tune
from mamlkit.learners import MAML
from mamlkit.learners.meta import MetaLearner
from mamlkit.tasks import Family
from mamlkit.tasks.base import Shots
from mamlkit.training.checkpoints import versions
from mamlkit.training.loop import History, Plan, meta_train
from mamlkit.training.saved import load_learner, save_learner

SHIPPED_SEEDS = (0, 1, 2, 3, 4)
SEARCH_SEED = 100  # not one of those that ship
WEIGHTS = Path(str(resources.files("mamlkit.course"))) / "weights"
#: What most plans start from. They are so short that recording a step pays, and compiling does not.
SHORT = Plan(outer_lr=1e-2, schedule="cosine", grad_clip=1.0, compile="capture")

#: Keywords by name: of ``build``, or what is set on a learner after training.
Settings = Mapping[str, Any]


@dataclass(frozen=True)
class Recipe:
    """A long training: what is trained, how, and on which tasks; what is searched, and who judges.

    Attributes:
        name: as in ``mamlkit reproduce NAME``.
        about, about_search: a line each for the help of that command.
        protocols: the plan of each run, without its seed.
        build: ``build(name, seed, **settings)`` makes the untrained learner of a run in float32,
            with the loss that it adapts by when it is used.
        tasks: the training tasks of a run.
        dealt: each seed has training tasks of its own, ``tasks(name, seed)``.
        training: settings of ``build`` in training alone, such as another loss.
        double: train in float64. (Weights are saved in float32.)
        half: weights ship in float16, and are float32 again when they are loaded.
        tuned: ``tuned(learner, name)`` chooses settings for the use of a trained learner, on
            validation tasks.
        trials: what the search tries for each learner, settings of ``build`` or of the plan. A
            learner that is not in ``protocols`` is judged as it is built.
        judge: ``judge(learner, name)``, the scores of a trial on validation tasks, so many as
            ``scores``.
        fraction: of the iterations of a plan, in the search.
        measure: ``measure(folder, names, seeds)`` writes more tables about the learners of a run.
        search_on: ``search_on(folder, names, changes)`` goes on after the search.
    """

    name: str
    about: str
    protocols: Mapping[str, Plan]
    build: Callable[..., MetaLearner]
    tasks: Callable[..., Family]
    training: Settings = field(default_factory=dict)
    dealt: bool = False
    double: bool = False
    half: bool = False
    tuned: Callable[[Any, str], Settings] | None = None
    about_search: str = ""
    trials: Mapping[str, Sequence[Settings]] = field(default_factory=dict)
    judge: Callable[[Any, str], Sequence[float]] | None = None
    scores: int = 1
    fraction: float = 1.0
    measure: Callable[[Path, Iterable[str], Iterable[int]], None] | None = None
    search_on: Callable[[Path, Iterable[str], Settings], None] | None = None

    def run(
        self,
        out: Path,
        *,
        names: Iterable[str] | None = None,
        seeds: Iterable[int] = SHIPPED_SEEDS,
        progress: bool = True,
        **changes: Any,
    ) -> None:
        """Train, save, and pack into the two files that ship, ``out/RECIPE.npz`` and ``.json``.

        A run that was cut short goes on from ``out/checkpoints``. The pack takes in all learners
        and search tables of the recipe in the folder.

        Args:
            out: a folder; run ``name`` with seed ``s`` goes to ``out/RECIPE-name-s.npz`` with its
                notes.
            names: which of ``protocols``; None takes all.
            seeds: one run each; a seed fixes the start and all tasks.
            progress: show a progress bar for each run.
            changes: settings of the plans, such as ``iterations=100``.
        """
        names, seeds = tuple(self.protocols if names is None else names), tuple(seeds)
        for seed in seeds:
            for name in names:
                plan, path = self.plan(name, **changes), self.path(out, name, seed)
                checkpoint, began = out / "checkpoints" / path.name, time.process_time()
                learner, history = self.train(name, seed, {}, plan, checkpoint, progress)
                spent = time.process_time() - began
                notes = {"recipe": self.name, "variant": name, "seed": seed}
                tuned = {} if self.tuned is None else self.tuned(learner, name)
                notes |= {**_made(plan, history), "train_seconds": round(spent, 2), "tuned": tuned}
                save_learner(learner.float(), path, **notes)
        if self.measure is not None:
            self.measure(out, names, seeds)
        self.pack(out)

    def search(
        self,
        out: Path,
        *,
        names: Iterable[str] | None = None,
        progress: bool = True,
        **changes: Any,
    ) -> None:
        """Try the settings of ``trials``, each in a training of one seed, judged on validation
        tasks. A search that was cut short goes on where it was.

        Args:
            out: a folder; the table goes to ``out/RECIPE-search.json``: for each learner rows of
                the settings and then the scores, with null where training failed.
            names: which of ``trials``; None takes all.
            progress: show a progress bar for each training.
            changes: settings of the plans, such as ``iterations=100``.
        """
        if self.judge is None:
            raise MamlkitError(
                f"the recipe {self.name} searches nothing; only its runs can be made, with run()."
            )
        path = out / f"{self.name}-search.json"
        table = packs.read_json(path) if path.exists() else {}
        names = tuple(self.trials if names is None else names)
        for name in names:
            rows = table.setdefault(name, [])
            for trial in self.trials[name][len(rows) :]:
                try:
                    scores = self.judge(self.tried(name, trial, progress, **changes), name)
                except MamlkitError:  # a loss that is not finite: this setting does not work
                    scores = [math.nan] * self.scores
                found = [score if math.isfinite(score) else None for score in scores]
                rows.append([*trial.values(), *found])
                packs.write_json(path, table)
        if self.search_on is not None:
            self.search_on(out, names, changes)

    def tried(self, name: str, trial: Settings, progress: bool, **changes: Any) -> MetaLearner:
        """The learner of one trial of the search."""
        if name not in self.protocols:
            return self.build(name, SEARCH_SEED, **trial)
        iterations = max(1, int(self.fraction * self.protocols[name].iterations))
        planned = {k: v for k, v in trial.items() if k in Plan.__dataclass_fields__}
        plan = self.plan(name, **{"iterations": iterations, **planned, **changes})
        settings = {k: v for k, v in trial.items() if k not in planned}
        return self.train(name, SEARCH_SEED, settings, plan, None, progress)[0]

    def train(
        self,
        name: str,
        seed: int,
        settings: Settings,
        plan: Plan,
        checkpoint: Path | None,
        progress: bool,
    ) -> tuple[MetaLearner, History]:
        """Build and train one learner, or go on with a training that was cut short."""
        learner = self._built(name, seed, {**settings, **self.training})
        history = meta_train(
            learner,
            self.tasks(name, seed) if self.dealt else self.tasks(name),
            plan=replace(plan, seed=seed, checkpoint_every=5000),
            checkpoint=checkpoint,
            progress=progress,
        )
        if history.interrupted:
            raise KeyboardInterrupt
        if self.training:  # from here on it is what it is used as
            trained = learner.state_dict()
            learner = self._built(name, seed, settings)
            learner.load_state_dict(trained)
        return learner, history

    def plan(self, name: str, **changes: Any) -> Plan:
        """The plan of a run, with other settings if any are given."""
        check(self.name, name, self.protocols)
        return replace(self.protocols[name], **changes)

    def path(self, folder: Path, name: str, seed: int | str) -> Path:
        """The file of one learner in the folder of a run."""
        return folder / f"{self.name}-{name}-{seed}.npz"

    def pack(self, folder: Path) -> None:
        """Gather the learners and tables of this recipe in a folder into the files that ship."""
        learners: dict[str, list[tuple[MetaLearner, dict[str, Any]]]] = {}
        for name in self.protocols:
            for path in sorted(folder.glob(self.path(folder, name, "[0-9]*").name)):
                learner = self.build(name, int(path.stem.rpartition("-")[2]))
                learners.setdefault(name, []).append((learner, load_learner(learner, path)))
        tables = {
            path.stem.removeprefix(f"{self.name}-"): packs.read_json(path)
            for path in sorted(folder.glob(f"{self.name}-*.json"))
        }
        packs.write(folder / self.name, learners, tables, self.half)

    def load(
        self, name: str, seed: int = 0, folder: Path = WEIGHTS
    ) -> tuple[MetaLearner, dict[str, Any]]:
        """A trained learner, with the settings that were tuned, and its notes, out of a pack."""
        learner = self.build(name, seed)
        notes = packs.read(folder / self.name, name, seed, learner)
        return settle(learner, notes.get("tuned", {})), notes

    def _built(self, name: str, seed: int, settings: Settings) -> MetaLearner:
        learner = self.build(name, seed, **settings)
        return learner.double() if self.double else learner


def check(recipe: str, name: str, names: Iterable[str]) -> None:
    """Complain about a run that the recipe does not have."""
    if name not in names:
        raise MamlkitError(f"there is no run {name!r} in {recipe}; choose from {list(names)}.")


def settle(learner: Any, settings: Settings) -> Any:
    """Set ``settings`` on a learner, and return it."""
    for setting, value in settings.items():
        setattr(learner, setting, value)
    return learner


def tuned(
    learner: MetaLearner, tasks: Family, shots: Shots, factors: Sequence[float], **settings: Any
) -> dict[str, Any]:
    """Inner step size (the own one times one of ``factors``) and number of steps at test time,
    chosen by :func:`mamlkit.tune` on validation tasks, which gets ``settings``. Nothing is chosen
    for a learner that takes no steps. The learner is left as it was.
    """
    if not isinstance(learner, MAML):
        return {}
    before = {"inner_lr": learner.inner_lr, "inner_steps": learner.inner_steps}
    rates = [factor * learner.inner_lr for factor in factors]
    tune(learner, tasks, shots, inner_lr=rates, **settings)
    found = {"inner_lr": learner.inner_lr, "inner_steps": learner.inner_steps}
    settle(learner, before)
    return found


def _made(plan: Plan, history: History) -> dict[str, Any]:
    """Notes on how a learner was made; losses are means over 70 blocks of iterations."""
    losses, size = history.outer_loss, max(1, plan.iterations // 70)
    blocks = [losses[i : i + size] for i in range(0, len(losses), size)]
    settings = asdict(plan)
    del settings["seed"]  # a plan of a recipe has none of its own
    return {
        "settings": settings,
        "protocol": history.settings,
        "outer_loss": [float(f"{sum(block) / len(block):.4g}") for block in blocks],
        "seconds": round(history.seconds[-1]),
        "compile": plan.compile,
        "versions": versions(),
    }
