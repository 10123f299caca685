"""Which solver for which equation? Instances of seven equations, and the work of five methods.

Work is counted in calls of the right-hand side, all of them: those of finite-difference Jacobians
and of dense output too, which scipy's own ``nfev`` leaves out. The table ships in
``solver_choice.csv``; ``mamlkit reproduce solvers --out DIR`` makes it again.
"""

from __future__ import annotations

import csv
import math
import platform
import time
import warnings
from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from mamlkit.checks import count, number, one_of
from mamlkit.errors import MamlkitError
from mamlkit.tasks.base import Data, Family, Physics, TaskBatch
from mamlkit.tasks.equations import EQUATIONS, Array, Instance

if TYPE_CHECKING:
    import pandas as pd

#: The portfolio, by scipy's names: two explicit Runge-Kutta pairs, an implicit one, the backward
#: differentiation formulas, and a code that switches between Adams and those by itself.
METHODS = ("RK45", "DOP853", "Radau", "BDF", "LSODA")
#: Relative tolerances that are tried, the loosest first; the same for all methods. The absolute
#: tolerance is the relative one times the scale of the variable.
TOLERANCES = tuple(10 ** (-k / 2) for k in range(4, 23))
ACCURACY, CAP, TIMES = 1e-4, 20_000, 10
#: How many instances of each equation are in each part.
SIZES = {"train": 33, "validation": 8, "test": 24}


class Run(NamedTuple):
    """One solution: the states at ten times ``[10, d]``, the calls that it took, CPU seconds.
    ``states`` is None where the method gave up or passed the cap.
    """

    states: Array | None
    calls: int
    seconds: float


class Work(NamedTuple):
    """What a method needs for the accuracy: calls and CPU seconds at the loosest tolerance that
    reaches it, and that tolerance. ``calls`` is None if none does within the cap.
    """

    calls: int | None
    tolerance: float
    seconds: float


class _Capped(Exception):
    """Too many calls."""


class Counted:
    """A right-hand side that counts its calls, and stops at the cap."""

    def __init__(self, f: Any, cap: int = CAP) -> None:
        self.f, self.cap, self.calls = f, cap, 0

    def __call__(self, t: float, y: Array) -> Any:
        """f(t, y), one call more."""
        self.calls += 1
        if self.calls > self.cap:
            raise _Capped
        return self.f(t, y)


def solve(instance: Instance, method: str, tolerance: float, cap: int = CAP) -> Run:
    """Solve one instance by one of scipy's methods, and count every call of the right-hand side.

    Args:
        instance: what to solve.
        method: one of :data:`METHODS`.
        tolerance: the relative tolerance of the solver.
        cap: give up beyond so many calls.
    """
    f = Counted(instance.f, count("cap", cap))
    began = time.process_time()
    found = _run(f, instance, method, tolerance, np.linspace(0, instance.end, TIMES + 1)[1:])
    seconds = time.process_time() - began
    good = found is not None and found.success and np.isfinite(found.y).all()
    return Run(found.y.T if good else None, f.calls, seconds)


def path(instance: Instance, method: str, tolerance: float) -> tuple[Array, Array]:
    """Where a method stops on its way: times ``[steps + 1]`` and states ``[steps + 1, d]``; the
    start alone where it gives up.
    """
    found = _run(Counted(instance.f), instance, method, tolerance, None)
    if found is None:
        return np.zeros(1), instance.start[None]
    return found.t, found.y.T


def _run(f: Counted, instance: Instance, method: str, tolerance: float, when: Any) -> Any:
    """What scipy finds; None if a method passes the cap or cannot go on."""
    from scipy.integrate import solve_ivp

    name: Any = one_of("method", method, METHODS)
    rtol = number("tolerance", tolerance, positive=True)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # a method that fails says so; here it counts as a failure
        try:
            return solve_ivp(
                f,
                (0.0, instance.end),
                instance.start,
                name,
                when,
                rtol=rtol,
                atol=rtol * instance.scale,
            )
        except (_Capped, ValueError, np.linalg.LinAlgError):  # not finite in a Newton iteration
            return None


