"""The self-check of exercises: a verdict or a hint, never an exception."""

from __future__ import annotations

import sys
import types

import pytest

import mamlkit as mk
from mamlkit.exercises import close


@pytest.fixture
def notebook(monkeypatch) -> None:
    """A notebook 99 whose first exercise asks for 42, and whose second calls the answer."""
    module = types.ModuleType("mamlkit.exercises.nb99")
    module.exercise_1 = lambda answer: None if close(answer, 42.0) else "Think of Deep Thought."
    module.exercise_2 = lambda answer: None if answer(2) == 4 else "Square it."
    monkeypatch.setitem(sys.modules, module.__name__, module)


@pytest.mark.parametrize(
    ("exercise", "answer", "said"),
    [
        ("99.1", ..., "99.1: not attempted yet"),
        ("99.1", (1.0, ...), "99.1: not attempted yet"),
        ("99.1", 42.1, "99.1: correct"),
        ("99.1", 24, "99.1: not yet. Think of Deep Thought."),
        ("99.1", "a word", "99.1: not yet. your code raised ValueError"),
        ("99.2", lambda x: x**2, "99.2: correct"),
        ("99.2", lambda x: x / 0, "99.2: not yet. your code raised ZeroDivisionError"),
        ("99.7", 1, "there is no exercise '99.7'"),
        ("98.1", 1, "there is no exercise '98.1'"),
        ("nonsense", 1, "there is no exercise 'nonsense'"),
    ],
)
def test_check_says(notebook, capsys, exercise, answer, said) -> None:
    mk.check(exercise, answer)
    assert capsys.readouterr().out.startswith(said)


def test_close() -> None:
    assert close(100.5, 100.0)
    assert not close(102.0, 100.0)
    assert close(102.0, 100.0, rtol=0.05)
