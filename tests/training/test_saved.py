"""Saving whole: what comes back is what was saved, without the code that built it."""

from __future__ import annotations

import enum
import json
import pickle
import subprocess
import sys
import zipfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import mamlkit as mk
from tests.helpers import ROOT, assert_same_state, normal

X, Y, NEW = normal(5, 1), normal(5, 1, seed=1), normal(7, 1, seed=2)


def net(d_out: int = 1, **more: Any) -> mk.models.MLP:
    return mk.models.MLP(1, d_out, (6,), **more).double()


def table() -> mk.tasks.Table:
    rng = np.random.default_rng(0)
    xs = [np.sort(rng.uniform(0, 1, n)) for n in (5, 7, 9, 6, 8)]
    return mk.tasks.Table(xs, [np.sin(5 * x) + 0.1 * i * x for i, x in enumerate(xs)])


def maml(seed: int) -> mk.MAML:
    return mk.MAML(net(seed=seed), 0.1, 2)


def head(seed: int) -> mk.BayesianHead:
    return mk.BayesianHead(net(4, seed=seed), 4)


LEARNERS: dict[str, Any] = {
    "MAML": lambda: mk.MAML(net(), 0.1, 3, rule=mk.learners.chain(mk.learners.clip(1.0))),
    "FOMAML": lambda: mk.FOMAML(net(), 0.1, 2),
    "ANIL": lambda: mk.ANIL(net(), 0.1, 2),
    "MetaSGD": lambda: mk.MetaSGD(net(), 0.1),
    "MAML++": lambda: mk.MAMLPlusPlus(net(), 0.1),
    "CAVIA": lambda: mk.CAVIA(net(context=2, feed="modulate"), 0.1),
    "CoDA": lambda: mk.CoDA(net(), 0.1),
    "Reptile": lambda: mk.Reptile(net(), 0.1, 3, rule=mk.learners.adam()),
    "implicit": lambda: mk.ImplicitMAML(net(), 1.0),
    "ridge": lambda: mk.RidgeHead(net(4)),
    "ridge, offset": lambda: mk.RidgeHead(net(4), offset=True),
    "CNP": lambda: mk.CNP(net(2, context=3), mk.models.MLP(2, 3, (6,)).double()),
    "specialists": lambda: mk.Specialists(head, 3, average=False),
    "Bayes": lambda: mk.BayesianHead(net(4), 4),
    "ensemble": lambda: mk.Ensemble(maml, 2),
    "multistart": lambda: mk.Multistart(maml, 3),
    "pooled": lambda: mk.yardsticks.Pooled(net()),
    "torch": lambda: mk.MAML(nn.Sequential(nn.Linear(1, 3), nn.Tanh(), nn.Linear(3, 1)).double()),
    "simulator": lambda: mk.MAML(
        mk.Simulator(mk.tasks.oscillator.law, mk.recipes.oscillator.BOUNDS).double(), 0.1
    ),
}
YARDSTICKS: dict[str, Any] = {
    "zero": mk.yardsticks.Zero,
    "mean": lambda: mk.yardsticks.MeanCurve.fit(table()),
    "mean on a grid": lambda: mk.yardsticks.MeanCurve.fit(mk.tasks.Sinusoid(), 9),
    "latent": lambda: mk.yardsticks.LinearLatent.fit(table()),
    "latent on a grid": lambda: mk.yardsticks.LinearLatent.fit(mk.tasks.Sinusoid(), 9),
    "PCA": lambda: mk.yardsticks.ProbabilisticPCA.fit(table(), 2),
    "process": lambda: mk.yardsticks.GaussianProcess.fit(table()),
    "process on a grid": lambda: mk.yardsticks.GaussianProcess.fit(mk.tasks.Sinusoid(), 5),
    "mixed": lambda: mk.yardsticks.MixedEffects(table()),
    "Bayes": lambda: mk.yardsticks.Bayes.fit(mk.tasks.LinearLaw()),
    "ridge": lambda: mk.yardsticks.Ridge(0.1, mk.yardsticks.polynomial(2)),
    "scratch": lambda: mk.yardsticks.FromScratch(net()),
}


@pytest.mark.parametrize("name", LEARNERS)
def test_a_learner_and_its_prediction_come_back(name: str, tmp_path: Path) -> None:
    learner: Any = LEARNERS[name]()
    mk.save(learner, tmp_path / "a")
    again = mk.load(tmp_path / "a")
    assert type(again) is type(learner)
    assert repr(again) == repr(learner)
    assert_same_state(again, learner)
    assert [p.requires_grad for p in again.parameters()] == [
        p.requires_grad for p in learner.parameters()
    ]
    if name == "simulator":
        predict, x = learner.adapt(X, Y), X
    else:
        predict, x = learner.adapt(X, Y, **({} if name in NO_STEPS else {"steps": 1})), NEW
        found = again.adapt(X, Y, **({} if name in NO_STEPS else {"steps": 1}))
        assert torch.equal(found(x), predict(x))
    mk.save(predict, tmp_path / "b")
    same = mk.load(tmp_path / "b")
    assert torch.equal(same(x), predict(x))
    assert torch.equal(same.losses, predict.losses)
    assert repr(pickle.loads(pickle.dumps(learner))) == repr(learner)
    sent = pickle.loads(pickle.dumps(predict))
    assert torch.equal(sent(x), predict(x))
    assert torch.equal(sent.losses, predict.losses)


