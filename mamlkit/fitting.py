"""From a table of your own to predictions with error bars: several learners and yardsticks,
cross-validated over systems, side by side.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import NormalDist, median
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from torch.func import vmap

from mamlkit.checks import as_path, count, one_of
from mamlkit.errors import MamlkitError, MamlkitWarning
from mamlkit.evaluation.calibration import Banded, Recalibrated
from mamlkit.evaluation.curves import final_losses, half_width, new_tasks
from mamlkit.learners import CAVIA, BayesianHead, MetaSGD, RidgeHead, Scaled
from mamlkit.learners.beliefs import of_readings, there
from mamlkit.learners.meta import MetaLearner
from mamlkit.losses import Predict, mean_over
from mamlkit.models import MLP
from mamlkit.tasks.base import Data, Readings, TaskBatch
from mamlkit.tasks.rows import read_rows
from mamlkit.tasks.scales import Scales
from mamlkit.tasks.table import Table
from mamlkit.training.checkpoints import atomically
from mamlkit.training.loop import Plan, meta_train
from mamlkit.training.saved import save
from mamlkit.yardsticks import (
    GaussianProcess,
    MixedEffects,
    Pooled,
    ProbabilisticPCA,
    Ridge,
    polynomial,
)

if TYPE_CHECKING:
    import pandas as pd

LEVELS = (0.5, 0.9)
#: How networks are trained. The best iteration on the systems that choose is kept.
PLAN = Plan(
    meta_batch=16,
    iterations=300,
    outer_lr=2e-2,
    schedule="cosine",
    grad_clip=1.0,
    validate_every=25,
    compile="capture",
)
FEATURES = 12  # of the heads
TRUST = 5  # systems: how many it takes to believe in a factor as much as in none


class Candidate(NamedTuple):
    """What :func:`fit` tries: ``make(table, setting)`` gives what has learned from the table, or a
    network that is still to be trained on it; ``outputs`` is how many it can have at most.
    """

    make: Callable[[Table, Any], Any]
    settings: Sequence[Any] = (None,)
    outputs: float = float("inf")


def _network(table: Table, d_out: int, **more: Any) -> MLP:
    return MLP(table.d_in, d_out, (32, 32), **more).double()


CANDIDATES: dict[str, Candidate] = {
    "mean curve": Candidate(lambda table, _: ProbabilisticPCA.fit(table, 0)),
    "linear latent": Candidate(ProbabilisticPCA.fit, (1, 2, 3)),
    "mixed effects": Candidate(lambda table, r: MixedEffects(table, 2, r), (0, 1, 2), 1),
    "Gaussian process": Candidate(lambda table, _: GaussianProcess.fit(table), outputs=1),
    "ridge": Candidate(
        lambda _, setting: Ridge(setting[1], polynomial(setting[0])),
        [(degree, penalty) for degree in (1, 2) for penalty in (0.01, 0.1, 1.0)],
    ),
    "pooled": Candidate(lambda table, _: Pooled(_network(table, table.d_out), 0.01, 5)),
    "Meta-SGD": Candidate(lambda table, _: MetaSGD(_network(table, table.d_out), 0.05, 2)),
    "CAVIA": Candidate(
        lambda table, _: CAVIA(_network(table, table.d_out, context=2, feed="modulate"), 0.5, 2)
    ),
    "ridge head": Candidate(lambda table, _: RidgeHead(_network(table, FEATURES))),
    "Bayesian head": Candidate(
        lambda table, _: BayesianHead(_network(table, FEATURES), FEATURES, table.d_out, 0.3)
    ),
}


LEARNERS = ("Meta-SGD", "CAVIA", "ridge head", "Bayesian head")  # the others are yardsticks


@dataclass
class Fit:
    """What :func:`fit` found.

    Attributes:
        best: the learner that did best on the systems that choose, trained on all:
            ``best.adapt(x, y)`` in the units of the table.
        name, setting: what it is, and what was chosen for it.
        rows: the table by learner; see :attr:`table`.
        held: what the best predicted of each reading; see :attr:`predictions`.
        about: columns, units and settings.
        notes: what you should know, in words.
    """

    best: Scaled
    name: str
    setting: Any
    rows: dict[str, dict[str, Any]]
    held: dict[str, list[Any]]
    about: dict[str, Any]
    notes: list[str]

    @property
    def table(self) -> pd.DataFrame:
        """One row a learner, the best on the systems that choose first.

        ``error`` is the root-mean-square error over those readings of a system that were asked for,
        mean over systems while they were held out, in units of y (for several outputs in units of
        their spread), with ``ci95``, its half width over systems, and ``median``. ``validation`` is
        the same on the systems that choose. ``coverage_90`` is the share of readings in intervals
        of 90 %, mean over systems, with its half width, and ``width_90`` their median width.
        ``seconds`` is what all folds took.
        """
        import pandas as pd

        return pd.DataFrame.from_dict(self.rows, orient="index").sort_values("validation")

    @property
    def predictions(self) -> pd.DataFrame:
        """One row a reading: its system, x and y, whether it was shown (``support``), and else what
        the best predicted of it while its system was held out, with the ends of intervals.
        """
        import pandas as pd

        return pd.DataFrame(self.held)

    def predict(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Predict for systems of which some readings are known: in a frame with the columns of the
        table a row with y is a reading, and a row without asks for a prediction.

        Returns the frame with the columns ``prediction``, ``low50``, ``high50``, ``low90`` and
        ``high90`` besides (of several outputs each with ``_`` and its name), in units of y and
        filled where a prediction was asked for. Intervals are those of a new reading.

        Raises:
            MamlkitError: for a frame that does not fit, with the row named.
        """
        about = self.about
        missing = {name: float("nan") for name in about["outputs"] if name not in frame}
        frame = frame.assign(**missing)
        bars = [name for name in about["sigma"] if name in frame]
        columns = (about["task"], about["inputs"], about["outputs"], bars or None)
        rows = read_rows(frame, *columns, origins=about["origins"], missing_y=True)
        names = prediction_columns(about["outputs"])
        frame = frame.assign(**dict.fromkeys(names, float("nan")))
        x, y = torch.as_tensor(rows.x), torch.as_tensor(rows.y)
        asked = y.isnan().all(1)
        for system in range(len(rows.names)):
            own = torch.as_tensor(rows.system == system)
            known, wanted = own & ~asked, own & asked
            if not wanted.any():
                continue
            support: Any = Data(x[known], y[known])
            if rows.sigma is not None:
                weight = torch.as_tensor(rows.sigma)[known] ** -2.0
                support = Readings(x[known], y[known], weight)
            values = _values(self.best.adapt(support), x[wanted])
            frame.iloc[rows.index[wanted.numpy()], -len(names) :] = values.flatten(1).numpy()
        for note in rows.notes:
            warnings.warn(note, MamlkitWarning, stacklevel=2)
        return frame

    def save(self, path: str | Path) -> None:
        """Write a folder: ``saved.npz``, which :func:`mamlkit.load` reads; ``table.csv``;
        ``predictions.csv`` and ``systems.png``, of all systems while they were held out.
        """
        import matplotlib.pyplot as plt

        from mamlkit.show.plots import fit_page

        out = as_path(path)
        save(self, out / "saved.npz")
        with atomically(out / "table.csv") as file:
            self.table.to_csv(file, index_label="learner")
        with atomically(out / "predictions.csv") as file:
            self.predictions.to_csv(file, index=False)
        page = fit_page(self.predictions, self.about)
        with atomically(out / "systems.png") as file:
            page.savefig(file, bbox_inches="tight", format="png")
        plt.close(page)

    def __repr__(self) -> str:
        told = self.name if self.setting is None else f"{self.name}, setting {self.setting}"
        if self.name not in LEARNERS:
            told += ", a yardstick and no meta-learner"
        return f"{self.table.to_string(float_format='{:.4g}'.format)}\nbest: {told}"


