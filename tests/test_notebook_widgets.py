"""The draw functions of the widgets in notebooks: the sentence says what the picture shows."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pytest
import torch
from torch.func import functional_call

import mamlkit as mk
from mamlkit.course.recipes import oscillator, pinns, predators
from mamlkit.physics.solve import refine
from tests.helpers import NOTEBOOKS, read_notebook

NB07 = NOTEBOOKS / "07_how_sure_are_you.ipynb"
NB08 = NOTEBOOKS / "08_calibrating_a_simulator.ipynb"
NB09 = NOTEBOOKS / "09_predator_and_prey.ipynb"
NB12 = NOTEBOOKS / "12_pinns_that_start_warm.ipynb"


def cell_of(notebook: Path, first: str) -> str:
    """The source of the cell that begins with ``first``."""
    cells = read_notebook(notebook)["cells"]
    return next(s for c in cells if (s := "".join(c["source"])).startswith(first))


@pytest.fixture
def doubles() -> Iterator[None]:
    """Real numbers in float64, as in the notebooks."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture
def functions() -> dict[str, str]:
    """The functions of the notebook by name: the source of the cell that defines each."""
    cells = read_notebook(NB07)["cells"]
    sources = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    names = ("fan", "measure", "places", "draw")
    return {n: next(s for s in sources if s.startswith(f"def {n}(")) for n in names}


def test_widget_of_notebook_07_draws_what_it_says(functions: dict[str, str]) -> None:
    fluids = mk.tasks.VapourPressure(noise=0.01)
    test = fluids.split("test")
    x, curves, physics = test.curves(test.n_members)
    head = mk.BayesianHead(mk.models.MLP(1, 4, hidden=(8,), seed=0).double(), 4, noise=0.1)
    scope: dict[str, Any] = {"mk": mk, "plt": plt, "torch": torch, "head": head, "x": x}
    scope |= {"fluids": fluids, "test": test, "curves": curves, "Z50": 0.674, "Z90": 1.645}
    scope["names"] = [test.names[int(i)] for i in physics["fluid"]]
    exec(functions["fan"].partition("\n\n\n")[0], scope)
    exec(functions["measure"].partition("\n\n\n")[0], scope)
    exec(functions["places"], scope)
    exec(functions["draw"], scope)

    figure, sentence = scope["draw"]("Helium", 0.9, 3, seed=2)
    measured, drawn = figure.axes[0].lines[2], figure.axes[0].lines[0]
    assert [round(float(t), 2) for t in measured.get_xdata()[:1]] == [0.9]
    assert len(measured.get_xdata()) == 3
    places = [float(t) for t in sentence.partition("= ")[2].partition(":")[0].split(", ")]
    assert places == pytest.approx([float(t) for t in measured.get_xdata()])
    off = torch.as_tensor(drawn.get_ydata())  # prediction minus truth
    assert f"RMSE {float(off.square().mean().sqrt()):.4f}" in sentence
    i, at = scope["names"].index("Helium"), [round((t - 0.6) / 0.01) for t in places]
    readings = scope["measure"](2)[i, at]
    predict: Any = head.adapt(x[at], readings)
    mean, variance = predict.distribution(x)
    torch.testing.assert_close(off, (mean - curves[i])[:, 0])
    inside = ((mean - curves[i]).abs() < 1.645 * variance.sqrt()).double().mean()
    assert f"{inside:.0%} of the curve inside the 90 % band" in sentence
    plt.close(figure)


@pytest.mark.usefixtures("doubles")
def test_widget_of_notebook_08_draws_what_it_says() -> None:
    scope: dict[str, Any] = {"mk": mk, "plt": plt, "torch": torch, "math": math}
    scope |= {"law": mk.tasks.oscillator.law, "simulator": oscillator.simulator()}
    scope |= {"family": oscillator.tasks("short"), "single": [oscillator.yardstick("short-adam-1")]}
    scope["starts"] = [oscillator.yardstick("short-adam-8")]
    for first in ("def scan(", "class Periodogram:", "def measured(", "def draw("):
        exec(cell_of(NB08, first), scope)
    figure, sentence = scope["draw"](8.0, 2.5, 12, 20)
    truth, readings, *curves = (line.get_xydata() for line in figure.axes[0].lines)
    assert len(readings) == 12
    parts = sentence.partition("steps. ")[2].split("; ")
    assert [part.partition(":")[0] for part in parts] == [
        line.get_label() for line in figure.axes[0].lines[2:]
    ]
    for curve, part in zip(curves, parts, strict=True):
        error = ((curve - truth)[:, 1] ** 2).mean() ** 0.5
        assert f"RMSE {error:.3f} m" in part
        assert (error < 0.1) == ("periodogram" in part or "8 learned" in part)
    plt.close(figure)


@pytest.mark.usefixtures("doubles")
def test_widget_of_notebook_12_draws_what_it_says() -> None:
    scope: dict[str, Any] = {"mk": mk, "torch": torch, "pinns": pinns, "refine": refine}
    scope |= {"functional_call": functional_call, "models": {"random": pinns.network(seed=0)}}
    exec(cell_of(NB12, "def draw("), scope)
    figure, sentence = scope["draw"](0.05, "random", 3)
    exact, solved, difference = (ax.collections[0].get_array() for ax in figure.axes[:3])
    torch.testing.assert_close(
        torch.as_tensor(difference), torch.as_tensor(solved) - torch.as_tensor(exact)
    )
    support, query = pinns.problem(torch.tensor([0.05]))
    errors = refine(scope["models"]["random"], support, query, pinns.LOSS, 3).errors[0]
    said = f"error {errors[0]:.3f} before, {errors[-1]:.4f} after 3"
    assert said in sentence
    plt.close(figure)


def test_widget_of_notebook_09_draws_what_it_says() -> None:
    cells = read_notebook(NB09)["cells"]
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
