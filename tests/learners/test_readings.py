"""Readings: weights and padding. A task in a padded batch is the task alone; weights are those of
weighted least squares; and a learner that is shown nothing falls back on what it knew before.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from sklearn import linear_model
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import mamlkit as mk
from mamlkit.learners.beliefs import Belief, Gaussian, gaussian_nll
from mamlkit.learners.heads import ClassifierHead
from mamlkit.learners.prototypes import Prototypes
from mamlkit.learners.rules import adam, momentum
from mamlkit.learners.solvers import ridge
from tests.helpers import F64, normal, seeded

SIZES = (4, 2, 9, 3, 7, 5)
Makers = dict[str, Callable[[], Any]]
ys = mk.yardsticks


def table(d_out: int = 1, bars: int = 0) -> mk.tasks.Table:
    """Ragged systems of two inputs, with no error bars, one, or one for each output."""
    rng = np.random.default_rng(d_out + 10 * bars)
    x = [rng.uniform(-2, 2, (n, 2)) for n in SIZES]
    y = [
        np.stack([np.sin(xs[:, 0] + j) + 0.3 * i * xs[:, 1] for j in range(d_out)], axis=1)
        for i, xs in enumerate(x)
    ]
    sigma = [rng.uniform(0.3, 1.5, (n, bars)) for n in SIZES] if bars else None
    return mk.tasks.Table(x, y, sigma)


def mlp(d_out: int = 1, seed: int = 0, **more: Any) -> nn.Module:
    return mk.models.MLP(2, d_out, hidden=(6,), seed=seed, **more).double()


def encoder(d_in: int) -> nn.Module:
    return mk.models.MLP(d_in, 3, hidden=(6,)).double()


def moved(learner: Any) -> Any:
    """The learner with random numbers for all that it learns, so that nothing is zero by chance."""
    generator = seeded(5)
    with torch.no_grad():
        for p in learner.parameters():
            p.add_(0.1 * torch.randn(p.shape, generator=generator, dtype=p.dtype))
    return learner


def cut(points: Any) -> Any:
    """The real points of one task, as a batch of one."""
    there = (points.weight > 0).any(-1)
    return type(points)(*(leaf[there][None] for leaf in points))


def alone(batch: mk.TaskBatch, i: int) -> mk.TaskBatch:
    support, query, _ = batch.task(i)
    return mk.TaskBatch(cut(support), cut(query), {})


def losses_and_gradient(learner: Any, batches: list[mk.TaskBatch]) -> tuple[Tensor, Tensor]:
    """The loss of each task, and the gradient of their sum in a row."""
    losses = torch.cat([learner.query_losses(batch) for batch in batches])
    parameters = [p for p in learner.parameters() if p.requires_grad]
    gradients = torch.autograd.grad(losses.sum(), parameters, materialize_grads=True)
    return losses.detach(), torch.cat([g.reshape(-1) for g in gradients])


def assert_padding_does_not_count(learner: Any, batch: mk.TaskBatch, tolerance: float) -> None:
    losses, gradient = losses_and_gradient(moved(learner), [batch])
    n_tasks = len(batch.support.x)
    one_by_one = [alone(batch, i) for i in range(n_tasks)]
    assert len({len(task.support.x[0]) for task in one_by_one}) > 1  # ragged indeed
    expected, expected_gradient = losses_and_gradient(learner, one_by_one)
    torch.testing.assert_close(losses, expected, rtol=tolerance, atol=0)
    assert gradient.norm() > 0
    error = (gradient - expected_gradient).norm() / expected_gradient.norm()
    assert error < tolerance


# --- a padded batch is its tasks, one by one ------------------------------------------------------


def learners(d_out: int) -> Makers:
    def start(seed: int) -> mk.MAML:
        return mk.MAML(mlp(d_out, seed), 0.1, 2)

    return {
        "MAML": lambda: mk.MAML(mlp(d_out), 0.1, 3),
        "MAML, every step": lambda: mk.MAML(mlp(d_out), 0.1, 2, step_weights=[0.2, 0.3, 0.5]),
        "MAML, momentum": lambda: mk.MAML(mlp(d_out), 0.1, 3, rule=momentum()),
        "MAML, adam": lambda: mk.MAML(mlp(d_out), 0.01, 3, rule=adam()),
        "MAML, penalty": lambda: mk.MAML(mlp(d_out), 0.1, 3, penalty=0.3, learn_penalty=True),
        "MAML, matrix": lambda: mk.MAML(mlp(d_out), 0.05, 2, learn_lr="matrix"),
        "FOMAML": lambda: mk.FOMAML(mlp(d_out), 0.1, 2),
        "ANIL": lambda: mk.ANIL(mlp(d_out), 0.1, 2),
        "MetaSGD": lambda: mk.MetaSGD(mlp(d_out), 0.1, 2),
        "CAVIA": lambda: mk.CAVIA(mlp(d_out, context=2), 0.3, 2),
        "CoDA": lambda: mk.CoDA(mlp(d_out), 0.1),
        "MAML++": lambda: mk.MAMLPlusPlus(mlp(d_out), 0.05, 3),
        "Reptile": lambda: mk.Reptile(mlp(d_out), 0.1, 3),
        "implicit": lambda: mk.ImplicitMAML(
            mlp(d_out), 1.0, tolerance=1e-11, max_steps=500, max_cg=200
        ),
        "ridge": lambda: mk.RidgeHead(mlp(5)),
        "ridge, offset": lambda: mk.RidgeHead(mlp(5), offset=True),
        "CNP": lambda: mk.CNP(mlp(2 * d_out, context=3), encoder(2 + d_out)),
        "Bayes": lambda: mk.BayesianHead(mlp(5), 5, d_out, noise=0.3),
        "ensemble": lambda: mk.Ensemble(start, 2),
        "multistart": lambda: mk.Multistart(start, 2),
    }


@pytest.mark.parametrize(("d_out", "bars"), [(1, 0), (1, 1), (2, 1), (2, 2)])
@pytest.mark.parametrize("name", learners(1))
def test_a_padded_task_is_the_task_alone(name: str, d_out: int, bars: int) -> None:
    batch = table(d_out, bars).every(4, generator=seeded(), dtype=F64)
    tolerance = 1e-6 if name == "implicit" else 1e-9
    assert_padding_does_not_count(learners(d_out)[name](), batch, tolerance)


@pytest.mark.parametrize("name", ["MAML", "ridge", "Bayes", "Reptile"])
def test_a_support_of_any_size_is_the_task_alone(name: str) -> None:
    batch = table().every((1, 6), generator=seeded(2), dtype=F64)
    assert_padding_does_not_count(learners(1)[name](), batch, 1e-9)


def labels() -> mk.TaskBatch:
    """Tasks of 3 classes with 6 to 3 support and 5 to 2 query points. Where there is padding, it
    holds loud points with a label.
    """
    sizes = torch.tensor([[6, 2], [4, 5], [3, 4], [5, 3]])
    parts = []
    for k in range(2):
        most = int(sizes[:, k].max())
        real = torch.arange(most) < sizes[:, k, None]  # [4, most]
        x = normal(4, most, 2, seed=k) + (~real)[..., None] * 30
        y = torch.arange(most).remainder(3).repeat(4, 1).where(real, 1)
        x[..., 0] += y * real
        parts.append(mk.Readings(x, y, real[..., None].double()))
    return mk.TaskBatch(parts[0], parts[1], {"a": torch.zeros(4)})


CLASSIFIERS: Makers = {
    "ridge head": lambda: ClassifierHead(mlp(4), 3, "ridge"),
    "logistic head": lambda: ClassifierHead(mlp(4), 3, "logistic"),
    "hinge head": lambda: ClassifierHead(mlp(4), 3, "hinge"),
    "prototypes": lambda: Prototypes(mlp(4), 3),
    "MAML, cross entropy": lambda: mk.MAML(mlp(3), 0.1, 3, loss=mk.losses.cross_entropy),
    "MAML, hinge": lambda: mk.MAML(mlp(3), 0.1, 3, loss=mk.losses.hinge),
    "Reptile, cross entropy": lambda: mk.Reptile(mlp(3), 0.1, 3, loss=mk.losses.cross_entropy),
}


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_padding_does_not_count_for_classes(name: str) -> None:
    assert_padding_does_not_count(CLASSIFIERS[name](), labels(), 1e-8)


@pytest.mark.parametrize("name", [*learners(1), "logistic head"])
def test_adapting_to_a_padded_support_is_adapting_to_its_real_points(name: str) -> None:
    classes = name in CLASSIFIERS
    learner = moved((CLASSIFIERS if classes else learners(1))[name]())
    batch = labels() if classes else table(1, 1).every(4, generator=seeded(), dtype=F64)
    x = normal(5, 2, seed=3)
    for i in range(len(batch.support.x)):
        padded = learner.adapt(batch.task(i).support)
        real = learner.adapt(mk.Readings(*(leaf[0] for leaf in alone(batch, i).support)))
        torch.testing.assert_close(padded(x), real(x), rtol=1e-6, atol=1e-9)
        torch.testing.assert_close(padded.losses, real.losses, rtol=1e-6, atol=1e-12)


YARDSTICKS: Makers = {
    "zero": ys.Zero,
    "ridge": lambda: ys.Ridge(0.3),
    "least squares": ys.LeastSquares,
    "Bayes": lambda: ys.Bayes([0.4, 0.1], [[0.5, 0.1], [0.1, 0.3]], 0.3, lambda x: x),
}


@pytest.mark.parametrize(("d_out", "bars"), [(1, 0), (1, 1), (2, 1), (2, 2)])
@pytest.mark.parametrize("name", [*YARDSTICKS, "from scratch"])
def test_a_yardstick_adapts_to_the_real_points_alone(name: str, d_out: int, bars: int) -> None:
    if name == "Bayes" and d_out == 2:
        with pytest.raises(mk.MamlkitError, match="takes one output"):
            YARDSTICKS[name]().adapt(table(d_out, bars).every(4).task(0).support)
        return
    scratch = name == "from scratch"
    yardstick = ys.FromScratch(mlp(d_out), 0.01, 5) if scratch else YARDSTICKS[name]()
    batch, x = table(d_out, bars).every(4, generator=seeded(), dtype=F64), normal(5, 2, seed=3)
    for i in range(len(SIZES)):
        padded = yardstick.adapt(batch.task(i).support)(x)
        real = yardstick.adapt(mk.Readings(*(leaf[0] for leaf in alone(batch, i).support)))(x)
        torch.testing.assert_close(padded, real, rtol=1e-8, atol=1e-10)


# --- weights --------------------------------------------------------------------------------------


def weights(*shape: int, seed: int = 0) -> Tensor:
    return 0.1 + 3 * torch.rand(shape, generator=seeded(seed), dtype=F64)


@pytest.mark.parametrize("penalty", [1e-3, 2.0])
@pytest.mark.parametrize(("n", "q"), [(9, 4), (4, 9), (5, 5), (1, 3)])
def test_weighted_ridge_is_that_of_sklearn(n: int, q: int, penalty: float) -> None:
    phi, y, weight = normal(n, q), normal(n, 2, seed=1), weights(n, 1)
    model = linear_model.Ridge(alpha=penalty, fit_intercept=False, solver="cholesky")
    model.fit(phi.numpy(), y.numpy(), sample_weight=weight[:, 0].numpy())
    found = ridge(phi, y, torch.tensor(penalty, dtype=F64), weight)
    np.testing.assert_allclose(found.T, model.coef_.reshape(2, q), rtol=1e-8, atol=1e-9)
    predict = ys.Ridge(penalty, lambda x: x).adapt(mk.Readings(phi, y, weight))
    np.testing.assert_allclose(predict(phi), model.predict(phi.numpy()), rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize(("n", "q"), [(9, 4), (4, 9)])
def test_each_output_may_have_weights_of_its_own(n: int, q: int) -> None:
    phi, y, weight = normal(n, q), normal(n, 2, seed=1), weights(n, 2)
    found = ridge(phi, y, torch.tensor(0.5, dtype=F64), weight)
    predicted = ys.Ridge(0.5, lambda x: x).adapt(mk.Readings(phi, y, weight))(phi)
    for j in range(2):
        model = linear_model.Ridge(alpha=0.5, fit_intercept=False, solver="cholesky")
        model.fit(phi.numpy(), y[:, j].numpy(), sample_weight=weight[:, j].numpy())
        np.testing.assert_allclose(found[:, j], model.coef_, rtol=1e-8, atol=1e-9)
        np.testing.assert_allclose(predicted[:, j], model.predict(phi.numpy()), rtol=1e-8)


def test_weighted_least_squares_is_that_of_numpy() -> None:
    x, y, weight = normal(7, 1), normal(7, 1, seed=1), weights(7, 1)
    predict = ys.LeastSquares().adapt(mk.Readings(x, y, weight))
    at, values, root = (t[:, 0].numpy() for t in (x, y, weight.sqrt()))
    slope, intercept = np.polyfit(at, values, 1, w=root)
    np.testing.assert_allclose(predict(x), slope * x + intercept, rtol=1e-10)


class Same(nn.Module):
    """Features that are the inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones((), dtype=F64))

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * x


