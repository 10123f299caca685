"""Poisson's equation in one dimension, with random sources and the exact solution."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mamlkit.checks import count, number
from mamlkit.tasks.base import Family, Physics, TaskBatch
from mamlkit.tasks.collocation import Collocation


class Poisson(Family):
    """-u'' = f on 0 <= x <= 1 with u(0) = u(1) = 0: the shape of a string under a load f. A task is
    one load, f(x) = sum_k a_k sin(k pi x), whose solution is sum_k a_k sin(k pi x) / (k pi)^2.

    ``a_1`` is drawn from N(mean, spread^2), the others from N(0, spread^2). Shots and queries are
    numbers of collocation points, even in [0, 1]. All numbers are without units.

    Args:
        modes: number of terms, k = 1 .. modes.
        mean: mean of the first amplitude: what all loads share.
        spread: standard deviation of each amplitude.
    """

    x_range = (0.0, 1.0)
    x_label, y_label = "x", "u"

    def __init__(self, modes: int = 3, mean: float = 10.0, spread: float = 5.0) -> None:
        self.modes = count("modes", modes)
        self.mean, self.spread = number("mean", mean), number("spread", spread)

    def draw(self, n_tasks: int, generator: torch.Generator) -> Physics:
        """The amplitudes ``a1``, ``a2`` .., each ``[n_tasks]``."""
        a = torch.randn(n_tasks, self.modes, generator=generator, dtype=torch.float64)
        a = self.spread * a
        a[:, 0] += self.mean
        return {f"a{k + 1}": a[:, k] for k in range(self.modes)}

    def law(self, x: Tensor, physics: Physics) -> Tensor:
        """The exact solution, ``[n_tasks, n, 1]``."""
        terms = [
            physics[f"a{k}"] * torch.sin(k * math.pi * x) / (k * math.pi) ** 2
            for k in range(1, self.modes + 1)
        ]
        return torch.stack(terms).sum(0)

    def load(self, x: Tensor, physics: Physics) -> Tensor:
        """The right side f, ``[n_tasks, n, 1]``; each parameter ``[n_tasks, 1, 1]``."""
        terms = [physics[f"a{k}"] * torch.sin(k * math.pi * x) for k in range(1, self.modes + 1)]
        return torch.stack(terms).sum(0)

    def measure(
        self, physics: Physics, shots: int, queries: int, generator: torch.Generator
    ) -> TaskBatch:
        """The equation and its edges: support and query are :class:`Collocation`."""
        x = self.inputs(len(physics["a1"]), shots + queries, generator)
        support, query = (self.at(part, physics) for part in (x[:, :shots], x[:, shots:]))
        return TaskBatch(support, query, physics)

    def at(self, x: Tensor, physics: Physics) -> Collocation:
        """The problems with these amplitudes, ``[n_tasks]`` each, at points ``x [n_tasks, n, 1]``;
        float64.
        """
        shaped = {name: a[:, None, None] for name, a in physics.items()}
        y, edge = self._evaluate(x, physics), x.new_tensor([[0.0], [1.0]]).expand(len(x), -1, -1)
        return Collocation(
            x, y, self.load(x, shaped), torch.ones_like(y), edge, torch.zeros_like(edge)
        )

    @staticmethod
    def lift(x: Tensor) -> Tensor:
        """What the edges prescribe, continued into the domain: zero, ``[.., n, 1]``."""
        return torch.zeros_like(x)

    @staticmethod
    def factor(x: Tensor) -> Tensor:
        """Zero on the edges, above zero inside: x (1 - x), ``[.., n, 1]``."""
        return x * (1 - x)
