"""The grader against submissions that are right, wrong, broken, or out to fool it.

Each row of the table says what the student's notebook holds, and the marks that it deserves.
"""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import errno
import json
import math
import os
import platform
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest

from mamlkit import cli
from mamlkit.course import grading
from mamlkit.course.assignments.base import Question, finite
from mamlkit.course.grading import harness, report, sandbox, submission
from mamlkit.course.grading.grade import Result, grade, mark
from mamlkit.course.handin import secret
from tests.helpers import ROOT

A1 = grading.find_assignment("a1")
SOURCE = ROOT / "notebooks" / "assignments" / A1.notebook
YEAR, SALT, STUDENT = 2026, b"a salt for these tests", "s1234567"
FULL = 12.0  # by the program
Cells = list[dict[str, Any]]

pytestmark = pytest.mark.skipif(
    shutil.which("bwrap") is None and "CI" not in os.environ, reason="bubblewrap is not installed"
)


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
    for number in range(100):
        try:
            os.write(fd, b'{"to": %d, "value": 99, "points": 6}\\n' % number)
        except OSError:
            pass
"""
HOG = "x = []\nwhile True: x.append(b'x' * 10**7)"
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
OUTSIDE = f"""
import pathlib
written = []
for place in ("/tmp", "/", "/usr", "/etc", "/dev", "/dev/shm", "/box/..", {str(ROOT)!r}):
    try:
        pathlib.Path(place, "x").write_text("x")
        written.append(place)
    except OSError:
        pass
angle += 100 * len(written)
"""
DAEMON = """
import subprocess, sys, threading
try:
    subprocess.Popen([sys.executable, "-c", "while True: pass"], start_new_session=True)
except PermissionError:
    threading.Thread(target=lambda: [None for _ in iter(int, 1)]).start()
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
    "abs redefined": (last("abs = lambda v: 0\nangle = 20.0"), FULL - 3, "is not right"),
    "torch and NumPy patched": (last(PATCHED + "\nangle = 20.0"), FULL - 3, "is not right"),
    "grader patched": (
        last("import sys\nsys.modules['__main__'].ask = lambda *a: {'value': 12}\nangle = 20.0"),
        FULL - 3,
        "is not right",
    ),
    "forged result lines": (last(FORGED), FULL, ""),
    "reads the reference": (last(LOOK_INSIDE), FULL, "ModuleNotFoundError"),
    "writes outside": (last(OUTSIDE), FULL, ""),
    "forks": (first("import os\nwhile True: os.fork()"), FULL, "PermissionError"),
    "memory hog": (first(HOG), FULL, "cell 1: "),  # on a slow machine its seconds end first
    "fills the disk": (
        first("f = open('x', 'wb')\nwhile True: f.write(bytes(10**7))"),
        FULL,
        "OSError",
    ),
    "leaves something running": (last(DAEMON), FULL, ""),
    "function named like the grader's own": (
        first("def run(*a): 1 / 0\nask = given = plain = reply = json = os = sys = run"),
        FULL,
        "",
    ),
    "without the checks": ([c for c in solved() if "print(" not in c["source"]], 6, "no angle"),
    "own data edited": (last("angle = angle + 1  # of other data"), FULL - 3, "is not right"),
    "metadata stripped": (stripped(), FULL, ""),
    "doubled cell": ([c for cell in solved() for c in (cell, cell)], FULL, ""),
    "prints a lot": (first("for _ in range(10**5): print('x' * 100)"), FULL, ""),
    "magics": (first("%matplotlib inline\n!rm -rf /\ntorch?"), FULL, ""),
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


def marked(path: Path, others: Sequence[str] = ()) -> Result:
    return grade(A1, submission.read(path), SALT, YEAR, others)


def said(result: Result) -> str:
    return "; ".join([*(mark.reason for mark in result.marks), *result.notes])


@pytest.fixture
def started(monkeypatch) -> list[psutil.Process]:
    """All processes of students that were there when a copy, or the whole child, was ended."""
    seen: list[psutil.Process] = []

    def look_and(do):
        def first_look(child):
            seen.extend(set(child._tree()) - child._own)
            return do(child)

        return first_look

    for name in ("stop", "end"):
        monkeypatch.setattr(sandbox.Child, name, look_and(getattr(sandbox.Child, name)))
    return seen


