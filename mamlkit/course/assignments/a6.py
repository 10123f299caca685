"""Assignment 6, referee a claim: questions, right answers and known mistakes."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import astuple
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mamlkit.course import claims
from mamlkit.course.assignments.base import Assignment, Own, Question, Written, finite

LETTERS = "abcdefghijk"  # of the flaws, in the order of claims.Habits and of the notebook
BY_TEST, DEFAULT, ONE_SEED, SEEN, SUPPORT, FAHRENHEIT = "abeghi"  # those that change the errors
BOTH = ("ours", "reference")


def own(rng: np.random.Generator) -> Own:
    """The raw data of your paper, the letters of its flaws, and the seeds that it shows."""
    habits = claims.draw_habits(rng)
    paper = claims.write(rng, habits)
    flaws = "".join(letter for letter, bad in zip(LETTERS, astuple(habits), strict=True) if bad)
    data: Own = {"book": paper.book, "flaws": flaws}
    seeds = {
        who: [by_body(data, who, flaws, seed).mean() for seed in range(claims.SEEDS)]
        for who in BOTH
    }
    data["seed"] = {who: int(np.argmin(errors)) for who, errors in seeds.items()}
    data["book"] = {
        name: value.tolist() if isinstance(value, np.ndarray) else value
        for name, value in paper.book.items()
    }
    return data


def kept(book: dict[str, Any], flaws: Collection[str]) -> NDArray[Any]:
    """Which bodies count, and which of their readings: [24, 20]."""
    new = ~np.isin(book["test_id"], book["train_id"])
    asked = ~np.asarray(book["support"])
    return (new | (SEEN in flaws))[:, None] & (asked | (SUPPORT in flaws))


def step_size(data: Own, who: str, flaws: Collection[str]) -> int:
    """The index of the one that is taken."""
    book = data["book"]
    if who == "reference" and DEFAULT in flaws:
        return 0
    if who == "ours" and BY_TEST in flaws:
        errors = np.abs(np.asarray(book["ours"]) - np.asarray(book["test"]))
        return int(errors.mean(axis=(1, 2, 3)).argmin())
    return int(np.argmin(book[f"validation_{who}"]))


def absolute(book: dict[str, Any], who: str, setting: int) -> NDArray[Any]:
    """Errors in K: [5, 24, 20]."""
    predicted = np.asarray(book[who][setting])
    if book["unit"][who] == "F":
        predicted = (predicted - 32) / 1.8
    return np.asarray(np.abs(predicted - np.asarray(book["test"])))


def by_body(
    data: Own, who: str, flaws: Collection[str] = "", seed: int | None = None
) -> NDArray[Any]:
    """Mean absolute error of each body that counts, if one has these flaws; K but for flaw i."""
    errors = absolute(data["book"], who, step_size(data, who, flaws))
    if data["book"]["unit"][who] == "F" and FAHRENHEIT in flaws:
        errors = errors * 1.8
    if seed is None and ONE_SEED in flaws:
        seed = data["seed"][who]
    errors = errors.mean(axis=0) if seed is None else errors[seed]
    return averaged(errors, kept(data["book"], flaws))


def averaged(errors: NDArray[Any], count: NDArray[Any]) -> NDArray[Any]:
    """The mean of each body of which something counts."""
    return np.array([e[c].mean() for e, c in zip(errors, count, strict=True) if c.any()])


def both(data: Own, flaws: Collection[str] = "") -> list[float]:
    """Mean absolute errors of the paper's learner and of the fine-tuned network."""
    return [float(by_body(data, who, flaws).mean()) for who in BOTH]


def reproduced(data: Own) -> list[float]:
    """As the paper has them."""
    return both(data, data["flaws"])


def slip(letter: str) -> Callable[[Own], list[float]]:
    """What is wrong if one flaw of the paper is left in."""
    return lambda data: both(data, letter if letter in data["flaws"] else "")


