"""The checkers of notebook 07, and the draw function of its widget."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pytest
import torch
from torch import Tensor

import mamlkit as mk

NOTEBOOK = Path(__file__).resolve().parents[1] / "notebooks" / "07_how_sure_are_you.ipynb"


def verdict(capsys: pytest.CaptureFixture[str], exercise: str, answer: object) -> str:
    mk.check(exercise, answer)
    return capsys.readouterr().out


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (0.2774, "07.1: correct"),
        (1 / 13, "That is the variance"),
        (13.0, "That is the precision"),
        (1 / 3, "left out the prior"),
        (0.5, "That is the prior"),
        ((4 + 1 / 0.09) ** -0.5, "The force at x carries k times x"),
        (14**-0.5, "The x is squared"),
        ((4 + 2.7) ** -0.5, "The noise is a standard deviation"),
        (11**-0.5, "The prior's 0.5 is a standard deviation"),
        ((0.25 + 1 / 9) ** 0.5, "Precisions add"),
        (0.1, "Formula (1)"),
    ],
)
def test_standard_deviation(capsys: pytest.CaptureFixture[str], answer: float, hint: str) -> None:
    assert hint in verdict(capsys, "07.1", answer)


def about(reach: float, centre: float = -1.20) -> tuple[float, float]:
    return centre - reach, centre + reach


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (about(1.645 * 0.05), "07.2: correct"),
        ([-1.2822, -1.1178], "07.2: correct"),
        (about(1.96 * 0.05), "belongs to 95 %"),
        (about(1.28 * 0.05), "10 % on each side"),
        (about(0.05), "one standard deviation"),
        (about(1.645 * 0.03), "interval of the law"),
        (about(1.645 * 0.04), "the noise alone"),
        (about(1.645 * 0.07), "Variances add"),
        (about(1.645 * 0.05**2), "take its root"),
        (about(1.645 * 0.025), "half to each side"),
        (about(0.1), "Two standard deviations"),
        (about(0.0333), "Reach 1.645"),
        (about(1.645 * 0.05, 1.20), "evenly about the mean"),
        (about(-1.645 * 0.05), "lower end comes first"),
        (0.08, "Give two numbers"),
    ],
)
def test_interval(capsys: pytest.CaptureFixture[str], answer: object, hint: str) -> None:
    assert hint in verdict(capsys, "07.2", answer)


def coverage(
    half: Callable[[Tensor, Tensor], Any] = lambda e, v: 1.96 * e.std() / len(e) ** 0.5,
    mean: Callable[[Tensor], Any] = lambda v: v.mean(),
) -> Callable[[Tensor], tuple[Any, Any]]:
    """``half`` from the coverage of each task and from all points; ``mean`` from all points."""

    def answer(inside: Tensor) -> tuple[Any, Any]:
        values = inside.double()
        return mean(values), half(values.mean(1), values)

    return answer


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (coverage(), "07.3: correct"),
        (coverage(lambda e, v: 2 * e.std(correction=0) / len(e) ** 0.5), "07.3: correct"),
        (coverage(lambda e, v: 1.96 * v.std() / v.numel() ** 0.5), "as if they were independent"),
        (coverage(lambda e, v: 1.96 * e.std() / v.numel() ** 0.5), "root of all points"),
        (coverage(lambda e, v: 1.96 * v.std() / len(v) ** 0.5), "inside or outside as a whole"),
        (coverage(lambda e, v: 1.96 * e.std()), "scatter of single tasks"),
        (coverage(lambda e, v: e.std()), "standard deviation over tasks"),
        (coverage(lambda e, v: e.std() / len(e) ** 0.5), "one standard error"),
        (coverage(lambda e, v: 1.645 * e.std() / len(e) ** 0.5), "belongs to 90 %"),
        (coverage(lambda e, v: 3.92 * e.std() / len(e) ** 0.5), "the whole width"),
        (coverage(lambda e, v: 1.96 * e.var() / len(e) ** 0.5), "used the variance"),
        (
            coverage(lambda e, v: 1.96 * (v.mean() * (1 - v.mean()) / len(e)) ** 0.5),
            "inside or outside as a whole",
        ),
        (coverage(lambda e, v: 7.0), "The coverage is right"),
        (coverage(mean=lambda v: 100 * v.mean()), "not in percent"),
        (coverage(mean=lambda v: (v.mean(1) == 1).double().mean()), "lie inside as a whole"),
        (coverage(mean=lambda v: v.mean() / 2), "mean of inside"),
        (lambda inside: inside.double().mean(), "Return a pair"),
        (coverage(mean=lambda v: v.mean(1)), "Return two numbers"),
        ((0.9, 0.1), "Give the function itself"),
    ],
)
def test_coverage(capsys: pytest.CaptureFixture[str], answer: object, hint: str) -> None:
    assert hint in verdict(capsys, "07.3", answer)


def reduction(cov: Tensor, noise: float) -> Tensor:
    return cov**2 / (cov.diagonal() + noise**2)


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (lambda c, s: reduction(c, s).mean(0), "07.4: correct"),
        (lambda c, s: reduction(c, 0.0).mean(0), "The noise is missing"),
        (lambda c, s: reduction(c, s**0.5).mean(0), "The noise is a standard deviation"),
        (lambda c, s: (c / (c.diagonal() + s**2)).mean(0), "numerator is squared"),
        (lambda c, s: reduction(c, s).mean(1), "averaged over the candidates"),
        (lambda c, s: reduction(c, s).sum(0), "sum over places"),
        (lambda c, s: reduction(c, s).diagonal(), "gain at the candidate itself"),
        (lambda c, s: c.diagonal(), "where you are least sure"),
        (lambda c, s: c.diagonal().mean() - reduction(c, s).mean(0), "variance that is left"),
        (lambda c, s: (c**2 / (c.diagonal() + s**2)[:, None]).mean(0), "over the candidates"),
        (lambda c, s: reduction(c, s).mean(0).argmax(), "every candidate"),
        (lambda c, s: reduction(c, s), "one number a candidate"),
        (lambda c, s: reduction(c, s).mean(0).tolist(), "Return a tensor"),
        (lambda c, s: 3 * reduction(c, s).mean(0), "Formula (3)"),
        (1.0, "Give the function itself"),
    ],
)
def test_gain(capsys: pytest.CaptureFixture[str], answer: object, hint: str) -> None:
    assert hint in verdict(capsys, "07.4", answer)


def test_gain_is_the_mean_loss_of_variance() -> None:
    """Formula (3), against Bayes' rule done in full for each candidate."""
    generator = torch.Generator().manual_seed(1)
    root = torch.randn(5, 5, generator=generator, dtype=torch.float64)
    cov, noise = root @ root.T, 0.3
    for c in range(5):
        pick = torch.eye(5, dtype=torch.float64)[c : c + 1]
        after = torch.linalg.inv(torch.linalg.inv(cov) + pick.T @ pick / noise**2)
        expected = (cov - after).diagonal().mean()
        torch.testing.assert_close(reduction(cov, noise).mean(0)[c], expected)


