"""Assignment 3, bring your own law: what a student's law has to do, and how it is judged.

No answer is the right one here. The student's code draws systems, readings and fits; a law comes
with them as one line of arithmetic, which is read here and evaluated without running any code. So
all that matters is computed again: the readings, the least squares, the errors.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mamlkit.course.assignments.base import Assignment, Own, Question, Written, finite

Array = NDArray[np.float64]
SHAPES = ("falls", "levels off", "hump", "swings")
GRID = 201  # places at which a curve is looked at
NEW = 20  # query readings of each system
CLAIMED = 100  # systems behind a claim
FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    name: getattr(np, name)
    for name in ("exp", "log", "sqrt", "sin", "cos", "tan", "sinh", "cosh", "tanh", "arctan", "abs")
} | {"atan": np.arctan}
OPERATORS: dict[type[ast.AST], Callable[..., Any]] = {
    ast.Add: np.add,
    ast.Sub: np.subtract,
    ast.Mult: np.multiply,
    ast.Div: np.divide,
    ast.Pow: np.power,
    ast.USub: np.negative,
    ast.UAdd: np.positive,
}


class Wrong(Exception):
    """What a student gave cannot be judged; the message says why."""


def own(rng: np.random.Generator) -> Own:
    """What your law has to look like, and how it is measured: its shape, where readings are taken,
    how many and with what noise, and between which bounds lie the landmark and the swing of a
    system.
    """
    shape = SHAPES[rng.integers(len(SHAPES))]
    low, width = rng.uniform(0.1, 0.4), rng.uniform(4, 9)
    first, last = rng.uniform(0.12, 0.17), rng.uniform(0.26, 0.32)
    small = rng.uniform(0.5, 2.0)
    noise = small * rng.uniform(0.04, 0.08)
    return {
        "shape": shape,
        "x_range": [round(low, 2), round(low + width, 2)],
        "shots": int(rng.integers(4, 7)),
        "noise": round(noise, 3),
        "landmark": [round(low + first * width, 2), round(low + last * width, 2)],
        "swing": [round(small, 2), round(small * rng.uniform(2.4, 2.8), 2)],
    }


# --- a law, as one line of arithmetic -------------------------------------------------------------


def formula(text: Any, names: list[str]) -> Callable[..., Array]:
    """Read a line such as ``a * exp(-x / b)``; the function takes x and the parameters in order.
    Nothing but arithmetic is let in.
    """
    if not isinstance(text, str) or len(text) > 300:
        raise Wrong("LAW is one line of arithmetic, at most 300 characters")
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise Wrong(f"LAW cannot be read: {text[:60]!r}") from error

    def value(node: ast.AST, known: Mapping[str, Any]) -> Any:
        if isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
            return OPERATORS[type(node.op)](value(node.left, known), value(node.right, known))
        if isinstance(node, ast.UnaryOp) and type(node.op) in OPERATORS:
            return OPERATORS[type(node.op)](value(node.operand, known))
        if isinstance(node, ast.Call) and len(node.args) == 1 and not node.keywords:
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))  # torch.exp, or exp
            if name in FUNCTIONS:
                return FUNCTIONS[name](value(node.args[0], known))
            raise Wrong(f"LAW calls {name or 'something'!r}; known are {', '.join(FUNCTIONS)}")
        if isinstance(node, ast.Name):
            if node.id in known:
                return known[node.id]
            raise Wrong(f"LAW holds {node.id!r}; known are {', '.join(known)}")
        if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
            try:
                return np.float64(node.value)
            except OverflowError as error:
                raise Wrong("LAW holds a number that is too large") from error
        raise Wrong("LAW is not plain arithmetic: numbers, x, your parameters, + - * / **, exp ..")

    def law(x: Any, *parameters: Any) -> Array:
        known = {"pi": np.float64(math.pi), "x": x} | dict(zip(names, parameters, strict=True))
        with np.errstate(all="ignore"):
            y = np.asarray(value(tree, known), dtype=float)
        return y + np.zeros(np.broadcast_shapes(np.shape(x), *map(np.shape, parameters)))

    law(np.ones(1), *[np.ones(1)] * len(names))
    return law


class Systems:
    """Some systems, as the student's code told of them: parameters ``[n, 1]`` each, readings
    ``[n, K]``, and the truth at new places ``[n, NEW]``.
    """

    def __init__(self, value: Any, own: Own, n: int) -> None:
        if not isinstance(value, dict):
            raise Wrong("there are no systems: leave `told` and the cells with the names as given")
        self.own, self.n = own, n
        ranges, physics = value.get("ranges"), value.get("physics")
        if not isinstance(ranges, dict) or len(ranges) != 2:
            raise Wrong("RANGES has to name exactly two parameters, each with its [least, most]")
        self.names = list(ranges)
        if "x" in self.names or "pi" in self.names:
            raise Wrong("a parameter cannot be called x or pi")
        bounds = [finite(ranges[name], 2) for name in self.names]
        if any(b is None or not b[0] < b[1] for b in bounds):
            raise Wrong("each of RANGES has to be [least, most], the smaller one first")
        self.bounds = np.array(bounds)  # [2, 2]
        self.law = formula(value.get("law"), self.names)
        if not isinstance(physics, dict) or set(physics) != set(self.names):
            given = sorted(map(str, physics)) if isinstance(physics, dict) else "nothing"
            raise Wrong(f"draw() gives {given}, and RANGES names {self.names}")
        self.physics = [
            self._array(physics[name], f"{name}, a number a system,", n)[:, None]
            for name in self.names
        ]
        shots = own["shots"]
        self.x, self.y = (self._array(value.get(k), "readings", n, shots) for k in ("x", "y"))
        self.x_new, self.y_new = (
            self._array(value.get(k), "new places", n, NEW) for k in ("x_new", "y_new")
        )

    @staticmethod
    def _array(value: Any, what: str, *shape: int) -> Array:
        array = finite(value, *shape)
        if array is None:
            raise Wrong(f"{what} {list(shape)}: missing, of another shape, or not finite")
        return array

    @property
    def grid(self) -> Array:
        """Places all over the range of x."""
        low, high = self.own["x_range"]
        return np.linspace(low, high, GRID)

    @property
    def curves(self) -> Array:
        """The law at these places, ``[n, GRID]``."""
        return self.law(self.grid, *self.physics)

    def misfit(self, fitted: Array) -> Array:
        """Sum of squares over the readings ``[n]``, of parameters ``[n, 2]``."""
        y = self.law(self.x, fitted[:, :1], fitted[:, 1:])
        return np.asarray(((y - self.y) ** 2).sum(1))

    def least_squares(self) -> Array:
        """The best parameters within the ranges, ``[n, 2]``: a grid that closes in on the best of
        its points. It finds the lowest valley where there are several.
        """
        best = np.empty((self.n, 2))
        for i in range(self.n):
            low, high = self.bounds.T
            for _ in range(14):
                a, b = (np.linspace(*ends, 41) for ends in zip(low, high, strict=True))
                y = self.law(self.x[i], a[:, None, None], b[:, None])  # [41, 41, K]
                miss = np.nan_to_num(((y - self.y[i]) ** 2).sum(-1), nan=np.inf)
                at = np.unravel_index(miss.argmin(), miss.shape)
                best[i] = a[at[0]], b[at[1]]
                reach = 0.28 * (high - low)
                low, high = np.maximum(best[i] - reach, low), np.minimum(best[i] + reach, high)
        return best

    # --- what is asked of a family ---

    def law_agrees(self) -> str:
        """The formula gives what the family's law gave, at the new places, without noise."""
        gap = np.abs(self.law(self.x_new, *self.physics) - self.y_new)
        scale = 1e-6 * np.abs(self.y_new).max() + 1e-9
        if np.nan_to_num(gap, nan=np.inf).max() <= scale:
            return ""
        return f"LAW and law() differ, by up to {gap.max():.3g}, or the query has noise"

    def in_ranges(self) -> str:
        """The parameters lie in their ranges and fill them."""
        for name, values, (low, high) in zip(self.names, self.physics, self.bounds, strict=True):
            slack = 1e-6 * (high - low)
            if values.min() < low - slack or values.max() > high + slack:
                return (
                    f"{name} is drawn from {values.min():.3g} to {values.max():.3g}, outside "
                    + (f"its range {low:.3g} to {high:.3g}")
                )
            if np.ptp(values) < 0.6 * (high - low) or len(np.unique(values)) < self.n:
                return f"{name} does not fill its range: {len(np.unique(values))} different values"
        return ""

    def places(self) -> str:
        """Readings lie in the range of x, at different places, none of them in the query."""
        low, high = self.own["x_range"]
        together = np.concatenate([self.x, self.x_new], axis=1)
        if together.min() < low - 1e-9 or together.max() > high + 1e-9:
            return f"readings are taken from {together.min():.3g} to {together.max():.3g}, not " + (
                f"between {low:g} and {high:g}"
            )
        if any(len(np.unique(row)) < len(row) for row in together):
            return "a system is read twice at one place, or its query holds a reading"
        return "" if np.ptp(self.x) > 0.5 * (high - low) else "readings are taken in one corner"

    def noise(self) -> str:
        """Readings scatter about the law by what they should, each by itself."""
        off = self.y - self.law(self.x, *self.physics)
        ratio = float(np.sqrt((off**2).mean())) / self.own["noise"]
        if abs(ratio - 1) < 5 / math.sqrt(2 * off.size):
            return ""
        return f"readings scatter about the law by {ratio * self.own['noise']:.3g}, not " + (
            f"by {self.own['noise']:g}"
        )

    def shape(self) -> str:
        """Every curve has the shape that is asked for."""
        step = np.diff(self.curves, axis=1)
        if not np.isfinite(step).all():
            return "the law is not finite all over the range of x"
        turns = ((step[:, 1:] > 0) != (step[:, :-1] > 0)).sum(1)
        rises = step[:, 0] > 0
        tenth = GRID // 10
        first, last = step[:, :tenth].sum(1), step[:, -tenth:].sum(1)
        good = {
            "falls": (turns == 0) & ~rises & (step < 0).all(1),
            "levels off": (turns == 0) & rises & (last < first / 3),
            "hump": (turns == 1) & rises,
            "swings": turns >= 2,
        }[self.own["shape"]]
        other = int((~good).sum())
        return f"{other} of {self.n} systems have another shape" if other else ""

    def landmark(self, cover: bool = True) -> str:
        """It lies between its bounds, and the systems fill half of what is between."""
        return self._between("landmark", landmarks(self.grid, self.curves, self.own), cover)

    def swing(self, cover: bool = True) -> str:
        """So does the swing, from least to most over the range of x."""
        return self._between("swing", np.ptp(self.curves, axis=1), cover)

    def _between(self, name: str, values: Array, cover: bool) -> str:
        low, high = self.own[name]
        slack = 0.02 * (high - low) + (np.diff(self.grid[:2])[0] if name == "landmark" else 0)
        least, most = float(values.min()), float(values.max())
        if not (least >= low - slack and most <= high + slack):  # also where it is not finite
            return f"the {name} runs from {least:.3g} to {most:.3g}, not between {low:g} and " + (
                f"{high:g}"
            )
        if cover and most - least < (high - low) / 2:
            return f"the {name} covers {least:.3g} to {most:.3g}, less than half of {low:g} to " + (
                f"{high:g}"
            )
        return ""

    def another_kind(self) -> str:
        """Why these are not systems of the kind that is asked for; "" if they are."""
        checks = (self.law_agrees, self.noise, self.shape)
        found = [check() for check in checks] + [self.landmark(False), self.swing(False)]
        return next(filter(None, found), "")


