"""Streams: readings in order, one a tick, of systems whose parameters drift (experiment E9)."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from mamlkit.checks import check_generator, count, interval, number, one_of
from mamlkit.errors import MamlkitError
from mamlkit.tasks.base import Family, Physics, check_family, uniform

Drift = Literal["still", "jump", "ramp", "sine"]


class Streams(NamedTuple):
    """Streams side by side: at each tick a place ``x [n, ticks, d_in]``, the reading ``y [n, ticks,
    d_out]`` there, and the ``truth`` that it would be without noise, of the same shape.

    ``physics`` maps the name of each parameter to its course, ``[n, ticks]``; ``jumped [n, ticks]``
    is True at a tick whose parameters have nothing to do with those of the tick before.
    """

    x: Tensor
    y: Tensor
    truth: Tensor
    physics: Physics
    jumped: Tensor


def drifting(
    family: Family,
    n: int,
    ticks: int = 240,
    kind: Drift = "jump",
    *,
    generator: torch.Generator | None = None,
) -> Streams:
    """Draw ``n`` streams of systems of ``family`` whose parameters wander between draws of it.

    At each tick the system is read once, where :meth:`Family.inputs` says, with the noise of the
    family. Parameters are numbers that may take any value between two draws.

    Args:
        family: any family whose task is points of a law, endless or finite.
        n, ticks: numbers of streams, and of readings of each.
        kind: "still": one draw for all ticks. "jump": another draw from a tick on
            that lies anywhere between 1/4 and 5/12 of the stream, and a third from one between 7/12
            and 3/4. "ramp": on a straight line from one draw to another. "sine":
            to and fro between two draws, two to four times, each parameter at its own pace.
        generator: as for :meth:`Family.sample`.

    Returns :class:`Streams` in float64.
    """
    check_family(family)
    n, ticks, generator = count("n", n), count("ticks", ticks), check_generator(generator)
    one_of("kind", kind, get_args(Drift))
    if type(family).measure is not Family.measure or family.ways is not None:
        raise MamlkitError(
            f"a task of {type(family).__name__} is more than points of a law with real values; "
            "streams are drawn from families that override draw and law alone."
        )
    at = torch.arange(ticks, dtype=torch.float64)
    draws = [family._physics(n, generator) for _ in range(3)]
    jumped = torch.zeros(n, ticks, dtype=torch.bool)
    physics = {name: p[:, None].expand(n, ticks) for name, p in draws[0].items()}
    if kind == "jump":
        for after, low, high in ((draws[1], 1 / 4, 5 / 12), (draws[2], 7 / 12, 3 / 4)):
            when = (ticks * uniform(n, low, high, generator)).floor()[:, None]  # [n, 1]
            jumped |= at == when
            physics = {k: after[k][:, None].where(at >= when, p) for k, p in physics.items()}
    elif kind == "ramp":
        part = at / max(ticks - 1, 1)
        physics = {k: p + part * (draws[1][k][:, None] - p) for k, p in physics.items()}
    elif kind == "sine":
        for name, p in physics.items():
            turns, phase = (uniform((n, 1), *r, generator) for r in ((2.0, 4.0), (0.0, 1.0)))
            part = (1 - torch.cos(2 * math.pi * (turns * at / ticks + phase))) / 2
            physics[name] = p + part * (draws[1][name][:, None] - p)
    return along(family, physics, generator=generator)._replace(jumped=jumped)


def along(family: Family, physics: Physics, *, generator: torch.Generator | None = None) -> Streams:
    """Read systems once a tick while their parameters take the courses ``physics``, ``[n, ticks]``
    each by name: as :func:`drifting`, with a drift of your own. Nothing is said of jumps.
    """
    check_family(family)
    generator = check_generator(generator)
    shapes = {name: list(p.shape) for name, p in physics.items()}
    if len(set(map(tuple, shapes.values()))) != 1 or any(len(s) != 2 for s in shapes.values()):
        raise MamlkitError(
            f"physics must hold a course [n, ticks] for each parameter, all of one shape; given "
            f"are {shapes}."
        )
    n, ticks = next(iter(physics.values())).shape
    x = family.inputs(n * ticks, 1, generator)  # each reading is a task of one point
    truth = family._evaluate(x, {k: p.double().reshape(-1) for k, p in physics.items()})
    y = family._noisy(truth, generator)
    x, y, truth = (leaf.reshape(n, ticks, -1) for leaf in (x, y, truth))
    courses = {name: p.contiguous() for name, p in physics.items()}
    return Streams(x, y, truth, courses, torch.zeros(n, ticks, dtype=torch.bool))


class Resonator(Family):
    """The power factor of a driven resonator, cos phi = g w / sqrt((w0^2 - w^2)^2 + g^2 w^2): what
    of the drive's apparent power is taken up, 1 at resonance. Input: the frequency w of the drive,
    0.4..2 rad/s. Output: read by a meter with an error of 0.05.

    It is a mass on a spring, x'' + g x' + w0^2 x = f cos(w t), as well as a series circuit of coil,
    capacitor and resistor.

    Args:
        frequencies: range of the own frequency w0, rad/s.
        dampings: range of g, 1/s: the width of the resonance.
        noise: standard deviation of a reading.
    """

    x_range = (0.4, 2.0)
    x_label = "drive frequency [rad/s]"
    y_label = "power factor"

    def __init__(
        self,
        frequencies: tuple[float, float] = (0.8, 1.6),
        dampings: tuple[float, float] = (0.1, 0.4),
        noise: float = 0.05,
    ) -> None:
        self.frequencies = interval("frequencies", frequencies)
        self.dampings = interval("dampings", dampings)
        self.noise = number("noise", noise)

    def draw(self, n_tasks: int, generator: torch.Generator) -> Physics:
        """Own frequency (rad/s) and damping (1/s), ``[n_tasks]`` each."""
        return {
            "frequency": uniform(n_tasks, *self.frequencies, generator),
            "damping": uniform(n_tasks, *self.dampings, generator),
        }

    def law(self, x: Tensor, physics: Physics) -> Tensor:
        """cos phi at the drive frequencies ``x``."""
        loss = physics["damping"] * x
        return loss / ((physics["frequency"] ** 2 - x**2) ** 2 + loss**2).sqrt()
