"""Pictures with sliders: :func:`panel` for a drawing function of your own, and :func:`explorer` for
any one-dimensional family and any set of learners.

A drawing function makes the picture and the line of text for fixed values, and the widget calls it
whenever a control is moved; :func:`draw` is that of the explorer. So what a static page shows and
what is tested is what the widget shows.
"""

from __future__ import annotations

import copy
import html
import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ipywidgets
import matplotlib as mpl
import matplotlib.pyplot as plt
import torch
from matplotlib.figure import Figure
from torch import Tensor

from mamlkit.checks import count, fresh_generator, number, one_of
from mamlkit.errors import MamlkitError
from mamlkit.evaluation.curves import adapt_one
from mamlkit.learners.beliefs import Gaussian
from mamlkit.show.plots import (
    COLOURS,
    STYLE,
    band,
    check_one_dimensional,
    draw_task,
    line,
    predictions,
    task_to_draw,
)
from mamlkit.tasks.base import Data, Family, TaskBatch
from mamlkit.tasks.equations import EQUATIONS
from mamlkit.tasks.ising import BONDS, swendsen_wang
from mamlkit.tasks.solver_choice import ACCURACY, CAP, METHODS, path, solve
from mamlkit.tasks.solver_choice import error as solution_error
from mamlkit.tasks.streams import along

Range = tuple[float, float, float]  # least, median, largest
MOST = 20  # where the sliders of whole numbers end, unless they have to start beyond


def panel(draw: Callable[..., tuple[Figure, str]], **controls: Any) -> Any:
    """Controls above the picture and the line of text that ``draw`` makes of their values.

    Sliders wait for the release. An error of the library that ``draw`` raises is shown in place of
    the text.

    Args:
        draw: called with the value of each control by name, ``draw(length=2.0, ..)``; returns a
            figure, which is closed once it is shown, and one line of text.
        controls: widgets of ipywidgets by the names of the arguments of ``draw``.

    Returns:
        an ipywidgets ``VBox``, which a notebook shows.

    Example::

        import ipywidgets
        import matplotlib.pyplot as plt


        def draw(k):
            fig, ax = plt.subplots()
            ax.plot([0, 0.1], [0, 0.1 * k])
            return fig, f"F = {k:g} N/m times x"


        mk.widgets.panel(draw, k=ipywidgets.FloatSlider(30.0, min=10, max=50, description="k, N/m"))
    """
    picture, text, box = _boxed(controls)

    def redraw(_: Any = None) -> None:
        values = {name: control.value for name, control in controls.items()}
        _show(picture, text, lambda: draw(**values))

    for control in controls.values():
        control.observe(redraw, names="value")
    redraw()
    return box


def explorer(family: Family, learners: Mapping[str, Any], *, shots: int = 10, seed: int = 0) -> Any:
    """Sliders for the task, the measurement and the learner, with the picture and the errors.

    There is a slider for each physical parameter (over the range that the family draws from), or a
    menu of the members of a finite family; for the shots, unless the family fixes where it
    measures; for the seed of the measurement, where that matters; and, where the learner chosen
    has them, for the inner steps and the inner learning rate. The learners given are not changed.

    Args:
        family: a one-dimensional family.
        learners: learners by name, such as ``{"MAML": learner, "ridge": mk.yardsticks.Ridge()}``.
        shots: number of support points at first.
        seed: seed of the measurement at first.

    Returns:
        an ipywidgets ``VBox``, which a notebook shows.

    Raises:
        MamlkitError: if the family has no single curve to draw, or there is no learner.
    """
    check_one_dimensional(family)
    _chosen(learners, None)
    task = _task_controls(family, shots, seed)
    controls = {**task, **_measurement_controls(family, shots, seed), **_learner_controls(learners)}
    picture, text, box = _boxed(controls)
    busy = False  # while the sliders of a learner are being set, its curve is not yet wanted

    def redraw(_: Any = None) -> None:
        if busy:
            return
        shown = {k: c.value for k, c in controls.items() if c.layout.display != "none"}
        if family.members is None:
            shown["physics"] = {name: shown.pop(name) for name in task}
        settings = {"shots": shots, "seed": seed, **shown}
        _show(picture, text, lambda: draw(family, learners, **settings))

    def choose(_: Any = None) -> None:
        nonlocal busy
        learner = learners[controls["name"].value]
        steps, inner_lr = controls["steps"], controls["inner_lr"]
        busy = True
        steps.layout.display = None if _has_steps(learner) else "none"
        inner_lr.layout.display = None if _has_fixed_lr(learner) else "none"
        if _has_steps(learner):
            steps.max = max(MOST, learner.inner_steps)
            steps.value = learner.inner_steps
        if _has_fixed_lr(learner):
            inner_lr.value = min(max(learner.inner_lr, 1e-4), 10.0)
        busy = False
        redraw()

    choose()
    for name, control in controls.items():
        control.observe(choose if name == "name" else redraw, names="value")
    return box


