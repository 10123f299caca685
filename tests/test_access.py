"""What the check of the web book finds wrong with a page for weak eyes or without a mouse."""

from __future__ import annotations

import runpy
from collections.abc import Iterator
from typing import Any

import pytest

from tests.helpers import ROOT

ACCESS = runpy.run_path(str(ROOT / "docs" / "access.py"))
FINE = """
<article><h1>One</h1><h2>Two</h2><h3>Three</h3><h2>Two again</h2>
<p>Words, and <a href="#x">a link</a>, <button>press</button></p>
<p style="background: #003; color: #fff">White on dark</p>
<img alt="" src="data:,"><label>Name <input></label>
<a href="#y"><img alt="a picture that leads on" src="data:,"></a>
<a href="#z" hidden></a>
<details><summary>More</summary><p>Words</p></details></article>
"""

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def tab(chromium) -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser.new_page()
        browser.close()


def test_a_page_without_faults(tab):
    tab.set_content(FINE)
    assert ACCESS["press_tab"](tab) == []
    assert ACCESS["read"](tab) == []


@pytest.mark.parametrize(
    ("spoilt", "fault"),
    [
        ('<p style="color: #888">Pale</p>', 'contrast 3.54 of "Pale"'),
        ('<p style="color: rgb(0 0 0 / 40%)">Thin</p>', 'contrast 2.85 of "Thin"'),
        ('<div style="background: #555"><p>Dark</p></div>', 'contrast 2.82 of "Dark"'),
        ('<details><summary>A</summary><p style="color: #888">B</p></details>', "contrast 3.54"),
        ("<article><h1>A</h1><h3>B</h3></article>", "h3 after h1: B"),
        ("<article><h2>A</h2></article>", "h2 after h0: A"),
        ('<a href="#x"><i></i></a>', 'no name: <a href="#x">'),
        ("<button></button>", "no name: <button>"),
        ("<input>", "no name: <input>"),
        ('<img src="data:,">', "no alt: <img"),
    ],
)
def test_what_is_hard_to_read(tab, spoilt, fault):
    tab.set_content(f"<article>{spoilt}</article>" if "<article" not in spoilt else spoilt)
    (found,) = ACCESS["read"](tab)
    assert found.startswith(fault)


def test_large_text_may_have_less_contrast(tab):
    tab.set_content('<p style="color: #888; font-size: 24px">Large</p>')
    assert ACCESS["read"](tab) == []


def test_what_a_keyboard_cannot_do(tab):
    tab.set_content(
        '<style>a { outline: none !important }</style><a href="#x">Unseen</a>'
        "<button onfocus='this.blur()'>Flees</button>"
    )
    unseen, fled = sorted(ACCESS["press_tab"](tab))
    assert unseen.startswith('focus not seen: <a href="#x">Unseen')
    assert fled.startswith("not reached by Tab: <button")
