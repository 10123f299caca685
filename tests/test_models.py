"""Networks: shapes, values worked out by hand, seeds, the global generator."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import mamlkit as mk


@given(
    d_in=st.integers(1, 3),
    d_out=st.integers(1, 3),
    hidden=st.lists(st.integers(1, 5), max_size=2),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    lead=st.lists(st.integers(1, 3), min_size=1, max_size=2),
)
def test_mlp_shapes_and_types(d_in, d_out, hidden, dtype, lead) -> None:
    model = mk.models.MLP(d_in, d_out, hidden=hidden).to(dtype)
    y = model(torch.zeros(*lead, d_in, dtype=dtype))
    assert y.shape == (*lead, d_out)
    assert y.dtype == dtype


@given(
    n=st.integers(1, 3),
    channels=st.integers(1, 2),
    side=st.integers(4, 9),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_cnn_shapes_and_types(n, channels, side, dtype) -> None:
    model = mk.models.CNN(channels, 3, hidden=(2, 3)).to(dtype)
    y = model(torch.zeros(n, channels, side, side, dtype=dtype))
    assert y.shape == (n, 3)
    assert y.dtype == dtype


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("tanh", math.tanh),
        ("relu", lambda v: max(v, 0.0)),
        ("sin", math.sin),
        ("silu", lambda v: v / (1 + math.exp(-v))),
        ("softplus", lambda v: math.log1p(math.exp(v))),
        ("gelu", lambda v: v * 0.5 * (1 + math.erf(v / math.sqrt(2)))),
    ],
)
def test_mlp_by_hand(name, function) -> None:
    model = mk.models.MLP(1, 1, hidden=(1,), activation=name, x_range=(2.0, 6.0)).double()
    w1, b1, w2, b2 = (float(p.detach()) for p in model.parameters())
    scaled = (5.0 - 4.0) / 2.0  # x_range goes to -1..1
    y = model(torch.tensor([[5.0]], dtype=torch.float64))
    assert float(y.detach()) == pytest.approx(w2 * function(w1 * scaled + b1) + b2, rel=1e-12)


def test_mlp_without_hidden_layers_is_linear() -> None:
    model = mk.models.MLP(2, 1, hidden=()).double()
    x = torch.eye(2, dtype=torch.float64)
    weight, bias = model.parameters()
    torch.testing.assert_close(model(x)[:, 0], weight[0] + bias)


def test_cnn_is_invariant_under_shifts_by_whole_pooling_cells(generator) -> None:
    model = mk.models.CNN(1, 2, hidden=(3, 3)).double()
    x = torch.randn(1, 1, 8, 8, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(model(x), model(x.roll((4, 4), dims=(-2, -1))))
    assert not torch.allclose(model(x), model(2 * x))


@pytest.mark.parametrize("build", [mk.models.MLP, mk.models.CNN])
def test_seed_fixes_the_start_and_the_global_generator_is_left_alone(build) -> None:
    before = torch.get_rng_state()
    first, again, other = build(1, 1, seed=1), build(1, 1, seed=1), build(1, 1, seed=2)
    assert torch.equal(torch.get_rng_state(), before)
    for a, b, c in zip(first.parameters(), again.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)
        assert not torch.equal(a, c)
        bound = 1.0 if a.ndim == 1 else a[0].numel() ** -0.5
        assert float(a.detach().abs().max()) <= bound


@pytest.mark.parametrize("build", [mk.models.MLP, mk.models.CNN])
def test_models_tell_their_activation(build) -> None:
    assert "activation=relu" in repr(build(1, 1, activation="relu"))
