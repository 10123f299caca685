"""Checkers of notebook 04: the sinusoid benchmark."""

from __future__ import annotations

import math
from typing import Any

from mamlkit.exercises import close


def exercise_1(answer: Any) -> str | None:
    """The smallest distance of two clean readings that do not determine the sinusoid."""
    if close(answer, math.pi, 0.002):
        return None
    if close(answer, 2 * math.pi, 0.002):
        return (
            "Two readings a full period apart do fail, but there is a smaller distance that fails."
        )
    if close(answer, math.pi / 2, 0.002):
        return "A quarter of a period is the best distance of all: the two columns are orthogonal."
    if close(answer, 180):
        return "In radian, please: x and phi are in radian here."
    if close(answer, 0):
        return "At distance 0 they are one reading. Which distance > 0 fails?"
    return "The determinant sin(x1) cos(x2) - cos(x1) sin(x2) = sin(x1 - x2) must vanish."


def exercise_2(answer: Any) -> str | None:
    """The function ``(a, b) -> (A, phi)`` of y = a sin x + b cos x = A sin(x - phi)."""
    if not callable(answer):
        return "Give the function itself, such as mk.check('04.2', amplitude_and_phase)."
    for amplitude, phase in ((2.0, 0.5), (3.0, 2.5), (0.7, 1.5)):
        a, b = amplitude * math.cos(phase), -amplitude * math.sin(phase)
        found_a, found_phase = (float(value) for value in answer(a, b))
        if not close(found_a, amplitude, 1e-6):
            if close(found_a, amplitude**2, 1e-6):
                return "Your amplitude is squared: a^2 + b^2 = A^2, so take the root."
            return f"For A = {amplitude} your amplitude is {found_a:.3g}: A^2 = a^2 + b^2."
        if close(found_phase, phase, 1e-6):
            continue
        if close(found_phase, -phase, 1e-6):
            return "Your phase has the wrong sign: b = -A sin(phi), so phi = atan2(-b, a)."
        if close(found_phase, math.pi / 2 - phase, 1e-6) or close(
            found_phase, math.pi / 2 + phase, 1e-6
        ):
            return "sine and cosine are exchanged: tan(phi) = -b / a, not -a / b."
        if close(found_phase, phase - math.pi, 1e-6):
            return (
                f"Right for small phases, but phi = {phase} comes out as {found_phase:.3g}: atan "
                "cannot tell the quadrant; use atan2 with two arguments."
            )
        return f"For A = {amplitude}, phi = {phase} your phase is {found_phase:.3g}."
    return None


def exercise_3(answer: Any) -> str | None:
    """What predicting zero scores when the amplitude is uniform between 0.5 and 2."""
    low, high = 0.5, 2.0
    mean_square = (high**3 - low**3) / (3 * (high - low))
    if close(answer, mean_square / 2, 0.002):
        return None
    if close(answer, mean_square, 0.002):
        return "That is E[A^2]. The sine squared halves it, on average over the phase."
    if close(answer, ((low + high) / 2) ** 2 / 2, 0.002):
        return "You squared the mean amplitude; the mean of the square is larger, by the variance."
    if close(answer, (high**3 - low**3) / 3 / 2, 0.002):
        return "The density of A is 1 / (2 - 0.5), not 1: divide the integral by the range."
    if close(answer, math.sqrt(mean_square / 2), 0.002):
        return "That is the root of the mean square; the benchmark reports the mean square itself."
    return "Integrate A^2 over [0.5, 2], divide by the width of the range, and halve."


def exercise_4(answer: Any) -> str | None:
    """The inner step size that a program uses which divides the mean loss by K = 10 again."""
    alpha, shots = 0.01, 10
    if close(answer, alpha / shots):
        return None
    if close(answer, alpha * shots):
        return "The wrong way: a smaller loss has a smaller gradient, so the step shrinks."
    if close(answer, alpha):
        return "The reported number shrinks, but so does the gradient that the inner step follows."
    if close(answer, alpha / shots**2):
        return "The mean is right by itself; only the second division is too much: one factor of K."
    return "If L becomes L / K, its gradient becomes grad L / K. What does alpha * grad become?"
