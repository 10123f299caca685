"""Answers and hints for notebook 19, many kinds of physics."""

from __future__ import annotations

import torch
from torch import Tensor

from mamlkit.course.checking import judge_function


def exercise_1(answer: object) -> str | None:
    """A function: log evidence of each specialist [k] -> the share of each, [k]."""

    def shares(log_evidence: Tensor) -> Tensor:
        return log_evidence.softmax(0)

    cases = [
        (torch.tensor([1.2, -0.4, 0.7]).double(),),
        (torch.tensor([-3.0, -5.5, -2.0, -2.5]).double(),),
        (torch.tensor([-2000.0, -2001.0]).double(),),
    ]
    mistakes = {
        "Those are logarithms: take exp before you divide by the sum.": lambda e: e / e.sum(),
        "The shares must add up to 1: divide by their sum.": lambda e: (e - e.max()).exp(),
        "The sign: the greater the evidence, the greater the share.": lambda e: (-e).softmax(0),
        "That takes the best alone; a share for each was asked.": lambda e: (e == e.max()).double(),
    }
    otherwise = "exp of each log evidence, less the greatest of them, over the sum of all."
    needs = "one number a specialist, [k]"
    return judge_function(answer, shares, cases, mistakes, otherwise, needs=needs)


def exercise_2(answer: object) -> str | None:
    """A function: shares p, means m and variances v of the specialists, [k] each -> variance."""

    def variance(p: Tensor, m: Tensor, v: Tensor) -> Tensor:
        return (p * (v + m**2)).sum() - (p * m).sum() ** 2

    def numbers(*values: float) -> Tensor:
        return torch.tensor(values).double()

    cases = [
        (numbers(0.5, 0.5), numbers(0.0, 2.0), numbers(0.1, 0.3)),
        (numbers(0.7, 0.2, 0.1), numbers(1.0, -1.0, 0.5), numbers(0.04, 0.2, 0.5)),
    ]
    mistakes = {
        "Specialists that disagree add to the variance: where are the means?": (
            lambda p, m, v: (p * v).sum()
        ),
        "Each is sure of itself only so far: where are their own variances?": (
            lambda p, m, v: (p * m**2).sum() - (p * m).sum() ** 2
        ),
        "That is E[y^2]; take the square of the mean away.": lambda p, m, v: (p * (v + m**2)).sum(),
        "The variance was asked, not the standard deviation.": (
            lambda p, m, v: variance(p, m, v).sqrt()
        ),
        "Weigh by the shares.": lambda p, m, v: v.mean() + m.var(correction=0),
        "The shares are not squared: it is one specialist that is right, not a sum of all.": (
            lambda p, m, v: (p**2 * v).sum()
        ),
    }
    otherwise = "E[y^2] - E[y]^2, where specialist k has E[y^2] = v_k + m_k^2."
    return judge_function(answer, variance, cases, mistakes, otherwise)


def exercise_3(answer: object) -> str | None:
    """A function: what the encoder says of each reading [n, c], weights [n] -> the context [c]."""

    def context(said: Tensor, weight: Tensor) -> Tensor:
        return weight @ said / weight.sum()

    cases = [
        (
            torch.tensor([[1.0, 2.0], [3.0, -1.0], [9.0, 9.0]]).double(),
            torch.tensor([1.0, 1.0, 0.0]).double(),
        ),
        (
            torch.tensor([[0.5, 1.0], [2.5, 4.0]]).double(),
            torch.tensor([3.0, 1.0]).double(),
        ),
    ]
    mistakes = {
        "A padded reading has weight 0 and must not count.": lambda s, w: s.mean(0),
        "Divide by the sum of the weights: twice the readings are no other system.": (
            lambda s, w: w @ s
        ),
        "Divide by the sum of the weights, not by how many rows there are.": (
            lambda s, w: w @ s / len(w)
        ),
        "A weight of 3 counts three times, not once.": (
            lambda s, w: (w > 0).to(s) @ s / (w > 0).sum()
        ),
        "One number for each of the c columns: average over readings only.": (
            lambda s, w: (w @ s / w.sum()).mean().expand(s.shape[1])
        ),
    }
    otherwise = "The mean over readings by weight: sum of w_i times row i, over the sum of w."
    return judge_function(answer, context, cases, mistakes, otherwise, needs="a row [c]")
