"""Predator and prey: every pair of species obeys one law, with parameters of its own."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from mamlkit.checks import count, fresh_generator, number
from mamlkit.errors import MamlkitError
from mamlkit.tasks.base import Physics, TaskBatch, uniform
from mamlkit.tasks.trajectories import Trajectories, TrajectoryFamily, of_each

Part = Literal["train", "validation", "test", "in-range", "edge", "out-of-range"]
Environment = tuple[float, float]


def _grid(*values: float) -> tuple[Environment, ...]:
    return tuple((beta, delta) for beta in values for delta in values)


#: (beta, delta) of the environments of each part. "train" and "test" are those of the published
#: benchmark; "validation" is ours, and shares no value with either. Of the last three parts, which
#: are drawn anew, the box of each kind: both inside the training range, one outside, both outside.
ENVIRONMENTS: dict[str, tuple[Environment, ...]] = {
    "train": _grid(0.5, 0.75, 1.0),
    "validation": _grid(0.6, 1.1),
    "test": _grid(0.625, 1.125),
}
INSIDE, OUTSIDE = (0.5, 1.0), (1.0, 1.25)
BOXES: dict[str, tuple[tuple[Environment, Environment], ...]] = {  # ranges of beta and delta
    "in-range": ((INSIDE, INSIDE),),
    "edge": ((INSIDE, OUTSIDE), (OUTSIDE, INSIDE)),
    "out-of-range": ((OUTSIDE, OUTSIDE),),
}
ALPHA = GAMMA = 0.5


def _columns(part: str) -> Physics:
    """beta and delta of a finite part, ``[n]`` each."""
    beta, delta = torch.tensor(ENVIRONMENTS[part], dtype=torch.float64).T
    return {"beta": beta, "delta": delta}


def law(
    prey: Any, predators: Any, beta: Any, delta: Any, alpha: Any = ALPHA, gamma: Any = GAMMA
) -> tuple[Any, Any]:
    """The rates of change of prey and predators: numbers, arrays or tensors that broadcast."""
    eaten = prey * predators
    return alpha * prey - beta * eaten, delta * eaten - gamma * predators


class LotkaVolterra(TrajectoryFamily):
    """Prey x and predators y, in thousands: x' = alpha x - beta x y, y' = delta x y - gamma y.

    alpha = gamma = 0.5 per unit of time; beta and delta differ between environments. Starts are
    uniform in [1, 2]^2; 20 records, 0.5 apart. Along every trajectory
    V = delta x - gamma ln x + beta y - alpha ln y stays what it is (:meth:`conserved`).

    This is the Lotka-Volterra benchmark of Yin et al. 2021 (LEADS, arXiv:2106.04546, section 4)
    and Kirchmeyer et al. 2022 (CoDA, arXiv:2202.01889, section 5), with clean data: theirs come
    from an adaptive solver at a loose tolerance, which ``legacy=True`` does likewise.

    Args:
        noise: each recorded number of the support is wrong by this fraction of itself (standard
            deviation); 0.01 is 1 %.
        legacy: solve by scipy's RK45 with its default tolerances.
        pool: the number of trajectories that exist of each environment, drawn once, with
            ``pool_seed``; every task is made of some of them. None draws fresh ones for each task.
        pool_seed: fixes the pool.

    ``split(part)`` gives the environments of "train" (with 4 trajectories each, as published),
    "validation" and "test" (fresh trajectories), which are finite; or draws environments
    "in-range", at the "edge" (one of beta and delta beyond the training range, up to 1.25), or
    "out-of-range" (both). A new family is the training part, with fresh trajectories.

    The members of a finite part are its environments, so :func:`mamlkit.evaluate` takes each once.
    One environment with other trajectories is another task (``repeats``): a number of tasks may
    exceed that of the environments, which then come equally often.
    """

    d_in = d_out = 2
    times = 0.5 * torch.arange(20, dtype=torch.float64)
    substeps = 60
    parts = MappingProxyType({**ENVIRONMENTS, **BOXES})
    repeats = True
    _shown = ()

    def __init__(
        self,
        noise: float = 0.0,
        *,
        legacy: bool = False,
        pool: int | None = None,
        pool_seed: int = 0,
    ) -> None:
        self.part = "train"
        self.noise, self.legacy = number("noise", noise), legacy
        self.pool = None if pool is None else count("pool", pool, least=2)
        self.pool_seed = count("pool_seed", pool_seed, least=0)
        self.constants = _columns("train")
        self._pooled: Trajectories | None = None

    def restrict(self, part: str) -> None:
        """Take the environments of a part; "train" has a pool of 4, unless it had one."""
        self.part = part
        self.pool = (self.pool or 4) if part == "train" else None
        self.constants = _columns(part) if part in ENVIRONMENTS else None
        self._held = self._pooled = None

    @property
    def environments(self) -> Physics:
        """beta and delta of a finite part, ``[n_members]`` each."""
        if self.members is None:
            raise MamlkitError(f"the part {self.part!r} draws its environments; it has no list.")
        return self._of(self.members)

    def draw(self, n_tasks: int, generator: torch.Generator) -> Physics:
        """beta and delta of each task: one of the environments of the part, or from its boxes."""
        if self.members is not None:
            return super().draw(n_tasks, generator)
        boxes = torch.tensor(BOXES[self.part], dtype=torch.float64)  # [n, 2 parameters, 2 ends]
        box = boxes[torch.arange(n_tasks) % len(boxes)]
        u = torch.stack([uniform(n_tasks, 0.0, 1.0, generator) for _ in range(2)], dim=1)
        beta, delta = (box[..., 0] + (box[..., 1] - box[..., 0]) * u).T
        return {"beta": beta, "delta": delta}

    def starts(self, n_tasks: int, n: int, generator: torch.Generator) -> Tensor:
        """Uniform in [1, 2]^2: ``[n_tasks, n, 2]``."""
        return uniform((n_tasks, n, 2), 1.0, 2.0, generator)

    def field(self, y: Tensor, physics: Physics) -> Tensor:
        """The law: ``y [n_tasks, .., 2]``, prey and predators, to their rates of change."""
        prey, predators = y.unbind(-1)
        beta, delta = physics["beta"][..., 0], physics["delta"][..., 0]
        return torch.stack(law(prey, predators, beta, delta), -1)

    def conserved(self, y: Tensor, physics: Physics) -> Tensor:
        """V at the states ``y [n_tasks, .., 2]``, parameters ``[n_tasks]``: ``[n_tasks, ..]``."""
        prey, predators = y.unbind(-1)
        shaped = {k: v.reshape(-1, *[1] * (prey.ndim - 1)) for k, v in physics.items()}
        of_prey = shaped["delta"] * prey - GAMMA * prey.log()
        return of_prey + shaped["beta"] * predators - ALPHA * predators.log()

    def solve(self, y0: Tensor, physics: Physics, times: Tensor | None = None) -> Tensor:
        """The solution in float64, ``y0 [n_tasks, n, 2]`` to ``[n_tasks, n, T, 2]``; where
        ``legacy``, with the error of the published data.
        """
        if not self.legacy:
            return super().solve(y0, physics, times)
        from scipy.integrate import solve_ivp  # imported late: needed for nothing else

        t = of_each(self.times if times is None else times)
        each = t.expand(*y0.shape[:2], -1).numpy()

        def one(start: Any, t: Any, beta: float, delta: float) -> Any:
            def rate(_: float, y: Any) -> Any:
                return law(y[0], y[1], beta, delta)

            return solve_ivp(rate, (t[0], t[-1]), start, method="RK45", t_eval=t).y.T

        starts, known = y0.double().numpy(), (physics[name].tolist() for name in ("beta", "delta"))
        found = [
            [one(y, t, *how) for y, t in zip(task, at, strict=True)]
            for task, at, *how in zip(starts, each, *known, strict=True)
        ]
        return torch.as_tensor(np.array(found))

    def measure(
        self, physics: Physics, shots: int, queries: int, generator: torch.Generator
    ) -> TaskBatch:
        """Record fresh trajectories, or take some of the pool."""
        if self.pool is None:
            return super().measure(physics, shots, queries, generator)
        known, n_tasks = _columns(self.part), len(physics["beta"])
        same = [physics[name][:, None] == values for name, values in known.items()]
        where = torch.stack(same).all(0).int().argmax(1)  # the environment of each task
        order = torch.rand(n_tasks, self.pool, generator=generator).argsort(1)[:, : shots + queries]
        t, y, dy = self.existing()
        y, dy = (leaf[where[:, None], order] for leaf in (y, dy))
        return self.as_batch(Trajectories(t[where], y, dy), physics, shots, generator)

    def existing(self) -> Trajectories:
        """The pool, without noise: ``y [environments, pool, T, 2]``, float64."""
        if self.pool is None:
            raise MamlkitError("this family draws fresh trajectories; it has no pool.")
        if self._pooled is None:
            physics = _columns(self.part)
            y0 = self.starts(len(physics["beta"]), self.pool, fresh_generator(self.pool_seed))
            self._pooled = self.trajectories(y0, physics)
        return self._pooled

    def _choose(self, n: int, n_tasks: int, generator: torch.Generator) -> Tensor:
        """All environments equally often, in an order drawn anew."""
        rounds = [torch.randperm(n, generator=generator) for _ in range(-(-n_tasks // n))]
        return torch.cat(rounds)[:n_tasks]

    def _noisy(self, y: Tensor, generator: torch.Generator) -> Tensor:
        if not self.noise:
            return y
        return y * (1 + self.noise * torch.randn(y.shape, generator=generator, dtype=y.dtype))