NO_STEPS = ("ridge", "ridge, offset", "CNP", "specialists", "Bayes", "implicit")


@pytest.mark.parametrize("name", YARDSTICKS)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_yardstick_comes_back(name: str, tmp_path: Path) -> None:
    yardstick: Any = YARDSTICKS[name]()
    mk.save(yardstick, tmp_path / "a")
    again = mk.load(tmp_path / "a")
    assert type(again) is type(yardstick)
    predict = yardstick.adapt(X, Y)
    assert torch.equal(again.adapt(X, Y)(NEW), predict(NEW))
    mk.save(predict, tmp_path / "b")
    assert torch.equal(mk.load(tmp_path / "b")(NEW), predict(NEW))
    sent = pickle.loads(pickle.dumps((yardstick, predict)))
    assert torch.equal(sent[0].adapt(X, Y)(NEW), predict(NEW))
    assert torch.equal(sent[1](NEW), predict(NEW))


def test_training_goes_on_from_what_was_loaded(tmp_path: Path) -> None:
    learner = mk.MAMLPlusPlus(net(), 0.1)
    mk.save(learner, tmp_path / "a")
    again = mk.load(tmp_path / "a")
    for each in (learner, again):
        mk.meta_train(each, mk.tasks.Sinusoid(), 3, iterations=3, progress=False)
    assert_same_state(again, learner)


def test_tied_weights_stay_tied(tmp_path: Path) -> None:
    first = nn.Linear(2, 2)
    model = nn.Sequential(first, nn.Tanh(), first)
    mk.save(mk.MAML(model), tmp_path / "a")
    again = mk.load(tmp_path / "a").model
    assert again[0].weight is again[2].weight


class Own(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)


def own_loss(predict: Any, data: Any, power: int = 2) -> Tensor:
    return ((predict(data.x) - data.y).abs() ** power).mean()


def test_what_is_your_own_is_asked_for_by_name_and_handed_over(tmp_path: Path) -> None:
    learner = mk.MAML(Own().double(), 0.1, loss=partial(own_loss, power=4))
    mk.save(learner, tmp_path / "a")
    with pytest.raises(mk.MamlkitError) as caught:
        mk.load(tmp_path / "a")
    for words in ("model: Own", "Linear(in_features=1", "loss", "own_loss", "model=..., loss=..."):
        assert words in str(caught.value)
    # of a partial function the function is asked for, and the rest is kept
    again = mk.load(tmp_path / "a", model=Own().double(), loss=own_loss)
    assert_same_state(again, learner)
    assert again.loss.keywords == {"power": 4}
    assert torch.equal(again.adapt(X, Y)(NEW), learner.adapt(X, Y)(NEW))
    with pytest.raises(mk.MamlkitError, match="not like the one that was saved"):
        mk.load(tmp_path / "a", model=nn.Linear(2, 2), loss=own_loss)
    with pytest.raises(mk.MamlkitError, match=r"model must be a torch\.nn\.Module"):
        mk.load(tmp_path / "a", model=3, loss=own_loss)


def test_a_partial_loss_of_the_package_loads_in_a_new_process(tmp_path: Path) -> None:
    loss = partial(mk.losses.cross_entropy)
    learner = mk.MAML(net(3), 0.1, loss=loss)
    mk.save_learner(learner, tmp_path / "a", seed=3)
    path = str(tmp_path / "a")
    code = f"""
from functools import partial
import mamlkit as mk
print(mk.load({path!r}).loss.func.__name__)
same = mk.MAML(mk.models.MLP(1, 3, (6,)).double(), 0.1, loss=partial(mk.losses.cross_entropy))
print(mk.load_learner(same, {path!r}))
"""
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert run.stdout == "cross_entropy\n{'seed': 3}\n"


def test_losses_that_were_made_are_made_again(tmp_path: Path) -> None:
    loss = mk.losses.trajectories(horizon=2, substeps=3)
    mk.save(mk.MAML(net(), loss=loss), tmp_path / "a")
    assert mk.load(tmp_path / "a").loss.__name__ == loss.__name__


def test_a_new_process_takes_up_what_was_pickled(tmp_path: Path) -> None:
    """Learners, losses, yardsticks and predictions, all in one file."""
    learner = mk.MAML(net(), 0.1, 2, rule=mk.learners.momentum(), loss=nn.MSELoss())
    yardstick = mk.yardsticks.Ridge(0.1, mk.yardsticks.polynomial(2))
    things: list[Any] = [
        learner,
        learner.adapt(X, Y),
        yardstick,
        yardstick.adapt(X, Y),
        learner.loss,
    ]
    (tmp_path / "a").write_bytes(pickle.dumps([*things, X, Y, NEW]))
    code = f"""
import pickle
learner, one, yardstick, other, loss, x, y, new = pickle.load(open({str(tmp_path / "a")!r}, "rb"))
print(repr(learner))
print([learner.adapt(x, y)(new).tolist(), one(new).tolist()])
print([yardstick.adapt(x, y)(new).tolist(), other(new).tolist()], loss.__name__)
"""
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    one, other = (thing(NEW).tolist() for thing in (things[1], things[3]))
    assert run.stdout == f"{learner!r}\n{[one, one]}\n{[other, other]} MSELoss\n"


