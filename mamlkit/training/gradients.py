"""The meta-gradient of one meta-batch: eager, captured or compiled, whole or in chunks.

Eager calls the learner and lets autograd go back. A captured step is the flat list of tensor
operations behind that, recorded once and replayed without the Python around them: the same bits. A
compiled step is the same list turned into machine code, and the same numbers to rounding.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, Literal, cast

import torch
from torch import Tensor, fx, nn
from torch.func import functional_call
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

from mamlkit.errors import MamlkitError
from mamlkit.learners.recorded import (
    Step,
    has_effects,
    leaves,
    products,
    replayed,
    simplify,
)
from mamlkit.learners.vectorise import in_words
from mamlkit.models import PLAIN
from mamlkit.tasks.base import TaskBatch

Compile = bool | Literal["auto", "capture"]
Chunk = Callable[[TaskBatch], Sequence[Tensor]]  # -> [*gradients, loss [], support losses]
Place = tuple[dict[str, Tensor | None], str]  # where a module keeps a tensor, and its name there
#: "auto" records a step where this many iterations are left, which eager would need so long for.
WORTH_ITERATIONS, WORTH_SECONDS = 250, 1.0
TRIED = 5  # so many batches tell how long a step takes
MOST_KINDS = 100  # of batches and states; where there are more, none comes often


def meta_gradients(
    learner: nn.Module,
    parameters: Mapping[str, Tensor],
    chunk_size: int | None = None,
    compile: Compile = False,
    iterations: float = math.inf,
) -> Callable[[TaskBatch], tuple[float, list[float]]]:
    """A function of a batch that leaves the meta-gradient in ``.grad`` and returns the mean query
    loss and the mean support losses ``[inner_steps + 1]``.

    Args:
        learner: a meta-learner; "capture" and True need one that can be called on a batch.
        parameters: the meta-parameters that learn, by name.
        chunk_size: this many tasks at a time, added up, to save memory.
        compile: False runs the learner as it is. "capture" records the operations of a step at the
            first batch and replays them. True compiles the record, which takes seconds and a C++
            compiler. The record is fixed but for parameters and buffers, which are read anew at
            each step. It is made again for new shapes, and when ``learner.training``,
            ``learner.extra_repr()`` (its settings) or ``learner.phase`` differs: a learner whose
            computation changes during training says so by that hashable attribute. "auto" captures
            what is worth it, can be captured and proves faster with the same bits.
        iterations: how many batches will come; "auto" asks.

    Raises:
        MamlkitError: from the function, if a step cannot be captured or compiled.
    """
    if compile == "auto":
        one_chunk = _auto(learner, parameters, iterations)
    else:
        one_chunk = (_recorded if compile else _eager)(learner, parameters, compile)

    def gradients(batch: TaskBatch) -> tuple[float, list[float]]:
        for p in parameters.values():
            p.grad = None
        n_tasks = len(batch.support[0])
        size = chunk_size or n_tasks
        loss, support = 0.0, [0.0]
        for start in range(0, n_tasks, size):
            chunk = batch
            if size < n_tasks:
                chunk = tree_map(lambda t, s=start: t[s : s + size], batch)
            share = len(chunk.support[0]) / n_tasks
            *found, chunk_loss, chunk_support = one_chunk(chunk)
            # New tensors: what a step returns may share memory.
            for p, g in zip(parameters.values(), torch._foreach_mul(found, share), strict=True):
                if p.grad is not None:
                    p.grad.add_(g)
                else:  # laid out as the parameter is: Adam's fused kernel walks through memory
                    p.grad = g if g.stride() == p.stride() else torch.empty_like(p).copy_(g)
            loss += share * float(chunk_loss)
            values = chunk_support.tolist()
            so_far = support if start else [0.0] * len(values)
            support = [s + share * v for s, v in zip(so_far, values, strict=True)]
        return loss, support

    return gradients


def _eager(learner: nn.Module, parameters: Mapping[str, Tensor], _: Compile = False) -> Chunk:
    """The learner as it is."""

    def one_chunk(batch: TaskBatch) -> Sequence[Tensor]:
        if type(learner).forward is nn.Module.forward:  # only query_losses, as the contract asks
            losses = cast(Any, learner).query_losses(batch)
            support = losses.new_empty(len(losses), 0)
        else:
            losses, support = learner(batch)
        return _gradient(losses, support, list(parameters.values()))

    return one_chunk


def _gradient(losses: Tensor, support: Tensor, parameters: Sequence[Tensor]) -> list[Tensor]:
    """``[*gradients, loss, support losses]``; a parameter that is not used has a gradient of 0."""
    loss = losses.mean()
    with in_words():
        found = torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)
    return [*found, loss.detach(), support.detach().mean(0)]


def _key(learner: nn.Module, batch: TaskBatch) -> Hashable:
    """What a record is made for: a state of the learner, and shapes."""
    told = (getattr(learner, "phase", None), learner.training, learner.extra_repr())
    return told, *((t.shape, t.stride(), t.dtype, t.device) for t in leaves(batch))


def _recorded(learner: nn.Module, parameters: Mapping[str, Tensor], compile: Compile) -> Chunk:
    """The record of a step, made where there is none yet for such a batch and such a learner."""
    steps: dict[Hashable, Chunk] = {}

    def one_chunk(batch: TaskBatch) -> Sequence[Tensor]:
        key = _key(learner, batch)
        if key not in steps:
            steps[key] = _record(learner, parameters, batch, compile)
        return steps[key](batch)

    return one_chunk


def _auto(learner: nn.Module, parameters: Mapping[str, Tensor], left: float) -> Chunk:
    """Eager, and the record where that pays: the bits are the same, so a clock may choose.

    Told by the batches of a kind so far, the record must be worth making. Then both run on the
    next few batches, and the record stays where it was faster and never differed.
    """
    eager = _eager(learner, parameters)
    takes: dict[Hashable, list[float]] = {}  # seconds of eager, for each kind of batch
    tried: dict[Hashable, tuple[Chunk, list[float]]] = {}  # the record on trial, and its seconds
    chosen: dict[Hashable, Chunk] = {}
    seen, modules = 0, [vars(module) for module in learner.modules()]
    # Without a forward there is nothing to record; without a phase, no word on what changes.
    silent = hasattr(learner, "at_iteration") and not hasattr(learner, "phase")
    if type(learner).forward is nn.Module.forward or silent:
        return eager

    def one_chunk(batch: TaskBatch) -> Sequence[Tensor]:
        nonlocal left, seen
        left, seen = left - 1, seen + 1
        # What a model counts, or a callback sets, in plain Python is no part of a record.
        counted = tuple(v for own in modules for v in own.values() if type(v) in PLAIN)
        key = counted, _key(learner, batch)
        if key in chosen:
            return chosen[key](batch)
        if len(takes) > MOST_KINDS:
            return eager(batch)
        expected, seconds = _clocked(eager, batch)
        mine = takes.setdefault(key, [])
        mine.append(seconds)
        to_come = left * len(mine) / seen
        if key in tried:
            record, times = tried[key]
            try:
                found, seconds = _clocked(record, batch)
            except RuntimeError:  # what can be recorded may still not run, and eager does
                found, seconds = [], math.inf
            times.append(seconds)
            if len(found) != len(expected) or not all(map(torch.equal, found, expected)):
                chosen[key] = eager
            elif len(times) == TRIED:
                chosen[key] = record if min(times) < min(mine[-TRIED:]) else eager
        elif (
            len(mine) >= TRIED
            and to_come >= WORTH_ITERATIONS
            and to_come * min(mine) >= WORTH_SECONDS
        ):
            try:
                tried[key] = _record(learner, parameters, batch, "auto"), []
            except MamlkitError:
                chosen[key] = eager
        return expected

    return one_chunk


def _clocked(step: Chunk, batch: TaskBatch) -> tuple[Sequence[Tensor], float]:
    """What the step gives, and how many seconds it took."""
    start = time.perf_counter()
    result = step(batch)
    result[-1].tolist()  # waits for a GPU
    return result, time.perf_counter() - start


def _record(
    learner: nn.Module, parameters: Mapping[str, Tensor], batch: TaskBatch, compile: Compile
) -> Chunk:
    """A step for batches like this one. It takes its tensors anew each time: parameters, what the
    learner keeps beside them, and the leaves of the batch.
    """
    weights = {name: p.detach() for name, p in parameters.items()}
    places: dict[str, Place] = {}
    seen = {id(p) for p in parameters.values()}  # a tensor with two names is one tensor
    for prefix, module in learner.named_modules():
        for table in (module._parameters, module._buffers):
            for name, tensor in table.items():
                if tensor is not None and id(tensor) not in seen:
                    seen.add(id(tensor))
                    places[f"{prefix}.{name}".lstrip(".")] = table, name
    state = {name: cast(Tensor, table[key]).detach() for name, (table, key) in places.items()}
    graph = capture(learner, weights, state, batch)
    if compile == "auto" and has_effects(graph):
        raise MamlkitError("a step with effects stays eager.")
    if compile is True:
        products(graph, exact=False)
        step = compiled(graph, [*weights.values(), *state.values(), *leaves(batch)])
    else:
        step = replayed(graph)
        if batch.support[0].device.type == "cuda" and not has_effects(graph):
            step = one_launch(step, [*weights.values(), *state.values(), *leaves(batch)])

    def one_chunk(batch: TaskBatch) -> Sequence[Tensor]:
        with torch.no_grad():
            now = [table[name] for table, name in places.values()]
            return step(*parameters.values(), *now, *leaves(batch))

    return one_chunk


def capture(
    learner: nn.Module, weights: dict[str, Tensor], state: dict[str, Tensor], batch: TaskBatch
) -> fx.GraphModule:
    """Record a step for tensors of these shapes: ``(*weights, *state, *leaves of the batch) ->
    [*gradients, loss, support losses]``. Nothing is computed and no random number is drawn.
    """
    of_batch, structure = tree_flatten(batch)
    n, m = len(weights), len(weights) + len(state)

    def step(*inputs: Tensor) -> list[Tensor]:
        theta = {k: t.detach().requires_grad_() for k, t in zip(weights, inputs[:n], strict=True)}
        fixed = dict(zip(state, inputs[n:m], strict=True))
        tasks = tree_unflatten(list(inputs[m:]), structure)
        losses, support = functional_call(learner, {**theta, **fixed}, (tasks,))
        return _gradient(losses, support, list(theta.values()))

    try:
        record = make_fx(step, tracing_mode="fake", _allow_non_fake_inputs=True)
        with torch.autograd.set_multithreading_enabled(False):  # the way back is recorded, too
            graph = record(*weights.values(), *state.values(), *of_batch)
    except MamlkitError:
        raise
    except Exception as error:  # torch raises another kind for each thing it cannot record
        raise MamlkitError(
            f"a step of {type(learner).__name__} cannot be captured as a fixed list of tensor "
            f"operations: {str(error).strip().partition(chr(10))[0]} The usual causes are an "
            "if, a while or a float() on the value of a tensor, and writing to a buffer. Use "
            "compile=False."
        ) from error
    simplify(graph)
    return graph


def one_launch(step: Step, inputs: Sequence[Tensor]) -> Step:
    """All operations of a step on a GPU by one call, as a CUDA graph: the same kernels, without the
    microseconds that each costs to start. The step itself, where an operation waits for the CPU.
    """
    given = [t.clone() for t in inputs]  # the graph reads memory of its own
    if any(a.stride() != b.stride() for a, b in zip(given, inputs, strict=True)):
        return step  # which was recorded for another layout
    side, graph = cast(Any, torch.cuda).Stream(), torch.cuda.CUDAGraph()
    side.wait_stream(torch.cuda.current_stream())
    try:
        with torch.no_grad(), torch.cuda.stream(side):
            step(*given)  # what is set up at a first call is no part of the graph
            # Other threads, such as NCCL's, may use the GPU meanwhile.
            with torch.cuda.graph(graph, stream=side, capture_error_mode="thread_local"):
                found = step(*given)
    except RuntimeError:
        return step
    finally:
        torch.cuda.current_stream().wait_stream(side)

    def launched(*inputs: Tensor, keep: Any = step) -> Sequence[Tensor]:  # with its constants
        torch._foreach_copy_(given, list(inputs))
        graph.replay()
        return found

    return launched


def compiled(graph: fx.GraphModule, inputs: Sequence[Tensor]) -> Step:
    """Machine code for the operations. On the CPU what calls the kernels is C++ as well."""
    options: dict[str, Any] = {"cpp_wrapper": inputs[0].device.type == "cpu"}
    try:
        with torch.no_grad():
            return cast(Step, torch._inductor.compile(graph, list(inputs), options=options))
    except Exception as error:  # whatever the compiler behind it raises
        first, *more = [line for line in str(error).splitlines() if line.strip()] or [repr(error)]
        said = [line for line in more if "error" in line.lower()][:2]  # of the compiler itself
        advice = "compile=True needs a C++ compiler (g++ or clang); install one"
        if "No working C++ compiler" not in str(error):
            advice = (
                "Torch's way to the compiler stumbles over a space in the name of a folder: if it "
                "is in that of its cache, set the environment variable TORCHINDUCTOR_CACHE_DIR"
            )
        raise MamlkitError(
            f"the step cannot be compiled: {'; '.join([first, *said])}. {advice}; or use "
            "compile='capture', which needs no compiler."
        ) from error
