"""The checkers of notebook 04: right answers pass, each known mistake gets its own hint."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

import mamlkit as mk


def verdict(number: int, answer: object, capsys: pytest.CaptureFixture[str]) -> str:
    mk.check(f"04.{number}", answer)
    printed = capsys.readouterr().out
    assert printed.startswith(f"04.{number}: ")
    return printed


def phase_by(
    rule: Callable[[float, float], float],
) -> Callable[[float, float], tuple[float, float]]:
    return lambda a, b: (math.hypot(a, b), rule(a, b))


RIGHT: list[tuple[int, Any]] = [
    (3, 0.875),
    (2, phase_by(lambda a, b: math.atan2(-b, a))),
    (4, 0.001),
    (1, math.pi),
    (1, 3.14),
]
WRONG: list[tuple[int, Any, str]] = [
    (3, 1.75, "sine squared halves"),
    (3, 0.78125, "mean amplitude"),
    (3, 1.3125, "density"),
    (3, math.sqrt(0.875), "root of the mean square"),
    (3, 4.25, "Integrate"),
    (2, 3.0, "Give the function"),
    (2, lambda a, b: (a * a + b * b, 0.0), "squared"),
    (2, lambda a, b: (a + b, 0.0), "A^2 = a^2 + b^2"),
    (2, phase_by(lambda a, b: math.atan2(b, a)), "wrong sign"),
    (2, phase_by(lambda a, b: math.atan2(a, -b)), "exchanged"),
    (2, phase_by(lambda a, b: math.atan(-b / a)), "atan2"),
    (2, phase_by(lambda a, b: 0.1), "your phase is 0.1"),
    (4, 0.1, "wrong way"),
    (4, 0.01, "reported number"),
    (4, 0.0001, "one factor"),
    (4, 7.0, "grad L / K"),
    (1, 2 * math.pi, "full period"),
    (1, math.pi / 2, "quarter"),
    (1, 180, "radian"),
    (1, 0, "one reading"),
    (1, 1.0, "determinant"),
]


@pytest.mark.parametrize(("number", "answer"), RIGHT)
def test_right_answers_pass(number: int, answer: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert "correct" in verdict(number, answer, capsys)


@pytest.mark.parametrize(("number", "answer", "hint"), WRONG)
def test_each_known_mistake_has_its_hint(
    number: int, answer: Any, hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    printed = verdict(number, answer, capsys)
    assert "not yet" in printed
    assert hint in printed


@pytest.mark.parametrize("number", [1, 2, 3, 4])
@pytest.mark.parametrize("answer", ["twelve", None, [1, 2, 3], lambda a, b: "x", float("nan")])
def test_garbage_gives_a_message_and_does_not_raise(
    number: int, answer: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "not yet" in verdict(number, answer, capsys)


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_an_untouched_stub_is_not_attempted(
    number: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "not attempted yet" in verdict(number, ..., capsys)