def fit(
    table: Table,
    shots: int = 4,
    *,
    log: Sequence[str] = (),
    folds: int = 5,
    candidates: Iterable[str] | None = None,
    seed: int = 0,
    progress: bool = True,
) -> Fit:
    """Try several learners and yardsticks on a table, each cross-validated over systems.

    In each fold some systems are held out to be judged on, others choose settings and when to stop,
    and the rest is learned from; in the next fold the next are held out, so that each system is
    judged on once. Numbers are brought to order one by the systems that are learned from. What is
    best on the systems that *choose* is trained on all in the end. Intervals are widened or
    narrowed by one factor, found on the systems that choose.
    Taught in notebook 13.

    Args:
        table: at least three systems.
        shots: readings of a new system that will be known.
        log: columns whose logarithm is learned, such as lengths that grow by a factor.
        folds: how many, three or more; as many as there are systems leaves out one at a time.
        candidates: which of :data:`CANDIDATES`; None tries all that fit.
        seed: fixes folds and supports.
        progress: show a progress bar.

    Raises:
        MamlkitError: for what cannot be fitted.
    """
    from tqdm.auto import tqdm

    members = _check(table)
    shots, folds = count("shots", shots, least=0), count("folds", folds, least=3)
    names = [one_of("candidates", n, CANDIDATES) for n in candidates or CANDIDATES]
    notes = [*table.notes, *_few(table, shots)]
    narrow = [name for name in names if table.d_out > CANDIDATES[name].outputs]
    notes += [f"{name} takes one output, so it was not tried." for name in narrow]
    names = [name for name in names if name not in narrow]
    held = [each for _, each in table.folds(min(folds, len(members)), seed)]
    results: dict[str, list[Result]] = {name: [] for name in names}
    total = len(held) * len(names) + 1
    with _one_thread(), tqdm(total=total, disable=not progress, desc="fit") as bar:
        for k, test in enumerate(held):
            choosing = held[(k + 1) % len(held)]
            rest = [each.members for each in held if each is not test and each is not choosing]
            learning = table.only(torch.cat([m for m in rest if m is not None]))
            fold = Fold(learning, choosing, test, shots, log, seed + k)
            for name in names:
                bar.set_postfix_str(name)
                if name in results:
                    try:
                        results[name].append(fold.result(name))
                    except MamlkitError as error:
                        notes.append(f"{name} was left out: {error}")
                        del results[name]
                bar.update()
        if not results:
            raise MamlkitError(f"nothing could be fitted; the last complaint: {notes[-1]}")
        best = min(results, key=lambda name: _mean(result.score for result in results[name]))
        bar.set_postfix_str(f"{best}, on all systems")
        learner, setting = _on_all(best, results[best], table, shots, log, seed)
        bar.update()
    about: dict[str, Any] = {
        "task": table.task,
        "inputs": list(table.input_names),
        "outputs": list(table.output_names),
        "sigma": list(table.sigma_names),
        "units": table.units,
        "origins": table.origins,
        "support": table.support,
        "shots": shots,
        "log": list(log),
        "folds": len(held),
        "systems": len(members),
        "readings": int(table.sizes[members].sum()),
        "seed": seed,
    }
    rows = {name: _row(found) for name, found in results.items()}
    return Fit(learner, best, setting, rows, _held(results[best], table), about, notes)


