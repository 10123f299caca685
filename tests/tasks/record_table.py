"""The rows of mamlkit/tasks/records.csv, out of statsmodels' copies of the records."""

from __future__ import annotations

from collections.abc import Iterator

import statsmodels.api as sm

MONTHS = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"]


def rows() -> Iterator[tuple[str, int, int, str]]:
    """Record, year, month (0: a year) and value."""
    weekly = sm.datasets.co2.load_pandas().data["co2"]
    for date, value in weekly.resample("MS").mean().interpolate().items():
        yield "co2", date.year, date.month, f"{value:.3f}"
    for _, row in sm.datasets.elnino.load_pandas().data.iterrows():
        for month, name in enumerate(MONTHS, start=1):
            yield "elnino", int(row["YEAR"]), month, f"{row[name]:.2f}"
    for _, row in sm.datasets.sunspots.load_pandas().data.iterrows():
        yield "sunspots", int(row["YEAR"]), 0, f"{row['SUNACTIVITY']:.1f}"
