"""compile="auto": a record that gives the bits of eager, made where it pays."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

import mamlkit as mk
from mamlkit.tasks import Sinusoid, TaskBatch
from mamlkit.training import gradients
from mamlkit.training.checkpoints import check_learner
from mamlkit.training.gradients import TRIED, meta_gradients
from tests.training.test_gradients import MAKERS, Line, cnn, lattices, mlp, sinusoids

rules = mk.learners
MORE: dict[str, Any] = {
    **MAKERS,
    "MAML++": lambda: mk.MAMLPlusPlus(mlp(), inner_lr=0.05, inner_steps=2),
    "CAVIA": lambda: mk.CAVIA(mk.models.MLP(1, 1, hidden=(8,), context=2), inner_steps=2),
    "momentum": lambda: mk.MAML(mlp(), 0.05, 2, rule=rules.chain(rules.clip(1.0), rules.adam())),
    "penalty": lambda: mk.MAML(mlp(), 0.05, 2, penalty=0.1, learn_penalty=True),
    "positive steps": lambda: mk.MAML(mlp(), 0.05, 2, learn_lr="step", positive_lr=True),
    "phases": lambda: mk.MAML(mlp(), 0.05, 2, second_order_from=8, anneal=20),
    "Multistart": lambda: mk.learners.Multistart(lambda s: mk.MAML(mlp(seed=s), 0.05), 2),
    "prototypes, classification": lambda: mk.Prototypes(cnn(), 3),
    "head, classification": lambda: mk.learners.ClassifierHead(cnn(), 3),
}


class Count:
    """How many records were made."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.made, capture = 0, gradients.capture

        def counted(*given: Any) -> Any:
            self.made += 1
            return capture(*given)

        monkeypatch.setattr(gradients, "capture", counted)


@pytest.fixture
def captures(monkeypatch: pytest.MonkeyPatch) -> Count:
    return Count(monkeypatch)


