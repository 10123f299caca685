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
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from mamlkit.checkpoints import load_learner, save_learner
from mamlkit.errors import MamlkitError
from mamlkit.evaluation import tune
from mamlkit.learners import ANIL, CAVIA, FOMAML, MAML, CoDA, MAMLPlusPlus, MetaSGD
from mamlkit.learners.heads import RidgeHead
from mamlkit.learners.implicit import ImplicitMAML
from mamlkit.learners.meta import MetaLearner
from mamlkit.learners.reptile import Reptile
from mamlkit.learners.uncertainty import BayesianHead, Ensemble
from mamlkit.losses import rmse
from mamlkit.models import MLP
from mamlkit.quickstart import MEASURED_AT, SETTINGS
from mamlkit.tasks import Family, Sinusoid, VapourPressure
from mamlkit.tasks.base import Physics, count, normal
from mamlkit.tasks.fluids import Part
from mamlkit.tasks.sinusoid import FINN_2017
from mamlkit.training import History, meta_train
from mamlkit.yardsticks import Pooled

SHIPPED_SEEDS = (0, 1, 2, 3, 4)

# --- finn2017: the sinusoid benchmark at full length (notebook 04) --------------------------------

_MAKERS: dict[str, Callable[..., MAML]] = {
    "maml": MAML,
    "fomaml": FOMAML,
    "anil": ANIL,
    "metasgd": MetaSGD,
    "pooled": Pooled,
}
LEARNERS = tuple(_MAKERS)


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
    protocol: dict[str, Any] = {**FINN_2017, "iterations": iterations}
    compiled = _has_compiler() if compile is None else compile
    for seed in seeds:
        for name in learners:
            learner = finn2017_learner(name, seed)
            kind = f"finn2017-{name}"
            job = _Job("finn2017", kind, name, seed, Sinusoid(), protocol, compiled)
            job.save(out, learner, job.train(out, learner, progress))


# --- family: every variant at an equal budget (notebook 06) ---------------------------------------

#: The problems of the recipe ``family``, with their protocols as keywords of
#: :func:`mamlkit.meta_train`: sinusoids; fluids measured once at T/Tc = 0.7; fluids measured twice,
#: anywhere. The fluids take the settings of the quickstart.
FAMILY: dict[str, dict[str, Any]] = {
    "sinusoid": {
        "shots": 10,
        "meta_batch": 25,
        "iterations": 1000,
        "outer_lr": 3e-3,
        "schedule": "cosine",
        "grad_clip": 1.0,
    },
    "fluids": {**SETTINGS, "iterations": 1500},
    "anywhere": {**SETTINGS, "iterations": 1500, "shots": 2},
}

#: One setting of each learner of the recipe ``family``, the best of three in a short run on
#: validation tasks: inner_lr, or the penalty where there is no step. "modulate" is CAVIA with the
#: context fed by modulation, "curvature" a learned matrix step of the head, "solved" a context that
#: implicit MAML solves for. Not searched: Reptile, the ridge head and "solved"; pooled, whose
#: fine-tuning is chosen afterwards; contexts and CoDA on the fluids, taken from earlier trials.
#: "anywhere" takes over what was chosen for the fluids.
CHOSEN: dict[str, dict[str, float]] = {
    "sinusoid": {
        "pooled": 0.01,
        "maml": 0.03,
        "fomaml": 0.03,
        "anil": 0.1,
        "curvature": 0.03,
        "metasgd": 0.03,
        "mamlpp": 0.03,
        "cavia": 0.3,
        "modulate": 0.1,
        "coda": 0.01,
        "reptile": 0.01,
        "imaml": 0.1,
        "ridge": 0.1,
    },
    "fluids": {
        "pooled": 0.01,
        "maml": 0.03,
        "fomaml": 0.03,
        "anil": 0.1,
        "curvature": 0.1,
        "metasgd": 0.1,
        "mamlpp": 0.1,
        "cavia": 1.0,
        "modulate": 0.3,
        "coda": 0.1,
        "reptile": 0.1,
        "imaml": 0.1,
        "ridge": 0.1,
    },
}
CHOSEN["anywhere"] = {
    **{name: CHOSEN["fluids"][name] for name in ("metasgd", "cavia", "ridge")},
    "solved": 1e-4,
}
#: Implicit MAML solves its inner problem and gets a part of the iterations: one in so many.
FEWER = {"imaml": 8, "solved": 3}


