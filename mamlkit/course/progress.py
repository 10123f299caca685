"""What a reader has tried and solved: one file of the reader's own, a line of JSON a try."""

from __future__ import annotations

import json
import os
import pkgutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path

VARIABLE = "MAMLKIT_PROGRESS"  # another file, or "off"
OFF = ("off", "0", "no", "false", "none")
UNASKED = ("CI", "PYTEST_VERSION")  # where one of these is set, only a named file is written
CORRECT, NOT_YET = "correct", "not yet"
LONGEST = 200  # letters of an answer or a hint


@dataclass(frozen=True)
class Try:
    """One answer that was checked."""

    time: datetime
    exercise: str
    correct: bool


@dataclass
class Row:
    """A notebook's exercises: all, those still to do, tries until each was right, the last time."""

    exercises: list[str]
    left: list[str] = field(default_factory=list)
    tries: int = 0
    last: datetime | None = None


def place() -> Path | None:
    """The reader's file: what ``MAMLKIT_PROGRESS`` names, else ``progress.jsonl`` in the user's
    folder for data; None where nothing is to be noted: the variable says ``off``, there is no such
    folder, or these are tests and the variable is not set.
    """
    named = os.environ.get(VARIABLE, "").strip()
    if named.lower() in OFF:
        return None
    if named:
        return Path(named).expanduser()
    if any(variable in os.environ for variable in UNASKED):
        return None
    from platformdirs import user_data_path  # not at import: most of its work is done then

    folder = user_data_path("mamlkit", appauthor=False)
    return folder / "progress.jsonl" if folder.is_absolute() else None  # "~" if nobody is at home


def note(exercise: str, answer: str, hint: str | None) -> None:
    """Add a try, right if ``hint`` is None. Where that cannot be done (a full disk, a folder that
    cannot be written), nothing is noted and nothing is said: the check matters more.
    """
    entry = {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "exercise": exercise,
        "result": CORRECT if hint is None else NOT_YET,
        "answer": answer[:LONGEST],
    }
    if hint is not None:
        entry["hint"] = hint[:LONGEST]
    try:
        path = place()
        if path is not None:
            append(path, json.dumps(entry, ensure_ascii=False))
    except (OSError, ValueError, RuntimeError, ImportError):
        return


def append(path: Path, line: str) -> None:
    """Add a line in one write, so that those of two notebooks do not mix; after a line that was
    cut short, begin anew.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_NONBLOCK", 0)
    handle = os.open(path, flags | getattr(os, "O_BINARY", 0), 0o600)
    try:
        end = os.lseek(handle, 0, os.SEEK_END)
        if end:
            os.lseek(handle, end - 1, os.SEEK_SET)
            if os.read(handle, 1) != b"\n":
                line = f"\n{line}"
        os.write(handle, f"{line}\n".encode(errors="replace"))
    finally:
        os.close(handle)


def in_a_solution(depth: int) -> bool:
    """Is the code ``depth`` calls up a notebook's cell that begins with ``# Solution``? Running it
    is not a try of the reader's.
    """
    cells = sys._getframe(depth + 1).f_globals.get("In")  # IPython keeps what was run there
    return isinstance(cells, list) and bool(cells) and str(cells[-1]).startswith("# Solution")


def read(path: Path) -> tuple[list[Try], int]:
    """The tries in a file, and how many lines are not one."""
    tries, strange = [], 0
    for line in path.read_bytes().splitlines():
        if line.strip():
            found = _read_line(line)
            if found is None:
                strange += 1
            else:
                tries.append(found)
    return tries, strange


def _read_line(line: bytes) -> Try | None:
    try:
        entry = json.loads(line)
        time = datetime.fromisoformat(entry["time"]).astimezone()
        exercise, result = entry["exercise"], entry["result"]
    except (ValueError, TypeError, KeyError, OverflowError, OSError, RecursionError):
        return None
    if not isinstance(exercise, str) or result not in (CORRECT, NOT_YET):
        return None
    return Try(time, exercise, result == CORRECT)


def exercises() -> dict[str, list[str]]:
    """All exercises that ``mk.check`` knows, such as ``"03.1"``, by the notebook's number."""
    package = import_module("mamlkit.course.exercises")
    found = {}
    for module in sorted(m.name for m in pkgutil.iter_modules(package.__path__)):
        number = module.removeprefix("nb")
        names = vars(import_module(f"{package.__name__}.{module}"))
        own = [n.removeprefix("exercise_") for n in names if n.startswith("exercise_")]
        found[number] = [f"{number}.{n}" for n in sorted(own, key=lambda n: (len(n), n))]
    return found


def summary(tries: Iterable[Try], known: Mapping[str, Sequence[str]]) -> dict[str, Row]:
    """A row for each notebook in ``known``. A try counts until the exercise was right for the first
    time: to run a solved notebook again costs none.
    """
    rows = {notebook: Row(list(all_of_it)) for notebook, all_of_it in known.items()}
    home = {exercise: rows[n] for n, all_of_it in known.items() for exercise in all_of_it}
    done = set()
    for one in sorted(tries, key=lambda one: one.time):
        row = home.get(one.exercise)
        if row is None:
            continue
        row.last = one.time
        row.tries += one.exercise not in done
        if one.correct:
            done.add(one.exercise)
    for row in rows.values():
        row.left = [exercise for exercise in row.exercises if exercise not in done]
    return rows
