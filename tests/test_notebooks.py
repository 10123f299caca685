"""The form of every notebook. What the cells compute is nbval's part; see docs/contributing.md."""

from __future__ import annotations

import importlib
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import NOTEBOOKS, read_notebook

COURSE = sorted(NOTEBOOKS.glob("*.ipynb"))
ALL = sorted(p for p in NOTEBOOKS.rglob("*.ipynb") if ".ipynb_checkpoints" not in p.parts)

TAGS = {
    "nbval-check-output",
    "nbval-ignore-output",
    "solution",
    "hide-cell",
    "hide-input",
    "exercise",
}
MAX_BYTES = 1_000_000
MAX_LINES = 15
WORDS_A_MINUTE, MINUTES_AN_EXERCISE = 150, 5  # a slow reader
# A machine's own folders, and the scratch files that appear in tracebacks and warnings.
ABSOLUTE_PATH = re.compile(
    r"""(?:^|[\s'"(=:\[<])(?:/(?:home|root|Users|tmp|var|opt|usr|etc|mnt|work|workspace|srv|private)/"""
    r"""|[A-Za-z]:\\)|file://|ipykernel_\d""",
    re.MULTILINE,
)

Cell = dict[str, Any]


def text(value: str | list[str]) -> str:
    return value if isinstance(value, str) else "".join(value)


def source(cell: Cell) -> str:
    return text(cell["source"])


def tags(cell: Cell) -> set[str]:
    return set(cell["metadata"].get("tags", ()))


def code_cells(path: Path) -> list[Cell]:
    return [cell for cell in read_notebook(path)["cells"] if cell["cell_type"] == "code"]


def prose(path: Path) -> list[str]:
    return [
        source(cell) for cell in read_notebook(path)["cells"] if cell["cell_type"] == "markdown"
    ]


def checks(code: str) -> list[str]:
    """The exercises that ``code`` checks, such as "03.1"."""
    return re.findall(r"\bcheck\(\s*[\"']([^\"']*)[\"']", code)


every_notebook = pytest.mark.parametrize(
    "path", ALL, ids=[str(p.relative_to(NOTEBOOKS)) for p in ALL]
)
every_lesson = pytest.mark.parametrize("path", COURSE, ids=[p.name for p in COURSE])


def test_the_course_is_numbered_without_gaps():
    assert len(COURSE) >= 6
    assert [path.name[:3] for path in COURSE] == [f"{n:02d}_" for n in range(len(COURSE))]


@every_notebook
def test_format_and_kernel(path):
    notebook = read_notebook(path)
    assert notebook["nbformat"] == 4
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"
    assert path.stat().st_size < MAX_BYTES


@every_notebook
def test_cells_were_executed_once_in_order(path):
    ran = [cell["execution_count"] for cell in code_cells(path) if source(cell).strip()]
    assert ran == list(range(1, len(ran) + 1))


@every_notebook
def test_outputs_are_clean(path):
    for cell in code_cells(path):
        for output in cell["outputs"]:
            assert output["output_type"] != "error", source(cell)
            assert output.get("name") != "stderr", text(output.get("text", ""))
            shown = [text(output.get("text", ""))]
            shown += [
                text(value)
                for kind, value in output.get("data", {}).items()
                if kind.startswith("text/")
            ]
            for one in shown:
                assert not ABSOLUTE_PATH.search(one), one
            assert "image/svg+xml" not in output.get("data", {}), "PNG, not SVG"


@pytest.mark.parametrize(
    ("shown", "found"),
    [
        ("saved to /home/anna/runs", True),
        ("File '/home/anna/x.py', line 3", True),
        ("C:\\Users\\anna", True),
        ("ipykernel_1234/56.py", True),
        ("m/s, N/m, log10(p/pc), T/Tc", False),
        ("written to mamlkit-quickstart/curves.png", False),
        ("https://example.org/usr/share", False),
    ],
)
def test_absolute_paths_are_recognised(shown, found):
    assert bool(ABSOLUTE_PATH.search(shown)) is found


@every_lesson
def test_first_cell_is_the_contract(path):
    first = read_notebook(path)["cells"][0]
    assert first["cell_type"] == "markdown"
    contract = source(first)
    assert contract.startswith(f"# {path.name[:2]} · "), "the title carries the number"
    assert "?" in contract, "the one question that the notebook answers"
    for part in ("You will be able to", "Before you start", "Time"):
        assert part in contract, part
    verbs = re.findall(
        r"^\s*[-*] ", contract.partition("You will be able to")[2].partition("Before")[0], re.M
    )
    assert 3 <= len(verbs) <= 5


