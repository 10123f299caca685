"""Learning curves: many small trainings on physical problems, and how each of them ended.

A *problem* is a law of physics with its parameters, a few noisy readings to train on, and others to
validate on. A *run* is one training of a small network on it, with hyperparameters of its own; all
runs of some problems are trained side by side. The curves ship in ``learning_curves.npz``;
``mamlkit reproduce learning-curves --out DIR`` makes them again.
"""

from __future__ import annotations

import math
import platform
from collections.abc import Callable, Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from mamlkit.checks import count, fresh_generator, one_of
from mamlkit.errors import MamlkitError
from mamlkit.tasks.base import Data, Family, Physics, TaskBatch, uniform

STEPS, RUNS, READINGS, WIDTH = 300, 16, 40, 24
#: After so many steps the validation loss is written down.
TIMES = (1, 2, 4, 7, 11, 16, 22, 30, 42, 60, 85, 120, 170, 240, 300)
#: The hyperparameters of a run: the least and the most; all are drawn evenly in their logarithm.
#: ``share`` is the chance of each reading to be in the batch of a step, ``spread`` the standard
#: deviation of the first weights, ``decay`` what Adam's weight decay takes off a weight, in units
#: of the learning rate.
HYPERPARAMETERS = {
    "learning rate": (3e-4, 0.1),
    "width": (2.0, WIDTH),
    "share": (1 / 8, 1.0),
    "decay": (1e-4, 1.0),
    "spread": (0.3, 10.0),
}
#: How many problems there are in all, and how many of them are for choosing settings.
PROBLEMS, VALIDATION, TRAIN = 360, 48, 160


def _oscillator(x: Tensor, p: Tensor) -> Tensor:
    """A damped oscillation over time."""
    t = x + 1
    return torch.exp(-(0.1 + 1.4 * p[0]) * t) * torch.cos((3 + 9 * p[1]) * t + 2 * math.pi * p[2])


def _slits(x: Tensor, p: Tensor) -> Tensor:
    """The light behind two slits against the angle: cos^2 under a sinc^2."""
    at = x - 0.4 * (p[2] - 0.5)
    return torch.sinc((0.5 + 1.5 * p[0]) * at) ** 2 * torch.cos((2 + 6 * p[1]) * at) ** 2


def _morse(x: Tensor, p: Tensor) -> Tensor:
    """The potential of a molecule against the distance of its atoms (P. M. Morse 1929)."""
    return (1 - torch.exp(-(0.8 + 1.7 * p[0]) * (x + 0.3 + 0.5 * p[1]))) ** 2


def _fermi(x: Tensor, p: Tensor) -> Tensor:
    """The occupation of levels against the energy, cold (a step) to warm."""
    return torch.sigmoid((0.6 * (2 * p[1] - 1) - x) / (0.02 * 20 ** p[0]))


#: The four laws: of x from -1 to 1 ``[n]``, and three numbers from 0 to 1.
LAWS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "oscillator": _oscillator,
    "two slits": _slits,
    "Morse": _morse,
    "Fermi": _fermi,
}


class Problem(NamedTuple):
    """One problem: its law, with numbers of order one, and the readings.

    ``x``, ``y`` are ``[READINGS]``, of which those count where ``used``; ``x_new``, ``y_new`` are
    64 others, just as noisy, to validate on. y has variance 1 over the interval before ``noise``,
    the standard deviation of a reading, is added.
    """

    law: str
    parameters: Tensor
    noise: float
    x: Tensor
    y: Tensor
    used: Tensor
    x_new: Tensor
    y_new: Tensor


class Runs(NamedTuple):
    """The runs of n problems: hyperparameters ``[n, RUNS, 5]`` as logarithms to base 10, in the
    order of :data:`HYPERPARAMETERS`, and validation losses at :data:`TIMES`, ``[n, RUNS, times]``.
    """

    hyperparameters: Tensor
    losses: Tensor


def problem(number: int) -> Problem:
    """Problem ``number``, drawn by its number: the laws take turns."""
    generator = fresh_generator(7_000_000 + count("number", number, least=0))
    name = list(LAWS)[number % len(LAWS)]
    p = uniform(3, 0, 1, generator)
    noise = float(10 ** uniform(1, -2, -0.5, generator))
    used = torch.arange(READINGS) < int(8 * 5 ** uniform(1, 0, 1, generator))
    x, x_new = uniform(READINGS, -1, 1, generator), uniform(64, -1, 1, generator)
    grid = LAWS[name](torch.linspace(-1, 1, 400, dtype=torch.float64), p)
    y, y_new = (
        (LAWS[name](at, p) - grid.mean()) / grid.std()
        + noise * torch.randn(at.shape, generator=generator, dtype=torch.float64)
        for at in (x, x_new)
    )
    return Problem(name, p, noise, x, y, used, x_new, y_new)


