"""Learners on streams: each is led along, predicts before it sees, and is judged by the truth."""

from __future__ import annotations

from statistics import NormalDist
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mamlkit.checks import count, number
from mamlkit.errors import MamlkitError
from mamlkit.learners.beliefs import Gaussian
from mamlkit.tasks.streams import Streams


class Followed(NamedTuple):
    """What a learner expected at each tick, before it saw the reading: ``mean [n, ticks, d_out]``
    and ``variance`` of the law (None where it gives none), beside ``truth`` and reading ``y``.
    """

    mean: Tensor
    variance: Tensor | None
    truth: Tensor
    y: Tensor

    @property
    def errors(self) -> Tensor:
        """Squared error against the truth at each tick, mean over outputs, ``[n, ticks]``."""
        return (self.mean - self.truth).square().mean(-1)


@torch.no_grad()
def follow(learner: Any, streams: Streams) -> Followed:
    """Lead a learner along streams: at each tick it predicts at the place of the reading to come,
    and only then sees it.

    Args:
        learner: with ``start``, ``predict`` and ``update``, as in :mod:`mamlkit.learners.online`.
        streams: such as :func:`mamlkit.tasks.drifting` draws.

    Raises:
        MamlkitError: if a prediction has another shape than the readings.
    """
    n, ticks = streams.y.shape[:2]
    state, found = learner.start(n), []
    for t in range(ticks):
        x, y = streams.x[:, t], streams.y[:, t]
        said = learner.predict(state, x[:, None])
        mean, variance = said if isinstance(said, Gaussian) else (said, None)
        if mean.shape != y[:, None].shape:
            raise MamlkitError(
                f"{type(learner).__name__} predicts shape {list(mean.shape)} for one place a "
                f"stream; it must be [n, 1, d_out] = {list(y[:, None].shape)}."
            )
        found.append((mean[:, 0], None if variance is None else variance[:, 0]))
        state = learner.update(state, x, y)
    means, variances = zip(*found, strict=True)
    sure = None if variances[0] is None else torch.stack(variances, 1)
    return Followed(torch.stack(means, 1), sure, streams.truth, streams.y)


def dynamic_regret(followed: Followed, best: Followed) -> Tensor:
    """How much more squared error a learner has gathered by each tick than ``best`` has, which may
    change as the system does, such as the filter that is told the law: ``[n, ticks]``.
    """
    return (followed.errors - best.errors).cumsum(1)


def after_jumps(values: Tensor, jumped: Tensor, ticks: int = 40) -> Tensor:
    """The ``values [n, T]`` of all jumps side by side, ``[jumps, ticks]``; the first is that of the
    tick at which the system has changed. Jumps too near to the end are left out.
    """
    ticks = count("ticks", ticks)
    stream, when = jumped[:, : jumped.shape[1] - ticks + 1].nonzero(as_tuple=True)
    if not len(stream):
        raise MamlkitError(f"no stream has a jump with {ticks} ticks after it.")
    return values[stream[:, None], when[:, None] + torch.arange(ticks)]


def recovery_time(followed: Followed, jumped: Tensor, level: float, ticks: int = 40) -> int | None:
    """How many readings after a jump it takes until the mean squared error over all jumps is at
    most ``level`` and stays there for three ticks; None if not within ``ticks``.
    """
    level = number("level", level, positive=True)
    course = after_jumps(followed.errors, jumped, ticks).mean(0)  # [ticks]
    low = course <= level
    good = (low[:-2] & low[1:-1] & low[2:]).nonzero()
    return int(good[0]) if len(good) else None


def coverage(
    followed: Followed, level: float = 0.95, noise: float | Tensor | None = None
) -> Tensor:
    """In what part of its ticks does the truth of a stream lie in the central interval of the
    predictive Gaussian? ``[n]``. With the ``noise`` of a reading: the reading, not the truth.
    """
    if not 0 < number("level", level) < 1:
        raise MamlkitError(f"level must lie between 0 and 1, such as 0.95, not {level!r}.")
    z, _ = standardised(followed, noise)
    return (z.abs() <= NormalDist().inv_cdf((1 + level) / 2)).double().mean((1, 2))


def standardised(followed: Followed, noise: float | Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Truth less mean, in units of the standard deviation that the learner claims, and that
    standard deviation: ``[n, ticks, d_out]`` each. With a ``noise``, of readings, not the truth.
    """
    if followed.variance is None:
        raise MamlkitError(
            "this learner says a number without a variance; intervals and alarms need one that "
            "says how sure it is, such as mk.learners.OnlineHead."
        )
    variance = (
        followed.variance if noise is None else followed.variance + torch.as_tensor(noise) ** 2
    )
    target = followed.truth if noise is None else followed.y
    return (target - followed.mean) / variance.sqrt(), variance.sqrt()


def alarm(
    followed: Followed, noise: float | Tensor, window: int = 10, rate: float = 1e-3
) -> Tensor:
    """Does what comes still fit what was expected? True at a tick where the sum of squares of the
    last ``window`` innovations, in units of their standard deviation, is above the quantile
    ``1 - rate`` of chi squared with as many degrees of freedom: ``[n, ticks]``.

    Innovations of a filter whose model is right are independent N(0, 1) (Kailath 1968), so that is
    the share of ticks with a false alarm. In the first ticks of a stream the window holds those
    there are.
    """
    from scipy.stats import chi2

    window = count("window", window)
    if not 0 < number("rate", rate) < 1:
        raise MamlkitError(f"rate must lie between 0 and 1, such as 0.001, not {rate!r}.")
    z, _ = standardised(followed, noise)
    squares = z.square().sum(-1).cumsum(1)  # [n, ticks]
    total = squares.clone()
    total[:, window:] -= squares[:, :-window]
    seen = (torch.arange(total.shape[1]) + 1).clamp(max=window)
    return total > torch.as_tensor(chi2.ppf(1 - rate, z.shape[-1] * seen.numpy()))
