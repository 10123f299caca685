"""The wheel, alone, in a fresh environment and an empty folder: the course and the main job run."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import pytest

from mamlkit.cli.lab import PAGES, student_copy
from tests.helpers import ROOT

pytestmark = pytest.mark.install

FIRST = "00_one_measurement_a_whole_curve.ipynb"
TOKEN = "for-this-test-only"
UNREACHABLE = "after connection broken by"  # how pip reports a package index that does not answer


def run(*command: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run ``command``; when it fails, fail with what it said."""
    # A path to the clone's own package would hide what the wheel lacks.
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, env=env, capture_output=True, text=True
    )
    if done.returncode:
        said = done.stdout + done.stderr
        if "pip" in command and UNREACHABLE in said and "CI" not in os.environ:
            pytest.skip("pip cannot reach a package index")
        pytest.fail(f"{' '.join(map(str, command))} exited with {done.returncode}:\n{said}")
    return done


@pytest.fixture(scope="module")
def environment(tmp_path_factory) -> Path:
    """The ``bin`` folder of a fresh environment that holds the wheel and what it asks for."""
    folder = tmp_path_factory.mktemp("install")
    run(
        *(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT),
        cwd=folder,
    )
    (wheel,) = folder.glob("mamlkit-*.whl")
    run(sys.executable, "-m", "venv", folder / "venv", cwd=folder)
    scripts = folder / "venv" / ("Scripts" if os.name == "nt" else "bin")
    # The torch of these tests, so that a build with GPU libraries is not fetched in its place.
    torch = f"torch=={version('torch').partition('+')[0]}"
    run(
        *(scripts / "python", "-m", "pip", "install", "--quiet", "--no-compile"),
        *("--disable-pip-version-check", wheel, torch),
        cwd=folder,
    )
    return scripts


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def lab(scripts: Path, folder: Path) -> Iterator[dict[str, dict[str, object]]]:
    """Run ``mamlkit lab --no-browser`` in ``folder``; give the server's list of the notebooks."""
    port = free_port()
    env = {
        **{name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        "JUPYTER_PORT": str(port),
        "JUPYTER_TOKEN": TOKEN,
        "JUPYTER_CONFIG_DIR": str(folder.parent / "jupyter"),
        "JUPYTER_RUNTIME_DIR": str(folder.parent / "jupyter"),
    }
    log = folder.parent / "lab.log"
    with log.open("w") as file:
        process = subprocess.Popen(
            [scripts / "mamlkit", "lab", "--no-browser"],
            cwd=folder,
            env=env,
            stdout=file,
            stderr=subprocess.STDOUT,
        )
        try:
            yield contents(f"http://127.0.0.1:{port}/api/contents?token={TOKEN}", process, log)
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def contents(url: str, process: subprocess.Popen[bytes], log: Path) -> dict[str, dict[str, object]]:
    """Ask the server until it answers; what it lists, by name."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return {entry["name"]: entry for entry in json.load(answer)["content"]}
        except (urllib.error.URLError, OSError):
            time.sleep(0.3)
    return pytest.fail(f"mamlkit lab did not answer:\n{log.read_text()}")


def test_version(environment, tmp_path):
    done = run(environment / "mamlkit", "--version", cwd=tmp_path)
    assert done.stdout == f"mamlkit {version('mamlkit')}\n"


def test_lab_serves_the_notebooks_and_keeps_the_readers_work(environment, tmp_path):
    folder = tmp_path / "empty"
    folder.mkdir()
    with lab(environment, folder) as served:
        shipped = {path.name for path in (ROOT / "notebooks").glob("*.ipynb")}
        assert FIRST in shipped
        assert shipped <= set(served)
        assert served[FIRST]["type"] == "notebook"
        assert served[FIRST]["writable"]
    mine = folder / "mamlkit-notebooks" / FIRST
    shipped_text = (ROOT / "notebooks" / FIRST).read_text(encoding="utf-8")
    assert mine.read_text(encoding="utf-8") == student_copy(shipped_text, outputs=False)
    for page in PAGES:
        assert (mine.parent / "docs" / page).is_file()

    edited = json.loads(mine.read_text())
    edited["cells"][0]["source"] = "my own work"
    mine.write_text(json.dumps(edited))
    before = mine.read_bytes()
    with lab(environment, folder) as served:
        assert FIRST in served
    assert mine.read_bytes() == before


def test_quickstart_away_from_a_clone(environment, tmp_path):
    folder = tmp_path / "empty"
    folder.mkdir()
    done = run(environment / "mamlkit", "quickstart", "--iterations", "20", cwd=folder)
    for row in ("Lee-Kesler", "mean curve", "critical point"):
        assert row in done.stdout
    written = list((folder / "mamlkit-quickstart").iterdir())
    pictures = [path for path in written if path.suffix == ".png"]
    learners = [path for path in written if path.suffix == ".npz"]
    assert pictures
    assert learners
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in pictures)
    show = "import mamlkit, pathlib; print(pathlib.Path(mamlkit.__file__).parent)"
    where = run(environment / "python", "-c", show, cwd=folder).stdout.strip()
    assert Path(where).is_relative_to(environment.parent)


def test_the_wheel_has_assignments_without_solutions(environment, tmp_path):
    carried = list(environment.parent.rglob("mamlkit/notebooks/assignments/*.ipynb"))
    assert len(carried) == len(list((ROOT / "notebooks" / "assignments").glob("*.ipynb")))
    assert not [path for path in carried if "SOLUTION" in path.read_text(encoding="utf-8")]
    run(environment / "mamlkit", "assignment", "a1", "--year", "2031", cwd=tmp_path)
    (handout,) = (tmp_path / "handout").iterdir()
    assert "YEAR = 2031" in handout.read_text(encoding="utf-8")
