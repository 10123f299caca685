"""One run in several processes ("ranks"): the meta-batch is split, the gradients are averaged.

Every rank draws the same tasks from the same generator and works on its own slice of them. So no
two ranks ever see the same draw, and the result does not depend on how many ranks there are, but
for rounding. ``torchrun`` starts the processes; gloo (CPU) or NCCL (CUDA) carries the sums.
"""

from __future__ import annotations

import atexit
import functools
import os
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.rendezvous import rendezvous

from mamlkit.errors import MamlkitError
from mamlkit.tasks.base import TaskBatch

T = TypeVar("T")


class Ranks:
    """The processes of this run. With a single one, each method does the plain thing.

    Every method that talks to the others must be called by all of them, in the same order.

    Attributes:
        rank: which process this is, from 0.
        size: how many there are.
    """

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        self.rank, self.size = rank, size
        self._n_support: int | None = None  # how many support losses an iteration gives

    def share(self, n: int) -> slice:
        """Which of ``n`` things are this rank's own: sizes differ by one at most."""
        return slice(n * self.rank // self.size, n * (self.rank + 1) // self.size)

    def own(self, batch: TaskBatch) -> TaskBatch:
        """This rank's tasks of ``batch``."""
        if self.size == 1:
            return batch
        mine = self.share(len(batch.support[0]))
        return torch.utils._pytree.tree_map(lambda t: t[mine], batch)

    def average(
        self,
        compute: Callable[[], tuple[float, list[float]]],
        parameters: Sequence[Tensor],
        weight: float,
        interrupted: Callable[[], bool],
    ) -> tuple[float, list[float], bool]:
        """Run ``compute`` and average what it gives over ranks, by a single sum over the network.

        Args:
            compute: leaves this rank's gradient in ``.grad`` of ``parameters`` and returns its loss
                and support losses.
            weight: this rank's share of the tasks.
            interrupted: whether this process was asked to stop.

        Returns:
            loss, support losses, and whether any rank was asked to stop: the same on all ranks.

        Raises:
            MamlkitError: if ``compute`` failed on another rank; its own error where it failed.
        """
        if self.size == 1:
            return (*compute(), interrupted())
        error, loss, support = None, 0.0, [0.0] * (self._n_support or 0)
        try:
            loss, support = compute()
        except Exception as failure:
            error = failure
        if self._n_support is None:  # before that a rank that failed cannot know what to send
            self.agree(error)
            self._n_support = len(support)
        # What goes over the network: failures, stops, loss, support losses; then the gradients,
        # end to end.
        grads = [None if error else p.grad for p in parameters]
        dtype = functools.reduce(torch.promote_types, (p.dtype for p in parameters))
        flags = [float(error is not None), float(interrupted())]
        sums = [weight * value for value in (loss, *support)]
        head = torch.tensor([*flags, *sums], dtype=dtype, device=parameters[0].device)
        flat = torch.cat(
            [head]
            + [
                weight * (torch.zeros_like(p) if g is None else g).reshape(-1).to(dtype)
                for p, g in zip(parameters, grads, strict=True)
            ]
        )
        with self._in_touch():
            dist.all_reduce(flat)
        failed, stop, loss, *support = flat[: len(head)].tolist()
        if failed:
            self.agree(error)
        parts = torch.split(flat[len(head) :], [p.numel() for p in parameters])
        for p, part in zip(parameters, parts, strict=True):
            p.grad = torch.empty_like(p).copy_(part.view_as(p))  # laid out in memory as p is
        return loss, support, bool(stop)

    def mean(self, measure: Callable[[TaskBatch], Tensor], batch: TaskBatch) -> float:
        """The mean over all tasks of ``measure(batch) [n_tasks]``, each rank taking its own."""
        n_tasks, mine = len(batch.support[0]), self.own(batch)
        n_mine = len(mine.support[0])

        def own_part() -> float:
            return n_mine / n_tasks * float(measure(mine).mean()) if n_mine else 0.0

        return sum(self.gather(self.together(own_part)))

    def together(self, task: Callable[[], T]) -> T:
        """Run ``task`` on every rank; if it fails on one, it fails on all."""
        if self.size == 1:
            return task()
        error = None
        try:
            result = task()
        except Exception as failure:
            error = failure
        self.agree(error)
        return result

    def agree(self, error: Exception | None) -> None:
        """Raise if any rank has an ``error``: its own where it happened, elsewhere its words."""
        words = None if error is None else str(error)
        if error is not None and not isinstance(error, MamlkitError):
            words = f"{type(error).__name__}: {error}"
        said = self.gather(words)
        if error is not None:
            raise error
        for rank, words in enumerate(said):
            if words is not None:
                raise MamlkitError(f"rank {rank} of {self.size} failed, so all end: {words}")

    def same(self, settings: dict[str, Any]) -> None:
        """Refuse to start when ranks were given different settings."""
        given = self.gather(settings)
        for rank, theirs in enumerate(given):
            different = [k for k in given[0] if theirs.get(k) != given[0][k]]
            if different:
                k = different[0]
                raise MamlkitError(
                    f"the {self.size} processes of this job work on one run, but rank {rank} was "
                    f"given other settings than rank 0: {', '.join(different)} ({k} is "
                    f"{theirs.get(k)!r}, on rank 0 {given[0][k]!r}). Give all the same, the seed "
                    "too; start separate runs without torchrun."
                )

    def gather(self, thing: T) -> list[T]:
        """What each rank brings, on every rank."""
        if self.size == 1:
            return [thing]
        things: list[Any] = [None] * self.size
        with self._in_touch():
            dist.all_gather_object(things, thing)
        return things

    def broadcast(self, thing: T, source: int = 0) -> T:
        """What rank ``source`` brings, on every rank."""
        if self.size == 1:
            return thing
        things: list[Any] = [thing]
        with self._in_touch():
            dist.broadcast_object_list(things, src=source)
        return things[0]

    @contextmanager
    def _in_touch(self) -> Iterator[None]:
        """Say plainly what it means when the network says no."""
        try:
            yield
        except RuntimeError as error:
            raise MamlkitError(
                f"rank {self.rank} of {self.size} cannot reach the others; most likely one of them "
                "has ended, and says why in its own output. With a checkpoint, the same command "
                f"goes on from there. (The network says: {str(error).splitlines()[0]})"
            ) from error


def join(device: torch.device) -> Ranks:
    """The processes that this one works with: those of torch.distributed's default group.

    Under torchrun, whose environment variables say who takes part, the group is started here if
    you have not done so: gloo for the CPU, NCCL for CUDA.
    """
    if not dist.is_available():
        return Ranks()
    if not dist.is_initialized():
        variables = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
        if not all(name in os.environ for name in variables) or os.environ["WORLD_SIZE"] == "1":
            return Ranks()
        backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
        try:
            store, rank, size = next(rendezvous("env://"))
            store = _this_life(store, rank, size)
            dist.init_process_group(backend, store=store, rank=rank, world_size=size)
        except (RuntimeError, ValueError) as error:
            told = ", ".join(f"{name}={os.environ[name]}" for name in variables)
            raise MamlkitError(
                f"this process cannot join the others of its job ({told}): {error}. Start all by "
                "torchrun, or unset these variables for a run in one process."
            ) from error
        atexit.register(_leave)  # a later meta_train() in this process uses the same group
    return Ranks(dist.get_rank(), dist.get_world_size())


def _this_life(store: Any, rank: int, size: int) -> Any:
    """A part of ``store`` where nothing was written before this life of the job.

    After an elastic restart torchrun's store still holds the addresses of the processes that died,
    and torch looks there (pytorch issue 135712). So rank 0 names this life, and tells the name to
    each rank in answer to a word that the rank made up just now.
    """
    if rank:
        word = uuid.uuid4().hex
        store.set(f"mamlkit/hello/{rank}", word)
        life = store.get(f"mamlkit/answer/{word}").decode()  # waits for it
        store.add(f"mamlkit/ready/{life}", 1)
    else:
        life, deadline = uuid.uuid4().hex, time.monotonic() + store.timeout.total_seconds()
        while store.add(f"mamlkit/ready/{life}", 0) < size - 1:
            for hello in (f"mamlkit/hello/{other}" for other in range(1, size)):
                if store.check([hello]):
                    store.set(f"mamlkit/answer/{store.get(hello).decode()}", life)
            if time.monotonic() > deadline:
                raise RuntimeError(f"not all of {size} ranks came within {store.timeout}")
            time.sleep(0.02)
    return cast(Any, dist).PrefixStore(f"mamlkit/life/{life}", store)


def _leave() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()
