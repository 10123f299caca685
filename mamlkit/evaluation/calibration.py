"""Is a learner as sure as it should be? Coverage of its intervals, and their correction."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.func import vmap

from mamlkit.checks import number, remade
from mamlkit.errors import MamlkitError
from mamlkit.evaluation.curves import check_learners, final_losses, half_width, new_tasks
from mamlkit.learners.beliefs import Belief, Gaussian, of_readings, there
from mamlkit.losses import Predict, mean_over
from mamlkit.tasks.base import Family, Shots, TaskBatch

if TYPE_CHECKING:
    import pandas as pd


def calibration(
    learners: Mapping[str, Any],
    family: Family,
    shots: Shots = 10,
    levels: Sequence[float] = (0.5, 0.9),
    *,
    n_tasks: int | None = None,
    queries: int | None = None,
    seed: int = 1,
) -> pd.DataFrame:
    """How often does the truth lie in the intervals of learners, on the same new tasks?

    Points of one task are wrong together, so each task counts as one: figures are means over tasks
    of the task's own mean, and the 95 % half widths are over tasks.
    Taught in notebook 07.

    Args:
        learners: by name; each with ``adapt(x, y) -> predict`` and ``predict.distribution(x)``.
        family, shots, n_tasks, queries, seed: as for :func:`mamlkit.evaluate`.
        levels: of the central intervals of the Gaussian; 0.9 means from 5 % to 95 %.

    Returns:
        one row a learner. For each level such as 0.9: ``coverage_90``, its half width ``ci95_90``,
        and ``width_90``, the width of the interval in units of y. Then ``nll``, the negative log
        likelihood a point, ``rmse``, and their half widths ``nll_ci95``, ``rmse_ci95``.
    """
    import pandas as pd

    check_learners("calibration()", learners)
    levels = [levels] if isinstance(levels, int | float) else list(levels)
    if not levels or not all(0 < number("level", level) < 1 for level in levels):
        raise MamlkitError(f"levels must lie between 0 and 1, such as (0.5, 0.9), not {levels!r}.")
    batch = new_tasks(family, shots, n_tasks, queries, seed)
    rows = {}
    for name, learner in learners.items():
        mean, variance = beliefs(learner, batch)  # [n_tasks, m, d_out]
        error, std = batch.query.y - mean, variance.sqrt()

        def over_points(values: Tensor) -> Tensor:  # [n_tasks, m, d_out] -> [n_tasks]
            return vmap(mean_over)(values, there(batch.query))

        row = {}
        for level in levels:
            reach = NormalDist().inv_cdf((1 + level) / 2) * std
            inside = over_points((error.abs() <= reach).double())
            percent = f"{100 * level:g}"
            row[f"coverage_{percent}"] = float(inside.mean())
            row[f"ci95_{percent}"] = float(half_width(inside))
            row[f"width_{percent}"] = float(2 * over_points(reach).mean())
        nll = over_points((2 * math.pi * variance).log() + error**2 / variance) / 2
        rmse = over_points(error**2).sqrt()
        for key, each in {"nll": nll, "rmse": rmse}.items():
            row |= {key: float(each.mean()), f"{key}_ci95": float(half_width(each))}
        rows[name] = row
    return pd.DataFrame.from_dict(rows, orient="index")


class Recalibrated:
    """A learner whose variances are multiplied by one number: ``scale * (variance + floor^2)``.

    Args:
        learner: anything whose ``adapt`` gives a prediction with ``.distribution``.
        scale: the factor, > 0.
        floor: standard deviation added before, in units of ``y``.
    """

    def __init__(self, learner: Any, scale: float, floor: float = 0.0) -> None:
        self.learner, self.told = learner, getattr(learner, "told", ())
        self.scale, self.floor = number("scale", scale, positive=True), number("floor", floor)

    @remade
    def adapt(self, x: Any, y: Tensor | None = None, **told: Any) -> Belief:
        """Adapt the learner; the mean is as before."""
        predict = self.learner.adapt(x, y, **told)
        # A factor on all variances leaves the best place to measure where it was.
        gain, noise = getattr(predict, "gain", None), getattr(predict, "noise", 0.0)
        noise = self.scale**0.5 * noise
        return Belief(lambda x_new: self.corrected(predict.distribution(x_new)), gain, noise)

    def corrected(self, given: Gaussian) -> Gaussian:
        """The same mean, with the corrected variance."""
        return Gaussian(given.mean, self.scale * (given.variance + self.floor**2))


class Banded:
    """A learner that does not say how sure it is, with one variance for all its predictions.

    Args:
        learner: anything with ``adapt``.
        variance: of a reading about the prediction, ``[d_out]``.
    """

    def __init__(self, learner: Any, variance: Tensor) -> None:
        self.learner, self.variance = learner, variance

    @remade
    def adapt(self, x: Any, y: Tensor | None = None) -> Belief:
        """Adapt the learner, and put the band about it."""
        predict = self.learner.adapt(x, y)

        def distribution(x_new: Tensor) -> Gaussian:
            mean = predict(x_new)
            return Gaussian(mean, self.variance.to(mean).expand_as(mean))

        return Belief(distribution)


def recalibrate(
    learner: Any,
    validation: Family,
    shots: Shots = 10,
    *,
    floor: float = 0.0,
    n_tasks: int | None = None,
    queries: int | None = None,
    seed: int = 2,
) -> Recalibrated:
    """Choose one factor for all variances on *validation* tasks, by maximum likelihood: the mean
    squared error in units of the standard deviation, ``mean((y - m)^2 / (v + floor^2))``.

    Above 1, the learner was too sure of itself. A ``floor`` (in units of y) helps where members of
    an ensemble agree by chance: a few tiny variances would otherwise set the factor. The other
    arguments are those of :func:`mamlkit.evaluate`.
    Taught in notebook 07.
    """
    batch = new_tasks(validation, shots, n_tasks, queries, seed)
    mean, variance = beliefs(learner, batch)
    square = (batch.query.y - mean) ** 2 / (variance + number("floor", floor) ** 2)
    scale = vmap(mean_over)(square, there(batch.query)).mean()
    return Recalibrated(learner, float(scale), floor)


@torch.no_grad()
def beliefs(learner: Any, batch: TaskBatch) -> Gaussian:
    """Adapt to each task and predict its query: ``[n_tasks, m, d_out]`` each, float64.

    Raises:
        MamlkitError: if the predictions have no ``.distribution``, or a variance that is none.
    """
    if isinstance(learner, Recalibrated):
        return learner.corrected(beliefs(learner.learner, batch))

    def ask(predict: Predict, query: Any) -> Tensor:
        asker = f"calibration of {type(learner).__name__}"
        return torch.stack(tuple(of_readings(predict, query, asker)))  # [2, m, d_out]

    found = final_losses(learner, batch, ask)  # [n_tasks, 2, m, d_out]
    if not (torch.isfinite(found).all() and (found[:, 1] > 0).all()):
        raise MamlkitError(
            f"{type(learner).__name__} gives a prediction that is not finite, or a variance that "
            "is not above zero."
        )
    return Gaussian(*found.unbind(1))