def test_a_weighted_ridge_head_is_ridge_with_one_more_feature() -> None:
    x, y, weight = normal(6, 3), normal(6, 2, seed=1), weights(6, 2)
    data = mk.Readings(x, y, weight)
    predict = mk.RidgeHead(Same(), 0.4).adapt(data)
    expected = ys.Ridge(0.4, lambda x: torch.cat([x, torch.ones_like(x[:, :1])], 1)).adapt(data)
    torch.testing.assert_close(predict(x), expected(x), rtol=1e-9, atol=1e-10)


def posterior(
    mean: Tensor, covariance: Tensor, noise: float, data: mk.Readings
) -> tuple[Tensor, Tensor]:
    """The textbook: precision = C^-1 + Phi^T W Phi / s^2."""
    phi, weighted = data.x, data.weight * data.x / noise**2
    prior = torch.linalg.inv(covariance)
    found = torch.linalg.inv(prior + phi.T @ weighted)
    return found @ (prior @ mean + weighted.T @ data.y[:, 0]), found


def test_weighted_bayes_is_that_of_the_textbook() -> None:
    data, x = mk.Readings(normal(4, 3), normal(4, 1, seed=1), weights(4, 1)), normal(5, 3, seed=2)
    head = moved(mk.BayesianHead(Same(), 3, noise=0.3))
    with torch.no_grad():
        head.model.scale.fill_(1.0)
    mean, root = head.prior_mean[0].detach(), head.prior_root[0].detach()
    noise, misfit = head.noise.item(), head.misfit.item()
    w, covariance = posterior(mean, root @ root.T, noise, data)
    variance = ((x @ covariance) * x).sum(1, keepdim=True)
    found = head.adapt(data).distribution(x)
    torch.testing.assert_close(found.mean[:, 0], x @ w, rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(found.variance, variance + misfit**2, rtol=1e-9, atol=1e-11)
    yardstick = ys.Bayes(mean, root @ root.T, noise, lambda x: x).adapt(data).distribution(x)
    torch.testing.assert_close(yardstick.mean[:, 0], x @ w, rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(yardstick.variance, variance, rtol=1e-9, atol=1e-11)


def test_outputs_of_a_bayesian_head_have_weights_of_their_own() -> None:
    data, x = mk.Readings(normal(4, 3), normal(4, 2, seed=1), weights(4, 2)), normal(5, 3, seed=2)
    head = moved(mk.BayesianHead(Same(), 3, 2, noise=0.3))
    with torch.no_grad():
        head.model.scale.fill_(1.0)
    found = head.adapt(data).distribution(x)
    for j in range(2):
        mean, root = head.prior_mean[j].detach(), head.prior_root[j].detach()
        one = mk.Readings(data.x, data.y[:, j : j + 1], data.weight[:, j : j + 1])
        w, _ = posterior(mean, root @ root.T, head.noise[j].item(), one)
        torch.testing.assert_close(found.mean[:, j], x @ w, rtol=1e-9, atol=1e-11)


def repeated(data: mk.Readings) -> mk.Data:
    """Each reading as often as its weight says."""
    times = data.weight[:, 0].long()
    return mk.Data(data.x.repeat_interleave(times, 0), data.y.repeat_interleave(times, 0))


WHOLE = torch.tensor([3.0, 1.0, 0.0, 2.0, 1.0], dtype=F64)[:, None]


@pytest.mark.parametrize(
    "learner",
    [
        mk.MAML(mlp(), 0.1, 3),
        mk.RidgeHead(mlp(4)),
        mk.BayesianHead(mlp(4), 4, noise=0.3),
        ys.Ridge(0.2),
        ys.Bayes([0.3, 0.1], [[0.5, 0.1], [0.1, 0.4]], 0.2, lambda x: x),
        Prototypes(mlp(4), 2),
        ClassifierHead(mlp(4), 2, "ridge"),
        ClassifierHead(mlp(4), 2, "logistic"),
        ClassifierHead(mlp(4), 2, "hinge"),
        mk.MAML(mlp(2), 0.1, 3, loss=mk.losses.cross_entropy),
    ],
    ids=lambda learner: type(learner).__name__,
)
def test_a_whole_weight_is_a_reading_so_many_times(learner: Any) -> None:
    classes = hasattr(learner, "ways") or getattr(learner, "loss", None) is mk.losses.cross_entropy
    y = torch.tensor([0, 1, 1, 0, 1]) if classes else normal(5, 1, seed=1)
    data, x = mk.Readings(normal(5, 2), y, WHOLE), normal(4, 2, seed=2)
    learner = moved(learner) if isinstance(learner, nn.Module) else learner
    one, two = learner.adapt(data), learner.adapt(*repeated(data))
    torch.testing.assert_close(one(x), two(x), rtol=1e-8, atol=1e-10)
    unweighted = learner.adapt(data.x, data.y)
    assert (one(x) - unweighted(x)).abs().max() > 1e-6


# --- losses ---------------------------------------------------------------------------------------


def test_losses_are_means_over_what_is_there() -> None:
    data = mk.Readings(normal(5, 2), normal(5, 2, seed=1), (WHOLE > 0).double())
    there = WHOLE[:, 0] > 0
    net = mlp(2)
    error = (net(data.x) - data.y)[there].detach()
    with torch.no_grad():
        assert mk.losses.mse(net, data) == pytest.approx(float((error**2).mean()), rel=1e-12)
        root = float((error**2).mean().sqrt())
        assert mk.losses.rmse(net, data) == pytest.approx(root, rel=1e-12)


@torch.no_grad()
def test_losses_are_means_by_weight() -> None:
    x, y, net = normal(5, 2), normal(5, 2, seed=1), mlp(2)
    square = (net(x) - y) ** 2
    for weight in (weights(5, 1), weights(5, 2)):
        w = weight.expand(5, 2)
        expected = float((w * square).sum() / w.sum())
        data = mk.Readings(x, y, weight)
        assert mk.losses.mse(net, data) == pytest.approx(expected, rel=1e-12)
        assert mk.losses.mse(net, data._replace(weight=7 * weight)) == pytest.approx(expected)


@torch.no_grad()
def test_losses_of_classes_are_means_over_what_is_there() -> None:
    x, y, net = normal(5, 2), torch.tensor([0, 2, 1, 2, 1]), mlp(3)
    data, there = mk.Readings(x, y, (WHOLE > 0).double()), WHOLE[:, 0] > 0
    scores, own = net(x)[there], y[there]
    others = [scores[i, torch.arange(3) != k].max() for i, k in enumerate(own)]
    margins = [(1 + o - scores[i, own[i]]).relu() for i, o in enumerate(others)]
    expected = {
        mk.losses.cross_entropy: cross_entropy(scores, own),
        mk.losses.error_rate: (scores.argmax(1) != own).double().mean(),
        mk.losses.hinge: torch.stack(margins).mean(),
    }
    for loss, value in expected.items():
        assert float(loss(net, data)) == pytest.approx(float(value), rel=1e-12)
    repeats = repeated(mk.Readings(x, y, WHOLE))
    for loss in expected:
        weighted = float(loss(net, mk.Readings(x, y, WHOLE)))
        assert weighted == pytest.approx(float(loss(net, repeats)), rel=1e-12)


@pytest.mark.parametrize("columns", [1, 2])
def test_a_likelihood_has_the_error_of_each_reading(columns: int) -> None:
    mean, variance = normal(5, 2), weights(5, 2, seed=1)
    noise = torch.tensor([0.3, 0.7], dtype=F64)
    belief = Belief(lambda x: Gaussian(mean, variance), noise=noise)
    weight = weights(5, columns, seed=2)
    weight[2] = 0
    data = mk.Readings(normal(5, 1), normal(5, 2, seed=3), weight)
    there = weight[:, 0] > 0
    spread = (variance + noise**2 / weight)[there].sqrt()
    expected = -torch.distributions.Normal(mean[there], spread).log_prob(data.y[there]).mean()
    assert float(gaussian_nll(belief, data)) == pytest.approx(float(expected), rel=1e-12)


def test_a_loss_of_nothing_is_zero() -> None:
    net = mlp(1)
    empty = mk.Data(normal(0, 2), normal(0, 1))
    padding = mk.Readings(normal(3, 2), normal(3, 1), torch.zeros(3, 1, dtype=F64))
    for data in (empty, padding):
        loss = mk.losses.mse(net, data)
        assert loss.item() == 0
        assert all(bool((g == 0).all()) for g in torch.autograd.grad(loss, list(net.parameters())))


def test_a_weight_that_does_not_fit_is_refused() -> None:
    x, y = normal(4, 2), normal(4, 1)
    for weight in (torch.ones(4), torch.ones(3, 1), torch.ones(4, 2), -torch.ones(4, 1)):
        for learner in (mk.MAML(mlp()), ys.Ridge()):
            with pytest.raises(mk.MamlkitError, match=r"weight has shape .* for 4 points"):
                learner.adapt(mk.Readings(x, y, weight.double()))


# --- training -------------------------------------------------------------------------------------


@pytest.mark.parametrize("shots", [3, (1, 5)])
@pytest.mark.parametrize(
    "make",
    [
        lambda: mk.MAML(mlp(), 0.1, 2),
        lambda: mk.RidgeHead(mlp(4)),
        lambda: mk.BayesianHead(mlp(4), 4),
    ],
)
def test_captured_training_on_a_table_is_eager_training(make: Any, shots: Any) -> None:
    def train(compile: Any) -> mk.History:
        settings: Any = {"iterations": 6, "meta_batch": 4, "seed": 3, "compile": compile}
        family = table(1, 1)
        return mk.meta_train(
            make(), family, shots, validation=family, progress=False, validate_every=3, **settings
        )

    eager, captured = train(False), train("capture")
    assert len(eager.outer_loss) == 6
    np.testing.assert_allclose(captured.outer_loss, eager.outer_loss, rtol=1e-9)
    np.testing.assert_allclose(captured.validation_loss, eager.validation_loss, rtol=1e-9)


class Recorder(mk.tasks.Sinusoid):
    """Notes how many support points each task has that is measured for training."""

    def _measured(self, *given: Any) -> mk.TaskBatch:
        batch = super()._measured(*given)
        seen.extend((batch.support.weight[..., 0] > 0).sum(1).tolist())
        return batch


seen: list[int] = []


def test_training_draws_a_number_of_shots_for_each_task() -> None:
    seen.clear()
    learner = mk.MAML(mk.models.MLP(1, 1, hidden=(4,)).double(), 0.05)
    history = mk.meta_train(
        learner, Recorder(), (1, 8), iterations=40, meta_batch=10, progress=False
    )
    assert np.isfinite(history.outer_loss).all()
    assert len(history.outer_loss) == 40
    assert set(seen) == set(range(1, 9))
    drawn = np.bincount(seen)[1:] / len(seen)
    np.testing.assert_allclose(drawn, 1 / 8, atol=0.07)


@pytest.mark.parametrize("shots", [(1, 8), (0, 3)])
def test_a_range_of_shots_keeps_the_points_of_the_most(shots: tuple[int, int]) -> None:
    family = mk.tasks.Sinusoid(noise=0.1)
    some = family.sample(50, shots, 5, generator=seeded(), dtype=F64)
    full = family.sample(50, shots[1], 5, generator=seeded(), dtype=F64)
    assert torch.equal(some.support.x, full.support.x)
    assert torch.equal(some.query.y, full.query.y)
    n = some.support.weight[..., 0].sum(1)
    assert set(n.tolist()) == set(range(shots[0], shots[1] + 1))
    first = torch.arange(shots[1]) < n[:, None]
    assert torch.equal(some.support.weight[..., 0] > 0, first)


@pytest.mark.parametrize("shots", [(8, 1), (1, 2, 3), (-1, 3), (1.5, 3), "3"])
def test_a_range_of_shots_that_is_none_is_refused(shots: Any) -> None:
    with pytest.raises(mk.MamlkitError, match="shots"):
        mk.tasks.Sinusoid().sample(2, shots)


# --- nothing measured -----------------------------------------------------------------------------


LINES = mk.tasks.LinearLaw()


def line_network(d_out: int = 1) -> nn.Module:
    return mk.models.MLP(1, d_out, hidden=(4,)).double()


def trained(name: str) -> Any:
    makers: Makers = {
        "MAML": lambda: moved(mk.MAML(line_network(), 0.1, 3)),
        "MAML, adam": lambda: moved(mk.MAML(line_network(), 0.1, 3, rule=adam())),
        "Reptile": lambda: moved(mk.Reptile(line_network(), 0.1, 3)),
        "ridge": lambda: moved(mk.RidgeHead(line_network(4))),
        "Bayesian head": lambda: moved(mk.BayesianHead(line_network(4), 4)),
        "PCA": lambda: ys.ProbabilisticPCA.fit(LINES, 2, 20, 6, steps=20),
        "Gaussian process": lambda: ys.GaussianProcess.fit(LINES, 10, points=8),
        "Bayes": lambda: ys.Bayes.fit(LINES),
        "mean curve": lambda: ys.MeanCurve.fit(LINES, 50),
        "penalty": lambda: ys.Ridge(0.5),
    }
    return makers[name]()


def prior(name: str, learner: Any, x: Tensor) -> tuple[Tensor, Tensor | None]:
    """What it believes before it is shown anything: mean, and variance if it has one."""
    if name in ("MAML", "MAML, adam", "Reptile"):
        return learner.model(x), None
    if name in ("ridge", "penalty"):
        return torch.zeros(len(x), 1, dtype=F64), None
    if name == "mean curve":
        return learner.curve(x), None
    if name == "PCA":
        return learner.mean(x), learner.directions(x).square().sum(0)
    if name == "Gaussian process":
        spread = learner.kernel.k1.diag(x.numpy())
        return learner.mean.curve(x), torch.as_tensor(spread)[:, None]
    if name == "Bayes":
        phi = learner.features(x)
        return (phi @ learner.mean)[:, None], (phi @ learner.covariance * phi).sum(1)[:, None]
    phi, root = learner.model(x), learner.prior_root[0]
    variance = (phi @ root).square().sum(1, keepdim=True) + learner.misfit**2
    return phi @ learner.prior_mean.T, variance


PRIORS = (
    "MAML",
    "MAML, adam",
    "Reptile",
    "ridge",
    "Bayesian head",
    "PCA",
    "Gaussian process",
    "Bayes",
    "mean curve",
    "penalty",
)


@pytest.mark.parametrize("name", PRIORS)
@torch.no_grad()
def test_with_nothing_measured_a_learner_says_what_it_knew_before(name: str) -> None:
    learner, x = trained(name), torch.linspace(-0.9, 0.9, 5, dtype=F64)[:, None]
    mean, variance = prior(name, learner, x)
    nothing = mk.Readings(x, x, torch.zeros(5, 1, dtype=F64))
    for predict in (learner.adapt(x[:0], x[:0]), learner.adapt(nothing)):
        torch.testing.assert_close(predict(x), mean, rtol=1e-9, atol=1e-12)
        if variance is not None:
            found = predict.distribution(x).variance
            torch.testing.assert_close(found, variance, rtol=1e-7, atol=1e-12)
    batch = LINES.sample(4, 0, 6, generator=seeded(), dtype=F64)
    assert batch.support.x.shape == (4, 0, 1)
    losses = mk.evaluate(learner, LINES, 0, n_tasks=4, queries=6, loss=mk.losses.mse).losses
    judged = mk.evaluate(
        ys.MeanCurve(lambda x: prior(name, learner, x)[0]), LINES, 0, n_tasks=4, queries=6
    ).losses
    torch.testing.assert_close(losses[:, -1:], judged, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("shots", [0, (0, 2)])
@pytest.mark.parametrize("name", ["MAML", "ridge", "Bayesian head"])
def test_training_without_shots_learns_what_all_have_in_common(name: str, shots: Any) -> None:
    learner = trained(name)
    history = mk.meta_train(
        learner, LINES, shots, queries=5, iterations=3, meta_batch=4, progress=False
    )
    assert np.isfinite(history.outer_loss).all()


NOTHING: dict[str, tuple[Any, str]] = {
    "linear latent": (lambda: ys.LinearLatent.fit(LINES, 20), "no prior"),
    "least squares": (ys.LeastSquares, "no prior"),
}


@pytest.mark.parametrize("name", NOTHING)
def test_a_yardstick_without_a_prior_says_so(name: str) -> None:
    make, words = NOTHING[name]
    x = normal(4, 1)
    learner = make()
    with pytest.raises(mk.MamlkitError, match=words):
        learner.adapt(x[:0], x[:0])
    with pytest.raises(mk.MamlkitError, match=words):
        mk.evaluate(learner, LINES, 0, n_tasks=2)
    with pytest.raises(mk.MamlkitError, match=words):  # padding is no point
        learner.adapt(mk.Readings(x, x, torch.zeros(4, 1, dtype=F64)))


def test_prototypes_need_a_real_point_of_each_class() -> None:
    x, y = normal(4, 2), torch.tensor([0, 1, 2, 2])
    learner = Prototypes(mlp(4), 3)
    with pytest.raises(mk.MamlkitError, match="class 0 has no support point"):
        learner.adapt(x[:0], y[:0])
    weight = torch.tensor([1.0, 0.0, 1.0, 1.0], dtype=F64)[:, None]
    with pytest.raises(mk.MamlkitError, match="class 1 has no support point"):
        learner.adapt(mk.Readings(x, y, weight))
