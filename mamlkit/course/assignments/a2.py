"""Assignment 2, break a benchmark: questions, right answers and known mistakes."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import torch

from mamlkit.course.assignments.base import Assignment, Own, Question, Written, finite
from mamlkit.course.recipes import shipped
from mamlkit.tasks import Data, Sinusoid, TaskBatch

TASKS, SHOTS, QUERIES = 40, 10, 20  # of the student's own bench
LEVEL, NEAR = 1.4, 1.8  # ratio of the two errors: all points, half of them


def own(rng: np.random.Generator) -> Own:
    """Your bench: forty settings of a signal generator, amplitude (V) in a range and phase (rad) in
    [0, widest], each with ten readings for the support and twenty for the query at places x (rad)
    in [-reach, reach]; which trained learners you test; and how far amplitudes lie apart in
    ``level``, plus or minus ``spread`` (V).
    """
    low, high = round(rng.uniform(0.3, 1.0), 2), round(rng.uniform(2.5, 4.5), 2)
    widest, reach = round(rng.uniform(0.6, 1.2), 2), round(rng.uniform(1.9, 2.6), 2)
    spread, seed = round(rng.uniform(0.1, 0.25), 2), int(rng.integers(5))
    amplitude, phase = rng.uniform(low, high, (TASKS, 1)), rng.uniform(0, widest, (TASKS, 1))
    x = rng.uniform(-reach, reach, (TASKS, SHOTS + QUERIES)).round(3)
    y = (amplitude * np.sin(x - phase)).round(3)
    ranges = {"low": low, "high": high, "widest": widest, "reach": reach}
    return {**ranges, "spread": spread, "seed": seed, "x": x.tolist(), "y": y.tolist()}


def to_solve(rng: np.random.Generator, data: Own) -> list[list[Any]]:
    """Readings of curves that nobody has seen: one; two that lie nearly half a period apart, so
    that they say nearly the same; and eight. Then the noise, the spread of the two coefficients,
    and the places to predict.
    """
    cases = []
    start = float(rng.uniform(-3, 0))
    nearly = start + math.pi - float(rng.uniform(0.05, 0.15))
    for places in ([start], [start, nearly], rng.uniform(-5, 5, 8).tolist()):
        spread = round(float(rng.uniform(1.0, 3.0)), 2)
        noise = round(spread * float(rng.uniform(0.2, 0.5)), 3)
        x = np.round(places, 3)
        a, b = spread * rng.normal(size=2)
        y = a * np.sin(x) + b * np.cos(x) + rng.normal(0, noise, len(x))
        at = np.round(rng.uniform(-5, 5, 6), 3)
        cases.append([x.tolist(), y.round(3).tolist(), noise, spread, at.tolist()])
    return cases


def waves(x: Any) -> np.ndarray:
    """sin x and cos x, ``[n] -> [n, 2]``."""
    x = np.asarray(x, dtype=float)
    return np.stack([np.sin(x), np.cos(x)], axis=1)


def solver(
    penalty: Callable[[float, float, int], float], columns: int = 2
) -> Callable[..., list[float]]:
    """Least squares on sin and cos with a penalty on the squared coefficients."""

    def solve(x: Any, y: Any, noise: float, spread: float, at: Any) -> list[float]:
        phi, weight = waves(x)[:, :columns], penalty(noise, spread, len(x))
        found = np.linalg.solve(phi.T @ phi + weight * np.eye(columns), phi.T @ np.asarray(y))
        return (waves(at)[:, :columns] @ found).tolist()

    return solve


def least_squares(x: Any, y: Any, noise: float, spread: float, at: Any) -> list[float]:
    """Without the prior; of one reading, the shortest pair of coefficients."""
    found = np.linalg.pinv(waves(x)) @ np.asarray(y)
    return (waves(at) @ found).tolist()


def mean_cos(width: float) -> float:
    """Of cos u over an interval of this width around zero: sin(width / 2) / (width / 2)."""
    return math.sin(width / 2) / (width / 2)


def lines(
    data: Own, *, half: bool = False, square_of_mean: bool = False, one_phase: bool = False
) -> list[float]:
    """The mean squared errors of predicting zero, and of the mean curve of the student's ranges
    (V^2). The square of a sine is half of one less the cosine of twice the angle, and the mean of
    cos(2x - 2 phi) is that of cos 2x times that of cos 2 phi: places lie about zero.

    The common mistakes: half for the mean of every squared sine; the square of the mean amplitude
    for the mean of its square; amplitudes that differ, and phases that do not.
    """
    low, high, widest, reach = (data[name] for name in ("low", "high", "widest", "reach"))
    mean = (low + high) / 2
    square = mean**2 if square_of_mean else (low**2 + low * high + high**2) / 3
    of_x = 0.0 if half else mean_cos(4 * reach)  # of cos 2x
    zero = square * (1 - of_x * mean_cos(4 * widest)) / 2
    if one_phase:
        return [zero, zero * (1 - mean**2 / square)]
    curve = mean * mean_cos(widest)  # amplitude of the mean curve, sin(x - widest / 2)
    return [zero, zero - curve**2 * (1 - of_x * math.cos(widest)) / 2]


@cache
def learner(name: str, seed: int) -> Any:
    """A learner that ships, of the benchmark of Finn et al. 2017, in float64."""
    return shipped(f"finn2017-{name}", seed).double()


def other(n: int) -> np.ndarray:
    """Whose support each task is given."""
    return (np.arange(n) + 1) % n


def errors(data: Own, x_of: Any, y_of: Any, query_of: Any) -> list[float]:
    """Query loss of MAML and of the pooled model after one inner step, for each the own support and
    then another: which task the x and the y of that one come from, and which task is asked (V^2).
    """
    x, y = (torch.tensor(data[name], dtype=torch.float64)[..., None] for name in "xy")
    found = []
    for name in ("maml", "pooled"):
        for i, j, k in ((slice(None),) * 3, (x_of, y_of, query_of)):
            support = Data(x[i, :SHOTS], y[j, :SHOTS])
            batch = TaskBatch(support, Data(x[k, SHOTS:], y[k, SHOTS:]), {})
            with torch.no_grad():
                losses = learner(name, data["seed"]).query_losses(batch, steps=1)
            found.append(float(losses.mean()))
    return found


def shuffled(data: Own) -> list[float]:
    """MAML with its own support and with another task's, then the pooled model: four losses."""
    return errors(data, other(TASKS), other(TASKS), slice(None))


