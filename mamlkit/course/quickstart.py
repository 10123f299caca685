"""The main job, end to end: one boiling measurement of a fluid never seen, its whole curve."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mamlkit import yardsticks
from mamlkit.evaluation.curves import adapt_one, compare, tune
from mamlkit.learners import MAML, MetaSGD
from mamlkit.losses import rmse
from mamlkit.models import MLP
from mamlkit.tasks import VapourPressure
from mamlkit.tasks.fluids import Part
from mamlkit.training.checkpoints import atomically
from mamlkit.training.loop import History, meta_train
from mamlkit.training.saved import save_learner

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

#: Where the one measurement is taken.
MEASURED_AT = 0.7
#: Chosen on the validation fluids, as was the learner of :func:`make_learner`.
SETTINGS: dict[str, Any] = {
    "shots": 1,
    "meta_batch": 32,
    "iterations": 4000,
    "outer_lr": 1e-2,
    "schedule": "cosine",
    "grad_clip": 0.1,
}
#: Whose errors the page of all test fluids shows.
ON_THE_PAGE = (
    "MAML (Meta-SGD)",
    "best linear latent",
    "Lee-Kesler, told acentric factor",
    "line through critical point",
)


def fluids(part: Part) -> VapourPressure:
    """The "train", "validation" or "test" fluids, measured once at T/Tc = 0.7."""
    return VapourPressure(at=(MEASURED_AT,)).split(part)


def make_learner(seed: int = 0) -> MAML:
    """Meta-SGD over a small network, one inner step."""
    return MetaSGD(MLP(1, 1, hidden=(40, 40), x_range=(0.6, 0.98), seed=seed), inner_lr=0.1)


def train(
    seed: int = 0, iterations: int | None = None, progress: bool = True
) -> tuple[MAML, History]:
    """Meta-train on the training fluids."""
    learner = make_learner(seed)
    return learner, _fit(learner, seed, iterations, progress)


def train_pooled(seed: int = 0, iterations: int | None = None, progress: bool = True) -> MAML:
    """The same network trained on all training fluids at once, for as many iterations; its
    fine-tuning (step size, number of steps) is chosen on the validation fluids.
    """
    pooled = yardsticks.Pooled(make_learner(seed).model)
    _fit(pooled, seed, iterations, progress)
    tune(pooled, fluids("validation"), 1, max_steps=30, loss=rmse)
    return pooled


def classical() -> dict[str, Any]:
    """The yardsticks that need no network; those that learn do so from the training fluids."""
    known = fluids("train")
    return {
        "mean curve": yardsticks.MeanCurve.fit(known),
        "line through critical point": yardsticks.LineThroughCriticalPoint(),
        "Gaussian process in 1/T": yardsticks.GaussianProcess.fit(
            known, inputs=lambda x: 1 / x - 1, noise=3e-3
        ),
        "Lee-Kesler, told acentric factor": yardsticks.LeeKesler(),
        "best linear latent": yardsticks.LinearLatent.fit(known),
    }


def table(learners: dict[str, Any], part: Part = "test") -> pd.DataFrame:
    """RMSE of log10(p/pc) over the fluids of one part, one row a learner, worst first."""
    return compare(learners, fluids(part), 1, loss=rmse).sort_values("mean", ascending=False)


def percent(predicted: Tensor, true: Tensor) -> Tensor:
    """By how many percent a predicted pressure is off, from log10(p/pc) of both."""
    return 100 * (10 ** (predicted - true) - 1)


def summary(learner: Any, learners: Mapping[str, Any]) -> Figure:
    """Two pictures in a row. Left: four test fluids, the one measurement of each, and what
    ``learner`` predicts from it. Right: the root-mean-square error of each of the ``learners``, a
    dot a test fluid.
    """
    import matplotlib as mpl
    import matplotlib.pyplot as plt

    from mamlkit.show import plots

    test = fluids("test")
    batch = test.every(1, dtype=torch.float64)
    names = [test.names[int(i)] for i in batch.physics["fluid"]]
    x, curves, _ = test.curves(len(names))

    def predicted(one: Any) -> Tensor:  # [32, 39, 1]
        return torch.stack([adapt_one(one, batch.task(i))(x).detach() for i in range(len(names))])

    found = predicted(learner)
    with mpl.rc_context(plots.STYLE):
        figure, (left, right) = plt.subplots(1, 2, figsize=(9.6, 3.7), width_ratios=(1, 1.15))
        for name in ("Helium", "Argon", "p-Xylene", "n-Dodecane"):
            i = names.index(name)
            left.plot(x, curves[i], color=plots.TRUTH, linewidth=1.2, linestyle="-")
            left.plot(x, found[i], **{**plots.line(1), "linewidth": 2.2})
            left.plot(batch.support.x[i], batch.support.y[i], **plots.points())
            left.annotate(name, (0.592, float(curves[i, 0])), ha="right", va="center", fontsize=10)
        left.set(
            xlabel=test.x_label, ylabel=test.y_label, xlim=(0.41, 0.99), xticks=(0.6, 0.7, 0.8, 0.9)
        )
        left.legend(left.lines[:3], ["truth", "predicted", "measured"], loc="lower right")
        for row, one in enumerate(learners.values()):
            off = percent(predicted(one), curves).square().mean((1, 2)).sqrt()
            face, edge = (plots.COLOURS[0], 0.4), plots.COLOURS[0]  # dots overlap
            dots: Any = {"marker": "o", "markersize": 5, "mfc": face, "mec": edge}
            bar: Any = {"color": plots.TRUTH, "markersize": 16, "markeredgewidth": 2}
            right.plot(off, [row] * len(off), **dots, linestyle="none", label="a fluid")
            right.plot(off.median(), row, "|", **bar, linestyle="none", label="median")
        right.set(xscale="log", xlabel="rms error of the pressure [%]")
        right.set_yticks(range(len(learners)), list(learners))
        right.xaxis.set_major_formatter("{x:g}")
        right.invert_yaxis()
        right.legend(handles=right.lines[:2], loc="lower right")
    return figure


def run(out: Path, seed: int = 0, iterations: int | None = None) -> None:
    """What ``mamlkit quickstart`` does: train, print the table, write picture and learner."""
    from mamlkit.show import plots

    start = time.perf_counter()
    torch.set_num_threads(1)  # for nets this small a second thread only adds waiting
    out.mkdir(parents=True, exist_ok=True)
    print("Meta-training on the vapour pressure of 76 fluids ...")
    learner, history = train(seed, iterations)
    print("Training one pooled network on the same fluids, as a yardstick ...")
    pooled = train_pooled(seed, iterations)
    learners = {"MAML (Meta-SGD)": learner, "pooled, fine-tuned": pooled, **classical()}
    results = table(learners)
    print("\nOne measurement at T/Tc = 0.7 of each of 32 fluids never seen, then the whole curve:")
    print("RMSE of log10(p/pc)")
    print(results[["mean", "median", "ci95"]].round(5).to_string())
    mean = results["mean"].to_dict()
    ratio = mean["MAML (Meta-SGD)"] / mean["Lee-Kesler, told acentric factor"]
    print(f"\nError of MAML / error of Lee-Kesler: {ratio:.2f}")
    done = len(history.outer_loss)
    ranked = {name: learners[name] for name in results.index}
    pictures = {
        "summary.png": summary(learner, ranked),
        "curves.png": plots.curve_page(
            {name: learners[name] for name in ON_THE_PAGE},
            fluids("test"),
            error=percent,
            label="error of the pressure [%]",
            most=5.0,
        ),
    }
    for name, figure in pictures.items():
        with atomically(out / name) as file:
            note = {"Description": f"mamlkit quickstart: seed {seed}, {done} iterations"}
            figure.savefig(file, dpi=100, format="png", metadata=note)
    with atomically(out / "table.csv") as file:
        results.to_csv(file)
    history.save(out / "history.json")
    save_learner(learner, out / "learner.npz", seed=seed, iterations=done)
    print(f"Written to {out}: summary.png, curves.png, table.csv, learner.npz, history.json")
    print(f"Done in {time.perf_counter() - start:.0f} s.")


def _fit(learner: MAML, seed: int, iterations: int | None, progress: bool) -> History:
    settings = {**SETTINGS, **({} if iterations is None else {"iterations": iterations})}
    history = meta_train(learner, fluids("train"), seed=seed, progress=progress, **settings)
    if history.interrupted:  # no table from a learner that is half trained
        raise KeyboardInterrupt
    return history
