"""Readout, law recovery and detection against numpy, known laws and scores worked by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import mamlkit as mk
from mamlkit.physics.discovery import (
    Readout,
    detection,
    r2,
    recover_law,
)
from tests.helpers import F64, normal, seeded


def test_a_readout_finds_a_linear_map_from_the_fewest_tasks() -> None:
    latents, weight, bias = normal(3, 2), normal(2, 4, seed=1), normal(4, seed=2)
    found = Readout.fit(latents, latents @ weight + bias)
    torch.testing.assert_close(found.weight, weight)
    torch.testing.assert_close(found.bias, bias)
    new = normal(5, 2, seed=3)
    torch.testing.assert_close(found(new), new @ weight + bias)


def test_a_readout_of_noisy_labels_is_numpys_least_squares() -> None:
    latents, values = normal(20), normal(20, seed=1)
    slope, offset = np.polyfit(latents.numpy(), values.numpy(), 1)
    found = Readout.fit(latents, values)
    torch.testing.assert_close(found.weight.item(), float(slope))
    torch.testing.assert_close(found.bias.item(), float(offset))


def test_r2_by_hand() -> None:
    true = torch.tensor([0.0, 1.0, 2.0, 3.0], dtype=F64)  # spread 5
    assert r2(true, true) == 1.0
    assert r2(true.mean().expand(4), true) == 0.0
    assert r2(true + 1, true) == pytest.approx(1 - 4 / 5)
    both = torch.stack([true, true], 1)
    assert r2(torch.stack([true, true + 1], 1), both) == pytest.approx((1 + 0.2) / 2)


@pytest.mark.parametrize("size", [0.0, 0.05])
def test_the_right_terms_are_found_with_and_without_noise(size: float) -> None:
    r = 0.5 + 2.5 * torch.rand(200, generator=seeded(4), dtype=F64)
    library = {"1/r": 1 / r, "1/r^2": 1 / r**2, "log r": r.log(), "r": r, "1": torch.ones_like(r)}
    for expected in ({"1/r": 2.0}, {"1/r^2": -1.5, "r": 0.7}):
        target = sum(c * library[name] for name, c in expected.items())
        law = recover_law(library, target + size * normal(200))
        assert set(law.terms) == set(expected)
        for name, c in expected.items():
            assert law.terms[name] == pytest.approx(c, abs=1e-9 if size == 0 else 0.05)
        assert len(law.errors) == 4
    assert str(recover_law(library, 2 * library["1/r"])) == "+2 1/r"


def test_units_do_not_change_which_terms_are_chosen() -> None:
    x = normal(400)
    plain = recover_law({"x": x, "x^3": x**3}, x**3 + 0.1 * normal(400, seed=1))
    scaled = recover_law({"x": 1e6 * x, "x^3": 1e-6 * x**3}, x**3 + 0.1 * normal(400, seed=1))
    assert list(plain.terms) == list(scaled.terms) == ["x^3"]
    assert scaled.terms["x^3"] == pytest.approx(1e6 * plain.terms["x^3"])


def test_detection_by_hand() -> None:
    known, foreign = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([2.5, 4.0])
    found = detection(known, foreign)
    assert found.auc == pytest.approx(5 / 6)  # of six pairs one is the wrong way round
    assert found.false_alarms.tolist() == pytest.approx([0, 0, 1 / 3, 1 / 3, 2 / 3, 1])
    assert found.detections.tolist() == pytest.approx([0, 0.5, 0.5, 1, 1, 1])
    assert detection(known, torch.tensor([torch.nan, torch.inf])).auc == 1.0


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: Readout.fit(normal(2, 2), normal(2)), "at least 3 labelled tasks, but 2"),
        (lambda: Readout.fit(normal(4), normal(3)), "4 latents, but 3 values"),
        (lambda: Readout.fit(normal(4) / 0, normal(4)), "latents must be finite"),
        (lambda: r2(normal(3), normal(4)), "equal shapes"),
        (lambda: recover_law({}, normal(9)), "needs a target"),
        (lambda: recover_law({"x": normal(8)}, normal(9)), "needs a target"),
        (lambda: recover_law({"x": 0 * normal(9)}, normal(9)), "no term zero everywhere"),
        (lambda: recover_law({"x": normal(3)}, normal(3)), "too few"),
        (lambda: recover_law({"x": normal(9)}, normal(9), folds=1), "folds must be"),
        (lambda: detection(normal(0), normal(2)), "needs scores"),
    ],
)
def test_bad_input_is_refused_in_plain_words(call, words) -> None:
    with pytest.raises(mk.MamlkitError, match=words):
        call()
