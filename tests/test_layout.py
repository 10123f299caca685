"""The house: every room imports only from rooms above it."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import mamlkit as mk

ROOMS = "errors checks ode losses models tasks learners training physics evaluation yardsticks show"
ORDER = [*ROOMS.split(), "fitting", "course", "cli"]


def test_rooms_import_only_from_rooms_above() -> None:
    package = Path(mk.__file__).parent
    for path in sorted(package.glob("[!_]*.py")) + sorted(package.glob("*/**/*.py")):
        room = path.relative_to(package).parts[0].removesuffix(".py")
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("mamlkit"):
                full = [f"{node.module}.{alias.name}" for alias in node.names]
                above = {name.split(".")[1] for name in full}
                late = [name for name in above if ORDER.index(name) > ORDER.index(room)]
                assert not late, f"{path.relative_to(package)} imports {late}"


def test_the_tree_in_the_docs_names_every_file() -> None:
    package = Path(mk.__file__).parent
    page = package.parent / "docs" / "contributing.md"
    tree = page.read_text(encoding="utf-8").partition("```text")[2].partition("```")[0]
    files = [p for p in package.rglob("*.py") if not p.name.startswith("__")]
    missing = [p.name for p in files if p.name not in tree and p.parent.name != "exercises"]
    assert files
    assert not missing
    named = set(re.findall(r"\w+\.py\b", tree)) - {"nbNN.py"}
    assert named <= {p.name for p in files}
