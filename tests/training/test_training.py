"""The outer loop: reproducible, resumable bit for bit, harmless when a file or a loss is bad."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
import os
import pickle
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import mamlkit as mk
from mamlkit.training import checkpoints
from mamlkit.training.checkpoints import FORMAT
from tests.helpers import F64, assert_same_state, mlp
from tests.training import killed_training

SCRIPT = Path(killed_training.__file__)


def learner(seed: int = 0, **settings) -> mk.MAML:
    model = mk.models.MLP(1, 1, hidden=(6,), x_range=(-5.0, 5.0), seed=seed).double()
    return mk.MAML(model, 0.02, 1, **settings)


def train(a_learner: mk.MAML, iterations: int = 6, **settings) -> mk.History:
    given = {"shots": 4, "meta_batch": 3, "outer_lr": 0.01, "progress": False, **settings}
    return mk.meta_train(a_learner, mk.tasks.Sinusoid(), iterations=iterations, **given)


def state(a_learner: mk.MAML) -> dict[str, Tensor]:
    return copy.deepcopy(a_learner.state_dict())


def record(history: mk.History) -> dict:
    """All of a history but the wall-clock."""
    content = dataclasses.asdict(history)
    assert len(content.pop("seconds")) == len(history.outer_loss)
    return content


# --- training -----------------------------------------------------------------------------------


def test_one_iteration_is_adam_on_the_meta_gradient() -> None:
    """Adam's first step moves each weight by outer_lr against the sign of its gradient."""
    a, family = learner(), mk.tasks.Sinusoid()
    batch = family.sample(3, 4, generator=torch.Generator().manual_seed(7), dtype=F64)
    losses = a.query_losses(batch)
    gradients = torch.autograd.grad(losses.mean(), list(a.parameters()))
    before = [p.detach().clone() for p in a.parameters()]
    history = train(a, 1, seed=7)
    for p, b, g in zip(a.parameters(), before, gradients, strict=True):
        torch.testing.assert_close(p.detach(), b - 0.01 * g / (g.abs() + 1e-8), rtol=1e-9, atol=0)
    assert history.outer_loss == [pytest.approx(float(losses.detach().mean()), rel=1e-12)]


def test_history_records_the_run() -> None:
    a = learner()
    history = train(a, 7, validation=mk.tasks.Sinusoid(), validation_tasks=4, validate_every=3)
    assert len(history.outer_loss) == len(history.seconds) == len(history.learning_rate) == 7
    assert [len(row) for row in history.support_loss] == [2] * 7
    assert history.validation_iteration == [3, 6, 7]
    assert len(history.validation_loss) == 3
    assert history.seconds == sorted(history.seconds)
    assert history.settings["shots"] == 4
    assert not history.interrupted


def test_training_helps() -> None:
    a = mk.MAML(mk.models.MLP(1, 1, hidden=()).double(), 0.1, 1)
    history = mk.meta_train(
        a, mk.tasks.LinearLaw(), 5, iterations=150, outer_lr=0.05, progress=False
    )
    assert sum(history.outer_loss[-20:]) < 0.6 * sum(history.outer_loss[:20])


def test_the_same_seed_gives_the_same_run_and_the_global_generator_is_left_alone() -> None:
    before = torch.get_rng_state()
    runs = [learner(), learner(), learner()]
    histories = [train(a, 5, seed=seed) for a, seed in zip(runs, (1, 1, 2), strict=True)]
    assert torch.equal(torch.get_rng_state(), before)
    assert_same_state(state(runs[0]), state(runs[1]))
    assert record(histories[0]) == record(histories[1])
    assert histories[0].outer_loss != histories[2].outer_loss


def test_cosine_schedule_falls_to_nothing() -> None:
    rates = train(learner(), 10, schedule="cosine").learning_rate
    expected = [0.01 * 0.5 * (1 + math.cos(math.pi * k / 10)) for k in range(10)]
    assert rates == pytest.approx(expected, rel=1e-12)
    assert train(learner(), 3).learning_rate == [0.01] * 3


def test_grad_clip_bounds_the_gradient() -> None:
    """Adam ignores the gradient's size, so look at what it is given."""
    a = learner()
    train(a, 1, grad_clip=1e-3)
    norm = torch.nn.utils.get_total_norm([p.grad for p in a.parameters() if p.grad is not None])
    assert float(norm) == pytest.approx(1e-3, rel=1e-3)


