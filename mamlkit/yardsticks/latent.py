"""What all tasks have in common, learned from training tasks: a mean curve, a few directions in
which tasks differ from it, a covariance. The yardsticks that use it in closed form.

A family with a law gives curves without noise on one grid; a :class:`mamlkit.tasks.Table` gives the
readings that there are, and curves are then made of smooth features of x.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor

from mamlkit.checks import as_points, count, fresh_generator, remade
from mamlkit.errors import MamlkitError
from mamlkit.learners.beliefs import Belief, Gaussian
from mamlkit.learners.checking import as_numbers
from mamlkit.losses import Predict
from mamlkit.tasks.base import Family, Physics
from mamlkit.tasks.table import Table
from mamlkit.yardsticks.general import (
    Bayes,
    check_numbers,
    check_one_output,
    one_output,
    readings_of,
)

Curve = Callable[[Tensor], Tensor]  # x [m, d_in] -> [m, d_out]


class MeanCurve:
    """The mean of the training curves, whatever the support says.

    Args:
        curve: ``x [m, d_in] -> [m, d_out]``.
    """

    def __init__(self, curve: Curve) -> None:
        self.curve = curve

    @classmethod
    def fit(cls, family: Family, n_tasks: int = 1000, *, seed: int = 0) -> Self:
        """From ``n_tasks`` training curves; of a finite family, from all; of a table, from its
        readings.
        """
        if isinstance(family, Table):
            return cls(ProbabilisticPCA.fit(family, 0).mean)
        x, y, _ = training_curves(family, n_tasks, seed)
        return cls(on_grid(x, y.mean(0)))

    @remade
    def adapt(self, x: Any, y: Tensor | None = None) -> Predict:
        """Ignore the support."""
        as_numbers(x, y, least=0)
        return self.curve


class LinearLatent:
    """One number z a task: y(x) = m(x) + z v(x), with the mean curve m and the first principal
    component v of the training curves, and z by least squares on the support.
    Taught in notebook 20.
    """

    def __init__(self, mean: Curve, component: Curve) -> None:
        self.mean, self.component = mean, component

    @classmethod
    def fit(cls, family: Family, n_tasks: int = 1000, *, seed: int = 0) -> Self:
        """From ``n_tasks`` training curves; of a finite family, from all; of a table, from its
        readings by :class:`ProbabilisticPCA`.
        """
        if isinstance(family, Table):
            found = ProbabilisticPCA.fit(family, 1)
            return cls(found.mean, found.first)
        x, y, _ = training_curves(family, n_tasks, seed)
        mean = y.mean(0)
        _, sizes, components = torch.linalg.svd((y - mean).flatten(1), full_matrices=False)
        # Curves that are all alike differ in no direction, and not in one that rounding made.
        own = components[0] * (sizes[0] > 1e-12 * mean.norm())
        return cls(on_grid(x, mean), on_grid(x, own.reshape(mean.shape)))

    def latent(self, x: Tensor, y: Tensor, weight: Tensor | float = 1.0) -> Tensor:
        """The number z of one task, from its support."""
        v = self.component(x)
        size = (weight * v * v).sum()  # 0 where no z makes a difference
        return (weight * v * (y - self.mean(x))).sum() / size.clamp(min=torch.finfo(v.dtype).tiny)

    @remade
    def adapt(self, x: Any, y: Tensor | None = None) -> Predict:
        """Find z from ``x [n, 1]``, ``y [n, d_out]``."""
        x, y, weight = as_numbers(x, y)
        z = self.latent(x, y, weight)
        return lambda x_new: self.mean(x_new) + z * self.component(x_new)


class Smooth(NamedTuple):
    """Smooth features of inputs: 1, x, and Gaussian bumps about ``centres [p, d_in]``, all of x in
    units of ``width [d_in]`` about ``middle [d_in]``. Beyond the data, where bumps end, what is
    made of them is a straight line.
    """

    middle: Tensor
    width: Tensor
    centres: Tensor
    reach: float

    @classmethod
    def fit(cls, x: Tensor, bumps: int = 8) -> Self:
        """Bumps where the points ``x [n, d_in]`` are, by k-means."""
        from sklearn.cluster import KMeans

        middle, width = x.mean(0), x.std(0, correction=0)
        width = width.where(width > 0, 1.0)
        at = (x - middle) / width
        different = torch.unique(at, dim=0)
        bumps = min(bumps * x.shape[1], len(different))
        found = KMeans(bumps, n_init=4, random_state=0).fit(at.numpy()).cluster_centers_
        centres = torch.as_tensor(found, dtype=x.dtype)
        apart = torch.cdist(centres, centres).fill_diagonal_(torch.inf).amin(1)
        reach = float(2 * apart.median()) if bumps > 1 else 1.0
        return cls(middle, width, centres, reach)

    def standard(self, x: Tensor) -> Tensor:
        """x in units of its own spread, ``[.., d_in]``."""
        return (x.to(self.middle) - self.middle) / self.width

    def __call__(self, x: Tensor) -> Tensor:
        """``[.., d_in] -> [.., 1 + d_in + p]``."""
        at = self.standard(x)
        square = (at[..., None, :] - self.centres).square().sum(-1)
        bumps = torch.exp(-0.5 * square / self.reach**2)
        return torch.cat([torch.ones_like(at[..., :1]), at, bumps], dim=-1)


class ProbabilisticPCA:
    """A few numbers z a task with a Gaussian prior: y(x) = m(x) + sum_j z_j v_j(x) + noise, with
    z ~ N(0, 1). Mean m and directions v_j are sums of smooth features and are found by expectation
    and maximisation, so that readings may be ragged and have error bars (Tipping and Bishop 1999,
    J. R. Stat. Soc. B 61, 611, with entries missing); z then has a posterior in closed form.
    Taught in notebook 13.

    Args:
        features: the smooth features, ``[.., d_in] -> [.., p]``.
        loadings: coefficients of mean and directions, ``[1 + latents, d_out, p]``.
        noise: standard deviation of a reading of weight 1, ``[d_out]``.
    """

    def __init__(self, features: Smooth, loadings: Tensor, noise: Tensor) -> None:
        self.features, self.loadings, self.noise = features, loadings, noise

    @classmethod
    def fit(
        cls,
        family: Family,
        latents: int = 1,
        n_tasks: int = 100,
        shots: int = 20,
        *,
        bumps: int = 8,
        steps: int = 200,
        seed: int = 0,
    ) -> Self:
        """From all readings of a table; from ``n_tasks`` tasks of ``shots`` of another family.

        ``bumps`` is the number of smooth features an input; ``steps`` those of the iteration.
        """
        x, y, weight = readings_of(family, n_tasks, shots, seed)
        count("latents", latents, least=0)
        there = (weight > 0).any(-1)
        features = Smooth.fit(x[there], bumps)
        phi, weight = features(x), weight.expand_as(y)
        n_tasks, p, d_out = len(x), phi.shape[-1], y.shape[-1]
        total, number = weight.sum((0, 1)), (weight > 0).sum((0, 1))  # [d_out]
        mean = (weight * y).sum((0, 1)) / total
        y = y - mean  # or a large one would hide in its rounding what tells tasks apart
        variance = (weight * y**2).sum((0, 1)) / total  # [d_out]
        for least in ((1e-6 * mean) ** 2, torch.ones_like(mean)):  # where all is the same
            variance = variance.where(variance > 0, least)
        # All that is needed of the readings, of each task and output: Phi^T W Phi and Phi^T W y.
        gram = torch.einsum("tnp,tno,tnq->topq", phi, weight, phi)
        right = torch.einsum("tnp,tno->top", phi, weight * y)
        square = (weight * y**2).sum((0, 1))
        # Bumps are as large as y at most; 1 and x are as they are.
        prior = torch.ones(p, dtype=y.dtype).index_fill(0, torch.arange(1 + x.shape[-1]), 1e-6)
        most = variance * total / number  # of a reading of weight 1, if nothing is explained
        noise = 0.1 * most  # a variance, [d_out]
        size = (1 + latents) * p
        loadings = _first_guess(gram, right, prior * (noise / variance)[:, None], latents)
        eye = torch.eye(latents, dtype=y.dtype)
        for _ in range(steps):
            z, spread = _posterior(loadings, noise, gram, right, eye)
            one = torch.cat([torch.ones(n_tasks, 1, dtype=y.dtype), z], dim=1)  # [t, 1 + k]
            moment = one[:, :, None] * one[:, None]  # E[(1, z)(1, z)^T]
            moment[:, 1:, 1:] += spread
            whole = torch.einsum("tij,topq->oipjq", moment, gram).reshape(d_out, size, size)
            pull = torch.einsum("ti,top->oip", one, right).reshape(d_out, size)
            penalty = (noise / variance)[:, None] * prior.repeat(1 + latents)
            found = torch.linalg.solve(whole + torch.diag_embed(penalty), pull)  # [o, size]
            error = square - 2 * (found * pull).sum(1)
            error = error + torch.einsum("oi,oij,oj->o", found, whole, found)
            noise = torch.maximum(error / number, 1e-12 * most)
            loadings = found.reshape(d_out, 1 + latents, p).transpose(0, 1)
        loadings[0, :, 0] += mean
        return cls(features, loadings, noise.sqrt())

    def mean(self, x: Tensor) -> Tensor:
        """m(x), ``[m, d_out]``."""
        return self._curves(x)[0]

    def directions(self, x: Tensor) -> Tensor:
        """v_j(x), ``[latents, m, d_out]``, each with a z of spread 1."""
        return self._curves(x)[1:]

    def first(self, x: Tensor) -> Tensor:
        """v_1(x), ``[m, d_out]``."""
        return self.directions(x)[0]

    def posterior(self, x: Any, y: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Mean ``[latents]`` and covariance ``[latents, latents]`` of z, given a support."""
        x, y, weight = (t.double() for t in as_numbers(x, y, least=0))
        phi, weight = self.features(x), weight.expand_as(y)
        gram = torch.einsum("np,no,nq->opq", phi, weight, phi)[None]
        right = torch.einsum("np,no->op", phi, weight * y)[None]
        eye = torch.eye(len(self.loadings) - 1, dtype=torch.float64)
        z, spread = _posterior(self.loadings, self.noise**2, gram, right, eye)
        return z[0], spread[0]

    @remade
    def adapt(self, x: Any, y: Tensor | None = None) -> Belief:
        """The curve given ``x [n, d_in]``, ``y [n, d_out]``: mean and variance of the law."""
        z, spread = self.posterior(x, y)

        def distribution(x_new: Tensor) -> Gaussian:
            curves = self._curves(x_new.double())  # [1 + k, m, d_out]
            mean = curves[0] + torch.einsum("k,kmo->mo", z, curves[1:])
            variance = torch.einsum("kmo,kl,lmo->mo", curves[1:], spread, curves[1:])
            variance = variance.clamp(min=1e-18 * self.noise**2)
            return Gaussian(mean.to(x_new), variance.to(x_new))

        return Belief(distribution, noise=self.noise)

    def _curves(self, x: Tensor) -> Tensor:
        return torch.einsum("...p,kop->k...o", self.features(x), self.loadings).to(x)


