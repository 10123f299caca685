"""All exercises: every right answer is correct in every type, nonsense is told in its own words,
what is hard-coded is refused, and each known mistake gets its own hint.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.func import grad, jacrev

import mamlkit as mk
from mamlkit.physics import pde
from mamlkit.physics.discovery import Readout
from tests.helpers import NOTEBOOKS, read_notebook, seeded

COURSE = sorted(NOTEBOOKS.glob("[0-9]*.ipynb"))
MODULES = [
    importlib.import_module(f"mamlkit.course.exercises.nb{path.name[:2]}") for path in COURSE
]
EXERCISES = [
    f"{module.__name__[-2:]}.{name.partition('_')[2]}"
    for module in MODULES
    for name in vars(module)
    if name.startswith("exercise_")
]

tan, cos, sin = torch.tan, torch.cos, torch.sin


def verdict(exercise: str, answer: object, capsys: pytest.CaptureFixture[str]) -> str:
    """What is printed after the number of the exercise."""
    mk.check(exercise, answer)
    number, _, said = capsys.readouterr().out.strip().partition(": ")
    assert number == exercise
    return said


# The answers, right and wrong


Y = math.log10(0.075 / 3.0)
H = Y / (1 - 1 / 0.7)
LATENT = mk.yardsticks.LinearLatent.fit(mk.tasks.VapourPressure(at=(0.7,)).split("train"))
V7, V9 = LATENT.component(torch.tensor([[0.7], [0.9]], dtype=torch.float64))[:, 0].tolist()


def bayes(
    mu: float = 25.0, prior: float = 25.0, error: float = 0.25, mean: bool = False
) -> Callable[[Tensor, Tensor], Tensor]:
    def answer(x: Tensor, force: Tensor) -> Tensor:
        n = len(x) if mean else 1
        top = mu / prior + (x * force).sum() / (n * error)
        return top / (1 / prior + (x**2).sum() / (n * error))

    return answer


def of_mixture(p: Tensor, m: Tensor, v: Tensor) -> Tensor:
    """19.2, about the mean."""
    return (p * (v + (m - (p * m).sum()) ** 2)).sum()


def dots(x: Tensor, force: Tensor) -> Tensor:
    """01.2 for readings in a row, which are no columns."""
    return (1 + x @ force / 0.25) / (0.04 + x @ x / 0.25)


def aitken(a: Any, b: Any, c: Any) -> Any:
    return (a * c - b**2) / (a + c - 2 * b)


def meta_gradient(
    theta: Tensor, alpha: float, steps: int, support_loss: Any, query_loss: Any
) -> Tensor:
    def after(start: Tensor) -> Tensor:
        for _ in range(steps):
            start = start - alpha * grad(support_loss)(start)
        return query_loss(start)

    return grad(after)(theta)


def by_autograd(
    theta: Tensor, alpha: float, steps: int, support_loss: Any, query_loss: Any
) -> Tensor:
    now = theta.requires_grad_()
    for _ in range(steps):
        (slope,) = torch.autograd.grad(support_loss(now), now, create_graph=True)
        now = now - alpha * slope
    return torch.autograd.grad(query_loss(now), theta)[0]


def by_factors(choose: Callable[[list[Tensor]], list[Tensor]]) -> Callable[..., Tensor]:
    """The product of factors with the Hessians at ``choose(path)``, the first acting first."""

    def answer(
        theta: Tensor, alpha: float, steps: int, support_loss: Any, query_loss: Any
    ) -> Tensor:
        path = [theta]
        for _ in range(steps):
            path.append(path[-1] - alpha * grad(support_loss)(path[-1]))
        v = grad(query_loss)(path[-1])
        for at in choose(path[:-1]):
            v = v - alpha * jacrev(grad(support_loss))(at) @ v
        return v

    return answer


def line_loss(theta: Tensor, x: Tensor, y: Tensor) -> Tensor:
    return ((theta[0] * x + theta[1] - y) ** 2).mean()


def steps_on(
    n: int = 2, *, judge: str = "query", adapt: str = "support", factor: float = 1.0
) -> Callable[..., Tensor]:
    """The function that 03.1 asks for, or one of its mistakes."""

    def answer(
        theta: Tensor, alpha: float, xs: Tensor, ys: Tensor, xq: Tensor, yq: Tensor
    ) -> Tensor:
        data = {"support": (xs, ys), "query": (xq, yq)}
        for _ in range(n):
            theta = theta - factor * alpha * grad(line_loss)(theta, *data[adapt])
        return line_loss(theta, *data[judge])

    return answer


def steps_by_autograd(create_graph: bool) -> Callable[..., Tensor]:
    def answer(
        theta: Tensor, alpha: float, xs: Tensor, ys: Tensor, xq: Tensor, yq: Tensor
    ) -> Tensor:
        for _ in range(2):
            loss = line_loss(theta, xs, ys)
            (slope,) = torch.autograd.grad(loss, theta, create_graph=create_graph)
            theta = theta - alpha * slope
        return line_loss(theta, xq, yq)

    return answer


PRICE = (0.25 * 0.8 + 9 * 0.04 / 3) / 3 + 0.25 / 3 + 0.18


def phase_by(rule: Callable[[float, float], float]) -> Callable[..., tuple[float, float]]:
    return lambda a, b: (math.hypot(a, b), rule(a, b))


def columns(t: Tensor) -> Tensor:
    return torch.cat([t, torch.ones_like(t)], dim=1)


def clamped(excess: Tensor) -> Tensor:
    return excess.clamp(min=0.1)


class LogFit:
    """The answer to 05.1; ``finish`` turns the fitted excess into the prediction."""

    def __init__(
        self,
        finish: Callable[[Tensor], Any] = lambda u: 20 + u,
        lift: Callable[[Tensor], Tensor] = clamped,
        room: float = 20.0,
        sign: float = 1.0,
    ) -> None:
        self.finish, self.lift, self.room, self.sign = finish, lift, room, sign

    def adapt(self, x: Tensor, y: Tensor) -> Callable[[Tensor], Any]:
        line = torch.linalg.pinv(columns(x)) @ torch.log(self.lift(y - self.room))
        line = line * torch.tensor([[self.sign], [1.0]], dtype=line.dtype)
        return lambda x_new: self.finish(torch.exp(columns(x_new) @ line))


class Masked:
    """05.1 without the readings below the room's temperature, in place of clamping them."""

    def adapt(self, x: Tensor, y: Tensor) -> Callable[[Tensor], Tensor]:
        warm = y[:, 0] > 20
        return LogFit().adapt(x[warm], y[warm])


class Numbers:
    def adapt(self, x: Tensor, y: Tensor) -> Tensor:
        return y


class Predicts:
    """A learner that predicts whatever ``rule(x_new)`` says."""

    def __init__(self, rule: Callable[[Tensor], Any]) -> None:
        self.rule = rule

    def adapt(self, x: Tensor, y: Tensor) -> Callable[[Tensor], Any]:
        return self.rule


def residual(predict: Any, data: mk.Data) -> Tensor:
    return predict(data.x) - data.y


def chi2(predict: Any, data: mk.Data) -> Tensor:
    return ((residual(predict, data) / 0.5) ** 2).mean()


class Projectile(mk.tasks.Family):
    """The answer to 05.3."""

    x_range, noise = (0.0, 2.0), 0.02

    def draw(self, n_tasks: int, generator: torch.Generator) -> dict[str, Tensor]:
        return {
            "speed": mk.tasks.uniform(n_tasks, 5.0, 8.0, generator),
            "angle": mk.tasks.uniform(n_tasks, math.pi / 6, math.pi / 3, generator),
        }

    def law(self, x: Tensor, physics: dict[str, Tensor]) -> Tensor:
        v, a = physics["speed"], physics["angle"]
        return x * tan(a) - fall(x, v, a)


class Elsewhere(Projectile):
    def inputs(self, n_tasks: int, n: int, generator: torch.Generator) -> Tensor:
        return super().inputs(n_tasks, n, generator) + 2


def with_draw(change: Callable[[dict[str, Tensor]], Any]) -> Projectile:
    class Changed(Projectile):
        def draw(self, n_tasks: int, generator: torch.Generator) -> dict[str, Tensor]:
            return change(super().draw(n_tasks, generator))

    return Changed()


def with_law(law: Callable[[Tensor, Tensor, Tensor], Any]) -> Projectile:
    class Changed(Projectile):
        def law(self, x: Tensor, physics: dict[str, Tensor]) -> Tensor:
            return law(x, physics["speed"], physics["angle"])

    return Changed()


def with_settings(**settings: object) -> Projectile:
    family = Projectile()
    for name, value in settings.items():
        setattr(family, name, value)
    return family


def fall(x: Tensor, v: Tensor, a: Tensor) -> Tensor:
    return 9.81 * x**2 / (2 * v**2 * cos(a) ** 2)


Q = 1 - 0.375
KEPT = Q**2


def about(reach: float, centre: float = -1.20) -> tuple[float, float]:
    return centre - reach, centre + reach


def coverage(
    half: Callable[[Tensor, Tensor], Any] = lambda e, v: 1.96 * e.std() / len(e) ** 0.5,
    mean: Callable[[Tensor], Any] = lambda v: v.mean(),
) -> Callable[[Tensor], tuple[Any, Any]]:
    """``half`` from the coverage of each task and from all points; ``mean`` from all points."""

    def answer(inside: Tensor) -> tuple[Any, Any]:
        values = inside.double()
        return mean(values), half(values.mean(1), values)

    return answer


def reduction(cov: Tensor, noise: float) -> Tensor:
    return cov**2 / (cov.diagonal() + noise**2)


def conserved(x: Tensor, y: Tensor, beta: float, delta: float) -> Tensor:
    return delta * x - 0.5 * x.log() + beta * y - 0.5 * y.log()


SWING = 1 - math.cos(1.0)


def drift_by(answer: Callable[[Tensor, Tensor, float], Any]) -> Callable[[Tensor, float], Any]:
    """A drift from the energy, its change and g/l."""

    def drift(y: Tensor, w: float) -> Any:
        energy = y[:, 1] ** 2 / 2 - w * cos(y[:, 0])
        return answer(energy, energy - energy[0], w)

    return drift


def line(c: Tensor, value: Tensor, new: Tensor) -> Tensor:
    slope = ((c - c.mean()) * (value - value.mean())).sum() / ((c - c.mean()) ** 2).sum()
    return value.mean() + slope * (new - c.mean())


def turned(c: Tensor, value: Tensor, new: Tensor) -> Tensor:
    back = ((c - c.mean()) * (value - value.mean())).sum() / ((value - value.mean()) ** 2).sum()
    return value.mean() + (new - c.mean()) / back


R = 2.21**0.5


def shortest(heads: Tensor, charges: Tensor, new: Tensor) -> Tensor:
    return new @ torch.linalg.pinv(heads) @ charges


def u_t(f: Any, x: Tensor) -> Tensor:
    return pde.slope(f, x, 1)[1]


def u_xx(f: Any, x: Tensor) -> Tensor:
    return pde.slope(lambda x: pde.slope(f, x, 0)[1], x, 0)[1]


