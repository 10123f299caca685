"""Long training runs: each is one function of an output folder, and ``mamlkit reproduce NAME --out
DIR`` runs it. The weights that they made ship with the package; :func:`shipped` loads them.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

from mamlkit.checkpoints import load_learner
from mamlkit.errors import MamlkitError
from mamlkit.recipes import (
    bands,
    charges,
    family,
    finn2017,
    oscillator,
    pendulum,
    pinns,
    predators,
)
from mamlkit.recipes.jobs import SHIPPED_SEEDS

__all__ = [
    "RECIPES",
    "SHIPPED_SEEDS",
    "bands",
    "charges",
    "family",
    "finn2017",
    "oscillator",
    "pendulum",
    "pinns",
    "predators",
    "shipped",
    "shipped_notes",
]

#: What ``mamlkit reproduce`` can repeat.
RECIPES: dict[str, Callable[[Path], None]] = {
    "finn2017": finn2017.run,
    "family": family.run,
    "family-search": family.search,
    "bands": bands.run,
    "oscillator": oscillator.run,
    "oscillator-search": oscillator.search,
    "predators": predators.run,
    "predators-search": predators.search,
    "charges": charges.run,
    "charges-search": charges.search,
    "pendulum": pendulum.run,
    "pendulum-search": pendulum.search,
    "pinns": pinns.run,
    "pinns-search": pinns.search,
}
#: How to build the untrained learner of a shipped file, by the first part of its name.
BUILDERS: dict[str, Callable[[str, int], Any]] = {
    "finn2017": finn2017.build,
    "family": family.build,
    "bands": bands.build,
    "oscillator": oscillator.build,
    "predators": predators.build,
    "charges": charges.build,
    "pendulum": pendulum.build,
    "pinns": pinns.build,
}


def shipped(name: str, seed: int = 0) -> Any:
    """A learner that ships with the package, trained by the recipe in the first part of its name.

    Args:
        name: such as "finn2017-maml" or "family-fluids-cavia".
        seed: one of ``SHIPPED_SEEDS``.

    Returns the learner in float32, with the inner steps that its recipe chose on validation tasks,
    if it did; ``.double()`` moves it to float64.

    Example::

        learner = mk.recipes.shipped("finn2017-maml").double()
        curve = mk.evaluate(learner, mk.tasks.Sinusoid(), shots=10, steps=10)
    """
    learner, notes = _load(name, seed)
    for setting, value in notes.get("tuned", {}).items():
        setattr(learner, setting, value)
    return learner


def shipped_notes(name: str, seed: int = 0) -> dict[str, Any]:
    """How a shipped learner was made: recipe, settings, seed, versions, seconds, and the mean outer
    loss in 70 equal blocks of iterations.
    """
    return _load(name, seed)[1]


def _load(name: str, seed: int) -> tuple[Any, dict[str, Any]]:
    folder = Path(str(resources.files("mamlkit"))) / "weights"
    names = sorted(path.stem.removesuffix("-0") for path in folder.glob("*-0.pt"))
    if name not in names or seed not in SHIPPED_SEEDS:
        raise MamlkitError(
            f"no learner {name!r} with seed {seed!r} ships with mamlkit; choose a name from "
            f"{names} and a seed from {list(SHIPPED_SEEDS)}."
        )
    recipe, _, rest = name.partition("-")
    learner = BUILDERS[recipe](rest, seed)
    return learner, load_learner(learner, folder / f"{name}-{seed}.pt")
