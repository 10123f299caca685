"""Numbers that are not finite never pass in silence: in data, in validation, in tuning."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

import mamlkit as mk
from tests.helpers import F64


class Broken(mk.tasks.Sinusoid):
    """A family with a sample() of its own; in its last task a reading failed."""

    def __init__(self, part: str = "query", after: int = 0) -> None:
        super().__init__()
        self._part, self._after = part, after

    def sample(self, *given: Any, **more: Any) -> mk.TaskBatch:
        batch = super().sample(*given, **more)
        self._after -= 1
        if self._after < 0:
            getattr(batch, self._part).y[-1, 0] = torch.nan
        return batch


def learner() -> mk.MAML:
    return mk.MAML(mk.models.MLP(1, 1, (5,)).double(), 0.01)


SHORT: dict[str, Any] = {"meta_batch": 3, "iterations": 3, "progress": False}
USES: dict[str, Callable[[mk.Family], Any]] = {
    "train": lambda family: mk.meta_train(learner(), family, 4, **SHORT),
    "validate": lambda family: mk.meta_train(
        learner(), mk.tasks.Sinusoid(), 4, validation=family, validation_tasks=3, **SHORT
    ),
    "evaluate": lambda family: mk.evaluate(learner(), family, 4, n_tasks=3),
    "compare": lambda family: mk.compare({"r": mk.yardsticks.Ridge()}, family, 4, n_tasks=3),
    "tune": lambda family: mk.tune(learner(), family, 4, n_tasks=3),
    "query losses": lambda family: learner().query_losses(family.sample(3, 4, dtype=F64)),
    "episodes": lambda family: learner().episodes(family.sample(3, 4, dtype=F64)),
}


@pytest.mark.parametrize("part", ["support", "query"])
@pytest.mark.parametrize("use", USES)
def test_a_reading_that_is_not_finite_names_its_task(use: str, part: str) -> None:
    with pytest.raises(
        mk.MamlkitError, match=rf"not finite in y of the {part} of task 2, with \{{"
    ):
        USES[use](Broken(part))


def test_a_validation_that_is_never_finite_says_so() -> None:
    class Judged(mk.MAML):
        def query_losses(self, batch: mk.TaskBatch, steps: int | None = None) -> torch.Tensor:
            return super().query_losses(batch, steps) * torch.inf

    a = Judged(mk.models.MLP(1, 1, (5,)).double())
    with pytest.warns(mk.MamlkitWarning, match="no validation loss was finite"):
        mk.meta_train(a, mk.tasks.Sinusoid(), 4, validation=mk.tasks.Sinusoid(), **SHORT)


@pytest.mark.parametrize("rates", [(1e9, 1e12), (1e160, 1e200)])
def test_tuning_that_finds_no_step_says_so(rates: tuple[float, ...]) -> None:
    a, settings = learner(), {"n_tasks": 3, "inner_lr": rates}
    with pytest.warns(mk.MamlkitWarning, match=r"no step of any size .* will not adapt"):
        mk.tune(a, mk.tasks.Sinusoid(), 4, **settings)
    assert a.inner_steps == 0
    mk.tune(a, mk.tasks.Sinusoid(), 4, max_steps=0, n_tasks=3)  # as was asked
    with torch.no_grad():
        a.model.get_parameter("layers.0.weight").fill_(torch.nan)
    with pytest.raises(mk.MamlkitError, match="not even before the first step"):
        mk.tune(a, mk.tasks.Sinusoid(), 4, **settings)


def test_the_solution_of_an_equation_may_be_unknown() -> None:
    batch = mk.tasks.Burgers(exact=False).sample(2, 5, 5, dtype=F64)
    assert batch.support.y.isnan().all()
    loss = mk.physics.pde.residual_loss(mk.physics.pde.burgers)
    a = mk.MAML(mk.models.MLP(3, 1, (5,)).double(), 0.01, loss=loss)
    assert torch.isfinite(a.query_losses(batch)).all()


@pytest.mark.parametrize("part", ["support", "query"])
def test_data_that_fail_later_in_a_run_are_named(part: str) -> None:
    """And it is not the learning rate that is blamed."""
    with pytest.raises(mk.MamlkitError, match=f"not finite in y of the {part} of task 2") as told:
        mk.meta_train(learner(), Broken(part, after=2), 4, **SHORT)
    assert "outer_lr" not in str(told.value)
