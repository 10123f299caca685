"""Widgets without a browser: the draw function, and what moving a slider changes."""

from __future__ import annotations

from typing import Any

import ipywidgets
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

import mamlkit as mk
from mamlkit.show import widgets
from mamlkit.tasks import LinearLaw
from mamlkit.tasks.equations import EQUATIONS
from mamlkit.tasks.solver_choice import METHODS, path, reference, solve
from mamlkit.tasks.solver_choice import error as solution_error
from tests.helpers import Plane


@pytest.fixture
def learners(springs):
    model = mk.models.MLP(1, 1, hidden=(5,), x_range=springs.x_range).double()
    return {
        "MAML": mk.MAML(model, 0.1, inner_steps=2),
        "Meta-SGD": mk.MetaSGD(model),
        "ridge": mk.yardsticks.Ridge(0.01),
    }


@pytest.fixture
def fluids():
    return mk.tasks.VapourPressure(at=(0.7,)).split("test")


def drawn(figure):
    return {line.get_label(): line for line in figure.axes[0].lines}


def error(predicted, truth):
    return float(np.sqrt(np.mean((predicted.get_ydata() - truth.get_ydata()) ** 2)))


def controls(box):
    return {c.description: c for c in box.children[0].children}


def picture(box):
    return box.children[1].value


def text(box):
    return box.children[2].value


def test_draw_shows_the_task_asked_for(springs, learners):
    figure, said = widgets.draw(
        springs, learners, shots=4, physics={"spring_constant": 30.0}, seed=3
    )
    curves = drawn(figure)
    x = curves["truth"].get_xdata()
    assert np.allclose(curves["truth"].get_ydata(), 30.0 * x)
    assert len(curves["support"].get_xdata()) == 4
    assert not np.allclose(curves["support"].get_ydata(), 30.0 * curves["support"].get_xdata())
    support = (torch.as_tensor(d)[:, None] for d in curves["support"].get_data())
    predict = learners["MAML"].adapt(*support)
    after = curves["MAML, after 2 steps"]
    assert np.allclose(after.get_ydata(), predict(torch.as_tensor(x)[:, None])[:, 0].detach())
    before = curves["MAML, before any step"]
    assert said == (
        "spring constant 30, 4 readings. Root-mean-square error of force F, in N: "
        f"MAML: {error(before, curves['truth']):.3g} before any step, "
        f"{error(after, curves['truth']):.3g} after 2 steps."
    )
    assert figure.axes[0].get_xlabel() == springs.x_label


def test_draw_is_repeatable_and_the_seed_changes_the_measurement(springs, learners):
    first, again, other = (
        drawn(widgets.draw(springs, learners, seed=s)[0])["support"].get_ydata() for s in (1, 1, 2)
    )
    assert np.array_equal(first, again)
    assert not np.allclose(first, other)


def test_step_size_is_set_for_the_picture_only(springs, learners):
    long = widgets.draw(springs, learners, inner_lr=0.2)[1]
    assert learners["MAML"].inner_lr == 0.1
    assert long != widgets.draw(springs, learners)[1]
    learners["MAML"].inner_lr = 0.2
    assert long == widgets.draw(springs, learners)[1]


def test_draw_with_the_others_states_each_error(springs, learners):
    figure, said = widgets.draw(springs, learners, "ridge", others=True)
    curves = drawn(figure)
    assert set(curves) == {"truth", "support", "ridge", "MAML", "Meta-SGD"}
    for name in learners:
        assert f"{name}: {error(curves[name], curves['truth']):.3g}" in said


def test_draw_of_a_member_and_of_an_oracle(fluids):
    figure, said = widgets.draw(fluids, {"law": mk.yardsticks.LeeKesler()}, shots=1, task=1)
    name = fluids.names[int(fluids.members[1])]
    assert said.startswith(f"{name}, 1 reading. Root-mean-square error of log10(p/pc): law: ")
    assert drawn(figure)["support"].get_xdata() == pytest.approx([0.7])


def test_a_curve_that_runs_away_does_not_shrink_the_truth(springs, learners):
    figure, said = widgets.draw(springs, learners, steps=300, inner_lr=50.0)
    low, high = figure.axes[0].get_ylim()
    assert high - low < 25
    assert "MAML: " in said
    learners["MAML"].inner_lr = float("1e300")
    assert "not finite, the steps are too long" in widgets.draw(springs, learners, steps=9)[1]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "CAVIA"}, r"no learner 'CAVIA'; choose from \['MAML', 'Meta-SGD', 'ridge'\]"),
        ({"name": "ridge", "steps": 2}, "'ridge' has no inner steps"),
        ({"name": "Meta-SGD", "inner_lr": 0.1}, "'Meta-SGD' has no fixed inner learning rate"),
        ({"physics": {"mass": 1.0}}, r"no parameter \['mass'\]; it has \['spring_constant'\]"),
    ],
)
def test_draw_refuses_in_plain_words(springs, learners, settings, message):
    with pytest.raises(mk.MamlkitError, match=message):
        widgets.draw(springs, learners, **settings)


