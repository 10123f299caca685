"""Closed-form heads and prototypes: against NumPy, scikit-learn, finite differences and by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.svm import LinearSVC
from torch import Tensor, nn

import mamlkit as mk
from mamlkit.learners.heads import ClassifierHead, RidgeHead
from mamlkit.learners.prototypes import Prototypes
from mamlkit.learners.solvers import HINGE, LOGISTIC, newton, ridge
from mamlkit.training.gradients import meta_gradients
from tests.helpers import F64, assert_same_state, normal, seeded, stored_gradient


class Blobs(mk.Family):
    """Three classes around random centres in two of six directions; the rest is loud noise."""

    d_in, d_out, ways = 6, 3, 3

    def sample(self, n_tasks, shots, queries=None, *, generator=None, dtype=None, device=None):
        n_support, n_query = self.ways * shots, self.ways * (queries or shots)
        n = n_support + n_query
        draw = {"generator": generator, "dtype": F64}
        centres = 2 * torch.randn(n_tasks, self.ways, 2, **draw)
        y = torch.arange(n).remainder(self.ways).repeat(n_tasks, 1)  # balanced
        x = 5 * torch.randn(n_tasks, n, self.d_in, **draw)
        x[..., :2] = centres.gather(1, y[..., None].expand(-1, -1, 2)) + 0.1 * x[..., :2]
        support = mk.Data(x[:, :n_support], y[:, :n_support])
        query = mk.Data(x[:, n_support:], y[:, n_support:])
        batch = mk.TaskBatch(support, query, {"first": centres[:, 0, 0]})
        return mk.tasks.base.convert(batch, dtype, device)


def features_and_labels(n: int, q: int, ways: int = 3) -> tuple[Tensor, Tensor]:
    return normal(n, q, seed=n + q), torch.arange(n).remainder(ways)


def blobs(n_tasks: int = 2, shots: int = 2, dtype: torch.dtype = F64) -> mk.TaskBatch:
    return Blobs().sample(n_tasks, shots, 3, generator=seeded(), dtype=dtype)


def sinusoids(n_tasks: int = 3, shots: int = 5) -> mk.TaskBatch:
    return mk.tasks.Sinusoid().sample(n_tasks, shots, 6, generator=seeded(), dtype=F64)


def number(value: float) -> Tensor:
    return torch.tensor(value, dtype=F64)


def mlp(d_in: int, p: int) -> nn.Module:
    return mk.models.MLP(d_in, p, hidden=(8,)).double()


Makers = dict[str, Callable[..., Any]]
CLASSIFIERS: Makers = {
    "ridge": lambda **k: ClassifierHead(mlp(6, 4), 3, **k),
    "logistic": lambda **k: ClassifierHead(mlp(6, 4), 3, "logistic", **k),
    "hinge": lambda **k: ClassifierHead(mlp(6, 4), 3, "hinge", **k),
    "prototypes": lambda **k: Prototypes(mlp(6, 4), 3, **k),
}
LEARNERS: Makers = {
    "regression": lambda: RidgeHead(mlp(1, 7)),
    "offset": lambda: RidgeHead(mlp(1, 7), offset=True),
    **CLASSIFIERS,
}


def batch_for(name: str) -> mk.TaskBatch:
    return sinusoids() if name in ("regression", "offset") else blobs()


# --- the solutions ------------------------------------------------------------------------------


@pytest.mark.parametrize("penalty", [1e-3, 0.7, 30.0])
@pytest.mark.parametrize(("n", "q"), [(9, 4), (4, 9), (5, 5), (1, 3), (1, 1)])
def test_ridge_is_both_closed_forms(n: int, q: int, penalty: float) -> None:
    """Whichever system it solves, the primal and the Woodbury form agree, and so does sklearn."""
    phi, _ = features_and_labels(n, q)
    y = torch.stack([phi.sum(1).sin(), phi[:, 0] ** 2], dim=1)
    weight = ridge(phi, y, number(penalty)).numpy()
    a, b = phi.numpy(), y.numpy()
    primal = np.linalg.solve(a.T @ a + penalty * np.eye(q), a.T @ b)
    woodbury = a.T @ np.linalg.solve(a @ a.T + penalty * np.eye(n), b)
    np.testing.assert_allclose(weight, primal, rtol=1e-8, atol=1e-9)
    np.testing.assert_allclose(weight, woodbury, rtol=1e-8, atol=1e-9)
    sklearn = Ridge(alpha=penalty, fit_intercept=False, solver="cholesky").fit(a, b)
    np.testing.assert_allclose(weight, sklearn.coef_.reshape(2, q).T, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("penalty", [0.05, 1.0, 20.0])
@pytest.mark.parametrize(("n", "q", "ways"), [(20, 3, 3), (6, 15, 3), (8, 8, 4), (10, 3, 2)])
def test_logistic_is_that_of_sklearn(n: int, q: int, ways: int, penalty: float) -> None:
    """sklearn minimises |W|^2 / 2 + C sum of log losses: C = 1 / lambda. (For two classes it takes
    one row of weights, w with s = w phi, so our two rows are +- half of its, at half the penalty.)
    """
    phi, y = features_and_labels(n, q, ways)
    target = nn.functional.one_hot(y).double()
    weight = newton(phi, target, number(penalty), LOGISTIC, 10).numpy()
    strength = 1 / penalty if ways > 2 else 2 / penalty
    reference = LogisticRegression(
        C=strength, fit_intercept=False, tol=1e-12, max_iter=10_000, solver="newton-cg"
    ).fit(phi.numpy(), y.numpy())
    ours = weight.T if ways > 2 else (weight[:, 1] - weight[:, 0])[None]
    np.testing.assert_allclose(ours, reference.coef_, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("penalty", [0.05, 1.0, 20.0])
@pytest.mark.parametrize(("n", "q"), [(20, 3), (6, 15), (8, 8)])
def test_hinge_is_that_of_sklearn(n: int, q: int, penalty: float) -> None:
    """sklearn minimises |W|^2 / 2 + C sum of squared hinges, one class against the rest: with our
    factor 1/2, C = 1 / (2 lambda). Its solver is less exact than ours, hence the tolerance; that
    ours is the minimum is seen on the slope.
    """
    phi, y = features_and_labels(n, q)
    target = nn.functional.one_hot(y).double()
    weight = newton(phi, target, number(penalty), HINGE, 10)
    reference = LinearSVC(C=0.5 / penalty, fit_intercept=False, dual=True, tol=1e-10)
    reference.set_params(max_iter=100_000, random_state=0).fit(phi.numpy(), y.numpy())
    np.testing.assert_allclose(weight.T.numpy(), reference.coef_, rtol=1e-5, atol=1e-6)
    short = (1 - (2 * target - 1) * (phi @ weight)).clamp(min=0)
    slope = penalty * weight - phi.T @ ((2 * target - 1) * short)
    assert slope.abs().max() < 1e-11


@pytest.mark.parametrize("head", ["ridge", "logistic", "hinge"])
def test_the_bias_is_a_penalised_feature(head: str) -> None:
    """With the identity for a model, the head is the solution on [x, 1], split in two."""
    data = blobs(1).support
    x, y = data.x[0], data.y[0]
    learner = ClassifierHead(Identity(), 3, head, 2.0)
    fitted = learner.adapt(x, y)
    phi, target = torch.cat([x, torch.ones(6, 1, dtype=F64)], 1), nn.functional.one_hot(y).double()
    rows = {"logistic": LOGISTIC, "hinge": HINGE}
    expected = (
        ridge(phi, target, number(2.0))
        if head == "ridge"
        else newton(phi, target, number(2.0), rows[head], 10)
    )
    weight, bias = fitted.weights[f"{head}.weight"], fitted.weights[f"{head}.bias"]
    assert weight.shape == (3, 6)
    assert bias.shape == (3,)
    torch.testing.assert_close(torch.cat([weight, bias[:, None]], 1), expected.T)
    with torch.no_grad():
        learner.log_scale.fill_(np.log(3.0))
    torch.testing.assert_close(learner.adapt(x, y)(x), 3 * phi @ expected)


class Identity(nn.Module):
    """phi = x, with a parameter to make it a model."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Parameter(torch.ones((), dtype=F64))

    def forward(self, x: Tensor) -> Tensor:
        return self.one * x