def weighted_mse(y: Tensor, guess: Tensor, sigma: Tensor, power: float = 2.0) -> Tensor:
    w = sigma**-power
    return (w * (y - guess) ** 2).sum() / w.sum()


def life(c: float, p: float, a: float) -> float:
    return math.log(a) / c if p == 1 else (1 - a ** (1 - p)) / ((p - 1) * c)


def latent(
    rest: Tensor, v: Tensor, sigma: float, prior: float = 1.0, root: float = 0.5
) -> tuple[Tensor, Tensor]:
    spread = 1 / (prior + (v**2).sum() / sigma**2)
    return spread * (v * rest).sum() / sigma**2, spread**root


def break_even(training: float, random: float, learned: float) -> float:
    return training / (random - learned) if random > learned else math.inf


def over_best(
    work: Tensor, cap: float, factor: float = 10.0, mean: Callable[[Tensor], Tensor] | None = None
) -> Tensor:
    filled = torch.where(work > cap, factor * cap, work)
    times = filled / filled.min(1, keepdim=True).values
    return times.log().mean(0).exp() if mean is None else mean(times)


def by_numpy(work: Tensor, cap: float) -> Any:
    w = work.numpy().copy()
    w[w > cap] = 10 * cap
    return np.prod(w / w.min(1)[:, None], axis=0) ** (1 / len(w))


def left_of(alphas: Tensor, lam: Tensor) -> Tensor:
    return (1 - alphas[:, None] * lam).prod(0)


def of_law(B: Tensor, y: Tensor, noise: float, half: float = 0.5, power: int = 2) -> Tensor:
    covariance = B @ B.T + noise**power * torch.eye(len(y)).to(y)
    square = y @ torch.linalg.inv(covariance) @ y
    return -half * (len(y) * math.log(2 * math.pi) + torch.logdet(covariance) + square)


def no_volume(B: Tensor, y: Tensor, noise: float) -> Tensor:
    return -(y @ torch.linalg.inv(B @ B.T + noise**2 * torch.eye(len(y)).to(y)) @ y) / 2


def best_fit(B: Tensor, y: Tensor, noise: float) -> Tensor:
    left = y - B @ torch.linalg.pinv(B) @ y
    return of_law(0 * B, left, noise)


def undivided(features: Tensor, labels: Tensor, new: Tensor) -> Tensor:
    sums = torch.stack([features[labels == c].sum(0) for c in range(3)])
    return (new[:, None] - sums).square().sum(-1).argmin(1)


def by_means(features: Tensor, labels: Tensor, new: Tensor) -> Tensor:
    means = torch.stack([features[labels == c].mean(0) for c in range(int(labels.max()) + 1)])
    return (new[:, None] - means).square().sum(-1).argmin(1)


def step_of_powers(
    w: Tensor, alpha: Tensor, x: Tensor, y: Tensor, factor: float = 2.0, u: Any = None
) -> Tensor:
    """The answer to 20.1, or one of its mistakes."""
    u = 1 - 1 / x if u is None else u(x)
    phi = torch.stack([u**k for k in range(1, len(w) + 1)])
    return w - factor * alpha * (w @ phi - y) * phi


def on_grid(
    w: Tensor, bits: int, most: Callable[[int], int] = lambda b: 2 ** (b - 1) - 1
) -> Tensor:
    """The answer to 20.2, or one of its mistakes."""
    spacing = w.abs().max() / most(bits)
    return spacing * (w / spacing).round()


def nobody_better(size: Tensor, error: Tensor, ties: bool = True) -> list[float]:
    """The answer to 20.3, or a mistake that forgets ties."""
    pairs = list(zip(size.tolist(), error.tolist(), strict=True))

    def beaten(a: float, b: float) -> bool:
        if ties:
            return any(c <= a and d <= b and (c, d) != (a, b) for c, d in pairs)
        return any(c < a and d < b for c, d in pairs)

    return [float(not beaten(a, b)) for a, b in pairs]


def correlation(s: Tensor, down: int, right: int) -> Tensor:
    return (s * s.roll((-down, -right), (0, 1))).mean()


def hebb(s: Tensor, y: Tensor, alpha: float) -> Tensor:
    return alpha / (2 * len(s) * s.shape[1]) * s.T @ (y[:, None] * s)


def crossing(t: Tensor, p: Tensor, half: float = 0.5) -> Tensor:
    k = int((p >= 0.5).nonzero()[0, 0])
    return t[k - 1] + (half - p[k - 1]) / (p[k] - p[k - 1]) * (t[k] - t[k - 1])


def ends(l1: float, l2: float, l4: float) -> float:
    q = (l2 - l4) / (l1 - l2)
    return l4 - (l2 - l4) * q / (1 - q)


def share_taken(runs: int, steps: int, rungs: dict[int, int]) -> float:
    when, alive = [0, *rungs, steps], [runs, *rungs.values()]
    taken = sum(n * (b - a) for n, a, b in zip(alive, when[:-1], when[1:], strict=True))
    return taken / (runs * steps)


def share_early(runs: int, steps: int, rungs: dict[int, int]) -> float:
    when, alive = [0, *rungs, steps], [*rungs.values(), *list(rungs.values())[-1:]]
    taken = sum(n * (b - a) for n, a, b in zip(alive, when[:-1], when[1:], strict=True))
    return taken / (runs * steps)


def goes_on(score: Tensor, final: Tensor, m: int) -> Tensor:
    return final.gather(1, score.argsort(1)[:, :m])


def regret_of(score: Tensor, final: Tensor, m: int) -> Tensor:
    return (goes_on(score, final, m).amin(1) - final.amin(1)).mean()


RIGHT: dict[str, Any] = {
    "00.1": -1 - Y,
    "00.2": H * (1 - 1 / 0.6),
    "00.3": lambda m, v, i, y0: m + (y0 - m[i]) / v[i] * v,
    "00.4": 0.02 / math.log(10),
    "00.5": V7 / V9,
    "01.1": 20.0,
    "01.2": bayes(),
    "01.3": aitken,
    "01.4": 8000.0,
    "02.1": lambda alpha, s: (1 - 2 * alpha * s) ** 2,
    "02.2": meta_gradient,
    "02.3": -0.016,
    "02.4": 37.4054,
    "03.1": steps_on(),
    "03.2": 0.5,
    "03.3": PRICE,
    "04.1": math.pi,
    "04.2": phase_by(lambda a, b: math.atan2(-b, a)),
    "04.3": 0.875,
    "04.4": 0.001,
    "05.1": LogFit(),
    "05.2": chi2,
    "05.3": Projectile(),
    "06.1": 0.2,
    "06.2": 3.75 * KEPT / (1 - KEPT),
    "06.3": 1 / (1 + Q + Q**2),
    "06.4": 500.0,
    "07.1": 13**-0.5,
    "07.2": about(1.645 * 0.05),
    "07.3": coverage(),
    "07.4": lambda c, s: reduction(c, s).mean(0),
    "08.1": 6.0,
    "08.2": 14.0,
    "08.3": lambda x, tau: torch.softmax(-x / tau, 0),
    "09.1": (0.5 / 1.125, 0.8),
    "09.2": conserved,
    "09.3": 256.0,
    "09.4": 4.0,
    "10.1": 9.81 / 2 * SWING,
    "10.2": drift_by(lambda e, d, w: d.abs().max() / (e[0] + w)),
    "10.3": line,
    "11.1": 6 / R,
    "11.2": (4.0, 2.0),
    "11.3": shortest,
    "12.1": -81.0,
    "12.2": 625.0,
    "12.3": lambda f, x: u_t(f, x) - x[:, 2:] * u_xx(f, x),
    "12.4": break_even,
    "13.1": weighted_mse,
    "13.2": life,
    "13.3": latent,
    "13.4": 3.5052,
    "20.1": step_of_powers,
    "20.2": on_grid,
    "20.3": nobody_better,
    "14.1": correlation,
    "14.2": hebb,
    "14.3": crossing,
    "15.1": 4 - math.log(12),
    "15.2": lambda B, y, noise: of_law(B, y, noise),
    "15.3": by_means,
    "16.1": lambda rho: 2 / (1 + (1 - rho * rho) ** 0.5),
    "16.2": over_best,
    "16.3": lambda n, s, m, r: (s - r) / (m - n),
    "16.4": left_of,
    "17.1": 0.95**-60,
    "17.2": 0.5 ** (1 / 20),
    "17.3": lambda P, P0, rho, k: rho ** (2 * k) * P + (1 - rho ** (2 * k)) * P0,
    "17.4": lambda y, m, v, noise: ((y - m) ** 2 / (v + noise**2)).sum(),
    "18.1": ends,
    "18.2": lambda r, s, t: t**2 * r.sum() / (len(r) * t**2 + s**2),
    "18.3": share_taken,
    "18.4": regret_of,
    "19.1": lambda e: torch.exp(e - e.max()) / torch.exp(e - e.max()).sum(),
    "19.2": of_mixture,
    "19.3": lambda said, w: (w[:, None] * said).sum(0) / w.sum(),
    "21.1": lambda m, s, a: math.ceil(m / (s - a)),
    "21.2": lambda a, b, share: math.floor(share * a / (b - share * b)),
    "21.3": lambda c, ell: (c / ell / 2) ** 0.5,
    "21.4": 120.625,
}
NUMBERS = [e for e, answer in RIGHT.items() if isinstance(answer, float)]
PAIRS = [e for e, answer in RIGHT.items() if isinstance(answer, tuple)]
OBJECTS = ["05.1", "05.3"]  # a learner and a family
FUNCTIONS = [e for e in RIGHT if e not in NUMBERS + PAIRS + OBJECTS]
TENSORS_ONLY = ["03.1", "05.2"]  # what they return is to be differentiated
TO_THE_DIGIT = ["04.3", "06.3", "08.2", "17.2"]  # three digits are asked for, or a whole number


# All of them


def test_every_exercise_has_an_answer_here() -> None:
    assert sorted(RIGHT) == sorted(EXERCISES)
    assert len(EXERCISES) == 80


