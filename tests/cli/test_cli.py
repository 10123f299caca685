"""The command line: what it prints, what it leaves alone, and its exit codes."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import torch

import mamlkit as mk
from mamlkit import cli
from mamlkit.cli import lab
from mamlkit.cli import train as train_job
from mamlkit.course import quickstart, recipes
from tests.helpers import ROOT, assert_same_state, members_of


@pytest.fixture
def started(monkeypatch):
    """Stand in for JupyterLab: record where it would start, and with a browser or not."""
    calls = []

    def start(folder: Path, browser: bool) -> int:
        calls.append((folder, browser))
        return 0

    monkeypatch.setattr(lab, "start_jupyterlab", start)
    return calls


@pytest.fixture
def source(tmp_path, monkeypatch):
    """A folder that stands for the installed notebooks."""
    folder = tmp_path / "installed"
    (folder / "assignments").mkdir(parents=True)
    (folder / ".ipynb_checkpoints").mkdir()
    (folder / "00_first.ipynb").write_text(notebook("[task](../docs/glossary.md#task)"))
    (folder / "01_second.ipynb").write_text(notebook("[next](02_third.ipynb)"))
    (folder / "02_third.ipynb").write_text(notebook("[K](../docs/notation.md)"))
    (folder / "assignments" / "a1.ipynb").write_text(notebook("### BEGIN SOLUTION"))
    (folder / ".ipynb_checkpoints" / "00_first-checkpoint.ipynb").write_text("left by an editor")
    (tmp_path / "docs").mkdir()
    for page in lab.PAGES:
        (tmp_path / "docs" / page).write_text("[first](notebooks/00_first.ipynb)")
    monkeypatch.setattr(lab, "notebooks_folder", lambda: folder)
    return folder


def notebook(prose: str) -> str:
    """A notebook of one text and one cell that was run."""
    ran = {
        "cell_type": "code",
        "execution_count": 3,
        "metadata": {"tags": ["solution"]},
        "outputs": [{"output_type": "stream", "name": "stdout", "text": ["the answer is 42"]}],
        "source": ["answer"],
    }
    cells = [{"cell_type": "markdown", "metadata": {}, "source": [prose]}, ran]
    metadata = {"kernelspec": {"name": "python3"}, "widgets": {"sliders": {}}}
    return json.dumps({"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5})


def run_python(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], cwd=cwd, capture_output=True, text=True, timeout=120
    )


def test_version_by_python_m(tmp_path):
    done = run_python("-m", "mamlkit", "--version", cwd=tmp_path)
    assert done.returncode == 0
    assert done.stdout == f"mamlkit {importlib.metadata.version('mamlkit')}\n"
    assert done.stderr == ""


def test_the_installed_command_is_this_main():
    (script,) = importlib.metadata.entry_points(group="console_scripts", name="mamlkit")
    assert script.load() is cli.main


def test_an_error_is_one_line_without_a_traceback(tmp_path):
    (tmp_path / "taken").write_text("a file")
    done = run_python("-m", "mamlkit", "lab", "taken", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("mamlkit: taken is a file")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("command", ["", "quickstart", "lab", "reproduce", "train"])
def test_help_shows_examples_and_exit_codes(command, capsys):
    with pytest.raises(SystemExit) as end:
        cli.main([command, "--help"] if command else ["--help"])
    text = capsys.readouterr().out
    assert end.value.code == 0
    assert f"  mamlkit {command}".rstrip() in text.partition("example")[2]
    for code in (0, 1, 2, 130):
        assert f"\n  {code:<4} " in text
    assert max(map(len, text.splitlines())) <= 100


def test_a_reader_who_has_seen_enough_ends_it_quietly(tmp_path):
    write = (
        "import sys; from mamlkit import cli; from mamlkit.cli import fit\n"
        "fit.run_predict = lambda args: [print('x' * 100) for _ in range(10_000)] and None\n"
        "sys.exit(cli.main(['predict', 'a', 'b']))"
    )
    run = subprocess.run(
        f"{sys.executable} -c {shlex.quote(write)} | head -1",
        shell=True,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert run.stdout == "x" * 100 + "\n"
    assert run.stderr == ""


def test_a_terminal_that_lacks_a_letter_gets_a_question_mark(tmp_path):
    write = (
        "import sys; from mamlkit import cli; from mamlkit.cli import fit\n"
        "fit.run_predict = lambda args: print('\\u03c3')\n"
        "sys.exit(cli.main(['predict', 'a', 'b']))"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "latin-1"}
    run = subprocess.run([sys.executable, "-c", write], capture_output=True, text=True, env=env)
    assert (run.returncode, run.stdout) == (0, "?\n")


def test_help_fits_a_narrow_terminal(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "60")
    with pytest.raises(SystemExit):
        cli.main(["train", "--help"])
    told = capsys.readouterr().out.partition("families:")[0]
    assert max(map(len, told.splitlines())) <= 60


def test_help_of_reproduce_names_every_recipe(capsys):
    with pytest.raises(SystemExit):
        cli.main(["reproduce", "--help"])
    text = capsys.readouterr().out
    assert {"finn2017", "family-search"} < set(recipes.COMMANDS)
    for name, (about, _) in recipes.COMMANDS.items():
        assert about.endswith(".")
        assert f"  {name}: {about}" in text


def test_no_command_prints_the_help_and_is_wrong_usage(capsys):
    assert cli.main([]) == 2
    assert "quickstart" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["fly"], "invalid choice: 'fly'"),
        (["quickstart", "--iterations", "0"], "0 is less than 1"),
        (["quickstart", "--seed", "-1"], "-1 is less than 0"),
        (["quickstart", "--seed", "x"], "invalid whole number value: 'x'"),
        (["reproduce", "nothing-known"], "invalid choice: 'nothing-known'"),
        (["lab", "--port", "1"], "unrecognized arguments"),
        (["train"], "required: FAMILY"),
        (["train", "sinusoid", "--learner", "none"], "invalid choice: 'none'"),
        (["train", "sinusoid", "--inner-lr", "0"], "0 is not a finite number above zero"),
        (["train", "sinusoid", "--outer-lr", "nan"], "nan is not a finite number above zero"),
        (["train", "sinusoid", "--grad-clip", "x"], "invalid number value: 'x'"),
    ],
)
def test_wrong_usage(argv, message, capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(argv)
    assert end.value.code == 2
    assert message in capsys.readouterr().err


def test_quickstart_passes_its_options_on(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(quickstart, "run", lambda *given: calls.append(given))
    monkeypatch.chdir(tmp_path)
    assert cli.main(["quickstart"]) == 0
    argv = ["quickstart", "--out", "a/b", "--seed", "3", "--iterations", "7"]
    assert cli.main(argv) == 0
    assert calls == [(Path("mamlkit-quickstart"), 0, None), (Path("a/b"), 3, 7)]
    assert (tmp_path / "a" / "b").is_dir()


def test_an_error_inside_a_command_exits_with_1(tmp_path, monkeypatch, capsys):
    def run(out, seed, iterations):
        raise mk.MamlkitError("the loss is not finite at iteration 3")

    monkeypatch.setattr(quickstart, "run", run)
    assert cli.main(["quickstart", "--out", str(tmp_path)]) == 1
    assert capsys.readouterr().err == "mamlkit: the loss is not finite at iteration 3\n"


def test_ctrl_c_exits_with_130(tmp_path, monkeypatch, capsys):
    def run(out, seed, iterations):
        raise KeyboardInterrupt

    monkeypatch.setattr(quickstart, "run", run)
    assert cli.main(["quickstart", "--out", str(tmp_path)]) == 130
    assert capsys.readouterr().err == "mamlkit: interrupted\n"


def test_reproduce_runs_the_recipe_in_its_own_folder(tmp_path, monkeypatch):
    calls: list[Path] = []
    monkeypatch.setattr(recipes, "COMMANDS", {"long-run": ("It is long.", calls.append)})
    monkeypatch.chdir(tmp_path)
    assert cli.main(["reproduce", "long-run"]) == 0
    assert cli.main(["reproduce", "long-run", "--out", "mine"]) == 0
    assert calls == [Path("mamlkit-long-run"), Path("mine")]
    assert (tmp_path / "mamlkit-long-run").is_dir()


def test_lab_copies_the_notebooks_and_starts(source, started, tmp_path, capsys):
    folder = tmp_path / "mine"
    assert cli.main(["lab", str(folder)]) == 0
    copied = sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())
    notebooks = ["00_first.ipynb", "01_second.ipynb", "02_third.ipynb"]
    assert copied == [*notebooks, *(f"docs/{page}" for page in sorted(lab.PAGES))]
    assert started == [(folder, True)]
    assert "3 notebook(s) copied without outputs, 0 left as they" in capsys.readouterr().out


@pytest.mark.parametrize("outputs", [False, True])
def test_lab_gives_a_students_copy_unless_asked(outputs, source, started, tmp_path):
    folder = tmp_path / "mine"
    assert cli.main(["lab", str(folder), *(["--with-outputs"] if outputs else [])]) == 0
    shipped = json.loads((source / "00_first.ipynb").read_text())
    copied = json.loads((folder / "00_first.ipynb").read_text())
    assert ("42" in json.dumps(copied)) is outputs
    assert ("sliders" in json.dumps(copied)) is outputs
    assert copied["cells"][1]["execution_count"] == (3 if outputs else None)
    assert copied["cells"][1]["metadata"] == shipped["cells"][1]["metadata"]
    assert copied["metadata"]["kernelspec"] == shipped["metadata"]["kernelspec"]


def test_links_of_the_copies_lead_to_the_copies(source, started, tmp_path):
    folder = tmp_path / "mine"
    assert cli.main(["lab", str(folder)]) == 0
    first, third, page = (
        (folder / name).read_text()
        for name in ("00_first.ipynb", "02_third.ipynb", "docs/primer.md")
    )
    assert "](docs/glossary.md#task)" in first
    assert "](docs/notation.md)" in third
    assert page == "[first](../00_first.ipynb)"


def test_every_link_of_the_students_course_leads_somewhere():
    texts = lab.copies(lab.notebooks_folder(), outputs=False)
    assert len(texts) >= 25
    for name, whole in texts.items():
        text = prose(whole) if name.suffix == ".ipynb" else whole
        links = re.findall(r"\]\((?!https?:)([^)\s]*)\)", text)
        for link in links:
            target, _, anchor = link.partition("#")
            place = Path(os.path.normpath(name.parent / target)) if target else name
            assert place in texts, f"{name}: {link}"
            if anchor and place.suffix == ".md":
                assert anchor in anchors(texts[place]), f"{name}: {link}"


def prose(notebook: str) -> str:
    cells = json.loads(notebook)["cells"]
    return "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")


def anchors(page: str) -> list[str]:
    """Of the headings of a page, as GitHub and the web book make them."""
    titles = re.findall(r"^#+ (.*)$", page, re.M)
    return [re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles]


def test_lab_never_overwrites(source, started, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    mine = tmp_path / "mamlkit-notebooks"
    mine.mkdir()
    (mine / "00_first.ipynb").write_text("a week of work")
    (mine / "01_second.ipynb").symlink_to(tmp_path / "not-there")
    assert cli.main(["lab", "--no-browser"]) == 0
    assert (mine / "00_first.ipynb").read_text() == "a week of work"
    assert not (tmp_path / "not-there").exists()
    assert (mine / "02_third.ipynb").is_file()
    text = capsys.readouterr().out
    assert "1 notebook(s) copied without outputs, 2 left as they were" in text
    assert "left alone: 00_first.ipynb" in text
    assert started == [(Path("mamlkit-notebooks"), False)]


@pytest.mark.parametrize("where", ["taken", "taken/under"])
def test_lab_where_a_file_is(where, source, started, tmp_path, capsys):
    (tmp_path / "taken").write_text("a file")
    assert cli.main(["lab", str(tmp_path / where)]) == 1
    assert "but a folder is needed" in capsys.readouterr().err
    assert (tmp_path / "taken").read_text() == "a file"
    assert started == []


def test_lab_where_nothing_can_be_written(source, started, tmp_path, monkeypatch, capsys):
    def refuse(**where):  # the tests may run as root, who may write everywhere
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    assert cli.main(["lab", str(tmp_path / "mine")]) == 1
    assert "cannot be written to (Permission denied)" in capsys.readouterr().err
    assert started == []


def test_lab_where_a_file_stands_for_a_subfolder(source, started, tmp_path, capsys):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "docs").write_text("a file of the reader's")
    assert cli.main(["lab", str(tmp_path / "mine")]) == 1
    assert "docs is a file" in capsys.readouterr().err
    assert (tmp_path / "mine" / "docs").read_text() == "a file of the reader's"
    assert started == []


def test_lab_when_the_disk_is_full(source, started, tmp_path, monkeypatch, capsys):
    whole = Path.write_bytes

    def full(path, content):
        whole(path, content[:5])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    assert cli.main(["lab", str(tmp_path / "mine")]) == 1
    assert "cannot be written (No space left on device)" in capsys.readouterr().err
    assert started == []
    assert not [path for path in (tmp_path / "mine").rglob("*") if path.is_file()]
    monkeypatch.setattr(Path, "write_bytes", whole)  # with room again, all are copied
    assert cli.main(["lab", str(tmp_path / "mine")]) == 0
    assert "3 notebook(s) copied without outputs, 0 left" in capsys.readouterr().out


def test_lab_without_jupyterlab(source, started, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert cli.main(["lab", str(tmp_path / "mine")]) == 1
    assert "pip install jupyterlab" in capsys.readouterr().err
    assert not (tmp_path / "mine").exists()


def test_the_notebooks_are_found():
    folder = lab.notebooks_folder()
    assert (folder / "00_one_measurement_a_whole_curve.ipynb").is_file()


def test_the_notebooks_are_missing(tmp_path, monkeypatch):
    monkeypatch.setattr(lab, "__file__", str(tmp_path / "mamlkit" / "cli" / "lab.py"))
    with pytest.raises(mk.MamlkitError, match="notebooks were not found"):
        lab.notebooks_folder()


@pytest.mark.parametrize("browser", [True, False])
@pytest.mark.parametrize("root", [True, False])
def test_jupyterlab_is_run_by_this_interpreter(browser, root, tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(os, "execv", lambda *given: calls.append((os.getcwd(), *given)))
    monkeypatch.setattr(os, "geteuid", lambda: 0 if root else 1000)
    monkeypatch.chdir(tmp_path)  # so that the change of folder is undone
    (tmp_path / "mine").mkdir()
    lab.start_jupyterlab(Path("mine"), browser)
    ((where, program, command),) = calls
    assert Path(where) == tmp_path / "mine"
    assert program == sys.executable
    assert command[:3] == [sys.executable, "-m", "jupyterlab"]
    assert ("--no-browser" in command) is not browser
    assert ("--allow-root" in command) is root


# --- mamlkit train -------------------------------------------------------------------------------


SMALL = ["--shots", "2", "--hidden", "4", "--meta-batch", "3", "--dtype", "float64"]


def train(out: Path, *more: str, family: str = "sinusoid", iterations: int = 6) -> int:
    given = ["train", family, *SMALL, "--iterations", str(iterations), "--out", str(out)]
    return cli.main([*given, *more])


def state(out: Path) -> dict[str, torch.Tensor]:
    return mk.load(out / "learner.npz").state_dict()


def test_train_saves_and_reports_what_evaluate_finds(tmp_path, capsys):
    assert train(tmp_path, "--inner-steps", "2", "--seed", "3") == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(train_job.FILES)
    model = mk.models.MLP(1, 1, hidden=(4,), x_range=(-5.0, 5.0), seed=3).double()
    learner, same = (mk.MAML(model, inner_steps=2) for _ in "ab")
    notes = mk.load_learner(learner, tmp_path / "learner.npz")
    history = mk.meta_train(
        same, mk.tasks.Sinusoid(), 2, meta_batch=3, iterations=6, seed=3, progress=False
    )
    assert_same_state(learner, same)
    assert mk.History.load(tmp_path / "history.json").outer_loss == history.outer_loss

    settings = json.loads((tmp_path / "settings.json").read_text())
    assert settings == notes
    assert settings["options"]["seed"] == 3
    assert settings["versions"]["torch"] == importlib.metadata.version("torch")
    assert settings["command"].startswith("mamlkit train sinusoid --shots 2 --hidden 4")

    printed = [line.split() for line in capsys.readouterr().out.splitlines()]
    curve = mk.evaluate(learner, mk.tasks.Sinusoid(), 2, seed=3 + 2 * 10**6)
    zero = mk.evaluate(mk.yardsticks.Zero(), mk.tasks.Sinusoid(), 2, seed=3 + 2 * 10**6)
    for k, step in enumerate(["0 steps", "1 step", "2 steps"]):
        assert ["after", *step.split(), f"{float(curve.mean[k]):.4g}"] in [p[:4] for p in printed]
    assert ["predicting", "zero", f"{float(zero.mean):.4g}"] in [p[:3] for p in printed]


def test_the_same_command_goes_on_where_it_was_stopped(tmp_path, monkeypatch, capsys):
    sample, calls = mk.tasks.Sinusoid.sample, []

    def pressed(self, *args, **kwargs):
        calls.append(1)
        if len(calls) == 6:
            signal.raise_signal(signal.SIGINT)
        return sample(self, *args, **kwargs)

    monkeypatch.setattr(mk.tasks.Sinusoid, "sample", pressed)
    assert train(tmp_path / "a") == 130
    said = capsys.readouterr().out
    assert "interrupted at 4 of" in said
    assert "the same command goes on from there" in said
    assert train(tmp_path / "a") == 0
    assert train(tmp_path / "b") == 0
    assert_same_state(state(tmp_path / "a"), state(tmp_path / "b"))
    assert train(tmp_path / "a", "--chunk-size", "2", iterations=9) == 0  # may go on for longer
    assert len(mk.History.load(tmp_path / "a" / "history.json").outer_loss) == 9


def test_train_refuses_a_folder_with_another_run(tmp_path, capsys):
    assert train(tmp_path) == 0
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    capsys.readouterr()
    assert train(tmp_path, "--shots", "3") == 1
    told = capsys.readouterr().err
    assert f"{tmp_path} holds a run with other settings: --shots was 2, now 3." in told
    assert train(tmp_path, family="linear-law") == 1
    assert "FAMILY was sinusoid, now linear-law" in capsys.readouterr().err
    assert train(tmp_path, iterations=1) == 1
    assert "more than the 1 asked for" in capsys.readouterr().err
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_train_overwrites_nothing_of_yours(tmp_path, capsys):
    (tmp_path / "learner.npz").write_text("mine")
    assert train(tmp_path) == 1
    assert "holds learner.npz, but no settings.json" in capsys.readouterr().err
    assert [p.read_text() for p in tmp_path.iterdir()] == ["mine"]
    (tmp_path / "settings.json").write_text("[]")
    assert train(tmp_path) == 1
    assert "cannot be read as settings" in capsys.readouterr().err


def test_train_on_fluids_uses_its_splits(tmp_path, capsys):
    assert train(tmp_path, "--validate", "3", family="fluids") == 0
    history = mk.History.load(tmp_path / "history.json")
    assert history.settings["family"] == repr(mk.tasks.VapourPressure().split("train"))
    assert history.settings["validation"] == repr(mk.tasks.VapourPressure().split("validation"))
    assert history.validation_iteration == [3, 6]
    assert "32 new test tasks" in capsys.readouterr().out


OWN = """
import mamlkit as mk

