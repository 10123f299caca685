"""The draw functions of the widgets in notebooks: the sentence says what the picture shows."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.lines import AxLine
from scipy.optimize import least_squares
from torch.func import functional_call

import mamlkit as mk
from mamlkit.course.recipes import charges, oscillator, pendulum, pinns, predators, shipped
from mamlkit.physics.solve import refine
from tests.helpers import NOTEBOOKS, read_notebook

NB01 = NOTEBOOKS / "01_learning_to_learn.ipynb"
NB02 = NOTEBOOKS / "02_the_mathematics_of_maml.ipynb"
NB03 = NOTEBOOKS / "03_maml_in_twenty_lines.ipynb"
NB04 = NOTEBOOKS / "04_the_sinusoid_benchmark.ipynb"
NB05 = NOTEBOOKS / "05_bring_your_own_physics.ipynb"
NB06 = NOTEBOOKS / "06_the_family.ipynb"
NB07 = NOTEBOOKS / "07_how_sure_are_you.ipynb"
NB08 = NOTEBOOKS / "08_calibrating_a_simulator.ipynb"
NB09 = NOTEBOOKS / "09_predator_and_prey.ipynb"
NB10 = NOTEBOOKS / "10_the_pendulum_and_its_energy.ipynb"
NB11 = NOTEBOOKS / "11_reading_charges_from_weights.ipynb"
NB12 = NOTEBOOKS / "12_pinns_that_start_warm.ipynb"


def cell(path: Path, words: str) -> str:
    """The source of the first code cell that holds ``words``."""
    cells = [c for c in read_notebook(path)["cells"] if c["cell_type"] == "code"]
    return next(s for c in cells if words in (s := "".join(c["source"])))


@pytest.fixture
def float64() -> Iterator[None]:
    """Real numbers as in the notebooks."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def test_widget_of_notebook_01_draws_what_it_says() -> None:
    family = mk.tasks.HookesLaw()
    family.noise = 0.5
    scope: dict[str, Any] = {"mk": mk, "plt": plt, "torch": torch, "family": family, "s": 0.0148}
    torch.set_default_dtype(torch.float64)
    try:
        for begin in ("many = ", "def draw("):
            exec(cell(NB01, begin), scope)
        figure, sentence = scope["draw"](20.0, 15.0, 3, 7)
        support, k = scope["many"].support, scope["k"]
        learner = mk.MAML(torch.nn.Linear(1, 1, bias=False), inner_lr=15.0)
        with torch.no_grad():
            next(learner.model.parameters()).fill_(20.0)
        adapted = [
            learner.adapt(x[:3], y[:3]).weights["weight"] for x, y in zip(*support[:2], strict=True)
        ]
    finally:
        torch.set_default_dtype(torch.float32)
    after = torch.stack(adapted).detach().flatten()  # of the library's own inner step
    left, right = figure.axes
    slopes = [line.get_slope() for line in left.lines[:3] if isinstance(line, AxLine)]
    assert slopes == pytest.approx([float(k[7]), 20.0, float(after[7])])
    assert np.asarray(left.lines[3].get_xdata()) == pytest.approx(support.x[7, :3, 0].numpy())
    losses = [float((0.0148 * (guess - k) ** 2).mean()) for guess in (20.0, after)]
    assert right.lines[1].get_xydata()[0] == pytest.approx([15.0, losses[1]])
    scan = np.asarray(right.lines[0].get_xydata())
    assert scan[0] == pytest.approx([0.0, losses[0]])  # a step of no length
    assert scan[15] == pytest.approx([15.0, losses[1]])
    assert f"Spring 7, k = {k[7]:.1f} N/m: 20.0 -> {after[7]:.1f} N/m." in sentence
    assert f"Over 1000 springs: {losses[0]:.3f} -> {losses[1]:.3f} N²." in sentence
    plt.close(figure)


