"""Self-check for exercises: a verdict and a hint, never an exception."""

from __future__ import annotations

from importlib import import_module


def check(exercise: str, answer: object) -> None:
    """Check the answer to an exercise, such as ``mk.check("03.1", answer)``.

    Prints *not attempted yet* for ``...``, *correct* with a remark, or a hint that knows the
    common mistakes. The checkers are in ``mamlkit/exercises``, one module a notebook.
    """
    if answer is ... or (isinstance(answer, tuple | list) and any(a is ... for a in answer)):
        print(f"{exercise}: not attempted yet")
        return
    try:
        notebook, _, number = exercise.partition(".")
        checker = getattr(import_module(f"mamlkit.exercises.nb{notebook}"), f"exercise_{number}")
    except (ImportError, AttributeError, TypeError):
        print(f"there is no exercise {exercise!r}; use the number in its heading, such as '03.1'")
        return
    try:
        hint = checker(answer)
    except Exception as error:  # the answer may be the reader's own code, which may raise anything
        hint = f"your code raised {type(error).__name__}: {error}"
    print(f"{exercise}: correct" if hint is None else f"{exercise}: not yet. {hint}")
