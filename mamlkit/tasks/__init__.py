"""Where data comes from: families of tasks, one file each."""

from mamlkit.tasks.base import Data, Family, Readings, TaskBatch, normal, uniform, weighted
from mamlkit.tasks.burgers import VISCOSITIES, Burgers, exact_burgers
from mamlkit.tasks.charges import (
    ForeignSource,
    PointCharges,
    dipole_potential,
    point_potential,
)
from mamlkit.tasks.collocation import Collocation
from mamlkit.tasks.equations import EQUATIONS
from mamlkit.tasks.fluids import VapourPressure
from mamlkit.tasks.ising import (
    HiddenGauge,
    WhichMagnet,
    WhichPhase,
    correlations,
    structure_factor,
    swendsen_wang,
)
from mamlkit.tasks.kinds import KINDS, Formula, Standard, ten_kinds
from mamlkit.tasks.labelled import Bank, Labelled
from mamlkit.tasks.laws import DataSets, NamedLaw
from mamlkit.tasks.learning_curves import LearningCurves
from mamlkit.tasks.linear import SURFACE_GRAVITY, FreeFall, HookesLaw, LinearLaw, OhmsLaw
from mamlkit.tasks.lotka_volterra import LotkaVolterra
from mamlkit.tasks.mixture import Mixture
from mamlkit.tasks.oscillator import DampedOscillator
from mamlkit.tasks.pendulum import Pendulum
from mamlkit.tasks.poisson import Poisson
from mamlkit.tasks.records import RECORDS, Record, record
from mamlkit.tasks.scales import Scales
from mamlkit.tasks.sinusoid import FINN_2017, Sinusoid
from mamlkit.tasks.solver_choice import SolverChoice
from mamlkit.tasks.streams import Resonator, Streams, along, drifting
from mamlkit.tasks.table import MEASURED, Table, measured
from mamlkit.tasks.trajectories import Trajectories, TrajectoryFamily

__all__ = [
    "EQUATIONS",
    "FINN_2017",
    "KINDS",
    "MEASURED",
    "RECORDS",
    "SURFACE_GRAVITY",
    "VISCOSITIES",
    "Bank",
    "Burgers",
    "Collocation",
    "DampedOscillator",
    "Data",
    "DataSets",
    "Family",
    "ForeignSource",
    "Formula",
    "FreeFall",
    "HiddenGauge",
    "HookesLaw",
    "Labelled",
    "LearningCurves",
    "LinearLaw",
    "LotkaVolterra",
    "Mixture",
    "NamedLaw",
    "OhmsLaw",
    "Pendulum",
    "PointCharges",
    "Poisson",
    "Readings",
    "Record",
    "Resonator",
    "Scales",
    "Sinusoid",
    "SolverChoice",
    "Standard",
    "Streams",
    "Table",
    "TaskBatch",
    "Trajectories",
    "TrajectoryFamily",
    "VapourPressure",
    "WhichMagnet",
    "WhichPhase",
    "along",
    "correlations",
    "dipole_potential",
    "drifting",
    "exact_burgers",
    "measured",
    "normal",
    "point_potential",
    "record",
    "structure_factor",
    "swendsen_wang",
    "ten_kinds",
    "uniform",
    "weighted",
]
