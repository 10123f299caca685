"""The teacher's page and the index of ideas: what they say is there, and is as they say."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import mamlkit as mk
from mamlkit.cli import build_parser
from mamlkit.course import grading
from mamlkit.course.grading import sandbox, submission
from mamlkit.course.grading.report import about, number
from tests.helpers import NOTEBOOKS, ROOT, read_notebook

DOCS = ROOT / "docs"
TEACHING = (DOCS / "teaching.md").read_text(encoding="utf-8")
IDEAS = (DOCS / "ideas.md").read_text(encoding="utf-8")
ASSIGNMENTS = {name: grading.find_assignment(name) for name in grading.names()}
#: how notebooks call what has another name in the library
SAID = {"CNP": "neural process", "MAMLPlusPlus": "MAML++", "MetaSGD": "Meta-SGD"}


def source(path: Path) -> str:
    return "\n".join("".join(cell["source"]) + "\n" for cell in read_notebook(path)["cells"])


def prose(path: Path) -> str:
    cells = read_notebook(path)["cells"]
    return "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")


def headings(path: Path) -> list[str]:
    return re.findall(r"^#{2,3} (.*)$", prose(path), re.M)


def anchor(heading: str) -> str:
    """What the web book makes of a heading."""
    return re.sub(r"[^\w\- ]", "", re.sub(r"[`*$]", "", heading).lower()).replace(" ", "-")


def the_notebook(number: str) -> Path:
    (path,) = NOTEBOOKS.glob(f"{number}_*.ipynb")
    return path


def minutes(number: str) -> int:
    (stated,) = re.findall(r"\*\*Time\.\*\* About (\d+) minutes", prose(the_notebook(number)))
    return int(stated)


def rows(heading: str) -> list[list[str]]:
    """The cells of the first table under a heading of the teacher's page."""
    table = re.search(rf"^#+ {heading}$.*?\n\|.*?\n\|[-| ]*\n(.*?)\n\n", TEACHING, re.M | re.S)
    assert table, heading
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table[1].split("\n")]


@pytest.mark.parametrize("page", ["teaching.md", "ideas.md"])
def test_links_to_notebooks_name_the_heading_that_is_there(page):
    text = (DOCS / page).read_text(encoding="utf-8")
    links = re.findall(r"\[([^\]]+)\]\(notebooks/([^)#]+)#?([^)]*)\)", text)
    assert len(links) > 60
    for words, file, place in links:
        path = NOTEBOOKS / file
        assert path.is_file(), file
        told = re.match(r"(?:exercise )?(\d\d)", words)
        assert told, words
        assert file.startswith(told[1]), (words, file)
        if not place:
            continue
        found = next((h for h in headings(path) if anchor(h) == place), "")
        assert found, (words, file, place)
        if section := re.search(r"section (\d+)", words):
            assert found.startswith(f"{section[1]} · "), (words, found)
        if exercise := re.match(r"exercise (\S+)", words):
            assert found.startswith(f"Exercise {exercise[1]} "), (words, found)
        if page == "ideas.md":
            assert words.endswith(found.rpartition(" · ")[2]), (words, found)


def test_every_notebook_has_an_idea_and_a_misconception():
    beliefs = rows("What students believe, and where they find out")
    for path in NOTEBOOKS.glob("*.ipynb"):
        assert f"notebooks/{path.name}#" in IDEAS, path.name
        assert any(path.name in where for _, _, where in beliefs), path.name


@pytest.mark.parametrize("plan", ["Two weeks", "Six weeks", "Twelve weeks"])
def test_hours_of_a_plan_are_those_of_its_notebooks(plan):
    for _, notebooks, told, _ in rows(plan):
        numbers = re.findall(r"\[(\d\d)\]", notebooks)
        assert int(told) == sum(map(minutes, numbers)), notebooks


def test_the_table_of_notebooks_is_theirs():
    table = rows("Notebook by notebook")
    assert len(table) == len(list(NOTEBOOKS.glob("*.ipynb")))
    for cell, told, exercises, _ in table:
        name = cell[1:3]
        count = sum(h.startswith("Exercise ") for h in headings(the_notebook(name)))
        assert (int(told), int(exercises)) == (minutes(name), count), name


def test_the_lab_slot_is_three_hours():
    assert sum(int(row[0]) for row in rows("One lab slot")) == 180


