"""The named variants: arguments of one loop, not loops of their own."""

from __future__ import annotations

from typing import Any

from torch import nn

from mamlkit.learners.maml import MAML


def FOMAML(model: nn.Module, inner_lr: float = 0.01, inner_steps: int = 1, **settings: Any) -> MAML:
    """First-order MAML (Finn et al. 2017, section 5.2): ``MAML(..., first_order=True)``."""
    return MAML(model, inner_lr, inner_steps, **{"first_order": True, **settings})


def ANIL(model: nn.Module, inner_lr: float = 0.01, inner_steps: int = 1, **settings: Any) -> MAML:
    """Almost no inner loop (Raghu et al. 2020, arXiv:1909.09157): ``MAML(..., adapt="head")``."""
    return MAML(model, inner_lr, inner_steps, **{"adapt": "head", **settings})


def MetaSGD(
    model: nn.Module, inner_lr: float = 0.01, inner_steps: int = 1, **settings: Any
) -> MAML:
    """Meta-SGD (Li et al. 2017, arXiv:1707.09835): ``MAML(..., learn_lr="element")``. Step sizes
    may turn negative, as in the paper; ``positive_lr=True`` forbids it.
    """
    return MAML(model, inner_lr, inner_steps, **{"learn_lr": "element", **settings})
