"""What the README promises: its example runs, its commands and its table are the real ones."""

from __future__ import annotations

import ast
import re
import shutil
import textwrap
import tomllib
from dataclasses import replace
from pathlib import Path

import matplotlib as mpl
import pandas as pd
import pytest
import torch

import mamlkit as mk
from mamlkit import fitting
from mamlkit.cli import build_parser, main
from tests.helpers import ROOT

mpl.use("Agg")

README = (ROOT / "README.md").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_the_python_example_runs_and_learns():
    (example,) = re.findall(r"```python\n(.*?)```", README, re.S)
    names: dict = {}
    threads = torch.get_num_threads()
    exec(compile(example, "README.md", "exec"), names)
    assert torch.get_num_threads() == threads
    assert names["predict"].losses.shape == (6,)
    assert torch.isfinite(names["predict"].losses).all()
    assert names["curve"].mean.shape == (11,)
    assert names["curve"].mean[10] < 0.8 * names["curve"].mean[0]
    error = names["table"]["mean"]
    assert error["MAML"] < 0.9 * error["zero"]
    assert error["MAML"] < 0.9 * error["ridge"]


def test_the_page_on_families_runs_from_top_to_bottom():
    page = (ROOT / "docs" / "write_a_family.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", page, re.S)
    assert len(blocks) == 7
    names: dict = {}
    for block in blocks:
        shorter = re.sub(r"iterations=(2000|500)", "iterations=20, progress=False", block)
        exec(compile(shorter, "write_a_family.md", "exec"), names)
    assert names["batch"].support.x.shape == (4, 5, 1)
    seen = mk.evaluate(names["mover"], names["Cooling"](), 1, n_tasks=9, queries=2)
    assert seen.mean.shape == (4,)
    places = [names["Pendulums"]().split(p).members.tolist() for p in ("train", "test")]
    assert not set(places[0]) & set(places[1])
    assert names["coins"].sample(3, shots=5).support.y.shape == (3, 10)
    assert names["bank"].split("test").sample(1, 1).support.x.shape == (1, 3, 1, 8, 8)


@pytest.mark.filterwarnings("ignore:There is a performance drop")
def test_the_page_on_models_runs_from_top_to_bottom():
    page = (ROOT / "docs" / "your_own_model.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", page, re.S)
    assert len(blocks) == 4
    names: dict = {}
    shorter = blocks[0].replace("iterations=100", "iterations=2, progress=False")
    with pytest.warns(mk.MamlkitWarning, match="one after another"):
        exec(compile(shorter, "your_own_model.md", "exec"), names)
    for block in blocks[1:]:
        shorter = block.replace("iterations=200", "iterations=40, progress=False")
        exec(compile(shorter, "your_own_model.md", "exec"), names)
    assert len(names["history"].validation_loss) == 2
    assert names["history"].learning_rate[:2] == [1e-3 / 50, 2e-3 / 50]
    x = torch.rand(2, 4)
    assert torch.equal(names["there"](x), names["predict"](x))


def test_the_page_on_learners_runs_from_top_to_bottom(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "docs" / "write_a_learner.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", page, re.S)
    assert len(blocks) == 4
    names: dict = {}
    for block in blocks:
        shorter = block.replace("iterations=1000", "iterations=150, progress=False")
        exec(compile(shorter, "write_a_learner.md", "exec"), names)
    assert names["table"]["mean"]["smoother"] < 0.8 * 4.25  # zero scores 4.25
    batch = names["family"].sample(3, 10, generator=torch.Generator().manual_seed(1))
    learner, twin = names["learner"], names["twin"]
    assert torch.equal(learner.query_losses(batch), twin.query_losses(batch))
    # A padded reading counts nothing.
    x, y = batch.task(0).support
    alone = learner.adapt(x[:4], y[:4])
    padded = learner.adapt(mk.Readings(x, y, (torch.arange(10) < 4).float()[:, None]))
    torch.testing.assert_close(padded(x), alone(x))


def test_the_primer_prints_what_it_says(capsys):
    page = (ROOT / "docs" / "primer.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```\n\n```text\n(.*?)```", page, re.S)
    assert len(blocks) == page.count("```python") == 7
    names: dict = {}
    for code, printed in blocks:
        exec(compile(code, "primer.md", "exec"), names)
        assert capsys.readouterr().out.strip() == printed.strip()


