"""Can weak eyes see a picture? WCAG 2.2 asks of graphics a contrast of 3 with the ground, here
white, and of text 4.5. Of an area and of a marker the edge counts or the face, which is darker.
"""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.text import Text

import mamlkit as mk
from mamlkit.course import claims, quickstart
from mamlkit.course.handin import personal
from mamlkit.show import plots, widgets
from tests.helpers import NOTEBOOKS, read_notebook

GRAPHICS, TEXT = 3.0, 4.5
CALLS = re.compile(
    r"plot|loglog|semilog[xy]|step|axline|ax[hv](line|span)|[hv]lines|fill_between|errorbar|scatter"
    r"|barh?|hist|contour|text|annotate|Rectangle"
)
COLOUR = re.compile(r"c|color|[mf]?[ef]c|ecolor|(marker)?(face|edge)colors?")


def contrast(colour: Any, alpha: float | None = None) -> float:
    """With white, on which is laid what can be seen through."""
    *rgb, opaque = to_rgba(colour, alpha)
    seen = 1 - opaque * (1 - np.array(rgb))
    linear = np.where(seen <= 0.04045, seen / 12.92, ((seen + 0.055) / 1.055) ** 2.4)
    return 1.05 / float(linear @ [0.2126, 0.7152, 0.0722] + 0.05)


def pale(drawn: Figure | Axes) -> list[str]:
    """What is hard to see of a picture."""
    figure: Any = drawn if isinstance(drawn, Figure) else drawn.figure
    found = [(TEXT, contrast(t.get_color(), t.get_alpha()), t) for t in figure.findobj(Text)]
    for ax in figure.axes:
        for line in ax.lines:
            alpha = line.get_alpha()
            if line.get_linestyle() != "None":
                found.append((GRAPHICS, contrast(line.get_color(), alpha), line))
            if line.get_marker() != "None":
                both = line.get_markerfacecolor(), line.get_markeredgecolor()
                found.append((GRAPHICS, max(contrast(c, alpha) for c in both), line))
        areas = [c for c in ax.collections if c.get_array() is None]  # else a map without a ground
        for area in (*ax.patches, *areas):
            face, edge = (np.reshape(c, (-1, 4)) for c in (area.get_fc(), area.get_ec()))
            seen = [*face, *edge] if np.max(area.get_linewidth()) > 0 else face
            found.append((GRAPHICS, max(map(contrast, seen)), area))
    return [f"{ratio:.2f} of {artist}" for least, ratio, artist in found if ratio < least]


def drawings() -> dict[str, Any]:
    """Small pictures, by what draws them."""
    springs, zero = mk.tasks.HookesLaw(), mk.yardsticks.Zero()
    maml = mk.MAML(mk.models.MLP(1, 1, hidden=(5,), x_range=springs.x_range).double(), 0.1)
    curve = mk.evaluate(maml, springs, 3, steps=2, n_tasks=5)
    history = mk.History([1.0, 0.5] * 60, validation_iteration=[9], validation_loss=[1.0])
    index = pd.MultiIndex.from_product([["a", "b"], [1, 5]], names=["learner", "shots"])
    table = pd.DataFrame({"mean": [2.0, 1, 1, 0.5], "ci95": 0.1, "median": 1.0}, index=index)
    fit = pd.DataFrame({"i": "s", "t": [0.0, 1, 2], "u": 1.0, "y": [0.0, 1, 2]})
    names = ("low90", "low50", "prediction", "high50", "high90")
    for name, value in zip(names, (-2.0, -1, 0, 1, 2), strict=True):
        fit[name] = [np.nan, value, value]
    about = {"task": "i", "inputs": ["t"], "outputs": ["y"], "units": {}}
    fluids = mk.tasks.VapourPressure(at=(0.7,)).split("validation")
    classical, place = quickstart.classical(), {"frequency": 1.4, "damping": 0.2}
    means = {"mean": mk.yardsticks.RunningMean(0.4)}
    claims.invent(personal("a6", 2026, "s1")).figure()
    return {
        "claims": plt.gcf(),
        "training_curve": plots.training_curve(history),
        "adaptation_fan": plots.adaptation_fan(maml, springs),
        "adaptation_curves": plots.adaptation_curves(dict.fromkeys("abcdefg", curve)),
        "error_against_shots": plots.error_against_shots(table),
        "comparison": plots.comparison(table),
        "curve_page": plots.curve_page({"zero": zero}, fluids),
        "fields": plots.fields({"u": np.eye(3)}, np.arange(3), np.arange(3)),
        "fit_page": plots.fit_page(fit, about),
        "predicted": plots.predicted(fit, about | {"inputs": ["t", "u"]}),
        "quickstart": quickstart.summary(classical["best linear latent"], classical),
        "explorer": widgets.draw(springs, {"MAML": maml, "zero": zero}, others=True)[0],
        "solver_work": widgets.solver_work("van der Pol", 1e-3, mu=2.0)[0],
        "pulled": widgets.pulled(means, mk.tasks.Resonator(), place, place)[0],
    }


