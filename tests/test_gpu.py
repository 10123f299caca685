"""On a GPU the same numbers come out as on the CPU. Skipped where there is none; CI has none, so
run it by hand when you have one: ``pytest -n 0 tests/test_gpu.py``.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import mamlkit as mk
from mamlkit import cli
from mamlkit.tasks import TaskBatch
from mamlkit.training.gradients import meta_gradients
from tests.helpers import F64, assert_same_state, mlp, normal, seeded, sinusoids

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")
GPU = torch.device("cuda", 0)


class Wave(nn.Module):
    """A recurrent model, which vmap cannot take: its tasks run one after another."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.core, self.out = nn.GRU(1, 4, batch_first=True), nn.Linear(4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.core(x[:, :, None])[0][:, -1])


LEARNERS: dict[str, Callable[[], Any]] = {
    "MAML": lambda: mk.MAML(mlp(), 0.05, 2),
    "FOMAML": lambda: mk.FOMAML(mlp(), 0.05, 2),
    "ANIL": lambda: mk.ANIL(mlp(), 0.05, 2),
    "Meta-SGD": lambda: mk.MetaSGD(mlp(), 0.05, 2),
    "matrix": lambda: mk.MAML(mlp(), 0.05, 2, learn_lr="matrix"),
    "MAML++": lambda: mk.MAMLPlusPlus(mlp(), 0.05, 2),
    "Adam, pulled": lambda: mk.MAML(mlp(), 0.05, 2, rule=mk.learners.adam(), penalty=0.1),
    "CAVIA": lambda: mk.CAVIA(mlp(context=2), 0.05, 2),
    "CoDA": lambda: mk.CoDA(mlp(), 0.05, 2),
    "Reptile": lambda: mk.Reptile(mlp(), 0.05, 2),
    "implicit": lambda: mk.ImplicitMAML(mlp(), 2.0, tolerance=1e-9),
    "ridge": lambda: mk.RidgeHead(mlp(d_out=4)),
    "Bayes": lambda: mk.BayesianHead(mlp(d_out=4), 4),
    "ensemble": lambda: mk.Ensemble(lambda seed: mk.MAML(mlp(seed=seed), 0.05, 2), 2),
    "multistart": lambda: mk.Multistart(lambda seed: mk.MAML(mlp(seed=seed), 0.05, 2), 2),
    "recurrent": lambda: mk.MAML(Wave().double(), 0.05, 2),
}
CLASSIFIERS: dict[str, Callable[[], Any]] = {
    "cross entropy": lambda: mk.MAML(mlp(2, 2), 0.05, 2, loss=mk.losses.cross_entropy),
    "hinge": lambda: mk.MAML(mlp(2, 2), 0.05, 2, loss=mk.losses.hinge),
    "ridge head": lambda: mk.ClassifierHead(mlp(2, 4), 2),
    "logistic head": lambda: mk.ClassifierHead(mlp(2, 4), 2, "logistic"),
    "hinge head": lambda: mk.ClassifierHead(mlp(2, 4), 2, "hinge"),
    "prototypes": lambda: mk.Prototypes(mlp(2, 4), 2),
}


def batch_for(name: str) -> TaskBatch:
    if name in LEARNERS:
        return sinusoids()
    data = [mk.Data(normal(3, 6, 2, seed=s), torch.arange(6).expand(3, -1) % 2) for s in (1, 2)]
    return TaskBatch(data[0], data[1], {})


def move(batch: TaskBatch) -> TaskBatch:
    support, query = (mk.Data(*(leaf.to(GPU) for leaf in part)) for part in batch[:2])
    return TaskBatch(support, query, batch.physics)


