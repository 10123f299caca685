"""How fast is one meta-step? mamlkit beside parallel-metalearn, TorchOpt, higher and JAX, on the
same arithmetic.

Run from the root of the repository::

    pip install -e ".[bench]"
    python -m tests.benchmarks                     # the tables; some eight minutes
    python -m tests.benchmarks --plot scaling.png  # and the picture of how the cost grows

Every row computes the meta-gradient of the same batch from the same weights, in float32, on one
thread. Before the clock starts, all gradients are compared with mamlkit's eager one in float64.
Then the rows take turns, and medians are reported; the first call stands apart.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import mamlkit as mk
from mamlkit.training.gradients import TRIED, Compile, capture, meta_gradients
from mamlkit.training.loop import _Run
from tests.benchmarks.workloads import SCALING, WORKLOADS, Workload, gradient_of

Step = Callable[[], Sequence[Any]]  # one meta-step; returns the meta-gradient
Table = dict[str, tuple[float, float]]  # row -> milliseconds of the first call, of the median one
PATHS: dict[str, Compile] = {
    "mamlkit eager": False,
    "mamlkit auto": "auto",
    "mamlkit captured": "capture",
    "mamlkit compiled": True,
}


def by_mamlkit(work: Workload, device: str, compile: Compile) -> Step:
    """``meta_gradients``."""
    learner, batch = work.learner(torch.float32, device), work.batch(torch.float32, device)
    gradients = meta_gradients(learner, dict(learner.named_parameters()), compile=compile)

    def step() -> list[Tensor]:
        gradients(batch)
        return gradient_of(learner)

    if compile == "auto":  # as it is when the first batches are over, and it has chosen
        for _ in range(2 * TRIED + 1):
            step()
    return step


def by_training(work: Workload, device: str, compile: Compile = True) -> Step:
    """A whole iteration of ``meta_train``: it draws tasks, too, and notes what came of it."""
    learner = work.learner(torch.float32, device)
    plan = mk.Plan(
        shots=work.shots,
        queries=work.queries,
        meta_batch=work.tasks,
        iterations=10**9,
        seed=2,  # its first batch is the one of all rows
        compile=compile,
    )
    run = _Run(learner, work.family, plan, None, None, ExitStack())

    def step() -> list[Tensor]:
        run.step()
        return gradient_of(learner)

    return step


def by_cuda_graph(work: Workload) -> Step:
    """The captured step as one CUDA graph."""
    learner, batch = work.learner(torch.float32, "cuda"), work.batch(torch.float32, "cuda")
    weights = {n: p.detach() for n, p in learner.named_parameters()}
    state = dict(learner.named_buffers())
    graph = capture(learner, weights, state, batch)
    run = torch.compile(graph, fullgraph=True, dynamic=False, mode="reduce-overhead")
    leaves = torch.utils._pytree.tree_leaves(batch)

    def step() -> list[Tensor]:
        with torch.no_grad():
            results = run(*weights.values(), *state.values(), *leaves)
            return [g.clone() for g in results[: len(weights)]]

    return step


def rows(work: Workload, device: str) -> dict[str, Callable[[], Step]]:
    """What is compared on this workload: the name of a row, and how to make its step."""
    table: dict[str, Callable[[], Step]] = {
        name: partial(by_mamlkit, work, device, compile) for name, compile in PATHS.items()
    }
    table["mamlkit compiled + sampling + Adam"] = lambda: by_training(work, device)
    if device == "cuda":
        table["mamlkit, CUDA graph"] = lambda: by_cuda_graph(work)
    from tests.benchmarks import peers

    def by_loop(peer: Callable[..., Step]) -> Step:
        model = work.model().to(device, torch.float32)
        return peer(work, model, work.batch(torch.float32, device))

    def by_jax(**how: bool) -> Step:
        return peers.by_jax(work, work.model(), work.batch(torch.float32, "cpu"), **how)

    table["parallel-metalearn"] = lambda: by_loop(peers.by_parallel_metalearn)
    table["TorchOpt"] = lambda: by_loop(peers.by_torchopt)
    table["higher"] = lambda: by_loop(peers.by_higher)
    if device == "cpu":
        table["JAX jit"] = by_jax
        if work.steps > 1:
            table["JAX jit, scan over steps"] = lambda: by_jax(scan=True)
        table["JAX jit + optax Adam"] = lambda: by_jax(adam=True)
    return table


def largest_difference(gradient: Sequence[Any], reference: Sequence[Tensor]) -> float:
    """Largest difference of any entry, over the largest entry."""
    size = max(float(r.abs().max()) for r in reference)
    pairs = zip(gradient, reference, strict=True)
    return (
        max(float((torch.as_tensor(g.tolist()).double() - r.cpu()).abs().max()) for g, r in pairs)
        / size
    )


def clock(step: Step, device: str) -> float:
    """Milliseconds of one call."""
    start = time.perf_counter()
    step()
    if device == "cuda":
        torch.cuda.synchronize()
    return 1e3 * (time.perf_counter() - start)


def measure(steps: dict[str, Step], device: str, first: dict[str, float], seconds: float) -> Table:
    """Interleaved: the rows take turns, 25 times, each for its share of ``seconds``."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(25):
        for name, step in steps.items():
            once = clock(step, device)  # others have had the caches in between
            if once > 100:  # so slow that the caches do not matter
                times[name].append(once)
                continue
            end = time.perf_counter() + seconds / 25
            times[name].append(clock(step, device))
            while time.perf_counter() < end:
                times[name].append(clock(step, device))
    return {name: (first[name], statistics.median(t)) for name, t in times.items()}