@pytest.fixture
def keen(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock by which the record always wins, and a record is worth 20 iterations."""
    ticks = itertools.count(1)
    monkeypatch.setattr(gradients, "_clocked", lambda step, batch: (step(batch), 1e9 / next(ticks)))
    monkeypatch.setattr(gradients, "WORTH_ITERATIONS", 20)


def trained(learner: nn.Module, compile: Any, batches: list[TaskBatch], **how: Any) -> Any:
    """What a run over the batches notes, and the weights in the end."""
    parameters = check_learner(learner)
    step = meta_gradients(learner, parameters, compile=compile, iterations=100, **how)
    optimiser = torch.optim.Adam(parameters.values(), lr=0.01)
    noted = []
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for done, batch in enumerate(batches):
            if hasattr(learner, "at_iteration"):
                cast(Any, learner).at_iteration(done)
            noted.append(step(batch))
            optimiser.step()
    return noted, [p.tolist() for p in learner.parameters()]


@pytest.mark.usefixtures("keen")
@pytest.mark.parametrize("name", MORE)
def test_the_record_gives_the_bits_of_eager(name: str, captures: Count) -> None:
    for dtype in (torch.float32, torch.float64) if name == "MAML" else (torch.float32,):
        if "classification" in name:
            batches = [lattices(dtype)] * 15
        else:
            batches = [sinusoids(seed=k, dtype=dtype) for k in range(15)]
        before = captures.made
        ends = [trained(MORE[name]().to(dtype), how, batches) for how in (False, "auto")]
        assert captures.made > before
        assert ends[1] == ends[0]


@pytest.mark.usefixtures("keen")
def test_chunks_give_the_bits_of_eager(captures: Count) -> None:
    batches = [sinusoids(seed=k) for k in range(15)]
    makers = (MAKERS["MAML"]().double() for _ in range(2))
    ends = [
        trained(next(makers), how, batches, chunk_size=2)  # 2, 2 and 1 tasks
        for how in (False, "auto")
    ]
    assert captures.made == 2
    assert ends[1] == ends[0]


def test_a_long_run_is_captured_and_a_short_one_is_not(
    monkeypatch: pytest.MonkeyPatch, captures: Count
) -> None:
    monkeypatch.setattr(gradients, "WORTH_SECONDS", 0.0)
    settings: dict[str, Any] = {"shots": 2, "meta_batch": 2, "progress": False}
    for iterations, made in ((100, 0), (gradients.WORTH_ITERATIONS + TRIED + 1, 1)):
        mk.meta_train(mk.MAML(mlp(), 0.05), Sinusoid(), iterations=iterations, **settings)
        assert captures.made == made
    monkeypatch.setattr(gradients, "WORTH_SECONDS", 1e9)  # as long as it takes: not worth it
    mk.meta_train(mk.MAML(mlp(), 0.05), Sinusoid(), iterations=600, **settings)
    assert captures.made == 1


@pytest.mark.usefixtures("keen")
def test_a_run_goes_on_bit_for_bit_where_its_first_part_was_too_short_to_capture(
    tmp_path: Path, captures: Count
) -> None:
    settings: dict[str, Any] = {"shots": 4, "meta_batch": 3, "progress": False}

    def run(iterations: int, path: Path | None = None, **how: Any) -> Any:
        learner = mk.MAML(mlp(), 0.05)
        history = mk.meta_train(
            learner, Sinusoid(), iterations=iterations, checkpoint=path, **settings, **how
        )
        weights = [p.tolist() for p in learner.parameters()]
        return history.outer_loss, history.support_loss, weights

    straight = run(50)
    assert captures.made == 1
    run(12, tmp_path / "run.pt")
    assert captures.made == 1
    assert run(50, tmp_path / "run.pt") == straight
    assert captures.made == 2
    assert run(50, compile=False) == straight


@pytest.mark.usefixtures("keen")
def test_only_what_comes_often_is_captured(captures: Count) -> None:
    """Of 60 batches 54 have 4 shots, the others 1, 2 and 3."""
    shots = [4] * 6 + [1, 4, 2, 4, 3, 4] + ([4] * 14 + [1, 2]) * 3
    batches = [sinusoids(n, seed=k) for k, n in enumerate(shots)]
    makers = (MAKERS["MAML"]().double() for _ in range(2))
    ends = [trained(next(makers), how, batches) for how in (False, "auto")]
    assert captures.made == 1
    assert ends[1] == ends[0]


class Undecided(Line):
    """Looks at values."""

    def forward(self, batch: TaskBatch) -> tuple[Tensor, Tensor]:
        losses, support = super().forward(batch)
        return (losses if losses.mean() > 1 else 2 * losses), support


class Counting(Line):
    """Writes to a buffer."""

    def forward(self, batch: TaskBatch) -> tuple[Tensor, Tensor]:
        self.scale.mul_(1.01)
        return super().forward(batch)


class Told(Line):
    """Changes with the iteration and does not say so by a phase."""

    power = 1.0

    def at_iteration(self, done: int) -> None:
        self.power = 1.0 + 0.1 * done

    def forward(self, batch: TaskBatch) -> tuple[Tensor, Tensor]:
        losses, support = super().forward(batch)
        return losses**self.power, support


class Plain(Line):
    """Has query_losses alone."""

    forward = nn.Module.forward

    def query_losses(self, batch: TaskBatch) -> Tensor:
        return Line.forward(self, batch)[0]


@pytest.mark.usefixtures("keen")
@pytest.mark.parametrize(
    ("make", "made"),
    [
        (Undecided, 1),  # tried once, and never again
        (Counting, 1),
        (lambda: Line(noise=1.0), 1),
        (Told, 0),
        (Plain, 0),
    ],
)
def test_the_rest_stays_eager_without_a_word(make: Any, made: int, captures: Count) -> None:
    batches = [sinusoids(seed=k) for k in range(15)]
    ends = [trained(make(), how, batches) for how in (False, "auto")]
    assert captures.made == made
    assert ends[1] == ends[0]


@pytest.mark.usefixtures("keen")
@pytest.mark.usefixtures("keen")
@pytest.mark.parametrize("where", ["in forward", "by a callback"])
def test_what_is_counted_in_plain_python_is_not_frozen(where: str) -> None:
    """A slope that changes after the record was made, by the model itself or from outside."""

    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.calls, self.slope = mlp(), 0, 1.0

        def forward(self, x: Tensor) -> Tensor:
            self.calls += where == "in forward"
            return self.inner(x) * (self.slope if self.calls < 150 else 2.0)

    def run(compile: Any) -> list[float]:
        learner: Any = mk.MAML(Counting(), 0.05)

        def late(done: int, history: mk.History) -> None:
            learner.model.slope = 2.0 if done >= 40 and where == "by a callback" else 1.0

        settings: Any = {"shots": 4, "meta_batch": 3, "progress": False, "callback": late}
        return mk.meta_train(
            learner, Sinusoid(), iterations=60, compile=compile, **settings
        ).outer_loss

    assert run("auto") == run(False)


@pytest.mark.usefixtures("keen")
def test_a_record_that_does_not_run_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> Any:
        def step(*_: Any) -> Any:
            raise RuntimeError("view size is not compatible")

        return step

    batches = [sinusoids(seed=k, dtype=torch.float32) for k in range(15)]
    expected = trained(mk.MAML(mlp(), 0.05), False, batches)
    monkeypatch.setattr(gradients, "_record", broken)
    assert trained(mk.MAML(mlp(), 0.05), "auto", batches) == expected


def test_a_record_that_differs_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    record = gradients._record

    def wrong(*given: Any) -> Any:
        step = record(*given)
        return lambda batch: [t * (1 + 1e-15) for t in step(batch)]

    monkeypatch.setattr(gradients, "_record", wrong)
    batches = [sinusoids(seed=k) for k in range(15)]
    ends = [trained(MAKERS["MAML"]().double(), how, batches) for how in (False, "auto")]
    assert ends[1] == ends[0]