@pytest.mark.parametrize("name", SUBMISSIONS)
def test_each_submission_gets_what_it_deserves(name, tmp_path, started):
    cells, points, words = SUBMISSIONS[name]
    result = marked(write(tmp_path, cells))
    assert (result.points, result.status) == (points, "marked"), said(result)
    assert words in said(result)
    assert started, "the student's copy"
    assert not [p for p in psutil.wait_procs(started, timeout=5)[1] if p.is_running()]
    assert [p.name for p in tmp_path.iterdir()] == [f"{STUDENT}.ipynb"]


# --- one student after another in the same sandbox ------------------------------------------------

LIBC = "import ctypes, os\nlibc = ctypes.CDLL(None, use_errno=True)\n"
AFTER = f"""
import fcntl, os, resource, sys
seen = [
    sorted(os.listdir("/box")), os.stat("/box").st_mode, os.statvfs("/box").f_bfree, os.getcwd(),
    os.umask(0o22), sorted(os.sched_getaffinity(0)), os.getpriority(os.PRIO_PROCESS, 0),
    [list(resource.getrlimit(getattr(resource, n))) for n in dir(resource) if n[:7] == "RLIMIT_"],
    [fcntl.fcntl(fd, fcntl.F_GETFL) & {os.O_NONBLOCK | os.O_ASYNC} for fd in (3, 4)],
    hasattr(sys, "left"), os.environ.get("LEFT"), os.listdir("/proc"),
]
"""

#: what one does to those after it, and whether its sandbox is kept (None: as it comes)
ATTACKS: dict[str, tuple[str, bool | None]] = {
    "files": (
        "import os, sys\nos.makedirs('a/b')\nos.symlink('/usr', 'a/c')\n"
        "open('.d', 'w').write('x')\nos.umask(0)\nos.chdir('a')\n"
        "sys.left = os.environ['LEFT'] = 'left'\nopen('sitecustomize.py', 'w').write('1 / 0')",
        True,
    ),
    "a full box": (
        "import os\nfor n in range(20):\n    os.posix_fallocate(os.open(str(n), 66), 0, 10**7)",
        True,
    ),
    "a folder for nobody": ("import os\nos.makedirs('a', 0)", False),
    "a deep tree": (
        "import os\nfor n in range(3000):\n    os.mkdir('a')\n    os.chdir('a')",
        False,
    ),
    "many files": (
        "import os\nwhile True:\n    for n in range(10**6): os.close(os.open(str(n), 66))",
        None,
    ),
    "pipes that do not wait": (
        "import os, fcntl\nfor fd in (3, 4):\n    fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, 4096)\n"
        f"    fcntl.fcntl(fd, fcntl.F_SETFL, {os.O_NONBLOCK})",
        True,
    ),
    "pipes closed": ("import os\nos.closerange(3, 64)", True),
    "half a line": ("""import os\nos.write(4, b'{"to": "')""", True),
    "answers to what was not asked": (FORGED, True),
    "lines without end": (
        "import os\nos.set_blocking(4, False)\nwhile True:\n    try: os.write(4, b'\\n' * 4096)\n"
        "    except BlockingIOError: pass",
        True,
    ),
    "reads on": (
        "import os, threading\n"
        "threading.Thread(target=lambda: [os.read(3, 9) for _ in iter(int, 1)]).start()",
        True,
    ),
    "threads whose process looks dead": (
        LIBC + "import threading\ndef hold():\n    while line := os.read(3, 1 << 16):\n"
        "        os.write(4, line.replace(b'go', b'to'))\n"
        "threading.Thread(target=hold).start()\nlibc.syscall({'x86_64': 60}.get("
        "os.uname().machine, 93), 0)",
        True,
    ),
    "signals": (
        "import os, signal\nfor pid in (os.getppid(), 1, 0, -1):\n"
        "    for number in (signal.SIGSTOP, signal.SIGKILL):\n"
        "        try: os.kill(pid, number)\n        except PermissionError: pass",
        True,
    ),
    "a signal through a pipe": (
        "import os, fcntl\na, b = os.pipe()\nfor fd in (a, 3):\n"
        "    try: fcntl.fcntl(fd, fcntl.F_SETSIG, 19)\n    except PermissionError: pass\n"
        "    fcntl.fcntl(fd, fcntl.F_SETOWN, os.getppid())\n"
        f"    fcntl.fcntl(fd, fcntl.F_SETFL, {os.O_ASYNC})\n"
        "os._exit(0)",
        None,
    ),
    "limits": (
        "import os, resource\nresource.setrlimit(resource.RLIMIT_NOFILE, (9, 9))\n"
        "resource.prlimit(os.getppid(), resource.RLIMIT_CPU, (1, 1))",
        True,
    ),
    "a place in the queue": (
        "import os\ntry: os.setpriority(os.PRIO_PROCESS, os.getppid(), 19)\n"
        "finally: os.sched_setaffinity(os.getppid(), {0})",
        True,
    ),
    "a stop": ("import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)", True),
}


