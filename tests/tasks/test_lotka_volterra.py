"""Predator and prey: the law, what it conserves, scipy, pools and parts, and the classical fit."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

import mamlkit as mk
from mamlkit.losses import trajectories
from mamlkit.physics.fields import PerCapita
from mamlkit.tasks.lotka_volterra import ENVIRONMENTS
from tests.helpers import F64, seeded

EXACT, KEPT = 1e-9, 1e-8  # of the states against DOP853; of V along a trajectory


def test_the_solution_is_that_of_scipy() -> None:
    family = mk.tasks.LotkaVolterra().split("test")
    y0, physics = family.starts(4, 2, seeded()), family.environments
    found = family.solve(y0, physics)
    for i, (beta, delta) in enumerate(ENVIRONMENTS["test"]):
        ref = solve_ivp(
            lambda _, s, b, d: [0.5 * s[0] - b * s[0] * s[1], d * s[0] * s[1] - 0.5 * s[1]],
            (0, 9.5),
            y0[i, 1].numpy(),
            method="DOP853",
            rtol=1e-12,
            atol=1e-14,
            t_eval=family.times.numpy(),
            args=(beta, delta),
        )
        np.testing.assert_allclose(found[i, 1].numpy(), ref.y.T, rtol=EXACT, atol=EXACT)


def test_what_is_conserved_and_what_moves() -> None:
    family = mk.tasks.LotkaVolterra().split("out-of-range")
    batch = family.sample(5, 1, 3, generator=seeded(1), dtype=F64)
    V = family.conserved(batch.query.y, batch.physics)  # [5, 3, T]
    assert float((V - V[..., :1]).abs().max()) < KEPT
    assert float(V[..., 0].std()) > 0.1  # orbits differ
    # dV/dt = dV/dx x' + dV/dy y' = 0 at any state, here by autograd
    y = (0.5 + torch.rand(5, 7, 2, generator=seeded(2), dtype=F64)).requires_grad_()
    (slope,) = torch.autograd.grad(family.conserved(y, batch.physics).sum(), y)
    shaped = {k: v[:, None, None] for k, v in batch.physics.items()}
    assert float((slope * family.field(y.detach(), shaped)).sum(-1).abs().max()) < 1e-14


def test_at_rest() -> None:
    family = mk.tasks.LotkaVolterra()
    rest = torch.tensor([[[0.5 / 1.125, 0.5 / 0.625]]], dtype=F64)
    physics = {"beta": torch.tensor([[[0.625]]]), "delta": torch.tensor([[[1.125]]])}
    assert float(family.field(rest, physics).abs().max()) < 1e-15


def test_the_published_data_are_wrong_by_about_1e_5() -> None:
    clean, old = (mk.tasks.LotkaVolterra(legacy=legacy).split("test") for legacy in (False, True))
    y0 = clean.starts(4, 8, seeded())
    error = old.solve(y0, old.environments) - clean.solve(y0, clean.environments)
    assert 4e-6 < float(error.square().mean()) < 1.3e-5
    # the switch is scipy's default RK45, to the digit
    beta, delta = ENVIRONMENTS["test"][1]
    ref = solve_ivp(
        lambda _, s: [0.5 * s[0] - beta * s[0] * s[1], delta * s[0] * s[1] - 0.5 * s[1]],
        (0, 9.5),
        y0[1, 0].numpy(),
        t_eval=clean.times.numpy(),
    )
    got = old.solve(y0, old.environments)[1, 0].numpy()
    np.testing.assert_allclose(got, ref.y.T, rtol=1e-6)


def test_a_pool_holds_four_trajectories_and_never_shows_one_twice() -> None:
    train = mk.tasks.LotkaVolterra().split("train")
    assert train.existing().y.shape == (9, 4, 20, 2)
    batch = train.sample(9, 1, generator=seeded(), dtype=F64)  # each environment once
    assert batch.support.y.shape == (9, 1, 20, 2)
    assert batch.query.y.shape == (9, 3, 20, 2)
    pairs = set(zip(batch.physics["beta"].tolist(), batch.physics["delta"].tolist(), strict=True))
    assert pairs == set(ENVIRONMENTS["train"])
    starts = torch.cat([batch.support.y, batch.query.y], 1)[:, :, 0]
    known = train.existing().y[:, :, 0]
    for i in range(9):
        mine = ENVIRONMENTS["train"].index(
            (float(batch.physics["beta"][i]), float(batch.physics["delta"][i]))
        )
        assert {tuple(s) for s in starts[i].tolist()} == {tuple(s) for s in known[mine].tolist()}
    with pytest.raises(mk.MamlkitError, match="pool of 4"):
        train.sample(2, 2, 3)


def test_parts() -> None:
    lists = [set(np.ravel(ENVIRONMENTS[p])) for p in ("train", "validation", "test")]
    assert not (lists[0] & lists[1])
    assert not (lists[0] & lists[2])
    assert not (lists[1] & lists[2])
    outside = {"in-range": 0, "edge": 1, "out-of-range": 2}
    for part, n in outside.items():
        physics = mk.tasks.LotkaVolterra().split(part).draw(50, seeded())
        beyond = (physics["beta"] > 1).int() + (physics["delta"] > 1).int()
        assert beyond.tolist() == [n] * 50
        # On the edge, one of the two in half of the tasks, the other in the rest.
        assert int((physics["beta"] > 1).sum()) == 25 * n == int((physics["delta"] > 1).sum())
        assert float(torch.stack(list(physics.values())).min()) >= 0.5
        assert float(torch.stack(list(physics.values())).max()) <= 1.25
    with pytest.raises(mk.MamlkitError, match="not known"):
        mk.tasks.LotkaVolterra().split("west")
    with pytest.raises(mk.MamlkitError, match="has no list"):
        _ = mk.tasks.LotkaVolterra().split("edge").environments
    with pytest.raises(mk.MamlkitError, match="has no pool"):
        mk.tasks.LotkaVolterra().existing()


def test_noise_is_a_fraction_of_what_is_recorded_and_spares_the_query() -> None:
    quiet, loud = (
        mk.tasks.LotkaVolterra(noise).split("test").sample(200, 1, 1, generator=seeded(), dtype=F64)
        for noise in (0.0, 0.05)
    )
    relative = loud.support.y / quiet.support.y - 1
    assert float(relative.std()) == pytest.approx(0.05, rel=0.05)
    assert torch.equal(loud.query.y, quiet.query.y)


def test_nothing_is_born_of_nothing() -> None:
    model = PerCapita(2, 2, (8,), x_range=(0, 3), context=2).double()
    y = torch.tensor([[0.0, 1.0], [2.0, 0.0]], dtype=F64)
    rates = model(y)
    assert rates[0, 0] == rates[1, 1] == 0
    assert rates[0, 1] != 0 != rates[1, 0]
    twin = mk.models.MLP(2, 2, (8,), x_range=(0, 3), context=2).double()
    torch.testing.assert_close(rates, y * twin(y))


def test_the_fit_finds_the_parameters() -> None:
    batch = mk.tasks.LotkaVolterra().split("test").sample(2, 1, 2, generator=seeded(3), dtype=F64)
    fit = mk.yardsticks.LotkaVolterraFit()
    for i in range(2):
        support, query = (type(p)(*(leaf[i] for leaf in p)) for p in (batch.support, batch.query))
        beta, delta = (float(batch.physics[k][i]) for k in ("beta", "delta"))
        np.testing.assert_allclose(fit.parameters(support), [0.5, beta, delta, 0.5], rtol=1e-7)
        assert float(trajectories(None, 60)(fit.adapt(support), query)) < 1e-16
    started = mk.yardsticks.LotkaVolterraFit(fit_start=True).parameters(support)
    np.testing.assert_allclose(started, [0.5, beta, delta, 0.5], rtol=1e-6)
    with pytest.raises(mk.MamlkitError, match="not points"):
        fit.adapt(torch.ones(3, 1), torch.ones(3, 1))


def test_lines_for_the_rates_per_head_find_the_law_without_being_told_it() -> None:
    family = mk.tasks.LotkaVolterra()
    batch = family.split("test").sample(2, 1, 2, generator=seeded(3), dtype=F64)
    fit = mk.yardsticks.LinearRatesFit()
    for i in range(2):
        support, query = (type(p)(*(leaf[i] for leaf in p)) for p in (batch.support, batch.query))
        beta, delta = (float(batch.physics[k][i]) for k in ("beta", "delta"))
        np.testing.assert_allclose(
            fit.numbers(support), [0.5, 0, -beta, -0.5, delta, 0], rtol=1e-6, atol=1e-6
        )
        assert float(trajectories(None, 60)(fit.adapt(support), query)) < 1e-10
    foreign = np.array([0.4, -0.1, -0.6, -0.3, 0.5, 0.1])  # and of other laws of the kind

    def field(y: torch.Tensor) -> torch.Tensor:
        z = torch.tensor(foreign.reshape(2, 3))
        return y * (z[:, 0] + y @ z[:, 1:].T)

    t = family.times
    y = mk.ode.rk4(lambda _, y: field(y), torch.tensor([[1.2, 1.7]], dtype=F64), t, 60)
    record = mk.tasks.Trajectories(t, y.movedim(0, 1), field(y).movedim(0, 1))
    np.testing.assert_allclose(fit.numbers(record), foreign, atol=1e-6)
    with pytest.raises(mk.MamlkitError, match="not points"):
        fit.adapt(torch.ones(3, 1), torch.ones(3, 1))


def test_relatives_say_what_a_noisy_record_leaves_open() -> None:
    batch = mk.tasks.LotkaVolterra(0.05).split("test").sample(4, 1, generator=seeded(5), dtype=F64)
    scatter = np.diag([1e-8, 1e-8, 0.04, 1e-8, 0.04, 1e-8])
    told = mk.yardsticks.LinearRatesFit(([0.5, 0, -0.75, -0.5, 0.75, 0], scatter), noise=0.05)
    alone, off = mk.yardsticks.LinearRatesFit(), []
    for i in range(4):
        support = type(batch.support)(*(leaf[i] for leaf in batch.support))
        beta, delta = (float(batch.physics[k][i]) for k in ("beta", "delta"))
        truth = [0.5, 0, -beta, -0.5, delta, 0]
        off.append([np.abs(f.numbers(support) - truth).max() for f in (told, alone)])
    assert np.mean(off, 0)[0] < 0.7 * np.mean(off, 0)[1]
    sure = mk.yardsticks.LinearRatesFit((np.arange(6.0) / 10, 1e-12 * np.eye(6)))
    np.testing.assert_allclose(sure.numbers(support), np.arange(6) / 10, atol=1e-3)
    with pytest.raises(mk.MamlkitError, match="six numbers"):
        mk.yardsticks.LinearRatesFit(([0.5], [[1.0]]))
    nobody = support._replace(y=0 * support.y)
    with pytest.raises(mk.MamlkitError, match=r"above zero, but .* a least value of 0 were given"):
        alone.adapt(nobody)


def test_records_are_those_of_the_published_benchmark() -> None:
    family = mk.tasks.LotkaVolterra()
    assert family.times.tolist() == [k / 2 for k in range(20)]
    starts = family.starts(100, 10, seeded())
    assert 1 <= float(starts.min()) < 1.01
    assert 1.99 < float(starts.max()) < 2


@pytest.mark.parametrize("part", ["train", "test"])  # from a pool, and fresh
def test_rates_belong_to_the_states_beside_them(part: str) -> None:
    family = mk.tasks.LotkaVolterra().split(part)
    batch = family.sample(5, 1, 2, generator=seeded(), dtype=F64)
    physics = {name: value[:, None, None, None] for name, value in batch.physics.items()}
    for data in (batch.support, batch.query):
        torch.testing.assert_close(data.dy, family.field(data.y, physics))


def test_a_pool_is_as_large_as_asked_and_fixed_by_its_seed() -> None:
    one, same, other = (
        mk.tasks.LotkaVolterra(pool=6, pool_seed=seed).split("train") for seed in (1, 1, 2)
    )
    assert one.every(2).query.y.shape == (9, 4, 20, 2)
    assert torch.equal(one.existing().y, same.existing().y)
    assert not (one.existing().y == other.existing().y).any()


def test_the_fit_of_a_record_whose_start_is_wrong() -> None:
    """It spoils less where the start is fitted too. And the misfit is one of logarithms: counting
    predators in pairs changes beta and no other parameter.
    """
    batch = mk.tasks.LotkaVolterra().split("test").sample(1, 1, generator=seeded(4), dtype=F64)
    data = mk.tasks.Trajectories(*(leaf[0] for leaf in batch.support))
    data.y[:, 0] *= 1.2
    truth = np.array([0.5, float(batch.physics["beta"]), float(batch.physics["delta"]), 0.5])
    fit, both = mk.yardsticks.LotkaVolterraFit(), mk.yardsticks.LotkaVolterraFit(fit_start=True)
    off = [abs(f.parameters(data) / truth - 1).max() for f in (fit, both)]
    assert off[1] < 0.9 * off[0]
    pairs = data._replace(y=data.y * torch.tensor([1.0, 0.5]))
    found, expected = both.parameters(pairs), both.parameters(data) * [1, 2, 1, 1]
    np.testing.assert_allclose(found, expected, rtol=1e-5)
