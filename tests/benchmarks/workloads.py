"""What is timed: five workloads, as data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

import mamlkit as mk
from mamlkit.losses import Loss
from mamlkit.tasks import Data, Family, Sinusoid, TaskBatch, VapourPressure


class Spins(Family):
    """Tell five classes of random 16 x 16 spin lattices apart: class k flips a spin with
    probability 0.1 k. For timing alone, so no physics behind it.
    """

    ways = 5

    def sample(
        self,
        n_tasks: int,
        shots: Any,
        queries: int | None = None,
        *,
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> TaskBatch:
        def data(each: int) -> Data:
            labels = torch.arange(self.ways).repeat(each).expand(n_tasks, -1)
            u = torch.rand(n_tasks, self.ways * each, 1, 16, 16, generator=generator)
            x = torch.where(u < 0.1 * labels[..., None, None, None], -1.0, 1.0)
            return Data(x.to(device, dtype), labels.to(device))

        return TaskBatch(data(shots), data(queries or shots), {})


@dataclass(frozen=True)
class Workload:
    """One meta-step: MAML with exact second-order gradients on a batch of this family.

    ``jax_model`` names the same network in ``peers.py``.
    """

    name: str
    family: Family
    model: Callable[[], nn.Module]
    tasks: int
    shots: int
    queries: int | None = None
    steps: int = 1
    inner_lr: float = 0.01
    loss: Loss = mk.losses.mse
    jax_model: str = "mlp"

    def learner(self, dtype: torch.dtype, device: str) -> mk.MAML:
        """A learner with the same start in every type and on every device."""
        learner = mk.MAML(self.model(), self.inner_lr, self.steps, loss=self.loss)
        return learner.to(device, dtype)

    def batch(self, dtype: torch.dtype, device: str) -> TaskBatch:
        """The batch that every row computes on."""
        generator = torch.Generator().manual_seed(2)
        settings: dict[str, Any] = {"dtype": dtype, "device": device}
        return self.family.sample(
            self.tasks, self.shots, self.queries, generator=generator, **settings
        )


def mlp(*hidden: int, activation: str = "relu", x_range: Any = None) -> Callable[[], nn.Module]:
    """A network from one number to one number."""
    return lambda: mk.models.MLP(1, 1, hidden=hidden, activation=activation, x_range=x_range)


def finn(name: str = "Finn sinusoid", **changed: Any) -> Workload:
    """25 sinusoids, 10 points, 1-40-40-1 (Finn et al. 2017, section 5.1), or a variation on it."""
    usual: dict[str, Any] = {"tasks": 25, "shots": 10, "model": mlp(40, 40)}
    return Workload(name, Sinusoid(), **{**usual, **changed})


WORKLOADS = [
    finn("Finn sinusoid, 1 step"),
    finn("Finn sinusoid, 5 steps", steps=5),
    Workload(
        "fluids, 1 shot, 5 steps",
        VapourPressure().split("train"),
        mlp(40, 40, activation="tanh", x_range=(0.6, 0.98)),
        tasks=25,
        shots=1,
        steps=5,
    ),
    finn("MLP 3x64, 32 tasks x 200 points", model=mlp(64, 64, 64), tasks=32, shots=200),
    Workload(
        "CNN, 16x16 spins, 5-way 2-shot",
        Spins(),
        lambda: mk.models.CNN(1, 5, hidden=(16, 16)),
        tasks=8,
        shots=2,
        inner_lr=0.1,
        loss=mk.losses.cross_entropy,
        jax_model="cnn",
    ),
]

#: What is varied, and its values, on the Finn sinusoid.
SCALING: dict[str, tuple[tuple[int, ...], Callable[[int], Workload]]] = {
    "tasks": ((1, 4, 16, 64, 256, 1024, 4096), lambda n: finn(tasks=n)),
    "points per task": ((2, 5, 10, 50, 200, 1000), lambda n: finn(shots=n)),
    "width": ((5, 10, 20, 40, 80, 160, 320), lambda n: finn(model=mlp(n, n))),
    "inner steps": ((1, 2, 5, 10), lambda n: finn(steps=n)),
}


def gradient_of(learner: nn.Module) -> list[Tensor]:
    """The meta-gradient that lies in ``.grad``."""
    return [p.grad for p in learner.parameters() if p.grad is not None]
