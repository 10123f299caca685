"""Learners for other machines. The inner loop and the adapted model are recorded as flat lists of
tensor operations (``make_fx``), which become ONNX, or C with whole numbers of eight bits.
"""

from __future__ import annotations

import io
import logging
import math
import operator
import warnings
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from itertools import count as counted
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx, nn
from torch.fx.experimental.proxy_tensor import make_fx

from mamlkit.checks import as_path, count
from mamlkit.errors import MamlkitError
from mamlkit.learners.base import Weights
from mamlkit.learners.meta import LearnedStart
from mamlkit.learners.quantise import grid_of, whole
from mamlkit.learners.vectorise import going
from mamlkit.models import copied
from mamlkit.tasks.base import Data

aten = torch.ops.aten


class Recorded(NamedTuple):
    """A learner as two lists of operations, and what they were recorded with."""

    learner: LearnedStart  # a copy, whose parameters are constants of the graphs
    adapt: fx.GraphModule  # x [n, d_in], y [n, d_out] -> adapted weights
    predict: fx.GraphModule  # adapted weights, x [m, d_in] -> [m, d_out]
    example: Data
    theta: Weights


def record(learner: Any, shots: int, points: int) -> Recorded:
    """Record the inner loop for ``shots`` points, and the adapted model for ``points``."""
    if not isinstance(learner, LearnedStart):
        raise MamlkitError(
            f"export() writes down gradient steps, which {type(learner).__name__} does not take; "
            "it knows MAML and its relatives (MetaSGD, ANIL, CAVIA, Reptile)."
        )
    learner = copied(learner).requires_grad_(False)
    theta = learner.start()
    like = next(learner.model.parameters())
    x = like.new_ones(count("shots", shots), _inputs(learner.model))
    y = torch.zeros_like(learner.predictor(theta)(x))
    names = list(theta)

    def adapt(x: Tensor, y: Tensor) -> list[Tensor]:
        with going("together"):
            path, _ = learner.inner_path(Data(x, y), learner.inner_steps)
        return [path[-1][name] for name in names]

    def predict(*given: Tensor) -> Tensor:
        *weights, x = given
        return learner.predictor(dict(zip(names, weights, strict=True)))(x)

    start = [theta[name].clone() for name in names]
    try:
        parts: Any = torch._decomp.core_aten_decompositions()
        pure = torch.func.functionalize  # nothing is written to twice
        first = make_fx(pure(adapt), parts)(x, y)
        second = make_fx(pure(predict), parts)(*start, x[:1].repeat(points, 1))
    except MamlkitError:
        raise
    except Exception as error:  # torch raises another kind for each thing it cannot record
        raise MamlkitError(
            f"the inner loop of this {type(learner).__name__} cannot be recorded as a fixed list "
            f"of tensor operations: {str(error).strip().partition(chr(10))[0]} The usual causes "
            "are an if, a while or a float() on the value of a tensor."
        ) from error
    for graph in (first, second):
        graph.graph.eliminate_dead_code()
        graph.recompile()
    return Recorded(learner, first, second, Data(x, y), theta)


def export(learner: Any, path: str | Path, shots: int) -> list[Path]:
    """See :meth:`mamlkit.learners.MetaLearner.export`."""
    path = as_path(path)
    if path.suffix == ".c":
        path.write_text(c_source(learner, shots, path.name), encoding="utf-8")
        return [path]
    if path.suffix == ".onnx":
        return to_onnx(learner, path, shots)
    raise MamlkitError(
        f"export() writes .onnx or .c, which the name must end in, not {path.name!r}."
    )


def _inputs(model: nn.Module) -> int:
    """How many numbers a point has: what the model says, or its first layer."""
    for module in model.modules():
        size = getattr(module, "d_in", getattr(module, "in_features", None))
        if isinstance(size, int):
            return size
    raise MamlkitError(
        "export() must know how many numbers a point has; give the model an attribute d_in."
    )


# --- ONNX -----------------------------------------------------------------------------------------


