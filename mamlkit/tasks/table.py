"""Your own measurements: a table of readings of many similar systems, as a finite family."""

from __future__ import annotations

import warnings
import zlib
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from torch import Tensor

from mamlkit.checks import fresh_generator, one_of
from mamlkit.errors import MamlkitError, MamlkitWarning
from mamlkit.tasks.base import Family, Physics, Readings, TaskBatch
from mamlkit.tasks.rows import Rows, check_column, listed, read_csv, read_rows

if TYPE_CHECKING:
    import pandas as pd

PARTS = ("train", "validation", "test")
SHARES = (0.6, 0.2, 0.2)


class Table(Family):
    """Measurements of many systems, each with its own number of readings: a finite family.

    Make one by :meth:`from_frame` or :meth:`from_csv`, or from arrays, one a system::

        mk.tasks.Table(x=[x1, x2], y=[y1, y2], names=["left", "right"])

    A task is a system: some of its readings are its support and all others its query, both
    :class:`mamlkit.Readings`, filled up with weight 0 to the size of the largest. A system that has
    no more readings than ``shots`` gives all but one, so that there is one to ask for. There is no
    law behind a table: a query error is an error against readings, noise and all.

    Taught in notebook 13.

    Args:
        x: for each system its inputs, ``[n, d_in]``, or ``[n]`` for one input.
        y: for each system its outputs, ``[n, d_out]`` or ``[n]``.
        sigma: for each system the error bars of y, ``[n]`` or ``[n, d_out]``, in units of y; the
            weight of a reading is 1 / sigma^2, or 1 without them.
        names: what the systems are called.
        inputs, outputs: names of the columns of x and of y.
        units: the unit of a column, by its name; they stand in axis labels.
        support: "random", other readings each time; "first", those with the smallest first input,
            which makes a forecast; or for each system ``[n]`` of True and False: the support is
            taken from readings so marked, and all others are asked for.
        split: shares of the systems for "train", "validation" and "test", drawn by ``seed``; or the
            part of each system, by name.

    Attributes:
        readings: of all systems, leaves ``[systems, largest, ..]``, float64.
        sizes: how many of those are real, ``[systems]``.
        error_bars: whether readings came with error bars.
        notes: what was noticed in the data, in words.

    Raises:
        MamlkitError: for arrays that do not fit, or are not finite numbers.
    """

    def __init__(
        self,
        x: Sequence[Any],
        y: Sequence[Any],
        sigma: Sequence[Any] | None = None,
        *,
        names: Sequence[Any] | None = None,
        inputs: Sequence[str] | None = None,
        outputs: Sequence[str] | None = None,
        units: Mapping[str, str] | None = None,
        support: str | Sequence[Any] = "random",
        split: Sequence[float] | Sequence[str] = SHARES,
        seed: int = 0,
    ) -> None:
        self.names = [str(name) for name in (range(len(x)) if names is None else names)]
        if not self.names or len(set(self.names)) < len(self.names) or len(self.names) != len(x):
            raise MamlkitError(
                f"a table needs at least one system, and each its own name, but x holds {len(x)} "
                f"systems and there are {len(set(self.names))} names."
            )
        xs, ys = _columns("x", x, self.names), _columns("y", y, self.names)
        self.d_in, self.d_out = xs[0].shape[1], ys[0].shape[1]
        bars = ys if sigma is None else _columns("sigma", sigma, self.names)
        marks = [torch.zeros(len(each), 1) for each in ys]
        self.support = "marked"
        if isinstance(support, str):
            self.support = one_of("support", support, ("random", "first"))
        else:
            marks = _columns("support", support, self.names)
        for name, *parts in zip(self.names, xs, ys, bars, marks, strict=True):
            if len({len(part) for part in parts}) > 1:
                raise MamlkitError(
                    f"system {name!r} has {len(parts[0])} inputs, {len(parts[1])} outputs, "
                    f"{len(parts[2])} error bars and {len(parts[3])} marks; each reading needs one."
                )
        weights = _weights(None if sigma is None else bars, ys, self.names)
        self.input_names = _names("inputs", inputs, self.d_in, "x")
        self.output_names = _names("outputs", outputs, self.d_out, "y")
        self.units = dict(units or {})
        if lost := self.units.keys() - {*self.input_names, *self.output_names}:
            raise MamlkitError(f"units speak of {sorted(lost)}, which are no columns of x or y.")
        self.error_bars = sigma is not None
        self.sizes = torch.tensor([len(each) for each in ys])
        most = int(self.sizes.max())
        leaves = ([_filled(each, most) for each in leaf] for leaf in (xs, ys, weights, marks))
        x_all, y_all, weight, marked = map(torch.stack, leaves)
        real = torch.arange(most) < self.sizes[:, None]  # [systems, largest]
        self.readings = Readings(x_all, y_all, weight * real[..., None])
        self._marked = (marked[..., 0] > 0) & real
        self.constants = {"system": torch.arange(len(self.names))}
        self.task, self.origins = "system", dict[str, str]()
        self.sigma_names: tuple[str, ...] = ()
        self.parts = parts_of(split, self.names, seed)
        low, high = x_all[..., 0].min(), x_all[..., 0].max()
        self.x_range = (float(low), float(high) if high > low else float(low) + 1.0)
        self.x_label = self.label(self.input_names[0])
        self.y_label = self.label(self.output_names[0])
        self.notes = self._noticed()

    @classmethod
    def from_frame(
        cls,
        frame: pd.DataFrame,
        task: str,
        x: str | Sequence[str],
        y: str | Sequence[str],
        *,
        sigma: str | Sequence[str] | None = None,
        support: str = "random",
        split: Sequence[float] | str = SHARES,
        units: Mapping[str, str] | None = None,
        seed: int = 0,
    ) -> Self:
        """A table out of a pandas DataFrame, one row a reading.

        Args:
            frame: the rows, in any order. Dates become days since the first.
            task: the column that says which system a row belongs to; numbers or words.
            x, y: the columns of inputs and of outputs, one name or several.
            sigma: the column of error bars, one for all outputs or one for each.
            support: "random" or "first", see :class:`Table`; or a column that marks rows.
            split: three shares; or a column with "train", "validation" or "test" in it.
            units: the unit of a column, by its name.
            seed: of the split.

        A row where x, y or sigma is missing is no reading: it is left out, and a
        :class:`mamlkit.MamlkitWarning` names it.

        Raises:
            MamlkitError: for a column that is not there or holds no numbers, with the row named.
        """
        rows = read_rows(frame, task, x, y, sigma)
        chosen: dict[str, Any] = {"support": support, "split": split}
        of_system = [np.flatnonzero(rows.system == k) for k in range(len(rows.names))]
        if support not in ("random", "first"):
            marks = _marks(frame, support)[rows.index]
            chosen["support"] = [marks[i] for i in of_system]
        if isinstance(split, str):
            chosen["split"] = _parts_of(frame, split, rows, of_system)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", MamlkitWarning)  # said below, with what rows say
            table = cls(
                [rows.x[i] for i in of_system],
                [rows.y[i] for i in of_system],
                None if rows.sigma is None else [rows.sigma[i] for i in of_system],
                names=rows.names,
                inputs=rows.inputs,
                outputs=rows.outputs,
                units={n: f"days since {d}" for n, d in rows.origins.items()} | dict(units or {}),
                seed=seed,
                **chosen,
            )
        table.task, table.origins = task, rows.origins
        table.sigma_names = tuple(listed(sigma or ()))
        table.notes = [*rows.notes, *table.notes]
        for note in table.notes:
            warnings.warn(note, MamlkitWarning, stacklevel=2)
        return table

    @classmethod
    def from_csv(
        cls,
        path: str | Path,
        task: str,
        x: str | Sequence[str],
        y: str | Sequence[str],
        **settings: Any,
    ) -> Self:
        """As :meth:`from_frame`, from a file: a line of column names, then one reading a line,
        separated by commas, semicolons or tabs.
        """
        return cls.from_frame(read_csv(path), task, x, y, **settings)

    def restrict(self, part: str) -> None:
        """Become this part, if there is anything in it."""
        super().restrict(part)
        if not self.n_members:
            raise MamlkitError(
                f"none of the {len(self.names)} systems lies in {part!r}; choose other shares, or "
                "name the part of each system, by split=..."
            )

    def label(self, name: str) -> str:
        """A column with its unit, for an axis."""
        return f"{name} [{self.units[name]}]" if name in self.units else name

    def name_of(self, physics: Mapping[str, Any]) -> str:
        """What a system is called."""
        return self.names[int(physics["system"])]

    def every_reading(self) -> Readings:
        """All readings of the members, leaves ``[n_members, largest, ..]``."""
        return Readings(*(leaf[self._finite("every_reading")] for leaf in self.readings))

    def measure(
        self, physics: Physics, shots: int, queries: int, generator: torch.Generator
    ) -> TaskBatch:
        """Part the readings of each system into support and query."""
        which = physics["system"].long()
        x, y, weight = (leaf[which] for leaf in self.readings)
        size, marked = self.sizes[which][:, None], self._marked[which]
        n, most = len(which), x.shape[1]
        place = torch.arange(most)
        chance = torch.rand(n, most, generator=generator, dtype=torch.float64)
        first = chance
        if self.support == "first":  # by rank, so that equal inputs keep their order
            first = x[..., 0].where(place < size, torch.inf).argsort(stable=True, dim=1).argsort(1)
        elif self.support == "marked":
            first = chance + ~marked
        first = first.double().where(place < size, torch.inf)
        last = torch.minimum(size - 1, torch.tensor(shots))
        if self.support == "marked":
            last = torch.minimum(last, marked.sum(1, keepdim=True))
        rank = first.argsort(1).argsort(1)  # of each reading: those below `last` are the support
        later = (chance + (rank < last)).where(place < size, torch.inf)
        parts = []
        for key, kept, columns in (
            (rank.double(), last, min(shots, most)),
            (later, size - last, min(queries, most)),
        ):
            order = key.argsort(1)[:, :columns, None]
            there = (torch.arange(columns) < kept)[..., None]
            took = [leaf.take_along_dim(order, 1) for leaf in (x, y, weight)]
            # What is not there shows no reading that is asked for, whoever overlooks weights.
            hidden = (x[:, :1].expand_as(took[0]), torch.zeros(()), torch.zeros(()))
            parts.append(
                Readings(*(t.where(there, h.to(t)) for t, h in zip(took, hidden, strict=True)))
            )
        support, query = parts
        return TaskBatch(support, query, physics)

    def law(self, x: Tensor, physics: Physics) -> Tensor:
        """There is none: the readings are all that is known."""
        raise MamlkitError(
            "a table holds readings and no law, so it has no curves without noise; use "
            "every_reading(), sample() or every()."
        )

    def true_curve(self, physics: Physics, points: int = 200) -> tuple[Tensor, Tensor]:
        """The readings of one system in the order of the first input, in place of its true curve:
        float64 ``x [n, d_in]`` and ``y [n, d_out]``.
        """
        i = int(physics["system"])
        x, y, _ = (leaf[i, : self.sizes[i]] for leaf in self.readings)
        order = x[:, 0].argsort(stable=True, dim=0)
        return x[order], y[order]

    def __repr__(self) -> str:
        members = self._finite("repr")
        data = b"".join(leaf.numpy().tobytes() for leaf in (*self.readings, self._marked))
        text = (
            f"{len(members)} of {len(self.names)} systems, {int(self.sizes[members].sum())} "
            f"readings, x={list(self.input_names)}, y={list(self.output_names)}, "
            f"support={self.support!r}, data={zlib.crc32(data):08x}"
        )
        held = "" if self._held is None else f", members={members.tolist()}"
        return f"{type(self).__name__}({text}{held})"

    def _queries(self, shots: int, queries: int | None, without_end: int | None) -> int:
        return self.readings.x.shape[1] if queries is None else queries

    def _noticed(self) -> list[str]:
        single = [repr(n) for n, size in zip(self.names, self.sizes, strict=True) if size == 1]
        told = ", ".join(single[:9]) + (f" and {len(single) - 9} more" if len(single) > 9 else "")
        words = "with a single reading, asked for that one with nothing known"
        return [f"{len(single)} system(s) {words}: {told}."] if single else []


