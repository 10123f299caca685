"""Rows of a table as numbers: read, checked, and named where something is wrong."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mamlkit.checks import as_path
from mamlkit.errors import MamlkitError

if TYPE_CHECKING:
    import pandas as pd

Column = str | Sequence[str]
NOTHING = ("NA", "N/A", "NaN", "nan", "null", "None", "-", "")  # in a column of numbers


def read_csv(path: str | Path) -> pd.DataFrame:
    """The rows of a file: a line of column names, then one reading a line, separated by commas,
    semicolons or tabs.

    Raises:
        MamlkitError: if there is no such file, or it is no such table.
    """
    import pandas as pd

    try:
        path = as_path(path)
        text = path.read_text(encoding="utf-8-sig")
        first = text.partition("\n")[0]
        separator = max(",;\t", key=first.count)
        settings: Any = {"sep": separator, "encoding": "utf-8-sig", "skipinitialspace": True}
        # A system may be called NA; in a column of numbers it is nothing all the same.
        settings |= {"keep_default_na": False, "na_values": [""]}
        with warnings.catch_warnings():  # else more cells than names would be an index, unsaid
            warnings.simplefilter("error", pd.errors.ParserWarning)
            frame = pd.read_csv(path, index_col=False, **settings)
    except OSError as error:
        raise MamlkitError(f"{path} cannot be read: {error.strerror}; check the path.") from error
    except UnicodeDecodeError as error:
        raise MamlkitError(f"{path} is no text in UTF-8; save the table as CSV, UTF-8.") from error
    except pd.errors.ParserWarning as error:
        raise MamlkitError(
            f"{path} has lines with more cells than the first line has names; give each column a "
            "name, and write decimals with a point."
        ) from error
    except ValueError as error:  # pandas' own errors are of this kind
        words = str(error).strip().rstrip(".")
        raise MamlkitError(f"{path} cannot be read as a table: {words}.") from error
    frame.columns = [str(name).strip() for name in frame.columns]
    return frame.dropna(how="all")


@dataclass
class Rows:
    """The rows of a table, numbers alone.

    ``names`` are those of the systems, in the order in which they first appear, and ``system [n]``
    is the place of each row's in it. ``x [n, d_in]`` and ``y [n, d_out]`` are float64; y is nan
    where ``missing_y`` let it. ``sigma`` are error bars, ``[n, 1]`` or ``[n, d_out]``, or None;
    ``inputs`` and ``outputs`` the names of columns; ``origins`` the first day of inputs that are
    dates, from which x counts. ``index [n]`` says which rows of the frame these are; ``notes`` what
    was left out or looks odd, in words.
    """

    names: list[str]
    system: Any
    x: Any
    y: Any
    sigma: Any
    inputs: list[str]
    outputs: list[str]
    origins: dict[str, str]
    index: Any
    notes: list[str] = field(default_factory=list)


def read_rows(
    frame: pd.DataFrame,
    task: str,
    x: Column,
    y: Column,
    sigma: Column | None = None,
    *,
    origins: Mapping[str, str] | None = None,
    missing_y: bool = False,
) -> Rows:
    """Numbers out of a frame, with systems told apart by the column ``task``.

    A row in which x, y or sigma is missing is left out and noted; ``missing_y`` keeps those where
    all of y is. ``origins`` are the first days of dates, where those of the frame shall not count.

    Raises:
        MamlkitError: for a column that is not there, or what is no finite number.
    """
    inputs, outputs, bars = ([*listed(c)] for c in (x, y, sigma or []))
    _check(frame, task, inputs, outputs, bars)
    codes, names = _systems(frame[task], task)

    def where(i: int) -> str:
        return f"row {i + 1} (system {names[codes[i]]!r})"

    columns, starts = _days(frame, inputs, [*outputs, *bars], dict(origins or {}))
    numbers = {name: _numbers(column, name, where) for name, column in columns.items()}
    x_all, y_all = (np.stack([numbers[c] for c in part], axis=1) for part in (inputs, outputs))
    s_all = np.stack([numbers[c] for c in bars], axis=1) if bars else None
    asked = np.isnan(y_all).all(1) if missing_y else np.zeros(len(frame), dtype=bool)
    gaps = np.stack([np.isnan(v) & ~(asked & (n not in inputs)) for n, v in numbers.items()])
    kept, notes = ~gaps.any(0), []
    for i in np.flatnonzero(~kept).tolist():
        lost = ", ".join(repr(n) for n, gap in zip(numbers, gaps[:, i], strict=True) if gap)
        notes.append(f"{where(i)} has nothing in {lost}: left out.")
    if s_all is not None and (wrong := (s_all <= 0).any(1) & kept).any():
        first = int(wrong.argmax())
        raise MamlkitError(
            f"{where(first)}: the error bar {s_all[first].tolist()} must be above 0."
        )
    if not kept.any():
        raise MamlkitError(f"no row is a whole reading; the first: {notes[0]}")
    notes += _odd(frame, [task, *inputs, *outputs], kept, numbers, inputs, where)
    there, place = np.unique(codes[kept], return_inverse=True)
    gone = [name for k, name in enumerate(names) if k not in there]
    notes += [f"system {name!r} has no whole reading, so it is not in the table." for name in gone]
    return Rows(
        names=[names[k] for k in there],
        system=place,
        x=x_all[kept],
        y=y_all[kept],
        sigma=None if s_all is None else s_all[kept],
        inputs=inputs,
        outputs=outputs,
        origins=starts,
        index=np.flatnonzero(kept),
        notes=notes,
    )


def _check(frame: Any, task: str, inputs: list[str], outputs: list[str], bars: list[str]) -> None:
    """Refuse what is no frame, has no rows, or lacks a column."""
    import pandas as pd

    if not isinstance(frame, pd.DataFrame):
        raise MamlkitError(
            f"frame must be a pandas.DataFrame, but {type(frame).__name__} was given."
        )
    for column in (task, *inputs, *outputs, *bars):
        check_column(frame, column)
    if not inputs or not outputs or len(bars) not in (0, 1, len(outputs)):
        raise MamlkitError(
            f"a table needs inputs x, outputs y, and no error bar, one, or one for each output; "
            f"but x={inputs}, y={outputs}, sigma={bars} were given."
        )
    if len(frame) == 0:
        raise MamlkitError("the table has no rows.")


def _systems(column: pd.Series[Any], task: str) -> tuple[Any, list[str]]:
    """The place of each row's system in a list of names, and that list."""
    import pandas as pd

    if column.isna().any():
        row = int(column.isna().to_numpy().argmax())
        raise MamlkitError(f"row {row + 1} has nothing in {task!r}, so it belongs to no system.")
    codes, found = pd.factorize(column)
    names = [str(name) for name in found]
    if len(set(names)) < len(names):
        alike = next(name for name in names if names.count(name) > 1)
        raise MamlkitError(
            f"{task!r} holds {alike} as a number and as text; write a system's name in one way."
        )
    return codes, names


