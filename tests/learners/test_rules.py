"""Inner rules: their values against torch's own optimisers, their meta-gradients by differences."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import mamlkit as mk
from mamlkit.learners import Rule, adam, chain, clip, momentum
from mamlkit.learners.rules import plain
from tests.helpers import (
    F64,
    meta_gradient,
    mlp,
    objective_differences,
    one_task,
    relative_error,
    sinusoids,
)

RULES = {
    "momentum": momentum(0.8),
    "adam": adam(eps=1e-2),
    "clip": clip(0.1),
    "clip, momentum": chain(clip(0.1), momentum(0.8)),
    "momentum, clip": chain(momentum(0.8), clip(0.1)),
    "adam, clip": chain(adam(0.7, 0.8, 1e-2), clip(0.5)),
}


def by_torch(
    model: nn.Module,
    data: mk.Data,
    steps: int,
    optimiser: Callable[..., torch.optim.Optimizer],
    largest: float | None = None,
) -> list[Tensor]:
    """The weights after ``steps`` of one of torch's optimisers on one task, each flat."""
    model, path = copy.deepcopy(model), []
    made = optimiser(model.parameters())
    for _ in range(steps):
        made.zero_grad()
        ((model(data.x) - data.y) ** 2).mean().backward()
        if largest is not None:
            nn.utils.clip_grad_norm_(model.parameters(), largest)
        made.step()
        path.append(torch.cat([p.detach().reshape(-1) for p in model.parameters()]))
    return path


def by_rule(model: nn.Module, data: mk.Data, steps: int, rule: Rule, lr: float) -> list[Tensor]:
    path, _ = mk.MAML(model, lr, rule=rule).inner_path(data, steps)
    return [torch.cat([w.detach().reshape(-1) for w in theta.values()]) for theta in path[1:]]


# Torch divides by (norm + 1e-6) when it clips, hence the wider tolerance there.
@pytest.mark.parametrize(
    ("rule", "optimiser", "largest", "tolerance"),
    [
        (momentum(0.9), lambda p: torch.optim.SGD(p, 0.05, momentum=0.9), None, 1e-12),
        (adam(), lambda p: torch.optim.Adam(p, 0.05), None, 1e-10),
        (adam(0.5, 0.7, 1e-6), lambda p: torch.optim.Adam(p, 0.05, (0.5, 0.7), 1e-6), None, 1e-7),
        (clip(0.3), lambda p: torch.optim.SGD(p, 0.05), 0.3, 1e-6),
        (
            chain(clip(0.3), momentum(0.9)),
            lambda p: torch.optim.SGD(p, 0.05, momentum=0.9),
            0.3,
            1e-6,
        ),
        (chain(clip(0.3), adam()), lambda p: torch.optim.Adam(p, 0.05), 0.3, 1e-6),
    ],
    ids=["momentum", "adam", "adam with other settings", "clip", "clip, momentum", "clip, adam"],
)
def test_five_steps_are_those_of_torch(rule, optimiser, largest, tolerance) -> None:
    model, (data, _) = mlp(), one_task(sinusoids(1))
    expected = by_torch(model, data, 5, optimiser, largest)
    found = by_rule(model, data, 5, rule, 0.05)
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)
    assert not torch.allclose(found[-1], by_rule(model, data, 5, plain, 0.05)[-1], rtol=1e-3)


def test_clip_by_hand() -> None:
    """|(3, 4)| = 5 over both tensors together; clipped to 1 it is (0.6, 0.8)."""
    gradient = {"a": torch.tensor([3.0], dtype=F64), "b": torch.tensor([[4.0]], dtype=F64)}
    direction, _ = clip(1.0).update(gradient, (), gradient)
    assert float(direction["a"]) == pytest.approx(0.6, rel=1e-15)
    assert float(direction["b"]) == pytest.approx(0.8, rel=1e-15)


def test_two_steps_of_momentum_by_hand() -> None:
    """theta^2 / 2 from 8 with alpha 1/2 and decay 1/4: v = 8, theta = 4; v = 4 + 2, theta = 1."""
    path, _ = mk.learners.inner_loop(
        lambda w: w["theta"] ** 2 / 2,
        {"theta": torch.tensor(8.0)},
        [{"theta": torch.tensor(0.5)}],
        2,
        rule=momentum(0.25),
    )
    assert [float(w["theta"]) for w in path] == [8.0, 4.0, 1.0]


@pytest.mark.parametrize("rule", [clip(1e6), chain(), chain(plain, plain), momentum(0.0)])
def test_rules_that_do_nothing_are_plain(rule: Rule) -> None:
    batch, model = sinusoids(), mlp()
    expected, found = mk.MAML(model, 0.1, 3), mk.MAML(model, 0.1, 3, rule=rule)
    assert torch.equal(found.episodes(batch).query, expected.episodes(batch).query)
    assert relative_error(meta_gradient(found, batch), meta_gradient(expected, batch)) < 1e-14


def test_the_order_of_a_chain_counts() -> None:
    """Clipping first bounds the gradient; clipping last bounds the step itself."""
    model, (data, _) = mlp(), one_task(sinusoids(1))
    first = by_rule(model, data, 2, chain(clip(0.1), momentum(0.9)), 1.0)
    last = by_rule(model, data, 2, chain(momentum(0.9), clip(0.1)), 1.0)
    torch.testing.assert_close(first[0], last[0])
    assert float((first[1] - first[0]).norm()) > 0.15  # nearly 0.1 + 0.9 * 0.1
    assert float((last[1] - last[0]).norm()) == pytest.approx(0.1, rel=1e-10)