def _first_guess(gram: Tensor, right: Tensor, penalty: Tensor, latents: int) -> Tensor:
    """The pooled fit, and the principal directions in which the fit of each task departs from it:
    ``[1 + latents, d_out, p]``.
    """
    ridge = torch.diag_embed(penalty)  # [d_out, p, p]
    mean = torch.linalg.solve(gram.sum(0) + ridge, right.sum(0))  # [d_out, p]
    rest = right - torch.einsum("topq,oq->top", gram, mean)
    # A task of few readings departs in few ways: held to the mean as by one tenth of a reading.
    scale = gram.diagonal(dim1=-2, dim2=-1).mean((0, 2), keepdim=True)  # [1, d_out, 1]
    own = torch.linalg.solve(gram + torch.diag_embed(0.1 * scale.expand_as(rest)), rest)
    _, sizes, directions = torch.linalg.svd(own.flatten(1), full_matrices=False)
    found = min(latents, len(sizes))
    start = own.new_zeros(latents, *mean.shape)
    start[:found] = (sizes[:found, None] * directions[:found]).reshape(found, *mean.shape)
    return torch.cat([mean[None], start / len(own) ** 0.5])


def _posterior(
    loadings: Tensor, noise: Tensor, gram: Tensor, right: Tensor, eye: Tensor
) -> tuple[Tensor, Tensor]:
    """Mean ``[n_tasks, k]`` and covariance of z, from ``gram [n_tasks, d_out, p, p]`` and ``right
    [n_tasks, d_out, p]``; ``noise [d_out]`` is a variance.
    """
    mean, own = loadings[0], loadings[1:] / noise[:, None]
    precision = eye + torch.einsum("kop,topq,loq->tkl", own, gram, loadings[1:])
    rest = right - torch.einsum("topq,oq->top", gram, mean)
    spread = torch.linalg.inv(precision)
    return torch.einsum("tkl,lop,top->tk", spread, own, rest), spread


