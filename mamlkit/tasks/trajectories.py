"""Families whose tasks are trajectories of a differential equation."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from mamlkit.errors import MamlkitError
from mamlkit.ode import rk4
from mamlkit.tasks.base import Family, Physics, TaskBatch


class Trajectories(NamedTuple):
    """Trajectories of one system, or of many systems with a leading task axis.

    ``t`` is ``[.., T]``, the times, the same for all trajectories of a task; ``y`` is
    ``[.., n, T, d]``, n trajectories of the state; ``dy`` is its true rate of change, which a
    simulator knows and an instrument does not: for training on simulations only.
    """

    t: Tensor
    y: Tensor
    dy: Tensor


class TrajectoryFamily(Family):
    """A distribution over systems dy/dt = f(y). A family of your own needs three methods::

        class Decay(mk.tasks.TrajectoryFamily):
            times = torch.linspace(0, 2, 11, dtype=torch.float64)

            def draw(self, n_tasks, generator):
                return {"rate": mk.tasks.uniform(n_tasks, 0.5, 2.0, generator)}

            def starts(self, n_tasks, n, generator):
                return 1 + torch.rand(n_tasks, n, 1, generator=generator, dtype=torch.float64)

            def field(self, y, physics):
                return -physics["rate"] * y

    Shots and queries are numbers of *trajectories*, from starts of their own. The noise is on the
    support's ``y``; the query is the truth.

    Class attributes, each of which an instance may override:

    - ``d_in``, ``d_out``: number of components d of the state.
    - ``times``: float64 ``[T]``, when the state is recorded.
    - ``noise``: standard deviation of the noise on the support's ``y``.
    - ``substeps``: Runge-Kutta steps between two times of the reference solution, in float64.
      Choose as many as leave an error below what you want to measure; the tests hold the families
      here below a relative 1e-9 of scipy's DOP853.
    """

    times: Tensor = torch.linspace(0, 1, 11, dtype=torch.float64)
    substeps: int = 50
    _shown: tuple[str, ...] = ("times", "noise")

    def starts(self, n_tasks: int, n: int, generator: torch.Generator) -> Tensor:
        """Draw initial states: float64 ``[n_tasks, n, d]``."""
        raise MamlkitError(self._missing("starts(self, n_tasks, n, generator)"))

    def field(self, y: Tensor, physics: Physics) -> Tensor:
        """dy/dt at the states ``y [n_tasks, .., d]``; each parameter is shaped to broadcast,
        ``[n_tasks, 1, .., 1]``. Returns ``[n_tasks, .., d]``.
        """
        raise MamlkitError(self._missing("field(self, y, physics)"))

    def solve(self, y0: Tensor, physics: Physics, times: Tensor | None = None) -> Tensor:
        """The reference solution in float64: ``y0 [n_tasks, n, d]``, parameters ``[n_tasks]``, to
        ``[n_tasks, n, T, d]`` at ``times`` (those of the family, if None).
        """
        shaped = {name: value.double()[:, None, None] for name, value in physics.items()}
        t = (self.times if times is None else times).double()
        y = rk4(lambda _, y: self.field(y, shaped), y0.double(), t, self.substeps)
        if not torch.isfinite(y).all():
            raise MamlkitError(
                f"{type(self).__name__} has solutions that are not finite; check field(), the "
                "ranges in draw(), and substeps."
            )
        return y.movedim(0, 2)

    def trajectories(self, y0: Tensor, physics: Physics) -> Trajectories:
        """The record of the systems from ``y0 [n_tasks, n, d]``, without noise, float64."""
        y = self.solve(y0, physics)
        shaped = {name: value.double()[:, None, None, None] for name, value in physics.items()}
        return Trajectories(self.times.expand(len(y), -1), y, self.field(y, shaped))

    def measure(
        self, physics: Physics, shots: int, queries: int, generator: torch.Generator
    ) -> TaskBatch:
        """Record ``shots`` trajectories to adapt to and ``queries`` others of each system."""
        y0 = self.starts(len(next(iter(physics.values()))), shots + queries, generator)
        return self.as_batch(self.trajectories(y0, physics), physics, shots, generator)

    def as_batch(
        self, data: Trajectories, physics: Physics, shots: int, generator: torch.Generator
    ) -> TaskBatch:
        """The first ``shots`` trajectories, with noise, as support, and the rest as query."""
        t, y, dy = data
        support = Trajectories(t, self._noisy(y[:, :shots], generator), dy[:, :shots])
        return TaskBatch(support, Trajectories(t, y[:, shots:], dy[:, shots:]), physics)
