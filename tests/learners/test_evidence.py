"""The evidence of a Bayesian head, against the density of the multivariate normal."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.stats import multivariate_normal, norm

import mamlkit as mk


@pytest.fixture
def head():
    """A head of two outputs whose prior is no unit matrix."""
    model = mk.models.MLP(2, 3, hidden=(5,), seed=1).double()
    learner = mk.BayesianHead(model, features=3, d_out=2, noise=0.3)
    g = torch.Generator().manual_seed(0)
    with torch.no_grad():
        learner.prior_mean.copy_(torch.randn(2, 3, generator=g, dtype=torch.float64))
        learner.prior_root.copy_(torch.randn(2, 3, 3, generator=g, dtype=torch.float64))
        learner.log_noise.copy_(torch.tensor([-1.0, 0.5]))
        learner.log_misfit.fill_(5.0)  # which has no place in the evidence
    return learner


def points(*shape, seed=3):
    g = torch.Generator().manual_seed(seed)
    return (torch.randn(*shape, d, generator=g, dtype=torch.float64) for d in (2, 2))


def density(head, x, y, weight):
    """By scipy: each output with its own prior and noise, all points at once."""
    phi = head.features(x).detach()
    total = 0.0
    for j in range(y.shape[1]):
        root, noise = head.prior_root[j].detach(), float(head.noise[j].detach())
        cov = phi @ root @ root.T @ phi.T + torch.diag(noise**2 / weight[:, j])
        total += multivariate_normal.logpdf(y[:, j], phi @ head.prior_mean[j].detach(), cov)
    return total


@pytest.mark.parametrize("n", [1, 3, 12])
def test_evidence_is_the_density_of_all_points_together(head, n):
    x, y = points(n)
    found = head.evidence(x, y)
    assert found.shape == ()
    assert float(found.detach()) == pytest.approx(
        density(head, x, y, torch.ones(n, 2).double()), rel=1e-10
    )


def test_weights_are_error_bars_and_padding_tells_nothing(head):
    x, y = points(6)
    weight = torch.tensor([0.5, 2.0, 1.0, 3.0, 0.0, 0.0]).double()[:, None]
    found = head.evidence(mk.Readings(x, y, weight))
    right = density(head, x[:4], y[:4], weight[:4].expand(4, 2))
    assert float(found.detach()) == pytest.approx(right, rel=1e-10)
    own = torch.rand(6, 2, generator=torch.Generator().manual_seed(1)).double() + 0.1
    found = head.evidence(mk.Readings(x, y, own))
    assert float(found.detach()) == pytest.approx(density(head, x, y, own), rel=1e-10)


def test_evidence_of_one_point_after_another_adds_up(head):
    """The chain rule: p(y1, y2) = p(y1) p(y2 | y1), with the prediction that adapting gives."""
    x, y = points(4)
    with torch.no_grad():
        head.log_misfit.copy_(head.log_noise)  # then a prediction of the law is one of a reading
        total = 0.0
        for i in range(4):
            mean, variance = head.adapt(x[:i], y[:i]).distribution(x[i : i + 1])
            total += norm.logpdf(y[i], mean[0], variance[0].sqrt()).sum()
        assert float(head.evidence(x, y)) == pytest.approx(total, rel=1e-9)


def test_many_tasks_at_once(head):
    x, y = points(5, 4)
    found = head.evidence(x, y)
    assert found.shape == (5,)
    alone = torch.stack([head.evidence(*task) for task in zip(x, y, strict=True)])
    torch.testing.assert_close(found, alone)
    weight = torch.full((5, 4, 1), 2.0).double()
    assert (head.evidence(mk.Readings(x, y, weight)) != found).all()


def test_no_points_are_no_evidence(head):
    assert float(head.evidence(torch.zeros(0, 2), torch.zeros(0, 2)).detach()) == 0


def test_evidence_can_be_climbed(head):
    x, y = points(8)
    before = head.evidence(x, y)
    (slope,) = torch.autograd.grad(before, head.log_noise)
    with torch.no_grad():
        head.log_noise += 1e-6 * slope
    gain = float((head.evidence(x, y) - before).detach())
    assert gain == pytest.approx(1e-6 * float((slope**2).sum()), rel=1e-3)


def test_a_small_noise_is_no_trouble(head):
    x, y = points(10)
    with torch.no_grad():
        head.log_noise.fill_(math.log(1e-6))
    assert bool(head.evidence(x, y).isfinite())


@pytest.mark.parametrize(
    ("x", "y", "words"),
    [
        (torch.zeros(3, 2), torch.zeros(3, 1), "d_out=2"),
        (torch.zeros(3, 2), torch.zeros(4, 2), "pairs"),
        (torch.zeros(3, 2), None, "NamedTuple"),
        (torch.full((3, 2), math.nan), torch.zeros(3, 2), "not finite"),
    ],
)
def test_what_is_no_task_is_refused(head, x, y, words):
    with pytest.raises(mk.MamlkitError, match=words):
        head.evidence(x, y)
