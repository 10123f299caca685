"""The checkers of notebook 00: right answers pass, known mistakes get their own hint."""

from __future__ import annotations

import math

import pytest

import mamlkit as mk

Y = math.log10(0.075 / 3.0)
H = Y / (1 - 1 / 0.7)
LATENT = mk.yardsticks.LinearLatent.fit(mk.tasks.VapourPressure(at=(0.7,)).split("train"))
V7, V9 = (float(LATENT.component[round((t - 0.6) * 100), 0]) for t in (0.7, 0.9))

RIGHT = {
    "00.1": -1 - Y,
    "00.2": H * (1 - 1 / 0.6),
    "00.3": lambda m, v, i, y0: m + (y0 - m[i]) / v[i] * v,
    "00.4": 0.02 / math.log(10),
    "00.5": V7 / V9,
}

MISTAKES = [
    ("00.1", -1 - math.log(0.075 / 3.0), "natural logarithm"),
    ("00.1", -Y, "The 1 is missing"),
    ("00.1", 1 + Y, "sign is turned round"),
    ("00.1", -1 - math.log10(75 / 3.0), "Mind the units"),
    ("00.1", 7.0, "Put p/pc"),
    ("00.2", H, "slope h"),
    ("00.2", Y * 0.4 / 0.3, "straight line in T"),
    ("00.2", 10 ** (H * (1 - 1 / 0.6)), "p/pc itself"),
    ("00.2", -H * (1 - 1 / 0.6), "p < pc"),
    ("00.2", 7.0, "Find h"),
    ("00.3", 1.0, "Give the function itself"),
    ("00.3", lambda m, v, i, y0: y0, "Return the whole curve"),
    ("00.3", lambda m, v, i, y0: m + (y0 - m[i]) * v, "division by v"),
    ("00.3", lambda m, v, i, y0: m + y0 / v[i] * v, "difference"),
    ("00.3", lambda m, v, i, y0: m + y0 - m[i], "shifted the whole curve"),
    ("00.3", lambda m, v, i, y0: m - (y0 - m[i]) / v[i] * v, "sign of z"),
    ("00.3", lambda m, v, i, y0: (y0 - m[i]) / v[i] * v, "add the mean curve"),
    ("00.3", lambda m, v, i, y0: 0 * m, "Solve m"),
    ("00.4", 0.02, "error of ln"),
    ("00.4", 0.02 * math.log(10), "Divide by ln"),
    ("00.4", 2 / math.log(10), "Two percent is 0.02"),
    ("00.4", 7.0, "By how much"),
    ("00.5", V9 / V7, "Upside down"),
    ("00.5", (V7 / V9) ** 2, "Not squared"),
    ("00.5", 7.0, "drops out"),
]


@pytest.mark.parametrize("exercise", RIGHT)
def test_right_answer_passes(exercise, capsys):
    mk.check(exercise, RIGHT[exercise])
    assert capsys.readouterr().out == f"{exercise}: correct\n"


@pytest.mark.parametrize(("exercise", "answer", "hint"), MISTAKES)
def test_known_mistakes_get_their_own_hint(exercise, answer, hint, capsys):
    mk.check(exercise, answer)
    said = capsys.readouterr().out
    assert said.startswith(f"{exercise}: not yet. ")
    assert hint in said


def test_logarithm_of_102_percent_is_right_too(capsys):
    mk.check("00.4", math.log10(1.02))
    assert "correct" in capsys.readouterr().out


@pytest.mark.parametrize("exercise", RIGHT)
@pytest.mark.parametrize("answer", ["garbage", None, [1, 2], {}, lambda: None])
def test_garbage_gets_a_message(exercise, answer, capsys):
    mk.check(exercise, answer)
    assert capsys.readouterr().out.startswith(f"{exercise}: not yet. ")


@pytest.mark.parametrize("exercise", RIGHT)
def test_stub_is_not_attempted(exercise, capsys):
    mk.check(exercise, ...)
    assert capsys.readouterr().out == f"{exercise}: not attempted yet\n"