class Result(NamedTuple):
    """One candidate in one fold.

    ``scores`` are errors on the systems that choose, by setting; ``squares`` are those of its
    errors there in order one, ``[systems, d_out]``, over the variance that it believed in if it was
    ``sure`` of one. Of the held systems: ``values`` are predictions and ends of intervals,
    ``[systems, m, d_out, 5]``; ``errors`` and ``inside`` are one a system, ``widths`` one a
    reading.
    """

    setting: Any
    scores: dict[Any, float]
    iterations: int
    squares: Tensor
    sure: bool
    test: TaskBatch
    values: Tensor
    errors: Tensor
    inside: Tensor
    widths: Tensor
    seconds: float

    @property
    def score(self) -> float:
        """The error on the systems that choose."""
        return self.scores[self.setting]


class Fold:
    """Systems to learn from, to choose by and to be judged on."""

    def __init__(
        self,
        learning: Table,
        choosing: Table,
        test: Table,
        shots: int,
        log: Sequence[str],
        seed: int,
    ) -> None:
        self.scales, self.shots, self.seed = Scales.of(learning, log), shots, seed
        self.learning, self.choosing = (self.scales.table(each) for each in (learning, choosing))
        self.check, self.test = (new_tasks(e, shots, seed=seed) for e in (choosing, test))
        #: What errors are divided by: several outputs count in units of their spread.
        self.unit = Scales.of(learning).y[1] if learning.d_out > 1 else torch.ones(1)

    def result(self, name: str) -> Result:
        """Try the settings of a candidate, and judge the best."""
        began, tried = time.perf_counter(), []
        for setting in CANDIDATES[name].settings:
            learner, iterations = _learned(
                name, setting, self.learning, self.choosing, self.shots, self.seed
            )
            mean, variance = believed(learner, self.scales.batch(self.check))
            score = float(self._errors(mean, self.check).mean())
            tried.append((score, setting, learner, iterations, mean, variance))
        scores = {setting: score for score, setting, *_ in tried}
        _, setting, learner, iterations, mean, variance = min(tried, key=lambda each: each[0])
        sure = not bool(variance.isnan().any())
        query = self.scales.inside(self.check.query)
        squares = (query.y - mean) ** 2 / (variance if sure else 1.0)
        real = (query.weight > 0).to(squares).expand_as(squares)
        squares = (squares * real).sum(1) / real.sum(1)
        mean, variance = believed(learner, self.scales.batch(self.test))
        variance = corrected(variance, squares, sure)
        ends = [
            self.scales.y_outside(mean + side * NormalDist().inv_cdf((1 + p) / 2) * variance.sqrt())
            for p in LEVELS
            for side in (-1, 1)
        ]
        values = torch.stack([self.scales.y_outside(mean), *ends], dim=-1)
        y, low, high = self.test.query.y, values[..., -2], values[..., -1]
        return Result(
            setting,
            scores,
            iterations,
            squares,
            sure,
            self.test,
            values,
            self._errors(mean, self.test),
            _over_points(((low <= y) & (y <= high)).double(), self.test),
            ((high - low) / self.unit)[self.test.query.weight.expand_as(y) > 0],
            time.perf_counter() - began,
        )

    def _errors(self, mean: Tensor, batch: TaskBatch) -> Tensor:
        """Root mean squares by system, of predictions in order one."""
        error = (self.scales.y_outside(mean) - batch.query.y) / self.unit
        return _over_points(error**2, batch).sqrt()


