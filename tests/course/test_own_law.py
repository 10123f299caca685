"""What the program does with a student's line of arithmetic and with what a family tells of itself:
nothing of it is run as code, and whatever it is, marking goes on.
"""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import pytest

from mamlkit.course.assignments import a3
from mamlkit.course.grading.grade import mark

OWN = {
    "shape": "falls",
    "x_range": [0.25, 6.25],
    "shots": 5,
    "noise": 0.04,
    "landmark": [1.0, 2.0],
    "swing": [0.7, 1.4],
}


def told(seed: int, n: int) -> dict[str, Any]:
    """A sound family of capacitors, told by another generator than the student's."""
    rng = np.random.default_rng(seed)
    physics = {"V": rng.uniform(0.95, 1.5, (n, 1)), "tau": rng.uniform(1.2, 2.4, (n, 1))}
    x, x_new = rng.uniform(*OWN["x_range"], (n, 5)), rng.uniform(*OWN["x_range"], (n, a3.NEW))
    y, y_new = (physics["V"] * np.exp(-at / physics["tau"]) for at in (x, x_new))
    y = y + OWN["noise"] * rng.standard_normal(y.shape)
    return {
        "law": "V * exp(-x / tau)",
        "ranges": {"V": [0.95, 1.5], "tau": [1.2, 2.4]},
        "physics": {name: p[:, 0].tolist() for name, p in physics.items()},
        **{k: v.tolist() for k, v in (("x", x), ("y", y), ("x_new", x_new), ("y_new", y_new))},
    }


CONTRACT, FITS, EVIDENCE = a3.ASSIGNMENT.questions
DRAWN = [[[1, 1, 2], 40]]
SOUND = [told(1, 40), told(1, 40), told(2, 40)]


def marked(value, question=CONTRACT, cases=DRAWN):
    return mark(question, [{"value": value}], cases, OWN, {})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a * exp(-x / b)", 3 * math.exp(-1)),
        ("torch.sqrt(a + 1) - +b ** 2 * pi", 2 - 4 * math.pi),
        ("a", 3),
        ("1 / (x - x)", math.inf),
        (" sin(x) * 10**400.0 ", math.inf),
    ],
)
def test_a_line_of_arithmetic_is_evaluated(text, expected):
    y = a3.formula(text, ["a", "b"])(np.full(4, 2.0), np.full(4, 3.0), np.full(4, 2.0))
    assert y.shape == (4,)
    np.testing.assert_allclose(y, expected)


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('touch /tmp/x')",
        "().__class__",
        "x.real",
        "(lambda: 1)()",
        "[x for x in x]",
        "'a' * 10",
        "exp(x, a)",
        "exp(x, out=a)",
        "open(x)",
        "c * x",
        "a if x else b",
        "x := 3",
        "a * exp(",
        "x" + " + x" * 200,
        "(" * 299,
        "x // a",
        "1j * x",
        "",
        None,
        3,
        ["x"],
        "\0",
    ],
)
def test_what_is_no_arithmetic_is_refused_in_words(text):
    with pytest.raises(a3.Wrong, match="LAW"):
        a3.formula(text, ["a", "b"])


def change(name: str, value: Any) -> Any:
    systems = copy.deepcopy(SOUND)
    for one in systems:
        one[name] = value
    return systems


@pytest.mark.parametrize(
    "value",
    [
        3,
        "word",
        [],
        [None, None, None],
        [{}, {}, {}],
        SOUND[:2],
        change("law", "__import__('os')"),
        change("law", 7),
        change("ranges", [1, 2]),
        change("ranges", {"V": [0, 1]}),
        change("ranges", {"V": [1, 0], "tau": [1, 2]}),
        change("ranges", {"V": ["a", 0], "tau": [1, 2]}),
        change("ranges", {"V": [0, 2], "x": [1, 2]}),
        change("physics", {"V": [1.0] * 40}),
        change("physics", {"V": [1.0] * 40, "tau": [math.nan] * 40}),
        change("physics", {"V": [1.0] * 40, "tau": [10**400] * 40}),
        change("x", [[1.0] * 5] * 39),
        change("y", "readings"),
        change("y_new", None),
    ],
)
def test_what_cannot_be_judged_scores_nothing_and_says_why(value):
    for question, cases in ((CONTRACT, DRAWN), (FITS, [[1, 40]])):
        given = value if question is CONTRACT or not isinstance(value, list) else (value or [0])[0]
        result = marked(given, question, cases)
        assert result.points == 0
        assert len(result.reason) > 8


