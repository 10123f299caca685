"""Each yardstick against a known case: a closed form, scipy, scikit-learn, a published value."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import least_squares
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.linear_model import LinearRegression
from sklearn.linear_model import Ridge as SklearnRidge
from torch import Tensor

import mamlkit as mk
from mamlkit import yardsticks as ys
from mamlkit.learners.recorded import WORTH_CALLS
from mamlkit.yardsticks.general import polynomial
from mamlkit.yardsticks.latent import interpolate, training_curves
from tests.helpers import F64, normal


def points(n: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x, y = torch.randn(2, n, 1, generator=generator, dtype=F64)
    return x, y


NEW = torch.linspace(-2, 2, 9, dtype=F64)[:, None]


def test_zero() -> None:
    predict = ys.Zero().adapt(*points(3))
    assert torch.equal(predict(NEW), torch.zeros(9, 1, dtype=F64))
    x, y = points(3)
    assert ys.Zero().adapt(x, y.expand(3, 2))(NEW).shape == (9, 2)


@pytest.mark.parametrize("degree", [1, 2])
@pytest.mark.parametrize("penalty", [0.1, 3.0])
def test_ridge_is_scikit_learns(degree, penalty) -> None:
    x, y = points(6)
    features = polynomial(degree)
    theirs = SklearnRidge(alpha=penalty, fit_intercept=False).fit(features(x).numpy(), y.numpy())
    given = ys.Ridge(penalty, features).adapt(x, y)(NEW)
    np.testing.assert_allclose(given[:, 0], theirs.predict(features(NEW).numpy()).ravel())


def test_least_squares_is_scikit_learns() -> None:
    x, y = points(7)
    theirs = LinearRegression().fit(x.numpy(), y.numpy())
    np.testing.assert_allclose(ys.LeastSquares().adapt(x, y)(NEW), theirs.predict(NEW.numpy()))


def test_least_squares_with_one_point_is_the_shortest_exact_fit() -> None:
    x, y = torch.tensor([[2.0]], dtype=F64), torch.tensor([[5.0]], dtype=F64)
    predict = ys.LeastSquares().adapt(x, y)  # (slope, intercept) = (2, 1) is shortest
    torch.testing.assert_close(predict(NEW), 2 * NEW + 1)


def test_bayes_is_the_posterior_mean() -> None:
    """Against the precision form, which the code does not use."""
    x, y = points(4)
    mean = torch.tensor([2.0, 0.5], dtype=F64)
    covariance = torch.tensor([[0.25, 0.05], [0.05, 0.04]], dtype=F64)
    phi = torch.cat([x, torch.ones_like(x)], 1)
    precision = phi.T @ phi / 0.3**2 + covariance.inverse()
    w = mean + torch.linalg.solve(precision, phi.T @ (y[:, 0] - phi @ mean) / 0.3**2)
    predict = ys.Bayes(mean, covariance, 0.3).adapt(x, y)
    torch.testing.assert_close(predict(NEW), w[0] * NEW + w[1])


def test_bayes_between_prior_and_least_squares() -> None:
    x, y = points(4)
    prior, wide = (
        ys.Bayes([2.0, 0.5], 1e-12 * np.eye(2), 0.3),
        ys.Bayes([2, 0], 1e9 * np.eye(2), 0.3),
    )
    torch.testing.assert_close(prior.adapt(x, y)(NEW), 2 * NEW + 0.5, rtol=1e-6, atol=1e-6)
    expected = ys.LeastSquares().adapt(x, y)(NEW)
    torch.testing.assert_close(wide.adapt(x, y)(NEW), expected, rtol=1e-5, atol=1e-5)


def test_empirical_bayes_finds_prior_and_noise() -> None:
    fitted = ys.Bayes.fit(mk.tasks.LinearLaw(), n_tasks=4000, shots=10, seed=1)
    torch.testing.assert_close(
        fitted.mean, torch.tensor([2.0, 0.5], dtype=F64), rtol=0.02, atol=0.02
    )
    expected = torch.diag(torch.tensor([0.25, 0.04], dtype=F64))
    torch.testing.assert_close(fitted.covariance, expected, rtol=0.08, atol=0.01)
    assert fitted.noise == pytest.approx(0.3, rel=0.02)


class Given(mk.Family):
    """Two tasks of two readings, as they are handed over: ``x [2, 2]``, ``y [2, 2]``."""

    def __init__(self, x: list[list[float]], y: list[list[float]]) -> None:
        self.data = mk.Data(*(torch.tensor(v, dtype=F64)[..., None] for v in (x, y)))

    def draw(self, n_tasks, generator):
        return {"task": torch.arange(1.0, n_tasks + 1)}

    def measure(self, physics, shots, queries, generator):
        return mk.TaskBatch(self.data, self.data, physics)


def test_empirical_bayes_by_hand() -> None:
    """y = w x, with x = 1, 1 in one task and 2, 2 in the other; all residuals are 1 or -1, so the
    noise has variance 4 / (4 - 2) = 2. Estimates 1 and 5 scatter by 8, of which noise makes
    2 (1/2 + 1/8) / 2 = 0.625.
    """
    x = [[1.0, 1.0], [2.0, 2.0]]
    fitted = ys.Bayes.fit(Given(x, [[0.0, 2.0], [9.0, 11.0]]), 2, 2, features=lambda x: x)
    assert fitted.mean.tolist() == pytest.approx([3.0])
    assert fitted.noise == pytest.approx(math.sqrt(2))
    assert fitted.covariance.flatten().tolist() == pytest.approx([8 - 0.625])
    # Estimates 2 and 2 scatter less than noise alone would make them: nothing is left.
    fitted = ys.Bayes.fit(Given(x, [[0.0, 4.0], [2.0, 6.0]]), 2, 2, features=lambda x: x)
    assert fitted.mean.tolist() == pytest.approx([2.0])
    assert fitted.covariance.flatten().tolist() == pytest.approx([0.0], abs=1e-9)


def test_the_table_of_experiment_e1() -> None:
    """EXPERIMENTS.md, computed there over 2000 tasks: here 600 others, within four standard errors
    of the difference. (The mean of least squares has none for few shots: its median is compared.)
    """
    published = {  # shots: prior mean, least squares (median), Bayes, empirical Bayes
        1: (0.127, 1.51, 0.0904, 0.0993),
        2: (0.131, 0.168, 0.0691, 0.0707),
        5: (0.128, 0.0339, 0.0355, 0.0357),
        10: (0.126, 0.0143, 0.0182, 0.0193),
    }
    mean, covariance = [2.0, 0.5], [[0.25, 0.0], [0.0, 0.04]]
    family = mk.tasks.LinearLaw()
    learners = {
        "prior mean": ys.Bayes(mean, 1e-12 * np.eye(2), 0.3),
        "least squares": ys.LeastSquares(),
        "Bayes": ys.Bayes(mean, covariance, 0.3),
        "empirical Bayes": ys.Bayes.fit(family, 50, 10, seed=0),
    }
    for shots, row in published.items():
        table = mk.compare(learners, family, shots, n_tasks=600, seed=2)
        for name, value in zip(learners, row, strict=True):
            given = table.loc[name]
            if name == "least squares":
                assert given["median"] == pytest.approx(value, rel=0.25)
            else:
                error = given["ci95"] / 1.96 * (1 + 600 / 2000) ** 0.5
                assert given["mean"] == pytest.approx(value, abs=4 * error)
        assert table["mean"].idxmin() == "Bayes"
    # Without any data the error is exact: E[(a - 2)^2] E[x^2] + E[(b - 0.5)^2].
    prior = table.loc["prior mean"]
    assert prior["mean"] == pytest.approx(0.25 / 3 + 0.04, abs=2 * prior["ci95"])


def test_mean_curve_is_the_mean() -> None:
    family = mk.tasks.LinearLaw()
    x, y, _ = family.curves(300, generator=torch.Generator().manual_seed(4))
    predict = ys.MeanCurve.fit(family, 300, seed=4).adapt(*points(2))
    torch.testing.assert_close(predict(x), y.mean(0))


def test_linear_latent_finds_the_one_number_behind_springs() -> None:
    """F = k x: the component is the line itself, and one reading gives k."""

    class Springs(mk.tasks.HookesLaw):
        noise = 0.0

    family = Springs()
    latent = ys.LinearLatent.fit(family, 50)
    batch = family.sample(5, 1, 6, generator=torch.Generator().manual_seed(1), dtype=F64)
    for i in range(5):
        predict = latent.adapt(batch.support.x[i], batch.support.y[i])
        torch.testing.assert_close(
            predict(batch.query.x[i]), batch.query.y[i], rtol=1e-9, atol=1e-9
        )
    z = torch.stack([latent.latent(batch.support.x[i], batch.support.y[i]) for i in range(5)])
    correlation = torch.corrcoef(torch.stack([z, batch.physics["spring_constant"]]))[0, 1]
    assert abs(float(correlation)) == pytest.approx(1.0, abs=1e-9)


def test_linear_latent_is_the_first_principal_component() -> None:
    from sklearn.decomposition import PCA

    fluids = mk.tasks.VapourPressure().split("train")
    x, y, _ = training_curves(fluids, 1000, 0)
    latent = ys.LinearLatent.fit(fluids)
    theirs = PCA(1, svd_solver="full").fit(y[:, :, 0].numpy())
    assert abs(latent.component(x)[:, 0].numpy() @ theirs.components_[0]) == pytest.approx(
        1.0, abs=1e-9
    )
    np.testing.assert_allclose(latent.mean(x)[:, 0], theirs.mean_)
    z = latent.latent(x, y[3])  # with the whole curve as support, it is the projection
    projected = theirs.transform(y[3:4, :, 0].numpy())[0, 0]
    assert abs(float(z)) == pytest.approx(abs(projected), rel=1e-9)


def test_of_one_curve_there_is_no_latent() -> None:
    one = mk.tasks.VapourPressure().split("train").subset(1)
    latent = ys.LinearLatent.fit(one)
    x, y, _ = training_curves(one, 1, 0)
    predict = latent.adapt(x[:2], y[0, :2] + 0.5)
    assert torch.equal(predict(x), y[0])


def test_gaussian_process_is_scikit_learns() -> None:
    fluids = mk.tasks.VapourPressure(at=[0.7, 0.9])
    ours = ys.GaussianProcess.fit(fluids.split("train"), points=10)
    batch = fluids.split("test").every(2, dtype=F64)
    x, y, new = batch.support.x[0], batch.support.y[0], batch.query.x[0]
    mean = ours.mean.adapt(x, y)
    theirs = GaussianProcessRegressor(ours.kernel, optimizer=None, alpha=0.0)
    theirs.fit(x.numpy(), (y - mean(x)).numpy())
    expected = mean(new)[:, 0].numpy() + theirs.predict(new.numpy()).ravel()
    np.testing.assert_allclose(ours.adapt(x, y)(new)[:, 0], expected, rtol=1e-7, atol=1e-9)


def test_gaussian_process_passes_near_what_it_was_shown() -> None:
    family = mk.tasks.Sinusoid(amplitude=(1.0, 2.0))
    process = ys.GaussianProcess.fit(family, 30)
    batch = family.sample(1, 12, 50, generator=torch.Generator().manual_seed(0), dtype=F64)
    predict = process.adapt(batch.support.x[0], batch.support.y[0])
    shown = (predict(batch.support.x[0]) - batch.support.y[0]).abs().max()
    assert float(shown) < 0.05


def test_gaussian_process_assumes_no_less_noise_than_it_is_told() -> None:
    """Curves without noise: the fit goes down to the least that it may."""
    process = ys.GaussianProcess.fit(mk.tasks.Sinusoid(), 10, points=10, noise=0.02)
    assert process.kernel.k2.noise_level == pytest.approx(0.02**2, rel=1e-3)


def test_line_through_the_critical_point() -> None:
    """One point on the line log10 p_r = 3 (1 - 1/T_r) gives the line back; it ends at (1, 0)."""
    x = torch.tensor([[0.7]], dtype=F64)
    predict = ys.LineThroughCriticalPoint().adapt(x, 3 * (1 - 1 / x))
    t = torch.tensor([[0.6], [0.8], [1.0]], dtype=F64)
    torch.testing.assert_close(predict(t), 3 * (1 - 1 / t))
    assert float(predict(t)[-1]) == 0
    # Two points off one line: u = 1 - 1/x is -1 and -1/4, so h = (3 + 1/4) / (1 + 1/16).
    x, y = (torch.tensor(v, dtype=F64)[:, None] for v in ([0.5, 0.8], [-3.0, -1.0]))
    torch.testing.assert_close(
        ys.LineThroughCriticalPoint().adapt(x, y)(t), 3.25 / 1.0625 * (1 - 1 / t)
    )


@pytest.mark.parametrize("w", [0.0, 0.2, 0.5])
def test_lee_kesler(w) -> None:
    """By Pitzer's definition log10 p_r = -1 - w at T_r = 0.7, and p_r = 1 at T_r = 1; the fit keeps
    both to a few thousandths. Published values at T_r = 0.8: f0 = -1.609, f1 = -1.75 (worked here
    from the printed coefficients by hand).
    """
    told = {"acentric_factor": torch.tensor(w, dtype=F64)}
    predict = ys.LeeKesler().adapt(*points(1), physics=told)
    t = torch.tensor([[0.7], [1.0], [0.8]], dtype=F64)
    at_07, at_1, at_08 = predict(t)[:, 0].tolist()
    assert at_07 == pytest.approx(-1 - w, abs=0.01)
    assert at_1 == pytest.approx(0.0, abs=1e-4)
    f0 = 5.92714 - 6.09648 / 0.8 - 1.28862 * math.log(0.8) + 0.169347 * 0.8**6
    f1 = 15.2518 - 15.6875 / 0.8 - 13.4721 * math.log(0.8) + 0.43577 * 0.8**6
    assert at_08 == pytest.approx((f0 + w * f1) / math.log(10), rel=1e-12)


def test_fluids_against_the_anchors_of_experiment_e10() -> None:
    """EXPERIMENTS.md has root mean squares on another split: .183, .0170, .0061. Over all fluids
    ours agree within 15 %. The anchor of Lee-Kesler (.0185) hangs on a few outliers whose listed
    acentric factor is off, and so on the split: only its place in the order is compared.
    """
    family = mk.tasks.VapourPressure(at=[0.7])
    train, test = family.split("train"), family.split("test")
    learners = {
        "mean curve": ys.MeanCurve.fit(train),
        "line": ys.LineThroughCriticalPoint(),
        "Lee-Kesler": ys.LeeKesler(),
        "latent": ys.LinearLatent.fit(train),
    }
    rms = mk.compare(learners, family, 1)["mean"] ** 0.5
    anchors = {"mean curve": 0.183, "line": 0.0170, "latent": 0.0061}
    assert {name: rms[name] for name in anchors} == pytest.approx(anchors, rel=0.15)
    order = mk.compare(learners, test, 1, loss=mk.losses.rmse)["mean"]
    assert list(order.sort_values(ascending=False).index) == list(learners)


@pytest.mark.parametrize("steps", [7, WORTH_CALLS])
def test_from_scratch_is_adam_on_the_support(steps: int) -> None:
    x, y = points(5)
    model = mk.models.MLP(1, 1, hidden=(4,), seed=2).double()
    predict = ys.FromScratch(model, lr=0.02, steps=steps).adapt(x, y)
    trained = mk.models.MLP(1, 1, hidden=(4,), seed=2).double()
    optimiser = torch.optim.Adam(trained.parameters(), lr=0.02)
    for _ in range(steps):
        optimiser.zero_grad()
        torch.nn.functional.mse_loss(trained(x), y).backward()
        optimiser.step()
    torch.testing.assert_close(predict(NEW), trained(NEW).detach(), rtol=1e-9, atol=1e-11)
    assert all(p.grad is None for p in model.parameters())


def test_from_scratch_classifies() -> None:
    x, _ = points(20)
    y = (x[:, 0] > 0).long()
    learner = ys.FromScratch(mk.models.MLP(1, 2), 0.05, 100, loss=mk.losses.cross_entropy)
    predict = learner.adapt(x, y)
    assert predict(x).dtype == F64
    assert float(mk.losses.error_rate(predict, mk.Data(x, y))) == 0


def test_pooled_trains_on_the_loss_before_any_step() -> None:
    """Trained on straight lines, the pooled model comes to their mean; it adapts all the same."""
    family = mk.tasks.LinearLaw()
    pooled = ys.Pooled(mk.models.MLP(1, 1, hidden=()).double(), 0.3, 5)
    mk.meta_train(
        pooled, family, 5, iterations=200, outer_lr=0.1, schedule="cosine", progress=False
    )
    weight, bias = (float(p.detach()) for p in pooled.model.parameters())
    assert (weight, bias) == pytest.approx((2.0, 0.5), abs=0.1)
    curve = mk.evaluate(pooled, family, 10, n_tasks=100)
    assert curve.losses.shape == (100, 6)
    assert float(curve.mean[5]) < 0.7 * float(curve.mean[0])


def test_interpolate_keeps_type_and_columns() -> None:
    x, y = np.array([0.0, 1.0]), np.array([[0.0, 5.0], [2.0, 7.0]])
    at = torch.tensor([[0.25], [2.0]])
    expected = torch.tensor([[0.5, 5.5], [2.0, 7.0]])
    assert torch.equal(interpolate(at, x, y), expected)


def test_the_best_of_several_starts_is_what_the_classical_fit_returns() -> None:
    """y = (a^2, a / 10) is (4, 0.2) at a = 2; about a = -2 the misfit has a minimum too."""

    def law(x: Tensor, p: dict[str, Tensor]) -> Tensor:
        return torch.where(x == 0, p["a"] ** 2, p["a"] / 10)

    simulator = mk.Simulator(law, {"a": (-3.0, 3.0)})
    fit = ys.CurveFit(simulator, [{"a": 1.0}, {"a": -1.5}])
    x, y = (torch.tensor(v, dtype=F64)[:, None] for v in ([0.0, 1.0], [4.0, 0.2]))
    predict = fit.adapt(x, y)
    assert float(simulator.values(predict.weights)["a"]) == pytest.approx(2.0, abs=1e-6)
    evaluations = fit.evaluations
    fit.starts.reverse()
    found = fit.adapt(x, y)  # from a = 1 the misfits are -3 and -0.1
    assert found.losses.tolist() == pytest.approx([(9 + 0.01) / 2, 0.0], abs=1e-6)
    assert fit.evaluations == evaluations
    # Readings 1 and 3 of one number: the mean, off by 1 each.
    simulator = mk.Simulator(lambda x, p: p["a"] + 0 * x, {"a": (-9.0, 9.0)}, {"a": 5.0})
    losses = ys.CurveFit(simulator).adapt(x, 1 + 2 * x).losses
    assert losses.tolist() == pytest.approx([(16 + 4) / 2, 1.0])


def test_the_classical_fit_takes_the_steps_of_scipy() -> None:
    def law(x: Tensor, p: dict[str, Tensor]) -> Tensor:
        return p["a"] * torch.exp(-p["b"] * x)

    simulator = mk.Simulator(law, {"a": (0.0, 3.0), "b": (-1.0, 3.0)}, {"a": 1.0, "b": -0.5})
    x = torch.linspace(0, 1, 9, dtype=F64)[:, None]
    y = 2 * torch.exp(-0.7 * x) + 0.1 * normal(9, 1)
    runs = []

    def residuals(u: Any) -> Any:
        runs.append(u)
        values = simulator.values(dict(zip("ab", torch.as_tensor(u), strict=True)))
        return (law(x, values) - y)[:, 0].numpy()

    fit = ys.CurveFit(simulator)
    found = fit.adapt(x, y).weights
    ends: dict[str, Any] = dict.fromkeys(("ftol", "xtol", "gtol"), 1e-8)
    theirs = least_squares(residuals, fit.starts[0], "2-point", method="lm", **ends)
    assert [float(found[name]) for name in "ab"] == pytest.approx(theirs.x.tolist(), rel=1e-9)
    assert abs(fit.evaluations - len(runs)) <= 2  # theirs runs once before; ours once afterwards


def test_a_classical_fit_begins_where_the_law_is_finite() -> None:
    simulator = mk.Simulator(lambda x, p: x / (p["a"] - 1), {"a": (0.0, 2.0)})
    x = torch.ones(3, 1, dtype=F64)
    with pytest.raises(mk.MamlkitError, match="not finite at the start a=1;"):
        ys.CurveFit(simulator).adapt(x, x)


def test_a_classical_fit_that_may_end_sooner_runs_the_simulator_less() -> None:
    simulator = mk.Simulator(lambda x, p: torch.exp(p["a"] * x), {"a": (-3.0, 3.0)}, {"a": -2.0})
    x = torch.linspace(0, 1, 9, dtype=F64)[:, None]
    y = torch.exp(0.7 * x) + 0.1 * normal(9, 1)
    exact, sooner = ys.CurveFit(simulator), ys.CurveFit(simulator, tolerance=1e-2)
    found = [float(simulator.values(fit.adapt(x, y).weights)["a"]) for fit in (exact, sooner)]
    assert found[1] == pytest.approx(found[0], abs=1e-2)
    assert sooner.evaluations < exact.evaluations
    with pytest.raises(mk.MamlkitError, match=r"tolerance must be a finite number > 0, but 0"):
        ys.CurveFit(simulator, tolerance=0)


@pytest.mark.parametrize(
    "fit",
    [ys.MeanCurve.fit, ys.LinearLatent.fit, ys.Bayes.fit, ys.GaussianProcess.fit],
)
def test_fits_are_reproducible_and_leave_the_global_generator_alone(fit) -> None:
    before = torch.get_rng_state()
    a, b, other = (fit(mk.tasks.Sinusoid(), 20, seed=seed) for seed in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), before)
    x, y = points(2)
    assert torch.equal(a.adapt(x, y)(NEW), b.adapt(x, y)(NEW))
    assert not torch.allclose(a.adapt(x, y)(NEW), other.adapt(x, y)(NEW))


def burgers_task(nu: float) -> mk.tasks.Collocation:
    query = mk.tasks.Burgers().grid(torch.tensor([nu], dtype=F64))
    return mk.tasks.Collocation(*(leaf[0] for leaf in query))


@pytest.mark.parametrize("nu", [0.005, 0.05])
def test_finite_differences_are_of_second_order_against_cole_hopf(nu: float) -> None:
    data = burgers_task(nu)
    wrong = [
        float(mk.physics.pde.relative_l2(ys.BurgersDifferences(n).adapt(data), data))
        for n in (400, 800)
    ]
    assert wrong[1] < 1e-3
    assert math.log2(wrong[0] / wrong[1]) == pytest.approx(2, abs=0.1)


def test_finite_differences_read_nothing_but_the_viscosity() -> None:
    data = burgers_task(0.02)
    blind = data._replace(y=torch.zeros_like(data.y))
    one, other = (ys.BurgersDifferences(100).adapt(d)(data.x) for d in (data, blind))
    assert torch.equal(one, other)
    edge = ys.BurgersDifferences(100).adapt(data)(data.edge)
    torch.testing.assert_close(edge, data.edge_y, atol=1e-4, rtol=0)


def test_finite_differences_say_what_they_need() -> None:
    with pytest.raises(mk.MamlkitError, match="must be even"):
        ys.BurgersDifferences(101)
    with pytest.raises(mk.MamlkitError, match="one Collocation"):
        ys.BurgersDifferences().adapt(*points(3))
    data = burgers_task(0.02)
    mixed = data._replace(x=data.x + torch.linspace(0, 0.01, len(data.x), dtype=F64)[:, None])
    with pytest.raises(mk.MamlkitError, match="one viscosity"):
        ys.BurgersDifferences().adapt(mixed)