@remade
def standard_powers(degree: int, middle: float, width: float) -> Callable[[Tensor], Tensor]:
    """Features 1, u, .., u^degree of u = (x - middle) / width, the first input: ``[n, p]``."""

    def powers(x: Tensor) -> Tensor:
        u = (x[:, :1] - middle) / width
        return torch.cat([u**k for k in range(degree + 1)], dim=-1)

    return powers


def MixedEffects(family: Family, degree: int = 2, random: int = 1) -> Bayes:
    """A linear mixed-effects model by restricted maximum likelihood (statsmodels): a polynomial of
    ``degree`` in the first input, whose coefficients up to ``random`` differ from system to system
    by a Gaussian. It adapts by Bayes' rule, the best linear unbiased prediction.

    Raises:
        MamlkitError: if statsmodels is not installed, or does not come to an end.
    """
    try:
        from statsmodels.regression.mixed_linear_model import MixedLM
    except ImportError as error:
        raise MamlkitError(
            "mixed effects are fitted by statsmodels, which is not installed; "
            "pip install statsmodels."
        ) from error
    check_one_output("MixedEffects", family)
    x, y, weight = readings_of(family, 100, 20, 0)
    there = weight[..., 0] > 0
    at, groups = x[there][:, 0], there.nonzero()[:, 0].numpy()
    middle, width = at.mean(), at.std(correction=0).clamp(min=1e-300)
    size = float(y[there].std(correction=0)) or 1.0
    root = weight[there].sqrt()  # sqrt(w) y = sqrt(w) phi c + noise: again all alike
    unit = float(root.mean())
    root = root / unit

    features = standard_powers(degree, float(middle), float(width))
    phi = (root * features(x[there])).numpy()
    model = MixedLM((root * y[there])[:, 0].numpy() / size, phi, groups, phi[:, : random + 1])
    with warnings.catch_warnings():  # a variance of zero is an answer, not a fault
        warnings.simplefilter("ignore")
        try:
            found: Any = model.fit()
        except (np.linalg.LinAlgError, ValueError) as error:
            raise MamlkitError(f"statsmodels cannot fit the mixed effects: {error}.") from error
    covariance = np.zeros((degree + 1, degree + 1))
    covariance[: random + 1, : random + 1] = size**2 * np.asarray(found.cov_re)
    noise = unit * max(size * float(found.scale) ** 0.5, 1e-9 * size)
    return Bayes(torch.as_tensor(size * found.fe_params), torch.tensor(covariance), noise, features)


