"""Several processes, one run: the same numbers as one process, and one end for all.

Real processes, started by torchrun. This file is also the script that they run::

    torchrun --standalone --nproc-per-node=2 test_distributed.py SCENES FOLDER
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist

import mamlkit as mk
from mamlkit import cli
from mamlkit.training.ranks import Ranks

RANK, WORLD = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
SETTINGS: dict[str, Any] = {"shots": 4, "outer_lr": 0.01, "grad_clip": 0.5, "progress": False}
VALIDATED: dict[str, Any] = {"validation_tasks": 3, "validate_every": 4}


class Waves(mk.tasks.Sinusoid):
    """Sinusoids to which something happens on rank 1 when the tasks of a given call are drawn."""

    def __init__(self, call: int | None = None, event: str = "") -> None:
        super().__init__()
        self.call, self.event = call, event
        self._calls: list[int] = []

    def __repr__(self) -> str:
        return "Waves"

    def draw(self, n_tasks: int, generator: torch.Generator) -> dict[str, torch.Tensor]:
        self._calls.append(1)
        if len(self._calls) == self.call and RANK == 1:
            if self.event == "fail":
                raise OSError("the measuring device is on fire")
            os.kill(os.getpid(), getattr(signal, self.event))
        return super().draw(n_tasks, generator)


class Burst(mk.tasks.Sinusoid):
    """Its last task, which belongs to the last rank, is too large for numbers."""

    def law(self, x: torch.Tensor, physics: dict[str, torch.Tensor]) -> torch.Tensor:
        scale = torch.ones(len(x), 1, 1, dtype=x.dtype)
        scale[3:] = 1e200
        return super().law(x, physics) * scale


def make_learner(seed: int = 0) -> mk.MAML:
    model = mk.models.MLP(1, 1, hidden=(6,), x_range=(-5.0, 5.0), seed=seed).double()
    return mk.MAML(model, 0.02, 2, learn_lr="tensor")


def train(
    iterations: int = 9,
    meta_batch: int = 4,
    family: mk.Family | None = None,
    learner: mk.MAML | None = None,
    **changes: Any,
) -> dict[str, Any]:
    """The learner that comes out, the history, or the words of the error."""
    learner, family = learner or make_learner(RANK), family or Waves()
    settings = {**SETTINGS, "validation": mk.tasks.Sinusoid(), **VALIDATED, **changes}
    try:
        history = mk.meta_train(
            learner, family, meta_batch=meta_batch, iterations=iterations, **settings
        )
    except (mk.MamlkitError, OSError) as error:
        return {"error": f"{type(error).__name__}: {error}", "state": learner.state_dict()}
    kept = {k: v for k, v in vars(history).items() if k != "seconds"}
    return {"state": learner.state_dict(), "history": kept}


class Told(mk.MAML):
    """Keeps what it is told before each iteration."""

    told: tuple[int, ...] = ()

    def at_iteration(self, done: int) -> None:
        self.told = (*self.told, done)


def two(folder: Path) -> dict[str, Any]:
    """What two processes do, scene by scene, in one group."""
    told = Told(mk.models.MLP(1, 1, hidden=(3,)).double())
    done = {
        "even": train(),
        "uneven": train(meta_batch=5, chunk_size=2),
        "too few": train(meta_batch=1),
        "other settings": train(seed=3 + RANK),
        "bad from the start": train(family=Waves(1, "fail"), validation=None),
        "bad later": train(family=Waves(5, "fail"), validation=None),
        "not finite": train(family=Burst()),
        "interrupted": train(60, family=Waves(8, "SIGINT"), checkpoint=folder / "stopped.pt"),
        # Hosts without a shared disk: only rank 1 finds the checkpoint.
        "resumed": train(9, checkpoint=folder / ("one.pt" if RANK == 1 else "none.pt")),
        "foreign": train(9, seed=5, checkpoint=folder / ("one.pt" if RANK == 1 else "void.pt")),
        "told": train(3, learner=told, validation=None),
    }
    done["told"]["told"] = told.told
    return done


def four(folder: Path) -> dict[str, Any]:
    """The script starts the group itself; three validation tasks leave one rank without any."""
    dist.init_process_group("gloo")
    done = {"uneven": train(meta_batch=6), "resumed": train(60, checkpoint=folder / "stopped.pt")}
    dist.destroy_process_group()
    return done


def killed(folder: Path) -> dict[str, Any]:
    """In its first life rank 1 is killed; in the second the run ends, and then rank 1 fails."""
    first_life = os.environ["TORCHELASTIC_RESTART_COUNT"] == "0"
    family = Waves(7, "SIGKILL") if first_life else Waves()
    done = train(20, family=family, checkpoint=folder / "run.pt", checkpoint_every=2)
    assert not first_life, "rank 1 was to be killed"
    torch.save({"run": done}, folder / f"killed-{RANK}.pt")
    mk.meta_train(make_learner(), Waves(3, "fail"), meta_batch=4, iterations=9, progress=False)
    return done


if __name__ == "__main__":
    torch.set_num_threads(1)
    scenes, where = sys.argv[1], Path(sys.argv[2])
    found = {"two": two, "four": four, "killed": killed}[scenes](where)
    torch.save(found, where / f"{scenes}-{RANK}.pt")
    sys.exit(0)


def torchrun(processes: int, *command: Any, **options: Any) -> list[str]:
    """The command line of a job on a free port of this machine."""
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
    start = ["--standalone", f"--nproc-per-node={processes}", *flags]
    return [sys.executable, "-m", "torch.distributed.run", *start, *map(str, command)]


def run(processes: int, scenes: str, folder: Path, **options: Any) -> Any:
    command = torchrun(processes, __file__, scenes, folder, **options)
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def collect(processes: int, scenes: str, folder: Path) -> list[dict[str, Any]]:
    job = run(processes, scenes, folder)
    assert job.returncode == 0, job.stderr
    return [torch.load(folder / f"{scenes}-{rank}.pt") for rank in range(processes)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("ranks")
    train(4, checkpoint=where / "one.pt")  # a run of one process, to be resumed by two
    return where


@pytest.fixture(scope="module")
def pair(folder: Path) -> list[dict[str, Any]]:
    return collect(2, "two", folder)


@pytest.fixture(scope="module")
def quartet(folder: Path, pair: list[dict[str, Any]]) -> list[dict[str, Any]]:
    del pair  # has left a checkpoint to resume
    return collect(4, "four", folder)


def assert_equal_runs(ranks: list[dict[str, Any]], one: dict[str, Any]) -> None:
    """All ranks hold the same bits, and one process finds the same to rounding."""
    for rank in ranks:
        for name, value in one["state"].items():
            torch.testing.assert_close(rank["state"][name], value, rtol=1e-10, atol=1e-10)
            assert torch.equal(rank["state"][name], ranks[0]["state"][name])
        assert rank["history"] == ranks[0]["history"]
        for name in ("outer_loss", "support_loss", "validation_loss", "learning_rate"):
            found, expected = (torch.tensor(r["history"][name]) for r in (rank, one))
            torch.testing.assert_close(found, expected, rtol=1e-9, atol=0)
        assert rank["history"]["validation_iteration"] == one["history"]["validation_iteration"]


# --- the same numbers ----------------------------------------------------------------------------


def test_two_processes_train_like_one(pair: list[dict[str, Any]]) -> None:
    assert_equal_runs([rank["even"] for rank in pair], train())


def test_a_meta_batch_that_does_not_divide(pair: list[dict[str, Any]]) -> None:
    assert_equal_runs([rank["uneven"] for rank in pair], train(meta_batch=5))


def test_four_processes_in_a_group_of_the_script(quartet: list[dict[str, Any]]) -> None:
    assert_equal_runs([rank["uneven"] for rank in quartet], train(meta_batch=6))


def test_a_run_of_one_process_goes_on_with_two(pair: list[dict[str, Any]]) -> None:
    assert_equal_runs([rank["resumed"] for rank in pair], train(9))


def test_ctrl_c_on_one_rank_ends_all_and_four_go_on(
    pair: list[dict[str, Any]], quartet: list[dict[str, Any]], folder: Path
) -> None:
    assert [rank["interrupted"]["history"]["interrupted"] for rank in pair] == [True, True]
    assert [len(rank["interrupted"]["history"]["outer_loss"]) for rank in pair] == [6, 6]
    assert_equal_runs([rank["resumed"] for rank in quartet], train(60))
    assert not list(folder.glob("*.part"))


def test_the_learner_is_told_before_each_iteration(pair: list[dict[str, Any]]) -> None:
    alone = Told(mk.models.MLP(1, 1, hidden=(3,)).double())
    train(3, learner=alone)
    assert [rank["told"]["told"] for rank in pair] == [alone.told] * 2 == [(0, 1, 2)] * 2


@pytest.mark.parametrize(("n", "size"), [(5, 2), (7, 4), (4, 4), (3, 4), (25, 8)])
def test_shares_are_disjoint_complete_and_even(n: int, size: int) -> None:
    shares = [range(n)[Ranks(rank, size).share(n)] for rank in range(size)]
    assert [i for share in shares for i in share] == list(range(n))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


# --- one end for all -----------------------------------------------------------------------------


FIRE = "OSError: the measuring device is on fire"


@pytest.mark.parametrize(
    ("scene", "own", "others"),
    [
        ("bad from the start", FIRE, f"MamlkitError: rank 1 of 2 failed, so all end: {FIRE}"),
        ("bad later", FIRE, f"MamlkitError: rank 1 of 2 failed, so all end: {FIRE}"),
        ("too few", "meta_batch=1 tasks cannot be split over 2", None),
        ("other settings", "rank 1 was given other settings.*seed is 4, on rank 0 3", None),
        ("not finite", "loss is not finite at iteration 1", None),
        ("foreign", "other settings: seed", "rank 1 of 2 failed, so all end: .*other settings"),
    ],
)
def test_an_error_is_the_same_on_all(pair: Any, scene: str, own: str, others: str | None) -> None:
    for rank, words in ((1, own), (0, others or own)):
        assert re.match(words if words == FIRE else f".*{words}", pair[rank][scene]["error"])
        assert all(torch.isfinite(v).all() for v in pair[rank][scene]["state"].values())


def test_a_killed_job_starts_again_by_itself_and_a_failing_one_ends(folder: Path) -> None:
    """One restart is allowed: it is spent on the kill, so that the failure after it is the end."""
    job = run(2, "killed", folder, max_restarts=1)
    assert job.returncode != 0
    assert "OSError: the measuring device is on fire" in job.stderr
    assert "rank 1 of 2 failed, so all end: OSError: the measuring device" in job.stderr
    found = [torch.load(folder / f"killed-{rank}.pt")["run"] for rank in (0, 1)]
    assert_equal_runs(found, train(20))


def test_the_command_line_in_two_processes(tmp_path: Path) -> None:
    """Ctrl-C on torchrun ends the run after an iteration; one process can take it up."""
    given = ["train", "sinusoid", "--shots", "4", "--hidden", "6", "--meta-batch", "5"]
    given += ["--dtype", "float64", "--checkpoint-every", "5"]
    command = torchrun(2, "-m", "mamlkit", *given, "--iterations", 10**6, "--out", tmp_path / "a")
    job = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not (tmp_path / "a" / "checkpoint.pt").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    job.send_signal(signal.SIGINT)
    said, errors = job.communicate(timeout=60)
    assert job.returncode != 0
    done = len(mk.History.load(tmp_path / "a" / "history.json").outer_loss)
    assert f"meta-training was interrupted at {done} of" in said
    assert said.count("interrupted at") == 1  # rank 0 alone speaks
    assert said.count("the same command goes on") == 1
    assert errors.count(" 0/1000000 ") == 1  # and shows a bar
    for name in ("a", "b"):
        rest = ["--iterations", str(done + 3), "--out", str(tmp_path / name)]
        assert cli.main([*given, *rest]) == 0
    a, b = (mk.load(tmp_path / name / "learner.npz").state_dict() for name in ("a", "b"))
    for name, value in b.items():
        torch.testing.assert_close(a[name], value, rtol=1e-9, atol=1e-9)
    settings = json.loads((tmp_path / "b" / "settings.json").read_text())
    assert settings["processes"] == 1