def here() -> sandbox.Child | None:
    return sandbox._waiting.get(threading.current_thread())


@pytest.mark.parametrize("name", ATTACKS)
def test_whatever_one_does_the_next_has_full_marks(name, tmp_path, monkeypatch):
    monkeypatch.setattr(sandbox, "CLOCK", 3)  # some only wait
    source, kept = ATTACKS[name]
    usual = sandbox.examine([AFTER], [{"name": "seen", "cases": [None]}]).answers["seen"][0]
    before = here()
    assert before is not None
    sandbox.examine([source], [])
    result = marked(write(tmp_path, first(f"{AFTER}\nassert seen == {usual['value']!r}, seen")))
    assert (result.points, result.notes) == (FULL, []), said(result)
    assert kept is None or (here() is before) == kept


def test_what_reaches_others_or_stays_is_refused():
    which = list(harness.PROCESSORS).index(platform.machine())
    calls = {n: c[which] for n, c in harness.REFUSED.items() if len(c) > which}
    calls |= {name: getattr(harness, name.upper())[which] for name in ("kill", "prlimit")}
    source = LIBC + (
        "done = {}\n"
        f"for name, number in {calls}.items():\n"
        "    result = libc.syscall(number, os.getppid(), 0, 0, 0, 0, 0)\n"
        "    done[name] = (result, ctypes.get_errno())\n"
        f"done['newer'] = libc.syscall({harness.NEWER}, 0), ctypes.get_errno()\n"
        "mine = os.kill(os.getpid(), 0), __import__('resource').getrlimit(0)"
    )
    outcome = sandbox.examine([source], [{"name": "done", "cases": [None]}])
    assert outcome.cells == {}
    wanted = {name: [-1, errno.EPERM] for name in calls} | {"newer": [-1, errno.ENOSYS]}
    assert outcome.answers["done"][0]["value"] == wanted


@pytest.mark.skipif(not Path("/usr/include/asm-generic/unistd.h").exists(), reason="no headers")
def test_the_numbers_of_calls_are_the_kernels():
    specials = {name.lower(): getattr(harness, name) for name in ("CLONE", "KILL", "TGKILL")}
    table = harness.REFUSED | specials | {"prlimit64": harness.PRLIMIT, "fcntl": harness.FCNTL}
    generic = Path("/usr/include/asm-generic/unistd.h").read_text(encoding="utf-8")
    found = Path("/usr/include").glob("x86_64-linux-gnu/asm/unistd_64.h")
    headers = [(1, generic), *((0, path.read_text(encoding="utf-8")) for path in found)]
    for which, text in headers:
        numbers = dict(re.findall(r"define __NR(?:3264)?_(\w+) (\d+)\b", text))
        for name, calls in table.items():
            wanted = str(calls[which]) if which < len(calls) else None
            assert numbers.get(name) == wanted, name


