"""Exercises of notebook 05: a learner, a loss and a family that the reader writes, examined by
behaviour.
"""

from __future__ import annotations

import inspect
import math
from typing import Any

import torch
from torch import Tensor

from mamlkit.course.checking import (
    Told,
    as_function,
    ask,
    describe,
    judge,
    judge_function,
)
from mamlkit.course.exercises import differentiates, uniform
from mamlkit.tasks import Data, Family

ROOM = 20.0  # degrees Celsius
G = 9.81  # m/s^2


def exercise_1(answer: object) -> str | None:
    """A learner: the straight-line fit of ln(T - 20) against t, made into a temperature again."""
    if inspect.isclass(answer):
        return "Give an instance, with brackets: LogFit()."
    if not hasattr(answer, "adapt"):
        return (
            "A learner needs a method adapt(self, x, y) that returns a function predict(x_new); "
            f"{describe(answer)} was given."
        )
    learner: Any = answer

    def temperatures(x: Tensor, y: Tensor, x_new: Tensor) -> object:
        predict = learner.adapt(x, y)
        if predict is ...:
            return ...
        if not callable(predict):
            raise Told(
                "adapt() must return a function of new times, not the predictions themselves."
            )
        given = predict(x_new)
        if given is ... or isinstance(given, Tensor):
            return given
        raise Told(f"predict() must return a tensor [m, 1]; {describe(given)} was returned.")

    times = torch.tensor([[2.0], [11.0], [23.0], [40.0]], dtype=torch.float64)
    new = [torch.linspace(0, 60, n, dtype=torch.float64)[:, None] for n in (7, 1, 4)]
    cases = [
        (times, ROOM + 70 * torch.exp(-times / 30), new[0]),
        (times[::3], ROOM + 40 * torch.exp(-times[::3] / 18), new[1]),
        (times + 3, ROOM + 55 * torch.exp(-(times + 3) / 45), new[2]),
    ]
    otherwise = "On clean readings of a cup the prediction should be the true curve, and is not."
    needs = "temperatures [m, 1] for x_new [m, 1], as another shape would broadcast unnoticed"
    hint = judge_function(
        temperatures, _log_fit, cases, _WRONG_FITS, otherwise, tolerance=1e-3, needs=needs
    )
    return hint or _below_the_room(temperatures, times)


def _below_the_room(temperatures: Any, times: Tensor) -> str | None:
    """The hint for a learner that takes a reading below 20 degrees for a warm one, or fails."""
    ends = []
    for last in (19.9, 5.0):  # the first three readings are clean
        y = torch.cat([ROOM + 70 * torch.exp(-times[:3] / 30), times.new_tensor([[last]])])
        ends.append(torch.as_tensor(ask(temperatures, {"x": times, "y": y, "x_new": times[3:]})))
    if not all(bool(end.isfinite().all()) for end in ends):
        return (
            "Right for clean readings. But a noisy reading may fall below 20, and its log is not a "
            "number: clamp the excess to a small positive value first."
        )
    if float(ends[1]) > float(ends[0]) + 0.01:
        return (
            "Right for clean readings. But a reading of 5 degrees gives a warmer curve than one of "
            "19.9 (a magnitude has no sign): clamp the excess to a small positive value instead."
        )
    return None


def _columns(t: Tensor) -> Tensor:
    return torch.cat([t, torch.ones_like(t)], dim=1)


def _line(x: Tensor, values: Tensor, x_new: Tensor) -> Tensor:
    """The least-squares line through ``values [n, 1]``, at new places."""
    return _columns(x_new) @ (torch.linalg.pinv(_columns(x)) @ values)


def _log_fit(x: Tensor, y: Tensor, x_new: Tensor) -> Tensor:
    return ROOM + torch.exp(_line(x, torch.log(y - ROOM), x_new))


_WRONG_FITS = {
    "You predict the excess over the room: add the 20 degrees again.": lambda x, y, x_new: (
        _log_fit(x, y, x_new) - ROOM
    ),
    "You predict the logarithm: take exp, and add the room temperature.": lambda x, y, x_new: _line(
        x, torch.log(y - ROOM), x_new
    ),
    "Right but for exp: the fit is of ln(T - 20), and you want T.": lambda x, y, x_new: (
        ROOM + _line(x, torch.log(y - ROOM), x_new)
    ),
    "The sign of the slope is turned: the tea gets warmer.": lambda x, y, x_new: _log_fit(
        x, y, -x_new
    ),
    "You fitted ln T. Newton's law is exponential in the excess: fit ln(T - 20).": (
        lambda x, y, x_new: torch.exp(_line(x, torch.log(y), x_new))
    ),
}


