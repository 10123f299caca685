"""What every meta-learner of the package shares: the meta-loss over a batch of tasks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from mamlkit.checks import Made, count, name_of, number
from mamlkit.errors import MamlkitError
from mamlkit.learners.base import Adapted, Episodes, Weights, run_model, taken, taken_batch
from mamlkit.learners.checking import (
    as_data,
    check_batch,
    check_model,
    check_reached,
    check_size,
    select,
)
from mamlkit.learners.vectorise import each, going_now, run, vectorised
from mamlkit.losses import Loss, Predict, as_loss, mse
from mamlkit.models import copied
from mamlkit.tasks.base import TaskBatch, fields_in_words


class MetaLearner(nn.Module):
    """A learner that is itself learned. A subclass says, for *one* task, how to adapt
    (:meth:`inner_path`) and what to predict then (:meth:`predictor`); the rest is here.

    Args:
        model: any module without BatchNorm running statistics or Dropout; copied, so one model can
            start several learners.
        loss: ``(predict, data) -> scalar``, for support and query.

    Attributes:
        inner_steps: steps of the inner loop; 0 for a learner that adapts in closed form.
        step_weights: weights of the query loss after 0 .. inner_steps steps.
        result: what :meth:`adapt` returns.
    """

    inner_steps: int = 0
    step_weights: tuple[float, ...] = (1.0,)
    result: type[Adapted] = Adapted
    _settings: tuple[str, ...] = ()  # told by repr, beside the loss
    _unusual: tuple[tuple[str, Any], ...] = ()  # told too, where they differ from these values

    def __init__(self, model: nn.Module, loss: Loss = mse) -> None:
        super().__init__()
        check_model(model)
        self.model, self.loss = copied(model), as_loss(loss)

    def inner_path(self, support: Any, steps: int) -> tuple[list[Weights], Tensor]:
        """Adapt to one task: what is adapted, before and after each of ``steps`` steps, and the
        support losses there, ``[steps + 1]``, as plain records. In closed form: the result alone.
        """
        raise NotImplementedError(f"{type(self).__name__} has no inner_path(support, steps)")

    def judge(self, predict: Predict, data: Any) -> Tensor:
        """The loss of a prediction of one task; one that is no scalar is refused."""
        value = self.loss(predict, data)
        if not isinstance(value, Tensor) or value.ndim:
            given = list(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise MamlkitError(
                f"the loss ({name_of(self.loss)}) gives {given} for one task; it must give a "
                "tensor with one number, such as a mean over points."
            )
        return value

    def predictor(self, theta: Weights) -> Predict:
        """The prediction with ``theta``, one entry of the inner path: ``[n, ..] -> [n, d_out]``."""
        raise NotImplementedError(f"{type(self).__name__} has no predictor(theta)")

    @vectorised
    def forward(self, batch: TaskBatch) -> tuple[Tensor, Tensor]:
        """What training descends: the objective of each task, ``[n_tasks]``, with the weights of
        the steps as they are now, and the support losses on the way, ``[n_tasks, steps + 1]``.
        Unchecked; :meth:`query_losses` checks.
        """
        return self.objective(batch, self.weights_now())

    def weights_now(self) -> Sequence[float] | Tensor:
        """The weights of the steps at this point of training; :attr:`step_weights` in the end."""
        return self.step_weights

    @vectorised
    def query_losses(self, batch: TaskBatch, steps: int | None = None) -> Tensor:
        """The objective of each task, ``[n_tasks]``, differentiable in the meta-parameters: the
        query loss after ``steps`` inner steps; if None, weighted by ``step_weights``.
        """
        batch = self.checked(batch)
        weights = self.step_weights if steps is None else [0.0] * self._steps(steps) + [1.0]
        return self.objective(batch, weights)[0]

    def objective(
        self, batch: TaskBatch, step_weights: Sequence[float] | Tensor
    ) -> tuple[Tensor, Tensor]:
        """Query losses weighted by ``step_weights``, and support losses, of all tasks at once."""
        used = [k for k, w in enumerate(step_weights) if isinstance(w, Tensor) or w]

        def one_task(support: Any, query: Any) -> tuple[Tensor, Tensor]:
            on_query, losses = self.judged_path(support, query, used)
            terms = [step_weights[k] * loss for k, loss in zip(used, on_query, strict=True)]
            return torch.stack(terms).sum(), losses

        return each(one_task)(batch.support, batch.query)

    def judged_path(
        self, support: Any, query: Any, used: Sequence[int]
    ) -> tuple[Sequence[Tensor], Tensor]:
        """The query losses of one task after ``used`` steps each, and its support losses."""
        path, losses = self.inner_path(support, used[-1])
        return [self.judge(self.predictor(path[k]), query) for k in used], losses

    @torch.no_grad()
    @vectorised
    def episodes(
        self,
        batch: TaskBatch,
        steps: int | None = None,
        loss: Loss | None = None,
        every_step: bool = True,
    ) -> Episodes:
        """Support and query losses before and after each inner step; ``loss`` judges the query,
        after the last step alone if not ``every_step``.
        """
        batch = self.checked(batch)
        steps, judge = self._steps(steps), self.loss if loss is None else as_loss(loss)

        def one_task(support: Any, query: Any) -> tuple[Tensor, Tensor]:
            path, losses = self.inner_path(support, steps)
            judged = path if every_step else path[-1:]
            return losses, torch.stack([judge(self.predictor(theta), query) for theta in judged])

        return Episodes(*each(one_task)(batch.support, batch.query))

    @torch.no_grad()
    @fields_in_words()
    def adapt(self, x: Any, y: Tensor | None = None, *, steps: int | None = None) -> Adapted:
        """Adapt to one task: ``x [n, d_in]``, ``y [n, d_out]``, or one NamedTuple of tensors.

        ``steps`` defaults to ``inner_steps`` and may go beyond it.
        """
        # A copy, so that what is adapted now does not change with later training.
        frozen = copied(self).requires_grad_(False)
        return run(self, lambda: frozen._adapt(x, y, steps), first="alone")

    def _adapt(self, x: Any, y: Tensor | None, steps: int | None) -> Adapted:
        network = self.network()
        weights = {name: w.detach() for name, w in network.named_parameters()}
        support = as_data(x, y, weights)
        if hasattr(support, "x"):
            like = next(iter(weights.values()))
            support = support._replace(x=taken(support.x, self.check_input, like))
        tasks = type(support)(*(leaf[None] for leaf in support))
        self.check_support(tasks)
        try:
            path, losses = self.inner_path(support, self._steps(steps))
        except Exception:
            if hasattr(support, "x"):  # is it the points that the model cannot take?
                self.check_input(support.x)
            raise
        if len(path) > 1 and all(torch.equal(path[0][n], w) for n, w in path[-1].items()):
            check_reached(self, TaskBatch(tasks, tasks, {}))  # nothing has moved
        theta = {name: w.detach().clone() for name, w in path[-1].items()}
        name = type(network).__name__
        adapted = self.result(self.predictor(theta), {**weights, **theta}, losses, name)
        settings = {} if steps is None else {"steps": steps}
        adapted.made = Made(self.adapt, (support,), settings)
        adapted.way = "in turn" if going_now() == "in turn" else None
        return adapted

    def export(self, path: str | Path, shots: int) -> list[Path]:
        """Write the inner loop for ``shots`` points, and the adapted model, for other programs.

        "NAME.onnx" becomes two graphs in the learner's own type: ``NAME.onnx`` from x, y to the
        adapted weights, and ``NAME-predict.onnx`` from these and x to y. It needs the extra
        "export". "NAME.c" becomes C99 that holds start and steps as whole numbers of 8 bits, with
        ``adapt(x, y)`` and ``predict(x, y)``, for machines without torch; what has been adapted is
        kept as 8 bits too, on a grid of its own, as :class:`mamlkit.learners.Quantised` does.

        Returns the files written.

        Raises:
            MamlkitError: for a learner that takes no gradient steps (a closed-form head,
                prototypes), whose steps are no fixed list of operations, or that has an operation
                which ONNX or this C has not; or if a package is missing.
        """
        from mamlkit.learners.export import export  # torch's tracing takes its time

        return export(self, path, shots)

    def extra_repr(self) -> str:
        """The settings, for printing and to tell checkpoints apart."""
        unusual = [name for name, usual in self._unusual if getattr(self, name) != usual]
        told = [f"{name}={getattr(self, name)!r}" for name in (*self._settings, *unusual)]
        return ", ".join([*told, f"loss={name_of(self.loss)}"])

    def network(self) -> nn.Module:
        """The model, whose parameters tell type and device."""
        return self.model

    def check_support(self, support: Any) -> None:
        """Refuse a support, leaves ``[n_tasks, n, ..]``, that this learner cannot adapt to."""

    def check_input(self, x: Tensor) -> None:
        """Refuse points ``x [n, ..]`` that the model cannot take."""
        check_size(self.model, x)
        run_model(self.model, {}, x)

    def checked(self, batch: TaskBatch) -> TaskBatch:
        """The batch, if this learner can work on it; whole numbers as the model takes them."""
        check_batch(batch, dict(self.network().named_parameters()))
        batch = self.taken(batch)
        if hasattr(batch.support, "x"):
            self.check_input(batch.support.x[0])
        self.check_support(batch.support)
        return batch

    def taken(self, batch: TaskBatch) -> TaskBatch:
        """The batch with points that are whole numbers as the model takes them: as they are, such
        as for an embedding, or as real numbers.
        """
        return taken_batch(batch, self.check_input, next(self.network().parameters()))

    def _steps(self, steps: int | None) -> int:
        if steps is not None and "inner_steps" not in vars(self):  # not even 0 of them
            raise MamlkitError(f"{type(self).__name__} has no inner steps; leave out steps.")
        return self.inner_steps if steps is None else count("steps", steps, least=0)


class LearnedStart(MetaLearner):
    """A learner of a start: weights of the model from which each task sets off, with a penalty on
    leaving them, ``penalty / 2 * |theta - theta_0|^2``. See :class:`mamlkit.MAML` and
    :class:`mamlkit.ImplicitMAML`, which say what the arguments are.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: Loss,
        adapt: str | Sequence[str],
        penalty: float,
        learn_penalty: bool,
    ) -> None:
        super().__init__(model, loss)
        self.penalty, self.learn_penalty = number("penalty", penalty), learn_penalty
        if learn_penalty and penalty == 0:
            raise MamlkitError(
                "learn_penalty=True learns the logarithm of the penalty, which needs a start above "
                "0; use for example penalty=0.1."
            )
        self.adapted = select(self.model, adapt)
        both = (dict(self.model.named_parameters(remove_duplicate=r)) for r in (True, False))
        self.tied = len(next(both)) < len(next(both))
        like = next(self.model.parameters()).detach()
        self.penalties = nn.ParameterList(
            like.new_tensor(penalty).log() for _ in self.adapted if learn_penalty
        )

    def start(self) -> Weights:
        """theta: the weights that adapt, before the first inner step."""
        weights = dict(self.model.named_parameters())
        return {name: weights[name] for name in self.adapted}

    def strengths(self) -> Weights:
        """The penalty on leaving the start, a scalar for each name."""
        like = next(self.model.parameters())
        fixed = [like.new_tensor(self.penalty)] * len(self.adapted)
        learned = [p.exp() for p in self.penalties]
        return dict(zip(self.adapted, learned or fixed, strict=True))

    def predictor(self, theta: Weights, known: tuple[Tensor, Tensor] | None = None) -> Predict:
        """The model with the adapted weights ``theta``; ``known`` is what the last layer is given
        at some x, where nothing before it adapts.
        """

        def predict(x: Tensor) -> Tensor:
            if known is not None and x is known[0]:
                head = {name.rpartition(".")[2]: w for name, w in theta.items()}
                return functional_call(self.model.get_submodule(self.layer), head, (known[1],))
            # To look for tied weights takes a tenth of a call, and most models have none.
            return functional_call(self.model, theta, (x,), tie_weights=self.tied)

        return predict

    @property
    def layer(self) -> str:
        """The one layer that adapts, by name; or "", for several, or for the whole model."""
        layers = {name.rpartition(".")[0] for name in self.adapted}
        return layers.pop() if len(layers) == 1 else ""

    def given_to_head(self, support: Any) -> tuple[Tensor, Tensor] | None:
        """The points of the support, and what the one layer that adapts is given there: it stays as
        it is in all inner steps. None if more than the last layer adapts.
        """
        if not (self.layer and hasattr(support, "x")):
            return None
        seen: list[Any] = []
        layer = self.model.get_submodule(self.layer)
        watch = layer.register_forward_hook(lambda _, given, result: seen.append((given, result)))
        try:
            result = run_model(self.model, self.start(), support.x)
        finally:
            watch.remove()
        if len(seen) == 1 and len(seen[0][0]) == 1 and seen[0][1] is result:
            return support.x, seen[0][0][0]
        return None  # something comes after that layer, or it is used twice
