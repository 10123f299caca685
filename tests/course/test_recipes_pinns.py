"""The shipped starts of notebook 12, and its table."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import mamlkit as mk
from mamlkit.course import recipes
from mamlkit.course.recipes import pinns
from mamlkit.physics import pde
from mamlkit.physics.solve import refine

IN_RANGE = [nu for nu in pinns.TABLE_NU if 0.005 <= nu <= 0.05]


def of(start: str, method: str) -> list[dict]:
    rows = recipes.shipped_table("pinns", "refined")["rows"]
    return [r for r in rows if (r["start"], r["method"]) == (start, method)]


@pytest.mark.parametrize("name", ["pooled", "told", "reptile"])
def test_the_shipped_starts_are_better_than_random(name: str) -> None:
    _, query = pinns.problem(torch.tensor([0.02], dtype=torch.float64))
    data = type(query)(*(leaf[0] for leaf in query))
    for seed in recipes.SHIPPED_SEEDS:
        model = recipes.shipped(f"pinns-{name}", seed).double().model
        alone = pde.relative_l2(pinns.network(seed=seed).double(), data)
        assert pde.relative_l2(model, data) < 0.6 * alone


def test_fomaml_learned_what_it_was_asked_though_its_start_is_far() -> None:
    for seed in recipes.SHIPPED_SEEDS:
        learner = recipes.shipped("pinns-fomaml", seed).double()
        curve = mk.evaluate(learner, mk.tasks.Burgers(), 64, n_tasks=30, loss=pinns.LOSS)
        assert curve.mean[-1] < 0.5 * curve.mean[0]


@pytest.mark.parametrize("name", pinns.PROTOCOLS)
def test_notes_and_settings(name: str) -> None:
    for seed in recipes.SHIPPED_SEEDS:
        notes = recipes.shipped_notes(f"pinns-{name}", seed)
        assert (notes["recipe"], notes["variant"], notes["seed"]) == ("pinns", name, seed)
        plan = pinns.PROTOCOLS[name]
        assert replace(plan, **notes["settings"]) == plan
        assert plan.outer_lr == pinns.CHOSEN[name][0]
        assert notes["train_seconds"] > 0


@pytest.mark.parametrize("start", pinns.STARTS)
def test_the_bar_below_a_hundredth_everywhere_in_range(start: str) -> None:
    rows = [r for r in of(start, "lbfgs") if r["nu"] in IN_RANGE]
    assert len(rows) == 4 * 5
    assert all(r["errors"][-1] < 1e-2 for r in rows)
    assert all(r["steps"] is not None for r in rows)


def test_the_table_is_whole() -> None:
    table = recipes.shipped_table("pinns", "refined")
    assert len(table["rows"]) == 5 * 5 * 6 * 2
    assert table["settings"]["nu"] == list(pinns.TABLE_NU)
    for row in table["rows"]:
        assert len(row["errors"]) == pinns.TABLE_STEPS[row["method"]] // pinns.EVERY + 1
        assert row["seconds"] > 0


def test_the_table_starts_where_the_shipped_weights_start() -> None:
    nu = 0.02
    support, query = pinns.problem(torch.tensor([nu], dtype=torch.float64), seed=2)
    for name in pinns.PROTOCOLS:
        model = recipes.shipped(f"pinns-{name}", 2).double().model
        found = refine(model, support, query, pinns.LOSS, 5)
        (row,) = (r for r in of(name, "lbfgs") if (r["nu"], r["seed"]) == (nu, 2))
        assert row["errors"][:2] == pytest.approx(found.errors[0, [0, 5]].tolist(), rel=0.02)


def best_is_not_at_the_edge(rows: list[list[float]]) -> bool:
    rates = [rate for _, rate in sorted((error, rate) for rate, _, error in rows)]
    return min(pinns.OUTER_LRS) < rates[0] < max(pinns.OUTER_LRS)


def test_what_is_chosen_won_the_search() -> None:
    table = recipes.shipped_table("pinns")
    assert list(table) == list(pinns.PROTOCOLS)
    for name, rows in table.items():
        tried = len(pinns.OUTER_LRS) * (1 if pinns.CHOSEN[name][1] is None else 3)
        assert len(rows) == tried
        assert best_is_not_at_the_edge(rows)
        best = min((error, rate, inner) for rate, inner, error in rows if error is not None)
        assert best[1:] == pinns.CHOSEN[name]
    table = recipes.shipped_table("pinns", "adam")
    assert list(table) == list(pinns.STARTS)
    for name, rows in table.items():
        assert min((error, lr) for lr, error in rows)[1] == pinns.ADAM_LR[name]


def test_a_tiny_run_and_a_tiny_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pinns, "TABLE_NU", (0.02, 0.05))
    monkeypatch.setattr(pinns, "VALIDATION_NU", (0.03,))
    monkeypatch.setattr(pinns, "TABLE_STEPS", {"lbfgs": 2, "adam": 2})
    monkeypatch.setattr(pinns, "JUDGED_AFTER", 2)
    monkeypatch.setattr(pinns, "ADAM_LRS", (1e-2,))
    trials = [{"outer_lr": 1e-2, "inner_lr": None}]
    recipe = replace(pinns.RECIPE, trials={"told": trials})
    recipe.search(tmp_path, iterations=2, compile=False, progress=False)
    recipe.run(tmp_path, names=("told",), seeds=(7,), iterations=2, progress=False)
    mk.load_learner(pinns.build("told", 7), tmp_path / "pinns-told-7.npz")
    pack = json.loads((tmp_path / "pinns.json").read_text())
    rows = pack["refined"]["rows"]
    assert len(rows) == 2 * 2 * 2
    assert rows[0]["steps"] is None
    assert all(math.isfinite(row[-1]) for row in pack["search"]["told"])
    assert list(pack["adam"]) == ["random", "told"]


def test_a_search_notes_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pinns, "TABLE_STEPS", {"lbfgs": 1, "adam": 1})
    monkeypatch.setattr(pinns, "VALIDATION_NU", (0.03,))
    recipe = replace(pinns.RECIPE, trials={"pooled": [{"outer_lr": 1e30, "inner_lr": None}]})
    recipe.search(tmp_path, iterations=2, compile=False, progress=False)
    table = json.loads((tmp_path / "pinns-search.json").read_text())
    assert table["pooled"] == [[1e30, None, None]]
    adam = json.loads((tmp_path / "pinns-adam.json").read_text())
    assert list(adam) == ["random"]  # nothing was trained to go on from


def test_a_run_that_is_not_there() -> None:
    with pytest.raises(mk.MamlkitError, match="no run 'x' in pinns"):
        pinns.build("x")
