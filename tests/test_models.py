"""Networks: shapes, values worked out by hand, seeds, the global generator."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import mamlkit as mk
from tests.helpers import F64


@given(
    d_in=st.integers(1, 3),
    d_out=st.integers(1, 3),
    hidden=st.lists(st.integers(1, 5), max_size=2),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    lead=st.lists(st.integers(1, 3), min_size=1, max_size=2),
)
def test_mlp_shapes_and_types(d_in, d_out, hidden, dtype, lead) -> None:
    model = mk.models.MLP(d_in, d_out, hidden=hidden).to(dtype)
    y = model(torch.zeros(*lead, d_in, dtype=dtype))
    assert y.shape == (*lead, d_out)
    assert y.dtype == dtype


@given(
    n=st.integers(1, 3),
    channels=st.integers(1, 2),
    side=st.integers(4, 9),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_cnn_shapes_and_types(n, channels, side, dtype) -> None:
    model = mk.models.CNN(channels, 3, hidden=(2, 3)).to(dtype)
    y = model(torch.zeros(n, channels, side, side, dtype=dtype))
    assert y.shape == (n, 3)
    assert y.dtype == dtype


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("tanh", math.tanh),
        ("relu", lambda v: max(v, 0.0)),
        ("sin", math.sin),
        ("silu", lambda v: v / (1 + math.exp(-v))),
        ("softplus", lambda v: math.log1p(math.exp(v))),
        ("gelu", lambda v: v * 0.5 * (1 + math.erf(v / math.sqrt(2)))),
    ],
)
def test_mlp_by_hand(name, function) -> None:
    model = mk.models.MLP(1, 1, hidden=(1,), activation=name, x_range=(2.0, 6.0)).double()
    w1, b1, w2, b2 = (float(p.detach()) for p in model.parameters())
    scaled = (5.0 - 4.0) / 2.0  # x_range goes to -1..1
    y = model(torch.tensor([[5.0]], dtype=torch.float64))
    assert float(y.detach()) == pytest.approx(w2 * function(w1 * scaled + b1) + b2, rel=1e-12)


def test_mlp_without_hidden_layers_is_linear() -> None:
    model = mk.models.MLP(2, 1, hidden=()).double()
    x = torch.eye(2, dtype=torch.float64)
    weight, bias = model.parameters()
    torch.testing.assert_close(model(x)[:, 0], weight[0] + bias)


def test_cnn_is_invariant_under_shifts_by_whole_pooling_cells(generator) -> None:
    model = mk.models.CNN(1, 2, hidden=(3, 3)).double()
    x = torch.randn(1, 1, 8, 8, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(model(x), model(x.roll((4, 4), dims=(-2, -1))))
    assert not torch.allclose(model(x), model(2 * x))


@pytest.mark.parametrize("build", [mk.models.MLP, mk.models.CNN])
def test_seed_fixes_the_start_and_the_global_generator_is_left_alone(build) -> None:
    before = torch.get_rng_state()
    first, again, other = build(1, 1, seed=1), build(1, 1, seed=1), build(1, 1, seed=2)
    assert torch.equal(torch.get_rng_state(), before)
    for a, b, c in zip(first.parameters(), again.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)
        assert not torch.equal(a, c)
        bound = 1.0 if a.ndim == 1 else a[0].numel() ** -0.5
        assert float(a.detach().abs().max()) <= bound


@pytest.mark.parametrize("build", [mk.models.MLP, mk.models.CNN])
def test_models_tell_their_activation(build) -> None:
    assert "activation=relu" in repr(build(1, 1, activation="relu"))


# --- contexts -------------------------------------------------------------------------------------

FEEDS = ["concatenate", "modulate"]


@pytest.mark.parametrize("feed", FEEDS)
def test_a_context_of_zero_changes_nothing(feed, generator) -> None:
    plain = mk.models.MLP(2, 3, hidden=(4, 5), x_range=(0.0, 2.0), seed=1).double()
    model = mk.models.MLP(2, 3, (4, 5), x_range=(0.0, 2.0), seed=2, context=2, feed=feed).double()
    with torch.no_grad():
        for own, other in zip(model.layers.parameters(), plain.layers.parameters(), strict=True):
            own[..., : other.shape[-1]] = other  # the context's columns come last
    x = torch.rand(3, 6, 2, generator=generator, dtype=F64)
    torch.testing.assert_close(model(x), plain(x))
    with torch.no_grad():
        model.context.fill_(0.5)
    assert not torch.allclose(model(x), plain(x), rtol=1e-2)


def test_a_concatenated_context_by_hand() -> None:
    model = mk.models.MLP(1, 1, hidden=(1,), x_range=(2.0, 6.0), context=1).double()
    with torch.no_grad():
        model.context.fill_(0.7)
    ((w, u),), (b,) = (p.tolist() for p in model.layers[0].parameters())
    v, d = (float(p.detach()) for p in model.layers[1].parameters())
    y = float(model(torch.tensor([[5.0]], dtype=F64)).detach())  # 5 is scaled to 0.5, 0.7 is not
    assert y == pytest.approx(v * math.tanh(w * 0.5 + u * 0.7 + b) + d, rel=1e-12)


def test_a_modulated_context_by_hand() -> None:
    """Two hidden layers of one unit: rows of the modulation are scale 1, shift 1, scale 2, ..."""
    model = mk.models.MLP(1, 1, hidden=(1, 1), context=1, feed="modulate").double()
    with torch.no_grad():
        model.context.fill_(0.7)
    modulation = model.get_parameter("modulation.weight").detach()
    assert modulation.shape == (4, 1)
    s1, t1, s2, t2 = (0.7 * modulation[:, 0]).tolist()
    (w1, b1), (w2, b2), (w3, b3) = ([p.item() for p in m.parameters()] for m in model.layers)
    h = math.tanh((w1 * 0.4 + b1) * (1 + s1) + t1)
    h = math.tanh((w2 * h + b2) * (1 + s2) + t2)
    y = float(model(torch.tensor([[0.4]], dtype=F64)).detach())
    assert y == pytest.approx(w3 * h + b3, rel=1e-12)


@pytest.mark.parametrize("hidden", [(4, 5), ()])
def test_an_affine_context_by_hand(hidden, generator) -> None:
    """f_0 + c_1 f_1 + c_2 f_2, all from one network of three times as many outputs."""
    model = mk.models.MLP(2, 2, hidden, seed=3, context=2, feed="affine").double()
    parts = mk.models.MLP(2, 6, hidden, seed=3).double()
    with torch.no_grad():
        model.context.copy_(torch.tensor([0.7, -1.2], dtype=F64))
    x = torch.rand(3, 4, 2, generator=generator, dtype=F64)
    f = parts(x)
    expected = f[..., :2] + 0.7 * f[..., 2:4] - 1.2 * f[..., 4:]
    torch.testing.assert_close(model(x), expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("hidden", [(4, 5), ()])
def test_low_rank_moves_the_weights_along_its_directions(hidden, generator) -> None:
    """weights = shared + sum_j c_j direction_j, worked out name by name."""
    shared = mk.models.MLP(2, 3, hidden=hidden, seed=1).double()
    model = mk.models.LowRank(shared, context=2, seed=2)
    x = torch.rand(3, 6, 2, generator=generator, dtype=F64)
    torch.testing.assert_close(model(x), shared(x))
    with torch.no_grad():
        model.context.copy_(torch.tensor([0.3, -1.2], dtype=F64))
    weights = {
        name: w + 0.3 * d[..., 0] - 1.2 * d[..., 1]
        for (name, w), d in zip(shared.named_parameters(), model.directions, strict=True)
    }
    torch.testing.assert_close(model(x), torch.func.functional_call(shared, weights, (x,)))
    assert not torch.allclose(model(x), shared(x), rtol=1e-2)


def test_low_rank_takes_a_cnn_and_copies_it(generator) -> None:
    shared = mk.models.CNN(1, 2, hidden=(2, 3)).double()
    model = mk.models.LowRank(shared, context=3)
    x = torch.randn(2, 1, 4, 4, generator=generator, dtype=F64)
    before = model(x)
    torch.testing.assert_close(before, shared(x))
    with torch.no_grad():
        for p in shared.parameters():
            p.zero_()
    assert torch.equal(model(x), before)


class Slope(torch.nn.Module):
    """y = theta x, with a parameter that has no axes."""

    def __init__(self) -> None:
        super().__init__()
        self.theta = torch.nn.Parameter(torch.tensor(2.0))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.theta * x


@pytest.mark.parametrize("shared", [Slope(), mk.models.MLP(1, 1, hidden=(3,))])
def test_the_shared_weights_of_a_low_rank_model_can_be_replaced(shared) -> None:
    """By plain tensors, as an inner loop over all weights does."""
    model = mk.models.LowRank(shared, context=2)
    x = torch.tensor([[3.0]])
    doubled = {f"model.{name}": 2 * w.detach() for name, w in shared.named_parameters()}
    found = torch.func.functional_call(model, {**doubled, "context": torch.zeros(2)}, (x,))
    twice = {name: 2 * w.detach() for name, w in shared.named_parameters()}
    torch.testing.assert_close(found, torch.func.functional_call(shared, twice, (x,)))


CONTEXTS = {
    "concatenate": lambda seed: mk.models.MLP(2, 1, seed=seed, context=3),
    "modulate": lambda seed: mk.models.MLP(2, 1, seed=seed, context=3, feed="modulate"),
    "affine": lambda seed: mk.models.MLP(2, 1, seed=seed, context=3, feed="affine"),
    "low rank": lambda seed: mk.models.LowRank(mk.models.MLP(2, 1), context=3, seed=seed),
}


@pytest.mark.parametrize("kind", CONTEXTS)
def test_contexts_start_at_zero_from_a_seed_and_leave_the_global_generator_alone(kind) -> None:
    build = CONTEXTS[kind]
    before = torch.get_rng_state()
    first, again, other = build(1), build(1), build(2)
    first(torch.zeros(4, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first.context, torch.zeros(3))
    assert [n for n, p in first.named_parameters() if not p.requires_grad] == ["context"]
    values = [torch.cat([p.detach().reshape(-1) for p in m.parameters()]) for m in (first, again)]
    assert torch.equal(*values)
    assert all(bool(v.abs().max() <= 1) for v in values)
    changed = torch.cat([p.detach().reshape(-1) for p in other.parameters()])
    assert not torch.equal(values[0], changed)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: mk.models.MLP(1, 1, context=2, feed="add"), "feed='add' is not known"),
        (lambda: mk.models.MLP(1, 1, hidden=(), context=2, feed="modulate"), "hidden units"),
        (lambda: mk.models.MLP(1, 1, context=-1), "context must be a whole number"),
        (lambda: mk.models.MLP(1, 1, context=1.5), "context must be a whole number"),
        (lambda: mk.models.LowRank(mk.models.MLP(1, 1), context=0), "context must be a whole"),
    ],
)
def test_contexts_that_cannot_work(make, says) -> None:
    with pytest.raises(mk.MamlkitError, match=says):
        make()


def test_a_lattice_that_is_too_small_for_the_layers() -> None:
    words = r"2 x 5 is too small for a CNN of 2 layers, .* needs 4 sites .* widths: 1 at most"
    with pytest.raises(mk.MamlkitError, match=words):
        mk.models.CNN(1, 3)(torch.ones(2, 1, 2, 5))


def test_a_set_network_does_not_see_the_order_of_points():
    network = mk.models.SetNetwork(2, 3, hidden=(8, 8), after=(6,), seed=4).double()
    x = torch.randn(5, 7, 2, generator=torch.Generator().manual_seed(0)).double()
    order = torch.tensor([3, 1, 6, 0, 5, 2, 4])
    torch.testing.assert_close(network(x[:, order]), network(x))
    torch.testing.assert_close(network(torch.cat([x, x], 1)), network(x))  # a mean, no sum
    changed = x.clone()
    changed[0, 3, 1] += 1
    assert ((network(changed) - network(x)).abs().amax(1) > 1e-6).tolist() == [True] + [False] * 4


def test_a_set_network_is_rho_of_the_mean_of_phi():
    """With linear rho and one layer, by hand."""
    network = mk.models.SetNetwork(2, 1, hidden=(4,), after=(), activation="tanh").double()
    x = torch.randn(3, 6, 2, generator=torch.Generator().manual_seed(0)).double()
    w, b = (network.get_parameter(f"points.0.{name}") for name in ("weight", "bias"))
    v, c = (network.get_parameter(f"whole.0.{name}") for name in ("weight", "bias"))
    torch.testing.assert_close(network(x), torch.tanh(x @ w.T + b).mean(1) @ v.T + c)


def test_a_set_network_starts_by_its_seed_and_works_in_every_learner():
    one, same, other = (mk.models.SetNetwork(2, 3, hidden=(4,), seed=s) for s in (1, 1, 2))
    x = torch.randn(6, 5, 2, generator=torch.Generator().manual_seed(0))
    assert torch.equal(one(x), same(x))
    assert not torch.equal(one(x), other(x))
    y = torch.arange(6) % 3
    for learner in (
        mk.Prototypes(one, 3),
        mk.ClassifierHead(one, 3),
        mk.MAML(one, loss=mk.losses.cross_entropy),
    ):
        batch = mk.TaskBatch(*(mk.Data(x[None].repeat(2, 1, 1, 1), y.repeat(2, 1)),) * 2, {})
        learner.query_losses(batch).sum().backward()
        assert all(
            p.grad is not None and p.grad.isfinite().all()
            for p in learner.model.points.parameters()
        )
        assert learner.adapt(x, y)(x[:4]).shape == (4, 3)


def test_what_a_set_network_cannot_take():
    network = mk.models.SetNetwork(2, 3)
    for shape in ((5, 7, 3), (7, 2), (5, 0, 2)):
        with pytest.raises(mk.MamlkitError, match="n_points"):
            network(torch.zeros(shape))
    for wrong in ({"hidden": ()}, {"hidden": 3}, {"after": (0,)}, {"activation": "step"}):
        with pytest.raises(mk.MamlkitError):
            mk.models.SetNetwork(2, 3, **wrong)


def test_points_of_a_set_network_may_see_the_mean():
    network = mk.models.SetNetwork(2, 3, hidden=(4, 5, 4), after=(), mixing=True, seed=2).double()
    x = torch.randn(2, 6, 2, generator=torch.Generator().manual_seed(0)).double()
    torch.testing.assert_close(network(x.flip(1)), network(x))
    h = torch.nn.functional.silu(network.points[0](x))
    for layer, mean in zip(network.points[1:], network.means, strict=True):
        h = torch.nn.functional.silu(layer(h) + mean(h.mean(1))[:, None])
    torch.testing.assert_close(network(x), network.whole[0](h.mean(1)))


# --- powers ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("variable", "u"), [("x", 0.8), ("1 - 1/x", 1 - 1 / 0.8)])
def test_powers_are_a_polynomial_without_a_constant(variable, u) -> None:
    model = mk.models.Powers(3, variable, d_out=2).double()
    x = torch.full((5, 1), 0.8, dtype=F64)
    assert not model(x).any()  # starts at zero
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[1.0, -2.0, 3.0], [0.5, 0.0, 4.0]]))
    expected = torch.tensor([u - 2 * u**2 + 3 * u**3, 0.5 * u + 4 * u**3], dtype=F64)
    torch.testing.assert_close(model(x), expected.expand(5, 2))
    assert not model(torch.full((1, 1), 0.0 if variable == "x" else 1.0, dtype=F64)).any()


def test_powers_say_what_they_take() -> None:
    with pytest.raises(mk.MamlkitError, match="it has d_in=1"):
        mk.models.Powers()(torch.zeros(3, 2))
    with pytest.raises(mk.MamlkitError, match="variable"):
        mk.models.Powers(2, "log x")
