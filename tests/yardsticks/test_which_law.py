"""Which law made a data set? Bayes' rule by a second code, BIC, the evidence of heads."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.optimize import least_squares
from scipy.stats import multivariate_normal

import mamlkit as mk
from mamlkit.tasks.laws import KNOWN, LAWS, known
from mamlkit.yardsticks import ByEvidence, KnownLaws, log_residuals, which_law


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def bank():
    """Sets of ten readings, and the number of their law."""
    family = known(10)
    sets = torch.cat([family.sets(law, 40, generator(i)) for i, law in enumerate(KNOWN)])
    return sets, torch.arange(6).repeat_interleave(40)


def evidence_by_scipy(law, x, y, noise):
    """The integral over the law's one number by quad, over amplitudes by the normal density."""
    ((low, high),) = LAWS[law].ranges.values()
    (name,) = LAWS[law].ranges

    def density(value):
        basis = LAWS[law].basis(torch.tensor(x), **{name: torch.tensor(value)})
        b = np.stack([np.asarray(each) for each in basis], 1)
        return multivariate_normal.pdf(y, np.zeros(len(y)), b @ b.T + noise**2 * np.eye(len(y)))

    found, _ = quad(density, low, high, limit=400, epsabs=0, epsrel=1e-6)
    return math.log(found / (high - low))


@pytest.mark.parametrize("law", ["sinusoid", "decay", "power"])
def test_evidence_of_a_law_by_a_second_code(law):
    own = known(6).sets(law, 3, generator(2))
    found = which_law.log_evidence(LAWS[law], own, 0.1)
    for one, value in zip(own.numpy(), found.tolist(), strict=True):
        assert value == pytest.approx(evidence_by_scipy(law, one[:, 0], one[:, 1], 0.1), abs=2e-3)


@pytest.mark.parametrize("law", ["linear", "quadratic"])
def test_a_law_without_other_numbers_is_a_normal_density(law):
    own = known(7).sets(law, 2, generator(1))
    found, squares = (
        which_law.log_evidence(LAWS[law], own, 0.1),
        which_law.least_squares(LAWS[law], own),
    )
    for one, value, least in zip(own, found, squares, strict=True):
        b = torch.stack(LAWS[law].basis(one[:, 0]), 1)
        cov = b @ b.T + 0.01 * torch.eye(7).double()
        right = multivariate_normal.logpdf(one[:, 1], np.zeros(7), cov.numpy())
        assert float(value) == pytest.approx(right, rel=1e-9)
        residual = np.linalg.lstsq(b.numpy(), one[:, 1].numpy())[1][0]
        assert float(least) == pytest.approx(float(residual), rel=1e-5)


def test_a_grid_twice_as_fine_agrees_to_three_digits(bank):
    sets, law = bank
    for n in (5, 10):
        coarse, fine = (KnownLaws(refine=r).scores(sets[:, :n]).softmax(1) for r in (1, 2))
        assert float((coarse.argmax(1) == fine.argmax(1)).double().mean()) > 0.995
        assert float(coarse[torch.arange(240), law].mean()) == pytest.approx(
            float(fine[torch.arange(240), law].mean()), abs=5e-4
        )  # of the probability given to the truth
        assert float((coarse - fine).abs().max()) < 0.03


def test_bayes_is_calibrated_and_bic_is_not_better(bank):
    sets, law = bank
    posterior = KnownLaws().scores(sets).softmax(1)
    sure, guess = posterior.max(1)
    right = (guess == law).double()
    spread = (sure * (1 - sure)).sum().sqrt() / len(sets)  # of the mean, were it calibrated
    assert abs(float(right.mean() - sure.mean())) < 3 * float(spread)
    doubt = sure < 0.8
    spread = (sure * (1 - sure))[doubt].sum().sqrt() / doubt.sum()
    assert abs(float(right[doubt].mean() - sure[doubt].mean())) < 3 * float(spread)
    bic = (KnownLaws(by="bic").scores(sets).argmax(1) == law).double()
    assert float(bic.mean()) < float(right.mean()) - 0.04


def test_least_squares_on_the_grid_are_those_of_a_polished_fit(bank):
    sets, _ = bank
    x, y = sets[80:90].unbind(-1)  # sinusoids
    found = which_law.least_squares(LAWS["sinusoid"], sets[80:90])
    for one, (at, seen) in zip(found.tolist(), zip(x.numpy(), y.numpy(), strict=True), strict=True):

        def off(p, at=at, seen=seen):
            return p[0] * np.sin(p[2] * at) + p[1] * np.cos(p[2] * at) - seen

        low, high = LAWS["sinusoid"].ranges["frequency"]
        limits = ([-np.inf, -np.inf, low], [np.inf, np.inf, high])
        starts = np.linspace(low + 0.1, high - 0.1, 15)
        best = min(2 * least_squares(off, (0.5, 0.5, w), bounds=limits).cost for w in starts)
        assert best - 1e-6 <= one < best + 0.03  # three times sigma squared: the grid's part


def test_an_amplitude_of_other_spread_is_another_unit(bank):
    sets, _ = bank
    scaled = sets * torch.tensor([1.0, 3.0])
    one, other = KnownLaws().scores(sets), KnownLaws(noise=0.3, spread=3.0).scores(scaled)
    torch.testing.assert_close(one.softmax(1), other.softmax(1))


def test_residuals_are_in_units_of_noise(bank):
    sets, law = bank
    left = log_residuals(sets)
    assert left.shape == (240, 6)
    own = 10 ** left[torch.arange(240), law]
    assert float(own.mean()) == pytest.approx(0.75, abs=0.1)  # 1 - k/n, k from 2 to 4 of 10
    assert float(left.min()) >= -1


def test_they_stand_in_a_table(bank):
    rows = {"Bayes": KnownLaws(), "BIC": KnownLaws(by="bic")}
    table = mk.compare(rows, known(5), shots=1, n_tasks=5, queries=20, loss=mk.losses.error_rate)
    assert table["mean"]["Bayes"] < table["mean"]["BIC"] < 0.7


def test_heads_by_evidence_are_bayes_where_their_prior_is_right():
    """Two laws without other numbers, as heads with the true features: exact Bayes."""

    class Powers(torch.nn.Module):
        def __init__(self, degree):
            super().__init__()
            self.degree, self.one = degree, torch.nn.Parameter(torch.ones(()))

        def forward(self, x):
            u = 2 * x - 1
            return self.one * torch.cat([u**k for k in range(self.degree + 1)], 1)

    heads = []
    for degree in (1, 2):
        head = mk.BayesianHead(Powers(degree).double(), degree + 1, noise=0.1)
        with torch.no_grad():
            head.prior_root.copy_(torch.eye(degree + 1)[None])
        heads.append(head)
    sets = torch.cat([known(8).sets(law, 20, generator()) for law in KNOWN[:2]])
    found = ByEvidence(heads).scores(sets)
    torch.testing.assert_close(found, KnownLaws(KNOWN[:2]).scores(sets))
    torch.testing.assert_close(ByEvidence(heads).adapt(None)(sets), found)


def test_what_they_refuse():
    with pytest.raises(mk.MamlkitError, match="choose from"):
        KnownLaws(["linear", "cubic"])
    with pytest.raises(mk.MamlkitError, match="evidence"):
        KnownLaws(by="aic")
    with pytest.raises(mk.MamlkitError, match="data sets of one variable"):
        KnownLaws().scores(torch.zeros(3, 5))
    with pytest.raises(mk.MamlkitError, match="two or more"):
        ByEvidence([mk.BayesianHead(mk.models.MLP(1, 3), 3)])
