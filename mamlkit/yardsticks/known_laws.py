"""Yardsticks that know the law, or its form: what a physicist would use who has it."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mamlkit.checks import count, number, remade
from mamlkit.errors import MamlkitError
from mamlkit.learners.base import Adapted
from mamlkit.learners.checking import as_data, as_numbers
from mamlkit.losses import Predict
from mamlkit.models import copied
from mamlkit.physics.simulators import Simulator
from mamlkit.tasks import lotka_volterra
from mamlkit.tasks.base import Physics

_ROOT_OF_EPS = float(np.finfo(np.float64).eps) ** 0.5


class CurveFit:
    """The classical fit: :func:`scipy.optimize.least_squares` (Levenberg and Marquardt, MINPACK) on
    the parameters of a simulator, from one or several starts; the best fit is taken.

    It works on the same unbounded numbers as a learner does (:class:`mamlkit.Simulator`),
    with derivatives by finite differences.

    Args:
        simulator: the law and its bounds.
        starts: parameters in physical units, one dict a start; None takes that of the simulator.
        tolerance: relative change of the squares, or of the parameters, at which a fit ends. What
            the noise hides is not worth waiting for.

    Attributes:
        evaluations: how often the simulator ran in the last :meth:`adapt`.
    """

    def __init__(
        self,
        simulator: Simulator,
        starts: Sequence[Mapping[str, float]] | None = None,
        tolerance: float = 1e-8,
    ) -> None:
        self.tolerance = number("tolerance", tolerance, positive=True)
        if not isinstance(simulator, Simulator):
            raise MamlkitError(
                f"CurveFit fits a mk.Simulator, but {type(simulator).__name__} was given."
            )
        if starts is not None and not starts:
            raise MamlkitError("CurveFit was given no start; leave out starts for one.")
        self.simulator = copied(simulator).double()
        at = [self.simulator] if starts is None else [self.simulator.at(s) for s in starts]
        self.starts = [[float(u.detach()) for u in each.parameters()] for each in at]
        self.evaluations = 0

    @remade
    def adapt(self, x: Any, y: Tensor | None = None) -> Adapted:
        """Fit ``x [n, d_in]``, ``y [n, d_out]``; as many numbers in y as parameters, at least."""
        from scipy.optimize import least_squares

        x, y, weight = (t.double() for t in as_numbers(x, y))
        there = weight[:, 0] > 0
        x, y, root = x[there], y[there], weight[there].sqrt()
        names, size = list(self.simulator.bounds), y.numel()
        if size < len(names):
            raise MamlkitError(
                f"least squares for {len(names)} parameters needs at least as many measurements, "
                f"but {size} were given."
            )

        low, high = torch.tensor(list(self.simulator.bounds.values()), dtype=torch.float64).T
        middle, half = (low + high) / 2, (high - low) / 2  # once, not at each run
        seen: dict[bytes, Tensor] = {}
        starts = {np.asarray(start).tobytes() for start in self.starts}

        def misses(u: Tensor) -> Tensor:
            values = middle + half * torch.sin(u)
            p = dict(zip(names, values.unbind(), strict=True))
            return (root * (self.simulator.law(x, p) - y)).reshape(-1)

        def residuals(u: Any) -> Any:
            self.evaluations += 1
            u = np.asarray(u)
            seen[u.tobytes()] = found = misses(torch.as_tensor(u))
            if u.tobytes() in starts and not found.isfinite().all():
                at = zip(names, (middle + half * torch.as_tensor(u).sin()).tolist(), strict=True)
                where = ", ".join(f"{name}={value:.3g}" for name, value in at)
                raise MamlkitError(f"the law is not finite at the start {where}; begin elsewhere.")
            return found.numpy()

        def slopes(u: Any) -> Any:
            """By forward differences, those of scipy's "2-point", without what it does besides."""
            self.evaluations += len(names)
            step = np.copysign(_ROOT_OF_EPS, u) * np.maximum(1, np.abs(u))
            step = (u + step) - u  # what floating-point numbers make of it
            moved = torch.stack([misses(row) for row in torch.as_tensor(u + np.diag(step))])
            return ((moved - seen[u.tobytes()]).numpy() / step[:, None]).T

        self.evaluations = 0
        ends: dict[str, Any] = dict.fromkeys(("ftol", "xtol", "gtol"), self.tolerance)
        fits = [
            least_squares(residuals, start, slopes, method="lm", **ends) for start in self.starts
        ]
        index = min(range(len(fits)), key=lambda i: fits[i].cost)
        best = fits[index]
        found = dict(zip(names, torch.as_tensor(best.x), strict=True))
        first = residuals(self.starts[index])
        losses = torch.tensor([(first**2).mean(), 2 * best.cost / size], dtype=torch.float64)

        def predict(x_new: Tensor) -> Tensor:
            return self.simulator.law(x_new, self.simulator.values(found))

        return Adapted(predict, found, losses, "CurveFit")


