"""Checkers of notebook 05: a learner, a loss and a family that the reader writes, examined by
behaviour.
"""

from __future__ import annotations

import inspect
import math

import torch
from torch import Tensor

from mamlkit.exercises import close
from mamlkit.tasks import Data, Family

ROOM = 20.0  # degrees Celsius
G = 9.81  # m/s^2


def exercise_1(answer: object) -> str | None:
    """A learner: the straight-line fit of ln(T - 20) against t, made into a temperature again."""
    if inspect.isclass(answer):
        return "Give an instance, with brackets: answer = LogFit()."
    if not hasattr(answer, "adapt"):
        return "A learner needs a method adapt(self, x, y) that returns a function predict(x_new)."
    x = torch.tensor([[2.0], [11.0], [23.0], [40.0]], dtype=torch.float64)
    x_new = torch.linspace(0, 60, 7, dtype=torch.float64)[:, None]
    y, truth = _cooling(x), _cooling(x_new)
    predict = answer.adapt(x, y)
    if not callable(predict):
        return "adapt() must return a function of new times, not the predictions themselves."
    given = predict(x_new)
    if not isinstance(given, Tensor):
        return f"predict() must return a tensor, not {type(given).__name__}."
    if given.shape != truth.shape:
        return (
            f"predict() must return [m, 1] = {list(truth.shape)} for x_new {list(x_new.shape)}; it "
            f"returned {list(given.shape)}, which would broadcast against the truth unnoticed."
        )
    if torch.allclose(given, truth, rtol=1e-6):
        hot = answer.adapt(x, torch.full_like(y, ROOM - 1))(x_new)
        if not torch.isfinite(hot).all():
            return (
                "Right for clean readings. But a noisy reading may fall below 20, and its log "
                "is not a number: clamp the excess to a small positive value first."
            )
        return None
    log_excess = torch.log(truth - ROOM)
    mistakes = {
        "You predict the excess over the room: add the 20 degrees again.": truth - ROOM,
        "You predict the logarithm: take exp, and add the room temperature.": log_excess,
        "Right but for exp: the fit is of ln(T - 20), and you want T.": log_excess + ROOM,
        "The sign of the slope is turned: the tea gets warmer.": ROOM + 70 * torch.exp(x_new / 30),
    }
    hint = _recognise(given, mistakes)
    if hint is None and torch.allclose(given, _plain_log_fit(x, y, x_new), rtol=1e-6):
        hint = "You fitted ln T. Newton's law is exponential in the excess: fit ln(T - 20)."
    return hint or "On clean readings of a cup the prediction should be the true curve, and is not."


def exercise_2(answer: object) -> str | None:
    """A loss: chi squared per reading, with a standard deviation of 0.5 degrees."""
    if not callable(answer):
        return "Give the function itself: answer = chi2, without calling it."
    data = Data(
        torch.tensor([[0.0], [1.0], [2.0]], dtype=torch.float64),
        torch.tensor([[80.0], [70.0], [62.0]], dtype=torch.float64),
    )
    bias = torch.tensor(1.0, dtype=torch.float64, requires_grad=True)

    def predict(x: Tensor) -> Tensor:
        return 78 - 7 * x + bias

    given = answer(predict, data)
    if not isinstance(given, Tensor):
        return "Return a tensor, so that gradients flow: no float(), no .item()."
    if given.ndim:
        return f"A loss is one number for the whole task; yours has shape {list(given.shape)}."
    residual = (predict(data.x) - data.y).detach()
    sigma = 0.5
    if close(given.detach(), float(((residual / sigma) ** 2).mean()), 1e-9):
        if not given.requires_grad:
            return "The value is right, but it cannot be differentiated: keep detach() out."
        return None
    mistakes = {
        "You summed over readings; take the mean, or the step size depends on the shots.": (
            (residual / sigma) ** 2
        ).sum(),
        "Divide by sigma before squaring (or by sigma squared after).": (residual**2).mean()
        / sigma,
        "The division by sigma is missing: that is the plain mean squared error.": (
            residual**2
        ).mean(),
        "Divide by sigma, do not multiply.": ((residual * sigma) ** 2).mean(),
        "Square the residuals: as they are, positive and negative ones cancel.": (
            residual / sigma
        ).mean(),
        "That is the mean absolute deviation; chi squared has squares.": (residual / sigma)
        .abs()
        .mean(),
        "No square root: chi squared per reading.": ((residual / sigma) ** 2).mean().sqrt(),
    }
    hint = _recognise(given.detach(), mistakes)
    return hint or "Not chi squared per reading: mean of ((prediction - reading) / 0.5)^2."