def landmarks(x: Array, curves: Array, own: Own) -> Array:
    """Where a curve has done half its way, has its maximum, or turns for the first time."""
    if own["shape"] == "hump":
        return np.asarray(x[curves.argmax(1)])
    if own["shape"] == "swings":
        step = np.diff(curves, axis=1) > 0
        return np.asarray(x[1 + (step[:, 1:] != step[:, :-1]).argmax(1)])
    way = (curves - curves[:, :1]) / (curves[:, -1:] - curves[:, :1])
    return np.asarray(x[(way >= 0.5).argmax(1)])


# --- the questions --------------------------------------------------------------------------------


def judged(score: Callable[..., tuple[float, str]]) -> Callable[..., tuple[float, str]]:
    """What cannot be judged scores nothing, and says why."""

    def judge(inputs: list[Any] | None, value: Any, own: Own) -> tuple[float, str]:
        try:
            return score(inputs, value, own)
        except Wrong as error:
            return 0.0, str(error)

    return judge


@judged
def contract(inputs: list[Any], value: Any, own: Own) -> tuple[float, str]:
    """Five checks of any family, a tenth of the points each; half of them are for its kind, and one
    of shape, landmark and swing may fail for a quarter.
    """
    seeds, n = inputs
    if not isinstance(value, list) or len(value) != len(seeds):
        raise Wrong("contract() has to return the systems of each seed: leave it as it was given")
    one, again, other = (Systems(v, own, n) for v in value)
    same = bool((one.y == again.y).all() and (one.physics[0] == again.physics[0]).all())
    if not same:
        repeat = "the same seed gave other systems: draw from the generator that draw() is given"
    elif any((a == b).any() for a, b in zip(one.physics, other.physics, strict=True)):
        repeat = "another seed gave the same systems"
    else:
        repeat = ""
    sound = [repeat, one.in_ranges(), one.places(), one.law_agrees(), one.noise()]
    kind = [one.shape(), one.landmark(), one.swing()]
    share = 0.1 * sum(not words for words in sound)
    share += {3: 0.5, 2: 0.25}.get(sum(not words for words in kind), 0.0)
    wrong = [words for words in sound + kind if words]
    return (share, "; ".join(wrong[:3])) if wrong else (1.0, "right")


