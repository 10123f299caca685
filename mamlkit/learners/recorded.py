"""A function of tensors as the flat list of its operations: recorded once, replayed without the
Python around them, to the same bits.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any, cast

import torch
from torch import Tensor, fx
from torch.fx.experimental.proxy_tensor import get_proxy_mode, make_fx
from torch.utils._pytree import tree_flatten, tree_unflatten

from mamlkit.learners.vectorise import going_now

Step = Callable[..., Sequence[Tensor]]
aten = torch.ops.aten
WORTH_CALLS = 200  # to record takes about so long as a hundred calls


def recorded(function: Callable[..., Any], *inputs: Any) -> Callable[..., Any]:
    """``function`` of trees of tensors, as its operations on inputs of these shapes and layouts.
    Nothing can be differentiated through it.
    """
    tensors, structure = tree_flatten(inputs)

    def of_tensors(*tensors: Tensor) -> Any:
        return function(*tree_unflatten(list(tensors), structure))

    with torch.no_grad():
        graph = make_fx(of_tensors, tracing_mode="fake", _allow_non_fake_inputs=True)(*tensors)
    simplify(graph)
    step = replayed(graph)

    @torch.no_grad()
    def replay(*inputs: Any) -> Any:
        with torch._C.DisableTorchFunction():  # what modes change has been changed in the record
            return step(*leaves(inputs))

    return replay


def repeated(function: Callable[..., Any], calls: int, *inputs: Any) -> Callable[..., Any]:
    """``function`` :func:`recorded`, if it will be called so often on inputs like these that this
    pays, and if that works and gives the same bits, which is tried once; else as it is.
    """
    if calls < WORTH_CALLS or going_now() == "in turn" or get_proxy_mode() is not None:
        return function
    try:
        replay = recorded(function, *inputs)
        pairs = zip(leaves(replay(*inputs)), leaves(function(*inputs)), strict=True)
        return replay if all(torch.equal(a, b) for a, b in pairs) else function
    except Exception:  # torch raises another kind for each thing it cannot record
        return function


def leaves(part: Any) -> list[Tensor]:
    """What ``tree_leaves`` finds in tuples, lists and dicts, in a fifth of the time."""
    if isinstance(part, Tensor):
        return [part]
    return [t for p in (part.values() if isinstance(part, dict) else part) for t in leaves(p)]


def simplify(graph: fx.GraphModule) -> None:
    """Drop operations that change nothing or are done twice."""
    done: dict[Hashable, fx.Node] = {}
    for node in graph.graph.nodes if not writes(graph) else ():
        if node.op == "output":
            continue
        same = done.setdefault(_view(node), node)
        if same is node and isinstance(node.target, torch._ops.OpOverload):
            if node.target in BY_ONE and node.args[1] == 1 and _alike(node, node.args[0]):
                same = cast(fx.Node, node.args[0])
            elif torch.Tag.nondeterministic_seeded not in node.target.tags:
                same = done.setdefault(repr((node.target, node.args, node.kwargs)), node)
        if same is not node:
            node.replace_all_uses_with(same)
    graph.graph.eliminate_dead_code()
    graph.recompile()


BY_ONE = {aten.mul.Scalar, aten.div.Scalar, aten.pow.Tensor_Scalar}


def writes(graph: fx.GraphModule) -> bool:
    """Whether memory is written to, or walked through by hand: then it must lie as recorded, and
    operations keep their order.
    """
    return any(
        isinstance(node.target, torch._ops.OpOverload)
        and (node.target._schema.is_mutable or node.target is aten.as_strided.default)
        for node in graph.graph.nodes
    )


def _alike(node: fx.Node, other: Any) -> bool:
    """Whether both have one type, shape and layout."""
    a, b = node.meta.get("val"), other.meta.get("val")  # None: a constant
    return a is not None and b is not None and _geometry(a) == _geometry(b)


def _geometry(t: Tensor) -> tuple[Any, ...]:
    return t.dtype, t.shape, t.stride(), t.is_conj(), t.is_neg()


def _source(node: fx.Node) -> fx.Node:
    """Where the memory comes from that a tensor looks at."""
    while isinstance(node.target, torch._ops.OpOverload) and (
        node.target is aten._unsafe_view.default
        or (node.target._schema.returns and node.target._schema.returns[0].alias_info)
    ):
        node = cast(fx.Node, node.args[0])
    return node


def _view(node: fx.Node) -> Hashable:
    """What tells one tensor from another: whose memory it looks at, and how."""
    t = node.meta.get("val")
    if not isinstance(t, Tensor):  # a constant, or several tensors
        return node
    return *_geometry(t), t.storage_offset(), _source(node)


def has_effects(graph: fx.GraphModule) -> bool:
    """Whether a step draws random numbers, or writes to what it was given: no step to try twice."""
    operations = [n for n in graph.graph.nodes if isinstance(n.target, torch._ops.OpOverload)]
    return any(
        torch.Tag.nondeterministic_seeded in n.target.tags
        or (n.target._schema.is_mutable and _source(n).op != "call_function")
        for n in operations
    )


def products(graph: fx.GraphModule, exact: bool) -> None:
    """Take the faster of two ways to a product. On CPUs that of a column and a row takes several
    times as long as a multiplication, whose bits are the same but for the sign of a zero. Where
    that is not asked for: A B with short rows takes up to ten times as long as (B^T A^T)^T.
    """
    new = graph.graph.call_function
    for node in graph.graph.find_nodes(op="call_function", target=aten.bmm.default):
        a, b = (cast(fx.Node, n).meta.get("val") for n in node.args)
        if a is None or b is None or a.device.type != "cpu" or writes(graph):  # None: a constant
            continue
        if a.shape[2] == 1:
            if not exact or (a * b).stride() == node.meta["val"].stride():
                node.target = aten.mul.Tensor
        elif not exact and b.shape[2] < a.shape[1]:
            with graph.graph.inserting_before(node):
                a_t, b_t = (new(aten.transpose.int, (x, 1, 2)) for x in node.args)
                turned = new(aten.bmm.default, (b_t, a_t))
                node.replace_all_uses_with(new(aten.transpose.int, (turned, 1, 2)))
    for node in graph.graph.nodes:  # a view may not fit a product that was turned round
        if node.target in (aten.view.default, aten._unsafe_view.default):
            node.target = aten.reshape.default
    graph.graph.eliminate_dead_code()
    graph.recompile()


def replayed(graph: fx.GraphModule) -> Step:
    """The operations, one after the other, to the same bits. Those that are methods of a tensor are
    called as such, which takes half the time.
    """
    products(graph, exact=True)
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