def test_nothing_that_can_be_written_is_shared_with_what_is_loaded():
    """Neither memory, nor files but the two pipes and /dev/null."""
    sandbox.examine([], [])
    child = here()
    assert child is not None
    (loaded,) = [p for p in child._own if "python" in p.name()]
    maps = Path(f"/proc/{loaded.pid}/maps").read_text(encoding="utf-8").splitlines()
    assert not [line for line in maps if line.split()[1][1::2] == "ws"]
    files = [os.readlink(path) for path in Path(f"/proc/{loaded.pid}/fd").iterdir()]
    assert sorted(name.partition(":")[0] for name in files) == [*["/dev/null"] * 3, "pipe", "pipe"]


def test_a_sandbox_that_died_or_hangs_is_nobodys_fault(tmp_path):
    for number in (signal.SIGKILL, signal.SIGSTOP):
        sandbox.examine([], [])
        child = here()
        assert child is not None
        child.limits = dataclasses.replace(child.limits, again=0.2)
        for process in child._own - {psutil.Process(child.process.pid)}:
            process.send_signal(number)
        result = grade(A1, submission.read(write(tmp_path, solved())), SALT, YEAR)
        assert (result.points, result.notes) == (FULL, []), said(result)
        assert here() is not child
        assert child.process.poll() is not None


def test_a_big_question_that_nobody_reads_is_given_up():
    limits = dataclasses.replace(sandbox.Limits(), cell=0.5, restarts=1)
    waits = (
        "import os, sys, time\nframe = sys._getframe()\n"
        "while 'request' not in frame.f_locals: frame = frame.f_back\n"
        "number = frame.f_locals['request']['number'].encode()\n"
        """os.write(4, b'{"to": "%s"}\\n' % number)\ntime.sleep(1000)"""
    )
    outcome = sandbox.examine([waits, "#" * 10**6], [], limits=limits)
    assert "did not read" in outcome.cells[1]


def test_other_limits_are_those_of_another_sandbox():
    sandbox.examine([], [])
    limits = dataclasses.replace(sandbox.Limits(), disk=1)
    outcome = sandbox.examine(["open('x', 'wb').write(bytes(2 * 10**6))"], [], limits=limits)
    assert "File too large" in outcome.cells[0]


def test_memory_has_a_limit_of_its_own():
    limits = dataclasses.replace(sandbox.Limits(), cell=30.0, whole=30.0)
    assert "used more than 1500 MB" in sandbox.examine([HOG], [], limits=limits).cells[0]


def test_the_cpu_that_is_told_is_ones_own():
    sandbox.end_waiting()
    assert sandbox.examine([], []).cpu < 0.5, "loading torch is on nobody"
    spent = [
        sandbox.examine([source], []).cpu
        for source in ("for n in range(2 * 10**7): pass", "pass", "while True: pass")
    ]
    assert 0.2 < spent[0] < 2
    assert spent[1] < 0.5 * spent[0]
    assert 2 < spent[2] < 3.5