def compare(work: Workload, device: str, seconds: float) -> Table:
    """Check that all rows compute the same gradient, then time them."""
    reference = work.learner(torch.float64, device)
    reference.query_losses(work.batch(torch.float64, device)).mean().backward()
    expected = gradient_of(reference)
    steps: dict[str, Step] = {}
    first: dict[str, float] = {}
    for name, make in rows(work, device).items():
        steps[name] = make()
        start = time.perf_counter()
        gradient = steps[name]()
        first[name] = 1e3 * (time.perf_counter() - start)
        difference = largest_difference(gradient, expected)
        assert difference < 1e-4, (
            f"{name} computes another gradient on {work.name}: {difference:.1e}"
        )
    return measure(steps, device, first, seconds)


#: The rows that all are held against, and what they are called there.
PEERS = {
    "mamlkit eager": "eager",
    "parallel-metalearn": "p.-metal.",
    "TorchOpt": "TorchOpt",
    "higher": "higher",
    "JAX jit": "JAX jit",
    "JAX jit, scan over steps": "JAX scan",
    "JAX jit + optax Adam": "JAX+optax",
}


def show(work: Workload, table: Table) -> None:
    """Print one workload."""
    print(f"\n{work.name}; all gradients agree")
    peers = [name for name in PEERS if name in table]
    print(
        f"{'':38}{'first call':>12}{'median':>9}" + "".join(f"{'x ' + PEERS[p]:>12}" for p in peers)
    )
    for name, (first, median) in table.items():
        ratios = "".join(f"{table[p][1] / median:12.2f}" for p in peers)
        print(f"{name:38}{first:12.0f}{median:9.3f}{ratios}", flush=True)


def scaling(device: str, seconds: float) -> dict[str, dict[str, list[tuple[int, float]]]]:
    """Milliseconds per meta-step over tasks, points, width and inner steps. Only the tasks are
    compiled at every size: elsewhere compilers would take most of the time.
    """
    found: dict[str, dict[str, list[tuple[int, float]]]] = {}
    for what, (values, workload) in SCALING.items():
        paths = {n: c for n, c in PATHS.items() if c is not True or what == "tasks"}
        found[what] = {name: [] for name in paths}
        if device == "cuda" and what == "tasks":
            values = (*values, *(4**k for k in range(7, 13)))
        print(f"\nscaling in {what}, milliseconds" + "".join(f"{n:>20}" for n in paths))
        for value in values:
            try:
                steps = {n: by_mamlkit(workload(value), device, c) for n, c in paths.items()}
                first = {n: clock(s, device) for n, s in steps.items()}
                table = measure(steps, device, first, seconds)
            except torch.cuda.OutOfMemoryError:
                print(f"{value:>28}: out of memory")
                break
            for name, (_, median) in table.items():
                found[what][name].append((value, median))
            line = "".join(f"{median:20.3f}" for _, median in table.values())
            per_second = 1e3 * workload(value).tasks / min(m for _, m in table.values())
            print(f"{value:>28}{line}   {per_second:12.0f} tasks/s", flush=True)
    return found


def plot(found: dict[str, dict[str, list[tuple[int, float]]]], path: Path) -> None:
    """Four panels with logarithmic axes; grey is proportional growth."""
    import matplotlib.pyplot as plt

    from mamlkit.show.plots import STYLE

    with plt.style.context(STYLE):
        figure, axes = plt.subplots(2, 2, figsize=(8, 6), sharey=True)
        for ax, (what, lines) in zip(axes.flat, found.items(), strict=True):
            for name, points in lines.items():
                ax.loglog(*zip(*points, strict=True), marker="o", markersize=4, label=name)
            x, y = zip(*lines["mamlkit captured"], strict=True)
            ax.loglog(x, [y[-1] * v / x[-1] for v in x], color="0.45", lw=1, ls="-", zorder=0)
            ax.set(xlabel=what, ylabel="ms per meta-step" if ax in axes[:, 0] else "")
        axes[0, 0].set_ylim(bottom=0.05)
        axes[0, 0].legend(fontsize=9)
        figure.savefig(path, dpi=110)
        plt.close(figure)


