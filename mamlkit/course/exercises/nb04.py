"""Exercises of notebook 04: the sinusoid benchmark."""

from __future__ import annotations

import math

from mamlkit.course.checking import (
    as_function,
    judge,
    judge_function,
    outputs,
)


def exercise_1(answer: object) -> str | None:
    """The smallest distance of two clean readings that do not determine the sinusoid."""
    mistakes = {
        "Two readings a full period apart do fail, but there is a smaller distance that fails.": (
            2 * math.pi
        ),
        "A quarter of a period is the best distance of all: the two columns are orthogonal.": (
            math.pi / 2
        ),
        "In radian, please: x and phi are in radian here.": 180.0,
        "At distance 0 they are one reading. Which distance > 0 fails?": 0.0,
    }
    otherwise = "The determinant sin(x1) cos(x2) - cos(x1) sin(x2) = sin(x1 - x2) must vanish."
    return judge(answer, math.pi, mistakes, otherwise)


def exercise_2(answer: object) -> str | None:
    """The function ``(a, b) -> (A, phi)`` of y = a sin x + b cos x = A sin(x - phi)."""

    def amplitude_and_phase(a: float, b: float) -> tuple[float, float]:
        return math.hypot(a, b), math.atan2(-b, a)

    cases = [
        (amplitude * math.cos(phase), -amplitude * math.sin(phase))
        for amplitude, phase in ((2.0, 0.5), (3.0, 2.5), (0.7, 1.5), (1.3, 2.0))
    ]
    outputs(answer, amplitude_and_phase, cases, "two numbers, (A, phi)")
    found = as_function(answer, "amplitude_and_phase")
    amplitude = judge_function(
        lambda a, b: found(a, b)[0],
        lambda a, b: math.hypot(a, b),
        cases,
        {"Your amplitude is squared: a^2 + b^2 = A^2, so take the root.": lambda a, b: a**2 + b**2},
        "That should be the amplitude: A^2 = a^2 + b^2.",
    )
    phases = {
        "Your phase has the wrong sign: b = -A sin(phi), so phi = atan2(-b, a).": lambda a, b: (
            math.atan2(b, a)
        ),
        "sine and cosine are exchanged: tan(phi) = -b / a, not -a / b.": lambda a, b: math.atan2(
            a, -b
        ),
        "Right for small phases only: atan cannot tell the quadrant; use atan2 with two "
        "arguments.": lambda a, b: math.atan(-b / a),
    }
    return amplitude or judge_function(
        lambda a, b: found(a, b)[1],
        lambda a, b: math.atan2(-b, a),
        cases,
        phases,
        "That should be the phase: tan(phi) = -b / a, with phi in [0, pi].",
    )


def exercise_3(answer: object) -> str | None:
    """What predicting zero scores when the amplitude is uniform between 0.5 and 2."""
    low, high = 0.5, 2.0
    mean_square = (high**3 - low**3) / (3 * (high - low))
    mistakes = {
        "That is E[A^2]. The sine squared halves it, on average over the phase.": mean_square,
        "You squared the mean amplitude; the mean of the square is larger, by the variance.": (
            ((low + high) / 2) ** 2 / 2
        ),
        "The density of A is 1 / (2 - 0.5), not 1: divide the integral by the range.": (
            (high**3 - low**3) / 3 / 2
        ),
        "That is the root of the mean square; the benchmark reports the mean square itself.": (
            math.sqrt(mean_square / 2)
        ),
        "Right to two digits; three were asked for.": 0.88,
    }
    otherwise = "Integrate A^2 over [0.5, 2], divide by the width of the range, and halve."
    return judge(answer, mean_square / 2, mistakes, otherwise, tolerance=0.002)


def exercise_4(answer: object) -> str | None:
    """The inner step size that a program uses which divides the mean loss by K = 10 again."""
    alpha, shots = 0.01, 10
    mistakes = {
        "The wrong way: a smaller loss has a smaller gradient, so the step shrinks.": alpha * shots,
        "The reported number shrinks, but so does the gradient that the inner step follows.": alpha,
        "The mean is right by itself; only the second division is too much: one factor of K.": (
            alpha / shots**2
        ),
    }
    otherwise = (
        "If L becomes L / K, its gradient becomes grad L / K. What does alpha * grad become?"
    )
    return judge(answer, alpha / shots, mistakes, otherwise)
