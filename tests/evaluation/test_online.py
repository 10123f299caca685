"""Learners on streams: who judges them, and what they must beat."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import mamlkit as mk
from mamlkit.evaluation import Followed, alarm, coverage, dynamic_regret, follow, recovery_time
from mamlkit.evaluation.online import after_jumps
from mamlkit.learners import Gaussian, OnlineHead
from mamlkit.tasks import Resonator, drifting
from mamlkit.yardsticks import (
    FollowTheMetaLeader,
    GridFilter,
    RunningMean,
    curves_prior,
    polynomial_prior,
)
from tests.helpers import F64, mlp, normal, seeded

CELLS = {"frequency": torch.linspace(0.8, 1.6, 30), "damping": torch.linspace(0.1, 0.4, 8)}


class Last:
    """Predicts the last reading, wherever."""

    def start(self, n):
        return torch.zeros(n, 1, dtype=F64)

    def predict(self, state, x):
        return state[:, None].expand(-1, x.shape[1], -1)

    def update(self, state, x, y):
        return y


def test_a_learner_predicts_before_it_sees():
    s = drifting(Resonator(), 3, 8, generator=seeded(0))
    found = follow(Last(), s)
    torch.testing.assert_close(found.mean[:, 1:], s.y[:, :-1])
    assert not found.mean[:, 0].any()
    torch.testing.assert_close(found.errors, (found.mean - s.truth)[..., 0] ** 2)
    mean = follow(RunningMean(0.5), s).mean[..., 0]
    torch.testing.assert_close(mean[:, 5], s.y[:, :5, 0].mean(1))
    assert (mean[:, 0] == 0.5).all()


def test_a_wrong_shape_is_told():
    class Wrong(Last):
        def predict(self, state, x):
            return state

    with pytest.raises(mk.MamlkitError, match=r"\[n, 1, d_out\]"):
        follow(Wrong(), drifting(Resonator(), 2, 3, generator=seeded(0)))


def made(errors: list[list[float]]) -> Followed:
    mean = torch.tensor(errors, dtype=F64).sqrt()[..., None]
    return Followed(mean, None, torch.zeros_like(mean), torch.zeros_like(mean))


def test_regret_and_recovery_by_hand():
    a, b = made([[1, 4, 9, 1, 1, 1, 1, 1]] * 2), made([[0, 1, 1, 1, 1, 1, 1, 1]] * 2)
    assert dynamic_regret(a, b)[0].tolist() == [1, 4, 12, 12, 12, 12, 12, 12]
    jumped = torch.zeros(2, 8, dtype=torch.bool)
    jumped[0, 1], jumped[1, 2] = True, True  # after them: 4 9 1 1 1, and 9 1 1 1 1
    assert after_jumps(a.errors, jumped, 5).tolist() == [[4, 9, 1, 1, 1], [9, 1, 1, 1, 1]]
    assert recovery_time(a, jumped, 5.0, 5) == 1  # means 6.5, 5, 1, ..
    assert recovery_time(a, jumped, 2.0, 5) == 2
    assert recovery_time(a, jumped, 0.5, 5) is None
    with pytest.raises(mk.MamlkitError, match="no stream has a jump"):
        after_jumps(a.errors, jumped, 8)


def test_intervals_of_the_right_gaussian_cover_and_the_alarm_is_as_rare_as_asked():
    truth = torch.zeros(400, 60, 1, dtype=F64)
    y = 0.3 * normal(400, 60, 1, seed=1)
    mean = 0.4 * normal(400, 60, 1, seed=2)
    right = Followed(mean, torch.full_like(mean, 0.4**2), truth, y)
    for noise, level in ((None, 0.95), (0.3, 0.95), (None, 0.5)):
        assert abs(float(coverage(right, level, noise).mean()) - level) < 0.01
    rung = alarm(right, 0.3, window=7, rate=0.01)
    assert 0.007 < rung.double().mean() < 0.013
    assert 0.0 < rung[:, :3].double().mean() < 0.03  # with fewer readings than the window, too
    late = right._replace(y=torch.where(torch.arange(60)[:, None] >= 40, y + 3, y))
    assert alarm(late, 0.3, window=7, rate=0.01)[:, 43:].double().mean() > 0.99


def test_what_says_no_variance_gives_no_interval():
    with pytest.raises(mk.MamlkitError, match="without a variance"):
        coverage(made([[1.0]]))
    right = made([[1.0]])._replace(variance=torch.ones(1, 1, 1, dtype=F64))
    with pytest.raises(mk.MamlkitError, match="level"):
        coverage(right, 2)
    with pytest.raises(mk.MamlkitError, match="rate"):
        alarm(right, 0.1, rate=0.0)


def test_polynomials_are_those_of_legendre():
    prior = polynomial_prior(4, (0.4, 2.0), level=0.3)
    x = torch.linspace(0.4, 2.0, 7, dtype=F64)[:, None]
    wanted = np.polynomial.legendre.legvander(np.linspace(-1, 1, 7), 4)
    torch.testing.assert_close(prior.features(x), torch.tensor(wanted))
    said = OnlineHead(prior, 0.9).predict(OnlineHead(prior, 0.9).start(1), x[None])
    torch.testing.assert_close(said.mean, torch.full_like(said.mean, 0.3))


def test_the_prior_of_curves_has_their_mean_and_covariance():
    family = Resonator()
    prior = curves_prior(family, 12, 300, noise=0.05, seed=4)
    x, y, _ = family.curves(300, generator=seeded(4))
    phi = prior.features(x)
    torch.testing.assert_close(phi @ prior.prior_mean[0], y.mean(0)[:, 0])
    root = phi @ prior.prior_root[0]
    rest = torch.cov(y[..., 0].T) - root @ root.T
    assert rest.diagonal().mean() < 0.01 * torch.cov(y[..., 0].T).diagonal().mean()
    torch.testing.assert_close(rest.diagonal().mean(), prior.misfit[0] ** 2)


def test_the_told_filter_is_bayes_rule_on_a_grid():
    family = Resonator()
    s = drifting(family, 2, 6, "still", generator=seeded(2))
    grid = GridFilter(family, CELLS, hazard=0.0, step=0.0)
    state = grid.start(2)
    for t in range(6):
        state = grid.update(state, s.x[:, t], s.y[:, t])
    f, g = torch.meshgrid(CELLS["frequency"].double(), CELLS["damping"].double(), indexing="ij")
    physics = {"frequency": f.reshape(-1, 1, 1), "damping": g.reshape(-1, 1, 1)}
    said = family.law(s.x[0].expand(f.numel(), -1, -1), physics)[..., 0]  # [cells, 6]
    fit = (-0.5 * ((s.y[0, :, 0] - said) / 0.05) ** 2).sum(1)
    torch.testing.assert_close(state[0], fit.softmax(0))
    moved = GridFilter(family, CELLS, hazard=0.1, step=1.0).update(state, s.x[:, 0], s.y[:, 0])
    torch.testing.assert_close(moved.sum(1), torch.ones(2, dtype=F64))
    assert moved.min() >= 0.1 / f.numel() - 1e-12
    with pytest.raises(mk.MamlkitError, match="hazard"):
        GridFilter(family, CELLS, hazard=1.0)


def test_told_the_law_a_filter_finds_a_resonator_at_rest_and_covers():
    s = drifting(Resonator(), 20, 60, "still", generator=seeded(3))
    fine = {
        name: torch.linspace(float(c[0]), float(c[-1]), 8 * len(c)) for name, c in CELLS.items()
    }
    found = follow(GridFilter(Resonator(), fine, 1e-4, 0.0), s)
    assert found.errors[:, 30:].mean() < 0.1 * found.errors[:, :3].mean()
    assert isinstance(
        GridFilter(Resonator(), CELLS).predict(torch.ones(1, 240).double() / 240, s.x[:1, :2]),
        Gaussian,
    )
    assert 0.9 < coverage(found, 0.95).mean() <= 1


def test_the_meta_leader_without_steps_of_its_own_is_the_learner_on_a_window():
    maml = mk.MAML(mlp(), 0.05, 2)
    s = drifting(Resonator(), 2, 9, generator=seeded(1))
    still = follow(FollowTheMetaLeader(maml, 0.0, 3, pieces=2, every=1), s)
    window = follow(mk.learners.OnlineWindow(maml, 3), s)
    torch.testing.assert_close(still.mean, window.mean)
    led = follow(FollowTheMetaLeader(maml, 0.05, 3, pieces=2, every=1), s)
    torch.testing.assert_close(led.mean[:, :4], still.mean[:, :4])
    assert (led.mean[:, 6:] != still.mean[:, 6:]).all()


def test_the_outer_step_of_the_meta_leader_is_the_meta_gradient():
    maml = mk.MAML(mlp(), 0.05, 1)
    x, y = normal(1, 4, 1, seed=1), normal(1, 4, 1, seed=2)
    leader = FollowTheMetaLeader(maml, 0.1, 3, pieces=4, every=1)
    state = leader.start(1)
    for t in range(4):  # with four readings there is one piece alone
        state = leader.update(state, x[:, t], y[:, t])
    batch = mk.TaskBatch(mk.Data(x[:, :3], y[:, :3]), mk.Data(x[:, 3:], y[:, 3:]), {})
    slope = torch.autograd.grad(maml.query_losses(batch).sum(), list(maml.parameters()))
    for (name, w), g in zip(maml.start().items(), slope, strict=True):
        torch.testing.assert_close(state.theta[name][0], (w - 0.1 * g).detach())
