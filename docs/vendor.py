"""Fetch MathJax once, so that the web book shows its formulas without the network.

The build needs ``npm``; the book that comes out needs nothing but a browser.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

MATHJAX = "mathjax@3.2.2"
SHA256 = "1b9c0a1c44df864e915690558e72adb9cc5203360daefd385084ced3b6c64c09"
# SVG output needs no font files, which some browsers refuse to load from a folder on disk.
PARTS = ("tex-svg.js", "input/tex/", "a11y/", "sre/", "ui/")


class VendorError(Exception):
    """MathJax could not be fetched."""


def fetch_mathjax(folder: Path) -> None:
    """Put MathJax into ``folder``, unless it is there."""
    if (folder / "tex-svg.js").is_file():
        return
    npm = shutil.which("npm")
    if npm is None:
        raise VendorError(
            f"the book shows formulas with {MATHJAX}, which is fetched with npm, but npm is not "
            "installed; install it (Debian: apt-get install npm) and build again."
        )
    with tempfile.TemporaryDirectory() as scratch:
        done = subprocess.run(
            [npm, "pack", "--silent", MATHJAX], cwd=scratch, capture_output=True, text=True
        )
        if done.returncode:
            raise VendorError(f"npm could not fetch {MATHJAX}:\n{done.stdout}{done.stderr}")
        (package,) = Path(scratch).glob("*.tgz")
        if hashlib.sha256(package.read_bytes()).hexdigest() != SHA256:
            raise VendorError(f"what npm fetched is not {MATHJAX}: its checksum differs.")
        with tarfile.open(package) as archive:
            archive.extractall(scratch, filter="data")
        source = Path(scratch) / "package" / "es5"
        part = folder.with_name(folder.name + ".part")  # whole or not at all
        shutil.rmtree(part, ignore_errors=True)
        for file in source.rglob("*"):
            name = file.relative_to(source)
            if file.is_file() and name.as_posix().startswith(PARTS):
                (part / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(file, part / name)
        part.replace(folder)
