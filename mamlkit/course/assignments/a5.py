"""Assignment 5, where to measure next: questions, right answers and known mistakes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from mamlkit.course.assignments.base import Assignment, Own, Question, Written, finite

UNIT = 8.99  # V m/nC: 1 / (4 pi epsilon_0)
FORGONE = 0.3  # a place that forgoes this share of the best reading's gain is worth nothing
STATES = 12  # of a map, after secret readings, for the policy


def own(rng: np.random.Generator) -> Own:
    """Your rail of 2 m: the closed stretch (m), the map of six charges (place along the rail and
    distance from it, m), noise of a reading (V), four readings (m and V), and the factor of the
    question about rounds.
    """
    left = round(rng.uniform(0.6, 0.9), 2)
    right = round(left + rng.uniform(0.4, 0.6), 2)
    near = [left - rng.uniform(0.02, 0.1), right + rng.uniform(0.02, 0.1)]
    near += [rng.uniform(0.1, left - 0.2), rng.uniform(right + 0.2, 1.9)]
    below = left + (right - left) * np.array([0.25, 0.75]) + rng.uniform(-0.05, 0.05, 2)
    place = np.append(near, below).round(3)
    depth = np.append(rng.uniform(0.08, 0.2, 4), rng.uniform(0.3, 0.6, 2)).round(3)
    noise, factor = round(rng.uniform(3, 6), 2), round(rng.uniform(0.7, 0.75), 3)
    data: Own = {"left": left, "right": right, "place": place.tolist(), "depth": depth.tolist()}
    data |= {"noise": noise, "factor": factor}
    x, y = readings(rng, data, 4)
    return data | {"x": x, "y": y}


def readings(rng: np.random.Generator, data: Own, n: int) -> tuple[list[float], list[float]]:
    """Places along the open rail, m, and readings there of a new set of charges, V."""
    x = rng.choice(open_rail(data), n)
    charges = rng.normal(0, 1, len(data["place"]))
    y = features(x, data) @ charges + data["noise"] * rng.normal(size=n)
    return x.tolist(), y.round(1).tolist()


def open_rail(data: Own) -> np.ndarray:
    """Every 5 cm where the probe can go, m."""
    x = np.arange(41) * 5 / 100
    return x[(x <= data["left"]) | (x >= data["right"])]


def goal(data: Own) -> np.ndarray:
    """Eleven places of the closed stretch, m."""
    return np.linspace(data["left"], data["right"], 11)


def features(x: Any, data: Own) -> np.ndarray:
    """Potential at ``x [n]`` of each charge, if it were 1 nC: ``[n, 6]``, V/nC."""
    along = np.asarray(x, dtype=float)[:, None] - np.asarray(data["place"])
    return UNIT / np.hypot(along, np.asarray(data["depth"]))


def posterior(
    phi: Any, y: Any, sigma: Any, mean: Any, cov: Any, phi_new: Any
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of the law at new places, ``[m]`` each."""
    phi, y, sigma, mean, cov, phi_new = map(np.asarray, (phi, y, sigma, mean, cov, phi_new))
    gain = cov @ phi.T @ np.linalg.inv(phi @ cov @ phi.T + np.diag(sigma**2))
    mean, cov = mean + gain @ (y - phi @ mean), cov - gain @ phi @ cov
    return phi_new @ mean, np.einsum("mp,pq,mq->m", phi_new, cov, phi_new)


def both(change: Callable[..., Any] | None = None) -> Callable[..., Any]:
    """What the student's function has to return, if its inputs were changed like this."""

    def call(*inputs: Any) -> list[list[float]]:
        given = [np.asarray(v) for v in inputs]
        mean, variance = posterior(*(change(*given) if change else given))
        return [mean.tolist(), variance.tolist()]

    return call


def deviation(*inputs: Any) -> list[list[float]]:
    """The standard deviation in place of the variance."""
    mean, variance = posterior(*inputs)
    return [mean.tolist(), np.sqrt(variance).tolist()]


def models_to_try(rng: np.random.Generator, data: Own) -> list[list[Any]]:
    """Three linear laws that nobody has seen, each with readings of different error bars."""
    cases = []
    for n, p in ((2, 4), (4, 3), (6, 4)):
        root = rng.normal(size=(p, p))
        cov = (root @ root.T / p + 0.3 * np.eye(p)).round(3)
        phi, new = rng.normal(size=(n, p)).round(3), rng.normal(size=(4, p)).round(3)
        sigma, mean = rng.uniform(0.2, 1.0, n).round(3), rng.normal(0, 1, p).round(3)
        y = (phi @ rng.multivariate_normal(mean, cov) + sigma * rng.normal(size=n)).round(3)
        cases.append([v.tolist() for v in (phi, y, sigma, mean, cov, new)])
    return cases


def states_to_try(rng: np.random.Generator, data: Own) -> list[list[Any]]:
    """Readings of secret charges under the student's rail, and where the next may be taken."""
    cases: list[list[Any]] = []
    for _ in range(STATES):
        x, y = readings(rng, data, int(rng.integers(3, 9)))
        free = np.sort(rng.choice(open_rail(data), 16, replace=False))
        cases.append([x, y, free.tolist()])
    return cases


def forgone(x: Any, candidates: Any, data: Own) -> np.ndarray:
    """The regret of each candidate, ``[m]``: 0 for the reading that lowers the mean variance of the
    closed stretch most, 1 for one that does not lower it.
    """
    phi, at, target = (features(v, data) for v in (x, candidates, goal(data)))
    noise, p = data["noise"], len(data["place"])
    cov = np.linalg.inv(np.eye(p) + phi.T @ phi / noise**2)
    measured = np.einsum("mp,pq,mq->m", at, cov, at) + noise**2
    gain = ((target @ cov @ at.T) ** 2 / measured).mean(0)
    regret: np.ndarray = 1 - gain / gain.max()
    return regret


