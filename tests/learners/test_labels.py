"""Labels of any whole type, and points that are whole numbers, in every learner of classes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import mamlkit as mk
from tests.helpers import seeded


def spins(sign: int = 1) -> mk.tasks.Bank:
    """Lattices of spins: classes differ in how many point up."""
    generator = seeded(4)
    up = torch.linspace(0.15, 0.85, 30)[:, None, None, None, None]
    lattices = torch.rand(30, 20, 1, 4, 4, generator=generator) < up
    return mk.tasks.Bank(sign * (2 * lattices.to(torch.int8) - 1))


def net(d_out: int) -> nn.Module:
    """A plain module of torch, which does not take int8."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 3, 3), nn.Tanh(), nn.Flatten(), nn.Linear(12, d_out))


LEARNERS: dict[str, Callable[[], Any]] = {
    "logistic MAML": lambda: mk.MAML(net(2), 0.1, 2, loss=mk.losses.cross_entropy),
    "hinge MAML": lambda: mk.MAML(net(2), 0.1, loss=mk.losses.hinge),
    "CNN": lambda: mk.MAML(mk.models.CNN(1, 2, (4,)), 0.1, loss=mk.losses.hinge),
    "Reptile": lambda: mk.Reptile(net(2), 0.1, 2, loss=mk.losses.cross_entropy),
    "implicit": lambda: mk.ImplicitMAML(net(2), 1.0, loss=mk.losses.cross_entropy),
    "ridge head": lambda: mk.ClassifierHead(net(5), 2),
    "hinge head": lambda: mk.ClassifierHead(net(5), 2, "hinge"),
    "a factor a spin": lambda: mk.ClassifierHead(mk.models.Diagonal(16), 2, "logistic"),
    "prototypes": lambda: mk.Prototypes(net(5), 2),
    "ensemble": lambda: mk.Ensemble(
        lambda seed: mk.MAML(mk.models.CNN(1, 2, (4,), seed=seed), 0.1, loss=mk.losses.hinge), 2
    ),
}


@pytest.mark.parametrize("name", LEARNERS)
def test_spins_as_int8_are_as_real_numbers(name: str) -> None:
    bank = spins()
    real = mk.tasks.Bank(bank.x.float().unflatten(0, (30, 20)))
    assert bank.sample(2, 1).support.x.dtype == torch.int8
    losses = []
    for family in (bank, real):
        learner = LEARNERS[name]()
        batch = family.sample(4, 2, 3, generator=seeded())
        first = learner.query_losses(batch).detach()
        history = mk.meta_train(
            learner, family, shots=2, queries=3, meta_batch=4, iterations=3, progress=False
        )
        loss = mk.losses.cross_entropy
        curve = mk.evaluate(learner, family, 2, n_tasks=5, queries=4, loss=loss)
        task = batch.task(0)
        scores = learner.adapt(*task.support)(task.query.x)
        losses.append([first, torch.tensor(history.outer_loss), curve.losses, scores])
    for whole, exact in zip(*losses, strict=True):
        assert torch.equal(whole, exact)


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.int16, torch.int32])
@pytest.mark.parametrize("name", [n for n in LEARNERS if n != "ensemble"])
def test_labels_of_any_whole_type(name: str, dtype: torch.dtype) -> None:
    batch = spins().sample(3, 2, 3, generator=seeded())

    def typed(data: mk.Data) -> mk.Data:
        return mk.Data(data.x, data.y.to(dtype))

    other = batch._replace(support=typed(batch.support), query=typed(batch.query))
    learner = LEARNERS[name]()
    assert torch.equal(learner.query_losses(batch), learner.query_losses(other))


@pytest.mark.parametrize("name", LEARNERS)
def test_float_labels_in_plain_words(name: str) -> None:
    task = spins().sample(1, 2, generator=seeded()).task(0)
    with pytest.raises(mk.MamlkitError, match=r"labels \[n\] must be whole numbers: y\.long\(\)"):
        LEARNERS[name]().adapt(task.support.x, task.support.y.float())
    batch = spins().sample(3, 2, 3, generator=seeded())
    support, query = (d._replace(y=d.y.float()) for d in (batch.support, batch.query))
    with pytest.raises(mk.MamlkitError, match=r"whole-number labels \[n\], such as y\.long\(\)"):
        LEARNERS[name]().query_losses(batch._replace(support=support, query=query))


def test_whole_numbers_stay_whole_where_the_model_takes_them() -> None:
    class Words(mk.tasks.Labelled):
        def draw(self, n_tasks: int, generator: torch.Generator) -> dict[str, Tensor]:
            return {"first": torch.randint(0, 4, (n_tasks,), generator=generator)}

        def examples(self, physics: Any, shots: int, queries: int, generator: Any) -> Tensor:
            first = physics["first"].long()[:, None, None, None]
            own = torch.arange(2)[None, :, None, None] * 4
            drawn = torch.randint(0, 3, (len(first), 2, shots + queries, 2), generator=generator)
            return first + own + drawn

    model = nn.Sequential(nn.Embedding(16, 4), nn.Flatten(), nn.Linear(8, 6))
    learner = mk.Prototypes(model, 2)
    before = mk.evaluate(learner, Words(), 1, n_tasks=30).mean[-1]
    mk.meta_train(
        learner, Words(), shots=1, queries=4, meta_batch=8, iterations=40, outer_lr=0.05,
        progress=False,
    )  # fmt: skip
    assert mk.evaluate(learner, Words(), 1, n_tasks=30).mean[-1] < before


def test_costs_and_pictures() -> None:
    rows = {"MAML": LEARNERS["hinge MAML"](), "head": LEARNERS["ridge head"]()}
    costs = mk.cost_table(rows, spins(), shots=2, meta_batch=2, repeats=1)
    assert bool((costs["meta_flops"] > 0).all())
    with pytest.raises(mk.MamlkitError, match="gives labels of 2 classes"):
        mk.plots.adaptation_fan(rows["MAML"], spins(), 2)


def test_pooled_and_from_scratch_take_spins() -> None:
    bank = spins()
    rows = {
        "from scratch": mk.yardsticks.FromScratch(net(2), steps=3, loss=mk.losses.cross_entropy),
        "pooled": mk.yardsticks.Pooled(net(2), loss=mk.losses.cross_entropy),
        "zero": mk.yardsticks.Zero(d_out=2),
    }
    table = mk.compare(rows, bank, 2, n_tasks=4, queries=5)
    assert table.attrs["loss"] == "cross_entropy"
    assert float(table["mean"]["zero"]) == pytest.approx(0.6931, abs=1e-3)
