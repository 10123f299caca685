"""Equations to choose a solver for: their solutions against other codes, and the shipped table."""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pandas as pd
import pytest
import torch
from scipy.integrate import solve_ivp
from scipy.linalg import expm

import mamlkit as mk
from mamlkit.tasks import solver_choice
from mamlkit.tasks.equations import EQUATIONS, FISHER_POINTS
from mamlkit.tasks.solver_choice import (
    FEATURES,
    METHODS,
    SIZES,
    TOLERANCES,
    Probe,
    features,
    path,
    probe,
    reference,
    solve,
    work,
)
from tests.helpers import seeded


@pytest.fixture
def family() -> mk.tasks.SolverChoice:
    return mk.tasks.SolverChoice()


# --- reference solutions, by what no solver of scipy has made -------------------------------------


def test_hires_is_as_published() -> None:
    """At t = 321.8122, as in the Test Set for IVP Solvers (F. Mazzia and C. Magherini, 2008)."""
    last = reference(EQUATIONS["HIRES"].at({"k": 280.0, "end": 321.8122}))[0][-1]
    published = [7.371312573e-4, 1.442485726e-4, 5.888729741e-5, 1.175651343e-3]
    published += [2.386356199e-3, 6.238968253e-3, 2.849998395e-3, 2.850001605e-3]
    np.testing.assert_allclose(last, published, rtol=1e-7)


def test_robertson_is_as_published() -> None:
    """At t = 40, as in the documentation of CVODE (A. C. Hindmarsh and R. Serban)."""
    known = {"k1": 0.04, "k2": 3e7, "k3": 1e4, "end": 40.0}
    last = reference(EQUATIONS["Robertson"].at(known))[0][-1]
    np.testing.assert_allclose(last, [7.1583e-1, 9.1855e-6, 2.8416e-1], rtol=1e-4)


def test_an_orbit_closes() -> None:
    instance = EQUATIONS["Kepler"].at({"eccentricity": 0.9, "turns": 2.0})
    np.testing.assert_allclose(reference(instance)[0][-1], instance.start, atol=1e-6)


def test_diffusion_is_a_matrix_exponential() -> None:
    known = {"diffusivity": 0.05, "rate": 0.0, "centre": 0.3, "end": 2.0}
    instance = EQUATIONS["Fisher"].at(known)
    a = -2 * np.eye(FISHER_POINTS) + np.eye(FISHER_POINTS, k=1) + np.eye(FISHER_POINTS, k=-1)
    a[0, 0] = a[-1, -1] = -1
    exact = expm(0.05 * FISHER_POINTS**2 * 2.0 * a) @ instance.start
    np.testing.assert_allclose(reference(instance)[0][-1], exact, atol=1e-9)


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("van der Pol", {"mu": 3.0, "x": 1.0, "turns": 0.5}),
        ("Lorenz", {"sigma": 10.0, "rho": 28.0, "end": 1.0}),
        ("Oregonator", {"s": 10.0, "w": 0.2, "b": 0.3, "end": 0.5}),
    ],
)
def test_a_taylor_series_agrees(name, known) -> None:
    """mpmath's: of another kind than any method here, with 20 digits."""
    instance = EQUATIONS[name].at(known)
    p = {key: mpmath.mpf(value) for key, value in known.items()}

    def f(t, y):
        if name == "van der Pol":
            x, v = y
            return [v, p["mu"] * (1 - x * x) * v - x]
        if name == "Lorenz":
            a, b, c = y
            beta = mpmath.mpf(8) / 3
            return [p["sigma"] * (b - a), a * (p["rho"] - c) - b, a * b - beta * c]
        x, b, z = y
        pulse = p["s"] * (b + x * (1 - mpmath.mpf("8.375e-6") * x - b))
        return [pulse, (z - (1 + x) * b) / p["s"], p["w"] * (x - z)]

    with mpmath.workdps(20):
        taylor = mpmath.odefun(f, 0, [mpmath.mpf(v) for v in instance.start], tol=1e-12)
        exact = np.array([float(v) for v in taylor(instance.end)])
    off = (reference(instance)[0][-1] - exact) / instance.scale
    assert np.abs(off).max() < 1e-8