def exercise_3(answer: object) -> str | None:
    """A family: projectiles, examined by its draws, its settings, its law and a sample."""
    if inspect.isclass(answer):
        return "Give an instance, with brackets: answer = Projectile()."
    if not isinstance(answer, Family):
        return "Derive your class from mk.tasks.Family, and give an instance of it."
    return _draws(answer) or _settings(answer) or _law(answer) or _sample(answer)


def _draws(family: Family) -> str | None:
    n = 4000
    physics = family.draw(n, torch.Generator().manual_seed(0))
    if not isinstance(physics, dict) or set(physics) != {"speed", "angle"}:
        given = sorted(physics) if isinstance(physics, dict) else type(physics).__name__
        return f"draw() must return a dict with the keys 'speed' and 'angle'; it returned {given}."
    for name, value in physics.items():
        if not isinstance(value, Tensor) or value.shape != (n,):
            shape = list(value.shape) if isinstance(value, Tensor) else type(value).__name__
            return f"{name!r} needs one number a task, shape [n_tasks] = [{n}]; it is {shape}."
        again = family.draw(n, torch.Generator().manual_seed(0))[name]
        if not torch.equal(value, again):
            return (
                f"{name!r} differs between two draws with the same seed: pass the generator on, as "
                "in mk.tasks.uniform(n_tasks, low, high, generator)."
            )
        if float(value.std()) < 1e-6 * float(value.abs().mean()):
            return f"{name!r} is the same for all tasks, so there is nothing to adapt to."
    speed, angle = physics["speed"], physics["angle"]
    if float(angle.max()) > 2 * math.pi:
        return "The angle is in degrees; torch.tan and torch.cos take radians: 30 deg = pi / 6."
    if float(speed.max()) > 15 and _fills(speed / 3.6, 5, 8):
        return "The speed is in km/h; the law needs m/s."
    if not _fills(speed, 5, 8):
        return _range("speed", speed, "5 .. 8 m/s")
    if not _fills(angle, math.pi / 6, math.pi / 3):
        return _range("angle", angle, "pi/6 .. pi/3 rad")
    return None


def _settings(family: Family) -> str | None:
    low, high = family.x_range
    if close(high, 200) and close(low, 0):
        return "x_range is in centimetres; the law is in metres: (0.0, 2.0)."
    if not (close(low, 0) and close(high, 2)):
        return f"x_range must be (0.0, 2.0) m; it is {family.x_range}."
    if close(family.noise, 2):
        return "The noise is in centimetres; heights are in metres: 2 cm = 0.02 m."
    if not close(family.noise, 0.02):
        return (
            f"The readings have an error of 2 cm, that is noise = 0.02 m; yours is {family.noise}."
        )
    if (family.d_in, family.d_out) != (1, 1):
        return "One input (the distance) and one output (the height): d_in = d_out = 1."
    return None


