"""What a learner must beat: zero, mean curve, pooled, from scratch, classical fits, closed forms.

Each has ``adapt(x, y) -> predict``. What learns from training tasks does so in ``fit``, from the
same family that the meta-learner is trained on.
"""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from mamlkit.errors import MamlkitError
from mamlkit.learners.base import Adapted, Weights, as_data, as_points, check_model, run_model
from mamlkit.learners.maml import MAML
from mamlkit.learners.uncertainty import Belief, Gaussian
from mamlkit.losses import Loss, Predict, mse
from mamlkit.simulators import Simulator
from mamlkit.tasks.base import Data, Family, Physics, count, fresh_generator, number


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


def as_numbers(x: Any, y: Tensor | None) -> Data:
    """Check the points of one regression task and bring them to one floating-point type."""
    data = as_data(x, y)
    if not (hasattr(data, "x") and hasattr(data, "y")):
        raise MamlkitError(
            f"this yardstick fits points (x, y), but the data are {type(data).__name__} with "
            f"{data._fields}."
        )
    x, y = as_data(data.x, data.y)
    if y.ndim < 2:
        raise MamlkitError(f"y has shape {list(y.shape)}; this yardstick needs numbers [n, d_out].")
    x, y = (t if t.is_floating_point() else t.to(torch.get_default_dtype()) for t in (x, y))
    common = torch.promote_types(x.dtype, y.dtype)
    return Data(x.to(common), y.to(common))


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
        if family.d_out != 1:
            raise MamlkitError(f"Bayes takes families with one output, but d_out={family.d_out}.")
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
        x, y = as_numbers(x, y)
        if y.shape[1] != 1:
            raise MamlkitError(f"Bayes takes one output, y [n, 1], but y is {list(y.shape)}.")
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


class CurveFit:
    """The classical fit: :func:`scipy.optimize.least_squares` (Levenberg and Marquardt, MINPACK) on
    the parameters of a simulator, from one or several starts; the best fit is taken.

    It works on the same unbounded numbers as a learner does (:class:`mamlkit.simulators.Simulator`)
    with derivatives by finite differences.

    Args:
        simulator: the law and its bounds.
        starts: parameters in physical units, one dict a start; None takes that of the simulator.

    Attributes:
        evaluations: how often the simulator ran in the last :meth:`adapt`.
    """

    def __init__(
        self, simulator: Simulator, starts: Sequence[Mapping[str, float]] | None = None
    ) -> None:
        if not isinstance(simulator, Simulator):
            raise MamlkitError(
                f"CurveFit fits a mk.Simulator, but {type(simulator).__name__} was given."
            )
        if starts is not None and not starts:
            raise MamlkitError("CurveFit was given no start; leave out starts for one.")
        self.simulator = copy.deepcopy(simulator).double()
        at = [self.simulator] if starts is None else [self.simulator.at(s) for s in starts]
        self.starts = [[float(u.detach()) for u in each.parameters()] for each in at]
        self.evaluations = 0

    def adapt(self, x: Any, y: Tensor | None = None) -> Adapted:
        """Fit ``x [n, d_in]``, ``y [n, d_out]``; as many numbers in y as parameters, at least."""
        from scipy.optimize import least_squares

        x, y = (t.double() for t in as_numbers(x, y))
        names, size = list(self.simulator.bounds), y.numel()
        if size < len(names):
            raise MamlkitError(
                f"least squares for {len(names)} parameters needs at least as many measurements, "
                f"but {size} were given."
            )

        low, high = torch.tensor(list(self.simulator.bounds.values()), dtype=torch.float64).T
        middle, half = (low + high) / 2, (high - low) / 2

        def residuals(u: Any) -> Any:
            self.evaluations += 1
            values = middle + half * torch.sin(torch.as_tensor(u))  # all at once, for speed
            p = dict(zip(names, values.unbind(), strict=True))
            return (self.simulator.law(x, p) - y).reshape(-1).numpy()

        self.evaluations = 0
        fits = [least_squares(residuals, start, method="lm") for start in self.starts]
        index = min(range(len(fits)), key=lambda i: fits[i].cost)
        best = fits[index]
        found = dict(zip(names, torch.as_tensor(best.x), strict=True))
        first = residuals(self.starts[index])
        losses = torch.tensor([(first**2).mean(), 2 * best.cost / size], dtype=torch.float64)

        def predict(x_new: Tensor) -> Tensor:
            return self.simulator.law(x_new, self.simulator.values(found))

        return Adapted(predict, found, losses, "CurveFit")


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
        if family.d_out != 1:
            raise MamlkitError(
                f"GaussianProcess takes families with one output, but d_out={family.d_out}."
            )
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
        x, y = as_numbers(x, y)
        signal, at = self.kernel.k1, self.inputs(x.double()).numpy()
        mean = self.mean.adapt(x, y)
        residual = (y - mean(x)).double()
        gram = torch.as_tensor(self.kernel(at))  # [n, n]
        weights = torch.linalg.solve(gram, residual)  # [n, 1]

        def distribution(x_new: Tensor) -> Gaussian:
            at_new = self.inputs(x_new.double()).numpy()
            cross = torch.as_tensor(signal(at_new, at))  # [m, n]
            known = (cross * torch.linalg.solve(gram, cross.T).T).sum(1)
            variance = (torch.as_tensor(signal.diag(at_new)) - known).clamp(min=0)
            y_new = mean(x_new) + (cross @ weights).to(x_new.dtype)
            return Gaussian(y_new, variance[:, None].to(x_new.dtype))

        return Belief(distribution)


