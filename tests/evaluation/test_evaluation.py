"""Curves, comparisons and diagnostics, on cases whose answer is known."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_info, threadpool_limits

import mamlkit as mk
from mamlkit.evaluation.costs import peak_bytes
from mamlkit.evaluation.curves import final_losses, half_width, new_tasks, summary
from mamlkit.training.gradients import meta_gradients
from tests.helpers import F64, seeded


class Constant:
    """Predicts one value."""

    def __init__(self, value: float) -> None:
        self.value = value

    def adapt(self, x, y):
        return lambda x_new: torch.full((len(x_new), 1), self.value, dtype=x_new.dtype)


class FirstReading:
    """Predicts the first support value."""

    def adapt(self, x, y):
        return lambda x_new: y[:1].expand(len(x_new), 1)


class Level(mk.tasks.Family):
    """y = c, without noise: the support tells everything."""

    def draw(self, n_tasks, generator):
        return {"c": mk.tasks.normal(n_tasks, 0.0, 1.0, generator)}

    def law(self, x, physics):
        return physics["c"] + 0 * x


def mlp(**settings) -> mk.MAML:
    return mk.MAML(mk.models.MLP(1, 1, hidden=(5,)).double(), 0.1, 2, **settings)


def test_curve_is_what_adapting_one_by_one_gives() -> None:
    learner, family = mlp(), mk.tasks.LinearLaw()
    curve = mk.evaluate(learner, family, shots=3, steps=4, n_tasks=5, queries=7, seed=2)
    assert curve.losses.shape == curve.support_losses.shape == (5, 5)
    assert curve.losses.dtype == F64
    batch = family.sample(5, 3, 7, generator=torch.Generator().manual_seed(2), dtype=F64)
    assert torch.equal(curve.physics["slope"], batch.physics["slope"])
    for i in range(5):
        query = mk.Data(batch.query.x[i], batch.query.y[i])
        for k in range(5):
            predict = learner.adapt(batch.support.x[i], batch.support.y[i], steps=k)
            torch.testing.assert_close(mk.losses.mse(predict, query), curve.losses[i, k])
        torch.testing.assert_close(predict.losses, curve.support_losses[i])


def test_statistics_of_a_curve_are_numpys() -> None:
    losses = torch.rand(50, 3, generator=torch.Generator().manual_seed(0), dtype=F64)
    curve, a = mk.Curve(losses, losses, {}), losses.numpy()
    assert curve.mean.tolist() == pytest.approx(a.mean(0).tolist())
    assert curve.median.tolist() == pytest.approx(np.median(a, axis=0).tolist())
    np.testing.assert_allclose(curve.quartiles, np.quantile(a, [0.25, 0.75], axis=0))
    np.testing.assert_allclose(curve.ci95, 1.96 * a.std(0, ddof=1) / 50**0.5)
    row = summary(losses[:, 0])
    assert row["mean"] == pytest.approx(a[:, 0].mean())
    assert row["q75"] == pytest.approx(np.quantile(a[:, 0], 0.75))
    assert half_width(losses[:1]).isnan().all()


def test_the_interval_covers_the_truth_about_19_times_in_20() -> None:
    draws = torch.randn(400, 100, generator=torch.Generator().manual_seed(1), dtype=F64)
    covered = sum(abs(float(row.mean())) <= float(half_width(row)) for row in draws)
    assert 0.91 * 400 <= covered <= 0.98 * 400


def test_defaults() -> None:
    learner = mlp()
    assert mk.evaluate(learner, mk.tasks.LinearLaw(), 2).losses.shape == (600, 3)
    fluids = mk.tasks.VapourPressure().split("validation")
    curve = mk.evaluate(learner, fluids, 2)
    assert curve.losses.shape == (19, 3)
    assert torch.equal(curve.physics["fluid"].long(), fluids.members)
    a, b = (mk.evaluate(learner, fluids, 2, n_tasks=4, seed=s).losses for s in (0, 0))
    assert torch.equal(a, b)


def test_a_learner_without_steps_has_one_column() -> None:
    curve = mk.evaluate(Constant(0.0), Level(), 2, n_tasks=6)
    torch.testing.assert_close(curve.losses[:, 0], curve.physics["c"] ** 2)
    assert curve.support_losses.isnan().all()


def test_the_loss_of_the_caller_judges_the_query() -> None:
    root = mk.evaluate(Constant(0.0), Level(), 1, n_tasks=6, loss=mk.losses.rmse)
    torch.testing.assert_close(root.losses[:, 0], root.physics["c"].abs())
    learner = mlp()
    mse = mk.evaluate(learner, Level(), 1, n_tasks=6)
    rmse = mk.evaluate(learner, Level(), 1, n_tasks=6, loss=mk.losses.rmse)
    torch.testing.assert_close(rmse.losses, mse.losses.sqrt())
    torch.testing.assert_close(rmse.support_losses, mse.support_losses)


def test_a_float32_learner_is_given_float32() -> None:
    learner = mk.MAML(mk.models.MLP(1, 1, hidden=(5,)))
    assert mk.evaluate(learner, Level(), 1, n_tasks=3).losses.dtype == F64


def test_compare_puts_learners_on_the_same_tasks() -> None:
    table = mk.compare(
        {"zero": Constant(0.0), "one": Constant(1.0), "first": FirstReading(), "MAML": mlp()},
        Level(),
        shots=2,
        n_tasks=30,
        seed=3,
    )
    assert list(table.index) == ["zero", "one", "first", "MAML"]
    assert list(table.columns) == ["mean", "ci95", "median", "q25", "q75", "ms_per_task"]
    c = mk.evaluate(Constant(0.0), Level(), 2, n_tasks=30, seed=3).physics["c"]
    assert table["mean"]["zero"] == pytest.approx(float((c**2).mean()))
    assert table["mean"]["one"] == pytest.approx(float(((c - 1) ** 2).mean()))
    assert table["median"]["one"] == pytest.approx(float(((c - 1) ** 2).quantile(0.5)))
    assert table["mean"]["first"] == 0
    curve = mk.evaluate(mlp(), Level(), 2, n_tasks=30, seed=3)
    assert table["mean"]["MAML"] == pytest.approx(float(curve.mean[-1]))
    assert (table["ms_per_task"] > 0).all()


def test_all_tasks_at_once_equals_one_after_another() -> None:
    scratch = mk.yardsticks.FromScratch(mk.models.MLP(1, 1, hidden=(4,)).double(), steps=5)

    class OneByOne:
        adapt = scratch.adapt

    table = mk.compare({"at once": scratch, "one": OneByOne()}, Level(), 3, n_tasks=5)
    assert table["mean"]["at once"] == pytest.approx(table["mean"]["one"], rel=1e-9)


@pytest.mark.parametrize("maker", [mk.MAML, mk.ImplicitMAML], ids=["MAML", "implicit"])
def test_the_losses_at_the_end_are_the_last_of_the_curve(maker: Any) -> None:
    learner = maker(mk.models.MLP(1, 1, hidden=(5,), seed=0).double(), 0.1)
    batch = new_tasks(mk.tasks.Sinusoid(), 5, 20, 10)
    whole = learner.episodes(batch).query
    assert whole.shape[1] > 1
    assert learner.episodes(batch, every_step=False).query.shape[1] == 1
    torch.testing.assert_close(final_losses(learner, batch, None, 7), whole[:, -1])
    settings = {"n_tasks": 20, "queries": 10, "predictions": True}
    last, curve = (
        mk.evaluate(learner, mk.tasks.Sinusoid(), 5, every_step=every, **settings)
        for every in (False, True)
    )
    torch.testing.assert_close(last.losses, curve.losses[:, -1:])
    assert curve.predictions is not None
    torch.testing.assert_close(last.predictions, curve.predictions[:, -1:])


def test_one_after_another_uses_one_thread_of_the_blas_and_gives_the_rest_back() -> None:
    def threads() -> list[int]:
        return [each["num_threads"] for each in threadpool_info() if each["user_api"] == "blas"]

    class Watching:
        def adapt(self, x: Any, y: Any) -> Any:
            seen.append(threads())
            return lambda x_new: torch.zeros(len(x_new), 1)

    seen: list[list[int]] = []
    with threadpool_limits(2, "blas"):
        before = threads()
        mk.evaluate(Watching(), mk.tasks.Sinusoid(), n_tasks=2)
        assert threads() == before
    assert before, "numpy has a BLAS"
    assert seen == [[1] * len(before)] * 2


def test_error_against_shots() -> None:
    learners = {"first": FirstReading(), "zero": Constant(0.0)}
    table = mk.error_against_shots(learners, Level(), shots=(1, 3), n_tasks=10)
    assert table.index.names == ["learner", "shots"]
    assert set(table.index) == {(n, k) for n in learners for k in (1, 3)}
    expected = mk.compare(learners, Level(), 3, n_tasks=10)
    assert table.loc[("zero", 3), "mean"] == expected["mean"]["zero"]
    made = mk.error_against_shots(
        learners,
        lambda k: mk.tasks.VapourPressure(at=[0.7, 0.8][:k]).split("validation"),
        shots=(1, 2),
    )
    assert len(made) == 4


def test_shuffled_support_raises_the_error_of_one_who_looks() -> None:
    looks = mk.shuffled_support(FirstReading(), Level(), 2, n_tasks=200)
    assert looks.reference == 0
    assert looks.other == pytest.approx(2.0, rel=0.3)  # E (c - c')^2 = 2
    assert looks.difference == pytest.approx(looks.other - looks.reference)
    assert looks.difference > looks.ci95 > 0
    blind = mk.shuffled_support(Constant(1.0), Level(), 2, n_tasks=50)
    assert blind.difference == blind.ci95 == 0


def test_zero_step_gap() -> None:
    learner = mlp()
    gap = mk.zero_step_gap(learner, Level(), 3, n_tasks=40)
    curve = mk.evaluate(learner, Level(), 3, n_tasks=40)
    assert gap.reference == pytest.approx(float(curve.mean[-1]))
    assert gap.other == pytest.approx(float(curve.mean[0]))
    assert gap.ci95 == pytest.approx(float(half_width(curve.losses[:, 0] - curve.losses[:, -1])))
    assert mk.zero_step_gap(mk.MAML(mlp().model, 0.0), Level(), 3).difference == pytest.approx(
        0, abs=1e-15
    )


def test_tune_finds_the_best_on_validation() -> None:
    learner, family = mlp(), mk.tasks.LinearLaw(noise=0.0)
    rates = (0.01, 0.3, 1e3)  # the last diverges
    curve = mk.tune(learner, family, 4, inner_lr=rates, max_steps=6, n_tasks=30, seed=1)
    found = {
        (rate, k): float(v)
        for rate in rates
        for k, v in enumerate(
            mk.evaluate(
                mk.MAML(learner.model, rate), family, 4, steps=6, n_tasks=30, seed=1
            ).mean.nan_to_num(nan=torch.inf)
        )
    }
    assert (learner.inner_lr, learner.inner_steps) == min(found, key=found.__getitem__)
    assert float(curve.mean[learner.inner_steps]) == min(found.values())


def test_tune_leaves_learned_step_sizes_alone() -> None:
    learner = mlp(learn_lr="tensor")
    before = learner.alpha()
    mk.tune(learner, mk.tasks.LinearLaw(), 4, max_steps=4, n_tasks=10)
    assert learner.inner_lr == 0.1
    torch.testing.assert_close(learner.alpha(), before, rtol=0, atol=0)


def test_an_oracle_is_told_the_truth() -> None:
    class Knows:
        told = ("c",)

        def adapt(self, x, y, *, physics):
            return lambda x_new: physics["c"].expand(len(x_new), 1)

    assert float(mk.evaluate(Knows(), Level(), 1, n_tasks=5).mean) == 0


def test_a_task_of_another_form_than_points() -> None:
    """Any NamedTuple may stand in place of Data."""
    from typing import NamedTuple

    class Trajectory(NamedTuple):
        start: torch.Tensor
        path: torch.Tensor

    class Walks(Level):
        def sample(self, *args, **kwargs):
            batch = super().sample(*args, **kwargs)
            return batch._replace(
                support=Trajectory(*batch.support), query=Trajectory(*batch.query)
            )

    class Sees:
        def adapt(self, data):
            return lambda start: data.path[:1].expand(len(start), 1)

    def misfit(predict, data):
        return ((predict(data.start) - data.path) ** 2).mean()

    assert float(mk.evaluate(Sees(), Walks(), 1, n_tasks=3, loss=misfit).mean) == 0
    learner = mlp(loss=misfit)
    assert mk.evaluate(learner, Walks(), 2, n_tasks=3).losses.shape == (3, 3)


class Weighted(NamedTuple):
    x: torch.Tensor
    y: torch.Tensor
    sigma: torch.Tensor


class WeightedLine(mk.tasks.LinearLaw):
    """A task with more than points: each reading carries its error."""

    def sample(self, n_tasks, shots, queries=None, **drawn):
        batch = super().sample(n_tasks, shots, queries, **drawn)
        support, query = (
            Weighted(d.x, d.y, torch.full_like(d.y, 0.3)) for d in (batch.support, batch.query)
        )
        return mk.TaskBatch(support, query, batch.physics)


def test_tasks_with_more_than_x_and_y_go_through_every_learner() -> None:
    def chi_squared(predict, data):
        return (((predict(data.x) - data.y) / data.sigma) ** 2).mean()

    model = mk.models.MLP(1, 1, hidden=()).double()
    learners = {
        "MAML": mk.MAML(model, inner_lr=0.01, loss=chi_squared),
        "ridge": mk.yardsticks.Ridge(),
        "zero": mk.yardsticks.Zero(),
        "scratch": mk.yardsticks.FromScratch(model, steps=5, loss=chi_squared),
    }
    table = mk.compare(learners, WeightedLine(), 5, n_tasks=4, loss=chi_squared)
    assert table["mean"].notna().all()
    plain = mk.compare({"ridge": mk.yardsticks.Ridge()}, mk.tasks.LinearLaw(), 5, n_tasks=4)
    assert table["mean"]["ridge"] == pytest.approx(plain["mean"]["ridge"] / 0.09)


def test_a_loss_may_look_at_other_places_also_when_all_tasks_are_judged_at_once() -> None:
    def at_the_origin(predict, data):
        return (predict(0 * data.x) ** 2).mean()

    scratch = mk.yardsticks.FromScratch(mk.models.MLP(1, 1, hidden=(4,)).double(), steps=3)

    class OneByOne:
        def adapt(self, x, y):
            return scratch.adapt(x, y)

    table = mk.compare(
        {"together": scratch, "one by one": OneByOne()},
        mk.tasks.LinearLaw(),
        5,
        n_tasks=3,
        loss=at_the_origin,
    )
    assert table["mean"]["together"] == pytest.approx(table["mean"]["one by one"], rel=1e-12)


def test_tuning_and_testing_use_different_tasks_by_default() -> None:
    learner = mk.MAML(mk.models.MLP(1, 1, hidden=()).double())
    tuned = mk.tune(learner, mk.tasks.LinearLaw(), 3, inner_lr=(0.1,), n_tasks=20)
    tested = mk.evaluate(learner, mk.tasks.LinearLaw(), 3, n_tasks=20)
    assert not set(tuned.physics["slope"].tolist()) & set(tested.physics["slope"].tolist())


def test_a_float32_module_with_adapt_alone_is_a_learner() -> None:
    class Constant(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.level = torch.nn.Parameter(torch.tensor(0.5, dtype=torch.float32))

        def adapt(self, x, y):
            assert x.dtype == torch.float32
            return lambda x_new: self.level.expand(len(x_new), 1)

    curve = mk.evaluate(Constant(), mk.tasks.LinearLaw(), 3, n_tasks=5)
    assert curve.losses.shape == (5, 1)


@pytest.mark.parametrize("shots", [0, 3])
def test_predictions_come_point_by_point(shots: int) -> None:
    learner = mk.MAML(mk.models.MLP(1, 1, (5,)).double(), 0.05, 2)
    given = {"steps": 2, "n_tasks": 4, "queries": 5, "seed": 3}
    family = mk.tasks.Sinusoid()
    plain = mk.evaluate(learner, family, shots, **given)
    curve = mk.evaluate(learner, family, shots, predictions=True, **given)
    assert plain.predictions is None
    assert torch.equal(curve.losses, plain.losses)
    assert curve.predictions is not None
    assert curve.predictions.shape == (4, 3, 5, 1)
    by_hand = ((curve.predictions - curve.query.y[:, None]) ** 2).mean((2, 3))
    torch.testing.assert_close(by_hand, curve.losses)
    zero = mk.evaluate(mk.yardsticks.Zero(), family, shots, n_tasks=4, predictions=True)
    assert zero.predictions is not None
    assert not zero.predictions.any()


@pytest.mark.parametrize("make", [mlp, lambda: mk.yardsticks.Ridge(0.1)])
def test_in_chunks_the_figures_are_the_same(make: Any) -> None:
    learner, family = make(), mk.tasks.Sinusoid()
    whole, parts = (
        mk.evaluate(learner, family, 4, n_tasks=7, queries=5, chunk_size=size) for size in (None, 3)
    )
    torch.testing.assert_close(parts.losses, whole.losses)
    assert parts.losses.shape == whole.losses.shape
    with pytest.raises(mk.MamlkitError, match="chunk_size must be a whole number"):
        mk.evaluate(learner, family, 4, n_tasks=7, chunk_size=0)


def test_chunks_save_memory_after_training_too() -> None:
    """Validation and tuning in chunks hold no more than a meta-gradient in chunks."""
    learner, family = mk.MAML(mk.models.MLP(1, 1, (32, 32)).double(), 0.01, 3), mk.tasks.Sinusoid()
    batch = family.sample(60, 20, 50, generator=seeded(), dtype=F64)
    gradients = meta_gradients(learner, dict(learner.named_parameters()), chunk_size=5)
    training = peak_bytes(lambda: gradients(batch))
    settings: Any = {"n_tasks": 60, "queries": 50, "chunk_size": 5}
    tuned = peak_bytes(lambda: mk.tune(learner, family, 20, inner_lr=[0.01], **settings))
    drawn = sum(leaf.nbytes for leaf in (*batch.support, *batch.query))
    assert tuned < 1.2 * training + drawn
    whole = peak_bytes(lambda: mk.tune(learner, family, 20, inner_lr=[0.01], n_tasks=60))
    assert whole > 3 * tuned
