"""What a learner must beat: zero, mean curve, pooled, from scratch, classical fits, closed forms.

Each has ``adapt(x, y) -> predict``. What learns from training tasks does so in ``fit``, from the
same family that the meta-learner is trained on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.func import functional_call

from mamlkit.checks import count, fresh_generator, number, remade
from mamlkit.errors import MamlkitError
from mamlkit.learners.base import Weights, run_model, taken
from mamlkit.learners.beliefs import Belief, Gaussian
from mamlkit.learners.checking import as_data, as_numbers, check_model, check_size
from mamlkit.learners.maml import MAML
from mamlkit.learners.recorded import repeated
from mamlkit.learners.vectorise import each, grad, vectorised
from mamlkit.losses import Loss, Predict, as_loss, mse
from mamlkit.models import copied
from mamlkit.tasks.base import Family, Readings, check_family, weighted
from mamlkit.tasks.table import Table


def Pooled(model: nn.Module, inner_lr: float = 0.01, inner_steps: int = 1, **settings: Any) -> MAML:
    """One model for all tasks, trained with :func:`mamlkit.meta_train` like any other and then
    fine-tuned by the same inner loop: MAML whose whole weight lies on the loss *before* any step.
    Taught in notebook 01.
    """
    return MAML(model, inner_lr, inner_steps, step_weights=[1.0] + [0.0] * inner_steps, **settings)


class Zero:
    """Predicts zero whatever it is shown.
    Taught in notebook 04.

    Args:
        d_out: number of outputs; needed for classification (the number of ways), else that of y.
    """

    def __init__(self, d_out: int | None = None) -> None:
        self.d_out = None if d_out is None else count("d_out", d_out)

    @remade
    def adapt(self, x: Any, y: Tensor | None = None) -> Predict:
        """Ignore the support."""
        known: Any = getattr(as_data(x, y), "y", None)
        if self.d_out is None and (known is None or known.ndim < 2):
            given = "nothing called y" if known is None else f"labels y {list(known.shape)}"
            raise MamlkitError(
                f"the support holds {given}, so the number of outputs is not known; "
                "use Zero(d_out=ways)."
            )
        d_out = known.shape[-1] if self.d_out is None else self.d_out

        def predict(x_new: Tensor) -> Tensor:
            real = x_new.dtype if x_new.is_floating_point() else torch.get_default_dtype()
            return x_new.new_zeros(len(x_new), d_out, dtype=real)

        return predict


class FromScratch:
    """Trains ``model`` anew on the support of each task, with Adam, from its own random start.
    Taught in notebook 01.

    Args:
        model: the network; its weights are the start.
        lr: learning rate of Adam.
        steps: number of Adam steps. Tune both on validation tasks.
        loss: training loss.
    """

    def __init__(
        self, model: nn.Module, lr: float = 0.01, steps: int = 100, loss: Loss = mse
    ) -> None:
        check_model(model)
        number("lr", lr, positive=True)
        count("steps", steps, least=0)
        self.model, self.lr, self.steps = copied(model), lr, steps
        self.loss = as_loss(loss)

    @remade
    def adapt(self, x: Any, y: Tensor | None = None) -> Predict:
        """Train on one task's points ``x [n, d_in]``, ``y [n, d_out]``, or one NamedTuple."""
        data = as_data(x, y, dict(self.model.named_parameters()))
        if hasattr(data, "x"):
            check_size(self.model, data.x)
            like = next(self.model.parameters())
            data = data._replace(x=taken(data.x, self.model, like))
            run_model(self.model, {}, data.x)
        stacked = self.adapt_tasks(type(data)(*(leaf[None] for leaf in data)))
        weights = {name: w[0] for name, w in stacked.items()}
        return partial(self.predict, weights)

    def predict(self, weights: Weights, x: Tensor) -> Tensor:
        """The network of one task, its weights by name: ``[m, d_in] -> [m, d_out]``."""
        like = next(self.model.parameters())
        if not x.is_floating_point():
            return run_model(self.model, weights, taken(x.to(like.device), self.model, like))
        return run_model(self.model, weights, x.to(like)).to(x)

    @torch.no_grad()
    @vectorised
    def adapt_tasks(self, support: Any) -> Weights:
        """Train on many tasks side by side, one network each: leaves ``[n_tasks, ...]`` of the
        model's type. Adam acts on each weight by itself, so this is one task after another.
        Returns the weights, ``[n_tasks, ...]`` each.
        """
        n_tasks = len(support[0])
        weights = {
            name: w.detach().expand(n_tasks, *w.shape).clone()
            for name, w in self.model.named_parameters()
            if w.requires_grad  # what is frozen stays as it is
        }

        def task_loss(w: Weights, data: Any) -> Tensor:
            return self.loss(lambda x: functional_call(self.model, w, (x,)), data)

        gradients = repeated(each(grad(task_loss)), self.steps, weights, support)
        optimiser = torch.optim.Adam(weights.values(), lr=self.lr, fused=True)
        for _ in range(self.steps):
            for name, gradient in gradients(weights, support).items():
                weights[name].grad = gradient.contiguous()  # the fused kernel asks for it
            optimiser.step()
        return weights