class LineThroughCriticalPoint:
    """log10(p/pc) = h (1 - Tc/T): Clausius and Clapeyron with a constant heat of vaporisation, made
    to pass through the critical point; h by least squares on the support.
    """

    def adapt(self, x: Any, y: Tensor | None = None) -> Predict:
        """Find h from ``x`` = T/Tc ``[n, 1]`` and ``y`` = log10(p/pc) ``[n, 1]``."""
        x, y = as_numbers(x, y)
        u = 1 - 1 / x
        h = (u * y).sum() / (u * u).sum()
        return lambda x_new: h * (1 - 1 / x_new)


class LeeKesler:
    """The corresponding-states law of Lee and Kesler (AIChE Journal 21 (1975) 510), *told* the true
    acentric factor w: ln(p/pc) = f0 + w f1, with T in units of Tc. It looks at no measurement.
    """

    told = ("acentric_factor",)

    def adapt(self, x: Any, y: Tensor | None = None, *, physics: Physics) -> Predict:
        """The curve of the fluid with this acentric factor."""
        x, y = as_numbers(x, y)
        w = physics["acentric_factor"]

        def predict(x_new: Tensor) -> Tensor:
            t, log_t, t6 = 1 / x_new, x_new.log(), x_new**6
            f0 = 5.92714 - 6.09648 * t - 1.28862 * log_t + 0.169347 * t6
            f1 = 15.2518 - 15.6875 * t - 13.4721 * log_t + 0.43577 * t6
            log_p: Tensor = (f0 + w.to(x_new) * f1) / math.log(10)
            return log_p

        return predict


class LotkaVolterraFit:
    """The estimator that knows the law of :class:`mamlkit.tasks.LotkaVolterra`: its four parameters
    and, where the record is noisy, its first state, by nonlinear least squares on the logarithms of
    *one* trajectory (scipy's ``least_squares`` and ``odeint``).

    Args:
        fit_start: fit the first state too; without it the first record is believed.
        guess: alpha, beta, delta, gamma to start from.
    """

    def __init__(
        self, fit_start: bool = False, guess: Sequence[float] = (0.5, 0.75, 0.75, 0.5)
    ) -> None:
        self.fit_start, self.guess = fit_start, tuple(guess)

    def parameters(self, data: Any) -> Any:
        """alpha, beta, delta, gamma of the first of the trajectories, ``[4]``."""
        from scipy.integrate import odeint
        from scipy.optimize import least_squares

        t, y = data.t.double().numpy(), data.y[0].double().numpy()

        def rate(y: Any, _: float, a: float, b: float, d: float, g: float) -> tuple[float, float]:
            return a * y[0] - b * y[0] * y[1], d * y[0] * y[1] - g * y[1]

        def residuals(p: Any) -> Any:
            start = np.exp(p[4:]) if self.fit_start else y[0]
            found = odeint(rate, start, t, args=tuple(np.exp(p[:4])), rtol=1e-11, atol=1e-12)
            return (np.log(found.clip(1e-12)) - np.log(y)).ravel()

        guess = np.log([*self.guess, *(y[0] if self.fit_start else ())])
        fit = least_squares(residuals, guess, xtol=1e-14, ftol=1e-14, gtol=1e-14, max_nfev=25)
        return np.exp(fit.x[:4])

    def adapt(self, x: Any, y: Tensor | None = None) -> Predict:
        """The vector field with the parameters of ``x``, Trajectories of one system."""
        data = as_data(x, y)
        if not hasattr(data, "t"):
            raise MamlkitError("LotkaVolterraFit fits Trajectories(t, y, dy), not points.")
        a, b, d, g = (float(v) for v in self.parameters(data))

        def field(state: Tensor) -> Tensor:
            eaten = state[..., 0] * state[..., 1]
            return torch.stack([a * state[..., 0] - b * eaten, d * eaten - g * state[..., 1]], -1)

        return field


