"""The checkers of notebook 09, and the draw function of its widget."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pytest
import torch

import mamlkit as mk
from mamlkit.recipes import predators

NOTEBOOK = Path(__file__).resolve().parents[1] / "notebooks" / "09_predator_and_prey.ipynb"


def verdict(capsys: pytest.CaptureFixture[str], exercise: str, answer: object) -> str:
    mk.check(exercise, answer)
    return capsys.readouterr().out


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        ((0.4444, 0.8), "09.1: correct"),
        ((0.8, 0.4444), "wrong way round"),
        ((2.25, 1.25), "Upside down"),
        ((0, 0), "empty world"),
        ((1.0, 1.0), "Set both rates to zero"),
        (0.8, "Give two numbers"),
    ],
)
def test_rest(capsys: pytest.CaptureFixture[str], answer: object, hint: str) -> None:
    assert hint in verdict(capsys, "09.1", answer)


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (lambda x, y, b, d: d * x - 0.5 * x.log() + b * y - 0.5 * y.log(), "09.2: correct"),
        (lambda x, y, b, d: 3 - 2 * (d * x + b * y) + x.log() + y.log(), "09.2: correct"),
        (lambda x, y, b, d: b * x - 0.5 * x.log() + d * y - 0.5 * y.log(), "swapped"),
        (lambda x, y, b, d: d * x + 0.5 * x.log() + b * y + 0.5 * y.log(), "minus sign"),
        (lambda x, y, b, d: x * y, "integrate"),
        (lambda x, y, b, d: 1.0, "Return one number"),
        (1.0, "Give the function"),
    ],
)
def test_conserved(capsys: pytest.CaptureFixture[str], answer: object, hint: str) -> None:
    assert hint in verdict(capsys, "09.2", answer)


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (256, "09.3: correct"),
        (16, "its square"),
        (4, "order four"),
        (2, "order four, not one"),
        (1024, "twice as many steps"),
        (7, "fourth power"),
    ],
)
def test_half_the_step(capsys: pytest.CaptureFixture[str], answer: float, hint: str) -> None:
    assert hint in verdict(capsys, "09.3", answer)


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (4, "09.4: correct"),
        (2, "its square, a quarter"),
        (0.25, "so the step must grow"),
        (0.5, "and the loss is a square"),
        (16, "Squared once too often"),
        (7, "about h e"),
    ],
)
def test_the_step_for_states(capsys: pytest.CaptureFixture[str], answer: float, hint: str) -> None:
    assert hint in verdict(capsys, "09.4", answer)


def test_the_widget_draws_what_it_says() -> None:
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    source = next(s for c in cells if (s := "".join(c["source"])).startswith("def draw("))
    coda = predators.build("coda", 0).double()
    scope: dict[str, Any] = {"mk": mk, "plt": plt, "torch": torch, "coda": coda}
    scope["family"] = mk.tasks.LotkaVolterra()
    torch.set_default_dtype(torch.float64)
    try:
        exec(source, scope)
        figure, sentence = scope["draw"](0.625, 1.125, 1.2, 1.8, 2)
    finally:
        torch.set_default_dtype(torch.float32)
    truth, recorded, before, after = (line.get_xydata() for line in figure.axes[0].lines)
    assert truth[0] == pytest.approx([1.2, 1.8])
    assert recorded[0] == pytest.approx([1.5, 1.5])
    for path, words in ((before, "before adaptation"), (after, "after 2 steps")):
        assert f"{((path - truth) ** 2).mean():.1e}" in sentence
        assert words in sentence
    plt.close(figure)
