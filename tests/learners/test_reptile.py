"""Reptile against the published update, worked by hand with plain torch.optim.SGD."""

from __future__ import annotations

import copy
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

import mamlkit as mk
from mamlkit.learners.reptile import Reptile
from mamlkit.training.gradients import meta_gradients
from tests.helpers import F64, mlp, relative_error, sinusoids, stored_gradient


def gradient(learner: nn.Module, batch: mk.TaskBatch, **settings) -> Tensor:
    parameters = dict(learner.named_parameters())
    meta_gradients(learner, parameters, **settings)(batch)
    return stored_gradient(parameters.values())


def points_of(batch: mk.TaskBatch, i: int) -> mk.Data:
    pairs = zip(batch.support, batch.query, strict=True)
    return mk.Data(*(torch.cat([s[i], q[i]]) for s, q in pairs))


@pytest.mark.parametrize("decay", [0.0, 0.9])
@pytest.mark.parametrize("steps", [1, 2, 5])
def test_one_outer_step_is_the_published_update(steps: int, decay: float) -> None:
    """Algorithm 2: theta <- theta + epsilon / n * sum over tasks of (theta_k - theta)."""
    alpha, epsilon, batch, model = 0.05, 0.3, sinusoids(), mlp()
    start = nn.utils.parameters_to_vector(model.parameters()).detach()
    moved = torch.zeros_like(start)
    for i in range(3):
        task_model, data = copy.deepcopy(model), points_of(batch, i)
        optimiser = torch.optim.SGD(task_model.parameters(), lr=alpha, momentum=decay)
        for _ in range(steps):
            optimiser.zero_grad()
            nn.functional.mse_loss(task_model(data.x), data.y).backward()
            optimiser.step()
        moved += nn.utils.parameters_to_vector(task_model.parameters()).detach() - start
    expected = start + epsilon / 3 * moved

    learner = Reptile(model, alpha, steps, rule=mk.learners.momentum(decay))
    outer = torch.optim.SGD(learner.parameters(), lr=epsilon * alpha)
    learner(batch)[0].mean().backward()
    outer.step()
    given = nn.utils.parameters_to_vector(learner.parameters()).detach()
    torch.testing.assert_close(given, expected, rtol=1e-11, atol=1e-13)


def test_one_step_is_pooled_training_and_more_are_not() -> None:
    batch, model = sinusoids(), mlp()
    losses = [mk.losses.mse(model, points_of(batch, i)) for i in range(3)]
    torch.stack(losses).mean().backward()
    pooled = stored_gradient(model.parameters())
    one = gradient(Reptile(model, 0.05, 1), batch)
    torch.testing.assert_close(one, pooled, rtol=1e-10, atol=1e-14)
    five = gradient(Reptile(model, 0.05, 5), batch) / 5
    assert relative_error(five, pooled) > 1e-2


def test_the_loss_shown_is_after_adapting_to_the_support_alone() -> None:
    batch, model = sinusoids(), mlp()
    learner, maml = Reptile(model, 0.05, 3), mk.MAML(model, 0.05, 3)
    for shown, expected in zip(learner(batch), maml(batch), strict=True):
        torch.testing.assert_close(shown, expected, rtol=1e-12, atol=0)
    shown, expected = learner.query_losses(batch, steps=7), maml.query_losses(batch, steps=7)
    torch.testing.assert_close(shown, expected, rtol=1e-12, atol=0)
    with torch.no_grad():
        torch.testing.assert_close(learner(batch)[0], maml(batch)[0], rtol=1e-12, atol=0)
    curve = mk.evaluate(learner, mk.tasks.Sinusoid(), 5, n_tasks=7, steps=4)
    assert curve.losses.shape == (7, 5)


class Operations(TorchDispatchMode):
    """The names of the operations that run."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.append(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


def test_nothing_is_differentiated_through_the_inner_steps() -> None:
    """The backward pass holds no matrix product: the network does not appear in it."""

    def products(learner: nn.Module) -> int:
        loss = learner(sinusoids())[0].mean()
        with Operations() as operations:
            loss.backward()
        return sum(name in ("mm", "bmm", "addmm", "baddbmm") for name in operations.names)

    assert products(Reptile(mlp(), 0.05, 5)) == 0
    assert products(mk.FOMAML(mlp(), 0.05, 5)) > 0


def test_chunks_and_capture_give_the_same_gradient() -> None:
    learner, batch = Reptile(mlp(), 0.05, 3), sinusoids()
    whole = gradient(learner, batch)
    for settings in ({"chunk_size": 2}, {"compile": "capture"}):
        again = gradient(learner, batch, **settings)
        torch.testing.assert_close(again, whole, rtol=1e-10, atol=1e-14)


def test_bad_settings_and_data_without_points_are_refused() -> None:
    class Pair(NamedTuple):
        x: Tensor
        y: Tensor
        strength: Tensor  # one number a task: no points to put together

    with pytest.raises(mk.MamlkitError, match="inner_lr"):
        Reptile(mlp(), 0.0)
    batch = sinusoids()
    support, query = (Pair(d.x, d.y, torch.ones(3, dtype=F64)) for d in batch[:2])
    batch = batch._replace(support=support, query=query)
    with pytest.raises(mk.MamlkitError, match="first axis"):
        Reptile(mlp(), 0.05, 3)(batch)


def test_training_improves_validation() -> None:
    family = mk.tasks.Sinusoid()
    model = mk.models.MLP(1, 1, hidden=(40, 40), x_range=(-5.0, 5.0), seed=0)
    learner = Reptile(model, 0.02, 8)
    before = mk.evaluate(learner, family, 10, n_tasks=100, steps=32).mean
    mk.meta_train(learner, family, 10, iterations=200, meta_batch=10, outer_lr=1e-2, progress=False)
    after = mk.evaluate(learner, family, 10, n_tasks=100, steps=32).mean
    assert after[-1] < 0.25 * before[-1]
    assert after[-1] < 0.25 * after[0]
