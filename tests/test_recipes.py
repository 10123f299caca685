"""The shipped weights load, are what their notes say, and score what notebook 04 reports; a tiny
run of the recipe works and resumes.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import mamlkit as mk
from mamlkit import recipes
from mamlkit.tasks.sinusoid import FINN_2017

# On 600 new tasks of 10 shots: mean query loss after 1 inner step, median after 10: (low, high).
# The mean after 10 steps is no number where single tasks diverge (ANIL, Meta-SGD).
EXPECTED = {
    "maml": ((0.32, 0.42), (0.04, 0.07)),
    "fomaml": ((0.40, 0.62), (0.05, 0.09)),
    "anil": ((0.69, 0.89), (0.06, 0.11)),
    "metasgd": ((0.19, 0.28), (0.06, 2.5)),
    "pooled": ((2.3, 2.8), (0.7, 1.2)),
}


def losses(learner: mk.MAML, steps: int = 10) -> torch.Tensor:
    family = mk.tasks.Sinusoid()
    return mk.evaluate(learner, family, 10, steps=steps, n_tasks=600, seed=1).losses


@pytest.mark.parametrize("seed", recipes.SHIPPED_SEEDS)
@pytest.mark.parametrize("name", recipes.LEARNERS)
def test_shipped_weights_score_what_the_notebook_says(name: str, seed: int) -> None:
    learner = recipes.shipped(f"finn2017-{name}", seed).double()
    after = losses(learner).nan_to_num(nan=torch.inf)
    for value, (low, high) in zip(
        (after[:, 1].mean(), after[:, 10].median()), EXPECTED[name], strict=True
    ):
        assert low < value < high


@pytest.mark.parametrize("seed", recipes.SHIPPED_SEEDS)
def test_the_order_after_one_step_is_the_same_for_every_seed(seed: int) -> None:
    one = {
        name: losses(recipes.shipped(f"finn2017-{name}", seed).double(), 1)[:, 1].mean()
        for name in recipes.LEARNERS
    }
    assert sorted(one, key=lambda name: one[name]) == [
        "metasgd",
        "maml",
        "fomaml",
        "anil",
        "pooled",
    ]


@pytest.mark.parametrize("seed", recipes.SHIPPED_SEEDS)
@pytest.mark.parametrize("name", recipes.LEARNERS)
def test_notes_say_how_the_weights_were_made(name: str, seed: int) -> None:
    notes = recipes.shipped_notes(f"finn2017-{name}", seed)
    assert notes["recipe"] == "finn2017"
    assert (notes["variant"], notes["seed"]) == (name, seed)
    assert notes["settings"] == FINN_2017
    assert "amplitude=(0.1, 5.0)" in notes["protocol"]["family"]
    assert notes["protocol"]["dtype"] == "torch.float32"
    assert set(notes["versions"]) == {"python", "mamlkit", "torch", "numpy"}
    assert len(notes["outer_loss"]) == 70
    assert notes["outer_loss"][-1] < notes["outer_loss"][0]
    assert notes["seconds"] > 0


def test_float32_and_float64_agree_after_one_step() -> None:
    single = recipes.shipped("finn2017-maml")
    double = recipes.shipped("finn2017-maml").double()
    assert torch.allclose(losses(single, 1).mean(0), losses(double, 1).mean(0), rtol=5e-4)


def test_the_weights_are_small_files() -> None:
    folder = Path(recipes.__file__).parent / "weights"
    files = sorted(folder.glob("*.pt"))
    assert len(files) == len(recipes.LEARNERS) * len(recipes.SHIPPED_SEEDS)
    assert all(file.stat().st_size < 50_000 for file in files)


def test_a_tiny_run_saves_learners_with_notes_and_resumes(tmp_path: Path) -> None:
    settings = {"learners": ("maml", "pooled"), "seeds": (5,), "compile": False, "progress": False}
    recipes.finn2017(tmp_path, iterations=2, **settings)  # type: ignore[arg-type]
    recipes.finn2017(tmp_path, iterations=4, **settings)  # type: ignore[arg-type]
    again = recipes.finn2017_learner("maml", 5)
    notes = mk.load_learner(again, tmp_path / "finn2017-maml-5.pt")
    assert notes["settings"]["iterations"] == 4
    assert notes["seed"] == 5
    assert len(notes["outer_loss"]) == 4
    straight = recipes.finn2017_learner("maml", 5)
    mk.meta_train(straight, mk.tasks.Sinusoid(), 10, iterations=4, seed=5, progress=False)
    assert torch.equal(again.model.layers[0].weight, straight.model.layers[0].weight)  # type: ignore[union-attr,index]
    assert (tmp_path / "finn2017-pooled-5.pt").exists()


def test_the_recipe_is_listed_for_the_command_line() -> None:
    assert recipes.RECIPES["finn2017"] is recipes.finn2017


@pytest.mark.parametrize(
    ("name", "seed"), [("finn2017-reptile", 0), ("maml", 0), ("finn2017-maml", 99), ("", 0)]
)
def test_unknown_weights_are_named_in_the_message(name: str, seed: int) -> None:
    with pytest.raises(mk.MamlkitError, match="ships with mamlkit; choose a name from"):
        recipes.shipped(name, seed)
    with pytest.raises(mk.MamlkitError, match="ships with mamlkit; choose a name from"):
        recipes.shipped_notes(name, seed)


def test_unknown_learner_and_bad_iterations(tmp_path: Path) -> None:
    with pytest.raises(mk.MamlkitError, match="there is no learner 'cavia' in finn2017"):
        recipes.finn2017_learner("cavia")
    with pytest.raises(mk.MamlkitError, match="iterations must be a whole number"):
        recipes.finn2017(tmp_path, iterations=0)
