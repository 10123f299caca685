"""A head for each kind of task; a new task is shared out among them by evidence."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call

from mamlkit.checks import count
from mamlkit.errors import MamlkitError
from mamlkit.learners.base import Weights
from mamlkit.learners.bayes import BayesianHead
from mamlkit.learners.beliefs import AdaptedGaussian, Belief, Gaussian
from mamlkit.learners.ensemble import Stacked
from mamlkit.learners.meta import MetaLearner
from mamlkit.learners.vectorise import each, vectorised
from mamlkit.tasks.base import TaskBatch
from mamlkit.tasks.mixture import LABEL


class Specialists(Stacked):
    """Bayesian heads side by side, each for a kind of task of its own. Adapting infers the kind.

    Head j foretells the support with the evidence p_j = p(y | x, head j) before it learns from it
    (:meth:`mamlkit.BayesianHead.evidence`). If all kinds are equally frequent, the share
    p_j / sum_k p_k is the probability that the task is of kind j, and the prediction is the mean
    over heads by these shares (Bayesian model averaging: Hoeting et al. 1999, Statistical Science
    14, 382), with what heads differ by in its variance.

    Training is *told* the kind: of a :class:`mamlkit.tasks.Mixture` each task trains the head of
    its label, ``physics["family"]``, and no other. So ``meta_train`` on a mixture trains all heads
    in one run, each on its own tasks. Heads that were trained before are put together by
    ``Specialists(lambda j: heads[j], len(heads))``.

    Adapted weights: ``mean [members, d_out, p]`` and ``root`` of all heads, and ``evidence
    [members]``, as its logarithm.
    Taught in notebook 19.

    Args:
        make: a function from a seed to a :class:`mamlkit.BayesianHead`, which it must use for the
            random start.
        members: how many kinds, at least 2.
        seed: heads get ``seed, seed + 1, ..``.

    Attributes:
        average: False takes the head of the greatest evidence alone.
    """

    result = AdaptedGaussian

    def __init__(
        self, make: Callable[[int], MetaLearner], members: int, seed: int = 0, average: bool = True
    ) -> None:
        super().__init__(make, count("members", members, least=2), seed)
        self.average = average
        if not isinstance(self.learner, BayesianHead):
            raise MamlkitError(
                "only a mk.BayesianHead says how well it foretells a task, but make(seed) returned "
                f"{type(self.learner).__name__}."
            )

    @vectorised
    def forward(self, batch: TaskBatch) -> tuple[Tensor, Tensor]:
        """What training descends: the objective of each task for the head of its kind,
        ``[n_tasks]``, and the support losses, ``[n_tasks, 1]``.
        """
        if LABEL not in batch.physics:
            raise MamlkitError(
                f"Specialists are trained on tasks that say their kind in physics[{LABEL!r}], such "
                "as those of mk.tasks.Mixture; train one mk.BayesianHead where there is one kind."
            )
        label = batch.physics[LABEL].long()
        own = {name: p[label] for name, p in self.member.named_parameters()}  # [n_tasks, ..]

        def one_task(weights: Weights, support: Any, query: Any) -> tuple[Tensor, Tensor]:
            def judged(head: MetaLearner) -> tuple[Tensor, Tensor]:
                losses, on_support = head.judged_path(support, query, [0])
                return losses[0], on_support

            return functional_call(self.member, weights, (judged,))

        return each(one_task)(own, batch.support, batch.query)

    def inner_path(self, support: Any, steps: int) -> tuple[list[Weights], Tensor]:
        """The posteriors of all heads and their log evidence, and the support loss, ``[1]``."""

        def one(head: Any) -> tuple[Weights, Tensor]:
            return head.inner_path(support, steps)[0][0], head._evidence(support)

        theta, evidence = self._each(one)
        theta = {**theta, "evidence": evidence}
        with torch.no_grad():
            loss = self.judge(self.predictor(theta), support)
        return [theta], loss.detach()[None]

    def shares(self, evidence: Tensor) -> Tensor:
        """How much each head counts, given their log evidence ``[.., members]``."""
        if self.average:
            return evidence.softmax(-1)
        best = evidence.argmax(-1, keepdim=True)
        return torch.zeros_like(evidence).scatter(-1, best, 1.0)

    def predictor(self, theta: Weights) -> Belief:
        """The mean over heads by their shares."""
        shares = self.shares(theta["evidence"])[:, None, None]  # [members, 1, 1]
        posterior = {name: theta[name] for name in ("mean", "root")}

        def distribution(x: Tensor) -> Gaussian:
            def one(head: Any, own: Weights) -> Gaussian:
                return head.predictor(own).distribution(x)

            means, variances = self._each(one, posterior)  # [members, m, d_out]
            mean = (shares * means).sum(0)
            return Gaussian(mean, (shares * (variances + (means - mean) ** 2)).sum(0))

        noise = self._each(lambda head: head.noise)  # [members, d_out]
        return Belief(distribution, noise=(shares[..., 0] * noise**2).sum(0).sqrt())

    def extra_repr(self) -> str:
        """The number of heads and their settings, to tell checkpoints apart."""
        return super().extra_repr() + ("" if self.average else ", average=False")