def to_onnx(learner: Any, path: Path, shots: int) -> list[Path]:
    """Write ``NAME.onnx`` (x, y -> adapted weights) and ``NAME-predict.onnx`` (adapted weights and
    x -> y, for any number of points).
    """
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise MamlkitError(
            f"{error.name} is missing, which writes ONNX: pip install 'mamlkit[export]'."
        ) from error
    made = record(learner, shots, 2)
    names = [f"adapted.{name}" for name in made.theta]
    x = made.example.x[:1].repeat(2, 1)
    second = path.with_name(f"{path.stem}-predict.onnx")
    _write_onnx(made.adapt, (*made.example,), ["x", "y"], names, path)
    model = _Predictor(made.learner, list(made.theta))
    _write_onnx(model, (*made.theta.values(), x), [*names, "x"], ["y"], second)
    return [path, second]


class _Predictor(nn.Module):
    """The adapted model as a module of its weights and x."""

    def __init__(self, learner: LearnedStart, names: list[str]) -> None:
        super().__init__()
        self.learner, self.names = learner, names

    def forward(self, *given: Tensor) -> Tensor:
        *weights, x = given
        return self.learner.predictor(dict(zip(self.names, weights, strict=True)))(x)


def _write_onnx(
    module: nn.Module, given: tuple[Tensor, ...], names: list[str], results: list[str], path: Path
) -> None:
    """One graph as a file; the points of the predictor, the last input, may be any number."""
    free = None
    if isinstance(module, _Predictor):
        free = {"given": (*[None] * (len(given) - 1), {0: torch.export.Dim("points")})}
    log = logging.getLogger("torch.onnx")
    before = log.level
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")  # of torch to itself
            log.setLevel(logging.ERROR)
            program = torch.export.export(module, given, dynamic_shapes=free)
            written = torch.onnx.export(
                program, dynamo=True, verbose=False, input_names=names, output_names=results
            )
    except Exception as error:  # torch raises another kind for each thing that ONNX has not
        raise MamlkitError(
            f"this learner cannot be written as ONNX: {str(error).strip().partition(chr(10))[0]}"
        ) from error
    finally:
        log.setLevel(before)
    assert written is not None
    written.save(str(path), external_data=False)


# --- C --------------------------------------------------------------------------------------------

Index = Sequence[str]  # one C expression an axis
Read = Callable[[Index], str]  # the C expression of an entry


def c_source(learner: Any, shots: int, name: str) -> str:
    """The inner loop and the adapted model in C99; see :meth:`MetaLearner.export`."""
    made = record(learner, shots, 1)
    writer = _Writer(made.learner)
    n, d_in = made.example.x.shape
    adapted: list[Read] = []
    state, store = [], []
    for i, w in enumerate(made.theta.values()):
        rows = len(w) if w.ndim > 1 else 1
        state.append(f"static int8_t a{i}[{w.numel()}];\nstatic float b{i}[{rows}];")
        adapted.append(_reader(f"a{i}", f"b{i}", w.shape))
    given: list[Read] = [lambda at: f"x[{_flat(at, (n, d_in))}]"]
    given.append(lambda at: f"y[{_flat(at, made.example.y.shape)}]")
    first, results = writer.function(made.adapt, given)
    for i, (value, w) in enumerate(zip(results, made.theta.values(), strict=True)):
        rows = len(w) if w.ndim > 1 else 1
        if not value.place:  # a view of something else
            value = writer.kept(tuple(w.shape), value.read)
        store.append(f"keep({value.place}, {rows}, {w.numel() // rows}, a{i}, b{i});")
    second, (result,) = writer.function(made.predict, [*adapted, given[0]])
    shape = (1, made.example.y.shape[1])
    second.append(_loop(shape, lambda at: f"y[{_flat(at, shape)}] = {result.read(at)};"))
    body = "\n".join(
        [
            *writer.constants,
            "\n/* The adapted weights: whole numbers, and a scale a row. */",
            *state,
            _KEEP,
            "void adapt(const float *x, const float *y)\n{",
            *_indented([*first, *store]),
            "}\n\nvoid predict(const float *x, float *y)\n{",
            *_indented(second),
            "}",
        ]
    )
    return _HEAD.format(
        name=name,
        steps=made.learner.inner_steps,
        shots=n,
        d_in=d_in,
        d_out=shape[1],
        body=body,
    )


