"""Seven differential equations to choose a solver for, stiff and not stiff, as data.

Each says what it is called, which parameters it has and over which range, where it starts, how long
it runs, how large each variable becomes, and where it comes from.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

Parameters = Mapping[str, float]
Array = np.ndarray[Any, np.dtype[np.float64]]
Law = Callable[[float, Array], Any]


@dataclass(frozen=True)
class Equation:
    """dy/dt = f(t, y), for parameters that differ from instance to instance.

    Attributes:
        name: what it is called.
        ranges: least and largest value of each parameter, and "uniform" or "log" (uniform in the
            logarithm). ``end`` may be one of them.
        law: ``law(parameters)`` gives f, a function of time and state ``[d]``.
        start: ``start(parameters)``, the state at time 0, ``[d]``.
        end: ``end(parameters)``, the time at which the solution is wanted last.
        scale: ``scale(parameters)``, a typical size of each variable ``[d]``: errors and absolute
            tolerances are in these units.
        source: where the equation comes from.
    """

    name: str
    ranges: Mapping[str, tuple[float, float, str]]
    law: Callable[[Parameters], Law]
    start: Callable[[Parameters], Sequence[float]]
    end: Callable[[Parameters], float]
    scale: Callable[[Parameters], Sequence[float]]
    source: str

    def instance(self, seed: int) -> Instance:
        """One instance, its parameters drawn by ``seed`` alone."""
        rng = np.random.default_rng([seed, *self.name.encode()])
        drawn = {}
        for name, (low, high, kind) in self.ranges.items():
            u = rng.random()
            drawn[name] = low * (high / low) ** u if kind == "log" else low + (high - low) * u
        return self.at(drawn)

    def at(self, parameters: Parameters) -> Instance:
        """The instance with these parameters."""
        p = {name: float(parameters[name]) for name in self.ranges}
        start, scale = (np.array(f(p), dtype=np.float64) for f in (self.start, self.scale))
        return Instance(self.name, p, self.law(p), start, float(self.end(p)), scale)


class Instance(NamedTuple):
    """One initial value problem: f, the start ``[d]``, the last time, the scale ``[d]``."""

    equation: str
    parameters: Parameters
    f: Law
    start: Array
    end: float
    scale: Array


def _van_der_pol(p: Parameters) -> Law:
    mu = p["mu"]

    def f(t: float, y: Array) -> list[float]:
        x, v = y.tolist()
        return [v, mu * (1 - x * x) * v - x]

    return f


def _robertson(p: Parameters) -> Law:
    k1, k2, k3 = p["k1"], p["k2"], p["k3"]

    def f(t: float, y: Array) -> list[float]:
        a, b, c = y.tolist()
        slow, fast, back = k1 * a, k2 * b * b, k3 * b * c
        return [back - slow, slow - back - fast, fast]

    return f


def _oregonator(p: Parameters) -> Law:
    s, w, q = p["s"], p["w"], 8.375e-6

    def f(t: float, y: Array) -> list[float]:
        x, b, z = y.tolist()
        return [s * (b + x * (1 - q * x - b)), (z - (1 + x) * b) / s, w * (x - z)]

    return f


def _hires(p: Parameters) -> Law:
    k = p["k"]  # 280 in the source

    def f(t: float, y: Array) -> list[float]:
        a, b, c, d, e, g, h, i = y.tolist()
        pair, split = k * g * i, 1.81 * h
        return [
            -1.71 * a + 0.43 * b + 8.32 * c + 0.0007,
            1.71 * a - 8.75 * b,
            -10.03 * c + 0.43 * d + 0.035 * e,
            8.32 * b + 1.71 * c - 1.12 * d,
            -1.745 * e + 0.43 * g + 0.43 * h,
            -pair + 0.69 * d + 1.71 * e - 0.43 * g + 0.69 * h,
            pair - split,
            split - pair,
        ]

    return f


def _lorenz(p: Parameters) -> Law:
    sigma, rho, beta = p["sigma"], p["rho"], 8 / 3

    def f(t: float, y: Array) -> list[float]:
        a, b, c = y.tolist()
        return [sigma * (b - a), a * (rho - c) - b, a * b - beta * c]

    return f


def _kepler(p: Parameters) -> Law:
    def f(t: float, y: Array) -> list[float]:
        a, b, u, v = y.tolist()
        squared = a * a + b * b
        pull = -1 / (squared * math.sqrt(squared))
        return [u, v, pull * a, pull * b]

    return f


FISHER_POINTS = 20


def _fisher(p: Parameters) -> Law:
    spread = p["diffusivity"] * FISHER_POINTS**2  # D / h^2 on a rod of length 1
    rate = p["rate"]

    def f(t: float, y: Array) -> Array:
        walled = np.concatenate([y[:1], y, y[-1:]])  # nothing flows through the ends
        return spread * (walled[2:] - 2 * y + walled[:-2]) + rate * y * (1 - y)

    return f


def _fisher_start(p: Parameters) -> Any:
    x = (np.arange(FISHER_POINTS) + 0.5) / FISHER_POINTS
    return np.exp(-(((x - p["centre"]) / 0.1) ** 2))


#: The seven. Times and sizes are in the units that the sources use.
EQUATIONS: Mapping[str, Equation] = {
    e.name: e
    for e in (
        Equation(
            "van der Pol",
            {
                "mu": (0.1, 1000.0, "log"),
                "x": (0.5, 2.5, "uniform"),
                "turns": (0.5, 2.0, "uniform"),
            },
            _van_der_pol,
            lambda p: [p["x"], 0.0],
            # the period is 2 pi for small mu and 1.614 mu for large
            lambda p: p["turns"] * max(2 * math.pi, 1.614 * p["mu"]),
            lambda p: [2.0, 2 + 1.3 * p["mu"]],
            "B. van der Pol, Phil. Mag. 2 (1926) 978",
        ),
        Equation(
            "Robertson",
            {
                "k1": (0.01, 0.1, "log"),
                "k2": (3e6, 3e8, "log"),
                "k3": (1e3, 1e5, "log"),
                "end": (0.1, 1e5, "log"),
            },
            _robertson,
            lambda p: [1.0, 0.0, 0.0],
            lambda p: p["end"],
            lambda p: [1.0, math.sqrt(p["k1"] / p["k2"]), 1.0],
            "H. H. Robertson in J. Walsh (ed.), Numerical Analysis, Academic Press 1966, p. 178",
        ),
        Equation(
            "Oregonator",
            {
                "s": (5.0, 100.0, "log"),
                "w": (0.05, 0.5, "log"),
                "b": (0.0, 0.8, "uniform"),
                "end": (0.5, 50.0, "log"),
            },
            _oregonator,
            lambda p: [10.0, p["b"], 3.0],  # the first pulse begins at once
            lambda p: p["end"],
            lambda p: [1e5, 5e3, 3e4],
            "R. J. Field and R. M. Noyes, J. Chem. Phys. 60 (1974) 1877",
        ),
        Equation(
            "HIRES",
            {"k": (3.0, 1000.0, "log"), "end": (3.0, 300.0, "log")},
            _hires,
            lambda p: [1.0, 0, 0, 0, 0, 0, 0, 0.0057],
            lambda p: p["end"],
            lambda p: [1.0, 0.2, 0.1, 0.5, 0.5, 1.0, 0.006, 0.006],
            "E. Schaefer, J. Math. Biol. 2 (1975) 41",
        ),
        Equation(
            "Lorenz",
            {
                "sigma": (5.0, 15.0, "uniform"),
                "rho": (1.0, 40.0, "uniform"),
                "end": (1.0, 5.0, "log"),
            },
            _lorenz,
            lambda p: [1.0, 1.0, 1.0],
            lambda p: p["end"],
            lambda p: [20.0, 20.0, 40.0],
            "E. N. Lorenz, J. Atmos. Sci. 20 (1963) 130",
        ),
        Equation(
            "Kepler",
            {"eccentricity": (0.0, 0.95, "uniform"), "turns": (0.5, 5.0, "log")},
            _kepler,
            lambda p: [
                1 - p["eccentricity"],
                0.0,
                0.0,
                math.sqrt((1 + p["eccentricity"]) / (1 - p["eccentricity"])),
            ],
            lambda p: 2 * math.pi * p["turns"],
            lambda p: [1.0, 1.0, 1.0, 1.0],
            "class D of T. E. Hull et al., SIAM J. Numer. Anal. 9 (1972) 603",
        ),
        Equation(
            "Fisher",
            {
                "diffusivity": (1e-3, 1.0, "log"),
                "rate": (1.0, 10.0, "log"),
                "centre": (0.2, 0.8, "uniform"),
                "end": (1.0, 10.0, "log"),
            },
            _fisher,
            _fisher_start,
            lambda p: p["end"],
            lambda p: [1.0] * FISHER_POINTS,
            "R. A. Fisher, Ann. Eugenics 7 (1937) 355; in space by central differences",
        ),
    )
}
