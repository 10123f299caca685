"""The papers to referee: text, table and raw data agree, and every habit shows in them."""

from __future__ import annotations

import re
from dataclasses import astuple, fields

import matplotlib.pyplot as plt
import numpy as np
import pytest

from mamlkit.course import claims
from mamlkit.course.assignments import a6
from mamlkit.course.handin import personal

GOOD = dict.fromkeys([field.name for field in fields(claims.Habits)], False)
STUDENTS = [f"s{i}" for i in range(40)]


def paper_and_answers(student: str) -> tuple[claims.Paper, dict]:
    return claims.invent(personal("a6", 2026, student)), a6.own(personal("a6", 2026, student))


@pytest.mark.parametrize("student", STUDENTS[:20])
def test_the_table_follows_from_the_raw_data_by_the_papers_own_rules(student):
    paper, own = paper_and_answers(student)
    shown = [error for error, _ in list(paper.table.values())[:2]]
    assert [round(error, 2) for error in a6.reproduced(own)] == shown
    assert a6.reproduced(own) != pytest.approx(shown, rel=1e-4), "typed is not computed"
    rows = re.findall(r"^\| .* \| (\d+\.\d\d) \| \d+\.\d\d \|$", paper.text, re.M)
    assert [float(row) for row in rows] == [error for error, _ in paper.table.values()]
    assert np.abs(np.subtract(a6.both(own), shown)).max() > 0.05, "there is something to correct"
    assert claims.INVENTED in paper.text


def test_habits_are_four_to_six_and_all_occur():
    drawn = [astuple(claims.draw_habits(personal("a6", 2026, s))) for s in STUDENTS]
    assert all(4 <= sum(habits) <= 6 for habits in drawn)
    assert np.array(drawn).any(axis=0).all()


def test_a_good_paper_needs_no_correction():
    rng = np.random.default_rng(0)
    paper = claims.write(rng, claims.Habits(**GOOD))
    own = {"book": paper.book, "flaws": ""}
    shown = [error for error, _ in paper.table.values()]
    computed = [*a6.both(own), a6.mean_curve(own), a6.newton(own)]
    assert computed == pytest.approx(shown[:4], abs=0.005)
    assert a6.covered(own) == pytest.approx(0.95, abs=0.06)
    lead = a6.by_body(own, "reference") - a6.by_body(own, "ours")
    half = 1.96 * lead.std(ddof=1) / np.sqrt(len(lead))
    given = [lead.mean() - half, lead.mean() + half]
    assert a6.judge_lead(None, given, own) == (1.0, "right")
    assert a6.judge_lead(None, [-given[1], -given[0]], own)[0] == 0.5


@pytest.mark.parametrize("habit", [*list(GOOD)[:2], "one_seed", "seen_bodies", "support_counted"])
def test_each_habit_flatters_the_paper(habit):
    """Each alone makes the ratio of the two rows, or the paper's own error, look better."""
    better = []
    for seed in range(10):
        rng = np.random.default_rng(seed)
        paper = claims.write(rng, claims.Habits(**{**GOOD, habit: True}))
        own = {"book": paper.book, "flaws": ""}
        (ours, _), (reference, _) = list(paper.table.values())[:2]
        fair = a6.both(own)
        better.append(ours < fair[0] or reference > fair[1])
    assert all(better)


@pytest.mark.parametrize(
    ("value", "share"),
    [("bde", 0.6), (["b", "d", "e", "h", "i"], 1), (list("bdehia"), 0.8), (["z"], 0), (3.0, 0)],
)
def test_flaws_named_without_cause_count_against(value, share):
    assert a6.judge_flaws(None, value, {"flaws": "bdehi"})[0] == pytest.approx(share)


@pytest.mark.parametrize("judge", [a6.judge_lead, a6.judge_coverage, a6.judge_flaws])
@pytest.mark.parametrize("value", ["x", [], [[1.0]], {"a": 1}, [1.0, "b"], 1e308, [0.0, 1e308]])
def test_nonsense_is_worth_nothing(judge, value):
    _, own = paper_and_answers("s1234567")
    with np.errstate(all="ignore"):
        assert judge(None, value, own)[0] == 0


def test_the_figure_can_be_drawn(monkeypatch):
    shown = []
    monkeypatch.setattr(plt, "show", lambda: shown.append(len(plt.gcf().axes)))
    paper_and_answers("s1")[0].figure()
    plt.close("all")
    assert shown == [2]
