"""The checkers of notebook 05: right answers pass, each known mistake gets its own hint."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import mamlkit as mk


def verdict(capsys: pytest.CaptureFixture[str], exercise: str, answer: object) -> str:
    mk.check(exercise, answer)
    return capsys.readouterr().out


def columns(t: Tensor) -> Tensor:
    return torch.cat([t, torch.ones_like(t)], dim=1)


class LogFit:
    """The answer to 05.1; ``finish`` turns the fitted excess into the prediction."""

    def __init__(
        self,
        finish: Callable[[Tensor], Tensor] = lambda u: 20 + u,
        floor: float = 0.1,
        room: float = 20.0,
        sign: float = 1.0,
    ) -> None:
        self.finish, self.floor, self.room, self.sign = finish, floor, room, sign

    def adapt(self, x: Tensor, y: Tensor) -> Callable[[Tensor], Tensor]:
        line = torch.linalg.pinv(columns(x)) @ torch.log((y - self.room).clamp(min=self.floor))
        line = line * torch.tensor([[self.sign], [1.0]], dtype=line.dtype)
        return lambda x_new: self.finish(torch.exp(columns(x_new) @ line))


class Numbers:
    def adapt(self, x: Tensor, y: Tensor) -> Tensor:
        return y


def test_log_fit(capsys: pytest.CaptureFixture[str]) -> None:
    assert "05.1: correct" in verdict(capsys, "05.1", LogFit())


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (LogFit, "with brackets"),
        (LogFit(lambda u: u), "add the 20 degrees"),
        (LogFit(torch.log), "predict the logarithm"),
        (LogFit(lambda u: 20 + torch.log(u)), "but for exp"),
        (LogFit(lambda u: (20 + u)[:, 0]), "broadcast against the truth"),
        (LogFit(lambda u: (20 + u).tolist()), "must return a tensor"),
        (LogFit(floor=-math.inf), "clamp the excess"),
        (LogFit(sign=-1.0), "gets warmer"),
        (LogFit(lambda u: u, room=0.0), "You fitted ln T"),
        (LogFit(lambda u: 21 + u), "should be the true curve"),
        (Numbers(), "must return a function"),
        (None, "method adapt"),
        (3.0, "method adapt"),
    ],
)
def test_log_fit_mistakes(capsys: pytest.CaptureFixture[str], answer: object, hint: str) -> None:
    text = verdict(capsys, "05.1", answer)
    assert "not yet" in text
    assert hint in text


def residual(predict: Any, data: Any) -> Tensor:
    r: Tensor = predict(data.x) - data.y
    return r


def test_chi2(capsys: pytest.CaptureFixture[str]) -> None:
    answer = lambda p, d: ((residual(p, d) / 0.5) ** 2).mean()  # noqa: E731
    assert "05.2: correct" in verdict(capsys, "05.2", answer)


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (lambda p, d: ((residual(p, d) / 0.5) ** 2).sum(), "summed over readings"),
        (lambda p, d: (residual(p, d) ** 2).mean() / 0.5, "before squaring"),
        (lambda p, d: (residual(p, d) ** 2).mean(), "plain mean squared error"),
        (lambda p, d: ((residual(p, d) * 0.5) ** 2).mean(), "do not multiply"),
        (lambda p, d: (residual(p, d) / 0.5).mean(), "cancel"),
        (lambda p, d: (residual(p, d) / 0.5).abs().mean(), "absolute deviation"),
        (lambda p, d: ((residual(p, d) / 0.5) ** 2).mean().sqrt(), "No square root"),
        (lambda p, d: (residual(p, d) / 0.5) ** 2, "one number"),
        (lambda p, d: ((residual(p, d) / 0.5) ** 2).mean().item(), "Return a tensor"),
        (lambda p, d: ((residual(p, d) / 0.5) ** 2).mean().detach(), "keep detach() out"),
        (lambda p, d: residual(p, d).mean() + 7, "Not chi squared"),
        (lambda p: 1, "raised TypeError"),
        (2.0, "without calling it"),
    ],
)
def test_chi2_mistakes(capsys: pytest.CaptureFixture[str], answer: object, hint: str) -> None:
    text = verdict(capsys, "05.2", answer)
    assert "not yet" in text
    assert hint in text


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
        return x * torch.tan(a) - 9.81 * x**2 / (2 * v**2 * torch.cos(a) ** 2)


def with_draw(change: Callable[[dict[str, Tensor]], Any]) -> Projectile:
    class Changed(Projectile):
        def draw(self, n_tasks: int, generator: torch.Generator) -> dict[str, Tensor]:
            drawn: dict[str, Tensor] = change(super().draw(n_tasks, generator))
            return drawn

    return Changed()


def with_law(law: Callable[[Tensor, Tensor, Tensor], Any]) -> Projectile:
    class Changed(Projectile):
        def law(self, x: Tensor, physics: dict[str, Tensor]) -> Tensor:
            height: Tensor = law(x, physics["speed"], physics["angle"])
            return height

    return Changed()


def with_settings(**settings: object) -> Projectile:
    family = Projectile()
    for name, value in settings.items():
        setattr(family, name, value)
    return family


def fall(x: Tensor, v: Tensor, a: Tensor) -> Tensor:
    return 9.81 * x**2 / (2 * v**2 * torch.cos(a) ** 2)


tan, cos, sin = torch.tan, torch.cos, torch.sin


def test_projectile(capsys: pytest.CaptureFixture[str]) -> None:
    assert "05.3: correct" in verdict(capsys, "05.3", Projectile())
    assert "05.3: correct" in verdict(
        capsys, "05.3", with_law(lambda x, v, a: x * tan(a) - fall(x, v, a) * 9.80665 / 9.81)
    )


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (with_draw(lambda p: {**p, "angle": torch.rad2deg(p["angle"])}), "angle is in degrees"),
        (with_draw(lambda p: {**p, "speed": 3.6 * p["speed"]}), "km/h"),
        (with_draw(lambda p: {**p, "speed": p["speed"] + 2}), "'speed' must be uniform"),
        (with_draw(lambda p: {**p, "angle": p["angle"] / 2}), "'angle' must be uniform"),
        (with_draw(lambda p: {**p, "speed": p["speed"][:, None]}), "shape [n_tasks]"),
        (with_draw(lambda p: {**p, "speed": 6.0}), "shape [n_tasks]"),
        (with_draw(lambda p: {**p, "angle": torch.full_like(p["angle"], 0.8)}), "same for all"),
        (
            with_draw(lambda p: {**p, "speed": 5 + 3 * torch.rand(len(p["speed"]))}),
            "pass the generator on",
        ),
        (with_draw(lambda p: {"v": p["speed"], "theta": p["angle"]}), "keys 'speed' and 'angle'"),
        (with_draw(lambda p: list(p.values())), "must return a dict"),
        (with_settings(x_range=(0.0, 200.0)), "x_range is in centimetres"),
        (with_settings(x_range=(-1.0, 1.0)), "x_range must be"),
        (with_settings(noise=2.0), "noise is in centimetres"),
        (with_settings(noise=0.0), "error of 2 cm"),
        (with_settings(d_in=2), "d_in = d_out = 1"),
        (
            with_law(lambda x, v, a: x * tan(torch.deg2rad(a)) - fall(x, v, torch.deg2rad(a))),
            "gives radians already",
        ),
        (
            with_law(lambda x, v, a: x * tan(torch.rad2deg(a)) - fall(x, v, torch.rad2deg(a))),
            "radians to degrees",
        ),
        (with_law(lambda x, v, a: x * tan(a) + fall(x, v, a)), "pulls down"),
        (with_law(lambda x, v, a: x * tan(a) - 2 * fall(x, v, a)), "factor 1/2"),
        (with_law(lambda x, v, a: x * tan(a) - fall(x, v, a) * cos(a)), "cosine is squared"),
        (with_law(lambda x, v, a: x * tan(a) - fall(x, v, a) * v), "speed is squared"),
        (with_law(lambda x, v, a: x * tan(a) - fall(x, v, a) * cos(a) ** 2), "cosine is missing"),
        (with_law(lambda x, v, a: x * sin(a) - fall(x, v, a)), "x tan(angle)"),
        (with_law(lambda x, v, a: -fall(x, v, a)), "fall only"),
        (with_law(lambda x, v, a: x * v), "law() is not"),
        (with_law(lambda x, v, a: (x * v)[..., 0]), "must return [n_tasks, n, 1]"),
        (with_law(lambda x, v, a: None), "must return [n_tasks, n, 1]"),
        (Projectile, "with brackets"),
        (mk.tasks.Sinusoid(), "keys 'speed' and 'angle'"),
        ("a family", "Derive your class"),
        (None, "Derive your class"),
    ],
)
def test_projectile_mistakes(capsys: pytest.CaptureFixture[str], answer: object, hint: str) -> None:
    text = verdict(capsys, "05.3", answer)
    assert "not yet" in text
    assert hint in text


def test_projectile_measured_elsewhere(capsys: pytest.CaptureFixture[str]) -> None:
    class Elsewhere(Projectile):
        def inputs(self, n_tasks: int, n: int, generator: torch.Generator) -> Tensor:
            return super().inputs(n_tasks, n, generator) + 2

    assert "outside 0 .. 2 m" in verdict(capsys, "05.3", Elsewhere())


@pytest.mark.parametrize("exercise", ["05.1", "05.2", "05.3"])
def test_not_attempted(capsys: pytest.CaptureFixture[str], exercise: str) -> None:
    assert "not attempted yet" in verdict(capsys, exercise, ...)
