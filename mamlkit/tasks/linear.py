"""Straight-line laws: Hooke, Ohm, free fall. With a linear model, MAML there is exact algebra."""

from __future__ import annotations

import torch
from torch import Tensor

from mamlkit.checks import interval, number
from mamlkit.tasks.base import Family, Physics, normal


class LinearLaw(Family):
    """y = slope * x + intercept, both Gaussian over tasks (experiment E1).

    Args:
        slope, intercept: mean and standard deviation over tasks.
        x_range: where measurements are taken.
        noise: standard deviation of the noise on support ``y``.
    """

    def __init__(
        self,
        slope: tuple[float, float] = (2.0, 0.5),
        intercept: tuple[float, float] = (0.5, 0.2),
        x_range: tuple[float, float] = (-1.0, 1.0),
        noise: float = 0.3,
    ) -> None:
        number("standard deviation of slope", slope[1])
        number("standard deviation of intercept", intercept[1])
        self.slope, self.intercept = slope, intercept
        self.x_range, self.noise = interval("x_range", x_range), number("noise", noise)

    def draw(self, n_tasks: int, generator: torch.Generator) -> Physics:
        """Slopes and intercepts, each ``[n_tasks]``."""
        return {
            "slope": normal(n_tasks, *self.slope, generator),
            "intercept": normal(n_tasks, *self.intercept, generator),
        }

    def law(self, x: Tensor, physics: Physics) -> Tensor:
        """slope * x + intercept."""
        return physics["slope"] * x + physics["intercept"]


class HookesLaw(Family):
    """F = k x: springs of a school laboratory, k ~ N(25, 5^2) N/m, extension x in 0.02..0.20 m,
    force F in newton read with an error of 0.1 N.
    """

    x_range = (0.02, 0.20)
    noise = 0.1
    x_label = "extension x [m]"
    y_label = "force F [N]"

    def draw(self, n_tasks: int, generator: torch.Generator) -> Physics:
        """Spring constants in N/m, ``[n_tasks]``."""
        return {"spring_constant": normal(n_tasks, 25.0, 5.0, generator)}

    def law(self, x: Tensor, physics: Physics) -> Tensor:
        """F = k x."""
        return physics["spring_constant"] * x


class OhmsLaw(Family):
    """V = R I + V0: resistors R ~ N(10, 2^2) ohm, current I in 0..1 A, voltage V in volt read with
    an error of 0.1 V by a meter whose zero is off by V0 ~ N(0, 0.2^2) V.
    """

    x_range = (0.0, 1.0)
    noise = 0.1
    x_label = "current I [A]"
    y_label = "voltage V [V]"

    def draw(self, n_tasks: int, generator: torch.Generator) -> Physics:
        """Resistances in ohm and zero offsets in volt, each ``[n_tasks]``."""
        return {
            "resistance": normal(n_tasks, 10.0, 2.0, generator),
            "offset": normal(n_tasks, 0.0, 0.2, generator),
        }

    def law(self, x: Tensor, physics: Physics) -> Tensor:
        """V = R I + V0."""
        return physics["resistance"] * x + physics["offset"]


#: Gravity at the surface (giant planets: at one bar), m/s^2. Source: NASA Planetary Fact Sheets.
SURFACE_GRAVITY = {
    "Mercury": 3.7,
    "Venus": 8.9,
    "Earth": 9.8,
    "Moon": 1.6,
    "Mars": 3.7,
    "Jupiter": 23.1,
    "Saturn": 9.0,
    "Uranus": 8.7,
    "Neptune": 11.0,
    "Pluto": 0.7,
}


class FreeFall(Family):
    """s = g t^2 / 2 on a body of the solar system drawn at random (:data:`SURFACE_GRAVITY`):
    time t in 0.1..1.0 s, distance s in metre read with an error of 0.05 m.
    """

    x_range = (0.1, 1.0)
    noise = 0.05
    x_label = "time t [s]"
    y_label = "distance s [m]"

    def draw(self, n_tasks: int, generator: torch.Generator) -> Physics:
        """Gravity in m/s^2, ``[n_tasks]``."""
        gravity = torch.tensor(list(SURFACE_GRAVITY.values()), dtype=torch.float64)
        body = torch.randint(len(gravity), (n_tasks,), generator=generator)
        return {"gravity": gravity[body]}

    def law(self, x: Tensor, physics: Physics) -> Tensor:
        """s = g t^2 / 2."""
        return physics["gravity"] * x**2 / 2
