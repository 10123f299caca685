"""From a table to predictions: what is chosen, how it is judged, what comes out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

import mamlkit as mk
from mamlkit import fitting
from mamlkit.tasks import Table
from tests.helpers import F64, members_of, seeded

CHEAP = ["mean curve", "linear latent", "ridge"]
COVARIANCE = np.diag([0.5, 0.3, 0.4]) ** 2 + 0.05


def features(x: Tensor) -> Tensor:
    return torch.cat([torch.ones_like(x), x, torch.sin(2 * x)], dim=-1)


def drawn(n: int, seed: int, least: int = 3, most: int = 25, units: float = 1.0) -> Table:
    """Systems y = w . (1, x, sin 2x) with w from a Gaussian, read with an error of 0.1."""
    rng = np.random.default_rng(seed)
    xs, ys = [], []
    for size in rng.integers(least, most + 1, n):
        w = rng.multivariate_normal([1.0, 0.5, 0.3], COVARIANCE)
        x = rng.uniform(-2, 2, size)
        law = w[0] + w[1] * x + w[2] * np.sin(2 * x)
        xs.append(units * x)
        ys.append(units * (law + 0.1 * rng.normal(size=size)))
    return Table(xs, ys)


def fitted(table: Table, shots: int = 4, **more: Any) -> mk.Fit:
    return mk.fit(table, shots, progress=False, **{"candidates": CHEAP, **more})


def test_the_best_comes_near_the_exact_posterior_and_is_as_sure_as_it_should_be() -> None:
    found = fitted(drawn(60, 0), candidates=["mean curve", "linear latent", "mixed effects"])
    assert found.name == "linear latent"
    exact = mk.yardsticks.Bayes([1.0, 0.5, 0.3], torch.tensor(COVARIANCE), 0.1, features)
    new = drawn(300, 1, 20, 25).every(4, generator=seeded(), dtype=F64)
    own, best, inside = [], [], []
    for i in range(300):
        task = new.task(i)
        real = task.query.weight[:, 0] > 0
        x, y = task.query.x[real], task.query.y[real]
        predict = found.best.adapt(task.support)
        low, high = predict.interval(x, 0.9)
        inside.append(float(((low <= y) & (y <= high)).double().mean()))
        own.append(float(((predict(x) - y) ** 2).mean()))
        best.append(float(((exact.adapt(task.support)(x) - y) ** 2).mean()))
    assert np.sqrt(np.mean(own) / np.mean(best)) < 1.1
    assert 0.85 < np.mean(inside) < 0.95


def test_the_table_is_of_held_out_systems() -> None:
    table = drawn(12, 2, 5, 9)
    found = fitted(table)
    assert set(found.table.index) == set(CHEAP)
    assert found.table.validation.is_monotonic_increasing
    assert found.table.index[0] == found.name
    told = found.predictions
    assert len(told) == int(table.sizes.sum())
    assert told.support.sum() == 4 * 12
    assert told.prediction.isna().equals(told.support)
    error = (told.prediction - told.y) ** 2
    by_system = error.groupby(told.system).mean() ** 0.5
    assert by_system.mean() == pytest.approx(found.table.error[found.name])
    half = 1.96 * by_system.std() / 12**0.5
    assert half == pytest.approx(found.table.ci95[found.name])
    inside = ((told.low90 <= told.y) & (told.y <= told.high90))[~told.support]
    mean = inside.groupby(told.system).mean().mean()
    assert mean == pytest.approx(found.table.coverage_90[found.name])
    ordered = told[["low90", "low50", "prediction", "high50", "high90"]].dropna()
    assert bool((ordered.diff(axis=1).iloc[:, 1:] > 0).all(axis=None))


def test_a_held_system_teaches_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the readings of one system are, the predictions of its fold's others stay."""
    table = drawn(9, 3, 6, 6)
    folds = [members_of(held) for _, held in table.folds(3, 0)]
    first, other = folds[0][:2]
    changed = drawn(9, 3, 6, 6)
    changed.readings.y[first] += 5.0
    a, b = (fitted(t, folds=3, candidates=["mean curve"]).predictions for t in (table, changed))
    same = (a.system == str(other)) & ~a.support
    pd.testing.assert_series_equal(a.prediction[same], b.prediction[same])
    elsewhere = (a.system == str(folds[1][0])) & ~a.support
    assert (a.prediction[elsewhere] - b.prediction[elsewhere]).abs().min() > 0


