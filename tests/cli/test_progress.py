"""``mamlkit progress``: the table of what is done."""

from __future__ import annotations

import pytest

import mamlkit as mk
from mamlkit import cli
from mamlkit.course import progress

RIGHT = 2000 * 20 * (3 * 5 + 1) / (85 - 5)  # of 01.4


@pytest.fixture
def file(tmp_path, monkeypatch):
    path = tmp_path / "tries.jsonl"
    monkeypatch.setenv(progress.VARIABLE, str(path))
    return path


def row(printed: str, start: str) -> list[str]:
    (line,) = [line for line in printed.splitlines() if line.startswith(start)]
    return line.split(maxsplit=6)


def test_the_table_says_what_is_done_and_what_is_left(file, capsys):
    mk.check("01.4", 7)
    mk.check("01.4", RIGHT)
    capsys.readouterr()
    assert cli.main(["progress"]) == 0
    printed = capsys.readouterr().out
    name, count, done, tries, date, _, left = row(printed, "01_")
    assert (name, count, done, tries) == ("01_learning_to_learn", "4", "1", "2")
    assert date.startswith("20")
    assert left == "01.1, 01.2, 01.3"
    assert row(printed, "00_")[1:] == ["5", "0", "0", "-", "all"]
    assert row(printed, "all ")[2:] == ["1", "2"]
    assert f"Noted in {file}" in printed
    assert max(map(len, printed.splitlines()[:-1])) <= 100


def test_a_teacher_reads_files_that_were_handed_in(file, tmp_path, capsys):
    for answer in (1, RIGHT):
        progress.append(file, "not a try")
        mk.check("01.4", answer)
    other = tmp_path / "ben.jsonl"
    other.write_text("")
    capsys.readouterr()
    assert cli.main(["progress", str(file), str(other)]) == 0
    ana, _, ben = capsys.readouterr().out.partition(str(other))
    assert row(ana, "01_")[2:4] == ["1", "2"]
    assert "2 line(s) of the file could not be read" in ana
    assert row(ben, "01_")[2:4] == ["0", "0"]


def test_nothing_noted_yet(file, capsys):
    assert cli.main(["progress"]) == 0
    assert f"Nothing is noted yet. The first mk.check of a notebook will write {file}." in (
        capsys.readouterr().out
    )


def test_switched_off(monkeypatch, capsys):
    monkeypatch.setenv(progress.VARIABLE, "off")
    assert cli.main(["progress"]) == 0
    assert "not noted here" in capsys.readouterr().out


def test_a_file_that_is_not_there(tmp_path, capsys):
    assert cli.main(["progress", str(tmp_path / "none.jsonl")]) == 1
    assert "none.jsonl cannot be read (No such file or directory)" in capsys.readouterr().err
