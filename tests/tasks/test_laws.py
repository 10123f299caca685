"""Laws of one variable, and tasks whose points are data sets of them."""

from __future__ import annotations

import pytest
import torch

import mamlkit as mk
from mamlkit.tasks import DataSets, HookesLaw, NamedLaw, Sinusoid
from mamlkit.tasks.laws import GROUPS, KNOWN, LAWS, known, unseen


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("name", LAWS)
def test_a_law_is_linear_in_amplitudes_that_are_standard_normal(name):
    law = NamedLaw(name, noise=0.0)
    batch = law.sample(4000, 6, generator=generator(), dtype=torch.float64)
    y, p, k = batch.support.y[..., 0], batch.physics, LAWS[name].amplitudes()
    basis = LAWS[name].basis(
        batch.support.x[..., 0], **{n: p[n][:, None] for n in LAWS[name].ranges}
    )
    assert len(basis) == k
    torch.testing.assert_close(sum(p[f"a{j + 1}"][:, None] * b for j, b in enumerate(basis)), y)
    for j in range(k):
        a = p[f"a{j + 1}"]
        assert float(a.mean()) == pytest.approx(0, abs=0.05)
        assert float(a.std()) == pytest.approx(1, abs=0.04)
    for number, (low, high) in LAWS[name].ranges.items():
        assert low <= p[number].min() < p[number].max() <= high
    assert y.mean(0).abs().max() < 0.12  # a law's mean is zero everywhere
    assert 0.1 < float(y.square().mean()) < 3.5  # of order one


def test_noise_and_spread():
    loud = NamedLaw("decay", noise=0.5, spread=2.0)
    batch = loud.sample(3000, 8, generator=generator(), dtype=torch.float64)
    assert float(batch.physics["a1"].std()) == pytest.approx(2, abs=0.1)
    off = batch.support.y - loud._evaluate(batch.support.x, batch.physics)
    assert float(off.std()) == pytest.approx(0.5, abs=0.01)


def test_groups_hold_each_law_once_and_parts_are_disjoint():
    assert sorted(law for group in GROUPS for law in group) == sorted(LAWS)
    held = []
    for fold in range(4):
        family = unseen(fold)
        parts = [set(family.split(p).classes.tolist()) for p in ("train", "validation", "test")]
        assert [len(p) for p in parts] == [8, 4, 4]
        assert len(set.union(*parts)) == 16
        held += [family.names[i] for i in family.split("test").classes.tolist()]
        assert parts[1] == set(unseen((fold + 1) % 4).split("test").classes.tolist())
    assert sorted(held) == sorted(LAWS)
    with pytest.raises(mk.MamlkitError, match="4 groups"):
        unseen(4)


def test_a_point_is_a_data_set_of_the_family_of_its_label():
    family = DataSets({"flat": Flat(0.0), "one": Flat(1.0), "two": Flat(2.0)}, points=5, ways=2)
    batch = family.sample(20, 3, 4, generator=generator(), dtype=torch.float64)
    assert batch.support.x.shape == (20, 6, 5, 2)
    assert batch.support.y.shape == (20, 6)
    classes = batch.physics["classes"]
    assert (classes[:, 0] != classes[:, 1]).all()
    assert {tuple(c) for c in classes.long().tolist()} == {
        (i, j) for i in range(3) for j in range(3) if i != j
    }  # each pair in each order: labels are dealt anew
    for data in (batch.support, batch.query):
        level = classes.gather(1, data.y)  # of the family with that label
        torch.testing.assert_close(data.x[..., 1], level[..., None].expand(-1, -1, 5))
        assert data.x[..., 0].unique().numel() == data.x[..., 0].numel()  # each set drawn anew


class Flat(mk.Family):
    def __init__(self, level):
        self.level = level

    def draw(self, n_tasks, generator):
        return {"none": mk.tasks.uniform(n_tasks, 0, 1, generator)}

    def law(self, x, physics):
        return torch.full_like(x, self.level)


def test_without_ways_the_label_is_the_number_of_the_family():
    family = known(4)
    batch = family.sample(2, 1, 3, generator=generator())
    assert family.ways == 6
    assert batch.physics["classes"].tolist() == [list(range(6))] * 2
    assert batch.query.x.shape == (2, 18, 4, 2)
    assert family.name_of({"classes": torch.arange(6)}) == " or ".join(KNOWN)


def test_readings_are_noisy_in_support_and_query_alike():
    batch = known(30).sample(60, 2, 2, generator=generator(), dtype=torch.float64)
    x, y = batch.query.x[batch.query.y == 0].unbind(-1)  # of straight lines
    b = torch.stack([torch.ones_like(x), x], -1)
    off = y - (b @ torch.linalg.lstsq(b, y[..., None]).solution)[..., 0]
    assert float(off.square().sum(-1).mean() / 28) == pytest.approx(0.01, rel=0.15)


def test_families_of_the_readers_own():
    family = DataSets({"spring": HookesLaw(), "wave": Sinusoid(noise=0.1)}, points=6)
    network = mk.models.SetNetwork(2, 4, hidden=(8,))
    learner = mk.Prototypes(network, 2)
    mk.meta_train(learner, family, shots=1, meta_batch=2, iterations=2, progress=False)
    assert mk.evaluate(learner, family, shots=2, n_tasks=3).mean.isfinite().all()


def test_what_is_refused():
    with pytest.raises(mk.MamlkitError, match="choose from"):
        NamedLaw("cubic")
    with pytest.raises(mk.MamlkitError, match="two families"):
        DataSets({"one": NamedLaw("decay")})
    with pytest.raises(mk.MamlkitError, match="ways=4"):
        DataSets({n: NamedLaw(n) for n in KNOWN[:3]}, ways=4)
    with pytest.raises(mk.MamlkitError, match="ways=5"):
        unseen(0, ways=5).split("test")
    with pytest.raises(mk.MamlkitError, match="d_in=1"):
        DataSets({"line": NamedLaw("linear"), "charge": mk.tasks.PointCharges()})
    with pytest.raises(mk.MamlkitError, match="choose from"):
        DataSets({n: NamedLaw(n) for n in KNOWN}, ways=2, parts={"train": ["decay", "cubic"]})


def test_training_laws_run_backwards_too():
    train = unseen(0).split("train")
    assert not unseen(0).split("test").backwards
    batch = train.sample(200, 1, 2, generator=generator(), dtype=torch.float64)
    classes, back = batch.physics["classes"].long(), batch.physics["mirrored"]
    assert float(back.mean()) == pytest.approx(0.5, abs=0.06)
    power = classes == train.names.index("power")
    for ways, direction in ((power & (back == 1), -1), (power & (back == 0), 1)):
        here = ways.gather(1, batch.query.y)
        x, y = batch.query.x[here].unbind(-1)
        late = (y.abs() * (x > 0.7)).sum() / (x > 0.7).sum()
        early = (y.abs() * (x < 0.3)).sum() / (x < 0.3).sum()
        assert (late - early) * direction > 0.5  # a power grows, or falls
    with pytest.raises(mk.MamlkitError, match="mirrored"):
        DataSets({n: NamedLaw(n) for n in KNOWN}, ways=2, mirrored=["train"])
