"""Run a student's cells in a child process that can do no harm, and ask it for numbers.

The child sees Python, its packages and an empty folder of its own; it has no network, can write
nowhere else, and is killed when it is over its limits of time or memory. With it die all processes
that it started.

Starting a child costs seconds, nearly all of them for loading torch, so one serves many
submissions, one after the other, each in a copy of the loaded process. What a copy can do to those
after it is refused there or undone; whenever that is in doubt, the child is ended, and another one
started.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import platform
import secrets
import select
import shutil
import site
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from mamlkit.course.grading import harness
from mamlkit.errors import MamlkitError

PACKAGE = Path(__file__).resolve().parents[2]
SECRET = [PACKAGE / "course" / "assignments"]  # reference answers: the child finds an empty folder
SYSTEM = ["/usr", "/lib", "/lib64", "/bin", "/etc/ld.so.cache", "/etc/fonts", "/etc/localtime"]
SYSTEM += ["/proc/cpuinfo"]  # torch chooses its code by it; of the rest of /proc there is nothing
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
    whole: float = 6.0  # of the student's code
    start: float = 30.0  # until Python and torch are there
    again: float = 2.0  # until the box is emptied and a fresh copy is there
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
    """What came of a submission: errors by cell, answers by question, seconds of CPU of its own,
    without those in which a sandbox loads torch.
    """

    cells: dict[int, str] = field(default_factory=dict)
    answers: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    cpu: float = 0.0


class Child:
    """The child process and the line to it. It loads torch once; a student's code runs in a copy of
    it, so that a fresh start, after an endless loop or for the next student, costs nothing.
    """

    def __init__(self, command: Sequence[str], env: Mapping[str, str] | None, limits: Limits):
        self.command, self.limits, self.cpu = command, limits, 0.0
        self._rest, self._counted = b"", 0.0
        self._between = 2 if env is None else 0  # bubblewrap's own processes
        self._own: set[psutil.Process] = set()  # those in which no student's code runs
        self.process = subprocess.Popen(
            command,
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=env,
            start_new_session=True,
        )
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            os.set_blocking(pipe.fileno(), False)
        rlimits = {"RLIMIT_CORE": 0, "RLIMIT_FSIZE": limits.disk * MEGABYTE}
        rlimits |= {"RLIMIT_AS": 8 * limits.memory * MEGABYTE}
        rlimits |= {"RLIMIT_CPU": int(limits.start + limits.whole)}  # if this process is killed
        with contextlib.suppress(Gone):  # the first request will say it
            self._send({"limits": rlimits, "box": BOX if env is None else None}, limits.start)

    def request(self, message: dict[str, Any], seconds: float, what: str) -> dict[str, Any]:
        """Send, and wait for the answer; look at time and memory meanwhile."""
        number = secrets.token_hex(16)  # nobody answers what was not yet asked
        self._watch()
        self._send({**message, "number": number}, seconds)
        clock, cpu = time.monotonic() + CLOCK * seconds, self.cpu + seconds
        while True:
            reply = self._next_line()
            self._watch()
            if reply.get("to") == number:
                return reply
            if "ended" in reply and "go" not in message:  # or it tells of the copy before
                raise Stopped("ended the process")
            if time.monotonic() > clock or self.cpu > cpu:
                raise Stopped(f"took longer than {what}")

    def start(self) -> None:
        """Wait until all is loaded, and begin the first copy."""
        self.request({"go": True}, self.limits.start, f"{self.limits.start:g} s to start")
        self._own = set(self._tree()[: 1 + self._between])

    def stop(self) -> None:
        """End the copy that runs a student's code, with all that it started, and forget what it
        wrote; return when none of it is left, not even as a zombie, whose threads may still run.
        """
        end = time.monotonic() + 5
        while (tree := set(self._tree())) != self._own:
            if self.process.poll() is not None or time.monotonic() > end:
                raise Gone("could not be ended")
            for process in tree - self._own:
                with contextlib.suppress(psutil.Error):
                    process.kill()
            time.sleep(0.01)
        self._watch()
        self._rest = b""
        assert self.process.stdout is not None
        while self.process.stdout.read(1 << 16):
            pass

    def renew(self) -> None:
        """Begin a fresh copy. If that does not go as it should, the child is not to be used."""
        self.stop()
        try:
            self.request({"go": True}, self.limits.again, f"{self.limits.again:g} s to begin again")
        except Stopped as stopped:
            raise Gone(str(stopped)) from stopped

    def spent(self) -> float:
        """The seconds of CPU since this was last asked."""
        before, self._counted = self._counted, self.cpu
        return self.cpu - before

    def end(self) -> None:
        """Kill the child and, the namespace of processes being its own, all that it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, 9)
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            with contextlib.suppress(OSError):
                if pipe is not None:
                    pipe.close()

    def _send(self, message: dict[str, Any], seconds: float) -> None:
        assert self.process.stdin is not None
        rest, clock = json.dumps(message).encode() + b"\n", time.monotonic() + CLOCK * seconds
        while True:
            try:
                rest = rest[self.process.stdin.write(rest) or 0 :]
            except OSError as error:
                raise Gone("ended the process") from error
            if not rest:
                return
            if time.monotonic() > clock:
                raise Gone("did not read what it was asked")
            select.select([], [self.process.stdin], [], 0.05)

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
    for restart in range(limits.restarts + 1):
        try:
            if child is None:
                child = waiting(command, limits) or started(command, env, limits)
                if not restart:
                    child.spent()  # to load torch again is on whoever ended the child before
            else:
                child.renew()
            run.go_on(child)
        except Stopped as stopped:
            if isinstance(stopped, Gone) and child is not None:
                child.end()
                run.outcome.cpu += child.spent()
                child = None
            if run.left > 0:
                continue
        break
    if child is not None:
        try:
            if env is not None or platform.machine() not in harness.PROCESSORS:
                raise Gone("may have left something")
            child.stop()
            run.outcome.cpu += child.spent()
            _waiting[threading.current_thread()] = child
        except Stopped:
            child.end()
            run.outcome.cpu += child.spent()
    for question in questions:
        error = {"error": "was not asked: too many restarts, or the time was used up"}
        run.outcome.answers.setdefault(question["name"], [error])
    return run.outcome


# Stopped children, for the next submission. With the thread that started it a child is killed
# (bubblewrap's --die-with-parent), so no other thread may have it.
_waiting: dict[threading.Thread, Child] = {}


def waiting(command: Sequence[str], limits: Limits) -> Child | None:
    """A child that served others before, and is as a new one; None if there is none."""
    child = _waiting.pop(threading.current_thread(), None)
    if child is None:
        return None
    with contextlib.suppress(Stopped):
        if (child.command, child.limits) == (command, limits):
            child.renew()
            return child
    child.end()
    return None


@atexit.register
def end_waiting() -> None:
    """End the children that wait, of all threads."""
    while _waiting:
        _waiting.popitem()[1].end()


def started(command: Sequence[str], env: Mapping[str, str] | None, limits: Limits) -> Child:
    """A child in which no student's code has run: if it does not start, no student is to blame."""
    child = Child(command, env, limits)
    try:
        child.start()
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
    python = [sys.executable, "-s", str(harness.__file__)]
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
    command += ["--uid", "1000", "--gid", "1000", "--dev", "/dev"]
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
