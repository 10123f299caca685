"""Settings of all tests: one thread, reproducible hypothesis, a seeded generator."""

from __future__ import annotations

import os
import shutil

# Two notebooks at a time, each with a thread a core, would wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import coverage
import pytest
import torch
from hypothesis import settings

coverage.process_startup()  # does nothing unless COVERAGE_PROCESS_START is set, as .ci/run does

import mamlkit as mk  # noqa: E402

torch.set_num_threads(1)
settings.register_profile("default", deadline=None, max_examples=20)
settings.register_profile("ci", deadline=None, max_examples=20, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "default")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest module first: it runs on one core, and the others must not wait for it."""
    items.sort(key=lambda item: not any(item.iter_markers("browser")))  # which keeps the order


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.fixture
def linear_family() -> mk.tasks.LinearLaw:
    return mk.tasks.LinearLaw()


@pytest.fixture
def small_learner() -> mk.MAML:
    """A float64 learner of one number from one number."""
    return mk.MAML(mk.models.MLP(1, 1, hidden=(6,)).double(), inner_lr=0.05, inner_steps=2)


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of the browser."""
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        reason = "chromium is not installed; on Debian: apt-get install chromium"
        if os.environ.get("MAMLKIT_REQUIRE_BROWSER") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return path
