"""Models and losses that ``vmap`` cannot take run one task after another, with the same gradients;
what cannot be meta-learned is refused in plain words.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, cast

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune
from torch.utils.checkpoint import checkpoint

import mamlkit as mk
from mamlkit.learners.vectorise import WRITTEN_OUT
from mamlkit.models import copied
from mamlkit.tasks import Data, Family, TaskBatch
from mamlkit.training.gradients import meta_gradients
from tests.helpers import normal

#: Sequences of three numbers; what torch says on the way is its own affair.
pytestmark = [
    pytest.mark.filterwarnings("ignore:There is a performance drop"),
    pytest.mark.filterwarnings("ignore:torch.quant"),
    pytest.mark.filterwarnings("ignore:torch.ao.quantization:DeprecationWarning"),
]
BATCH = TaskBatch(
    Data(normal(3, 4, 3), normal(3, 4, 1, seed=1)),
    Data(normal(3, 5, 3, seed=2), normal(3, 5, 1, seed=3)),
    {},
)


class Sequences(Family):
    """One law a task: the mean of a sequence times a factor."""

    d_in, d_out = 3, 1

    def draw(self, n_tasks: int, generator: torch.Generator) -> dict[str, Tensor]:
        return {"factor": torch.randn(n_tasks, generator=generator, dtype=torch.float64)}

    def inputs(self, n_tasks: int, n: int, generator: torch.Generator) -> Tensor:
        return torch.randn(n_tasks, n, 3, generator=generator, dtype=torch.float64)

    def law(self, x: Tensor, physics: dict[str, Tensor]) -> Tensor:
        return physics["factor"] * x.mean(-1, keepdim=True)


class Read(nn.Module):
    """A core that makes four features of a sequence, by ``use``, and a linear read-out."""

    def __init__(self, core: nn.Module, use: Callable[[Any, Tensor], Tensor], out: int = 1) -> None:
        super().__init__()
        self.core, self.use, self.head = core, use, nn.Linear(4, out)

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.head(self.use(self.core, x)))


class OldSine(torch.autograd.Function):
    """A function of the old kind, which torch.func does not take."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.sin()

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return slope * x.cos()


class Counting(nn.Module):
    """Writes to a buffer whenever it is called."""

    calls: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 4)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return self.layer(x).tanh()


def last(core: Any, x: Tensor) -> Tensor:
    return cast(Tensor, core(x[:, :, None])[0][:, -1])


def steps_of_cell(core: Any, x: Tensor) -> Tensor:
    h = c = x.new_zeros(len(x), 4)
    for k in range(x.shape[1]):
        h, c = core(x[:, k : k + 1], (h, c))
    return h


def by_value(core: Any, x: Tensor) -> Tensor:
    return cast(Tensor, core(x).tanh() if x.mean() > 100 else core(x).sin())


def by_numpy(core: Any, x: Tensor) -> Tensor:
    return cast(Tensor, core(x).sin() * float(np.sign(x.detach().numpy().max() + 100)))


def attention(core: Any, x: Tensor) -> Tensor:
    h = x[:, :, None].expand(-1, -1, 4)
    return cast(Tensor, core(h, h, h, need_weights=False)[0].mean(1))


def plain(core: Any, x: Tensor) -> Tensor:
    return cast(Tensor, core(x))