def test_chunks_give_the_same_run() -> None:
    a, b = learner(), learner()
    whole, parts = train(a, 5), train(b, 5, chunk_size=2)
    assert parts.outer_loss == pytest.approx(whole.outer_loss, rel=1e-10)
    for p, q in zip(a.parameters(), b.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-8, atol=1e-10)


def test_captured_training_gives_the_same_run() -> None:
    """The compiler itself is tested with the meta-gradient."""
    a, b = learner(), learner()
    eager, captured = train(a, 3), train(b, 3, compile="capture")
    assert captured.outer_loss == pytest.approx(eager.outer_loss, rel=1e-10)
    for p, q in zip(a.parameters(), b.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-8, atol=1e-10)


def test_frozen_parameters_stay() -> None:
    a = learner()
    first = a.model.get_parameter("layers.0.weight").requires_grad_(False)
    before = first.clone()
    train(a, 2)
    assert torch.equal(a.model.get_parameter("layers.0.weight"), before)


def test_float32_learner_trains_in_float32() -> None:
    a = mk.MAML(mk.models.MLP(1, 1, hidden=(4,)))
    train(a, 2)
    assert all(p.dtype == torch.float32 for p in a.parameters())


def test_the_best_on_validation_is_kept() -> None:
    """A large rate makes the validation loss jump about; the lowest must be what comes back."""
    family = mk.tasks.Sinusoid(amplitude=(1.0, 2.0))
    a = learner()
    history = train(
        a, 12, outer_lr=0.3, validation=family, validation_tasks=6, validate_every=1, seed=2
    )
    best = min(history.validation_loss)
    assert best < history.validation_loss[-1]
    held_out = family.sample(6, 4, generator=torch.Generator().manual_seed(2 + 10**6), dtype=F64)
    with torch.no_grad():
        assert float(a.query_losses(held_out).mean()) == best


class Judged(mk.MAML):
    """What it is to be told on validation, of 5 tasks, is known beforehand."""

    def __init__(self, *losses: float) -> None:
        super().__init__(mk.models.MLP(1, 1, hidden=(3,)).double())
        self.losses = iter(losses)

    def query_losses(self, batch, steps=None):
        if len(batch.support.x) == 5:
            return torch.tensor([next(self.losses)], dtype=F64)
        return super().query_losses(batch, steps)


def test_validation_that_is_not_finite_is_never_the_best() -> None:
    """Nor does it stop a later, finite one from being the best."""
    a = Judged(math.nan, 3.0, 2.0)
    history = train(a, 3, validation=mk.tasks.Sinusoid(), validation_tasks=5, validate_every=1)
    assert math.isnan(history.validation_loss[0])
    assert history.validation_loss[1:] == [3.0, 2.0]


@pytest.mark.parametrize("queries", [None, 5])
def test_a_finite_family_is_validated_member_by_member(queries) -> None:
    fluids = mk.tasks.VapourPressure()
    a = mk.MAML(mk.models.MLP(1, 1, hidden=(3,), x_range=fluids.x_range).double())
    history = mk.meta_train(
        a,
        fluids.split("train"),
        1,
        iterations=2,
        validation=fluids.split("validation"),
        validate_every=2,
        queries=queries,
        progress=False,
    )
    every = fluids.split("validation").every(
        1, queries, generator=torch.Generator().manual_seed(10**6), dtype=F64
    )
    with torch.no_grad():
        expected = float(a.query_losses(every).mean())
    assert history.validation_loss == [expected]


def test_the_progress_bar_shows(capsys) -> None:
    train(learner(), 20, progress=True)
    assert "meta-training" in capsys.readouterr().err


# --- checkpoints ---------------------------------------------------------------------------------


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
@pytest.mark.parametrize("cut", [1, 4, 5, 9])
def test_a_run_in_two_parts_equals_one_run(tmp_path, monkeypatch, schedule, cut) -> None:
    settings = {
        "schedule": schedule,
        "validation": mk.tasks.Sinusoid(),
        "validation_tasks": 3,
        "validate_every": 2,
        "outer_lr": 0.2,
        "checkpoint_every": 1,
    }
    whole, parts = learner(learn_lr="tensor"), learner(learn_lr="tensor")
    one = train(whole, 10, checkpoint=tmp_path / "one.pt", **settings)
    press_after(monkeypatch, cut)
    path = tmp_path / "two.pt"
    first = train(parts, 10, checkpoint=path, **settings)
    assert first.interrupted
    assert len(first.outer_loss) == cut
    fresh = learner(seed=5, learn_lr="tensor")  # another start: the checkpoint must replace it
    two = train(fresh, 10, checkpoint=path, **settings)
    assert_same_state(state(fresh), state(whole))
    assert record(two) == record(one)
    a, b = (torch.load(p, weights_only=True) for p in (tmp_path / "one.pt", path))
    assert pickle.dumps(a["optimiser"]["param_groups"]) == pickle.dumps(
        b["optimiser"]["param_groups"]
    )
    assert torch.equal(a["generator"], b["generator"])
    assert not list(tmp_path.glob("*.part"))


