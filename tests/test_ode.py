"""The Runge-Kutta solver, families of trajectories and their losses: order of convergence, exact
solutions, scipy, torchdiffeq.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
import torch
import torchdiffeq
from scipy.integrate import solve_ivp
from torch import Tensor

import mamlkit as mk
from mamlkit.losses import derivatives, trajectories
from mamlkit.ode import rk4
from mamlkit.tasks import Trajectories
from tests.helpers import F64, seeded


def rotation(t: Tensor, y: Tensor) -> Tensor:
    """q' = p, p' = -q: the solution is a rotation."""
    return torch.stack([y[..., 1], -y[..., 0]], dim=-1)


def forced(t: Tensor, y: Tensor) -> Tensor:
    """y' = -y + cos t; from y(0) = 1/2 the solution is (cos t + sin t) / 2."""
    return -y + torch.cos(t)


PROBLEMS = {
    "rotation": (rotation, torch.tensor([1.0, 0.0]), lambda t: torch.stack([t.cos(), -t.sin()], 1)),
    "forced": (forced, torch.tensor([0.5]), lambda t: ((t.cos() + t.sin()) / 2)[:, None]),
}


@pytest.mark.parametrize("problem", PROBLEMS)
def test_the_error_falls_with_the_fourth_power_of_the_step(problem: str) -> None:
    field, y0, exact = PROBLEMS[problem]
    t = torch.linspace(0, 3, 7, dtype=F64)
    errors = [float((rk4(field, y0.to(F64), t, n) - exact(t)).abs().max()) for n in (4, 8, 16)]
    orders = [np.log2(a / b) for a, b in pairwise(errors)]
    assert orders == pytest.approx([4, 4], abs=0.15)


@pytest.mark.parametrize("dtype", [torch.float32, F64])
@pytest.mark.parametrize("problem", PROBLEMS)
def test_it_is_torchdiffeqs_classical_step(problem: str, dtype: torch.dtype) -> None:
    field, y0, _ = PROBLEMS[problem]
    t = torch.tensor([0.0, 0.3, 0.5, 1.1], dtype=dtype)  # not even
    # "rk4" there is the 3/8 rule, which differs in the fifth order; steps are small enough.
    fine = {"step_size": 0.01}
    theirs = torchdiffeq.odeint(field, y0.to(dtype), t, method="rk4", options=fine)
    ours = rk4(field, y0.to(dtype), t, 60)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=2e-6 if dtype == torch.float32 else 1e-9)


def test_times_may_fall_and_differ_between_states() -> None:
    t = torch.linspace(0, 2, 21, dtype=F64)
    there = rk4(rotation, torch.tensor([1.0, 0.0], dtype=F64), t, 4)
    back = rk4(rotation, there[-1], t.flip(0), 4)
    torch.testing.assert_close(back.flip(0), there, rtol=0, atol=1e-7)
    both = torch.stack([t[:11], t[10:]], 1)  # [11, 2]: two pieces at once
    pieces = rk4(rotation, torch.stack([there[0], there[10]]), both[..., None], 4)
    torch.testing.assert_close(pieces[:, 1], there[10:])


def test_it_works_under_vmap_and_twice_differentiated() -> None:
    t = torch.linspace(0, 1, 5, dtype=F64)

    def end(k: Tensor) -> Tensor:  # of y' = -k y
        return rk4(lambda _, y: -k * y, torch.ones(1, dtype=F64), t, 8)[-1, 0]

    k = torch.tensor([0.5, 1.0, 2.0], dtype=F64)
    second = torch.func.vmap(torch.func.grad(torch.func.grad(end)))(k)
    torch.testing.assert_close(second, torch.exp(-k), rtol=1e-5, atol=0)  # d2/dk2 exp(-k) at t = 1


@pytest.mark.parametrize(
    ("t", "substeps"), [([0.0], 1), (0.0, 1), ([0.0, 1.0], 0), ([0, 1.0], 1.5)]
)
def test_bad_times_and_steps_are_refused(t, substeps) -> None:
    with pytest.raises(mk.MamlkitError, match="at least"):
        rk4(rotation, torch.zeros(2), torch.tensor(t), substeps)


