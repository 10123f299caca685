"""Checks of plain values: numbers, intervals, names, generators, points. Each returns the value in
the form that the rest works with, or says what was given and what is needed. And what a function is
called, and how it was made, so that it can be saved.
"""

from __future__ import annotations

import math
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache, partial, wraps
from numbers import Integral, Real
from pathlib import Path
from typing import Any, NamedTuple, ParamSpec, TypeVar

import torch
from torch import Tensor
from torch.func import grad, vmap

from mamlkit.errors import MamlkitError

P = ParamSpec("P")
T = TypeVar("T")


class Made(NamedTuple):
    """How a thing was made: ``maker(*given, **settings)``. A file can hold that; no closure."""

    maker: Callable[..., Any]
    given: tuple[Any, ...]
    settings: dict[str, Any]

    def again(self) -> Any:
        """The thing, made anew."""
        return self.maker(*self.given, **self.settings)


class Remade:
    """What can be pickled, and copied, by making it again."""

    made: Made | None = None

    def __reduce__(self) -> Any:
        return super().__reduce__() if self.made is None else (Made.again, (self.made,))


class RemadeFunction(Remade):
    """A function that notes how it was made."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function, self.__name__ = function, name_of(function)

    def __call__(self, *given: Any) -> Any:
        """What the function gives."""
        return self._function(*given)


def remade(maker: Callable[P, T]) -> Callable[P, T]:
    """Let what ``maker`` returns, a function or a :class:`Remade`, note how it was made, in its
    attribute ``made``.
    """

    @wraps(maker)
    def make(*given: P.args, **settings: P.kwargs) -> T:
        thing: Any = maker(*given, **settings)
        if not isinstance(thing, Remade):
            thing = RemadeFunction(thing)
        if thing.made is None:
            object.__setattr__(thing, "made", Made(make, given, settings))
        return thing

    object.__setattr__(make, "remade", True)
    return make


def name_of(function: Any) -> str:
    """What a function is called, in words that are the same in every process."""
    if isinstance(function, partial):
        given = [repr(value) for value in function.args]
        given += [f"{name}={value!r}" for name, value in function.keywords.items()]
        return f"{name_of(function.func)}({', '.join(given)})"
    return getattr(function, "__name__", type(function).__name__)


@contextmanager
def deferred_interrupt() -> Iterator[Callable[[], bool]]:
    """Let Ctrl-C wait for the end of a step, so that nothing is left half done; gives a function
    that says whether it was pressed.
    """
    pressed: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return

    def press(number: int, frame: Any) -> None:
        if pressed:  # a second Ctrl-C means now
            raise KeyboardInterrupt
        pressed.append(number)

    before = signal.signal(signal.SIGINT, press)
    try:
        yield lambda: bool(pressed)
    finally:
        signal.signal(signal.SIGINT, before)


@cache
def load_torch() -> None:
    """Torch imports much of itself (a second's work) at the first ``vmap``, and Ctrl-C in the midst
    of it leaves a half that no later call gets past. So it is done here, and Ctrl-C waits.
    """
    with deferred_interrupt() as interrupted:
        vmap(grad(torch.sin))(torch.zeros(1))
    if interrupted():
        raise KeyboardInterrupt


def count(name: str, value: Any, least: int = 1) -> int:
    """Check that ``value`` is a whole number of at least ``least``, and return it."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
        raise MamlkitError(
            f"{name} must be a whole number of at least {least}, but {value!r} was given."
        )
    return int(value)


def number(name: str, value: Any, *, positive: bool = False) -> float:
    """Check that ``value`` is a finite number >= 0, or > 0 if ``positive``, and return it."""
    good = isinstance(value, Real) and not isinstance(value, bool)
    if not (good and 0 <= value < math.inf) or (positive and value == 0):
        bound = "> 0" if positive else ">= 0"
        raise MamlkitError(f"{name} must be a finite number {bound}, but {value!r} was given.")
    return float(value)


def interval(name: str, value: Any) -> tuple[float, float]:
    """Check that ``value`` is ``(low, high)``, finite and with low < high, and return it."""
    try:
        low, high = (float(v) for v in value)
    except (TypeError, ValueError):
        low, high = math.nan, math.nan
    if not -math.inf < low < high < math.inf:
        raise MamlkitError(
            f"{name} must be (low, high), two finite numbers with low < high, but {value!r} was "
            "given."
        )
    return low, high


def one_of(name: str, value: Any, choices: Iterable[str]) -> str:
    """Check that ``value`` is one of ``choices``, and return it."""
    choices = list(choices)
    if value not in choices:
        raise MamlkitError(f"{name}={value!r} is not known; choose from {choices}.")
    return str(value)


def as_path(path: str | Path) -> Path:
    """A path, in which ``~`` is the home folder."""
    if not isinstance(path, str | os.PathLike):
        raise MamlkitError(
            f"a path must be text, but {type(path).__name__} was given. It comes last: "
            "load_learner(learner, path), save(thing, path)."
        )
    return Path(path).expanduser()


def fresh_generator(seed: int | None = None) -> torch.Generator:
    """A CPU generator, seeded with ``seed``, or unpredictably when ``seed`` is None."""
    generator = torch.Generator()
    if seed is None:
        generator.seed()
    else:
        if count("seed", seed, least=0) >= 2**63:
            raise MamlkitError(f"seed must be below 2**63, but {seed} was given.")
        generator.manual_seed(int(seed))
    return generator


def check_generator(generator: torch.Generator | None) -> torch.Generator:
    """Check that ``generator`` is a CPU generator; make a fresh one when it is None."""
    if generator is None:
        return fresh_generator()
    if not isinstance(generator, torch.Generator) or generator.device.type != "cpu":
        given = getattr(generator, "device", type(generator).__name__)
        raise MamlkitError(
            f"generator must be a torch.Generator on the CPU, but {given} was given; "
            "use torch.Generator().manual_seed(0). Tasks are drawn on the CPU and then moved."
        )
    return generator


def as_tensor(name: str, value: Any, like: dict[str, Tensor] | None = None) -> Tensor:
    """Check that ``value`` is a finite tensor; bring it to the type and device of ``like``."""
    if not isinstance(value, Tensor):
        # Of a table of pandas torch.as_tensor() can make nothing, and its numbers are read-only.
        table = hasattr(value, "to_numpy")
        make = f"torch.tensor({name}.to_numpy())" if table else f"torch.as_tensor({name})"
        raise MamlkitError(
            f"{name} must be a torch.Tensor, but {type(value).__name__} was given; use {make}."
        )
    if not torch.isfinite(value).all():
        bad = int((~torch.isfinite(value)).sum())
        raise MamlkitError(
            f"{name} holds {bad} value(s) that are not finite (nan or inf); remove those points."
        )
    if like is None:
        return value
    first = next(iter(like.values()))
    return value.to(first.device, first.dtype if value.is_floating_point() else None)


def as_points(
    name: str, value: Any, like: dict[str, Tensor] | None = None, least: int = 1
) -> Tensor:
    """As :func:`as_tensor`, for points of one task: rows ``[n, d]``, or labels ``[n]``."""
    points = as_tensor(name, value, like)
    if points.ndim == 0 or (points.ndim < 2 and points.is_floating_point()):
        raise MamlkitError(
            f"{name} has shape {list(points.shape)}, but points are rows: [n, d]. For one number a "
            f"point use {name}.reshape(-1, 1); labels [n] must be whole numbers: {name}.long()."
        )
    if len(points) < least:
        raise MamlkitError(
            f"{name} holds no points, shape {list(points.shape)}; give at least one."
        )
    return points
