"""Laws with unknown parameters, as models: what a learner adapts is then the physics itself."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Self

import torch
from torch import Tensor, nn

from mamlkit.checks import interval, name_of
from mamlkit.errors import MamlkitError

#: ``(x [n, d_in], parameters by name) -> y [n, d_out]``; each parameter is a scalar tensor.
Law = Callable[[Tensor, dict[str, Tensor]], Tensor]


def bounded(u: Tensor, low: Any, high: Any) -> Tensor:
    """The value between ``low`` and ``high`` that the unbounded number ``u`` stands for."""
    return (low + high) / 2 + (high - low) / 2 * torch.sin(u)


class Simulator(nn.Module):
    """A simulator whose parameters are to be found, ``[n, d_in] -> [n, d_out]``.

    Each physical parameter is an ``nn.Parameter`` of its own under its own name, so whatever a
    learner can do with weights it can do with them. Inside it is a number u without unit or bound,
    and the simulator sees ``value = middle + half width * sin(u)`` (the map of MINUIT: James and
    Roos 1975, Comput. Phys. Commun. 10, 343). So no step can leave the bounds, and one step size
    means the same for metres as for seconds.
    Taught in notebook 08.

    Args:
        law: ``(x, parameters) -> y``, of tensor operations (torch.exp, not math.exp; for an
            equation of motion :func:`mamlkit.ode.rk4`). One without gradient by a parameter is
            refused at the first use.
        bounds: name -> ``(low, high)`` in physical units, or ``(low, high, unit)``. Make them wide:
            the limits of what makes sense, not of what you expect.
        start: name -> value in physical units, strictly between the bounds; the middle by default.

    Example::

        def fall(t, p):
            return p["height"] - p["g"] * t**2 / 2

        model = mk.Simulator(fall, {"height": (0.0, 10.0, "m"), "g": (0.0, 30.0, "m/s^2")})
        learner = mk.MetaSGD(model, inner_lr=0.1, inner_steps=20)
    """

    _checked = False

    def __init__(
        self,
        law: Law,
        bounds: Mapping[str, tuple[Any, ...]],
        start: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__()
        if not callable(law):
            raise MamlkitError(
                f"law must be a function (x, parameters) -> y, but {type(law).__name__} was given."
            )
        if not isinstance(bounds, Mapping) or not bounds:
            raise MamlkitError(
                "bounds must be a dict such as {'g': (0.0, 30.0, 'm/s^2')}, with a parameter at "
                f"least, but {bounds!r} was given."
            )
        self.law = law
        self.bounds = {name: interval(f"bounds of {name!r}", b[:2]) for name, b in bounds.items()}
        self.units = {name: str(b[2]) if len(b) > 2 else "" for name, b in bounds.items()}
        start = {} if start is None else dict(start)
        if unknown := sorted(set(start) - set(self.bounds)):
            raise MamlkitError(
                f"start names {unknown}, but the simulator has the parameters {list(self.bounds)}."
            )
        for name, (low, high) in self.bounds.items():
            value = float(start.get(name, (low + high) / 2))
            if not low < value < high:  # on a bound the sine is flat: no step would leave it
                raise MamlkitError(
                    f"start of {name!r} is {value}, but it must lie strictly between its bounds "
                    f"{low} and {high}."
                )
            u = torch.tensor(math.asin(2 * (value - low) / (high - low) - 1))
            try:
                self.register_parameter(name, nn.Parameter(u))
            except KeyError as error:
                raise MamlkitError(
                    f"a parameter cannot be called {name!r}, since torch modules use that name or "
                    "it has a dot; choose another."
                ) from error

    def values(self, weights: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
        """The parameters in physical units; of ``weights`` if given, such as those of
        ``predict.weights`` or of an inner path, of any shape, else its own.
        """
        u = dict(self.named_parameters()) if weights is None else weights
        return {name: bounded(u[name], low, high) for name, (low, high) in self.bounds.items()}

    def at(self, start: Mapping[str, float]) -> Self:
        """The same simulator, started elsewhere: name -> value in physical units."""
        units = {name: (*self.bounds[name], self.units[name]) for name in self.bounds}
        here = {name: float(value.detach()) for name, value in self.values().items()}
        like = next(self.parameters())
        return type(self)(self.law, units, {**here, **start}).to(like)

    def forward(self, x: Tensor) -> Tensor:
        """Simulate: ``[n, d_in] -> [n, d_out]``."""
        if not self._checked and torch._C._functorch.peek_interpreter_stack() is None:
            self._check_slopes(x)
        return self.law(x, self.values())

    def _check_slopes(self, x: Tensor) -> None:
        """Refuse a law that takes a parameter out of torch: it would never be fitted. Inside
        ``grad`` and ``vmap`` this cannot be seen, but learners run a model once before.
        """
        with torch.enable_grad():
            values = {k: v.detach().requires_grad_() for k, v in self.values().items()}
            y = self.law(x.detach(), values)
            if not isinstance(y, Tensor) or not y.is_floating_point():
                given = f"tensor of {y.dtype}" if isinstance(y, Tensor) else type(y).__name__
                raise MamlkitError(
                    f"the law ({name_of(self.law)}) gives a {given}; it must give a tensor of real "
                    "numbers [n, d_out]."
                )
            slopes: Any = [None] * len(values)
            if y.requires_grad:
                slopes = torch.autograd.grad(y.sum(), list(values.values()), allow_unused=True)
        lost = [name for name, slope in zip(values, slopes, strict=True) if slope is None]
        if lost:
            raise MamlkitError(
                f"the law ({name_of(self.law)}) has no gradient by {', '.join(lost)}, so nothing "
                "could be fitted there. It must use each parameter as a tensor, in functions of "
                "torch: torch.exp(p['k']), not math.exp, numpy, float(), .item() or .detach(). "
                "Leave out of bounds what the law does not use."
            )
        self._checked = True

    def extra_repr(self) -> str:
        """The law, the bounds and the units."""
        spans = [f"{n}=({a:g}, {b:g}) {self.units[n]}".strip() for n, (a, b) in self.bounds.items()]
        return ", ".join([name_of(self.law), *spans])