class Colour(enum.Enum):
    RED = "red"


def test_notes_become_plain(tmp_path: Path) -> None:
    notes = {
        "number": np.float64(0.5),
        "whole": np.int64(3),
        "enum": Colour.RED,
        "pair": (1, np.array([2, 3])),
        "dict": {Colour.RED: torch.tensor(1.5)},
        "path": Path("a") / "b",
        "dtype": torch.float64,
    }
    mk.save_learner(mk.MAML(net()), tmp_path / "a", **notes)
    assert mk.load_learner(mk.MAML(net()), tmp_path / "a") == {
        "number": 0.5,
        "whole": 3,
        "enum": "red",
        "pair": [1, [2, 3]],
        "dict": {"red": 1.5},
        "path": "a/b",
        "dtype": "torch.float64",
    }
    with pytest.raises(mk.MamlkitError, match=r"notes must be numbers, text.*object"):
        mk.save_learner(mk.MAML(net()), tmp_path / "a", thing=object())


def changed(path: Path, old: str, new: str) -> None:
    """Rewrite the description in a file."""
    with np.load(path) as arrays:
        parts = dict(arrays)
    text = str(parts["description"])
    assert old in text
    parts["description"] = np.array(text.replace(old, new))
    with path.open("wb") as file:
        np.savez(file, **parts)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("mamlkit.learners.maml:MAML", "os:system", "os:system is not of mamlkit"),
        ("mamlkit.losses:mse", "mamlkit.cli.train:find_family", "is not of mamlkit"),
        ("mamlkit.losses:mse", "mamlkit.losses:torch.load", "not where it says"),
        ("mamlkit.learners.rules:_plain", "mamlkit.losses:mse", "asks to run"),
        ("mamlkit.learners.maml:MAML", "mamlkit.learners.maml:MAMMAL", "damaged"),
        ('"mamlkit 1"', '"mamlkit 9"', "cannot be read"),
    ],
)
def test_a_file_runs_nothing_of_anybody_else(
    old: str, new: str, words: str, tmp_path: Path
) -> None:
    mk.save(mk.MAML(net()), tmp_path / "a")
    changed(tmp_path / "a", old, new)
    with pytest.raises(mk.MamlkitError, match=words):
        mk.load(tmp_path / "a")


def test_a_file_holds_no_pickle(tmp_path: Path) -> None:
    mk.save(mk.Ensemble(maml, 2), tmp_path / "a")
    with zipfile.ZipFile(tmp_path / "a") as file:
        assert {Path(name).suffix for name in file.namelist()} == {".npy"}
    with np.load(tmp_path / "a", allow_pickle=False) as arrays:
        assert json.loads(str(arrays["description"]))["format"] == "mamlkit 1"
        assert all(arrays[name].dtype != object for name in arrays.files)


def test_what_differs_is_named_and_a_path_in_the_wrong_place(tmp_path: Path) -> None:
    path, learner = tmp_path / "a", mk.MAML(net(), 0.1, 2)
    mk.save_learner(learner, path)
    words = r"was inner_lr=0\.1, inner_steps=2,.*; now inner_lr=0\.2, inner_steps=3,.*\. Build"
    with pytest.raises(mk.MamlkitError, match=words):
        mk.load_learner(mk.MAML(net(), 0.2, 3), path)
    with pytest.raises(mk.MamlkitError, match=r"layers\.0\.bias is \[6\] there and \[7\] in yours"):
        mk.load_learner(mk.MAML(mk.models.MLP(1, 1, (7,)).double(), 0.1, 2), path)
    for swapped in (mk.load_learner, mk.save_learner, mk.save):
        with pytest.raises(mk.MamlkitError, match=r"a path must be text, but MAML .* comes last"):
            swapped(path, learner)


def test_other_files_and_other_things(tmp_path: Path) -> None:
    with pytest.raises(mk.MamlkitError, match="no file"):
        mk.load(tmp_path / "none")
    (tmp_path / "text").write_text("hello")
    torch.save({"a": 1}, tmp_path / "torch")
    np.savez(tmp_path / "numpy.npz", a=np.zeros(2))
    for name in ("text", "torch", "numpy.npz"):
        with pytest.raises(mk.MamlkitError, match="cannot be read"):
            mk.load(tmp_path / name)
    with pytest.raises(mk.MamlkitError, match="cannot be saved"):
        mk.save(threadlike := object(), tmp_path / "b")
    assert threadlike is not None
    assert not (tmp_path / "b").exists()
    mk.save(mk.yardsticks.Zero(), tmp_path / "zero")
    with pytest.raises(mk.MamlkitError, match="holds no learner with weights"):
        mk.load_learner(mk.MAML(net()), tmp_path / "zero")
