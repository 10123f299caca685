"""Exercises of notebook 09: the point of rest, what is conserved, the order of a solver, a step."""

from __future__ import annotations

import torch
from torch import Tensor

from mamlkit.course.checking import judge, judge_function
from mamlkit.course.exercises import uniform


def exercise_1(answer: object) -> str | None:
    """Where both species stay constant, (x, y), for beta = 0.625 and delta = 1.125."""
    right = 0.5 / 1.125, 0.5 / 0.625  # gamma / delta, alpha / beta
    mistakes = {
        "The wrong way round: the prey's equation fixes the predators, and vice versa.": (
            right[::-1]
        ),
        "Upside down: y = alpha / beta, x = gamma / delta.": (1 / right[0], 1 / right[1]),
        "An empty world is at rest too; find the other point.": (0.0, 0.0),
    }
    otherwise = "Set both rates to zero and divide by x and by y: alpha = beta y, gamma = delta x."
    return judge(answer, right, mistakes, otherwise, needs="two numbers, (prey, predators)")


def exercise_2(answer: object) -> str | None:
    """A function: x, y, beta, delta -> the conserved quantity V."""

    def V(x: Tensor, y: Tensor, beta: float, delta: float) -> Tensor:
        return delta * x - 0.5 * torch.log(x) + beta * y - 0.5 * torch.log(y)

    cases = [
        (*uniform(1, 0.5, 1.5, 2, 7), 0.6, 0.9),
        (*uniform(2, 0.2, 2.5, 2, 3), 1.1, 0.7),
        (*uniform(3, 0.2, 2.5, 2, 2, 3), 1.3, 1.6),
    ]
    mistakes = {
        "beta and delta are swapped: delta goes with the prey x.": lambda x, y, beta, delta: V(
            x, y, delta, beta
        ),
        "The logarithms come with a minus sign.": lambda x, y, beta, delta: -V(x, y, -beta, -delta),
        "That is conserved too, but formula (1) has the other sign.": lambda x, y, beta, delta: (
            -V(x, y, beta, delta)
        ),
        "alpha and gamma are 0.5, not 1.": lambda x, y, beta, delta: (
            delta * x - torch.log(x) + beta * y - torch.log(y)
        ),
    }
    otherwise = (
        "Separate dy/dx = y' / x' and integrate: (delta - gamma/x) dx = (alpha/y - beta) dy."
    )
    needs = "one number for each pair of x and y"
    return judge_function(answer, V, cases, mistakes, otherwise, needs=needs)


def exercise_3(answer: object) -> str | None:
    """By which factor the mean squared error of RK4 falls when its step is halved."""
    mistakes = {
        "The error falls by 2^4 = 16; its square, which the MSE holds, by more.": 16.0,
        "That is a method of order one, or the error of order two; RK4 has order four.": 4.0,
        "RK4 has order four, not one: the error goes with the fourth power of the step.": 2.0,
        "One step has an error of order five, but there are twice as many steps.": 1024.0,
    }
    otherwise = "The error goes with the fourth power of the step; the MSE with the square of that."
    return judge(answer, 256, mistakes, otherwise, tolerance=0.05)  # the table nears it


def exercise_4(answer: object) -> str | None:
    """By which factor the inner step must grow when rates give way to states 0.5 later."""
    mistakes = {
        "The error of the state is half that of the rate; the loss, its square, a quarter.": 2.0,
        "The wrong way round: a loss of a quarter has flatter slopes, so the step must grow.": 0.25,
        "The wrong way round, and the loss is a square: the step must grow.": 0.5,
        "Squared once too often: slopes shrink as the loss does, by (1/2)^2.": 16.0,
    }
    otherwise = (
        "A rate that is wrong by e moves the state by about h e in a time h; the loss squares it."
    )
    return judge(answer, 4.0, mistakes, otherwise)