def test_widget_of_notebook_02_draws_what_it_says() -> None:
    scope: dict[str, Any] = {"plt": plt, "torch": torch}
    for start in ("x = torch.tensor(", "def panels(", "def draw("):
        exec(cell(NB02, start), scope)
    s = float(scope["s"])
    for alpha, theta in ((8.0, 15.0), (1 / (2 * s), 20.0)):
        figure, sentence = scope["draw"](alpha, theta)
        straight, arrow, dot = (line.get_xydata() for line in figure.axes[0].lines)
        slope = (straight[1, 1] - straight[0, 1]) / 50.0
        assert slope == pytest.approx(1 - 2 * alpha * s, abs=1e-5)
        assert arrow[1] - arrow[0] == pytest.approx([12.0, 12.0], rel=1e-5)
        assert dot[0] == pytest.approx([theta, straight[0, 1] + slope * theta], rel=1e-5)
        assert f"guess {theta:g} N/m lands on {dot[0, 1]:.1f}; slope {slope:.2f}" in sentence
        exact, first = (float(line.get_ydata()[0]) for line in figure.axes[1].lines[2::2])
        assert f"first order {first:.3f}" in sentence
        assert exact == pytest.approx(slope * first, abs=1e-6)
        plt.close(figure)


def test_widget_of_notebook_03_draws_what_it_says() -> None:
    scope: dict[str, Any] = {"mk": mk, "plt": plt, "torch": torch}
    torch.set_default_dtype(torch.float64)
    try:
        for start in ("MARKS =", "Sigma =", "def formula_2(", "def four(", "def panels("):
            exec(cell(NB03, start), scope)
        exec(cell(NB03, "def draw("), scope)
        figure, sentence = scope["draw"](3, 0.1, 7)
        generator = torch.Generator().manual_seed(7)
        tasks = mk.tasks.LinearLaw(noise=0.1).sample(1000, 3, 50, generator=generator)
        bayes = mk.yardsticks.Bayes(scope["m"], scope["C"], 0.1)
        x, y = (leaf[0] for leaf in tasks.support)
        rivals: dict[str, Any] = {"least squares": mk.yardsticks.LeastSquares(), "Bayes": bayes}
        for name, learner in rivals.items():
            (line,) = (d for d in figure.axes[0].lines if d.get_label() == name)
            expected = learner.adapt(x, y)(torch.tensor([[-1.0], [1.0]]))
            assert line.get_ydata() == pytest.approx(expected[:, 0].numpy())
            off = (learner.adapt(x, y)(tasks.query.x[0]) - tasks.query.y[0]).square().mean()
            errors = [
                float((learner.adapt(*one)(at) - truth).square().mean())
                for *one, at, truth in zip(*tasks.support, *tasks.query, strict=True)
            ]
            middle = torch.tensor(errors).quantile(0.5)
            assert f"{name} {middle:.2g} ({off:.2g})" in sentence
    finally:
        torch.set_default_dtype(torch.float32)
    assert [d.get_text() for d in figure.axes[1].get_yticklabels()][1] == "least squares"


@pytest.mark.usefixtures("float64")
def test_widget_of_notebook_04_draws_what_it_says() -> None:
    maml = mk.MAML(mk.models.MLP(1, 1, hidden=(8,), seed=0), inner_lr=0.01)
    oracle = mk.yardsticks.LeastSquares(lambda x: torch.cat([torch.sin(x), torch.cos(x)], dim=-1))
    scope: dict[str, Any] = {"mk": mk, "plt": plt, "torch": torch, "maml": maml, "oracle": oracle}
    for words in ("def sine_curves(", "def draw_sine("):
        exec(cell(NB04, words), scope)
    figure, sentence = scope["draw_sine"](2.0, 1.0, 3, 2)
    truth, before, after, fit, readings = (line.get_xydata() for line in figure.axes[0].lines)
    assert truth[:, 1] == pytest.approx(2 * np.sin(truth[:, 0] - 1))
    assert readings[:, 1] == pytest.approx(2 * np.sin(readings[:, 0] - 1))
    assert len(readings) == 3
    assert fit == pytest.approx(truth, abs=1e-9)
    for curve, words in ((0 * truth, "predicting zero"), (before, "0 steps"), (after, "2 steps")):
        assert f"{words} {((curve[:, 1] - truth[:, 1]) ** 2).mean():.2g}" in sentence
    plt.close(figure)


