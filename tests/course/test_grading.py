"""The grader against submissions that are right, wrong, broken, or out to fool it.

Each row of the table says what the student's notebook holds, and the marks that it deserves.
"""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mamlkit import cli
from mamlkit.course import grading
from mamlkit.course.grading import sandbox, submission
from mamlkit.course.grading.grade import Result, grade
from tests.helpers import ROOT

A1 = grading.find_assignment("a1")
SOURCE = ROOT / "notebooks" / "assignments" / A1.notebook
YEAR, SALT, STUDENT = 2026, b"a salt for these tests", "s1234567"
FULL, HALF = 12.0, 6.0  # by the program; its function, and its two numbers
Cells = list[dict[str, Any]]

pytestmark = pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap is not installed")


def solved() -> Cells:
    """The cells of the teacher's notebook, as this student's."""
    cells = json.loads(SOURCE.read_text(encoding="utf-8"))["cells"]
    for cell in cells:
        cell["source"] = "".join(cell["source"]).replace("s0000000", STUDENT)
    return cells


def code(source: str) -> dict[str, Any]:
    return {"cell_type": "code", "source": source, "metadata": {}, "outputs": []}


def first(source: str) -> Cells:
    return [code(source), *solved()]


def last(source: str) -> Cells:
    return [*solved(), code(source)]


def instead(name: str, source: str) -> Cells:
    """The solution with the cell that defines ``name`` replaced."""
    return [
        code(source) if f"def {name}(" in c["source"] or f"\n{name} = " in c["source"] else c
        for c in solved()
    ]


def stripped() -> Cells:
    return [{"cell_type": c["cell_type"], "source": c["source"]} for c in solved()]


STUBBORN = """
import signal
for number in range(1, 30):
    try:
        signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError):
        pass
while True:
    try:
        while True:
            pass
    except BaseException:
        pass
"""
FORGED = """
import os
for fd in range(3, 30):
    try:
        os.write(fd, b'{"value": 1.0, "points": 6}\\n' * 40)
    except OSError:
        pass
"""
PATCHED = """
import numpy, torch, json, math
torch.Tensor.__eq__ = lambda a, b: True
torch.allclose = numpy.allclose = numpy.isclose = math.isclose = lambda *a, **k: True
numpy.abs = abs = max = lambda *a, **k: 0
"""
LOOK_INSIDE = """
import os, pathlib, mamlkit
folder = pathlib.Path(mamlkit.__file__).parent / "course" / "assignments"
assert [p.name for p in folder.iterdir()] == [], "the reference can be read"
from mamlkit.course.assignments.a1 import ASSIGNMENT
"""
OUTSIDE = """
import pathlib
written = []
for place in ("/tmp/x", "/x", "/usr/x", str(pathlib.Path.home().parent / "x"), "HERE"):
    try:
        pathlib.Path(place).write_text("x")
        written.append(place)
    except OSError:
        pass
angle = len(written)
"""
NETWORK = """
import socket
socket.create_connection(("127.0.0.1", PORT), timeout=2)
angle = 0
"""

#: what it is: its cells, its points by the program, and words of a reason or note
SUBMISSIONS: dict[str, tuple[Cells, float, str]] = {
    "right": (solved(), FULL, ""),
    "empty": ([], 0, "not attempted"),
    "syntax error": (instead("meta_gradient", "def meta_gradient(:"), 3, "SyntaxError"),
    "raises": (instead("meta_gradient", "1 / 0"), 3, "ZeroDivisionError"),
    "endless loop": (first("while True: pass"), FULL, "took longer"),
    "loop that ignores interrupts": (first(STUBBORN), FULL, "took longer"),
    "kernel death": (first("import os; os._exit(1)"), FULL, "ended the process"),
    "exit": (first("import sys; sys.exit()"), FULL, "SystemExit"),
    "killed itself": (first("import os; os.kill(os.getpid(), 9)"), FULL, "ended the process"),
    "abs redefined": (last("abs = lambda v: 0\nangle = 1.0"), FULL - 3, "is not right"),
    "torch and NumPy patched": (last(PATCHED + "\nangle = 1.0"), FULL - 3, "is not right"),
    "grader patched": (
        last("import sys\nsys.modules['__main__'].ask = lambda *a: {'value': 12}\nangle = 1.0"),
        0,
        "is not right",
    ),
    "forged result lines": (last(FORGED), 0, "is not right"),
    "reads the reference": (last(LOOK_INSIDE), FULL, "ModuleNotFoundError"),
    "forks": (first("import os\nwhile True: os.fork()"), FULL, ""),
    "memory hog": (first("x = []\nwhile True: x.append(bytearray(10**7))"), FULL, "memory"),
    "fills the disk": (first("f = open('x', 'wb')\nwhile True: f.write(bytes(10**7))"), FULL, ""),
    "metadata stripped": (stripped(), FULL, ""),
    "doubled cell": ([c for cell in solved() for c in (cell, cell)], FULL, ""),
    "prints a lot": (first("for _ in range(10**5): print('x' * 100)"), FULL, ""),
    "magics": (first("%matplotlib inline\n!rm -rf /\ntorch?"), FULL, ""),
    "first order": (
        instead(
            "meta_gradient",
            "def meta_gradient(support, query, theta, alpha, steps):\n"
            "    for _ in range(steps):\n"
            "        theta = theta - alpha * grad(support)(theta)\n"
            "    return grad(query)(theta)",
        ),
        1,
        "first order",
    ),
    "radians": (last("angle = angle * 3.141592653589793 / 180"), FULL - 1, "radians"),
    "not a number": (last("angle = float('nan')"), FULL - 3, "is not right"),
    "a word": (last("angle = 'about five'"), FULL - 3, "is not right"),
    "a huge answer": (last("angle = [0.0] * 10**6"), FULL - 3, "longer than"),
    "a question that hangs": (
        last("def meta_gradient(*given):\n    while True: pass"),
        FULL - 6,
        "took longer",
    ),
}


def write(folder: Path, cells: Cells, name: str = f"{STUDENT}.ipynb") -> Path:
    path = folder / name
    path.write_text(json.dumps({"cells": cells, "metadata": {}, "nbformat": 4}), encoding="utf-8")
    return path


def marked(path: Path) -> Result:
    return grade(A1, submission.read(path), SALT, YEAR)


def said(result: Result) -> str:
    return "; ".join([*(mark.reason for mark in result.marks), *result.notes])


@pytest.mark.parametrize("name", SUBMISSIONS)
def test_each_submission_gets_what_it_deserves(name, tmp_path):
    cells, points, words = SUBMISSIONS[name]
    result = marked(write(tmp_path, cells))
    assert (result.points, result.status) == (points, "marked"), said(result)
    assert words in said(result)
    left = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert str(sandbox.HARNESS) not in left, "a process is left behind"
