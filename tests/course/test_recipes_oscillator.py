"""The shipped learners of notebook 08."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import mamlkit as mk
from mamlkit.course import recipes
from mamlkit.course.recipes import oscillator

# Share of test tasks with RMSE < 2 sigma, (low, high).
EXPECTED = {
    "short-starts": (0.93, 1.0),
    "short-one": (0.0, 0.6),
    "few-starts": (0.85, 1.0),
    "short-network": (0.0, 0.3),
    "short-pooled": (0.0, 0.1),
}


@pytest.mark.parametrize("seed", recipes.SHIPPED_SEEDS)
@pytest.mark.parametrize("name", oscillator.PROTOCOLS)
def test_they_succeed_as_often_as_the_notebook_says(name: str, seed: int) -> None:
    learner = recipes.shipped(f"oscillator-{name}", seed).double()
    case = name.split("-")[0]
    _, shots, noise = oscillator.CASES[case]
    family = oscillator.tasks(case)
    curve = mk.evaluate(learner, family, shots, n_tasks=200, seed=101, loss=mk.losses.rmse)
    share = float((curve.losses[:, -1] < 2 * noise).double().mean())
    low, high = EXPECTED[name]
    assert low <= share <= high
    notes = recipes.shipped_notes(f"oscillator-{name}", seed)
    plan = oscillator.PROTOCOLS[name]
    assert replace(plan, **notes["settings"]) == plan


def test_a_tiny_run_saves_what_loads(tmp_path: Path) -> None:
    oscillator.RECIPE.run(tmp_path, seeds=(7,), iterations=2, compile=False, progress=False)
    for name in oscillator.PROTOCOLS:
        again = oscillator.build(name, 7)
        notes = mk.load_learner(again, tmp_path / f"oscillator-{name}-7.npz")
        assert notes["settings"]["iterations"] == 2
        assert any(
            not torch.equal(a, b)
            for a, b in zip(again.parameters(), oscillator.build(name, 7).parameters(), strict=True)
        )


def test_step_sizes_are_the_winners_of_the_shipped_search() -> None:
    table = recipes.shipped_table("oscillator")
    assert set(table) == set(oscillator.CHOSEN)
    for name, rows in table.items():
        assert tuple(value for value, *_ in rows) == oscillator.STEP_SIZES
        best = max(rows, key=lambda row: (row[1], -row[2]))
        assert oscillator.CHOSEN[name] == best[0]


def test_a_tiny_search(tmp_path: Path) -> None:
    names = ["short-one", "short-adam-1"]
    trials = {name: oscillator.RECIPE.trials[name][:2] for name in names}
    recipe = replace(oscillator.RECIPE, trials=trials)
    recipe.search(tmp_path, iterations=1, compile=False, progress=False)
    table = json.loads((tmp_path / "oscillator-search.json").read_text())
    assert list(table) == names
    assert [rate for rate, *_ in table["short-one"]] == list(oscillator.STEP_SIZES[:2])
    found = [share for _, share, _ in table["short-adam-1"]]  # where nothing is trained
    shipped = [share for _, share, _ in recipes.shipped_table("oscillator")["short-adam-1"][:2]]
    assert found == pytest.approx(shipped, abs=0.02)


def test_the_tasks_beyond_the_range() -> None:
    frequency = oscillator.tasks("short", (10.0, 12.0)).sample(50, 2).physics["frequency"]
    assert frequency.min() >= 10


def test_what_is_not_there() -> None:
    with pytest.raises(mk.MamlkitError, match="no run 'short-ridge'"):
        oscillator.build("short-ridge")
    with pytest.raises(mk.MamlkitError, match="no case 'shorter'"):
        oscillator.tasks("shorter")