#: How to make a model, and whether its tasks run one after another.
MODELS: dict[str, tuple[Callable[[], nn.Module], bool]] = {
    "LSTM": (lambda: Read(nn.LSTM(1, 4, batch_first=True), last), True),
    "GRU": (lambda: Read(nn.GRU(1, 4, batch_first=True), last), True),
    "RNN": (lambda: Read(nn.RNN(1, 4, batch_first=True), last), True),
    "LSTMCell": (lambda: Read(nn.LSTMCell(1, 4), steps_of_cell), True),
    "attention": (lambda: Read(nn.MultiheadAttention(4, 2, batch_first=True), attention), False),
    "transformer": (
        lambda: Read(
            nn.TransformerEncoderLayer(4, 2, 8, dropout=0.0, batch_first=True),
            lambda core, x: core(x[:, :, None].expand(-1, -1, 4)).mean(1),
        ),
        False,
    ),
    "spectral norm": (lambda: Read(parametrizations.spectral_norm(nn.Linear(3, 4)), plain), True),
    "old function": (lambda: Read(nn.Linear(3, 4), lambda c, x: OldSine.apply(c(x))), True),
    "values": (lambda: Read(nn.Linear(3, 4), by_value), True),
    "buffer": (lambda: Read(Counting(), plain), True),
    "numpy": (lambda: Read(nn.Linear(3, 4), by_numpy), True),
    "pruned": (
        lambda: Read(prune.l1_unstructured(nn.Linear(3, 4), "weight", amount=0.5), plain),
        False,
    ),
}
LEARNERS: dict[str, Callable[[nn.Module], Any]] = {
    "MAML": lambda model: mk.MAML(model, 0.1, 2),
    "first order": lambda model: mk.FOMAML(model, 0.1, 2),
    "ANIL": lambda model: mk.ANIL(model, 0.1, 2),
    "MAML++": lambda model: mk.MAMLPlusPlus(model, 0.1, 2),
    "adam, pulled": lambda model: mk.MAML(model, 0.1, 2, rule=mk.learners.adam(), penalty=0.1),
    "Reptile": lambda model: mk.Reptile(model, 0.1, 2),
    "ridge": mk.RidgeHead,
    "Bayes": lambda model: mk.BayesianHead(model, 1),
}


def made(name: str, learner: str = "MAML") -> Any:
    torch.manual_seed(0)
    return LEARNERS[learner](MODELS[name][0]().double())


def meta_gradient(learner: Any, batch: TaskBatch = BATCH) -> tuple[Tensor, list[Tensor]]:
    losses = learner.query_losses(batch)
    parameters = [p for p in learner.parameters() if p.requires_grad]
    found = torch.autograd.grad(losses.sum(), parameters, materialize_grads=True)
    return losses.detach(), list(found)


def assert_close(one: Any, other: Any) -> None:
    assert torch.allclose(one[0], other[0], rtol=1e-10, atol=1e-12)
    for a, b in zip(one[1], other[1], strict=True):
        assert torch.allclose(a, b, rtol=1e-9, atol=1e-10)


def quietly(work: Callable[[], Any]) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", mk.MamlkitWarning)
        return work()


@pytest.mark.parametrize("learner", LEARNERS)
@pytest.mark.parametrize("name", MODELS)
def test_every_model_in_every_learner(name: str, learner: str) -> None:
    """It trains, adapts and says so once where it is slow; its gradient is that of finite
    differences.
    """
    made_one = made(name, learner)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        losses, gradient = meta_gradient(made_one)
        meta_gradient(made_one)
        curves = made_one.episodes(BATCH)
        adapted = made_one.adapt(BATCH.support.x[0], BATCH.support.y[0])
    ours = [str(each.message) for each in said if each.category is mk.MamlkitWarning]
    assert len(ours) == (made_one.way == "in turn")
    assert all("one after another: the same gradients" in line for line in ours)
    if learner not in ("ridge", "Bayes", "ANIL"):  # their tasks share the core
        assert (made_one.way == "in turn") == MODELS[name][1]
    assert losses.isfinite().all()
    assert max(float(g.abs().max()) for g in gradient) > 0
    predicted = adapted(BATCH.query.x[0])
    assert predicted.shape == (5, 1)
    if name == "spectral norm":  # its power iteration goes on with every call
        return
    if learner != "Bayes":
        expected = (predicted - BATCH.query.y[0]).square().mean()
        assert torch.allclose(curves.query[0, -1], expected, rtol=1e-10)
    if learner in ("Reptile", "first order"):  # not the gradient of a loss
        return
    trained = [n for n, p in made_one.named_parameters() if p.requires_grad]
    slope = slope_at(made_one, "model.head.bias")
    found = gradient[trained.index("model.head.bias")].sum()
    assert torch.allclose(found, slope, rtol=1e-5, atol=1e-8)


