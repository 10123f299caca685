"""Diffusion on a grid: the matrix, and the iterations that solve it, against dense algebra."""

from __future__ import annotations

import numpy as np
import pytest

import mamlkit as mk
from mamlkit.physics import relaxation
from mamlkit.physics.relaxation import conjugate_gradients, diffusion, jacobi_radius, sor, young

RNG = np.random.default_rng(0)
N = 9
WALLS = np.array([[1, 0, 1, 1], [0, 0, 0, 1], [1, 1, 1, 1]], dtype=bool)
ALONG, ACROSS = np.exp(RNG.standard_normal((2, 3, N, N)))
HARD = diffusion(ALONG, ACROSS, np.array([0.0, 5.0, 100.0]).reshape(3, 1, 1), WALLS)
SOURCES = RNG.standard_normal((3, N, N))
EXACT = np.linalg.solve(HARD.matrix(), SOURCES.reshape(3, -1, 1)).reshape(3, N, N)
PLAIN = diffusion(np.ones((1, 16, 16)), np.ones((1, 16, 16)))


def test_the_matrix_is_the_operator() -> None:
    a, u = HARD.matrix(), RNG.standard_normal((3, N, N))
    np.testing.assert_allclose((a @ u.reshape(3, -1, 1)).reshape(3, N, N), HARD.apply(u))
    np.testing.assert_allclose(a, a.transpose(0, 2, 1))
    assert np.linalg.eigvalsh(a).min() > 0
    # What flows into a cell flows out of its neighbour: a constant feels only walls and screening.
    loss = HARD.apply(np.ones((3, N, N)))
    inside = loss[0, 1:-1, 1:-1]
    np.testing.assert_allclose(inside, 0, atol=1e-12)
    np.testing.assert_allclose(loss[0, -1, 1:-1], 0, atol=1e-12)  # the east wall lets nothing out
    assert (loss[0, 0] > 0).all()
    np.testing.assert_array_equal(HARD.apply(np.ones((3, N, N), int)), loss)


def test_it_is_the_diffusion_equation() -> None:
    """A solution that is known: u = sin(pi x) sin(pi y), -u_xx - 4 u_yy + 3 u = f."""
    errors = []
    for n in (16, 32):
        x = (np.arange(n) + 0.5) / n
        u = np.sin(np.pi * x)[:, None] * np.sin(np.pi * x)
        stencil = diffusion(np.ones((1, n, n)), 4 * np.ones((1, n, n)), 3.0)
        f = ((np.pi**2 * 5 + 3) * u / n**2)[None]
        errors.append(np.abs(conjugate_gradients(stencil, f, tolerance=1e-10).u[0] - u).max())
    assert errors[1] < 2e-3
    assert 3.5 < errors[0] / errors[1] < 4.5  # second order


@pytest.mark.parametrize("omega", [1.0, 1.6, np.array([1.2, 1.7, 1.4]), "adaptive"])
def test_relaxation_solves(omega) -> None:
    found = sor(HARD, SOURCES, omega, tolerance=1e-9)
    np.testing.assert_allclose(found.u, EXACT, atol=1e-6 * np.abs(EXACT).max())
    last = [found.residuals[int(n), i] for i, n in enumerate(found.iterations)]
    before = [found.residuals[int(n) - 1, i] for i, n in enumerate(found.iterations)]
    assert max(last) <= 1e-9 < min(before)


def test_relaxation_is_cell_by_cell() -> None:
    """One sweep, written as the textbook does: cell after cell, one colour after the other."""
    u, w = np.zeros((N, N)), 1.3
    s = HARD.of([1])
    for colour in (1, 0):
        for i in range(N):
            for j in range(N):
                if (i + j) % 2 == colour:
                    around = s.neighbours(u[None])[0, i, j]
                    asked = (SOURCES[1, i, j] + around) / s.centre[0, i, j]
                    u[i, j] += w * (asked - u[i, j])
    np.testing.assert_allclose(sor(s, SOURCES[[1]], w, most=1).u[0], u)


@pytest.mark.parametrize("jacobi", [False, True])
def test_conjugate_gradients_solve(jacobi) -> None:
    found = conjugate_gradients(HARD, SOURCES, jacobi, tolerance=1e-10)
    np.testing.assert_allclose(found.u, EXACT, atol=1e-7 * np.abs(EXACT).max())
    known = conjugate_gradients(HARD, SOURCES, jacobi, start=EXACT)
    assert known.iterations.tolist() == [0, 0, 0]


def test_conjugate_gradients_are_the_best_polynomial() -> None:
    """After k steps none in the Krylov space is nearer, in the norm of A."""
    a, f, k = HARD.matrix()[0], SOURCES[0].ravel(), 5
    basis = [f]
    for _ in range(k - 1):
        basis.append(a @ basis[-1] / np.linalg.norm(a @ basis[-1]))
    q = np.linalg.qr(np.stack(basis, 1))[0]
    best = q @ np.linalg.solve(q.T @ a @ q, q.T @ f)
    found = conjugate_gradients(HARD.of([0]), SOURCES[:1], most=k).u.ravel()
    np.testing.assert_allclose(found, best, rtol=1e-6, atol=1e-10)


def test_young_is_the_best_factor() -> None:
    rho = jacobi_radius(PLAIN)[0]
    dense = PLAIN.matrix()[0]
    jacobi = np.eye(256) - dense / dense.diagonal()[:, None]
    assert rho == pytest.approx(np.abs(np.linalg.eigvals(jacobi)).max(), rel=1e-8)
    best = float(young(rho))
    source = np.random.default_rng(1).standard_normal((1, 16, 16))
    counts = {w: sor(PLAIN, source, w).iterations[0] for w in (best - 0.12, best, best + 0.12)}
    assert min(counts, key=lambda w: counts[w]) == best
    assert counts[best] < 0.25 * sor(PLAIN, source, 1.0).iterations[0]


def test_a_factor_is_corrected_by_youngs_relation() -> None:
    rho = 0.98
    omega = 1.3
    # the spectral radius of the iteration at this factor, from the quadratic in sqrt(s)
    s = ((omega * rho + np.sqrt((omega * rho) ** 2 - 4 * (omega - 1))) / 2) ** 2
    better = relaxation.corrected(np.array([omega]), np.array([s]))
    assert better[0] == pytest.approx(float(young(rho)))
    assert relaxation.corrected(np.array([1.5]), np.array([1.2]))[0] == 1.5  # it tells nothing


def test_what_is_not_reached_is_nan() -> None:
    found = sor(HARD, SOURCES, 1.0, most=3)
    assert np.isnan(found.iterations).all()
    assert found.residuals.shape == (4, 3)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: diffusion(np.ones((3, 3)), np.ones((3, 3))), "tasks, N, N"),
        (lambda: diffusion(-np.ones((1, 3, 3)), np.ones((1, 3, 3))), "above zero"),
        (lambda: diffusion(np.ones((1, 3, 3)), np.ones((1, 3, 3)), 0.0, [[False] * 4]), "singular"),
        (lambda: sor(HARD, SOURCES, 2.0), "between 0 and 2"),
        (lambda: sor(HARD, SOURCES, "best"), "adaptive"),
        (lambda: sor(HARD, 0 * SOURCES, 1.0), "not zero"),
        (lambda: young(1.0), "below 1"),
    ],
)
def test_what_does_not_fit_is_told(call, words) -> None:
    with pytest.raises(mk.MamlkitError, match=words):
        call()
