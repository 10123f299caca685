"""The cost table: operations against hand counts, memory against known sizes, all learners."""

from __future__ import annotations

import gc
import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.func import functional_call, grad, vmap

import mamlkit as mk
from mamlkit.evaluation.costs import (
    COLUMNS,
    cost_table,
    flops,
    peak_bytes,
)
from mamlkit.learners import adam, momentum

LAW = mk.tasks.Sinusoid()


def mlp(hidden=(5, 7), **settings: Any) -> mk.models.MLP:
    return mk.models.MLP(1, 1, hidden=hidden, x_range=(-5.0, 5.0), **settings)


# --- operations ----------------------------------------------------------------------------------
#
# An MLP 1-5-7-1 on n points: a layer of m inputs and k outputs takes 2 n m k forward, as much for
# the slope of its weights, and as much for the slope of its inputs (none at the first layer).

PRODUCTS = 1 * 5 + 5 * 7 + 7 * 1


def forward(n: int) -> int:
    return 2 * n * PRODUCTS


def gradient(n: int) -> int:
    return 2 * forward(n) + 2 * n * (PRODUCTS - 1 * 5)


def test_operations_of_an_mlp_also_below_vmap_and_grad() -> None:
    model, n_tasks, n = mlp(), 3, 4
    weights = {name: w.detach() for name, w in model.named_parameters()}
    x, y = LAW.sample(n_tasks, n, generator=torch.Generator().manual_seed(0)).support

    def loss(w: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        return mk.losses.mse(lambda x: functional_call(model, w, (x,)), mk.Data(x, y))

    assert flops(lambda: model(x[0])) == forward(n)
    assert flops(lambda: vmap(model)(x)) == n_tasks * forward(n)
    assert flops(lambda: grad(loss)(weights, x[0], y[0])) == gradient(n)
    assert flops(lambda: vmap(grad(loss), (None, 0, 0))(weights, x, y)) == n_tasks * gradient(n)
    with torch.inference_mode():
        assert flops(lambda: model(x[0])) == forward(n)


def test_operations_of_a_second_derivative() -> None:
    """y = (x W1) W2 on n points, sizes a, b, c; one step on W2 alone and back to W1.

    H = X W1 (n a b), G = dL/dW2 = H^T R with R from H W2 (2 n b c), W2' = W2 - G. Then the query
    at H' = X' W1, H' W2'. The slope of W1 takes, per product of the forward and inner pass, one
    product for each factor that depends on W1: worked out below, term by term.
    """
    n, a, b, c = 11, 2, 3, 5
    g = torch.Generator().manual_seed(0)
    x, y = torch.randn(n, a, generator=g), torch.randn(n, c, generator=g)
    w1, w2 = torch.randn(a, b, generator=g), torch.randn(b, c, generator=g)

    def objective(w1: Tensor) -> Tensor:
        h = x @ w1
        w2_after = w2 - h.T @ (h @ w2 - y)  # the inner gradient, written out
        return (h @ w2_after).sum()

    inner = 2 * n * b * c  # any product of sizes n, b, c
    there = 2 * n * a * b + 3 * inner
    # Back: H W2' has two factors that depend on W1; H^T R too; H W2 one; X W1 one.
    back = 2 * inner + 2 * inner + inner + 2 * n * a * b
    assert flops(lambda: grad(objective)(w1)) == there + back
    many = flops(lambda: vmap(grad(objective))(w1.expand(4, a, b)))
    assert many == 4 * (there + back)


@pytest.mark.parametrize("steps", [0, 1, 3])
def test_operations_of_first_order_maml(steps: int) -> None:
    """Each inner step a gradient on the support, one gradient on the query, and the last support
    loss, which is only looked at.
    """
    learner = mk.FOMAML(mlp(), 0.01, steps)
    table = cost_table({"FOMAML": learner}, LAW, 4, queries=6, meta_batch=3, repeats=1)
    row = table.loc["FOMAML"]
    assert row["meta_flops"] == 3 * (steps * gradient(4) + gradient(6) + forward(4))
    assert row["adapt_flops"] == steps * gradient(4) + forward(4)


def test_second_order_costs_more_and_grows_linearly_in_steps_and_tasks() -> None:
    learners = {str(k): mk.MAML(mlp(), 0.01, k) for k in (1, 2, 3)}
    first = mk.FOMAML(mlp(), 0.01, 3)
    small = cost_table({**learners, "first": first}, LAW, 4, meta_batch=2, repeats=1)["meta_flops"]
    large = cost_table({**learners, "first": first}, LAW, 4, meta_batch=6, repeats=1)["meta_flops"]
    assert (large == 3 * small).all()
    assert small["3"] - small["2"] == small["2"] - small["1"]
    assert small["3"] > 1.5 * small["first"]


def test_operations_of_convolutions_do_not_grow_with_the_square_of_tasks() -> None:
    """vmap makes one group of channels of each task; a count that forgets groups is too large."""
    model = mk.models.CNN(1, 1, hidden=(2, 3))
    g = torch.Generator().manual_seed(0)
    x = torch.randn(4, 5, 1, 8, 8, generator=g)
    stacked = {name: w.detach().expand(4, *w.shape) for name, w in model.named_parameters()}

    def loss(w: dict[str, Tensor], x: Tensor) -> Tensor:
        return functional_call(model, w, (x,)).square().mean()

    first, second = 64 * 1 * 2 * 9, 16 * 2 * 3 * 9  # places, channels in, out, 3x3
    once = 2 * 5 * (first + second + 3)
    assert flops(lambda: model(x[0])) == once
    one = {name: w[0] for name, w in stacked.items()}
    back = flops(lambda: grad(loss)(one, x[0]))
    assert back == 3 * once - 2 * 5 * first  # the input needs no slope
    assert flops(lambda: vmap(grad(loss))(stacked, x)) == 4 * back


def test_operations_of_linear_algebra() -> None:
    g = torch.Generator().manual_seed(0)
    n, k = 6, 4
    a, b = torch.randn(2, n, n, generator=g), torch.randn(2, n, k, generator=g)
    a = a @ a.mT + torch.eye(n)
    lower = torch.linalg.cholesky(a)
    cube = n**3
    assert flops(lambda: a[0] @ b[0, :, 0]) == 2 * n * n
    assert flops(lambda: b[0, :, 0] @ b[0, :, 0]) == 2 * n
    assert flops(lambda: torch.addmv(b[0, :, 0], a[0], b[0, :, 0])) == 2 * n * n
    assert flops(lambda: torch.linalg.solve(a, b)) == 2 * (2 * cube // 3 + 2 * n * n * k)
    assert flops(lambda: torch.linalg.solve(a[0], b[0, :, 0])) == 2 * cube // 3 + 2 * n * n
    assert flops(lambda: torch.linalg.cholesky(a)) == 2 * cube // 3
    assert flops(lambda: torch.cholesky_solve(b, lower)) == 2 * 2 * n * n * k
    triangular = flops(lambda: torch.linalg.solve_triangular(lower, b, upper=False))
    assert triangular == 2 * n * n * k
    assert flops(lambda: torch.linalg.inv(a)) == 2 * 2 * cube
    assert flops(lambda: torch.linalg.eigh(a)) == 2 * 9 * cube
    assert flops(lambda: torch.linalg.svd(b, full_matrices=False)) == 2 * (6 * n * 16 + 20 * 64)
    assert flops(lambda: torch.tanh(a) + a) == 0


# --- memory --------------------------------------------------------------------------------------


def test_peak_memory_of_known_sizes() -> None:
    def job() -> None:
        a = torch.zeros(1000)  # 4000 bytes
        b = a + 1  # 8000
        del a  # 4000
        b.mul_(2)  # in place
        c = b[:500].view(50, 10)  # no memory of its own
        d = torch.zeros(5000, dtype=torch.float64)  # 44 000
        del d, c
        torch.zeros(2000)  # 12 000, gone at once

    assert peak_bytes(job) == 44_000
    assert peak_bytes(job) == 44_000


def test_memory_that_was_there_before_does_not_count() -> None:
    before = torch.zeros(10_000)
    assert peak_bytes(lambda: before.add_(1)) == 0
    assert peak_bytes(lambda: before.detach()[::2]) == 0
    assert peak_bytes(lambda: before + 1) == 40_000


def test_what_autograd_keeps_counts() -> None:
    """exp keeps its result for the way back: ten in a chain keep ten, without a graph two live."""
    x = torch.zeros(100, requires_grad=True)

    def chain() -> Tensor:
        y = x
        for _ in range(10):
            y = y.exp()
        return y

    assert peak_bytes(chain) == 10 * 400
    with torch.no_grad():
        assert peak_bytes(chain) == 2 * 400
    many = peak_bytes(lambda: vmap(grad(lambda x: (x * x).exp().sum()))(torch.zeros(50, 100)))
    assert many >= 3 * 50 * 400  # the input, x * x and its exponential, of all fifty at once


def test_peak_memory_agrees_with_the_allocator() -> None:
    """Torch's profiler sees each allocation, by another way."""
    learner = mk.MAML(mlp(hidden=(40, 40)), 0.01, 3)
    batch = LAW.sample(5, 10, generator=torch.Generator().manual_seed(0))

    def job() -> None:
        losses, _ = learner(batch)
        torch.autograd.grad(losses.mean(), list(learner.parameters()))

    job()
    gc.collect()
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True, acc_events=True
    ) as profile:
        job()
    events = profile.profiler.kineto_results.events()
    steps = sorted((e.start_ns(), e.nbytes()) for e in events if e.name() == "[memory]")
    now = peak = 0
    for _, size in steps:
        now += size
        peak = max(peak, now)
    assert peak_bytes(job) == pytest.approx(peak, rel=0.01)


def test_memory_grows_with_inner_steps_where_the_path_is_kept() -> None:
    learners = {str(k): mk.MAML(mlp(), 0.01, k) for k in (1, 11)}
    table = cost_table(learners, LAW, 10, meta_batch=5, repeats=1)
    assert table["meta_bytes"]["11"] > 4 * table["meta_bytes"]["1"]


# --- the table -----------------------------------------------------------------------------------


def learners() -> dict[str, tuple[Any, float, int]]:
    """Each with the number of weights that it adapts and of meta-parameters, counted by hand."""
    p = 10 + 42 + 8  # of the network 1-5-7-1
    y = mk.yardsticks
    nan = math.nan
    return {
        "MAML": (mk.MAML(mlp(), 0.01, 2), p, p),
        "FOMAML": (mk.FOMAML(mlp(), 0.01, 2), p, p),
        "ANIL": (mk.ANIL(mlp(), 0.01, 2), 8, p),
        "Meta-SGD": (mk.MetaSGD(mlp(), 0.01, 2), p, 2 * p),
        "MAML++": (mk.MAMLPlusPlus(mlp(), 0.01, 2), p, p + 6 * 2),
        "CAVIA": (mk.CAVIA(mlp(context=2)), 2, p + 2 * 5),
        "CAVIA, modulated": (mk.CAVIA(mlp(context=2, feed="modulate")), 2, p + 2 * 2 * 12),
        "CoDA": (mk.CoDA(mlp(), context=3), 3, 4 * p),
        "matrix": (mk.MAML(mlp(hidden=(3,)), 0.01, 1, learn_lr="matrix"), 10, 110),
        "momentum": (mk.MAML(mlp(), 0.01, 2, rule=momentum()), p, p),
        "Adam": (mk.MAML(mlp(), 0.01, 2, rule=adam(), penalty=0.1, learn_penalty=True), p, p + 6),
        "float64": (mk.MAML(mlp().double(), 0.01, 2), p, p),
        "pooled": (y.Pooled(mlp(), 0.01, 2), p, p),
        "from scratch": (y.FromScratch(mlp(), steps=3), p, 0),
        "ridge": (y.Ridge(), nan, 0),
        "mean curve": (y.MeanCurve.fit(LAW, 20), nan, 0),
        "linear latent": (y.LinearLatent.fit(LAW, 20), nan, 0),
        "Gaussian process": (y.GaussianProcess.fit(LAW, 5, points=5), nan, 0),
        "zero": (y.Zero(), nan, 0),
    }


def test_one_table_of_all_kinds_of_learners() -> None:
    rows = learners()
    before = {
        n: {k: v.clone() for k, v in r[0].state_dict().items()}
        for n, r in rows.items()
        if isinstance(r[0], torch.nn.Module)
    }
    state = torch.get_rng_state()
    table = cost_table(
        {name: row[0] for name, row in rows.items()}, LAW, 4, meta_batch=3, repeats=1
    )
    assert list(table.columns) == COLUMNS
    assert list(table.index) == list(rows)
    for name, (learner, adapted, meta_parameters) in rows.items():
        row = table.loc[name].to_dict()
        assert row["adapted"] == pytest.approx(adapted, nan_ok=True), name
        assert row["meta_parameters"] == meta_parameters, name
        assert row["adapt_seconds"] > 0
        assert row["adapt_bytes"] >= 0
        trained = isinstance(learner, torch.nn.Module)
        for what in ("flops", "bytes", "seconds"):
            assert (row[f"meta_{what}"] > 0) == trained, name  # nan is not > 0
            assert math.isnan(row[f"meta_{what}"]) != trained, name
        if trained:  # nothing was trained, and no gradient left behind
            for key, value in learner.state_dict().items():
                assert torch.equal(value, before[name][key]), (name, key)
            assert all(p.grad is None for p in learner.parameters())
    assert torch.equal(torch.get_rng_state(), state)
    flop, size = table["meta_flops"], table["meta_bytes"]
    assert flop["float64"] == flop["MAML"] == flop["momentum"] == flop["MAML++"]
    assert 1.9 < size["float64"] / size["MAML"] < 2.1
    assert flop["pooled"] < flop["ANIL"] < flop["MAML"]
    assert table["adapt_flops"]["zero"] == table["adapt_flops"]["mean curve"] == 0
    # phi [4, 2]: phi^T phi and phi^T y, then a system of two, whose 16/3 counts as 5.
    assert table["adapt_flops"]["ridge"] == 2 * 4 * 4 + 2 * 4 * 2 + 5 + 2 * 4
    assert table.attrs["threads"] == torch.get_num_threads()
    assert table.attrs["meta_batch"] == 3
    assert table.attrs["queries"] == 4


def test_an_annealing_learner_is_measured_in_its_phase() -> None:
    learner = mk.MAMLPlusPlus(mlp(), 0.01, 2, anneal=5, second_order_from=5)
    last = cost_table({"MAML++": learner}, LAW, 4, meta_batch=2, repeats=1)
    learner.at_iteration(0)
    first = cost_table({"MAML++": learner}, LAW, 4, meta_batch=2, repeats=1)
    assert first["meta_flops"]["MAML++"] < last["meta_flops"]["MAML++"]


def test_a_learner_told_the_truth_and_other_data() -> None:
    fluids = mk.tasks.VapourPressure().split("train")
    table = cost_table(
        {"Lee-Kesler": mk.yardsticks.LeeKesler()}, fluids, 2, meta_batch=3, repeats=2
    )
    assert table["meta_parameters"]["Lee-Kesler"] == 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"learners": {}}, "a dict of learners"),
        ({"learners": [mk.yardsticks.Zero()]}, "a dict of learners"),
        ({"learners": {"a": mk.yardsticks.Zero}}, "'a' must be an object with adapt"),
        ({"learners": {"a": mlp()}}, "'a' must be an object with adapt"),
        ({"family": 3}, "family must be a Family"),
        ({"repeats": 0}, "repeats must be"),
        ({"meta_batch": 0}, "meta_batch must be"),
        ({"seed": -1}, "seed must be"),
    ],
)
def test_what_cannot_be_measured_is_said(arguments, says) -> None:
    given = {"learners": {"zero": mk.yardsticks.Zero()}, "family": LAW, **arguments}
    with pytest.raises(mk.MamlkitError, match=says):
        cost_table(**given)