@judged
def fits(inputs: list[Any], value: Any, own: Own) -> tuple[float, str]:
    """All of it where at least 95 of 100 fits reach the least misfit, half where 50 do."""
    systems = Systems(value, own, inputs[1])
    fitted = finite(value.get("fit"), systems.n, 2)
    if fitted is None:
        raise Wrong("fit(x, y) has to return two numbers, in the order of RANGES")
    slack = 1e-3 * np.ptp(systems.bounds, axis=1)
    inside = (fitted >= systems.bounds[:, 0] - slack) & (fitted <= systems.bounds[:, 1] + slack)
    extra = systems.misfit(fitted) - systems.misfit(systems.least_squares())
    least = inside.all(1) & (np.nan_to_num(extra, nan=np.inf) < 0.05 * own["noise"] ** 2)
    share = 1.0 if least.mean() >= 0.95 else 0.5 if least.mean() >= 0.5 else 0.0
    reason = f"{least.sum()} of {systems.n} fits reach the least misfit within RANGES"
    if not inside.all():
        reason += f", {(~inside.all(1)).sum()} leave RANGES"
    if other := systems.another_kind():
        return share / 4, f"{reason}; a quarter of it, since {other}"
    return share, reason


@judged
def evidence(inputs: list[Any], value: Any, own: Own) -> tuple[float, str]:
    """Four checks of a claim on new systems, a point each."""
    _, n, places = inputs
    systems, x = Systems(value, own, n), np.array(places)
    claim = finite(value.get("claim"), 2)
    told = [finite(value.get(name), n, len(x)) for name in ("learned", "classical")]
    if claim is None:
        raise Wrong("claim has to be [difference, half width of its 95 % interval]")
    if told[0] is None or told[1] is None:
        raise Wrong("learned() and fit() have to give a curve for every system")
    truth, best = systems.law(x, *systems.physics), systems.least_squares()

    def errors(curves: Any) -> Array:
        return np.asarray(np.sqrt(((curves - truth) ** 2).mean(1)))  # [n]

    learned, classical = (errors(curves) for curves in told)
    rival = errors(systems.law(x, best[:, :1], best[:, 1:]))
    shuffled = np.mean([errors(np.roll(told[0], shift, axis=0)).mean() for shift in range(1, 6)])
    gap = learned - classical
    if np.abs(gap).max() < 1e-9:
        raise Wrong("the learned start and the classical fit are the same method")
    here, half = gap.mean(), 1.96 * gap.std(ddof=1) / math.sqrt(n)
    expected = half * math.sqrt(n / CLAIMED)
    wrong = []
    if not abs(here - claim[0]) < 1.7 * math.hypot(half, claim[1]):
        wrong.append(f"on new systems the difference is {here:.3g} +- {half:.2g}")
    if not 0.4 < claim[1] / expected < 2.5:
        wrong.append(
            f"the half width is {claim[1]:.2g}; {CLAIMED} systems give about {expected:.2g}"
        )
    if not learned.mean() < 0.8 * shuffled:
        wrong.append(
            f"the learned start misses by {learned.mean():.3g}, and by {shuffled:.3g} with the "
            "readings of another system"
        )
    level = classical < 1.1 * rival + 0.25 * own["noise"]
    if level.mean() < 0.9:
        wrong.append(
            f"your classical rival is clearly worse than least squares for {(~level).sum()} of {n}"
        )
    share, reason = 1 - len(wrong) / 4, "; ".join(wrong)
    reason = reason or f"holds: {here:.3g} +- {half:.2g} on new systems"
    if other := systems.another_kind():
        return share / 4, f"{reason}; a quarter of it, since {other}"
    return share, reason


