"""The draw functions of the widgets in notebooks: the sentence says what the picture shows."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import pytest
import torch

import mamlkit as mk
from mamlkit.course.recipes import predators
from tests.helpers import NOTEBOOKS, read_notebook

NB07 = NOTEBOOKS / "07_how_sure_are_you.ipynb"
NB09 = NOTEBOOKS / "09_predator_and_prey.ipynb"


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
