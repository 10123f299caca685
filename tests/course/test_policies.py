"""Assignment 5: what simple policies earn is what its notebook says."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import pytest
import torch

import mamlkit as mk
from mamlkit.course.assignments import a5
from mamlkit.course.handin import personal, secret
from tests.helpers import ROOT

STUDENTS = 40
RANDOM = np.random.default_rng(0)


def told() -> dict[str, float]:
    """The notebook's table, points by policy."""
    path = ROOT / "notebooks" / "assignments" / "a5_where_to_measure_next.ipynb"
    cells = ["".join(c["source"]) for c in json.loads(path.read_text(encoding="utf-8"))["cells"]]
    (text,) = (cell for cell in cells if "| policy | of 5 points |" in cell)
    return {
        name: float(points) for name, points in re.findall(r"^\| (.+) \| ([\d.]+) \|$", text, re.M)
    }


def believed(x, y, at, data):
    """Mean and variance at ``at``."""
    phi, sigma = a5.features(x, data), np.full(len(x), data["noise"])
    return a5.posterior(phi, y, sigma, np.zeros(6), np.eye(6), a5.features(at, data))


def library(x, y, candidates, data):
    class Map(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.depth = torch.nn.Parameter(torch.tensor(data["depth"]))

        def forward(self, x):
            return a5.UNIT / torch.hypot(x - torch.tensor(data["place"]), self.depth)

    head = mk.BayesianHead(Map(), features=6, noise=data["noise"])
    head.prior_root.data = torch.eye(6)[None]
    x, y, candidates = (torch.tensor(v)[:, None] for v in (x, y, candidates))
    return int(mk.where_next(head.adapt(x, y), candidates))


POLICIES: dict[str, Any] = {
    "any place, at random": lambda x, y, c, data: RANDOM.integers(len(c)),
    "where the potential is believed to be farthest from 0 V": lambda x, y, c, data: np.argmax(
        np.abs(believed(x, y, c, data)[0])
    ),
    "equal spacing: the middle of the widest gap": lambda x, y, c, data: np.argmax(
        np.abs(np.subtract.outer(c, x)).min(1)
    ),
    "the open end next to the closed stretch": lambda x, y, c, data: np.argmin(
        np.minimum(np.abs(np.subtract(c, data["left"])), np.abs(np.subtract(c, data["right"])))
    ),
    "`mk.where_next`, asked about the candidates": library,
    "where the variance is greatest": lambda x, y, c, data: np.argmax(believed(x, y, c, data)[1]),
    "the best candidate": lambda x, y, c, data: np.argmin(a5.forgone(x, c, data)),
}


def test_all_policies_of_the_table_are_here():
    assert set(told()) == set(POLICIES)


@pytest.mark.parametrize("name", POLICIES)
def test_a_policy_earns_what_the_notebook_says(name):
    shares = []
    for i in range(STUDENTS):
        data = a5.own(personal("a5", 2026, f"s{i + 1:07d}"))
        for case in a5.states_to_try(
            secret(b"a salt for these tests", f"s{i}", "next_place"), data
        ):
            chosen = case[2][int(POLICIES[name](*map(np.asarray, case), data))]
            shares.append(max(0.0, a5.by_regret(case, chosen, data)[0]))
    each = 5 * np.reshape(shares, (STUDENTS, -1)).mean(1)
    half = 1.96 * each.std(ddof=1) / STUDENTS**0.5
    assert abs(each.mean() - told()[name]) <= 0.05 + half, f"{each.mean():.2f} +- {half:.2f}"
