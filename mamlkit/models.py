"""Networks for small data: smooth, small, without running statistics. Any module of yours will do
as well, as long as it has no BatchNorm running statistics and no Dropout.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, cast

import torch
from torch import Tensor, nn

from mamlkit.errors import MamlkitError
from mamlkit.tasks.base import count, fresh_generator, interval

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh,
    "relu": torch.relu,
    "silu": nn.functional.silu,
    "gelu": nn.functional.gelu,
    "softplus": nn.functional.softplus,
    "sin": torch.sin,
}


def _activation(name: str) -> Callable[[Tensor], Tensor]:
    if name not in ACTIVATIONS:
        raise MamlkitError(f"activation={name!r} is not known; choose from {sorted(ACTIVATIONS)}.")
    return ACTIVATIONS[name]


def _widths(hidden: Sequence[int]) -> list[int]:
    if not isinstance(hidden, Sequence) or isinstance(hidden, str):
        raise MamlkitError(
            f"hidden must hold the widths of layers, such as (40, 40), but {hidden!r} was given."
        )
    return [count("hidden", width) for width in hidden]


def _empty(kind: type[nn.Module], *sizes: int, **settings: Any) -> nn.Module:
    """A layer without values yet, so that torch's global generator is left alone."""
    layer: nn.Module = cast(Any, nn.utils.skip_init)(kind, *sizes, **settings)
    return layer


def _initialise(layer: nn.Module, generator: torch.Generator) -> None:
    """Torch's default (uniform in +-1/sqrt(fan in)), from a generator of our own."""
    bound = layer.get_parameter("weight")[0].numel() ** -0.5
    with torch.no_grad():
        for parameter in layer.parameters():
            u = torch.rand(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.copy_(bound * (2 * u - 1))


class MLP(nn.Module):
    """A fully connected network, ``[..., d_in] -> [..., d_out]``, linear in its last layer.

    Args:
        d_in, d_out: numbers of inputs and outputs.
        hidden: widths of the hidden layers; ``()`` gives a linear model.
        activation: "tanh", "relu", "silu", "gelu", "softplus" or "sin".
        x_range: the interval of the inputs, mapped to [-1, 1] before the first layer; constants,
            not statistics that drift. None leaves inputs as they are.
        seed: fixes the random start.
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
    ) -> None:
        super().__init__()
        sizes = [count("d_in", d_in), *_widths(hidden), count("d_out", d_out)]
        low, high = (-1.0, 1.0) if x_range is None else interval("x_range", x_range)
        self.activation = _activation(activation)
        self.layers = nn.ModuleList(_empty(nn.Linear, m, n) for m, n in pairwise(sizes))
        self.register_buffer("offset", torch.tensor((low + high) / 2))
        self.register_buffer("scale", torch.tensor((high - low) / 2))
        generator = fresh_generator(seed)
        for layer in self.layers:
            _initialise(layer, generator)

    def extra_repr(self) -> str:
        """The activation and the interval of the inputs, for printing."""
        low, high = float(self.offset - self.scale), float(self.offset + self.scale)
        return f"activation={self.activation.__name__}, x_range=({low:g}, {high:g})"

    def forward(self, x: Tensor) -> Tensor:
        """``[..., d_in] -> [..., d_out]``."""
        x = (x - self.offset) / self.scale
        *hidden, head = self.layers
        for layer in hidden:
            x = self.activation(layer(x))
        y: Tensor = head(x)
        return y


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
        self.activation = _activation(activation)
        self.convolutions = nn.ModuleList(
            _empty(nn.Conv2d, m, n, 3, padding=1, padding_mode="circular")
            for m, n in pairwise(sizes)
        )
        self.head = _empty(nn.Linear, sizes[-1], count("d_out", d_out))
        generator = fresh_generator(seed)
        for layer in [*self.convolutions, self.head]:
            _initialise(layer, generator)

    def extra_repr(self) -> str:
        """The activation, for printing."""
        return f"activation={self.activation.__name__}"

    def forward(self, x: Tensor) -> Tensor:
        """``[n, channels, h, w] -> [n, d_out]``."""
        for convolution in self.convolutions:
            x = nn.functional.avg_pool2d(self.activation(convolution(x)), 2)
        y: Tensor = self.head(x.mean(dim=(-2, -1)))
        return y
