"""What is drawn: the data of lines and bars, labels, scales. Not how pretty it is."""

from __future__ import annotations

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.container import ErrorbarContainer
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

import mamlkit as mk
from mamlkit.show import plots
from tests.helpers import Plane, members_of, seeded


@pytest.fixture
def learner(springs):
    return mk.MAML(mk.models.MLP(1, 1, hidden=(5,), x_range=springs.x_range).double(), 0.1)


def lines(ax):
    return {line.get_label(): line for line in ax.lines}


def test_style_cycles_colours_and_lines_and_is_global():
    plots.use_style()
    styles = list(mpl.rcParams["axes.prop_cycle"])
    assert len({s["color"] for s in styles}) == len(styles) >= 6
    assert len({str(s["linestyle"]) for s in styles}) == len(styles)
    assert mpl.rcParams["image.cmap"] == "cividis"
    assert mpl.rcParams["savefig.format"] == "png"


def test_functions_leave_the_global_style_alone(learner, springs):
    before = dict(mpl.rcParams)
    plots.adaptation_fan(learner, springs)
    assert dict(mpl.rcParams) == before


def test_fan_draws_truth_support_and_each_prediction(learner, springs):
    ax = plots.adaptation_fan(learner, springs, shots=4, steps=(0, 1, 3), seed=5, task=2)
    batch = springs.sample(
        3, 4, generator=seeded(5), dtype=torch.float64
    )  # the task drawn does not depend on what else is asked
    drawn = lines(ax)
    support = np.stack(drawn["support"].get_data())
    assert np.allclose(support, [batch.support.x[2, :, 0], batch.support.y[2, :, 0]])
    x, truth = drawn["truth"].get_data()
    assert np.allclose(truth, float(batch.physics["spring_constant"][2]) * x)
    grid = torch.as_tensor(x)[:, None]
    for steps, label in ((0, "before any step"), (1, "after 1 step"), (3, "after 3 steps")):
        predict = learner.adapt(batch.support.x[2], batch.support.y[2], steps=steps)
        assert np.allclose(drawn[label].get_ydata(), predict(grid)[:, 0].detach())
    assert ax.get_xlabel() == springs.x_label
    assert ax.get_ylabel() == springs.y_label
    assert "spring constant" in ax.get_title()
    predicted = [drawn[label] for label in drawn if "step" in label]
    assert len({line.get_color() for line in predicted}) == 3
    assert len({str(line.get_linestyle()) for line in predicted}) == 3


def test_fan_of_a_learner_without_steps_has_one_prediction(springs):
    drawn = lines(plots.adaptation_fan(mk.yardsticks.Zero(), springs, shots=2))
    assert set(drawn) == {"truth", "support", "Zero"}
    assert not drawn["Zero"].get_ydata().any()


def test_fan_of_a_finite_family_takes_the_member_and_names_it():
    test = mk.tasks.VapourPressure(at=(0.7,)).split("test")
    ax = plots.adaptation_fan(mk.yardsticks.LeeKesler(), test, shots=1, task=1)
    assert ax.get_title() == test.names[members_of(test)[1]]
    x, y = lines(ax)["support"].get_data()
    assert (x[0], y[0]) == pytest.approx((0.7, float(test.every(1).support.y[1])))


def test_fan_draws_on_the_axes_given(learner, springs):
    _, ax = plt.subplots()
    assert plots.adaptation_fan(learner, springs, ax=ax) is ax


@pytest.mark.parametrize(
    ("family", "task", "message"),
    [
        (Plane(), 0, "Plane has d_in=2"),
        ("springs", 0, "family must be a Family, but str"),
        (mk.tasks.VapourPressure().split("test"), 99, "task=99, but this family has 32"),
        (mk.tasks.HookesLaw(), -1, "task must be a whole number >= 0"),
        (mk.tasks.HookesLaw(), 1.5, "task must be a whole number >= 0"),
    ],
)
def test_fan_refuses_in_plain_words(family, task, message):
    with pytest.raises(mk.MamlkitError, match=message):
        plots.adaptation_fan(mk.yardsticks.Zero(), family, shots=1, task=task)


def test_training_curve_draws_the_history():
    history = mk.History(
        outer_loss=[10.0 ** (-k / 50) for k in range(200)],
        validation_iteration=[100, 200],
        validation_loss=[0.02, 0.001],
    )
    ax = plots.training_curve(history)
    drawn = lines(ax)
    assert np.allclose(drawn["meta-batch"].get_ydata(), history.outer_loss)
    assert drawn["validation tasks"].get_xdata().tolist() == [100, 200]
    smooth = drawn["mean of 4 meta-batches"].get_ydata()
    assert smooth[0] == pytest.approx(np.mean(history.outer_loss[:4]))
    assert smooth[-1] == pytest.approx(np.mean(history.outer_loss[-4:]))
    assert ax.get_yscale() == "log"
    assert ax.get_xlabel() == "outer iteration"


