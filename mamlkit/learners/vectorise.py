"""Tasks side by side, by ``vmap``; where it cannot take a model or a loss, one after another.

Learners write :func:`each` for ``vmap`` and :func:`grad_and_value` for that of ``torch.func``;
:func:`run` decides from outside which of the ways below they go.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from functools import partial, wraps
from typing import Any, Literal, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.fx.experimental.proxy_tensor import get_proxy_mode
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

from mamlkit.errors import MamlkitError, MamlkitWarning

#: "together": vmap and torch.func. "in turn": one task after another, by plain autograd, for any
#: model that can be differentiated twice. "alone": a single task by plain autograd.
Way = Literal["together", "in turn", "alone"]
T = TypeVar("T")
CHECKPOINTING = (
    "the model uses checkpointing (or other hooks on saved tensors), which would compute anew with "
    "the weights that it has by then, not with those of the inner step; take it out, and save "
    "memory by chunk_size."
)
_way: ContextVar[Way | None] = ContextVar("way", default=None)


def each(function: Callable[..., Any]) -> Callable[..., Any]:
    """``function`` of one task as a function of many: leaves ``[n_tasks, ..]`` in and out."""

    def of_all(*tasks: Any) -> Any:
        way = going_now()
        if way == "alone":  # a task alone, in which many things lie side by side
            with going("together"):
                return torch.vmap(function)(*tasks)
        if way != "in turn":
            return torch.vmap(function)(*tasks)
        n_tasks = len(tree_leaves(tasks)[0])
        found = [function(*tree_map(lambda t, i=i: t[i], tasks)) for i in range(n_tasks)]
        return tree_map(lambda *values: torch.stack(values), *found)

    return of_all


def grad_and_value(function: Callable[..., Tensor]) -> Callable[..., Any]:
    """As ``torch.func.grad_and_value``: gradient by the first argument, a tensor or a dict of
    tensors, and the value.
    """

    def of(theta: Any, *rest: Any) -> Any:
        if going_now() not in ("alone", "in turn"):
            return torch.func.grad_and_value(function)(theta, *rest)
        further = torch.is_grad_enabled()  # will somebody differentiate this once more?
        rows = {"": theta} if isinstance(theta, Tensor) else theta
        rows = {
            name: w if further and w.requires_grad else w.detach().requires_grad_()
            for name, w in rows.items()
        }
        with torch.enable_grad():
            value = function(rows.get("", rows), *rest)
        if value.requires_grad:
            found = torch.autograd.grad(
                value, tuple(rows.values()), create_graph=further, materialize_grads=True
            )
        else:  # a loss that no weight has a part in
            found = tuple(torch.zeros_like(w) for w in rows.values())
        gradient = dict(zip(rows, found, strict=True))
        return gradient.get("", gradient), value if further else value.detach()

    return of


def grad(function: Callable[..., Tensor]) -> Callable[..., Any]:
    """As ``torch.func.grad``: the gradient by the first argument."""
    return lambda *given: grad_and_value(function)(*given)[0]


def vectorised(method: Callable[..., T]) -> Callable[..., T]:
    """A method of a learner that works on many tasks, in the way that its model and loss can."""

    @wraps(method)
    def in_its_way(self: Any, *args: Any, **settings: Any) -> T:
        return run(self, partial(method, self, *args, **settings))

    return in_its_way


def run(learner: Any, work: Callable[[], T], first: Way = "together") -> T:
    """``work()``, the way ``first`` or, where that fails, in turn. If so, ``learner.way`` notes it
    for later calls, and one line says it.

    Raises:
        MamlkitError: if the model draws random numbers: they would differ between inner steps.
    """
    if torch.compiler.is_compiling() or _way.get() is not None:
        return work()  # inside another learner, or inside torch.compile: decided outside
    known: Way | None = getattr(learner, "way", None)
    if known == "in turn":
        return _in_turn(learner, work)
    try:
        if first == "alone":
            return _alone(work)
        with going("together"), _for_second_derivatives(learner), ExitStack() as first_time:
            if known is None:  # of a model that may go another way in a moment
                first_time.enter_context(warnings.catch_warnings())
                warnings.filterwarnings("ignore", "There is a performance drop")
            result = work()
        learner.way = "together"
        return result
    except MamlkitError:
        raise
    except Exception as error:  # torch raises another kind for each thing that vmap cannot do
        # A step under record tells nothing of models, and where memory is full chunk_size helps.
        full = isinstance(error, torch.OutOfMemoryError) or "allocate" in str(error)
        if full or get_proxy_mode() is not None:
            raise
        cause = str(error).strip().partition("\n")[0].rstrip(".")
    result = _in_turn(learner, work)
    learner.way = "in turn"
    warnings.warn(
        f"{type(learner).__name__}: torch cannot run this model or loss on many tasks at once "
        f"({cause}), so tasks run one after another: the same gradients, more slowly.",
        MamlkitWarning,
        stacklevel=4,
    )
    return result


def _in_turn(learner: Any, work: Callable[[], T]) -> T:
    # Fused recurrent layers have no second derivative.
    mkldnn = torch._C._get_mkldnn_enabled()
    torch._C._set_mkldnn_enabled(False)
    try:
        quiet = torch.backends.cudnn.flags(enabled=False)
        with in_words(), quiet, _for_second_derivatives(learner):
            return _alone(work, "in turn")
    finally:
        torch._C._set_mkldnn_enabled(mkldnn)


def _alone(work: Callable[[], T], way: Way = "alone") -> T:
    before = torch.get_rng_state()
    try:
        with going(way), torch.autograd.graph.disable_saved_tensors_hooks(CHECKPOINTING):
            result = work()
    except RuntimeError as error:
        if CHECKPOINTING in str(error):
            raise MamlkitError(CHECKPOINTING) from error
        raise
    if not torch.equal(before, torch.get_rng_state()):  # vmap sees to that by itself
        raise MamlkitError(
            "the model or the loss draws random numbers (dropout inside a layer or by F.dropout?), "
            "which would differ between inner steps; remove them, set p=0, or call .eval()."
        )
    return result


@contextmanager
def in_words() -> Iterator[None]:
    """Say what to do where torch has no second derivative."""
    try:
        yield
    except RuntimeError as error:
        if "derivative for" not in str(error):
            raise
        raise MamlkitError(
            "torch has no second derivative of a function that the model or the loss uses: "
            f"{str(error).strip()} Take another function, or first_order=True, which needs none."
        ) from error


@contextmanager
def _for_second_derivatives(learner: Any) -> Iterator[None]:
    """Attention as its parts, since as one kernel it has no second derivative; and what is
    :class:`WrittenOut`, unless the first run has met none of it.
    """
    with sdpa_kernel(SDPBackend.MATH), ExitStack() as inside:
        if getattr(learner, "written_out", True):
            norms = inside.enter_context(WrittenOut())
        yield
        if getattr(learner, "written_out", True):
            learner.written_out = norms.met


class WrittenOut(TorchFunctionMode):
    """Inside, the functions of ``WRITTEN_OUT`` are computed from simple ones.

    Attributes:
        met: was there one?
    """

    met = False

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if function in WRITTEN_OUT:
            self.met, function = True, WRITTEN_OUT[function]
        return function(*args, **(kwargs or {}))


def _layer_norm(
    x: Tensor,
    shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    return _scaled(x, tuple(range(-len(shape), 0)), eps, weight, bias)


def _batch_norm(
    x: Tensor,
    mean: Tensor | None,
    var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    if mean is not None:  # running statistics
        return F.batch_norm(x, mean, var, weight, bias, training, momentum, eps)
    shape = (-1, *[1] * (x.ndim - 2))  # of a channel
    weight, bias = (None if w is None else w.reshape(shape) for w in (weight, bias))
    return _scaled(x, (0, *range(2, x.ndim)), eps, weight, bias)


def _scaled(
    x: Tensor, dims: tuple[int, ...], eps: float, weight: Tensor | None, bias: Tensor | None
) -> Tensor:
    x = x - x.mean(dims, keepdim=True)
    x = x * (x.square().mean(dims, keepdim=True) + eps).rsqrt()
    x = x if weight is None else x * weight
    return x if bias is None else x + bias


def _weight_norm(v: Tensor, g: Tensor, dim: int = 0) -> Tensor:
    dims = [k for k in range(v.ndim) if k != dim]
    return g * v * v.square().sum(dims, keepdim=True).rsqrt()


#: Functions whose second derivative torch has wrong, without a word: of norms by layer and by batch
#: under vmap and in forward mode (pytorch/functorch issue 534, pytorch/pytorch issues 196699 and
#: 196700), of a weight norm always (seen in torch 2.13 and 2.14).
WRITTEN_OUT: dict[Any, Callable[..., Tensor]] = {
    F.layer_norm: _layer_norm,
    F.batch_norm: _batch_norm,
    torch._weight_norm: _weight_norm,
}


def going_now() -> Way | None:
    """The way that is gone here."""
    return None if torch.compiler.is_compiling() else _way.get()


@contextmanager
def going(way: Way | None) -> Iterator[None]:
    """Go this way inside; None is as "together", and free to be decided by :func:`run`."""
    token = _way.set(way)
    try:
        yield
    finally:
        _way.reset(token)
