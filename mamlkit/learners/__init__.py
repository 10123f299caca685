"""How a learner adapts. ``maml.py`` is the heart and reads as the maths."""

from mamlkit.learners.base import Adapted, Episodes, Learner
from mamlkit.learners.maml import MAML, inner_loop
from mamlkit.learners.meta import MetaLearner
from mamlkit.learners.presets import ANIL, CAVIA, FOMAML, CoDA, MAMLPlusPlus, MetaSGD
from mamlkit.learners.rules import Rule, adam, chain, clip, momentum

__all__ = [
    "ANIL",
    "CAVIA",
    "FOMAML",
    "MAML",
    "Adapted",
    "CoDA",
    "Episodes",
    "Learner",
    "MAMLPlusPlus",
    "MetaLearner",
    "MetaSGD",
    "Rule",
    "adam",
    "chain",
    "clip",
    "inner_loop",
    "momentum",
]
