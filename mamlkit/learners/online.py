"""Learners that follow a stream: they predict the next reading, see it, and move on.

All have three methods, and work on many streams side by side: ``start(n)`` gives the state of n
streams before any reading, ``predict(state, x [n, m, d_in])`` what is to be expected at x at the
next tick, and ``update(state, x [n, d_in], y [n, d_out])`` the state after a reading has been seen.
:func:`mamlkit.evaluation.online.follow` leads any of them along streams.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, Protocol, get_args

import torch
from torch import Tensor

from mamlkit.checks import count, number, one_of
from mamlkit.errors import MamlkitError
from mamlkit.learners.base import Weights
from mamlkit.learners.bayes import BayesianHead
from mamlkit.learners.beliefs import Belief, Gaussian
from mamlkit.learners.maml import MAML
from mamlkit.learners.meta import MetaLearner
from mamlkit.learners.vectorise import each, grad
from mamlkit.tasks.base import Readings

Between = Literal["return", "walk", "forget"]


class Online(Protocol):
    """A learner that follows streams; see the head of this module for the shapes."""

    def start(self, n: int) -> Any:
        """The state of n streams before any reading."""
        ...

    def predict(self, state: Any, x: Tensor) -> Tensor | Gaussian:
        """What is expected at the next tick: ``[n, m, d_in] -> [n, m, d_out]``."""
        ...

    def update(self, state: Any, x: Tensor, y: Tensor) -> Any:
        """The state after a reading ``x [n, d_in]``, ``y [n, d_out]``; the old one stays."""
        ...


class LinearPrior(NamedTuple):
    """A law that is linear in features, with a Gaussian prior, that is not trained: y = phi(x) w +
    misfit, w ~ N(prior_mean, prior_root prior_root^T), and a reading is y + noise. The names are
    those of :class:`mamlkit.BayesianHead`.
    """

    features: Callable[[Tensor], Tensor]  # [m, d_in] -> [m, p]
    prior_mean: Tensor  # [d_out, p]
    prior_root: Tensor  # [d_out, p, p]
    noise: Tensor  # [d_out], standard deviations
    misfit: Tensor  # [d_out]


def check_reading(x: Tensor, y: Tensor, n: int, d_out: int) -> None:
    """Refuse a reading that is not one of each of ``n`` streams, or that is none."""
    if x.ndim != 2 or len(x) != n or y.shape != (n, d_out):
        raise MamlkitError(
            f"a reading of {n} stream(s) is x [{n}, d_in], y [{n}, {d_out}], but x has shape "
            f"{list(x.shape)} and y {list(y.shape)}."
        )
    # The sum is quick, and says more often than not that all is well.
    if not math.isfinite(x.sum() + y.sum()) and not torch.isfinite(torch.cat([x, y], 1)).all():
        raise MamlkitError(
            "this reading holds nan or infinity. A reading that is missing is no reading: go on "
            "without one, by state = follower.ahead(state) with an OnlineHead."
        )


def check_places(x: Tensor, n: int) -> None:
    """Refuse places that are not some of each of ``n`` streams."""
    if x.ndim != 3 or len(x) != n:
        raise MamlkitError(
            f"predict() needs places of {n} stream(s), [{n}, m, d_in], but x has shape "
            f"{list(x.shape)}; for one place a stream use x[:, None]."
        )


class HeadState(NamedTuple):
    """What is believed of the weights at the next tick: ``mean [n, d_out, p]`` and ``covariance
    [n, d_out, p, p]``.
    """

    mean: Tensor
    covariance: Tensor


class OnlineHead:
    """A meta-learned Bayesian head, updated in closed form reading by reading.

    A reading is y_t = phi(x_t) w_t + noise, with w_t one row a tick and an output. The features
    phi, the prior N(m, P0) and the noise are those of the head. What the weights do between two
    readings is what ``between`` says.

    **"return"** takes them for a process whose stationary law is the prior:

        w_{t+1} = m + rho (w_t - m) + sqrt(1 - rho^2) xi,    xi ~ N(0, P0).

    If w_t ~ N(m, P0), then w_{t+1} has mean m and covariance rho^2 P0 + (1 - rho^2) P0 = P0: at any
    tick, before any reading, the system is a draw of the family, and two draws k ticks apart are
    correlated by rho^k. (It is the Ornstein-Uhlenbeck process of relaxation time tau at times one
    tick apart, rho = exp(-1/tau); in discrete time, AR(1).) If w_t ~ N(w, P) after a reading, the
    same line gives, exactly,

        w <- m + rho (w - m),    P <- rho^2 P + (1 - rho^2) P0,

    and P never exceeds P0 where it did not before. A reading then is Bayes' rule (Kalman 1960):
    with g = P phi and S = phi^T g + noise^2,

        w <- w + g (y - phi^T w) / S,    P <- P - g g^T / S.

    **"walk"** keeps w and adds step^2 P0 to P: a random walk. **"forget"** keeps w and divides P
    by rho: least squares with exponential forgetting, in which a reading k ticks old counts rho^k.
    In a direction that no reading looks at, P then grows as rho^-t without end: it winds up.
    Taught in notebook 17.

    Args:
        head: a trained :class:`mamlkit.BayesianHead`, used as it is, in its type; or a
            :class:`LinearPrior`.
        keep: rho, above 0 and at most 1.
        between: what weights do between readings.
        step: of the random walk, in units of the prior.
    """

    def __init__(
        self,
        head: BayesianHead | LinearPrior,
        keep: float = 0.95,
        between: Between = "return",
        step: float = 0.1,
    ) -> None:
        if not isinstance(head, BayesianHead | LinearPrior):
            raise MamlkitError(
                f"OnlineHead follows a stream with a BayesianHead, but {type(head).__name__} was "
                "given; for a learner that takes gradient steps use OnlineSteps or OnlineWindow."
            )
        self.head, self.keep = head, number("keep", keep, positive=True)
        if self.keep > 1:
            raise MamlkitError(f"keep must be at most 1, but {keep!r} was given.")
        self.between, self.step = (
            one_of("between", between, get_args(Between)),
            number("step", step),
        )
        with torch.no_grad():
            self.prior = head.prior_mean.detach().clone()  # m [d_out, p]
            self.spread = (head.prior_root @ head.prior_root.mT).detach()  # P0 [d_out, p, p]
            self.noise = head.noise.detach()  # [d_out]
            self.misfit = head.misfit.detach()
            self.noise_variance = self.noise[:, None, None] ** 2
        self._asked = self.noise[:0], self.noise[:0]  # where a prediction was asked for, and phi

    def start(self, n: int) -> HeadState:
        """The prior, ``n`` times."""
        n = count("n", n)
        return HeadState(self.prior.repeat(n, 1, 1), self.spread.repeat(n, 1, 1, 1))

    @torch.no_grad()
    def predict(self, state: HeadState, x: Tensor) -> Gaussian:
        """Mean and variance of the law at the next tick: ``[n, m, d_in] -> [n, m, d_out]``."""
        check_places(x, len(state.mean))
        n, m, _ = x.shape
        flat = x.reshape(n * m, -1)
        phi = self.head.features(flat)
        self._asked = flat, phi
        phi = phi.reshape(n, 1, m, -1)
        mean = (phi @ state.mean[..., None])[..., 0]  # [n, d_out, m]
        variance = ((phi @ state.covariance) * phi).sum(-1)
        return Gaussian(mean.mT, variance.mT + self.misfit**2)

    @torch.no_grad()
    def update(self, state: HeadState, x: Tensor, y: Tensor) -> HeadState:
        """Bayes' rule for a reading, then on to the next tick."""
        w, P = state
        check_reading(x, y, *w.shape[:2])
        at, phi = self._asked  # a reading mostly comes from where it was just foretold
        phi = phi if torch.equal(at, x) else self.head.features(x)
        phi = phi[:, None, :, None]  # [n, 1, p, 1]
        g = P @ phi  # [n, d_out, p, 1]
        S = phi.mT @ g + self.noise_variance  # [n, d_out, 1, 1]
        error = y[..., None, None] - phi.mT @ w[..., None]
        w, P = w + (g @ (error / S))[..., 0], P - g @ (g / S).mT
        return self.ahead(HeadState(w, P))

    def ahead(self, state: HeadState, ticks: int = 1) -> HeadState:
        """What is believed ``ticks`` ticks later, if nothing is read in between."""
        w, P = state
        if self.between == "return":
            rho = self.keep ** count("ticks", ticks)  # lerp: P0 + rho^2 (P - P0)
            return HeadState(self.prior.lerp(w, rho), self.spread.lerp(P, rho**2))
        if self.between == "walk":
            return HeadState(w, P + count("ticks", ticks) * self.step**2 * self.spread)
        return HeadState(w, P / self.keep ** count("ticks", ticks))


