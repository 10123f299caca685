"""What a learner must beat: zero, mean curve, pooled, from scratch, classical fits, closed forms.

Each has ``adapt(x, y) -> predict``. What learns from training tasks does so in ``fit``, from the
same family that the meta-learner is trained on.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Sequence
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from mamlkit.checks import as_points, count, fresh_generator, number
from mamlkit.errors import MamlkitError
from mamlkit.learners.base import Weights, run_model
from mamlkit.learners.beliefs import Belief, Gaussian
from mamlkit.learners.checking import as_data, as_numbers, check_model, check_size
from mamlkit.learners.maml import MAML
from mamlkit.losses import Loss, Predict, mse
from mamlkit.tasks.base import Data, Family, Physics, check_family


def Pooled(model: nn.Module, inner_lr: float = 0.01, inner_steps: int = 1, **settings: Any) -> MAML:
    """One model for all tasks, trained with :func:`mamlkit.meta_train` like any other and then
    fine-tuned by the same inner loop: MAML whose whole weight lies on the loss *before* any step.
    """
    return MAML(model, inner_lr, inner_steps, step_weights=[1.0] + [0.0] * inner_steps, **settings)


class Zero:
    """Predicts zero whatever it is shown.

    Args:
        d_out: number of outputs; needed for classification (the number of ways), else that of y.
    """

    def __init__(self, d_out: int | None = None) -> None:
        self.d_out = None if d_out is None else count("d_out", d_out)

    def adapt(self, x: Any, y: Tensor | None = None) -> Predict:
        """Ignore the support."""
        known: Any = getattr(as_data(x, y), "y", None)
        if self.d_out is None and (known is None or known.ndim < 2):
            given = "nothing called y" if known is None else f"labels y {list(known.shape)}"
            raise MamlkitError(
                f"the support holds {given}, so the number of outputs is not known; "
                "use Zero(d_out=ways)."
            )
        d_out = known.shape[-1] if self.d_out is None else self.d_out
        return lambda x_new: x_new.new_zeros(len(x_new), d_out)


class FromScratch:
    """Trains ``model`` anew on the support of each task, with Adam, from its own random start.

    Args:
        model: the network; its weights are the start.
        lr: learning rate of Adam.
        steps: number of Adam steps. Tune both on validation tasks.
        loss: training loss.
    """

    def __init__(
        self, model: nn.Module, lr: float = 0.01, steps: int = 100, loss: Loss = mse
    ) -> None:
        check_model(model)
        number("lr", lr, positive=True)
        count("steps", steps, least=0)
        self.model, self.lr, self.steps, self.loss = copy.deepcopy(model), lr, steps, loss

    def adapt(self, x: Any, y: Tensor | None = None) -> Predict:
        """Train on one task's points ``x [n, d_in]``, ``y [n, d_out]``, or one NamedTuple."""
        data = as_data(x, y, dict(self.model.named_parameters()))
        if hasattr(data, "x"):
            check_size(self.model, data.x)
            run_model(self.model, {}, data.x)
        stacked = self.adapt_tasks(type(data)(*(leaf[None] for leaf in data)))
        weights = {name: w[0] for name, w in stacked.items()}
        like = next(self.model.parameters())
        return lambda x_new: run_model(self.model, weights, x_new.to(like)).to(x_new)

    def adapt_tasks(self, support: Any) -> Weights:
        """Train on many tasks side by side, one network each: leaves ``[n_tasks, ...]`` of the
        model's type. Adam acts on each weight by itself, so this is one task after another.
        Returns the weights, ``[n_tasks, ...]`` each.
        """
        n_tasks = len(support[0])
        weights = {
            name: w.detach().expand(n_tasks, *w.shape).clone().requires_grad_()
            for name, w in self.model.named_parameters()
        }

        def task_loss(w: Weights, data: Any) -> Tensor:
            return self.loss(lambda x: functional_call(self.model, w, (x,)), data)

        optimiser = torch.optim.Adam(weights.values(), lr=self.lr)
        for _ in range(self.steps):
            optimiser.zero_grad()
            torch.autograd.backward(vmap(task_loss)(weights, support).sum())
            optimiser.step()
        return {name: w.detach() for name, w in weights.items()}


