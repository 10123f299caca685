"""Checkers of the exercises, one module a notebook: ``nbNN.exercise_M(answer)`` returns None for a
right answer, or a hint. A module holds what is right, the known mistakes and their hints; how they
are compared stands in :mod:`mamlkit.course.checking`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from mamlkit.course.checking import ask


def uniform(seed: int, low: float, high: float, *shape: int) -> Tensor:
    """Numbers to examine a function with, the same at every check: float64 in ``[low, high)``."""
    generator = torch.Generator().manual_seed(seed)
    return low + (high - low) * torch.rand(shape, generator=generator, dtype=torch.float64)


def differentiates(
    function: Callable[..., object], right: Callable[..., Tensor], case: Sequence[Any], by: int
) -> bool | None:
    """Has what the reader's function returns the slope of ``right``, by its argument number ``by``?

    None if it cannot be differentiated at all.
    """
    inputs = list(case)
    at = inputs[by] = case[by].detach().requires_grad_()
    result = ask(function, {str(n): value for n, value in enumerate(inputs)})
    if not isinstance(result, Tensor) or not result.requires_grad:
        return None
    (given,) = torch.autograd.grad(result.sum(), at, allow_unused=True)
    (wanted,) = torch.autograd.grad(right(*inputs), at)
    return given is not None and torch.allclose(given, wanted, rtol=1e-4, atol=1e-6)
