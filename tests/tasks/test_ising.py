"""Magnets: the sampler against exact results, and the families made of its snapshots."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch
from torch import Tensor

import mamlkit as mk
from mamlkit.tasks import ising
from tests.helpers import F64, seeded


def bond_averages(x: Tensor, bonds=ising.BONDS) -> Tensor:
    """Mean of s_i s_(i+d) for each bond direction, ``[.., h, w] -> [.., bonds]``."""
    each = [x * x.roll((-down, -right), (-2, -1)) for down, right in bonds]
    return torch.stack([product.double().mean((-2, -1)) for product in each], -1)


def enumerated(couplings: Tensor, side: int, bonds=ising.BONDS) -> Tensor:
    """The exact means of the bond averages, by all snapshots there are."""
    spins = np.array(list(product((-1, 1), repeat=side * side)), dtype=np.int8)
    averages = bond_averages(torch.from_numpy(spins).reshape(-1, side, side), bonds)
    weight = torch.softmax(side * side * averages @ couplings, 0)
    return weight @ averages


def off_by(samples: Tensor, exact: Tensor | float) -> Tensor:
    """Deviation of the mean of independent samples, ``[n, ..]``, in standard errors."""
    return (samples.mean(0) - exact) / (samples.std(0) / len(samples) ** 0.5)


@pytest.mark.parametrize("temperature", [1.6, 2.1, 2.35])
def test_energies_are_kaufmans(temperature: float) -> None:
    couplings = torch.full((1500, 2), 1 / temperature)
    x = ising.swendsen_wang(couplings, aligned=True, generator=seeded(1))[:, 0]
    energy = -bond_averages(x, ising.SQUARE).sum(-1)  # one a chain: independent
    assert off_by(energy, ising.kaufman_energy(temperature, 16)).abs() < 2


@pytest.mark.parametrize("temperature", [1.6, 2.1])
def test_magnetisation_is_onsagers(temperature: float) -> None:
    x = ising.swendsen_wang(
        torch.full((1500, 2), 1 / temperature), aligned=True, generator=seeded(1)
    )
    m = x[:, 0].double().mean((1, 2)).abs()
    # An infinite lattice: at 2.1 one of 16 x 16 has a little more.
    assert abs(m.mean() - ising.onsager_magnetisation(temperature)) < 0.01


@pytest.mark.parametrize("couplings", [(0.3, -0.15, 0.2, -0.25), (-0.4, 0.3, 0.2, 0.1)])
@pytest.mark.parametrize("side", [3, 4])
def test_all_four_couplings_and_their_signs(couplings: tuple[float, ...], side: int) -> None:
    given = torch.tensor(couplings, dtype=F64)
    x = ising.swendsen_wang(given.expand(6000, 4), side, bonds=ising.BONDS, generator=seeded(2))[
        :, 0
    ]
    exact = enumerated(given, side)
    assert off_by(bond_averages(x), exact).abs().max() < 3
    assert (bond_averages(x).mean(0).sign() == exact.sign()).all()


def test_chains_have_their_own_temperature() -> None:
    couplings = torch.tensor([[1.0, 1.0], [0.05, 0.05]]).repeat_interleave(50, 0)
    x = ising.swendsen_wang(couplings, 8, generator=seeded())[:, 0]
    cold, hot = x.double().mean((1, 2)).abs().split(50)
    assert cold.min() > 0.9 > 0.5 > hot.max()


def test_the_generator_fixes_the_snapshots() -> None:
    couplings = torch.full((4, 2), 0.4)
    a, b, c = (
        ising.swendsen_wang(couplings, 4, snapshots=2, generator=seeded(s)) for s in (0, 0, 1)
    )
    assert a.dtype == torch.int8
    assert a.shape == (4, 2, 4, 4)
    assert torch.equal(a, b)
    assert not torch.equal(a, c)
    assert not torch.equal(a[:, 0], a[:, 1])


@pytest.mark.parametrize("temperature", [1.0, 2.0, ising.T_CRITICAL, 3.0, 10.0])
def test_kaufmans_formula_by_enumeration(temperature: float) -> None:
    k = torch.full((2,), 1 / temperature, dtype=F64)
    exact = -enumerated(k, 4, ising.SQUARE).sum()
    assert ising.kaufman_energy(temperature, 4) == pytest.approx(float(exact), rel=1e-9)


def test_known_values() -> None:
    assert ising.kaufman_energy(1.6, 16) == pytest.approx(-1.9282, abs=5e-5)
    assert ising.kaufman_energy(2.1, 16) == pytest.approx(-1.6620, abs=5e-5)
    assert ising.onsager_magnetisation(1.6) == pytest.approx(0.9796, abs=5e-5)
    assert ising.onsager_magnetisation(2.1) == pytest.approx(0.8687, abs=5e-5)
    assert ising.onsager_magnetisation(2.3) == 0


def test_correlations_are_averages_over_the_lattice() -> None:
    x = (2 * torch.randint(2, (3, 6, 6), generator=seeded()) - 1).to(torch.int8)
    c = mk.tasks.correlations(x)
    for down, right in ((0, 0), (1, 0), (2, 5), (5, 1)):
        there = (x * x.roll((-down, -right), (1, 2))).double().mean((1, 2))
        torch.testing.assert_close(c[:, down, right].double(), there, rtol=1e-5, atol=1e-6)
    s = mk.tasks.structure_factor(x)
    assert float(s.mean()) == pytest.approx(1)  # sum of s_i^2 over N
    torch.testing.assert_close(s, mk.tasks.structure_factor(-x.roll((1, 2), (1, 2))))


@pytest.mark.parametrize(("side", "n"), [(16, 129), (4, 9), (5, 12)])
def test_each_pair_of_distances_stands_once(side: int, n: int) -> None:
    r = ising.distances(side)
    assert r.shape == (n, 2)
    seen = {tuple(d) for d in r.tolist()} | {tuple(d) for d in (-r % side).tolist()}
    assert len(seen) == side**2 - 1
    x = torch.randn(2, 1, side, side, generator=seeded())
    found = ising.pair_correlations(x)
    assert torch.equal(found, mk.tasks.correlations(x[:, 0])[:, r[:, 0], r[:, 1]])


@pytest.fixture(scope="module")
def magnets() -> mk.tasks.WhichMagnet:
    return mk.tasks.WhichMagnet((6, 3, 4), snapshots=16, side=8)


def test_magnets(magnets: mk.tasks.WhichMagnet) -> None:
    assert magnets.couplings.shape == (13, 4)
    assert [len(magnets.parts[part]) for part in ("train", "validation", "test")] == [6, 3, 4]
    batch = magnets.split("test").sample(5, 3, 4, generator=seeded())
    assert batch.support.x.shape == (5, 6, 1, 8, 8)
    assert batch.query.y.shape == (5, 8)
    assert batch.support.x.dtype == torch.get_default_dtype()
    assert set(batch.physics["classes"].flatten().tolist()) <= set(range(9, 13))
    # Snapshots of the strongest bond show it.
    strongest = int(magnets.couplings.abs().amax(1).argmax())
    bond = int(magnets.couplings[strongest].abs().argmax())
    own = magnets.x[16 * strongest : 16 * (strongest + 1), 0]
    shown = float(bond_averages(own)[:, bond].mean())
    assert shown * float(magnets.couplings[strongest, bond]) > 0


def test_snapshots_must_fit_the_chains() -> None:
    with pytest.raises(mk.MamlkitError, match="multiple of 8"):
        mk.tasks.WhichMagnet((2, 2, 2), snapshots=20, side=4)


def test_patterns() -> None:
    cells = ising.patterns()
    assert cells.shape == (2108, 4, 4)  # orbits of 2^16 cells under 16 shifts and a flip
    moved = -cells[[40, 700]].roll((1, 3), (1, 2))
    assert torch.equal(ising._least(moved), ising._least(cells[[40, 700]]))
    assert len(ising._least(cells).unique()) == 2108
    parts = ising._parts_of_patterns()
    counts = {part: parts.count(part) for part in set(parts)}
    assert counts == {"named": 8, "train": 1400, "validation": 280, "test": 420}
    assert bool((cells[0] == cells[0, 0, 0]).all())  # the ferromagnet


def phases(part: str = "train", **settings) -> mk.tasks.WhichPhase:
    return mk.tasks.WhichPhase(200, side=8, **settings).split(part)


def test_ordered_snapshots_show_their_pattern() -> None:
    family = phases("test")
    batch = family.sample(6, 4, 2, generator=seeded())
    cells = ising.patterns()[batch.physics["patterns"].long()].to(batch.support.x)  # [6, 2, 4, 4]
    for i in range(6):
        for k in range(2):
            label = int(batch.physics["labels"][i, k])
            own = batch.support.x[i, batch.support.y[i] == label, 0]  # [4, 8, 8]
            shifts = [
                (own * cells[i, k].roll((a, b), (0, 1)).repeat(2, 2)).mean((1, 2)).abs()
                for a, b in product(range(4), repeat=2)
            ]
            assert torch.stack(shifts).amax(0).min() > 0.75  # far below the critical temperature


def test_parts_have_patterns_and_snapshots_of_their_own() -> None:
    parts = np.array(ising._parts_of_patterns())
    for part in ("train", "validation", "test", "named"):
        drawn = phases(part).sample(3, 1, 1, generator=seeded()).physics["patterns"]
        assert set(parts[drawn.long().flatten().numpy()]) == {part}
    assert not torch.equal(phases("train").ferromagnet()[1][:100], phases("test").ferromagnet()[1])
    assert phases("named").ferromagnet()[1] is phases("test").ferromagnet()[1]


def test_support_far_from_the_critical_temperature(monkeypatch: pytest.MonkeyPatch) -> None:
    family = phases()
    temperatures, _ = family.ferromagnet()
    assert bool((temperatures[1:] >= temperatures[:-1]).all())
    # In place of snapshots their temperatures, to see which are drawn.
    told = temperatures, temperatures / ising.T_CRITICAL
    monkeypatch.setattr(family, "ferromagnet", lambda: told)
    cold, hot = (family.seen((100, 2), ordered, 1, seeded()) for ordered in (True, False))
    assert 0.5 <= cold.min() < cold[:, 0].max() < 0.8 < cold[:, 1].max() < 1
    assert 2 >= hot.max() > hot[:, 0].min() > 1.3 > hot[:, 1].min() > 1
    family.far = False
    assert family.seen((100, 2), True, 1, seeded())[:, 0].max() > 0.8


def test_a_gauge_hides_the_order_of_one_snapshot_and_not_of_two() -> None:
    family = mk.tasks.HiddenGauge(200, side=8).split("test")
    batch = family.sample(20, 2, 1, generator=seeded(), dtype=F64)
    x = batch.support.x[:, :, 0]  # disordered, ordered, disordered, ordered
    assert batch.support.y[0].tolist() == [0, 1, 0, 1]
    assert "labels" not in batch.physics
    assert x.mean((2, 3)).abs().mean() < 0.2
    first, second, third, fourth = x.unbind(1)
    assert (second * fourth).mean((1, 2)).abs().min() > 0.5
    assert (first * third).mean((1, 2)).abs().mean() < 0.4
    bare = batch.physics["gauge"] * second
    assert bare.mean((1, 2)).abs().min() > 0.75


def test_bad_input_in_plain_words() -> None:
    with pytest.raises(mk.MamlkitError, match=r"\[chains, 2\]"):
        ising.swendsen_wang(torch.ones(3, 4))
    with pytest.raises(mk.MamlkitError, match="repeat every four sites"):
        mk.tasks.WhichPhase(side=10)
    with pytest.raises(mk.MamlkitError, match="side"):
        ising.swendsen_wang(torch.ones(1, 2), side=2)
