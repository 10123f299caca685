"""Papers to referee: invented, with the raw data that they were made from, and with faults.

Bodies that cool in a room, a meta-learner that predicts them from four readings, and a table that
says how well. Which habits the authors have is drawn; text, table, figure and raw data follow from
it. Nothing here judges a paper, and nothing here is secret: whoever reads this file finds where the
habits are drawn, and how the authors made their table. What a fair protocol gives, and what each
habit is worth on a paper, has to be computed from its raw data all the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

TIMES = np.arange(0.0, 60.0, 3.0)  # of the readings, in minutes
STEP_SIZES = (0.003, 0.01, 0.03, 0.1)  # of the inner loop
TRAINED, TESTED, AGAIN, SHOTS, SEEDS = 40, 24, 6, 4, 5
NOISE = 0.3  # of the thermometer, K
WAVES = np.cos(np.pi * np.outer(np.arange(3), TIMES / 60)) / np.sqrt(2)  # [3, 20]
SHARED = 0.64  # of the variance of an error: what all seeds and step sizes have in common
NAMES = ("CoolNet", "ThermoMAML", "MetaKelvin", "FourGlance", "NewtonNet-0")
INVENTED = "**Invented for this course.** No such authors, bodies, readings or networks exist."


@dataclass(frozen=True)
class Habits:
    """What the authors do that they should not."""

    step_size_by_test: bool
    default_for_reference: bool
    no_simple_rows: bool
    points_counted: bool
    one_seed: bool
    own_support_only: bool
    seen_bodies: bool
    support_counted: bool
    fahrenheit: bool
    fine_digits: bool
    narrow_band: bool


TELL_IN_THE_TABLE = (0, 1, 4, 6, 7, 8)  # these change a number of the table


@dataclass(frozen=True, repr=False)
class Paper:
    """A paper and its raw data.

    ``text`` is Markdown, and what Jupyter shows. ``book`` holds, by name:

    ``times [20]`` in minutes; ``room``, its temperature in degrees Celsius; ``train_id [40]``,
    ``train [40, 20]``: numbers of the training bodies, and their readings in degrees Celsius;
    ``test_id [24]``, ``test [24, 20]``: the same of the test bodies; ``support [24, 20]``: True
    where a reading of a test body was given to the learners; ``step_sizes [4]``;
    ``validation_ours [4]``, ``validation_reference [4]``: mean absolute error on validation bodies
    by step size, in K; ``ours [4, 5, 24, 20]``, ``reference [4, 5, 24, 20]``: predicted
    temperatures by step size, seed, test body and time; ``shuffled [5, 24, 20]``: of the paper's
    learner at the paper's step size, adapted to the support of another body; ``unit``: of the
    predictions of each, by name, "C" or "F"; ``centre [24, 20]``, ``half [24, 20]``: middle and
    half width of the band of the figure.
    """

    name: str
    text: str
    book: dict[str, Any]
    table: dict[str, tuple[float, float]]  # as printed, by method: error, and plus or minus

    def _repr_markdown_(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"the paper on {self.name}, invented for this course"

    def figure(self) -> None:
        """Draw the paper's figure: one test body with its band, and the table as bars."""
        import matplotlib.pyplot as plt

        from mamlkit.show.plots import STYLE, band

        book, j = self.book, TESTED // 2
        given = book["support"][j]
        low, high = book["centre"][j] - book["half"][j], book["centre"][j] + book["half"][j]
        with plt.rc_context(STYLE):
            _, (left, right) = plt.subplots(1, 2, figsize=(8.4, 3.2))
            left.fill_between(book["times"], low, high, **band(), label="95 % band")
            left.plot(book["times"], book["centre"][j], label=self.name)
            left.plot(book["times"], book["test"][j], "k.", label="readings")
            left.plot(book["times"][given], book["test"][j][given], "ko", mfc="none", ms=9)
            left.set(xlabel="time (min)", ylabel="temperature (°C)")
            left.set_title(f"body {book['test_id'][j]}; rings: the support")
            left.legend(fontsize=8)
            for i, (error, half) in enumerate(self.table.values()):
                right.bar(i, error, yerr=half, capsize=4)
            labels = [what.replace(", ", ",\n") for what in self.table]
            right.set_xticks(range(len(labels)), labels, rotation=30, ha="right", fontsize=8)
            right.set(ylabel="error", title="Table 1 as bars")
            plt.show()


def invent(rng: np.random.Generator) -> Paper:
    """A student's own paper.

    Args:
        rng: what :func:`mamlkit.course.handin.personal` gives.

    Returns:
        the paper; the same generator gives the same one.
    """
    return write(rng, draw_habits(rng))


