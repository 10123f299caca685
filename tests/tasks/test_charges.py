"""The potential of point charges and its family, checked as physics."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

import mamlkit as mk
from mamlkit.tasks import ForeignSource, PointCharges, dipole_potential, point_potential
from mamlkit.tasks.charges import PLACES
from tests.helpers import F64

EXACT = 1e-12  # float64 arithmetic


@pytest.fixture
def somewhere(generator: torch.Generator) -> Tensor:
    return 1 + torch.rand(20, 3, generator=generator, dtype=F64)


def laplacian(f, x: Tensor) -> Tensor:  # of f: [3] -> scalar, at each row of x
    return torch.vmap(lambda at: torch.func.jacrev(torch.func.jacrev(f))(at).diagonal().sum())(x)


def test_laplace_away_from_the_sources(somewhere: Tensor) -> None:
    charges, places = torch.tensor([2.0, -3.0], dtype=F64), torch.zeros(2, 3, dtype=F64)
    places[:, :2] = torch.tensor(PLACES)
    moment, at = torch.tensor([0.3, -0.5, 0.2], dtype=F64), torch.zeros(3, dtype=F64)
    curved = laplacian(lambda x: point_potential(x[None], charges, places).squeeze(), somewhere)
    assert curved.abs().max() < EXACT
    curved = laplacian(lambda x: dipole_potential(x[None], moment, at).squeeze(), somewhere)
    assert curved.abs().max() < EXACT
    # In the plane alone 1/r is not harmonic: the law is that of space.
    flat = laplacian(
        lambda x: point_potential(x[None, :2], charges, places[:, :2]).squeeze(), somewhere
    )
    assert flat.abs().max() > 0.01


def test_superposition(somewhere: Tensor) -> None:
    places = torch.tensor(PLACES, dtype=F64)
    x, one, two = somewhere[:, :2], torch.tensor([2.0, 0.0]), torch.tensor([0.0, 5.0])
    both = point_potential(x, one + two, places)
    apart = point_potential(x, one, places) + point_potential(x, two, places)
    torch.testing.assert_close(both, apart, rtol=EXACT, atol=EXACT)


def test_from_far_away_two_charges_are_one(somewhere: Tensor) -> None:
    x = 1e4 * somewhere[:, :2]
    both = point_potential(x, torch.tensor([2.0, 5.0], dtype=F64), torch.tensor(PLACES, dtype=F64))
    torch.testing.assert_close(both, 7 / x.norm(dim=1, keepdim=True), rtol=2e-4, atol=0)


def test_two_opposite_charges_become_a_dipole(somewhere: Tensor) -> None:
    moment = torch.tensor([0.3, -0.4, 0.2], dtype=F64)
    limit = dipole_potential(somewhere, moment, torch.zeros(3, dtype=F64))
    errors = []
    for d in (0.1, 0.05):  # q = |p| / d at +- d/2 along p
        size = moment.norm()
        half = d / 2 * moment / size
        q = size / d
        pair = point_potential(somewhere, torch.stack([q, -q]), torch.stack([half, -half]))
        errors.append(float((pair - limit).abs().max()))
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.02)  # the error falls as d^2
    assert errors[1] < 1e-3


def test_the_law_of_a_task(generator: torch.Generator) -> None:
    batch = PointCharges().sample(7, 5, 11, generator=generator, dtype=F64)
    x, q1, q2 = batch.query.x, batch.physics["q1"], batch.physics["q2"]
    r_a = ((x[..., 0] + 1.1) ** 2 + x[..., 1] ** 2).sqrt()
    r_b = ((x[..., 0] - 1.1) ** 2 + x[..., 1] ** 2).sqrt()
    expected = q1[:, None] / r_a + q2[:, None] / r_b
    torch.testing.assert_close(batch.query.y[..., 0], expected, rtol=EXACT, atol=0)


def test_support_and_query_share_no_point(generator: torch.Generator) -> None:
    batch = PointCharges().split("train").sample(25, 30, generator=generator, dtype=F64)
    assert batch.query.x.shape == (25, 30, 2)
    for support, query in zip(batch.support.x, batch.query.x, strict=True):
        rows = {tuple(row) for row in torch.cat([support, query]).tolist()}
        assert len(rows) == 60
    points = PointCharges().points()
    assert points.shape == (400, 2)
    assert points.amin(0).tolist() == [-1, 0]
    assert points.amax(0).tolist() == [1, 1]


def test_the_default_type_changes_no_task() -> None:
    batches = []
    for dtype in (torch.float32, torch.float64):
        torch.set_default_dtype(dtype)
        try:
            family, generator = PointCharges(), torch.Generator().manual_seed(3)
            batches.append(family.sample(4, 5, 6, generator=generator, dtype=F64))
        finally:
            torch.set_default_dtype(torch.float32)
    assert torch.equal(batches[0].query.x, batches[1].query.x)
    assert torch.equal(batches[0].query.y, batches[1].query.y)


def test_the_splits() -> None:
    parts = {name: PointCharges().split(name) for name in ("train", "validation", "test")}
    q = {
        name: torch.stack(list(part.every(2, 2, dtype=F64).physics.values())[:2], 1)
        for name, part in parts.items()
    }
    assert sorted(map(tuple, q["train"].tolist())) == [
        (a, b) for a in range(1, 6) for b in range(1, 6)
    ]
    assert q["test"].shape == q["validation"].shape == (30, 2)
    assert q["test"].min() >= 1
    assert q["test"].max() <= 6
    sets = [set(map(tuple, each.tolist())) for each in q.values()]
    assert not sets[0] & sets[1]
    assert not sets[1] & sets[2]
    zones = parts["test"].zone(parts["test"].every(2).physics)
    assert {name: zones.count(name) for name in set(zones)}.keys() == {"inside", "edge", "outside"}
    assert all(
        (zone == "outside") == bool(pair.max() > 5)
        for zone, pair in zip(zones, q["test"], strict=True)
    )


def test_zones_of_charges() -> None:
    q1 = torch.tensor([1.5, 1.4, 2.0, 4.5, 3.0, 5.1, 1.0])
    q2 = torch.tensor([4.5, 3.0, 4.6, 4.5, 5.0, 3.0, 5.5])
    zones = ["inside", "edge", "edge", "inside", "edge", "outside", "outside"]
    assert PointCharges().zone({"q1": q1, "q2": q2}) == zones


def test_points_of_the_grid_go_row_by_row_from_below() -> None:
    points = PointCharges(region=((-1, 1), (0, 3))).points(2)
    assert points.tolist() == [[-1, 0], [1, 0], [-1, 3], [1, 3]]


def test_a_foreign_source_hides_below_the_region(generator: torch.Generator) -> None:
    physics = ForeignSource().sample(500, 1, generator=generator).physics
    for name, low, high in (("x3", -1.0, 1.0), ("y3", -0.6, -0.2), ("angle", 0.0, 2 * math.pi)):
        at = physics[name]
        assert low <= float(at.min()) < low + 0.02 * (high - low)
        assert high - 0.02 * (high - low) < float(at.max()) <= high


def test_noise_is_on_the_support_only(generator: torch.Generator) -> None:
    test = PointCharges(noise=0.5).split("test")
    batch = test.every(200, generator=generator, dtype=F64)
    for data, spread in ((batch.support, 0.5), (batch.query, 0.0)):
        truth = test.law(data.x, {k: v[:, None, None] for k, v in batch.physics.items()})
        assert float((data.y - truth).std()) == pytest.approx(spread, rel=0.05)


def test_anywhere_in_a_region(generator: torch.Generator) -> None:
    family = PointCharges(region=((1.5, 3), (-1, 0)), grid=None)
    x = family.sample(50, 40, generator=generator).support.x
    assert (x[..., 0].min() > 1.5, x[..., 0].max() < 3) == (True, True)
    assert (x[..., 1].min() > -1, x[..., 1].max() < 0) == (True, True)
    assert (family.members, family.n_members) == (None, None)


@pytest.mark.parametrize("kind", ["charge", "dipole"])
def test_a_foreign_source_adds_its_own_potential(kind: str, generator: torch.Generator) -> None:
    foreign = ForeignSource(kind, 0.7)
    batch = foreign.sample(9, 4, 6, generator=generator, dtype=F64)
    known = PointCharges().law(
        batch.query.x, {k: v[:, None, None] for k, v in batch.physics.items()}
    )
    r = batch.query.x - torch.stack([batch.physics["x3"], batch.physics["y3"]], 1)[:, None]
    size = r.norm(dim=-1)
    angle = batch.physics["angle"][:, None]
    along = r[..., 0] * angle.cos() + r[..., 1] * angle.sin()
    own = 0.7 / size if kind == "charge" else 0.7 * along / size**3
    torch.testing.assert_close((batch.query.y - known)[..., 0], own, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda: PointCharges(region=(0, 1)), "region must be"),
        (lambda: PointCharges(region=((1, 0), (0, 1))), "low < high"),
        (lambda: PointCharges(region=3), r"region must be \(\(x low"),
        (lambda: PointCharges(noise=-1), "noise must be"),
        (lambda: PointCharges().split("all"), "part='all' is not known"),
        (lambda: PointCharges(grid=3).sample(2, 6, 6), "the grid has 9"),
        (lambda: ForeignSource("magnet"), "kind='magnet' is not known"),
        (lambda: ForeignSource().split("test"), "noticed, not trained on"),
        (lambda: ForeignSource(strength=math.inf), "strength must be"),
    ],
)
def test_bad_input_is_said_plainly(ask, message: str) -> None:
    with pytest.raises(mk.MamlkitError, match=message):
        ask()