def test_training_curve_is_linear_within_a_decade_and_refuses_nothing():
    ax = plots.training_curve(mk.History(outer_loss=[2.0, 1.0]))
    assert ax.get_yscale() == "linear"
    assert set(lines(ax)) == {"meta-batch"}
    with pytest.raises(mk.MamlkitError, match="history is empty"):
        plots.training_curve(mk.History())


def test_adaptation_curves_draw_means_and_bands(learner, springs):
    curves = {
        "MAML": mk.evaluate(learner, springs, 3, steps=4, n_tasks=20),
        "zero": mk.evaluate(mk.yardsticks.Zero(), springs, 3, n_tasks=20),
    }
    ax = plots.adaptation_curves(curves)
    drawn = lines(ax)
    assert np.allclose(drawn["MAML"].get_ydata(), curves["MAML"].mean)
    assert drawn["MAML"].get_xdata().tolist() == [0, 1, 2, 3, 4]
    assert np.allclose(drawn["zero"].get_ydata(), float(curves["zero"].mean))  # a level line
    assert drawn["zero"].get_xdata().tolist() == [0, 4]
    band = np.asarray(ax.collections[0].get_paths()[0].vertices)[:, 1]
    upper = curves["MAML"].mean + curves["MAML"].ci95
    lower = curves["MAML"].mean - curves["MAML"].ci95
    assert band.max() == pytest.approx(float(upper.max()))
    assert band.min() == pytest.approx(float(lower.min()))
    assert "inner steps" in ax.get_xlabel()


def test_adaptation_curves_need_a_dict():
    with pytest.raises(mk.MamlkitError, match="needs a dict"):
        plots.adaptation_curves({})


def test_error_against_shots_draws_each_learner(springs):
    learners = {"zero": mk.yardsticks.Zero(), "ridge": mk.yardsticks.Ridge(0.01)}
    table = mk.error_against_shots(learners, springs, shots=(1, 2, 20), n_tasks=10)
    ax = plots.error_against_shots(table)
    bars = [c for c in ax.containers if isinstance(c, ErrorbarContainer)]
    drawn = {c.get_label(): c.lines[0] for c in bars}
    for name in learners:
        assert np.asarray(drawn[name].get_xdata()).tolist() == [1, 2, 20]
        assert np.allclose(drawn[name].get_ydata(), table.loc[name]["mean"])
    assert [t.get_text() for t in ax.get_xticklabels()] == ["1", "2", "20"]
    assert ax.get_xscale() == "log"
    assert "shots" in ax.get_xlabel()


def test_error_against_shots_needs_its_table():
    with pytest.raises(mk.MamlkitError, match=r"come from mk[.]error_against_shots"):
        plots.error_against_shots(pd.DataFrame({"mean": [1.0]}))


def test_comparison_draws_a_bar_a_learner():
    table = pd.DataFrame(
        {"mean": [2.0, 0.01], "ci95": [0.5, np.nan], "median": [1.5, 0.008]}, index=["a", "b"]
    )
    ax = plots.comparison(table)
    bars = [bar for bar in ax.patches if isinstance(bar, Rectangle)]
    assert [bar.get_width() for bar in bars] == [2.0, 0.01]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a", "b"]
    assert ax.yaxis_inverted()  # the first row on top
    assert ax.get_xscale() == "log"
    assert lines(ax)["median"].get_xdata().tolist() == [1.5, 0.008]
    assert [text.get_text() for text in ax.texts] == ["2", "0.01"]


def test_comparison_of_like_errors_starts_at_zero():
    table = pd.DataFrame({"mean": [2.0, 1.0], "ci95": [0.1, 0.1], "median": [1.5, 1.0]})
    ax = plots.comparison(table)
    assert ax.get_xscale() == "linear"
    assert ax.get_xlim()[0] == 0


def test_comparison_needs_its_table():
    with pytest.raises(mk.MamlkitError, match=r"lacks the columns \['ci95', 'median'\]"):
        plots.comparison(pd.DataFrame({"mean": [1.0]}))


