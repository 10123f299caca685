"""Slides from a notebook: one HTML file that needs no network, shown by reveal.js.

What of a notebook a slide shows, by plain rules:

- a heading begins a slide; what does not fit goes on the next one, under the same heading;
- of a paragraph, the first sentence; all of it is in the speaker's notes;
- formulas, lists, tables, predictions, exercises and the notebook's question whole;
- pictures, tables of results and short printed results;
- code of at most ``SHORT`` lines that draws nothing; longer code is folded, and left out where it
  prints nothing; imports, widgets and solutions are left out.
"""

from __future__ import annotations

import html
import importlib.util
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from mamlkit.errors import MamlkitError

ROOM = 17.0  # lines that fit below the heading
FEW = 3.5  # so few lines are no slide of their own
WIDTH = 92  # letters in a line of text
SHORT = 10  # lines of code that are shown open
PRINTED = 10  # lines of printed results that are shown

NEEDS = ("sphinx_revealjs", "latex2mathml", "mistune")
MATH = re.compile(
    r"(?P<code>```.*?```|(?P<ticks>`+).+?(?P=ticks))"
    r"|\$\$(?P<block>.+?)\$\$"
    r"|(?<![\\$])\$(?!\s)(?P<inline>(?:\\.|[^$\\])+?)(?<!\s)\$",
    re.DOTALL,
)
MARK = re.compile(r"xMATHx(\d+)x")
# As TeX sets them: room around ln, none after the minus of -x, upright Greek capitals.
NAMED = re.compile(r"<mi>(ln|log|exp|sin|cos|tan|tanh|sinh|cosh|arctan|det|dim)</mi>")
SIGN = re.compile(r"(<mo[^>]*>(?:=|&#x0003D;|\(|&#x00028;|,|&#x0002C;)</mo>)<mo>&#x02212;</mo>")
CAPITAL = re.compile(r"<mi>(&#x0039[3-9A-F];|&#x003A[0-9];|[Α-Ω])</mi>")
SENTENCE = re.compile(r"[.?!](?=\s+[A-Z“\"(x])")
SIZED = re.compile(r"\\big[lrm]?(?![a-z])|\\[bB]igg?[lrm]?\s*(?=\\[lr](?:angle|vert|Vert))")
ASIDE = ("Before you start.", "Time.", "Running a cell.")  # for a reader: in the notes alone
TASKS = ("Exercise", "Test yourself")  # below these headings, paragraphs are shown whole
WHOLE = ("The question.", "Predict.", "Try.")  # paragraphs that begin so are shown whole


@dataclass
class Block:
    """A piece of a slide: its HTML and how many lines it takes."""

    html: str
    lines: float


@dataclass
class Slide:
    """A heading, what stands below it, and what the speaker reads."""

    heading: str
    level: int
    blocks: list[Block] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def lines(self) -> float:
        """How many lines its blocks take."""
        return sum(block.lines for block in self.blocks)


def make(notebook: dict[str, Any], title: str) -> str:
    """The page of slides of a notebook as ``json`` reads it; ``title`` is the page's own.

    Raises :class:`mk.MamlkitError` where reveal.js and its companions are not installed, or the
    notebook has nothing to show.
    """
    missing = [name for name in NEEDS if importlib.util.find_spec(name) is None]
    if missing:
        raise MamlkitError(
            "slides need reveal.js and what writes formulas, which are not installed; install them "
            "with 'python -m pip install \"mamlkit[slides]\"' and try again."
        )
    slides = [s for s in outline(notebook) if s.blocks or s.level == 1]
    if not slides:
        raise MamlkitError("this notebook has no heading, so there is nothing to make slides of.")
    return page(slides, title)


def outline(notebook: dict[str, Any]) -> list[Slide]:
    """The slides of a notebook, in order."""
    slides: list[Slide] = []
    for cell in notebook["cells"]:
        tags = cell["metadata"].get("tags", ())
        if "solution" in tags or "exercise" in tags:
            continue
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            for level, block, note in prose(source):
                if level:
                    slides.append(Slide(block.html, level))
                elif slides:
                    add(slides, [block], note)
        elif cell["cell_type"] == "code" and slides:
            add(slides, results(cell, source))
    return without_orphans(slides)


def without_orphans(slides: list[Slide]) -> list[Slide]:
    """Put what would stand all but alone on a slide back under the blocks before it."""
    kept: list[Slide] = []
    for slide in slides:
        before = kept[-1] if kept else None
        if (
            before is not None
            and before.heading == slide.heading
            and slide.lines <= FEW
            and before.lines + slide.lines <= ROOM + FEW
        ):
            before.blocks += slide.blocks
            before.notes += slide.notes
        else:
            kept.append(slide)
    return kept


