"""The shipped networks and heads of notebook 15."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from mamlkit.course import recipes
from mamlkit.course.recipes import laws
from mamlkit.tasks.laws import KNOWN, known
from mamlkit.yardsticks import ByEvidence, KnownLaws

#: Share of right answers on new data sets, (low, high): of each seed.
KNOWN_EXPECTED = {5: (0.58, 0.72), 10: (0.67, 0.80), 20: (0.73, 0.86), 40: (0.76, 0.89)}


def bank(n: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    sets = torch.cat([known(n).sets(law, 60, generator) for law in KNOWN])
    return sets, torch.arange(6).repeat_interleave(60)


@pytest.mark.parametrize("n", laws.POINTS)
def test_networks_for_known_laws(n: int) -> None:
    sets, law = bank(n)
    low, high = KNOWN_EXPECTED[n]
    for seed in recipes.SHIPPED_SEEDS:
        with torch.no_grad():
            found = recipes.shipped(f"laws-known-{n}", seed).double().model(sets)
        assert low < float((found.argmax(1) == law).double().mean()) < high


@pytest.mark.parametrize("seed", recipes.SHIPPED_SEEDS)
def test_heads_by_evidence(seed: int) -> None:
    sets, law = bank(5)
    heads = [recipes.shipped(f"laws-head-{name}", seed).double() for name in KNOWN]
    right = (ByEvidence(heads).scores(sets).argmax(1) == law).double().mean()
    bayes = (KnownLaws().scores(sets).argmax(1) == law).double().mean()
    assert 0.55 < float(right) < float(bayes)


@pytest.mark.parametrize("fold", range(4))
@pytest.mark.parametrize("kind", ["prototypes", "ridge"])
def test_laws_seen_and_unseen(kind: str, fold: int) -> None:
    name, right = f"{kind}-{fold}", {}
    learner = recipes.shipped(f"laws-{name}")
    for part in ("train", "test"):
        generator = torch.Generator().manual_seed(1)
        batch = laws.tasks(f"{name}", part).sample(40, 5, 5, generator=generator)
        found = [learner.adapt(*batch.task(i).support)(batch.query.x[i]) for i in range(40)]
        hit = torch.stack(found).argmax(-1) == batch.query.y
        right[part] = float(hit.double().mean())
    assert right["train"] > 0.75
    assert 0.4 < right["test"] < 0.99


@pytest.mark.parametrize("name", laws.PROTOCOLS)
def test_notes_of_the_laws(name: str) -> None:
    for seed in recipes.SHIPPED_SEEDS:
        notes = recipes.shipped_notes(f"laws-{name}", seed)
        assert (notes["recipe"], notes["variant"], notes["seed"]) == ("laws", name, seed)
        assert replace(laws.PROTOCOLS[name], **notes["settings"]) == laws.PROTOCOLS[name]
        assert notes["outer_loss"][-1] < notes["outer_loss"][0]


def test_data_sets_in_units() -> None:
    sets = torch.tensor([[[0.0, 3.0], [1.0, -3.0]]])
    found = laws.InUnits()(sets)
    assert found.shape == (1, 2, 3)
    torch.testing.assert_close(found[0, :, 0], torch.tensor([-3.0, 3.0]))
    torch.testing.assert_close(found[0, :, 2], torch.tensor([1.0, -1.0]), rtol=1e-3, atol=0)
