"""Run a student's cells in a child process that can do no harm, and ask it for numbers.

The child sees Python, its packages and an empty folder of its own; it has no network, can write
nowhere else, and is killed when it is over its limits of time or memory. With it die all processes
that it started.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import site
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from mamlkit.errors import MamlkitError

HARNESS = Path(__file__).with_name("harness.py")
PACKAGE = Path(__file__).resolve().parents[2]
SECRET = [PACKAGE / "course" / "assignments"]  # reference answers: the child finds an empty folder
SYSTEM = ("/usr", "/lib", "/lib64", "/bin", "/etc/ld.so.cache", "/etc/fonts", "/etc/localtime")
BOX = "/box"
MEGABYTE = 1 << 20
LONGEST = 4_000_000  # bytes that are read for one answer
CLOCK = 10  # seconds on the clock for each second of CPU that is allowed


@dataclass(frozen=True)
class Limits:
    """Seconds of CPU, so that a busy machine is nobody's fault, and megabytes. On the clock ten
    times the seconds may pass.
    """

    cell: float = 2.0
    question: float = 2.0
    whole: float = 4.0  # of the student's code
    start: float = 30.0  # until Python and torch are there
    memory: int = 1500
    disk: int = 200
    processes: int = 16
    restarts: int = 4


class Stopped(Exception):
    """The student's code ended, or had to be ended; the reason is for the student to read."""


class Gone(Stopped):
    """The whole child ended with it."""


@dataclass
class Outcome:
    """What came of a submission: errors by cell, answers by question, seconds of CPU."""

    cells: dict[int, str] = field(default_factory=dict)
    answers: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    cpu: float = 0.0


class Child:
    """The child process and the line to it. It loads torch once; a student's code runs in a copy of
    it, so that a fresh start after an endless loop costs nothing.
    """

    def __init__(self, command: Sequence[str], env: Mapping[str, str] | None, limits: Limits):
        self.limits, self.cpu, self._rest, self._number = limits, 0.0, b"", 0
        self._between = 2 if env is None else 0  # bubblewrap's own processes
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
        rlimits = {"RLIMIT_CORE": 0, "RLIMIT_FSIZE": limits.disk * MEGABYTE}
        rlimits |= {"RLIMIT_AS": 8 * limits.memory * MEGABYTE}
        rlimits |= {"RLIMIT_CPU": int(limits.start + limits.whole)}  # if this process is killed
        with contextlib.suppress(Gone):  # the first request will say it
            self._send({"limits": rlimits})

    def request(self, message: dict[str, Any], seconds: float, what: str) -> dict[str, Any]:
        """Send, and wait for the answer; look at time and memory meanwhile."""
        self._number += 1
        self._watch()
        self._send({**message, "number": self._number})
        clock, cpu = time.monotonic() + CLOCK * seconds, self.cpu + seconds
        while True:
            reply = self._next_line()
            self._watch()
            if reply.get("to") == self._number:
                return reply
            if "ended" in reply and "go" not in message:  # or it tells of the copy before
                raise Stopped("ended the process")
            if time.monotonic() > clock or self.cpu > cpu:
                raise Stopped(f"took longer than {what}")

    def renew(self) -> None:
        """End the copy that runs a student's code, with all that it started; begin a fresh one."""
        for process in self._theirs():
            with contextlib.suppress(psutil.Error):
                process.kill()
        end = time.monotonic() + 1
        while self._theirs():  # it starts more than are ended: only the end of all ends it
            if time.monotonic() > end:
                raise Gone("could not be ended")
            time.sleep(0.01)
        self.request({"go": True}, self.limits.start, f"{self.limits.start:g} s to start")

    def end(self) -> float:
        """Kill the child and, the namespace of processes being its own, all that it started; return
        the seconds of CPU that it took.
        """
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, 9)
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            with contextlib.suppress(OSError):
                if pipe is not None:
                    pipe.close()
        return self.cpu

    def _send(self, message: dict[str, Any]) -> None:
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(message).encode() + b"\n")
            self.process.stdin.flush()
        except OSError as error:
            raise Gone("ended the process") from error

    def _next_line(self) -> dict[str, Any]:
        """What came, if a whole line did within a moment; {} if it is not what a child writes."""
        assert self.process.stdout is not None
        if b"\n" not in self._rest and select.select([self.process.stdout], [], [], 0.05)[0]:
            part = self.process.stdout.read(1 << 16)
            if part == b"":
                raise Gone("ended the process")
            self._rest += part or b""
            if len(self._rest) > LONGEST:
                raise Gone(f"wrote more than {LONGEST / 1e6:.0f} MB where one answer was asked for")
        line, found, rest = self._rest.partition(b"\n")
        if not found:
            return {}
        self._rest = rest
        try:
            reply = json.loads(line)
        except (ValueError, RecursionError):
            return {}
        return reply if isinstance(reply, dict) else {}

    def _tree(self) -> list[psutil.Process]:
        """The processes of the child, the oldest first."""
        try:
            first = psutil.Process(self.process.pid)
            return sorted([first, *first.children(recursive=True)], key=lambda p: p.create_time())
        except psutil.Error:
            return []

    def _theirs(self) -> list[psutil.Process]:
        """Those that a student's code runs in."""
        return [p for p in self._tree()[1 + self._between :] if _alive(p)]

    def _watch(self) -> None:
        tree, cpu, used = self._tree(), 0.0, 0
        if len(tree) > self.limits.processes:
            raise Gone(f"started more than {self.limits.processes} processes")
        for process in tree:
            with contextlib.suppress(psutil.Error):
                times = process.cpu_times()
                cpu += times.user + times.system + times.children_user + times.children_system
                used += process.memory_info().rss
        self.cpu = max(self.cpu, cpu)
        most = self.limits.memory * MEGABYTE
        if used > most and sum(map(_own_memory, tree)) > most:
            raise Stopped(f"used more than {self.limits.memory} MB of memory")


