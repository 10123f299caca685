"""The heart: meta-gradients against closed forms, finite differences and a plain-autograd loop."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

import mamlkit as mk
from mamlkit.learners import inner_loop
from mamlkit.training.gradients import meta_gradients
from tests.helpers import (
    F64,
    Slope,
    assert_same_state,
    meta_gradient,
    mlp,
    normal,
    objective_differences,
    one_task,
    relative_error,
    seeded,
    sinusoids,
)

Weights = dict[str, Tensor]


# --- tasks and models ---------------------------------------------------------------------------


def classification(image: bool, n_tasks: int = 2, ways: int = 3, seed: int = 0) -> mk.TaskBatch:
    """Random points, or random 4x4 lattices, with random labels: any data will do for gradients."""
    generator = seeded(seed)
    shape = (1, 4, 4) if image else (2,)

    def data(n: int) -> mk.Data:
        x = torch.randn(n_tasks, n, *shape, generator=generator, dtype=F64)
        return mk.Data(x, torch.randint(ways, (n_tasks, n), generator=generator))

    return mk.TaskBatch(data(4), data(5), {"nothing": torch.zeros(n_tasks, dtype=F64)})


def image_regression() -> mk.TaskBatch:
    batch = classification(image=True)
    y = normal(2, 9, 3, seed=1)
    return mk.TaskBatch(
        mk.Data(batch.support.x, y[:, :4]), mk.Data(batch.query.x, y[:, 4:]), batch.physics
    )


def cnn() -> nn.Module:
    return mk.models.CNN(1, 3, hidden=(2, 3), seed=3).double()


# --- the closed form of the linear law ----------------------------------------------------------
#
# One task, model y = theta x, support (x_i, y_i), i = 1..n:
#   L_S(theta) = mean (theta x - y)^2,   L_S' = 2 (s theta - c),   s = mean x^2,  c = mean x y.
# One step: theta' = theta - 2 alpha (s theta - c), so d theta'/d theta = 1 - 2 alpha s, and after
# K steps theta_K = c/s + f (theta - c/s) with the factor f = (1 - 2 alpha s)^K = d theta_K/d theta.
# With the same s_q, c_q on the query, L_Q'(theta_K) = 2 (s_q theta_K - c_q), and so by the chain
# rule dL_Q(theta_K)/dtheta = 2 (s_q theta_K - c_q) f. First order drops the last factor.


@pytest.mark.parametrize("first_order", [False, True])
@pytest.mark.parametrize("steps", [0, 1, 2, 5])
def test_closed_form_of_the_linear_law(steps: int, first_order: bool) -> None:
    alpha, start = 0.3, 1.7
    batch = mk.tasks.LinearLaw().sample(6, 4, 3, generator=seeded(), dtype=F64)
    x, y = (t[..., 0] for t in batch.support)
    xq, yq = (t[..., 0] for t in batch.query)
    s, c = (x * x).mean(1), (x * y).mean(1)
    factor = (1 - 2 * alpha * s) ** steps
    theta = c / s + factor * (start - c / s)
    outer = 2 * ((xq * xq).mean(1) * theta - (xq * yq).mean(1))
    expected = (outer * (1 if first_order else factor)).mean()

    learner = mk.MAML(Slope(start), alpha, steps, first_order=first_order)
    gradient = meta_gradient(learner, batch)["theta"]
    torch.testing.assert_close(gradient, expected, rtol=1e-12, atol=0)
    for i in range(6):
        predict = learner.adapt(x[i, :, None], y[i, :, None])
        torch.testing.assert_close(predict.weights["theta"], theta[i], rtol=1e-12, atol=0)


# The same with slope and intercept: Phi = [x, 1], A = Phi^T Phi / n, b = Phi^T y / n, and
# w_K = w* + (1 - 2 alpha A)^K (w - w*) with A w* = b, so that the meta-gradient is
# ((1 - 2 alpha A)^K)^T 2 (A_q w_K - b_q).


@pytest.mark.parametrize("steps", [1, 3])
def test_closed_form_of_the_straight_line(steps: int) -> None:
    batch = mk.tasks.LinearLaw().sample(1, 5, 4, generator=seeded(1), dtype=F64)
    learner = mk.MAML(mk.models.MLP(1, 1, hidden=()).double(), 0.2, steps)

    def moments(data: mk.Data) -> tuple[Tensor, Tensor]:
        phi = torch.cat([data.x[0], torch.ones_like(data.x[0])], dim=1)
        return phi.T @ phi / len(phi), phi.T @ data.y[0, :, 0] / len(phi)

    w = torch.cat([p.detach().reshape(-1) for p in learner.model.parameters()])
    matrix, b = moments(batch.support)
    matrix_q, b_q = moments(batch.query)
    jacobian = torch.linalg.matrix_power(torch.eye(2, dtype=F64) - 0.4 * matrix, steps)
    best = torch.linalg.solve(matrix, b)
    w_k = best + jacobian @ (w - best)
    expected = jacobian.T @ (2 * (matrix_q @ w_k - b_q))

    given = torch.cat([g.reshape(-1) for g in meta_gradient(learner, batch).values()])
    torch.testing.assert_close(given, expected, rtol=1e-11, atol=0)


# --- an independent loop: plain autograd, models and losses written out, no torch.func -----------


def mlp_by_hand(w: Weights, x: Tensor) -> Tensor:
    h = x / 5.0
    depth = len(w) // 2
    for k in range(depth):
        h = h @ w[f"layers.{k}.weight"].T + w[f"layers.{k}.bias"]
        if k < depth - 1:
            h = torch.tanh(h)
    return h


def cnn_by_hand(w: Weights, x: Tensor) -> Tensor:
    for k in range(2):
        x = nn.functional.pad(x, (1, 1, 1, 1), mode="circular")
        x = nn.functional.conv2d(x, w[f"convolutions.{k}.weight"], w[f"convolutions.{k}.bias"])
        x = nn.functional.avg_pool2d(torch.tanh(x), 2)
    return x.mean((-2, -1)) @ w["head.weight"].T + w["head.bias"]


def mse_by_hand(prediction: Tensor, y: Tensor) -> Tensor:
    return sum((p - t) ** 2 for p, t in zip(prediction.reshape(-1), y.reshape(-1), strict=True)) / (
        y.numel()
    )


def hinge_by_hand(scores: Tensor, y: Tensor) -> Tensor:
    terms = []
    for row, label in zip(scores, y.tolist(), strict=True):
        others = torch.cat([row[:label], row[label + 1 :]])
        terms.append((1 + others.max() - row[label]).clamp(min=0))
    return torch.stack(terms).mean()


def by_autograd(
    model: nn.Module,
    forward: Callable[[Weights, Tensor], Tensor],
    loss: Callable[[Tensor, Tensor], Tensor],
    batch: mk.TaskBatch,
    alpha: float,
    steps: int,
    first_order: bool = False,
    adapted: Callable[[str], bool] = lambda name: True,
) -> dict[str, Tensor]:
    """One task after another, ``torch.autograd.grad`` with ``create_graph=True``."""
    start = {n: p.detach().clone().requires_grad_() for n, p in model.named_parameters()}
    total = torch.zeros((), dtype=F64)
    n_tasks = len(batch.support.x)
    for i in range(n_tasks):
        theta = dict(start)
        for _ in range(steps):
            inner = loss(forward(theta, batch.support.x[i]), batch.support.y[i])
            moving = [n for n in theta if adapted(n)]
            gradients = torch.autograd.grad(
                inner, [theta[n] for n in moving], create_graph=not first_order
            )
            theta = {
                **theta,
                **{n: theta[n] - alpha * g for n, g in zip(moving, gradients, strict=True)},
            }
        total = total + loss(forward(theta, batch.query.x[i]), batch.query.y[i]) / n_tasks
    gradients = torch.autograd.grad(total, list(start.values()))
    return dict(zip(start, gradients, strict=True))


CASES = {
    "mlp-mse": (mlp, mlp_by_hand, mk.losses.mse, mse_by_hand, sinusoids),
    "mlp-cross_entropy": (
        lambda: mlp(2, 3),
        mlp_by_hand,
        mk.losses.cross_entropy,
        nn.functional.cross_entropy,
        lambda: classification(image=False),
    ),
    "mlp-hinge": (
        lambda: mlp(2, 3),
        mlp_by_hand,
        mk.losses.hinge,
        hinge_by_hand,
        lambda: classification(image=False),
    ),
    "cnn-mse": (cnn, cnn_by_hand, mk.losses.mse, mse_by_hand, image_regression),
    "cnn-cross_entropy": (
        cnn,
        cnn_by_hand,
        mk.losses.cross_entropy,
        nn.functional.cross_entropy,
        lambda: classification(image=True),
    ),
    "cnn-hinge": (
        cnn,
        cnn_by_hand,
        mk.losses.hinge,
        hinge_by_hand,
        lambda: classification(image=True),
    ),
}


@pytest.mark.parametrize("first_order", [False, True], ids=["second", "first"])
@pytest.mark.parametrize("steps", [1, 3, 5])
@pytest.mark.parametrize("case", CASES)
def test_against_plain_autograd(case: str, steps: int, first_order: bool) -> None:
    build, forward, loss, loss_by_hand, tasks = CASES[case]
    model, batch = build(), tasks()
    expected = by_autograd(model, forward, loss_by_hand, batch, 0.2, steps, first_order)
    learner = mk.MAML(model, 0.2, steps, loss=loss, first_order=first_order)
    assert relative_error(meta_gradient(learner, batch), expected) <= 1e-10


@pytest.mark.parametrize("case", ["mlp-mse", "mlp-cross_entropy", "cnn-cross_entropy"])
def test_first_order_differs_from_second(case: str) -> None:
    build, _, loss, _, tasks = CASES[case]
    model, batch = build(), tasks()
    second = meta_gradient(mk.MAML(model, 0.2, 3, loss=loss), batch)
    first = meta_gradient(mk.FOMAML(model, 0.2, 3, loss=loss), batch)
    assert relative_error(first, second) > 1e-3


@pytest.mark.parametrize("steps", [1, 3])
def test_head_only_against_plain_autograd(steps: int) -> None:
    model, batch = mlp(), sinusoids()
    expected = by_autograd(
        model,
        mlp_by_hand,
        mse_by_hand,
        batch,
        0.2,
        steps,
        adapted=lambda name: name.startswith("layers.2"),
    )
    assert relative_error(meta_gradient(mk.ANIL(model, 0.2, steps), batch), expected) <= 1e-10


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("case", ["mlp-mse", "mlp-cross_entropy", "cnn-cross_entropy"])
def test_against_finite_differences(case: str, steps: int) -> None:
    build, _, loss, _, tasks = CASES[case]
    batch, learner = tasks(), mk.MAML(build(), 0.2, steps, loss=loss)
    expected = objective_differences(learner, batch, learner.model.parameters())
    assert relative_error(meta_gradient(learner, batch), expected) <= 1e-6


@pytest.mark.parametrize(
    ("learn_lr", "positive", "first_order", "steps"),
    [
        ("tensor", False, False, 2),
        ("tensor", True, False, 2),
        ("element", False, False, 2),
        ("element", True, False, 1),
        ("matrix", False, False, 2),
        ("element", False, True, 1),  # with one step first order is exact for the step sizes
    ],
)
def test_gradient_of_learned_step_sizes(learn_lr, positive, first_order, steps) -> None:
    learner = mk.MAML(
        mlp(hidden=(3,)),
        0.1,
        steps,
        learn_lr=learn_lr,
        positive_lr=positive,
        first_order=first_order,
    )
    batch = sinusoids()
    rates = list(learner.rates)
    expected = objective_differences(learner, batch, rates)
    gradients = torch.autograd.grad(learner.query_losses(batch).mean(), rates)
    assert relative_error(torch.cat([g.reshape(-1) for g in gradients]), expected) <= 1e-6


@pytest.mark.parametrize("learn_lr", ["tensor", "element", "matrix"])
def test_learned_steps_start_at_inner_lr(learn_lr) -> None:
    batch, model = sinusoids(), mlp()
    plain = mk.MAML(model, 0.1, 2).query_losses(batch)
    learned = mk.MAML(model, 0.1, 2, learn_lr=learn_lr).query_losses(batch)
    torch.testing.assert_close(learned, plain)
    sizes = {"tensor": 6, "element": 39, "matrix": 39**2}
    learner = mk.MAML(model, 0.1, 2, learn_lr=learn_lr)
    assert sum(r.numel() for r in learner.rates) == sizes[learn_lr]


@pytest.mark.parametrize("positive", [False, True])
def test_positive_lr_stays_positive(positive: bool) -> None:
    """Where the support is all noise, the outer loop pushes the step sizes down."""
    family = mk.tasks.LinearLaw(noise=20.0)
    learner = mk.MetaSGD(mk.models.MLP(1, 1, hidden=()).double(), 0.05, 1, positive_lr=positive)
    seen = []
    for seed in range(5):
        mk.meta_train(learner, family, 2, iterations=1, outer_lr=0.1, seed=seed, progress=False)
        seen += [float(a.detach().min()) for a in learner.alpha().values()]
    assert (min(seen) > 0) == positive


# --- E1: a learned matrix step is the Bayes estimate ---------------------------------------------


class FixedPoints(mk.tasks.LinearLaw):
    """Hidden slope and intercept, measured at the same three points in every task."""

    points = torch.tensor([-0.2, 0.4, 1.0], dtype=F64)

    def inputs(self, n_tasks: int, n: int, generator: torch.Generator) -> Tensor:
        x = super().inputs(n_tasks, n, generator)
        x[:, :3, 0] = self.points  # the support; the query stays random
        return x


def expected_query_error(start: Tensor, gain: Tensor, noise: float) -> float:
    """Exact mean squared query error of the estimate w = start + gain (y - Phi start), over tasks
    w ~ N(m, C), noise, and x ~ U(-1, 1), where the mean of phi phi^T is diag(1/3, 1).
    """
    phi = torch.stack([FixedPoints.points, torch.ones(3, dtype=F64)], dim=1)
    mean, covariance = (
        torch.tensor([2.0, 0.5], dtype=F64),
        torch.diag(torch.tensor([0.25, 0.04], dtype=F64)),
    )
    left = torch.eye(2, dtype=F64) - gain @ phi
    bias = left @ (mean - start)
    error = left @ covariance @ left.T + noise**2 * gain @ gain.T + torch.outer(bias, bias)
    return float(error[0, 0] / 3 + error[1, 1])


def test_learned_matrix_step_reaches_the_bayes_estimate() -> None:
    noise, shots = 0.3, 3
    family = FixedPoints(noise=noise)
    phi = torch.stack([family.points, torch.ones(3, dtype=F64)], dim=1)
    mean = torch.tensor([2.0, 0.5], dtype=F64)
    covariance = torch.diag(torch.tensor([0.25, 0.04], dtype=F64))
    # One step from the prior mean, w = m - A grad L_S(m) = m + (2/n) A Phi^T (y - Phi m), is the
    # posterior mean if A = n/(2 s^2) (Phi^T Phi / s^2 + C^-1)^-1.
    precision = phi.T @ phi / noise**2 + torch.linalg.inv(covariance)
    best_matrix = shots / (2 * noise**2) * torch.linalg.inv(precision)
    best_gain = 2 / shots * best_matrix @ phi.T

    settings = {"shots": shots, "queries": 8, "meta_batch": 50, "seed": 1, "progress": False}
    learner = mk.MAML(
        mk.models.MLP(1, 1, hidden=()).double(), inner_lr=0.3, inner_steps=1, learn_lr="matrix"
    )
    mk.meta_train(learner, family, iterations=500, outer_lr=0.1, schedule="cosine", **settings)
    matrix = torch.as_tensor(learner.alpha()).detach()
    start = torch.cat([p.detach().reshape(-1) for p in learner.model.parameters()])
    torch.testing.assert_close(start, mean, rtol=0.03, atol=0.01)
    torch.testing.assert_close(matrix, best_matrix, rtol=0.1, atol=0.03)
    gain = 2 / shots * matrix @ phi.T  # the learned linear map, readings to coefficients
    torch.testing.assert_close(gain, best_gain, rtol=0.1, atol=0.03)

    bayes = expected_query_error(mean, best_gain, noise)
    reached = expected_query_error(start, gain, noise)
    assert bayes <= reached <= 1.01 * bayes

    # A scalar step cannot: take the best of all of them, from the prior mean.
    scalars = [
        expected_query_error(mean, 2 / shots * a * phi.T, noise)
        for a in torch.linspace(0, 1, 501).tolist()
    ]
    assert min(scalars) > 1.5 * bayes

    # And the yardstick says the same on tasks that were drawn.
    oracle = mk.yardsticks.Bayes(mean, covariance, noise)
    table = mk.compare({"matrix": learner, "Bayes": oracle}, family, shots, n_tasks=300, seed=5)
    assert table["mean"]["matrix"] == pytest.approx(table["mean"]["Bayes"], rel=0.05)
    assert table["mean"]["Bayes"] == pytest.approx(bayes, abs=2 * table["ci95"]["Bayes"])


# --- adapting -----------------------------------------------------------------------------------


@given(
    n_tasks=st.integers(1, 4),
    shots=st.integers(1, 4),
    steps=st.integers(0, 3),
    dtype=st.sampled_from([torch.float32, F64]),
)
def test_many_tasks_at_once_equal_one_at_a_time(n_tasks, shots, steps, dtype) -> None:
    batch = sinusoids(n_tasks, shots, dtype=dtype)
    learner = mk.MAML(mlp(hidden=(4,)).to(dtype), 0.1, inner_steps=2)
    episodes = learner.episodes(batch, steps)
    assert episodes.support.shape == episodes.query.shape == (n_tasks, steps + 1)
    assert episodes.query.dtype == dtype
    for i in range(n_tasks):
        predict = learner.adapt(batch.support.x[i], batch.support.y[i], steps=steps)
        torch.testing.assert_close(predict.losses, episodes.support[i])
        query = mk.Data(batch.query.x[i], batch.query.y[i])
        torch.testing.assert_close(mk.losses.mse(predict, query), episodes.query[i, -1])
    torch.testing.assert_close(learner.query_losses(batch, steps), episodes.query[:, -1])


def test_adapt_takes_data_as_well() -> None:
    batch, learner = sinusoids(1), mk.MAML(mlp())
    data = mk.Data(batch.support.x[0], batch.support.y[0])
    assert torch.equal(learner.adapt(data).losses, learner.adapt(*data).losses)


def test_adapt_takes_another_named_tuple() -> None:
    """A family whose task is more than points: here a curve and a weight for each point."""
    from typing import NamedTuple

    class Weighted(NamedTuple):
        t: Tensor
        y: Tensor
        weight: Tensor

    def weighted(predict, data: Weighted) -> Tensor:
        return (data.weight * (predict(data.t) - data.y)[:, 0] ** 2).sum()

    t = torch.linspace(0, 1, 5, dtype=F64)[:, None]
    data = Weighted(t, 2 * t, torch.full((5,), 0.2, dtype=F64))
    model = mlp()
    own = mk.MAML(model, 0.1, 3, loss=weighted).adapt(data)
    plain = mk.MAML(model, 0.1, 3).adapt(t, 2 * t)
    torch.testing.assert_close(own.losses, plain.losses)


def test_adapt_moves_points_to_the_type_of_the_learner() -> None:
    batch = sinusoids(1, dtype=torch.float32)
    predict = mk.MAML(mlp()).adapt(batch.support.x[0], batch.support.y[0])
    assert predict(batch.query.x[0]).dtype == F64


def test_adapting_lowers_the_support_loss_and_leaves_the_learner_as_it_was() -> None:
    learner, batch = mk.MAML(mlp(), 0.05, 5), sinusoids(1)
    before = copy.deepcopy(learner.state_dict())
    predict = learner.adapt(batch.support.x[0], batch.support.y[0])
    assert (predict.losses.diff() < 0).all()
    assert_same_state(learner, before)
    assert all(p.grad is None for p in learner.parameters())


def test_predictions_are_differentiable_in_x() -> None:
    batch = sinusoids(1)
    predict = mk.MAML(mlp()).adapt(batch.support.x[0], batch.support.y[0])
    x = batch.query.x[0].clone().requires_grad_()
    assert torch.autograd.gradcheck(predict, x)


def test_anil_leaves_the_body_untouched() -> None:
    learner, batch = mk.ANIL(mlp(), 0.1, 3), sinusoids(1)
    assert learner.adapted == ("layers.2.weight", "layers.2.bias")
    adapted = learner.adapt(batch.support.x[0], batch.support.y[0]).weights
    for name, weight in learner.model.named_parameters():
        assert torch.equal(adapted[name], weight) == (not name.startswith("layers.2"))
    assert all(float(g.abs().max()) > 0 for g in meta_gradient(learner, batch).values())


@pytest.mark.parametrize(
    ("adapt", "names"),
    [
        ("layers.1.*", ("layers.1.weight", "layers.1.bias")),
        ("*.bias", ("layers.0.bias", "layers.1.bias", "layers.2.bias")),
        (["layers.0.bias", "layers.2.*"], ("layers.0.bias", "layers.2.weight", "layers.2.bias")),
    ],
)
def test_adapt_by_name_and_pattern(adapt, names) -> None:
    assert mk.MAML(mlp(), adapt=adapt).adapted == names


def test_the_model_is_copied() -> None:
    model = mlp()
    learner = mk.MAML(model)
    with torch.no_grad():
        for p in model.parameters():
            p.zero_()
    assert all(float(p.detach().abs().max()) > 0 for p in learner.model.parameters())


def test_step_weights_sum_the_query_losses_on_the_way() -> None:
    batch, model = sinusoids(), mlp()
    weights = [0.2, 0.0, 0.3, 0.5]
    learner = mk.MAML(model, 0.1, 3, step_weights=weights)
    expected = learner.episodes(batch).query @ torch.tensor(weights, dtype=F64)
    torch.testing.assert_close(learner.query_losses(batch), expected)
    pooled = mk.yardsticks.Pooled(model, 0.1, 3)
    torch.testing.assert_close(pooled.query_losses(batch), pooled.episodes(batch).query[:, 0])


def test_presets_are_arguments() -> None:
    assert mk.FOMAML(mlp()).first_order
    assert mk.MetaSGD(mlp()).learn_lr == "element"
    assert mk.ANIL(mlp()).adapted == mk.MAML(mlp(), adapt="head").adapted
    assert "inner_lr=0.3" in repr(mk.MAML(mlp(), 0.3))
    assert mk.MetaSGD(mlp(), learn_lr="tensor").learn_lr == "tensor"


def test_inner_loop_is_gradient_descent() -> None:
    """theta^2 / 2 with alpha = 1/2 halves theta at each step."""
    path, losses = inner_loop(
        lambda w: w["theta"] ** 2 / 2,
        {"theta": torch.tensor(8.0)},
        [{"theta": torch.tensor(0.5)}],
        3,
    )
    assert [float(w["theta"]) for w in path] == [8.0, 4.0, 2.0, 1.0]
    assert losses.tolist() == [32.0, 8.0, 2.0, 0.5]


def test_nothing_touches_the_global_generator() -> None:
    before = torch.get_rng_state()
    learner, batch = mk.MetaSGD(mlp(), 0.1, 2), sinusoids()
    learner.query_losses(batch).mean().backward()
    learner.episodes(batch)
    learner.adapt(batch.support.x[0], batch.support.y[0])
    assert torch.equal(torch.get_rng_state(), before)


# --- the gradient that training uses -------------------------------------------------------------


def gradients_of(learner: mk.MAML, batch: mk.TaskBatch, **options) -> tuple[float, list, list]:
    parameters = dict(learner.named_parameters())
    loss, support = meta_gradients(learner, parameters, **options)(batch)
    return loss, support, [p.grad for p in parameters.values()]


@pytest.mark.parametrize("chunk_size", [1, 2, 3, 7, 50])
def test_chunks_add_up(chunk_size: int) -> None:
    learner, batch = mk.MetaSGD(mlp(), 0.1, 2), sinusoids(7)
    whole = gradients_of(learner, batch)
    parts = gradients_of(learner, batch, chunk_size=chunk_size)
    torch.testing.assert_close(parts, whole, rtol=1e-12, atol=1e-14)
    assert whole[0] == pytest.approx(float(learner.episodes(batch).query[:, -1].mean()), rel=1e-12)
    assert whole[1] == pytest.approx(learner.episodes(batch).support.mean(0).tolist(), rel=1e-12)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's compiler uses torch.jit
def test_compiled_gradients_equal_eager_ones() -> None:
    learner, batch = mk.MetaSGD(mlp(hidden=(3,)), 0.1, 1), sinusoids(4)
    eager = gradients_of(learner, batch)
    compiled = gradients_of(learner, batch, compile=True, chunk_size=2)
    torch.testing.assert_close(compiled, eager, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("adapt", ["all", "head"])
def test_first_order_drops_every_second_derivative_also_those_of_the_body(adapt: str) -> None:
    family, model = mk.tasks.Sinusoid(), mk.models.MLP(1, 1, hidden=(5, 5)).double()
    batch = family.sample(3, 6, generator=seeded(3), dtype=F64)
    learner = mk.FOMAML(model, inner_lr=0.1, inner_steps=2, adapt=adapt)
    learner.query_losses(batch).sum().backward()

    def predict(weights: Weights) -> Callable[[Tensor], Tensor]:
        return lambda x: torch.func.functional_call(model, weights, (x,))

    expected = {name: torch.zeros_like(w) for name, w in model.named_parameters()}
    for i in range(3):
        support, query = one_task(batch, i)
        start = {n: w.detach().clone().requires_grad_() for n, w in model.named_parameters()}
        theta = dict(start)
        for _ in range(2):
            loss = mk.losses.mse(predict(theta), support)
            slopes = torch.autograd.grad(loss, [theta[n] for n in learner.adapted])
            moved = zip(learner.adapted, slopes, strict=True)
            theta |= {n: theta[n] - 0.1 * slope for n, slope in moved}  # slope is a constant
        loss = mk.losses.mse(predict(theta), query)
        for n, g in zip(start, torch.autograd.grad(loss, list(start.values())), strict=True):
            expected[n] += g
    for name, w in learner.model.named_parameters():
        torch.testing.assert_close(w.grad, expected[name], rtol=1e-10, atol=1e-12)


def test_adapting_zero_steps_gives_a_snapshot_that_training_does_not_change() -> None:
    learner = mk.MAML(mk.models.MLP(1, 1, hidden=(4,)).double())
    x = torch.linspace(-1, 1, 5, dtype=torch.float64)[:, None]
    predict = learner.adapt(x, x, steps=0)
    before = predict(x)
    assert not before.requires_grad
    with torch.no_grad():
        for w in learner.parameters():
            w.add_(1.0)
    assert torch.equal(predict(x), before)


@pytest.mark.parametrize(
    "make",
    [mk.MAML, mk.FOMAML, mk.MetaSGD, mk.MAMLPlusPlus, mk.Reptile, mk.ImplicitMAML],
    ids=lambda make: make.__name__,
)
def test_what_is_frozen_stays_as_it_is(make) -> None:
    model = mlp(hidden=(4,))
    model.layers[0].requires_grad_(False)
    learner = make(model)
    before = copy.deepcopy(learner.state_dict())
    adapted = learner.adapt(*sinusoids().task(0).support)
    mk.meta_train(learner, mk.tasks.Sinusoid(), 3, iterations=2, progress=False)
    for name in ("layers.0.weight", "layers.0.bias"):
        assert torch.equal(adapted.weights[name], model.state_dict()[name])
        assert torch.equal(learner.state_dict()[f"model.{name}"], before[f"model.{name}"])
    assert not torch.equal(adapted.weights["layers.1.bias"], model.state_dict()["layers.1.bias"])


def test_a_frozen_head_is_not_another_layer() -> None:
    model = mlp(hidden=(4,))
    model.layers[1].requires_grad_(False)
    with pytest.raises(mk.MamlkitError, match=r"frozen \(requires_grad=False\): \['layers.1"):
        mk.ANIL(model)
    model.requires_grad_(False)
    with pytest.raises(mk.MamlkitError, match="every parameter of the model is frozen"):
        mk.MAML(model)
    scratch = mk.yardsticks.FromScratch(mlp(hidden=(4,)), steps=3)
    next(iter(scratch.model.children())).get_submodule("0").requires_grad_(False)
    weights = scratch.adapt_tasks(sinusoids().support)
    assert set(weights) == {"layers.1.weight", "layers.1.bias"}
