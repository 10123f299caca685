"""The checkers of notebook 10."""

from __future__ import annotations

import pytest
import torch

import mamlkit as mk


def verdict(capsys: pytest.CaptureFixture[str], exercise: str, answer: object) -> str:
    mk.check(exercise, answer)
    return capsys.readouterr().out


R = 2.21**0.5


@pytest.mark.parametrize(
    ("exercise", "answer", "hint"),
    [
        ("10.1", 6 / R, "10.1: correct"),
        ("10.1", 6 / 2.21, "falls as 1/r"),
        ("10.1", 6 / 1.1, "not 1.1"),
        ("10.1", 2 / R, "Both charges add"),
        ("10.1", -2 / R, "both positive"),
        ("10.1", 1.0, "Pythagoras"),
        ("10.2", (4.0, 2.0), "10.2: correct"),
        ("10.2", (2.0, 4.0), "wrong order"),
        ("10.2", (4.0952, 2.1905), "far charge"),
        ("10.2", (1.0, 1.0), "Two equations"),
        ("10.2", 4.0, "two numbers"),
        ("10.3", lambda h, q, new: new @ torch.linalg.pinv(h) @ q, "10.3: correct"),
        ("10.3", lambda h, q, new: (new @ torch.linalg.pinv(h) @ q).flip(1), "swapped"),
        ("10.3", lambda h, q, new: q, "one pair of charges"),
        ("10.3", lambda h, q, new: new[:, :2], "shortest solution"),
        ("10.3", 3, "the function itself"),
    ],
)
def test_checkers(capsys: pytest.CaptureFixture[str], exercise: str, answer: object, hint: str):
    assert hint in verdict(capsys, exercise, answer)