def error(instance: Instance, states: Array | None, truth: Array) -> float:
    """The largest error at the ten times, of any variable in units of its scale; infinite where
    there is no solution.
    """
    if states is None:
        return math.inf
    return float(np.abs((states - truth) / instance.scale).max())


def reference(instance: Instance) -> tuple[Array, float]:
    """The solution at ten times ``[10, d]`` by LSODA at a tolerance of 1e-12 (Adams and BDF), and
    how far Radau (implicit Runge-Kutta) is from it at a tolerance of 1e-9.
    """
    first = solve(instance, "LSODA", 1e-12, 10_000_000).states
    second = solve(instance, "Radau", 1e-9, 10_000_000).states
    if first is None or second is None:
        raise MamlkitError(f"no reference was found for {instance.equation} {instance.parameters}.")
    return first, error(instance, second, first)


def work(instance: Instance, method: str, truth: Array, repeats: int = 1) -> Work:
    """The calls of a method at the loosest of :data:`TOLERANCES` that reaches an error of 1e-4.

    A method that passes the cap at three tolerances in a row has failed. (Once is not enough:
    LSODA at its loosest may run away, and be good at the next.)

    Args:
        instance: what to solve.
        method: one of :data:`METHODS`.
        truth: the states of :func:`reference`.
        repeats: how often the successful run is timed; the least counts.
    """
    capped = 0
    for tolerance in TOLERANCES:
        run = solve(instance, method, tolerance)
        if error(instance, run.states, truth) <= ACCURACY:
            again = [solve(instance, method, tolerance).seconds for _ in range(repeats - 1)]
            return Work(run.calls, tolerance, min([run.seconds, *again]))
        capped = capped + 1 if run.calls > CAP else 0
        if capped == 3:
            break
    return Work(None, math.nan, math.nan)


class Probe(NamedTuple):
    """What the start tells: f ``[d]`` and its Jacobian ``[d, d]``, both in units of the scale of
    each variable and of the length of the run, and the calls that this took.
    """

    slope: Array
    jacobian: Array
    calls: int


def probe(instance: Instance) -> Probe:
    """f and its Jacobian at the start, by forward differences: d + 1 calls."""
    f = Counted(instance.f)
    base = np.asarray(f(0.0, instance.start))
    columns = []
    for j, size in enumerate(instance.scale):
        step = 1e-8 * size + 1e-8 * abs(instance.start[j])
        moved = instance.start.copy()
        moved[j] += step
        columns.append((np.asarray(f(0.0, moved)) - base) / step * size)
    jacobian = np.stack(columns, axis=1) / instance.scale[:, None] * instance.end
    return Probe(base / instance.scale * instance.end, jacobian, f.calls)


#: What the features say; each but the last is the logarithm, to base 10, of a number without unit.
FEATURES = (
    "largest |lambda| T",
    "fastest decay, -Re lambda T",
    "fastest growth, Re lambda T",
    "fastest swing, |Im lambda| T",
    "smallest |lambda| T",
    "norm of the Jacobian, T",
    "norm over largest |lambda|",
    "largest slope, T",
    "dimension d",
)


def features(probed: Probe) -> Array:
    """Nine numbers out of a probe, :data:`FEATURES`; T is the length of the run."""
    rates = np.linalg.eigvals(probed.jacobian)  # lambda T
    size, norm = np.abs(rates), np.linalg.norm(probed.jacobian, 2)
    numbers = [
        size.max(),
        -rates.real.min(),
        rates.real.max(),
        np.abs(rates.imag).max(),
        size.min(),
        norm,
        norm / max(size.max(), 1e-3),
        np.abs(probed.slope).max(),
        len(rates),
    ]
    return np.log10(np.maximum(numbers, 1e-3))  # below that nothing happens in the run


class _Table(NamedTuple):
    equations: list[str]
    seeds: list[int]
    parts: list[str]
    gaps: Array  # [n]
    calls: Array  # [n, methods], nan where a method failed
    tolerances: Array
    seconds: Array


