"""Solve an equation from a given start: Adam on many tasks side by side, or L-BFGS on each."""

from __future__ import annotations

import time
from typing import Any, Literal, NamedTuple, cast

import numpy as np
import torch
from scipy import optimize
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, vmap
from torch.fx.experimental.proxy_tensor import make_fx

from mamlkit.checks import count, number
from mamlkit.errors import MamlkitError
from mamlkit.gradients import replayed, simplify
from mamlkit.learners.base import Weights, flatten, unflatten
from mamlkit.losses import Loss
from mamlkit.pde import relative_l2

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
    model: nn.Module,
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
        model: the network; it is left as it is. Its type is that of the data: take float64.
        support: what is trained on, leaves ``[n_tasks, ..]``.
        query: what is judged on; it has no part in training.
        loss: ``(predict, data) -> scalar``, such as ``mk.pde.residual_loss(mk.pde.burgers)``.
        steps: steps of Adam, or iterations of L-BFGS (each takes about 1.1 gradients).
        method: "adam" (Kingma and Ba 2015) or "lbfgs": limited-memory BFGS with 30 pairs, as scipy
            has it (Byrd, Lu, Nocedal and Zhu 1995).
        lr: step size of Adam.
        judge: ``(predict, data) -> scalar`` on the query.
    """
    steps = count("steps", steps)
    number("lr", lr, positive=True)
    if method not in ("adam", "lbfgs"):
        raise MamlkitError(f"method={method!r} is not known; use 'adam' or 'lbfgs'.")
    own = next(model.parameters()).dtype
    given = {leaf.dtype for leaf in (*support, *query)}
    if given != {own}:
        raise MamlkitError(
            f"the model is {own} but the data are {sorted(map(str, given))}; bring both to one "
            "type, best with model.double() and data in float64."
        )
    named = {name: w.detach() for name, w in model.named_parameters()}
    start = flatten(named)  # [P]
    tasks = [type(support)(*(leaf[i : i + 1] for leaf in support)) for i in range(len(support[0]))]
    judged = [type(query)(*(leaf[i : i + 1] for leaf in query)) for i in range(len(query[0]))]

    def value(flat: Tensor, data: Any, measure: Loss = loss) -> Tensor:
        theta = unflatten(flat, named)
        return measure(lambda x: functional_call(model, theta, (x,)), data)

    def error_of(flat: Tensor, data: Any) -> Tensor:
        return value(flat, data, judge)

    step = _recorded(vmap(grad_and_value(value)), type(support))
    error = _recorded(vmap(error_of), type(query))
    if method == "adam":
        flat, *history = _adam(step, error, start.repeat(len(tasks), 1), support, query, steps, lr)
    else:
        found = [
            _lbfgs(step, error, start, *pair, steps) for pair in zip(tasks, judged, strict=True)
        ]
        flat, *history = (torch.stack(column) for column in zip(*found, strict=True))
    losses, errors, seconds = history
    return Refined(losses, errors, seconds, vmap(lambda row: unflatten(row, named))(flat))


def steps_to(errors: Tensor, level: float = 1e-2) -> Tensor:
    """The first step from which ``errors [n_tasks, steps + 1]`` is at ``level`` or below, and inf
    where it never is; ``[n_tasks]``.
    """
    below = errors <= number("level", level, positive=True)
    first = below.int().argmax(-1).to(errors.dtype)
    return torch.where(below.any(-1), first, torch.inf)


def _recorded(function: Any, kind: Any) -> Any:
    """``function(flat, data)``, recorded at the first call of each shape and then replayed."""
    steps: dict[Any, Any] = {}

    def call(flat: Tensor, data: Any) -> Any:
        key = (flat.shape, *(leaf.shape for leaf in data))
        if key not in steps:
            record = make_fx(
                lambda flat, *leaves: function(flat, kind(*leaves)),
                tracing_mode="fake",
                _allow_non_fake_inputs=True,
            )
            graph = record(flat, *data)
            simplify(graph)
            steps[key] = replayed(graph)
        with torch.no_grad():
            return steps[key](flat, *data)

    return call


def _adam(
    step: Any, error: Any, flat: Tensor, support: Any, query: Any, steps: int, lr: float
) -> tuple[Tensor, ...]:
    flat = flat.clone()
    step(flat, support)  # record, off the clock
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
    shared = torch.tensor(seconds).to(flat).expand(len(flat), -1)
    return flat, torch.stack(losses, -1), torch.stack(errors, -1), shared


def _lbfgs(
    step: Any, error: Any, start: Tensor, support: Any, query: Any, steps: int
) -> tuple[Tensor, ...]:
    best = start[None]
    _, loss = step(best, support)
    losses, errors, seconds, judging = [loss[0]], [error(best, query)[0]], [0.0], 0.0

    def value_and_gradient(point: np.ndarray[Any, Any]) -> tuple[float, Any]:
        gradient, loss = step(torch.from_numpy(point.copy()).to(start)[None], support)
        return float(loss), gradient[0].double().numpy().copy()

    def watch(intermediate_result: Any) -> None:
        nonlocal judging
        now = time.process_time()
        flat = torch.from_numpy(intermediate_result.x.copy()).to(start)[None]
        losses.append(torch.tensor(float(intermediate_result.fun)).to(start))
        errors.append(error(flat, query)[0])
        seconds.append(now - began - judging)
        judging += time.process_time() - now

    began = time.process_time()
    found = optimize.minimize(
        value_and_gradient,
        start.double().numpy().copy(),
        jac=True,
        method="L-BFGS-B",
        callback=watch,
        options=cast(
            Any, {"maxiter": steps, "maxfun": 4 * steps, "maxcor": 30, "ftol": 0.0, "gtol": 0.0}
        ),
    )
    for record in (losses, errors, seconds):  # where no step lowers the loss any more
        record += [cast(Any, record[-1])] * (steps + 1 - len(record))
    flat = torch.from_numpy(found.x).to(start)
    return (
        flat,
        torch.stack(losses),
        torch.stack(errors),
        torch.tensor(seconds, dtype=start.dtype),
    )
