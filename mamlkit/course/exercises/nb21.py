"""Exercises of notebook 21: break-even, the flat part of a step, processes, what to do first."""

from __future__ import annotations

import math
from collections.abc import Callable

from mamlkit.course.checking import judge, judge_function


def exercise_1(answer: object) -> str | None:
    """A function: seconds of meta-training, of a task from scratch, of adapting -> tasks."""

    def tasks(t_meta: float, t_scratch: float, t_adapt: float) -> float:
        return float(math.ceil(t_meta / (t_scratch - t_adapt)))

    mistakes: dict[str, Callable[[float, float, float], float]] = {
        "A task still costs t_adapt: only the difference is saved.": lambda m, s, a: float(
            math.ceil(m / s)
        ),
        "After that many tasks it has not paid yet: round up, tasks are whole.": lambda m, s, a: (
            float(m // (s - a))
        ),
        "Tasks are whole: round up.": lambda m, s, a: m / (s - a),
    }
    cases = [(26.4, 2.77, 0.3), (100.0, 1.0, 0.3), (10.0, 0.5, 0.05), (7.0, 3.0, 1.9)]
    otherwise = "Divide what was paid once by what each task saves, and round up."
    return judge_function(answer, tasks, cases, mistakes, otherwise)


def exercise_2(answer: object) -> str | None:
    """A function: overhead a, milliseconds a task b, a share -> tasks."""

    def tasks(a: float, b: float, share: float) -> float:
        return float(math.floor(share * a / ((1 - share) * b)))

    mistakes: dict[str, Callable[[float, float, float], float]] = {
        "The share is of the whole step, a + b B, not of a alone.": lambda a, b, share: float(
            math.floor(share * a / b)
        ),
        "That is where a, not b B, takes this share.": lambda a, b, share: float(
            math.floor((1 - share) * a / (share * b))
        ),
        "Tasks are whole, and the share must not be passed: round down.": lambda a, b, share: (
            share * a / ((1 - share) * b)
        ),
        "Rounded up, the share is passed: round down.": lambda a, b, share: float(
            math.ceil(share * a / ((1 - share) * b))
        ),
    }
    cases = [(5.0, 0.11, 0.5), (22.8, 0.447, 0.1), (3.0, 0.07, 0.8)]
    otherwise = "Solve b B = share (a + b B) for B, and round down."
    return judge_function(answer, tasks, cases, mistakes, otherwise)


def exercise_3(answer: object) -> str | None:
    """A function: milliseconds of arithmetic, of latency -> the best number of processes."""

    def processes(compute: float, latency: float) -> float:
        return math.sqrt(compute / (2 * latency))

    mistakes: dict[str, Callable[[float, float], float]] = {
        "A ring passes 2 (P - 1) messages, not P - 1.": lambda c, latency: math.sqrt(c / latency),
        "The derivative of compute / P is -compute / P^2: a root is left to take.": (
            lambda c, latency: c / (2 * latency)
        ),
        "The 2 stands below the fraction: -compute / P^2 + 2 latency = 0.": lambda c, latency: (
            math.sqrt(2 * c / latency)
        ),
        "More latency means fewer processes.": lambda c, latency: math.sqrt(2 * latency / c),
    }
    cases = [(180.0, 0.05), (180.0, 1.0), (90.0, 0.2)]
    otherwise = "Set the derivative of (2) by P to zero: -compute / P^2 + 2 latency = 0."
    return judge_function(answer, processes, cases, mistakes, otherwise)


def exercise_4(answer: object) -> str | None:
    """One number: seconds of the run by the best combination."""
    mistakes = {
        "That is without any change.": 270.0,
        "That is capturing alone. Two cores are there.": 255.0,
        "That is compiling alone. Two cores are there.": 25 + 3000 * 0.75 * 0.085,
        "That is two processes alone; the 5 ms of Python can go as well.": 3000 * (0.005 + 0.0425),
        "Two processes do not halve the 5 ms: each runs all operations.": 135.0,
        "That is capturing with two processes. Does compiling earn its 25 s?": 3000 * 0.0425,
        "The compiler's 25 s are missing.": 3000 * 0.75 * 0.0425,
        "A process compiles for itself, at the same time: 25 s once.": 50 + 3000 * 0.75 * 0.0425,
    }
    otherwise = "Compile, in two processes: 25 s, and then 3000 times three quarters of 85 ms / 2."
    return judge(answer, 25 + 3000 * 0.75 * 0.0425, mistakes, otherwise)
