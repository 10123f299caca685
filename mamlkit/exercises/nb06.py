"""Checkers of notebook 06: the family."""

from __future__ import annotations

import math
from typing import Any

from mamlkit.exercises import close


def exercise_1(answer: Any) -> str | None:
    """The context after one step: f = (w + c) x, w = 1.5, x = 2, F = 4, alpha = 0.05."""
    w, x, force, alpha = 1.5, 2.0, 4.0, 0.05
    slope = 2 * x * (w * x - force)  # dL/dc at c = 0
    if close(answer, -alpha * slope):
        return None
    if close(answer, alpha * slope):
        return "The sign: the reading is above the curve, so the context must rise."
    if close(answer, w - alpha * slope):
        return "That is w + c. The context starts at 0, not at w, and w does not move."
    if close(answer, -alpha * slope / 2):
        return "A factor 2 is missing: the square brings one down, and df/dc = x is 2 as well."
    if close(answer, -slope):
        return "That is minus the gradient. Multiply it by alpha."
    if close(answer, force / x - w):
        return "That is the context which fits the reading exactly; one step goes part of the way."
    return "Differentiate ((w + c) x - F)^2 by c, put c = 0, and take c' = 0 - alpha times that."


def exercise_2(answer: Any) -> str | None:
    """The penalty at which 1 / (1 + H / lambda) equals (1 - alpha H)^2."""
    hessian, alpha = 3.75, 0.1
    kept = (1 - alpha * hessian) ** 2
    if close(answer, hessian * kept / (1 - kept)):
        return None
    if close(answer, hessian * (1 - kept) / kept):
        return "Upside down: a large penalty keeps more of the start, kept = lambda / (H + lambda)."
    if close(answer, kept):
        return "That is the part that is kept. Which lambda keeps it: lambda / (H + lambda) = kept?"
    one = 1 - alpha * hessian
    if close(answer, hessian * one / (1 - one)):
        return "That matches one inner step. Two steps multiply by (1 - alpha H) twice."
    linear = 1 - 2 * alpha * hessian
    if close(answer, hessian * linear / (1 - linear)):
        return "You took 1 - 2 alpha H for (1 - alpha H)^2 and dropped the square term."
    if close(answer, 1 / (2 * alpha)):
        return "1 / (K alpha) holds for weak directions, alpha H << 1. Here alpha H is 0.375."
    return "Set lambda / (H + lambda) equal to (1 - alpha H)^2 and solve for lambda."


def exercise_3(answer: Any) -> str | None:
    """The first gradient's part of Reptile's sum of three, with alpha H = 0.375."""
    q = 1 - 0.1 * 3.75
    if close(answer, 1 / (1 + q + q**2), 0.005):
        return None
    if close(answer, 1 / 3, 0.005):
        return "The gradients shrink along the way: each is (1 - alpha H) times the one before."
    if close(answer, 1 / (1 + q + q**2 + q**3), 0.005):
        return "Three steps have three gradients: at the start, after one step and after two."
    if close(answer, 1 / (1 + q), 0.005):
        return "That is for two steps."
    if close(answer, 1 - q**3, 0.005):
        return "That is the part of the miss that three steps remove, theta_3 - theta_0 over -e_0."
    if close(answer, 1 - 1 / (1 + q + q**2), 0.005):
        return "That is the part of the later gradients."
    r = 0.1 * 3.75
    if close(answer, 1 / (1 + r + r**2), 0.005):
        return "A step leaves the fraction 1 - alpha H of the miss, not alpha H."
    return "With q = 1 - alpha H the gradients are as 1 : q : q^2."


def exercise_4(answer: Any) -> str | None:
    """Steps of descent that a ridge penalty is worth in weak directions."""
    strength, alpha = 0.02, 0.1
    if close(answer, 1 / (alpha * strength)):
        return None
    if close(answer, alpha / strength):
        return "K alpha sigma = sigma / lambda: alpha goes below the line."
    if close(answer, 1 / strength):
        return "That is for alpha = 1. Smaller steps need more of them."
    if close(answer, 1 / alpha):
        return "And the penalty? A smaller lambda recovers more, so it is worth more steps."
    if close(answer, alpha * strength):
        return "Upside down: K = 1 / (alpha lambda)."
    if close(answer, 1 / (2 * alpha * strength)):
        return "Half the summed squared error has the gradient Phi^T (Phi W - y): no factor 2."
    if close(answer, -math.log(0.5) / (alpha * strength)):
        return (
            "That matches at sigma = lambda, roughly. For sigma << lambda compare the slopes at 0."
        )
    return "For small sigma compare 1 - (1 - alpha sigma)^K = K alpha sigma with sigma / lambda."
