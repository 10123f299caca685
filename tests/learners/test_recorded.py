"""A function that is called often is recorded and replayed, to the same bits, or stays as it is."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.func import functional_call, grad, vmap

import mamlkit as mk
from mamlkit.learners.recorded import WORTH_CALLS, repeated

MODEL = mk.models.MLP(1, 1, hidden=(6, 6), seed=0)
WEIGHTS = {name: w.detach().repeat(5, *[1] * w.ndim) for name, w in MODEL.named_parameters()}
X = torch.linspace(-1, 1, 4)[:, None].repeat(5, 1, 1)
DATA = mk.Data(X, X**2)


def slope(weights: Any, data: mk.Data) -> Any:
    """Gradients of the mean square of five networks."""

    def loss(w: Any, data: mk.Data) -> torch.Tensor:
        return mk.losses.mse(lambda x: functional_call(MODEL, w, (x,)), data)

    return vmap(grad(loss))(weights, data)


def test_many_calls_are_replayed_to_the_same_bits() -> None:
    calls = []

    def counted(*inputs: Any) -> Any:
        calls.append(inputs)
        return slope(*inputs)

    replay = repeated(counted, WORTH_CALLS, WEIGHTS, DATA)
    calls.clear()
    weights = WEIGHTS
    for _ in range(20):
        found, expected = replay(weights, DATA), slope(weights, DATA)
        assert list(found) == list(expected)
        assert all(torch.equal(found[name], expected[name]) for name in expected)
        weights = {name: w - 0.1 * found[name] for name, w in weights.items()}
    assert not calls


def test_few_calls_are_not_worth_a_record() -> None:
    assert repeated(slope, WORTH_CALLS - 1, WEIGHTS, DATA) is slope


def looks_at_values(x: torch.Tensor) -> torch.Tensor:
    return x if float(x.sum()) > 0 else -x


def counts() -> Any:
    seen = []

    def function(x: torch.Tensor) -> torch.Tensor:
        seen.append(x)
        return x * len(seen)

    return function


def fails(x: torch.Tensor) -> torch.Tensor:
    raise mk.MamlkitError("no.")


@pytest.mark.parametrize(
    "function", [looks_at_values, counts(), torch.rand_like, fails], ids=lambda f: f.__name__
)
def test_what_a_record_would_change_stays_as_it_is(function: Any) -> None:
    assert repeated(function, WORTH_CALLS, torch.ones(3)) is function
