"""Electrostatics: the potential of two charges at known places, and of sources that do not belong.

Gaussian units without dimensions: a charge q has the potential q / r.
"""

from __future__ import annotations

from typing import Any, Literal, Self

import torch
from torch import Tensor

from mamlkit.checks import count, fresh_generator, interval, number, one_of
from mamlkit.errors import MamlkitError
from mamlkit.tasks.base import Family, Physics, Shots, TaskBatch, shots_range, uniform

Part = Literal["train", "validation", "test"]
Intruder = Literal["charge", "dipole"]

#: Where the two charges are: A on the left, B on the right, just outside the region of the training
#: data.
PLACES = ((-1.1, 0.0), (1.1, 0.0))
#: The pairs of charges of each part, ``[n_members, 2]``.
PAIRS = {
    "train": torch.cartesian_prod(*2 * [torch.arange(1, 6, dtype=torch.float64)]),
    "validation": uniform((30, 2), 1.0, 6.0, fresh_generator(10_000)),
    "test": uniform((30, 2), 1.0, 6.0, fresh_generator(20_000)),
}


def point_potential(x: Tensor, charges: Tensor, places: Tensor) -> Tensor:
    """The potential of point charges, ``sum_s q_s / |x - x_s|``.

    ``x [.., n, d]``, ``charges [.., s]``, ``places [.., s, d]`` or ``[s, d]``; returns
    ``[.., n, 1]``. Places in the plane or in space: it is the law of space in both.
    """
    r = (x[..., :, None, :] - places[..., None, :, :]).norm(dim=-1)  # [.., n, s]
    return (charges[..., None, :] / r).sum(-1, keepdim=True)


def dipole_potential(x: Tensor, moment: Tensor, place: Tensor) -> Tensor:
    """The potential of a dipole, p.r / r^3 with r = x - place: two charges q and -q at a distance d
    with q d = p, as d goes to zero.

    ``x [.., n, d]``, ``moment [.., d]`` from the negative to the positive charge, ``place
    [.., d]``; returns ``[.., n, 1]``.
    """
    r = x - place[..., None, :]  # [.., n, d]
    along = (r * moment[..., None, :]).sum(-1, keepdim=True)  # p.r
    return along / r.norm(dim=-1, keepdim=True) ** 3


