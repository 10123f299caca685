"""Bad input over the public API: a MamlkitError that names what was given and what is needed."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import mamlkit as mk
from tests.helpers import F64, assert_same_state

X = torch.linspace(-1, 1, 4, dtype=F64)[:, None]
Y = X.sin()
FAMILY = mk.tasks.LinearLaw()
FLUIDS = mk.tasks.VapourPressure()
ys = mk.yardsticks


def model(d_in: int = 1, d_out: int = 1) -> nn.Module:
    return mk.models.MLP(d_in, d_out, hidden=(3,)).double()


def maml(**settings: Any) -> mk.MAML:
    return mk.MAML(model(), **{"inner_lr": 0.1, "inner_steps": 2, **settings})


def batch(dtype: torch.dtype = F64) -> mk.TaskBatch:
    return FAMILY.sample(3, 4, 5, generator=torch.Generator().manual_seed(0), dtype=dtype)


def train(learner: Any = None, family: Any = FAMILY, **settings: Any) -> mk.History:
    given = {"shots": 3, "iterations": 1, "meta_batch": 2, "progress": False, **settings}
    return mk.meta_train(learner or maml(), family, **given)


def own_family(draw: Any = None, law: Any = None, **attributes: Any) -> mk.tasks.Family:
    """A reader's family, with one thing wrong."""

    class Own(mk.tasks.Family):
        def draw(self, n_tasks, generator):
            return draw(n_tasks) if draw else {"k": torch.ones(n_tasks)}

        def law(self, x, physics):
            return law(x, physics) if law else physics["k"] * x

    family = Own()
    for name, value in attributes.items():
        setattr(family, name, value)
    return family


class Listing:
    """A learner whose prediction is no tensor."""

    def adapt(self, x, y):
        return lambda x_new: x_new.tolist()


