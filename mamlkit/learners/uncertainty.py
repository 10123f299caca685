"""How sure is a prediction? Learners that give a Gaussian, not a number alone: an ensemble of
meta-learned starts, and Bayesian linear regression on learned features.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from mamlkit.checks import as_points, count, number
from mamlkit.errors import MamlkitError
from mamlkit.learners.base import Adapted, Weights, run
from mamlkit.learners.implicit import ImplicitMAML
from mamlkit.learners.meta import MetaLearner, check_pairs
from mamlkit.losses import Predict
from mamlkit.tasks.base import Data, TaskBatch


class Gaussian(NamedTuple):
    """What is believed of the law at m points: ``mean`` and ``variance``, ``[m, d_out]`` each.

    Of the law itself, as the query of a family holds it. A new measurement has its noise besides.
    """

    mean: Tensor
    variance: Tensor


class Belief:
    """A prediction that knows how sure it is: call it for the mean, ask it for the distribution.

    Args:
        distribution: ``x [m, d_in] -> Gaussian [m, d_out]``.
        gain: what a measurement at each x is worth, ``[m]``; see :func:`where_next`. By default
            the variance there.
    """

    def __init__(
        self,
        distribution: Callable[[Tensor], Gaussian],
        gain: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        self.distribution = distribution
        self.gain = gain or (lambda x: distribution(x).variance.mean(-1))

    def __call__(self, x: Tensor) -> Tensor:
        """The mean: ``[m, d_in] -> [m, d_out]``."""
        return self.distribution(x).mean


class AdaptedGaussian(Adapted):
    """As :class:`mamlkit.learners.Adapted`, and it says how sure it is."""

    def distribution(self, x: Tensor) -> Gaussian:
        """Mean and variance of the law at ``x [m, d_in]``: ``[m, d_out]`` each."""
        found: Any = self._ask(cast(Belief, self._predict).distribution, x)
        return cast(Gaussian, found)

    def gain(self, x: Tensor) -> Tensor:
        """What a measurement at each of ``x [m, d_in]`` is worth, ``[m]``: :func:`where_next`."""
        return cast(Tensor, self._ask(cast(Belief, self._predict).gain, x))

    def _ask(self, question: Any, x: Tensor) -> Any:
        return run(question, as_points("x", x, self.weights), self._model)


def gaussian_nll(predict: Predict, data: Data) -> Tensor:
    """Negative log likelihood of ``data.y`` under ``predict.distribution``, mean over points and
    outputs: ``log(2 pi v) / 2 + (y - m)^2 / (2 v)``. Points are judged one by one.
    """
    if not hasattr(predict, "distribution"):
        raise MamlkitError(
            "gaussian_nll needs a prediction with .distribution(x), such as that of "
            "mk.BayesianHead or mk.Ensemble; this one gives no variance."
        )
    mean, variance = predict.distribution(data.x)
    if mean.shape != data.y.shape:
        raise MamlkitError(
            f"the model predicts shape {list(mean.shape)}, but y has shape {list(data.y.shape)}; "
            "a Gaussian likelihood needs both alike, [n, d_out]."
        )
    loss: Tensor = ((2 * math.pi * variance).log() + (data.y - mean) ** 2 / variance).mean() / 2
    return loss


def where_next(predict: Any, x: Tensor) -> int:
    """Where to measure next: the index of the best of the candidates ``x [m, d_in]``.

    For a Bayesian head: the candidate that lowers the mean variance over all candidates most.
    Measuring at c lowers the variance at j by ``cov(j, c)^2 / (cov(c, c) + noise^2)``, whatever
    comes out. For an ensemble and the rest: the candidate where the variance is greatest.
    """
    if not hasattr(predict, "distribution"):
        raise MamlkitError(
            "where_next needs a prediction with .distribution(x), such as mk.BayesianHead or "
            "mk.Ensemble gives; this one has no variance."
        )
    x = as_points("x", x)
    gain = (
        predict.gain(x) if hasattr(predict, "gain") else predict.distribution(x).variance.mean(-1)
    )
    return int(gain.argmax())


# --- the Bayesian head ---------------------------------------------------------------------------


def condition(
    mean: Tensor, root: Tensor, phi: Tensor, y: Tensor, noise: Tensor
) -> tuple[Tensor, Tensor]:
    """Bayes' rule for linear regression: w ~ N(mean, root root^T), y = phi w + noise.

    ``mean [d_out, p]``, ``root [d_out, p, p]``; ``phi [n, p]``, ``y [n, d_out]``, n may be 0;
    ``noise [d_out]`` is the standard deviation. Returns mean and root of the posterior.

    With w = mean + root z and z ~ N(0, I), the posterior precision of z is I + B^T B with
    B = phi root / noise: never below I, so it can be factorised even where the noise is small.
    """
    b = phi @ root / noise[:, None, None]  # [d_out, n, p]
    eye = torch.eye(phi.shape[-1], dtype=phi.dtype, device=phi.device)
    lower = torch.linalg.cholesky(eye + b.mT @ b)  # lower lower^T = I + B^T B
    root = torch.linalg.solve_triangular(lower, root.mT, upper=False).mT  # root lower^-T
    surprise = (y.mT - (phi @ mean[..., None])[..., 0]) / noise[:, None] ** 2  # [d_out, n]
    step = root @ (root.mT @ (surprise @ phi)[..., None])  # [d_out, p, 1]
    return mean + step[..., 0], root


class BayesianHead(MetaLearner):
    """Bayesian linear regression on learned features, with a learned prior (ALPaCA: Harrison,
    Sharma and Pavone 2018, arXiv:1807.08912).

    f(x) = phi(x) w + misfit, w ~ N(mean, root root^T), and a measurement is f(x) + noise. Adapting
    is Bayes' rule, exact and without steps. Features, prior, noise and misfit are trained by
    :func:`gaussian_nll` on the query. Other than in the paper, each output has a prior of its own;
    and what the query shows beyond the features, the misfit, is told apart from the noise of the
    support, since the query of a family holds the law without noise.

    Meta-train with the *fewest* shots that it will meet, or the prior is not learned where the
    points leave room for it; and with ``grad_clip=1.0``, since errors in units of a small noise are
    steep.

    Args:
        model: the features, ``[n, d_in] -> [n, features]``; copied.
        features: number of features, the output size of ``model``.
        d_out: number of outputs.
        noise: standard deviation of noise and misfit at the start of training, in units of ``y``.
            Rather too large than too small.
    """

    result = AdaptedGaussian

    def __init__(self, model: nn.Module, features: int, d_out: int = 1, noise: float = 0.1) -> None:
        super().__init__(model, gaussian_nll)
        self.features, self.d_out = count("features", features), count("d_out", d_out)
        noise = number("noise", noise, positive=True)
        p, like = self.features, next(self.model.parameters()).detach()
        self.prior_mean = nn.Parameter(like.new_zeros(self.d_out, p))
        eye = torch.eye(p, dtype=like.dtype, device=like.device)
        self.prior_root = nn.Parameter(p**-0.5 * eye.repeat(self.d_out, 1, 1))
        self.log_noise = nn.Parameter(like.new_full((self.d_out,), math.log(noise)))
        self.log_misfit = nn.Parameter(like.new_full((self.d_out,), math.log(noise)))

    @property
    def prior_covariance(self) -> Tensor:
        """Covariance of the weights before any data, ``[d_out, p, p]``."""
        return self.prior_root @ self.prior_root.mT

    @property
    def noise(self) -> Tensor:
        """Standard deviation of a measurement about phi(x) w, ``[d_out]``."""
        return self.log_noise.exp()

    @property
    def misfit(self) -> Tensor:
        """Standard deviation of the law about phi(x) w, ``[d_out]``."""
        return self.log_misfit.exp()

    def check_support(self, support: Any) -> None:
        """Refuse a ``y`` that is not ``[n_tasks, n, d_out]``."""
        check_pairs(self, support)
        shape = list(support.y.shape[1:])
        if len(shape) != 2 or shape[-1] != self.d_out:
            raise MamlkitError(
                f"this BayesianHead has d_out={self.d_out}, but y has shape {shape}; it needs "
                "numbers [n, d_out]."
            )

    def inner_path(self, support: Any, steps: int) -> tuple[list[Weights], Tensor]:
        """Posterior mean ``[d_out, p]`` and root ``[d_out, p, p]``; no steps."""
        phi = self._phi(support.x)
        mean, root = condition(self.prior_mean, self.prior_root, phi, support.y, self.noise)
        theta = {"mean": mean, "root": root}
        with torch.no_grad():
            loss = self.loss(self.predictor(theta), support)
        return [theta], loss.detach()[None]

    def predictor(self, theta: Weights) -> Belief:
        """Mean and variance with the posterior ``theta``."""

        def distribution(x: Tensor) -> Gaussian:
            phi = self._phi(x)  # [m, p]
            spread = ((phi @ theta["root"]) ** 2).sum(-1)  # [d_out, m]
            return Gaussian(phi @ theta["mean"].mT, spread.mT + self.misfit**2)

        def gain(x: Tensor) -> Tensor:
            at = self._phi(x) @ theta["root"]  # [d_out, m, p]
            covariance = at @ at.mT  # [d_out, j, c]
            measured = covariance.diagonal(dim1=-2, dim2=-1) + self.noise[:, None] ** 2
            return (covariance**2 / measured[:, None]).mean((0, 1))

        return Belief(distribution, gain)

    def extra_repr(self) -> str:
        """The sizes, for printing and to tell checkpoints apart."""
        return f"features={self.features}, d_out={self.d_out}"

    def _phi(self, x: Tensor) -> Tensor:
        phi: Tensor = self.model(x)
        if phi.shape != (len(x), self.features):
            raise MamlkitError(
                f"the model gives features of shape {list(phi.shape)} for {len(x)} points, but "
                f"this BayesianHead has features={self.features}; it needs [n, features]."
            )
        return phi


# --- the ensemble --------------------------------------------------------------------------------


class _Member(nn.Module):
    """A learner, as a module that does with it whatever it is asked to."""

    def __init__(self, learner: MetaLearner) -> None:
        super().__init__()
        self.learner = learner

    def forward(self, do: Callable[[MetaLearner], Any]) -> Any:
        return do(self.learner)


class Ensemble(MetaLearner):
    """Several meta-learned starts side by side; where they disagree, little is known (deep
    ensembles: Lakshminarayanan, Pritzel and Blundell 2017, arXiv:1612.01474).

    Predicts the mean over members; the variance is their sample variance, plus the mean of their
    own variances where members have one. All see the same tasks, in one ``vmap``. Training descends
    the *sum* over members, so that each takes the very steps it would take alone (Adam); histories
    and validation show that sum. Two things tie members together: ``grad_clip`` bounds the norm
    over all, so give sqrt(members) times what suits one; and ``validation`` keeps the one iteration
    at which the sum is lowest.

    Args:
        make: a function from a seed to a learner, which it must use for the random start:
            ``lambda seed: mk.MAML(mk.models.MLP(1, 1, seed=seed), 0.1)``. For a module that draws
            its start from torch's global generator, call ``torch.manual_seed(seed)`` in it.
        members: how many, at least 2.
        seed: members get ``seed, seed + 1, ..``.

    Attributes:
        inner_steps: of the members.
    """

    result = AdaptedGaussian
    fewest = 2  # of one member alone there is no variance

    def __init__(self, make: Callable[[int], MetaLearner], members: int = 5, seed: int = 0) -> None:
        nn.Module.__init__(self)  # the model is inside the members
        if not callable(make) or isinstance(make, nn.Module):
            raise MamlkitError(
                f"make must be a function from a seed to a learner, but {type(make).__name__} was "
                "given; use lambda seed: mk.MAML(mk.models.MLP(1, 1, seed=seed))."
            )
        seed = count("seed", seed, least=0)
        self.members = count("members", members, least=self.fewest)
        learners = [make(seed + i) for i in range(self.members)]
        first = copy.deepcopy(learners[0])
        _check_alike(learners)
        stacks = zip(first.parameters(), *(each.parameters() for each in learners), strict=True)
        for parameter, *theirs in stacks:
            parameter.data = torch.stack([p.detach() for p in theirs])  # [members, ..]
        self.member = _Member(first)
        self.loss, self.inner_steps = first.loss, first.inner_steps

    @property
    def phase(self) -> Any:
        """What training does now, if members have several behaviours over training."""
        return getattr(self.member.learner, "phase", None)

    def at_iteration(self, done: int) -> None:
        """Called by :func:`mamlkit.meta_train`; told to the members."""
        told: Any = getattr(self.member.learner, "at_iteration", None)
        if told:
            told(done)

    def forward(self, batch: TaskBatch) -> tuple[Tensor, Tensor]:
        """The objective of each task, summed over members, ``[n_tasks]``, and the support losses,
        ``[n_tasks, steps + 1]``, mean over members.
        """
        losses, support = self._each(lambda learner: learner(batch))
        return losses.sum(0), support.mean(0)

    def query_losses(self, batch: TaskBatch, steps: int | None = None) -> Tensor:
        """The objective of each task, summed over members, ``[n_tasks]``."""
        self._check(batch)
        losses: Tensor = self._each(lambda learner: learner.query_losses(batch, steps))
        return losses.sum(0)

    def inner_path(self, support: Any, steps: int) -> tuple[list[Weights], Tensor]:
        """The paths of all members, leaves ``[members, ..]``, and the mean support losses."""
        path, losses = self._each(lambda learner: learner.inner_path(support, steps))
        return path, losses.mean(0)

    def predictor(self, theta: Weights) -> Belief:
        """The mixture of the members, one entry of :meth:`inner_path` given."""

        def distribution(x: Tensor) -> Gaussian:
            def one(learner: MetaLearner, theta: Weights) -> Gaussian:
                predict: Any = learner.predictor(theta)
                if hasattr(predict, "distribution"):
                    return cast(Gaussian, predict.distribution(x))
                y = predict(x)
                return Gaussian(y, torch.zeros_like(y))

            mean, variance = self._each(one, theta)  # [members, m, d_out]
            return Gaussian(mean.mean(0), mean.var(0) + variance.mean(0))

        return Belief(distribution)

    def extra_repr(self) -> str:
        """The number of members and their settings, to tell checkpoints apart."""
        return f"members={self.members}, {self.member.learner.extra_repr()}"

    def _each(self, do: Callable[..., Any], *stacked: Any) -> Any:
        """``do(learner, *one of each stack)`` for each member; leaves ``[members, ..]``."""

        def one(weights: Weights, *rest: Any) -> Any:
            return functional_call(self.member, weights, (lambda learner: do(learner, *rest),))

        return vmap(one)(dict(self.member.named_parameters()), *stacked)

    def network(self) -> nn.Module:
        """The model of all members, its parameters stacked ``[members, ..]``."""
        return self.member.learner.model

    def check_support(self, support: Any) -> None:
        """Refuse a support that the members cannot adapt to."""
        self.member.learner.check_support(support)

    def check_input(self, x: Tensor) -> None:
        """Refuse points ``x [n, ..]`` that the model of the members cannot take."""
        model = type(self.network()).__name__
        run(lambda x: cast(Tensor, self._each(lambda learner: learner.model(x))), x, model)

    def _steps(self, steps: int | None) -> int:
        return self.member.learner._steps(steps)


def _check_alike(learners: list[MetaLearner]) -> None:
    """Members must differ in their start, and in nothing else."""
    first = learners[0]
    for other in learners:
        if not isinstance(other, MetaLearner):
            raise MamlkitError(
                f"make(seed) must return a meta-learner, such as mk.MAML(..), but "
                f"{type(other).__name__} was returned."
            )
        if isinstance(other, Ensemble | ImplicitMAML):
            raise MamlkitError(
                f"members run side by side in one vmap, which {type(other).__name__} cannot do; "
                "take another kind."
            )
        sizes = [{n: p.shape for n, p in each.named_parameters()} for each in (first, other)]
        if repr(other) != repr(first) or sizes[0] != sizes[1]:
            raise MamlkitError(
                "members of an ensemble must be alike but for their random start, yet make(seed) "
                f"returned {first} and {other}."
            )
        pairs = zip(first.buffers(), other.buffers(), strict=True)
        if not all(torch.equal(a, b) for a, b in pairs):
            raise MamlkitError(
                "members of an ensemble must share their buffers (constants), but those of "
                "make(seed) differ with the seed; make them parameters."
            )
    starts = [torch.cat([p.detach().reshape(-1) for p in each.parameters()]) for each in learners]
    if any(torch.equal(starts[0], other) for other in starts[1:]):
        raise MamlkitError(
            "make(seed) gave two members the same start, so they would never differ; use the seed, "
            "as in lambda seed: mk.MAML(mk.models.MLP(1, 1, seed=seed))."
        )
