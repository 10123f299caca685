"""Laws of one variable, and tasks that ask of a whole data set which law made it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mamlkit.checks import count, number, one_of
from mamlkit.errors import MamlkitError
from mamlkit.tasks.base import Family, Physics, normal, uniform
from mamlkit.tasks.labelled import Labelled, shuffled
from mamlkit.tasks.mixture import check_alike

Basis = Callable[..., tuple[Tensor, ...]]


class Shape(NamedTuple):
    """A law y = sum_j a_j b_j(x; p): linear in amplitudes, which are N(0, 1), each one.

    ``basis(x, **p)`` gives the b_j at ``x``, for numbers p that lie uniformly in ``ranges``.
    """

    basis: Basis
    ranges: Mapping[str, tuple[float, float]]

    def amplitudes(self) -> int:
        """How many amplitudes there are."""
        one = torch.ones(1, dtype=torch.float64)
        return len(self.basis(one, **dict.fromkeys(self.ranges, one)))


def _wave(x: Tensor, angle: Tensor) -> tuple[Tensor, Tensor]:
    return torch.sin(angle), torch.cos(angle)


def _linear(x: Tensor) -> tuple[Tensor, ...]:
    return torch.ones_like(x), 2 * x - 1


def _quadratic(x: Tensor) -> tuple[Tensor, ...]:
    return *_linear(x), (2 * x - 1) ** 2


def _sinusoid(x: Tensor, frequency: Tensor) -> tuple[Tensor, ...]:
    return _wave(x, frequency * x)


def _decay(x: Tensor, rate: Tensor) -> tuple[Tensor, ...]:
    return (torch.exp(-rate * x),)


def _damped(x: Tensor, frequency: Tensor, rate: Tensor) -> tuple[Tensor, ...]:
    sine, cosine = _wave(x, frequency * x)
    fall = torch.exp(-rate * x)
    return fall * sine, fall * cosine


def _power(x: Tensor, exponent: Tensor) -> tuple[Tensor, ...]:
    return (x**exponent,)


def _chirp(x: Tensor, sweep: Tensor) -> tuple[Tensor, ...]:
    return _wave(x, sweep * x**2)


def _rectified(x: Tensor, frequency: Tensor, phase: Tensor) -> tuple[Tensor, ...]:
    return (torch.sin(frequency * x + phase).abs(),)


def _peak(x: Tensor, centre: Tensor, width: Tensor) -> tuple[Tensor, ...]:
    return (torch.exp(-(((x - centre) / width) ** 2) / 2),)


def _dispersion(x: Tensor, centre: Tensor, width: Tensor) -> tuple[Tensor, ...]:
    v = (x - centre) / width
    return (2 * v / (1 + v**2),)


def _slit(x: Tensor, centre: Tensor, width: Tensor) -> tuple[Tensor, ...]:
    return (torch.sinc((x - centre) / width),)


def _pulse(x: Tensor, centre: Tensor, width: Tensor) -> tuple[Tensor, ...]:
    return (((x - centre).abs() < width).to(x),)


def _step(x: Tensor, place: Tensor) -> tuple[Tensor, ...]:
    after = (x > place).to(x)
    return 1 - after, after


def _kink(x: Tensor, place: Tensor) -> tuple[Tensor, ...]:
    return torch.ones_like(x + place), 4 * (x - place).abs() - 1


def _fermi(x: Tensor, centre: Tensor, width: Tensor) -> tuple[Tensor, ...]:
    return (torch.sigmoid((x - centre) / width),)


def _threshold(x: Tensor, place: Tensor) -> tuple[Tensor, ...]:
    return (2 * torch.relu(x - place),)


#: All laws by name, for x in 0..1. Amplitudes are in units of themselves, noise likewise.
LAWS: dict[str, Shape] = {
    "linear": Shape(_linear, {}),
    "quadratic": Shape(_quadratic, {}),
    "sinusoid": Shape(_sinusoid, {"frequency": (4.0, 16.0)}),
    "decay": Shape(_decay, {"rate": (1.0, 6.0)}),
    "damped": Shape(_damped, {"frequency": (6.0, 20.0), "rate": (1.0, 4.0)}),
    "power": Shape(_power, {"exponent": (0.5, 3.0)}),
    "chirp": Shape(_chirp, {"sweep": (8.0, 25.0)}),
    "rectified": Shape(_rectified, {"frequency": (4.0, 12.0), "phase": (0.0, math.pi)}),
    "peak": Shape(_peak, {"centre": (0.2, 0.8), "width": (0.05, 0.15)}),
    "dispersion": Shape(_dispersion, {"centre": (0.2, 0.8), "width": (0.05, 0.15)}),
    "slit": Shape(_slit, {"centre": (0.2, 0.8), "width": (0.1, 0.25)}),
    "pulse": Shape(_pulse, {"centre": (0.25, 0.75), "width": (0.1, 0.2)}),
    "step": Shape(_step, {"place": (0.2, 0.8)}),
    "kink": Shape(_kink, {"place": (0.2, 0.8)}),
    "fermi": Shape(_fermi, {"centre": (0.3, 0.7), "width": (0.03, 0.1)}),
    "threshold": Shape(_threshold, {"place": (0.2, 0.8)}),
}
#: The laws that are known to whoever asks which one made a data set.
KNOWN = ("linear", "quadratic", "sinusoid", "decay", "damped", "power")
#: Four groups of four, one law of each kind in each: smooth, swinging, local, broken. Each group is
#: held out once, as test laws; the next chooses, and the other two are learned from.
GROUPS = (
    ("linear", "sinusoid", "peak", "step"),
    ("decay", "damped", "dispersion", "kink"),
    ("quadratic", "chirp", "slit", "fermi"),
    ("power", "rectified", "pulse", "threshold"),
)


class NamedLaw(Family):
    """One law with its amplitudes and other numbers drawn anew for each task, x in 0..1.

    Args:
        name: one of :data:`LAWS`.
        noise: standard deviation of the noise on support ``y``, in units of y.
        spread: standard deviation of an amplitude, in units of y.
    """

    x_range = (0.0, 1.0)

    def __init__(self, name: str, noise: float = 0.1, spread: float = 1.0) -> None:
        self.name = one_of("name", name, LAWS)
        self.noise = number("noise", noise)
        self.spread = number("spread", spread, positive=True)

    @property
    def shape(self) -> Shape:
        """Its formula."""
        return LAWS[self.name]

    def draw(self, n_tasks: int, generator: torch.Generator) -> Physics:
        """Amplitudes ``a1``, ``a2``, .. and the numbers of the formula, ``[n_tasks]`` each."""
        amplitudes = {
            f"a{j + 1}": normal(n_tasks, 0.0, self.spread, generator)
            for j in range(self.shape.amplitudes())
        }
        others = {k: uniform(n_tasks, *r, generator) for k, r in self.shape.ranges.items()}
        return amplitudes | others

    def law(self, x: Tensor, physics: Physics) -> Tensor:
        """sum_j a_j b_j(x)."""
        basis = self.shape.basis(x, **{name: physics[name] for name in self.shape.ranges})
        return sum((physics[f"a{j + 1}"] * b for j, b in enumerate(basis)), torch.zeros_like(x))


class DataSets(Labelled):
    """Tasks whose points are whole data sets: which family does this one come from?

    An example of a class is a task of its family, drawn anew and measured with that family's noise:
    ``[points, d_in + d_out]``, in each row a place and a reading. Give it to a network for sets,
    such as :class:`mamlkit.models.SetNetwork`.

    Args:
        families: what there is to tell apart, by name; with inputs and outputs of one size.
        points: readings in a data set.
        ways: None asks always of all families, and the label is the number of the family. A number
            of families, drawn for each task in random order, are a task of few-shot
            classification; ``physics["classes"]``, ``[n_tasks, ways]``, holds their numbers by
            label.
        parts: the names of the families in each part, such as "train", for :meth:`split`.
        mirrored: parts whose laws may be run backwards: each class of a task is so with a chance of
            one half, all its data sets alike, x taken from the other end of the family's range. A
            law run backwards is mostly another law, so there is more to learn from;
            ``physics["mirrored"]``, ``[n_tasks, ways]``, holds 1 where it is.

    Raises:
        MamlkitError: for too few families, or such that do not fit together.
    """

    permuted = False  # families are drawn in random order, if at all
    _shown = ("ways", "permuted")

    def __init__(
        self,
        families: Mapping[str, Family],
        points: int = 12,
        ways: int | None = None,
        *,
        parts: Mapping[str, Sequence[str]] | None = None,
        mirrored: Sequence[str] = (),
    ) -> None:
        if not isinstance(families, Mapping) or len(families) < 2:
            raise MamlkitError(
                "DataSets needs a dict of two families or more by name, such as "
                "{'spring': mk.tasks.HookesLaw(), 'wave': mk.tasks.Sinusoid()}."
            )
        self.families, self.points = dict(families), count("points", points)
        self.names = list(self.families)
        self.d_in, self.d_out = check_alike(self.families)
        self.drawn = ways is not None
        self.parts = {
            part: [self.names.index(one_of("a family of parts", n, self.names)) for n in names]
            for part, names in (parts or {}).items()
        }
        self.mirrored = [one_of("a part in mirrored", part, self.parts) for part in mirrored]
        self.backwards = False
        self.ways = len(self.names) if ways is None else count("ways", ways, least=2)
        self._only(list(range(len(self.names))))

    def restrict(self, part: str) -> None:
        """Become this part, if there are families enough in it."""
        self._only(list(self.parts[part]))
        self.backwards = part in self.mirrored

    def _only(self, classes: list[int]) -> None:
        if not self.drawn:
            self.ways = count("the number of families", len(classes), least=2)
        if len(classes) < self.ways:
            raise MamlkitError(
                f"a task of ways={self.ways} needs as many families, but there are {len(classes)}; "
                "give more, or lower ways."
            )
        self.classes = torch.tensor(classes)

    def name_of(self, physics: Mapping[str, Any]) -> str:
        """The names of the families, by label."""
        return " or ".join(self.names[int(i)] for i in physics["classes"])

    def draw(self, n_tasks: int, generator: torch.Generator) -> Physics:
        """Which families, ``[n_tasks, ways]``."""
        if not self.drawn:
            return {"classes": self.classes.expand(n_tasks, -1)}
        chosen = shuffled(n_tasks, len(self.classes), self.ways, generator)
        physics = {"classes": self.classes[chosen]}
        if self.backwards:
            physics["mirrored"] = (torch.rand(chosen.shape, generator=generator) < 0.5).double()
        return physics

    def examples(
        self, physics: Physics, shots: int, queries: int, generator: torch.Generator
    ) -> Tensor:
        """Data sets of the families of each task: ``[n_tasks, ways, n, points, d_in + d_out]``."""
        classes, n = physics["classes"].long(), shots + queries
        x = torch.empty(*classes.shape, n, self.points, self.d_in + self.d_out).double()
        for c in sorted(set(classes.flatten().tolist())):
            here = classes == c
            drawn = self.sets(self.names[c], int(here.sum()) * n, generator)
            drawn = drawn.reshape(-1, n, *drawn.shape[1:])
            if "mirrored" in physics:
                back = physics["mirrored"][here] > 0  # [classes]
                ends = sum(self.families[self.names[c]].x_range)
                drawn[back, ..., : self.d_in] = ends - drawn[back, ..., : self.d_in]
            x[here] = drawn
        return x

    def sets(self, name: str, n: int, generator: torch.Generator) -> Tensor:
        """``n`` data sets of one family, float64 ``[n, points, d_in + d_out]``."""
        family = self.families[name]
        batch = family.sample(n, self.points, 1, generator=generator, dtype=torch.float64)
        return torch.cat([batch.support.x, batch.support.y], dim=-1)


def known(points: int = 12, noise: float = 0.1) -> DataSets:
    """Which of the six laws of :data:`KNOWN` made a data set of so many readings?"""
    return DataSets({name: NamedLaw(name, noise) for name in KNOWN}, points)


def unseen(
    fold: int = 0, points: int = 12, ways: int = 3, noise: float = 0.1, spread: float = 3.0
) -> DataSets:
    """Which of ``ways`` laws made a data set, told by examples alone? The parts are disjoint sets
    of laws: group ``fold`` of :data:`GROUPS` is "test", the next is "validation", and the other
    two are "train", where laws are run backwards as well. Amplitudes have the
    standard deviation ``spread``.
    """
    if count("fold", fold, least=0) >= len(GROUPS):
        raise MamlkitError(f"fold={fold}, but there are {len(GROUPS)} groups of laws, from 0.")
    turned = [*GROUPS[fold:], *GROUPS[:fold]]
    parts = {"test": turned[0], "validation": turned[1], "train": (*turned[2], *turned[3])}
    laws = {name: NamedLaw(name, noise, spread) for group in GROUPS for name in group}
    return DataSets(laws, points, ways, parts=parts, mirrored=("train",))