class LineThroughCriticalPoint:
    """log10(p/pc) = h (1 - Tc/T): Clausius and Clapeyron with a constant heat of vaporisation, made
    to pass through the critical point; h by least squares on the support.
    """

    @remade
    def adapt(self, x: Any, y: Tensor | None = None) -> Predict:
        """Find h from ``x`` = T/Tc ``[n, 1]`` and ``y`` = log10(p/pc) ``[n, 1]``."""
        x, y, weight = as_numbers(x, y)
        u = 1 - 1 / x
        h = (weight * u * y).sum() / (weight * u * u).sum()
        return lambda x_new: h * (1 - 1 / x_new)


class LeeKesler:
    """The corresponding-states law of Lee and Kesler (AIChE Journal 21 (1975) 510), *told* the true
    acentric factor w: ln(p/pc) = f0 + w f1, with T in units of Tc. It looks at no measurement.
    """

    told = ("acentric_factor",)

    @remade
    def adapt(self, x: Any, y: Tensor | None = None, *, physics: Physics) -> Predict:
        """The curve of the fluid with this acentric factor."""
        as_numbers(x, y, least=0)
        w = physics["acentric_factor"]

        def predict(x_new: Tensor) -> Tensor:
            t, log_t, t6 = 1 / x_new, x_new.log(), x_new**6
            f0 = 5.92714 - 6.09648 * t - 1.28862 * log_t + 0.169347 * t6
            f1 = 15.2518 - 15.6875 * t - 13.4721 * log_t + 0.43577 * t6
            return (f0 + w.to(x_new) * f1) / math.log(10)

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
        t = t[0] if t.ndim == 2 else t

        def rate(y: Any, _: float, a: float, b: float, d: float, g: float) -> tuple[float, float]:
            # As lotka_volterra.law, but multiplied in another order: figures of 1e-21 are printed.
            return a * y[0] - b * y[0] * y[1], d * y[0] * y[1] - g * y[1]

        def residuals(p: Any) -> Any:
            start = np.exp(p[4:]) if self.fit_start else y[0]
            found = odeint(rate, start, t, args=tuple(np.exp(p[:4])), rtol=1e-11, atol=1e-12)
            return (np.log(found.clip(1e-12)) - np.log(y)).ravel()

        guess = np.log([*self.guess, *(y[0] if self.fit_start else ())])
        fit = least_squares(residuals, guess, xtol=1e-14, ftol=1e-14, gtol=1e-14, max_nfev=25)
        return np.exp(fit.x[:4])

    @remade
    def adapt(self, x: Any, y: Tensor | None = None) -> Predict:
        """The vector field with the parameters of ``x``, Trajectories of one system."""
        data = as_data(x, y)
        if not hasattr(data, "t"):
            raise MamlkitError("LotkaVolterraFit fits Trajectories(t, y, dy), not points.")
        a, b, d, g = (float(v) for v in self.parameters(data))

        def field(state: Tensor) -> Tensor:
            prey, predators = state.unbind(-1)
            return torch.stack(lotka_volterra.law(prey, predators, b, d, a, g), -1)

        return field


