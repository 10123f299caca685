"""The meta-gradient does not depend on the path: eager, in chunks, captured, compiled."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import mamlkit as mk
from mamlkit.tasks import Data, Sinusoid, TaskBatch
from mamlkit.training.checkpoints import check_learner
from mamlkit.training.gradients import meta_gradients

N_TASKS = 5


def sinusoids(shots: int = 4, dtype: torch.dtype = torch.float64, seed: int = 0) -> TaskBatch:
    generator = torch.Generator().manual_seed(seed)
    return Sinusoid(noise=0.1).sample(N_TASKS, shots, generator=generator, dtype=dtype)


def lattices(dtype: torch.dtype = torch.float64) -> TaskBatch:
    """Three classes of random 8 x 8 lattices, four of each a task."""
    generator = torch.Generator().manual_seed(0)

    def data() -> Data:
        x = torch.randn(N_TASKS, 12, 1, 8, 8, generator=generator, dtype=torch.float64)
        return Data(x.to(dtype), (torch.arange(12) % 3).expand(N_TASKS, -1))

    return TaskBatch(data(), data(), {})


def mlp(**settings: Any) -> nn.Module:
    return mk.models.MLP(1, 1, hidden=(8, 6), x_range=(-5.0, 5.0), **settings)


def cnn() -> nn.Module:
    return mk.models.CNN(1, 3, hidden=(4, 4))


MAKERS: dict[str, Any] = {
    "MAML": lambda: mk.MAML(mlp(), inner_lr=0.05),
    "MAML, 5 steps": lambda: mk.MAML(mlp(), inner_lr=0.05, inner_steps=5),
    "MAML, relu": lambda: mk.MAML(mlp(activation="relu"), inner_lr=0.05, inner_steps=2),
    "FOMAML": lambda: mk.FOMAML(mlp(), inner_lr=0.05, inner_steps=2),
    "ANIL": lambda: mk.ANIL(mlp(), inner_lr=0.05, inner_steps=3),
    "Meta-SGD": lambda: mk.MetaSGD(mlp(), inner_lr=0.05, inner_steps=2),
    "matrix step": lambda: mk.MAML(mlp(), inner_lr=0.05, learn_lr="matrix"),
    "CoDA": lambda: mk.CoDA(mlp()),
    "Reptile": lambda: mk.Reptile(mlp(), inner_lr=0.05, inner_steps=2),
    "ridge head": lambda: mk.RidgeHead(mk.models.MLP(1, 6, hidden=(8,))),
    "ridge head, offset": lambda: mk.RidgeHead(mk.models.MLP(1, 6, hidden=(8,)), offset=True),
    "CNP": lambda: mk.CNP(mk.models.MLP(1, 2, (8,), context=3), mk.models.MLP(2, 3, (8,))),
    "Bayesian head": lambda: mk.BayesianHead(mk.models.MLP(1, 6, hidden=(8,)), 6),
    "ensemble": lambda: mk.Ensemble(lambda seed: mk.MAML(mlp(seed=seed), inner_lr=0.05), 2),
    "classification": lambda: mk.MAML(cnn(), inner_lr=0.4, loss=mk.losses.cross_entropy),
}

Found = tuple[dict[str, Tensor], float, list[float]]


def found(learner: nn.Module, batch: TaskBatch, **how: Any) -> Found:
    parameters = check_learner(learner)
    loss, support = meta_gradients(learner, parameters, **how)(batch)
    return {n: p.grad.clone() for n, p in parameters.items() if p.grad is not None}, loss, support


@pytest.mark.parametrize(
    ("name", "dtype"),
    [*((name, torch.float64) for name in MAKERS), ("MAML, relu", torch.float32)],
)
def test_eager_chunked_and_captured_agree(name: str, dtype: torch.dtype) -> None:
    rtol = 1e-11 if dtype == torch.float64 else 2e-5
    learner = MAKERS[name]().to(dtype)
    batch = lattices(dtype) if name == "classification" else sinusoids(dtype=dtype)
    gradient, loss, support = found(learner, batch)
    atol = rtol * max(float(g.abs().max()) for g in gradient.values())
    for how in (
        {"chunk_size": 2},  # 2, 2 and 1 tasks
        {"compile": "capture"},
        {"compile": "capture", "chunk_size": 3},  # 3 and 2 tasks
    ):
        other, other_loss, other_support = found(learner, batch, **how)
        torch.testing.assert_close(other, gradient, rtol=rtol, atol=atol)
        assert other_loss == pytest.approx(loss, rel=rtol)
        assert other_support == pytest.approx(support, rel=rtol)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's compiler uses torch.jit
def test_compiled_agrees_too() -> None:
    learner = mk.MetaSGD(mk.models.MLP(1, 1, hidden=(5,)).double(), inner_lr=0.05)
    batch = sinusoids()
    gradient, loss, support = found(learner, batch)
    other, other_loss, other_support = found(learner, batch, compile=True)
    torch.testing.assert_close(other, gradient, rtol=1e-12, atol=1e-14)
    assert (other_loss, *other_support) == pytest.approx((loss, *support), rel=1e-12)


def test_new_shapes_are_captured_anew() -> None:
    learner = MAKERS["MAML"]().double()
    parameters = dict(learner.named_parameters())
    gradients = meta_gradients(learner, parameters, compile="capture")
    for shots in (4, 3, 4):
        batch = sinusoids(shots)
        loss, _ = gradients(batch)
        captured = {n: p.grad for n, p in parameters.items()}
        expected, expected_loss, _ = found(learner, batch)
        assert loss == pytest.approx(expected_loss, rel=1e-12)
        torch.testing.assert_close(captured, expected, rtol=1e-12, atol=1e-14)


def test_weights_and_batches_are_read_anew() -> None:
    """As in training: other numbers in the same places, three optimiser steps long."""
    runs = []
    for compile in (False, "capture"):
        learner = MAKERS["MAML"]().double()
        parameters = dict(learner.named_parameters())
        gradients = meta_gradients(learner, parameters, compile=compile)
        optimiser = torch.optim.Adam(parameters.values(), lr=0.01)
        for seed in range(3):
            gradients(sinusoids(seed=seed))
            optimiser.step()
        runs.append({n: p.detach() for n, p in parameters.items()})
    torch.testing.assert_close(runs[1], runs[0], rtol=1e-10, atol=1e-12)


class Column(nn.Module):
    """A weight that does not lie row after row in memory."""

    def __init__(self) -> None:
        super().__init__()
        start = torch.arange(6.0).reshape(3, 2) / 6
        self.weight, self.head = nn.Parameter(start.T), nn.Parameter(torch.ones(3, 1) / 3)

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(torch.cat([x, x**2], dim=-1) @ self.weight) @ self.head


def test_training_does_not_depend_on_how_a_weight_lies_in_memory() -> None:
    """Adam's fused kernel walks through memory, so a gradient must lie there as its weight does."""
    ends = []
    for compile, row_major in ((False, True), (False, False), ("capture", False)):
        model = Column()
        if row_major:
            model.weight = nn.Parameter(model.weight.detach().contiguous())
        assert model.weight.is_contiguous() == row_major
        learner = mk.MAML(model, 0.1)
        mk.meta_train(learner, Sinusoid(), iterations=3, compile=compile, progress=False)
        ends.append([p.detach() for p in learner.parameters()])
    torch.testing.assert_close(ends[1], ends[0])
    torch.testing.assert_close(ends[2], ends[0])


