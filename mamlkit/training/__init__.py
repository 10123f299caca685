"""The outer loop: plans, training, checkpoints, one run in several processes."""

from mamlkit.training.checkpoints import load_learner, save_learner
from mamlkit.training.loop import History, Plan, meta_train

__all__ = ["History", "Plan", "load_learner", "meta_train", "save_learner"]
