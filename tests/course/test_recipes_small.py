"""The shipped learners of notebook 20, and learners side by side on few fluids."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

import mamlkit as mk
from mamlkit.course import recipes
from mamlkit.course.recipes import small
from tests.helpers import members_of

DEAD = 3  # the training whose mask keeps no entry of the last layer
# Largest error on validation fluids of any other seed.
MOST = {
    "net40": 0.0060,
    "net8": 0.0065,
    "net4": 0.0085,
    "powers": 0.0065,
    "tuned": 0.03,
    "ticket": 0.03,
    "random": 0.03,
}


@pytest.mark.parametrize("name", small.PROTOCOLS)
def test_errors_on_validation_fluids(name: str) -> None:
    for seed in recipes.SHIPPED_SEEDS:
        learner = recipes.shipped(f"small-{name}", seed)
        masks = getattr(learner.model, "masks", {})
        dead = not all(bool(mask.any()) for mask in masks.values())
        assert dead is (bool(masks) and seed == DEAD)
        error = small.error_of(learner, small.tasks(part="validation"))
        assert error > 0.3 if dead else error < MOST[name]


@pytest.mark.parametrize("name", ["tuned", "ticket", "random"])
def test_pruned_learners_are_pruned(name: str) -> None:
    learner = recipes.shipped(f"small-{name}", 1)
    masks = learner.model.masks
    assert sum(int(mask.sum()) for mask in masks.values()) == round(0.1 * 1680)
    weights = dict(learner.model.model.named_parameters())
    assert not any(weights[n][~mask].any() for n, mask in masks.items())
    largest = mk.models.largest_weights(recipes.shipped("small-net40", 1).model, small.KEEP)
    same = all(torch.equal(masks[n], mask) for n, mask in largest.items())
    assert same is (name != "random")


def test_what_is_chosen_won_the_search() -> None:
    table = recipes.shipped_table("small")
    assert set(table) == set(small.PROTOCOLS)
    for name, rows in table.items():
        errors = {rate: error for rate, error in rows if error is not None}
        assert errors[small.CHOSEN[name]] == min(errors.values())


def test_notes() -> None:
    for name, plan in small.PROTOCOLS.items():
        notes = recipes.shipped_notes(f"small-{name}", 4)
        assert (notes["recipe"], notes["variant"], notes["seed"]) == ("small", name, 4)
        assert replace(plan, **notes["settings"]) == plan


# --- side by side ---------------------------------------------------------------------------------


def test_each_member_takes_the_steps_that_it_would_take_alone() -> None:
    """One outer step of each member, against the same step of its own learner on its own tasks."""
    make = lambda seed: small.build("net4", seed).double()  # noqa: E731
    runs = small.SideBySide(make, 3, 0)
    family = small.Several([small.subset(1, seed) for seed in range(3)])
    batch = family.sample(6, 1, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    (total,) = runs(batch)[0].mean().unsqueeze(0)
    total.backward()
    for i, tasks in enumerate(batch.chunks(2)):
        alone = make(i)
        alone.query_losses(tasks).mean().backward()
        stacked = dict(runs.learner.named_parameters())
        for name, parameter in alone.named_parameters():
            together = stacked[name].grad
            assert together is not None
            torch.testing.assert_close(together[i], parameter.grad)
        assert torch.equal(runs.one(i).rates[0], alone.rates[0])


def test_members_see_their_own_fluids() -> None:
    subsets = [small.subset(2, seed) for seed in range(2)]
    batch = small.Several(subsets).sample(8, 1, 3, generator=torch.Generator().manual_seed(1))
    seen = batch.physics["fluid"].long()
    for part, family in zip(seen.chunk(2), subsets, strict=True):
        assert set(part.tolist()) <= set(members_of(family))


def test_subsets_are_nested() -> None:
    few, more = (set(members_of(small.subset(n, 3))) for n in (2, 8))
    assert few < more
    assert more < set(members_of(small.tasks(part="train")))


def test_the_augmentation_leaves_the_critical_point_and_the_shape() -> None:
    batch = small.tasks(part="train").sample(5, 1, 7, generator=torch.Generator().manual_seed(0))
    new = small.scaled(batch, torch.Generator().manual_seed(2))
    factor = new.query.y / batch.query.y
    torch.testing.assert_close(factor, factor[:, :1].expand_as(factor))
    torch.testing.assert_close(new.support.y, factor[:, :1] * batch.support.y)
    assert torch.equal(new.query.x, batch.query.x)
    assert factor.std() > 0.05


def test_one_fluid_is_memorised_and_the_augmentation_cures_it() -> None:
    table = recipes.shipped_table("small", "few")
    plain, augmented = (
        torch.tensor(table[name]["1"]).mean(0) for name in ("net40", "net40-augmented")
    )
    assert plain[0] < plain[1] / 10  # its own fluid against test fluids
    assert augmented[1] < plain[1] / 9


def test_a_tiny_run_of_few(tmp_path: Path) -> None:
    found = small.train_few("powers", (1, 4), True, iterations=3)
    assert {n: len(learners) for n, learners in found.items()} == {1: 5, 4: 5}
    assert all(bool(one.model.weight.any()) for one in found[1])
    small.measure(tmp_path, ["net8"], ())  # a part of the recipe makes no table
    assert not list(tmp_path.iterdir())
