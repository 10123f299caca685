"""Physics out of adapted learners: read a quantity off, name the law, notice what obeys none."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor

from mamlkit.checks import count, number
from mamlkit.errors import MamlkitError


class Readout(NamedTuple):
    """A linear map from what a task adapted (a context, a head) to physical quantities:
    value = latent @ weight + bias.

    Attributes:
        weight: ``[k, m]``, in units of the quantity by units of the latent.
        bias: ``[m]``, in units of the quantity.
    """

    weight: Tensor
    bias: Tensor

    @classmethod
    def fit(cls, latents: Tensor, values: Tensor) -> Self:
        """Least squares on labelled tasks: latents ``[n, k]``, true values ``[n, m]``, or ``[n]``
        each for one number; at least k + 1 tasks.
        """
        latents, values = _rows("latents", latents), _rows("values", values)
        n, k = latents.shape
        if len(values) != n:
            raise MamlkitError(f"{n} latents, but {len(values)} values; give one label a task.")
        if n <= k:
            raise MamlkitError(
                f"a readout of {k} numbers and a constant needs at least {k + 1} labelled tasks, "
                f"but {n} were given."
            )
        columns = torch.cat([latents, torch.ones_like(latents[:, :1])], dim=1)  # [n, k + 1]
        solution = torch.linalg.lstsq(columns, values, driver="gelsd").solution  # [k + 1, m]
        return cls(solution[:k], solution[k])

    def __call__(self, latents: Tensor) -> Tensor:
        """Latents ``[n, k]`` (or ``[n]``) to values ``[n, m]``."""
        return _rows("latents", latents) @ self.weight + self.bias


def r2(predicted: Tensor, true: Tensor) -> float:
    """Coefficient of determination over tasks: 1 - sum of squared errors / spread of the truth.

    Both ``[n]`` or ``[n, m]``; several quantities are averaged. It can be negative: worse than the
    mean.
    """
    from sklearn.metrics import r2_score

    predicted, true = _rows("predicted", predicted), _rows("true", true)
    if predicted.shape != true.shape or len(true) < 2:
        raise MamlkitError(
            f"r2() needs at least two tasks and equal shapes, but was given "
            f"{list(predicted.shape)} and {list(true.shape)}."
        )
    return float(r2_score(true.numpy(), predicted.numpy()))


class Law(NamedTuple):
    """A law as a sum of few terms.

    Attributes:
        terms: coefficient of each chosen term, the strongest contribution first.
        errors: cross-validated error with 1, 2, .. terms, root mean square, as a fraction of the
            spread of the target.
    """

    terms: dict[str, float]
    errors: list[float]

    def __str__(self) -> str:
        return " ".join(f"{c:+.3g} {name}" for name, c in self.terms.items())


def recover_law(
    library: Mapping[str, Tensor],
    target: Tensor,
    *,
    max_terms: int = 4,
    tolerance: float = 1e-3,
    folds: int = 5,
) -> Law:
    """Which few terms of a library make up ``target``? Sparse regression without a constant.

    For 1, 2, .. terms the best subset is found by trying all (terms of a physical library resemble
    each other, which leads greedy methods and the lasso astray). The smallest number is kept whose
    cross-validated error is below ``tolerance`` or within one standard error of the best.

    Args:
        library: values of each candidate term, ``[n]``, by name; for example ``{"1/r": 1 / r}``.
            Add a column of ones if a constant may belong to the law.
        target: what is to be explained, ``[n]``.
        max_terms: at most so many.
        tolerance: an error that is good enough, as a fraction of the spread of the target.
        folds: of the cross-validation. Points are dealt out in turn, so order them at random if
            neighbours are alike.
    """
    y = np.asarray(target.detach().double())
    if y.ndim != 1 or not library or any(v.shape != target.shape for v in library.values()):
        shapes = {name: list(v.shape) for name, v in library.items()}
        raise MamlkitError(
            f"recover_law() needs a target [n] and a library of terms [n], but was given a target "
            f"{list(target.shape)} and terms {shapes}."
        )
    names, folds = list(library), count("folds", folds, least=2)
    columns = np.stack([np.asarray(v.detach().double()) for v in library.values()], axis=1)
    size = np.sqrt((columns**2).mean(0))  # of each term, so that units do not matter
    if not (np.isfinite(columns).all() and np.isfinite(y).all() and size.all()):
        raise MamlkitError("the target and the terms must be finite, and no term zero everywhere.")
    most = min(count("max_terms", max_terms), len(names))
    tolerance = number("tolerance", tolerance)
    if len(y) < max(folds, 2 * most):
        raise MamlkitError(f"{len(y)} points are too few to choose among {most} terms; give more.")
    columns, fold = columns / size, np.arange(len(y)) % folds

    def fit(subset: tuple[int, ...], rows: Any = slice(None)) -> Any:
        return np.linalg.lstsq(columns[rows][:, subset], y[rows])[0]

    def missed(subset: tuple[int, ...], rows: Any, where: Any) -> float:
        return float(((columns[where][:, subset] @ fit(subset, rows) - y[where]) ** 2).mean())

    everywhere = slice(None)
    best = [
        min(combinations(range(len(names)), k), key=lambda s: missed(s, everywhere, everywhere))
        for k in range(1, most + 1)
    ]
    errors = np.array([[missed(s, fold != f, fold == f) for f in range(folds)] for s in best])
    relative = np.sqrt(errors.mean(1) / y.var())  # [most]
    least = errors[errors.mean(1).argmin()]
    enough = errors.mean(1) <= least.mean() + least.std(ddof=1) / folds**0.5
    chosen = best[int((enough | (relative <= tolerance)).argmax())]
    pairs = sorted(zip(chosen, fit(chosen), strict=True), key=lambda pair: -abs(pair[1]))
    return Law({names[j]: float(c / size[j]) for j, c in pairs}, relative.tolist())


class Detection(NamedTuple):
    """How well a score tells foreign tasks from known ones.

    Attributes:
        auc: area under the curve: the chance that a foreign task scores higher than a known one.
        false_alarms, detections: the curve, fractions of known and of foreign tasks flagged as the
            threshold falls.
        thresholds: the threshold of each point.
    """

    auc: float
    false_alarms: Tensor
    detections: Tensor
    thresholds: Tensor


def detection(known: Tensor, foreign: Tensor) -> Detection:
    """The receiver operating characteristic of a score, such as the support loss that is left after
    adaptation: scores of known tasks ``[n]`` and of foreign ones ``[m]``; higher is stranger.
    """
    from sklearn.metrics import roc_auc_score, roc_curve

    if known.ndim != 1 or foreign.ndim != 1 or not len(known) or not len(foreign):
        raise MamlkitError(
            f"detection() needs scores [n] of known and [m] of foreign tasks, but was given "
            f"{list(known.shape)} and {list(foreign.shape)}."
        )
    # A run that diverged is as strange as can be.
    scores = torch.cat([known, foreign]).double().nan_to_num(nan=torch.inf)
    scores = scores.clamp(max=torch.finfo(torch.float64).max)
    strange = np.repeat([0, 1], [len(known), len(foreign)])
    rates = roc_curve(strange, scores.numpy(), drop_intermediate=False)
    return Detection(float(roc_auc_score(strange, scores.numpy())), *map(torch.as_tensor, rates))


def _rows(name: str, value: Tensor) -> Tensor:
    value = value.detach()
    value = value[:, None] if value.ndim == 1 else value
    if value.ndim != 2 or not torch.isfinite(value).all():
        raise MamlkitError(f"{name} must be finite and [n, k], but {list(value.shape)} was given.")
    return value
