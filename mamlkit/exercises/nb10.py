"""Checkers of notebook 10: energy, drift and the readable latent."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mamlkit.exercises import close


def exercise_1(answer: object) -> str | None:
    """Energy above the bottom of a 2 m pendulum released at 1 rad, 1/s^2."""
    w, swing = 9.81 / 2, 1 - math.cos(1.0)
    if close(answer, w * swing):
        return None
    mistakes = {
        "That is E itself, -(g/l) cos q; above the bottom is E + g/l.": -w * math.cos(1.0),
        "That is the height in units of the length; times g/l.": swing,
        "That is g/l; times 1 - cos q.": w,
        "That is with l in place of 1/l: the energy falls with the length.": 9.81 * 2 * swing,
        "q is in rad, not in degrees.": w * (1 - math.cos(math.radians(1.0))),
        "That is the small-angle energy (g/l) q^2 / 2; here 1 - cos q, please.": w / 2,
    }
    return _hint(answer, mistakes) or "E - E(bottom) = (g/l)(1 - cos q), with g = 9.81 and l = 2."


def exercise_2(answer: object) -> str | None:
    """A function: y [T, 2], g_over_l -> largest energy change over the energy of the swing."""
    if not callable(answer):
        return "Give the function itself: mk.check('10.2', drift)."
    t = torch.linspace(0, 3, 31, dtype=torch.float64)
    size = 1.2 - 0.5 * torch.sin(t)  # loses energy, and gains most of it back
    y, w = torch.stack([size * torch.cos(2 * t), -2 * size * torch.sin(2 * t)], dim=1), 4.0
    q, p = y.unbind(1)
    given = answer(y, w)
    if torch.as_tensor(given).numel() != 1:
        return "Return one number: the largest over the forecast."
    energy = p**2 / 2 - w * torch.cos(q)
    change, swing = energy - energy[0], float(energy[0] + w)
    largest = float(change.abs().max())
    if close(given, largest / swing, 1e-4):
        return None
    mistakes = {
        "Divide by the energy of the swing, E(0) + g/l.": largest,
        "You divided by E(0); its zero is arbitrary. Divide by E(0) + g/l.": largest
        / float(energy[0].abs()),
        "That is the change at the end; take the largest on the way.": float(change[-1].abs())
        / swing,
        "An energy can be lost: take the absolute change.": float(change.max()) / swing,
        "That is the mean change; take the largest.": float(change.abs().mean()) / swing,
    }
    return _hint(given, mistakes, 1e-4) or "max |E(t) - E(0)| / (E(0) + g/l)."


def exercise_3(answer: object) -> str | None:
    """A function: c [n], value [n], c_new [m] -> values [m] by a straight line."""
    if not callable(answer):
        return "Give the function itself: mk.check('10.3', read)."
    c = torch.tensor([0.9, -0.2, -0.5, 0.1], dtype=torch.float64)
    value = torch.tensor([9.7, 2.2, 1.0, 4.6], dtype=torch.float64)
    new = torch.tensor([0.0, 0.5, 2.0], dtype=torch.float64)
    given = answer(c, value, new)
    if not isinstance(given, Tensor) or given.shape != new.shape:
        return "Return a tensor [m], one value for each new latent."
    slope = ((c - c.mean()) * (value - value.mean())).sum() / ((c - c.mean()) ** 2).sum()
    if torch.allclose(given, value.mean() + slope * (new - c.mean()), rtol=1e-6):
        return None
    if torch.allclose(given, (c * value).sum() / (c * c).sum() * new, rtol=1e-6):
        return "The line does not pass through the origin: a context of zero means nothing special."
    back = ((c - c.mean()) ** 2).sum() / ((value - value.mean()) ** 2).sum()
    if torch.allclose(given, value.mean() + (new - c.mean()) / (slope * back), rtol=1e-6):
        return "You regressed the latent on the value and turned it round; regress the value."
    return "value = a + b c by least squares on the labelled pairs, then at c_new."


def _hint(given: object, mistakes: dict[str, float], rtol: float = 0.01) -> str | None:
    return next((hint for hint, wrong in mistakes.items() if close(given, wrong, rtol)), None)
