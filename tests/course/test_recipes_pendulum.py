"""The shipped pendulum learners."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

import mamlkit as mk
from mamlkit.course import recipes
from mamlkit.course.recipes import pendulum
from mamlkit.losses import trajectories
from mamlkit.physics.discovery import Readout, r2
from mamlkit.tasks import Trajectories
from mamlkit.tasks.pendulum import LENGTHS
from tests.helpers import seeded

# Median error of a forecast over 5 s, rad^2 and (rad/s)^2 averaged, on 60 new pendulums.
EXPECTED = {
    "separable": (0.0, 0.001),
    "whole": (0.0003, 0.003),
    "free": (0.0003, 0.003),
    "concatenate": (0.015, 0.2),
    "maml": (0.01, 0.08),
    "head": (0.002, 0.02),
    "pooled": (0.1, 1.0),
}


@pytest.mark.parametrize("seed", recipes.SHIPPED_SEEDS)
@pytest.mark.parametrize("name", ["separable", "free"])
def test_the_latent_is_g_over_l(name: str, seed: int) -> None:
    learner = recipes.shipped(f"pendulum-{name}", seed).double()
    generator = seeded(20 + seed)

    @torch.no_grad()
    def read(batch: mk.TaskBatch) -> torch.Tensor:
        def latent(support: Trajectories) -> torch.Tensor:
            path, _ = learner.inner_path(support, learner.inner_steps)
            return path[-1][learner.adapted[0]]

        return torch.func.vmap(latent)(batch.support)

    five = pendulum.tasks(name).sample(40, 1, generator=generator, dtype=torch.float64)
    first = [int((five.physics["length"] == m).nonzero()[0]) for m in LENGTHS["train"]]
    some = mk.TaskBatch(
        type(five.support)(*(leaf[first] for leaf in five.support)), five.query, five.physics
    )
    readout = Readout.fit(read(some), five.physics["g_over_l"][first])
    new = pendulum.tasks(name, "test").sample(20, 1, generator=generator, dtype=torch.float64)
    assert r2(readout(read(new)), new.physics["g_over_l"]) > 0.99


@pytest.mark.parametrize("name", EXPECTED)
def test_forecasts_are_as_good_as_the_notebook_says(name: str) -> None:
    learner = recipes.shipped(f"pendulum-{name}", 1).double()
    test = pendulum.tasks(name, "test")
    curve = mk.evaluate(learner, test, 1, n_tasks=60, queries=1, seed=5, loss=trajectories())
    low, high = EXPECTED[name]
    assert low < float(curve.median[-1]) < high


@pytest.mark.parametrize("name", pendulum.PROTOCOLS)
def test_notes(name: str) -> None:
    for seed in recipes.SHIPPED_SEEDS:
        notes = recipes.shipped_notes(f"pendulum-{name}", seed)
        assert (notes["recipe"], notes["variant"], notes["seed"]) == ("pendulum", name, seed)
        plan = pendulum.PROTOCOLS[name]
        assert replace(plan, **notes["settings"]) == plan
        assert notes["outer_loss"][-1] < notes["outer_loss"][0]
        assert notes["tuned"]["inner_steps"] <= (10 if name == "pooled" else 5)
        assert recipes.shipped(f"pendulum-{name}", seed).loss is pendulum.observed


def test_an_energy_that_is_not_separable_drifts_as_a_field_without_one() -> None:
    batch = (
        mk.tasks.Pendulum().split("test").sample(20, 1, 1, generator=seeded(9), dtype=torch.float64)
    )
    w = batch.physics["g_over_l"][:, None]

    @torch.no_grad()
    def drift(name: str, seed: int) -> float:
        learner = recipes.shipped(f"pendulum-{name}", seed).double()

        def one(support: Trajectories, query: Trajectories) -> torch.Tensor:
            field = learner.predictor(learner.inner_path(support, learner.inner_steps)[0][-1])
            return mk.ode.rk4(lambda _, y: field(y), query.y[0, 0], query.t)

        y = torch.func.vmap(one)(batch.support, batch.query)
        energy = mk.tasks.Pendulum().energy(y, w)
        return float(((energy - energy[:, :1]).abs().amax(1) / (energy + w)[:, 0]).median())

    drifts = {name: drift(name, 1) for name in ("separable", "whole", "free")}
    assert drifts["whole"] > 2 * drifts["separable"]
    assert 0.4 < drifts["whole"] / drifts["free"] < 2.5


def test_what_is_chosen_won_the_search() -> None:
    table = recipes.shipped_table("pendulum")
    assert set(table) == set(pendulum.PROTOCOLS) - {"small", "pooled"}
    for name, rows in table.items():
        assert tuple(value for value, _ in rows) == pendulum.STEP_SIZES
        best = min((error, value) for value, error in rows if error is not None)
        assert pendulum.CHOSEN[name] == best[1]


def test_rivals_have_as_many_weights() -> None:
    sizes = {
        name: sum(w.numel() for w in pendulum.build(name).model.parameters())
        for name in pendulum.PROTOCOLS
    }
    assert min(sizes.values()) == 660
    assert max(sizes.values()) == 693


def test_a_tiny_run_saves_what_loads(tmp_path: Path) -> None:
    pendulum.RECIPE.run(tmp_path, names=["free"], seeds=(7,), iterations=2, progress=False)
    again = pendulum.build("free", 7)
    notes = mk.load_learner(again, tmp_path / "pendulum-free-7.npz")
    assert len(notes["outer_loss"]) == 2
    straight = pendulum.build("free", 7, loss=mk.losses.derivatives)  # what training descends
    plan = replace(pendulum.PROTOCOLS["free"], iterations=2, seed=7)
    mk.meta_train(straight, pendulum.tasks("free"), plan=plan, progress=False)
    for ours, theirs in zip(again.parameters(), straight.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_a_run_that_is_not_there() -> None:
    for ask in (pendulum.build, pendulum.tasks):
        with pytest.raises(mk.MamlkitError, match="there is no run 'anil' in pendulum"):
            ask("anil")
