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


FAMILY_NAMES = [(problem, name) for problem in recipes.CHOSEN for name in recipes.CHOSEN[problem]]
# Mean error on test tasks of any seed: (low, high). Sinusoids: 100 tasks, squared; fluids: RMSE.
FAMILY_EXPECTED = {
    ("sinusoid", "maml"): (0.08, 0.30),
    ("sinusoid", "modulate"): (0.003, 0.04),
    ("sinusoid", "ridge"): (0.005, 0.06),
    ("sinusoid", "pooled"): (0.9, 2.5),
    ("fluids", "cavia"): (0.0025, 0.0042),
    ("fluids", "coda"): (0.0022, 0.0035),
    ("fluids", "fomaml"): (0.05, 0.20),
    ("fluids", "ridge"): (0.009, 0.012),
}
# On new tasks, of any seed: RMSE and coverage of the 90 % band, (low, high) each.
BANDS_EXPECTED = {
    "fluids-head": ((0.007, 0.018), (0.90, 0.99)),
    "kinds-head": ((0.010, 0.021), (0.80, 0.96)),
    "fluids-ensemble": ((0.0035, 0.0065), (0.38, 0.65)),
    "kinds-ensemble": ((0.008, 0.013), (0.38, 0.55)),
    "waves-head": ((0.38, 0.55), (0.92, 0.99)),
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
    kinds = len(recipes.LEARNERS) + len(FAMILY_NAMES) + len(recipes.BANDS)
    assert len(files) == kinds * len(recipes.SHIPPED_SEEDS)
    assert sum(file.stat().st_size for file in folder.glob("bands-*.pt")) < 800_000
    assert all(file.stat().st_size < 50_000 for file in files)


@pytest.mark.parametrize("seed", recipes.SHIPPED_SEEDS)
@pytest.mark.parametrize(("problem", "name"), FAMILY_EXPECTED)
def test_the_family_scores_what_the_notebook_says(problem: str, name: str, seed: int) -> None:
    learner = recipes.shipped(f"family-{problem}-{name}", seed).double()
    sines = problem == "sinusoid"
    curve = mk.evaluate(
        learner,
        recipes.family_tasks(problem, "test"),
        recipes.FAMILY[problem]["shots"],
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
        assert (notes["recipe"], notes["variant"], notes["seed"]) == ("family", name, seed)
        iterations = recipes.FAMILY[problem]["iterations"] // recipes.FEWER.get(name, 1)
        assert notes["settings"] == {**recipes.FAMILY[problem], "iterations": iterations}
        assert notes["outer_loss"][-1] < notes["outer_loss"][0]
        for setting, value in notes["tuned"].items():
            assert getattr(learner, setting) == value


def test_a_tiny_run_of_the_family_saves_what_loads(tmp_path: Path) -> None:
    names = ("cavia", "imaml")
    settings = {"problems": ("fluids",), "learners": names, "seeds": (6,), "iterations": 8}
    recipes.family(tmp_path, compile=False, progress=False, **settings)  # type: ignore[arg-type]
    for name, iterations in zip(names, (8, 1), strict=True):
        again = recipes.family_learner("fluids", name, 6)
        notes = mk.load_learner(again, tmp_path / f"family-fluids-{name}-6.pt")
        assert notes["settings"]["iterations"] == len(notes["outer_loss"]) == iterations
    assert notes["tuned"] == {}  # the last, implicit MAML, has no step size


def test_a_learner_that_a_problem_does_not_have() -> None:
    with pytest.raises(mk.MamlkitError, match="no learner 'imaml' for 'anywhere'"):
        recipes.family_learner("anywhere", "imaml")


@pytest.mark.parametrize("seed", recipes.SHIPPED_SEEDS)
@pytest.mark.parametrize("name", recipes.BANDS)
def test_the_bands_hold_what_the_notebook_says(name: str, seed: int) -> None:
    learner = recipes.shipped(f"bands-{name}", seed).double()
    tasks, shots = recipes.bands_tasks(name, "test"), recipes.BANDS[name]["shots"]
    n_tasks = 300 if name == "waves-head" else None
    row = mk.calibration({"it": learner}, tasks, shots, n_tasks=n_tasks, seed=seed).loc["it"]
    (low, high), (rare, often) = BANDS_EXPECTED[name]
    assert low < row["rmse"] < high
    assert rare < row["coverage_90"] < often


@pytest.mark.parametrize("seed", recipes.SHIPPED_SEEDS)
@pytest.mark.parametrize("name", recipes.BANDS)
def test_notes_of_the_bands(name: str, seed: int) -> None:
    notes = recipes.shipped_notes(f"bands-{name}", seed)
    assert (notes["recipe"], notes["variant"], notes["seed"]) == ("bands", name, seed)
    assert notes["settings"] == recipes.BANDS[name]
    assert notes["protocol"]["dtype"] == "torch.float64"  # trained so; saved in float32
    assert notes["outer_loss"][-1] < notes["outer_loss"][0]


def test_no_two_ensembles_share_a_start() -> None:
    starts = []
    for seed in recipes.SHIPPED_SEEDS:
        ensemble = recipes.bands_learner("fluids-ensemble", seed)
        weights = dict(ensemble.named_parameters())["member.learner.model.layers.1.weight"]
        starts += [tuple(member.flatten().tolist()) for member in weights]
    assert len(set(starts)) == recipes.MEMBERS * len(recipes.SHIPPED_SEEDS)


def test_the_tasks_of_the_bands() -> None:
    place = recipes.bands_tasks("kinds-ensemble", "test").sample(5, 1).support.x
    assert torch.allclose(place, torch.tensor(0.7))
    anywhere = recipes.bands_tasks("kinds-head", "test").sample(31, 1).support.x
    assert anywhere.std() > 0.05
    sizes = {n: recipes.bands_tasks(f"{n}-head", "test").n_members for n in ("fluids", "kinds")}  # type: ignore[attr-defined]
    assert sizes == {"fluids": 32, "kinds": 31}
    waves = recipes.Waves()
    batch = waves.sample(
        2000, 1, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )
    a, b = batch.physics["a"], batch.physics["b"]
    assert abs(a.std() - 2) < 0.1
    x = batch.query.x[..., 0]
    torch.testing.assert_close(batch.query.y[..., 0], a[:, None] * x.sin() + b[:, None] * x.cos())


def test_a_tiny_run_of_the_bands_saves_what_loads(tmp_path: Path) -> None:
    recipes.bands(tmp_path, seeds=(7,), iterations=2, progress=False)
    for name in recipes.BANDS:
        again = recipes.bands_learner(name, 7)
        notes = mk.load_learner(again, tmp_path / f"bands-{name}-7.pt")
        assert len(notes["outer_loss"]) == notes["settings"]["iterations"] == 2
        straight = recipes.bands_learner(name, 7).double()
        protocol = {**recipes.BANDS[name], "iterations": 2}
        mk.meta_train(straight, recipes.bands_tasks(name), **protocol, seed=7, progress=False)
        for ours, theirs in zip(again.parameters(), straight.parameters(), strict=True):
            assert ours.dtype == torch.float32
            assert torch.equal(ours, theirs.float())


def test_a_band_that_is_not_there() -> None:
    for ask in (recipes.bands_learner, recipes.bands_tasks):
        with pytest.raises(mk.MamlkitError, match="there is no run 'waves-ensemble' in bands"):
            ask("waves-ensemble")


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
    assert recipes.RECIPES["family"] is recipes.family
    assert recipes.RECIPES["bands"] is recipes.bands


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
