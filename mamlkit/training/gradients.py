"""The meta-gradient of one meta-batch: eager, captured or compiled, whole or in chunks.

All paths compute the same numbers to rounding. Eager calls the learner and lets autograd go back.
A captured step is the flat list of tensor operations behind that, recorded once and replayed
without the Python around them. A compiled step is the same list turned into machine code.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, Literal, cast

import torch
from torch import Tensor, fx, nn
from torch.func import functional_call, grad_and_value
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._pytree import tree_flatten, tree_leaves, tree_map, tree_unflatten

from mamlkit.errors import MamlkitError
from mamlkit.tasks.base import TaskBatch

Compile = bool | Literal["capture"]
Step = Callable[..., Sequence[Tensor]]  # tensors -> [*gradients, loss [], support losses]
#: A chunk of tasks and its share of the batch; adds to ``.grad``, returns loss and support losses.
Chunk = Callable[[TaskBatch, float], tuple[Tensor, Tensor]]
Place = tuple[dict[str, Tensor | None], str]  # where a module keeps a tensor, and its name there
aten = torch.ops.aten


def meta_gradients(
    learner: nn.Module,
    parameters: Mapping[str, Tensor],
    chunk_size: int | None = None,
    compile: Compile = False,
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
            computation changes during training says so by that hashable attribute.

    Raises:
        MamlkitError: from the function, if a step cannot be captured or compiled.
    """
    one_chunk = _recorded(learner, parameters, compile) if compile else _eager(learner, parameters)

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
            chunk_loss, chunk_support = one_chunk(chunk, share)
            loss += share * float(chunk_loss)
            values = chunk_support.tolist()
            so_far = support if start else [0.0] * len(values)
            support = [s + share * v for s, v in zip(so_far, values, strict=True)]
        return loss, support

    return gradients


def _eager(learner: nn.Module, parameters: Mapping[str, Tensor]) -> Chunk:
    """The learner as it is."""

    def one_chunk(batch: TaskBatch, share: float) -> tuple[Tensor, Tensor]:
        if type(learner).forward is nn.Module.forward:  # only query_losses, as the contract asks
            losses = cast(Any, learner).query_losses(batch)
            support = losses.new_empty(len(losses), 0)
        else:
            losses, support = learner(batch)
        (share * losses.mean()).backward()
        for p in parameters.values():  # as the other paths have it, and as Adam takes it
            p.grad = torch.zeros_like(p) if p.grad is None else p.grad
        return losses.detach().mean(), support.mean(0)

    return one_chunk


def _recorded(learner: nn.Module, parameters: Mapping[str, Tensor], compile: Compile) -> Chunk:
    """The record of a step, made where there is none yet for such a batch and such a learner."""
    steps: dict[Hashable, tuple[Step, list[Place]]] = {}

    def one_chunk(batch: TaskBatch, share: float) -> tuple[Tensor, Tensor]:
        leaves = tree_leaves(batch)
        shapes = [(t.shape, t.stride(), t.dtype, t.device) for t in leaves]
        told = (getattr(learner, "phase", None), learner.training, learner.extra_repr())
        key = (*told, *shapes)
        if key not in steps:
            steps[key] = _record(learner, parameters, batch, compile)
        step, places = steps[key]
        with torch.no_grad():
            state = [table[name] for table, name in places]
            *found, loss, support = step(*parameters.values(), *state, *leaves)
            # New tensors: what a step returns may share memory.
            gradient = torch._foreach_mul(found, share)
        for p, g in zip(parameters.values(), gradient, strict=True):
            if p.grad is not None:
                p.grad.add_(g)
            else:  # laid out as the parameter is: Adam's fused kernel walks through memory
                p.grad = g if g.stride() == p.stride() else torch.empty_like(p).copy_(g)
        return loss, support

    return one_chunk