@pytest.mark.usefixtures("float64")
def test_widget_of_notebook_05_draws_what_it_says() -> None:
    scope: dict[str, Any] = {"mk": mk, "plt": plt, "torch": torch, "np": np, "math": math}
    scope["least_squares"] = least_squares
    names = ("__init__(self, tau", "__init__(self, prior", "readings(", "cup_curves(", "draw_cup(")
    for name in names:
        exec(cell(NB05, f"def {name}"), scope)
    scope["family"] = scope["TeaCup"]()
    scope["components"] = mk.yardsticks.MeanCurve.fit(scope["family"], 10)
    model = mk.models.MLP(1, 1, hidden=(8,), x_range=(0.0, 60.0), seed=0)
    scope["learner"] = mk.MAML(model, inner_lr=1e-4)
    figure, sentence = scope["draw_cup"](90.0, 20.0, 4, 2)
    truth, known, *curves = (line.get_xydata() for line in figure.axes[0].lines)
    missed = [line.get_ydata() for line in figure.axes[1].lines]
    assert truth[:, 1] == pytest.approx(20 + 70 * np.exp(-truth[:, 0] / 20))
    assert len(known) == 4
    assert sentence.startswith("T0 90 °C, tau 20 min, 4 readings, 2 steps of Meta-SGD.")
    for curve, name in zip(
        curves, ("Newton fit + prior", "principal components", "Meta-SGD"), strict=True
    ):
        error = ((curve[:, 1] - truth[:, 1]) ** 2).mean() ** 0.5
        assert f"{name} {error:.1f}" in sentence
    assert missed[1] == pytest.approx(curves[1][:, 1] - truth[:, 1])
    assert np.abs(missed[0]).max() < 3  # it knows the law


def test_widget_of_notebook_06_draws_what_it_says() -> None:
    fluids = mk.tasks.VapourPressure(at=0.7).split("test")
    T, p = fluids.true_curve({k: v[0] for k, v in fluids.every(1).physics.items()})
    model = mk.models.MLP(1, 1, hidden=(8,), x_range=(0.6, 0.98), context=1, seed=0).double()
    scope: dict[str, Any] = {"mk": mk, "plt": plt, "torch": torch, "fluids": fluids, "task": 0}
    scope |= {"cavia": mk.CAVIA(model), "T": T, "p": p, "T0": T[:1], "p0": p[:1], "names": ["a"]}
    torch.set_default_dtype(torch.float64)
    try:
        exec(cell(NB06, "def curve(").partition("\n\n\nnumbers")[0], scope)
        exec(cell(NB06, "def draw_context("), scope)
        figure, sentence = scope["draw_context"](0.05)
    finally:
        torch.set_default_dtype(torch.float32)
    drawn = torch.as_tensor(figure.axes[0].lines[1].get_ydata())
    off = torch.as_tensor(figure.axes[1].lines[1].get_ydata())
    torch.testing.assert_close(off, 100 * (10 ** (drawn - p[:, 0]) - 1))
    assert f"RMSE over the curve {float((drawn - p[:, 0]).square().mean().sqrt()):.4f}" in sentence
    assert f"worst miss {float(off.abs().max()):.1f} %" in sentence
    plt.close(figure)


def test_widget_of_notebook_07_draws_what_it_says() -> None:
    fluids = mk.tasks.VapourPressure(noise=0.01)
    test = fluids.split("test")
    x, curves, physics = test.curves(test.n_members)
    head = mk.BayesianHead(mk.models.MLP(1, 4, hidden=(8,), seed=0).double(), 4, noise=0.1)
    scope: dict[str, Any] = {"mk": mk, "plt": plt, "torch": torch, "head": head, "x": x}
    scope |= {"fluids": fluids, "test": test, "curves": curves, "Z50": 0.674, "Z90": 1.645}
    scope["names"] = [test.names[int(i)] for i in physics["fluid"]]
    exec(cell(NB07, "def fan(").partition("\n\n\n")[0], scope)
    exec(cell(NB07, "def measure(").partition("\n\n\n")[0], scope)
    exec(cell(NB07, "def places("), scope)
    exec(cell(NB07, "def draw("), scope)

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


