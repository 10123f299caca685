"""Learners whose numbers lie on coarse grids: whole numbers of a few bits, and a scale a row."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from mamlkit.checks import count, one_of, remade
from mamlkit.errors import MamlkitError
from mamlkit.learners.base import Adapted
from mamlkit.learners.meta import LearnedStart
from mamlkit.models import copied


def grid_of(weight: Tensor, bits: int = 8) -> Tensor:
    """The spacing of a grid for each row of a matrix, or for a vector as one row, ``[rows, 1]``:
    the largest entry of a row is ``2^(bits - 1) - 1`` spacings from zero.
    """
    rows = _rows(weight.detach().abs())
    spacing = rows.amax(1, keepdim=True) / (2 ** (bits - 1) - 1)
    return spacing.where(spacing > 0, 1.0)


def whole(weight: Tensor, spacing: Tensor, bits: int = 8) -> Tensor:
    """The whole numbers of a weight on a grid, ``[rows, n]``; what lies beyond its end is put on
    the end.
    """
    most = 2 ** (bits - 1) - 1
    return (_rows(weight) / spacing).round().clamp(-most, most)


def _rows(weight: Tensor) -> Tensor:
    return weight.reshape(len(weight) if weight.ndim > 1 else 1, -1)


class Quantised:
    """A learner that keeps whole numbers: its start and step sizes, and the weights that it has
    adapted. Computes in real numbers in between.

    A step changes the range of the weights. On the grid of the start, what has grown saturates;
    on a grid of their own, found anew for each task, adapted weights lose no more than the start.
    Taught in notebook 20.

    Args:
        learner: a gradient learner, such as :class:`mamlkit.MAML`; copied.
        bits: of a whole number, 2 to 16.
        grid: "own" or "start", for the adapted weights.

    Attributes:
        learner: the learner with rounded start and steps.
        size: bytes of what is kept: a whole number for each parameter (of 4 bits, two in a byte),
            and a scale of 4 bytes a row.
    """

    def __init__(
        self, learner: LearnedStart, bits: int = 8, grid: Literal["own", "start"] = "own"
    ) -> None:
        if not isinstance(learner, LearnedStart):
            raise MamlkitError(
                f"Quantised rounds a start and steps, which {type(learner).__name__} has not; use "
                "MAML, MetaSGD, ANIL, CAVIA or another learner of a start."
            )
        self.bits, self.grid = count("bits", bits, least=2), one_of("grid", grid, ("own", "start"))
        self.learner, self.size = copied(learner), 0
        with torch.no_grad():
            for p in self.learner.parameters():
                spacing = grid_of(p, bits)
                p.copy_((spacing * whole(p, spacing, bits)).reshape(p.shape))
                self.size += (p.numel() * bits + 7) // 8 + 4 * spacing.numel()
        self.start = {name: grid_of(w, bits) for name, w in self.learner.start().items()}

    @remade
    def adapt(self, x: Any, y: Tensor | None = None) -> Adapted:
        """Adapt, and put what was adapted on its grid."""
        adapted = self.learner.adapt(x, y)
        theta = {}
        for name in self.learner.adapted:
            w = adapted.weights[name]
            spacing = self.start[name] if self.grid == "start" else grid_of(w, self.bits)
            theta[name] = (spacing * whole(w, spacing, self.bits)).reshape(w.shape)
        model, frozen = type(self.learner.model).__name__, copied(self.learner)
        predict = frozen.requires_grad_(False).predictor(theta)
        return Adapted(predict, {**adapted.weights, **theta}, adapted.losses, model)