_HEAD = """\
/* {name}, written by mamlkit: a meta-learned start and its inner loop.
 *
 * adapt(x, y): {steps} gradient step(s) on {shots} point(s), x[{shots}][{d_in}] and
 *   y[{shots}][{d_out}]; what it adapts is kept as whole numbers of 8 bits, on a grid of its own.
 * predict(x, y): the adapted model at one point, x[{d_in}] to y[{d_out}]. Call adapt() before.
 *
 * Start and step sizes are whole numbers of 8 bits with a scale a row; in between one computes with
 * float. C99 and its mathematics (-lm); no memory is asked for; not for two threads at once.
 */
#include <math.h>
#include <stdint.h>

static inline float p2(float v) {{ return v * v; }}
static inline float p3(float v) {{ return v * v * v; }}
{body}
"""
_KEEP = """
static void keep(const float *w, int rows, int n, int8_t *q, float *scale)
{
  for (int r = 0; r < rows; r++, w += n, q += n) {
    float most = 0.0f;
    for (int i = 0; i < n; i++) most = fmaxf(most, fabsf(w[i]));
    scale[r] = most > 0.0f ? most / 127.0f : 1.0f;
    for (int i = 0; i < n; i++) q[i] = (int8_t)lrintf(w[i] / scale[r]);
  }
}
"""
#: Operations number by number: what they are in C, from the expressions of their arguments.
_NUMBERS: dict[Any, str] = {
    aten.neg.default: "(-{0})",
    aten.div: "({0} / {1})",
    aten.mul: "({0} * {1})",
    aten.tanh: "tanhf({0})",
    aten.exp: "expf({0})",
    aten.log: "logf({0})",
    aten.log1p: "log1pf({0})",
    aten.sin: "sinf({0})",
    aten.cos: "cosf({0})",
    aten.erf: "erff({0})",
    aten.sqrt: "sqrtf({0})",
    aten.rsqrt: "(1.0f / sqrtf({0}))",
    aten.reciprocal: "(1.0f / {0})",
    aten.abs: "fabsf({0})",
    aten.gelu: "(0.5f * {0} * (1.0f + erff(0.707106781f * {0})))",
    aten.relu: "fmaxf({0}, 0.0f)",
    aten.sigmoid: "(1.0f / (1.0f + expf(-{0})))",
    aten.gt: "({0} > {1})",
    aten.ge: "({0} >= {1})",
    aten.lt: "({0} < {1})",
    aten.le: "({0} <= {1})",
    aten.where: "({0} ? {1} : {2})",
}
_POWERS = {1.0: "{0}", 2.0: "p2({0})", 3.0: "p3({0})", -1.0: "(1.0f / {0})"}


class _Value(NamedTuple):
    """A tensor in C: its shape, how an entry is read, and where it lies in memory, if it does."""

    shape: tuple[int, ...]
    read: Read
    place: str = ""