def test_draw_refuses_physics_for_a_finite_family_and_no_learners(springs, fluids, learners):
    with pytest.raises(mk.MamlkitError, match="finite family; choose a member with task="):
        widgets.draw(fluids, learners, shots=1, physics={"acentric_factor": 0.1})
    with pytest.raises(mk.MamlkitError, match="dict of learners"):
        widgets.draw(springs, {})


def test_ranges_cover_what_the_family_draws():
    low, middle, high = widgets.ranges(mk.tasks.Sinusoid())["amplitude"]
    assert 0.1 <= low < 0.2
    assert 2.2 < middle < 2.9
    assert 4.9 < high <= 5.0


def test_quantity_in_words(springs, fluids):
    assert widgets.quantity(springs) == "force F, in N"
    assert widgets.quantity(fluids) == "log10(p/pc)"


def test_explorer_starts_with_what_draw_shows(springs, learners):
    box = widgets.explorer(springs, learners, shots=6)
    assert not plt.get_fignums()  # nothing is left open
    assert bytes(picture(box)).startswith(b"\x89PNG")
    middle = widgets.ranges(springs)["spring_constant"][1]
    expected = widgets.draw(springs, learners, shots=6, physics={"spring_constant": middle})[1]
    assert text(box) == expected
    sliders = controls(box)
    assert {"spring constant", "shots", "measurement", "learner", "inner steps"} <= set(sliders)
    assert not any(getattr(slider, "continuous_update", False) for slider in sliders.values())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("spring constant", 35.0),
        ("shots", 3),
        ("measurement", 7),
        ("learner", "ridge"),
        ("inner steps", 9),
        ("inner lr (alpha)", 0.5),
        ("show the others too", True),
    ],
)
def test_moving_each_control_changes_picture_and_text(springs, learners, name, value):
    box = widgets.explorer(springs, learners)
    before = picture(box), text(box)
    controls(box)[name].value = value
    assert picture(box) != before[0]
    assert text(box) != before[1]
    assert learners["MAML"].inner_lr == 0.1
    assert learners["MAML"].inner_steps == 2


def test_controls_follow_the_learner(springs, learners):
    box = widgets.explorer(springs, learners)
    sliders = controls(box)

    def shown():
        return [
            n for n in ("inner steps", "inner lr (alpha)") if sliders[n].layout.display != "none"
        ]

    assert shown() == ["inner steps", "inner lr (alpha)"]
    assert (sliders["inner steps"].value, sliders["inner lr (alpha)"].value) == (2, 0.1)
    sliders["learner"].value = "Meta-SGD"  # its step sizes are learned
    assert shown() == ["inner steps"]
    assert sliders["inner steps"].value == 1
    sliders["learner"].value = "ridge"
    assert shown() == []
    assert "ridge: " in text(box)


def test_explorer_of_a_finite_family_has_a_menu_of_members(fluids):
    box = widgets.explorer(fluids, {"law": mk.yardsticks.LeeKesler()}, shots=1)
    menu = controls(box)["task"]
    assert [label for label, _ in menu.options] == [fluids.names[i] for i in fluids.members]
    assert "shots" not in controls(box)  # the family says where it measures
    assert "measurement" not in controls(box)  # and there is no noise
    menu.value = 3
    assert text(box).startswith(menu.options[3][0])


def test_noise_of_a_fixed_measurement_has_a_slider():
    noisy = mk.tasks.VapourPressure(at=(0.7,), noise=0.1).split("test")
    learners = {"line": mk.yardsticks.LineThroughCriticalPoint()}
    box = widgets.explorer(noisy, learners, shots=1, seed=4)
    assert text(box) == widgets.draw(noisy, learners, shots=1, seed=4)[1]
    before = text(box)
    controls(box)["measurement"].value = 5
    assert text(box) != before


def test_explorer_says_what_is_wrong_instead_of_dying(learners):
    family = mk.tasks.VapourPressure().split("test")  # 39 points a curve
    box = widgets.explorer(family, {"law": mk.yardsticks.LeeKesler()}, shots=2)
    controls(box)["shots"].max = 60
    controls(box)["shots"].value = 50
    assert "pool of 39" in text(box)


