"""Run a student's cells in a child process that can do no harm, and ask it for numbers.

The child sees Python, its packages and an empty folder of its own; it has no network, can write
nowhere else, and is killed when it is over its limits of time or memory. With it die all processes
that it started.
"""

from __future__ import annotations

import json
import os
import selectors
import shutil
import site
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mamlkit.errors import MamlkitError

HARNESS = Path(__file__).with_name("harness.py")
PACKAGE = Path(__file__).resolve().parents[2]
SECRET = [PACKAGE / "course" / "assignments"]  # reference answers: the child finds an empty folder
SYSTEM = ("/usr", "/lib", "/lib64", "/bin", "/etc/ld.so.cache", "/etc/fonts", "/etc/localtime")
BOX = "/box"
MEGABYTE = 1 << 20
CLOCK = 10  # seconds on the clock for each second of CPU that is allowed


@dataclass(frozen=True)
class Limits:
    """Seconds of CPU, so that a busy machine is nobody's fault, and megabytes. On the clock ten times
    the seconds may pass.
    """

    cell: float = 4.0
    question: float = 4.0
    whole: float = 20.0
    start: float = 30.0  # until Python and torch are there
    memory: int = 1500
    disk: int = 200
    processes: int = 64
    restarts: int = 3


class Stopped(Exception):
    """The child ended, or had to be ended; the reason is for the student to read."""


@dataclass
class Outcome:
    """What came of a submission: errors by cell, answers by question, seconds of CPU."""

    cells: dict[int, str] = field(default_factory=dict)
    answers: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    cpu: float = 0.0


class Child:
    """The child process and the line to it."""

    def __init__(self, command: Sequence[str], env: Mapping[str, str] | None, limits: Limits):
        self.limits, self.cpu, self._rest = limits, 0.0, b""
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=env,
            start_new_session=True,
        )
        assert self.process.stdout is not None
        os.set_blocking(self.process.stdout.fileno(), False)
        megabytes = limits.memory * MEGABYTE
        rlimits = {"RLIMIT_CORE": 0, "RLIMIT_FSIZE": limits.disk * MEGABYTE}
        rlimits |= {"RLIMIT_NPROC": limits.processes, "RLIMIT_AS": 8 * megabytes}
        self.send(rlimits)

    def send(self, message: Any) -> None:
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(message).encode() + b"\n")
            self.process.stdin.flush()
        except (BrokenPipeError, OSError) as error:
            raise Stopped("ended the process") from error

    def request(self, message: Any, seconds: float, what: str) -> Any:
        """Send, and wait for one line; look at time and memory meanwhile."""
        self._watch()
        self.send(message)
        end = time.monotonic() + CLOCK * seconds, self.cpu + seconds
        for line in self._lines(end, what):
            try:
                return json.loads(line)
            except ValueError:
                return {"error": "what came back was not an answer"}
        raise Stopped("ended the process")

    def _lines(self, end: tuple[float, float], what: str) -> Iterator[bytes]:
        assert self.process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            while b"\n" not in self._rest:
                self._watch()
                if time.monotonic() > end[0] or self.cpu > end[1]:
                    raise Stopped(f"took longer than {what}")
                if not selector.select(0.05):
                    continue
                part = self.process.stdout.read(1 << 16)
                if not part:
                    return
                self._rest += part
                if len(self._rest) > 4 * MEGABYTE:
                    raise Stopped("wrote more than 4 MB where one answer was asked for")
        line, _, self._rest = self._rest.partition(b"\n")
        yield line

    def _watch(self) -> None:
        import psutil

        used, cpu = 0, 0.0
        try:
            tree = psutil.Process(self.process.pid).children(recursive=True)
        except psutil.Error:
            return
        for one in tree:
            try:
                used += one.memory_info().rss
                times = one.cpu_times()
            except psutil.Error:
                continue
            cpu += times.user + times.system
        self.cpu = max(self.cpu, cpu)
        if used > self.limits.memory * MEGABYTE:
            raise Stopped(f"used more than {self.limits.memory} MB of memory")
        if len(tree) > self.limits.processes:
            raise Stopped(f"started more than {self.limits.processes} processes")

    def end(self) -> None:
        """Kill the child and, the namespace of processes being its own, all that it started."""
        try:
            os.killpg(self.process.pid, 9)
        except ProcessLookupError:
            pass
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except OSError:
                    pass