@cache
def _table() -> _Table:
    text = files("mamlkit.tasks").joinpath("solver_choice.csv").read_text(encoding="utf-8")
    rows = list(csv.DictReader(line for line in text.splitlines() if line[0] != "#"))

    def numbers(kind: str) -> Array:
        return np.array([[float(r[f"{m}_{kind}"] or math.nan) for m in METHODS] for r in rows])

    return _Table(
        [r["equation"] for r in rows],
        [int(r["seed"]) for r in rows],
        [r["part"] for r in rows],
        np.array([float(r["reference_gap"]) for r in rows]),
        numbers("calls"),
        numbers("tolerance"),
        numbers("seconds"),
    )


@cache
def _features() -> tuple[Array, Array]:
    """Of all rows of the table: the features ``[n, 9]`` and the calls of the probes ``[n]``."""
    table = _table()
    probed = [
        probe(EQUATIONS[e].instance(s)) for e, s in zip(table.equations, table.seeds, strict=True)
    ]
    return np.stack([features(p) for p in probed]), np.array([p.calls for p in probed])


@cache
def _log_work() -> Array:
    """Of all rows of the table: log10 of the work, ``[n, methods]``."""
    return np.log10(np.nan_to_num(_table().calls, nan=10.0 * CAP))


@cache
def _rows_of(equation: str, part: str | None) -> Array:
    """The rows of the table that are of this equation and part; of all parts if None."""
    table = _table()
    both = zip(table.equations, table.parts, strict=True)
    return np.array([i for i, (e, p) in enumerate(both) if e == equation and part in (None, p)])


class SolverChoice(Family):
    """Which method for which instance? One task is one equation; its points are instances.

    ``x`` holds the nine :data:`FEATURES` of the Jacobian at the start, ``y`` the logarithm, to base
    10, of the work of each of the five :data:`METHODS`: all calls of the right-hand side at the
    loosest tolerance that reaches a global error of 1e-4, in units of the scale of each variable,
    at ten times. A method that needs more than 20 000 has failed, and counts ten times that. The
    table ships; ``mamlkit reproduce solvers --out DIR`` makes it.

    A finite family of seven equations. ``split("train")`` keeps all equations and of each 33
    instances; "validation" 8 others, "test" 24 others. ``folds()`` leaves equations out.

    Attributes:
        equations: the equation of each instance ``[n]``, in order.
        seeds: the seed of its parameters: ``EQUATIONS[equation].instance(seed)``.
        calls: a table of pandas ``[n, methods]``, nan where a method failed.
        tolerances, seconds: as ``calls``; CPU seconds as measured on one machine.
        features: ``[n, 9]``, of the Jacobian at the start.
        probe_calls: what that Jacobian took, d + 1 ``[n]``.
        reference_gaps: how far two codes are apart in the reference solution ``[n]``.
    """

    d_in, d_out = len(FEATURES), len(METHODS)
    x_label, y_label = "features of the Jacobian", "log10 of the work"
    pool: int | None = sum(SIZES.values())

    def __init__(self) -> None:
        self.constants = {"equation": torch.arange(len(EQUATIONS))}
        self.parts = {part: list(range(len(EQUATIONS))) for part in SIZES}
        self.part: str | None = None

    def restrict(self, part: str) -> None:
        """Keep of each equation the instances of this part."""
        self.part, self.pool = part, SIZES[part]

    @property
    def equations(self) -> list[str]:
        """The equation of each instance."""
        return [_table().equations[i] for i in self._rows()]

    @property
    def seeds(self) -> list[int]:
        """The seed of the parameters of each instance."""
        return [_table().seeds[i] for i in self._rows()]

    @property
    def calls(self) -> pd.DataFrame:
        """Calls of each method on each instance; nan where it failed."""
        return self._frame(_table().calls)

    @property
    def tolerances(self) -> pd.DataFrame:
        """The loosest tolerance that reached the accuracy."""
        return self._frame(_table().tolerances)

    @property
    def seconds(self) -> pd.DataFrame:
        """CPU seconds of that run, as measured on one machine."""
        return self._frame(_table().seconds)

    @property
    def features(self) -> Array:
        """The features of the Jacobian at the start of each instance."""
        return _features()[0][self._rows()]

    @property
    def probe_calls(self) -> Array:
        """The calls that the Jacobian of each instance took."""
        return _features()[1][self._rows()]

    @property
    def reference_gaps(self) -> Array:
        """The distance of the two reference solutions of each instance."""
        return _table().gaps[self._rows()]

    def name_of(self, physics: Any) -> str:
        """The name of the equation."""
        return list(EQUATIONS)[int(physics["equation"])]

    def measure(
        self, physics: Physics, shots: int, queries: int, generator: torch.Generator
    ) -> TaskBatch:
        """Instances of the equations, each at most once in a task."""
        names = [list(EQUATIONS)[int(number)] for number in physics["equation"]]
        drawn = []
        for name in names:
            own = _rows_of(name, self.part)
            order = torch.randperm(len(own), generator=generator)[: shots + queries]
            drawn.append(own[order.numpy()])
        index = np.stack(drawn)  # [n_tasks, shots + queries]
        x, y = (torch.tensor(a[index]) for a in (_features()[0], _log_work()))
        parts = ((a[:, :shots], a[:, shots:]) for a in (x, y))
        (x, x_new), (y, y_new) = parts
        return TaskBatch(Data(x, y), Data(x_new, y_new), physics)

    def _rows(self) -> list[int]:
        """The rows of the table: of this part, and of the equations that are held."""
        table, members = _table(), self.members
        assert members is not None
        held = {name for i, name in enumerate(EQUATIONS) if i in members.tolist()}
        return [
            i
            for i, (e, part) in enumerate(zip(table.equations, table.parts, strict=True))
            if e in held and self.part in (None, part)
        ]

    def _frame(self, values: Array) -> pd.DataFrame:
        import pandas as pd

        return pd.DataFrame(values[self._rows()], columns=list(METHODS))


