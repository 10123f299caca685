"""Asking several trainings of one design in one pass, in place of one after the other."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from itertools import chain
from typing import Any

import torch
from torch import nn
from torch.func import functional_call, stack_module_state, vmap
from torch.utils._pytree import tree_map

from mamlkit.errors import MamlkitError


@torch.no_grad()  # or the steps of all learners would stay in memory, for nobody to go back through
def side_by_side(
    ask: Callable[..., Any], learners: Sequence[nn.Module], *given: Sequence[Any]
) -> list[Any]:
    """``list(map(ask, learners, *given))`` in one pass, the same numbers to rounding: two to four
    times as quick where the work is many small operations, as it is with small networks and few
    tasks. It needs the memory of all learners at once, and the answers carry no gradients.

    Args:
        ask: makes tensors, or tuples, lists and dicts of them, of a learner, by operations that
            ``vmap`` takes. It may differentiate by ``torch.func``.
        learners: of one design, so that they differ in their numbers alone: settings such as
            ``inner_lr`` and ``inner_steps`` are read from the first.
        given: what else each learner is asked about, such as tasks of its own: one entry a
            learner, tensors of the same shapes.

    Raises:
        MamlkitError: if the learners differ in their settings, shapes or types, if there is not one
            entry of ``given`` for each, or if ``vmap`` cannot take ``ask``.

    Example::

        from mamlkit.course.recipes import side_by_side

        five = [mk.MAML(mk.models.MLP(1, 1, (6,), seed=seed), inner_lr=0.1) for seed in range(5)]
        batch = mk.tasks.Sinusoid().sample(8, 5, 10)
        losses = side_by_side(lambda learner: learner.episodes(batch).query, five)
    """
    learners = list(learners)
    if not learners:
        return []
    if len({_design(learner) for learner in learners}) > 1:
        raise MamlkitError(
            "side_by_side() asks learners of one design, but these differ in their settings, "
            "shapes or types, and would all be taken for the first; ask those of one design "
            "together, or one after the other."
        )
    if any(len(each) != len(learners) for each in given):
        raise MamlkitError(
            f"side_by_side() was given {[len(each) for each in given]} things to ask "
            f"{len(learners)} learners about; it takes one for each."
        )
    base = _Asked(ask, learners[0])
    weights, buffers = stack_module_state([_Asked(ask, learner) for learner in learners])
    try:
        stacked = [tree_map(lambda *leaves: torch.stack(leaves), *each) for each in given]
        together = vmap(lambda w, b, *rest: functional_call(base, (w, b), rest))(
            weights, buffers, *stacked
        )
    except MamlkitError:
        raise
    except Exception as error:  # torch raises another kind for each thing that vmap cannot do
        cause = str(error).strip().partition("\n")[0].rstrip(".")
        raise MamlkitError(
            f"side_by_side() cannot ask this of all learners at once ({cause}); ask one after the "
            "other."
        ) from error
    return [tree_map(lambda leaf, i=i: leaf[i], together) for i in range(len(learners))]


def _design(learner: nn.Module) -> Hashable:
    """What learners must have in common: settings and parts, as ``repr`` tells them, and shapes."""
    state = chain(learner.named_parameters(), learner.named_buffers())
    return repr(learner), *((name, t.shape, t.dtype, t.device) for name, t in state)


class _Asked(nn.Module):
    """A question to a learner, as a module: so it can be asked with other weights."""

    def __init__(self, ask: Callable[..., Any], learner: nn.Module) -> None:
        super().__init__()
        self.ask, self.learner = ask, learner

    def forward(self, *given: Any) -> Any:
        return self.ask(self.learner, *given)
