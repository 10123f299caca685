"""Poisson's equation in one dimension, with random sources and the exact solution."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mamlkit.checks import check_generator, count, number
from mamlkit.tasks.base import (
    Family,
    Physics,
    TaskBatch,
    convert,
)
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

    def sample(
        self,
        n_tasks: int,
        shots: int,
        queries: int | None = None,
        *,
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> TaskBatch:
        """Draw loads, each with ``shots`` collocation points and ``queries`` others (as many, if
        None). Returns a :class:`TaskBatch` of :class:`Collocation`.
        """
        n_tasks, shots = count("n_tasks", n_tasks), count("shots", shots)
        queries = shots if queries is None else count("queries", queries)
        generator = check_generator(generator)
        physics = self._physics(n_tasks, generator)
        shaped = {name: a[:, None, None] for name, a in physics.items()}
        x = self.inputs(n_tasks, shots + queries, generator)
        y, f = self._evaluate(x, physics), self.load(x, shaped)
        edge = torch.tensor([[0.0], [1.0]], dtype=torch.float64).expand(n_tasks, -1, -1)
        weight, edge_y = torch.ones_like(y), torch.zeros_like(edge)
        parts = [slice(None, shots), slice(shots, None)]
        support, query = (
            Collocation(x[:, part], y[:, part], f[:, part], weight[:, part], edge, edge_y)
            for part in parts
        )
        return convert(TaskBatch(support, query, physics), dtype, device)

    @staticmethod
    def fixed(x: Tensor) -> Tensor:
        """What the edges prescribe, continued into the domain: zero, ``[.., n, 1]``."""
        return torch.zeros_like(x)

    @staticmethod
    def factor(x: Tensor) -> Tensor:
        """Zero on the edges, above zero inside: x (1 - x), ``[.., n, 1]``."""
        return x * (1 - x)