def add(slides: list[Slide], blocks: list[Block], note: str = "") -> None:
    """Put blocks that belong together on the last slide, or on a new one where they do not fit."""
    last = slides[-1]
    wanted = sum(block.lines for block in blocks)
    if last.blocks and last.lines + wanted > ROOM:
        last = Slide(last.heading, last.level)
        slides.append(last)
    for block in blocks:
        if block.lines:
            last.blocks.append(block)
    if note:
        last.notes.append(note)


def prose(source: str) -> Iterator[tuple[int, Block, str]]:
    """The blocks of a text: the level of a heading or 0, what is shown, and a note."""
    mistune = import_module("mistune")
    formulas: list[str] = []

    def put_by(found: re.Match[str]) -> str:
        if found["code"]:
            return found[0]
        formulas.append(formula(found["block"] or found["inline"], block=bool(found["block"])))
        return f"xMATHx{len(formulas) - 1}x"

    def back(text: str) -> str:
        return MARK.sub(lambda found: formulas[int(found[1])], text)

    tree = mistune.create_markdown(renderer=None, plugins=["table"])
    renderer = mistune.create_markdown(escape=False, plugins=["table"]).renderer
    tokens, state = tree.parse(MATH.sub(put_by, source))

    def render(some: list[dict[str, Any]]) -> str:
        return str(renderer.render_tokens([unlinked(token) for token in some], state))

    folded: list[dict[str, Any]] = []
    task = False
    for token in tokens:
        kind = token["type"]
        whole = render([token])
        if folded or (kind == "block_html" and "<details" in whole):  # to its end
            folded.append(token)
            if "</details>" in whole:
                yield 0, Block(back(render(folded)), 1.3), ""
                folded = []
        elif kind == "heading":
            level = token["attrs"]["level"]
            task = plain(token).startswith(TASKS)
            yield level, Block(back(render(token["children"])), 0), ""
        elif kind == "paragraph":
            if lead(token) in ASIDE:
                yield 0, Block("", 0), back(whole)
                continue
            shown = whole if task else render([beginning(token)])
            size = 2.6 if MARK.fullmatch(letters(whole)) else 0.0
            note = back(whole) if shown != whole else ""
            yield 0, Block(back(shown), size or height(shown)), note
        elif kind == "list":
            items = [len(letters(render([item]))) for item in token["children"]]
            yield 0, Block(back(whole), sum(1.15 * (1 + n // WIDTH) for n in items)), ""
        elif kind == "table":
            yield 0, Block(back(whole), table_height(whole)), ""
        elif kind not in ("blank_line", "thematic_break"):
            lines = whole.count("\n") if kind == "block_code" else height(whole) + 0.6
            yield 0, Block(back(whole), lines), ""


def beginning(token: dict[str, Any]) -> dict[str, Any]:
    """A paragraph up to the end of its first sentence; whole if it begins with one of ``WHOLE``."""
    if lead(token) in WHOLE:
        return token
    kept = []
    for child in token["children"]:
        end = SENTENCE.search(child["raw"]) if child["type"] == "text" else None
        if end:
            kept.append(child | {"raw": child["raw"][: end.end()]})
            break
        kept.append(child)
        if child["type"] == "softbreak" and re.search(r"[.?!]$", plain(kept[-2])):
            break
    return token | {"children": kept}


def lead(token: dict[str, Any]) -> str:
    """The words in bold that a paragraph begins with."""
    first = token["children"][0]
    return plain(first) if first["type"] == "strong" else ""


def unlinked(token: dict[str, Any]) -> dict[str, Any]:
    """A token whose links to other files, which are not beside the slides, are plain text."""
    if "children" not in token:
        return token
    token = token | {"children": [unlinked(child) for child in token["children"]]}
    if token["type"] == "link" and not token["attrs"]["url"].startswith(("http:", "https:")):
        return {"type": "emphasis", "children": token["children"]}
    return token


def plain(token: dict[str, Any]) -> str:
    """The text of a token."""
    return token.get("raw", "") + "".join(plain(child) for child in token.get("children", ()))


def letters(text: str) -> str:
    """HTML without its tags; a formula counts as ten letters or so."""
    return re.sub(r"<[^>]+>", "", text).strip()


def height(text: str) -> float:
    """Lines that a paragraph takes."""
    return 1.4 + 1.15 * (len(letters(text)) // WIDTH)


def table_height(text: str) -> float:
    """Lines that a table takes, its longest cell in the widest column."""
    rows = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL) for row in text.split("<tr")]
    total = 0.5
    for row in rows[1:]:
        total += 1.2 + 1.0 * (sum(len(letters(cell)) for cell in row) // 105)
    return total


def formula(tex: str, *, block: bool) -> str:
    """A formula as MathML, which browsers show without help."""
    convert = import_module("latex2mathml.converter").convert
    try:
        text = str(convert(SIZED.sub("", tex), display="block" if block else "inline"))
    except Exception:  # whatever a formula that it does not know raises, the reader can read TeX
        return f"<code>{html.escape(tex)}</code>"
    text = NAMED.sub(r'<mo lspace="0.17em" rspace="0.17em">\1</mo>', text)
    text = SIGN.sub(r'\1<mo form="prefix">&#x02212;</mo>', text)
    text = text.replace("<mi>&#x02032;</mi>", "<mo>&#x02032;</mo>")  # a prime of full size
    return CAPITAL.sub(r'<mi mathvariant="normal">\1</mi>', text)


def results(cell: dict[str, Any], source: str) -> list[Block]:
    """What is shown of a cell of code."""
    printed = [o for o in cell["outputs"] if o.get("name") == "stdout"]
    text = "".join("".join(o["text"]) for o in printed)
    others = [o for o in cell["outputs"] if o.get("output_type") != "stream"]
    shown = [block for output in others for block in output_of(output, cell)]
    if text.strip():
        shown.append(printed_block(text))
    draws = any("<img" in block.html for block in shown)
    lines = source.count("\n") + 1
    code = f"<pre><code>{html.escape(source)}</code></pre>"
    if source.lstrip().startswith(("import ", "from ")):
        return shown
    if lines <= SHORT and not draws:
        return [Block(code, 0.6 + 0.8 * lines), *shown]
    if not shown:
        return []
    return [*shown, Block(f"<details><summary>Code</summary>{code}</details>", 1.2)]


def output_of(output: dict[str, Any], cell: dict[str, Any]) -> Iterator[Block]:
    """A picture, a table or a few printed lines; nothing else."""
    data = output.get("data", {})
    if "application/vnd.jupyter.widget-view+json" in data or output["output_type"] == "error":
        return
    if "image/png" in data:
        alt = cell["metadata"].get("mystnb", {}).get("image", {}).get("alt", "")
        picture = "".join(data["image/png"]).replace("\n", "")
        yield Block(f'<img alt="{html.escape(alt)}" src="data:image/png;base64,{picture}">', 13.5)
    elif "text/html" in data:
        table = "".join(data["text/html"])
        if "<table" in table and "<script" not in table:
            table = re.sub(r"<style.*?</style>", "", table, flags=re.DOTALL)
            yield Block(table, table_height(table))
    elif "text/plain" in data:
        yield printed_block("".join(data["text/plain"]))


def printed_block(text: str) -> Block:
    """Printed lines, the first ones if they are many."""
    rows = text.strip("\n").split("\n")
    if len(rows) > PRINTED:
        rows = [*rows[: PRINTED - 1], "…"]
    printed = html.escape("\n".join(rows))
    return Block(f'<pre class="printed">{printed}</pre>', 0.5 + 0.8 * len(rows))


def page(slides: list[Slide], title: str) -> str:
    """The whole file."""
    folder = Path(str(importlib.util.find_spec("sphinx_revealjs").origin)).parent  # type: ignore[union-attr]
    reveal = folder / "_static" / "revealjs"

    def read(name: str) -> str:
        try:
            return (reveal / name).read_text(encoding="utf-8").replace("</script", "<\\/script")
        except OSError as error:
            raise MamlkitError(
                f"{reveal / name} is missing: the installed sphinx-revealjs has no reveal.js that "
                "is known; install it again with 'python -m pip install \"mamlkit[slides]\"'."
            ) from error

    parts = []
    for slide in slides:
        blocks = "\n".join(block.html for block in slide.blocks)
        level = min(slide.level, 2)
        notes = f'<aside class="notes">{"".join(slide.notes)}</aside>' if slide.notes else ""
        parts.append(
            f'<section class="level{slide.level}">\n<h{level}>{slide.heading}</h{level}>\n'
            f'<div class="content">{blocks}</div>\n{notes}\n</section>'
        )
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{html.escape(title)}</title>
<style>{read("dist/reveal.css")}</style>
<style>{STYLE}</style>
</head>
<body>
<div class="reveal"><div class="slides">
{"".join(parts)}
</div></div>
<script>{read("dist/reveal.js")}</script>
<script>{read("plugin/notes/notes.js")}</script>
<script>{SCRIPT}</script>
</body>
</html>
"""


def read_notebook(path: Path) -> dict[str, Any]:
    """The notebook in a file."""
    try:
        notebook = json.loads(path.read_text(encoding="utf-8"))
        for cell in notebook["cells"]:
            cell["source"], cell["metadata"], cell["cell_type"]
            cell.get("outputs", ())
    except OSError as error:
        raise MamlkitError(f"{path} cannot be read ({error.strerror}).") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise MamlkitError(f"{path} is not a notebook of Jupyter's.") from error
    return dict(notebook)


STYLE = """
body { background: #fff; }
.reveal { font: 27px/1.3 system-ui, "Segoe UI", Roboto, "DejaVu Sans", Arial, sans-serif;
  color: #1a1a1a; }
.reveal .slides { text-align: left; }
.reveal .slides section { box-sizing: border-box; height: 100%; padding: 18px 30px; }
.reveal h1, .reveal h2 { margin: 0 0 0.5em; line-height: 1.15; color: #0b3d66; }
.reveal h1 { font-size: 1.75em; }
.reveal h2 { font-size: 1.3em; }
.reveal .level1 h1 { border-bottom: 3px solid #0b3d66; padding-bottom: 0.3em; }
.reveal p, .reveal ul, .reveal ol, .reveal blockquote { margin: 0 0 0.55em; }
.reveal ul, .reveal ol { padding-left: 1.2em; }
.reveal a { color: #0b5394; }
.reveal blockquote { border-left: 6px solid #b45f06; background: #fdf3e7; padding: 0.4em 0.8em; }
.reveal blockquote p { margin: 0; }
.reveal img { display: block; margin: 0 auto 0.3em; width: 86%; max-height: 17.5em;
  object-fit: contain; }
.reveal table { border-collapse: collapse; margin: 0.2em auto 0.6em; font-size: 0.8em; }
.reveal th, .reveal td { border-bottom: 1px solid #767676; padding: 0.2em 0.7em;
  vertical-align: top; }
.reveal table.dataframe td, .reveal table.dataframe th { text-align: right; }
.reveal code, .reveal pre { font-family: ui-monospace, Consolas, "DejaVu Sans Mono", monospace; }
.reveal code { font-size: 0.88em; }
.reveal pre { margin: 0.2em 0 0.5em; padding: 0.4em 0.7em; background: #f4f4f4;
  font-size: 0.66em; line-height: 1.3; white-space: pre-wrap; }
.reveal pre code { font-size: 1em; }
.reveal pre.printed { background: none; border-left: 4px solid #767676; }
.reveal details { margin: 0 0 0.4em; font-size: 0.8em; }
.reveal details pre { max-height: 22em; overflow-y: auto; }
.reveal summary { cursor: pointer; color: #0b5394; }
.reveal math { font-family: "Latin Modern Math", "STIX Two Math", "Cambria Math",
  "Libertinus Math", "DejaVu Math TeX Gyre", math; }
.reveal math[display="block"] { margin: 0.3em 0; }
.reveal .content { overflow-x: hidden; overflow-y: auto; max-height: 100%; }
.reveal .slide-number { left: 12px; right: auto; background: none; color: #404040; }
:focus-visible { outline: 3px solid #b45f06; outline-offset: 2px; }
"""

# What is too tall for its slide, in this browser and its fonts, is made smaller.
SCRIPT = """
Reveal.initialize({
  width: 1280, height: 720, margin: 0.03, center: false, hash: true, slideNumber: 'c/t',
  transition: 'none', pdfMaxPagesPerSlide: 1, pdfSeparateFragments: false,
  plugins: [RevealNotes],
});
function fit(slide) {
  const content = slide && slide.querySelector('.content');
  if (!content) return;
  const room = 720 - 36 - content.offsetTop + 18;
  content.style.maxHeight = room + 'px';
  for (let size = 1; size > 0.45; size -= 0.05) {
    content.style.fontSize = size + 'em';
    if (content.scrollHeight <= room && content.scrollWidth <= content.clientWidth) break;
  }
}
Reveal.on('ready', event => fit(event.currentSlide));
Reveal.on('slidechanged', event => fit(event.currentSlide));
Reveal.on('pdf-ready', () => document.querySelectorAll('.slides section').forEach(fit));
"""
