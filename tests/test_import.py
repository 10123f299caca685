"""``import mamlkit`` stays light. How many seconds it adds to ``import torch``, measured::

    python -X importtime -c "import torch, mamlkit" 2>&1 | grep -E "\\| (torch|mamlkit)$"

The second column is the cumulative time in microseconds; mamlkit's row comes after torch's, so it
holds what mamlkit adds.
"""

from __future__ import annotations

import subprocess
import sys

HEAVY = ("matplotlib", "ipywidgets", "pandas", "sklearn", "scipy", "IPython", "jupyterlab")


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


def test_plots_come_on_first_use():
    assert "matplotlib" in loaded_after("import mamlkit; mamlkit.plots.use_style")