class GaussianProcess:
    """A Gaussian process about the mean training curve, with a linear and a squared-exponential
    kernel and noise; their sizes are found by maximum likelihood on training curves
    (scikit-learn), then held fixed.

    Args:
        mean: the mean curve.
        theta: logarithms of what was fitted: sizes of the linear and of the squared-exponential
            part, length, variance of the noise.
        inputs: map of the input before the kernel sees it, ``[n, d_in] -> [n, p]``; None leaves it.
    """

    def __init__(
        self, mean: MeanCurve, theta: Sequence[float], inputs: Callable[[Tensor], Tensor] | None
    ) -> None:
        self.mean, self.theta, self.inputs = mean, tuple(map(float, theta)), inputs

    @property
    def kernel(self) -> Any:
        """The fitted kernel of scikit-learn, signal + noise."""
        return _fitted(self.theta)

    def _at(self, x: Tensor) -> Any:
        return (x.double() if self.inputs is None else self.inputs(x.double())).numpy()

    @classmethod
    def fit(
        cls,
        family: Family,
        n_tasks: int = 100,
        *,
        points: int = 20,
        noise: float = 1e-3,
        inputs: Callable[[Tensor], Tensor] | None = None,
        seed: int = 0,
    ) -> Self:
        """From ``n_tasks`` training curves at ``points`` places.

        ``noise`` is the least standard deviation that the fit may assume. ``inputs`` may carry
        physics: ``lambda x: 1 / x - 1`` makes a vapour pressure curve nearly a straight line.
        """
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.gaussian_process import GaussianProcessRegressor
        from sklearn.gaussian_process.kernels import WhiteKernel

        check_one_output("GaussianProcess", family)
        if isinstance(family, Table):
            return cls._of_table(family, inputs)
        x, y, _ = training_curves(family, n_tasks, seed)
        mean = MeanCurve(on_grid(x, y.mean(0)))
        keep = torch.linspace(0, len(x) - 1, min(points, len(x))).round().long()
        residual = (y - y.mean(0))[:, keep, 0].T.numpy()  # [points, n_tasks]: one kernel for all
        at = (x if inputs is None else inputs(x))[keep].numpy()
        width, size = float(np.ptp(at)), max(float(residual.var()), noise**2)
        white = WhiteKernel(2 * noise**2, (noise**2, max(size, 4 * noise**2)))
        process = GaussianProcessRegressor(_signal(size, width) + white, random_state=seed)
        with warnings.catch_warnings():  # a size at the edge of its range is an answer, not a fault
            warnings.simplefilter("ignore", ConvergenceWarning)
            process.fit(at, residual)
        return cls(mean, process.kernel_.theta, inputs)

    @classmethod
    def _of_table(cls, table: Table, inputs: Callable[[Tensor], Tensor] | None) -> Self:
        """By maximum likelihood of the readings of each system, about the mean of all."""
        from scipy.linalg import cho_factor, cho_solve
        from scipy.optimize import minimize

        x, y, weight = table.every_reading()
        there = weight[..., 0] > 0
        found = ProbabilisticPCA.fit(table, 0)
        inputs = inputs or found.features.standard
        size = float(found.noise) ** 2  # of what the mean leaves, at weight 1
        at, rest = inputs(x), (y - found.mean(x))[..., 0]
        groups = [
            [t[i, own].numpy() for t in (at, rest, 1 / weight[..., 0])]
            for i, own in enumerate(there)
        ]
        width = float(np.ptp(at[there].numpy(), axis=0).max()) or 1.0
        spread = float(rest[there].var(correction=0)) or 1e-300
        signal = _signal(spread, width)
        start = np.append(signal.theta, math.log(0.1 * size))
        bounds = np.vstack([signal.bounds, np.log([1e-6 * size, 10 * size])])

        def cost(theta: Any) -> tuple[float, Any]:
            value, slope = 0.0, np.zeros_like(theta)
            kernel, noise = signal.clone_with_theta(theta[:-1]), math.exp(theta[-1])
            for at, residual, share in groups:
                matrix, parts = kernel(at, eval_gradient=True)
                white = np.diag(noise * share)
                factor = cho_factor(matrix + white, lower=True)
                alpha = cho_solve(factor, residual)
                value += 0.5 * residual @ alpha + np.log(np.diag(factor[0])).sum()
                inner = cho_solve(factor, np.eye(len(at))) - np.outer(alpha, alpha)
                parts = np.dstack([parts, white])
                slope += 0.5 * np.einsum("ij,ijk->k", inner, parts)
            return value, slope

        search: Any = minimize  # its types know no function with its gradient
        best = search(cost, start, jac=True, bounds=bounds, options={"maxiter": 50})
        return cls(MeanCurve(found.mean), best.x, inputs)

    @remade
    def adapt(self, x: Any, y: Tensor | None = None) -> Belief:
        """Condition on ``x [n, d_in]``, ``y [n, 1]``; mean and variance of the law, the fitted
        noise not included.
        """
        from scipy.linalg import cho_solve, cholesky, solve_triangular

        x, y, weight = one_output("GaussianProcess", x, y)
        x, y, weight = (t[weight[:, 0] > 0] for t in (x, y, weight))
        mean, known = self.mean.curve, self._at(x)
        signal, noise = self.kernel.k1, self.kernel.k2.noise_level
        if measured := len(x) > 0:  # else it predicts what it knew before
            white = np.diag(noise / weight[:, 0].double().numpy())
            lower = cholesky(signal(known) + white, lower=True)  # [n, n]
            pull = cho_solve((lower, True), (y - mean(x)).double().numpy())  # [n, 1]

        def distribution(x_new: Tensor) -> Gaussian:
            at, y_new = self._at(x_new), mean(x_new)
            variance = signal.diag(at)  # [m]
            if measured:
                across = signal(at, known)  # [m, n]
                told = solve_triangular(lower, across.T, lower=True)  # [n, m]
                y_new = y_new + torch.as_tensor(across @ pull).to(x_new.dtype)
                # Rounding leaves less than nothing where all is known.
                variance = (variance - (told**2).sum(0)).clip(min=0)
            return Gaussian(y_new, torch.as_tensor(variance)[:, None].to(x_new.dtype))

        return Belief(distribution, noise=noise**0.5)