def test_a_setting_that_changed_is_captured_anew() -> None:
    learner, batch = MAKERS["MAML"]().double(), sinusoids()
    captured = meta_gradients(learner, dict(learner.named_parameters()), compile="capture")
    before, _ = captured(batch)
    learner.inner_lr = 0.2
    after, _ = captured(batch)
    assert after == pytest.approx(found(learner, batch)[1], rel=1e-12)
    assert after != pytest.approx(before, rel=1e-3)


def test_a_parameter_without_a_gradient_has_a_gradient_of_zero_on_every_path() -> None:
    """Else Adam would skip it here and move it on there."""
    learner = mk.MAML(mlp().double(), 0.1, learn_lr="tensor", step_weights=[1.0, 0.0])
    for how in ({}, {"compile": "capture"}):
        gradient, _, _ = found(learner, sinusoids(), **how)
        assert [float(gradient[name]) for name in gradient if "rates" in name] == [0.0] * 6


class Line(nn.Module):
    """A learner by hand: losses ``mean (scale * (a + b) * x - y)^2 + noise``, no inner step."""

    scale: Tensor

    def __init__(self, noise: float = 0.0) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.tensor([0.3], dtype=torch.float64))
        self.b = nn.Parameter(torch.tensor([0.2], dtype=torch.float64))
        self.frozen = nn.Parameter(torch.ones(1, dtype=torch.float64), requires_grad=False)
        self.register_buffer("scale", torch.ones(1, dtype=torch.float64))
        self.noise = noise

    def query_losses(self, batch: TaskBatch) -> Tensor:
        return self(batch)[0]

    def forward(self, batch: TaskBatch) -> tuple[Tensor, Tensor]:
        y = (self.a + self.b) * batch.query.x
        y.mul_(self.scale * self.frozen)  # in place, as some models work
        losses = ((y - batch.query.y) ** 2).mean((1, 2))
        losses = losses + self.noise * torch.randn(len(losses), dtype=losses.dtype)
        return losses, losses.detach()[:, None]


def trainable(learner: nn.Module) -> dict[str, Tensor]:
    return {n: p for n, p in learner.named_parameters() if p.requires_grad}


