"""Predictions that know how sure they are, against numpy, closed forms and lone members."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

import mamlkit as mk
from mamlkit.learners import (
    BayesianHead,
    Belief,
    Ensemble,
    Gaussian,
    gaussian_nll,
    where_next,
)
from mamlkit.learners.bayes import condition
from tests.helpers import F64, assert_same_state, mlp, normal, seeded, sinusoids


class Frozen(nn.Module):
    """Features [x, 1], as the straight-line laws have them: nothing to learn."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Parameter(torch.ones(1, dtype=F64), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.one.expand(len(x), 1)], dim=1)


def line_head(mean: Tensor, covariance: Tensor, noise: float, misfit: float) -> BayesianHead:
    """A straight line with a given prior."""
    head = BayesianHead(Frozen(), 2)
    with torch.no_grad():
        head.prior_mean.copy_(mean)
        head.prior_root.copy_(torch.linalg.cholesky(covariance))
        head.log_noise.fill_(math.log(noise))
        head.log_misfit.fill_(math.log(misfit))
    return head


# --- Bayes' rule ----------------------------------------------------------------------------------


def test_the_posterior_is_that_of_textbook_linear_regression() -> None:
    p, d_out, n = 4, 2, 3
    mean, root = normal(d_out, p), normal(d_out, p, p, seed=1)
    phi, y, noise = (
        normal(n, p, seed=2),
        normal(n, d_out, seed=3),
        torch.tensor([0.3, 2.0], dtype=F64),
    )
    found, found_root = condition(mean, root, phi, y, noise)
    for j in range(d_out):  # precision form: C'^-1 = C^-1 + Phi^T Phi / s^2 (Bishop, eq. 3.50-3.51)
        prior = np.linalg.inv((root[j] @ root[j].T).numpy())
        precision = prior + phi.numpy().T @ phi.numpy() / float(noise[j]) ** 2
        right = prior @ mean[j].numpy() + phi.numpy().T @ y[:, j].numpy() / float(noise[j]) ** 2
        np.testing.assert_allclose(found[j], np.linalg.solve(precision, right), rtol=1e-9)
        covariance = (found_root[j] @ found_root[j].T).numpy()
        np.testing.assert_allclose(covariance, np.linalg.inv(precision), rtol=1e-8, atol=1e-12)