#: Small tables of published measurements that ship with the package.
MEASURED = {
    "cracks": "Fatigue cracks in 21 specimens of an alloy: relative length (1 is 0.9 inches), "
    "against millions of cycles of load. C. J. Lu and W. Q. Meeker, Technometrics 35 (1993) 161; "
    "`Fatigue` in the R package nlme.",
    "quakes": "Peak accelerations (g) in 23 earthquakes in California: moment magnitude, and the "
    "distance (km) from the hypocentre. W. B. Joyner and D. M. Boore, Bull. Seismol. Soc. Am. 71 "
    "(1981) 2011; `attenu` in R.",
}


def measured(name: str) -> Path:
    """The CSV file of one of the tables in :data:`MEASURED`, to read as you would your own."""
    return Path(str(files("mamlkit.tasks") / f"{one_of('name', name, MEASURED)}.csv"))


def _columns(what: str, values: Sequence[Any], names: Sequence[str]) -> list[Tensor]:
    """One float64 ``[n, d]`` a system, all with the same d."""
    if hasattr(values, "columns"):
        raise MamlkitError(
            f"{what} must hold one array a system, but {type(values).__name__} was given; use "
            "mk.tasks.Table.from_frame(frame, task=.., x=.., y=..)."
        )
    found = []
    for name, value in zip(names, values, strict=False):
        try:
            column = torch.tensor(np.asarray(value, dtype=float))  # a copy: some are read-only
        except (TypeError, ValueError) as error:
            raise MamlkitError(f"{what} of system {name!r} holds no numbers: {error}.") from error
        column = column[:, None] if column.ndim == 1 else column
        if bad := int((~torch.isfinite(column)).sum()):
            raise MamlkitError(
                f"{what} of system {name!r} holds {bad} number(s) that are not finite (nan or "
                "inf); leave those readings out."
            )
        if column.ndim != 2 or not len(column):
            raise MamlkitError(
                f"{what} of system {name!r} has shape {list(column.shape)}; it must be finite "
                "numbers, [n] or [n, d], one row a reading and at least one."
            )
        found.append(column)
    if len(values) != len(names) or len({c.shape[1] for c in found}) > 1:
        raise MamlkitError(
            f"{what} must hold one array for each of the {len(names)} systems, all with as many "
            f"columns; it holds {len(values)}, with {sorted({c.shape[1] for c in found})} columns."
        )
    return found


