"""How long does one tick of one stream take? A prediction, a reading seen, on to the next tick.

Run from the root of the repository: ``python -m tests.benchmarks.online_tick``. Medians over blocks
of twenty ticks, one thread, float64; the goal for the online head is 0.3 ms.
"""

from __future__ import annotations

import statistics
import time
from typing import Any

import torch

from mamlkit.course.recipes import shipped, shipped_table
from mamlkit.course.recipes.streams import chosen, follower

NAMES = ("return", "restart", "forget", "curves", "polynomial", "told", "maml-steps", "window")
BLOCK, BLOCKS = 20, 60


def milliseconds(learner: Any) -> tuple[float, float]:
    """The quickest and the median block, a tick."""
    g = torch.Generator().manual_seed(0)
    x = 0.4 + 1.6 * torch.rand(BLOCKS + 1, BLOCK, 1, 1, generator=g)
    y = torch.rand(BLOCKS + 1, BLOCK, 1, 1, generator=g)
    state, spent = learner.start(1), []
    for block in range(BLOCKS + 1):  # the first is not counted
        began = time.perf_counter()
        for t in range(BLOCK):
            learner.predict(state, x[block, t][:, None])
            state = learner.update(state, x[block, t], y[block, t])
        spent.append(1e3 * (time.perf_counter() - began) / BLOCK)
    return min(spent[1:]), statistics.median(spent[1:])


def main() -> None:
    """Print the table."""
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    table = shipped_table("streams")
    for name in NAMES:
        settings = chosen(table, name, "jump")
        learner = follower(name, settings, lambda run: shipped(f"streams-{run}", 0).double())
        quickest, median = milliseconds(learner)
        print(f"{name:12s} {median:7.3f} ms a tick (quickest block {quickest:.3f})")


if __name__ == "__main__":
    main()
