"""What does a GPU bring? The same meta-step on the CPU and on the GPU, side by side in one run.

Run on a machine with a GPU, from the root of the repository::

    python -m tests.benchmarks.gpu --out gpu.csv    # some six minutes

Each workload is timed on one thread of the CPU, on all of its cores, and on the GPU: as it is
(eager), captured (on the GPU one CUDA graph, and, beside it, its operations one by one) and, for a
few, compiled; then whole iterations of ``meta_train``, which draw their tasks on the CPU. Before
the clock starts every gradient is compared with that of float64 on the CPU. Rows take turns;
medians.
"""

from __future__ import annotations

import argparse
import csv
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import mamlkit as mk
from mamlkit.evaluation.costs import peak_bytes
from mamlkit.learners.recorded import replayed
from mamlkit.training.gradients import Compile, capture, meta_gradients
from tests.benchmarks.__main__ import by_training
from tests.benchmarks.workloads import WORKLOADS, Workload, finn, gradient_of, mlp

Step = Callable[[], Any]
FINN, _, _, MLP, CNN = WORKLOADS
#: A workload, and whether its step is compiled as well, which takes the compiler half a minute.
JOBS: list[tuple[Workload, bool]] = [
    (FINN, True),
    (finn("Finn sinusoid, 1024 tasks", tasks=1024), False),
    (finn("Finn sinusoid, 16384 tasks", tasks=16384), True),
    (MLP, True),
    (finn("MLP 3x64, 256 tasks x 200 points", model=mlp(64, 64, 64), tasks=256, shots=100), False),
    (finn("MLP 3x512, 32 tasks x 200 points", model=mlp(*3 * [512]), tasks=32, shots=100), True),
    (CNN, False),
]


def by_mamlkit(work: Workload, device: str, compile: Compile) -> tuple[Step, mk.MAML]:
    """``meta_gradients``."""
    learner, batch = work.learner(torch.float32, device), work.batch(torch.float32, device)
    gradients = meta_gradients(learner, dict(learner.named_parameters()), compile=compile)
    return lambda: gradients(batch), learner


def one_by_one(work: Workload) -> Callable[[], list[Tensor]]:
    """The captured step with each operation started by itself."""
    learner, batch = work.learner(torch.float32, "cuda"), work.batch(torch.float32, "cuda")
    weights = {n: p.detach() for n, p in learner.named_parameters()}
    state = dict(learner.named_buffers())
    step = replayed(capture(learner, weights, state, batch))
    given = [*weights.values(), *state.values(), *torch.utils._pytree.tree_leaves(batch)]

    def run() -> list[Tensor]:
        with torch.no_grad():
            found = list(step(*given))
        float(found[len(weights)])  # as meta_train reads the loss
        return found[: len(weights)]

    return run


def rows(work: Workload, compiled: bool, cores: int) -> dict[tuple[str, str], tuple[Any, int]]:
    """(where, how) -> the step with what holds its gradient, and the threads that it may use."""
    found: dict[tuple[str, str], tuple[Any, int]] = {
        ("CPU, 1 thread", "eager"): (by_mamlkit(work, "cpu", False), 1),
        ("CPU, 1 thread", "captured"): (by_mamlkit(work, "cpu", "capture"), 1),
        (f"CPU, {cores} threads", "eager"): (by_mamlkit(work, "cpu", False), cores),
        (f"CPU, {cores} threads", "captured"): (by_mamlkit(work, "cpu", "capture"), cores),
        ("GPU", "eager"): (by_mamlkit(work, "cuda", False), 1),
        ("GPU", "captured"): (by_mamlkit(work, "cuda", "capture"), 1),
        ("GPU", "captured, one by one"): ((one_by_one(work), None), 1),
    }
    if compiled:
        found["GPU", "compiled"] = (by_mamlkit(work, "cuda", True), 1)
    return found


def difference(gradient: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    """|gradient - expected| / |expected|, over all entries."""
    a, b = (torch.cat([t.flatten().double().cpu() for t in g]) for g in (gradient, expected))
    return float((a - b).norm() / b.norm())


def milliseconds(step: Step) -> float:
    torch.cuda.synchronize()
    start = time.perf_counter()
    step()
    torch.cuda.synchronize()
    return 1e3 * (time.perf_counter() - start)


def measure(work: Workload, compiled: bool, seconds: float) -> list[dict[str, Any]]:
    """One row a way to compute the step of this workload."""
    small = Workload(**{**vars(work), "tasks": min(work.tasks, 256)})  # float64 takes its time
    reference = small.learner(torch.float64, "cpu")
    cores = len(os.sched_getaffinity(0))
    torch.set_num_threads(cores)
    reference.query_losses(small.batch(torch.float64, "cpu")).mean().backward()
    for (where, how), ((step, learner), threads) in rows(small, False, cores).items():
        torch.set_num_threads(threads)
        found = step()
        off = difference(gradient_of(learner) if learner else found, gradient_of(reference))
        assert off < 1e-3, f"{where}, {how}, on {work.name}: the gradient is off by {off:.1e}"
    table, times, first = rows(work, compiled, cores), {}, {}
    for where, device, threads in (("CPU, 1 thread", "cpu", 1), ("GPU", "cuda", 1)):
        whole = by_training(work, device, "capture")
        table[where, "captured, whole iteration"] = (whole, None), threads
    for key, ((step, _), threads) in table.items():
        torch.set_num_threads(threads)
        first[key], times[key] = milliseconds(step), [milliseconds(step)]
    rounds = 5
    for _ in range(rounds):
        for key, ((step, _), threads) in table.items():
            torch.set_num_threads(threads)
            milliseconds(step)  # others have had the caches in between
            end = time.perf_counter() + seconds / rounds
            times[key].append(milliseconds(step))
            while time.perf_counter() < end:
                times[key].append(milliseconds(step))
    result = []
    for (where, how), taken in times.items():
        line = {"workload": work.name, "tasks": work.tasks, "where": where, "how": how}
        line |= {"milliseconds": f"{statistics.median(taken):.4g}"}
        line |= {"first_milliseconds": f"{first[where, how]:.4g}"}
        if (where, how) == ("GPU", "eager"):
            line["peak_megabytes"] = f"{peak_bytes(table[where, how][0][0], 'cuda') / 1e6:.4g}"
        print(line, flush=True)
        result.append(line)
    return result


def main() -> None:
    """Print and write the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.gpu")
    parser.add_argument("--out", type=Path, default=Path("gpu.csv"))
    parser.add_argument("--seconds", type=float, default=1.0, help="of timing per row (default 1)")
    parser.add_argument("--jobs", type=int, nargs="*", default=list(range(len(JOBS))))
    options = parser.parse_args()
    torch.backends.cudnn.allow_tf32 = False  # else convolutions keep ten bits
    card = torch.cuda.get_device_name()
    said = f"{card}, {platform.processor() or platform.machine()}, torch {torch.__version__}"
    print(said, flush=True)
    found = []
    for i in options.jobs:
        work, compiled = JOBS[i]
        found += measure(work, compiled, options.seconds)
        with options.out.open("w", newline="") as file:  # as far as it is
            file.write(f"# {said}; float32; python -m tests.benchmarks.gpu\n")
            names = ["workload", "tasks", "where", "how", "milliseconds", "first_milliseconds"]
            writer = csv.DictWriter(file, [*names, "peak_megabytes"], restval="")
            writer.writeheader()
            writer.writerows(found)


if __name__ == "__main__":
    main()
