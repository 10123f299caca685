"""Tables of one's own measurements: from arrays, frames, files; support and query; complaints."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

import mamlkit as mk
from tests.helpers import F64, members_of, seeded

mpl.use("Agg")

import matplotlib.pyplot as plt

SIZES = (5, 3, 7, 2, 6, 9)  # readings of each system
MOST = max(SIZES)


def arrays(d_in: int = 1, d_out: int = 1, sizes: tuple[int, ...] = SIZES) -> tuple[Any, Any]:
    """Readings that are all different: y of reading j of system i is 100 i + j + 1, and never 0."""
    rng = np.random.default_rng(0)
    x = [rng.uniform(-2, 2, (n, d_in)) for n in sizes]
    y = [
        100.0 * i + np.arange(1, n + 1)[:, None] + 1000 * np.arange(d_out)
        for i, n in enumerate(sizes)
    ]
    return x, y


def ragged(d_in: int = 1, d_out: int = 1, **settings: Any) -> mk.tasks.Table:
    return mk.tasks.Table(*arrays(d_in, d_out), **settings)


def frame(**columns: Any) -> pd.DataFrame:
    """Two springs, two readings each; a column that is given replaces or is added."""
    rows: dict[str, Any] = {
        "spring": ["soft", "soft", "hard", "hard"],
        "length": [1.0, 2.0, 3.0, 4.0],
        "force": [0.1, 0.2, 0.3, 0.4],
        "error": [0.1, 0.1, 0.2, 0.2],
    }
    return pd.DataFrame({**rows, **columns})


def read(rows: pd.DataFrame, **settings: Any) -> mk.tasks.Table:
    return mk.tasks.Table.from_frame(rows, "spring", "length", "force", **settings)


def write(folder: Path, text: str, encoding: str = "utf-8") -> Path:
    path = folder / "springs.csv"
    path.write_bytes(text.encode(encoding))
    return path


def real(points: Any, i: int) -> list[float]:
    """The first output of those readings of task ``i`` that are there, in order."""
    there = points.weight[i, :, 0] > 0
    return sorted(points.y[i, there, 0].tolist())


def assert_whole(table: mk.tasks.Table, batch: mk.TaskBatch) -> None:
    """Support and query together hold each reading of each system once, and padding shows none."""
    for i, system in enumerate(batch.physics["system"].long().tolist()):
        own = table.readings.y[system, : int(table.sizes[system]), 0].tolist()
        assert sorted(real(batch.support, i) + real(batch.query, i)) == sorted(own)
    for part in (batch.support, batch.query):
        padding = (part.weight == 0).all(-1)
        assert (part.y[padding] == 0).all()
        assert torch.isfinite(part.x).all()


def counts(part: Any) -> list[int]:
    return (part.weight[..., 0] > 0).sum(1).tolist()


# --- from arrays ----------------------------------------------------------------------------------


def test_a_table_is_a_finite_family_of_systems() -> None:
    table = ragged()
    assert (table.d_in, table.d_out, table.n_members) == (1, 1, 6)
    assert table.sizes.tolist() == list(SIZES)
    assert members_of(table) == list(range(6))
    assert table.names == ["0", "1", "2", "3", "4", "5"]
    assert table.readings.x.shape == (6, MOST, 1)
    assert counts(table.readings) == list(SIZES)
    assert table.readings.weight.unique().tolist() == [0, 1]
    low, high = table.x_range
    assert low == min(x.min() for x in arrays()[0])
    assert high == max(x.max() for x in arrays()[0])


def test_a_column_may_be_flat_or_a_list_or_a_tensor() -> None:
    flat = mk.tasks.Table([[1, 2], [3]], [torch.tensor([4.0, 5.0]), np.array([[6.0]])])
    assert flat.readings.x[:, :, 0].tolist() == [[1, 2], [3, 3]]
    assert real(flat.readings, 0) == [4, 5]
    assert real(flat.readings, 1) == [6]


def test_inputs_and_outputs_may_be_several() -> None:
    table = ragged(2, 3)
    assert (table.d_in, table.d_out) == (2, 3)
    assert table.input_names == ("x1", "x2")
    assert table.output_names == ("y1", "y2", "y3")
    batch = table.every(3, generator=seeded(), dtype=F64)
    assert batch.support.x.shape == (6, 3, 2)
    assert batch.support.y.shape == (6, 3, 3)
    assert batch.query.y.shape == (6, MOST, 3)
    assert_whole(table, batch)
    for part in (batch.support, batch.query):  # outputs of one reading stay together
        there = part.weight[..., 0] > 0
        assert (part.y[there][:, 1] - part.y[there][:, 0] == 1000).all()


def test_x_and_y_of_a_reading_stay_together() -> None:
    x, y = arrays(2)
    values, places = np.concatenate(y)[:, 0].tolist(), np.concatenate(x).tolist()
    known = dict(zip(values, places, strict=True))
    batch = mk.tasks.Table(x, y).every(4, generator=seeded(), dtype=F64)
    for part in (batch.support, batch.query):
        there = part.weight[..., 0] > 0
        for at, value in zip(part.x[there].tolist(), part.y[there][:, 0].tolist(), strict=True):
            assert at == known[value]


@pytest.mark.parametrize("columns", [1, 2])
def test_the_weight_is_one_over_the_square_of_the_error_bar(columns: int) -> None:
    x, y = arrays(1, 2)
    sigma = [np.linspace(0.5, 2, n * columns).reshape(n, columns) for n in SIZES]
    table = mk.tasks.Table(x, y, sigma)
    assert table.readings.weight.shape == (6, MOST, columns)
    for weight, own in zip(table.readings.weight, sigma, strict=True):
        np.testing.assert_allclose(weight[: len(own)], own**-2.0)
        assert (weight[len(own) :] == 0).all()
    values, bars = np.concatenate(y)[:, 0].tolist(), np.concatenate(sigma)
    known = dict(zip(values, bars, strict=True))
    support = table.every(2, generator=seeded(), dtype=F64).support
    there = support.weight[..., 0] > 0
    for value, weight in zip(support.y[there][:, 0].tolist(), support.weight[there], strict=True):
        np.testing.assert_allclose(weight, known[value] ** -2.0)


def test_names_and_units_stand_in_labels() -> None:
    x, y = arrays(2)
    table = mk.tasks.Table(
        x,
        y,
        names=["a", "b", "c", "d", "e", 6],
        inputs=["length", "width"],
        outputs=["force"],
        units={"length": "m", "force": "N"},
    )
    assert (table.x_label, table.y_label) == ("length [m]", "force [N]")
    assert table.label("width") == "width"
    assert table.name_of({"system": torch.tensor(1.0)}) == "b"
    assert table.name_of(table.every(1).task(5).physics) == "6"


BAD_ARRAYS: dict[str, tuple[Any, str]] = {
    "no systems": (lambda: mk.tasks.Table([], []), "at least one system"),
    "more x than y": (lambda: mk.tasks.Table([[1], [2]], [[1]]), "y must hold one array for each"),
    "more y than x": (lambda: mk.tasks.Table([[1]], [[1], [2]]), "y must hold one array for each"),
    "not pairs": (
        lambda: mk.tasks.Table([[1, 2]], [[1]], names=["left"]),
        "system 'left' has 2 inputs, 1 outputs",
    ),
    "no readings": (lambda: mk.tasks.Table([[1], []], [[1], []]), "x of system '1' has shape"),
    "nan": (lambda: mk.tasks.Table([[1.0]], [[np.nan]]), "y of system '0' holds 1 .*not finite"),
    "frame": (
        lambda: mk.tasks.Table(pd.DataFrame({"x": [1.0]}), pd.DataFrame({"y": [1.0]})),
        r"but DataFrame was given; use mk\.tasks\.Table\.from_frame",
    ),
    "words": (lambda: mk.tasks.Table([["a"]], [[1]]), "x of system '0' holds no numbers"),
    "columns differ": (
        lambda: mk.tasks.Table([[1], [[1, 2]]], [[1], [1]]),
        r"all with as many columns; it holds 2, with \[1, 2\]",
    ),
    "sigma 0": (
        lambda: mk.tasks.Table([[1], [2]], [[1], [2]], [[1], [0]]),
        "error bars > 0.*look at system '1'",
    ),
    "sigma of three outputs": (
        lambda: mk.tasks.Table([[1]], [[[1, 2]]], [[[1, 2, 3]]]),
        "each of the 2 outputs",
    ),
    "sigma missing": (
        lambda: mk.tasks.Table([[1, 2]], [[1, 2]], [[1]]),
        "1 error bars .* each reading needs one",
    ),
    "same names": (lambda: ragged(names=list("aabcde")), "each its own name"),
    "few names": (lambda: ragged(names=["a"]), "each its own name"),
    "inputs": (lambda: ragged(inputs=["a", "b"]), r"inputs=.* must name 1 column"),
    "units": (lambda: ragged(units={"z": "m"}), r"units speak of \['z'\]"),
    "support": (lambda: ragged(support="last"), "support='last' is not known.*'random', 'first'"),
    "shares": (lambda: ragged(split=(0.5, 0.6, 0.1)), "three shares that add up to 1"),
    "share below 0": (lambda: ragged(split=(1.2, -0.4, 0.2)), "three shares that add up to 1"),
    "part": (lambda: ragged(split=["train"] * 5 + ["rest"]), "split='rest' is not known"),
    "few parts": (
        lambda: ragged(split=["train"] * 5),
        "split names 5 parts for 6 systems",
    ),
    "law": (lambda: ragged().curves(2), "readings and no law"),
    "fixed": (lambda: ragged().fixed(2), "6 members already"),
}


@pytest.mark.parametrize("case", BAD_ARRAYS)
def test_arrays_that_do_not_fit_are_refused(case: str) -> None:
    call, words = BAD_ARRAYS[case]
    with pytest.raises(mk.MamlkitError, match=words):
        call()


# --- support and query ----------------------------------------------------------------------------


@pytest.mark.parametrize("support", ["random", "first"])
@pytest.mark.parametrize("shots", [0, 1, 3, 5, 9, 50])
def test_all_readings_are_asked_for_or_shown_but_one_is_always_asked(
    support: str, shots: int
) -> None:
    table = ragged(support=support)
    for seed in range(3):
        batch = table.every(shots, generator=seeded(seed), dtype=F64)
        assert_whole(table, batch)
        assert counts(batch.support) == [min(shots, n - 1) for n in SIZES]
        assert counts(batch.query) == [n - min(shots, n - 1) for n in SIZES]
        assert batch.support.x.shape == (6, min(shots, MOST), 1)


def test_random_support_is_other_readings_each_time_and_each_reading_as_often() -> None:
    table = mk.tasks.Table(*arrays(sizes=(5,)))
    shown = [tuple(real(table.every(2, generator=seeded(s)).support, 0)) for s in range(300)]
    assert len(set(shown)) == 10  # all pairs of five
    often = [sum(y in pair for pair in shown) for y in (1, 2, 3, 4, 5)]
    assert sum(often) == 600
    assert all(abs(n - 120) < 40 for n in often)  # 4.7 standard deviations


def test_the_first_readings_have_the_smallest_input() -> None:
    x, y = arrays(2)
    table = mk.tasks.Table(x, y, support="first")
    batch = table.every(3, generator=seeded(), dtype=F64)
    for i, (xs, ys) in enumerate(zip(x, y, strict=True)):
        order = xs[:, 0].argsort(kind="stable")[: min(3, len(xs) - 1)]
        there = batch.support.weight[i, :, 0] > 0
        assert batch.support.y[i, there, 0].tolist() == ys[order, 0].tolist()


def test_first_readings_at_the_same_input_keep_their_order() -> None:
    table = mk.tasks.Table([[0.0, 0.0, 0.0, 1.0]], [[1.0, 2.0, 3.0, 4.0]], support="first")
    for seed in range(5):
        assert table.every(2, generator=seeded(seed)).support.y.flatten().tolist() == [1, 2]


def test_only_marked_readings_are_shown() -> None:
    marks = [np.arange(n) % 2 == 0 for n in SIZES]
    table = ragged(support=marks)
    assert table.support == "marked"
    batch = table.every(3, generator=seeded(), dtype=F64)
    assert_whole(table, batch)
    marked = [-(-n // 2) for n in SIZES]
    assert counts(batch.support) == [min(3, m, n - 1) for m, n in zip(marked, SIZES, strict=True)]
    assert all(y % 100 % 2 == 1 for i in range(6) for y in real(batch.support, i))


def test_marked_nowhere_and_everywhere() -> None:
    x, y = arrays(sizes=(4, 4))
    table = mk.tasks.Table(x, y, support=[np.zeros(4), np.ones(4)])
    batch = table.every(9, generator=seeded(), dtype=F64)
    assert counts(batch.support) == [0, 3]
    assert counts(batch.query) == [4, 1]


def test_no_shots_leave_an_empty_support() -> None:
    batch = ragged().sample(4, 0, generator=seeded())
    assert batch.support.x.shape == (4, 0, 1)
    assert batch.support.weight.shape == (4, 0, 1)
    assert_whole(ragged(), batch)


def test_a_system_of_one_reading_is_asked_for_that() -> None:
    table = mk.tasks.Table([[1.0], [1.0, 2.0]], [[3.0], [4.0, 5.0]], names=["lone", "pair"])
    batch = table.every(2, generator=seeded())
    assert counts(batch.support) == [0, 1]
    assert real(batch.query, 0) == [3]
    (note,) = table.notes
    assert "with a single reading" in note
    assert "'lone'" in note


def test_queries_may_be_fewer_but_never_readings_shown() -> None:
    table = ragged()
    for seed in range(5):
        batch = table.every(3, 2, generator=seeded(seed), dtype=F64)
        assert batch.query.y.shape == (6, 2, 1)
        assert counts(batch.query) == [min(2, n - min(3, n - 1)) for n in SIZES]
        for i in range(6):
            assert not set(real(batch.support, i)) & set(real(batch.query, i))
    assert counts(table.every(3, 500).query) == counts(table.every(3).query)


def test_a_range_of_shots_gives_each_task_a_number_of_its_own() -> None:
    table = mk.tasks.Table(*arrays(sizes=(20,) * 40))
    batch = table.every((1, 4), generator=seeded(), dtype=F64)
    assert batch.support.x.shape == (40, 4, 1)
    assert set(counts(batch.support)) == {1, 2, 3, 4}
    assert set(counts(batch.query)) == {16}
    for i in range(40):
        assert not set(real(batch.support, i)) & set(real(batch.query, i))


def test_a_range_of_shots_beyond_all_systems_shows_what_there_is() -> None:
    batch = ragged().every((20, 30), generator=seeded())
    assert counts(batch.support) == [n - 1 for n in SIZES]


def test_a_range_of_shots_on_small_systems_shows_at_least_one() -> None:
    for seed in range(5):
        found = counts(ragged().every((1, 30), generator=seeded(seed)).support)
        assert all(1 <= n < size for n, size in zip(found, SIZES, strict=True))


def test_the_same_generator_gives_the_same_tasks() -> None:
    def all_of(batch: mk.TaskBatch) -> list[Tensor]:
        return [*batch.support, *batch.query, *batch.physics.values()]

    table = ragged(2, 2)
    one, two, other = (table.sample(5, (1, 4), generator=seeded(s), dtype=F64) for s in (3, 3, 4))
    assert all(map(torch.equal, all_of(one), all_of(two)))
    assert not all(map(torch.equal, all_of(one), all_of(other)))
    single = table.sample(5, (1, 4), generator=seeded(3))
    assert single.support.weight.dtype == torch.float32
    torch.testing.assert_close(single.support.y.double(), one.support.y)


def test_sampled_systems_are_different_while_they_last() -> None:
    table = ragged()
    assert sorted(table.sample(6, 1).physics["system"].tolist()) == [0, 1, 2, 3, 4, 5]
    many = table.sample(30, 1, generator=seeded())
    assert len(many.support.x) == 30
    assert_whole(table, many)


def test_every_reading_is_that_of_the_members() -> None:
    table = ragged(split=["test", "train", "train", "validation", "test", "train"])
    readings = table.split("train").every_reading()
    assert counts(readings) == [3, 7, 9]
    assert torch.equal(readings.y, table.readings.y[[1, 2, 5]])


def test_the_true_curve_is_the_readings_in_order() -> None:
    x, y = arrays(1)
    found_x, found_y = ragged().true_curve({"system": torch.tensor(2)})
    order = x[2][:, 0].argsort()
    assert found_x.tolist() == x[2][order].tolist()
    assert found_y.tolist() == y[2][order].tolist()


# --- parts ----------------------------------------------------------------------------------------


def test_shares_part_the_systems_by_seed() -> None:
    x, y = arrays(sizes=(2,) * 50)
    table, other = mk.tasks.Table(x, y), mk.tasks.Table(x, y, seed=1)
    parts = {part: members_of(table.split(part)) for part in table.parts}
    assert {part: len(own) for part, own in parts.items()} == {
        "train": 30,
        "validation": 10,
        "test": 10,
    }
    assert sorted(i for own in parts.values() for i in own) == list(range(50))
    assert members_of(other.split("test")) != parts["test"]
    drawn = table.split("test").sample(10, 1).physics["system"].tolist()
    assert sorted(drawn) == parts["test"]


def test_parts_may_be_named() -> None:
    table = ragged(split=["test", "train", "train", "validation", "test", "train"])
    assert members_of(table.split("test")) == [0, 4]
    assert members_of(table.split("train")) == [1, 2, 5]
    assert table.split("test").every(1).physics["system"].tolist() == [0, 4]


def test_a_part_with_nothing_in_it_is_refused() -> None:
    table = ragged(split=(1.0, 0.0, 0.0))
    assert table.split("train").n_members == 6
    with pytest.raises(mk.MamlkitError, match="none of the 6 systems lies in 'test'"):
        table.split("test")


def test_folds_and_subsets_hold_whole_systems() -> None:
    table = ragged()
    held = [members_of(fold) for _, fold in table.folds(3)]
    assert sorted(i for own in held for i in own) == list(range(6))
    for rest, fold in table.folds(3):
        assert sorted(members_of(rest) + members_of(fold)) == list(range(6))
        assert fold.every(1).physics["system"].tolist() == members_of(fold)
    some = table.subset(2, seed=4)
    assert counts(some.every_reading()) == [SIZES[i] for i in members_of(some)]
    assert [len(members_of(fold)) for _, fold in table.folds()] == [1] * 6


def test_its_words_tell_tables_apart() -> None:
    x, y = arrays()
    changed = [t.copy() for t in y]
    changed[3][1] += 1e-9
    moved = [t.copy() for t in x]
    moved[0][0] += 1e-9
    marks = [np.arange(n) == 0 for n in SIZES]
    other = [np.arange(n) == 1 for n in SIZES]
    table = mk.tasks.Table(x, y)
    different = [
        table,
        mk.tasks.Table(x, changed),
        mk.tasks.Table(moved, y),
        mk.tasks.Table(x, y, [0 * t + 2 for t in y]),
        mk.tasks.Table(x, y, support="first"),
        mk.tasks.Table(x, y, support=marks),
        mk.tasks.Table(x, y, support=other),
        mk.tasks.Table(x, y, inputs=["length"]),
        table.split("train"),
        table.subset(2),
    ]
    assert len({repr(t) for t in different}) == len(different)
    assert repr(table) == repr(mk.tasks.Table(x, y))
    assert "6 of 6 systems, 32 readings" in repr(table)


# --- from a frame ---------------------------------------------------------------------------------


def test_a_frame_is_a_table_whatever_its_order() -> None:
    table = read(frame().iloc[[2, 0, 3, 1]], units={"force": "N"})
    assert table.names == ["hard", "soft"]
    assert table.task == "spring"
    assert real(table.readings, 0) == [0.3, 0.4]
    assert real(table.readings, 1) == [0.1, 0.2]
    assert (table.x_label, table.y_label) == ("length", "force [N]")
    assert table.notes == []


def test_a_frame_gives_several_inputs_outputs_and_error_bars() -> None:
    table = mk.tasks.Table.from_frame(
        frame(width=[4.0, 3.0, 2.0, 1.0], more=[0.5] * 4),
        "spring",
        ["length", "width"],
        ["force", "length"],
        sigma=["error", "more"],
    )
    assert (table.d_in, table.d_out) == (2, 2)
    assert table.readings.x[1].tolist() == [[3, 2], [4, 1]]
    np.testing.assert_allclose(table.readings.weight[1], [[25, 4], [25, 4]])
    assert table.input_names == ("length", "width")
    alone = read(frame(), sigma="error")
    np.testing.assert_allclose(alone.readings.weight[:, :, 0], [[100, 100], [25, 25]])


@pytest.mark.parametrize(
    ("column", "names"),
    [
        ([7, 7, 3, 3], ["7", "3"]),
        (["Ö l", "Ö l", "b", "b"], ["Ö l", "b"]),
        (pd.Categorical(["u", "u", "v", "v"]), ["u", "v"]),
        ([True, True, False, False], ["True", "False"]),
        ([0.5, 0.5, 2.0, 2.0], ["0.5", "2.0"]),
    ],
)
def test_systems_are_called_by_numbers_or_words(column: Any, names: list[str]) -> None:
    table = read(frame(spring=column))
    assert table.names == names
    assert table.name_of(table.every(1).task(1).physics) == names[1]


DAYS = ["2020-02-28", "2020-02-29", "2020-03-01", "2020-03-02T12:00"]


@pytest.mark.parametrize(
    "column",
    [
        DAYS,
        pd.to_datetime(DAYS, format="ISO8601"),
        pd.to_datetime(DAYS, format="ISO8601").tz_localize("UTC"),
        [f"{day}{'' if 'T' in day else 'T00:00'}:00Z" for day in DAYS],
    ],
)
def test_dates_become_days_since_the_first(column: Any) -> None:
    table = read(frame(length=column))
    assert table.readings.x[:, :, 0].tolist() == [[0, 1], [2, 3.5]]
    assert table.x_label == "length [days since 2020-02-28]"
    assert table.origins == {"length": "2020-02-28"}
    named = read(frame(length=column), units={"length": "d"})
    assert named.x_label == "length [d]"


def test_a_column_may_mark_the_support() -> None:
    for marks in ([1, 0, 0, 1], ["yes", "no", "No", "TRUE "], [True, False, None, True]):
        table = read(frame(known=marks), support="known")
        support = table.every(5, generator=seeded(), dtype=F64).support
        assert [real(support, i) for i in range(2)] == [[0.1], [0.4]]


def test_marks_stay_with_their_rows_when_rows_are_left_out() -> None:
    with pytest.warns(mk.MamlkitWarning, match="row 1"):
        table = read(
            frame(spring=["soft"] * 4, force=[np.nan, 0.2, 0.3, 0.4], known=[0, 0, 1, 0]),
            support="known",
        )
    assert real(table.every(5, dtype=F64).support, 0) == [0.3]


def test_a_column_may_name_the_parts() -> None:
    parts = ["test", "test", "train", "train"]
    table = read(frame(part=parts), split="part")
    assert members_of(table.split("test")) == [0]
    assert members_of(table.split("train")) == [1]


def test_numbers_that_pandas_may_hold() -> None:
    whole = pd.array([1, 2, 3, 4], dtype="Int64")
    assert read(frame(length=whole)).readings.x.flatten().tolist() == [1, 2, 3, 4]
    assert read(frame(length=["1", " 2", "3e0", "4"])).readings.x.flatten().tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize("column", ["length", "force", "error"])
@pytest.mark.parametrize("nothing", [np.nan, None])
def test_a_row_with_something_missing_is_left_out_and_named(column: str, nothing: Any) -> None:
    rows = pd.concat([frame(), frame(length=[5.0, 6.0, 7.0, 8.0])], ignore_index=True)
    rows.loc[2, column] = nothing
    words = rf"row 3 \(system 'hard'\) has nothing in '{column}': left out"
    with pytest.warns(mk.MamlkitWarning, match=words) as caught:
        table = read(rows, sigma="error")
    assert len(caught) == 1
    assert Path(caught[0].filename).name == Path(__file__).name
    assert table.sizes.tolist() == [4, 3]
    assert sorted(table.readings.x[1, :3, 0].tolist()) == [4, 7, 8]
    assert len(table.notes) == 1


def test_a_missing_error_bar_matters_only_where_it_is_used() -> None:
    assert read(frame(error=[np.nan] * 4)).sizes.tolist() == [2, 2]


def test_a_system_that_loses_all_its_rows_is_named() -> None:
    with pytest.warns(mk.MamlkitWarning) as caught:
        table = read(frame(force=[0.1, 0.2, np.nan, np.nan]))
    assert table.names == ["soft"]
    said = [str(w.message) for w in caught]
    assert said == table.notes
    assert "system 'hard' has no whole reading" in said[-1]


def test_a_doubled_row_and_a_constant_input_are_noticed() -> None:
    rows = frame().iloc[[0, 1, 2, 3, 2]]
    words = r"1 row\(s\) say again.*row 5 \(system 'hard'\) and row 3: each counts"
    with pytest.warns(mk.MamlkitWarning, match=words):
        assert read(rows).sizes.tolist() == [2, 3]
    with pytest.warns(mk.MamlkitWarning, match="'length' is 2 in every row"):
        assert read(frame(length=[2.0] * 4)).x_range == (2, 3)


def test_doubled_rows_are_named_in_pairs() -> None:
    words = r"2 row\(s\) say again.*row 3 \(system 'soft'\) and row 2:"
    with pytest.warns(mk.MamlkitWarning, match=words):
        read(frame().iloc[[2, 0, 0, 2]])


def test_a_row_left_out_is_no_double() -> None:
    with pytest.warns(mk.MamlkitWarning) as caught:
        read(frame(error=[np.nan, 0.1, 0.1, 0.1]).iloc[[0, 1, 2, 3, 0]], sigma="error")
    assert sum("left out" in str(w.message) for w in caught) == 2
    assert not any("say again" in str(w.message) for w in caught)


BAD_FRAMES: dict[str, tuple[Any, list[str]]] = {
    "no frame": (lambda: read({"a": 1}), ["pandas.DataFrame", "dict"]),
    "no rows": (lambda: read(frame()[:0]), ["no rows"]),
    "unknown column": (
        lambda: mk.tasks.Table.from_frame(frame(), "spring", "lenght", "force"),
        ["no column 'lenght'", "'length'"],
    ),
    "unknown task": (
        lambda: mk.tasks.Table.from_frame(frame(), "fluid", "length", "force"),
        ["no column 'fluid'", "'spring'"],
    ),
    "unknown sigma": (lambda: read(frame(), sigma="bar"), ["no column 'bar'"]),
    "unknown mark": (lambda: read(frame(), support="frist"), ["no column 'frist'"]),
    "unknown part": (lambda: read(frame(), split="part"), ["no column 'part'"]),
    "a column twice": (
        lambda: read(pd.concat([frame(), frame()[["length"]]], axis=1)),
        ["more than one column 'length'"],
    ),
    "text": (
        lambda: read(frame(force=[0.1, "broken", 0.3, 0.4])),
        ["row 2 (system 'soft')", "'force'", "'broken'", "no finite number"],
    ),
    "decimal comma": (
        lambda: read(frame(length=["1,0", "2,0", "3,0", "4,0"])),
        ["row 1 (system 'soft')", "'length'", "'1,0'", "3 more rows", "decimals with a point"],
    ),
    "inf": (
        lambda: read(frame(force=[0.1, 0.2, 0.3, np.inf])),
        ["row 4 (system 'hard')", "'force'", "'inf'"],
    ),
    "sigma 0": (
        lambda: read(frame(error=[0.1, 0.1, 0.0, 0.1]), sigma="error"),
        ["row 3 (system 'hard')", "error bar [0.0]", "above 0"],
    ),
    "sigma below 0": (
        lambda: read(frame(error=[-0.1, 0.1, 0.1, 0.1]), sigma="error"),
        ["row 1 (system 'soft')", "error bar [-0.1]", "above 0"],
    ),
    "two sigmas, one output": (
        lambda: read(frame(), sigma=["error", "error"]),
        ["no error bar, one, or one for each output", "'error'"],
    ),
    "no inputs": (
        lambda: mk.tasks.Table.from_frame(frame(), "spring", [], "force"),
        ["needs inputs x", "x=[]"],
    ),
    "no system": (
        lambda: read(frame(spring=["soft", None, "hard", "hard"])),
        ["row 2", "nothing in 'spring'", "no system"],
    ),
    "no whole reading": (
        lambda: read(frame(force=[np.nan] * 4)),
        ["no row is a whole reading", "row 1 (system 'soft')"],
    ),
    "part differs within a system": (
        lambda: read(frame(part=["train", "test", "train", "train"]), split="part"),
        ["'part'", "['test', 'train']", "system 'soft'", "as a whole"],
    ),
    "part unknown": (
        lambda: read(frame(part=["train", "train", "other", "other"]), split="part"),
        ["'part'", "'other'", "system 'hard'", "'validation'"],
    ),
    "part missing": (
        lambda: read(frame(part=["train", "train", None, None]), split="part"),
        ["'part'", "system 'hard'", "'validation'"],
    ),
    "mark": (
        lambda: read(frame(known=[1, 0, "maybe", 0]), support="known"),
        ["row 3", "'known'", "'maybe'", "True or False"],
    ),
    "dates that are no ISO dates": (
        lambda: read(frame(length=["01.02.2020", "02.02.2020", "03.02.2020", "04.02.2020"])),
        ["row 1 (system 'soft')", "'01.02.2020'"],
    ),
    "dates of y": (
        lambda: read(frame(force=pd.to_datetime(DAYS, format="ISO8601"))),
        ["'force'", "datetime64", "no numbers"],
    ),
    "times": (
        lambda: read(frame(length=pd.to_timedelta([1, 2, 3, 4], unit="D"))),
        ["'length'", "timedelta64", "no numbers"],
    ),
    "complex": (lambda: read(frame(force=[1j, 2, 3, 4])), ["'force'", "complex128"]),
}


@pytest.mark.parametrize("case", BAD_FRAMES)
def test_frames_that_are_no_table_are_refused_with_row_and_system(case: str) -> None:
    call, words = BAD_FRAMES[case]
    with pytest.raises(mk.MamlkitError) as caught:
        call()
    assert [word for word in words if word not in str(caught.value)] == [], str(caught.value)


# --- from a file ----------------------------------------------------------------------------------


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_file_gives_the_same_table_as_its_frame(
    tmp_path: Path, separator: str, encoding: str, end: str
) -> None:
    rows = frame(spring=["weiß", "weiß", "hard", "hard"])
    text = rows.to_csv(sep=separator, index=False, lineterminator=end)
    path = write(tmp_path, text, encoding)
    table = mk.tasks.Table.from_csv(path, "spring", "length", "force", sigma="error")
    assert repr(table) == repr(read(rows, sigma="error"))
    assert table.names == ["weiß", "hard"]
    text_path = mk.tasks.Table.from_csv(str(path), "spring", "length", "force", sigma="error")
    assert repr(text_path) == repr(table)


def test_a_file_may_have_spaces_and_empty_cells_and_a_last_separator(tmp_path: Path) -> None:
    path = write(tmp_path, "spring, length, force\nsoft, 1, 2,\nsoft, 2, 3,\n\nsoft, , 4,\n")
    with pytest.warns(mk.MamlkitWarning, match="row 3 .*'length': left out"):
        table = mk.tasks.Table.from_csv(path, "spring", "length", "force")
    assert table.readings.x.flatten().tolist() == [1, 2]
    assert table.readings.y.flatten().tolist() == [2, 3]


@pytest.mark.parametrize(
    ("text", "encoding", "words"),
    [
        ("", "utf-8", "cannot be read as a table"),
        ("spring,length,force\n", "utf-8", "no rows"),
        ("spring,length,force\nweiß,1,2\n", "latin-1", "no text in UTF-8"),
        ("spring,length,force\nsoft,1,2\n", "utf-16", "no text in UTF-8"),
        ("spring;length;force\nsoft;1,5;2,5\n", "utf-8", "'1,5'.*decimals with a point"),
        ("spring,length,force\nsoft,1,5,2,5\n", "utf-8", "more cells.*decimals with a point"),
        ("spring,length,force\n1,1,5,2\n1,2,5,3\n", "utf-8", "more cells"),
        ("spring,length\nsoft,1\n", "utf-8", r"no column 'force'.*\['spring', 'length'\]"),
        ("spring,length,force\nsoft,1,2\nsoft,1,2,3,4\n", "utf-8", "table|more cells"),
    ],
)
def test_files_that_are_no_table_are_refused(
    tmp_path: Path, text: str, encoding: str, words: str
) -> None:
    with pytest.raises(mk.MamlkitError, match=words):
        mk.tasks.Table.from_csv(write(tmp_path, text, encoding), "spring", "length", "force")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    for path in (tmp_path / "none.csv", tmp_path):
        with pytest.raises(mk.MamlkitError, match=rf"{path.name} cannot be read: .*check the path"):
            mk.tasks.Table.from_csv(path, "spring", "length", "force")


# --- sizes and units ------------------------------------------------------------------------------


def test_hundreds_of_systems(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    sizes = tuple(rng.integers(2, 12, 500).tolist())
    rows = pd.DataFrame(
        {"id": np.repeat(np.arange(500), sizes), "x": rng.normal(size=sum(sizes))}
    ).sample(frac=1, random_state=0)
    rows["y"] = rows["id"] + rows["x"]
    table = mk.tasks.Table.from_frame(rows, "id", "x", "y")
    assert table.n_members == 500
    assert dict(zip(table.names, table.sizes.tolist(), strict=True)) == {
        str(i): n for i, n in enumerate(sizes)
    }
    assert [table.split(part).n_members for part in table.parts] == [300, 100, 100]
    batch = table.every(4, generator=seeded(), dtype=F64)
    assert_whole(table, batch)
    numbers = torch.tensor([float(name) for name in table.names], dtype=F64)
    there = batch.query.weight[..., 0] > 0
    assert (batch.query.y - batch.query.x)[..., 0][there].numpy() == pytest.approx(
        numbers[:, None].expand(there.shape)[there].numpy()
    )


def test_four_systems_are_enough_to_split() -> None:
    table = mk.tasks.Table(*arrays(sizes=(3, 3, 3, 3)))
    assert [table.split(part).n_members for part in table.parts] == [2, 1, 1]
    curve = mk.evaluate(mk.yardsticks.Ridge(), table.split("test"), 2)
    assert torch.isfinite(curve.losses).all()


@pytest.mark.parametrize("unit", [1e-9, 1e9])
def test_units_change_nothing(unit: float) -> None:
    x, y = arrays()
    sigma = [0 * t + 0.5 for t in y]
    plain = mk.tasks.Table(x, y, sigma)
    scaled = mk.tasks.Table([unit * t for t in x], [unit * t for t in y], [unit * t for t in sigma])
    one, two = (t.every(3, generator=seeded(), dtype=F64) for t in (plain, scaled))
    for a, b in zip((one.support, one.query), (two.support, two.query), strict=True):
        torch.testing.assert_close(b.x, unit * a.x, rtol=1e-12, atol=0)
        torch.testing.assert_close(b.y, unit * a.y, rtol=1e-12, atol=0)
        torch.testing.assert_close(b.weight, a.weight / unit**2, rtol=1e-12, atol=0)
    large = plain.sizes > 3  # of fewer, the shortest line through all is not the same line
    line = mk.yardsticks.LeastSquares()
    losses = [mk.evaluate(line, t, 3).losses[large] for t in (plain, scaled)]
    torch.testing.assert_close(losses[1], unit**2 * losses[0], rtol=1e-5, atol=0)


# --- pictures -------------------------------------------------------------------------------------


@pytest.fixture
def springs() -> mk.tasks.Table:
    x = [np.linspace(0, 1, n) for n in (3, 8, 5)]
    y = [(i + 1) * each + 0.5 for i, each in enumerate(x)]
    return mk.tasks.Table(x, y, names=["a", "b", "c"], units={"y": "N"})


def network() -> mk.MAML:
    return mk.MAML(mk.models.MLP(1, 1, hidden=(5,)).double(), 0.1)


@pytest.mark.parametrize("learner", [network(), mk.yardsticks.Ridge()])
@pytest.mark.parametrize("shots", [0, 2, 6])
def test_a_fan_shows_the_real_readings_of_a_table(
    springs: mk.tasks.Table, learner: Any, shots: int
) -> None:
    ax = mk.plots.adaptation_fan(learner, springs, shots=shots, task=0)
    drawn = {line.get_label(): line for line in ax.lines}
    batch = springs.every(shots, generator=seeded(), dtype=F64)
    there = batch.support.weight[0, :, 0] > 0
    assert len(there.nonzero()) == min(shots, 2)
    given = np.asarray(drawn["support"].get_ydata())
    np.testing.assert_allclose(given, batch.support.y[0, there, 0])
    assert ax.get_title() == "a"
    assert ax.get_ylabel() == "y [N]"
    plt.close("all")


def test_a_page_shows_the_real_readings_of_each_system(springs: mk.tasks.Table) -> None:
    figure = mk.plots.curve_page({"ridge": mk.yardsticks.Ridge()}, springs, shots=4)
    shown = [len(ax.lines[-1].get_xdata()) for ax in figure.axes if ax.get_visible()]
    assert shown == [2, 4, 4]
    assert [ax.get_title().split("\n")[0][-1] for ax in figure.axes if ax.get_visible()] == [*"abc"]
    plt.close("all")


@pytest.mark.parametrize("name", ["maml", "ridge"])
def test_the_explorer_counts_the_real_readings_of_a_table(
    springs: mk.tasks.Table, name: str
) -> None:
    learners = {"maml": network(), "ridge": mk.yardsticks.Ridge()}
    _, said = mk.widgets.draw(springs, learners, name, shots=6, task=0, others=True)
    assert said.startswith("a, 2 readings. Root-mean-square error of y, in N:")
    assert "nan" not in said
    plt.close("all")


def test_a_table_warns_of_nothing_by_itself() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table = read(frame())
        mk.evaluate(mk.yardsticks.Ridge(), table, 1)
    assert table.notes == []


def test_columns_of_pandas_are_arrays_like_any() -> None:
    column = pd.Series([1.0, 2.0, 3.0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = mk.tasks.Table([column, column], [column, 2 * column])
    assert found.sizes.tolist() == [3, 3]