def test_what_a_learner_keeps_is_seen_after_capture() -> None:
    learner, batch = Line(), sinusoids()
    parameters = trainable(learner)
    captured = meta_gradients(learner, parameters, compile="capture")
    eager = meta_gradients(learner, parameters)
    captured(batch)
    with torch.no_grad():
        learner.scale.mul_(3.0)
        learner.frozen.add_(0.5)
    assert captured(batch)[0] == pytest.approx(eager(batch)[0], rel=1e-12)
    learner.scale = torch.full_like(learner.scale, -2.0)  # another tensor, not a new value
    assert captured(batch)[0] == pytest.approx(eager(batch)[0], rel=1e-12)


def test_a_new_phase_is_captured_anew() -> None:
    class Annealed(Line):
        phase = 1.0  # the power of x

        def forward(self, batch: TaskBatch) -> tuple[Tensor, Tensor]:
            x, y = batch.query
            return super().forward(batch._replace(query=Data(x.abs() ** self.phase, y)))

    learner, batch = Annealed(), sinusoids()
    captured = meta_gradients(learner, trainable(learner), compile="capture")
    eager = meta_gradients(learner, trainable(learner))
    losses = []
    for phase in (1.0, 2.0, 1.0):
        learner.phase = phase
        losses.append(captured(batch)[0])
        assert losses[-1] == pytest.approx(eager(batch)[0], rel=1e-12)
    assert losses[0] == losses[2] != losses[1]


def test_gradients_of_one_step_do_not_share_memory() -> None:
    """d/da = d/db here, one tensor in the graph; clipping in place must not count twice."""
    learner = Line()
    parameters = trainable(learner)
    meta_gradients(learner, parameters, compile="capture")(sinusoids())
    a, b = (p.grad for p in parameters.values())
    assert a is not None
    assert b is not None
    before = b.clone()
    a.mul_(0.0)
    assert torch.equal(b, before)


def test_random_numbers_are_drawn_anew_as_in_eager() -> None:
    batch, losses = sinusoids(), {}
    for compile in (False, "capture"):
        learner = Line(noise=1.0)
        gradients = meta_gradients(learner, trainable(learner), compile=compile)
        with torch.random.fork_rng():
            torch.manual_seed(3)
            losses[compile] = [gradients(batch)[0] for _ in range(3)]
    assert len(set(losses["capture"])) == 3
    assert losses["capture"] == pytest.approx(losses[False], rel=1e-12)


def test_tied_weights() -> None:
    model = mk.models.MLP(1, 1, hidden=(5, 5, 5)).double()
    model.layers[2].weight = model.layers[1].weight
    learner = mk.MAML(model, inner_lr=0.05)
    eager, *_ = found(learner, sinusoids())
    captured, *_ = found(learner, sinusoids(), compile="capture")
    torch.testing.assert_close(captured, eager, rtol=1e-12, atol=1e-14)


def test_a_step_that_looks_at_values_cannot_be_captured() -> None:
    class Undecided(Line):
        def forward(self, batch: TaskBatch) -> tuple[Tensor, Tensor]:
            losses, support = super().forward(batch)
            return (losses if losses.mean() > 1 else 2 * losses), support

    learner = Undecided()
    found(learner, sinusoids())
    with pytest.raises(mk.MamlkitError, match=r"Undecided cannot be captured.*compile=False"):
        meta_gradients(learner, trainable(learner), compile="capture")(sinusoids())


def test_errors_of_the_model_come_through() -> None:
    learner = mk.MAML(mk.models.MLP(1, 2).double())
    with pytest.raises(mk.MamlkitError, match="predicts shape"):
        meta_gradients(learner, trainable(learner), compile="capture")(sinusoids())


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_without_a_compiler(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    from torch._inductor import config

    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    learner = Line()
    nowhere = {"cpp.cxx": (str(tmp_path / "no-such-compiler"),)}
    with config.patch(nowhere), pytest.raises(mk.MamlkitError, match=r"needs a C\+\+ compiler"):
        meta_gradients(learner, trainable(learner), compile=True)(sinusoids())


SPACE = """CppCompileError: C++ compile error

Command:
g++ /home/a b/x.cpp -Wno-error

Output:
g++: fatal error: input file '/home/a' is the same as output file
"""


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (SPACE, r"C\+\+ compile error; g.*input file '/home/a'.*a space .*TORCHINDUCTOR_CACHE_DIR"),
        ("InvalidCxxCompiler: No working C++ compiler found", r"needs a C\+\+ compiler.*install"),
        ("", r"RuntimeError.*compile='capture'"),
    ],
)
def test_why_a_step_cannot_be_compiled(
    said: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*given: Any, **more: Any) -> None:
        raise RuntimeError(said)

    monkeypatch.setattr("torch._inductor.compile", fail)
    learner = mk.MAML(mk.models.MLP(1, 1, (3,)).double())
    with pytest.raises(mk.MamlkitError, match=words) as caught:
        meta_gradients(learner, check_learner(learner), compile=True)(sinusoids())
    assert ("install" in str(caught.value)) == ("No working" in said)