def to_level(rng: np.random.Generator, data: Own) -> list[list[Any]]:
    """A small and a large mean amplitude (V), one with a single inner step, one with ten."""
    steps = rng.permutation([1, 10]).tolist()
    ends = ((1.0, 1.8), (2.2, 3.0))
    return [[round(float(rng.uniform(*e)), 3), m] for e, m in zip(ends, steps, strict=True)]


def level(inputs: list[Any] | None, value: Any, data: Own) -> tuple[float, str]:
    """How near to each other MAML and the mean curve come on 1000 new tasks of this width."""
    amplitude, steps = inputs or [2.0, 1]
    width = finite(value)
    if width is None or not 0 < width <= math.pi:
        return 0.0, f"{value!r:.60} is not a width of phases, a number in (0, pi]"
    maml, curve = both_errors(amplitude, steps, float(width), data)
    ratio = max(maml, curve) / min(maml, curve)
    share = 1.0 if ratio <= LEVEL else 0.5 if ratio <= NEAR else 0.0
    if share == 1:
        return share, "right"
    ahead = "MAML leads" if maml < curve else "the mean curve leads"
    return share, (
        f"at a mean amplitude of {amplitude:g} V, {steps} inner steps and a width of "
        f"{float(width):.3g} rad MAML has {maml:.3g} V^2 and the mean curve {curve:.3g}: "
        f"{ahead} by a factor of {ratio:.2g}"
    )