def slope_at(learner: Any, name: str, step: float = 1e-5) -> Tensor:
    """The slope of the sum of losses along all entries of a parameter, by finite differences."""
    weight = dict(learner.named_parameters())[name]
    values = []
    for move in (step, -step):
        with torch.no_grad():
            weight += move
            values.append(learner.query_losses(BATCH).sum())
            weight -= move
    return (values[0] - values[1]) / (2 * step)


#: Layers and functions whose derivatives are made in a way of their own.
LAYERS: dict[str, Callable[[], nn.Module]] = {
    "LayerNorm": lambda: nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Tanh()),
    "GroupNorm": lambda: nn.Sequential(nn.Linear(3, 4), nn.GroupNorm(2, 4), nn.Tanh()),
    "RMSNorm": lambda: nn.Sequential(nn.Linear(3, 4), nn.RMSNorm(4), nn.Tanh()),
    "BatchNorm": lambda: nn.Sequential(
        nn.Linear(3, 4), nn.BatchNorm1d(4, track_running_stats=False), nn.Tanh()
    ),
    "InstanceNorm": lambda: nn.Sequential(
        nn.Linear(3, 4), nn.Unflatten(1, (2, 2)), nn.InstanceNorm1d(2), nn.Flatten()
    ),
    "weight norm": lambda: parametrizations.weight_norm(nn.Linear(3, 4)),
    "GELU": lambda: nn.Sequential(nn.Linear(3, 4), nn.GELU()),
    "Mish": lambda: nn.Sequential(nn.Linear(3, 4), nn.Mish()),
    "GLU": lambda: nn.Sequential(nn.Linear(3, 8), nn.GLU()),
    "Softmax": lambda: nn.Sequential(nn.Linear(3, 4), nn.Softmax(-1)),
    "convolution": lambda: nn.Sequential(
        nn.Linear(3, 9),
        nn.Unflatten(1, (1, 3, 3)),
        nn.Conv2d(1, 4, 3, padding=1, padding_mode="circular"),
        nn.Tanh(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    ),
    "transposed": lambda: nn.Sequential(
        nn.Linear(3, 3), nn.Unflatten(1, (1, 3)), nn.ConvTranspose1d(1, 1, 2), nn.Flatten()
    ),
    "pooling": lambda: nn.Sequential(
        nn.Linear(3, 8), nn.Tanh(), nn.Unflatten(1, (1, 8)), nn.MaxPool1d(2), nn.Flatten()
    ),
}


@pytest.mark.parametrize("name", LAYERS)
def test_second_derivatives_of_layers_are_exact(name: str) -> None:
    """Both ways and by finite differences. Torch has those of three norms wrong, without a word."""
    torch.manual_seed(0)
    learner: Any = mk.MAML(Read(LAYERS[name](), plain).double(), 0.1, 2)
    in_turn = copied(learner)
    in_turn.way = "in turn"
    one, other = meta_gradient(learner), meta_gradient(in_turn)
    assert learner.way == "together"
    assert_close(one, other)
    names = [n for n, _ in learner.named_parameters()]
    for place, weight in enumerate(names):
        slope = slope_at(learner, weight)
        assert torch.allclose(one[1][place].sum(), slope, rtol=1e-5, atol=1e-8), weight


@pytest.mark.parametrize("name", ["LayerNorm", "BatchNorm", "weight norm"])
def test_a_record_of_norms_is_as_exact(name: str) -> None:
    torch.manual_seed(0)
    learner: Any = mk.MAML(Read(LAYERS[name](), plain).double(), 0.1, 2)
    parameters = dict(learner.named_parameters())
    losses, gradient = meta_gradient(learner)
    loss, _ = meta_gradients(learner, parameters, compile="capture")(BATCH)
    assert loss == pytest.approx(float(losses.mean()), rel=1e-12)
    for parameter, expected in zip(parameters.values(), gradient, strict=True):
        assert torch.allclose(cast(Tensor, parameter.grad), expected / 3, rtol=1e-10, atol=1e-12)


