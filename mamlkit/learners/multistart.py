"""Several learned starts for a loss with several valleys."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from mamlkit.checks import count, number
from mamlkit.errors import MamlkitError
from mamlkit.learners.base import Weights
from mamlkit.learners.ensemble import Stacked
from mamlkit.learners.maml import MAML
from mamlkit.learners.meta import MetaLearner
from mamlkit.losses import Loss, Predict, as_loss


class Multistart(Stacked):
    """Several starts, adapted side by side in one ``vmap``; the one whose support loss is lowest in
    the end is taken.

    Gradient descent ends in the valley in which it starts. Where the support loss has several, as
    in the frequency of an oscillation, one start will not do, however it was learned. Here the
    starts are learned *jointly*, each with its own step sizes if these are learned. Training
    descends, for each task, the mean query loss of the starts with the weights
    ``softmax(-support loss / temperature)``: so a start is trained on the tasks that it is chosen
    for, and they divide the tasks among them. The support losses that weigh are taken for
    constants.

    K starts cost K times the work of one.
    Taught in notebook 08.

    Args:
        make: a function from a number to a :class:`MAML` learner of any kind, which it must use for
            the start: ``lambda i: mk.MAML(simulator.at({"frequency": 1.0 + i}), 0.1, 20)``.
        starts: how many.
        seed: starts get ``seed, seed + 1, ..``.
        temperature: in units of the loss; support losses that differ by less share a task. 0 trains
            the chosen start alone.
        query_loss: what training descends on the query, ``(predict, data) -> scalar``, where it is
            not the loss of the inner loop. A mean squared error is ruled by the few tasks that end
            in a wrong valley; its logarithm, say, is not.
    """

    def __init__(
        self,
        make: Callable[[int], MetaLearner],
        starts: int = 8,
        seed: int = 0,
        *,
        temperature: float = 0.1,
        query_loss: Loss | None = None,
    ) -> None:
        super().__init__(make, count("starts", starts), seed)
        self.temperature = number("temperature", temperature)
        self.query_loss = self.loss if query_loss is None else as_loss(query_loss)
        if not isinstance(self.learner, MAML):
            raise MamlkitError(
                f"the starts of a Multistart are those of mk.MAML or one of its presets, but "
                f"make(seed) returned {type(self.learner).__name__}."
            )

    def weights_now(self) -> Sequence[float] | Tensor:
        """The weights of the steps at this point of training, as the starts have them."""
        return self.learner.weights_now()

    def judged_path(
        self, support: Any, query: Any, used: Sequence[int]
    ) -> tuple[Sequence[Tensor], Tensor]:
        """Query losses of one task after ``used`` steps each, every start weighted by how well it
        fits the support; and the support losses, after each step of the best start.
        """

        def one_start(learner: MetaLearner) -> tuple[Tensor, Tensor]:
            path, losses = learner.inner_path(support, used[-1])
            on_query = [self.query_loss(learner.predictor(path[k]), query) for k in used]
            return torch.stack(on_query), losses

        on_query, losses = self._each(one_start)  # [starts, used], [starts, steps + 1]
        weighed = (self._shares(losses[:, used]) * on_query).sum(0)  # [used]
        return [weighed[i] for i in range(len(used))], losses.amin(0)

    def inner_path(self, support: Any, steps: int) -> tuple[list[Weights], Tensor]:
        """After each step: all weights of the start with the lowest support loss, and that loss."""
        path, losses = self.every_path(support, steps)
        shared = dict(self.network().named_parameters())  # [starts, ..]; what does not adapt too
        chosen = [self._take({**shared, **theta}, losses[:, k]) for k, theta in enumerate(path)]
        return chosen, losses.amin(0)

    def predictor(self, theta: Weights) -> Predict:
        """The model with the weights ``theta`` of the chosen start."""
        return self.learner.predictor(theta)

    def extra_repr(self) -> str:
        """The number of starts and their settings, to tell checkpoints apart."""
        return f"temperature={self.temperature:g}, {super().extra_repr()}"

    def _shares(self, losses: Tensor) -> Tensor:
        """How much each start counts, ``[starts, ..]``; a start that diverged counts nothing."""
        losses = losses.nan_to_num(nan=torch.inf)
        if self.temperature == 0:
            best = losses.argmin(0, keepdim=True)
            return torch.zeros_like(losses).scatter(0, best, torch.ones_like(losses))
        return torch.softmax(-(losses - losses.amin(0)) / self.temperature, dim=0)

    def _take(self, weights: Weights, losses: Tensor) -> Weights:
        best = losses.nan_to_num(nan=torch.inf).argmin(0, keepdim=True)  # [1]
        return {name: w.index_select(0, best)[0] for name, w in weights.items()}