def test_a_constant_run_may_go_on_for_longer(tmp_path) -> None:
    whole, parts = learner(), learner()
    one = train(whole, 9)
    train(parts, 5, checkpoint=tmp_path / "run.pt")
    two = train(parts, 9, checkpoint=tmp_path / "run.pt")
    assert two.outer_loss == one.outer_loss
    assert_same_state(state(parts), state(whole))


@pytest.mark.parametrize("length", [3, 5, 6, 7])
def test_a_longer_run_forgets_the_validation_of_its_earlier_end(tmp_path, length) -> None:
    """Also where that validation, off the grid, was the best so far: the outer rate is wild."""
    settings = {
        "outer_lr": 0.3,
        "seed": 2,
        "validation": mk.tasks.Sinusoid(amplitude=(1.0, 2.0)),
        "validation_tasks": 6,
        "validate_every": 4,
    }
    whole, parts = learner(), learner()
    one = train(whole, 12, checkpoint=tmp_path / "one.pt", **settings)
    early = train(parts, length, checkpoint=tmp_path / "two.pt", **settings)
    assert early.validation_iteration[-1] == length
    again = train(learner(), length, checkpoint=tmp_path / "two.pt", **settings)
    assert again == early
    two = train(parts, 12, checkpoint=tmp_path / "two.pt", **settings)
    assert two.validation_iteration == [4, 8, 12]
    assert record(two) == record(one)
    assert_same_state(state(parts), state(whole))
    a, b = (torch.load(tmp_path / f"{name}.pt", weights_only=True) for name in ("one", "two"))
    assert_same_state(a["best"], b["best"])


def test_the_best_of_an_earlier_end_is_not_that_of_a_longer_run(tmp_path) -> None:
    a = Judged(1.0, 3.0)  # after 2 iterations, where the first run ends, and after 3
    settings = {
        "validation": mk.tasks.Sinusoid(),
        "validation_tasks": 5,
        "validate_every": 3,
        "checkpoint": tmp_path / "run.pt",
    }
    assert train(a, 2, **settings).validation_loss == [1.0]
    history = train(a, 3, **settings)
    assert (history.validation_iteration, history.validation_loss) == ([3], [3.0])
    plain = mk.MAML(mk.models.MLP(1, 1, hidden=(3,)).double())
    train(plain, 3)
    assert_same_state(state(a), state(plain))


def test_the_seconds_of_a_run_in_parts_add_up(tmp_path) -> None:
    path = tmp_path / "run.pt"
    train(learner(), 2, checkpoint=path)
    saved = torch.load(path, weights_only=True)
    saved["history"]["seconds"] += 1000
    torch.save(saved, path)
    seconds = train(learner(), 4, checkpoint=path).seconds
    assert 1000 < seconds[0] < seconds[1] < seconds[2] < seconds[3] < 1100


def test_a_checkpoint_holds_the_last_weights_and_the_best(tmp_path) -> None:
    """A run whose first validation is its best, by decree."""
    values = iter([1.0, 2.0, 3.0])

    class Judged(mk.MAML):
        def query_losses(self, batch, steps=None):
            if len(batch.support.x) == 5:  # validation
                return torch.tensor([next(values)], dtype=F64)
            return super().query_losses(batch, steps)

    a, plain = (Judged(mk.models.MLP(1, 1, hidden=(3,)).double()) for _ in "ab")
    settings = {"validation": mk.tasks.Sinusoid(), "validation_tasks": 5, "validate_every": 1}
    train(a, 3, checkpoint=tmp_path / "run.pt", **settings)
    saved = torch.load(tmp_path / "run.pt", weights_only=True)
    train(plain, 1)
    assert_same_state(saved["best"], state(plain))
    assert_same_state(state(a), state(plain))
    plain = Judged(mk.models.MLP(1, 1, hidden=(3,)).double())
    train(plain, 3)
    assert_same_state(saved["learner"], state(plain))