def test_explorer_refuses_a_family_without_curves(learners):
    with pytest.raises(mk.MamlkitError, match="d_in=2"):
        widgets.explorer(Plane(), learners)


def line_of(slope):
    if slope > 3:
        raise mk.MamlkitError("a slope above 3 < 4 is too steep.")
    figure, ax = plt.subplots()
    ax.plot([0, 1], [0, slope])
    return figure, f"slope {slope:g} & no more"


def test_a_panel_shows_what_its_function_draws():
    slider = ipywidgets.FloatSlider(1.0, min=0, max=4, step=0.5, description="slope")
    box = widgets.panel(line_of, slope=slider)
    assert controls(box) == {"slope": slider}
    assert not slider.continuous_update
    assert not plt.get_fignums()
    assert text(box) == "slope 1 &amp; no more"
    before = picture(box)
    slider.value = 2.0
    assert text(box) == "slope 2 &amp; no more"
    assert bytes(picture(box)).startswith(b"\x89PNG")
    assert picture(box) != before


def test_a_panel_says_what_was_wrong():
    slider = ipywidgets.FloatSlider(1.0, min=0, max=4, description="slope")
    box = widgets.panel(line_of, slope=slider)
    before = picture(box)
    slider.value = 4.0
    assert text(box) == "a slope above 3 &lt; 4 is too steep."
    assert picture(box) == before


def test_a_panel_takes_what_has_no_slider():
    menu = ipywidgets.Dropdown(options=[("flat", 0.0), ("steep", 2.0)], description="slope")
    box = widgets.panel(line_of, slope=menu)
    menu.value = 2.0
    assert text(box) == "slope 2 &amp; no more"


# --- the work of solvers --------------------------------------------------------------------------


def test_solver_work_draws_what_it_says():
    figure, said = widgets.solver_work("van der Pol", 1e-5, "RK45", mu=30.0, turns=0.5)
    left, right = figure.axes
    bars: dict[str, Any] = dict(zip(METHODS, right.patches, strict=True))
    instance = EQUATIONS["van der Pol"].at({"mu": 30.0, "x": 1.5, "turns": 0.5})
    truth, _ = reference(instance)
    for name, bar in bars.items():
        run = solve(instance, name, 1e-5)
        missed = solution_error(instance, run.states, truth)
        assert bar.get_bbox().width == run.calls
        assert bool(bar.get_hatch()) == (missed > 1e-4)
        assert f"{name} {run.calls} (error {missed:.1e})" in said
    t, y = path(instance, "RK45", 1e-5)
    assert np.allclose(left.lines[1].get_xydata(), np.c_[t, y[:, 0] / 2])
    assert f"{len(t) - 1} steps of RK45" in left.get_title()
    plt.close(figure)


def test_solver_work_says_who_gave_up_and_what_it_does_not_know():
    figure, said = widgets.solver_work(mu=1000.0)
    assert "RK45 gave up after 20000" in said
    assert "0 steps of RK45" in figure.axes[0].get_title()
    plt.close(figure)
    with pytest.raises(mk.MamlkitError, match=r"no \['k'\]"):
        widgets.solver_work(k=3.0)
    with pytest.raises(mk.MamlkitError, match="equation"):
        widgets.solver_work("Newton")


class Told:
    """Knows what to look for: the product of neighbours along one bond."""

    def adapt(self, x, y):
        def bond(x):
            return (x * x.roll(-1, -2)).mean((-3, -2, -1))

        means = torch.stack([bond(x[y == k]).mean() for k in (0, 1)])
        return lambda x: -((bond(x)[:, None] - means) ** 2)


class Always(Told):
    """Says the same, whatever it sees."""

    def adapt(self, x, y):
        return lambda x: torch.tensor([0.0, 1.0]).expand(len(x), 2)


def test_magnets_shows_lattices_and_says_who_is_right():
    learners = {"told": Told(), "always B": Always()}
    figure, said = widgets.magnets(learners, (0.4, 0, 0, 0), 2.0, others=(-0.4, 0, 0, 0), shots=5)
    a, b, new = (np.asarray(ax.images[0].get_array()) for ax in figure.axes)
    assert [ax.get_title() for ax in figure.axes] == ["a snapshot of A", "a snapshot of B", "new"]
    assert a.shape == (16, 16)
    assert set(np.unique(a)) == {-1.0, 1.0}
    bonds = [float((s * np.roll(s, -1, 0)).mean()) for s in (a, b, new)]
    assert bonds[0] > 0 > bonds[1]
    assert "J/T = 0.20, 0.00, 0.00, 0.00" in said
    assert "always B says B, right on 20 of 40" in said
    assert "told says A" in said
    assert int(said.partition("told says A, right on ")[2].split()[0]) > 35
    with pytest.raises(mk.MamlkitError, match="temperature"):
        widgets.magnets(learners, temperature=0.0)
    plt.close(figure)


