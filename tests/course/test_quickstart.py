"""The main job, shortened; .ci/run does it at full length."""

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import mamlkit as mk
from mamlkit import cli
from mamlkit.course import quickstart
from tests.helpers import ROOT, members_of


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("quickstart")
    threads = torch.get_num_threads()
    quickstart.run(out, seed=3, iterations=150)
    torch.set_num_threads(threads)
    plt.close("all")
    return out


def test_writes_a_picture_a_table_a_learner_and_a_history(result: Path) -> None:
    for name in ("curves.png", "summary.png"):
        assert note(result / name) == "mamlkit quickstart: seed 3, 150 iterations"
    assert len(mk.History.load(result / "history.json").outer_loss) == 150
    learner = quickstart.make_learner(seed=0)
    notes = mk.load_learner(learner, result / "learner.npz")
    assert notes == {"seed": 3, "iterations": 150}
    table = pd.read_csv(result / "table.csv", index_col=0)
    again = mk.evaluate(learner, quickstart.fluids("test"), 1, loss=mk.losses.rmse)
    assert table.loc["MAML (Meta-SGD)", "mean"] == pytest.approx(float(again.mean[-1]), rel=1e-5)


def note(picture: Path) -> str:
    """What a picture says about the run that made it."""
    with Image.open(picture) as image:
        return str(image.info["Description"])


def test_the_picture_of_the_readme_is_that_of_a_full_run(result: Path) -> None:
    stored = ROOT / "docs" / "_static" / "quickstart.png"
    iterations = quickstart.SETTINGS["iterations"]
    assert note(stored) == f"mamlkit quickstart: seed 0, {iterations} iterations"
    assert stored.stat().st_size < 150_000
    with Image.open(stored) as shown, Image.open(result / "summary.png") as drawn:
        assert shown.size == drawn.size


def test_the_summary_shows_the_error_of_each_fluid_in_percent() -> None:
    learners = quickstart.classical()
    figure = quickstart.summary(learners["Lee-Kesler, told acentric factor"], learners)
    left, right = figure.axes
    assert [t.get_text() for t in right.get_yticklabels()] == list(learners)
    dots = [np.asarray(line.get_xdata()) for line in right.lines[0::2]]
    bars = [np.asarray(line.get_xdata()) for line in right.lines[1::2]]
    test = quickstart.fluids("test")
    batch = test.every(1, dtype=torch.float64)
    for learner, found, bar in zip(learners.values(), dots, bars, strict=True):
        x, y = test.true_curve({k: v[5] for k, v in batch.physics.items()})
        if not isinstance(learner, mk.yardsticks.LeeKesler):  # which is told more than the support
            ratio = 10 ** (learner.adapt(*batch.task(5).support)(x) - y)
            assert found[5] == pytest.approx(100 * float((ratio - 1).square().mean().sqrt()))
        assert len(found) == 32
        assert np.sort(found)[15] <= bar <= np.sort(found)[16]
    truth, predicted, measured = left.lines[:3]
    assert measured.get_xdata() == pytest.approx([0.7])
    off = np.asarray(truth.get_ydata()) - np.asarray(predicted.get_ydata())
    assert np.abs(off).max() < 0.05
    plt.close(figure)


def test_percent_is_of_the_pressure() -> None:
    true = torch.tensor([2.0, 5.0]).log10()
    assert quickstart.percent(torch.tensor([2.1, 4.0]).log10(), true) == pytest.approx([5, -20])


def test_table_holds_every_yardstick_and_the_closed_forms_are_as_known(result: Path) -> None:
    table = pd.read_csv(result / "table.csv", index_col=0)["mean"]
    assert set(table.index) == {
        "MAML (Meta-SGD)",
        "pooled, fine-tuned",
        "mean curve",
        "line through critical point",
        "Gaussian process in 1/T",
        "Lee-Kesler, told acentric factor",
        "best linear latent",
    }
    assert table.is_monotonic_decreasing
    assert table["Lee-Kesler, told acentric factor"] == pytest.approx(0.00395, abs=5e-5)
    assert table["best linear latent"] == pytest.approx(0.00282, abs=5e-5)
    # 150 iterations already leave far behind what cannot adapt
    assert table["MAML (Meta-SGD)"] < 0.5 * table["mean curve"]


def test_learner_sees_one_measurement_of_fluids_that_it_was_not_trained_on() -> None:
    parts = [set(members_of(quickstart.fluids(p))) for p in ("train", "validation", "test")]
    assert [len(p) for p in parts] == [76, 19, 32]
    assert not parts[0] & parts[2]
    support = quickstart.fluids("test").every(1).support
    assert support.x.shape == (32, 1, 1)
    assert torch.allclose(support.x, torch.tensor(0.7))


def test_an_interrupted_training_gives_no_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: object, **__: object) -> mk.History:
        return mk.History(interrupted=True)

    monkeypatch.setattr(quickstart, "meta_train", stopped)
    with pytest.raises(KeyboardInterrupt):
        quickstart.run(tmp_path, iterations=100)
    assert not (tmp_path / "table.csv").exists()


def test_a_disk_that_is_full_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(frame: pd.DataFrame, file: Any, **settings: Any) -> None:
        file.write(b"half a table")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pd.DataFrame, "to_csv", full)
    (tmp_path / "table.csv").write_text("of an earlier run")
    threads = torch.get_num_threads()
    code = cli.main(["quickstart", "--iterations", "2", "--out", str(tmp_path)])
    torch.set_num_threads(threads)
    plt.close("all")
    assert code == 1
    assert (
        "table.csv cannot be written: No space left on device; make room" in capsys.readouterr().err
    )
    assert (tmp_path / "table.csv").read_text() == "of an earlier run"
    assert {path.name for path in tmp_path.iterdir()} == {"table.csv", "curves.png", "summary.png"}