class BurgersDifferences:
    """The classical solver of :class:`mamlkit.tasks.Burgers`: the method of lines. The
    domain is cut into ``intervals`` of width h; on the points between them

    du_i/dt = nu (u_(i+1) - 2 u_i + u_(i-1)) / h^2 - (u_(i+1)^2 - u_(i-1)^2) / (4 h),

    which conserves u and is wrong by h^2. Time is left to scipy's LSODA, with the Jacobian's three
    bands. Between points and times it interpolates by cubic splines.

    Args:
        intervals: even, so that x = 0, where the front stands, is a point; at least 8.
    """

    def __init__(self, intervals: int = 400) -> None:
        self.intervals = count("intervals", intervals, least=8)
        if intervals % 2:
            raise MamlkitError(f"intervals={intervals} must be even, so that x = 0 is a point.")

    def adapt(self, x: Any, y: Tensor | None = None) -> Predict:
        """Solve the problem of ``x``, a :class:`mamlkit.tasks.Collocation` of one viscosity, of
        which only that is read.
        """
        from scipy.integrate import solve_ivp
        from scipy.interpolate import CubicSpline

        data = as_data(x, y)
        if not hasattr(data, "edge") or data.x.ndim != 2 or data.x.shape[1] != 3:
            raise MamlkitError(
                "BurgersDifferences solves one Collocation of mk.tasks.Burgers, with points "
                "(x, t, nu), x [n, 3]."
            )
        if bool((data.x[:, 2] != data.x[0, 2]).any()):
            raise MamlkitError("BurgersDifferences solves for one viscosity; these are several.")
        nu = float(data.x[0, 2])
        places = np.linspace(-1, 1, self.intervals + 1)
        h = 2 / self.intervals

        def rate(_: float, inner: Any) -> Any:
            u = np.concatenate([[0.0], inner, [0.0]])
            spread = nu * (u[2:] - 2 * inner + u[:-2]) / h**2
            return spread - (u[2:] ** 2 - u[:-2] ** 2) / (4 * h)

        first = -np.sin(np.pi * places[1:-1])
        solved: Any = solve_ivp(
            rate, (0, 1), first, "LSODA", dense_output=True, rtol=1e-6, atol=1e-8, lband=1, uband=1
        )

        def predict(points: Tensor) -> Tensor:  # [n, 2 or 3] -> [n, 1]
            at, when = points[:, 0].double().numpy(), points[:, 1].double().numpy()
            times, which = np.unique(when, return_inverse=True)
            values = np.zeros_like(at)
            for i, u in enumerate(solved.sol(times).T):
                curve = CubicSpline(places, np.concatenate([[0.0], u, [0.0]]))
                values[which == i] = curve(at[which == i])
            return torch.from_numpy(values)[:, None].to(points)

        return predict


def training_curves(family: Family, n_tasks: int, seed: int) -> tuple[Tensor, Tensor, Physics]:
    """Noise-free training curves on one grid; of a finite family each member once."""
    if not isinstance(family, Family):
        raise MamlkitError(f"fit() learns from a Family, but {type(family).__name__} was given.")
    n_tasks = min(count("n_tasks", n_tasks), getattr(family, "n_members", n_tasks))
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