# --- many kinds of physics ------------------------------------------------------------------------


def test_kinds_draws_what_specialists_say():
    families = {"line": LinearLaw(noise=0.1), "steep": LinearLaw(slope=(-5.0, 0.2), noise=0.1)}

    def head(slope: float) -> mk.BayesianHead:
        """Knows lines of about this slope."""
        learner = mk.BayesianHead(mk.models.MLP(1, 2, hidden=()).double(), 2, noise=0.1)
        with torch.no_grad():
            learner.model.layers[0].weight.copy_(torch.tensor([[1.0], [0.0]]))
            learner.model.layers[0].bias.copy_(torch.tensor([0.0, 1.0]))
            learner.prior_mean.copy_(torch.tensor([[slope, 0.5]]))
        return learner

    both = [head(2.0), head(-5.0)]
    learner = mk.Specialists(lambda j: both[j], 2)
    figure, said = widgets.kinds(learner, families, "steep", shots=4, seed=3)
    left, right = figure.axes
    bars: Any = right.patches
    law, mean, readings = (np.asarray(line.get_xydata()) for line in left.lines)
    assert readings.shape == (4, 2)
    drawn = {"generator": torch.Generator().manual_seed(3), "dtype": torch.float64}
    support = families["steep"].sample(1, 4, 1, **drawn).task(0).support
    assert np.allclose(readings, np.c_[support.x, support.y])
    adapted = learner.adapt(*support)
    assert np.allclose(mean[:, 1], adapted(torch.tensor(mean[:, :1])).numpy()[:, 0])
    shares = [bar.get_width() for bar in bars]
    assert shares == pytest.approx(learner.shares(adapted.weights["evidence"]).tolist())
    assert f"Most probable: steep ({shares[1]:.2f}), then line ({shares[0]:.2f})" in said
    assert f"RMSE {((law - mean)[:, 1] ** 2).mean() ** 0.5:.3f}" in said
    moved, told = widgets.kinds(learner, families, "steep", shots=4, seed=3, lift=2.0)
    lifted = np.asarray(moved.axes[0].lines[2].get_ydata())
    assert lifted[-1] == pytest.approx(readings[-1, 1] + 2.0)
    assert told != said
    with pytest.raises(mk.MamlkitError, match="kind='lens'"):
        widgets.kinds(learner, families, "lens")


def test_a_pulled_system_is_drawn_with_those_who_follow():
    family = mk.tasks.Resonator()
    prior = mk.yardsticks.polynomial_prior(5, family.x_range, 0.4)
    followers = {
        "polynomial": mk.learners.OnlineHead(prior, 0.97),
        "mean": mk.yardsticks.RunningMean(0.4),
    }
    start, end = {"frequency": 1.0, "damping": 0.3}, {"frequency": 1.4, "damping": 0.2}
    figure, said = widgets.pulled(followers, family, start, end, over=20, tick=90)
    left, right = figure.axes
    y = family.true_curve(end, 60)[1]
    truth = next(line for line in left.lines if line.get_label() == "truth")
    np.testing.assert_allclose(truth.get_ydata(), y[:, 0])
    curve = next(line for line in left.lines if line.get_label() == "mean").get_ydata()
    off = float(np.sqrt(np.mean((curve - y[:, 0].numpy()) ** 2)))
    assert said.startswith("Pulled to frequency 1.4, damping 0.2 over 20 ticks. At tick 90: ")
    assert said.endswith(f"mean {off:.3f}.")
    course = next(line for line in right.lines if line.get_label() == "mean")
    assert np.asarray(course.get_ydata())[90] == pytest.approx(off)
    before, _ = widgets.pulled(followers, family, start, end, over=20, tick=59)
    truth = next(line for line in before.axes[0].lines if line.get_label() == "truth")
    np.testing.assert_allclose(truth.get_ydata(), family.true_curve(start, 60)[1][:, 0])
    with pytest.raises(mk.MamlkitError, match="below 120"):
        widgets.pulled(followers, family, start, end, tick=120)
    plt.close("all")