def _ranges() -> Tensor:
    """Least and most of each hyperparameter, as logarithms ``[2, 5]``."""
    return torch.tensor(list(HYPERPARAMETERS.values()), dtype=torch.float64).log10().T


def in_units(logs: Tensor) -> Tensor:
    """Logarithms of hyperparameters ``[.., 5]``, each mapped to -1 to 1."""
    low, high = _ranges()
    return 2 * (logs - low) / (high - low) - 1


def settings(number: int) -> Tensor:
    """The hyperparameters of the runs of a problem, as logarithms, ``[RUNS, 5]``."""
    low, high = _ranges()
    return low + (high - low) * uniform((RUNS, len(low)), 0, 1, fresh_generator(8_000_000 + number))


def train(numbers: Sequence[int]) -> Runs:
    """Train all runs of some problems, side by side.

    A network 1-w-w-1 with tanh for each run, by Adam with decoupled weight decay (D. P. Kingma and
    J. Ba 2015; I. Loshchilov and F. Hutter 2019). All have :data:`WIDTH` units a layer, and a mask
    leaves w of them.
    """
    n = len(numbers)
    problems = [problem(i) for i in numbers]
    x, y, used, x_new, y_new = (
        torch.stack([getattr(p, name) for p in problems]).repeat_interleave(RUNS, 0)[..., None]
        for name in ("x", "y", "used", "x_new", "y_new")
    )  # [n * RUNS, readings, 1]
    most = int(used.sum(1).max())
    x, y, used = x[:, :most], y[:, :most], used[:, :most]
    logs = torch.stack([settings(i) for i in numbers])
    rate, width, share, decay, spread = (10**logs).flatten(0, 1)[:, :, None, None].unbind(1)
    units = (torch.arange(WIDTH) < width.floor()).double()  # [n * RUNS, 1, WIDTH]
    starts, draws = [], []
    for i in numbers:  # of each problem its own, so that it does not matter who is beside it
        generator = fresh_generator(9_000_000 + i)
        starts.append(torch.randn(RUNS, 5, WIDTH, WIDTH, generator=generator, dtype=torch.float64))
        shape = (STEPS, RUNS, READINGS, 1)
        draws.append(torch.rand(shape, generator=generator, dtype=torch.float32))
    start, draw = torch.cat(starts), torch.cat(draws, 1)
    each = width.floor().rsqrt()
    theta = [
        spread * start[:, 0, :1],  # [n * RUNS, 1, WIDTH]
        spread * start[:, 1, :1],
        each * start[:, 2],
        0 * start[:, 3, :1],
        each * start[:, 4, :, :1],
        0 * start[:, 4, :1, :1],
    ]

    def predict(theta: list[Tensor], x: Tensor) -> Tensor:
        a, b, c, d, e, f = theta
        first = units * torch.tanh(x * a + b)
        return torch.baddbmm(f, units * torch.tanh(torch.baddbmm(d, first, c)), e)

    moments = [(torch.zeros_like(w), torch.zeros_like(w)) for w in theta]
    losses = []
    for step in range(1, STEPS + 1):
        batch = used * (draw[step - 1, :, :most] < share)
        weight = batch / batch.sum(1, keepdim=True).clamp(min=1)
        for w in theta:
            w.requires_grad_()
        loss = (weight * (predict(theta, x) - y) ** 2).sum()  # the runs know nothing of each other
        gradients = torch.autograd.grad(loss, theta)
        with torch.no_grad():
            for k, (g, (m, v)) in enumerate(zip(gradients, moments, strict=True)):
                m.lerp_(g, 0.1)
                v.lerp_(g * g, 0.001)
                up = m / (1 - 0.9**step) / ((v / (1 - 0.999**step)).sqrt() + 1e-8)
                theta[k] = theta[k] - rate * (up + decay * theta[k])
            if step in TIMES:
                losses.append(((predict(theta, x_new) - y_new) ** 2).mean((1, 2)))
    return Runs(logs, torch.stack(losses, -1).reshape(n, RUNS, len(TIMES)))