def family_learner(problem: str, name: str, seed: int = 0) -> MetaLearner:
    """An untrained learner of the recipe ``family``, in float32.

    All have a network 1-40-40-1 with tanh; the ridge head takes the place of its last layer.
    Gradient-based learners make five inner steps on the sinusoids, and one on the fluids, where
    MAML++ and Reptile, which are about several steps, make five. Contexts hold two numbers on the
    sinusoids and one on the fluids: as many as the curves have unknowns.

    Args:
        problem: "sinusoid", "fluids" or "anywhere".
        name: one of ``CHOSEN[problem]``.
        seed: fixes the random start.
    """
    if problem not in CHOSEN or name not in CHOSEN[problem]:
        raise MamlkitError(
            f"there is no learner {name!r} for {problem!r} in the recipe family; choose a problem "
            f"from {list(CHOSEN)} and one of its learners, such as {list(CHOSEN['anywhere'])}."
        )
    value, sines = CHOSEN[problem][name], problem == "sinusoid"
    context, steps = (2, 5) if sines else (1, 1)
    anneal = FAMILY[problem]["iterations"] // 5

    def net(d_out: int = 1, hidden: Sequence[int] = (40, 40), **settings: Any) -> MLP:
        x_range = None if sines else VapourPressure.x_range
        return MLP(1, d_out, hidden=hidden, x_range=x_range, seed=seed, **settings).float()

    makers: dict[str, Callable[[], MetaLearner]] = {
        "pooled": lambda: Pooled(net(), value),
        "maml": lambda: MAML(net(), value, steps),
        "fomaml": lambda: FOMAML(net(), value, steps),
        "anil": lambda: ANIL(net(), value, steps),
        "curvature": lambda: MAML(net(), value, adapt="head", learn_lr="matrix"),
        "metasgd": lambda: MetaSGD(net(), value, steps),
        "mamlpp": lambda: MAMLPlusPlus(
            net(), value, 5, anneal=anneal, second_order_from=anneal // 2
        ),
        "cavia": lambda: CAVIA(net(context=context), value, steps),
        "modulate": lambda: CAVIA(net(context=context, feed="modulate"), value, steps),
        "coda": lambda: CoDA(net(), value, steps, context=context, seed=seed),
        "reptile": lambda: Reptile(net(), value, 5),
        "imaml": lambda: ImplicitMAML(net(), value, tolerance=1e-2, max_steps=15, max_cg=8),
        "solved": lambda: ImplicitMAML(
            net(context=context), value, adapt="context", tolerance=1e-3, max_steps=8, max_cg=1
        ),
        "ridge": lambda: RidgeHead(net(40, (40,)), value),
    }
    return makers[name]()


def family_tasks(problem: str, part: str = "train") -> Family:
    """The tasks of a problem of the recipe ``family``: "train", "validation" or "test"."""
    if problem == "sinusoid":
        return Sinusoid()
    at = (MEASURED_AT,) if problem == "fluids" else None
    return VapourPressure(at=at).split(part)  # type: ignore[arg-type]


