"""Mixtures: each task is one of its family's, and says so."""

from __future__ import annotations

import pytest
import torch

import mamlkit as mk
from mamlkit.tasks import HookesLaw, LinearLaw, Mixture, Sinusoid, VapourPressure


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def spring(noise):
    return LinearLaw(x_range=(0.02, 0.2), noise=noise)


@pytest.fixture
def two():
    return Mixture({"wave": Sinusoid(noise=0.0), "spring": spring(0.0)})


def test_each_task_obeys_the_law_of_its_family(two):
    batch = two.sample(50, 3, 4, generator=generator(), dtype=torch.float64)
    label, p = batch.physics["family"], batch.physics
    assert batch.support.x.shape == (50, 3, 1)
    assert batch.query.y.shape == (50, 4, 1)
    assert set(label.tolist()) == {0.0, 1.0}
    for data in (batch.support, batch.query):
        x, y = data.x[..., 0], data.y[..., 0]
        wave = p["wave.amplitude"][:, None] * torch.sin(x - p["wave.phase"][:, None])
        spring = two.families["spring"].law(
            data.x, {k.partition(".")[2]: v[:, None, None] for k, v in p.items() if "spring" in k}
        )[..., 0]
        right = torch.where(label[:, None] == 0, wave, spring)
        torch.testing.assert_close(y, right)


def test_parameters_are_nan_where_they_are_not_the_tasks_own(two):
    p = two.sample(30, 1, generator=generator()).physics
    for name, values in p.items():
        if name != "family":
            own = p["family"] == ["wave", "spring"].index(name.partition(".")[0])
            assert (values.isnan() == ~own).all(), name


def test_each_family_measures_where_and_how_it_does_alone():
    loud = Mixture({"wave": Sinusoid(noise=0.0), "spring": spring(5.0)})
    batch = loud.sample(200, 20, generator=generator(), dtype=torch.float64)
    truth = loud._evaluate(batch.support.x, batch.physics)
    off, wave = (batch.support.y - truth).abs(), batch.physics["family"] == 0
    assert off[wave].max() == 0
    assert off[~wave].square().mean().sqrt() == pytest.approx(5, rel=0.1)
    low, high = loud.families["spring"].x_range
    assert batch.support.x[~wave].min() >= low
    assert batch.support.x[~wave].max() <= high
    assert batch.support.x[wave].min() < -4.5


def test_shares():
    mixed = Mixture([Sinusoid(), HookesLaw()], shares=(3, 1))
    label = mixed.sample(4000, 1, generator=generator()).physics["family"]
    assert float((label == 0).double().mean()) == pytest.approx(0.75, abs=0.025)


def test_same_generator_same_tasks(two):
    first, again = (two.sample(8, 2, generator=generator(5)) for _ in range(2))
    assert torch.equal(first.support.y, again.support.y)
    assert not torch.equal(first.support.y, two.sample(8, 2, generator=generator(6)).support.y)


def test_families_without_names_are_called_by_their_class():
    assert Mixture([Sinusoid(), HookesLaw()]).names == ["Sinusoid", "HookesLaw"]
    names = Mixture([Sinusoid(), HookesLaw(), Sinusoid()]).names
    assert names == ["Sinusoid 1", "HookesLaw", "Sinusoid 2"]


def test_finite_families_make_a_finite_mixture():
    waves, springs = Sinusoid().fixed(4, seed=1), spring(0.0).fixed(2, seed=2)
    mixed = Mixture({"wave": waves, "spring": springs})
    assert mixed.n_members == 6
    every = mixed.every(2, generator=generator(), dtype=torch.float64)
    assert every.physics["family"].tolist() == [0, 0, 0, 0, 1, 1]
    torch.testing.assert_close(
        every.physics["wave.phase"][:4], torch.as_tensor((waves.constants or {})["phase"])
    )
    own = Mixture({"wave": waves.subset(2, seed=3), "spring": springs})
    assert own.n_members == 4
    assert mk.evaluate(mk.yardsticks.Zero(), mixed, shots=1).losses.shape == (6, 1)
    rest, held = mixed.folds(3)[0]
    assert (rest.n_members, held.n_members) == (4, 2)


def test_a_small_family_is_drawn_as_often_as_a_large_one():
    mixed = Mixture({"wave": Sinusoid().fixed(50), "spring": HookesLaw().fixed(1)})
    label = mixed.sample(2000, 1, generator=generator()).physics["family"]
    assert float(label.double().mean()) == pytest.approx(0.5, abs=0.04)
    few = mixed.only(torch.arange(50))  # waves alone
    assert few.sample(50, 1, generator=generator()).physics["wave.phase"].unique().numel() == 50


def test_an_endless_and_a_finite_family():
    mixed = Mixture({"wave": Sinusoid(), "spring": HookesLaw().fixed(2)})
    assert mixed.members is None
    p = mixed.sample(100, 1, generator=generator()).physics
    springs = [v for k, v in p.items() if k.startswith("spring.")]
    assert all(v[~v.isnan()].unique().numel() == 2 for v in springs)
    fixed = mixed.fixed(5, seed=1)
    assert fixed.n_members == 5
    assert fixed.every(1).physics["family"].shape == (5,)


def test_split_takes_the_part_of_each_family_that_has_parts():
    line = LinearLaw()
    mixed = Mixture({"fluids": VapourPressure(), "line": line})
    test = mixed.split("test")
    assert test.families["line"] is line
    assert test.families["fluids"].n_members == VapourPressure().split("test").n_members
    drawn = test.sample(200, 1, generator=generator()).physics["fluids.fluid"]
    members = VapourPressure().split("test").members
    assert members is not None
    inside = set(members.tolist())
    assert set(drawn[~drawn.isnan()].long().tolist()) <= inside
    with pytest.raises(mk.MamlkitError, match="part="):
        mixed.split("holdout")
    with pytest.raises(mk.MamlkitError, match="no parts"):
        Mixture([line, HookesLaw()]).split("test")


def test_names_and_curves(two):
    _, y, p = two.curves(6, generator=generator())
    assert y.shape == (6, 200, 1)
    one = {name: value[0] for name, value in p.items()}
    kind = two.names[int(one["family"])]
    assert two.name_of(one).startswith(f"{kind}: ")
    at, truth = two.true_curve(one)
    assert (float(at[0]), float(at[-1])) == pytest.approx(two.families[kind].x_range)
    torch.testing.assert_close(truth, two._evaluate(at[None], {k: v[:1] for k, v in p.items()})[0])


def test_a_learner_trains_on_a_mixture(two):
    learner = mk.MAML(mk.models.MLP(1, 1, hidden=(8,)))
    mk.meta_train(learner, two, shots=3, meta_batch=4, iterations=3, progress=False)
    assert mk.evaluate(learner, two, shots=3, n_tasks=5).mean.isfinite().all()


def test_what_cannot_be_mixed_is_refused():
    line = LinearLaw()
    for wrong, words in (
        ([line], "two families"),
        (line, "two families"),
        ([line, 3], "must be a Family"),
        ([line, mk.tasks.PointCharges()], "d_in=1"),
        ([line, mk.tasks.Bank([[[1.0], [2.0]], [[3.0], [4.0]]])], "gives labels of 2 classes"),
    ):
        with pytest.raises(mk.MamlkitError, match=words):
            Mixture(wrong)
    for shares, words in (((1,), "one number a family"), ((1, 0), "> 0"), ((1, "a"), "> 0")):
        with pytest.raises(mk.MamlkitError, match=words):
            Mixture([line, HookesLaw()], shares=shares)