def _days(
    frame: pd.DataFrame, inputs: list[str], others: list[str], starts: dict[str, str]
) -> tuple[dict[str, Any], dict[str, str]]:
    """The columns, with inputs that are dates as days since ``starts``, or since the first; and
    those first days.
    """
    import pandas as pd

    columns: dict[str, Any] = {name: frame[name] for name in dict.fromkeys((*inputs, *others))}
    for name in inputs:
        days = dates(frame[name])
        if days is None and name in starts:
            raise MamlkitError(
                f"{name!r} held dates when the table was fitted, but here {frame[name].iloc[0]!r}; "
                "write dates as 2024-12-31."
            )
        if days is not None:
            start = starts.setdefault(name, str(days.min().date()))
            columns[name] = (days - pd.Timestamp(start)) / pd.Timedelta(days=1)
    return columns, starts


def check_column(frame: pd.DataFrame, name: str) -> None:
    """Refuse the name of a column that is not there."""
    if not isinstance(name, str):
        raise MamlkitError(f"columns are named by text, but {name!r} was given.")
    if (found := list(frame.columns).count(name)) != 1:
        there = "no column" if found == 0 else "more than one column"
        raise MamlkitError(f"there is {there} {name!r}; the table has {list(frame.columns)}.")


def dates(column: pd.Series[Any]) -> pd.Series[Any] | None:
    """The column as dates, if it holds nothing else."""
    import pandas as pd

    if pd.api.types.is_datetime64_any_dtype(column):
        return column.dt.tz_convert(None) if column.dt.tz is not None else column
    written = column.dropna()
    if written.empty or not all(isinstance(value, str) for value in written):
        return None
    found = pd.to_datetime(column, format="ISO8601", errors="coerce", utc=True)
    numeric = pd.to_numeric(column, errors="coerce").notna().any()
    late = (found.isna() & column.notna()).any()
    return None if numeric or late else found.dt.tz_localize(None)


def listed(column: Column) -> Sequence[str]:
    """One name or several, as several."""
    return [column] if isinstance(column, str) or not isinstance(column, Sequence) else column


def _numbers(column: pd.Series[Any], name: str, where: Any) -> Any:
    """A column as float64, nan where it is empty."""
    import pandas as pd

    if column.dtype.kind in "mMc":  # pandas would count nanoseconds, or drop what is imaginary
        raise MamlkitError(
            f"{name!r} holds {column.dtype}, which are no numbers; only dates of x are counted."
        )
    column = column.where(~column.isin(NOTHING))
    found = pd.to_numeric(column, errors="coerce").to_numpy(dtype=float, na_value=np.nan)
    wrong = (np.isnan(found) & column.notna().to_numpy()) | np.isinf(found)
    if wrong.any():
        i = int(wrong.argmax())
        more = f", and {int(wrong.sum()) - 1} more rows like it" if wrong.sum() > 1 else ""
        raise MamlkitError(
            f"{where(i)}: {name!r} holds {str(column.iloc[i])!r}, which is no finite number{more}. "
            "Leave a cell empty where nothing was measured, and write decimals with a point."
        )
    return found


def _odd(
    frame: pd.DataFrame, columns: list[str], kept: Any, numbers: Any, inputs: list[str], where: Any
) -> list[str]:
    """Doubled rows and constant columns, in words."""
    notes = []
    rows, there = frame.loc[kept, columns], np.flatnonzero(kept)
    twice = there[rows.duplicated().to_numpy()]
    if len(twice):
        alike = there[rows.duplicated(keep=False).to_numpy()]
        first = next(i for i in alike if frame[columns].iloc[[i, twice[0]]].duplicated().any())
        notes.append(
            f"{len(twice)} row(s) say again what another says, such as {where(twice[0])} and row "
            f"{first + 1}: each counts as a reading of its own; take them out if they are copies."
        )
    for name in inputs:
        values = numbers[name][kept]
        if len(values) > 1 and np.ptp(values) == 0:
            notes.append(f"{name!r} is {values[0]:g} in every row, so it tells nothing apart.")
    return notes
