"""Where data comes from: families of tasks, one file each."""

from mamlkit.tasks.base import Data, Family, TaskBatch, normal, uniform
from mamlkit.tasks.burgers import VISCOSITIES, Burgers, exact_burgers
from mamlkit.tasks.collocation import Collocation
from mamlkit.tasks.fluids import VapourPressure
from mamlkit.tasks.linear import SURFACE_GRAVITY, FreeFall, HookesLaw, LinearLaw, OhmsLaw
from mamlkit.tasks.oscillator import DampedOscillator
from mamlkit.tasks.poisson import Poisson
from mamlkit.tasks.sinusoid import FINN_2017, Sinusoid
from mamlkit.tasks.trajectories import Trajectories, TrajectoryFamily

__all__ = [
    "FINN_2017",
    "SURFACE_GRAVITY",
    "VISCOSITIES",
    "Burgers",
    "Collocation",
    "DampedOscillator",
    "Data",
    "Family",
    "FreeFall",
    "HookesLaw",
    "LinearLaw",
    "OhmsLaw",
    "Poisson",
    "Sinusoid",
    "TaskBatch",
    "Trajectories",
    "TrajectoryFamily",
    "VapourPressure",
    "exact_burgers",
    "normal",
    "uniform",
]
