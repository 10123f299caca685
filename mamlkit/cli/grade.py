"""``mamlkit grade``: from submissions to marks."""

from __future__ import annotations

import argparse
import os
import secrets
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path
from typing import Any

from mamlkit.checks import as_path
from mamlkit.cli.common import make_folder, make_parser, whole
from mamlkit.course import grading
from mamlkit.course.assignments.base import Assignment
from mamlkit.course.grading import report, sandbox
from mamlkit.course.grading.grade import Result, find, grade
from mamlkit.course.grading.submission import Submission, read
from mamlkit.course.handin import same_for_all
from mamlkit.errors import MamlkitError

LEAST_SALT = 8  # bytes


def add(commands: Any) -> argparse.ArgumentParser:
    """The options."""
    command = make_parser(
        commands.add_parser,
        name="grade",
        help="mark a folder of submissions, or a notebook of your own",
        description="Mark submissions. Students' code runs in a sandbox (bubblewrap) without "
        "network or files, within limits, and answers questions with numbers; this process "
        "compares them with what is right for inputs drawn from the salt.",
        epilog="examples:\n"
        "  mamlkit grade a1 my.ipynb                                  your own, on fresh inputs\n"
        "  mamlkit grade a1 submissions/ --salt salt.txt --out marks  a CSV and pages of feedback\n"
        "  mamlkit grade a1 submissions/ --salt salt.txt --out marks --sheet\n"
        "                                                             what is marked by hand\n"
        "  mamlkit grade a1 --salt salt.txt --out marks --merge       both, as Moodle takes it",
    )
    command.add_argument("name", choices=grading.names(), metavar="NAME", help="a1 .. a6")
    command.add_argument(
        "submissions", type=as_path, nargs="?", metavar="PATH", help="a folder or a notebook"
    )
    command.add_argument(
        "--salt",
        type=as_path,
        metavar="FILE",
        help="any file of yours that students do not have; the same gives the same inputs",
    )
    command.add_argument("--out", type=as_path, metavar="DIR", help="where marks and feedback go")
    command.add_argument(
        "--year",
        type=whole(2000),
        metavar="YEAR",
        help="of the handout (default: this one; for one notebook, the one that it states)",
    )
    command.add_argument("--sheet", action="store_true", help="write what is marked by hand")
    command.add_argument("--merge", action="store_true", help="add the marks by hand")
    command.add_argument(
        "--trust",
        action="store_true",
        help="where bubblewrap is missing: run the code with your own rights",
    )
    return command


def run(args: argparse.Namespace) -> None:
    """Mark, print, write."""
    assignment = grading.find_assignment(args.name)
    salt = read_salt(args.salt)
    if args.merge:
        if args.out is None or args.salt is None:
            raise MamlkitError("--merge needs --salt FILE and --out DIR, those of the marks.")
        print(f"written: {report.merge(assignment, salt, args.out)}")
        return
    if args.submissions is None:
        raise MamlkitError("give a notebook, or a folder of submissions.")
    if args.submissions.is_dir() and (args.salt is None or args.out is None):
        raise MamlkitError(
            "a folder of submissions needs --salt FILE, so that marks can be made again, and "
            "--out DIR, where they go."
        )
    handed_in = [read(path) for path in find(args.submissions)]
    year = args.year or date.today().year
    if args.year is None and not args.submissions.is_dir():
        year = handed_in[0].year or year
    students = sorted({one.student for one in handed_in})
    total = report.number(sum(question.points for question in assignment.questions))

    def marked(one: Submission) -> Result:
        return grade(assignment, one, salt, year, students, trust=args.trust)

    results = []
    try:
        with ThreadPoolExecutor(os.cpu_count()) as pool:  # each thread has a sandbox of its own
            for result in pool.map(marked, handed_in):
                results.append(result)
                print(
                    f"{result.student}: {report.number(result.points)} of {total}, "
                    f"{result.status} ({result.cpu:.1f} s of CPU)",
                    flush=True,
                )
    finally:
        sandbox.end_waiting()
    flag_twins(results)
    if args.out is None:
        show(assignment, results)
        return
    out = make_folder(args.out)
    report.write_marks(assignment, results, out)
    for result in results:
        report.write_feedback(assignment, result, out)
    print(f"written: {out / 'marks.csv'}, {out / 'feedback'}")
    if args.sheet:
        page, table = report.write_sheet(assignment, results, salt, out)
        print(f"written: {page} to read, {table} to fill in")


def read_salt(path: Path | None) -> bytes:
    """The content of the file; without one, another salt at every run."""
    if path is None:
        return secrets.token_bytes(16)
    try:
        salt = path.read_bytes()
    except OSError as error:
        raise MamlkitError(f"{path} cannot be read ({error.strerror}).") from error
    if len(salt) < LEAST_SALT:
        raise MamlkitError(
            f"{path} has {len(salt)} bytes; a salt needs {LEAST_SALT}, which nobody can guess."
        )
    return salt


def flag_twins(results: list[Result]) -> None:
    """Say where two submissions name the same student."""
    count = Counter(same_for_all(result.student) for result in results)
    for result in results:
        times = count[same_for_all(result.student)]
        if times > 1:
            result.status = "look"
            result.notes.append(f"{times} files say that they are {result.student}")


def show(assignment: Assignment, results: list[Result]) -> None:
    """Print points and reasons, for a student who checks their own work."""
    for result in results:
        for mark in result.marks:
            points = f"{report.number(mark.points)} of {report.number(mark.of)}"
            print(f"  {mark.question}: {points}: {mark.reason}")
        for part in assignment.written:
            there = "there" if result.written.get(part.name) else "not attempted"
            print(f"  {part.name}: {report.number(part.points)} points by hand: {there}")
        for note in result.notes:
            print(f"  note: {note}")
