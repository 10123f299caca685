"""Tasks that are differential equations: points where the equation must hold, not measurements."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Collocation(NamedTuple):
    """One problem (a differential equation with its edges), or many with a leading task axis.

    ``x`` is ``[.., n, d_in]``, the collocation points, with the coefficients of the equation as
    last columns where it has any; ``source`` is ``[.., n, d_out]``, the right side there, and
    ``weight`` ``[.., n, 1]`` makes up for points that are dense in places, so that weighted means
    are means over the domain. ``edge`` ``[.., m, d_in]`` are points on the boundary (and of the
    initial state), and ``edge_y`` ``[.., m, d_out]`` the values prescribed there. ``y`` is
    ``[.., n, d_out]``, the exact solution: for judging only; no loss of :mod:`mamlkit.physics.pde`
    reads it.
    """

    x: Tensor
    y: Tensor
    source: Tensor
    weight: Tensor
    edge: Tensor
    edge_y: Tensor