@remade
def polynomial(degree: int = 1) -> Callable[[Tensor], Tensor]:
    """Features x^degree, .., x, 1 of one input: ``[n, 1] -> [n, degree + 1]``."""
    return lambda x: torch.cat([x**k for k in range(degree, -1, -1)], dim=-1)


class Ridge:
    """Least squares on features with a penalty on the squared coefficients:
    minimises ``|y - phi(x) w|^2 + penalty |w|^2``.

    Args:
        penalty: 0 is least squares; with too few points, the shortest of all exact fits.
        features: map ``[n, d_in] -> [n, p]``; a straight line by default.
    """

    def __init__(
        self, penalty: float = 1.0, features: Callable[[Tensor], Tensor] | None = None
    ) -> None:
        self.penalty, self.features = number("penalty", penalty), features or polynomial(1)

    @remade
    def adapt(self, x: Any, y: Tensor | None = None) -> Predict:
        """Fit ``x [n, d_in]``, ``y [n, d_out]``; squares times the weight of a reading."""
        x, y, weight = as_numbers(x, y, least=0 if self.penalty else 1)
        phi, root = self.features(x), weight.sqrt()  # [n, p], [n, 1 or d_out]
        columns = [self._solve(r * phi, r * y_d) for r, y_d in _alike(root, y)]
        w = torch.cat(columns, dim=1)  # [p, d_out]
        return lambda x_new: self.features(x_new.to(w.dtype)) @ w

    def _solve(self, phi: Tensor, y: Tensor) -> Tensor:
        if self.penalty == 0:
            return torch.linalg.pinv(phi) @ y
        eye = torch.eye(phi.shape[1], dtype=phi.dtype, device=phi.device)
        return torch.linalg.solve(phi.T @ phi + self.penalty * eye, phi.T @ y)


def LeastSquares(features: Callable[[Tensor], Tensor] | None = None) -> Ridge:
    """Ordinary least squares: :class:`Ridge` without a penalty. Taught in notebook 03."""
    return Ridge(0.0, features)