def test_a_learner_is_told_how_many_iterations_are_done(tmp_path) -> None:
    class Told(mk.MAML):
        told: tuple[int, ...] = ()

        def at_iteration(self, done: int) -> None:
            self.told = (*self.told, done)

    a, b = (Told(mk.models.MLP(1, 1, hidden=(3,)).double()) for _ in "ab")
    train(a, 3, checkpoint=tmp_path / "run.pt")
    train(b, 5, checkpoint=tmp_path / "run.pt")
    assert (a.told, b.told) == ((0, 1, 2), (2, 3, 4))  # where it goes on, once more


def test_a_finished_run_is_not_run_again(tmp_path) -> None:
    a, b = learner(), learner(seed=4)
    one = train(a, 5, checkpoint=tmp_path / "run.pt")
    two = train(b, 5, checkpoint=tmp_path / "run.pt")
    assert two == one
    assert_same_state(state(a), state(b))


def test_weights_that_a_learner_lacks_are_refused(tmp_path) -> None:
    a, path = learner(learn_lr="tensor"), tmp_path / "learner.pt"
    mk.save_learner(a, path)
    mk.load_learner(learner(learn_lr="tensor"), path)
    with pytest.raises(mk.MamlkitError, match=r"rates\.0 is \[\] there and missing"):
        mk.load_learner(learner(), path)


def test_a_look_whether_a_place_can_be_written_leaves_nothing(tmp_path) -> None:
    with checkpoints.atomically(tmp_path / "run.pt", keep=False):
        pass
    assert not list(tmp_path.iterdir())


def test_a_full_disk_leaves_the_old_checkpoint_and_nothing_besides(tmp_path, monkeypatch) -> None:
    train(learner(), 2, checkpoint=tmp_path / "run.pt")
    before = (tmp_path / "run.pt").read_bytes()

    def full(*given, **settings) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(mk.MamlkitError, match=r"cannot be written: No space left on device"):
        train(learner(), 4, checkpoint=tmp_path / "run.pt")
    assert (tmp_path / "run.pt").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["run.pt"]