# --- meta-gradients -------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", RULES)
def test_meta_gradient_through_a_rule(rule: str) -> None:
    batch, learner = sinusoids(), mk.MAML(mlp(hidden=(4,)), 0.1, 3, rule=RULES[rule])
    expected = objective_differences(learner, batch, learner.model.parameters())
    found = meta_gradient(learner, batch)
    assert relative_error(found, expected) <= 1e-6
    assert relative_error(found, meta_gradient(mk.MAML(learner.model, 0.1, 3), batch)) > 1e-2


@pytest.mark.parametrize("rule", RULES)
def test_first_order_through_a_rule_is_the_query_gradient_at_the_end(rule: str) -> None:
    """Without second derivatives every direction is a constant, so d theta_K / d theta_0 = 1."""
    batch, learner = sinusoids(1), mk.FOMAML(mlp(hidden=(4,)), 0.1, 3, rule=RULES[rule])
    support, query = one_task(batch)
    path, _ = learner.inner_path(support, 3)
    end = {name: w.detach().requires_grad_() for name, w in path[-1].items()}
    loss = mk.losses.mse(learner.predictor(end), query)
    expected = dict(zip(end, torch.autograd.grad(loss, list(end.values())), strict=True))
    assert relative_error(meta_gradient(learner, batch), expected) < 1e-12


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_every_task_has_a_state_of_its_own(rule: str, dtype: torch.dtype) -> None:
    batch = sinusoids(3, dtype=dtype)
    learner = mk.MAML(mlp(hidden=(4,)).to(dtype), 0.1, 3, rule=RULES[rule])
    together = learner.episodes(batch, 4)
    for i in range(3):
        support, query = one_task(batch, i)
        for _ in range(2):  # and every call anew
            predict = learner.adapt(support, steps=4)
            torch.testing.assert_close(predict.losses, together.support[i])
            torch.testing.assert_close(mk.losses.mse(predict, query), together.query[i, -1])


def without_gradient(dtype: torch.dtype) -> tuple[nn.Module, mk.TaskBatch]:
    """Tasks whose support the start predicts exactly, so that the inner gradient is zero."""
    model, batch = mlp(hidden=(4,)).to(dtype), sinusoids(2, dtype=dtype)
    y = torch.vmap(model)(batch.support.x).detach()
    return model, batch._replace(support=mk.Data(batch.support.x, y))


@pytest.mark.parametrize("dtype", [torch.float32, F64])
@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize(
    "rule", [adam(), clip(1.0), clip(1e-3), chain(clip(1.0), adam()), chain(adam(), clip(1.0))]
)
def test_a_gradient_of_zero_has_finite_derivatives(rule: Rule, steps: int, dtype) -> None:
    model, batch = without_gradient(dtype)
    learner = mk.MAML(model, 0.1, steps, rule=rule)
    assert torch.isfinite(learner.episodes(batch).query).all()
    assert all(torch.isfinite(g).all() for g in meta_gradient(learner, batch).values())


def test_a_gradient_of_zero_is_not_clipped() -> None:
    model, batch = without_gradient(F64)
    expected = meta_gradient(mk.MAML(model, 0.1, 2), batch)
    found = meta_gradient(mk.MAML(model, 0.1, 2, rule=clip(1.0)), batch)
    assert relative_error(found, expected) < 1e-14


def test_units_that_are_dead_do_not_spoil_adam() -> None:
    """A relu unit that is off has a gradient of exactly zero beside others that have not."""
    model = mk.models.MLP(1, 1, hidden=(6,), activation="relu", x_range=(-5.0, 5.0)).double()
    bias = model.get_parameter("layers.0.bias")
    with torch.no_grad():
        bias[:3] = -10.0
    batch = sinusoids()
    learner = mk.MAML(model, 0.01, 2, rule=adam())
    found = meta_gradient(learner, batch)
    assert all(torch.isfinite(g).all() for g in found.values())
    path, _ = learner.inner_path(one_task(batch)[0], 2)
    assert torch.equal(path[-1]["layers.0.bias"][:3], bias[:3])


# --- settings -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: momentum(1.0), "decay must lie in"),
        (lambda: momentum(-0.1), "decay must be"),
        (lambda: momentum("much"), "decay must be"),
        (lambda: adam(beta1=1.0), "beta1 must lie in"),
        (lambda: adam(beta2=1.5), "beta2 must lie in"),
        (lambda: adam(eps=0.0), "eps must be"),
        (lambda: clip(0.0), "norm must be"),
        (lambda: clip(float("inf")), "norm must be"),
        (lambda: chain(clip(1.0), "adam"), "rule must be a Rule"),
        (lambda: mk.MAML(mlp(), rule="adam"), "rule must be a Rule"),
        (lambda: mk.MAML(mlp(), rule=momentum), "rule must be a Rule"),
    ],
)
def test_what_is_no_rule_is_refused(make, says) -> None:
    with pytest.raises(mk.MamlkitError, match=says):
        make()


def test_a_rule_tells_its_settings() -> None:
    learner = mk.MAML(mlp(), rule=chain(clip(0.5), adam(beta1=0.8), momentum(0.3)))
    assert "rule=chain(clip(0.5), adam(0.8, 0.999, 1e-08), momentum(0.3))" in repr(learner)
    assert "rule" not in repr(mk.MAML(mlp()))