# --- counting -------------------------------------------------------------------------------------


def test_all_calls_are_counted() -> None:
    """Those of a finite-difference Jacobian too, which scipy leaves out."""
    instance = EQUATIONS["van der Pol"].at({"mu": 20.0, "x": 2.0, "turns": 0.5})
    told = {}
    for method in ("RK45", "Radau"):
        when = np.linspace(0, instance.end, 11)[1:]
        atol = 1e-5 * instance.scale
        span = (0.0, instance.end)
        told[method] = solve_ivp(
            instance.f, span, instance.start, method, when, rtol=1e-5, atol=atol
        )
    assert solve(instance, "RK45", 1e-5).calls == told["RK45"].nfev
    hidden = solve(instance, "Radau", 1e-5).calls - told["Radau"].nfev
    assert hidden >= 2 * told["Radau"].njev
    np.testing.assert_array_equal(solve(instance, "Radau", 1e-5).states, told["Radau"].y.T)


def test_beyond_the_cap_is_a_failure() -> None:
    stiff = EQUATIONS["van der Pol"].at({"mu": 900.0, "x": 2.0, "turns": 0.5})
    run = solve(stiff, "RK45", 1e-3, cap=500)
    assert run.states is None
    assert run.calls == 501
    assert solver_choice.error(stiff, run.states, np.zeros((10, 2))) == math.inf


def test_work_is_at_the_loosest_tolerance_that_is_good_enough() -> None:
    instance = EQUATIONS["Kepler"].at({"eccentricity": 0.4, "turns": 1.0})
    truth, _ = reference(instance)
    found = work(instance, "DOP853", truth)
    runs = [solve(instance, "DOP853", t) for t in TOLERANCES if t >= 0.99 * found.tolerance]
    errors = [solver_choice.error(instance, run.states, truth) for run in runs]
    assert errors[-1] <= 1e-4 < min(errors[:-1])
    assert found.calls == runs[-1].calls


def test_a_method_that_runs_away_at_first_may_be_good_later() -> None:
    """LSODA does at a tolerance of 1e-2 on this orbit."""
    instance = EQUATIONS["Kepler"].at({"eccentricity": 0.9381996978695015, "turns": 1.534437745})
    truth, _ = reference(instance)
    assert solve(instance, "LSODA", 1e-2).calls > solver_choice.CAP
    assert (work(instance, "LSODA", truth).calls or 0) < 2000


def test_the_probe_is_the_jacobian_and_costs_d_plus_one() -> None:
    instance = EQUATIONS["van der Pol"].at({"mu": 50.0, "x": 1.5, "turns": 1.0})
    found = probe(instance)
    x, v = instance.start
    by_hand = np.array([[0, 1], [-2 * 50 * x * v - 1, 50 * (1 - x * x)]])
    unit = by_hand * instance.scale / instance.scale[:, None] * instance.end
    np.testing.assert_allclose(found.jacobian, unit, rtol=1e-5, atol=1e-4)
    assert found.calls == 3
    rates = np.linalg.eigvals(by_hand) * instance.end
    said = dict(zip(FEATURES, features(found), strict=True))
    assert 10 ** said["largest |lambda| T"] == pytest.approx(np.abs(rates).max(), rel=1e-4)
    assert 10 ** said["fastest decay, -Re lambda T"] == pytest.approx(-rates.real.min(), rel=1e-4)
    still = features(Probe(np.zeros(2), np.zeros((2, 2)), 3))
    assert np.isfinite(still).all()


