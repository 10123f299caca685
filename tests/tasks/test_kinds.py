"""Ten kinds of one size: numbers of order one, and each the law of its family still."""

from __future__ import annotations

import pytest
import torch

import mamlkit as mk
from mamlkit.tasks import KINDS, HookesLaw, Mixture, Standard, VapourPressure, ten_kinds
from mamlkit.tasks.kinds import STEFAN_BOLTZMANN
from tests.helpers import F64, members_of, seeded


@pytest.mark.parametrize("name", KINDS)
def test_numbers_of_order_one_that_obey_the_law(name: str) -> None:
    standard, family = ten_kinds()[name], KINDS[name]()
    batch = standard.sample(200, 5, 20, generator=seeded(), dtype=F64)
    x, y = batch.query
    assert x.min() >= -1 - 1e-9
    assert x.max() <= 1 + 1e-9
    assert x.std() > 0.5
    assert y.mean().abs() < 0.3
    assert 0.7 < y.std() < 1.3
    low, high = family.x_range
    physics = {k: v[:, None, None] for k, v in batch.physics.items()}
    own = family.law(low + (x + 1) / 2 * (high - low), physics)
    torch.testing.assert_close(standard.middle + standard.size * y, own)
    noise = batch.support.y - standard._evaluate(batch.support.x, batch.physics)
    assert noise.std() == pytest.approx(0.05, rel=0.1)


def test_the_formulas() -> None:
    """Half way at tau log 2; an object at 2 f has its image at 2 f; a black body of 1000 K."""
    tau, volt = torch.tensor(1.5, dtype=F64), torch.tensor(0.9, dtype=F64)
    half, rc = tau * torch.log(torch.tensor(2.0)), {"voltage": volt, "time_constant": tau}
    for name in ("charging", "discharging"):
        assert float(KINDS[name]().law(half, rc)) == pytest.approx(0.45)
    f = torch.tensor(0.08, dtype=F64)
    assert float(KINDS["lens"]().law(2 * f, {"focal_length": f})) == pytest.approx(0.16)
    black = {"emissivity": torch.tensor(1.0, dtype=F64)}
    power = KINDS["Stefan-Boltzmann"]().law(torch.tensor(1000.0, dtype=F64), black)
    assert float(power) == pytest.approx(1e12 * STEFAN_BOLTZMANN)
    assert float(power) == pytest.approx(56_704, rel=1e-4)


def test_parts_members_and_fixed_tasks_stay() -> None:
    fluids = ten_kinds()["fluids"]
    train, test = fluids.split("train"), fluids.split("test")
    assert train.n_members == KINDS["fluids"]().split("train").n_members
    assert not set(members_of(train)) & set(members_of(test))
    assert fluids.pool == 39
    assert Standard(KINDS["fluids"]().split("test")).n_members == test.n_members
    assert test.name_of(test.every(1).task(0).physics) in VapourPressure().names
    _, y, _ = train.curves(train.n_members)
    assert float(y.mean()) == pytest.approx(0.0, abs=1e-9)
    assert float(y.std()) == pytest.approx(1.0)
    one = ten_kinds()["lens"].fixed(1, seed=3)
    drawn = one.sample(4, 2, generator=seeded())
    assert drawn.physics["focal_length"].unique().numel() == 1
    assert drawn.support.x.unique().numel() == 8  # measured anew


def test_a_mixture_that_is_told_carries_the_label_in_its_inputs() -> None:
    families = {"a": ten_kinds(0.0)["Hooke"], "b": ten_kinds(0.0)["lens"], "c": HookesLaw()}
    plain, told = (Mixture(families, told=t) for t in (False, True))
    batches = [m.sample(30, 3, 4, generator=seeded(), dtype=F64) for m in (plain, told)]
    assert told.d_in == 4
    for part in ("support", "query"):
        without, with_label = (getattr(b, part) for b in batches)
        assert torch.equal(with_label.x[..., :1], without.x)
        assert torch.equal(with_label.y, without.y)
        label = batches[1].physics["family"].long()
        assert torch.equal(
            with_label.x[..., 1:].argmax(-1), label[:, None].expand(30, with_label.x.shape[1])
        )
        assert torch.equal(
            with_label.x[..., 1:].sum(-1), torch.ones(30, with_label.x.shape[1], dtype=F64)
        )
    query = batches[1].query
    torch.testing.assert_close(told._evaluate(query.x, batches[1].physics), query.y)
    learner = mk.RidgeHead(mk.models.MLP(4, 3))
    mk.meta_train(learner, told, 2, iterations=2, progress=False)
    parted = Mixture({"a": ten_kinds()["fluids"], "b": families["b"]}, told=True)
    assert parted.split("test").told
    with pytest.raises(mk.MamlkitError, match="d_in=4"):
        told.curves(3)