def test_units_change_nothing() -> None:
    one, other = (fitted(drawn(10, 4, 5, 8, units)) for units in (1.0, 1e9))
    np.testing.assert_allclose(other.table.error / 1e9, one.table.error, rtol=1e-5)
    assert one.name == other.name


def test_networks_are_trained_and_chosen_by_the_same_systems(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fitting, "PLAN", replace(fitting.PLAN, iterations=20, compile=False))
    names = ["pooled", "Meta-SGD", "CAVIA", "ridge head", "Bayesian head"]
    found = fitted(drawn(9, 5, 4, 7), folds=3, candidates=names)
    assert set(found.table.index) == set(names)
    assert bool((found.table[["error", "width_90"]] > 0).all(axis=None))
    predict = found.best.adapt(torch.zeros(1, 1), torch.ones(1, 1))
    low, high = predict.interval(torch.ones(2, 1))
    assert bool((low < predict(torch.ones(2, 1))).all())
    assert bool((predict(torch.ones(2, 1)) < high).all())


def two_inputs() -> pd.DataFrame:
    rng = np.random.default_rng(6)
    rows = []
    for i, size in enumerate(rng.integers(3, 26, 30)):
        x = rng.uniform(0, 1, (size, 2))
        y = np.exp(0.3 * rng.normal()) * (1 + x[:, 0] - x[:, 1] ** 2)
        rows += [
            (f"no {i}", *a, b) for a, b in zip(x, y + 0.02 * rng.normal(size=size), strict=True)
        ]
    frame = pd.DataFrame(rows, columns=["sample", "heat", "load", "flow"])
    frame.loc[17, "flow"] = np.nan
    return frame


def test_two_inputs_ragged_with_a_missing_value(tmp_path: Path) -> None:
    frame = two_inputs()
    with pytest.warns(mk.MamlkitWarning, match=r"row 18 \(system 'no \d+'\).*'flow': left out"):
        table = Table.from_frame(frame, "sample", ["heat", "load"], "flow", units={"flow": "l/s"})
    found = fitted(table, candidates=[*CHEAP, "Gaussian process"], log=["flow"])
    assert any("row 18" in note for note in found.notes)
    assert any("no more than 4 readings" in note for note in found.notes)
    assert found.table.error[found.name] < 0.5 * found.table.error["mean curve"]
    found.save(tmp_path / "out")
    names = {p.name for p in (tmp_path / "out").iterdir()}
    assert names == {"saved.npz", "table.csv", "predictions.csv", "systems.png"}
    again = mk.load(tmp_path / "out")
    assert repr(again) == repr(found)
    new = frame[frame["sample"] == "no 3"].reset_index(drop=True)
    new.loc[2:, "flow"] = np.nan
    a, b = (each.predict(new) for each in (found, again))
    pd.testing.assert_frame_equal(a, b)
    assert a.prediction.isna().equals(new.flow.notna())
    assert list(a.columns) == [*new.columns, "prediction", "low50", "high50", "low90", "high90"]


def test_two_outputs_with_error_bars() -> None:
    rng = np.random.default_rng(7)
    xs = [rng.uniform(0, 1, n) for n in rng.integers(4, 9, 10)]
    shifts = rng.normal(size=10)
    ys = [np.stack([s + x, 1e6 * (s - x)], 1) for s, x in zip(shifts, xs, strict=True)]
    bars = [np.tile([0.01, 1e4], (len(x), 1)) for x in xs]
    noisy = [y + b * rng.normal(size=b.shape) for y, b in zip(ys, bars, strict=True)]
    found = fitted(Table(xs, noisy, bars), shots=1, candidates=[*CHEAP, "mixed effects"])
    assert "mixed effects takes one output, so it was not tried." in found.notes
    assert {"prediction_y1", "high90_y2"} <= set(found.predictions.columns)
    asked = pd.DataFrame({"system": "new", "x": [0.1, 0.5], "y1": [0.3, np.nan]})
    asked["y2"] = [2e5, np.nan]
    told = found.predict(asked)
    assert told.prediction_y1[1] == pytest.approx(0.7, abs=0.1)
    assert told.prediction_y2[1] == pytest.approx(-2e5, abs=1e5)


