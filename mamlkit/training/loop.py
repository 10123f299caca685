"""The outer loop: meta-training with validation, checkpoints and a history."""

from __future__ import annotations

import copy
import json
import math
import re
import time
import warnings
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, fields, replace
from inspect import signature
from pathlib import Path
from typing import Any, Literal, Self, cast

import torch
from torch import Tensor, nn
from torch.optim.adam import adam
from torch.utils._pytree import tree_map

from mamlkit.checks import (
    as_path,
    count,
    deferred_interrupt,
    fresh_generator,
    name_of,
    number,
    one_of,
)
from mamlkit.errors import MamlkitError, MamlkitWarning
from mamlkit.learners.checking import check_reached
from mamlkit.tasks.base import (
    Family,
    Shots,
    TaskBatch,
    check_family,
    check_finite,
    fields_in_words,
    shots_range,
)
from mamlkit.training.checkpoints import (
    atomically,
    check_learner,
    only_run,
    read_checkpoint,
    write_atomically,
)
from mamlkit.training.gradients import Compile, meta_gradients
from mamlkit.training.ranks import join

Schedule = Literal["constant", "cosine"] | Callable[[int], float]
#: Of the trainable meta-parameters by name.
MakeOptimiser = Callable[[dict[str, Tensor]], torch.optim.Optimizer]
Augment = Callable[[TaskBatch, torch.Generator], TaskBatch]
Callback = Callable[[int, "History"], bool | None]
#: What torch's Adam takes where it is told nothing.
ADAM: Any = {"beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.0, "amsgrad": False}
ADAM["maximize"] = False


@dataclass(repr=False)
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

    def __repr__(self) -> str:
        """One line, since a notebook shows what a cell ends with."""
        if not self.outer_loss:
            return "History: no iterations"
        first, last = self.outer_loss[0], self.outer_loss[-1]
        told = f"History: {len(self.outer_loss)} iterations in {self.seconds[-1]:.1f} s, "
        told += f"outer loss {first:.3g} -> {last:.3g}"
        if self.validation_loss:
            told += f", best validation loss {min(self.validation_loss):.3g}"
        return told + (", interrupted" if self.interrupted else "")

    def save(self, path: str | Path) -> None:
        """Write as JSON, in one atomic step."""
        with atomically(path) as file:
            file.write(json.dumps(asdict(self)).encode())

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read what :meth:`save` wrote."""
        try:
            content = json.loads(as_path(path).read_text(encoding="utf-8"))
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


@dataclass(frozen=True)
class Plan:
    """The settings of a training run, checked where they are made.

    Recipes and ``mamlkit train`` keep their protocols as plans; ``dataclasses.replace(plan,
    seed=3)`` makes another one.

    Args:
        shots, queries, meta_batch: sizes of a meta-batch; ``shots=(1, 8)`` draws a number for each
            task; ``queries=None`` leaves it to the family.
        iterations: number of outer steps, counted from the very start of a resumed run.
        outer_lr: beta, the outer learning rate.
        seed: fixes every task that is drawn.
        schedule: "constant"; "cosine", which lets the outer learning rate fall to 0 at the end; or
            a function of the number of iterations done, which gives a factor on the rate.
        grad_clip: largest norm of the meta-gradient.
        validation_tasks: number of fixed tasks to validate on, if that family is endless.
        validate_every: iterations between validations.
        patience: end the run when so many validations in a row were no better than the best.
        chunk_size: compute this many tasks at a time and add up, to save memory.
        compile: "auto" records the operations of the meta-gradient and replays them, to the same
            bits, where that can be done and pays. "capture" does so at once; False never. True
            compiles the record (seconds at the start, needs a C++ compiler).
        checkpoint_every: iterations between checkpoints.

    Raises:
        MamlkitError: for a setting that is out of its range.
    """

    shots: Shots = 10
    queries: int | None = None
    meta_batch: int = 25
    iterations: int = 5000
    outer_lr: float = 1e-3
    seed: int = 0
    schedule: Schedule = "constant"
    grad_clip: float | None = None
    validation_tasks: int = 100
    validate_every: int = 500
    patience: int | None = None
    chunk_size: int | None = None
    compile: Compile = "auto"
    checkpoint_every: int = 500

    def __post_init__(self) -> None:
        if not isinstance(self.compile, bool) and self.compile not in ("auto", "capture"):
            raise MamlkitError(
                f"compile must be 'auto', False, 'capture' or True, not {self.compile!r}."
            )
        if not callable(self.schedule):
            one_of("schedule", self.schedule, ("constant", "cosine"))
        for setting in fields(self):
            name, value = setting.name, getattr(self, setting.name)
            if name in ("compile", "schedule") or (value is None and setting.default is None):
                continue
            if name == "shots":
                least, most = shots_range(value)
                value = most if least == most else (least, most)
            elif name in ("outer_lr", "grad_clip"):
                value = number(name, value, positive=True)
            else:
                value = count(name, value, least=0 if name == "seed" else 1)
            # A plain Python number: a checkpoint holds nothing else.
            object.__setattr__(self, name, value)

    def factor(self, done: int) -> float:
        """What the schedule makes of a rate after ``done`` iterations."""
        if callable(self.schedule):
            return number("the factor of the schedule", self.schedule(done))
        if self.schedule == "constant":
            return 1.0
        return 0.5 * (1 + math.cos(math.pi * done / self.iterations))


def meta_train(
    learner: nn.Module,
    family: Family,
    shots: Shots | None = None,
    *,
    validation: Family | None = None,
    checkpoint: str | Path | None = None,
    progress: bool = True,
    plan: Plan | None = None,
    optimiser: MakeOptimiser | None = None,
    augment: Augment | None = None,
    callback: Callback | None = None,
    **settings: Any,
) -> History:
    """Meta-train ``learner`` on tasks of ``family``, in place; return the history.

    Each iteration draws ``meta_batch`` tasks of ``shots`` support and ``queries`` query points and
    descends the mean of ``learner.query_losses``. A learner with a method ``at_iteration(done)`` is
    told before each iteration how many are done.

    Ctrl-C, and the stop button of a notebook, ends the run after the iteration under way: a line
    says so, what is done is returned, and the rest of the cell goes on with it
    (``history.interrupted``). A second Ctrl-C means now, and stops the cell too.

    In several processes (``torchrun``, or a default group of ``torch.distributed`` of your own) the
    same call works on one run: see :mod:`mamlkit.training.ranks`. All must be given the same
    arguments; learners start from the weights of rank 0 and end with the same weights; rank 0 shows
    the bar and writes the checkpoint; Ctrl-C on one ends all, and so does an error.
    Taught in notebook 05.

    Args:
        learner: a meta-learner: a module with ``query_losses(batch) -> [n_tasks]``. If it can be
            called on a batch, giving ``(losses, support losses [n_tasks, steps + 1])``, the history
            holds the support losses too, and ``compile`` works.
        family: training tasks.
        shots: support points of a task, or the range ``(least, most)`` they are drawn from; 10, if
            neither this nor a plan says.
        validation: a family to validate on, with the same shots and queries: each member once if
            it is finite, else ``validation_tasks`` fixed tasks. The best meta-parameters seen
            (lowest validation loss) are loaded into the learner at the end.
        checkpoint: a file to write every ``checkpoint_every`` iterations and at the end, in one
            atomic step. If it exists, the run resumes from it, bit for bit, and a line says where.
            A file of another run is refused: of other settings, or (by the losses on two fixed
            tasks) of another family, loss or code of a model that print alike; so is one that
            another run is using.
        progress: show a progress bar.
        plan: the settings of the run; those of :class:`Plan` itself if None.
        optimiser: a function that is given the meta-parameters by name and returns an optimiser of
            torch over all of them, with step sizes of its own in place of ``outer_lr``, which the
            schedule scales; Adam with ``outer_lr`` if None.
        augment: a function ``(batch, generator) -> batch``, applied to each meta-batch of training.
            What it draws it must draw from that generator, so that a resumed run draws the same.
        callback: called after each iteration as ``callback(done, history)``; True ends the run, as
            Ctrl-C does.
        settings: any of the settings of :class:`Plan` by name, such as ``meta_batch=25,
            iterations=5000, outer_lr=1e-3, seed=0``; they go before those of ``plan``.

    Raises:
        MamlkitError: for settings that do not fit, a checkpoint that cannot be used, or a loss
            that is not finite; it names the iteration, and the last good checkpoint stands. In
            several processes also when another fails.
    """
    known = [setting.name for setting in fields(Plan)]
    if unknown := [name for name in settings if name not in known]:
        raise MamlkitError(
            f"meta_train has no setting {unknown[0]!r}; beside validation, checkpoint, progress, "
            f"plan, optimiser, augment and callback it takes {', '.join(known)}."
        )
    if shots is not None:
        settings["shots"] = shots
    plan = replace(plan or Plan(), **settings)
    with ExitStack() as held:
        with deferred_interrupt() as interrupted:
            run = _Run(learner, family, plan, validation, checkpoint, held, optimiser, augment)
            run.interrupted = interrupted
            with _progress_bar(run, progress) as bar:
                while run.done < plan.iterations and not (run.stopped or run.exhausted):
                    run.step()
                    run.validate()
                    run.checkpoint()
                    run.tell(callback)
                    _show(bar, run)
        return run.finish()


class _Run:
    """A run under way: everything is checked where it is made, before any work.

    Attributes:
        optimiser, generator, history, done: with the learner, what a resumed run needs to go on bit
            for bit.
        best: the state with the lowest validation loss so far.
        best_on_grid: the same without a validation that was made only because the run ended there.
        held: what is let go at the end, also of a run that fails: the lock on the checkpoint.
        stopped: Ctrl-C was pressed, here or in another process.
    """

    def __init__(
        self,
        learner: nn.Module,
        family: Family,
        plan: Plan,
        validation: Family | None,
        path: str | Path | None,
        held: ExitStack,
        optimiser: MakeOptimiser | None = None,
        augment: Augment | None = None,
    ) -> None:
        self.parameters = check_learner(learner)
        self.optimiser = _optimiser(optimiser, self.parameters, plan.outer_lr)
        self.rates = [group["lr"] for group in self.optimiser.param_groups]
        self.own_optimiser, self.augment = optimiser is not None, augment
        if plan.patience is not None and validation is None:
            raise MamlkitError(
                f"patience={plan.patience} counts validations, but there is no validation family; "
                "give validation=, or leave out patience."
            )
        if plan.compile not in ("auto", False) and type(learner).forward is nn.Module.forward:
            raise MamlkitError(
                f"compile={plan.compile!r} needs a learner that can be called on a batch, but "
                f"{type(learner).__name__} has only query_losses; use compile=False."
            )
        check_family(family)
        self.learner, self.family, self.plan, self.path = learner, family, plan, path
        self.held = held
        self.query_losses: Callable[[TaskBatch], Tensor] = cast(Any, learner).query_losses
        like = next(iter(self.parameters.values()))
        self.drawn: dict[str, Any] = {"dtype": like.dtype, "device": like.device}
        self.ranks = join(like.device)
        self.history = History(settings=self._settings(validation))
        self._agree()
        with fields_in_words():
            self.held_out = self.ranks.together(lambda: self._first_pass(validation))
        if self.held_out is not None:  # the same on all ranks
            check_finite("the validation tasks hold", self.held_out)
        self.generator = fresh_generator(plan.seed)
        self.best: dict[str, Tensor] = {}
        self.best_on_grid: dict[str, Tensor] = {}
        self.done, self.stopped = 0, False
        self.interrupted: Callable[[], bool] = lambda: False
        if not self._resume() and self.ranks.size > 1:
            # Ranks may have drawn different starts; all take that of rank 0.
            learner.load_state_dict(self.ranks.broadcast(_on_cpu(learner.state_dict())))
        to_come = plan.iterations - self.done
        self.gradients = meta_gradients(
            learner, self.parameters, plan.chunk_size, plan.compile, to_come
        )
        self.begun = time.perf_counter() - (self.history.seconds or [0.0])[-1]

    def step(self) -> None:
        """One outer iteration: draw tasks, average the meta-gradient over ranks, let Adam step."""
        plan, parameters, history = self.plan, list(self.parameters.values()), self.history
        loss, support_loss, self.stopped = self.ranks.average(
            self._meta_gradient, parameters, self._n_mine() / plan.meta_batch, self.interrupted
        )
        gradient = cast(list[Tensor], [p.grad for p in parameters])
        norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradient)))
        if not (math.isfinite(loss) and math.isfinite(float(norm))):
            check_finite("the tasks hold", self.batch)  # or is it the data?
            what = "loss" if not math.isfinite(loss) else "meta-gradient"
            raise MamlkitError(
                f"the {what} is not finite at iteration {self.done + 1} (loss {loss}); lower "
                f"outer_lr (now {plan.outer_lr}) or inner_lr, or set grad_clip. The learner holds "
                "the weights before that iteration, and no checkpoint was overwritten."
            )
        if plan.grad_clip is not None:
            nn.utils.clip_grads_with_norm_(parameters, plan.grad_clip, norm)
        factor = plan.factor(self.done)
        rates = [rate * factor for rate in self.rates]
        self._descend(rates, parameters, gradient)
        self.done += 1
        history.outer_loss.append(loss)
        history.support_loss.append(support_loss)
        history.learning_rate.append(rates[0])
        history.seconds.append(time.perf_counter() - self.begun)

    def _descend(
        self, rates: list[float], parameters: list[Tensor], gradient: list[Tensor]
    ) -> None:
        """``self.optimiser.step()``; of Adam without hooks and checks that take longer than the
        rest.
        """
        for group, rate in zip(self.optimiser.param_groups, rates, strict=True):
            group["lr"] = rate
        if self.own_optimiser or not self.optimiser.state:  # the first step makes it
            self.optimiser.step()
            return
        state = [self.optimiser.state[p] for p in parameters]
        means, squares, steps = ([s[k] for s in state] for k in ("exp_avg", "exp_avg_sq", "step"))
        with torch.no_grad():
            adam(parameters, gradient, means, squares, [], steps, fused=True, lr=rates[0], **ADAM)

    def validate(self) -> None:
        """Where it is time: note the validation loss, and the state if it is the lowest."""
        on_grid = self.done % self.plan.validate_every == 0
        if self.held_out is None or not (on_grid or self.done == self.plan.iterations):
            return
        with torch.no_grad():
            loss = self.ranks.mean(self._losses_in_chunks, self.held_out)
        # A loss that is not a number never counts as the best.
        if loss < min((v for v in self.history.validation_loss if v == v), default=math.inf):
            self.best = {k: v.detach().clone() for k, v in self.learner.state_dict().items()}
        if on_grid:
            self.best_on_grid = self.best
        self.history.validation_iteration.append(self.done)
        self.history.validation_loss.append(loss)

    @property
    def exhausted(self) -> bool:
        """Has validation brought nothing better for too long?"""
        losses, patience = self.history.validation_loss, self.plan.patience
        if patience is None or not losses:
            return False
        known = [math.inf if loss != loss else loss for loss in losses]
        best = known.index(min(known))
        return len(losses) - 1 - best >= patience

    def tell(self, callback: Callback | None) -> None:
        """Call back; where one rank is told to end, all do."""
        if callback is not None:
            end = self.ranks.together(lambda: callback(self.done, self.history))
            self.stopped = self.stopped or any(self.ranks.gather(bool(end)))

    def _losses_in_chunks(self, batch: TaskBatch) -> Tensor:
        return torch.cat([self.query_losses(each) for each in batch.chunks(self.plan.chunk_size)])

    def checkpoint(self) -> None:
        """Where it is time: write the checkpoint. At the very end :meth:`finish` does."""
        if self.done % self.plan.checkpoint_every == 0 and self.done < self.plan.iterations:
            self._save()

    def finish(self) -> History:
        """Write the last checkpoint and give the learner the best weights seen."""
        self.history.interrupted = self.done < self.plan.iterations and not self.exhausted
        self._save()
        if self.best:
            self.learner.load_state_dict(self.best)
        elif self.history.validation_loss:
            warnings.warn(
                "no validation loss was finite, so no weights could be chosen by it: the learner "
                "holds the last ones. Look at the validation family, or lower inner_lr.",
                MamlkitWarning,
                stacklevel=3,
            )
        if self.history.interrupted:
            self._say("meta-training was interrupted")
        elif self.exhausted and self.done < self.plan.iterations:
            self._say(f"{self.plan.patience} validations brought nothing better: ended")
        return self.history

    def _say(self, what: str) -> None:
        """One plain line, of all ranks from the first."""
        if self.ranks.rank == 0:
            print(f"{what} at {self.done} of {self.plan.iterations} iterations", flush=True)

    def _settings(self, validation: Family | None) -> dict[str, Any]:
        """What a run that goes on from a checkpoint must share with the one that wrote it."""
        plan = self.plan
        same = ["shots", "queries", "meta_batch", "outer_lr", "seed", "grad_clip", "patience"]
        same += ["validation_tasks", "validate_every"]
        return {
            "learner": _described(self.learner),
            "family": _described(self.family),
            **{name: getattr(plan, name) for name in same},
            "schedule": name_of(plan.schedule) if callable(plan.schedule) else plan.schedule,
            "optimiser": _told(self.optimiser),
            "augment": None if self.augment is None else name_of(self.augment),
            "validation": None if validation is None else _described(validation),
            "dtype": str(self.drawn["dtype"]),
            # A cosine schedule knows the end from the start; a constant one may go on for longer.
            "iterations": plan.iterations if plan.schedule == "cosine" else None,
        }

    def _agree(self) -> None:
        """Refuse ranks that were given different runs, or more ranks than tasks."""
        plan, size = self.plan, self.ranks.size
        shared = {
            **self.history.settings,
            "checkpoint": bool(self.path),
            "checkpoint_every": plan.checkpoint_every,
            "shapes": {name: list(p.shape) for name, p in self.parameters.items()},
            "iterations": plan.iterations,
        }
        self.ranks.same(shared)
        if plan.meta_batch < size:
            raise MamlkitError(
                f"meta_batch={plan.meta_batch} tasks cannot be split over {size} processes; raise "
                "meta_batch, or start fewer."
            )

    def _n_mine(self) -> int:
        """How many tasks of a meta-batch are this rank's own."""
        mine = self.ranks.share(self.plan.meta_batch)
        return mine.stop - mine.start

    def _first_pass(self, validation: Family | None) -> TaskBatch | None:
        """One pass over real tasks, so that whatever does not fit is said before any work; and the
        tasks to validate on.
        """
        plan, n_mine = self.plan, self._n_mine()
        n_first = min(n_mine, plan.chunk_size or n_mine)
        given = (plan.shots, plan.queries)
        with torch.no_grad():
            batch = self._tasks(n_first, fresh_generator(plan.seed))
            self.query_losses(batch)
        check_reached(self.learner, batch)
        if validation is None:
            return None
        check_family(validation)
        drawn = {"generator": fresh_generator(plan.seed + 10**6), **self.drawn}
        if validation.members is not None:
            return validation.every(*given, **drawn)
        return validation.sample(plan.validation_tasks, *given, **drawn)

    def _meta_gradient(self) -> tuple[float, list[float]]:
        told = getattr(self.learner, "at_iteration", None)
        if told is not None:
            told(self.done)
        self.batch = self._tasks(self.plan.meta_batch, self.generator)
        return self.gradients(self.ranks.own(self.batch))

    def _tasks(self, n_tasks: int, generator: torch.Generator) -> TaskBatch:
        """Training tasks, augmented, as the learner takes them."""
        given = (n_tasks, self.plan.shots, self.plan.queries)
        batch = self.family.sample(*given, generator=generator, **self.drawn)
        batch = batch if self.augment is None else self.augment(batch, generator)
        taken = getattr(self.learner, "taken", None)  # a learner of the reader's own has none
        return batch if taken is None else taken(batch)

    def _save(self) -> None:
        """Rank 0 writes the checkpoint; all wait until it is on the disk."""
        if self.path is not None:
            path = self.path
            self.ranks.together(lambda: self._write(path) if self.ranks.rank == 0 else None)

    def _resume(self) -> bool:
        """Take up the run at the path if there is one; else check that one can be written there.

        Ranks may have disks of their own: the one that got furthest sends its checkpoint to all.
        """
        if self.path is None:
            return False
        path, ranks, settings = self.path, self.ranks, self.history.settings
        ranks.together(lambda: None if ranks.rank else self.held.enter_context(only_run(path)))
        self.fixed = ranks.together(self._fixed_tasks)
        self.start = ranks.together(self._losses)

        def read() -> dict[str, Any] | None:
            return read_checkpoint(path, self.learner, settings) if as_path(path).exists() else None

        def write_nothing() -> None:  # what cannot be written is found now, not after an hour
            with atomically(path, keep=False):
                pass

        saved = ranks.together(read)
        # What is no whole number is told apart later, as damage.
        done = None if saved is None else saved.get("iteration")
        reached = ranks.gather(done if isinstance(done, int) else 0 if saved else -1)
        if max(reached) < 0:
            ranks.together(lambda: write_nothing() if ranks.rank == 0 else None)
            return False
        saved = ranks.broadcast(saved or {}, source=reached.index(max(reached)))
        given = self.start
        ranks.together(lambda: self._take_up(saved))
        # Another seed of the model, say; or a module that draws its start anew in each process.
        known = any(self._near(given, each) for each in (self.start, saved["losses"]))
        note = "" if known else ", in place of the learner's own start, which was another,"
        self._say(f"{as_path(path).name} is resumed{note}")
        return True

    def _take_up(self, saved: dict[str, Any]) -> None:
        """Go on from what :meth:`_write` wrote."""
        settings = self.history.settings
        try:
            self.optimiser.load_state_dict(saved["optimiser"])
            self.generator.set_state(saved["generator"])
            self.history = history = _unpack(saved["history"], settings)
            self.done = count("iteration", saved["iteration"])
            self.best = dict(saved["best"])
            self.best_on_grid = dict(saved["best_on_grid"])
            losses, self.start = saved["losses"].double(), saved["start"].double()
        except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
            raise MamlkitError(
                f"{self.path} is a damaged checkpoint: a part of it is missing or not what it "
                "should be. Nothing was changed; choose another path to start anew."
            ) from error
        before, same = copy.deepcopy(self.learner.state_dict()), False
        self.learner.load_state_dict(saved["learner"])
        try:
            same = self._same_losses(losses)
        finally:
            if not same:
                self.learner.load_state_dict(before)
        if not same:
            raise MamlkitError(
                f"{self.path} belongs to another run, though its settings read alike: with the "
                "weights in it the losses on fixed tasks are not what they were. So the family, "
                "the loss, the model's code or the data have changed. Nothing was changed here; "
                "put them back as they were, or choose another checkpoint path to start anew."
            )
        if (
            self.done < self.plan.iterations
            and history.validation_iteration[-1:] == [self.done]
            and self.done % self.plan.validate_every
        ):
            # Made because the run ended here. A run that never stopped here would not have it.
            history.validation_iteration.pop()
            history.validation_loss.pop()
            self.best = self.best_on_grid

    def _fixed_tasks(self) -> list[TaskBatch]:
        """Two training tasks, and two of validation, to tell this run from another by."""
        plan, generator = self.plan, fresh_generator(self.plan.seed)
        train = self.family.sample(2, plan.shots, plan.queries, generator=generator, **self.drawn)
        held = [tree_map(lambda t: t[:2], self.held_out)] if self.held_out is not None else []
        return [train, *held]

    def _losses(self) -> Tensor:
        """The losses on the fixed tasks, with the weights as they are."""
        with torch.no_grad():
            return torch.cat([self.query_losses(batch).double().cpu() for batch in self.fixed])

    def _same_losses(self, then: Tensor) -> bool:
        """Are the losses what they were? If they are random themselves, that tells nothing."""
        if told := getattr(self.learner, "at_iteration", None):
            told(self.done - 1)  # as when they were written
        now = self._losses()
        return self._near(now, then) or not self._near(now, self._losses())

    def _near(self, a: Tensor, b: Tensor) -> bool:
        """The same losses but for rounding, which other threads and devices do otherwise."""
        eps = torch.finfo(self.drawn["dtype"]).eps
        alike = a.shape == b.shape
        return alike and torch.allclose(a, b, rtol=eps**0.25, atol=eps, equal_nan=True)

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
            "losses": self._losses(),
            "start": self.start,
        }
        write_atomically(path, content)


