"""What a learner of classes must beat: classifiers of scikit-learn, and Fisher's discriminant."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from mamlkit.checks import count, remade
from mamlkit.errors import MamlkitError
from mamlkit.learners.checking import as_data
from mamlkit.losses import Predict
from mamlkit.tasks.base import Data, Family
from mamlkit.yardsticks.general import labels_of

Features = Callable[[Tensor], Tensor]


class Classifier:
    """Any classifier of scikit-learn, fitted to the support of each task alone::

        mk.yardsticks.Classifier(sklearn.svm.SVC(kernel="rbf"))

    It predicts scores ``[m, ways]``: logarithms of probabilities where the estimator gives those,
    else its decision function (of two ways half of it, with either sign), else 1 for the class that
    it names and 0 for the rest.

    Args:
        estimator: has ``fit(X, y)`` and ``predict(X)``; cloned for each task.
        features: map ``[n, ..] -> [n, p]``; by default a point as one row of numbers.
        ways: number of classes; None takes the largest label of the support plus one.
    """

    def __init__(
        self, estimator: Any, features: Features | None = None, ways: int | None = None
    ) -> None:
        if isinstance(estimator, type) or not (
            hasattr(estimator, "fit") and hasattr(estimator, "predict")
        ):
            raise MamlkitError(
                "Classifier needs an estimator of scikit-learn, such as SVC(), with fit(X, y) and "
                f"predict(X), but {estimator!r} was given."
            )
        self.estimator, self.features = estimator, features or rows
        self.ways = None if ways is None else count("ways", ways, least=2)

    @remade
    def adapt(self, x: Any, y: Tensor | None = None) -> Predict:
        """Fit ``x [n, ..]`` with labels ``y [n]``; classes that are not there are never named."""
        from sklearn.base import clone

        x, y = classes_of("Classifier", x, y)
        ways = self.ways or int(y.max()) + 1
        there = torch.bincount(y).nonzero()[:, 0]
        if there[-1] >= ways:
            raise MamlkitError(f"y holds the label {int(there[-1])}, but ways={ways}.")
        phi = as_rows(self.features, x).numpy(force=True)
        # Of a single class most estimators make an error; there is nothing to learn.
        fitted = clone(self.estimator).fit(phi, y.numpy(force=True)) if len(there) > 1 else None

        def predict(x_new: Tensor) -> Tensor:
            like = x_new.dtype if x_new.is_floating_point() else torch.get_default_dtype()
            scores = torch.full((len(x_new), ways), -torch.inf, dtype=torch.float64)
            own = np.zeros((len(x_new), 1))
            if fitted is not None:
                own = scores_of(fitted, as_rows(self.features, x_new).numpy(force=True))
            scores[:, there.cpu()] = torch.from_numpy(own).double()
            return scores.to(x_new.device, like)

        return predict


class Discriminant:
    """Fisher's linear discriminant, learned over training tasks (Fisher 1936, Ann. Eugen. 7, 179),
    with a Gaussian prior on the means of new classes (the two-covariance model: Ioffe 2006,
    Probabilistic linear discriminant analysis).

    Features of a class scatter about its mean with one covariance W for all classes, and the means
    of classes scatter about ``mean`` with the covariance B. In the discriminant coordinates
    z = ``directions``^T (phi(x) - ``mean``) W is the identity and B diagonal. So K examples of a
    class with the average z give its mean as B z / (B + 1/K), and a new point of it scatters about
    that with variance 1 + B / (1 + K B): the scores are the logarithms of these densities. No
    linear rule does better where both are Gaussian. A class without examples has the prior.

    Args:
        mean: ``[p]``.
        directions: ``[p, q]``, the best first.
        between: B in each of these coordinates, ``[q]``: the ratio of the variance between classes
            to that within.
        ways: number of classes in a task.
        features: map ``[n, ..] -> [n, p]``; by default a point as one row of numbers.
    """

    def __init__(
        self,
        mean: Tensor,
        directions: Tensor,
        between: Tensor,
        ways: int,
        features: Features | None = None,
    ) -> None:
        self.mean, self.directions, self.between = (
            mean.double(),
            directions.double(),
            between.double(),
        )
        if self.directions.shape != (*self.mean.shape, *self.between.shape):
            raise MamlkitError(
                "Discriminant needs a mean [p], directions [p, q] and B [q], but they have shapes "
                f"{list(mean.shape)}, {list(directions.shape)} and {list(between.shape)}."
            )
        self.ways, self.features = count("ways", ways, least=2), features or rows

    @classmethod
    def fit(
        cls,
        family: Family,
        n_tasks: int = 300,
        shots: int = 10,
        *,
        seed: int = 0,
        features: Features | None = None,
    ) -> Self:
        """Estimate W and B by moments from the supports of training tasks, with at least two shots:
        W, of standardised features, with the shrinkage of Ledoit and Wolf (2004, J. Multivar. Anal.
        88, 365); B is the scatter of the means of classes less what W alone would give.
        """
        from sklearn.covariance import ledoit_wolf

        x, y, ways = labels_of("Discriminant", family, n_tasks, count("shots", shots, 2), seed)
        features = features or rows
        phi = torch.stack([as_rows(features, each).double() for each in x])  # [n_tasks, n, p]
        member = torch.nn.functional.one_hot(y, ways).to(phi)  # [n_tasks, n, ways]
        n = member.sum(1)  # [n_tasks, ways]
        means = member.mT @ phi / n.clamp(min=1)[..., None]  # [n_tasks, ways, p]
        within = (phi - member @ means).flatten(0, 1)
        each = means[n > 1]  # [classes, p]
        if len(each) < 3:
            raise MamlkitError(
                f"a discriminant needs at least three classes with two examples each, but the "
                f"{len(x)} training tasks hold {len(each)}; raise n_tasks or shots."
            )
        size = within.square().mean(0).sqrt().clamp(min=1e-12)  # of each feature
        covariance = torch.from_numpy(ledoit_wolf((within / size).numpy(), assume_centered=True)[0])
        covariance *= len(within) / (len(within) - len(each))  # a mean was taken off each class
        root = torch.linalg.cholesky(covariance)
        whitened = torch.linalg.solve_triangular(
            root, ((each - each.mean(0)) / size).T, upper=False
        )
        values, vectors = torch.linalg.eigh(whitened.cov().reshape(len(root), -1))
        between = values.flip(0) - float((1 / n[n > 1]).mean())
        keep = between > 0
        back = torch.linalg.solve_triangular(root.T, vectors.flip(1), upper=True) / size[:, None]
        return cls(each.mean(0), back[:, keep], between[keep], ways, features)

    @remade
    def adapt(self, x: Any, y: Tensor | None = None) -> Predict:
        """The means of classes from ``x [n, ..]`` with labels ``y [n]``."""
        x, y = classes_of("Discriminant", x, y, least=0)
        if len(y) and int(y.max()) >= self.ways:
            raise MamlkitError(f"y holds the label {int(y.max())}, but ways={self.ways}.")
        member = torch.nn.functional.one_hot(y, self.ways).double()  # [n, ways]
        n = member.sum(0)[:, None]  # [ways, 1]
        prior = self.between  # [q]
        means = prior * (member.T @ self._coordinates(x)) / (1 + n * prior)  # [ways, q]
        variance = 1 + prior / (1 + n * prior)  # [ways, q]

        def predict(x_new: Tensor) -> Tensor:
            z = self._coordinates(x_new)[:, None]  # [m, 1, q]
            scores = -((z - means) ** 2 / variance + variance.log()).sum(-1) / 2
            return scores.to(x_new.dtype if x_new.is_floating_point() else None)

        return predict

    def _coordinates(self, x: Tensor) -> Tensor:
        """The discriminant coordinates, ``[n, ..] -> [n, q]``."""
        return (as_rows(self.features, x).double() - self.mean) @ self.directions


def rows(x: Tensor) -> Tensor:
    """A point as one row of numbers: ``[n, ..] -> [n, p]``."""
    return x.flatten(1)


def as_rows(features: Features, x: Tensor) -> Tensor:
    """Features of points, ``[n, ..] -> [n, p]``, as real numbers."""
    x = x if x.is_floating_point() else x.to(torch.get_default_dtype())
    phi = features(x)
    if not isinstance(phi, Tensor) or phi.ndim != 2 or len(phi) != len(x):
        given = list(phi.shape) if isinstance(phi, Tensor) else type(phi).__name__
        raise MamlkitError(
            f"features gave {given} for x of shape {list(x.shape)}; they must give a tensor with "
            f"one row a point, [{len(x)}, p]."
        )
    return phi.detach()


def classes_of(name: str, x: Any, y: Tensor | None, least: int = 1) -> Data:
    """Check the points of one task of classification; padding is left out."""
    data = as_data(x, y)
    if not (hasattr(data, "x") and hasattr(data, "y")):
        raise MamlkitError(f"{name} takes points (x, y), but the data are {type(data).__name__}.")
    if data.y.is_floating_point() or data.y.ndim != 1 or (len(data.y) and data.y.min() < 0):
        raise MamlkitError(
            f"y is {data.y.dtype} of shape {list(data.y.shape)}; {name} needs whole-number labels "
            "[n] from 0 on."
        )
    weight = getattr(data, "weight", None)
    kept = slice(None) if weight is None else weight[:, 0] > 0
    if weight is not None and len(weight[kept].unique()) > 1:
        raise MamlkitError(f"{name} counts all points alike, but they come with different weights.")
    found = Data(data.x[kept], data.y[kept].long())
    if len(found.y) < least:
        raise MamlkitError(f"{name} has no prior, so it needs at least one point; none was given.")
    return found


def scores_of(fitted: Any, phi: Any) -> Any:
    """Scores ``[m, classes]`` of an estimator, for the classes that it was fitted to."""
    named = fitted.predict(phi)[:, None] == fitted.classes_  # [m, classes]
    if hasattr(fitted, "predict_log_proba"):
        with np.errstate(divide="ignore"):  # of a class that is impossible it is -inf
            scores = fitted.predict_log_proba(phi)
    elif hasattr(fitted, "decision_function"):
        scores = fitted.decision_function(phi)
        scores = scores if scores.ndim == 2 else np.stack([-scores, scores], 1) / 2
    else:
        return named.astype(float)
    # Some, such as SVC by its votes, name another class than that of the largest score: swapped.
    i, best, told = np.arange(len(scores)), scores.argmax(1), named.argmax(1)
    scores[i, best], scores[i, told] = scores[i, told].copy(), scores[i, best].copy()
    return scores
