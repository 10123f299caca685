"""The shipped learners of notebook 14."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

import mamlkit as mk
from mamlkit.course import recipes
from mamlkit.course.recipes import magnets
from mamlkit.tasks import ising

# Least share of right answers on test tasks with one shot and with five, of any seed.
LEAST = {
    "cnn": (0.9, 0.95),
    "scales-ridge": (0.9, 0.94),
    "scales-logistic": (0.9, 0.94),
    "scales-hinge": (0.9, 0.94),
    "maml-logistic": (0.7, 0.8),
    "maml-hinge": (0.7, 0.8),
    "metasgd-logistic": (0.87, 0.92),
    "metasgd-hinge": (0.85, 0.92),
    "gauge-logistic": (0.93, 0.94),
    "gauge-hinge": (0.93, 0.94),
    "phase": (0.94, 0.945),
}


@pytest.mark.parametrize("name", magnets.PROTOCOLS)
def test_shares_are_what_the_notebook_says(name: str) -> None:
    seeds = recipes.SHIPPED_SEEDS if name in ("cnn", "gauge-hinge", "phase") else (3,)
    settings = {"n_tasks": 80, "queries": 20, "seed": 1, "loss": mk.losses.accuracy}
    settings["chunk_size"] = 20
    for seed in seeds:
        learner = recipes.shipped(f"magnets-{name}", seed)
        for shots, least in zip((1, 5), LEAST[name], strict=True):
            curve = mk.evaluate(learner, magnets.tasks(name, "test"), shots, **settings)
            assert float(curve.mean[-1]) > least


@pytest.mark.parametrize("head", magnets.HEADS)
def test_the_largest_scales_are_the_true_bonds(head: str) -> None:
    bonds = {tuple(d) for d in (torch.tensor(ising.BONDS) % 16).tolist()}
    bonds |= {tuple(d) for d in (-torch.tensor(ising.BONDS) % 16).tolist()}
    for seed in recipes.SHIPPED_SEEDS:
        model = recipes.shipped(f"magnets-scales-{head}", seed).model
        largest = model[1].factors.detach().abs().topk(4).indices
        assert {tuple(r) for r in ising.distances(16)[largest].tolist()} <= bonds


def test_one_step_is_hebbs_rule_and_stores_order_alone() -> None:
    learner = recipes.shipped("magnets-gauge-hinge", 2).double()
    batch = magnets.tasks("gauge-hinge", "test").sample(
        1, 2, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )
    x, y = batch.support.x[0], batch.support.y[0]
    ordered = x[y == 1].flatten(1)
    alpha = learner.alpha()["context"]
    hebb = alpha / (len(x) * 256) * ordered.T @ ordered
    found = learner.inner_path(mk.Data(x, y), 1)[0][-1]["context"]
    torch.testing.assert_close(found, hebb)


def test_notes() -> None:
    for name in magnets.PROTOCOLS:
        notes = recipes.shipped_notes(f"magnets-{name}", 4)
        assert (notes["recipe"], notes["variant"], notes["seed"]) == ("magnets", name, 4)
        plan = magnets.PROTOCOLS[name]
        assert replace(plan, **notes["settings"]) == plan
        losses = notes["outer_loss"]  # of few tasks each, so they scatter
        third = len(losses) // 3
        assert sum(losses[-third:]) < sum(losses[:third])


def test_what_is_chosen_won_the_search() -> None:
    table = recipes.shipped_table("magnets")
    assert set(table) == set(magnets.PROTOCOLS) - {"phase"}
    for name, rows in table.items():
        assert [row[0] for row in rows] == list(magnets.OUTER_LRS)
        errors = {rate: error for rate, error in rows if error is not None}
        # Of the 12000 answers that a trial gives, 0.001 are twelve.
        assert errors[magnets.CHOSEN[name][0]] <= min(errors.values()) + 0.001


def test_a_tiny_run_saves_what_loads(tmp_path: Path) -> None:
    magnets.RECIPE.run(tmp_path, names=("scales-hinge",), seeds=(7,), iterations=2, progress=False)
    again = magnets.build("scales-hinge", 7)
    notes = mk.load_learner(again, tmp_path / "magnets-scales-hinge-7.npz")
    assert len(notes["outer_loss"]) == 2


def test_a_learner_that_is_not_there() -> None:
    with pytest.raises(mk.MamlkitError, match="there is no run 'svm' in magnets"):
        magnets.build("svm")
