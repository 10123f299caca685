"""Differential equations as losses: a network is a solution where its residual is zero
(physics-informed networks; Lagaris et al. 1998; Raissi, Perdikaris and Karniadakis 2019).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import jvp
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from mamlkit.checks import deferred_interrupt, number, remade
from mamlkit.errors import MamlkitError
from mamlkit.learners.vectorise import WrittenOut
from mamlkit.losses import Loss, Predict

#: An operator of an equation: ``(predict, x [n, d_in]) -> [n, d_out]``.
Operator = Callable[[Predict, Tensor], Tensor]


def slope(f: Predict, x: Tensor, column: int) -> tuple[Tensor, Tensor]:
    """f and its derivative by one column of ``x [n, d_in]``, point by point: ``[n, d_out]`` each.

    Forward mode: one pass for all points. It nests, for second derivatives, and may stand inside
    ``vmap`` and ``grad``. The outputs of a point must depend on that point alone. A second
    derivative of a network of straight pieces (relu) is zero everywhere, so it is refused.
    """
    _load_forward_mode()
    along = torch.zeros_like(x)
    along[..., column] = 1
    with WrittenOut(), _deeper() as second, _Bent() if second else nullcontext():
        y, dy, *_ = jvp(f, (x,), (along,))
    return y, dy


_depth = ContextVar("depth", default=0)  # of derivatives, one in the other


@contextmanager
def _deeper() -> Iterator[bool]:
    """Within a derivative; gives whether it lies in another, and is the second one."""
    before = _depth.set(_depth.get() + 1)
    try:
        yield _depth.get() == 2
    finally:
        _depth.reset(before)


_STRAIGHT = {torch.relu, torch.relu_, Tensor.relu, Tensor.relu_, torch.prelu}
_STRAIGHT |= {functional.relu, functional.leaky_relu, functional.relu6, functional.hardtanh}


class _Bent(TorchFunctionMode):
    """Refuses functions of straight pieces: whatever the network, these are what it calls."""

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if function in _STRAIGHT:
            raise MamlkitError(
                f"the model uses {function.__name__}, whose second derivative is zero everywhere, "
                "so it cannot solve an equation with one; use tanh, silu, softplus, gelu or sin."
            )
        return function(*args, **(kwargs or {}))


@cache
def _load_forward_mode() -> None:
    """Torch scripts its rules of forward mode at the first use, and says that this is deprecated
    (by a DeprecationWarning; since 2.14 by a FutureWarning), which a caller of ours can do nothing
    about.
    """
    with deferred_interrupt() as interrupted, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`torch.jit.script` is")
        jvp(torch.sin, (torch.zeros(1),), (torch.ones(1),))
    if interrupted():
        raise KeyboardInterrupt


def burgers(predict: Predict, x: Tensor) -> Tensor:
    """u_t + u u_x - nu u_xx at points (x, t, nu), ``[n, 3] -> [n, 1]``."""
    u, u_t = slope(predict, x, 1)
    u_x, u_xx = slope(lambda x: slope(predict, x, 0)[1], x, 0)
    return u_t + u * u_x - x[:, 2:3] * u_xx


def poisson(predict: Predict, x: Tensor) -> Tensor:
    """-u_xx at points x, ``[n, 1] -> [n, 1]``."""
    _, u_xx = slope(lambda x: slope(predict, x, 0)[1], x, 0)
    return -u_xx


@remade
def residual_loss(operator: Operator, edge_weight: float = 1.0) -> Loss:
    """A loss for :class:`mamlkit.tasks.Collocation`: the weighted mean of the squared residual,
    plus ``edge_weight`` times the mean squared error on the edge. It never reads ``y``.

    Args:
        operator: the left side of the equation, such as :func:`burgers`; the right side is the
            task's ``source``.
        edge_weight: 0 leaves the edge out, as for an :class:`Ansatz`, which holds it anyway.
    """
    edge_weight = number("edge_weight", edge_weight)

    def loss(predict: Predict, data: Any) -> Tensor:
        if not hasattr(data, "source"):
            raise MamlkitError(
                "residual_loss() needs collocation points (mk.tasks.Collocation), but the data are "
                f"{type(data).__name__}."
            )
        residual = operator(predict, data.x) - data.source
        equation = (data.weight * residual**2).mean()
        if not edge_weight:
            return equation
        edge = ((predict(data.edge) - data.edge_y) ** 2).mean()
        return equation + edge_weight * edge

    loss.__name__ = f"residual_loss({operator.__name__}, edge_weight={edge_weight:g})"
    return loss


def relative_l2(predict: Predict, data: Any) -> Tensor:
    """``|u - y| / |y|`` over the domain: 1 for a prediction of zero. For reports only."""
    wrong = (data.weight * (predict(data.x) - data.y) ** 2).sum()
    return (wrong / (data.weight * data.y**2).sum()).sqrt()


class Ansatz(nn.Module):
    """A network that holds the edge whatever its weights: u(x) = fixed(x) + factor(x) * model(x)
    (Lagaris, Likas and Fotiadis 1998, IEEE Trans. Neural Networks 9, 987, eq. 11).

    Args:
        model: the network, ``[.., k] -> [.., d_out]``.
        fixed: takes the prescribed values on the edge, ``[.., d_in] -> [.., d_out]``.
        factor: zero on the edge and only there.
        inputs: what the network is shown of a point, ``[.., d_in] -> [.., k]``; all, if None.
    """

    def __init__(
        self,
        model: nn.Module,
        fixed: Callable[[Tensor], Tensor],
        factor: Callable[[Tensor], Tensor],
        inputs: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.model, self.fixed, self.factor, self.inputs = model, fixed, factor, inputs

    def forward(self, x: Tensor) -> Tensor:
        """``[.., d_in] -> [.., d_out]``."""
        shown = x if self.inputs is None else self.inputs(x)
        return self.fixed(x) + self.factor(x) * self.model(shown)