def draw(
    family: Family,
    learners: Mapping[str, Any],
    name: str | None = None,
    *,
    shots: int = 10,
    steps: int | None = None,
    inner_lr: float | None = None,
    physics: Mapping[str, float] | None = None,
    task: int = 0,
    seed: int = 0,
    others: bool = False,
) -> tuple[Figure, str]:
    """What the explorer shows: one task, and what a learner makes of its support points.

    Args:
        family: a one-dimensional family.
        learners: learners by name.
        name: the learner to draw, before and after adaptation; None takes the first.
        shots: support points.
        steps: inner steps of that learner; None takes its own number.
        inner_lr: step size of that learner, if it has a fixed one; None takes its own. The learner
            itself is left as it is.
        physics: values of the physical parameters; those not named are at their medians.
        task: which member of a finite family.
        seed: fixes where the support points are and their noise.
        others: draw the other learners too, each with its own settings.

    Returns:
        the figure, and one line that states the root-mean-square error of each curve drawn, over
        the whole curve, in the unit of the family's ``y_label``.

    Raises:
        MamlkitError: if a name is not known, or a setting does not belong to the learner.
    """
    check_one_dimensional(family)
    name = _chosen(learners, name)
    learner = _set(learners[name], name, inner_lr)
    if steps is not None and not _has_steps(learner):
        raise MamlkitError(f"{name!r} has no inner steps; leave out steps.")
    measured = _measure(family, shots, physics, task, seed)
    support, _, truth = measured
    x, y = family.true_curve(truth)
    last = getattr(learner, "inner_steps", 0) if steps is None else steps
    curves: dict[str, Tensor] = {}
    said = []
    for label, predict in predictions(learner, measured, dict.fromkeys((0, last))).items():
        curve = predict(x).detach().cpu().double()
        curves[f"{name}, {label}" if label else name] = curve
        said.append(f"{_error(curve, y)} {label}".rstrip())
    sentence = f"{name}: {', '.join(said)}"
    for other in [k for k in learners if others and k != name]:
        curves[other] = adapt_one(learners[other], measured)(x).detach().cpu().double()
        sentence += f"; {other}: {_error(curves[other], y)}"
    with mpl.rc_context(STYLE):
        figure, ax = plt.subplots()
        draw_task(ax, family, measured, curves)
        ax.set_ylim(_limits(torch.cat([y, support.y]), torch.cat(list(curves.values()))))
        if len(curves) > 3:
            figure.set_size_inches(9.0, 4.0)
            ax.legend(loc="center left", bbox_to_anchor=(1.02, 0.5))
        else:
            ax.legend(loc="best")
    readings = f"{family.name_of(truth)}, {len(support.x)} reading{'s' * (len(support.x) > 1)}"
    return figure, f"{readings}. Root-mean-square error of {quantity(family)}: {sentence}."


