"""The same meta-step by other libraries, each in the way that its own documentation shows."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mamlkit.losses import Loss
from mamlkit.tasks import Data, TaskBatch
from tests.benchmarks.workloads import Workload

# One thread, as for torch. (Before JAX is imported.)
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")

import higher
import jax
import jax.numpy as jnp
import metalearn.algorithms
import metalearn.inner_optimizers
import metalearn.loss
import metalearn.model_wrappers
import optax
import torchopt

Step = Callable[[], Sequence[Any]]  # one meta-step; returns the meta-gradient


def each_task(batch: TaskBatch) -> list[tuple[Data, Data]]:
    """The batch as a list of (support, query)."""
    support, query = zip(*batch.support, strict=True), zip(*batch.query, strict=True)
    return [(Data(*s), Data(*q)) for s, q in zip(support, query, strict=True)]


def by_higher(work: Workload, model: nn.Module, batch: TaskBatch) -> Step:
    """``higher.innerloop_ctx`` around each task."""
    optimiser = torch.optim.SGD(model.parameters(), lr=work.inner_lr)

    def step() -> list[Tensor | None]:
        model.zero_grad()
        for support, query in each_task(batch):
            with higher.innerloop_ctx(model, optimiser, copy_initial_weights=False) as context:
                fast, inner = context
                for _ in range(work.steps):
                    inner.step(work.loss(fast, support))
                (work.loss(fast, query) / work.tasks).backward()
        return [p.grad for p in model.parameters()]

    return step


def by_torchopt(work: Workload, model: nn.Module, batch: TaskBatch) -> Step:
    """``torchopt.MetaSGD``, with the state put back after each task."""
    inner = torchopt.MetaSGD(model, lr=work.inner_lr)
    parameters = list(model.parameters())

    def step() -> list[Tensor | None]:
        for p in parameters:
            p.grad = None
        start = torchopt.extract_state_dict(model, by="reference", detach_buffers=True)
        state = torchopt.extract_state_dict(inner, by="reference")
        for support, query in each_task(batch):
            for _ in range(work.steps):
                inner.step(work.loss(model, support))
            (work.loss(model, query) / work.tasks).backward()
            torchopt.recover_state_dict(model, start)
            torchopt.recover_state_dict(inner, state)
        return [p.grad for p in parameters]

    return step


class Plain(nn.Module):
    """A module that takes no notice of the settings that parallel-metalearn hands to each."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: Tensor, **_: Any) -> Tensor:
        return self.module(x)


class TaskLoss(metalearn.loss.BaseLoss):  # type: ignore[misc]
    """The loss of a workload, and no metric."""

    def __init__(self, loss: Loss) -> None:
        super().__init__()
        self.loss = loss

    def forward(self, out_dict: Any, targets: Tensor, **_: Any) -> tuple[Tensor, Tensor]:
        loss = self.loss(lambda _: out_dict["logits"], Data(targets, targets))
        return loss, loss.detach()


def by_parallel_metalearn(work: Workload, model: nn.Module, batch: TaskBatch) -> Step:
    """``metalearn.algorithms.MAML`` with all tasks in one ``vmap``. Its step moves the weights, so
    by SGD with a rate of 0: they stay, and no rule is cheaper.
    """
    whole = metalearn.model_wrappers.MAML_Model(Plain(model), Plain(nn.Identity()))
    inner = metalearn.inner_optimizers.InnerSGD(
        whole.get_fast_weights(),
        inner_lr=work.inner_lr,
        max_inner_steps=work.steps,
        learn_lr=False,
    )
    learner = metalearn.algorithms.MAML(
        model=whole,
        optimizer=torch.optim.SGD(whole.parameters(), lr=0.0),
        inner_optimizer=inner,
        support_loss_fn=TaskLoss(work.loss),
        inner_steps=work.steps,
        chunk_size=work.tasks,
        device=batch.support.x.device,
    )
    tasks = itertools.repeat((batch.support.x, batch.support.y, batch.query.x, batch.query.y))

    def step() -> list[Tensor | None]:
        learner.step(tasks)
        return [p.grad for p in model.parameters()]

    return step