@pytest.mark.parametrize("exercise", RIGHT)
def test_right_answer(exercise: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert verdict(exercise, RIGHT[exercise], capsys) == "correct"


@pytest.mark.parametrize("exercise", RIGHT)
def test_right_answer_where_float64_is_the_default(
    exercise: str, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.set_default_dtype(torch.float64)
    try:
        assert verdict(exercise, RIGHT[exercise], capsys) == "correct"
    finally:
        torch.set_default_dtype(torch.float32)


TYPES: dict[str, Callable[[Any], Any]] = {
    "Fraction": Fraction,
    "Decimal": Decimal,
    "float64": np.float64,
    "float32": np.float32,
    "array": np.array,
    "array of one": lambda v: np.array([v]),
    "array of float32": lambda v: np.array(v, dtype=np.float32),
    "list of one": lambda v: [v],
    "tensor": torch.tensor,
    "tensor of one": lambda v: torch.tensor([[v]]),
    "tensor of float64": lambda v: torch.tensor(v, dtype=torch.float64),
    "tensor with a gradient": lambda v: torch.tensor(v, requires_grad=True),
}


@pytest.mark.parametrize("exercise", NUMBERS)
def test_right_number_of_every_type(exercise: str, capsys: pytest.CaptureFixture[str]) -> None:
    right = RIGHT[exercise]
    for kind, convert in TYPES.items():
        assert verdict(exercise, convert(right), capsys) == "correct", kind
    if right.is_integer():
        for whole in (int, np.int64, lambda v: np.array(int(v)), lambda v: torch.tensor(int(v))):
            assert verdict(exercise, whole(right), capsys) == "correct", whole


@pytest.mark.parametrize("exercise", PAIRS)
def test_right_pair_of_every_type(exercise: str, capsys: pytest.CaptureFixture[str]) -> None:
    right = RIGHT[exercise]
    for pair in (
        list(right),
        np.array(right),
        torch.tensor(right),
        np.array(right, dtype=np.float32),
        torch.tensor(right, dtype=torch.float64),
        np.array(right)[:, None],
        tuple(map(torch.tensor, right)),
        tuple(map(np.float64, right)),
    ):
        assert verdict(exercise, pair, capsys) == "correct", pair


def changed(result: Any, kind: Callable[[Tensor], Any]) -> Any:
    """Numbers that a function returned, each converted by ``kind``."""
    if isinstance(result, tuple):
        return tuple(changed(each, kind) for each in result)
    return kind(torch.as_tensor(result, dtype=torch.float64).detach())


OUTPUTS: dict[str, Callable[[Tensor], Any]] = {
    "list": lambda t: t.tolist(),
    "array": lambda t: t.numpy(),
    "array of float32": lambda t: t.float().numpy(),
    "float64": lambda t: t,
    "float32": lambda t: t.float(),
}


@pytest.mark.parametrize("exercise", [e for e in FUNCTIONS if e not in TENSORS_ONLY])
def test_right_function_returns_any_type(exercise: str, capsys: pytest.CaptureFixture[str]) -> None:
    right = RIGHT[exercise]
    for name, kind in OUTPUTS.items():
        answer = lambda *inputs, kind=kind: changed(right(*inputs), kind)  # noqa: E731
        assert verdict(exercise, answer, capsys) == "correct", name


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("exercise", FUNCTIONS)
def test_right_function_may_know_one_type_alone(
    exercise: str, dtype: torch.dtype, capsys: pytest.CaptureFixture[str]
) -> None:
    """As one does that holds a tensor of its own, which cannot be multiplied by another type."""

    def answer(*inputs: Any) -> Any:
        for value in inputs:
            if isinstance(value, Tensor) and value.is_floating_point() and value.dtype != dtype:
                raise RuntimeError("expected m1 and m2 to have the same dtype")
        return RIGHT[exercise](*inputs)

    assert verdict(exercise, answer, capsys) == "correct"


def rounded(value: float, digits: int) -> float:
    return float(f"{value:.{digits - 1}e}")


@pytest.mark.parametrize("digits", [2, 3])
@pytest.mark.parametrize("exercise", NUMBERS)
def test_right_number_rounded(
    exercise: str, digits: int, capsys: pytest.CaptureFixture[str]
) -> None:
    said = verdict(exercise, rounded(RIGHT[exercise], digits), capsys)
    exact = exercise in TO_THE_DIGIT and rounded(RIGHT[exercise], digits) != RIGHT[exercise]
    assert said == "correct" if digits == 3 or not exact else "three were asked for" in said


@pytest.mark.parametrize("exercise", PAIRS)
def test_right_pair_rounded(exercise: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert verdict(exercise, [round(value, 2) for value in RIGHT[exercise]], capsys) == "correct"


@pytest.mark.parametrize("exercise", NUMBERS + PAIRS)
@pytest.mark.parametrize("factor", [0.93, 1.06])
def test_near_is_not_right(
    exercise: str, factor: float, capsys: pytest.CaptureFixture[str]
) -> None:
    near = (torch.tensor(RIGHT[exercise], dtype=torch.float64) * factor).tolist()
    assert verdict(exercise, near, capsys).startswith("not yet. ")


class Odd:
    """An object that cannot be looked at."""

    def __float__(self) -> float:
        raise OSError("no number here")


NONSENSE: list[tuple[object, str]] = [
    (None, "None"),
    ("twelve", "a word"),
    ("a few words", "a text"),
    ("0.602", "a number in quotes"),
    (True, "True"),
    ([], "an empty list"),
    ([1.0, 2.0, 3.0], "a row of 3 numbers"),
    ([[1.0, 2.0], [3.0]], "a list of unequal parts"),
    ([1.0, "two"], "a word"),
    (np.array(["a"]), "a word"),
    (np.ones((2, 3)), "an array of shape [2, 3]"),
    ({"answer": 1.0}, "a dict"),
    (math.nan, "nan"),
    (torch.tensor(math.inf), "inf"),
    (1j, "a complex number"),
    (object(), "an object of type object"),
]


@pytest.mark.parametrize("exercise", NUMBERS + PAIRS)
def test_nonsense_for_a_number(exercise: str, capsys: pytest.CaptureFixture[str]) -> None:
    needs = "Give one number; " if exercise in NUMBERS else "Give two numbers, ("
    for nonsense, words in [*NONSENSE, (math.sin, "a function"), (int, "a class")]:
        said = verdict(exercise, nonsense, capsys)
        assert said.startswith(f"not yet. {needs}")
        assert f"; {words}" in said
        assert "raised" not in said


@pytest.mark.parametrize("exercise", FUNCTIONS + OBJECTS)
def test_nonsense_for_a_function(exercise: str, capsys: pytest.CaptureFixture[str]) -> None:
    other = {"05.1": "A learner needs", "05.3": "Derive your class"}
    needs = other.get(exercise, "Give the function itself, such as ")
    for nonsense, words in [*NONSENSE, (3.0, "one number")]:
        said = verdict(exercise, nonsense, capsys)
        assert said.startswith(f"not yet. {needs}")
        assert f"; {words}" in said
        assert "raised" not in said


@pytest.mark.parametrize("exercise", FUNCTIONS + OBJECTS)
def test_class_in_place_of_what_it_makes(exercise: str, capsys: pytest.CaptureFixture[str]) -> None:
    said = verdict(exercise, int, capsys)
    assert ("brackets" if exercise in OBJECTS else "the function itself") in said


@pytest.mark.parametrize("exercise", [*FUNCTIONS, "05.1"])
def test_nonsense_from_a_function(exercise: str, capsys: pytest.CaptureFixture[str]) -> None:
    for nonsense, words in [*NONSENSE, (math.sin, "a function")]:
        answer = lambda *inputs, nonsense=nonsense: nonsense  # noqa: E731
        said = verdict(exercise, Predicts(answer) if exercise == "05.1" else answer, capsys)
        assert said.startswith("not yet. ")
        assert f"; {words}" in said
        assert "return" in said
        assert "your code raised" not in said


@pytest.mark.parametrize("exercise", NUMBERS + PAIRS)
def test_object_that_cannot_be_looked_at(exercise: str, capsys: pytest.CaptureFixture[str]) -> None:
    said = verdict(exercise, Odd(), capsys)
    assert (
        said == "not yet. This answer cannot be read: looking at it raised OSError: no number here."
    )


@pytest.mark.parametrize("exercise", FUNCTIONS)
def test_error_of_the_readers_own(exercise: str, capsys: pytest.CaptureFixture[str]) -> None:
    said = verdict(exercise, lambda *inputs: [][1], capsys)
    assert said.startswith("not yet. your code raised IndexError: list index out of range, when")
    assert " = " in said
    assert "tensor(" not in said


@pytest.mark.parametrize("exercise", FUNCTIONS)
def test_function_of_no_arguments(exercise: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert "your code raised TypeError" in verdict(exercise, lambda: 1.0, capsys)


def frozen(function: Callable[..., Any]) -> Callable[..., Any]:
    """Always what ``function`` returned at its first call, as if it were written in."""
    kept: list[Any] = []

    def answer(*inputs: Any) -> Any:
        if not kept:
            kept.append(function(*inputs))
        return kept[0]

    return answer


@pytest.mark.parametrize("exercise", FUNCTIONS)
def test_hard_coded_function(exercise: str, capsys: pytest.CaptureFixture[str]) -> None:
    said = verdict(exercise, frozen(RIGHT[exercise]), capsys)
    assert said.startswith("not yet. ")
    assert "raised" not in said


def hard_coded_objects() -> list[tuple[str, object]]:
    learner, family, drawing = LogFit(), Projectile(), Projectile()
    vars(learner)["adapt"] = frozen(learner.adapt)
    vars(family)["law"] = frozen(family.law)
    vars(drawing)["draw"] = frozen(drawing.draw)
    curve = Predicts(lambda t: 20 + 70 * torch.exp(-t / 30))
    return [("05.1", learner), ("05.1", curve), ("05.3", family), ("05.3", drawing)]


@pytest.mark.parametrize(("exercise", "answer"), hard_coded_objects())
def test_hard_coded_object(
    exercise: str, answer: object, capsys: pytest.CaptureFixture[str]
) -> None:
    assert verdict(exercise, answer, capsys).startswith("not yet. ")


@pytest.mark.parametrize("exercise", RIGHT)
def test_not_attempted(exercise: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert verdict(exercise, ..., capsys) == "not attempted yet"
    assert verdict(exercise, (1.0, ...), capsys) == "not attempted yet"


@pytest.mark.parametrize("exercise", FUNCTIONS)
def test_stub_of_a_function_is_not_attempted(
    exercise: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert verdict(exercise, lambda *inputs: ..., capsys) == "not attempted yet"
    assert verdict(exercise, lambda *inputs: (..., ...), capsys) == "not attempted yet"


@pytest.mark.parametrize("path", COURSE, ids=[path.name[:2] for path in COURSE])
def test_a_function_that_is_written_into_its_stub_is_checked(path: Path) -> None:
    """No line ``answer = ...`` may stand between the reader's function and the check."""
    for cell in read_notebook(path)["cells"]:
        source = "".join(cell["source"])
        exercise = next((e for e in RIGHT if f'mk.check("{e}"' in source), None)
        if exercise in FUNCTIONS + OBJECTS and "solution" not in cell["metadata"]["tags"]:
            assert " = ..." not in source
            assert "return ...  # your line" in source


# Other right ways


@pytest.mark.parametrize(
    ("exercise", "answer"),
    [
        (
            "00.3",
            lambda m, v, i, y0: (
                np.asarray(m) + (float(y0) - float(m[i])) / v[i].item() * np.asarray(v)
            ),
        ),
        ("00.4", math.log10(1.02)),
        ("01.2", lambda x, y: float(bayes()(x, y))),
        ("01.2", dots),
        ("01.2", lambda x, F: ((1 + F.T @ x / 0.25) / (0.04 + x.T @ x / 0.25)).item()),
        ("02.2", by_autograd),
        ("02.2", by_factors(lambda path: path[::-1])),
        ("02.4", 37),
        ("03.1", steps_by_autograd(True)),
        ("04.1", 3.1),
        ("04.1", 3.14),
        ("04.2", lambda a, b: np.array([np.hypot(a, b), np.arctan2(-b, a)])),
        ("05.1", Masked()),
        ("05.1", LogFit(lift=lambda e: torch.where(e > 0, e, torch.full_like(e, 0.01)))),
        ("05.3", with_law(lambda x, v, a: x * tan(a) - fall(x, v, a) * 9.80665 / 9.81)),
        ("06.2", 2.4),
        ("06.3", 0.496),
        ("07.2", [-1.2822, -1.1178]),
        ("07.2", torch.tensor([-1.28, -1.12])),
        ("07.3", coverage(lambda e, v: 2 * e.std(correction=0) / len(e) ** 0.5)),
        ("07.3", coverage(lambda e, v: 2.045 * e.std() / len(e) ** 0.5)),
        ("07.3", coverage(lambda e, v: 1.96 * e.numpy().std() / len(e) ** 0.5)),
        ("07.4", lambda c, s: (np.asarray(c) ** 2 / (np.diag(c) + s**2)).mean(0)),
        ("08.3", lambda x, tau: (w := np.exp(-(np.asarray(x) - min(x).item()) / tau)) / w.sum()),
        ("09.1", np.array([0.4444, 0.8])),
        ("10.1", 2.255),
        ("10.3", lambda c, v, n: Readout.fit(c, v)(n)[:, 0]),
        ("10.3", lambda c, v, n: np.polyval(np.polyfit(c.numpy(), v.numpy(), 1), n.numpy())),
        ("10.3", lambda c, v, n: line(c.float(), v.float(), n.float())),
        ("11.2", np.linalg.solve([[10, 1 / 2.1], [1 / 2.1, 10]], [40.952, 21.905])),
        ("11.2", np.linalg.solve([[10, 1 / 2.1], [1 / 2.1, 10]], [[40.952], [21.905]])),
        ("11.3", lambda h, q, new: new @ torch.linalg.lstsq(h, q, driver="gelsd").solution),
        ("11.3", lambda h, q, new: new.numpy() @ np.linalg.lstsq(h.numpy(), q.numpy())[0]),
        ("12.4", lambda a, r, s: np.inf if s >= r else torch.tensor(a / (r - s))),
        ("13.1", lambda y, g, s: np.average((y - g).numpy() ** 2, weights=s.numpy() ** -2.0)),
        ("13.2", lambda c, p, a: life(c, p + 1e-9, a)),
        ("13.3", lambda r, v, s: torch.stack(latent(r.float(), v.float(), s))),
        ("13.4", 3.5),
        ("14.1", lambda s, d, r: np.mean(s.numpy() * np.roll(s.numpy(), (d, r), (0, 1)))),
        ("14.1", lambda s, d, r: mk.tasks.correlations(s)[d, r]),
        (
            "14.2",
            lambda s, y, a: (
                sum(a * v * torch.outer(u, u) for u, v in zip(s, y, strict=True)) / 2 / s.numel()
            ),
        ),
        ("14.3", lambda t, p: np.interp(0.5, p.numpy(), t.numpy())),
        ("16.1", lambda rho: 1 + (rho / (1 + math.sqrt(1 - rho**2))) ** 2),
        ("16.2", by_numpy),
        ("16.4", lambda a, lam: [np.prod([1 - x * y for x in a.tolist()]) for y in lam.tolist()]),
        ("18.1", lambda a, b, c: c - (b - c) ** 2 / (a - 2 * b + c)),
        ("18.2", lambda r, s, t: r.mean() * len(r) / (len(r) + (s / t) ** 2)),
        ("18.4", lambda s, f, m: mk.evaluation.halving(f, 2, {1: m}, {1: s}).regret.mean()),
    ],
)
def test_other_right_ways(
    exercise: str, answer: object, capsys: pytest.CaptureFixture[str]
) -> None:
    assert verdict(exercise, answer, capsys) == "correct"


# Known mistakes


HINTS: list[tuple[str, Any, str]] = [
    ("18.1", lambda a, b, c: c - ends(a, b, c), "still to be lost"),
    ("18.1", lambda a, b, c: 2 * c - b, "geometric series"),
    ("18.1", lambda a, b, c: c - (b - c) ** 2 / (a - b), "at 8t"),
    ("18.1", lambda a, b, c: -ends(a, b, c), "the denominator"),
    ("18.1", lambda a, b, c: (b - c) / (a - b), "ratio of the falls"),
    ("18.1", lambda a, b, c: c, "falls to come"),
    ("18.2", lambda r, s, t: r.mean(), "trusts one run"),
    ("18.2", lambda r, s, t: r.sum() / (len(r) + t**2 / s**2), "change places"),
    ("18.2", lambda r, s, t: r.sum() / (len(r) + s / t), "Variances count"),
    ("18.2", lambda r, s, t: r.mean() / (1 + s**2 / t**2), "added to K"),
    ("18.2", lambda r, s, t: r.sum() / (len(r) + s**2 / t**2 / len(r)), "of its own"),
    ("18.2", lambda r, s, t: r.sum(), "over K"),
    ("18.3", lambda n, s, r: share_taken(n, s, r) * n * s, "divide by runs"),
    ("18.3", lambda n, s, r: 1 - share_taken(n, s, r), "that is saved"),
    (
        "18.3",
        lambda n, s, r: sum(a * t for a, t in zip([n, *r.values()], [*r, s], strict=True)) / n / s,
        "begin anew",
    ),
    (
        "18.3",
        lambda n, s, r: share_taken(n, s, r) - list(r.values())[-1] * (s - max(r)) / n / s,
        "costs too",
    ),
    ("18.3", share_early, "alive before"),
    ("18.3", lambda n, s, r: 0.5, "Between two rungs"),
    ("18.4", lambda s, f, m: (goes_on(s, f, m).mean(1) - f.amin(1)).mean(), "not with their mean"),
    ("18.4", lambda s, f, m: regret_of(-s, f, m), "the worst runs"),
    ("18.4", lambda s, f, m: goes_on(s, f, m).amin(1).mean(), "of the same problem"),
    ("18.4", lambda s, f, m: goes_on(s, f, m).amin(1).mean() - f.min(), "its own best"),
    ("18.4", lambda s, f, m: f.new_zeros(()), "not known yet"),
    ("18.4", lambda s, f, m: regret_of(s, f, 1), "m runs go on"),
    ("18.4", lambda s, f, m: s.mean(), "the least final value"),
    ("00.1", -1 - math.log(0.075 / 3.0), "natural logarithm"),
    ("00.1", -Y, "The 1 is missing"),
    ("00.1", 1 + Y, "sign is turned round"),
    ("00.1", -1 - math.log10(75 / 3.0), "Mind the units"),
    ("00.1", 7.0, "Put p/pc"),
    ("00.2", H, "slope h"),
    ("00.2", Y * 0.4 / 0.3, "straight line in T"),
    ("00.2", 10 ** (H * (1 - 1 / 0.6)), "p/pc itself"),
    ("00.2", -H * (1 - 1 / 0.6), "p < pc"),
    ("00.2", 7.0, "Find h"),
    ("00.3", lambda m, v, i, y0: y0, "Return the whole curve"),
    ("00.3", lambda m, v, i, y0: m + (y0 - m[i]) * v, "division by v"),
    ("00.3", lambda m, v, i, y0: m + y0 / v[i] * v, "difference"),
    ("00.3", lambda m, v, i, y0: m + y0 - m[i], "shifted the whole curve"),
    ("00.3", lambda m, v, i, y0: m - (y0 - m[i]) / v[i] * v, "sign of z"),
    ("00.3", lambda m, v, i, y0: (y0 - m[i]) / v[i] * v, "add the mean curve"),
    ("00.3", lambda m, v, i, y0: 0 * m, "Solve m"),
    ("00.3", lambda m, v, i, y0: m + (y0 - m[1]) / v[1] * v, "Right for some inputs"),
    ("00.4", 0.02, "error of ln"),
    ("00.4", 0.02 * math.log(10), "Divide by ln"),
    ("00.4", 2 / math.log(10), "Two percent is 0.02"),
    ("00.4", 7.0, "By how much"),
    ("00.5", V9 / V7, "Upside down"),
    ("00.5", (V7 / V9) ** 2, "Not squared"),
    ("00.5", 7.0, "drops out"),
    ("01.1", 40.0, "the 2 of the derivative"),
    ("01.1", 10.0, "summed the squares"),
    ("01.1", 1 / (2 * 0.15**2), "squared the mean"),
    ("01.1", 20.0 / 1e4, "centimetres"),
    ("01.1", 0.05, "alpha has the unit"),
    ("01.1", 7.0, "vanish"),
    ("01.2", lambda x, y: (x * y).sum() / (x**2).sum(), "least squares"),
    ("01.2", bayes(mu=0.0), "centred on 0"),
    ("01.2", bayes(prior=5.0, error=0.5), "standard deviations"),
    ("01.2", bayes(mean=True), "use sums"),
    ("01.2", bayes(prior=0.25, error=25.0), "swapped"),
    ("01.2", lambda x, y: 7.0, "it gave 7"),
    (
        "01.2",
        lambda x, y: bayes()(x, y) if len(x) == 3 else 25.0,
        "Right for some inputs, but not for all. For x =",
    ),
    ("01.3", lambda a, b, c: c, "last loss seen"),
    ("01.3", lambda a, b, c: 2 * c - b, "straight line"),
    ("01.3", lambda a, b, c: -aitken(a, b, c), "sign"),
    ("01.3", lambda a, b, c: c * c / b, "ends at zero"),
    ("01.3", lambda a, b, c: 7.0, "one for each of several curves"),
    ("01.3", lambda a, b, c: float(aitken(a, b, c)), "your code raised ValueError"),
    ("01.4", 640_000 / 85, "not free"),
    ("01.4", 32_000 / 80, "meta-batch"),
    ("01.4", 40_000 * 6 / 80, "backward pass"),
    ("01.4", 640_000, "paid once"),
    ("01.4", 3.0, "solve for N"),
    ("02.1", lambda a, s: 1 - 4 * a * s, "You dropped the square term"),
    ("02.1", lambda a, s: 1 - 2 * a * s, "one step"),
    ("02.1", lambda a, s: 2 * (1 - 2 * a * s), "multiply"),
    ("02.1", lambda a, s: (1 - a * s) ** 2, "the 2 of the derivative"),
    ("02.1", lambda a, s: 1.0, "first-order"),
    ("02.1", lambda a, s: 7.0, "Differentiate theta_2"),
    ("02.1", lambda a, s: (1 - 2 * 4 * 0.02) ** 2, "Right for some inputs, but not for all. For a"),
    ("02.2", by_factors(lambda path: []), "first-order MAML"),
    ("02.2", lambda t, a, k, support, query: grad(query)(t), "before any step"),
    ("02.2", by_factors(lambda path: [path[0]] * len(path) if path else []), "own Hessian"),
    ("02.2", by_factors(lambda path: path), "wrong order"),
    ("02.2", lambda t, *rest: torch.zeros_like(t), "no parabolas"),
    ("02.2", lambda t, a, k, *losses: meta_gradient(t, a, 1, *losses), "Right for some inputs"),
    ("02.3", 0.016, "The sign"),
    ("02.3", -0.032, "at the start"),
    ("02.3", -0.016 * 0.6, "no Hessian factor"),
    ("02.3", -0.004, "in both slopes"),
    ("02.3", -0.006, "the slope is 2 (s theta - c)"),
    ("02.3", 5.0, "minus the product"),
    ("02.4", 16.0, "plain risk"),
    ("02.4", 25.0, "plain mean"),
    ("02.4", 28.57, "squared"),
    ("02.4", 39.31, "its s is missing"),
    ("02.4", 3.0, "weighted mean of 10 and 40"),
    ("03.1", steps_on(1), "one step"),
    ("03.1", steps_on(1, factor=2.0), "Both steps use the gradient at the start"),
    ("03.1", steps_on(factor=-1.0), "uphill"),
    ("03.1", steps_on(adapt="query"), "adapt on the query"),
    ("03.1", steps_on(judge="support"), "return the support loss"),
    ("03.1", steps_on(3), "is not that of the query loss"),
    ("03.1", lambda *a: float(steps_on()(*a)), "cannot be differentiated"),
    ("03.1", lambda *a: steps_on()(*a).detach(), "cannot be differentiated"),
    ("03.1", steps_by_autograd(False), "lacks the Hessian"),
    ("03.1", lambda theta, *a: steps_on()(theta.detach(), *a), "cannot be differentiated"),
    ("03.2", 1 / (0.64 + 0.09 / 0.25), "factor 2"),
    ("03.2", 1 / (2 * 0.64), "Newton step"),
    ("03.2", 0.5 / (0.64 + 0.09), "prior's variance is missing"),
    ("03.2", 0.5 / (0.64 + 0.3 / 0.5), "not standard deviations"),
    ("03.2", 0.5 / (0.64 + 0.09 / 0.5), "square of 0.5"),
    ("03.2", 0.5 / (0.64 + 0.25 / 0.09), "swapped"),
    ("03.2", 0.5 / (0.8 + 0.09 / 0.25), "x squared"),
    ("03.2", 17.0, "Formula (3)"),
    ("03.3", 0.18, "least squares"),
    ("03.3", (0.25 * 0.8 + 9 * 0.04 / 3) / 3 + 0.25 / 3, "noise term"),
    ("03.3", (0.25 * 0.8 + 9 * 0.04 / 3) / 3 + 0.18, "second row"),
    ("03.3", 0.25 * 0.8 + 9 * 0.04 / 3 + 0.25 / 3 + 0.18, "weighs the slope"),
    ("03.3", 0.25 * 4 / 15 + 0.25 / 3 + 0.18, "intercept's part"),
    ("03.3", (0.25 * 0.8 + 9 * 0.04 / 3) / 3 + 0.25 / 3 + 0.09, "two parameters"),
    ("03.3", -1.0, "row by row"),
    ("04.1", 2 * math.pi, "full period"),
    ("04.1", math.pi / 2, "quarter"),
    ("04.1", 180, "radian"),
    ("04.1", 0, "one reading"),
    ("04.1", 1.0, "determinant"),
    ("04.2", lambda a, b: (a * a + b * b, 0.0), "squared"),
    ("04.2", lambda a, b: (a + b, 0.0), "A^2 = a^2 + b^2"),
    ("04.2", phase_by(lambda a, b: math.atan2(b, a)), "wrong sign"),
    ("04.2", phase_by(lambda a, b: math.atan2(a, -b)), "exchanged"),
    ("04.2", phase_by(lambda a, b: math.atan(-b / a)), "atan2"),
    ("04.2", phase_by(lambda a, b: 0.1), "it gave 0.1. That should be the phase"),
    ("04.3", 1.75, "sine squared halves"),
    ("04.3", 0.78125, "mean amplitude"),
    ("04.3", 1.3125, "density"),
    ("04.3", math.sqrt(0.875), "root of the mean square"),
    ("04.3", 4.25, "Integrate"),
    ("04.3", 0.88, "three were asked for"),
    ("04.4", 0.1, "wrong way"),
    ("04.4", 0.01, "reported number"),
    ("04.4", 0.0001, "one factor"),
    ("04.4", 7.0, "grad L / K"),
    ("05.1", LogFit(lambda u: u), "add the 20 degrees"),
    ("05.1", LogFit(torch.log), "predict the logarithm"),
    ("05.1", LogFit(lambda u: 20 + torch.log(u)), "but for exp"),
    ("05.1", LogFit(lambda u: (20 + u)[:, 0]), "temperatures [m, 1]"),
    ("05.1", LogFit(lambda u: (20 + u).tolist()), "must return a tensor [m, 1]; an array"),
    ("05.1", LogFit(lift=lambda e: e), "clamp the excess"),
    ("05.1", LogFit(sign=-1.0), "gets warmer"),
    ("05.1", LogFit(lambda u: u, room=0.0), "You fitted ln T"),
    ("05.1", LogFit(lambda u: 21 + u), "should be the true curve"),
    ("05.1", Numbers(), "must return a function"),
    ("05.1", LogFit(lift=torch.abs), "a magnitude has no sign"),
    ("05.1", LogFit(lift=lambda e: e.abs().clamp(min=0.1)), "a magnitude has no sign"),
    ("05.1", LogFit(lift=lambda e: e.clamp(min=5.0)), "should be the true curve"),
    ("05.2", lambda p, d: ((residual(p, d) / 0.5) ** 2).sum(), "summed over readings"),
    ("05.2", lambda p, d: (residual(p, d) ** 2).mean() / 0.5, "before squaring"),
    ("05.2", lambda p, d: (residual(p, d) ** 2).mean(), "plain mean squared error"),
    ("05.2", lambda p, d: ((residual(p, d) * 0.5) ** 2).mean(), "do not multiply"),
    ("05.2", lambda p, d: (residual(p, d) / 0.5).mean(), "cancel"),
    ("05.2", lambda p, d: (residual(p, d) / 0.5).abs().mean(), "absolute deviation"),
    ("05.2", lambda p, d: ((residual(p, d) / 0.5) ** 2).mean().sqrt(), "No square root"),
    ("05.2", lambda p, d: (residual(p, d) / 0.5) ** 2, "one number"),
    ("05.2", lambda p, d: ((residual(p, d) / 0.5) ** 2).mean().detach(), "keep detach(),"),
    ("05.2", lambda p, d: residual(p, d).mean() + 7, "Not chi squared"),
    ("05.2", lambda p, d: chi2(p, d).item(), "gradients do not flow"),
    ("05.2", lambda p, d: chi2(p, d)[None], "one number for the whole task"),
    ("05.3", with_draw(lambda p: {**p, "angle": torch.rad2deg(p["angle"])}), "angle is in degrees"),
    ("05.3", with_draw(lambda p: {**p, "speed": 3.6 * p["speed"]}), "km/h"),
    ("05.3", with_draw(lambda p: {**p, "speed": p["speed"] + 2}), "'speed' must be uniform"),
    ("05.3", with_draw(lambda p: {**p, "angle": p["angle"] / 2}), "'angle' must be uniform"),
    ("05.3", with_draw(lambda p: {**p, "speed": p["speed"][:, None]}), "shape [n_tasks]"),
    ("05.3", with_draw(lambda p: {**p, "speed": 6.0}), "shape [n_tasks]"),
    ("05.3", with_draw(lambda p: {**p, "angle": torch.full_like(p["angle"], 0.8)}), "same for all"),
    (
        "05.3",
        with_draw(lambda p: {**p, "speed": 5 + 3 * torch.rand(len(p["speed"]))}),
        "pass the generator on",
    ),
    (
        "05.3",
        with_draw(lambda p: {"v": p["speed"], "theta": p["angle"]}),
        "keys 'speed' and 'angle'",
    ),
    ("05.3", with_draw(lambda p: list(p.values())), "must return a dict"),
    ("05.3", with_settings(x_range=(0.0, 200.0)), "x_range is in centimetres"),
    ("05.3", with_settings(x_range=(-1.0, 1.0)), "x_range must be"),
    ("05.3", with_settings(noise=2.0), "noise is in centimetres"),
    ("05.3", with_settings(noise=0.0), "error of 2 cm"),
    ("05.3", with_settings(d_in=2), "d_in = d_out = 1"),
    (
        "05.3",
        with_law(lambda x, v, a: x * tan(torch.deg2rad(a)) - fall(x, v, torch.deg2rad(a))),
        "gives radians already",
    ),
    (
        "05.3",
        with_law(lambda x, v, a: x * tan(torch.rad2deg(a)) - fall(x, v, torch.rad2deg(a))),
        "radians to degrees",
    ),
    ("05.3", with_law(lambda x, v, a: x * tan(a) + fall(x, v, a)), "pulls down"),
    ("05.3", with_law(lambda x, v, a: x * tan(a) - 2 * fall(x, v, a)), "factor 1/2"),
    ("05.3", with_law(lambda x, v, a: x * tan(a) - fall(x, v, a) * cos(a)), "cosine is squared"),
    ("05.3", with_law(lambda x, v, a: x * tan(a) - fall(x, v, a) * v), "speed is squared"),
    (
        "05.3",
        with_law(lambda x, v, a: x * tan(a) - fall(x, v, a) * cos(a) ** 2),
        "cosine is missing",
    ),
    ("05.3", with_law(lambda x, v, a: x * sin(a) - fall(x, v, a)), "x tan(angle)"),
    ("05.3", with_law(lambda x, v, a: -fall(x, v, a)), "fall only"),
    ("05.3", with_law(lambda x, v, a: x * v), "law() is not"),
    ("05.3", with_law(lambda x, v, a: (x * v)[..., 0]), "heights from law(), [n_tasks, n, 1]"),
    ("05.3", mk.tasks.Sinusoid(), "keys 'speed' and 'angle'"),
    ("05.3", with_draw(lambda p: {**p, "angle": math.pi / 6 * (p["speed"] - 2) / 3}), "two random"),
    (
        "05.3",
        with_draw(lambda p: {**p, "angle": math.pi / 6 * (11 - p["speed"]) / 3}),
        "two random",
    ),
    ("05.3", with_draw(lambda p: {**p, "speed": 5 + (p["speed"] - 5) ** 2 / 3}), "must be uniform"),
    ("05.3", with_draw(lambda p: None), "must return a dict"),
    (
        "05.3",
        with_draw(lambda p: {**p, "speed": torch.linspace(5, 8, len(p["speed"]))}),
        "generator",
    ),
    ("05.3", with_settings(x_range=None), "Give x_range as two numbers, (low, high); None"),
    ("05.3", with_settings(noise="2 cm"), "Give noise as one number; a text"),
    ("05.3", with_law(lambda x, v, a: (x * tan(a) - fall(x, v, a)).clamp(min=0)), "cut at 0"),
    ("05.3", with_law(lambda x, v, a: x * math.tan(a)), "your code raised"),
    ("05.3", Elsewhere(), "outside 0 .. 2 m"),
    ("06.1", -0.2, "sign"),
    ("06.1", 1.7, "does not move"),
    ("06.1", 0.1, "factor 2 is missing"),
    ("06.1", 4.0, "Multiply it by alpha"),
    ("06.1", 0.5, "part of the way"),
    ("06.1", 7.0, "Differentiate"),
    ("06.2", 3.75 * (1 - KEPT) / KEPT, "Upside down"),
    ("06.2", KEPT, "part that is kept"),
    ("06.2", 3.75 * Q / (1 - Q), "one inner step"),
    ("06.2", 1.25, "square term"),
    ("06.2", 5.0, "weak directions"),
    ("06.2", 99.0, "solve for lambda"),
    ("06.3", 1 / 3, "shrink"),
    ("06.3", 1 / (1 + Q + Q**2 + Q**3), "three gradients"),
    ("06.3", 1 / (1 + Q), "two steps"),
    ("06.3", 1 - Q**3, "part of the miss"),
    ("06.3", 1 - 1 / (1 + Q + Q**2), "later gradients"),
    ("06.3", 1 / (1 + 0.375 + 0.375**2), "leaves the fraction"),
    ("06.3", 0.05, "1 : q : q^2"),
    ("06.3", 0.5, "three were asked for"),
    ("06.4", 5, "below the line"),
    ("06.4", 50, "alpha = 1"),
    ("06.4", 10, "And the penalty"),
    ("06.4", 0.002, "Upside down"),
    ("06.4", 250, "no factor 2"),
    ("06.4", math.log(2) * 500, "slopes at 0"),
    ("06.4", 7, "h / lambda"),
    ("07.1", 1 / 13, "That is the variance"),
    ("07.1", 13.0, "That is the precision"),
    ("07.1", 1 / 3, "left out the prior"),
    ("07.1", 0.5, "That is the prior"),
    ("07.1", (4 + 1 / 0.09) ** -0.5, "The force at x carries k times x"),
    ("07.1", 14**-0.5, "The x is squared"),
    ("07.1", (4 + 2.7) ** -0.5, "The noise is a standard deviation"),
    ("07.1", 11**-0.5, "The prior's 0.5 is a standard deviation"),
    ("07.1", (0.25 + 1 / 9) ** 0.5, "Precisions add"),
    ("07.1", 0.1, "Formula (1)"),
    ("07.2", about(1.96 * 0.05), "belongs to 95 %"),
    ("07.2", about(1.28 * 0.05), "10 % on each side"),
    ("07.2", about(0.05), "one standard deviation"),
    ("07.2", about(1.645 * 0.03), "interval of the law"),
    ("07.2", about(1.645 * 0.04), "the noise alone"),
    ("07.2", about(1.645 * 0.07), "Variances add"),
    ("07.2", about(1.645 * 0.05**2), "take its root"),
    ("07.2", about(1.645 * 0.025), "half to each side"),
    ("07.2", about(0.1), "Two standard deviations"),
    ("07.2", about(0.0333), "Reach 1.645"),
    ("07.2", about(1.645 * 0.05, 1.20), "evenly about the mean"),
    ("07.2", about(-1.645 * 0.05), "lower end comes first"),
    (
        "07.3",
        coverage(lambda e, v: 1.96 * v.std() / v.numel() ** 0.5),
        "as if they were independent",
    ),
    ("07.3", coverage(lambda e, v: 1.96 * e.std() / v.numel() ** 0.5), "root of all points"),
    ("07.3", coverage(lambda e, v: 1.96 * v.std() / len(v) ** 0.5), "inside or outside as a whole"),
    ("07.3", coverage(lambda e, v: 1.96 * e.std()), "scatter of single tasks"),
    ("07.3", coverage(lambda e, v: e.std()), "standard deviation over tasks"),
    ("07.3", coverage(lambda e, v: e.std() / len(e) ** 0.5), "one standard error"),
    ("07.3", coverage(lambda e, v: 1.645 * e.std() / len(e) ** 0.5), "belongs to 90 %"),
    ("07.3", coverage(lambda e, v: 3.92 * e.std() / len(e) ** 0.5), "the whole width"),
    ("07.3", coverage(lambda e, v: 1.96 * e.var() / len(e) ** 0.5), "used the variance"),
    (
        "07.3",
        coverage(lambda e, v: 1.96 * (v.mean() * (1 - v.mean()) / len(e)) ** 0.5),
        "inside or outside as a whole",
    ),
    ("07.3", coverage(lambda e, v: 7.0), "The coverage is right"),
    ("07.3", coverage(mean=lambda v: 100 * v.mean()), "not in percent"),
    ("07.3", coverage(mean=lambda v: (v.mean(1) == 1).double().mean()), "lie inside as a whole"),
    ("07.3", coverage(mean=lambda v: v.mean() / 2), "mean of inside"),
    ("07.3", lambda inside: inside.double().mean(), "Return two numbers"),
    ("07.3", coverage(mean=lambda v: v.mean(1)), "Return two numbers"),
    ("07.4", lambda c, s: reduction(c, 0.0).mean(0), "The noise is missing"),
    ("07.4", lambda c, s: reduction(c, s**0.5).mean(0), "The noise is a standard deviation"),
    ("07.4", lambda c, s: (c / (c.diagonal() + s**2)).mean(0), "numerator is squared"),
    ("07.4", lambda c, s: reduction(c, s).mean(1), "averaged over the candidates"),
    ("07.4", lambda c, s: reduction(c, s).sum(0), "sum over places"),
    ("07.4", lambda c, s: reduction(c, s).diagonal(), "gain at the candidate itself"),
    ("07.4", lambda c, s: c.diagonal(), "where you are least sure"),
    ("07.4", lambda c, s: c.diagonal().mean() - reduction(c, s).mean(0), "variance that is left"),
    ("07.4", lambda c, s: (c**2 / (c.diagonal() + s**2)[:, None]).mean(0), "over the candidates"),
    ("07.4", lambda c, s: reduction(c, s).mean(0).argmax(), "every candidate"),
    ("07.4", lambda c, s: reduction(c, s), "an array of shape [4, 4] was returned"),
    ("07.4", lambda c, s: 3 * reduction(c, s).mean(0), "Formula (3)"),
    ("08.1", 7.5, "the largest slope"),
    ("08.1", -0.6, "That is sin u"),
    ("08.1", 0.8, "That is cos u"),
    ("08.1", 12.0, "half the width"),
    ("08.1", -4.5, "derivative of the sine"),
    ("08.1", math.asin(-0.6), "u itself"),
    ("08.1", 1 / 6, "one over the slope"),
    ("08.1", 1.0, "Find sin u"),
    ("08.2", 13, "Round up"),
    ("08.2", 13.354, "whole number"),
    ("08.2", 27, "twice as wide"),
    ("08.2", 20, "reach of pi/T"),
    ("08.2", 5, "A valley is"),
    ("08.2", 13.9, "Give a whole number."),
    (
        "08.3",
        lambda x, tau: torch.exp(-x / tau) / torch.exp(-x / tau).sum(),
        "subtract the smallest",
    ),
    ("08.3", lambda x, tau: torch.softmax(x / tau, 0), "The sign"),
    ("08.3", lambda x, tau: torch.softmax(-x * tau, 0), "do not multiply"),
    ("08.3", lambda x, tau: torch.exp(-x / tau), "sum to 1"),
    ("08.3", lambda x, tau: torch.softmax(-x, 0), "tau is missing"),
    ("08.3", lambda x, tau: (x == x.min()).double(), "the best alone"),
    ("08.3", lambda x, tau: 2 * x, "Formula (2)"),
    ("08.3", lambda x, tau: x.sum(), "one weight a start"),
    ("09.1", (0.8, 0.4444), "wrong way round"),
    ("09.1", (2.25, 1.25), "Upside down"),
    ("09.1", (0, 0), "empty world"),
    ("09.1", (1.0, 1.0), "Set both rates to zero"),
    ("09.2", lambda x, y, b, d: b * x - 0.5 * x.log() + d * y - 0.5 * y.log(), "swapped"),
    ("09.2", lambda x, y, b, d: d * x + 0.5 * x.log() + b * y + 0.5 * y.log(), "minus sign"),
    ("09.2", lambda x, y, b, d: x * y, "integrate"),
    ("09.2", lambda x, y, b, d: 1.0, "Return one number for each pair"),
    ("09.2", lambda *a: -conserved(*a), "the other sign"),
    ("09.2", lambda *a: conserved(*a) / 1000 + 7, "integrate"),
    ("09.2", lambda *a: conserved(*a) + 1, "integrate"),
    ("09.3", 16, "its square"),
    ("09.3", 4, "order four"),
    ("09.3", 2, "order four, not one"),
    ("09.3", 1024, "twice as many steps"),
    ("09.3", 7, "fourth power"),
    ("09.4", 2, "its square, a quarter"),
    ("09.4", 0.25, "so the step must grow"),
    ("09.4", 0.5, "and the loss is a square"),
    ("09.4", 16, "Squared once too often"),
    ("09.4", 7, "about h e"),
    ("10.1", -9.81 / 2 * math.cos(1.0), "E itself"),
    ("10.1", SWING, "height in units"),
    ("10.1", 9.81 / 2, "times 1 - cos q"),
    ("10.1", 9.81 * 2 * SWING, "in place of 1/l"),
    ("10.1", 9.81 / 2 * (1 - math.cos(math.radians(1))), "not in degrees"),
    ("10.1", 9.81 / 4, "small-angle"),
    ("10.1", 7.0, "with g = 9.81"),
    ("10.2", drift_by(lambda e, d, w: d.abs().max()), "Divide by the energy"),
    ("10.2", drift_by(lambda e, d, w: d.abs().max() / e[0].abs()), "zero is arbitrary"),
    ("10.2", drift_by(lambda e, d, w: d[-1].abs() / (e[0] + w)), "change at the end"),
    ("10.2", drift_by(lambda e, d, w: d.max() / (e[0] + w)), "absolute change"),
    ("10.2", drift_by(lambda e, d, w: d.abs().mean() / (e[0] + w)), "mean change"),
    ("10.2", drift_by(lambda e, d, w: d.abs() / (e[0] + w)), "one number"),
    ("10.2", drift_by(lambda e, d, w: 17.0), "max |E(t)"),
    ("10.2", drift_by(lambda e, d, w: (e.max() - e.min()) / (e[0] + w)), "against the start"),
    ("10.3", lambda c, v, n: (c * v).sum() / (c * c).sum() * n, "origin"),
    ("10.3", turned, "turned it round"),
    ("10.3", lambda c, v, n: 1.0, "one value for each new latent"),
    ("10.3", lambda c, v, n: 0 * n, "by least squares"),
    ("11.1", 6 / 2.21, "falls as 1/r"),
    ("11.1", 6 / 1.1, "not 1.1"),
    ("11.1", 2 / R, "Both charges add"),
    ("11.1", -2 / R, "both positive"),
    ("11.1", 1.0, "Pythagoras"),
    ("15.1", 4.0, "price"),
    ("15.1", math.log(12) - 4, "sign"),
    ("15.1", 4 - math.log10(12), "natural"),
    ("15.1", 0.4 - math.log(12), "variance"),
    ("15.1", 7.0, "k = 2"),
    ("15.2", lambda B, y, noise: of_law(B, y, noise, power=1), "noise^2"),
    ("15.2", lambda B, y, noise: of_law(B, y, noise, half=1.0), "1/2"),
    ("15.2", lambda B, y, noise: no_volume(B, y, noise), "normalisation"),
    ("15.2", lambda B, y, noise: best_fit(B, y, noise), "averages"),
    ("15.2", lambda B, y, noise: y.sum(), "B B^T"),
    ("15.3", lambda f, labels, new: labels[torch.cdist(new, f).argmin(1)], "nearest example"),
    ("15.3", lambda f, labels, new: undivided(f, labels, new), "Divide"),
    ("15.3", lambda f, labels, new: torch.zeros(len(new)), "nearest mean"),
    ("15.3", lambda f, labels, new: labels, "one label"),
    ("11.2", (2.0, 4.0), "wrong order"),
    ("11.2", (4.0952, 2.1905), "far charge"),
    ("11.2", (1.0, 1.0), "Two equations"),
    ("11.3", lambda h, q, new: (new @ torch.linalg.pinv(h) @ q).flip(1), "swapped"),
    ("11.3", lambda h, q, new: q, "one pair of charges"),
    ("11.3", lambda h, q, new: new[:, :2], "shortest solution"),
    (
        "11.3",
        lambda h, q, new: new @ h.T @ torch.linalg.pinv(h @ h.T + 0.1) @ q,
        "shortest solution",
    ),
    ("11.3", lambda h, q, new: shortest(h[:2], q[:2], new), "seven"),
    ("12.1", 81, "The sign"),
    ("12.1", -90, "a second U"),
    ("12.1", -162, "The 2 of 2 nu"),
    ("12.1", -0.002025, "Divide by the viscosity"),
    ("12.1", 0.0111, "That is the width"),
    ("12.1", 3, "Differentiate"),
    ("12.2", 25, "the square of the residual"),
    ("12.2", 5, "Second derivative"),
    ("12.2", 125, "power is even"),
    ("12.2", 625 * math.pi**4, "pi cancels"),
    ("12.2", 1 / 625, "other way round"),
    ("12.2", 2.44140625, "not over the next"),
    ("12.2", 7, "proportional"),
    ("12.3", lambda f, x: u_t(f, x) + x[:, 2:] * u_xx(f, x), "The sign"),
    ("12.3", lambda f, x: u_t(f, x) - u_xx(f, x), "nu is missing"),
    ("12.3", pde.burgers, "Burgers' residual"),
    ("12.3", lambda f, x: pde.slope(f, x, 0)[1], "Columns"),
    ("12.3", lambda f, x: u_t(f, x) - x[:, 2:] * pde.slope(f, x, 0)[1], "slope of the slope"),
    ("12.3", u_t, "nu u_xx is missing"),
    ("12.3", lambda f, x: f(x), "column 0 twice"),
    ("12.3", lambda f, x: f(x).sum(), "one residual a point"),
    ("12.4", lambda a, r, s: a / (r - s), "not an error"),
    ("12.4", lambda a, r, s: a / (r - s) if r > s else 0, "give infinity"),
    ("12.4", lambda a, r, s: a / s, "not by what it costs"),
    ("12.4", lambda a, r, s: a / r, "random minus learned"),
    ("12.4", lambda a, r, s: (r - s) / a, "other way round"),
    ("12.4", lambda a, r, s: a * s / r, "not the ratio"),
    ("12.4", lambda a, r, s: a, "Training costs once"),
    ("13.1", lambda y, g, s: weighted_mse(y, g, s, 0.0), "all readings alike"),
    ("13.1", lambda y, g, s: weighted_mse(y, g, s, 1.0), "square of the error bar"),
    ("13.1", lambda y, g, s: weighted_mse(y, g, s, -2.0), "Upside down"),
    ("13.1", lambda y, g, s: (((y - g) / s) ** 2).sum(), "the sum of the weights."),
    ("13.1", lambda y, g, s: (((y - g) / s) ** 2).mean(), "not by how many"),
    ("13.1", lambda y, g, s: ((y - g) / s**2).sum() / (s**-2).sum(), "Square the difference"),
    ("13.1", lambda y, g, s: weighted_mse(y, g, s) ** 0.5, "its root"),
    ("13.1", lambda y, g, s: y.sum(), "over the sum of w"),
    ("13.1", lambda y, g, s: y - g, "one number"),
    ("13.2", lambda c, p, a: life(c, p + 1, a), "q is p - 1, not p"),
    ("13.2", lambda c, p, a: life(c, p / 2, a), "half of the engineers' exponent"),
    ("13.2", lambda c, p, a: (1 - a ** (1 - p)) / c, "Divide by q"),
    ("13.2", lambda c, p, a: -life(c, p, a), "The sign"),
    ("13.2", lambda c, p, a: math.log(a) / c, "for every p"),
    ("13.2", lambda c, p, a: (a - 1) / c, "first speed"),
    ("13.2", lambda c, p, a: c * life(1.0, p, a), "Divide by C"),
    ("13.2", lambda c, p, a: (1 - a ** (1 - p)) / ((p - 1) * c), "Right, but for p = 1"),
    ("13.2", lambda c, p, a: a, "Solve (1)"),
    ("13.3", lambda r, v, s: latent(r, v, s, prior=0.0), "forgets the prior"),
    ("13.3", lambda r, v, s: latent(r, v, s, root=1.0), "the variance"),
    ("13.3", lambda r, v, s: latent(r, v, s**0.5), "Square the noise"),
    ("13.3", lambda r, v, s: latent(r, v, 1.0), "Divide by sigma^2"),
    ("13.3", lambda r, v, s: latent(r, v, s * len(v) ** 0.5), "Sums over the readings"),
    (
        "13.3",
        lambda r, v, s: (r.sum() / s**2 / (1 + (v**2).sum() / s**2), latent(r, v, s)[1]),
        "Multiply each rest",
    ),
    ("13.3", lambda r, v, s: (r.sum(), v.sum()), "Formula (2)"),
    ("13.3", lambda r, v, s: latent(r, v, s)[0], "two numbers"),
    ("13.4", 0.2853, "one over it"),
    ("13.4", 0.905, "the exponent"),
    ("13.4", 3.14, "Keep the magnitude"),
    ("13.4", 1.685, "logarithm of the distance"),
    ("13.4", 4, "1 / distance"),
    ("13.4", 1.254, "logarithm of the factor"),
    ("13.4", 7, "Fit ln A"),
    ("16.1", lambda rho: 2 / (1 + (1 - rho) ** 0.5), "squared under the root"),
    ("16.1", lambda rho: 2 / (1 + (1 - rho**2) ** 0.5) - 1, "omega - 1"),
    ("16.1", lambda rho: 2 / (2 - rho**2), "the root of"),
    ("16.1", lambda rho: 1 / (1 + (1 - rho**2) ** 0.5), "The numerator"),
    ("19.1", lambda e: e / e.sum(), "take exp"),
    ("19.1", lambda e: (e - e.max()).exp(), "add up to 1"),
    ("19.1", lambda e: torch.softmax(-e, 0), "The sign"),
    ("19.1", lambda e: (e == e.max()).double(), "the best alone"),
    ("19.1", lambda e: e.exp() / e.exp().sum(), "nan (no finite number)"),
    ("19.1", lambda e: torch.ones_like(e), "over the sum of all"),
    ("19.1", lambda e: e[0], "one number a specialist"),
    ("19.2", lambda p, m, v: (p * v).sum(), "that disagree"),
    ("19.2", lambda p, m, v: of_mixture(p, m, 0 * v), "own variances"),
    ("19.2", lambda p, m, v: (p * (v + m**2)).sum(), "take the square"),
    ("19.2", lambda p, m, v: of_mixture(p, m, v) ** 0.5, "standard deviation"),
    ("19.2", lambda p, m, v: v.mean() + m.var(correction=0), "Weigh by"),
    ("19.2", lambda p, m, v: (p**2 * v).sum(), "not squared"),
    ("19.2", lambda p, m, v: v[0], "E[y^2] - E[y]^2"),
    ("19.3", lambda said, w: said.mean(0), "padded"),
    ("19.3", lambda said, w: w @ said, "no other system"),
    ("19.3", lambda said, w: w @ said / len(w), "how many rows"),
    ("19.3", lambda said, w: said[w > 0].mean(0), "three times"),
    ("19.3", lambda said, w: (w @ said / w.sum()).mean().expand(2), "each of the c"),
    ("19.3", lambda said, w: said[0], "over the sum of w"),
    ("19.3", lambda said, w: said, "a row [c]"),
    ("16.1", lambda rho: 2 / (1 - (1 - rho**2) ** 0.5), "The root is added"),
    ("16.1", lambda rho: rho, "formula (2)"),
    ("16.2", lambda w, cap: over_best(w, cap, mean=lambda t: t.mean(0)), "the logarithms"),
    ("16.2", lambda w, cap: over_best(w, 1e12), "not as it stands"),
    ("16.2", lambda w, cap: over_best(w, cap, 1.0), "not once"),
    (
        "16.2",
        lambda w, cap: (m := torch.where(w > cap, 10 * cap, w).log().mean(0)).exp() / m.min().exp(),
        "not by the one best method",
    ),
    (
        "16.2",
        lambda w, cap: torch.where(w > cap, 10 * cap, w).log().mean(0).exp(),
        "Divide by the best method of each instance.",
    ),
    ("16.2", lambda w, cap: over_best(w, cap).log(), "mean logarithm"),
    ("16.2", lambda w, cap: w[0], "Fill in 10 cap"),
    ("16.2", lambda w, cap: w.min(), "one number a method"),
    ("16.3", lambda n, s, m, r: (s - r) / (n - m), "The sign"),
    ("16.3", lambda n, s, m, r: (s - r) / m, "how many are saved"),
    ("16.3", lambda n, s, m, r: s / (m - n), "only the difference"),
    ("16.3", lambda n, s, m, r: (m - n) / (s - r), "Upside down"),
    ("16.3", lambda n, s, m, r: n, "solve for the price"),
    ("16.4", lambda a, lam: 1 - a.sum() * lam, "multiply; their"),
    ("16.4", lambda a, lam: (1 - a.mean() * lam) ** len(a), "the steps differ"),
    ("16.4", lambda a, lam: left_of(a, lam).abs(), "not its size"),
    ("16.4", lambda a, lam: left_of(a, lam) ** 2, "its square"),
    ("16.4", lambda a, lam: (1 - a[:, None] * lam).sum(0), "one after another"),
    ("16.4", lambda a, lam: (a[:, None] * lam).prod(0), "not by alpha lambda"),
    ("16.4", lambda a, lam: lam, "over all steps k"),
    ("21.1", lambda m, s, a: math.ceil(m / s), "only the difference"),
    ("21.1", lambda m, s, a: m // (s - a), "round up, tasks"),
    ("21.1", lambda m, s, a: m / (s - a), "whole: round up"),
    ("21.1", lambda m, s, a: m, "what each task saves"),
    ("21.2", lambda a, b, share: share * a // b, "of the whole step"),
    ("21.2", lambda a, b, share: (1 - share) * a // (share * b), "not b B"),
    ("21.2", lambda a, b, share: share * a / (b - share * b), "whole, and the share"),
    ("21.2", lambda a, b, share: math.ceil(share * a / (b - share * b)), "Rounded up"),
    ("21.2", lambda a, b, share: b, "Solve b B"),
    ("21.3", lambda c, ell: (c / ell) ** 0.5, "not P - 1"),
    ("21.3", lambda c, ell: c / (2 * ell), "a root is left"),
    ("21.3", lambda c, ell: (2 * c / ell) ** 0.5, "below the fraction"),
    ("21.3", lambda c, ell: (2 * ell / c) ** 0.5, "fewer processes"),
    ("21.3", lambda c, ell: c, "derivative of (2)"),
    ("21.4", 270, "without any change"),
    ("21.4", 255, "capturing alone"),
    ("21.4", 216.25, "compiling alone"),
    ("21.4", 142.5, "5 ms of Python"),
    ("21.4", 135, "do not halve"),
    ("21.4", 127.5, "earn its 25 s"),
    ("21.4", 95.6, "25 s are missing"),
    ("21.4", 145.6, "25 s once"),
    ("21.4", 7.0, "Compile, in two processes"),
    ("16.4", lambda a, lam: left_of(a, lam)[0], "one number an eigenvalue"),
    ("20.1", lambda w, a, x, y: step_of_powers(w, a, x, y, 1.0), "factor 2 is missing"),
    ("20.1", lambda w, a, x, y: step_of_powers(w, a, x, y, -2.0), "against the gradient"),
    ("20.1", lambda w, a, x, y: step_of_powers(w, a, x, y, u=lambda x: x), "not of x"),
    (
        "20.1",
        lambda w, a, x, y: (
            w - 2 * a * (w @ torch.stack([(1 - 1 / x) ** (k + 1) for k in range(len(w))]) - y)
        ),
        "carries the feature",
    ),
    ("20.1", lambda w, a, x, y: step_of_powers(w, a / a, x, y), "step size of its own"),
    ("20.1", lambda w, a, x, y: step_of_powers(w, a, x, y) - w, "add it to w"),
    ("20.1", lambda w, a, x, y: w, "w_j' = w_j"),
    ("20.1", lambda w, a, x, y: w[0], "a row of numbers"),
    ("20.2", lambda w, bits: on_grid(w, bits, lambda b: 2**b - 1), "One bit is the sign"),
    ("20.2", lambda w, bits: on_grid(w, bits, lambda b: 2 ** (b - 1)), "as many steps above"),
    ("20.2", lambda w, b: (w / w.abs().max() * (2 ** (b - 1) - 1)).round(), "whole numbers;"),
    (
        "20.2",
        lambda w, b: (s := w.max() / (m := 2 ** (b - 1) - 1)) * (w / s).round().clamp(-m, m),
        "whatever its sign",
    ),
    ("20.2", lambda w, bits: w, "Nothing was rounded"),
    ("20.2", lambda w, bits: -w, "round w / spacing"),
    ("20.3", lambda s, e: 1 - torch.tensor(nobody_better(s, e)), "other way round"),
    ("20.3", lambda s, e: (e == e.min()).double(), "smallest error alone"),
    ("20.3", lambda s, e: (s == s.min()).double(), "smallest alone"),
    ("20.3", lambda s, e: nobody_better(s, e, ties=False), "as small and errs less"),
    ("20.3", lambda s, e: s * 0, "Point i is out"),
    ("14.1", lambda s, d, r: (s[: len(s) - d, : s.shape[1] - r] * s[d:, r:]).mean(), "a torus"),
    ("14.1", lambda s, d, r: (s * s.roll((-d, -r), (0, 1))).sum(), "number of sites"),
    ("14.1", lambda s, d, r: correlation(s, r, d), "first axis"),
    ("14.1", lambda s, d, r: (correlation(s, d, 0) + correlation(s, 0, r)) / 2, "at once"),
    ("14.1", lambda s, d, r: s.mean(), "shifted copy"),
    ("14.2", lambda s, y, a: 2 * hebb(s, y, a), "slope 1/2"),
    ("14.2", lambda s, y, a: len(s) * hebb(s, y, a), "divide by n"),
    ("14.2", lambda s, y, a: s.shape[1] * hebb(s, y, a), "1/N"),
    ("14.2", lambda s, y, a: -hebb(s, y, a), "against the gradient"),
    ("14.2", lambda s, y, a: hebb(s, (y + 1) / 2, a), "count too"),
    ("14.2", lambda s, y, a: hebb(s, y * 0 + 1, a), "drop out"),
    ("14.2", lambda s, y, a: s.T @ s, "times the sum"),
    ("14.2", lambda s, y, a: hebb(s, y, a)[0], "a matrix"),
    ("14.3", lambda t, p: t[(p >= 0.5).nonzero()[0, 0]], "first temperature above"),
    ("14.3", lambda t, p: t[(p < 0.5).nonzero()[-1, 0]], "last temperature below"),
    (
        "14.3",
        lambda t, p: t[(p - 0.5).sign().diff().nonzero()[0, 0] :][:2].mean(),
        "Not the middle",
    ),
    (
        "14.3",
        lambda t, p: t[(p < 0.5).sum() - 1] + t[(p < 0.5).sum()] - crossing(t, p),
        "point below",
    ),
    ("14.3", lambda t, p: t.mean(), "straight line from"),
    ("17.1", 0.95**60, "inverse"),
    ("17.1", 0.95**-120, "square"),
    ("17.1", 20.0, "limit"),
    ("17.1", 0.95**-30, "standard deviation"),
    ("17.1", 1 + 60 * (1 / 0.95 - 1), "summand"),
    ("17.1", 5.0, "divides"),
    ("17.2", math.exp(-1 / 20), "half-life"),
    ("17.2", 0.95, "0.36"),
    ("17.2", 0.97, "three were asked for"),
    ("17.2", 0.5**20, "20th root"),
    ("17.2", 0.5 ** (1 / 40), "rho^40"),
    ("17.2", 0.9, "Solve"),
    ("17.3", lambda P, P0, rho, k: rho**k * P + (1 - rho**k) * P0, "square"),
    ("17.3", lambda P, P0, rho, k: rho**2 * P + (1 - rho**2) * P0, "one tick"),
    ("17.3", lambda P, P0, rho, k: rho ** (2 * k) * P, "comes in"),
    ("17.3", lambda P, P0, rho, k: rho ** (2 * k) * P + k * (1 - rho**2) * P0, "shrinks"),
    ("17.3", lambda P, P0, rho, k: P, "geometric"),
    ("17.4", lambda y, m, v, noise: ((y - m) ** 2 / v).sum(), "noise besides"),
    ("17.4", lambda y, m, v, noise: ((y - m) ** 2 / noise**2).sum(), "not known exactly"),
    ("17.4", lambda y, m, v, noise: ((y - m) ** 2 / (v + noise)).sum(), "square it"),
    ("17.4", lambda y, m, v, noise: ((y - m) ** 2 / (v + noise**2)).mean(), "not the mean"),
    ("17.4", lambda y, m, v, noise: (y - m).sum() ** 2 / (v + noise**2).sum(), "by itself"),
    ("17.4", lambda y, m, v, noise: (y - m).sum(), "sum over readings"),
]


@pytest.mark.parametrize(("exercise", "answer", "hint"), HINTS)
@pytest.mark.filterwarnings("ignore:Converting a tensor with requires_grad")
def test_each_known_mistake_has_its_hint(
    exercise: str, answer: Any, hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    said = verdict(exercise, answer, capsys)
    assert said.startswith("not yet. ")
    assert hint in said


# What is called right is what the library says


def test_bayes_of_the_library_is_right(capsys: pytest.CaptureFixture[str]) -> None:
    yardstick = mk.yardsticks.Bayes([25.0], [[25.0]], 0.5, lambda x: x)
    one = torch.ones(1, 1, dtype=torch.float64)
    answer = lambda x, y: yardstick.adapt(x, y)(one)[0, 0]  # noqa: E731
    assert verdict("01.2", answer, capsys) == "correct"


def test_step_size_gradient_of_the_library_is_right(capsys: pytest.CaptureFixture[str]) -> None:
    """A spring with the s and c of exercise 02.3: one support and one query point, made to fit."""
    x = 0.02**0.5
    model = torch.nn.Linear(1, 1, bias=False, dtype=torch.float64)
    torch.nn.init.constant_(model.weight, 20.0)
    learner = mk.MAML(model, inner_lr=10.0, learn_lr="tensor")

    def point(c: float) -> mk.Data:
        values = torch.tensor([x, c / x], dtype=torch.float64).reshape(2, 1, 1, 1)
        return mk.Data(values[0], values[1])

    learner.query_losses(mk.TaskBatch(point(0.50), point(0.48), {})).mean().backward()
    assert verdict("02.3", learner.rates[0].grad, capsys) == "correct"


def test_the_step_for_one_mark_is_bayes() -> None:
    """The accepted number makes one inner step equal the library's Bayes estimate."""
    x, y = torch.tensor([[0.8]], dtype=torch.float64), torch.tensor([[2.1]], dtype=torch.float64)
    bayes = mk.yardsticks.Bayes([2.0], [[0.25]], 0.3, features=lambda x: x)
    step = 2.0 + 2 * RIGHT["03.2"] * 0.8 * (2.1 - 0.8 * 2.0)
    one = torch.ones(1, 1, dtype=torch.float64)
    assert float(bayes.adapt(x, y)(one)) == pytest.approx(step, rel=1e-9)


def test_the_price_of_one_step() -> None:
    """The accepted limit agrees with a simulation of the Newton step at many random points."""
    shots, generator = 100, seeded()
    batch = mk.tasks.LinearLaw().sample(4000, shots, 20, generator=generator, dtype=torch.float64)
    phi = torch.cat([batch.support.x, torch.ones_like(batch.support.x)], dim=2)
    mean = torch.tensor([2.0, 0.5], dtype=torch.float64)
    surprise = batch.support.y[..., 0] - phi @ mean
    newton = torch.diag(torch.tensor([3.0, 1.0], dtype=torch.float64))
    w = mean + (phi.mT @ surprise[..., None])[..., 0] @ newton / shots
    errors = (w[:, None, :1] * batch.query.x + w[:, None, 1:] - batch.query.y) ** 2
    assert shots * float(errors.mean()) == pytest.approx(PRICE, rel=0.06)


def test_gain_is_the_mean_loss_of_variance() -> None:
    """Formula (3) of notebook 07, against Bayes' rule done in full for each candidate."""
    generator = seeded(1)
    root = torch.randn(5, 5, generator=generator, dtype=torch.float64)
    cov, noise = root @ root.T, 0.3
    for c in range(5):
        pick = torch.eye(5, dtype=torch.float64)[c : c + 1]
        after = torch.linalg.inv(torch.linalg.inv(cov) + pick.T @ pick / noise**2)
        expected = (cov - after).diagonal().mean()
        torch.testing.assert_close(RIGHT["07.4"](cov, noise)[c], expected)
