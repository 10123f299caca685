"""The reader's file of tries: what is noted, what never fails, what is counted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import mamlkit as mk
from mamlkit.course import progress
from tests.helpers import ROOT

RIGHT = 2000 * 20 * (3 * 5 + 1) / (85 - 5)  # of 01.4


@pytest.fixture
def file(tmp_path, monkeypatch):
    path = tmp_path / "new" / "tries.jsonl"
    monkeypatch.setenv(progress.VARIABLE, str(path))
    return path


def entries(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_a_check_notes_time_exercise_result_answer_and_hint_and_nothing_else(file, capsys):
    mk.check("01.4", 7)
    mk.check("01.4", RIGHT)
    wrong, right = entries(file)
    assert wrong.keys() == {"time", "exercise", "result", "answer", "hint"}
    assert (wrong["exercise"], wrong["result"], wrong["answer"]) == ("01.4", "not yet", "7")
    assert wrong["hint"] in capsys.readouterr().out
    assert (right["result"], right["answer"]) == ("correct", f"{RIGHT:.4g}")
    assert "hint" not in right
    assert abs(datetime.fromisoformat(right["time"]) - datetime.now(UTC)) < timedelta(minutes=1)
    if os.name == "posix":
        assert file.stat().st_mode & 0o77 == 0  # for the reader alone


def test_what_is_no_try_is_not_noted(file):
    mk.check("01.4", ...)  # not attempted
    mk.check("99.9", 1)  # no such exercise
    cell: dict[str, Any] = {"mk": mk, "In": ["", "# Solution 01.4\nmk.check('01.4', 8000)"]}
    exec("mk.check('01.4', 8000)", cell)
    assert not file.exists()
    cell["In"].append("mk.check('01.4', 8000)")
    exec("mk.check('01.4', 8000)", cell)
    assert len(entries(file)) == 1


def test_answers_of_any_kind_are_noted_in_few_letters(file):
    class Evil:
        def __float__(self) -> float:
            raise KeyError("no")

    for answer in (list(range(10**4)), "w" * 999, lambda x: x, Evil(), {"a": 1}, "\ud800"):
        mk.check("01.4", answer)
    noted = [entry["answer"] for entry in entries(file)]
    assert noted[0] == "a row of 10000 numbers"
    assert noted[2] == "a function"
    assert noted[3] == "an object of type Evil"
    assert len(noted) == 6
    assert max(map(len, noted)) <= progress.LONGEST


def blocked(path: Path) -> None:
    path.parent.write_text("a file where a folder should be")


def folder(path: Path) -> None:
    path.mkdir(parents=True)


@pytest.mark.parametrize("spoil", [blocked, folder])
def test_a_place_that_cannot_be_written_changes_nothing(file, spoil, capsys):
    spoil(file)
    mk.check("01.4", RIGHT)
    assert capsys.readouterr().out == "01.4: correct\n"


def test_a_full_disk_changes_nothing(monkeypatch, capsys):
    if not os.path.exists("/dev/full"):
        pytest.skip("needs /dev/full")
    monkeypatch.setenv(progress.VARIABLE, "/dev/full")
    mk.check("01.4", RIGHT)
    assert capsys.readouterr().out == "01.4: correct\n"


def test_a_name_that_no_file_can_have_changes_nothing(monkeypatch, capsys):
    monkeypatch.setenv(progress.VARIABLE, "x" * 5000)
    mk.check("01.4", RIGHT)
    assert capsys.readouterr().out == "01.4: correct\n"


def test_where_the_file_is(monkeypatch, tmp_path):
    for variable in (*progress.UNASKED, progress.VARIABLE):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    own = progress.place()
    assert own is not None
    assert own.parts[-2:] == ("mamlkit", "progress.jsonl")
    monkeypatch.setenv("CI", "true")  # tests note nothing unless asked
    assert progress.place() is None
    monkeypatch.setenv(progress.VARIABLE, "~/tries.jsonl")
    assert progress.place() == Path.home() / "tries.jsonl"
    monkeypatch.setenv(progress.VARIABLE, "Off")
    assert progress.place() is None


def test_tests_note_nothing_unless_asked():
    """Neither do the kernels that they start."""
    assert progress.VARIABLE not in os.environ
    assert progress.place() is None
    program = "from mamlkit.course import progress; print(progress.place())"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "None\n"


WRITE = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import importlib.util
spec = importlib.util.spec_from_file_location("alone", sys.argv[2])
progress = importlib.util.module_from_spec(spec)
sys.modules["alone"] = progress
spec.loader.exec_module(progress)
for i in range(500):
    progress.note("01.4", sys.argv[3] * 150, None)
"""


def test_notebooks_that_write_at_once_lose_nothing(file):
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITE, str(ROOT), progress.__file__, letter])
        for letter in "abc"
    ]
    assert [writer.wait(timeout=60) for writer in writers] == [0, 0, 0]
    tries, strange = progress.read(file)
    assert len(tries) == 1500
    assert strange == 0


def test_lines_that_are_no_tries_are_skipped(file):
    progress.note("01.4", "7", "Think.")
    good = {"time": "2026-11-26T14:00:00+00:00", "exercise": "01.1", "result": "correct"}
    bad = [
        "{",
        "[1]",
        "null",
        "[" * 10**5,
        json.dumps(good | {"result": ["correct"]}),
        json.dumps(good | {"exercise": 3}),
        json.dumps(good | {"time": "yesterday"}),
        json.dumps(good | {"time": "0001-01-01T00:00:00+23:00"}),
        json.dumps({"time": good["time"]}),
    ]
    with file.open("ab") as stream:
        stream.write("\n".join(bad).encode() + b"\n\xff\xfe\n\n" + b'{"time": "cut off her')
    progress.note("01.4", "8", None)  # begins a line of its own
    tries, strange = progress.read(file)
    assert [one.correct for one in tries] == [False, True]
    assert strange == len(bad) + 2


def test_every_exercise_of_the_notebooks_is_known():
    known = progress.exercises()
    numbers = [path.name[:2] for path in sorted((ROOT / "notebooks").glob("*.ipynb"))]
    assert list(known) == numbers
    assert known["00"] == [f"00.{i}" for i in range(1, 6)]


def test_tries_count_until_the_answer_is_right():
    start = datetime(2026, 11, 26, tzinfo=UTC)
    told = [("01.1", False), ("01.1", True), ("01.2", False), ("01.1", True), ("01.1", False)]
    told += [("77.1", True)]
    tries = [
        progress.Try(start + timedelta(hours=i), exercise, correct)
        for i, (exercise, correct) in enumerate(told)
    ]
    rows = progress.summary(reversed(tries), {"01": ["01.1", "01.2"], "02": ["02.1"]})
    one, two = rows["01"], rows["02"]
    assert (one.tries, one.left, one.last) == (3, ["01.2"], start + timedelta(hours=4))
    assert (two.tries, two.left, two.last) == (0, ["02.1"], None)
