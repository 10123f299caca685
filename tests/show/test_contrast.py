"""What a figure says with colour is seen on white (WCAG 2.2: 3:1 for graphics, 4.5:1 for text), and
told apart with the common kinds of colour blindness.
"""

from __future__ import annotations

import itertools
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb, to_rgba
from matplotlib.text import Text

import mamlkit as mk
from mamlkit.show import plots

GRAPHICS, TEXT = 3.0, 4.5
# Severe colour blindness in linear RGB (Machado, Oliveira and Fernandes 2009).
SEEN_BY = {
    "all cones": np.eye(3),
    "no long cones": [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
    "no middle cones": [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
    "no short cones": [[1.256, -0.077, -0.179], [-0.078, 0.931, 0.148], [0.005, 0.691, 0.304]],
}
TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def linear(colour: Any) -> np.ndarray:
    rgb = np.array(to_rgb(colour))
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def contrast(colour: Any, ground: Any = "white") -> float:
    """WCAG's ratio; what is partly transparent is seen on the ground."""
    *rgb, alpha = to_rgba(colour)
    seen = alpha * np.array(rgb) + (1 - alpha) * np.array(to_rgb(ground))
    one, two = sorted(float(TO_XYZ[1] @ linear(c)) for c in (seen, ground))
    return (two + 0.05) / (one + 0.05)


def lab(rgb: np.ndarray) -> np.ndarray:
    """CIELAB of linear RGB, white as sRGB has it."""
    x, y, z = np.cbrt(TO_XYZ @ rgb.clip(1e-4, 1) / TO_XYZ.sum(1))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def test_contrast_is_that_of_the_standard():
    assert contrast("black") == pytest.approx(21)
    assert contrast("#767676") == pytest.approx(4.54, abs=0.01)  # the grey that just passes
    assert contrast(("black", 0.5)) == pytest.approx(contrast("0.5"))


@pytest.mark.parametrize("colour", [*plots.COLOURS, plots.TRUTH, plots.MEASURED])
def test_every_colour_is_seen_on_white(colour):
    assert contrast(colour) >= GRAPHICS


@pytest.mark.parametrize("eyes", SEEN_BY)
def test_colours_are_told_apart(eyes):
    """Two that differ by 2.3 in CIELAB can just be told apart side by side."""
    colours = [*plots.COLOURS, plots.TRUTH]
    seen = [lab(np.array(SEEN_BY[eyes]) @ linear(colour)) for colour in colours]
    gaps = [np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2)]
    assert min(gaps) > 14


def drawn() -> dict[str, Axes]:
    """One of each figure, on axes of its own."""
    springs = mk.tasks.HookesLaw()
    learner = mk.MAML(mk.models.MLP(1, 1, hidden=(5,), x_range=springs.x_range).double(), 0.1)
    long = mk.History(
        outer_loss=[1 / (k + 1) for k in range(200)],
        validation_iteration=[100],
        validation_loss=[0.5],
    )
    rivals = {"MAML": learner, "zero": mk.yardsticks.Zero()}
    table = pd.DataFrame({"mean": [2.0, 1.0], "ci95": 0.5, "median": [1.5, 0.8]}, ["a", "b"])
    shots = mk.error_against_shots(rivals, springs, shots=(1, 2), n_tasks=5)
    curves = {name: mk.evaluate(one, springs, 3, n_tasks=5) for name, one in rivals.items()}
    return {
        "training": plots.training_curve(long),
        "short training": plots.training_curve(mk.History([2.0, 1.0])),
        "fan": plots.adaptation_fan(learner, springs),
        "curves": plots.adaptation_curves(curves),
        "shots": plots.error_against_shots(shots),
        "comparison": plots.comparison(table),
    }


def test_what_is_drawn_is_seen_on_white():
    for name, ax in drawn().items():
        assert contrast(ax.get_facecolor()) == pytest.approx(1)
        faint = "meta-batch" if name == "training" else None  # behind its running mean
        seen: list[Any] = []
        for one in ax.lines:
            if one.get_label() != faint:
                parts = [one.get_color()]
                if one.get_linestyle() == "None":  # marks, whose face or edge is to be seen
                    parts = [one.get_markerfacecolor(), one.get_markeredgecolor()]
                seen.append(max((to_rgba(c, one.get_alpha()) for c in parts), key=contrast))
        seen += [patch.get_facecolor() for patch in ax.patches]
        seen += [edge for c in ax.collections for edge in c.get_edgecolor()]
        assert seen
        assert min(map(contrast, seen)) >= GRAPHICS, name
        words = [text for text in ax.figure.findobj(Text) if text.get_text()]
        assert len(words) >= 3
        assert min(contrast(text.get_color()) for text in words) >= TEXT, name


def test_a_band_has_an_edge_that_is_seen():
    figure, ax = plt.subplots()
    made = ax.fill_between([0, 1], [0, 0], [1, 1], **plots.band(plots.COLOURS[0]))
    figure.canvas.draw()
    assert contrast(made.get_facecolor()[0]) < GRAPHICS <= contrast(made.get_edgecolor()[0])
