"""Networks for small data: smooth, small, without running statistics. Any module of yours will do
as well, as long as it has no BatchNorm running statistics and no Dropout.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from mamlkit.errors import MamlkitError
from mamlkit.tasks.base import count, fresh_generator

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


def _initialise(layer: nn.Linear | nn.Conv2d, generator: torch.Generator) -> None:
    """Torch's default (uniform in +-1/sqrt(fan in)), from a generator of our own."""
    bound = layer.weight[0].numel() ** -0.5
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
        sizes = [count("d_in", d_in), *(count("hidden", h) for h in hidden), count("d_out", d_out)]
        low, high = x_range if x_range is not None else (-1.0, 1.0)
        if not low < high:
            raise MamlkitError(f"x_range must be (low, high) with low < high, not {x_range}.")
        self.activation = _activation(activation)
        self.layers = nn.ModuleList(
            nn.utils.skip_init(nn.Linear, m, n) for m, n in pairwise(sizes)
        )
        self.register_buffer("offset", torch.tensor((low + high) / 2))
        self.register_buffer("scale", torch.tensor((high - low) / 2))
        generator = fresh_generator(seed)
        for layer in self.layers:
            _initialise(layer, generator)  # type: ignore[arg-type]

    def extra_repr(self) -> str:
        """The activation, for printing."""
        return f"activation={self.activation.__name__}"

    def forward(self, x: Tensor) -> Tensor:
        """``[..., d_in] -> [..., d_out]``."""
        x = (x - self.offset) / self.scale
        *hidden, head = self.layers
        for layer in hidden:
            x = self.activation(layer(x))
        return head(x)  # type: ignore[no-any-return]


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
        sizes = [count("channels", channels), *(count("hidden", h) for h in hidden)]
        self.activation = _activation(activation)
        self.convolutions = nn.ModuleList(
            nn.utils.skip_init(nn.Conv2d, m, n, 3, padding=1, padding_mode="circular")
            for m, n in pairwise(sizes)
        )
        self.head = nn.utils.skip_init(nn.Linear, sizes[-1], count("d_out", d_out))
        generator = fresh_generator(seed)
        for layer in [*self.convolutions, self.head]:
            _initialise(layer, generator)  # type: ignore[arg-type]

    def extra_repr(self) -> str:
        """The activation, for printing."""
        return f"activation={self.activation.__name__}"

    def forward(self, x: Tensor) -> Tensor:
        """``[n, channels, h, w] -> [n, d_out]``."""
        for convolution in self.convolutions:
            x = nn.functional.avg_pool2d(self.activation(convolution(x)), 2)
        return self.head(x.mean(dim=(-2, -1)))  # type: ignore[no-any-return]
