"""Specialists: Bayes' rule over heads by hand, training that is told the kind, heads taken out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import mamlkit as mk
from mamlkit.tasks import LinearLaw, Mixture
from mamlkit.training.gradients import meta_gradients
from tests.helpers import F64, normal, seeded, stored_gradient


def head(seed: int) -> mk.BayesianHead:
    model = mk.models.MLP(1, 3, hidden=(5,), seed=seed).double()
    learner = mk.BayesianHead(model, 3, noise=0.3)
    with torch.no_grad():
        learner.prior_mean.copy_(normal(1, 3, seed=seed))
        learner.log_noise.add_(0.1 * seed)
    return learner


def three(**settings: bool) -> mk.Specialists:
    return mk.Specialists(head, 3, **settings)


@pytest.fixture
def mixture() -> Mixture:
    """Lines that rise, lie flat and fall."""
    return Mixture([LinearLaw(slope=(s, 0.2), noise=0.1) for s in (3.0, 0.0, -3.0)])


X, Y, NEW = normal(4, 1), 0.5 * normal(4, 1, seed=1), normal(6, 1, seed=2)


def test_the_average_is_bayes_rule_over_the_heads() -> None:
    heads = [head(seed) for seed in range(3)]
    evidence = torch.stack([h.evidence(X, Y).detach() for h in heads])
    share = (evidence - evidence.max()).exp()
    share = share / share.sum()
    assert share.max() < 0.99  # several heads have a say
    each: list[Any] = [h.adapt(X, Y) for h in heads]
    own = [predict.distribution(NEW) for predict in each]
    mean = sum(p * g.mean for p, g in zip(share, own, strict=True))
    square = sum(p * (g.variance + g.mean**2) for p, g in zip(share, own, strict=True))
    adapted: Any = three().adapt(X, Y)
    torch.testing.assert_close(adapted.weights["evidence"], evidence)
    found = adapted.distribution(NEW)
    torch.testing.assert_close(found.mean, mean)
    torch.testing.assert_close(found.variance, square - mean**2)
    noise = sum(p * h.noise.detach() ** 2 for p, h in zip(share, heads, strict=True))
    torch.testing.assert_close(adapted.noise, noise.sqrt())


def test_without_average_the_best_head_speaks_alone() -> None:
    heads = [head(seed) for seed in range(3)]
    best = max(heads, key=lambda h: float(h.evidence(X, Y).detach()))
    found: Any = three(average=False).adapt(X, Y)
    own: Any = best.adapt(X, Y)
    torch.testing.assert_close(found.distribution(NEW), own.distribution(NEW))
    torch.testing.assert_close(found.losses, own.losses)


def test_a_head_taken_out_is_the_one_put_in() -> None:
    heads = [head(seed) for seed in (4, 7)]
    both = mk.Specialists(lambda j: heads[j], 2)
    for j in range(2):
        twin = both.alone(j)
        assert torch.equal(twin.adapt(X, Y)(NEW), heads[j].adapt(X, Y)(NEW))
        with torch.no_grad():
            twin.prior_mean.add_(1.0)
    assert torch.equal(both.alone(1).prior_mean, heads[1].prior_mean)


def test_training_trains_the_head_of_the_label_alone(mixture: Mixture) -> None:
    """The meta-gradient is that of each head on the tasks of its kind, by their share."""
    learner = three()
    batch = mixture.sample(12, 3, 4, generator=seeded(), dtype=F64)
    parameters = dict(learner.named_parameters())
    gradients = []
    for compile in (False, "capture"):
        meta_gradients(learner, parameters, compile=compile)(batch)
        gradients.append(stored_gradient(learner.parameters()))
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-10, atol=1e-13)
    found = {n: p.grad for n, p in learner.learner.named_parameters()}
    for j in range(3):
        own = batch.physics["family"] == j
        support, query = (mk.Data(*(leaf[own] for leaf in data)) for data in batch[:2])
        part = mk.TaskBatch(support, query, {})
        alone = head(j)
        (alone.query_losses(part).sum() / 12).backward()
        for name, p in alone.named_parameters():
            stacked = found[name]
            assert stacked is not None
            assert p.grad is not None
            torch.testing.assert_close(stacked[j], p.grad, rtol=1e-9, atol=1e-12)


def test_what_is_trained_knows_its_kind(mixture: Mixture, tmp_path: Path) -> None:
    learner = mk.Specialists(
        lambda seed: mk.BayesianHead(mk.models.MLP(1, 2, (6,), seed=seed), 2, noise=0.3), 3
    )
    plan = {"iterations": 200, "outer_lr": 2e-2, "meta_batch": 30, "progress": False}
    mk.meta_train(learner, mixture, 2, grad_clip=1.0, seed=0, **plan)
    batch = mixture.sample(100, 2, generator=seeded(1))
    found = [
        int(learner.adapt(*batch.task(i).support).weights["evidence"].argmax()) for i in range(60)
    ]
    label = batch.physics["family"][:60]
    assert (torch.tensor(found) == label).float().mean() > 0.85
    rows = {"average": learner, "head 0": learner.alone(0)}
    table = mk.compare(rows, mixture, 2, n_tasks=100, loss=mk.losses.mse)["mean"]
    assert table["average"] < 0.2 * table["head 0"]
    mk.save(learner, tmp_path / "a")
    task = batch.task(0)
    assert torch.equal(
        mk.load(tmp_path / "a").adapt(*task.support)(task.query.x),
        learner.adapt(*task.support)(task.query.x),
    )


def test_padding_does_not_count() -> None:
    weight = torch.tensor([1.0, 1.0, 1.0, 0.0], dtype=F64)[:, None]
    padded, real = three().adapt(mk.Readings(X, Y, weight)), three().adapt(X[:3], Y[:3])
    torch.testing.assert_close(padded(NEW), real(NEW))
    torch.testing.assert_close(padded.weights["evidence"], real.weights["evidence"])


def test_plain_errors(mixture: Mixture) -> None:
    with pytest.raises(mk.MamlkitError, match="at least 2"):
        mk.Specialists(head, 1)
    with pytest.raises(mk.MamlkitError, match="only a mk"):
        mk.Specialists(lambda seed: mk.RidgeHead(mk.models.MLP(1, 3, seed=seed)), 2)
    with pytest.raises(mk.MamlkitError, match=r"physics\['family'\]"):
        mk.meta_train(three(), LinearLaw(), 2, iterations=1, progress=False)
    assert "average=False" in repr(three(average=False))
