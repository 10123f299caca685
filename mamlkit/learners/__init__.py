"""How a learner adapts. ``maml.py`` is the heart and reads as the maths."""

from mamlkit.learners.base import Adapted, Episodes, Learner
from mamlkit.learners.maml import MAML, inner_loop
from mamlkit.learners.presets import ANIL, FOMAML, MetaSGD

__all__ = ["ANIL", "FOMAML", "MAML", "Adapted", "Episodes", "Learner", "MetaSGD", "inner_loop"]
