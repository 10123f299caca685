"""What every learner offers, and weights by name or as one row of numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.func import functional_call

from mamlkit.checks import Remade, as_points
from mamlkit.learners.vectorise import Way, going
from mamlkit.losses import Predict
from mamlkit.tasks.base import TaskBatch

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


class Adapted(Remade):
    """A learner adapted to one task: call it on ``x [m, d_in]`` to get ``[m, d_out]``.

    Attributes:
        losses: support loss before and after each inner step, ``[steps + 1]``.
        weights: all weights after adaptation, by name.
    """

    way: Way | None = None  # "in turn", where many members cannot be asked at once

    def __init__(self, predict: Predict, weights: Weights, losses: Tensor, model: str) -> None:
        self._predict, self._model, self.weights, self.losses = predict, model, weights, losses

    def __repr__(self) -> str:
        losses = " -> ".join(f"{value:.3g}" for value in self.losses.tolist())
        return f"{type(self).__name__}: {self._model}, support loss step by step: {losses}"

    def __call__(self, x: Tensor) -> Tensor:
        """Predict: ``[m, d_in] -> [m, d_out]``."""
        return self._ask(self._predict, x)

    def _ask(self, question: Any, x: Tensor) -> Any:
        x = as_points("x", x, self.weights)
        with going(self.way) if self.way else nullcontext(), size_hint(self._model, x):
            return question(taken(x, question, next(iter(self.weights.values()))))


@contextmanager
def size_hint(model: str, x: Tensor) -> Iterator[None]:
    """Add to an error that comes out of ``model`` on ``x`` what most often is behind it. The error
    stays what it is: it may be another one, such as that memory is full.
    """
    try:
        yield
    except (RuntimeError, IndexError) as error:
        whole = "" if x.is_floating_point() else f" and type {x.dtype} (real numbers: x.float())"
        error.add_note(
            f"This came from the model ({model}), which was given x of shape {list(x.shape)}{whole}"
            ". If sizes do not fit, check that the model's input size is the family's d_in."
        )
        raise


def run_model(model: nn.Module, weights: Weights, x: Tensor) -> Tensor:
    """``model(x)`` with the given weights; an error carries a hint."""
    with size_hint(type(model).__name__, x):
        return functional_call(model, weights, (x,))


def taken(x: Tensor, run: Callable[[Tensor], Any], like: Tensor) -> Tensor:
    """``x`` as a model can be run on it: whole numbers as they are, such as for an embedding, or as
    real numbers like ``like``.
    """
    if x.is_floating_point():
        return x
    try:
        run(x)
    except Exception:  # torch raises one of several kinds
        return x.to(like)
    return x


def taken_batch(batch: TaskBatch, run: Callable[[Tensor], Any], like: Tensor) -> TaskBatch:
    """As :func:`taken`, for the points of many tasks."""
    x = getattr(batch.support, "x", None)
    if x is None or x.is_floating_point() or not taken(x[0], run, like).is_floating_point():
        return batch
    support, query = (part._replace(x=part.x.to(like)) for part in (batch.support, batch.query))
    return batch._replace(support=support, query=query)


def flatten(weights: Weights) -> Tensor:
    """All numbers of ``weights`` in one row, ``[P]``."""
    return torch.cat([w.reshape(-1) for w in weights.values()])


def unflatten(row: Tensor, like: Weights) -> Weights:
    """A row ``[P]`` of :func:`flatten` as weights again, with the names and shapes of ``like``."""
    parts = torch.split(row, [w.numel() for w in like.values()])
    return {name: p.reshape(w.shape) for (name, w), p in zip(like.items(), parts, strict=True)}
