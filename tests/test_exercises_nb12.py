"""The checkers of notebook 12."""

from __future__ import annotations

import math

import pytest

import mamlkit as mk
from mamlkit.pde import burgers, slope


def second(f, x):
    return slope(lambda x: slope(f, x, 0)[1], x, 0)[1]


def u_t(f, x):
    return slope(f, x, 1)[1]


@pytest.mark.parametrize(
    ("exercise", "answer", "hint"),
    [
        ("12.1", -81, "12.1: correct"),
        ("12.1", 81, "The sign"),
        ("12.1", -90, "a second U"),
        ("12.1", -162, "The 2 of 2 nu"),
        ("12.1", -0.002025, "Divide by the viscosity"),
        ("12.1", 0.0111, "That is the width"),
        ("12.1", 3, "Differentiate"),
        ("12.2", 625, "12.2: correct"),
        ("12.2", 25, "the square of the residual"),
        ("12.2", 5, "Second derivative"),
        ("12.2", 125, "power is even"),
        ("12.2", 625 * math.pi**4, "pi cancels"),
        ("12.2", 1 / 625, "other way round"),
        ("12.2", 2.44140625, "not over the next"),
        ("12.2", 7, "proportional"),
        ("12.3", lambda f, x: u_t(f, x) - x[:, 2:] * second(f, x), "12.3: correct"),
        ("12.3", lambda f, x: u_t(f, x) + x[:, 2:] * second(f, x), "The sign"),
        ("12.3", lambda f, x: u_t(f, x) - second(f, x), "nu is missing"),
        ("12.3", burgers, "Burgers' residual"),
        ("12.3", lambda f, x: slope(f, x, 0)[1], "Columns"),
        ("12.3", lambda f, x: u_t(f, x) - x[:, 2:] * slope(f, x, 0)[1], "slope of the slope"),
        ("12.3", u_t, "nu u_xx is missing"),
        ("12.3", lambda f, x: f(x), "column 0 twice"),
        ("12.3", lambda f, x: f(x).sum(), "one residual a point"),
        ("12.3", 3, "the function itself"),
        ("12.4", lambda a, r, s: a / (r - s) if r > s else math.inf, "12.4: correct"),
        ("12.4", lambda a, r, s: a / (r - s), "not an error"),
        ("12.4", lambda a, r, s: a / (r - s) if r > s else 0, "give infinity"),
        ("12.4", lambda a, r, s: a / s, "not by what it costs"),
        ("12.4", lambda a, r, s: a / r, "random minus learned"),
        ("12.4", lambda a, r, s: (r - s) / a, "other way round"),
        ("12.4", lambda a, r, s: a * s / r, "not the ratio"),
        ("12.4", lambda a, r, s: a, "Training costs once"),
        ("12.4", 10, "the function itself"),
    ],
)
def test_checkers(
    capsys: pytest.CaptureFixture[str], exercise: str, answer: object, hint: str
) -> None:
    mk.check(exercise, answer)
    assert hint in capsys.readouterr().out
