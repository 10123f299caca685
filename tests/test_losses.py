"""Losses against torch's and scikit-learn's."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import hinge_loss

import mamlkit as mk
from mamlkit.losses import cross_entropy, error_rate, hinge, mse, rmse
from tests.helpers import seeded


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
