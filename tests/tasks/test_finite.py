"""Finite families: members, parts, subsets, fixed tasks; and in what order families draw."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import mamlkit as mk
from mamlkit.tasks.lotka_volterra import ENVIRONMENTS
from tests.helpers import F64, members_of, seeded


class Springs(mk.tasks.Family):
    """Six springs that somebody measured."""

    x_range = (0.02, 0.2)
    constants = {"k": [10.0, 20.0, 30.0, 40.0, 50.0, 60.0]}  # noqa: RUF012
    parts = {"train": (0, 2, 4, 5), "validation": (1,), "test": (3,)}  # noqa: RUF012

    def law(self, x, physics):
        return physics["k"] * x


ENDLESS = {
    "linear": mk.tasks.LinearLaw(),
    "sinusoid": mk.tasks.Sinusoid(noise=0.1),
    "charges": mk.tasks.PointCharges(),
    "foreign": mk.tasks.ForeignSource(),
    "poisson": mk.tasks.Poisson(),
    "burgers": mk.tasks.Burgers(),
    "pendulum": mk.tasks.Pendulum(),
    "predators": mk.tasks.LotkaVolterra().split("edge"),
}
FINITE = {
    "springs": Springs(),
    "fluids": mk.tasks.VapourPressure(),
    "charges": mk.tasks.PointCharges().split("train"),
    "predators": mk.tasks.LotkaVolterra().split("test"),
    "pool": mk.tasks.LotkaVolterra().split("train"),
    "fixed": mk.tasks.Sinusoid().fixed(6),
}
endless = pytest.mark.parametrize("family", ENDLESS.values(), ids=ENDLESS)
finite = pytest.mark.parametrize("family", FINITE.values(), ids=FINITE)


def same(a: mk.TaskBatch, b: mk.TaskBatch) -> bool:
    leaves = zip([*a.support, *a.query], [*b.support, *b.query], strict=True)
    return all(torch.equal(x, y) for x, y in leaves) and all(
        torch.equal(a.physics[name], b.physics[name]) for name in a.physics | b.physics
    )


# --- members --------------------------------------------------------------------------------------


def test_a_finite_family_of_ones_own() -> None:
    springs = Springs()
    assert members_of(springs) == list(range(6))
    assert springs.n_members == 6
    parts = {part: springs.split(part).every(2).physics["k"].tolist() for part in springs.parts}
    assert parts == {"train": [10, 30, 50, 60], "validation": [20], "test": [40]}
    batch = springs.split("train").sample(4, 3, generator=seeded(), dtype=F64)
    assert sorted(batch.physics["k"].tolist()) == parts["train"]
    expected = batch.physics["k"][:, None, None] * batch.query.x
    torch.testing.assert_close(batch.query.y, expected)
    more = springs.split("train").sample(50, 1, generator=seeded()).physics["k"]
    assert set(more.tolist()) == set(parts["train"])
    x, y, physics = springs.split("train").curves(3, generator=seeded())
    assert physics["k"].tolist() == sorted(physics["k"].tolist())
    drawn = [springs.curves(3, generator=seeded(s))[2]["k"].tolist() for s in range(9)]
    assert {k for each in drawn for k in each} == {10, 20, 30, 40, 50, 60}
    torch.testing.assert_close(y[:, :, 0], physics["k"][:, None] * x[:, 0])


@finite
def test_every_member_comes_once_in_order(family: mk.tasks.Family) -> None:
    once, again = (family.every(1, 1, generator=seeded(), dtype=F64) for _ in range(2))
    assert same(once, again)
    n = family.n_members
    assert len(once.support[0]) == len(family.members) == n
    rows = torch.stack([*once.physics.values()], dim=1)
    assert len(rows.unique(dim=0)) == n
    assert family.constants is not None
    for name, values in family.constants.items():
        known = torch.as_tensor(values, dtype=F64)[family.members]
        assert torch.equal(once.physics[name], known)


@finite
def test_a_subset_holds_some_members_in_their_order(family: mk.tasks.Family) -> None:
    some, same_again, other = (family.subset(3, seed) for seed in (1, 1, 2))
    assert some.n_members == 3
    assert torch.equal(some.members, same_again.members)
    assert not torch.equal(some.members, other.members)
    assert set(members_of(some)) < set(members_of(family))
    assert members_of(some) == sorted(members_of(some))
    batch = some.every(1, 1, generator=seeded())
    drawn = some.sample(3, 1, 1, generator=seeded())
    for name, values in batch.physics.items():
        assert torch.equal(drawn.physics[name].sort().values, values.sort().values)
    assert len(members_of(family)) > 3  # left alone
    assert len({repr(some), repr(other), repr(family)}) == 3
    assert torch.equal(family.subset(family.n_members).members, family.members)
    with pytest.raises(mk.MamlkitError, match="has only 3 members"):
        some.subset(4)


def test_fluids_keep_their_numbers_in_a_subset() -> None:
    test = mk.tasks.VapourPressure(at=0.7).split("test")
    some = test.subset(5)
    everything, few = test.every(1, dtype=F64), some.every(1, dtype=F64)
    where = [members_of(test).index(i) for i in members_of(some)]
    assert torch.equal(few.support.y, everything.support.y[where])
    assert torch.equal(few.physics["fluid"].long(), some.members)


# --- fixed tasks of an endless family ------------------------------------------------------------


@endless
def test_an_endless_family_says_so(family: mk.tasks.Family) -> None:
    assert (family.members, family.n_members) == (None, None)
    for ask in (lambda: family.every(2), lambda: family.subset(2)):
        with pytest.raises(mk.MamlkitError, match=r"without end.* fixed\(n, seed\)"):
            ask()


@endless
def test_fixed_tasks_stay(family: mk.tasks.Family) -> None:
    few = family.fixed(4, seed=3)
    assert members_of(few) == [0, 1, 2, 3]
    expected = family.draw(4, seeded(3))
    one, two = (few.every(2, 2, generator=seeded(s), dtype=F64) for s in (5, 6))
    for batch in (one, two):
        for name, values in expected.items():
            assert torch.equal(batch.physics[name], values)
    assert not same(one, two)  # measured anew
    some = few.sample(3, 2, generator=seeded(), dtype=F64).physics
    for name, values in some.items():
        assert set(values.tolist()) <= set(expected[name].tolist())
    assert family.members is None  # left alone
    assert len({repr(f) for f in (family, few, family.fixed(5, 3), family.fixed(4, 2))}) == 4
    with pytest.raises(mk.MamlkitError, match=r"4 members already; use subset\(n, seed\)"):
        few.fixed(2)


def test_fixed_tasks_are_evaluated_and_validated_once_each() -> None:
    few = mk.tasks.LinearLaw().fixed(7)
    curve = mk.evaluate(mk.yardsticks.Ridge(), few, 3)
    assert few.constants is not None
    assert torch.equal(curve.physics["slope"], few.constants["slope"])
    learner = mk.MAML(mk.models.MLP(1, 1, hidden=(3,)))
    history = mk.meta_train(
        learner, mk.tasks.LinearLaw(), 3, iterations=2, validation=few, progress=False
    )
    assert len(history.validation_loss) == 1
    with pytest.raises(mk.MamlkitError, match="split first, then fix"):
        mk.tasks.Burgers().fixed(3).split("thin")


# --- parts ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "family",
    [
        Springs(),
        mk.tasks.VapourPressure(),
        mk.tasks.PointCharges(),
        mk.tasks.LotkaVolterra(),
        mk.tasks.Burgers(),
        mk.tasks.Pendulum(),
    ],
    ids=lambda family: type(family).__name__,
)
def test_parts_have_names(family: mk.tasks.Family) -> None:
    assert {"train", "validation", "test"} <= set(family.parts)
    told = {repr(family.split(part)) for part in ("train", "validation", "test")}
    assert len(told) == (1 if isinstance(family, mk.tasks.Burgers) else 3)
    with pytest.raises(mk.MamlkitError, match=r"part='rest' is not known; choose from .*'train'"):
        family.split("rest")


def test_a_family_without_parts_says_so() -> None:
    assert not mk.tasks.Sinusoid().parts
    with pytest.raises(mk.MamlkitError, match="Sinusoid has no parts to split into"):
        mk.tasks.Sinusoid().split("train")


def test_constants_that_do_not_fit_are_told() -> None:
    class Short(Springs):
        constants = {"k": [10.0, 20.0]}  # noqa: RUF012

    with pytest.raises(mk.MamlkitError, match=r"Short.constants must hold one number a system"):
        Short().split("train").every(1)


# --- predators and prey: environments are members -------------------------------------------------


def test_an_environment_is_evaluated_once_unless_more_are_asked_for() -> None:
    test = mk.tasks.LotkaVolterra().split("test")
    zero = mk.yardsticks.Zero()

    def misfit(predict, data) -> Tensor:
        return data.y.mean()

    once = mk.evaluate(zero, test, 1, queries=2, loss=misfit)
    assert list(zip(*(v.tolist() for v in once.physics.values()), strict=True)) == list(
        ENVIRONMENTS["test"]
    )
    many = mk.evaluate(zero, test, 1, n_tasks=12, queries=2, loss=misfit)
    assert sorted(many.physics["beta"].tolist()) == [0.625] * 6 + [1.125] * 6
    assert len(many.losses.unique()) == 12  # fresh trajectories each time
    fluids = mk.tasks.VapourPressure().split("test")
    with pytest.raises(mk.MamlkitError, match="the same one twice is no new task"):
        mk.evaluate(zero, fluids, 1, n_tasks=33)


def test_queries_left_open_are_all_the_rest_or_a_hundred() -> None:
    predators = mk.tasks.LotkaVolterra()
    sizes = {
        "pool": predators.split("train").every(1).query.y.shape,
        "fresh": predators.split("test").every(1).query.y.shape,
        "fluids": mk.tasks.VapourPressure().split("test").every(3).query.y.shape,
        "grid": mk.tasks.PointCharges(grid=5).split("test").every(3).query.y.shape,
        "anywhere": mk.tasks.PointCharges(grid=None).split("test").every(3).query.y.shape,
        "as many as shots": mk.tasks.PointCharges().split("test").sample(2, 3).query.y.shape,
    }
    assert {name: list(shape[:2]) for name, shape in sizes.items()} == {
        "pool": [9, 3],
        "fresh": [4, 100],
        "fluids": [32, 36],
        "grid": [30, 22],
        "anywhere": [30, 100],
        "as many as shots": [2, 3],
    }


# --- the order of draws, on which every stored figure rests ---------------------------------------


@pytest.mark.parametrize(
    "family", [mk.tasks.LinearLaw(), mk.tasks.PointCharges(noise=0.1), Springs()]
)
def test_parameters_are_drawn_first_then_places_then_noise(family: mk.tasks.Family) -> None:
    batch, generator = family.sample(3, 2, 4, generator=seeded(8), dtype=F64), seeded(8)
    physics = family.draw(3, generator)
    x = family.inputs(3, 6, generator)
    y = family.law(x, {name: values[:, None, None] for name, values in physics.items()})
    noise = torch.randn(3, 2, 1, generator=generator, dtype=F64) * family.noise
    assert torch.equal(torch.cat([batch.support.x, batch.query.x], 1), x)
    assert torch.equal(batch.support.y, y[:, :2] + noise)
    assert torch.equal(batch.query.y, y[:, 2:])
    assert all(torch.equal(batch.physics[name], values) for name, values in physics.items())


def test_members_are_drawn_as_a_permutation_while_they_last() -> None:
    fluids, generator = mk.tasks.VapourPressure().split("test"), seeded(8)
    batch = fluids.sample(5, 2, generator=seeded(8), dtype=F64)
    chosen = torch.tensor(members_of(fluids))[torch.randperm(32, generator=generator)[:5]]
    key = torch.rand(5, 39, generator=generator, dtype=F64)
    x = torch.linspace(0.60, 0.98, 39, dtype=F64)[key.argsort(dim=1)]
    assert torch.equal(batch.physics["fluid"].long(), chosen)
    torch.testing.assert_close(torch.cat([batch.support.x, batch.query.x], 1)[..., 0], x)
    predators, generator = mk.tasks.LotkaVolterra().split("test"), seeded(8)
    batch = predators.sample(6, 1, 2, generator=seeded(8), dtype=F64)
    order = torch.cat([torch.randperm(4, generator=generator) for _ in range(2)])[:6]
    assert torch.equal(batch.physics["beta"], predators.environments["beta"][order])
    starts = predators.starts(6, 3, generator)
    assert torch.equal(torch.cat([batch.support.y, batch.query.y], 1)[:, :, 0], starts)