def points(data: Own) -> NDArray[Any]:
    """Fair differences, reference less ours, reading by reading."""
    ours, reference = (
        absolute(data["book"], who, step_size(data, who, "")).mean(axis=0) for who in BOTH
    )
    return np.asarray((reference - ours)[kept(data["book"], "")])


def judge_lead(inputs: list[Any] | None, value: Any, data: Own) -> tuple[float, str]:
    """The interval of the paired difference over bodies; t or normal quantiles, or a bootstrap."""
    given = finite(value, 2)
    if given is None or given[0] > given[1]:
        return 0.0, "two numbers are asked for, the lower end and the upper end, in K"
    ours, reference = (by_body(data, who) for who in BOTH)
    lead, n = reference - ours, len(ours)
    half = 1.96 * lead.std(ddof=1) / np.sqrt(n)
    middle, width = given.mean(), (given[1] - given[0]) / 2
    if np.abs(given - (lead.mean() + half * np.array([-1, 1]))).max() < 0.2 * half:
        return 1.0, "right"
    if abs(middle + lead.mean()) < 0.1 * half and abs(width - half) < 0.15 * half:
        return 0.5, "the sign: the lead is the error of the fine-tuned network less the other"
    if abs(middle - lead.mean()) > 0.15 * half:
        return 0.0, f"its middle, {middle:.3g}, is not the mean difference of your two errors"
    alone = 1.96 * np.sqrt((ours.var(ddof=1) + reference.var(ddof=1)) / n)
    every = points(data)
    over_points = 1.96 * every.std(ddof=1) / np.sqrt(len(every))
    if abs(width - over_points) < 0.1 * over_points:
        return 0.25, "over readings: those of one body err together; count bodies"
    if abs(width - alone) < 0.1 * alone:
        return 0.5, "as if each method had its own bodies: take the difference body by body"
    return 0.25, f"the middle is right; plus or minus {width:.3g} is not"


def mean_curve(data: Own, flaws: Collection[str] = "", of: str = "train") -> float:
    """The error of the mean of the training bodies."""
    book = data["book"]
    errors = np.abs(np.mean(book[of], axis=0) - np.asarray(book["test"]))
    return float(averaged(errors, kept(book, flaws)).mean())


def newton(data: Own, flaws: Collection[str] = "", fit: str = "support") -> float:
    """The error of a straight line through the logarithms of the excess over the room."""
    book = data["book"]
    t, room, test = np.asarray(book["times"]), book["room"], np.asarray(book["test"])
    curves = []
    for given, readings in zip(np.asarray(book["support"]), test, strict=True):
        use = given if fit == "support" else given | True
        design = np.stack([np.ones(use.sum()), t[use]], axis=1)
        (start, slope), *_ = np.linalg.lstsq(design, np.log(readings[use] - room), rcond=None)
        curves.append(room + np.exp(start + slope * t))
    return float(averaged(np.abs(np.array(curves) - test), kept(book, flaws)).mean())


def covered(data: Own, flaws: Collection[str] = "") -> float:
    """The share of readings inside the band of the figure."""
    book = data["book"]
    off = np.abs(np.asarray(book["centre"]) - np.asarray(book["test"]))
    return float((off <= np.asarray(book["half"]))[kept(book, flaws)].mean())


def judge_coverage(inputs: list[Any] | None, value: Any, data: Own) -> tuple[float, str]:
    """To one reading: a share is a count, so that two students may have the same by chance."""
    given = finite(value)
    if given is None:
        return 0.0, "one number is asked for, a share between 0 and 1"
    near = 1.5 / kept(data["book"], "").sum()
    if abs(given - covered(data)) < near:
        return 1.0, "right"
    if abs(given / 100 - covered(data)) < near:
        return 0.5, "in percent; a share between 0 and 1 was asked for"
    if min(abs(given - covered(data, flaws)) for flaws in (SEEN, SUPPORT, SEEN + SUPPORT)) < near:
        return 0.5, "bodies that a network has seen, or readings of the support, are still in it"
    return 0.0, f"{given:.3g} is not the share"


