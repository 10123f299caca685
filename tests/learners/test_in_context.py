"""A conditional neural process: by hand, by finite differences, and as a learner like any other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import mamlkit as mk
from tests.helpers import F64, normal, seeded


class Line(nn.Module):
    """Slope c_1 and spread c_2 are the context: y = c_1 x, and before softplus c_2."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Parameter(torch.ones((), dtype=F64))
        self.context = nn.Parameter(torch.zeros(2, dtype=F64), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.one * self.context[0] * x, self.context[1].expand_as(x)], dim=-1)


class Slopes(nn.Module):
    """Says of a point (x, y): its slope y / x, and x."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Parameter(torch.ones((), dtype=F64))

    def forward(self, xy: Tensor) -> Tensor:
        x, y = xy[:, :1], xy[:, 1:]
        return self.one * torch.cat([y / x, x], dim=-1)


def process(d_in: int = 1, d_out: int = 1, seed: int = 0) -> mk.CNP:
    model = mk.models.MLP(d_in, 2 * d_out, hidden=(8,), context=3, seed=seed).double()
    return mk.CNP(model, mk.models.MLP(d_in + d_out, 3, hidden=(6,), seed=seed + 1).double())


def sinusoids(shots: int = 5) -> mk.TaskBatch:
    return mk.tasks.Sinusoid().sample(4, shots, 6, generator=seeded(), dtype=F64)


X, Y = (
    torch.tensor([[1.0], [2.0], [4.0]], dtype=F64),
    torch.tensor([[3.0], [2.0], [8.0]], dtype=F64),
)


def test_by_hand() -> None:
    """Slopes 3, 1 and 2, of mean 2; the places have the mean 7/3."""
    adapted: Any = mk.CNP(Line(), Slopes(), least=0.1).adapt(X, Y)
    torch.testing.assert_close(adapted.weights["context"], torch.tensor([2.0, 7 / 3], dtype=F64))
    mean, variance = adapted.distribution(torch.tensor([[5.0]], dtype=F64))
    spread = 0.1 + torch.tensor(7 / 3, dtype=F64).exp().add(1).log()
    torch.testing.assert_close(mean, torch.tensor([[10.0]], dtype=F64))
    torch.testing.assert_close(variance, spread.square().reshape(1, 1))
    error = (Y - 2 * X).square().mean() / spread**2
    loss = ((2 * torch.pi * spread**2).log() + error) / 2
    torch.testing.assert_close(adapted.losses, loss[None])


def test_readings_count_by_their_weight_and_in_no_order() -> None:
    learner = mk.CNP(Line(), Slopes())
    weight = torch.tensor([[1.0], [3.0], [0.0]], dtype=F64)
    context = learner.adapt(mk.Readings(X, Y, weight)).weights["context"]
    torch.testing.assert_close(context, torch.tensor([1.5, 1.75], dtype=F64))
    turned = learner.adapt(X.flip(0), Y.flip(0)).weights["context"]
    torch.testing.assert_close(turned, learner.adapt(X, Y).weights["context"])


def test_without_readings_the_context_is_zero() -> None:
    adapted = process().adapt(X[:0], Y[:0])
    assert torch.equal(adapted.weights["context"], torch.zeros(3, dtype=F64))
    assert adapted(X).isfinite().all()


def test_meta_gradient_against_a_central_difference() -> None:
    learner, batch, h = process(), sinusoids(), 1e-5
    parameters = [p for p in learner.parameters() if p.requires_grad]
    assert len(parameters) == 8  # of both networks, and the context is not among them
    slopes = torch.autograd.grad(learner.query_losses(batch).mean(), parameters)
    assert all(s.abs().max() > 0 for s in slopes)
    generator = seeded(1)
    along = [torch.randn(p.shape, generator=generator, dtype=F64) for p in parameters]
    ends = []
    for shift in (h, -2 * h):
        with torch.no_grad():
            for p, d in zip(parameters, along, strict=True):
                p.add_(shift * d)
            ends.append(float(learner.query_losses(batch).mean()))
    given = sum(float((s * d).sum()) for s, d in zip(slopes, along, strict=True))
    assert given == pytest.approx((ends[0] - ends[1]) / (2 * h), rel=1e-6, abs=1e-9)


def test_one_task_is_as_many() -> None:
    learner, batch = process(), sinusoids()
    episodes = learner.episodes(batch)
    assert episodes.query.shape == (4, 1)
    for i in range(4):
        task = batch.task(i)
        adapted = learner.adapt(*task.support)
        torch.testing.assert_close(learner.loss(adapted, task.query), episodes.query[i, 0])
        torch.testing.assert_close(adapted.losses, episodes.support[i])


def test_training_reads_the_slope_off_the_support() -> None:
    """y = a x with a ~ N(2, 1/2): a wrong slope costs twice its variance over 3, .17."""
    family = mk.tasks.LinearLaw(intercept=(0.0, 0.0), noise=0.0)
    learner = mk.CNP(mk.models.MLP(1, 2, (16,), context=4), mk.models.MLP(2, 4, (16,)))
    plan = {"iterations": 400, "outer_lr": 1e-2, "grad_clip": 1.0, "progress": False}
    mk.meta_train(learner, family, 5, schedule="cosine", seed=0, **plan)
    gap = mk.shuffled_support(learner, family, 5, n_tasks=100, loss=mk.losses.mse)
    assert gap.reference < 0.06
    assert gap.other > 2.5 * gap.reference


def test_in_the_tables() -> None:
    learners = {"CNP": process(), "ridge": mk.yardsticks.Ridge()}
    family = mk.tasks.Sinusoid()
    assert mk.compare(learners, family, 3, n_tasks=4)["mean"].notna().all()
    costs = mk.cost_table({"CNP": process()}, family, 3, meta_batch=2, repeats=1).loc["CNP"]
    assert costs["adapted"] == 3
    assert costs["meta_parameters"] == sum(
        p.numel() for p in process().parameters() if p.requires_grad
    )
    assert "least=0.01" in repr(process())


def two_contexts() -> nn.Module:
    parts = [mk.models.MLP(1, 1, (4,), context=2), mk.models.MLP(1, 2, (4,), context=2)]
    return nn.Sequential(*parts)


MLP = mk.models.MLP
ERRORS: dict[str, tuple[Callable[[], object], list[str]]] = {
    "no context": (lambda: mk.CNP(MLP(1, 2), MLP(2, 3)), ["parameter called context"]),
    "two": (lambda: mk.CNP(two_contexts(), MLP(2, 2)), ["one context", "1.context"]),
    "least": (lambda: mk.CNP(MLP(1, 2, context=3), MLP(2, 3), 0.0), ["least", "> 0"]),
    "no spread": (
        lambda: mk.CNP(MLP(1, 1, context=3), MLP(2, 3)).adapt(X, Y),
        ["must give 2 numbers", "(it gives 1)"],
    ),
    "encoder": (
        lambda: mk.CNP(MLP(1, 2, context=3), MLP(2, 5)).adapt(X, Y),
        ["the encoder 3", "(it gives 5)"],
    ),
    "labels": (lambda: process().adapt(X, torch.tensor([0, 1, 0])), ["numbers y [n, d_out]"]),
    "steps": (lambda: process().adapt(X, Y, steps=2), ["no inner steps"]),
    "encoder's input": (
        lambda: mk.CNP(MLP(1, 2, context=3), MLP(3, 3)).adapt(X, Y),
        ["d_in=3"],
    ),
}


@pytest.mark.parametrize("name", ERRORS)
def test_plain_errors(name: str) -> None:
    attempt, words = ERRORS[name]
    with pytest.raises(mk.MamlkitError) as error:
        attempt()
    for word in words:
        assert word in str(error.value)


def test_a_table_of_two_outputs_with_error_bars() -> None:
    """What is missing of one output is not read, whatever is written there."""
    x, y, weight = normal(4, 1), normal(4, 2), torch.ones(4, 2, dtype=F64)
    weight[1, 0] = 0.0
    learner, loud = process(d_out=2), y.clone()
    loud[1, 0] = 1e6
    contexts = [learner.adapt(mk.Readings(x, z, weight)).weights["context"] for z in (y, loud)]
    assert torch.equal(*contexts)
