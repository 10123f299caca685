"""Simulators as models, several starts, and the classical fit."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from scipy.optimize import curve_fit
from torch import Tensor

import mamlkit as mk
from mamlkit.course.recipes import oscillator
from mamlkit.learners import adam
from mamlkit.tasks.oscillator import law
from tests.helpers import F64, seeded


def simulator() -> mk.Simulator:
    return oscillator.simulator().double()


def test_values_are_the_start_and_stay_inside_the_bounds() -> None:
    model = simulator()
    values = model.values()
    assert values["frequency"].item() == pytest.approx(5.5, abs=1e-6)
    far = {name: torch.linspace(-50, 50, 999, dtype=F64) for name in model.bounds}
    for name, value in model.values(far).items():
        low, high = model.bounds[name]
        assert value.min() >= low - 1e-12
        assert value.max() <= high + 1e-12
        assert value.max() - value.min() > 0.99 * (high - low)


def test_it_is_the_law_of_the_family() -> None:
    family = mk.tasks.DampedOscillator()
    batch = family.sample(3, 4, 5, generator=seeded(), dtype=F64)
    for i in range(3):
        model = simulator().at({k: float(v[i]) for k, v in batch.physics.items()})
        found = model(batch.query.x[i])
        torch.testing.assert_close(found, batch.query.y[i], atol=1e-5, rtol=0)  # starts in float32


def test_the_gradient_is_the_chain_rule() -> None:
    model = simulator()
    t = torch.linspace(0, 3, 7, dtype=F64)[:, None]
    (slope,) = torch.autograd.grad(model(t).sum(), model.get_parameter("amplitude"))
    p = model.values()
    shape = torch.exp(-p["damping"] * t) * torch.cos(p["frequency"] * t + p["phase"])
    expected = shape.sum() * 1.5 * torch.cos(model.get_parameter("amplitude"))
    torch.testing.assert_close(slope, expected)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: mk.Simulator(law, {}), "bounds must be a dict"),
        (lambda: mk.Simulator(3, {"g": (0, 1)}), "law must be a function"),
        (lambda: mk.Simulator(law, {"g": (1, 0)}), "bounds of 'g'"),
        (lambda: mk.Simulator(law, {"g": (0, 1)}, {"h": 1}), "start names"),
        (lambda: mk.Simulator(law, {"g": (0, 1)}, {"g": 1}), "strictly between"),
        (lambda: mk.Simulator(law, {"half": (0, 1)}), "cannot be called 'half'"),
        (lambda: mk.yardsticks.CurveFit(mk.models.MLP(1, 1)), "fits a mk.Simulator"),
        (lambda: mk.yardsticks.CurveFit(simulator(), []), "no start"),
        (
            lambda: mk.yardsticks.CurveFit(simulator()).adapt(torch.ones(3, 1), torch.ones(3, 1)),
            "at least as many measurements",
        ),
        (
            lambda: mk.Multistart(lambda i: mk.RidgeHead(mk.models.MLP(1, 2, seed=i)), 2),
            "those of mk.MAML",
        ),
    ],
)
def test_plain_words(make: Any, words: str) -> None:
    with pytest.raises(mk.MamlkitError, match=words):
        make()


CUT: dict[str, Any] = {
    "float": lambda t, p: math.exp(float(p["a"])) * t * p["b"],
    "item": lambda t, p: p["a"].item() * t * p["b"],
    "detach": lambda t, p: p["a"].detach() * t * p["b"],
    "numpy": lambda t, p: torch.as_tensor(np.exp(p["a"].detach().numpy())) * t * p["b"],
    "unused": lambda t, p: t * p["b"],
}


@pytest.mark.filterwarnings("ignore:Converting a tensor with requires_grad")
@pytest.mark.parametrize("how", CUT)
def test_a_law_without_gradient_by_a_parameter_is_refused(how: str) -> None:
    model = mk.Simulator(CUT[how], {"a": (0.0, 1.0), "b": (0.0, 1.0)}).double()
    t, learner = torch.linspace(0, 1, 5, dtype=F64)[:, None], mk.MAML(model, 0.1)
    for use in (model, lambda t: learner.adapt(t, t), torch.no_grad()(model)):
        with pytest.raises(mk.MamlkitError, match=r"no gradient by a, .*torch\.exp\(p\['k'\]\)"):
            use(t)
    with pytest.raises(mk.MamlkitError, match="no gradient by a, "):
        learner.query_losses(mk.tasks.Sinusoid().sample(2, 3, dtype=F64))


def fixed(y: Any, t: Tensor, p: Any) -> Any:
    return y


def test_a_slope_of_zero_is_no_missing_slope() -> None:
    flat = mk.Simulator(lambda t, p: torch.relu(p["a"] - 2) * t, {"a": (0.0, 1.0)})
    assert torch.equal(flat(torch.ones(2, 1)), torch.zeros(2, 1))
    wrong: tuple[Any, ...] = (3.0, torch.ones(2, dtype=torch.int64))
    for y in wrong:
        with pytest.raises(mk.MamlkitError, match="must give a tensor of real numbers"):
            mk.Simulator(partial(fixed, y), {"a": (0.0, 1.0)})(torch.ones(2, 1))


def pendulum(t: Tensor, p: dict[str, Tensor]) -> Tensor:
    def slope(_: Tensor, state: Tensor) -> Tensor:
        angle, speed = state[:, :1], state[:, 1:]
        return torch.cat([speed, -9.81 / p["length"] * angle.sin() - p["friction"] * speed], 1)

    first = torch.stack([p["angle"], torch.zeros_like(p["angle"])]).expand(len(t), 2)
    fractions = torch.linspace(0, 1, 61, dtype=t.dtype)[:, None, None]
    return mk.ode.rk4(slope, first, fractions * t)[-1, :, :1]


def test_a_simulator_with_an_integrator_inside() -> None:
    bounds = {"length": (0.1, 5.0), "friction": (-0.1, 1.0), "angle": (0.0, 3.0)}
    model = mk.Simulator(pendulum, bounds).double().at({"length": 0.8, "angle": 1.2})
    t = torch.linspace(0.1, 3, 12, dtype=F64)[:, None]
    c = float(model.values()["friction"].detach())
    exact = solve_ivp(
        lambda _, s: [s[1], -9.81 / 0.8 * np.sin(s[0]) - c * s[1]],
        (0, 3),
        [1.2, 0.0],
        t_eval=t[:, 0].numpy(),
        rtol=1e-10,
        atol=1e-12,
    )
    np.testing.assert_allclose(model(t).detach()[:, 0].numpy(), exact.y[0], atol=1e-4)
    family_like = mk.TaskBatch(
        mk.Data(t[None], model(t).detach()[None]), mk.Data(t[None], model(t).detach()[None]), {}
    )
    start = mk.Simulator(pendulum, bounds).double().at({"length": 1.0, "angle": 1.0})
    learner = mk.MetaSGD(start, 0.02, 3)  # differentiable twice, under vmap
    loss = learner.query_losses(family_like).mean()
    loss.backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in learner.parameters())


def few_starts(k: int = 4, **settings: Any) -> mk.Multistart:
    learner = oscillator.descent(oscillator.spread(k), 0.05, 0.05, rule=adam(0.6), **settings)
    return learner.double()


def test_the_best_of_the_starts_one_by_one() -> None:
    batch = oscillator.tasks("short").sample(5, 20, 30, generator=seeded(3), dtype=F64)
    learner = few_starts()
    for i in range(5):
        x, y = batch.support.x[i], batch.support.y[i]
        alone = []
        for start in oscillator.spread(4):
            single = mk.MAML(oscillator.simulator().at(start), 0.05, 20, rule=adam(0.6)).double()
            alone.append(single.adapt(x, y))
        best = min(alone, key=lambda predict: float(predict.losses[-1]))
        found = learner.adapt(x, y)
        torch.testing.assert_close(found.losses[-1], best.losses[-1], rtol=1e-4, atol=1e-7)
        torch.testing.assert_close(found(x), best(x), rtol=1e-3, atol=1e-4)
        assert found.weights["frequency"].shape == ()


@pytest.mark.parametrize("temperature", [0.0, 0.2])
def test_the_objective_is_formula_2(temperature: float) -> None:
    batch = oscillator.tasks("short").sample(3, 20, 30, generator=seeded(4), dtype=F64)
    learner = few_starts()
    learner.temperature = temperature
    found = learner.query_losses(batch)
    for i in range(3):
        path, losses = learner.every_path(mk.Data(batch.support.x[i], batch.support.y[i]), 20)
        terms = []
        for k in range(4):
            theta = {name: w[k] for name, w in path[-1].items()}
            mean = (learner.predictor(theta)(batch.query.x[i]) - batch.query.y[i]).square().mean()
            terms.append(torch.log(mean + 0.05**2))
        if temperature:
            share = torch.softmax(-losses[:, -1] / temperature, 0)
        else:
            share = (losses[:, -1] == losses[:, -1].min()).double()
        torch.testing.assert_close(found[i], (share * torch.stack(terms)).sum())


def test_the_meta_gradient_against_finite_differences() -> None:
    batch = oscillator.tasks("short").sample(2, 20, 30, generator=seeded(5), dtype=F64)

    def make(i: int) -> mk.MAML:
        return mk.MAML(oscillator.simulator().at(oscillator.spread(2)[i]), 0.003, 2)

    learner = mk.Multistart(make, 2, temperature=0.0).double()
    learner.query_losses(batch).sum().backward()
    start = learner.network().get_parameter("frequency")
    assert start.grad is not None
    h = 1e-6
    for k in range(2):
        sides = []
        for sign in (1, -1):
            with torch.no_grad():
                start[k] += sign * h
                sides.append(float(learner.query_losses(batch).sum()))
                start[k] -= sign * h
        slope = (sides[0] - sides[1]) / (2 * h)
        assert float(start.grad[k]) == pytest.approx(slope, rel=1e-5, abs=1e-7)


def test_the_classical_fit_is_that_of_scipy() -> None:
    batch = oscillator.tasks("short").sample(1, 20, 30, generator=seeded(6), dtype=F64)
    x, y = batch.support.x[0], batch.support.y[0]
    fit = mk.yardsticks.CurveFit(oscillator.simulator(), oscillator.spread(8))
    predict = fit.adapt(x, y)

    def formula(t: Any, a: float, g: float, w: float, phi: float) -> Any:
        return a * np.exp(-g * t) * np.cos(w * t + phi)

    guess = [float(batch.physics[k][0]) for k in ("amplitude", "damping", "frequency", "phase")]
    theirs, _ = curve_fit(formula, x[:, 0].numpy(), y[:, 0].numpy(), p0=guess)
    values = oscillator.simulator().values(predict.weights)
    assert float(values["frequency"]) == pytest.approx(theirs[2], rel=1e-3)
    residual = formula(x[:, 0].numpy(), *theirs) - y[:, 0].numpy()
    assert float(predict.losses[-1]) == pytest.approx(float((residual**2).mean()), rel=1e-4)
    assert fit.evaluations > 40


def test_the_valley_is_as_wide_as_the_notebook_says() -> None:
    for duration in (10.0, 20.0):
        t = torch.linspace(0, duration, 20001, dtype=F64)
        delta = torch.linspace(0.01, 7 / duration, 600, dtype=F64)[:, None]
        loss = ((torch.cos((6 + delta) * t + 1) - torch.cos(6 * t + 1)) ** 2).mean(1)
        assert float(delta[loss.argmax()]) * duration == pytest.approx(4.493, rel=0.05)
    assert math.tan(4.4934) == pytest.approx(4.4934, rel=1e-2)
