"""The pendulum against its closed forms and against scipy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from scipy.special import ellipk

import mamlkit as mk
from mamlkit.tasks import Pendulum
from mamlkit.tasks.pendulum import AMPLITUDES, GRAVITY, LENGTHS
from mamlkit.tasks.trajectories import TrajectoryFamily
from tests.helpers import F64

CONSERVED = 1e-9  # relative, of the energy
AGREE = 1e-8  # rad and rad/s, with scipy at rtol = 1e-12


def one(length: float) -> dict[str, torch.Tensor]:
    return {
        "length": torch.tensor([length]).double(),
        "g_over_l": torch.tensor([GRAVITY / length], dtype=F64),
    }


@pytest.mark.parametrize("kind", AMPLITUDES)
def test_energy_is_conserved(kind: str) -> None:
    family = Pendulum(amplitude=AMPLITUDES[kind]).split("test")
    batch = family.sample(50, 1, 2, generator=torch.Generator().manual_seed(0), dtype=F64)
    w = batch.physics["g_over_l"][:, None, None]
    energy = family.energy(batch.query.y, w)
    assert float(((energy - energy[..., :1]) / w).abs().max()) < CONSERVED
    speed = batch.query.y[..., 1]  # and the rate of change is the field's
    torch.testing.assert_close(batch.query.dy[..., 0], speed)


@pytest.mark.parametrize("start", [(1.2, 0.0), (-2.4, 0.0), (0.5, -1.0), (-1.0, 0.7), (0.0, 1.5)])
def test_the_exact_solution_is_scipys(start: tuple[float, float]) -> None:
    length, family = 2.0, Pendulum()
    w = GRAVITY / length
    y = family.solve(torch.tensor([[start]], dtype=F64), one(length))[0, 0].numpy()

    def field(t: float, y: np.ndarray) -> list[float]:
        return [y[1], -w * math.sin(y[0])]

    times = family.times.numpy()
    exact = solve_ivp(field, (0, 5), start, "DOP853", t_eval=times, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(y, exact.y.T, atol=AGREE)


@pytest.mark.parametrize(("drag", "spring"), [(0.4, False), (0.0, True), (0.3, True)])
def test_foreign_laws_are_scipys(drag: float, spring: bool) -> None:
    family = Pendulum(drag=drag, spring=spring)
    physics = {name: value.double() for name, value in one(4.0).items()}
    w = float(physics["g_over_l"])
    y = family.solve(torch.tensor([[[1.3, 0.0]]], dtype=F64), physics)[0, 0].numpy()

    def field(t: float, y: np.ndarray) -> list[float]:
        pull = y[0] + y[0] ** 3 if spring else math.sin(y[0])
        return [y[1], -w * pull - drag * y[1]]

    times = family.times.numpy()
    exact = solve_ivp(field, (0, 5), [1.3, 0.0], "DOP853", t_eval=times, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(y, exact.y.T, atol=AGREE)
    energy = family.energy(torch.as_tensor(y), physics["g_over_l"])
    if drag and not spring:  # friction only takes
        assert bool((energy.diff() < 1e-12).all())


def test_a_pendulum_that_turns_over_is_integrated() -> None:
    family = Pendulum()
    physics = {name: value.double() for name, value in one(5.0).items()}
    y0 = torch.tensor([[[0.0, 4.0], [0.4, 0.0]]], dtype=F64)  # the first turns over
    y = family.solve(y0, physics)
    assert float(y[0, 0, -1, 0]) > 2 * math.pi
    energy = family.energy(y, physics["g_over_l"][:, None, None])
    assert float((energy - energy[..., :1]).abs().max()) < 1e-8
    alone = family.solve(y0[:, 1:], physics)  # exact
    torch.testing.assert_close(y[:, 1:], alone, rtol=0, atol=1e-8)
    torch.testing.assert_close(alone, TrajectoryFamily.solve(family, y0[:, 1:], physics))


@pytest.mark.parametrize("amplitude", [0.01, 1.0, 2.5])
def test_the_period_is_the_elliptic_integral(amplitude: float) -> None:
    family, w = Pendulum(), torch.tensor([GRAVITY / 3], dtype=F64)
    a = torch.tensor([amplitude], dtype=F64)
    period = float(family.period(a, w))
    assert period == pytest.approx(
        4 * math.sqrt(3 / GRAVITY) * ellipk(math.sin(amplitude / 2) ** 2), rel=1e-12
    )
    if amplitude == 0.01:
        assert period == pytest.approx(2 * math.pi * math.sqrt(3 / GRAVITY), rel=1e-5)
    else:
        assert period > 1.05 * 2 * math.pi * math.sqrt(3 / GRAVITY)
    times = torch.tensor([0, period / 2, period], dtype=F64)
    y0 = torch.tensor([[[amplitude, 0.0]]], dtype=F64)
    y = family.solve(y0, {"g_over_l": w}, times)[0, 0]
    torch.testing.assert_close(y[1], -y[0], rtol=0, atol=1e-7)  # half a period: the other side
    torch.testing.assert_close(y[2], y[0], rtol=0, atol=1e-7)


def test_parts_share_no_length_and_draw_only_theirs() -> None:
    parts = [set(lengths) for lengths in LENGTHS.values()]
    assert len(set.union(*parts)) == sum(map(len, parts))
    for part in ("train", "validation", "test"):
        family = Pendulum(noise=0.01).split(part)
        batch = family.sample(200, 1, generator=torch.Generator().manual_seed(0), dtype=F64)
        assert set(batch.physics["length"].tolist()) == set(LENGTHS[part])
        torch.testing.assert_close(
            batch.physics["g_over_l"] * batch.physics["length"],
            torch.full((200,), GRAVITY).double(),
        )
        assert family.noise == 0.01
        angle = batch.query.y[:, :, 0, 0].abs()
        assert AMPLITUDES["in-range"][0] <= angle.min()
        assert angle.max() <= AMPLITUDES["in-range"][1]
    assert Pendulum().lengths == list(LENGTHS["train"])


def test_support_is_short_and_noisy_and_query_is_the_truth() -> None:
    clean, noisy = (
        Pendulum(noise=noise).sample(
            200, 3, 2, generator=torch.Generator().manual_seed(0), dtype=F64
        )
        for noise in (0.0, 0.05)
    )
    assert clean.support.y.shape == (200, 3, 21, 2)
    assert clean.query.y.shape == (200, 2, 51, 2)
    assert clean.support.t.shape == (200, 21)
    assert float(clean.support.t[0, -1]) == 2.0
    assert torch.equal(clean.query.y, noisy.query.y)
    whole = Pendulum().trajectories(clean.support.y[:, :, 0], clean.physics).y
    largest = whole.abs().amax(2, keepdim=True)  # of each trajectory
    relative = (noisy.support.y - clean.support.y) / largest
    torch.testing.assert_close(relative.std(), torch.tensor(0.05, dtype=F64), rtol=0.02, atol=0)


@pytest.mark.parametrize("kind", AMPLITUDES)
def test_pendulums_start_at_rest_within_the_amplitudes_on_either_side(kind: str) -> None:
    low, high = AMPLITUDES[kind]
    starts = Pendulum(amplitude=(low, high)).starts(200, 4, torch.Generator().manual_seed(0))
    angle, speed = starts.unbind(-1)
    assert not speed.any()
    assert low <= float(angle.abs().min()) < low + 0.02 * (high - low)
    assert high - 0.02 * (high - low) < float(angle.abs().max()) < high
    right = (angle > 0).double()
    assert float(right.mean()) == pytest.approx(0.5, abs=0.06)  # three standard errors
    # A side for each trajectory: all four agree in one task of eight.
    alike = (right == right[:, :1]).all(1).double().mean()
    assert float(alike) == pytest.approx(1 / 8, abs=0.07)


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"lengths": ()}, "at least one length"),
        ({"lengths": (0.0,)}, "length"),
        ({"amplitude": (0.5, 3.5)}, "between 0 and pi"),
        ({"amplitude": (1.0, 0.5)}, "low < high"),
        ({"noise": -0.1}, "noise"),
        ({"drag": -1.0}, "drag"),
    ],
)
def test_bad_settings_are_refused(settings: dict, complaint: str) -> None:
    with pytest.raises(mk.MamlkitError, match=complaint):
        Pendulum(**settings)
    with pytest.raises(mk.MamlkitError, match="not known"):
        Pendulum().split("tset")
