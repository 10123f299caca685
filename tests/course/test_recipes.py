"""The shipped weights load, are what their notes say, and score what notebook 04 reports; a tiny
run of the recipe works and resumes.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import mamlkit as mk
from mamlkit.course import recipes
from mamlkit.course.recipes import bands, family, finn2017
from mamlkit.course.recipes.base import SEARCH_SEED, WEIGHTS, Recipe, tuned
from mamlkit.course.recipes.packs import read_json, write_json
from mamlkit.tasks.sinusoid import FINN_2017
from tests.helpers import assert_same_state

# On 600 new tasks of 10 shots: mean query loss after 1 inner step, median after 10: (low, high).
# The mean after 10 steps is no number where single tasks diverge (ANIL, Meta-SGD).
EXPECTED = {
    "maml": ((0.32, 0.42), (0.04, 0.07)),
    "fomaml": ((0.40, 0.62), (0.05, 0.09)),
    "anil": ((0.69, 0.89), (0.06, 0.11)),
    "metasgd": ((0.19, 0.28), (0.06, 2.5)),
    "pooled": ((2.3, 2.8), (0.7, 1.2)),
}


FAMILY_NAMES = [(problem, name) for problem in family.CHOSEN for name in family.CHOSEN[problem]]
# Mean error on test tasks of any seed: (low, high). Sinusoids: 100 tasks, squared; fluids: RMSE.
FAMILY_EXPECTED = {
    ("sinusoid", "maml"): (0.08, 0.30),
    ("sinusoid", "modulate"): (0.003, 0.04),
    ("sinusoid", "ridge"): (0.0008, 0.004),
    ("sinusoid", "pooled"): (0.9, 2.5),
    ("fluids", "cavia"): (0.0025, 0.0042),
    ("fluids", "coda"): (0.0022, 0.0035),
    ("fluids", "fomaml"): (0.02, 0.07),
    ("fluids", "ridge"): (0.009, 0.012),
}


def losses(learner: mk.MAML, steps: int = 10) -> torch.Tensor:
    sines = mk.tasks.Sinusoid()
    return mk.evaluate(learner, sines, 10, steps=steps, n_tasks=600, seed=1).losses


@pytest.mark.parametrize("seed", recipes.SHIPPED_SEEDS)
@pytest.mark.parametrize("name", finn2017.PROTOCOLS)
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
        for name in finn2017.PROTOCOLS
    }
    assert sorted(one, key=lambda name: one[name]) == [
        "metasgd",
        "maml",
        "fomaml",
        "anil",
        "pooled",
    ]


@pytest.mark.parametrize("seed", recipes.SHIPPED_SEEDS)
@pytest.mark.parametrize("name", finn2017.PROTOCOLS)
def test_notes_say_how_the_weights_were_made(name: str, seed: int) -> None:
    notes = recipes.shipped_notes(f"finn2017-{name}", seed)
    assert notes["recipe"] == "finn2017"
    assert (notes["variant"], notes["seed"]) == (name, seed)
    assert notes["settings"].items() >= FINN_2017.items()
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


def test_the_weights_are_two_small_files_a_recipe_with_whole_sets_of_seeds() -> None:
    files = sorted(file for file in WEIGHTS.iterdir() if file.is_file())
    assert {file.name for file in files} == {
        f"{name}.{ending}" for name in recipes.RECIPES for ending in ("npz", "json")
    }
    assert sum(file.stat().st_size for file in files) < 7_000_000
    for recipe in recipes.RECIPES.values():
        entries = json.loads((WEIGHTS / f"{recipe.name}.json").read_text())["learners"]
        assert list(entries) == list(recipe.protocols)
        assert all(entry["seeds"] == list(recipes.SHIPPED_SEEDS) for entry in entries.values())
        with np.load(WEIGHTS / f"{recipe.name}.npz", allow_pickle=False) as arrays:
            assert {key.partition("/")[0] for key in arrays.files} == set(entries)
            weights = np.float16 if recipe.half else np.float32
            kinds = (weights, np.bool_)  # and masks
            assert all(array.dtype in kinds for array in arrays.values())
            assert all(len(array) == len(recipes.SHIPPED_SEEDS) for array in arrays.values())


@pytest.mark.parametrize("recipe", recipes.RECIPES.values(), ids=list(recipes.RECIPES))
def test_each_learner_is_described_as_it_is_built(recipe: Recipe) -> None:
    entries = json.loads((WEIGHTS / f"{recipe.name}.json").read_text())["learners"]
    for name, entry in entries.items():
        learner = recipe.build(name)
        assert learner.extra_repr() == entry["described"]
        assert repr(learner) == "\n".join(entry["description"])


@pytest.mark.parametrize("seed", recipes.SHIPPED_SEEDS)
@pytest.mark.parametrize(("problem", "name"), FAMILY_EXPECTED)
def test_the_family_scores_what_the_notebook_says(problem: str, name: str, seed: int) -> None:
    learner = recipes.shipped(f"family-{problem}-{name}", seed).double()
    sines = problem == "sinusoid"
    curve = mk.evaluate(
        learner,
        family.tasks(problem, "test"),
        family.PROTOCOLS[problem].shots,
        n_tasks=100 if sines else None,
        loss=None if sines else mk.losses.rmse,
    )
    low, high = FAMILY_EXPECTED[problem, name]
    assert low < float(curve.mean[-1]) < high


@pytest.mark.parametrize(("problem", "name"), FAMILY_NAMES)
def test_the_family_loads_with_notes_and_its_own_inner_steps(problem: str, name: str) -> None:
    for seed in recipes.SHIPPED_SEEDS:
        notes = recipes.shipped_notes(f"family-{problem}-{name}", seed)
        learner = recipes.shipped(f"family-{problem}-{name}", seed)
        run = f"{problem}-{name}"
        assert (notes["recipe"], notes["variant"], notes["seed"]) == ("family", run, seed)
        plan = family.RECIPE.protocols[run]
        assert plan.iterations == family.PROTOCOLS[problem].iterations // family.FEWER.get(name, 1)
        assert replace(plan, **notes["settings"]) == plan
        if (
            name != "reptile"
        ):  # its loss is looked at, not descended; a task of the batch may diverge
            assert notes["outer_loss"][-1] < notes["outer_loss"][0]
        for setting, value in notes["tuned"].items():
            assert getattr(learner, setting) == value


def test_a_tiny_run_of_the_family_saves_what_loads(tmp_path: Path) -> None:
    names = ("fluids-cavia", "fluids-imaml")
    family.RECIPE.run(tmp_path, names=names, seeds=(6,), iterations=2, progress=False)
    for name in names:
        again = family.build(name, 6)
        notes = mk.load_learner(again, tmp_path / f"family-{name}-6.npz")
        assert notes["settings"]["iterations"] == len(notes["outer_loss"]) == 2
    assert notes["tuned"] == {}  # the last, implicit MAML, has no step size


def test_the_search_tries_each_value_goes_on_where_it_was_and_notes_failure(
    tmp_path: Path,
) -> None:
    path = tmp_path / "family-search.json"
    path.write_text(json.dumps({"fluids-maml": [[0.003, 7.0], [0.01, 7.0]]}))
    trials = [{"value": value} for value in (0.003, 0.01, 0.03, 1e30)]
    recipe = replace(family.RECIPE, trials={"fluids-maml": trials})
    recipe.search(tmp_path, iterations=2, progress=False)
    *kept, tried, failed = json.loads(path.read_text())["fluids-maml"]
    assert kept == [[0.003, 7.0], [0.01, 7.0]]
    assert tried[0] == 0.03
    assert 0 < tried[1] < 1
    assert failed == [1e30, None]


def test_what_is_chosen_won_the_search() -> None:
    table = recipes.shipped_table("family")
    assert {*table} == {f"{p}-{name}" for p, name in FAMILY_NAMES if name != "pooled"}
    for run, rows in table.items():
        problem, name = run.split("-")
        values = family.PENALTIES if name in family.SOLVED else family.STEP_SIZES
        assert tuple(value for value, _ in rows) == values
        best = min((error, value) for value, error in rows if error is not None)
        assert family.CHOSEN[problem][name] == best[1]


def test_a_learner_that_a_problem_does_not_have() -> None:
    with pytest.raises(mk.MamlkitError, match="there is no run 'anywhere-imaml' in family"):
        family.build("anywhere-imaml")


def test_a_tiny_run_saves_learners_with_notes_and_resumes(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"names": ("maml", "pooled"), "compile": False, "progress": False}
    finn2017.RECIPE.run(tmp_path, seeds=(5,), iterations=2, **settings)
    finn2017.RECIPE.run(tmp_path, seeds=(5,), iterations=4, **settings)
    again = finn2017.build("maml", 5)
    notes = mk.load_learner(again, tmp_path / "finn2017-maml-5.npz")
    assert notes["settings"]["iterations"] == 4
    assert notes["seed"] == 5
    assert len(notes["outer_loss"]) == 4
    straight = finn2017.build("maml", 5)
    mk.meta_train(straight, mk.tasks.Sinusoid(), 10, iterations=4, seed=5, progress=False)
    assert_same_state(again, straight)
    assert (tmp_path / "finn2017-pooled-5.npz").exists()


def test_the_recipe_is_listed_for_the_command_line() -> None:
    assert recipes.COMMANDS["bands"][1] == bands.RECIPE.run
    assert recipes.COMMANDS["family-search"][1] == family.RECIPE.search
    assert "bands-search" not in recipes.COMMANDS


@pytest.mark.parametrize(
    ("name", "seed"), [("finn2017-reptile", 0), ("maml", 0), ("finn2017-maml", 99), ("", 0)]
)
def test_unknown_weights_are_named_in_the_message(name: str, seed: int) -> None:
    with pytest.raises(mk.MamlkitError, match="ships with mamlkit; choose a name from"):
        recipes.shipped(name, seed)
    with pytest.raises(mk.MamlkitError, match="ships with mamlkit; choose a name from"):
        recipes.shipped_notes(name, seed)


def test_unknown_tables_and_searches_are_named_in_the_message(tmp_path: Path) -> None:
    with pytest.raises(mk.MamlkitError, match="recipe='fluids' is not known; choose from"):
        recipes.shipped_table("fluids")
    with pytest.raises(mk.MamlkitError, match="table='refined' is not known; choose from"):
        recipes.shipped_table("family", "refined")
    with pytest.raises(mk.MamlkitError, match="the recipe bands searches nothing"):
        bands.RECIPE.search(tmp_path)


def test_unknown_learner_and_bad_iterations(tmp_path: Path) -> None:
    with pytest.raises(mk.MamlkitError, match="there is no run 'cavia' in finn2017"):
        finn2017.build("cavia")
    with pytest.raises(mk.MamlkitError, match="iterations must be a whole number"):
        finn2017.RECIPE.run(tmp_path, iterations=0)
    with pytest.raises(mk.MamlkitError, match="there is no run 'cavia' in finn2017"):
        finn2017.RECIPE.run(tmp_path, names=["cavia"])


def test_a_short_run_is_packed_and_loaded_back(tmp_path: Path) -> None:
    recipe, settings = bands.RECIPE, {"names": ("waves-head", "fluids-ensemble"), "iterations": 2}
    recipe.run(tmp_path, seeds=(9,), progress=False, **settings)
    recipe.run(tmp_path, seeds=(10,), progress=False, **settings)  # joins what is there
    for name in ("waves-head", "fluids-ensemble"):
        for seed in (9, 10):  # in the folder, 10 comes before 9
            learner, notes = recipe.load(name, seed, tmp_path)
            saved = recipe.build(name, seed)
            assert notes == mk.load_learner(saved, tmp_path / f"bands-{name}-{seed}.npz")
            assert notes["seed"] == seed
            assert_same_state(learner, saved)
    with pytest.raises(mk.MamlkitError, match="holds no 'waves-head' with seed 0"):
        recipe.load("waves-head", 0, tmp_path)
    with pytest.raises(mk.MamlkitError, match="holds no 'kinds-head' with seed 9"):
        recipe.load("kinds-head", 9, tmp_path)
    saved_learner = mk.load(tmp_path / "bands-waves-head-9.npz")
    kinds = {weight.dtype for weight in saved_learner.state_dict().values()}
    assert kinds == {torch.float32}  # trained in float64


def test_tuning_chooses_factors_of_the_own_step_size_and_leaves_the_learner() -> None:
    learner = mk.MAML(mk.models.MLP(1, 1, hidden=(3,)), 0.02, 2)
    found = tuned(learner, mk.tasks.LinearLaw(), 3, (0.5, 3.0), max_steps=4, n_tasks=5)
    assert found["inner_lr"] in (0.5 * 0.02, 3.0 * 0.02)
    assert (learner.inner_lr, learner.inner_steps) == (0.02, 2)


def test_a_trial_is_trained_for_a_part_of_the_plan_and_used_without_what_training_needs() -> None:
    told: list[int] = []
    built: list[Any] = []

    class Counted(mk.MAML):
        def at_iteration(self, done: int) -> None:
            told.append(done)

    def build(name: str, seed: int, loss: Any = mk.losses.mse) -> mk.MAML:
        built.append(loss)
        return Counted(mk.models.MLP(1, 1, hidden=(3,)), loss=loss)

    recipe = Recipe(
        name="tiny",
        about="",
        protocols={"one": mk.Plan(iterations=4)},
        build=build,
        tasks=lambda name: mk.tasks.Sinusoid(),
        training={"loss": mk.losses.rmse},
        fraction=0.5,
    )
    learner: Any = recipe.tried("one", {}, progress=False)
    assert told == [0, 1]
    assert built == [mk.losses.rmse, mk.losses.mse]
    assert learner.loss is mk.losses.mse
    trained = mk.MAML(mk.models.MLP(1, 1, hidden=(3,)), loss=mk.losses.rmse)
    mk.meta_train(trained, mk.tasks.Sinusoid(), iterations=2, seed=SEARCH_SEED, progress=False)
    for ours, theirs in zip(learner.parameters(), trained.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_a_learner_that_is_built_otherwise_is_refused() -> None:
    slow = replace(finn2017.RECIPE, build=lambda name, seed: mk.MAML(mk.models.MLP(1, 1), 0.02))
    with pytest.raises(mk.MamlkitError, match=r"settings: was inner_lr=0\.01; now inner_lr=0"):
        slow.load("maml")
    wide = replace(finn2017.RECIPE, build=lambda name, seed: mk.MAML(mk.models.MLP(1, 1, (50,))))
    with pytest.raises(mk.MamlkitError, match=r"layers\.0\.weight is \[40, 1\] there"):
        wide.load("maml")


def test_what_stands_in_json_can_be_read_line_by_line(tmp_path: Path) -> None:
    content = {"a": [1, 2.5, None], "b": [[1, 2], [3, 4]], "c": "[\n  1,\n  2 ]", "d": ["x", "y"]}
    write_json(tmp_path / "it.json", content)
    text = (tmp_path / "it.json").read_text()
    assert json.loads(text) == read_json(tmp_path / "it") == content
    assert '"a": [1, 2.5, null],' in text
    assert "\n  [1, 2],\n" in text
