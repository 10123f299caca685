"""Burgers' equation: a wave that steepens into a front as wide as its viscosity."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from mamlkit.checks import count, interval
from mamlkit.errors import MamlkitError
from mamlkit.tasks.base import Family, Physics, TaskBatch
from mamlkit.tasks.collocation import Collocation

#: Ranges of the viscosity by part. "train", "validation" and "test" are fresh draws of one range;
#: "thin" and "thick" lie outside it on either side.
VISCOSITIES: dict[str, tuple[float, float]] = {
    "train": (0.005, 0.05),
    "validation": (0.005, 0.05),
    "test": (0.005, 0.05),
    "thin": (0.003, 0.005),
    "thick": (0.05, 0.1),
}
#: Width of the stretched region about x = 0 in what networks are shown.
FRONT = 0.02
#: Steps of the additive sequence R2 (Roberts 2018): powers of the root of g^3 = g + 1.
_R2 = (0.7548776662466927, 0.5698402909980532)


class Burgers(Family):
    """u_t + u u_x = nu u_xx on -1 <= x <= 1, 0 <= t <= 1, with u(x, 0) = -sin(pi x) and
    u(-1, t) = u(1, t) = 0 (Basdevant et al. 1986, Computers and Fluids 14, 23). A task is one
    viscosity, drawn log-uniformly.

    A point is ``(x, t, nu)``: the viscosity rides along as a third column, which a network may read
    or not. Shots and queries are numbers of collocation points. They fill the domain evenly in t;
    in x half of them do, and half lie at v^3 with v even in [-1, 1]: dense at x = 0, where the
    front must stand by symmetry, since -sin(pi x) is odd. The weights undo that. The task's edge
    holds ``edges`` points of each of t = 0, x = -1 and x = 1. All numbers are without units.

    Args:
        nu_range: smallest and largest viscosity, > 0.
        edges: points on each of the three edges.
        exact: False leaves out the exact solution, which costs more to draw than a step of training
            and which training does not read: y is nan then, so that nothing can learn from it.
    """

    d_in, d_out = 3, 1
    x_label, y_label = "x", "u"
    parts = VISCOSITIES
    _shown = ()

    def __init__(
        self,
        nu_range: tuple[float, float] = VISCOSITIES["train"],
        edges: int = 16,
        exact: bool = True,
    ) -> None:
        low, high = interval("nu_range", nu_range)
        if low <= 0:
            raise MamlkitError(
                f"nu_range={nu_range!r} must lie above 0: without viscosity the front breaks."
            )
        self.nu_range, self.edges = (low, high), count("edges", edges)
        self.exact = bool(exact)

    def restrict(self, part: str) -> None:
        """Take the viscosities of a part."""
        self.nu_range = VISCOSITIES[part]

    def draw(self, n_tasks: int, generator: torch.Generator) -> Physics:
        """The viscosity ``nu [n_tasks]``, uniform in its logarithm."""
        low, high = self.nu_range
        u = torch.rand(n_tasks, generator=generator, dtype=torch.float64)
        return {"nu": low * (high / low) ** u}

    def law(self, x: Tensor, physics: Physics) -> Tensor:
        """The exact solution at points whose first columns are x and t: ``[.., n, 1]``."""
        return exact_burgers(x[..., :1], x[..., 1:2], physics["nu"])

    def inputs(self, n_tasks: int, n: int, generator: torch.Generator) -> Tensor:
        """Collocation points (x, t): float64 ``[n_tasks, n, 2]``, an additive sequence shifted at
        random, which leaves fewer holes than independent points.
        """
        shift = torch.rand(n_tasks, 1, 2, generator=generator, dtype=torch.float64)
        k = torch.arange(n, dtype=torch.float64)[:, None]
        v, t = ((shift + k * torch.tensor(_R2, dtype=torch.float64)) % 1).unbind(-1)
        v = 4 * v  # the first half of [0, 4) even in x, the second dense at 0
        return torch.stack([torch.where(v < 2, v - 1, (v - 3) ** 3), t], dim=-1)

    def measure(
        self, physics: Physics, shots: int, queries: int, generator: torch.Generator
    ) -> TaskBatch:
        """The equation and its edges: support and query are :class:`Collocation`."""
        x = self.inputs(len(physics["nu"]), shots + queries, generator)
        support, query = (self.at(part, physics["nu"]) for part in (x[:, :shots], x[:, shots:]))
        return TaskBatch(support, query, physics)

    def at(self, x: Tensor, nu: Tensor) -> Collocation:
        """The problems with viscosities ``nu [n_tasks]``, at points ``x [n_tasks, n, 2]`` or, for
        all of them, ``[n, 2]``; float64.
        """
        nu = torch.as_tensor(nu, dtype=torch.float64)
        if nu.ndim != 1 or not bool((nu > 0).all()):
            raise MamlkitError(f"nu must be viscosities [n_tasks] above 0, but is {nu.tolist()}.")
        x = x.double().expand(len(nu), -1, -1)
        points = torch.cat([x, nu[:, None, None].expand(-1, x.shape[1], 1)], dim=-1)
        y = torch.full_like(points[..., :1], math.nan)
        if self.exact:
            y = self._evaluate(points, {"nu": nu})
        s = torch.linspace(-1, 1, self.edges, dtype=torch.float64)
        start = torch.stack([s, torch.zeros_like(s)], dim=-1)
        walls = [torch.stack([torch.full_like(s, x0), (s + 1) / 2], dim=-1) for x0 in (-1.0, 1.0)]
        edge = torch.cat([start, *walls]).expand(len(nu), -1, -1)
        edge = torch.cat([edge, nu[:, None, None].expand(-1, edge.shape[1], 1)], dim=-1)
        edge_y = -torch.sin(math.pi * edge[..., :1]) * (edge[..., 1:2] == 0)
        dense = x[..., :1].abs().clamp(min=1e-12) ** (-2 / 3) / 3  # density of v^3 over an even one
        return Collocation(points, y, torch.zeros_like(y), 2 / (1 + dense), edge, edge_y)

    def grid(self, nu: Tensor, nx: int = 101, nt: int = 21) -> Collocation:
        """The problems on a grid that is as dense at x = 0 as the collocation points; the same grid
        for all ``nu [n_tasks]``: ``nt`` times with ``nx`` places each, without t = 0.
        """
        v = torch.linspace(-1, 1, nx, dtype=torch.float64)
        t = torch.linspace(0, 1, nt + 1, dtype=torch.float64)[1:]
        place, time = torch.meshgrid(v**3, t, indexing="xy")  # [nt, nx]
        return self.at(torch.stack([place.flatten(), time.flatten()], dim=-1), nu)

    @staticmethod
    def lift(x: Tensor) -> Tensor:
        """What the edges prescribe, continued into the domain: -sin(pi x), ``[.., n, 1]``."""
        return -torch.sin(math.pi * x[..., :1])

    @staticmethod
    def factor(x: Tensor) -> Tensor:
        """Zero on the edges, and odd: t (1 - x^2) x / sqrt(x^2 + FRONT^2), ``[.., n, 1]``."""
        place, t = x[..., :1], x[..., 1:2]
        return t * (1 - place**2) * place / (place**2 + FRONT**2).sqrt()

    @staticmethod
    def inputs_even(x: Tensor) -> Tensor:
        """What a network is shown of a point, even in x so that u is odd: the logarithm of
        1 + (x / FRONT)^2, which spreads out the front, x^2 and t, each scaled to [-1, 1];
        ``[.., n, 3] -> [.., n, 3]``.
        """
        squared, t = x[..., :1] ** 2, x[..., 1:2]
        near = torch.log1p(squared / FRONT**2) / math.log1p(FRONT**-2)
        return 2 * torch.cat([near, squared, t], dim=-1) - 1

    @staticmethod
    def inputs_told(x: Tensor) -> Tensor:
        """:meth:`inputs_even` and the viscosity: its logarithm, [-1, 1] for the training range;
        ``[.., n, 3] -> [.., n, 4]``.
        """
        low, high = (math.log(nu) for nu in VISCOSITIES["train"])
        told = (2 * x[..., 2:3].log() - low - high) / (high - low)
        return torch.cat([Burgers.inputs_even(x), told], dim=-1)


def exact_burgers(x: Tensor, t: Tensor, nu: Tensor, nodes: int = 128) -> Tensor:
    """The exact solution by the Cole-Hopf transformation (Cole 1951; Basdevant et al. 1986):

    u(x, t) = -E[sin(pi y) f(y)] / E[f(y)], with f(y) = exp(-cos(pi y) / (2 pi nu)) and
    y = x - sqrt(4 nu t) z, both means over z with the weight exp(-z^2), by Gauss-Hermite
    quadrature. f spans hundreds of powers of ten at small nu, so the sums are taken in logarithms.

    Args:
        x, t, nu: tensors that broadcast together; -1 <= x <= 1, t >= 0, nu > 0.
        nodes: of the quadrature. 128 give ten digits for nu >= 0.003 and t <= 1.
    """
    places, weight = np.polynomial.hermite.hermgauss(nodes)
    z, log_w = torch.from_numpy(places), torch.from_numpy(np.log(weight))
    x, t, nu = (v.double()[..., None] for v in (x, t, nu))
    y = x - (4 * nu * t).sqrt() * z  # [.., nodes]
    share = torch.softmax(log_w - torch.cos(math.pi * y) / (2 * math.pi * nu), dim=-1)
    return -(share * torch.sin(math.pi * y)).sum(-1)
