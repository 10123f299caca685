"""How a learner adapts. ``maml.py`` is the heart and reads as the maths."""

from mamlkit.learners.base import Adapted, Episodes, Learner
from mamlkit.learners.bayes import BayesianHead
from mamlkit.learners.beliefs import (
    AdaptedGaussian,
    Belief,
    Gaussian,
    gaussian_nll,
    where_next,
)
from mamlkit.learners.ensemble import Ensemble
from mamlkit.learners.heads import ClassifierHead, ClosedForm, RidgeHead
from mamlkit.learners.implicit import ImplicitMAML
from mamlkit.learners.in_context import CNP
from mamlkit.learners.maml import MAML, inner_loop
from mamlkit.learners.meta import MetaLearner
from mamlkit.learners.multistart import Multistart
from mamlkit.learners.online import (
    LinearPrior,
    Online,
    OnlineHead,
    OnlineSteps,
    OnlineWindow,
    Restart,
)
from mamlkit.learners.presets import ANIL, CAVIA, FOMAML, CoDA, MAMLPlusPlus, MetaSGD
from mamlkit.learners.prototypes import Prototypes
from mamlkit.learners.quantise import Quantised
from mamlkit.learners.reptile import Reptile
from mamlkit.learners.rules import Rule, adam, chain, clip, momentum
from mamlkit.learners.scaled import Scaled
from mamlkit.learners.specialists import Specialists

__all__ = [
    "ANIL",
    "CAVIA",
    "CNP",
    "FOMAML",
    "MAML",
    "Adapted",
    "AdaptedGaussian",
    "BayesianHead",
    "Belief",
    "ClassifierHead",
    "ClosedForm",
    "CoDA",
    "Ensemble",
    "Episodes",
    "Gaussian",
    "ImplicitMAML",
    "Learner",
    "LinearPrior",
    "MAMLPlusPlus",
    "MetaLearner",
    "MetaSGD",
    "Multistart",
    "Online",
    "OnlineHead",
    "OnlineSteps",
    "OnlineWindow",
    "Prototypes",
    "Quantised",
    "Reptile",
    "Restart",
    "RidgeHead",
    "Rule",
    "Scaled",
    "Specialists",
    "adam",
    "chain",
    "clip",
    "gaussian_nll",
    "inner_loop",
    "momentum",
    "where_next",
]