def solver_work(
    equation: str = "van der Pol",
    tolerance: float = 1e-4,
    method: str = "RK45",
    **parameters: float,
) -> tuple[Figure, str]:
    """One differential equation, solved by five methods at one tolerance: where a method stops on
    its way, and how many calls of the right-hand side each needs.

    Args:
        equation: one of :data:`mamlkit.tasks.equations.EQUATIONS`.
        tolerance: the relative tolerance that each method is given.
        method: whose steps are drawn, one of :data:`mamlkit.tasks.solver_choice.METHODS`.
        parameters: of the equation; those not named are in the middle of their ranges.

    Returns:
        the figure, with a hatched bar where a method misses a global error of 1e-4, and a line that
        states calls and errors.
    """
    one_of("equation", equation, EQUATIONS)
    one_of("method", method, METHODS)
    chosen = EQUATIONS[equation]
    if unknown := sorted(set(parameters) - set(chosen.ranges)):
        raise MamlkitError(f"{equation} has no {unknown}; it has {list(chosen.ranges)}.")
    middle = {
        name: (low * high) ** 0.5 if kind == "log" else (low + high) / 2
        for name, (low, high, kind) in chosen.ranges.items()
    }
    instance = chosen.at(middle | parameters)
    truth = solve(instance, "LSODA", 1e-12, 10**7).states
    runs = {name: solve(instance, name, tolerance) for name in METHODS}
    if truth is None:
        raise MamlkitError(
            f"{equation} with {middle | parameters} has no solution that LSODA finds; choose "
            "parameters nearer to the ranges of mk.tasks.EQUATIONS."
        )
    errors = {name: solution_error(instance, run.states, truth) for name, run in runs.items()}
    with mpl.rc_context(STYLE):
        figure, (left, right) = plt.subplots(1, 2, figsize=(9.6, 3.6))
        t, y = path(instance, method, tolerance)
        left.plot(t, y[:, 0] / instance.scale[0], **{**line(0), "linewidth": 1.0})
        left.plot(t, y[:, 0] / instance.scale[0], "|", color=COLOURS[1], label="where it stops")
        left.set(xlabel="time", ylabel="first variable, in units of its scale")
        left.set_title(f"{equation}: {len(t) - 1} steps of {method}")
        left.legend(loc="best")
        for i, (name, run) in enumerate(runs.items()):
            good = errors[name] <= ACCURACY
            hatch, colour = None if good else "//", COLOURS[i] if good else "white"
            right.barh(name, run.calls, color=colour, edgecolor=COLOURS[i], hatch=hatch)
        right.set(xscale="log", xlim=(5, 3 * CAP), xlabel="calls (hatched: error above 1e-4)")
        right.invert_yaxis()
    said = [
        f"{name} gave up after {CAP}"
        if runs[name].states is None
        else f"{name} {runs[name].calls} (error {errors[name]:.1e})"
        for name in METHODS
    ]
    return figure, f"Calls at tolerance {tolerance:.0e}: {', '.join(said)}."


def magnets(
    learners: Mapping[str, Any],
    couplings: Sequence[float] = (0.2, 0.0, 0.0, 0.0),
    temperature: float = 1.0,
    *,
    others: Sequence[float] = (0.0, 0.0, 0.0, 0.0),
    shots: int = 1,
    seed: int = 0,
) -> tuple[Figure, str]:
    """Two magnets, and which of them each learner takes for the maker of a new snapshot: a picture
    of one snapshot of each and of the new one, which magnet A made.

    Args:
        learners: of two classes, by name; each sees ``shots`` snapshots of A and of B.
        couplings: J of magnet A on each of :data:`mamlkit.tasks.ising.BONDS`.
        temperature: of both magnets, in the unit of the couplings.
        others: J of magnet B.
        shots: snapshots of each magnet that the learners see.
        seed: fixes all snapshots.

    Returns:
        the figure, and a line that says for each learner what it takes the new snapshot for, and of
        how many of forty new ones, twenty of each magnet, it names the maker.
    """
    t = number("temperature", temperature, positive=True)
    n = count("shots", shots) + 20
    both = torch.tensor([list(couplings), list(others)], dtype=torch.float64) / t
    x = swendsen_wang(both.repeat_interleave(n, 0), bonds=BONDS, generator=fresh_generator(seed))
    x = x.reshape(2, n, 1, *x.shape[-2:]).to(torch.get_default_dtype())
    y = torch.arange(2).repeat_interleave(n).reshape(2, n)
    support = Data(x[:, :shots].flatten(0, 1), y[:, :shots].flatten())
    new = Data(x[:, shots:].flatten(0, 1), y[:, shots:].flatten())
    said = []
    for name, learner in learners.items():
        predict = adapt_one(learner, TaskBatch(support, new, {}))
        named = predict(new.x).detach().argmax(-1).cpu()
        right = int((named == new.y).sum())
        said.append(f"{name} says {'AB'[int(named[0])]}, right on {right} of {len(new.y)}")
    with mpl.rc_context(STYLE):
        figure, axes = plt.subplots(1, 3, figsize=(9.0, 3.2))
        shown = {"a snapshot of A": x[0, 0, 0], "a snapshot of B": x[1, 0, 0], "new": new.x[0, 0]}
        for ax, (title, snapshot) in zip(axes, shown.items(), strict=True):
            ax.imshow(snapshot.numpy(), cmap="cividis", vmin=-1, vmax=1)
            ax.set(title=title, xticks=[], yticks=[])
            ax.grid(visible=False)
    told = ", ".join(f"{float(j):.2f}" for j in both[0])
    return figure, f"A has J/T = {told}, and made the new one: {'; '.join(said)}."


