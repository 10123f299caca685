"""What systems of a table have in common: latent curves, mixed effects and Gaussian processes, on
data whose law is known.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import scipy.optimize
import torch
from sklearn.gaussian_process import GaussianProcessRegressor
from torch import Tensor

import mamlkit as mk
from tests.helpers import F64, normal, seeded

ys = mk.yardsticks
NOISE = 0.2
GRID = torch.linspace(-0.9, 0.9, 25, dtype=F64)[:, None]
Made = tuple[mk.tasks.Table, Tensor]  # a table, and the latent numbers of its systems


def mean_curve(x: Tensor, d_out: int = 1) -> Tensor:
    return torch.cat([2 + 0.5 * x + (1 + j) * x**2 for j in range(d_out)], dim=-1)


def direction(x: Tensor, d_out: int = 1, latents: int = 1) -> Tensor:
    """``[latents, n, d_out]``."""
    first = [0.5 + (1 - 2 * j) * x for j in range(d_out)]
    second = [0.6 * (3 * x**2 - 1) + 0 * j for j in range(d_out)]
    return torch.stack([torch.cat(part, dim=-1) for part in (first, second)[:latents]])


def made(
    systems: int = 150,
    latents: int = 1,
    d_out: int = 1,
    bars: int = 0,
    *,
    sizes: tuple[int, int] = (3, 12),
    noise: float = NOISE,
    seed: int = 0,
) -> Made:
    """Ragged readings of y = m(x) + sum_j z_j v_j(x) + noise; error bars are right up to the factor
    ``noise``.
    """
    generator = seeded(seed)
    z = torch.randn(systems, latents, generator=generator, dtype=F64)
    xs, values, sigma = list[Tensor](), list[Tensor](), list[Tensor]()
    for own in z:
        n = int(torch.randint(*sizes, (), generator=generator))
        x = 2 * torch.rand(n, 1, generator=generator, dtype=F64) - 1
        columns = max(bars, 1)
        bar = torch.ones(n, columns, dtype=F64)
        if bars:
            bar = 0.3 + 2.7 * torch.rand(n, columns, generator=generator, dtype=F64)
        law = mean_curve(x, d_out) + torch.einsum("k,kno->no", own, direction(x, d_out, latents))
        error = noise * bar * torch.randn(n, d_out, generator=generator, dtype=F64)
        for column, more in ((xs, x), (values, law + error), (sigma, bar)):
            column.append(more)
    return mk.tasks.Table(xs, values, sigma if bars else None), z


def log_likelihood(
    table: mk.tasks.Table,
    mean: Callable[[Tensor], Tensor],
    directions: Callable[[Tensor], Tensor],
    noise: Tensor,
) -> float:
    """Of all readings, by the Gaussian that each system has; by hand."""
    total = 0.0
    for x, y, weight in zip(*table.every_reading(), strict=True):
        there = (weight > 0).any(-1)
        x, y, weight = (t[there] for t in (x, y, weight.expand_as(y)))
        v = directions(x).flatten(1)  # [latents, n d_out]
        covariance = v.T @ v + torch.diag((noise**2 / weight).flatten())
        rest = (y - mean(x)).flatten()
        total -= float(rest @ torch.linalg.solve(covariance, rest)) / 2
        total -= float(torch.logdet(2 * math.pi * covariance)) / 2
    return total


def likelihood_of(found: Any, table: mk.tasks.Table) -> float:
    return log_likelihood(table, found.mean, found.directions, found.noise)


def likelihood_of_truth(table: mk.tasks.Table, latents: int = 1) -> float:
    return log_likelihood(
        table,
        lambda x: mean_curve(x, table.d_out),
        lambda x: direction(x, table.d_out, latents),
        torch.full((table.d_out,), NOISE, dtype=F64),
    )


# --- probabilistic principal components -----------------------------------------------------------


@pytest.mark.parametrize(("d_out", "bars"), [(1, 0), (1, 1), (2, 0), (2, 1), (2, 2)])
def test_it_finds_mean_direction_and_noise(d_out: int, bars: int) -> None:
    table, z = made(300, 1, d_out, bars)
    found = ys.ProbabilisticPCA.fit(table, 1)
    shift = z.mean() * direction(GRID, d_out)[0]  # the z of these systems are not quite N(0, 1)
    truth = mean_curve(GRID, d_out) + shift
    assert (found.mean(GRID) - truth).square().mean().sqrt() < 0.05
    v, w = found.directions(GRID).flatten(), (z.std() * direction(GRID, d_out)).flatten()
    assert abs(float(v @ w / v.norm() / w.norm())) > 0.995
    assert float(v.norm() / w.norm()) == pytest.approx(1, abs=0.05)
    np.testing.assert_allclose(found.noise, NOISE, rtol=0.06)


def test_error_bars_are_worth_it() -> None:
    table, z = made(200, 1, 1, 1)
    plain = mk.tasks.Table(*zip(*_systems(table), strict=True))
    truth = mean_curve(GRID) + z.mean() * direction(GRID)[0]
    errors = [
        float((ys.ProbabilisticPCA.fit(t, 1).mean(GRID) - truth).square().mean())
        for t in (table, plain)
    ]
    assert errors[0] < errors[1]


def _systems(table: mk.tasks.Table) -> list[tuple[Tensor, Tensor]]:
    x, y, _ = table.readings
    return [(x[i, :n], y[i, :n]) for i, n in enumerate(table.sizes.tolist())]


@pytest.mark.parametrize("d_out", [1, 2])
def test_two_latents_span_the_true_directions(d_out: int) -> None:
    table, _ = made(300, 2, d_out, sizes=(4, 14))
    found = ys.ProbabilisticPCA.fit(table, 2)
    v, w = (t.flatten(1) for t in (found.directions(GRID), direction(GRID, d_out, 2)))
    spread, truth = v.T @ v, w.T @ w  # which do not depend on a rotation of z
    assert (spread - truth).norm() < 0.15 * truth.norm()
    within = torch.linalg.lstsq(v.T, w.T).solution
    assert (v.T @ within - w.T).norm() < 0.1 * w.norm()
    np.testing.assert_allclose(found.noise, NOISE, rtol=0.06)


@pytest.mark.parametrize(
    ("latents", "d_out", "bars"), [(1, 1, 0), (1, 1, 1), (2, 1, 0), (1, 2, 2), (2, 2, 1)]
)
def test_no_curve_is_much_more_likely_than_the_fit(latents: int, d_out: int, bars: int) -> None:
    table, _ = made(80, latents, d_out, bars)
    found = ys.ProbabilisticPCA.fit(table, latents)
    assert likelihood_of(found, table) > likelihood_of_truth(table, latents)
    less = ys.ProbabilisticPCA.fit(table, latents, steps=20)
    assert likelihood_of(found, table) > likelihood_of(less, table) - 0.5
    fewer = ys.ProbabilisticPCA.fit(table, latents - 1)
    assert likelihood_of(found, table) > likelihood_of(fewer, table) + 20


def test_an_iteration_makes_the_readings_likelier() -> None:
    table, _ = made(60)
    steps = (1, 2, 5, 10, 30, 100)
    found = [likelihood_of(ys.ProbabilisticPCA.fit(table, 1, steps=k), table) for k in steps]
    # A penalty on bumps is descended too, so to a hair.
    assert all(after > before - 0.1 for before, after in pairwise(found))
    assert found[-1] > found[0] + 1


@pytest.mark.parametrize(("d_out", "columns"), [(1, 1), (2, 1), (2, 2)])
def test_its_posterior_is_that_of_the_textbook(d_out: int, columns: int) -> None:
    found = ys.ProbabilisticPCA.fit(made(40, 2, d_out)[0], 2, steps=30)
    x, y = 0.9 * normal(5, 1).tanh(), mean_curve(normal(5, 1), d_out)
    weight = 0.2 + normal(5, columns, seed=2).square()
    z, spread = found.posterior(mk.Readings(x, y, weight))
    v = found.directions(x).flatten(1).T  # [n d_out, 2]
    covariance = torch.diag((found.noise**2 / weight.expand_as(y)).flatten())
    gain = v.T @ torch.linalg.inv(v @ v.T + covariance)
    rest = (y - found.mean(x)).flatten()
    torch.testing.assert_close(z, gain @ rest, rtol=1e-8, atol=1e-10)
    expected = torch.eye(2, dtype=F64) - gain @ v
    torch.testing.assert_close(spread, expected, rtol=1e-7, atol=1e-10)
    belief = found.adapt(mk.Readings(x, y, weight)).distribution(GRID)
    at = found.directions(GRID)  # [2, m, d_out]
    mean = found.mean(GRID) + torch.einsum("k,kmo->mo", gain @ rest, at)
    variance = torch.einsum("kmo,kl,lmo->mo", at, expected, at)
    torch.testing.assert_close(belief.mean, mean, rtol=1e-8, atol=1e-10)
    torch.testing.assert_close(belief.variance, variance, rtol=1e-6, atol=1e-10)


@pytest.mark.parametrize(("latents", "d_out", "bars"), [(1, 1, 0), (1, 1, 1), (2, 1, 1), (1, 2, 2)])
def test_its_intervals_cover_new_readings(latents: int, d_out: int, bars: int) -> None:
    train, _ = made(150, latents, d_out, bars)
    new, _ = made(250, latents, d_out, bars, seed=1)
    learner = ys.ProbabilisticPCA.fit(train, latents)
    for shots in (0, 1, 3):
        row = mk.calibration({"pca": learner}, new, shots).loc["pca"]
        assert 0.85 < row["coverage_90"] < 0.95
        assert 0.44 < row["coverage_50"] < 0.56


@pytest.mark.parametrize("unit", [1e-9, 1e9])
@pytest.mark.parametrize("bars", [0, 1])
def test_units_do_not_matter(unit: float, bars: int) -> None:
    table, _ = made(30, 1, 1, bars, sizes=(4, 8))
    x, y, weight = table.readings
    n = table.sizes.tolist()
    scaled = mk.tasks.Table(
        [unit * x[i, :k] for i, k in enumerate(n)],
        [unit * y[i, :k] for i, k in enumerate(n)],
        [unit * weight[i, :k] ** -0.5 for i, k in enumerate(n)] if bars else None,
    )
    one, two = (ys.ProbabilisticPCA.fit(t, 1) for t in (table, scaled))
    torch.testing.assert_close(two.mean(unit * GRID), unit * one.mean(GRID), rtol=1e-4, atol=0)
    # Without error bars the noise is that of y; with them, in units of them.
    factor = 1 if bars else unit
    torch.testing.assert_close(two.noise, factor * one.noise, rtol=1e-4, atol=0)


def test_a_large_offset_hides_nothing() -> None:
    table, _ = made(40, sizes=(4, 8))
    x, y = zip(*_systems(table), strict=True)
    lifted = mk.tasks.Table(x, [1e6 + t for t in y])
    one, two = (ys.ProbabilisticPCA.fit(t, 1) for t in (table, lifted))
    torch.testing.assert_close(two.mean(GRID) - 1e6, one.mean(GRID), rtol=0, atol=1e-3)
    torch.testing.assert_close(two.noise, one.noise, rtol=1e-4, atol=0)


POOR: dict[str, tuple[list[Any], list[Any]]] = {
    "all the same": ([[0.0, 1.0, 2.0], [0.5, 1.5]], [[3.0, 3.0, 3.0], [3.0, 3.0]]),
    "all zero": ([[0.0, 1.0, 2.0], [0.5, 1.5]], [[0.0, 0.0, 0.0], [0.0, 0.0]]),
    "one place": ([[1.0, 1.0, 1.0], [1.0, 1.0]], [[3.0, 3.1, 2.9], [2.0, 2.1]]),
    "one system": ([[0.0, 1.0, 2.0, 3.0]], [[0.0, 1.0, 4.0, 9.0]]),
    "one reading": ([[1.0]], [[2.0]]),
    "two readings": ([[1.0], [2.0]], [[2.0], [3.0]]),
}


@pytest.mark.parametrize("case", POOR)
@pytest.mark.parametrize("latents", [0, 1, 3])
def test_poor_tables_give_numbers_all_the_same(case: str, latents: int) -> None:
    x, y = POOR[case]
    table = mk.tasks.Table(x, y)
    values = np.concatenate([np.array(own) for own in y])
    learners: list[Any] = [ys.ProbabilisticPCA.fit(table, latents)]
    learners.append(ys.GaussianProcess.fit(table))
    if latents == 1:
        learners.append(ys.LinearLatent.fit(table))
    for learner in learners:
        support = mk.Data(*(torch.tensor(own[0], dtype=F64)[:, None] for own in (x, y)))
        predicted = learner.adapt(support.x, support.y)(support.x)
        assert torch.isfinite(predicted).all()
        slack = 0.1 + np.ptp(values)
        assert values.min() - slack < float(predicted.min())
        assert float(predicted.max()) < values.max() + slack


def test_more_latents_than_systems_can_tell_are_no_harm() -> None:
    train, new = made(3, seed=1)[0], made(50, seed=2)[0]
    rmse = mk.evaluate(ys.ProbabilisticPCA.fit(train, 6), new, 3).losses.mean().sqrt()
    assert torch.isfinite(rmse)
    assert rmse < 3


def test_the_same_table_gives_the_same_fit_and_parts_differ() -> None:
    table, _ = made(40)
    one, two = (ys.ProbabilisticPCA.fit(table, 1) for _ in range(2))
    assert torch.equal(one.loadings, two.loadings)
    part = ys.ProbabilisticPCA.fit(table.split("train"), 1)
    assert not torch.equal(part.mean(GRID), one.mean(GRID))


def test_it_learns_from_tasks_of_a_law_too() -> None:
    family = mk.tasks.LinearLaw()
    learner = ys.ProbabilisticPCA.fit(family, 2, 60, 10)
    own = mk.evaluate(learner, family, 3, n_tasks=50).losses.mean()
    mean = mk.evaluate(ys.MeanCurve.fit(family), family, 3, n_tasks=50).losses.mean()
    assert own < 0.4 * mean


# --- all that learn from a table ------------------------------------------------------------------


def line_table(systems: int = 150, bars: bool = False, seed: int = 0) -> mk.tasks.Table:
    """y = a + b x, with a ~ N(1, 0.5), b ~ N(-2, 1), and noise 0.2 (times the error bar)."""
    rng = np.random.default_rng(seed)
    x = [rng.uniform(-1, 1, rng.integers(4, 10)) for _ in range(systems)]
    sigma = [rng.uniform(0.3, 3, len(own)) if bars else np.ones(len(own)) for own in x]
    y = [
        rng.normal(1, 0.5) + rng.normal(-2, 1) * own + NOISE * bar * rng.normal(size=len(own))
        for own, bar in zip(x, sigma, strict=True)
    ]
    return mk.tasks.Table(x, y, sigma if bars else None)


FITS: dict[str, Callable[[mk.tasks.Table], Any]] = {
    "mean curve": ys.MeanCurve.fit,
    "linear latent": ys.LinearLatent.fit,
    "latents": lambda table: ys.ProbabilisticPCA.fit(table, 2),
    "Bayes": ys.Bayes.fit,
    "mixed effects": lambda table: ys.MixedEffects(table, 1, 1),
    "Gaussian process": ys.GaussianProcess.fit,
}


@pytest.fixture(scope="module")
def fitted() -> dict[tuple[str, bool], Any]:
    tables = {bars: line_table(80, bars) for bars in (False, True)}
    return {(name, bars): fit(t) for bars, t in tables.items() for name, fit in FITS.items()}


@pytest.mark.parametrize("bars", [False, True])
@pytest.mark.parametrize("name", FITS)
def test_a_padded_task_is_the_task_alone(name: str, bars: bool, fitted: Any) -> None:
    learner, batch = fitted[name, bars], line_table(8, bars, 1).every(7, dtype=F64)
    assert len(set((batch.support.weight[..., 0] > 0).sum(1).tolist())) > 1
    for i in range(8):
        support = batch.task(i).support
        there = support.weight[:, 0] > 0
        real = learner.adapt(mk.Readings(*(leaf[there] for leaf in support)))
        padded = learner.adapt(support)
        torch.testing.assert_close(padded(GRID), real(GRID), rtol=1e-8, atol=1e-10)
        if hasattr(padded, "distribution"):
            one, two = (p.distribution(GRID).variance for p in (padded, real))
            torch.testing.assert_close(one, two, rtol=1e-6, atol=1e-10)


@pytest.mark.parametrize("bars", [False, True])
@pytest.mark.parametrize("name", ["latents", "Bayes", "mixed effects", "Gaussian process"])
def test_what_knows_the_spread_of_lines_is_as_good_as_the_truth(
    name: str, bars: bool, fitted: Any
) -> None:
    new = line_table(150, bars, 2)
    prior = torch.diag(torch.tensor([1.0, 0.25], dtype=F64))  # slope, then intercept
    best = ys.Bayes([-2.0, 1.0], prior, NOISE)
    learners = {"best": best, name: fitted[name, bars], "mean": fitted["mean curve", bars]}
    error = {
        key: float(mk.evaluate(own, new, 3, loss=mk.losses.mse).losses.mean())
        for key, own in learners.items()
    }
    # The mean of the process is that of all readings alike, by error bar, which is not the best.
    limit = 1.6 if name == "Gaussian process" else 1.25
    assert error[name] < limit * error["best"]
    assert error[name] < 0.6 * error["mean"]
    row = mk.calibration({name: fitted[name, bars]}, new, 3).loc[name]
    assert 0.81 < row["coverage_90"] < 0.95  # few systems to learn from: a little too sure


def test_the_mean_curve_is_the_mean_of_readings(fitted: Any) -> None:
    truth = 1 - 2 * GRID
    for bars in (False, True):
        found = fitted["mean curve", bars].adapt(GRID[:0], GRID[:0])(GRID)
        assert (found - truth).square().mean().sqrt() < 0.3


@pytest.mark.parametrize("bars", [False, True])
def test_a_linear_latent_weighs_readings(bars: bool) -> None:
    learner = ys.LinearLatent.fit(made(100)[0])
    task = made(1, 1, 1, int(bars), seed=5)[0].every(9, dtype=F64).task(0)
    x, y, weight = task.support
    v, rest = learner.component(x), y - learner.mean(x)
    root = weight.sqrt()
    z, *_ = np.linalg.lstsq((root * v).numpy(), (root * rest)[:, 0].numpy(), rcond=None)
    expected = learner.mean(GRID) + float(z[0]) * learner.component(GRID)
    torch.testing.assert_close(learner.adapt(task.support)(GRID), expected)


@pytest.mark.parametrize("bars", [False, True])
@pytest.mark.parametrize("fit", [lambda t: ys.MixedEffects(t, 1, 1), ys.Bayes.fit])
def test_mixed_effects_and_moments_find_the_spread_of_lines(fit: Any, bars: bool) -> None:
    found = fit(line_table(200, bars))
    at = found.features(torch.tensor([[0.0], [1.0]], dtype=F64))
    np.testing.assert_allclose(at @ found.mean, [1, -1], atol=0.2)
    spread = at @ found.covariance @ at.T
    np.testing.assert_allclose(spread, [[0.25, 0.25], [0.25, 1.25]], atol=0.25)
    assert found.noise == pytest.approx(NOISE, rel=0.1)


def test_mixed_effects_are_those_of_statsmodels() -> None:
    mixed = pytest.importorskip("statsmodels.regression.mixed_linear_model")
    table = line_table(40)
    found = ys.MixedEffects(table, 1, 1)
    x, y = (torch.cat(own).numpy() for own in zip(*_systems(table), strict=True))
    phi = np.concatenate([np.ones_like(x), x], axis=1)
    groups = np.repeat(np.arange(40), table.sizes)
    reference = mixed.MixedLM(y[:, 0], phi, groups, phi).fit()
    ours = found.features(torch.tensor([[0.0], [1.0]], dtype=F64)).numpy()
    theirs = np.array([[1.0, 0.0], [1.0, 1.0]])
    mean, covariance = theirs @ reference.fe_params, theirs @ reference.cov_re @ theirs.T
    np.testing.assert_allclose(ours @ found.mean.numpy(), mean, rtol=1e-3)
    np.testing.assert_allclose(ours @ found.covariance.numpy() @ ours.T, covariance, rtol=1e-2)
    assert found.noise**2 == pytest.approx(reference.scale, rel=1e-2)


def test_mixed_effects_may_bend_but_not_from_system_to_system() -> None:
    found = ys.MixedEffects(made(40)[0], 2, 1)
    assert found.covariance.shape == (3, 3)
    assert (found.covariance[2] == 0).all()
    assert float((found.features(GRID) @ found.mean - mean_curve(GRID)[:, 0]).abs().mean()) < 0.2


def test_outputs_must_be_one_where_they_must_be() -> None:
    table, _ = made(10, 1, 2)
    for fit in (ys.Bayes.fit, ys.GaussianProcess.fit, ys.MixedEffects):
        with pytest.raises(mk.MamlkitError, match="one output, but d_out=2"):
            fit(table)


def test_a_table_too_small_for_moments_says_so() -> None:
    table = mk.tasks.Table([[1.0, 2.0], [1.0, 2.0, 3.0]], [[1.0, 2.0], [1.0, 2.0, 3.0]])
    with pytest.raises(mk.MamlkitError, match="at least two tasks of more than 2 shots"):
        ys.Bayes.fit(table)


def test_systems_measured_at_one_place_each_are_refused_by_moments_in_plain_words() -> None:
    rng = np.random.default_rng(0)
    table = mk.tasks.Table([[float(i)] * 4 for i in range(6)], list(rng.normal(size=(6, 4))))
    with pytest.raises(mk.MamlkitError):
        ys.Bayes.fit(table)


# --- the Gaussian process -------------------------------------------------------------------------


def cost_of(monkeypatch: pytest.MonkeyPatch, table: mk.tasks.Table) -> tuple[Any, Any, Any]:
    """The fitted process, the function that was minimised and where the search began."""
    caught: list[Any] = []
    original = scipy.optimize.minimize

    def minimize(function: Any, start: Any, **settings: Any) -> Any:
        caught.extend([function, start])
        return original(function, start, **settings)

    monkeypatch.setattr(scipy.optimize, "minimize", minimize)
    found = ys.GaussianProcess.fit(table)
    function, start = caught
    return found, function, start


@pytest.mark.parametrize("bars", [0, 1])
def test_the_likelihood_has_the_right_slope(monkeypatch: pytest.MonkeyPatch, bars: int) -> None:
    _, cost, start = cost_of(monkeypatch, made(15, 1, 1, bars)[0])
    for theta in (start, start + np.array([0.5, -1.0, 0.3, 1.0])):
        _, slope = cost(theta)
        step = 1e-5 * np.eye(len(theta))
        expected = [(cost(theta + h)[0] - cost(theta - h)[0]) / 2e-5 for h in step]
        np.testing.assert_allclose(slope, expected, rtol=1e-5, atol=1e-6)


def shared() -> mk.tasks.Table:
    """All systems are measured at the same places."""
    x = torch.linspace(-1, 1, 7, dtype=F64)[:, None]
    z = normal(20, 1)
    law = [mean_curve(x) + own * direction(x)[0] for own in z]
    y = [own + NOISE * normal(7, 1, seed=i) for i, own in enumerate(law)]
    return mk.tasks.Table([x] * 20, y)


def test_at_shared_places_it_is_the_process_of_sklearn(monkeypatch: pytest.MonkeyPatch) -> None:
    table = shared()
    found, cost, start = cost_of(monkeypatch, table)
    x, y, _ = table.every_reading()
    rest = (y - found.mean.curve(x))[..., 0].T.numpy()
    at = found.inputs(x[0]).numpy()
    reference = GaussianProcessRegressor(found.kernel, alpha=0.0, optimizer=None).fit(at, rest)
    constant = 0.5 * rest.size * math.log(2 * math.pi)
    for theta in (start, np.array(found.theta)):
        value, slope = cost(theta)
        theirs, gradient = reference.log_marginal_likelihood(theta, eval_gradient=True)
        assert value + constant == pytest.approx(-theirs, rel=1e-9)
        np.testing.assert_allclose(slope, -gradient, rtol=1e-6, atol=1e-8)
    assert cost(np.array(found.theta))[0] < cost(start)[0]


def test_it_predicts_as_sklearn_does() -> None:
    table, _ = made(30, 1, 1, 1)
    learner = ys.GaussianProcess.fit(table)
    x, y, weight = (leaf[0] for leaf in made(1, 1, 1, 1, seed=7)[0].every_reading())
    kernel, noise = learner.kernel.k1, learner.kernel.k2.noise_level
    at, new = (learner._at(t) for t in (x, GRID))
    rest = (y - learner.mean.curve(x))[:, 0].numpy()
    matrix = kernel(at) + np.diag(noise / weight[:, 0].numpy())
    cross = kernel(new, at)
    mean = learner.mean.curve(GRID)[:, 0].numpy() + cross @ np.linalg.solve(matrix, rest)
    variance = kernel.diag(new) - np.einsum("ij,ji->i", cross, np.linalg.solve(matrix, cross.T))
    found = learner.adapt(mk.Readings(x, y, weight)).distribution(GRID)
    np.testing.assert_allclose(found.mean[:, 0], mean, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(found.variance[:, 0], variance, rtol=1e-5, atol=1e-9)


def test_it_finds_noise_and_covers_new_readings() -> None:
    for bars in (0, 1):
        learner = ys.GaussianProcess.fit(made(50, 1, 1, bars)[0])
        assert learner.kernel.k2.noise_level**0.5 == pytest.approx(NOISE, rel=0.12)
        row = mk.calibration({"gp": learner}, made(150, 1, 1, bars, seed=1)[0], 3).loc["gp"]
        assert 0.85 < row["coverage_90"] < 0.95


def test_it_takes_two_inputs_of_a_table() -> None:
    rng = np.random.default_rng(0)
    x = [rng.uniform(-1, 1, (rng.integers(4, 9), 2)) * [1, 1e3] for _ in range(40)]
    law = [rng.normal() * own[:, 0] + 2e-3 * own[:, 1] for own in x]
    y = [own + 0.05 * rng.normal(size=len(own)) for own in law]
    table = mk.tasks.Table(x, y)
    train, test = table.split("train"), table.split("test")
    own, mean = (
        mk.evaluate(fit(train), test, 3).losses.mean()
        for fit in (ys.GaussianProcess.fit, ys.MeanCurve.fit)
    )
    assert own < 0.7 * mean


def test_nothing_measured_and_one_place_asked() -> None:
    """scikit-learn gives a prior mean without an axis for a single point."""
    learner = ys.GaussianProcess.fit(made(10)[0])
    found = learner.adapt(GRID[:0], GRID[:0]).distribution(GRID[:1])
    assert found.mean.shape == found.variance.shape == (1, 1)
    torch.testing.assert_close(found.mean, learner.mean.curve(GRID[:1]))
