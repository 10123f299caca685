"""Checks of what learners are given: the support of a task, batches, models and settings."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from numbers import Real
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from mamlkit.checks import as_points, as_tensor, count, load_torch, number
from mamlkit.errors import MamlkitError, MamlkitWarning
from mamlkit.learners.base import Weights
from mamlkit.losses import Predict
from mamlkit.tasks.base import Data, Readings, TaskBatch, check_finite


def as_numbers(x: Any, y: Tensor | None, least: int = 1) -> Readings:
    """Check the points of one regression task, at least so many, and bring them to one
    floating-point type; each weighs 1 if it came without a weight.
    """
    data = as_data(x, y)
    if not (hasattr(data, "x") and hasattr(data, "y")):
        raise MamlkitError(
            f"this yardstick fits points (x, y), but the data are {type(data).__name__} with "
            f"{data._fields}."
        )
    if not isinstance(data, Readings):
        x, y = as_data(data.x, data.y)
        data = Readings(x, y, torch.ones(len(y), 1, device=y.device))
    if data.y.ndim < 2:
        raise MamlkitError(
            f"y has shape {list(data.y.shape)}; this yardstick needs numbers [n, d_out]."
        )
    if (n := int((data.weight > 0).any(-1).sum())) < least:
        raise MamlkitError(
            f"this yardstick has no prior, so it needs at least {least} point(s), but {n} were "
            "given; take one with a prior, such as mk.yardsticks.ProbabilisticPCA."
        )
    x, y, weight = data
    x, y = (t if t.is_floating_point() else t.to(torch.get_default_dtype()) for t in (x, y))
    common = torch.promote_types(x.dtype, y.dtype)
    return Readings(x.to(common), y.to(common), weight.to(common))


def as_data(x: Any, y: Any, like: Weights | None = None) -> Any:
    """Check one task's support, ``(x, y)`` or a NamedTuple, and move it to ``like``."""
    if y is None and not hasattr(x, "_fields"):
        raise MamlkitError(
            f"adapt() was given x of type {type(x).__name__} and no y; call adapt(x, y), or "
            "adapt(data) with a NamedTuple of tensors."
        )
    data = x if y is None else Data(x, y)
    if not isinstance(data, Data | Readings):
        pairs = zip(data._fields, data, strict=True)
        return type(data)(*(as_tensor(name, value, like) for name, value in pairs))
    x, y = as_points("x", data.x, like, least=0), as_points("y", data.y, like, least=0)
    if len(x) != len(y):
        raise MamlkitError(f"x has {len(x)} points and y has {len(y)}; they must be pairs.")
    if isinstance(data, Data):
        return Data(x, y)
    weight = as_tensor("weight", data.weight, like)
    if weight.shape not in ((len(y), 1), y.shape) or not bool((weight >= 0).all()):
        raise MamlkitError(
            f"weight has shape {list(weight.shape)} for {len(y)} points; it must hold numbers "
            ">= 0, [n, 1] or as y: 1 over the square of the error bar, or 0 for padding."
        )
    return Readings(x, y, weight)


def check_model(model: Any) -> None:
    """Refuse what cannot be meta-learned, before any work is done."""
    load_torch()
    if not isinstance(model, nn.Module):
        raise MamlkitError(
            f"model must be a torch.nn.Module, but {type(model).__name__} was given; "
            "for example mk.models.MLP(1, 1)."
        )
    if hasattr(model, "query_losses"):
        raise MamlkitError(
            f"model is itself a learner ({type(model).__name__}); give the network in it, such as "
            "learner.model."
        )
    for name, module in model.named_modules():
        kind = type(module).__name__
        if getattr(module, "track_running_stats", False):
            raise MamlkitError(
                f"layer {name!r} is {kind} with running statistics, which mix tasks; use GroupNorm "
                "or LayerNorm."
            )
        own = isinstance(module, nn.modules.dropout._DropoutNd)
        within = isinstance(module, nn.RNNBase | nn.MultiheadAttention)
        setting = "p" if own else "dropout"
        if (own or within) and getattr(module, setting) > 0:
            raise MamlkitError(
                f"layer {name!r} is {kind}({setting}={getattr(module, setting)}), whose random "
                f"numbers differ between inner steps; remove it or set {setting}=0."
            )
        if "quantized" in type(module).__module__.split("."):
            raise MamlkitError(
                f"layer {name!r} is {kind}: quantised weights are whole numbers and have no "
                "gradient; give the model as it was before."
            )
    parameters = list(model.parameters())
    if not parameters:
        raise MamlkitError(f"model ({type(model).__name__}) has no parameters to learn.")
    if any(isinstance(p, nn.parameter.UninitializedParameter) for p in parameters):
        raise MamlkitError(
            f"model ({type(model).__name__}) has lazy layers without a size yet; run it once on "
            "some input first."
        )


