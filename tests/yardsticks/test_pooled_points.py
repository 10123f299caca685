"""One regression for the points of all tasks, and what is added for each task."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import least_squares

import mamlkit as mk
from mamlkit.yardsticks import Shifted, TwoLevelProcess, every_point, power_law


class Lines(mk.tasks.Family):
    """Sixty lines of slope 1 with an offset each, N(0, 1), six readings of noise 0.5."""

    pool = 6

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self.constants = {"offset": torch.tensor(rng.standard_normal(60)), "n": torch.arange(60)}
        self.parts = {"train": range(40), "validation": range(40, 60)}
        self.x = torch.tensor(rng.uniform(-1, 1, (60, 6, 1)))
        self.noise_of = torch.tensor(0.5 * rng.standard_normal((60, 6, 1)))

    def measure(self, physics, shots, queries, generator):
        n = physics["n"].long()
        y = self.x[n] + physics["offset"][:, None, None] + self.noise_of[n]
        cut = [mk.Data(self.x[n][:, a], y[:, a]) for a in (slice(shots), slice(shots, None))]
        return mk.TaskBatch(cut[0], cut[1], physics)


def test_every_point_of_every_task() -> None:
    family = Lines().split("train")
    x, y = every_point(family)
    assert x.shape == (40, 6, 1)
    expected = x[..., 0] + np.asarray((family.constants or {})["offset"])[:40, None]
    assert np.abs(y - expected).mean() < 0.5
    with pytest.raises(mk.MamlkitError, match="without end"):
        every_point(mk.tasks.Sinusoid())


def test_an_offset_is_shrunk() -> None:
    learner = Shifted(lambda x: x[:, 0], kappa=2.0)
    x, y = torch.tensor([[0.0], [1.0]]), torch.tensor([[3.0], [2.0]])
    predict = learner.adapt(x, y)  # residuals 3 and 1
    assert predict(torch.tensor([[5.0]])).tolist() == [[6.0]]  # 5 + (3 + 1) / (2 + 2)
    assert learner.adapt(x[:0], y[:0])(torch.tensor([[5.0]])).tolist() == [[5.0]]


def test_the_prior_is_worth_what_validation_says() -> None:
    """sigma^2 / tau^2 is 0.25; where there is no offset, the most is right."""
    found = Shifted.fit(lambda x: x[:, 0], Lines().split("validation"), (1, 2))
    assert found.kappa == 0.5
    family = Lines()
    family.constants = {**(family.constants or {}), "offset": torch.zeros(60)}
    assert Shifted.fit(lambda x: x[:, 0], family.split("validation"), (1, 2)).kappa == 16


def test_two_levels_are_bayes_rule() -> None:
    """Against the posterior written out by hand, with the same kernel."""
    family = Lines().split("train")
    theta = np.log([2.0, 2.0, 1e6, 1.0, 50.0, 1e-2, 0.2]).tolist()
    learner = TwoLevelProcess.fit(family, theta)
    assert learner.theta == pytest.approx(theta)
    x, y = every_point(family)
    scale, shift = y.std(), y.mean()

    def matern(a: np.ndarray, b: np.ndarray, size: float, width: float) -> np.ndarray:
        r = 3**0.5 * np.abs(a[:, None] - b) / width
        return size * (1 + r) * np.exp(-r)

    own_x, own_y = np.array([0.1, -0.6]), np.array([1.0, 0.7])
    all_x = np.append(x[..., 0].ravel(), own_x)
    task = np.append(np.repeat(np.arange(40), 6), [-1, -1])
    target = (np.append(y.ravel(), own_y) - shift) / scale
    gram = matern(all_x, all_x, 2, 2) + (task[:, None] == task) * matern(all_x, all_x, 1, 50)
    at = np.array([0.4])
    cross = matern(at, all_x, 2, 2) + (task == -1) * matern(at, all_x, 1, 50)
    by_hand = shift + scale * cross @ np.linalg.solve(gram + 0.2 * np.eye(len(task)), target)
    predict = learner.adapt(torch.tensor(own_x)[:, None], torch.tensor(own_y)[:, None])
    np.testing.assert_allclose(predict(torch.tensor(at)[:, None])[:, 0], by_hand, rtol=1e-4)


def test_the_kernel_is_found() -> None:
    learner = TwoLevelProcess.fit(Lines().split("train"), n_tasks=15)
    batch = Lines().split("validation").every(4, dtype=torch.float64)
    losses = [
        float(mk.losses.mse(learner.adapt(*task.support), task.query))
        for task in (batch.task(i) for i in range(20))
    ]
    assert np.mean(losses) < 0.45  # noise alone 0.25; without the offset 1.25


def test_a_power_law_is_found_and_extrapolated() -> None:
    t = np.array([1, 2, 4, 8, 16, 30])
    c = np.geomspace(0.05, 4, 40)[23]  # one of those that are scanned: 0.66
    made = 0.2 + 1.5 * t**-c
    assert power_law(t, made, 300) == pytest.approx(0.2 + 1.5 * 300**-c, rel=1e-6)
    rng = np.random.default_rng(0)
    noisy = made * np.exp(0.05 * rng.standard_normal((3, 6)))

    def fitted(y: np.ndarray) -> float:  # scipy, from the truth
        def rest(p: np.ndarray) -> np.ndarray:
            return (p[0] + p[1] * t ** -p[2]) / y - 1

        p = least_squares(rest, [0.2, 1.5, c], bounds=([0, 0, 0.05], [9, 9, 4])).x
        return p[0] + p[1] * 300 ** -p[2]

    expected = [fitted(y) for y in noisy]
    np.testing.assert_allclose(power_law(t, noisy, 300), expected, rtol=0.1)
    rising = power_law(t, 1 + 0.01 * t, 300)  # b >= 0: it stays where it is
    assert 1 < rising < 1.3
    with pytest.raises(mk.MamlkitError, match="above zero"):
        power_law(t, -made, 300)
