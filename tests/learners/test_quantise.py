"""Whole numbers in place of real ones, and weights that are masked."""

from __future__ import annotations

import copy
from itertools import pairwise
from pathlib import Path

import pytest
import torch

import mamlkit as mk
from mamlkit.learners.quantise import Quantised, grid_of, whole
from mamlkit.models import Pruned, largest_weights
from tests.helpers import F64, mlp, normal, one_task, sinusoids


def learner(**more: object) -> mk.MAML:
    return mk.MetaSGD(mlp(), 0.05, 2, **more)


# --- grids ----------------------------------------------------------------------------------------


def test_a_grid_a_row_and_no_entry_off_by_more_than_half_a_spacing() -> None:
    weight = normal(3, 7, seed=1) * torch.tensor([[1.0], [100.0], [0.01]], dtype=F64)
    spacing = grid_of(weight, 6)
    numbers = whole(weight, spacing, 6)
    assert spacing.shape == (3, 1)
    torch.testing.assert_close(numbers.abs().amax(1), torch.full((3,), 31.0, dtype=F64))
    assert torch.equal(numbers, numbers.round())
    assert ((spacing * numbers - weight).abs() <= spacing / 2 * (1 + 1e-12)).all()


def test_a_row_of_zeros_and_a_vector() -> None:
    assert torch.equal(grid_of(torch.zeros(2, 3)), torch.ones(2, 1))
    assert grid_of(torch.tensor([1.0, -12.7])).item() == pytest.approx(0.1)
    assert whole(torch.tensor([300.0]), torch.ones(1, 1)).item() == 127


def test_quantised_comes_as_close_as_its_bits() -> None:
    support, query = one_task(sinusoids(shots=5))
    full = learner().adapt(*support)(query.x)
    errors = [
        (Quantised(learner(), bits).adapt(*support)(query.x) - full).abs().mean()
        for bits in (4, 8, 12, 16)
    ]
    for worse, better in pairwise(errors):
        assert better < worse / 4
    assert errors[-1] < 1e-3 * full.abs().mean()


def test_what_has_grown_saturates_on_the_grid_of_the_start() -> None:
    """A step from 1 to 3: on the start's grid it ends at 1."""
    model = torch.nn.Linear(1, 1, bias=False, dtype=F64)
    torch.nn.init.ones_(model.weight)
    x = torch.ones(1, 1, dtype=F64)
    moved = {
        grid: Quantised(mk.MAML(model, 0.5), 8, grid).adapt(x, 3 * x).weights["weight"].item()
        for grid in ("own", "start")
    }
    assert moved == pytest.approx({"own": 3.0, "start": 1.0})


def test_bytes_are_counted() -> None:
    model = mk.models.Powers(3)
    assert Quantised(mk.MetaSGD(model, 0.1)).size == 6 + 8  # numbers, and a scale for each row
    assert Quantised(mk.MetaSGD(model, 0.1), 4).size == 2 + 2 + 8


def test_quantised_is_saved_and_its_learner_left_alone(tmp_path: Path) -> None:
    mine, (support, query) = learner(), one_task(sinusoids())
    before = [p.clone() for p in mine.parameters()]
    small = Quantised(mine, 5)
    assert all(torch.equal(a, b) for a, b in zip(before, mine.parameters(), strict=True))
    mk.save(small, tmp_path / "small.npz")
    again = mk.load(tmp_path / "small.npz")
    assert torch.equal(again.adapt(*support)(query.x), small.adapt(*support)(query.x))


def test_what_cannot_be_quantised() -> None:
    with pytest.raises(mk.MamlkitError, match="start and steps, which RidgeHead has not"):
        Quantised(mk.RidgeHead(mlp()))
    with pytest.raises(mk.MamlkitError, match="bits"):
        Quantised(learner(), 1)


# --- masks ----------------------------------------------------------------------------------------


def pruned(keep: float = 0.3) -> Pruned:
    return Pruned(mlp(), largest_weights(mlp(), keep))


def masked(model: Pruned, weights: dict[str, torch.Tensor]) -> torch.Tensor:
    """What stands where a mask is False, in a row."""
    return torch.cat([weights[f"model.{n}"][~mask] for n, mask in model.masks.items()])


def test_the_largest_are_kept() -> None:
    model, whole_model = pruned(), mlp()
    sizes = {n: w.detach().abs() for n, w in whole_model.named_parameters() if w.ndim > 1}
    kept = torch.cat([sizes[n][mask] for n, mask in model.masks.items()])
    gone = torch.cat([sizes[n][~mask] for n, mask in model.masks.items()])
    assert len(kept) == round(0.3 * (len(kept) + len(gone)))
    assert kept.min() > gone.max()
    x = normal(4, 1)
    zeroed = {n: w * model.masks.get(n, 1) for n, w in whole_model.named_parameters()}
    torch.testing.assert_close(model(x), torch.func.functional_call(whole_model, zeroed, (x,)))


@pytest.mark.parametrize(
    "settings",
    [
        {"learn_lr": "element"},
        {"adapt": "head"},
        {"learn_lr": "matrix"},
        {"rule": mk.learners.adam(), "penalty": 0.1},
    ],
)
def test_the_inner_loop_does_not_move_what_is_masked(settings: dict[str, object]) -> None:
    learner = mk.MAML(pruned(), 0.05, 3, **settings)
    support, query = one_task(sinusoids())
    adapted = learner.adapt(*support)
    kept = {n: w * learner.model.masks.get(n.removeprefix("model."), 1)
            for n, w in adapted.weights.items()}  # fmt: skip
    expected = torch.func.functional_call(
        mlp(), {n.removeprefix("model."): w for n, w in kept.items()}, (query.x,)
    )
    torch.testing.assert_close(adapted(query.x), expected)
    if settings.get("learn_lr") != "matrix":  # which moves them where nobody looks
        assert not masked(learner.model, adapted.weights).any()
    assert (adapted.losses[1:] != adapted.losses[0]).all()


@pytest.mark.parametrize("compile", [False, "capture"])
def test_masks_survive_training_copies_and_files(compile: bool | str, tmp_path: Path) -> None:
    learner = mk.MetaSGD(pruned(), 0.05)
    settings = {"shots": 4, "queries": 5, "meta_batch": 3, "iterations": 4, "outer_lr": 0.01}
    before = {n: m.clone() for n, m in learner.model.masks.items()}
    family = mk.tasks.Sinusoid(noise=0.1)
    history = mk.meta_train(learner, family, progress=False, compile=compile, **settings)
    assert history.outer_loss[-1] != history.outer_loss[0]
    mk.save_learner(learner, tmp_path / "pruned.npz")
    for same in (learner, copy.deepcopy(learner), mk.load(tmp_path / "pruned.npz")):
        for name, mask in before.items():
            assert torch.equal(same.model.masks[name], mask)
        assert not masked(same.model, dict(same.model.named_parameters())).any()


def test_masks_that_do_not_fit() -> None:
    with pytest.raises(mk.MamlkitError, match=r"there is a mask of shape \[2\] for 'layers.7'"):
        Pruned(mlp(), {"layers.7": torch.ones(2)})
    with pytest.raises(mk.MamlkitError, match="share of weights that stay"):
        largest_weights(mlp(), 0.0)
