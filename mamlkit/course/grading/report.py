"""What a teacher and a student get: tables of marks, pages of feedback, sheets to mark by hand."""

from __future__ import annotations

import csv
import hashlib
import hmac
import html
import io
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from mamlkit.course.assignments.base import Assignment
from mamlkit.course.grading.grade import Result
from mamlkit.course.handin import same_for_all
from mamlkit.errors import MamlkitError
from mamlkit.training.checkpoints import atomically

UNWRITTEN = "not attempted"  # by hand
SHEET = ("code", "question", "points", "comment")  # its columns that are read

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<style>
body {{ font: 16px/1.5 sans-serif; max-width: 48em; margin: 2em auto; padding: 0 1em; color: #111 }}
table {{ border-collapse: collapse; width: 100% }}
th, td {{ text-align: left; vertical-align: top; padding: .3em .8em .3em 0;
         border-bottom: 1px solid #999 }}
pre {{ white-space: pre-wrap; background: #f4f4f4; padding: .8em }}
</style></head><body>
{body}
</body></html>
"""


def escape(value: object) -> str:
    """Text as HTML shows it: nothing of what a student wrote is markup."""
    return html.escape(str(value))


def number(points: float) -> str:
    """Points, without zeros that say nothing."""
    return f"{points:.2f}".rstrip("0").rstrip(".")


def write_marks(assignment: Assignment, results: Sequence[Result], out: Path) -> None:
    """``marks.csv``: a row a submission, with points by question, status and reasons."""
    names = [question.name for question in assignment.questions]
    rows = []
    for result in results:
        points = {mark.question: number(mark.points) for mark in result.marks}
        reasons = [f"{m.question}: {m.reason}" for m in result.marks if m.points < m.of]
        rows.append(
            {
                "student": result.student,
                "file": result.file,
                "status": result.status,
                **{name: points.get(name, "") for name in names},
                "points": number(result.points),
                "of": number(sum(question.points for question in assignment.questions)),
                "reason": "; ".join([*reasons, *result.notes]),
                "look at": "; ".join(m.to_teacher for m in result.marks if m.to_teacher),
            }
        )
    write_table(rows, out / "marks.csv")


def write_table(rows: Sequence[dict[str, str]], path: Path) -> None:
    """A CSV file that spreadsheets open; a cell that starts like a formula is kept as text."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, fieldnames=list(rows[0]))
    writer.writeheader()
    for row in rows:
        writer.writerow({key: _harmless(value) for key, value in row.items()})
    with atomically(path) as file:
        file.write(text.getvalue().encode("utf-8"))


def _harmless(value: str) -> str:
    return f"'{value}" if value[:1] in ("=", "+", "@", "\t", "\r") else value


def write_feedback(assignment: Assignment, result: Result, out: Path) -> Path:
    """One page for one student, which asks no other host for anything."""
    rows = "".join(
        f"<tr><td>{escape(title)}</td><td>{number(m.points)} of {number(m.of)}</td>"
        f"<td>{escape(m.reason)}</td></tr>"
        for m, title in zip(result.marks, [q.title for q in assignment.questions], strict=True)
    )
    rows += "".join(
        f"<tr><td>{escape(part.title)}</td><td>of {number(part.points)}</td>"
        f"<td>{'marked by hand' if result.written.get(part.name) else 'not attempted'}</td></tr>"
        for part in assignment.written
    )
    notes = "".join(f"<li>{escape(note)}</li>" for note in result.notes)
    body = (
        f"<h1>{escape(assignment.title)}</h1>"
        f"<p>{escape(result.student)}, file {escape(result.file)}: "
        f"<b>{number(result.points)}</b> of "
        f"{number(sum(q.points for q in assignment.questions))} points by the program.</p>"
        f"<table><tr><th>question</th><th>points</th><th>why</th></tr>{rows}</table>"
        + (f"<h2>What the grader noticed</h2><ul>{notes}</ul>" if notes else "")
    )
    path = out / "feedback" / f"{safe(result.student)}.html"
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomically(path) as file:
        file.write(PAGE.format(title=escape(assignment.title), body=body).encode("utf-8"))
    return path


def about(
    assignment: Assignment, notebook: str, tried: Mapping[str, tuple[float, str]] | None = None
) -> str:
    """What a teacher reads of an assignment before giving it, as Markdown for a page in ``docs``.

    Args:
        assignment: what is asked.
        notebook: its notebook as JSON, of which the first cell says goals and hours.
        tried: wrong submissions by what was done, with their points and words of the reason.

    Returns:
        a section: goals and hours, parts with their points, common wrong answers with the points
        that they leave, rubrics.
    """
    first = "".join(json.loads(notebook)["cells"][0]["source"])
    head = re.search(r"\*\*The question\.\*\*.*?\*\*Time\.\*\*.*?(?=\n\n|\Z)", first, re.S)
    goals = head[0].replace("](../../docs/", "](").replace("](../", "](notebooks/") if head else ""
    parts, wrong, rubric = [], [], []
    for question in assignment.questions:
        how = "on inputs that nobody has seen" if question.cases else "for the student's own data"
        if question.score:
            how += ", by what comes of it"
        parts.append((f"`{question.name}`: {question.title}", question.points, f"program, {how}"))
        for words, (_, share) in question.mistakes.items():
            left = f"{number(share * question.points)} of {number(question.points)}"
            wrong.append((f"`{question.name}`", words, left))
    for part in assignment.written:
        parts.append((f"{part.name}: {part.title}", part.points, "by hand"))
        rubric += [(part.name, number(points), words) for points, words in part.rubric]
    by_program = number(sum(question.points for question in assignment.questions))
    made = [(what, number(points), words) for what, (points, words) in (tried or {}).items()]
    text = [
        f"### {assignment.title}",
        goals,
        f"The notebook with solutions: [{assignment.notebook}]"
        f"(notebooks/assignments/{assignment.notebook}).",
        f"**Parts, {number(assignment.points)} points in all**",
        _rows(("part", "points", "marked"), [(p, number(n), how) for p, n, how in parts]),
        "**Common wrong answers that the program knows**" if wrong else "",
        _rows(("part", "what was done", "points left"), wrong) if wrong else "",
        "**Wrong submissions that were tried**" if tried else "",
        _rows(("what was done", f"points of {by_program}", "the reason says"), made)
        if tried
        else "",
        "**Rubric of what is marked by hand**",
        _rows(("part", "points", "for"), rubric),
    ]
    return "\n\n".join(filter(None, text)) + "\n"


def _rows(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    cells = [[str(cell).replace("|", "\\|") for cell in line] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


def safe(student: str) -> str:
    """A file's name: other signs than letters and figures become "_"; such names differ still."""
    name = "".join(c if c.isalnum() or c in "-_." else "_" for c in student).lstrip(".")[:60]
    mark = hashlib.sha256(student.encode()).hexdigest()[:6]
    return name if name == student else f"{name}-{mark}"


def code(salt: bytes, student: str) -> str:
    """What stands for a student on the sheet: the same in every run with this salt."""
    return hmac.digest(salt, f"sheet/{same_for_all(student)}".encode(), "sha256").hex()[:6]


def write_sheet(
    assignment: Assignment, results: Sequence[Result], salt: bytes, out: Path
) -> tuple[Path, Path]:
    """What a person marks, without names: ``sheet.html`` to read, ``sheet.csv`` to fill in. What
    has been filled in stays.
    """
    page, table = out / "sheet.html", out / "sheet.csv"
    filled = {(r["code"], r["question"]): r for r in _read(table, *SHEET)} if table.exists() else {}
    parts, rows = [], []
    for result in sorted(results, key=lambda r: code(salt, r.student)):
        who = code(salt, result.student)
        for part in assignment.written:
            text = result.written.get(part.name, "")
            rubric = "".join(f"<li>{number(p)}: {escape(words)}</li>" for p, words in part.rubric)
            parts.append(
                f"<h2>{who} · {escape(part.name)} · {escape(part.title)} "
                f"({number(part.points)} points)</h2><ul>{rubric}</ul>"
                f"<pre>{escape(text) or '(not attempted)'}</pre>"
            )
            row = {"code": who, "question": part.name, "of": number(part.points)}
            mark = filled.get((who, part.name), {"points": "", "comment": ""})
            if not text:
                mark = {"points": "0", "comment": UNWRITTEN}
            elif mark["comment"] == UNWRITTEN:  # and now it is there
                mark = {"points": "", "comment": ""}
            rows.append(row | {key: mark[key] for key in ("points", "comment")})
    title = f"{assignment.title}: by hand"
    with atomically(page) as file:
        body = f"<h1>{escape(title)}</h1>{''.join(parts)}"
        file.write(PAGE.format(title=escape(title), body=body).encode("utf-8"))
    write_table(rows, table)
    return page, table


def merge(assignment: Assignment, salt: bytes, out: Path) -> Path:
    """``moodle.csv``: marks by program and by hand as one grade with feedback.

    Raises:
        MamlkitError: if a table is missing, or a mark is missing, no number, or too large, or if a
            student is there twice.
    """
    marks = _read(out / "marks.csv", "student", "points", "status", "reason")
    sheet = _read(out / "sheet.csv", *SHEET)
    written = {part.name: part for part in assignment.written}
    by_hand: dict[str, dict[str, tuple[float, str]]] = {}
    for line, row in enumerate(sheet, 2):
        if row["question"] not in written:
            raise MamlkitError(
                f"sheet.csv, line {line}: {assignment.name} has no {row['question']}."
            )
        most = written[row["question"]].points
        points = _points(row["points"], most, f"sheet.csv, line {line} ({row['code']})")
        by_hand.setdefault(row["code"], {})[row["question"]] = points, row["comment"]
    most = sum(question.points for question in assignment.questions)
    rows: list[dict[str, str]] = []
    for line, row in enumerate(marks, 2):
        if same_for_all(row["student"]) in [same_for_all(r["ID number"]) for r in rows]:
            raise MamlkitError(f"marks.csv has {row['student']} twice; keep the row that counts.")
        mine = by_hand.get(code(salt, row["student"]))
        if mine is None or set(mine) != set(written):
            raise MamlkitError(
                f"sheet.csv has not all answers of {row['student']}; write it again with --sheet "
                "and the same salt, and fill that one."
            )
        hand = sum(points for points, _ in mine.values())
        by_program = _points(row["points"], most, f"marks.csv, line {line}")
        told = [f"{name}: {number(p)} {comment}".strip() for name, (p, comment) in mine.items()]
        rows.append(
            {
                "ID number": row["student"],
                "Grade": number(by_program + hand),
                "Maximum Grade": number(assignment.points),
                "Status": row["status"],
                "Feedback comments": "; ".join(filter(None, [row["reason"], *told])),
            }
        )
    write_table(rows, out / "moodle.csv")
    return out / "moodle.csv"


def _points(text: str, most: float, where: str) -> float:
    try:
        points = float(text.replace(",", "."))
    except ValueError:
        points = -1.0
    if not 0 <= points <= most:
        raise MamlkitError(f"{where}: {text!r}; a number from 0 to {number(most)} is needed.")
    return points


def _read(path: Path, *columns: str) -> list[dict[str, str]]:
    """A table as it was written, or as a spreadsheet saved it, with semicolons or tabs."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines(keepends=True)
    except UnicodeDecodeError as error:
        raise MamlkitError(f"{path} is not in UTF-8; save it so.") from error
    except FileNotFoundError as error:
        raise MamlkitError(
            f"{path} is not there; 'mamlkit grade' writes marks.csv, and with --sheet also "
            "sheet.csv."
        ) from error
    delimiter = max(",;\t", key=lines[0].count) if lines else ","
    rows = list(csv.DictReader(lines, delimiter=delimiter))
    missing = [column for column in columns if rows and column not in rows[0]]
    if missing:
        raise MamlkitError(f"{path} has no column {', '.join(missing)}; write it again.")
    return [{key: value or "" for key, value in row.items() if key} for row in rows]