def kinds(
    learner: Any,
    families: Mapping[str, Family],
    kind: str,
    *,
    shots: int = 5,
    seed: int = 0,
    lift: float = 0.0,
) -> tuple[Figure, str]:
    """Readings of one system of some kind, and what specialists of all kinds make of them: the
    averaged prediction with its 90 % band, and the share of each specialist.

    Args:
        learner: a :class:`mamlkit.Specialists`, one head for each of the ``families`` in order.
        families: one-dimensional families by name.
        kind: the name of the one that the system comes from.
        shots: readings.
        seed: fixes the system, where it is read and the noise.
        lift: added to the last reading.

    Returns:
        the figure, and a line that says which kinds are the most probable and how far off the
        prediction is.
    """
    family = families[one_of("kind", kind, families)]
    check_one_dimensional(family)
    drawn: Any = {"generator": fresh_generator(seed), "dtype": torch.float64}
    batch = family.sample(1, count("shots", shots), 1, **drawn)
    support, _, truth = batch.task(0)
    support.y[-1] += lift
    x, y = family.true_curve(truth)
    adapted = learner.adapt(*support)
    mean, variance = (part.detach()[:, 0] for part in adapted.distribution(x))
    shares = learner.shares(adapted.weights["evidence"]).detach().tolist()
    reach = 1.645 * variance.sqrt()
    with mpl.rc_context(STYLE):
        figure, (left, right) = plt.subplots(
            1, 2, figsize=(9.6, 3.8), gridspec_kw={"width_ratios": [3, 2]}
        )
        left.plot(x, y, color="black", lw=1.5, label="the law")
        left.plot(x, mean, **line(0), label="averaged")
        left.fill_between(x[:, 0], mean - reach, mean + reach, **band(0))
        left.plot(support.x, support.y, "o", color=COLOURS[1], label="readings")
        left.set(xlabel="x, scaled", ylabel="y, scaled", ylim=_limits(y, mean[:, None]))
        left.locator_params(axis="x", nbins=5)
        left.legend(loc="best")
        colours = [COLOURS[1] if name == kind else COLOURS[0] for name in families]
        right.barh(list(families), shares, color=colours)
        right.set(xlim=(0, 1), xlabel="share of the specialist")
        right.invert_yaxis()
    ranked = sorted(zip(shares, families, strict=True), reverse=True)[:2]
    said = ", then ".join(f"{name} ({share:.2f})" for share, name in ranked)
    inside = float(((mean - y[:, 0]).abs() < reach).double().mean())
    off = float((mean - y[:, 0]).square().mean().sqrt())
    return figure, (
        f"A system of the kind {kind}, {len(support.x)} readings. Most probable: {said}. "
        f"RMSE {off:.3f}, {inside:.0%} of the curve in the 90 % band."
    )