def _weights(
    bars: Sequence[Tensor] | None, ys: Sequence[Tensor], names: Sequence[str]
) -> list[Tensor]:
    """One over the square of the error bars ``[n, 1]`` or ``[n, d_out]``; 1 without any."""
    if bars is None:
        return [torch.ones(len(y), 1, dtype=torch.float64) for y in ys]
    bad = [name for name, bar in zip(names, bars, strict=True) if not bool((bar > 0).all())]
    if bad or bars[0].shape[1] not in (1, ys[0].shape[1]):
        raise MamlkitError(
            f"sigma must hold error bars > 0, one a reading or one for each of the "
            f"{ys[0].shape[1]} outputs; look at system {(bad or names)[0]!r}."
        )
    return [bar**-2.0 for bar in bars]


def _names(what: str, names: Sequence[str] | None, size: int, stem: str) -> tuple[str, ...]:
    usual = [stem] if size == 1 else [f"{stem}{i + 1}" for i in range(size)]
    found = tuple(usual if names is None else names)
    if len(found) != size:
        raise MamlkitError(f"{what}={found} must name {size} column(s).")
    return found


def _filled(values: Tensor, most: int) -> Tensor:
    """Values ``[n, d]`` as ``[most, d]``, filled up with the first."""
    return torch.cat([values, values[:1].expand(most - len(values), -1)])


