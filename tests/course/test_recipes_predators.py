"""The shipped learners of notebook 09."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

import mamlkit as mk
from mamlkit.course import recipes
from mamlkit.course.recipes import predators
from mamlkit.learners.maml import MAML
from mamlkit.losses import trajectories
from mamlkit.yardsticks import LinearRatesFit
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


def test_relatives_differ_in_two_directions_of_six() -> None:
    mean, scatter = predators.relatives(1e-4)
    assert mean == pytest.approx([0.5, 0, -0.75, -0.5, 0.75, 0], abs=1e-4)
    widths = np.sqrt(np.linalg.eigvalsh(scatter))
    assert widths[:4] == pytest.approx([1e-4] * 4, rel=0.1)
    assert widths[4:].min() > 0.1


def test_records_are_cut_as_named_and_the_same_noise_is_drawn() -> None:
    whole = predators.recorded("test", "20 readings to 9.5", 0.05, 4).support
    thin = predators.recorded("test", "5 readings to 8", 0.05, 4).support
    assert thin.t[0].tolist() == [0, 2, 4, 6, 8]
    assert torch.equal(thin.y, whole.y[:, :, ::4])


def test_the_six_numbers_of_the_law_miss_by_the_integrator_alone() -> None:
    seeded = torch.Generator().manual_seed(0)
    batch = predators.tasks("test").sample(4, 1, 2, generator=seeded, dtype=torch.float64)
    both = zip(batch.physics["beta"].tolist(), batch.physics["delta"].tolist(), strict=True)
    numbers = [[0.5, 0, -beta, -0.5, delta, 0] for beta, delta in both]
    coarse, fine = (predators.missed(numbers, batch, trajectories(None, k)) for k in (2, 60))
    assert coarse.shape == (4,)
    assert bool((fine < 1e-18).all() and (coarse > 1e3 * fine).all())


def test_a_row_of_the_table_of_records_comes_out_again() -> None:
    table = recipes.shipped_table("predators", "records")
    assert [(r["record"], r["noise"]) for r in table] == [
        (record, noise) for record in predators.RECORDS for noise in predators.NOISES
    ]
    (kept,) = (r for r in table if (r["record"], r["noise"]) == ("5 readings to 2", 0.05))
    batch = predators.recorded("test", "5 readings to 2", 0.05, 40)
    told = LinearRatesFit(predators.relatives(kept["spread"]), 0.05)
    for name, fit in (("six numbers", LinearRatesFit()), ("six numbers, relatives", told)):
        assert float(predators.fitted(fit, batch).median()) == pytest.approx(
            kept[name][0], rel=0.02
        )
    learner = recipes.shipped("predators-coda", 0).double()
    learner.inner_lr = kept["factor"] * predators.CHOSEN["coda"]
    learner.loss = trajectories(kept["ahead"], predators.RECORDS["5 readings to 2"][1])
    coda = predators.stepped(learner, batch, [kept["steps"]])[0].median()
    assert float(coda) == pytest.approx(kept["coda"][0], rel=0.02)
    assert 10 * kept["coda"][0] < kept["six numbers"][0]


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