def family(
    out: Path,
    *,
    problems: Sequence[str] = tuple(FAMILY),
    learners: Sequence[str] = (*CHOSEN["sinusoid"], "solved"),
    seeds: Sequence[int] = SHIPPED_SEEDS,
    iterations: int | None = None,
    compile: bool | None = None,
    progress: bool = True,
) -> None:
    """Train every variant of the family at an equal budget, and save the learners.

    Protocols are in :data:`FAMILY`, settings in :data:`CHOSEN`. Implicit MAML, which solves its
    inner problem and cannot be compiled, gets fewer iterations, :data:`FEWER`. After training, step
    size and number of inner steps at test time are chosen on validation tasks for whatever has a
    fixed step size, the number alone where it is learned; they are notes of the file, and
    :func:`shipped` sets them. All takes some half an hour on one core.

    Args:
        out: a folder; a learner goes to ``out/family-problem-name-s.pt`` with its notes.
        problems, learners, seeds: which; a learner that a problem does not have is left out.
        iterations: outer steps; None takes the protocol's.
        compile: compile the training step; None does so if there is a C++ compiler.
        progress: show a progress bar for each run.
    """
    for seed in seeds:
        for problem in problems:
            for name in (name for name in CHOSEN[problem] if name in learners):
                learner = family_learner(problem, name, seed)
                protocol = dict(FAMILY[problem])
                if iterations is not None:
                    protocol["iterations"] = count("iterations", iterations)
                protocol["iterations"] = max(1, protocol["iterations"] // FEWER.get(name, 1))
                compiled = _has_compiler() if compile is None else compile
                compiled = compiled and not isinstance(learner, ImplicitMAML)
                kind, tasks = f"family-{problem}-{name}", family_tasks(problem)
                job = _Job("family", kind, name, seed, tasks, protocol, compiled)
                history = job.train(out, learner, progress)
                job.save(out, learner, history, tuned=_tuned(learner, problem))


def _tuned(learner: MetaLearner, problem: str) -> dict[str, Any]:
    """Inner step size and number of steps at test time, chosen on validation tasks."""
    if not isinstance(learner, MAML):
        return {}
    before = learner.inner_lr, learner.inner_steps
    patient = learner.step_weights[0] == 1.0 or isinstance(learner, Reptile)
    tune(
        learner,
        family_tasks(problem, "validation"),
        FAMILY[problem]["shots"],
        inner_lr=[f * learner.inner_lr for f in (0.1, 0.3, 1.0, 3.0, 10.0)],
        max_steps=30 if patient else 10,
        n_tasks=200 if problem == "sinusoid" else None,
        loss=None if problem == "sinusoid" else rmse,
    )
    found = {"inner_lr": learner.inner_lr, "inner_steps": learner.inner_steps}
    learner.inner_lr, learner.inner_steps = before
    return found


# --- bands: learners that say how sure they are (notebook 07) -------------------------------------

_GENTLE: dict[str, Any] = {"outer_lr": 1e-2, "schedule": "cosine", "grad_clip": 1.0}
_HEAD = {"shots": 1, "queries": 10, "meta_batch": 32, "iterations": 700, **_GENTLE}
_ENSEMBLE = {"shots": 1, "queries": 10, "meta_batch": 16, "iterations": 500, **_GENTLE}
_ENSEMBLE["grad_clip"] = 0.22  # bounds the norm over all five members: 0.1 each

#: The runs of the recipe ``bands``, with their protocols as keywords of :func:`mamlkit.meta_train`.
#: "fluids" are vapour pressures with 1 % noise, split by substance; "kinds" the same, split by
#: chemical family; "waves" have a known answer. Heads measure anywhere, ensembles at T/Tc = 0.7.
BANDS: dict[str, dict[str, Any]] = {
    "fluids-head": _HEAD,
    "kinds-head": _HEAD,
    "fluids-ensemble": _ENSEMBLE,
    "kinds-ensemble": _ENSEMBLE,
    "waves-head": {"shots": 2, "queries": 20, "meta_batch": 25, "iterations": 600, **_GENTLE},
}
MEMBERS = 5


class Waves(Family):
    """y = a sin(x) + b cos(x) with a, b ~ N(0, 2^2), read with an error of 0.3: linear in its two
    unknowns, so the exact posterior is known.
    """

    x_range, noise = (-5.0, 5.0), 0.3

    def draw(self, n_tasks: int, generator: torch.Generator) -> Physics:
        """The two amplitudes, each ``[n_tasks]``."""
        return {name: normal(n_tasks, 0.0, 2.0, generator) for name in "ab"}

    def law(self, x: Tensor, physics: Physics) -> Tensor:
        """a sin(x) + b cos(x)."""
        return physics["a"] * x.sin() + physics["b"] * x.cos()


def bands_learner(name: str, seed: int = 0) -> MetaLearner:
    """An untrained learner of the recipe ``bands``, in float32.

    A head has 8 features on the fluids and 16 on the waves. An ensemble has five members: contexts
    of two numbers, fed by modulation, with one inner step. Member i of seed s starts from seed
    ``5 s + i``, so no two ensembles of a problem share a start.

    Args:
        name: one of ``BANDS``.
        seed: fixes the random start.
    """
    _check_band(name)
    problem, kind = name.split("-")
    if kind == "ensemble":

        def member(seed: int) -> MetaLearner:
            span = VapourPressure.x_range
            model = MLP(1, 1, x_range=span, context=2, feed="modulate", seed=seed)
            return CAVIA(model.float(), inner_lr=0.3)

        return Ensemble(member, MEMBERS, seed=MEMBERS * seed)
    family = Waves if problem == "waves" else VapourPressure
    features, noise = (16, 0.3) if problem == "waves" else (8, 0.01)
    model = MLP(1, features, x_range=family.x_range, seed=seed).float()
    return BayesianHead(model, features, noise=noise)


def bands_tasks(name: str, part: Part = "train") -> Family:
    """The tasks of a run of the recipe ``bands``: "train", "validation" or "test"; waves are fresh
    draws in any part.
    """
    _check_band(name)
    problem, kind = name.split("-")
    if problem == "waves":
        return Waves()
    at = MEASURED_AT if kind == "ensemble" else None
    by: Literal["substance", "family"] = "substance" if problem == "fluids" else "family"
    return VapourPressure(at=at, noise=0.01, split_by=by).split(part)


def bands(
    out: Path,
    *,
    names: Sequence[str] = tuple(BANDS),
    seeds: Sequence[int] = SHIPPED_SEEDS,
    iterations: int | None = None,
    progress: bool = True,
) -> None:
    """Train the Bayesian heads and the ensembles of :data:`BANDS`, and save them.

    Training is in float64, the weights are saved in float32. No step is compiled. All 25 runs took
    one minute on one core.

    Args:
        out: a folder; run ``name`` with seed ``s`` goes to ``out/bands-name-s.pt`` with its notes.
        names: which of :data:`BANDS`.
        seeds: one run each; a seed fixes the start and all tasks.
        iterations: outer steps; None takes the protocol's.
        progress: show a progress bar for each run.
    """
    for seed in seeds:
        for name in names:
            learner = bands_learner(name, seed).double()
            protocol = dict(BANDS[name])
            if iterations is not None:
                protocol["iterations"] = count("iterations", iterations)
            tasks = bands_tasks(name)
            job = _Job("bands", f"bands-{name}", name, seed, tasks, protocol, compiled=False)
            history = job.train(out, learner, progress)
            job.save(out, learner.float(), history)


def _check_band(name: str) -> None:
    if name not in BANDS:
        raise MamlkitError(f"there is no run {name!r} in bands; choose from {list(BANDS)}.")


# --- what the recipes share -----------------------------------------------------------------------

RECIPES: dict[str, Callable[[Path], None]] = {
    "finn2017": finn2017,
    "family": family,
    "bands": bands,
}


def shipped(name: str, seed: int = 0) -> Any:
    """A learner that ships with the package, trained by the recipe in the first part of its name.

    Args:
        name: such as "finn2017-maml" or "family-fluids-cavia".
        seed: one of ``SHIPPED_SEEDS``.

    Returns the learner in float32, with the inner steps that its recipe chose
    on validation tasks, if it did; ``.double()`` moves it to float64.

    Example::

        learner = mk.recipes.shipped("finn2017-maml").double()
        curve = mk.evaluate(learner, mk.tasks.Sinusoid(), shots=10, steps=10)
    """
    learner, path = _find(name, seed)
    notes = load_learner(learner, path)
    for setting, value in notes.get("tuned", {}).items():
        setattr(learner, setting, value)
    return learner


def shipped_notes(name: str, seed: int = 0) -> dict[str, Any]:
    """How a shipped learner was made: recipe, settings, seed, versions, seconds, and the mean outer
    loss in 70 equal blocks of iterations.
    """
    learner, path = _find(name, seed)
    return load_learner(learner, path)


def _find(name: str, seed: int) -> tuple[MetaLearner, Path]:
    names = [f"finn2017-{kind}" for kind in LEARNERS]
    names += [f"family-{problem}-{kind}" for problem in CHOSEN for kind in CHOSEN[problem]]
    names += [f"bands-{run}" for run in BANDS]
    if name not in names or seed not in SHIPPED_SEEDS:
        raise MamlkitError(
            f"no learner {name!r} with seed {seed!r} ships with mamlkit; choose a name from "
            f"{names} and a seed from {list(SHIPPED_SEEDS)}."
        )
    recipe, problem, kind = [*name.split("-"), ""][:3]
    path = Path(str(resources.files("mamlkit"))) / "weights" / f"{name}-{seed}.pt"
    if recipe == "finn2017":
        return finn2017_learner(problem, seed), path
    if recipe == "bands":
        return bands_learner(f"{problem}-{kind}", seed), path
    return family_learner(problem, kind, seed), path


class _Job(NamedTuple):
    """One run of a recipe: ``stem`` names its files."""

    recipe: str
    stem: str
    variant: str
    seed: int
    tasks: Family
    protocol: dict[str, Any]
    compiled: bool

    def train(self, out: Path, learner: MetaLearner, progress: bool) -> History:
        """Train, or go on with the run that was cut short."""
        out.mkdir(parents=True, exist_ok=True)
        history = meta_train(
            learner,
            self.tasks,
            **self.protocol,
            seed=self.seed,
            compile=self.compiled,
            checkpoint=out / "checkpoints" / f"{self.stem}-{self.seed}.pt",
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
            compiled=self.compiled,
            versions={
                "python": platform.python_version(),
                **{package: version(package) for package in ("mamlkit", "torch", "numpy")},
            },
            **notes,
        )


def _has_compiler() -> bool:
    return any(shutil.which(program) for program in ("g++", "clang++", "c++"))


def _block_means(values: Sequence[float], size: int) -> list[float]:
    blocks = [values[i : i + size] for i in range(0, len(values), size)]
    return [sum(block) / len(block) for block in blocks]