class _Writer:
    """Turns graphs into C, one loop an operation. Views cost nothing, they read elsewhere; what is
    computed number by number and read once, in place, stands inside what reads it.

    Attributes:
        constants: declarations of the learner's numbers, as far as they are used.
    """

    def __init__(self, learner: LearnedStart) -> None:
        self.names = {p.data_ptr(): name for name, p in learner.named_parameters()}
        self.constants: list[str] = []
        self.known: dict[int, _Value] = {}
        self.fresh = counted()

    def function(
        self, graph: fx.GraphModule, given: Sequence[Read]
    ) -> tuple[list[str], list[_Value]]:
        """The statements of a graph, and its results; ``given`` reads its inputs."""
        self.lines: list[str] = []
        values: dict[Any, _Value] = {}
        inputs = iter(given)
        results: list[_Value] = []
        for node in graph.graph.nodes:
            if node.target in (aten.full_like.default, aten.fill.Scalar):
                node.target, node.kwargs = aten.full.default, {}  # what it is like is not needed
                node.args = (list(node.meta["val"].shape), node.args[1])
        for node in reversed(graph.graph.nodes):
            if node.op == "call_function" and not node.users:
                graph.graph.erase_node(node)
        for node in graph.graph.nodes:
            if node.op == "output":
                out = node.args[0] if isinstance(node.args[0], list | tuple) else [node.args[0]]
                results = [values[each] for each in out]
            elif node.op == "placeholder":
                values[node] = _Value(tuple(node.meta["val"].shape), next(inputs))
            elif node.op == "get_attr":
                values[node] = self._constant(getattr(graph, str(node.target)))
            else:
                values[node] = self._operation(node, values)
        return self.lines, results

    def _constant(self, tensor: Tensor) -> _Value:
        shape, key = tuple(tensor.shape), tensor.data_ptr()
        if tensor.numel() == 1 and key not in self.names:
            return _same(shape, float(tensor))
        if key not in self.known:
            i = len(self.known)
            if key in self.names:
                spacing = grid_of(tensor)
                numbers = whole(tensor, spacing).flatten().int().tolist()
                self.constants.append(f"/* {self.names[key]}, {list(shape)} */")
                self.constants.append(_array("int8_t", f"q{i}", [str(n) for n in numbers]))
                scales = [_number(v) for v in spacing.flatten().tolist()]
                self.constants.append(_array("float", f"s{i}", scales))
                self.known[key] = _Value(shape, _reader(f"q{i}", f"s{i}", shape))
            else:
                numbers = [_number(v) for v in tensor.flatten().tolist()]
                self.constants.append(_array("float", f"c{i}", numbers))
                self.known[key] = _Value(shape, lambda at: f"c{i}[{_flat(at, shape)}]")
        return self.known[key]

    def _operation(self, node: Any, values: dict[Any, _Value]) -> _Value:
        kind: Any = node.target
        packet = getattr(kind, "overloadpacket", kind)
        if packet is aten.split_with_sizes:  # read where its parts are taken
            return values[node.args[0]]
        shape = tuple(node.meta["val"].shape)
        view = self._view(node, packet, values, shape)
        if view is not None:
            return view
        if packet in (aten.full, aten.scalar_tensor):
            return _same(shape, float(node.args[0 if packet is aten.scalar_tensor else 1]))
        if packet in (aten.mm, aten.bmm, aten.addmm):
            return self._product(node, values, shape)
        if packet in (aten.sum, aten.mean):
            return self._sum(node, packet, values, shape)
        if packet is aten.cat:
            return self._cat(node, values, shape)
        return self._number_by_number(node, packet, values, shape)

    def _view(
        self, node: Any, packet: Any, values: dict[Any, _Value], shape: tuple[int, ...]
    ) -> _Value | None:
        """What only reads its argument elsewhere."""
        source = values.get(node.args[0]) if node.args else None
        if source is None:
            return None
        read, old, more = source.read, source.shape, node.args[1:]
        if packet is operator.getitem:  # a part of a split
            (_, sizes, *axis), i = node.args[0].args, more[0]
            dim, first = int(axis[0] if axis else 0) % len(old), sum(sizes[:i])
            return _Value(shape, lambda at: read(_moved(at, dim, first)))
        if packet in (aten.alias, aten.clone, aten.detach, aten._to_copy, aten.lift_fresh_copy):
            return source
        if packet is aten.permute:
            order = [int(d) % len(shape) for d in more[0]]
            return _Value(shape, lambda at: read([at[order.index(d)] for d in range(len(order))]))
        if packet is aten.expand:
            skip = len(shape) - len(old)
            return _Value(shape, lambda at: read(_broadcast(at[skip:], old)))
        if packet in (
            aten.view,
            aten._unsafe_view,
            aten.reshape,
            aten.unsqueeze,
            aten.squeeze,
            aten.squeeze_,
        ):
            return _Value(shape, lambda at: read(_unravel(at, shape, old)))
        if packet is aten.slice:
            dim = int(more[0]) if more else 0
            first = int(more[1] or 0) if len(more) > 1 else 0
            step = int(more[3]) if len(more) > 3 else 1
            first += old[dim] if first < 0 else 0
            return _Value(shape, lambda at: read(_moved(at, dim % len(old), first, step)))
        if packet is aten.select:
            dim, i = int(more[0]) % len(old), int(more[1]) % old[int(more[0])]
            return _Value(shape, lambda at: read([*at[:dim], str(i), *at[dim:]]))
        return None

    def _number_by_number(
        self, node: Any, packet: Any, values: dict[Any, _Value], shape: tuple[int, ...]
    ) -> _Value:
        reads = [self._argument(a, values) for a in node.args]
        if packet in (aten.add, aten.sub):
            factor = float(node.kwargs.get("alpha", 1))
            sign = "+" if packet is aten.add else "-"
            form = f"({{0}} {sign} {{1}})" if factor == 1 else f"({{0}} {sign} {factor}f * {{1}})"
        elif packet is aten.pow and isinstance(node.args[1], int | float):
            form = _POWERS.get(float(node.args[1]), "powf({0}, {1})")
        else:
            form = _NUMBERS.get(packet, _NUMBERS.get(node.target, ""))
        if not form:
            raise MamlkitError(
                f"export() has no C for {node.target}, which the model or the loss uses; write "
                ".onnx, or use another activation or layer."
            )

        def read(at: Index) -> str:
            return form.format(*(r(at) for r in reads))

        users = list(node.users)
        inside = len(users) == 1 and _once(users[0], shape)
        return _Value(shape, read) if inside else self.kept(shape, read)

    def _argument(self, value: Any, values: dict[Any, _Value]) -> Read:
        if isinstance(value, fx.Node):
            known = values[value]
            skip = len(known.shape)
            return lambda at: known.read(_broadcast(at[len(at) - skip :], known.shape))
        return lambda at: _number(float(value))

    def kept(self, shape: tuple[int, ...], read: Read) -> _Value:
        """In memory, so that it is computed once."""
        size = math.prod(shape)
        name = f"t{next(self.fresh)}"
        if size == 1:
            self.lines.append(f"const float {name} = {read(['0'] * len(shape))};")
            return _Value(shape, lambda at: name, f"&{name}")
        self.lines.append(f"static float {name}[{size}];")
        self.lines.append(_loop(shape, lambda at: f"{name}[{_flat(at, shape)}] = {read(at)};"))
        return _Value(shape, lambda at: f"{name}[{_flat(at, shape)}]", name)

    def _product(self, node: Any, values: dict[Any, _Value], shape: tuple[int, ...]) -> _Value:
        args = [values[a] for a in node.args]
        *bias, a, b = args
        if bias and node.kwargs:
            raise MamlkitError("export() has no C for a product with factors alpha and beta.")
        inner = a.shape[-1]
        add = self._argument(node.args[0], values) if bias else None

        def term(at: Index, k: str) -> str:
            return f"{a.read([*at[:-1], k])} * {b.read([*at[:-2], k, at[-1]])}"

        if inner == 1:

            def whole_sum(at: Index) -> str:
                return f"({add(at)} + {term(at, '0')})" if add else f"({term(at, '0')})"

            return self.kept(shape, whole_sum)
        return self._summed(shape, [inner], lambda at, ks: term(at, ks[0]), add)

    def _sum(
        self, node: Any, packet: Any, values: dict[Any, _Value], shape: tuple[int, ...]
    ) -> _Value:
        source = values[node.args[0]]
        dims: Any = (
            node.args[1] if len(node.args) > 1 and node.args[1] else range(len(source.shape))
        )
        over = sorted(int(d) % len(source.shape) for d in dims)
        keep = bool(node.args[2]) if len(node.args) > 2 else False
        sizes = [source.shape[d] for d in over]

        def term(at: Index, ks: Index) -> str:
            rest, inner = iter(at), iter(ks)
            index = []
            for d in range(len(source.shape)):
                if d in over:
                    index.append(next(inner))
                    if keep:
                        next(rest)
                else:
                    index.append(next(rest))
            return source.read(index)

        factor = 1 / math.prod(sizes) if packet is aten.mean else 1.0
        return self._summed(shape, sizes, term, None, factor)

    def _summed(
        self,
        shape: tuple[int, ...],
        sizes: Sequence[int],
        term: Callable[[Index, Index], str],
        add: Read | None,
        factor: float = 1.0,
    ) -> _Value:
        """Sums over ``sizes``, each entry in a loop of its own."""
        name, single = f"t{next(self.fresh)}", math.prod(shape) == 1

        def one(at: Index) -> str:
            v = name if single else "v"
            loops = _loop(sizes, lambda ks: f"{v} += {term(at, ks)};", "k")
            times = "" if factor == 1.0 else f" {v} *= {_number(factor)};"
            return f"float {v} = {add(at) if add else '0.0f'}; {loops}{times}"

        if single:
            self.lines.append(one(["0"] * len(shape)))
            return _Value(shape, lambda at: name, f"&{name}")
        self.lines.append(f"static float {name}[{math.prod(shape)}];")
        keep = lambda at: f"{one(at)} {name}[{_flat(at, shape)}] = v;"  # noqa: E731
        self.lines.append(_loop(shape, keep))
        return _Value(shape, lambda at: f"{name}[{_flat(at, shape)}]", name)

    def _cat(self, node: Any, values: dict[Any, _Value], shape: tuple[int, ...]) -> _Value:
        dim = int(node.args[1]) % len(shape) if len(node.args) > 1 else 0
        name, first = f"t{next(self.fresh)}", 0
        self.lines.append(f"static float {name}[{math.prod(shape)}];")
        for part in node.args[0]:
            value = values[part]

            def one(at: Index, value: _Value = value, first: int = first) -> str:
                to = _flat(_moved(at, dim, first), shape)
                return f"{name}[{to}] = {value.read(at)};"

            self.lines.append(_loop(value.shape, one))
            first += value.shape[dim]
        return _Value(shape, lambda at: f"{name}[{_flat(at, shape)}]")