def test_there_is_no_network(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        source = f"import socket\nsocket.create_connection(('127.0.0.1', {port}), timeout=1)\n"
        result = marked(write(tmp_path, last(source + "angle = 0")))
        server.settimeout(0)
        with pytest.raises(BlockingIOError):
            server.accept()
    assert result.points == FULL
    assert "Error" in said(result)


FILES: dict[str, tuple[bytes, str]] = {
    "50 MB": (json.dumps({"cells": solved(), "x": "x" * 50_000_000}).encode(), "50 MB"),
    "an image": (b"\x89PNG\r\n\x1a\n" + bytes(range(256)), "cannot be read"),
    "text": (b"my homework", "not a notebook"),
    "nothing": (b"", "not a notebook"),
    "another JSON": (b'{"cells": 3}', "not a notebook"),
    "a list": (b"[]", "not a notebook"),
    "deep": (b"[" * 100_000, "not a notebook"),
}


@pytest.mark.parametrize("name", FILES)
def test_what_is_not_a_notebook_is_said_and_not_run(name, tmp_path):
    content, words = FILES[name]
    path = tmp_path / f"{STUDENT}.ipynb"
    path.write_bytes(content)
    result = marked(path)
    assert (result.points, result.status, result.cpu) == (0, "not marked", 0)
    assert words in said(result)
    assert result.student == STUDENT


@pytest.mark.parametrize("name", ["file (1).ipynb", "file - Copy.ipynb", "ünï.ipynb", "x"])
def test_a_file_may_have_any_name(name, tmp_path):
    result = marked(write(tmp_path, solved(), name))
    assert (result.points, result.student) == (FULL, STUDENT)


def test_without_a_student_number_the_name_of_the_file_counts(tmp_path):
    cells = [c for c in solved() if "STUDENT = " not in c["source"]]
    result = marked(write(tmp_path, cells, f"{STUDENT} (2).ipynb"))
    assert result.student == STUDENT


def test_cells_that_are_none_are_left_out(tmp_path):
    odd: list[Any] = [3, None, {"cell_type": "code"}, {"cell_type": "code", "source": 5}]
    assert marked(write(tmp_path, [*odd, *solved()])).points == FULL


def test_the_numbers_of_another_student_score_nothing(tmp_path):
    theirs = json.dumps(solved()).replace(STUDENT, "s7654321")
    cells = [*solved(), *json.loads(theirs)[:13]]  # data and angle of the other one
    mine = f"STUDENT = {STUDENT!r}"
    result = marked(write(tmp_path, [*cells, code(mine)]), ["s7654321", "s5555555"])
    assert result.points == FULL - 3
    assert result.status == "look"
    assert "another student's data" in said(result)
    assert "s7654321" not in said(result), "a student reads this"
    assert [m.to_teacher for m in result.marks if m.to_teacher] == ["angle: the data of s7654321"]


def test_data_of_another_year_are_said(tmp_path):
    cells = json.loads(json.dumps(solved()).replace(f"YEAR = {YEAR}", "YEAR = 2025"))
    result = marked(write(tmp_path, cells))
    assert result.points == FULL - 6
    assert "YEAR is 2025 in the notebook, and the course is of 2026" in said(result)


def test_secret_inputs_differ_by_student_and_salt():
    question = A1.questions[0]
    assert question.cases is not None
    drawn = []
    for salt, student in ((SALT, "s1"), (SALT, " S1"), (SALT, "s2"), (b"another salt", "s1")):
        rng = secret(salt, student, "a1/meta_gradient")
        drawn.append(json.dumps(question.cases(rng, {})))
    assert drawn[0] == drawn[1]
    assert len(set(drawn)) == 3


def near(inputs, value, own):
    """A score: the nearer the better."""
    (wanted,) = inputs or [own["wanted"]]
    number = finite(value)
    if number is None:
        return 0, "one number is asked for"
    gap = abs(float(number) - wanted)
    return 1 - gap, f"off by {gap:g}"


TRIED = Question("tried", "Near 1 and 2", 4, cases=lambda rng, own: [[1], [2]], score=near)
NONSENSE = ["a word", math.nan, [1.0, 2.0], [], [[1.0], [2.0, 3.0]], {"a": 1}, True, 10**400]


@pytest.mark.parametrize(
    ("given", "points", "words"),
    [
        ([{"value": 1}, {"value": 2.0}], 4, "off by 0"),
        ([{"value": 1}, {"value": 2.25}], 3.5, "off by 0.25"),
        ([{"value": 1.5}, {"value": 2.25}], 2.5, "off by 0.5"),
        ([{"value": 1}, {"value": 70}], 2, "off by 68"),
        ([{"value": 1}, {"error": "took longer than 2 s"}], 2, "tried took longer"),
        ([{"error": "ValueError: no"}, {"value": 2}], 2, "tried ValueError: no"),
        ([{"value": 1}], 2, "no answer came back"),
        ([{"value": 1}, {"value": None}], 2, "no answer came back"),
        ([{"value": None}, {"value": None}], 0, "not attempted"),
        ([{"missing": True}], 0, "not attempted: there is no tried"),
        ([], 0, "not attempted"),
    ],
)
def test_a_score_is_the_mean_over_the_cases_with_the_reason_of_the_worst(given, points, words):
    result = mark(TRIED, given, [[1], [2]], {}, {})
    assert (result.points, result.of) == (points, 4)
    assert words in result.reason


@pytest.mark.parametrize("value", NONSENSE[:5] + NONSENSE[7:])
def test_nonsense_scores_nothing_with_a_reason(value):
    result = mark(TRIED, [{"value": value}, {"value": 2}], [[1], [2]], {}, {})
    assert (result.points, result.reason) == (2, "one number is asked for")


@pytest.mark.parametrize("value", [*NONSENSE, math.inf, 1e308])
def test_marking_goes_on_where_a_score_does_not(value):
    def trusting(inputs, value, own):
        return (math.nan if value == 1e308 else value[0] + 0 * float(value[1])), "trusted"

    careless = Question("careless", "", 4, score=trusting)
    result = mark(careless, [{"value": value}], None, {}, {})
    assert result.points in (0, 4)
    assert "cannot be judged" in result.reason or result.reason == "trusted"


@pytest.mark.parametrize(("share", "points"), [(7, 4), (-1, 0), (math.nan, 0), (0.5, 2)])
def test_a_share_lies_between_nothing_and_all(share, points):
    question = Question("free", "", 4, score=lambda inputs, value, own: (share, "so"))
    result = mark(question, [{"value": 1}], None, {}, {})
    assert (result.points, result.reason) == (points, "so")


def test_a_value_is_scored_with_the_own_data():
    question = Question("value", "", 4, score=near)
    assert mark(question, [{"value": 3.5}], None, {"wanted": 3}, {}).points == 2


def test_numbers_of_a_shape_or_none():
    assert finite(3) == 3
    pairs = finite([[1, 2], [3, 4]], -1, 2)
    assert pairs is not None
    assert pairs.shape == (2, 2)
    for value, shape in [(3, [1]), ([1], []), ([1, 2], [3]), (["a"], [1]), ([math.inf], [1])]:
        assert finite(value, *shape) is None


@pytest.mark.parametrize("value", NONSENSE)
def test_nonsense_is_not_right(value):
    question = Question("value", "", 4, lambda own: 3.0)
    assert mark(question, [{"value": value}], None, {}, {}).points == 0


def test_a_number_near_anothers_is_not_called_copied():
    question = Question("value", "", 4, lambda own: own["wanted"], rtol=0.02)
    for value, copied in [(3.02, False), (3.0, True), (3.0001, True)]:
        result = mark(question, [{"value": value}], None, {"wanted": 2.0}, {"s2": {"wanted": 3.0}})
        assert (result.points, "copied" in result.reason) == (0, copied)


# --- the commands ---------------------------------------------------------------------------------


@pytest.fixture
def course(tmp_path, monkeypatch) -> Path:
    """A folder with three submissions and a salt."""
    monkeypatch.chdir(tmp_path)
    Path("salt.txt").write_bytes(SALT)
    Path("in").mkdir()
    for student in ("s1", "s2"):
        text = json.dumps(solved()).replace(STUDENT, student)
        write(Path("in"), json.loads(text), f"{student}.ipynb")
    Path("in/s3.ipynb").write_text("<b>no</b>", encoding="utf-8")
    return tmp_path


def run_command(*words: str) -> int:
    return cli.main(["grade", "a1", *words])


def table(path: str) -> list[dict[str, str]]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_from_handout_to_the_grades(course, capsys):
    assert cli.main(["assignment", "a1", "--out", "handout", "--year", str(YEAR)]) == 0
    assert "BEGIN SOLUTION" not in Path("handout", A1.notebook).read_text(encoding="utf-8")
    given = ["--salt", "salt.txt", "--out", "marks", "--year", str(YEAR)]
    assert run_command("in", *given, "--sheet") == 0
    rows = {row["student"]: row for row in table("marks/marks.csv")}
    assert [rows[s]["points"] for s in ("s1", "s2", "s3")] == ["12", "12", "0"]
    assert rows["s3"]["status"] == "not marked"
    assert "not a notebook" in rows["s3"]["reason"]
    page = Path("marks/feedback/s1.html").read_text(encoding="utf-8")
    assert "<b>12</b> of 12" in page
    assert "://" not in page
    sheet = table("marks/sheet.csv")
    assert len(sheet) == 3 * len(A1.written)
    text = Path("marks/sheet.html").read_text(encoding="utf-8")
    assert not [s for s in ("s1", "s2", "s3") if s in text + json.dumps(sheet)], (
        "names on the sheet"
    )

    assert run_command(*given, "--merge") == 1  # nothing is filled in
    assert "sheet.csv, line" in capsys.readouterr().err
    for row in sheet:
        row["points"] = row["points"] or "2,5"
        row["comment"] = row["comment"] or "=1+1"
    with open("marks/sheet.csv", "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(sheet[0]))
        writer.writeheader()
        writer.writerows(sheet)
    assert run_command("in", *given, "--sheet") == 0  # again: what was filled in stays
    with open("marks/sheet.csv", "w", encoding="utf-8-sig", newline="") as file:
        writer = csv.DictWriter(file, list(sheet[0]), delimiter=";")  # as a spreadsheet may save it
        writer.writeheader()
        writer.writerows(sheet)
    assert run_command(*given, "--merge") == 0
    grades = {row["ID number"]: row for row in table("marks/moodle.csv")}
    assert [grades[s]["Grade"] for s in ("s1", "s2", "s3")] == ["17", "17", "0"]
    assert {row["Maximum Grade"] for row in grades.values()} == {"20"}


@pytest.mark.parametrize(
    ("sheet", "marks", "said"),
    [
        ("x,A1.1,6,", "s1,12,marked,", "line 2 (x): '6'; a number from 0 to 5 is needed"),
        ("x,A1.1,,", "s1,12,marked,", "line 2 (x): ''; a number from 0 to 5 is needed"),
        ("x,A9.1,1,", "s1,12,marked,", "a1 has no A9.1"),
        ("CODE,A1.1,1,", "s1,12,marked,", "has not all answers of s1"),
        ("CODE,A1.1,1,\nCODE,A1.2,1,", "s1,30,marked,", "marks.csv, line 2: '30'"),
        ("CODE,A1.1,1,\nCODE,A1.2,1,", "s1,1,marked,\nS1,1,marked,", "has S1 twice"),
    ],
)
def test_tables_that_cannot_be_merged_are_said(course, capsys, sheet, marks, said):
    Path("marks").mkdir()
    sheet = sheet.replace("CODE", report.code(SALT, "s1"))
    Path("marks/sheet.csv").write_text(f"code,question,points,comment\n{sheet}\n", "utf-8")
    Path("marks/marks.csv").write_text(f"student,points,status,reason\n{marks}\n", "utf-8")
    assert run_command("--salt", "salt.txt", "--out", "marks", "--merge") == 1
    assert said in capsys.readouterr().err.replace("\n", " ")


def test_marks_are_the_same_with_the_same_salt(course):
    for out in ("one", "two"):
        assert run_command("in", "--salt", "salt.txt", "--out", out, "--year", str(YEAR)) == 0
    assert Path("one/marks.csv").read_bytes() == Path("two/marks.csv").read_bytes()


def test_a_student_checks_their_own(course, capsys):
    text = Path("in/s1.ipynb").read_text(encoding="utf-8").replace(f"YEAR = {YEAR}", "YEAR = 2031")
    Path("in/s1.ipynb").write_text(text, encoding="utf-8")
    assert run_command("in/s1.ipynb") == 0  # of the year that it states
    said = capsys.readouterr().out
    assert "s1: 12 of 12, marked" in said
    assert "meta_gradient: 6 of 6: right" in said
    assert "A1.1: 5 points by hand: there" in said
    assert sorted(p.name for p in course.iterdir()) == ["in", "salt.txt"]


def test_a_missing_student_number_costs_nobody_else_their_marks(course):
    text = json.dumps(solved()).replace(STUDENT, "your student number")
    write(Path("in"), json.loads(text), "s3.ipynb")
    assert run_command("in", "--salt", "salt.txt", "--out", "marks", "--year", str(YEAR)) == 0
    rows = {row["file"]: row for row in table("marks/marks.csv")}
    assert [rows[f"s{n}.ipynb"]["points"] for n in (1, 2, 3)] == ["12", "12", "0"]
    assert rows["s3.ipynb"]["status"] == "not marked"
    assert "write your own student number" in rows["s3.ipynb"]["reason"]


def test_two_files_of_one_student_are_for_a_person_to_look_at(course):
    text = Path("in/s1.ipynb").read_text(encoding="utf-8")
    Path("in/s1 (1).ipynb").write_text(
        text.replace('"s1', '"S1').replace('\\"s1', '\\"S1'), "utf-8"
    )
    assert run_command("in", "--salt", "salt.txt", "--out", "marks", "--year", str(YEAR)) == 0
    rows = [row for row in table("marks/marks.csv") if row["student"].lower() == "s1"]
    assert [row["status"] for row in rows] == ["look", "look"]
    assert "2 files say that they are S1" in rows[0]["reason"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["in"], "needs --salt FILE"),
        ([], "give a notebook"),
        (["nowhere", "--salt", "salt.txt", "--out", "o"], "is not there"),
        (["in", "--salt", "none.txt", "--out", "o"], "cannot be read"),
        (["in", "--salt", "short.txt", "--out", "o"], "a salt needs 8"),
        (["--merge"], "--merge needs"),
        (["--merge", "--salt", "salt.txt", "--out", "o"], "marks.csv is not there"),
    ],
)
def test_what_the_command_cannot_do_is_said(course, capsys, words, said):
    Path("short.txt").write_text("x", encoding="utf-8")
    assert run_command(*words) == 1
    assert said in capsys.readouterr().err.replace("\n", " ")