def pulled(
    followers: Mapping[str, Any],
    family: Family,
    start: Mapping[str, float],
    end: Mapping[str, float],
    *,
    over: int = 1,
    tick: int = 70,
    seed: int = 0,
) -> tuple[Figure, str]:
    """Pull a system from one place to another while it is read once a tick, and see who follows.
    There are 120 ticks, and the pull begins at tick 60.

    Args:
        followers: learners of :mod:`mamlkit.learners.online` by name.
        family: one input, one output.
        start, end: the parameters of the system before and after the pull.
        over: ticks that the pull takes; 1 is a jump.
        tick: when to look at what each follower expects.
        seed: fixes where it is read, and the noise.

    Returns:
        the figure: the true curve at that tick, what is expected by those who have seen the
        readings before it, and the root-mean-square error over the whole curve at all ticks; and a
        line with the errors at that tick.
    """
    ticks, when = 120, 60
    tick = count("tick", tick, least=0)
    if tick >= ticks:
        raise MamlkitError(f"tick must be below {ticks}, but {tick} was given.")
    at = torch.arange(ticks, dtype=torch.float64)
    part = ((at - when + 1) / count("over", over)).clamp(0, 1)
    course = {k: (start[k] + part * (end[k] - start[k]))[None] for k in start}
    stream = along(family, course, generator=fresh_generator(seed))
    x = family._grid(60)
    truth = family.law(x[None], {k: p[0, :, None, None] for k, p in course.items()})  # [T, 60, 1]
    said: dict[str, Tensor] = {}
    for name, follower in followers.items():
        state, found = follower.start(1), []
        for t in range(ticks):
            guess = follower.predict(state, x[None])
            found.append(guess.mean[0] if isinstance(guess, Gaussian) else guess[0])
            state = follower.update(state, stream.x[:, t], stream.y[:, t])
        said[name] = torch.stack(found).detach()  # [T, 60, 1]
    errors = {k: (v - truth).square().mean((1, 2)).sqrt() for k, v in said.items()}
    with mpl.rc_context(STYLE):
        figure, (left, right) = plt.subplots(1, 2, figsize=(9.6, 3.6))
        seen = slice(max(tick - 10, 0), tick)
        left.plot(x, truth[tick], color="black", lw=1.5, label="truth")
        left.plot(stream.x[0, seen], stream.y[0, seen], "ok", ms=3, label="last ten readings")
        for i, name in enumerate(said):
            left.plot(x, said[name][tick], **line(i), label=name)
            right.plot(at, errors[name], **line(i), label=name)
        left.set(xlabel=family.x_label, ylabel=family.y_label, title=f"expected at tick {tick}")
        left.legend(loc="best")
        for place, style in ((when, ":"), (tick, "-")):
            right.axvline(place, color="black", lw=0.8, ls=style)
        right.set(yscale="log", xlabel="tick (dotted: the pull begins)", ylabel="RMS error")
    told = ", ".join(f"{k} {v:.3g}" for k, v in end.items())
    each = ", ".join(f"{name} {float(e[tick]):.3f}" for name, e in errors.items())
    return figure, f"Pulled to {told} over {over} tick{'s' * (over > 1)}. At tick {tick}: {each}."


def ranges(family: Family, n_tasks: int = 1000, seed: int = 0) -> dict[str, Range]:
    """Least, median and largest value of each physical parameter among ``n_tasks`` drawn tasks."""
    physics = family._physics(n_tasks, fresh_generator(seed))
    return {
        name: (float(p.min()), float(p.median()), float(p.max())) for name, p in physics.items()
    }


def quantity(family: Family) -> str:
    """What the family predicts and its unit, in words: ``force F [N]`` is "force F, in N"."""
    label, bracket, unit = family.y_label.partition(" [")
    return f"{label}, in {unit.rstrip(']')}" if bracket else label


def _chosen(learners: Mapping[str, Any], name: str | None) -> str:
    if not isinstance(learners, Mapping) or not learners:
        raise MamlkitError("give a dict of learners by name, such as {'MAML': learner}.")
    if name is None:
        return next(iter(learners))
    if name not in learners:
        raise MamlkitError(f"there is no learner {name!r}; choose from {list(learners)}.")
    return name


def _measure(
    family: Family, shots: int, physics: Mapping[str, float] | None, task: int, seed: int
) -> TaskBatch:
    """The one task to draw, in float64."""
    if family.members is not None:
        if physics is not None:
            raise MamlkitError(
                f"{type(family).__name__} is a finite family; choose a member with task=..., not "
                "physics=..."
            )
        return task_to_draw(family, shots, seed, task)
    values = {name: middle for name, (_, middle, _) in ranges(family).items()}
    if unknown := sorted(set(physics or {}) - set(values)):
        raise MamlkitError(
            f"{type(family).__name__} has no parameter {unknown}; it has {sorted(values)}."
        )
    values |= physics or {}
    generator = fresh_generator(seed)
    one = {name: torch.tensor([value], dtype=torch.float64) for name, value in values.items()}
    x = family.inputs(1, count("shots", shots), generator)
    y = family._evaluate(x, one)
    return TaskBatch(Data(x, family._noisy(y, generator)), Data(x, y), one).task(0)


def _has_steps(learner: Any) -> bool:
    return hasattr(learner, "inner_steps")


