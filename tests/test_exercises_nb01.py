"""The checkers of notebook 01 pass the right answers and know the common mistakes."""

from __future__ import annotations

import pytest
import torch

import mamlkit as mk


def verdict(capsys, exercise, answer):
    mk.check(exercise, answer)
    return capsys.readouterr().out.strip()


def bayes(mu=25.0, prior=25.0, error=0.25, mean=False):
    def answer(x, force):
        n = len(x) if mean else 1
        top = mu / prior + (x * force).sum() / (n * error)
        return top / (1 / prior + (x**2).sum() / (n * error))

    return answer


def aitken(a, b, c):
    return (a * c - b**2) / (a + c - 2 * b)


RIGHT = {
    "01.1": 20.0,
    "01.2": bayes(),
    "01.3": aitken,
    "01.4": 2000 * 20 * 16 / 80,
}


@pytest.mark.parametrize("exercise", RIGHT)
def test_right_answer(capsys, exercise):
    assert verdict(capsys, exercise, RIGHT[exercise]) == f"{exercise}: correct"


def test_right_answers_as_tensors(capsys):
    assert verdict(capsys, "01.1", torch.tensor(20.0)).endswith("correct")
    assert verdict(capsys, "01.2", lambda x, y: float(bayes()(x, y))).endswith("correct")


def test_right_answer_is_what_the_library_says(capsys):
    yardstick = mk.yardsticks.Bayes([25.0], [[25.0]], 0.5, lambda x: x)
    one = torch.ones(1, 1, dtype=torch.float64)
    answer = verdict(capsys, "01.2", lambda x, y: yardstick.adapt(x, y)(one)[0, 0])
    assert answer.endswith("correct")


@pytest.mark.parametrize(
    ("exercise", "answer", "hint"),
    [
        ("01.1", 40.0, "the 2 of the derivative"),
        ("01.1", 10.0, "summed the squares"),
        ("01.1", 1 / (2 * 0.15**2), "squared the mean"),
        ("01.1", 20.0 / 1e4, "centimetres"),
        ("01.1", 0.05, "alpha has the unit"),
        ("01.1", 7.0, "vanish"),
        ("01.2", lambda x, y: (x * y).sum() / (x**2).sum(), "least squares"),
        ("01.2", bayes(mu=0.0), "centred on 0"),
        ("01.2", bayes(prior=5.0, error=0.5), "standard deviations"),
        ("01.2", bayes(mean=True), "use sums"),
        ("01.2", bayes(prior=0.25, error=25.0), "swapped"),
        ("01.2", lambda x, y: 7.0, "7 N/m"),
        ("01.2", lambda x, y: bayes()(x, y) if len(x) == 3 else 25.0, "wrong for one"),
        ("01.2", 25.0, "function itself"),
        ("01.3", lambda a, b, c: c, "last loss seen"),
        ("01.3", lambda a, b, c: 2 * c - b, "straight line"),
        ("01.3", lambda a, b, c: -aitken(a, b, c), "sign"),
        ("01.3", lambda a, b, c: c * c / b, "ends at zero"),
        ("01.3", lambda a, b, c: 7.0, "it gave 7"),
        ("01.3", 0.3, "function itself"),
        ("01.4", 640_000 / 85, "not free"),
        ("01.4", 32_000 / 80, "meta-batch"),
        ("01.4", 40_000 * 6 / 80, "backward pass"),
        ("01.4", 640_000, "paid once"),
        ("01.4", float("inf"), "finite"),
        ("01.4", 3.0, "solve for N"),
    ],
)
def test_known_mistakes(capsys, exercise, answer, hint):
    out = verdict(capsys, exercise, answer)
    assert out.startswith(f"{exercise}: not yet.")
    assert hint in out


@pytest.mark.parametrize("exercise", RIGHT)
@pytest.mark.parametrize("answer", [None, "k", [], float("nan"), lambda *a: None, lambda: 1.0])
def test_garbage_gets_a_message(capsys, exercise, answer):
    assert verdict(capsys, exercise, answer).startswith(f"{exercise}: not yet.")


@pytest.mark.parametrize("exercise", RIGHT)
def test_not_attempted(capsys, exercise):
    assert verdict(capsys, exercise, ...) == f"{exercise}: not attempted yet"