def _on_cpu(state: dict[str, Any]) -> dict[str, Any]:
    return {k: v.cpu() if isinstance(v, Tensor) else v for k, v in state.items()}


def _optimiser(
    make: MakeOptimiser | None, parameters: dict[str, Tensor], outer_lr: float
) -> torch.optim.Optimizer:
    """Adam, or what the reader made, which must hold all meta-parameters and no others."""
    if make is None:
        return torch.optim.Adam(parameters.values(), lr=outer_lr, fused=True)
    made: Any = make(dict(parameters)) if callable(make) else None
    if not isinstance(made, torch.optim.Optimizer):
        raise MamlkitError(
            f"optimiser must be a function of the meta-parameters, a dict of tensors by name, that "
            f"returns a torch.optim.Optimizer, but it is or gave {made or make!r}; for example "
            "optimiser=lambda parameters: torch.optim.AdamW(parameters.values(), lr=1e-3)."
        )
    held = {id(p) for group in made.param_groups for p in group["params"]}
    left = [name for name, p in parameters.items() if id(p) not in held]
    if left or len(held) > len(parameters):
        raise MamlkitError(
            f"the optimiser must hold all meta-parameters and nothing else; it lacks {left or 0} "
            f"and holds {len(held) + len(left) - len(parameters)} other(s). What should stay as it "
            "is gets requires_grad=False."
        )
    closure = signature(type(made).step).parameters.get("closure")
    if closure is not None and closure.default is closure.empty:
        raise MamlkitError(
            f"{type(made).__name__} evaluates the loss several times a step; take an optimiser "
            "that steps by one gradient, such as torch.optim.SGD."
        )
    return made


def _told(optimiser: torch.optim.Optimizer) -> str:
    groups = [{k: v for k, v in g.items() if k != "params"} for g in optimiser.param_groups]
    return f"{type(optimiser).__name__}{groups}"


def _described(thing: object) -> str:
    """Its ``repr`` without addresses in memory, which differ from process to process."""
    return re.sub(r" at 0x[0-9a-f]+| \(cuda:\d+\)", "", repr(thing))


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


def _progress_bar(run: _Run, progress: bool) -> Any:
    from tqdm.auto import tqdm  # imported late: not needed to adapt a learner

    shown = progress and run.ranks.rank == 0
    return tqdm(
        total=run.plan.iterations,
        initial=run.done,
        disable=not shown,
        desc="meta-training",
        unit="it",
    )


def _show(bar: Any, run: _Run) -> None:
    if run.done % 20 == 0 or run.done == run.plan.iterations or run.stopped:
        bar.update(run.done - bar.n)
        bar.set_postfix(loss=f"{run.history.outer_loss[-1]:.3g}", refresh=False)