@pytest.mark.parametrize(
    ("value", "points", "words"),
    [
        (SOUND, 4, "right"),
        ([told(1, 40), told(3, 40), told(2, 40)], 3.6, "same seed"),
        ([told(1, 40), told(1, 40), told(1, 40)], 3.6, "another seed"),
        (change("y", [row[:5] for row in SOUND[0]["y_new"]]), 3.6, "scatter"),
        (change("y_new", SOUND[1]["x_new"]), 3.6, "LAW and law() differ"),
        (change("ranges", {"V": [0.2, 1.5], "tau": [1.2, 2.4]}), 3.6, "does not fill"),
        (change("ranges", {"V": [1.2, 1.5], "tau": [1.2, 2.4]}), 3.6, "outside its range"),
    ],
)
def test_each_fault_of_a_family_costs_its_points(value, points, words):
    result = marked(value)
    assert (result.points, words in result.reason) == (points, True), result.reason


@pytest.mark.parametrize(
    ("own", "points", "words"),
    [
        ({"shape": "levels off"}, 3, "40 of 40 systems have another shape"),
        ({"shape": "swings"}, 2, "another shape"),
        ({"landmark": [2.0, 3.0]}, 3, "landmark runs"),
        ({"swing": [0.3, 3.0]}, 3, "swing covers"),
        ({"landmark": [2.0, 3.0], "swing": [0.3, 3.0]}, 2, "landmark runs"),
    ],
)
def test_a_family_of_another_kind_loses_points(own, points, words):
    result = mark(CONTRACT, [{"value": SOUND}], DRAWN, OWN | own, {})
    assert (result.points, words in result.reason) == (points, True), result.reason


def test_the_true_parameters_are_no_fit():
    """They would be, if fits were judged by the truth: who draws the systems knows it."""
    value = told(5, 20)
    best = a3.Systems(value, OWN, 20).least_squares()
    truth = np.stack([value["physics"][k] for k in ("V", "tau")], 1)
    cases = [[5, 20]]
    for fit, points in ((best, 4), (truth, 0), (best + 1e-5, 4), (best * [1, 3], 0)):
        result = marked({**value, "fit": fit.tolist()}, FITS, cases)
        assert result.points == points, result.reason
    assert marked({**value, "fit": best.tolist()}, FITS, cases).points == 4
    assert "two numbers" in marked({**value, "fit": [None] * 20}, FITS, cases).reason


def test_a_claim_is_judged_by_new_systems():
    value, places = told(7, 40), np.linspace(*OWN["x_range"], 25)
    systems = a3.Systems(value, OWN, 40)
    best = systems.least_squares()
    truth = systems.law(places, *systems.physics)
    classical = systems.law(places, best[:, :1], best[:, 1:])
    learned = truth + 0.03 * np.random.default_rng(0).standard_normal((40, 1))
    gap = [np.sqrt(((c - truth) ** 2).mean(1)) for c in (learned, classical)]
    gap = gap[0] - gap[1]
    half = 1.96 * gap.std() / 10
    cases = [[7, 40, places.tolist()]]

    def points(claim, one=learned, other=classical):
        more = {"claim": claim, "learned": one.tolist(), "classical": other.tolist()}
        return marked({**value, **more}, EVIDENCE, cases).points

    assert points([gap.mean(), half]) == 4
    assert points([gap.mean() + 0.1, half]) == 3
    assert points([gap.mean(), 10 * half]) == 3
    assert points([gap.mean(), 0]) == 3
    assert points([gap.mean(), half], classical, classical) == 0
    assert points([gap.mean()]) == points("about zero") == points([math.nan, 1]) == 0
    assert points([gap.mean(), half], learned[:3]) == 0