def test_the_page_on_growing_runs_and_its_memory_is_as_printed(capsys):
    page = (ROOT / "docs" / "from_laptop_to_cluster.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", page, re.S)
    assert len(blocks) == 2
    for block in blocks:
        exec(compile(block.replace("iterations=300", "iterations=5"), "page", "exec"), {})
    printed = re.findall(r"^(\d+) ([\d.]+) MB$", capsys.readouterr().out, re.M)
    told = dict(re.findall(r"^\| (\d+) \| ([\d.]+) MB \|", page, re.M))
    assert [size for size, _ in printed] == ["256", "64", "16"]
    for size, megabytes in printed:  # other versions of torch keep a little more or less
        assert abs(float(megabytes) / float(told[size]) - 1) < 0.2


def test_the_page_on_tables_runs_as_it_is_printed(tmp_path, monkeypatch, capsys):
    page = (ROOT / "docs" / "from_your_table.md").read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(fitting, "PLAN", replace(fitting.PLAN, iterations=5, compile=False))
    commands = re.findall(r"^mamlkit (.*)$", page, re.M)
    assert [command.split()[0] for command in commands] == ["fit", "predict"]
    shutil.copy(mk.tasks.measured("cracks"), "cracks.csv")
    (new,) = re.findall(r"```text\n(specimen,cycles,length\nA7.*?)```", page, re.S)
    Path("new.csv").write_text(new, encoding="utf-8")
    for command in commands:
        assert main(command.split()) == 0
    said = capsys.readouterr().out
    assert "best: linear latent, setting 2" in said  # which takes no training
    told = pd.read_csv("predictions.csv").prediction.dropna().round(3).astype(str)
    (printed,) = re.findall(r"```text\n(specimen  cycles.*?)```", page, re.S)
    assert all(value.ljust(5, "0") in printed for value in told)
    blocks = re.findall(r"```python\n(.*?)```", page, re.S)
    assert len(blocks) == 4
    names: dict = {}
    for block in blocks:
        shorter = block.replace("iterations=200", "iterations=5, progress=False")
        exec(compile(shorter, "from_your_table.md", "exec"), names)
    assert repr(names["again"]) == repr(names["result"])
    assert float(names["low"]) < float(names["high"])


def examples():
    for file in sorted(Path(mk.__file__).parent.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                text = ast.get_docstring(node) or ""
                if "Example::" in text:
                    yield pytest.param(text.split("Example::")[1], id=f"{file.stem}.{node.name}")


@pytest.mark.parametrize("code", list(examples()))
def test_examples_in_docstrings_run(code):
    exec(textwrap.dedent(code), {"mk": mk, "torch": torch})


def test_the_two_set_up_commands_are_there_to_the_letter():
    assert (
        "\npython -m venv .venv && . .venv/bin/activate && "
        'pip install -e ".[course]" && mamlkit quickstart\n'
    ) in README
    assert '\npip install -e ".[course,test]" && pytest\n' in README


def test_every_notebook_is_in_the_table():
    listed = re.findall(r"^\| `(\d\d_\w+)` \|", README, re.M)
    assert listed == [path.stem for path in sorted((ROOT / "notebooks").glob("*.ipynb"))]
    assert listed


def test_links_lead_somewhere():
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / target).is_file(), target


def test_quickstart_table_has_the_rows_that_are_printed():
    from mamlkit.course.quickstart import classical

    (printed,) = re.findall(r"```text\n(.*?)```", README, re.S)
    assert printed.strip()
    for row in classical():
        assert row in printed


def test_every_command_is_documented():
    page = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    commands = re.findall(r"^    ([a-z]+)\b", build_parser().format_help(), re.M)
    assert len(commands) >= 3
    assert set(commands) == set(re.findall(r"^\| `mamlkit ([a-z]+)", page, re.M))


def test_one_version_everywhere():
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {PROJECT['version']}\n" in citation
    citing = (ROOT / "docs" / "citing.md").read_text(encoding="utf-8")
    assert f"version = {{{PROJECT['version']}}}" in citing