def check_batch(batch: Any, like: Weights) -> None:
    """Check that ``batch`` is a TaskBatch whose leaves agree in tasks, type and device."""
    if not isinstance(batch, TaskBatch):
        raise MamlkitError(
            f"batch must be a TaskBatch, but {type(batch).__name__} was given; "
            "get one from family.sample(n_tasks, shots)."
        )
    leaves = [*batch.support, *batch.query]
    if any(not isinstance(leaf, Tensor) or leaf.ndim == 0 for leaf in leaves):
        raise MamlkitError("support and query must be NamedTuples of tensors with a task axis.")
    sizes = sorted({len(leaf) for leaf in leaves})
    if len(sizes) > 1 or sizes[0] == 0:
        raise MamlkitError(
            f"support and query hold {sizes} tasks along their first axes; every tensor needs the "
            "same number, at least one."
        )
    first = next(iter(like.values()))
    for leaf in leaves:
        dtype = leaf.dtype if leaf.is_floating_point() else first.dtype  # labels stay whole
        if (dtype, leaf.device) != (first.dtype, first.device):
            raise MamlkitError(
                f"batch is {leaf.dtype} on {leaf.device}, the learner {first.dtype} on "
                f"{first.device}; sample with dtype={first.dtype}, device={str(first.device)!r}."
            )
    if torch._C._functorch.peek_interpreter_stack() is None:  # inside vmap values cannot be seen
        check_finite("the batch holds", batch)


def check_size(model: nn.Module, x: Tensor) -> None:
    """Refuse points that a plain torch model cannot take. (Models of ours look for themselves.)"""
    first = model
    while type(first) is nn.Sequential and len(first):
        first = first[0]
    if type(first) is nn.Linear and x.shape[-1] != first.in_features:
        raise MamlkitError(
            f"the model ({type(model).__name__}) cannot take x of shape {list(x.shape)}: its first "
            f"layer takes {first.in_features} numbers. Check that the model's input size is the "
            "family's d_in."
        )


def check_reached(learner: Any, batch: TaskBatch) -> None:
    """Look on one task whether what learns is reached by the gradient of the loss. ``grad`` gives
    zeros where a model has cut itself off, as by ``.detach()``, and nobody would notice.
    """
    stacked = hasattr(learner, "members")
    learner = learner.learner if stacked else learner
    if not hasattr(learner, "network"):  # of the reader's own
        return
    support, network = batch.task(0).support, learner.network()
    weights = {name: p[0] if stacked else p for name, p in network.named_parameters()}
    adapted = getattr(learner, "adapted", ())
    if adapted:
        reached = reached_by(network, weights, lambda predict: learner.judge(predict, support))
    elif hasattr(support, "x"):  # features for a head
        reached = reached_by(network, weights, lambda predict: predict(support.x).sum())
    else:
        return
    learn = [name for name, p in network.named_parameters() if p.requires_grad or name in adapted]
    moved, model = adapted or learn, type(network).__name__
    if moved and not reached & {*moved}:
        raise MamlkitError(
            f"the loss does not depend on {', '.join(moved)} of the model ({model}), so nothing "
            "would adapt; look for .detach(), .item(), numpy, torch.no_grad() or torch.tensor() in "
            "the model and the loss."
        )
    # The constant of an energy falls out of its slope, and with it the bias of the last layer.
    layers = {name.rpartition(".")[0] for name in reached}
    lost = [name for name in learn if name not in reached]
    lost = [n for n in lost if not (n.endswith(".bias") and n.rpartition(".")[0] in layers)]
    if lost:
        warnings.warn(
            f"the loss does not depend on {', '.join(lost)} of the model ({model}), so they stay "
            "as they are. If that is not meant, look for .detach() or torch.no_grad() in the "
            "model; if it is, give them requires_grad=False.",
            MamlkitWarning,
            stacklevel=2,
        )


def reached_by(
    network: nn.Module, weights: Weights, measure: Callable[[Predict], Tensor]
) -> set[str]:
    """Names of the ``weights`` of ``network`` that the gradient of ``measure(predict)`` reaches,
    be it zero.
    """
    with torch.enable_grad():
        leaves = {name: w.detach().requires_grad_() for name, w in weights.items()}
        value = measure(lambda x: functional_call(network, leaves, (x,)))
        if not value.requires_grad:
            return set()
        slopes = torch.autograd.grad(value, list(leaves.values()), allow_unused=True)
    return {name for name, slope in zip(leaves, slopes, strict=True) if slope is not None}


