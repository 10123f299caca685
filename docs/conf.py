"""The web book: the notebooks with their stored outputs, and the API reference.

    sphinx-build -W --keep-going docs docs/_build/html

It asks no outside host for anything when it is read.
"""

from __future__ import annotations

import json
import runpy
import sys
from importlib.metadata import version as installed_version
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from vendor import fetch_mathjax  # noqa: E402

WIDGET = "application/vnd.jupyter.widget-view+json"
WIDGET_NOTE = (
    "*Here are sliders when you run this notebook in JupyterLab. "
    "The next picture shows the same at fixed values.*"
)


def static_copy(notebook: dict) -> dict:
    """The notebook as a page shows it: a live widget gives way to a note, not to raw text, a
    folded solution has its own title, and links to these pages are relative to here.
    """
    notebook["metadata"].pop("widgets", None)
    for cell in notebook["cells"]:
        if "solution" in cell["metadata"].get("tags", ()):
            title = "".join(cell["source"]).partition("\n")[0].lstrip("# ")
            cell["metadata"].setdefault("mystnb", {})["code_prompt_show"] = title
        for output in cell.get("outputs", ()):
            if WIDGET in output.get("data", {}):
                output.clear()
                output.update(
                    output_type="display_data", metadata={}, data={"text/markdown": WIDGET_NOTE}
                )
    return notebook


def write_assignments(source: Path, page: Path) -> None:
    """The sections on the assignments, made from their data; teaching.md includes them."""
    from mamlkit.course import grading
    from mamlkit.course.grading.report import about

    sections = []
    for name in grading.names():
        assignment = grading.find_assignment(name)
        wrong = runpy.run_path(str(HERE.parent / "tests/course/wrong_answers" / f"{name}.py"))
        tried = {what: (points, words) for what, (_, points, words) in wrong["WRONG"].items()}
        text = (source / assignment.notebook).read_text(encoding="utf-8")
        sections.append(about(assignment, text, tried))
    page.parent.mkdir(exist_ok=True)
    text = "\n".join(sections)
    if not page.is_file() or page.read_text(encoding="utf-8") != text:
        page.write_text(text, encoding="utf-8")


def copy_notebooks(source: Path, folder: Path) -> None:
    """Copy the notebooks below ``docs``, where Sphinx finds them; touch only what changed."""
    wanted = {}
    for path in sorted(source.rglob("*.ipynb")):
        if ".ipynb_checkpoints" not in path.parts:
            text = path.read_text(encoding="utf-8").replace("../docs/", "../")
            page = static_copy(json.loads(text))
            wanted[folder / path.relative_to(source)] = json.dumps(page, indent=1)
    for old in folder.rglob("*.ipynb"):
        if old not in wanted:
            old.unlink()
    for path, text in wanted.items():
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")


fetch_mathjax(HERE / "_vendor" / "mathjax")
copy_notebooks(HERE.parent / "notebooks", HERE / "notebooks")
write_assignments(HERE.parent / "notebooks" / "assignments", HERE / "_made" / "assignments.md")

project = "mamlkit"
author = "The mamlkit developers"
project_copyright = "2026, the mamlkit developers; text under CC BY 4.0, code under MIT"
version = release = installed_version("mamlkit")
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build", "_made", "_vendor", "**/.ipynb_checkpoints"]

nb_execution_mode = "off"  # the stored outputs; pytest checks them
nb_ipywidgets_js = {}  # would come from outside hosts
myst_enable_extensions = ["dollarmath", "deflist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
napoleon_numpy_docstring = False
napoleon_use_ivar = True

html_theme = "sphinx_book_theme"
html_title = "mamlkit"
html_static_path = ["_vendor", "_static"]
html_css_files = ["mamlkit.css"]
html_js_files = ["mamlkit.js"]
html_show_sourcelink = False
html_copy_source = False
html_context = {"default_mode": "light"}  # as the pictures are
html_theme_options = {
    "use_download_button": False,
    "use_fullscreen_button": False,
    "show_toc_level": 2,
    "navbar_persistent": [],  # the search field is in the sidebar
    "article_header_start": ["toggle-primary-sidebar.html"],
}
mathjax_path = "mathjax/tex-svg.js"  # below _static: fetch_mathjax put it there
mathjax3_config = {"options": {"enableMenu": False}}