def test_norms_written_out_are_those_of_torch() -> None:
    x, weight, bias = normal(5, 3, 4), normal(3, 4, seed=1), normal(3, 4, seed=2)
    cases: list[tuple[Any, Any]] = [
        (F.layer_norm, (x, (3, 4), weight, bias, 1e-3)),
        (F.layer_norm, (x, (4,))),
        (F.batch_norm, (x, None, None, weight[:, 0], bias[:, 0], True)),
        (F.batch_norm, (x[..., 0], None, None, None, None, True)),
        (torch._weight_norm, (x, normal(5, 1, 1, seed=3))),
        (torch._weight_norm, (x, normal(1, 1, 4, seed=3), 2)),
        (torch._weight_norm, (x, torch.tensor(2.0).double(), -1)),
    ]
    for function, given in cases:
        assert torch.allclose(WRITTEN_OUT[function](*given), function(*given), rtol=1e-12)


def everyday(learner: str) -> Any:
    torch.manual_seed(0)
    model = mk.models.MLP(3, 4 if learner in ("ridge", "implicit") else 1, (5,)).double()
    return {**LEARNERS, **MORE}[learner](model)


MORE: dict[str, Callable[[nn.Module], Any]] = {
    "Meta-SGD": lambda model: mk.MetaSGD(model, 0.1, 2),
    "CAVIA": lambda _: mk.CAVIA(mk.models.MLP(3, 1, (5,), context=2).double(), 0.1, 2),
    "matrix": lambda model: mk.MAML(model, 0.1, 2, learn_lr="matrix"),
    "implicit": lambda _: mk.ImplicitMAML(
        mk.models.MLP(3, 1, (5,)).double(), 2.0, learn_penalty=True, tolerance=1e-9
    ),
    "ensemble": lambda _: mk.Ensemble(lambda seed: own(seed), 2),
    "multistart": lambda _: mk.Multistart(lambda seed: own(seed), 2),
}


def own(seed: int) -> mk.MAML:
    return mk.MAML(mk.models.MLP(3, 1, (5,), seed=seed).double(), 0.1, 2)


@pytest.mark.parametrize("name", [*LEARNERS, *MORE])
def test_both_ways_agree(name: str) -> None:
    """Losses, meta-gradients, curves and predictions, where both ways can be gone."""
    together, in_turn = everyday(name), everyday(name)
    in_turn.way = "in turn"
    tight = 1e-5 if name == "implicit" else 1e-10  # as far as its solver goes
    one, other = meta_gradient(together), meta_gradient(in_turn)
    assert torch.allclose(one[0], other[0], rtol=tight, atol=tight)
    for a, b in zip(one[1], other[1], strict=True):
        assert torch.allclose(a, b, rtol=tight, atol=tight)
    for a, b in zip(together.episodes(BATCH), in_turn.episodes(BATCH), strict=True):
        assert torch.allclose(a, b, rtol=tight, atol=tight)
    x, y, new = BATCH.support.x[1], BATCH.support.y[1], BATCH.query.x[1]
    a, b = together.adapt(x, y), in_turn.adapt(x, y)
    assert torch.allclose(a(new), b(new), rtol=tight, atol=tight)
    assert torch.allclose(a.losses, b.losses, rtol=tight, atol=tight)


@pytest.mark.parametrize("kind", ["ensemble", "multistart", "implicit"])
def test_stacks_and_implicit_maml_take_a_recurrent_model(kind: str) -> None:
    def make(seed: int) -> mk.MAML:
        torch.manual_seed(seed)
        return mk.MAML(Read(nn.LSTM(1, 4, batch_first=True), last).double(), 0.1, 2)

    learner: Any = {
        "ensemble": lambda: mk.Ensemble(make, 2),
        "multistart": lambda: mk.Multistart(make, 2),
        "implicit": lambda: mk.ImplicitMAML(make(0).model, 5.0),
    }[kind]()
    losses, gradient = quietly(lambda: meta_gradient(learner))
    assert losses.isfinite().all()
    assert max(float(g.abs().max()) for g in gradient) > 0
    predict = quietly(lambda: learner.adapt(BATCH.support.x[0], BATCH.support.y[0]))
    assert predict(BATCH.query.x[0]).shape == (5, 1)


