"""Learners for other machines. The inner loop and the adapted model are recorded as flat lists of
tensor operations (``make_fx``), which become ONNX, or C with whole numbers of eight bits.
"""

from __future__ import annotations

import io
import logging
import math
import warnings
from collections.abc import Callable, Sequence
from contextlib import contextmanager, redirect_stdout
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
        parts = torch._decomp.core_aten_decompositions()
        graphs = make_fx(adapt, parts)(x, y), make_fx(predict, parts)(*start, x[:1].repeat(points, 1))
    except MamlkitError:
        raise
    except Exception as error:  # torch raises another kind for each thing it cannot record
        raise MamlkitError(
            f"the inner loop of this {type(learner).__name__} cannot be recorded as a fixed list "
            f"of tensor operations: {str(error).strip().partition(chr(10))[0]} The usual causes "
            "are an if, a while or a float() on the value of a tensor."
        ) from error
    for graph in graphs:
        graph.graph.eliminate_dead_code()
        graph.recompile()
    return Recorded(learner, *graphs, Data(x, y), theta)


def export(learner: Any, path: str | Path, shots: int) -> list[Path]:
    """See :meth:`mamlkit.learners.MetaLearner.export`."""
    path = as_path(path)
    if path.suffix == ".c":
        path.write_text(c_source(learner, shots, path.name), encoding="utf-8")
        return [path]
    if path.suffix == ".onnx":
        return to_onnx(learner, path, shots)
    raise MamlkitError(f"export() writes .onnx or .c, which the name must end in, not {path.name!r}.")


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
    for i, (read, w) in enumerate(zip(results, made.theta.values(), strict=True)):
        rows = len(w) if w.ndim > 1 else 1
        store.append(_loop(w.shape, lambda at, r=read, s=w.shape: f"w[{_flat(at, s)}] = {r(at)};"))
        store.append(f"keep(w, {rows}, {w.numel() // rows}, a{i}, b{i});")
    second, (result,) = writer.function(made.predict, [*adapted, given[0]])
    shape = (1, made.example.y.shape[1])
    second.append(_loop(shape, lambda at: f"y[{_flat(at, shape)}] = {result(at)};"))
    most = max(w.numel() for w in made.theta.values())
    body = "\n".join(
        [
            *writer.constants,
            "\n/* The adapted weights: whole numbers, and a scale a row. */",
            *state,
            _KEEP,
            f"void adapt(const float *x, const float *y)\n{{\n  static float w[{most}];",
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
 * adapt(x, y): {steps} gradient step(s) on {shots} point(s), x[{shots}][{d_in}] and y[{shots}][{d_out}];
 *   what it adapts is kept as whole numbers of 8 bits, on a grid of its own.
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
    aten.relu: "fmaxf({0}, 0.0f)",
    aten.sigmoid: "(1.0f / (1.0f + expf(-{0})))",
    aten.gt: "({0} > {1})",
    aten.ge: "({0} >= {1})",
    aten.lt: "({0} < {1})",
    aten.le: "({0} <= {1})",
    aten.where: "({0} ? {1} : {2})",
}