def polynomial(degree: int = 1) -> Callable[[Tensor], Tensor]:
    """Features x^degree, .., x, 1 of one input: ``[n, 1] -> [n, degree + 1]``."""
    return lambda x: torch.cat([x**k for k in range(degree, -1, -1)], dim=-1)


class Ridge:
    """Least squares on features with a penalty on the squared coefficients:
    minimises ``|y - phi(x) w|^2 + penalty |w|^2``.

    Args:
        penalty: 0 is least squares; with too few points, the shortest of all exact fits.
        features: map ``[n, d_in] -> [n, p]``; a straight line by default.
    """

    def __init__(
        self, penalty: float = 1.0, features: Callable[[Tensor], Tensor] | None = None
    ) -> None:
        self.penalty, self.features = number("penalty", penalty), features or polynomial(1)

    def adapt(self, x: Any, y: Tensor | None = None) -> Predict:
        """Fit ``x [n, d_in]``, ``y [n, d_out]``."""
        x, y = as_numbers(x, y)
        phi = self.features(x)  # [n, p]
        if self.penalty == 0:
            w = torch.linalg.pinv(phi) @ y  # [p, d_out]
        else:
            eye = torch.eye(phi.shape[1], dtype=phi.dtype, device=phi.device)
            w = torch.linalg.solve(phi.T @ phi + self.penalty * eye, phi.T @ y)
        return lambda x_new: self.features(x_new.to(w.dtype)) @ w


def LeastSquares(features: Callable[[Tensor], Tensor] | None = None) -> Ridge:
    """Ordinary least squares: :class:`Ridge` without a penalty."""
    return Ridge(0.0, features)


