"""Learners that are alike but for their start, side by side in one ``vmap``: what all such stacks
share, and the ensemble.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from mamlkit.checks import count
from mamlkit.errors import MamlkitError
from mamlkit.learners.base import Weights, flatten, size_hint
from mamlkit.learners.beliefs import AdaptedGaussian, Belief, Gaussian
from mamlkit.learners.checking import check_size
from mamlkit.learners.implicit import ImplicitMAML
from mamlkit.learners.meta import MetaLearner
from mamlkit.learners.vectorise import each, vectorised
from mamlkit.models import copied
from mamlkit.tasks.base import TaskBatch


class _Member(nn.Module):
    """A learner, as a module that does with it whatever it is asked to."""

    def __init__(self, learner: MetaLearner) -> None:
        super().__init__()
        self.learner = learner

    def forward(self, do: Callable[[MetaLearner], Any]) -> Any:
        return do(self.learner)


class Stacked(MetaLearner):
    """Several learners that differ in their start alone, as one whose parameters are stacked. A
    subclass says what becomes of what they find.

    Args:
        make: a function from a seed to a learner, which it must use for the start.
        members: how many.
        seed: members get ``seed, seed + 1, ..``.

    Attributes:
        inner_steps: of the members.
    """

    def __init__(self, make: Callable[[int], MetaLearner], members: int, seed: int) -> None:
        nn.Module.__init__(self)  # the model is inside the members
        if not callable(make) or isinstance(make, nn.Module):
            raise MamlkitError(
                f"make must be a function from a seed to a learner, but {type(make).__name__} was "
                "given; use lambda seed: mk.MAML(mk.models.MLP(1, 1, seed=seed))."
            )
        seed, self.members = count("seed", seed, least=0), members
        learners = [make(seed + i) for i in range(members)]
        first = copied(learners[0])
        _check_alike(learners)
        stacks = zip(first.parameters(), *(each.parameters() for each in learners), strict=True)
        for parameter, *theirs in stacks:
            parameter.data = torch.stack([p.detach() for p in theirs])  # [members, ..]
        self.member = _Member(first)
        self.loss, self.inner_steps = first.loss, first.inner_steps
        self.step_weights = first.step_weights

    @property
    def learner(self) -> MetaLearner:
        """The one learner that all members share, but for their parameters."""
        return self.member.learner

    @property
    def phase(self) -> Any:
        """What training does now, if members have several behaviours over training."""
        return getattr(self.learner, "phase", None)

    def at_iteration(self, done: int) -> None:
        """Called by :func:`mamlkit.meta_train`; told to the members."""
        told: Any = getattr(self.learner, "at_iteration", None)
        if told:
            told(done)

    def every_path(self, support: Any, steps: int) -> tuple[list[Weights], Tensor]:
        """The paths of all members on one task, leaves ``[members, ..]``, and their support losses,
        ``[members, steps + 1]``.
        """
        return self._each(lambda learner: learner.inner_path(support, steps))

    def alone(self, member: int) -> Any:
        """A copy of one member, the first is 0, as a learner of its own."""
        own = copied(self.learner)
        for stacked in own.parameters():
            stacked.data = stacked.data[member].clone()
        return own

    def extra_repr(self) -> str:
        """The number of members and their settings, to tell checkpoints apart."""
        return f"members={self.members}, {self.learner.extra_repr()}"

    def _each(self, do: Callable[..., Any], *stacked: Any) -> Any:
        """``do(learner, *one of each stack)`` for each member; leaves ``[members, ..]``."""

        def one(weights: Weights, *rest: Any) -> Any:
            return functional_call(self.member, weights, (lambda learner: do(learner, *rest),))

        return each(one)(dict(self.member.named_parameters()), *stacked)

    def network(self) -> nn.Module:
        """The model of all members, its parameters stacked ``[members, ..]``."""
        return self.learner.model

    def check_support(self, support: Any) -> None:
        """Refuse a support that the members cannot adapt to."""
        self.learner.check_support(support)

    def check_input(self, x: Tensor) -> None:
        """Refuse points ``x [n, ..]`` that the model of the members cannot take."""
        check_size(self.network(), x)
        with size_hint(type(self.network()).__name__, x):
            self._each(lambda learner: learner.model(x))

    def _steps(self, steps: int | None) -> int:
        return self.learner._steps(steps)


class Ensemble(Stacked):
    """Several meta-learned starts side by side; where they disagree, little is known (deep
    ensembles: Lakshminarayanan, Pritzel and Blundell 2017, arXiv:1612.01474).

    Predicts the mean over members; the variance is their sample variance, plus the mean of their
    own variances where members have one. All see the same tasks, in one ``vmap``. Training descends
    the *sum* over members, so that each takes the very steps it would take alone (Adam); histories
    and validation show that sum. Two things tie members together: ``grad_clip`` bounds the norm
    over all, so give sqrt(members) times what suits one; and ``validation`` keeps the one iteration
    at which the sum is lowest.
    Taught in notebook 07.

    Args:
        make: a function from a seed to a learner, which it must use for the random start:
            ``lambda seed: mk.MAML(mk.models.MLP(1, 1, seed=seed), 0.1)``. For a module that draws
            its start from torch's global generator, call ``torch.manual_seed(seed)`` in it.
        members: how many, at least 2.
        seed: members get ``seed, seed + 1, ..``.
    """

    result = AdaptedGaussian

    def __init__(self, make: Callable[[int], MetaLearner], members: int = 5, seed: int = 0) -> None:
        # of one member alone there is no variance
        super().__init__(make, count("members", members, least=2), seed)

    @vectorised
    def forward(self, batch: TaskBatch) -> tuple[Tensor, Tensor]:
        """The objective of each task, summed over members, ``[n_tasks]``, and the support losses,
        ``[n_tasks, steps + 1]``, mean over members.
        """
        losses, support = self._each(lambda learner: learner(batch))
        return losses.sum(0), support.mean(0)

    @vectorised
    def query_losses(self, batch: TaskBatch, steps: int | None = None) -> Tensor:
        """The objective of each task, summed over members, ``[n_tasks]``."""
        batch = self.checked(batch)
        return self._each(lambda learner: learner.query_losses(batch, steps)).sum(0)

    def inner_path(self, support: Any, steps: int) -> tuple[list[Weights], Tensor]:
        """The paths of all members, leaves ``[members, ..]``, and the mean support losses."""
        path, losses = self.every_path(support, steps)
        return path, losses.mean(0)

    def predictor(self, theta: Weights) -> Belief:
        """The mixture of the members, one entry of :meth:`inner_path` given."""

        def distribution(x: Tensor) -> Gaussian:
            def one(learner: MetaLearner, theta: Weights) -> Gaussian:
                predict: Any = learner.predictor(theta)
                if hasattr(predict, "distribution"):
                    return predict.distribution(x)
                y = predict(x)
                return Gaussian(y, torch.zeros_like(y))

            mean, variance = self._each(one, theta)  # [members, m, d_out]
            return Gaussian(mean.mean(0), mean.var(0) + variance.mean(0))

        return Belief(distribution)


def _check_alike(learners: list[MetaLearner]) -> None:
    """Members must differ in their start, and in nothing else."""
    first = learners[0]
    for other in learners:
        if not isinstance(other, MetaLearner):
            raise MamlkitError(
                f"make(seed) must return a meta-learner, such as mk.MAML(..), but "
                f"{type(other).__name__} was returned."
            )
        if isinstance(other, Stacked | ImplicitMAML):
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
    starts = [flatten(dict(each.named_parameters())) for each in learners]
    if any(torch.equal(starts[0], other) for other in starts[1:]):
        raise MamlkitError(
            "make(seed) gave two members the same start, so they would never differ; use the seed, "
            "as in lambda seed: mk.MAML(mk.models.MLP(1, 1, seed=seed))."
        )
