"""The sinusoid benchmark of Finn et al. 2017 at full length (notebook 04)."""

from __future__ import annotations

import shutil
from collections.abc import Callable

from mamlkit.course.recipes.base import Recipe, check
from mamlkit.learners import ANIL, FOMAML, MAML, MetaSGD
from mamlkit.models import MLP
from mamlkit.tasks import Sinusoid
from mamlkit.tasks.sinusoid import FINN_2017
from mamlkit.training.loop import Plan
from mamlkit.yardsticks.general import Pooled

_MAKERS: dict[str, Callable[..., MAML]] = {
    "maml": MAML,
    "fomaml": FOMAML,
    "anil": ANIL,
    "metasgd": MetaSGD,
    "pooled": Pooled,
}
#: The runs of this recipe, all by :data:`mamlkit.tasks.sinusoid.FINN_2017`: 10 shots, 25 tasks,
#: Adam at 1e-3, 70,000 iterations; compiled if there is a C++ compiler. One seed of all five took
#: about 8 minutes on one core, compiled; all shipped seeds take under an hour.
PROTOCOLS = dict.fromkeys(
    _MAKERS, Plan(**FINN_2017, compile=any(map(shutil.which, ("g++", "clang++", "c++"))))
)


def build(name: str, seed: int = 0) -> MAML:
    """An untrained learner of the sinusoid benchmark of Finn et al. 2017, in float32.

    All have the paper's network (1-40-40-1, ReLU), one inner step, and a step size of 0.01 (where
    Meta-SGD starts). The start is torch's default, not the truncated normal of the authors' code.
    The same seed gives the same start to each.

    Args:
        name: one of :data:`PROTOCOLS`.
        seed: fixes the random start.
    """
    check("finn2017", name, PROTOCOLS)
    model = MLP(1, 1, hidden=(40, 40), activation="relu", seed=seed).float()
    return _MAKERS[name](model, inner_lr=0.01, inner_steps=1)


RECIPE = Recipe(
    name="finn2017",
    about="Train the sinusoid benchmark of Finn et al. 2017 at full length, and save the learners.",
    protocols=PROTOCOLS,
    build=build,
    tasks=lambda name: Sinusoid(),
)