def products(seconds: float) -> None:
    """Arithmetic per second of the largest product of the MLP workload, by itself: it tells what a
    step owes to the library below it, whose choice of kernel depends on the processor.
    """
    from tests.benchmarks import peers

    a, b = torch.randn(32, 200, 64), torch.randn(32, 64, 64)
    steps: dict[str, Step] = {"torch": lambda: [a @ b], "JAX": peers.product(a, b)}
    first = {name: clock(step, "cpu") for name, step in steps.items()}
    table = measure(steps, "cpu", first, seconds)
    speed = [f"{n} {2 * 32 * 200 * 64 * 64 / ms / 1e6:.0f}" for n, (_, ms) in table.items()]
    print(f"\n32 products (200 x 64)(64 x 64), 10^9 operations per second: {', '.join(speed)}")


FIRST_STEP = """
import time, torch
from tests.benchmarks.__main__ import by_mamlkit
from tests.benchmarks.workloads import WORKLOADS
start = time.perf_counter()
by_mamlkit(WORKLOADS[{index}], "{device}", True)()
print(time.perf_counter() - start)
"""


def first_compiled_steps(device: str) -> None:
    """Seconds of the first compiled step in a new process: with an empty cache, and with a full."""
    print("\nfirst compiled step in a new process, seconds, without `import torch`")
    for index, work in enumerate(WORKLOADS[:2]):
        with tempfile.TemporaryDirectory() as cache:
            seconds = []
            for _ in ("cold", "warm"):
                code = FIRST_STEP.format(index=index, device=device)
                run = subprocess.run(
                    [sys.executable, "-W", "ignore", "-c", code],
                    env={**os.environ, "TORCHINDUCTOR_CACHE_DIR": cache},
                    capture_output=True,
                    text=True,
                    check=True,
                )
                seconds.append(float(run.stdout.split()[-1]))
        print(f"{work.name:38}cold {seconds[0]:6.1f}   warm {seconds[1]:6.1f}", flush=True)


def real_training(device: str) -> None:
    """Milliseconds per iteration of ``meta_train``, all included: compiled, on the first workload;
    and with "auto" beside eager where supports differ in size.
    """
    work = WORKLOADS[0]
    gradients = by_mamlkit(work, device, True)
    alone = statistics.median(clock(gradients, device) for _ in range(2000))
    median, mean, _ = per_iteration(work, device, 3000, shots=work.shots, compile=True)
    print(
        f"\nmeta_train, compiled, {work.name}: {median:.3f} ms/iteration (median), {mean:.3f} "
        f"(mean), {median / alone:.2f} times the gradient alone; 70,000 iterations take "
        f"{70 * mean:.0f} s"
    )
    for shots, iterations in (((1, 10), 300), ((1, 10), 3000), (10, 300), (10, 3000)):
        took: dict[Compile, list[float]] = {False: [], "auto": []}
        for _ in range(3):  # they take turns
            for how, seconds in took.items():
                run = per_iteration(work, device, iterations, shots=shots, compile=how)
                seconds.append(run[2])
        eager, auto = (statistics.median(seconds) for seconds in took.values())
        print(
            f"meta_train, {iterations} iterations, shots={shots}: eager {eager:.2f} s, auto "
            f"{auto:.2f} s, {auto / eager:.2f} times as long"
        )


def per_iteration(
    work: Workload, device: str, iterations: int, **settings: Any
) -> tuple[float, float, float]:
    """Milliseconds of an iteration of ``meta_train``, median and mean but for the first; and the
    seconds of them all.
    """
    learner = work.learner(torch.float32, device)
    start = time.perf_counter()
    history = mk.meta_train(
        learner,
        work.family,
        meta_batch=work.tasks,
        iterations=iterations,
        progress=False,
        **settings,
    )
    seconds = time.perf_counter() - start
    took = [1e3 * (b - a) for a, b in itertools.pairwise(history.seconds)]
    return statistics.median(took), statistics.mean(took), seconds


def main() -> None:
    """Print all tables."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--seconds", type=float, default=1.0, help="of timing per row (default 1)")
    parser.add_argument("--workloads", type=int, default=len(WORKLOADS), help="only the first few")
    parser.add_argument("--plot", type=Path, help="where to save the picture of the scaling")
    options = parser.parse_args()
    torch.set_num_threads(1)
    device = options.device
    names = ("torch", "parallel-metalearn", "torchopt", "higher", "jax", "optax")
    print(", ".join(f"{name} {version(name)}" for name in names))
    print(f"{device}, {os.cpu_count()} cores, one thread, float32; milliseconds per meta-step")
    for work in WORKLOADS[: options.workloads]:
        show(work, compare(work, device, options.seconds))
    if device == "cpu":
        products(options.seconds)
    real_training(device)
    first_compiled_steps(device)
    found = scaling(device, options.seconds / 4)
    if options.plot:
        plot(found, options.plot)


if __name__ == "__main__":
    main()
