"""A weight that the loss does not reach would stay as it is without a word."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import mamlkit as mk
from tests.helpers import F64

MAKE: dict[str, Any] = {
    "MAML": mk.MAML,
    "ANIL": mk.ANIL,
    "MetaSGD": mk.MetaSGD,
    "Reptile": mk.Reptile,
    "implicit": mk.ImplicitMAML,
    "pooled": mk.yardsticks.Pooled,
    "ridge": mk.RidgeHead,
    "ensemble": lambda model: mk.Ensemble(lambda seed: mk.MAML(shaken(model, seed)), 2),
}


class Net(nn.Module):
    """Two layers; the graph is cut after one of them, or nowhere."""

    def __init__(self, cut: str = "", dead: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Linear(1, 4), nn.Linear(4, 1)
        self.cut, self.dead = cut, dead

    def forward(self, x: Tensor) -> Tensor:
        h = torch.relu(self.first(x) - 100 * self.dead)
        y = self.last(h.detach() if self.cut == "first" else h)
        return y.detach() if self.cut == "last" else y


def shaken(model: Net, seed: int) -> Net:
    other = Net(model.cut, model.dead).double()
    with torch.no_grad():
        other.last.bias.add_(seed)
    return other


def train(learner: Any, family: Any = None, **more: Any) -> mk.History:
    return mk.meta_train(learner, family or mk.tasks.Sinusoid(), 4, iterations=1, **SHORT, **more)


SHORT: dict[str, Any] = {"meta_batch": 2, "progress": False}


@pytest.mark.parametrize("name", MAKE)
def test_what_is_cut_off_is_named_and_a_slope_of_zero_is_fine(name: str) -> None:
    make = MAKE[name]
    train(make(Net(dead=True).double()))
    with pytest.warns(mk.MamlkitWarning, match=r"not depend on first\.weight, first\.bias of"):
        train(make(Net("first").double()))
    with pytest.raises(mk.MamlkitError, match=r"last\.bias of the model \(Net\), so nothing would"):
        train(make(Net("last").double()))


def test_adapting_that_moves_nothing_says_why() -> None:
    x = torch.ones(3, 1, dtype=F64)
    for name in ("MAML", "ANIL", "implicit", "ensemble"):
        learner = MAKE[name](Net("last").double())
        with pytest.raises(mk.MamlkitError, match="so nothing would adapt"):
            learner.adapt(x, x)
    mk.MAML(Net("last").double(), inner_steps=0).adapt(x, x)
    mk.MAML(Net().double(), inner_lr=0.0).adapt(x, x)  # as was asked
    fits = mk.MAML(Net().double())
    fits.adapt(x, fits.model(x).detach())  # nothing to learn


def test_a_context_that_the_model_does_not_use() -> None:
    class Deaf(Net):
        def __init__(self) -> None:
            super().__init__()
            self.context = nn.Parameter(torch.zeros(2), requires_grad=False)

    with pytest.raises(mk.MamlkitError, match="does not depend on context of the model"):
        train(mk.CAVIA(Deaf().double()))


def test_a_loss_that_cuts_itself_off() -> None:
    def loss(predict: Any, data: Any) -> Tensor:
        error: Tensor = ((predict(data.x).detach() - data.y) ** 2).mean()
        return error

    with pytest.raises(mk.MamlkitError, match=r"in the model and the loss"):
        train(mk.MAML(Net().double(), loss=loss))


def test_what_is_frozen_or_falls_out_of_a_slope_is_not_spoken_of() -> None:
    frozen = Net("first")
    frozen.first.requires_grad_(False)
    train(mk.MAML(frozen.double()))
    field = mk.physics.Hamiltonian(1, (4,)).double()  # the constant of an energy moves nothing
    learner = mk.MAML(field, 0.01, loss=mk.losses.derivatives)
    train(learner, mk.tasks.Pendulum())
    train(mk.MAML(mk.models.MLP(1, 1, (4,), context=2, feed="affine").to(F64), adapt="context"))
