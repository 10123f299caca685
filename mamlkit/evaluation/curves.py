"""How good is a learner on new tasks? Curves, side-by-side comparison, diagnostics, tuning."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import torch
from threadpoolctl import threadpool_limits
from torch import Tensor, nn
from torch.func import functional_call

from mamlkit.checks import count, fresh_generator, name_of, number
from mamlkit.errors import MamlkitError, MamlkitWarning
from mamlkit.learners.base import Episodes, Weights, taken_batch
from mamlkit.learners.maml import MAML
from mamlkit.learners.vectorise import each, run
from mamlkit.losses import Loss, Predict, as_loss, mse
from mamlkit.tasks.base import (
    QUERIES,
    Data,
    Family,
    Physics,
    Shots,
    TaskBatch,
    check_family,
    check_finite,
    convert,
    fields_in_words,
)

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, repr=False)
class Curve:
    """Losses of many new tasks before and after each inner step.

    Attributes:
        losses: query loss of each task, ``[n_tasks, steps + 1]``, float64.
        support_losses: support loss of each task, ``[n_tasks, steps + 1]``.
        physics: true parameters of each task.
        predictions: if they were asked for, what was predicted at each point of each query before
            and after each step, ``[n_tasks, steps + 1, m, d_out]``.
        query: then also the queries themselves, such as :class:`mamlkit.Data`.
    """

    losses: Tensor
    support_losses: Tensor
    physics: Physics
    predictions: Tensor | None = None
    query: Any = None

    def __repr__(self) -> str:
        """One line, since a notebook shows what a cell ends with."""
        means = " -> ".join(f"{value:.3g}" for value in self.mean.tolist())
        return f"Curve: mean loss of {len(self.losses)} tasks, step by step: {means}"

    @property
    def mean(self) -> Tensor:
        """Mean over tasks, ``[steps + 1]``."""
        return self.losses.mean(0)

    @property
    def ci95(self) -> Tensor:
        """Half width of the 95 % interval of the mean (normal approximation), ``[steps + 1]``."""
        return half_width(self.losses)

    @property
    def median(self) -> Tensor:
        """Median over tasks, ``[steps + 1]``."""
        return self.losses.quantile(0.5, dim=0)

    @property
    def quartiles(self) -> Tensor:
        """Lower and upper quartile over tasks, ``[2, steps + 1]``."""
        return self.losses.quantile(torch.tensor([0.25, 0.75], dtype=torch.float64), dim=0)


class Paired(NamedTuple):
    """Two errors on the same tasks: means, and their mean difference with its 95 % half width."""

    reference: float
    other: float
    difference: float
    ci95: float


def evaluate(
    learner: Any,
    family: Family,
    shots: Shots = 10,
    *,
    steps: int | None = None,
    n_tasks: int | None = None,
    queries: int | None = None,
    seed: int = 1,
    loss: Loss | None = None,
    predictions: bool = False,
    every_step: bool = True,
    chunk_size: int | None = None,
) -> Curve:
    """Adapt ``learner`` to new tasks and measure the query loss after each inner step.
    Taught in notebook 04.

    Args:
        learner: anything with ``adapt(x, y) -> predict``.
        family: where the new tasks come from.
        shots: support points of a task.
        steps: inner steps, also beyond the training count; None takes the learner's own. A
            learner without inner steps has one column, its result.
        n_tasks: number of tasks; None takes each member of a finite family once, else 600.
        queries: query points of a task; None takes all the rest where there are only so many,
            else 100.
        seed: fixes the tasks; take another than for training and for tuning.
        loss: judges the query; None takes the learner's own loss, or :func:`mamlkit.losses.mse`.
        predictions: return what was predicted, point by point, too.
        every_step: False judges the query after the last step alone, which of many steps takes
            about half the time; ``losses`` is then ``[n_tasks, 1]``.
        chunk_size: compute this many tasks at a time, to save memory.

    Raises:
        MamlkitError: if ``learner`` is no learner, or ``steps`` are asked of one that has none.
    """
    batch = new_tasks(family, shots, n_tasks, queries, seed)
    curve = curve_of(learner, batch, steps, loss, chunk_size, every_step)
    if not predictions:
        return curve
    told = curve_of(
        learner, batch, steps, lambda predict, query: predict(query.x), chunk_size, every_step
    )
    return replace(curve, predictions=told.losses, query=batch.query)


def compare(
    learners: Mapping[str, Any],
    family: Family,
    shots: Shots = 10,
    *,
    n_tasks: int | None = None,
    queries: int | None = None,
    seed: int = 1,
    loss: Loss | None = None,
    chunk_size: int | None = None,
) -> pd.DataFrame:
    """Put learners side by side on the same new tasks; arguments as for :func:`evaluate`. All are
    judged by one loss: if None, by the one that all of them have, else :func:`mamlkit.losses.mse`
    (which yardsticks without a loss have too). Labels have no squared error, so for them a loss
    must be given where learners differ, such as :func:`mamlkit.losses.error_rate`.

    Returns one row a learner, with the columns ``mean``, ``ci95`` (half width), ``median``,
    ``q25``, ``q75`` of the query loss over tasks, and ``ms_per_task``, the wall-clock time of
    adaptation and prediction together.
    Taught in notebook 05.
    """
    import pandas as pd

    check_learners("compare()", learners)
    batch = new_tasks(family, shots, n_tasks, queries, seed)
    loss = one_loss(learners, batch) if loss is None else loss
    rows = {}
    for name, learner in learners.items():
        start = time.perf_counter()
        losses = final_losses(learner, batch, loss, chunk_size)
        elapsed = time.perf_counter() - start
        rows[name] = {**summary(losses), "ms_per_task": 1e3 * elapsed / len(losses)}
    table = pd.DataFrame.from_dict(rows, orient="index")
    table.attrs["loss"] = name_of(loss)
    return table


def one_loss(learners: Mapping[str, Any], batch: TaskBatch) -> Loss:
    """The loss to judge all by: their own, if it is one."""
    y = getattr(batch.query, "y", None)
    labels = y is not None and not y.is_floating_point()
    own = [getattr(learner, "loss", None) for learner in learners.values()]
    losses = {name_of(each): each for each in own if each is not None}
    if len(losses) == 1 and (labels or None not in own):
        return next(iter(losses.values()))
    if labels:
        told = (
            f"the learners differ in their losses, {sorted(losses)}"
            if losses
            else ("none of the learners has a loss of its own")
        )
        raise MamlkitError(
            f"{told}; to judge all by one, give it: loss=mk.losses.error_rate, or "
            "mk.losses.cross_entropy."
        )
    return mse


def error_against_shots(
    learners: Mapping[str, Any],
    family: Callable[[int], Family] | Family,
    shots: Sequence[int] = (1, 2, 5, 10),
    **settings: Any,
) -> pd.DataFrame:
    """:func:`compare` for several numbers of shots, with an index ``(learner, shots)``.
    Taught in notebook 05.
    """
    import pandas as pd

    if not shots:
        raise MamlkitError("error_against_shots() needs at least one number of shots.")
    tables = {
        k: compare(learners, family(k) if callable(family) else family, k, **settings)
        for k in shots
    }
    table = pd.concat(tables, names=["shots", "learner"]).swaplevel()
    return table.reindex(list(learners), level="learner").sort_index(
        level="shots", sort_remaining=False
    )


def shuffled_support(
    learner: Any, family: Family, shots: Shots = 10, *, loss: Loss | None = None, **settings: Any
) -> Paired:
    """Does the learner use the support? ``reference``: its error with the task's own support;
    ``other``: with the support of another task. If the error does not rise, the support is ignored.
    ``settings`` are ``n_tasks``, ``queries`` and ``seed`` of :func:`evaluate`.
    Taught in notebook 05.
    """
    batch = new_tasks(family, shots, **settings)
    if len(batch.support[0]) < 2:
        raise MamlkitError("shuffling supports needs at least two tasks; raise n_tasks.")
    # By half the tasks: neighbours in a finite family may be look-alikes.
    rolled = type(batch.support)(*(leaf.roll(len(leaf) // 2, dims=0) for leaf in batch.support))
    own = final_losses(learner, batch, loss)
    return _paired(own, final_losses(learner, batch._replace(support=rolled), loss))


def zero_step_gap(learner: Any, family: Family, shots: Shots = 10, **settings: Any) -> Paired:
    """How much does adaptation bring? ``reference``: the error after the inner steps; ``other``:
    before the first. A gap near zero means that tasks were memorised, or are all alike.
    ``settings`` are those of :func:`evaluate`.
    Taught in notebook 05.
    """
    losses = evaluate(learner, family, shots, **settings).losses
    if losses.shape[1] < 2:
        raise MamlkitError(f"{type(learner).__name__} has no inner steps, so there is no gap.")
    return _paired(losses[:, -1], losses[:, 0])


def tune(
    learner: MAML,
    validation: Family,
    shots: Shots = 10,
    *,
    inner_lr: Sequence[float] = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3),
    max_steps: int = 10,
    n_tasks: int | None = None,
    queries: int | None = None,
    seed: int = 2,
    loss: Loss | None = None,
    chunk_size: int | None = None,
) -> Curve:
    """Choose the step size and the number of inner steps on *validation* tasks, and set them.

    Fair to yardsticks: pooled training gets the fine-tuning that suits it best. Returns the curve
    of the winner, up to ``max_steps``. For a learned step size only the number of steps is chosen.
    Meta-train before you tune: the training objective keeps its own number of steps. Where no step
    of any size lowers the loss, no step is taken, and a warning says so.
    Taught in notebook 05.
    """
    if not isinstance(learner, MAML):
        raise MamlkitError(
            f"tune() sets inner_lr and inner_steps of a mk.MAML learner, but "
            f"{type(learner).__name__} was given."
        )
    if not inner_lr:
        raise MamlkitError("tune() was given no inner_lr to choose from.")
    for rate in inner_lr:
        number("inner_lr", rate)
    count("max_steps", max_steps, least=0)
    batch = new_tasks(validation, shots, n_tasks, queries, seed)
    found = []  # (mean loss, step size, steps, curve)
    for rate in inner_lr if learner.learn_lr is None else (learner.inner_lr,):
        learner.inner_lr = rate
        curve = curve_of(learner, batch, max_steps, loss, chunk_size)
        # A step size may well diverge.
        mean = curve.mean.nan_to_num(nan=torch.inf, posinf=torch.inf)
        step = int(mean.argmin())
        found.append((float(mean[step]), rate, step, curve))
    best, learner.inner_lr, learner.inner_steps, curve = min(found, key=lambda each: each[0])
    tried = ", ".join(f"{rate:g}" for _, rate, _, _ in found)
    if best == torch.inf:
        raise MamlkitError(
            f"the validation loss is not finite, not even before the first step (step sizes tried: "
            f"{tried}); look at the learner's weights and at the loss."
        )
    if max_steps and not learner.inner_steps:
        warnings.warn(
            f"no step of any size tried ({tried}) lowers the validation loss, so tune() has set "
            "inner_steps=0: the learner will not adapt. Try smaller inner_lr, or train longer.",
            MamlkitWarning,
            stacklevel=2,
        )
    return curve


def half_width(losses: Tensor) -> Tensor:
    """Half width of the 95 % interval of the mean over the first axis."""
    if len(losses) < 2:
        return torch.full_like(losses[0], torch.nan)
    return 1.96 * losses.std(0) / len(losses) ** 0.5


def summary(losses: Tensor) -> dict[str, float]:
    """Mean, its 95 % half width, median and quartiles of ``losses [n_tasks]``."""
    q25, median, q75 = losses.quantile(torch.tensor([0.25, 0.5, 0.75], dtype=losses.dtype)).tolist()
    mean, ci95 = float(losses.mean()), float(half_width(losses))
    return {"mean": mean, "ci95": ci95, "median": median, "q25": q25, "q75": q75}


def new_tasks(
    family: Family,
    shots: Shots,
    n_tasks: int | None = None,
    queries: int | None = None,
    seed: int = 1,
) -> TaskBatch:
    """The tasks that :func:`evaluate` and its kin judge on: float64, fixed by ``seed``."""
    check_family(family)
    drawn: Any = {"generator": fresh_generator(count("seed", seed, least=0))}
    drawn["dtype"] = torch.float64
    if n_tasks is None and family.members is not None:
        return family.every(shots, queries, **drawn)
    n_tasks = 600 if n_tasks is None else count("n_tasks", n_tasks)
    if family.n_members is not None and n_tasks > family.n_members and not family.repeats:
        raise MamlkitError(
            f"n_tasks={n_tasks}, but this family has only {family.n_members} members, and the "
            "same one twice is no new task; leave out n_tasks to take each once."
        )
    if queries is None and family.pool is None:
        queries = -(-QUERIES // family.per_shot)
    return family.sample(n_tasks, shots, queries, **drawn)


def check_learners(asker: str, learners: Any) -> None:
    """Refuse what is no dict of learners."""
    if not isinstance(learners, Mapping) or not learners:
        raise MamlkitError(f"{asker} needs a dict of learners, such as {{'MAML': learner}}.")
    for name, learner in learners.items():
        check_adapts(repr(name), learner)


def check_adapts(name: str, learner: Any) -> None:
    """Refuse what cannot adapt."""
    if isinstance(learner, type) or not hasattr(learner, "adapt"):
        given = f"the class {learner.__name__}" if isinstance(learner, type) else repr(learner)
        raise MamlkitError(
            f"{name} must be an object with adapt(x, y) -> predict, such as mk.MAML(model) or "
            f"mk.yardsticks.Zero(), but {given} was given."
        )


def final_losses(
    learner: Any, batch: TaskBatch, loss: Loss | None, chunk_size: int | None = None
) -> Tensor:
    """Query losses ``[n_tasks, ...]`` of an adapted learner, without those on the way."""
    return curve_of(learner, batch, None, loss, chunk_size, every_step=False).losses[:, -1]


@fields_in_words()
def curve_of(
    learner: Any,
    batch: TaskBatch,
    steps: int | None,
    loss: Loss | None,
    chunk_size: int | None = None,
    every_step: bool = True,
) -> Curve:
    """Adapt to each task of ``batch`` and judge it, so many at a time; a ``loss`` may give any
    shape for each task. The query is judged after the last step alone if not ``every_step``.
    """
    size = None if chunk_size is None else count("chunk_size", chunk_size)
    parts = [_judged(learner, each, steps, loss, every_step) for each in batch.chunks(size)]
    query, support = (torch.cat(each) for each in zip(*parts, strict=True))
    return Curve(query, support, batch.physics)


def _judged(
    learner: Any, batch: TaskBatch, steps: int | None, loss: Loss | None, every_step: bool
) -> tuple[Tensor, Tensor]:
    """Query and support losses, float64 on the CPU."""
    loss = None if loss is None else as_loss(loss)
    check_finite("the new tasks hold", batch)
    if isinstance(learner, nn.Module) and hasattr(learner, "episodes"):
        moved = move_to(learner, batch)
        episodes: Episodes = cast(Any, learner).episodes(moved, steps, loss, every_step)
        support, query = (t.double().cpu() for t in episodes)
        return query, support
    check_adapts("a learner", learner)
    if steps is not None:
        raise MamlkitError(f"{type(learner).__name__} has no inner steps; leave out steps.")
    judge = _judge_together if hasattr(learner, "adapt_tasks") else _judge_in_turn
    losses = judge(learner, move_to(learner, batch), loss or mse).detach().double().cpu()[:, None]
    return losses, torch.full_like(losses, torch.nan)


def move_to(learner: Any, batch: TaskBatch) -> TaskBatch:
    """The batch as a learner takes it, in the type and on the device of its model if it has one."""
    model: Any = learner if isinstance(learner, nn.Module) else getattr(learner, "model", None)
    like = next(model.parameters(), None) if isinstance(model, nn.Module) else None
    if like is None:
        return batch
    batch = convert(batch, like.dtype, like.device)
    if hasattr(learner, "taken"):
        return learner.taken(batch)
    return taken_batch(batch, model, like) if hasattr(learner, "adapt_tasks") else batch


def _judge_together(learner: Any, batch: TaskBatch, loss: Loss) -> Tensor:
    """Query losses ``[n_tasks]`` of a learner that adapts to all tasks at once."""

    def judged(w: Weights, query: Any) -> Tensor:
        return loss(lambda x: functional_call(learner.model, w, (x,)), query)

    return run(learner, lambda: each(judged)(learner.adapt_tasks(batch.support), batch.query))


def _judge_in_turn(learner: Any, batch: TaskBatch, loss: Loss) -> Tensor:
    """Query losses ``[n_tasks]`` of a learner that adapts to one task after another."""
    losses = []
    # On matrices as small as a task's, the second thread of NumPy's and SciPy's BLAS only waits.
    with threadpool_limits(1, "blas"):
        for i in range(len(batch.support[0])):
            task = batch.task(i)
            losses.append(loss(adapt_one(learner, task), task.query))
    return torch.stack(losses)


def adapt_one(learner: Any, task: TaskBatch) -> Predict:
    """Adapt to one :meth:`TaskBatch.task`. An oracle names in ``told`` the true parameters that it
    is given.
    """
    support = task.support
    if told := getattr(learner, "told", ()):
        missing = [name for name in told if name not in task.physics]
        if missing:
            raise MamlkitError(
                f"{type(learner).__name__} is told {missing}, but this family's physics has only "
                f"{sorted(task.physics)}."
            )
        physics = {name: task.physics[name] for name in told}
        return learner.adapt(*support, physics=physics)
    return learner.adapt(*support) if isinstance(support, Data) else learner.adapt(support)


def _paired(reference: Tensor, other: Tensor) -> Paired:
    gap = other - reference
    return Paired(
        float(reference.mean()), float(other.mean()), float(gap.mean()), float(half_width(gap))
    )
