"""Networks for small data: smooth, small, without running statistics. Any module of yours will do
as well, as long as it has no BatchNorm running statistics and no Dropout.
"""

from __future__ import annotations

import copy
import math
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from types import FunctionType
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch._C._functorch import is_functorch_wrapped_tensor
from torch.func import functional_call

from mamlkit.checks import count, fresh_generator, interval, load_torch, number, one_of
from mamlkit.errors import MamlkitError

#: Types whose values are shared and not copied.
PLAIN = {int, float, bool, str, type(None), type, FunctionType, torch.dtype, torch.device}
Feed = Literal["concatenate", "modulate", "affine"]
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh,
    "relu": torch.relu,
    "silu": nn.functional.silu,
    "gelu": nn.functional.gelu,
    "softplus": nn.functional.softplus,
    "sin": torch.sin,
}


def _widths(hidden: Sequence[int]) -> list[int]:
    if not isinstance(hidden, Sequence) or isinstance(hidden, str):
        raise MamlkitError(
            f"hidden must hold the widths of layers, such as (40, 40), but {hidden!r} was given."
        )
    return [count("hidden", width) for width in hidden]


def copied(thing: Any, memo: dict[int, Any] | None = None) -> Any:
    """As ``copy.deepcopy``, for a module in a fraction of the time; and what a forward pass has
    left behind in it (a pruned weight, an activation) is no obstacle.
    """
    memo = {} if memo is None else memo
    if id(thing) in memo:
        return memo[id(thing)]
    kind, twin = type(thing), cast(Any, None)

    def inside(content: dict[str, Any]) -> Iterator[tuple[str, Any]]:
        for name, value in content.items():
            yield name, value if type(value) in PLAIN else copied(value, memo)

    if kind in PLAIN:
        return thing
    if kind in (dict, OrderedDict, set) and not thing:
        return kind()
    if kind in (dict, OrderedDict):
        twin = memo[id(thing)] = kind()
        twin.update(inside(thing))
    elif kind in (Tensor, nn.Parameter) and not is_functorch_wrapped_tensor(thing):
        twin = memo[id(thing)] = thing.detach().clone()
        if kind is nn.Parameter:
            twin = memo[id(thing)] = nn.Parameter(twin, thing.requires_grad)
        elif thing.is_leaf:
            twin.requires_grad_(thing.requires_grad)
    elif isinstance(thing, Tensor) and is_functorch_wrapped_tensor(thing):
        pass  # it belongs to a vmap that is over
    elif isinstance(thing, nn.Module) and not _says_how(kind):
        twin = memo[id(thing)] = object.__new__(kind)
        vars(twin).update(inside(vars(thing)))
    else:
        twin = copy.deepcopy(thing, memo)
    return twin


def _says_how(kind: Any) -> bool:
    """Does this kind of module say itself how it is copied?"""
    states = kind.__setstate__, kind.__getstate__
    usual = nn.Module.__setstate__, cast(Any, nn.Module).__getstate__
    return states != usual or hasattr(kind, "__deepcopy__")