@pytest.fixture(name="cells")
def notebook_cells() -> dict[str, str]:
    """The functions of the notebook by name: the source of the cell that defines each."""
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    sources = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    names = ("fan", "measure", "draw")
    return {n: next(s for s in sources if s.startswith(f"def {n}(")) for n in names}


def test_the_widget_draws_what_it_says(cells: dict[str, str]) -> None:
    fluids = mk.tasks.VapourPressure(noise=0.01)
    test = fluids.split("test")
    x, curves, physics = test.curves(test.n_members)
    head = mk.BayesianHead(mk.models.MLP(1, 4, hidden=(8,), seed=0).double(), 4, noise=0.1)
    scope: dict[str, Any] = {"mk": mk, "plt": plt, "torch": torch, "head": head, "x": x}
    scope |= {"fluids": fluids, "test": test, "curves": curves, "Z50": 0.674, "Z90": 1.645}
    scope["names"] = [test.names[int(i)] for i in physics["fluid"]]
    exec(cells["fan"].partition("\n\n\n")[0], scope)
    exec(cells["measure"].partition("\n\n\n")[0], scope)
    exec(cells["draw"], scope)

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
    mean, variance = head.adapt(x[at], readings).distribution(x)
    torch.testing.assert_close(off, (mean - curves[i])[:, 0])
    inside = ((mean - curves[i]).abs() < 1.645 * variance.sqrt()).double().mean()
    assert f"{inside:.0%} of the curve inside the 90 % band" in sentence
    plt.close(figure)