@pytest.mark.filterwarnings("ignore::mamlkit.MamlkitWarning")  # one after another
@pytest.mark.parametrize("name", [*LEARNERS, *CLASSIFIERS])
def test_losses_gradients_and_predictions(name: str) -> None:
    batch, found = batch_for(name), []
    for device in (torch.device("cpu"), GPU):
        learner = {**LEARNERS, **CLASSIFIERS}[name]().to(device)
        there = move(batch) if device == GPU else batch
        losses = learner.query_losses(there)
        parameters = [p for p in learner.parameters() if p.requires_grad]
        gradient = torch.autograd.grad(losses.sum(), parameters, materialize_grads=True)
        predict = learner.adapt(there.support.x[0], there.support.y[0])
        at = predict(there.query.x[0])
        assert losses.device == at.device == there.query.x.device
        found.append([losses.detach(), *gradient, at.detach()])
    for cpu, gpu in zip(*found, strict=True):
        torch.testing.assert_close(gpu.cpu(), cpu, rtol=1e-7, atol=1e-9)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's compiler, of torch
@pytest.mark.parametrize("compile", [False, "auto", "capture", True])
@pytest.mark.parametrize("name", ["MAML", "Meta-SGD", "MAML++", "Reptile", "ridge", "Bayes"])
def test_training(name: str, compile: Any) -> None:
    """The tasks are the same, so a short run is, to rounding."""
    after = []
    for device in (torch.device("cpu"), GPU):
        learner = LEARNERS[name]().to(device)
        history = mk.meta_train(
            learner,
            mk.tasks.Sinusoid(noise=0.1),
            shots=4,
            meta_batch=5,
            iterations=12,
            outer_lr=1e-3,
            validation=mk.tasks.Sinusoid(),
            validation_tasks=4,
            validate_every=6,
            compile=compile if device == GPU else False,
            progress=False,
        )
        curve = mk.evaluate(learner, mk.tasks.Sinusoid(), 4, n_tasks=8, queries=5)
        weights = [p.detach().cpu() for p in learner.parameters()]
        after.append([torch.tensor(history.outer_loss, dtype=F64), curve.losses, *weights])
    for cpu, gpu in zip(*after, strict=True):
        torch.testing.assert_close(gpu, cpu, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("name", ["MAML", "matrix", "ridge", "Bayes"])
def test_a_captured_step_is_one_launch_where_it_can_be(name: str) -> None:
    """A solver waits for the CPU; there the operations run one by one."""
    batches = [move(sinusoids(seed=seed)) for seed in range(4)]
    found = []
    for how in (False, "capture"):
        learner = LEARNERS[name]().to(GPU)
        parameters = dict(learner.named_parameters())
        step, own = meta_gradients(learner, parameters, compile=how), []
        for batch in batches:  # with other numbers and other weights each time
            own.append((step(batch), [p.grad.clone() for p in parameters.values()]))
            with torch.no_grad():
                for p in parameters.values():
                    p -= 0.01 * p.grad
        found.append(own)
    for (told, gradient), (expected, other) in zip(*found, strict=True):
        assert told == pytest.approx(expected, rel=1e-9)
        for a, b in zip(gradient, other, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


def test_one_launch_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    replays = []
    replay = torch.cuda.CUDAGraph.replay

    def counted(graph: torch.cuda.CUDAGraph) -> None:
        replays.append(graph)
        replay(graph)

    monkeypatch.setattr(torch.cuda.CUDAGraph, "replay", counted)
    learner = LEARNERS["MAML"]().to(GPU)
    step = meta_gradients(learner, dict(learner.named_parameters()), compile="capture")
    for _ in range(3):
        step(move(sinusoids()))
    assert len(replays) == 3


def train(learner: Any, iterations: int, **more: Any) -> mk.History:
    settings: dict[str, Any] = {"shots": 4, "meta_batch": 4, "progress": False, **more}
    return mk.meta_train(learner, mk.tasks.Sinusoid(), iterations=iterations, **settings)


@pytest.mark.parametrize("devices", [("cuda", "cuda"), ("cuda", "cpu"), ("cpu", "cuda")])
def test_a_run_goes_on_on_either_device(devices: tuple[str, str], tmp_path: Path) -> None:
    whole, stopped, resumed = (LEARNERS["Meta-SGD"]() for _ in range(3))
    train(whole, 8)
    train(stopped.to(devices[0]), 4, checkpoint=tmp_path / "run.pt")
    train(resumed.to(devices[1]), 8, checkpoint=tmp_path / "run.pt")
    for one, other in zip(whole.parameters(), resumed.parameters(), strict=True):
        torch.testing.assert_close(one.cpu(), other.cpu(), rtol=1e-6, atol=1e-9)


def test_a_learner_is_kept_and_read_on_a_machine_without_a_gpu(tmp_path: Path) -> None:
    learner = LEARNERS["MAML"]().to(GPU)
    mk.save(learner, tmp_path / "whole")
    read = mk.load(tmp_path / "whole")
    assert {p.device.type for p in read.parameters()} == {"cpu"}
    assert_same_state(read, learner.cpu())


def test_side_by_side_with_yardsticks_of_the_cpu() -> None:
    rows: dict[str, Any] = {
        "MAML": LEARNERS["MAML"]().to(GPU),
        "zero": mk.yardsticks.Zero(),
        "scratch": mk.yardsticks.FromScratch(mlp().to(GPU), lr=0.01, steps=5),
        "ridge": mk.yardsticks.Ridge(),
    }
    there = mk.compare(rows, mk.tasks.Sinusoid(), 4, n_tasks=6)
    rows["MAML"], rows["scratch"] = (
        LEARNERS["MAML"](),
        mk.yardsticks.FromScratch(mlp(), lr=0.01, steps=5),
    )
    here = mk.compare(rows, mk.tasks.Sinusoid(), 4, n_tasks=6)
    numbers = here.select_dtypes("number").columns.intersection(["mean", "median", "ci95"])
    assert len(numbers)
    torch.testing.assert_close(
        torch.tensor(there[numbers].to_numpy()),
        torch.tensor(here[numbers].to_numpy()),
        rtol=1e-6,
        atol=1e-9,
    )


def test_costs() -> None:
    learner = LEARNERS["MAML"]().to(GPU)
    table = mk.cost_table({"MAML": learner}, mk.tasks.Sinusoid(), repeats=2)
    assert (table.filter(like="bytes").to_numpy() > 0).all()
    assert (table.filter(like="seconds").to_numpy() > 0).all()


def test_points_on_another_device() -> None:
    """``adapt`` moves the points of a task; of a batch it is told, of labels too."""
    learner, batch = LEARNERS["MAML"]().to(GPU), sinusoids()
    predict = learner.adapt(batch.support.x[0], batch.support.y[0])
    assert predict(batch.query.x[0]).isfinite().all()
    with pytest.raises(mk.MamlkitError, match=r"on cpu, the learner .* cuda"):
        learner.query_losses(batch)
    classifier, batch = CLASSIFIERS["hinge"]().to(GPU), move(batch_for("hinge"))
    mixed = batch._replace(query=batch.query._replace(y=batch.query.y.cpu()))
    with pytest.raises(mk.MamlkitError, match=r"on cpu, the learner .* cuda"):
        classifier.query_losses(mixed)


def test_the_command(tmp_path: Path, capsys: Any) -> None:
    words = "train sinusoid --shots 4 --meta-batch 4 --iterations 6 --hidden 8 --device cuda --out"
    assert cli.main([*words.split(), str(tmp_path / "run")]) == 0
    assert "mean" in capsys.readouterr().out


def test_under_torchrun(tmp_path: Path) -> None:
    """One process of a group, whose messages go over NCCL."""
    words = "train sinusoid --shots 4 --meta-batch 4 --iterations 6 --hidden 8 --device cuda --out"
    start = "torch.distributed.run --standalone --nproc-per-node=1"
    run = subprocess.run(
        [
            sys.executable,
            "-m",
            *start.split(),
            "-m",
            "mamlkit",
            *words.split(),
            str(tmp_path / "a"),
        ],
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    assert "mean" in run.stdout


def test_generator_draws_the_same_tasks() -> None:
    here = mk.tasks.Sinusoid().sample(3, 4, generator=seeded(), dtype=F64)
    there = mk.tasks.Sinusoid().sample(3, 4, generator=seeded(), dtype=F64, device=GPU)
    assert torch.equal(here.support.y, there.support.y.cpu())