class Springs(mk.tasks.Family):
    def draw(self, n_tasks, generator):
        return {"k": mk.tasks.uniform(n_tasks, 0.5, 2.0, generator)}

    def law(self, x, physics):
        return physics["k"] * x

class Needy(Springs):
    def __init__(self, k):
        pass

some, word = Springs(), "word"
"""


@pytest.mark.parametrize("name", ["own_springs.py:Springs", "own_springs:some"])
def test_train_on_a_family_of_your_own(tmp_path, monkeypatch, name):
    (tmp_path / "own_springs.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert train(tmp_path / "out", family=name, iterations=2) == 0


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("own_wrong.py:Absent", "no family can be made from .*has no attribute 'Absent'"),
        ("own_wrong.py:Needy", "no family can be made from .*missing 1 required"),
        ("own_wrong.py:word", "own_wrong.py:word is str; a family is a subclass"),
        ("not_there.py:Springs", "no family can be made from .*FileNotFoundError"),
        ("springz", "there is no family 'springz'; choose from fluids, .*sinusoid"),
    ],
)
def test_a_family_that_is_none(tmp_path, monkeypatch, name, words):
    (tmp_path / "own_wrong.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    with pytest.raises(mk.MamlkitError, match=words):
        train_job.find_family(name)


def test_what_a_family_of_your_own_is_trained_and_tested_on():
    class Measured(mk.tasks.Family):
        constants = {"k": [1.0, 2.0, 3.0]}  # noqa: RUF012

    class Named(Measured):
        parts = {"train": [0], "validation": [1], "test": [2]}  # noqa: RUF012

    class Splits(mk.tasks.Family):
        def split(self, part):
            return part

    assert [members_of(part) for part in train_job.split(Named())] == [[0], [1], [2]]
    assert [str(part) for part in train_job.split(Splits())] == ["train", "validation", "test"]
    endless = mk.tasks.Sinusoid()
    assert train_job.split(endless) == [endless] * 3
    with pytest.raises(mk.MamlkitError, match="has 3 members but no parts"):
        train_job.split(Measured())


def test_families_have_names():
    found = train_job.families()
    assert {"sinusoid", "damped-oscillator", "hookes-law", "vapour-pressure"} <= found.keys()
    for name, kind in found.items():
        assert type(train_job.find_family(name)) is kind


@pytest.mark.parametrize("name", train_job.LEARNERS)
def test_each_learner_can_be_trained(tmp_path, name):
    assert train(tmp_path, "--learner", name, iterations=2) == 0
    assert f'"learner": "{name}"' in (tmp_path / "settings.json").read_text()


@pytest.mark.parametrize("device", ["nonsense", "cuda:99"])
def test_a_device_that_is_not_there(tmp_path, capsys, device):
    assert train(tmp_path / "out", "--device", device) == 1
    assert f"--device {device} cannot be used here" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
