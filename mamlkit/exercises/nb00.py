"""Exercises of notebook 00: one measurement, a whole curve."""

from __future__ import annotations

import math
from typing import Any

import torch

from mamlkit.exercises import close
from mamlkit.tasks import VapourPressure
from mamlkit.yardsticks import LinearLatent

REDUCED_PRESSURE = 0.075 / 3.0  # 75 kPa of 3.0 MPa, at T/Tc = 0.7
NOISE = 0.02  # relative error of the gauge of exercise 4


def exercise_1(answer: object) -> str | None:
    """The acentric factor of a liquid that boils under 75 kPa at T/Tc = 0.7, pc = 3.0 MPa."""
    y = math.log10(REDUCED_PRESSURE)
    if close(answer, -1 - y):
        return None
    if close(answer, -1 - math.log(REDUCED_PRESSURE)):
        return "That is with the natural logarithm; Pitzer's definition has the decimal one."
    if close(answer, -y):
        return "The 1 is missing: omega = -1 - log10(p/pc)."
    if close(answer, 1 + y):
        return "The sign is turned round: omega = -1 - log10(p/pc)."
    if close(answer, -1 - math.log10(75 / 3.0)):
        return "Mind the units: 75 kPa over 3.0 MPa is not 75 / 3."
    return "Put p/pc, both in the same unit, into omega = -1 - log10(p/pc)."


def exercise_2(answer: object) -> str | None:
    """What the line in 1/T through that measurement and the critical point says at T/Tc = 0.6."""
    y = math.log10(REDUCED_PRESSURE)
    h = y / (1 - 1 / 0.7)
    if close(answer, h * (1 - 1 / 0.6)):
        return None
    if close(answer, h):
        return "That is the slope h; now put T/Tc = 0.6 into h (1 - 1/Tr)."
    if close(answer, y * (1 - 0.6) / (1 - 0.7)):
        return "That is a straight line in T; Clausius and Clapeyron's is straight in 1/T."
    if close(answer, 10 ** (h * (1 - 1 / 0.6))):
        return "That is p/pc itself; its decimal logarithm was asked for."
    if close(answer, -h * (1 - 1 / 0.6)):
        return "The sign: below the critical point p < pc, so the logarithm is negative."
    return "Find h from log10(p/pc) = h (1 - 1/Tr) at 0.7, then use it at 0.6."


def exercise_3(answer: Any) -> str | None:
    """A function ``curve(m, v, i, y0)``: m + z v through the measurement."""
    if not callable(answer):
        return "Give the function itself, such as mk.check('00.3', curve), without calling it."
    m, v = torch.tensor([-2.0, -1.0, -0.5]), torch.tensor([0.8, 0.5, 0.2])
    i, y0 = 1, -1.3
    result = torch.as_tensor(answer(m, v, i, y0))
    if result.shape != m.shape:
        return f"Return the whole curve, shape {list(m.shape)}; got shape {list(result.shape)}."
    residual = y0 - m[i]
    for hint, curve in {
        "": m + residual / v[i] * v,
        "You left out the division by v[i]: m[i] + z v[i] must be y0.": m + residual * v,
        "z must come from the *difference* of y0 and the mean curve m[i].": m + y0 / v[i] * v,
        "You shifted the whole curve by the same amount; the shift must go as v.": m + residual,
        "The sign of z is turned round.": m - residual / v[i] * v,
        "Do not forget to add the mean curve m.": residual / v[i] * v,
    }.items():
        if torch.allclose(result.to(m), curve, atol=1e-5):
            return hint or None
    return "Solve m[i] + z v[i] = y0 for z, and return m + z v."


def exercise_4(answer: object) -> str | None:
    """The standard deviation of log10(p) for a relative one of 2 % of p."""
    if close(answer, NOISE / math.log(10)) or close(answer, math.log10(1 + NOISE)):
        return None
    if close(answer, NOISE):
        return "That is the error of ln(p); log10(p) = ln(p) / ln(10)."
    if close(answer, NOISE * math.log(10)):
        return "Divide by ln(10) instead of multiplying: log10(p) = ln(p) / ln(10)."
    if close(answer, 100 * NOISE / math.log(10)):
        return "Two percent is 0.02."
    return "By how much does log10(p) change when p changes by 2 %?"


def exercise_5(answer: object) -> str | None:
    """v(0.7) / v(0.9) of the best linear latent of the training fluids."""
    latent = LinearLatent.fit(VapourPressure(at=(0.7,)).split("train"))
    v = {t: float(latent.component[abs(latent.x - t).argmin(), 0]) for t in (0.7, 0.9)}
    if close(answer, v[0.7] / v[0.9]):
        return None
    if close(answer, v[0.9] / v[0.7]):
        return "Upside down: the shift goes as 1 / v(x0), and v is smaller near the critical point."
    if close(answer, (v[0.7] / v[0.9]) ** 2):
        return "Not squared: the shift is -r v(x) / v(x0), and v(x) is the same in both."
    return "Compare v(x) / v(0.9) with v(x) / v(0.7): v(x) drops out."
