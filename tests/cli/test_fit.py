"""``mamlkit fit`` and ``mamlkit predict``, as a researcher would type them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import mamlkit as mk
from mamlkit import cli

QUICK = ["--only", "mean curve", "--only", "linear latent"]


@pytest.fixture
def cracks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    frame = pd.read_csv(mk.tasks.measured("cracks"))
    frame[frame.specimen > 1].to_csv("cracks.csv", index=False)
    new = frame[frame.specimen == 1].copy()
    new.loc[new.index[4:], "length"] = np.nan
    new.to_csv("new.csv", index=False)
    return tmp_path


def fit(*more: str) -> int:
    given = ["--task", "specimen", "--x", "cycles", "--y", "length", *QUICK]
    return cli.main(["fit", "cracks.csv", *given, *more])


def test_from_a_table_to_predictions(cracks: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert fit("--shots", "4", "--support", "first", "--log-y", "--out", "cracks") == 0
    said = capsys.readouterr().out
    assert "best: linear latent" in said
    assert "written to cracks: saved.npz, table.csv, predictions.csv, systems.png" in said
    assert {p.name for p in (cracks / "cracks").iterdir()} == {
        "saved.npz",
        "table.csv",
        "predictions.csv",
        "systems.png",
    }
    assert cli.main(["predict", "cracks", "new.csv", "--out", "predictions.csv"]) == 0
    assert "6 predictions written to predictions.csv" in capsys.readouterr().out
    answer = pd.read_csv("predictions.csv")
    new, truth = pd.read_csv("new.csv"), pd.read_csv(mk.tasks.measured("cracks"))
    pd.testing.assert_frame_equal(answer[new.columns], new)
    columns = ["low90", "low50", "prediction", "high50", "high90"]
    assert answer[columns].isna().all(axis=1).equals(new.length.notna())
    assert bool((answer[columns].dropna().diff(axis=1).iloc[:, 1:] > 0).all(axis=None))
    later = truth[truth.specimen == 1].length[4:]
    assert float(((answer.prediction[4:] - later) ** 2).mean() ** 0.5) < 0.12
    assert (cracks / "predictions" / "1.png").stat().st_size > 5000
    assert mk.load("cracks").about["log"] == ["length"]


def test_columns_that_are_given_again_and_error_bars(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    frame = pd.read_csv(mk.tasks.measured("quakes"))
    frame["error"] = 0.1 * frame.acceleration
    frame.loc[3, "acceleration"] = np.nan
    frame.to_csv("quakes.csv", index=False, sep=";")
    given = ["--task", "event", "--x", "distance", "--x", "magnitude", "--y", "acceleration"]
    more = ["--sigma", "error", "--log-x", "--log-y", "--shots", "2", "--unit", "distance=km"]
    assert cli.main(["fit", "quakes.csv", *given, *more, *QUICK, "--out", "q"]) == 0
    said = capsys.readouterr().out
    assert "note: row 4 (system '2') has nothing in 'acceleration': left out." in said
    few = int((frame.dropna().groupby("event").size() <= 2).sum())
    assert f"note: {few} system(s) have no more than 2 readings" in said
    about = mk.load("q").about
    assert about["log"] == ["distance", "magnitude", "acceleration"]
    assert (about["sigma"], about["units"]) == (["error"], {"distance": "km"})
    frame.head(6).drop(columns=["acceleration"]).to_csv("new.csv", index=False)
    assert cli.main(["predict", "q", "new.csv"]) == 0
    assert pd.read_csv("predictions.csv").prediction.notna().all()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "cannot be read as a table"),
        ("specimen,cycles\n1,2\n", "there is no column 'length'"),
        ("specimen,cycles,length\n", "the table has no rows"),
        ("specimen,cycles,length\n1,0,long\n", "row 1 (system '1'): 'length' holds 'long'"),
        ("specimen,cycles,length\n1,0,1\n2,0,1\n", "at least three systems"),
    ],
)
def test_a_bad_file_is_said_in_plain_words(
    content: str,
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("cracks.csv").write_text(content)
    assert fit() == 1
    err = capsys.readouterr().err
    assert words in err
    assert err.startswith("mamlkit: ")
    assert "Traceback" not in err


def test_predict_says_what_is_wrong(cracks: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["predict", "cracks", "new.csv"]) == 1
    assert "there is no file cracks" in capsys.readouterr().err
    mk.save(mk.yardsticks.Zero(), "zero.npz")
    assert cli.main(["predict", "zero.npz", "new.csv"]) == 1
    assert "zero.npz holds Zero, not what mamlkit fit writes" in capsys.readouterr().err
    assert fit("--folds", "3", "--out", "out") == 0
    capsys.readouterr()
    Path("other.csv").write_text("sample,cycles,length\n1,0,1\n")
    assert cli.main(["predict", "out", "other.csv"]) == 1
    assert "there is no column 'specimen'" in capsys.readouterr().err
    assert fit("--unit", "mm") == 1
    assert "--unit mm must be COLUMN=UNIT" in capsys.readouterr().err