def by_jax(
    work: Workload, model: nn.Module, batch: TaskBatch, adam: bool = False, scan: bool = False
) -> Step:
    """``jit`` of ``grad`` of ``vmap``; with ``adam`` also optax's Adam in the same ``jit``. The
    inner steps are unrolled, or a ``lax.scan``.
    """
    theta = {n: jnp.asarray(p.detach().numpy()) for n, p in model.named_parameters()}
    tasks = jax.tree.map(lambda t: jnp.asarray(t.numpy()), (batch.support, batch.query))
    model_in_jax = {"mlp": jax_mlp, "cnn": jax_cnn}[work.jax_model](model)

    def loss(theta: Any, data: Data) -> Any:
        y = model_in_jax(theta, data.x)
        if jnp.issubdtype(data.y.dtype, jnp.integer):
            return -jnp.take_along_axis(jax.nn.log_softmax(y), data.y[:, None], 1).mean()
        return ((y - data.y) ** 2).mean()

    def one_task(theta: Any, support: Data, query: Data) -> Any:
        def inner_step(theta: Any, _: Any) -> Any:
            gradient = jax.grad(loss)(theta, support)
            return jax.tree.map(lambda w, g: w - work.inner_lr * g, theta, gradient), None

        if scan:
            theta, _ = jax.lax.scan(inner_step, theta, length=work.steps)
        else:
            for _ in range(work.steps):
                theta, _ = inner_step(theta, None)
        return loss(theta, query)

    def objective(theta: Any, tasks: Any) -> Any:
        return jax.vmap(one_task, in_axes=(None, 0, 0))(theta, *tasks).mean()

    if not adam:
        gradients = jax.jit(jax.value_and_grad(objective))

        def step() -> list[Any]:
            value, gradient = jax.block_until_ready(gradients(theta, tasks))
            float(value)
            return [gradient[name] for name in theta]

        return step

    optimiser = optax.adam(1e-3)

    @jax.jit
    def update(theta: Any, state: Any, tasks: Any) -> Any:
        value, gradient = jax.value_and_grad(objective)(theta, tasks)
        change, state = optimiser.update(gradient, state)
        return optax.apply_updates(theta, change), state, value, gradient

    now = {"theta": theta, "state": optimiser.init(theta)}

    def whole_step() -> list[Any]:
        now["theta"], now["state"], value, gradient = update(now["theta"], now["state"], tasks)
        float(value)
        return [gradient[name] for name in theta]

    return whole_step


def product(a: Tensor, b: Tensor) -> Step:
    """``a @ b``, jitted."""
    multiply = jax.jit(jnp.matmul)
    arrays = jnp.asarray(a.numpy()), jnp.asarray(b.numpy())
    return lambda: [jax.block_until_ready(multiply(*arrays))]


def jax_mlp(model: Any) -> Callable[[Any, Any], Any]:
    """``mk.models.MLP`` in JAX."""
    activation = {"relu": jax.nn.relu, "tanh": jnp.tanh}[model.activation.__name__]
    offset, scale, last = float(model.offset), float(model.scale), len(model.layers) - 1

    def run(theta: Any, x: Any) -> Any:
        x = (x - offset) / scale
        for k in range(last + 1):
            x = x @ theta[f"layers.{k}.weight"].T + theta[f"layers.{k}.bias"]
            x = x if k == last else activation(x)
        return x

    return run


def jax_cnn(model: Any) -> Callable[[Any, Any], Any]:
    """``mk.models.CNN`` in JAX."""

    def run(theta: Any, x: Any) -> Any:
        for k in range(len(model.convolutions)):
            x = jnp.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)), mode="wrap")
            x = jax.lax.conv(x, theta[f"convolutions.{k}.weight"], (1, 1), "VALID")
            x = jnp.tanh(x + theta[f"convolutions.{k}.bias"][:, None, None])
            n, c, h, w = x.shape
            x = x.reshape(n, c, h // 2, 2, w // 2, 2).mean((3, 5))
        return x.mean((2, 3)) @ theta["head.weight"].T + theta["head.bias"]

    return run
