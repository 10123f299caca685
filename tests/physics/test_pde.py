"""Equations as tasks and losses: exact solutions against independent ones."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy.integrate import solve_bvp, solve_ivp
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

import mamlkit as mk
from mamlkit.course.recipes import pinns
from mamlkit.physics import pde
from mamlkit.physics.solve import refine, steps_to
from mamlkit.tasks import Burgers, Poisson, exact_burgers
from tests.helpers import seeded

FINITE_DIFFERENCES = 2e-4  # second order on 2000 intervals


@pytest.mark.parametrize("nu", [0.005, 0.05])
def test_cole_hopf_satisfies_the_equation_and_its_edges(nu: float) -> None:
    batch = Burgers((nu, 1.001 * nu)).sample(1, 200, generator=seeded(), dtype=torch.float64)

    def exact(x: torch.Tensor) -> torch.Tensor:
        return exact_burgers(x[:, :1], x[:, 1:2], x[:, 2:3])

    data = type(batch.support)(*(leaf[0] for leaf in batch.support))
    data = data._replace(x=data.x[data.x[:, 1] > 0.01])  # sqrt(t) has no derivative at 0
    assert pde.burgers(exact, data.x).abs().max() < 1e-8
    torch.testing.assert_close(exact(data.edge), data.edge_y, atol=1e-12, rtol=0)
    assert pde.burgers(lambda x: 1.01 * exact(x), data.x).abs().max() > 1e-2


def test_cole_hopf_agrees_with_the_method_of_lines() -> None:
    n, nu = 2000, 0.01
    x = np.linspace(-1, 1, n + 1)
    h = x[1] - x[0]

    def rate(_: float, u: np.ndarray) -> np.ndarray:
        whole = np.concatenate([[0.0], u, [0.0]])
        flux = whole**2 / 2
        diffusion = nu * (whole[2:] - 2 * whole[1:-1] + whole[:-2]) / h**2
        return diffusion - (flux[2:] - flux[:-2]) / (2 * h)

    from scipy.sparse import diags

    pattern = diags([1.0, 1.0, 1.0], [-1, 0, 1], shape=(n - 1, n - 1))
    start = -np.sin(np.pi * x[1:-1])
    found = solve_ivp(rate, (0, 0.5), start, "BDF", jac_sparsity=pattern, rtol=1e-7, atol=1e-9)
    exact = exact_burgers(*(torch.tensor(v) for v in (x[1:-1], 0.5, nu)))
    wrong = np.linalg.norm(found.y[:, -1] - exact.numpy()) / np.linalg.norm(exact.numpy())
    assert wrong < FINITE_DIFFERENCES


def test_poisson_agrees_with_scipy_and_has_no_residual() -> None:
    batch = Poisson().sample(2, 20, generator=seeded(), dtype=torch.float64)
    a = [float(batch.physics[f"a{k}"][0]) for k in (1, 2, 3)]

    def field(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        load = sum(a[k - 1] * np.sin(k * np.pi * x) for k in (1, 2, 3))
        return np.stack([y[1], -load])

    grid = np.linspace(0, 1, 50)
    found = solve_bvp(
        field,
        lambda left, right: np.array([left[0], right[0]]),
        grid,
        np.zeros((2, 50)),
        tol=1e-8,
        max_nodes=20000,
    )
    assert found.success
    x, y = batch.support.x[0], batch.support.y[0]
    np.testing.assert_allclose(found.sol(x[:, 0].numpy())[0], y[:, 0].numpy(), atol=1e-7)

    def exact(x: torch.Tensor) -> torch.Tensor:
        terms = [a[k - 1] * torch.sin(k * math.pi * x) / (k * math.pi) ** 2 for k in (1, 2, 3)]
        return torch.stack(terms).sum(0)

    data = type(batch.support)(*(leaf[0] for leaf in batch.support))
    assert pde.residual_loss(pde.poisson)(exact, data) < 1e-20
    assert pde.residual_loss(pde.poisson)(lambda x: exact(x) + x, data) > 1e-2  # the edge


@pytest.mark.parametrize(
    "layer",
    [
        lambda: nn.LayerNorm(8),
        lambda: nn.GroupNorm(2, 8),
        lambda: nn.RMSNorm(8),
        lambda: weight_norm(nn.Linear(8, 8)),
        nn.GELU,
        nn.Mish,
    ],
)
def test_second_derivatives_in_x_are_exact(layer: Any) -> None:
    """By finite differences. Torch has that of a layer norm wrong in forward mode."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(1, 8), layer(), nn.Tanh(), nn.Linear(8, 1)).double()
    x, h = torch.linspace(-1, 1, 7, dtype=torch.float64)[:, None], 1e-4
    expected = -(model(x + h) - 2 * model(x) + model(x - h)) / h**2
    torch.testing.assert_close(pde.poisson(model, x), expected, rtol=0, atol=1e-6)