def parts_of(
    split: Any, names: Sequence[str], seed: int, kind: str = "systems"
) -> dict[str, Tensor]:
    """The systems in each part, by number."""
    if split and all(isinstance(part, str) for part in split):
        if len(split) != len(names):
            raise MamlkitError(f"split names {len(split)} parts for {len(names)} {kind}.")
        for part in split:
            one_of("split", part, PARTS)
        numbers = {p: [i for i, own in enumerate(split) if own == p] for p in PARTS}
        return {p: torch.tensor(own, dtype=torch.int64) for p, own in numbers.items()}
    shares = [float(share) for share in split]
    if len(shares) != 3 or min(shares) < 0 or abs(sum(shares) - 1) > 1e-6:
        raise MamlkitError(
            f"split={split!r} must be three shares that add up to 1, for train, validation and "
            "test, such as (0.6, 0.2, 0.2)."
        )
    order = torch.randperm(len(names), generator=fresh_generator(seed))
    ends = [round(sum(shares[: k + 1]) * len(names)) for k in range(3)]
    starts = [0, *ends[:2]]
    return {p: order[a:b].sort().values for p, a, b in zip(PARTS, starts, ends, strict=True)}


def _marks(frame: pd.DataFrame, column: str) -> Any:
    """A column of marks as True and False."""
    check_column(frame, column)
    values = frame[column]
    truth = {"true": 1, "false": 0, "yes": 1, "no": 0, "1": 1, "0": 0, "1.0": 1, "0.0": 0, "": 0}
    found = values.fillna("").astype(str).str.strip().str.lower().map(truth)
    if found.isna().any():
        i = int(found.isna().to_numpy().argmax())
        raise MamlkitError(
            f"row {i + 1}: {column!r} holds {values.iloc[i]!r}; a mark is True or False, 1 or 0."
        )
    return found.to_numpy(dtype=float)


def _parts_of(frame: pd.DataFrame, column: str, rows: Rows, of_system: Any) -> list[str]:
    """The part of each system, out of a column."""
    check_column(frame, column)
    values, parts = frame[column].to_numpy()[rows.index], []
    for name, i in zip(rows.names, of_system, strict=True):
        found = sorted({str(value) for value in values[i]})
        if len(found) > 1:
            raise MamlkitError(
                f"{column!r} says {found} of system {name!r}; a system lies in one part as a "
                "whole, or it would be tested on what it was trained on."
            )
        if found[0] not in PARTS:
            raise MamlkitError(
                f"{column!r} says {found[0]!r} of system {name!r}; the parts are {list(PARTS)}."
            )
        parts += found
    return parts
