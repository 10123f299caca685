"""How fast is one meta-step? mamlkit beside ``higher`` and TorchOpt, on the same arithmetic.

The workload is one iteration of the sinusoid benchmark of Finn et al. 2017: 25 tasks of 10 support
and 10 query points, the network 1-40-40-1 (ReLU), one second-order inner step, eager, float32. Each
library computes the meta-gradient of the same batch from the same weights, in the way that its own
documentation shows (``higher`` and TorchOpt loop over tasks). Gradients are compared before any
clock starts; then the libraries take turns, on one thread, and medians are reported.

Run from the root of the repository::

    pip install -e ".[bench]"
    python -m tests.benchmarks.meta_step    # --repeats N for more, --compile for one more row
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version

import higher  # type: ignore[import-untyped]
import torch
import torchopt
from torch import Tensor, nn

import mamlkit as mk
from mamlkit.gradients import meta_gradients
from mamlkit.tasks import Sinusoid

TASKS, SHOTS, INNER_LR = 25, 10, 0.01
Step = Callable[[mk.TaskBatch], list[Tensor]]


def mamlkit_step(model: nn.Module, compile: bool = False) -> Step:
    """All tasks in one vectorised pass."""
    learner = mk.MAML(model, inner_lr=INNER_LR, inner_steps=1)
    parameters: dict[str, Tensor] = dict(learner.named_parameters())
    gradients = meta_gradients(learner, parameters, compile=compile)

    def step(batch: mk.TaskBatch) -> list[Tensor]:
        gradients(batch)
        return taken(list(parameters.values()))

    return step


def higher_step(model: nn.Module) -> Step:
    """``higher.innerloop_ctx`` around each task."""
    model = copy.deepcopy(model)
    parameters = list(model.parameters())
    optimiser = torch.optim.SGD(model.parameters(), lr=INNER_LR)
    mse = nn.functional.mse_loss

    def step(batch: mk.TaskBatch) -> list[Tensor]:
        model.zero_grad()
        for (xs, ys), (xq, yq) in each_task(batch):
            with higher.innerloop_ctx(model, optimiser, copy_initial_weights=False) as inner_loop:
                fast, inner = inner_loop
                inner.step(mse(fast(xs), ys))
                (mse(fast(xq), yq) / TASKS).backward()  # type: ignore[no-untyped-call]
        return taken(parameters)

    return step


def torchopt_step(model: nn.Module) -> Step:
    """``torchopt.MetaSGD`` with the state put back after each task."""
    model = copy.deepcopy(model)
    parameters = list(model.parameters())
    inner = torchopt.MetaSGD(model, lr=INNER_LR)
    mse = nn.functional.mse_loss

    def step(batch: mk.TaskBatch) -> list[Tensor]:
        for p in parameters:
            p.grad = None
        start = torchopt.extract_state_dict(model, by="reference", detach_buffers=True)
        state = torchopt.extract_state_dict(inner, by="reference")
        for (xs, ys), (xq, yq) in each_task(batch):
            inner.step(mse(model(xs), ys))
            (mse(model(xq), yq) / TASKS).backward()  # type: ignore[no-untyped-call]
            torchopt.recover_state_dict(model, start)
            torchopt.recover_state_dict(inner, state)
        return taken(parameters)

    return step


def each_task(batch: mk.TaskBatch) -> list[tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]]:
    """The batch as a list of ``((x, y) of the support, (x, y) of the query)``."""
    support = zip(batch.support.x, batch.support.y, strict=True)
    query = zip(batch.query.x, batch.query.y, strict=True)
    return list(zip(support, query, strict=True))


def taken(parameters: Sequence[Tensor]) -> list[Tensor]:
    """The meta-gradient that lies in ``.grad``."""
    assert all(p.grad is not None for p in parameters)
    return [p.grad for p in parameters if p.grad is not None]


def largest_difference(one: Sequence[Tensor], other: Sequence[Tensor]) -> float:
    """Largest difference of any entry, over the largest entry."""
    size = max(float(g.abs().max()) for g in one)
    return max(float((a - b).abs().max()) for a, b in zip(one, other, strict=True)) / size


def assert_equal_gradients(makers: dict[str, Callable[[nn.Module], Step]]) -> None:
    """In float64, where only rounding may differ: the meta-gradients agree to ten digits."""
    model = mk.models.MLP(1, 1, hidden=(40, 40), activation="relu").double()
    generator = torch.Generator().manual_seed(1)
    batch = Sinusoid().sample(TASKS, SHOTS, generator=generator, dtype=torch.float64)
    gradients = {name: maker(model)(batch) for name, maker in makers.items()}
    reference = gradients["mamlkit"]
    for name, gradient in gradients.items():
        difference = largest_difference(reference, gradient)
        assert difference < 1e-10, f"{name} computes another gradient: {difference:.1e}"
    first_order = mk.FOMAML(model, inner_lr=INNER_LR)
    first_order.query_losses(batch).mean().backward()  # type: ignore[no-untyped-call]
    difference = largest_difference(reference, taken(list(first_order.parameters())))
    assert difference > 1e-3, "the test cannot tell second order from first order"


def measure(steps: dict[str, Step], repeats: int) -> dict[str, list[float]]:
    """Milliseconds: the first call, then median and quartiles of ``repeats`` interleaved calls."""
    generator = torch.Generator().manual_seed(2)
    batch = Sinusoid().sample(TASKS, SHOTS, generator=generator, dtype=torch.float32)

    def timed(step: Step) -> float:
        start = time.perf_counter()
        step(batch)
        return 1e3 * (time.perf_counter() - start)

    first = {name: timed(step) for name, step in steps.items()}
    for _ in range(5):
        for step in steps.values():
            step(batch)
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(repeats):
        for name, step in steps.items():
            times[name].append(timed(step))
    return {name: [first[name], *statistics.quantiles(t, n=4)] for name, t in times.items()}


def main() -> None:
    """Compare gradients, take the times, print one table."""
    parser = argparse.ArgumentParser(description="One meta-step: mamlkit, higher, TorchOpt.")
    parser.add_argument("--repeats", type=int, default=50, help="timed rounds (default 50)")
    parser.add_argument(
        "--compile", action="store_true", help="add a row for mamlkit with compile=True"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    makers: dict[str, Callable[[nn.Module], Step]] = {
        "mamlkit": mamlkit_step,
        "TorchOpt": torchopt_step,
        "higher": higher_step,
    }
    assert_equal_gradients(makers)
    print("meta-gradients agree to 1e-10 in float64")

    model = mk.models.MLP(1, 1, hidden=(40, 40), activation="relu").float()
    steps = {name: maker(model) for name, maker in makers.items()}
    if options.compile:
        steps["mamlkit, compiled"] = mamlkit_step(model, compile=True)
    table = measure(steps, options.repeats)
    packages = ("torch", "mamlkit", "torchopt", "higher")
    print(", ".join(f"{p} {version(p)}" for p in packages))
    print(f"{TASKS} tasks, {SHOTS} shots, one second-order step, float32, one thread, ms:")
    print(f"{'':20}{'first call':>12}{'median':>10}{'quartiles':>18}{'ratio':>8}")
    for name, (first, low, median, high) in table.items():
        ratio = median / table["mamlkit"][2]
        spread = f"{low:.2f} .. {high:.2f}"
        print(f"{name:20}{first:12.1f}{median:10.2f}{spread:>18}{ratio:8.1f}")


if __name__ == "__main__":
    main()
