"""What an online learner must beat on a stream, and the filter that is told the law."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.func import functional_call, grad, vmap

from mamlkit.checks import count, fresh_generator, interval, number
from mamlkit.errors import MamlkitError
from mamlkit.learners.base import Weights
from mamlkit.learners.beliefs import Gaussian
from mamlkit.learners.maml import MAML, inner_loop
from mamlkit.learners.online import LinearPrior, check_reading
from mamlkit.tasks.base import Family
from mamlkit.yardsticks.latent import on_grid, training_curves


class RunningMean:
    """The mean of all readings so far; before any, ``first``."""

    def __init__(self, first: float = 0.0) -> None:
        self.first = first

    def start(self, n: int) -> tuple[Tensor | float, int]:
        """Nothing has been read."""
        return self.first, 0

    def predict(self, state: tuple[Tensor | float, int], x: Tensor) -> Tensor:
        """The mean, at any place: ``[n, m, d_in] -> [n, m, 1]``, or ``[n, m, d_out]``."""
        mean, _ = state
        if isinstance(mean, Tensor):
            return mean[:, None].expand(-1, x.shape[1], -1)
        return x.new_full((*x.shape[:2], 1), mean)

    def update(self, state: tuple[Tensor | float, int], x: Tensor, y: Tensor) -> Any:
        """One more reading."""
        check_reading(x, y, len(x), y.shape[-1])
        mean, seen = state
        return mean + (y - mean) / (seen + 1), seen + 1


def polynomial_prior(
    order: int,
    x_range: tuple[float, float],
    level: float = 0.0,
    spread: float = 0.5,
    noise: float = 0.1,
) -> LinearPrior:
    """A polynomial with Legendre's P_0 .. P_order over ``x_range`` as features, all coefficients
    N(0, spread^2), but for that of P_0, whose mean is ``level``: for a Kalman filter that nobody
    has meta-trained, ``mk.learners.OnlineHead(prior, keep, between)``. One input, one output.
    """
    order, (low, high) = count("order", order, least=0), interval("x_range", x_range)
    number("spread", spread, positive=True)

    def features(x: Tensor) -> Tensor:
        z = (2 * x - low - high) / (high - low)  # [m, 1]
        rows = [torch.ones_like(z), z]
        for k in range(1, order):  # Bonnet's recursion
            rows.append(((2 * k + 1) * z * rows[k] - k * rows[k - 1]) / (k + 1))
        return torch.cat(rows[: order + 1], -1)

    mean = torch.zeros(1, order + 1, dtype=torch.float64)
    mean[0, 0] = level
    root = spread * torch.eye(order + 1, dtype=torch.float64)[None]
    bar = torch.full((1,), number("noise", noise, positive=True), dtype=torch.float64)
    return LinearPrior(features, mean, root, bar, torch.zeros_like(bar))


def curves_prior(
    family: Family, components: int, n_tasks: int = 1000, *, noise: float, seed: int = 0
) -> LinearPrior:
    """The mean curve and the principal components of training curves *without noise*, all the way
    along x, each with the variance that it has there: the closed form of what a meta-learned head
    learns from a few noisy readings of each. One input, one output.
    """
    components = count("components", components)
    x, y, _ = training_curves(family, n_tasks, seed)  # [m, 1], [n_tasks, m, 1]
    mean = y.mean(0)
    _, sizes, rows = torch.linalg.svd((y - mean)[..., 0], full_matrices=False)
    sizes = sizes / (len(y) - 1) ** 0.5
    curve = on_grid(x, torch.cat([mean, rows[:components].mT], 1))  # [., 1] -> [., 1 + components]
    prior = torch.zeros(1, components + 1, dtype=y.dtype)
    prior[0, 0] = 1.0
    root = torch.diag(torch.cat([torch.zeros(1, dtype=y.dtype), sizes[:components]]))[None]
    misfit = (sizes[components:].square().sum() / y.shape[1]).sqrt()[None]
    bar = (number("noise", noise, positive=True) ** 2 + misfit**2).sqrt()
    return LinearPrior(curve, prior, root, bar, misfit)


class GridFilter:
    """Bayes' rule, told the law: the probability of each cell of a grid over the parameters.

    Between two readings a system jumps anywhere on the grid with probability ``hazard``; else it
    moves a little, by a Gaussian of ``step`` cells along each parameter.

    Args:
        family: whose law and noise are told; one output.
        cells: for each parameter by name the values on its axis, ``[k]``, evenly spaced.
        hazard: probability of a jump at a tick.
        step: standard deviation of a move, in cells.
    """

    def __init__(
        self,
        family: Family,
        cells: Mapping[str, Tensor],
        hazard: float = 0.01,
        step: float = 0.5,
    ) -> None:
        self.family, self.hazard = family, number("hazard", hazard)
        if not self.hazard < 1 or number("noise", family.noise) == 0:
            raise MamlkitError(
                f"a grid filter needs hazard < 1 and a noise above 0; given are {hazard!r} and "
                f"{family.noise!r}."
            )
        step = number("step", step)
        axes = [axis.double() for axis in cells.values()]
        mesh = torch.meshgrid(*axes, indexing="ij")
        self.shape = mesh[0].shape
        self.physics = {k: m.reshape(1, 1, -1) for k, m in zip(cells, mesh, strict=True)}
        self.moves = [_kernel(len(axis), step) for axis in axes]

    def start(self, n: int) -> Tensor:
        """Every cell alike: ``[n, cells]``."""
        total = math.prod(self.shape)
        return torch.full((n, total), 1 / total, dtype=torch.float64)

    def predict(self, state: Tensor, x: Tensor) -> Gaussian:
        """Mean and variance over the cells: ``[n, m, 1] -> [n, m, 1]``."""
        said = self.family.law(x.double(), self.physics)  # [n, m, cells]
        mean = (said @ state[..., None])[..., 0]  # [n, m]
        variance = (said.square() @ state[..., None])[..., 0] - mean**2
        return Gaussian(mean[..., None], variance.clamp(min=1e-12)[..., None])

    def update(self, state: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """Bayes' rule for a reading, then on to the next tick."""
        check_reading(x, y, len(state), 1)
        said = self.family.law(x[:, None].double(), self.physics)[:, 0]  # [n, cells]
        fit = -0.5 * ((y - said) / self.family.noise) ** 2
        p = state * (fit - fit.max(1, keepdim=True).values).exp()
        p = p.reshape(-1, *self.shape)
        for axis, move in enumerate(self.moves, start=1):
            p = (p.movedim(axis, -1) @ move).movedim(-1, axis)
        p = p.reshape(len(state), -1)
        p = p / p.sum(1, keepdim=True)
        return (1 - self.hazard) * p + self.hazard / p.shape[1]