def exercise_2(answer: object) -> str | None:
    """A loss: chi squared per reading, with a standard deviation of 0.5 degrees."""
    loss = as_function(answer, "chi2")

    def of_residuals(rule: Any) -> Any:
        """The loss ``rule`` of the residuals over sigma, as a function of readings and a model."""
        return lambda x, y, bias: rule((78 - 7 * x + bias - y) / 0.5)

    def given(x: Tensor, y: Tensor, bias: Tensor) -> object:
        value = loss(lambda x: 78 - 7 * x + bias, Data(x, y))
        if isinstance(value, Tensor) and value.ndim:
            shape = list(value.shape)
            raise Told(f"A loss is one number for the whole task; yours has shape {shape}.")
        return value

    def chi2(x: Tensor, y: Tensor, bias: Tensor) -> Tensor:
        return of_residuals(lambda r: (r**2).mean())(x, y, bias)

    mistakes = {
        "You summed over readings; take the mean, or the step size depends on the shots.": (
            lambda r: (r**2).sum()
        ),
        "Divide by sigma before squaring (or by sigma squared after).": lambda r: (
            (r**2).mean() * 0.5
        ),
        "The division by sigma is missing: that is the plain mean squared error.": lambda r: (
            (r**2).mean() * 0.5**2
        ),
        "Divide by sigma, do not multiply.": lambda r: (r**2).mean() * 0.5**4,
        "Square the residuals: as they are, positive and negative ones cancel.": lambda r: r.mean(),
        "That is the mean absolute deviation; chi squared has squares.": lambda r: r.abs().mean(),
        "No square root: chi squared per reading.": lambda r: (r**2).mean().sqrt(),
    }
    cases = [
        (uniform(n, 0.0, 2.0, n, 1), uniform(n + 1, 60.0, 80.0, n, 1), bias)
        for n, bias in ((3, uniform(1, 0.0, 1.0)), (5, uniform(2, -1.0, 0.0)))
    ]
    otherwise = "Not chi squared per reading: mean of ((prediction - reading) / 0.5)^2."
    wrong = {hint: of_residuals(rule) for hint, rule in mistakes.items()}
    hint = judge_function(given, chi2, cases, wrong, otherwise)
    if hint is None and not differentiates(given, chi2, cases[0], 2):
        return (
            "The value is right, but gradients do not flow through it: return a tensor, and keep "
            "detach(), float() and item() out."
        )
    return hint


def exercise_3(answer: object) -> str | None:
    """A family: projectiles, examined by its draws, its settings, its law and a sample."""
    if inspect.isclass(answer):
        return "Give an instance, with brackets: Projectile()."
    if not isinstance(answer, Family):
        return (
            "Derive your class from mk.tasks.Family, and give an instance of it; "
            f"{describe(answer)} was given."
        )
    return _draws(answer) or _settings(answer) or _law(answer) or _sample(answer)


def _draws(family: Family) -> str | None:
    n = 4000

    def drawn(seed: int) -> Any:
        generator = torch.Generator().manual_seed(seed)
        return ask(lambda: family.draw(n, generator), {})

    physics, again, other = drawn(0), drawn(0), drawn(1)
    if not isinstance(physics, dict) or set(physics) != {"speed", "angle"}:
        given = sorted(map(str, physics)) if isinstance(physics, dict) else describe(physics)
        return f"draw() must return a dict with the keys 'speed' and 'angle'; it returned {given}."
    for name, value in physics.items():
        if not isinstance(value, Tensor) or value.shape != (n,):
            shape = list(value.shape) if isinstance(value, Tensor) else describe(value)
            return f"{name!r} needs one number a task, shape [n_tasks] = [{n}]; it is {shape}."
        if float(value.double().std()) < 1e-6 * float(value.double().abs().mean()):
            return f"{name!r} is the same for all tasks, so there is nothing to adapt to."
        if not torch.equal(value, again[name]):
            return (
                f"{name!r} differs between two draws with the same seed: pass the generator on, as "
                "in mk.tasks.uniform(n_tasks, low, high, generator)."
            )
        if torch.equal(value, other[name]):
            return f"{name!r} is the same whatever the generator: draw it with the one given."
    return _spread(physics["speed"].double(), physics["angle"].double())


def _spread(speed: Tensor, angle: Tensor) -> str | None:
    """The hint for ranges that are not those asked for, or parameters that go together."""
    if float(angle.max()) > 2 * math.pi:
        return "The angle is in degrees; torch.tan and torch.cos take radians: 30 deg = pi / 6."
    if _fills(speed / 3.6, 5, 8):
        return "The speed is in km/h; the law needs m/s."
    if not _fills(speed, 5, 8):
        return _range("speed", speed, "5 .. 8 m/s")
    if not _fills(angle, math.pi / 6, math.pi / 3):
        return _range("angle", angle, "pi/6 .. pi/3 rad")
    if abs(float(torch.corrcoef(torch.stack([speed, angle]))[0, 1])) > 0.1:
        return (
            "Speed and angle go together: each toy has its own speed and its own angle, so draw "
            "two random numbers."
        )
    return None


