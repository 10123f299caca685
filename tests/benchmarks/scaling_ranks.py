"""How does one iteration scale with processes? Measured here, and modelled beyond.

A heavy workload: 256 sinusoids of 200 points (100 support, 100 query), the network 1-64-64-64-1,
one second-order inner step, eager, float32, one thread a process. Each number of processes is
started by torchrun, in turns; every run measures the whole iteration of ``meta_train`` and then
its terms one by one::

    t(P) = t_serial + t_compute / P + t_comm(P)

- t_serial: what every rank does in full: drawing all tasks, the norm, Adam.
- t_compute: the meta-gradient of the whole meta-batch.
- t_comm: putting the gradient end to end, one all-reduce, and taking it apart. Beyond what was
  measured, that of a ring: 2 (P - 1) latency + 2 (P - 1) / P bytes / bandwidth, plus packing.

Run from the root of the repository::

    python -m tests.benchmarks.scaling_ranks    # --processes 1 2 4, --tasks N, --rounds N
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

import mamlkit as mk
from mamlkit.training.gradients import meta_gradients
from mamlkit.training.ranks import Ranks, join

POINTS, HIDDEN = 100, (64, 64, 64)  # support and query points each
SMALL, LARGE = 1, 1 << 20  # numbers in the all-reduces that tell latency from bandwidth


def milliseconds(work: Callable[[], Any], repeats: int) -> float:
    """Median time of ``work``, after a warm-up."""
    times = []
    for _ in range(repeats + 3):
        start = time.perf_counter()
        work()
        times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times[3:])


def measure(tasks: int, repeats: int) -> dict[str, float]:
    """In each process: the whole iteration, then its terms; all in milliseconds."""
    family = mk.tasks.Sinusoid()
    learner = mk.MAML(mk.models.MLP(1, 1, hidden=HIDDEN, x_range=(-5.0, 5.0)))
    given: dict[str, Any] = {"queries": POINTS, "meta_batch": tasks, "progress": False}
    history = mk.meta_train(learner, family, POINTS, iterations=repeats + 5, **given)
    seconds = history.seconds[4:]
    steps = [1e3 * (b - a) for a, b in pairwise(seconds)]

    ranks = join(torch.device("cpu"))
    parameters = dict(learner.named_parameters())
    gradients = meta_gradients(learner, parameters)
    generator = torch.Generator().manual_seed(0)
    batch = family.sample(tasks, POINTS, generator=generator)
    mine = ranks.own(batch)
    optimiser = torch.optim.Adam(parameters.values())

    def draw() -> None:
        family.sample(tasks, POINTS, generator=generator)

    def step() -> None:
        torch.nn.utils.get_total_norm([p.grad for p in parameters.values() if p.grad is not None])
        optimiser.step()

    compute = milliseconds(lambda: gradients(mine), repeats)
    found = {
        "iteration": statistics.median(steps),
        "sampling": milliseconds(draw, repeats),
        "compute": compute,
        "optimiser": milliseconds(step, repeats),
        "numbers": float(sum(p.numel() for p in parameters.values())),
    }
    if ranks.size > 1:
        found |= communication(ranks, list(parameters.values()), repeats)
    return found


def communication(ranks: Ranks, parameters: list[torch.Tensor], repeats: int) -> dict[str, float]:
    """The average over ranks of a gradient that is there already, and bare all-reduces."""

    def average() -> None:
        ranks.average(lambda: (0.0, [0.0, 0.0]), parameters, 1.0 / ranks.size, lambda: False)

    def bare(n: int) -> float:
        numbers = torch.zeros(n)
        return milliseconds(lambda: dist.all_reduce(numbers), repeats)

    return {"comm": milliseconds(average, repeats), "small": bare(SMALL), "large": bare(LARGE)}


def job(processes: int, threads: int, tasks: int, repeats: int) -> dict[str, float]:
    """Run :func:`measure` in ``processes`` processes of this machine; what rank 0 found."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "found.json"
        start = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
        worker = ["-m", "tests.benchmarks.scaling_ranks", "--worker", str(out)]
        sizes = ["--tasks", str(tasks), "--repeats", str(repeats)]
        subprocess.run(
            [sys.executable, *start, *worker, *sizes],
            env={**os.environ, "OMP_NUM_THREADS": str(threads)},
            check=True,
        )
        found: dict[str, float] = json.loads(out.read_text())
        return found


def model(one: dict[str, float], many: dict[str, float], size: int) -> Callable[[int], float]:
    """t(P) in milliseconds, from one process and from ``size`` of them."""
    serial = one["sampling"] + one["optimiser"]
    latency = many["small"] / (2 * (size - 1))  # ms a hop of the ring
    ring = 2 * (size - 1) / size
    per_number = max(many["large"] - many["small"], 0.0) / (LARGE * ring)  # ms
    bare = many["small"] + ring * one["numbers"] * per_number
    packing = max(many["comm"] - bare, 0.0)

    def predicted(processes: int) -> float:
        p = processes
        comm = 0.0
        if p > 1:
            ring_p = 2 * (p - 1) / p * one["numbers"] * per_number
            comm = packing + 2 * (p - 1) * latency + ring_p
        return serial + one["compute"] / p + comm

    return predicted


def main() -> None:
    """Measure in turns, print the terms, the scaling and the model."""
    parser = argparse.ArgumentParser(description="Scaling of one iteration with processes.")
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2], metavar="P")
    parser.add_argument("--tasks", type=int, default=256, help="meta-batch (default 256)")
    parser.add_argument("--repeats", type=int, default=30, help="iterations a run (default 30)")
    parser.add_argument("--rounds", type=int, default=3, help="turns (default 3)")
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
        found = measure(options.tasks, options.repeats)
        if os.environ["RANK"] == "0":
            options.worker.write_text(json.dumps(found))
        return

    cores = os.cpu_count() or 1
    kinds = [(p, 1) for p in sorted({1, *options.processes})] + ([(1, cores)] if cores > 1 else [])
    rounds: dict[tuple[int, int], list[dict[str, float]]] = {kind: [] for kind in kinds}
    for _ in range(options.rounds):
        for processes, threads in kinds:
            rounds[processes, threads].append(
                job(processes, threads, options.tasks, options.repeats)
            )
    table = {
        kind: {name: statistics.median(f[name] for f in found) for name in found[0]}
        for kind, found in rounds.items()
    }
    print(f"{options.tasks} tasks x {2 * POINTS} points, MLP 1-64-64-64-1, one inner step, float32")
    print(f"torch {torch.__version__}, {cores} cores, medians of {options.rounds} rounds, ms:")
    columns = ("iteration", "sampling", "compute", "optimiser", "comm")
    print(f"{'processes':>9} {'threads':>8}" + "".join(f"{c:>11}" for c in columns) + "   speed-up")
    one = table[1, 1]
    for (processes, threads), row in table.items():
        cells = "".join(f"{row[c]:11.2f}" if c in row else f"{'-':>11}" for c in columns)
        print(f"{processes:>9} {threads:>8}{cells} {one['iteration'] / row['iteration']:10.2f}")
    largest = max(options.processes)
    if largest == 1:
        return
    predicted = model(one, table[largest, 1], largest)
    print("\nt(P) = t_serial + t_compute / P + t_comm(P), ms, one core a process:")
    for processes in (1, 2, 4, 8, 16, 32, 64):
        t = predicted(processes)
        seen = table.get((processes, 1))
        measured = f"   measured {seen['iteration']:.2f}" if seen else ""
        print(f"  P = {processes:2}: {t:8.2f}   speed-up {predicted(1) / t:5.1f}{measured}")


if __name__ == "__main__":
    main()