def test_page_draws_the_errors_of_each_member_and_marks_the_best_and_the_worst():
    family = mk.tasks.VapourPressure(at=(0.7,), noise=0.01).split("validation")
    line = mk.yardsticks.LineThroughCriticalPoint()
    learners = {"line": line, "zero": mk.yardsticks.Zero()}

    def twice(predicted, true):
        return 2 * (predicted - true)

    figure = plots.curve_page(learners, family, seed=3, error=twice, label="twice", most=0.25)
    shown = [ax for ax in figure.axes if ax.get_visible()]
    batch = family.every(1, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    assert len(shown) == family.n_members == 19
    rms = []
    for i, ax in enumerate(shown):
        level, none, straight, measured = ax.lines
        assert list(level.get_ydata()) == [0, 0]
        physics = {k: v[i] for k, v in batch.physics.items()}
        x, y = family.true_curve(physics)
        task = batch.task(i)
        assert none.get_ydata() == pytest.approx(-2 * y[:, 0].numpy())
        expected = 2 * (line.adapt(*task.support)(x) - y)[:, 0]
        assert straight.get_ydata() == pytest.approx(expected.numpy())
        rms.append(float(np.sqrt(np.mean(np.asarray(straight.get_ydata()) ** 2))))
        assert measured.get_xdata() == pytest.approx([0.7])
        off = 2 * (task.support.y[0] - y[10])  # the grid begins at 0.60, in steps of 0.01
        assert measured.get_ydata() == pytest.approx(off.numpy())
        assert none.get_linestyle() != straight.get_linestyle()
        assert ax.get_title().endswith(f"{family.name_of(physics)}\n{rms[-1]:.2g}")
        assert ax.get_ylim() == (-0.25, 0.25)
    best, worst = int(np.argmin(rms)), int(np.argmax(rms))
    assert shown[best].get_title().startswith("best: ")
    assert shown[worst].get_title().startswith("worst: ")
    for i, ax in enumerate(shown):
        marked = i in (best, worst)
        assert ax.title.get_fontweight() == ("bold" if marked else "normal")
        assert ax.spines["top"].get_visible() == marked
    assert shown[best].spines["left"].get_linewidth() == 3
    assert (figure.get_supxlabel(), figure.get_supylabel()) == (family.x_label, "twice")
    (legend,) = figure.legends
    told = [t.get_text() for t in legend.get_texts()]
    assert told == ["line (rms in the title)", "zero", "measured"]
    handles = [h for h in legend.legend_handles if isinstance(h, Line2D)]
    assert [h.get_color() for h in handles] == [plots.COLOURS[0], plots.COLOURS[1], plots.MEASURED]
    plt.close(figure)


def test_page_without_a_unit_shows_differences_and_needs_learners_by_name():
    family = mk.tasks.VapourPressure(at=(0.7,)).split("validation")
    figure = plots.curve_page({"zero": mk.yardsticks.Zero()}, family)
    assert figure.get_supylabel() == "error of log10(p/pc)"
    assert figure.axes[0].get_ylim()[1] > 1.8
    for wrong in (dict[str, object](), mk.yardsticks.Zero()):
        with pytest.raises(mk.MamlkitError, match="needs a dict"):
            plots.curve_page(wrong, family)
    plt.close(figure)


def test_fields_are_drawn_on_one_scale() -> None:
    x, t = torch.linspace(-1, 1, 5) ** 3, torch.linspace(0, 1, 3)
    u = t[:, None] * x
    figure = plots.fields({"exact": u, "twice": 2 * u}, x, t)
    maps = [ax.collections[0] for ax in figure.axes[:2]]
    assert [ax.get_title() for ax in figure.axes[:2]] == ["exact", "twice"]
    assert all(each.get_clim() == (-2, 2) for each in maps)
    np.testing.assert_allclose(np.asarray(maps[0].get_array()), u)
    with pytest.raises(mk.MamlkitError, match=r"3 times and 5 places"):
        plots.fields({"exact": u.T}, x, t)
    with pytest.raises(mk.MamlkitError, match="needs a dict"):
        plots.fields({}, x, t)


def test_a_small_field_has_a_scale_of_its_own() -> None:
    x, t = torch.linspace(-1, 1, 5), torch.linspace(0, 1, 3)
    u = t[:, None] * x
    figure = plots.fields({"exact": u, "difference": 0.01 * u}, x, t, own=["difference"])
    exact, difference = (ax.collections[0] for ax in figure.axes[:2])
    assert exact.get_clim() == (-1, 1)
    assert difference.get_clim() == pytest.approx((-0.01, 0.01))
    labels = {ax.get_ylabel() for ax in figure.axes[2:]}  # of the two colour bars
    assert labels == {"u", "difference"}
    with pytest.raises(mk.MamlkitError, match="names no field"):
        plots.fields({"exact": u}, x, t, own=["difference"])
