"""Slides from notebooks: what is shown, and that a browser without a network shows it whole."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from typing import Any

import pytest

import mamlkit as mk
from mamlkit.course import slides
from tests.helpers import NOTEBOOKS, ROOT, read_notebook

LESSONS = sorted(NOTEBOOKS.glob("[0-9]*.ipynb"))
PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJg"
)


def text(source: str) -> dict[str, Any]:
    return {"cell_type": "markdown", "metadata": {}, "source": [source]}


def code(source: str, *outputs: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    return {"cell_type": "code", "metadata": metadata, "source": source, "outputs": [*outputs]}


def printed(said: str, name: str = "stdout") -> dict[str, Any]:
    return {"output_type": "stream", "name": name, "text": [said]}


def shown(data: dict[str, str]) -> dict[str, Any]:
    return {"output_type": "display_data", "metadata": {}, "data": data}


def outline(*cells: dict[str, Any]) -> list[slides.Slide]:
    return slides.outline({"cells": list(cells)})


def body(*cells: dict[str, Any]) -> str:
    """What the slides of cells under one heading show."""
    return "".join(b.html for s in outline(text("# T"), *cells) for b in s.blocks)


def test_a_heading_begins_a_slide_and_a_paragraph_gives_its_first_sentence():
    one, two = outline(
        text("# 00 · Title\n\n**The question.** Why? How?\n\n**Time.** An hour."),
        text("## 1 · A *law* $p$\n\nIt bends, e.g. here. The rest is for the notes: $q$."),
    )
    assert (one.level, one.heading) == (1, "00 · Title")
    assert [b.html for b in one.blocks] == [
        "<p><strong>The question.</strong> Why? How?</p>\n"  # whole
    ]
    assert one.notes == ["<p><strong>Time.</strong> An hour.</p>\n"]
    assert two.heading.startswith("1 · A <em>law</em> <math")
    assert [b.html for b in two.blocks] == ["<p>It bends, e.g. here.</p>\n"]
    assert "for the notes: <math" in two.notes[0]


@pytest.mark.parametrize(
    ("source", "there"),
    [
        ("- a. B.\n- c", "<li>a. B.</li>"),
        ("> **Predict.** One? Two?", "One? Two?"),
        ("| a | b |\n|---|---|\n| 1 | 2 |", "<td>1</td>"),
        ("$$\\frac{a}{b}$$", '<math xmlns="http://www.w3.org/1998/Math/MathML" display="block">'),
        ("### Exercise 00.1 · X\n\nOne. Two.", "One. Two."),
        ("<details><summary>Answer</summary>\n\nYes $x$.\n\n</details>", "Yes <math"),
        ("See [the glossary](../docs/glossary.md).", "<em>the glossary</em>"),
        ("See [CoolProp](http://www.coolprop.org).", '<a href="http://www.coolprop.org">'),
        ("It costs `$5 and $6`.", "<code>$5 and $6</code>"),
        ("Half of $\\unknown{x$.", "unknown"),
    ],
)
def test_what_is_shown_of_a_text(source, there):
    assert there in body(text(source))


def test_what_is_shown_of_code():
    short, long = "x = 1\nprint(x < 2)", "\n".join(f"y = {i}" for i in range(slides.SHORT + 1))
    assert "print(x &lt; 2)" in body(code(short))
    assert body(code(long)) == ""
    both = body(code(long, printed("a"), printed("b"), printed("warning", "stderr")))
    assert '<pre class="printed">ab</pre>' in both
    assert "<details><summary>Code</summary>" in both
    assert "warning" not in both
    assert body(code("import torch\n\ntorch.manual_seed(0)")) == ""
    picture = shown({"image/png": PIXEL, "text/plain": "<Figure>"})
    drawn = body(code(short, picture, mystnb={"image": {"alt": 'a "dot"'}}))
    assert f'<img alt="a &quot;dot&quot;" src="data:image/png;base64,{PIXEL}">' in drawn
    assert "<details><summary>Code</summary>" in drawn
    many = body(code(short, printed("line\n" * 50)))
    assert many.count("line") == slides.PRINTED - 1
    assert "…" in many


@pytest.mark.parametrize("tag", ["exercise", "solution"])
def test_exercises_cells_and_solutions_are_left_out(tag):
    assert body(code("answer = 42", printed("42"), tags=[tag])) == ""


def test_widgets_and_tables_with_scripts_are_left_out():
    widget = shown({"application/vnd.jupyter.widget-view+json": "{}", "text/plain": "explorer()"})
    unsafe = shown({"text/html": "<script>1</script><table></table>"})
    assert "explorer" not in body(code("x", widget))
    assert "<table" not in body(code("x", unsafe))


def test_what_does_not_fit_goes_on_under_the_same_heading():
    pages = outline(text("# T"), *[text("A sentence.") for _ in range(40)])
    assert len(pages) > 2
    assert {page.heading for page in pages} == {"T"}
    assert all(page.lines <= slides.ROOM + slides.FEW for page in pages)
    assert pages[-1].lines > slides.FEW


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.name[:2])
def test_every_notebook_makes_slides(path):
    page = slides.make(read_notebook(path), path.stem)
    made = page[page.index('<div class="slides">') : page.index("<script>")]
    assert made.count("<section") > 20
    assert "# Solution" not in made
    assert "xMATHx" not in page
    assert not re.search(
        r"<code>[^<\n]*\\(frac|theta|sum|left)[^<\n]*</code>", made
    )  # a formula left as TeX
    assert not re.search(r'\b(src|href)="(?!data:|https?://|#)', made)
    assert not re.search(r'\bsrc="http|<link', made)
    pictures = re.findall(r'<img alt="([^"]*)"', made)
    assert len(pictures) == made.count("<img") > 2
    assert all(pictures)


def test_without_reveal_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(slides, "NEEDS", ("no_such_package",))
    with pytest.raises(mk.MamlkitError, match=r'pip install "mamlkit\[slides\]"'):
        slides.make({"cells": [text("# T")]}, "t")


def test_a_notebook_without_a_heading_is_refused():
    with pytest.raises(mk.MamlkitError, match="no heading"):
        slides.make({"cells": [text("words")]}, "t")


SEEN = """() => {
  const slide = Reveal.getCurrentSlide(), content = slide.querySelector('.content');
  return {
    place: slide.innerText.slice(0, 50),
    size: parseFloat(content.style.fontSize),
    fits: content.scrollHeight <= content.clientHeight + 1
      && content.scrollWidth <= content.clientWidth
      && content.getBoundingClientRect().bottom <= window.innerHeight,
    pictures: [...slide.querySelectorAll('img')].every(i => i.naturalWidth && i.offsetHeight > 150),
    formulas: [...slide.querySelectorAll('.content > p math')].every(m => m.offsetHeight !== 0),
  };
}"""


@pytest.mark.browser
@pytest.mark.parametrize("number", ["00", "03", "12"])
def test_a_browser_without_a_network_shows_every_slide_whole(number, chromium, tmp_path):
    from playwright.sync_api import sync_playwright

    (path,) = NOTEBOOKS.glob(f"{number}_*.ipynb")
    file = Path(tmp_path, "slides.html")
    file.write_text(slides.make(read_notebook(path), path.stem), encoding="utf-8")
    access = runpy.run_path(str(ROOT / "docs" / "access.py"))["read"]  # contrast, names, alt
    asked: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": 1280, "height": 720})
        tab.on("request", lambda r: asked.append(r.url))
        tab.on("pageerror", lambda error: asked.append(str(error)))
        tab.goto(file.as_uri())
        tab.wait_for_function("window.Reveal && Reveal.isReady()")
        count = tab.evaluate("Reveal.getTotalSlides()")
        wrong = []
        for i in range(count):
            assert tab.evaluate("Reveal.getIndices().h") == i
            seen = tab.evaluate(SEEN)
            wrong += access(tab)
            if not (seen["fits"] and seen["pictures"] and seen["formulas"] and seen["size"] > 0.7):
                wrong.append(seen)
            tab.keyboard.press("ArrowRight")
        browser.close()
    assert count > 20
    assert wrong == []
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []
