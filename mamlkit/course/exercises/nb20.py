"""Exercises of notebook 20: one step of three powers, a grid of whole numbers, who is dominated."""

from __future__ import annotations

import torch
from torch import Tensor

from mamlkit.course.checking import judge_function
from mamlkit.course.exercises import uniform


def _powers(u: Tensor, like: Tensor) -> Tensor:
    """u, u^2, .., as many as ``like`` has entries."""
    return torch.stack([u ** (j + 1) for j in range(len(like))])


def exercise_1(answer: object) -> str | None:
    """A function: w [p], alpha [p], x, y -> the weights after one step on one reading, [p]."""

    def adapted(w: Tensor, alpha: Tensor, x: Tensor, y: Tensor) -> Tensor:
        phi = _powers(1 - 1 / x, w)
        return w - 2 * alpha * ((w * phi).sum() - y) * phi

    def moved(w: Tensor, alpha: Tensor, x: Tensor, y: Tensor, factor: float) -> Tensor:
        return w + factor * (adapted(w, alpha, x, y) - w)

    def raw(w: Tensor, alpha: Tensor, x: Tensor, y: Tensor) -> Tensor:
        phi = _powers(x, w)
        return w - 2 * alpha * ((w * phi).sum() - y) * phi

    def no_slope(w: Tensor, alpha: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return w - 2 * alpha * ((w * _powers(1 - 1 / x, w)).sum() - y)

    cases = [
        (uniform(p, 0.5, 3.0, p), uniform(p + 10, 0.1, 1.0, p), *uniform(p + 20, 0.6, 0.95, 2))
        for p in (2, 4)
    ]
    cases = [(w, alpha, x, -2 * y) for w, alpha, x, y in cases]
    mistakes = {
        "The square has the slope 2 (y^ - y): a factor 2 is missing.": (
            lambda w, a, x, y: moved(w, a, x, y, 0.5)
        ),
        "A step goes against the gradient.": lambda w, a, x, y: moved(w, a, x, y, -1.0),
        "The features are powers of u = 1 - 1/x, not of x.": raw,
        "The gradient by w_j carries the feature u^j.": no_slope,
        "Each weight has a step size of its own.": (
            lambda w, a, x, y: adapted(w, torch.ones_like(a), x, y)
        ),
        "That is the change; add it to w.": lambda w, a, x, y: adapted(w, a, x, y) - w,
    }
    otherwise = "w_j' = w_j - 2 alpha_j (y^ - y) u^j, with y^ = w . (u, u^2, ..)."
    needs = "a row of numbers"
    return judge_function(answer, adapted, cases, mistakes, otherwise, needs=needs)


def exercise_2(answer: object) -> str | None:
    """A function: w [n], bits -> w put on its grid, [n]."""

    def on_grid(w: Tensor, bits: int) -> Tensor:
        most = 2 ** (bits - 1) - 1
        spacing = w.abs().max() / most
        return spacing * (w / spacing).round()

    def of(w: Tensor, most: float) -> Tensor:
        spacing = w.abs().max() / most
        return spacing * (w / spacing).round()

    cases = [(uniform(1, -1.0, 1.0, 6), 4), (uniform(2, -3.0, 0.5, 5), 3)]
    mistakes = {
        "One bit is the sign: the largest whole number is 2^(bits - 1) - 1.": (
            lambda w, bits: of(w, 2**bits - 1)
        ),
        "There are as many steps above zero as below it: 2^(bits - 1) - 1, not 2^(bits - 1).": (
            lambda w, bits: of(w, 2 ** (bits - 1))
        ),
        "These are the whole numbers; multiply them by the spacing again.": (
            lambda w, bits: (w / (w.abs().max() / (2 ** (bits - 1) - 1))).round()
        ),
        "The largest in size sets the spacing, whatever its sign.": (
            lambda w, bits: (
                (s := w.max() / (2 ** (bits - 1) - 1))
                * (w / s).round().clamp(-(2 ** (bits - 1)) + 1, 2 ** (bits - 1) - 1)
            )
        ),
        "Nothing was rounded.": lambda w, bits: w,
    }
    otherwise = "spacing = max |w| / (2^(bits - 1) - 1); round w / spacing, times the spacing."
    return judge_function(answer, on_grid, cases, mistakes, otherwise, needs="a row of numbers")


def exercise_3(answer: object) -> str | None:
    """A function: size [n], error [n] -> 1 for whoever nobody beats in both, else 0, [n]."""

    def front(size: Tensor, error: Tensor) -> Tensor:
        smaller, better = size[:, None] >= size, error[:, None] >= error  # [i, j]: j is no worse
        strictly = (size[:, None] > size) | (error[:, None] > error)
        return (~(smaller & better & strictly).any(1)).double()

    cases = [
        (torch.tensor([24.0, 104.0, 776.0, 500.0]), torch.tensor([5.0, 7.0, 4.0, 5.0])),
        (torch.tensor([8.0, 2.0, 5.0, 2.0, 9.0]), torch.tensor([1.0, 6.0, 3.0, 7.0, 2.0])),
    ]
    cases = [(size.double(), error.double()) for size, error in cases]
    mistakes = {
        "These are the dominated ones: the other way round.": lambda s, e: 1 - front(s, e),
        "Not the one with the smallest error alone: a smaller one may be on the front as well.": (
            lambda s, e: (e == e.min()).double()
        ),
        "Not the smallest alone: a larger one that errs less is on the front as well.": (
            lambda s, e: (s == s.min()).double()
        ),
        "Whoever is as small and errs less dominates, too.": (
            lambda s, e: (~((s[:, None] > s) & (e[:, None] > e)).any(1)).double()
        ),
    }
    otherwise = "Point i is out if some j is no larger, errs no more, and is better in one of both."
    needs = "a row of ones and zeros"
    return judge_function(answer, front, cases, mistakes, otherwise, needs=needs)
