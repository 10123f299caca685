"""Classification: tasks whose points are examples of a few classes, so many of each."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mamlkit.checks import count
from mamlkit.errors import MamlkitError
from mamlkit.tasks.base import Data, Family, Physics, TaskBatch
from mamlkit.tasks.table import SHARES, parts_of


class Labelled(Family):
    """Tasks of classification with as many examples of each class. A family of your own says what
    a task is about, by :meth:`draw`, and gives examples::

        class HeadsOrTails(mk.tasks.Labelled):  # which of two coins made this row of 20 throws?
            def draw(self, n_tasks, generator):
                return {"bias": mk.tasks.uniform((n_tasks, self.ways), 0.1, 0.9, generator)}

            def examples(self, physics, shots, queries, generator):
                chance = physics["bias"][:, :, None, None]  # [n_tasks, ways, 1, 1]
                throws = mk.tasks.uniform((*chance.shape[:2], shots + queries, 20), 0, 1, generator)
                return (throws < chance).double()

    ``shots`` and ``queries`` of :meth:`sample`, and of all that asks for them, are *per class*:
    ``shots=5`` with two ways gives a support of ten points, x ``[n_tasks, ways * shots, ..]`` and
    y int64 ``[n_tasks, ways * shots]``. They lie in turn by class, 0, 1, .., 0, 1, ..

    Class attributes, beside those of :class:`mamlkit.tasks.Family`:

    - ``ways``: number of classes in a task; labels are 0 .. ways - 1.
    - ``permuted``: deal the labels anew for each task, so that only its support tells which class
      has which. ``physics["labels"]``, ``[n_tasks, ways]``, holds the label of each class. If
      False, class c has the label c in all tasks.
    """

    ways: int = 2
    permuted: bool = True
    _shown = ("ways", "permuted")

    @property
    def per_shot(self) -> int:
        """Points that one shot stands for: one of each class."""
        return self.ways

    def examples(
        self, physics: Physics, shots: int, queries: int, generator: torch.Generator
    ) -> Tensor:
        """Draw examples of each class of these tasks: ``[n_tasks, ways, shots + queries, ..]``, in
        the order of the classes; the first ``shots`` are the support. ``physics`` is as
        :meth:`draw` gave it.
        """
        raise MamlkitError(
            f"{type(self).__name__} has no examples(self, physics, shots, queries, generator); "
            "write it: it returns [n_tasks, ways, shots + queries, ..]."
        )

    def measure(
        self, physics: Physics, shots: int, queries: int, generator: torch.Generator
    ) -> TaskBatch:
        """Draw examples, and deal labels to their classes."""
        count("ways", self.ways, least=2)
        physics = self._dealt(physics, generator)
        n_tasks = len(next(iter(physics.values())))
        x = self.examples(physics, shots, queries, generator)
        expected = (n_tasks, self.ways, shots + queries)
        if not isinstance(x, Tensor) or x.shape[:3] != expected or x.ndim < 4:
            given = list(x.shape) if isinstance(x, Tensor) else type(x).__name__
            raise MamlkitError(
                f"{type(self).__name__}.examples() returned {given}; it must return a tensor "
                f"[n_tasks, ways, shots + queries, ..] = {[*expected, '..']}, with at least one "
                "more axis for what a point is."
            )
        if self.permuted:
            by_label = physics["labels"].argsort(1)  # [n_tasks, ways]: the class of each label
            x = x[torch.arange(n_tasks)[:, None], by_label]
        x = x.transpose(1, 2)  # [n_tasks, n, ways, ..]
        y = torch.arange(self.ways).expand(x.shape[:3])
        support, query = (
            Data(*(leaf[:, part].flatten(1, 2) for leaf in (x, y)))
            for part in (slice(shots), slice(shots, None))
        )
        return TaskBatch(support, query, physics)

    def law(self, x: Tensor, physics: Physics) -> Tensor:
        """There is none: a class is known by its examples."""
        raise MamlkitError(
            f"{type(self).__name__} holds examples and no law, so it has no curves; use sample()."
        )

    def _physics(self, n_tasks: int, generator: torch.Generator) -> Physics:
        return self._dealt(super()._physics(n_tasks, generator), generator)

    def _dealt(self, physics: Physics, generator: torch.Generator) -> Physics:
        """With the label of each class, if labels are dealt and were not yet."""
        if not self.permuted or "labels" in physics:
            return physics
        n_tasks = len(next(iter(physics.values())))
        return {**physics, "labels": shuffled(n_tasks, self.ways, self.ways, generator).double()}


class Bank(Labelled):
    """A bank of examples, sorted by class: images of many things, snapshots of many magnets. A task
    draws ``ways`` of the classes, in random order, and different examples of each.

    There is no end to the tasks; :meth:`fixed` makes a finite family of some. :meth:`split` takes
    only the classes of a part, so that test tasks are about classes never seen in training.
    ``physics["classes"]``, ``[n_tasks, ways]``, holds the numbers of the classes by label.

    Args:
        x: for each class its examples, ``[n, ..]``, of any type; at least two.
        ways: number of classes in a task.
        names: what the classes are called.
        split: shares of the classes for "train", "validation" and "test", drawn by ``seed``; or the
            part of each class, by name.

    Raises:
        MamlkitError: for fewer classes than ways, or examples that do not fit.
    """

    permuted = False  # classes are drawn in random order already

    def __init__(
        self,
        x: Tensor | Sequence[Any],
        ways: int = 2,
        *,
        names: Sequence[Any] | None = None,
        split: Sequence[float] | Sequence[str] = SHARES,
        seed: int = 0,
    ) -> None:
        self.ways = count("ways", ways, least=2)
        parts = [torch.as_tensor(np.asarray(each)) for each in x]
        self.names = [str(name) for name in (range(len(parts)) if names is None else names)]
        if len(self.names) != len(parts) or len(set(self.names)) < len(parts):
            raise MamlkitError(
                f"a bank needs a name of its own for each class, but x holds {len(parts)} classes "
                f"and there are {len(set(self.names))} names."
            )
        for name, each in zip(self.names, parts, strict=True):
            if each.ndim < 2 or each.shape[1:] != parts[0].shape[1:] or len(each) < 2:
                raise MamlkitError(
                    f"class {name!r} has examples of shape {list(each.shape)}; each class needs "
                    f"two or more, [n, ..], of one shape (here {list(parts[0].shape[1:])})."
                )
            if not torch.isfinite(each).all():
                raise MamlkitError(f"class {name!r} holds values that are not finite.")
        self.sizes = torch.tensor([len(each) for each in parts])
        self.x = torch.cat(parts)  # one class after another
        self.parts = parts_of(split, self.names, seed, "classes")
        self.only_classes(torch.arange(len(parts)))

    def restrict(self, part: str) -> None:
        """Become this part, if there are classes enough in it."""
        self.only_classes(torch.as_tensor(self.parts[part]))

    def only_classes(self, classes: Tensor) -> None:
        """Draw tasks from these classes alone, given by their numbers."""
        if len(classes) < self.ways:
            raise MamlkitError(
                f"a task of ways={self.ways} needs as many classes, but this part of the bank has "
                f"{len(classes)}; give it more classes or lower ways."
            )
        self.classes, self.pool = classes, int(self.sizes[classes].min())

    def __repr__(self) -> str:
        data = zlib.crc32(self.x.numpy().tobytes())
        held = "" if self.fixed_by is None else f", fixed_by={self.fixed_by}"
        return (
            f"{type(self).__name__}(ways={self.ways}, classes={self.classes.tolist()} of "
            f"{len(self.names)}, {len(self.x)} examples, data={data:08x}{held})"
        )

    def name_of(self, physics: Mapping[str, Any]) -> str:
        """The names of the classes, by label."""
        return " or ".join(self.names[int(i)] for i in physics["classes"])

    def draw(self, n_tasks: int, generator: torch.Generator) -> Physics:
        """Which classes, ``[n_tasks, ways]``."""
        chosen = shuffled(n_tasks, len(self.classes), self.ways, generator)
        return {"classes": self.classes[chosen]}

    def examples(
        self, physics: Physics, shots: int, queries: int, generator: torch.Generator
    ) -> Tensor:
        """Different examples of each class, at random."""
        classes = physics["classes"].long()
        size = self.sizes[classes][..., None]  # [n_tasks, ways, 1]
        most = int(size.max())
        chance = torch.rand(*classes.shape, most, generator=generator)
        chance = chance.where(torch.arange(most) < size, torch.inf)
        chosen = chance.topk(shots + queries, largest=False).indices
        return self.x[(self.sizes.cumsum(0) - self.sizes)[classes][..., None] + chosen]


def shuffled(n_tasks: int, n: int, k: int, generator: torch.Generator) -> Tensor:
    """For each task ``k`` different whole numbers below ``n`` in random order, ``[n_tasks, k]``."""
    return torch.rand(n_tasks, n, generator=generator, dtype=torch.float64).argsort(1)[:, :k]