def _alive(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


def _own_memory(process: psutil.Process) -> int:
    """Bytes, with what copies share counted once between them; slower to ask for."""
    try:
        return int(process.memory_full_info().pss)
    except psutil.Error:
        return 0


def examine(
    cells: Sequence[str],
    questions: Sequence[Mapping[str, Any]],
    *,
    trust: bool = False,
    limits: Limits = Limits(),
) -> Outcome:
    """Run the cells, then ask the questions.

    A cell that takes too long or ends the process costs itself alone: all is begun again without
    it. The same holds for a question.

    Args:
        cells: Python source, in order.
        questions: each with ``name``, what to ask for, and ``cases``: lists of inputs, or None
            where a plain value is asked for.
        trust: run the code as it is where bubblewrap is missing, with the rights of whoever calls.
        limits: of time and memory.

    Returns:
        what came of it. Nothing of it is judged.

    Raises:
        MamlkitError: if there is no bubblewrap and no ``trust``, or if it does not work here.
    """
    command, env = child_command(trust)
    run, child = _Run(cells, questions, limits), None
    for _ in range(limits.restarts + 1):
        try:
            if child is None:
                child = started(command, env, limits)
            else:
                child.renew()
            run.go_on(child)
        except Stopped as stopped:
            if isinstance(stopped, Gone) and child is not None:
                run.outcome.cpu += child.end()
                child = None
            if run.left > 0:
                continue
        break
    if child is not None:
        run.outcome.cpu += child.end()
    for question in questions:
        error = {"error": "was not asked: too many restarts, or the time was used up"}
        run.outcome.answers.setdefault(question["name"], [error])
    return run.outcome


def started(command: Sequence[str], env: Mapping[str, str] | None, limits: Limits) -> Child:
    """A child in which no student's code has run: if it does not start, no student is to blame."""
    child = Child(command, env, limits)
    try:
        child.renew()
    except Stopped as stopped:
        child.end()
        words = ""
        with contextlib.suppress(subprocess.SubprocessError):  # once more, to hear what it says
            again = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=limits.start,
                env=env,
            )
            words = again.stderr.decode(errors="replace").strip()[-300:]
        raise MamlkitError(
            f"the sandbox does not start: it {stopped}{words and f' ({words})'}. Nothing was "
            "marked. In a container, and on some systems for ordinary users, bubblewrap needs "
            "leave to make namespaces (docs/teaching.md)."
        ) from stopped
    return child


class _Run:
    """The cells and questions of one submission, and what has come of them so far."""

    def __init__(
        self, cells: Sequence[str], questions: Sequence[Mapping[str, Any]], limits: Limits
    ) -> None:
        self.cells, self.questions, self.limits = cells, questions, limits
        self.outcome, self.left = Outcome(), limits.whole
        self.skipped: set[int] = set()

    def go_on(self, child: Child) -> None:
        """All cells but those that are known to stop the run; then the questions not yet asked."""
        for index, source in enumerate(self.cells):
            if index in self.skipped:
                continue
            message = {"source": source, "name": f"cell {index + 1}"}
            try:
                answer = self._ask(child, message, self.limits.cell)
            except Stopped as stopped:
                self.skipped.add(index)
                self.outcome.cells[index] = str(stopped)
                raise
            if "error" in answer:
                self.outcome.cells[index] = str(answer["error"])
        for question in self.questions:
            if question["name"] in self.outcome.answers:
                continue
            given = self.outcome.answers[question["name"]] = []
            for inputs in question["cases"]:
                message = {"ask": question["name"]} | ({} if inputs is None else {"inputs": inputs})
                try:
                    given.append(self._ask(child, message, self.limits.question))
                except Stopped as stopped:
                    given.append({"error": str(stopped)})
                    raise

    def _ask(self, child: Child, message: dict[str, Any], seconds: float) -> dict[str, Any]:
        before = child.cpu
        try:
            if seconds < self.left:
                return child.request(message, seconds, f"{seconds:g} s")
            return child.request(
                message, self.left, f"the {self.limits.whole:g} s for all together"
            )
        finally:
            self.left -= child.cpu - before


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
        "MAMLKIT_PROGRESS": "off",  # with --trust, a student's mk.check would write the teacher's
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
    for secret in SECRET:
        command += ["--tmpfs", str(secret)]
    command += ["--size", str(200 * MEGABYTE), "--tmpfs", BOX, "--chdir", BOX]
    command += ["--remount-ro", "/", "--remount-ro", "/dev"]
    for secret in SECRET:
        command += ["--remount-ro", str(secret)]
    for name, value in {**settings, "PYTHONPATH": str(PACKAGE.parent)}.items():
        command += ["--setenv", name, value]
    return [*command, *python], None