@every_lesson
def test_last_cells_are_self_test_and_next_link(path):
    last = prose(path)[-3:]
    ending = "\n".join(last)
    assert ending.count("<details>") == ending.count("</details>") >= 3
    links = re.findall(r"\]\(([^)]+\.ipynb)\)", last[-1])
    after = COURSE[COURSE.index(path) + 1 :]
    if after:
        assert after[0].name in links
    assert re.search(r"^\|.*\|\s*\n\|[ :|-]+\|", "\n".join(prose(path)[-4:]), re.M), "a table"


@every_notebook
def test_links_between_notebooks_lead_somewhere(path):
    for target in re.findall(r"\]\(([^):\s]+\.ipynb)(?:#[^)]*)?\)", "\n".join(prose(path))):
        assert (path.parent / target).is_file(), target


@every_lesson
def test_words_and_letters_are_linked_to_where_they_are_explained(path):
    contract, *body = prose(path)
    assert "](../docs/glossary.md)" in contract
    assert "](../docs/notation.md)" in contract
    assert len(set(re.findall(r"\]\(\.\./docs/glossary\.md#([\w-]+)\)", "\n".join(body)))) >= 2


@every_lesson
def test_three_to_eight_cells_are_checked(path):
    checked = [cell for cell in code_cells(path) if "nbval-check-output" in tags(cell)]
    assert 3 <= len(checked) <= 8
    for cell in checked:
        printed = [text(o["text"]) for o in cell["outputs"] if o["output_type"] == "stream"]
        assert "".join(printed).strip(), "a checked cell prints the facts that nbval compares"
        assert all(o["output_type"] != "execute_result" for o in cell["outputs"]), source(cell)


NOT_SAID = re.compile(  # formulas, code, links, answers to self-tests, references
    r"\$\$.*?\$\$|\$[^$]*\$|`[^`]*`|\]\([^)]*\)|\[\**\d\d\b[^\]]*\]|<details>.*?</details>"
    r"|arXiv:[\d.]+\d|\([^()]*\b(?:1[89]|20)\d\d\b[^()]*\)|\d+ \((?:1[89]|20)\d\d\)(?: \d+)?",
    re.S,
)
NUMBER = re.compile(r"(?<![\w.^_{-])\d*\.?\d+(?:e-?\d+)?(?![\w}])")
SMALL, YEARS = 12, range(1800, 2030)


def unsupported(path: Path) -> list[str]:
    """Numbers in the prose that no cell prints or holds, also not rounded or in percent."""
    held: set[float] = set()
    for cell in code_cells(path):
        texts = [source(cell)]
        for output in cell["outputs"]:
            texts += [
                text(output.get("text", "")),
                text(output.get("data", {}).get("text/plain", "")),
            ]
        held |= {float(n) for n in re.findall(r"\d*\.?\d+(?:e[-+]?\d+)?", " ".join(texts))}
    found = []
    for words in prose(path)[1:]:
        told = re.split(r"^#+ Exercise", words, flags=re.M)[0]  # what an exercise assumes is free
        for number in NUMBER.findall(NOT_SAID.sub(" ", told)):
            value, decimals = float(number), len(number.partition("e")[0].partition(".")[2])
            whole = value == int(value)
            if whole and (value <= SMALL or int(value) in YEARS):
                continue
            if not any(round(h, decimals) == value or abs(100 * h - value) < 0.51 for h in held):
                found.append(number)
    return found


@every_lesson
def test_numbers_in_prose_are_those_of_a_cell(path):
    assert unsupported(path) == []


@every_notebook
def test_only_known_tags(path):
    for cell in read_notebook(path)["cells"]:
        assert tags(cell) <= TAGS


@every_notebook
def test_what_a_cell_prints_is_in_one_piece(path):
    for cell in code_cells(path):
        for first, second in pairwise(cell["outputs"]):
            assert not first["output_type"] == "stream" == second["output_type"], source(cell)


@every_notebook
def test_pictures_have_alternative_texts(path):
    for cell in code_cells(path):
        if any("image/png" in output.get("data", {}) for output in cell["outputs"]):
            image = cell["metadata"].get("mystnb", {}).get("image", {})
            assert len(image.get("alt", "").split()) >= 4, source(cell)


