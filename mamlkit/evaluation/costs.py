"""What a learner costs: sizes, floating-point operations, memory and time, in one table."""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Mapping
from statistics import median
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from mamlkit.checks import count, fresh_generator
from mamlkit.evaluation.curves import adapt_one, check_learners, move_to
from mamlkit.models import copied
from mamlkit.tasks.base import Family, Shots, TaskBatch, check_family
from mamlkit.training.checkpoints import check_learner
from mamlkit.training.gradients import meta_gradients

if TYPE_CHECKING:
    import pandas as pd

aten = torch.ops.aten
COLUMNS = ["adapted", "meta_parameters", "meta_flops", "adapt_flops"]
COLUMNS += ["meta_bytes", "adapt_bytes", "meta_seconds", "adapt_seconds"]


def cost_table(
    learners: Mapping[str, Any],
    family: Family,
    shots: Shots = 10,
    *,
    queries: int | None = None,
    meta_batch: int = 25,
    seed: int = 0,
    repeats: int = 10,
) -> pd.DataFrame:
    """What each learner costs: one row a learner, measured on the same tasks.

    A meta-step is the meta-gradient of one whole meta-batch and a step of Adam, eager and in one
    chunk, as :func:`mamlkit.meta_train` makes it; drawing the tasks is left out. An adaptation is
    ``learner.adapt`` on one new task, before any prediction. Each learner gets the tasks in its own
    type and on its own device; one without weights in float64. None is changed. One that anneals is
    measured in the phase that it is in: the last, unless ``at_iteration`` said otherwise.
    Taught in notebook 06.

    Args:
        learners: anything with ``adapt(x, y) -> predict``, by name.
        family: where the tasks come from.
        shots, queries, meta_batch: sizes of a meta-batch.
        seed: fixes the tasks.
        repeats: how often each is timed, all learners in turn, after one run to warm up.

    Returns:
        A table with the columns

        - ``adapted``: numbers that adaptation sets in one task: the entries of theta, or the
          parameters of a yardstick's model; nan where neither is known.
        - ``meta_parameters``: numbers that the outer loop trains; 0 for a yardstick.
        - ``meta_flops``, ``adapt_flops``: see :func:`flops`.
        - ``meta_bytes``, ``adapt_bytes``: see :func:`peak_bytes`.
        - ``meta_seconds``, ``adapt_seconds``: median wall-clock seconds.

        with nan for the meta-step of a learner that has none. ``table.attrs`` says under which
        circumstances it was measured: the number of threads (torch's, left as it is), the version
        of torch, the sizes.

    Raises:
        MamlkitError: if ``learners`` is no dict of learners, or a size is no whole number.
    """
    import pandas as pd

    check_learners("cost_table()", learners)
    check_family(family)
    repeats = count("repeats", repeats)
    generator = fresh_generator(count("seed", seed, least=0))
    meta_batch = count("meta_batch", meta_batch)
    batch = family.sample(meta_batch, shots, queries, generator=generator, dtype=torch.float64)
    rows: dict[str, dict[str, float]] = {}
    jobs: dict[tuple[str, str], tuple[Callable[[], Any], torch.device]] = {}
    for name, learner in learners.items():
        rows[name], device, work = _prepare(learner, batch)
        jobs |= {(name, kind): (job, device) for kind, job in work.items()}
    for (name, kind), (job, device) in jobs.items():
        job()  # warm up: Adam makes its state, libraries their workspaces
        if device.type == "cuda":
            counted, most = flops(job), peak_bytes(job, device)
        else:  # in one run, since to watch is slow
            operations, memory = _Flops(), _Memory()
            _watch(job, operations.see, memory.see)
            counted, most = operations.total, memory.peak
        rows[name] |= {f"{kind}_flops": counted, f"{kind}_bytes": most}
    times: dict[tuple[str, str], list[float]] = {key: [] for key in jobs}
    for _ in range(repeats):  # in turn, so that a slow moment of the machine hits all alike
        for key, (job, device) in jobs.items():
            times[key].append(_seconds(job, device))
    for (name, kind), seconds in times.items():
        rows[name][f"{kind}_seconds"] = median(seconds)
    table = pd.DataFrame.from_dict(rows, orient="index", columns=COLUMNS)
    table.attrs = {
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "family": repr(family),
        "shots": shots,
        "queries": batch.query[0].shape[1],
        "meta_batch": meta_batch,
        "repeats": repeats,
    }
    return table


