"""Vapour pressure of real fluids: one task is one substance (experiment E10)."""

from __future__ import annotations

import copy
import csv
import math
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Literal, NamedTuple, Self

import torch
from torch import Tensor

from mamlkit.checks import check_generator, count, number
from mamlkit.errors import MamlkitError
from mamlkit.tasks.base import (
    Data,
    Family,
    Physics,
    TaskBatch,
    convert,
)

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
        },
        x=torch.tensor([float(t) for t in grid], dtype=torch.float64),
        y=torch.stack([numbers(t) for t in grid], dim=1),
    )


class VapourPressure(Family):
    """Saturation curves of 127 fluids: x = T/Tc in 0.60..0.98 (39 points), y = log10(p/pc).

    The values are CoolProp's reference correlations (Bell et al. 2014, doi:10.1021/ie4033999;
    table and its making: ``mamlkit/tasks/fluid_table.py``), not raw measurements. A finite family:
    :meth:`split` gives the training, validation or test fluids. ``physics`` carries
    ``critical_temperature`` (K), ``critical_pressure`` (Pa), ``acentric_factor`` and ``fluid``,
    the index into :attr:`names`.

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

    def __init__(
        self,
        at: float | Sequence[float] | None = None,
        noise: float = 0.0,
        split_by: Literal["substance", "family"] = "substance",
    ) -> None:
        table = _table()
        if split_by not in table.splits:
            raise MamlkitError(f"split_by must be 'substance' or 'family', not {split_by!r}.")
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
        self.split_by = split_by
        self.members = torch.arange(len(table.names))

    def split(self, part: Part) -> Self:
        """This family restricted to its "train", "validation" or "test" fluids."""
        parts = _table().splits[self.split_by]
        if part not in ("train", "validation", "test"):
            raise MamlkitError(f"split() takes 'train', 'validation' or 'test', not {part!r}.")
        restricted = copy.copy(self)
        keep = [i for i in range(len(parts)) if parts[i] == part]
        restricted.members = torch.tensor(keep)
        return restricted

    @property
    def names(self) -> tuple[str, ...]:
        """CoolProp's names of all fluids in the table; ``physics["fluid"]`` points into it."""
        return _table().names

    @property
    def chemical_families(self) -> tuple[str, ...]:
        """The chemical family of each fluid in :attr:`names`."""
        return _table().chemical_families

    @property
    def n_members(self) -> int:
        """How many fluids this family, or this part of it, holds."""
        return len(self.members)

    def draw(self, n_tasks: int, generator: torch.Generator) -> Physics:
        """Fluids, all different while they last: critical constants and index, ``[n_tasks]``."""
        return self._constants(self.members[self._choose(n_tasks, generator)])

    def law(self, x: Tensor, physics: Physics) -> Tensor:
        """log10(p/pc) at the tabulated T/Tc nearest to ``x``; ``[n_tasks, n, 1]``."""
        table = _table()
        nearest = (x - table.x).abs().argmin(dim=-1, keepdim=True)  # [n_tasks, n, 1]
        return table.y[physics["fluid"].long(), nearest]

    def sample(
        self,
        n_tasks: int,
        shots: int,
        queries: int | None = None,
        *,
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> TaskBatch:
        """Draw fluids, all different while they last (with replacement if ``n_tasks`` exceeds
        :attr:`n_members`); ``queries`` grid points apart from the support, all others if None.
        """
        generator = check_generator(generator)
        fluids = self.members[self._choose(count("n_tasks", n_tasks), generator)]
        return self._measured(fluids, shots, queries, generator, dtype, device)

    def every(
        self,
        shots: int,
        queries: int | None = None,
        *,
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> TaskBatch:
        """Each fluid of this part exactly once, in the order of the table."""
        generator = check_generator(generator)
        return self._measured(self.members, shots, queries, generator, dtype, device)

    def curves(
        self, n_tasks: int, points: int = 39, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor, Physics]:
        """The tabulated curves of ``n_tasks`` different fluids: ``x [39, 1]``, ``y [n, 39, 1]``."""
        del points  # the table has its own grid
        if count("n_tasks", n_tasks) > self.n_members:
            raise MamlkitError(
                f"{n_tasks} curves were asked for; there are {self.n_members} fluids."
            )
        chosen = torch.randperm(self.n_members, generator=check_generator(generator))[:n_tasks]
        fluids = self.members[chosen.sort().values]
        return _table().x[:, None], _table().y[fluids][:, :, None], self._constants(fluids)

    def true_curve(self, physics: Physics, points: int = 39) -> tuple[Tensor, Tensor]:
        """The tabulated curve of one fluid: ``x [39, 1]``, ``y [39, 1]``."""
        del points
        return _table().x[:, None], _table().y[int(physics["fluid"])][:, None]

    def _choose(self, n_tasks: int, generator: torch.Generator) -> Tensor:
        if n_tasks <= self.n_members:
            return torch.randperm(self.n_members, generator=generator)[:n_tasks]
        return torch.randint(self.n_members, (n_tasks,), generator=generator)

    def _constants(self, fluids: Tensor) -> Physics:
        constants = {name: values[fluids] for name, values in _table().constants.items()}
        return {**constants, "fluid": fluids.double()}

    def _grid_index(self, temperature: float) -> int:
        x = _table().x
        index = int((x - temperature).abs().argmin())
        if abs(float(x[index]) - temperature) > 1e-6:
            raise MamlkitError(
                f"at={temperature!r} is not in the table: T/Tc runs from 0.60 to 0.98 in steps "
                "of 0.01."
            )
        return index

    def _measured(
        self,
        fluids: Tensor,
        shots: int,
        queries: int | None,
        generator: torch.Generator,
        dtype: torch.dtype | None,
        device: torch.device | str | None,
    ) -> TaskBatch:
        table, n = _table(), len(fluids)
        points = len(table.x)
        shots = count("shots", shots)
        if self.at is not None and shots != len(self.at):
            raise MamlkitError(
                f"shots={shots}, but this family measures at the {len(self.at)} temperature(s) "
                f"given as at=...; use shots={len(self.at)} or change at."
            )
        queries = max(points - shots, 1) if queries is None else count("queries", queries)
        if shots + queries > points:
            raise MamlkitError(
                f"shots={shots} and queries={queries} need {shots + queries} points, but a curve "
                f"has {points}; ask for fewer."
            )
        key = torch.rand(n, points, generator=generator, dtype=torch.float64)
        if self.at is not None:
            key[:, self.at] = torch.arange(
                -len(self.at), 0, dtype=torch.float64
            )  # these come first
        order = key.argsort(dim=1)[:, : shots + queries]  # distinct grid points of each task
        x = table.x[order][:, :, None]  # [n, shots + queries, 1]
        y = table.y[fluids[:, None], order][:, :, None]
        support = Data(x[:, :shots], self._measure(y[:, :shots], generator))
        batch = TaskBatch(support, Data(x[:, shots:], y[:, shots:]), self._constants(fluids))
        return convert(batch, dtype, device)