def seed(rng: np.random.Generator) -> int:
    """Of a student's generator; nobody has seen it."""
    return int(rng.integers(1000, 2**31))


def seeds_to_draw(rng: np.random.Generator, own: Own) -> list[list[Any]]:
    """One seed twice, and another; forty systems each."""
    first, other = seed(rng), seed(rng)
    return [[[first, first, other], 40]]


def seeds_to_fit(rng: np.random.Generator, own: Own) -> list[list[Any]]:
    """Two seeds with twenty systems each."""
    return [[seed(rng), 20] for _ in range(2)]


def seeds_to_compare(rng: np.random.Generator, own: Own) -> list[list[Any]]:
    """Two seeds with forty systems each, and where curves are compared."""
    low, high = own["x_range"]
    places = np.linspace(low, high, 25).round(6).tolist()
    return [[seed(rng), 40, places] for _ in range(2)]


ASSIGNMENT = Assignment(
    name="a3",
    title="Assignment 3: bring your own law",
    notebook="a3_bring_your_own_law.ipynb",
    own=own,
    questions=[
        Question(
            "contract",
            "A family of tasks of your own",
            4,
            cases=seeds_to_draw,
            score=contract,
        ),
        Question("fits", "The classical fit", 4, cases=seeds_to_fit, score=fits),
        Question(
            "evidence",
            "A claim that holds on new systems",
            4,
            cases=seeds_to_compare,
            score=evidence,
        ),
    ],
    written=[
        Written(
            "A3.1",
            "The physics of your law",
            3,
            [
                (1, "the law is derived, with its assumptions and the units of all quantities"),
                (1, "the ranges and the noise are those of real systems, with sources"),
                (1, "where the law ends, and what the readings would look like there"),
            ],
        ),
        Written(
            "A3.2",
            "When not to meta-learn",
            5,
            [
                (1, "the claim in words, with its number, its interval and what was counted"),
                (
                    2,
                    "one thing varied in a run of your own until the better method changes, or "
                    "a bound within which it does not",
                ),
                (1, "the strongest simple rival that is missing, and what it would be given"),
                (1, "what the training costs, and after how many systems it has paid"),
            ],
        ),
    ],
)
