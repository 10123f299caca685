"""Scales: numbers of order one inside, their own units outside."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import mamlkit as mk
from mamlkit.learners.scaled import Scaled
from mamlkit.tasks import Scales
from tests.helpers import F64, seeded


def table(scale: float = 1.0, sigma: bool = False, d_out: int = 1) -> mk.tasks.Table:
    rng = np.random.default_rng(0)
    xs = [rng.uniform(5, 6, (n, 2)) * (1e9, 1e-9) for n in (3, 6, 4, 5)]
    ys = [scale * (2 + rng.uniform(0, 1, (len(x), d_out))) for x in xs]
    bars = [scale * rng.uniform(0.1, 0.2, (len(x), d_out)) for x in xs]
    names = {"inputs": ["load", "size"], "outputs": [f"y{j}" for j in range(d_out)]}
    return mk.tasks.Table(xs, ys, bars if sigma else None, **names)


@pytest.mark.parametrize("log", [(), ("y0",), ("load", "y0")])
@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e9])
def test_inside_all_is_of_order_one_and_comes_back(scale: float, log: tuple[str, ...]) -> None:
    own = table(scale)
    scales = Scales.of(own, log)
    x, y, weight = scales.inside(own.every_reading())
    real = weight[..., 0] > 0
    for part in (x[real], y[real]):
        torch.testing.assert_close(part.mean(0), torch.zeros(part.shape[1], dtype=F64))
        torch.testing.assert_close(part.std(0, correction=0), torch.ones(part.shape[1], dtype=F64))
    torch.testing.assert_close(scales.y_outside(y)[real], own.readings.y[real])
    assert torch.equal(weight, own.readings.weight)  # without error bars all count alike
    if "load" in log:
        spread = own.readings.x[real][:, 0].log()
        torch.testing.assert_close(
            x[real][:, 0], (spread - spread.mean()) / spread.std(correction=0)
        )


def test_only_the_members_count() -> None:
    own = table()
    part = own.only(torch.tensor([0, 2]))
    x, _, weight = part.every_reading()
    torch.testing.assert_close(Scales.of(part).x[0], x[weight[..., 0] > 0].mean(0))
    assert not torch.equal(Scales.of(part).x, Scales.of(own).x)


@pytest.mark.parametrize("d_out", [1, 2])
def test_error_bars_are_weighed_against_the_usual_one(d_out: int) -> None:
    own = table(sigma=True, d_out=d_out)
    inside = Scales.of(own).inside(own.every_reading())
    real = inside.weight[..., 0] > 0
    torch.testing.assert_close(inside.weight[real].median(0).values, torch.ones(d_out, dtype=F64))
    ratio = inside.weight[real] / own.readings.weight[real]
    torch.testing.assert_close(ratio, ratio[:1].expand_as(ratio))


def test_an_error_bar_of_y_is_one_of_its_logarithm() -> None:
    own = table(sigma=True)
    inside = Scales.of(own, ["y0"]).inside(own.every_reading())
    real = inside.weight[..., 0] > 0
    relative = own.readings.weight[real] * own.readings.y[real] ** 2  # 1 / (sigma / y)^2
    torch.testing.assert_close(inside.weight[real], relative / relative.median())


def test_a_column_that_is_the_same_everywhere_is_left() -> None:
    own = mk.tasks.Table([[1.0, 1.0], [1.0, 1.0]], [[2.0, 3.0], [4.0, 5.0]])
    assert Scales.of(own).x.tolist() == [[1.0], [1.0]]


def test_what_has_no_logarithm_is_named() -> None:
    own = mk.tasks.Table([[1.0, 2.0]], [[0.0, 3.0]], names=["left"])
    with pytest.raises(mk.MamlkitError, match=r"logarithm of 'y'.*system 'left' has 0"):
        Scales.of(own, ["y"])
    with pytest.raises(mk.MamlkitError, match=r"'z'; the columns are \['x', 'y'\]"):
        Scales.of(own, ["z"])


def springs(scale: float) -> mk.tasks.Table:
    rng = np.random.default_rng(1)
    xs = [rng.uniform(1, 2, 6) for _ in range(8)]
    return mk.tasks.Table(
        [scale * x for x in xs], [scale * (1 + 0.1 * i) * x for i, x in enumerate(xs)]
    )


def test_a_scaled_learner_works_in_any_units() -> None:
    found = []
    for scale in (1.0, 1e9):
        own = springs(scale)
        scales = Scales.of(own)
        inner = mk.yardsticks.ProbabilisticPCA.fit(scales.table(own), 1)
        predict = Scaled(inner, scales).adapt(
            torch.tensor([[1.2 * scale]], dtype=F64), torch.tensor([[2.4 * scale]], dtype=F64)
        )
        x = torch.tensor([[1.5 * scale], [1.9 * scale]], dtype=F64)
        found.append([predict(x) / scale, *(end / scale for end in predict.interval(x, 0.5))])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=0)


def test_intervals_are_those_of_a_reading_and_of_the_logarithm() -> None:
    own = springs(1.0)
    scales = Scales.of(own, ["y"])
    inner = mk.yardsticks.ProbabilisticPCA.fit(scales.table(own), 1)
    predict = Scaled(inner, scales).adapt(own.readings.x[0, :2], own.readings.y[0, :2])
    x = own.readings.x[0, 2:]
    low, high = predict.interval(x, 0.9)
    mean, variance = predict.predict.distribution(scales.x_inside(x))
    reach = 1.6448536269514722 * (variance + inner.noise**2).sqrt()
    middle, width = scales.y[:, 0]
    torch.testing.assert_close(high, (middle + width * (mean + reach)).exp())
    torch.testing.assert_close(predict(x).log(), (low.log() + high.log()) / 2)  # the median
    with pytest.raises(mk.MamlkitError, match="level must lie between 0 and 1"):
        predict.interval(x, 90)
    plain = Scaled(mk.yardsticks.Ridge(1.0), scales).adapt(own.readings.x[0], own.readings.y[0])
    with pytest.raises(mk.MamlkitError, match=r"needs a prediction with \.distribution"):
        plain.interval(x)


def test_a_scaled_learner_takes_no_other_inputs() -> None:
    own = springs(1.0)
    scaled = Scaled(mk.yardsticks.Ridge(1.0), Scales.of(own))
    with pytest.raises(mk.MamlkitError, match="x has 2 columns; this learner takes 1"):
        scaled.adapt(torch.zeros(3, 2), torch.zeros(3, 1))


def test_a_batch_inside_hides_the_padding() -> None:
    own = table()
    batch = Scales.of(own, ["y0"]).batch(own.every(2, generator=seeded(), dtype=F64))
    padding = batch.query.y[batch.query.weight == 0]
    assert len(padding) > 0
    assert bool((padding == 0).all())
    assert math.isfinite(float(batch.query.y.sum()))


@pytest.mark.parametrize("log", [(), ("y0",)])
def test_readings_without_error_bars_count_as_usual_ones(log: tuple[str, ...]) -> None:
    own = table(1e-9, sigma=True)
    scales = Scales.of(own, log)
    learner = Scaled(mk.yardsticks.ProbabilisticPCA.fit(scales.table(own), 1), scales)
    x, y = own.readings.x[1, :3], own.readings.y[1, :3]
    plain = learner.adapt(x, y)
    assert scales.weight is not None
    weight = scales.weight / (y**2 if log else torch.ones_like(y))
    usual = learner.adapt(mk.Readings(x, y, weight))
    torch.testing.assert_close(plain(x), usual(x), rtol=1e-9, atol=0)
    assert not torch.allclose(plain(x), learner.adapt(x[:0], y[:0])(x), rtol=1e-3, atol=0)