@torch.no_grad()
def believed(learner: Any, batch: TaskBatch) -> tuple[Tensor, Tensor]:
    """Adapt to each task and predict its query: mean and variance of readings, ``[n_tasks, m,
    d_out]`` each; nan for the variance of what does not say how sure it is.
    """

    def ask(predict: Predict, query: Any) -> Tensor:
        if hasattr(predict, "distribution"):
            return torch.stack(tuple(of_readings(predict, query, "fit")))
        mean = predict(query.x)
        return torch.stack([mean, torch.full_like(mean, torch.nan)])

    mean, variance = final_losses(learner, batch, ask).unbind(1)
    if not bool(mean.isfinite().all()):
        raise MamlkitError("its predictions are not finite.")
    return mean, variance


def corrected(variance: Tensor, squares: Tensor, sure: bool) -> Tensor:
    """The variance times the factor that the squares ask for; or the squares themselves."""
    return _factor(squares) * variance if sure else squares.mean(0).expand_as(variance)


def _factor(squares: Tensor) -> float:
    """Held to 1 as by so many systems as :data:`TRUST`."""
    return float((squares.mean(1).sum() + TRUST) / (len(squares) + TRUST))


def _learned(
    name: str,
    setting: Any,
    table: Table,
    choosing: Table | None,
    shots: int,
    seed: int,
    iterations: int | None = None,
) -> tuple[Any, int]:
    """A candidate that has learned from a table, and how many iterations that took."""
    learner = CANDIDATES[name].make(table, setting)
    if not isinstance(learner, MetaLearner):
        return learner, 0
    plan = replace(PLAN, seed=seed, iterations=iterations or PLAN.iterations)
    history = meta_train(learner, table, shots, plan=plan, validation=choosing, progress=False)
    if history.interrupted:
        raise KeyboardInterrupt
    if choosing is None:
        return learner, plan.iterations
    best = min(range(len(history.validation_loss)), key=history.validation_loss.__getitem__)
    return learner, history.validation_iteration[best]