class LinearRatesFit:
    """Rates *per head* that are straight lines, for any two species:

    x' = x (a_0 + a_1 x + a_2 y), y' = y (a_3 + a_4 x + a_5 y)

    (the generalised Lotka-Volterra equations). The six numbers and the first state are fitted to
    *one* trajectory by shooting: nonlinear least squares on the logarithms, from the numbers that
    linear least squares on the differences of successive logarithms gives. It needs neither the
    law, nor relatives, nor a guess.

    Args:
        prior: mean ``[6]`` and covariance ``[6, 6]`` of the numbers, as relatives have them; the
            fit is the most probable one. None takes the record alone.
        noise: standard deviation of a reading, as a fraction of itself: what the prior is weighed
            against. Without a prior it does not matter.

    Raises:
        MamlkitError: if the prior has other shapes; in :meth:`adapt` and :meth:`numbers`, if they
            are not given trajectories of two species whose numbers are above zero.
    """

    def __init__(self, prior: tuple[Any, Any] | None = None, noise: float = 0.01) -> None:
        self.noise, self.prior = number("noise", noise, positive=True), prior
        if prior is not None:
            mean, covariance = np.asarray(prior[0], float), np.asarray(prior[1], float)
            if mean.shape != (6,) or covariance.shape != (6, 6):
                raise MamlkitError(
                    "a prior on six numbers has a mean [6] and a covariance [6, 6], but "
                    f"{list(mean.shape)} and {list(covariance.shape)} were given."
                )
            self.prior = (mean, covariance)

    def numbers(self, data: Any) -> Any:
        """The six numbers a of the first of the trajectories, ``[6]``."""
        from scipy.optimize import least_squares

        t, y = data.t.double().numpy(), data.y[0].double().numpy()
        t = t[0] if t.ndim == 2 else t
        if y.shape[-1] != 2 or not (y > 0).all():
            raise MamlkitError(
                "LinearRatesFit fits two species whose numbers are above zero, but states of shape "
                f"{list(y.shape)} with a least value of {y.min():.3g} were given."
            )
        logs, h = np.log(y), np.diff(t)[:, None]
        if self.prior is None:
            straight = np.concatenate([h, h * (y[1:] + y[:-1]) / 2], 1)  # integrals of 1, x, y
            a = np.linalg.lstsq(straight, np.diff(logs, axis=0), rcond=None)[0].T.ravel()
            mean, root = a, np.zeros((0, 6))
        else:
            a = mean = self.prior[0]
            root = np.linalg.inv(np.linalg.cholesky(self.prior[1]))

        steps = np.concatenate([np.zeros((1, 8)), 1e-6 * np.eye(8)])
        seen: dict[bytes, Any] = {}  # what the slopes need is solved with the residuals

        def residuals(p: Any) -> Any:
            seen[p.tobytes()] = found = _logs(p + steps, t)
            off = (found[..., 0] - logs) / self.noise
            return np.concatenate([off.ravel(), root @ (p[:6] - mean)])

        def slopes(p: Any) -> Any:
            found = seen[p.tobytes()]
            of_logs = (found[..., 1:] - found[..., :1]) / 1e-6 / self.noise
            return np.concatenate([of_logs.reshape(-1, 8), np.pad(root, ((0, 0), (0, 2)))])

        fit = least_squares(residuals, [*a, *logs[0]], slopes, x_scale="jac", max_nfev=40)
        return fit.x[:6]

    @remade
    def adapt(self, x: Any, y: Tensor | None = None) -> Predict:
        """The vector field with the numbers of the first of ``x``, Trajectories of one system."""
        data = as_data(x, y)
        if not hasattr(data, "t"):
            raise MamlkitError("LinearRatesFit fits Trajectories(t, y, dy), not points.")
        a = torch.from_numpy(self.numbers(data))
        return lambda state: linear_rates(state, a)


def linear_rates(state: Tensor, a: Tensor) -> Tensor:
    """Rates of change of both species, ``state [.., 2]``, with the numbers ``a [6]`` of
    :class:`LinearRatesFit`.
    """
    lines = a.reshape(2, 3).to(state)
    return state * (lines[:, 0] + state @ lines[:, 1:].T)


def _logs(p: Any, t: Any) -> Any:
    """Logarithms of both species at the times ``t [T]``, solved together from each row of
    ``p [m, 8]``, six numbers and the logarithms of the start: ``[T, 2, m]``.
    """
    from scipy.integrate import ODEintWarning, odeint

    birth, of_prey, of_predators = p[:, :6].T.reshape(2, 3, -1).swapaxes(0, 1).copy()  # [2, m]

    def rate(u: Any, _: float) -> Any:
        prey, predators = np.exp(np.minimum(u, 6.0)).reshape(2, -1)  # a bad trial may not overflow
        return (birth + of_prey * prey + of_predators * predators).ravel()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ODEintWarning)  # one too fast to follow is a bad trial too
        found = odeint(rate, p[:, 6:].T.ravel(), t, rtol=1e-10, atol=1e-10)
    return found.reshape(len(t), 2, -1)


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

    @remade
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