class Bayes:
    """The posterior mean of a linear law with a known Gaussian prior w ~ N(mean, covariance) and
    known noise: w = mean + (Phi^T Phi / s^2 + C^-1)^-1 Phi^T (y - Phi mean) / s^2. No estimate has
    a smaller expected squared error.
    Taught in notebook 03.

    Args:
        mean: prior mean ``[p]``.
        covariance: prior covariance ``[p, p]``.
        noise: standard deviation of the noise on ``y``, > 0.
        features: map ``[n, d_in] -> [n, p]``; a straight line by default.
    """

    def __init__(
        self,
        mean: Tensor | Sequence[float],
        covariance: Tensor | Sequence[Sequence[float]],
        noise: float,
        features: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        self.mean = torch.as_tensor(mean, dtype=torch.float64)
        self.covariance = torch.as_tensor(covariance, dtype=torch.float64)
        self.noise, self.features = number("noise", noise, positive=True), features or polynomial(1)
        if self.mean.ndim != 1 or self.covariance.shape != (len(self.mean), len(self.mean)):
            raise MamlkitError(
                f"Bayes needs a mean [p] and a covariance [p, p], but they have shapes "
                f"{list(self.mean.shape)} and {list(self.covariance.shape)}."
            )

    @classmethod
    def fit(
        cls,
        family: Family,
        n_tasks: int = 50,
        shots: int = 10,
        *,
        seed: int = 0,
        features: Callable[[Tensor], Tensor] | None = None,
    ) -> Self:
        """Empirical Bayes: estimate prior and noise by moments from noisy training tasks.

        Each task gets least squares; the scatter of the estimates, less what the noise alone would
        give, is the prior covariance (negative directions set to zero).
        """
        features = features or polynomial(1)
        check_one_output("Bayes", family)
        x, y, weight = readings_of(family, n_tasks, shots, seed)
        phi, root = (
            torch.vmap(features)(x),
            weight.sqrt(),
        )  # [n_tasks, shots, p], [n_tasks, shots, 1]
        p, n = phi.shape[-1], (weight[..., 0] > 0).sum(1)
        enough = (n > p) & (torch.linalg.matrix_rank(root * phi) == p)
        if enough.sum() < 2:
            raise MamlkitError(
                f"empirical Bayes needs at least two tasks of more than {p} shots each, at "
                f"{p} places or more; got {int(enough.sum())} such tasks of {len(n)}, the largest "
                f"of {int(n.max())}."
            )
        phi, y, n = (root * phi)[enough], (root * y)[enough], n[enough]
        w = torch.linalg.pinv(phi) @ y  # [n_tasks, p, 1]
        residual = y - phi @ w
        variance = (residual**2).sum() / (n - p).sum()
        scatter = w[..., 0].T.cov()  # [p, p]
        from_noise = variance * torch.linalg.inv(phi.mT @ phi).mean(0)
        values, vectors = torch.linalg.eigh(scatter - from_noise)
        covariance = vectors @ torch.diag(values.clamp(min=1e-12)) @ vectors.T
        return cls(w.mean(0)[:, 0], covariance, max(float(variance.sqrt()), 1e-9), features)

    @remade
    def adapt(self, x: Any, y: Tensor | None = None) -> Belief:
        """The posterior given ``x [n, d_in]``, ``y [n, 1]``: mean and variance of the law."""
        x, y, weight = one_output("Bayes", x, y)
        root = weight.sqrt().double()
        phi, y = root * self.features(x).double(), root * y.double()  # [n, p], [n, 1]
        gram = phi @ self.covariance @ phi.T + self.noise**2 * torch.eye(len(phi)).double()
        gain = torch.linalg.solve(gram, phi @ self.covariance).T  # [p, n]
        w = self.mean + gain @ (y[:, 0] - phi @ self.mean)  # [p]
        covariance = self.covariance - gain @ phi @ self.covariance  # [p, p]

        def distribution(x_new: Tensor) -> Gaussian:
            phi = self.features(x_new).double()  # [m, p]
            # Rounding leaves less than nothing where all is known; as `fit`, not below 1e-9.
            variance = ((phi @ covariance) * phi).sum(1).clamp(min=1e-18)
            return Gaussian((phi @ w)[:, None].to(x.dtype), variance[:, None].to(x.dtype))

        return Belief(distribution, noise=self.noise)


def check_one_output(name: str, family: Family) -> None:
    """Refuse a family with several outputs."""
    if family.d_out != 1:
        raise MamlkitError(f"{name} takes families with one output, but d_out={family.d_out}.")


def one_output(name: str, x: Any, y: Tensor | None) -> Readings:
    """The readings of one task, none or more, with one output."""
    data = as_numbers(x, y, least=0)
    if data.y.shape[1] != 1:
        raise MamlkitError(f"{name} takes one output, y [n, 1], but y is {list(data.y.shape)}.")
    return data


def _alike(root: Tensor, y: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Outputs with the same weights together: pairs ``[n, 1]`` and ``[n, d]``."""
    if root.shape[1] == 1:
        return [(root, y)]
    return [(root[:, j : j + 1], y[:, j : j + 1]) for j in range(y.shape[1])]


def check_numbers(family: Family) -> None:
    """Refuse a family of labels."""
    check_family(family)
    if family.ways is not None:
        raise MamlkitError(
            f"this yardstick fits real numbers, but {type(family).__name__} gives labels of "
            f"{family.ways} classes; take mk.yardsticks.Classifier or mk.yardsticks.Discriminant."
        )


def labels_of(
    name: str, family: Family, n_tasks: int, shots: int, seed: int
) -> tuple[Tensor, Tensor, int]:
    """Points ``[n_tasks, n, ..]`` and labels ``[n_tasks, n]`` to learn from, and the number of
    classes.
    """
    check_family(family)
    if family.ways is None:
        raise MamlkitError(
            f"{name} learns from labels, but {type(family).__name__} has none (its ways is None); "
            "take a family such as mk.tasks.Bank, or mk.yardsticks.Bayes for real numbers."
        )
    n_tasks = min(count("n_tasks", n_tasks), family.n_members or n_tasks)
    shots = min(shots, (family.pool or shots + 1) - 1)  # one is left for the query
    drawn: Any = {"generator": fresh_generator(seed), "dtype": torch.float64}
    x, y = family.sample(n_tasks, shots, **drawn).support
    return x, y, family.ways


def readings_of(family: Family, n_tasks: int, shots: int, seed: int) -> Readings:
    """Readings to learn from, leaves ``[n_tasks, n, ..]``, float64: all that a table has, or the
    supports of training tasks; of a finite family no more than it has members.
    """
    check_numbers(family)
    if isinstance(family, Table):
        return family.every_reading()
    n_tasks = min(count("n_tasks", n_tasks), family.n_members or n_tasks)
    drawn: Any = {"generator": fresh_generator(seed), "dtype": torch.float64}
    return weighted(family.sample(n_tasks, shots, **drawn).support)
