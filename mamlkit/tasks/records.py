"""Three measured records that have been read for decades, as small tables with their sources."""

from __future__ import annotations

import csv
from functools import cache
from importlib.resources import files
from typing import NamedTuple

import torch
from torch import Tensor

from mamlkit.checks import one_of

#: What each record is and where it comes from; all three are in the public domain, and stand in
#: statsmodels.datasets, whose tables these are.
RECORDS = {
    "co2": "Carbon dioxide in the air at Mauna Loa, ppm, monthly means of weekly values, March "
    "1958 to December 2001; months without a value are on the straight line between neighbours. "
    "C. D. Keeling and T. P. Whorf 2004, Carbon Dioxide Information Analysis Center.",
    "elnino": "Temperature of the sea off Peru and Ecuador (Nino 1+2), degrees Celsius, monthly, "
    "1950 to 2010. ERSST.V3B, National Oceanic and Atmospheric Administration.",
    "sunspots": "Sunspot number, yearly, 1700 to 2008. National Geophysical Data Center.",
}


class Record(NamedTuple):
    """A record in order: ``year [n]``, ``month [n]`` from 1 to 12 (0 where it is yearly), and the
    ``value [n]``, float64.
    """

    year: Tensor
    month: Tensor
    value: Tensor


@cache
def record(name: str) -> Record:
    """One of :data:`RECORDS`, in its unit."""
    one_of("name", name, RECORDS)
    text = files("mamlkit.tasks").joinpath("records.csv").read_text(encoding="utf-8")
    rows = [r for r in csv.DictReader(text.splitlines()) if r["record"] == name]
    year, month = (torch.tensor([int(r[key]) for r in rows]) for key in ("year", "month"))
    value = torch.tensor([float(r["value"]) for r in rows], dtype=torch.float64)
    return Record(year, month, value)