class Failing(nn.Module):
    """A model whose work goes wrong in a way that has nothing to do with sizes."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.weight, self.error, self.broken = nn.Parameter(torch.ones(1)), error, False

    def forward(self, x):
        if self.broken:
            raise type(self.error)(*self.error.args)  # a fresh one each time
        return x * self.weight


def labelled(y: torch.Tensor, loss: Any = mk.losses.cross_entropy) -> Callable[[], Any]:
    """Adapting a classifier of three ways to the points X with these labels."""
    return lambda: mk.MAML(model(1, 3), loss=loss).adapt(X, y)


def oddly(**parts: Any) -> mk.TaskBatch:
    return batch()._replace(**parts)


def sequential(*layers: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Linear(1, 3), *layers, nn.Linear(3, 1))


BAD: dict[str, tuple[Callable[[], Any], list[str]]] = {
    # --- points given to adapt()
    "adapt: numpy": (lambda: maml().adapt(X.numpy(), Y), ["x", "ndarray", "torch.as_tensor"]),
    "adapt: list": (lambda: maml().adapt(X, [1.0]), ["y", "list", "torch.Tensor"]),
    "adapt: 1-D x": (lambda: maml().adapt(X[:, 0], Y), ["x has shape [4]", "[n, d]", "reshape"]),
    "adapt: 1-D y": (lambda: maml().adapt(X, Y[:, 0]), ["y has shape [4]", "reshape(-1, 1)"]),
    "adapt: scalar y": (lambda: maml().adapt(X, torch.tensor(1)), ["y has shape []", "rows"]),
    "adapt: no points": (
        lambda: ys.LinearLatent.fit(FAMILY, 5).adapt(X[:0], Y[:0]),
        ["no prior", "at least 1 point", "0 were given"],
    ),
    "adapt: not pairs": (lambda: maml().adapt(X, Y[:2]), ["x has 4", "y has 2", "pairs"]),
    "adapt: nan": (lambda: maml().adapt(X, Y * math.nan), ["y holds 4", "not finite"]),
    "adapt: inf": (lambda: maml().adapt(X / 0, Y), ["x holds 4", "not finite"]),
    "adapt: no y": (lambda: maml().adapt(X), ["no y", "adapt(x, y)"]),
    "adapt: x too wide": (
        lambda: maml().adapt(X.expand(4, 2), Y),
        ["MLP", "[4, 2]", "input size", "d_in"],
    ),
    "adapt: x too wide for a layer of torch": (
        lambda: mk.MAML(nn.Sequential(nn.Linear(1, 3), nn.Linear(3, 1)).double()).adapt(
            X.expand(4, 2), Y
        ),
        ["Sequential", "[4, 2]", "takes 1", "input size", "d_in"],
    ),
    "adapt: images without their axis": (
        lambda: mk.MAML(mk.models.CNN(1, 2).double()).adapt(X, torch.tensor([0, 1, 0, 1])),
        ["CNN", "[4, 1]", "[n, 1, h, w]", "at least 4"],
    ),
    "adapt: y too wide": (
        lambda: maml().adapt(X, Y.expand(4, 2)),
        ["predicts shape [4, 1]", "y has shape [4, 2]"],
    ),
    "predict: x too wide": (
        lambda: maml().adapt(X, Y)(X.expand(4, 2)),
        ["MLP", "[4, 2]", "input size"],
    ),
    "predict: 1-D x": (lambda: maml().adapt(X, Y)(X[:, 0]), ["x has shape [4]", "reshape"]),
    "adapt: steps -1": (lambda: maml().adapt(X, Y, steps=-1), ["steps", "at least 0", "-1"]),
    "adapt: steps 1.5": (lambda: maml().adapt(X, Y, steps=1.5), ["steps", "whole number", "1.5"]),
    "adapt: steps True": (lambda: maml().adapt(X, Y, steps=True), ["steps", "whole", "True"]),
    # --- models
    "model: not a module": (lambda: mk.MAML(len), ["torch.nn.Module", "builtin_function", "MLP"]),
    "model: a class": (lambda: mk.MAML(nn.Linear), ["torch.nn.Module", "type"]),
    "model: no parameters": (lambda: mk.MAML(nn.Tanh()), ["Tanh", "no parameters"]),
    "model: lazy": (lambda: mk.MAML(nn.LazyLinear(2)), ["LazyLinear", "run it once"]),
    "model: BatchNorm": (
        lambda: mk.MAML(sequential(nn.BatchNorm1d(3))),
        ["'1'", "BatchNorm1d", "running statistics", "GroupNorm"],
    ),
    "model: InstanceNorm": (
        lambda: mk.MAML(sequential(nn.InstanceNorm1d(3, track_running_stats=True))),
        ["InstanceNorm1d", "running statistics"],
    ),
    "model: Dropout": (
        lambda: mk.MAML(sequential(nn.Dropout(0.2))),
        ["'1'", "Dropout(p=0.2)", "p=0"],
    ),
    "MLP: activation": (
        lambda: mk.models.MLP(1, 1, activation="tahn"),
        ["'tahn'", "not known", "tanh"],
    ),
    "MLP: width 0": (lambda: mk.models.MLP(1, 1, hidden=(0,)), ["hidden", "at least 1", "0"]),
    "MLP: one number": (lambda: mk.models.MLP(1, 1, hidden=40), ["hidden", "(40, 40)", "40 was"]),
    "MLP: x_range": (
        lambda: mk.models.MLP(1, 1, x_range=(1.0, 0.0)),
        ["x_range", "low < high", "(1.0, 0.0)"],
    ),
    "MLP: seed": (lambda: mk.models.MLP(1, 1, seed=0.5), ["seed", "whole number", "0.5"]),
    "CNN: channels": (lambda: mk.models.CNN(1.5, 2), ["channels", "whole number", "1.5"]),
    # --- settings of MAML
    "MAML: inner_lr < 0": (lambda: maml(inner_lr=-0.1), ["inner_lr", ">= 0", "-0.1"]),
    "MAML: inner_lr nan": (lambda: maml(inner_lr=math.nan), ["inner_lr", "finite", "nan"]),
    "MAML: inner_lr text": (lambda: maml(inner_lr="0.1"), ["inner_lr", "number", "'0.1'"]),
    "MAML: inner_lr True": (lambda: maml(inner_lr=True), ["inner_lr", "number", "True"]),
    "MAML: inner_steps": (lambda: maml(inner_steps=-1), ["inner_steps", "at least 0", "-1"]),
    "MAML: inner_steps 1.0": (lambda: maml(inner_steps=1.0), ["inner_steps", "whole", "1.0"]),
    "MAML: inner_steps True": (lambda: maml(inner_steps=True), ["inner_steps", "whole", "True"]),
    "MAML: learn_lr": (lambda: maml(learn_lr="layer"), ["'layer'", "'tensor'", "'matrix'"]),
    "MAML: positive alone": (
        lambda: maml(positive_lr=True),
        ["positive_lr=True", "needs learn_lr", "None"],
    ),
    "MAML: positive from 0": (
        lambda: maml(positive_lr=True, learn_lr="tensor", inner_lr=0.0),
        ["positive_lr=True", "inner_lr > 0", "0.0"],
    ),
    "MAML: step_weights": (
        lambda: maml(step_weights=[1.0]),
        ["step_weights=[1.0]", "inner_steps + 1 = 3"],
    ),
    "MAML: step_weights empty": (lambda: maml(step_weights=[]), ["step_weights=[]", "= 3"]),
    "MAML: step_weights 0": (
        lambda: maml(step_weights=[0, 0, 0]),
        ["step_weights=[0, 0, 0]", "not all zero"],
    ),
    "MAML: step_weights nan": (
        lambda: maml(step_weights=[0, math.nan, 1]),
        ["step_weights", "finite numbers"],
    ),
    "MAML: adapt name": (
        lambda: maml(adapt="layer.0.weight"),
        ["'layer.0.weight'", "matches no parameter", "layers.0.weight"],
    ),
    "MAML: adapt nothing": (lambda: maml(adapt=[]), ["adapt", "matches no parameter"]),
    # --- batches
    "batch: a tuple": (
        lambda: maml().query_losses(((X, Y), (X, Y))),
        ["TaskBatch", "tuple", "family.sample"],
    ),
    "batch: type": (
        lambda: maml().query_losses(batch(torch.float32)),
        ["torch.float32", "torch.float64", "sample with dtype=torch.float64"],
    ),
    "batch: tasks disagree": (
        lambda: maml().episodes(oddly(query=mk.Data(*(t[:2] for t in batch().query)))),
        ["[2, 3] tasks", "same number"],
    ),
    "batch: no task": (
        lambda: maml().episodes(
            oddly(**dict.fromkeys(("support", "query"), mk.Data(X[:0], Y[:0])))
        ),
        ["[0] tasks", "at least one"],
    ),
    "batch: not tensors": (
        lambda: maml().episodes(oddly(support=mk.Data(1, 2))),
        ["NamedTuples of tensors", "task axis"],
    ),
    "batch: d_in": (
        lambda: mk.MAML(model(2)).query_losses(batch()),
        ["MLP", "[4, 1]", "input size", "d_in"],
    ),
    "batch: d_out": (
        lambda: mk.MAML(model(1, 2)).query_losses(batch()),
        ["[4, 2]", "y has shape [4, 1]", "alike"],
    ),
    "query_losses: steps": (
        lambda: maml().query_losses(batch(), steps=2.0),
        ["steps", "whole number", "2.0"],
    ),
    "episodes: steps": (lambda: maml().episodes(batch(), steps=-2), ["steps", "at least 0", "-2"]),
    # --- losses
    "cross_entropy: float labels": (
        labelled(Y[:, 0].round().reshape(-1, 1)),
        ["torch.float64", "whole-number labels", "[n]"],
    ),
    "cross_entropy: label too large": (
        labelled(torch.tensor([0, 1, 2, 3])),
        ["labels from 0 to 2", "3 scores", "index 3"],
    ),
    "cross_entropy: label -1": (
        labelled(torch.tensor([0, 1, 2, -1])),
        ["labels from 0 to 2", "index -1"],
    ),
    "cross_entropy: column of labels": (
        labelled(torch.zeros(4, 1, dtype=torch.long)),
        ["[4, 1]", "labels [n]"],
    ),
    "hinge: label too large": (
        labelled(torch.tensor([0, 1, 2, 7]), mk.losses.hinge),
        ["labels from 0 to 2", "index 7"],
    ),
    "hinge: float labels": (
        labelled(Y, mk.losses.hinge),
        ["torch.float64", "whole-number labels"],
    ),
    "error_rate: float labels": (
        lambda: mk.losses.error_rate(lambda x: x, mk.Data(X, Y)),
        ["torch.float64", "whole-number labels"],
    ),
    "mse: would broadcast": (
        lambda: mk.losses.mse(lambda x: x, mk.Data(X, Y[:, 0])),
        ["[4, 1]", "[4]", "alike"],
    ),
    # --- families
    "sample: shots -1": (lambda: FAMILY.sample(2, -1), ["shots", "at least 0", "-1"]),
    "sample: n_tasks 2.0": (lambda: FAMILY.sample(2.0, 1), ["n_tasks", "whole number", "2.0"]),
    "sample: queries True": (lambda: FAMILY.sample(2, 1, True), ["queries", "whole", "True"]),
    "sample: generator": (
        lambda: FAMILY.sample(2, 1, generator=np.random.default_rng()),
        ["generator", "torch.Generator", "Generator().manual_seed"],
    ),
    "sample: generator int": (lambda: FAMILY.sample(2, 1, generator=0), ["generator", "int"]),
    "sample: dtype": (
        lambda: FAMILY.sample(2, 1, dtype=torch.int64),
        ["dtype", "floating-point", "torch.int64"],
    ),
    "sample: dtype text": (
        lambda: FAMILY.sample(2, 1, dtype="float32"),
        ["dtype", "torch.float64", "'float32'"],
    ),
    "family: noise": (lambda: mk.tasks.LinearLaw(noise=-0.1), ["noise", ">= 0", "-0.1"]),
    "family: amplitude": (
        lambda: mk.tasks.Sinusoid(amplitude=(5.0, 0.1)),
        ["amplitude", "low < high", "(5.0, 0.1)"],
    ),
    "family: duration": (lambda: mk.tasks.DampedOscillator(0), ["duration", "> 0", "0"]),
    "draw: shape": (
        lambda: own_family(draw=lambda n: {"k": torch.ones(n, 1)}).sample(3, 2),
        ["Own.draw()", "'k'", "[3, 1]", "[n_tasks] = [3]"],
    ),
    "draw: not a dict": (
        lambda: own_family(draw=lambda n: torch.ones(n)).sample(3, 2),
        ["Own.draw()", "Tensor", "dict"],
    ),
    "draw: a number": (
        lambda: own_family(draw=lambda n: {"k": 3.0}).sample(3, 2),
        ["'k'", "float", "[n_tasks] = [3]"],
    ),
    "law: shape": (
        lambda: own_family(law=lambda x, p: (p["k"] * x)[..., 0]).sample(3, 2),
        ["Own.law()", "[3, 4]", "[3, 4, 1]"],
    ),
    "law: nan": (
        lambda: own_family(law=lambda x, p: (x - 2).sqrt()).sample(3, 2),
        ["Own.law()", "not finite", "x_range"],
    ),
    "law: no tensor": (
        lambda: own_family(law=lambda x, p: 1.0).curves(3),
        ["Own.law()", "float", "[3, 200, 1]"],
    ),
    "law: misspelt": (
        lambda: own_family(law=lambda x, p: p["kk"] * x).sample(3, 2),
        ["Own.law()", "'kk'", "['k']"],
    ),
    "family: x_range": (
        lambda: own_family(x_range=(1.0, 0.0)).sample(3, 2),
        ["x_range", "low < high", "(1.0, 0.0)"],
    ),
    "family: inputs": (
        lambda: own_family(inputs=lambda n, m, g: torch.zeros(n, m)).sample(3, 2),
        ["Own.inputs()", "[3, 4]", "[3, 4, 1]"],
    ),
    "curves: two inputs": (lambda: own_family(d_in=2).curves(3), ["d_in=2", "sample()"]),
    "fluids: split": (lambda: FLUIDS.split("tests"), ["'train'", "'test'", "'tests'"]),
    "fluids: split_by": (
        lambda: mk.tasks.VapourPressure(split_by="name"),
        ["'substance'", "'family'", "'name'"],
    ),
    "fluids: at": (
        lambda: mk.tasks.VapourPressure(at=[0.555]),
        ["at=0.555", "0.60 to 0.98", "0.01"],
    ),
    "fluids: at twice": (
        lambda: mk.tasks.VapourPressure(at=[0.7, 0.7]),
        ["[0.7, 0.7]", "twice", "once"],
    ),
    "fluids: at and shots": (
        lambda: mk.tasks.VapourPressure(at=[0.7]).sample(2, 2),
        ["shots=2", "shots=1"],
    ),
    "fluids: noise": (lambda: mk.tasks.VapourPressure(noise=2), ["relative", "one percent", "2"]),
    "fluids: shots": (lambda: FLUIDS.sample(2, 50, 1), ["shots=50", "39", "fewer"]),
    "fluids: queries": (lambda: FLUIDS.every(30, 10), ["shots=30", "queries=10", "40", "39"]),
    "fluids: curves": (lambda: FLUIDS.split("test").curves(99), ["99", "32 members"]),
    "fluids: more tasks than fluids": (
        lambda: mk.compare({"zero": ys.Zero()}, FLUIDS.split("test"), 1, n_tasks=600),
        ["n_tasks=600", "32 members", "leave out n_tasks"],
    ),
    "family: no draw": (lambda: mk.Family().sample(2, 2), ["no draw(", "write it"]),
    "family: no law": (
        lambda: mk.Family().law(torch.zeros(1, 1, 1), {}),
        ["no law(", "write it", "measure()"],
    ),
    "family: math instead of torch": (
        lambda: own_family(law=lambda x, p: math.exp(x)).sample(3, 2),
        ["Own.law() failed", "torch.exp"],
    ),
    # --- training
    "train: learner": (lambda: train(nn.Linear(1, 1)), ["query_losses", "mk.MAML", "Linear"]),
    "train: frozen": (
        lambda: train(maml().requires_grad_(False)),
        ["MAML", "nothing to train", "requires_grad=True"],
    ),
    "train: family": (lambda: train(family="springs"), ["Family", "str", "Sinusoid"]),
    "train: validation": (lambda: train(validation=batch()), ["Family", "TaskBatch"]),
    "train: compile": (lambda: train(compile="caputre"), ["compile", "'capture'", "caputre"]),
    "train: seed too large": (lambda: train(seed=2**70), ["seed", "2**63"]),
    "implicit: tolerance": (
        lambda: mk.ImplicitMAML(nn.Linear(1, 1), tolerance=2.0),
        ["tolerance=2.0", "below 1"],
    ),
    "context: head": (
        lambda: mk.MAML(mk.models.LowRank(nn.Linear(1, 1)), adapt="head"),
        ["'head'", "context"],
    ),
    "low rank: no model": (lambda: mk.CoDA("mlp"), ["LowRank", "torch.nn.Module", "mlp"]),
    "costs: d_in": (
        lambda: mk.cost_table({"m": mk.MAML(mk.models.MLP(3, 1))}, mk.tasks.Sinusoid()),
        ["MLP", "input size"],
    ),
    "train: shots": (lambda: train(shots=-1), ["shots", "at least 0", "-1"]),
    "train: meta_batch": (lambda: train(meta_batch=2.5), ["meta_batch", "whole number", "2.5"]),
    "train: iterations": (lambda: train(iterations=0), ["iterations", "at least 1", "0"]),
    "train: iterations True": (lambda: train(iterations=True), ["iterations", "whole", "True"]),
    "train: outer_lr": (lambda: train(outer_lr=0), ["outer_lr", "> 0", "0"]),
    "train: outer_lr nan": (lambda: train(outer_lr=math.nan), ["outer_lr", "finite", "nan"]),
    "train: outer_lr True": (lambda: train(outer_lr=True), ["outer_lr", "number", "True"]),
    "train: schedule": (lambda: train(schedule="linear"), ["'constant'", "'cosine'", "'linear'"]),
    "train: grad_clip": (lambda: train(grad_clip=0), ["grad_clip", "> 0", "0"]),
    "train: chunk_size": (lambda: train(chunk_size=-1), ["chunk_size", "at least 1", "-1"]),
    "train: chunk_size 0": (lambda: train(chunk_size=0), ["chunk_size", "at least 1", "0"]),
    "train: seed": (lambda: train(seed=None), ["seed", "whole number", "None"]),
    "train: validate_every": (lambda: train(validate_every=0), ["validate_every", "1", "0"]),
    "train: checkpoint_every": (lambda: train(checkpoint_every=-5), ["checkpoint_every", "-5"]),
    "train: d_in": (lambda: train(mk.MAML(model(2))), ["MLP", "input size", "d_in"]),
    "train: d_out": (lambda: train(mk.MAML(model(1, 3))), ["[3, 3]", "[3, 1]"]),
    # --- evaluation
    "evaluate: no learner": (
        lambda: mk.evaluate("MAML", FAMILY),
        ["adapt(x, y) -> predict", "'MAML'"],
    ),
    "evaluate: a class": (
        lambda: mk.evaluate(ys.Zero, FAMILY),
        ["adapt(x, y) -> predict", "the class Zero"],
    ),
    "evaluate: steps of one without": (
        lambda: mk.evaluate(ys.Zero(), FAMILY, steps=3),
        ["Zero", "no inner steps"],
    ),
    "evaluate: steps": (lambda: mk.evaluate(maml(), FAMILY, steps=-1), ["steps", "0", "-1"]),
    "evaluate: family": (lambda: mk.evaluate(maml(), batch()), ["Family", "TaskBatch"]),
    "evaluate: n_tasks": (lambda: mk.evaluate(maml(), FAMILY, n_tasks=0), ["n_tasks", "1", "0"]),
    "evaluate: seed": (
        lambda: mk.evaluate(maml(), FAMILY, n_tasks=2, seed="a"),
        ["seed", "whole number", "'a'"],
    ),
    "evaluate: d_in": (
        lambda: mk.evaluate(mk.MAML(model(2)), FAMILY),
        ["MLP", "input size", "d_in"],
    ),
    "evaluate: oracle": (
        lambda: mk.evaluate(ys.LeeKesler(), FAMILY, n_tasks=2),
        ["LeeKesler", "acentric_factor", "['intercept', 'slope']"],
    ),
    "compare: nothing": (lambda: mk.compare({}, FAMILY), ["compare()", "dict", "{'MAML'"]),
    "compare: a list": (lambda: mk.compare([maml()], FAMILY), ["compare()", "dict"]),
    "error_against_shots: none": (
        lambda: mk.error_against_shots({"MAML": maml()}, FAMILY, shots=()),
        ["at least one", "shots"],
    ),
    "error_against_shots: family": (
        lambda: mk.error_against_shots({"MAML": maml()}, 3, shots=(1,)),
        ["Family", "int"],
    ),
    "shuffled_support: one task": (
        lambda: mk.shuffled_support(maml(), FAMILY, n_tasks=1),
        ["two tasks", "n_tasks"],
    ),
    "zero_step_gap: no steps": (
        lambda: mk.zero_step_gap(ys.Zero(), FAMILY, n_tasks=3),
        ["Zero", "no inner steps"],
    ),
    "tune: learner": (lambda: mk.tune(ys.Zero(), FAMILY), ["mk.MAML", "Zero"]),
    "tune: nothing": (lambda: mk.tune(maml(), FAMILY, inner_lr=()), ["inner_lr", "choose"]),
    "tune: negative": (lambda: mk.tune(maml(), FAMILY, inner_lr=(-1,)), ["inner_lr", ">= 0", "-1"]),
    "tune: max_steps": (lambda: mk.tune(maml(), FAMILY, max_steps=1.5), ["max_steps", "1.5"]),
    # --- yardsticks
    "Ridge: penalty": (lambda: ys.Ridge(-1.0), ["penalty", ">= 0", "-1.0"]),
    "Ridge: numpy": (lambda: ys.Ridge().adapt(X.numpy(), Y), ["x", "ndarray"]),
    "Ridge: not pairs": (lambda: ys.Ridge().adapt(X, Y[:1]), ["x has 4", "y has 1"]),
    "Bayes: noise": (lambda: ys.Bayes([0.0], [[1.0]], 0.0), ["noise", "> 0", "0.0"]),
    "Bayes: covariance": (lambda: ys.Bayes([0.0, 1.0], [[1.0]], 0.1), ["[p, p]", "[2]", "[1, 1]"]),
    "Bayes.fit: shots": (lambda: ys.Bayes.fit(FAMILY, 10, 2), ["more than 2 shots", "2"]),
    "MeanCurve.fit: family": (lambda: ys.MeanCurve.fit(batch()), ["Family", "TaskBatch"]),
    "MeanCurve: two inputs": (
        lambda: ys.MeanCurve.fit(FAMILY, 5).adapt(X, Y)(X.expand(4, 2)),
        ["2 columns", "[n, 1]"],
    ),
    "LeeKesler: nan": (
        lambda: ys.LeeKesler().adapt(X * math.nan, Y, physics={"acentric_factor": X[0, 0]}),
        ["x holds 4", "not finite"],
    ),
    "Zero: labels": (
        lambda: ys.Zero().adapt(X, torch.tensor([0, 1, 0, 1])),
        ["labels y [4]", "Zero(d_out=ways)"],
    ),
    "Ridge: labels": (
        lambda: ys.Ridge().adapt(X, torch.tensor([0, 1, 0, 1])),
        ["[4]", "numbers [n, d_out]"],
    ),
    "Bayes: two outputs": (
        lambda: ys.Bayes([0.0, 0.0], torch.eye(2), 0.1).adapt(X, torch.cat([Y, Y], 1)),
        ["one output", "[4, 2]"],
    ),
    "Bayes: fit to two outputs": (
        lambda: ys.Bayes.fit(own_family(d_out=2)),
        ["one output", "d_out=2"],
    ),
    "GaussianProcess: two outputs": (
        lambda: ys.GaussianProcess.fit(
            own_family(d_out=2, law=lambda x, p: torch.cat([x, x], -1) * p["k"]), 5
        ),
        ["one output", "d_out=2"],
    ),
    "GaussianProcess: points of two outputs": (
        lambda: ys.GaussianProcess.fit(FAMILY, 5).adapt(X, torch.cat([Y, Y], 1)),
        ["GaussianProcess", "one output", "[4, 2]"],
    ),
    "evaluate: prediction of another kind": (
        lambda: mk.evaluate(Listing(), FAMILY, 2, n_tasks=2),
        ["list", "torch.Tensor"],
    ),
    "FromScratch: model": (lambda: ys.FromScratch(len), ["torch.nn.Module", "builtin"]),
    "FromScratch: lr": (lambda: ys.FromScratch(model(), lr=0), ["lr", "> 0", "0"]),
    "FromScratch: steps": (lambda: ys.FromScratch(model(), steps=-1), ["steps", "0", "-1"]),
    "FromScratch: d_in": (lambda: ys.FromScratch(model(2)).adapt(X, Y), ["MLP", "input size"]),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_said_in_plain_words(case: str) -> None:
    call, words = BAD[case]
    with pytest.raises(mk.MamlkitError) as caught:
        call()
    message = str(caught.value)
    assert [word for word in words if word not in message] == [], message


def test_the_table_has_at_least_forty_kinds() -> None:
    assert len(BAD) >= 40


def test_the_error_is_a_value_error() -> None:
    assert issubclass(mk.MamlkitError, ValueError)


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("out of memory"), IndexError("mine")])
def test_an_error_of_the_model_stays_what_it_is_and_gets_a_hint(error: Exception) -> None:
    learner, points = mk.MAML(Failing(error), 0.1), (X.float(), Y.float())
    predict = learner.adapt(*points)
    failing: Any = learner.model
    failing.broken = True
    for call in (
        lambda: learner.adapt(*points),
        lambda: mk.yardsticks.FromScratch(learner.model).adapt(*points),
    ):
        with pytest.raises(type(error)) as caught:
            call()
        assert str(caught.value) == str(error)
        (note,) = caught.value.__notes__
        assert "(Failing)" in note
        assert "[4, 1]" in note
        assert "input size is the family's d_in" in note
    assert predict(points[0]).shape == (4, 1)


def test_a_size_that_nobody_can_check_before_gets_the_hint() -> None:
    class Wrapped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(1, 1)

        def forward(self, x):
            return self.inner(x)

    with pytest.raises(RuntimeError, match="cannot be multiplied") as caught:
        mk.MAML(Wrapped().double()).adapt(X.expand(4, 2), Y)
    assert any("[4, 2]" in note and "d_in" in note for note in caught.value.__notes__)


def test_a_loss_does_not_rename_what_has_another_cause(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(torch.Tensor, "gather", full)
    with pytest.raises(torch.OutOfMemoryError):
        mk.losses.cross_entropy(
            lambda x: torch.cat([x, x], 1), mk.Data(X, torch.tensor([0, 1, 0, 1]))
        )


def test_numbers_of_numpy_are_numbers() -> None:
    learner = mk.MAML(model(), np.float32(0.1), np.int64(2))
    assert len(learner.adapt(X, Y, steps=np.int64(3)).losses) == 4
    assert FAMILY.sample(np.int64(2), np.int32(3)).support.x.shape == (2, 3, 1)


def test_layers_that_keep_no_statistics_are_welcome() -> None:
    learner = mk.MAML(sequential(nn.LayerNorm(3), nn.Dropout(0.0)).double())
    assert torch.isfinite(learner.query_losses(batch())).all()


# --- files: what cannot be read or written --------------------------------------------------------


@pytest.mark.parametrize("place", ["a folder", "under a file"])
def test_a_place_that_cannot_be_written_is_said_before_any_work(tmp_path, place) -> None:
    (tmp_path / "file").write_text("mine")
    path = tmp_path if place == "a folder" else tmp_path / "file" / "run.pt"
    learner = maml()
    before = copy.deepcopy(learner.state_dict())
    for call in (
        lambda: train(learner, checkpoint=path),
        lambda: mk.save_learner(learner, path),
        lambda: mk.History().save(path),
    ):
        with pytest.raises(mk.MamlkitError, match=r"cannot be (written|read)"):
            call()
    assert_same_state(learner, before)
    assert (tmp_path / "file").read_text() == "mine"


def test_load_learner_needs_the_same_architecture(tmp_path) -> None:
    path = tmp_path / "learner.npz"
    mk.save_learner(maml(), path)
    for other in (mk.MAML(model(2)), maml(learn_lr="tensor"), mk.MAML(nn.Linear(1, 1).double())):
        before = copy.deepcopy(other.state_dict())
        with pytest.raises(mk.MamlkitError, match=r"another learner: \S+ is .* there and .* yours"):
            mk.load_learner(other, path)
        assert_same_state(other, before)


def test_a_learner_is_no_checkpoint(tmp_path) -> None:
    path = tmp_path / "learner.npz"
    mk.save_learner(maml(), path)
    with pytest.raises(mk.MamlkitError, match="nothing to resume"):
        train(checkpoint=path)


def test_missing_files_and_bad_notes(tmp_path) -> None:
    with pytest.raises(mk.MamlkitError, match="no file"):
        mk.load_learner(maml(), tmp_path / "none.pt")
    with pytest.raises(mk.MamlkitError, match="notes must be numbers"):
        mk.save_learner(maml(), tmp_path / "learner.npz", model=model())
    with pytest.raises(mk.MamlkitError, match="query_losses"):
        mk.save_learner(nn.Linear(1, 1), tmp_path / "learner.npz")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "no history can be read"),
        (b"", "is not a history"),
        (b"hello", "is not a history"),
        (b"\xff\xfe\x00", "is not a history"),
        (b"[1, 2]", "is JSON, but not a history"),
        (b'{"loss": [1]}', "is JSON, but not a history.*outer_loss"),
        (b"3", "is JSON, but not a history"),
    ],
)
def test_a_history_that_is_none(tmp_path, content, words) -> None:
    path = tmp_path / "history.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(mk.MamlkitError, match=words):
        mk.History.load(path)


def test_a_history_with_a_number_for_a_list(tmp_path) -> None:
    path = tmp_path / "history.json"
    mk.History().save(path)
    path.write_text(path.read_text().replace('"outer_loss": []', '"outer_loss": 3'))
    with pytest.raises(mk.MamlkitError, match="is JSON, but not a history"):
        mk.History.load(path)


TRAJECTORIES = mk.losses.trajectories()
MISSING: dict[str, tuple[Any, str]] = {
    "yardstick": (
        lambda: mk.compare({"zero": mk.yardsticks.Zero(2)}, mk.tasks.Pendulum(), 1, n_tasks=2),
        "the data have no x: they are Trajectories, with t, y, dy",
    ),
    "training": (
        lambda: mk.meta_train(mk.MAML(model(2)), mk.tasks.Pendulum(), 1, progress=False),
        "the data have no x: they are Trajectories",
    ),
    "adapting": (
        lambda: mk.MAML(model(2)).adapt(
            mk.tasks.Pendulum().sample(1, 1, dtype=F64).task(0).support
        ),
        "the data have no x: they are Trajectories",
    ),
    "loss": (
        lambda: mk.evaluate(maml(), mk.tasks.Sinusoid(), 4, n_tasks=2, loss=TRAJECTORIES),
        "the data have no t: they are Data, with x, y",
    ),
}


@pytest.mark.parametrize("case", MISSING)
def test_data_without_what_is_asked_for(case: str) -> None:
    do, words = MISSING[case]
    with pytest.raises(mk.MamlkitError, match=words):
        do()


def test_another_missing_attribute_stays_what_it_is() -> None:
    def loss(predict: Any, data: Any) -> Any:
        return predict.nothing

    with pytest.raises(AttributeError, match="nothing"):
        mk.evaluate(maml(), mk.tasks.Sinusoid(), 4, n_tasks=2, loss=loss)


def test_tables_of_pandas_are_told_how_they_become_tensors() -> None:
    frame = pd.DataFrame({"x": [0.0, 1.0], "y": [0.0, 2.0]})
    for table in (frame[["x"]], frame["x"]):
        with pytest.raises(mk.MamlkitError, match=r"use torch\.tensor\(x\.to_numpy\(\)\)"):
            maml().adapt(table, frame[["y"]])
    x, y = (torch.tensor(frame[[name]].to_numpy()) for name in "xy")
    maml().adapt(x, y)
    with pytest.raises(mk.MamlkitError, match=r"ndarray was given; use torch\.as_tensor\(x\)"):
        maml().adapt(x.numpy(), y)
