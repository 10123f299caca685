"""The checkers of notebook 08."""

from __future__ import annotations

import math

import pytest
import torch

import mamlkit as mk


def verdict(capsys: pytest.CaptureFixture[str], exercise: str, answer: object) -> str:
    mk.check(exercise, answer)
    return capsys.readouterr().out


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (6.0, "08.1: correct"),
        (7.5, "the largest slope"),
        (-0.6, "That is sin u"),
        (0.8, "That is cos u"),
        (12.0, "half the width"),
        (-4.5, "derivative of the sine"),
        (math.asin(-0.6), "u itself"),
        (1 / 6, "one over the slope"),
        (1.0, "Find sin u"),
    ],
)
def test_slope(capsys: pytest.CaptureFixture[str], answer: float, hint: str) -> None:
    assert hint in verdict(capsys, "08.1", answer)


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (14, "08.2: correct"),
        (13, "Round up"),
        (13.354, "whole number"),
        (27, "twice as wide"),
        (20, "reach of pi/T"),
        (5, "A valley is"),
    ],
)
def test_starts(capsys: pytest.CaptureFixture[str], answer: float, hint: str) -> None:
    assert hint in verdict(capsys, "08.2", answer)


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (lambda x, tau: torch.softmax(-x / tau, 0), "08.3: correct"),
        (lambda x, tau: torch.exp(-x / tau) / torch.exp(-x / tau).sum(), "subtract the smallest"),
        (lambda x, tau: torch.softmax(x / tau, 0), "The sign"),
        (lambda x, tau: torch.softmax(-x * tau, 0), "do not multiply"),
        (lambda x, tau: torch.exp(-x / tau), "sum to 1"),
        (lambda x, tau: torch.softmax(-x, 0), "tau is missing"),
        (lambda x, tau: (x == x.min()).double(), "the best alone"),
        (lambda x, tau: 2 * x, "Formula (2)"),
        (lambda x, tau: x.sum(), "one weight a start"),
        (0.5, "Give the function itself"),
    ],
)
def test_shares(capsys: pytest.CaptureFixture[str], answer: object, hint: str) -> None:
    assert hint in verdict(capsys, "08.3", answer)
