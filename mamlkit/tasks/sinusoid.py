"""The sinusoid benchmark of Finn et al. 2017, section 5.1."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from mamlkit.checks import interval, number
from mamlkit.tasks.base import Family, Physics, uniform

#: The training protocol of Finn et al. 2017 (section 5.1 and the authors' code), as keywords of
#: :func:`mamlkit.meta_train`. The learner: ``MLP(1, 1, hidden=(40, 40), activation="relu")``,
#: ``inner_lr=0.01``, ``inner_steps=1``; tested on 600 tasks with 0..10 steps.
FINN_2017: dict[str, Any] = {"shots": 10, "meta_batch": 25, "iterations": 70_000, "outer_lr": 1e-3}


class Sinusoid(Family):
    """y = A sin(x - phi), with A, phi and x uniform.

    The defaults are the ranges of Finn et al. 2017, where predicting zero scores a mean squared
    error of E[A^2] / 2 = 4.25. Mind the amplitude range when you compare with other people's
    figures: with A in [0.1, 0.5], predicting zero already scores 0.052.
    Taught in notebook 04.

    Args:
        amplitude, phase: ranges of A and of phi (radian).
        x_range: range of x.
        noise: standard deviation of the noise on support ``y``.
    """

    def __init__(
        self,
        amplitude: tuple[float, float] = (0.1, 5.0),
        phase: tuple[float, float] = (0.0, math.pi),
        x_range: tuple[float, float] = (-5.0, 5.0),
        noise: float = 0.0,
    ) -> None:
        self.amplitude, self.phase = interval("amplitude", amplitude), interval("phase", phase)
        self.x_range, self.noise = interval("x_range", x_range), number("noise", noise)

    def draw(self, n_tasks: int, generator: torch.Generator) -> Physics:
        """Amplitudes and phases (radian), each ``[n_tasks]``."""
        return {
            "amplitude": uniform(n_tasks, *self.amplitude, generator),
            "phase": uniform(n_tasks, *self.phase, generator),
        }

    def law(self, x: Tensor, physics: Physics) -> Tensor:
        """A sin(x - phi)."""
        return physics["amplitude"] * torch.sin(x - physics["phase"])