@pytest.mark.usefixtures("float64")
def test_widget_of_notebook_08_draws_what_it_says() -> None:
    scope: dict[str, Any] = {"mk": mk, "plt": plt, "torch": torch, "math": math}
    scope |= {"law": mk.tasks.oscillator.law, "simulator": oscillator.simulator()}
    scope |= {"family": oscillator.tasks("short"), "single": [oscillator.yardstick("short-adam-1")]}
    scope["starts"] = [oscillator.yardstick("short-adam-8")]
    for first in ("def scan(", "ENOUGH = ", "def measured(", "def draw("):
        exec(cell(NB08, first), scope)
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


def test_widget_of_notebook_09_draws_what_it_says() -> None:
    coda = predators.build("coda", 0).double()
    scope: dict[str, Any] = {"mk": mk, "plt": plt, "torch": torch, "coda": coda}
    scope["quick"] = mk.tasks.LotkaVolterra()
    scope["quick"].substeps = 1  # as cells before it leave it
    torch.set_default_dtype(torch.float64)
    try:
        exec(cell(NB09, "def draw("), scope)
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


def test_widget_of_notebook_10_draws_what_it_says() -> None:
    scope: dict[str, Any] = {"mk": mk, "plt": plt, "torch": torch, "GRAVITY": 9.81}
    scope |= {"vmap": torch.func.vmap, "rk4": mk.ode.rk4, "derivatives": mk.losses.derivatives}
    scope["learners"] = {n: [pendulum.build(n, 0)] for n in ("separable", "free")}
    scope["family"] = mk.tasks.Pendulum()
    torch.set_default_dtype(torch.float64)
    try:
        for words in ("def forecast(", "def drift(", "def draw("):
            exec(cell(NB10, words), scope)
        figure, sentence = scope["draw"](4.0, 1.2, 1)
    finally:
        torch.set_default_dtype(torch.float32)
    assert sentence.startswith("4 m, 1.2 rad, 1 steps. separable: error ")
    left, right = figure.axes
    for k, name in enumerate(("separable", "free")):
        angle, energy = (ax.lines[k].get_ydata() for ax in (left, right))
        assert abs(angle[0]) < 1e-6  # the start in single precision
        assert energy[0] == 0
        assert f"{name}: error " in sentence
        assert f"drift {float(abs(energy).max()):.2g}" in sentence
    plt.close(figure)


def test_widget_of_notebook_11_draws_what_it_says() -> None:
    train = charges.tasks("train")
    scope: dict[str, Any] = {"mk": mk, "plt": plt, "torch": torch, "train": train}
    scope |= {"PointCharges": mk.tasks.PointCharges, "grid": train.points(41)}
    scope["first"] = shipped("charges-long").double()
    scope["heads"] = lambda learner, data: data.y[:, :2, 0]
    scope["calibrate"] = lambda learner: lambda heads: heads
    torch.set_default_dtype(torch.float64)
    try:
        for words in ("def maps(", "def draw("):
            exec(cell(NB11, words), scope)
        figure, sentence = scope["draw"](2.0, 5.0, 10, 0.0)
    finally:
        torch.set_default_dtype(torch.float32)
    error = torch.as_tensor(figure.axes[2].collections[0].get_array())
    assert f"median {float(error.median()):.2f} %" in sentence
    assert len(figure.axes[0].lines[0].get_xdata()) == 10
    assert "(true 2.00, 5.00)" in sentence
    plt.close(figure)


@pytest.mark.usefixtures("float64")
def test_widget_of_notebook_12_draws_what_it_says() -> None:
    scope: dict[str, Any] = {"mk": mk, "torch": torch, "pinns": pinns, "refine": refine}
    scope |= {"functional_call": functional_call, "models": {"random": pinns.network(seed=0)}}
    exec(cell(NB12, "def draw("), scope)
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
