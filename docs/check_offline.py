"""Open every page of the web book in Chromium, without the network, and look for what is missing.

    python docs/check_offline.py docs/_build/html

Fails if a page asks an outside host for anything, if a formula or a picture does not show, if a
picture of a notebook has no alternative text, if a script fails, or if a page is hard to read with
weak eyes or without a mouse (``access.py``). Needs the extra ``test`` and Chromium.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import access
from playwright.sync_api import Route, sync_playwright

BY_KEYBOARD = ("index.html", "search.html", "notebooks/00_")  # all pages have the same frame
COUNT = """() => ({
    formulas: document.querySelectorAll('.math').length,
    shown: document.querySelectorAll('.math mjx-container').length,
    errors: document.querySelectorAll('[data-mml-node=merror]').length,
    pictures: [...document.querySelectorAll('article img')].map(
        image => ({source: image.src, width: image.naturalWidth, alt: image.alt})),
    raw: document.querySelector('article')?.innerText.includes('(children=(') ?? false,
})"""


def check(book: Path) -> list[str]:
    """What is wrong with the book, one line each."""
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
    pages = [p for p in sorted(book.rglob("*.html")) if "_static" not in p.parts]
    wrong: list[str] = []
    if not pages:
        return [f"no pages in {book}"]
    formulas = pictures = 0
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        tab = browser.new_page()
        name = ""

        def local_only(route: Route) -> None:
            url = route.request.url
            if url.startswith(("file:", "data:", "blob:")):
                route.continue_()
            else:
                wrong.append(f"{name}: asks for {url}")
                route.abort()

        tab.route("**/*", local_only)
        tab.on("pageerror", lambda error: wrong.append(f"{name}: {error}"))
        tab.on("requestfailed", lambda request: wrong.append(f"{name}: no {request.url}"))
        for page in pages:
            name = str(page.relative_to(book))
            tab.goto(page.as_uri(), wait_until="load")
            tab.wait_for_function("!window.MathJax || window.MathJax.startup?.promise")
            tab.evaluate("window.MathJax ? MathJax.startup.promise.then(() => 0) : 0")
            seen = tab.evaluate(COUNT)
            formulas += seen["formulas"]
            pictures += len(seen["pictures"])
            if seen["shown"] != seen["formulas"] or seen["errors"]:
                wrong.append(
                    f"{name}: {seen['shown']} of {seen['formulas']} formulas show, "
                    f"{seen['errors']} with an error"
                )
            if seen["raw"]:
                wrong.append(f"{name}: a widget shows as raw text")
            for picture in seen["pictures"]:
                if not picture["width"]:
                    wrong.append(f"{name}: {picture['source']} does not show")
                if name.startswith("notebooks") and not picture["alt"]:
                    wrong.append(f"{name}: {picture['source']} has no alternative text")
            if name.startswith(BY_KEYBOARD):
                wrong += [f"{name}: {fault}" for fault in access.press_tab(tab)]
            wrong += [f"{name}: {fault}" for fault in access.read(tab)]
        browser.close()
    print(f"{len(pages)} pages, {formulas} formulas, {pictures} pictures, {len(wrong)} faults")
    return wrong


if __name__ == "__main__":
    faults = check(Path(sys.argv[1]).resolve())
    print("\n".join(faults))
    sys.exit(bool(faults))
