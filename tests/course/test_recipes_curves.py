"""The shipped learners of learning curves, and their tables."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mamlkit.course import recipes
from mamlkit.course.recipes import curves
from mamlkit.tasks import LearningCurves
from mamlkit.yardsticks import Shifted


@pytest.mark.parametrize("seed", recipes.SHIPPED_SEEDS)
@pytest.mark.parametrize("name", ["head", "maml", "cavia"])
def test_errors_are_those_of_the_table(name: str, seed: int) -> None:
    learner = recipes.shipped(f"curves-{name}", seed).double()
    found = curves.errors(learner, LearningCurves(seed=seed).split("test"), (0, 8)).mean(0).sqrt()
    row = {r[0]: r for r in recipes.shipped_table("curves", "rivals")[name]}[seed]
    np.testing.assert_allclose(found, [row[1], row[4]], atol=2e-3)
    assert found[1] < 0.8 * found[0]


def test_the_head_beats_the_process_at_eight() -> None:
    table = recipes.shipped_table("curves", "rivals")
    for head, process in zip(table["head"], table["Gaussian process"], strict=True):
        assert head[4] < 0.95 * process[4]
        gap, half = process[-2:]
        assert gap + half < 0


def test_features_of_a_curve() -> None:
    x = np.arange(13.0)[None] * np.array([[1.0], [-1.0]])
    told = curves.summary(x)
    assert told[0].tolist() == [7, 0, 2, 2, 0, 8, 9, 10, 11, 12]
    assert told[1, :2].tolist() == [-7, -7]


def test_halving_by_the_end_has_no_regret() -> None:
    """A learner that is told where each run ends, by the curve itself."""
    family = LearningCurves(300).split("test")
    told = Shifted(curves.last_value(np.zeros(0)), 1.0)
    foretold, final = curves.foretold(told, family)
    assert torch.equal(foretold, final)
    found = curves.stopped({240: curves.LAST}, {240: 1}, seed=0)
    assert found.compute == pytest.approx((16 * 240 + 60) / 4800)
    assert 0 < found.regret.mean() < 0.05


def test_one_by_one_learns_from_what_it_finished() -> None:
    head = recipes.shipped("curves-head").double()
    found = curves.one_by_one(head, 3, seed=0, part="validation")
    assert (found.finished.sum(1) == 3).all()
    assert found.compute == pytest.approx((480 + 810) / 4800)
    end = (
        LearningCurves()
        .split("validation")
        .every(0, 16, generator=torch.Generator().manual_seed(3))
        .query.y
    )
    best = np.where(found.finished, end[..., 0], np.inf).min(1) - end[..., 0].min(1).values.numpy()
    np.testing.assert_allclose(found.regret, best, atol=1e-6)
