"""Where data comes from: families of tasks, one file each."""

from mamlkit.tasks.base import Data, Family, TaskBatch, normal, uniform
from mamlkit.tasks.fluids import VapourPressure
from mamlkit.tasks.linear import SURFACE_GRAVITY, FreeFall, HookesLaw, LinearLaw, OhmsLaw
from mamlkit.tasks.oscillator import DampedOscillator
from mamlkit.tasks.pendulum import Pendulum
from mamlkit.tasks.sinusoid import FINN_2017, Sinusoid
from mamlkit.tasks.trajectories import Trajectories, TrajectoryFamily

__all__ = [
    "FINN_2017",
    "SURFACE_GRAVITY",
    "DampedOscillator",
    "Data",
    "Family",
    "FreeFall",
    "HookesLaw",
    "LinearLaw",
    "OhmsLaw",
    "Pendulum",
    "Sinusoid",
    "TaskBatch",
    "Trajectories",
    "TrajectoryFamily",
    "VapourPressure",
    "normal",
    "uniform",
]
