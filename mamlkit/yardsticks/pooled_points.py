"""Yardsticks for tasks whose points are alike across tasks: one regression for the points of all
tasks, and a correction for the task at hand.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from mamlkit.checks import number
from mamlkit.errors import MamlkitError
from mamlkit.tasks import Family
from mamlkit.yardsticks.general import one_output

Array = np.ndarray[Any, np.dtype[np.float64]]
#: What :meth:`Shifted.fit` tries for kappa.
KAPPAS = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)


def every_point(family: Family) -> tuple[Array, Array]:
    """All points of all members of a finite family: ``x [n_members, pool, d_in]`` and ``y
    [n_members, pool]``.
    """
    if family.members is None or family.pool is None:
        raise MamlkitError(
            f"{type(family).__name__} has tasks or points without end; all points of all tasks are "
            "there in a finite family with a pool, such as mk.tasks.LearningCurves()."
        )
    half = family.pool // 2
    batch = family.every(half, family.pool - half, generator=torch.Generator().manual_seed(0),
                         dtype=torch.float64)  # fmt: skip
    x, y = (torch.cat(pair, 1) for pair in zip(batch.query, batch.support, strict=True))
    return x.numpy(), y[..., 0].numpy()


class Shifted:
    """A regression for all tasks, and an offset for each, shrunk towards zero: the mean residual of
    K points times K / (K + kappa).

    That is Bayes' rule where offsets are N(0, tau^2) and residuals about them N(0, sigma^2), with
    kappa = sigma^2 / tau^2.

    Args:
        regress: the regression, numpy ``[n, d_in] -> [n]``, such as ``predict`` of scikit-learn.
        kappa: how many points the prior is worth.
    """

    def __init__(self, regress: Callable[[Array], Array], kappa: float) -> None:
        self.regress, self.kappa = regress, number("kappa", kappa, positive=True)

    @classmethod
    def fit(
        cls, regress: Callable[[Array], Array], validation: Family, shots: Sequence[int] = (2, 4, 8)
    ) -> Self:
        """With the one of :data:`KAPPAS` that has the least squared error on validation tasks,
        where the first points of each are given and the others asked for.
        """
        x, y = every_point(validation)
        rest = y - np.reshape(regress(x.reshape(-1, x.shape[-1])), y.shape)

        def cost(kappa: float) -> float:
            offsets = {k: rest[:, :k].sum(1, keepdims=True) / (k + kappa) for k in shots}
            return float(sum(((rest[:, max(shots) :] - o) ** 2).mean() for o in offsets.values()))

        return cls(regress, min(KAPPAS, key=cost))

    def adapt(self, x: Any, y: Tensor | None = None) -> Callable[[Tensor], Tensor]:
        """To ``x [n, d_in]``, ``y [n, 1]``; n may be 0."""
        x, y, _ = one_output("Shifted", x, y)
        offset = float((y - self._at(x)).sum()) / (len(x) + self.kappa)
        return lambda x_new: self._at(x_new) + offset

    def _at(self, x: Tensor) -> Tensor:
        found = self.regress(x.double().numpy()) if len(x) else np.zeros(0)
        return torch.as_tensor(np.reshape(found, (-1, 1)), dtype=x.dtype)


class TwoLevelProcess:
    """A Gaussian process for all tasks plus one of each task's own, of the same inputs: f(x) +
    g(x), with f shared and g drawn anew for every task (scikit-learn). It adapts by conditioning.

    Args:
        process: a process of scikit-learn that was fitted with the number of the task as its last
            input.
    """

    def __init__(self, process: Any) -> None:
        self.process = process

    @classmethod
    def fit(cls, train: Family, theta: Sequence[float] | None = None, n_tasks: int = 40) -> Self:
        """Fit to all points of training tasks.

        Args:
            train: the training tasks, a finite family.
            theta: logarithms of the sizes and lengths of the kernel; None finds them by maximum
                likelihood on ``n_tasks`` of the tasks, which takes about a minute.
            n_tasks: of how many.
        """
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.gaussian_process import GaussianProcessRegressor
        from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

        x, y = every_point(train)
        tasks, points, d = x.shape
        label = np.repeat(np.arange(tasks), points)
        z, target = np.column_stack([x.reshape(-1, d), label]), y.reshape(-1)

        def part(size: float, width: float, across: float) -> Any:  # lengths in x, and across tasks
            bounds = [(0.1, 100.0)] * d + [(across, 1.001 * across)]
            lengths = np.append(np.full(d, width), across)
            return ConstantKernel(size) * Matern(lengths, np.array(bounds), nu=1.5)

        kernel = part(1.0, 2.0, 1e6) + part(0.5, 4.0, 1e-2) + WhiteKernel(0.1)
        if theta is None:
            own = label < n_tasks
            with warnings.catch_warnings():  # a length at the edge of its range is an answer
                warnings.simplefilter("ignore", ConvergenceWarning)
                first = GaussianProcessRegressor(kernel, normalize_y=True).fit(z[own], target[own])
            theta = first.kernel_.theta
        kernel = kernel.clone_with_theta(np.array(theta))
        process = GaussianProcessRegressor(kernel, optimizer=None, normalize_y=True)
        return cls(process.fit(z, target))

    @property
    def theta(self) -> list[float]:
        """The logarithms of sizes and lengths of the kernel."""
        return [float(v) for v in self.process.kernel_.theta]

    def adapt(self, x: Any, y: Tensor | None = None) -> Callable[[Tensor], Tensor]:
        """Condition on ``x [n, d_in]``, ``y [n, 1]`` of a new task; n may be 0."""
        x, y, _ = one_output("TwoLevelProcess", x, y)
        k = len(x)

        def predict(x_new: Tensor) -> Tensor:
            z = torch.cat([x, x_new]).double()
            z = torch.cat([z, z.new_full((len(z), 1), -1.0)], 1)  # a task that is none of those
            mean, cov = self.process.predict(z.numpy(), return_cov=True)
            gain = np.linalg.solve(cov[:k, :k], cov[:k, k:])  # [k, m]
            found = mean[k:] + gain.T @ (y[:, 0].double().numpy() - mean[:k])
            return torch.as_tensor(found[:, None], dtype=x_new.dtype)

        return predict


def power_law(steps: Sequence[int], losses: Array, at: int) -> Array:
    """Where a curve a + b t^-c, with a and b not negative, through the losses of a run will be.

    Fitted by least squares of relative errors; c is scanned from 0.05 to 4.

    Args:
        steps: t, ``[n]``.
        losses: above zero, ``[.., n]``.
        at: the later step.
    """
    t, y = np.asarray(steps, dtype=np.float64), np.asarray(losses, dtype=np.float64)
    if y.shape[-1:] != t.shape or len(t) < 3 or not (y > 0).all():
        raise MamlkitError(
            f"power_law() needs losses above zero at three steps at least, [.., {len(t)}]; shape "
            f"{list(y.shape)} was given."
        )
    best = np.full(y.shape[:-1], np.inf)
    end = np.zeros(y.shape[:-1])
    w = 1 / y
    for c in np.geomspace(0.05, 4, 40):
        p = t**-c
        saa, sab, sbb = (w * w).sum(-1), (w * w * p).sum(-1), (w * w * p * p).sum(-1)
        sa, sb = w.sum(-1), (w * p).sum(-1)
        a = (sa * sbb - sb * sab) / (saa * sbb - sab**2)
        b = (sb * saa - sa * sab) / (saa * sbb - sab**2)
        a, b = np.where(b < 0, sa / saa, np.where(a < 0, 0, a)), np.where(a < 0, sb / sbb, b)
        b = np.maximum(b, 0)
        cost = ((w * (a[..., None] + b[..., None] * p) - 1) ** 2).sum(-1)
        end = np.where(cost < best, a + b * float(at) ** -c, end)
        best = np.minimum(cost, best)
    return end
