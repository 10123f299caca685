"""mamlkit: meta-learning for physics."""

from importlib import import_module as _import_module
from importlib.metadata import version as _version
from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import Any as _Any

from mamlkit import (
    discovery,
    dynamics,
    learners,
    losses,
    mechanics,
    models,
    pde,
    population,
    tasks,
    training,
    yardsticks,
)
from mamlkit.check import check
from mamlkit.checkpoints import load_learner, save_learner
from mamlkit.costs import cost_table
from mamlkit.coverage import calibration, recalibrate
from mamlkit.errors import MamlkitError
from mamlkit.evaluation import (
    Curve,
    compare,
    error_against_shots,
    evaluate,
    shuffled_support,
    tune,
    zero_step_gap,
)
from mamlkit.learners import (
    ANIL,
    CAVIA,
    FOMAML,
    MAML,
    BayesianHead,
    ClassifierHead,
    CoDA,
    Ensemble,
    ImplicitMAML,
    MAMLPlusPlus,
    MetaSGD,
    Multistart,
    Prototypes,
    Reptile,
    RidgeHead,
    where_next,
)
from mamlkit.simulators import Simulator
from mamlkit.tasks import Data, Family, TaskBatch
from mamlkit.training import History, Plan, meta_train

if _TYPE_CHECKING:
    from mamlkit import plots, recipes, widgets

__version__ = _version("mamlkit")
__all__ = [
    "ANIL",
    "CAVIA",
    "FOMAML",
    "MAML",
    "BayesianHead",
    "ClassifierHead",
    "CoDA",
    "Curve",
    "Data",
    "Ensemble",
    "Family",
    "History",
    "ImplicitMAML",
    "MAMLPlusPlus",
    "MamlkitError",
    "MetaSGD",
    "Multistart",
    "Plan",
    "Prototypes",
    "Reptile",
    "RidgeHead",
    "Simulator",
    "TaskBatch",
    "calibration",
    "check",
    "compare",
    "cost_table",
    "discovery",
    "dynamics",
    "error_against_shots",
    "evaluate",
    "learners",
    "load_learner",
    "losses",
    "mechanics",
    "meta_train",
    "models",
    "pde",
    "plots",
    "population",
    "recalibrate",
    "recipes",
    "save_learner",
    "shuffled_support",
    "tasks",
    "training",
    "tune",
    "where_next",
    "widgets",
    "yardsticks",
    "zero_step_gap",
]


def __getattr__(name: str) -> _Any:
    if name in ("plots", "recipes", "widgets"):  # brought on first use only
        return _import_module(f"mamlkit.{name}")
    raise AttributeError(f"module 'mamlkit' has no attribute {name!r}")
