"""Exercises of notebook 15: the price of a parameter, the evidence, the nearest mean."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mamlkit.course.checking import judge, judge_function
from mamlkit.course.exercises import uniform


def exercise_1(answer: object) -> str | None:
    """BIC of the line less that of the parabola: squares .09 and .05, 12 readings, noise .1."""
    mistakes = {
        "That is the gain in chi squared alone: a third number has its price, log 12.": 4.0,
        "The sign: the line's BIC less the parabola's.": math.log(12) - 4,
        "The logarithm is the natural one.": 4 - math.log10(12),
        "Divide squares by the variance, .1^2, not by .1.": 0.4 - math.log(12),
    }
    otherwise = "BIC = squares / noise^2 + k log n, with k = 2 for the line and 3 for the parabola."
    return judge(answer, 4 - math.log(12), mistakes, otherwise)


def exercise_2(answer: object) -> str | None:
    """A function: basis [n, k], y [n], noise -> log N(y; 0, B B^T + noise^2)."""

    def evidence(B: Tensor, y: Tensor, noise: float) -> Tensor:
        return density(B @ B.T + noise**2 * torch.eye(len(y)).to(y), y)

    def density(covariance: Tensor, y: Tensor, half: float = 0.5) -> Tensor:
        square = y @ torch.linalg.solve(covariance, y)
        return -half * (len(y) * math.log(2 * math.pi) + torch.logdet(covariance) + square)

    def with_noise(B: Tensor, y: Tensor, noise: float) -> Tensor:
        return density(B @ B.T + noise * torch.eye(len(y)).to(y), y)

    def no_volume(B: Tensor, y: Tensor, noise: float) -> Tensor:
        covariance = B @ B.T + noise**2 * torch.eye(len(y)).to(y)
        return -(y @ torch.linalg.solve(covariance, y)) / 2

    def no_half(B: Tensor, y: Tensor, noise: float) -> Tensor:
        return 2 * evidence(B, y, noise)

    def best_fit(B: Tensor, y: Tensor, noise: float) -> Tensor:
        left = y - B @ torch.linalg.lstsq(B, y[:, None]).solution[:, 0]
        return density(noise**2 * torch.eye(len(y)).to(y), left)

    cases = [
        (uniform(1, -1.0, 1.0, 6, 2), uniform(2, -1.0, 1.0, 6), 0.3),
        (uniform(3, -1.0, 1.0, 4, 1), uniform(4, -1.0, 1.0, 4), 0.5),
    ]
    mistakes = {
        "On the diagonal stands the variance, noise^2.": with_noise,
        "The normalisation is missing, log det and n log 2 pi: without it a law that can do "
        "everything always wins.": no_volume,
        "The factor 1/2 is missing.": no_half,
        "That is the likelihood of the best fit. The evidence averages over all amplitudes.": (
            best_fit
        ),
    }
    otherwise = "With a ~ N(0, I), y is Gaussian with mean 0 and covariance B B^T + noise^2 I."
    return judge_function(answer, evidence, cases, mistakes, otherwise)


def exercise_3(answer: object) -> str | None:
    """A function: features [n, p], labels [n], new features [m, p] -> labels [m]."""

    def classify(features: Tensor, labels: Tensor, new: Tensor) -> Tensor:
        member = torch.nn.functional.one_hot(labels).to(features)
        means = member.T @ features / member.sum(0)[:, None]
        return torch.cdist(new, means).argmin(1)

    def nearest(features: Tensor, labels: Tensor, new: Tensor) -> Tensor:
        return labels[torch.cdist(new, features).argmin(1)]

    def undivided(features: Tensor, labels: Tensor, new: Tensor) -> Tensor:
        sums = torch.nn.functional.one_hot(labels).to(features).T @ features
        return torch.cdist(new, sums).argmin(1)

    cases = []
    for seed in (11, 21):
        labels = torch.tensor([0, 2, 1, 2, 0, 1, 2, 2])
        centres = uniform(seed, -1.0, 1.0, 3, 2)
        features = centres[labels] + uniform(seed + 1, -1.0, 1.0, 8, 2)
        cases.append((features, labels, uniform(seed + 2, -1.5, 1.5, 12, 2)))
    mistakes = {
        "That is the nearest example. A prototype is the mean of a class.": nearest,
        "Divide the sums by the number of examples of the class.": undivided,
    }
    otherwise = "Mean of the features of each class; the label of the nearest mean."
    return judge_function(
        answer, classify, cases, mistakes, otherwise, needs="one label a new point, [m]"
    )
