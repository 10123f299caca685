"""mamlkit: meta-learning for physics."""

from importlib import import_module as _import_module
from importlib.metadata import version as _version
from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import Any as _Any

from mamlkit import learners, losses, models, ode, physics, tasks, training, yardsticks
from mamlkit.course.checking import check
from mamlkit.errors import MamlkitError, MamlkitWarning
from mamlkit.evaluation import (
    Curve,
    calibration,
    compare,
    cost_table,
    error_against_shots,
    evaluate,
    recalibrate,
    shuffled_support,
    tune,
    zero_step_gap,
)
from mamlkit.fitting import Fit, fit
from mamlkit.learners import (
    ANIL,
    CAVIA,
    CNP,
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
    Specialists,
    where_next,
)
from mamlkit.physics import Simulator
from mamlkit.tasks import Data, Family, Readings, TaskBatch
from mamlkit.training import History, Plan, load, load_learner, meta_train, save, save_learner

if _TYPE_CHECKING:
    from mamlkit.course import recipes
    from mamlkit.show import plots, widgets

__version__ = _version("mamlkit")
__all__ = [
    "ANIL",
    "CAVIA",
    "CNP",
    "FOMAML",
    "MAML",
    "BayesianHead",
    "ClassifierHead",
    "CoDA",
    "Curve",
    "Data",
    "Ensemble",
    "Family",
    "Fit",
    "History",
    "ImplicitMAML",
    "MAMLPlusPlus",
    "MamlkitError",
    "MamlkitWarning",
    "MetaSGD",
    "Multistart",
    "Plan",
    "Prototypes",
    "Readings",
    "Reptile",
    "RidgeHead",
    "Simulator",
    "Specialists",
    "TaskBatch",
    "calibration",
    "check",
    "compare",
    "cost_table",
    "error_against_shots",
    "evaluate",
    "fit",
    "learners",
    "load",
    "load_learner",
    "losses",
    "meta_train",
    "models",
    "ode",
    "physics",
    "plots",
    "recalibrate",
    "recipes",
    "save",
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


#: Brought on first use only: matplotlib and ipywidgets take their time.
_LATE = {"plots": "show.plots", "recipes": "course.recipes", "widgets": "show.widgets"}


def __getattr__(name: str) -> _Any:
    if name in _LATE:
        return _import_module(f"mamlkit.{_LATE[name]}")
    raise AttributeError(f"module 'mamlkit' has no attribute {name!r}")
