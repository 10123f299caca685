"""``import mamlkit`` stays light. How many seconds it adds to ``import torch``, measured::

    python -X importtime -c "import torch, mamlkit" 2>&1 | grep -E "\\| (torch|mamlkit)$"

The second column is the cumulative time in microseconds; mamlkit's row comes after torch's, so it
holds what mamlkit adds.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.helpers import ROOT

HEAVY = ["matplotlib", "ipywidgets", "pandas", "sklearn", "scipy", "IPython", "jupyterlab"]
HEAVY += ["sympy"]  # which torch brings at the first vmap, with a second's work besides


def loaded_after(program: str) -> set[str]:
    """Top-level packages that a fresh interpreter holds after ``program``."""
    show = "print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; {program}; {show}"],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return set(done.stdout.split())


def test_import_loads_nothing_heavy():
    loaded = loaded_after("import mamlkit")
    assert {"mamlkit", "torch"} <= loaded
    assert not loaded.intersection(HEAVY)


def test_import_reads_no_table():
    """Every table of the package is read on first use."""
    program = """
import gc, functools
import mamlkit
kept = [f for f in gc.get_objects() if isinstance(f, functools._lru_cache_wrapper)]
mine = [f for f in kept if f.__module__.startswith("mamlkit")]
print(len(mine), *(f.__name__ for f in mine if f.cache_info().currsize))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=True
    )
    count, *filled = done.stdout.split()
    assert int(count) > 3
    assert filled == []


def test_plots_come_on_first_use():
    assert "matplotlib" in loaded_after("import mamlkit; mamlkit.plots.use_style")


PRESSED = """
import os, signal, sys, threading, torch, mamlkit as mk
def first():
    x = torch.ones(2, 1)
    model = mk.models.MLP(1, 1, (3,)) if sys.argv[2] == "ours" else torch.nn.Linear(1, 1)
    return mk.MAML(model).adapt(x, x)(x)
threading.Timer(float(sys.argv[1]), os.kill, (os.getpid(), signal.SIGINT)).start()
try:
    while True:
        first()
except KeyboardInterrupt:
    print("interrupted")
first()
print("works")
"""


@pytest.mark.parametrize(("seconds", "model"), [(0.35, "ours"), (0.6, "torch")])
def test_ctrl_c_in_the_first_call_spoils_no_later_one(seconds: float, model: str) -> None:
    """Torch imports much of itself then; half of it would stay for good."""
    done = subprocess.run(
        [sys.executable, "-c", PRESSED, str(seconds), model],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stdout == "interrupted\nworks\n", done.stderr