def _settings(family: Family) -> str | None:
    range_hint = judge(
        family.x_range,
        (0.0, 2.0),
        {"x_range is in centimetres; the law is in metres: (0.0, 2.0).": (0.0, 200.0)},
        f"x_range must be (0.0, 2.0) m; it is {family.x_range}.",
        needs="x_range as two numbers, (low, high)",
    )
    noise_hint = judge(
        family.noise,
        0.02,
        {"The noise is in centimetres; heights are in metres: 2 cm = 0.02 m.": 2.0},
        f"The readings have an error of 2 cm, that is noise = 0.02 m; yours is {family.noise}.",
        needs="noise as one number",
    )
    if (family.d_in, family.d_out) != (1, 1):
        return "One input (the distance) and one output (the height): d_in = d_out = 1."
    return range_hint or noise_hint


def _law(family: Family) -> str | None:
    def law(x: Tensor, speed: Tensor, angle: Tensor) -> Tensor:
        return x * torch.tan(angle) - _fall(x, speed, angle)

    mistakes = {
        "The law converts the angle to radians, but draw() gives radians already.": (
            lambda x, v, a: law(x, v, torch.deg2rad(a))
        ),
        "The law converts radians to degrees before tan and cos; they take radians.": (
            lambda x, v, a: law(x, v, torch.rad2deg(a))
        ),
        "Gravity pulls down: the second term is subtracted.": lambda x, v, a: (
            x * torch.tan(a) + _fall(x, v, a)
        ),
        "The factor 1/2 of g t^2 / 2 is missing.": lambda x, v, a: law(x, v / 2**0.5, a),
        "The cosine is squared: t = x / (v cos angle).": lambda x, v, a: (
            x * torch.tan(a) - _fall(x, v, a) * torch.cos(a)
        ),
        "The speed is squared: t = x / (v cos angle).": lambda x, v, a: law(x, v**0.5, a),
        "The cosine is missing: only v cos(angle) carries the ball along.": lambda x, v, a: (
            x * torch.tan(a) - _fall(x, v, a) * torch.cos(a) ** 2
        ),
        "x sin(angle) is not the height of the straight flight; that is x tan(angle).": (
            lambda x, v, a: x * torch.sin(a) - _fall(x, v, a)
        ),
        "You return the fall only; the upward flight x tan(angle) is missing.": (
            lambda x, v, a: -_fall(x, v, a)
        ),
        "The heights are cut at 0; the law goes on below, and the noise does so too.": (
            lambda x, v, a: law(x, v, a).clamp(min=0)
        ),
    }
    x = torch.tensor([0.3, 0.9, 1.4, 2.0], dtype=torch.float64).reshape(1, 4, 1)
    toys = torch.tensor([[5.3, 6.1, 7.7], [0.55, 0.8, 1.0]], dtype=torch.float64)[..., None, None]
    slow = torch.tensor([[2.5, 3.1], [0.6, 0.9]], dtype=torch.float64)[..., None, None]
    cases = [(x.expand(3, 4, 1), *toys), (x[:, 1:].expand(2, 3, 1), *slow)]
    needs = (
        "the heights from law(), [n_tasks, n, 1] for x [n_tasks, n, 1] (parameters arrive as "
        "[n_tasks, 1, 1]: plain arithmetic with x is enough)"
    )
    return judge_function(
        lambda x, v, a: family.law(x, {"speed": v, "angle": a}),
        law,
        cases,
        mistakes,
        "law() is not y = x tan(angle) - g x^2 / (2 v^2 cos(angle)^2), with g = 9.81 m/s^2.",
        tolerance=5e-3,
        needs=needs,
    )


def _sample(family: Family) -> str | None:
    generator = torch.Generator().manual_seed(1)
    batch: Any = ask(lambda: family.sample(4, 3, 5, generator=generator), {})
    if bool((batch.support.x < 0).any()) or bool((batch.support.x > 2).any()):
        return "sample() measures outside 0 .. 2 m; leave inputs() as the base class has it."
    return None


def _fall(x: Tensor, speed: Tensor, angle: Tensor) -> Tensor:
    return G * x**2 / (2 * speed**2 * torch.cos(angle) ** 2)


def _fills(values: Tensor, low: float, high: float) -> bool:
    """Are the values uniform in [low, high], as far as thousands of them can tell?"""
    u = ((values - low) / (high - low)).sort().values
    return bool((u - torch.linspace(0, 1, len(u), dtype=u.dtype)).abs().max() < 0.04)


def _range(name: str, values: Tensor, wanted: str) -> str:
    low, high = float(values.min()), float(values.max())
    return f"{name!r} must be uniform over {wanted}; yours runs from {low:.3g} to {high:.3g}."
