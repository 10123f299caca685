"""Checkers of notebook 09: the point of rest, what is conserved, the order of a solver, a step."""

from __future__ import annotations

import torch
from torch import Tensor

from mamlkit.exercises import close


def exercise_1(answer: object) -> str | None:
    """Where both species stay constant, (x, y), for beta = 0.625 and delta = 1.125."""
    if not isinstance(answer, tuple | list) or len(answer) != 2:
        return "Give two numbers, (prey, predators)."
    x, y = (float(each) for each in answer)
    right = 0.5 / 1.125, 0.5 / 0.625  # gamma / delta, alpha / beta
    if close(x, right[0]) and close(y, right[1]):
        return None
    if close(x, right[1]) and close(y, right[0]):
        return "The wrong way round: the prey's equation fixes the predators, and vice versa."
    if close(x, 1 / right[0]) and close(y, 1 / right[1]):
        return "Upside down: y = alpha / beta, x = gamma / delta."
    if x == 0 and y == 0:
        return "An empty world is at rest too; find the other point."
    return "Set both rates to zero and divide by x and by y: alpha = beta y, gamma = delta x."


def exercise_2(answer: object) -> str | None:
    """A function: x, y, beta, delta -> the conserved quantity V."""
    if not callable(answer):
        return "Give the function itself: mk.check('09.2', V)."
    generator = torch.Generator().manual_seed(0)
    x, y = 0.5 + torch.rand(2, 7, generator=generator, dtype=torch.float64)
    beta, delta = 0.6, 0.9
    given = answer(x, y, beta, delta)
    if not isinstance(given, Tensor) or given.shape != x.shape:
        return "Return one number for each pair of x and y; use torch.log."
    right = delta * x - 0.5 * x.log() + beta * y - 0.5 * y.log()

    def same(other: Tensor) -> bool:  # up to a constant, and a factor: both are conserved too
        a, b = given.double() - given.double().mean(), other - other.mean()
        return abs(float((a * b).sum() / (a.norm() * b.norm()))) > 1 - 1e-9

    if same(right):
        return None
    if same(beta * x - 0.5 * x.log() + delta * y - 0.5 * y.log()):
        return "beta and delta are swapped: delta goes with the prey x."
    if same(delta * x + 0.5 * x.log() + beta * y + 0.5 * y.log()):
        return "The logarithms come with a minus sign."
    return "Separate dy/dx = y' / x' and integrate: (delta - gamma/x) dx = (alpha/y - beta) dy."


def exercise_3(answer: object) -> str | None:
    """By which factor the mean squared error of RK4 falls when its step is halved."""
    if close(answer, 256, 0.05):
        return None
    mistakes = {
        "The error falls by 2^4 = 16; its square, which the MSE holds, by more.": 16.0,
        "That is a method of order one, or the error of order two; RK4 has order four.": 4.0,
        "RK4 has order four, not one: the error goes with the fourth power of the step.": 2.0,
        "One step has an error of order five, but there are twice as many steps.": 1024.0,
    }
    for hint, wrong in mistakes.items():
        if close(answer, wrong, 0.01):
            return hint
    return "The error goes with the fourth power of the step; the MSE with the square of that."


def exercise_4(answer: object) -> str | None:
    """By which factor the inner step must grow when rates give way to states 0.5 later."""
    if close(answer, 4.0):
        return None
    mistakes = {
        "The error of the state is half that of the rate; the loss, its square, a quarter.": 2.0,
        "The wrong way round: a loss of a quarter has flatter slopes, so the step must grow.": 0.25,
        "The wrong way round, and the loss is a square: the step must grow.": 0.5,
        "Squared once too often: slopes shrink as the loss does, by (1/2)^2.": 16.0,
    }
    for hint, wrong in mistakes.items():
        if close(answer, wrong):
            return hint
    return (
        "A rate that is wrong by e moves the state by about h e in a time h; the loss squares it."
    )