def both_errors(amplitude: float, steps: int, width: float, data: Own) -> tuple[float, float]:
    """MAML, and the mean curve of the distribution, on the same new tasks (V^2). What seeds them is
    as secret as the amplitude.
    """
    words = hashlib.sha256(repr((amplitude, data["seed"], data["spread"])).encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(words[:7]))
    ends = (amplitude - data["spread"], amplitude + data["spread"])
    tasks = Sinusoid(amplitude=ends, phase=(0.0, width))
    batch = tasks.sample(1000, SHOTS, QUERIES, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        losses = learner("maml", data["seed"]).query_losses(batch, steps=steps)
    mean = amplitude * mean_cos(width) * torch.sin(batch.query.x - width / 2)
    return float(losses.mean()), float((batch.query.y - mean).square().mean())


ASSIGNMENT = Assignment(
    name="a2",
    title="Assignment 2: break a benchmark",
    notebook="a2_break_a_benchmark.ipynb",
    own=own,
    questions=[
        Question(
            "solve",
            "A closed form for noisy readings, however few",
            4,
            solver(lambda noise, spread, n: (noise / spread) ** 2),
            to_solve,
            {
                "least squares: right for many readings, but what you knew before them is not "
                "used": (least_squares, 1 / 2),
                "the penalty is noise over spread; it has to be squared": (
                    solver(lambda noise, spread, n: noise / spread),
                    3 / 4,
                ),
                "the penalty is the noise squared; how large the coefficients are is not used": (
                    solver(lambda noise, spread, n: noise**2),
                    3 / 4,
                ),
                "the penalty stands beside the mean of the squares; it belongs beside their sum": (
                    solver(lambda noise, spread, n: n * (noise / spread) ** 2),
                    3 / 4,
                ),
                "the sine alone: without the cosine the phase cannot be fitted": (
                    solver(lambda noise, spread, n: (noise / spread) ** 2, columns=1),
                    1 / 4,
                ),
            },
        ),
        Question(
            "lines",
            "What predicting zero scores on your bench, and what the mean curve does",
            3,
            lines,
            mistakes={
                "this has 1/2 for the mean of a squared sine; your ranges are no whole periods": (
                    lambda data: lines(data, half=True),
                    1 / 2,
                ),
                "this has the square of the mean amplitude; the mean of its square is needed": (
                    lambda data: lines(data, square_of_mean=True),
                    1 / 2,
                ),
                "the second has amplitudes that differ, and one phase; yours differ too": (
                    lambda data: lines(data, one_phase=True),
                    1 / 2,
                ),
                "these are the roots; mean squared errors were asked for": (
                    lambda data: [math.sqrt(v) for v in lines(data)],
                    2 / 3,
                ),
            },
            rtol=2e-3,
        ),
        Question(
            "shuffled",
            "Two trained learners, each with its own support and with another's",
            2,
            shuffled,
            mistakes={
                "the query was shuffled with the support, so nothing was": (
                    lambda data: errors(data, other(TASKS), other(TASKS), other(TASKS)),
                    1 / 4,
                ),
                "only the readings y were taken from the other task; its places x belong to them": (
                    lambda data: errors(data, slice(None), other(TASKS), slice(None)),
                    1 / 2,
                ),
                "these are the roots; mean squared errors were asked for": (
                    lambda data: [math.sqrt(v) for v in shuffled(data)],
                    3 / 4,
                ),
            },
        ),
        Question(
            "level",
            "How far tasks must differ before MAML leads",
            4,
            cases=to_level,
            score=level,
        ),
    ],
    written=[
        Written(
            "A2.1",
            "What the shuffled support tells",
            2,
            [
                (1, "the rise of both learners, against how far your tasks lie apart"),
                (1, "what it cannot tell, with a case where it would mislead"),
            ],
        ),
        Written(
            "A2.2",
            "One page: a benchmark that cannot be broken like this",
            5,
            [
                (1, "the zero line and the law's own score stand beside every result"),
                (1, "the simple rivals, for each the tasks on which it is the right one"),
                (1, "how far tasks differ, with your figure and your level widths"),
                (1, "the protocol: ranges, shots, steps, test tasks kept apart, tuned alike"),
                (1, "intervals over independent things, and one thing that this cannot mend"),
            ],
        ),
    ],
)