def make_table(out: Path, numbers: Sequence[int] | None = None) -> None:
    """Write ``out/learning_curves.npz``: the curves of all problems, or of those with these
    numbers; some 50 seconds of CPU time. Losses are kept as 100 times their logarithm, rounded.
    """
    numbers = range(PROBLEMS) if numbers is None else numbers
    sizes = torch.tensor([int(problem(i).used.sum()) for i in numbers])
    order = sizes.argsort(stable=True)  # side by side those with as many readings
    curves = torch.empty(len(numbers), RUNS, len(TIMES), dtype=torch.float64)
    for part in torch.split(order, 6):
        curves[part] = train([numbers[i] for i in part.tolist()]).losses.log10()
    about = (
        "Validation losses (100 times their logarithm to base 10) of problems, runs, times: see "
        "mamlkit/tasks/learning_curves.py. Made by: mamlkit reproduce learning-curves --out DIR; "
        f"{STEPS} steps, {RUNS} runs, at most {READINGS} readings and {WIDTH} units; "
        f"torch {torch.__version__}, numpy {np.__version__}, Python {platform.python_version()}."
    )
    np.savez_compressed(
        out / "learning_curves.npz",
        about=np.array(about),
        numbers=np.array(numbers),
        times=np.array(TIMES),
        losses=(100 * curves).round().to(torch.int16).numpy(),
    )


@cache
def _table() -> Runs:
    """What ships, with hyperparameters drawn again; losses as logarithms."""
    with files("mamlkit.tasks").joinpath("learning_curves.npz").open("rb") as file:
        kept = np.load(file)["losses"]
    logs = torch.stack([settings(i) for i in range(len(kept))])
    return Runs(logs, torch.tensor(kept, dtype=torch.float64) / 100)


class LearningCurves(Family):
    """Where will a training end? One task is one problem; its points are training runs.

    ``x`` holds the logarithm of the validation loss at the :data:`TIMES` up to step ``seen``, and
    then the hyperparameters, each from -1 to 1; ``y`` is the logarithm to base 10 of the validation
    loss after all :data:`STEPS`. A support of K shots is K runs that have been finished.

    A finite family of 360 problems of four laws. 48 of them, always the same, are "validation"; the
    others are dealt to "train" and "test" by ``seed``. Support and query are drawn so that the same
    generator gives the same query whatever the number of shots.

    Args:
        seen: a run is seen up to this step, one of :data:`TIMES`.
        seed: deals the problems that are not for validation.
        without: the name of a law that is left out of "train" and "validation"; "test" has no
            other.

    Attributes:
        hyperparameters: logarithms ``[members, RUNS, 5]``.
        log_losses: logarithms of the validation loss ``[members, RUNS, times]``.
    """

    d_out, pool = 1, RUNS
    x_label, y_label = "the first steps and the settings", "log10 of the final loss"

    def __init__(self, seen: int = 30, seed: int = 0, without: str | None = None) -> None:
        self.seen = seen
        if seen not in TIMES:
            raise MamlkitError(f"seen={seen!r} must be a step at which a loss was kept: {TIMES}.")
        law = torch.arange(PROBLEMS) % len(LAWS)
        self.constants = {"problem": torch.arange(PROBLEMS), "law": law}
        self.d_in = TIMES.index(seen) + 1 + len(HYPERPARAMETERS)
        rest = VALIDATION + torch.randperm(PROBLEMS - VALIDATION, generator=fresh_generator(seed))
        parts = {
            "train": rest[:TRAIN],
            "validation": torch.arange(VALIDATION),
            "test": rest[TRAIN:],
        }
        if without is not None:
            out = list(LAWS).index(one_of("without", without, LAWS))
            parts = {k: v[(law[v] == out) == (k == "test")] for k, v in parts.items()}
        self.parts = {name: members.sort().values for name, members in parts.items()}

    def name_of(self, physics: Any) -> str:
        """The name of the law."""
        return list(LAWS)[int(physics["law"])]

    def measure(
        self, physics: Physics, shots: int, queries: int, generator: torch.Generator
    ) -> TaskBatch:
        """Runs of the problems, each at most once in a task."""
        which = physics["problem"].long()[:, None]
        shape = (len(which), RUNS)
        order = torch.rand(shape, generator=generator, dtype=torch.float32).argsort(1)
        x, y = (part[which, order[:, : queries + shots]] for part in self._points())
        (x_new, x), (y_new, y) = (part.split_with_sizes((queries, shots), 1) for part in (x, y))
        return TaskBatch(Data(x, y), Data(x_new, y_new), physics)

    def _points(self) -> tuple[Tensor, Tensor]:
        """x ``[PROBLEMS, RUNS, d_in]`` and y ``[PROBLEMS, RUNS, 1]`` of all problems."""
        logs, losses = _table()
        start = losses[..., : TIMES.index(self.seen) + 1]
        return torch.cat([start, in_units(logs)], -1), losses[..., -1:]

    @property
    def hyperparameters(self) -> Tensor:
        """The hyperparameters of the runs of the problems."""
        return _table().hyperparameters[self.members]

    @property
    def log_losses(self) -> Tensor:
        """The curves of the runs of the problems."""
        return _table().losses[self.members]
