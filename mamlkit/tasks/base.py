"""Tasks: the data of one task, a batch of tasks, and the base class of every family."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from mamlkit.checks import check_generator, count, interval, number
from mamlkit.errors import MamlkitError

Physics = dict[str, Tensor]


class Data(NamedTuple):
    """Points of one task, or of many with a leading task axis.

    ``x`` is ``[..., n, d_in]`` and ``y`` is ``[..., n, d_out]``; for classification ``y`` holds
    integer labels ``[..., n]``.
    """

    x: Tensor
    y: Tensor


class TaskBatch(NamedTuple):
    """Tasks side by side; every leaf carries a leading axis ``n_tasks``.

    ``support`` is what a learner may adapt to and ``query`` is what it is judged on: usually
    :class:`Data`, or any other NamedTuple of tensors. ``physics`` maps the name of each true
    physical parameter to a tensor ``[n_tasks]``.
    """

    support: Any
    query: Any
    physics: Physics


def uniform(n: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    """Draw ``n`` float64 numbers uniformly from ``[low, high)``; shape ``[n]``."""
    return low + (high - low) * torch.rand(n, generator=generator, dtype=torch.float64)


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

    A finite family (real systems) gives each member once by ``every(shots, queries, *, generator,
    dtype, device) -> TaskBatch``, says how many there are in ``n_members`` and restricts itself by
    ``split(part)``; see :class:`mamlkit.tasks.VapourPressure`.

    Numbers are drawn in float64 on the CPU and converted at the end, so the same generator gives
    the same tasks in every type and on every device.
    """

    d_in: int = 1
    d_out: int = 1
    x_range: tuple[float, float] = (-1.0, 1.0)
    noise: float = 0.0
    x_label: str = "x"
    y_label: str = "y"

    def draw(self, n_tasks: int, generator: torch.Generator) -> Physics:
        """Draw the physical parameters of ``n_tasks`` tasks: a dict of tensors ``[n_tasks]``."""
        raise MamlkitError(self._missing("draw(self, n_tasks, generator)"))

    def law(self, x: Tensor, physics: Physics) -> Tensor:
        """Evaluate the law: ``x`` is ``[n_tasks, n, d_in]``, each parameter ``[n_tasks, 1, 1]``;
        returns ``[n_tasks, n, d_out]``.
        """
        raise MamlkitError(self._missing("law(self, x, physics)"))

    def inputs(self, n_tasks: int, n: int, generator: torch.Generator) -> Tensor:
        """Draw where to measure: float64 ``[n_tasks, n, d_in]``, uniform over ``x_range``."""
        low, high = interval("x_range", self.x_range)
        u = torch.rand(n_tasks, n, self.d_in, generator=generator, dtype=torch.float64)
        return low + (high - low) * u

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
        """Draw tasks, each with ``shots`` support points and ``queries`` others (as many, if None).

        Support ``x`` is ``[n_tasks, shots, d_in]`` and ``y [n_tasks, shots, d_out]``, in the units
        of the law; the query likewise. Returns a :class:`TaskBatch` of ``dtype`` (torch's default
        if None) on ``device``. Without a ``generator`` every call draws anew, and torch's global
        generator is left alone.
        """
        n_tasks = count("n_tasks", n_tasks)
        shots = count("shots", shots)
        queries = shots if queries is None else count("queries", queries)
        generator = check_generator(generator)
        physics = self._physics(n_tasks, generator)
        x = self.inputs(n_tasks, shots + queries, generator)  # [n_tasks, shots + queries, d_in]
        expected = (n_tasks, shots + queries, self.d_in)
        if not isinstance(x, Tensor) or x.shape != expected:
            given = list(x.shape) if isinstance(x, Tensor) else type(x).__name__
            raise MamlkitError(
                f"{type(self).__name__}.inputs() returned {given}; it must return a tensor "
                f"[n_tasks, n, d_in] = {list(expected)}."
            )
        y = self._evaluate(x.double(), physics)
        support = Data(x[:, :shots], self._measure(y[:, :shots], generator))
        query = Data(x[:, shots:], y[:, shots:])
        return convert(TaskBatch(support, query, physics), dtype, device)

    def curves(
        self, n_tasks: int, points: int = 200, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor, Physics]:
        """Draw tasks without noise on one shared grid over ``x_range`` (one-dimensional families).

        Returns float64 ``x [points, 1]``, ``y [n_tasks, points, d_out]`` and the parameters.
        """
        if self.d_in != 1:
            raise MamlkitError(
                f"curves() draws against one input, but {type(self).__name__} has "
                f"d_in={self.d_in}; use sample() instead."
            )
        generator = check_generator(generator)
        x = self._grid(points)
        physics = self._physics(count("n_tasks", n_tasks), generator)
        return x, self._evaluate(x.expand(n_tasks, -1, -1), physics), physics

    def true_curve(self, physics: Physics, points: int = 200) -> tuple[Tensor, Tensor]:
        """The law of *one* task on a grid: ``physics`` maps names to scalars; returns float64
        ``x [points, 1]`` and ``y [points, d_out]``.
        """
        x = self._grid(points)
        one = {name: torch.as_tensor(p, dtype=torch.float64)[None] for name, p in physics.items()}
        return x, self._evaluate(x[None], one)[0]

    def __repr__(self) -> str:
        shape = {k: getattr(self, k) for k in ("d_in", "d_out", "x_range", "noise")}
        plain = {
            k: v.tolist() if isinstance(v, Tensor) else v
            for k, v in {**shape, **vars(self)}.items()
        }
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in plain.items())})"

    def _missing(self, method: str) -> str:
        return (
            f"{type(self).__name__} has no {method}; write it, or a sample() of its own if a task "
            "of yours is more than points of a law."
        )

    def _grid(self, points: int) -> Tensor:
        low, high = interval("x_range", self.x_range)
        return torch.linspace(low, high, count("points", points), dtype=torch.float64)[:, None]

    def _physics(self, n_tasks: int, generator: torch.Generator) -> Physics:
        physics = self.draw(n_tasks, generator)
        name = type(self).__name__
        if not isinstance(physics, dict) or not physics:
            raise MamlkitError(
                f"{name}.draw() returned {type(physics).__name__}; it must return a dict such as "
                "{'k': tensor of shape [n_tasks]} with at least one physical parameter."
            )
        for key, value in physics.items():
            if not isinstance(value, Tensor) or value.shape != (n_tasks,):
                given = list(value.shape) if isinstance(value, Tensor) else type(value).__name__
                raise MamlkitError(
                    f"{name}.draw() gave {key!r} as {given}; each parameter must be a tensor of "
                    f"shape [n_tasks] = [{n_tasks}]."
                )
        return {key: value.double() for key, value in physics.items()}

    def _evaluate(self, x: Tensor, physics: Physics) -> Tensor:
        name, expected = type(self).__name__, (*x.shape[:2], self.d_out)
        # Copies, so that a law that works in place changes nothing of ours.
        shaped = {key: value[:, None, None].clone() for key, value in physics.items()}
        try:
            y = self.law(x.clone(), shaped)
        except KeyError as error:
            raise MamlkitError(
                f"{name}.law() asks for the parameter {error}, but physics holds {sorted(physics)}."
            ) from error
        except (TypeError, ValueError, RuntimeError) as error:
            raise MamlkitError(
                f"{name}.law() failed on x of shape {list(x.shape)}: {error}. It works on tensors: "
                "use torch.exp and torch.sin, not those of math or numpy."
            ) from error
        if not isinstance(y, Tensor) or not y.is_floating_point() or y.shape != expected:
            given = f"{list(y.shape)} of {y.dtype}" if isinstance(y, Tensor) else type(y).__name__
            raise MamlkitError(
                f"{name}.law() returned {given} for x of shape {list(x.shape)}; it must return "
                f"real numbers [n_tasks, n, d_out] = {list(expected)}. Parameters arrive as "
                "[n_tasks, 1, 1], so plain arithmetic with x gives the right shape."
            )
        if not torch.isfinite(y).all():
            raise MamlkitError(
                f"{name}.law() returned values that are not finite; check x_range "
                f"{self.x_range} and the parameter ranges in draw()."
            )
        return y

    def _measure(self, y: Tensor, generator: torch.Generator) -> Tensor:
        if not number("noise", self.noise):
            return y
        return y + self.noise * torch.randn(y.shape, generator=generator, dtype=y.dtype)


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
            return part.to(device=device, dtype=dtype if part.is_floating_point() else None)
        if isinstance(part, dict):
            return {name: move(value) for name, value in part.items()}
        return type(part)(*map(move, part))

    moved: TaskBatch = move(batch)
    return moved
