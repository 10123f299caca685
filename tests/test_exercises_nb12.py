"""The checkers of notebook 12."""

from __future__ import annotations

import pytest

import mamlkit as mk


@pytest.mark.parametrize(
    ("exercise", "answer", "hint"),
    [
        ("12.1", 20, "12.1: correct"),
        ("12.1", 18, "left out u_t"),
        ("12.1", 2, "left out u u_x"),
        ("12.1", 5, "not u_x alone"),
        ("12.1", 7, "u_xx = 0"),
        ("12.2", 20, "12.2: correct"),
        ("12.2", 40 / 3, "what is saved"),
        ("12.2", 40, "seconds saved a task"),
        ("12.2", 7, "Cost of training"),
        ("12.3", 8.275, "12.3: correct"),
        ("12.3", 0.08275, "In percent"),
        ("12.3", 4.01, "difference"),
        ("12.3", 7.17, "other curve"),
        ("12.3", 50, "(start - end)"),
    ],
)
def test_the_checkers_know_the_mistakes(
    capsys: pytest.CaptureFixture[str], exercise: str, answer: float, hint: str
) -> None:
    mk.check(exercise, answer)
    assert hint in capsys.readouterr().out
