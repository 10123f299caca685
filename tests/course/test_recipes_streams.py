"""The shipped learners of notebook 17, and the search behind its settings."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import mamlkit as mk
from mamlkit.course import recipes
from mamlkit.course.recipes import packs, streams
from mamlkit.evaluation import follow
from mamlkit.tasks import RECORDS

#: Most error on test streams at rest (times 1000) of any seed.
MOST = {"return": 5.0, "maml-steps": 8.0}


@pytest.mark.parametrize("seed", recipes.SHIPPED_SEEDS)
def test_shipped_learners_follow_as_the_notebook_says(seed: int) -> None:
    table = recipes.shipped_table("streams")
    given = streams.streams("ramp", "test", seed, 20)
    for name, most in MOST.items():
        learner = streams.follower(
            name,
            streams.chosen(table, name, "ramp"),
            lambda run: recipes.shipped(f"streams-{run}", seed).double(),
        )
        assert 1e3 * follow(learner, given).errors.mean() < most


def test_the_prior_of_the_head_is_that_of_the_family() -> None:
    """It is what weights return to, so it must be right on its own."""
    x, y, _ = mk.tasks.Resonator().curves(500, generator=torch.Generator().manual_seed(1))
    for seed in recipes.SHIPPED_SEEDS:
        head = recipes.shipped("streams-head", seed).double()
        said = mk.learners.OnlineHead(head).predict(mk.learners.OnlineHead(head).start(1), x[None])
        assert (said.mean[0] - y.mean(0)).square().mean().sqrt() < 0.05
        ratio = said.variance[0].sqrt() / y.std(0)
        assert 0.7 < ratio.min() < ratio.max() < 1.5


def test_search_and_slow_rows_are_whole() -> None:
    table = recipes.shipped_table("streams")
    assert {name: len(rows) for name, rows in table.items()} == {
        name: len(trials) for name, trials in streams.TRIALS.items()
    }
    for name, rows in table.items():
        for row, trial in zip(rows, streams.TRIALS[name], strict=True):
            assert row[:-3] == list(trial.values())
        for k, kind in enumerate(streams.KINDS):
            best = min(row[k - 3] for row in rows if row[k - 3] is not None)
            setting = streams.chosen(table, name, kind)
            assert [*setting.values(), best] in [[*row[:-3], row[k - 3]] for row in rows]
    slow = recipes.shipped_table("streams", "slow")
    assert set(slow) == set(streams.SLOW)
    for rows in slow.values():
        assert all(len(rows[kind]) == len(recipes.SHIPPED_SEEDS) for kind in streams.KINDS)
        assert all(math.isfinite(e) for kind in streams.KINDS for e in rows[kind])


def test_validation_and_test_streams_are_others_and_come_again() -> None:
    first = streams.streams("jump", "validation", n=2)
    assert torch.equal(first.y, streams.streams("jump", "validation", n=2).y)
    tests = [streams.streams(k, "test", s, 2).y for k in streams.KINDS for s in (0, 1)]
    assert all(not torch.equal(first.y, y) for y in tests)
    assert len({float(y.sum()) for y in tests}) == len(tests)


@pytest.mark.parametrize("name", RECORDS)
def test_a_record_is_framed_by_its_early_part(name: str) -> None:
    f = streams.framed(name)
    early = f.y[f.year < streams.PARTS[name][0]]
    assert f.x.shape == (len(f.y), 9 if name == "sunspots" else 2)
    assert abs(float(early.mean())) < 0.1
    assert abs(float(early.std()) - 1) < 0.1
    table = streams.tasks(name)
    assert table.n_members == len(early) // 12
    if name == "sunspots":
        assert torch.equal(f.x[5, :5], f.y[:5].flip(0))


def test_a_tiny_run_saves_what_loads(tmp_path: Path) -> None:
    streams.RECIPE.run(tmp_path, names=("elnino",), seeds=(7,), iterations=2, progress=False)
    again = streams.build("elnino", 7)
    assert len(mk.load_learner(again, tmp_path / "streams-elnino-7.npz")["outer_loss"]) == 2
    with pytest.raises(mk.MamlkitError, match="there is no run 'tides' in streams"):
        streams.build("tides")


def test_slow_rows_are_measured_with_what_the_search_chose(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(streams, "SLOW", ("window",))
    monkeypatch.setattr(streams, "FEW", 2)
    monkeypatch.setattr(streams, "TICKS", 100)
    packs.write_json(tmp_path / "streams-search.json", {"window": [[3, 1.0, 2.0, 3.0]]})
    plans = {n: replace(p, iterations=2) for n, p in streams.PROTOCOLS.items()}
    run = replace(streams.RECIPE, protocols=plans)
    run.run(tmp_path, names=("head", "maml"), seeds=(0,), progress=False)
    rows = packs.read_json(tmp_path / "streams-slow.json")["window"]
    head = streams.build("head", 0)
    mk.load_learner(head, tmp_path / "streams-head-0.npz")
    given = streams.streams("ramp", "test", 0, 100)
    given = mk.tasks.Streams(given.x[:2], given.y[:2], given.truth[:2], {}, given.jumped[:2])
    error = follow(mk.learners.OnlineWindow(head.double(), 3), given).errors.mean()
    assert rows["ramp"] == [pytest.approx(1e3 * float(error), abs=1e-3)]
    assert len(rows["after a jump"][0]) == 40
