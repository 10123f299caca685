"""Long training runs: each is a declaration, and ``mamlkit reproduce NAME --out DIR`` runs it. The
weights that they made ship with the package; :func:`shipped` loads them.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from mamlkit.checks import one_of
from mamlkit.course.recipes import (
    bands,
    charges,
    curves,
    family,
    finn2017,
    kinds,
    laws,
    magnets,
    oscillator,
    packs,
    pendulum,
    pinns,
    predators,
    small,
    streams,
)
from mamlkit.course.recipes.asking import side_by_side
from mamlkit.course.recipes.base import SHIPPED_SEEDS, WEIGHTS, Recipe
from mamlkit.errors import MamlkitError
from mamlkit.tasks import learning_curves, solver_choice

__all__ = [
    "COMMANDS",
    "RECIPES",
    "SHIPPED_SEEDS",
    "shipped",
    "shipped_notes",
    "shipped_table",
    "side_by_side",
]

#: The recipes by name.
RECIPES: dict[str, Recipe] = {
    module.RECIPE.name: module.RECIPE
    for module in (
        finn2017,
        family,
        bands,
        oscillator,
        predators,
        charges,
        pendulum,
        pinns,
        laws,
        magnets,
        curves,
        kinds,
        streams,
        small,
    )
}
#: What ``mamlkit reproduce`` can repeat: a line about it, and the function of an output folder.
COMMANDS: dict[str, tuple[str, Callable[[Path], None]]] = {
    **{name: (recipe.about, recipe.run) for name, recipe in RECIPES.items()},
    **{
        f"{name}-search": (recipe.about_search, recipe.search)
        for name, recipe in RECIPES.items()
        if recipe.trials
    },
    "learning-curves": (
        "Train 5760 small networks side by side, and keep their curves; about a minute.",
        learning_curves.make_table,
    ),
    "solvers": (
        "Measure the work of five solvers on seven equations; some twenty minutes on one core.",
        solver_choice.make_table,
    ),
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
    return _load(name, seed)[0]


def shipped_notes(name: str, seed: int = 0) -> dict[str, Any]:
    """How a shipped learner was made: recipe, settings, seed, versions, seconds, and the mean outer
    loss in 70 equal blocks of iterations.
    """
    return _load(name, seed)[1]


def shipped_table(recipe: str, table: str = "search") -> Any:
    """A table that ships beside the learners of a recipe, such as ``shipped_table("family")``.

    "search" holds for each learner that was searched rows of the settings that were tried, and then
    the scores on validation tasks, None where training failed; "refined" of "pinns" is described at
    :func:`mamlkit.course.recipes.pinns.solve`.
    """
    tables = packs.read_json(WEIGHTS / one_of("recipe", recipe, RECIPES))
    return tables[one_of("table", table, tables)]


def _load(name: str, seed: int) -> tuple[Any, dict[str, Any]]:
    names = sorted(
        f"{recipe.name}-{run}" for recipe in RECIPES.values() for run in recipe.protocols
    )
    if name not in names or seed not in SHIPPED_SEEDS:
        raise MamlkitError(
            f"no learner {name!r} with seed {seed!r} ships with mamlkit; choose a name from "
            f"{names} and a seed from {list(SHIPPED_SEEDS)}."
        )
    recipe, _, run = name.partition("-")
    return RECIPES[recipe].load(run, seed)
