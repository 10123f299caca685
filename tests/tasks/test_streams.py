"""Streams whose parameters drift, and the measured records."""

from __future__ import annotations

import pytest
import torch

import mamlkit as mk
from mamlkit.tasks import RECORDS, Resonator, along, drifting, record
from tests.helpers import seeded
from tests.tasks.record_table import rows

RANGES = {"frequency": (0.8, 1.6), "damping": (0.1, 0.4)}


def test_power_factor_is_that_of_the_equation_of_motion():
    # x'' + g x' + w0^2 x = f cos(w t) in the complex plane: v = i w x; cos phi = Re v / |v|.
    w, w0, g = torch.tensor([0.5, 1.2, 1.9]).double(), 1.1, 0.3
    v = 1j * w / (w0**2 - w**2 + 1j * g * w)
    physics = {"frequency": torch.tensor(w0), "damping": torch.tensor(g)}
    said = Resonator().law(w[:, None], physics)[:, 0]
    torch.testing.assert_close(said, v.real / v.abs())


@pytest.mark.parametrize("kind", ["still", "jump", "ramp", "sine"])
def test_truth_is_the_law_at_each_tick_and_parameters_stay_in_range(kind):
    s = drifting(Resonator(), 20, 100, kind, generator=seeded(3))
    assert s.x.shape == s.y.shape == s.truth.shape == (20, 100, 1)
    for name, (low, high) in RANGES.items():
        assert s.physics[name].shape == (20, 100)
        assert low <= s.physics[name].min() < s.physics[name].max() <= high
    law = Resonator().law(s.x, {name: p[..., None] for name, p in s.physics.items()})
    torch.testing.assert_close(s.truth, law)
    assert 0.045 < (s.y - s.truth).std() < 0.055


def test_each_kind_moves_as_it_says():
    ticks = 120
    f = {
        k: drifting(Resonator(), 30, ticks, k, generator=seeded(4))
        for k in ("still", "jump", "ramp", "sine")
    }
    moves = {k: s.physics["frequency"].diff(dim=1) for k, s in f.items()}
    assert not moves["still"].any()
    torch.testing.assert_close(moves["ramp"], moves["ramp"][:, :1].expand(-1, ticks - 1))
    assert (f["jump"].jumped.sum(1) == 2).all()
    assert torch.equal(moves["jump"] != 0, f["jump"].jumped[:, 1:])
    first = f["jump"].jumped.double().argmax(1)
    assert 30 <= first.min() < first.max() < 50
    turns = (moves["sine"][:, 1:] * moves["sine"][:, :-1] < 0).sum(1)
    assert 3 <= turns.min() <= turns.max() <= 8
    assert not any(s.jumped.any() for k, s in f.items() if k != "jump")


def test_streams_come_again_and_take_courses_of_your_own():
    a, b = (drifting(Resonator(), 3, 10, "sine", generator=seeded(1)) for _ in range(2))
    assert torch.equal(a.y, b.y)
    course = {"frequency": torch.linspace(1, 1.5, 8)[None], "damping": torch.full((1, 8), 0.2)}
    s = along(Resonator(noise=0.0), course, generator=seeded(1))
    assert torch.equal(s.y, s.truth)
    assert s.y.shape == (1, 8, 1)


def test_what_cannot_drift_is_refused():
    with pytest.raises(mk.MamlkitError, match="more than points"):
        drifting(mk.tasks.LotkaVolterra(), 2)
    with pytest.raises(mk.MamlkitError, match="kind='leap'"):
        drifting(Resonator(), 2, kind="leap")
    with pytest.raises(mk.MamlkitError, match="course"):
        along(Resonator(), {"frequency": torch.ones(3), "damping": torch.ones(3)})


def test_records_are_those_of_statsmodels():
    wanted = list(rows())
    for name in RECORDS:
        own = [(y, m, float(v)) for n, y, m, v in wanted if n == name]
        year, month, value = record(name)
        assert list(zip(year.tolist(), month.tolist(), value.tolist(), strict=True)) == own
    with pytest.raises(mk.MamlkitError, match="choose from"):
        record("tides")
