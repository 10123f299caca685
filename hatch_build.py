"""What the wheel carries beside the code: notebooks, and of the assignments what students get."""

from __future__ import annotations

import runpy
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

YEAR = 2026  # stands in the notebooks until `mamlkit assignment --year` writes another


class Notebooks(BuildHookInterface[Any]):
    """Strips the assignments of their solutions."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Name each notebook and where it goes."""
        root = Path(self.root)
        strip = runpy.run_path(str(root / "mamlkit" / "course" / "grading" / "handout.py"))["strip"]
        self._made = tempfile.TemporaryDirectory()
        include = build_data["force_include"]
        for path in sorted((root / "notebooks").glob("*.ipynb")):
            include[str(path)] = f"mamlkit/notebooks/{path.name}"
        for path in sorted((root / "notebooks" / "assignments").glob("*.ipynb")):
            made = Path(self._made.name, path.name)
            made.write_text(strip(path.read_text(encoding="utf-8"), YEAR), encoding="utf-8")
            include[str(made)] = f"mamlkit/notebooks/assignments/{path.name}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove what was made for the build."""
        self._made.cleanup()