def _law(family: Family) -> str | None:
    x = torch.tensor([0.3, 0.9, 1.4, 2.0], dtype=torch.float64).reshape(1, 4, 1).expand(3, 4, 1)
    v = torch.tensor([5.3, 6.1, 7.7], dtype=torch.float64)[:, None, None]
    a = torch.tensor([0.55, 0.8, 1.0], dtype=torch.float64)[:, None, None]
    given = family.law(x, {"speed": v, "angle": a})
    if not isinstance(given, Tensor) or given.shape != x.shape:
        shape = list(given.shape) if isinstance(given, Tensor) else type(given).__name__
        return (
            f"law() must return [n_tasks, n, 1] = {list(x.shape)}; it returned {shape}. Parameters "
            "arrive as [n_tasks, 1, 1]: plain arithmetic with x is enough."
        )
    fall = G * x**2 / (2 * v**2 * torch.cos(a) ** 2)
    truth = x * torch.tan(a) - fall
    if torch.allclose(given, truth, rtol=1e-3, atol=2e-3):
        return None
    degrees = torch.deg2rad(a)
    mistakes = {
        "The law converts the angle to radians, but draw() gives radians already.": x
        * torch.tan(degrees)
        - G * x**2 / (2 * v**2 * torch.cos(degrees) ** 2),
        "The law converts radians to degrees before tan and cos; they take radians.": x
        * torch.tan(torch.rad2deg(a))
        - G * x**2 / (2 * v**2 * torch.cos(torch.rad2deg(a)) ** 2),
        "Gravity pulls down: the second term is subtracted.": x * torch.tan(a) + fall,
        "The factor 1/2 of g t^2 / 2 is missing.": x * torch.tan(a) - 2 * fall,
        "The cosine is squared: t = x / (v cos angle).": x * torch.tan(a) - fall * torch.cos(a),
        "The speed is squared: t = x / (v cos angle).": x * torch.tan(a) - fall * v,
        "The cosine is missing: only v cos(angle) carries the ball along.": x * torch.tan(a)
        - fall * torch.cos(a) ** 2,
        "x sin(angle) is not the height of the straight flight; that is x tan(angle).": x
        * torch.sin(a)
        - fall,
        "You return the fall only; the upward flight x tan(angle) is missing.": -fall,
    }
    return _recognise(given, mistakes) or (
        "law() is not y = x tan(angle) - g x^2 / (2 v^2 cos(angle)^2), with g = 9.81 m/s^2."
    )


def _sample(family: Family) -> str | None:
    batch = family.sample(4, 3, 5, generator=torch.Generator().manual_seed(1))
    if bool((batch.support.x < 0).any()) or bool((batch.support.x > 2).any()):
        return "sample() measures outside 0 .. 2 m; leave inputs() as the base class has it."
    return None


def _fills(values: Tensor, low: float, high: float) -> bool:
    """Do the values stay in [low, high] and reach both ends and the middle evenly?"""
    u = (values - low) / (high - low)
    inside = bool((u > -1e-6).all() and (u < 1 + 1e-6).all())
    return (
        inside
        and bool(u.min() < 0.05)
        and bool(u.max() > 0.95)
        and abs(float(u.mean()) - 0.5) < 0.05
    )


def _range(name: str, values: Tensor, wanted: str) -> str:
    low, high = float(values.min()), float(values.max())
    return f"{name!r} must be uniform over {wanted}; yours runs from {low:.3g} to {high:.3g}."


def _cooling(t: Tensor) -> Tensor:
    return ROOM + 70 * torch.exp(-t / 30)


def _plain_log_fit(x: Tensor, y: Tensor, x_new: Tensor) -> Tensor:
    def columns(t: Tensor) -> Tensor:
        return torch.cat([t, torch.ones_like(t)], dim=1)

    return torch.exp(columns(x_new) @ (torch.linalg.pinv(columns(x)) @ torch.log(y)))


def _recognise(given: Tensor, mistakes: dict[str, Tensor]) -> str | None:
    for hint, wrong in mistakes.items():
        if torch.allclose(given, wrong.to(given), rtol=1e-3, atol=1e-6):
            return hint
    return None
