"""From a teacher's notebook, with solutions, to the one that a student gets.

The source is in nbgrader's dialect, so that a department with an nbgrader hub can use it as it is:
solutions stand between ``### BEGIN SOLUTION`` and ``### END SOLUTION``, in code and in text. The
build of the wheel runs this file by itself, so it imports nothing of the package.
"""

from __future__ import annotations

import json
import re
from typing import Any

UNANSWERED = "*Your answer.*"
SOLUTION = re.compile(
    r"^([ \t]*)### BEGIN SOLUTION[^\n]*\n(.*?)^[ \t]*### END SOLUTION[^\n]*$", re.S | re.M
)
HIDDEN = re.compile(
    r"^[ \t]*### BEGIN HIDDEN TESTS[^\n]*\n.*?^[ \t]*### END HIDDEN TESTS[^\n]*\n?", re.S | re.M
)


def strip(text: str, year: int) -> str:
    """The student's notebook.

    Args:
        text: the source notebook as JSON.
        year: of the course; it stands in the notebook as ``YEAR``.

    Returns:
        JSON without solutions, hidden tests and outputs; its links lead to where ``mamlkit lab``
        puts the notebooks and pages, in the same folder.

    Raises:
        ValueError: if a solution is opened and not closed.
    """
    notebook: dict[str, Any] = json.loads(text)
    notebook["metadata"].pop("widgets", None)
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        stub = r"\1...  # your lines" if cell["cell_type"] == "code" else UNANSWERED
        if SOLUTION.search(source):  # the alternative text of a picture tells what is in it
            cell["metadata"].pop("mystnb", None)
        source = HIDDEN.sub("", SOLUTION.sub(stub, source))
        if "### BEGIN" in source or "### END" in source:
            raise ValueError(f"a solution is opened and not closed: {source[:80]!r}")
        source = source.replace("](../../docs/", "](docs/").replace("](../", "](")
        source = re.sub(r"^YEAR = \d+", f"YEAR = {year}", source, flags=re.M)
        cell["source"] = source.splitlines(keepends=True)
        if cell["cell_type"] == "code":
            cell |= {"outputs": [], "execution_count": None}
    return json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"