class PointCharges(Family):
    """The potential of two charges at :data:`PLACES`, ``q1 / |x - xA| + q2 / |x - xB|``, read at
    points of the plane.

    A task is a pair of charges. As made, q1 and q2 are fresh draws from U(1, 6). ``split`` gives
    finite sets: "train", the 25 pairs of 1, 2 .. 5; "validation" and "test", 30 fixed pairs each,
    drawn from U(1, 6), some of them with charges that training does not reach (:meth:`zone`).

    Physics: ``q1``, ``q2``; in a split also ``task``, the number of the pair.

    Args:
        noise: standard deviation of a reading of the support, in units of the potential.
        region: ``((x low, x high), (y low, y high))``, where to measure.
        grid: measure at points of a grid of so many by so many, each at most once a task; None
            measures anywhere in the region.
    """

    d_in = 2
    x_label, y_label = "x", "potential"
    parts = PAIRS

    def __init__(
        self,
        noise: float = 0.0,
        region: tuple[tuple[float, float], tuple[float, float]] = ((-1.0, 1.0), (0.0, 1.0)),
        grid: int | None = 20,
    ) -> None:
        self.noise = number("noise", noise)
        try:
            across, up = region
        except (TypeError, ValueError):
            raise MamlkitError(
                f"region must be ((x low, x high), (y low, y high)), but {region!r} was given."
            ) from None
        self.region = (interval("region", across), interval("region", up))
        self.grid = None if grid is None else count("grid", grid, least=2)
        self.part: str | None = None

    def restrict(self, part: str) -> None:
        """Hold the pairs of a part, and no others."""
        q1, q2 = PAIRS[part].T
        self.constants = {"q1": q1, "q2": q2, "task": torch.arange(len(q1))}
        self.part, self._held = part, None

    def every(self, shots: Shots, queries: int | None = None, **drawn: Any) -> TaskBatch:
        """Each pair of a split once, in order; ``queries`` None takes all the rest of the grid."""
        if queries is None and self.grid is not None:
            queries = max(self.grid**2 - shots_range(shots)[1], 1)
        return super().every(shots, queries, **drawn)

    def draw(self, n_tasks: int, generator: torch.Generator) -> Physics:
        """The charges, each ``[n_tasks]``; of a split all different while they last."""
        if self.members is not None:
            return super().draw(n_tasks, generator)
        return {name: uniform(n_tasks, 1.0, 6.0, generator) for name in ("q1", "q2")}

    def law(self, x: Tensor, physics: Physics) -> Tensor:
        """``q1 / |x - xA| + q2 / |x - xB|``."""
        charges = torch.cat([physics["q1"], physics["q2"]], dim=-1)[:, 0]  # [n_tasks, 2]
        return point_potential(x, charges, torch.tensor(PLACES, dtype=x.dtype))

    def inputs(self, n_tasks: int, n: int, generator: torch.Generator) -> Tensor:
        """Where to measure: float64 ``[n_tasks, n, 2]``, different grid points, or anywhere."""
        if self.grid is None:
            low, high = torch.tensor(self.region, dtype=torch.float64).T  # [2] each
            u = torch.rand(n_tasks, n, 2, generator=generator, dtype=torch.float64)
            return low + (high - low) * u
        points = self.points()  # [grid^2, 2]
        if n > len(points):
            raise MamlkitError(
                f"{n} points a task were asked for, shots and queries together, but the grid has "
                f"{len(points)}; ask for fewer, or measure anywhere with grid=None."
            )
        # A type of its own, so that torch's default type changes nothing.
        key = torch.rand(n_tasks, len(points), generator=generator, dtype=torch.float32)
        return points[key.argsort(dim=1, stable=True)[:, :n]]

    def points(self, grid: int | None = None) -> Tensor:
        """A grid over the region, row by row from below: float64 ``[grid^2, 2]``."""
        side = count("grid", grid or self.grid or 20, least=2)
        across, up = (torch.linspace(*edge, side, dtype=torch.float64) for edge in self.region)
        y, x = torch.meshgrid(up, across, indexing="ij")
        return torch.stack([x.flatten(), y.flatten()], dim=1)

    def zone(self, physics: Physics) -> list[str]:
        """How far each task is from the training charges: "outside" if a charge is above 5,
        "edge" if one is within 0.5 of the limits 1 and 5, else "inside".
        """
        q = torch.stack([physics["q1"], physics["q2"]])
        low, high = q.amin(0), q.amax(0)
        return [
            "outside" if most > 5 else "edge" if most > 4.5 or least < 1.5 else "inside"
            for least, most in zip(low.tolist(), high.tolist(), strict=True)
        ]


class ForeignSource(PointCharges):
    """Two charges as in :class:`PointCharges`, and a third source that no training task has: hidden
    below the region, at ``x3`` in (-1, 1) and ``y3`` in (-0.6, -0.2).

    Physics: ``q1``, ``q2``, ``x3``, ``y3``, and ``angle``, the direction of a dipole (unused by a
    charge).

    Args:
        kind: "charge", of size ``strength``, or "dipole", of moment ``strength``.
        strength: of the source, in units of charge, or of charge times length.
        settings: as for :class:`PointCharges`.
    """

    def __init__(self, kind: Intruder = "dipole", strength: float = 0.1, **settings: Any) -> None:
        super().__init__(**settings)
        self.kind = one_of("kind", kind, ("charge", "dipole"))
        self.strength = number("strength", strength)

    def draw(self, n_tasks: int, generator: torch.Generator) -> Physics:
        """The charges, and place and direction of the source, each ``[n_tasks]``."""
        return {
            **super().draw(n_tasks, generator),
            "x3": uniform(n_tasks, -1.0, 1.0, generator),
            "y3": uniform(n_tasks, -0.6, -0.2, generator),
            "angle": uniform(n_tasks, 0.0, 2 * torch.pi, generator),
        }

    def split(self, part: str) -> Self:
        """A foreign source has no training set."""
        raise MamlkitError(
            f"{type(self).__name__} is there to be noticed, not trained on: it has no "
            f"{part!r} set. Use sample()."
        )

    def law(self, x: Tensor, physics: Physics) -> Tensor:
        """The two charges, and q3 / r3 or p.r3 / r3^3."""
        place = torch.cat([physics["x3"], physics["y3"]], dim=-1)[:, 0]  # [n_tasks, 2]
        known = super().law(x, physics)
        if self.kind == "charge":
            q3 = x.new_full((len(x), 1), self.strength)
            return known + point_potential(x, q3, place[:, None])
        angle = physics["angle"][:, 0, 0]
        moment = self.strength * torch.stack([angle.cos(), angle.sin()], dim=-1)  # [n_tasks, 2]
        return known + dipole_potential(x, moment, place)