def _on_all(
    name: str, results: Sequence[Result], table: Table, shots: int, log: Sequence[str], seed: int
) -> tuple[Scaled, Any]:
    """The candidate trained on all systems, with the setting that was best over all folds, and
    that setting.
    """
    setting = min(
        results[0].scores, key=lambda each: _mean(result.scores[each] for result in results)
    )
    scales = Scales.of(table, log)
    iterations = max(1, round(median(result.iterations for result in results)))
    learner, _ = _learned(name, setting, scales.table(table), None, shots, seed, iterations)
    squares = torch.cat([result.squares for result in results])
    if results[0].sure:
        return Scaled(Recalibrated(learner, _factor(squares)), scales), setting
    return Scaled(Banded(learner, squares.mean(0)), scales), setting


def _values(adapted: Any, x: Tensor) -> Tensor:
    """Prediction and ends of intervals at ``x [m, d_in]``: ``[m, d_out, 5]``."""
    ends = [end for level in LEVELS for end in adapted.interval(x, level)]
    return torch.stack([adapted(x), *ends], dim=-1)


def prediction_columns(outputs: Sequence[str]) -> list[str]:
    """The names of the columns of predictions, output by output."""
    ends = [f"{end}{100 * level:g}" for level in LEVELS for end in ("low", "high")]
    names = ["prediction", *ends]
    return names if len(outputs) == 1 else [f"{name}_{out}" for out in outputs for name in names]


def _held(results: Sequence[Result], table: Table) -> dict[str, list[Any]]:
    """The readings of all systems, and what was predicted of them, as columns."""
    names = prediction_columns(table.output_names)
    found: dict[str, list[Any]] = {
        name: [] for name in (table.task, *table.input_names, *table.output_names, "support")
    }
    found |= {name: [] for name in names}
    systems = sorted(
        (
            (system, result.test.task(i), result.values[i].flatten(1))  # values [m, 5 d_out]
            for result in results
            for i, system in enumerate(result.test.physics["system"].long().tolist())
        ),
        key=lambda each: each[0],
    )
    nothing = torch.full((len(names),), torch.nan)
    for system, task, values in systems:
        for part, told in (
            (task.support, nothing.expand(len(task.support.x), -1)),
            (task.query, values),
        ):
            for n in (part.weight > 0).any(-1).nonzero()[:, 0].tolist():
                readings = [*part.x[n].tolist(), *part.y[n].tolist(), part is task.support]
                row = [table.names[system], *readings, *told[n].tolist()]
                for column, value in zip(found.values(), row, strict=True):
                    column.append(value)
    return found


def _row(results: Sequence[Result]) -> dict[str, Any]:
    errors, inside = (torch.cat([getattr(r, n) for r in results]) for n in ("errors", "inside"))
    return {
        "error": float(errors.mean()),
        "ci95": float(half_width(errors)),
        "median": float(errors.median()),
        "validation": _mean(result.score for result in results),
        "coverage_90": float(inside.mean()),
        "coverage_90_ci95": float(half_width(inside)),
        "width_90": float(torch.cat([result.widths for result in results]).median()),
        "seconds": sum(result.seconds for result in results),
    }


def _over_points(values: Tensor, batch: TaskBatch) -> Tensor:
    """Means over the readings of each query, ``[n_tasks, m, d_out] -> [n_tasks]``."""
    return vmap(mean_over)(values, there(batch.query))


@contextmanager
def _one_thread() -> Iterator[None]:
    """Matrices are so small here that threads cost more than they bring."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _check(table: Any) -> Tensor:
    """The members of a table that can be fitted."""
    if not isinstance(table, Table):
        raise MamlkitError(
            f"fit() takes a mk.tasks.Table, but {type(table).__name__} was given; make one by "
            "mk.tasks.Table.from_frame(frame, task=.., x=.., y=..)."
        )
    members = table.members
    if members is None or len(members) < 3:
        raise MamlkitError(
            f"fit() needs at least three systems, to learn from, to choose by and to be judged on; "
            f"there are {table.n_members}."
        )
    return members


def _few(table: Table, shots: int) -> list[str]:
    """A note on systems with no more readings than shots."""
    few = [table.names[i] for i in _check(table).tolist() if table.sizes[i] <= shots]
    if not few:
        return []
    told = ", ".join(few[:5]) + (f" and {len(few) - 5} more" if len(few) > 5 else "")
    return [
        f"{len(few)} system(s) have no more than {shots} readings, so all but one are shown and "
        f"one is asked for: {told}."
    ]


def _mean(values: Iterable[float]) -> float:
    values = list(values)
    return sum(values) / len(values)
