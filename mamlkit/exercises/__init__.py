"""Checkers of the exercises, one module a notebook: ``nbNN.exercise_M(answer)`` returns None for a
correct answer, or a hint.
"""

from __future__ import annotations

import math
from typing import Any


def close(answer: Any, expected: float, rtol: float = 0.01) -> bool:
    """Is ``answer`` a number within ``rtol`` of ``expected``?"""
    return math.isclose(float(answer), expected, rel_tol=rtol, abs_tol=1e-12)