def _same(shape: tuple[int, ...], value: float) -> _Value:
    return _Value(shape, lambda at: _number(value))


def _once(user: Any, shape: tuple[int, ...]) -> bool:
    """Does this operation read each entry of its argument once?"""
    packet = getattr(user.target, "overloadpacket", None)
    if packet in (aten.sum, aten.mean):
        return True
    if packet not in _NUMBERS and packet not in (aten.add, aten.sub):
        return False
    return tuple(user.meta["val"].shape) == shape


def _reader(numbers: str, scales: str, shape: Sequence[int]) -> Read:
    """Reads a tensor of whole numbers with a scale for each row."""
    rows = shape[0] if len(shape) > 1 else 1

    def read(at: Index) -> str:
        row = at[0] if rows > 1 else "0"
        return f"{scales}[{row}] * {numbers}[{_flat(at, shape)}]"

    return lambda at: f"({read(at)})"


def _flat(at: Index, shape: Sequence[int]) -> str:
    """The place of an entry in memory, row by row."""
    terms: list[str] = []
    step, fixed = math.prod(shape), 0
    for i, size in zip(at, shape, strict=True):
        step //= size
        if i.isdigit():
            fixed += int(i) * step
        elif size > 1:
            terms.append(i if step == 1 else f"{i} * {step}")
    return " + ".join([*terms, *([str(fixed)] if fixed or not terms else [])])


