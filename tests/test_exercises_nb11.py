"""The checkers of notebook 11."""

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
        ("11.1", 6 / R, "11.1: correct"),
        ("11.1", 6 / 2.21, "falls as 1/r"),
        ("11.1", 6 / 1.1, "not 1.1"),
        ("11.1", 2 / R, "Both charges add"),
        ("11.1", -2 / R, "both positive"),
        ("11.1", 1.0, "Pythagoras"),
        ("11.2", (4.0, 2.0), "11.2: correct"),
        ("11.2", (2.0, 4.0), "wrong order"),
        ("11.2", (4.0952, 2.1905), "far charge"),
        ("11.2", (1.0, 1.0), "Two equations"),
        ("11.2", 4.0, "two numbers"),
        ("11.3", lambda h, q, new: new @ torch.linalg.pinv(h) @ q, "11.3: correct"),
        ("11.3", lambda h, q, new: (new @ torch.linalg.pinv(h) @ q).flip(1), "swapped"),
        ("11.3", lambda h, q, new: q, "one pair of charges"),
        ("11.3", lambda h, q, new: new[:, :2], "shortest solution"),
        ("11.3", 3, "the function itself"),
    ],
)
def test_checkers(capsys: pytest.CaptureFixture[str], exercise: str, answer: object, hint: str):
    assert hint in verdict(capsys, exercise, answer)