def instances(part: str) -> list[tuple[str, int]]:
    """The instances of a part, as the equation's name and the seed of its parameters."""
    one_of("part", part, SIZES)
    first = sum(SIZES[p] for p in list(SIZES)[: list(SIZES).index(part)])
    return [(name, s) for name in EQUATIONS for s in range(first, first + SIZES[part])]


def make_table(out: Path, which: Iterable[tuple[str, str, int]] | None = None) -> None:
    """Write ``out/solver_choice.csv``: the work of all methods on all instances; some ten minutes
    on one core. ``which`` names part, equation and seed of the rows; None takes all.
    """
    import scipy

    rows = which or ((part, *each) for part in SIZES for each in instances(part))
    columns = [f"{m}_{kind}" for kind in ("calls", "tolerance", "seconds") for m in METHODS]
    about = f"scipy {scipy.__version__}, Python {platform.python_version()}, one core"
    with (out / "solver_choice.csv").open("w", encoding="utf-8", newline="") as file:
        file.write(
            "# Work of five methods on seven equations; see mamlkit/tasks/solver_choice.py\n"
        )
        file.write("# Made by: mamlkit reproduce solvers --out DIR\n")
        file.write(f"# CPU seconds as measured on one machine: {about}\n")
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["equation", "seed", "part", "parameters", "reference_gap", *columns])
        for part, name, seed in rows:
            instance = EQUATIONS[name].instance(seed)
            truth, gap = reference(instance)
            found = [work(instance, method, truth, repeats=2) for method in METHODS]
            calls = ["" if w.calls is None else w.calls for w in found]
            tolerances = ["" if w.calls is None else f"{w.tolerance:.1e}" for w in found]
            seconds = ["" if w.calls is None else f"{w.seconds:.5f}" for w in found]
            named = ";".join(f"{key}={value!r}" for key, value in instance.parameters.items())
            head = [name, seed, part, named, f"{gap:.1e}"]
            table.writerow([*head, *calls, *tolerances, *seconds])
            file.flush()
