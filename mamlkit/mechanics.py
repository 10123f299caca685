"""Models of motion with a context: an energy whose flow conserves it, and an unconstrained rival.

In ``y' = model(y)`` a state is ``y [.., 2d]``: d coordinates q, then d momenta p.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.func import grad

from mamlkit.checks import count
from mamlkit.errors import MamlkitError
from mamlkit.models import MLP, _zero_context

Enter = Literal["concatenate", "affine"]


class ContextNet(nn.Module):
    """A network of an input and a context, ``[.., d_in] -> [.., d_out]``.

    Args:
        d_in, d_out, hidden, activation, seed: as for :class:`mamlkit.models.MLP`.
        context: length of the context c, the parameter ``context``: zero, adapted by the inner loop
            (``adapt="context"``), never trained by the outer one.
        enter: "concatenate" puts c beside the input. "affine" learns f_0 + sum_j c_j f_j, with all
            f from one network: what enters a law as a coupling constant enters like this.
    """

    def __init__(
        self,
        d_in: int,
        d_out: int,
        hidden: Sequence[int] = (32, 32),
        activation: str = "tanh",
        context: int = 1,
        enter: Enter = "affine",
        seed: int = 0,
    ) -> None:
        super().__init__()
        check_enter(enter)
        self.d_out, self.enter = count("d_out", d_out), enter
        context = count("context", context)
        self.net = network(d_in, d_out, hidden, activation, context, enter, seed)
        self.context = _zero_context(context)

    def forward(self, x: Tensor) -> Tensor:
        """``[.., d_in] -> [.., d_out]``."""
        return combine(self.net, x, self.context, self.enter)


class Hamiltonian(nn.Module):
    """A vector field that conserves a learned energy: q' = dH/dp, p' = -dH/dq, with a scalar
    network H(q, p, c) (Greydanus, Dzamba and Yosinski 2019, arXiv:1906.01563, section 2). Maps
    states ``[.., 2d]`` to rates ``[.., 2d]``. Whatever the weights are, its flow conserves H and
    phase-space area; so it cannot learn friction.

    Args:
        d: number of coordinates q, and of momenta p.
        hidden: widths of the hidden layers, of each network if ``separable``.
        activation: smooth, since the field is a derivative, and training takes more.
        context, enter: as for :class:`ContextNet`; "affine" makes H = H_0 + sum_j c_j H_j.
        separable: H = T(p) + V(q, c): the context belongs to the forces.
        seed: fixes the random start.

    Example::

        model = mk.mechanics.Hamiltonian(1, separable=True)
        learner = mk.CAVIA(model, inner_lr=0.1, inner_steps=5, loss=mk.losses.derivatives)
    """

    def __init__(
        self,
        d: int = 1,
        hidden: Sequence[int] = (32, 32),
        activation: str = "tanh",
        context: int = 1,
        enter: Enter = "affine",
        separable: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        check_enter(enter)
        if activation == "relu":
            raise MamlkitError(
                "activation='relu' has a derivative of steps, and the field is a derivative; use "
                "'tanh', 'silu', 'softplus', 'gelu' or 'sin'."
            )
        self.d, self.enter, self.separable = count("d", d), enter, separable
        context = count("context", context)
        d_in = d if separable else 2 * d
        self.potential = network(d_in, 1, hidden, activation, context, enter, seed)
        self.kinetic = MLP(d, 1, hidden, activation, seed=seed + 10**6) if separable else None
        self.context = _zero_context(context)

    def energy(self, y: Tensor) -> Tensor:
        """H of states ``[.., 2d]``, ``[..]``; in units of p q per time, up to a constant."""
        if y.shape[-1] != 2 * self.d:
            raise MamlkitError(
                f"a state of {self.d} coordinates and momenta has {2 * self.d} numbers, but "
                f"{list(y.shape)} was given."
            )
        if self.kinetic is None:
            return combine(self.potential, y, self.context, self.enter)[..., 0]
        q, p = y[..., : self.d], y[..., self.d :]
        potential = combine(self.potential, q, self.context, self.enter)[..., 0]
        kinetic: Tensor = self.kinetic(p)[..., 0]
        return kinetic + potential

    def forward(self, y: Tensor) -> Tensor:
        """(dH/dp, -dH/dq), ``[.., 2d] -> [.., 2d]``."""
        # Each state's energy depends on that state alone, so one gradient of the sum has all.
        slope: Tensor = grad(lambda y: self.energy(y).sum())(y)
        dq, dp = slope[..., : self.d], slope[..., self.d :]  # dH/dq, dH/dp
        return torch.cat([dp, -dq], dim=-1)


def network(
    d_in: int,
    d_out: int,
    hidden: Sequence[int],
    activation: str,
    context: int,
    enter: Enter,
    seed: int,
) -> MLP:
    """The network behind :func:`combine`."""
    if enter == "affine":
        return MLP(d_in, d_out * (1 + context), hidden, activation, seed=seed)
    return MLP(d_in + context, d_out, hidden, activation, seed=seed)


def combine(net: nn.Module, x: Tensor, context: Tensor, enter: Enter) -> Tensor:
    """net(x, c), or f_0(x) + sum_j c_j f_j(x): ``x [.., d_in]``, ``c [k]``, to ``[.., d_out]``."""
    if enter == "concatenate":
        y: Tensor = net(torch.cat([x, context.expand(*x.shape[:-1], -1)], dim=-1))
        return y
    parts: Tensor = net(x).unflatten(-1, (1 + len(context), -1))  # [.., 1 + k, d_out]
    first, rest = parts[..., 0, :], parts[..., 1:, :]
    affine: Tensor = first + (context[:, None] * rest).sum(-2)
    return affine


def check_enter(enter: str) -> None:
    """Refuse a way in for the context that is not known."""
    if enter not in ("concatenate", "affine"):
        raise MamlkitError(f"enter={enter!r} is not known; use 'concatenate' or 'affine'.")