class RestartState(NamedTuple):
    """A belief, the last readings, and the squares of their innovations, ``[n, window]``."""

    belief: HeadState
    x: Tensor  # [n, window, d_in]
    y: Tensor
    squares: Tensor


class Restart:
    """An online head with an alarm that acts: where the last readings do not fit what was expected
    of them, the belief goes back to the prior and reads them again.

    The alarm is that of :func:`mamlkit.evaluation.online.alarm`: the sum of squares of the last
    ``window`` innovations, in units of their standard deviation, above the quantile ``1 - rate`` of
    chi squared. So what is kept for long (``keep`` near 1) need not be lost slowly.

    Args:
        follower: the online head.
        window: readings that the alarm looks at.
        rate: share of ticks with a false alarm, if the model is right.
    """

    def __init__(self, follower: OnlineHead, window: int = 4, rate: float = 1e-3) -> None:
        from scipy.stats import chi2

        self.follower, self.window = follower, count("window", window)
        if not 0 < number("rate", rate) < 1:
            raise MamlkitError(f"rate must lie between 0 and 1, such as 0.001, not {rate!r}.")
        self.rate = rate
        self.most = float(chi2.ppf(1 - rate, window * len(follower.noise)))

    def start(self, n: int) -> RestartState:
        """The prior; nothing has been read."""
        belief = self.follower.start(n)
        none = belief.mean.new_zeros(n, 0, 1)
        return RestartState(belief, none, none, none[..., 0])

    def predict(self, state: RestartState, x: Tensor) -> Gaussian:
        """As the online head."""
        return self.follower.predict(state.belief, x)

    def update(self, state: RestartState, x: Tensor, y: Tensor) -> RestartState:
        """Bayes' rule; and where there is an alarm, once more from the prior."""
        check_reading(x, y, *state.belief.mean.shape[:2])
        said = self.follower.predict(state.belief, x[:, None])
        variance = said.variance[:, 0] + self.follower.noise**2
        new = ((y - said.mean[:, 0]).square() / variance).sum(-1, keepdim=True)  # [n, 1]
        squares = torch.cat([state.squares, new], 1)[:, -self.window :]
        xs, ys = (
            leaf[:, None] if not old.shape[1] else torch.cat([old, leaf[:, None]], 1)
            for old, leaf in ((state.x, x), (state.y, y))
        )
        xs, ys = xs[:, -self.window :], ys[:, -self.window :]
        belief = self.follower.update(state.belief, x, y)
        wrong = squares.sum(1) > self.most  # [n]
        if wrong.any():
            again = self.follower.start(len(x))
            for k in range(xs.shape[1]):
                again = self.follower.update(again, xs[:, k], ys[:, k])
            belief = HeadState(
                again.mean.where(wrong[:, None, None], belief.mean),
                again.covariance.where(wrong[:, None, None, None], belief.covariance),
            )
            squares = squares.where(~wrong[:, None], torch.zeros((), dtype=squares.dtype))
        return RestartState(belief, xs, ys, squares)


