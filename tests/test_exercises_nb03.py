"""The checkers of notebook 03: right answers pass, each known mistake gets its own hint."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.func import grad

import mamlkit as mk


def line_loss(theta: Tensor, x: Tensor, y: Tensor) -> Tensor:
    return ((theta[0] * x + theta[1] - y) ** 2).mean()


def steps_on(
    n: int = 2, *, judge: str = "query", adapt: str = "support", factor: float = 1.0
) -> Callable[..., Tensor]:
    """The function that 03.1 asks for, or one of its mistakes."""

    def answer(
        theta: Tensor, alpha: float, xs: Tensor, ys: Tensor, xq: Tensor, yq: Tensor
    ) -> Tensor:
        data = {"support": (xs, ys), "query": (xq, yq)}
        for _ in range(n):
            theta = theta - factor * alpha * grad(line_loss)(theta, *data[adapt])
        return line_loss(theta, *data[judge])

    return answer


def verdict(capsys: pytest.CaptureFixture[str], exercise: str, answer: object) -> str:
    mk.check(exercise, answer)
    return capsys.readouterr().out


def test_two_steps(capsys: pytest.CaptureFixture[str]) -> None:
    assert "03.1: correct" in verdict(capsys, "03.1", steps_on())


def test_two_steps_with_autograd(capsys: pytest.CaptureFixture[str]) -> None:
    def answer(
        theta: Tensor, alpha: float, xs: Tensor, ys: Tensor, xq: Tensor, yq: Tensor
    ) -> Tensor:
        for _ in range(2):
            (slope,) = torch.autograd.grad(line_loss(theta, xs, ys), theta, create_graph=True)
            theta = theta - alpha * slope
        return line_loss(theta, xq, yq)

    assert "03.1: correct" in verdict(capsys, "03.1", answer)


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (steps_on(1), "one step"),
        (steps_on(1, factor=2.0), "Both steps use the gradient at the start"),
        (steps_on(factor=-1.0), "uphill"),
        (steps_on(adapt="query"), "adapt on the query"),
        (steps_on(judge="support"), "return the support loss"),
        (steps_on(3), "is not that of the query loss"),
        (lambda *a: float(steps_on()(*a)), "as a tensor"),
        (lambda *a: steps_on()(*a).detach(), "cannot be differentiated"),
        (lambda *a: ..., "still returns"),
        (3.0, "without calling it"),
        (lambda: 1, "raised TypeError"),
    ],
)
@pytest.mark.filterwarnings("ignore:Converting a tensor with requires_grad")
def test_two_steps_mistakes(capsys: pytest.CaptureFixture[str], answer: object, hint: str) -> None:
    text = verdict(capsys, "03.1", answer)
    assert "not yet" in text
    assert hint in text


def test_two_steps_first_order_is_recognised(capsys: pytest.CaptureFixture[str]) -> None:
    def answer(
        theta: Tensor, alpha: float, xs: Tensor, ys: Tensor, xq: Tensor, yq: Tensor
    ) -> Tensor:
        for _ in range(2):
            theta = theta - alpha * grad(line_loss)(theta, xs, ys).detach()
        return line_loss(theta, xq, yq)

    assert "lacks the Hessian" in verdict(capsys, "03.1", answer)


def test_the_step_for_one_mark_is_bayes(capsys: pytest.CaptureFixture[str]) -> None:
    """The accepted number makes one inner step equal the library's Bayes estimate."""
    alpha = 0.5 / (0.64 + 0.09 / 0.25)
    assert "correct" in verdict(capsys, "03.2", alpha)
    assert "correct" in verdict(capsys, "03.2", torch.tensor(alpha))
    x, y = torch.tensor([[0.8]], dtype=torch.float64), torch.tensor([[2.1]], dtype=torch.float64)
    bayes = mk.yardsticks.Bayes([2.0], [[0.25]], 0.3, features=lambda x: x)
    step = 2.0 + 2 * alpha * 0.8 * (2.1 - 0.8 * 2.0)
    one = torch.ones(1, 1, dtype=torch.float64)
    assert float(bayes.adapt(x, y)(one)) == pytest.approx(step, rel=1e-9)


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (1 / (0.64 + 0.09 / 0.25), "factor 2"),
        (1 / (2 * 0.64), "Newton step"),
        (0.5 / (0.64 + 0.09), "prior's variance is missing"),
        (0.5 / (0.64 + 0.3 / 0.5), "not standard deviations"),
        (0.5 / (0.64 + 0.09 / 0.5), "square of 0.5"),
        (0.5 / (0.64 + 0.25 / 0.09), "swapped"),
        (0.5 / (0.8 + 0.09 / 0.25), "x squared"),
        (17.0, "Formula (4)"),
        ("a half", "one number"),
        (True, "one number"),
        (None, "one number"),
        (torch.ones(2), "raised"),
    ],
)
def test_the_step_mistakes(capsys: pytest.CaptureFixture[str], answer: object, hint: str) -> None:
    text = verdict(capsys, "03.2", answer)
    assert "not yet" in text
    assert hint in text


def test_the_price_of_one_step(capsys: pytest.CaptureFixture[str]) -> None:
    """The accepted limit agrees with a simulation of the Newton step at many random points."""
    limit = (0.25 * 0.8 + 9 * 0.04 / 3) / 3 + 0.25 / 3 + 0.18
    assert "correct" in verdict(capsys, "03.3", limit)
    shots, generator = 100, torch.Generator().manual_seed(0)
    batch = mk.tasks.LinearLaw().sample(4000, shots, 20, generator=generator, dtype=torch.float64)
    phi = torch.cat([batch.support.x, torch.ones_like(batch.support.x)], dim=2)
    mean = torch.tensor([2.0, 0.5], dtype=torch.float64)
    surprise = batch.support.y[..., 0] - phi @ mean
    newton = torch.diag(torch.tensor([3.0, 1.0], dtype=torch.float64))
    w = mean + (phi.mT @ surprise[..., None])[..., 0] @ newton / shots
    errors = (w[:, None, :1] * batch.query.x + w[:, None, 1:] - batch.query.y) ** 2
    assert shots * float(errors.mean()) == pytest.approx(limit, rel=0.06)


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (0.18, "least squares"),
        ((0.25 * 0.8 + 9 * 0.04 / 3) / 3 + 0.25 / 3, "noise term"),
        ((0.25 * 0.8 + 9 * 0.04 / 3) / 3 + 0.18, "second row"),
        (0.25 * 0.8 + 9 * 0.04 / 3 + 0.25 / 3 + 0.18, "weighs the slope"),
        (0.25 * 4 / 15 + 0.25 / 3 + 0.18, "intercept's part"),
        ((0.25 * 0.8 + 9 * 0.04 / 3) / 3 + 0.25 / 3 + 0.09, "two parameters"),
        (-1.0, "row by row"),
        ([], "one number"),
    ],
)
def test_the_price_mistakes(capsys: pytest.CaptureFixture[str], answer: object, hint: str) -> None:
    text = verdict(capsys, "03.3", answer)
    assert "not yet" in text
    assert hint in text


@pytest.mark.parametrize("exercise", ["03.1", "03.2", "03.3"])
def test_not_attempted(capsys: pytest.CaptureFixture[str], exercise: str) -> None:
    assert "not attempted yet" in verdict(capsys, exercise, ...)
