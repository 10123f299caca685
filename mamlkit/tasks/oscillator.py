"""The damped oscillator, watched for a while."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mamlkit.checks import interval, number
from mamlkit.tasks.base import Family, Physics, uniform


def law(t: Tensor, p: Physics) -> Tensor:
    """A exp(-gamma t) cos(omega t + phi): ``t [.., n, 1]`` in s to ``[.., n, 1]`` in m."""
    oscillation = torch.cos(p["frequency"] * t + p["phase"])
    return p["amplitude"] * torch.exp(-p["damping"] * t) * oscillation


class DampedOscillator(Family):
    """y = A exp(-gamma t) cos(omega t + phi): A in 0.5..2 m, gamma in 0..0.2 1/s, omega in
    1..10 rad/s, phi in 0..pi; observed at random times t in 0..duration (experiment E2).

    Args:
        duration: length of the observation, s.
        noise: standard deviation of the noise on support ``y``, m.
        frequencies: range of omega, rad/s; (10, 12) is out of the range of experiment E2.
    """

    x_label = "time t [s]"
    y_label = "displacement y [m]"

    def __init__(
        self,
        duration: float = 3.0,
        noise: float = 0.05,
        frequencies: tuple[float, float] = (1.0, 10.0),
    ) -> None:
        self.x_range = (0.0, number("duration", duration, positive=True))
        self.noise = number("noise", noise)
        self.frequencies = interval("frequencies", frequencies)

    def draw(self, n_tasks: int, generator: torch.Generator) -> Physics:
        """Amplitude (m), damping (1/s), angular frequency (rad/s), phase (rad), ``[n_tasks]``."""
        return {
            "amplitude": uniform(n_tasks, 0.5, 2.0, generator),
            "damping": uniform(n_tasks, 0.0, 0.2, generator),
            "frequency": uniform(n_tasks, *self.frequencies, generator),
            "phase": uniform(n_tasks, 0.0, math.pi, generator),
        }

    def law(self, x: Tensor, physics: Physics) -> Tensor:
        """A exp(-gamma t) cos(omega t + phi)."""
        return law(x, physics)
