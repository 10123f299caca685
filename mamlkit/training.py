"""The outer loop: meta-training with validation, checkpoints and a history."""

from __future__ import annotations

import json
import math
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Self, cast

import torch
from torch import Tensor, nn

from mamlkit.checkpoints import (
    atomically,
    check_learner,
    read_checkpoint,
    write_atomically,
)
from mamlkit.checks import count, fresh_generator, number
from mamlkit.distributed import Ranks, join
from mamlkit.errors import MamlkitError
from mamlkit.gradients import Compile, meta_gradients
from mamlkit.tasks.base import Family, TaskBatch, check_family

Schedule = Literal["constant", "cosine"]


@dataclass
class History:
    """The record of a meta-training run. Lists run over outer iterations, unless said otherwise.

    Attributes:
        outer_loss: mean query loss of the meta-batch.
        support_loss: support loss before and after each inner step, mean over the meta-batch:
            ``[iterations][inner_steps + 1]``.
        learning_rate: outer learning rate.
        seconds: wall-clock seconds since the start, resumed runs added up.
        validation_iteration, validation_loss: when and what validation measured.
        settings: the arguments of the run, as plain numbers and text.
        interrupted: True if Ctrl-C ended the run early.
    """

    outer_loss: list[float] = field(default_factory=list)
    support_loss: list[list[float]] = field(default_factory=list)
    learning_rate: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    validation_iteration: list[int] = field(default_factory=list)
    validation_loss: list[float] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)
    interrupted: bool = False

    def save(self, path: str | Path) -> None:
        """Write as JSON, in one atomic step."""
        with atomically(path) as file:
            file.write(json.dumps(asdict(self)).encode())

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read what :meth:`save` wrote."""
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            raise MamlkitError(f"no history can be read at {path}: {error.strerror}.") from error
        except ValueError as error:
            raise MamlkitError(f"{path} is not a history, which is JSON: {error}.") from error
        empty = asdict(cls())
        if (
            not isinstance(content, dict)
            or content.keys() != empty.keys()
            or any(type(content[k]) is not type(empty[k]) for k in empty)
        ):
            raise MamlkitError(
                f"{path} is JSON, but not a history written by History.save(); it must hold "
                f"{', '.join(empty)}."
            )
        return cls(**content)


def meta_train(
    learner: nn.Module,
    family: Family,
    shots: int = 10,
    *,
    queries: int | None = None,
    meta_batch: int = 25,
    iterations: int = 5000,
    outer_lr: float = 1e-3,
    seed: int = 0,
    schedule: Schedule = "constant",
    grad_clip: float | None = None,
    validation: Family | None = None,
    validation_tasks: int = 100,
    validate_every: int = 500,
    chunk_size: int | None = None,
    compile: Compile = False,
    checkpoint: str | Path | None = None,
    checkpoint_every: int = 500,
    progress: bool = True,
) -> History:
    """Meta-train ``learner`` on tasks of ``family`` with Adam, in place; return the history.

    Each iteration draws ``meta_batch`` tasks of ``shots`` support and ``queries`` query points and
    descends the mean of ``learner.query_losses``. Ctrl-C ends the run after the iteration under
    way and returns what is done. A learner with a method ``at_iteration(done)`` is told before each
    iteration how many are done.

    In several processes (``torchrun``, or a default group of ``torch.distributed`` of your own) the
    same call works on one run: see :mod:`mamlkit.distributed`. All must be given the same
    arguments; learners start from the weights of rank 0 and end with the same weights; rank 0 shows
    the bar and writes the checkpoint; Ctrl-C on one ends all, and so does an error.

    Args:
        learner: a meta-learner: a module with ``query_losses(batch) -> [n_tasks]``. If it can be
            called on a batch, giving ``(losses, support losses [n_tasks, steps + 1])``, the history
            holds the support losses too, and ``compile`` works.
        family: training tasks.
        shots, queries, meta_batch: sizes of a meta-batch; ``queries=None`` leaves it to the family.
        iterations: number of outer steps, counted from the very start of a resumed run.
        outer_lr: beta, the outer learning rate; "cosine" lets it fall to 0 at the end.
        seed: fixes every task that is drawn.
        schedule: "constant" or "cosine".
        grad_clip: largest norm of the meta-gradient.
        validation: a family to validate on, with the same shots and queries: each member once if
            it is finite, else ``validation_tasks`` fixed tasks. The best meta-parameters seen
            (lowest validation loss) are loaded into the learner at the end.
        validate_every: iterations between validations.
        chunk_size: compute this many tasks at a time and add up, to save memory.
        compile: True compiles the meta-gradient (seconds at the start, needs a C++ compiler);
            "capture" records its operations once and replays them, without a compiler.
        checkpoint: a file to write every ``checkpoint_every`` iterations and at the end, in one
            atomic step. If it exists, the run resumes from it, bit for bit.
        progress: show a progress bar.

    Raises:
        MamlkitError: for settings that do not fit, a checkpoint that cannot be used, or a loss
            that is not finite; it names the iteration, and the last good checkpoint stands. In
            several processes also when another fails.
    """
    parameters = check_learner(learner)
    query_losses: Callable[[TaskBatch], Tensor] = cast(Any, learner).query_losses
    for name, whole in {
        "shots": shots,
        "meta_batch": meta_batch,
        "iterations": iterations,
        "validation_tasks": validation_tasks,
        "validate_every": validate_every,
        "checkpoint_every": checkpoint_every,
        "chunk_size": 1 if chunk_size is None else chunk_size,
    }.items():
        count(name, whole)
    # Plain Python numbers from here on: a checkpoint holds nothing else.
    shots, meta_batch, iterations = int(shots), int(meta_batch), int(iterations)
    validation_tasks, validate_every = int(validation_tasks), int(validate_every)
    queries = None if queries is None else count("queries", queries)
    seed = count("seed", seed, least=0)
    outer_lr = number("outer_lr", outer_lr, positive=True)
    if grad_clip is not None:
        grad_clip = number("grad_clip", grad_clip, positive=True)
    if not isinstance(compile, bool) and compile != "capture":
        raise MamlkitError(f"compile must be False, 'capture' or True, not {compile!r}.")
    if compile and type(learner).forward is nn.Module.forward:
        raise MamlkitError(
            f"compile={compile!r} needs a learner that can be called on a batch, but "
            f"{type(learner).__name__} has only query_losses; use compile=False."
        )
    if schedule not in ("constant", "cosine"):
        raise MamlkitError(f"schedule must be 'constant' or 'cosine', not {schedule!r}.")
    if not isinstance(family, Family):
        raise MamlkitError(
            f"family must be a Family, but {type(family).__name__} was given; "
            "for example mk.tasks.Sinusoid()."
        )

    like = next(iter(parameters.values()))
    drawn: dict[str, Any] = {"dtype": like.dtype, "device": like.device}
    settings = {
        "learner": _described(learner),
        "family": _described(family),
        "shots": shots,
        "queries": queries,
        "meta_batch": meta_batch,
        "outer_lr": outer_lr,
        "seed": seed,
        "schedule": schedule,
        "grad_clip": grad_clip,
        "validation": None if validation is None else _described(validation),
        "validation_tasks": validation_tasks,
        "validate_every": validate_every,
        "dtype": str(like.dtype),
        # A cosine schedule knows the end from the start; a constant one may go on for longer.
        "iterations": iterations if schedule == "cosine" else None,
    }
    ranks = join(like.device)
    shapes = {name: list(p.shape) for name, p in parameters.items()}
    plan = {"checkpoint": bool(checkpoint), "checkpoint_every": checkpoint_every, "shapes": shapes}
    ranks.same({**settings, **plan, "iterations": iterations})
    if meta_batch < ranks.size:
        raise MamlkitError(
            f"meta_batch={meta_batch} tasks cannot be split over {ranks.size} processes; raise "
            "meta_batch, or start fewer."
        )
    mine = ranks.share(meta_batch)
    n_mine = mine.stop - mine.start

    def first_pass() -> TaskBatch | None:
        """One pass over real tasks: whatever does not fit is said before any work."""
        n_first = min(n_mine, chunk_size or n_mine)
        with torch.no_grad():
            first = fresh_generator(seed)
            query_losses(family.sample(n_first, shots, queries, generator=first, **drawn))
        if validation is None:
            return None
        return draw_tasks(validation, shots, queries, validation_tasks, seed + 10**6, **drawn)

    held_out = ranks.together(first_pass)
    run = _Run(
        learner,
        torch.optim.Adam(parameters.values(), lr=outer_lr, fused=True),
        fresh_generator(seed),
        History(settings=settings),
    )
    if not run.resume(checkpoint, iterations, ranks) and ranks.size > 1:
        # Ranks may have drawn different starts; all take that of rank 0.
        learner.load_state_dict(ranks.broadcast(_on_cpu(learner.state_dict())))
    history, optimiser = run.history, run.optimiser
    gradients = meta_gradients(learner, parameters, chunk_size, compile)
    at_iteration: Callable[[int], None] = getattr(learner, "at_iteration", lambda done: None)

    def meta_gradient() -> tuple[float, list[float]]:
        at_iteration(run.done)
        batch = family.sample(meta_batch, shots, queries, generator=run.generator, **drawn)
        return gradients(ranks.own(batch))

    clock = time.perf_counter() - (history.seconds[-1] if history.seconds else 0.0)
    bar = _progress_bar(iterations, run.done, progress and ranks.rank == 0)
    stop = False
    with _deferred_interrupt() as interrupted, bar:
        while run.done < iterations and not stop:
            rate = outer_lr
            if schedule == "cosine":
                rate = outer_lr * 0.5 * (1 + math.cos(math.pi * run.done / iterations))
            loss, support_loss, stop = ranks.average(
                meta_gradient, list(parameters.values()), n_mine / meta_batch, interrupted
            )
            norm = nn.utils.get_total_norm(
                [p.grad for p in parameters.values() if p.grad is not None]
            )
            if not (math.isfinite(loss) and math.isfinite(float(norm))):
                what = "loss" if not math.isfinite(loss) else "meta-gradient"
                raise MamlkitError(
                    f"the {what} is not finite at iteration {run.done + 1} (loss {loss}); lower "
                    f"outer_lr (now {outer_lr}) or inner_lr, or set grad_clip. The learner holds "
                    "the weights before that iteration, and no checkpoint was overwritten."
                )
            if grad_clip is not None:
                nn.utils.clip_grads_with_norm_(parameters.values(), grad_clip, norm)
            optimiser.param_groups[0]["lr"] = rate
            optimiser.step()
            run.done += 1
            history.outer_loss.append(loss)
            history.support_loss.append(support_loss)
            history.learning_rate.append(rate)
            history.seconds.append(time.perf_counter() - clock)
            if held_out is not None and (run.done % validate_every == 0 or run.done == iterations):
                with torch.no_grad():
                    run.validated(ranks.mean(query_losses, held_out))
            if run.done % checkpoint_every == 0 and run.done < iterations:
                run.save(checkpoint, ranks)
            if run.done % 20 == 0 or run.done == iterations or stop:
                bar.update(run.done - bar.n)
                bar.set_postfix(loss=f"{loss:.3g}", refresh=False)
        history.interrupted = run.done < iterations
    run.save(checkpoint, ranks)
    if run.best:
        learner.load_state_dict(run.best)
    return history


@dataclass
class _Run:
    """What a checkpoint holds: all that a resumed run needs to go on bit for bit.

    ``best`` is the state with the lowest validation loss so far, and ``best_on_grid`` the same
    without a validation that was made only because the run ended there.
    """

    learner: nn.Module
    optimiser: torch.optim.Optimizer
    generator: torch.Generator
    history: History
    best: dict[str, Tensor] = field(default_factory=dict)
    best_on_grid: dict[str, Tensor] = field(default_factory=dict)
    done: int = 0

    def validated(self, loss: float) -> None:
        """Note a validation loss, and the learner's state if it is the lowest."""
        history = self.history
        # A loss that is not a number never counts as the best.
        if loss < min((v for v in history.validation_loss if v == v), default=math.inf):
            self.best = {k: v.detach().clone() for k, v in self.learner.state_dict().items()}
        if self.done % history.settings["validate_every"] == 0:
            self.best_on_grid = self.best
        history.validation_iteration.append(self.done)
        history.validation_loss.append(loss)

    def save(self, path: str | Path | None, ranks: Ranks) -> None:
        """Rank 0 writes the checkpoint; all wait until it is on the disk."""
        if path is not None:
            ranks.together(lambda: self._write(path) if ranks.rank == 0 else None)

    def resume(self, path: str | Path | None, iterations: int, ranks: Ranks) -> bool:
        """Take up the run at ``path`` if there is one; else check that one can be written there.

        Ranks may have disks of their own: the one that got furthest sends its checkpoint to all.
        """
        if path is None:
            return False
        settings = self.history.settings

        def read() -> dict[str, Any] | None:
            return read_checkpoint(path, self.learner, settings) if Path(path).exists() else None

        saved = ranks.together(read)
        reached = ranks.gather(-1 if saved is None else _whole(saved.get("iteration")))
        if max(reached) < 0:
            ranks.together(lambda: _check_writable(path) if ranks.rank == 0 else None)
            return False
        saved = ranks.broadcast(saved, source=reached.index(max(reached)))
        assert saved is not None
        try:
            self.optimiser.load_state_dict(saved["optimiser"])
            self.generator.set_state(saved["generator"])
            self.history = _unpack(saved["history"], settings)
            self.done = count("iteration", saved["iteration"])
            self.best = dict(saved["best"])
            self.best_on_grid = dict(saved.get("best_on_grid", self.best))
        except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
            raise MamlkitError(
                f"{path} is a damaged checkpoint: a part of it is missing or not what it "
                "should be. Nothing was changed; choose another path to start anew."
            ) from error
        self.learner.load_state_dict(saved["learner"])
        history = self.history
        if (
            self.done < iterations
            and history.validation_iteration[-1:] == [self.done]
            and self.done % settings["validate_every"]
        ):
            # Made because the run ended here. A run that never stopped here would not have it.
            history.validation_iteration.pop()
            history.validation_loss.pop()
            self.best = self.best_on_grid
        return True

    def _write(self, path: str | Path) -> None:
        content = {
            "learner": self.learner.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "generator": self.generator.get_state(),
            "history": _pack(self.history),
            "settings": self.history.settings,
            "best": self.best,
            "best_on_grid": self.best_on_grid,
            "iteration": self.done,
        }
        write_atomically(path, content)


