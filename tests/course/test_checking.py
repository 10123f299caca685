"""The self-check of exercises: a verdict or a hint, never an exception."""

from __future__ import annotations

import math
import sys
import types
from typing import Any

import numpy as np
import pytest
import torch

import mamlkit as mk
from mamlkit.course.checking import (
    Told,
    describe,
    judge,
    judge_function,
    numbers,
)


def square(x: float) -> float:
    return x * x


@pytest.fixture
def notebook(monkeypatch) -> None:
    """A notebook 99 whose first exercise asks for 42, and whose second for a function."""
    module: Any = types.ModuleType("mamlkit.course.exercises.nb99")
    module.exercise_1 = lambda answer: judge(answer, 42.0, {"Twice.": 84.0}, "Think.")
    module.exercise_2 = lambda answer: judge_function(
        answer, square, [(2.0,), (3.0,)], {"That doubles.": lambda x: 2 * x}, "Square it."
    )
    monkeypatch.setitem(sys.modules, module.__name__, module)


@pytest.mark.parametrize(
    ("exercise", "answer", "said"),
    [
        ("99.1", ..., "99.1: not attempted yet"),
        ("99.1", (1.0, ...), "99.1: not attempted yet"),
        ("99.1", 42.1, "99.1: correct"),
        ("99.1", 24, "99.1: not yet. Think."),
        ("99.1", 84, "99.1: not yet. Twice."),
        ("99.1", "a", "99.1: not yet. Give one number; a word was given."),
        ("99.2", lambda x: x**2, "99.2: correct"),
        ("99.2", lambda x: ..., "99.2: not attempted yet"),
        (
            "99.2",
            lambda x: x / 0,
            "99.2: not yet. your code raised ZeroDivisionError: float division by zero, when "
            "called with x = 2.",
        ),
        ("99.2", lambda x: 2 * x, "99.2: not yet. That doubles."),
        (
            "99.2",
            lambda x: 4.0,
            "99.2: not yet. Right for some inputs, but not for all. For x = 3 it gave 4.",
        ),
        ("99.2", lambda x: None, "99.2: not yet. Return one number; None was returned: is a ret"),
        ("99.2", 4, "99.2: not yet. Give the function itself, such as square, without calling it"),
        ("99.7", 1, "there is no exercise '99.7'"),
        ("98.1", 1, "there is no exercise '98.1'"),
        ("nonsense", 1, "there is no exercise 'nonsense'"),
        (99.1, 1, "there is no exercise 99.1"),
    ],
)
def test_check_says(notebook, capsys, exercise, answer, said) -> None:
    mk.check(exercise, answer)
    assert capsys.readouterr().out.startswith(said)


@pytest.mark.parametrize(
    ("answer", "right", "tolerance", "verdict"),
    [
        (100.5, 100.0, 0.01, None),
        (102.0, 100.0, 0.01, "no"),
        (102.0, 100.0, 0.05, None),
        (37.0, 37.405, 0.01, None),  # as it is rounded to two digits
        (37.9, 37.405, 0.01, "no"),
        (0.88, 0.8751, 0.002, "no"),  # three are asked for
        (0.875, 0.8751, 0.002, None),
        (0.0, 0.0, 0.01, None),
        (1e-9, 0.0, 0.01, "no"),
        ([1.0, 2.03], (1.0, 2.0), 0.01, "no"),
        ([1.0, 2.01], (1.0, 2.0), 0.01, None),
    ],
)
def test_tolerance(answer, right, tolerance, verdict) -> None:
    needs = "one number" if isinstance(right, float) else "two numbers"
    assert judge(answer, right, {}, "no", tolerance, needs) == verdict


def test_the_nearest_of_right_and_mistakes_decides() -> None:
    mistakes = {"a little more": 1.02, "infinite": math.inf, "none": math.nan}
    for given, verdict in ((1.004, None), (1.016, "a little more"), (2.0, "no")):
        assert judge(given, 1.0, mistakes, "no", tolerance=0.03) == verdict


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (1.0, "one number"),
        (np.ones(1), "one number"),
        ([1, 2], "a row of 2 numbers"),
        (torch.ones(2, 2), "an array of shape [2, 2]"),
        ([1, [2]], "a list of unequal parts"),
        (print, "a function"),
        (dict, "a class"),
        ("1e3", "a number in quotes, which is a text,"),
        (range(0), "an empty list"),
    ],
)
def test_describe(value, words) -> None:
    assert describe(value) == words


def test_numbers_in_columns() -> None:
    """Two numbers may be given in a column; a function must return the shape asked for."""
    column = np.ones((2, 1))
    assert numbers(column, (2,)).shape == (2,)
    assert numbers([1.0, 2.0], (2, 1)).shape == (2, 1)
    with pytest.raises(Told, match=r"^Return two; an array of shape \[2, 1\] was returned\.$"):
        numbers(column, (2,), "two", returned=True)


def test_a_checker_that_cannot_be_imported_is_not_called_missing(monkeypatch) -> None:
    def fails(name: str) -> None:
        raise ModuleNotFoundError("No module named 'scipy'", name="scipy")

    monkeypatch.setattr("mamlkit.course.checking.import_module", fails)
    with pytest.raises(ModuleNotFoundError, match="scipy"):
        mk.check("03.1", 1)