@every_notebook
def test_code_cells_are_short(path):
    for cell in code_cells(path):
        assert len(source(cell).splitlines()) <= MAX_LINES, source(cell)


@every_notebook
def test_headings_go_down_a_level_at_a_time(path):
    """As a reader who hears the page steps through them."""
    words = re.sub(r"^```.*?^```", "", "\n".join(prose(path)), flags=re.MULTILINE | re.DOTALL)
    levels = [len(marks) for marks in re.findall(r"^(#+) ", words, re.MULTILINE)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(below - above <= 1 for above, below in pairwise(levels))


@every_lesson
def test_the_time_stated_is_that_of_a_slow_reader(path):
    told = re.search(r"\*\*Time\.\*\* About (\d+) minutes", source(read_notebook(path)["cells"][0]))
    assert told, "**Time.** About .. minutes"
    assert abs(int(told[1]) - minutes(path)) <= 3, minutes(path)


def minutes(path: Path) -> float:
    """Of reading prose and code, and of the exercises; a solution is read within its exercise."""
    cells = [cell for cell in read_notebook(path)["cells"] if "solution" not in tags(cell)]
    words = sum(len(source(cell).split()) for cell in cells)
    exercises = sum(len(checks(source(cell))) for cell in cells)
    return words / WORDS_A_MINUTE + MINUTES_AN_EXERCISE * exercises


@every_notebook
def test_figures_are_printed_and_not_verdicts(path):
    for cell in code_cells(path):
        printed = "".join(text(o["text"]) for o in cell["outputs"] if o["output_type"] == "stream")
        assert not re.search(r"\b(True|False)\b", printed), source(cell)


@every_notebook
def test_widgets_have_a_checked_twin(path):
    cells = code_cells(path)
    live = [
        cell
        for cell in cells
        if any(
            "application/vnd.jupyter.widget-view+json" in output.get("data", {})
            for output in cell["outputs"]
        )
    ]
    for cell in live:
        assert "nbval-ignore-output" in tags(cell), source(cell)
        assert source(cell).startswith("# Run this cell"), "what is stored is no slider yet"
        twin = cells[cells.index(cell) + 1]
        assert any("image/png" in output.get("data", {}) for output in twin["outputs"])


@every_notebook
def test_no_markup_that_jupyterlab_shows_raw(path):
    for words in prose(path):
        assert not re.search(r"^(```|:::)\s*\{", words, re.M), "a MyST directive"
        assert not re.search(r"\{(ref|doc|math|cite|eq)[^}]*\}`", words), "a MyST role"


@every_lesson
def test_exercises_have_checkers_and_hidden_solutions(path):
    cells, number = read_notebook(path)["cells"], path.name[:2]
    module = importlib.import_module(f"mamlkit.course.exercises.nb{number}")
    solved = {}
    for position, cell in enumerate(cells):
        if "solution" in tags(cell):
            title = re.match(r"# Solution (\d\d\.\d+) \(click to open\)\n", source(cell))
            assert title, source(cell)
            assert "hide-cell" in tags(cell)
            assert cell["metadata"]["jupyter"]["source_hidden"] is True
            assert cell["metadata"]["jupyter"]["outputs_hidden"] is True
            solved[title[1]] = position
    asked: dict[str, int] = {}
    for position, cell in enumerate(cells):
        if cell["cell_type"] == "code" and "solution" not in tags(cell):
            for exercise in checks(source(cell)):
                asked.setdefault(exercise, position)
    assert asked, "a notebook has exercises"
    assert list(asked) == [f"{number}.{n + 1}" for n in range(len(asked))]
    assert list(solved) == list(asked)
    for exercise, position in asked.items():
        assert solved[exercise] > position
        assert callable(getattr(module, f"exercise_{exercise.partition('.')[2]}"))
    for (_, here), (_, following) in pairwise(sorted(asked.items())):
        assert here < following


@every_lesson
def test_stubs_are_not_attempted_and_solutions_are_correct(path):
    for cell in code_cells(path):
        said = "".join(text(output.get("text", "")) for output in cell["outputs"])
        for exercise in checks(source(cell)):
            verdict = "correct" if "solution" in tags(cell) else "not attempted yet"
            assert f"{exercise}: {verdict}" in said