def examine(
    cells: Sequence[str],
    questions: Sequence[Mapping[str, Any]],
    *,
    trust: bool = False,
    limits: Limits = Limits(),
) -> Outcome:
    """Run the cells, then ask the questions.

    A cell that takes too long or ends the process costs itself alone: the process is started again
    without it. The same holds for a question.

    Args:
        cells: Python source, in order.
        questions: each with ``name``, what to ask for, and ``cases``: lists of inputs, or None where
            a plain value is asked for.
        trust: run the code as it is where bubblewrap is missing, with the rights of whoever calls.
        limits: of time and memory.

    Returns:
        what came of it. Nothing of it is judged.

    Raises:
        MamlkitError: if there is no bubblewrap and no ``trust``.
    """
    command, env = child_command(trust)
    outcome, end = Outcome(), time.monotonic() + CLOCK * limits.whole
    skipped: set[int] = set()
    done: set[str] = set()
    for _ in range(limits.restarts + 1):
        child = Child(command, env, limits)
        try:
            _all_cells(child, cells, skipped, outcome, end)
            _all_questions(child, questions, done, outcome, end)
        except Stopped:
            continue
        else:
            break
        finally:
            child.end()
            outcome.cpu += child.cpu
    for question in questions:
        if question["name"] not in done:
            error = {"error": "was not asked: too many restarts, or the time was used up"}
            outcome.answers.setdefault(question["name"], [error])
    return outcome


def _all_cells(
    child: Child, cells: Sequence[str], skipped: set[int], outcome: Outcome, end: float
) -> None:
    child.request({"source": "import torch, mamlkit", "name": "start"}, child.limits.start, "start")
    for index, source in enumerate(cells):
        if index in skipped:
            continue
        seconds = min(child.limits.cell, (end - time.monotonic()) / CLOCK)
        request = {"source": source, "name": f"cell {index + 1}"}
        try:
            error = child.request(request, seconds, f"{child.limits.cell:g} s").get("error")
        except Stopped as stopped:
            skipped.add(index)
            outcome.cells[index] = str(stopped)
            raise
        if error:
            outcome.cells[index] = error


def _all_questions(
    child: Child,
    questions: Sequence[Mapping[str, Any]],
    done: set[str],
    outcome: Outcome,
    end: float,
) -> None:
    for question in questions:
        name = question["name"]
        if name in done:
            continue
        done.add(name)
        given: list[dict[str, Any]] = []
        outcome.answers[name] = given
        for inputs in question["cases"]:
            seconds = min(child.limits.question, (end - time.monotonic()) / CLOCK)
            request = {"ask": name} | ({} if inputs is None else {"inputs": inputs})
            try:
                answer = child.request(request, seconds, f"{child.limits.question:g} s")
            except Stopped as stopped:
                given.append({"error": str(stopped)})
                raise
            given.append(answer if isinstance(answer, dict) else {"error": "not an answer"})


def child_command(trust: bool) -> tuple[list[str], dict[str, str] | None]:
    """How the child is started, and with what environment."""
    settings = {
        "HOME": BOX,
        "PATH": "/usr/bin:/bin",
        "OMP_NUM_THREADS": "1",
        "MPLBACKEND": "agg",
        "MPLCONFIGDIR": BOX,
        "PYTHONDONTWRITEBYTECODE": "1",
        "LC_ALL": "C.UTF-8",
    }
    python = [sys.executable, "-s", str(HARNESS)]
    bubblewrap = shutil.which("bwrap")
    if bubblewrap is None:
        if not trust:
            raise MamlkitError(
                "grading runs students' code in a sandbox, which needs bubblewrap, and 'bwrap' is "
                "not on the path: on Debian or Ubuntu 'apt install bubblewrap'; on other systems "
                "grade in a container (docs/teaching.md). With --trust the code runs with your own "
                "rights: it may read and delete your files."
            )
        return python, {**os.environ, **settings, "HOME": os.environ.get("HOME", BOX)}
    command = [bubblewrap, "--unshare-all", "--die-with-parent", "--new-session", "--clearenv"]
    command += ["--uid", "1000", "--gid", "1000", "--proc", "/proc", "--dev", "/dev"]
    for path in SYSTEM:
        command += ["--ro-bind-try", path, path]
    for path in dict.fromkeys([sys.base_prefix, sys.prefix, *site.getsitepackages(), str(PACKAGE)]):
        command += ["--ro-bind", path, path]
    for path in SECRET:
        command += ["--tmpfs", str(path)]
    command += ["--size", str(200 * MEGABYTE), "--tmpfs", BOX, "--chdir", BOX, "--remount-ro", "/"]
    for path in SECRET:
        command += ["--remount-ro", str(path)]
    for name, value in {**settings, "PYTHONPATH": str(PACKAGE.parent)}.items():
        command += ["--setenv", name, value]
    return [*command, *python], None