def test_the_whole_way_with_a_recurrent_model() -> None:
    """Training, in chunks too, validation, curves, comparison, costs and a start from scratch."""
    learner, whole = made("LSTM"), made("LSTM")
    family = Sequences()
    settings: Any = {"shots": 3, "queries": 4, "meta_batch": 4, "iterations": 3, "progress": False}
    history = quietly(
        lambda: mk.meta_train(
            learner, family, validation=family, validation_tasks=3, chunk_size=2, **settings
        )
    )
    quietly(lambda: mk.meta_train(whole, family, **settings))
    assert np.isfinite(history.outer_loss + history.validation_loss).all()
    for a, b in zip(learner.parameters(), whole.parameters(), strict=True):
        assert torch.allclose(a, b, rtol=1e-6, atol=1e-8)
    curve = mk.evaluate(learner, family, 3, steps=2, n_tasks=3, queries=4)
    assert curve.losses.isfinite().all()
    scratch = mk.yardsticks.FromScratch(learner.model, steps=2)
    table = quietly(
        lambda: mk.compare({"MAML": learner, "scratch": scratch}, family, 3, n_tasks=3, queries=4)
    )
    assert np.isfinite(table["mean"]).all()
    costs = mk.cost_table({"MAML": learner}, family, 3, queries=4, meta_batch=2, repeats=1)
    assert costs["meta_flops"].iloc[0] > 0


def test_a_loss_that_looks_at_values() -> None:
    def loss(predict: Any, data: Any) -> Tensor:
        error = (predict(data.x) - data.y).square().mean()
        return error if float(error.detach()) > 0 else error * 0

    learner: Any = mk.MAML(mk.models.MLP(3, 1, (5,)).double(), 0.1, 2, loss=loss)
    with pytest.warns(mk.MamlkitWarning, match="one after another"):
        found = meta_gradient(learner)
    assert_close(found, meta_gradient(mk.MAML(mk.models.MLP(3, 1, (5,)).double(), 0.1, 2)))


def test_an_error_of_the_model_is_its_own() -> None:
    """What fails in both ways is the model's error, and no word of tasks one after another."""

    def broken(core: Any, x: Tensor) -> Tensor:
        raise KeyError("no such layer")

    learner: Any = mk.MAML(Read(nn.Linear(3, 4), broken).double())
    with warnings.catch_warnings():
        warnings.simplefilter("error", mk.MamlkitWarning)
        with pytest.raises(KeyError, match="no such layer"):
            learner.query_losses(BATCH)
    assert "way" not in vars(learner)


# Whole numbers.