def test_a_path_ends_at_the_end() -> None:
    instance = EQUATIONS["Lorenz"].instance(0)
    t, y = path(instance, "RK45", 1e-4)
    assert t[0] == 0
    assert t[-1] == instance.end
    assert y.shape == (len(t), 3)
    stiff = EQUATIONS["van der Pol"].at({"mu": 1000.0, "x": 2.0, "turns": 1.0})
    assert len(path(stiff, "RK45", 1e-4)[0]) == 1


# --- the table ------------------------------------------------------------------------------------


def test_rows_of_the_table_are_found_again(tmp_path, family) -> None:
    """Counts may differ a little where another build of scipy rounds otherwise."""
    rows = [("test", "Lorenz", 41), ("test", "HIRES", 43), ("train", "Fisher", 5)]
    solver_choice.make_table(tmp_path, rows)
    again = pd.read_csv(tmp_path / "solver_choice.csv", comment="#")
    for _, row in again.iterrows():
        at = [
            i
            for i, key in enumerate(zip(family.equations, family.seeds, strict=True))
            if key == (row.equation, row.seed)
        ]
        assert len(at) == 1
        new = row[[f"{m}_calls" for m in METHODS]].to_numpy(dtype=float)
        np.testing.assert_allclose(new, family.calls.iloc[at[0]], rtol=0.1)
        drawn = EQUATIONS[row.equation].instance(row.seed).parameters
        assert row.parameters == ";".join(f"{k}={v!r}" for k, v in drawn.items())


def test_the_table_is_whole(family) -> None:
    assert len(family.calls) == 7 * sum(SIZES.values()) == 455
    assert family.reference_gaps.max() < 1e-5  # ten times below what is asked for, at least
    assert (family.calls.min(axis=1) <= solver_choice.CAP).all()  # somebody solves each
    assert set(family.calls.columns[family.calls.isna().any()]) <= {"RK45", "DOP853"}
    assert (family.seconds.notna() == family.calls.notna()).all(axis=None)
    keys = {part: set(zip(s.equations, s.seeds, strict=True)) for part in SIZES
            for s in [family.split(part)]}  # fmt: skip
    assert [len(k) for k in keys.values()] == [231, 56, 168]
    assert not keys["train"] & keys["test"]
    assert not keys["validation"] & (keys["test"] | keys["train"])
    assert family.split("test").features.shape == (168, len(FEATURES))
    d = [len(EQUATIONS[e].instance(0).start) for e in family.equations]
    assert family.probe_calls.tolist() == [n + 1 for n in d]


# --- as a family of tasks -------------------------------------------------------------------------


def test_a_task_is_an_equation(family) -> None:
    test = family.split("test")
    batch = test.every(5, generator=seeded(), dtype=torch.float64)
    assert batch.support.x.shape == (7, 5, 9)
    assert batch.query.y.shape == (7, 19, 5)
    both = torch.cat([batch.support.y, batch.query.y], 1)
    for i, name in enumerate(EQUATIONS):
        assert test.name_of({"equation": batch.physics["equation"][i]}) == name
        own = np.array(test.equations) == name
        calls = test.calls[own].fillna(2e5).to_numpy()
        np.testing.assert_allclose(
            sorted(both[i].sum(1).tolist()), sorted(np.log10(calls).sum(1)), atol=1e-9
        )  # each instance once, none in both


def test_equations_can_be_left_out(family) -> None:
    train = family.split("train")
    for rest, held in train.folds():
        assert len(set(rest.equations)) == 6
        assert set(held.equations).isdisjoint(rest.equations)
        batch = held.every(3, 4, generator=seeded(), dtype=torch.float64)
        assert held.name_of({"equation": batch.physics["equation"][0]}) == held.equations[0]
        assert len(rest.calls) == 6 * 33
        break


def test_too_many_instances_are_refused(family) -> None:
    with pytest.raises(mk.MamlkitError, match="pool of 8"):
        family.split("validation").sample(2, 5, 4)
    with pytest.raises(mk.MamlkitError, match="method"):
        solve(EQUATIONS["Lorenz"].instance(0), "Euler", 1e-3)
