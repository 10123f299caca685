"""Learning curves: training against torch's own Adam, the shipped table, tasks made of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import mamlkit as mk
from mamlkit.tasks import learning_curves as lc
from tests.helpers import seeded


@pytest.fixture
def family() -> mk.tasks.LearningCurves:
    return mk.tasks.LearningCurves()


def test_a_run_is_what_torch_trains() -> None:
    """One run alone, without masks or neighbours, by torch.optim.AdamW."""
    number, run = 6, 3
    p, made = lc.problem(number), lc.train([number])
    rate, width, share, decay, spread = (10 ** made.hyperparameters[0, run]).tolist()
    w = int(width)
    generator = seeded(9_000_000 + number)
    start = torch.randn(16, 5, 24, 24, generator=generator, dtype=torch.float64)[run]
    draw = torch.rand(lc.STEPS, 16, lc.READINGS, 1, generator=generator)[:, run, :, 0]
    net = torch.nn.Sequential(
        torch.nn.Linear(1, w), torch.nn.Tanh(), torch.nn.Linear(w, w), torch.nn.Tanh(),
        torch.nn.Linear(w, 1),
    ).double()  # fmt: skip
    with torch.no_grad():
        given = [
            spread * start[0, 0, :w, None], spread * start[1, 0, :w],
            start[2, :w, :w].T / w**0.5, torch.zeros(w), start[4, :w, 0][None] / w**0.5,
            torch.zeros(1),
        ]  # fmt: skip
        for parameter, value in zip(net.parameters(), given, strict=True):
            parameter.copy_(value)
    adam = torch.optim.AdamW(net.parameters(), rate, weight_decay=decay)
    for step in range(1, 31):
        batch = p.used & (draw[step - 1] < share)
        adam.zero_grad()
        if batch.any():
            (net(p.x[batch, None])[:, 0] - p.y[batch]).square().mean().backward()
        else:
            (0 * net(p.x[:1, None]).sum()).backward()
        adam.step()
        if step in lc.TIMES:
            with torch.no_grad():
                loss = (net(p.x_new[:, None])[:, 0] - p.y_new).square().mean()
            ours = made.losses[0, run, lc.TIMES.index(step)]
            torch.testing.assert_close(ours, loss, rtol=1e-6, atol=0)


def test_the_table_is_made_again(tmp_path, family) -> None:
    """Steps of a large learning rate enlarge rounding, so a few late losses may differ."""
    numbers = [5, 200, 359]
    lc.make_table(tmp_path, numbers)
    made = np.load(tmp_path / "learning_curves.npz")
    assert "reproduce learning-curves" in str(made["about"])
    assert made["numbers"].tolist() == numbers
    gap = torch.tensor(made["losses"]) / 100 - family.log_losses[numbers]
    assert gap[..., :8].abs().max() < 0.011
    assert (gap.abs() < 0.011).double().mean() > 0.98


def test_who_is_beside_a_problem_does_not_matter() -> None:
    alone, beside = lc.train([7]), lc.train([2, 7])
    torch.testing.assert_close(beside.losses[1, :, :8], alone.losses[0, :, :8], rtol=1e-6, atol=0)


def test_the_table_is_whole(family) -> None:
    assert family.log_losses.shape == (360, 16, 15)
    assert family.log_losses.isfinite().all()
    assert family.hyperparameters.shape == (360, 16, 5)
    for i in (0, 1, 2, 3):
        p = lc.problem(i)
        assert p.law == list(lc.LAWS)[i] == family.name_of({"law": torch.tensor(i)})
        assert 8 <= p.used.sum() <= lc.READINGS
    floor = torch.tensor([2 * np.log10(lc.problem(i).noise) for i in range(0, 360, 10)])
    best = family.log_losses[::10, :, -1].min(1).values
    assert (best > floor - 0.25).all()  # nobody beats the noise of 64 readings


def test_the_laws_have_no_scale() -> None:
    """Variance 1 on an even grid, whatever the parameters: a loss of 1 is to know nothing."""
    for i in range(8):
        p = lc.problem(i)
        x = torch.linspace(-1, 1, 400, dtype=torch.float64)
        assert abs(float(p.y_new.var()) - 1 - p.noise**2) < 0.8
        assert lc.LAWS[p.law](x, p.parameters).isfinite().all()


# --- as a family of tasks -------------------------------------------------------------------------


def test_parts_share_no_problem() -> None:
    deals = []
    for seed in (0, 1):
        family = mk.tasks.LearningCurves(seed=seed)
        parts = {name: set(family.parts[name].tolist()) for name in family.parts}
        assert [len(p) for p in parts.values()] == [160, 48, 152]
        assert set.union(*parts.values()) == set(range(360))
        assert parts["validation"] == set(range(48))  # whatever the seed
        deals.append(parts["test"])
    assert deals[0] != deals[1]


def test_a_law_can_be_left_out() -> None:
    family = mk.tasks.LearningCurves(without="Morse")
    laws = {name: {int(m) % 4 for m in family.parts[name]} for name in family.parts}
    assert laws == {"train": {0, 1, 3}, "validation": {0, 1, 3}, "test": {2}}


def test_a_point_is_a_run(family) -> None:
    test = family.split("test")
    few, many = (test.every(k, 8, generator=seeded(3), dtype=torch.float64) for k in (2, 8))
    assert many.support.x.shape == (152, 8, 13)
    assert torch.equal(few.query.x, many.query.x)  # the same runs are judged
    assert torch.equal(few.support.y, many.support.y[:, :2])
    both = torch.cat([many.support.y, many.query.y], 1)[..., 0]
    assert torch.equal(both.sort(1).values, test.log_losses[..., -1].sort(1).values)
    x = torch.cat([many.support.x, many.query.x], 1)
    assert x[..., 8:].min() >= -1
    assert x[..., 8:].max() <= 1
    starts = test.log_losses[..., :8].sum(-1).sort(1).values
    torch.testing.assert_close(x[..., :8].sum(-1).sort(1).values, starts)
    later = mk.tasks.LearningCurves(seen=120).split("test")
    assert later.d_in == 17
    seen = later.every(2, 8, generator=seeded(3), dtype=torch.float64)
    assert torch.equal(seen.query.x[..., :8], few.query.x[..., :8])


def test_the_default_type_changes_nothing(family) -> None:
    made = [lc.train([3]).losses, family.every(2, 8, generator=seeded()).query.x.double()]
    torch.set_default_dtype(torch.float64)
    try:
        again = [lc.train([3]).losses, family.every(2, 8, generator=seeded()).query.x]
    finally:
        torch.set_default_dtype(torch.float32)
    for one, other in zip(made, again, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-6)


def test_what_does_not_fit_is_told() -> None:
    with pytest.raises(mk.MamlkitError, match="seen=31 must be a step"):
        mk.tasks.LearningCurves(seen=31)
    with pytest.raises(mk.MamlkitError, match="without='Planck'"):
        mk.tasks.LearningCurves(without="Planck")
    with pytest.raises(mk.MamlkitError, match="pool of 16"):
        mk.tasks.LearningCurves().split("test").sample(2, 9, 8)