def draw_tasks(
    family: Family, shots: int, queries: int | None, n_tasks: int | None, seed: int, **drawn: Any
) -> TaskBatch:
    """A fixed set of tasks: each member once if the family is finite, else ``n_tasks`` draws."""
    check_family(family)
    generator = fresh_generator(seed)
    if family.members is not None:
        return family.every(shots, queries, generator=generator, **drawn)
    return family.sample(n_tasks or 600, shots, queries, generator=generator, **drawn)


def _check_writable(path: str | Path) -> None:
    """A place that cannot be written is found now, not after an hour."""
    with atomically(path, keep=False):
        pass


def _whole(iteration: Any) -> int:
    """How far a checkpoint got; what is no whole number is told apart later, as damage."""
    return iteration if isinstance(iteration, int) else 0


def _on_cpu(state: dict[str, Any]) -> dict[str, Any]:
    return {k: v.cpu() if isinstance(v, Tensor) else v for k, v in state.items()}


def _described(thing: object) -> str:
    """Its ``repr`` without addresses in memory, which differ from process to process."""
    return re.sub(r" at 0x[0-9a-f]+", "", repr(thing))


def _pack(history: History) -> dict[str, Any]:
    """Long lists as tensors: quick to write, quick and safe to read."""
    return {
        k: torch.tensor(v, dtype=torch.float64) if isinstance(v, list) else v
        for k, v in asdict(history).items()
    }


def _unpack(packed: dict[str, Any], settings: dict[str, Any]) -> History:
    plain: dict[str, Any] = {
        k: v.tolist() if isinstance(v, Tensor) else v for k, v in packed.items()
    }
    plain["validation_iteration"] = [int(i) for i in plain["validation_iteration"]]
    return History(**{**plain, "settings": settings, "interrupted": False})


def _progress_bar(iterations: int, done: int, progress: bool) -> Any:
    from tqdm.auto import tqdm  # imported late: not needed to adapt a learner

    return tqdm(
        total=iterations, initial=done, disable=not progress, desc="meta-training", unit="it"
    )


@contextmanager
def _deferred_interrupt() -> Iterator[Callable[[], bool]]:
    """Let Ctrl-C wait for the end of an iteration, so that the learner is never half updated."""
    pressed: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return

    def press(number: int, frame: Any) -> None:
        if pressed:  # a second Ctrl-C means now
            raise KeyboardInterrupt
        pressed.append(number)

    before = signal.signal(signal.SIGINT, press)
    try:
        yield lambda: bool(pressed)
    finally:
        signal.signal(signal.SIGINT, before)
