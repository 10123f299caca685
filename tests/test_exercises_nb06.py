"""The checkers of notebook 06: right answers pass, each known mistake gets its own hint."""

from __future__ import annotations

import math
from typing import Any

import pytest

import mamlkit as mk


def verdict(number: int, answer: object, capsys: pytest.CaptureFixture[str]) -> str:
    mk.check(f"06.{number}", answer)
    printed = capsys.readouterr().out
    assert printed.startswith(f"06.{number}: ")
    return printed


Q = 1 - 0.375
KEPT = Q**2

RIGHT: list[tuple[int, Any]] = [
    (1, 0.2),
    (2, 3.75 * KEPT / (1 - KEPT)),
    (2, 2.4),
    (3, 1 / (1 + Q + Q**2)),
    (3, 0.496),
    (4, 500),
]
WRONG: list[tuple[int, Any, str]] = [
    (1, -0.2, "sign"),
    (1, 1.7, "does not move"),
    (1, 0.1, "factor 2 is missing"),
    (1, 4.0, "Multiply it by alpha"),
    (1, 0.5, "part of the way"),
    (1, 7.0, "Differentiate"),
    (2, 3.75 * (1 - KEPT) / KEPT, "Upside down"),
    (2, KEPT, "part that is kept"),
    (2, 3.75 * Q / (1 - Q), "one inner step"),
    (2, 1.25, "square term"),
    (2, 5.0, "weak directions"),
    (2, 99.0, "solve for lambda"),
    (3, 1 / 3, "shrink"),
    (3, 1 / (1 + Q + Q**2 + Q**3), "three gradients"),
    (3, 1 / (1 + Q), "two steps"),
    (3, 1 - Q**3, "part of the miss"),
    (3, 1 - 1 / (1 + Q + Q**2), "later gradients"),
    (3, 1 / (1 + 0.375 + 0.375**2), "leaves the fraction"),
    (3, 0.05, "1 : q : q^2"),
    (4, 5, "below the line"),
    (4, 50, "alpha = 1"),
    (4, 10, "And the penalty"),
    (4, 0.002, "Upside down"),
    (4, 250, "no factor 2"),
    (4, math.log(2) * 500, "slopes at 0"),
    (4, 7, "sigma / lambda"),
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
@pytest.mark.parametrize("answer", ["twelve", None, [1, 2, 3], lambda a: "x", float("nan")])
def test_garbage_gives_a_message_and_does_not_raise(
    number: int, answer: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "not yet" in verdict(number, answer, capsys)


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_an_untouched_stub_is_not_attempted(
    number: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "not attempted yet" in verdict(number, ..., capsys)
