"""Tasks of classification: shots of each class, labels dealt anew, banks split by class."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import mamlkit as mk
from tests.helpers import seeded


class Coins(mk.tasks.Labelled):
    """Rows of 20 throws of a coin; class c of every task has the same coin, so labels tell."""

    def draw(self, n_tasks: int, generator: torch.Generator) -> dict[str, Tensor]:
        bias = torch.linspace(0.1, 0.9, self.ways).expand(n_tasks, -1)
        return {"bias": bias, "day": mk.tasks.uniform(n_tasks, 0.0, 1.0, generator)}

    def examples(
        self, physics: dict[str, Tensor], shots: int, queries: int, generator: torch.Generator
    ) -> Tensor:
        chance = physics["bias"][:, :, None, None]
        n = (*chance.shape[:2], shots + queries, 20)
        return (mk.tasks.uniform(n, 0.0, 1.0, generator) < chance).double()


class Threshold(mk.Family):
    ways = 2

    def draw(self, n_tasks: int, generator: torch.Generator) -> dict[str, Tensor]:
        return {"edge": mk.tasks.uniform(n_tasks, -0.5, 0.5, generator)}

    def law(self, x: Tensor, physics: dict[str, Tensor]) -> Any:
        return (x > physics["edge"]).long()


def numbered(sizes: list[int]) -> list[Tensor]:
    """Examples that tell their class and their number."""
    return [
        torch.stack([torch.full((n,), c), torch.arange(n)], 1).to(torch.int16)
        for c, n in enumerate(sizes)
    ]


@pytest.mark.parametrize("ways", [2, 3])
def test_shots_are_of_each_class(ways: int) -> None:
    family = Coins()
    family.ways = ways
    batch = family.sample(5, 3, 4, generator=seeded())
    assert batch.support.x.shape == (5, 3 * ways, 20)
    assert batch.query.x.shape == (5, 4 * ways, 20)
    assert batch.support.y.dtype == torch.int64
    assert torch.equal(batch.support.y, torch.arange(ways).repeat(5, 3))
    assert torch.equal(batch.query.y, torch.arange(ways).repeat(5, 4))


def test_labels_are_dealt_and_told() -> None:
    batch = Coins().sample(400, 1, 60, generator=seeded())
    label_of_heads = batch.physics["labels"][:, 1]  # the coin of bias 0.9
    assert 150 < label_of_heads.sum() < 250
    heads = batch.query.x.mean(-1).unflatten(1, (60, 2)).mean(1)  # [400, 2], by label
    assert torch.equal(heads.argmax(1), label_of_heads.long())
    family = Coins()
    family.permuted = False
    plain = family.sample(40, 1, 60, generator=seeded())
    assert "labels" not in plain.physics
    assert bool((plain.query.x.mean(-1).unflatten(1, (60, 2)).mean(1).argmax(1) == 1).all())


def test_fixed_tasks_keep_their_labels() -> None:
    family = Coins().fixed(6, seed=3)
    first, second = (family.every(2, generator=seeded(s)) for s in (0, 1))
    assert torch.equal(first.physics["labels"], second.physics["labels"])
    assert not torch.equal(first.support.x, second.support.x)
    drawn = family.sample(6, 2, generator=seeded(2)).physics
    assert {tuple(r.tolist()) for r in drawn["labels"]} <= {(0.0, 1.0), (1.0, 0.0)}
    days = dict(zip(first.physics["day"].tolist(), first.physics["labels"].tolist(), strict=True))
    assert all(
        days[d] == row
        for d, row in zip(drawn["day"].tolist(), drawn["labels"].tolist(), strict=True)
    )


def test_a_range_of_shots_leaves_whole_shots() -> None:
    support = Coins().sample(200, (1, 3), generator=seeded()).support
    kept = support.weight[..., 0].sum(1)
    assert set(kept.tolist()) == {2.0, 4.0, 6.0}
    own = support.weight[..., 0] * (support.y == 0)
    assert torch.equal(own.sum(1) * 2, kept)


def test_a_law_may_return_labels() -> None:
    batch = Threshold().sample(3, 5, generator=seeded())
    assert batch.support.y.shape == (3, 5)
    assert torch.equal(
        batch.support.y, (batch.support.x[..., 0] > batch.physics["edge"][:, None]).long()
    )
    noisy = Threshold()
    noisy.noise = 0.1
    with pytest.raises(mk.MamlkitError, match=r"noise=0\.1 on labels"):
        noisy.sample(2, 3)


@pytest.mark.parametrize(
    ("returned", "words"),
    [
        (lambda x, p: (x > p["edge"]).double(), "must return whole-number labels"),
        (lambda x, p: (x > p["edge"]).long() + 1, "labels from 1 to 2"),
        (lambda x, p: x.long().expand(-1, -1, 2), "must return whole-number labels"),
        (lambda x, p: 1, "returned int"),
    ],
)
def test_labels_of_a_law_are_checked(returned: Any, words: str) -> None:
    class Bad(Threshold):
        law = staticmethod(returned)

    with pytest.raises(mk.MamlkitError, match=words):
        Bad().sample(50, 40, generator=seeded())


def test_labels_without_ways_are_told_of() -> None:
    forgotten = Threshold()
    forgotten.ways = None  # type: ignore[assignment]
    with pytest.raises(mk.MamlkitError, match="set ways"):
        forgotten.sample(2, 3)


def test_a_bank_never_shows_a_point_twice() -> None:
    bank = mk.tasks.Bank(numbered([9, 7, 12, 7]), ways=3)
    batch = bank.sample(50, 3, generator=seeded())
    assert batch.query.x.shape == (50, 12, 2)  # all the rest of the smallest class
    classes = batch.physics["classes"].long()
    for data in (batch.support, batch.query):
        assert torch.equal(data.x[..., 0].long(), classes.gather(1, data.y))
    assert all(len(set(row.tolist())) == 3 for row in classes)
    for task in range(50):
        both = torch.cat([batch.support.x[task], batch.query.x[task]])
        assert len({tuple(row.tolist()) for row in both}) == len(both)
    seen = {tuple(row) for row in batch.support.x.flatten(0, 1).tolist()}
    assert {n for c, n in seen if c == 2} >= {9, 10, 11}  # a large class is used whole


def test_a_bank_is_split_by_class() -> None:
    bank = mk.tasks.Bank(numbered([5] * 10), split=(0.5, 0.2, 0.3), seed=1)
    held = [set(bank.split(p).sample(99, 2).physics["classes"].flatten().tolist()) for p in
            ("train", "validation", "test")]  # fmt: skip
    assert [len(each) for each in held] == [5, 2, 3]
    assert len(set.union(*held)) == 10
    by_name = mk.tasks.Bank(numbered([5] * 4), split=["train", "test", "train", "test"])
    assert by_name.split("test").classes.tolist() == [1, 3]
    fixed = bank.split("train").fixed(7)
    assert fixed.every(1).physics["classes"].shape == (7, 2)
    assert torch.equal(fixed.every(1).physics["classes"], fixed.every(1).physics["classes"])


def test_banks_say_who_they_are() -> None:
    bank = mk.tasks.Bank(numbered([5] * 3), names="abc")
    batch = bank.sample(1, 1, generator=seeded())
    a, b = batch.physics["classes"][0].long().tolist()
    assert bank.name_of(batch.task(0).physics) == f"{'abc'[a]} or {'abc'[b]}"
    other = mk.tasks.Bank([each + 1 for each in numbered([5] * 3)], names="abc")
    assert repr(bank) != repr(other)
    assert repr(bank.fixed(3)) != repr(bank)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: mk.tasks.Bank(numbered([5]), ways=2), "ways=2 needs as many classes"),
        (lambda: mk.tasks.Bank(numbered([5, 1])), "needs two or more"),
        (lambda: mk.tasks.Bank([np.zeros((3, 2)), np.zeros((3, 4))]), "of one shape"),
        (lambda: mk.tasks.Bank([np.full((3, 2), np.nan)] * 2), "not finite"),
        (lambda: mk.tasks.Bank(numbered([5, 5]), names=["a", "a"]), "a name of its own"),
        (lambda: mk.tasks.Bank(numbered([5, 5]), split=["train"]), "1 parts for 2 classes"),
        (lambda: mk.tasks.Bank(numbered([5] * 4)).split("test").sample(1, 1), "of the bank has 1"),
        (lambda: mk.tasks.Bank(numbered([5, 5])).sample(1, 4, 2), "pool of 5"),
        (lambda: mk.tasks.Bank(numbered([5, 5])).curves(1), "needs one|no curves|d_in"),
        (lambda: mk.tasks.Labelled().sample(1, 1), "has no draw"),
    ],
)
def test_banks_in_plain_words(make: Any, words: str) -> None:
    with pytest.raises(mk.MamlkitError, match=words):
        make()


def test_examples_of_another_shape_are_refused() -> None:
    class Short(Coins):
        def examples(self, *given: Any) -> Tensor:
            return super().examples(*given)[:, :, 1:]

    with pytest.raises(mk.MamlkitError, match=r"examples\(\) returned \[2, 2, 3, 20\]"):
        Short().sample(2, 2)


def test_evaluation_asks_a_hundred_points_in_all() -> None:
    learner = mk.ClassifierHead(mk.models.MLP(20, 4), ways=2)
    curve = mk.evaluate(learner, Coins(), 1, n_tasks=2, predictions=True)
    assert curve.predictions is not None
    assert curve.predictions.shape == (2, 1, 100, 2)
