"""Tasks: the data of one task, a batch of tasks, and the base class of every family."""

from __future__ import annotations

import copy
import math
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from mamlkit.checks import (
    check_generator,
    count,
    fresh_generator,
    interval,
    number,
    one_of,
)
from mamlkit.errors import MamlkitError

Physics = dict[str, Tensor]
Shots = int | tuple[int, int]  # of each task, or the least and the most
MANY = 1000  # numbers: more are not told one by one
QUERIES = 100  # query points of a task where points have no end, when the caller does not say


class Data(NamedTuple):
    """Points of one task, or of many with a leading task axis.

    ``x`` is ``[..., n, d_in]`` and ``y`` is ``[..., n, d_out]``; for classification ``y`` holds
    integer labels ``[..., n]``.
    """

    x: Tensor
    y: Tensor


class Readings(NamedTuple):
    """As :class:`Data`, for points that do not all count alike.

    ``weight`` is ``[..., n, 1]``, or ``[..., n, d_out]`` where each output has an error bar of its
    own: 1 over the square of the error bar, or 1; and 0 for padding, so that tasks of different
    sizes lie side by side. A loss is the mean by weight; a learner that assumes a noise takes it
    for that of a reading of weight 1.
    Taught in notebook 13.
    """

    x: Tensor
    y: Tensor
    weight: Tensor


class TaskBatch(NamedTuple):
    """Tasks side by side; every leaf carries a leading axis ``n_tasks``.

    ``support`` is what a learner may adapt to and ``query`` is what it is judged on: usually
    :class:`Data` or :class:`Readings`, or any other NamedTuple of tensors. ``physics`` maps the
    name of each true physical parameter to a tensor ``[n_tasks]``, or ``[n_tasks, ..]`` where it
    is more than one number.
    """

    support: Any
    query: Any
    physics: Physics

    def task(self, i: int) -> Self:
        """Task ``i`` alone: the same leaves without their task axis."""
        return tree_map(lambda leaf: leaf[i], self)

    def chunks(self, size: int | None = None) -> list[Self]:
        """The tasks in order, at most ``size`` in each part; all in one if None."""
        n_tasks = len(self.support[0])
        if size is None or size >= n_tasks:
            return [self]
        starts = range(0, n_tasks, size)
        return [tree_map(lambda leaf, s=s: leaf[s : s + size], self) for s in starts]


def uniform(
    n: int | tuple[int, ...], low: float, high: float, generator: torch.Generator
) -> Tensor:
    """Draw float64 numbers uniformly from ``[low, high)``; ``n`` is how many, or a shape."""
    return torch.rand(n, generator=generator, dtype=torch.float64).mul_(high - low).add_(low)


def normal(n: int, mean: float, std: float, generator: torch.Generator) -> Tensor:
    """Draw ``n`` float64 numbers from a Gaussian; shape ``[n]``."""
    return mean + std * torch.randn(n, generator=generator, dtype=torch.float64)