def test_without_bubblewrap_it_refuses_unless_trusted(course, capsys, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert run_command("in/s1.ipynb", "--year", str(YEAR)) == 1
    assert "bubblewrap" in capsys.readouterr().err
    assert run_command("in/s1.ipynb", "--year", str(YEAR), "--trust") == 0
    assert "s1: 12 of 12" in capsys.readouterr().out


def test_where_bubblewrap_does_not_work_nobody_gets_a_mark(course, capsys, monkeypatch):
    Path("bwrap").write_text("#!/bin/sh\necho no namespaces here >&2\nexit 1\n", encoding="utf-8")
    Path("bwrap").chmod(0o755)
    monkeypatch.setenv("PATH", str(course), prepend=os.pathsep)
    assert run_command("in", "--salt", "salt.txt", "--out", "marks", "--year", str(YEAR)) == 1
    said = capsys.readouterr()
    assert "no namespaces here" in said.err
    assert " of 12" not in said.out
    assert not Path("marks/marks.csv").exists()


def test_a_grader_that_is_killed_leaves_nothing(course):
    write(Path("in"), first("while True: pass"), "s1.ipynb")
    command = [sys.executable, "-m", "mamlkit", "grade", "a1", "in/s1.ipynb"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as grader:
        tree = psutil.Process(grader.pid)
        end = time.monotonic() + 120
        while len(started := tree.children(recursive=True)) < 4 and time.monotonic() < end:
            time.sleep(0.1)
        grader.kill()
    assert len(started) >= 4
    assert not psutil.wait_procs(started, timeout=10)[1]


def test_a_command_that_ends_leaves_nothing(course):
    command = [sys.executable, "-m", "mamlkit", "grade", "a1", "in/s1.ipynb"]
    seen: set[psutil.Process] = set()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as grader:
        while grader.poll() is None:
            with contextlib.suppress(psutil.Error):
                seen |= set(psutil.Process(grader.pid).children(recursive=True))
            time.sleep(0.1)
    assert grader.returncode == 0
    assert len(seen) >= 4
    assert not psutil.wait_procs(list(seen), timeout=10)[1]


def test_the_command_leaves_no_sandbox_waiting(course):
    assert run_command("in", "--salt", "salt.txt", "--out", "marks", "--year", str(YEAR)) == 0
    assert not sandbox._waiting
