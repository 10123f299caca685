"""Exercises of notebook 00: one measurement, a whole curve."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mamlkit.course.checking import judge, judge_function
from mamlkit.course.exercises import uniform
from mamlkit.tasks import VapourPressure
from mamlkit.yardsticks.latent import LinearLatent

REDUCED_PRESSURE = 0.075 / 3.0  # 75 kPa of 3.0 MPa, at T/Tc = 0.7


def exercise_1(answer: object) -> str | None:
    """The acentric factor of a liquid that boils under 75 kPa at T/Tc = 0.7, pc = 3.0 MPa."""
    y = math.log10(REDUCED_PRESSURE)
    mistakes = {
        "That is with the natural logarithm; Pitzer's definition has the decimal one.": (
            -1 - math.log(REDUCED_PRESSURE)
        ),
        "The 1 is missing: omega = -1 - log10(p/pc).": -y,
        "The sign is turned round: omega = -1 - log10(p/pc).": 1 + y,
        "Mind the units: 75 kPa over 3.0 MPa is not 75 / 3.": -1 - math.log10(75 / 3.0),
    }
    otherwise = "Put p/pc, both in the same unit, into omega = -1 - log10(p/pc)."
    return judge(answer, -1 - y, mistakes, otherwise)


def exercise_2(answer: object) -> str | None:
    """What the line in 1/T through that measurement and the critical point says at T/Tc = 0.6."""
    y = math.log10(REDUCED_PRESSURE)
    h = y / (1 - 1 / 0.7)
    right = h * (1 - 1 / 0.6)
    mistakes = {
        "That is the slope h; now put T/Tc = 0.6 into h (1 - 1/Tr).": h,
        "That is a straight line in T; Clausius and Clapeyron's is straight in 1/T.": (
            y * (1 - 0.6) / (1 - 0.7)
        ),
        "That is p/pc itself; its decimal logarithm was asked for.": 10**right,
        "The sign: below the critical point p < pc, so the logarithm is negative.": -right,
    }
    otherwise = "Find h from log10(p/pc) = h (1 - 1/Tr) at 0.7, then use it at 0.6."
    return judge(answer, right, mistakes, otherwise)


def exercise_3(answer: object) -> str | None:
    """A function ``curve(m, v, i, y0)``: m + z v through the measurement."""

    def curve(m: Tensor, v: Tensor, i: int, y0: float) -> Tensor:
        return m + (y0 - m[i]) / v[i] * v

    mean, component = uniform(1, -3.0, -1.0, 5), uniform(2, 0.2, 0.8, 5)
    cases = [
        (mean[:3], component[:3], 1, -1.3),
        (mean, component, 4, -0.7),
        (mean[:2], component[:2], 0, -2.4),
    ]
    mistakes = {
        "You left out the division by v[i]: m[i] + z v[i] must be y0.": lambda m, v, i, y0: (
            m + (y0 - m[i]) * v
        ),
        "z must come from the *difference* of y0 and the mean curve m[i].": lambda m, v, i, y0: (
            m + y0 / v[i] * v
        ),
        "You shifted the whole curve alike; the shift must go as v.": lambda m, v, i, y0: (
            m + y0 - m[i]
        ),
        "The sign of z is turned round.": lambda m, v, i, y0: m - (y0 - m[i]) / v[i] * v,
        "Do not forget to add the mean curve m.": lambda m, v, i, y0: (y0 - m[i]) / v[i] * v,
    }
    otherwise = "Solve m[i] + z v[i] = y0 for z, and return m + z v."
    needs = "the whole curve, one number for each of m"
    return judge_function(answer, curve, cases, mistakes, otherwise, needs=needs)


def exercise_4(answer: object) -> str | None:
    """The standard deviation of log10(p) for a relative one of 2 % of p."""
    noise = 0.02
    mistakes = {
        "That is the error of ln(p); log10(p) = ln(p) / ln(10).": noise,
        "Divide by ln(10) instead of multiplying: log10(p) = ln(p) / ln(10).": noise * math.log(10),
        "Two percent is 0.02.": 100 * noise / math.log(10),
    }
    otherwise = "By how much does log10(p) change when p changes by 2 %?"
    return judge(answer, noise / math.log(10), mistakes, otherwise)  # log10(1.02) passes too


def exercise_5(answer: object) -> str | None:
    """v(0.7) / v(0.9) of the best linear latent of the training fluids."""
    latent = LinearLatent.fit(VapourPressure(at=(0.7,)).split("train"))
    v = latent.component(torch.tensor([[0.7], [0.9]], dtype=torch.float64))[:, 0]
    right = float(v[0] / v[1])
    mistakes = {
        "Upside down: the shift goes as 1 / v(x0), and v is smaller near the critical point.": (
            1 / right
        ),
        "Not squared: the shift is -r v(x) / v(x0), and v(x) is the same in both.": right**2,
    }
    return judge(
        answer, right, mistakes, "Compare v(x) / v(0.9) with v(x) / v(0.7): v(x) drops out."
    )
