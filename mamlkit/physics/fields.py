"""A model of motion with a context: an energy, and the flow that conserves it.

In ``y' = model(y)`` a state is ``y [.., 2d]``: d coordinates q, then d momenta p.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.func import grad

from mamlkit.checks import count
from mamlkit.errors import MamlkitError
from mamlkit.models import MLP, Feed


class Hamiltonian(nn.Module):
    """A vector field that conserves a learned energy: q' = dH/dp, p' = -dH/dq, with a scalar
    network H(q, p, c) (Greydanus, Dzamba and Yosinski 2019, arXiv:1906.01563, section 2). Maps
    states ``[.., 2d]`` to rates ``[.., 2d]``. Whatever the weights are, its flow conserves H and
    phase-space area; so it cannot learn friction.
    Taught in notebook 10.

    Args:
        d: number of coordinates q, and of momenta p.
        hidden: widths of the hidden layers, of each network if ``separable``.
        activation: smooth, since the field is a derivative, and training takes more.
        context: length of the context c, the parameter ``potential.context``: zero, adapted by the
            inner loop (``adapt="context"``), never trained by the outer one.
        feed: as for :class:`mamlkit.models.MLP`; "affine" makes H = H_0 + sum_j c_j H_j.
        separable: H = T(p) + V(q, c): the context belongs to the forces.
        seed: fixes the random start.

    Example::

        model = mk.physics.Hamiltonian(1, separable=True)
        learner = mk.CAVIA(model, inner_lr=0.1, inner_steps=5, loss=mk.losses.derivatives)
    """

    def __init__(
        self,
        d: int = 1,
        hidden: Sequence[int] = (32, 32),
        activation: str = "tanh",
        context: int = 1,
        feed: Feed = "affine",
        separable: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if activation == "relu":
            raise MamlkitError(
                "activation='relu' has a derivative of steps, and the field is a derivative; use "
                "'tanh', 'silu', 'softplus', 'gelu' or 'sin'."
            )
        self.d, d_in = count("d", d), d if separable else 2 * d
        context = count("context", context)
        self.potential = MLP(d_in, 1, hidden, activation, seed=seed, context=context, feed=feed)
        self.kinetic = MLP(d, 1, hidden, activation, seed=seed + 10**6) if separable else None

    def energy(self, y: Tensor) -> Tensor:
        """H of states ``[.., 2d]``, ``[..]``; in units of p q per time, up to a constant."""
        if y.shape[-1] != 2 * self.d:
            raise MamlkitError(
                f"a state of {self.d} coordinates and momenta has {2 * self.d} numbers, but "
                f"{list(y.shape)} was given."
            )
        if self.kinetic is None:
            return self.potential(y)[..., 0]
        q, p = y[..., : self.d], y[..., self.d :]
        return self.kinetic(p)[..., 0] + self.potential(q)[..., 0]

    def forward(self, y: Tensor) -> Tensor:
        """(dH/dp, -dH/dq), ``[.., 2d] -> [.., 2d]``."""
        # Each state's energy depends on that state alone, so one gradient of the sum has all.
        slope = grad(lambda y: self.energy(y).sum())(y)
        dq, dp = slope[..., : self.d], slope[..., self.d :]  # dH/dq, dH/dp
        return torch.cat([dp, -dq], dim=-1)


class PerCapita(MLP):
    """A fully connected network for rates *per head*: dy/dt = y * g(y), ``[.., d] -> [.., d]``.

    Nothing lives that was not born of its like: a species that is not there stays away, whatever
    the weights. That is all the biology in it; g is an :class:`mamlkit.models.MLP` of the numbers
    of all species, with the same arguments.

    Example::

        model = mk.physics.PerCapita(2, 2, hidden=(16, 16), x_range=(0, 3), context=2)
        model(torch.tensor([[0.0, 1.5]]))  # no prey: none are born, [[0, ..]]
    """

    def forward(self, x: Tensor) -> Tensor:
        """Numbers of each species ``[.., d]``, to their rates of change ``[.., d]``."""
        return x * super().forward(x)