def _signal(size: float, width: float) -> Any:
    """A linear and a squared-exponential kernel, with bounds about a variance and a length."""
    from sklearn.gaussian_process.kernels import RBF, ConstantKernel, DotProduct

    sizes = (1e-6 * size, 1e6 * size)
    linear = ConstantKernel(size, sizes) * DotProduct(0.0, "fixed")
    return linear + ConstantKernel(size, sizes) * RBF(width / 4, (width / 100, 100 * width))


@lru_cache  # scikit-learn takes longer to make it than to use it
def _fitted(theta: tuple[float, ...]) -> Any:
    """Signal + noise, their sizes as found."""
    from sklearn.gaussian_process.kernels import WhiteKernel

    return (_signal(1.0, 1.0) + WhiteKernel()).clone_with_theta(theta)


def training_curves(family: Family, n_tasks: int, seed: int) -> tuple[Tensor, Tensor, Physics]:
    """Noise-free training curves on one grid; of a finite family each member once."""
    check_numbers(family)
    n_tasks = min(count("n_tasks", n_tasks), family.n_members or n_tasks)
    return family.curves(n_tasks, generator=fresh_generator(seed))


@remade
def on_grid(x: Tensor, y: Tensor) -> Curve:
    """Linear interpolation between ``x [points, 1]`` and ``y [points, d_out]``."""
    at, values = x[:, 0].numpy(), y.numpy()
    return lambda x_new: interpolate(x_new, at, values)


def interpolate(x_new: Tensor, x: Any, y: Any) -> Tensor:
    """Linear interpolation of columns: ``x_new [m, 1]``, ``x [p]``, ``y [p, d_out]``."""
    if not as_points("x", x_new).is_floating_point():
        x_new = x_new.to(torch.get_default_dtype())
    if x_new.shape[1] != 1:
        raise MamlkitError(f"x has {x_new.shape[1]} columns; this yardstick takes one, [n, 1].")
    at = x_new[:, 0].double().numpy()
    columns = [np.interp(at, x, y[:, j]) for j in range(y.shape[1])]
    return torch.as_tensor(np.stack(columns, axis=1)).to(x_new.dtype)
