"""Several families as one: each task comes from one of them, and its label says which."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import torch
from torch import Tensor

from mamlkit.checks import number
from mamlkit.errors import MamlkitError
from mamlkit.tasks.base import Family, Physics, TaskBatch, check_family, weighted

LABEL = "family"  # in physics


class Mixture(Family):
    """Several families in one: the parameters of each task are drawn from one of them, and it is
    measured as a task of that family is, with its noise and where it measures.

    ``physics["family"]``, ``[n_tasks]``, holds the number of its family for each task; the
    parameters of family ``name`` are ``physics["name.parameter"]``, nan for the tasks of others.

    Where all families are finite, so is the mixture: its members are theirs, one family after
    another. A draw takes families by ``shares``, however many members they have, so a member of a
    small family may come twice. :meth:`split` takes the part of each family that has parts, and
    leaves endless ones as they are.
    Taught in notebook 15.

    Args:
        families: two or more, by name or in order, with inputs and outputs of one size. In order,
            they are called by their class, with a number where that is not enough.
        shares: how often each is drawn; None draws all alike.
        told: put the label into the input, as one number a family after x, 1 for the own and 0 for
            the others: ``x [n, d_in + families]``.

    Raises:
        MamlkitError: for families that do not fit together.
    """

    _shown = ("d_in", "d_out")

    def __init__(
        self,
        families: Mapping[str, Family] | Sequence[Family],
        shares: Sequence[float] | None = None,
        told: bool = False,
    ) -> None:
        self.families, self.told = named(families), told
        self.names = list(self.families)
        self.d_in, self.d_out = check_alike(self.families)
        self.d_in += len(self.names) * told
        given = [1.0] * len(self.names) if shares is None else list(shares)
        if len(given) != len(self.names):
            raise MamlkitError(
                f"shares need one number a family, {len(self.names)}, but {len(given)} were given."
            )
        self.shares = [number("a share", share, positive=True) for share in given]
        each = list(self.families.values())
        self.x_range = (min(f.x_range[0] for f in each), max(f.x_range[1] for f in each))
        self.noise = max(f.noise for f in each)
        pools = [f.pool for f in each if f.pool is not None]
        self.pool = min(pools) if pools else None
        # Names alone: split() is left to the families.
        self.parts = {part: () for f in each for part in f.parts}
        self.repeats = all(f.repeats for f in each)
        if all(f.members is not None for f in each):
            self.constants = _joined(
                {
                    name: f._of(f.members)
                    for name, f in self.families.items()
                    if f.members is not None
                }
            )

    def split(self, part: str) -> Self:
        """The mixture of this part of each family that has parts."""
        if self._held is not None or self.fixed_by is not None or not self.parts:
            return super().split(part)
        families = {n: f.split(part) if f.parts else f for n, f in self.families.items()}
        return type(self)(families, self.shares, self.told)

    def draw(self, n_tasks: int, generator: torch.Generator) -> Physics:
        """A family for each task by the shares, and its parameters."""
        chosen = self._families(self.shares, n_tasks, generator)
        parts = {}
        for i, (name, family) in enumerate(self.families.items()):
            if n := int((chosen == i).sum()):
                parts[name] = family._physics(n, generator)
        together = _joined(parts, self.names)
        order = chosen.argsort(stable=True).argsort(stable=True)  # back to the order drawn
        return {name: values[order] for name, values in together.items()}

    def measure(
        self, physics: Physics, shots: int, queries: int, generator: torch.Generator
    ) -> TaskBatch:
        """Measure each task as its family does."""
        places, found = [], []
        for i, name in enumerate(self.names):
            at = (physics[LABEL] == i).nonzero()[:, 0]
            if len(at):
                own = self._own(physics, name, at)
                places.append(at)
                found.append(self.families[name].measure(own, shots, queries, generator))
        order = torch.cat(places).argsort()
        support, query = (
            _together(self.names, [getattr(batch, part) for batch in found], order)
            for part in ("support", "query")
        )
        if self.told:
            support, query = (p._replace(x=self.labelled(p.x, physics)) for p in (support, query))
        return TaskBatch(support, query, physics)

    def labelled(self, x: Tensor, physics: Mapping[str, Any]) -> Tensor:
        """Inputs ``[n_tasks, n, d]`` with each task's label, ``[n_tasks, n, d + families]``."""
        one = torch.eye(len(self.names), dtype=x.dtype)[physics[LABEL].flatten().long()]
        return torch.cat([x, one[:, None].expand(-1, x.shape[1], -1)], dim=-1)

    def law(self, x: Tensor, physics: Physics) -> Tensor:
        """The law of each task's family."""
        x = x[..., : self.d_in - len(self.names)] if self.told else x
        y = x.new_empty(*x.shape[:-1], self.d_out)
        for i, name in enumerate(self.names):
            at = (physics[LABEL].flatten() == i).nonzero()[:, 0]
            if len(at):
                y[at] = self.families[name].law(x[at], self._own(physics, name, at))
        return y

    def true_curve(self, physics: Physics, points: int = 200) -> tuple[Tensor, Tensor]:
        """The law of one task, over the range of its family."""
        name = self.names[int(physics[LABEL])]
        own = self._own(physics, name, slice(None))
        return self.families[name].true_curve(own, points)

    def name_of(self, physics: Mapping[str, Any]) -> str:
        """The family, and what it calls the task."""
        name = self.names[int(physics[LABEL])]
        return f"{name}: {self.families[name].name_of(self._own(physics, name, slice(None)))}"

    def _own(self, physics: Mapping[str, Any], name: str, at: Any) -> Physics:
        """The parameters of one family, of the tasks ``at``."""
        start = f"{name}."
        return {
            key.removeprefix(start): torch.as_tensor(value)[at]
            if not isinstance(at, slice)
            else value
            for key, value in physics.items()
            if key.startswith(start)
        }

    def _choose(self, n: int, n_tasks: int, generator: torch.Generator) -> Tensor:
        """Which of the members: families by their shares, and of each different ones while they
        last.
        """
        of = torch.as_tensor((self.constants or {})[LABEL])[self._finite("draw")]  # [n]
        there = [share * float((of == i).any()) for i, share in enumerate(self.shares)]
        chosen = self._families(there, n_tasks, generator)
        places = torch.empty(n_tasks, dtype=torch.int64)
        for i in sorted(set(chosen.tolist())):
            own, at = (of == i).nonzero()[:, 0], chosen == i
            places[at] = own[super()._choose(len(own), int(at.sum()), generator)]
        return places

    @staticmethod
    def _families(shares: Sequence[float], n: int, generator: torch.Generator) -> Tensor:
        weights = torch.tensor(shares, dtype=torch.float64)
        return torch.multinomial(weights, n, replacement=True, generator=generator)


