"""Families whose tasks are trajectories of a differential equation."""

from __future__ import annotations

import copy
from typing import NamedTuple

import torch
from torch import Tensor

from mamlkit.errors import MamlkitError
from mamlkit.ode import rk4
from mamlkit.tasks.base import Family, Physics, TaskBatch


class Trajectories(NamedTuple):
    """Trajectories of one system, or of many systems with a leading task axis.

    ``t`` is ``[.., T]``, the times of all trajectories of a task, or ``[.., n, T]``, those of each;
    ``y`` is ``[.., n, T, d]``, n trajectories of the state; ``dy`` is its true rate of change,
    which a simulator knows and an instrument does not: for training on simulations only.
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
    - ``tolerance``: how far the solutions of a task may be wrong, as a fraction of their largest
      value. The first draw, the second, the fourth, the eighth and so on are solved again with
      twice the substeps, and refused where they differ by more: a law that is too fast for its
      steps, a stiff one, gives plain nonsense. ``math.inf`` asks for nothing.
    """

    times: Tensor = torch.linspace(0, 1, 11, dtype=torch.float64)
    substeps: int = 50
    tolerance: float = 1e-3
    _drawn: int = 0  # how often
    _shown: tuple[str, ...] = ("times", "noise")

    def starts(self, n_tasks: int, n: int, generator: torch.Generator) -> Tensor:
        """Draw initial states: float64 ``[n_tasks, n, d]``."""
        raise MamlkitError(self._missing("starts(self, n_tasks, n, generator)"))

    def field(self, y: Tensor, physics: Physics) -> Tensor:
        """dy/dt at the states ``y [n_tasks, .., d]``; each parameter is shaped to broadcast,
        ``[n_tasks, 1, .., 1]``. Returns ``[n_tasks, .., d]``.
        """
        raise MamlkitError(self._missing("field(self, y, physics)"))

    def when(self, n_tasks: int, n: int, generator: torch.Generator) -> Tensor | None:
        """Draw when each task is recorded, float64 ``[n_tasks, T]``, or each of its n trajectories,
        ``[n_tasks, n, T]``; None takes the times of the family for all.
        """
        return None

    def solve(self, y0: Tensor, physics: Physics, times: Tensor | None = None) -> Tensor:
        """The reference solution in float64: ``y0 [n_tasks, n, d]``, parameters ``[n_tasks]``, to
        ``[n_tasks, n, T, d]`` at ``times``, ``[T]``, ``[n_tasks, T]`` or ``[n_tasks, n, T]`` (those
        of the family, if None).
        """
        shaped = {name: value.double()[:, None, None] for name, value in physics.items()}
        t = (self.times if times is None else times).double()
        t = t if t.ndim == 1 else of_each(t).movedim(2, 0)[..., None]  # [T, n_tasks, n or 1, 1]
        y = rk4(lambda _, y: self.field(y, shaped), y0.double(), t, self.substeps)
        if not torch.isfinite(y).all():
            raise MamlkitError(
                f"{type(self).__name__} has solutions that are not finite; check field(), the "
                "ranges in draw(), and substeps."
            )
        return y.movedim(0, 2)

    def trajectories(
        self, y0: Tensor, physics: Physics, times: Tensor | None = None
    ) -> Trajectories:
        """The record of the systems from ``y0 [n_tasks, n, d]``, without noise, float64; ``times``
        as for :meth:`solve`.
        """
        y = self.solve(y0, physics, times)
        self._drawn += 1
        if self._drawn & (self._drawn - 1) == 0:
            self._check_steps(y, y0, physics, times)
        shaped = {name: value.double()[:, None, None, None] for name, value in physics.items()}
        t = self.times if times is None else times
        t = t.expand(len(y), -1) if t.ndim == 1 else t
        return Trajectories(t, y, self.field(y, shaped))

    def measure(
        self, physics: Physics, shots: int, queries: int, generator: torch.Generator
    ) -> TaskBatch:
        """Record ``shots`` trajectories to adapt to and ``queries`` others of each system."""
        n_tasks = len(next(iter(physics.values())))
        y0 = self.starts(n_tasks, shots + queries, generator)
        n = shots + queries
        times = self.when(n_tasks, n, generator)
        if times is not None and times.shape[:-1] not in ((n_tasks,), (n_tasks, n)):
            raise MamlkitError(
                f"{type(self).__name__}.when() gave {list(times.shape)}; it must give times "
                f"[n_tasks, T] = [{n_tasks}, T], or [n_tasks, n, T] = [{n_tasks}, {n}, T]."
            )
        data = self.trajectories(y0, physics, times)
        return self.as_batch(data, physics, shots, generator)

    def _check_steps(self, y: Tensor, y0: Tensor, physics: Physics, times: Tensor | None) -> None:
        """Refuse solutions ``y`` that twice the substeps would change."""
        finer = copy.copy(self)
        finer.substeps = 2 * self.substeps
        better = finer.solve(y0, physics, times)
        wrong = (y - better).flatten(1).abs().amax(1) / better.flatten(1).abs().amax(1)  # [n_tasks]
        worst = int(wrong.nan_to_num().argmax())
        if wrong[worst] > self.tolerance:
            values = {name: float(value[worst]) for name, value in physics.items()}
            raise MamlkitError(
                f"the solution of {type(self).__name__} is wrong by {float(wrong[worst]):.1g} of "
                f"its largest value, with {values}: so much do twice the {self.substeps} substeps "
                "change it. Raise substeps until they do not, or take a slower law: the steps must "
                "be short against its fastest time."
            )

    def as_batch(
        self, data: Trajectories, physics: Physics, shots: int, generator: torch.Generator
    ) -> TaskBatch:
        """The first ``shots`` trajectories, with noise, as support, and the rest as query."""
        t, y, dy = data
        t, t_new = (t, t) if t.ndim == 2 else (t[:, :shots], t[:, shots:])
        support = Trajectories(t, self._noisy(y[:, :shots], generator), dy[:, :shots])
        return TaskBatch(support, Trajectories(t_new, y[:, shots:], dy[:, shots:]), physics)


def of_each(t: Tensor) -> Tensor:
    """Times ``[n_tasks, T]`` as those of each trajectory, ``[n_tasks, 1, T]``; or as they are."""
    return t[:, None] if t.ndim == 2 else t
