"""Classifiers of scikit-learn as rows, and Fisher's discriminant over training tasks."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier, NearestCentroid
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC
from torch import Tensor

import mamlkit as mk
from tests.helpers import F64, normal, seeded

Classifier, Discriminant = mk.yardsticks.Classifier, mk.yardsticks.Discriminant
P = 6


def three_blobs(n: int = 12, seed: int = 0) -> tuple[Tensor, Tensor]:
    y = torch.arange(3).repeat(n)
    centres = torch.tensor([[0.0, 0.0], [3.0, 0.0], [0.0, 3.0]], dtype=F64)
    return centres[y] + normal(3 * n, 2, seed=seed), y


def blobs(classes: int = 200, n: int = 20, ways: int = 2, seed: int = 0) -> mk.tasks.Bank:
    """Classes whose means differ in the first two of six correlated features."""
    centre = normal(classes, P, seed=seed) * torch.tensor([2.0, 1.5, 0, 0, 0, 0], dtype=F64)
    x = centre[:, None] + normal(classes, n, P, seed=seed + 1)
    mix = torch.eye(P, dtype=F64) + 0.4 * normal(P, P, seed=5)
    return mk.tasks.Bank(x @ mix, ways=ways, split=(0.6, 0.0, 0.4), seed=1)


@pytest.mark.parametrize(
    "estimator",
    [
        LogisticRegression(),
        SVC(),
        LinearSVC(),
        KNeighborsClassifier(1),
        NearestCentroid(),
        LinearDiscriminantAnalysis(),
        make_pipeline(StandardScaler(), SVC()),
    ],
    ids=lambda e: type(e).__name__,
)
@pytest.mark.parametrize("ways", [2, 3])
def test_an_estimator_names_the_classes_that_it_names(estimator: Any, ways: int) -> None:
    x, y = three_blobs()
    x, y = x[y < ways], y[y < ways]
    x_new = three_blobs(40, seed=3)[0]
    scores = Classifier(estimator).adapt(x, y)(x_new)
    assert scores.shape == (len(x_new), ways)
    assert scores.dtype == F64
    named = estimator.fit(x.numpy(), y.numpy()).predict(x_new.numpy())
    assert (scores.argmax(1).numpy() == named).mean() == 1.0


def test_scores_fit_the_losses() -> None:
    x, y = three_blobs()
    logistic = Classifier(LogisticRegression()).adapt(x, y)
    estimator = LogisticRegression().fit(x.numpy(), y.numpy())
    data = mk.Data(*three_blobs(9, seed=3))
    p = estimator.predict_proba(data.x.numpy())[np.arange(len(data.y)), data.y.numpy()]
    assert mk.losses.cross_entropy(logistic, data).item() == pytest.approx(-np.log(p).mean())
    two = y < 2
    machine = LinearSVC().fit(x[two].numpy(), y[two].numpy())
    margin = machine.decision_function(x[two].numpy()) * (2 * y[two].numpy() - 1)
    found = mk.losses.hinge(Classifier(LinearSVC()).adapt(x[two], y[two]), mk.Data(x[two], y[two]))
    assert found.item() == pytest.approx(np.maximum(0, 1 - margin).mean())


def test_classes_that_are_not_there_are_never_named() -> None:
    x, y = three_blobs()
    kept = y != 1
    scores = Classifier(LogisticRegression(), ways=4).adapt(x[kept], y[kept])(x)
    assert scores.shape == (len(x), 4)
    assert set(scores.argmax(1).tolist()) == {0, 2}
    alone = Classifier(SVC(), ways=3).adapt(x[y == 2], y[y == 2])(x)
    assert alone.argmax(1).tolist() == [2] * len(x)


def test_padding_features_and_lattices() -> None:
    x, y = three_blobs()
    weight = torch.ones(len(x), 1, dtype=F64)
    weight[20:] = 0
    padded = mk.Readings(x, y, weight)
    plain = Classifier(LogisticRegression()).adapt(x[:20], y[:20])(x)
    assert torch.equal(Classifier(LogisticRegression()).adapt(padded)(x), plain)
    spins = (normal(8, 1, 4, 4) > 0).to(torch.int8)
    labels = torch.arange(8) % 2
    on_mean = Classifier(LogisticRegression(), lambda s: s.flatten(1).mean(1, keepdim=True))
    assert on_mean.adapt(spins, labels)(spins).shape == (8, 2)
    assert Classifier(SVC()).adapt(spins, labels)(spins).dtype == torch.get_default_dtype()


def test_the_discriminant_finds_the_directions_that_differ() -> None:
    bank = blobs()
    found = Discriminant.fit(bank.split("train"), seed=2)
    assert found.between[:2] == pytest.approx([4.0, 2.25], rel=0.35)
    assert bool((found.between[2:] < 0.1).all())
    mix = torch.eye(P, dtype=F64) + 0.4 * normal(P, P, seed=5)
    told = Discriminant(
        torch.zeros(P), torch.linalg.inv(mix)[:, :2], torch.tensor([4.0, 2.25]), ways=2
    )
    lda = Classifier(LinearDiscriminantAnalysis())
    table = mk.compare(
        {"learned": found, "told": told, "alone": lda},
        bank.split("test"),
        5,
        n_tasks=150,
        loss=mk.losses.accuracy,
    )["mean"]
    assert table["learned"] > table["told"] - 0.01
    assert table["learned"] > table["alone"] + 0.02


def test_the_scores_are_those_of_the_gaussians() -> None:
    generator = seeded()
    root = torch.randn(3, 3, generator=generator, dtype=F64)
    directions = torch.linalg.inv(root)  # W = root^T root in the coordinates of phi
    between, mean = torch.tensor([2.0, 0.5, 1.0], dtype=F64), normal(3)
    x = normal(7, 3, seed=4)
    y = torch.tensor([0, 0, 0, 0, 1, 1, 0])  # class 2 has none
    scores = Discriminant(mean, directions, between, ways=3).adapt(x, y)(normal(5, 3, seed=6))
    inverse = torch.linalg.inv(directions)
    within = inverse.T @ inverse
    prior = inverse.T @ between.diag() @ inverse
    wanted = []
    for c in range(3):
        own = x[y == c]
        n = len(own)
        gain = prior @ torch.linalg.inv(prior + within / max(n, 1)) if n else torch.zeros(3, 3)
        centre = mean + gain.double() @ ((own.mean(0) if n else mean) - mean)
        spread = prior - gain.double() @ prior
        density = multivariate_normal(centre.numpy(), (within + spread).numpy())
        wanted.append(torch.as_tensor(density.logpdf(normal(5, 3, seed=6).numpy())))
    logs = torch.stack(wanted, 1)
    assert torch.allclose(scores.log_softmax(1), logs.log_softmax(1), atol=1e-10)


def test_a_small_bank_gives_what_it_has() -> None:
    assert Discriminant.fit(blobs(30, n=5)).directions.shape[0] == P


def test_pickled_and_padded() -> None:
    bank = blobs(30)
    found = Discriminant.fit(bank, n_tasks=40)
    support = bank.sample(1, 3, generator=seeded(), dtype=F64).task(0).support
    predict = found.adapt(*support)
    again = pickle.loads(pickle.dumps(predict))
    assert torch.equal(again(support.x), predict(support.x))
    weight = torch.ones(len(support.y), 1, dtype=F64)
    weight[4:] = 0
    padded = found.adapt(mk.Readings(support.x, support.y, weight))
    assert torch.equal(padded(support.x), found.adapt(support.x[:4], support.y[:4])(support.x))


BAD: dict[str, tuple[Any, str]] = {
    "a class": (lambda: Classifier(SVC), "needs an estimator of scikit-learn, such as SVC"),
    "no estimator": (lambda: Classifier("svm"), "needs an estimator"),
    "float labels": (
        lambda: Classifier(SVC()).adapt(torch.ones(4, 2), torch.ones(4)),
        r"y\.long\(\)",
    ),
    "rows of labels": (
        lambda: Classifier(SVC()).adapt(torch.ones(4, 2), torch.ones(4, 1).long()),
        "whole-number labels",
    ),
    "ways": (
        lambda: Classifier(SVC(), ways=2).adapt(torch.ones(4, 2), torch.arange(4)),
        "label 3, but ways=2",
    ),
    "nothing": (
        lambda: Classifier(SVC()).adapt(torch.ones(0, 2), torch.ones(0).long()),
        "needs at least one point",
    ),
    "features": (
        lambda: Classifier(SVC(), lambda x: x.mean()).adapt(torch.ones(4, 2), torch.arange(4)),
        "one row a point",
    ),
    "weights": (
        lambda: Classifier(SVC()).adapt(
            mk.Readings(torch.ones(2, 2), torch.arange(2), torch.tensor([[1.0], [2.0]]))
        ),
        "different weights",
    ),
    "no labels": (lambda: Discriminant.fit(mk.tasks.Sinusoid()), "learns from labels"),
    "one shot": (lambda: Discriminant.fit(blobs(9), shots=1), "shots must be .* at least 2"),
    "few": (lambda: Discriminant.fit(blobs(9), n_tasks=1), "at least three classes"),
    "shapes": (
        lambda: Discriminant(torch.zeros(3), torch.zeros(2, 2), torch.zeros(2), 2),
        r"mean \[p\], directions",
    ),
    "too many": (
        lambda: Discriminant.fit(blobs(9)).adapt(normal(3, P), torch.arange(3)),
        "label 2, but ways=2",
    ),
    "numbers wanted": (lambda: mk.yardsticks.Bayes.fit(blobs(9)), "fits real numbers"),
    "mean curve wanted": (lambda: mk.yardsticks.MeanCurve.fit(blobs(9)), "fits real numbers"),
}


@pytest.mark.parametrize("case", BAD)
def test_in_plain_words(case: str) -> None:
    make, words = BAD[case]
    with pytest.raises(mk.MamlkitError, match=words):
        make()


def test_compare_takes_the_loss_that_learners_share() -> None:
    bank = blobs(40)
    head = mk.ClassifierHead(mk.models.Diagonal(P), ways=2)
    other = mk.Prototypes(mk.models.Diagonal(P), ways=2)
    rows = {"head": head, "prototypes": other, "discriminant": Discriminant.fit(bank, 40)}
    given: Any = {"n_tasks": 20, "seed": 3}
    table = mk.compare(rows, bank, 2, **given)
    assert table.attrs["loss"] == "cross_entropy"
    alone = mk.evaluate(head, bank, 2, **given)
    assert table["mean"]["head"] == pytest.approx(float(alone.mean[-1]))
    machine = mk.MAML(mk.models.MLP(P, 2, ()), 0.1, loss=mk.losses.hinge)
    with pytest.raises(mk.MamlkitError, match=r"differ in their losses.*cross_entropy.*hinge"):
        mk.compare({**rows, "machine": machine}, bank, 2, **given)
    with pytest.raises(mk.MamlkitError, match="none of the learners has a loss"):
        mk.compare({"discriminant": rows["discriminant"]}, bank, 2, **given)
    judged = mk.compare({**rows, "machine": machine}, bank, 2, loss=mk.losses.accuracy, **given)
    assert judged.attrs["loss"] == "accuracy"
    assert bool((judged["mean"][list(rows)] > 0.6).all())
    assert judged["mean"].idxmax() == "discriminant"
    numbers = mk.compare(
        {"gp": mk.BayesianHead(mk.models.MLP(1, 4), 4, noise=0.1), "zero": mk.yardsticks.Zero()},
        mk.tasks.Sinusoid(),
        n_tasks=5,
    )
    assert numbers.attrs["loss"] == "mse"


def test_a_learned_metric_lights_up_where_classes_differ() -> None:
    bank = blobs(120)
    plain = torch.linalg.inv(torch.eye(P, dtype=F64) + 0.4 * normal(P, P, seed=5))
    bank.x = bank.x @ plain  # the features unmixed: classes differ in the first two
    head = mk.Prototypes(mk.models.Diagonal(P).double(), ways=2)
    mk.meta_train(
        head, bank.split("train"), shots=2, queries=8, meta_batch=20, iterations=80,
        outer_lr=0.05, seed=0, progress=False,
    )  # fmt: skip
    factors = dict(head.model.named_parameters())["factors"].detach().abs()
    assert float(factors[:2].min()) > 2 * float(factors[2:].max())
