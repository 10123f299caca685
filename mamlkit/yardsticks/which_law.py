"""Which law made a data set? What who knows the laws would answer: Bayes' rule, and BIC."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from mamlkit.checks import count, number, one_of, remade
from mamlkit.errors import MamlkitError
from mamlkit.learners.bayes import BayesianHead
from mamlkit.losses import Predict
from mamlkit.tasks.laws import KNOWN, LAWS, Shape

#: Grid points for the numbers of a law that do not enter linearly, of none, one and two: the first,
#: a frequency or a place, is the sharper one.
NODES: tuple[tuple[int, ...], ...] = ((), (192,), (80, 16))
CHUNK = 2_000_000  # numbers of a basis that are held at a time


def grid_of(shape: Shape, refine: float = 1.0) -> dict[str, Tensor]:
    """Midpoints of equal cells over the ranges of a law, a uniform prior as a sum: each number by
    name, along an axis of its own before one for readings, ``[nodes, 1]``, or ``[nodes, 1, 1]`` and
    ``[nodes, 1]`` of two. ``refine=2`` makes twice as many for each number.
    """
    grid: dict[str, Tensor] = {}
    for name, nodes in zip(shape.ranges, NODES[len(shape.ranges)], strict=True):
        n, (low, high) = max(1, round(refine * nodes)), shape.ranges[name]
        cells = low + (high - low) * (torch.arange(n, dtype=torch.float64) + 0.5) / n
        grid[name] = cells.reshape(-1, *[1] * (len(shape.ranges) - len(grid)))
    return grid


def log_evidence(shape: Shape, sets: Tensor, noise: float, refine: float = 1.0) -> Tensor:
    """The log evidence of a law for data sets ``[n_sets, n, 2]``, ``[n_sets]``: the mean of the
    evidence over a grid of its numbers.

    For fixed numbers p the law is a Bayesian linear regression: y = B a + noise, a ~ N(0, 1). With
    G = B^T B and c = B^T y, the evidence of a cell is

    log N(y; 0, B B^T + s^2) = -(n log(2 pi s^2) + log det(1 + G/s^2) + y^T y/s^2
    - c^T (1 + G/s^2)^-1 c / s^4) / 2.
    """
    n, found = sets.shape[1], []
    for gram, c, total in _moments(shape, sets, refine):
        lower = torch.linalg.cholesky(torch.eye(c.shape[-2], dtype=c.dtype) + gram / noise**2)
        half = torch.linalg.solve_triangular(lower, c, upper=False)[..., 0]
        log_det = 2 * lower.diagonal(dim1=-2, dim2=-1).log().sum(-1)  # [m, cells]
        square = (total - half.square().sum(-1) / noise**2) / noise**2
        of_cell = -(n * math.log(2 * math.pi * noise**2) + log_det + square) / 2
        found.append(of_cell.logsumexp(-1) - math.log(of_cell.shape[1]))
    return torch.cat(found)


def least_squares(shape: Shape, sets: Tensor, refine: float = 1.0) -> Tensor:
    """The sum of squares that the best fit of a law leaves of data sets ``[n_sets, n, 2]``,
    ``[n_sets]``: the least of y^T y - c^T G^-1 c over the grid, as in :func:`log_evidence`.
    """
    found = []
    for gram, c, total in _moments(shape, sets, refine):
        # A little of 1, so that a basis that vanishes on all points can be solved for.
        lower = torch.linalg.cholesky(gram + 1e-9 * torch.eye(c.shape[-2], dtype=c.dtype))
        half = torch.linalg.solve_triangular(lower, c, upper=False)[..., 0]
        found.append((total - half.square().sum(-1)).min(-1).values.clamp(min=0.0))
    return torch.cat(found)


def _moments(shape: Shape, sets: Tensor, refine: float) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """G ``[m, cells, k, k]``, c ``[m, cells, k, 1]`` and y^T y ``[m, 1]``, some sets at a time."""
    grid = grid_of(shape, refine)
    cells = math.prod(len(values) for values in grid.values())
    size = max(1, CHUNK // (cells * sets.shape[1] * shape.amplitudes()))
    for i in range(0, len(sets), size):
        x, y = sets[i : i + size].double().unbind(-1)  # [m, n] each
        # What one number alone moves is computed once for all values of the other.
        basis = shape.basis(x.reshape(-1, *[1] * len(grid), x.shape[1]), **grid)
        b = torch.stack(basis, dim=-2).reshape(len(x), cells, -1, x.shape[1])  # [m, cells, k, n]
        yield b @ b.mT, b @ y[:, None, :, None], y.square().sum(-1)[:, None]


def log_residuals(
    sets: Tensor, laws: Sequence[str] = KNOWN, noise: float = 0.1, refine: float = 1.0
) -> Tensor:
    """What is left of data sets ``[n_sets, n, 2]`` by the best fit of each law, on a grid so many
    times finer: log10 of the mean square, in units of that of the noise and not below .1 of it,
    ``[n_sets, laws]``.
    """
    left = [least_squares(LAWS[one_of("law", law, LAWS)], sets, refine) for law in laws]
    return (torch.stack(left, 1) / sets.shape[1] / noise**2).clamp(min=0.1).log10()


class KnownLaws:
    """Who knows the formulas and the noise: which of these laws made a data set? It needs no
    examples.

    By "evidence" the score of a law is log p(data | law), its amplitudes integrated in closed form
    and its other numbers by a sum over a grid. Where the laws are equally frequent and their
    numbers lie as :data:`mamlkit.tasks.laws.LAWS` says, the softmax of the scores is the exact
    posterior, and no classifier errs less often. By "bic" it is -BIC/2, with BIC = squares /
    noise^2 + k log n (Schwarz 1978, Annals of Statistics 6, 461): the best fit, with k numbers
    fitted to n readings; a curve's prior is not used.

    Args:
        laws: names out of :data:`mamlkit.tasks.laws.LAWS`; label c is the c-th.
        noise: standard deviation of a reading.
        by: "evidence" or "bic".
        spread: standard deviation of an amplitude.
        refine: how many times finer the grid shall be.
    """

    def __init__(
        self,
        laws: Sequence[str] = KNOWN,
        noise: float = 0.1,
        by: str = "evidence",
        spread: float = 1.0,
        refine: float = 1.0,
    ) -> None:
        self.laws = [one_of("law", law, LAWS) for law in laws]
        self.noise = number("noise", noise, positive=True)
        self.spread = number("spread", spread, positive=True)
        self.by, self.refine = one_of("by", by, ("evidence", "bic")), number("refine", refine)
        count("the number of laws", len(self.laws), least=2)

    @remade
    def adapt(self, x: Any = None, y: Tensor | None = None) -> Predict:
        """Ignore the examples; the prediction takes sets ``[m, n, 2]`` to scores ``[m, laws]``."""
        return self.scores

    def scores(self, sets: Tensor) -> Tensor:
        """The score of each law, ``[m, n, 2] -> [m, laws]``."""
        check_sets(sets)
        found = []
        unit = torch.tensor([1.0, self.spread], dtype=torch.float64)
        for law in self.laws:  # in units of an amplitude; that moves all evidences alike
            shape, noise = LAWS[law], self.noise / self.spread
            if self.by == "evidence":
                found.append(log_evidence(shape, sets / unit, noise, self.refine))
                continue
            k = shape.amplitudes() + len(shape.ranges)
            squares = least_squares(shape, sets / unit, self.refine)
            found.append(-(squares / noise**2 + k * math.log(sets.shape[1])) / 2)
        return torch.stack(found, 1).to(sets)


class ByEvidence:
    """One Bayesian head a law, each meta-trained on tasks of its own: a data set belongs to the
    head whose prior foretells it best (:meth:`mamlkit.BayesianHead.evidence`).

    Args:
        heads: in the order of the labels; of one input and one output.
    """

    def __init__(self, heads: Sequence[BayesianHead]) -> None:
        self.heads = list(heads)
        if len(self.heads) < 2 or not all(isinstance(h, BayesianHead) for h in self.heads):
            raise MamlkitError(
                "ByEvidence compares mk.BayesianHead learners, two or more, one a class; give them "
                "as a list in the order of the labels."
            )

    @remade
    def adapt(self, x: Any = None, y: Tensor | None = None) -> Predict:
        """Ignore the examples; the prediction takes sets ``[m, n, 2]`` to scores ``[m, heads]``."""
        return self.scores

    @torch.no_grad()
    def scores(self, sets: Tensor) -> Tensor:
        """The log evidence of each head, ``[m, n, 2] -> [m, heads]``."""
        check_sets(sets)
        found = [head.evidence(sets[..., :1], sets[..., 1:]) for head in self.heads]
        return torch.stack(found, 1).to(sets)


def check_sets(sets: Tensor) -> None:
    """Refuse what is no data sets of one variable, ``[m, n, 2]``."""
    if sets.ndim != 3 or sets.shape[-1] != 2 or not sets.shape[1]:
        raise MamlkitError(
            f"x has shape {list(sets.shape)}; the points here are data sets of one variable, "
            "[m, n, 2], each row a place and a reading."
        )
