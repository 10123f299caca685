"""Assignment 4, calibrate a simulator: questions, right answers and known mistakes."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from mamlkit.course.assignments.base import Assignment, Own, Question, Written, finite

Array = np.ndarray
STEP, EVERY, READINGS = 0.05, 8, 20  # s; steps from one reading to the next; readings
SIGMA = 0.05  # rad, of each reading
SLOWEST, FASTEST = 2.0, 5.5  # sqrt(a), 1/s, of the pendulums that there are
LEAST, MOST = 0.05, 0.3  # their drag c, 1/s
LONGEST = 0.25  # step of log theta
BOUNDS = (0.02, 0.35)  # of the drag in a fit, 1/s
BUDGET = 6  # runs for one pendulum
Z90 = 1.6448536269514722  # 90 % of a Gaussian lie within so many standard deviations
FOUND = {0.85: 3, 0.5: 2, 0.4: 1}  # share of the pendulums that are found, and points
SPREADS = {3.5: 3, 8: 2, 17: 1}  # coverage within so many binomial spreads of 0.9, and points
SHARP = 0.8  # intervals may be wider than the right ones by a quarter


def run(theta: Any, release: Any, mistake: str = "") -> Array:
    """One run of the simulator for each pendulum.

    Args:
        theta: stiffness a (1/s^2) and drag c (1/s), ``[.., 2]``.
        release: angle at which it is let go, at rest, rad, ``[..]``.
        mistake: "old" moves the angle with the speed before the step; "direct" leaves out of the
            slopes that the pull depends on an angle which depends on theta; "late" takes the
            slopes at the state after the step.

    Returns:
        the angle at each reading and its slopes by a and by c, ``[.., n, 3]``.
    """
    a, c = np.moveaxis(np.asarray(theta, dtype=float), -1, 0)
    q = np.asarray(release, dtype=float) + 0 * a
    p = qa = pa = qc = pc = np.zeros_like(q)
    seen = []
    for k in range(1, READINGS * EVERY + 1):
        at, before, pa_before, pc_before = q, p, pa, pc
        p = p + STEP * (-a * np.sin(q) - c * p)
        q = q + STEP * (before if mistake == "old" else p)
        if mistake == "late":
            at, before = q, p
        pull = 0.0 if mistake == "direct" else a * np.cos(at)
        pa = pa + STEP * (-np.sin(at) - pull * qa - c * pa)
        pc = pc + STEP * (-before - pull * qc - c * pc)
        qa = qa + STEP * (pa_before if mistake == "old" else pa)
        qc = qc + STEP * (pc_before if mistake == "old" else pc)
        if k % EVERY == 0:
            seen.append(np.stack([q, qa, qc], axis=-1))
    return np.stack(seen, axis=-2)


def fit(readings: Any, release: Any, start: Any, runs: int) -> tuple[Array, Array, Array]:
    """The fit of the notebook: so many runs, with a damped Gauss-Newton step between two.

    Args:
        readings: rad, ``[.., n]``.
        release: rad, ``[..]``.
        start: ``[.., 2]``, positive.
        runs: of the simulator, for each pendulum and start.

    Returns:
        theta ``[.., 2]`` of the last run, its mean squared error ``[..]``, and the run.
    """
    readings, theta = np.asarray(readings, dtype=float), np.asarray(start, dtype=float)
    ran = run(theta, release)
    for _ in range(runs - 1):
        theta = improved(theta, ran, readings)
        ran = run(theta, release)
    return theta, ((ran[..., 0] - readings) ** 2).mean(-1), ran


def improved(theta: Array, ran: Array, readings: Array) -> Array:
    """One step in log theta, damped by a tenth, and no longer than LONGEST. Where the drag would
    leave its bounds it stays at them, and the stiffness steps alone.
    """
    slopes = ran[..., 1:] * theta[..., None, :]
    square = np.swapaxes(slopes, -1, -2) @ slopes
    pull = (slopes * (readings - ran[..., 0])[..., None]).sum(-2)
    step = np.linalg.solve(square + 0.1 * square * np.eye(2) + 1e-9 * np.eye(2), pull[..., None])
    a, c = np.moveaxis(theta * np.exp(step[..., 0].clip(-LONGEST, LONGEST)), -1, 0)
    alone = pull[..., 0] / (1.1 * square[..., 0, 0] + 1e-9)
    out = (c < BOUNDS[0]) | (c > BOUNDS[1])
    a = np.where(out, theta[..., 0] * np.exp(alone.clip(-LONGEST, LONGEST)), a)
    return np.stack([a, c.clip(*BOUNDS)], axis=-1)


def drawn(rng: np.random.Generator, count: int) -> tuple[Array, Array, Array]:
    """Pendulums, as the notebook draws them: theta ``[count, 2]``, release ``[count]`` in rad,
    noisy readings ``[count, n]`` in rad.
    """
    a, c = rng.uniform(SLOWEST, FASTEST, count) ** 2, rng.uniform(LEAST, MOST, count)
    release = rng.uniform(0.5, 1.5, count).round(3)
    theta = np.stack([a, c], axis=1)
    noise = rng.normal(0, SIGMA, (count, READINGS))
    return theta, release, (run(theta, release)[..., 0] + noise).round(3)


def own(rng: np.random.Generator) -> Own:
    """Your pendulum: its release angle in rad, and 20 readings of its angle in rad."""
    a, c = rng.uniform(4.2, 5.2) ** 2, rng.uniform(0.1, 0.25)
    release = round(rng.uniform(1.2, 1.5), 3)
    readings = run([a, c], release)[..., 0] + rng.normal(0, SIGMA, READINGS)
    return {"release": release, "readings": readings.round(3).tolist()}


def nearest(readings: Any, release: Any, count: int = 24) -> Array:
    """The best of many even starts, by one run each: in the lowest valley.  ``[.., 2]``."""
    even = np.stack([np.linspace(1.9, 5.6, count) ** 2, np.full(count, 0.15)], axis=1)
    ran = run(even, np.asarray(release)[..., None])[..., 0]
    return even[((ran - np.asarray(readings)[..., None, :]) ** 2).mean(-1).argmin(-1)]


def best(data: Own) -> Array:
    """Stiffness and drag of the lowest valley, ``[2]``."""
    return _best(tuple(data["readings"]), data["release"])


@functools.lru_cache(1000)
def _best(readings: tuple[float, ...], release: float) -> Array:
    return fit(readings, release, nearest(readings, release), 30)[0]


def false_valley(which: int) -> Callable[[Own], float]:
    """The stiffness where fits from elsewhere come to rest: of the first or second valley below the
    right one (-1, -2), or of the first above (1); NaN where there is none.
    """

    def stiffness(data: Own) -> float:
        rest = _resting(tuple(data["readings"]), data["release"])
        right = best(data)[0]
        below, above = rest[rest < 0.99 * right][::-1], rest[rest > 1.01 * right]
        beside = below if which < 0 else above
        return float(beside[abs(which) - 1]) if len(beside) >= abs(which) else math.nan

    return stiffness


@functools.lru_cache(1000)
def _resting(readings: tuple[float, ...], release: float) -> Array:
    start = np.stack([np.linspace(1.5, 6.5, 24) ** 2, np.full(24, 0.15)], axis=1)
    theta = fit(readings, release, start, 60)[0]
    later = fit(readings, release, theta, 5)[0]
    rest = np.sort(later[np.abs(later / theta - 1).max(1) < 1e-4, 0])
    return rest[np.diff(rest, prepend=0) > 0.01 * rest]


def small_angle(data: Own) -> float:
    """The stiffness that fits where sin q is taken for q: the same fit with angles a thousand times
    smaller.
    """
    readings, release = np.asarray(data["readings"]) / 1000, data["release"] / 1000
    return float(fit(readings, release, nearest(readings, release), 30)[0][0])


def runs_to_try(rng: np.random.Generator, data: Own) -> list[list[Any]]:
    """Two batches of pendulums and release angles."""
    cases = []
    for count in (3, 5):
        a, c = rng.uniform(4, 30, count), rng.uniform(0.05, 0.3, count)
        theta = np.stack([a, c], axis=1).round(3).tolist()
        cases.append([theta, rng.uniform(0.5, 1.5, count).round(3).tolist()])
    return cases


def with_mistake(mistake: str) -> Callable[..., Any]:
    """The run with one mistake in it."""
    return lambda theta, release: run(theta, release, mistake)


def to_find(rng: np.random.Generator, data: Own) -> list[list[Any]]:
    """A hundred pendulums that nobody has seen."""
    _, release, readings = drawn(rng, 100)
    return [[readings.tolist(), release.tolist()]]


def found(readings: Any, release: Any, start: Array) -> float:
    """The share of pendulums whose curve is found, from S starts each with the same budget.

    Args:
        readings: rad, ``[B, n]``.
        release: rad, ``[B]``.
        start: ``[B, S, 2]``; each has BUDGET // S runs, and the one with the lowest loss counts.

    Returns:
        the share whose last run is within twice the noise of the best fit's, in root mean square.
    """
    readings, release = np.asarray(readings, dtype=float), np.asarray(release, dtype=float)
    right = fit(readings, release, nearest(readings, release), 25)[2]
    runs = BUDGET // start.shape[1]
    _, loss, ran = fit(readings[:, None], release[:, None], start, runs)
    taken = ran[np.arange(len(ran)), np.where(np.isfinite(loss), loss, math.inf).argmin(1)]
    gap = ((taken - right)[..., 0] ** 2).mean(-1)
    return float((gap < (2 * SIGMA) ** 2).mean())


def score_starts(inputs: list[Any] | None, value: Any, data: Own) -> tuple[float, str]:
    """By the share of pendulums that are found."""
    assert inputs is not None
    readings, release = inputs
    start = finite(value, len(release), -1, 2)
    if start is None:
        return 0, f"the shape [{len(release)}, S, 2] is asked for, in finite numbers"
    if not 1 <= start.shape[1] <= BUDGET:
        return 0, f"{start.shape[1]} starts cannot share {BUDGET} runs"
    if (start <= 0).any() or (start[..., 0] > 200).any() or (start[..., 1] > 5).any():
        return 0, "a start is no pendulum: a lies between 0 and 200 1/s^2, c between 0 and 5 1/s"
    share = found(readings, release, start)
    points = max([p for bar, p in FOUND.items() if share >= bar - 1e-9], default=0)
    words = f"{share:.0%} of {len(release)} pendulums were found in {BUDGET} runs each"
    return points / 3, words


def to_cover(rng: np.random.Generator, data: Own) -> list[list[Any]]:
    """A thousand pendulums. What is true of them stays in ``data``, which is never sent."""
    theta, release, readings = drawn(rng, 1000)
    data["hidden"] = theta
    return [[readings.tolist(), release.tolist()]]


def right_widths(readings: Any, release: Any, theta: Array) -> Array:
    """Widths of the 90 % intervals of a, from the slopes of the best fit, ``[B]``."""
    _, _, ran = fit(readings, release, theta, 6)
    slopes = ran[..., 1:]
    covariance = SIGMA**2 * np.linalg.inv(np.swapaxes(slopes, -1, -2) @ slopes)
    return 2 * Z90 * np.sqrt(covariance[:, 0, 0])


def score_intervals(inputs: list[Any] | None, value: Any, data: Own) -> tuple[float, str]:
    """By the distance of the coverage from 0.9, in binomial spreads, and by the widths."""
    assert inputs is not None
    readings, release = inputs
    count, truth = len(release), data["hidden"]
    ends = finite(value, count, 2)
    if ends is None:
        return 0, f"the shape [{count}, 2] is asked for, in finite numbers"
    covered = ((ends[:, 0] <= truth[:, 0]) & (truth[:, 0] <= ends[:, 1])).mean()
    away = abs(covered - 0.9) / math.sqrt(0.9 * 0.1 / count)
    share = max([p for bar, p in SPREADS.items() if away <= bar], default=0) / 3
    width = np.maximum(ends[:, 1] - ends[:, 0], 1e-12)
    sharp = np.minimum(1, right_widths(readings, release, truth) / width).mean()
    words = f"{covered:.1%} of {count} intervals hold the truth, {away:.1f} spreads from 90 %"
    if sharp < SHARP:
        share *= sharp
        words += f", but right ones are narrower: {sharp:.2f} of the widths on average"
    return share, words


ASSIGNMENT = Assignment(
    name="a4",
    title="Assignment 4: calibrate a simulator",
    notebook="a4_calibrate_a_simulator.ipynb",
    own=own,
    questions=[
        Question(
            "run",
            "A run of the simulator, with its slopes",
            3,
            run,
            runs_to_try,
            {
                "the angle moves with the old speed; the simulator moves it with the new one": (
                    with_mistake("old"),
                    1 / 3,
                ),
                "the slopes leave out that the pull depends on the angle, which depends on theta": (
                    with_mistake("direct"),
                    1 / 3,
                ),
                "the slopes are taken at the state after the step; they belong to the one before": (
                    with_mistake("late"),
                    2 / 3,
                ),
            },
            rtol=1e-4,
        ),
        Question(
            "stiffness",
            "The stiffness of your pendulum",
            2,
            lambda data: float(best(data)[0]),
            mistakes={
                "a false valley, softer than the right one: its loss is far above the noise": (
                    false_valley(-1),
                    0.5,
                ),
                "a false valley, the second on the soft side: its loss is far above the noise": (
                    false_valley(-2),
                    0.5,
                ),
                "a false valley, stiffer than the right one: its loss is far above the noise": (
                    false_valley(1),
                    0.5,
                ),
                "the small-angle law: sin q is not q at these angles": (small_angle, 0.5),
                "this is the frequency sqrt(a), not a": (
                    lambda data: math.sqrt(best(data)[0]),
                    0.5,
                ),
            },
        ),
        Question(
            "drag",
            "The drag of your pendulum",
            2,
            lambda data: float(best(data)[1]),
            mistakes={
                "half of it: the amplitude decays with c/2, the speed with c": (
                    lambda data: float(best(data)[1]) / 2,
                    0.5,
                ),
                "the drag stands at the bound of the fit, as it does in a false valley": (
                    lambda data: BOUNDS[1],
                    0,
                ),
            },
            rtol=0.02,
        ),
        Question(
            "starts",
            "Starts learned from a pool, judged on secret pendulums",
            3,
            cases=to_find,
            score=score_starts,
        ),
        Question(
            "intervals",
            "90 % intervals of the stiffness, counted on secret pendulums",
            3,
            cases=to_cover,
            score=score_intervals,
        ),
    ],
    written=[
        Written(
            "A4.1",
            "Derive the slopes",
            2,
            [
                (1, "the recursion for both slopes, each term from the chain rule, with its start"),
                (1, "what it costs against going backwards, in runs and in memory"),
            ],
        ),
        Written(
            "A4.2",
            "A failure, explained",
            3,
            [
                (1, "a start of your own from which the fit fails, with its figure and its loss"),
                (1, "why: out of step by half a swing or more, with the width of the valley"),
                (1, "how you would notice without the truth, and what mends it"),
            ],
        ),
        Written(
            "A4.3",
            "What did learning buy?",
            2,
            [
                (1, "a table at equal runs: learned, one blind, many blind, scan; with intervals"),
                (1, "what the pool cost, from how many pendulums it pays, and who needs none"),
            ],
        ),
    ],
)