def named(families: Any) -> dict[str, Family]:
    """Families by name: as given, or by their class with a number where several share one."""
    if isinstance(families, Mapping):
        found = dict(families)
    elif isinstance(families, Sequence) and not isinstance(families, str):
        kinds = [type(family).__name__ for family in families]
        found = {}
        for i, (kind, family) in enumerate(zip(kinds, families, strict=True)):
            alone = kinds.count(kind) == 1
            found[kind if alone else f"{kind} {kinds[: i + 1].count(kind)}"] = family
    else:
        found = {}
    if len(found) < 2:
        raise MamlkitError(
            "give two families or more, as a list, or by name, such as "
            "{'spring': mk.tasks.HookesLaw(), 'wave': mk.tasks.Sinusoid()}."
        )
    return found


def check_alike(families: Mapping[str, Family]) -> tuple[int, int]:
    """Check that families have inputs and outputs of one size; return ``d_in, d_out``."""
    sizes = {}
    for name, family in families.items():
        check_family(family)
        if family.ways is not None:
            raise MamlkitError(
                f"{name!r} gives labels of {family.ways} classes; families side by side must give "
                "real numbers."
            )
        sizes[name] = (family.d_in, family.d_out)
    first, *others = sizes.items()
    for name, size in others:
        if size != first[1]:
            raise MamlkitError(
                f"families side by side need inputs and outputs of one size, but {first[0]!r} "
                f"has d_in={first[1][0]}, d_out={first[1][1]}, and {name!r} has d_in={size[0]}, "
                f"d_out={size[1]}."
            )
    return first[1]


def _joined(parts: Mapping[str, Physics], names: Sequence[str] | None = None) -> Physics:
    """The parameters of several families one after another, and the number of the family."""
    names = list(parts) if names is None else names
    sizes = [len(next(iter(own.values()))) for own in parts.values()]
    label = torch.repeat_interleave(
        torch.tensor([names.index(name) for name in parts]), torch.tensor(sizes)
    )
    found: Physics = {LABEL: label.double()}
    start = 0
    for size, (name, own) in zip(sizes, parts.items(), strict=True):
        for key, value in own.items():
            wide = value.new_full((len(label), *value.shape[1:]), torch.nan, dtype=torch.float64)
            wide[start : start + size] = value
            found[f"{name}.{key}"] = wide
        start += size
    return found


def _together(names: Sequence[str], parts: Sequence[Any], order: Tensor) -> Any:
    """Data of several families one after another, then in ``order``."""
    if len({type(part) for part in parts}) > 1:
        parts = [weighted(part) for part in parts]  # points with weights and without
    leaves = [list(each) for each in zip(*parts, strict=True)]
    for field, each in zip(parts[0]._fields, leaves, strict=True):
        if len({leaf.shape[1:] for leaf in each}) > 1:
            raise MamlkitError(
                f"the families give {field} of different shapes, "
                f"{sorted({str(list(leaf.shape[1:])) for leaf in each})} a task, which cannot lie "
                f"side by side; mix families whose tasks are alike ({', '.join(names)})."
            )
    return type(parts[0])(*(torch.cat(each)[order] for each in leaves))
