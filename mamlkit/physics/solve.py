"""Solve an equation from a given start: Adam on many tasks side by side, or L-BFGS on each."""

from __future__ import annotations

import time
from collections.abc import Hashable, Sequence
from functools import partial
from typing import Any, Literal, NamedTuple, cast

import numpy as np
import torch
from scipy import optimize
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, vmap

from mamlkit.checks import count, number, one_of
from mamlkit.errors import MamlkitError
from mamlkit.learners.base import Weights, flatten, unflatten
from mamlkit.learners.recorded import recorded
from mamlkit.losses import Loss
from mamlkit.physics.pde import relative_l2

Method = Literal["adam", "lbfgs"]


class Refined(NamedTuple):
    """What :func:`refine` found: ``losses``, ``errors`` and ``seconds`` before and after each step,
    ``[n_tasks, steps + 1]`` each, and the ``weights``, ``[n_tasks, ..]`` each.

    ``seconds`` are those that the processor spent on steps since the start, without the judging.
    Tasks side by side share them.
    """

    losses: Tensor
    errors: Tensor
    seconds: Tensor
    weights: Weights


def refine(
    model: nn.Module | Sequence[nn.Module],
    support: Any,
    query: Any,
    loss: Loss,
    steps: int = 200,
    *,
    method: Method = "lbfgs",
    lr: float = 3e-3,
    judge: Loss = relative_l2,
) -> Refined:
    """Train ``model`` on each task by itself from its weights as they are, and watch the error.

    Args:
        model: the network; it is left as it is. Its type is that of the data: take float64. Or a
            list of networks that differ in their weights alone, one for each task.
        support: what is trained on, leaves ``[n_tasks, ..]``.
        query: what is judged on; it has no part in training.
        loss: ``(predict, data) -> scalar``, such as ``pde.residual_loss(pde.burgers)``.
        steps: steps of Adam, or iterations of L-BFGS (each takes about 1.1 gradients).
        method: "adam" (Kingma and Ba 2015) or "lbfgs": limited-memory BFGS with 30 pairs, as scipy
            has it (Byrd, Lu, Nocedal and Zhu 1995).
        lr: step size of Adam.
        judge: ``(predict, data) -> scalar`` on the query.
    """
    steps = count("steps", steps)
    number("lr", lr, positive=True)
    one_of("method", method, ("adam", "lbfgs"))
    models, n_tasks = [model] if isinstance(model, nn.Module) else list(model), len(support[0])
    if len({_design(each) for each in models}) != 1 or len(models) not in (1, n_tasks):
        raise MamlkitError(
            f"refine() takes one network for all tasks, or one for each of the {n_tasks}, all "
            f"alike but for their weights; {len(models)} were given."
        )
    model = models[0]
    own = next(model.parameters()).dtype
    given = {leaf.dtype for leaf in (*support, *query)}
    if given != {own}:
        raise MamlkitError(
            f"the model is {own} but the data are {sorted(map(str, given))}; bring both to one "
            "type, best with model.double() and data in float64."
        )
    named = {name: w.detach() for name, w in model.named_parameters()}
    starts = torch.stack([flatten(dict(each.named_parameters())).detach() for each in models])
    starts = starts.repeat(n_tasks // len(models), 1)  # [n_tasks, P]
    solver: Any = partial(_adam, lr=lr)
    groups = [(starts, support, query)]  # side by side
    if method == "lbfgs":
        solver = _lbfgs
        groups = list(zip(starts[:, None], *map(_one_by_one, (support, query)), strict=True))

    def value(flat: Tensor, data: Any, measure: Loss = loss) -> Tensor:
        theta = unflatten(flat, named)
        return measure(lambda x: functional_call(model, theta, (x,)), data)

    start, points, asked = groups[0]
    step = recorded(vmap(grad_and_value(value)), start, points)
    error = recorded(vmap(partial(value, measure=judge)), start, asked)
    found = []
    for group in groups:
        flat, *history, seconds = solver(step, error, *group, steps)
        shared = torch.tensor(seconds, dtype=own).expand(len(flat), -1)
        found.append((flat, *(torch.stack(each, -1) for each in history), shared))
    flat, losses, errors, seconds = (torch.cat(each) for each in zip(*found, strict=True))
    return Refined(losses, errors, seconds, vmap(lambda row: unflatten(row, named))(flat))


def steps_to(errors: Tensor, level: float = 1e-2) -> Tensor:
    """The first step from which ``errors [n_tasks, steps + 1]`` is at ``level`` or below, and inf
    where it never is; ``[n_tasks]``.
    """
    below = errors <= number("level", level, positive=True)
    first = below.int().argmax(-1).to(errors.dtype)
    return torch.where(below.any(-1), first, torch.inf)


def _design(model: nn.Module) -> Hashable:
    """What networks that differ in their weights alone have in common."""
    fixed = tuple((name, tuple(b.flatten().tolist())) for name, b in model.named_buffers())
    return repr(model), fixed, tuple((n, w.shape, w.dtype) for n, w in model.named_parameters())


def _one_by_one(tasks: Any) -> list[Any]:
    return [type(tasks)(*(leaf[i : i + 1] for leaf in tasks)) for i in range(len(tasks[0]))]


def _adam(
    step: Any, error: Any, flat: Tensor, support: Any, query: Any, steps: int, lr: float
) -> tuple[Any, ...]:
    """Weights, and a list each of losses, errors and seconds."""
    flat = flat.clone()
    step(flat, support)  # the first takes longer: off the clock
    optimiser = torch.optim.Adam([flat], lr=lr)
    losses, errors, seconds, clock = [], [error(flat, query)], [0.0], 0.0
    for _ in range(steps):
        began = time.process_time()
        flat.grad, loss = step(flat, support)
        optimiser.step()
        clock += time.process_time() - began
        losses.append(loss)
        errors.append(error(flat, query))
        seconds.append(clock)
    losses.append(step(flat, support)[1])
    return flat, losses, errors, seconds


def _lbfgs(
    step: Any, error: Any, start: Tensor, support: Any, query: Any, steps: int
) -> tuple[Any, ...]:
    """The same for one task."""
    _, loss = step(start, support)
    losses, errors, seconds, judging = [loss], [error(start, query)], [0.0], 0.0

    def weights(point: Any) -> Tensor:
        return torch.from_numpy(point.copy()).to(start)[None]

    def value_and_gradient(point: np.ndarray[Any, Any]) -> tuple[float, Any]:
        gradient, loss = step(weights(point), support)
        return float(loss), gradient[0].double().numpy().copy()

    def watch(intermediate_result: Any) -> None:
        nonlocal judging
        now = time.process_time()
        losses.append(torch.tensor([float(intermediate_result.fun)]).to(start))
        errors.append(error(weights(intermediate_result.x), query))
        seconds.append(now - began - judging)
        judging += time.process_time() - now

    began = time.process_time()
    found = optimize.minimize(
        value_and_gradient,
        start[0].double().numpy().copy(),
        jac=True,
        method="L-BFGS-B",
        callback=watch,
        options=cast(
            Any, {"maxiter": steps, "maxfun": 4 * steps, "maxcor": 30, "ftol": 0.0, "gtol": 0.0}
        ),
    )
    for record in (losses, errors, seconds):  # where no step lowers the loss any more
        record += [cast(Any, record[-1])] * (steps + 1 - len(record))
    return weights(found.x), losses, errors, seconds