# --- families of trajectories ---------------------------------------------------------------------


class Decay(mk.tasks.TrajectoryFamily):
    d_in = d_out = 1
    times = torch.linspace(0, 2, 11, dtype=F64)

    def draw(self, n_tasks, generator):
        return {"rate": mk.tasks.uniform(n_tasks, 0.5, 2.0, generator)}

    def starts(self, n_tasks, n, generator):
        return 1 + torch.rand(n_tasks, n, 1, generator=generator, dtype=F64)

    def field(self, y, physics):
        return -physics["rate"] * y


def test_a_family_in_ten_lines_gives_exact_trajectories(generator) -> None:
    batch = Decay().sample(3, 2, 4, generator=generator, dtype=F64)
    assert [tuple(leaf.shape) for leaf in batch.support] == [(3, 11), (3, 2, 11, 1), (3, 2, 11, 1)]
    assert [tuple(leaf.shape) for leaf in batch.query] == [(3, 11), (3, 4, 11, 1), (3, 4, 11, 1)]
    t, y, dy = batch.query
    rate = batch.physics["rate"][:, None, None, None]
    torch.testing.assert_close(
        y, y[:, :, :1] * torch.exp(-rate * t[:, None, :, None]), rtol=1e-9, atol=0
    )
    torch.testing.assert_close(dy, -rate * y)


def test_noise_is_on_the_support_alone_and_has_its_size(generator) -> None:
    family = Decay()
    family.noise = 0.1
    noisy = family.sample(50, 4, generator=seeded(1), dtype=F64)
    family.noise = 0.0
    clean = family.sample(50, 4, generator=seeded(1), dtype=F64)
    assert torch.equal(noisy.query.y, clean.query.y)
    assert torch.equal(noisy.support.dy, clean.support.dy)
    assert float((noisy.support.y - clean.support.y).std()) == pytest.approx(0.1, rel=0.1)


def test_the_reference_solution_is_scipys() -> None:
    family = Decay()
    y = family.solve(torch.tensor([[[1.5]]]), {"rate": torch.tensor([1.2])})
    times = family.times.numpy()
    exact = solve_ivp(lambda t, y: -1.2 * y, (0, 2), [1.5], t_eval=times, rtol=1e-12, atol=1e-14)
    # A rate of 1.2 came as float32.
    np.testing.assert_allclose(y[0, 0, :, 0].numpy(), exact.y[0], rtol=1e-7)


@pytest.mark.parametrize("missing", ["draw", "starts", "field"])
def test_a_family_without_a_method_says_which(missing: str) -> None:
    methods = {
        name: getattr(Decay, name) for name in ("draw", "starts", "field") if name != missing
    }
    family = type("Half", (mk.tasks.TrajectoryFamily,), {**methods, "times": Decay.times})()
    with pytest.raises(mk.MamlkitError, match=f"Half has no {missing}"):
        family.sample(2, 1)


def test_a_solution_that_explodes_is_said() -> None:
    class Explosion(Decay):
        def field(self, y: Tensor, physics: dict[str, Tensor]) -> Tensor:
            return y**2 * 10

    family = Explosion()
    with pytest.raises(mk.MamlkitError, match="not finite"):
        family.sample(2, 1)


# --- losses ---------------------------------------------------------------------------------------


def data() -> Trajectories:
    batch = Decay().sample(1, 3, generator=seeded(), dtype=F64)
    return Trajectories(*(leaf[0] for leaf in batch.query))


def test_the_true_field_has_no_loss_and_a_wrong_one_has() -> None:
    batch = Decay().sample(1, 3, generator=seeded(), dtype=F64)
    one, rate = Trajectories(*(leaf[0] for leaf in batch.query)), batch.physics["rate"].item()
    for loss in (derivatives, trajectories(substeps=20), trajectories(1, 20), trajectories(3, 20)):
        assert float(loss(lambda y: -rate * y, one)) < 1e-16
        assert float(loss(lambda y: -2 * rate * y, one)) > 1e-3


