"""What tests in several files share."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import mamlkit as mk
from mamlkit.learners.base import flatten

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = ROOT / "notebooks"
F64 = torch.float64
Tensors = Tensor | dict[str, Tensor]
State = nn.Module | Mapping[str, Tensor]


def read_notebook(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def members_of(family: mk.Family) -> list[int]:
    assert family.members is not None
    return family.members.tolist()


# --- random numbers -------------------------------------------------------------------------------


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=seeded(seed), dtype=F64)


# --- small tasks and networks ---------------------------------------------------------------------


def sinusoids(
    n_tasks: int = 3, shots: int = 4, seed: int = 0, dtype: torch.dtype = F64
) -> mk.TaskBatch:
    """Noisy sinusoids, with 5 query points each."""
    family = mk.tasks.Sinusoid(noise=0.1)
    return family.sample(n_tasks, shots, 5, generator=seeded(seed), dtype=dtype)


def mlp(
    d_in: int = 1, d_out: int = 1, hidden: tuple[int, ...] = (5, 4), seed: int = 3, **more: Any
) -> mk.models.MLP:
    """A network for x in -5..5, as those of the sinusoids."""
    return mk.models.MLP(d_in, d_out, hidden, x_range=(-5.0, 5.0), seed=seed, **more).double()


class Plane(mk.tasks.Family):
    """A law of two numbers: y = a (x1 + x2)."""

    d_in = 2

    def draw(self, n_tasks: int, generator: torch.Generator | None) -> dict[str, Tensor]:
        return {"a": mk.tasks.uniform(n_tasks, 0, 1, generator)}

    def law(self, x: Tensor, physics: dict[str, Tensor]) -> Tensor:
        return physics["a"] * x.sum(-1, keepdim=True)


def one_task(batch: mk.TaskBatch, i: int = 0) -> tuple[mk.Data, mk.Data]:
    """Support and query of task ``i``."""
    return mk.Data(*(t[i] for t in batch.support)), mk.Data(*(t[i] for t in batch.query))


class Slope(nn.Module):
    """y = theta x."""

    def __init__(self, theta: float) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.tensor(theta, dtype=F64))

    def forward(self, x: Tensor) -> Tensor:
        return self.theta * x


# --- gradients and states -------------------------------------------------------------------------


def stored_gradient(parameters: Iterable[Tensor]) -> Tensor:
    """A copy of what ``backward()`` left, in a row."""
    return torch.cat([p.grad.reshape(-1) for p in parameters if p.grad is not None])


def meta_gradient(learner: mk.MAML, batch: mk.TaskBatch) -> dict[str, Tensor]:
    """The gradient of the mean objective with respect to each meta-parameter of the model."""
    names, tensors = zip(*learner.model.named_parameters(), strict=True)
    gradients = torch.autograd.grad(learner.query_losses(batch).mean(), tensors, allow_unused=True)
    zeros = [torch.zeros_like(t) for t in tensors]
    return {n: z if g is None else g for n, g, z in zip(names, gradients, zeros, strict=True)}


def objective_differences(
    learner: mk.MAML, batch: mk.TaskBatch, tensors: Iterable[Tensor]
) -> Tensor:
    """Central finite differences of the mean objective with respect to every entry, flat."""
    step, slopes = 1e-5, []
    for tensor in tensors:
        flat = tensor.detach().view(-1)  # shares memory with the parameter
        for j in range(flat.numel()):
            middle = float(flat[j])
            values = []
            for side in (step, -step):
                flat[j] = middle + side
                with torch.no_grad():
                    values.append(float(learner.query_losses(batch).mean()))
            flat[j] = middle
            slopes.append((values[0] - values[1]) / (2 * step))
    return torch.tensor(slopes, dtype=F64)


def relative_error(given: Tensors, expected: Tensors) -> float:
    """|given - expected| / |expected| over all entries; a dict stands for its tensors in a row."""
    if isinstance(given, dict) and isinstance(expected, dict):
        assert list(given) == list(expected)
    a, b = (flatten(x) if isinstance(x, dict) else x for x in (given, expected))
    return float((a - b).norm() / b.norm())


def assert_same_state(a: State, b: State) -> None:
    """The same names and the same numbers, bit for bit."""
    a, b = (x.state_dict() if isinstance(x, nn.Module) else x for x in (a, b))
    assert a.keys() == b.keys()
    assert [name for name in a if not torch.equal(a[name], b[name])] == []