def by_regret(inputs: list[Any] | None, value: Any, data: Own) -> tuple[float, str]:
    """All for the best candidate, nothing from a regret of ``FORGONE`` on."""
    assert inputs is not None
    x, _, candidates = inputs
    chosen = finite(value)
    if chosen is None:
        return 0.0, "next_place has to return one number, the place in m"
    if np.abs(np.subtract(candidates, chosen)).min() > 1e-6:
        return 0.0, f"{chosen:g} is none of the candidates; return the place in m, not its index"
    regret = forgone(x, candidates, data)
    mine = float(regret[np.abs(np.subtract(candidates, chosen)).argmin()])
    if mine < 1e-9:
        return 1.0, "right"
    best = candidates[int(regret.argmin())]
    return 1 - mine / FORGONE, (
        f"after readings at {', '.join(f'{v:g}' for v in x)} m a reading at {chosen:g} m forgoes "
        f"{100 * mine:.0f} % of what one at {best:g} m gains"
    )


def half_widths(data: Own, reading: bool = False) -> list[float]:
    """Of the 95 % band in the middle of the closed stretch after 1, 2, .. rounds, until it is below
    the factor times the first; of a reading, if so asked.
    """
    rail, middle = open_rail(data), [(data["left"] + data["right"]) / 2]
    stations = rail[np.linspace(0, len(rail) - 1, 8).round().astype(int)]
    old, new, at = (features(x, data) for x in (data["x"], stations, middle))
    start, more = (phi.T @ phi / data["noise"] ** 2 for phi in (old, new))
    found: list[float] = []
    while len(found) < 20_000 and (not found or found[-1] > data["factor"] * found[0]):
        cov = np.linalg.inv(np.eye(len(start)) + start + (len(found) + 1) * more)
        found.append(1.96 * math.sqrt(at[0] @ cov @ at[0] + reading * data["noise"] ** 2))
    return found


def rounds(data: Own) -> list[float]:
    """Rounds that are needed, and the half width then, V."""
    found = half_widths(data)
    return [len(found), found[-1]]


def as_if_noise(data: Own) -> list[float]:
    """By the square root of the number of rounds, as if there were neither prior nor old
    readings.
    """
    needed = math.ceil(data["factor"] ** -2)
    return [needed, half_widths(data)[0] / math.sqrt(needed)]


ASSIGNMENT = Assignment(
    name="a5",
    title="Assignment 5: where to measure next",
    notebook="a5_where_to_measure_next.ipynb",
    own=own,
    questions=[
        Question(
            "posterior",
            "Mean and variance of a linear law after any readings",
            5,
            both(),
            models_to_try,
            {
                "this is the standard deviation; the variance was asked for": (deviation, 3 / 5),
                "the prior mean is taken as zero": (
                    both(lambda phi, y, s, m, c, new: (phi, y, s, 0 * m, c, new)),
                    3 / 5,
                ),
                "the error bar stands where its square belongs": (
                    both(lambda phi, y, s, m, c, new: (phi, y, np.sqrt(s), m, c, new)),
                    2 / 5,
                ),
                "one error bar for all readings; each has its own": (
                    both(lambda phi, y, s, m, c, new: (phi, y, 0 * s + s.mean(), m, c, new)),
                    2 / 5,
                ),
                "only the diagonal of the prior covariance; the unknowns go together": (
                    both(lambda phi, y, s, m, c, new: (phi, y, s, m, np.diag(np.diag(c)), new)),
                    2 / 5,
                ),
            },
        ),
        Question(
            "next_place",
            "A policy, by its regret",
            5,
            cases=states_to_try,
            score=by_regret,
        ),
        Question(
            "rounds",
            "Rounds until the band is narrow enough, and how narrow it is then",
            3,
            rounds,
            mistakes={
                "the number of readings; a round has eight": (
                    lambda data: [8 * rounds(data)[0], rounds(data)[1]],
                    2 / 3,
                ),
                "this is one standard deviation; the half width of a 95 % band is 1.96 of them": (
                    lambda data: [rounds(data)[0], rounds(data)[1] / 1.96],
                    2 / 3,
                ),
                "this is the whole width of the band; half of it was asked for": (
                    lambda data: [rounds(data)[0], rounds(data)[1] * 2],
                    2 / 3,
                ),
                "by the square root of the number of rounds, as if all doubt were noise": (
                    as_if_noise,
                    1 / 3,
                ),
                "the band of a new reading, with its noise; the law's was asked for": (
                    lambda data: [
                        len(half_widths(data, reading=True)),
                        half_widths(data, reading=True)[-1],
                    ],
                    1 / 3,
                ),
            },
        ),
    ],
    written=[
        Written(
            "A5.1",
            "Why there?",
            3,
            [
                (1, "no reading stands in the posterior variance, and on what that rests"),
                (1, "the place chosen, in words of the charges: what a reading there tells apart"),
                (1, "your figure of the band before and after, for your place and for a rival's"),
            ],
        ),
        Written(
            "A5.2",
            "Where does it lose?",
            4,
            [
                (1, "something that the model leaves out, in physical words and as a simulation"),
                (1, "a fair comparison: as many readings, or seconds, for the rival; many systems"),
                (1, "your figure, with the real error beside the one that the band promises"),
                (1, "what in the readings would have warned you, and what you would change"),
            ],
        ),
    ],
)
