"""Vapour pressure of real fluids: one task is one substance (experiment E10)."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from mamlkit.checks import number, one_of
from mamlkit.errors import MamlkitError
from mamlkit.tasks.base import Family, Physics, TaskBatch

Part = Literal["train", "validation", "test"]


class _Table(NamedTuple):
    names: tuple[str, ...]
    chemical_families: tuple[str, ...]
    splits: dict[str, tuple[str, ...]]  # "substance" and "family" -> the part of each fluid
    constants: Physics  # each [n_fluids]
    x: Tensor  # T/Tc [39]
    y: Tensor  # log10(p/pc) [n_fluids, 39]


@cache
def _table() -> _Table:
    text = files("mamlkit.tasks").joinpath("fluids.csv").read_text(encoding="utf-8")
    head, *rows = csv.reader(line for line in text.splitlines() if not line.startswith("#"))
    columns = dict(zip(head, zip(*rows, strict=True), strict=True))
    grid = head[head.index("0.60") :]

    def numbers(name: str) -> Tensor:
        return torch.tensor([float(v) for v in columns[name]], dtype=torch.float64)

    return _Table(
        names=columns["name"],
        chemical_families=columns["chemical_family"],
        splits={"substance": columns["split"], "family": columns["family_split"]},
        constants={
            "critical_temperature": numbers("Tc"),
            "critical_pressure": numbers("pc"),
            "acentric_factor": numbers("acentric_factor"),
            "fluid": torch.arange(len(rows)),
        },
        x=torch.tensor([float(t) for t in grid], dtype=torch.float64),
        y=torch.stack([numbers(t) for t in grid], dim=1),
    )


class VapourPressure(Family):
    """Saturation curves of 127 fluids: x = T/Tc in 0.60..0.98 (39 points), y = log10(p/pc).

    The values are CoolProp's reference correlations (Bell et al. 2014, doi:10.1021/ie4033999;
    table and its making: ``tests/tasks/fluid_table.py``), not raw measurements. A finite family:
    :meth:`split` gives the training, validation or test fluids. ``physics`` carries
    ``critical_temperature`` (K), ``critical_pressure`` (Pa), ``acentric_factor`` and ``fluid``,
    the index into :attr:`names`.
    Taught in notebook 00.

    Args:
        at: measure the support at this T/Tc, or at these (one per shot), instead of at random grid
            points.
        noise: relative standard deviation of a measured pressure; 0.01 is one percent.
        split_by: "substance" holds out single substances (76 / 19 / 32), "family" whole chemical
            families (77 / 19 / 31).
    """

    x_range = (0.60, 0.98)
    x_label = "reduced temperature T/Tc"
    y_label = "log10(p/pc)"
    pool = 39

    def __init__(
        self,
        at: float | Sequence[float] | None = None,
        noise: float = 0.0,
        split_by: Literal["substance", "family"] = "substance",
    ) -> None:
        table = _table()
        if number("noise", noise) >= 1:
            raise MamlkitError(f"noise is relative, such as 0.01 for one percent; got {noise!r}.")
        places = [at] if isinstance(at, int | float) else at
        self.at = None if places is None else [self._grid_index(float(t)) for t in places]
        if self.at is not None and (not self.at or len(set(self.at)) != len(self.at)):
            raise MamlkitError(
                f"at={at!r} names no temperature, or one twice; name each once, or leave at out to "
                "measure at random places."
            )
        self.noise = noise / math.log(10)  # of log10(p), to first order
        self.split_by = one_of("split_by", split_by, table.splits)
        self.constants, part_of = table.constants, table.splits[split_by]
        self.parts = {
            part: [i for i, mine in enumerate(part_of) if mine == part]
            for part in ("train", "validation", "test")
        }

    @property
    def names(self) -> tuple[str, ...]:
        """CoolProp's names of all fluids in the table; ``physics["fluid"]`` points into it."""
        return _table().names

    @property
    def chemical_families(self) -> tuple[str, ...]:
        """The chemical family of each fluid in :attr:`names`."""
        return _table().chemical_families

    def name_of(self, physics: Mapping[str, Any]) -> str:
        """CoolProp's name of a fluid."""
        return self.names[int(physics["fluid"])]

    def law(self, x: Tensor, physics: Physics) -> Tensor:
        """log10(p/pc) at the tabulated T/Tc nearest to ``x``; ``[n_tasks, n, 1]``."""
        table = _table()
        nearest = (x - table.x).abs().argmin(dim=-1, keepdim=True)  # [n_tasks, n, 1]
        return table.y[physics["fluid"].long(), nearest]

    def inputs(self, n_tasks: int, n: int, generator: torch.Generator) -> Tensor:
        """Different T/Tc of the table, those of ``at`` first: float64 ``[n_tasks, n, 1]``."""
        x = _table().x
        key = torch.rand(n_tasks, len(x), generator=generator, dtype=torch.float64)
        if self.at is not None:
            key[:, self.at] = torch.arange(-len(self.at), 0, dtype=torch.float64)
        return x[key.argsort(dim=1)[:, :n]][:, :, None]

    def measure(
        self, physics: Physics, shots: int, queries: int, generator: torch.Generator
    ) -> TaskBatch:
        """Points of the curves, each at most once."""
        if self.at is not None and shots not in (0, len(self.at)):
            raise MamlkitError(
                f"shots={shots}, but this family measures at the {len(self.at)} temperature(s) "
                f"given as at=...; use shots={len(self.at)} or change at."
            )
        return super().measure(physics, shots, queries, generator)

    def _grid(self, points: int) -> Tensor:
        """The grid of the table, whatever is asked for."""
        return _table().x[:, None]

    def _grid_index(self, temperature: float) -> int:
        x = _table().x
        index = int((x - temperature).abs().argmin())
        if abs(float(x[index]) - temperature) > 1e-6:
            raise MamlkitError(
                f"at={temperature!r} is not in the table: T/Tc runs from 0.60 to 0.98 in steps "
                "of 0.01."
            )
        return index