def test_every_colour_can_be_seen_on_white():
    assert [c for c in plots.COLOURS if contrast(c) < GRAPHICS] == []
    assert min(contrast(c) for c in plots.SHADES(range(256))) >= GRAPHICS


def test_what_the_library_draws_can_be_seen(monkeypatch):
    monkeypatch.setattr(plt, "show", lambda: None)
    drawn = drawings()
    for name, function in inspect.getmembers(plots, inspect.isfunction):
        if inspect.signature(function).return_annotation in ("Axes", "Figure"):
            assert name in drawn or name == "_axes", "a picture that nobody looks at"
    found = {name: pale(each) for name, each in drawn.items()}
    assert {name: each for name, each in found.items() if each} == {}


def literal(node: ast.expr) -> Any:
    """A constant, or None where it is known only when the code runs."""
    try:
        return ast.literal_eval(node)
    except ValueError:
        return None


def pale_in(code: str) -> list[str]:
    """The calls in ``code``, and its dicts with a colour, that ask for something pale."""
    found = []
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Call):
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            given = {str(k.arg): k.value for k in node.keywords}
        elif isinstance(node, ast.Dict):
            pairs = zip(node.keys, node.values, strict=True)
            name, given = "", {str(literal(k)): v for k, v in pairs if k}
        else:
            continue
        asked = {key: literal(value) for key, value in given.items() if COLOUR.fullmatch(key)}
        if not (CALLS.fullmatch(name) or (not name and asked)):
            continue
        # What is known only later is one of ours, and an alpha known only then hides it.
        ours, fixed = plots.COLOURS, [c for c in asked.values() if c not in (None, "none")]
        alpha = (literal(given["alpha"]) or 0.0) if "alpha" in given else None
        colours = [ours[int(c[1])] if re.fullmatch(r"C\d", str(c)) else c for c in fixed]
        colours += [min(ours, key=contrast)] if None in asked.values() or not fixed else []
        least = TEXT if name in ("text", "annotate") and fixed else GRAPHICS
        by_number = (name == "scatter" and "c" in given) or "cmap" in given
        shades = "cmap" in given and "SHADES" in ast.unparse(given["cmap"])
        if max(contrast(c, alpha) for c in colours) < least or (by_number and not shades):
            found.append(ast.unparse(node))
    return found


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.rglob("*.ipynb")), ids=lambda path: path.stem)
def test_no_notebook_asks_for_pale_lines(path: Path):
    """Nothing is excepted: a fan of many lines is drawn thin, not faint."""
    cells = [c["source"] for c in read_notebook(path)["cells"] if c["cell_type"] == "code"]
    code = "\n".join("".join(cell) for cell in cells)
    assert pale_in(code) == []
    assert not re.search("cm.cividis|get_cmap", code), "its yellow is pale; mk.plots.SHADES is not"
    assert "plt." not in code or "use_style()" in code, "matplotlib's own orange is pale"
