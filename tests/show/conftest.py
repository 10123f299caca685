"""Every test leaves matplotlib as it found it; springs to draw."""

from __future__ import annotations

from collections.abc import Iterator

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import pytest

import mamlkit as mk


@pytest.fixture(autouse=True)
def clean_matplotlib() -> Iterator[None]:
    with mpl.rc_context():
        yield
    plt.close("all")


@pytest.fixture
def springs() -> mk.tasks.HookesLaw:
    return mk.tasks.HookesLaw()
