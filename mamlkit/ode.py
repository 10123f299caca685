"""Systems that move: integrators that work under ``vmap``, ``grad`` and capture."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor

from mamlkit.checks import count
from mamlkit.errors import MamlkitError

# The right side of dy/dt = f(t, y): t is a scalar, or shaped to broadcast with y ``[.., d]``.
Field = Callable[[Tensor, Tensor], Tensor]


def rk4(f: Field, y0: Tensor, t: Tensor, substeps: int = 1) -> Tensor:
    """Solve dy/dt = f(t, y) by the classical Runge-Kutta method of order four.

    A fixed number of steps, each a few plain operations on tensors: so it can be differentiated
    any number of times, run under ``vmap``, and be captured. (Adaptive solvers decide on the values
    of tensors, which none of these allows.) The error falls with the fourth power of the step
    (Hairer, Norsett and Wanner, Solving Ordinary Differential Equations I, section II.1). Nothing
    here watches it: where a part of f decays at a rate above 2.8 a step, the solution grows without
    bound (section IV.2 of volume II).
    Taught in notebook 09.

    Args:
        f: ``(t [], y [.., d]) -> dy/dt [.., d]``.
        y0: the state at ``t[0]``, ``[.., d]``.
        t: times, ``[T]``, T >= 2, rising or falling, not necessarily evenly spaced. Or
            ``[T, .., 1]``, to give each state of ``y0`` times of its own.
        substeps: equal steps between two times.

    Returns:
        the states at ``t``, ``[T, .., d]``; the first is ``y0``.

    Example::

        t = torch.linspace(0, 10, 101, dtype=torch.float64)
        start = torch.tensor([1.0, 0.0], dtype=torch.float64)
        q, p = mk.ode.rk4(lambda t, y: torch.stack([y[1], -y[0]]), start, t).T
    """
    substeps = count("substeps", substeps)
    _tensors(y0, t)
    if t.ndim == 0 or len(t) < 2:
        raise MamlkitError(
            f"t has shape {list(t.shape)}; a solution needs at least two times, [T]."
        )
    states, y = [y0], y0
    for start, end in pairwise(t):
        h = (end - start) / substeps
        for k in range(substeps):
            y = rk4_step(f, start + k * h, y, h)
        states.append(y)
    return torch.stack(states)


def leapfrog(f: Field, y0: Tensor, t: Tensor, substeps: int = 1) -> Tensor:
    """Solve q' = v(p), p' = F(q) by leapfrog: half a step of p, one of q, half a step of p.

    Each of the three shears the plane, so areas are kept and no energy leaks: along a Hamiltonian
    H = T(p) + V(q) a nearby energy is conserved, and H itself goes up and down by the square of the
    step, for ever (Hairer, Lubich and Wanner, Geometric Numerical Integration, section I.1.4 and
    chapter IX). It is of order two only: over short times :func:`rk4` is more accurate. For a field
    that is not separable it is of order one, and areas are not kept.
    Taught in notebook 10.

    Args:
        f: ``(t [], y [.., 2d]) -> dy/dt [.., 2d]`` with d coordinates q, then d momenta p, where q'
            depends on p alone and p' on q alone; such as a separable
            :class:`mamlkit.physics.Hamiltonian`.
        y0, t, substeps: as for :func:`rk4`.

    Returns:
        the states at ``t``, ``[T, .., 2d]``; the first is ``y0``.
    """
    substeps = count("substeps", substeps)
    _tensors(y0, t)
    if y0.ndim == 0 or y0.shape[-1] % 2 or t.ndim == 0 or len(t) < 2:
        raise MamlkitError(
            f"leapfrog needs states [.., 2d], q and then p, and at least two times [T], but "
            f"{list(y0.shape)} and {list(t.shape)} were given."
        )
    states, (q, p) = [y0], y0.chunk(2, -1)
    for start, end in pairwise(t):
        h = (end - start) / substeps
        for k in range(substeps):
            p = p + h / 2 * f(start + k * h, torch.cat([q, p], -1)).chunk(2, -1)[1]
            q = q + h * f(start + k * h, torch.cat([q, p], -1)).chunk(2, -1)[0]
            p = p + h / 2 * f(start + k * h, torch.cat([q, p], -1)).chunk(2, -1)[1]
        states.append(torch.cat([q, p], -1))
    return torch.stack(states)


def _tensors(y0: Tensor, t: Tensor) -> None:
    if not (isinstance(y0, Tensor) and isinstance(t, Tensor)):
        given = f"{type(y0).__name__} and {type(t).__name__}"
        raise MamlkitError(f"y0 and t must be tensors, but {given} were given.")


def rk4_step(f: Field, t: Tensor, y: Tensor, h: Tensor) -> Tensor:
    """One step of length ``h`` from the state ``y`` at ``t``."""
    k1 = f(t, y)
    k2 = f(t + h / 2, y + h / 2 * k1)
    k3 = f(t + h / 2, y + h / 2 * k2)
    k4 = f(t + h, y + h * k3)
    return y + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