class Family:
    """A distribution over tasks. A family of your own needs two methods, :meth:`draw` and
    :meth:`law`::

        class Capacitor(mk.tasks.Family):
            x_range, noise = (0.0, 5.0), 0.02

            def draw(self, n_tasks, generator):
                return {"tau": mk.tasks.uniform(n_tasks, 0.5, 2.0, generator)}

            def law(self, x, physics):
                return torch.exp(-x / physics["tau"])

    Class attributes, each of which an instance may override:

    - ``d_in``, ``d_out``: number of inputs and outputs of the law.
    - ``x_range``: inputs are drawn uniformly from this interval.
    - ``noise``: standard deviation of the Gaussian noise on the *support* ``y``. The query holds
      the law itself, so a query error is an error against the truth.
    - ``x_label``, ``y_label``: names with units, for pictures.
    - ``pool``: how many points (or trajectories) there are of each task; None if without end.
    - ``ways``: number of classes, of a law that returns labels: whole numbers ``[n_tasks, n]`` from
      0 to ways - 1, without noise. (In a :class:`mamlkit.tasks.Labelled` family, shots are of each
      class; here they are of the task.) None for real numbers.

    A finite family holds systems that are there and cannot be drawn anew. In place of :meth:`draw`
    it has

    - ``constants``: the physical parameters of all systems there are, ``[n]`` each by name.
    - ``parts``: the name of each part, such as "train", and the numbers of the systems in it.
    - ``repeats``: whether a member that is drawn twice makes two tasks, because it is measured
      anew (one environment, other trajectories). If False, evaluation takes no more tasks than
      there are members.

    It gives each member once by :meth:`every`, and restricts itself by :meth:`split`,
    :meth:`subset` and :meth:`folds`; see :class:`mamlkit.tasks.VapourPressure`. Evaluation and
    validation take each member once. Of an endless family :meth:`fixed` makes a finite one.

    A task that is more than points of a law overrides :meth:`measure`.

    Numbers are drawn in float64 on the CPU and converted at the end, so the same generator gives
    the same tasks in every type and on every device.

    Taught in notebook 05.
    """

    d_in: int = 1
    d_out: int = 1
    x_range: tuple[float, float] = (-1.0, 1.0)
    noise: float = 0.0
    x_label: str = "x"
    y_label: str = "y"
    constants: Mapping[str, Any] | None = None
    parts: Mapping[str, Any] = MappingProxyType({})
    repeats: bool = False
    pool: int | None = None
    ways: int | None = None
    fixed_by: tuple[int, int] | None = None  # n and seed of :meth:`fixed`
    _shown: tuple[str, ...] = ("d_in", "d_out", "x_range", "noise")  # by repr, from the class
    _held: Tensor | None = None  # the numbers of the members, where they are not all there are

    @property
    def members(self) -> Tensor | None:
        """The numbers of the systems in a finite family, ``[n_members]``; None if it is endless."""
        if not self.constants or self._held is not None:
            return self._held
        return torch.arange(len(next(iter(self.constants.values()))))

    @property
    def per_shot(self) -> int:
        """Points that one shot stands for: one, or one of each class."""
        return 1

    @property
    def n_members(self) -> int | None:
        """How many systems a finite family holds; None if it is endless."""
        return None if self.members is None else len(self.members)

    def split(self, part: str) -> Self:
        """This family restricted to one of its :attr:`parts`."""
        name = type(self).__name__
        if not self.parts:
            raise MamlkitError(
                f"{name} has no parts to split into; where tasks are drawn anew, another seed "
                "gives other tasks, and subset(n, seed) gives some members of a finite family."
            )
        if self.fixed_by is not None:
            raise MamlkitError(f"the tasks of this {name} are fixed; split first, then fix them.")
        other = copy.copy(self)
        other.restrict(one_of("part", part, self.parts))
        return other

    def restrict(self, part: str) -> None:
        """Become this part, in place: what :meth:`split` does to a copy."""
        self._held = torch.as_tensor(self.parts[part])

    def subset(self, n: int, seed: int = 0) -> Self:
        """A finite family with ``n`` of its members, drawn by ``seed``, in their own order."""
        members = self._finite("subset")
        if count("n", n) > len(members):
            raise MamlkitError(f"n={n}, but this family has only {len(members)} members.")
        chosen = torch.randperm(len(members), generator=fresh_generator(seed))[:n]
        return self.only(members[chosen.sort().values])

    def folds(self, n: int | None = None, seed: int = 0) -> list[tuple[Self, Self]]:
        """Part the members into ``n`` folds by ``seed``; None leaves out one at a time. For each
        fold two finite families: all others, and the fold.
        """
        members = self._finite("folds")
        n = len(members) if n is None else count("n", n, least=2)
        if n > len(members):
            raise MamlkitError(f"n={n} folds need as many members; there are {len(members)}.")
        order = torch.randperm(len(members), generator=fresh_generator(seed))
        held = [part.sort().values for part in order.tensor_split(n)]
        rest = [torch.cat([p for p in held if p is not own]).sort().values for own in held]
        return [
            (self.only(members[r]), self.only(members[h])) for r, h in zip(rest, held, strict=True)
        ]

    def only(self, members: Tensor) -> Self:
        """A finite family with these members, by their numbers in :attr:`members`."""
        other = copy.copy(self)
        other._held = members
        return other

    def fixed(self, n: int, seed: int = 0) -> Self:
        """A finite family of ``n`` tasks of this endless one: their parameters are drawn once, by
        ``seed``; where and with what noise they are measured is drawn at each call, as always.
        """
        if self.members is not None:
            raise MamlkitError(
                f"this {type(self).__name__} has {len(self.members)} members already; use "
                "subset(n, seed) for some of them."
            )
        other = copy.copy(self)
        other.constants = self._physics(count("n", n), fresh_generator(seed))
        other.fixed_by = (n, seed)
        return other

    def name_of(self, physics: Mapping[str, Any]) -> str:
        """What one task is called in a title: ``physics`` maps names to scalars."""
        told = ((name.replace("_", " "), torch.as_tensor(p)) for name, p in physics.items())
        return ", ".join(f"{name} {float(p):.3g}" for name, p in told if p.numel() == 1)

    def draw(self, n_tasks: int, generator: torch.Generator) -> Physics:
        """Draw the physical parameters of ``n_tasks`` tasks: a dict of tensors ``[n_tasks]``. Of a
        finite family, those of members, all different while they last.
        """
        if self.members is None:
            raise MamlkitError(self._missing("draw(self, n_tasks, generator)"))
        return self._of(self.members[self._choose(len(self.members), n_tasks, generator)])

    def law(self, x: Tensor, physics: Physics) -> Tensor:
        """Evaluate the law: ``x`` is ``[n_tasks, n, d_in]``, each parameter ``[n_tasks, 1, 1]``;
        returns ``[n_tasks, n, d_out]``.
        """
        raise MamlkitError(self._missing("law(self, x, physics)"))

    def inputs(self, n_tasks: int, n: int, generator: torch.Generator) -> Tensor:
        """Draw where to measure: float64 ``[n_tasks, n, d_in]``, uniform over ``x_range``."""
        return uniform((n_tasks, n, self.d_in), *interval("x_range", self.x_range), generator)

    def sample(
        self,
        n_tasks: int,
        shots: Shots,
        queries: int | None = None,
        *,
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> TaskBatch:
        """Draw tasks, each with ``shots`` support points and ``queries`` others. If None, those are
        as many as shots (at least one), or all the rest where there are only so many points.

        Support ``x`` is ``[n_tasks, shots, d_in]`` and ``y [n_tasks, shots, d_out]``, in the units
        of the law; the query likewise; of labels, ``y`` is int64 ``[n_tasks, shots]``. No shots
        leave a learner with what it knew before. A range ``(least, most)`` of shots draws a number
        for each task; the support then is :class:`Readings` ``[n_tasks, most, ..]`` with weight 0
        where there is no more.

        Returns a :class:`TaskBatch` of ``dtype`` (torch's default if None) on ``device``. Without a
        ``generator`` every call draws anew, and torch's global generator is left alone.
        """
        n_tasks, generator = count("n_tasks", n_tasks), check_generator(generator)
        physics = self._physics(n_tasks, generator)
        return convert(self._measured(physics, shots, queries, None, generator), dtype, device)

    def every(
        self,
        shots: Shots,
        queries: int | None = None,
        *,
        generator: torch.Generator | None = None,
        **kind: Any,
    ) -> TaskBatch:
        """Each member of a finite family once, in order. ``kind`` is ``dtype`` and ``device``, as
        for :meth:`sample`; ``queries`` None takes all the rest where there are only so many points,
        else 100.
        """
        physics, generator = self._of(self._finite("every")), check_generator(generator)
        return convert(self._measured(physics, shots, queries, QUERIES, generator), **kind)

    def measure(
        self, physics: Physics, shots: int, queries: int, generator: torch.Generator
    ) -> TaskBatch:
        """Measure the systems with these parameters, ``[n_tasks]`` each: what :meth:`sample` and
        :meth:`every` return, in float64. Override it if a task is more than points of a law: put
        any NamedTuple of tensors with a leading task axis in place of :class:`Data`.
        """
        n_tasks, n = len(next(iter(physics.values()))), shots + queries
        x = self.inputs(n_tasks, n, generator)  # [n_tasks, n, d_in]
        expected = (n_tasks, n, self.d_in)
        if not isinstance(x, Tensor) or x.shape != expected:
            given = list(x.shape) if isinstance(x, Tensor) else type(x).__name__
            raise MamlkitError(
                f"{type(self).__name__}.inputs() returned {given}; it must return a tensor "
                f"[n_tasks, n, d_in] = {list(expected)}."
            )
        y = self._evaluate(x.double(), physics)
        (x, x_new), (y, y_new) = (t.split_with_sizes((shots, queries), 1) for t in (x, y))
        return TaskBatch(Data(x, self._noisy(y, generator)), Data(x_new, y_new), physics)

    def curves(
        self, n_tasks: int, points: int = 200, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor, Physics]:
        """Draw tasks without noise on one shared grid over ``x_range`` (one-dimensional families);
        of a finite family different members, in order.

        Returns float64 ``x [points, 1]``, ``y [n_tasks, points, d_out]`` and the parameters.
        """
        if self.d_in != 1:
            raise MamlkitError(
                f"curves() draws against one input, but {type(self).__name__} has "
                f"d_in={self.d_in}; use sample() instead."
            )
        generator = check_generator(generator)
        n_tasks, x = count("n_tasks", n_tasks), self._grid(points)
        if self.members is None:
            physics = self._physics(n_tasks, generator)
        elif n_tasks <= len(self.members):
            chosen = self._choose(len(self.members), n_tasks, generator).sort().values
            physics = self._of(self.members[chosen])
        else:
            raise MamlkitError(
                f"{n_tasks} curves were asked for, but this family has {self.n_members} members."
            )
        return x, self._evaluate(x.expand(n_tasks, -1, -1), physics), physics

    def true_curve(self, physics: Physics, points: int = 200) -> tuple[Tensor, Tensor]:
        """The law of *one* task on a grid: ``physics`` maps names to scalars; returns float64
        ``x [points, 1]`` and ``y [points, d_out]``.
        """
        x = self._grid(points)
        one = {name: torch.as_tensor(p, dtype=torch.float64)[None] for name, p in physics.items()}
        return x, self._evaluate(x[None], one)[0]

    def __repr__(self) -> str:
        told = {name: getattr(self, name) for name in self._shown}
        told |= {
            k: v for k, v in vars(self).items() if k[0] != "_" and k not in ("constants", "parts")
        }
        if self._held is not None:
            told["members"] = self._held
        return f"{type(self).__name__}({', '.join(f'{k}={_brief(v)}' for k, v in told.items())})"

    def _missing(self, method: str) -> str:
        return (
            f"{type(self).__name__} has no {method}; write it, or a measure() of its own if a task "
            "of yours is more than points of a law."
        )

    def _finite(self, method: str) -> Tensor:
        """The members, for a method that only a finite family has."""
        if self.members is None:
            raise MamlkitError(
                f"{type(self).__name__} draws its tasks anew without end, so it has no members for "
                f"{method}(); use sample(), or fixed(n, seed) to make a finite family of n tasks."
            )
        return self.members

    def _choose(self, n: int, n_tasks: int, generator: torch.Generator) -> Tensor:
        """Which of n members: all different while they last, else with replacement."""
        if n_tasks <= n:
            return torch.randperm(n, generator=generator)[:n_tasks]
        return torch.randint(n, (n_tasks,), generator=generator)

    def _of(self, members: Tensor) -> Physics:
        """The physical parameters of these systems."""
        known = (self.constants or {}).items()
        try:
            return {name: torch.as_tensor(v, dtype=torch.float64)[members] for name, v in known}
        except (IndexError, TypeError, ValueError) as error:
            raise MamlkitError(
                f"{type(self).__name__}.constants must hold one number a system for each "
                f"parameter, of all systems that parts speak of: {error}."
            ) from error

    def _measured(
        self,
        physics: Physics,
        shots: Shots,
        queries: int | None,
        without_end: int | None,
        generator: torch.Generator,
    ) -> TaskBatch:
        """:meth:`measure`, with sizes checked, and supports of different sizes where that is asked.
        Queries, if None, are the rest of a task, or ``without_end`` where points have no end.
        """
        least, most = shots_range(shots)
        n = count("queries", self._queries(most, queries, without_end))
        batch = self.measure(physics, most, n, generator)
        own = not type(self).__module__.startswith("mamlkit.")
        if own and type(self).measure is not Family.measure:
            check_finite(f"{type(self).__name__}.measure() gave", batch)
        return batch if least == most else thinned(batch, least, generator, self.per_shot)

    def _queries(self, shots: int, queries: int | None, without_end: int | None) -> int:
        pool = self.pool
        if queries is None:
            queries = max(shots, 1) if without_end is None else -(-without_end // self.per_shot)
            queries = queries if pool is None else max(pool - shots, 1)
        if pool is not None and shots + count("queries", queries) > pool:
            raise MamlkitError(
                f"shots={shots} and queries={queries} need {shots + queries} points, but each task "
                f"has a pool of {pool}; ask for fewer."
            )
        return queries

    def _grid(self, points: int) -> Tensor:
        low, high = interval("x_range", self.x_range)
        return torch.linspace(low, high, count("points", points), dtype=torch.float64)[:, None]

    def _physics(self, n_tasks: int, generator: torch.Generator) -> Physics:
        if self.members is not None:  # also where an endless family was fixed, draw() and all
            return Family.draw(self, n_tasks, generator)
        physics = self.draw(n_tasks, generator)
        name = type(self).__name__
        if not isinstance(physics, dict) or not physics:
            raise MamlkitError(
                f"{name}.draw() returned {type(physics).__name__}; it must return a dict such as "
                "{'k': tensor of shape [n_tasks]} with at least one physical parameter."
            )
        for key, value in physics.items():
            shape = value.shape if isinstance(value, Tensor) else ()
            if type(self).measure is not Family.measure:  # it need not be one number
                shape = shape[:1]
            if shape != (n_tasks,):
                given = list(value.shape) if isinstance(value, Tensor) else type(value).__name__
                raise MamlkitError(
                    f"{name}.draw() gave {key!r} as {given}; each parameter must be a tensor of "
                    f"shape [n_tasks] = [{n_tasks}]."
                )
        return {key: value.double() for key, value in physics.items()}

    def _evaluate(self, x: Tensor, physics: Physics) -> Tensor:
        name, expected = type(self).__name__, (*x.shape[:2], self.d_out)
        # Copies, so that a law that works in place changes nothing of ours.
        shaped = {key: value.reshape(-1, 1, 1).clone() for key, value in physics.items()}
        try:
            y = self.law(x.clone(), shaped)
        except KeyError as error:
            raise MamlkitError(
                f"{name}.law() asks for the parameter {error}, but physics holds {sorted(physics)}."
            ) from error
        except MamlkitError:  # it says what is wrong
            raise
        except (TypeError, ValueError, RuntimeError) as error:
            raise MamlkitError(
                f"{name}.law() failed on x of shape {list(x.shape)}: {error}. A law works on "
                "tensors: where it uses functions of math or numpy, take those of torch, such as "
                "torch.exp and torch.sin."
            ) from error
        if self.ways is not None:
            return self._labels(y, x)
        if not isinstance(y, Tensor) or not y.is_floating_point() or y.shape != expected:
            given = f"{list(y.shape)} of {y.dtype}" if isinstance(y, Tensor) else type(y).__name__
            raise MamlkitError(
                f"{name}.law() returned {given} for x of shape {list(x.shape)}; it must return "
                f"real numbers [n_tasks, n, d_out] = {list(expected)}. Parameters arrive as "
                "[n_tasks, 1, 1], so plain arithmetic with x gives the right shape. For labels "
                "set ways, the number of classes."
            )
        if not math.isfinite(y.sum()) and not torch.isfinite(y).all():  # the sum is quicker
            raise MamlkitError(
                f"{name}.law() returned values that are not finite; check x_range "
                f"{self.x_range} and the parameter ranges in draw()."
            )
        return y

    def _labels(self, y: Any, x: Tensor) -> Tensor:
        """The labels of a law, int64 ``[n_tasks, n]``."""
        name, ways = type(self).__name__, count("ways", self.ways, least=2)
        given = f"{list(y.shape)} of {y.dtype}" if isinstance(y, Tensor) else type(y).__name__
        if isinstance(y, Tensor) and y.shape == (*x.shape[:2], 1):
            y = y[..., 0]
        if not isinstance(y, Tensor) or y.is_floating_point() or y.shape != x.shape[:2]:
            raise MamlkitError(
                f"{name}.law() returned {given} for x of shape {list(x.shape)}; with ways={ways} "
                f"it must return whole-number labels [n_tasks, n] = {list(x.shape[:2])}, such as "
                "(x[..., 0] > 0).long()."
            )
        if number("noise", self.noise):
            raise MamlkitError(
                f"{name} has noise={self.noise} on labels, which are whole numbers; set noise=0, "
                "and draw what is random in draw(), inputs() or law()."
            )
        if y.min() < 0 or y.max() >= ways:
            raise MamlkitError(
                f"{name}.law() returned labels from {int(y.min())} to {int(y.max())}, but "
                f"ways={ways} means labels from 0 to {ways - 1}."
            )
        return y.long()

    def _noisy(self, y: Tensor, generator: torch.Generator) -> Tensor:
        if not number("noise", self.noise):
            return y
        return y + self.noise * torch.randn(y.shape, generator=generator, dtype=y.dtype)


def _brief(value: Any) -> str:
    """A value as text; of many numbers their shape, and a sum that changes if they do."""
    if not isinstance(value, Tensor | np.ndarray):
        return repr(value)
    if (numbers := np.asarray(value)).size <= MANY:
        return repr(numbers.tolist())
    data = zlib.crc32(np.ascontiguousarray(numbers).tobytes())
    return f"<{list(numbers.shape)}, {data:08x}>"


def shots_range(shots: Any) -> tuple[int, int]:
    """Least and most shots: of a whole number, or of a range ``(least, most)``."""
    pair = shots if isinstance(shots, tuple | list) else (shots, shots)
    if len(pair) != 2:
        raise MamlkitError(f"shots must be a number or (least, most), but {shots!r} was given.")
    least, most = (count("shots", n, least=0) for n in pair)
    if least > most:
        raise MamlkitError(f"shots={shots!r} must be (least, most), with the smaller one first.")
    return least, most


@contextmanager
def fields_in_words() -> Iterator[None]:
    """Say plainly what data lack, where a loss or a learner asks for it in vain."""
    try:
        yield
    except AttributeError as error:
        if not hasattr(error.obj, "_fields"):  # no data
            raise
        raise MamlkitError(
            f"the data have no {error.name}: they are {type(error.obj).__name__}, with "
            f"{', '.join(error.obj._fields)}. Take a loss and learners that fit such tasks: mse "
            "and most yardsticks are for points (x, y), mk.losses.trajectories() is for "
            "trajectories."
        ) from error


def check_finite(who: str, batch: TaskBatch) -> None:
    """Refuse numbers that are not finite, and name the first task with one."""
    for part, data in (("support", batch.support), ("query", batch.query)):
        for field, leaf in zip(data._fields, data, strict=True):
            if field == "y" and hasattr(data, "source"):
                continue  # of an equation the solution may be unknown
            if leaf.is_floating_point() and not torch.isfinite(leaf.sum()):
                bad = ~torch.isfinite(leaf.flatten(1)).all(1)
                if bad.any():
                    task = int(bad.nonzero()[0])
                    values = {k: v[task].tolist() for k, v in batch.physics.items()}
                    raise MamlkitError(
                        f"{who} numbers that are not finite in {field} of the {part} of task "
                        f"{task}, with {values}."
                    )


def thinned(
    batch: TaskBatch, least: int, generator: torch.Generator, per_shot: int = 1
) -> TaskBatch:
    """Leave of each support the first n shots, with n drawn anew for each task from ``least`` to
    all; the rest gets weight 0. A shot is ``per_shot`` points.
    """
    x, y, weight = weighted(batch.support)
    points = x.shape[1]
    most = points // per_shot
    n = torch.randint(min(least, most), most + 1, (len(x), 1), generator=generator)
    kept = torch.arange(points) < n * per_shot  # [n_tasks, points]
    return batch._replace(support=Readings(x, y, weight * kept[..., None]))


def weighted(points: Any) -> Readings:
    """Points with a weight each: 1 where they had none."""
    if isinstance(points, Readings):
        return points
    if not isinstance(points, Data):
        raise MamlkitError(
            f"the support of this family is {type(points).__name__}, of which no point can be left "
            "out; give shots as one number."
        )
    x, y = points
    each = y.shape[:-1] if y.is_floating_point() else y.shape  # labels have no last axis
    return Readings(x, y, x.new_ones(*each, 1))


def convert(
    batch: TaskBatch, dtype: torch.dtype | None = None, device: torch.device | str | None = None
) -> TaskBatch:
    """Move a batch to ``device`` and its floating-point leaves to ``dtype`` (default: torch's)."""
    dtype = dtype or torch.get_default_dtype()
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise MamlkitError(
            f"dtype must be a floating-point type such as torch.float64, not {dtype!r}."
        )

    def move(part: Any) -> Any:  # a tensor, a dict of tensors, or a NamedTuple of such
        if isinstance(part, Tensor):
            return part.to(device, dtype if part.is_floating_point() else part.dtype)
        if isinstance(part, dict):
            return {name: move(value) for name, value in part.items()}
        return type(part)(*map(move, part))

    return move(batch)


def check_family(family: Any) -> None:
    """Check that ``family`` is a :class:`Family`."""
    if not isinstance(family, Family):
        raise MamlkitError(
            f"family must be a Family, but {type(family).__name__} was given; "
            "for example mk.tasks.Sinusoid()."
        )
