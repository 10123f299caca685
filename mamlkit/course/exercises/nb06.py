"""Exercises of notebook 06: the family."""

from __future__ import annotations

import math

from mamlkit.course.checking import judge


def exercise_1(answer: object) -> str | None:
    """The context after one step: f = (w + c) x, w = 1.5, x = 2, F = 4, alpha = 0.05."""
    w, x, force, alpha = 1.5, 2.0, 4.0, 0.05
    slope = 2 * x * (w * x - force)  # dL/dc at c = 0
    mistakes = {
        "The sign: the reading is above the curve, so the context must rise.": alpha * slope,
        "That is w + c. The context starts at 0, not at w, and w does not move.": w - alpha * slope,
        "A factor 2 is missing: the square brings one down, and df/dc = x is 2 as well.": (
            -alpha * slope / 2
        ),
        "That is minus the gradient. Multiply it by alpha.": -slope,
        "That is the context which fits the reading exactly; one step goes part of the way.": (
            force / x - w
        ),
    }
    otherwise = (
        "Differentiate ((w + c) x - F)^2 by c, put c = 0, and take c' = 0 - alpha times that."
    )
    return judge(answer, -alpha * slope, mistakes, otherwise)


def exercise_2(answer: object) -> str | None:
    """The penalty at which 1 / (1 + H / lambda) equals (1 - alpha H)^2."""
    hessian, alpha = 3.75, 0.1
    kept = (1 - alpha * hessian) ** 2

    def penalty(kept: float) -> float:
        return hessian * kept / (1 - kept)

    mistakes = {
        "Upside down: a large penalty keeps more of the start, kept = lambda / (H + lambda).": (
            penalty(1 - kept)
        ),
        "That is the part that is kept. Which lambda keeps it: lambda / (H + lambda) = kept?": kept,
        "That matches one inner step. Two steps multiply by (1 - alpha H) twice.": (
            penalty(1 - alpha * hessian)
        ),
        "You took 1 - 2 alpha H for (1 - alpha H)^2 and dropped the square term.": (
            penalty(1 - 2 * alpha * hessian)
        ),
        "1 / (M alpha) holds for weak directions, alpha H << 1. Here alpha H is 0.375.": (
            1 / (2 * alpha)
        ),
    }
    otherwise = "Set lambda / (H + lambda) equal to (1 - alpha H)^2 and solve for lambda."
    return judge(answer, penalty(kept), mistakes, otherwise)


def exercise_3(answer: object) -> str | None:
    """The first gradient's part of Reptile's sum of three, with alpha H = 0.375."""
    r = 0.1 * 3.75
    q = 1 - r
    right = 1 / (1 + q + q**2)
    mistakes = {
        "The gradients shrink along the way: each is (1 - alpha H) times the one before.": 1 / 3,
        "Three steps have three gradients: at the start, after one step and after two.": (
            1 / (1 + q + q**2 + q**3)
        ),
        "That is for two steps.": 1 / (1 + q),
        "That is the part of the miss that three steps remove, theta_3 - theta_0 over -e_0.": (
            1 - q**3
        ),
        "That is the part of the later gradients.": 1 - right,
        "A step leaves the fraction 1 - alpha H of the miss, not alpha H.": 1 / (1 + r + r**2),
        "Right to two digits; three were asked for.": 0.50,
    }
    otherwise = "With q = 1 - alpha H the gradients are as 1 : q : q^2."
    return judge(answer, right, mistakes, otherwise, tolerance=0.002)


def exercise_4(answer: object) -> str | None:
    """Steps of descent that a ridge penalty is worth in weak directions."""
    strength, alpha = 0.02, 0.1
    right = 1 / (alpha * strength)
    mistakes = {
        "M alpha h = h / lambda: alpha goes below the line.": alpha / strength,
        "That is for alpha = 1. Smaller steps need more of them.": 1 / strength,
        "And the penalty? A smaller lambda recovers more, so it is worth more steps.": 1 / alpha,
        "Upside down: M = 1 / (alpha lambda).": alpha * strength,
        "Half the summed squared error has the gradient Phi^T (Phi W - y): no factor 2.": right / 2,
        "That matches at h = lambda, roughly. For h << lambda compare the slopes at 0.": (
            math.log(2) * right
        ),
    }
    otherwise = "For small h compare 1 - (1 - alpha h)^M = M alpha h with h / lambda."
    return judge(answer, right, mistakes, otherwise)