def _plus(i: str, more: int, step: int = 1) -> str:
    """An index, times ``step``, plus ``more``."""
    if i == "0":
        return str(more)
    times = i if step == 1 else f"{i} * {step}"
    return times if more == 0 else f"({times} + {more})"


def _moved(at: Index, dim: int, first: int, step: int = 1) -> list[str]:
    """An index of a part as one of the whole."""
    return [_plus(i, first, step) if d == dim else i for d, i in enumerate(at)]


def _broadcast(at: Index, shape: Sequence[int]) -> list[str]:
    return ["0" if size == 1 else i for i, size in zip(at, shape, strict=True)]


def _unravel(at: Index, shape: Sequence[int], old: Sequence[int]) -> list[str]:
    """The index into ``old`` of an entry of the same memory seen as ``shape``."""
    long = [(i, size) for i, size in zip(at, shape, strict=True) if size > 1]
    if [size for _, size in long] == [size for size in old if size > 1]:
        rest = iter(long)
        return [next(rest)[0] if size > 1 else "0" for size in old]
    place, index, step = _flat(at, shape), [], math.prod(old)
    for size in old:
        step //= size
        index.append("0" if size == 1 else f"(({place}) / {step} % {size})")
    return index


def _loop(shape: Sequence[int], statement: Callable[[Index], str], letter: str = "i") -> str:
    """``statement`` for each entry of a shape."""
    at = [f"{letter}{d}" if size > 1 else "0" for d, size in enumerate(shape)]
    loops = [
        f"for (int {i} = 0; {i} < {size}; {i}++)"
        for i, size in zip(at, shape, strict=True)
        if size > 1
    ]
    return f"{' '.join(loops)} {{ {statement(at)} }}".strip()


def _number(value: float) -> str:
    text = f"{value:.9g}"
    return f"{text}f" if any(c in text for c in ".en") else f"{text}.0f"


def _array(kind: str, name: str, numbers: Sequence[str]) -> str:
    lines = [", ".join(numbers[i : i + 12]) for i in range(0, len(numbers), 12)]
    body = ",\n  ".join(lines)
    return f"static const {kind} {name}[{len(numbers)}] = {{\n  {body}}};"


def _indented(lines: Sequence[str]) -> list[str]:
    return [f"  {line}" for line in lines]
