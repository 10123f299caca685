"""Losses against torch's and scikit-learn's."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import hinge_loss
from torch import nn

import mamlkit as mk
from mamlkit.losses import cross_entropy, error_rate, hinge, mse, rmse
from tests.helpers import mlp, seeded, sinusoids


def scored(n: int, ways: int, seed: int, dtype: torch.dtype = torch.float64):
    """Scores [n, ways] as the inputs of an identity model, and labels that hold each class."""
    generator = seeded(seed)
    scores = 3 * torch.randn(n, ways, generator=generator, dtype=torch.float64)
    labels = torch.arange(n) % ways
    return mk.Data(scores.to(dtype), labels)


def same(x: torch.Tensor) -> torch.Tensor:
    return x


@given(n=st.integers(1, 8), d=st.integers(1, 3), seed=st.integers(0, 99))
def test_mse_is_torchs(n: int, d: int, seed: int) -> None:
    generator = seeded(seed)
    x, y = torch.randn(2, n, d, generator=generator, dtype=torch.float64)
    expected = torch.nn.functional.mse_loss(x, y)
    torch.testing.assert_close(mse(same, mk.Data(x, y)), expected)
    torch.testing.assert_close(rmse(same, mk.Data(x, y)), expected.sqrt())


@given(n=st.integers(1, 9), ways=st.integers(2, 5), seed=st.integers(0, 99))
def test_cross_entropy_is_torchs(n: int, ways: int, seed: int) -> None:
    data = scored(n, ways, seed)
    expected = torch.nn.functional.cross_entropy(data.x, data.y)
    torch.testing.assert_close(cross_entropy(same, data), expected)


@given(n=st.integers(6, 12), ways=st.integers(3, 5), seed=st.integers(0, 99))
def test_hinge_is_scikit_learns(n: int, ways: int, seed: int) -> None:
    data = scored(n, ways, seed)
    expected = hinge_loss(data.y.numpy(), data.x.numpy(), labels=list(range(ways)))
    assert float(hinge(same, data)) == pytest.approx(expected, rel=1e-12)


def test_hinge_of_two_ways_is_the_svms() -> None:
    data = scored(20, 2, seed=3)
    margin = (2 * data.y - 1) * (data.x[:, 1] - data.x[:, 0])  # labels -1, +1
    torch.testing.assert_close(hinge(same, data), torch.relu(1 - margin).mean())


def test_error_rate_counts() -> None:
    data = mk.Data(torch.eye(4), torch.tensor([0, 1, 0, 0]))
    assert float(error_rate(same, data)) == 0.5


@pytest.mark.parametrize("loss", [cross_entropy, hinge])
def test_gradients_of_classification_losses(loss) -> None:
    data = scored(5, 3, seed=1)
    assert torch.autograd.gradcheck(
        lambda s: loss(lambda _: s, data), data.x.clone().requires_grad_()
    )


@pytest.mark.parametrize("loss", [mse, cross_entropy, hinge])
def test_losses_keep_float32(loss) -> None:
    data = scored(6, 3, seed=2, dtype=torch.float32)
    if loss is mse:
        data = mk.Data(data.x, data.x + 1)
    assert loss(same, data).dtype == torch.float32


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        (nn.MSELoss(), mk.losses.mse),
        (nn.functional.mse_loss, mk.losses.mse),
        (nn.CrossEntropyLoss(), mk.losses.cross_entropy),
        (nn.functional.cross_entropy, mk.losses.cross_entropy),
    ],
    ids=["MSELoss", "mse_loss", "CrossEntropyLoss", "cross_entropy"],
)
def test_losses_of_torch_work_as_ours(theirs, ours, tmp_path) -> None:
    labels = ours is mk.losses.cross_entropy
    batch = sinusoids()
    if labels:
        support, query = (
            mk.Data(part.x, (part.y[..., 0] > 0).long()) for part in (batch.support, batch.query)
        )
        batch = mk.TaskBatch(support, query, batch.physics)
    model = mlp(d_out=2 if labels else 1)
    a, b = mk.MAML(model, 0.1, 2, loss=theirs), mk.MAML(model, 0.1, 2, loss=ours)
    assert torch.equal(a.query_losses(batch), b.query_losses(batch))
    one = a.episodes(batch, loss=theirs) if labels else a.episodes(batch)
    assert torch.equal(one.query, b.episodes(batch).query)
    mk.save(a, tmp_path / "a")
    assert torch.equal(mk.load(tmp_path / "a").query_losses(batch), b.query_losses(batch))
    if not labels:
        scratch = mk.yardsticks.FromScratch(model, steps=2, loss=theirs)
        judged = mk.evaluate(scratch, mk.tasks.Sinusoid(), 3, n_tasks=2, loss=theirs)
        same = mk.evaluate(scratch, mk.tasks.Sinusoid(), 3, n_tasks=2)
        assert torch.equal(judged.losses, same.losses)


def test_a_loss_of_prediction_and_target_knows_no_weights() -> None:
    learner = mk.MAML(mlp(), 0.1, loss=mk.losses.of_target(lambda p, y: (p - y).abs().mean()))
    x, y, weight = torch.zeros(2, 1), torch.ones(2, 1), torch.ones(2, 1)
    assert learner.adapt(x, y).losses.shape == (2,)
    with pytest.raises(mk.MamlkitError, match="knows no weights of readings"):
        learner.adapt(mk.Readings(x, y, weight))


@pytest.mark.parametrize(
    ("loss", "words"),
    [
        ("mse", "loss must be a function .* but 'mse' was given"),
        (nn.MSELoss, "loss must be a function"),
        (None, "loss must be a function .* but None"),
    ],
)
def test_what_is_no_loss(loss, words) -> None:
    for make in (mk.MAML, mk.RidgeHead, mk.ImplicitMAML, mk.yardsticks.FromScratch):
        with pytest.raises(mk.MamlkitError, match=words):
            make(mlp(), loss=loss)


def test_a_loss_that_is_no_scalar_is_said() -> None:
    def each(predict, data):
        return (predict(data.x) - data.y) ** 2

    for learner in (mk.MAML(mlp(), 0.1, loss=each), mk.ImplicitMAML(mlp(), 1.0, loss=each)):
        with pytest.raises(mk.MamlkitError, match=r"the loss \(each\) gives \[4, 1\] for one task"):
            learner.query_losses(sinusoids())
    number: Any = lambda predict, data: 0.5  # noqa: E731
    with pytest.raises(mk.MamlkitError, match="gives float for one task"):
        mk.MAML(mlp(), 0.1, loss=number).query_losses(sinusoids())


def test_a_learner_is_no_model() -> None:
    with pytest.raises(
        mk.MamlkitError, match=r"model is itself a learner \(MAML\); give the network"
    ):
        mk.MAML(mk.MAML(mlp()))