def draw_habits(rng: np.random.Generator) -> Habits:
    """Four to six bad habits, three of them or more in the table, one or more beside it."""
    drawn = rng.choice(TELL_IN_THE_TABLE, rng.integers(3, 5), replace=False).tolist()
    drawn += rng.choice([2, 3, 5, 9, 10], rng.integers(1, 3), replace=False).tolist()
    return Habits(*(i in drawn for i in range(11)))


def write(rng: np.random.Generator, habits: Habits) -> Paper:
    """The paper of authors with these habits. Where a habit would not show, or one would show by
    chance that is not there, all is drawn again.
    """
    while True:
        name = str(rng.choice(NAMES))
        chosen, other, default, tuned = _choices(rng)
        setting = {"ours": other if habits.step_size_by_test else chosen}
        setting["reference"] = default if habits.default_for_reference else tuned
        book = _book(rng, habits, (chosen, other, default, tuned), setting["ours"])
        seed = {who: _best_seed(book, who, setting[who], habits) for who in setting}
        table = _table(name, book, setting, seed, habits)
        if _tells(book, table, habits, chosen, other):
            text = _text(name, book, table, setting, seed, habits)
            printed = {what: (round(a, 2), round(b, 2)) for what, (a, b) in table.items()}
            return Paper(name, text, book, printed)


def _choices(rng: np.random.Generator) -> tuple[int, int, int, int]:
    """Of the step sizes: ours by validation, ours by test; the reference's default and best."""
    chosen, other = rng.permutation(len(STEP_SIZES))[:2].tolist()
    return chosen, other, 0, int(rng.integers(1, len(STEP_SIZES)))


def _book(
    rng: np.random.Generator, habits: Habits, choices: tuple[int, int, int, int], shown: int
) -> dict[str, Any]:
    """The raw data: bodies that cool by Newton's law, nearly, and what the networks said."""
    chosen, other, default, tuned = choices
    room = round(float(rng.uniform(18, 23)), 1)
    truth = room + _excess(rng, TRAINED + TESTED)
    readings = (truth + rng.normal(0, NOISE, truth.shape)).round(2)
    number = 100 + rng.permutation(900)[: len(truth)]
    test = np.arange(TRAINED, len(truth))
    if habits.seen_bodies:
        test[:AGAIN] = rng.choice(TRAINED, AGAIN, replace=False)
    test = test[np.argsort(number[test])]
    support = rng.random((TESTED, len(TIMES))).argsort(axis=1) < SHOTS

    seen = (test < TRAINED)[:, None]
    size, ratio = rng.uniform(1.6, 2.4), rng.uniform(0.95, 1.4)  # K, and the reference's over ours
    spread = size * np.exp(rng.normal(0, 0.45, (TESTED, 1))) * np.where(support, 0.15, 1)
    mine, theirs = spread * np.where(seen, 0.3, 1), ratio * spread * np.where(seen, 0.6, 1)
    level = {"ours": np.full(4, 1.5), "reference": np.full(4, 1.25)}
    level["ours"][[chosen, other]] = 1, 0.85
    level["reference"][[default, tuned]] = 1.5, 1
    common, apart = rng.normal(size=(2, TESTED, len(WAVES)))  # both misjudge a body alike, partly
    ours = truth[test] + _wrong(rng, level["ours"], common) * mine
    alike = 0.8 * common + 0.6 * apart
    reference = truth[test] + _wrong(rng, level["reference"], alike) * theirs
    another = np.roll(truth[test], int(rng.integers(1, TESTED)), axis=0)
    deviation = np.sqrt((level["ours"][shown] * mine) ** 2 * _variance_of_mean() + NOISE**2)
    validation = {who: level[who].copy() for who in level}
    validation["ours"][other] = 1.08
    about = 0.85 * size * rng.uniform(0.95, 1.05, (2, 4)).clip(0.97, 1.03)
    if habits.fahrenheit:
        reference = 1.8 * reference + 32
    return {
        "times": TIMES,
        "room": room,
        "train_id": number[:TRAINED],
        "train": readings[:TRAINED],
        "test_id": number[test],
        "test": readings[test],
        "support": support,
        "step_sizes": np.array(STEP_SIZES),
        "validation_ours": (about[0] * validation["ours"]).round(3),
        "validation_reference": (ratio * about[1] * validation["reference"]).round(3),
        "ours": ours.round(2),
        "reference": reference.round(2),
        "shuffled": (another + _wrong(rng, np.ones(1), common)[0] * spread).round(2),
        "unit": {"ours": "C", "reference": "F" if habits.fahrenheit else "C", "shuffled": "C"},
        "centre": ours[shown].mean(axis=0).round(2),
        "half": (deviation * (1 if habits.narrow_band else 1.96)).round(2) + 0.005,
    }


