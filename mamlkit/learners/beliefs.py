"""How sure is a prediction? Predictions that give a Gaussian, not a number alone, how they are
judged, and where they say to measure next.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from torch import Tensor

from mamlkit.checks import Remade, as_points
from mamlkit.errors import MamlkitError
from mamlkit.learners.base import Adapted
from mamlkit.losses import Predict, mean_over
from mamlkit.tasks.base import Readings


class Gaussian(NamedTuple):
    """What is believed of the law at m points: ``mean`` and ``variance``, ``[m, d_out]`` each.

    Of the law itself, as the query of a family holds it. A new measurement has its noise besides.
    """

    mean: Tensor
    variance: Tensor


class Belief(Remade):
    """A prediction that knows how sure it is: call it for the mean, ask it for the distribution.

    Args:
        distribution: ``x [m, d_in] -> Gaussian [m, d_out]``.
        gain: what a measurement at each x is worth, ``[m]``; see :func:`where_next`. By default
            the variance there.
        noise: standard deviation of a reading of weight 1 about the law, one number or ``[d_out]``.
    """

    def __init__(
        self,
        distribution: Callable[[Tensor], Gaussian],
        gain: Callable[[Tensor], Tensor] | None = None,
        noise: float | Tensor = 0.0,
    ) -> None:
        self.distribution, self.noise = distribution, noise
        self.gain = gain or (lambda x: distribution(x).variance.mean(-1))

    def __call__(self, x: Tensor) -> Tensor:
        """The mean: ``[m, d_in] -> [m, d_out]``."""
        return self.distribution(x).mean


class AdaptedGaussian(Adapted):
    """As :class:`mamlkit.learners.Adapted`, and it says how sure it is."""

    _predict: Belief

    def distribution(self, x: Tensor) -> Gaussian:
        """Mean and variance of the law at ``x [m, d_in]``: ``[m, d_out]`` each."""
        return self._ask(self._predict.distribution, x)

    @property
    def noise(self) -> float | Tensor:
        """Standard deviation of a reading of weight 1 about the law, in units of ``y``."""
        return self._predict.noise

    def gain(self, x: Tensor) -> Tensor:
        """What a measurement at each of ``x [m, d_in]`` is worth, ``[m]``: :func:`where_next`."""
        return self._ask(self._predict.gain, x)


def distribution_of(predict: Any, asker: str) -> Callable[[Tensor], Gaussian]:
    """What gives the Gaussian of a prediction; a prediction without one is refused."""
    if not hasattr(predict, "distribution"):
        raise MamlkitError(
            f"{asker} needs a prediction with .distribution(x), such as mk.BayesianHead or "
            "mk.Ensemble gives; this one is a number without a variance."
        )
    return predict.distribution


def gaussian_nll(predict: Predict, data: Any) -> Tensor:
    """Negative log likelihood of ``data.y`` under ``predict.distribution``, mean over points and
    outputs: ``log(2 pi v) / 2 + (y - m)^2 / (2 v)``. Points are judged one by one. Those with a
    weight w are readings: v then has the noise of a reading besides, noise^2 / w.
    """
    mean, variance = of_readings(predict, data, "gaussian_nll")
    if mean.shape != data.y.shape:
        raise MamlkitError(
            f"the model predicts shape {list(mean.shape)}, but y has shape {list(data.y.shape)}; "
            "a Gaussian likelihood needs both alike, [n, d_out]."
        )
    values = (2 * math.pi * variance).log() + (data.y - mean) ** 2 / variance
    return mean_over(values, there(data)) / 2


def of_readings(predict: Any, data: Any, asker: str) -> Gaussian:
    """What is believed of ``data.y``: of the law, and of readings where points have weights."""
    mean, variance = distribution_of(predict, asker)(data.x)
    weight = getattr(data, "weight", None)
    if weight is not None:
        error = getattr(predict, "noise", 0.0) / weight.where(weight > 0, 1.0).sqrt()
        variance = variance + error**2
    return Gaussian(mean, variance)


def there(data: Any) -> Any:
    """Points that each count alike, but for padding, which does not count."""
    if not isinstance(data, Readings):
        return data
    return data._replace(weight=(data.weight > 0).to(data.y.dtype))


def where_next(predict: Any, x: Tensor) -> int:
    """Where to measure next: the index of the best of the candidates ``x [m, d_in]``.

    For a Bayesian head: the candidate that lowers the mean variance over all candidates most.
    Measuring at c lowers the variance at j by ``cov(j, c)^2 / (cov(c, c) + noise^2)``, whatever
    comes out. For an ensemble and the rest: the candidate where the variance is greatest.
    Taught in notebook 07.
    """
    belief = Belief(distribution_of(predict, "where_next"), getattr(predict, "gain", None))
    return int(belief.gain(as_points("x", x)).argmax())