def _kernel(k: int, step: float) -> Tensor:
    """How probability moves along one axis, ``[k, k]``; rows add up to 1."""
    at = torch.arange(k, dtype=torch.float64)
    if step == 0:
        return torch.eye(k, dtype=torch.float64)
    near = torch.exp(-0.5 * ((at[:, None] - at) / step) ** 2)
    return near / near.sum(1, keepdim=True)


class LeaderState(NamedTuple):
    """All readings so far, ``[n, t, d]`` each, and the start of each stream's own."""

    x: Tensor
    y: Tensor
    theta: Weights


class FollowTheMetaLeader:
    """Follow-the-meta-leader (Finn et al. 2019, arXiv:1902.08438, section 4), on one stream: as it
    goes, the *start* is trained on, on pieces of it so far, and adapted to the last readings.

    Their tasks come one after another, with a data set each. A stream has no such bounds, so here a
    task is any ``size`` readings in a row, as support, and the reading after them, as query. Every
    few ticks one outer step is taken, on pieces drawn from all that there were: a plain step along
    the exact meta-gradient. One input, one output.

    Args:
        learner: a :class:`mamlkit.MAML`, whose start, inner step sizes and inner steps are taken.
        lr: step size of the outer loop.
        size: readings that the start is adapted to.
        pieces: of the stream, in an outer step.
        every: ticks from one outer step to the next.
        seed: fixes which pieces.
    """

    def __init__(
        self,
        learner: MAML,
        lr: float = 0.01,
        size: int = 6,
        pieces: int = 8,
        every: int = 4,
        seed: int = 0,
    ) -> None:
        self.learner, self.lr = learner, number("lr", lr)
        self.size, self.pieces = count("size", size), count("pieces", pieces)
        self.every, self.seed = count("every", every), count("seed", seed, least=0)
        self.first = {name: w.detach() for name, w in learner.start().items()}
        self.alpha = [learner.alpha(k) for k in range(max(learner.inner_steps, 1))]

    def start(self, n: int) -> LeaderState:
        """The learner's start, ``n`` times."""
        theta = {name: w.expand(n, *w.shape).clone() for name, w in self.first.items()}
        empty = next(iter(self.first.values())).new_zeros(n, 0, 1)
        return LeaderState(empty, empty, theta)

    def predict(self, state: LeaderState, x: Tensor) -> Tensor:
        """Adapted to the last readings: ``[n, m, 1] -> [n, m, 1]``."""
        support = state.x[:, -self.size :], state.y[:, -self.size :]

        def one(theta: Weights, x: Tensor, y: Tensor, at: Tensor) -> Tensor:
            return functional_call(self.learner.model, self._adapted(theta, x, y), (at,))

        if not support[0].shape[1]:
            return vmap(lambda t, at: functional_call(self.learner.model, t, (at,)))(state.theta, x)
        return vmap(one)(state.theta, *support, x).detach()

    def update(self, state: LeaderState, x: Tensor, y: Tensor) -> LeaderState:
        """One more reading, and now and then a step of the start."""
        check_reading(x, y, len(state.x), 1)
        x, y = (torch.cat([old, new[:, None]], 1) for old, new in ((state.x, x), (state.y, y)))
        n, t = x.shape[:2]
        theta = state.theta
        if t > self.size and t % self.every == 0:
            g = fresh_generator(self.seed * 100_003 + t)
            first = torch.randint(t - self.size, (n, self.pieces), generator=g)
            at = first[..., None] + torch.arange(self.size + 1)  # [n, pieces, size + 1]
            stream = torch.arange(n)[:, None, None]
            slope = vmap(grad(self._meta_loss))(theta, x[stream, at], y[stream, at])
            theta = {name: w - self.lr * slope[name].detach() for name, w in theta.items()}
        return LeaderState(x, y, theta)

    def _adapted(self, theta: Weights, x: Tensor, y: Tensor) -> Weights:
        def loss(w: Weights) -> Tensor:
            return (functional_call(self.learner.model, w, (x,)) - y).square().mean()

        return inner_loop(loss, theta, self.alpha, self.learner.inner_steps)[0][-1]

    def _meta_loss(self, theta: Weights, x: Tensor, y: Tensor) -> Tensor:
        def one(x: Tensor, y: Tensor) -> Tensor:  # [size + 1, 1] each
            adapted = self._adapted(theta, x[:-1], y[:-1])
            return (
                (functional_call(self.learner.model, adapted, (x[-1:],)) - y[-1:]).square().mean()
            )

        return vmap(one)(x, y).mean()