def test_a_tilde_is_the_home_folder(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    a, history = learner(), train(learner(), 2, checkpoint="~/run.pt")
    history.save("~/history.json")
    mk.save_learner(a, "~/a.npz")
    assert mk.History.load("~/history.json").outer_loss == history.outer_loss
    assert_same_state(mk.load("~/a.npz"), a)
    mk.load_learner(a, "~/run.pt")
    mk.load_learner(a, "~/a.npz")
    frame = "system,x,y\n1,0,0\n1,1,2\n2,0,1\n2,1,3\n"
    (tmp_path / "table.csv").write_text(frame)
    assert mk.tasks.Table.from_csv("~/table.csv", "system", "x", "y").n_members == 2
    found = {path.name for path in tmp_path.iterdir()}
    assert found == {"run.pt", "history.json", "a.npz", "table.csv"}
    with pytest.raises(mk.MamlkitError, match="a path must be text, but int"):
        mk.load(3)


def test_the_folder_of_a_checkpoint_is_made(tmp_path) -> None:
    train(learner(), 2, checkpoint=tmp_path / "a" / "b" / "run.pt")
    assert [p.name for p in (tmp_path / "a" / "b").iterdir()] == ["run.pt"]


def test_ten_kills_change_nothing(tmp_path) -> None:
    """SIGKILL at ten random moments, resumed each time: the same bits as without."""
    result = subprocess.run(
        [sys.executable, "-W", "ignore", SCRIPT, "kill", tmp_path],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    reached = json.loads(result.stdout.splitlines()[-1])
    assert len(reached) == killed_training.KILLS
    assert reached == sorted(reached)
    assert 0 < reached[0] < reached[-1] < killed_training.ITERATIONS

    calm = tmp_path / "calm"
    killed_training.finish(calm, killed_training.ITERATIONS)
    expected, given = (mk.History.load(p / "history.json") for p in (calm, tmp_path))
    assert record(given) == record(expected)
    expected, given = (torch.load(p / "learner.pt") for p in (calm, tmp_path))
    assert_same_state(given, expected)
    expected, given = (torch.load(p / "run.pt") for p in (calm, tmp_path))
    assert_same_state(given["learner"], expected["learner"])
    assert_same_state(given["best"], expected["best"])
    assert torch.equal(given["generator"], expected["generator"])
    for number, moments in expected["optimiser"]["state"].items():
        assert_same_state(given["optimiser"]["state"][number], moments)
    assert given["iteration"] == expected["iteration"] == killed_training.ITERATIONS


# --- Ctrl-C --------------------------------------------------------------------------------------


def press_after(monkeypatch, iterations: int, times: int = 1) -> None:
    """Press Ctrl-C while the tasks of the given iteration are being drawn."""
    sample, calls = mk.tasks.Sinusoid.sample, []

    def pressed(self, n_tasks, *args, **kwargs):
        if n_tasks == 3 and "dtype" in kwargs:  # the training batches of train()
            calls.append(1)
            if len(calls) == iterations + 1 + ("checked" not in vars(self)):
                for _ in range(times):
                    signal.raise_signal(signal.SIGINT)
        return sample(self, n_tasks, *args, **kwargs)

    monkeypatch.setattr(mk.tasks.Sinusoid, "sample", pressed)


def test_ctrl_c_returns_what_is_done(monkeypatch) -> None:
    handler = signal.getsignal(signal.SIGINT)
    press_after(monkeypatch, 4)
    a = learner()
    history = train(a, 100)
    assert history.interrupted
    assert 0 < len(history.outer_loss) < 100
    assert all(torch.isfinite(v).all() for v in state(a).values())
    assert signal.getsignal(signal.SIGINT) is handler


def test_a_second_ctrl_c_means_now(monkeypatch) -> None:
    press_after(monkeypatch, 4, times=2)
    with pytest.raises(KeyboardInterrupt):
        train(learner(), 100)


def test_training_outside_the_main_thread() -> None:
    histories = []
    thread = threading.Thread(target=lambda: histories.append(train(learner(), 3)))
    thread.start()
    thread.join()
    assert len(histories[0].outer_loss) == 3


def test_ctrl_c_in_a_process_of_its_own(tmp_path) -> None:
    process = subprocess.Popen(
        [sys.executable, SCRIPT, "interrupt", tmp_path], stdout=subprocess.PIPE, text=True
    )
    path, deadline = tmp_path / "run.pt", time.monotonic() + 120
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    line, said = output.splitlines()[0], json.loads(output.splitlines()[1])
    assert re.fullmatch(r"meta-training was interrupted at \d+ of 1000000 iterations", line)
    assert said["interrupted"]
    assert said["finite"]
    assert said["done"] > 0
    resumed = killed_training.make_learner()
    history = killed_training.train(tmp_path, said["done"] + 3, resumed, validation=None)
    assert history.outer_loss[:-3] == said["outer_loss"]


# --- files that are not what they should be ------------------------------------------------------


def assert_refused(path: Path, words: str) -> None:
    """As a checkpoint and as a learner: a plain error, the file and the learner as they were."""
    content, a = path.read_bytes(), learner(seed=8)
    before = state(a)
    with pytest.raises(mk.MamlkitError, match=words):
        train(a, 3, checkpoint=path)
    with pytest.raises(mk.MamlkitError, match=words):
        mk.load_learner(a, path)
    assert path.read_bytes() == content
    assert_same_state(state(a), before)


@pytest.fixture(scope="module")
def whole_checkpoint(tmp_path_factory) -> bytes:
    path = tmp_path_factory.mktemp("whole") / "run.pt"
    train(learner(seed=8), 2, checkpoint=path)
    return path.read_bytes()


@pytest.mark.parametrize("share", [0.0, 0.0002, 0.001, 0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99, 0.9999])
def test_a_truncated_checkpoint(tmp_path, whole_checkpoint, share) -> None:
    path = tmp_path / "run.pt"
    path.write_bytes(whole_checkpoint[: int(share * len(whole_checkpoint))])
    assert_refused(path, "cannot be read as a mamlkit checkpoint")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"PK",
        b"PK\x03\x04",
        b"\x80\x02",
        b"\x80",
        b"hello\n",
        b'{"outer_loss": []}',
        b"\x00" * 99,
    ],
)
def test_a_file_of_another_kind(tmp_path, content) -> None:
    path = tmp_path / "run.pt"
    path.write_bytes(content)
    assert_refused(path, "cannot be read as a mamlkit checkpoint")


def test_a_history_is_no_checkpoint(tmp_path) -> None:
    path = tmp_path / "run.pt"
    mk.History(outer_loss=[1.0]).save(path)
    assert_refused(path, "cannot be read as a mamlkit checkpoint")


