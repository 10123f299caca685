"""Pictures of a training run, an adaptation, a comparison. One style for all.

Each function takes an optional ``ax`` to draw on and returns the Axes. Colour-blind readers tell
the colours apart. Each has a contrast of three to one with white, which WCAG 2.2 asks of graphics,
and a line style of its own, so that a print in grey can be read too.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import torch
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter
from torch import Tensor

from mamlkit.checks import fresh_generator
from mamlkit.errors import MamlkitError
from mamlkit.evaluation.curves import Curve, adapt_one
from mamlkit.losses import Predict
from mamlkit.tasks.base import Family, Readings, TaskBatch, check_family
from mamlkit.training.loop import History

if TYPE_CHECKING:
    import pandas as pd

#: Blue, vermilion, green and purple of Okabe and Ito 2008, whose black is kept for the truth and
#: for measurements. Their orange, sky blue and yellow are too pale on white. In place of them two
#: of our own, brown and violet, which the red-blind and the green-blind tell from the rest; and
#: grey.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#692D0F", "#960FF0", "#666666")
#: For lines and points coloured by a number: the part of cividis that is dark enough on white.
SHADES = ListedColormap(mpl.colormaps["cividis"](np.linspace(0, 0.62, 256)), "dark cividis")
LINES: tuple[Any, ...] = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (8, 2)), (0, (3, 3)))
TRUTH, MEASURED = "#000000", "#000000"

STYLE: Any = {
    "axes.prop_cycle": cycler(color=COLOURS) + cycler(linestyle=LINES),
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.labelsize": 11,
    "axes.titlesize": 12,
    "figure.constrained_layout.use": True,
    "figure.dpi": 100,
    "figure.figsize": (6.4, 4.0),
    "font.size": 11,
    "grid.alpha": 0.3,
    "image.cmap": "cividis",
    "legend.fontsize": 10,
    "legend.frameon": True,
    "legend.framealpha": 0.9,
    "lines.linewidth": 1.8,
    "savefig.dpi": 150,
    "savefig.format": "png",
}


def use_style() -> None:
    """Make the style of this package the default of matplotlib, for your own pictures too."""
    mpl.rcParams.update(STYLE)


def training_curve(history: History, ax: Axes | None = None) -> Axes:
    """Draw the outer loss against the outer iteration: each meta-batch in the background, a running
    mean before it, and the validation loss where there is one.

    Raises:
        MamlkitError: if the history is empty.
    """
    loss = np.asarray(history.outer_loss)
    if not len(loss):
        raise MamlkitError("the history is empty: no iteration was done, so there is no curve.")
    ax = _axes(ax)
    iteration = np.arange(1, len(loss) + 1)
    faint = {**line(6), "linestyle": "-", "linewidth": 0.8}
    ax.plot(iteration, loss, **faint, alpha=0.75, label="meta-batch")
    window = max(1, len(loss) // 50)
    if window > 1:
        smooth = np.convolve(loss, np.full(window, 1 / window), mode="valid")
        ax.plot(iteration[window - 1 :], smooth, **line(0), label=f"mean of {window} meta-batches")
    if history.validation_loss:
        at, value = history.validation_iteration, history.validation_loss
        ax.plot(at, value, **line(1), marker="s", markersize=5, label="validation tasks")
    ax.set(xlabel="outer iteration", ylabel="query loss after adaptation")
    _maybe_log(ax.set_yscale, loss, history.validation_loss)
    _legend(ax)
    return ax


def adaptation_fan(
    learner: Any,
    family: Family,
    shots: int = 10,
    steps: Sequence[int] = (0, 1, 5),
    seed: int = 0,
    task: int = 0,
    ax: Axes | None = None,
) -> Axes:
    """Draw one task: the true curve, the support points, and the prediction after some inner steps.

    Args:
        learner: anything with ``adapt(x, y) -> predict``; without inner steps it gives one line.
        family: a one-dimensional family.
        shots: support points.
        steps: the numbers of inner steps to draw.
        seed: fixes the tasks that are drawn and their noise.
        task: which of the drawn tasks; of a finite family, which member.
        ax: where to draw.

    Raises:
        MamlkitError: if the family has more than one input or output, or fewer tasks than asked.
    """
    check_one_dimensional(family)
    drawn = task_to_draw(family, shots, seed, task)
    x, _ = family.true_curve(drawn.physics)
    found = predictions(learner, drawn, steps)
    alone = type(learner).__name__
    curves = {label or alone: predict(x).detach().cpu() for label, predict in found.items()}
    ax = _axes(ax)
    draw_task(ax, family, drawn, curves)
    _legend(ax)
    return ax


def adaptation_curves(curves: Mapping[str, Curve], ax: Axes | None = None) -> Axes:
    """Draw the mean query loss against inner steps, with its 95 % interval as a band.

    Args:
        curves: results of :func:`mamlkit.evaluate` by name. A learner without inner steps, whose
            curve holds one number, becomes a level line.
        ax: where to draw.
    """
    if not isinstance(curves, Mapping) or not curves:
        raise MamlkitError("adaptation_curves() needs a dict such as {'MAML': mk.evaluate(...)}.")
    last = max(len(curve.mean) for curve in curves.values()) - 1
    ax = _axes(ax)
    for i, (name, curve) in enumerate(curves.items()):
        mean, ci95 = curve.mean.numpy(), curve.ci95.numpy()
        at = np.arange(len(mean))
        if len(mean) == 1:
            mean, ci95, at = mean.repeat(2), ci95.repeat(2), np.array([0, max(last, 1)])
        ax.plot(at, mean, **line(i), label=name)
        below, above = _whiskers(mean, ci95)
        ax.fill_between(at, mean - below, mean + above, **band(i))
    ax.set(xlabel="inner steps", ylabel="query loss, mean over tasks")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    _maybe_log(ax.set_yscale, *(curve.mean.numpy() for curve in curves.values()))
    _legend(ax)
    return ax


def error_against_shots(table: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Draw the mean query loss against the number of support points, with 95 % intervals.

    Args:
        table: what :func:`mamlkit.error_against_shots` returned, index ``(learner, shots)``.
        ax: where to draw.
    """
    if list(table.index.names) != ["learner", "shots"]:
        raise MamlkitError(
            "the table must come from mk.error_against_shots(), with the index (learner, shots); "
            f"this one has {list(table.index.names)}."
        )
    ax = _axes(ax)
    shots = np.unique(table.index.get_level_values("shots"))
    for i, name in enumerate(table.index.get_level_values("learner").unique()):
        rows = table.xs(name, level="learner").sort_index()
        style = {**line(i), "marker": "o", "markersize": 5, "capsize": 3}
        whiskers = _whiskers(rows["mean"], rows["ci95"])
        ax.errorbar(rows.index, rows["mean"], yerr=whiskers, **style, label=str(name))
    ax.set(xlabel="shots (support points of a task)", ylabel="query loss, mean over tasks")
    if shots.max() > 8 * shots.min():
        ax.set_xscale("log")
    ax.set_xticks(shots, [str(k) for k in shots])
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.tick_params(axis="x", which="minor", length=0)
    _maybe_log(ax.set_yscale, table["mean"])
    _legend(ax)
    return ax


