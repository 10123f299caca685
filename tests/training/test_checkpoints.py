"""Whose a checkpoint is: told by losses on fixed tasks, held by one run at a time, never half."""

from __future__ import annotations

import copy
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import mamlkit as mk
from mamlkit.training.checkpoints import only_run
from tests.helpers import F64, ROOT, assert_same_state


class Waves(mk.tasks.Sinusoid):
    """A law whose body is not in what it prints."""

    def __init__(self, power: int = 1) -> None:
        super().__init__()
        self._power = power

    def law(self, x: Tensor, physics: dict[str, Tensor]) -> Tensor:
        return super().law(x, physics) ** self._power


class Net(nn.Module):
    """A network whose activation is not in what it prints."""

    def __init__(self, activation: Any = torch.tanh) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.w = nn.Parameter(torch.randn(1, 5, generator=generator, dtype=F64))
        self.v = nn.Parameter(torch.randn(5, 1, generator=generator, dtype=F64))
        self.activation = [activation]

    def forward(self, x: Tensor) -> Tensor:
        return self.activation[0](x @ self.w) @ self.v


def error(power: int) -> Any:
    def loss(predict: Any, data: Any) -> Tensor:
        return ((predict(data.x) - data.y).abs() ** power).mean()

    return loss


def train(
    path: Path, iterations: int = 4, learner: Any = None, family: Any = None, **more: Any
) -> mk.History:
    given: dict[str, Any] = {"meta_batch": 3, "progress": False, "checkpoint_every": 2, **more}
    learner = learner or mk.MAML(Net(), 0.01, loss=error(2))
    return mk.meta_train(
        learner, family or Waves(), 4, iterations=iterations, checkpoint=path, **given
    )


OTHERS: dict[str, Any] = {
    "law": {"family": Waves(2)},
    "activation": {"learner": lambda: mk.MAML(Net(torch.sin), 0.01, loss=error(2))},
    "loss": {"learner": lambda: mk.MAML(Net(), 0.01, loss=error(1))},
    "validation": {"validation": Waves(2)},
}


@pytest.mark.parametrize("what", OTHERS)
def test_a_run_that_reads_alike_but_is_another_is_refused(what: str, tmp_path: Path) -> None:
    path, usual = tmp_path / "run.pt", {"validation": Waves()} if what == "validation" else {}
    train(path, **usual)
    content, given = path.read_bytes(), {**usual, **OTHERS[what]}
    learner = given.pop("learner", lambda: mk.MAML(Net(), 0.01, loss=error(2)))()
    with torch.no_grad():
        learner.model.w += 1
    before = copy.deepcopy(learner.state_dict())
    with pytest.raises(mk.MamlkitError, match="belongs to another run, though its settings read"):
        train(path, 6, learner, **given)
    assert path.read_bytes() == content
    assert_same_state(learner, before)
    assert [each.name for each in tmp_path.iterdir()] == ["run.pt"]


def test_the_same_run_is_taken_up_and_a_line_says_so(tmp_path: Path, capsys: Any) -> None:
    path, learner = tmp_path / "run.pt", mk.MAML(Net(), 0.01, loss=error(2))
    train(path, 4, learner)
    assert capsys.readouterr().out == ""
    train(path, 6, learner)  # the very learner, trained by now
    train(path, 6)  # and a new one, when all is done
    other = mk.MAML(Net(), 0.01, loss=error(2))
    with torch.no_grad():
        other.model.get_parameter("w").add_(1)  # another seed
    train(path, 8, other)
    train(path, 8)
    assert capsys.readouterr().out.splitlines() == [
        "run.pt is resumed at 4 of 6 iterations",
        "run.pt is resumed at 6 of 6 iterations",
        "run.pt is resumed, in place of the learner's own start, which was another, at 6 of 8 "
        "iterations",
        "run.pt is resumed at 8 of 8 iterations",
    ]


