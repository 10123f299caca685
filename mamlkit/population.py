"""Vector fields of populations: rates that are proportional to what is there."""

from __future__ import annotations

from torch import Tensor

from mamlkit.models import MLP


class PerCapita(MLP):
    """A fully connected network for rates *per head*: dy/dt = y * g(y), ``[.., d] -> [.., d]``.

    Nothing lives that was not born of its like: a species that is not there stays away, whatever
    the weights. That is all the biology in it; g is an :class:`mamlkit.models.MLP` of the numbers
    of all species, with the same arguments.

    Example::

        model = mk.population.PerCapita(2, 2, hidden=(16, 16), x_range=(0, 3), context=2)
        model(torch.tensor([[0.0, 1.5]]))  # no prey: none are born, [[0, ..]]
    """

    def forward(self, x: Tensor) -> Tensor:
        """Numbers of each species ``[.., d]``, to their rates of change ``[.., d]``."""
        return x * super().forward(x)
