"""Coverage and its correction, against learners whose truth is known."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.gaussian_process import GaussianProcessRegressor
from torch import Tensor

import mamlkit as mk
from mamlkit.evaluation.calibration import (
    Recalibrated,
    beliefs,
    calibration,
    recalibrate,
)
from mamlkit.learners import BayesianHead, Belief, Ensemble, Gaussian
from tests.helpers import F64

FAMILY = mk.tasks.LinearLaw()  # slope ~ N(2, 0.5^2), intercept ~ N(0.5, 0.2^2), noise 0.3
EXACT = mk.yardsticks.Bayes([2.0, 0.5], [[0.25, 0.0], [0.0, 0.04]], 0.3)


class Wrong:
    """The exact posterior with its standard deviation off by a factor."""

    def __init__(self, factor: float) -> None:
        self.factor = factor

    def adapt(self, x: Tensor, y: Tensor) -> Belief:
        exact = EXACT.adapt(x, y)

        def distribution(x_new: Tensor) -> Gaussian:
            mean, variance = exact.distribution(x_new)
            return Gaussian(mean, self.factor**2 * variance)

        return Belief(distribution)


def test_the_exact_posterior_covers_as_often_as_it_says() -> None:
    learners = {"exact": EXACT, "too sure": Wrong(0.5), "too shy": Wrong(2.0)}
    table = calibration(learners, FAMILY, 3, (0.5, 0.9), n_tasks=1000, queries=4)
    for level in (50, 90):
        row = table.loc["exact"]
        assert abs(row[f"coverage_{level}"] - level / 100) < 2 * row[f"ci95_{level}"]
        assert 0 < row[f"ci95_{level}"] < 0.03
    # Half the width at nominal 90 % is 0.822 standard deviations: P(|z| < 0.822) = 0.589.
    assert table.loc["too sure", "coverage_90"] == pytest.approx(0.589, abs=0.035)
    assert table.loc["too shy", "coverage_50"] == pytest.approx(0.823, abs=0.035)
    assert table["nll"].idxmin() == "exact"
    np.testing.assert_allclose(table["rmse"], table["rmse"].iloc[0], rtol=1e-12)
    width = table["width_90"]
    np.testing.assert_allclose(width["too shy"], 2 * width["exact"])


class Told:
    """Mean 0 and standard deviation 2 everywhere."""

    def adapt(self, x: Tensor, y: Tensor) -> Belief:
        return Belief(lambda x: Gaussian(0 * x, 0 * x + 4.0))


class Steps(mk.Family):
    """The law is the number of the task, 1, 2, ..; every other point is ten times that."""

    def draw(self, n_tasks, generator):
        return {"k": torch.arange(1.0, n_tasks + 1)}

    def law(self, x, physics):
        tenfold = torch.arange(x.shape[1]) % 2 == 0
        return physics["k"] * torch.where(tenfold, 10.0, 1.0)[:, None].double() + 0 * x


def test_figures_are_means_over_tasks_worked_by_hand() -> None:
    """Two tasks, one support and four query points: y = (1, 10, 1, 10) and (2, 20, 2, 20)."""
    table = calibration({"told": Told()}, Steps(), 1, (0.5, 0.9), n_tasks=2, queries=4)
    row = table.loc["told"]
    # 50 %: |y| <= 0.6745 * 2 = 1.349, so half of task 1, none of task 2. 90 %: 3.29, half of both.
    assert row["coverage_50"] == 0.25
    assert row["coverage_90"] == 0.5
    spread = math.sqrt(2) / 4  # sample standard deviation of (0.5, 0)
    assert row["ci95_50"] == pytest.approx(1.96 * spread / math.sqrt(2))
    assert row["ci95_90"] == 0.0
    assert row["width_90"] == pytest.approx(2 * 1.6448536 * 2)
    rmse = [math.sqrt(50.5), 2 * math.sqrt(50.5)]
    assert row["rmse"] == pytest.approx(np.mean(rmse))
    assert row["rmse_ci95"] == pytest.approx(1.96 * np.std(rmse, ddof=1) / math.sqrt(2))
    assert row["nll"] == pytest.approx(math.log(8 * math.pi) / 2 + (50.5 + 202) / 2 / 8)


def test_recalibration_finds_the_factor_that_was_wrong() -> None:
    exact, wrong = (recalibrate(each, FAMILY, 3, n_tasks=500) for each in (EXACT, Wrong(0.25)))
    assert exact.scale == pytest.approx(1.0, abs=0.12)
    assert wrong.scale == pytest.approx(16 * exact.scale, rel=1e-9)
    table = calibration({"exact": exact, "wrong": wrong}, FAMILY, 3, n_tasks=200)
    np.testing.assert_allclose(table.loc["wrong"], table.loc["exact"], rtol=1e-9)
    # No other factor has a higher likelihood on the same tasks.
    best = [
        calibration({"": Recalibrated(EXACT, s * exact.scale)}, FAMILY, 3, n_tasks=500, seed=2)
        for s in (0.97, 1.0, 1.03)
    ]
    assert int(np.argmin([table["nll"].item() for table in best])) == 1


def test_the_floor_is_added_before_the_factor() -> None:
    found = Recalibrated(EXACT, 3.0, floor=0.5)
    x, y, x_new = (torch.randn(n, 1, dtype=F64) for n in (2, 2, 4))
    given, new = EXACT.adapt(x, y).distribution(x_new), found.adapt(x, y).distribution(x_new)
    torch.testing.assert_close(new.variance, 3 * (given.variance + 0.25), rtol=1e-12, atol=0)
    torch.testing.assert_close(found.adapt(x, y)(x_new), given.mean, rtol=0, atol=0)
    fitted = recalibrate(EXACT, FAMILY, 3, floor=0.5, n_tasks=50)
    assert fitted.floor == 0.5
    assert 0 < fitted.scale < 1


def test_the_factor_by_hand() -> None:
    """Mean 0 and variance 4 told of y = (1, 10, 1, 10) and (2, 20, 2, 20)."""
    square = (50.5 + 202) / 2
    assert recalibrate(Told(), Steps(), 1, n_tasks=2, queries=4).scale == pytest.approx(square / 4)
    wide = recalibrate(Told(), Steps(), 1, n_tasks=2, queries=4, floor=3.0)
    assert wide.scale == pytest.approx(square / (4 + 9))
    # Variances 1 and 4 of errors 1 and 4: the mean of 1 and 4, not 17 / 5.
    assert recalibrate(Rising(), Rows(), 1, n_tasks=1, queries=2).scale == pytest.approx(2.5)


class Rows(mk.Family):
    """The readings are 1, then 4, wherever they are taken; support first."""

    def draw(self, n_tasks, generator):
        return {"k": torch.ones(n_tasks)}

    def law(self, x, physics):
        return torch.tensor([1.0, 1.0, 4.0], dtype=F64)[:, None] + 0 * x


class Rising:
    """Mean 0 everywhere; variances 1, then 4."""

    def adapt(self, x: Tensor, y: Tensor) -> Belief:
        return Belief(lambda x: Gaussian(0 * x, 0 * x + torch.tensor([[1.0], [4.0]])))


def test_the_tasks_that_choose_the_factor_are_not_those_that_judge_it() -> None:
    chosen, as_judged = (recalibrate(EXACT, FAMILY, 3, n_tasks=9, **s) for s in ({}, {"seed": 1}))
    assert chosen.scale != as_judged.scale


def test_a_recalibrated_oracle_is_told_all_the_same() -> None:
    class Oracle:
        told = ("slope", "intercept")

        def adapt(self, x: Tensor, y: Tensor, *, physics: dict[str, Tensor]) -> Belief:
            slope, intercept = physics["slope"], physics["intercept"]
            return Belief(lambda x: Gaussian(slope * x + intercept, 0 * x + 1))

    fixed = Recalibrated(Oracle(), 4.0)
    row = calibration({"fixed": fixed}, FAMILY, 3, (0.9,), n_tasks=5).loc["fixed"]
    assert row["rmse"] < 1e-12
    assert row["width_90"] == pytest.approx(2 * 1.6448536 * 2)
    assert float(mk.evaluate(fixed, FAMILY, 3, n_tasks=5).mean) < 1e-12


class Alone:
    """A meta-learner stripped of all but ``adapt``."""

    def __init__(self, learner: Any) -> None:
        self.model, self.adapt = learner.model, learner.adapt


@pytest.mark.parametrize("name", ["head", "ensemble", "steps"])
def test_all_tasks_at_once_and_one_by_one_agree(name: str) -> None:
    def head(seed: int) -> BayesianHead:
        return BayesianHead(mk.models.MLP(1, 3, (5,), seed=seed).double(), 3)

    def steps(seed: int) -> mk.MAML:
        return mk.MAML(mk.models.MLP(1, 1, (5,), seed=seed).double(), 0.1, 3)

    learner: Any = head(0) if name == "head" else Ensemble(head if name == "ensemble" else steps, 2)
    batch = FAMILY.sample(4, 3, 6, generator=torch.Generator().manual_seed(0), dtype=F64)
    if name != "head":
        learner.model = learner.member.learner.model
    one_by_one = beliefs(Alone(learner), batch)
    for ours, theirs in zip(beliefs(learner, batch), one_by_one, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)
        assert ours.shape == (4, 6, 1)


def test_learners_of_single_precision_work_on_finite_families() -> None:
    fluids = mk.tasks.VapourPressure()
    learner = Ensemble(lambda seed: mk.MAML(mk.models.MLP(1, 1, (4,), seed=seed)), 2)
    fixed = recalibrate(learner, fluids.split("validation"), 2)
    table = calibration({"raw": learner, "fixed": fixed}, fluids.split("test"), 2, (0.9,))
    assert list(table.columns) == [
        *("coverage_90", "ci95_90", "width_90", "nll", "nll_ci95", "rmse", "rmse_ci95")
    ]
    assert fixed.scale > 1
    assert table["rmse"]["fixed"] == table["rmse"]["raw"]
    errors = mk.compare({"raw": learner, "fixed": fixed}, fluids.split("test"), 2)["mean"]
    assert errors["fixed"] == pytest.approx(errors["raw"], rel=1e-5)


def test_a_recalibrated_head_measures_next_where_the_head_would() -> None:
    head = BayesianHead(mk.models.MLP(1, 4, seed=1), 4)
    fixed, x = Recalibrated(head, 2.5), torch.linspace(-5, 5, 40)[:, None]
    batch = FAMILY.sample(10, 2, generator=torch.Generator().manual_seed(0))
    places = [
        [mk.where_next(learner.adapt(*pair), x) for pair in zip(*batch.support, strict=True)]
        for learner in (head, fixed)
    ]
    assert places[0] == places[1]
    predicts: list[Any] = [head.adapt(*pair) for pair in zip(*batch.support, strict=True)]
    widest = [int(predict.distribution(x).variance.argmax()) for predict in predicts]
    assert widest != places[0]  # which a gain left out would give


def test_exact_bayes_without_noise_is_sure_and_can_be_judged() -> None:
    family = mk.tasks.LinearLaw(noise=0.0)
    exact = mk.yardsticks.Bayes([2.0, 0.5], [[0.25, 0.0], [0.0, 0.04]], 1e-7)
    row = calibration({"exact": exact}, family, 5, n_tasks=5).loc["exact"]
    assert row["rmse"] < 1e-4
    assert row["width_90"] < 1e-4


def test_the_gaussian_process_is_as_sure_as_scikit_learns() -> None:
    ours = mk.yardsticks.GaussianProcess.fit(mk.tasks.Sinusoid(), 20, points=10, noise=0.1)
    x, y = (torch.linspace(-4, 4, n, dtype=F64)[:, None] for n in (5, 5))
    x_new = torch.linspace(-5, 5, 7, dtype=F64)[:, None]
    theirs = GaussianProcessRegressor(ours.kernel, optimizer=None, alpha=0.0).fit(x, y)
    _, std = theirs.predict(x_new, return_std=True)
    white = ours.kernel.k2.noise_level  # they add the noise of a new measurement
    found = ours.adapt(x, y).distribution(x_new).variance[:, 0]
    np.testing.assert_allclose(found, std**2 - white, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda: calibration(EXACT, FAMILY), "needs a dict of learners"),
        (lambda: calibration({"e": EXACT}, FAMILY, levels=(50,)), "between 0 and 1"),
        (lambda: calibration({"e": EXACT}, FAMILY, levels=1.5), "between 0 and 1"),
        (lambda: calibration({"e": EXACT}, FAMILY, levels=()), "between 0 and 1"),
        (lambda: calibration({"e": mk.yardsticks.Zero()}, FAMILY), "without a variance"),
        (lambda: recalibrate(mk.MAML(mk.models.MLP(1, 1)), FAMILY), "calibration of MAML"),
        (lambda: calibration({"e": Wrong(0.0)}, FAMILY, n_tasks=2), "not above zero"),
        (lambda: calibration({"e": Wrong(math.nan)}, FAMILY, n_tasks=2), "not finite"),
        (lambda: Recalibrated(EXACT, 0.0), "scale must be a finite number > 0"),
        (lambda: recalibrate(EXACT, FAMILY, floor=-1.0), "floor must be a finite number >= 0"),
        (lambda: calibration({"e": 3}, FAMILY), "object with adapt"),
        (lambda: calibration({"e": BayesianHead}, FAMILY), "object with adapt"),
    ],
)
def test_wrong_use_is_said_in_plain_words(wrong, words: str) -> None:
    with pytest.raises(mk.MamlkitError, match=words):
        wrong()