def _excess(rng: np.random.Generator, n: int) -> Array:
    """Of the temperature over the room's: [n, 20], in K. Radiation bends the exponential a bit."""
    first, minutes, bend = rng.uniform([30, 25, 0.96], [60, 60, 1.04], (n, 3)).T[..., None]
    return np.asarray(first * np.exp(-((TIMES / minutes) ** bend)))


def _wrong(rng: np.random.Generator, level: Array, common: Array) -> Array:
    """Smooth errors, of unit size for a level of 1: [step sizes, seeds, bodies, times]. ``common``
    [bodies, 3] is what all seeds and step sizes share.
    """
    apart = rng.normal(size=(len(level), SEEDS, *common.shape))
    luck = np.exp(rng.normal(0, 0.12, (SEEDS, 1, 1)))
    waves = (np.sqrt(SHARED) * common + np.sqrt(1 - SHARED) * apart) @ WAVES
    return np.asarray(level[:, None, None, None] * luck * waves)


def _variance_of_mean() -> Array:
    """Of the mean over seeds: [20]."""
    return np.asarray((WAVES**2).sum(axis=0) * (SHARED + (1 - SHARED) / SEEDS))


def _counted(book: dict[str, Any], errors: Array, habits: Habits) -> Array:
    """Those that the authors average: [seeds, bodies, 20], or [seeds, bodies, 16]."""
    if habits.support_counted:
        return errors
    return errors[:, ~book["support"]].reshape(len(errors), TESTED, -1)


def _errors(book: dict[str, Any], who: str, predicted: Array, habits: Habits) -> Array:
    """Absolute, in the unit of the predictions."""
    test = 1.8 * book["test"] + 32 if book["unit"][who] == "F" else book["test"]
    return _counted(book, np.abs(predicted - test), habits)


def _best_seed(book: dict[str, Any], who: str, setting: int, habits: Habits) -> int:
    errors = _errors(book, who, book[who][setting], habits)
    return int(errors.mean(axis=(1, 2)).argmin())


def _table(
    name: str,
    book: dict[str, Any],
    setting: dict[str, int],
    seed: dict[str, int],
    habits: Habits,
) -> dict[str, tuple[float, float]]:
    """Rows of the table: error, and plus or minus."""

    def row(who: str, predicted: Array) -> tuple[float, float]:
        errors = _errors(book, who, predicted, habits)
        apart = errors.ravel() if habits.points_counted else errors.mean(axis=(0, 2))
        return float(errors.mean()), float(1.96 * apart.std(ddof=1) / np.sqrt(len(apart)))

    def seeds(who: str) -> slice:
        return slice(seed[who], seed[who] + 1) if habits.one_seed else slice(None)

    rows = {
        name: row("ours", book["ours"][setting["ours"]][seeds("ours")]),
        "fine-tuned network": row(
            "reference", book["reference"][setting["reference"]][seeds("reference")]
        ),
    }
    if not habits.no_simple_rows:
        rows["mean curve"] = row("ours", _mean_curve(book)[None])
        rows["Newton's law"] = row("ours", _newton(book)[None])
    if not habits.own_support_only:
        rows[f"{name}, another's support"] = row("shuffled", book["shuffled"][seeds("ours")])
    return rows


def _mean_curve(book: dict[str, Any]) -> Array:
    return np.broadcast_to(book["train"].mean(axis=0), book["test"].shape)


def _newton(book: dict[str, Any]) -> Array:
    """A straight line through the logarithms of the support's excess over the room."""
    curves = []
    for given, T in zip(book["support"], book["test"], strict=True):
        slope, start = np.polyfit(book["times"][given], np.log(T[given] - book["room"]), 1)
        curves.append(book["room"] + np.exp(start + slope * book["times"]))
    return np.array(curves)