def _has_fixed_lr(learner: Any) -> bool:
    fixed = getattr(learner, "learn_lr", None) is None
    return fixed and isinstance(getattr(learner, "inner_lr", None), float)


def _set(learner: Any, name: str, inner_lr: float | None) -> Any:
    """The learner with another step size: a shallow copy, which shares the weights."""
    if inner_lr is None:
        return learner
    if not _has_fixed_lr(learner):
        raise MamlkitError(f"{name!r} has no fixed inner learning rate; leave out inner_lr.")
    learner = copy.copy(learner)
    learner.inner_lr = inner_lr
    return learner


def _error(predicted: Tensor, truth: Tensor) -> str:
    error = float((predicted - truth).square().mean().sqrt())
    return f"{error:.3g}" if error < 1e6 else "not finite, the steps are too long"


def _limits(known: Tensor, curves: Tensor) -> tuple[float, float]:
    """Limits of y that show all there is; but a curve that runs away must not shrink the truth."""
    low, high = float(known.min()), float(known.max())
    span = (high - low) or 1.0
    seen = curves[curves.isfinite()]
    if len(seen):
        low = min(low, max(float(seen.min()), low - 1.5 * span))
        high = max(high, min(float(seen.max()), high + 1.5 * span))
    return low - 0.08 * span, high + 0.08 * span


def _task_controls(family: Family, shots: int, seed: int) -> dict[str, Any]:
    """A menu of members, or a slider for each physical parameter that is not the same for all."""
    if family.members is not None:
        physics = family._of(family.members)
        own = ({k: v[i] for k, v in physics.items()} for i in range(len(family.members)))
        options = [(family.name_of(each), i) for i, each in enumerate(own)]
        return {"task": ipywidgets.Dropdown(options=options, description="task")}
    return {
        name: ipywidgets.FloatSlider(
            description=name.replace("_", " "),
            min=low,
            max=high,
            step=(high - low) / 100,
            value=middle,
            readout_format=".3g",
        )
        for name, (low, middle, high) in ranges(family).items()
        if low < high
    }


def _measurement_controls(family: Family, shots: int, seed: int) -> dict[str, Any]:
    """The shots and the seed of their noise, where they change anything."""
    slider, controls = ipywidgets.IntSlider, {}
    if getattr(family, "at", None) is None:
        most = max(MOST, count("shots", shots))
        controls["shots"] = slider(description="shots", min=1, max=most, value=shots)
    if "shots" in controls or family.noise:  # else every measurement of a task is the same
        most = max(MOST, seed)
        controls["seed"] = slider(description="measurement", min=0, max=most, value=seed)
    return controls


def _learner_controls(learners: Mapping[str, Any]) -> dict[str, Any]:
    """Which learner, and its settings."""
    return {
        "name": ipywidgets.Dropdown(options=list(learners), description="learner"),
        "others": ipywidgets.Checkbox(value=False, description="show the others too"),
        "steps": ipywidgets.IntSlider(description="inner steps", min=0, max=MOST),
        "inner_lr": ipywidgets.FloatLogSlider(
            description="inner lr (alpha)", min=-4, max=1, step=0.1, readout_format=".2g"
        ),
    }


def _boxed(controls: Mapping[str, Any]) -> tuple[Any, Any, Any]:
    """A picture, a line of text, and the box that holds them under the controls. Sliders wait for
    the release, since one redraw takes longer than 50 ms.
    """
    for control in controls.values():
        if hasattr(control, "continuous_update"):
            control.continuous_update = False
        control.style = {"description_width": "8.5em"}
        control.layout.width = "26em"
    layout = {"max_width": "100%", "align_self": "flex-start"}  # else the box stretches it
    picture = ipywidgets.Image(format="png", layout=layout)
    text = ipywidgets.HTML()
    return picture, text, ipywidgets.VBox([ipywidgets.VBox([*controls.values()]), picture, text])


def _show(picture: Any, text: Any, drawn: Callable[[], tuple[Figure, str]]) -> None:
    """Put a new figure and its line of text, or the error, into their widgets."""
    try:
        figure, line_of_text = drawn()
    except MamlkitError as error:
        text.value = html.escape(str(error), quote=False)
        return
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=100)
    plt.close(figure)
    picture.value = stream.getvalue()
    text.value = html.escape(line_of_text, quote=False)
