"""Work of methods: what a failure, a probe and a choice cost."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

import mamlkit as mk
from mamlkit.evaluation import halving, penalised, ratio, single_best, spent, virtual_best

WORK = pd.DataFrame({"a": [10.0, 40.0, 90.0], "b": [20.0, 20.0, np.nan], "c": [80.0, 80.0, 45.0]})


def test_a_failure_counts_ten_times_the_cap() -> None:
    filled = penalised(WORK, 85)
    assert filled["a"].tolist() == [10, 40, 850]
    assert filled["b"].tolist() == [20, 20, 850]
    assert penalised(WORK, 90, factor=2)["a"].tolist() == [10, 40, 90]
    assert WORK["b"].isna().sum() == 1  # the table that was given is as it was


def test_the_virtual_best_is_the_least_of_each_row() -> None:
    assert virtual_best(penalised(WORK, 100)).tolist() == [10, 20, 45]


def test_the_single_best_is_one_method_for_all() -> None:
    # b has the least median, but it failed once; a has the least product.
    assert single_best(penalised(WORK, 100)) == "a"
    often = pd.DataFrame({"steady": [30.0, 30.0, 30.0], "wild": [1.0, 1.0, 1e6]})
    assert single_best(often) == "steady"


def test_a_choice_pays_for_its_probe() -> None:
    filled = penalised(WORK, 100)
    assert spent(filled, "c", 3).tolist() == [83, 83, 48]
    assert spent(filled, ["a", "b", "c"], np.array([1, 2, 3])).tolist() == [11, 22, 48]
    assert spent(filled, np.array(["a", "b", "c"])).tolist() == virtual_best(filled).tolist()


def test_a_ratio_is_geometric_and_paired() -> None:
    even = ratio([2.0, 1.0], [1.0, 2.0])
    assert even.mean == pytest.approx(1)
    assert even.low * even.high == pytest.approx(1)
    half = 1.96 * math.log(2) * math.sqrt(2) / math.sqrt(2)  # the logs are +- log 2
    assert even.high == pytest.approx(math.exp(half))
    other = np.array([1.0, 50.0, 7000.0])
    assert ratio(3 * other, other) == pytest.approx((3, 3, 3))  # paired: no spread is left
    assert str(ratio(3 * other, other)) == "3.00 [3.00, 3.00]"


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    draws = np.exp(0.2 + 0.5 * rng.standard_normal((2000, 80)))
    found = [ratio(row, np.ones(80)) for row in draws]
    inside = np.mean([r.low <= math.exp(0.2) <= r.high for r in found])
    assert 0.93 < inside < 0.97


FINAL = np.array([[3.0, 1.0, 2.0, 4.0], [1.0, 2.0, 3.0, 4.0]])
EARLY = np.array([[1.0, 2.0, 3.0, 4.0], [4.0, 1.0, 3.0, 2.0]])


def test_halving_keeps_the_most_promising() -> None:
    one = halving(FINAL, 100, {10: 2}, {10: EARLY})
    assert one.finished.tolist() == [[True, True, False, False], [False, True, False, True]]
    assert one.regret.tolist() == [0, 1]
    assert one.compute == pytest.approx((4 * 10 + 2 * 90) / 400)
    # A run that was stopped stays stopped, however good its later score would be.
    two = halving(FINAL, 100, {10: 2, 30: 1}, {10: EARLY, 30: FINAL})
    assert two.finished.tolist() == [[False, True, False, False], [False, True, False, False]]
    assert two.compute == pytest.approx((4 * 10 + 2 * 20 + 1 * 70) / 400)
    assert halving(FINAL, 100, {}, {}).compute == 1


def test_who_knows_the_end_has_no_regret() -> None:
    final = np.random.default_rng(0).standard_normal((20, 16))
    found = halving(final, 300, {30: 4, 60: 1}, {30: final, 60: final})
    assert not found.regret.any()
    assert found.compute == pytest.approx((16 * 30 + 4 * 30 + 240) / 4800)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: halving(FINAL[0], 9, {1: 1}, {1: FINAL}), "\\[problems, runs\\]"),
        (lambda: halving(FINAL, 9, {1: 1}, {}), "the rung at step 1 needs scores"),
        (lambda: halving(FINAL, 9, {1: 5}, {1: EARLY}), "of 4"),
        (lambda: halving(FINAL, 9, {9: 1}, {9: EARLY}), "stay below steps=9"),
        (lambda: halving(FINAL, 9, {2: 2, 1: 1}, {2: EARLY, 1: EARLY}), "must rise"),
        (lambda: virtual_best(WORK), "1 entries of the table are missing"),
        (lambda: single_best(WORK.to_numpy()), "a table of pandas"),
        (lambda: penalised(-WORK, 10), "above zero"),
        (lambda: penalised(WORK, 10, 0.5), "reward a failure"),
        (lambda: spent(penalised(WORK, 100), "d"), "with \\['d'\\]"),
        (lambda: spent(penalised(WORK, 100), ["a", "b"]), "2 were given"),
        (lambda: spent(penalised(WORK, 100), "a", [1, 2]), "shape \\[2\\]"),
        (lambda: spent(penalised(WORK, 100), "a", -1), "probe must be"),
        (lambda: ratio([1.0, 2.0], [1.0]), "two rows of work"),
        (lambda: ratio([1.0], [1.0]), "two at least"),
        (lambda: ratio([1.0, 0.0], [1.0, 1.0]), "above zero"),
        (lambda: ratio([1.0, math.inf], [1.0, 1.0]), "finite"),
    ],
)
def test_what_does_not_fit_is_told(call, words) -> None:
    with pytest.raises(mk.MamlkitError, match=words):
        call()