@pytest.mark.parametrize("content", [{"weights": torch.zeros(3)}, torch.zeros(3), [1, 2], "text"])
def test_a_torch_file_of_another_program(tmp_path, content) -> None:
    path = tmp_path / "run.pt"
    torch.save(content, path)
    assert_refused(path, "is not a mamlkit checkpoint")


@pytest.mark.parametrize("content", [{"format": FORMAT}, {"format": FORMAT, "learner": 3}])
def test_a_checkpoint_with_parts_missing(tmp_path, content) -> None:
    path = tmp_path / "run.pt"
    torch.save(content, path)
    assert_refused(path, "is not a mamlkit checkpoint")


@pytest.mark.parametrize("part", ["optimiser", "generator", "history", "best", "iteration"])
@pytest.mark.parametrize("how", ["missing", "of another kind"])
def test_a_checkpoint_with_a_damaged_part_changes_nothing(tmp_path, part, how) -> None:
    path = tmp_path / "run.pt"
    settings = {"shots": 3, "checkpoint": path, "progress": False}
    mk.meta_train(mk.MAML(mk.models.MLP(1, 1, (4,))), mk.tasks.Sinusoid(), iterations=2, **settings)
    saved = torch.load(path, weights_only=True)
    if how == "missing":
        del saved[part]
    else:
        saved[part] = "nonsense"
    torch.save(saved, path)
    learner = mk.MAML(mk.models.MLP(1, 1, (4,), seed=5))
    before = copy.deepcopy(learner.state_dict())
    with pytest.raises(mk.MamlkitError, match=r"damaged|nothing to resume"):
        mk.meta_train(learner, mk.tasks.Sinusoid(), iterations=4, **settings)
    assert_same_state(learner, before)


class Trap:
    """Unpickling this writes a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self):
        return os.mkdir, (str(self.target),)


@pytest.mark.parametrize("by", ["torch", "pickle"])
def test_a_pickle_that_runs_code_is_refused_and_does_not_run(tmp_path, by) -> None:
    path, target = tmp_path / "run.pt", tmp_path / "sprung"
    content = {"format": FORMAT, "learner": Trap(target)}
    if by == "torch":
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps(content))
    assert_refused(path, "would run code")
    assert not target.exists()
    pickle.loads(pickle.dumps(Trap(target)))
    assert target.exists()  # the trap is a real one


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("shots", 6),
        ("meta_batch", 4),
        ("outer_lr", 0.02),
        ("seed", 1),
        ("schedule", "cosine"),
        ("grad_clip", 1.0),
        ("queries", 2),
        ("validation_tasks", 7),
        ("validate_every", 7),
    ],
)
def test_a_checkpoint_of_other_settings_is_refused_by_name(tmp_path, name, value) -> None:
    path = tmp_path / "run.pt"
    train(learner(), 2, checkpoint=path)
    content, a = path.read_bytes(), learner()
    before = state(a)
    with pytest.raises(mk.MamlkitError, match=rf"other settings: {name}.*was .*now {value!r}"):
        train(a, 4, checkpoint=path, **{name: value})
    assert path.read_bytes() == content
    assert_same_state(state(a), before)


def test_a_cosine_schedule_of_another_length_is_refused(tmp_path) -> None:
    settings = {"schedule": "cosine", "checkpoint": tmp_path / "run.pt"}
    train(learner(), 2, **settings)
    with pytest.raises(mk.MamlkitError, match=r"iterations .iterations was 2, now 4"):
        train(learner(), 4, **settings)


def test_a_checkpoint_of_another_learner_or_family_is_refused(tmp_path) -> None:
    path = tmp_path / "run.pt"
    train(learner(), 2, checkpoint=path)
    with pytest.raises(mk.MamlkitError, match="other settings: learner"):
        train(mk.MAML(mk.models.MLP(1, 1, hidden=(7,)).double(), 0.02), 4, checkpoint=path)
    with pytest.raises(mk.MamlkitError, match=r"other settings: validation \(.* was None"):
        train(learner(), 4, checkpoint=path, validation=mk.tasks.Sinusoid())
    with pytest.raises(mk.MamlkitError, match="other settings: family"):
        mk.meta_train(
            learner(),
            mk.tasks.Sinusoid(noise=0.5),
            4,
            meta_batch=3,
            outer_lr=0.01,
            iterations=4,
            checkpoint=path,
            progress=False,
        )


def test_another_learner_that_prints_alike_is_refused(tmp_path) -> None:
    """The printed settings are not the whole truth; the shapes are compared as well."""

    class Own(torch.nn.Module):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.w = torch.nn.Parameter(torch.ones(width, dtype=F64))

        def forward(self, x: Tensor) -> Tensor:
            return x * self.w.sum()

    path = tmp_path / "run.pt"
    train(mk.MAML(Own(2)), 2, checkpoint=path)
    other = mk.MAML(Own(3))
    before = state(other)
    with pytest.raises(mk.MamlkitError, match=r"model.w is \[2\] there and \[3\] in yours"):
        train(other, 4, checkpoint=path)
    assert_same_state(state(other), before)


def test_a_plan_is_checked_where_it_is_made() -> None:
    with pytest.raises(mk.MamlkitError, match="iterations must be a whole number of at least 1"):
        mk.Plan(iterations=0)
    with pytest.raises(mk.MamlkitError, match="outer_lr must be a finite number > 0"):
        mk.Plan(outer_lr=0.0)
    assert type(mk.Plan(shots=np.int64(3)).shots) is int


def test_a_plan_and_its_settings_by_name_give_the_same_run() -> None:
    a, b, plan = learner(), learner(), mk.Plan(shots=4, meta_batch=3, outer_lr=0.01, seed=5)
    family = mk.tasks.Sinusoid()
    one = mk.meta_train(a, family, plan=plan, iterations=4, progress=False)
    assert record(one) == record(train(b, 4, seed=5))
    assert_same_state(state(a), state(b))


def test_a_setting_that_is_not_known_is_refused_by_name() -> None:
    with pytest.raises(mk.MamlkitError, match=r"no setting 'iteration'; .* iterations"):
        train(learner(), iteration=4)


# --- losses that are not finite ------------------------------------------------------------------


class Burst(mk.tasks.Sinusoid):
    """From a given call on, the support is so large that the adapted weights overflow."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self.after = after
        self._calls: list[int] = []

    def __repr__(self) -> str:
        return "Burst"

    def law(self, x: Tensor, physics: dict[str, Tensor]) -> Tensor:
        self._calls.append(1)
        return super().law(x, physics) * (1e200 if len(self._calls) > self.after + 1 else 1.0)


