"""Inner rules: what becomes of a gradient before the step size multiplies it.

A rule is a pair of pure functions, ``init(theta) -> state`` and ``update(gradient, state, theta) ->
(direction, state)``; the inner loop then takes theta - alpha * direction. All are differentiable,
so the meta-gradient goes through them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from mamlkit.checks import Remade, number, remade
from mamlkit.errors import MamlkitError
from mamlkit.learners.base import Weights


@dataclass(frozen=True)
class Rule(Remade):
    """``init(theta) -> state`` and ``update(gradient, state, theta) -> (direction, state)``."""

    name: str
    init: Callable[[Weights], Any] = field(compare=False)  # the name says all
    update: Callable[[Weights, Any, Weights], tuple[Weights, Any]] = field(compare=False)

    def __repr__(self) -> str:
        return self.name


@remade
def _plain() -> Rule:
    return Rule("plain", lambda theta: (), lambda gradient, state, theta: (gradient, state))


#: The gradient itself.
plain = _plain()


@remade
def momentum(decay: float = 0.9) -> Rule:
    """Heavy ball (Polyak 1964): v = decay * v + gradient is the direction."""
    decay = _fraction("decay", decay)

    def update(gradient: Weights, velocity: Weights, theta: Weights) -> tuple[Weights, Weights]:
        velocity = {name: decay * velocity[name] + g for name, g in gradient.items()}
        return velocity, velocity

    return Rule(f"momentum({decay:g})", _zeros, update)


@remade
def adam(beta1: float = 0.9, beta2: float = 0.999, eps: float = 1e-8) -> Rule:
    """Adam (Kingma and Ba 2015, arXiv:1412.6980, algorithm 1), its state new for each task.

    ``eps`` also stands, squared, under the root, so that an entry whose gradient is zero has a
    derivative. The first step is nearly the sign of the gradient: its length says nothing.
    """
    beta1, beta2 = _fraction("beta1", beta1), _fraction("beta2", beta2)
    eps = number("eps", eps, positive=True)

    def update(gradient: Weights, state: Any, theta: Weights) -> tuple[Weights, Any]:
        m, v, k = state
        k = k + 1
        m = {name: beta1 * m[name] + (1 - beta1) * g for name, g in gradient.items()}
        v = {name: beta2 * v[name] + (1 - beta2) * g**2 for name, g in gradient.items()}
        direction = {
            name: m[name] / (1 - beta1**k) / ((v[name] / (1 - beta2**k) + eps**2).sqrt() + eps)
            for name in gradient
        }
        return direction, (m, v, k)

    name = f"adam({beta1:g}, {beta2:g}, {eps:g})"
    return Rule(name, lambda theta: (_zeros(theta), _zeros(theta), 0), update)


@remade
def clip(norm: float = 1.0) -> Rule:
    """Shorten a gradient that is longer than ``norm``, over all adapted weights of the task."""
    norm = number("norm", norm, positive=True)

    def update(gradient: Weights, state: Any, theta: Weights) -> tuple[Weights, Any]:
        square = torch.stack([(g**2).sum() for g in gradient.values()]).sum()
        tiny = torch.finfo(square.dtype).tiny  # where the gradient is zero the root has a slope too
        scale = norm / (square + tiny).sqrt().clamp(min=norm)
        return {name: scale * g for name, g in gradient.items()}, state

    return Rule(f"clip({norm:g})", lambda theta: (), update)


def pull(strength: Weights) -> Rule:
    """Add ``strength * (theta - theta_0)``: the gradient of the penalty
    ``strength / 2 * |theta - theta_0|^2``, one strength per name, towards the start of the loop.
    """

    def update(gradient: Weights, start: Weights, theta: Weights) -> tuple[Weights, Weights]:
        pulled = {n: g + strength[n] * (theta[n] - start[n]) for n, g in gradient.items()}
        return pulled, start

    return Rule("pull", lambda theta: theta, update)


@remade
def chain(*rules: Rule) -> Rule:
    """One rule after the other: ``chain(clip(1.0), momentum(0.9))`` clips first."""
    for rule in rules:
        check_rule(rule)

    def update(gradient: Weights, states: Any, theta: Weights) -> tuple[Weights, Any]:
        after = []
        for rule, state in zip(rules, states, strict=True):
            gradient, state = rule.update(gradient, state, theta)
            after.append(state)
        return gradient, tuple(after)

    name = f"chain({', '.join(rule.name for rule in rules)})"
    return Rule(name, lambda theta: tuple(rule.init(theta) for rule in rules), update)


def check_rule(rule: Any) -> None:
    """Refuse what is no rule."""
    if not isinstance(rule, Rule):
        raise MamlkitError(
            f"rule must be a Rule, such as mk.learners.momentum(0.9), but {rule!r} was given."
        )


def _fraction(name: str, value: float) -> float:
    if not 0 <= number(name, value) < 1:
        raise MamlkitError(f"{name} must lie in [0, 1), but {value!r} was given.")
    return float(value)


def _zeros(theta: Weights) -> Weights:
    return {name: torch.zeros_like(w) for name, w in theta.items()}
