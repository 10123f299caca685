"""The main job, end to end: one boiling measurement of a fluid never seen, its whole curve."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from mamlkit import yardsticks
from mamlkit.evaluation.curves import compare, tune
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
    page = plots.curve_page(learner, fluids("test"))
    with atomically(out / "curves.png") as file:
        page.savefig(file, dpi=100, format="png")
    with atomically(out / "table.csv") as file:
        results.to_csv(file)
    history.save(out / "history.json")
    save_learner(learner, out / "learner.npz", seed=seed, iterations=len(history.outer_loss))
    print(f"Written to {out}: curves.png, table.csv, learner.npz, history.json")
    print(f"Done in {time.perf_counter() - start:.0f} s.")


def _fit(learner: MAML, seed: int, iterations: int | None, progress: bool) -> History:
    settings = {**SETTINGS, **({} if iterations is None else {"iterations": iterations})}
    history = meta_train(learner, fluids("train"), seed=seed, progress=progress, **settings)
    if history.interrupted:  # no table from a learner that is half trained
        raise KeyboardInterrupt
    return history