def test_a_loss_that_is_not_finite_stops_the_run_and_spoils_nothing(tmp_path) -> None:
    a, path = learner(), tmp_path / "run.pt"
    settings = {"meta_batch": 3, "iterations": 50, "checkpoint": path, "checkpoint_every": 2}
    with pytest.raises(mk.MamlkitError, match=r"not finite at iteration 6 .*lower outer_lr"):
        mk.meta_train(a, Burst(after=6), 4, progress=False, **settings)
    assert all(torch.isfinite(v).all() for v in state(a).values())
    saved = torch.load(path, weights_only=True)
    assert saved["iteration"] == 4
    assert all(torch.isfinite(v).all() for v in saved["learner"].values())
    history = mk.meta_train(
        learner(), Burst(after=10**6), 4, progress=False, **{**settings, "iterations": 8}
    )
    assert len(history.outer_loss) == 8


def test_a_gradient_that_is_not_finite_stops_the_run() -> None:
    """The root mean square of a perfect fit is 0, and its slope is not finite."""

    class Root(mk.MAML):
        def forward(self, batch):
            losses, support = super().forward(batch)
            return (losses - losses.detach()).sqrt(), support

    a = Root(mk.models.MLP(1, 1, hidden=(3,)).double())
    before = state(a)
    with pytest.raises(mk.MamlkitError, match="meta-gradient is not finite at iteration 1"):
        train(a, 3)
    assert_same_state(state(a), before)


# --- learners and histories on disk --------------------------------------------------------------


def test_save_and_load_a_learner(tmp_path) -> None:
    a, b, path = learner(), learner(seed=5), tmp_path / "new" / "learner.pt"
    mk.save_learner(a, path, shots=4, words="springs", learner="maml", path="x", list=[1, 2.5])
    notes = mk.load_learner(b, path)
    assert notes == {
        "shots": 4,
        "words": "springs",
        "learner": "maml",
        "path": "x",
        "list": [1, 2.5],
    }
    assert_same_state(state(a), state(b))


def test_load_a_learner_from_a_checkpoint(tmp_path) -> None:
    a, b = learner(), learner(seed=5)
    train(a, 2, checkpoint=tmp_path / "run.pt")
    assert mk.load_learner(b, tmp_path / "run.pt") == {}
    assert_same_state(state(a), state(b))


