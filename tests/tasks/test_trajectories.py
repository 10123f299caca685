"""Reference solutions that are right, or refused; and times of each task's own."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

import mamlkit as mk
from tests.helpers import F64, seeded


class Decay(mk.tasks.TrajectoryFamily):
    """y' = -rate y, whose solution is exp(-rate t)."""

    times = torch.linspace(0, 2, 11, dtype=F64)

    def __init__(self, *rates: float) -> None:
        self.rates = list(rates)

    def draw(self, n_tasks: int, generator: torch.Generator) -> dict[str, Tensor]:
        rate = self.rates[0] if len(self.rates) == 1 else self.rates.pop(0)
        return {"rate": torch.linspace(1, rate, n_tasks, dtype=F64)}

    def starts(self, n_tasks: int, n: int, generator: torch.Generator) -> Tensor:
        return torch.ones(n_tasks, n, 1, dtype=F64)

    def field(self, y: Tensor, physics: dict[str, Tensor]) -> Tensor:
        return -physics["rate"] * y


def test_a_stiff_law_is_refused_and_the_worst_task_named() -> None:
    with pytest.raises(mk.MamlkitError, match=r"wrong by .*\{'rate': 700\.0\}.*Raise substeps"):
        Decay(700.0).sample(3, 1)
    with pytest.raises(mk.MamlkitError, match=r"not finite; .*substeps"):
        Decay(1e6).sample(3, 1)
    fine = Decay(700.0)
    fine.substeps = 500
    found = fine.sample(3, 1, dtype=F64)
    expected = torch.exp(-found.physics["rate"][:, None] * fine.times)
    torch.testing.assert_close(found.query.y[:, 0, :, 0], expected, rtol=0, atol=1e-5)
    asked = Decay(700.0)
    asked.tolerance = math.inf
    asked.sample(3, 1)


def test_later_draws_are_looked_at_too() -> None:
    family = Decay(1.0, 1.0, 1.0, 700.0, 1.0)  # the fourth
    for _ in range(3):
        family.sample(2, 1)
    with pytest.raises(mk.MamlkitError, match="Raise substeps"):
        family.sample(2, 1)


def test_looking_changes_no_number() -> None:
    calm = mk.tasks.LotkaVolterra().split("test")
    asked = mk.tasks.LotkaVolterra().split("test")
    asked._drawn = 2**20  # so soon it looks at none
    for family in (calm, asked):
        family.sample(2, 1, generator=seeded())
    a, b = (f.sample(4, 2, generator=seeded(3), dtype=F64) for f in (calm, asked))
    assert torch.equal(a.support.y, b.support.y)
    assert "drawn" not in repr(calm)


class Own(Decay):
    """Each task, or each trajectory, has times of its own."""

    given: Any = None
    each = False

    def when(self, n_tasks: int, n: int, generator: torch.Generator) -> Tensor:
        shape = (n_tasks, n, 6) if self.each else (n_tasks, 6)
        steps = mk.tasks.uniform(shape, 0.1, 0.5, generator)
        return self.given if self.given is not None else steps.cumsum(-1)


@pytest.mark.parametrize("each", [False, True])
def test_each_task_or_trajectory_may_have_times_of_its_own(each: bool) -> None:
    family = Own(3.0)
    family.each = each
    batch = family.sample(4, 2, 3, generator=seeded(), dtype=F64)
    t, rate = batch.query.t, batch.physics["rate"]
    assert t.shape == ((4, 3, 6) if each else (4, 6))
    assert not torch.equal(t[0], t[1])
    t = t if each else t[:, None]
    exact = torch.exp(-rate[:, None, None] * (t - t[..., :1])).expand(-1, 3, -1)
    torch.testing.assert_close(batch.query.y[..., 0], exact, rtol=1e-6, atol=1e-9)
    task = batch.task(1)
    for horizon in (None, 2):  # the law itself forecasts what was recorded
        loss = mk.losses.trajectories(horizon, substeps=20)
        assert float(loss(lambda y: -task.physics["rate"] * y, task.query)) < 1e-12
    learner = mk.CAVIA(mk.models.MLP(1, 1, (4,), context=1), loss=mk.losses.trajectories(horizon=2))
    mk.meta_train(learner, family, 1, meta_batch=2, iterations=2, progress=False)
    for wrong in (torch.ones(6), torch.ones(4, 7, 6), torch.ones(3, 6)):
        family.given = wrong
        with pytest.raises(mk.MamlkitError, match=r"when\(\) gave \[.*; .* = \[4, T\], or "):
            family.sample(4, 1, 2)


@pytest.mark.parametrize("spring", [False, True])
def test_a_pendulum_and_published_data_at_times_of_each_task(spring: bool) -> None:
    pendulum = mk.tasks.Pendulum(spring=spring)
    physics = pendulum.draw(3, seeded())
    y0 = pendulum.starts(3, 2, seeded())
    one = pendulum.times[:20]
    at = torch.stack([one, one, one[:10].repeat_interleave(2)])
    found = pendulum.solve(y0, physics, at)
    torch.testing.assert_close(found[:2], pendulum.solve(y0, physics, one)[:2])
    torch.testing.assert_close(found[2, :, ::2], pendulum.solve(y0, physics, one[:10])[2])
    each = torch.stack([at, at.flip(0)], dim=1)  # [3, 2, 20], of each trajectory
    both = [pendulum.solve(y0, physics, times)[:, k] for k, times in ((0, at), (1, at.flip(0)))]
    torch.testing.assert_close(pendulum.solve(y0, physics, each), torch.stack(both, dim=1))


def test_published_data_at_times_of_each_task() -> None:
    family = mk.tasks.LotkaVolterra(legacy=True).split("test")
    physics = family.draw(2, seeded())
    y0 = family.starts(2, 1, seeded())
    found = family.solve(y0, physics, torch.stack([family.times, family.times / 2]))
    assert torch.equal(found[0], family.solve(y0, physics)[0])
    assert torch.equal(found[1], family.solve(y0, physics, family.times / 2)[1])