class WindowState(NamedTuple):
    """The last readings, the newest last; ``weight`` is 0 where there was none yet. The place
    ``theta`` holds the weights of a learner that goes on from where it was, else nothing.
    """

    x: Tensor  # [n, size, d_in]
    y: Tensor  # [n, size, d_out]
    weight: Tensor  # [n, size, 1]
    theta: Weights


def _empty(n: int, size: int, d_in: int, d_out: int, like: Tensor, theta: Weights) -> WindowState:
    return WindowState(
        like.new_zeros(n, size, d_in),
        like.new_zeros(n, size, d_out),
        like.new_zeros(n, size, 1),
        theta,
    )


def _pushed(state: WindowState, x: Tensor, y: Tensor) -> WindowState:
    check_reading(x, y, len(state.y), state.y.shape[-1])
    news = (x[:, None], y[:, None], torch.ones_like(state.weight[:, :1]))
    olds = (state.x, state.y, state.weight)
    xs, ys, w = (torch.cat([old[:, 1:], new], 1) for old, new in zip(olds, news, strict=True))
    return WindowState(xs, ys, w, state.theta)


class OnlineWindow:
    """Any meta-learner, adapted anew at each tick to the last readings of the stream.

    Args:
        learner: such as :class:`mamlkit.MAML` or :class:`mamlkit.BayesianHead`, of points (x, y).
        size: how many readings.
        d_in, d_out: of a reading.
        steps: inner steps; None takes the learner's own.
    """

    def __init__(
        self,
        learner: MetaLearner,
        size: int = 6,
        *,
        d_in: int = 1,
        d_out: int = 1,
        steps: int | None = None,
    ) -> None:
        self.learner, self.size = learner, count("size", size)
        self.d_in, self.d_out = count("d_in", d_in), count("d_out", d_out)
        self.steps = learner._steps(steps)

    def start(self, n: int) -> WindowState:
        """An empty window."""
        like = next(self.learner.parameters()).detach()
        return _empty(count("n", n), self.size, self.d_in, self.d_out, like, {})

    @torch.no_grad()
    def predict(self, state: WindowState, x: Tensor) -> Tensor | Gaussian:
        """The prediction of the adapted learner: ``[n, m, d_in] -> [n, m, d_out]``."""
        check_places(x, len(state.x))

        def one(support: Readings, at: Tensor) -> Any:
            predict = self.learner.predictor(self.learner.inner_path(support, self.steps)[0][-1])
            return predict.distribution(at) if isinstance(predict, Belief) else predict(at)

        return each(one)(Readings(*state[:3]), x)

    def update(self, state: WindowState, x: Tensor, y: Tensor) -> WindowState:
        """The oldest reading goes, the new one comes."""
        return _pushed(state, x, y)