def test_history_survives_json(tmp_path) -> None:
    history = train(learner(), 4, validation=mk.tasks.Sinusoid(), validation_tasks=2)
    path = tmp_path / "a" / "history.json"
    history.save(path)
    assert mk.History.load(path) == history


def test_numpy_numbers_leave_a_checkpoint_that_can_be_resumed(tmp_path: Path) -> None:
    settings = {
        "shots": np.int64(3),
        "meta_batch": np.int64(4),
        "outer_lr": np.logspace(-3, -2, 2)[0],
        "checkpoint": tmp_path / "run.pt",
        "progress": False,
    }
    learner = mk.MAML(mk.models.MLP(1, 1, hidden=(4,)), inner_lr=np.float64(0.01))
    mk.meta_train(learner, mk.tasks.Sinusoid(), iterations=np.int64(2), **settings)
    history = mk.meta_train(learner, mk.tasks.Sinusoid(), iterations=4, **settings)
    assert len(history.outer_loss) == 4
    history.save(tmp_path / "history.json")
    assert mk.History.load(tmp_path / "history.json") == history


def test_a_learner_with_query_losses_alone_can_be_trained() -> None:
    class Prior(torch.nn.Module):
        """Shrinks the mean of the support towards a learned level."""

        def __init__(self) -> None:
            super().__init__()
            self.level = torch.nn.Parameter(torch.zeros(()))

        def query_losses(self, batch, steps=None):
            guess = 0.5 * (self.level + batch.support.y.mean(1, keepdim=True))
            return ((batch.query.y - guess) ** 2).mean((1, 2))

    learner, family = Prior(), mk.tasks.LinearLaw(slope=(0.0, 0.1), intercept=(3.0, 0.1))
    settings = {"shots": 3, "iterations": 200, "outer_lr": 0.1, "progress": False}
    history = mk.meta_train(learner, family, **settings)
    assert learner.level.item() == pytest.approx(3.0, abs=0.2)
    assert history.support_loss[-1] == []
    with pytest.raises(mk.MamlkitError, match="only query_losses"):
        mk.meta_train(learner, family, compile=True, **settings)


def test_load_learner_takes_the_best_of_a_checkpoint_with_validation(tmp_path: Path) -> None:
    family, path = mk.tasks.Sinusoid(), tmp_path / "run.pt"
    learner = mk.MAML(mk.models.MLP(1, 1, hidden=(8,)))
    mk.meta_train(
        learner,
        family,
        5,
        iterations=30,
        outer_lr=0.3,  # restless, so that the best is not the last
        validation=family,
        validate_every=3,
        checkpoint=path,
        progress=False,
    )
    other = mk.MAML(mk.models.MLP(1, 1, hidden=(8,), seed=1))
    mk.load_learner(other, path)
    assert_same_state(learner, other)


def test_load_learner_refuses_other_settings_of_the_inner_loop(tmp_path: Path) -> None:
    model = mk.models.MLP(1, 1, hidden=(4,))
    mk.save_learner(mk.MAML(model, inner_lr=0.05), tmp_path / "a.pt")
    other = mk.MAML(model, inner_lr=0.5, inner_steps=3)
    with pytest.raises(mk.MamlkitError, match=r"inner_lr=0\.05.*inner_lr=0\.5"):
        mk.load_learner(other, tmp_path / "a.pt")


def test_results_show_as_one_line_at_the_end_of_a_cell() -> None:
    learner = mk.MAML(mlp(), inner_lr=0.01, inner_steps=2)
    family, settings = mk.tasks.Sinusoid(noise=0.1), {"shots": 3, "meta_batch": 2}
    history = mk.meta_train(
        learner, family, **settings, iterations=4, outer_lr=1e-3, seed=0, progress=False
    )
    curve = mk.evaluate(learner, family, 3, n_tasks=5)
    adapted = learner.adapt(*family.sample(1, 3, dtype=torch.float64).task(0).support)
    shown = [repr(history), repr(curve), repr(adapted), repr(mk.History())]
    assert all("\n" not in line and len(line) < 120 for line in shown)
    first, last = history.outer_loss[0], history.outer_loss[-1]
    assert shown[0].startswith("History: 4 iterations in ")
    assert shown[0].endswith(f"outer loss {first:.3g} -> {last:.3g}")
    assert shown[1].endswith(" -> ".join(f"{value:.3g}" for value in curve.mean.tolist()))
    assert shown[2].endswith(" -> ".join(f"{value:.3g}" for value in adapted.losses.tolist()))
    assert shown[3] == "History: no iterations"