def test_losses_that_are_random_or_not_finite_are_no_reason_to_refuse(tmp_path: Path) -> None:
    class Random(mk.MAML):
        def query_losses(self, batch: Any, steps: int | None = None) -> Tensor:
            losses = super().query_losses(batch, steps)
            return losses * (1 + torch.rand(len(losses), dtype=losses.dtype))

    train(tmp_path / "a", 2, Random(Net(), 0.01))
    assert len(train(tmp_path / "a", 4, Random(Net(), 0.01)).outer_loss) == 4

    class Lost(mk.MAML):
        def query_losses(self, batch: Any, steps: int | None = None) -> Tensor:
            return super().query_losses(batch, steps) * torch.nan

    train(tmp_path / "b", 2, Lost(Net(), 0.01))
    assert len(train(tmp_path / "b", 4, Lost(Net(), 0.01)).outer_loss) == 4


# --- one run at a time ----------------------------------------------------------------------------


def test_a_second_run_is_told_whose_the_checkpoint_is(tmp_path: Path) -> None:
    path = tmp_path / "run.pt"
    with only_run(path):
        words = rf"in use by another run \(process {os.getpid()} on .+, since \d{{4}}-.*\)"
        with pytest.raises(mk.MamlkitError, match=words):
            train(path)
        assert not path.exists()
    assert not list(tmp_path.iterdir())
    train(path)


HOLD = """
import sys, time
from mamlkit.training.checkpoints import only_run
with only_run(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_run_in_another_process_and_what_is_left_when_it_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "run.pt"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, path], stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(mk.MamlkitError, match=rf"in use by .*process {other.pid} on"):
            train(path)
        other.send_signal(signal.SIGKILL)
    assert (tmp_path / "run.pt.lock").exists()  # nobody holds it: it is taken over
    (tmp_path / "run.pt.0123abcd.part").write_text("half a checkpoint")
    (tmp_path / "run.pt.new.0123abcd.part").write_text("of another run")
    train(path)
    assert {each.name for each in tmp_path.iterdir()} == {"run.pt", "run.pt.new.0123abcd.part"}


class Failing(Waves):
    """Fails, or presses Ctrl-C, in the middle of a run."""

    def __init__(self, how: Any) -> None:
        super().__init__()
        self._how, self._calls = how, 0

    def draw(self, n_tasks: int, generator: torch.Generator) -> dict[str, Tensor]:
        self._calls += 1
        if self._calls == 5:
            self._how()
        return super().draw(n_tasks, generator)


def press(times: int) -> Any:
    def how() -> None:
        for _ in range(times):
            signal.raise_signal(signal.SIGINT)

    return how


def fail() -> None:
    raise OSError("the measuring device is on fire")


def test_the_checkpoint_is_free_again_after_an_error_and_after_ctrl_c(
    tmp_path: Path, capsys: Any
) -> None:
    path = tmp_path / "run.pt"
    with pytest.raises(OSError, match="on fire"):
        train(path, family=Failing(fail))
    history = train(path, 9, family=Failing(press(1)))
    assert history.interrupted
    said = capsys.readouterr().out.splitlines()
    assert said[-1] == f"meta-training was interrupted at {len(history.outer_loss)} of 9 iterations"
    with pytest.raises(KeyboardInterrupt):  # a second press means now
        train(path, 99, family=Failing(press(2)))
    assert [each.name for each in tmp_path.iterdir()] == ["run.pt"]
    assert len(train(path, 9, family=Failing(press(0))).outer_loss) == 9


# --- a full disk ----------------------------------------------------------------------------------

FULL = """
import resource, sys
import mamlkit as mk
learner, path = mk.MAML(mk.models.MLP(1, 1, (100, 100))), sys.argv[1]
def train(n):
    mk.meta_train(learner, mk.tasks.Sinusoid(), 5, iterations=n, checkpoint=path, progress=False)
train(2)
before = open(path, "rb").read()
for room in (100, 60_000, len(before) - 10):
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, resource.RLIM_INFINITY))
    try:
        train(4)
    except mk.MamlkitError as error:
        print(error)
assert open(path, "rb").read() == before
"""


def test_a_file_that_the_system_cuts_short(tmp_path: Path) -> None:
    """Torch then raises errors of its own, in words of its own."""
    path = tmp_path / "run.pt"
    done = subprocess.run(
        [sys.executable, "-c", FULL, path], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(f"{path} cannot be written: File too large; make room") == 3
    assert [each.name for each in tmp_path.iterdir()] == ["run.pt"]
