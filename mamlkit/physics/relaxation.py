"""A diffusion equation on a square grid, and iterations that solve it: relaxation and conjugate
gradients. All problems of a batch at once.

-div(a grad u) + c u = f on the unit square, by finite volumes: N x N cells, the flux through a face
with the harmonic mean of the coefficients on both sides. A wall either keeps u at 0 or lets nothing
through.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from mamlkit.checks import count, number
from mamlkit.errors import MamlkitError

Array = np.ndarray[Any, np.dtype[np.float64]]
MOST = 5000  # iterations, before it counts as not converged


class Stencil(NamedTuple):
    """The operators of a batch, ``[tasks, N, N]`` each: (A u)_P = centre u_P - west u_W - .."""

    centre: Array
    west: Array
    east: Array
    south: Array
    north: Array

    def apply(self, u: Array) -> Array:
        """A u, ``[tasks, N, N]``."""
        return self.centre * u - self.neighbours(u)

    def neighbours(self, u: Array) -> Array:
        """What the four neighbours of each cell add, ``[tasks, N, N]``."""
        total = np.zeros(u.shape)  # also where u is whole numbers
        total[:, 1:] = self.west[:, 1:] * u[:, :-1]
        total[:, :-1] += self.east[:, :-1] * u[:, 1:]
        total[:, :, 1:] += self.south[:, :, 1:] * u[:, :, :-1]
        total[:, :, :-1] += self.north[:, :, :-1] * u[:, :, 1:]
        return total

    def of(self, tasks: Any) -> Stencil:
        """The operators of some of the tasks."""
        return Stencil(*(leaf[tasks] for leaf in self))

    def matrix(self) -> Array:
        """The operators as matrices, ``[tasks, N^2, N^2]``."""
        tasks, n, _ = self.centre.shape
        full, cell = np.zeros((tasks, n * n, n * n)), np.arange(n * n).reshape(n, n)
        full[:, cell, cell] = self.centre
        full[:, cell[1:], cell[:-1]] = -self.west[:, 1:]
        full[:, cell[:-1], cell[1:]] = -self.east[:, :-1]
        full[:, cell[:, 1:], cell[:, :-1]] = -self.south[:, :, 1:]
        full[:, cell[:, :-1], cell[:, 1:]] = -self.north[:, :, :-1]
        return full


class Solved(NamedTuple):
    """A solution ``[tasks, N, N]``; iterations ``[tasks]``, nan where they were not enough; and the
    relative residual after each iteration ``[iterations + 1, tasks]``, nan once a task is solved.
    """

    u: Array
    iterations: Array
    residuals: Array


def diffusion(
    along: Array, across: Array, screening: Any = 0.0, walls: Sequence[Sequence[bool]] | None = None
) -> Stencil:
    """The stencils of a batch of problems.

    Args:
        along, across: the coefficient a of each cell for fluxes along the first axis of the grid
            and along the second, ``[tasks, N, N]``, above zero.
        screening: the coefficient c, of a shape that fits ``[tasks, N, N]``, not below zero.
        walls: of each task, whether u is 0 on the (west, east, south, north) wall, ``[tasks, 4]``;
            through the others nothing flows. None holds all at 0.
    """
    along, across = (np.asarray(a, dtype=np.float64) for a in (along, across))
    if along.ndim != 3 or along.shape != across.shape or along.shape[1] != along.shape[2]:
        raise MamlkitError(
            f"along and across must be [tasks, N, N] each; {list(along.shape)} and "
            f"{list(across.shape)} were given."
        )
    tasks, n, _ = along.shape
    held = np.ones((tasks, 4)) if walls is None else np.asarray(walls, dtype=np.float64)
    c = np.broadcast_to(np.asarray(screening, dtype=np.float64), along.shape)
    if held.shape != (tasks, 4) or min(along.min(), across.min()) <= 0 or c.min() < 0:
        raise MamlkitError(
            "coefficients of diffusion must be above zero, those of screening not below it, and "
            "walls [tasks, 4]."
        )
    if not (held.any(axis=1) | (c > 0).any(axis=(1, 2))).all():
        raise MamlkitError(
            "one wall at least must hold u, or something screen it; else A is singular."
        )
    west, south = np.empty_like(along), np.empty_like(across)
    east, north = np.empty_like(along), np.empty_like(across)
    inner = 2 * along[:, 1:] * along[:, :-1] / (along[:, 1:] + along[:, :-1])
    west[:, 1:], east[:, :-1] = inner, inner
    west[:, 0], east[:, -1] = (2 * along[:, i] * held[:, [w]] for i, w in ((0, 0), (-1, 1)))
    inner = 2 * across[:, :, 1:] * across[:, :, :-1] / (across[:, :, 1:] + across[:, :, :-1])
    south[:, :, 1:], north[:, :, :-1] = inner, inner
    south[:, :, 0], north[:, :, -1] = (
        2 * across[:, :, i] * held[:, [w]] for i, w in ((0, 2), (-1, 3))
    )
    return Stencil(west + east + south + north + c / n**2, west, east, south, north)


def sor(
    stencil: Stencil, f: Array, omega: Any, tolerance: float = 1e-6, most: int = MOST
) -> Solved:
    """Successive over-relaxation from zero, one colour of the chessboard after the other (D. M.
    Young, Iterative Solution of Large Linear Systems, 1971).

    Args:
        stencil: the operators.
        f: the right-hand sides ``[tasks, N, N]``.
        omega: the relaxation factor, one for all or one for each task, between 0 and 2. "adaptive"
            begins at 1 and corrects it every ten iterations (:func:`corrected`).
        tolerance: stop where the norm of the residual is so much of that of f.
        most: iterations, at most.
    """
    adaptive = isinstance(omega, str)
    if adaptive and omega != "adaptive":
        raise MamlkitError(f"omega must be numbers or 'adaptive', but {omega!r} was given.")
    w = np.ones(len(f)) if adaptive else np.broadcast_to(np.asarray(omega, dtype=float), len(f))
    if not ((w > 0) & (w < 2)).all():
        raise MamlkitError("omega must lie between 0 and 2; beyond, relaxation does not converge.")
    black = np.indices(f.shape[1:]).sum(0) % 2
    u, change, record = np.zeros_like(f), np.full(len(f), np.nan), _Record(f, tolerance, most)
    while len(live := record.goes_on(f - stencil.apply(u), u)):
        u, f, w, change, stencil = u[live], f[live], w[live], change[live], stencil.of(live)
        by, before = w.reshape(-1, 1, 1) / stencil.centre, u
        for colour in (black, 1 - black):
            u = u + colour * by * (f - stencil.apply(u))
        previous, change = change, np.sqrt(((u - before) ** 2).sum((1, 2)))
        if adaptive and record.done % 10 == 0:
            w = corrected(w, change / np.maximum(previous, 1e-300))
    return record.solved()


def corrected(omega: Array, shrinkage: Array) -> Array:
    """A better relaxation factor from how much a change shrinks in one iteration.

    If that is the spectral radius s of the iteration, Young's relation, (s + omega - 1)^2 =
    s omega^2 rho^2, gives rho, that of Jacobi's, and :func:`young` the factor. Nothing is corrected
    where s tells nothing: below omega - 1, or not below 1. (In the spirit of L. A. Hageman and D.
    M. Young, Applied Iterative Methods, 1981, chapter 9.)
    """
    s = np.clip(shrinkage, 1e-12, None)
    rho = np.sqrt(np.clip((s + omega - 1) ** 2 / (s * omega**2), 0.0, 1.0))
    tells = (s > omega - 1) & (s < 1) & (rho < 1)
    return np.where(tells, np.maximum(omega, young(np.where(tells, rho, 0.0))), omega)


def conjugate_gradients(
    stencil: Stencil,
    f: Array,
    jacobi: bool = False,
    start: Array | None = None,
    tolerance: float = 1e-6,
    most: int = MOST,
) -> Solved:
    """Conjugate gradients (M. R. Hestenes and E. Stiefel 1952), from ``start`` or from zero; with
    ``jacobi`` preconditioned by the diagonal. The rest is as for :func:`sor`.
    """
    u = np.zeros_like(f) if start is None else np.array(start, dtype=np.float64)
    record, weight = _Record(f, tolerance, most), 1 / stencil.centre if jacobi else 1.0 + 0 * f
    r = f - stencil.apply(u)
    p = z = weight * r
    rz = _dot(r, z)
    while len(live := record.goes_on(r, u)):
        u, r, p, rz, weight = (leaf[live] for leaf in (u, r, p, rz, weight))
        stencil = stencil.of(live)
        ap = stencil.apply(p)
        step = rz / _dot(p, ap)
        u, r = u + step * p, r - step * ap
        z = weight * r
        rz, before = _dot(r, z), rz
        p = z + rz / before * p
    return record.solved()


def young(rho: Any) -> Array:
    """The best relaxation factor where Jacobi's iteration has the spectral radius rho (D. M. Young,
    Trans. Amer. Math. Soc. 76 (1954) 92): 2 / (1 + sqrt(1 - rho^2)).
    """
    rho = np.asarray(rho, dtype=np.float64)
    if not ((rho >= 0) & (rho < 1)).all():
        raise MamlkitError("rho must lie between 0 and 1, below 1.")
    return 2 / (1 + np.sqrt(1 - rho**2))


def jacobi_radius(stencil: Stencil) -> Array:
    """The spectral radius of Jacobi's iteration ``[tasks]``: the largest eigenvalue of
    D^(-1/2) (D - A) D^(-1/2), by Lanczos.
    """
    from scipy.sparse.linalg import LinearOperator, eigsh

    tasks, n, _ = stencil.centre.shape
    found = np.empty(tasks)
    for i in range(tasks):
        one = stencil.of([i])
        root = np.sqrt(one.centre)

        def act(v: Array, one: Stencil = one, root: Array = root) -> Array:
            return (one.neighbours(v.reshape(1, n, n) / root) / root).ravel()

        operator = LinearOperator((n * n, n * n), matvec=act, dtype=np.float64)
        found[i] = eigsh(operator, 1, which="LA", v0=np.ones(n * n), return_eigenvectors=False)[0]
    return found


class _Record:
    """How the residuals shrink, and which tasks are still to go on: a solved one costs no more."""

    def __init__(self, f: Array, tolerance: float, most: int) -> None:
        self.tolerance = number("tolerance", tolerance, positive=True)
        self.most = count("most", most)
        self.size = np.sqrt(_dot(f, f).ravel())
        if not (np.isfinite(f).all() and (self.size > 0).all()):
            raise MamlkitError("each right-hand side must be finite, and not zero everywhere.")
        self.u, self.live = np.empty_like(f), np.arange(len(f))
        self.iterations = np.full(len(f), np.nan)
        self.residuals: list[Array] = []

    @property
    def done(self) -> int:
        """Iterations begun."""
        return len(self.residuals)

    def goes_on(self, r: Array, u: Array) -> Any:
        """Note the residuals of the live tasks; the places, among them, of those that go on."""
        size = np.sqrt(_dot(r, r).ravel()) / self.size[self.live]
        row = np.full(len(self.u), np.nan)
        row[self.live] = size
        self.u[self.live] = u
        there = size <= self.tolerance
        self.iterations[self.live[there]] = self.done
        self.residuals.append(row)
        stays = np.flatnonzero(~there & (self.done <= self.most))
        self.live = self.live[stays]
        return stays

    def solved(self) -> Solved:
        """What came out."""
        return Solved(self.u, self.iterations, np.stack(self.residuals))


def _dot(a: Array, b: Array) -> Array:
    return (a * b).sum((1, 2), keepdims=True)
