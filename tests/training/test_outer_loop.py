"""What a reader may put in place of Adam, the schedule, the tasks and the end of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import mamlkit as mk
from tests.helpers import assert_same_state, mlp, seeded

FAMILY = mk.tasks.Sinusoid()
RUN: dict[str, Any] = {"shots": 4, "queries": 5, "meta_batch": 3, "progress": False, "seed": 5}


def learner(**settings: Any) -> mk.MAML:
    return mk.MAML(mlp(), 0.05, 2, **{"learn_lr": "tensor", **settings})


def two_rates(parameters: dict[str, Tensor]) -> torch.optim.Optimizer:
    """Momentum; step sizes of the inner loop learn ten times slower, and do not decay."""
    rates = [p for name, p in parameters.items() if name.startswith("rates")]
    rest = [p for name, p in parameters.items() if not name.startswith("rates")]
    groups = [{"params": rest, "weight_decay": 0.1}, {"params": rates, "lr": 0.001}]
    return torch.optim.SGD(groups, lr=0.01, momentum=0.9)


def halved(done: int) -> float:
    return 0.5**done


def test_an_optimiser_and_a_schedule_of_ones_own() -> None:
    """The same as the loop written by hand."""
    trained, by_hand = learner(), learner()
    history = mk.meta_train(
        trained, FAMILY, iterations=4, optimiser=two_rates, schedule=halved, **RUN
    )
    optimiser = two_rates(dict(by_hand.named_parameters()))
    generator = seeded(5)
    for done in range(4):
        batch = FAMILY.sample(3, 4, 5, generator=generator, dtype=torch.float64)
        optimiser.zero_grad()
        by_hand(batch)[0].mean().backward()
        for group, rate in zip(optimiser.param_groups, (0.01, 0.001), strict=True):
            group["lr"] = rate * 0.5**done
        optimiser.step()
    assert_same_state(trained, by_hand)
    assert history.learning_rate == [0.01 * 0.5**done for done in range(4)]
    assert "SGD" in history.settings["optimiser"]
    assert history.settings["schedule"] == "halved"


def turned(batch: mk.TaskBatch, generator: torch.Generator) -> mk.TaskBatch:
    """Each task, or its mirror image: y to -y."""
    sign = torch.randint(0, 2, (len(batch.support.y), 1, 1), generator=generator) * 2.0 - 1
    support, query = (part._replace(y=sign.to(part.y) * part.y) for part in batch[:2])
    return batch._replace(support=support, query=query)


def adamw(parameters: dict[str, Tensor]) -> torch.optim.Optimizer:
    return torch.optim.AdamW(parameters.values(), lr=0.01, weight_decay=0.1)


def test_a_run_with_all_of_them_resumes_bit_for_bit(tmp_path: Path) -> None:
    own: dict[str, Any] = {"optimiser": adamw, "schedule": halved, "augment": turned, **RUN}
    straight, stopped = learner(), learner()
    mk.meta_train(straight, FAMILY, iterations=6, **own)
    path = tmp_path / "run"
    mk.meta_train(stopped, FAMILY, iterations=3, checkpoint=path, **own)
    again = learner()
    mk.meta_train(again, FAMILY, iterations=6, checkpoint=path, **own)
    assert_same_state(again, straight)
    with pytest.raises(mk.MamlkitError, match="other settings: optimiser"):
        mk.meta_train(
            learner(), FAMILY, iterations=6, checkpoint=path, **{**own, "optimiser": None}
        )
    with pytest.raises(mk.MamlkitError, match="other settings: augment"):
        mk.meta_train(learner(), FAMILY, iterations=6, checkpoint=path, **{**own, "augment": None})


def test_augmented_tasks_are_what_is_trained_on() -> None:
    seen: list[Tensor] = []

    def kept(batch: mk.TaskBatch, generator: torch.Generator) -> mk.TaskBatch:
        batch = turned(batch, generator)
        seen.append(batch.support.y.clone())
        return batch

    mk.meta_train(learner(), FAMILY, iterations=1, augment=kept, **RUN)
    generator = seeded(5)
    plain = FAMILY.sample(3, 4, 5, generator=generator, dtype=torch.float64)
    assert torch.equal(seen[-1], turned(plain, generator).support.y)
    assert torch.equal(seen[-1].abs(), plain.support.y.abs())
    assert not torch.equal(seen[-1], plain.support.y)


@pytest.mark.parametrize(
    ("optimiser", "told"),
    [
        (torch.optim.Adam(mlp().parameters()), "must be a function of the meta-parameters"),
        (lambda parameters: None, "must be a function of the meta-parameters"),
        (lambda parameters: torch.optim.SGD(list(parameters.values())[1:], 0.1), "it lacks"),
        (lambda _: torch.optim.SGD(mlp().parameters(), 0.1), "it lacks"),
        (lambda p: torch.optim.SGD([*p.values(), torch.zeros(1)], 0.1), "holds 1 other"),
        (lambda parameters: torch.optim.LBFGS(parameters.values()), "several times a step"),
    ],
)
def test_an_optimiser_that_does_not_fit(optimiser: Any, told: str) -> None:
    with pytest.raises(mk.MamlkitError, match=told):
        mk.meta_train(learner(), FAMILY, iterations=1, optimiser=optimiser, **RUN)


def test_a_schedule_that_gives_no_factor() -> None:
    with pytest.raises(mk.MamlkitError, match="the factor of the schedule must be a finite number"):
        mk.meta_train(learner(), FAMILY, iterations=1, schedule=lambda done: -1.0, **RUN)


def test_patience_ends_a_run(tmp_path: Path, capsys: Any) -> None:
    """Where each step makes it worse, the first validation is the best and its weights are kept."""
    runaway: dict[str, Any] = {
        "optimiser": lambda p: torch.optim.SGD(p.values(), lr=0.5, maximize=True),
        "validation": FAMILY,
        "validation_tasks": 4,
        "validate_every": 2,
        "patience": 3,
        **RUN,
    }
    trained, path = learner(learn_lr=None), tmp_path / "run"
    history = mk.meta_train(trained, FAMILY, iterations=100, checkpoint=path, **runaway)
    losses = history.validation_loss
    assert history.validation_iteration == [2, 4, 6, 8][: len(losses)]
    assert losses.index(min(losses)) == len(losses) - 4
    assert not history.interrupted
    assert "3 validations brought nothing better: ended at" in capsys.readouterr().out
    again = learner(learn_lr=None)  # resumed, it is still over
    same = mk.meta_train(again, FAMILY, iterations=100, checkpoint=path, **runaway)
    assert same.validation_loss == losses
    assert_same_state(again, trained)
    with pytest.raises(mk.MamlkitError, match="there is no validation family"):
        mk.meta_train(learner(), FAMILY, iterations=1, patience=2, **RUN)
    with pytest.raises(mk.MamlkitError, match="patience must be a whole number"):
        mk.Plan(patience=0)


def test_a_callback_sees_each_iteration_and_may_end_the_run() -> None:
    seen: list[tuple[int, int]] = []

    def look(done: int, history: mk.History) -> bool:
        seen.append((done, len(history.outer_loss)))
        return done == 3

    history = mk.meta_train(learner(), FAMILY, iterations=10, callback=look, **RUN)
    assert seen == [(1, 1), (2, 2), (3, 3)]
    assert history.interrupted
    assert len(history.outer_loss) == 3
