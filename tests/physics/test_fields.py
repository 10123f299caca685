"""Hamiltonian models: what their structure promises, whatever the weights."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import mamlkit as mk
from mamlkit.losses import derivatives, trajectories
from mamlkit.models import MLP
from mamlkit.ode import rk4
from mamlkit.physics.fields import Hamiltonian
from mamlkit.tasks import Pendulum
from tests.helpers import F64, normal, seeded

KINDS = [
    {"separable": s, "feed": feed, "d": d}
    for s in (True, False)
    for feed in ("affine", "concatenate", "modulate")
    for d in (1, 2)
]


def model(seed: int = 0, **kind) -> Hamiltonian:
    found = Hamiltonian(hidden=(8, 8), seed=seed, **kind).double()
    found.potential.context.data.fill_(0.7)
    return found


def jacobian(f: Callable[[Tensor], Tensor], y: Tensor, h: float = 1e-5) -> Tensor:
    """By central differences: entry [i, j] is df_i / dy_j."""
    steps = h * torch.eye(len(y), dtype=F64)
    return torch.stack([(f(y + s) - f(y - s)) / (2 * h) for s in steps], dim=1).detach()


def states(d: int, n: int = 5) -> Tensor:
    return normal(n, 2 * d, seed=1)


@pytest.mark.parametrize("kind", KINDS)
def test_the_field_is_the_turned_slope_of_the_energy(kind) -> None:
    net, y, d, h = model(**kind), states(kind["d"]), kind["d"], 1e-6
    field = net(y)
    for j in range(2 * d):
        shift = h * torch.eye(2 * d, dtype=F64)[j]
        slope = (net.energy(y + shift) - net.energy(y - shift)) / (2 * h)
        found = -field[:, d + j] if j < d else field[:, j - d]  # -dH/dq is p', dH/dp is q'
        torch.testing.assert_close(found, slope, rtol=0, atol=1e-8)


@pytest.mark.parametrize("kind", KINDS)
def test_no_divergence_and_phase_space_area_is_kept(kind) -> None:
    net, d = model(**kind), kind["d"]
    for y in states(d):
        assert abs(float(jacobian(net, y).trace())) < 1e-9

    def flow(y: Tensor) -> Tensor:
        t = torch.linspace(0, 1, 2, dtype=F64)
        return rk4(lambda _, y: net(y), y, t, 10)[-1]

    m = jacobian(flow, states(d)[0])
    eye, zero = torch.eye(d, dtype=F64), torch.zeros(d, d, dtype=F64)
    j = torch.cat([torch.cat([zero, eye], 1), torch.cat([-eye, zero], 1)])
    torch.testing.assert_close(m.T @ j @ m, j, rtol=0, atol=1e-5)  # symplectic
    # and a field without an energy does not:
    free = MLP(2, 2, (8, 8)).double()
    assert abs(float(jacobian(free, states(1)[0]).trace())) > 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_energy_is_constant_to_the_error_of_the_integrator(kind) -> None:
    net, y = model(**kind), states(kind["d"])
    drifts = []
    for substeps in (1, 2):
        t = torch.linspace(0, 4, 9, dtype=F64)
        with torch.no_grad():
            energy = net.energy(rk4(lambda _, y: net(y), y, t, substeps))  # [9, 5]
        drifts.append(float((energy - energy[0]).abs().max()))
    assert drifts[0] < 1e-3
    assert drifts[1] < drifts[0] / 10  # falls with the fourth power of the step or faster


def test_affine_is_affine_and_the_others_are_not() -> None:
    y = states(1)
    for make in (
        lambda feed: Hamiltonian(1, (8,), feed=feed).double(),
        lambda feed: Hamiltonian(1, (8,), feed=feed, separable=True).double(),
        lambda feed: MLP(2, 2, (8,), context=1, feed=feed).double(),
    ):
        for feed in ("affine", "concatenate", "modulate"):
            net, at = make(feed), []
            context = next(p for name, p in net.named_parameters() if name.endswith("context"))
            for c in (-1.0, 0.0, 1.0):
                context.data.fill_(c)
                at.append(net(y).detach())
            bend = float((at[0] - 2 * at[1] + at[2]).abs().max())
            assert (bend < 1e-12) == (feed == "affine")
            assert float((at[2] - at[0]).abs().max()) > 1e-4


def test_the_context_belongs_to_the_forces_if_separable() -> None:
    net, y = model(separable=True), states(1)
    before = net(y).detach()
    net.potential.context.data.fill_(-2.0)
    after = net(y).detach()
    assert torch.equal(before[:, 0], after[:, 0])
    assert not torch.allclose(before[:, 1], after[:, 1])


@pytest.mark.parametrize("loss", [derivatives, trajectories(2)])
@pytest.mark.parametrize("adapt", ["context", "all"])
@pytest.mark.parametrize("separable", [True, False])
def test_a_learner_takes_it_and_its_gradient_is_right(adapt, separable, loss) -> None:
    net = Hamiltonian(1, (6,), separable=separable).double()
    learner = mk.MAML(net, 0.1, 2, adapt=adapt, loss=loss)
    batch = Pendulum().sample(3, 1, generator=seeded(), dtype=F64)
    weight = learner.model.get_parameter("potential.layers.0.weight")
    (gradient,) = torch.autograd.grad(learner.query_losses(batch).mean(), weight)
    at, h = [], 1e-5
    for sign in (1, -1):
        with torch.no_grad():
            weight[0, 0] += sign * h
            at.append(float(learner.query_losses(batch).mean()))
            weight[0, 0] -= sign * h
    slope = (at[0] - at[1]) / (2 * h)
    assert float(gradient[0, 0]) == pytest.approx(slope, rel=1e-5, abs=1e-9)


def test_eager_and_captured_training_agree() -> None:
    found = []
    for how in (False, "capture"):
        net = Hamiltonian(1, (6,), separable=True).double()
        learner = mk.CAVIA(net, 0.1, 2, loss=derivatives)
        settings = {"shots": 1, "meta_batch": 3, "iterations": 4, "progress": False}
        mk.meta_train(learner, Pendulum(), compile=how, **settings)
        found.append(learner.model.get_parameter("potential.layers.0.weight").detach())
    torch.testing.assert_close(*found, rtol=1e-8, atol=1e-12)


def test_bad_settings_are_refused() -> None:
    with pytest.raises(mk.MamlkitError, match="not known"):
        Hamiltonian(feed="add")
    with pytest.raises(mk.MamlkitError, match="context"):
        Hamiltonian(context=0)
    with pytest.raises(mk.MamlkitError, match="relu"):
        Hamiltonian(activation="relu")
    with pytest.raises(mk.MamlkitError, match="has 4 numbers"):
        Hamiltonian(2)(torch.zeros(3, 2))