def flops(job: Callable[[], Any]) -> int:
    """Floating-point operations of ``job()``: matrix products, convolutions and linear algebra.

    A multiplication and an addition count as two: a matrix product ``[m, k] @ [k, n]`` takes
    ``2 m k n``. Counted below ``vmap`` and ``grad``, so what these make of a model is counted as it
    runs: all tasks, backward and second-order passes. Linear algebra has its leading-order counts
    (Golub and Van Loan, Matrix Computations, 4th ed. 2013). What works number by number
    (activations, losses, sums, Adam) is not counted, nor is work outside torch, such as a kernel of
    scikit-learn.
    """
    found = _Flops()
    _watch(job, found.see)
    return found.total


class _Flops:
    """Counts operations."""

    total = 0

    def see(self, operation: Any, args: Any, kwargs: Any, result: Any) -> None:
        """Add those of one."""
        formula = _FORMULAS.get(operation._overloadpacket)
        self.total += formula(*args, **kwargs, out_val=result) if formula else 0


def peak_bytes(job: Callable[[], Any], device: torch.device | str = "cpu") -> int:
    """Most bytes of tensors that ``job()`` holds at once, beyond those that were there before.

    On the CPU the storages of all tensors that it makes are followed from birth to death; scratch
    space inside one operation is not seen. On a GPU torch's own record of allocated memory is read.
    """
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        job()
        return int(torch.cuda.max_memory_allocated(device) - before)
    found = _Memory()
    _watch(job, found.see)
    return found.peak


class _Memory:
    """Follows storages from birth to death."""

    def __init__(self) -> None:
        self.now = self.peak = 0
        self.alive: set[int] = set()

    def see(self, operation: Any, args: Any, kwargs: Any, result: Any) -> None:
        """Add what one has made."""
        given = {s._cdata for s in _storages((args, kwargs))}
        for storage in _storages(result):
            key, size = storage._cdata, storage.nbytes()
            if key not in given and key not in self.alive:  # no view, and not written in place
                self.alive.add(key)
                self.now += size
                self.peak = max(self.peak, self.now)
                weakref.finalize(storage, self._freed, key, size)

    def _freed(self, key: int, size: int) -> None:
        self.alive.discard(key)
        self.now -= size


