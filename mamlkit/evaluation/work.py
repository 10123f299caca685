"""How much work does a choice save, among methods or among runs that could be stopped early?

A table of work is a frame of pandas ``[instances, methods]``, in calls or iterations or seconds,
with nan where a method failed. The words are those of algorithm selection (J. R. Rice, Adv. Comput.
15 (1976) 65; P. Kerschke et al., Evol. Comput. 27 (2019) 3).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mamlkit.checks import number
from mamlkit.errors import MamlkitError

if TYPE_CHECKING:
    import pandas as pd

Array = np.ndarray[Any, np.dtype[np.float64]]


class Ratio(NamedTuple):
    """A geometric mean over instances, with its 95 % interval."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:.2f} [{self.low:.2f}, {self.high:.2f}]"


def penalised(work: pd.DataFrame, cap: float, factor: float = 10.0) -> pd.DataFrame:
    """The table with failures filled in: what is missing or above ``cap`` counts ``factor * cap``.

    With a factor of 10 its mean is the field's PAR10 (F. Hutter et al., J. Artif. Intell. Res. 36
    (2009) 267, section 2).
    """
    _check(work)
    cap = number("cap", cap, positive=True)
    if number("factor", factor) < 1:
        raise MamlkitError(f"factor={factor!r} would reward a failure; use 1 or more, such as 10.")
    return work.where(work <= cap, factor * cap)


def virtual_best(work: pd.DataFrame) -> Array:
    """The work of the best method of each instance ``[instances]``: what a choice without error and
    without price would need. It is a bound, not a method.
    """
    return _filled(work).to_numpy(dtype=np.float64).min(axis=1)


def single_best(work: pd.DataFrame) -> str:
    """The name of the method whose work has the least geometric mean. Ask it of training instances:
    on the instances that it is judged on it would be a choice with hindsight.
    """
    logs = np.log(_filled(work).to_numpy(dtype=np.float64))
    return str(work.columns[logs.mean(axis=0).argmin()])


def spent(work: pd.DataFrame, chosen: str | Sequence[str], probe: Any = 0.0) -> Array:
    """The work of the methods that a selector chose, with its probe charged ``[instances]``.

    Args:
        work: the table, failures filled in.
        chosen: a method for all instances, or one for each.
        probe: what looking took, before the choice: one number, or one for each instance.
    """
    _filled(work)
    names = [chosen] * len(work) if isinstance(chosen, str) else list(chosen)
    unknown = sorted(set(map(str, names)) - set(map(str, work.columns)))
    if unknown or len(names) != len(work):
        raise MamlkitError(
            f"chosen must name one method for each of {len(work)} instances, out of "
            f"{list(work.columns)}; {len(names)} were given"
            + (f", with {unknown}." * bool(unknown))
        )
    column = [list(work.columns).index(name) for name in names]
    own = work.to_numpy(dtype=np.float64)[np.arange(len(work)), column]
    charge = np.asarray(probe, dtype=np.float64)
    if charge.shape not in ((), own.shape) or not np.all(charge >= 0):
        raise MamlkitError(
            f"probe must be one number >= 0, or one for each of {len(own)} instances; an array of "
            f"shape {list(charge.shape)} was given."
        )
    return own + charge


def ratio(one: Any, other: Any) -> Ratio:
    """How many times the work of the other is that of one: ``one / other`` instance by instance,
    its geometric mean, and a 95 % interval over independent instances.

    The logarithms are averaged, so that twice as much here and half as much there is even, and an
    instance counts alike whether it is long or short. The interval is paired: 1.96 standard errors
    of the mean logarithm.
    """
    top, bottom = (np.asarray(each, dtype=np.float64) for each in (one, other))
    if top.shape != bottom.shape or top.ndim != 1 or len(top) < 2:
        raise MamlkitError(
            f"ratio() needs two rows of work of the same instances, two at least; shapes "
            f"{list(top.shape)} and {list(bottom.shape)} were given."
        )
    if not (
        np.isfinite(top).all() and np.isfinite(bottom).all() and min(top.min(), bottom.min()) > 0
    ):
        raise MamlkitError("work must be finite and above zero; fill in failures by penalised().")
    logs = np.log(top / bottom)
    half = 1.96 * logs.std(ddof=1) / len(logs) ** 0.5
    return Ratio(*(float(np.exp(logs.mean() + shift)) for shift in (0.0, -half, half)))


class Halving(NamedTuple):
    """What stopping runs early brought: ``regret [problems]``, how much worse the best run that was
    finished is than the best of all, in the units of ``final``; and ``compute``, the share of all
    steps that were taken. ``finished [problems, runs]`` says which runs were.
    """

    regret: Array
    compute: float
    finished: np.ndarray[Any, np.dtype[np.bool_]]


def halving(final: Any, steps: int, rungs: Mapping[int, int], scores: Mapping[int, Any]) -> Halving:
    """Train many runs a little, go on with the most promising ones, and so on (successive halving:
    K. Jamieson and A. Talwalkar, AISTATS 2016).

    Args:
        final: how each run would end, ``[problems, runs]``; lower is better.
        steps: the length of a whole run.
        rungs: how many runs go on beyond a step, such as ``{30: 8, 60: 4, 120: 2}``; one rung is
            plain early stopping.
        scores: for each rung what to judge runs by, ``[problems, runs]``, lower is better: the last
            value, or where a learner predicts that the run will end.
    """
    end = np.asarray(final, dtype=np.float64)
    alive, done, spent_steps = np.ones(end.shape, dtype=bool), 0, 0
    if end.ndim != 2 or not np.isfinite(end).all():
        raise MamlkitError(
            f"final must be finite numbers [problems, runs]; shape {list(end.shape)} was given."
        )
    for step, keep in rungs.items():
        score = np.asarray(scores.get(step, np.nan), dtype=np.float64)
        if score.shape != end.shape or not np.isfinite(score).all():
            raise MamlkitError(
                f"the rung at step {step} needs scores that are finite numbers "
                f"{list(end.shape)}; shape {list(score.shape)} was given."
            )
        if not done < step < steps or not 0 < keep <= alive[0].sum():
            raise MamlkitError(
                f"rungs={dict(rungs)!r} must rise in step, stay below steps={steps}, and keep at "
                f"least one run and no more at each than before, of {end.shape[1]}."
            )
        spent_steps += int(alive[0].sum()) * (step - done)
        order = np.where(alive, score, np.inf).argsort(axis=1, kind="stable")
        alive = np.zeros_like(alive)
        np.put_along_axis(alive, order[:, :keep], True, axis=1)
        done = step
    spent_steps += int(alive[0].sum()) * (steps - done)
    best = np.where(alive, end, np.inf).min(axis=1)
    return Halving(best - end.min(axis=1), spent_steps / (end.shape[1] * steps), alive)


def _check(work: Any) -> None:
    if not hasattr(work, "columns") or len(work) == 0:
        raise MamlkitError(
            "work must be a table of pandas, a row an instance and a column a method, with one row "
            f"at least; {type(work).__name__} was given."
        )
    if not work.notna().any(axis=None) or work.min(axis=None) <= 0:
        raise MamlkitError("work must be above zero, with nan where a method failed.")


def _filled(work: pd.DataFrame) -> pd.DataFrame:
    _check(work)
    if work.isna().any(axis=None):
        raise MamlkitError(
            f"{int(work.isna().sum().sum())} entries of the table are missing, because a method "
            "failed there; fill them in by penalised(work, cap) first."
        )
    return work
