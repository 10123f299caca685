"""Numbers of order one: the scales of a table, found on training systems, and their undoing."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from mamlkit.errors import MamlkitError
from mamlkit.tasks.base import Data, Readings, TaskBatch, weighted
from mamlkit.tasks.table import Table


@dataclass(frozen=True)
class Scales:
    """A shift and a width for each column, of logarithms where that is asked for: inside, numbers
    have mean 0 and standard deviation 1 over the readings they were found on.

    ``x [2, d_in]`` and ``y [2, d_out]`` hold middle and width of each column; ``log_x`` and
    ``log_y`` say of which columns the logarithm is taken, by place; ``weight``, ``[1]`` or
    ``[d_out]``, is that of a usual reading, which has weight 1 inside, and None where there are no
    error bars.
    """

    x: Tensor
    y: Tensor
    log_x: tuple[int, ...] = ()
    log_y: tuple[int, ...] = ()
    weight: Tensor | None = None

    @classmethod
    def of(cls, table: Table, log: Sequence[str] = ()) -> Self:
        """The scales of all readings of a table's members.

        Args:
            table: the *training* systems alone.
            log: columns whose logarithms are taken.

        Raises:
            MamlkitError: for a column that is not there, or holds what has no logarithm.
        """
        if lost := [name for name in log if name not in table.input_names + table.output_names]:
            raise MamlkitError(
                f"log={list(log)} speaks of {lost[0]!r}; the columns are "
                f"{[*table.input_names, *table.output_names]}."
            )
        log_x, log_y = (
            tuple(i for i, name in enumerate(names) if name in log)
            for names in (table.input_names, table.output_names)
        )
        for part, columns, names in (
            (table.readings.x, log_x, table.input_names),
            (table.readings.y, log_y, table.output_names),
        ):
            for i in columns:
                if bool((bad := (part[..., i] <= 0).any(1)).any()):
                    system = table.names[int(bad.nonzero()[0])]
                    raise MamlkitError(
                        f"the logarithm of {names[i]!r} was asked for, but system {system!r} has "
                        f"{float(part[..., i].min()):g} there, which has none."
                    )
        x, y, weight = table.every_reading()
        there = (weight > 0).any(-1)
        scales = cls(_moments(x[there], log_x), _moments(y[there], log_y), log_x, log_y)
        if not table.error_bars:
            return scales
        return replace(scales, weight=scales._of_logs(weight, y)[there].median(0).values)

    def inside(self, points: Data | Readings) -> Readings:
        """Points in order one, with their weights."""
        x, y, weight = weighted(points)
        if self.weight is not None:
            weight = self._of_logs(weight, y) / self.weight.to(weight)
        # Padding may have no logarithm.
        return Readings(self.x_inside(x), self.y_inside(y).where(weight > 0, 0.0), weight)

    def _of_logs(self, weight: Tensor, y: Tensor) -> Tensor:
        """An error bar s of y is an error bar s / y of its logarithm."""
        if not self.log_y:
            return weight
        return weight * torch.where(_columns(self.log_y, y), y, 1.0) ** 2

    def batch(self, batch: TaskBatch) -> TaskBatch:
        """Support and query in order one."""
        return batch._replace(support=self.inside(batch.support), query=self.inside(batch.query))

    def x_inside(self, x: Tensor) -> Tensor:
        """Inputs ``[.., d_in]`` in order one."""
        return _inside(x, self.x, self.log_x)

    def y_inside(self, y: Tensor) -> Tensor:
        """Outputs ``[.., d_out]`` in order one."""
        return _inside(y, self.y, self.log_y)

    def y_outside(self, y: Tensor) -> Tensor:
        """Outputs in their own units again."""
        y = y * self.y[1].to(y) + self.y[0].to(y)
        return _at(y, self.log_y, torch.exp)

    def table(self, table: Table) -> Table:
        """The same table in order one."""
        other = copy.copy(table)
        other.readings = self.inside(table.readings)
        x = other.readings.x[..., 0]
        other.x_range = (
            float(x.min()),
            float(x.max()) if x.max() > x.min() else float(x.min()) + 1,
        )
        return other


def _columns(chosen: tuple[int, ...], like: Tensor) -> Tensor:
    return torch.tensor([i in chosen for i in range(like.shape[-1])])


def _inside(values: Tensor, scale: Tensor, log: tuple[int, ...]) -> Tensor:
    middle, width = scale.to(values)
    return (_at(values, log, torch.log) - middle) / width


def _at(values: Tensor, columns: tuple[int, ...], function: Callable[[Tensor], Tensor]) -> Tensor:
    """The values, with ``function`` of those in some columns."""
    if not columns:
        return values
    parts = enumerate(values.unbind(-1))
    return torch.stack([function(part) if i in columns else part for i, part in parts], dim=-1)


def _moments(values: Tensor, log: tuple[int, ...]) -> Tensor:
    values = _at(values, log, torch.log)  # [n, d]
    width = values.std(0, correction=0)
    return torch.stack([values.mean(0), width.where(width > 0, 1.0)])