def select(model: nn.Module, adapt: str | Sequence[str]) -> tuple[str, ...]:
    """Names of the parameters that ``adapt`` means; a name that is not there is an error. What is
    frozen (``requires_grad=False``) stays as it is, but for a context.
    """
    named = dict(model.named_parameters())
    contexts = [name for name in named if name.rpartition(".")[2] == "context"]
    names = [name for name, p in named.items() if p.requires_grad or name in contexts]
    if not names:
        raise MamlkitError(
            "every parameter of the model is frozen (requires_grad=False), so there is nothing to "
            "adapt; unfreeze what should adapt."
        )
    if adapt == "all":
        return tuple(names)
    if adapt == "context" and not contexts:
        raise MamlkitError(
            f"adapt='context' needs a parameter called context, but the model has {names}. "
            "Use mk.models.MLP(..., context=2) or mk.models.LowRank(model, context=2)."
        )
    if adapt == "context":
        return tuple(contexts)
    if adapt == "head" and contexts:
        raise MamlkitError(
            "adapt='head' looks for the last layer, but this model has a context, and more "
            "parameters after its layers; use adapt='context', or name what should adapt."
        )
    if adapt == "head":
        module = list(named)[-1].rpartition(".")[0]
        adapt = [name for name in named if name.rpartition(".")[0] == module]
        adapt = [name for name in adapt if name in names] or adapt  # a frozen bias may stay
    patterns = [adapt] if isinstance(adapt, str) else list(adapt)
    frozen = [name for name in named if name not in names]
    for pattern in patterns or [""]:
        if not any(fnmatchcase(name, pattern) for name in names):
            told = f"; frozen (requires_grad=False): {frozen}" if frozen else ""
            raise MamlkitError(
                f"adapt={pattern!r} matches no parameter; the model has {names}{told}. "
                "Give a name, a pattern such as 'layers.1.*', 'all' or 'head'."
            )
    return tuple(n for n in names if any(fnmatchcase(n, pattern) for pattern in patterns))


def as_rates(inner_lr: Any) -> float | tuple[float, ...]:
    """A step size, or one for each inner step."""
    if isinstance(inner_lr, list | tuple):
        return tuple(number("inner_lr", rate) for rate in inner_lr)
    return number("inner_lr", inner_lr)


def check_settings(
    inner_lr: float | Sequence[float],
    inner_steps: int,
    learn_lr: str | None,
    positive_lr: bool,
    step_weights: Sequence[float] | None,
) -> None:
    """Refuse settings that cannot work, in plain words."""
    rates = as_rates(inner_lr)
    count("inner_steps", inner_steps, least=0)
    if isinstance(rates, tuple) and (
        len(rates) != max(inner_steps, 1) or learn_lr not in (None, "step")
    ):
        raise MamlkitError(
            f"inner_lr={inner_lr!r} must hold one step size for each of inner_steps={inner_steps} "
            f"steps, with learn_lr=None or 'step' (given: {learn_lr!r})."
        )
    if learn_lr not in (None, "tensor", "step", "element", "matrix"):
        raise MamlkitError(
            f"learn_lr={learn_lr!r} is not known; use None, 'tensor', 'step', 'element' or "
            "'matrix'."
        )
    if learn_lr == "step" and inner_steps == 0:
        raise MamlkitError(
            "learn_lr='step' learns a rate for each inner step; use inner_steps >= 1."
        )
    zero = 0 in rates if isinstance(rates, tuple) else rates == 0
    if positive_lr and (learn_lr in (None, "matrix") or zero):
        raise MamlkitError(
            "positive_lr=True needs learn_lr='tensor', 'step' or 'element' and inner_lr > 0, but "
            f"learn_lr={learn_lr!r} and inner_lr={inner_lr!r} were given."
        )
    if step_weights is None:
        return
    weights = list(step_weights)
    good = all(isinstance(w, Real) and math.isfinite(w) for w in weights)
    if not good or len(weights) != inner_steps + 1 or not any(weights):
        raise MamlkitError(
            f"step_weights={weights} must hold inner_steps + 1 = {inner_steps + 1} finite "
            "numbers, one for the query loss after each of 0 .. inner_steps steps, not all zero."
        )
