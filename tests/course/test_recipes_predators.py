"""The shipped learners of notebook 09."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch

import mamlkit as mk
from mamlkit.course import recipes
from mamlkit.course.recipes import predators
from mamlkit.learners.maml import MAML
from tests.helpers import assert_same_state, seeded

# Mean squared error of forecasts on the adaptation environments, from one trajectory: (low, high).
EXPECTED = {
    "pooled": (1e-2, 1e-1),
    "maml": (2e-4, 1e-3),
    "anil": (1e-3, 5e-3),
    "cavia": (1e-4, 8e-4),
    "coda": (1e-5, 1e-4),
}


@torch.no_grad()
def error(learner: MAML) -> float:
    batch = predators.tasks("test").sample(40, 1, 2, generator=seeded(3), dtype=torch.float32)

    def one(support: object, query: object) -> torch.Tensor:  # judged after the last step alone
        path, _ = learner.inner_path(support, learner.inner_steps)
        return predators.FORECAST(learner.predictor(path[-1]), query)

    return float(torch.func.vmap(one)(batch.support, batch.query).mean())


@pytest.mark.parametrize("name", predators.PROTOCOLS)
def test_the_learners_forecast_as_the_notebook_says(name: str) -> None:
    low, high = EXPECTED[name]
    for seed in recipes.SHIPPED_SEEDS:
        assert low < error(recipes.shipped(f"predators-{name}", seed)) < high


@pytest.mark.parametrize("name", predators.PROTOCOLS)
def test_notes(name: str) -> None:
    for seed in recipes.SHIPPED_SEEDS:
        notes = recipes.shipped_notes(f"predators-{name}", seed)
        assert (notes["recipe"], notes["variant"], notes["seed"]) == ("predators", name, seed)
        plan = predators.PROTOCOLS[name]
        assert replace(plan, **notes["settings"]) == plan
        assert notes["outer_loss"][-1] < 0.7 * notes["outer_loss"][0]
        assert set(notes["tuned"]) == {"inner_lr", "inner_steps"}


def test_adaptation_never_sees_a_derivative() -> None:
    coda = predators.build("coda", 0).double()
    batch = predators.tasks("test").sample(2, 1, 1, generator=seeded(), dtype=torch.float64)
    blind = batch._replace(support=batch.support._replace(dy=torch.zeros_like(batch.support.dy)))
    assert torch.equal(coda.episodes(batch).query, coda.episodes(blind).query)


def test_the_winners_are_those_of_the_search() -> None:
    table = recipes.shipped_table("predators")
    assert set(table) == set(predators.PROTOCOLS) - {"pooled"}
    for name, rows in table.items():
        assert tuple(value for value, _ in rows) == predators.STEP_SIZES
        best = min((error, value) for value, error in rows if error is not None)[1]
        assert best == predators.CHOSEN[name]


def test_a_tiny_run_saves_what_loads(tmp_path: Path) -> None:
    recipe = replace(predators.RECIPE, tuned=partial(predators.tune, max_steps=3))
    recipe.run(tmp_path, names=("pooled",), seeds=(7,), iterations=2, progress=False)
    again = predators.build("pooled", 7)
    notes = mk.load_learner(again, tmp_path / "predators-pooled-7.npz")
    assert len(notes["outer_loss"]) == notes["settings"]["iterations"] == 2
    assert again.loss is predators.ONE_STEP
    straight = predators.build("pooled", 7, loss=mk.losses.derivatives)  # what training descends
    plan = replace(predators.PROTOCOLS["pooled"], iterations=2, seed=7)
    mk.meta_train(straight, predators.tasks(), plan=plan, progress=False)
    assert_same_state(again, straight)


def test_a_run_that_is_not_there() -> None:
    with pytest.raises(mk.MamlkitError, match="there is no run 'owl' in predators"):
        predators.build("owl")