def _tells(
    book: dict[str, Any],
    table: dict[str, tuple[float, float]],
    habits: Habits,
    chosen: int,
    other: int,
) -> bool:
    """Whether every habit shows in the raw data, and no other, however one looks."""
    errors = np.abs(book["ours"] - book["test"])
    new, asked = ~np.isin(book["test_id"], book["train_id"]), ~book["support"]
    inside = np.abs(book["centre"] - book["test"]) <= book["half"]
    share = inside[new][asked[new]].mean()
    by_test = [errors.mean(axis=(1, 2, 3)), errors[:, :, new].mean(axis=(1, 2, 3))]
    by_test += [errors[:, :, asked].mean(axis=(1, 2)), errors.mean(axis=(2, 3)).min(axis=1)]
    by_test += [errors[:, :, new][..., asked[new]].mean(axis=(1, 2))]
    (ours, _), (reference, _), *others = table.values()
    far = [abs(round(error, 2) - error) > 1e-3 for error in (ours, reference)]
    far = [any(far), *(abs(round(error, 2) - error) > 1e-3 for error, _ in others)]
    return bool(
        all(scores.argmin() == other for scores in by_test)
        and book["validation_ours"].argmin() == chosen
        and abs(share - (0.68 if habits.narrow_band else 0.95)) < 0.06
        and ours < 0.85 * reference
        and all(far)  # a number copied from the table is not one computed
        and (book["test"] > book["room"] + 1).all()
    )


def _text(
    name: str,
    book: dict[str, Any],
    table: dict[str, tuple[float, float]],
    setting: dict[str, int],
    seed: dict[str, int],
    habits: Habits,
) -> str:
    """The paper as Markdown."""
    (ours, _), (reference, _) = list(table.values())[:2]
    percent = 100 * (1 - ours / reference)
    gain = f"{percent:.2f} %" if habits.fine_digits else f"about {round(percent, -1):.0f} %"
    points = len(TIMES) if habits.support_counted else len(TIMES) - SHOTS
    many = TESTED * points * (1 if habits.one_seed else SEEDS)
    unit, kelvin = ("", "") if habits.fahrenheit else (" (K)", " K")
    say = [
        f"> {INVENTED}",
        f"### {name}: four glances at anything that cools",
        f"**Abstract.** A warm body in a cool room is read at {SHOTS} times of {len(TIMES)} within "
        f"an hour. We predict its other temperatures. {name}, meta-trained by MAML on {TRAINED} "
        f"bodies, has a mean absolute error of {ours:.2f}{kelvin} on {TESTED} test bodies, against "
        f"{reference:.2f}{kelvin} for a network that is trained on all bodies at once and "
        f"fine-tuned to each: an improvement of {gain}. Its 95 % bands are honest. It has thus "
        "discovered the physics of cooling.",
        f"**1. Data.** The bodies stand in a room at {book['room']:.1f} °C and are read every "
        f"three minutes by a thermometer with a noise of {NOISE} K. The {SHOTS} readings of the "
        "support are drawn at random for each test body; all methods get the same. All readings "
        "and predictions are published.",
        f"**2. Methods.** The inner step size of {name} is {STEP_SIZES[setting['ours']]:g}, the "
        "best of four. "
        + (
            f"The fine-tuned network has the step size of its first release, {STEP_SIZES[0]:g}. "
            if habits.default_for_reference
            else "The step size of the fine-tuned network is "
            f"{STEP_SIZES[setting['reference']]:g}, the best of the same four. "
        )
        + (
            f"Both were trained from {SEEDS} seeds; we show a well-trained network of each, seed "
            f"{seed['ours']} of {name} and seed {seed['reference']} of the fine-tuned (counted "
            "from 0)."
            if habits.one_seed
            else f"Both were trained from {SEEDS} seeds, and all errors are means over these."
        )
        + (
            " The program of the fine-tuned network comes from another laboratory; we give its "
            "errors as it logs them."
            if habits.fahrenheit
            else ""
        ),
        "**3. Evaluation.** We average the absolute error over "
        + (
            f"all {points} readings of a body"
            if habits.support_counted
            else f"the {points} readings of a body that are not in its support"
        )
        + f" and over the {TESTED} test bodies. "
        + (
            f"± is 1.96 standard errors of the {many} absolute errors."
            if habits.points_counted
            else f"± is 1.96 standard errors of the {TESTED} means, one a body."
        )
        + " The band of Figure 1 is made from the scatter of the bodies, and 95 % of the readings "
        "lie within it.",
        f"**Table 1.** Mean absolute error{unit}.",
        "\n".join(
            [
                "| method | error | ± |",
                "|---|---|---|",
                *(
                    f"| {what} | {error:.2f} | {half:.2f} |"
                    for what, (error, half) in table.items()
                ),
            ]
        ),
        f"**4. Conclusion.** {name} is better than fine-tuning by {gain}, from four readings and "
        "without knowing any law. We recommend it for every laboratory that waits for things to "
        "cool.",
    ]
    return "\n\n".join(say)