class Levels(nn.Module):
    """A number for each level: whole numbers in, ``[n, 1]``."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.head = nn.Embedding(6, 4), nn.Linear(4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.head(self.table(x[:, 0]).tanh()))


@pytest.mark.parametrize("x", [torch.tensor([[1], [4], [2]]), torch.tensor([[0], [5], [5]])])
def test_an_embedding_trains_and_adapts(x: Tensor) -> None:
    torch.manual_seed(0)
    learner: Any = mk.MAML(Levels().double(), 0.1, 3)
    y = normal(3, 1)
    batch = TaskBatch(Data(x[None], y[None]), Data(x[None], y[None]), {})
    losses, _ = meta_gradient(learner, batch)
    predict = learner.adapt(x, y)
    assert torch.allclose((predict(x) - y).square().mean(), losses[0])
    scratch = mk.yardsticks.FromScratch(Levels().double(), steps=3).adapt(x, y)
    assert scratch(x).shape == (3, 1)


def test_whole_numbers_typed_by_hand_are_real_numbers() -> None:
    learner: Any = mk.MAML(nn.Sequential(nn.Linear(1, 4), nn.Tanh(), nn.Linear(4, 1)), 0.1)
    x, y = torch.tensor([[1], [2]]), torch.tensor([[3], [4]])
    predict = learner.adapt(x, y)
    assert torch.equal(predict(x), predict(x.float()))
    assert torch.equal(predict(x), learner.adapt(x.float(), y.float())(x))


# Nothing is computed twice.


@pytest.mark.parametrize(
    ("make", "support"),
    [(lambda body: mk.ANIL(body, 0.1, 5), 1), (lambda body: mk.MAML(body, 0.1, 5), 6)],
)
def test_what_does_not_adapt_is_run_once(make: Any, support: int) -> None:
    """The body of ANIL on the support, whatever the number of steps."""
    body = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)).double()
    learner: Any = make(body)
    learner.way = "in turn"
    calls: list[int] = []
    learner.model[0].register_forward_hook(lambda _, given, result: calls.append(len(given[0])))
    learner.inner_path(Data(*(leaf[0] for leaf in BATCH.support)), 5)
    assert len(calls) == support


@pytest.mark.parametrize("head", [mk.RidgeHead, lambda body: mk.BayesianHead(body, 4)])
def test_a_head_computes_features_of_the_support_once(head: Any) -> None:
    learner: Any = head(nn.Linear(3, 4).double())
    calls: list[int] = []
    learner.model.register_forward_hook(lambda _, given, result: calls.append(len(given[0])))
    learner.inner_path(Data(*(leaf[0] for leaf in BATCH.support)), 0)
    assert len(calls) == 1


def test_a_layer_that_is_not_the_last_is_no_head() -> None:
    """What comes after the only layer that adapts is computed at each step."""
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)).double()
    learner: Any = mk.MAML(model, 0.1, 2, adapt="0.*")
    x, y = BATCH.support.x[0], BATCH.support.y[0]
    theta = {n: w.detach().clone().requires_grad_() for n, w in model.named_parameters()}
    for _ in range(2):
        loss = (torch.func.functional_call(model, theta, (x,)) - y).square().mean()
        slopes = torch.autograd.grad(loss, [theta["0.weight"], theta["0.bias"]])
        for name, slope in zip(("0.weight", "0.bias"), slopes, strict=True):
            theta[name] = (theta[name] - 0.1 * slope).detach().requires_grad_()
    expected = torch.func.functional_call(model, theta, (x,))
    assert torch.allclose(learner.adapt(x, y)(x), expected, rtol=1e-12)


# Refused in words.


def dropout_inside(core: Any, x: Tensor) -> Tensor:
    return F.dropout(core(x), 0.5)


@pytest.mark.parametrize(
    "model",
    [
        lambda: nn.LSTM(1, 4, num_layers=2, dropout=0.5),
        lambda: nn.MultiheadAttention(4, 2, dropout=0.1),
        lambda: nn.TransformerEncoderLayer(4, 2, 8),
    ],
)
def test_dropout_inside_a_layer_is_refused(model: Any) -> None:
    with pytest.raises(mk.MamlkitError, match=r"dropout|Dropout"):
        mk.MAML(model())


def test_dropout_by_hand_is_refused() -> None:
    learner: Any = mk.MAML(Read(nn.Linear(3, 4), dropout_inside).double(), 0.1)
    with pytest.raises(mk.MamlkitError, match="draws random numbers"):
        learner.query_losses(BATCH)
    with pytest.raises(mk.MamlkitError, match="draws random numbers"):
        learner.adapt(BATCH.support.x[0], BATCH.support.y[0])


def test_checkpointing_is_refused() -> None:
    """It would compute anew with other weights than those of the inner step."""

    def saved(core: Any, x: Tensor) -> Tensor:
        return cast(Tensor, checkpoint(lambda v: core(v).tanh(), x, use_reentrant=False))

    learner: Any = mk.MAML(Read(nn.Linear(3, 4), saved).double(), 0.1)
    with pytest.raises(mk.MamlkitError, match="checkpointing"):
        learner.query_losses(BATCH)


def test_a_function_without_a_second_derivative() -> None:
    """It is said, and first order does without."""
    model = Read(nn.Sequential(nn.Linear(3, 4), nn.Hardsigmoid()), plain).double()
    settings: Any = {"shots": 3, "meta_batch": 2, "iterations": 2, "progress": False}
    with pytest.raises(mk.MamlkitError, match=r"no second derivative.*hardsigmoid.*first_order"):
        mk.meta_train(mk.MAML(model, 0.1), Sequences(), **settings)
    with pytest.raises(mk.MamlkitError, match=r"no second derivative.*hardsigmoid"):
        mk.ImplicitMAML(model).query_losses(BATCH)
    mk.meta_train(mk.FOMAML(model, 0.1), Sequences(), **settings)


def test_batch_norm_is_refused_without_bad_advice() -> None:
    with pytest.raises(mk.MamlkitError, match="GroupNorm or LayerNorm") as told:
        mk.MAML(nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)))
    assert "track_running_stats" not in str(told.value)


def test_quantised_layers_are_refused() -> None:
    quantised = torch.ao.quantization.quantize_dynamic(
        nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 1)), {nn.Linear}
    )
    with pytest.raises(mk.MamlkitError, match="quantised"):
        mk.MAML(quantised)


@pytest.mark.parametrize(
    "loss", [mk.losses.mse, mk.losses.cross_entropy, mk.losses.hinge, nn.MSELoss(), F.mse_loss]
)
def test_a_model_that_returns_more_than_a_tensor(loss: Any) -> None:
    class Pair(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(3, 1)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return self.layer(x), x

    learner: Any = mk.MAML(Pair().double(), loss=loss)
    with pytest.raises(mk.MamlkitError, match="of type tuple"):
        learner.query_losses(BATCH)


# Copies.


def test_a_copy_is_a_deep_copy() -> None:
    """Of parameters, buffers, ties, hooks and what a forward pass left behind."""
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2), nn.LSTM(2, 3))
    model[1].weight = model[0].weight
    cast(Any, model).notes = {"a": [1, 2]}
    cast(Any, model).activation = model[0](normal(3, 2).float())
    twin: Any = copied(model)
    assert twin[0].weight is twin[1].weight is not model[0].weight
    assert twin[2]._flat_weights[0] is twin[2].weight_ih_l0
    assert twin.notes == {"a": [1, 2]}
    assert twin.notes["a"] is not cast(Any, model).notes["a"]
    assert torch.equal(twin.activation, cast(Any, model).activation)
    for (n, a), (m, b) in zip(model.named_parameters(), twin.named_parameters(), strict=True):
        assert n == m
        assert torch.equal(a, b)
        assert a is not b
        assert a.requires_grad == b.requires_grad
    with torch.no_grad():
        twin[0].weight += 1
    assert not torch.equal(twin[0].weight, model[0].weight)
    assert repr(twin) == repr(model)


def test_a_pruned_model_moves_along_a_few_directions() -> None:
    """A hook has left a weight in it that ``copy.deepcopy`` cannot take."""
    pruned = prune.l1_unstructured(nn.Linear(3, 1).double(), "weight", amount=1)
    learner: Any = mk.CoDA(pruned, 0.1, 2)
    losses, gradient = meta_gradient(learner)
    assert losses.isfinite().all()
    assert max(float(g.abs().max()) for g in gradient) > 0


# A step size for each inner step.


@pytest.mark.parametrize("learned", [None, "step"])
def test_a_step_size_for_each_step(learned: Any) -> None:
    model = mk.models.MLP(3, 1, (5,)).double()
    learner: Any = mk.MAML(model, [0.1, 0.3, 0.2], 3, learn_lr=learned)
    x, y = BATCH.support.x[0], BATCH.support.y[0]
    theta = {n: w.detach().clone().requires_grad_() for n, w in model.named_parameters()}
    for rate in (0.1, 0.3, 0.2, 0.2):  # the last serves all later steps
        loss = (torch.func.functional_call(model, theta, (x,)) - y).square().mean()
        slopes = torch.autograd.grad(loss, list(theta.values()))
        pairs = zip(theta.items(), slopes, strict=True)
        theta = {n: (w - rate * g).detach().requires_grad_() for (n, w), g in pairs}
    expected = torch.func.functional_call(model, theta, (x,))
    assert torch.allclose(learner.adapt(x, y, steps=4)(x), expected, rtol=1e-12)
    assert "0.1, 0.3, 0.2" in repr(learner)


@pytest.mark.parametrize(
    ("steps", "learned"), [(2, None), (3, "element"), (3, "tensor"), (2, "step")]
)
def test_step_sizes_that_do_not_fit(steps: int, learned: Any) -> None:
    with pytest.raises(mk.MamlkitError, match="one step size for each"):
        mk.MAML(mk.models.MLP(3, 1), [0.1, 0.2, 0.3], steps, learn_lr=learned)
