"""Learners that follow a stream, against closed forms and the learners they are made of."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import mamlkit as mk
from mamlkit.learners.online import LinearPrior, OnlineHead, OnlineSteps, OnlineWindow, Restart
from tests.helpers import F64, mlp, normal


def head(features: int = 3, d_out: int = 1) -> mk.BayesianHead:
    """A head with a prior that is not the plain one."""
    learner = mk.BayesianHead(mlp(1, features), features, d_out, noise=0.2).double()
    with torch.no_grad():
        learner.prior_mean.copy_(normal(d_out, features, seed=1))
        learner.prior_root.copy_(normal(d_out, features, features, seed=2))
    return learner


def readings(n: int, ticks: int, d_out: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    return 3 * normal(n, ticks, 1, seed=5), normal(n, ticks, d_out, seed=6)


def led(follower, x, y):
    state = follower.start(len(x))
    for t in range(x.shape[1]):
        state = follower.update(state, x[:, t], y[:, t])
    return state


@pytest.mark.parametrize("between", ["return", "walk", "forget"])
def test_what_keeps_everything_is_the_bayesian_head_itself(between):
    learner, (x, y), at = head(d_out=2), readings(3, 6, 2), normal(3, 4, 1, seed=7)
    follower = OnlineHead(learner, 1.0, between, step=0.0)
    said = follower.predict(led(follower, x, y), at)
    for i in range(3):
        adapted: Any = learner.adapt(x[i], y[i])
        whole = adapted.distribution(at[i])
        torch.testing.assert_close(said.mean[i], whole.mean)
        torch.testing.assert_close(said.variance[i], whole.variance)


def test_the_return_is_that_of_one_gaussian_over_all_ticks():
    """w_0 .. w_T are jointly Gaussian with covariance rho^|s-t| P0: condition it by hand."""
    learner, (x, y), rho, ticks = head(), readings(1, 5), 0.8, 5
    follower = OnlineHead(learner, rho)
    at = torch.tensor([[[0.3], [-1.0]]], dtype=F64)
    said = follower.predict(led(follower, x, y), at)
    with torch.no_grad():
        phi, new = learner.features(x[0]), learner.features(at[0])
        m, P0 = learner.prior_mean[0], learner.prior_root[0] @ learner.prior_root[0].T
    t = torch.arange(ticks, dtype=F64)
    K = rho ** (t[:, None] - t).abs() * (phi @ P0 @ phi.T) + 0.2**2 * torch.eye(ticks, dtype=F64)
    cross = rho ** (ticks - t) * (new @ P0 @ phi.T)  # [2, ticks]
    gain = torch.linalg.solve(K, cross.T).T
    torch.testing.assert_close(said.mean[0, :, 0], new @ m + gain @ (y[0, :, 0] - phi @ m))
    variance = ((new @ P0) * new).sum(1) - (gain * cross).sum(1) + 0.2**2
    torch.testing.assert_close(said.variance[0, :, 0], variance)


def test_the_prior_is_stationary_and_what_is_not_read_returns_to_it():
    follower = OnlineHead(head(), 0.9)
    start = follower.start(2)
    torch.testing.assert_close(follower.ahead(start, 7), start)
    x, y = readings(2, 4)
    once = led(follower, x, y)
    torch.testing.assert_close(follower.ahead(once, 3), follower.ahead(follower.ahead(once), 2))
    late = follower.ahead(once, 400)
    torch.testing.assert_close(late, start)


def test_forgetting_winds_up_where_nothing_is_read_and_the_return_does_not():
    def line(x):
        return torch.cat([torch.ones_like(x), x], 1)

    one = torch.ones(1, dtype=F64)
    prior = LinearPrior(
        line, 0 * torch.ones(1, 2, dtype=F64), torch.eye(2, dtype=F64)[None], one, 0 * one
    )
    x, y = torch.zeros(1, 50, 1, dtype=F64), normal(1, 50, 1)  # the slope shows nowhere
    wound = led(OnlineHead(prior, 0.9, "forget"), x, y).covariance[0, 0]
    torch.testing.assert_close(wound[1, 1], torch.tensor(0.9**-50, dtype=F64))
    kept = led(OnlineHead(prior, 0.9), x, y).covariance[0, 0]
    torch.testing.assert_close(kept[1, 1], torch.tensor(1.0, dtype=F64))
    assert kept[0, 0] < 0.5
    walked = led(OnlineHead(prior, 1.0, "walk", step=0.5), x, y).covariance[0, 0]
    torch.testing.assert_close(walked[1, 1], torch.tensor(1 + 50 * 0.25, dtype=F64))


def test_streams_side_by_side_are_those_alone():
    follower = OnlineHead(head(), 0.9)
    x, y = readings(3, 5)
    both, alone = led(follower, x, y), led(follower, x[1:2], y[1:2])
    torch.testing.assert_close(both.mean[1:2], alone.mean)


@pytest.mark.parametrize("steps", [None, 4])
def test_a_window_is_the_learner_adapted_to_its_readings(steps):
    maml, (x, y), at = mk.MAML(mlp(), 0.05, 2), readings(2, 6), normal(2, 3, 1, seed=8)
    follower = OnlineWindow(maml, 4, steps=steps)
    said = follower.predict(led(follower, x, y), at)
    few = follower.predict(led(follower, x[:, :2], y[:, :2]), at)
    for i in range(2):
        torch.testing.assert_close(said[i], maml.adapt(x[i, 2:], y[i, 2:], steps=steps)(at[i]))
        torch.testing.assert_close(few[i], maml.adapt(x[i, :2], y[i, :2], steps=steps)(at[i]))
    none = follower.predict(follower.start(2), at)
    torch.testing.assert_close(none, maml.model(at).detach())


def test_a_window_of_a_bayesian_head_says_how_sure_it_is():
    learner, (x, y), at = head(), readings(2, 5), normal(2, 3, 1, seed=8)
    follower = OnlineWindow(learner, 3)
    said: Any = follower.predict(led(follower, x, y), at)
    adapted: Any = learner.adapt(x[1, 2:], y[1, 2:])
    torch.testing.assert_close(said.variance[1], adapted.distribution(at[1]).variance)


def test_online_steps_descend_and_are_pulled_back():
    maml, (x, y) = mk.MAML(mlp(), 0.05, 1), readings(1, 3)
    theta = {name: w.detach() for name, w in maml.start().items()}
    for t in range(3):
        free = {name: v.clone().requires_grad_() for name, v in theta.items()}
        seen = mk.Data(x[0, max(t - 1, 0) : t + 1], y[0, max(t - 1, 0) : t + 1])
        loss = mk.losses.mse(maml.predictor(free), seen)
        slope = dict(zip(free, torch.autograd.grad(loss, list(free.values())), strict=True))
        theta = {
            k: maml.start()[k].detach() + 0.9 * (v - 2 * 0.05 * slope[k] - maml.start()[k].detach())
            for k, v in theta.items()
        }
    state = led(OnlineSteps(maml, 2.0, size=2, keep=0.9), x, y)
    for name, w in theta.items():
        torch.testing.assert_close(state.theta[name][0], w)


def test_a_restart_reads_the_last_readings_from_the_prior():
    learner = head()
    with torch.no_grad():
        learner.log_noise.fill_(2.0)  # so that nothing else is a surprise
    plain = OnlineHead(learner, 0.95)
    x, y = readings(2, 6)
    y[1, -2:] += 200.0  # only the second stream breaks off
    follower = Restart(plain, window=2, rate=1e-6)
    before = led(follower, x[:, :-2], y[:, :-2])
    torch.testing.assert_close(before.belief, led(plain, x[:, :-2], y[:, :-2]))
    state = led(follower, x[:, :-1], y[:, :-1])
    again = led(plain, x[1:, 3:5], y[1:, 3:5])
    torch.testing.assert_close(state.belief.mean[1:], again.mean)
    torch.testing.assert_close(state.belief.mean[:1], led(plain, x[:1, :-1], y[:1, :-1]).mean)
    assert state.squares[1].sum() == 0 < state.squares[0].sum()


def test_what_cannot_follow_is_refused_in_plain_words():
    with pytest.raises(mk.MamlkitError, match="BayesianHead"):
        OnlineHead(mk.MAML(mlp()))
    with pytest.raises(mk.MamlkitError, match="at most 1"):
        OnlineHead(head(), 1.2)
    with pytest.raises(mk.MamlkitError, match="between="):
        OnlineHead(head(), 0.9, "fade")
    with pytest.raises(mk.MamlkitError, match="OnlineHead"):
        OnlineSteps(head())
    with pytest.raises(mk.MamlkitError, match="rate"):
        Restart(OnlineHead(head()), rate=2.0)


FOLLOWERS: dict[str, Any] = {
    "head": lambda: OnlineHead(head()),
    "restart": lambda: Restart(OnlineHead(head())),
    "window": lambda: OnlineWindow(head(), 3),
    "steps": lambda: OnlineSteps(mk.MAML(mlp(), 0.1)),
    "mean": mk.yardsticks.RunningMean,
    "leader": lambda: mk.yardsticks.FollowTheMetaLeader(mk.MAML(mlp(), 0.1)),
    "told": lambda: mk.yardsticks.GridFilter(
        mk.tasks.Resonator(),
        {"frequency": torch.linspace(0.8, 1.6, 4), "damping": torch.linspace(0.1, 0.4, 3)},
    ),
}


@pytest.mark.parametrize("name", FOLLOWERS)
def test_a_reading_that_is_none_is_told(name):
    follower = FOLLOWERS[name]()
    state, x, y = follower.start(2), torch.ones(2, 1, dtype=F64), torch.ones(2, 1, dtype=F64)
    follower.update(state, x, y)
    for bad in (float("nan"), float("inf")):
        with pytest.raises(mk.MamlkitError, match="no reading: go on"):
            follower.update(state, x, torch.tensor([[1.0], [bad]], dtype=F64))
    with pytest.raises(mk.MamlkitError, match="a reading of 2 stream"):
        follower.update(state, x[:, 0], y)
    with pytest.raises(mk.MamlkitError, match="a reading of 2 stream"):
        follower.update(state, x, y[:1])
    if name in ("head", "restart", "window", "steps"):
        with pytest.raises(mk.MamlkitError, match=r"use x\[:, None\]"):
            follower.predict(state, x)


def test_to_ask_before_a_reading_changes_nothing():
    follower, (x, y) = OnlineHead(head(), 0.9), readings(2, 4)
    state = follower.start(2)
    for t in range(4):
        follower.predict(state, x[:, t : t + 1] if t % 2 else x[:, :2])
        state = follower.update(state, x[:, t], y[:, t])
    torch.testing.assert_close(state, led(OnlineHead(head(), 0.9), x, y), rtol=0.0, atol=0.0)