def judge_flaws(inputs: list[Any] | None, value: Any, data: Own) -> tuple[float, str]:
    """Hits less false alarms, over the number of flaws."""
    words = [value] if isinstance(value, str) else value
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        return 0.0, 'a list of letters is asked for, such as ["a", "k"]'
    named = set("".join(words).lower()) - set(" ,;")
    if named - set(LETTERS):
        return 0.0, f"there are the letters a to {LETTERS[-1]} only"
    hits, there = len(named & set(data["flaws"])), len(data["flaws"])
    false = len(named) - hits
    share = max(0.0, (hits - false) / there)
    return share, "right" if share == 1 else f"{hits} of {there} found, {false} named without cause"


ASSIGNMENT = Assignment(
    name="a6",
    title="Assignment 6: referee a claim",
    notebook="a6_referee_a_claim.ipynb",
    own=own,
    questions=[
        Question(
            "reproduced",
            "The paper's two numbers, from its raw data",
            2,
            reproduced,
            mistakes={
                "these are the rounded numbers of the table: compute them from the raw data": (
                    lambda data: [round(v, 2) for v in reproduced(data)],
                    0,
                ),
                "these are fair numbers; the paper's own were asked for": (both, 0.25),
            },
            rtol=1e-4,
        ),
        Question(
            "corrected",
            "The same two on a fair protocol",
            2,
            both,
            mistakes={
                "the step size is still the one that served best on the test bodies": (
                    slip(BY_TEST),
                    0.5,
                ),
                "the fine-tuned network still has its default step size": (slip(DEFAULT), 0.5),
                "one seed is still shown for five": (slip(ONE_SEED), 0.5),
                "bodies that the networks were trained on are still among them": (slip(SEEN), 0.5),
                "readings of the support are still counted": (slip(SUPPORT), 0.5),
                "one of the two is still in Fahrenheit's degrees": (slip(FAHRENHEIT), 0.5),
                "these are the paper's own numbers": (reproduced, 0),
            },
            rtol=1e-4,
        ),
        Question("lead", "The lead, and how sure it is", 2, score=judge_lead),
        Question(
            "mean_curve",
            "The yardstick that looks at nothing",
            1,
            mean_curve,
            mistakes={
                "this is the mean of the test bodies: a yardstick sees the training bodies only": (
                    lambda data: mean_curve(data, of="test"),
                    0.5,
                ),
                "bodies that the networks were trained on are still among them": (
                    lambda data: mean_curve(data, SEEN),
                    0.5,
                ),
                "readings of the support are still counted": (
                    lambda data: mean_curve(data, SUPPORT),
                    0.5,
                ),
            },
            rtol=1e-4,
        ),
        Question(
            "newton",
            "The yardstick that knows the law",
            1,
            newton,
            mistakes={
                "the line was put through all readings, those to be predicted among them": (
                    lambda data: newton(data, fit="all"),
                    0,
                ),
                "bodies that the networks were trained on are still among them": (
                    lambda data: newton(data, SEEN),
                    0.5,
                ),
                "readings of the support are still counted": (
                    lambda data: newton(data, SUPPORT),
                    0.5,
                ),
            },
            rtol=2e-4,
        ),
        Question("coverage", "What the band of the figure holds", 1, score=judge_coverage),
        Question("flaws", "Which flaws are there", 3, score=judge_flaws),
    ],
    written=[
        Written(
            "A6.1",
            "The report",
            8,
            [
                (2, "a recommendation that follows from the figures, and from nothing else"),
                (3, "each flaw shown by a figure of your own, with its unit, and what it changes"),
                (1, "the strongest simple rival on the same bodies, and what it says of the claim"),
                (1, "one thing that the paper did right, and what would convince you"),
                (1, "the tone: about the work, not the authors, who could act on every point"),
            ],
        ),
    ],
)