def test_limits_are_those_of_the_sandbox():
    limits, told = sandbox.Limits(), dict(rows("Limits"))
    assert told == {
        "CPU of one cell, and of one question": f"{limits.cell:g} s",
        "CPU of all of a student's code together": f"{limits.whole:g} s",
        "memory": f"{limits.memory} MB",
        "files that the code writes": f"{limits.disk} MB, gone afterwards",
        "restarts after a limit": str(limits.restarts),
        "the notebook's file": f"{submission.MOST_BYTES / 1e6:g} MB",
    }
    assert limits.cell == limits.question
    assert f"above {limits.processes} processes" in TEACHING


def test_the_five_commands_are_commands():
    block = TEACHING.partition("## Marking: five commands")[2].partition("```bash\n")[2]
    lines = [line.partition("#")[0] for line in block.partition("```")[0].splitlines()]
    assert len(lines) == 5
    for line in lines[1:]:
        words = line.split()
        assert words[0] == "mamlkit"
        build_parser().parse_args(words[1:])


def test_the_page_includes_what_is_made_from_the_assignments():
    assert "```{include} _made/assignments.md\n```" in TEACHING
    assert '"_made" / "assignments.md"' in (DOCS / "conf.py").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ASSIGNMENTS)
def test_an_assignment_has_its_section(name):
    assignment = ASSIGNMENTS[name]
    notebook = NOTEBOOKS / "assignments" / assignment.notebook
    wrong = importlib.import_module(f"tests.course.wrong_answers.{name}").WRONG
    tried = {what: (points, words) for what, (_, points, words) in wrong.items()}
    text = about(assignment, notebook.read_text(encoding="utf-8"), tried)
    assert len(tried) >= 3
    for what, (points, words) in tried.items():
        told, reason = (part.replace("|", "\\|") for part in (what, words))
        assert f"| {told} | {number(points)} | {reason} |" in text
    assert text.startswith(f"### {assignment.title}\n")
    for start in ("The question.", "You will be able to", "Before you start.", "Time."):
        assert f"**{start}**" in text
    assert re.search(r"\*\*Time\.\*\* .*\d+ hours?", text), "expected hours"
    assert f"**Parts, {number(assignment.points)} points in all**" in text
    for question in assignment.questions:
        assert f"| `{question.name}`: {question.title} | {number(question.points)} |" in text
        for words, (_, share) in question.mistakes.items():
            left = f"{number(share * question.points)} of {number(question.points)}"
            told = words.replace("|", "\\|")
            assert f"| `{question.name}` | {told} | {left} |" in text
    for part in assignment.written:
        assert f"| {part.name}: {part.title} | {number(part.points)} | by hand |" in text
        for points, words in part.rubric:
            told = words.replace("|", "\\|")
            assert f"| {part.name} | {number(points)} | {told} |" in text
    for file in re.findall(r"\]\(([^)#]+)", text):  # as seen from docs
        where = ROOT if file.startswith("notebooks/") else DOCS
        assert (where / file).is_file(), file


def public() -> Iterator[tuple[str, object]]:
    """Classes and functions of the package that say where they are taught."""
    seen = set()
    for module in pkgutil.walk_packages(mk.__path__, "mamlkit."):
        if ".assignments" in module.name or module.name.endswith(("__main__", "harness")):
            continue
        for name, thing in vars(importlib.import_module(module.name)).items():
            if (inspect.isclass(thing) or inspect.isfunction(thing)) and thing not in seen:
                seen.add(thing)
                if thing.__module__.startswith("mamlkit"):
                    yield name, thing


def test_docstrings_name_a_notebook_that_uses_the_name():
    taught = {
        name: re.findall(r"Taught in notebook (\d\d)\.$", thing.__doc__ or "", re.M)
        for name, thing in public()
        if "Taught in" in (thing.__doc__ or "")
    }
    assert len(taught) > 40
    for name, numbers in taught.items():
        assert len(numbers) == 1, name
        words = SAID.get(name, name)
        assert re.search(rf"(?<!\w){re.escape(words)}(?!\w)", source(the_notebook(*numbers))), name


def test_every_learner_and_main_function_says_where_it_is_taught():
    rest = {"Curve", "Data", "Fit", "History", "MamlkitError", "MamlkitWarning", "Plan"}
    rest |= {"TaskBatch", "check"}  # what they return or take, or every notebook's own
    for name in set(mk.__all__) - rest:
        thing = getattr(mk, name)
        if inspect.isclass(thing) or inspect.isfunction(thing):
            assert "Taught in notebook" in (thing.__doc__ or ""), name
