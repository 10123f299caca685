"""A learner that works in order one, for readings in their own units."""

from __future__ import annotations

from statistics import NormalDist
from typing import Any

import torch
from torch import Tensor

from mamlkit.checks import Made, Remade
from mamlkit.errors import MamlkitError
from mamlkit.learners.beliefs import distribution_of
from mamlkit.learners.checking import as_numbers
from mamlkit.tasks.base import Data, Readings
from mamlkit.tasks.scales import Scales


class Scaled:
    """A learner of numbers of order one, used in the units of a table.

    Args:
        learner: anything with ``adapt``, trained inside ``scales``.
        scales: see :class:`mamlkit.tasks.Scales`.
    """

    def __init__(self, learner: Any, scales: Scales) -> None:
        self.learner, self.scales = learner, scales

    def adapt(self, x: Any, y: Tensor | None = None) -> Rescaled:
        """Adapt to ``x [n, d_in]``, ``y [n, d_out]`` in their own units; n may be 0."""
        support = as_numbers(x, y, least=0)
        if support.x.shape[1] != self.scales.x.shape[1]:
            raise MamlkitError(
                f"x has {support.x.shape[1]} columns; this learner takes {self.scales.x.shape[1]}."
            )
        given: Any = support
        inside = self.scales.inside(support)
        if not isinstance(x, Readings):  # without error bars: each as good as a usual reading
            given = Data(support.x, support.y)
            inside = inside._replace(weight=torch.ones_like(inside.weight))
        adapted = Rescaled(self.learner.adapt(inside), self.scales)
        adapted.made = Made(self.adapt, (given,), {})
        return adapted


class Rescaled(Remade):
    """A prediction in the units of a table: call it on ``x [m, d_in]`` to get ``[m, d_out]``; of an
    output whose logarithm was learned that is the median.
    """

    def __init__(self, predict: Any, scales: Scales) -> None:
        self.predict, self.scales = predict, scales

    def __call__(self, x: Tensor) -> Tensor:
        """Predict: ``[m, d_in] -> [m, d_out]``."""
        return self.scales.y_outside(self.predict(self.scales.x_inside(x)).detach()).to(x)

    def interval(self, x: Tensor, level: float = 0.9) -> tuple[Tensor, Tensor]:
        """Where a new reading at ``x [m, d_in]`` will lie with this probability: the lower and the
        upper end, ``[m, d_out]`` each. Its error bar is that of a usual reading.

        Raises:
            MamlkitError: if the learner does not say how sure it is.
        """
        if not 0 < level < 1:
            raise MamlkitError(f"level must lie between 0 and 1, but {level!r} was given.")
        mean, variance = distribution_of(self.predict, "interval")(self.scales.x_inside(x))
        noise = getattr(self.predict, "noise", 0.0)
        reach = NormalDist().inv_cdf((1 + level) / 2) * (variance + noise**2).sqrt()
        ends = (self.scales.y_outside((mean + side * reach).detach()) for side in (-1, 1))
        low, high = (end.to(x) for end in ends)
        return low, high