def test_ridge_head_by_hand() -> None:
    """One point (x, y) = (3, 5), features [x, 1], lambda = 2: W = phi y / (phi^2 + lambda) =
    [3, 1] 5 / 12.
    """
    x, y = torch.tensor([[3.0]], dtype=F64), torch.tensor([[5.0]], dtype=F64)
    fitted = RidgeHead(Identity(), 2.0).adapt(x, y)
    torch.testing.assert_close(fitted.weights["ridge.weight"], torch.tensor([[1.25]], dtype=F64))
    torch.testing.assert_close(fitted.weights["ridge.bias"], torch.tensor([5 / 12], dtype=F64))
    torch.testing.assert_close(fitted(2 * x), torch.tensor([[7.5 + 5 / 12]], dtype=F64))
    torch.testing.assert_close(fitted.losses, torch.tensor([(5 - 50 / 12) ** 2], dtype=F64))
    assert RidgeHead(Identity(), 2.0, bias=False).adapt(x, y).weights.keys() == {
        "one",
        "ridge.weight",
    }


class Curve(nn.Module):
    """The feature x, and the curves 2 x^2 and 1 of two outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Parameter(torch.ones((), dtype=F64))

    def forward(self, x: Tensor) -> Tensor:
        return self.one * torch.cat([x, 2 * x**2, torch.ones_like(x)], dim=1)


def test_an_offset_is_taken_away_before_the_fit_and_added_after_it() -> None:
    """y = c(x) + w x with w by ridge regression on y - c(x)."""
    x, w = normal(6, 1), torch.tensor([[0.7, -3.0]], dtype=F64)
    c = torch.cat([2 * x**2, torch.ones_like(x)], dim=1)
    fitted = RidgeHead(Curve(), 0.5, bias=False, offset=True).adapt(x, c + x @ w)
    shrunk = w * x.square().sum() / (x.square().sum() + 0.5)
    torch.testing.assert_close(fitted.weights["ridge.weight"], shrunk.T)
    torch.testing.assert_close(fitted(x), c + x @ shrunk)
    few = RidgeHead(Curve(), 1e9, bias=False, offset=True).adapt(x[:1], torch.ones(1, 2).double())
    torch.testing.assert_close(few(x), c, atol=1e-6, rtol=0)  # back to what tasks share
    with pytest.raises(mk.MamlkitError, match="no feature is left"):
        RidgeHead(Identity(), offset=True).adapt(x, x)


def test_the_weights_are_the_charges_of_a_linear_law() -> None:
    """Features that hold the law, 2 and -3: with a small penalty the weights are those numbers."""
    x = normal(30, 2)
    y = x @ torch.tensor([[2.0], [-3.0]], dtype=F64)
    weights = RidgeHead(Identity(), 1e-9).adapt(x, y).weights
    expected = torch.tensor([[2.0, -3.0]], dtype=F64)
    torch.testing.assert_close(weights["ridge.weight"], expected, atol=1e-8, rtol=0)


def test_prototypes_by_hand() -> None:
    """Means (1, 0) and (0, 3); the point (1, 1) lies at squared distances 1 and 1 + 4 = 5."""
    x = torch.tensor([[0.0, 0.0], [2.0, 0.0], [0.0, 3.0]], dtype=F64)
    fitted = Prototypes(Identity(), 2).adapt(x, torch.tensor([0, 0, 1]))
    means = torch.tensor([[1.0, 0.0], [0.0, 3.0]], dtype=F64)
    torch.testing.assert_close(fitted.weights["prototypes"], means)
    point = torch.tensor([[1.0, 1.0]], dtype=F64)
    torch.testing.assert_close(fitted(point), torch.tensor([[-1.0, -5.0]], dtype=F64))


# --- gradients ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "q"), [(7, 3), (3, 6)])
@pytest.mark.parametrize("kind", ["ridge", "logistic", "hinge"])
def test_gradients_of_the_solution(kind: str, n: int, q: int) -> None:
    """By finite differences, in the features and in the logarithm of the penalty."""
    phi, y = features_and_labels(n, q)
    target = nn.functional.one_hot(y).double()

    def solution(phi: Tensor, log_penalty: Tensor) -> Tensor:
        if kind == "ridge":
            return ridge(phi, target, log_penalty.exp())
        rows = LOGISTIC if kind == "logistic" else HINGE
        return newton(phi, target, log_penalty.exp(), rows, 10)

    inputs = (phi.requires_grad_(), number(-0.5).requires_grad_())
    assert torch.autograd.gradcheck(solution, inputs, atol=1e-7, rtol=1e-6)


@pytest.mark.parametrize("name", LEARNERS)
def test_meta_gradients(name: str) -> None:
    """Along one direction in all meta-parameters, against a central difference."""
    learner, batch, h = LEARNERS[name](), batch_for(name), 1e-5
    parameters = list(learner.parameters())
    slopes = torch.autograd.grad(learner.query_losses(batch).mean(), parameters)
    generator = seeded(1)
    along = [torch.randn(p.shape, generator=generator, dtype=F64) for p in parameters]
    ends = []
    for shift in (h, -2 * h):
        with torch.no_grad():
            for p, d in zip(parameters, along, strict=True):
                p += shift * d
            ends.append(float(learner.query_losses(batch).mean()))
    expected = (ends[0] - ends[1]) / (2 * h)
    given = sum(float((s * d).sum()) for s, d in zip(slopes, along, strict=True))
    assert given == pytest.approx(expected, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, F64])
@pytest.mark.parametrize("name", ["regression", "ridge", "logistic", "hinge"])
def test_singular_systems_stay_finite(name: str, dtype: torch.dtype) -> None:
    """Twenty times the same point, or one point alone, and a penalty of 1e-12."""
    learner = LEARNERS[name]().to(dtype)
    with torch.no_grad():
        learner.log_penalty.fill_(np.log(1e-12))
    data = batch_for(name).support
    for copies in (20, 1):
        x, y = (t[:, :1].repeat(1, copies, *[1] * (t.ndim - 2)) for t in data)
        points = mk.Data(x.to(dtype), y.to(dtype) if y.is_floating_point() else y)
        batch = mk.TaskBatch(points, points, {})
        loss = learner.query_losses(batch).mean()
        gradients = torch.autograd.grad(loss, list(learner.parameters()))
        assert loss.isfinite()
        assert all(g.isfinite().all() for g in gradients)


def test_a_penalty_above_rounding_is_kept_as_it_is() -> None:
    phi, _ = features_and_labels(6, 3)
    expected = torch.linalg.solve(phi.T @ phi + 1e-6 * torch.eye(3, dtype=F64), phi.T @ phi[:, :1])
    torch.testing.assert_close(ridge(phi, phi[:, :1], number(1e-6)), expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("name", ["regression", "logistic", "prototypes"])
def test_captured_and_chunked_gradients_equal_eager_ones(name: str) -> None:
    learner = LEARNERS[name]()
    batch, parameters = batch_for(name), dict(learner.named_parameters())
    found = []
    for settings in ({}, {"chunk_size": 1}, {"compile": "capture"}):
        meta_gradients(learner, parameters, **settings)(batch)
        found.append(stored_gradient(learner.parameters()))
    torch.testing.assert_close(found[1], found[0], rtol=1e-10, atol=1e-13)
    torch.testing.assert_close(found[2], found[0], rtol=1e-10, atol=1e-13)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's compiler uses torch.jit
@pytest.mark.parametrize("name", ["regression", "logistic", "prototypes"])
def test_the_meta_gradient_is_one_graph(name: str) -> None:
    """torch.compile takes it whole. (Run by torch here: C++ would take most of a minute.)"""
    learner = LEARNERS[name](**({"newton_steps": 2} if name == "logistic" else {}))
    weights = {n: p.detach() for n, p in learner.named_parameters()}

    def objective(weights: dict[str, Tensor], batch: mk.TaskBatch) -> Tensor:
        return torch.func.functional_call(learner, weights, (batch,))[0].mean()

    gradient = torch.func.grad(objective)
    whole = torch.compile(gradient, fullgraph=True, dynamic=False, backend="eager")
    batch = batch_for(name)
    torch.testing.assert_close(whole(weights, batch), gradient(weights, batch), rtol=1e-9, atol=0)


# --- as learners --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_training_finds_the_directions_that_matter(name: str) -> None:
    model = mk.models.MLP(6, 4, hidden=())
    learner: mk.learners.MetaLearner = (
        Prototypes(model, 3)
        if name == "prototypes"
        else ClassifierHead(model, 3, name, newton_steps=4)
    )
    judge = {"n_tasks": 100, "queries": 5, "loss": mk.losses.error_rate}
    before = mk.evaluate(learner, Blobs(), 2, **judge).mean[-1]
    mk.meta_train(learner, Blobs(), 2, iterations=100, outer_lr=0.03, meta_batch=10, progress=False)
    after = mk.evaluate(learner, Blobs(), 2, **judge).mean[-1]
    assert before > 0.4
    assert after < 0.15


def test_training_on_sinusoids() -> None:
    """Features that serve all sinusoids: a few points fix the head. Zero would score about 4.2."""
    family = mk.tasks.Sinusoid()
    learner = RidgeHead(mk.models.MLP(1, 40, hidden=(40,), x_range=(-5.0, 5.0)), 0.1)
    before = mk.evaluate(learner, family, 10, n_tasks=100).mean[-1]
    mk.meta_train(learner, family, 10, iterations=300, outer_lr=0.02, progress=False)
    after = mk.evaluate(learner, family, 10, n_tasks=100).mean[-1]
    assert before > 3.0
    assert after < 0.3
    assert learner.strength().item() != pytest.approx(0.1, rel=0.1)


@pytest.mark.parametrize("name", LEARNERS)
def test_one_task_is_as_many(name: str) -> None:
    """adapt() to each task by itself gives the losses of episodes(), and copies what it holds."""
    learner, batch = LEARNERS[name](), batch_for(name)
    episodes = learner.episodes(batch)
    torch.testing.assert_close(episodes.query[:, 0], learner.query_losses(batch).detach())
    assert episodes.support.shape == (len(batch.support.x), 1)
    for i in range(len(batch.support.x)):
        fitted = learner.adapt(batch.support.x[i], batch.support.y[i])
        loss = learner.loss(fitted, mk.Data(batch.query.x[i], batch.query.y[i]))
        torch.testing.assert_close(loss, episodes.query[i, 0])
        torch.testing.assert_close(fitted.losses, episodes.support[i])
    held = fitted(batch.query.x[0])
    with torch.no_grad():
        for p in learner.parameters():
            p += 1.0
    torch.testing.assert_close(fitted(batch.query.x[0]), held, rtol=0, atol=0)


@pytest.mark.parametrize("name", LEARNERS)
def test_save_load_and_resume(name: str, tmp_path: Path) -> None:
    family = mk.tasks.Sinusoid() if name in ("regression", "offset") else Blobs()
    settings = {"shots": 2, "meta_batch": 2, "progress": False, "checkpoint_every": 1}
    whole, first, second = LEARNERS[name](), LEARNERS[name](), LEARNERS[name]()
    mk.meta_train(whole, family, iterations=4, **settings)
    mk.meta_train(first, family, iterations=2, checkpoint=tmp_path / "run", **settings)
    mk.meta_train(second, family, iterations=4, checkpoint=tmp_path / "run", **settings)
    assert_same_state(whole, second)
    mk.save_learner(second, tmp_path / "learner")
    loaded = LEARNERS[name]()
    mk.load_learner(loaded, tmp_path / "learner")
    batch = batch_for(name)
    assert torch.equal(loaded.query_losses(batch), second.query_losses(batch))


def test_compared_with_others() -> None:
    table = mk.compare(
        {name: build() for name, build in CLASSIFIERS.items()},
        Blobs(),
        2,
        n_tasks=5,
        queries=5,
        loss=mk.losses.error_rate,
    )
    assert list(table.index) == list(CLASSIFIERS)
    assert table["mean"].between(0, 1).all()
    table = mk.compare(
        {"head": RidgeHead(mlp(1, 5)), "MAML": mk.MAML(mlp(1, 1))}, mk.tasks.Sinusoid(), n_tasks=3
    )
    assert table["mean"].notna().all()


def test_a_fixed_penalty_is_no_meta_parameter() -> None:
    learner = RidgeHead(mlp(1, 5), 0.3, learn_penalty=False)
    assert all(name.startswith("model.") for name, _ in learner.named_parameters())
    assert learner.strength().item() == pytest.approx(0.3)


def test_the_settings_tell_heads_apart() -> None:
    text = repr(ClassifierHead(mlp(6, 4), 3, "hinge", 0.5, newton_steps=7))
    for word in ("ways=3", "head='hinge'", "penalty=0.5", "newton_steps=7", "loss=cross_entropy"):
        assert word in text
    assert "ways=4" in repr(Prototypes(mlp(6, 4), 4))
    assert "bias=False" in repr(RidgeHead(mlp(1, 4), bias=False))
    assert "offset=True" in repr(RidgeHead(mlp(1, 4), offset=True))
    assert "offset" not in repr(RidgeHead(mlp(1, 4)))


# --- plain errors -------------------------------------------------------------------------------

X, Y = torch.zeros(4, 6, dtype=F64), torch.tensor([0, 1, 2, 0])


class Other(NamedTuple):
    points: Tensor


class Image(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Parameter(torch.ones((), dtype=F64))

    def forward(self, x: Tensor) -> Tensor:
        return (self.one * x)[..., None, None]


ERRORS = {
    "steps": (lambda: RidgeHead(mlp(6, 4)).adapt(X, X, steps=2), ["no inner steps", "leave out"]),
    "steps in evaluate": (
        lambda: mk.evaluate(RidgeHead(mlp(1, 4)), mk.tasks.Sinusoid(), steps=3, n_tasks=2),
        ["RidgeHead has no inner steps"],
    ),
    "penalty 0": (lambda: RidgeHead(mlp(1, 4), 0.0), ["penalty", "> 0"]),
    "ways": (lambda: Prototypes(mlp(6, 4), 1), ["ways", "at least 2"]),
    "newton_steps": (lambda: ClassifierHead(mlp(6, 4), 3, newton_steps=0), ["newton_steps"]),
    "head": (lambda: ClassifierHead(mlp(6, 4), 3, "svm"), ["'svm'", "'hinge'"]),
    "labels to ridge": (lambda: RidgeHead(mlp(6, 4)).adapt(X, Y), ["[4]", "ClassifierHead"]),
    "numbers as labels": (
        lambda: ClassifierHead(mlp(6, 4), 3).adapt(X, X[:, :1]),
        ["float64", "[4, 1]", "labels [n]"],
    ),
    "label too large": (lambda: ClassifierHead(mlp(6, 4), 2).adapt(X, Y), ["0 to 2", "ways=2"]),
    "class missing, adapt": (
        lambda: Prototypes(mlp(6, 4), 4).adapt(X, Y),
        ["class 3", "no support point"],
    ),
    "class missing, batch": (
        lambda: Prototypes(mlp(6, 4), 4).query_losses(blobs()),
        ["class 3", "task 0"],
    ),
    "class missing, evaluate": (
        lambda: mk.evaluate(Prototypes(mlp(6, 4), 4), Blobs(), 2, n_tasks=2),
        ["class 3", "no support point"],
    ),
    "other data": (lambda: RidgeHead(mlp(6, 4)).adapt(Other(X)), ["points", "mk.Data(x, y)"]),
    "features not rows": (lambda: RidgeHead(Image()).adapt(X, X), ["[4, 6, 1, 1]", "Flatten"]),
}


@pytest.mark.parametrize("case", ERRORS)
def test_plain_errors(case: str) -> None:
    call, words = ERRORS[case]
    with pytest.raises(mk.MamlkitError) as error:
        call()
    for word in words:
        assert word in str(error.value)


def test_a_missing_class_stops_training() -> None:
    """Training does not look at labels: the loss is nan, and the run stops before the step."""

    class Sometimes(Blobs):
        def sample(self, n_tasks, shots, queries=None, **settings):
            batch = super().sample(n_tasks, shots, queries, **settings)
            calls.append(1)
            if len(calls) > 2:
                batch.support.y[:] = 0
            return batch

    calls: list[int] = []
    learner = Prototypes(mlp(6, 4), 3)
    with pytest.raises(mk.MamlkitError, match="not finite at iteration 2"):
        mk.meta_train(learner, Sometimes(), 2, iterations=3, meta_batch=2, progress=False)
    assert all(p.isfinite().all() for p in learner.parameters())
