"""The checkers of notebook 02 pass the right answers and know the common mistakes."""

from __future__ import annotations

import pytest
import torch
from torch.func import grad, jacrev

import mamlkit as mk


def verdict(capsys, exercise, answer):
    mk.check(exercise, answer)
    return capsys.readouterr().out.strip()


def meta_gradient(theta, alpha, steps, support_loss, query_loss):
    def after(start):
        for _ in range(steps):
            start = start - alpha * grad(support_loss)(start)
        return query_loss(start)

    return grad(after)(theta)


def plain_autograd(create_graph):
    def answer(theta, alpha, steps, support_loss, query_loss):
        theta = theta.requires_grad_()
        now = theta
        for _ in range(steps):
            (slope,) = torch.autograd.grad(support_loss(now), now, create_graph=create_graph)
            now = now - alpha * slope
        return torch.autograd.grad(query_loss(now), theta)[0]

    return answer


def by_factors(choose):
    """The product of factors with the Hessians at ``choose(path)``, the first acting first."""

    def answer(theta, alpha, steps, support_loss, query_loss):
        path = [theta]
        for _ in range(steps):
            path.append(path[-1] - alpha * grad(support_loss)(path[-1]))
        v = grad(query_loss)(path[-1])
        for at in choose(path[:-1]):
            v = v - alpha * jacrev(grad(support_loss))(at) @ v
        return v

    return answer


RIGHT = {
    "02.1": lambda alpha, s: (1 - 2 * alpha * s) ** 2,
    "02.2": meta_gradient,
    "02.3": -0.016,
    "02.4": 37.4054,
}


@pytest.mark.parametrize("exercise", RIGHT)
def test_right_answer(capsys, exercise):
    assert verdict(capsys, exercise, RIGHT[exercise]) == f"{exercise}: correct"


@pytest.mark.parametrize("answer", [plain_autograd(True), by_factors(lambda path: path[::-1])])
def test_other_right_ways(capsys, answer):
    assert verdict(capsys, "02.2", answer) == "02.2: correct"


def test_step_size_gradient_is_what_the_library_says(capsys):
    """A spring with the s and c of exercise 02.3: one support and one query point, made to fit."""
    x = 0.02**0.5
    model = torch.nn.Linear(1, 1, bias=False, dtype=torch.float64)
    torch.nn.init.constant_(model.weight, 20.0)
    learner = mk.MAML(model, inner_lr=10.0, learn_lr="tensor")

    def point(c):
        values = torch.tensor([x, c / x], dtype=torch.float64).reshape(2, 1, 1, 1)
        return mk.Data(values[0], values[1])

    learner.query_losses(mk.TaskBatch(point(0.50), point(0.48), {})).mean().backward()
    assert verdict(capsys, "02.3", learner.rates[0].grad).endswith("correct")


@pytest.mark.parametrize(
    ("exercise", "answer", "hint"),
    [
        ("02.1", lambda a, s: 1 - 4 * a * s, "you dropped the square term"),
        ("02.1", lambda a, s: 1 - 2 * a * s, "one step"),
        ("02.1", lambda a, s: 2 * (1 - 2 * a * s), "multiply"),
        ("02.1", lambda a, s: (1 - a * s) ** 2, "the 2 of the derivative"),
        ("02.1", lambda a, s: 1.0, "first-order"),
        ("02.1", lambda a, s: 7.0, "Differentiate theta_2"),
        ("02.1", 0.25, "function itself"),
        ("02.2", by_factors(lambda path: []), "first-order MAML"),
        ("02.2", lambda t, a, k, support, query: grad(query)(t), "before any step"),
        ("02.2", by_factors(lambda path: [path[0]] * len(path) if path else []), "own Hessian"),
        ("02.2", by_factors(lambda path: path), "wrong order"),
        ("02.2", lambda t, *rest: torch.zeros_like(t), "no parabola"),
        ("02.2", lambda *a: None, "return missing"),
        ("02.2", 1.0, "function itself"),
        ("02.3", 0.016, "The sign"),
        ("02.3", -0.032, "at the start"),
        ("02.3", -0.016 * 0.6, "no Hessian factor"),
        ("02.3", -0.004, "in both slopes"),
        ("02.3", -0.006, "the slope is 2 (s theta - c)"),
        ("02.3", 5.0, "minus the product"),
        ("02.4", 16.0, "plain risk"),
        ("02.4", 25.0, "plain mean"),
        ("02.4", 28.57, "squared"),
        ("02.4", 39.31, "its s is missing"),
        ("02.4", 3.0, "weighted mean of 10 and 40"),
    ],
)
def test_known_mistakes(capsys, exercise, answer, hint):
    out = verdict(capsys, exercise, answer)
    assert out.startswith(f"{exercise}: not yet.")
    assert hint.lower() in out.lower()


@pytest.mark.parametrize("exercise", RIGHT)
@pytest.mark.parametrize("answer", [None, "x", [], float("nan"), lambda *a: None, lambda: 1.0])
def test_garbage_gets_a_message(capsys, exercise, answer):
    assert verdict(capsys, exercise, answer).startswith(f"{exercise}: not yet.")


@pytest.mark.parametrize("exercise", RIGHT)
def test_not_attempted(capsys, exercise):
    assert verdict(capsys, exercise, ...) == f"{exercise}: not attempted yet"
