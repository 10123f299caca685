"""Variants that are arguments of MAML: rates for each step, MAML++, the penalty, contexts."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import mamlkit as mk
from mamlkit.checks import fresh_generator
from mamlkit.learners import momentum
from mamlkit.training.gradients import meta_gradients
from tests.helpers import (
    F64,
    Slope,
    assert_same_state,
    meta_gradient,
    mlp,
    objective_differences,
    one_task,
    relative_error,
    seeded,
    sinusoids,
    stored_gradient,
)

LAW = mk.tasks.Sinusoid()


def set_to(tensors: Any, seed: int = 0) -> None:
    """Move meta-parameters from where they start, each entry by another amount."""
    generator = seeded(seed)
    with torch.no_grad():
        for t in tensors:
            t.mul_(1 + 0.5 * torch.rand(t.shape, generator=generator, dtype=F64))


def agree_with_differences(learner: mk.MAML, batch: mk.TaskBatch, tensors: list[Tensor]) -> None:
    expected = objective_differences(learner, batch, tensors)
    given = torch.autograd.grad(learner.query_losses(batch).mean(), tensors)
    assert float(expected.norm()) > 1e-3
    assert relative_error(torch.cat([g.reshape(-1) for g in given]), expected) <= 1e-6


# --- a rate for each tensor and inner step ------------------------------------------------------
#
# y = theta x with s = mean x^2, c = mean x y has the support gradient 2 (s theta - c), so that with
# w = c/s each step multiplies theta - w by f_k = 1 - 2 alpha_k s, and
# d theta_2 / d alpha_0 = -2 s f_1 (theta - w), d theta_2 / d alpha_1 = -2 s f_0 (theta - w).


def scalar_task() -> tuple[mk.TaskBatch, float, float, float, float]:
    """One task of the linear law, with its moments s, c of the support and of the query."""
    batch = mk.tasks.LinearLaw().sample(1, 4, 3, generator=seeded(), dtype=F64)
    moments = []
    for x, y in (batch.support, batch.query):
        moments += [float((x * x).mean()), float((x * y).mean())]
    return batch, moments[0], moments[1], moments[2], moments[3]


@pytest.mark.parametrize("positive", [False, True])
def test_rates_of_two_steps_by_hand(positive: bool) -> None:
    batch, s, c, s_q, c_q = scalar_task()
    start, rates, w = 1.7, (0.3, 0.1), c / s
    learner = mk.MAML(Slope(start), 0.2, 2, learn_lr="step", positive_lr=positive)
    (rate,) = learner.rates
    assert rate.shape == (2,)
    with torch.no_grad():
        rate.copy_(torch.tensor(rates, dtype=F64))
        if positive:
            rate.log_()

    factors = [1 - 2 * a * s for a in rates]
    after = [start, *(w + f * (start - w) for f in (factors[0], factors[0] * factors[1]))]
    after += [w + factors[1] * (after[2] - w)]  # beyond the trained steps: the last rate again
    after += [w + factors[1] * (after[3] - w)]
    x, y = (t[0] for t in batch.support)
    for steps, theta in enumerate(after):
        predict = learner.adapt(x, y, steps=steps)
        assert float(predict.weights["theta"]) == pytest.approx(theta, rel=1e-12)

    outer = 2 * (s_q * after[2] - c_q)
    by_alpha = [-2 * s * factors[1] * (start - w), -2 * s * factors[0] * (start - w)]
    chain = rates if positive else (1.0, 1.0)  # d alpha / d log alpha = alpha
    (gradient,) = torch.autograd.grad(learner.query_losses(batch).mean(), [rate])
    expected = [outer * d * r for d, r in zip(by_alpha, chain, strict=True)]
    assert gradient.tolist() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("positive", [False, True])
def test_gradient_of_rates_for_each_step(positive: bool) -> None:
    learner = mk.MAML(mlp(hidden=(3,)), 0.1, 3, learn_lr="step", positive_lr=positive)
    assert [r.shape for r in learner.rates] == [(3,)] * 4
    plain = mk.MAML(learner.model, 0.1, 3)
    batch = sinusoids()
    torch.testing.assert_close(learner.query_losses(batch), plain.query_losses(batch))
    set_to(learner.rates)
    agree_with_differences(learner, batch, [*learner.rates, *learner.model.parameters()])


def test_rates_for_each_step_need_a_step() -> None:
    with pytest.raises(mk.MamlkitError, match="inner_steps >= 1"):
        mk.MAML(mlp(), 0.1, 0, learn_lr="step")


# --- MAML++ --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("step_weights", "done", "expected"),
    [
        (None, 0, [0.0, 0.5, 0.5]),  # all equal
        (None, 1, [0.0, 0.375, 0.625]),  # three quarters of the way left: .75 * .5, .75 * .5 + .25
        (None, 3, [0.0, 0.125, 0.875]),
        (None, 4, [0.0, 0.0, 1.0]),
        (None, 90, [0.0, 0.0, 1.0]),
        ([0.2, 0.0, 0.8], 2, [0.1, 0.25, 0.65]),
        ([0.2, 0.0, 0.8], 4, [0.2, 0.0, 0.8]),
    ],
)
def test_annealed_weights(step_weights, done, expected) -> None:
    batch = sinusoids()
    learner = mk.MAML(mlp(), 0.1, 2, anneal=4, step_weights=step_weights)
    after_each = learner.episodes(batch).query
    learner.at_iteration(done)
    assert learner.phase == (False, done < 4)
    losses, support = learner(batch)
    torch.testing.assert_close(losses, after_each @ torch.tensor(expected, dtype=F64))
    torch.testing.assert_close(support, learner.episodes(batch).support)
    final = torch.tensor(step_weights or [0.0, 0.0, 1.0], dtype=F64)
    torch.testing.assert_close(learner.query_losses(batch), after_each @ final)


def training_gradient(learner: mk.MAML, batch: mk.TaskBatch) -> dict[str, Tensor]:
    names, tensors = zip(*learner.named_parameters(), strict=True)
    gradients = torch.autograd.grad(learner(batch)[0].mean(), tensors)
    return dict(zip(names, gradients, strict=True))


def test_first_order_at_first() -> None:
    batch, model = sinusoids(), mlp()
    learner = mk.MAML(model, 0.1, 2, second_order_from=3, learn_lr="step")
    first = training_gradient(mk.FOMAML(model, 0.1, 2, learn_lr="step"), batch)
    second = training_gradient(mk.MAML(model, 0.1, 2, learn_lr="step"), batch)
    assert relative_error(first, second) > 1e-3
    for done, expected in [(0, first), (2, first), (3, second), (50, second), (1, first)]:
        learner.at_iteration(done)
        assert learner.phase == (done < 3, False)
        assert relative_error(training_gradient(learner, batch), expected) < 1e-14


def test_mamlplusplus_is_arguments() -> None:
    learner = mk.MAMLPlusPlus(mlp(), 0.1, 3, anneal=7, second_order_from=5)
    assert (learner.learn_lr, learner.anneal, learner.second_order_from) == ("step", 7, 5)
    assert "anneal=7, second_order_from=5" in repr(learner)
    assert mk.MAMLPlusPlus(mlp(), learn_lr="tensor").learn_lr == "tensor"
    batch = sinusoids()
    before = learner.query_losses(batch)
    learner.at_iteration(0)  # values do not depend on the phase, only training does
    torch.testing.assert_close(learner.query_losses(batch), before)


SMALL: dict[str, Any] = {"shots": 4, "meta_batch": 3, "progress": False}


@pytest.mark.parametrize(
    ("iterations", "phase"), [(2, (True, True)), (4, (True, False)), (6, (False, False))]
)
def test_meta_train_tells_the_learner_how_far_it_is(iterations: int, phase) -> None:
    learner = mk.MAMLPlusPlus(mlp(), 0.05, 2, anneal=3, second_order_from=5)
    history = mk.meta_train(learner, LAW, iterations=iterations, **SMALL)
    assert learner.phase == phase

    fresh = mk.MAMLPlusPlus(mlp(), 0.05, 2, anneal=3, second_order_from=5)
    fresh.at_iteration(0)
    batch = LAW.sample(3, 4, generator=fresh_generator(0), dtype=F64)
    first = float(fresh(batch)[0].detach().mean())
    assert history.outer_loss[0] == pytest.approx(first, rel=1e-12)
    assert first != pytest.approx(float(fresh.query_losses(batch).detach().mean()), rel=1e-3)


def test_validation_uses_the_final_weights() -> None:
    learner = mk.MAMLPlusPlus(mlp(), 0.05, 2, anneal=50, second_order_from=50)
    history = mk.meta_train(
        learner, LAW, iterations=1, validation=LAW, validation_tasks=6, validate_every=1, **SMALL
    )
    held_out = LAW.sample(6, 4, generator=torch.Generator().manual_seed(10**6), dtype=F64)
    last = learner.episodes(held_out).query[:, -1].mean()
    assert history.validation_loss == [pytest.approx(float(last), rel=1e-12)]
    mixed = float(learner(held_out)[0].detach().mean())
    assert mixed != pytest.approx(float(last), rel=1e-3)


def test_a_run_cut_in_the_middle_of_annealing_resumes_bit_for_bit(tmp_path) -> None:
    def new() -> mk.MAML:
        return mk.MAMLPlusPlus(mlp(), 0.05, 2, anneal=6, second_order_from=4)

    whole, cut, resumed = new(), new(), new()
    settings = {**SMALL, "outer_lr": 0.01}
    expected = mk.meta_train(whole, LAW, iterations=8, **settings)
    path = tmp_path / "run.pt"
    mk.meta_train(cut, LAW, iterations=3, checkpoint=path, **settings)
    history = mk.meta_train(resumed, LAW, iterations=8, checkpoint=path, **settings)
    assert history.outer_loss == expected.outer_loss
    assert history.support_loss == expected.support_loss
    assert_same_state(resumed, whole)
    assert resumed.phase == whole.phase == (False, False)


# --- a penalty on leaving the start --------------------------------------------------------------


def penalised_descent(
    learner: mk.MAML, data: mk.Data, strengths: list[float], steps: int
) -> tuple[list[Tensor], list[float]]:
    """Plain gradient descent on L_S(theta) + sum_n strength_n / 2 |theta_n - start_n|^2."""
    start = {n: w.detach().clone() for n, w in learner.model.named_parameters()}
    theta = {n: w.clone().requires_grad_() for n, w in start.items()}
    losses = []
    for _ in range(steps):
        loss = ((torch.func.functional_call(learner.model, theta, (data.x,)) - data.y) ** 2).mean()
        losses.append(float(loss.detach()))
        away = [((theta[n] - start[n]) ** 2).sum() for n in theta]
        total = loss + sum(s / 2 * d for s, d in zip(strengths, away, strict=True))
        slopes = torch.autograd.grad(total, list(theta.values()))
        theta = {
            n: (theta[n] - learner.inner_lr * g).detach().requires_grad_()
            for n, g in zip(theta, slopes, strict=True)
        }
    return list(theta.values()), losses


@pytest.mark.parametrize("learned", [False, True])
def test_the_loop_descends_the_penalised_loss(learned: bool) -> None:
    learner = mk.MAML(mlp(hidden=(3,)), 0.1, 4, penalty=2.0, learn_penalty=learned)
    strengths = [2.0] * 4
    if learned:
        strengths = [0.5, 1.0, 2.0, 4.0]
        with torch.no_grad():
            for p, strength in zip(learner.penalties, strengths, strict=True):
                p.copy_(torch.tensor(strength, dtype=F64).log())
    data = one_task(sinusoids(1))[0]
    expected, losses = penalised_descent(learner, data, strengths, 4)
    predict = learner.adapt(data)
    found = [predict.weights[name] for name in learner.adapted]
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(predict.losses[:4], torch.tensor(losses, dtype=F64))  # L_S alone
    free = mk.MAML(learner.model, 0.1, 4).adapt(data).weights
    assert not torch.allclose(free["layers.0.weight"], expected[0].detach(), rtol=1e-3)


@pytest.mark.parametrize("learned", [False, True])
def test_meta_gradient_through_the_penalty(learned: bool) -> None:
    """The penalty pulls to the start, which is itself learned: both ways count."""
    learner = mk.MAML(mlp(hidden=(3,)), 0.1, 3, penalty=2.0, learn_penalty=learned)
    assert len(learner.penalties) == (4 if learned else 0)
    batch = sinusoids()
    agree_with_differences(learner, batch, list(learner.model.parameters()))
    if learned:
        agree_with_differences(learner, batch, list(learner.penalties))


def test_a_learned_penalty_starts_as_the_fixed_one() -> None:
    batch, model = sinusoids(), mlp()
    fixed = mk.MAML(model, 0.1, 3, penalty=0.7)
    learned = mk.MAML(model, 0.1, 3, penalty=0.7, learn_penalty=True)
    torch.testing.assert_close(learned.query_losses(batch), fixed.query_losses(batch))


def test_one_step_ignores_the_penalty() -> None:
    batch, model = sinusoids(), mlp()
    plain = mk.MAML(model, 0.1, 1)
    learner = mk.MAML(model, 0.1, 1, penalty=3.0, learn_penalty=True)
    assert torch.equal(learner.query_losses(batch), plain.query_losses(batch))
    assert relative_error(meta_gradient(learner, batch), meta_gradient(plain, batch)) < 1e-14
    slopes = torch.autograd.grad(learner.query_losses(batch).mean(), list(learner.penalties))
    assert [float(g) for g in slopes] == [0.0] * 6


def test_the_pull_comes_before_the_rule() -> None:
    """Momentum gathers the gradient of the penalised loss. theta^2 / 2 from 8, alpha = 1/2, penalty
    1, decay 1/4: v = 8, theta = 4; v = 2 + 4 + (4 - 8) = 2, theta = 3.
    """

    def half_square(predict: Any, data: Any) -> Tensor:
        return predict(data.x).square().mean() / 2

    learner = mk.MAML(Slope(8.0), 0.5, 2, rule=momentum(0.25), penalty=1.0, loss=half_square)
    one = torch.ones(1, 1, dtype=F64)
    assert float(learner.adapt(one, one).weights["theta"]) == 3.0


@pytest.mark.parametrize("chosen", [0, 1, 9])
def test_other_numbers_of_steps_keep_the_learned_rates(chosen: int) -> None:
    """As :func:`mamlkit.tune` sets ``inner_steps`` after training."""
    learner = mk.MAML(mlp(), 0.1, 3, learn_lr="step", anneal=4)
    set_to(learner.rates)
    batch = sinusoids()
    before = learner.episodes(batch, 5).query
    learner.at_iteration(1)
    objective = learner(batch)[0]
    learner.inner_steps = chosen
    assert torch.equal(learner.episodes(batch, 5).query, before)
    assert learner.episodes(batch).query.shape[1] == chosen + 1
    learner.at_iteration(1)
    assert torch.equal(learner(batch)[0], objective)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"penalty": -1.0}, "penalty must be"),
        ({"penalty": float("nan")}, "penalty must be"),
        ({"learn_penalty": True}, "needs a start above 0"),
        ({"anneal": -1}, "anneal must be"),
        ({"anneal": 2.5}, "anneal must be"),
        ({"anneal": 5, "inner_steps": 0}, "use inner_steps >= 1"),
        ({"second_order_from": -1}, "second_order_from must be"),
    ],
)
def test_settings_that_cannot_work(settings, says) -> None:
    with pytest.raises(mk.MamlkitError, match=says):
        mk.MAML(mlp(), 0.1, **{"inner_steps": 2, **settings})


# --- contexts ------------------------------------------------------------------------------------


def context_model(kind: str) -> nn.Module:
    if kind == "low rank":
        return mk.models.LowRank(mlp(hidden=(3,)), context=2, seed=1)
    feed: Any = kind
    return mlp(hidden=(4, 3), context=2, feed=feed, seed=1)


KINDS = ["concatenate", "modulate", "affine", "low rank"]


def test_contexts_are_found_wherever_they_lie() -> None:
    model = nn.Sequential(context_model("affine"), nn.Linear(1, 1), context_model("modulate"))
    learner = mk.MAML(model.double(), adapt="context")
    assert learner.adapted == ("0.context", "2.context")
    with pytest.raises(mk.MamlkitError, match="adapt='head'"):
        mk.ANIL(model)


@pytest.mark.parametrize("kind", KINDS)
def test_the_inner_loop_moves_only_the_context(kind: str) -> None:
    learner, batch = mk.CAVIA(context_model(kind), 0.1, 3), sinusoids(1)
    assert learner.adapted == ("context",)
    predict = learner.adapt(batch.support.x[0], batch.support.y[0])
    assert (predict.losses.diff() < 0).all()
    for name, weight in learner.model.named_parameters():
        same = torch.equal(predict.weights[name], weight)
        assert same == (name != "context")
    assert float(predict.weights["context"].abs().min()) > 0


def test_one_step_of_a_context_by_hand() -> None:
    """y = w x + u c + b from c = 0: dL/dc = 2 u mean(w x + b - y), so c = -2 alpha u mean(r)."""
    model = mk.models.MLP(1, 1, hidden=(), context=1).double()
    learner, (x, y) = mk.CAVIA(model, 0.3), one_task(sinusoids(1))[0]
    ((w, u),), b = (p.detach() for p in model.layers[0].parameters())
    predict = learner.adapt(x, y)
    c = -2 * 0.3 * u * (w * x + b - y).mean()
    torch.testing.assert_close(predict.weights["context"], c[None])
    torch.testing.assert_close(predict(x), w * x + u * c + b)


@pytest.mark.parametrize("kind", KINDS)
def test_meta_gradient_through_a_context(kind: str) -> None:
    learner = mk.CAVIA(context_model(kind), 0.2, 2)
    shared = [p for name, p in learner.model.named_parameters() if name != "context"]
    agree_with_differences(learner, sinusoids(), shared)


@pytest.mark.parametrize("kind", KINDS)
def test_training_leaves_the_context_at_zero_and_moves_all_else(kind: str) -> None:
    learner = mk.CAVIA(context_model(kind), 0.1, 1, learn_lr="element")
    before = {name: p.detach().clone() for name, p in learner.named_parameters()}
    mk.meta_train(learner, LAW, iterations=3, outer_lr=0.01, **SMALL)
    for name, p in learner.named_parameters():
        if name == "model.context":
            assert torch.equal(p, torch.zeros_like(p))
        else:
            assert bool((p != before[name]).any()), name
    assert not learner.model.get_parameter("context").requires_grad


def test_coda_is_cavia_of_a_low_rank_model() -> None:
    batch, model = sinusoids(), mlp()
    coda = mk.CoDA(model, 0.1, 2, context=3, seed=5)
    cavia = mk.CAVIA(mk.models.LowRank(model, 3, seed=5), 0.1, 2)
    assert torch.equal(coda.query_losses(batch), cavia.query_losses(batch))
    assert coda.model.context.shape == (3,)


@pytest.mark.parametrize("make", [mk.CAVIA, lambda m: mk.MAML(m, adapt="context")])
def test_a_model_without_context_is_refused(make) -> None:
    with pytest.raises(mk.MamlkitError, match=r"needs a parameter called context"):
        make(mlp())


# --- all at once, captured and compiled -----------------------------------------------------------


class Sum(nn.Module):
    """Several kinds of contexts in one model."""

    def __init__(self) -> None:
        super().__init__()
        self.parts = nn.ModuleList(context_model(kind) for kind in KINDS)

    def forward(self, x: Tensor) -> Tensor:
        return sum(part(x) for part in self.parts)


def agrees_with_eager(learner: mk.MAML, compile: Any, at: list[int]) -> None:
    """At several iterations: the weights of the steps change under the recorded function."""
    batch = sinusoids(3)
    parameters = {name: p for name, p in learner.named_parameters() if p.requires_grad}
    eager = meta_gradients(learner, parameters)
    quick = meta_gradients(learner, parameters, compile=compile)
    losses = []
    for done in at:
        learner.at_iteration(done)
        expected = eager(batch)
        gradient = stored_gradient(parameters.values())
        torch.testing.assert_close(quick(batch), expected, rtol=1e-10, atol=1e-13)
        found = stored_gradient(parameters.values())
        torch.testing.assert_close(found, gradient, rtol=1e-9, atol=1e-12)
        losses.append(expected[0])
    assert len(set(losses)) == len(at)


def test_captured_gradients_equal_eager_ones() -> None:
    """With contexts, rates for each step, momentum, a learned penalty and annealed weights."""
    learner = mk.MAML(
        Sum(),
        0.1,
        2,
        adapt="*.context",
        learn_lr="step",
        rule=momentum(0.5),
        penalty=0.3,
        learn_penalty=True,
        anneal=10,
    )
    assert learner.adapted == tuple(f"parts.{i}.context" for i in range(len(KINDS)))
    agrees_with_eager(learner, "capture", [0, 7])


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's compiler uses torch.jit
def test_compiled_gradients_equal_eager_ones() -> None:
    learner = mk.CAVIA(context_model("modulate"), 0.1, 1, learn_lr="step")
    agrees_with_eager(learner, True, [0])