class OnlineSteps:
    """Online gradient descent from a meta-learned start: at each tick one step on the last
    readings, from where the weights are: theta <- theta_0 + keep (theta - alpha grad L - theta_0).

    Args:
        learner: a :class:`mamlkit.MAML`, whose start, loss and step sizes (of the first inner step)
            are taken.
        scale: factor of the step sizes.
        size: on how many of the last readings the loss is taken.
        keep: pull towards the start, the return of :class:`OnlineHead`; 1 is none.
        d_in, d_out: of a reading.
    """

    def __init__(
        self,
        learner: MAML,
        scale: float = 1.0,
        size: int = 6,
        keep: float = 1.0,
        *,
        d_in: int = 1,
        d_out: int = 1,
    ) -> None:
        if not isinstance(learner, MAML) or learner.learn_lr == "matrix":
            raise MamlkitError(
                "OnlineSteps needs a learner with inner steps and a step size for each weight or "
                f"tensor, such as mk.MAML, but {type(learner).__name__} was given; for a Bayesian "
                "head use OnlineHead, and for any other learner OnlineWindow."
            )
        self.learner, self.size = learner, count("size", size)
        self.scale, self.keep = number("scale", scale), number("keep", keep)
        self.d_in, self.d_out = count("d_in", d_in), count("d_out", d_out)
        self.first = {name: w.detach() for name, w in learner.start().items()}
        own: Any = learner.alpha()
        self.rates = {name: self.scale * own[name].detach() for name in self.first}

    def start(self, n: int) -> WindowState:
        """The start, ``n`` times."""
        n = count("n", n)
        theta = {name: w.expand(n, *w.shape) for name, w in self.first.items()}
        like = next(iter(self.first.values()))
        return _empty(n, self.size, self.d_in, self.d_out, like, theta)

    @torch.no_grad()
    def predict(self, state: WindowState, x: Tensor) -> Tensor:
        """With the weights as they are: ``[n, m, d_in] -> [n, m, d_out]``."""
        check_places(x, len(state.x))
        return each(lambda theta, at: self.learner.predictor(theta)(at))(state.theta, x)

    @torch.no_grad()
    def update(self, state: WindowState, x: Tensor, y: Tensor) -> WindowState:
        """One gradient step on the last readings, and the pull to the start."""
        state = _pushed(state, x, y)

        def support_loss(theta: Weights, support: Readings) -> Tensor:
            return self.learner.judge(self.learner.predictor(theta), support)

        gradient = each(grad(support_loss))(state.theta, Readings(*state[:3]))
        theta = {
            name: self.first[name]
            + self.keep * (w - self.rates[name] * gradient[name] - self.first[name])
            for name, w in state.theta.items()
        }
        return state._replace(theta=theta)