def _layer(
    generator: torch.Generator, kind: type[nn.Module], *sizes: int, **settings: Any
) -> nn.Module:
    """A layer with torch's default start (uniform in +-1/sqrt(fan in)), drawn from ``generator``:
    torch's global one is left alone.
    """
    load_torch()  # which skip_init does a part of
    layer: nn.Module = cast(Any, nn.utils.skip_init)(kind, *sizes, **settings)
    bound = layer.get_parameter("weight")[0].numel() ** -0.5
    with torch.no_grad():
        for parameter in layer.parameters():
            u = torch.rand(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.copy_(bound * (2 * u - 1))
    return layer


def _cannot_take(model: nn.Module, x: Tensor, why: str) -> MamlkitError:
    return MamlkitError(
        f"the model ({type(model).__name__}) cannot take x of shape {list(x.shape)}: {why}. Check "
        "that the model's input size is the family's d_in."
    )


class MLP(nn.Module):
    """A fully connected network, ``[..., d_in] -> [..., d_out]``, linear in its last layer.

    Args:
        d_in, d_out: numbers of inputs and outputs.
        hidden: widths of the hidden layers; ``()`` gives a linear model.
        activation: "tanh", "relu", "silu", "gelu", "softplus" or "sin".
        x_range: the interval of the inputs, mapped to [-1, 1] before the first layer; constants,
            not statistics that drift. None leaves inputs as they are.
        seed: fixes the random start.
        context: length of a context vector, the parameter ``context``: zero, and never trained by
            the outer loop. ``adapt="context"`` adapts it and leaves the weights alone (CAVIA,
            Zintgraf et al. 2019, arXiv:1810.03642).
        feed: how the context c enters: "concatenate" puts it beside x; "modulate" scales and shifts
            the hidden units before the activation, linearly in the context (Perez et al. 2018,
            arXiv:1709.07871); "affine" learns f_0 + sum_j c_j f_j, with all f from one network, as
            a coupling constant enters a law.
    """

    offset: Tensor
    scale: Tensor

    def __init__(
        self,
        d_in: int,
        d_out: int,
        hidden: Sequence[int] = (40, 40),
        activation: str = "tanh",
        x_range: tuple[float, float] | None = None,
        seed: int = 0,
        context: int = 0,
        feed: Feed = "concatenate",
    ) -> None:
        super().__init__()
        sizes = [count("d_in", d_in), *_widths(hidden), count("d_out", d_out)]
        self.d_in, context = sizes[0], count("context", context, least=0)
        one_of("feed", feed, ("concatenate", "modulate", "affine"))
        self.feed = feed if context else None
        if self.feed == "modulate" and len(sizes) == 2:
            raise MamlkitError("feed='modulate' acts on hidden units; give hidden a width.")
        sizes[0] += context if self.feed == "concatenate" else 0
        sizes[-1] *= 1 + context if self.feed == "affine" else 1
        low, high = (-1.0, 1.0) if x_range is None else interval("x_range", x_range)
        self.activation = ACTIVATIONS[one_of("activation", activation, ACTIVATIONS)]
        generator = fresh_generator(seed)
        self.layers = nn.ModuleList(_layer(generator, nn.Linear, m, n) for m, n in pairwise(sizes))
        self.register_buffer("offset", torch.tensor((low + high) / 2))
        self.register_buffer("scale", torch.tensor((high - low) / 2))
        if context:
            self.context = nn.Parameter(torch.zeros(context), requires_grad=False)
        if self.feed == "modulate":
            self.pair_widths = [2 * width for width in sizes[1:-1]]  # a scale and a shift each
            total = sum(self.pair_widths)
            self.modulation = _layer(generator, nn.Linear, context, total, bias=False)

    def extra_repr(self) -> str:
        """The activation and the interval of the inputs, for printing."""
        low, high = float(self.offset - self.scale), float(self.offset + self.scale)
        return f"activation={self.activation.__name__}, x_range=({low:g}, {high:g})"

    def forward(self, x: Tensor) -> Tensor:
        """``[..., d_in] -> [..., d_out]``."""
        if x.shape[-1] != self.d_in:
            raise _cannot_take(self, x, f"it has d_in={self.d_in}")
        x = (x - self.offset) / self.scale
        if self.feed == "concatenate":
            x = torch.cat([x, self.context.expand(*x.shape[:-1], -1)], dim=-1)
        *hidden, head = self.layers
        if self.feed == "modulate":
            pairs = self.modulation(self.context).split(self.pair_widths)
        for i, layer in enumerate(hidden):
            x = layer(x)
            if self.feed == "modulate":
                scale, shift = pairs[i].chunk(2)
                x = x * (1 + scale) + shift
            x = self.activation(x)
        if self.feed != "affine":
            return head(x)
        parts = head(x).unflatten(-1, (1 + len(self.context), -1))  # f_j: [.., 1 + k, d_out]
        return parts[..., 0, :] + (self.context[:, None] * parts[..., 1:, :]).sum(-2)


class Diagonal(nn.Module):
    """One learned factor for each feature, ``[n, ..] -> [n, p]``: under a head, the metric that
    tasks share. What it learns says which features matter.

    Args:
        p: number of features; a point of several axes is made one row.

    Attributes:
        factors: ``[p]``, ones at the start.
    """

    def __init__(self, p: int) -> None:
        super().__init__()
        self.factors = nn.Parameter(torch.ones(count("p", p)))

    def forward(self, x: Tensor) -> Tensor:
        """``[n, ..] -> [n, p]``."""
        rows = x.flatten(1)
        if rows.shape[1] != len(self.factors):
            raise _cannot_take(self, x, f"it has p={len(self.factors)}")
        return rows * self.factors


class Powers(nn.Module):
    """A polynomial without a constant in a variable that the physics suggests,
    y = w_1 u + .. + w_p u^p, ``[.., 1] -> [.., d_out]``: p numbers an output, zero at the start.

    Args:
        degree: p.
        variable: "x" for u = x; "1 - 1/x", in which the logarithm of a vapour pressure is nearly a
            straight line, with x the temperature over the critical one (Clausius and Clapeyron).
        d_out: number of outputs.

    Attributes:
        weight: ``[d_out, p]``.
    """

    d_in = 1

    def __init__(
        self, degree: int = 3, variable: Literal["x", "1 - 1/x"] = "1 - 1/x", d_out: int = 1
    ) -> None:
        super().__init__()
        self.variable = one_of("variable", variable, ("x", "1 - 1/x"))
        self.weight = nn.Parameter(torch.zeros(count("d_out", d_out), count("degree", degree)))

    def extra_repr(self) -> str:
        """The variable, for printing."""
        return f"degree={self.weight.shape[1]}, variable={self.variable!r}"

    def forward(self, x: Tensor) -> Tensor:
        """``[.., 1] -> [.., d_out]``."""
        if x.shape[-1] != 1:
            raise _cannot_take(self, x, "it has d_in=1")
        u = x if self.variable == "x" else 1 - 1 / x
        powers = [u]
        while len(powers) < self.weight.shape[1]:
            powers.append(powers[-1] * u)
        return torch.cat(powers, dim=-1) @ self.weight.T


class Pruned(nn.Module):
    """Any model with a mask on some of its weights: where that is False, the weight is zero and
    stays so, whatever the inner or the outer loop does. The masks are buffers, so they are copied,
    saved and captured with the model.

    Args:
        model: any module; copied.
        masks: for some of its parameters, by name, whether an entry is kept: see
            :func:`largest_weights`.
    """

    def __init__(self, model: nn.Module, masks: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.model = copied(model)
        weights = dict(self.model.named_parameters())
        self.names = list(masks)
        for i, (name, mask) in enumerate(masks.items()):
            if name not in weights or mask.shape != weights[name].shape:
                raise MamlkitError(
                    f"there is a mask of shape {list(mask.shape)} for {name!r}, but the parameters "
                    f"are { {n: list(w.shape) for n, w in weights.items()} }."
                )
            self.register_buffer(f"mask{i}", mask.detach().bool().clone())
            with torch.no_grad():
                weights[name].mul_(mask)

    @property
    def masks(self) -> dict[str, Tensor]:
        """What is kept, by the name of the parameter."""
        return {name: self.get_buffer(f"mask{i}") for i, name in enumerate(self.names)}

    def forward(self, x: Tensor) -> Tensor:
        """As the model."""
        weights = dict(self.model.named_parameters(remove_duplicate=False))
        kept = {name: weights[name] * mask for name, mask in self.masks.items()}
        # A new tensor, or a learner of the last layer alone would run that layer without its mask.
        return functional_call(self.model, kept, (x,)).clone()


def largest_weights(model: nn.Module, keep: float) -> dict[str, Tensor]:
    """Masks for :class:`Pruned` that keep this share of the entries of all matrices, the largest in
    size wherever they are (Han et al. 2015, arXiv:1506.02626); vectors, such as biases, stay whole.
    """
    if not 0 < number("keep", keep) <= 1:
        raise MamlkitError(f"keep is the share of weights that stay, in (0, 1], but is {keep!r}.")
    matrices = {n: w.detach().abs() for n, w in model.named_parameters() if w.ndim > 1}
    sizes = torch.cat([w.flatten() for w in matrices.values()]).sort(descending=True).values
    least = sizes[max(1, round(keep * len(sizes))) - 1]
    return {name: w >= least for name, w in matrices.items()}


class LowRank(nn.Module):
    """Any model with a context that moves all its weights along a few directions:
    weights = shared + sum_j context_j * direction_j (CoDA, Kirchmeyer et al. 2022,
    arXiv:2202.01889, eq. 5). ``adapt="context"`` adapts the context from zero.

    Args:
        model: any module; copied.
        context: length of the context, the rank of the change of weights.
        seed: fixes the random directions.
    """

    def __init__(self, model: nn.Module, context: int = 2, seed: int = 0) -> None:
        super().__init__()
        if not isinstance(model, nn.Module) or not any(True for _ in model.parameters()):
            raise MamlkitError(
                f"LowRank needs a torch.nn.Module with parameters, but {model!r} was given."
            )
        self.model = copied(model)
        zeros = next(self.model.parameters()).detach().new_zeros(count("context", context))
        self.context = nn.Parameter(zeros, requires_grad=False)
        self.names = [name for name, _ in self.model.named_parameters()]
        generator = fresh_generator(seed)
        self.directions = nn.ParameterList()
        for weight in self.model.parameters():  # as large as torch's own start of a layer
            bound = max(weight[0].numel() if weight.ndim > 1 else weight.numel(), 1) ** -0.5
            u = torch.rand(*weight.shape, context, generator=generator, dtype=torch.float64)
            self.directions.append((bound * (2 * u - 1)).to(weight))

    def forward(self, x: Tensor) -> Tensor:
        """``[..., d_in] -> [..., d_out]``, as the model."""
        # Not get_parameter, which refuses what functional_call puts in place of a parameter.
        shared = dict(self.model.named_parameters(remove_duplicate=False))
        weights = {
            name: shared[name] + direction @ self.context
            for name, direction in zip(self.names, self.directions, strict=True)
        }
        return functional_call(self.model, weights, (x,))


class CNN(nn.Module):
    """A small convolutional network for images or lattices, ``[n, channels, h, w] -> [n, d_out]``:
    3x3 convolutions with periodic edges, each followed by the activation and 2x2 mean pooling; then
    the mean over the lattice and a linear head. It has no BatchNorm, and takes any lattice of at
    least ``2 ** len(hidden)`` sites a side.

    Args:
        channels: number of input channels.
        d_out: number of outputs (ways).
        hidden: channels of each convolution.
        activation: as for :class:`MLP`.
        seed: fixes the random start.
    """

    def __init__(
        self,
        channels: int,
        d_out: int,
        hidden: Sequence[int] = (16, 16),
        activation: str = "tanh",
        seed: int = 0,
    ) -> None:
        super().__init__()
        sizes = [count("channels", channels), *_widths(hidden)]
        self.channels = sizes[0]
        self.activation = ACTIVATIONS[one_of("activation", activation, ACTIVATIONS)]
        generator = fresh_generator(seed)
        self.convolutions = nn.ModuleList(
            _layer(generator, nn.Conv2d, m, n, 3, padding=1, padding_mode="circular")
            for m, n in pairwise(sizes)
        )
        self.head = _layer(generator, nn.Linear, sizes[-1], count("d_out", d_out))

    def extra_repr(self) -> str:
        """The activation, for printing."""
        return f"activation={self.activation.__name__}"

    def forward(self, x: Tensor) -> Tensor:
        """``[n, channels, h, w] -> [n, d_out]``."""
        layers = len(self.convolutions)
        if x.ndim < 3 or x.shape[-3] != self.channels:
            raise _cannot_take(
                self, x, f"it takes [n, {self.channels}, h, w], h and w at least {2**layers}"
            )
        if min(x.shape[-2:]) < 2**layers:
            h, w = x.shape[-2:]
            raise MamlkitError(
                f"a lattice of {h} x {w} is too small for a CNN of {layers} layers, each of which "
                f"halves it: it needs {2**layers} sites a side. Give hidden fewer widths: "
                f"{int(math.log2(max(min(h, w), 1)))} at most."
            )
        for convolution in self.convolutions:
            x = nn.functional.avg_pool2d(self.activation(convolution(x)), 2)
        return self.head(x.mean(dim=(-2, -1)))


class SetNetwork(nn.Module):
    """A network for sets (deep sets: Zaheer et al. 2017, arXiv:1703.06114, theorem 2),
    ``[n_sets, n_points, d_in] -> [n_sets, d_out]``: the same whatever the order of the points.

    A network gives each point features, their mean over the points says what the set is like, and a
    second network reads it: f(X) = rho(mean over x in X of phi(x)). With data sets as sets, a point
    is a place and a reading, (x, y). How many points there are, the mean does not tell.

    Args:
        d_in, d_out: numbers a point has, and numbers given out.
        hidden: widths of the layers of phi; at least one.
        after: widths of the hidden layers of rho; ``()`` makes it linear.
        mixing: let each layer of phi after the first see the mean over the set as well (the
            equivariant layers of the paper, eq. 4, with a mean): a point can then be judged in the
            light of the others.
        activation: as for :class:`MLP`.
        seed: fixes the random start.
    """

    def __init__(
        self,
        d_in: int,
        d_out: int,
        hidden: Sequence[int] = (64, 64),
        after: Sequence[int] = (64,),
        mixing: bool = False,
        activation: str = "silu",
        seed: int = 0,
    ) -> None:
        super().__init__()
        if not (widths := _widths(hidden)):
            raise MamlkitError(
                "SetNetwork needs hidden layers for its points; give hidden a width."
            )
        self.d_in = count("d_in", d_in)
        self.activation = ACTIVATIONS[one_of("activation", activation, ACTIVATIONS)]
        generator = fresh_generator(seed)
        sizes = [widths[-1], *_widths(after), count("d_out", d_out)]
        self.points = nn.ModuleList(
            _layer(generator, nn.Linear, m, n) for m, n in pairwise([self.d_in, *widths])
        )
        self.whole = nn.ModuleList(_layer(generator, nn.Linear, m, n) for m, n in pairwise(sizes))
        self.means = nn.ModuleList(
            _layer(generator, nn.Linear, m, n, bias=False) for m, n in pairwise(widths) if mixing
        )

    def extra_repr(self) -> str:
        """The activation, for printing."""
        return f"activation={self.activation.__name__}"

    def forward(self, x: Tensor) -> Tensor:
        """``[n_sets, n_points, d_in] -> [n_sets, d_out]``."""
        if x.ndim < 3 or x.shape[-1] != self.d_in or not x.shape[-2]:
            raise _cannot_take(
                self, x, f"it takes sets, [n_sets, n_points, {self.d_in}], of one point or more"
            )
        for i, layer in enumerate(self.points):
            seen = self.means[i - 1](x.mean(-2, keepdim=True)) if i and self.means else 0.0
            x = self.activation(layer(x) + seen)
        x = x.mean(dim=-2)
        *hidden, head = self.whole
        for layer in hidden:
            x = self.activation(layer(x))
        return head(x)
