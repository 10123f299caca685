"""Run by test_training.py in a process of its own: meta-training that is killed and resumed.

python killed_training.py kill FOLDER       ten SIGKILLs at random moments, then to the end
python killed_training.py interrupt FOLDER  train until Ctrl-C, then say what came back
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any

import torch

import mamlkit as mk

KILLS, ITERATIONS = 10, 300
SETTINGS: dict[str, Any] = {
    "shots": 5,
    "meta_batch": 4,
    "outer_lr": 0.01,
    "seed": 3,
    "grad_clip": 1.0,
    "validation_tasks": 5,
    "validate_every": 25,
    "checkpoint_every": 2,
    "progress": False,
}


def make_learner() -> mk.MAML:
    model = mk.models.MLP(1, 1, hidden=(8,), x_range=(-5.0, 5.0))
    return mk.MetaSGD(model, inner_lr=0.01, inner_steps=2, positive_lr=True)


def train(folder: Path, iterations: int, learner: mk.MAML, **changes: Any) -> mk.History:
    family = mk.tasks.Sinusoid(noise=0.1)
    return mk.meta_train(
        learner,
        family,
        iterations=iterations,
        checkpoint=folder / "run.pt",
        **{**SETTINGS, "validation": mk.tasks.Sinusoid(), **changes},
    )


def finish(folder: Path, iterations: int) -> None:
    learner = make_learner()
    history = train(folder, iterations, learner, schedule="cosine")
    history.save(folder / "history.json")
    torch.save(learner.state_dict(), folder / "learner.pt")


def identity(path: Path) -> tuple[int, int]:
    """Changes whenever the file is replaced by another."""
    if not path.exists():
        return (0, 0)
    status = path.stat()
    return (status.st_ino, status.st_mtime_ns)


def kill(folder: Path) -> None:
    """Lives of random length, each in a forked process; the kill may fall into a write."""
    path, moments = folder / "run.pt", random.Random()
    reached: list[int] = []
    finish(folder / "warm-up", 1)  # so that the forked lives need not import torch's inner parts
    while len(reached) < KILLS:
        process = os.fork()
        if process == 0:
            finish(folder, ITERATIONS)
            os._exit(0)
        # Some checkpoints first, so that ten lives do not end at the start line; then any moment.
        for _ in range(moments.randint(1, 4)):
            before = identity(path)
            while identity(path) == before:
                time.sleep(0.001)
        time.sleep(moments.uniform(0.0, 0.02))
        os.kill(process, signal.SIGKILL)
        _, status = os.waitpid(process, 0)
        if not os.WIFSIGNALED(status):
            raise SystemExit("training ended before it was killed ten times")
        reached.append(int(torch.load(path, weights_only=True)["iteration"]))
    finish(folder, ITERATIONS)
    print(json.dumps(reached))


def interrupt(folder: Path) -> None:
    learner = make_learner()
    history = train(folder, 10**6, learner, validation=None)
    x = torch.tensor([[0.0], [1.0], [2.0]])
    prediction = learner.adapt(x, x.sin())(x)
    print(
        json.dumps(
            {
                "done": len(history.outer_loss),
                "interrupted": history.interrupted,
                "outer_loss": history.outer_loss,
                "finite": bool(torch.isfinite(prediction).all()),
            }
        )
    )


if __name__ == "__main__":
    torch.set_num_threads(1)
    {"kill": kill, "interrupt": interrupt}[sys.argv[1]](Path(sys.argv[2]))