def _watch(job: Callable[[], Any], *watchers: Callable[[Any, Any, Any, Any], None]) -> None:
    """Run ``job()`` and let all ``see(operation, args, kwargs, result)`` look at each operation,
    below vmap and grad: what arrives are plain tensors.
    """

    def follow(mode: Any, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if operation._overloadpacket not in _FORMULAS:
            with mode:  # into its parts, where it has parts
                result = operation.decompose(*args, **kwargs)
            if result is not NotImplemented:
                return result
        result = operation(*args, **kwargs)
        for see in watchers:
            see(operation, args, kwargs, result)
        return result

    mode: Any = type("Watcher", (TorchDispatchMode,), {"__torch_dispatch__": follow})
    with mode():
        job()


def _storages(tree: Any) -> list[torch.UntypedStorage]:
    return [leaf.untyped_storage() for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def _seconds(job: Callable[[], Any], device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    job()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def _prepare(
    learner: Any, batch: TaskBatch
) -> tuple[dict[str, float], torch.device, dict[str, Callable[[], Any]]]:
    """The sizes of a learner, where it is, and what it does: a meta-step, if any, and adapting."""
    learner = copied(learner)
    model = learner if isinstance(learner, nn.Module) else getattr(learner, "model", None)
    weights = list(model.parameters()) if isinstance(model, nn.Module) else []
    batch = move_to(learner, batch)
    sizes: dict[str, float] = {"adapted": torch.nan, "meta_parameters": 0}
    jobs: dict[str, Callable[[], Any]] = {}
    if hasattr(learner, "query_losses"):
        with torch.no_grad():
            learner.query_losses(batch)  # says in words what does not fit
    if hasattr(learner, "inner_path"):
        path, _ = learner.inner_path(batch.task(0).support, learner.inner_steps)
        sizes["adapted"] = sum(w.numel() for w in path[-1].values())
    elif model is not learner and weights:  # a yardstick that trains a model
        sizes["adapted"] = sum(w.numel() for w in weights)
    if hasattr(learner, "query_losses"):
        parameters = check_learner(learner)
        sizes["meta_parameters"] = sum(p.numel() for p in parameters.values())
        gradients = meta_gradients(learner, parameters)
        optimiser = torch.optim.Adam(parameters.values(), lr=0.0, fused=True)

        def meta_step() -> None:
            gradients(batch)
            optimiser.step()
            optimiser.zero_grad()  # or the next step would begin with the memory of this one

        jobs["meta"] = meta_step
    jobs["adapt"] = lambda: adapt_one(learner, batch.task(0))
    return sizes, weights[0].device if weights else torch.device("cpu"), jobs


def _convolution_backward(slope: Tensor, x: Tensor, weight: Tensor, *rest: Any, **_: Any) -> int:
    *_bias_stride_padding_dilation, transposed, _output_padding, _groups, wanted = rest
    # Each of the two gradients takes as many products as the forward pass. (Torch's own formula
    # forgets that vmap makes one group of channels of each task.)
    return 2 * (x if transposed else slope).numel() * weight[0].numel() * sum(wanted[:2])


def _solve(a: Tensor, *_: Any, out_val: Any, **__: Any) -> int:
    return _factor(a) + 2 * a.shape[-1] * int(out_val[0].numel())


def _factor(a: Tensor, *_: Any, **__: Any) -> int:
    return 2 * a.numel() * a.shape[-1] // 3


def _svd(a: Tensor, *_: Any, **__: Any) -> int:
    short, long = sorted(a.shape[-2:])
    return a.numel() // (short * long) * (6 * long * short**2 + 20 * short**3)


# What torch's own table misses or miscounts, from the operation's arguments and result ``out_val``.
# a: matrices [.., n, n]; the result of solving has as many entries as the right-hand sides.
_FORMULAS: dict[Any, Callable[..., int]] = {
    **flop_registry,
    aten.convolution_backward: _convolution_backward,
    aten.mv: lambda a, *_, **__: 2 * a.numel(),
    aten.addmv: lambda _, a, *__, **___: 2 * a.numel(),
    aten.dot: lambda a, *_, **__: 2 * a.numel(),
    aten._linalg_solve_ex: _solve,
    aten.linalg_lu_factor_ex: _factor,
    aten.linalg_lu_solve: lambda a, *_, out_val, **__: 2 * a.shape[-1] * out_val.numel(),
    aten.linalg_cholesky_ex: lambda a, *_, **__: _factor(a) // 2,
    aten.cholesky_solve: lambda _, a, *__, out_val, **___: 2 * a.shape[-1] * out_val.numel(),
    aten.linalg_solve_triangular: lambda a, *_, out_val, **__: a.shape[-1] * out_val.numel(),
    aten.linalg_inv_ex: lambda a, *_, **__: 2 * a.numel() * a.shape[-1],
    aten._linalg_eigh: lambda a, *_, **__: 9 * a.numel() * a.shape[-1],
    aten._linalg_svd: _svd,
}