def test_the_ansatz_holds_edges_and_symmetry_and_training_reads_no_solution() -> None:
    model = pinns.network(seed=1).double()
    batch = Burgers(exact=False).sample(2, 30, generator=seeded(), dtype=torch.float64)
    assert batch.support.y.isnan().all()
    torch.testing.assert_close(model(batch.support.edge), batch.support.edge_y, atol=1e-12, rtol=0)
    x = batch.support.x
    mirrored = x * x.new_tensor([-1, 1, 1])
    torch.testing.assert_close(model(mirrored), -model(x))
    assert mk.MAML(model, loss=pinns.LOSS).query_losses(batch).isfinite().all()


def test_families_work_with_training_and_comparison() -> None:
    model = pde.Ansatz(mk.models.MLP(1, 1, (8,)), Poisson.lift, Poisson.factor)
    loss = pde.residual_loss(pde.poisson, 0)
    learner = mk.FOMAML(model, 1e-3, loss=loss)
    history = mk.meta_train(learner, Poisson(), 10, meta_batch=4, iterations=30, progress=False)
    assert history.outer_loss[-1] < history.outer_loss[0]
    table = mk.compare({"it": learner}, Poisson(), 10, n_tasks=5, loss=pde.relative_l2)
    assert (table["mean"] > 0).all()


@pytest.mark.parametrize("method", ["adam", "lbfgs"])
def test_refinement_solves_and_leaves_the_start_alone(method: str) -> None:
    model = pinns.network(seed=0).double()
    before = [w.clone() for w in model.parameters()]
    support, query = pinns.problem(torch.tensor([0.02], dtype=torch.float64), points=200)
    found = refine(model, support, query, pinns.LOSS, 30, method=method, lr=1e-2)
    assert found.errors.shape == (1, 31)
    assert found.errors[0, -1] < found.errors[0, 0]
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    with pytest.raises(mk.MamlkitError, match="method='sgd' is not known"):
        refine(model, support, query, pinns.LOSS, 1, method="sgd")


@pytest.mark.parametrize("method", ["adam", "lbfgs"])
def test_each_task_may_have_a_start_of_its_own(method: str) -> None:
    models = [pinns.network(seed=seed).double() for seed in range(2)]
    nu = torch.tensor([0.02, 0.05], dtype=torch.float64)
    found = refine(models, *pinns.problem(nu, points=20), pinns.LOSS, 3, method=method)
    for i, model in enumerate(models):
        task = pinns.problem(nu[i : i + 1], points=20)
        alone = refine(model, *task, pinns.LOSS, 3, method=method)
        torch.testing.assert_close(found.errors[i], alone.errors[0])
    told = pinns.network(told=True).double()
    for wrong in ([], models[:1] * 3, [models[0], told]):
        with pytest.raises(mk.MamlkitError, match="one network for all tasks, or one for each"):
            refine(wrong, *pinns.problem(nu, points=20), pinns.LOSS, 1)


def test_steps_to() -> None:
    errors = torch.tensor([[0.1, 0.01, 0.02], [0.1, 0.1, 0.1]])
    assert steps_to(errors).tolist() == [1, math.inf]


@pytest.mark.parametrize("kind", [nn.ReLU, nn.LeakyReLU, nn.PReLU, nn.ReLU6, nn.Hardtanh])
def test_straight_pieces_have_no_second_derivative(kind: type[nn.Module]) -> None:
    model = nn.Sequential(nn.Linear(3, 4), kind(), nn.Linear(4, 1)).double()
    loss = mk.physics.pde.residual_loss(mk.physics.pde.burgers)
    learner, family = mk.MAML(model, 0.01, loss=loss), Burgers()
    for use in (
        lambda: mk.meta_train(learner, family, 4, meta_batch=2, iterations=1, progress=False),
        lambda: learner.adapt(family.sample(1, 4, dtype=torch.float64).task(0).support),
        lambda: refine(model, *pinns.problem(torch.tensor([0.02]), points=20), loss, 1),
    ):
        with pytest.raises(mk.MamlkitError, match="second derivative is zero everywhere"):
            use()
    x = torch.ones(2, 3, dtype=torch.float64)  # a first derivative is there
    assert mk.physics.pde.slope(model, x, 0)[1].shape == (2, 1)
    assert torch.relu(x).equal(x)


def test_bad_input_is_told() -> None:
    with pytest.raises(mk.MamlkitError, match="must lie above 0"):
        Burgers((0.0, 1.0))
    with pytest.raises(mk.MamlkitError, match="above 0, but is"):
        pinns.problem(torch.tensor(0.02))
    with pytest.raises(mk.MamlkitError, match="needs collocation points"):
        pinns.LOSS(torch.sin, mk.tasks.Data(torch.ones(2, 3), torch.ones(2, 1)))
    support, query = pinns.problem(torch.tensor([0.02]), points=20)
    with pytest.raises(mk.MamlkitError, match="bring both to one"):
        refine(pinns.network().float(), support, query, pinns.LOSS, 1)
    with pytest.raises(mk.MamlkitError, match="modes must be a whole number"):
        Poisson(modes=0)
    with pytest.raises(mk.MamlkitError, match="is not known"):
        Burgers().split("rest")