def test_points_one_by_one_or_together_give_the_same_posterior() -> None:
    mean, root, phi, y = normal(2, 3), normal(2, 3, 3, seed=1), normal(5, 3, seed=2), normal(5, 2)
    noise = torch.tensor([0.1, 0.5], dtype=F64)
    together, root_together = condition(mean, root, phi, y, noise)
    for i in range(5):
        mean, root = condition(mean, root, phi[i : i + 1], y[i : i + 1], noise)
    torch.testing.assert_close(mean, together, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(
        root @ root.mT, root_together @ root_together.mT, rtol=1e-9, atol=1e-12
    )


def test_without_points_the_prior_stays() -> None:
    mean, root = normal(1, 3), normal(1, 3, 3, seed=1)
    found, found_root = condition(mean, root, normal(0, 3), normal(0, 1), mean.new_ones(1))
    torch.testing.assert_close(found, mean, rtol=0, atol=0)
    torch.testing.assert_close(found_root, root, rtol=0, atol=0)


def test_small_noise_in_single_precision_stays_finite_and_right() -> None:
    phi = normal(8, 4).float()
    w = normal(4, 1, seed=1).float()
    root = torch.eye(4)[None]
    mean, root = condition(torch.zeros(1, 4), root, phi, phi @ w, torch.tensor([1e-3]))
    torch.testing.assert_close(mean, w.T, rtol=0, atol=1e-3)
    assert torch.isfinite(root).all()


def test_a_head_with_the_true_prior_is_the_bayesian_yardstick() -> None:
    mean = torch.tensor([2.0, 0.5], dtype=F64)
    covariance = torch.tensor([[0.25, 0.06], [0.06, 0.04]], dtype=F64)
    exact = mk.yardsticks.Bayes(mean, covariance, 0.3)
    head = line_head(mean, covariance, 0.3, 0.05)
    x, y, x_new = normal(3, 1), normal(3, 1, seed=1), normal(6, 1, seed=2)
    ours: Any = head.adapt(x, y)
    theirs = exact.adapt(x, y).distribution(x_new)
    found = ours.distribution(x_new)
    torch.testing.assert_close(found.mean, theirs.mean, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(found.variance - 0.05**2, theirs.variance, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(ours(x_new), found.mean, rtol=0, atol=0)
    assert ours.losses.shape == (1,)
    torch.testing.assert_close(
        ours.losses[0], gaussian_nll(head.adapt(x, y), mk.Data(x, y)), rtol=1e-12, atol=0
    )


def test_the_gradient_passes_finite_differences() -> None:
    head = BayesianHead(mk.models.MLP(1, 3, hidden=(4,)).double(), 3, noise=0.3)
    batch = sinusoids(2)
    names, tensors = zip(*head.named_parameters(), strict=True)

    def losses(*tensors: Tensor) -> Tensor:
        found: Tensor = functional_call(head, dict(zip(names, tensors, strict=True)), (batch,))[0]
        return found

    start = tuple(t.detach().requires_grad_() for t in tensors)
    assert torch.autograd.gradcheck(losses, start, rtol=1e-5, atol=1e-7)


def test_training_recovers_the_prior_of_a_linear_family() -> None:
    family = mk.tasks.LinearLaw()  # slope ~ N(2, 0.5^2), intercept ~ N(0.5, 0.2^2), noise 0.3
    head = BayesianHead(Frozen(), 2, noise=1.0)
    run = {"shots": 3, "queries": 4, "meta_batch": 400, "iterations": 150}
    mk.meta_train(head, family, outer_lr=0.1, schedule="cosine", progress=False, **run)
    with torch.no_grad():  # the law is in the span of the features: no misfit
        head.log_misfit.fill_(math.log(0.01)).requires_grad_(False)
    mk.meta_train(head, family, outer_lr=0.03, schedule="cosine", seed=1, progress=False, **run)
    mean, root = head.prior_mean[0].detach(), head.prior_root[0].detach()
    covariance = root @ root.mT
    truth = torch.tensor([[0.25, 0.0], [0.0, 0.04]], dtype=F64)
    torch.testing.assert_close(mean, torch.tensor([2.0, 0.5], dtype=F64), rtol=0, atol=0.02)
    torch.testing.assert_close(covariance.diagonal(), truth.diagonal(), rtol=0.06, atol=0)
    assert abs(float(covariance[0, 1])) < 0.01
    assert head.noise.item() == pytest.approx(0.3, rel=0.03)
    exact = mk.yardsticks.Bayes([2.0, 0.5], truth, 0.3)
    table = mk.compare({"head": head, "Bayes": exact}, family, 3, n_tasks=200)["mean"]
    assert table["head"] == pytest.approx(table["Bayes"], rel=0.02)


def test_the_true_prior_is_where_the_gradient_vanishes() -> None:
    """Mean gradient over 20,000 tasks, in units of its standard error: small at the truth only."""
    mean, truth = (
        torch.tensor([2.0, 0.5], dtype=F64),
        torch.diag(torch.tensor([0.25, 0.04])).double(),
    )
    batch = mk.tasks.LinearLaw().sample(20_000, 3, 4, generator=seeded(), dtype=F64)

    def steepness(noise: float) -> Tensor:
        head = line_head(mean, truth, noise, 0.01)
        head.log_misfit.requires_grad_(False)
        names = ["prior_mean", "prior_root", "log_noise"]

        def one(weights: dict[str, Tensor], task: mk.TaskBatch) -> Tensor:
            single = torch.utils._pytree.tree_map(lambda leaf: leaf[None], task)
            found: Tensor = functional_call(head, weights, (single,))[0][0]
            return found

        weights = {name: head.get_parameter(name).detach() for name in names}
        each = torch.func.vmap(torch.func.grad(one), (None, 0))(weights, batch)
        flat = torch.cat([g.flatten(1) for g in each.values()], dim=1)  # [tasks, 7]
        return flat.mean(0) / (flat.std(0) / len(flat) ** 0.5)

    assert float(steepness(0.3).nan_to_num().abs().max()) < 4
    assert float(steepness(0.35).nan_to_num().abs().max()) > 8


# --- the likelihood and the next point ------------------------------------------------------------


def test_the_likelihood_is_that_of_the_normal_distribution() -> None:
    mean, variance, y = normal(5, 2), normal(5, 2, seed=1) ** 2, normal(5, 2, seed=2)
    belief = Belief(lambda x: Gaussian(mean, variance))
    expected = -torch.distributions.Normal(mean, variance.sqrt()).log_prob(y).mean()
    found = gaussian_nll(belief, mk.Data(normal(5, 1), y))
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)


def test_gain_is_the_drop_of_the_mean_variance_that_a_measurement_brings() -> None:
    torch.manual_seed(0)
    head = BayesianHead(mk.models.MLP(1, 6, hidden=(8,)).double(), 6, d_out=2, noise=0.2)
    with torch.no_grad():
        head.prior_root.add_(normal(2, 6, 6))
        head.log_misfit.fill_(-3.0)
    x, y, candidates = normal(3, 1), normal(3, 2), torch.linspace(-2, 2, 9, dtype=F64)[:, None]
    predict: Any = head.adapt(x, y)
    before, drops = predict.distribution(candidates).variance.mean(), []
    for c in candidates:  # the drop does not depend on what is measured
        after: Any = head.adapt(torch.cat([x, c[None]]), torch.cat([y, normal(1, 2, seed=5)]))
        drops.append(before - after.distribution(candidates).variance.mean())
    found = predict.gain(candidates)
    torch.testing.assert_close(found, torch.stack(drops), rtol=1e-8, atol=1e-10)
    assert where_next(predict, candidates) == int(torch.stack(drops).argmax())


def test_without_a_gain_the_most_uncertain_candidate_is_next() -> None:
    def distribution(x: Tensor) -> Gaussian:
        return Gaussian(x, 1 - x**2 / 4)

    class Plain:
        def __init__(self) -> None:
            self.distribution = distribution

    candidates = torch.tensor([[-1.5], [0.3], [1.0]])
    assert where_next(Belief(distribution), candidates) == 1
    assert where_next(Plain(), candidates) == 1


# --- the ensemble ---------------------------------------------------------------------------------


def maml(seed: int, **settings) -> mk.MAML:
    settings = {"inner_lr": 0.05, "inner_steps": 2, **settings}
    return mk.MAML(mlp(seed=seed), **settings)


def cnn(seed: int) -> mk.MAML:
    model = mk.models.CNN(1, 3, hidden=(2, 3), seed=seed).double()
    return mk.MAML(model, 0.1, loss=mk.losses.cross_entropy)


def linear(seed: int) -> mk.MAML:
    """A module of torch, whose start comes from the global generator."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return mk.MAML(nn.Sequential(nn.Linear(1, 6), nn.Tanh(), nn.Linear(6, 1)).double(), 0.1)


def images() -> mk.TaskBatch:
    def data(n: int) -> mk.Data:
        labels = torch.arange(2 * n).reshape(2, n) % 3
        return mk.Data(normal(2, n, 1, 4, 4, seed=n), labels)

    return mk.TaskBatch(data(4), data(5), {"nothing": torch.zeros(2, dtype=F64)})


LEARNERS = {
    "MAML": maml,
    "Meta-SGD": lambda seed: maml(seed, learn_lr="element"),
    "head only": lambda seed: maml(seed, adapt="head"),
    "MAML++": lambda seed: mk.MAMLPlusPlus(mk.models.MLP(1, 1, (5,), seed=seed).double(), 0.05, 3),
    "CAVIA": lambda seed: mk.CAVIA(mk.models.MLP(1, 1, (5,), context=2, seed=seed).double(), 0.5),
    "Bayesian head": lambda seed: BayesianHead(mk.models.MLP(1, 3, (5,), seed=seed).double(), 3),
    "torch.nn": linear,
    "CNN": cnn,
}


@pytest.mark.parametrize("name", LEARNERS)
def test_the_stacked_gradient_is_that_of_each_member_alone(name: str) -> None:
    make, batch = LEARNERS[name], images() if name == "CNN" else sinusoids()
    ensemble, alone = Ensemble(make, 3, seed=4), [make(seed) for seed in (4, 5, 6)]
    for learner in (ensemble, *alone):
        getattr(learner, "at_iteration", lambda done: None)(1)
    losses, support = ensemble(batch)
    losses.mean().backward()
    expected = [learner(batch) for learner in alone]
    torch.testing.assert_close(losses, sum(one for one, _ in expected), rtol=1e-11, atol=1e-13)
    mean_support = torch.stack([s for _, s in expected]).mean(0)
    torch.testing.assert_close(support, mean_support, rtol=1e-11, atol=1e-13)
    torch.testing.assert_close(  # with the settled objective, not the annealed one
        ensemble.query_losses(batch), sum(one.query_losses(batch) for one in alone)
    )
    for one, _ in expected:
        one.mean().backward()
    for i, learner in enumerate(alone):
        stacked = ensemble.member.learner.named_parameters()
        for (key, theirs), (_, ours) in zip(learner.named_parameters(), stacked, strict=True):
            if theirs.grad is None:
                assert not ours.requires_grad, key
                continue
            assert ours.grad is not None
            torch.testing.assert_close(ours.grad[i], theirs.grad, rtol=1e-9, atol=1e-12, msg=key)


@pytest.mark.parametrize("name", ["MAML", "MAML++", "Bayesian head"])
def test_a_member_trains_as_it_would_alone(name: str) -> None:
    make = LEARNERS[name]
    run = {"shots": 4, "meta_batch": 3, "iterations": 12, "outer_lr": 3e-3, "progress": False}
    ensemble, alone = Ensemble(make, 3), [make(seed) for seed in range(3)]
    total = mk.meta_train(ensemble, mk.tasks.Sinusoid(), **run).outer_loss
    single = [mk.meta_train(learner, mk.tasks.Sinusoid(), **run).outer_loss for learner in alone]
    np.testing.assert_allclose(total, np.sum(single, axis=0), rtol=1e-9)
    for i, learner in enumerate(alone):
        taken_out = ensemble.alone(i).named_parameters()
        for (key, theirs), (_, ours) in zip(learner.named_parameters(), taken_out, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-7, atol=1e-9, msg=key)


@pytest.mark.parametrize("name", ["Meta-SGD", "head only", "CAVIA", "Bayesian head"])
def test_the_ensemble_predicts_mean_and_spread_of_its_members(name: str) -> None:
    make, batch = LEARNERS[name], sinusoids(1)
    (x, y), x_new = (leaf[0] for leaf in batch.support), batch.query.x[0]
    alone: list[Any] = [make(seed).adapt(x, y) for seed in range(4)]
    each = torch.stack([predict(x_new) for predict in alone])
    variance = each.var(0)
    if name == "Bayesian head":
        variance = variance + sum(p.distribution(x_new).variance for p in alone) / 4
    predict: Any = Ensemble(make, 4).adapt(x, y)
    found = predict.distribution(x_new)
    torch.testing.assert_close(predict(x_new), each.mean(0), rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(found.mean, each.mean(0), rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(found.variance, variance, rtol=1e-9, atol=1e-12)
    expected_losses = torch.stack([p.losses for p in alone]).mean(0)
    torch.testing.assert_close(predict.losses, expected_losses, rtol=1e-10, atol=1e-12)
    for key, stacked in predict.weights.items():
        torch.testing.assert_close(stacked[2], alone[2].weights[key], rtol=1e-9, atol=1e-12)
    assert where_next(predict, x_new) == int(found.variance[:, 0].argmax())


def test_episodes_judge_the_mean_prediction_after_each_step() -> None:
    ensemble, family = Ensemble(maml, 3), mk.tasks.Sinusoid()
    curve = mk.evaluate(ensemble, family, 4, steps=4, n_tasks=6)
    batch = family.sample(6, 4, 100, generator=seeded(1), dtype=F64)
    for steps in range(5):
        predict = ensemble.adapt(batch.support.x[2], batch.support.y[2], steps=steps)
        loss = mk.losses.mse(predict, mk.Data(batch.query.x[2], batch.query.y[2]))
        torch.testing.assert_close(curve.losses[2, steps], loss, rtol=1e-10, atol=0)
        torch.testing.assert_close(curve.support_losses[2, : steps + 1], predict.losses)
    assert mk.compare({"ensemble": ensemble}, family, 4, n_tasks=6)["mean"].item() == pytest.approx(
        float(curve.mean[2])
    )


def test_an_ensemble_is_saved_resumed_and_tells_its_settings(tmp_path) -> None:
    run = {"shots": 3, "meta_batch": 2, "progress": False, "checkpoint_every": 3}
    family, path = mk.tasks.Sinusoid(), tmp_path / "run.pt"
    whole = Ensemble(LEARNERS["MAML++"], 2)
    mk.meta_train(whole, family, iterations=6, **run)
    parts = Ensemble(LEARNERS["MAML++"], 2)
    mk.meta_train(parts, family, iterations=3, checkpoint=path, **run)
    parts = Ensemble(LEARNERS["MAML++"], 2)
    mk.meta_train(parts, family, iterations=6, checkpoint=path, **run)
    assert_same_state(parts, whole)
    mk.save_learner(whole, tmp_path / "learner.npz")
    other = Ensemble(LEARNERS["MAML++"], 2, seed=9)
    mk.load_learner(other, tmp_path / "learner.npz")
    assert torch.equal(next(other.parameters()), next(whole.parameters()))
    with pytest.raises(mk.MamlkitError, match="another learner"):
        mk.load_learner(Ensemble(LEARNERS["MAML++"], 3), tmp_path / "learner.npz")
    assert whole.phase == whole.member.learner.phase
    assert "members=2, inner_lr=0.05" in repr(whole)


def test_adapting_leaves_the_ensemble_and_torch_alone() -> None:
    ensemble, state = Ensemble(maml, 2), torch.random.get_rng_state()
    before = [p.detach().clone() for p in ensemble.parameters()]
    predict = ensemble.adapt(normal(3, 1), normal(3, 1))
    then = predict(normal(2, 1))
    with torch.no_grad():
        for p, old in zip(ensemble.parameters(), before, strict=True):
            assert torch.equal(p, old)
            p.add_(1.0)
    assert torch.equal(predict(normal(2, 1)), then)
    assert torch.equal(torch.random.get_rng_state(), state)


# --- plain words ----------------------------------------------------------------------------------


SIN, X = mk.tasks.Sinusoid(), normal(4, 1)


def classes(seed: int) -> mk.Prototypes:
    return mk.Prototypes(mk.models.MLP(1, 3, seed=seed), ways=2)


def head3() -> BayesianHead:
    return BayesianHead(mk.models.MLP(1, 3), 3)


def bare(seed: int) -> Any:
    return mk.models.MLP(1, 1, seed=seed)


def mixed(seed: int) -> mk.MAML:
    return maml(seed, inner_lr=0.1 + seed)


def buffered(seed: int) -> mk.MAML:
    learner = maml(seed)
    learner.model.register_buffer("shift", normal(1, seed=seed))
    return learner


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda: Ensemble(maml, 1), "members must be a whole number of at least 2"),
        (lambda: Ensemble(lambda seed: maml(0), 3), "the same start"),
        (lambda: Ensemble(bare), "must return a meta-learner"),
        (lambda: Ensemble(maml(0), 3), "function from a seed to a learner"),
        (lambda: Ensemble(lambda s: mk.ImplicitMAML(mk.models.MLP(1, 1, seed=s))), "another kind"),
        (lambda: Ensemble(classes).adapt(normal(2, 1), torch.tensor([0, 0])), "no support point"),
        (lambda: Ensemble(mixed), "alike but for their random start"),
        (lambda: Ensemble(buffered), "share their buffers"),
        (lambda: Ensemble(maml).adapt(normal(3, 2), normal(3, 1)), "cannot take x of shape"),
        (
            lambda: Ensemble(maml).query_losses(mk.tasks.Sinusoid().sample(2, 3)),
            "sample with dtype",
        ),
        (
            lambda: mk.evaluate(Ensemble(LEARNERS["Bayesian head"]), SIN, 3, steps=2),
            "no inner steps",
        ),
        (lambda: BayesianHead(mk.models.MLP(1, 3), 0), "features must be a whole number"),
        (
            lambda: BayesianHead(mk.models.MLP(1, 3), 3, noise=0.0),
            "noise must be a finite number > 0",
        ),
        (lambda: head3().adapt(normal(4, 1), normal(4, 2)), "has d_out=1"),
        (
            lambda: BayesianHead(mk.models.MLP(1, 3), 4).adapt(normal(4, 1), normal(4, 1)),
            "features=4",
        ),
        (lambda: head3().adapt(normal(4, 1), normal(4, 1), steps=2), "no inner steps"),
        (
            lambda: gaussian_nll(lambda x: x, mk.Data(normal(2, 1), normal(2, 1))),
            "without a variance",
        ),
        (lambda: gaussian_nll(head3().adapt(X, X), mk.Data(X, normal(4, 2))), "both alike"),
        (lambda: where_next(maml(0).adapt(X, X), X), "without a variance"),
        (lambda: where_next(head3().adapt(X, X), X[:, 0]), "points are rows"),
    ],
)
def test_wrong_use_is_said_in_plain_words(wrong, words: str) -> None:
    with pytest.raises(mk.MamlkitError, match=words):
        wrong()
