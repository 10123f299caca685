"""The named variants: arguments of one loop, not loops of their own."""

from __future__ import annotations

from typing import Any

from torch import nn

from mamlkit.learners.maml import MAML
from mamlkit.models import LowRank


def FOMAML(model: nn.Module, inner_lr: float = 0.01, inner_steps: int = 1, **settings: Any) -> MAML:
    """First-order MAML (Finn et al. 2017, section 5.2): ``MAML(..., first_order=True)``.
    Taught in notebook 02.
    """
    return MAML(model, inner_lr, inner_steps, **{"first_order": True, **settings})


def ANIL(model: nn.Module, inner_lr: float = 0.01, inner_steps: int = 1, **settings: Any) -> MAML:
    """Almost no inner loop (Raghu et al. 2020, arXiv:1909.09157): ``MAML(..., adapt="head")``.
    Taught in notebook 06.
    """
    return MAML(model, inner_lr, inner_steps, **{"adapt": "head", **settings})


def MetaSGD(
    model: nn.Module, inner_lr: float = 0.01, inner_steps: int = 1, **settings: Any
) -> MAML:
    """Meta-SGD (Li et al. 2017, arXiv:1707.09835): ``MAML(..., learn_lr="element")``. Step sizes
    may turn negative, as in the paper; ``positive_lr=True`` forbids it.
    Taught in notebook 06.
    """
    return MAML(model, inner_lr, inner_steps, **{"learn_lr": "element", **settings})


def MAMLPlusPlus(
    model: nn.Module,
    inner_lr: float = 0.01,
    inner_steps: int = 5,
    *,
    anneal: int = 1000,
    second_order_from: int = 1000,
    **settings: Any,
) -> MAML:
    """MAML++ (Antoniou et al. 2019, arXiv:1810.09502): a step size learned per tensor and inner
    step, the query loss after every step with weights annealed to the last, and first order before
    second. ``anneal`` and ``second_order_from`` are outer iterations; take a tenth to a third of
    the whole training. (A run that ends before them stays first order.) Train it with
    ``schedule="cosine"``, as the paper does.
    Taught in notebook 06.
    """
    ours = {"learn_lr": "step", "anneal": anneal, "second_order_from": second_order_from}
    return MAML(model, inner_lr, inner_steps, **{**ours, **settings})


def CAVIA(model: nn.Module, inner_lr: float = 1.0, inner_steps: int = 1, **settings: Any) -> MAML:
    """CAVIA (Zintgraf et al. 2019, arXiv:1810.03642): a context vector is adapted from zero, the
    weights are shared: ``MAML(..., adapt="context")``, with a model that has a context, such as
    ``mk.models.MLP(1, 1, context=2)``.
    Taught in notebook 06.
    """
    return MAML(model, inner_lr, inner_steps, **{"adapt": "context", **settings})


def CoDA(
    model: nn.Module,
    inner_lr: float = 0.1,
    inner_steps: int = 1,
    *,
    context: int = 2,
    seed: int = 0,
    **settings: Any,
) -> MAML:
    """As CoDA does (Kirchmeyer et al. 2022, arXiv:2202.01889): weights = shared + a linear map of a
    small context, which alone is adapted. ``CAVIA(mk.models.LowRank(model, context))``; the paper's
    penalties on the map and the context are left to you (``penalty``).
    Taught in notebook 06.
    """
    return CAVIA(LowRank(model, context, seed), inner_lr, inner_steps, **settings)
