"""``mamlkit slides``: which notebooks, and where the slides go."""

from __future__ import annotations

import json

import pytest

from mamlkit import cli


def test_slides_of_notebooks_by_number_and_of_a_file(tmp_path, capsys):
    own = tmp_path / "talk.ipynb"
    cell = {"cell_type": "markdown", "metadata": {}, "source": "# My talk\n\nHello."}
    own.write_text(json.dumps({"cells": [cell]}))
    out = tmp_path / "new" / "week1"
    assert cli.main(["slides", "00", str(own), "--out", str(out)]) == 0
    assert {path.name for path in out.iterdir()} == {
        "00_one_measurement_a_whole_curve.html",
        "talk.html",
    }
    assert "talk.html (1 slides)" in capsys.readouterr().out
    assert "<title>talk</title>" in (out / "talk.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["99", "a1", "", "no_number"])
def test_no_such_notebook(name, tmp_path, capsys):
    assert cli.main(["slides", "00", name, "--out", str(tmp_path / "out")]) == 1
    assert f"there is no notebook {name!r}" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read (No such file or directory)"),
        ("{", "is not a notebook of Jupyter's"),
        ("[]", "is not a notebook of Jupyter's"),
        ('{"cells": [{"source": "x"}]}', "is not a notebook of Jupyter's"),
        ('{"cells": []}', "this notebook has no heading"),
    ],
)
def test_what_is_no_notebook(content, said, tmp_path, capsys):
    path = tmp_path / "talk.ipynb"
    if content is not None:
        path.write_text(content)
    assert cli.main(["slides", str(path), "--out", str(tmp_path)]) == 1
    assert said in capsys.readouterr().err
