"""Bayesian linear regression on learned features, in closed form."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from mamlkit.checks import as_tensor, count, number
from mamlkit.errors import MamlkitError
from mamlkit.learners.base import Weights
from mamlkit.learners.beliefs import AdaptedGaussian, Belief, Gaussian, gaussian_nll
from mamlkit.learners.checking import as_data
from mamlkit.learners.heads import ClosedForm, Features
from mamlkit.learners.vectorise import each, run
from mamlkit.tasks.base import Data


def condition(
    mean: Tensor, root: Tensor, phi: Tensor, y: Tensor, noise: Tensor
) -> tuple[Tensor, Tensor]:
    """Bayes' rule for linear regression: w ~ N(mean, root root^T), y = phi w + noise.

    ``mean [d_out, p]``, ``root [d_out, p, p]``; ``phi [n, p]``, or ``[d_out, n, p]`` where outputs
    differ, ``y [n, d_out]``, n may be 0;
    ``noise [d_out]`` is the standard deviation. Returns mean and root of the posterior.

    With w = mean + root z and z ~ N(0, I), the posterior precision of z is I + B^T B with
    B = phi root / noise: never below I, so it can be factorised even where the noise is small.
    """
    b = phi @ root / noise[:, None, None]  # [d_out, n, p]
    eye = torch.eye(phi.shape[-1], dtype=phi.dtype, device=phi.device)
    lower = torch.linalg.cholesky(eye + b.mT @ b)  # lower lower^T = I + B^T B
    root = torch.linalg.solve_triangular(lower, root.mT, upper=False).mT  # root lower^-T
    surprise = (y.mT - (phi @ mean[..., None])[..., 0]) / noise[:, None] ** 2  # [d_out, n]
    step = root @ (root.mT @ (phi.mT @ surprise[..., None]))  # [d_out, p, 1]
    return mean + step[..., 0], root


class BayesianHead(ClosedForm):
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
    Taught in notebook 07.

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
        self.n_features, self.d_out = count("features", features), count("d_out", d_out)
        noise = number("noise", noise, positive=True)
        p, like = self.n_features, next(self.model.parameters()).detach()
        self.prior_mean = nn.Parameter(like.new_zeros(self.d_out, p))
        eye = torch.eye(p, dtype=like.dtype, device=like.device)
        self.prior_root = nn.Parameter(p**-0.5 * eye.repeat(self.d_out, 1, 1))
        self.log_noise = nn.Parameter(like.new_full((self.d_out,), math.log(noise)))
        self.log_misfit = nn.Parameter(like.new_full((self.d_out,), math.log(noise)))

    @property
    def noise(self) -> Tensor:
        """Standard deviation of a measurement about phi(x) w, ``[d_out]``."""
        return self.log_noise.exp()

    @property
    def misfit(self) -> Tensor:
        """Standard deviation of the law about phi(x) w, ``[d_out]``."""
        return self.log_misfit.exp()

    def features(self, x: Tensor) -> Tensor:
        """phi(x), ``[n, p]``."""
        phi = super().features(x)
        if phi.shape[1] != self.n_features:
            raise MamlkitError(
                f"the model gives features of shape {list(phi.shape)} for {len(x)} points, but "
                f"this BayesianHead has features={self.n_features}; it needs [n, features]."
            )
        return phi

    def fit(self, features: Tensor, y: Tensor, weight: Tensor | None) -> Weights:
        """Posterior mean ``[d_out, p]`` and root ``[d_out, p, p]`` of one task."""
        if weight is not None:  # sqrt(w) y = sqrt(w) phi w + noise: again all alike
            root = weight.expand_as(y).sqrt()  # [n, d_out]
            features, y = root.mT[..., None] * features, root * y  # features [d_out, n, p]
        mean, root = condition(self.prior_mean, self.prior_root, features, y, self.noise)
        return {"mean": mean, "root": root}

    def predictor(self, theta: Weights, features: Features | None = None) -> Belief:
        """Mean and variance with the posterior ``theta``."""
        of = features or self.features

        def distribution(x: Tensor) -> Gaussian:
            phi = of(x)  # [m, p]
            spread = ((phi @ theta["root"]) ** 2).sum(-1)  # [d_out, m]
            return Gaussian(phi @ theta["mean"].mT, spread.mT + self.misfit**2)

        def gain(x: Tensor) -> Tensor:
            at = of(x) @ theta["root"]  # [d_out, m, p]
            covariance = at @ at.mT  # [d_out, j, c]
            measured = covariance.diagonal(dim1=-2, dim2=-1) + self.noise[:, None] ** 2
            return (covariance**2 / measured[:, None]).mean((0, 1))

        return Belief(distribution, gain, self.noise)

    def evidence(self, x: Any, y: Tensor | None = None) -> Tensor:
        """How well the prior of this head foretells the points of a task: log p(y | x) before
        anything is learned from them, outputs added up. Of several heads, the one whose world a
        task comes from should give it the greatest.

        Each output is N(phi mean, phi root root^T phi^T + noise^2) at all points together (Bishop
        2006, eq. 3.86, with the head's own mean): noise is about phi(x) w, as in adapting, and that
        of a reading of weight w is noise / sqrt(w).

        Args:
            x: ``[n, d_in]`` with ``y [n, d_out]``, one NamedTuple of both, or of many tasks
                ``[n_tasks, n, ..]``.

        Returns a scalar, or ``[n_tasks]``; differentiable in the head's parameters.
        """
        like, given = dict(self.model.named_parameters()), x if y is None else Data(x, y)
        alone = getattr(getattr(given, "y", None), "ndim", 2) < 3
        if alone:
            data = as_data(given, None, like)
            tasks = type(data)(*(leaf[None] for leaf in data))
        else:
            named = zip(given._fields, given, strict=True)
            tasks = type(given)(*(as_tensor(name, leaf, like) for name, leaf in named))
        self.check_support(tasks)
        return run(self, lambda: each(self._evidence)(tasks))[0 if alone else ...]

    def _evidence(self, data: Any) -> Tensor:
        """The log evidence of one task."""
        weight = getattr(data, "weight", None)
        weight = torch.ones_like(data.y) if weight is None else weight.expand_as(data.y)
        phi = self.features(data.x)  # [n, p]
        error = data.y.mT - self.prior_mean @ phi.mT  # [d_out, n]
        scale = weight.mT.sqrt() / self.noise[:, None]  # [d_out, n]: 0 for padding
        b = scale[..., None] * (phi @ self.prior_root)  # [d_out, n, p]
        eye = torch.eye(phi.shape[-1], dtype=phi.dtype, device=phi.device)
        lower = torch.linalg.cholesky(eye + b.mT @ b)
        z = scale * error
        half = torch.linalg.solve_triangular(lower, b.mT @ z[..., None], upper=False)
        there = weight.mT > 0
        spread = (
            -2 * scale.where(there, 1.0).log().sum() + math.log(2 * math.pi) * there.to(z).sum()
        )
        log_det = 2 * lower.diagonal(dim1=-2, dim2=-1).log().sum()
        return -(spread + log_det + z.square().sum() - half.square().sum()) / 2

    def check_y(self, y: Tensor) -> None:
        """Refuse ``y`` that is not ``[n_tasks, n, d_out]``."""
        shape = list(y.shape[1:])
        if len(shape) != 2 or shape[-1] != self.d_out:
            raise MamlkitError(
                f"this BayesianHead has d_out={self.d_out}, but y has shape {shape}; it needs "
                "numbers [n, d_out]."
            )

    def extra_repr(self) -> str:
        """The sizes, for printing and to tell checkpoints apart."""
        return f"features={self.n_features}, d_out={self.d_out}"
