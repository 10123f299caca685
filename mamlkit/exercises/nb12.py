"""Checkers of notebook 12: residuals and the price of a warm start."""

from __future__ import annotations

from mamlkit.exercises import close


def exercise_1(answer: object) -> str | None:
    """Residual of u = x t at x = 2, t = 3, nu = 0.1: u_t + u u_x = x + x t^2."""
    if close(answer, 20.0):
        return None
    if close(answer, 18.0):
        return "You left out u_t, which is x."
    if close(answer, 2.0):
        return "You left out u u_x, which is x t times t."
    if close(answer, 5.0):
        return "The second term is u u_x, not u_x alone."
    return "u_t = x, u_x = t and u_xx = 0; put them into u_t + u u_x - nu u_xx."


def exercise_2(answer: object) -> str | None:
    """Break-even: 40 s of training, 3 s a task from random, 1 s from the learned start."""
    if close(answer, 20.0):
        return None
    if close(answer, 40 / 3):
        return "A task still costs 1 s from the learned start; divide by what is saved."
    if close(answer, 40.0):
        return "Divide by the seconds saved a task, 3 - 1, not by the 1 s that remains."
    return "Cost of training over seconds saved a task."


def exercise_3(answer: object) -> str | None:
    """Relative fall of the published curve from random: 1 - .4445 / .4846, in percent."""
    if close(answer, 8.27, 0.02):
        return None
    if close(answer, 0.0827, 0.02):
        return "In percent, please."
    if close(answer, 4.01, 0.02):
        return "That is the difference; divide it by where the curve began."
    if close(answer, 7.17, 0.02):
        return "That is the fall of the other curve, from the learned start."
    return "(start - end) / start, in percent."