def _record(
    learner: nn.Module, parameters: Mapping[str, Tensor], batch: TaskBatch, compile: Compile
) -> tuple[Step, list[Place]]:
    """A step for batches like this one, and where to find the tensors it takes between the
    parameters and the leaves of the batch: what the learner keeps beside ``parameters``.
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
    if compile is True:
        inputs = [*weights.values(), *state.values(), *tree_leaves(batch)]
        return compiled(graph, inputs), list(places.values())
    return replayed(graph), list(places.values())


def capture(
    learner: nn.Module, weights: dict[str, Tensor], state: dict[str, Tensor], batch: TaskBatch
) -> fx.GraphModule:
    """Record a step for tensors of these shapes: ``(*weights, *state, *leaves of the batch) ->
    [*gradients, loss, support losses]``. Nothing is computed and no random number is drawn.
    """
    leaves, structure = tree_flatten(batch)
    n, m = len(weights), len(weights) + len(state)

    def step(*inputs: Tensor) -> list[Tensor]:
        theta = dict(zip(weights, inputs[:n], strict=True))
        fixed = dict(zip(state, inputs[n:m], strict=True))
        tasks = tree_unflatten(list(inputs[m:]), structure)

        def objective(theta: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
            losses, support = functional_call(learner, {**theta, **fixed}, (tasks,))
            return losses.mean(), support.mean(0)

        gradient, (loss, support) = grad_and_value(objective, has_aux=True)(theta)
        return [*gradient.values(), loss, support]

    try:
        record = make_fx(step, tracing_mode="fake", _allow_non_fake_inputs=True)
        graph = record(*weights.values(), *state.values(), *leaves)
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


def simplify(graph: fx.GraphModule) -> None:
    """Drop operations that change nothing or are done twice, and turn narrow products round."""
    operations = [n for n in graph.graph.nodes if isinstance(n.target, torch._ops.OpOverload)]
    # Writing in place needs the order, and as_strided the places in memory, as they were recorded.
    fixed = any(n.target._schema.is_mutable or n.target in STRIDED for n in operations)
    if not fixed:
        done: dict[str, fx.Node] = {}
        for node in operations:
            if _changes_nothing(node):
                node.replace_all_uses_with(node.args[0])
            elif torch.Tag.nondeterministic_seeded not in node.target.tags:
                what = repr((node.target, node.args, node.kwargs))
                if what in done:
                    node.replace_all_uses_with(done[what])
                else:
                    done[what] = _turned_round(graph.graph, node)
        for node in operations:  # a view may not fit a product that was turned round
            if node.target in (aten.view.default, aten._unsafe_view.default):
                node.target = aten.reshape.default
    graph.graph.eliminate_dead_code()
    graph.recompile()


VIEWS = {aten.view.default, aten._unsafe_view.default, aten.expand.default, aten.detach.default}
STRIDED = {aten.as_strided.default}
BY_ONE = {aten.mul.Scalar, aten.div.Scalar, aten.pow.Tensor_Scalar}


def _changes_nothing(node: fx.Node) -> bool:
    """A view of the same shape and strides; or x * 1, x / 1, x ** 1 of the same type."""
    if not (node.target in VIEWS or (node.target in BY_ONE and node.args[1] == 1)):
        return False
    before, after = cast(Any, node.args[0]).meta.get("val"), node.meta["val"]
    if before is None:  # a constant
        return False
    same = before.shape == after.shape and before.dtype == after.dtype
    return same and before.stride() == after.stride()


def _turned_round(graph: fx.Graph, node: fx.Node) -> fx.Node:
    """A B = (B^T A^T)^T: on CPUs a product with short rows takes up to eight times as long."""
    if node.target is not aten.bmm.default:
        return node
    value = node.meta["val"]
    if value.device.type != "cpu" or value.shape[2] >= value.shape[1]:
        return node
    with graph.inserting_before(node):
        a_t, b_t = (graph.call_function(aten.transpose.int, (x, 1, 2)) for x in node.args)
        product = graph.call_function(aten.bmm.default, (b_t, a_t))
        turned = graph.call_function(aten.transpose.int, (product, 1, 2))
    node.replace_all_uses_with(turned)
    return turned


def replayed(graph: fx.GraphModule) -> Step:
    """The operations, one after the other. Those that are methods of a tensor are called as such,
    which takes half the time.
    """
    for node in graph.graph.nodes:
        if isinstance(node.target, torch._ops.OpOverload):
            schema = node.target._schema
            name = schema.name.removeprefix("aten::").removeprefix("_unsafe_")
            method = getattr(torch._C.TensorBase, name, None)
            plain = method is not None and method is getattr(Tensor, name)  # not Python on top
            if plain and schema.arguments[0].name == "self" and isinstance(node.args[0], fx.Node):
                node.op, node.target = "call_method", name
    graph.recompile()
    return cast(Step, graph.forward)


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