def test_a_system_without_readings_gets_what_is_known_of_all() -> None:
    table = drawn(20, 8, 6, 9)
    found = fitted(table, candidates=["mean curve", "linear latent"])
    asked = pd.DataFrame({"system": ["a", "a", "b"], "x": [0.0, 0.5, 0.0]})
    asked["y"] = [9.0, np.nan, np.nan]
    told = found.predict(asked)
    narrow, wide = ((told.high90 - told.low90)[i] for i in (1, 2))
    assert told.prediction[2] == pytest.approx(1.0, abs=0.6)
    assert wide > narrow


def test_dates_are_counted_from_the_first_day_of_the_table() -> None:
    days = pd.date_range("2024-03-01", periods=6)
    frame = pd.DataFrame(
        {
            "tree": np.repeat(list("abcde"), 6),
            "day": np.tile(days.strftime("%Y-%m-%d"), 5),
            "height": np.concatenate([(1 + 0.1 * k) * np.arange(1.0, 7.0) for k in range(5)]),
        }
    )
    found = fitted(Table.from_frame(frame, "tree", "day", "height", support="first"), 2)
    assert found.about["units"] == {"day": "days since 2024-03-01"}
    new = pd.DataFrame({"tree": "z", "day": ["2024-03-02", "2024-03-03", "2024-03-05"]})
    new["height"] = [2.4, 3.6, np.nan]
    assert found.predict(new).prediction[2] == pytest.approx(6.0, rel=0.05)
    with pytest.raises(mk.MamlkitError, match="'day' held dates when the table was fitted"):
        found.predict(new.assign(day=[1.0, 2.0, 4.0]))


def test_four_systems_are_enough_and_two_are_not() -> None:
    assert fitted(drawn(4, 9, 6, 8)).about["folds"] == 4
    with pytest.raises(mk.MamlkitError, match=r"at least three systems.*there are 2"):
        fitted(drawn(2, 9))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"table": 3}, "takes a mk.tasks.Table, but int"),
        ({"candidates": ["best"]}, "candidates='best' is not known"),
        ({"folds": 2}, "folds must be a whole number of at least 3"),
        ({"shots": -1}, "shots must be a whole number of at least 0"),
        ({"log": ["z"]}, "log=.*'z'; the columns are"),
    ],
)
def test_what_cannot_be_fitted(change: dict[str, Any], words: str) -> None:
    given = {"table": drawn(4, 10, 5, 6), "candidates": CHEAP, **change}
    with pytest.raises(mk.MamlkitError, match=words):
        mk.fit(progress=False, **given)


def test_bad_rows_are_named_when_predicting() -> None:
    found = fitted(drawn(6, 11, 5, 6))
    with pytest.raises(mk.MamlkitError, match=r"row 2 \(system 'a'\): 'x' holds 'long'"):
        found.predict(pd.DataFrame({"system": "a", "x": [1.0, "long"], "y": [1.0, 2.0]}))
    with pytest.raises(mk.MamlkitError, match="no column 'x'"):
        found.predict(pd.DataFrame({"system": ["a"], "y": [1.0]}))
    with pytest.warns(mk.MamlkitWarning, match="row 1 .* has nothing in 'x'"):
        found.predict(pd.DataFrame({"system": "a", "x": [np.nan, 1.0], "y": [1.0, np.nan]}))


def test_the_cracks_ship_and_the_linear_latent_takes_them() -> None:
    cracks = Table.from_csv(
        mk.tasks.measured("cracks"), "specimen", "cycles", "length", support="first"
    )
    assert (cracks.n_members, int(cracks.sizes.sum())) == (21, 262)
    found = fitted(cracks, log=["length"], candidates=[*CHEAP, "Gaussian process"])
    assert found.name == "linear latent"
    assert found.table.error["linear latent"] < 0.04
    quakes = pd.read_csv(mk.tasks.measured("quakes"))
    assert (len(quakes), quakes.event.nunique()) == (182, 23)
