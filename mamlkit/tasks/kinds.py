"""Ten kinds of physics of one size: x from -1 to 1, y of mean 0 and spread 1."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor

from mamlkit.checks import fresh_generator, number
from mamlkit.tasks.base import Family, Physics, check_family, uniform
from mamlkit.tasks.fluids import VapourPressure
from mamlkit.tasks.linear import FreeFall, HookesLaw, OhmsLaw
from mamlkit.tasks.oscillator import DampedOscillator
from mamlkit.tasks.sinusoid import Sinusoid

STEFAN_BOLTZMANN = 5.670374419e-8  # W/(m^2 K^4), CODATA 2018


class Formula(Family):
    """A law of one input that is given as data.

    Args:
        formula: ``formula(x, p)``, with ``p[name]`` for each parameter.
        ranges: parameters are uniform in these, by name.
        x_range: where it is measured.
        x_label, y_label: names with units.
    """

    def __init__(
        self,
        formula: Callable[[Tensor, Physics], Tensor],
        ranges: Mapping[str, tuple[float, float]],
        x_range: tuple[float, float],
        x_label: str = "x",
        y_label: str = "y",
    ) -> None:
        self.formula, self.ranges = formula, dict(ranges)
        self.x_range, self.x_label, self.y_label = x_range, x_label, y_label

    def draw(self, n_tasks: int, generator: torch.Generator) -> Physics:
        """The parameters, ``[n_tasks]`` each."""
        return {name: uniform(n_tasks, *r, generator) for name, r in self.ranges.items()}

    def law(self, x: Tensor, physics: Physics) -> Tensor:
        """The formula."""
        return self.formula(x, physics)


class Standard(Family):
    """A family of one input and output in numbers of order one: x from -1 to 1 over its range, and
    y less its mean, in units of its standard deviation, both over 500 of its curves (of a family
    with parts, over all curves of "train"). Numbers are fixed at the start; parameters stay in
    their own units.

    Args:
        family: any; copied in what it has of members and parts.
        noise: standard deviation of the noise on the support, in units of the new y; the family's
            own noise is left out.
    """

    def __init__(self, family: Family, noise: float = 0.05) -> None:
        check_family(family)
        self.family, self.noise = family, number("noise", noise)
        known = family.split("train") if family.parts else family
        _, y, _ = known.curves(min(500, known.n_members or 500), generator=fresh_generator(0))
        self.middle, self.size = float(y.mean()), float(y.std())
        self.constants, self.parts, self.pool = family.constants, family.parts, family.pool
        self._held, self.repeats = family._held, family.repeats
        low, high = family.x_range
        self.centre, self.half = (low + high) / 2, (high - low) / 2

    def draw(self, n_tasks: int, generator: torch.Generator) -> Physics:
        """The parameters, as the family draws them."""
        return self.family.draw(n_tasks, generator)

    def inputs(self, n_tasks: int, n: int, generator: torch.Generator) -> Tensor:
        """Where the family measures, from -1 to 1."""
        return (self.family.inputs(n_tasks, n, generator) - self.centre) / self.half

    def law(self, x: Tensor, physics: Physics) -> Tensor:
        """The family's law, from and in the new units."""
        return (self.family.law(self.centre + self.half * x, physics) - self.middle) / self.size

    def name_of(self, physics: Mapping[str, Any]) -> str:
        """What the family calls a task."""
        return self.family.name_of(physics)

    def _grid(self, points: int) -> Tensor:
        return (self.family._grid(points) - self.centre) / self.half


_RC = {"voltage": (0.8, 1.2), "time_constant": (0.5, 2.0)}  # V, s
#: Ten families in their own units, by name: how each is made, since a table is read for one.
KINDS: dict[str, Callable[[], Family]] = {
    "Hooke": HookesLaw,
    "Ohm": OhmsLaw,
    "fall": FreeFall,
    "sinusoid": Sinusoid,
    # Five readings in 3 s tell no frequency above some 5 rad/s from a lower one.
    "damped oscillator": partial(DampedOscillator, frequencies=(1.0, 4.0)),
    "charging": partial(
        Formula,
        lambda t, p: p["voltage"] * (1 - torch.exp(-t / p["time_constant"])),
        _RC,
        (0.0, 5.0),
        "time t [s]",
        "voltage V [V]",
    ),
    "discharging": partial(
        Formula,
        lambda t, p: p["voltage"] * torch.exp(-t / p["time_constant"]),
        _RC,
        (0.0, 5.0),
        "time t [s]",
        "voltage V [V]",
    ),
    "fluids": VapourPressure,
    "Stefan-Boltzmann": partial(
        Formula,
        lambda t, p: p["emissivity"] * STEFAN_BOLTZMANN * t**4,
        {"emissivity": (0.1, 1.0)},
        (300.0, 1000.0),
        "temperature T [K]",
        "radiated power P/A [W/m^2]",
    ),
    "lens": partial(
        Formula,
        lambda g, p: p["focal_length"] * g / (g - p["focal_length"]),
        {"focal_length": (0.05, 0.1)},
        (0.15, 0.6),
        "distance of the object g [m]",
        "distance of the image b [m]",
    ),
}


@cache
def ten_kinds(noise: float = 0.05) -> dict[str, Standard]:
    """The families of :data:`KINDS` in numbers of order one, by name."""
    return {name: Standard(make(), noise) for name, make in KINDS.items()}
