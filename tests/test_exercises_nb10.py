"""The checkers of notebook 10."""

from __future__ import annotations

import math

import pytest
import torch

import mamlkit as mk

SWING = 1 - math.cos(1.0)


def verdict(capsys: pytest.CaptureFixture[str], exercise: str, answer: object) -> str:
    mk.check(exercise, answer)
    return capsys.readouterr().out


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (9.81 / 2 * SWING, "10.1: correct"),
        (2.255, "10.1: correct"),
        (-9.81 / 2 * math.cos(1.0), "E itself"),
        (SWING, "height in units"),
        (9.81 / 2, "times 1 - cos q"),
        (9.81 * 2 * SWING, "in place of 1/l"),
        (9.81 / 2 * (1 - math.cos(math.radians(1))), "not in degrees"),
        (9.81 / 4, "small-angle"),
        (7.0, "with g = 9.81"),
    ],
)
def test_energy(capsys, answer, hint) -> None:
    assert hint in verdict(capsys, "10.1", answer)


def changes(y, w):
    energy = y[:, 1] ** 2 / 2 - w * torch.cos(y[:, 0])
    return energy, energy - energy[0]


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (lambda e, d, w: d.abs().max() / (e[0] + w), "10.2: correct"),
        (lambda e, d, w: d.abs().max(), "Divide by the energy"),
        (lambda e, d, w: d.abs().max() / e[0].abs(), "zero is arbitrary"),
        (lambda e, d, w: d[-1].abs() / (e[0] + w), "change at the end"),
        (lambda e, d, w: d.max() / (e[0] + w), "absolute change"),
        (lambda e, d, w: d.abs().mean() / (e[0] + w), "mean change"),
        (lambda e, d, w: d.abs() / (e[0] + w), "one number"),
        (lambda e, d, w: 17.0, "max |E(t)"),
    ],
)
def test_drift(capsys, answer, hint) -> None:
    given = lambda y, w: answer(*changes(y, w), w)  # noqa: E731
    assert hint in verdict(capsys, "10.2", given)
    assert "function itself" in verdict(capsys, "10.2", 0.3)


def line(c, value, new):
    slope = ((c - c.mean()) * (value - value.mean())).sum() / ((c - c.mean()) ** 2).sum()
    return value.mean() + slope * (new - c.mean())


def turned(c, value, new):
    back = ((c - c.mean()) * (value - value.mean())).sum() / ((value - value.mean()) ** 2).sum()
    return value.mean() + (new - c.mean()) / back


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (line, "10.3: correct"),
        (lambda c, v, n: mk_readout(c, v, n), "10.3: correct"),
        (lambda c, v, n: (c * v).sum() / (c * c).sum() * n, "origin"),
        (turned, "turned it round"),
        (lambda c, v, n: 1.0, "Return a tensor"),
        (lambda c, v, n: 0 * n, "by least squares"),
        (3.0, "function itself"),
    ],
)
def test_readout(capsys, answer, hint) -> None:
    assert hint in verdict(capsys, "10.3", answer)


def mk_readout(c, value, new):
    from mamlkit.discovery import Readout

    return Readout.fit(c, value)(new)[:, 0]
