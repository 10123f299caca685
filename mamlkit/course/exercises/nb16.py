"""Exercises of notebook 16: relaxation, a table of work, the price of a call, steps in a row."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from mamlkit.course.checking import judge_function
from mamlkit.course.exercises import uniform


def exercise_1(answer: object) -> str | None:
    """A function: rho of Jacobi's iteration -> the best relaxation factor."""

    def omega(rho: float) -> float:
        return 2 / (1 + (1 - rho**2) ** 0.5)

    mistakes: dict[str, Callable[[float], float]] = {
        "rho is squared under the root.": lambda rho: 2 / (1 + (1 - rho) ** 0.5),
        "That is the error that is left, omega - 1; the factor is asked for.": lambda rho: (
            omega(rho) - 1
        ),
        "Take the root of 1 - rho^2.": lambda rho: 2 / (1 + (1 - rho**2)),
        "The numerator is 2: without coupling, rho = 0, the factor is 1.": lambda rho: (
            omega(rho) / 2
        ),
        "The root is added: a slow Jacobi needs a factor near 2, not beyond.": lambda rho: (
            2 / (1 - (1 - rho**2) ** 0.5)
        ),
    }
    otherwise = "Solve formula (2) for omega: 2 / (1 + sqrt(1 - rho^2))."
    return judge_function(answer, omega, [(0.5,), (0.9,), (0.99,)], mistakes, otherwise)


def exercise_2(answer: object) -> str | None:
    """A function: work [n, methods] and a cap -> over the virtual best, [methods]."""

    def over_best(work: Tensor, cap: float) -> Tensor:
        return by(work, cap)

    def by(work: Tensor, cap: float, factor: float = 10.0) -> Tensor:
        filled = torch.where(work > cap, factor * cap, work)
        return (filled / filled.min(1, keepdim=True).values).log().mean(0).exp()

    def arithmetic(work: Tensor, cap: float) -> Tensor:
        filled = torch.where(work > cap, 10 * cap, work)
        return (filled / filled.min(1, keepdim=True).values).mean(0)

    def single(work: Tensor, cap: float) -> Tensor:
        means = torch.where(work > cap, 10 * cap, work).log().mean(0)
        return (means - means.min()).exp()

    mistakes: dict[str, Callable[[Tensor, float], Tensor]] = {
        "Average the logarithms: twice as much here and half as much there is even.": arithmetic,
        "A failure counts ten times the cap, not as it stands.": lambda w, cap: by(w, 1e9),
        "A failure counts ten times the cap, not once.": lambda w, cap: by(w, cap, 1.0),
        "Divide by the best method of each instance, not by the one best method.": single,
        "Divide by the best method of each instance.": lambda w, cap: (
            torch.where(w > cap, 10 * cap, w).log().mean(0).exp()
        ),
        "That is the mean logarithm; give the number of times.": lambda w, cap: by(w, cap).log(),
    }
    work = uniform(1, 1.0, 3.0, 6, 4).exp() * 10
    capped = work.clone()
    capped[0, 1], capped[3, 2] = 500.0, 900.0
    otherwise = (
        "Fill in 10 cap where the work is above the cap, divide each row by its least entry, and "
        "take exp of the mean logarithm of each column."
    )
    needs = "one number a method"
    cases = [(work, 1e4), (capped, 400.0)]
    return judge_function(answer, over_best, cases, mistakes, otherwise, needs=needs)


def exercise_3(answer: object) -> str | None:
    """A function: calls and seconds of two ways -> the price of a call where they are even."""

    def price(n: float, s: float, n_rival: float, s_rival: float) -> float:
        return (s - s_rival) / (n_rival - n)

    mistakes: dict[str, Callable[[float, float, float, float], float]] = {
        "The sign: you have fewer calls and more seconds, and the price is positive.": (
            lambda n, s, m, r: (r - s) / (m - n)
        ),
        "Both need calls: divide by how many are saved.": lambda n, s, m, r: (s - r) / m,
        "Both spend seconds besides: only the difference is paid for.": lambda n, s, m, r: (
            s / (m - n)
        ),
        "Upside down: seconds over calls.": lambda n, s, m, r: (m - n) / (s - r),
    }
    cases = [(100.0, 0.02, 120.0, 0.005), (240.0, 0.03, 300.0, 0.012)]
    otherwise = "Set n c + s = n_rival c + s_rival, and solve for the price c."
    return judge_function(answer, price, cases, mistakes, otherwise)


def exercise_4(answer: object) -> str | None:
    """A function: steps [M] and eigenvalues [n] -> what is left of each error, [n]."""

    def left(alphas: Tensor, lam: Tensor) -> Tensor:
        return (1 - alphas[:, None] * lam).prod(0)

    mistakes: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
        "The factors of the steps multiply; their exponents would add, not the steps.": (
            lambda a, lam: 1 - a.sum() * lam
        ),
        "That is one step of the mean size, taken M times: the steps differ.": lambda a, lam: (
            (1 - a.mean() * lam) ** len(a)
        ),
        "The sign of an error may turn; give the factor, not its size.": lambda a, lam: left(
            a, lam
        ).abs(),
        "That is its square; the error is asked for.": lambda a, lam: left(a, lam) ** 2,
        "That is each step alone, added; they act one after another.": lambda a, lam: (
            1 - a[:, None] * lam
        ).sum(0),
        "A step multiplies the error by 1 - alpha lambda, not by alpha lambda.": lambda a, lam: (
            a[:, None] * lam
        ).prod(0),
    }
    cases = [
        (uniform(1, 0.6, 0.9, 3), uniform(2, 2.0, 4.0, 4)),
        (uniform(3, 0.1, 0.5, 2), uniform(4, 1.0, 3.0, 3)),
    ]
    otherwise = "Multiply 1 - alpha_k lambda over all steps k, for each lambda."
    needs = "one number an eigenvalue"
    return judge_function(answer, left, cases, mistakes, otherwise, needs=needs)
