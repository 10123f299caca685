"""Implicit MAML against closed forms, finite differences of the whole map, and unrolled MAML."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.func import vmap

import mamlkit as mk
from mamlkit.evaluation.costs import peak_bytes
from mamlkit.learners import ImplicitMAML
from mamlkit.learners.base import flatten
from mamlkit.learners.solvers import conjugate_gradients, lbfgs
from mamlkit.training.gradients import meta_gradients
from tests.helpers import (
    F64,
    mlp,
    normal,
    one_task,
    relative_error,
    seeded,
    sinusoids,
    stored_gradient,
)

EXACT = {"tolerance": 1e-11, "max_steps": 2000, "max_cg": 500}


def flat_gradient(learner: nn.Module, batch: mk.TaskBatch, tensors: list[Tensor]) -> Tensor:
    gradients = torch.autograd.grad(learner(batch)[0].mean(), tensors)
    return torch.cat([g.reshape(-1) for g in gradients])


def directions(tensors: list[Tensor]) -> list[Tensor]:
    """Two random directions in the space of all entries; a third in that of the last tensor."""
    sizes = [t.numel() for t in tensors]
    some = normal(3, sum(sizes), seed=5)
    some[2, : -sizes[-1]] = 0
    return list(some)


def differences(learner: nn.Module, batch: mk.TaskBatch, tensors: list[Tensor]) -> Tensor:
    """Central differences of the mean query loss at the optima, along :func:`directions`."""
    step, slopes, start = 3e-5, [], nn.utils.parameters_to_vector(tensors).detach()
    for direction in directions(tensors):
        values = []
        for side in (step, -step):
            nn.utils.vector_to_parameters(start + side * direction, tensors)
            with torch.no_grad():
                values.append(float(learner(batch)[0].mean()))
        slopes.append((values[0] - values[1]) / (2 * step))
    nn.utils.vector_to_parameters(start, tensors)
    return torch.tensor(slopes, dtype=F64)


def along(gradient: Tensor, tensors: list[Tensor]) -> Tensor:
    return torch.stack([gradient @ direction for direction in directions(tensors)])


# --- the two solvers ----------------------------------------------------------------------------


def test_conjugate_gradients_solve_many_systems_at_once() -> None:
    generator = seeded()
    root = torch.randn(4, 6, 6, generator=generator, dtype=F64)
    a = root @ root.mT + 0.1 * torch.eye(6, dtype=F64)
    b = torch.randn(4, 6, generator=generator, dtype=F64)
    b[2] = 0
    x, reached = conjugate_gradients(lambda p: (a @ p[..., None])[..., 0], b, 1e-12, 100)
    torch.testing.assert_close(x, torch.linalg.solve(a, b), rtol=1e-9, atol=1e-12)
    assert (reached <= 1e-12).all()
    # The residual that is reported is the true one, also where the steps did not suffice.
    x, reached = conjugate_gradients(lambda p: (a @ p[..., None])[..., 0], b, 1e-12, 3)
    residual = (b - (a @ x[..., None])[..., 0]).norm(dim=1)
    torch.testing.assert_close(reached * b.norm(dim=1), residual, rtol=1e-8, atol=1e-14)
    assert reached[[0, 1, 3]].min() > 1e-3


def test_conjugate_gradients_keep_the_best_where_the_matrix_is_not_positive() -> None:
    generator = seeded()
    root = torch.randn(20, 12, 12, generator=generator, dtype=F64)
    a, b = root + root.mT, torch.randn(20, 12, generator=generator, dtype=F64)
    x, reached = conjugate_gradients(lambda p: (a @ p[..., None])[..., 0], b, 1e-12, 50)
    residual = (b - (a @ x[..., None])[..., 0]).norm(dim=1) / b.norm(dim=1)
    torch.testing.assert_close(reached, residual)
    assert (reached <= 1).all()  # never worse than x = 0
    assert (reached > 1e-3).any()


def test_conjugate_gradients_stop_where_the_matrix_is_not_positive() -> None:
    a = torch.tensor([[1.0, -2.0, 3.0], [1.0, 2.0, 3.0]], dtype=F64)  # two diagonals
    b = torch.tensor([[1.0, 0.5, 0.2], [1.0, 1.0, 1.0]], dtype=F64)
    x, reached = conjugate_gradients(lambda p: a * p, b, 1e-12, 50)
    assert torch.isfinite(x).all()
    assert reached[0] > 1e-2
    torch.testing.assert_close(x[1], b[1] / a[1], rtol=1e-12, atol=0)


def test_lbfgs_finds_the_bottom_of_bent_valleys() -> None:
    """Rosenbrock's valley (1 - u)^2 + c (v - u^2)^2: its minimum is (1, 1) for every c."""

    def valley(phi: Tensor, c: Tensor) -> Tensor:
        return (1 - phi[0]) ** 2 + c * (phi[1] - phi[0] ** 2) ** 2

    c = torch.tensor([1.0, 10.0, 100.0], dtype=F64)
    start = torch.tensor([[-1.2, 1.0]], dtype=F64).expand(3, -1)
    phi, steps, reached = lbfgs(valley, start, c, 1e-10, 500)
    torch.testing.assert_close(phi, torch.ones(3, 2, dtype=F64), rtol=1e-8, atol=0)
    assert (reached <= 1e-10).all()
    assert steps.max() < 100
    _, steps, reached = lbfgs(valley, start, c, 1e-10, 5)  # cut short, and says so
    assert steps.tolist() == [5, 5, 5]
    assert (reached > 1e-10).all()
    phi, steps, _ = lbfgs(valley, torch.ones(3, 2, dtype=F64), c, 1e-10, 5)  # nothing to do
    assert steps.tolist() == [0, 0, 0]
    # Rounding ends it where the tolerance cannot be met.
    _, steps, _ = lbfgs(valley, start.float(), c.float(), 0.0, 2000)
    assert steps.max() < 2000


