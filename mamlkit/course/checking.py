"""Self-check for exercises: a verdict and a hint, never an exception.

A checker returns None for a right answer, or a hint. Most are one call of :func:`judge`, for an
answer that is numbers, or of :func:`judge_function`, for one that is the reader's own function.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from mamlkit.course import progress

Values = float | Sequence[float] | Tensor
NOT_ATTEMPTED = "not attempted yet"


class Told(Exception):
    """Ends a checker with what there is to tell the reader."""


def check(exercise: str, answer: object) -> None:
    """Check the answer to an exercise, such as ``mk.check("03.1", answer)``.

    Prints *not attempted yet* for ``...``, or for a function that returns it, *correct*, or a hint
    that knows the common mistakes. The checkers are in ``mamlkit/course/exercises``, one module a
    notebook. A try is noted in a file of the reader's, which stays on the machine: ``mamlkit
    progress`` reads it; ``MAMLKIT_PROGRESS=off`` notes none.
    """
    checker = _checker(exercise) if isinstance(exercise, str) else None
    if checker is None:
        print(f"there is no exercise {exercise!r}; use the number in its heading, such as '03.1'")
        return
    try:
        hint = NOT_ATTEMPTED if _is_stub(answer) else checker(answer)
    except Told as told:
        hint = str(told)
    except Exception as error:  # an object of the reader's may raise anything when it is looked at
        hint = f"This answer cannot be read: looking at it raised {type(error).__name__}: {error}."
    if hint != NOT_ATTEMPTED and not progress.in_a_solution(depth=1):
        progress.note(exercise, _noted(answer), hint)
    if hint is None:
        print(f"{exercise}: correct")
    else:
        print(f"{exercise}: {hint if hint == NOT_ATTEMPTED else f'not yet. {hint}'}")


def judge(
    answer: object,
    right: Values,
    mistakes: Mapping[str, Values],
    otherwise: str,
    tolerance: float = 0.01,
    needs: str = "one number",
) -> str | None:
    """Compare numbers with the right ones: None, or the hint of the mistake that comes closest.

    ``answer`` may be Python's, NumPy's or a tensor; ``needs`` says what is asked for, where that is
    more than one number. ``tolerance`` is relative, and what is right rounded to as many digits
    (two for 0.01) is right as well, unless a known mistake is closer.
    """
    wanted = _exact(right)
    try:
        given = numbers(answer, wanted.shape, needs)
    except Told as told:
        return str(told)
    candidates = {hint: [_exact(wrong)] for hint, wrong in mistakes.items()}
    return _closest([given], [wanted], candidates, otherwise, tolerance)


def judge_function(
    answer: object,
    right: Callable[..., Values],
    cases: Sequence[Sequence[Any]],
    mistakes: Mapping[str, Callable[..., Values]],
    otherwise: str,
    tolerance: float = 1e-4,
    needs: str = "one number",
) -> str | None:
    """As :func:`judge`, for the reader's function: compare what it returns in all the ``cases``,
    the arguments of one call each. The mistakes are functions too; one that explains every case
    gives its hint. Name and parameters of ``right`` are those to speak of.
    """
    try:
        given = outputs(answer, right, cases, needs)
    except Told as told:
        return str(told)

    def values(function: Callable[..., Values]) -> list[Tensor]:
        return [_exact(function(*case)) for case in cases]

    wanted = values(right)
    candidates = {hint: values(wrong) for hint, wrong in mistakes.items()}
    hint = _closest(given, wanted, candidates, otherwise, tolerance)
    if hint != otherwise:
        return hint
    fits = [_near(g, w, tolerance) for g, w in zip(given, wanted, strict=True)]
    first = fits.index(False)
    some = "Right for some inputs, but not for all. " if any(fits) else ""
    inputs = _inputs(right, cases[first])
    if any(isinstance(v, Tensor) and v.numel() > 4 for v in (*inputs.values(), given[first])):
        return some + otherwise
    return f"{some}For {_shown(inputs)} it gave {_show(given[first])}. {otherwise}"


def outputs(
    answer: object,
    right: Callable[..., Values],
    cases: Sequence[Sequence[Any]],
    needs: str = "one number",
) -> list[Tensor]:
    """The numbers that the reader's function returns in each case, in the shape that ``right``
    gives them; :class:`Told` if it is no function, fails, or returns something else.
    """
    function = as_function(answer, right.__name__)
    return [
        numbers(
            ask(function, _inputs(right, case)), _exact(right(*case)).shape, needs, returned=True
        )
        for case in cases
    ]


def as_function(answer: object, name: str) -> Callable[..., Any]:
    """``answer``, if it is a function; else :class:`Told`, with the ``name`` it should have."""
    if not callable(answer) or inspect.isclass(answer):
        raise Told(
            f"Give the function itself, such as {name}, without calling it; {describe(answer)} was "
            "given."
        )
    return answer


def ask(function: Callable[..., object], inputs: Mapping[str, Any]) -> object:
    """Call the reader's code with the values of ``inputs``; what it raises becomes
    :class:`Told`, in words that name the inputs.

    Tensors come as copies in torch's default type, which the reader's own tensors have too. Code
    that works only in the other one of float32 and float64 is right as well, so that is tried next.
    """
    raised: Exception | None = None
    for dtype in dict.fromkeys([torch.get_default_dtype(), torch.float64, torch.float32]):
        try:
            result = function(*(_copy(value, dtype) for value in inputs.values()))
        except Told:
            raise
        except Exception as error:
            raised = error if raised is None else raised
        else:
            if _is_stub(result):
                raise Told(NOT_ATTEMPTED)
            return result
    called = f", when called with {_shown(inputs)}" if inputs else ""
    words = str(raised).rstrip(".")
    raise Told(f"your code raised {type(raised).__name__}: {words}{called}.") from raised


def numbers(
    value: object, shape: Sequence[int] = (), needs: str = "one number", *, returned: bool = False
) -> Tensor:
    """``value``, given by the reader or returned by the reader's function, as a float64 tensor of
    the shape; :class:`Told`, with what is needed and what was given, if it is not that.
    """
    found = _read(value)
    if isinstance(found, Tensor):
        # One number may stand in a list, and two that are given may stand in a column.
        skip = None if returned and shape else 1
        if [n for n in found.shape if n != skip] == [n for n in shape if n != skip]:
            return found.reshape(tuple(shape))
    if not returned:
        raise Told(f"Give {needs}; {describe(value)} was given.")
    missing = ": is a return missing?" if value is None else "."
    raise Told(f"Return {needs}; {describe(value)} was returned{missing}")


def describe(value: object) -> str:
    """What a value is, in words for a reader: "a word", "a row of 3 numbers"."""
    found = _read(value)
    if isinstance(found, str):
        return found
    if found.numel() == 1:
        return "one number"
    if found.ndim == 1:
        return f"a row of {len(found)} numbers"
    return f"an array of shape {list(found.shape)}"


def _checker(exercise: str) -> Callable[[Any], str | None] | None:
    """The checker of an exercise; None if there is none."""
    notebook, _, number = exercise.partition(".")
    name = f"mamlkit.course.exercises.nb{notebook}"
    try:
        return getattr(import_module(name), f"exercise_{number}", None)
    except ModuleNotFoundError as error:
        if error.name != name:  # a checker that cannot be imported is our fault, not the reader's
            raise
    return None


def _read(value: Any) -> Tensor | str:
    """The numbers in ``value`` as a float64 tensor, or what it is instead, in words."""
    if hasattr(value, "tolist") and not inspect.isclass(value):  # NumPy's, pandas', a tensor
        value = value.tolist()
    if isinstance(value, list | tuple | range):
        parts = [_read(part) for part in value]
        words = [part for part in parts if isinstance(part, str)]
        tensors = [part for part in parts if isinstance(part, Tensor)]
        if words or not parts:
            return words[0] if words else "an empty list"
        if any(part.shape != tensors[0].shape for part in tensors):
            return "a list of unequal parts"
        return torch.stack(tensors)
    if isinstance(value, bool | None):
        return str(value)
    if isinstance(value, str):
        return _read_text(value)
    if isinstance(value, complex):
        return "a complex number"
    if isinstance(value, dict):
        return "a dict"
    if inspect.isclass(value):
        return "a class"
    if inspect.isroutine(value):
        return "a function"
    if not hasattr(value, "__float__"):
        return f"an object of type {type(value).__name__}"
    found = float(value)
    if not math.isfinite(found):
        return f"{found} (no finite number)"
    return torch.tensor(found, dtype=torch.float64)


def _read_text(text: str) -> str:
    try:
        float(text)
    except ValueError:
        return "a word" if len(text.split()) == 1 else "a text"
    return "a number in quotes, which is a text,"


def _closest(
    given: list[Tensor],
    right: list[Tensor],
    mistakes: Mapping[str, list[Tensor]],
    otherwise: str,
    tolerance: float,
) -> str | None:
    """None, or a hint: whichever of right and mistakes is nearest and near enough; else
    ``otherwise``.
    """
    candidates: list[tuple[str | None, list[Tensor]]] = [(None, right), *mistakes.items()]
    fitting = [
        (max(_gap(g, v) for g, v in zip(given, values, strict=True)), hint)
        for hint, values in candidates
        if all(_near(g, v, tolerance) for g, v in zip(given, values, strict=True))
    ]
    return min(fitting, key=lambda pair: pair[0])[1] if fitting else otherwise


def _near(given: Tensor, wanted: Tensor, tolerance: float) -> bool:
    """Do the numbers agree to a relative tolerance, or to as many digits, each one?"""
    if not wanted.isfinite().all():
        return False
    floor = 0.01 * tolerance * float(wanted.abs().max()) + 1e-12
    close = torch.isclose(given, wanted, rtol=tolerance, atol=floor)
    digits = math.ceil(-math.log10(tolerance))
    unit = 10 ** (torch.floor(torch.log10(wanted.abs())) + 1 - digits)  # of the last digit
    rounded = torch.isclose(given, (wanted / unit).round() * unit, rtol=1e-6, atol=0.0)
    return bool((close | rounded).all())


def _gap(given: Tensor, wanted: Tensor) -> float:
    return float((given - wanted).abs().max() / (wanted.abs().max() + 1e-12))


def _exact(values: Values) -> Tensor:
    return torch.as_tensor(values, dtype=torch.float64).detach()


def _copy(value: Any, dtype: torch.dtype) -> Any:
    if not isinstance(value, Tensor):
        return value
    return value.to(dtype if value.is_floating_point() else value.dtype, copy=True)


def _is_stub(answer: object) -> bool:
    parts = answer if isinstance(answer, tuple | list) else [answer]
    return any(part is ... for part in parts)


def _inputs(right: Callable[..., object], case: Sequence[Any]) -> dict[str, Any]:
    return dict(zip(inspect.signature(right).parameters, case, strict=True))


def _noted(answer: object) -> str:
    """An answer as the reader's file of tries has it: numbers, else what it is."""
    try:
        return _show(answer)
    except Exception:  # as in check: an object of the reader's may raise anything
        return f"an object of type {type(answer).__name__}"


def _shown(inputs: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} = {_show(value)}" for name, value in inputs.items())


def _show(value: Any) -> str:
    found = _read(value)
    if isinstance(found, str):
        return found
    if found.ndim == 0:
        return f"{found:.4g}"
    if found.numel() > 4:
        return describe(found)
    row = str([round(x, 4) for x in found.flatten().tolist()])
    return row if found.ndim == 1 else f"{row} of shape {list(found.shape)}"
