"""Several trainings asked in one pass answer as they do one after the other."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import mamlkit as mk
from mamlkit.course.recipes import side_by_side
from mamlkit.losses import trajectories

SEEDS = (0, 1, 2)


def drawn(family: mk.tasks.Family, *sizes: int, seed: int = 0) -> mk.TaskBatch:
    generator = torch.Generator().manual_seed(seed)
    return family.sample(*sizes, generator=generator, dtype=torch.float64)


SINES = drawn(mk.tasks.Sinusoid(), 4, 5, 6)
SWINGS = drawn(mk.tasks.Pendulum(), 3, 1, 1)


def net(seed: int) -> mk.models.MLP:
    return mk.models.MLP(1, 1, (6,), activation="tanh", seed=seed).double()


def field(seed: int, context: int = 0) -> mk.models.MLP:
    return mk.models.MLP(2, 2, (6,), activation="tanh", context=context, seed=seed).double()


AHEAD = trajectories(3)
MAKERS = {
    "MAML": (lambda s: mk.MAML(net(s), 0.05, 3), SINES),
    "closed form": (lambda s: mk.RidgeHead(net(s)), SINES),
    "pooled, of a field": (lambda s: mk.yardsticks.Pooled(field(s), 0.05, 4, loss=AHEAD), SWINGS),
    "context, of a field": (lambda s: mk.CAVIA(field(s, 1), 0.05, 4, loss=AHEAD), SWINGS),
}


def adapted(learner: Any, batch: Any) -> tuple[dict[str, Tensor], Tensor]:
    def one(support: Any) -> tuple[dict[str, Tensor], Tensor]:
        path, losses = learner.inner_path(support, learner.inner_steps)
        return path[-1], losses

    return torch.vmap(one)(batch.support)


@pytest.mark.parametrize("name", MAKERS)
def test_the_same_numbers_as_one_after_the_other(name: str) -> None:
    make, batch = MAKERS[name]
    learners = [make(seed) for seed in SEEDS]
    found = side_by_side(lambda learner: adapted(learner, batch), learners)
    one_by_one = [adapted(learner, batch) for learner in learners]
    torch.testing.assert_close(found, one_by_one, rtol=1e-9, atol=1e-11)
    assert not torch.allclose(found[0][1], found[1][1])  # each has weights of its own
    assert not any(value.requires_grad for value in found[0][0].values())


def test_tasks_of_their_own_and_methods_of_the_library() -> None:
    learners = [mk.MAML(net(seed), 0.05, 2) for seed in SEEDS]
    batches = [drawn(mk.tasks.Sinusoid(), 4, 5, 6, seed=seed) for seed in SEEDS]
    found = side_by_side(lambda learner, batch: learner.episodes(batch).query, learners, batches)
    for value, learner, batch in zip(found, learners, batches, strict=True):
        torch.testing.assert_close(value, learner.episodes(batch).query, rtol=1e-9, atol=1e-11)


def test_the_learners_are_left_as_they_were() -> None:
    learners = [mk.MAML(net(seed), 0.05, 2) for seed in SEEDS]
    before = [{k: v.clone() for k, v in each.state_dict().items()} for each in learners]
    side_by_side(lambda learner: {"w": learner.start()["layers.0.weight"] * 2}, learners)
    for learner, state in zip(learners, before, strict=True):
        torch.testing.assert_close(dict(learner.state_dict()), state, rtol=0, atol=0)
        assert all(p.requires_grad for p in learner.parameters())
    assert side_by_side(lambda learner: learner.start(), []) == []


@pytest.mark.parametrize(
    "other",
    [
        lambda: mk.MAML(net(1), 0.1, 3),
        lambda: mk.MAML(net(1), 0.05, 2),
        lambda: mk.MAML(net(1), 0.05, 3).float(),
        lambda: mk.MAML(mk.models.MLP(1, 1, (7,), activation="tanh").double(), 0.05, 3),
    ],
)
def test_learners_of_another_design_are_refused(other: Any) -> None:
    with pytest.raises(mk.MamlkitError, match="of one design, but these differ"):
        side_by_side(lambda learner: learner.start(), [mk.MAML(net(0), 0.05, 3), other()])


def test_what_cannot_be_asked_so_is_told_in_plain_words() -> None:
    learners = [mk.MAML(net(seed), 0.05, 3) for seed in SEEDS]

    def looks(learner: Any) -> Tensor:
        start = learner.start()["layers.0.bias"]
        return start if float(start.sum()) > 0 else -start

    with pytest.raises(mk.MamlkitError, match=r"cannot ask this .* one after the other"):
        side_by_side(looks, learners)
    with pytest.raises(mk.MamlkitError, match="cannot ask this"):
        side_by_side(lambda learner: "a word", learners)
    with pytest.raises(mk.MamlkitError, match=r"given \[2\] things .* 3 learners"):
        side_by_side(lambda learner, x: x, learners, [torch.zeros(1)] * 2)