# --- the closed form of a linear model ----------------------------------------------------------
#
# y = w . f(x) with f = (x, 1): L_S = mean (w . f - y)^2, so H = 2 mean f f^T and grad L_S =
# H w - h, h = 2 mean y f. The optimum is phi* = (H + lambda)^-1 (h + lambda theta), and the
# meta-gradient (1 + H / lambda)^-1 grad L_Q(phi*).


@pytest.mark.parametrize("penalty", [0.03, 1.0, 30.0])
def test_closed_form_of_a_linear_model(penalty: float) -> None:
    batch = mk.tasks.LinearLaw().sample(4, 3, 5, generator=seeded(1), dtype=F64)
    learner = ImplicitMAML(mlp(hidden=()), penalty, **EXACT)
    theta = torch.cat([w.detach().reshape(-1) for w in learner.model.parameters()])
    one = torch.eye(2, dtype=F64)

    def moments(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        f = torch.cat([x / 5.0, torch.ones_like(x)], dim=1)
        return 2 * f.T @ f / len(f), 2 * f.T @ y[:, 0] / len(f)

    optima, expected, losses = learner.solve(batch.support), torch.zeros(2, dtype=F64), []
    for i in range(4):
        curvature, h = moments(batch.support.x[i], batch.support.y[i])
        phi = torch.linalg.solve(curvature + penalty * one, h + penalty * theta)
        torch.testing.assert_close(optima[i], phi, rtol=1e-9, atol=1e-11)
        x, y = batch.query.x[i], batch.query.y[i]
        losses.append(((x[:, 0] / 5.0 * phi[0] + phi[1] - y[:, 0]) ** 2).mean())
        curvature_q, h_q = moments(x, y)
        jacobian = torch.linalg.inv(one + curvature / penalty)
        expected += jacobian @ (curvature_q @ phi - h_q) / 4
    torch.testing.assert_close(learner(batch)[0], torch.stack(losses), rtol=1e-9, atol=0)
    given = flat_gradient(learner, batch, list(learner.model.parameters()))
    torch.testing.assert_close(given, expected, rtol=1e-8, atol=1e-11)


# --- the whole map, by finite differences -------------------------------------------------------


@pytest.mark.parametrize(
    ("adapt", "learn_penalty"),
    [("all", False), ("all", True), ("head", False), ("layers.0.*", True), ("context", True)],
)
def test_against_finite_differences(adapt, learn_penalty: bool) -> None:
    model = mlp(hidden=(4,), context=2) if adapt == "context" else mlp(hidden=(4,))
    learner = ImplicitMAML(model, 2.0, adapt=adapt, learn_penalty=learn_penalty, **EXACT)
    tensors = [p for p in learner.parameters() if p.requires_grad]
    assert len(learner.penalties) == (len(learner.adapted) if learn_penalty else 0)
    batch = sinusoids()
    expected = differences(learner, batch, tensors)
    assert learner.reached.max() <= 1e-11
    given = along(flat_gradient(learner, batch, tensors), tensors)
    assert relative_error(given, expected) <= 1e-6


@pytest.mark.parametrize("kind", ["points", "lattice"])
def test_classification_against_finite_differences(kind: str) -> None:
    generator = seeded()
    shape = (2,) if kind == "points" else (1, 4, 4)
    model = mk.models.MLP(2, 3, hidden=(3,)) if kind == "points" else mk.models.CNN(1, 3, (2, 2))

    def data(n: int) -> mk.Data:
        x = torch.randn(2, n, *shape, generator=generator, dtype=F64)
        return mk.Data(x, torch.randint(3, (2, n), generator=generator))

    batch = mk.TaskBatch(data(4), data(5), {})
    learner = ImplicitMAML(model.double(), 1.0, loss=mk.losses.cross_entropy, **EXACT)
    tensors = list(learner.parameters())
    expected = differences(learner, batch, tensors)
    given = along(flat_gradient(learner, batch, tensors), tensors)
    assert relative_error(given, expected) <= 1e-6


def test_the_linear_system_against_the_explicit_hessian() -> None:
    learner, batch = ImplicitMAML(mlp(hidden=(4,)), 0.5, **EXACT), sinusoids()
    phi = learner.solve(batch.support)
    rows = []
    for i in range(3):
        support, query = one_task(batch, i)
        h = torch.autograd.functional.hessian(lambda p, d=support: learner._inner(p, d), phi[i])
        slope = torch.autograd.functional.jacobian(
            lambda p, d=query: learner._loss_at(p, d), phi[i]
        )
        rows.append(torch.linalg.solve(h, slope))  # h holds lambda too
    v = torch.stack(rows)
    torch.testing.assert_close(learner._adjoint(phi, batch), v, rtol=1e-8, atol=1e-12)
    assert learner.reached_cg.max() <= 1e-11
    given = flat_gradient(learner, batch, list(learner.parameters()))
    torch.testing.assert_close(given, 0.5 * v.mean(0), rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("learn_penalty", [False, True])
def test_maml_with_a_penalty_and_many_steps_comes_to_the_same(learn_penalty: bool) -> None:
    batch, settings = sinusoids(), {"penalty": 2.0, "learn_penalty": learn_penalty}
    implicit = ImplicitMAML(mlp(hidden=(4,)), **settings, **EXACT)
    unrolled = mk.MAML(mlp(hidden=(4,)), 0.1, 400, **settings)
    torch.testing.assert_close(implicit(batch)[0], unrolled(batch)[0], rtol=1e-8, atol=0)
    first = flat_gradient(implicit, batch, list(implicit.parameters()))
    second = flat_gradient(unrolled, batch, list(unrolled.parameters()))
    assert relative_error(first, second) <= 1e-6
    stopped = mk.MAML(mlp(hidden=(4,)), 0.1, 3, **settings)  # a few steps are another gradient
    third = flat_gradient(stopped, batch, list(stopped.parameters()))
    assert relative_error(first, third) > 1e-2


# --- the rest of a learner's duties -------------------------------------------------------------


def test_curves_have_two_columns_before_and_after() -> None:
    learner, family = ImplicitMAML(mlp(hidden=(4,)), 0.1, **EXACT), mk.tasks.Sinusoid()
    batch = sinusoids()
    episodes = learner.episodes(batch)
    losses, support = learner(batch)
    assert episodes.query.shape == episodes.support.shape == (3, 2)
    torch.testing.assert_close(episodes.query[:, 1], losses.detach(), rtol=1e-12, atol=0)
    torch.testing.assert_close(episodes.support, support, rtol=1e-12, atol=0)
    pooled = mk.MAML(learner.model, inner_steps=0).query_losses(batch)
    torch.testing.assert_close(episodes.query[:, 0], pooled.detach(), rtol=1e-12, atol=0)
    assert (episodes.support[:, 1] < episodes.support[:, 0]).all()

    adapted = learner.adapt(batch.support.x[1], batch.support.y[1])
    torch.testing.assert_close(adapted.losses, support[1], rtol=1e-9, atol=0)
    query = mk.losses.mse(adapted, mk.Data(batch.query.x[1], batch.query.y[1]))
    torch.testing.assert_close(query, losses[1].detach(), rtol=1e-9, atol=0)
    assert adapted.weights.keys() == dict(learner.model.named_parameters()).keys()

    curve = mk.evaluate(learner, family, 5, n_tasks=7, loss=mk.losses.rmse)
    assert curve.losses.shape == (7, 2)
    assert len(mk.compare({"implicit": learner}, family, 5, n_tasks=7)) == 1
    with pytest.raises(mk.MamlkitError, match="leave out steps"):
        mk.evaluate(learner, family, 5, n_tasks=7, steps=3)
    with pytest.raises(mk.MamlkitError, match="leave out steps"):
        learner.query_losses(batch, steps=3)


def test_it_says_how_far_it_came() -> None:
    learner, batch = ImplicitMAML(mlp(hidden=(4,)), 0.1, tolerance=1e-6, max_steps=3), sinusoids()
    learner(batch)
    assert learner.steps_taken.tolist() == [3, 3, 3]
    assert (learner.reached > 1e-6).all()
    learner.max_steps = 1000
    phi = learner.solve(batch.support)
    assert (learner.reached <= 1e-6).all()
    # The figure is the norm of the inner gradient over that at the start, by plain autograd.
    start = flatten(learner.start()).detach().expand(3, -1)
    norms = []
    for rows in (phi, start):
        rows = rows.clone().requires_grad_()
        total = vmap(learner._inner)(rows, batch.support).sum()
        norms.append(torch.autograd.grad(total, rows)[0].norm(dim=1))
    torch.testing.assert_close(learner.reached, norms[0] / norms[1], rtol=1e-6, atol=0)


def test_float32_meets_the_usual_tolerance() -> None:
    sines = mk.tasks.Sinusoid(), (-5.0, 5.0), 1.0
    fluids = mk.tasks.VapourPressure().split("train"), (0.6, 1.0), 0.1
    for family, x_range, penalty in (sines, fluids):
        model = mk.models.MLP(1, 1, hidden=(40, 40), x_range=x_range).float()
        learner = ImplicitMAML(model, penalty)
        batch = family.sample(8, 3, generator=seeded())
        learner(batch)
        assert learner.reached.max() <= learner.tolerance
        assert learner.reached_cg.max() <= learner.tolerance


def test_chunks_give_the_same_gradient_and_capture_is_refused() -> None:
    learner, batch = (
        ImplicitMAML(mlp(hidden=(4,)), 0.5, adapt="head", learn_penalty=True, **EXACT),
        sinusoids(),
    )
    parameters = dict(learner.named_parameters())
    found = []
    for chunk_size in (None, 2):
        meta_gradients(learner, parameters, chunk_size)(batch)
        found.append(stored_gradient(parameters.values()))
    torch.testing.assert_close(found[0], found[1], rtol=1e-8, atol=1e-12)
    with pytest.raises(mk.MamlkitError, match="compile=False"):
        meta_gradients(learner, parameters, compile="capture")(batch)


def test_bad_settings_are_refused() -> None:
    for settings in ({"penalty": 0.0}, {"penalty": -1.0}, {"tolerance": -1.0}, {"max_cg": 0}):
        with pytest.raises(mk.MamlkitError, match=next(iter(settings))):
            ImplicitMAML(mlp(hidden=(4,)), **settings)
    assert "penalty=0.5" in repr(ImplicitMAML(mlp(hidden=(4,)), 0.5))


def test_memory_does_not_grow_with_the_inner_steps() -> None:
    batch = sinusoids(3, 10)

    def megabytes(learner: nn.Module) -> float:
        return 1e-6 * peak_bytes(lambda: learner(batch)[0].mean().backward())

    implicit = []
    for steps in (10, 200):
        learner = ImplicitMAML(
            mlp(hidden=(20, 20)), 0.001, tolerance=0.0, max_steps=steps, max_cg=5
        )
        implicit.append(megabytes(learner))
        assert learner.steps_taken.min() == steps
    maml = [megabytes(mk.MAML(mlp(hidden=(20, 20)), 0.01, steps)) for steps in (5, 50)]
    assert implicit[1] == pytest.approx(implicit[0], rel=0.05)
    assert maml[1] > 7 * maml[0]


def test_training_improves_validation() -> None:
    family = mk.tasks.Sinusoid()
    model = mk.models.MLP(1, 1, hidden=(40, 40), x_range=(-5.0, 5.0), seed=0)
    learner = ImplicitMAML(model, 0.3, tolerance=0.05, max_steps=20, max_cg=8)
    before = mk.evaluate(learner, family, 10, n_tasks=50).mean
    mk.meta_train(learner, family, 10, iterations=60, meta_batch=5, outer_lr=1e-2, progress=False)
    after = mk.evaluate(learner, family, 10, n_tasks=50).mean
    assert after[1] < 0.8 * before[1]
    assert after[1] < 0.5 * after[0]