class Bayes:
    """The posterior mean of a linear law with a known Gaussian prior w ~ N(mean, covariance) and
    known noise: w = mean + (Phi^T Phi / s^2 + C^-1)^-1 Phi^T (y - Phi mean) / s^2. No estimate has
    a smaller expected squared error.

    Args:
        mean: prior mean ``[p]``.
        covariance: prior covariance ``[p, p]``.
        noise: standard deviation of the noise on ``y``, > 0.
        features: map ``[n, d_in] -> [n, p]``; a straight line by default.
    """

    def __init__(
        self,
        mean: Tensor | Sequence[float],
        covariance: Tensor | Sequence[Sequence[float]],
        noise: float,
        features: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        self.mean = torch.as_tensor(mean, dtype=torch.float64)
        self.covariance = torch.as_tensor(covariance, dtype=torch.float64)
        self.noise, self.features = number("noise", noise, positive=True), features or polynomial(1)
        if self.mean.ndim != 1 or self.covariance.shape != (len(self.mean), len(self.mean)):
            raise MamlkitError(
                f"Bayes needs a mean [p] and a covariance [p, p], but they have shapes "
                f"{list(self.mean.shape)} and {list(self.covariance.shape)}."
            )

    @classmethod
    def fit(
        cls,
        family: Family,
        n_tasks: int = 50,
        shots: int = 10,
        *,
        seed: int = 0,
        features: Callable[[Tensor], Tensor] | None = None,
    ) -> Self:
        """Empirical Bayes: estimate prior and noise by moments from noisy training tasks.

        Each task gets least squares; the scatter of the estimates, less what the noise alone would
        give, is the prior covariance (negative directions set to zero).
        """
        features = features or polynomial(1)
        _check_family("Bayes", family)
        support = family.sample(
            n_tasks, shots, generator=fresh_generator(seed), dtype=torch.float64
        ).support
        phi = vmap(features)(support.x)  # [n_tasks, shots, p]
        p = phi.shape[-1]
        if shots <= p or n_tasks < 2:
            raise MamlkitError(
                f"empirical Bayes needs at least two tasks of more than {p} shots each; got "
                f"{n_tasks} tasks of {shots}."
            )
        w = torch.linalg.pinv(phi) @ support.y  # [n_tasks, p, 1]
        residual = support.y - phi @ w
        variance = (residual**2).sum() / (n_tasks * (shots - p))
        scatter = w[..., 0].T.cov()  # [p, p]
        from_noise = variance * torch.linalg.inv(phi.mT @ phi).mean(0)
        values, vectors = torch.linalg.eigh(scatter - from_noise)
        covariance = vectors @ torch.diag(values.clamp(min=1e-12)) @ vectors.T
        return cls(w.mean(0)[:, 0], covariance, max(float(variance.sqrt()), 1e-9), features)

    def adapt(self, x: Any, y: Tensor | None = None) -> Belief:
        """The posterior given ``x [n, d_in]``, ``y [n, 1]``: mean and variance of the law."""
        x, y = _one_output("Bayes", x, y)
        phi = self.features(x).double()  # [n, p]
        gram = phi @ self.covariance @ phi.T + self.noise**2 * torch.eye(len(phi)).double()
        gain = torch.linalg.solve(gram, phi @ self.covariance).T  # [p, n]
        w = self.mean + gain @ (y[:, 0].double() - phi @ self.mean)  # [p]
        covariance = self.covariance - gain @ phi @ self.covariance  # [p, p]

        def distribution(x_new: Tensor) -> Gaussian:
            phi = self.features(x_new).double()  # [m, p]
            # Rounding leaves less than nothing where all is known; as `fit`, not below 1e-9.
            variance = ((phi @ covariance) * phi).sum(1).clamp(min=1e-18)
            return Gaussian((phi @ w)[:, None].to(x.dtype), variance[:, None].to(x.dtype))

        return Belief(distribution)


class MeanCurve:
    """The mean of the training curves, whatever the support says (one-dimensional families)."""

    def __init__(self, x: Tensor, y: Tensor) -> None:
        self.x, self.y = x[:, 0].numpy(), y.numpy()  # [points], [points, d_out]

    @classmethod
    def fit(cls, family: Family, n_tasks: int = 1000, *, seed: int = 0) -> Self:
        """From ``n_tasks`` training curves; of a finite family, from all."""
        x, y, _ = training_curves(family, n_tasks, seed)
        return cls(x, y.mean(0))

    def adapt(self, x: Any, y: Tensor | None = None) -> Predict:
        """Ignore the support."""
        x, y = as_numbers(x, y)
        return lambda x_new: interpolate(x_new, self.x, self.y)


class LinearLatent:
    """One number z a task: y(x) = m(x) + z v(x), with the mean curve m and the first principal
    component v of the training curves, and z by least squares on the support.
    """

    def __init__(self, x: Tensor, mean: Tensor, component: Tensor) -> None:
        self.x, self.mean, self.component = x[:, 0].numpy(), mean.numpy(), component.numpy()

    @classmethod
    def fit(cls, family: Family, n_tasks: int = 1000, *, seed: int = 0) -> Self:
        """From ``n_tasks`` training curves; of a finite family, from all."""
        x, y, _ = training_curves(family, n_tasks, seed)
        mean = y.mean(0)
        _, _, components = torch.linalg.svd((y - mean).flatten(1), full_matrices=False)
        return cls(x, mean, components[0].reshape(mean.shape))

    def latent(self, x: Tensor, y: Tensor) -> Tensor:
        """The number z of one task, from its support."""
        v = interpolate(x, self.x, self.component)
        return (v * (y - interpolate(x, self.x, self.mean))).sum() / (v * v).sum()

    def adapt(self, x: Any, y: Tensor | None = None) -> Predict:
        """Find z from ``x [n, 1]``, ``y [n, d_out]``."""
        x, y = as_numbers(x, y)
        z = self.latent(x, y)
        return lambda x_new: (
            interpolate(x_new, self.x, self.mean) + z * interpolate(x_new, self.x, self.component)
        )


class GaussianProcess:
    """A Gaussian process about the mean training curve, with a linear and a squared-exponential
    kernel and noise; their sizes are found by maximum likelihood on training curves
    (scikit-learn), then held fixed.

    Args:
        mean: the mean curve.
        kernel: the fitted scikit-learn kernel, signal + noise.
        inputs: map of the input before the kernel sees it, ``[n, 1] -> [n, p]``.
    """

    def __init__(self, mean: MeanCurve, kernel: Any, inputs: Callable[[Tensor], Tensor]) -> None:
        self.mean, self.kernel, self.inputs = mean, kernel, inputs

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
        from sklearn.gaussian_process.kernels import (
            RBF,
            ConstantKernel,
            DotProduct,
            WhiteKernel,
        )

        inputs = inputs or (lambda x: x)
        _check_family("GaussianProcess", family)
        x, y, _ = training_curves(family, n_tasks, seed)
        mean = MeanCurve(x, y.mean(0))
        keep = torch.linspace(0, len(x) - 1, min(points, len(x))).round().long()
        residual = (y - y.mean(0))[:, keep, 0].T.numpy()  # [points, n_tasks]: one kernel for all
        at = inputs(x[keep]).numpy()
        width, size = float(np.ptp(at)), max(float(residual.var()), noise**2)
        sizes = (1e-6 * size, 1e6 * size)
        linear = ConstantKernel(size, sizes) * DotProduct(0.0, "fixed")
        smooth = ConstantKernel(size, sizes) * RBF(width / 4, (width / 100, 100 * width))
        white = WhiteKernel(2 * noise**2, (noise**2, max(size, 4 * noise**2)))
        process = GaussianProcessRegressor(linear + smooth + white, random_state=seed)
        with warnings.catch_warnings():  # a size at the edge of its range is an answer, not a fault
            warnings.simplefilter("ignore", ConvergenceWarning)
            process.fit(at, residual)
        return cls(mean, process.kernel_, inputs)

    def adapt(self, x: Any, y: Tensor | None = None) -> Belief:
        """Condition on ``x [n, 1]``, ``y [n, 1]``; mean and variance of the law, the fitted noise
        not included.
        """
        from sklearn.gaussian_process import GaussianProcessRegressor

        x, y = _one_output("GaussianProcess", x, y)
        mean = self.mean.adapt(x, y)
        signal, noise = self.kernel.k1, self.kernel.k2.noise_level
        process = GaussianProcessRegressor(signal, alpha=noise, optimizer=None)
        process.fit(self.inputs(x.double()).numpy(), (y - mean(x))[:, 0].double().numpy())

        def distribution(x_new: Tensor) -> Gaussian:
            at = self.inputs(x_new.double()).numpy()
            with warnings.catch_warnings():  # rounding leaves less than nothing where all is known
                warnings.filterwarnings("ignore", "Predicted variances smaller than 0")
                found = process.predict(at, return_std=True)
            residual, deviation = (torch.as_tensor(part)[:, None] for part in found)
            y_new = mean(x_new) + residual.to(x_new.dtype)
            return Gaussian(y_new, (deviation**2).to(x_new.dtype))

        return Belief(distribution)


def _check_family(name: str, family: Family) -> None:
    if family.d_out != 1:
        raise MamlkitError(f"{name} takes families with one output, but d_out={family.d_out}.")


def _one_output(name: str, x: Any, y: Tensor | None) -> Data:
    data = as_numbers(x, y)
    if data.y.shape[1] != 1:
        raise MamlkitError(f"{name} takes one output, y [n, 1], but y is {list(data.y.shape)}.")
    return data


def training_curves(family: Family, n_tasks: int, seed: int) -> tuple[Tensor, Tensor, Physics]:
    """Noise-free training curves on one grid; of a finite family each member once."""
    check_family(family)
    n_tasks = min(count("n_tasks", n_tasks), family.n_members or n_tasks)
    return family.curves(n_tasks, generator=fresh_generator(seed))


def interpolate(x_new: Tensor, x: Any, y: Any) -> Tensor:
    """Linear interpolation of columns: ``x_new [m, 1]``, ``x [p]``, ``y [p, d_out]``."""
    if not as_points("x", x_new).is_floating_point():
        x_new = x_new.to(torch.get_default_dtype())
    if x_new.shape[1] != 1:
        raise MamlkitError(f"x has {x_new.shape[1]} columns; this yardstick takes one, [n, 1].")
    at = x_new[:, 0].double().numpy()
    columns = [np.interp(at, x, y[:, j]) for j in range(y.shape[1])]
    return torch.as_tensor(np.stack(columns, axis=1)).to(x_new.dtype)
