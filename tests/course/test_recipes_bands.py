"""The shipped heads and ensembles of notebook 07."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

import mamlkit as mk
from mamlkit.course import recipes
from mamlkit.course.recipes import bands
from tests.helpers import seeded

# On new tasks, of any seed: RMSE and coverage of the 90 % band, (low, high) each.
BANDS_EXPECTED = {
    "fluids-head": ((0.007, 0.018), (0.90, 0.99)),
    "kinds-head": ((0.010, 0.021), (0.80, 0.96)),
    "fluids-ensemble": ((0.0035, 0.0065), (0.38, 0.65)),
    "kinds-ensemble": ((0.008, 0.013), (0.38, 0.55)),
    "waves-head": ((0.38, 0.55), (0.92, 0.99)),
}


@pytest.mark.parametrize("seed", recipes.SHIPPED_SEEDS)
@pytest.mark.parametrize("name", bands.PROTOCOLS)
def test_the_bands_hold_what_the_notebook_says(name: str, seed: int) -> None:
    learner = recipes.shipped(f"bands-{name}", seed).double()
    tasks, shots = bands.tasks(name, "test"), bands.PROTOCOLS[name].shots
    n_tasks = 300 if name == "waves-head" else None
    row = mk.calibration({"it": learner}, tasks, shots, n_tasks=n_tasks, seed=seed).loc["it"]
    (low, high), (rare, often) = BANDS_EXPECTED[name]
    assert low < row["rmse"] < high
    assert rare < row["coverage_90"] < often


@pytest.mark.parametrize("seed", recipes.SHIPPED_SEEDS)
@pytest.mark.parametrize("name", bands.PROTOCOLS)
def test_notes_of_the_bands(name: str, seed: int) -> None:
    notes = recipes.shipped_notes(f"bands-{name}", seed)
    assert (notes["recipe"], notes["variant"], notes["seed"]) == ("bands", name, seed)
    assert replace(bands.PROTOCOLS[name], **notes["settings"]) == bands.PROTOCOLS[name]
    assert notes["protocol"]["dtype"] == "torch.float64"  # trained so; saved in float32
    assert notes["outer_loss"][-1] < notes["outer_loss"][0]


def test_no_two_ensembles_share_a_start() -> None:
    starts = []
    for seed in recipes.SHIPPED_SEEDS:
        ensemble = bands.build("fluids-ensemble", seed)
        weights = dict(ensemble.named_parameters())["member.learner.model.layers.1.weight"]
        starts += [tuple(member.flatten().tolist()) for member in weights]
    assert len(set(starts)) == bands.MEMBERS * len(recipes.SHIPPED_SEEDS)


def test_the_tasks_of_the_bands() -> None:
    place = bands.tasks("kinds-ensemble", "test").sample(5, 1).support.x
    assert torch.allclose(place, torch.tensor(0.7))
    anywhere = bands.tasks("kinds-head", "test").sample(31, 1).support.x
    assert anywhere.std() > 0.05
    sizes = {n: bands.tasks(f"{n}-head", "test").n_members for n in ("fluids", "kinds")}
    assert sizes == {"fluids": 32, "kinds": 31}
    waves = bands.Waves()
    batch = waves.sample(2000, 1, 3, generator=seeded(), dtype=torch.float64)
    a, b = batch.physics["a"], batch.physics["b"]
    assert abs(a.std() - 2) < 0.1
    x = batch.query.x[..., 0]
    torch.testing.assert_close(batch.query.y[..., 0], a[:, None] * x.sin() + b[:, None] * x.cos())


def test_a_tiny_run_of_the_bands_saves_what_loads(tmp_path: Path) -> None:
    bands.RECIPE.run(tmp_path, seeds=(7,), iterations=2, progress=False)
    for name in bands.PROTOCOLS:
        again = bands.build(name, 7)
        notes = mk.load_learner(again, tmp_path / f"bands-{name}-7.npz")
        assert len(notes["outer_loss"]) == notes["settings"]["iterations"] == 2
        straight = bands.build(name, 7).double()
        plan = replace(bands.PROTOCOLS[name], iterations=2, seed=7)
        mk.meta_train(straight, bands.tasks(name), plan=plan, progress=False)
        for ours, theirs in zip(again.parameters(), straight.parameters(), strict=True):
            assert ours.dtype == torch.float32
            assert torch.equal(ours, theirs.float())


def test_a_band_that_is_not_there() -> None:
    for ask in (bands.build, bands.tasks):
        with pytest.raises(mk.MamlkitError, match="there is no run 'waves-ensemble' in bands"):
            ask("waves-ensemble")