@pytest.mark.parametrize("horizon", [1, 4, 10])
def test_multiple_shooting_is_the_mean_over_every_start(horizon: int) -> None:
    one = data()

    def wrong(y: Tensor) -> Tensor:
        return -0.3 * y

    by_hand = []
    for k in range(11 - horizon):
        for n in range(3):
            t, seen = one.t[k : k + horizon + 1], one.y[n, k : k + horizon + 1]
            found = rk4(lambda _, y: wrong(y), seen[0], t, 2)
            by_hand += [(found[1:] - seen[1:]).square().mean()]
    found = trajectories(horizon, 2)(wrong, one)
    torch.testing.assert_close(found, torch.stack(by_hand).mean())
    if horizon == 10:
        torch.testing.assert_close(trajectories(None, 2)(wrong, one), found)


def test_times_and_states_must_be_tensors() -> None:
    for y0, t in ((torch.ones(1), [0.0, 1.0]), (1.0, torch.linspace(0, 1, 3))):
        with pytest.raises(mk.MamlkitError, match=r"must be tensors, but .* were given"):
            mk.ode.rk4(lambda _, y: -y, y0, t)


def test_a_horizon_beyond_the_data_is_refused() -> None:
    with pytest.raises(mk.MamlkitError, match="need 12 times, but the trajectories have 11"):
        trajectories(11)(lambda y: y, data())


def test_a_learner_adapts_to_trajectories_eager_and_captured() -> None:
    family, settings = Decay(), {"meta_batch": 4, "iterations": 5, "progress": False}
    found = []
    for how in (False, "capture"):
        learner = mk.MAML(mk.models.MLP(1, 1).double(), 0.1, 2, loss=trajectories(2))
        mk.meta_train(learner, family, 2, compile=how, **settings)
        found.append(learner.model.get_parameter("layers.0.weight").detach())
    torch.testing.assert_close(*found, rtol=1e-8, atol=1e-12)


def pendulum(_: Tensor, y: Tensor) -> Tensor:
    return torch.cat([y[..., 1:], -torch.sin(y[..., :1])], -1)


def test_leapfrog_is_of_order_two_and_goes_back_where_it_came_from() -> None:
    start = torch.tensor([[1.2, 0.3], [-0.5, 1.0]], dtype=torch.float64)
    t = torch.linspace(0, 4, 21, dtype=torch.float64)
    exact = mk.ode.rk4(pendulum, start, t, 50)
    once, twice = ((mk.ode.leapfrog(pendulum, start, t, n) - exact).abs().max() for n in (1, 2))
    assert float(once / twice) == pytest.approx(4, rel=0.05)
    back = mk.ode.leapfrog(pendulum, mk.ode.leapfrog(pendulum, start, t)[-1], t.flip(0))[-1]
    torch.testing.assert_close(back, start, rtol=1e-12, atol=1e-12)


def test_leapfrog_keeps_the_energy_that_runge_kutta_loses() -> None:
    start = torch.tensor([1.2, 0.0], dtype=torch.float64)
    t = torch.arange(0, 800, 0.8, dtype=torch.float64)

    def off(solve: Callable[..., Tensor]) -> Tensor:  # the energy, from its start on
        q, p = solve(pendulum, start, t).T
        energy = p**2 / 2 - q.cos()
        return (energy - energy[0]).abs()

    ours, theirs = off(mk.ode.leapfrog), off(mk.ode.rk4)
    assert float(ours[-200:].max()) < 1.1 * float(ours[:200].max())
    assert float(theirs[-200:].min()) > 5 * float(ours.max())


def test_leapfrog_wants_coordinates_and_momenta() -> None:
    times = torch.tensor([0.0, 1.0])
    for state in (torch.ones(3), torch.ones(2, 1), torch.tensor(1.0)):
        with pytest.raises(mk.MamlkitError, match="q and then p"):
            mk.ode.leapfrog(pendulum, state, times)
    with pytest.raises(mk.MamlkitError, match="q and then p"):
        mk.ode.leapfrog(pendulum, torch.ones(2), times[:1])
    with pytest.raises(mk.MamlkitError, match="must be tensors"):
        mk.ode.leapfrog(pendulum, [1.0, 0.0], times)
