"""The outer loop: plans, training, checkpoints, one run in several processes."""

from mamlkit.training.loop import History, Plan, meta_train
from mamlkit.training.saved import load, load_learner, save, save_learner

__all__ = ["History", "Plan", "load", "load_learner", "meta_train", "save", "save_learner"]
