"""What every learner offers, and the checks that turn bad input into plain words."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.func import functional_call

from mamlkit.errors import MamlkitError
from mamlkit.losses import Predict
from mamlkit.tasks.base import Data, TaskBatch

Weights = dict[str, Tensor]


class Learner(Protocol):
    """Anything that adapts to one task: ``adapt(x, y) -> predict``, with ``x [n, d_in]``,
    ``y [n, d_out]`` and ``predict(x_new [m, d_in]) -> [m, d_out]``.
    """

    def adapt(self, x: Tensor, y: Tensor) -> Predict:
        """Adapt to the support points of one task."""
        ...


class Episodes(NamedTuple):
    """Losses of tasks before and after each inner step, ``[n_tasks, steps + 1]`` each."""

    support: Tensor
    query: Tensor


class Adapted:
    """A model adapted to one task: call it on ``x [m, d_in]`` to get ``[m, d_out]``.

    Attributes:
        losses: support loss before and after each inner step, ``[steps + 1]``.
        weights: all weights after adaptation, by name.
    """

    def __init__(self, model: nn.Module, weights: Weights, losses: Tensor) -> None:
        self._model, self.weights, self.losses = model, weights, losses

    def __call__(self, x: Tensor) -> Tensor:
        """Predict: ``[m, d_in] -> [m, d_out]``."""
        return run_model(self._model, self.weights, as_points("x", x, self.weights))


def as_points(name: str, value: Any, like: Weights) -> Tensor:
    """Check points of one task and bring them to the type and device of the weights ``like``."""
    if not isinstance(value, Tensor):
        raise MamlkitError(
            f"{name} must be a torch.Tensor, but {type(value).__name__} was given; "
            f"use torch.as_tensor({name})."
        )
    if value.ndim < 2 and value.is_floating_point():
        raise MamlkitError(
            f"{name} has shape {list(value.shape)}, but points are rows: [n, d]. "
            f"For one number a point use {name}.reshape(-1, 1)."
        )
    if value.shape[0] == 0:
        raise MamlkitError(f"{name} holds no points, shape {list(value.shape)}; give at least one.")
    if not torch.isfinite(value).all():
        bad = int((~torch.isfinite(value)).sum())
        raise MamlkitError(
            f"{name} holds {bad} value(s) that are not finite (nan or inf); remove those points."
        )
    first = next(iter(like.values()))
    return value.to(first.device, first.dtype if value.is_floating_point() else None)


def as_data(x: Any, y: Any, like: Weights) -> Any:
    """Check one task's support, ``(x, y)`` or another NamedTuple, and move it to ``like``."""
    if y is None and not hasattr(x, "_fields"):
        raise MamlkitError(
            f"adapt() was given x of type {type(x).__name__} and no y; call adapt(x, y), or "
            "adapt(data) with a NamedTuple of tensors."
        )
    if y is None:
        return type(x)(*(as_points(f, v, like) for f, v in zip(x._fields, x, strict=True)))
    data = Data(as_points("x", x, like), as_points("y", y, like))
    if len(data.x) != len(data.y):
        raise MamlkitError(
            f"x has {len(data.x)} points and y has {len(data.y)}; they must be pairs."
        )
    return data


def run_model(model: nn.Module, weights: Weights, x: Tensor) -> Tensor:
    """``model(x)`` with the given weights; a size that does not fit is said in plain words."""
    try:
        return functional_call(model, weights, (x,))  # type: ignore[no-any-return]
    except (RuntimeError, IndexError) as error:
        raise MamlkitError(
            f"the model ({type(model).__name__}) cannot take x of shape {list(x.shape)}: {error}. "
            "Check that the model's input size is the family's d_in."
        ) from error


def check_model(model: Any) -> None:
    """Refuse what cannot be meta-learned, before any work is done."""
    if not isinstance(model, nn.Module):
        raise MamlkitError(
            f"model must be a torch.nn.Module, but {type(model).__name__} was given; "
            "for example mk.models.MLP(1, 1)."
        )
    if not any(True for _ in model.parameters()):
        raise MamlkitError(f"model ({type(model).__name__}) has no parameters to learn.")
    for name, module in model.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.track_running_stats:
            raise MamlkitError(
                f"layer {name!r} is {type(module).__name__} with running statistics, which mix "
                "tasks; use GroupNorm or LayerNorm, or track_running_stats=False."
            )
        if isinstance(module, nn.modules.dropout._DropoutNd) and module.p > 0:
            raise MamlkitError(
                f"layer {name!r} is {type(module).__name__}(p={module.p}), whose random numbers "
                "differ between inner steps; remove it or set p=0."
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
        if leaf.is_floating_point() and (leaf.dtype, leaf.device) != (first.dtype, first.device):
            raise MamlkitError(
                f"batch is {leaf.dtype} on {leaf.device}, the learner {first.dtype} on "
                f"{first.device}; sample with dtype={first.dtype}, device={str(first.device)!r}."
            )
