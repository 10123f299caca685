"""The shipped learners of notebook 19: errors on new tasks, and that the tables are theirs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

import mamlkit as mk
from mamlkit.course import recipes
from mamlkit.course.recipes import kinds
from mamlkit.course.recipes.base import WEIGHTS
from mamlkit.course.recipes.packs import read_json
from mamlkit.tasks.mixture import LABEL


def middle(errors: torch.Tensor) -> float:
    return float(errors.log().mean().exp())


@pytest.mark.parametrize("seed", recipes.SHIPPED_SEEDS)
def test_shipped_learners_in_their_order(seed: int) -> None:
    """Averaging by evidence is at most a third of the joint learner, told the kind less still."""
    heads = recipes.shipped("kinds-specialists", seed).double()
    joint = middle(kinds.errors(recipes.shipped("kinds-joint", seed).double()))
    average = middle(kinds.errors(heads))
    told = middle(kinds.errors([heads.alone(i) for i in range(10)]))
    label = middle(kinds.errors(recipes.shipped("kinds-told", seed).double(), told=True))
    process = middle(kinds.errors(recipes.shipped("kinds-cnp", seed).double()))
    assert told < 0.5 * average < average < joint / 3
    assert label < joint
    assert process < joint


def test_the_tables_are_those_of_the_shipped_learners() -> None:
    """Half precision of the weights is all that lies between."""
    sweep = recipes.shipped_table("kinds", "sweep")["0"]
    for name, row in {"joint": "joint", "specialists": "average"}.items():
        own = kinds.errors(recipes.shipped(f"kinds-{name}", 2).double())
        torch.testing.assert_close(own, torch.tensor(sweep[row][2]).double(), rtol=0.03, atol=1e-4)
    for name, (_, _, seeds) in kinds.ROWS.items():
        assert len(sweep[name]) == seeds
    assert set(recipes.shipped_table("kinds", "sweep")) == {str(each) for each in kinds.LEVELS}
    assert set(recipes.shipped_table("kinds", "held_out")) == set(kinds.NAMES)


@pytest.mark.parametrize("name", kinds.PROTOCOLS)
def test_notes(name: str) -> None:
    for seed in recipes.SHIPPED_SEEDS:
        notes = recipes.shipped_notes(f"kinds-{name}", seed)
        assert replace(kinds.PROTOCOLS[name], **notes["settings"]) == kinds.PROTOCOLS[name]
        assert notes["outer_loss"][-1] < notes["outer_loss"][0]
    size = sum((WEIGHTS / f"kinds.{end}").stat().st_size for end in ("npz", "json"))
    assert size < 150_000


def test_training_tasks_are_as_many_as_they_say() -> None:
    bank = kinds.tasks(each=2, seed=3)
    batch = bank.sample(50, 5, 10, generator=torch.Generator().manual_seed(0))
    assert batch.support.x.shape == (50, 5, 1)
    assert batch.query.y.shape == (50, 10, 1)
    label = bank._kept.physics[LABEL]
    assert label.unique().tolist() == list(range(10))
    x, y = (leaf[label == 0, :, 0] for leaf in bank._kept.query)  # of springs, without noise
    slopes = ((y[:, 1:] - y[:, :1]) / (x[:, 1:] - x[:, :1])).median(1).values
    assert len(slopes.mul(100).round().unique()) == 2
    others = kinds.tasks(without=("lens",))._kept.physics[LABEL]
    assert others.unique().tolist() == list(range(9))
    assert kinds.tasks("told", each=1).sample(3, 5).support.x.shape == (3, 5, 11)


def test_new_tasks_are_not_those_of_validation() -> None:
    test, validation = kinds.new_tasks("test"), kinds.new_tasks("validation")
    fluids = [set(part["fluids"].physics["fluid"].tolist()) for part in (test, validation)]
    assert not fluids[0] & fluids[1]
    assert len(test["lens"].query.x) == 200
    assert not torch.equal(test["lens"].support.x[:100], validation["lens"].support.x)


def test_a_tiny_run_trains_measures_and_packs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kinds, "LEVELS", (1, kinds.ENDLESS))
    monkeypatch.setattr(kinds, "_PLAN", replace(kinds._PLAN, iterations=2, compile=False))
    monkeypatch.setattr(kinds, "BANK", 200)
    monkeypatch.setattr(kinds, "PAIRS", kinds.PAIRS[-1:])
    few = {}
    for name, batch in kinds.new_tasks().items():
        support, query = (mk.Data(*(leaf[:3] for leaf in part)) for part in batch[:2])
        few[name] = mk.TaskBatch(support, query, {})
    monkeypatch.setattr(kinds, "new_tasks", lambda part: few)
    kinds.RECIPE.run(tmp_path, seeds=(1, 0), progress=False, iterations=2, compile=False)
    sweep = read_json(tmp_path / "kinds")["sweep"]
    assert {name: len(rows) for name, rows in sweep["1"].items()} == {
        "joint": 2,
        "average": 2,
        "told the kind": 2,
        "chosen": 2,
        "slow": 2,
    }
    assert set(sweep["0"]) == {*kinds.ROWS, "told the kind", "chosen"}
    held = read_json(tmp_path / "kinds")["held_out"]
    assert list(held) == ["damped oscillator", "lens"]
    assert set(held["lens"]) == {"joint", "cnp", "average"}
    learner, notes = kinds.RECIPE.load("specialists", 1, tmp_path)
    assert notes["settings"]["iterations"] == 2
    assert next(learner.parameters()).dtype == torch.float32