def comparison(table: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Draw a table of learners as bars: mean query loss with its 95 % interval, the median as a
    diamond, and the mean in figures. The first row is on top.

    Args:
        table: what :func:`mamlkit.compare` returned.
        ax: where to draw.
    """
    missing = [name for name in ("mean", "ci95", "median") if name not in table.columns]
    if missing or not len(table):
        raise MamlkitError(
            f"the table must come from mk.compare(); this one has {len(table)} rows and lacks the "
            f"columns {missing}."
        )
    ax = _axes(ax, height=1.2 + 0.38 * len(table))
    mean, at = table["mean"].to_numpy(), np.arange(len(table))
    whiskers = _whiskers(mean, table["ci95"])
    ax.barh(at, mean, color=COLOURS[0], alpha=0.75, height=0.65, label="mean, 95 % interval")
    ax.errorbar(mean, at, xerr=whiskers, fmt="none", ecolor="black", elinewidth=1.2, capsize=3)
    diamond: Any = {"color": "white", "markeredgecolor": "black", "markersize": 6}
    ax.plot(table["median"], at, "D", **diamond, label="median")
    _maybe_log(ax.set_xscale, mean, table["median"])
    beside: Any = {"xytext": (6, 0), "textcoords": "offset points", "va": "center", "fontsize": 9}
    for y, value, end in zip(at, mean, mean + whiskers[1], strict=True):
        ax.annotate(f"{value:.3g}", (end, y), **beside)
    ax.margins(x=0.15)
    if ax.get_xscale() == "linear":
        ax.set_xlim(left=0)
    ax.set_yticks(at, [str(name) for name in table.index])
    ax.invert_yaxis()
    ax.grid(visible=False, axis="y")
    ax.set(xlabel="query loss over tasks")
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
    return ax


def curve_page(
    learners: Mapping[str, Any],
    family: Family,
    shots: int = 1,
    seed: int = 0,
    *,
    error: Callable[[Tensor, Tensor], Tensor] = torch.sub,
    label: str | None = None,
    most: float | None = None,
) -> Figure:
    """Draw what learners get wrong on every member of a finite family: one page, a small picture of
    the errors each, on one scale. The support points stand where they were read, as far from zero
    as their noise put them. A title gives the root-mean-square error of the first learner; its best
    and its worst member have a thick frame and a bold title.

    Args:
        learners: by name; each has ``adapt(x, y) -> predict``. At most seven can be told apart.
        family: a one-dimensional finite family.
        shots: support points.
        seed: fixes the support points and their noise.
        error: of a prediction and a true value, both ``[n]``: their difference, or such as a
            percentage.
        label: name and unit of that error.
        most: where the scale ends, above and below; None shows all of every curve.

    Raises:
        MamlkitError: if the family has more than one input or output, or endless tasks, or there is
            no learner.
    """
    if not isinstance(learners, Mapping) or not learners:
        raise MamlkitError("curve_page() needs a dict of learners such as {'ridge': Ridge()}.")
    check_one_dimensional(family)
    batch = family.every(shots, generator=fresh_generator(seed), dtype=torch.float64)
    tasks = [without_padding(batch.task(i)) for i in range(len(batch.support.x))]
    wrong = [_errors(learners, family, task, error) for task in tasks]
    rms = [float(curves[0].square().mean().sqrt()) for _, _, _, curves in wrong]
    marks = {rms.index(min(rms)): "best: ", rms.index(max(rms)): "worst: "}
    columns = min(8, len(tasks))
    rows = -(-len(tasks) // columns)
    size = (max(1.55 * columns, 4.2), 1.45 * rows + 0.9)
    with mpl.rc_context(STYLE):
        figure, grid = plt.subplots(
            rows, columns, sharex=True, sharey=True, squeeze=False, figsize=size
        )
        for ax in grid.flat[len(tasks) :]:
            ax.set_visible(False)
        for i, (ax, (x, at, measured, curves)) in enumerate(zip(grid.flat, wrong, strict=False)):
            ax.axhline(0.0, color=TRUTH, linewidth=0.8, linestyle="-")
            for j, curve in reversed(list(enumerate(curves))):  # the first one on top
                ax.plot(x, curve, **{**line(j), "linewidth": 1.8 if j == 0 else 1.3})
            ax.plot(at, measured, **points(5))
            ax.tick_params(labelsize=9)
            title = f"{marks.get(i, '')}{family.name_of(tasks[i].physics)}\n{rms[i]:.2g}"
            ax.set_title(title, fontsize=9, fontweight="bold" if i in marks else "normal")
            if i in marks:
                ax.spines[:].set(visible=True, linewidth=3, color=COLOURS[0])
            if i + columns >= len(tasks):  # nothing below: this one carries the numbers
                ax.tick_params(labelbottom=True)
        if most is not None:
            grid.flat[0].set_ylim(-most, most)
        figure.supxlabel(family.x_label, fontsize=11)
        figure.supylabel(label or f"error of {family.y_label}", fontsize=11)
        drawn = [*grid.flat[0].lines[-2:0:-1], grid.flat[0].lines[-1]]
        names = [
            f"{name} (rms in the title)" if i == 0 else name for i, name in enumerate(learners)
        ]
        figure.legend(drawn, [*names, "measured"], loc="outside upper center", ncols=4)
    return figure


def _errors(
    learners: Mapping[str, Any],
    family: Family,
    task: TaskBatch,
    error: Callable[[Tensor, Tensor], Tensor],
) -> tuple[Tensor, Tensor, Tensor, list[Tensor]]:
    """Of one task: where the truth is known ``[n]``, where it was measured ``[K]`` and how far off
    that was, and the errors of each learner ``[n]``.
    """
    x, y = family.true_curve(task.physics)
    curves = [adapt_one(learner, task)(x).detach().cpu().double() for learner in learners.values()]
    at, read = task.support.x[:, 0].cpu(), task.support.y[:, 0].cpu()
    there = torch.as_tensor(np.interp(at, x[:, 0], y[:, 0]))
    return x[:, 0], at, error(read, there), [error(curve[:, 0], y[:, 0]) for curve in curves]


def fields(fields: Mapping[str, Any], x: Any, t: Any, own: Collection[str] = ()) -> Figure:
    """Draw fields u(x, t) side by side as maps, on one scale of colours.

    Args:
        fields: values by title, each ``[nt, nx]``.
        x: places ``[nx]``, rising, not necessarily even.
        t: times ``[nt]``, likewise.
        own: titles of the fields that get a scale of their own, such as a small difference.
    """
    if not isinstance(fields, Mapping) or not fields:
        raise MamlkitError("fields() needs a dict such as {'exact': u}, with u [nt, nx].")
    place, time = _array(x).ravel(), _array(t).ravel()
    values = {title: _array(u) for title, u in fields.items()}
    for title, u in values.items():
        if u.shape != (len(time), len(place)):
            raise MamlkitError(
                f"field {title!r} is {list(u.shape)}, but there are {len(time)} times and "
                f"{len(place)} places; give u [nt, nx]."
            )
    if not set(own) <= set(values):
        raise MamlkitError(f"own={list(own)} names no field; there are {list(values)}.")
    tops = {title: float(np.abs(u).max()) for title, u in values.items()}
    shared = max((tops[title] for title in values if title not in own), default=0.0)
    with mpl.rc_context(STYLE):
        figure, grid = plt.subplots(
            1,
            len(values),
            sharey=True,
            squeeze=False,
            figsize=(3.6 * len(values) + 0.8, 3.2),
            layout="constrained",
        )
        together = []
        for ax, (title, u) in zip(grid[0], values.items(), strict=True):
            top = tops[title] if title in own else shared
            shown = ax.pcolormesh(place, time, u, vmin=-top, vmax=top, cmap="cividis")
            ax.set(xlabel="x", title=title)
            ax.grid(visible=False)
            if title in own:
                figure.colorbar(shown, ax=ax, label=title)
            else:
                together.append((ax, shown))
        grid[0, 0].set_ylabel("t")
        if together:
            figure.colorbar(together[-1][1], ax=[ax for ax, _ in together], label="u")
    return figure


def fit_page(frame: pd.DataFrame, about: Mapping[str, Any], most: int = 24) -> Figure:
    """Draw what was predicted of each system of a table on one page, a small picture each, of the
    first ``most`` systems; see :func:`predicted`.

    Args:
        frame: readings and predictions, as :attr:`mamlkit.Fit.predictions` or
            :meth:`mamlkit.Fit.predict` give them.
        about: :attr:`mamlkit.Fit.about`, which says what the columns are.
        most: how many systems to draw.
    """
    systems = list(dict.fromkeys(frame[about["task"]]))[:most]
    columns = min(4, len(systems))
    rows = -(-len(systems) // columns)
    size = (max(2.6 * columns, 5.2), 2.1 * rows + 0.8)
    with mpl.rc_context(STYLE):
        figure, grid = plt.subplots(rows, columns, squeeze=False, figsize=size)
        for ax in grid.flat[len(systems) :]:
            ax.set_visible(False)
        for ax, system in zip(grid.flat, systems, strict=False):
            predicted(frame[frame[about["task"]] == system], about, ax)
            ax.set_title(str(system), fontsize=9)
            ax.tick_params(labelsize=8)
            ax.set(xlabel="", ylabel="")
        labels = _predicted_labels(about)
        figure.supxlabel(labels[0], fontsize=11)
        figure.supylabel(labels[1], fontsize=11)
        handles = dict(zip(*grid[0, 0].get_legend_handles_labels()[::-1], strict=True))
        figure.legend(handles.values(), handles.keys(), loc="outside upper center", ncols=4)
    return figure


def predicted(frame: pd.DataFrame, about: Mapping[str, Any], ax: Axes | None = None) -> Axes:
    """Draw one system: its known readings, and for the others the prediction with its intervals of
    50 % and 90 % against the first input. Of several inputs, where there is no one curve: what was
    predicted against what was measured. Of several outputs the first.
    """
    ax = _axes(ax)
    name = about["outputs"][0]
    end = "" if len(about["outputs"]) == 1 else f"_{name}"
    frame = frame.sort_values(about["inputs"][0])
    asked = frame[frame[f"prediction{end}"].notna()]
    shown = frame[frame[f"prediction{end}"].isna() & frame[name].notna()]
    later = asked[asked[name].notna()]
    middle = asked[f"prediction{end}"]
    hollow: Any = {**points(5), "markerfacecolor": "white", "markeredgecolor": MEASURED}
    if len(about["inputs"]) > 1:
        reach = [middle - asked[f"low90{end}"], asked[f"high90{end}"] - middle]
        bars: Any = {"fmt": "none", "ecolor": COLOURS[0], "elinewidth": 1.2}
        ax.errorbar(asked[name].fillna(middle), middle, yerr=reach, **bars, label="90 %")
        ax.plot(later[name], later[f"prediction{end}"], **hollow, label="prediction")
        ax.axline((float(middle.iloc[0]),) * 2 if len(middle) else (0, 0), slope=1, color="grey")
    else:
        at = asked[about["inputs"][0]]
        for level, alpha in ((90, 0.15), (50, 0.3)):
            ends = (asked[f"low{level}{end}"], asked[f"high{level}{end}"])
            ax.fill_between(at, *ends, **band(0, alpha), label=f"{level} %")
        ax.plot(at, middle, **line(0), label="prediction")
        if len(later):
            ax.plot(later[about["inputs"][0]], later[name], **hollow, label="measured later")
        ax.plot(shown[about["inputs"][0]], shown[name], **points(5), label="known")
    xlabel, ylabel = _predicted_labels(about)
    ax.set(xlabel=xlabel, ylabel=ylabel)
    return ax


def _predicted_labels(about: Mapping[str, Any]) -> tuple[str, str]:
    def label(name: str) -> str:
        return f"{name} [{about['units'][name]}]" if name in about["units"] else name

    own = label(about["outputs"][0])
    if len(about["inputs"]) > 1:
        return f"{own}, measured", f"{own}, predicted"
    return label(about["inputs"][0]), own


def check_one_dimensional(family: Family) -> None:
    """Refuse a family that has no single curve to draw."""
    check_family(family)
    if family.ways is not None:
        raise MamlkitError(
            f"only a curve y(x) can be drawn, but {type(family).__name__} gives labels of "
            f"{family.ways} classes; mk.plots.comparison() draws tables of any family."
        )
    if (family.d_in, family.d_out) != (1, 1):
        raise MamlkitError(
            f"only a curve y(x) can be drawn, but {type(family).__name__} has d_in={family.d_in} "
            f"and d_out={family.d_out}; use a family with one input and one output."
        )


def task_to_draw(family: Family, shots: int, seed: int, task: int) -> TaskBatch:
    """Task number ``task`` in float64: of a finite family that member."""
    if isinstance(task, bool) or not isinstance(task, int) or task < 0:
        raise MamlkitError(f"task must be a whole number >= 0, but {task!r} was given.")
    drawn: Any = {"generator": fresh_generator(seed), "dtype": torch.float64}
    if family.n_members is None:
        return family.sample(task + 1, shots, **drawn).task(task)
    if task >= family.n_members:
        raise MamlkitError(
            f"task={task}, but this family has {family.n_members} members; count from 0."
        )
    return without_padding(family.every(shots, **drawn).task(task))


def without_padding(task: TaskBatch) -> TaskBatch:
    """One task, its support without readings of weight 0."""
    if not isinstance(task.support, Readings):
        return task
    there = (task.support.weight > 0).any(-1)
    return task._replace(support=Readings(*(leaf[there] for leaf in task.support)))


def draw_task(ax: Axes, family: Family, task: TaskBatch, curves: Mapping[str, Tensor]) -> None:
    """Draw of one task the truth, curves by label (``[n, 1]``, where the truth is), and the support
    points.
    """
    x, y = family.true_curve(task.physics)
    ax.plot(x[:, 0], y[:, 0], color=TRUTH, linewidth=1.2, linestyle="-", label="truth")
    for i, (label, predicted) in enumerate(curves.items()):
        ax.plot(x[:, 0], predicted[:, 0], **line(i), label=label)
    ax.plot(task.support.x[:, 0], task.support.y[:, 0], **points(), label="support")
    ax.set(xlabel=family.x_label, ylabel=family.y_label, title=family.name_of(task.physics))


def predictions(learner: Any, task: TaskBatch, steps: Iterable[int]) -> dict[str, Predict]:
    """What ``learner`` predicts for one task after each number of inner steps, by label; one entry,
    under "", for a learner without inner steps.
    """
    if not hasattr(learner, "inner_steps"):
        return {"": adapt_one(learner, task)}
    return {steps_label(k): learner.adapt(task.support, steps=k) for k in steps}


def steps_label(steps: int) -> str:
    """A number of inner steps in words."""
    return "before any step" if steps == 0 else f"after {steps} step{'s' * (steps > 1)}"


def _axes(ax: Axes | None, height: float | None = None) -> Axes:
    if ax is not None:
        return ax
    with mpl.rc_context(STYLE):
        width, usual = STYLE["figure.figsize"]
        return plt.subplots(figsize=(width, height or usual))[1]


def line(i: int) -> dict[str, Any]:
    """The ``i``-th colour and line style."""
    return {
        "color": COLOURS[i % len(COLOURS)],
        "linestyle": LINES[i % len(LINES)],
        "linewidth": 1.8,
    }


def band(i: int = 0, alpha: float = 0.2) -> dict[str, Any]:
    """The look of a band in the ``i``-th colour: pale, so that lines are seen through it, within a
    thin edge that is not.
    """
    colour = COLOURS[i % len(COLOURS)]
    return {"facecolor": (colour, alpha), "edgecolor": colour, "linewidth": 0.6}


def points(size: float = 7) -> dict[str, Any]:
    """The look of measured points."""
    return {
        "linestyle": "none",
        "marker": "o",
        "markersize": size,
        "color": MEASURED,
        "markeredgecolor": "white",
        "zorder": 5,
    }


def _array(values: Any) -> Any:
    return np.asarray(values.detach().cpu() if isinstance(values, Tensor) else values)


def _whiskers(mean: Any, ci95: Any) -> Any:
    """Lengths of 95 % intervals below and above, ``[2, n]``: none where the interval is not known,
    and none below where it would leave a logarithmic axis.
    """
    half = np.where(np.isnan(ci95), 0.0, ci95)
    return np.stack([np.where(half < mean, half, 0.0), half])


def _maybe_log(set_scale: Any, *values: Any) -> None:
    """A logarithmic axis where positive values span more than a decade."""
    together = np.concatenate([np.asarray(v, dtype=float).ravel() for v in values])
    together = together[np.isfinite(together)]
    if len(together) and together.min() > 0 and together.max() > 10 * together.min():
        set_scale("log")


def _legend(ax: Axes) -> None:
    with mpl.rc_context(STYLE):
        ax.legend(loc="best")
